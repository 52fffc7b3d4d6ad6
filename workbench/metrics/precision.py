"""How typical the synthetic rows are, and how far from being copies: precision and authenticity of
Alaa, van Breugel, Saveliev and van der Schaar 2022 (ICML), "How Faithful is your Synthetic Data?".

The recall side of that paper, how much of the real rows is covered, is `coverage`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.fidelity import standardised
from workbench.metrics.intervals import from_influence, wilson
from workbench.metrics.models import ROUNDING, kth_distance
from workbench.metrics.privacy import in_own_order

MIN_ROWS = 10
MAX_ROWS = 4000  # of either table that alpha_precision reads
MAX_LOOKED_UP = 1000  # synthetic rows whose nearest train row is looked up
STEPS = 500  # of the integral over alpha


def alpha_precision(trial: Trial) -> Iterator[Row]:
    """Do synthetic rows lie as deep inside the real ones as real rows do? Integrated alpha-precision.

    P(alpha) is the share of synthetic rows inside the ball around the mean test row that holds a
    share alpha of test; the value is 1 - 2 times the integral of |P(alpha) - alpha| (Alaa et al.
    2022, eq. 7, with the mean in place of their trained centre). 0 to 1, up; 1 the depths are
    distributed as those of real rows, 0 all rows lie at the centre or beyond every real one.
    Euclidean distance as in `coverage`, at most MAX_ROWS rows a side. Known failure: a depth is one
    number, so that rows in wrong places at the right depth are not seen; read it beside coverage.
    """
    m, n = len(trial.test), len(trial.synthetic)
    if min(m, n) < MIN_ROWS:
        note = f"insufficient: {n} synthetic and {m} test rows, {MIN_ROWS} needed of each"
        yield Row("alpha_precision", np.nan, state=INSUFFICIENT, note=note)
        return
    rng = trial.rng("alpha_precision")
    tables = [in_own_order(table, rng).head(MAX_ROWS) for table in (trial.test, trial.synthetic)]
    real, synthetic = standardised(trial, tables)
    # In double precision: a float32 mean of thousands of rows drifts.
    center = real.mean(axis=0, dtype=float)
    real, synthetic = (np.linalg.norm(rows - center, axis=1) for rows in (real, synthetic))
    yield Row("alpha_precision", *precision(real, synthetic))


def precision(real: np.ndarray, synthetic: np.ndarray) -> tuple[float, float, float]:
    """Integrated precision from distances to the centre, shape (rows,) each, and its interval."""
    ordered = np.sort(real)

    def depth(distance: np.ndarray) -> np.ndarray:
        # The middle of the ranks of equal distances, or a table of few values would be too deep.
        ranks = [np.searchsorted(ordered, distance, side=side) for side in ("left", "right")]
        return (ranks[0] + ranks[1]) / (2 * len(ordered))

    # The middles of equal steps, for the integral over alpha.
    alpha = (np.arange(STEPS) + 0.5) / STEPS
    own, other = depth(real), depth(synthetic)
    # Against the depths of the real rows themselves: with ties these are not uniform.
    gap = _reached(other, alpha) - _reached(own, alpha)
    value = 1 - 2 * float(np.abs(gap).mean())
    # A row that is drawn again moves P on all alpha from its own depth up.
    push = 2 * np.append(np.cumsum(np.sign(gap)[::-1])[::-1], 0) / STEPS
    moves = [push[np.searchsorted(alpha, side, side="left")] for side in (other, own)]
    low, high = from_influence(value, *moves, lowest=0, highest=1)
    return max(value, 0.0), low, high


def _reached(depth: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The share of rows at each depth or less."""
    return np.searchsorted(np.sort(depth), alpha, side="right") / len(depth)


def authenticity(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows that are farther from their nearest train row than that row is from
    its own nearest.

    Alaa et al. 2022, section 3.3: a row that is closer to a train row than any other train row is
    looks like a noisy copy of it. 0 to 1, up; 0 a raw copy. A fresh sample reads about a half or
    more, see the ceiling: a value below it is a sign of copies, one above it that rows are far from
    all real ones. Distance as in `coverage`; MAX_LOOKED_UP synthetic rows, drawn at random, against
    all of train. Wilson's interval. Known failure: an average; one copy in a hundred hardly moves
    it, and in a table of few, coarse columns train rows have twins, so that even real rows are not
    authentic.
    """
    m, n = len(trial.train), len(trial.synthetic)
    if m < MIN_ROWS or not n:
        note = f"insufficient: {n} synthetic and {m} train rows"
        yield Row("authenticity", np.nan, state=INSUFFICIENT, note=note)
        return

    def of_train() -> np.ndarray:
        return standardised(trial, [in_own_order(trial.train, trial.rng("authentic train"))])[0]

    train = trial.once("authenticity", trial.train, of_train)
    drawn = in_own_order(trial.synthetic, trial.rng("authenticity")).head(MAX_LOOKED_UP)
    (rows,) = standardised(trial, [drawn])
    nearest, distance = nearest_of(rows, train)
    originals, place = np.unique(nearest, return_inverse=True)
    # The first neighbour of a train row is the row itself, or a twin at distance 0.
    own = kth_distance(train[originals], train, 2)[place.ravel()]
    reach = own + ROUNDING * (1 + np.linalg.norm(rows, axis=1))
    authentic = int((distance > reach).sum())
    note = f"{authentic:,} of {len(rows):,} synthetic rows"
    value = authentic / len(rows)
    yield Row("authenticity", value, *wilson(authentic, len(rows)), note=note)


def nearest_of(rows: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest reference row of each row, and the distance to it, measured directly."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(reference)
    # The search rounds distances; the one that counts is measured again below.
    nearest = search.kneighbors(rows, return_distance=False)[:, 0]
    return nearest, np.linalg.norm(rows - reference[nearest], axis=1)
