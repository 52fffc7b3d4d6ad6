"""Conditions on rows, `where={"column": value or range}`, and sampling until enough rows meet them.

A value is a label, a number, a truth value or None for missing; a range is a pair (low, high), both ends included, for a
column on a line (numbers, or dates as text). All conditions must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from workbench.encode import to_float
from workbench.schema import InputError, Schema

MAX_DRAWS = 100  # tables of the wanted size drawn before giving up


def matches(table: pd.DataFrame, schema: Schema, where: Mapping) -> np.ndarray:
    """Which rows meet every condition, bool, shape (rows,). Raises InputError for an unknown column or a bad range."""
    keep = np.ones(len(table), dtype=bool)
    for name, wanted in where.items():
        column = schema[name]
        values = table[name]
        if wanted is None:
            keep &= values.isna().to_numpy()
        elif isinstance(wanted, (list, tuple)):
            if column.is_discrete or len(wanted) != 2:
                raise InputError(f"condition on {name!r}: a range is a pair (low, high) on a column of numbers or dates.")
            low, high = (_point(column, end) for end in wanted)
            if low > high:
                raise InputError(f"condition on {name!r}: the range {wanted[0]} to {wanted[1]} is empty.")
            numbers = to_float(values)
            keep &= (numbers >= low) & (numbers <= high)
        elif column.is_discrete:
            keep &= (values.astype(object).astype(str) == str(wanted)).to_numpy(dtype=bool) & values.notna().to_numpy()
        else:
            keep &= to_float(values) == _point(column, wanted)
    return keep


def _point(column, value) -> float:
    try:
        return float(to_float(pd.to_datetime(pd.Series([value])))[0]) if column.kind == "datetime" else float(value)
    except (TypeError, ValueError):
        raise InputError(f"condition on {column.name!r}: {value!r} is not a value of a {column.kind} column.") from None


def sample_matching(
    draw: Callable[[int, np.random.Generator], pd.DataFrame],
    n: int,
    rng: np.random.Generator,
    schema: Schema,
    where: Mapping | None,
) -> pd.DataFrame:
    """Exactly n rows of `draw(n, rng)` that meet `where`, by bounded rejection.

    Raises InputError with the acceptance rate when MAX_DRAWS tables do not hold n such rows.
    """
    if not where:
        return draw(n, rng)
    kept, found, drawn = [], 0, 0
    for _ in range(MAX_DRAWS):
        # Rare conditions are drawn in larger tables: at least 1,000 rows, so that 10 wanted rows do not cost 100 small calls.
        size = max(n, 1000)
        table = draw(size, rng)
        accepted = table[matches(table, schema, where)]
        kept.append(accepted)
        found, drawn = found + len(accepted), drawn + size
        if found >= n:
            return pd.concat(kept, ignore_index=True).iloc[:n]
    raise InputError(
        f"only {found} of {drawn} sampled rows meet {dict(where)!r} (acceptance {found / drawn:.2g}), {n} were asked for; "
        "loosen the condition or ask for fewer rows."
    )
