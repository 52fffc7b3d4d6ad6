"""A grid's cells -> finished runs in the report folder: in parallel, resumable, and never half written.

    plan -> lock the folder -> sweep what a dead run left -> submit pending cells -> store each outcome, DONE last

A finished cell is never run again. A failed one is a row of the report; it is tried again when asked, or when its limits
changed. What a cell needs and makes travels as JSON and bytes, so a cell on another machine is a cell like any other.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import json
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench import grid as grids
from workbench import provenance, results
from workbench.schema import InputError

STATUSES = ("ok", "skipped", "error", "timeout", "out-of-memory")
FINAL = ("ok", "skipped")
MAX_LOST = 3  # times that a cell is run again after something outside it killed its processes
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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

    workers: cells at a time (default: cores // threads). scheduler: "tcp://HOST:PORT" of a Dask cluster to run them on.
    retry_failed: also run cells that failed before. wait: wait for another run on this folder instead of refusing.
    backend: an object like those of workbench.backends. Raises InputError for mistakes in the grid, a folder that
    another run holds, and a full disk; finished cells are kept in each case.
    """
    began, folder = time.time(), Path(folder)
    grid = grids.read(folder)
    with _lock(folder, wait), _explained(folder):
        shutil.rmtree(folder / ".tmp", ignore_errors=True)
        plan = grids.plan(grid)
        pending = pending_cells(plan, retry_failed)
        before = len(plan.cells) - len(pending)
        run_cells(plan, pending, workers, progress, scheduler, before, backend)
        counts = Counter(status_of(folder, {cell.key for cell in plan.cells}).values())
    return Summary({status: counts[status] for status in STATUSES if counts[status]}, before, time.time() - began)


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
    _write_json(plan.grid.folder / "plan.json", _plan_record(plan))
    if cells:
        backend = backend or _backend(workers, scheduler, plan.grid.threads)
        with _Watch(plan.grid.folder, len(cells) + before, before, backend, progress) as watch:
            _run_all(plan, cells, backend, watch)


def _run_all(plan: grids.Plan, pending: list[grids.Cell], backend, watch: _Watch) -> None:
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
                    outcome |= {"status": "error", "reason": f"killed {lost[cell.key]} times: {outcome['reason']}"}
                attempts[cell.key].append({name: outcome[name] for name in ("status", "reason", "seconds")})
                store(plan, cell, outcome, attempts[cell.key])
                if outcome["status"] not in FINAL and len(attempts[cell.key]) <= plan.grid.limits.retries:
                    queue.append(cell)
                else:
                    watch.finish(cell, outcome["status"])
            watch.show()
    finally:
        backend.close()


def _outcome(future: Future) -> dict:
    """A cell's outcome; a worker that the cluster lost again and again is the cell's own failure."""
    blank = {"phase": "start", "phases": {}, "seconds": 0.0, "peak_mb": None, "traceback": "", "files": {}}
    try:
        outcome = blank | future.result()
    except InputError:
        raise
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        return blank | provenance.machine() | {
            "status": "lost", "final": True, "reason": str(error).splitlines()[0], "fingerprint": {}, "started": "",
        }  # fmt: skip
    if outcome["status"] not in FINAL and _says_disk_full(outcome["reason"]):
        raise OSError(errno.ENOSPC, outcome["reason"])
    return outcome


def make_spec(plan: grids.Plan, cell: grids.Cell, snapshots: dict) -> dict:
    """Everything that workbench.supervise.execute needs for one cell, as JSON values and bytes."""
    from workbench.cell import snapshot

    inputs = plan.inputs[cell.dataset, cell.label]
    if cell.dataset not in snapshots:
        snapshots.clear()  # one dataset's bytes at a time; the plan's order is by dataset
        files = snapshot(plan.data[cell.dataset])
        name = provenance.digest(grids.canonical(inputs["data"]))[:16]
        snapshots[cell.dataset] = {"hash": f"d{name}", "files": files}
    place, files, generator = grids.plugin(plan.home, cell.generator), {}, cell.generator
    if place:
        path, class_name = place
        files, generator = {path.name: path.read_text(encoding="utf-8")}, f"./{path.name}:{class_name}"
        if provenance.digest(files[path.name]) != inputs["plugin"]:
            raise InputError(f"plug-in {path} changed while its cells were running; run again.")
    return {
        "key": cell.key,
        "parameters": {
            "dataset": cell.dataset, "generator": generator, "params": dict(cell.params), "seed": cell.seed,
            "rows": cell.rows, "kernel": cell.kernel, "snapshot": "data", "out": "out",
        },
        "notebook": grids.NOTEBOOK.read_text(encoding="utf-8"),
        "data": snapshots[cell.dataset],
        "files": files,
        "limits": asdict(plan.grid.limits),
        "threads": cell.threads,
        "imports": plan.imports,
        "modules": plan.modules[cell.label],
        "sources": inputs["sources"],
        "versions": inputs["versions"],
    }  # fmt: skip


