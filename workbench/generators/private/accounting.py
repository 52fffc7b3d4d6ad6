"""What private generators share: a budget that every look at the rows is charged to, and the domain
that encoders may know.

Dwork and Roth 2014; amounts are composed by privacy loss distributions (Koskela et al. 2020) in the
dp_accounting package, from the queries alone and never from their answers: a bound that depends on
the data would itself leak (Papernot et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import Column, Schema


class OverBudget(RuntimeError):
    """A query would have cost more than is left; nothing was charged."""


def check_budget(method: str, epsilon: float, delta: float) -> None:
    """Raises InputError unless epsilon is a finite number above 0 and delta lies between 0 and 1."""
    for name, value, most in (("epsilon", epsilon, math.inf), ("delta", delta, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < most:
            wanted = (
                "finite number above 0"
                if name == "epsilon"
                else "number between 0 and 1, below 1 / rows"
            )
            raise InputError(f"{method}: {name} is {value!r}; give a {wanted}.")


class Ledger:
    """Every query that was asked of the private rows, as dp_accounting events with their counts,
    and what they cost.
    """

    def __init__(self, epsilon: float, delta: float):
        self.epsilon, self.delta = epsilon, delta
        self.queries: dict = {}

    def cost(self, query=None, count: int = 0) -> float:
        """The epsilon at this delta of all that was asked, and of `count` times `query` besides."""
        from dp_accounting.pld import PLDAccountant

        asked = dict(self.queries)
        if count:
            asked[query] = asked.get(query, 0) + count
        accountant = PLDAccountant()
        for event, times in asked.items():
            accountant.compose(event, times)
        return float(accountant.get_epsilon(self.delta)) if asked else 0.0

    def affords(self, query, count: int) -> bool:
        return self.cost(query, count) <= self.epsilon

    def charge(self, query, count: int) -> None:
        """To be called before the rows are looked at. Raises OverBudget, and charges nothing, where
        the budget is short.
        """
        if not self.affords(query, count):
            raise OverBudget(
                f"{count} more of {query} would cost more than epsilon {self.epsilon:g} at delta {self.delta:g}."
            )
        self.queries[query] = self.queries.get(query, 0) + count


def least_noise(
    epsilon: float, delta: float, event: Callable[[float], object], count: int
) -> float:
    """The least noise with which `count` queries `event(noise)` cost no more than epsilon at delta."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    if isinstance(
        event(1.0), dp_accounting.GaussianDpEvent
    ):  # in closed form (Balle and Wang 2018)
        return dp_accounting.get_sigma_gaussian(epsilon, delta) * count**0.5 * (1 + 1e-4)

    def composed(noise: float):
        return dp_accounting.SelfComposedDpEvent(event(noise), count)

    # Renyi divergences need a little more noise and are found at once; loss distributions take long
    # where epsilon is large.
    bracket = dp_accounting.LowerEndpointAndGuess(min(0.01, 0.01 / epsilon), 1.0)
    orders = [*range(2, 64), 128, 256, 512, 1024]
    enough = dp_accounting.calibrate_dp_mechanism(
        lambda: RdpAccountant(orders), composed, epsilon, delta, bracket
    )
    bracket = dp_accounting.ExplicitBracketInterval(enough / 2, enough * 1.01)
    return dp_accounting.calibrate_dp_mechanism(
        PLDAccountant, composed, epsilon, delta, bracket, tol=1e-3 * enough
    )


@dataclass
class Private:
    """The hyper-parameters by which a private generator is told of the domain."""

    bounds: Mapping[str, Sequence] = field(default_factory=dict)
    """(low, high) or (low, high, grid step) of columns of numbers and dates, known without the
    rows.
    """
    levels: Mapping[str, Sequence] = field(default_factory=dict)
    """Labels of label columns, known without the rows."""
    missing: Sequence[str] | None = None
    """The columns that may miss values; None reads that off the rows, like all that is not
    declared: see `guarantee`.
    """

    def _domain(self, table: pd.DataFrame, schema: Schema) -> Domain:
        return Domain(table, schema, self.bounds, self.levels, self.missing)


