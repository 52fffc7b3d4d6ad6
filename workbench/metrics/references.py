"""The folder of references: what depends on real rows alone, kept for all cells of a batch.

The batch names it in WORKBENCH_REFERENCES and gives every run an empty one of its own, unless the
variable names one already: what is in it must have been made by this very code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pandas as pd

from workbench.metrics import Trial
from workbench.tables.datasets import table_hash


def kept_at(about: list, suffix: str) -> Path | None:
    """Where a result is kept that depends on `about` (what JSON can write) and nothing else; None
    where there is no such folder.
    """
    folder = os.environ.get("WORKBENCH_REFERENCES")
    if not folder:
        return None
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    return Path(folder, f"{name}{suffix}")


def hashed(trial: Trial, table: pd.DataFrame) -> str:
    """The hash of one of a trial's tables, made once however many metrics ask for it."""
    return trial.once("hash", table, lambda: table_hash(table))