def store(plan: grids.Plan, cell: grids.Cell, outcome: dict, attempts: list[dict]) -> Path:
    """Write an outcome into runs/KEY or failed/KEY-N as one rename; a crash at any moment leaves all of it or nothing."""
    folder, data = plan.grid.folder, plan.data[cell.dataset]
    record = {
        "key": cell.key,
        "cell": asdict(cell),
        "inputs": plan.inputs[cell.dataset, cell.label],
        "limits": asdict(plan.grid.limits),
        "train_rows": len(data.train),
        "test_rows": len(data.test),
        "threads": cell.threads,
        "versions": plan.inputs[cell.dataset, cell.label]["versions"],
        "attempts": attempts,
    } | {name: value for name, value in outcome.items() if name != "files"}
    files = outcome["files"] | {"manifest.json": json.dumps(record, indent=1, ensure_ascii=False).encode()}
    if outcome["status"] in FINAL:
        files["DONE"] = json.dumps({name: provenance.digest(content) for name, content in files.items()}).encode()
        target = folder / "runs" / cell.key
    else:
        numbers = [int(path.name.rpartition("-")[2]) for path in folder.glob(f"failed/{cell.key}-*")]
        target = folder / "failed" / f"{cell.key}-{max(numbers, default=0) + 1}"
    part = folder / ".tmp" / target.name
    part.mkdir(parents=True)
    for name, content in files.items():  # DONE is the last of them
        with open(part / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync(part)
    target.parent.mkdir(exist_ok=True)
    if target.exists():  # without DONE: somebody else's hand
        shutil.rmtree(target)
    os.replace(part, target)
    _sync(target.parent)
    return target


def pending_cells(plan: grids.Plan, retry_failed: bool = False) -> list[grids.Cell]:
    """The planned cells still to run: not finished, and not failed under the same limits unless asked for."""
    folder, limits = plan.grid.folder, asdict(plan.grid.limits)
    known = status_of(folder, {cell.key for cell in plan.cells})

    def again(key: str) -> bool:
        return known[key] not in FINAL and (retry_failed or results.manifest(folder, key)["limits"] != limits)

    return [cell for cell in plan.cells if cell.key not in known or again(cell.key)]


def status_of(folder: Path, keys: set[str]) -> dict[str, str]:
    """key -> status of the cells that finished or failed."""
    failed = {key: path / "manifest.json" for key, path in results._attempts(folder).items() if key in keys}
    finished = {path.parent.name: path.parent / "manifest.json" for path in Path(folder, "runs").glob("*/DONE")}
    paths = failed | {key: path for key, path in finished.items() if key in keys}
    return {key: json.loads(path.read_text(encoding="utf-8"))["status"] for key, path in paths.items()}


def status(folder: Path | str) -> dict:
    """Counts of a report's cells by status, who is running it, what each of its workers does, and the time left."""
    folder, cells = Path(folder), results.plan(folder)["cells"]
    known = status_of(folder, {cell["key"] for cell in cells})
    counts = Counter(known.values())
    out = {"cells": len(cells)} | {status: counts[status] for status in STATUSES}
    out["pending"] = len(cells) - len(known)
    holder = _holder(folder)
    out["runner"] = holder or "none"
    if holder:
        with suppress(OSError, ValueError):  # it has only just begun
            out |= json.loads((folder / ".running.json").read_text(encoding="utf-8"))
    failed = [cell for cell in cells if known.get(cell["key"], "ok") not in FINAL]
    out["failed"] = [f"{cell['key'][:8]} {_name(cell)}: {known[cell['key']]}" for cell in failed]
    return out


def log(folder: Path | str, key: str) -> str:
    """What a cell left behind, as text: how it ended, its traceback and its log. `key` may be the beginning of one."""
    place = results.place(folder, key)
    record = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    ending = f"{record['status']} in {record['phase'] or 'all phases'} after {record['seconds']:.1f} s"
    lines = [f"{_name(record['cell'])}: {ending}, peak {record['peak_mb'] or 0:.0f} MB", record["reason"], record["traceback"]]
    text = place / "log.txt"
    lines += [text.read_text(encoding="utf-8", errors="replace") if text.exists() else "", str(place)]
    return "\n\n".join(line.strip() for line in lines if line.strip())


def _name(cell: dict) -> str:
    return f"{cell['dataset']}, {cell['label']}, seed {cell['seed']}"


class _Watch:
    """The one live view: a progress bar, and the same facts in .running.json for `status` from another terminal."""

    def __init__(self, folder: Path, total: int, before: int, backend, progress: bool):
        from tqdm.auto import tqdm

        self.path, self.backend, self.failed = folder / ".running.json", backend, 0
        self.began, self.finished, self.left = time.time(), 0, total - before
        self.since: dict[str, tuple[grids.Cell, float]] = {}
        self.bar = tqdm(total=total, initial=before, desc=folder.name, unit="cell", disable=not progress, dynamic_ncols=True)
        self.written = 0.0

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
        self.path.unlink(missing_ok=True)

    def start(self, cell: grids.Cell) -> None:
        self.since[cell.key] = (cell, time.time())

    def stop(self, cell: grids.Cell) -> None:
        self.since.pop(cell.key, None)
        self.backend.phases.pop(cell.key, None)

    def finish(self, cell: grids.Cell, status: str) -> None:
        self.finished += 1
        self.failed += status not in FINAL
        self.bar.update()

    def show(self) -> None:
        if time.time() - self.written < 1:
            return
        self.written = time.time()
        running = [
            (cell.label, self.backend.phases.get(key, "start"), self.written - since)
            for key, (cell, since) in list(self.since.items())
        ]
        now = ", ".join(f"{label} {phase}" for label, phase, _ in running[:4])
        self.bar.set_postfix_str(f"{len(running)} running, {self.failed} failed | {now}")
        left = (self.written - self.began) / self.finished * (self.left - self.finished) if self.finished else None
        record = {"running": [f"{label}: {phase}, {seconds:.0f} s" for label, phase, seconds in running]}
        _write_json(self.path, record | {"seconds_left": left and round(left)}, sync=False)


def _backend(workers: int | None, scheduler: str | None, threads: int):
    from workbench import backends

    return backends.Cluster(scheduler) if scheduler else backends.Processes(workers, threads)


def _check_parameters() -> None:
    """The notebook's parameters cell must know every name we set: papermill would inject an unknown one without a word."""
    cells = json.loads(grids.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    tagged = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    names = {target.id for text in tagged for node in ast.parse(text).body for target in node.targets}
    for name in ("dataset", "generator", "params", "seed", "rows", "kernel", "snapshot", "out"):
        if name not in names or len(tagged) != 1:
            raise InputError(f"{grids.NOTEBOOK} needs exactly one cell tagged parameters, with {name} among its names.")


def _plan_record(plan: grids.Plan) -> dict:
    grid = plan.grid
    about = {"title": grid.title, "threads": grid.threads, "limits": asdict(grid.limits)}
    return about | {"cells": [asdict(cell) for cell in plan.cells]}


@contextmanager
def _lock(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the folder alone; the kernel lets go of it when this process dies, however it dies."""
    try:
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - the lock lives as long as the file is open
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose a folder of yours.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            who = _holder(folder) or "another process"
            raise InputError(f"{folder} is being run by {who}; wait for it, or run another folder.") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {provenance.machine()['host']} since {time.strftime('%H:%M:%S')}")
        file.flush()
        yield


def _holder(folder: Path) -> str:
    """Who holds the lock, in words; "" for nobody."""
    try:
        with open(folder / ".lock", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return ""
            except BlockingIOError:
                return file.read() or "another process"
    except OSError:
        return ""


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written is the user's to mend: one sentence, no traceback."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise InputError(f"no space left for {folder}: finished cells are kept; free some and run again.") from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise InputError(f"{error.filename} cannot be written ({error.strerror}); choose a folder of yours.") from None
        raise


def _says_disk_full(reason: str) -> bool:
    return any(f"[errno {number}]" in reason.lower() for number in DISK_FULL)


def _write_json(path: Path, value, sync: bool = True) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    os.replace(part, path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
