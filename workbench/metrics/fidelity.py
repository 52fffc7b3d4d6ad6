"""Fidelity: how far the synthetic rows are from real rows nobody trained on, column by column, pair
by pair, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import norm

from workbench.metrics import INSUFFICIENT, NOT_APPLICABLE, NOT_INFORMATIVE, Row, Trial
from workbench.metrics.intervals import Z, auc, from_influence, wilson
from workbench.metrics.models import ROUNDING, fit, kth_distance, matrices, neighbours
from workbench.metrics.privacy import in_own_order
from workbench.tables.encode import Codes, Features, Marginal, from_float, to_float
from workbench.tables.schema import Column, Schema

BINS = 10  # a numeric column beside a label column is cut at the real table's deciles
MAX_LEVELS = 50  # labels of a column that pair_trends tells apart; the rarest ones share one
MAX_ROWS = 6500  # rows a side that c2st reads; the standard error of an AUC of 0.5 is then 0.005
MAX_CELLS = 400_000  # of a wide table c2st reads fewer rows, at least 1,000 a side
TELLING_ROWS = 20_000  # predictions spent on naming the columns that tell most
FOLDS = 5
JUDGES = ("logistic", "short boosting")  # what c2st tells tables apart by
NAMED = 5  # pairs that a note lists
K = 5  # the nearest neighbour that sets a ball's radius, as Naeem et al. recommend
# Balls of neighbouring rows overlap and hold the same synthetic row: simulated, the standard error
# of the share that is hit is 1.1 to 1.8 times, mostly 1.5 times, that of independent rows; taken
# where the table at hand cannot tell.
DEPENDENT = 2.4
FEW_BALLS = 20  # hit, or not hit, at which the table's own dependence counts for a half
MAX_NEIGHBOUR_ROWS = 4000  # rows a side whose neighbours are looked up
MAX_FLOATS = 10_000_000  # of a table with many labels fewer rows are, at least 1,000: 40 MB a side


def marginals(trial: Trial) -> Iterator[Row]:
    """Each column's distribution against test: 1 - KS for numbers and dates, 1 - total variation
    for labels, and their mean.

    Missing is a category of its own (for KS it lies left of every number). Range 0 to 1, up; 1 is
    the same distribution, 0 is disjoint support. Rows: the mean, one for each column, and
    `worst_column`, the lowest of them. Known failure: blind to everything that lies between
    columns; a table of permuted columns scores like a real one.
    """
    scores, columns = [], []
    # Each row's part in all columns' distances: columns of one row go together in the interval.
    shares_synthetic = np.zeros(len(trial.synthetic))
    shares_real = np.zeros(len(trial.test))
    for column in trial.schema.columns:
        distance, in_synthetic, in_real = column_distance(
            trial.synthetic[column.name], trial.test[column.name], column
        )
        low, high = from_influence(1 - distance, in_synthetic, in_real, lowest=0, highest=1)
        scores.append(1 - distance)
        columns.append(Row("marginals", 1 - distance, low, high, column=column.name))
        shares_synthetic, shares_real = shares_synthetic + in_synthetic, shares_real + in_real
    mean, p = float(np.mean(scores)), len(scores)
    yield Row(
        "marginals",
        mean,
        *from_influence(mean, shares_synthetic / p, shares_real / p, lowest=0, highest=1),
    )
    yield from columns
    # A mean over many columns hides one that is wrong.
    worst = columns[int(np.argmin(scores))]
    yield replace(worst, metric="worst_column")


def column_distance(
    synthetic: pd.Series, real: pd.Series, column: Column
) -> tuple[float, np.ndarray, np.ndarray]:
    """The largest difference in probability over half-lines (numbers: KS) or over any set of labels
    (total variation).

    Returns the distance and, for both samples, the signed membership of each row in the set where
    it is reached: the distance is the mean of the first minus the mean of the second, and their
    variances give its standard error.
    """
    if column.is_discrete:
        codes, levels = pd.factorize(
            pd.concat([synthetic, real]).astype(object), use_na_sentinel=False
        )
        # Sums in label order.
        codes = np.argsort(np.argsort([str(level) for level in levels], kind="stable"))[codes]
        a, b = codes[: len(synthetic)], codes[len(synthetic) :]
        in_set = np.bincount(a, minlength=len(levels)) * len(real) > np.bincount(
            b, minlength=len(levels)
        ) * len(synthetic)
        in_a, in_b = in_set[a].astype(float), in_set[b].astype(float)
    else:
        # Missing is a value of its own, left of all numbers.
        a, b = (np.where(np.isnan(x), -np.inf, x) for x in (to_float(synthetic), to_float(real)))
        points = np.unique(np.concatenate([a, b]))
        # At every value that occurs: between them no distribution moves.
        gap = _distribution(a, points) - _distribution(b, points)
        at = int(np.argmax(np.abs(gap)))
        sign = 1.0 if gap[at] >= 0 else -1.0
        in_a, in_b = sign * (a <= points[at]), sign * (b <= points[at])
    return float(in_a.mean() - in_b.mean()), in_a, in_b


def _distribution(sample: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(sample), points, side="right") / len(sample)


def pair_trends(trial: Trial) -> Iterator[Row]:
    """The dependence of every two columns against test, averaged over the pairs.

    Two columns of numbers or dates: 1 - |r_S - r_R| / 2 with Spearman's r on the rows that hold
    both (0 where a column is constant). Other pairs: 1 - total variation between the two
    contingency tables, numbers cut at the deciles of real train rows, missing and never seen values
    in cells of their own, labels beyond the 50 commonest in one. Range 0 to 1, up; 1 is the same
    dependence. Rows: the mean, and the worst pair, with the NAMED worst ones in its note: one pair
    of many that is lost hardly moves the mean. Known failure: a raw value means little without its
    floor (independent columns score high wherever the real ones are nearly independent), and only
    two columns are looked at together.
    """
    schema = trial.schema
    p = len(schema.columns)
    pairs = p * (p - 1) // 2
    if not pairs:
        yield Row(
            "pair_trends",
            np.nan,
            state=NOT_APPLICABLE,
            note="the table has one column, so no pairs.",
        )
        return
    numeric = [column for column in schema.columns if not column.is_discrete]
    gaps, move_synthetic, move_real = _rank_distances(trial.synthetic, trial.test, numeric)
    lost = {}  # the distance of each pair
    for j, first in enumerate(numeric):
        for k in range(j):
            lost[numeric[k].name, first.name] = gaps[j, k]
    distance = float(gaps[np.tril_indices(len(numeric), -1)].sum())

    # Cut by train, so that both tables are cut alike and the synthetic one cannot choose its bins.
    codes = Codes(trial.train, schema, bins=BINS, max_levels=MAX_LEVELS)
    a, b = _codes(codes, trial.synthetic), _codes(codes, trial.test)
    # A row a column: thousands of pairs read them one after the other.
    both = np.ascontiguousarray(np.vstack([a, b]).T, dtype=np.intp)
    # Positive for synthetic rows, negative for real ones: a sum is a difference of shares.
    count = np.zeros(len(a) + len(b), dtype=int)
    weight = np.repeat([1 / len(a), -1 / len(b)], [len(a), len(b)])
    for j, first in enumerate(schema.columns):
        for k in range(j):
            if first.is_discrete or schema.columns[k].is_discrete:
                width = codes.sizes[k] + 1
                cell = both[j] * width + both[k]
                gap = np.bincount(cell, weights=weight, minlength=(codes.sizes[j] + 1) * width)
                inside = gap > 1e-12  # a set of cells on which the two tables differ most
                lost[schema.columns[k].name, first.name] = gap[inside].sum()
                distance += gap[inside].sum()
                count += inside.astype(int)[cell]
    score = float(np.clip(1 - distance / pairs, 0, 1))
    moves = (count[: len(a)] + move_synthetic) / pairs, (count[len(a) :] + move_real) / pairs
    yield Row("pair_trends", score, *from_influence(score, *moves, lowest=0, highest=1))
    # Named, because a reader wants to know which pair it was.
    worst = sorted(lost, key=lambda pair: -lost[pair])[:NAMED]
    named = [f"{one} x {other} {1 - lost[one, other]:.3f}" for one, other in worst]
    value = float(np.clip(1 - lost[worst[0]], 0, 1))
    yield Row("pair_trends", value, group="worst pair", note=", ".join(named))


def _codes(codes: Codes, table: pd.DataFrame) -> np.ndarray:
    """The codes of a table, values that train never held moved from the missing code to one after
    it.
    """
    encoded = codes.encode(table)
    return encoded + ((encoded == np.array(codes.sizes) - 1) & table.notna().to_numpy())


def _rank_distances(
    synthetic: pd.DataFrame, real: pd.DataFrame, columns: list[Column]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|r_S - r_R| / 2 of every two columns, shape (p, p), and how much each row of the two tables
    moves the sum over pairs (for the interval).
    """
    if len(columns) < 2:
        nothing = np.zeros((len(columns), len(columns)))
        return nothing, np.zeros(len(synthetic)), np.zeros(len(real))
    (r_a, z_a), (r_b, z_b) = (rank_correlation(table, columns) for table in (synthetic, real))
    # The derivative of |r_S - r_R| / 2, by which each row's part in r counts.
    sign = np.sign(r_a - r_b) / 2
    moves = [
        ((z @ sign) * z - z**2 * (sign * r).sum(axis=1)).sum(axis=1) / 2
        for r, z in ((r_a, z_a), (r_b, z_b))
    ]
    return np.abs(r_a - r_b) / 2, moves[0], moves[1]


