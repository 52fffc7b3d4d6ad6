"""Bias of the generator itself: does the synthetic table strengthen, weaken or reverse what train
says about groups?

Everything is counted against TRAIN, the table that a generator has seen. Both tables' rows are
drawn again for an interval, which is cautious where the generator follows the very rows of train.
What a group is: see groups.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from workbench.metrics import INSUFFICIENT, OK, Row, Trial
from workbench.metrics.groups import (
    MIN_ROWS,
    Groups,
    Resamples,
    levels_note,
    reading,
    shares,
    worst_column,
)
from workbench.metrics.intervals import Z
from workbench.words import listed

EXPECTED = 10  # synthetic rows, from which on none at all is no chance (e^-10)
ONE_LEVEL = "insufficient: train has only one group or one target label"


def bias_amp(trial: Trial) -> Iterator[Row]:
    """Directional bias amplification of the generator itself, without a model; two metrics, one a
    direction.

    bias_amp (A -> T): mean over groups a and target labels t of s_at (P_syn(t|a) - P_train(t|a)),
    where s_at = sign(P(a,t) - P(a)P(t)) on train, and 0 where that
    association is not clear (|z| <= 1.96), found again in each resample: a sign read from the noise
    of the shares that it multiplies would pull the mean of fresh rows below 0. bias_amp_reverse (T
    -> A): the same with P(a|t). In [-1, 1]; 0 none, above 0 the association of train is amplified,
    below 0 it is weakened. Wang and Russakovsky, Directional Bias Amplification, ICML 2021, eq. 1,
    with the generator's rows in place of a model's predictions. The headline is the mean over the
    sensitive columns. Rows follow for each column and each pair of columns, for each group and for
    each (a, t), whose note has both shares. Known failure: an association that train is too small
    to show is not counted; the unweighted mean gives a small group the weight of a large one.
    """
    metrics = ("bias_amp", "bias_amp_reverse")
    # Both directions read the same resamples, so that they cannot contradict each other by chance.
    groups, train, synthetic = _resampled(trial, "bias_amp")
    for metric in metrics:
        readings = []
        for view in groups.views():
            before, after = (
                r.table(*view, groups.target, sizes=groups.sizes) for r in (train, synthetic)
            )
            names = [groups.names(view), groups.names((groups.target,))]
            if metric == "bias_amp_reverse":
                before, after, names = before.swapaxes(1, 2), after.swapaxes(1, 2), names[::-1]
            # In every resample anew: a sign that was fixed beforehand would follow the noise of the
            # shares it multiplies.
            signs, seen = clear_signs(before), before[0].any(axis=0)
            readings.append(
                amplified(
                    metric,
                    groups.title(view),
                    signs,
                    seen,
                    before,
                    after,
                    names,
                    ("train", "synthetic"),
                )
            )
        yield from with_mean(metric, readings, len(groups.sensitive))


def association_signs(counts: np.ndarray) -> np.ndarray:
    """sign(P(a,t) - P(a)P(t)) from counts of shape (A, T); exact, 0 where independent."""
    return np.sign(counts * counts.sum() - counts.sum(axis=1, keepdims=True) * counts.sum(axis=0))


def clear_signs(counts: np.ndarray) -> np.ndarray:
    """association_signs, 0 where train's own association is not clear: |z| <= 1.96, z the adjusted
    residual of the cell (Haberman 1973). Shape (..., A, T), as counts.
    """
    # An empty resample must not divide by zero.
    n = np.maximum(counts.sum(axis=(-2, -1), keepdims=True), 1)
    rows, columns = counts.sum(axis=-1, keepdims=True), counts.sum(axis=-2, keepdims=True)
    excess = counts - rows * columns / n
    variance = rows * columns / n * (1 - rows / n) * (1 - columns / n)
    clear = np.abs(excess) > Z * np.sqrt(variance)
    return np.sign(excess) * clear


def amplification(before: np.ndarray, after: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """s_at (P_after(t|a) - P_before(t|a)), shape (..., A, T), from counts of that shape; NaN for a
    group without rows.
    """
    return signs * (shares(after) - shares(before))


def amplified(
    metric, column, signs, seen, before, after, names, words
) -> tuple[np.ndarray | None, list[Row]]:
    """The draws of a column's mean amplification (None without a large enough group), and its rows,
    that mean first.

    before, after: counts, shape (1 + draws, groups, labels); names: of both axes; seen: the labels
    to average over.
    """
    terms, n_before, n_after = (
        amplification(before, after, signs),
        before[0].sum(axis=1),
        after[0].sum(axis=1),
    )
    # In both tables: a share of few rows is noise on either side.
    enough = (n_before >= MIN_ROWS) & (n_after >= MIN_ROWS)
    if np.count_nonzero(n_before) < 2 or seen.sum() < 2:
        return None, [Row(metric, np.nan, column=column, state=INSUFFICIENT, note=ONE_LEVEL)]
    rows = []
    for a in np.flatnonzero(n_before):
        if not enough[a]:
            note = f"insufficient: {min(n_before[a], n_after[a]):.0f} rows, {MIN_ROWS} needed"
            rows.append(
                Row(metric, np.nan, column=column, group=names[0][a], state=INSUFFICIENT, note=note)
            )
            continue
        rows.append(reading(metric, terms[:, a, seen].mean(axis=1), column, names[0][a]))
        for t in np.flatnonzero(seen):
            # The two shares are what a reader wants to see of a difference.
            note = levels_note(words, (before[0, a, t] / n_before[a], after[0, a, t] / n_after[a]))
            rows.append(
                reading(metric, terms[:, a, t], column, f"{names[0][a]}, {names[1][t]}", note)
            )
    if not enough.any():
        note = f"insufficient: no group has {MIN_ROWS} rows in both tables"
        return None, [Row(metric, np.nan, column=column, state=INSUFFICIENT, note=note), *rows]
    # Small groups have rows of their own, and no part in the mean.
    mean = terms[:, enough][:, :, seen].mean(axis=(1, 2))
    small = int((n_before > 0).sum() - enough.sum())
    return mean, [
        reading(metric, mean, column, note=f"without {small} small groups" if small else ""),
        *rows,
    ]


def with_mean(metric, readings, singles: int) -> Iterator[Row]:
    """The headline, the mean over the sensitive columns (the first `singles` readings) that can be
    read; then all rows.
    """
    if all(rows[0].note == ONE_LEVEL for _, rows in readings[:singles]):
        yield Row(metric, np.nan, state=INSUFFICIENT, note=ONE_LEVEL)
        return
    # Pairs of columns are listed below, but the headline is of single columns.
    means = [mean for mean, _ in readings[:singles] if mean is not None]
    without = [rows[0].column for mean, rows in readings[:singles] if mean is None]
    if means:
        yield reading(
            metric, np.mean(means, axis=0), note=f"without {listed(without)}" if without else ""
        )
    else:
        yield Row(
            metric,
            np.nan,
            state=INSUFFICIENT,
            note=f"insufficient: no group has {MIN_ROWS} rows in both tables",
        )
    for _, rows in readings:
        yield from rows


def bias_amp_zhao(trial: Trial) -> Iterator[Row]:
    """Bias amplification as first defined, of the generator itself: how much more a label's own
    groups stand behind it.

    Mean over target labels t of the sum, over the groups a with P_train(a|t) > 1 / groups, of
    P_syn(a|t) - P_train(a|t); Zhao, Wang, Yatskar, Ordonez and Chang 2017, "Men Also Like
    Shopping", with the generator's rows in place of predictions. 0 none, above 0 amplified. The
    headline is the mean over the sensitive columns. For continuity with older papers only. Known
    failures (Wang and Russakovsky 2021): a group that is common everywhere passes for one that
    belongs to every label, since base rates are ignored; a change of the groups' sizes alone moves
    it; gains and losses cancel. bias_amp has none.
    """
    metric = "bias_amp_zhao"
    groups, train, synthetic = _resampled(trial, metric)
    readings: list[tuple[np.ndarray | None, list[Row]]] = []
    for view in groups.views(pairs=False):
        column = groups.title(view)
        before, after = (
            r.table(*view, groups.target, sizes=groups.sizes) for r in (train, synthetic)
        )
        seen = before[0].any(axis=0)
        # Shares among the rows of a label: the label needs rows, not the group.
        enough = np.minimum(before[0].sum(axis=0), after[0].sum(axis=0)) >= MIN_ROWS
        if np.count_nonzero(before[0].any(axis=1)) < 2 or seen.sum() < 2:
            readings.append(
                (None, [Row(metric, np.nan, column=column, state=INSUFFICIENT, note=ONE_LEVEL)])
            )
        elif not enough.any():
            readings.append(
                (
                    None,
                    [
                        Row(
                            metric,
                            np.nan,
                            column=column,
                            state=INSUFFICIENT,
                            note=f"insufficient: no label has {MIN_ROWS} rows",
                        )
                    ],
                )
            )
        else:
            draws = zhao_amplification(before[..., enough], after[..., enough])
            left = int(seen.sum() - enough.sum())
            note = f"without {left} labels of fewer than {MIN_ROWS} rows" if left else ""
            readings.append((draws, [reading(metric, draws, column, note=note)]))
    yield from with_mean(metric, readings, len(readings))


def zhao_amplification(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Zhao et al.'s mean, shape (draws,), from counts of shape (draws, A, T); the first draw says
    which groups a label has.
    """
    before, after, groups = (
        shares(before.swapaxes(1, 2)),
        shares(after.swapaxes(1, 2)),
        before[0].any(axis=1).sum(),
    )
    # Zhao's definition: more than an even share of the label's rows.
    own = before[0] > 1 / groups
    return (np.nan_to_num(after - before) * own).sum(axis=2).mean(axis=1)


