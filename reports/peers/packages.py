"""Plug-ins: generators of other packages, fitted in an environment of their own (`make peers`).

Each tells its package and version as the fact `package`, so that a cell says what it ran. Gaps in
numbers are filled with the column's median, gaps in labels are a label: none of the packages takes
both as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd

from workbench.tables.schema import Schema

GAP = "(missing)"
NUMBERS = ("numeric", "integer")


@dataclass
class PackageCtgan:
    """CTGAN of the package ctgan (Xu et al. 2019), by the authors' group."""

    epochs: int = 300
    """Passes over the train rows."""
    batch_size: int = 500
    """Rows a step; a multiple of 10."""

    def supports(self, schema: Schema) -> str | None:
        return only_plain(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> PackageCtgan:
        import torch
        from ctgan import CTGAN

        self.facts = {"package": f"ctgan {version('ctgan')}"}
        self._schema = schema
        model = CTGAN(epochs=self.epochs, batch_size=self.batch_size, enable_gpu=False)
        seed = int(rng.integers(2**31))
        torch.manual_seed(seed)
        model.set_random_state(seed)
        rows, labels = filled(table, schema)
        model.fit(rows, labels)
        self._model = model
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        refuse(where)
        self._model.set_random_state(int(rng.integers(2**31)))
        return opened(self._model.sample(n), self._schema)


@dataclass
class PackageArf:
    """The adversarial forest of the package arfpy (Watson et al. 2023), by its authors."""

    num_trees: int = 30
    """Trees of each forest."""

    def supports(self, schema: Schema) -> str | None:
        return only_plain(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> PackageArf:
        from arfpy import arf

        self.facts = {"package": f"arfpy {version('arfpy')}"}
        self._schema = schema
        rows, labels = filled(table, schema)
        rows = rows.astype(dict.fromkeys(labels, "category"))
        # It draws from NumPy's global state.
        np.random.seed(int(rng.integers(2**31)))
        self._model = arf.arf(x=rows, num_trees=self.num_trees, verbose=False)
        self._model.forde()
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        refuse(where)
        np.random.seed(int(rng.integers(2**31)))
        return opened(self._model.forge(n=n), self._schema)


def only_plain(schema: Schema) -> str | None:
    """Why the packages cannot learn a table; None where they can."""
    kinds = {column.kind for column in schema.columns}
    strange = kinds - {*NUMBERS, "categorical", "boolean"}
    if strange:
        return f"columns of kind {', '.join(sorted(strange))} are not handed to other packages."
    return None


def filled(table: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, list[str]]:
    """The table without gaps, numbers as floats and labels as strings; and the names of the labels."""
    rows, labels = {}, []
    for column in schema.columns:
        values = table[column.name]
        if column.kind in NUMBERS:
            numbers = pd.to_numeric(values).astype(float)
            rows[column.name] = numbers.fillna(numbers.median())
        else:
            labels.append(column.name)
            rows[column.name] = values.astype(object).where(values.notna(), GAP).astype(str)
    return pd.DataFrame(rows), labels


def opened(rows: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Synthetic rows with gaps where the label says so, integers whole, in the schema's order."""
    columns = {}
    for column in schema.columns:
        values = rows[column.name]
        if column.kind == "integer":
            values = pd.to_numeric(values).round()
        elif column.kind not in NUMBERS:
            values = values.astype(object).where(values.astype(str) != GAP, None)
        columns[column.name] = values
    return schema.cast(pd.DataFrame(columns))


def refuse(where: Mapping | None) -> None:
    if where:
        raise NotImplementedError("other packages are asked for whole tables only.")
