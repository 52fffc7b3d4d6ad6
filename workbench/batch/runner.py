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
import sys
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future
from concurrent.futures import wait as wait_for
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from workbench.batch import grid as grids
from workbench.batch import keys
from workbench.batch.folder import Folder, State, explained, says_disk_full
from workbench.batch.progress import LivePage, Watch, log, status
from workbench.batch.spec import FINAL, STATUSES, Outcome, Spec
from workbench.errors import InputError
from workbench.files import read_given

__all__ = ["Summary", "log", "run", "run_cells", "status"]

# What the parameters cell of the notebook is given.
PARAMETERS = (
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
)
# How long the fits of a family take, in steps: below a second, seconds, tens of seconds, minutes.
EXPENSE = {
    "control": 0,
    "statistical": 0,
    "bayesian network": 1,
    "mitigation": 1,
    "adversarial": 2,
    "autoencoder": 2,
    "diffusion": 2,
    "autoregressive": 2,
    "simulation": 3,
    "language model": 3,
}
PLUG_IN = 2  # nobody knows how long somebody's own takes
MOST_SNAPSHOTS = 3  # tables that are kept as bytes
MAX_LOST = 3  # times that a cell is run again after something outside it killed its processes


@dataclass(frozen=True)
class Summary:
    """How a run ended. counts: status -> cells. before: cells that were finished when it began."""

    counts: dict
    before: int
    seconds: float

    def __str__(self) -> str:
        parts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return (
            f"{sum(self.counts.values())} cells: {parts} ({self.before} finished before) in"
            f" {self.seconds:.0f} s"
        )


def run(
    folder: Path | str,
    workers: int | None = None,
    progress: bool = True,
    scheduler: str | None = None,
    retry_failed: bool = False,
    wait: bool = False,
    backend=None,
    live: LivePage | None = None,
) -> Summary:
    """Run the pending cells of folder/grid.toml and store them under folder/runs.

    workers: cells at a time (default: cores // threads). scheduler: "tcp://HOST:PORT" of a Dask
    cluster to run them on. retry_failed: also run cells that failed or were skipped before. wait:
    wait for another run on this folder, do not refuse. backend: an object like those of
    workbench.batch.backends. live: writes the page while cells run. Raises InputError for mistakes
    in the grid, a folder that another run holds, and a full disk; finished cells are kept in each
    case.
    """
    began = time.time()
    home = Folder(folder)
    # Before the lock: a mistake in the grid is told even while another run holds the folder.
    grid = grids.read(home.path)
    with explained(home.path), home.lock(wait):
        # Only with the lock held: half-written folders may be those of a run that lives.
        home.sweep()
        plan = grids.plan(grid)
        pending = pending_cells(plan, home, retry_failed)
        for cell in pending:
            if problem := home.state(cell.key).problem:
                print(f"workbench: {problem}", file=sys.stderr)
        # Also what failed under these very limits: it would fail again.
        before = len(plan.cells) - len(pending)
        pending = _queue(plan, pending)
        run_cells(plan, home, pending, workers, progress, scheduler, before, backend, live)
        counts = Counter(home.statuses(cell.key for cell in plan.cells).values())
    return Summary(
        {status: counts[status] for status in STATUSES if counts[status]},
        before,
        time.time() - began,
    )


def run_cells(
    plan: grids.Plan,
    home: Folder,
    cells: list[grids.Cell],
    workers: int | None = None,
    progress: bool = True,
    scheduler: str | None = None,
    before: int = 0,
    backend=None,
    live: LivePage | None = None,
) -> None:
    """Run `cells` of a plan and store them in `home`, which the caller holds alone."""
    # Read once and given to every cell: an edit during the run changes none of them.
    notebook = grids.NOTEBOOK.read_text(encoding="utf-8")
    _check_notebook(plan, notebook)
    home.write_plan(plan)
    if cells:
        backend = backend or _backend(workers, scheduler, plan.grid.threads)
        with Watch(home.path, len(cells) + before, before, backend, progress) as watch:
            _run_all(plan, home, notebook, cells, backend, watch, live)


