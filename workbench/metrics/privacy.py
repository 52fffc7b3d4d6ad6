"""Copies of train rows, closeness to them, and what an attacker learns. Nothing here proves privacy; it can be disproved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from workbench.encode import Features
from workbench.metrics import Row, Trial
from workbench.metrics.intervals import auc, clopper_pearson, from_influence, wilson
from workbench.metrics.models import matrices

MAX_SYNTHETIC = 2000  # rows whose nearest neighbours are looked up
MAX_MEMBERS = 1000
MIN_MEMBERS = 30
ROUNDING = 1e-6  # distances in standard deviations below which float32 features are equal
MAX_CELLS = 50_000_000  # floats in a matrix of features: 200 MB


def excess_copies(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows that equal a train row, minus the share of test rows that do. A hard gate.

    Equal means every column, missing equal to missing. In [-1, 1]; 0 is what fresh real rows would read, 1 a raw copy
    of a table without twins. Newcombe's interval (1998, method 10) of a difference of two shares; the two shares follow, with
    exact intervals. Known failure: a row changed in its last digit is no copy (dcr_share sees it), and a table of few, coarse
    columns is full of honest coincidences, which is why test's share is taken off.
    """
    copies = [is_copy(table, trial.train) for table in (trial.synthetic, trial.test)]
    counts = [(int(copy.sum()), len(copy)) for copy in copies]
    shares = [k / n if n else np.nan for k, n in counts]
    low, high = newcombe(*counts[0], *counts[1])
    note = (
        f"{counts[0][0]:,} of {counts[0][1]:,} synthetic and {counts[1][0]:,} of {counts[1][1]:,} test rows equal a train row"
    )
    yield Row("excess_copies", shares[0] - shares[1], low, high, note=note)
    for name, share, (k, n) in zip(("synthetic", "test"), shares, counts, strict=True):
        yield Row("excess_copies", share, *clopper_pearson(k, n), group=f"share of {name} rows")


def is_copy(table: pd.DataFrame, reference: pd.DataFrame) -> np.ndarray:
    """Which rows of `table` equal some row of `reference` in every column, bool, shape (len(table),). Both are cast."""
    row = row_numbers(pd.concat([table, reference], ignore_index=True))
    return np.isin(row[: len(table)], row[len(table) :])


def row_numbers(table: pd.DataFrame) -> np.ndarray:
    """0, 1, ... for the distinct rows of a cast table, equal for equal rows, missing equal to missing; shape (rows,)."""
    row = np.zeros(len(table), dtype=np.int64)
    for name in table.columns:
        # Numbered anew after each column, so the product stays below rows squared: exact, where a hash could collide.
        code, levels = pd.factorize(table[name])
        row = pd.factorize(row * (len(levels) + 1) + code + 1)[0]
    return row


def newcombe(k1: int, n1: int, k2: int, n2: int) -> tuple[float, float]:
    """95% interval of k1/n1 - k2/n2, independent samples (Newcombe 1998, method 10, without continuity correction)."""
    if not n1 or not n2:
        return np.nan, np.nan
    p1, p2, (l1, u1), (l2, u2) = k1 / n1, k2 / n2, wilson(k1, n1), wilson(k2, n2)
    return float(p1 - p2 - np.hypot(p1 - l1, u2 - p2)), float(p1 - p2 + np.hypot(u1 - p1, p2 - l2))


