"""What is kept of a column for a language model to be told: kind, range or levels, grid, and
whether values are missing.

A Fact becomes a line of the prompt and a piece of JSON schema, and casts the values of an answer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.tables.conditions import meets, span
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import Column

KIND = {
    "numeric": "number",
    "integer": "whole number",
    "categorical": "label",
    "boolean": "true or false",
    "datetime": "date",
}
# Numbers up to here are written without an exponent, so that a grammar can hold their range
PLAIN = 1e15


@dataclass(frozen=True)
class Fact:
    """All that is kept of a column. levels is empty for free text, numbers and dates (low and high,
    in seconds for dates).
    """

    column: Column
    levels: tuple = ()
    low: float | int | None = None
    high: float | int | None = None
    step: float | None = None
    missing: float = 0.0  # share of missing values
    words: str = ""  # shares of the levels, or quartiles
    length: int = 0  # most characters of a free text; 0 for other columns

    @classmethod
    def of(
        cls, values: pd.Series, column: Column, length: int = 0, trim: float = 0.0, least: int = 1
    ) -> Fact:
        """The fact of a train column, a free text where it has a length: ends past `trim`, levels
        in at least `least` rows.
        """
        fact = cls(column, missing=float(values.isna().mean()))
        present = values.dropna()
        if not len(present) or length:
            return replace(fact, length=length if len(present) else 0)
        if column.is_discrete:
            counts = present.value_counts().sort_index()
            common = counts[counts >= least]
            if common.empty:
                raise InputError(
                    f"column {column.name!r} has no level in {least} rows; "
                    "name it in texts, drop it, or lower least_rows."
                )
            commonest = common.sort_values(ascending=False, kind="stable").head(20)
            words = ", ".join(
                f"{level} {count / len(present):.0%}" for level, count in commonest.items()
            )
            return replace(fact, levels=tuple(common.index.tolist()), words=f"shares: {words}")
        cut = int(trim * (len(present) - 1))
        ends = present.sort_values().iloc[[cut, -1 - cut]]
        low, high = map(int, ends) if column.kind == "integer" else to_float(ends).tolist()
        numbers = to_float(present)
        quartiles = from_float(
            np.quantile(numbers, [0.25, 0.5, 0.75], method="inverted_cdf"), column
        )
        words = f"quartiles: {', '.join(map(plain, quartiles))}"
        return replace(fact, low=low, high=high, step=Marginal.fit(numbers).step, words=words)

    @property
    def is_free(self) -> bool:
        return self.length > 0 and not self.levels

    @property
    def is_empty(self) -> bool:
        """Whether nothing but missing values can occur, or not even these."""
        return not self.levels and not self.length and (self.low is None or self.low > self.high)

    @property
    def is_fixed(self) -> bool:
        one = len(self.levels) == 1 or (self.low is not None and self.low == self.high)
        return self.is_empty or (one and not self.missing)

    @property
    def fixed_value(self):
        """What a row holds that leaves the column out: its first level or its low end, as written."""
        if self.is_empty:
            return None
        if self.levels:
            return self.levels[0]
        if self.column.kind == "datetime" and self.low is not None:
            return self.dates()[0].isoformat()
        return self.low

    def narrowed(self, wanted) -> Fact:
        """Only what meets a condition; empty and without missing values where nothing does."""
        if pd.api.types.is_scalar(wanted) and pd.isna(wanted):
            return replace(self, levels=(), length=0, low=None)
        fact = replace(self, missing=0.0, words="")
        if self.column.is_discrete:
            levels = (str(wanted),) if self.is_free else self.levels
            held = self.column.cast(pd.Series(levels, name=self.column.name, dtype=object))
            keep = meets(held, self.column, wanted)
            return replace(
                fact,
                levels=tuple(level for level, kept in zip(levels, keep, strict=True) if kept),
                length=0,
            )
        low, high = span(self.column, wanted)
        if self.low is None:
            return fact
        low, high = max(low, self.low), min(high, self.high)
        low, high = (
            (math.ceil(low), math.floor(high)) if self.column.kind == "integer" else (low, high)
        )
        return replace(fact, low=low, high=high)

    def dates(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        return tuple(from_float(np.array([self.low, self.high]), self.column))

    def json_schema(self) -> dict:
        null = ["null"] if self.missing else []
        if self.is_empty:
            return {"type": "null"}
        if self.levels:
            kind = "boolean" if self.column.kind == "boolean" else "string"
            return {
                "type": [kind, *null] if null else kind,
                "enum": [*self.levels, *([None] if null else [])],
            }
        if self.is_free:
            return {
                "type": ["string", *null] if null else "string",
                "minLength": 1,
                "maxLength": self.length,
            }
        kind = {"integer": "integer", "numeric": "number", "datetime": "string"}[self.column.kind]
        schema: dict = {"type": [kind, *null] if null else kind}
        if kind == "string":
            schema["pattern"] = _date_pattern(*self.dates(), self.step)
        elif all(end == 0 or 1 / PLAIN < abs(end) < PLAIN for end in (self.low, self.high)):
            schema |= {"minimum": self.low, "maximum": self.high}
        return schema

    def sentence(self, shares: bool) -> str:
        """The column in a line of the prompt."""
        said = [
            (
                f"free text of at most {self.length} characters"
                if self.is_free
                else KIND[self.column.kind]
            )
        ]
        if self.is_empty:
            said = ["always missing (null)"]
        elif self.levels:
            said += (
                [f"one of {json.dumps(self.levels, ensure_ascii=False)}"]
                if self.levels != (False, True)
                else []
            )
        elif self.column.kind == "datetime":
            said += [f"ISO format, {' to '.join(map(plain, self.dates()))}"]
        elif self.low is not None:
            decimals = f", {_decimals(self.step)} decimals" if self.step and self.step < 1 else ""
            said += [f"{self.low} to {self.high}{decimals}"]
        if self.missing:
            said += [
                f"or null where missing{f', {self.missing:.0%} of the rows' if shares else ''}"
            ]
        if shares and self.words and not self.is_free:
            said += [self.words]
        description = f" ({self.column.description})" if self.column.description else ""
        return (
            f"- {json.dumps(self.column.name, ensure_ascii=False)}{description}: {'; '.join(said)}"
        )

    def cast(self, values: list) -> pd.Series:
        """Answered values as a column, numbers on the grid; a number or date out of range is
        missing.
        """
        name = self.column.name
        if self.column.kind == "integer":
            return pd.Series(pd.array(whole_numbers(values), dtype="Int64"), name=name)
        if self.column.is_discrete:
            return pd.Series(values, name=name, dtype=object)
        if self.column.kind == "datetime":
            texts = pd.Series(values, dtype=object)
            dates = pd.to_datetime(texts, errors="coerce", format="ISO8601")
            numbers = to_float(dates.astype("datetime64[ns]"))
        else:
            numbers = np.array(values, dtype=float)
        if self.low is not None:
            numbers = np.where((numbers >= self.low) & (numbers <= self.high), numbers, np.nan)
            numbers = Marginal(np.array([self.low, self.high], dtype=float), self.step).snap(
                numbers
            )
        return from_float(numbers, self.column).rename(name)


def whole_numbers(values: list) -> list[int | None]:
    """Answered values as integers; None for missing and for what 64 bits cannot hold."""
    numbers = [None if value is None else int(value) for value in values]
    return [number if number is None or abs(number) < 2**63 else None for number in numbers]


def plain(value) -> str:
    """A number, or a date in ISO format, without a time of day at midnight."""
    return (
        value.isoformat().removesuffix("T00:00:00")
        if isinstance(value, pd.Timestamp)
        else str(value)
    )


def _decimals(step: float) -> int:
    return round(-math.log10(step))


def _date_pattern(low: pd.Timestamp, high: pd.Timestamp, step: float | None) -> str:
    """A regular expression of the ISO dates near a range, with the time of day where the grid is
    finer than days.
    """
    year, month, day = f"{low:%Y}", f"{low:%m}", "(0[1-9]|[12][0-9]|3[01])"
    if low.year != high.year:
        year = (
            "[0-9]{4}"
            if high.year - low.year > 100
            else f"({'|'.join(map(str, range(low.year, high.year + 1)))})"
        )
        month = "(0[1-9]|1[0-2])"
    elif low.month != high.month:
        month = f"({'|'.join(f'{m:02}' for m in range(low.month, high.month + 1))})"
    else:
        day = f"({'|'.join(f'{d:02}' for d in range(low.day, high.day + 1))})"
    date = f"{year}-{month}-{day}"
    if step and step % 86400 == 0:
        return f"^{date}$"
    minute = "00" if step and step % 3600 == 0 else "[0-5][0-9]"
    second = "00" if step and step % 60 == 0 else "[0-5][0-9]"
    return f"^{date}T([01][0-9]|2[0-3]):{minute}:{second}$"
