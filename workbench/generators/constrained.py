"""Every generator keeps a schema's constraints, and the skip patterns of train.

Constraints: a generator learns and draws a rewritten table in which they cannot be broken, the
transformation strategy of Patki, Wedge and Veeramachaneni (2016), "The Synthetic Data Vault"; see
workbench.tables.constraints. Skip patterns, such as an age of the spouse that is present exactly
for the married, are read off train and repaired in what is drawn; see workbench.tables.structure. A
private generator repairs nothing, since it must not look: declare what it shall keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.generators import is_private
from workbench.tables.conditions import TooFew, sample_matching
from workbench.tables.constraints import Rewriting
from workbench.tables.schema import Schema
from workbench.tables.structure import Skips

if TYPE_CHECKING:
    from workbench.generators import Generator

# Rewriting reads each row's distance from its floor, and the combinations that occur.
PRIVATE = (
    "what constraints need (bounds, distances, combinations) would be read off the rows and "
    "published at no cost to its privacy budget; leave the constraints out."
)


def keep_constraints(generator: Generator) -> Generator:
    """The same generator; its own three methods are called on the rewritten table where the schema
    declares constraints, and what it draws is repaired where train has skip patterns.

    A generator that meets constraints by itself says so with a class attribute `keeps_constraints`;
    one whose rows are to stay as it drew them, with `keeps_skips = False`.
    """
    # It says that it does this itself; twice would be wrong.
    if getattr(generator, "keeps_constraints", False):
        return generator
    # On the object, not on the class: two generators of one class may have different schemas.
    kept = _Constrained(generator)
    generator.supports, generator.fit, generator.sample = kept.supports, kept.fit, kept.sample
    return generator


class _Constrained:
    def __init__(self, generator: Generator):
        self._generator = generator
        # Of the table that it is fitted on, if that has constraints or skip patterns.
        self._rewriting: Rewriting | None = None
        self._skips: Skips | None = None
        self._original: Schema | None = None

    def supports(self, schema: Schema) -> str | None:
        # The class's own methods: those of the object are replaced by ours.
        own = type(self._generator).supports
        if not schema.constraints:
            return own(self._generator, schema)
        if is_private(self._generator):
            return PRIVATE
        # A setting by column would describe values that the generator never gets to see.
        rewriting = Rewriting(schema)
        for setting, value in vars(self._generator).items():
            for name in rewriting.changed.intersection(value) if isinstance(value, Mapping) else ():
                return (
                    f"{setting} describes column {name!r}, which a constraint changes; leave out"
                    " one of the two."
                )
        return own(self._generator, rewriting.schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Generator:
        if schema.constraints and is_private(self._generator):
            raise InputError(PRIVATE)
        self._original = schema
        self._rewriting = Rewriting(schema) if schema.constraints else None
        if self._rewriting:
            table = self._rewriting.apply(table, rng)
            schema = self._rewriting.schema
        fitted = type(self._generator).fit(self._generator, table, schema, rng)
        self._skips = None
        if not is_private(self._generator) and getattr(self._generator, "keeps_skips", True):
            skips = Skips(table, schema)
            self._skips = skips if skips.rules else None
        # A plug-in may promise something without a budget of its own.
        if self._rewriting and hasattr(fitted, "guarantee"):
            fitted.guarantee += (
                "; what its constraints need (bounds, distances, combinations) was read off the "
                "train table and is not covered"
            )
        return fitted

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        if not self._rewriting and not self._skips:
            return type(self._generator).sample(self._generator, n, rng, where)
        # Conditions on columns as they are go to the generator, which may meet them without
        # rejection.
        where, original = where or {}, self._original
        # What is rewritten or repaired afterwards cannot be asked of the generator.
        rewritten = self._rewriting.changed if self._rewriting else set()
        repaired = self._skips.changed if self._skips else set()
        passed = {k: wanted for k, wanted in where.items() if original[k].name not in rewritten}
        left = {k: wanted for k, wanted in where.items() if k in rewritten or k in repaired}

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            return self._draw(size, rng, passed)

        return sample_matching(draw, n, rng, original, left)

    def _draw(self, n: int, rng: np.random.Generator, where: Mapping) -> pd.DataFrame:
        """n rows of the generator, repaired and led back to the original columns."""
        try:
            table = type(self._generator).sample(self._generator, n, rng, where)
        except TooFew as few:
            raise TooFew(str(few), self._finish(few.rows, rng)) from None
        return self._finish(table, rng)

    def _finish(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        if self._skips:
            table = self._skips.repair(table, rng)
        return self._rewriting.restore(table) if self._rewriting else table
