"""A plug-in: any generator, asked by condition for equally many rows of both target labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from workbench.generators import make
from workbench.tables.schema import Schema


@dataclass
class Balanced:
    """The inner generator's rows, half of them of either label, so that a batch scores rows of a
    rare label that were asked
    for. Its marginals are not the real ones, by design."""

    inner: str = "cart"
    """The generator, by its name."""
    params: Mapping = field(default_factory=dict)
    """Its hyper-parameters."""

    def supports(self, schema: Schema) -> str | None:
        if schema.task != "classification":
            return "there must be a target of labels to balance."
        return make(self.inner, self.params).supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Balanced:
        self._target, self._labels = schema.target.name, list(table[schema.target.name].unique())
        self._fitted = make(self.inner, self.params).fit(table, schema, rng)
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        if where and self._target in where:
            return self._fitted.sample(n, rng, where=where)
        sizes = [len(part) for part in np.array_split(np.arange(n), len(self._labels))]
        wanted = [
            (size, {**(where or {}), self._target: label})
            for size, label in zip(sizes, self._labels, strict=True)
            if size
        ]
        rows = pd.concat(
            [self._fitted.sample(size, rng, where=one) for size, one in wanted], ignore_index=True
        )
        return rows.iloc[rng.permutation(n)].reset_index(drop=True)
