"""What generators and metrics cost as a table grows.

    python benchmarks/scale.py [--rows 500000] [--columns 40] [--seconds 120] [NAMES ...]
    python benchmarks/scale.py --slopes generators [--seconds 25] [NAMES ...]
    python benchmarks/scale.py --slopes metrics [--seconds 25] [NAMES ...]
    python benchmarks/scale.py --write docs/speed.md

The first measures generators on one large table, and prints a Markdown table. The next two let one
size grow at a time: rows, columns, or the levels of labels; a slope of 1 says that twice the size
costs twice the seconds. Measurements are kept once the process of a name has ended, as lines of
`scale.csv`: a run that was stopped goes on with the name that it was at. Names that are given are
measured once more, and the least seconds count, since other work on the machine only ever adds
some. The last puts both tables of slopes into a page.

Each name runs in a process of its own, so that its peak memory, imports included, is its own. All
seconds are CPU seconds: of fitting and of sampling as many rows, or of a reading with its floor and
its ceiling. A measurement that takes more of them than --seconds is stopped by the operating system,
and its line says so: it was not measured to the end, and larger sizes are left out. Networks train
one epoch.
"""

import argparse
import csv
import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

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
SHORTEST = 0.05
RECORD = Path(__file__).with_suffix(".csv")
FIELDS = ("what", "name", "axis", "size", "seconds", "trouble")


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


def fitted_and_sampled(name: str, table: pd.DataFrame, schema: Schema) -> Iterator[float]:
    """CPU seconds of fitting a generator, then of sampling as many rows."""
    generator = make(name, one_epoch(name))
    began = time.process_time()
    generator.fit(table, schema, np.random.default_rng(1))
    fitted = time.process_time()
    yield fitted - began
    synthetic = generator.sample(len(table), np.random.default_rng(2))
    sampled = time.process_time()
    assert len(synthetic) == len(table) and schema.check(synthetic) == []
    yield sampled - fitted


def one_epoch(name: str) -> dict[str, int]:
    """Parameters of one pass over the table, or of one round, for what is trained in passes."""
    if "seconds" not in GENERATORS[name].supports:
        return {}
    known = {field.name for field in fields(make(name))}
    return {"epochs": 1} if "epochs" in known else {"rounds": 1}


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
    """Print seconds and megabytes of one generator, in this process: of the table alone, of its fit
    and of sampling, a line each, so that those before a stop stay.
    """
    table, schema = large_table(rows, columns)
    print(json.dumps([0, peak_mb()]), flush=True)
    for seconds in fitted_and_sampled(name, table, schema):
        print(json.dumps([seconds, peak_mb()]), flush=True)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_growth(name: str, wanted: list[str], seconds: int) -> None:
    """Print the seconds at each of the sizes, "rows:1000" say, a line each, so that those before a
    stop stay.
    """
    # The first call of a process pays for imports.
    few = {**SMALL, "rows": 300}
    seconds_of(name, few)
    for place in wanted:
        axis, size = place.split(":")
        # The limit of the operating system counts from the start of the process.
        limit = int(time.process_time()) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        print(json.dumps(seconds_of(name, {**SMALL, axis: int(size)})), flush=True)


def seconds_of(name: str, sizes: dict[str, int]) -> float:
    """CPU seconds of a metric or of a generator on a table of these sizes."""
    if name in METRICS:
        return evaluated(name, sizes)
    return sum(fitted_and_sampled(name, *large_table(**sizes)))


def in_own_process(arguments: list[str], seconds: int) -> tuple[list, str]:
    """What a process of this script printed, and in words how it ended, "" where it ended well.

    A process of several measurements gives each a limit of its own, `seconds` from its start.
    """

    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))

    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == -signal.SIGXCPU:
        return found, f"more than {seconds} CPU s, stopped"
    if done.returncode:
        # A process that was killed, for want of memory say, has no last words.
        words = done.stderr.strip() or f"exit code {done.returncode}"
        return found, words.splitlines()[-1]
    return found, ""


def large_line(name: str, rows: int, columns: int, seconds: int) -> str:
    """One generator's line of the table of a large table."""
    arguments = ["--one", name, "--rows", str(rows), "--columns", str(columns)]
    found, trouble = in_own_process(arguments, seconds)
    if not found:
        return f"| {name} | {trouble} | | |"
    costs = [f"{cost:.1f}" for cost, _ in found[1:]]
    # A stop is named where a number is missing.
    costs = [*costs, trouble, ""][:2]
    alone, peak = found[0][1], found[-1][1]
    return f"| {name} | {' | '.join(costs)} | {peak:,.0f} ({alone:,.0f} with the table alone) |"