def dcr_share(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows closer to train than to a test table of the same size (distance to closest record).

    A diagnostic, no measure of privacy: data that pass it were attacked with success (Yao et al. 2025, The DCR Delusion).
    In [0, 1]; 0.5 is what fresh real rows read, 1 a raw copy. Euclidean distance on Features.one_hot fitted on all real rows
    (so that train has no advantage): a standard deviation counts 1, two different labels sqrt(2), all past the 50 commonest
    are one.
    All of train is searched beside test, and the share s is turned to equal sizes by its odds, s/n_train : (1-s)/n_test;
    dropping train rows to get there would drop the rows that synthetic ones were copied from. A nearest real row with twins
    counts by their numbers in train and in test. At most MAX_SYNTHETIC synthetic rows are looked up, drawn at random.
    Wilson's interval, see closer_share. Known failure: one leaked row in a hundred hardly moves it.
    """
    rng, real = trial.rng("dcr_share"), pd.concat([trial.train, trial.test], ignore_index=True)
    features = Features(real, trial.schema.columns)
    width = matrices(features, [real.iloc[:1]], "logistic")[0].shape[1]
    # In random order: where two different rows are equally near, which one is taken must not depend on its table.
    drawn = rng.permutation(len(real))[: max(MAX_CELLS // max(width, 1), 1)]
    synthetic = trial.synthetic.iloc[rng.permutation(len(trial.synthetic))[:MAX_SYNTHETIC]]
    real, in_train = real.iloc[drawn].reset_index(drop=True), drawn < len(trial.train)
    if not len(synthetic) or in_train.all() or not in_train.any():
        yield Row("dcr_share", np.nan, note="train, test and synthetic need at least one row each")
        return
    row = row_numbers(real)
    first = np.unique(row, return_index=True)[1]
    nearest = _nearest(*matrices(features, [synthetic, real.iloc[first]], "logistic"))
    train, test = (np.bincount(row[part], minlength=len(first)) for part in (in_train, ~in_train))
    note = f"{len(synthetic):,} of {len(trial.synthetic):,} synthetic rows, {train.sum():,} train and {test.sum():,} test rows"
    yield Row("dcr_share", *closer_share(nearest, train, test), note=note)


def closer_share(nearest: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[float, float, float]:
    """The share of rows whose nearest real row is a train row, turned to equal table sizes, and its 95% interval.

    nearest: the distinct real row nearest to each synthetic one, shape (rows,). train, test: how often each distinct real
    row occurs there. Rows that share a nearest real row fall on one side together: were the names train and test dealt at
    random, the share would have the variance of sum(n)^2 / sum(n_j^2 / m_j) coin throws, with n_j synthetic rows
    nearest to a row that occurs m_j times (after Kish 1965); Wilson's interval is taken at that number.
    """
    twins = train + test
    won = np.bincount(nearest, minlength=len(twins)).astype(float)
    share = min(float((won * train / twins).sum() / won.sum()), 1.0)
    throws = float(won.sum() ** 2 / (won**2 / twins).sum())
    odds = test.sum() / train.sum()
    return tuple(float(s * odds / (s * odds + 1 - s)) for s in (share, *wilson(share * throws, throws)))


def membership(trial: Trial) -> Iterator[Row]:
    """How well an attacker who holds reference rows tells train rows from test rows, given the synthetic table; two metrics.

    membership_auc: ROC AUC of the attack; in [0, 1], 0.5 for fresh real rows, 1 for a raw copy; DeLong's interval.
    membership_tpr: the share of members it finds at no more than 1% false alarms; exact interval at the threshold found.
    DOMIAS, van Breugel et al. 2023 (AISTATS): a row's score is the density of synthetic over that of reference rows, here
    from the nearest neighbour's distance in each (Loftsgaarden and Quesenberry 1965). As many non-members as members, at
    most MAX_MEMBERS; non-members are half of test, reference rows the rest of it, and the distances are scaled on these.
    Known failure: a single simple attack; a reading of 0.5 does not say that a stronger one would fail.
    """
    rng = trial.rng("membership")
    order = rng.permutation(len(trial.test))
    n = min(len(order) // 2, len(trial.train), MAX_MEMBERS)
    if n < MIN_MEMBERS or not len(trial.synthetic):
        note = f"insufficient: {n} members and as many non-members, {MIN_MEMBERS} and a synthetic table needed"
        yield from (Row(metric, np.nan, note=note) for metric in ("membership_auc", "membership_tpr"))
        return
    members, others = trial.train.iloc[rng.permutation(len(trial.train))[:n]], trial.test.iloc[order[:n]]
    reference = trial.test.iloc[order[n:]]
    features = Features(reference, trial.schema.columns)
    (rows,) = matrices(features, [pd.concat([members, others], ignore_index=True)], "logistic")
    most = max(MAX_CELLS // max(rows.shape[1], 1), 1)
    synthetic = trial.synthetic.iloc[rng.permutation(len(trial.synthetic))[:most]]
    near = []
    for table in matrices(features, [reference.iloc[:most], synthetic], "logistic"):
        # Measured again directly: the search expands the square and would put an equal row at a distance just above 0.
        near.append(np.log(np.linalg.norm(rows - table[_nearest(rows, table)], axis=1) + ROUNDING))
    member, score = np.arange(2 * n) < n, near[0] - near[1]
    value, influence = auc(member, score)
    note = f"{n:,} members, {n:,} non-members, {min(len(reference), most):,} reference rows"
    yield Row("membership_auc", value, *from_influence(value, influence, lowest=0, highest=1), note=note)
    threshold = np.sort(score[~member])[::-1][n // 100]
    found = int((score[member] > threshold).sum())
    yield Row("membership_tpr", found / n, *clopper_pearson(found, n), note=f"{n // 100} false alarms in {n:,} non-members")


def _nearest(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The number of the reference row nearest to each row, shape (len(rows),); searched in chunks, on one thread."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return NearestNeighbors(n_neighbors=1, algorithm="brute").fit(reference).kneighbors(rows, return_distance=False)[:, 0]
