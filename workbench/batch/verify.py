"""Re-run finished cells in a scratch folder and compare what comes out, byte for byte, with what is
recorded.

identical          the same synthetic table and the same rows
within tolerance   another fingerprint (versions, threads, vector instructions, sources), and every number within the
                   spread that other seeds of the same generator show
different          anything else, with the first number, version or source that differs
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch import grid as grids
from workbench.batch import keys, results
from workbench.batch.runner import run_cells
from workbench.metrics.rows import read_rows

SUBJECT = ["metric", "column", "group"]
SPREADS = 4.0  # standard deviations between seeds that a number may be off on another fingerprint
ABOUT = ["key", "dataset", "label", "split", "seed", "draw"]
COLUMNS = [*ABOUT, "verdict", "detail"]


def verify(
    folder: Path | str,
    cells: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    scheduler: str | None = None,
) -> pd.DataFrame:
    """One row for each cell that was re-run: columns COLUMNS; all match where no verdict is
    "different".

    cells: how many of the finished cells, a choice that depends on nothing but their keys (default:
    all of them). Raises InputError where the folder has no finished cells, or its grid cannot be
    planned any more.
    """
    folder = Path(folder)
    recorded = results.cells(folder)
    recorded = recorded[recorded["status"] == "ok"].sort_values("key")[:cells]
    plan = grids.plan(grids.read(folder))
    planned = {_identity(vars(cell)): cell for cell in plan.cells}
    wanted = {
        key: planned.get(_identity(results.manifest(folder, key)["cell"]))
        for key in recorded["key"]
    }
    with tempfile.TemporaryDirectory(prefix="workbench-verify-") as scratch:
        again = replace(plan, grid=replace(plan.grid, folder=Path(scratch)))
        run_cells(again, [cell for cell in wanted.values() if cell], workers, progress, scheduler)
        spread = _spread(results.read_report(folder))
        verdicts = [_compare(folder, key, scratch, cell, spread) for key, cell in wanted.items()]
    about = recorded[ABOUT].reset_index(drop=True)
    return pd.concat([about, pd.DataFrame(verdicts, columns=["verdict", "detail"])], axis=1)


def _identity(cell: dict) -> str:
    """What makes two cells of two plans the same question, whatever the code that answers it."""
    names = ("dataset", "generator", "params", "seed", "rows", "kernel")
    return grids.canonical(
        {name: cell[name] for name in names}
        | {name: cell.get(name, 0) for name in ("split", "draw")}
    )


def _compare(
    folder: Path, key: str, scratch: str, cell: grids.Cell | None, spread: pd.Series
) -> tuple[str, str]:
    if cell is None:
        return "different", "the grid no longer asks for this cell"
    old, new = results.manifest(folder, key), results.manifest(scratch, cell.key)
    tampered = _tampered(folder / "runs" / key)
    if tampered:
        return "different", tampered
    if new["status"] != "ok":
        return "different", f"it ended with {new['status']}: {new['reason']}"
    if old["hashes"] == new["hashes"]:
        return "identical", ""
    number, ratio = _first_difference(
        folder / "runs" / key, Path(scratch, "runs", cell.key), spread, old["cell"]
    )
    change = _first_change(old, new)
    if change and ratio <= SPREADS:
        return "within tolerance", f"{change}; {number}"
    return "different", "; ".join(filter(None, [change, number]))


def _tampered(run: Path) -> str:
    """Which file of a finished cell is not the one that was stored."""
    for name, recorded in json.loads((run / "DONE").read_text(encoding="utf-8")).items():
        path = run / name
        if not path.is_file() or keys.digest(path.read_bytes()) != recorded:
            return f"the recorded {name} was changed after it was stored"
    return ""


def _first_change(old: dict, new: dict) -> str:
    """The first part of the fingerprint that changed, in words."""
    facts = []
    for inputs, record in ((old["inputs"], old), (new["inputs"], new)):
        sources = {f"source of {name}": value[:8] for name, value in inputs["sources"].items()}
        data = {f"{part} rows": inputs["data"][part][:8] for part in ("train", "test")}
        code = {"notebook": inputs["notebook"][:8], "plug-in": inputs.get("plugin", "")[:8]}
        facts.append(data | record["versions"] | record["fingerprint"] | sources | code)
    for name in facts[0] | facts[1]:
        before, after = (fact.get(name, "nothing") for fact in facts)
        if before != after:
            return f"{name}: {before} then, {after} now"
    return ""


def _first_difference(old: Path, new: Path, spread: pd.Series, cell: dict) -> tuple[str, float]:
    """The first row whose value differs, in words, and the largest difference of all rows in
    spreads between seeds.
    """
    tables = [read_rows(path / "rows.parquet").set_index(SUBJECT)["value"] for path in (old, new)]
    if not tables[0].index.equals(tables[1].index):
        return "other rows were measured", np.inf
    before, after = (table.to_numpy() for table in tables)
    differs = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    if not differs.any():
        return "the synthetic table differs, no value of the rows does", 0.0
    subjects = [
        (cell["dataset"], cell.get("split", 0), cell["label"], *subject)
        for subject in tables[0].index
    ]
    allowed = spread.reindex(pd.MultiIndex.from_tuples(subjects)).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(differs, np.abs(after - before) / allowed, 0.0)
    first = int(np.argmax(differs))
    name = " ".join(filter(None, tables[0].index[first]))
    return f"{name}: {before[first]:.6g} then, {after[first]:.6g} now", float(
        np.max(np.nan_to_num(ratio, nan=np.inf))
    )


def _spread(rows: pd.DataFrame) -> pd.Series:
    """Standard deviation of each number between the seeds and draws of one dataset, split and
    label.
    """
    return rows.groupby(["dataset", "split", "label", *SUBJECT])["value"].std()
