"""Fairness of models: is one trained on the synthetic table less fair than one trained on train, on
the same real test?

Gradient boosting, which predicts its likeliest label. Intervals draw test rows again, paired for
the two models; they leave out what another training run would change. What a group is: see
groups.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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

ARMS = ("trained on train", "trained on synthetic")


def model_bias_amp(trial: Trial) -> Iterator[Row]:
    """BiasAmp (A -> T) of a model trained on the synthetic table minus that of one trained on
    train, on the same real test.

    A model's BiasAmp is the mean of s_at (P(predicted t|a) - P(t|a)) over test, s_at from train
    (Wang and Russakovsky 2021, eq. 1); the difference is in [-1, 1], 0 none, above 0 the synthetic
    table makes its models more biased. Regression targets are cut at the train median. Known
    failure: likeliest labels jump where a probability passes a half, so a group near it reads a
    large change after a small one; and see bias_amp.
    """
    metric = "model_bias_amp"
    if problem := _problem(trial):
        yield Row(metric, np.nan, state=INSUFFICIENT, note=problem)
        return
    groups = Groups.of(trial)
    known = trial.test[trial.schema.target.name].notna().to_numpy()
    predicted = [
        groups.encode_target(predicted_labels(trial, table))[known]
        for table in (trial.synthetic, trial.train)
    ]
    test = Resamples(
        np.column_stack([groups.encode(trial.test)[known], *predicted]), trial.rng(metric)
    )
    truth, sizes = groups.target, [*groups.sizes, *[groups.sizes[groups.target]] * 2]
    train, readings = Resamples(groups.encode(trial.train)), []
    for view in groups.views():
        real = train.table(*view, truth, sizes=sizes)[0]
        actual, synthetic_model, train_model = (
            test.table(*view, truth + k, sizes=sizes) for k in range(3)
        )
        signs, names = clear_signs(real), [groups.names(view), groups.names((truth,))]
        seen = real.any(axis=0) & (
            np.arange(sizes[truth]) < sizes[truth] - 1
        )  # a model never predicts a missing label
        mean, rows = amplified(
            metric, groups.title(view), signs, seen, train_model, synthetic_model, names, ARMS
        )
        if mean is not None:
            keep = np.ix_(actual[0].sum(axis=1) >= MIN_ROWS, seen)
            levels = [
                amplification(actual[0], model[0], signs)[keep].mean()
                for model in (train_model, synthetic_model)
            ]
            rows[0] = replace(
                rows[0], note="; ".join(filter(None, [levels_note(ARMS, levels), rows[0].note]))
            )
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
    from fairlearn import metrics as fairlearn

    difference = getattr(fairlearn, metric.replace("_shift", "_difference"))
    groups, target, given_truth = (
        Groups.of(trial),
        trial.test[trial.schema.target.name],
        len(rates) == 2,
    )
    texts = [
        labels(target),
        predicted_labels(trial, trial.train),
        predicted_labels(trial, trial.synthetic),
    ]
    outcomes = [np.asarray(text == trial.schema.positive).astype(int) for text in texts]
    codes = np.column_stack([groups.encode(trial.test)[:, : groups.target], *outcomes])
    test, sizes = (
        Resamples(codes[target.notna()], trial.rng(metric)),
        [*groups.sizes[: groups.target], 2, 2, 2],
    )
    # fairlearn is given the distinct rows and their numbers, which is a hundred times faster than
    # all rows and the same.
    (truth, *models), weights = test.cells[:, groups.target :].T, test.counts[0]
    constant = "".join(
        f"; the model {arm} predicts one label"
        for arm, m in zip(ARMS, models, strict=True)
        if not np.ptp(m)
    )
    needed = (
        f"{MIN_ROWS} positives and {MIN_ROWS} negatives" if given_truth else f"{MIN_ROWS} test rows"
    )
    totals, details = [], []
    for (j,) in groups.views(pairs=False):
        column, names, given = (
            groups.columns[j],
            groups.names((j,)),
            (j, groups.target) if given_truth else (j,),
        )
        tables = [test.table(*given, groups.target + 1 + m, sizes=sizes) for m in (0, 1)]
        counts = [table.reshape(len(table), -1, len(rates), 2) for table in tables]
        before, after = (shares(count)[..., 1] for count in counts)  # (1 + draws, groups, rates)
        enough = (counts[0][0].sum(axis=-1) >= MIN_ROWS).all(axis=-1)
        for g in np.flatnonzero(counts[0][0].sum(axis=(-2, -1))):
            if not enough[g]:
                note = f"insufficient: fewer than {needed}"
                details.append(
                    Row(
                        metric, np.nan, column=column, group=names[g], state=INSUFFICIENT, note=note
                    )
                )
                continue
            for r, rate in enumerate(rates):
                note = levels_note(ARMS, (before[0, g, r], after[0, g, r]))
                details.append(
                    reading(
                        metric,
                        after[:, g, r] - before[:, g, r],
                        column,
                        f"{names[g]}, {rate}",
                        note,
                    )
                )
        if enough.sum() < 2:
            note = f"insufficient: fewer than two groups with {needed}"
            totals.append(Row(metric, np.nan, column=column, state=INSUFFICIENT, note=note))
            continue
        group = test.cells[:, j]
        keep = enough[group]
        facts = {"sensitive_features": group[keep], "sample_weight": weights[keep]}
        levels = [float(difference(truth[keep], model[keep], **facts)) for model in models]
        spread = [np.ptp(share[:, enough], axis=1).max(axis=-1) for share in (before, after)]
        row = reading(
            metric, spread[1] - spread[0], column, note=levels_note(ARMS, levels) + constant
        )
        totals.append(replace(row, value=levels[1] - levels[0]))
    yield worst_column(metric, totals)
    yield from totals + details


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
    groups, positive = Groups.of(trial), trial.schema.positive
    known = trial.test[trial.schema.target.name].notna().to_numpy()
    truth = labels(trial.test[trial.schema.target.name])[known] == positive
    answers = [
        predictions(table, trial.test, trial.schema, "boosting", trial.seed)
        for table in (trial.train, trial.synthetic)
    ]
    # A label that is rare among many shares a probability with the other rare ones, and then has no
    # score of its own.
    scores = [answer[positive].to_numpy()[known] for answer in answers if positive in answer]
    codes, found, rows = groups.encode(trial.test)[known], [], []
    for view in groups.views():
        column, sizes = groups.title(view), [groups.sizes[j] for j in view]
        cell = np.ravel_multi_index(codes[:, view].T, sizes)
        if len(np.unique(cell)) < 2:
            rows.append(Row(metric, np.nan, column=column, state=INSUFFICIENT, note=ONE_LEVEL))
            continue
        for g in np.unique(cell):
            inside, name = cell == g, groups.names(view)[g]
            if min(truth[inside].sum(), (~truth[inside]).sum()) < MIN_ROWS or len(scores) < 2:
                note = f"insufficient: fewer than {MIN_ROWS} positives and {MIN_ROWS} negatives"
                rows.append(
                    Row(metric, np.nan, column=column, group=name, state=INSUFFICIENT, note=note)
                )
                continue
            (real, pull), (made, push) = (auc(truth[inside], score[inside]) for score in scores)
            low, high = from_influence(real - made, pull - push)
            rows.append(
                Row(
                    metric,
                    real - made,
                    low,
                    high,
                    column=column,
                    group=name,
                    note=levels_note(ARMS, (real, made)),
                )
            )
            found.append(rows[-1])
    if found:
        row = max(found, key=lambda row: row.value)
        half = (row.high - row.low) / 2 * norm.ppf(1 - 0.025 / len(found)) / Z
        note = f"{row.group}: {row.note}"
        yield Row(metric, row.value, row.value - half, row.value + half, note=note)
    else:
        single = all(row.note == ONE_LEVEL for row in rows)
        yield Row(
            metric,
            np.nan,
            state=INSUFFICIENT,
            note=ONE_LEVEL if single else "insufficient: no group is large enough",
        )
    yield from rows


def _problem(trial: Trial) -> str:
    """Why there is nothing to measure, or ""."""
    missing = trial.test[trial.schema.target.name].isna().all()
    return "insufficient: no test row has a target" if missing else ""


def predicted_labels(trial: Trial, table: pd.DataFrame) -> np.ndarray:
    """Test's predicted labels as text, or its predicted values, by gradient boosting fitted on
    `table`.
    """
    answer = predictions(table, trial.test, trial.schema, "boosting", trial.seed)
    return (
        answer["prediction"].to_numpy()
        if trial.schema.task == "regression"
        else answer.idxmax(axis=1).to_numpy()
    )