class Domain:
    """What is known of a table without its rows: bounds and grids of numbers, levels of labels,
    where values may be missing.

    bounds: (low, high) or (low, high, grid step) by column; levels: labels by column; missing:
    columns that may miss values. What is not declared is read off the train table, and no budget
    pays for that: `caveat` says for which columns. `table` is a made table that shows the domain
    and nothing else: an encoder fitted on it cannot learn more.
    """

    def __init__(
        self,
        train: pd.DataFrame,
        schema: Schema,
        bounds: Mapping,
        levels: Mapping,
        missing: Sequence[str] | None,
    ):
        for name in [*bounds, *levels, *(missing or ())]:
            if name not in schema.names:
                raise InputError(
                    f"declared domain: no column {name!r}; {nearest(str(name), schema.names)}"
                )
            if name in (bounds if schema[name].is_discrete else levels):
                right = "levels" if schema[name].is_discrete else "bounds"
                raise InputError(
                    f"declared domain: column {name!r} is {schema[name].kind}; give its {right}."
                )
        known, read = {}, []
        for column in schema.columns:
            name, only = column.name, Schema((replace(column, role="feature"),))
            declared = (levels if column.is_discrete else bounds).get(name)
            if declared is None or missing is None:
                read.append(name)
            values = train[name].dropna() if declared is None else _cast(declared, only, column)
            if column.is_discrete:
                values = pd.Series(sorted(values.unique()), dtype=values.dtype)
            else:
                step = (
                    Marginal.fit(to_float(values)).step
                    if declared is None
                    else _declared_step(declared, column)
                )
                values = from_float(_witnesses(to_float(values), step), column)
            gaps = train[name].isna().any() if missing is None else name in missing
            known[name] = (
                values.reindex(range(len(values) + 1)) if gaps or not len(values) else values
            )
        rows = np.arange(max(map(len, known.values())))
        self._known = known
        self.table = pd.DataFrame(
            {name: values.take(rows % len(values)).to_numpy() for name, values in known.items()}
        )
        self.table = schema.cast(self.table)
        named = ", ".join(read[:5]) + (f" and {len(read) - 5} more" if len(read) > 5 else "")
        self.caveat = (
            f"; the domain of {named} was read off the train table and is not covered"
            if read
            else ""
        )

    def restrict(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with labels outside the domain made missing, and what must not be missing the
        first label; row by row.
        """
        restricted = {}
        for name, values in table.items():
            known = self._known[name]
            if known.dtype == object or known.dtype == "boolean":
                values = values.where(values.isin(known.dropna()))
                values = values if known.isna().any() else values.fillna(known.iloc[0])
            restricted[name] = values
        return pd.DataFrame(restricted)


def _cast(declared: Sequence, only: Schema, column: Column) -> pd.Series:
    """Declared levels, or both declared bounds, in the column's dtype."""
    values = list(declared) if column.is_discrete else list(declared)[:2]
    values = only.cast(pd.DataFrame({column.name: values}))[column.name].dropna()
    ordered = column.is_discrete or (
        len(declared) in (2, 3) and len(values) == 2 and values.iloc[0] <= values.iloc[1]
    )
    if not len(values) or not ordered:
        wanted = (
            "at least one level"
            if column.is_discrete
            else "(low, high) or (low, high, step) with low <= high"
        )
        raise InputError(f"declared domain of column {column.name!r}: {declared!r}; give {wanted}.")
    return values


def _declared_step(declared: Sequence, column: Column) -> float | None:
    return declared[2] if len(declared) == 3 else 1.0 if column.kind == "integer" else None


def _witnesses(values: np.ndarray, step: float | None) -> np.ndarray:
    """The least and greatest value, and one between them from which an encoder reads the grid, if
    there is one.
    """
    if not len(values):
        return values
    low, high = values.min(), values.max()
    between = low + (high / np.pi - low / np.pi) if step is None else low + step
    return np.array([low, high, min(round(between, 9) if step else between, high)])
