"""Mode-specific normalisation: a mixed table as offsets within modes and small integer codes, and
back.

A number becomes the mode of a one-dimensional Gaussian mixture it belongs to, and its offset from
that mode's mean in units of four standard deviations. A label becomes its code; missing is a level.
Xu et al. 2019, arXiv:1907.00503, section 4.2. The mixture is fitted on unique values with their
counts, so its cost does not grow with the number of rows.

Where this differs from the paper: missing is a mode of its own, and so is a value that more than
`ATOM` of the rows share, such as the 0 of a column that is mostly 0: a mode without width, from
which it comes back exactly (Zhao et al. 2021, CTAB-GAN).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import digamma

from workbench.tables.conditions import matches
from workbench.tables.encode import Codes, Marginal, from_float, to_float
from workbench.tables.schema import Schema

REACH = 4.0  # standard deviations from a mode's mean to the offset 1
ATOM = 0.05  # share of the present rows beyond which a value is a mode of its own


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture of K one-dimensional Gaussians; every field has shape (K,).

    bias is the part of a component's expected log density that does not depend on the value.
    """

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(
        cls, values: np.ndarray, counts: np.ndarray, components: int = 10, iterations: int = 300
    ) -> Mixture:
        """Variational Bayes on standardised distinct sorted `values`, shape (n,), and how often
        they occur, shape (n,).

        A truncated Dirichlet process with concentration 0.001 leaves unneeded components with
        almost no weight. Priors as in scikit-learn's BayesianGaussianMixture: Blei and Jordan 2006;
        Bishop 2006, equations 10.58 to 10.64.
        """
        components = min(components, len(values))
        total = counts.sum()
        prior_mean = counts @ values / total
        prior_variance = counts @ (values - prior_mean) ** 2 / max(total - 1, 1) or 1.0
        # Count, sum and sum of squares of each distinct value: all that the updates read.
        moments = (counts * [np.ones_like(values), values, values**2]).T
        responsibilities, mass = _nearest_centre(values, counts, components), np.zeros(components)
        for _ in range(iterations):
            # A component without members keeps a mass above zero, by which means can be divided.
            before, (mass, sums, squares) = mass, (responsibilities @ moments).T + 1e-12
            averages = sums / mass
            variances = np.maximum(squares / mass - averages**2, 0)
            # The prior counts as one observation of the mean and one of the variance.
            precision = freedom = 1 + mass
            means = (prior_mean + mass * averages) / precision
            variances = prior_variance + mass * (
                variances + (averages - prior_mean) ** 2 / precision
            )
            # A component on a single value would shrink to nothing, and its density grow without
            # bound.
            deviations = np.sqrt(variances / freedom + 1e-6 * prior_variance)
            # Stick breaking: each component takes a share of what those before it have left.
            stick, rest = 1 + mass, 0.001 + mass[::-1].cumsum()[::-1] - mass
            log_rest = digamma(rest) - digamma(stick + rest)
            log_weights = digamma(stick) - digamma(stick + rest) + log_rest.cumsum() - log_rest
            # The expected logarithm of a component's precision, less what its mean is unsure of.
            spread = np.log(2) + digamma(freedom / 2) - np.log(freedom) - 1 / precision
            left = (rest / (stick + rest)).cumprod()
            weights = stick / (stick + rest) * np.append(1, left[:-1])
            mixture = cls(
                weights / weights.sum(),
                means,
                deviations,
                log_weights - np.log(deviations) + spread / 2,
            )
            # Nothing moves between components any more.
            if np.abs(mass - before).max() < 1e-6 * total:
                break
            responsibilities = mixture.responsibilities(values)
        return mixture

    def responsibilities(self, values: np.ndarray) -> np.ndarray:
        """Probabilities that each value comes from each component, shape (K, n)."""
        density = (
            self.bias[:, None]
            - ((values - self.means[:, None]) / self.deviations[:, None]) ** 2 / 2
        )
        # The largest is set to 1 first, or values far from every mode would divide zero by zero.
        density = np.exp(density - density.max(axis=0))
        return density / density.sum(axis=0)

    def heavier_than(self, weight: float) -> Mixture:
        """The components of more than this weight (all, if none is)."""
        keep = self.weights > min(weight, self.weights.max() / 2)
        return Mixture(self.weights[keep], self.means[keep], self.deviations[keep], self.bias[keep])


