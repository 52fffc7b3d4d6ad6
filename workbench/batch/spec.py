"""What a worker gets and gives for one cell, on any machine: a Spec goes out, an Outcome comes
back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STATUSES = ("ok", "skipped", "error", "timeout", "out-of-memory")
FINAL = ("ok", "skipped")


@dataclass(frozen=True)
class Spec:
    """All that one cell needs, as JSON values and bytes.

    data: {"hash": name of its folder, "files": name -> bytes}. files: plug-ins and
    given tables, name -> text or bytes.
    imports: what the warm process of the whole batch imports. modules: other packages' modules that
    this cell imports. sources and versions: what they must be where it runs.
    """

    key: str
    parameters: Mapping
    notebook: str
    data: Mapping
    files: Mapping[str, str | bytes]
    limits: Mapping
    threads: int
    imports: list[str]
    modules: list[str]
    sources: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """How one cell ended, and the files that it left.

    status: one of STATUSES, or "lost" where something outside the cell killed its processes. phase:
    where it ended, "" for a cell that finished. phases and phases_cpu: seconds and CPU seconds of
    each finished phase. hashes: sha256 of rows.parquet and synthetic.parquet. rows: of the
    synthetic table. final: a lost cell that is not to be run again. files: name -> bytes.
    """

    status: str
    reason: str = ""
    phase: str = "start"
    traceback: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    phases_cpu: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float | None = None
    joules: float | None = None
    peak_mb: float | None = None
    facts: Mapping = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    started: str = ""
    host: str = ""
    cpu: str = ""
    cores: str = ""
    python: str = ""
    fingerprint: Mapping = field(default_factory=dict)
    final: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def record(self) -> dict:
        """What a manifest holds of it: everything but the files, as JSON values."""
        left_out = ("files", "final")
        return {name: value for name, value in vars(self).items() if name not in left_out}
