"""Declared constraints, kept by rewriting a table so that they hold whatever values are drawn for
what is rewritten.

    low <= high             high becomes its distance from low (from the largest of its low sides,
                            where it has several); where low has gaps, a second column, "high
                            alone", says what high is in rows without low
    ("city", "country")     one label for each combination of the train rows, a missing value being
                            a label
    total = a + b           total is left out and computed again (a product likewise), to the digits
                            that it has in train; where it is the target or sensitive, or train
                            misses it in other rows than its parts, it is drawn along and then
                            overwritten

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
from workbench.tables.schema import Column, Schema, formula_text
from workbench.tables.structure import combined, differs, rounding


def broken(table: pd.DataFrame, low: str, high: str, strict: bool) -> np.ndarray:
    """Whether each row breaks "low <= high" (or "low < high"), bool, shape (rows,); a missing side
    breaks nothing.
    """
    # NaN compares as false, so a gap breaks nothing.
    one, other = to_float(table[low]), to_float(table[high])
    return one >= other if strict else one > other


def check(table: pd.DataFrame, schema: Schema) -> None:
    """Raises InputError for the first inequality, sum or product that does not hold in every row of
    a cast table, with the number of rows where it does not.
    """
    for low, high, strict in schema.inequalities:
        count = int(broken(table, low, high, strict).sum())
        if count:
            raise InputError(
                f"constraint '{low} {'<' if strict else '<='} {high}' does not hold in {count} of"
                f" {len(table)} rows; correct them or drop the constraint."
            )
    for total, sign, parts in schema.formulas:
        count = int(unequal(table, total, sign, parts).sum())
        if count:
            raise InputError(
                f"constraint '{formula_text(total, sign, parts)}' does not hold in {count} of"
                f" {len(table)} rows; correct them or drop the constraint."
            )


def unequal(table: pd.DataFrame, total: str, sign: str, parts: tuple[str, ...]) -> np.ndarray:
    """Whether each row breaks "total = a + b", bool, shape (rows,); a missing side breaks nothing,
    nor does what is lost to rounding.
    """
    # By the digits that the total is written in: a rounded sum is not broken.
    numbers = to_float(table[total])
    value = combined([to_float(table[part]) for part in parts], sign)
    return differs(numbers, value, rounding(numbers))


class Rewriting:
    """How a table with constraints is rewritten. `schema` is that of the rewritten table, `changed`
    names what is rewritten.

    A column keeps its name and role; a combination takes the name of the first of its columns, and
    the strongest role.
    """

    def __init__(self, schema: Schema):
        self.original = schema
        # A column, the columns below it, and whether it is above them strictly.
        self._lower: dict[str, dict[str, bool]] = {}
        for low, high, strict in schema.inequalities:
            lower = self._lower.setdefault(high, {})
            lower[low] = strict or lower.get(low, False)
        # a <= b <= c: b has to be there before c can be put above it.
        lows_first = TopologicalSorter(self._lower).static_order()
        self._order = [name for name in lows_first if name in self._lower]
        self._groups = _joined(schema)
        self._formulas = {total: (sign, parts) for total, sign, parts in schema.formulas}
        # A role keeps its column: a generator may need the target.
        self._omitted = {total for total in self._formulas if schema[total].role == "feature"}
        self.changed = {*self._lower, *self._formulas}
        self.changed.update(name for group in self._groups for name in group)
        self._marginals: dict[str, Marginal] = {}
        # A column, and the one that stands for it in rows without its low sides.
        self._alone: dict[str, str] = {}
        self._combinations: dict[str, pd.DataFrame] = {}
        target = schema.target
        is_joined = target is not None and target.name in self.changed and target.is_discrete
        columns = [self._column(column) for column in schema.columns]
        self.schema = Schema(tuple(filter(None, columns)), None if is_joined else schema.positive)

    def _column(self, column: Column) -> Column | None:
        if column.name in self._omitted:
            return None
        if column.name in self._lower:
            # A distance is whole only where both of its ends are.
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
        columns = dict(table.items())
        self._apply_formulas(table)
        self._apply_inequalities(table, columns, rng)
        self._apply_combinations(table, columns)
        return self.schema.cast(pd.DataFrame({name: columns[name] for name in self.schema.names}))

    def _apply_formulas(self, table: pd.DataFrame) -> None:
        """Keep the digits of each total, and the column of one whose gaps its parts do not explain."""
        for total, (_, parts) in self._formulas.items():
            self._marginals[total] = Marginal.fit(to_float(table[total]))
            # A total that is missing in other rows than its parts has gaps of its own to learn.
            explained = table[list(parts)].isna().any(axis=1)
            if total in self._omitted and not explained.equals(table[total].isna()):
                self._omitted.remove(total)
                self._add(replace(self.original[total], role="feature"))

    def _apply_inequalities(
        self, table: pd.DataFrame, columns: dict[str, pd.Series], rng: np.random.Generator
    ) -> None:
        """Replace each high side by its distance from its low sides."""
        # Read once: a column may be the high side of one rule and the low side of the next.
        compared = {*self._lower, *(low for lower in self._lower.values() for low in lower)}
        numbers = {name: to_float(table[name]) for name in compared}
        for name in self._order:
            self._marginals[name] = Marginal.fit(numbers[name])
            low, _ = self._floor(name, numbers)
            distance = numbers[name] - low
            if all(Marginal.fit(numbers[n]).step for n in [name, *self._lower[name]]):
                # 0.3 - 0.1 is on their grid, give or take what floats cannot hold.
                distance = np.round(distance, 6)
            # Rows without low have no distance: they are given other rows', so that gaps in low are
            # not gaps in high.
            filled = np.isnan(distance) & ~np.isnan(numbers[name])
            known = distance[~np.isnan(distance)]
            distance[filled] = rng.choice(known, filled.sum()) if len(known) else 0.0
            columns[name] = from_float(distance, self.schema[name])
            if np.isnan(low).any():
                alone = f"{name} alone"
                while alone in columns:
                    alone += "'"
                self._alone[name] = alone
                columns[alone] = table[name]
                self._add(replace(self.original[name], name=alone, role="feature"))

    def _apply_combinations(self, table: pd.DataFrame, columns: dict[str, pd.Series]) -> None:
        """Replace each group of labels by the number of its combination."""
        for group in self._groups:
            # Only combinations that train has get a number, so no other can be drawn.
            codes = np.empty((len(table), len(group)), dtype=np.int64)
            for place, name in enumerate(group):
                labels = table[name].astype(object)
                codes[:, place], _ = pd.factorize(labels, use_na_sentinel=False)
            _, first, code = np.unique(codes, axis=0, return_index=True, return_inverse=True)
            self._combinations[group[0]] = table[list(group)].iloc[first]
            columns[group[0]] = pd.Series(code.ravel().astype(str), dtype=object)

    def _add(self, column: Column) -> None:
        self.schema = replace(self.schema, columns=(*self.schema.columns, column))

    def restore(self, rewritten: pd.DataFrame) -> pd.DataFrame:
        """Rows of the original columns, in which every constraint holds, from rows of the rewritten
        ones.
        """
        columns = dict(rewritten.items())
        for group in self._groups:
            # One row of train stands for each combination.
            rows = self._combinations[group[0]].take(columns[group[0]].astype(int).to_numpy())
            columns |= {name: rows[name].array for name in group}
        numbers = {}
        for name in (low for lower in self._lower.values() for low in lower):
            if name not in self._lower:
                numbers[name] = to_float(columns[name])
        for name in self._order:
            low, strict = self._floor(name, numbers)
            marginal = self._marginals[name]
            # Whatever distance was drawn, the sum is not below its low side.
            value = low + np.abs(to_float(columns[name]))
            if name in self._alone:
                value = np.where(np.isnan(low), to_float(columns[self._alone[name]]), value)
            value = _nearest(marginal.snap(value), low, marginal.values)
            value = _above(value, low, strict, marginal, self.original[name])
            columns[name] = from_float(value, self.original[name])
            numbers[name] = to_float(columns[name])
        self._compute(columns)
        return pd.DataFrame(columns, columns=self.original.names)

    def _compute(self, columns: dict[str, pd.Series]) -> None:
        """Compute every total from its parts, those that are parts of others first."""
        # A total may itself be a part of another.
        parts_of = {total: parts for total, (_, parts) in self._formulas.items()}
        for total in TopologicalSorter(parts_of).static_order():
            if total not in self._formulas:
                continue
            sign, parts = self._formulas[total]
            value = combined([to_float(columns[part]) for part in parts], sign)
            marginal = self._marginals[total]
            if marginal.step is not None:
                # The digits of train, but not its bounds: a sum may be larger than any of train's.
                value = Marginal(np.array([-np.inf, np.inf]), min(marginal.step, 1.0)).snap(value)
            value = _nearest(value, value, marginal.values)
            if total not in self._omitted:
                drawn = to_float(columns[total])
                value = np.where(np.isnan(value) | np.isnan(drawn), drawn, value)
            columns[total] = from_float(value, self.original[total])

    def _floor(self, name: str, numbers: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The largest low side of each row (NaN where all are missing), and whether the column must
        lie strictly above it.
        """
        # fmax, which ignores a gap as long as one side is there.
        low = np.fmax.reduce([numbers[other] for other in self._lower[name]])
        strict = [numbers[other] for other, is_strict in self._lower[name].items() if is_strict]
        return low, (np.fmax.reduce(strict) == low) if strict else np.zeros(len(low), dtype=bool)


def _joined(schema: Schema) -> list[tuple[str, ...]]:
    """The combinations, those that share a column made one, each in the order of the table."""
    groups: list[set[str]] = []
    for names in schema.combinations:
        # Two rules that share a column bind all their columns together.
        touching = [group for group in groups if group & set(names)]
        groups = [group for group in groups if group not in touching] + [
            set(names).union(*touching)
        ]
    joined = []
    for group in groups:
        joined.append(tuple(name for name in schema.names if name in group))
    return joined


def _nearest(values: np.ndarray, low: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The train value a value was before low was taken off and added again, where only rounding
    lies between the two.
    """
    if not len(train):
        return values
    # The train values on both sides of each value.
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

    # Dates are whole microseconds at the finest.
    step = marginal.step or (1e-6 if column.kind == "datetime" else None)
    lifted = marginal.snap(low)
    higher = np.nextafter(lifted, np.inf) if step is None else marginal.snap(lifted + step)
    values = np.where(beneath(values), np.where(beneath(lifted), higher, lifted), values)
    return np.where(beneath(values), np.nan, values)
