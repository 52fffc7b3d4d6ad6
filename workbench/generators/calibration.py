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
from workbench.tables.schema import Column, Schema

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
# Width of a round's box: where a parameter is known exactly, something must still move with it
NARROWEST = 1e-3
# A statistic is reached up to this share of the simulated tables' range beyond it: they are
# finitely many
MARGIN = 0.2
MOVED = 0.5  # a statistic is moved by a parameter from this absolute rank correlation on
# In the place of a number's typical size
SHARE = -1.0
CORRELATION = -2.0


@dataclass(frozen=True)
class Statistic:
    """One number read off a table."""

    name: str  # words for a person
    scale: float  # SHARE, CORRELATION, or the typical size of a number in train
    value: float


@dataclass(frozen=True)
class _Axis:
    """Numbers of a table's rows that may be correlated with others."""

    name: str  # words for a person
    column: str
    values: np.ndarray


class Statistics:
    """What is read off a table, the same for train and for every simulated one.

    Numbers: quantiles; labels: shares of train's levels, or how often two rows share one; missing
    shares; for all pairs correlations of ranks and of levels. Calling it gives them as they are,
    `steady` on scales on which noise is about even.

    Parameters
    ----------
    train : pandas.DataFrame
        Its levels, and the typical sizes of its numbers, are those of all tables.
    schema : Schema

    Attributes
    ----------
    names : tuple of str
    real : numpy.ndarray, shape (names,)
        What train reads.
    is_correlation : numpy.ndarray of bool, shape (names,)
    """

    def __init__(self, train: pd.DataFrame, schema: Schema):
        self._schema = schema
        self._levels: dict[str, pd.Index] = {}
        self._sizes: dict[str, float] = {}
        for column in schema.columns:
            # Levels and sizes are train's: every simulated table is read by the same ruler.
            values = train[column.name].dropna()
            if column.is_discrete:
                by_label = values.value_counts().sort_index()
                commonest_first = by_label.sort_values(ascending=False, kind="stable")
                self._levels[column.name] = commonest_first.index
            else:
                size = float(np.median(np.abs(to_float(values)))) if len(values) else 0.0
                self._sizes[column.name] = size
        found = list(self._read(train))
        self.names = tuple(one.name for one in found)
        self.real = np.array([one.value for one in found], dtype=float)
        self._scales = np.array([one.scale for one in found])
        self.is_correlation = self._scales == CORRELATION

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        return np.array([one.value for one in self._read(table)], dtype=float)

    def steady(self, values: np.ndarray) -> np.ndarray:
        """Numbers by their inverse hyperbolic sine, shares by their angle, correlations by Fisher's
        z: (tables, names).
        """
        # Each scale has nearly the same noise everywhere, so that distances mean the same at both
        # ends.
        angle = 2 * np.arcsin(np.sqrt(np.clip(values, 0, 1)))
        z = np.arctanh(np.clip(values, -0.999, 0.999))
        size = np.arcsinh(values / self._scales)
        other = np.where(self.is_correlation, z, size)
        return np.where(self._scales == SHARE, angle, other)

    def _read(self, table: pd.DataFrame) -> Iterator[Statistic]:
        # Filled on the way through the columns, and correlated at the end.
        axes: list[_Axis] = []
        for column in self._schema.columns:
            values = table[column.name]
            yield Statistic(f"missing share of {column.name}", SHARE, values.isna().mean())
            if column.is_discrete:
                yield from self._read_labels(column.name, values, axes)
            else:
                yield from self._read_numbers(column, to_float(values), axes)
        yield from _correlations(axes)

    def _read_numbers(
        self, column: Column, numbers: np.ndarray, axes: list[_Axis]
    ) -> Iterator[Statistic]:
        """Quantiles of a column, and of the hours of dates; its ranks become axes."""
        # The hour of a day is a pattern of its own, which seconds since 1970 would hide.
        parts = {column.name: numbers}
        if column.kind == "datetime":
            parts[f"the hour of {column.name}"] = numbers % 86400 / 3600
        size = self._sizes[column.name] or 1.0
        for words, part in parts.items():
            is_held = ~np.isnan(part)
            cuts = np.full(len(LEVELS), np.nan)
            if is_held.any():
                cuts = np.quantile(part[is_held], LEVELS)
            for level, cut in zip(LEVELS, cuts, strict=True):
                yield Statistic(f"{level:.0%} quantile of {words}", size, cut)
            # A missing number has the middle rank, which moves no correlation.
            ranks = np.full(len(part), (is_held.sum() + 1) / 2)
            ranks[is_held] = rankdata(part[is_held])
            axes.append(_Axis(words, column.name, ranks))

    def _read_labels(self, name: str, values: pd.Series, axes: list[_Axis]) -> Iterator[Statistic]:
        """Shares of train's levels; the commonest ones become axes. Of many levels how often two
        rows share one.
        """
        levels = self._levels[name]
        if len(levels) > MOST_LABELS:
            counts = values.value_counts().to_numpy(dtype=float)
            n = counts.sum()
            # Unlike the number of distinct labels, this does not depend on how many rows there are.
            pairs = (counts * (counts - 1)).sum() / max(n * (n - 1), 1)
            yield Statistic(f"chance that two rows share their {name}", SHARE, pairs)
            largest = counts.max(initial=0) / len(values)
            yield Statistic(f"largest share in {name}", SHARE, largest)
            return
        for rank, level in enumerate(levels):
            is_level = (values == level).to_numpy(dtype=bool, na_value=False)
            yield Statistic(f"share of {name} = {level}", SHARE, is_level.mean())
            # The commonest level is what the others leave.
            if 0 < rank <= MOST_PAIRED:
                axes.append(_Axis(f"{name} = {level}", name, is_level.astype(float)))


