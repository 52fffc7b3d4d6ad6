"""The `sample` of a generator that draws whole rows and meets conditions by rejection alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.tables.conditions import sample_matching

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from workbench.tables.schema import Schema


class SampledByRejection:
    """Gives a generator its `sample`; it has `_schema` once it is fitted, and draws rows by
    `_draw`.
    """

    _schema: Schema

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """n rows, whatever they hold."""
        raise NotImplementedError

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Exactly n rows that meet `where`; raises TooFew where too few of those drawn do."""
        return sample_matching(self._draw, n, rng, self._schema, where)
