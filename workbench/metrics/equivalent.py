"""What a reading means in real rows: the share of them that, in the synthetic table's place, would
read the same.

"Tables .92" says little to anybody. "As far from the truth as a sample of 7% of the real rows" can be
weighed: the reader knows what such a sample is good for. SDNist says so of its k-marginals; here it
is said of any metric that has a floor, a ceiling and a reading that depends on the number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import isotonic_regression

from workbench.errors import InputError
from workbench.files import write_text
from workbench.metrics import (
    INSUFFICIENT,
    METRICS,
    NOT_APPLICABLE,
    NOT_INFORMATIVE,
    OK,
    Metric,
    Row,
    Trial,
    get,
)
from workbench.metrics.references import hashed, kept_at

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the train rows
DRAWS = {0.01: 4, 0.02: 3, 0.05: 2}  # samples whose readings are averaged: the small ones vary most
MIN_ROWS = 10  # of a sample; smaller shares of a small table are left out
# Measured on every card: together they cost a second or two of the references, once for a batch.
# Any other metric can be named (`evaluate(..., shares=["tstr_auc"])`), but one that trains models
# does so a dozen times.
DEFAULT = ("kway_tables", "pair_trends", "marginals", "worst_column")
# A table that reads between two others: the real one that a metric does not read.
SAMPLED = {"test": "train", "train": "test"}


def equivalent_share(trial: Trial) -> Iterator[Row]:
    """The share of the real rows that, in the synthetic table's place, would read the same.

    A sample of x% of train, for x in SHARES, is read by the metric (samples of test, of as many
    rows, where the metric reads train: no row may stand on both sides). The mean readings are made
    monotone in x (isotonic regression) and the synthetic table's reading is placed among them, on
    the logarithm of x. In [.01, 1], up; "below 1%" is .01 and "as all" 1. The interval is that of
    the reading, placed likewise. The headline is that of `kway_tables`, which is SDNist's equivalent
    subsample (Task, Bhagat and Howarth 2023); one row a metric, its name in `group`. "Not
    informative" where a sample of all rows reads no better than the smallest, as where a metric cuts
    both tables to equally many rows. Known failure: more synthetic than real rows cannot read more
    than 1; and equal readings are not equal tables: a sample errs at random, a generator always in
    the same place.
    """
    # Whoever names metrics wants these and no others.
    chosen = trial.shares or DEFAULT
    rows = [_placed(trial, name) for name in chosen]
    # The first metric speaks, and the lowest is named beside it.
    usable = [row for row in rows if row.state == OK]
    if not usable:
        row = rows[0]
        yield replace(row, group="")
    else:
        lowest = min(usable, key=lambda row: row.value)
        first = usable[0]
        words = [_titled(first)]
        if lowest is not first:
            words.append(f"lowest is that of {_titled(lowest)}")
        yield replace(first, group="", note="; ".join(words))
    yield from rows


def _titled(row: Row) -> str:
    return f"{METRICS[row.group].title}: {row.note}"


def check(names: tuple[str, ...]) -> None:
    """Raises InputError for a metric whose readings have no equivalent share."""
    for name in names:
        metric = get(name)
        if metric.speaks_for_itself or not metric.floor or metric.reads not in SAMPLED:
            raise InputError(
                f"metric {name!r} has no equivalent share: it is held against 0, has no floor, or"
                " reads train and test alike."
            )


def _placed(trial: Trial, name: str) -> Row:
    """One metric's reading among those of samples of the real rows."""
    metric = METRICS[name]
    lacking = metric.lacks(trial.schema)
    if lacking:
        note = f"not applicable: {lacking}"
        return Row("equivalent_share", np.nan, group=name, state=NOT_APPLICABLE, note=note)
    row = _headline(trial.rows(metric.function), name)
    if row is None or not np.isfinite(row.value):
        state = row.state if row is not None and row.state != OK else INSUFFICIENT
        note = "the metric itself has no reading here."
        return Row("equivalent_share", np.nan, group=name, state=state, note=note)
    # What samples of real rows read, by their size; the same for all synthetic tables.
    points = curve(trial, name)
    # Turned so that more is better: one rule places both kinds.
    sign = -1.0 if metric.direction == "down" else 1.0
    shares = np.array([share for share, _, _ in points])
    values = monotone(
        sign * np.array([value for _, value, _ in points]),
        np.array([draws for _, _, draws in points], dtype=float),
    )
    # A curve that rises by less than the reading's own noise places nothing.
    noise = (row.high - row.low) / 2 if np.isfinite(row.high - row.low) else 0.0
    if len(shares) < 2 or values[-1] - values[0] <= max(noise, 1e-9):
        note = "not informative: samples of any size read the same, within noise"
        return Row("equivalent_share", np.nan, group=name, state=NOT_INFORMATIVE, note=note)
    # The interval's ends are placed like the reading; a metric where less is better turns them
    # round.
    value, *ends = (place(sign * x, shares, values) for x in (row.value, row.low, row.high))
    low, high = sorted(ends) if np.isfinite(ends).all() else (np.nan, np.nan)
    return Row("equivalent_share", value, low, high, group=name, note=_words(value, shares))


