"""Fairness of models: is one trained on the synthetic table less fair than one trained on train, on
the same real test?

The models are logistic regressions, which predict their likeliest label. Intervals hold both what
other test rows and what another training run would change: both models are fitted again on
resamples of their tables (see refits.py), and test rows are drawn again, paired for the two models.
A regression target is cut at the train median first. worst_group alone reads gradient boosting,
since a sum of effects orders the rows of each group alike, whatever else a table has lost; its
interval leaves out what another training run would change. What a group is: see groups.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.bias import ONE_LEVEL, amplification, amplified, clear_signs, with_mean
from workbench.metrics.groups import (
    MIN_ROWS,
    Groups,
    Resamples,
    levels_note,
    reading,
    shares,
    worst_column,
)
from workbench.metrics.intervals import Z, auc, from_influence
from workbench.metrics.models import labels, predictions
from workbench.metrics.refits import REFITS, Refits

ARMS = ("trained on train", "trained on synthetic")


@dataclass(frozen=True)
class Arms:
    """Both models' answers on the test rows whose target is known.

    Parameters
    ----------
    codes : each row's groups, and its target last, shape (rows, columns).
    weights : how often a row is drawn: once as observed, then at random, shape (1 + REFITS, rows).
    models : trained on train, on synthetic.
    predicted : each model's label codes, refit by refit, shape (1 + REFITS, rows).
    """

    groups: Groups
    test: pd.DataFrame
    codes: np.ndarray
    weights: np.ndarray
    models: list[Refits]
    predicted: list[np.ndarray]

    @classmethod
    def of(cls, trial: Trial) -> Arms:
        """The arms of a trial, fitted once however many metrics ask."""
        return trial.once("fairness arms", trial.synthetic, lambda: cls._fitted(trial))

    @classmethod
    def _fitted(cls, trial: Trial) -> Arms:
        groups = Groups.of(trial)
        known = trial.test[trial.schema.target.name].notna().to_numpy()
        test = trial.test[known].reset_index(drop=True)
        # The model of the real rows is the same for every synthetic table and reference.
        real = trial.once("real arm", trial.train, lambda: _model(trial, trial.train, "train"))
        models = [real, _model(trial, trial.synthetic, "synthetic")]
        predicted = [np.ascontiguousarray(model.predicted(test).T) for model in models]
        # One set of weights for both models: their difference is paired.
        weights = _drawn_again(len(test), trial.rng("fairness test rows"))
        return cls(groups, test, groups.encode(test), weights, models, predicted)

    def counts(self, view: tuple[int, ...], labels: np.ndarray, size: int) -> np.ndarray:
        """How often each label, int, shape (1 + REFITS, rows), is given to each cell of the groups;
        shape (1 + REFITS, cells, size).
        """
        sizes = [self.groups.sizes[j] for j in view]
        cells = int(np.prod(sizes))
        # One number for group and label, so that one bincount fills the table of a draw.
        cell = np.ravel_multi_index(self.codes[:, view].T, sizes) * size
        found = np.empty((len(labels), cells, size))
        # Labels that are given once, as the true ones, are counted as observed alone.
        for draw, (own, weight) in enumerate(zip(labels, self.weights, strict=False)):
            counted = np.bincount(cell + own, weights=weight, minlength=cells * size)
            found[draw] = counted.reshape(cells, size)
        return found


def _model(trial: Trial, table: pd.DataFrame, arm: str) -> Refits:
    groups = Groups.of(trial)
    target = trial.schema.target.name
    codes = groups.encode(table)[:, groups.target]
    # The last code is a missing target, or a label that train never had.
    known = codes < groups.sizes[groups.target] - 1
    inputs = [column for column in trial.schema.columns if column.name != target]
    rng = trial.rng(f"refits on {arm}")
    return Refits.of(table[known].reset_index(drop=True), codes[known], inputs, rng)


def _drawn_again(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Row weights: ones, then how often each row comes in REFITS bootstrap samples."""
    weights = np.ones((1 + REFITS, rows))
    for draw in range(REFITS):
        drawn = rng.integers(rows, size=rows)
        weights[1 + draw] = np.bincount(drawn, minlength=rows)
    return weights


