"""The processes that run one cell: a warm pool, a server that forks, a supervisor of each."""
