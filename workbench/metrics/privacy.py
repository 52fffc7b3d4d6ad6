"""Copies of train rows, closeness to them, and what an attacker learns. Nothing here proves
privacy; it can be disproved.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.intervals import LEVELS, auc, clopper_pearson, from_influence, wilson
from workbench.metrics.models import matrices
from workbench.tables.encode import Features, to_float

MAX_SYNTHETIC = 1000  # rows whose nearest neighbours are looked up
MAX_MEMBERS = 1000
MIN_MEMBERS = 30
# With fewer, no threshold keeps false alarms at 1%: of 30 fresh outliers .030 are found on average
# and one table in sixteen looks like a leak, of 99 .010.
MIN_OUTLIERS = 99
TPR_DRAWS = 300
ROUNDING = 1e-6  # distances in standard deviations below which float32 features are equal
EPSILON_DELTA = 1e-5
MAX_CELLS = 50_000_000  # floats in a matrix of features: 200 MB


def excess_copies(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows that equal a train row, minus the share of test rows that do. A hard
    gate.

    Equal means every column, missing equal to missing. In [-1, 1]; 0 is what fresh real rows would
    read, 1 a raw copy of a table without twins. Newcombe's interval (1998, method 10) of a
    difference of two shares; the two shares follow, with exact intervals. Known failure: a row
    changed in its last digit is no copy (dcr_share sees it), and a table of few, coarse columns is
    full of honest coincidences, which is why test's share is taken off.
    """
    # Test rows equal train rows by chance too: only what goes beyond them is copying.
    copies = [is_copy(table, trial.train) for table in (trial.synthetic, trial.test)]
    counts = [(int(copy.sum()), len(copy)) for copy in copies]
    shares = [k / n if n else np.nan for k, n in counts]
    low, high = newcombe(*counts[0], *counts[1])
    note = (
        f"{counts[0][0]:,} of {counts[0][1]:,} synthetic and {counts[1][0]:,} of {counts[1][1]:,}"
        " test rows equal a train row"
    )
    yield Row("excess_copies", shares[0] - shares[1], low, high, note=note)
    for name, share, (k, n) in zip(("synthetic", "test"), shares, counts, strict=True):
        yield Row("excess_copies", share, *clopper_pearson(k, n), group=f"share of {name} rows")


def is_copy(table: pd.DataFrame, reference: pd.DataFrame) -> np.ndarray:
    """Which rows of `table` equal some row of `reference` in every column, bool, shape
    (len(table),). Both are cast.
    """
    # Numbered together, so that equal rows have equal numbers.
    row = row_numbers(pd.concat([table, reference], ignore_index=True))
    return np.isin(row[: len(table)], row[len(table) :])


