"""Approximate Bayesian computation: which parameters make a simulator's tables look like a real one.

    1  draw parameters from their priors (a scrambled Sobol sequence), simulate a table for each
    2  describe every table by the same statistics: quantiles, shares, associations of pairs
    3  condense these to one number a parameter, what a regression predicts of it (Fearnhead and Prangle 2012) from the few
       statistics that orthogonal matching pursuit picks: a parameter is then not read off what the simulator gets wrong
    4  keep the tables nearest to the real one, move their parameters along a local linear regression and weight them
       (Beaumont, Zhang and Balding 2002)
    5  narrow the priors to where these came from (Blum and Francois 2010), and do all of it again, four times in all

On numpy, scipy and scikit-learn. Of the kept libraries for this, sbi (neural posteriors) would bring ten packages, tensorboard
and grpcio among them, and pyABC (sequential Monte Carlo) six, among them clients of Redis and git; a simulated table costs
milliseconds here, and its statistics move nearly linearly with the parameters, which is what this old method is good at.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import qmc, rankdata

from workbench.encode import to_float
from workbench.schema import InputError, Schema
from workbench.simulators import Prior

ROUNDS = 4  # in each of which a share of the tables is simulated
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of a number
MOST_LABELS = 20  # levels whose shares are read; of a column with more, how many there are
MOST_PAIRED = 5  # levels whose associations with other columns are read
READ = 10  # most statistics that a parameter is read off
LEAST = 60  # draws that are kept, whatever share was asked for
MARGIN = 0.2  # a statistic is reached up to this share of the simulated tables' range beyond it: they are finitely many
TIED = 0.5  # a statistic is moved by a parameter from this absolute rank correlation on


class Statistics:
    """What is read off a table, the same for train and for every simulated one. `names` are words for a person.

    Numbers: quantiles; labels: shares of train's levels, or how many distinct ones; missing shares; for all pairs correlations
    of ranks and of levels. Calling it gives them as they are, `steady` on scales on which noise is about even.
    """

    def __init__(self, train: pd.DataFrame, schema: Schema):
        self._schema = schema
        self._levels, self._scale = {}, {}
        for column in schema.columns:
            values = train[column.name].dropna()
            if column.is_discrete:
                self._levels[column.name] = values.value_counts().sort_index().sort_values(ascending=False, kind="stable").index
            else:
                numbers = to_float(values)
                self._scale[column.name] = float(np.median(np.abs(numbers))) if len(numbers) else 1.0
        self.names, kinds = [], []
        for name, kind, _ in self._read(train):
            self.names.append(name)
            kinds.append(kind)
        self._kinds = np.array(kinds, dtype=object)
        self.is_tie = self._kinds == "tie"
        self._scales = np.array([self._scale.get(kind, 1.0) or 1.0 for kind in kinds])

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        return np.array([value for _, _, value in self._read(table)], dtype=float)

    def steady(self, values: np.ndarray) -> np.ndarray:
        """Numbers by their inverse hyperbolic sine, shares by their angle, correlations by Fisher's z: (tables, names)."""
        share, tie = self._kinds == "share", self.is_tie
        angle = 2 * np.arcsin(np.sqrt(np.clip(values, 0, 1)))
        return np.where(
            share, angle, np.where(tie, np.arctanh(np.clip(values, -0.999, 0.999)), np.arcsinh(values / self._scales))
        )

    def _read(self, table: pd.DataFrame) -> Iterable[tuple[str, str, float]]:
        """Name, kind ("share", "tie", or the column whose unit it has) and value of each statistic."""
        axes = {}
        for column in self._schema.columns:
            name, values = column.name, table[column.name]
            missing = values.isna().to_numpy()
            yield f"missing share of {name}", "share", missing.mean()
            if column.is_discrete:
                levels = self._levels[name]
                if len(levels) > MOST_LABELS:
                    yield f"distinct labels of {name}, by row", "share", values.nunique() / len(values)
                    yield f"largest share in {name}", "share", (~missing).sum() and values.value_counts().iloc[0] / len(values)
                    continue
                for rank, level in enumerate(levels):
                    is_level = (values == level).to_numpy(dtype=bool, na_value=False)
                    yield f"share of {name} = {level}", "share", is_level.mean()
                    if 0 < rank <= MOST_PAIRED:
                        axes[f"{name} = {level}"] = (name, is_level.astype(float))
                continue
            for label, numbers in _numbers(values, column.kind):
                present = numbers[~np.isnan(numbers)]
                quantiles = np.quantile(present, LEVELS) if len(present) else np.full(len(LEVELS), np.nan)
                for level, value in zip(LEVELS, quantiles, strict=True):
                    yield f"{level:.0%} quantile of {label}{name}", name, value
                ranks = np.full(len(numbers), (len(present) + 1) / 2)
                ranks[~np.isnan(numbers)] = rankdata(present)
                axes[label + name] = (name, ranks)
        if len(axes) > 1:
            matrix = np.array([axis for _, axis in axes.values()])
            matrix = matrix - matrix.mean(axis=1, keepdims=True)
            length = np.sqrt((matrix**2).sum(axis=1))
            ties = matrix @ matrix.T / np.maximum(np.outer(length, length), 1e-12)
            columns = list(axes)
            for i, one in enumerate(columns):
                for j in range(i):
                    if axes[one][0] != axes[columns[j]][0]:
                        yield f"correlation of {columns[j]} and {one}", "tie", ties[i, j]


