"""How busy a Dask cluster of two workers is kept: python benchmarks/cluster_use.py [CELLS] [SECONDS]

Starts a scheduler and two workers of one thread each as processes of their own, and sends them cells
that compute for so many CPU seconds (1 unless given) and are evaluated. Prints the share of the time from
the first cell's start to the last one's end in which each worker had a cell, and the CPU seconds that
cells used of what two cores had. Other work on the machine lowers the second only.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.batch.folder import Folder
from workbench.batch.runner import run

WORKERS = 2
GENERATOR = '''
"""Computes for a while, then draws the rows of train again."""
import time
from dataclasses import dataclass


@dataclass
class Busy:
    seconds: float = 1.0
    number: int = 0

    def supports(self, schema):
        return None

    def fit(self, table, schema, rng):
        self.table = table
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            sum(range(10_000))
        return self

    def sample(self, n, rng, where=None):
        return self.table.iloc[rng.integers(len(self.table), size=n)].reset_index(drop=True)
'''


def main(cells: int = 24, seconds: float = 1.0) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="workbench-cluster-") as scratch,
        cluster(Path(scratch)) as address,
    ):
        folder = Path(scratch, "report")
        folder.mkdir()
        write_grid(folder, cells, seconds)
        began = time.perf_counter()
        run(folder, scheduler=address, progress=False)
        whole = time.perf_counter() - began
        found = Folder(folder).cells()
        if (found["status"] != "ok").any():
            raise SystemExit(found["reason"].iloc[0])
        busy, between = busy_share(folder, found)
        used = found["cpu_seconds"].sum() / (WORKERS * between)
        each = found["seconds"].mean()
        print(
            f"{cells} cells of {each:.1f} s: workers busy {busy:.1%} of {between:.0f} s, CPU"
            f" {used:.1%} of {WORKERS} cores; the whole run, planning and imports included,"
            f" {whole:.0f} s"
        )


def write_grid(folder: Path, cells: int, seconds: float) -> None:
    """A grid of cells that compute for so many CPU seconds each."""
    (folder / "busy.py").write_text(GENERATOR)
    numbers = ", ".join(
        f'{{ name = "./busy.py:Busy", params = {{ seconds = {seconds}, number = {number} }} }}'
        for number in range(cells)
    )
    (folder / "grid.toml").write_text(
        f'title = "Busy"\nseeds = [0]\ndatasets = ["diabetes"]\ngenerators = [{numbers}]\n'
    )


def busy_share(folder: Path, cells) -> tuple[float, float]:
    """The share of the workers' time in which they had a cell, and the seconds from the first cell's
    start to the last one's end.
    """
    ends = [(folder / "runs" / key / "DONE").stat().st_mtime for key in cells["key"]]
    starts = [end - seconds for end, seconds in zip(ends, cells["seconds"], strict=True)]
    between = max(ends) - min(starts)
    return float(cells["seconds"].sum() / (WORKERS * between)), between


@contextmanager
def cluster(home: Path) -> Iterator[str]:
    """A scheduler and two workers; gives the scheduler's address."""
    started = [
        start(home, "dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
    ]
    try:
        address = None
        while not address:
            time.sleep(0.1)
            address = re.search(
                r"Scheduler at:\s+(tcp://\S+)", (home / "dask_scheduler.log").read_text()
            )
        for number in range(WORKERS):
            place = home / str(number)
            place.mkdir()
            options = ["--name", f"w{number}", "--nthreads", "1", "--no-dashboard"]
            started.append(
                start(place, "dask_worker", address[1], *options, "--local-directory", str(place))
            )
        yield address[1]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def start(home: Path, module: str, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with open(home / f"{module}.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=home,
        )


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:], strict=False)))
