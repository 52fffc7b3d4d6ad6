"""What a person declares about a table in one place: a schema file, marks of missing values,
formats of dates.

`workbench inspect` writes such a file, schema.json. It is the JSON of a Schema, and beside it,
under "reading", what turns the raw table into one that the schema fits:

    {"columns": [...], "positive": "yes", "constraints": [["city", "country"]],
     "reading": {"missing": ["?"], "formats": {"born": "%d/%m/%Y"}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from workbench.errors import InputError
from workbench.files import read_given
from workbench.tables.schema import Schema


@dataclass(frozen=True)
class Declared:
    """Roles, kinds and constraints of a schema file, each None or empty where it says nothing."""

    schema: Schema | None = None
    missing: tuple[str, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, str]:
        return {column.name: column.kind for column in self.schema.columns} if self.schema else {}

    @property
    def target(self) -> str | None:
        return self.schema.target.name if self.schema and self.schema.target else None

    @property
    def sensitive(self) -> list[str] | None:
        return [column.name for column in self.schema.sensitive] if self.schema else None

    @property
    def identifiers(self) -> list[str] | None:
        if self.schema is None:
            return None
        return [column.name for column in self.schema.columns if column.role == "identifier"]

    @property
    def group(self) -> str | None:
        return self.schema.group.name if self.schema and self.schema.group else None

    @property
    def constraints(self) -> tuple:
        return self.schema.constraints if self.schema else ()

    @property
    def analysis(self) -> str:
        return self.schema.analysis if self.schema else ""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.schema.keys if self.schema else ()

    def to_json(self) -> str:
        # How values are written is read off each file anew, but for what "formats" declare.
        facts = json.loads(self.schema.plain.to_json())
        reading = {"missing": list(self.missing), "formats": dict(self.formats)}
        facts["reading"] = {name: value for name, value in reading.items() if value}
        return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def read(source: Declared | Schema | str | Path | None) -> Declared:
    """What a schema file declares. Raises InputError for a file that cannot be read or is no
    schema.
    """
    if source is None:
        return Declared()
    if isinstance(source, Declared):
        return source
    if isinstance(source, Schema):
        return Declared(source)
    try:
        text = read_given(Path(source))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"schema {str(source)!r} cannot be read ({error}); workbench inspect FILE writes one."
        ) from None
    schema = Schema.from_json(text)
    reading = json.loads(text).get("reading", {})
    missing, formats = reading.get("missing", []), reading.get("formats", {})
    if not isinstance(missing, list) or not isinstance(formats, dict):
        raise InputError(
            f'schema {str(source)!r}: "reading" holds a list "missing" and a table "formats";'
            " correct the file."
        )
    return Declared(schema, tuple(map(str, missing)), formats)


def apply_missing(table: pd.DataFrame, marks: Iterable[str]) -> pd.DataFrame:
    """The table without values where a field holds one of the marks; spaces around it do not count."""
    marks = {mark.strip() for mark in marks}
    if not marks:
        return table
    changed = {}
    for name in table.columns[~table.columns.duplicated()]:
        values = table[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            changed |= _without_number_marks(values, marks)
        elif values.dtype == object or pd.api.types.is_string_dtype(values.dtype):
            # Each spelling is looked at once: a long column of labels has few.
            spellings = [v for v in values.dropna().unique() if isinstance(v, str)]
            found = [spelling for spelling in spellings if spelling.strip() in marks]
            if found:
                changed[name] = values.astype(object).where(~values.isin(found))
    return table.assign(**changed) if changed else table


def _without_number_marks(values: pd.Series, marks: set[str]) -> dict[str, pd.Series]:
    """A column of numbers in which -9 or 999 stands for a missing value."""
    numbers = pd.to_numeric(pd.Series(sorted(marks), dtype=object), errors="coerce").dropna()
    is_mark = values.isin(list(numbers)) if len(numbers) else pd.Series(False, index=values.index)
    return {values.name: values.mask(is_mark)} if is_mark.any() else {}