def near_copies(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows that are a train row up to small changes of numbers, minus the share
    of test rows that are.

    Near means: every label equal, and every number and date in the same cell of a grid whose cells
    are a tenth of train's standard deviation wide, or in the same cell of that grid moved by half
    a cell, so that no small change falls between. In [-1, 1]; 0 is what fresh real rows read, 1 a
    copy of train with a little noise. Exact copies count too. Newcombe's interval (1998, method
    10). Known failure: noise beyond a twentieth of a standard deviation in every number hides a
    row; in a table of few, coarse columns most rows have near twins, and the interval is wide.
    """
    (k, n), (k_test, m) = ((int(near.sum()), len(near)) for near in nearly_copied(trial))
    note = f"{k:,} of {n:,} synthetic and {k_test:,} of {m:,} test rows are nearly a train row"
    if not n or not m:
        yield Row("near_copies", np.nan, state=INSUFFICIENT, note=note)
        return
    yield Row("near_copies", k / n - k_test / m, *newcombe(k, n, k_test, m), note=note)


def nearly_copied(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """Which synthetic and which test rows are a train row up to small changes, as `near_copies`
    has it; bool, shape (rows,) each.
    """
    tables = [trial.synthetic, trial.test, trial.train]
    near = [np.zeros(len(table), dtype=bool) for table in tables[:2]]
    # Two grids: what lies on the border of one lies in the middle of the other.
    for offset in (0.0, 0.5):
        *sides, train = (_on_grid(table, trial, offset) for table in tables)
        near = [found | is_copy(side, train) for found, side in zip(near, sides, strict=True)]
    return near[0], near[1]


def _on_grid(table: pd.DataFrame, trial: Trial, offset: float) -> pd.DataFrame:
    """Labels as they are, numbers and dates as the number of their cell in a grid fitted on train."""
    columns = {}
    for column in trial.schema.columns:
        columns[column.name] = table[column.name]
        if column.is_discrete:
            continue
        # By train's spread, so that a wide synthetic column cannot make its own cells wide.
        train = to_float(trial.train[column.name])
        train = train[np.isfinite(train)]
        width = float(train.std()) / 10 if len(train) else 0.0
        if width > 0:
            cell = np.floor(to_float(table[column.name]) / width + offset)
            columns[column.name] = pd.Series(cell, index=table.index)
    return pd.DataFrame(columns, columns=trial.schema.names)


def row_numbers(table: pd.DataFrame) -> np.ndarray:
    """0, 1, ... for the distinct rows of a cast table, equal for equal rows, missing equal to
    missing; shape (rows,).
    """
    row = np.zeros(len(table), dtype=np.int64)
    for name in table.columns:
        # Numbered anew after each column, so the product stays below rows squared: exact, where a
        # hash could collide.
        code, levels = pd.factorize(table[name])
        row = pd.factorize(row * (len(levels) + 1) + code + 1)[0]
    return row


def in_own_order(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The rows in a random order that depends on their values and the generator, and not on the
    order they came in.
    """
    # Sorted by their hash first: the order in which a table was delivered decides nothing.
    order = np.argsort(
        pd.util.hash_pandas_object(table, index=False, categorize=False).to_numpy(), kind="stable"
    )
    return table.iloc[order[rng.permutation(len(table))]].reset_index(drop=True)


def newcombe(k1: int, n1: int, k2: int, n2: int) -> tuple[float, float]:
    """95% interval of k1/n1 - k2/n2, independent samples (Newcombe 1998, method 10, without
    continuity correction).
    """
    if not n1 or not n2:
        return np.nan, np.nan
    p1, p2, (l1, u1), (l2, u2) = k1 / n1, k2 / n2, wilson(k1, n1), wilson(k2, n2)
    return float(p1 - p2 - np.hypot(p1 - l1, u2 - p2)), float(p1 - p2 + np.hypot(u1 - p1, p2 - l2))