def _run_all(
    plan: grids.Plan,
    home: Folder,
    notebook: str,
    pending: list[grids.Cell],
    backend,
    watch: Watch,
    live: LivePage | None = None,
) -> None:
    """Keep `backend.slots` cells in flight; store outcomes as they come, run again what may be."""
    # Waiting, running, and the few tables that are kept as bytes.
    queue, flying, snapshots = deque(pending), {}, {}
    first = {cell.key for cell in pending if _is_first_round(plan, cell)}
    lost, attempts = Counter(), {cell.key: [] for cell in pending}
    try:
        while queue or flying:
            # Slots are asked each time: a cluster grows and shrinks.
            while queue and len(flying) < backend.slots:
                cell = queue.popleft()
                flying[backend.submit(make_spec(plan, cell, notebook, snapshots))] = cell
                watch.start(cell)
            done, _ = wait_for(flying, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                cell = flying.pop(future)
                outcome = _outcome(future)
                watch.stop(cell)
                # Killed from outside: that is no result, and the cell is begun again.
                if outcome.status == "lost":
                    lost[cell.key] += 1
                    if lost[cell.key] <= MAX_LOST and not outcome.final:
                        queue.appendleft(cell)
                        continue
                    times = "" if outcome.final else f"killed {lost[cell.key]} times: "
                    outcome = replace(outcome, status="error", reason=times + outcome.reason)
                about = {"status": outcome.status, "reason": outcome.reason}
                attempts[cell.key].append(about | {"seconds": outcome.seconds})
                home.store(plan, cell, outcome, attempts[cell.key])
                # Each attempt is stored: what failed first may be the interesting one.
                left = plan.limits_of(cell).retries + 1 - len(attempts[cell.key])
                if outcome.status not in FINAL and left > 0:
                    queue.append(cell)
                else:
                    watch.finish(cell, outcome.status)
                    first.discard(cell.key)
            watch.show()
            if live:
                live.look(watch.finished, first_round_is_done=not first)
    finally:
        backend.close()
        if live:
            live.close()


def _outcome(future: Future) -> Outcome:
    """A cell's outcome; a worker that the cluster lost again and again is the cell's own failure."""
    try:
        # The cell's own failures are outcomes; what is raised here is the backend's.
        outcome = future.result()
    except InputError:
        raise
    except CancelledError:
        raise InputError(
            "the scheduler is gone: finished cells are kept; run again when it is back."
        ) from None
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        reason = str(error).splitlines()[0]
        about: dict[str, Any] = keys.machine() | {"reason": reason, "final": True}
        return Outcome("lost", **about)
    if outcome.status not in FINAL and says_disk_full(outcome.reason):
        raise OSError(errno.ENOSPC, outcome.reason)
    return outcome


def make_spec(plan: grids.Plan, cell: grids.Cell, notebook: str, snapshots: dict) -> Spec:
    """Everything that workbench.batch.worker.pool.execute needs for one cell."""
    from workbench.batch.cell import snapshot

    # All that the cell needs goes along: the worker may share no disk with us.
    inputs = plan.inputs_of(cell)
    data = grids.data_place(cell)
    if data not in snapshots:
        # The bytes of few tables at a time; the plan's order is by dataset and split.
        while len(snapshots) >= MOST_SNAPSHOTS:
            del snapshots[next(iter(snapshots))]
        parts = snapshot(plan.data_of(cell))
        name = keys.digest(grids.canonical(inputs["data"]))[:16]
        snapshots[data] = {"hash": f"d{name}", "files": parts}
    files: dict[str, str | bytes] = {}
    generator, params = cell.generator, dict(cell.params)
    if grids.given_name(cell):
        params["table"] = _pack_table(files, plan, cell, inputs["table"])
    if place := grids.plugin(plan.home, cell.generator):
        generator = _pack(files, place, inputs["plugin"])
    for name, place in grids.plugins(plan.home, params).items():
        params[name] = _pack(files, place, inputs["parameter plugins"][name])
    parameters = {
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
    }
    return Spec(
        key=cell.key,
        parameters=parameters,
        notebook=notebook,
        data=snapshots[data],
        files=files,
        limits=asdict(plan.limits_of(cell)),
        threads=cell.threads,
        imports=plan.imports,
        modules=plan.modules[cell.label],
        sources=inputs["sources"],
        versions=inputs["versions"],
    )


def _pack_table(files: dict, plan: grids.Plan, cell: grids.Cell, planned: str) -> str:
    """Put a given table's bytes into `files`; returns its name for the cell. planned: its sha256."""
    name = grids.given_name(cell)
    # Against the planned hash, or numbers would stand under a key of other bytes.
    content = plan.given_file(cell).read()
    if keys.digest(content) != planned:
        raise InputError(f"table {name!r} changed while its cells were running; run again.")
    place = f"given/{Path(name).name}"
    files[place] = content
    return place


def _pack(files: dict[str, str | bytes], place: tuple[Path, str], planned: str) -> str:
    """Put a plug-in's text into `files`; returns its name for the cell. planned: its sha256.

    Two plug-ins may have one file name: the second goes into a folder of its own, or the code of
    one would run under the name of the other.
    """
    path, class_name = place
    text = read_given(path)
    if keys.digest(text) != planned:
        raise InputError(f"plug-in {path} changed while its cells were running; run again.")
    name = path.name
    if files.get(name, text) != text:
        name = f"{planned[:16]}/{path.name}"
    files[name] = text
    return f"./{name}:{class_name}"


def pending_cells(plan: grids.Plan, home: Folder, retry_failed: bool = False) -> list[grids.Cell]:
    """The planned cells still to run: not finished as they were stored, and not failed under the
    same limits unless asked for.

    A skipped cell is asked for too: what it lacked (the address of a model server) may be no part
    of its key.
    """

    def again(cell: grids.Cell, state: State) -> bool:
        if state.status in FINAL:
            return retry_failed and state.status == "skipped"
        if state.status == "pending" or retry_failed:
            return True
        return state.limits != asdict(plan.limits_of(cell))

    # In the plan's order; the queue has another.
    return [cell for cell in plan.cells if again(cell, home.state(cell.key))]


def _queue(plan: grids.Plan, pending: list[grids.Cell]) -> list[grids.Cell]:
    """The pending cells as they are started: by `_turn`, but for the second one of a table.

    The first cell of a table, split and seed measures the floors and ceilings that all its cells
    share. Started beside it, another cheap cell would soon need the same and measure them once
    more; one of those that take longest learns meanwhile and finds them kept.
    """
    # Sorted by seed, split and table first; within one table by expense.
    queue: list[grids.Cell] = []
    in_turn = sorted(pending, key=lambda cell: _turn(plan, cell))
    for _, group in groupby(in_turn, key=lambda cell: _turn(plan, cell)[:-1]):
        cells = list(group)
        dearest = max(cells[1:], key=lambda cell: _turn(plan, cell), default=None)
        if dearest:
            cells.remove(dearest)
            cells.insert(1, dearest)
        queue += cells
    return queue


def _turn(plan: grids.Plan, cell: grids.Cell) -> tuple[int, ...]:
    """A cell's place in the queue: one seed of everything first, and in it what is cheap.

    A batch that is stopped early has then something to show of every method. Cells of one table
    stay together within a seed, because one table at a time is kept as bytes.
    """
    tables = [row["name"] for row in plan.grid.datasets]
    entry = grids.GENERATORS.get(cell.generator)
    expense = EXPENSE.get(entry.family, PLUG_IN) if entry else PLUG_IN
    if cell.generator == grids.GIVEN:
        expense = 0
    seeds = plan.grid.seeds
    # A given table's seed is its number among the files.
    seed = seeds.index(cell.seed) if cell.seed in seeds else len(seeds) + cell.seed
    return (
        plan.grid.draws.index(cell.draw),
        seed,
        plan.grid.splits.index(cell.split),
        tables.index(cell.dataset),
        expense,
    )


def _is_first_round(plan: grids.Plan, cell: grids.Cell) -> bool:
    """Whether a cell belongs to the first seed of everything, from which a first page is written."""
    grid = plan.grid
    return (cell.draw, cell.seed, cell.split) == (grid.draws[0], grid.seeds[0], grid.splits[0])


def _backend(workers: int | None, scheduler: str | None, threads: int):
    from workbench.batch import backends

    return backends.Cluster(scheduler) if scheduler else backends.Processes(workers, threads)


def _check_notebook(plan: grids.Plan, text: str) -> None:
    """The notebook must be the planned one, and its parameters cell must know every name we set:
    papermill would inject an unknown one without a word.
    """
    # Of all cells: the plan read the notebook a moment before us.
    planned = {inputs["notebook"] for inputs in plan.inputs.values()}
    if planned != {keys.digest(grids.canonical(grids.notebook_code(text)))}:
        raise InputError(f"{grids.NOTEBOOK} changed after its cells were planned; run again.")
    tagged = [
        "".join(cell["source"])
        for cell in json.loads(text)["cells"]
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    names = set()
    for source in tagged:
        for node in ast.parse(source).body:
            names |= {target.id for target in getattr(node, "targets", ())}
    for name in PARAMETERS:
        if name not in names or len(tagged) != 1:
            raise InputError(
                f"{grids.NOTEBOOK} needs exactly one cell tagged parameters, with {name} among its"
                " names."
            )