def bias_amp_multi(trial: Trial) -> Iterator[Row]:
    """How far the generator moves the label shares of groups and of their intersections, whichever
    way: nothing cancels.

    Mean over sets m and target labels t of |delta|, delta = s_mt (P_syn(t|m) - P_train(t|m)), s as
    in bias_amp. A set is a group of a sensitive column, or of two together, that has MIN_ROWS rows
    in both tables. Zhao, Andrews and Xiang 2023, "Men Also Do Laundry" (ICML), its directed form,
    with the generator's rows in place of predictions. In [0, 1]; 0 none. Rows: the variance of
    delta over the sets, and the mean for each column and pair of columns. Known failure: an
    absolute value of noise is above 0, the more so the smaller the groups: read it beside the
    ceiling.
    """
    metric = "bias_amp_multi"
    groups, train, synthetic = _resampled(trial, metric)
    deltas, rows, small = [], [], 0
    for view in groups.views():
        before, after = (
            r.table(*view, groups.target, sizes=groups.sizes) for r in (train, synthetic)
        )
        # The smaller of both tables decides whether a set can be read.
        sizes, seen = np.minimum(before[0].sum(axis=1), after[0].sum(axis=1)), before[0].any(axis=0)
        known, enough = before[0].any(axis=1), sizes >= MIN_ROWS
        if known.sum() < 2 or seen.sum() < 2:
            rows.append(
                Row(metric, np.nan, column=groups.title(view), state=INSUFFICIENT, note=ONE_LEVEL)
            )
            continue
        small += int((known & ~enough).sum())
        if not enough.any():
            note = f"insufficient: no group has {MIN_ROWS} rows in both tables"
            rows.append(
                Row(metric, np.nan, column=groups.title(view), state=INSUFFICIENT, note=note)
            )
            continue
        # A group that a resample has lost altogether has not moved.
        delta = np.nan_to_num(
            amplification(before, after, association_signs(before[0]))[:, enough][:, :, seen]
        )
        deltas.append(delta.reshape(len(delta), -1))
        rows.append(reading(metric, np.abs(deltas[-1]).mean(axis=1), groups.title(view)))
    if not deltas:
        reasons = [row.note for row in rows if row.note != ONE_LEVEL]
        yield Row(metric, np.nan, state=INSUFFICIENT, note=reasons[0] if reasons else ONE_LEVEL)
        return
    # Sets of all columns and pairs, each counting alike.
    delta = np.hstack(deltas)
    note = f"{delta.shape[1]} sets" + (f", without {small} small ones" if small else "")
    yield reading(metric, np.abs(delta).mean(axis=1), note=note)
    yield reading(metric, delta.var(axis=1), group="variance over the sets")
    yield from rows


