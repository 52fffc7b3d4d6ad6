"""Tidy rows: one measured number a row, beside the facts of the cell that measured it.

A report folder that `workbench.runner.run` made holds

    plan.json                      the cells, in order, each with its key
    runs/KEY/                      a finished cell: cell.ipynb, rows.parquet, synthetic.parquet, manifest.json, log.txt, DONE
    failed/KEY-ATTEMPT/            an attempt that did not finish: manifest.json, log.txt and what else it left

and is read through two tables, `read_report` (the numbers) and `cells` (how each cell went).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

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
    "note": "object",
}

# Which cell a row belongs to, in this order, before ROW_COLUMNS in `read_report`.
CELL_COLUMNS = {
    "dataset": "object",  # the name in grid.toml
    "generator": "object",  # registered name, or the plug-in "./file.py:Class"
    "label": "object",  # what to print: the generator, with its parameters where one generator occurs with several
    "params": "object",  # canonical JSON text, "{}" for none
    "seed": "int64",
    "key": "object",  # sha256 in hexadecimal
    "status": "object",  # ok, skipped, error, timeout, out-of-memory; in `cells` also pending
}

# What `cells` holds after CELL_COLUMNS. Missing where a cell did not get so far.
FACT_COLUMNS = {
    "phase": "object",  # "" when ok, otherwise where it ended: start, load, fit, sample, evaluate, save
    "reason": "object",  # "" when ok, otherwise the reason it was skipped for or the last line of its traceback
    "seconds": "float64",  # the whole cell
    "load_seconds": "float64",
    "fit_seconds": "float64",
    "sample_seconds": "float64",
    "evaluate_seconds": "float64",
    "save_seconds": "float64",
    "peak_mb": "float64",  # largest proportional set size of the cell's processes together, in MB (1e6 bytes)
    "attempts": "Int64",
    "rows": "Int64",  # synthetic rows
    "train_rows": "Int64",
    "test_rows": "Int64",
    "threads": "Int64",
    "kernel": "object",  # "" for this environment
    "host": "object",
    "cpu": "object",
    "python": "object",
    "started": "object",  # ISO 8601, UTC
    "synthetic_hash": "object",  # sha256 of synthetic.parquet
    "rows_hash": "object",  # sha256 of rows.parquet
}
PHASES = ("load", "fit", "sample", "evaluate", "save")


def to_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table with ROW_COLUMNS; floor and ceiling are missing until `evaluate` fills them."""
    records = [asdict(row) | {"floor": np.nan, "ceiling": np.nan} for row in rows]
    return pd.DataFrame(records, columns=list(ROW_COLUMNS)).astype(ROW_COLUMNS)


def write(table: pd.DataFrame, path: Path) -> None:
    """Parquet with the same bytes for the same rows."""
    table.to_parquet(path, index=False, compression="zstd", engine="pyarrow")


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, engine="pyarrow")


def read_report(folder: Path | str) -> pd.DataFrame:
    """Every number of a report folder: columns CELL_COLUMNS then ROW_COLUMNS, in the plan's order.

    A cell that ended otherwise than ok is one row with metric "" whose note is the reason; pending cells have none.
    """
    raise NotImplementedError


def cells(folder: Path | str) -> pd.DataFrame:
    """One row per planned cell, in the plan's order: columns CELL_COLUMNS then FACT_COLUMNS."""
    raise NotImplementedError


def plan(folder: Path | str) -> dict:
    """plan.json: {"title": str, "folder name": ..., "limits": {...}, "cells": [{dataset, generator, label, params, seed, key, ...}]}."""
    raise NotImplementedError


def manifest(folder: Path | str, key: str) -> dict:
    """The record of one cell: key, cell, inputs (what the key hashes), status, phase, reason, traceback, phases (seconds),
    seconds, peak_mb, attempts, threads, versions, fingerprint, host, cpu, python, started, hashes.

    Raises InputError where no attempt at the cell is recorded.
    """
    raise NotImplementedError
