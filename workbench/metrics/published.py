"""Column-shape and pair-trend error as papers print them: SDMetrics' quality report against train,
in percent.

All pairs count, as in the SDMetrics of those papers; its later versions (0.32) leave out by default
the pairs that are hardly associated in the real table, which needs
`report.real_correlation_threshold = report.real_association_threshold = 0`.

Only for comparison with published tables: a number beside labels is binned on each table's own
range, so x -> 3x + 100 costs nothing there, and gaps are left out of the shapes. `marginals` and
`pair_trends` have neither flaw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.metrics import NOT_APPLICABLE, Row, Trial
from workbench.metrics.fidelity import column_distance
from workbench.tables.encode import to_float
from workbench.words import listed

BINS = 10


def published_errors(trial: Trial) -> Iterator[Row]:
    """`shape_error` and `trend_error`: 100 (1 - score) of SDMetrics' Column Shapes and Column Pair
    Trends, against train.

    Shapes: the mean over columns of KS (numbers, dates) or total variation (labels) on present
    values. Trends: the mean over pairs of |r_S - r_R| / 2 with Pearson's r (two columns of numbers,
    both varying in both tables), or of the total variation between contingency tables, numbers in
    10 equally wide bins of their own table's range and missing labels a level. 0 to 100, down; 0 is
    equal. TabSyn (Zhang et al. 2024) and TabDiff (Shi et al. 2025) print these two.
    """
    columns, real, synthetic = trial.schema.columns, trial.train, trial.synthetic
    shapes, emptied = [], []
    for column in columns:
        # Present values alone, as the published report has it.
        drawn, known = synthetic[column.name].dropna(), real[column.name].dropna()
        both = len(drawn) > 0 and len(known) > 0
        shapes.append(column_distance(drawn, known, column)[0] if both else np.nan)
        # The definition looks at present values alone: what has none costs nothing, and a bad
        # column that is emptied lowers the error.
        if len(drawn) / max(len(synthetic), 1) < len(known) / len(real) / 2:
            emptied.append(column.name)
    # The flaw is part of the definition; the note says when it matters.
    row = _percent("shape_error", shapes)
    if emptied:
        note = f"does not see that most values of {listed(emptied)} are gone; marginals does"
        row = replace(row, note="; ".join(filter(None, [row.note, note])))
    yield row

    yield _percent("trend_error", _trends(trial, own_range=True))


def trend_on_real_edges(trial: Trial) -> Row:
    """`trend_error` with both tables' numbers cut at the real table's bins: one extreme synthetic
    value moves nothing else, and a shifted column is seen.
    """
    return _percent("trend_on_real_edges", _trends(trial, own_range=False))


def _trends(trial: Trial, own_range: bool) -> list[float]:
    """The distance of every pair of columns; numbers beside labels in bins of each table's own
    range, or of the real one's.
    """
    columns, real, synthetic = trial.schema.columns, trial.train, trial.synthetic
    # Pairs of numbers by correlation, all others by tables.
    numbers = [column.name for column in columns if not column.is_discrete]
    r_synthetic, r_real = (_pearson(table, numbers) for table in (synthetic, real))
    codes = {
        c.name: (
            _labels(c.name, real, synthetic)
            if c.is_discrete
            else _bins(c.name, real, synthetic, own_range=own_range)
        )
        for c in columns
    }
    # Positive for real rows, negative for synthetic ones: a sum is a difference of shares.
    n = len(real)
    weight = np.repeat([1 / n, -1 / len(synthetic)], [n, len(synthetic)])
    trends = []
    for a, b in combinations(trial.schema.names, 2):
        if a in numbers and b in numbers:
            trends.append(abs(r_synthetic.at[a, b] - r_real.at[a, b]) / 2)
        else:
            trends.append(_variation(codes[a], codes[b], weight))
    return trends


def _percent(metric: str, distances: list[float]) -> Row:
    if not np.isfinite(distances).any():
        return Row(
            metric, np.nan, state=NOT_APPLICABLE, note="no column or pair that it is defined for."
        )
    return Row(metric, 100 * float(np.nanmean(distances)))


def _pearson(table: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    values = pd.DataFrame({name: to_float(table[name]) for name in numbers})
    return (
        values.loc[:, values.nunique() != 1]
        .corr(min_periods=2)
        .reindex(index=numbers, columns=numbers)
    )


def _labels(name: str, *tables: pd.DataFrame) -> np.ndarray:
    return pd.factorize(
        pd.concat([table[name] for table in tables]).astype(object), use_na_sentinel=False
    )[0]


def _bins(
    name: str, real: pd.DataFrame, synthetic: pd.DataFrame, own_range: bool = True
) -> np.ndarray:
    first, second = to_float(real[name]), to_float(synthetic[name])
    edges = _edges(first[~np.isnan(first)])
    others = _edges(second[~np.isnan(second)]) if own_range else edges
    return np.concatenate([np.digitize(first, edges), np.digitize(second, others)])


def _edges(present: np.ndarray) -> np.ndarray:
    try:
        return np.histogram_bin_edges(present, BINS)
    except ValueError:  # so large that floating point has no ten steps between lowest and highest
        return present[:1]


def _variation(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> float:
    # One number for the pair of codes.
    cell = first * (int(second.max()) + 1) + second
    if cell.max() > 10 * len(cell):  # many levels: number the cells that occur
        cell = pd.factorize(cell)[0]
    return float(np.abs(np.bincount(cell, weights=weight)).sum() / 2)
