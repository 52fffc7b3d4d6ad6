"""What a language model is told of a table, and how the rows of its answer are read and checked.

A Fact is all that is kept of a column: kind, range or levels, rounding grid, whether values are missing. A Form is the facts
of a table with its constraints: it writes the prompt and the JSON schema of a row, and reads an answer back into a table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from workbench.conditions import matches, span
from workbench.encode import Marginal, from_float, to_float
from workbench.schema import Column, InputError, Schema

KIND = {"numeric": "number", "integer": "whole number", "categorical": "label", "boolean": "true or false", "datetime": "date"}
PLAIN = 1e15  # numbers up to here are written without an exponent, so that a grammar can hold their range


@dataclass(frozen=True)
class Fact:
    """All that is kept of a column. levels is empty for free text, numbers and dates (low and high, in seconds for dates)."""

    column: Column
    levels: tuple = ()
    low: float | int | None = None
    high: float | int | None = None
    step: float | None = None
    missing: float = 0.0  # share of missing values
    words: str = ""  # shares of the levels, or quartiles
    length: int = 0  # most characters of a free text; 0 for other columns

    @classmethod
    def of(cls, values: pd.Series, column: Column, length: int) -> Fact:
        fact = cls(column, missing=float(values.isna().mean()))
        present = values.dropna()
        if not len(present) or length:
            return replace(fact, length=length if len(present) else 0)
        if column.is_discrete:
            share = present.value_counts(normalize=True).sort_index()
            commonest = share.sort_values(ascending=False, kind="stable").head(20)
            words = ", ".join(f"{level} {part:.0%}" for level, part in commonest.items())
            return replace(fact, levels=tuple(share.index.tolist()), words=f"shares: {words}")
        numbers = to_float(present)
        low, high = (int(present.min()), int(present.max())) if column.kind == "integer" else (numbers.min(), numbers.max())
        fact = replace(fact, low=low, high=high, step=Marginal.fit(numbers).step)
        quartiles = from_float(np.quantile(numbers, [0.25, 0.5, 0.75], method="inverted_cdf"), column)
        return replace(fact, words=f"quartiles: {', '.join(map(str, quartiles))}")

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

    def narrowed(self, wanted) -> Fact:
        """Only what meets a condition; empty and without missing values where nothing does."""
        if pd.api.types.is_scalar(wanted) and pd.isna(wanted):
            return replace(self, levels=(), length=0, low=None)
        fact = replace(self, missing=0.0, words="")
        if self.column.is_discrete:
            levels = (str(wanted),) if self.is_free else self.levels
            one = Schema((self.column,))
            table = one.cast(pd.DataFrame({self.column.name: pd.Series(levels, dtype=object)}))
            keep = matches(table, one, {self.column.name: wanted})
            return replace(fact, levels=tuple(level for level, kept in zip(levels, keep, strict=True) if kept), length=0)
        low, high = span(self.column, wanted)
        if self.low is None:
            return fact
        low, high = (math.ceil(low), math.floor(high)) if self.column.kind == "integer" else (low, high)
        return replace(fact, low=max(low, self.low), high=min(high, self.high))

    def dates(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        return tuple(from_float(np.array([self.low, self.high]), self.column))

    def json_schema(self) -> dict:
        null = ["null"] if self.missing else []
        if self.is_empty:
            return {"type": "null"}
        if self.levels:
            kind = "boolean" if self.column.kind == "boolean" else "string"
            return {"type": [kind, *null] if null else kind, "enum": [*self.levels, *([None] if null else [])]}
        if self.is_free:
            return {"type": ["string", *null] if null else "string", "minLength": 1, "maxLength": self.length}
        kind = {"integer": "integer", "numeric": "number", "datetime": "string"}[self.column.kind]
        schema: dict = {"type": [kind, *null] if null else kind}
        if kind == "string":
            schema["pattern"] = _date_pattern(*self.dates(), self.step)
        elif all(end == 0 or 1 / PLAIN < abs(end) < PLAIN for end in (self.low, self.high)):
            schema |= {"minimum": self.low, "maximum": self.high}
        return schema

    def sentence(self, shares: bool) -> str:
        """The column in a line of the prompt."""
        said = [f"free text of at most {self.length} characters" if self.is_free else KIND[self.column.kind]]
        if self.is_empty:
            said = ["always missing (null)"]
        elif self.levels:
            said += [f"one of {json.dumps(self.levels, ensure_ascii=False)}"]
        elif self.column.kind == "datetime":
            low, high = self.dates()
            said += [f"ISO format, {low.isoformat()} to {high.isoformat()}"]
        elif self.low is not None:
            decimals = f", {_decimals(self.step)} decimals" if self.step and self.step < 1 else ""
            said += [f"{self.low} to {self.high}{decimals}"]
        if self.missing:
            said += [f"null where missing{f', {self.missing:.0%} of the rows' if shares else ''}"]
        if shares and self.words and not self.is_free:
            said += [self.words]
        description = f" ({self.column.description})" if self.column.description else ""
        return f"- {json.dumps(self.column.name, ensure_ascii=False)}{description}: {'; '.join(said)}"

    def cast(self, values: list) -> pd.Series:
        """Answered values as a column, numbers on the grid; a number or date out of range is missing."""
        name = self.column.name
        if self.column.kind == "integer":
            return pd.Series(pd.array([None if v is None else int(v) for v in values], dtype="Int64"), name=name)
        if self.column.is_discrete:
            return pd.Series(values, name=name, dtype=object)
        if self.column.kind == "datetime":
            values = pd.to_datetime(pd.Series(values, dtype=object), errors="coerce", format="ISO8601")
            numbers = to_float(values.astype("datetime64[ns]"))
        else:
            numbers = np.array(values, dtype=float)
        if self.low is not None:
            numbers = np.where((numbers >= self.low) & (numbers <= self.high), numbers, np.nan)
            numbers = Marginal(np.array([self.low, self.high], dtype=float), self.step).snap(numbers)
        return from_float(numbers, self.column).rename(name)


@dataclass(frozen=True)
class Form:
    """The facts of a table's columns by name, the combinations of label columns that occur, and what rows must not repeat."""

    schema: Schema
    facts: dict[str, Fact]
    combinations: tuple[pd.DataFrame, ...] = ()
    where: Mapping | None = None
    forbidden: frozenset = frozenset()  # rows as tuples

    @classmethod
    def of(cls, table: pd.DataFrame, schema: Schema, texts: tuple[str, ...], length: int) -> Form:
        facts = {c.name: Fact.of(table[c.name], c, length if c.name in texts else 0) for c in schema.columns}
        combinations = [table[list(names)].drop_duplicates(ignore_index=True) for names in schema.combinations]
        return cls(schema, facts, tuple(combinations))

    @property
    def asked(self) -> list[Fact]:
        """The columns that a model writes: all but those that train shows one value of."""
        return [fact for fact in self.facts.values() if not fact.is_fixed or fact.column.name in (self.where or {})]

    def narrowed(self, where: Mapping | None) -> Form:
        """The form of rows that meet `where`. Raises InputError where none can."""
        facts = dict(self.facts)
        for name, wanted in (where or {}).items():
            self.schema[name]
            facts[name] = fact = self.facts[name].narrowed(wanted)
            if fact.is_empty and not fact.missing:
                raise InputError(f"no row can meet {dict(where)!r} (acceptance 0): {name!r} never takes such a value.")
        return replace(self, facts=facts, where=dict(where or {}))

    def drawn(self, most: int, rng: np.random.Generator) -> Form:
        """The form with at most `most` levels a column and as many combinations, drawn at random where there are more."""
        facts, combinations = dict(self.facts), []
        for seen in self.combinations:
            allowed = [~seen[n].isna() & seen[n].isin(facts[n].levels) | seen[n].isna() & (facts[n].missing > 0) for n in seen]
            seen = seen[np.logical_and.reduce(allowed)]
            if len(seen) > most:
                seen = seen.iloc[np.sort(rng.choice(len(seen), most, replace=False))]
            combinations.append(seen)
            for n in seen:
                levels = set(seen[n].dropna())
                facts[n] = replace(facts[n], levels=tuple(level for level in facts[n].levels if level in levels))
        for name, fact in facts.items():
            if len(fact.levels) > most:
                kept = np.sort(rng.choice(len(fact.levels), most, replace=False))
                facts[name] = replace(fact, levels=tuple(fact.levels[i] for i in kept))
        return replace(self, facts=facts, combinations=tuple(combinations))

    def prompt(self, description: str, shares: bool) -> str:
        lines = [f"The table: {description}", ""] if description else []
        lines += ["Its columns:", *(fact.sentence(shares) for fact in self.asked)]
        rules = [text for text in self.schema.constraints if isinstance(text, str)]
        lines += ["", "In every row: " + "; ".join(rules) + "."] if rules else []
        for seen in self.combinations:
            rows = json.dumps(as_records(seen), ensure_ascii=False)
            lines += ["", f"The only combinations of {', '.join(seen.columns)} are {rows}."]
        return "\n".join(lines)

    def json_schema(self, rows: int) -> dict:
        items = {"type": "array", "items": self.row_schema, "minItems": rows, "maxItems": rows}
        return {"type": "object", "properties": {"rows": items}, "required": ["rows"], "additionalProperties": False}

    @cached_property
    def row_schema(self) -> dict:
        properties = {fact.column.name: fact.json_schema() for fact in self.asked}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

    def read(self, text: str) -> tuple[pd.DataFrame, str]:
        """The rows of an answer that are as asked for, as a table, and a sentence about the first that is not ("" for none)."""
        try:
            rows = json.loads(text[text.find("{") : text.rfind("}") + 1])["rows"]  # some models wrap JSON in a fence
        except (ValueError, KeyError, TypeError, RecursionError):
            rows = None
        if not isinstance(rows, list):
            return self.table([]), 'the answer is not a JSON object with a list of "rows"'
        check = Draft202012Validator(self.row_schema)
        faults = [best_match(check.iter_errors(row)) for row in rows]
        why = next((f"{fault.json_path.replace('$.', '')}: {fault.message}"[:300] for fault in faults if fault), "")
        good = [row for row, fault in zip(rows, faults, strict=True) if not fault]
        table = self.table(good)
        keep = np.ones(len(table), dtype=bool)
        for passed, sentence in self._checks(table, good):
            why = why or ("" if passed.all() else f"{int((~passed).sum())} rows: {sentence}")
            keep &= passed
        return table[keep].reset_index(drop=True), why

    def table(self, rows: list[dict]) -> pd.DataFrame:
        """Answered rows with the columns that are not asked for, cast to the schema."""
        columns = {}
        for name, fact in self.facts.items():
            fixed = None if fact.is_empty else fact.levels[0] if fact.levels else fact.low
            if fact.column.kind == "datetime" and fixed is not None:
                fixed = fact.dates()[0].isoformat()
            columns[name] = fact.cast([row.get(name, fixed) for row in rows])
        return self.schema.cast(pd.DataFrame(columns))

    def _checks(self, table: pd.DataFrame, rows: list[dict]):
        """What a JSON schema cannot hold: which rows pass, and what is wrong with those that do not."""
        for fact in self.asked:
            if not fact.column.is_discrete:
                name = fact.column.name
                lost = table[name].isna().to_numpy() & np.array([row[name] is not None for row in rows], dtype=bool)
                yield ~lost, f"{name!r} is not a value between its ends"
        for low, high, strict in self.schema.inequalities:
            one, other = to_float(table[low]), to_float(table[high])
            yield ~(one >= other if strict else one > other), f"'{low} {'<' if strict else '<='} {high}' does not hold"
        for seen in self.combinations:
            known = set(map(tuple, as_records(seen)))
            kept = [row in known for row in map(tuple, as_records(table[list(seen)]))]
            yield np.array(kept, dtype=bool), f"{', '.join(seen.columns)} form no combination that occurs"
        yield matches(table, self.schema, self.where or {}), "the row does not meet the condition"
        if self.forbidden:
            yield (
                np.array([row not in self.forbidden for row in map(tuple, as_records(table))], dtype=bool),
                "the row repeats an example",
            )


def as_records(table: pd.DataFrame) -> list[list]:
    """Rows as JSON holds them: null for missing, dates as ISO text."""
    columns = []
    for name in table:
        values = table[name]
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            values = values.map(pd.Timestamp.isoformat, na_action="ignore")
        columns.append(values.astype(object).where(values.notna(), None).tolist())
    return [list(row) for row in zip(*columns, strict=True)]


def _decimals(step: float) -> int:
    return round(-math.log10(step))


def _date_pattern(low: pd.Timestamp, high: pd.Timestamp, step: float | None) -> str:
    """A regular expression of the ISO dates near a range, with the time of day where the grid is finer than days."""
    year, month, day = f"{low:%Y}", f"{low:%m}", "(0[1-9]|[12][0-9]|3[01])"
    if low.year != high.year:
        year = "[0-9]{4}" if high.year - low.year > 100 else f"({'|'.join(map(str, range(low.year, high.year + 1)))})"
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
