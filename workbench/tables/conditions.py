"""Conditions on rows, `where={"column": value or range}`, and sampling until enough rows meet them.

A value is a label, a number, a date, a truth value, or None for missing; a range is a pair (low,
high), both ends included, for a column of numbers or dates (dates as ISO text or as timestamps).
All conditions must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.tables.encode import to_float
from workbench.tables.schema import BOOLEAN_TEXT, Column, Schema

MAX_DRAWS = 100  # tables of the wanted size drawn before giving up


class TooFew(InputError):
    """Fewer rows met a condition than were asked for; `rows` are those that did."""

    def __init__(self, sentence: str, rows: pd.DataFrame):
        super().__init__(sentence)
        self.rows = rows


def sample_matching(
    draw: Callable[[int, np.random.Generator], pd.DataFrame],
    n: int,
    rng: np.random.Generator,
    schema: Schema,
    where: Mapping | None,
) -> pd.DataFrame:
    """Exactly n rows of `draw(n, rng)` that meet `where`, by bounded rejection.

    Raises TooFew with the acceptance rate and the rows found when MAX_DRAWS tables do not hold n
    such rows, or after a tenth of them when the rest cannot be expected to.
    """
    if not where:
        return draw(n, rng)
    # Rare conditions are drawn in larger tables: at least 1,000 rows, so that 10 wanted rows do not
    # cost 100 small calls.
    kept, found, drawn, size = [], 0, 0, max(n, 1000)
    for draws in range(1, MAX_DRAWS + 1):
        table = draw(size, rng)
        accepted = table[matches(table, schema, where)]
        # Counted for the sentence: a person wants to know how rare the condition is.
        found, drawn = found + len(accepted), drawn + size
        if len(accepted) or not kept:
            kept.append(accepted)
        if found >= n:
            return pd.concat(kept, ignore_index=True).iloc[:n]
        if draws >= MAX_DRAWS // 10 and found * MAX_DRAWS < 0.1 * n * draws:
            break
    raise _too_few(pd.concat(kept, ignore_index=True), drawn, n, where)


def matching_rows(table: pd.DataFrame, schema: Schema, where: Mapping | None, n: int) -> np.ndarray:
    """Numbers of the rows that meet `where`, at least one, for a generator that repeats rows.
    Raises TooFew for none.
    """
    rows = np.flatnonzero(matches(table, schema, where or {}))
    if not len(rows):
        raise _too_few(table.head(0), len(table), n, where)
    return rows


def matches(table: pd.DataFrame, schema: Schema, where: Mapping) -> np.ndarray:
    """Which rows of a cast table meet every condition, bool, shape (rows,).

    Raises InputError for an unknown column, a value that the column's kind cannot take, and an
    empty range.
    """
    keep = np.ones(len(table), dtype=bool)
    for name, wanted in where.items():
        column = schema[name]  # raises for an unknown column
        keep &= meets(table[name], column, wanted)
    return keep


def meets(values: pd.Series, column: Column, wanted) -> np.ndarray:
    """Which values of a cast column meet one condition, bool, shape (rows,). Raises InputError as
    `matches` does.
    """
    # A pair is a range, anything else a value.
    if isinstance(wanted, (list, tuple)):
        low, high = span(column, wanted)
        numbers = to_float(values)
        return (numbers >= low) & (numbers <= high)
    if pd.api.types.is_scalar(wanted) and pd.isna(wanted):
        return values.isna().to_numpy()
    if column.is_discrete:
        return (values == label(column, wanted)).fillna(False).to_numpy(dtype=bool)
    return to_float(values) == _point(column, wanted)


def span(column: Column, wanted) -> tuple[float, float]:
    """Both ends of a range, or a single value twice, on a column of numbers or dates (in seconds)."""
    return (
        _range(column, wanted)
        if isinstance(wanted, (list, tuple))
        else (_point(column, wanted),) * 2
    )


def _range(column: Column, wanted: list | tuple) -> tuple[float, float]:
    if column.is_discrete or len(wanted) != 2:
        raise InputError(
            f"condition on {column.name!r}: a range is a pair (low, high) on a column of numbers or"
            " dates."
        )
    low, high = (_point(column, end) for end in wanted)
    if not low <= high:
        raise InputError(
            f"condition on {column.name!r}: the range {wanted[0]} to {wanted[1]} is empty."
        )
    return low, high


def _point(column: Column, value) -> float:
    try:
        if column.kind == "datetime":
            if (
                not isinstance(value, str)
                and not hasattr(value, "year")
                and not isinstance(value, np.datetime64)
            ):
                raise ValueError
            # Schemas hold dates without a zone, in UTC.
            stamp = pd.Timestamp(value)
            stamp = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
            return float(to_float(pd.Series([stamp]))[0])
        return float(value)
    except (TypeError, ValueError):
        raise _no_value(column, value) from None


def label(column: Column, value) -> str | bool:
    """The value as the column holds it: true and false in any spelling the schema reads, 3.0 as the
    label "3".
    """
    if not pd.api.types.is_scalar(value):
        raise _no_value(column, value)
    if column.kind == "boolean":
        # As `load` reads truth values: yes, no, t, f, 1, 0 and their like.
        word = str(value).lower()
        if word not in BOOLEAN_TEXT:
            raise _no_value(column, value)
        return BOOLEAN_TEXT[word]
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def _no_value(column: Column, value) -> InputError:
    return InputError(
        f"condition on {column.name!r}: {value!r} is not a value of a {column.kind} column."
    )


def _too_few(rows: pd.DataFrame, drawn: int, n: int, where: Mapping) -> TooFew:
    found = len(rows)
    return TooFew(
        f"only {found} of {drawn} sampled rows meet {dict(where)!r} (acceptance"
        f" {found / max(drawn, 1):.2g}), {n} were asked for; loosen the condition or ask for fewer"
        " rows.",
        rows,
    )