def _correlations(axes: list[_Axis]) -> Iterator[Statistic]:
    """Of all pairs of axes that are not of one column."""
    if not axes:
        return
    # One product gives all correlations: hundreds of pairs of a simulated table are read each time.
    matrix = np.array([axis.values - axis.values.mean() for axis in axes])
    length = np.linalg.norm(matrix, axis=-1)
    correlation = matrix @ matrix.T / np.maximum(np.outer(length, length), 1e-12)
    for i, one in enumerate(axes):
        for j, other in enumerate(axes[:i]):
            if one.column != other.column:
                name = f"correlation of {other.name} and {one.name}"
                yield Statistic(name, CORRELATION, correlation[i, j])


@dataclass
class Posterior:
    """Weighted draws of the calibrated parameters, and what the simulated tables said."""

    draws: pd.DataFrame  # shape (kept, parameters)
    weights: np.ndarray  # shape (kept,), they add up to 1
    table: pd.DataFrame  # a row a parameter, see Simulation.posterior
    unreached: list[str]  # statistics of train outside those of all tables from the priors
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
    """Calibrate the parameters of a simulator to a table.

    Parameters
    ----------
    simulate : callable
        A table from values of all parameters.
    train : pandas.DataFrame
        The real table, whose columns `schema` names.
    schema : Schema
    priors : mapping of str to Prior
        Those not to be calibrated are drawn along.
    rng : numpy.random.Generator
    budget : int
        Simulated tables, in ROUNDS rounds, each rounded up to a power of two.
    keep : float
        Share of a round that is kept.
    strict : bool
        Whether a prior that excludes the data is an error, or a warning.

    Raises
    ------
    InputError
        Where a statistic of train lies outside all that the priors simulate and a parameter moves
        it: the prior excludes the data. Where no parameter moves it, the simulator cannot make it,
        and there is a warning.
    """
    # The others are drawn along, so that the result does not hang on one value of them.
    chosen = {name: prior for name, prior in priors.items() if prior.calibrated}
    if not chosen:
        raise InputError(
            'no parameter of the simulator is to be calibrated; set calibrate to "none".'
        )
    is_chosen = np.array([prior.calibrated for prior in priors.values()])
    # Read once: what is compared is the same for all rounds.
    statistics = Statistics(train, schema)
    real = statistics.steady(statistics.real)
    # A Sobol sequence is even only at powers of two.
    power = max(int(np.ceil(np.log2(budget / ROUNDS))), 1)
    ticks = iter(bar(range(ROUNDS << power), "calibrating", "simulation"))
    low = np.zeros(len(priors))
    high = np.ones(len(priors))
    for turn in range(ROUNDS):
        # Tables at levels of the priors spread evenly over the box.
        levels = low + (high - low) * qmc.Sobol(len(priors), rng=rng).random_base2(power)
        read = []
        for row, _ in zip(levels, ticks, strict=False):
            read.append(statistics(simulate(_at(priors, row))))
        raw = np.array(read)
        simulated = statistics.steady(raw)
        if turn == 0:
            unreached = _unreached(statistics, raw, levels[:, is_chosen], chosen, strict)
        # What no parameter moves, or no table has, says nothing about them.
        is_usable = np.isfinite(real) & np.isfinite(simulated).all(axis=0)
        is_usable &= simulated.min(axis=0) < simulated.max(axis=0)
        is_usable &= ~np.isin(statistics.names, unreached)
        if not is_usable.any():
            if turn:
                break  # all tables are alike by now: there is nothing left to learn
            raise InputError(
                "no statistic of train moves with a parameter that is to be calibrated; set"
                ' calibrate to "none".'
            )
        moved, weights = _regress(
            levels[:, is_chosen], simulated[:, is_usable], real[is_usable], keep
        )
        # The next round's box: where the best tables came from, and half as far again on both
        # sides.
        spread = np.maximum(np.ptp(moved, axis=0), NARROWEST) / 2
        low[is_chosen] = np.maximum(moved.min(axis=0) - spread, 0)
        high[is_chosen] = np.minimum(moved.max(axis=0) + spread, 1)
    # From levels between 0 and 1 back to the parameters' own units.
    draws = pd.DataFrame([_at(chosen, row) for row in moved])
    table = _intervals(chosen, moved, weights)
    return Posterior(draws, weights, table, unreached, (turn + 1) << power)


