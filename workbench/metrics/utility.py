"""Utility: what a learner loses on real rows when it is trained on synthetic ones (TSTR, Esteban et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.encode import to_float
from workbench.metrics import Row, Trial
from workbench.metrics.intervals import auc, bootstrap, from_influence
from workbench.metrics.models import LEARNERS, OTHER, labels, predictions

LABEL_METRICS = ("tstr_auc", "average_precision", "brier")
NUMBER_METRICS = ("tstr_r2", "tstr_rmse")


def utility(trial: Trial) -> Iterator[Row]:
    """Train on the synthetic table, test on real test rows: one row for each learner in `group`, and their mean as the value.

    Labels: `tstr_auc` (ROC AUC of the positive label; one-against-rest, unweighted mean, for three or more; 0.5 is chance),
    `average_precision` (likewise; its share of the rows is chance) and `brier` (half the squared distance between the
    probabilities and the label, 0 to 1, down). Numbers: `tstr_r2` (1 is perfect, 0 the mean of test, below is worse) and
    `tstr_rmse` (in the target's unit, down). `utility_ratio` is U = (TSTR - chance) / (TRTR - chance), TRTR the same mean for
    learners trained on train, AUC with chance 0.5 or R2 with chance 0: 1 loses nothing, 0 is useless, not clipped.
    Intervals are over test rows; they leave the generator's own randomness out (run several seeds for that).
    Known failure: one target is one question; a table can be useful for it and wrong everywhere else.
    """
    task, reason = trial.schema.task, _unscorable(trial)
    other = NUMBER_METRICS if task == "classification" else LABEL_METRICS
    if reason:
        yield from (Row(name, np.nan, note=reason) for name in (*LABEL_METRICS, *NUMBER_METRICS, "utility_ratio"))
        return
    yield from _score_labels(trial) if task == "classification" else _score_numbers(trial)
    held = "labels" if task == "classification" else "numbers"
    yield from (Row(name, np.nan, note=f"not applicable: the target holds {held}.") for name in other)


def _unscorable(trial: Trial) -> str:
    """Why no learner can be scored on test, or an empty text."""
    if trial.schema.target is None:
        return "not applicable: the table has no target column."
    present = trial.test[trial.schema.target.name].dropna()
    if present.nunique() < 2:
        return f"target {trial.schema.target.name!r} has {present.nunique()} distinct values in test, two are needed."
    return ""


def _score_labels(trial: Trial) -> Iterator[Row]:
    tstr = {learner: _Answer.of(trial, trial.synthetic, learner) for learner in LEARNERS}
    trtr = {learner: _Answer.of(trial, trial.train, learner) for learner in LEARNERS}
    areas = {learner: answer.auc() for learner, answer in tstr.items()}
    yield from _mean_and_each("tstr_auc", areas, 0, 1)

    rankings = {learner: [_Ranking(*pair) for pair in answer.one_against_rest] for learner, answer in tstr.items()}
    n = len(tstr[LEARNERS[0]].loss)

    def average_precision(rows, learners=LEARNERS):
        counts = np.bincount(rows, minlength=n)
        return float(np.mean([ranking.average_precision(counts) for learner in learners for ranking in rankings[learner]]))

    everyone = np.arange(n)
    interval = bootstrap(average_precision, n, trial.rng("average_precision"), repeats=100)
    yield Row("average_precision", average_precision(everyone), *interval)
    for learner in LEARNERS:
        yield Row("average_precision", average_precision(everyone, [learner]), group=learner)

    losses = {learner: (float(answer.loss.mean()), answer.loss) for learner, answer in tstr.items()}
    yield from _mean_and_each("brier", losses, 0, 1)
    ceiling = _mean([answer.auc() for answer in trtr.values()])
    yield _ratio(_mean(list(areas.values())), ceiling, chance=0.5, score="ROC AUC")


@dataclass(frozen=True)
class _Answer:
    """What a learner said of the test rows whose label is known."""

    one_against_rest: list[tuple[np.ndarray, np.ndarray]]  # for each scored label: the rows that hold it, their scores
    loss: np.ndarray

    @classmethod
    def of(cls, trial: Trial, table: pd.DataFrame, learner: str) -> _Answer:
        probability = predictions(table, trial.test, trial.schema, learner, trial.seed)
        truth = labels(trial.test[trial.schema.target.name])
        keep = pd.notna(truth)
        real = set(truth[keep]) | set(labels(trial.train[trial.schema.target.name])) - {None}
        probability, truth = probability[keep], truth[keep]
        truth = np.array([label if label in probability else OTHER for label in truth], dtype=object)
        scored = sorted(set(truth)) if len(real) > 2 or trial.schema.positive not in real else [trial.schema.positive]
        hits = truth[:, None] == probability.columns.to_numpy(dtype=object)
        zero = np.zeros(len(truth))
        return cls(
            [(truth == label, probability[label].to_numpy() if label in probability else zero) for label in scored],
            ((probability.to_numpy() - hits) ** 2).sum(axis=1) / 2,
        )

    def auc(self) -> tuple[float, np.ndarray]:
        return _mean([auc(hit, score) for hit, score in self.one_against_rest])


class _Ranking:
    """Test rows from the highest score down, so that average precision under any row weights is three cumulative sums."""

    def __init__(self, hit: np.ndarray, score: np.ndarray):
        self.order = np.argsort(-score, kind="stable")
        self.hit = hit[self.order]
        self.last = np.flatnonzero(np.append(np.diff(score[self.order]) != 0, True))  # the last row of each run of ties

    def average_precision(self, weights: np.ndarray) -> float:
        """sum over thresholds of (recall_k - recall_k-1) precision_k, as scikit-learn defines it; NaN without positives."""
        weights = weights[self.order]
        true, called = np.cumsum(weights * self.hit)[self.last], np.cumsum(weights)[self.last]
        if true[-1] == 0:
            return np.nan
        return float(np.sum(np.diff(true, prepend=0) * true / np.maximum(called, 1e-12)) / true[-1])


def _score_numbers(trial: Trial) -> Iterator[Row]:
    y = to_float(trial.test[trial.schema.target.name])
    keep = ~np.isnan(y)
    y = y[keep]
    away = (y - y.mean()) ** 2

    def errors(table, learner):
        return (y - predictions(table, trial.test, trial.schema, learner, trial.seed)["prediction"].to_numpy()[keep]) ** 2

    def r2(error):
        value = 1 - error.mean() / away.mean()
        return float(value), -(error - (1 - value) * away) / away.mean()

    def rmse(error):
        value = np.sqrt(error.mean())
        return float(value), (error - error.mean()) / (2 * value) if value else 0 * error

    arms = {learner: (errors(trial.synthetic, learner), errors(trial.train, learner)) for learner in LEARNERS}
    yield from _mean_and_each("tstr_r2", {learner: r2(pair[0]) for learner, pair in arms.items()}, -np.inf, 1)
    yield from _mean_and_each("tstr_rmse", {learner: rmse(pair[0]) for learner, pair in arms.items()}, 0, np.inf)
    yield _ratio(*(_mean([r2(pair[arm]) for pair in arms.values()]) for arm in (0, 1)), chance=0.0, score="R2")


def _mean(estimates: list[tuple[float, np.ndarray]]) -> tuple[float, np.ndarray]:
    """The mean of estimates on the same rows, with its influence values."""
    return float(np.mean([value for value, _ in estimates])), np.mean([influence for _, influence in estimates], axis=0)


def _mean_and_each(metric: str, estimates: dict[str, tuple[float, np.ndarray]], lowest: float, highest: float) -> Iterator[Row]:
    value, influence = _mean(list(estimates.values()))
    yield Row(metric, value, *from_influence(value, influence, lowest=lowest, highest=highest))
    for learner, (value, influence) in estimates.items():
        yield Row(metric, value, *from_influence(value, influence, lowest=lowest, highest=highest), group=learner)


def _ratio(tstr: tuple[float, np.ndarray], trtr: tuple[float, np.ndarray], chance: float, score: str) -> Row:
    """U with its interval over test rows, both arms on the same rows (delta method)."""
    gain = trtr[0] - chance
    low, _ = from_influence(*trtr)
    note = "" if low > chance else f"not informative: learners trained on real rows are at chance ({score} {trtr[0]:.3f})."
    if gain <= 0:
        return Row("utility_ratio", np.nan, note=note)
    value = (tstr[0] - chance) / gain
    return Row("utility_ratio", value, *from_influence(value, (tstr[1] - value * trtr[1]) / gain), note=note)
