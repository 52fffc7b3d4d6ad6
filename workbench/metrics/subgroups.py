"""Utility group by group: a table that serves most people may fail the few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.groups import MIN_ROWS, Groups
from workbench.metrics.intervals import Z, auc, auc_interval, from_influence
from workbench.metrics.models import LEARNERS, labels, predictions
from workbench.metrics.utility import unscorable
from workbench.tables.encode import to_float


def subgroup_tstr(trial: Trial) -> Iterator[Row]:
    """Train on synthetic, test on real, read on the test rows of each group of the sensitive columns.

    ROC AUC of the positive label (or the target's own score of R2 within the group, for numbers),
    the mean over the learners of `tstr_auc`. A group needs MIN_ROWS positives and as many negatives
    (MIN_ROWS rows for numbers). Up; 0.5 (or 0) is chance. Rows: every group that a sensitive column
    has. The headline is the lowest of them, with a Bonferroni interval, since it was picked out of
    several; its note names the smallest group that could be read and how many rows it has, and the
    groups that are too small. Esteban et al. 2017 for TSTR. Known failure: groups differ in how hard
    they are also on real rows: read each beside its own ceiling; what a group loses against real
    rows is `worst_group`.
    """
    metric, reason = "subgroup_tstr", unscorable(trial)
    if reason:
        yield Row(metric, np.nan, state=INSUFFICIENT, note=reason)
        return
    # Trained once on all synthetic rows: what differs between groups is the reading, not the model.
    answers = [
        predictions(trial.synthetic, trial.test, trial.schema, learner, trial.seed)
        for learner in LEARNERS
    ]
    groups = Groups.of(trial)
    codes = groups.encode(trial.test)
    rows, sizes, small = [], {}, []
    for (j,) in groups.views(pairs=False):
        for code in np.unique(codes[:, j]):
            name = groups.names((j,))[code]
            inside = codes[:, j] == code
            # A group that is too small has a row that says so, and no part in the headline.
            row = _read(trial, answers, inside)
            rows.append(replace(row, column=groups.title((j,)), group=name))
            if row.state == INSUFFICIENT:
                small.append(name)
            else:
                sizes[name] = int(inside.sum())
    yield _lowest(rows, sizes, small)
    yield from rows


def _lowest(rows: list[Row], sizes: dict[str, int], small: list[str]) -> Row:
    known = [row for row in rows if row.state != INSUFFICIENT]
    if not known:
        note = f"insufficient: no group has {MIN_ROWS} rows of each label in test"
        return Row("subgroup_tstr", np.nan, state=INSUFFICIENT, note=note)
    # The least of several, so with an interval for all of them.
    worst = min(known, key=lambda row: row.value)
    wider = float(norm.ppf(1 - 0.025 / len(known))) / Z
    low = worst.value - wider * (worst.value - worst.low)
    high = worst.value + wider * (worst.high - worst.value)
    smallest = min(sizes, key=sizes.get)
    note = f"{worst.group}; smallest group: {smallest}, {sizes[smallest]:,} test rows"
    if small:
        note += f"; too small: {', '.join(small)}"
    return Row("subgroup_tstr", worst.value, low, min(high, 1.0), note=note)


def _read(trial: Trial, answers: list, inside: np.ndarray) -> Row:
    """The reading of one group, in the mean over learners."""
    target = trial.schema.target.name
    inside = inside & trial.test[target].notna().to_numpy()
    if trial.schema.task == "regression":
        return _numbers(to_float(trial.test[target])[inside], [a[inside] for a in answers])
    hit = labels(trial.test[target])[inside] == trial.schema.positive
    counts = f"{int(hit.sum()):,} positives, {int((~hit).sum()):,} negatives"
    if min(hit.sum(), (~hit).sum()) < MIN_ROWS:
        note = f"insufficient: {counts}, {MIN_ROWS} needed of each"
        return Row("subgroup_tstr", np.nan, state=INSUFFICIENT, note=note)
    found = []
    for answer in answers:
        # A label that is rare among many shares a probability with others, and has no score.
        score = np.zeros(len(hit))
        if trial.schema.positive in answer:
            score = answer.loc[inside, trial.schema.positive].to_numpy()
        found.append(auc(hit, score))
    # The mean over learners, and of their influences: both read the same rows.
    value = float(np.mean([area for area, _ in found]))
    influence = np.mean([moves for _, moves in found], axis=0)
    return Row("subgroup_tstr", value, *auc_interval(value, influence, hit), note=counts)


def _numbers(truth: np.ndarray, answers: list) -> Row:
    if len(truth) < MIN_ROWS or np.ptp(truth) == 0:
        note = f"insufficient: {len(truth):,} rows, {MIN_ROWS} that vary are needed"
        return Row("subgroup_tstr", np.nan, state=INSUFFICIENT, note=note)
    # Against the group's own mean: a model that only tells groups apart earns nothing within one.
    away = (truth - truth.mean()) ** 2
    values, moves = [], []
    for answer in answers:
        error = (truth - answer["prediction"].to_numpy()) ** 2
        values.append(1 - error.mean() / away.mean())
        moves.append(-(error - (1 - values[-1]) * away) / away.mean())
    value = float(np.mean(values))
    ends = from_influence(value, np.mean(moves, axis=0), highest=1)
    return Row("subgroup_tstr", value, *ends, note=f"{len(truth):,} rows")
