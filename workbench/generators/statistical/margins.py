"""The margins of a copula: every column as intervals of (0, 1), and back.

For mixed tables after Patki, Wedge and Veeramachaneni (2016), "The Synthetic Data Vault": a value
owns the interval of its share, labels are put in an order first, and being missing is a second,
binary variable called "NAME is missing".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtri

from workbench.tables.conditions import matches
from workbench.tables.encode import Marginal, from_float, level_codes, to_float
from workbench.tables.schema import KINDS, Column, Schema


class Margins:
    """The margins of a table's columns. Labels are ordered by name first, then along the main axis
    of the scores.
    """

    def __init__(self, table: pd.DataFrame, schema: Schema):
        self.schema = schema
        self.axis = np.zeros(len(table))  # each row's place on the main axis
        for _ in range(2):
            self.columns = {
                column.name: Margin(table[column.name], column, self.axis)
                for column in schema.columns
            }
            self.axis = _main_axis(self.scores(table))

    def intervals(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The lower and upper ends of every value's interval, NaN where missing, with the columns
        "NAME is missing".
        """
        low, high = {}, {}
        for name, margin in self.columns.items():
            missing = table[name].isna().to_numpy()
            low[name], high[name] = margin.intervals(table[name])
            flag = f"{name} is missing"
            low[flag], high[flag] = (
                np.where(missing, margin.present, 0.0),
                np.where(missing, 1.0, margin.present),
            )
        return pd.DataFrame(low), pd.DataFrame(high)

    def scores(self, table: pd.DataFrame) -> pd.DataFrame:
        """Normal scores: the mean of a standard normal within each interval, NaN where missing."""
        low, high = self.intervals(table)
        width = np.maximum(high - low, 1e-12)
        density = lambda p: np.exp(-(ndtri(p) ** 2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
        return ((density(low) - density(high)) / width).where((high > low) | high.isna(), 0.0)

    def rarest_condition(self, where: Mapping) -> tuple[str, float, float] | None:
        """The variable and the interval of the rarest condition; None without conditions, or where
        train never meets one.
        """
        found = []
        for name, wanted in where.items():
            self.schema[name]  # raises InputError for an unknown name
            if pd.api.types.is_scalar(wanted) and pd.isna(wanted):
                found.append((f"{name} is missing", self.columns[name].present, 1.0))
            else:
                found.append((name, *self.columns[name].interval_of(wanted, self.schema)))
        rarest = min(found, key=lambda one: one[2] - one[1], default=None)
        return rarest if rarest and rarest[1] < rarest[2] else None

    def table(self, levels: Mapping[str, np.ndarray], n: int) -> pd.DataFrame:
        """n rows at the levels in (0, 1) of the variables that vary; the others have one value,
        whatever the level.
        """
        constant = np.full(n, 0.5)
        columns = {
            name: margin.values(
                levels.get(name, constant), levels.get(f"{name} is missing", constant)
            )
            for name, margin in self.columns.items()
        }
        return pd.DataFrame(columns, columns=self.schema.names)


class Margin:
    """One column's marginal, as cut points of (0, 1): levels at most `present` have a value, and
    values own intervals.
    """

    def __init__(self, values: pd.Series, column: Column, axis: np.ndarray):
        """axis: a number for each row, shape (rows,); labels are ordered by its mean over the rows
        that hold them.
        """
        self.column = column
        self.present = float(values.notna().mean())
        if column.is_discrete:
            groups = pd.Series(axis).groupby(
                values.to_numpy(dtype=object, na_value=None), sort=True
            )
            order = np.argsort(groups.mean().to_numpy(), kind="stable")
            self.labels = groups.mean().index.to_numpy(dtype=object)[order]
            self.ends = np.cumsum(groups.size().to_numpy()[order]) / max(values.notna().sum(), 1)
        else:
            self.numbers = Marginal.fit(to_float(values))

    def codes(self, values: pd.Series) -> np.ndarray:
        """Each value's place among the ordered labels, or among the train numbers, as floats; NaN
        where missing.
        """
        if self.column.is_discrete:
            codes = level_codes(pd.Index(self.labels), values).astype(float)
        else:
            codes = np.searchsorted(self.numbers.values, to_float(values), side="left").astype(
                float
            )
        return np.where(values.isna(), np.nan, codes)

    def intervals(self, values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the intervals of train values, each of shape (rows,); NaN where missing."""
        if self.column.is_discrete:
            starts = np.append(0.0, self.ends)
            code = level_codes(pd.Index(self.labels), values)
            low, high = starts[code], starts[np.minimum(code + 1, len(self.ends))]
        else:
            numbers, n = to_float(values), max(len(self.numbers.values), 1)
            low, high = (
                np.searchsorted(self.numbers.values, numbers, side=side) / n
                for side in ("left", "right")
            )
        missing = values.isna()
        return np.where(missing, np.nan, low), np.where(missing, np.nan, high)

    def interval_of(self, wanted, schema: Schema) -> tuple[float, float]:
        """The ends of the interval of all train values that meet a condition; (0, 0) where none
        does.
        """
        name, numbers = self.column.name, not self.column.is_discrete
        values = (
            from_float(self.numbers.values, self.column)
            if numbers
            else pd.Series(self.labels, dtype=object)
        )
        values = values.astype(KINDS[self.column.kind])
        met = np.flatnonzero(matches(pd.DataFrame({name: values}), schema, {name: wanted}))
        if not len(met):
            return 0.0, 0.0
        if numbers:  # quantiles between two values are drawn too: one step wider on either side
            return max(met[0] - 1, 0) / len(values), min(met[-1] + 2, len(values)) / len(values)
        starts = np.append(0.0, self.ends)
        return starts[met[0]], starts[met[-1] + 1]

    def values(self, level: np.ndarray, missing_level: np.ndarray) -> pd.Series:
        """Values at the levels, shape (rows,), in (0, 1); missing where missing_level is beyond the
        share of present ones.
        """
        missing = missing_level >= self.present
        if not self.column.is_discrete:
            return from_float(np.where(missing, np.nan, self.numbers.quantile(level)), self.column)
        labels = np.append(self.labels, np.nan)
        index = np.where(
            missing, len(labels) - 1, np.searchsorted(self.ends[:-1], level, side="right")
        )
        return pd.Series(labels[index], name=self.column.name, dtype=object).astype(
            KINDS[self.column.kind]
        )


def _main_axis(scores: pd.DataFrame) -> np.ndarray:
    """The first principal component of the scores, shape (rows,); zeros where nothing varies."""
    matrix = scores.fillna(0).to_numpy()
    if not matrix.any():
        return np.zeros(len(matrix))
    _, vectors = np.linalg.eigh(matrix.T @ matrix)
    # An eigenvector's sign is arbitrary: its largest entry is made positive, so that any machine
    # orders labels alike.
    main = vectors[:, -1]
    return matrix @ (main * np.sign(main[np.argmax(np.abs(main))]))
