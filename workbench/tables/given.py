"""A table that somebody else made, brought to the columns and kinds of a real one.

Other programs write a table's names with other signs (education.num, education_num), blanks around
labels and whole numbers with decimals. `matched` puts that right and says in sentences what it did;
`read_table` casts what is left, and counts the values that a column's kind cannot hold.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables.schema import BOOLEAN_TEXT, Column, Schema
from workbench.words import listed


def matched(
    table: pd.DataFrame, names: Iterable[str], kept: Collection[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """The table with these names where its own differ in case, blanks and signs only, and texts
    without blanks at their ends; and what was done, one sentence each.

    kept: columns whose real values have such blanks, which stay. A column that resembles none of
    the names keeps its own: `read_table` says that it is surplus.
    Raises InputError where two columns could bear one name.
    """
    renamed = _renamed([str(name) for name in table.columns], list(names))
    said = []
    if renamed:
        pairs = [f"{own} as {name}" for own, name in renamed.items()]
        said.append(f"columns were read by name: {listed(pairs)}.")
    table = table.rename(columns=renamed)
    stripped, changed = _stripped(table, kept)
    if table.attrs.get("spaced"):
        said.append("blanks before values were dropped.")
    if changed:
        said.append(f"blanks at the ends of values were dropped in {listed(changed)}.")
    return stripped, said


def _renamed(own: list[str], names: list[str]) -> dict[str, str]:
    """Own name -> the name that it stands for, of the columns that bear another one."""
    known = {_plain(name): name for name in names}
    found: dict[str, str] = {}
    for column in own:
        name = known.get(_plain(column))
        if column in names or name is None or len(known) < len(names):
            continue
        taken = name if name in own else None
        for earlier, wanted in found.items():
            if wanted == name:
                taken = earlier
        if taken is not None:
            raise InputError(
                f"columns {taken!r} and {column!r} of the synthetic table could both be {name!r};"
                " rename one of them."
            )
        found[column] = name
    return found


def _plain(name: str) -> str:
    """A name in lower case, without blanks and signs; the name itself where nothing is left."""
    return re.sub(r"[\W_]+", "", name.casefold()) or name


def _stripped(table: pd.DataFrame, kept: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table without blanks at the ends of texts, and the columns in which there were any. A
    text of blanks alone is a missing value.
    """
    columns = {}
    changed = []
    for place, name in enumerate(table.columns):
        values = table.iloc[:, place]
        is_text = isinstance(values.dtype, pd.StringDtype) or values.dtype == object
        columns[place] = values
        if is_text and name not in kept and values.dropna().map(has_end_blank).any():
            changed.append(str(name))
            columns[place] = values.map(_strip)
    stripped = pd.DataFrame(columns, index=table.index)
    return stripped.set_axis(table.columns, axis=1), changed


def has_end_blank(value: object) -> bool:
    """Whether a value is a text that begins or ends with a blank."""
    return isinstance(value, str) and value != value.strip()


def _strip(value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.strip() or pd.NA


def read_table(table: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, list[str]]:
    """A table nobody has checked, cast to the schema, and a note for each column where values had
    to be made missing.

    Raises InputError for what is no table, and for missing, surplus and repeated columns.
    """
    if not isinstance(table, pd.DataFrame):
        raise InputError(
            f"the synthetic table is a {type(table).__name__}; give a pandas DataFrame."
        )
    for name in [name for name in schema.names if name not in table.columns]:
        raise InputError(
            f"column {name!r} is missing from the synthetic table;"
            f" {nearest(name, map(str, table.columns))}"
        )
    for name in [
        name
        for name in table.columns
        if name not in schema.names or (table.columns == name).sum() > 1
    ]:
        raise InputError(
            f"column {name!r} of the synthetic table is surplus; the real table has:"
            f" {', '.join(schema.names)}."
        )
    columns, notes = {}, []
    for column in schema.columns:
        values = table[column.name].reset_index(drop=True)
        try:
            with np.errstate(invalid="ignore"):
                columns[column.name] = column.cast(values)
        except InputError:
            columns[column.name] = column.cast(_coerced(values, column))
            lost = int((values.notna() & columns[column.name].isna()).sum())
            sentence = (
                f"{lost:,} values are no {column.kind} and count as missing"
                if lost
                else f"values were rounded to {column.kind}"
            )
            notes.append(f"column {column.name!r}: {sentence}.")
    return pd.DataFrame(columns, columns=schema.names), notes


def _coerced(series: pd.Series, column: Column) -> pd.Series:
    """Values that the kind can hold: numbers from text where it is a number, whole where they must
    be, the rest missing.
    """
    if column.form is not None:
        series = column.form.read(series, strict=False)
    if column.kind == "datetime":
        series = pd.to_datetime(series.astype(str), errors="coerce", format="ISO8601", utc=True)
    elif column.kind == "boolean":
        series = series.astype(str).str.lower().map(BOOLEAN_TEXT)
    else:
        series = (
            pd.to_numeric(series.astype(str), errors="coerce")
            .astype(float)
            .replace([np.inf, -np.inf], np.nan)
        )
        series = series.where(series.abs() < 2**62).round() if column.kind == "integer" else series
    return series.rename(column.name)