def _nearest_centre(values: np.ndarray, counts: np.ndarray, components: int) -> np.ndarray:
    """One-hot memberships of a one-dimensional k-means, heaviest cluster first (a stick is broken
    in that order).
    """
    centres = np.quantile(values, (np.arange(components) + 0.5) / components)
    for _ in range(50):
        # In one dimension the nearest centre is found by the borders half way between them.
        member = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        mass = np.bincount(member, counts, components)
        # A centre without members stays where it is.
        moved = np.where(
            mass > 0,
            np.bincount(member, counts * values, components) / np.maximum(mass, 1),
            centres,
        )
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return np.eye(components)[np.argsort(-mass, kind="stable")][:, member]


class NumberModes:
    """One column of numbers or dates as (offset, mode), fitted on its floats with NaN for missing."""

    def __init__(self, values: np.ndarray, components: int, min_weight: float, points: int = 1024):
        self.marginal = Marginal.fit(values)
        distinct, counts = np.unique(self.marginal.values, return_counts=True)
        # A value that many rows share would be a component without width: it is a mode of its own.
        heavy = counts > max(ATOM * counts.sum(), 1)
        self.atoms, distinct, counts = distinct[heavy], distinct[~heavy], counts[~heavy]
        self.centre, self.scale, self.mixture = 0.0, 1.0, None
        if len(distinct):
            # In units of the largest value, because the square of a number like 1e200 is infinite.
            unit = np.abs(distinct).max() or 1.0
            mean = counts @ (distinct / unit) / counts.sum()
            self.centre = float(unit * mean)
            self.scale = (
                float(unit * np.sqrt(counts @ (distinct / unit - mean) ** 2 / counts.sum())) or 1.0
            )
            distinct = (distinct - self.centre) / self.scale
            if len(distinct) > points:
                # Neighbours among very many distinct values share a point at their mean.
                starts = np.linspace(0, len(distinct), points, endpoint=False).astype(int)
                merged = np.add.reduceat(counts, starts)
                distinct, counts = np.add.reduceat(distinct * counts, starts) / merged, merged
            self.mixture = Mixture.fit(distinct, counts.astype(float), components).heavier_than(
                min_weight
            )
        # The modes: the mixture's, the atoms, missing. Only the first have a width.
        means, deviations = (
            (self.mixture.means, self.mixture.deviations)
            if self.mixture
            else (np.empty(0), np.empty(0))
        )
        # Missing is a mode too, the last one, where the column misses values at all.
        rest = [np.nan] * bool(np.isnan(values).any())
        self.means = np.concatenate([self.centre + self.scale * means, self.atoms, rest])
        self.reach = np.append(
            REACH * self.scale * deviations, np.zeros(len(self.atoms) + len(rest))
        )
        self.size = len(self.means)

    def encode(self, values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Offsets in [-1, 1] and modes, each of shape (n,): the mode is drawn by its probability
        given the value.
        """
        # Missing until something else is known of a row: the last mode.
        offsets, modes = np.zeros(len(values)), np.full(len(values), self.size - 1)
        atom = np.searchsorted(self.atoms, values).clip(max=max(len(self.atoms) - 1, 0))
        heavy = self.atoms[atom] == values if len(self.atoms) else np.zeros(len(values), dtype=bool)
        # Atoms stand after the mixture's modes and before missing.
        modes[heavy] = self.size - np.isnan(self.means).sum() - len(self.atoms) + atom[heavy]
        spread = ~np.isnan(values) & ~heavy
        if self.mixture is None or not spread.any():
            return offsets, modes
        distinct, inverse = np.unique(
            (values[spread] - self.centre) / self.scale, return_inverse=True
        )
        shift = (distinct - self.mixture.means[:, None]) / (
            REACH * self.mixture.deviations[:, None]
        )
        chance = self.mixture.responsibilities(distinct) * (np.abs(shift) <= 1)
        # A value beyond the reach of every mode goes to the end of the one that comes nearest.
        chance[np.abs(shift).argmin(axis=0), np.arange(len(distinct))] += 1e-9
        # One uniform draw a value, held against the cumulative chances of the modes.
        limits = (chance / chance.sum(axis=0)).cumsum(axis=0)[:-1]
        modes[spread] = drawn = (rng.random(len(inverse)) > limits[:, inverse]).sum(axis=0)
        offsets[spread] = np.clip(shift[drawn, inverse], -1, 1)
        return offsets, modes

    def decode(self, offsets: np.ndarray, modes: np.ndarray) -> np.ndarray:
        """Floats on the column's grid and within its bounds, NaN for missing, shape (n,)."""
        return self.marginal.snap(self.means[modes] + offsets * self.reach[modes])


class TableModes:
    """A table as offsets, shape (rows, numbers), and codes, shape (rows, columns): `sizes` codes
    for each column.

    Only codes that occur in the fitted table exist, so what is never missing is never drawn
    missing. Beyond `max_levels` the rarest labels of a column share a code and are drawn by their
    shares.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        schema: Schema,
        components: int,
        min_weight: float,
        max_levels: int,
        number: type = NumberModes,
    ):
        self.schema = schema
        self.labels = [column.name for column in schema.columns if column.is_discrete]
        self._codes = Codes(
            table, Schema(tuple(map(schema.__getitem__, self.labels))), max_levels=max_levels
        )
        self._used = [np.unique(self._codes.encode_column(table[name])) for name in self.labels]
        self.levels = {name: table[name].drop_duplicates() for name in self.labels}
        self.numbers = {
            column.name: number(to_float(table[column.name]), components, min_weight)
            for column in schema.columns
            if not column.is_discrete
        }
        # Only codes that occur are kept: a level that train lacks must not be drawn.
        used = dict(zip(self.labels, map(len, self._used), strict=True))
        self.sizes = [
            used[name] if name in used else self.numbers[name].size for name in schema.names
        ]
        # Of a row: its offsets, and a one-hot block for every column.
        self.size = len(self.numbers) + sum(self.sizes)

    def encode(
        self, table: pd.DataFrame, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Offsets, float32, and codes, int64."""
        codes = np.empty((len(table), len(self.sizes)), dtype=np.int64)
        offsets = np.empty((len(table), len(self.numbers)), dtype=np.float32)
        for j, name in enumerate(self.schema.names):
            if name in self.numbers:
                i = list(self.numbers).index(name)
                offsets[:, i], codes[:, j] = self.numbers[name].encode(to_float(table[name]), rng)
            else:
                codes[:, j] = self.label_codes(table[name])
        return offsets, codes

    def label_codes(self, values: pd.Series) -> np.ndarray:
        """Codes of values that the fitted table has in this label column, shape (n,)."""
        return np.searchsorted(
            self._used[self.labels.index(values.name)], self._codes.encode_column(values)
        )

    def requested(self, where: Mapping) -> list[pd.Series]:
        """The values that conditions on label columns name, one row each; none for a label the
        fitted table lacks.
        """
        levels = [self.levels[name] for name in where if name in self.levels]
        found = [
            level[matches(level.to_frame(), self.schema, {level.name: where[level.name]})]
            for level in levels
        ]
        return [value for value in found if len(value)]

    def decode(
        self,
        offsets: np.ndarray,
        codes: np.ndarray,
        rng: np.random.Generator,
        requested: Iterable[pd.Series] = (),
    ) -> pd.DataFrame:
        """A table. Where labels share a code, `requested` is taken for all of them."""
        position = {name: j for j, name in enumerate(self.schema.names)}
        columns = {}
        if self.labels:
            labels = [
                used[codes[:, position[name]]]
                for name, used in zip(self.labels, self._used, strict=True)
            ]
            columns.update(self._codes.decode(np.column_stack(labels), rng))
        for value in requested:
            shared = codes[:, position[value.name]] == self.label_codes(value)
            columns[value.name] = columns[value.name].mask(shared, value.iloc[0])
        for i, (name, modes) in enumerate(self.numbers.items()):
            columns[name] = from_float(
                modes.decode(offsets[:, i], codes[:, position[name]]), self.schema[name]
            )
        return pd.DataFrame(columns, columns=self.schema.names)
