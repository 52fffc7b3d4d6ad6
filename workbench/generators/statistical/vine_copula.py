"""Vine copula: a tree of pairs, then trees of pairs given what they share, each pair with a copula
of its own family.

Dissmann, Brechmann, Czado and Kurowicka (2013), "Selecting and estimating regular vine copulae", by
pyvinecopulib; labels and ties as discrete margins (Panagiotelis, Czado and Joe 2012). Where a
Gaussian copula has one correlation for a pair, a pair here may be tied in one tail only, or not
monotonely. Pairs given more than `truncation` - 1 columns are taken as independent, a label's
levels need an order (that of the table's main axis), and the time of fitting grows with the square
of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.generators.statistical.margins import Margins
from workbench.tables.schema import Schema

FAMILIES = {
    "gaussian": ["gaussian"],
    "parametric": ["gaussian", "student", "clayton", "gumbel", "frank", "joe"],
    "nonparametric": [
        "gaussian",
        "tll",
    ],  # tll alone smooths away what is certain, such as two gaps that go together
}


@dataclass
class VineCopula(SampledByRejection):
    """Truncated regular vine over empirical margins (Dissmann et al. 2013). After fit, `vine` is
    pyvinecopulib's Vinecop.
    """

    families: str = "nonparametric"
    """Pair copulas to choose from: "gaussian", "parametric" (with tails), or "nonparametric" (a
    smoothed density too).
    """
    bandwidth: float = 0.3
    """How much the nonparametric density is smoothed, as a factor of pyvinecopulib's choice, which
    suits small tables.
    """
    truncation: int = 3
    """Trees of the vine: a pair's copula may be given this many other columns less one."""
    fit_rows: int = 10_000
    """Rows that pair copulas are fitted on at most, drawn at random; margins are always those of
    all rows.
    """
    max_columns: int = 200
    """Widest table to accept."""

    def __post_init__(self):
        check_least(self, truncation=1, fit_rows=10, max_columns=1, bandwidth=0.01)
        if self.families not in FAMILIES:
            raise InputError(
                f"VineCopula: unknown families {self.families!r};"
                f" {nearest(str(self.families), FAMILIES)}"
            )

    def supports(self, schema: Schema) -> str | None:
        if len(schema.columns) <= self.max_columns:
            return None
        return (
            f"a vine of {len(schema.columns)} columns takes hours to fit, more than max_columns"
            f" ({self.max_columns}) are refused; use gaussian-copula, drop columns, or raise"
            " max_columns."
        )

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> VineCopula:
        self._schema, self._margins = schema, Margins(table, schema)
        low, high = self._margins.intervals(table)
        # A variable varies where not every present row has the same interval.
        self._names = [name for name in low if high[name].nunique() > 1]
        rows = np.sort(rng.permutation(len(table))[: self.fit_rows])
        self.vine = _fit_vine(low[self._names].iloc[rows], high[self._names].iloc[rows], self)
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        if self.vine is None:
            levels = rng.random((n, len(self._names)))
        else:
            levels = self.vine.sample(n, seeds=rng.integers(2**31, size=8).tolist())
        return self._margins.table(dict(zip(self._names, levels.T, strict=True)), n)


def _fit_vine(low: pd.DataFrame, high: pd.DataFrame, settings: VineCopula):
    """The vine of the variables whose values own the intervals low to high; None where there are no
    pairs.
    """
    import pyvinecopulib as pv

    if low.shape[1] < 2:
        return None
    controls = pv.FitControlsVinecop(
        family_set=[
            pv.BicopFamily.indep,
            *(getattr(pv.BicopFamily, name) for name in FAMILIES[settings.families]),
        ],
        nonparametric_mult=settings.bandwidth,
        trunc_lvl=settings.truncation,
        num_threads=1,
    )
    # Where most values are distinct, ties are as good as none, and continuous margins are faster.
    discrete = np.array([high[name].nunique() < 0.5 * len(high) for name in high])
    ends = np.asfortranarray(np.hstack([np.where(discrete, high, (low + high) / 2), low]))
    return pv.Vinecop.from_data(
        ends, controls, var_types=["d" if flag else "c" for flag in discrete]
    )