def _intervals(priors: Mapping[str, Prior], moved: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """A row a parameter: the ends of its prior, its 95% interval and median, and how much of the
    prior is left.
    """
    # Weighted draws: an unweighted quantile would count far tables as much as near ones.
    cuts = np.quantile(moved, [0.025, 0.5, 0.975], axis=0, weights=weights, method="inverted_cdf")
    rows = []
    for (name, prior), cut in zip(priors.items(), cuts.T, strict=True):
        low, median, high = cut
        rows.append(
            {
                "parameter": name,
                "unit": prior.unit,
                "prior_low": prior.low,
                "prior_high": prior.high,
                "low": prior.at(low),
                "median": prior.at(median),
                "high": prior.at(high),
                "width_left": (high - low) / 0.95,
            }
        )
    return pd.DataFrame(rows)


def _regress(
    levels: np.ndarray, simulated: np.ndarray, real: np.ndarray, keep: float
) -> tuple[np.ndarray, np.ndarray]:
    """The kept parameters (levels in their priors, shape (tables, parameters)), moved to where the
    real statistics are, and their weights.
    """
    # Standardised by the simulated tables: statistics of all units are weighed alike.
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
    # How far each table is from the real one, in each parameter.
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

    # Few statistics a parameter: a regression on hundreds would fit noise.
    tables, statistics = simulated.shape
    most = min(READ, max(tables // TABLES, 1), statistics)
    with warnings.catch_warnings():
        # Statistics that repeat another end the pursuit early, as they should.
        warnings.simplefilter("ignore")
        path = orthogonal_mp(simulated, target, n_nonzero_coefs=most, return_path=True)
    # To pick none is a choice as well: then nothing is known of the parameter.
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
    from sklearn.model_selection import KFold

    line = LinearRegression()
    unseen = np.empty(len(target))
    # By hand: cross_val_predict says the same in several times as long.
    for seen, held in KFold(min(5, len(target))).split(picked):
        unseen[held] = line.fit(picked[seen], target[seen]).predict(picked[held])
    return unseen, line.fit(picked, target).predict(real[None])[0]


def _unreached(
    statistics: Statistics,
    simulated: np.ndarray,
    levels: np.ndarray,
    priors: Mapping[str, Prior],
    strict: bool,
) -> list[str]:
    """Names of the statistics in which train lies outside all simulated tables, with a warning or
    an InputError.
    """
    # The real value and what was reached, on the same scales.
    ends = np.array([simulated.min(axis=0), simulated.max(axis=0), statistics.real])
    low, high, real = statistics.steady(ends)
    margin = MARGIN * (high - low)
    outside = np.flatnonzero((real < low - margin) | (real > high + margin))
    # Correlations are left out: a structure that the simulator lacks is no matter of a prior.
    blamed = (margin[outside] > 0) & ~statistics.is_correlation[outside]
    for index in outside[blamed]:
        values = simulated[:, index]
        # Ranks, because a parameter may move a statistic along any curve.
        ranks = rankdata(values)
        strengths = [abs(np.corrcoef(rankdata(level), ranks)[0, 1]) for level in levels.T]
        if max(strengths) < max(MOVED, 4 / np.sqrt(len(simulated))):
            continue
        name, prior = list(priors.items())[int(np.argmax(strengths))]
        text = (
            f"the prior of {name!r} ({prior.low:g} to {prior.high:g}, {prior.unit}) excludes the"
            f" data: the {statistics.names[index]} is {statistics.real[index]:.4g} in train and"
            f" from {values.min():.4g} to {values.max():.4g} in {len(simulated)} tables simulated"
            " from the priors; widen it, or see whether both mean the same unit."
        )
        if strict:
            raise InputError(text)
        warnings.warn(text, stacklevel=2)
    return [statistics.names[index] for index in outside]


def _at(priors: Mapping[str, Prior], levels: np.ndarray) -> dict[str, float]:
    return {name: prior.at(u) for (name, prior), u in zip(priors.items(), levels, strict=True)}
