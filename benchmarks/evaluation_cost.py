"""CPU seconds of a whole evaluation, as a cell of a batch pays for it.

    python benchmarks/evaluation_cost.py [loans adult wide]

Every metric is measured on two synthetic tables, one after the other, in a process of its own with
one thread and an empty folder of references. The first table also pays for what depends on real
rows alone (floors, ceilings, models trained on train); the second finds it in the folder, as every
later cell of a batch does. loans and adult are scored with the rows of a Gaussian copula; wide has
20,000 train, test and synthetic rows of 200 columns.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import pandas as pd
from scale import large_table, peak_mb

from workbench.generators import generate
from workbench.metrics.evaluate import evaluate
from workbench.tables.datasets import Dataset, load

TABLES = ("loans", "adult", "wide")
WIDE = {"rows": 20_000, "columns": 200}
DEAREST = 5  # metrics that are named with what they take


def main(names: list[str]) -> None:
    print(
        f"{'':8}{'first table':>12}{'second':>10}{'peak, MB':>10}  what the second table pays most for"
    )
    for name in names:
        found = in_own_process(name)
        first, second = (sum(seconds.values()) for seconds in found["seconds"])
        dearest = sorted(found["seconds"][1].items(), key=lambda item: -item[1])[:DEAREST]
        parts = ", ".join(f"{metric} {cost:.1f}" for metric, cost in dearest)
        print(f"{name:8}{first:>12.1f}{second:>10.1f}{found['peak']:>10,.0f}  {parts}", flush=True)


def in_own_process(name: str) -> dict:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | threads | {"WORKBENCH_REFERENCES": folder}
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str) -> None:
    """Print what each metric took for either table, and the peak of memory, imports included."""
    data, tables = tables_of(name)
    # Imports are no part of an evaluation: a cell's warm process has done them.
    few = tables[0].head(300)
    evaluate(Dataset("few", few, few, data.schema), few)
    seconds = [seconds_of_each(data, table) for table in tables]
    print(json.dumps({"seconds": seconds, "peak": peak_mb()}))


def tables_of(name: str) -> tuple[Dataset, list[pd.DataFrame]]:
    """The real rows, and two synthetic tables."""
    if name != "wide":
        data = load(name)
        return data, [generate("gaussian-copula", data, seed=seed) for seed in (0, 1)]
    train, schema = large_table(**WIDE, seed=0)
    test, *tables = (large_table(**WIDE, seed=seed)[0] for seed in (1, 2, 3))
    return Dataset("wide", train, test, schema), tables


def seconds_of_each(data: Dataset, synthetic: pd.DataFrame) -> dict[str, float]:
    """CPU seconds of every function of metrics, by the first metric that it measures; what
    comes before and after them under "the rest"."""
    seconds = {}
    began = time.process_time()

    def timed(groups):
        names = [next(iter(group)) for group in groups]
        last = time.process_time()
        for name in names:
            yield name
            now = time.process_time()
            seconds[name] = now - last
            last = now

    evaluate(data, synthetic, progress=timed)
    seconds["the rest"] = time.process_time() - began - sum(seconds.values())
    return seconds


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        main(sys.argv[1:] or list(TABLES))
