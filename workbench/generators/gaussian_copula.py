"""Gaussian copula: turn every column into normal scores, estimate their correlation, draw normals, walk back.

Sklar (1959); Nelsen, An Introduction to Copulas (2006); for mixed tables Patki, Wedge and Veeramachaneni (2016), "The
Synthetic Data Vault": a label owns the interval of its share in (0, 1), and a missing value is a second, binary column.
Keeps marginals and the monotone dependence of pairs; misses interactions, non-monotone dependence, and nominal labels that
one ordering of their levels cannot describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from workbench.conditions import sample_matching
from workbench.encode import Marginal, from_float, to_float
from workbench.schema import KINDS, Column, Schema


@dataclass
class GaussianCopula:
    """Gaussian copula over empirical marginals (Nelsen 2006; labels and missing values as in Patki et al. 2016).

    After fit, `correlation` is the latent correlation: a DataFrame with one row for each column that varies, and one called
    "NAME is missing" for each column that has both missing and present values.
    """

    correct_ties: bool = True
    """Undo what labels and ties take from the latent correlation (Olsson et al. 1982); False keeps that of the scores."""

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> GaussianCopula:
        self._schema = schema
        axis = np.zeros(len(table))
        for _ in range(2):  # labels are first ordered by name, then along the main axis of the scores
            self._margins = {column.name: _Margin(table[column.name], column, axis) for column in schema.columns}
            scores = self._scores(table)
            axis = _main_axis(scores)
        self.correlation = _latent_correlation(scores, self.correct_ties)
        self._root = _square_root(self.correlation.to_numpy())
        return self

    def sample(self, n: int, rng: np.random.Generator, where: Mapping | None = None) -> pd.DataFrame:
        return sample_matching(self._draw, n, rng, self._schema, where)

    def _scores(self, table: pd.DataFrame) -> pd.DataFrame:
        scores = {}
        for name, margin in self._margins.items():
            scores[name], scores[f"{name} is missing"] = margin.scores(table[name])
        return pd.DataFrame(scores)

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        normal = rng.standard_normal((n, len(self._root))) @ self._root.T
        uniform = dict(zip(self.correlation.columns, ndtr(normal).T, strict=True))
        constant = np.full(n, 0.5)  # a column without a latent one has one value, whatever the level
        columns = {
            name: margin.values(uniform.get(name, constant), uniform.get(f"{name} is missing", constant))
            for name, margin in self._margins.items()
        }
        return pd.DataFrame(columns, columns=self._schema.names)


class _Margin:
    """One column's marginal, as cut points of (0, 1): levels at most `present` have a value, and values own intervals."""

    def __init__(self, values: pd.Series, column: Column, axis: np.ndarray):
        """axis: a number for each row, shape (rows,); labels are ordered by its mean over the rows that hold them."""
        self.column = column
        self.present = float(values.notna().mean())
        if column.is_discrete:
            groups = pd.Series(axis).groupby(values.to_numpy(dtype=object, na_value=None), sort=True)
            order = np.argsort(groups.mean().to_numpy(), kind="stable")
            self.labels = groups.mean().index.to_numpy(dtype=object)[order]
            self.ends = np.cumsum(groups.size().to_numpy()[order]) / max(values.notna().sum(), 1)
        else:
            self.numbers = Marginal.fit(to_float(values))

    def scores(self, values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Normal scores of the values (NaN where missing) and of being missing, both of shape (rows,)."""
        missing = values.isna().to_numpy()
        flag = _interval_score(np.where(missing, self.present, 0.0), np.where(missing, 1.0, self.present))
        if self.column.is_discrete:
            code = pd.Index(self.labels).get_indexer(values.astype(object))
            starts = np.append(0.0, self.ends)
            low, high = starts[code], starts[1:][code] if len(self.ends) else starts[code]
        else:
            numbers, n = to_float(values), max(len(self.numbers.values), 1)
            low = np.searchsorted(self.numbers.values, numbers, side="left") / n
            high = np.searchsorted(self.numbers.values, numbers, side="right") / n
        return np.where(missing, np.nan, _interval_score(low, high)), flag

    def values(self, level: np.ndarray, missing_level: np.ndarray) -> pd.Series:
        """Values at the levels, shape (rows,), in (0, 1); missing where missing_level is beyond the share of present ones."""
        missing = missing_level >= self.present
        if not self.column.is_discrete:
            return from_float(np.where(missing, np.nan, self.numbers.quantile(level)), self.column)
        labels = np.append(self.labels, np.nan)
        index = np.where(missing, len(labels) - 1, np.searchsorted(self.ends[:-1], level, side="right"))
        return pd.Series(labels[index], name=self.column.name, dtype=object).astype(KINDS[self.column.kind])


def _interval_score(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The mean of a standard normal between its quantiles at low and high."""
    width = np.maximum(high - low, 1e-12)
    density = lambda p: np.exp(-(ndtri(p) ** 2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    return np.where(high > low, (density(low) - density(high)) / width, 0.0)


def _main_axis(scores: pd.DataFrame) -> np.ndarray:
    """The first principal component of the scores, shape (rows,); zeros where nothing varies."""
    matrix = scores.fillna(0).to_numpy()
    if not matrix.any():
        return np.zeros(len(matrix))
    _, vectors = np.linalg.eigh(matrix.T @ matrix)
    # An eigenvector's sign is arbitrary: its largest entry is made positive, so that any machine orders labels alike.
    main = vectors[:, -1]
    return matrix @ (main * np.sign(main[np.argmax(np.abs(main))]))


def _latent_correlation(scores: pd.DataFrame, correct_ties: bool) -> pd.DataFrame:
    """The correlation of the normal columns behind the scores, by the copulas package, positive definite.

    A score is the mean of its interval, so ties shrink its variance to a^2 < 1 and its correlation with another to
    r a_1 a_2 (exact beside a column without ties: the polyserial correlation of Olsson, Drasgow and Dorans 1982).
    Missing values score 0 here, which shrinks it again by the share of rows where both are present.
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
    """R with R R' = the nearest positive definite matrix with a unit diagonal: eigenvalues lifted, rows scaled to length 1."""
    if not len(correlation):
        return np.empty((0, 0))
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 1e-6))
    return root / np.linalg.norm(root, axis=1, keepdims=True)