def rank_correlation(table: pd.DataFrame, columns: list[Column]) -> tuple[np.ndarray, np.ndarray]:
    """Spearman's correlation of every two columns, shape (p, p), and the standardised ranks, shape
    (rows, p), missing at 0.

    Each pair reads the rows that hold both values, with ranks taken among all values of a column.
    Undefined is 0.
    """
    from scipy.stats import rankdata

    # All pairs at once, by products of matrices: a loop over pairs takes minutes on a wide table.
    x = np.column_stack([to_float(table[column.name]) for column in columns])
    held = (~np.isnan(x)).astype(float)
    z = rankdata(x, axis=0, nan_policy="omit")
    n = held.sum(axis=0)
    with np.errstate(all="ignore"):
        z = np.where(held > 0, z - (n + 1) / 2, 0.0)
        spread = np.sqrt((z**2).sum(axis=0) / n)
        z = np.where(spread > 0, z / spread, 0.0)
        # [j, k]: over rows that hold both.
        common, sums, squares = (
            held.T @ held,
            z.T @ held,
            (z**2).T @ held,
        )
        variance = squares / common - (sums / common) ** 2
        r = (z.T @ z / common - sums * sums.T / common**2) / np.sqrt(variance * variance.T)
    r = np.where((common >= 3) & np.isfinite(r), np.clip(r, -1, 1), 0.0)
    return r, z


