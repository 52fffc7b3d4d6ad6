"""Gaussian copula: turn every column into normal scores, estimate their correlation, draw normals,
walk back.

Sklar (1959); Nelsen, An Introduction to Copulas (2006); for mixed tables Patki, Wedge and
Veeramachaneni (2016), "The Synthetic Data Vault": a label owns the interval of its share in (0, 1),
and a missing value is a second, binary column. Keeps marginals and the monotone dependence of
pairs; misses interactions, non-monotone dependence, and nominal labels that one ordering of their
levels cannot describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from workbench.generators.statistical.margins import Margins
from workbench.tables.conditions import sample_matching
from workbench.tables.schema import Schema


@dataclass
class GaussianCopula:
    """Gaussian copula over empirical marginals (Nelsen 2006; labels and missing values as in Patki
    et al. 2016).

    After fit, `correlation` is the latent correlation: a DataFrame with one row for each column
    that varies, and one called "NAME is missing" for each column that has both missing and present
    values.
    """

    correct_ties: bool = True
    """Undo what labels and ties take from the latent correlation (Olsson et al. 1982); False keeps
    that of the scores.
    """

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> GaussianCopula:
        self._schema, self._margins = schema, Margins(table, schema)
        scores = self._margins.scores(table)
        self.correlation = _latent_correlation(scores, self.correct_ties)
        self._root = _square_root(self.correlation.to_numpy())
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """The rarest condition is met by the conditional normal distribution; rejection then makes
        all of `where` exact.
        """
        rarest = self._margins.rarest_condition(where or {})

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            return self._draw(size, rng, rarest)

        return sample_matching(draw, n, rng, self._schema, where)

    def _draw(
        self, n: int, rng: np.random.Generator, condition: tuple[str, float, float] | None
    ) -> pd.DataFrame:
        """condition: a variable and the levels between which it is to lie."""
        normal = rng.standard_normal((n, len(self._root))) @ self._root.T
        if condition and condition[0] in self.correlation:
            name, low, high = condition
            given = self.correlation.columns.get_loc(name)
            # Moving the variable to its interval moves the others by their regression on it: the
            # conditional normal.
            wanted = ndtri(np.clip(low + rng.random(n) * (high - low), 1e-9, 1 - 1e-9))
            normal += np.outer(wanted - normal[:, given], self.correlation[name])
        uniform = dict(zip(self.correlation.columns, ndtr(normal).T, strict=True))
        return self._margins.table(uniform, n)


def _latent_correlation(scores: pd.DataFrame, correct_ties: bool) -> pd.DataFrame:
    """The correlation of the normal columns behind the scores, by the copulas package, positive
    definite.

    A score is the mean of its interval, so ties shrink its variance to a^2 < 1 and its correlation
    with another to r a_1 a_2 (exact beside a column without ties: the polyserial correlation of
    Olsson, Drasgow and Dorans 1982). Missing values score 0 here, which shrinks it again by the
    share of rows where both are present.
    """
    from copulas.multivariate import GaussianMultivariate
    from copulas.univariate import GaussianUnivariate

    filled = scores.fillna(0)
    filled = filled.loc[:, filled.std(ddof=0) > 1e-9]
    if filled.shape[1] < 1:
        return pd.DataFrame()
    copula = GaussianMultivariate(distribution=GaussianUnivariate)
    copula.fit(filled)
    correlation = copula.correlation.to_numpy()
    if correct_ties:
        present = scores[filled.columns].notna().to_numpy(dtype=float)
        both = np.maximum(present.T @ present, 1)
        spread = filled.std(ddof=0).to_numpy() / np.sqrt(present.mean(axis=0))
        alone = np.sqrt(np.outer(np.diag(both), np.diag(both)))
        correlation = correlation * alone / both / np.outer(spread, spread)
        correlation = np.clip(correlation, -0.999, 0.999)
        np.fill_diagonal(correlation, 1)
    root = _square_root(correlation)
    return pd.DataFrame(root @ root.T, index=filled.columns, columns=filled.columns)


def _square_root(correlation: np.ndarray) -> np.ndarray:
    """R with R R' = the nearest positive definite matrix with a unit diagonal: eigenvalues lifted,
    rows scaled to length 1.
    """
    if not len(correlation):
        return np.empty((0, 0))
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 1e-6))
    return root / np.linalg.norm(root, axis=1, keepdims=True)
