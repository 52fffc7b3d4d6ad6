"""A synthetic table that somebody else made, scored as if it were drawn here.

It learns nothing: the file is read, its columns are brought to those of the real table, and what
that took is said in its facts. A grid names it as { table = "tabsyn-*.csv", label = "TabSyn" }.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.tables.files import read_file
from workbench.tables.given import has_end_blank, matched, read_table
from workbench.tables.identifiers import Pattern
from workbench.tables.schema import Schema


@dataclass
class Given:
    """The rows of a file.

    Parameters
    ----------
    table : path of a CSV, CSV.gz or Parquet file
    """

    table: str = ""

    # Its rows are scored as they are: none is repaired, and none redrawn.
    keeps_constraints: ClassVar[bool] = True

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Given:
        """Read the file. Raises InputError for columns that are missing, surplus or repeated."""
        # By the rules of `load`: "NA" and blanks mean the same in both tables.
        raw = read_file(Path(self.table))
        found, said = matched(raw, schema.names, _with_end_blanks(table))
        # Identifiers are no features: it need not have them, and none of its own is looked at.
        identifying = [column.name for column in schema.identifying]
        found = found.drop(columns=[name for name in identifying if name in found])
        rows, notes = read_table(found, schema.modelled)
        self._rows = rows
        self._names = schema.names
        self._patterns = {name: Pattern.learn(table[name]) for name in identifying}
        self._groups = [column.name for column in schema.identifying if column.role == "group"]
        self.facts = {"given": [f"{len(rows):,} rows.", *said, *notes, *_gaps(rows, table)]}
        return self

    @property
    def given_rows(self) -> int:
        """How many rows the file has."""
        return len(self._rows)

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """All rows in the file's order, or n of them drawn without replacement."""
        if where:
            raise InputError("a given table meets no conditions; leave out where.")
        if n > len(self._rows):
            raise InputError(
                f"the given table has {len(self._rows):,} rows and {n:,} were asked for; ask for"
                " fewer."
            )
        drawn = self._rows
        if n < len(self._rows):
            chosen = np.sort(rng.permutation(len(self._rows))[:n])
            drawn = self._rows.iloc[chosen].reset_index(drop=True)
        columns: dict[str, Any] = dict(drawn.items())
        for name, pattern in self._patterns.items():
            # Its own identifiers were not looked at; the table needs some, and these are nobody's.
            draw = pattern.fresh_groups if name in self._groups else pattern.fresh
            columns[name] = draw(n, rng)
        return pd.DataFrame(columns, columns=self._names)


def _with_end_blanks(table: pd.DataFrame) -> list[str]:
    """The columns whose real labels begin or end with a blank."""
    found = []
    for name in table.columns:
        if any(map(has_end_blank, table[name].dropna().unique())):
            found.append(name)
    return found


def _gaps(rows: pd.DataFrame, train: pd.DataFrame) -> list[str]:
    """A sentence for each column that lacks values where the real one has them all."""
    said = []
    for name in rows.columns:
        # A gap where the real column has none is often a value that could not be read.
        missing = int(rows[name].isna().sum())
        if missing and not train[name].isna().any():
            said.append(
                f"column {name!r}: {missing:,} values are missing; the real one lacks none."
            )
    return said
