"""What generators and metrics cost as a table grows.

    python benchmarks/scale.py [--rows 500000] [--columns 40] [--seconds 120] [NAMES ...]
    python benchmarks/scale.py --slopes generators [--seconds 60] [NAMES ...]
    python benchmarks/scale.py --slopes metrics [--seconds 60] [NAMES ...]

The first measures generators on one large table. The others let one size grow at a time: rows,
columns, or the levels of labels; a slope of 1 says that twice the size costs twice the seconds.

Each name runs in a process of its own, so that its peak memory, imports included, is its own. All
seconds are CPU seconds: of fitting and of sampling as many rows, or of a reading with its floor and
its ceiling. What takes more of them than --seconds is stopped by the operating system, and its line
says so: it was not measured to the end. Networks train one epoch. Prints a Markdown table.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from workbench.generators import GENERATORS, make
from workbench.metrics import METRICS
from workbench.metrics.evaluate import evaluate
from workbench.report.identity import is_control
from workbench.tables.datasets import Dataset
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
# Those that need a model server, a model's file, a simulator or an expert's graph.
NEEDS_MORE = ("llm", "great", "simulation", "bayes-expert")
SMALL = {"rows": 2_000, "columns": 12, "levels": 8}
SIZES = {
    "rows": (1_000, 4_000, 16_000),
    "columns": (8, 16, 32),
    "levels": (4, 32, 256),
}
# Below this many seconds a slope is that of what every call costs.
SHORTEST = 0.02


def large_table(
    rows: int, columns: int = 40, levels: int | None = None, seed: int = 0
) -> tuple[pd.DataFrame, Schema]:
    """Numbers of several shapes, labels and days, all of which hang together; the last column is a
    yes-or-no target. Without `levels` labels have 3 to 60 of them.
    """
    # The columns' weights are those of every seed: only rows are drawn anew.
    weights = np.random.default_rng(0)
    rng = np.random.default_rng([1, seed])
    hidden = rng.normal(size=(rows, 4))
    values, described = {}, []
    for place in range(columns - 1):
        mixed = hidden @ weights.normal(size=4) / 2 + rng.normal(size=rows)
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
            own_levels = levels or 3 + 3 * (place % 20)
            cuts = np.quantile(mixed[:10_000], np.linspace(0, 1, own_levels + 1)[1:-1])
            values[name] = pd.Series(np.digitize(mixed, cuts)).astype(str)
        described.append(Column(name, kind))
    values["y"] = np.where(hidden.sum(axis=1) + rng.normal(size=rows) > 1, "yes", "no")
    described.append(Column("y", "categorical", "target"))
    schema = Schema(tuple(described), positive="yes")
    return schema.cast(pd.DataFrame(values)), schema


def fitted_and_sampled(name: str, table: pd.DataFrame, schema: Schema) -> tuple[float, float]:
    """CPU seconds of fitting a generator and of sampling as many rows."""
    params = {"epochs": 1} if "seconds" in GENERATORS[name].supports else {}
    generator = make(name, params)
    began = time.process_time()
    generator.fit(table, schema, np.random.default_rng(1))
    fitted = time.process_time()
    synthetic = generator.sample(len(table), np.random.default_rng(2))
    sampled = time.process_time()
    assert len(synthetic) == len(table) and schema.check(synthetic) == []
    return fitted - began, sampled - fitted


def evaluated(name: str, sizes: dict[str, int]) -> float:
    """CPU seconds of one reading with its floor and its ceiling: as many train, test and synthetic
    rows.
    """
    train, schema = large_table(**sizes, seed=0)
    test, synthetic = (large_table(**sizes, seed=seed)[0] for seed in (1, 2))
    data = Dataset("grown", train, test, schema)
    began = time.process_time()
    evaluate(data, synthetic, metrics=[name])
    return time.process_time() - began


def measure_large(name: str, rows: int, columns: int) -> None:
    """Print seconds and megabytes of one generator, in this process."""
    table, schema = large_table(rows, columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fit, sample = fitted_and_sampled(name, table, schema)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"fit": fit, "sample": sample, "peak": peak, "before": before}))


def measure_growth(name: str, axis: str) -> None:
    """Print the seconds at each size of one axis, a line a size, so that those before a stop stay."""
    for size in SIZES[axis]:
        sizes = {**SMALL, axis: size}
        if name in METRICS:
            # The first call of a process pays for imports.
            if size == SIZES[axis][0]:
                evaluated(name, {**SMALL, "rows": 300})
            seconds = evaluated(name, sizes)
        else:
            if size == SIZES[axis][0]:
                fitted_and_sampled(name, *large_table(300, SMALL["columns"], SMALL["levels"]))
            seconds = sum(fitted_and_sampled(name, *large_table(**sizes)))
        print(json.dumps([size, seconds]), flush=True)


def in_own_process(arguments: list[str], seconds: int) -> tuple[list, str]:
    """What a process of this script printed, and in words how it ended, "" where it ended well."""

    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return found, f"more than {seconds} CPU s, stopped"
    if done.returncode:
        return found, done.stderr.strip().splitlines()[-1]
    return found, ""


def large_line(name: str, rows: int, columns: int, seconds: int) -> str:
    """One generator's line of the table of a large table."""
    arguments = ["--one", name, "--rows", str(rows), "--columns", str(columns)]
    found, trouble = in_own_process(arguments, seconds)
    if trouble:
        return f"| {name} | {trouble} | | |"
    cost = found[-1]
    return (
        f"| {name} | {cost['fit']:.1f} | {cost['sample']:.1f} |"
        f" {cost['peak']:,.0f} ({cost['before']:,.0f} with the table alone) |"
    )