def _presence(n_train: float, n_synthetic: float, shares: tuple[float, float]) -> str:
    """The words beside a group's reading: its two shares, or that it vanished or was invented."""
    if not n_synthetic:
        return f"vanished: {n_train:.0f} train rows, none synthetic"
    if not n_train:
        return f"invented: no train row, {n_synthetic:.0f} synthetic"
    note = levels_note(("train", "synthetic"), shares)
    return note if n_train >= MIN_ROWS else f"{note}; {n_train:.0f} train rows, not in the headline"


def representation(trial: Trial) -> Iterator[Row]:
    """How much rarer or commoner a group is: log-odds of P_syn(g) minus log-odds of P_train(g).

    0 none, below 0 the group is under-represented; natural logarithm, unbounded. Half a row is
    added to each of the four counts (Haldane 1956), so a vanished group has a finite reading: the
    worst its train count can give. Woolf intervals. The headline is the surest reading (the largest
    likelihood-ratio statistic) over all groups and pairs of columns with MIN_ROWS rows in train,
    with a Bonferroni interval, since it was picked out of many. Its note lists every vanished
    group. Every group of either table has a row; one of fewer rows than MIN_ROWS, or that train
    does not have, is insufficient. Known failure: the surest of many readings is away from 0 by
    chance alone; read it beside the ceiling.

    vanished_groups: how many groups have no synthetic row at all, though EXPECTED rows or more were
    expected from their share of train; a row follows for each. 0 is what fresh real rows read:
    chance loses such a group less than once in 20,000 times.
    """
    metric = "representation"
    groups = Groups.of(trial)
    train, synthetic = (Resamples(groups.encode(table)) for table in (trial.train, trial.synthetic))
    found, rows, vanished, lost = [], [], [], []
    for view in groups.views():
        n_train, n_synthetic = (
            r.table(*view, sizes=groups.sizes).ravel() for r in (train, synthetic)
        )
        # How many rows a group should have in a table of this length.
        expected = n_train / n_train.sum() * n_synthetic.sum()
        shift, error = log_odds_shift(n_train, n_synthetic)
        sure = evidence_of_shift(n_train, n_synthetic)
        if np.count_nonzero(n_train) < 2:
            rows.append(
                Row(metric, np.nan, column=groups.title(view), state=INSUFFICIENT, note=ONE_LEVEL)
            )
            continue
        for g in np.flatnonzero(n_train + n_synthetic):
            name = groups.names(view)[g]
            # A small group is listed with its counts, but decides nothing.
            state = OK if n_train[g] >= MIN_ROWS else INSUFFICIENT
            shares = (n_train[g] / n_train.sum(), n_synthetic[g] / n_synthetic.sum())
            note = _presence(n_train[g], n_synthetic[g], shares)
            # Named in any case; counted as lost only where chance cannot have done it.
            if not n_synthetic[g]:
                vanished.append(name)
                if expected[g] >= EXPECTED:
                    title = groups.title(view)
                    lost.append(Row("vanished_groups", 1.0, column=title, group=name, note=note))
            if n_train[g] >= MIN_ROWS:
                found.append((round(sure[g], 6), -shift[g], error[g], name))
            rows.append(
                Row(
                    metric,
                    shift[g],
                    *_wald(shift[g], error[g]),
                    column=groups.title(view),
                    group=name,
                    state=state,
                    note=note,
                )
            )
    gone = f"vanished: {listed(vanished)}" if vanished else ""
    if found:
        # The surest shift speaks, not the largest: the largest is as a rule that of the smallest
        # group, which moves most by chance. Of two that are equally sure, as the two halves of a
        # binary column always are, the one that has become rarer speaks.
        _, fall, error, name = max(found)
        value = 0.0 - fall
        low, high = _wald(value, error, tests=len(found))
        yield Row(metric, value, low, high, note="; ".join(filter(None, [name, gone])))
    else:
        single = all(row.note == ONE_LEVEL for row in rows)
        reason = ONE_LEVEL if single else f"insufficient: no group has {MIN_ROWS} train rows"
        yield Row(metric, np.nan, state=INSUFFICIENT, note="; ".join(filter(None, [reason, gone])))
    yield from rows
    if all(row.state == INSUFFICIENT for row in rows):
        yield Row("vanished_groups", np.nan, state=INSUFFICIENT, note=ONE_LEVEL)
        return
    yield Row("vanished_groups", float(len(lost)), note=listed([row.group for row in lost]))
    yield from lost