def model_bias_amp(trial: Trial) -> Iterator[Row]:
    """BiasAmp (A -> T) of a model trained on the synthetic table minus that of one trained on
    train, on the same real test.

    A model's BiasAmp is the mean of s_at (P(predicted t|a) - P(t|a)) over test, s_at from train
    (Wang and Russakovsky 2021, eq. 1); the difference is in [-1, 1], 0 none, above 0 the synthetic
    table makes its models more biased. Known failure: likeliest labels jump where a probability
    passes a half, so a group near it reads a
    large change after a small one; and see bias_amp.
    """
    metric = "model_bias_amp"
    if problem := _problem(trial):
        yield Row(metric, np.nan, state=INSUFFICIENT, note=problem)
        return
    arms = Arms.of(trial)
    groups, target = arms.groups, arms.groups.target
    size = groups.sizes[target]
    # The signs are train's; what is resampled here are models and test rows.
    train = Resamples(groups.encode(trial.train))
    truth = arms.codes[:, target][None, :]
    readings = []
    for view in groups.views():
        real = train.table(*view, target, sizes=groups.sizes)[0]
        actual = arms.counts(view, truth, size)[0]
        train_model, synthetic_model = (arms.counts(view, p, size) for p in arms.predicted)
        signs, names = clear_signs(real), [groups.names(view), groups.names((target,))]
        # A model never predicts a missing label.
        seen = real.any(axis=0) & (np.arange(size) < size - 1)
        mean, rows = amplified(
            metric, groups.title(view), signs, seen, train_model, synthetic_model, names, ARMS
        )
        if mean is not None:
            keep = np.ix_(actual.sum(axis=1) >= MIN_ROWS, seen)
            levels = []
            for model in (train_model, synthetic_model):
                levels.append(amplification(actual, model[0], signs)[keep].mean())
            words = filter(None, [levels_note(ARMS, levels), rows[0].note])
            rows[0] = replace(rows[0], note="; ".join(words))
        readings.append((mean, rows))
    yield from with_mean(metric, readings, len(groups.sensitive))


def demographic_parity_shift(trial: Trial) -> Iterator[Row]:
    """Demographic parity difference of a model trained on the synthetic table minus that of one
    trained on train.

    The difference is fairlearn's: the largest minus the smallest share predicted positive over the
    groups of a sensitive column, both models on the same real test. In [-1, 1]; 0 none, above 0 the
    synthetic table makes its model less fair. Needs MIN_ROWS test rows a group. Rows: each column,
    with both levels in the note, and the change of each group's share. The headline is the largest
    shift by absolute value, its sign kept. Known failure: a useless model that predicts one label
    has parity 0, so a fall is only good news beside the utility; the note says where this happened.
    """
    yield from _fairness_shift(trial, "demographic_parity_shift", ["positive rate"])


def equalized_odds_shift(trial: Trial) -> Iterator[Row]:
    """Equalized odds difference of a model trained on the synthetic table minus that of one trained
    on train.

    fairlearn's, the larger of the differences in true and in false positive rate over the groups;
    needs MIN_ROWS positives and MIN_ROWS negatives of the real test in a group. Otherwise as
    demographic_parity_shift. Hardt, Price and Srebro 2016.
    """
    yield from _fairness_shift(
        trial, "equalized_odds_shift", ["false positive rate", "true positive rate"]
    )


def _fairness_shift(trial: Trial, metric: str, rates: list[str]) -> Iterator[Row]:
    problem = _problem(trial)
    if problem:
        yield Row(metric, np.nan, state=INSUFFICIENT, note=problem)
        return
    arms = Arms.of(trial)
    groups, given_truth = arms.groups, len(rates) == 2
    positive = positive_code(groups, trial.schema.positive)
    truth = (arms.codes[:, groups.target] == positive).astype(np.int64)
    outcomes = [(predicted == positive).astype(np.int64) for predicted in arms.predicted]
    constant = ""
    for arm, outcome in zip(ARMS, outcomes, strict=True):
        if not np.ptp(outcome[0]):
            constant += f"; the model {arm} predicts one label"
    needed = f"{MIN_ROWS} test rows"
    if given_truth:
        needed = f"{MIN_ROWS} positives and {MIN_ROWS} negatives"
    totals, details = [], []
    for view in groups.views(pairs=False):
        column = groups.title(view)
        counts = []
        for outcome in outcomes:
            # Outcome and truth in one code, where rates are taken within each truth.
            answer = outcome + 2 * truth if given_truth else outcome
            found = arms.counts(view, answer, 2 * len(rates))
            counts.append(found.reshape(len(found), -1, len(rates), 2))
        before, after = (shares(count)[..., 1] for count in counts)  # (draws, groups, rates)
        sizes = counts[0][0].sum(axis=-1)  # (groups, rates)
        enough = (sizes >= MIN_ROWS).all(axis=-1)
        names = groups.names(view)
        details += _rate_changes(metric, column, names, rates, before, after, sizes, needed)
        if enough.sum() < 2:
            note = f"insufficient: fewer than two groups with {needed}"
            totals.append(Row(metric, np.nan, column=column, state=INSUFFICIENT, note=note))
            continue
        # Small groups have no part in the gap: the largest of noisy rates is mostly noise.
        gaps = [largest_gap(share[:, enough]) for share in (before, after)]
        note = levels_note(ARMS, (gaps[0][0], gaps[1][0])) + constant
        totals.append(reading(metric, gaps[1] - gaps[0], column, note=note))
    yield worst_column(metric, totals)
    yield from totals + details


def _rate_changes(metric, column, names, rates, before, after, sizes, needed) -> Iterator[Row]:
    """The change of each rate of each group, from shares of shape (draws, groups, rates)."""
    for g in np.flatnonzero(sizes.sum(axis=1)):
        if (sizes[g] < MIN_ROWS).any():
            note = f"insufficient: fewer than {needed}"
            where = {"column": column, "group": names[g]}
            yield Row(metric, np.nan, **where, state=INSUFFICIENT, note=note)
            continue
        for r, rate in enumerate(rates):
            note = levels_note(ARMS, (before[0, g, r], after[0, g, r]))
            change = after[:, g, r] - before[:, g, r]
            yield reading(metric, change, column, f"{names[g]}, {rate}", note)