def measure_slopes(what: str, name: str, wanted: list[str], seconds: int) -> None:
    """Record the seconds of one name at each of the sizes; after a stop the other axes go on."""
    while wanted:
        arguments = ["--one", name, "--sizes", *wanted, "--seconds", str(seconds)]
        found, trouble = in_own_process(arguments, seconds)
        for place, cost in zip(wanted, found, strict=False):
            record(what, name, place, f"{cost:.4f}", "")
        wanted = wanted[len(found) :]
        if wanted:
            record(what, name, wanted[0], "", trouble)
            axis = wanted[0].partition(":")[0]
            wanted = [place for place in wanted if not place.startswith(axis)]


def record(what: str, name: str, place: str, cost: str, trouble: str) -> None:
    """One measurement more in the record, which is whole after each."""
    is_new = not RECORD.exists()
    with RECORD.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(FIELDS)
        writer.writerow([what, name, *place.split(":"), cost, trouble])
    print(what, name, place, cost or trouble, flush=True)


def recorded(what: str) -> pd.DataFrame:
    if not RECORD.exists():
        return pd.DataFrame(columns=FIELDS)
    rows = pd.read_csv(RECORD, keep_default_na=False)
    rows["seconds"] = pd.to_numeric(rows["seconds"])
    return rows[rows["what"] == what]


def unmeasured(what: str, name: str) -> list[str]:
    """The sizes at which a name was never measured, those above a stop left out."""
    rows = recorded(what)
    rows = rows[rows["name"] == name]
    places = []
    for axis, sizes in SIZES.items():
        own = rows[rows["axis"] == axis]
        if (own["trouble"] == "").all():
            places += [f"{axis}:{size}" for size in sizes if size not in set(own["size"])]
    return places


def every_size() -> list[str]:
    return [f"{axis}:{size}" for axis, sizes in SIZES.items() for size in sizes]


def slopes_table(what: str) -> str:
    """A line a name: of each axis the slope at its large end, and the seconds at the largest size."""
    rows = recorded(what)
    heads = [f"{axis}, {sizes[-2]:,} to {sizes[-1]:,}" for axis, sizes in SIZES.items()]
    lines = [[what[:-1], *heads], ["---"] * (1 + len(SIZES))]
    for name in growing(what):
        own = rows[rows["name"] == name]
        lines.append([f"`{name}`", *(growth(own[own["axis"] == axis]) for axis in SIZES)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def growth(rows: pd.DataFrame) -> str:
    """The slope of log seconds on log size between the two largest sizes; where seconds are too few
    for one, the seconds alone.
    """
    least = rows.dropna(subset="seconds").groupby("size")["seconds"].min().sort_index()
    stopped = rows.loc[~rows["size"].isin(least.index), ["size", "trouble"]]
    parts = []
    if len(least):
        last = least.iloc[-1]
        if len(least) > 1 and least.iloc[-2] >= SHORTEST:
            slope = np.log(last / least.iloc[-2]) / np.log(least.index[-1] / least.index[-2])
            # No minus before a slope that rounds to zero.
            parts.append(f"{round(slope, 1) + 0:.1f}".replace("-", "−"))
        shown = f"{last:.2g} s" if last >= SHORTEST else f"under {SHORTEST} s"
        parts.append(f"{shown} at {least.index[-1]:,}" if len(stopped) else shown)
    for size, trouble in stopped.drop_duplicates("size").itertuples(index=False):
        parts.append(f"{size:,}: {trouble}")
    return "; ".join(parts) or "–"


def filled(page: str) -> str:
    """The page with what stands between the marks of both tables replaced by them."""
    for what in ("generators", "metrics"):
        mark = rf"(<!-- slopes of {what}: made by benchmarks/scale.py -->\n).*?(\n<!-- end -->)"
        table = slopes_table(what)
        # A function and not a text, in which a backslash would mean something.
        page, count = re.subn(
            mark, lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", page, flags=re.S
        )
        if count != 1:
            raise ValueError(f"{count} places for the slopes of {what}; one is needed")
    return page


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
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--slopes", choices=("generators", "metrics"))
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the slopes into this page")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(filled(page), encoding="utf-8")
    elif options.one and options.sizes:
        measure_growth(options.one, options.sizes, options.seconds)
    elif options.one:
        measure_large(options.one, options.rows, options.columns)
    elif options.slopes:
        for name in options.names or growing(options.slopes):
            wanted = every_size() if options.names else unmeasured(options.slopes, name)
            measure_slopes(options.slopes, name, wanted, options.seconds or 25)
    else:
        print("| generator | fit, CPU s | sample, CPU s | peak, MB |\n|---|---|---|---|")
        for name in options.names or NAMES:
            line = large_line(name, options.rows, options.columns, options.seconds or 120)
            print(line, flush=True)


if __name__ == "__main__":
    main()
