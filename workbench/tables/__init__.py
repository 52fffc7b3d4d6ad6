"""Tables: what a column means, where tables come from, how they are split, encoded and constrained."""