def largest_gap(rates: np.ndarray) -> np.ndarray:
    """fairlearn's difference: the largest minus the smallest rate over the groups, the larger of
    two such where there are two rates. rates: shape (draws, groups, rates); returns (draws,).
    """
    # A group that a resample has lost has no rate, and no part in the gap.
    return (np.nanmax(rates, axis=1) - np.nanmin(rates, axis=1)).max(axis=-1)


def positive_code(groups: Groups, positive: str) -> int:
    """The code of the positive label; -1 where train does not have it."""
    texts = [str(label) for label in groups.labels[groups.target]]
    return texts.index(positive) if positive in texts else -1


def worst_group(trial: Trial) -> Iterator[Row]:
    """The group that loses most: ROC AUC of a model trained on train minus that of one trained on
    the synthetic table.

    Both on the same real test rows of the group, which needs MIN_ROWS positives and MIN_ROWS
    negatives; other labels than the positive one are negatives. In [-1, 1]; 0 no group loses.
    DeLong's interval, paired. Rows: every group and every intersection of two columns. The headline
    is the largest of them, with a Bonferroni interval. Known failure: the largest of many readings
    is above 0 by chance; and AUC within a group is blind to a model that scores the whole group too
    low.
    """
    metric, problem = "worst_group", _problem(trial)
    if problem:
        yield Row(metric, np.nan, state=INSUFFICIENT, note=problem)
        return
    groups = Groups.of(trial)
    known = trial.test[trial.schema.target.name].notna().to_numpy()
    truth = labels(trial.test[trial.schema.target.name])[known] == trial.schema.positive
    scores = _both_scores(trial, known)
    codes = groups.encode(trial.test)[known]
    rows = []
    for view in groups.views():
        column, sizes = groups.title(view), [groups.sizes[j] for j in view]
        cell = np.ravel_multi_index(codes[:, view].T, sizes)
        if len(np.unique(cell)) < 2:
            rows.append(Row(metric, np.nan, column=column, state=INSUFFICIENT, note=ONE_LEVEL))
            continue
        for g in np.unique(cell):
            about = {"column": column, "group": groups.names(view)[g]}
            inside = cell == g
            rows.append(_lost_auc(truth[inside], [score[inside] for score in scores], about))
    yield _worst_of(rows)
    yield from rows


def _both_scores(trial: Trial, known: np.ndarray) -> list[np.ndarray]:
    """The positive label's scores of the known test rows, by the model of train and by that of the
    synthetic table; fewer than two where one of them has no score of its own.
    """
    answers = []
    for table in (trial.train, trial.synthetic):
        is_real = table is trial.train
        answers.append(
            predictions(table, trial.test, trial.schema, "boosting", trial.seed, is_real)
        )
    # A label that is rare among many shares a probability with the other rare ones, and then has no
    # score of its own.
    positive = trial.schema.positive
    return [answer[positive].to_numpy()[known] for answer in answers if positive in answer]


def _lost_auc(truth: np.ndarray, scores: list[np.ndarray], about: dict[str, Any]) -> Row:
    """What one group loses in AUC, with DeLong's interval for two models on the same rows."""
    metric = "worst_group"
    if min(truth.sum(), (~truth).sum()) < MIN_ROWS or len(scores) < 2:
        note = f"insufficient: fewer than {MIN_ROWS} positives and {MIN_ROWS} negatives"
        return Row(metric, np.nan, **about, state=INSUFFICIENT, note=note)
    (real, pull), (synthetic, push) = (auc(truth, score) for score in scores)
    # Paired: both models score the same rows, so what a row does to both cancels.
    low, high = from_influence(real - synthetic, pull - push)
    note = levels_note(ARMS, (real, synthetic))
    return Row(metric, real - synthetic, low, high, **about, note=note)


def _worst_of(rows: list[Row]) -> Row:
    """The headline: the largest loss, its interval widened for the number of groups that were
    looked through (Bonferroni), or why there is none.
    """
    metric = "worst_group"
    found = [row for row in rows if row.state != INSUFFICIENT]
    if found:
        row = max(found, key=lambda row: row.value)
        half = (row.high - row.low) / 2 * norm.ppf(1 - 0.025 / len(found)) / Z
        note = f"{row.group}: {row.note}"
        return Row(metric, row.value, row.value - half, row.value + half, note=note)
    note = "insufficient: no group is large enough"
    if all(row.note == ONE_LEVEL for row in rows):
        note = ONE_LEVEL
    return Row(metric, np.nan, state=INSUFFICIENT, note=note)


def _problem(trial: Trial) -> str:
    """Why there is nothing to measure, or ""."""
    missing = trial.test[trial.schema.target.name].isna().all()
    return "insufficient: no test row has a target" if missing else ""