def c2st(trial: Trial) -> Iterator[Row]:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017): how well a learner tells synthetic
    from test rows.

    The pooled out-of-fold ROC AUC, 5 stratified folds, equally many rows a side (MAX_ROWS,
    MAX_CELLS). Rows: the larger of the learners' values, and one for each learner in `group`. Range
    about 0.5 to 1, down; 0.5 is not told apart. Numbers are first rounded to the grid of the real
    column, for wrong decimals give rows away without any learning; where that changed something,
    the row "as delivered" holds the larger AUC before it. Intervals are DeLong's, of the linear model
    up to 1.4 times as wide, for its folds depend on each other. Above 0.6 the note names the columns that
    tell most. Known failure: saturates near 1 for wide tables, where one bad column hides what the
    others do.
    """
    rng = trial.rng("c2st")
    bound = min(MAX_ROWS, max(MAX_CELLS // len(trial.schema.columns), 1000))
    # As many of each: an AUC does not depend on it, but what a learner learns does.
    n = min(len(trial.synthetic), len(trial.test), bound)
    if n < 2 * FOLDS:
        yield Row(
            "c2st",
            np.nan,
            state=INSUFFICIENT,
            note=f"needs at least {2 * FOLDS} synthetic and test rows, has {n}.",
        )
        return
    synthetic, real = (
        table.iloc[np.sort(rng.permutation(len(table))[:n])]
        for table in (trial.synthetic, trial.test)
    )
    # Wrong decimals would tell the tables apart at once, and hide everything else.
    rounded = to_grid(synthetic, trial.train, trial.schema)
    rounded_real = to_grid(real, trial.train, trial.schema)
    seed = int(rng.integers(2**31))
    rows = [_discriminated(rounded, rounded_real, trial.schema, judge, seed) for judge in JUDGES]
    yield _larger(rows)
    yield from rows
    if not rounded.equals(synthetic.reset_index(drop=True)):
        # What an attacker sees, who gets the table as it was delivered.
        raw = max(
            (_discriminated(synthetic, real, trial.schema, judge, seed) for judge in JUDGES),
            key=lambda row: row.value,
        )
        yield replace(raw, group="as delivered")


def _larger(rows: list[Row]) -> Row:
    """The larger of two AUCs, with an interval for the larger of what they estimate.

    The larger reading is too large on average, so its own interval would miss the truth on that
    side: the lower end is the largest of the lower ends, each at half the error; the upper end is
    the largest upper end.
    """
    best = max(rows, key=lambda row: row.value)
    wider = norm.ppf(1 - 0.025 / len(rows)) / Z
    low = max(row.value - wider * (row.value - row.low) for row in rows)
    high = max(row.high for row in rows)
    return replace(best, group="", low=max(low, 0.0), high=high)


def to_grid(table: pd.DataFrame, real: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The table with numbers and dates rounded to the decimals that the real column is written in."""
    table = table.reset_index(drop=True)
    columns = {}
    for column in schema.columns:
        columns[column.name] = table[column.name]
        # Of the real column: that is how its numbers are written.
        step = None if column.is_discrete else Marginal.fit(to_float(real[column.name])).step
        if step is not None:
            unbounded = Marginal(np.array([-np.inf, np.inf]), step)
            columns[column.name] = from_float(unbounded.snap(to_float(table[column.name])), column)
    return pd.DataFrame(columns, columns=schema.names)


