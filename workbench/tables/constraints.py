"""Declared constraints, kept by rewriting a table so that they hold whatever values are drawn for
what is rewritten.

    low <= high             high becomes its distance from low (from the largest of its low sides, where it has several);
                            where low has gaps, a second column, "high alone", says what high is in
                            rows without low
    ("city", "country")     one label for each combination of the train rows, a missing value being a label

A generator learns and draws the rewritten table; `restore` leads back, on the grid and within the
bounds of every column. Where a low side lies beyond all values of its high side, which train has
only where the high side is missing, it is missing.
"""

from __future__ import annotations

from dataclasses import replace
from graphlib import TopologicalSorter

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import Column, Schema


def broken(table: pd.DataFrame, low: str, high: str, strict: bool) -> np.ndarray:
    """Whether each row breaks "low <= high" (or "low < high"), bool, shape (rows,); a missing side
    breaks nothing.
    """
    one, other = to_float(table[low]), to_float(table[high])
    return one >= other if strict else one > other


def check(table: pd.DataFrame, schema: Schema) -> None:
    """Raises InputError for the first inequality that does not hold in every row of a cast table,
    with their number.
    """
    for low, high, strict in schema.inequalities:
        count = int(broken(table, low, high, strict).sum())
        if count:
            raise InputError(
                f"constraint '{low} {'<' if strict else '<='} {high}' does not hold in {count} of {len(table)} rows; "
                "correct them or drop the constraint."
            )


