"""Conditions met by rejection: the `sample` of a generator that knows no other way, and when one
that does is to take it.
"""

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


class Acceptance:
    """Counts how many drawn rows meet a condition.

    Rejection gives exactly what a generator has learnt; a network that is given a condition from
    the start may be far from that. So rejection goes on for as long as it finds rows at a bearable
    cost.
    """

    PROBE = 4000  # rows by which a condition is found to be hopeless
    HOPELESS = 0.002  # share of rows below which rejection would end without the rows wanted
    MOST_ROWS = 60_000  # rows that are drawn for a rare condition
    RARE = 0.015  # share of rows below which a condition is rare

    def __init__(self) -> None:
        self.drawn = 0
        self.met = 0

    def count(self, is_met: np.ndarray) -> None:
        self.drawn += len(is_met)
        self.met += int(is_met.sum())

    @property
    def is_too_low(self) -> bool:
        """Whether the condition is to be given to the network."""
        is_hopeless = self.drawn >= self.PROBE and self.met < self.HOPELESS * self.drawn
        is_costly = self.drawn >= self.MOST_ROWS and self.met < self.RARE * self.drawn
        return is_hopeless or is_costly