def _discriminated(
    synthetic: pd.DataFrame, real: pd.DataFrame, schema: Schema, learner: str, seed: int
) -> Row:
    from sklearn.model_selection import StratifiedKFold

    pooled = pd.concat([synthetic, real], ignore_index=True)
    is_synthetic = np.repeat([1, 0], [len(synthetic), len(real)])
    # Fitted on both tables, in which neither has an advantage.
    features = Features(pooled, schema.columns)
    (matrix,) = matrices(features, [pooled], learner)
    score = np.empty(len(pooled))
    for inside, outside in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(
        matrix, is_synthetic
    ):
        predict = fit(
            matrix[inside],
            is_synthetic[inside],
            learner,
            features.categorical,
            seed,
            "classification",
        )
        score[outside] = predict(matrix[outside])[:, 1]
    value, influence = auc(is_synthetic == 1, score)
    if learner == JUDGES[0]:
        influence = influence * np.sqrt(_dependence_of_folds(value, influence, matrix.shape[1]))
    note = ""
    if learner == JUDGES[1] and value > 0.6:  # the last fold speaks for all
        telling = _telling_columns(predict, matrix[outside], is_synthetic[outside], schema, seed)
        note = f"told by {', '.join(telling)}" if telling else ""
    return Row(
        "c2st",
        value,
        *from_influence(value, influence, lowest=0, highest=1),
        group=learner,
        note=note,
    )


def _dependence_of_folds(value: float, influence: np.ndarray, width: int) -> float:
    """How many times larger than DeLong's the variance of a linear model's pooled area is.

    DeLong takes the fits as given. Two folds lie in each other's training rows: a direction in
    which one strays by chance is learnt for the other, and theirs for it. Where tables are alike
    and the direction is nothing but chance, the areas of two of F folds correlate by 1 / (F - 1),
    which doubles the variance (simulated: 1.9 times); where there is a difference to be learnt, the
    direction is the same in every fold and the correlation fades, with its signal over its noise.
    """
    # DeLong's own, before it is widened.
    error = float(np.std(influence)) / np.sqrt(len(influence))
    if not error > 0:
        return 1.0
    surely = max((value - 0.5) / error, 0.0)
    signal = surely * np.sqrt((FOLDS - 1) / (FOLDS * max(width, 1)))
    return 1 + 1 / (1 + signal)


