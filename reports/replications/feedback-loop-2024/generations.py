"""A plug-in: a chain of generators, each fitted on the rows of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.generators import make
from workbench.tables.schema import Schema


@dataclass
class Generations:
    """The last generator of a chain. Each learns from as many rows as train has: rows of the one
    before it, of which the share `fresh` is replaced by real ones."""

    inner: str = "cart"
    """The generator, by its name."""
    generations: int = 10
    """How many are fitted one after the other; the first learns from train."""
    fresh: float = 0.0
    """Share of real rows in what each later one learns from, 0 to 1."""
    params: Mapping = field(default_factory=dict)
    """The generator's hyper-parameters."""

    def supports(self, schema: Schema) -> str | None:
        if self.generations < 1 or not 0 <= self.fresh <= 1:
            raise InputError("give generations of at least 1, and fresh between 0 and 1.")
        return make(self.inner, self.params).supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Generations:
        learnt = table
        for generation in range(self.generations):
            self._fitted = make(self.inner, self.params).fit(learnt, schema, rng)
            if generation + 1 < self.generations:
                learnt = self._next(table, rng)
        return self

    def _next(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """What the next generator learns from."""
        rows = self._fitted.sample(len(table), rng)
        kept = round(len(table) * (1 - self.fresh))
        real = table.iloc[rng.permutation(len(table))[: len(table) - kept]]
        return pd.concat([rows.head(kept), real], ignore_index=True)

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        return self._fitted.sample(n, rng, where=where)