def dcr_share(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows closer to train than to a test table of the same size (distance to
    closest record).

    A diagnostic, no measure of privacy: data that pass it were attacked with success (Yao et al.
    2025, The DCR Delusion). In [0, 1]; 0.5 is what fresh real rows read, 1 a raw copy. Euclidean
    distance on Features.one_hot fitted on all real rows (so that train has no advantage): a
    standard deviation counts 1, two different labels sqrt(2), all past the 50 commonest are one.
    All of train is searched beside test, and the share s is turned to equal sizes by its odds,
    s/n_train : (1-s)/n_test; dropping train rows to get there would drop the rows that synthetic
    ones were copied from. A nearest real row with twins counts by their numbers in train and in
    test. At most MAX_SYNTHETIC synthetic rows are looked up, drawn at random. Wilson's interval,
    see closer_share. Known failure: one leaked row in a hundred hardly moves it.
    """
    # One stream for all draws, in this order: the bytes depend on it.
    rng = trial.rng("dcr_share")
    train, test, synthetic = (
        in_own_order(table, rng) for table in (trial.train, trial.test, trial.synthetic)
    )
    real, synthetic = pd.concat([train, test], ignore_index=True), synthetic.iloc[:MAX_SYNTHETIC]
    # On train and test together, so that neither of them sets the scale.
    features = Features(real, trial.schema.columns)
    width = matrices(features, [real.iloc[:1]], "logistic")[0].shape[1]
    # In random order: where two different rows are equally near, which one is taken must not depend
    # on its table.
    drawn = rng.permutation(len(real))[: max(MAX_CELLS // max(width, 1), 1)]
    real, in_train = real.iloc[drawn].reset_index(drop=True), drawn < len(trial.train)
    if not len(synthetic) or in_train.all() or not in_train.any():
        yield Row(
            "dcr_share",
            np.nan,
            state=INSUFFICIENT,
            note="train, test and synthetic need at least one row each",
        )
        return
    # Twins are one place with two counts: a nearest row with twins must not be decided by their
    # order.
    row = row_numbers(real)
    first = np.unique(row, return_index=True)[1]
    nearest = _nearest(*matrices(features, [synthetic, real.iloc[first]], "logistic"))
    train, test = (np.bincount(row[part], minlength=len(first)) for part in (in_train, ~in_train))
    note = (
        f"{len(synthetic):,} of {len(trial.synthetic):,} synthetic rows, {train.sum():,} train and"
        f" {test.sum():,} test rows"
    )
    yield Row("dcr_share", *closer_share(nearest, train, test), note=note)


def closer_share(
    nearest: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[float, float, float]:
    """The share of rows whose nearest real row is a train row, turned to equal table sizes, and its
    95% interval.

    nearest: the distinct real row nearest to each synthetic one, shape (rows,). train, test: how
    often each distinct real row occurs there. Rows that share a nearest real row fall on one side
    together: were the names train and test dealt at random, the share would have the variance of
    sum(n)^2 / sum(n_j^2 / m_j) coin throws, with n_j synthetic rows nearest to a row that occurs
    m_j times (after Kish 1965); Wilson's interval is taken at that number.
    """
    # Each place counts by how its real rows are dealt to train and test.
    twins = train + test
    won = np.bincount(nearest, minlength=len(twins)).astype(float)
    share = min(float((won * train / twins).sum() / won.sum()), 1.0)
    throws = float(won.sum() ** 2 / (won**2 / twins).sum())
    low, high = wilson(share * throws, throws)
    # More train than test rows would win by their number: odds turn that to equal sizes.
    odds = test.sum() / train.sum()

    def at_equal_sizes(s: float) -> float:
        return float(s * odds / (s * odds + 1 - s))

    return at_equal_sizes(share), at_equal_sizes(low), at_equal_sizes(high)


def membership(trial: Trial) -> Iterator[Row]:
    """How well an attacker who holds reference rows tells train rows from test rows, given the
    synthetic table; three metrics.

    membership_auc: ROC AUC of the attack; in [0, 1], 0.5 for fresh real rows, 1 for a raw copy;
    DeLong's interval. membership_tpr: the share of members it finds at no more than 1% false
    alarms, its interval from both samples drawn again. Both also for outliers, the tenth of the
    members and the tenth of the non-members that are farthest from any reference row, where these
    are MIN_OUTLIERS each. empirical_epsilon: the smallest privacy budget
    that this attack leaves possible, see `empirical_epsilon`, for delta = EPSILON_DELTA or the
    claimed one where that is larger; 0 or more, 0 no leak is shown. Half of the trials find the
    threshold, the other half prove it. A lower bound from one attack on one training run, never a
    guarantee; an upper end does not exist. Above the `epsilon` that the generator claims, the claim
    is refuted. DOMIAS, van Breugel et al. 2023 (AISTATS): a row's score is the density of synthetic
    over that of reference rows, here from the nearest neighbour's distance in each (Loftsgaarden
    and Quesenberry 1965). As many non-members as members, at most MAX_MEMBERS; non-members are half
    of test, reference rows the rest of it, and the distances are scaled on these. Known failure: a
    single simple attack; a reading of 0.5 does not say that a stronger one would fail.
    """
    rng = trial.rng("membership")
    train, test, synthetic = (
        in_own_order(table, rng) for table in (trial.train, trial.test, trial.synthetic)
    )
    # Half of test are non-members, the other half is what the attacker knows of the population.
    n = min(len(test) // 2, len(train), MAX_MEMBERS)
    if n < MIN_MEMBERS or not len(synthetic):
        note = (
            f"insufficient: {n} members and as many non-members, {MIN_MEMBERS} and a synthetic"
            " table needed"
        )
        yield from (
            Row(metric, np.nan, state=INSUFFICIENT, note=note)
            for metric in ("membership_auc", "membership_tpr", "empirical_epsilon")
        )
        return
    reference = test.iloc[n:]
    # On the attacker's reference rows: members must not set the scale by which they are found.
    features = Features(reference, trial.schema.columns)
    (rows,) = matrices(
        features, [pd.concat([train.iloc[:n], test.iloc[:n]], ignore_index=True)], "logistic"
    )
    most = max(MAX_CELLS // max(rows.shape[1], 1), 1)
    near = []
    for table in matrices(features, [reference.iloc[:most], synthetic.iloc[:most]], "logistic"):
        # Measured again directly: the search expands the square and would put an equal row at a
        # distance just above 0.
        near.append(np.log(np.linalg.norm(rows - table[_nearest(rows, table)], axis=1) + ROUNDING))
    member, score = np.arange(2 * n) < n, near[0] - near[1]
    note = f"{n:,} members, {n:,} non-members, {min(len(reference), most):,} reference rows"
    yield from _attack_rows(score[member], score[~member], note)
    found, missed = (
        score[side & (near[0] >= np.quantile(near[0][side], 0.9))] for side in (member, ~member)
    )
    note = f"{len(found):,} members, {len(missed):,} non-members"
    if min(len(found), len(missed)) < MIN_OUTLIERS:
        note = f"insufficient: {note}, {MIN_OUTLIERS} needed of each"
        yield from (
            Row(metric, np.nan, group="outliers", state=INSUFFICIENT, note=note)
            for metric in ("membership_auc", "membership_tpr")
        )
    else:
        yield from _attack_rows(found, missed, note, "outliers")
    half = n // 2  # rows are in random order
    threshold = best_threshold(score[:half], score[n : n + half])
    delta = max(EPSILON_DELTA, trial.guarantee.delta if trial.guarantee else 0)
    bound = empirical_epsilon(score[half:n], score[n + half :], threshold, delta)
    cap = empirical_epsilon(np.ones(n - half), np.zeros(n - half), 0.5, delta)
    note = (
        f"at least, with 95% confidence and delta {delta:g}; {n - half:,} trials a side can prove"
        f" {cap:.1f}"
    )
    yield Row("empirical_epsilon", bound, low=bound, note=note)


def epsilon(trial: Trial) -> Iterator[Row]:
    """The privacy budget that the generator says it has spent, with its delta and its own words in
    the note.

    Read off the fitted generator, see Guarantee.of; 0 or more, down; 0 would be no dependence on
    any row. No value where the generator gives no formal guarantee, which is not the same as a
    large epsilon, and none for a table on its own. Known failure: a claim, not a measurement: six
    public PATE-GANs claimed what they did not keep (Ganev et al. 2024). `empirical_epsilon` can
    refute it, and nothing here can prove it.
    """
    # A table on its own makes no claim.
    claim = trial.guarantee
    if claim is None:
        yield Row("epsilon", np.nan, note="no formal guarantee")
    else:
        yield Row("epsilon", claim.epsilon, note=f"delta {claim.delta:g}; {claim.words}")


def _attack_rows(
    members: np.ndarray, others: np.ndarray, note: str, group: str = ""
) -> Iterator[Row]:
    """AUC, and the true positive rate at no more than 1% false positives, of scores that should be
    higher for members.
    """
    value, influence = auc(
        np.arange(len(members) + len(others)) < len(members), np.concatenate([members, others])
    )
    yield Row(
        "membership_auc",
        value,
        *from_influence(value, influence, lowest=0, highest=1),
        group=group,
        note=note,
    )
    value, low, high = tpr_at_few_alarms(members, others)
    note = f"{allowed_alarms(len(others))} false alarms in {len(others):,} non-members"
    yield Row("membership_tpr", value, low, high, group=group, note=note)


def allowed_alarms(others: int) -> int:
    """False alarms that keep the expected false positive rate below 1%: the threshold lies between
    order statistics of the very rows that it is judged on, which costs one of them.
    """
    return max((others + 1) // 100 - 1, 0)


def tpr_at_few_alarms(members: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:
    """The share of members above the threshold of `allowed_alarms`, and its 95% interval.

    Both samples are drawn again, and the threshold is found again in each draw: an interval at a
    fixed threshold held the truth in about half of the cases. The draws start from one fixed seed,
    so that equal scores have equal intervals.
    """
    # The threshold is itself found on these rows, again in every draw.
    alarms = allowed_alarms(len(others))

    def rate(members: np.ndarray, others: np.ndarray) -> np.ndarray:
        threshold = np.sort(others, axis=-1)[..., ::-1][..., alarms, None]
        return (members > threshold).mean(axis=-1)

    rng = np.random.default_rng(0)
    drawn = [
        side[rng.integers(len(side), size=(TPR_DRAWS, len(side)))] for side in (members, others)
    ]
    low, high = np.quantile(rate(*drawn), LEVELS)
    value = float(rate(members, others))
    # Where no member, or every one, is found, resampling knows nothing of the other possibility.
    exact = clopper_pearson(round(value * len(members)), len(members))
    if value == 0:
        high = max(high, exact[1])
    if value == 1:
        low = min(low, exact[0])
    return value, float(min(low, value)), float(max(high, value))


def empirical_epsilon(
    members: np.ndarray,
    others: np.ndarray,
    threshold: float,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """The largest epsilon that an attack refutes: no (epsilon, delta)-private training has a
    smaller budget, with `confidence`.

    members, others: the attack's scores of rows trained on and not, shape (n,) each, a row above
    `threshold` being called a member. Privacy demands TPR <= exp(epsilon) FPR + delta, and the same
    of the two error rates (Kairouz, Oh and Viswanath 2015); Clopper-Pearson ends of both rates,
    each at half the error, take the place of the rates (Jagielski, Ullman and Oprea 2020). 0 or
    more. So even a faultless attack proves no more than its trials can: 4.0 with 200 a side, 5.6
    with 1,000. `threshold` must come from other scores than these, or the confidence is not kept.
    """
    # The two rates of the attack; each is known only up to its exact interval.
    found, alarms = int((members > threshold).sum()), int((others > threshold).sum())
    tpr = clopper_pearson(found, len(members), confidence)[0]
    fpr = clopper_pearson(alarms, len(others), confidence)[1]
    # The second demand is the first with the names exchanged: TNR against FNR, at the same two
    # ends.
    ratios = ((tpr - delta) / fpr, (1 - fpr - delta) / (1 - tpr) if tpr < 1 else np.inf)
    return float(np.log(max(*ratios, 1.0)))


def best_threshold(members: np.ndarray, others: np.ndarray) -> float:
    """The score above which calling a row a member proves the largest epsilon on these scores."""
    # Between two neighbouring scores nothing changes, so the middles are all thresholds there are.
    both = np.unique(np.concatenate([members, others]))
    between = (both[1:] + both[:-1]) / 2 if len(both) > 1 else both
    return float(max(between, key=lambda threshold: empirical_epsilon(members, others, threshold)))


def _nearest(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The number of the reference row nearest to each row, shape (len(rows),); searched in chunks,
    on one thread.
    """
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return (
            NearestNeighbors(n_neighbors=1, algorithm="brute")
            .fit(reference)
            .kneighbors(rows, return_distance=False)[:, 0]
        )