def _words(share: float, shares: np.ndarray) -> str:
    if share <= shares[0]:
        return f"below {_percent(shares[0])}% of the real rows"
    if share >= shares[-1]:
        return "as all real rows" if shares[-1] == 1 else f"as {_percent(shares[-1])}% or more"
    return f"as a sample of {_percent(share)}% of the real rows"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.995 else "100"


def _headline(rows: list[Row], name: str) -> Row | None:
    """The row about the whole table, or the only one of the metric."""
    own = [row for row in rows if row.metric == name]
    whole = [row for row in own if not row.column and not row.group]
    if whole:
        return whole[0]
    return own[0] if len(own) == 1 else None


def curve(trial: Trial, name: str) -> list[tuple[float, float, int]]:
    """(share of the train rows, mean reading, number of samples), smallest share first.

    Read once in an evaluation; with WORKBENCH_REFERENCES, once for all cells of a batch that share
    data and seed, whatever their generators.
    """
    metric = METRICS[name]
    points = trial.once(
        f"curve of {metric.function}", trial.train, lambda: _kept(trial, metric, _read)
    )
    found = []
    for share, samples in points:
        values = [sample[name] for sample in samples if np.isfinite(sample.get(name, np.nan))]
        if values:
            found.append((share, float(np.mean(values)), len(values)))
    return found


def _read(trial: Trial, metric: Metric) -> list:
    """[share, a dictionary of headline readings for each sample], for all metrics of a function."""
    # The table that the metric does not read: no row may stand on both sides.
    real = trial.test if SAMPLED[metric.reads] == "test" else trial.train
    names = [name for name, other in METRICS.items() if other.function == metric.function]
    points = []
    for share in SHARES:
        n = round(share * len(trial.train))
        # Too small to read, or more rows than there are.
        if n < MIN_ROWS or n > len(real):
            continue
        samples = []
        for draw in range(DRAWS.get(share, 1)):
            rng = trial.rng(f"share {share} {draw}")
            picked = np.sort(rng.permutation(len(real))[:n])
            table = real.iloc[picked].reset_index(drop=True)
            # A memory of its own: these tables are read once, and need not be kept.
            one = replace(trial, synthetic=table, guarantee=None, memo=dict(trial.memo))
            rows = list(metric.load()(one))
            samples.append({name: _value(_headline(rows, name)) for name in names})
        points.append([share, samples])
    return points


def _value(row: Row | None) -> float:
    return float(row.value) if row is not None else float("nan")


def _kept(trial: Trial, metric: Metric, compute: Callable) -> list:
    """compute(trial, metric), kept in the folder of references where there is one."""
    # All that the curve depends on; the synthetic table is not among it.
    about = [hashed(trial, trial.train), hashed(trial, trial.test), trial.schema.to_json()]
    path = kept_at([*about, trial.seed, metric.function, SHARES], ".json")
    if path is None:
        return compute(trial, metric)
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    points = compute(trial, metric)
    write_text(path, json.dumps(points))
    return points


def monotone(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The nearest values that never fall, by weighted squares (isotonic regression).

    >>> monotone(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    return isotonic_regression(values, weights=weights).x


def place(value: float, shares: np.ndarray, values: np.ndarray) -> float:
    """The share at which the rising `values` reach `value`, on a logarithmic scale; the ends beyond.

    >>> round(place(2.0, np.array([0.01, 1.0]), np.array([1.0, 3.0])), 6)
    0.1
    """
    if not np.isfinite(value):
        return np.nan
    if value <= values[0]:
        return float(shares[0])
    if value >= values[-1]:
        # Of equally good shares the smallest is meant.
        return float(shares[np.argmax(values >= values[-1])])
    after = int(np.searchsorted(values, value, side="left"))
    part = (value - values[after - 1]) / (values[after] - values[after - 1])
    logs = np.log(shares)
    return float(np.exp(logs[after - 1] + part * (logs[after] - logs[after - 1])))
