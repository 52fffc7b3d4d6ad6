"""Generators on a large table: python benchmarks/scale.py [--rows 500000] [--seconds 120] [NAMES ...]

Each runs in a process of its own, so that its peak memory, imports included, is its own; seconds are
CPU seconds of fitting and of sampling as many rows. A generator that takes more CPU seconds than
--seconds is stopped by the operating system, and its line says so: it was not measured to the end.
Networks train one epoch. Prints a Markdown table.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from workbench.generators import GENERATORS, make
from workbench.tables.schema import Column, Schema

NAMES = (
    "independent",
    "gaussian-copula",
    "bayes-tree",
    "cart",
    "arf",
    "tvae",
    "autoregressive",
)


def large_table(rows: int, columns: int = 40) -> tuple[pd.DataFrame, Schema]:
    """Numbers of several shapes, labels of 3 to 60 levels and days, all of which hang together; the
    last column is a yes-or-no target.
    """
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, 4))
    values, described = {}, []
    for place in range(columns - 1):
        mixed = hidden @ rng.normal(size=4) / 2 + rng.normal(size=rows)
        name = f"x{place}"
        kind = ("numeric", "integer", "categorical", "numeric", "datetime")[place % 5]
        if kind == "numeric":
            values[name] = np.round(np.exp(mixed / 2), 3)
        elif kind == "integer":
            values[name] = np.floor(10 * np.abs(mixed)).astype("int64")
        elif kind == "datetime":
            days = (100 * (mixed + 5)).clip(0, 1000).astype("int64")
            values[name] = pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D")
        else:
            levels = 3 + 3 * (place % 20)
            cuts = np.quantile(mixed[:10_000], np.linspace(0, 1, levels + 1)[1:-1])
            values[name] = pd.Series(np.digitize(mixed, cuts)).astype(str)
        described.append(Column(name, kind))
    values["y"] = np.where(hidden.sum(axis=1) + rng.normal(size=rows) > 1, "yes", "no")
    described.append(Column("y", "categorical", "target"))
    schema = Schema(tuple(described), positive="yes")
    return schema.cast(pd.DataFrame(values)), schema


def measure(name: str, rows: int, columns: int) -> dict:
    """Seconds and megabytes of one generator, in this process."""
    table, schema = large_table(rows, columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    params = {"epochs": 1} if "seconds" in GENERATORS[name].supports else {}
    generator = make(name, params)
    began = time.process_time()
    generator.fit(table, schema, np.random.default_rng(1))
    fitted = time.process_time()
    synthetic = generator.sample(rows, np.random.default_rng(2))
    sampled = time.process_time()
    assert len(synthetic) == rows and schema.check(synthetic) == []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"fit": fitted - began, "sample": sampled - fitted, "peak": peak, "before": before}


def in_own_process(name: str, rows: int, columns: int, seconds: int) -> str:
    """One line of the table."""

    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    command = [sys.executable, __file__, "--one", name]
    command += ["--rows", str(rows), "--columns", str(columns)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"| {name} | more than {seconds} CPU s, stopped | | |"
    if done.returncode:
        return f"| {name} | {done.stderr.strip().splitlines()[-1]} | | |"
    found = json.loads(done.stdout.splitlines()[-1])
    return (
        f"| {name} | {found['fit']:.1f} | {found['sample']:.1f} |"
        f" {found['peak']:,.0f} ({found['before']:,.0f} with the table alone) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.rows, options.columns)))
        return
    print("| generator | fit, CPU s | sample, CPU s | peak, MB |\n|---|---|---|---|")
    for name in options.names:
        line = in_own_process(name, options.rows, options.columns, options.seconds)
        print(line, flush=True)


if __name__ == "__main__":
    main()
