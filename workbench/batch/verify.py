"""Re-run finished cells in a scratch folder and compare what comes out, byte for byte, with the
files of the folder.

identical          the same synthetic table and the same rows, on disk as recorded
within tolerance   another fingerprint (versions, threads, vector instructions, sources), and every
                   number within the spread that other seeds of the same generator show
different          anything else, with the first number, version, source or file that differs
not reproducible by design
                   the noise of a private generator came from the operating system, and nobody can
                   repeat it: the inputs and the budget are the same, and the same rows were
                   measured
not verified       the re-run was cut off by a limit or from outside, or one of the two was skipped:
                   it says nothing about the cell
not run again      the cell had failed; that it did is its sender's word

The plan is held against the grid, and each finished cell against the plan.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch import grid as grids
from workbench.batch.folder import Folder, explained
from workbench.batch.results import RECORD, Results, is_results, without_schema
from workbench.batch.runner import run_cells
from workbench.batch.spec import FINAL
from workbench.errors import InputError
from workbench.files import Damaged

SUBJECT = ["metric", "column", "group"]
SPREADS = 4.0  # standard deviations between seeds that a number may be off on another fingerprint
ABOUT = ["key", "dataset", "label", "split", "seed", "draw"]
COLUMNS = [*ABOUT, "verdict", "detail"]
CUT_OFF = ("timeout", "out-of-memory")  # how a re-run may end that a quieter machine would finish


def verify(
    folder: Path | str,
    cells: int | None = None,
    workers: int | None = None,
    progress: bool = True,
    scheduler: str | None = None,
) -> pd.DataFrame:
    """One row for each cell that was re-run, and one for each fault of the folder: columns COLUMNS;
    all match where no verdict is "different" or "not verified".

    cells: how many of the finished cells, a choice that depends on nothing but their keys (default:
    all of them). Raises InputError where the folder has no finished cells, or its grid cannot be
    planned any more.
    """
    if is_results(folder):
        return _verify_results(Results(folder), cells, workers, progress, scheduler)
    home = Folder(folder)
    plan = grids.plan(grids.read(home.path))
    planned = {_identity(vars(cell)): cell for cell in plan.cells}
    # First what can be seen without running anything.
    lines = [*_disk_faults(home), *_grid_faults(home, planned)]
    chosen = _finished(home, plan)[:cells]
    # Also those that are not run again: the spread between seeds needs them.
    sound = [key for key in home.finished() if home.state(key).status == "ok"]
    wanted = {key: planned.get(_identity(home.manifest(key)["cell"])) for key in chosen}
    if not chosen and not lines:
        raise InputError(f"{home.path} has no finished cells; run it: workbench run {home.path}")
    how = (workers, progress, scheduler)
    lines += _run_again(home, plan, wanted, _spread(home, sound), how)
    lines += _failed(home, plan)
    return pd.DataFrame(lines, columns=COLUMNS)


def _run_again(
    home: Folder | Results,
    plan: grids.Plan,
    wanted: Mapping[str, grids.Cell | None],
    spread: pd.Series,
    how: tuple[int | None, bool, str | None],
) -> list[dict]:
    """A line for each key: its cell is run in a scratch folder, and both are compared."""
    lines = []
    with explained(home.path), tempfile.TemporaryDirectory(prefix="workbench-verify-") as scratch:
        # Elsewhere: the folder under test is not written.
        again = Folder(scratch)
        run_cells(plan, again, [cell for cell in wanted.values() if cell], *how)
        for key, cell in wanted.items():
            try:
                verdict, detail = _compare(home, key, again, cell, spread)
            except Damaged as damage:
                verdict, detail = "different", str(damage)
            lines.append(_line(home.manifest(key)["cell"] | {"key": key}, verdict, detail))
    return lines


def _verify_results(
    home: Results, cells: int | None, workers: int | None, progress: bool, scheduler: str | None
) -> pd.DataFrame:
    """The same of a results folder: each cell by the grid that asked for it."""
    if found := home.problems():
        lines = [_line({"label": RECORD}, "different", problem) for problem in found]
        return pd.DataFrame(lines, columns=COLUMNS)
    table = home.cells()
    finished = table[table["status"].isin(FINAL)].sort_values("key", kind="stable")
    chosen = finished if cells is None else finished.head(cells)
    if not len(chosen):
        raise InputError(f"{home.path} has no finished cells.")
    spread = _spread(home, list(finished.loc[finished["status"] == "ok", "key"]))
    how = (workers, progress, scheduler)
    lines = []
    for name, of in chosen.groupby("grid", sort=False):
        plan = grids.plan(grids.read((home.path / str(name)).parent))
        planned = {_identity(vars(cell)): cell for cell in plan.cells}
        wanted = {key: planned.get(_identity(home.manifest(key)["cell"])) for key in of["key"]}
        lines += _run_again(home, plan, wanted, spread, how)
    failed = table[~table["status"].isin(["pending", *FINAL])]
    for cell in failed.to_dict("records"):
        detail = f"it had ended with {cell['status']}: {cell['reason']}"
        lines.append(_line(cell, "not run again", detail))
    return pd.DataFrame(lines, columns=COLUMNS)


def faults(folder: Path | str) -> pd.DataFrame:
    """The faults that `verify` finds without running or loading anything: columns COLUMNS."""
    if is_results(folder):
        found = Results(folder).problems()
        lines = [_line({"label": RECORD}, "different", problem) for problem in found]
        return pd.DataFrame(lines, columns=COLUMNS)
    return pd.DataFrame(list(_disk_faults(Folder(folder))), columns=COLUMNS)


def _line(cell: Mapping, verdict: str, detail: str) -> dict:
    blank = {"key": "", "dataset": "", "label": "", "split": 0, "seed": 0, "draw": 0}
    about = {name: cell.get(name, blank[name]) for name in ABOUT}
    return about | {"verdict": verdict, "detail": detail}


def _finished(home: Folder, plan: grids.Plan) -> list[str]:
    """The keys of the finished cells that the grid or the plan on disk asks for, in order.

    A cell that was struck from the plan is still asked for by the grid; one whose code changed has
    another key there, and is found by the plan.
    """
    # Both lists, so that nobody hides a cell by striking it from one.
    keys = {cell.key for cell in plan.cells}
    with suppress(InputError):  # `_disk_faults` says what is wrong with it
        keys |= {cell["key"] for cell in home.read_plan()["cells"]}
    return [key for key in home.finished() if key in keys]


def _failed(home: Folder, plan: grids.Plan) -> Iterator[dict]:
    """The planned cells that failed: to run into the same limit again proves little."""
    for cell in plan.cells:
        state = home.state(cell.key)
        if state.status not in ("pending", *FINAL):
            detail = f"it had ended with {state.status}: {state.facts['reason']}"
            yield _line(vars(cell), "not run again", detail)


def _disk_faults(home: Folder) -> Iterator[dict]:
    """Where a finished cell or plan.json is not what a run wrote, as their digests say."""
    # Also cells that no plan names: they are somebody's numbers.
    for key, problem in home.altered().items():
        yield _line({"key": key}, "different", problem)
    try:
        found = home.read_plan()
    except Damaged as damage:
        yield _line({"label": "plan.json"}, "different", str(damage))
        return
    if not home.plan_is_as_written:
        yield _line({"label": "plan.json"}, "different", "it was changed after it was written")
    for name in home.changed_files():
        yield _line({"label": name}, "different", "it is not the one that was run")
    with suppress(Damaged):
        for key, detail in home.strays().items():
            yield _line({"key": key}, "different", detail)
    for cell in found["cells"]:
        if home.state(cell["key"]).status in ("ok", "skipped"):
            stored = home.manifest(cell["key"])["cell"]
            if _identity(stored) != _identity(cell):
                detail = "plan.json gives this name to another cell's numbers"
                yield _line(cell, "different", detail)


def _grid_faults(home: Folder, planned: Mapping[str, grids.Cell]) -> Iterator[dict]:
    """Where plan.json is not what the grid asks for."""
    try:
        on_disk = {_identity(cell): cell for cell in home.read_plan()["cells"]}
    except Damaged:
        return  # `_disk_faults` says so
    for identity, cell in planned.items():
        if identity not in on_disk:
            yield _line(
                vars(cell), "different", "plan.json lacks this cell, which the grid asks for"
            )
        elif on_disk[identity]["label"] != cell.label:
            detail = f"plan.json calls it {on_disk[identity]['label']!r}, the grid {cell.label!r}"
            yield _line(vars(cell), "different", detail)


def _identity(cell: Mapping) -> str:
    """What makes two cells of two plans the same question, whatever the code that answers it."""
    # What is asked, without threads and limits, which change no number.
    names = ("dataset", "generator", "params", "seed", "rows", "kernel", "train_rows")
    about = {name: cell.get(name) for name in names}
    for name in ("split", "draw"):
        about[name] = cell.get(name, 0)
    try:
        return grids.canonical(about)
    except (ValueError, RecursionError):
        return repr(sorted(map(str, about)))  # of nobody's plan


def _compare(
    home: Folder | Results,
    key: str,
    again: Folder,
    cell: grids.Cell | None,
    spread: pd.Series,
) -> tuple[str, str]:
    if cell is None:
        return "different", "the grid no longer asks for this cell"
    # Statuses first, then inputs, then bytes, and only then numbers.
    old, new = home.manifest(key), again.manifest(cell.key)
    if new["status"] in CUT_OFF or (
        new["status"] == "error" and new["reason"].startswith("killed")
    ):
        return "not verified", f"its re-run was cut off: {new['reason']}"
    if "skipped" in (old["status"], new["status"]):
        return _compare_skipped(old, new)
    if new["status"] != "ok":
        return "different", f"it ended with {new['status']}: {new['reason']}"
    # Another fingerprint excuses another last digit, and nothing more.
    change = _first_change(old, new)
    # A results folder keeps no schemas.
    inputs = without_schema(new["inputs"]) if isinstance(home, Results) else new["inputs"]
    if key == cell.key and grids.canonical(old["inputs"]) != grids.canonical(inputs):
        return "different", f"manifest.json records other inputs than it was run with; {change}"
    # The recorded hashes are those of the files on disk: Folder has compared them.
    if old["hashes"] == new["hashes"]:
        return "identical", ""
    if _has_fresh_noise(old) and _has_fresh_noise(new):
        return _compare_private(home.cell_rows(key), again.cell_rows(cell.key), old, new)
    tables = home.cell_rows(key), again.cell_rows(cell.key)
    number, ratio = _first_difference(*tables, spread, old["cell"])
    if change and ratio <= SPREADS:
        return "within tolerance", f"{change}; {number}"
    return "different", "; ".join(filter(None, [change, number]))


def _compare_skipped(old: dict, new: dict) -> tuple[str, str]:
    """Whether a cell is skipped may depend on the machine: on the address of a model server, say."""
    if old["status"] == new["status"]:
        same = old["reason"] == new["reason"]
        return ("identical", "") if same else ("different", f"its reason is now: {new['reason']}")
    if old["status"] == "skipped":
        return "not verified", f"it was skipped ({old['reason']}), and is {new['status']} here"
    return "not verified", f"it is skipped here: {new['reason']}"


def _has_fresh_noise(manifest: dict) -> bool:
    """Whether the cell's generator drew noise of the operating system's entropy."""
    return (manifest.get("facts") or {}).get("noise") == "operating system"


def _compare_private(
    old: pd.DataFrame, new: pd.DataFrame, before: dict, after: dict
) -> tuple[str, str]:
    """What can be compared where the noise cannot be repeated: inputs, claims, and which metrics
    there are.
    """
    change = _first_change(before, after)
    # The noise differs by design, what was promised may not.
    for name in ("domain", "epsilon", "delta"):
        was, now = before["facts"].get(name), after["facts"].get(name)
        if was != now:
            return "different", f"{name}: {was} then, {now} now"
    # Not which rows: a group that vanishes has one, and whether one does depends on the noise.
    if set(old["metric"]) != set(new["metric"]):
        return "different", "; ".join(filter(None, [change, "other metrics were measured"]))
    return "not reproducible by design", change


def _first_change(old: dict, new: dict) -> str:
    """The first part of the fingerprint that changed, in words."""
    before, after = _fingerprint(old), _fingerprint(new)
    for name in before | after:
        then, now = before.get(name, "nothing"), after.get(name, "nothing")
        if then != now:
            return f"{name}: {then} then, {now} now"
    return ""


def _fingerprint(record: dict) -> dict[str, str]:
    """What a cell's last digits may depend on, by name; of a manifest that anybody may have
    written.
    """
    inputs = record.get("inputs", {})
    facts = {
        f"{part} rows": str(_table(inputs, "data").get(part, ""))[:8] for part in ("train", "test")
    }
    facts |= {name: str(value) for name, value in record.get("versions", {}).items()}
    facts |= {name: str(value) for name, value in record.get("fingerprint", {}).items()}
    for name, value in _table(inputs, "sources").items():
        facts[f"source of {name}"] = str(value)[:8]
    facts["notebook"] = str(inputs.get("notebook", ""))[:8]
    facts["plug-in"] = str(inputs.get("plugin", ""))[:8]
    return facts


def _table(inputs: dict, name: str) -> dict:
    found = inputs.get(name)
    return found if isinstance(found, dict) else {}


def _first_difference(
    old: pd.DataFrame, new: pd.DataFrame, spread: pd.Series, cell: dict
) -> tuple[str, float]:
    """The first row whose value differs, in words, and the largest difference of all rows in
    spreads between seeds.
    """
    # By what each number is about: the same rows in the same order.
    tables = [table.set_index(SUBJECT)["value"] for table in (old, new)]
    if not tables[0].index.equals(tables[1].index):
        return "other rows were measured", np.inf
    before, after = (table.to_numpy() for table in tables)
    differs = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    if not differs.any():
        return "the synthetic table differs, no value of the rows does", 0.0
    subjects = [
        (str(cell.get("dataset", "")), cell.get("split", 0), str(cell.get("label", "")), *subject)
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


def _spread(home: Folder | Results, keys: list[str]) -> pd.Series:
    """Standard deviation of each number between the seeds and draws of one dataset, split and
    label.
    """
    tables = []
    for key in keys:
        # Seeds and draws of one label: what the same generator differs by.
        cell = home.manifest(key)["cell"]
        about = {name: str(cell.get(name, "")) for name in ("dataset", "label")}
        about["split"] = cell.get("split", 0)
        with suppress(Damaged):  # of which the comparison says so
            tables.append(home.cell_rows(key).assign(**about))
    if not tables:
        return pd.Series(dtype=float)
    rows = pd.concat(tables, ignore_index=True)
    return rows.groupby(["dataset", "split", "label", *SUBJECT])["value"].std()
