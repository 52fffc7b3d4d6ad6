"""Tidy rows: one measured number a row, beside the facts of the cell that measured it.

A report folder that `workbench.batch.runner.run` made holds

    plan.json                      the cells, in order, each with its key
    runs/KEY/                      a finished cell: cell.ipynb, rows.parquet, synthetic.parquet, manifest.json, log.txt, DONE
    failed/KEY-ATTEMPT/            an attempt that did not finish: manifest.json, log.txt and what else it left

and is read through two tables, `read_report` (the numbers) and `cells` (how each cell went).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import InputError
from workbench.metrics.rows import ROW_COLUMNS

# Which cell a row belongs to, in this order, before ROW_COLUMNS in `read_report`.
CELL_COLUMNS = {
    "dataset": "object",  # the name in grid.toml
    "generator": "object",  # registered name, or the plug-in "./file.py:Class"
    # What to print: the generator, with its parameters where one generator occurs with several
    "label": "object",
    "params": "object",  # canonical JSON text, "{}" for none
    "split": "int64",  # seed of the split into train and test; 0 keeps a published one
    "seed": "int64",
    "draw": "int64",  # which sample of the same fit
    "key": "object",  # 32 hexadecimal digits of a sha256 of all that the cell depends on
    "status": "object",  # ok, skipped, error, timeout, out-of-memory; in `cells` also pending
}

# What `cells` holds after CELL_COLUMNS. Missing where a cell did not get so far.
FACT_COLUMNS = {
    # "" when ok, otherwise where it ended: start, load, fit, sample, evaluate, save
    "phase": "object",
    # "" when ok, otherwise the reason it was skipped for or the last line of its traceback
    "reason": "object",
    "seconds": "float64",  # the whole cell
    "load_seconds": "float64",
    "fit_seconds": "float64",
    "sample_seconds": "float64",
    "evaluate_seconds": "float64",
    "save_seconds": "float64",
    # Largest proportional set size of the cell's processes together, in MB (1e6 bytes)
    "peak_mb": "float64",
    # User and system, of all the cell's processes: kernel, papermill and what they started
    "cpu_seconds": "float64",
    "fit_cpu": "float64",  # CPU seconds of a phase in the kernel and what it started
    "sample_cpu": "float64",
    "evaluate_cpu": "float64",
    # Of the machine's processor packages while the cell ran, whatever ran beside it; only as
    # counted
    "joules": "float64",
    "input_tokens": "Int64",  # of a language model, cached answers included
    "output_tokens": "Int64",
    # Of these tokens at the grid's input_price and output_price, in the grid's currency
    "cost": "float64",
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


def read_report(folder: Path | str, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every number of a report folder: columns CELL_COLUMNS then ROW_COLUMNS, in the plan's order.

    A cell that ended otherwise than ok is one row with metric "" whose note is the reason; pending
    cells have none. known: what `cells(folder)` gave, where that has been asked already.
    """
    table = cells(folder) if known is None else known
    table = table[table["status"] != "pending"]
    parts, lengths = [], []
    for cell in table.itertuples():
        path = Path(folder, "runs", cell.key, "rows.parquet")
        parts.append(
            pq.read_table(path, memory_map=False)
            if cell.status == "ok"
            else _reason_row(cell.reason)
        )
        lengths.append(len(parts[-1]))
    if not parts:
        return pd.DataFrame(columns=[*CELL_COLUMNS, *ROW_COLUMNS]).astype(
            CELL_COLUMNS | ROW_COLUMNS
        )
    rows = (
        pa.concat_tables([part.replace_schema_metadata() for part in parts])
        .to_pandas()
        .astype(ROW_COLUMNS)
    )
    about = table[list(CELL_COLUMNS)].loc[table.index.repeat(lengths)].reset_index(drop=True)
    return pd.concat([about, rows], axis=1)


def cells(folder: Path | str) -> pd.DataFrame:
    """One row per planned cell, in the plan's order: columns CELL_COLUMNS then FACT_COLUMNS."""
    planned = plan(folder)["cells"]
    failed = attempts(folder)
    records = [_facts(folder, cell, failed.get(cell["key"])) for cell in planned]
    columns = CELL_COLUMNS | FACT_COLUMNS
    return pd.DataFrame(records, columns=list(columns)).astype(columns)


