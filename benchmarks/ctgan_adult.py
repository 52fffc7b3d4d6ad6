"""Our CTGAN and TVAE against the ctgan package on Adult: seconds for the transformation and an
epoch, and quality.

Both train with the same batch size, layers and threads in processes of their own, and take turns
epoch by epoch, so that whatever else the machine does falls on both. SDMetrics measures both tables
against train (every pair of columns counts, as in papers); TSTR AUC is of gradient boosting trained
on synthetic and read on test rows, C2ST AUC of the better of two classifiers that tell synthetic
from test rows. Real test rows are the ceiling of errors, and train rows that of the two AUCs.

    python benchmarks/ctgan_adult.py [--models ctgan,tvae] [--epochs 30] [--ours EPOCHS]
                                     [--threads 1] [--seed 0] [--peer-python PATH] [--keep FOLDER]

With --ours, ours trains for so many epochs while the package trains for --epochs. With --keep, the
tables are left in FOLDER/MODEL.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from machine import processor

PEERS = Path(__file__).parent.parent / "build" / "peers"
SIDES = ("ours", "package")
MEASURES = {
    "shape": "shape error, %",
    "trend": "trend error, %",
    "auc": "TSTR AUC",
    "c2st": "C2ST AUC",
}


def main() -> None:
    options = _options()
    peer_python = options.peer_python or make_peers(PEERS)
    for model in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            compare(model, options, peer_python, Path(folder))
            if options.keep:
                shutil.copytree(folder, Path(options.keep) / model, dirs_exist_ok=True)


def compare(model: str, options: argparse.Namespace, peer_python: str, folder: Path) -> None:
    """Train both sides, taking turns; a turn is the transformation, then every epoch, then
    sampling.
    """
    numbers = write_adult(folder)
    epochs = {"ours": options.ours or options.epochs, "package": options.epochs}
    task = {"model": model, "threads": options.threads, "seed": options.seed, "numbers": numbers}
    pythons = {"ours": sys.executable, "package": peer_python}
    workers = {
        side: Worker(pythons[side], side, folder, task | {"epochs": epochs[side]}) for side in SIDES
    }
    for turn in range(max(epochs.values()) + 2):
        for side in sorted(SIDES, reverse=turn % 2 == 1):
            if turn < epochs[side] + 2:
                workers[side].turn()
        if sys.stderr.isatty():
            print(
                f"\repoch {min(turn, options.epochs)} of {options.epochs}", end="", file=sys.stderr
            )
    facts = {side: worker.close() for side, worker in workers.items()}
    command = _command(peer_python, "quality", folder, task)
    quality = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    for name in (*SIDES, "train"):
        quality["test" if name == "train" else name].update(learned(folder, name))
    show(
        options,
        model,
        epochs,
        {side: worker.turns for side, worker in workers.items()},
        facts,
        quality,
    )


def learned(folder: Path, name: str) -> dict[str, float]:
    """What models say of one of the tables, on real test rows: the AUC of gradient boosting fitted
    on it, and how well a classifier tells it from them.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    import workbench
    from workbench.metrics.models import labels, predictions

    data = workbench.load("adult")
    schema, target = data.schema, data.schema.target.name
    table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False).replace("?", None)
    table = schema.cast(table)
    answer = predictions(table, data.test, schema, "boosting", 0)
    positive = labels(data.test[target]) == schema.positive
    apart = workbench.evaluate(data, table, metrics=["c2st"])
    return {
        "auc": roc_auc_score(positive, answer[schema.positive]),
        "c2st": apart.rows.iloc[0]["value"],
    }


def show(
    options: argparse.Namespace, model: str, epochs: dict, turns: dict, facts: dict, quality: dict
) -> None:
    """One line a measure: ours, the package's, and the ratio."""
    import statistics

    clocks = ("CPU", "wall")
    lines = [
        (f"transformation, {clock} s", *(turns[side][0][clock] for side in SIDES))
        for clock in clocks
    ]
    for clock in clocks:
        medians = (statistics.median(turn[clock] for turn in turns[side][1:-1]) for side in SIDES)
        lines.append((f"epoch, {clock} s (median)", *medians))
    lines += [
        (f"everything, {clock} s", *(sum(turn[clock] for turn in turns[side]) for side in SIDES))
        for clock in clocks
    ]
    lines.append(("sampling and decoding, CPU s", *(turns[side][-1]["CPU"] for side in SIDES)))
    lines += [
        (label, *(quality[side][name] for side in SIDES), quality["test"][name])
        for name, label in MEASURES.items()
    ]
    print(
        f"\n{model.upper()} on Adult, {facts['ours']['rows']:,} train rows, batch 500; epochs:"
        f" {epochs['ours']} ours, ",
        end="",
    )
    print(f"{epochs['package']} the package; {options.threads} thread(s), seed {options.seed}")
    print(f"{'':32}{'ours':>10}{'package':>10}{'ratio':>8}{'real':>9}")
    for label, ours, peer, *ceiling in lines:
        print(
            f"{label:32}{ours:>10.3f}{peer:>10.3f}{ours / peer:>8.2f}"
            + "".join(f"{value:>9.3f}" for value in ceiling)
        )
    print(
        f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python"
        f" {platform.python_version()}"
    )
    print(
        "; ".join(f"{side}: {facts[side]['versions']}" for side in SIDES)
        + f"; sdmetrics {quality['version']}"
    )


def make_peers(folder: Path) -> str:
    """The Python of an environment with ctgan, sdmetrics and our own torch version, made where it
    is missing.
    """
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing ctgan and sdmetrics into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        packages = [
            "ctgan==0.12.1",
            "sdmetrics==0.32.0",
            f"torch=={version('torch').split('+')[0]}",
        ]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "installed").touch()
    return str(python)


