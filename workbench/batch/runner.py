"""A grid's cells -> finished runs in the report folder: in parallel, resumable, and never half
written.

    plan -> lock the folder -> sweep what a dead run left -> submit pending cells -> store each
    outcome, DONE last

A finished cell is never run again. A failed one is a row of the report; it is tried again when
asked, or when its limits changed. What a cell needs and makes travels as JSON and bytes, so a cell
on another machine is a cell like any other.
"""

from __future__ import annotations

import ast
import errno
import json
import shutil
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future
from concurrent.futures import wait as wait_for
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench.batch import grid as grids
from workbench.batch import keys, results
from workbench.batch.progress import Watch, log, status
from workbench.batch.store import FINAL, STATUSES, explained, lock, says_disk_full, status_of, store
from workbench.errors import InputError
from workbench.files import write_json

__all__ = ["Summary", "log", "run", "run_cells", "status"]

MAX_LOST = 3  # times that a cell is run again after something outside it killed its processes


@dataclass(frozen=True)
class Summary:
    """How a run ended. counts: status -> cells. before: cells that were finished when it began."""

    counts: dict
    before: int
    seconds: float

    def __str__(self) -> str:
        parts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return f"{sum(self.counts.values())} cells: {parts} ({self.before} finished before) in {self.seconds:.0f} s"


def run(
    folder: Path | str,
    workers: int | None = None,
    progress: bool = True,
    scheduler: str | None = None,
    retry_failed: bool = False,
    wait: bool = False,
    backend=None,
) -> Summary:
    """Run the pending cells of folder/grid.toml and store them under folder/runs.

    workers: cells at a time (default: cores // threads). scheduler: "tcp://HOST:PORT" of a Dask
    cluster to run them on. retry_failed: also run cells that failed or were skipped before. wait:
    wait for another run on this folder, do not refuse. backend: an object like those of
    workbench.batch.backends. Raises InputError for mistakes in the grid, a folder that another run
    holds, and a full disk; finished cells are kept in each case.
    """
    began, folder = time.time(), Path(folder)
    grid = grids.read(folder)
    with lock(folder, wait), explained(folder):
        shutil.rmtree(folder / ".tmp", ignore_errors=True)
        plan = grids.plan(grid)
        pending = pending_cells(plan, retry_failed)
        before = len(plan.cells) - len(pending)
        run_cells(plan, pending, workers, progress, scheduler, before, backend)
        counts = Counter(status_of(folder, {cell.key for cell in plan.cells}).values())
    return Summary(
        {status: counts[status] for status in STATUSES if counts[status]},
        before,
        time.time() - began,
    )


def run_cells(
    plan: grids.Plan,
    cells: list[grids.Cell],
    workers: int | None = None,
    progress: bool = True,
    scheduler: str | None = None,
    before: int = 0,
    backend=None,
) -> None:
    """Run `cells` of a plan and store them in its folder, which the caller holds alone."""
    _check_parameters()
    write_json(plan.grid.folder / "plan.json", _plan_record(plan))
    if cells:
        backend = backend or _backend(workers, scheduler, plan.grid.threads)
        with Watch(plan.grid.folder, len(cells) + before, before, backend, progress) as watch:
            _run_all(plan, cells, backend, watch)