def plan(folder: Path | str) -> dict:
    """plan.json: title, threads, limits, and cells, each with dataset, generator, label, params,
    split, seed, draw, rows,
    kernel, key."""
    path = Path(folder, "plan.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"{folder} has no plan.json; run it first: workbench run {folder}"
        ) from None
    for cell in found["cells"]:
        if not str(
            cell["key"]
        ).isalnum():  # a key becomes part of a path, and the folder may come from somebody else
            raise InputError(
                f"{path} holds the key {cell['key']!r}, which no run writes; do not trust this folder."
            )
    return found


def manifest(folder: Path | str, key: str) -> dict:
    """The record of one cell: key, cell, inputs (what the key hashes), limits, status, phase,
    reason, traceback, phases (seconds), seconds, phases_cpu and cpu_seconds (CPU seconds), joules,
    peak_mb, facts (what the generator told of itself), attempts, versions, fingerprint, host, cpu,
    cores, python, started, hashes, rows. Older versions have no CPU seconds, joules and facts.

    `key` may be the beginning of one. Raises InputError where no attempt at such a cell is
    recorded.
    """
    return json.loads((place(folder, key) / "manifest.json").read_text(encoding="utf-8"))


def place(folder: Path | str, key: str) -> Path:
    """The folder of a finished cell, or of the last attempt at one that did not finish. `key` may
    be the beginning of one.
    """
    finished = sorted(Path(folder, "runs").glob(f"{key}*/DONE")) if key.isalnum() else []
    failed = {
        start: path
        for start, path in attempts(folder).items()
        if key.isalnum() and start.startswith(key)
    }
    found = {path.parent.name: path.parent for path in finished}
    found = failed | found
    if len(found) == 1:
        return found.popitem()[1]
    several = f"{len(found)} cells begin with" if found else "no cell that ran begins with"
    raise InputError(f"{several} {key!r} in {folder}; `workbench status {folder}` names the keys.")


def attempts(folder: Path | str) -> dict[str, Path]:
    """key -> the folder of the last attempt that did not finish."""
    last: dict[str, tuple[int, Path]] = {}
    for path in Path(folder, "failed").glob("*-*/manifest.json"):
        key, _, number = path.parent.name.rpartition("-")
        last[key] = max(last.get(key, (0, path.parent)), (int(number), path.parent))
    return {key: path for key, (_, path) in last.items()}


def _facts(folder: Path | str, cell: dict, failed: Path | None) -> dict:
    about = {
        name: cell[name] for name in ("dataset", "generator", "label", "seed", "key", "kernel")
    }
    about |= {
        name: cell.get(name, 0) for name in ("split", "draw")
    }  # plans of older versions have one of each
    about["params"] = json.dumps(
        cell["params"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    run = Path(folder, "runs", cell["key"])
    home = run if (run / "DONE").exists() else failed
    if home is None:
        return about | {"status": "pending", "phase": "", "reason": ""}
    record = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
    about |= {name: record[name] for name in FACT_COLUMNS if name in record and name != "attempts"}
    about |= {
        f"{name}_seconds": seconds for name, seconds in record["phases"].items() if name in PHASES
    }
    about |= {
        f"{name}_cpu": used
        for name, used in record.get("phases_cpu", {}).items()
        if f"{name}_cpu" in FACT_COLUMNS
    }
    for name in ("input_tokens", "output_tokens", "cost"):
        value = record.get("facts", {}).get(name)
        if (
            type(value) in (int, float)
            and 0 <= value < 2**53
            and (name == "cost" or value == int(value))
        ):
            about[name] = value  # anybody's code told it
    about |= {f"{name}_hash": value for name, value in record.get("hashes", {}).items()}
    return about | {"status": record["status"], "attempts": len(record["attempts"])}


def _reason_row(reason: str) -> pa.Table:
    empty = dict.fromkeys(ROW_COLUMNS, "") | {
        name: np.nan for name, kind in ROW_COLUMNS.items() if kind == "float64"
    }
    return pa.Table.from_pandas(
        pd.DataFrame([empty | {"note": reason}]).astype(ROW_COLUMNS), preserve_index=False
    )
