"""What each metric sees and what it is blind to: tables with one known defect, read beside fresh
samples.

    python benchmarks/sanity.py [--rows 2000] [--fresh 12] [--keep FILE] [--write docs/metrics.md]

Real rows come from a known distribution, so fresh samples of it show how far chance moves a metric:
a reading outside the 99% prediction interval of `--fresh` of them is seen. Train and test tables are
drawn WORLDS times and the samples are spread over them, so that no single unlucky train table makes
a claim. It prints the table, or writes it into a document; about 4 CPU minutes. With `--keep` the
readings of metrics that FILE already holds are not made again.
"""

import argparse
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from workbench.metrics import METRICS, NOT_APPLICABLE, Row, Trial
from workbench.metrics.models import one_thread
from workbench.report.headlines import badness
from workbench.tables.schema import Column, Schema
from workbench.words import number

BASES = 3  # fresh samples that each defect is tried on, one in each world
WORLDS = 3  # train and test tables: a metric that reads train must not be judged by a single one
LEVEL = 0.99  # of the band
SCHEMA = Schema(
    (
        Column("income", "numeric"),
        Column("age", "integer"),
        Column("hours", "numeric"),
        Column("region", "categorical"),
        Column("sex", "categorical", role="sensitive"),
        Column("owner", "boolean"),
        Column("default", "categorical", role="target"),
    ),
    positive="yes",
)
TEXTS = "workbench.metrics.text:"  # metrics of free text read the same rows with a note beside them
NOTED = replace(SCHEMA, columns=(*SCHEMA.columns, Column("note", "categorical")))
DEFECTS: dict[str, tuple[str, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]]] = {
    "copy": ("the train rows themselves", lambda train, fresh: train),
    "shrunk": ("numbers drawn to their mean by half", lambda train, fresh: _shrunk(fresh)),
    "dropped mode": (
        "one of four regions is gone",
        lambda train, fresh: _without(fresh, fresh["region"] == "south"),
    ),
    "outlier": (
        "one row far away",
        lambda train, fresh: fresh.assign(income=fresh["income"].where(fresh.index > 0, 1e6)),
    ),
    "shift": ("income higher by 0.3 standard deviations", lambda train, fresh: _shifted(fresh)),
    "permuted": ("each column shuffled on its own", lambda train, fresh: _permuted(fresh)),
    "lost group": (
        "nine in ten women are gone",
        lambda train, fresh: _without(fresh, _most_women(fresh)),
    ),
    "leak": (
        "one row in ten is a train row",
        lambda train, fresh: pd.concat([train[: len(fresh) // 10], _rest(fresh)]),
    ),
}


def draw(n: int, seed: object) -> pd.DataFrame:
    """Loans: numbers, a date-free mix of labels, and a rare default that depends on all of them and
    a little on sex.
    """
    rng = np.random.default_rng(seed)
    region = rng.choice(["north", "east", "west", "south"], n, p=[0.4, 0.25, 0.2, 0.15])
    sex = rng.choice(["man", "woman"], n, p=[0.6, 0.4])
    age = np.clip(rng.gamma(6, 7, n), 18, 95)
    skill = rng.normal(size=n) + 0.8 * (region == "south") - 0.3 * (sex == "woman")
    income = np.exp(3.5 + 0.4 * skill + 0.01 * age)
    hours = 38 + 4 * skill + 4 * rng.normal(size=n)
    owner = rng.random(n) < 1 / (1 + np.exp(-(age - 45) / 8))
    risk = -1.7 - 1.2 * skill + 1.0 * (region == "east") - 0.8 * owner + 0.6 * (sex == "woman")
    default = np.where(rng.random(n) < 1 / (1 + np.exp(-risk)), "yes", "no")
    table = {
        "income": income.round(2),
        "age": age.astype(int),
        "hours": hours.round(1),
        "region": region,
    }
    return SCHEMA.cast(pd.DataFrame(table | {"sex": sex, "owner": owner, "default": default}))


def noted(table: pd.DataFrame, seed: object) -> pd.DataFrame:
    """With a note of twelve words a row: a few common ones and many rare ones, one in ten of
    another kind for a default.
    """
    rng = np.random.default_rng(seed)
    words = np.minimum(rng.zipf(1.3, size=(len(table), 12)), 3000)
    words += 3000 * (
        (table["default"] == "yes").to_numpy()[:, None] & (rng.random(words.shape) < 0.1)
    )
    return table.assign(note=[" ".join(f"w{word}" for word in row) for row in words]).astype(
        {"note": table["region"].dtype}
    )


def _shrunk(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: (table[name] + table[name].mean()) / 2 for name in ("income", "hours")}
    return table.assign(
        **numbers, age=((table["age"] + table["age"].mean()) / 2).round().astype("Int64")
    )


def _without(table: pd.DataFrame, gone: pd.Series) -> pd.DataFrame:
    """The rows left, drawn again up to the old number: twins, but no change in size."""
    kept = table[~gone.to_numpy()]
    return kept.iloc[np.arange(len(table)) % len(kept)]


def _most_women(table: pd.DataFrame) -> pd.Series:
    woman = table["sex"] == "woman"
    return woman & (woman.cumsum() % 10 > 0)


def _shifted(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(income=(table["income"] + 0.3 * table["income"].std()).round(2))


def _permuted(table: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: table[name].array[rng.permutation(len(table))] for name in table})


def _rest(table: pd.DataFrame) -> pd.DataFrame:
    return table[len(table) // 10 :]


def readings(
    rows: int,
    fresh: int,
    metrics: Iterable[str] = tuple(METRICS),
    defects: Iterable[str] = tuple(DEFECTS),
):
    """Headline readings: one row a metric, a column for each of `fresh` samples (0, 1, ...) and for
    each of `defects`.

    A defect's reading is the mean over the first BASES of the fresh samples, spoilt, each held against
    the train and test tables of its own world; a copy is the train table of that world.
    """
    texts = [name for name in metrics if METRICS[name].function.startswith(TEXTS)]
    plain = [name for name in metrics if name not in texts]
    parts = [
        _readings(rows, fresh, part, defects, part is texts) for part in (plain, texts) if part
    ]
    return pd.concat(parts).reindex(list(metrics))


def _readings(
    rows: int, fresh: int, metrics: Iterable[str], defects: Iterable[str], notes: bool
) -> pd.DataFrame:
    def drawn(seed: list[int]) -> pd.DataFrame:
        return noted(draw(rows, seed), [*seed, 1]) if notes else draw(rows, seed)

    schema = NOTED if notes else SCHEMA
    worlds = [(drawn([1, world]), drawn([2, world])) for world in range(WORLDS)]
    samples = [drawn([3, sample]) for sample in range(fresh)]
    found = {}
    for name in [*range(fresh), *defects]:
        values = []
        for place in [name] if isinstance(name, int) else range(min(BASES, fresh)):
            train, test = worlds[place % WORLDS]
            table = samples[place]
            if not isinstance(name, int):
                table = DEFECTS[name][1](train, table)
            trial = Trial(train, test, table.reset_index(drop=True), schema)
            values.append(headline_values(trial, metrics))
        found[name] = pd.DataFrame(values).mean()
        print(f"{name}: read", file=sys.stderr)
    return pd.DataFrame(found)


def kept(rows: int, fresh: int, path: Path | None) -> pd.DataFrame:
    """`readings` of every metric, those that the file at `path` holds taken from there."""
    if path is None:
        return readings(rows, fresh)
    old = pd.DataFrame()
    if path.exists():
        old = pd.read_json(path, orient="split")
        old.columns = [int(name) if str(name).isdigit() else name for name in old.columns]
    new = [name for name in METRICS if name not in old.index]
    table = pd.concat([old, readings(rows, fresh, new)]) if new else old
    table.to_json(path, orient="split", double_precision=15)
    return table.reindex(list(METRICS))


def headline_values(trial: Trial, metrics: Iterable[str]) -> dict[str, float]:
    """The row about the whole table, otherwise the worst one; where a metric does not apply, with
    the target "income".
    """
    other = replace(trial, schema=_numeric_target(trial.schema))
    values: dict[str, float] = {}
    functions = dict.fromkeys(METRICS[name].function for name in metrics)
    with one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for function in functions:
            names = [name for name in metrics if METRICS[name].function == function]
            measure = METRICS[names[0]].load()
            aside = [name for name in names if METRICS[name].lacks(trial.schema)]
            rows = []
            if len(aside) < len(names):
                rows += [row for row in measure(trial) if row.metric not in aside]
                aside += [row.metric for row in rows if row.state == NOT_APPLICABLE]
            if aside:
                rows = [row for row in rows if row.metric not in aside]
                rows += [row for row in measure(other) if row.metric in aside]
            values |= {
                name: _headline([row for row in rows if row.metric == name], name) for name in names
            }
    return values


def _headline(rows: list[Row], name: str) -> float:
    rank = [(row.column != "") + 2 * (row.group != "") for row in rows]
    found = pd.Series(
        [row.value for row, place in zip(rows, rank, strict=True) if place == min(rank)],
        dtype=float,
    )
    return (
        found[badness(found, METRICS[name].direction).idxmax()] if found.notna().any() else np.nan
    )


def _numeric_target(schema: Schema) -> Schema:
    roles = {"income": "target", "default": "feature"}
    return replace(
        schema,
        positive=None,
        columns=tuple(replace(c, role=roles.get(c.name, c.role)) for c in schema.columns),
    )


def seen(table: pd.DataFrame) -> pd.DataFrame:
    """Which readings lie outside the band of fresh samples: table of bool, metrics by defects; and
    the band, low and high.
    """
    fresh = table[[name for name in table if isinstance(name, int)]]
    k = fresh.notna().sum(axis=1)
    half = t.ppf((1 + LEVEL) / 2, k - 1) * fresh.std(axis=1) * np.sqrt(1 + 1 / k)
    low, high = fresh.mean(axis=1) - half, fresh.mean(axis=1) + half
    defects = table.drop(columns=fresh.columns)
    outside = defects.lt(low - 1e-9, axis=0) | defects.gt(high + 1e-9, axis=0)
    return outside.assign(low=low, high=high)


def document(table: pd.DataFrame, rows: int, fresh: int) -> str:
    outside = seen(table)
    defects = [name for name in table if not isinstance(name, int)]
    lines = [
        "# Metrics: what each one sees, and what it is blind to",
        "",
        "Made by `python benchmarks/sanity.py --write docs/metrics.md`; do not edit by hand.",
        "",
        (
            f"Real rows come from a known distribution: {rows:,} train, test and synthetic rows,"
            " seven columns, a rare label to"
        ),
        (
            "predict. The band is where one more fresh sample would read in 99 of 100 cases; a"
            " reading outside it is **bold**: the"
        ),
        (
            f"metric sees the defect. The band is from {fresh} fresh samples, a reading is the mean"
            f" over {BASES} spoilt ones; they"
        ),
        f"are held against {WORLDS} pairs of train and test tables, drawn anew. The",
        (
            "two metrics of numeric targets (R2, RMSE) read the same tables with `income` as the"
            " target, and those of free text"
        ),
        (
            "the same tables with a note of random words in each row. A claimed epsilon is read off"
            " the generator, rules need"
        ),
        "columns that have some, keys must be named: no table here shows these three.",
        "",
        *(f"- **{name}**: {DEFECTS[name][0]}" for name in defects),
        "",
        f"| metric | better | fresh samples | {' | '.join(defects)} |",
        f"|---|---|---|{'---|' * len(defects)}",
    ]
    for name, row in table.iterrows():
        band = f"{number(outside.at[name, 'low'])} to {number(outside.at[name, 'high'])}"
        marks = [
            f"**{number(row[d])}**" if outside.at[name, d] else number(row[d]) for d in defects
        ]
        better = {"up": "higher", "down": "lower", "zero": "near 0"}[METRICS[name].direction]
        lines.append(f"| `{name}` | {better} | {band} | {' | '.join(marks)} |")
    lines += ["", "## In words", "", "| metric | sees | is blind to |", "|---|---|---|"]
    for name in table.index:
        sees = [d for d in defects if outside.at[name, d]]
        blind = [d for d in defects if not outside.at[name, d]]
        lines.append(
            f"| {METRICS[name].title} (`{name}`) | {', '.join(sees) or 'none'} |"
            f" {', '.join(blind) or 'none'} |"
        )
    lines += ["", "## Definitions and known failures", ""]
    for function in dict.fromkeys(METRICS[name].function for name in table.index):
        names = [f"`{name}`" for name in table.index if METRICS[name].function == function]
        lines += [
            f"### {', '.join(names)}",
            "",
            inspect.getdoc(METRICS[names[0].strip("`")].load()),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, default=2000, help="rows of train, of test and of each synthetic table"
    )
    parser.add_argument("--fresh", type=int, default=12, help="fresh samples that make the band")
    parser.add_argument("--write", type=Path, help="the document to write, instead of printing it")
    parser.add_argument("--keep", type=Path, help="a file of readings, made where it is not there")
    options = parser.parse_args()
    table = kept(options.rows, options.fresh, options.keep)
    text = document(table, options.rows, options.fresh)
    if options.write:
        options.write.parent.mkdir(exist_ok=True)
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