def _telling_columns(
    predict, matrix: np.ndarray, is_synthetic: np.ndarray, schema: Schema, seed: int
) -> list[str]:
    """The at most three columns whose permutation costs most AUC on rows left out of the fit, if it
    costs any.
    """
    p = matrix.shape[1]
    # A bound on predictions: a wide table has a copy for every column.
    order = np.random.default_rng(seed).permutation(len(matrix))[: max(TELLING_ROWS // p, 50)]
    matrix, truth = matrix[order], is_synthetic[order] == 1
    copies = np.tile(matrix, (p + 1, 1, 1))  # the last one stays as it is
    for j in range(p):
        copies[j, :, j] = np.roll(matrix[:, j], 1)
    scores = predict(copies.reshape(-1, p))[:, 1].reshape(p + 1, -1)
    reached = [auc(truth, score)[0] for score in scores]
    lost = {name: reached[-1] - reached[j] for j, name in enumerate(schema.names)}
    return [name for name in sorted(lost, key=lost.get, reverse=True)[:3] if lost[name] > 0.01]


def coverage(trial: Trial) -> Iterator[Row]:
    """Share of real test rows whose ball holds a synthetic row; its radius reaches to the K-th
    nearest other test row.

    Naeem et al. 2020, eq. 5 (ICML; the recall side of a sample, beta-recall in Alaa et al. 2022).
    Test and synthetic are cut to equally many rows, at most MAX_NEIGHBOUR_ROWS, drawn at random.
    Euclidean distance on Features.one_hot fitted on train: a standard deviation counts 1, two
    different labels sqrt(2), missing is a flag; labels past the 50 commonest are one. 0 to 1, up.
    Only beside its ceiling: fresh real rows read about 1 - 2^-K = 0.97, more where rows have twins.
    Wilson's interval of as many rows as would vary like these: balls of neighbours overlap and are
    hit together, so products of neighbours' deviations are counted in the variance (Conley 1999).
    Known failure: far outliers and rows made twice cost nothing, and in wide tables distances to
    all rows are alike.
    """
    # Equally many of both: more synthetic rows would cover more by their number alone.
    m = min(len(trial.test), len(trial.synthetic), MAX_NEIGHBOUR_ROWS)
    if m <= K:
        yield Row(
            "coverage",
            np.nan,
            state=NOT_INFORMATIVE,
            note=f"not informative: {m} test or synthetic rows, more than {K} are needed.",
        )
        return

    def balls():
        (real,) = standardised(
            trial, [in_own_order(trial.test, trial.rng("coverage, test")).head(m)]
        )
        # The first neighbour of a row is the row itself.
        return real, *neighbours(real, real, K + 1)

    real, distances, nearest = trial.once(f"coverage {m}", trial.test, balls)
    radius = distances[:, -1]
    (synthetic,) = standardised(
        trial, [in_own_order(trial.synthetic, trial.rng("coverage")).head(m)]
    )
    # Distances in float32 are off by as much: an equal row must lie inside.
    reach = radius + ROUNDING * (1 + np.linalg.norm(real, axis=1))
    is_hit = kth_distance(real, synthetic, 1) <= reach
    k, n = int(is_hit.sum()), len(real)
    fewer = _dependence_of_balls(is_hit, nearest)
    yield Row(
        "coverage",
        k / n,
        *wilson(k / fewer, n / fewer),
        note=f"{k:,} of {n:,} test rows, {len(synthetic):,} synthetic rows",
    )


def _dependence_of_balls(is_hit: np.ndarray, nearest: np.ndarray) -> float:
    """How many times larger than that of independent rows the variance of the share that is hit is.

    nearest: int, shape (rows, K + 1), numbers of the rows in each ball. Two rows count as dependent
    where one lies in the other's ball. Never below 1; drawn towards DEPENDENT where few balls are
    hit, or few are not, and all the way where nothing can be learnt of how they go together.
    """
    from scipy.sparse import csr_array

    # Nothing to learn where all balls are hit, or none.
    away = is_hit - is_hit.mean()
    if not away.any():
        return DEPENDENT
    n, size = nearest.shape
    place = np.repeat(np.arange(n), size), nearest.ravel()
    together = csr_array((np.ones(n * size), place), shape=(n, n))
    together = ((together + together.T) > 0).astype(float)
    measured = float(max(away @ (together @ away) / (away @ away), 1.0))
    # A variance that is read off few balls is itself uncertain, and mostly too small.
    few = min(is_hit.sum(), n - is_hit.sum())
    trusted = few / (few + FEW_BALLS)
    return float(trusted * measured + (1 - trusted) * DEPENDENT)


def standardised(trial: Trial, tables: list[pd.DataFrame]) -> list[np.ndarray]:
    """Each table as a matrix whose Euclidean distances are comparable across columns, cut to rows
    that fit in memory.
    """
    # A gap in the synthetic table alone is no value at the median.
    features = Features(trial.train, trial.schema.columns, far_gaps=True)
    width = matrices(features, [trial.train.head(1)], "logistic")[0].shape[1]
    rows = max(MAX_FLOATS // max(width, 1), 1000)
    return matrices(features, [table.head(rows) for table in tables], "logistic")