class Rewriting:
    """How a table with constraints is rewritten. `schema` is that of the rewritten table, `changed`
    names what is rewritten.

    A column keeps its name and role; a combination takes the name of the first of its columns, and
    the strongest role.
    """

    def __init__(self, schema: Schema):
        self.original = schema
        self._lower: dict[
            str, dict[str, bool]
        ] = {}  # a column, the columns below it, and whether it is above them strictly
        for low, high, strict in schema.inequalities:
            lower = self._lower.setdefault(high, {})
            lower[low] = strict or lower.get(low, False)
        self._order = [
            name for name in TopologicalSorter(self._lower).static_order() if name in self._lower
        ]
        self._groups = _joined(schema)
        self.changed = {*self._lower, *(name for group in self._groups for name in group)}
        self._marginals: dict[str, Marginal] = {}
        self._alone: dict[
            str, str
        ] = {}  # a column, and the one that stands for it in rows without its low sides
        self._combinations: dict[str, pd.DataFrame] = {}
        label = (
            schema.target is not None
            and schema.target.name in self.changed
            and schema.target.is_discrete
        )
        columns = [self._column(column) for column in schema.columns]
        self.schema = Schema(tuple(filter(None, columns)), None if label else schema.positive)

    def _column(self, column: Column) -> Column | None:
        if column.name in self._lower:
            whole = all(
                self.original[name].kind == "integer"
                for name in [column.name, *self._lower[column.name]]
            )
            return replace(column, kind="integer" if whole else "numeric")
        for group in self._groups:
            if column.name == group[0]:
                roles = {self.original[name].role for name in group}
                return Column(
                    column.name,
                    "categorical",
                    next(r for r in ("target", "sensitive", "feature") if r in roles),
                )
            if column.name in group:
                return None
        return column

    def apply(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """The rewritten train table, which may add columns to `schema`. Raises InputError where a
        constraint does not hold.
        """
        check(table, self.original)
        numbers = {
            name: to_float(table[name])
            for name in {*self._lower, *(n for low in self._lower.values() for n in low)}
        }
        columns = dict(table.items())
        for name in self._order:
            self._marginals[name] = Marginal.fit(numbers[name])
            low, _ = self._floor(name, numbers)
            distance = numbers[name] - low
            if all(Marginal.fit(numbers[n]).step for n in [name, *self._lower[name]]):
                distance = np.round(
                    distance, 6
                )  # 0.3 - 0.1 is on their grid, give or take what floats cannot hold
            # Rows without low have no distance: they are given other rows', so that gaps in low are
            # not gaps in high.
            filled, known = (
                np.isnan(distance) & ~np.isnan(numbers[name]),
                distance[~np.isnan(distance)],
            )
            distance[filled] = rng.choice(known, filled.sum()) if len(known) else 0.0
            columns[name] = from_float(distance, self.schema[name])
            if np.isnan(low).any():
                alone = f"{name} alone"
                while alone in columns:
                    alone += "'"
                self._alone[name], columns[alone] = alone, table[name]
                added = replace(self.original[name], name=alone, role="feature")
                self.schema = replace(self.schema, columns=(*self.schema.columns, added))
        for group in self._groups:
            codes = np.column_stack(
                [
                    pd.factorize(table[name].astype(object), use_na_sentinel=False)[0]
                    for name in group
                ]
            )
            _, first, code = np.unique(codes, axis=0, return_index=True, return_inverse=True)
            self._combinations[group[0]] = table[list(group)].iloc[first]
            columns[group[0]] = pd.Series(code.ravel().astype(str), dtype=object)
        return self.schema.cast(pd.DataFrame({name: columns[name] for name in self.schema.names}))

    def restore(self, rewritten: pd.DataFrame) -> pd.DataFrame:
        """Rows of the original columns, in which every constraint holds, from rows of the rewritten
        ones.
        """
        columns = dict(rewritten.items())
        for group in self._groups:
            rows = self._combinations[group[0]].take(columns[group[0]].astype(int).to_numpy())
            columns |= {name: rows[name].array for name in group}
        numbers = {
            n: to_float(columns[n])
            for lower in self._lower.values()
            for n in lower
            if n not in self._lower
        }
        for name in self._order:
            low, strict = self._floor(name, numbers)
            marginal, value = self._marginals[name], low + np.abs(to_float(columns[name]))
            if name in self._alone:
                value = np.where(np.isnan(low), to_float(columns[self._alone[name]]), value)
            value = _above(
                _nearest(marginal.snap(value), low, marginal.values),
                low,
                strict,
                marginal,
                self.original[name],
            )
            columns[name] = from_float(value, self.original[name])
            numbers[name] = to_float(columns[name])
        return pd.DataFrame(columns, columns=self.original.names)

    def _floor(self, name: str, numbers: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The largest low side of each row (NaN where all are missing), and whether the column must
        lie strictly above it.
        """
        low = np.fmax.reduce([numbers[other] for other in self._lower[name]])
        strict = [numbers[other] for other, is_strict in self._lower[name].items() if is_strict]
        return low, (np.fmax.reduce(strict) == low) if strict else np.zeros(len(low), dtype=bool)


def _joined(schema: Schema) -> list[tuple[str, ...]]:
    """The combinations, those that share a column made one, each in the order of the table."""
    groups: list[set[str]] = []
    for names in schema.combinations:
        touching = [group for group in groups if group & set(names)]
        groups = [group for group in groups if group not in touching] + [
            set(names).union(*touching)
        ]
    return [tuple(name for name in schema.names if name in group) for group in groups]


def _nearest(values: np.ndarray, low: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The train value a value was before low was taken off and added again, where only rounding
    lies between the two.
    """
    if not len(train):
        return values
    after = np.clip(np.searchsorted(train, values), 1, max(len(train) - 1, 1))
    one, other = train[after - 1], train[np.minimum(after, len(train) - 1)]
    near = np.where(np.abs(values - one) <= np.abs(values - other), one, other)
    rounding = 4 * np.spacing(np.fmax(np.abs(values), np.nan_to_num(np.abs(low))))
    return np.where(np.abs(values - near) <= rounding, near, values)


def _above(
    values: np.ndarray, low: np.ndarray, strict: np.ndarray, marginal: Marginal, column: Column
) -> np.ndarray:
    """The values, lifted to the next of the column's grid where they are below `low`; missing where
    there is none.
    """

    def beneath(numbers: np.ndarray) -> np.ndarray:
        return (numbers < low) | (strict & (numbers == low))

    step = marginal.step or (1e-6 if column.kind == "datetime" else None)
    lifted = marginal.snap(low)
    higher = np.nextafter(lifted, np.inf) if step is None else marginal.snap(lifted + step)
    values = np.where(beneath(values), np.where(beneath(lifted), higher, lifted), values)
    return np.where(beneath(values), np.nan, values)
