"""Groups of people in tables, counted and resampled: what the bias and fairness metrics share.

Groups are the labels of each sensitive column, and the cells of each pair of them; missing values
are a group of their own. A numeric sensitive column is cut at its train quartiles, a regression
target at its train median; a column with more than 20 labels keeps the 19 commonest and pools the
others as "(rare)". A group of fewer than MIN_ROWS rows reads "insufficient".

Intervals are 95% and come from a multinomial bootstrap of the contingency tables. The percentiles
of the deviations from the bootstrap's mean are laid around the observed value, which takes out the
bias that resampling itself adds to V and to a maximum. A share of exactly 0 or 1 is never resampled
to anything else; such a group's interval is too narrow.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import norm

from workbench.metrics import Row, Trial
from workbench.metrics.intervals import LEVELS, Z
from workbench.tables.encode import Codes
from workbench.tables.schema import Schema

MIN_ROWS = 30  # the usual least count for a normal approximation to a share
MAX_LEVELS = 20
DRAWS = 500


class Groups:
    """A trial's sensitive columns, and its target where it has one, as codes fitted on train; the
    target comes last.
    """

    def __init__(self, trial: Trial):
        schema = trial.schema
        # Quartiles of a sensitive number, the median of a target of numbers: few cells with many
        # rows.
        parts = (
            [(schema.sensitive, 4), ((schema.target,), 2)]
            if schema.target
            else [(schema.sensitive, 4)]
        )
        self.parts = [
            Codes(trial.train, Schema(columns), bins, MAX_LEVELS) for columns, bins in parts
        ]
        self.columns = [column.name for part in self.parts for column in part.schema.columns]
        self.labels = [
            part.labels(column.name) for part in self.parts for column in part.schema.columns
        ]
        self.sizes = [size for part in self.parts for size in part.sizes]
        self.sensitive = range(len(schema.sensitive))
        self.target = len(self.sensitive)

    @classmethod
    def of(cls, trial: Trial) -> Groups:
        """The groups of a trial, fitted once however many metrics ask."""
        return trial.once("groups", trial.train, lambda: cls(trial))

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Codes, shape (rows, columns)."""
        return np.hstack([part.encode(table) for part in self.parts])

    def encode_target(self, values: np.ndarray) -> np.ndarray:
        """Codes of predicted labels (as text) or values, shape (rows,)."""
        # Predictions come as text, and the codes know booleans as such.
        column = self.parts[-1].schema.columns[0]
        named = pd.Series(values, name=column.name)
        if column.kind == "boolean":
            named = named.map({"True": True, "False": False})
        return self.parts[-1].encode_column(named)

    def views(self, pairs: bool = True) -> list[tuple[int, ...]]:
        """Each sensitive column on its own, then each pair, as positions."""
        return [(j,) for j in self.sensitive] + (
            list(combinations(self.sensitive, 2)) if pairs else []
        )

    def title(self, view: tuple[int, ...]) -> str:
        return " x ".join(self.columns[j] for j in view)

    def names(self, view: tuple[int, ...]) -> list[str]:
        """A name for every cell of a view, like "race=black, male=True"."""
        labels = []
        for j in view:
            labels.append([f"{self.columns[j]}={label}" for label in self.labels[j]])
        return [", ".join(cell) for cell in product(*labels)]


class Resamples:
    """How often each distinct row of a code matrix occurs: as observed first, then in DRAWS
    bootstrap samples.

    Drawing the joint counts once and adding them up keeps all tables of one sample consistent.
    Without rng, no draws.
    """

    def __init__(self, codes: np.ndarray, rng: np.random.Generator | None = None):
        # Only combinations that occur are kept: a table of all of them would be mostly empty.
        self.cells, counts = np.unique(codes, axis=0, return_counts=True)
        draws = (
            np.empty((0, len(counts)))
            if rng is None
            else rng.multinomial(len(codes), counts / len(codes), size=DRAWS)
        )
        self.counts = np.vstack([counts, draws]).astype(float)

    def table(self, *columns: int, sizes: list[int]) -> np.ndarray:
        """Counts, shape (1 + draws, product of the sizes of all columns but the last, size of the
        last column).
        """
        shape = [sizes[j] for j in columns]
        # Where each distinct row falls in the wanted table.
        cell = np.ravel_multi_index([self.cells[:, j] for j in columns], shape)
        add = csr_array(
            (np.ones(len(cell)), (cell, np.arange(len(cell)))),
            shape=(int(np.prod(shape)), len(cell)),
        )
        return (add @ self.counts.T).T.reshape(len(self.counts), -1, shape[-1])


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of their sum along the last axis; NaN where it is 0."""
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=-1, keepdims=True)


def reading(
    metric: str, draws: np.ndarray, column: str = "", group: str = "", note: str = ""
) -> Row:
    """A row from a statistic as observed (first) and in each bootstrap sample."""
    value = float(draws[0])
    # Around the observed value: resampling moves V and maxima up, and the quantiles with them.
    low, high = value + np.quantile(draws[1:], LEVELS) - draws[1:].mean()
    return Row(metric, value, float(low), float(high), column=column, group=group, note=note)


def worst_column(metric: str, rows: list[Row]) -> Row:
    """The headline of rows of one column each: the largest by absolute value, its sign kept, with a
    Bonferroni interval, since it was picked out of several.
    """
    row = max(rows, key=lambda row: -1 if np.isnan(row.value) else abs(row.value))
    # Bonferroni over those that could be read.
    read = max(sum(np.isfinite(row.value) for row in rows), 1)
    factor = float(norm.ppf(1 - 0.025 / read)) / Z
    low = row.value - factor * (row.value - row.low)
    high = row.value + factor * (row.high - row.value)
    return replace(
        row, metric=metric, low=low, high=high, column="", note=f"{row.column}: {row.note}"
    )


def levels_note(words: tuple[str, str], values) -> str:
    return ", ".join(f"{word} {value:.4f}" for word, value in zip(words, values, strict=True))
