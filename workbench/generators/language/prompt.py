"""What a language model is told of a table, and how the rows of its answer are read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.generators.language.facts import Fact, plain
from workbench.tables.conditions import matches
from workbench.tables.constraints import broken, unequal
from workbench.tables.schema import Schema, formula_text


@dataclass(frozen=True)
class Form:
    """The facts of a table's columns by name, the combinations of label columns that occur, and
    what rows must not repeat.
    """

    schema: Schema
    facts: dict[str, Fact]
    combinations: tuple[pd.DataFrame, ...] = ()
    where: Mapping | None = None
    forbidden: frozenset = frozenset()  # rows as tuples
    as_lists: bool = False  # rows are lists of values instead of objects

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        schema: Schema,
        lengths: Mapping[str, int],
        trim: float,
        least: int,
    ) -> Form:
        """The form of a train table; `lengths` names its free texts, see Fact.of for the rest."""
        facts = {
            c.name: Fact.of(table[c.name], c, lengths.get(c.name, 0), trim, least)
            for c in schema.columns
        }
        combinations = []
        for names in map(list, schema.combinations):
            rows = table.groupby(names, dropna=False)[names[0]].transform("size")
            combinations.append(table.loc[rows >= least, names].drop_duplicates(ignore_index=True))
        return cls(schema, facts, tuple(combinations))

    @property
    def written(self) -> list[Fact]:
        """The columns that a model writes: all but those that train shows one value of."""
        return [
            fact
            for fact in self.facts.values()
            if not fact.is_fixed or fact.column.name in (self.where or {})
        ]

    def narrowed(self, where: Mapping | None) -> Form:
        """The form of rows that meet `where`. Raises InputError where none can."""
        facts = dict(self.facts)
        for name, wanted in (where or {}).items():
            self.schema[name]
            facts[name] = fact = self.facts[name].narrowed(wanted)
            if fact.is_empty and not fact.missing:
                raise InputError(
                    f"no row can meet {dict(where)!r} (acceptance 0): {name!r} never takes such a"
                    " value."
                )
        return replace(self, facts=facts, where=dict(where or {}))

    def drawn(self, most: int, rng: np.random.Generator) -> Form:
        """The form with at most `most` levels a column and as many combinations, drawn at random
        where there are more.
        """
        facts, combinations = dict(self.facts), []
        for seen in self.combinations:
            # Combinations of levels that a condition excludes are not named
            is_allowed = np.ones(len(seen), dtype=bool)
            for name in seen:
                fact, missing = facts[name], seen[name].isna().to_numpy()
                known = seen[name].isin(fact.levels).to_numpy() & ~missing
                is_allowed &= known | (missing & (fact.missing > 0))
            seen = seen[is_allowed]
            if len(seen) > most:
                seen = seen.iloc[np.sort(rng.choice(len(seen), most, replace=False))]
            combinations.append(seen)
            for name in seen:
                fact, named = facts[name], set(seen[name].dropna())
                levels = tuple(level for level in fact.levels if level in named)
                facts[name] = replace(fact, levels=levels)
        for name, fact in facts.items():
            if len(fact.levels) > most:
                kept = np.sort(rng.choice(len(fact.levels), most, replace=False))
                facts[name] = replace(fact, levels=tuple(fact.levels[i] for i in kept))
        return replace(self, facts=facts, combinations=tuple(combinations))

    def prompt(self, description: str, shares: bool) -> str:
        lines = [f"The table: {description}", ""] if description else []
        lines += ["Its columns:", *(fact.sentence(shares) for fact in self.written)]
        rules = [text for text in self.schema.constraints if isinstance(text, str)]
        lines += ["", "In every row: " + "; ".join(rules) + "."] if rules else []
        for seen in self.combinations:
            rows = json.dumps(as_records(seen), ensure_ascii=False)
            lines += ["", f"The only combinations of {', '.join(seen.columns)} are {rows}."]
        return "\n".join(lines)

    def json_schema(self, rows: int) -> dict:
        items = {"type": "array", "items": self.row_schema, "minItems": rows, "maxItems": rows}
        return {
            "type": "object",
            "properties": {"rows": items},
            "required": ["rows"],
            "additionalProperties": False,
        }

    @cached_property
    def row_schema(self) -> dict:
        properties = {fact.column.name: fact.json_schema() for fact in self.written}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def read(self, text: str, most: int = 10_000) -> tuple[pd.DataFrame, str]:
        """The rows of an answer that are as requested, as a table, and a sentence about the first
        that is not ("" for none). Of more than `most` rows the rest is not looked at.
        """
        rows = rows_of(text)
        if rows is None:
            return self.table([]), 'the answer is not a JSON object with a list of "rows"'
        good, why = [], ""
        for row in rows[:most]:
            if self.as_lists:
                row = self._named(row)
            fault = self._fault(row)
            if fault:
                why = why or fault
            else:
                good.append(row)
        table, fault = self.accepted(good)
        return table, why or fault

    def _named(self, row):
        """A list of values as an object; anything else as it is, for `_fault` to find."""
        names = [fact.column.name for fact in self.written]
        if isinstance(row, list) and len(row) == len(names):
            return dict(zip(names, row, strict=True))
        return row

    def _fault(self, row) -> str:
        """What the JSON schema does not allow in a row, in a sentence, or ""."""
        from jsonschema.exceptions import best_match

        try:
            fault = best_match(self._validator.iter_errors(row))
        except RecursionError:  # brackets in brackets, too deep to be written into a sentence
            return "the row is nested too deeply"
        if fault is None:
            return ""
        return f"{fault.json_path.replace('$.', '')}: {fault.message}"[:300]

    @cached_property
    def _validator(self):
        from jsonschema import Draft202012Validator  # more than a second to import

        return Draft202012Validator(self.row_schema)

    def accepted(self, rows: list[dict]) -> tuple[pd.DataFrame, str]:
        """Of rows that the JSON schema allows, those that pass what it cannot hold, and a sentence
        about the first that does
        not. A column that a row leaves out takes the only value that it can have."""
        table, why = self.table(rows), ""
        keep = np.ones(len(table), dtype=bool)
        for passed, sentence in self._checks(table, rows):
            why = why or ("" if passed.all() else f"{int((~passed).sum())} rows: {sentence}")
            keep &= passed
        return table[keep].reset_index(drop=True), why

    def table(self, rows: list[dict]) -> pd.DataFrame:
        """Answered rows with the columns that are not asked for, cast to the schema."""
        columns = {}
        for name, fact in self.facts.items():
            fixed = fact.fixed_value
            columns[name] = fact.cast([row.get(name, fixed) for row in rows])
        return self.schema.cast(pd.DataFrame(columns))

    def _checks(self, table: pd.DataFrame, rows: list[dict]):
        """What a JSON schema cannot hold: which rows pass, and what is wrong with those that do
        not.
        """
        for fact in self.written:
            name = fact.column.name
            if fact.is_free:
                halves = table[name].str.contains("[\ud800-\udfff]", na=False).to_numpy(dtype=bool)
                yield ~halves, f"{name!r} holds half a character, which no file can"
            elif not fact.column.is_discrete:
                lost = table[name].isna().to_numpy() & np.array(
                    [row.get(name) is not None for row in rows], dtype=bool
                )
                yield ~lost, f"{name!r} is not a value between its ends"
        for low, high, strict in self.schema.inequalities:
            yield (
                ~broken(table, low, high, strict),
                f"'{low} {'<' if strict else '<='} {high}' does not hold",
            )
        for total, sign, parts in self.schema.formulas:
            yield (
                ~unequal(table, total, sign, parts),
                f"'{formula_text(total, sign, parts)}' does not hold",
            )
        for seen in self.combinations:
            known = set(map(tuple, as_records(seen)))
            kept = [row in known for row in map(tuple, as_records(table[list(seen)]))]
            yield (
                np.array(kept, dtype=bool),
                f"{', '.join(seen.columns)} form no combination that occurs",
            )
        yield matches(table, self.schema, self.where or {}), "the row does not meet the condition"
        if self.forbidden:
            yield (
                np.array(
                    [row not in self.forbidden for row in map(tuple, as_records(table))], dtype=bool
                ),
                "the row repeats an example",
            )


def unwritable(texts: Sequence[str], schema: Schema) -> str | None:
    """Why these columns cannot be free text, or None."""
    for name in texts:
        if name not in schema.names:
            return f"texts: no column {name!r}; {nearest(name, schema.names)}"
        if schema[name].kind != "categorical" or any(
            name in names for names in schema.combinations
        ):
            return (
                f"texts: column {name!r} is not categorical, or is part of a combination, "
                "so it cannot be free text."
            )
    return None


def rows_of(text: str) -> list | None:
    """The list "rows" of the JSON object in an answer, or None where there is none."""
    # Some models put a fence or a sentence around the object
    start, end = text.find("{"), text.rfind("}") + 1
    try:
        rows = json.loads(text[start:end])["rows"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return rows if isinstance(rows, list) else None


def as_records(table: pd.DataFrame) -> list[list]:
    """Rows as JSON holds them: null for missing, dates as ISO text."""
    columns = []
    for name in table:
        values = table[name]
        if pd.api.types.is_datetime64_any_dtype(values.dtype):
            values = values.map(plain, na_action="ignore")
        columns.append(values.astype(object).where(values.notna(), None).tolist())
    return [list(row) for row in zip(*columns, strict=True)]