def write_adult(folder: Path) -> list[str]:
    """train.csv and test.csv, a missing label as the label "?"; returns the names of the columns of
    numbers.
    """
    import workbench

    data = workbench.load("adult")
    for part in ("train", "test"):
        getattr(data, part).fillna(
            {name: "?" for name in data.schema.names if data.schema[name].is_discrete}
        ).to_csv(folder / f"{part}.csv", index=False)
    return [column.name for column in data.schema.columns if not column.is_discrete]


class Worker:
    """A process that works one turn for each line it reads, and answers with what the turn took."""

    def __init__(self, python: str, role: str, folder: Path, task: dict):
        self._role, self.turns = role, []
        threads = {
            name: str(task["threads"])
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        command, pipe = _command(python, role, folder, task), subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=os.environ | threads
        )

    def turn(self) -> None:
        print(flush=True, file=self._process.stdin)
        self.turns.append(self._read())

    def close(self) -> dict:
        facts = self._read()
        self._process.wait()
        return facts

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(
                f"the process of {self._role!r} ended before its work did; its error is above."
            )
        return json.loads(line)


def _command(python: str, role: str, folder: Path, task: dict) -> list[str]:
    return [python, __file__, "--role", role, "--folder", str(folder), "--task", json.dumps(task)]


# What follows runs in the processes; those of ctgan and quality have no workbench.


def work(role: str, folder: Path, task: dict) -> None:
    import pandas as pd
    import torch

    torch.set_num_threads(task["threads"])
    torch.set_num_interop_threads(1)
    table = pd.read_csv(folder / "train.csv", keep_default_na=False)
    clock = Clock()
    train = {"ours": train_ours, "package": train_package}[role]
    synthetic, versions = train(table, task, clock)
    clock.stop()
    synthetic.to_csv(folder / f"{role}.csv", index=False)
    print(json.dumps({"rows": len(table), "versions": versions}), flush=True)


class Clock:
    """Waits for a line, then times until the next stop, over and over."""

    def __init__(self):
        self._wait()

    def _wait(self) -> None:
        sys.stdin.readline()
        self._start = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        cpu, wall = time.process_time() - self._start[0], time.perf_counter() - self._start[1]
        print(json.dumps({"CPU": cpu, "wall": wall}), flush=True)

    def epochs(self, epochs: range):
        for epoch in epochs:
            self.stop()
            self._wait()
            yield epoch
        self.stop()
        self._wait()


def train_ours(table, task: dict, clock: Clock):
    import numpy as np

    import workbench
    from workbench.generators import find

    kinds = {
        name: "integer" if name in task["numbers"] else "categorical" for name in table.columns
    }
    schema = workbench.Schema.infer(table, kinds=kinds)
    model = find(task["model"]).load()(epochs=task["epochs"])
    model.progress = clock.epochs
    model.fit(schema.cast(table), schema, np.random.default_rng([task["seed"], 0]))
    synthetic = model.sample(len(table), np.random.default_rng([task["seed"], 1]))
    return synthetic, f"workbench {version('workbench')}, torch {version('torch')}"


def train_package(table, task: dict, clock: Clock):
    import warnings
    from importlib import import_module

    import numpy as np
    import torch

    package = import_module(f"ctgan.synthesizers.{task['model']}")
    warnings.simplefilter("ignore")
    np.random.seed(task["seed"])
    torch.manual_seed(task["seed"])

    class Epochs:
        """In place of the package's progress bar, the one thing it calls between epochs."""

        def __init__(self, epochs, **_):
            self._epochs = epochs

        def __iter__(self):
            return clock.epochs(self._epochs)

    package.tqdm = Epochs
    model = getattr(package, task["model"].upper())(epochs=task["epochs"])
    model.fit(table, [name for name in table.columns if name not in task["numbers"]])
    return model.sample(len(table)), f"ctgan {version('ctgan')}, torch {version('torch')}"


def quality(folder: Path, task: dict) -> None:
    """Errors in percent, 100 minus the scores of SDMetrics' quality report, against train."""
    import warnings

    import pandas as pd

    warnings.simplefilter("ignore")
    from sdmetrics.reports.single_table import QualityReport

    train, *tables = (
        pd.read_csv(folder / f"{name}.csv", keep_default_na=False)
        for name in ("train", *SIDES, "test")
    )
    kinds = {
        name: {"sdtype": "numerical" if name in task["numbers"] else "categorical"}
        for name in train.columns
    }
    errors = {"version": version("sdmetrics")}
    for name, table in zip((*SIDES, "test"), tables, strict=True):
        report = QualityReport()
        report.real_correlation_threshold = report.real_association_threshold = 0
        report.generate(train, table, {"columns": kinds}, verbose=False)
        scores = report.get_properties().set_index("Property")["Score"]
        errors[name] = {
            "shape": round(100 - 100 * scores["Column Shapes"], 2),
            "trend": round(100 - 100 * scores["Column Pair Trends"], 2),
        }
    print(json.dumps(errors))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="ctgan,tvae")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--ours", type=int, help="epochs of ours; by default as many as the package's"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peer-python",
        help="a Python that has ctgan and sdmetrics; by default an environment is made",
    )
    parser.add_argument("--keep", help="a folder for the tables, ours and the package's")
    for hidden in ("--role", "--folder", "--task"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = _options()
    if given.role == "quality":
        quality(Path(given.folder), json.loads(given.task))
    elif given.role:
        work(given.role, Path(given.folder), json.loads(given.task))
    else:
        main()
