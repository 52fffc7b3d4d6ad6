"""What the side-by-side page knows and does, without a widget: choices, a worker process, results
that are kept.

    session = Session("loans", ["cart", "ctgan"], seeds=[0, 3])
    for step in session.run():          # a worker process fits, samples and scores;
                                        `session.cancel()` ends it at once
        print(step)
    session.card("cart")                # and the figures, grid and code of workbench.app.views

    kernel --job.json--> worker --messages.jsonl--> kernel         both files in a temporary folder
                                                                   that goes with the worker

The worker ends with the process that started it, because its standard input closes then. Where it
ends early (killed for want of memory), what it was at has failed, and a new one does the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil

from workbench.batch.cell import check_synthetic, read_data, snapshot
from workbench.batch.grid import canonical
from workbench.batch.kernels import isolated
from workbench.batch.keys import PACKAGE, digest
from workbench.batch.worker import processes
from workbench.batch.worker.pool import own_prefix, sweep
from workbench.errors import InputError
from workbench.files import write_bytes
from workbench.generators import find, fit_notes, make, sampled, views
from workbench.metrics import METRICS, Guarantee, in_order
from workbench.metrics.card import Card
from workbench.metrics.evaluate import evaluate
from workbench.tables.datasets import DATASETS, Dataset, load
from workbench.tables.files import SUFFIXES
from workbench.tables.inspection import Inspection, inspect
from workbench.tables.packaged import local_file

DEFAULT = ("independent", "gaussian-copula", "cart")
MOST_SEEDS = 20  # of a session
ENDED = ("done", "skipped", "error")  # phases after which nothing follows
LOOKED_AT = ("kinds", "missing", "formats")  # what `inspect` takes as declared
LOOK = 0.1  # seconds between two looks at what the worker has written
# Each of these costs as much as all the others together; they are measured where everything is
# asked for.
SLOW = ("c2st", "kendall_tau", "augmentation_gain", "rare_class_gain", "attack_risk")
FAST = tuple(name for name in METRICS if name not in SLOW)


@dataclass
class Progress:
    """How far one (generator, seed) has come. phase: waiting, fit, sample, score, done, skipped,
    error, cancelled.
    """

    generator: str
    seed: int
    phase: str = "waiting"
    detail: str = ""  # how many metrics of how many; why there is no result
    seconds: float = 0.0  # wall time of its work so far
    rows: int = 0  # synthetic rows
    began: float = field(default=0.0, repr=False)


@dataclass
class Result:
    """A finished (generator, seed): its table, the rows measured so far (ROW_COLUMNS), and what the
    generator claims.
    """

    synthetic: pd.DataFrame
    rows: pd.DataFrame
    notes: list[str]
    claim: dict[str, object]
    seconds: float = 0.0  # wall time of all its work
    fit_seconds: float | None = None  # CPU time of the fit


def choices() -> list[str]:
    """Datasets that can be read here without a network."""
    near = {
        name for name, entry in DATASETS.items() if not entry.read.startswith(("folder", "openml"))
    }
    return [name for name in DATASETS if name in near or local_file(name)]


class Session:
    """Choices and results. Results are kept by (data, generator, parameters, seed): a second run
    does only what is new.

    table       a dataset's name, or the path of a CSV or Parquet file, with the target and
                sensitive columns of `load`
    generators  names, or names with their parameters
    seeds       which, at most 20 whole numbers from 0; a single number n means 0, 1, ..., n - 1
    everything  whether the slow metrics are measured too
    declared    what else `load` takes about the columns: kinds, identifiers, missing, formats,
                group, constraints
    root        the folder that uploads and exports stay in

    Raises InputError for whatever `load` and `make` refuse; a refused choice leaves the old one in
    place.
    """

    def __init__(
        self,
        table: str | Path = "loans",
        generators: Iterable[str] | Mapping[str, Mapping] = DEFAULT,
        seeds: int | Iterable[int] = 1,
        everything: bool = False,
        target: str | None = None,
        sensitive: Iterable[str] | None = None,
        root: str | Path = "side-by-side",
        declared: Mapping | None = None,
    ):
        self.everything, self.root = everything, Path(root)
        self.results: dict[str, Result] = {}
        self.progress: dict[tuple[str, int], Progress] = {}
        # Called whenever the worker has written something.
        self.watchers: list[Callable[[], None]] = []
        self._worker: subprocess.Popen | None
        self._worker, self._folder, self._tasks, self._read = None, Path(), [], 0
        # Floors and ceilings, which all generators of a table share: each worker finds those of the
        # last one of the same code. Gone with the session, or with the next one where this process
        # is killed.
        sweep()
        self._references = tempfile.TemporaryDirectory(
            prefix=own_prefix(), ignore_cleanup_errors=True
        )
        # JupyterLab may answer a click in a thread of its own while another looks at the worker.
        self._lock = threading.RLock()
        self.choose_table(table, target, sensitive, declared)
        self.choose_generators(generators, seeds)

    def choose_table(
        self,
        table: str | Path,
        target: str | None = None,
        sensitive: Iterable[str] | None = None,
        declared: Mapping | None = None,
    ) -> None:
        """Read and split the table; None means the dataset's own roles, which a file has none of."""
        sensitive = None if sensitive is None else list(sensitive)
        declared = dict(declared or {})
        self.data: Dataset = load(table, target, sensitive, **declared)
        self.table, self.target, self.sensitive = str(table), target, sensitive
        self.declared = declared
        # By the rows themselves, not by the name: a file may have changed since it was read.
        self._about = [
            self.data.provenance["train_sha256"],
            self.data.provenance["test_sha256"],
            self.data.schema.to_json(),
        ]

    def inspection(self) -> Inspection:
        """What was read off the table, what looks wrong, and what to do about it."""
        given = {key: self.declared[key] for key in LOOKED_AT if key in self.declared}
        key = canonical([*self._about, self.target, self.sensitive, given])
        if key != self._inspected[0]:
            found = inspect(self.table, self.target, self.sensitive or (), **given)
            self._inspected = key, found
        return self._inspected[1]

    _inspected: tuple = ("", None)

    def choose_generators(
        self, generators: Iterable[str] | Mapping[str, Mapping], seeds: int | Iterable[int] = 1
    ) -> None:
        given = (
            dict(generators)
            if isinstance(generators, Mapping)
            else {name: {} for name in generators}
        )
        if not given:
            raise InputError("no generator is chosen; choose at least one.")
        seeds = tuple(dict.fromkeys(range(seeds) if isinstance(seeds, int) else seeds))
        if not 1 <= len(seeds) <= MOST_SEEDS or min(seeds) < 0:
            raise InputError(
                f"seeds are {list(seeds)}; give 1 to {MOST_SEEDS} whole numbers from 0."
            )
        for name, params in given.items():
            find(name)
            if params:
                make(name, params)  # only here does a check cost an import
        self.generators, self.seeds = given, seeds

    def upload(self, name: str, content: bytes) -> Path:
        """Keep an uploaded table in root/uploads, under its own name without folders; returns
        where.
        """
        # A browser may send a whole path, in the manner of its own system; only the last part is a name.
        name = Path(name.replace("\\", "/")).name
        if not name.lower().endswith(SUFFIXES):
            raise InputError(
                f"file {name!r} ends in none of {', '.join(SUFFIXES)}; upload a table."
            )
        path = self.root / "uploads" / name
        if path.parent.is_symlink():
            raise InputError(f"{path.parent} is a link to another place; remove it, then upload.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); free or choose another folder."
            ) from None
        return path

    @property
    def busy(self) -> bool:
        return self._worker is not None

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(METRICS) if self.everything else FAST

    @property
    def pairs(self) -> list[tuple[str, int]]:
        return [(name, seed) for name in self.generators for seed in self.seeds]

    def result(self, name: str, seed: int) -> Result | None:
        return self.results.get(self._key(name, seed))

    @property
    def finished(self) -> dict[tuple[str, int], Result]:
        """What is chosen and has a table, in the order of choice."""
        return {pair: found for pair in self.pairs if (found := self.result(*pair))}

    def _key(self, name: str, seed: int) -> str:
        return canonical([*self._about, name, self.generators.get(name, {}), seed])

    def missing(self, name: str, seed: int) -> list[str]:
        """Metrics that the present choice asks for and nobody has measured yet."""
        found = self.result(name, seed)
        known = set(found.rows["metric"]) if found else set()
        return [metric for metric in self.metrics if metric not in known]

    def start(self) -> None:
        """Give a worker process all that is chosen and not there yet. Raises InputError while one
        is at work.
        """
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._worker:
            raise InputError("a run is under way; cancel it or wait for its end.")
        self._tasks, self.progress, self._read = [], {}, 0
        self._folder = Path(tempfile.mkdtemp(prefix="workbench-session-"))
        for name, seed in self.pairs:
            found, metrics = self.result(name, seed), self.missing(name, seed)
            self.progress[name, seed] = step = Progress(name, seed)
            if not metrics:
                step.phase, step.detail, step.seconds, step.rows = (
                    "done",
                    "kept",
                    found.seconds,
                    len(found.synthetic),
                )
                continue
            task = {
                "name": name,
                "params": self.generators[name],
                "seed": seed,
                "metrics": metrics,
                "has_rows": False,
            }
            # What is there is scored by the new metrics, and not drawn again: the same table keeps all its
            # readings.
            if found:
                found.synthetic.to_parquet(
                    self._folder / f"{len(self._tasks)}.synthetic.parquet", index=False
                )
                task |= {"has_rows": True, "claim": found.claim}
            self._tasks.append(task | {"key": self._key(name, seed)})
        if not self._tasks:
            self._folder.rmdir()
            return
        for name, content in snapshot(self.data).items():
            (self._folder / name).write_bytes(content)
        (self._folder / "job.json").write_text(
            json.dumps({"dataset": self.data.name, "tasks": self._tasks}), "utf-8"
        )
        (self._folder / "messages.jsonl").touch()
        # The choice may change while the worker is at work; what it writes belongs to this table.
        self._schema = self.data.schema
        self._launch(0)

    def _launch(self, first: int) -> None:
        """A worker process for the tasks from this one on."""
        with open(self._folder / "log.txt", "wb") as log:
            # Without the working directory on its path: a file there named like a module would be run.
            module = ["-P", "-m", "workbench.app.session"]
            command = [sys.executable, *module, str(self._folder), str(first)]
            given = isolated(os.environ)
            # An empty name is none, as in a batch.
            own = str(Path(self._references.name, _code()))
            references = given.get("WORKBENCH_REFERENCES") or own
            # In a session of its own: an interrupt of the kernel is not meant for the worker.
            self._worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | given | {"WORKBENCH_REFERENCES": references},
                start_new_session=True,
            )

    def poll(self) -> bool:
        """Take in what the worker has written since the last call; True while it is at work."""
        with self._lock:
            if not self._worker:
                return False
            ended = self._worker.poll()
            self._take_in()
            if ended is not None:
                self._go_on(ended)
            working = self.busy
        # Outside the lock: a figure that is being drawn must not keep Cancel waiting.
        for watcher in self.watchers:
            watcher()
        return working

    def run(self) -> Iterator[Progress]:
        """start, then a copy of each Progress as it changes, until all is done; leaving the loop
        early cancels.
        """
        self.start()
        seen: dict = {}
        try:
            working = True
            while working:
                working = self.poll()
                for pair, step in self.progress.items():
                    if seen.get(pair) != (step.phase, step.detail):
                        seen[pair] = step.phase, step.detail
                        yield step
                time.sleep(LOOK if working else 0)
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Kill the worker with all that it started, within a second; what is finished is kept."""
        with self._lock:
            if not self._worker:
                return
            going_on = [step for step in self.progress.values() if step.phase not in ENDED]
            self._end("cancelled", "")
            # A worker whose own child was killed a moment before it may have called that an error.
            for step in going_on:
                if step.phase == "error":
                    step.phase, step.detail = "cancelled", ""

    def _go_on(self, code: int) -> None:
        """After a worker's end: nothing is left, or the task it was at has failed and the next
        worker does the others.
        """
        steps = [self.progress[task["name"], task["seed"]] for task in self._tasks]
        left = [place for place, step in enumerate(steps) if step.phase not in ENDED]
        if left:
            failed = steps[left[0]]
            failed.phase, failed.detail = (
                "error",
                f"the worker process ended early: {self._last_words(code)}",
            )
        if left[1:] and self._folder.exists():
            self._worker.stdin.close()
            self._launch(left[1])
        else:
            self._end("error", failed.detail if left else "")

    def _end(self, phase: str, detail: str) -> None:
        if self._worker.poll() is None:
            processes.kill([psutil.Process(self._worker.pid)])
        self._worker.stdin.close()
        self._worker.wait()
        self._take_in()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._worker = None
        for step in self.progress.values():
            if step.phase not in ENDED:
                step.phase, step.detail = phase, detail

    def _last_words(self, code: int) -> str:
        if code < 0:
            return f"{signal.Signals(-code).name}, perhaps for want of memory."
        log = self._folder / "log.txt"
        lines = (
            log.read_text("utf-8", "replace").strip().splitlines()
            if log.exists()
            else ["its temporary folder is gone."]
        )
        return lines[-1] if lines else f"exit code {code}."

    def _take_in(self) -> None:
        # Somebody has cleared the temporary folder.
        if not (self._folder / "messages.jsonl").exists():
            return
        with open(self._folder / "messages.jsonl", encoding="utf-8") as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                self._take(json.loads(line))
                self._read = file.tell()
        for step in self.progress.values():
            if step.phase in ("fit", "sample", "score"):
                step.seconds = time.time() - step.began

    def _take(self, message: dict) -> None:
        index = message.pop("task")
        task, outcome = self._tasks[index], message.pop("outcome", None)
        step = self.progress[task["name"], task["seed"]]
        for key, value in message.items():
            setattr(step, key, value)
        if outcome is None:
            return
        rows = pd.read_parquet(self._folder / f"{index}.rows.parquet")
        table = self._schema.cast(pd.read_parquet(self._folder / f"{index}.synthetic.parquet"))
        fit_seconds = outcome["fit_seconds"]
        if earlier := self.results.get(task["key"]):
            rows = in_order(pd.concat([earlier.rows, rows], ignore_index=True))
            fit_seconds = earlier.fit_seconds
        self.results[task["key"]] = Result(
            table, rows, outcome["notes"], outcome["claim"], step.seconds, fit_seconds
        )

    def card(self, name: str, seed: int = 0) -> Card:
        """The report card of a finished pair; its notes say what is not measured yet. Raises
        InputError without a result.
        """
        found = self.result(name, seed)
        if not found:
            raise InputError(f"generator {name!r} has no result for seed {seed} yet; run it.")
        _, scored = views(name, self.data, seed)
        rows = found.rows[found.rows["metric"].isin(self.metrics)].reset_index(drop=True)
        left = [METRICS[metric].title for metric in METRICS if metric not in set(rows["metric"])]
        notes = [*found.notes, *([f"Not measured yet: {', '.join(left)}."] if left else [])]
        about = f"{name}, seed {seed}, on {self.data.name}"
        return Card(rows, about, len(scored.train), len(scored.test), len(found.synthetic), notes)

    def rows(self) -> pd.DataFrame:
        """Every number measured for the present choice: dataset, label, seed, then ROW_COLUMNS."""
        if not self.finished:
            raise InputError("nothing is measured yet; run it first.")
        cards = {pair: self.card(*pair).rows for pair in self.finished}
        rows = (
            pd.concat(cards, names=["label", "seed"])
            .reset_index(["label", "seed"])
            .reset_index(drop=True)
        )
        rows.insert(0, "dataset", self.data.name)
        return rows


def _code() -> str:
    """A name for the package's files as they are now: each worker imports them anew, and references
    that other code has measured are not those of its readings.
    """
    files = [(path, path.stat()) for path in sorted(PACKAGE.rglob("*.py"))]
    return digest(str([(str(path), about.st_mtime_ns, about.st_size) for path, about in files]))


def work(folder: Path, first: int) -> None:
    """The worker's side: do the tasks of job.json in order from this one on; each step is a line of
    messages.jsonl.
    """
    threading.Thread(target=_end_with_parent, args=[folder], daemon=True).start()
    job = json.loads((folder / "job.json").read_text("utf-8"))
    data = read_data(job["dataset"], str(folder))
    with open(folder / "messages.jsonl", "a", encoding="utf-8", buffering=1) as messages:
        for index, task in enumerate(job["tasks"][first:], first):
            began = time.time()

            def tell(index=index, began=began, **message):
                line = {"task": index, "began": began, "seconds": time.time() - began, **message}
                messages.write(json.dumps(line) + "\n")

            try:
                _do(folder / str(index), task, data, tell)
            except Exception as error:
                words = str(error).strip().splitlines()
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                tell(phase="error", detail=kind + (words[-1] if words else ""))


def _do(place: Path, task: dict, data: Dataset, tell: Callable) -> None:
    """Fit, sample and score one generator as `generate` and `evaluate` do, and save its table and
    rows.
    """
    name, seed, generator = task["name"], task["seed"], make(task["name"], task["params"])
    table, scored = views(name, data, seed)
    if reason := generator.supports(data.schema):
        tell(phase="skipped", detail=reason)
        return
    if task["has_rows"]:
        synthetic = data.schema.cast(pd.read_parquet(f"{place}.synthetic.parquet"))
        generator = SimpleNamespace(**task["claim"])
        fit_seconds = None
    else:
        tell(phase="fit")
        before = time.process_time()
        generator.fit(table, data.schema, np.random.default_rng([seed, 0]))
        fit_seconds = time.process_time() - before
        tell(phase="sample")
        synthetic = sampled(generator, data, len(table), seed)
        check_synthetic(data, synthetic, len(table))
        synthetic.to_parquet(f"{place}.synthetic.parquet", index=False)

    def scoring(functions):
        for count, function in enumerate(functions):
            tell(phase="score", detail=f"{count} of {len(functions)}", rows=len(synthetic))
            yield function

    card = evaluate(scored, synthetic, seed, task["metrics"], scoring, generator)
    card.rows.to_parquet(f"{place}.rows.parquet", index=False)
    given = Guarantee.of(generator)
    claim = (
        {"epsilon_spent": given.epsilon, "delta_spent": given.delta, "guarantee": given.words}
        if given
        else {}
    )
    # In the claim, so that they stay with a table whose other metrics are measured later.
    notes = fit_notes(getattr(generator, "facts", None))
    claim |= {"facts": {"notes": notes}} if notes else {}
    outcome = {"notes": [*card.notes, *notes], "claim": claim, "fit_seconds": fit_seconds}
    tell(phase="done", detail="", rows=len(synthetic), outcome=outcome)


def _end_with_parent(folder: Path) -> None:
    sys.stdin.buffer.read()  # returns when the parent has closed it or is gone
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # without waiting for threads of libraries
