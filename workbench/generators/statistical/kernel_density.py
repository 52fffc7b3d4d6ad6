"""Kernel density: train rows drawn with replacement, each a little moved (the smoothed bootstrap).

Efron (1979), "Bootstrap methods: another look at the jackknife", section 5; Silverman and Young
(1987), "The bootstrap: to smooth or not to smooth?", Biometrika 74. The kernel lies on normal
scores (the probit transformation of Geenens, Charpentier and Paindaveine 2017, Bernoulli 23), so
that marginals stay, spikes and tails with them; labels have the kernel of Aitchison and Aitken
(1976). Keeps every association up to the bandwidth. **It does not protect anybody**: each row has
one train row close by, the closer the narrower the kernel. It stands here as what people do by
hand when they add noise, and the privacy attacks find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import Schema


@dataclass
class KernelDensity(SampledByRejection):
    """Smoothed bootstrap on normal scores (Silverman and Young 1987)."""

    bandwidth: float = 1.0
    """Width of the kernel, as a multiple of the normal reference rule's; 0 draws train rows again."""

    def __post_init__(self):
        check_least(self, bandwidth=0)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> KernelDensity:
        self._schema = schema
        self._table = table.reset_index(drop=True)
        self._marginals = {
            column.name: Marginal.fit(to_float(table[column.name]))
            for column in schema.columns
            if not column.is_discrete
        }
        # Of a normal distribution of so many columns with standard deviation 1 (Silverman 1986,
        # equation 4.14).
        dimension = max(len(self._marginals), 1)
        rule = (4 / ((dimension + 2) * max(len(table), 1))) ** (1 / (dimension + 4))
        self._width = self.bandwidth * rule
        # The correlation of a drawn score with its train row's. Without the shrinkage that it
        # stands for, the kernel would widen every column.
        self._kept = 1 / np.sqrt(1 + self._width**2)
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        rows = rng.integers(len(self._table), size=n)
        drawn = {}
        for column in self._schema.columns:
            values = self._table[column.name]
            if column.is_discrete:
                drawn[column.name] = self._drawn_labels(values, rows, rng)
            else:
                moved = self._moved(self._marginals[column.name], to_float(values)[rows], rng)
                drawn[column.name] = from_float(moved, column)
        return pd.DataFrame(drawn, columns=self._schema.names)

    def _drawn_labels(
        self, values: pd.Series, rows: np.ndarray, rng: np.random.Generator
    ) -> pd.Series:
        """The rows' labels; as many as numbers lose of their correlation are any train row's."""
        is_moved = rng.random(len(rows)) >= self._kept
        others = rng.integers(len(values), size=len(rows))
        return values.take(np.where(is_moved, others, rows)).reset_index(drop=True)

    def _moved(
        self, marginal: Marginal, numbers: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The numbers, moved by the kernel on the scale of their normal scores; a gap stays one."""
        # The two draws are made whatever the width is.
        level = marginal.uniform_rank(numbers, rng)
        noise = rng.standard_normal(len(numbers))
        if not self._width:
            return numbers
        scores = self._kept * (ndtri(level) + self._width * noise)
        return np.where(np.isnan(numbers), np.nan, marginal.quantile(ndtr(scores)))