def log_odds_shift(real: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds ratio of each group's share and its standard error (Woolf 1955), from counts of
    shape (groups,).
    """
    # Half a row in each cell: a vanished group gets a finite reading, the worst its count can give.
    cells = [
        synthetic + 0.5,
        synthetic.sum() - synthetic + 0.5,
        real + 0.5,
        real.sum() - real + 0.5,
    ]
    return np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3]), np.sqrt(
        sum(1 / cell for cell in cells)
    )


def evidence_of_shift(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """The likelihood-ratio statistic (G squared) of each group's share in two tables, from counts
    of shape (groups,). Unlike z it is large for a vanished group.
    """
    total_real, total = real.sum(), synthetic.sum()
    pooled = (real + synthetic) / max(total_real + total, 1)
    # Observed against expected counts, of the group and of all others, in both tables.
    parts = [
        (real, total_real * pooled),
        (total_real - real, total_real * (1 - pooled)),
        (synthetic, total * pooled),
        (total - synthetic, total * (1 - pooled)),
    ]
    statistic = np.zeros(len(real))
    for observed, expected in parts:
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic += np.where(observed > 0, observed * np.log(observed / expected), 0)
    return 2 * statistic


def cramers_v_shift(trial: Trial) -> Iterator[Row]:
    """Bias-corrected Cramer's V of a sensitive column and the target, synthetic minus train; one
    row a column.

    In [-1, 1]; 0 none, above 0 the synthetic table ties group and target more closely. Bergsma
    2013, J. Korean Stat. Soc. 42. The headline is the largest shift by absolute value, its sign
    kept. Known failure: V says how strong an association is, not which way it goes; a reversed one
    reads 0 (bias_amp sees it).
    """
    metric = "cramers_v_shift"
    groups, train, synthetic = _resampled(trial, metric)
    rows = []
    for view in groups.views(pairs=False):
        title, counts = (
            groups.title(view),
            [r.table(*view, groups.target, sizes=groups.sizes) for r in (train, synthetic)],
        )
        # V of a constant column is not defined.
        if min(np.count_nonzero(counts[0][0].sum(axis=axis)) for axis in (0, 1)) < 2:
            rows.append(Row(metric, np.nan, column=title, state=INSUFFICIENT, note=ONE_LEVEL))
            continue
        before, after = map(cramers_v, counts)
        note = levels_note(("train", "synthetic"), (before[0], after[0]))
        rows.append(reading(metric, after - before, title, note=note))
    yield worst_column(metric, rows)
    yield from rows


def cramers_v(counts: np.ndarray) -> np.ndarray:
    """Bias-corrected Cramer's V, shape (...), in [0, 1], from counts of shape (..., A, T).

    Empty rows and columns do not count as levels; 0 where fewer than two levels are left on either
    side.
    """
    rows, columns = counts.sum(axis=-1, keepdims=True), counts.sum(axis=-2, keepdims=True)
    n = counts.sum(axis=(-2, -1))
    expected = rows * columns / n[..., None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.where(expected > 0, (counts - expected) ** 2 / expected, 0).sum(axis=(-2, -1))
        r, k = (rows > 0).sum(axis=(-2, -1)), (columns > 0).sum(axis=(-2, -1))
        # Bergsma's correction: chi-square of independent columns is above 0 by this much on
        # average.
        phi2 = np.maximum(0, squares / n - (r - 1) * (k - 1) / (n - 1))
        # The corrected number of levels on the shorter side, less one.
        least = np.minimum(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
        return np.where(least > 0, np.sqrt(phi2 / least), 0.0)


def _wald(value: float, error: float, tests: int = 1) -> tuple[float, float]:
    # Bonferroni, for one reading that was picked out of several.
    half = norm.ppf(1 - 0.025 / tests) * error
    return float(value - half), float(value + half)


def _resampled(trial: Trial, purpose: str) -> tuple[Groups, Resamples, Resamples]:
    """The trial's groups, and the bootstrap samples of its train and synthetic rows, both drawn
    from one stream.
    """
    groups, rng = Groups.of(trial), trial.rng(purpose)
    return (
        groups,
        Resamples(groups.encode(trial.train), rng),
        Resamples(groups.encode(trial.synthetic), rng),
    )
