"""Approximate Bayesian computation: which parameters make a simulator's tables look like a real
one.

    1  draw parameters from their priors (a scrambled Sobol sequence), simulate a table for each
    2  describe every table by the same statistics: quantiles, shares, associations of pairs
    3  condense these to one number a parameter, what a regression predicts of it (Fearnhead and
       Prangle 2012) from the few statistics that orthogonal matching pursuit picks: a parameter is
       then not read off what the simulator gets wrong
    4  keep the tables nearest to the real one, move their parameters along a local linear
       regression and weight them (Beaumont, Zhang and Balding 2002)
    5  narrow the priors to where these came from (Blum and Francois 2010), and do all of it again,
       four times in all

On numpy, scipy and scikit-learn. Of the kept libraries for this, sbi (neural posteriors) would
bring ten packages, tensorboard and grpcio among them, and pyABC (sequential Monte Carlo) six, among
them clients of Redis and git; a simulated table costs milliseconds here, and its statistics move
nearly linearly with the parameters, which is what this old method is good at.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import qmc, rankdata

from workbench.errors import InputError
from workbench.generators.training import bar
from workbench.simulators import Prior
from workbench.tables.encode import to_float
from workbench.tables.schema import Schema

ROUNDS = 4  # in each of which a share of the tables is simulated
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of a number
MOST_LABELS = (
    20  # levels whose shares are read; of a column with more, how often two rows share one
)
MOST_PAIRED = 5  # levels whose associations with other columns are read
READ = 10  # most statistics that a parameter is read off
# Least tables for each of them: with fewer, hundreds of statistics to pick from fit anything
TABLES = 10
LEAST = 60  # draws that are kept, whatever share was asked for
# Width of a round's box: where a parameter is told exactly, something must still move with it
NARROWEST = 1e-3
# A statistic is reached up to this share of the simulated tables' range beyond it: they are
# finitely many
MARGIN = 0.2
TIED = 0.5  # a statistic is moved by a parameter from this absolute rank correlation on
SHARE, TIE = -1.0, -2.0  # in the place of a number's typical size


class Statistics:
    """What is read off a table, the same for train and for every simulated one; `real` is what
    train reads.

    Numbers: quantiles; labels: shares of train's levels, or how often two rows share one; missing
    shares; for all pairs correlations of ranks and of levels. Calling it gives them as they are,
    `steady` on scales on which noise is about even.
    """

    def __init__(self, train: pd.DataFrame, schema: Schema):
        self._schema, self._levels, self._sizes = schema, {}, {}
        for column in schema.columns:
            values = train[column.name].dropna()
            if column.is_discrete:
                self._levels[column.name] = (
                    values.value_counts()
                    .sort_index()
                    .sort_values(ascending=False, kind="stable")
                    .index
                )
            else:
                self._sizes[column.name] = (
                    float(np.median(np.abs(to_float(values)))) if len(values) else 0.0
                )
        self.names, scales, real = zip(
            *self._read(train), strict=True
        )  # names are words for a person
        self._scales, self.real = np.array(scales), np.array(real, dtype=float)
        self.is_tie = self._scales == TIE

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        return np.array([value for _, _, value in self._read(table)], dtype=float)

    def steady(self, values: np.ndarray) -> np.ndarray:
        """Numbers by their inverse hyperbolic sine, shares by their angle, correlations by Fisher's
        z: (tables, names).
        """
        angle = 2 * np.arcsin(np.sqrt(np.clip(values, 0, 1)))
        other = np.where(
            self.is_tie,
            np.arctanh(np.clip(values, -0.999, 0.999)),
            np.arcsinh(values / self._scales),
        )
        return np.where(self._scales == SHARE, angle, other)

    def _read(self, table: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
        """Name, scale (SHARE, TIE, or the typical size of a number in train) and value of each
        statistic.
        """
        axes = []  # name, column, values: what may be correlated
        for column in self._schema.columns:
            name, values = column.name, table[column.name]
            yield f"missing share of {name}", SHARE, values.isna().mean()
            if column.is_discrete:
                yield from self._read_labels(name, values, axes)
                continue
            numbers = to_float(values)
            parts = {name: numbers} | (
                {f"the hour of {name}": numbers % 86400 / 3600} if column.kind == "datetime" else {}
            )
            for words, numbers in parts.items():
                held = ~np.isnan(numbers)
                cuts = (
                    np.quantile(numbers[held], LEVELS)
                    if held.any()
                    else np.full(len(LEVELS), np.nan)
                )
                yield from (
                    (f"{level:.0%} quantile of {words}", self._sizes[name] or 1.0, cut)
                    for level, cut in zip(LEVELS, cuts, strict=True)
                )
                ranks = np.full(len(numbers), (held.sum() + 1) / 2)
                ranks[held] = rankdata(numbers[held])
                axes.append((words, name, ranks))
        matrix = np.array([values - values.mean() for _, _, values in axes])
        length = np.linalg.norm(matrix, axis=-1)
        ties = matrix @ matrix.T / np.maximum(np.outer(length, length), 1e-12) if axes else matrix
        for i, (one, column, _) in enumerate(axes):
            yield from (
                (f"correlation of {other} and {one}", TIE, ties[i, j])
                for j, (other, another, _) in enumerate(axes[:i])
                if column != another
            )

    def _read_labels(
        self, name: str, values: pd.Series, axes: list
    ) -> Iterator[tuple[str, float, float]]:
        levels = self._levels[name]
        if len(levels) > MOST_LABELS:
            counts = values.value_counts().to_numpy(dtype=float)
            n = counts.sum()
            # Unlike the number of distinct labels, this does not depend on how many rows there are.
            yield (
                f"chance that two rows share their {name}",
                SHARE,
                (counts * (counts - 1)).sum() / max(n * (n - 1), 1),
            )
            yield f"largest share in {name}", SHARE, counts.max(initial=0) / len(values)
            return
        for rank, level in enumerate(levels):
            is_level = (values == level).to_numpy(dtype=bool, na_value=False)
            yield f"share of {name} = {level}", SHARE, is_level.mean()
            if 0 < rank <= MOST_PAIRED:
                axes.append((f"{name} = {level}", name, is_level.astype(float)))


@dataclass
class Posterior:
    """Weighted draws of the calibrated parameters, and what the simulated tables told."""

    draws: pd.DataFrame  # shape (kept, parameters)
    weights: np.ndarray  # shape (kept,), they add up to 1
    table: pd.DataFrame  # a row a parameter, see Simulation.posterior
    unreached: list[
        str
    ]  # statistics of train outside those of all tables simulated from the priors
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
    budget: int,
    keep: float,
    strict: bool,
) -> Posterior:
    """Calibrate the parameters to `train`, whose columns `schema` names; those not to be calibrated
    are drawn along.

    budget: simulated tables, in ROUNDS rounds, each rounded up to a power of two. keep: share of a
    round that is kept. Raises InputError where a statistic of train lies outside all that the
    priors simulate and a parameter moves it: the prior excludes the data (a warning where not
    strict, or where no parameter moves it: then the simulator cannot make it).
    """
    chosen = {name: prior for name, prior in priors.items() if prior.calibrated}
    if not chosen:
        raise InputError(
            'no parameter of the simulator is to be calibrated; set calibrate to "none".'
        )
    which = np.array([prior.calibrated for prior in priors.values()])
    statistics = Statistics(train, schema)
    real = statistics.steady(statistics.real)
    power = max(int(np.ceil(np.log2(budget / ROUNDS))), 1)
    steps = iter(bar(range(ROUNDS << power), "calibrating", "simulation"))
    low, high = np.zeros(len(priors)), np.ones(len(priors))
    for turn in range(ROUNDS):
        levels = low + (high - low) * qmc.Sobol(len(priors), rng=rng).random_base2(power)
        raw = np.array(
            [statistics(simulate(_at(priors, row))) for row, _ in zip(levels, steps, strict=False)]
        )
        made = statistics.steady(raw)
        if turn == 0:
            unreached = _unreached(statistics, raw, levels[:, which], chosen, strict)
        usable = (
            np.isfinite(real)
            & np.isfinite(made).all(axis=0)
            & (made.min(axis=0) < made.max(axis=0))
        )
        usable &= ~np.isin(statistics.names, unreached)
        if not usable.any():
            if turn:
                break  # all tables are alike by now: there is nothing left to learn
            raise InputError(
                "no statistic of train moves with a parameter that is to be calibrated; set"
                ' calibrate to "none".'
            )
        moved, weights = _regress(levels[:, which], made[:, usable], real[usable], keep)
        # The next round's box: where the best tables came from, and half as far again on both
        # sides.
        spread = np.maximum(np.ptp(moved, axis=0), NARROWEST) / 2
        low[which] = np.maximum(moved.min(axis=0) - spread, 0)
        high[which] = np.minimum(moved.max(axis=0) + spread, 1)
    cuts = np.quantile(moved, [0.025, 0.5, 0.975], axis=0, weights=weights, method="inverted_cdf")
    rows = [
        (name, prior.unit, prior.low, prior.high, *map(prior.at, cut), (cut[2] - cut[0]) / 0.95)
        for (name, prior), cut in zip(chosen.items(), cuts.T, strict=True)
    ]
    columns = [
        "parameter",
        "unit",
        "prior_low",
        "prior_high",
        "low",
        "median",
        "high",
        "width_left",
    ]
    draws = pd.DataFrame([_at(chosen, row) for row in moved])
    return Posterior(
        draws, weights, pd.DataFrame(rows, columns=columns), unreached, (turn + 1) << power
    )


def _regress(
    levels: np.ndarray, simulated: np.ndarray, real: np.ndarray, keep: float
) -> tuple[np.ndarray, np.ndarray]:
    """The kept parameters (levels in their priors, shape (tables, parameters)), moved to where the
    real statistics are, and their weights.
    """
    center, scale = simulated.mean(axis=0), simulated.std(axis=0)
    simulated = (simulated - center) / scale
    real = (real - center) / scale
    centered = levels - levels.mean(axis=0)
    predicted = np.zeros(levels.shape)
    at_real = np.zeros(levels.shape[1])
    for j, target in enumerate(centered.T):
        picked = _informative(simulated, target)
        if len(picked):
            predicted[:, j], at_real[j] = _predict(simulated[:, picked], target, real[picked])
    # No further than any simulated table.
    nearest_real = np.clip(at_real, predicted.min(axis=0), predicted.max(axis=0))
    offset = predicted - nearest_real
    residual = (centered - predicted).std(axis=0)
    distance = np.linalg.norm(offset / np.maximum(residual, 1e-12), axis=1)
    # At least LEAST: fewer draws have no 2.5 percent quantile to speak of.
    count = max(int(keep * len(levels)), min(LEAST, len(levels)))
    kept = np.argsort(distance, kind="stable")[:count]
    # Epanechnikov's kernel: the farthest kept table has almost no weight.
    relative = distance[kept] / max(distance[kept].max(), 1e-300)
    weights = 1 - relative**2 * (1 - 1e-9)
    # Each parameter along its own prediction only: what another one is misread by must not move it.
    offset, levels = offset[kept], levels[kept]
    shares = weights[:, None] / weights.sum()
    x = offset - (shares * offset).sum(axis=0)
    slope = (shares * x * levels).sum(axis=0) / np.maximum((shares * x**2).sum(axis=0), 1e-12)
    return np.clip(levels - offset * slope, 0, 1), weights / weights.sum()


def _informative(simulated: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The few statistics (columns of `simulated`, standardised) that a parameter is read off."""
    from sklearn.linear_model import orthogonal_mp

    tables, statistics = simulated.shape
    most = min(READ, max(tables // TABLES, 1), statistics)
    with warnings.catch_warnings():
        # Statistics that repeat another end the pursuit early, as they should.
        warnings.simplefilter("ignore")
        path = orthogonal_mp(simulated, target, n_nonzero_coefs=most, return_path=True)
    # To pick none is a choice as well: then nothing tells the parameter.
    path = np.column_stack([np.zeros(statistics), path.reshape(statistics, -1)])
    left = ((target[:, None] - simulated @ path) ** 2).sum(axis=0)
    # One more is picked only if noise would hardly help as much (the extended criterion of Chen
    # and Chen 2008).
    cost = np.arange(len(left)) * (np.log(tables) + 2 * np.log(statistics))
    best = np.argmin(tables * np.log(left + 1e-12) + cost)
    return np.flatnonzero(path[:, best])


def _predict(picked: np.ndarray, target: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, float]:
    """What a regression on the picked statistics predicts of a parameter: for each simulated table
    by one that has not seen it, as none has seen the real one, and for the real one.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import cross_val_predict

    line = LinearRegression()
    unseen = cross_val_predict(line, picked, target, cv=min(5, len(target)))
    return unseen, line.fit(picked, target).predict(real[None])[0]


def _unreached(
    statistics: Statistics,
    made: np.ndarray,
    levels: np.ndarray,
    priors: Mapping[str, Prior],
    strict: bool,
) -> list[str]:
    """Names of the statistics in which train lies outside all simulated tables, with a warning or
    an InputError.
    """
    low, high, real = statistics.steady(
        np.array([made.min(axis=0), made.max(axis=0), statistics.real])
    )
    margin = MARGIN * (high - low)
    outside = np.flatnonzero((real < low - margin) | (real > high + margin))
    # Correlations are left out: a structure that the simulator lacks is no matter of a prior.
    for index in outside[(margin[outside] > 0) & ~statistics.is_tie[outside]]:
        values = made[:, index]
        ties = [abs(np.corrcoef(rankdata(level), rankdata(values))[0, 1]) for level in levels.T]
        if max(ties) < max(TIED, 4 / np.sqrt(len(made))):
            continue
        name, prior = list(priors.items())[int(np.argmax(ties))]
        text = (
            f"the prior of {name!r} ({prior.low:g} to {prior.high:g}, {prior.unit}) excludes the"
            f" data: the {statistics.names[index]} is {statistics.real[index]:.4g} in train and"
            f" from {values.min():.4g} to {values.max():.4g} in {len(made)} tables simulated from"
            " the priors; widen it, or see whether both mean the same unit."
        )
        if strict:
            raise InputError(text)
        warnings.warn(text, stacklevel=2)
    return [statistics.names[index] for index in outside]


def _at(priors: Mapping[str, Prior], levels: np.ndarray) -> dict[str, float]:
    return {name: prior.at(u) for (name, prior), u in zip(priors.items(), levels, strict=True)}