def _run_all(plan: grids.Plan, pending: list[grids.Cell], backend, watch: Watch) -> None:
    """Keep `backend.slots` cells in flight; store outcomes as they come, run again what may be."""
    queue, flying, snapshots = deque(pending), {}, {}
    lost, attempts = Counter(), {cell.key: [] for cell in pending}
    try:
        while queue or flying:
            while queue and len(flying) < backend.slots:
                cell = queue.popleft()
                flying[backend.submit(make_spec(plan, cell, snapshots))] = cell
                watch.start(cell)
            done, _ = wait_for(flying, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                cell = flying.pop(future)
                outcome = _outcome(future)
                watch.stop(cell)
                if outcome["status"] == "lost":
                    lost[cell.key] += 1
                    if lost[cell.key] <= MAX_LOST and not outcome.get("final"):
                        queue.appendleft(cell)
                        continue
                    times = (
                        "" if outcome.pop("final", False) else f"killed {lost[cell.key]} times: "
                    )
                    outcome |= {"status": "error", "reason": times + outcome["reason"]}
                attempts[cell.key].append(
                    {name: outcome[name] for name in ("status", "reason", "seconds")}
                )
                store(plan, cell, outcome, attempts[cell.key])
                if (
                    outcome["status"] not in FINAL
                    and len(attempts[cell.key]) <= plan.grid.limits.retries
                ):
                    queue.append(cell)
                else:
                    watch.finish(cell, outcome["status"])
            watch.show()
    finally:
        backend.close()


def _outcome(future: Future) -> dict:
    """A cell's outcome; a worker that the cluster lost again and again is the cell's own failure."""
    blank = {
        "phase": "start",
        "phases": {},
        "seconds": 0.0,
        "peak_mb": None,
        "traceback": "",
        "files": {},
    }
    try:
        outcome = blank | future.result()
    except InputError:
        raise
    except CancelledError:
        raise InputError(
            "the scheduler is gone: finished cells are kept; run again when it is back."
        ) from None
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        return (
            blank
            | keys.machine()
            | {
                "status": "lost",
                "final": True,
                "reason": str(error).splitlines()[0],
                "fingerprint": {},
                "started": "",
            }
        )
    if outcome["status"] not in FINAL and says_disk_full(outcome["reason"]):
        raise OSError(errno.ENOSPC, outcome["reason"])
    return outcome


def make_spec(plan: grids.Plan, cell: grids.Cell, snapshots: dict) -> dict:
    """Everything that workbench.batch.worker.supervisor.execute needs for one cell, as JSON values
    and bytes.
    """
    from workbench.batch.cell import snapshot

    inputs, data = plan.inputs[cell.dataset, cell.split, cell.label], (cell.dataset, cell.split)
    if data not in snapshots:
        snapshots.clear()  # one table's bytes at a time; the plan's order is by dataset and split
        parts = snapshot(plan.data[data])
        name = keys.digest(grids.canonical(inputs["data"]))[:16]
        snapshots[data] = {"hash": f"d{name}", "files": parts}
    place, files, generator = grids.plugin(plan.home, cell.generator), {}, cell.generator
    if place:
        path, class_name = place
        files, generator = (
            {path.name: path.read_text(encoding="utf-8")},
            f"./{path.name}:{class_name}",
        )
        if keys.digest(files[path.name]) != inputs["plugin"]:
            raise InputError(f"plug-in {path} changed while its cells were running; run again.")
    params = dict(cell.params)
    for key, (path, class_name) in grids.plugins(plan.home, params).items():
        files[path.name], params[key] = (
            path.read_text(encoding="utf-8"),
            f"./{path.name}:{class_name}",
        )
        if keys.digest(files[path.name]) != inputs["parameter plugins"][key]:
            raise InputError(f"plug-in {path} changed while its cells were running; run again.")
    return {
        "key": cell.key,
        "parameters": {
            "dataset": cell.dataset,
            "generator": generator,
            "params": params,
            "seed": cell.seed,
            "split": cell.split,
            "draw": cell.draw,
            "rows": cell.rows,
            "kernel": cell.kernel,
            "snapshot": "data",
            "out": "out",
        },
        "notebook": grids.NOTEBOOK.read_text(encoding="utf-8"),
        "data": snapshots[data],
        "files": files,
        "limits": asdict(plan.grid.limits),
        "threads": cell.threads,
        "imports": plan.imports,
        "modules": plan.modules[cell.label],
        "sources": inputs["sources"],
        "versions": inputs["versions"],
    }


def pending_cells(plan: grids.Plan, retry_failed: bool = False) -> list[grids.Cell]:
    """The planned cells still to run: not finished, and not failed under the same limits unless
    asked for.

    A skipped cell is asked for too: what it lacked (the address of a model server) may be no part
    of its key.
    """
    folder, limits = plan.grid.folder, asdict(plan.grid.limits)
    known = status_of(folder, {cell.key for cell in plan.cells})

    def again(key: str) -> bool:
        failed = known[key] not in FINAL and (
            retry_failed or results.manifest(folder, key)["limits"] != limits
        )
        return failed or (retry_failed and known[key] == "skipped")

    return [cell for cell in plan.cells if cell.key not in known or again(cell.key)]


def _backend(workers: int | None, scheduler: str | None, threads: int):
    from workbench.batch import backends

    return backends.Cluster(scheduler) if scheduler else backends.Processes(workers, threads)


def _check_parameters() -> None:
    """The notebook's parameters cell must know every name we set: papermill would inject an unknown
    one without a word.
    """
    cells = json.loads(grids.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    tagged = [
        "".join(cell["source"])
        for cell in cells
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    names = {
        target.id
        for text in tagged
        for node in ast.parse(text).body
        for target in getattr(node, "targets", ())
    }
    for name in (
        "dataset",
        "generator",
        "params",
        "seed",
        "split",
        "draw",
        "rows",
        "kernel",
        "snapshot",
        "out",
    ):
        if name not in names or len(tagged) != 1:
            raise InputError(
                f"{grids.NOTEBOOK} needs exactly one cell tagged parameters, with {name} among its names."
            )


def _plan_record(plan: grids.Plan) -> dict:
    grid = plan.grid
    about = {"title": grid.title, "threads": grid.threads, "limits": asdict(grid.limits)}
    return about | {"cells": [asdict(cell) for cell in plan.cells]}
