"""Tidy rows: one measured number a row, and how they are kept in Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.metrics import Row

# What a score row holds, in this order, in every rows.parquet.
ROW_COLUMNS = {
    "metric": "object",
    "column": "object",
    "group": "object",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "floor": "float64",
    "ceiling": "float64",
    "state": "object",
    "note": "object",
}


def to_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table with ROW_COLUMNS; floor and ceiling are missing until `evaluate` fills them."""
    # The same columns and dtypes for any rows, also for none: files of all cells fit together.
    records = [asdict(row) | {"floor": np.nan, "ceiling": np.nan} for row in rows]
    return pd.DataFrame(records, columns=list(ROW_COLUMNS)).astype(ROW_COLUMNS)


def write_rows(table: pd.DataFrame, path: Path) -> None:
    """Parquet with the same bytes for the same rows."""
    table.to_parquet(path, index=False, compression="zstd", engine="pyarrow")


def read_rows(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, engine="pyarrow")


def check_rows(table: pd.DataFrame) -> None:
    """Raises InputError unless `table` has ROW_COLUMNS, in order, with their dtypes, and at least
    one row.
    """
    found = {name: str(dtype) for name, dtype in table.dtypes.items()}
    if found != ROW_COLUMNS or list(found) != list(ROW_COLUMNS):
        raise InputError(f"its rows have the columns {found}, not {ROW_COLUMNS}.")
    if not len(table):
        raise InputError("it has no rows; at least one number must be measured.")