def _numbers(values: pd.Series, kind: str) -> list[tuple[str, np.ndarray]]:
    """The column as numbers, and of a date with a time of day the hour too."""
    numbers = to_float(values)
    if kind != "datetime":
        return [("", numbers)]
    return [("", numbers), ("the hour of ", (numbers % 86400) / 3600)]


@dataclass
class Posterior:
    """Weighted draws of the calibrated parameters, and what the simulated tables told."""

    draws: pd.DataFrame  # shape (kept, parameters)
    weights: np.ndarray  # shape (kept,), they add up to 1
    table: pd.DataFrame  # a row a parameter, see Simulation.posterior
    unreached: list[str]  # statistics of train outside those of all tables simulated from the priors
    simulations: int

    @property
    def effective(self) -> float:
        """How many draws of equal weight the weighted ones are worth (Kish 1965)."""
        return float(1 / (self.weights**2).sum())


def calibrate(
    simulate: Callable[[Mapping[str, float]], pd.DataFrame],
    train: pd.DataFrame,
    schema: Schema,
    priors: Mapping[str, Prior],
    rng: np.random.Generator,
    budget: int = 2048,
    keep: float = 0.25,
    strict: bool = True,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Posterior:
    """Calibrate the parameters to `train`, whose columns `schema` names; those not to be calibrated are drawn along.

    budget: simulated tables, in ROUNDS rounds, each rounded up to a power of two. keep: share of a round that is kept.
    Raises InputError where a statistic of train lies outside all that the priors simulate and a parameter moves it: the prior
    excludes the data (a warning where not strict, or where no parameter moves it: then the simulator cannot make it).
    """
    which = np.array([prior.calibrated for prior in priors.values()])
    chosen = {name: prior for name, prior in priors.items() if prior.calibrated}
    statistics = Statistics(train, schema)
    real = statistics.steady(statistics(train)[None])[0]
    power = max(int(np.ceil(np.log2(budget / ROUNDS))), 1)
    steps = iter(progress(range(ROUNDS * 2**power)))
    low, high, unreached = np.zeros(len(priors)), np.ones(len(priors)), None
    for _ in range(ROUNDS):
        levels = low + (high - low) * qmc.Sobol(len(priors), rng=rng).random_base2(power)
        raw = np.array([statistics(simulate(_at(priors, row))) for row, _ in zip(levels, steps, strict=False)])
        made = statistics.steady(raw)
        if unreached is None:
            unreached = _unreached(statistics, train, raw, levels[:, which], chosen, strict)
        finite = np.isfinite(real) & np.isfinite(made).all(axis=0)
        usable = finite & ~np.isin(statistics.names, unreached) & (made.min(axis=0) < made.max(axis=0))
        if not chosen or not usable.any():
            raise InputError("no statistic of train moves with a parameter that is to be calibrated; set calibrate to none.")
        moved, weights = _regress(levels[:, which], made[:, usable], real[usable], keep)
        # The next round's box: where the best tables came from, and half as far again on both sides.
        spread = np.ptp(moved, axis=0) / 2
        low[which] = np.maximum(moved.min(axis=0) - spread, 0)
        high[which] = np.minimum(moved.max(axis=0) + spread, 1)
    next(steps, None)
    draws = pd.DataFrame([_at(chosen, row) for row in moved], columns=list(chosen))
    return Posterior(draws, weights, _summary(draws, weights, chosen, moved), unreached, ROUNDS * 2**power)


def _regress(y: np.ndarray, made: np.ndarray, real: np.ndarray, keep: float) -> tuple[np.ndarray, np.ndarray]:
    """The kept parameters y (levels in their priors), moved to where the real statistics are, and their weights."""
    from sklearn.linear_model import LinearRegression, orthogonal_mp
    from sklearn.model_selection import cross_val_predict

    center, scale = made.mean(axis=0), made.std(axis=0)
    made, real, centered = (made - center) / scale, (real - center) / scale, y - y.mean(axis=0)
    told, meant, line = np.empty(y.shape), np.empty(y.shape[1]), LinearRegression()
    for j, target in enumerate(centered.T):
        path = orthogonal_mp(made, target, n_nonzero_coefs=min(READ, made.shape[1]), return_path=True)
        path = path.reshape(made.shape[1], -1)
        left = ((target[:, None] - made @ path) ** 2).sum(axis=0)
        # One more is picked only if noise would hardly help as much (the extended criterion of Chen and Chen 2008).
        cost = np.arange(1, len(left) + 1) * (np.log(len(y)) + 2 * np.log(made.shape[1]))
        picked = np.flatnonzero(path[:, np.argmin(len(y) * np.log(left + 1e-12) + cost)])
        # Predictions for tables that the regression has not seen, as it has not seen the real one.
        told[:, j] = cross_val_predict(line, made[:, picked], target, cv=min(5, len(y)))
        meant[j] = line.fit(made[:, picked], target).predict(real[None, picked])[0]
    offset = told - np.clip(meant, told.min(axis=0), told.max(axis=0))  # no further than any simulated table
    distance = np.linalg.norm(offset / np.maximum((centered - told).std(axis=0), 1e-12), axis=1)
    # At least LEAST: fewer draws have no 2.5 percent quantile to speak of.
    kept = np.argsort(distance, kind="stable")[: max(int(keep * len(y)), min(LEAST, len(y)))]
    weights = 1 - (distance[kept] / distance[kept].max()) ** 2 * (1 - 1e-9)
    # Each parameter along its own prediction only: what another one is misread by must not move it.
    offset, y, w = offset[kept], y[kept], weights[:, None] / weights.sum()
    x = offset - (w * offset).sum(axis=0)
    slope = (w * x * y).sum(axis=0) / np.maximum((w * x**2).sum(axis=0), 1e-12)
    return np.clip(y - offset * slope, 0, 1), weights / weights.sum()


def _unreached(
    statistics: Statistics,
    train: pd.DataFrame,
    made: np.ndarray,
    levels: np.ndarray,
    priors: Mapping[str, Prior],
    strict: bool,
) -> list[str]:
    """Names of the statistics in which train lies outside all simulated tables, with a warning or an InputError."""
    real, ranks = statistics(train), rankdata(levels, axis=0)
    low, high = made.min(axis=0), made.max(axis=0)
    ends, (at,) = statistics.steady(np.array([low, high])), statistics.steady(real[None])
    margin = MARGIN * (ends[1] - ends[0])
    outside = np.flatnonzero((at < ends[0] - margin) | (at > ends[1] + margin))
    # Correlations are left out: a structure that the simulator lacks is no matter of a prior.
    for index in outside[(margin[outside] > 0) & ~statistics.is_tie[outside]]:
        ties = [abs(np.corrcoef(rank, rankdata(made[:, index]))[0, 1]) for rank in ranks.T]
        if not ties or max(ties) < max(TIED, 4 / np.sqrt(len(made))):
            continue
        name, prior = list(priors.items())[int(np.argmax(ties))]
        text = (
            f"the prior of {name!r} ({prior.low:g} to {prior.high:g}, {prior.unit}) excludes the data: the "
            f"{statistics.names[index]} is {real[index]:.4g} in train and from {low[index]:.4g} to {high[index]:.4g} in "
            f"{len(made)} tables simulated from the priors; widen it, or see whether both mean the same unit."
        )
        if strict:
            raise InputError(text)
        warnings.warn(text, stacklevel=2)
    return [statistics.names[index] for index in outside]


def _summary(draws: pd.DataFrame, weights: np.ndarray, priors: Mapping[str, Prior], levels: np.ndarray) -> pd.DataFrame:
    rows = []
    for i, (name, prior) in enumerate(priors.items()):
        low, median, high = np.quantile(draws[name], [0.025, 0.5, 0.975], weights=weights, method="inverted_cdf")
        ends = np.quantile(levels[:, i], [0.025, 0.975], weights=weights, method="inverted_cdf")
        rows.append((name, prior.unit, prior.low, prior.high, low, median, high, np.ptp(ends) / 0.95))
    return pd.DataFrame(rows, columns=["parameter", "unit", "prior_low", "prior_high", "low", "median", "high", "width_left"])


def _at(priors: Mapping[str, Prior], levels: np.ndarray) -> dict[str, float]:
    return {name: prior.at(u) for (name, prior), u in zip(priors.items(), levels, strict=True)}
