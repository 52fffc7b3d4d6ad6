"""Independent marginals: every column is drawn on its own, so all that ties columns together is
lost.

The product of the empirical marginals, the reference data set of Shi and Horvath (2006),
"Unsupervised learning with random forest predictors". Numbers follow the interpolated empirical
quantiles, labels and missing values their shares in train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from workbench.generators.rejection import SampledByRejection
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import KINDS, Column, Schema


@dataclass
class Independent(SampledByRejection):
    """Independent draws from each column's empirical distribution (Shi and Horvath 2006). It has no
    parameters.
    """

    # The reference of what no association costs: a skip pattern is one.
    keeps_skips: ClassVar[bool] = False

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Independent:
        self._schema = schema
        self._columns = {
            column.name: _fit_column(table[column.name], column) for column in schema.columns
        }
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        columns = {}
        for column in self._schema.columns:
            missing, distribution = self._columns[column.name]
            columns[column.name] = _draw_column(column, missing, distribution, n, rng)
        return pd.DataFrame(columns, columns=self._schema.names)


def _fit_column(values: pd.Series, column: Column) -> tuple:
    """The share of missing values, and the distribution of the others: a Marginal, or labels with
    their cumulated shares.
    """
    if not column.is_discrete:
        return values.isna().mean(), Marginal.fit(to_float(values))
    shares = values.value_counts(normalize=True).sort_index()
    return values.isna().mean(), (
        shares.index.to_numpy(dtype=object),
        np.cumsum(shares.to_numpy(dtype=float)),
    )


def _draw_column(
    column: Column, missing: float, distribution, n: int, rng: np.random.Generator
) -> pd.Series:
    absent, u = rng.random(n) < missing, rng.random(n)
    if not column.is_discrete:
        return from_float(np.where(absent, np.nan, distribution.quantile(u)), column)
    labels, cumulated = distribution
    # The last share is left out: u beyond its rounded sum still means the last label, and no label
    # means missing.
    labels = np.append(labels, np.nan)
    index = np.where(absent, len(labels) - 1, np.searchsorted(cumulated[:-1], u, side="right"))
    return pd.Series(labels[index], name=column.name, dtype=object).astype(KINDS[column.kind])
