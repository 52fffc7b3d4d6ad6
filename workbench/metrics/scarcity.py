"""Where real rows are scarce: what synthetic rows add to them, to a rare class, to the edge of the
cloud and to the tails.

All but the last hold the synthetic table against train and test, so their ceiling is half of test
in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, NOT_APPLICABLE, NOT_INFORMATIVE, OK, Row, Trial
from workbench.metrics.fidelity import MAX_NEIGHBOUR_ROWS, K, standardised
from workbench.metrics.intervals import LEVELS, from_influence, wilson
from workbench.metrics.models import (
    ROUNDING,
    fingerprint,
    fit,
    kth_distance,
    labels,
    matrices,
    predictions,
    remembered,
    shared,
)
from workbench.metrics.privacy import in_own_order
from workbench.metrics.utility import Ranking, score, unscorable
from workbench.tables.encode import Codes, Features, to_float
from workbench.tables.schema import Schema

LEARNER = "boosting 100 rounds"
AUGMENT_ROWS = 20_000  # real rows, and synthetic ones, that the boosted trees are trained on
RARE_ROWS = 10_000  # train rows that the arms of rare_class_gain start from
MAX_SHARE = 0.3  # a class is rare below
MIN_RARE = 20
EDGE = 0.1  # share of test rows that lie at the edge
RARE_CELL = 5  # train rows that hold two labels together, at most
MAX_PAIRED = 20  # columns of labels that rare cells are looked for in
MAX_LEVELS = 200  # labels of one of them; the rarest ones share one
TAILS = (0.01, 0.99)  # percentiles of train between which a value is in no tail
REPEATS = 100


def augmentation_gain(trial: Trial) -> Iterator[Row]:
    """Score on real test rows of boosted trees trained on real and synthetic rows, minus that of
    real rows alone.

    ROC AUC, macro AUC for three labels or more, R2 for numbers; at most AUGMENT_ROWS rows of each
    table, drawn at random. -1 to 1 (R2: from minus infinity), up; 0 adds nothing, below 0 the added
    rows do harm. Paired interval over test rows (DeLong; delta method for R2). Known failure: with
    plenty of real rows even fresh real ones add little, so floor and ceiling lie close together;
    and one learner with defaults stands for all.
    """
    if reason := unscorable(trial):
        yield Row("augmentation_gain", np.nan, state=INSUFFICIENT, note=reason)
        return
    real, synthetic = (
        in_own_order(t, trial.rng("augmentation")).head(AUGMENT_ROWS)
        for t in (trial.train, trial.synthetic)
    )
    # The same learner and the same test rows: what differs is the added rows.
    arms = []
    for table in (pd.concat([real, synthetic], ignore_index=True), real):
        is_real = table is real
        answer = predictions(table, trial.test, trial.schema, LEARNER, trial.seed, is_real)
        arms.append(score(trial, answer))
    (joint, joint_influence), (alone, alone_influence) = arms
    name = "ROC AUC" if trial.schema.task == "classification" else "R2"
    note = (
        f"{name} {joint:.3f} with {len(synthetic):,} synthetic rows, {alone:.3f} with {len(real):,}"
        " real ones alone"
    )
    # Paired: the influence of a test row on both scores is subtracted row by row.
    gain = joint - alone
    yield Row(
        "augmentation_gain",
        gain,
        *from_influence(gain, joint_influence - alone_influence),
        note=note,
    )


def rare_class_gain(trial: Trial) -> Iterator[Row]:
    """Average precision for the rare label, trained on train + synthetic rows of it, minus the best
    cheap baseline.

    Boosted trees on at most RARE_ROWS train rows. Baselines: no remedy, class weights, random
    oversampling, SMOTENC (Chawla et al. 2002; gaps filled with medians). The last two and the
    synthetic rows are added until both labels are equally frequent, or as far as synthetic rows
    reach; all is fitted inside train. Rows: the gain, and by `group` the gain over each baseline,
    and over the baseline that does best there in recall at 1% and 5% false positives and in
    balanced accuracy. Only the last knows a threshold: 0.5, and one more baseline, no remedy with
    the threshold that does best out of fold in train. -1 to 1, up; above 0 the synthetic rows beat
    what costs nothing. Paired bootstrap of test rows. Known failure: the best baseline is chosen on
    the test rows that judge it, which costs the gain a little; published evidence says to expect
    none (Elor and Averbuch-Elor 2022).
    """
    rare, state, reason = _rare_label(trial)
    if reason:
        yield Row("rare_class_gain", np.nan, state=state, note=reason)
        return
    # Everything is encoded once; arms differ in rows and weights only.
    task = _RareTask(trial, rare)
    key = (fingerprint(task.train), fingerprint(task.test), trial.schema, "rare class", trial.seed)
    # They depend on real rows alone: once for all generators of a batch.
    baselines = remembered(key, lambda: shared(key, task.baselines))
    with_synthetic = task.learn(
        np.vstack([task.x, task.x_added]),
        np.append(task.y, np.ones(len(task.x_added), dtype=bool)),
    )
    answers = [with_synthetic(task.x_test)[:, 1], *baselines.values()]
    scores = _RareScores(task.truth, answers)
    value = scores.under(np.ones(len(task.truth)))
    resampled = scores.resampled(trial.rng("test rows"))

    def row(which: int, arm: int, group: str) -> Row:
        """The gain of synthetic rows, which are arm 0, over another arm, in one of the scores."""
        gain = value[which, 0] - value[which, arm]
        low, high = np.nanquantile(resampled[:, which, 0] - resampled[:, which, arm], LEVELS)
        note = (
            f"{_RareScores.NAMES[which]} {value[which, 0]:.3f} with {len(task.x_added):,} synthetic"
            f" rows, {value[which, arm]:.3f} with {list(baselines)[arm - 1]}"
        )
        return Row("rare_class_gain", float(gain), float(low), float(high), group=group, note=note)

    # The hardest rival in each score; arm 0 is the synthetic rows.
    best = 1 + value[:, 1:].argmax(axis=1)
    yield row(0, best[0], "")
    for arm, name in enumerate(baselines, start=1):
        # A threshold leaves the order of rows as it is, and with it the average precision.
        if name != "tuned threshold":
            yield row(0, arm, f"over {name}")
    for which in (1, 2, 3):
        yield row(which, best[which], f"in {_RareScores.NAMES[which]}")


class _RareTask:
    """Train, added synthetic and test rows of a rare label, as boosted trees read them.

    train, test       at most RARE_ROWS real rows; test rows, whose label is known
    x, y              their matrix, and whether each row has the rare label
    x_added           synthetic rows of the rare label, as many as equal frequency needs at most
    x_test, truth     as x and y, of the test rows
    """

    def __init__(self, trial: Trial, rare: str):
        self._trial = trial
        target = trial.schema.target.name
        inputs = [column for column in trial.schema.columns if column.name != target]
        ordered = []
        for table in (trial.train, trial.synthetic, trial.test):
            # A row without a label neither teaches nor judges.
            labelled = table[table[target].notna()]
            ordered.append(in_own_order(labelled, trial.rng("rare_class")))
        train, synthetic, test = ordered
        self.train = train.head(RARE_ROWS)
        self.test = test
        added = synthetic[labels(synthetic[target]) == rare]
        self._features = Features(self.train, inputs)
        self.x, self.x_test, x_added = matrices(self._features, [self.train, test, added], LEARNER)
        self.y = labels(self.train[target]) == rare
        self.truth = labels(test[target]) == rare
        # As many as make both labels equally frequent.
        self._lacking = max(len(self.y) - 2 * int(self.y.sum()), 0)
        self.x_added = x_added[: self._lacking]

    def learn(
        self, rows: np.ndarray, hits: np.ndarray, weights: np.ndarray | None = None
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Boosted trees for the rare label, as a function of rows to both labels' chances."""
        return fit(
            rows,
            hits.astype(int),
            LEARNER,
            self._features.categorical,
            self._trial.seed,
            "classification",
            weights,
        )

    def baselines(self) -> dict[str, np.ndarray]:
        """The chances that what costs nothing gives the test rows, by name, shape (rows,) each."""
        key = (fingerprint(self.train), self._trial.schema, "rare class arms", self._trial.seed)
        # Other test rows, such as the half that fresh real rows leave, need no other models.
        arms = remembered(key, self._arms)
        return {name: answer(self.x_test) for name, answer in arms.items()}

    def _arms(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """What costs nothing, fitted on train: functions of rows to the rare label's chances."""
        x, y = self.x, self.y
        rng = self._trial.rng("oversampling")
        # Drawn in this order, whatever the arms do: the stream decides the bytes.
        repeated = rng.choice(np.flatnonzero(y), self._lacking)
        weights = np.where(y, len(y) / (2 * y.sum()), len(y) / (2 * (~y).sum()))
        plain = self.learn(x, y)
        weighted = self.learn(x, y, weights)
        oversampled = self.learn(np.vstack([x, x[repeated]]), np.append(y, y[repeated]))
        # SMOTE cannot take gaps; trees can, so only this arm is filled.
        filler = _filler(x, self._features.categorical)
        seed = int(rng.integers(2**31))
        smote = self.learn(*_smote(filler(x), y, self._features.categorical, seed))
        # The best threshold is moved to 0.5, and the order of rows is kept.
        cut = np.clip(_tuned(self.learn, x, y, self._trial.seed), 1e-9, 1 - 1e-9)
        return {
            "none": lambda rows: plain(rows)[:, 1],
            "class weights": lambda rows: weighted(rows)[:, 1],
            "random oversampling": lambda rows: oversampled(rows)[:, 1],
            "SMOTENC": lambda rows: smote(filler(rows))[:, 1],
            "tuned threshold": lambda rows: np.interp(plain(rows)[:, 1], [0, cut, 1], [0, 0.5, 1]),
        }


class _RareScores:
    """What several arms' answers on the same test rows are worth, by four scores."""

    NAMES = (
        "average precision",
        "recall at 1% false positives",
        "recall at 5% false positives",
        "balanced accuracy",
    )

    def __init__(self, truth: np.ndarray, answers: list[np.ndarray]):
        self._truth = truth
        self._rankings = [Ranking(truth, answer) for answer in answers]
        self._called = np.array([answer > 0.5 for answer in answers])

    def under(self, weights: np.ndarray) -> np.ndarray:
        """Scores, shape (4, arms), with weighted test rows."""
        return np.array(
            [
                [ranking.average_precision(weights) for ranking in self._rankings],
                [ranking.recall(weights, 0.01) for ranking in self._rankings],
                [ranking.recall(weights, 0.05) for ranking in self._rankings],
                _balanced(self._truth, self._called, weights),
            ]
        )

    def resampled(self, rng: np.random.Generator) -> np.ndarray:
        """Scores of REPEATS bootstrap samples of the test rows, shape (REPEATS, 4, arms)."""
        n = len(self._truth)
        # Test rows drawn again as weights: one ranking serves every draw.
        shares = np.full(n, 1 / n)
        return np.stack([self.under(rng.multinomial(n, shares)) for _ in range(REPEATS)])


def _balanced(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the shares of both labels that are called rightly, under row weights: called (arms,
    n) gives (arms,).
    """
    shares = np.zeros(len(called))
    for kind in (True, False):
        of_kind = weights * (truth == kind)
        right = (called == kind) @ of_kind
        shares = shares + right / max(weights @ (truth == kind), 1)
    return shares / 2


def _tuned(learn: Callable, x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """The threshold with the best balanced accuracy of out-of-fold answers, three stratified folds
    of train.
    """
    from sklearn.model_selection import StratifiedKFold

    # Out of fold: a threshold tuned on rows the model has learnt would be too bold.
    answer = np.empty(len(y))
    for inside, outside in StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y):
        answer[outside] = learn(x[inside], y[inside])(x[outside])[:, 1]
    cuts = np.unique(np.quantile(answer, np.linspace(0, 1, 500), method="lower"))
    return float(cuts[_balanced(y, answer > cuts[:, None], np.ones(len(y))).argmax()])


def _rare_label(trial: Trial) -> tuple[str, str, str]:
    """The rarer of two labels in train; or the state of a row without it, and why there is none."""
    if reason := unscorable(trial):
        return "", INSUFFICIENT, reason
    if len(trial.schema.columns) == 1:
        reason = "not applicable: there is no column to learn the target from."
        return "", NOT_APPLICABLE, reason
    counts = pd.Series(labels(trial.train[trial.schema.target.name])).value_counts()
    if len(counts) != 2:
        reason = f"not applicable: the target has {len(counts)} labels in train, two are needed."
        return "", NOT_APPLICABLE, reason
    # value_counts puts the commoner label first.
    rare, share = counts.index[1], counts.iloc[1] / counts.sum()
    if share >= MAX_SHARE:
        words = f"the rarer label holds {share:.0%} of train, below {MAX_SHARE:.0%} is rare."
        return "", NOT_APPLICABLE, f"not applicable: {words}"
    held = min(
        counts.iloc[1] * min(1, RARE_ROWS / counts.sum()),
        (labels(trial.test[trial.schema.target.name]) == rare).sum(),
    )
    if held < MIN_RARE:
        reason = f"insufficient: {held:.0f} rows of the rarer label, {MIN_RARE} needed."
        return "", INSUFFICIENT, reason
    return rare, OK, ""


def _filler(x: np.ndarray, categorical: list[bool]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that fills the gaps of a matrix: numbers with the median of `x`, labels with a
    code of their own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the median of a column without any value
        middle, own = (
            np.nan_to_num(np.nanmedian(x, axis=0)),
            np.nan_to_num(np.nanmax(x, axis=0), nan=-1) + 1,
        )
    value = np.where(categorical, np.minimum(own, 253), middle)
    return lambda rows: np.where(np.isnan(rows), value, rows)


def _smote(
    x: np.ndarray, y: np.ndarray, categorical: list[bool], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    # imbalanced-learn has three of them, by what the columns hold.
    if not any(categorical):
        sampler = SMOTE(random_state=seed)
    elif all(categorical):
        sampler = SMOTEN(random_state=seed)
    else:
        sampler = SMOTENC(np.flatnonzero(categorical).tolist(), random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # So that squared distances stay finite.
        rows, hits = sampler.fit_resample(x.clip(-1e15, 1e15), y.astype(int))
    return rows, hits == 1


def edge_coverage(trial: Trial) -> Iterator[Row]:
    """Share of the real test rows in thin air that have a synthetic row at least as near as their
    K-th nearest train row.

    The edge is the tenth of test rows with the largest distance to their K-th nearest train row.
    Train and synthetic are cut to equally many rows, at most MAX_NEIGHBOUR_ROWS, and so is test;
    distances as for `coverage`. 0 to 1, up; fresh real rows read about 1 - 2^-K = 0.97, which the
    ceiling measures. Wilson's interval over the edge rows. The row "rare cells" is the share of
    test rows in a rare cell (two labels that at most RARE_CELL train rows hold together) whose rare
    cells all occur in the synthetic table. Known failure: a cloud blown up beyond the real one
    covers the edge well (C2ST and `coverage` see that).
    """
    # Equally many train and synthetic rows, or the longer table would reach further.
    m = min(len(trial.train), len(trial.synthetic), MAX_NEIGHBOUR_ROWS)
    if m <= K:
        yield Row(
            "edge_coverage",
            np.nan,
            state=NOT_INFORMATIVE,
            note=f"not informative: {m} train or synthetic rows, more than {K} are needed.",
        )
        return

    def edge():
        scale = replace(trial, train=in_own_order(trial.train, trial.rng("edge, train")).head(m))
        test = in_own_order(trial.test, trial.rng("edge, test")).head(MAX_NEIGHBOUR_ROWS)
        train, test = standardised(scale, [scale.train, test])
        radius = kth_distance(test, train, K)
        far = np.argsort(-radius, kind="stable")[: max(round(EDGE * len(test)), 1)]
        return scale, test[far], radius[far] + ROUNDING * (1 + np.linalg.norm(test[far], axis=1))

    scale, rows, reach = trial.once(f"edge {m}", trial.test, edge)
    (synthetic,) = standardised(scale, [in_own_order(trial.synthetic, trial.rng("edge")).head(m)])
    k, n = int((kth_distance(rows, synthetic, 1) <= reach).sum()), len(rows)
    yield Row(
        "edge_coverage",
        k / n,
        *wilson(k, n),
        note=f"{k:,} of {n:,} edge rows, {m:,} train and synthetic rows",
    )
    yield _rare_cells(trial)


def _rare_cells(trial: Trial) -> Row:
    names = [column.name for column in trial.schema.columns if column.is_discrete]
    # Pairs grow with the square of the columns; a random few are enough.
    names = sorted(names[j] for j in trial.rng("cells").permutation(len(names))[:MAX_PAIRED])
    codes = Codes(
        trial.train, Schema(tuple(trial.schema[name] for name in names)), max_levels=MAX_LEVELS
    )
    train, synthetic, test = (
        codes.encode(table) for table in (trial.train, trial.synthetic, trial.test)
    )
    rare, met = np.zeros((2, len(test)), dtype=bool)
    for j, k in combinations(range(len(names)), 2):
        cells = [table[:, j] * codes.sizes[k] + table[:, k] for table in (train, synthetic, test)]
        real_counts, synthetic_counts = (
            np.bincount(cell, minlength=codes.sizes[j] * codes.sizes[k])[cells[2]]
            for cell in cells[:2]
        )
        # Cells that train holds, but hardly.
        scarce = (real_counts > 0) & (real_counts <= RARE_CELL)
        met = np.where(scarce, (met | ~rare) & (synthetic_counts > 0), met)
        rare |= scarce
    k, n = int(met[rare].sum()), int(rare.sum())
    if n < MIN_RARE:
        return Row(
            "edge_coverage",
            np.nan,
            group="rare cells",
            state=INSUFFICIENT,
            note=f"insufficient: {n} such rows, {MIN_RARE} needed",
        )
    return Row(
        "edge_coverage",
        k / n,
        *wilson(k, n),
        group="rare cells",
        note=f"{k:,} of {n:,} test rows in a rare cell",
    )


def tail_mass(trial: Trial) -> Iterator[Row]:
    """How heavy the tails are: log of the share of values outside train's 1st to 99th percentile,
    synthetic over test.

    Over all numbers and dates together, and one row for each. 0 as heavy as real ones, below 0
    tails are cut off, above 0 too heavy; natural logarithm, half a value added to both counts.
    Columns without a value outside are left out. Interval from the rows' own counts, so that values
    of one row may go together. Known failure: says how much lies in the tails, not where; a value
    ten times too far out counts like one just outside.
    """
    hits, rows = [], []
    for name in (column.name for column in trial.schema.columns if not column.is_discrete):
        values = [to_float(table[name]) for table in (trial.train, trial.synthetic, trial.test)]
        low, high = (
            np.nanquantile(values[0], TAILS) if np.isfinite(values[0]).any() else (np.nan, np.nan)
        )
        # A gap compares as neither.
        outside = [((v < low) | (v > high)).astype(float) for v in values]
        if outside[0].any():
            in_synthetic, in_test = outside[1:]
            hits.append((in_synthetic, in_test))
            rows.append(_tail_row(in_synthetic, in_test, name))
    if not rows:
        yield Row(
            "tail_mass",
            np.nan,
            state=NOT_APPLICABLE,
            note="not applicable: no column of numbers or dates has values in its tails.",
        )
        return
    in_synthetic, in_test = (np.sum(side, axis=0) for side in zip(*hits, strict=True))
    yield _tail_row(in_synthetic, in_test)
    yield from rows


def _tail_row(synthetic: np.ndarray, test: np.ndarray, column: str = "") -> Row:
    """synthetic, test: how many tail values each row holds, float, shape (rows,)."""
    # Half a value added: cut-off tails have a finite reading.
    sides = [(side, (side.sum() + 0.5) / len(side)) for side in (synthetic, test)]
    value = float(np.log(sides[0][1] / sides[1][1]))
    interval = from_influence(value, *(side / mean for side, mean in sides))
    note = (
        f"{synthetic.sum():,.0f} values in {len(synthetic):,} synthetic, {test.sum():,.0f} in"
        f" {len(test):,} test rows"
    )
    return Row("tail_mass", value, *interval, column=column, note=note)
