"""The folder of references: what depends on real rows alone, kept for all cells of a batch.

The batch names it in WORKBENCH_REFERENCES and gives every run an empty one of its own, unless the
variable names one already: what is in it must have been made by this very code. So does the
side-by-side page, for all its runs by the same code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pandas as pd

from workbench.errors import InputError
from workbench.files import write_text
from workbench.metrics import Trial
from workbench.tables.datasets import table_hash


def kept_at(about: list, suffix: str) -> Path | None:
    """Where a result is kept that depends on `about` (what JSON can write) and nothing else; None
    where no folder is named.

    Raises InputError where it cannot be made.
    """
    folder = os.environ.get("WORKBENCH_REFERENCES")
    if not folder:
        return None
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"WORKBENCH_REFERENCES names the folder {folder}, which cannot be made"
            f" ({error.strerror}); name another, or unset the variable."
        ) from None
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    return Path(folder, f"{name}{suffix}")


def hashed(trial: Trial, table: pd.DataFrame) -> str:
    """The hash of one of a trial's tables, made once however many metrics ask for it."""
    return trial.once("hash", table, lambda: table_hash(table))


def begin(about: list) -> bool:
    """Whether this process shall compute now what depends on `about` alone: it is the first to begin
    it, or another has ended it. False while another is at it, and may still be killed before it ends.
    """
    mark = kept_at(about, ".begun")
    if mark is None:
        return True
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return _has_ended(mark)
    except OSError:  # a folder that cannot be written keeps nothing either
        return True
    return True


def end(about: list) -> None:
    """Note that what was begun is there for others, once: later cells find the note."""
    mark = kept_at(about, ".begun")
    if mark is not None and not _has_ended(mark):
        write_text(mark, "ended")


def _has_ended(mark: Path) -> bool:
    return mark.exists() and mark.stat().st_size > 0
