"""How many real rows would have bought the same: learning curves and the real-row equivalent of a
synthetic table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.metrics import Trial
from workbench.metrics.intervals import LEVELS
from workbench.metrics.models import LEARNERS, predictions
from workbench.metrics.utility import score, unscorable
from workbench.tables.datasets import Dataset

QUALITIES = ("utility_ratio", "pair_trends")


# Of the power laws that are tried; learning curves decay at 0.3 to 1 as a rule.
EXPONENTS = np.linspace(0.05, 2, 79)


REPEATS = 500


@dataclass(frozen=True)
class Scores:
    """Scores of learners on the same real test rows, one for each training table.

    values: shape (..., k), k tables alike but for their random draw (higher is better: ROC AUC, or
    R2 of numbers). influence: shape (..., k, n), how each of n test rows moves a score; None where
    test rows count as fixed.
    """

    values: np.ndarray
    influence: np.ndarray | None = None


@dataclass(frozen=True)
class Curve:
    """Scores at `rows` real training rows: rows (s,), ascending; scores.values (s, k), a draw in
    the same place of each row.
    """

    rows: np.ndarray
    scores: Scores


@dataclass(frozen=True)
class Equivalent:
    """Real rows worth a score, with a 95% interval: 0 is less than the curve's first size, infinity
    more than its last.
    """

    value: float
    low: float
    high: float
    first: int
    last: int

    def __str__(self) -> str:
        value, low, high = map(self._in_words, (self.value, self.low, self.high))
        return f"{value} real rows" + ("" if low == high else f" ({low} to {high})")

    def _in_words(self, end: float) -> str:
        if end < self.first:
            return f"less than {self.first:,}"
        return f"{end:,.0f}" if end <= self.last else f"more than {self.last:,}"


def score_tables(data: Dataset, tables: Iterable[pd.DataFrame], seed: int = 0) -> Scores:
    """The mean score over the learners of TSTR, each trained on each table, on the real test rows.

    Raises InputError where the table has no target, or test holds one value of it.
    """
    data = data.modelled
    trial = Trial(data.train, data.test, data.train, data.schema, seed)
    if reason := unscorable(trial):
        raise InputError(f"no score to buy: {reason}")
    found = []
    for table in tables:
        each = [
            score(trial, predictions(table, data.test, data.schema, learner, seed))
            for learner in LEARNERS
        ]
        found.append([np.mean(part, axis=0) for part in zip(*each, strict=True)])
    return Scores(
        np.array([value for value, _ in found]), np.array([influence for _, influence in found])
    )


def subset(data: Dataset, rows: int, draw: int, seed: int = 0) -> pd.DataFrame:
    """So many train rows without replacement; those of a draw are nested, so that a larger subset
    holds the smaller ones.
    """
    order = np.random.default_rng([seed, draw]).permutation(len(data.train))
    return data.train.iloc[order[:rows]].reset_index(drop=True)


def learning_curve(
    data: Dataset,
    sizes: Sequence[int],
    draws: int = 8,
    seed: int = 0,
    progress: Callable[[list], Iterable] | None = None,
) -> Curve:
    """`score_tables` of learners trained on `draws` nested random subsets of train of each of
    `sizes` rows.

    progress wraps the list of steps as tqdm does. Raises InputError for fewer than three sizes, and
    ones that train lacks.
    """
    sizes, most = sorted(set(sizes)), len(data.train)
    if len(sizes) < 3 or sizes[0] < 2 or sizes[-1] > most or draws < 2:
        raise InputError(
            f"sizes {sizes}, {draws} draws: give three sizes or more, from 2 to {most:,}, and two"
            " draws or more."
        )
    steps = [(size, draw) for size in sizes for draw in range(draws)]
    found = [
        score_tables(data, [subset(data, size, draw, seed)], seed)
        for size, draw in (progress(steps) if progress else steps)
    ]
    values = np.concatenate([one.values for one in found])
    influence = np.concatenate([one.influence for one in found])
    shape = len(sizes), draws
    return Curve(np.array(sizes), Scores(values.reshape(shape), influence.reshape(*shape, -1)))


def power_law(rows: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b >= 0 and c of score(m) = a - b m^-c, the least squares over EXPONENTS, for means of
    shape (..., s); each (...).
    """
    x = rows[:, None] ** -EXPONENTS  # (s, exponents)
    x = x - (middle := x.mean(axis=0))
    b = np.maximum(-(means @ x) / (x**2).sum(axis=0), 0)
    a = means.mean(axis=-1, keepdims=True) + b * middle
    missed = (
        (means[..., None] - means.mean(axis=-1)[..., None, None] + b[..., None, :] * x) ** 2
    ).sum(axis=-2)
    best = missed.argmin(axis=-1)[..., None]
    return *(np.take_along_axis(part, best, -1)[..., 0] for part in (a, b)), EXPONENTS[best[..., 0]]


def equivalent(
    curve: Curve, scores: Scores, rng: np.random.Generator, repeats: int = REPEATS
) -> Equivalent:
    """The real rows at which the curve's power law reaches the mean of `scores`; never beyond the
    sizes that were measured.

    scores.values: shape (k,), k synthetic tables. The interval is a bootstrap of the curve's draws,
    of the synthetic tables (one of two or more fewer than there are is drawn, Rao and Wu 1988) and
    of the test rows, which both sides share. Known failure: the law is fitted to means, and a curve
    that is flat within noise has an interval from end to end.
    """
    first, last = curve.rows[[0, -1]]

    def equivalent_rows(means: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        a, b, c = power_law(curve.rows.astype(float), means)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rows = np.where(wanted < a, (b / np.maximum(a - wanted, 1e-300)) ** (1 / c), np.inf)
        return np.where(rows < first, 0.0, np.where(rows > last, np.inf, rows))

    def drawn(values: np.ndarray, moved: np.ndarray | float) -> np.ndarray:
        k = values.shape[-1]
        pick = rng.multinomial(max(k - 1, 1), np.full(k, 1 / k), size=repeats) / max(k - 1, 1)
        return np.einsum(
            "r...k,rk->r...", np.broadcast_to(values + moved, (repeats, *values.shape)), pick
        )

    both, moved = (curve.scores, scores), (0.0, 0.0)  # moved: by test rows drawn again
    if all(side.influence is not None for side in both):
        n = scores.influence.shape[-1]
        # One by one: all at once are repeats x n.
        drawn_again = []
        for _ in range(repeats):
            weights = rng.multinomial(n, np.full(n, 1 / n)) / n
            drawn_again.append([side.influence @ weights for side in both])
        moved = map(np.array, zip(*drawn_again, strict=True))
    value = float(
        equivalent_rows(curve.scores.values.mean(axis=-1), np.asarray(scores.values.mean()))
    )
    spread = equivalent_rows(
        *(drawn(side.values, shift) for side, shift in zip(both, moved, strict=True))
    )
    low, high = np.quantile(spread, LEVELS, method="inverted_cdf")
    return Equivalent(value, float(min(low, value)), float(max(high, value)), int(first), int(last))


def price(
    rows: float = 0,
    row_price: float = 0,
    cpu_seconds: float = 0,
    cpu_hour_price: float = 0,
    tokens=(0, 0),
    token_prices=(0, 0),
) -> float:
    """Rows, CPU seconds and (prompt, answered) tokens at your prices: of a row, of a CPU hour, of a
    million tokens of each.
    """
    parts = [rows * row_price, cpu_seconds / 3600 * cpu_hour_price]
    return float(sum(parts) + np.dot(tokens, token_prices) / 1e6)