def growth_line(name: str, seconds: int) -> str:
    """One name's line of the table of slopes: each with the seconds at the largest size."""
    parts = [name]
    for axis in SIZES:
        found, trouble = in_own_process(["--one", name, "--axis", axis], seconds)
        parts.append(f"{slope(found)}{f' ({trouble})' if trouble else ''}")
    return f"| {' | '.join(parts)} |"


def slope(found: list) -> str:
    """The slope of log seconds on log size by least squares, and the seconds at the largest."""
    long_enough = [(size, seconds) for size, seconds in found if seconds >= SHORTEST]
    last = f"{found[-1][1]:.2g} s" if found else "–"
    if len(long_enough) < 2:
        return last
    sizes, seconds = np.log(np.array(long_enough, dtype=float)).T
    return f"{np.polyfit(sizes, seconds, 1)[0]:.1f}; {last}"


def one_of_each_function() -> Iterator[str]:
    """The first metric of every function: the others are measured in the same call."""
    known = set()
    for name, metric in METRICS.items():
        if metric.function not in known:
            known.add(metric.function)
            yield name


def growing(what: str) -> list[str]:
    """Names whose slopes are measured: generators that need nothing else, or metrics."""
    if what == "metrics":
        return list(one_of_each_function())
    return [name for name in GENERATORS if name not in NEEDS_MORE and not is_control(name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--slopes", choices=("generators", "metrics"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--axis", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one and options.axis:
        measure_growth(options.one, options.axis)
    elif options.one:
        measure_large(options.one, options.rows, options.columns)
    elif options.slopes:
        heads = [f"{axis}, {sizes[0]:,} to {sizes[-1]:,}" for axis, sizes in SIZES.items()]
        print(f"| {options.slopes[:-1]} | {' | '.join(heads)} |\n|---|---|---|---|")
        for name in options.names or growing(options.slopes):
            print(growth_line(name, options.seconds), flush=True)
    else:
        print("| generator | fit, CPU s | sample, CPU s | peak, MB |\n|---|---|---|---|")
        for name in options.names or NAMES:
            line = large_line(name, options.rows, options.columns, options.seconds)
            print(line, flush=True)


if __name__ == "__main__":
    main()
