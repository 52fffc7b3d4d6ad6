"""Every generator keeps a schema's constraints: it learns and draws a rewritten table in which they
cannot be broken.

The transformation strategy of Patki, Wedge and Veeramachaneni (2016), "The Synthetic Data Vault";
see workbench.tables.constraints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.tables.conditions import TooFew, sample_matching
from workbench.tables.constraints import Rewriting
from workbench.tables.schema import Schema

if TYPE_CHECKING:
    from workbench.generators import Generator


def keep_constraints(generator: Generator) -> Generator:
    """The same generator; its own three methods are called on the rewritten table where the schema
    declares constraints.

    A generator that meets constraints by itself says so with a class attribute `keeps_constraints`.
    """
    if getattr(generator, "keeps_constraints", False):
        return generator
    kept = _Constrained(generator)
    generator.supports, generator.fit, generator.sample = kept.supports, kept.fit, kept.sample
    return generator


class _Constrained:
    def __init__(self, generator: Generator):
        self._generator = generator
        self._rewriting: Rewriting | None = (
            None  # of the table it is fitted on, if that has constraints
        )

    def supports(self, schema: Schema) -> str | None:
        own = type(self._generator).supports
        if not schema.constraints:
            return own(self._generator, schema)
        rewriting = Rewriting(schema)
        for setting, value in vars(self._generator).items():
            for name in rewriting.changed.intersection(value) if isinstance(value, Mapping) else ():
                return f"{setting} describes column {name!r}, which a constraint changes; leave out one of the two."
        return own(self._generator, rewriting.schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Generator:
        self._rewriting = Rewriting(schema) if schema.constraints else None
        if self._rewriting:
            table = self._rewriting.apply(table, rng)
            schema = self._rewriting.schema
        fitted = type(self._generator).fit(self._generator, table, schema, rng)
        if self._rewriting and hasattr(fitted, "guarantee"):
            fitted.guarantee += "; what its constraints need (bounds, distances, combinations) was read off the train table "
            fitted.guarantee += "and is not covered"
        return fitted

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        own = type(self._generator).sample
        if not self._rewriting:
            return own(self._generator, n, rng, where)
        # Conditions on columns as they are go to the generator, which may meet them without
        # rejection.
        where, original = where or {}, self._rewriting.original
        left = {
            name: wanted
            for name, wanted in where.items()
            if original[name].name in self._rewriting.changed
        }
        passed = {name: wanted for name, wanted in where.items() if name not in left}

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            try:
                return self._rewriting.restore(own(self._generator, size, rng, passed))
            except TooFew as few:
                raise TooFew(str(few), self._rewriting.restore(few.rows)) from None

        return sample_matching(draw, n, rng, original, left)
