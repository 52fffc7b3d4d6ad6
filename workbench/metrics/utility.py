"""Utility: what a learner loses on real rows when it is trained on synthetic ones (TSTR, Esteban et
al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, NOT_INFORMATIVE, OK, Row, Trial
from workbench.metrics.intervals import Z, auc, auc_interval, bootstrap, from_influence
from workbench.metrics.models import LEARNERS, OTHER, PANEL, labels, panel_predictions, predictions
from workbench.metrics.privacy import in_own_order
from workbench.tables.encode import to_float
from workbench.words import listed

LABEL_METRICS = ("tstr_auc", "average_precision", "brier", "log_loss", "calibration_error")
BINS = 15  # of calibration_error, equal in mass
NUMBER_METRICS = ("tstr_r2", "tstr_rmse")
RANKING_ROWS = 5000  # train rows an arm, and test rows, that model ranking reads
# Of a table of more than 120 columns an arm has fewer rows, at least 1,000. Simulated on 60 columns:
# with 3,000 rows for 5,000 tau moves by +.05 and -.02 on average of five tables each (half of the
# columns permuted; half of the cells), where it strays by .10 and .05 from table to table. 2,000
# rows move the second by -.08, which is more than it strays.
RANKING_CELLS = 600_000
MIN_PAIRS = 5
MIN_LABEL = 10  # test rows of a label, of three or more, that has a part in the macro mean
REPEATS = 200


def utility(trial: Trial) -> Iterator[Row]:
    """Train on the synthetic table, test on real test rows: one row for each learner in `group`,
    and their mean as the value.

    Labels: `tstr_auc` (ROC AUC of the positive label; one-against-rest, unweighted mean, for three
    or more, labels of fewer than
    MIN_LABEL test rows left out and named; 0.5 is chance), `average_precision` (likewise; its share
    of the rows is chance), `brier` (half the squared distance between the probabilities and the
    label, 0 to 1, down), `log_loss` (minus the log of the label's probability, down; a label ruled
    out costs 36) and `calibration_error` (Naeini et al. 2015, BINS bins of equal mass: mean
    distance between the probability said and the share found, one-against-rest for three or more, 0
    to 1, down; without a floor, for a model that knows the base rate alone is calibrated; chance
    lifts it above 0, as the ceiling shows). Numbers: `tstr_r2` (1 is perfect, 0 the mean of test,
    below is worse) and `tstr_rmse` (in the target's unit, down). `utility_ratio` is U = (TSTR -
    chance) / (TRTR - chance), TRTR the same mean for learners trained on train, AUC with chance 0.5
    or R2 with chance 0: 1 loses nothing, 0 is useless, not clipped. Intervals are over test rows;
    they leave the generator's own randomness out (run several seeds for that). Known failure: one
    target is one question; a table can be useful for it and wrong everywhere else.
    """
    task, reason = trial.schema.task, unscorable(trial)
    if reason:
        yield from (
            Row(name, np.nan, state=INSUFFICIENT, note=reason)
            for name in (*LABEL_METRICS, *NUMBER_METRICS, "utility_ratio")
        )
        return
    yield from _score_labels(trial) if task == "classification" else _score_numbers(trial)


def unscorable(trial: Trial) -> str:
    """Why no learner can be scored on test, or an empty text."""
    if trial.schema.target is None:
        return "the table has no target column."
    present = trial.test[trial.schema.target.name].dropna()
    if present.nunique() < 2:
        return (
            f"target {trial.schema.target.name!r} has {present.nunique()} distinct values in test,"
            " two are needed."
        )
    return ""


def _predicted(trial: Trial, table: pd.DataFrame, learner: str) -> pd.DataFrame:
    is_real = table is trial.train
    return predictions(table, trial.test, trial.schema, learner, trial.seed, is_real)


def _score_labels(trial: Trial) -> Iterator[Row]:
    def answers(table):
        found = {}
        for learner in LEARNERS:
            found[learner] = _Answer.of(trial, _predicted(trial, table, learner))
        return found

    tstr, trtr = answers(trial.synthetic), answers(trial.train)
    areas = {learner: answer.auc() for learner, answer in tstr.items()}
    yield from _areas(areas, tstr[LEARNERS[0]])

    rankings = {}
    for learner, answer in tstr.items():
        rankings[learner] = [Ranking(*pair) for pair in answer.one_against_rest]
    n = len(tstr[LEARNERS[0]].brier)

    def average_precision(rows, learners=LEARNERS):
        counts = np.bincount(rows, minlength=n)
        return float(
            np.mean(
                [
                    ranking.average_precision(counts)
                    for learner in learners
                    for ranking in rankings[learner]
                ]
            )
        )

    everyone = np.arange(n)
    interval = bootstrap(average_precision, n, trial.rng("average_precision"), repeats=100)
    yield Row("average_precision", average_precision(everyone), *interval)
    for learner in LEARNERS:
        yield Row("average_precision", average_precision(everyone, [learner]), group=learner)

    for name, highest in (("brier", 1), ("log_loss", np.inf)):
        losses = {learner: getattr(answer, name) for learner, answer in tstr.items()}
        yield from _mean_and_each(
            name,
            {learner: (float(loss.mean()), loss) for learner, loss in losses.items()},
            0,
            highest,
        )
    yield from _mean_and_each(
        "calibration_error",
        {learner: answer.calibration() for learner, answer in tstr.items()},
        0,
        1,
    )
    ceiling = _mean([answer.auc() for answer in trtr.values()])
    yield _ratio(_mean(list(areas.values())), ceiling, chance=0.5, score="ROC AUC")


def _areas(areas: dict[str, tuple[float, np.ndarray]], answer: _Answer) -> Iterator[Row]:
    """The rows of tstr_auc: their interval on the logit scale where one label is scored."""
    note = ""
    if answer.too_rare:
        note = f"without labels of fewer than {MIN_LABEL} test rows: {listed(answer.too_rare)}"
    for group, (value, influence) in {"": _mean(list(areas.values())), **areas}.items():
        if len(answer.one_against_rest) == 1:
            ends = auc_interval(value, influence, answer.one_against_rest[0][0])
        else:
            ends = from_influence(value, influence, lowest=0, highest=1)
        yield Row("tstr_auc", value, *ends, group=group, note=note)


@dataclass(frozen=True)
class _Answer:
    """What a learner's probabilities say of the test rows whose label is known."""

    # For each scored label: the rows that hold it, their scores.
    one_against_rest: list[tuple[np.ndarray, np.ndarray]]
    brier: np.ndarray
    log_loss: np.ndarray
    too_rare: list[str]  # labels that are not scored

    @classmethod
    def of(cls, trial: Trial, probability: pd.DataFrame) -> _Answer:
        truth = labels(trial.test[trial.schema.target.name])
        keep = pd.notna(truth)
        real = set(truth[keep]) | set(labels(trial.train[trial.schema.target.name])) - {None}
        probability, truth = probability[keep], truth[keep]
        truth = np.array(
            [label if label in probability else OTHER for label in truth], dtype=object
        )
        scored = (
            sorted(set(truth))
            if len(real) > 2 or trial.schema.positive not in real
            else [trial.schema.positive]
        )
        # Among three labels or more, one with a handful of test rows would count as much as any other
        # and swing the mean.
        counts = pd.Series(truth).value_counts()
        too_rare = [label for label in scored if len(scored) > 1 and counts[label] < MIN_LABEL]
        if len(too_rare) == len(scored):
            too_rare = []
        scored = [label for label in scored if label not in too_rare]
        hits = truth[:, None] == probability.columns.to_numpy(dtype=object)
        zero = np.zeros(len(truth))
        return cls(
            [
                (truth == label, probability[label].to_numpy() if label in probability else zero)
                for label in scored
            ],
            ((probability.to_numpy() - hits) ** 2).sum(axis=1) / 2,
            -np.log(np.maximum((probability.to_numpy() * hits).sum(axis=1), np.finfo(float).eps)),
            too_rare,
        )

    def auc(self) -> tuple[float, np.ndarray]:
        return _mean([auc(hit, score) for hit, score in self.one_against_rest])

    def calibration(self) -> tuple[float, np.ndarray]:
        return _mean([calibration_error(hit, score) for hit, score in self.one_against_rest])


def calibration_error(hit: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """The expected calibration error over BINS bins of equal mass, rows of one score in one bin;
    and each row's influence.
    """
    edges = np.unique(np.quantile(score, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    cell, excess = np.searchsorted(edges, score, side="left"), score - hit
    sign = np.sign(np.bincount(cell, weights=excess))
    moved = sign[cell] * excess
    return float(moved.mean()), moved


class Ranking:
    """Test rows from the highest score down, so that scores under any row weights are cumulative
    sums.

    hit: bool, shape (n,); score: float, shape (n,). The weights of the methods have shape (n,), in
    the rows' own order.
    """

    def __init__(self, hit: np.ndarray, score: np.ndarray):
        self.order = np.argsort(-score, kind="stable")
        self.hit = hit[self.order]
        # The last row of each run of ties.
        self.last = np.flatnonzero(np.append(np.diff(score[self.order]) != 0, True))

    def average_precision(self, weights: np.ndarray) -> float:
        """sum over thresholds of (recall_k - recall_k-1) precision_k, as scikit-learn defines it;
        NaN without positives.
        """
        true, called = self._counts(weights)
        if true[-1] == 0:
            return np.nan
        return float(np.sum(np.diff(true, prepend=0) * true / np.maximum(called, 1e-12)) / true[-1])

    def recall(self, weights: np.ndarray, false_positives: float) -> float:
        """The largest share of positives above a threshold that at most this share of negatives
        passes; NaN without any.
        """
        true, called = self._counts(weights)
        false = called - true
        if true[-1] == 0:
            return np.nan
        return float(true[false <= false_positives * false[-1]].max(initial=0) / true[-1])

    def _counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = weights[self.order]
        return np.cumsum(weights * self.hit)[self.last], np.cumsum(weights)[self.last]


def _score_numbers(trial: Trial) -> Iterator[Row]:
    def answers(table):
        return {learner: _predicted(trial, table, learner) for learner in LEARNERS}

    def rmse(answer):
        error = _squares(trial, answer)[0]
        value = np.sqrt(error.mean())
        return float(value), (error - error.mean()) / (2 * value) if value else 0 * error

    tstr, trtr = answers(trial.synthetic), answers(trial.train)
    r2 = {learner: score(trial, answer) for learner, answer in tstr.items()}
    yield from _mean_and_each("tstr_r2", r2, -np.inf, 1)
    yield from _mean_and_each(
        "tstr_rmse", {learner: rmse(answer) for learner, answer in tstr.items()}, 0, np.inf
    )
    ceiling = _mean([score(trial, answer) for answer in trtr.values()])
    yield _ratio(_mean(list(r2.values())), ceiling, chance=0.0, score="R2")


def score(trial: Trial, answer: pd.DataFrame) -> tuple[float, np.ndarray]:
    """The headline score of `predictions` of test, and the influence of each test row that has a
    target.

    Labels: ROC AUC, one-against-rest and unweighted for three or more. Numbers: R2.
    """
    if trial.schema.task == "classification":
        return _Answer.of(trial, answer).auc()
    error, away = _squares(trial, answer)
    value = 1 - error.mean() / away.mean()
    return float(value), -(error - (1 - value) * away) / away.mean()


def _squares(trial: Trial, answer: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of the test rows that have a target, and the squares that the mean of test
    would leave.
    """
    y = to_float(trial.test[trial.schema.target.name])
    known = ~np.isnan(y)
    y = y[known]
    return (y - answer["prediction"].to_numpy()[known]) ** 2, (y - y.mean()) ** 2


def model_ranking(trial: Trial) -> Iterator[Row]:
    """`kendall_tau`: does the synthetic table put models in the order that real rows put them in?

    Every configuration of PANEL is trained twice, on at most RANKING_ROWS rows (RANKING_CELLS
    cells) of one half of train and on as many synthetic rows, and scored on the same real test rows
    (ROC AUC, or R2 of numbers). tau is the mean over pairs of configurations of sign(difference
    after real training) * sign(difference after synthetic training), pairs left out whose paired
    95% interval after real training (DeLong; delta method for R2) holds 0 (Kendall 1938, as Somers
    1962 treats ties). -1 to 1, up; 1 keeps every order that real rows can tell, 0 is unrelated;
    fewer rows, which the note counts, tell fewer pairs apart. The interval is 1.96 standard
    deviations of tau where test rows are drawn again (scores moved by their influence values) and
    every configuration is trained again: it then strays by as much as the scores of the other half
    of train differ from those of the first. A copy of train, or of a part of it, is read by its
    other half, so the ceiling is what a second real sample of this size agrees with the first,
    below 1 as a rule; half of a synthetic table that is smaller than train is used too.
    Known failure: a dozen configurations with defaults; the order of tuned models may be kept where
    this is not.
    """
    if reason := unscorable(trial):
        yield Row("kendall_tau", np.nan, state=INSUFFICIENT, note=reason)
        return
    test = in_own_order(trial.test, trial.rng("kendall_tau"))
    real, synthetic, other = ranked_halves(trial)
    m = len(real)
    small = replace(trial, train=real, synthetic=synthetic, test=test.head(RANKING_ROWS))
    scores, influences = [], []
    for table in (small.train, small.synthetic):
        score, influence = _panel_scores(small, table, is_real=table is small.train)
        scores.append(score)
        influences.append(influence)
    values = np.array(scores)
    first, second = np.triu_indices(len(PANEL), 1)
    gap = influences[0][:, first] - influences[0][:, second]
    apart = np.abs(values[0, first] - values[0, second]) > Z * gap.std(axis=0) / np.sqrt(len(gap))
    note = (
        f"{apart.sum()} of {len(first)} pairs of configurations differ after training on {m:,} real"
        " rows"
    )
    if apart.sum() < MIN_PAIRS:
        yield Row(
            "kendall_tau", np.nan, state=NOT_INFORMATIVE, note=f"not informative: only {note}."
        )
        return
    first, second = first[apart], second[apart]

    def tau(scores):  # shape (2, ..., configurations)
        signs = np.sign(scores[..., first] - scores[..., second])
        return (signs[0] * signs[1]).mean(axis=-1)

    n = len(gap)
    weights = trial.rng("test rows").multinomial(n, np.full(n, 1 / n), size=REPEATS) / n
    drawn = []
    for score, influence in zip(values, influences, strict=True):
        drawn.append(score + weights @ influence)
    # What another sample of real rows would have taught each configuration; a shift that all of
    # them share leaves their order as it is.
    again, _ = _panel_scores(small, other, is_real=True)
    strays = (again - values[0]).std(ddof=1) / np.sqrt(2)
    noise = trial.rng("training rows").normal(0, strays, (2, REPEATS, len(PANEL)))
    half = Z * float(tau(np.stack(drawn) + noise).std(ddof=1))
    value = float(tau(values))
    yield Row("kendall_tau", value, max(value - half, -1.0), min(value + half, 1.0), note=note)


def _panel_scores(
    trial: Trial, table: pd.DataFrame, is_real: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scores on test of every configuration trained on the table, shape (configurations,), and the
    influence of test rows on them, shape (rows, configurations).
    """
    table = table.reset_index(drop=True)
    answers = panel_predictions(table, trial.test, trial.schema, trial.seed, is_real)
    scores = [score(trial, answers[name]) for name in PANEL]
    return np.array([value for value, _ in scores]), np.column_stack([part for _, part in scores])


def ranked_halves(trial: Trial) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Equally many train and synthetic rows, at most half of either, RANKING_ROWS and RANKING_CELLS,
    and as many other train rows.

    A row's own values decide on which side it may stand, train's low hashes against synthetic's
    high ones: rows of train that stand in the synthetic table are not in both, however many of
    them there are.
    """
    bound = min(RANKING_ROWS, max(RANKING_CELLS // len(trial.schema.columns), 1000))
    m = min(bound, len(trial.train) // 2, max(len(trial.synthetic) // 2, 1))
    # Multiplied by an odd number of its own, each seed has another order.
    odd = np.uint64(2 * int(trial.rng("kendall_tau halves").integers(2**62)) + 1)
    sides = []
    for table in (trial.train, trial.synthetic):
        code = pd.util.hash_pandas_object(table, index=False, categorize=False).to_numpy()
        order = np.argsort(code * odd, kind="stable")
        sides.append(table.iloc[order].reset_index(drop=True))
    train, synthetic = sides
    other = train.iloc[m : 2 * m].reset_index(drop=True)
    return train.head(m), synthetic.tail(m).reset_index(drop=True), other


def _mean(estimates: list[tuple[float, np.ndarray]]) -> tuple[float, np.ndarray]:
    """The mean of estimates on the same rows, with its influence values."""
    return float(np.mean([value for value, _ in estimates])), np.mean(
        [influence for _, influence in estimates], axis=0
    )


def _mean_and_each(
    metric: str, estimates: dict[str, tuple[float, np.ndarray]], lowest: float, highest: float
) -> Iterator[Row]:
    value, influence = _mean(list(estimates.values()))
    yield Row(metric, value, *from_influence(value, influence, lowest=lowest, highest=highest))
    for learner, (value, influence) in estimates.items():
        yield Row(
            metric,
            value,
            *from_influence(value, influence, lowest=lowest, highest=highest),
            group=learner,
        )


def _ratio(
    tstr: tuple[float, np.ndarray], trtr: tuple[float, np.ndarray], chance: float, score: str
) -> Row:
    """U with its interval over test rows, both arms on the same rows (delta method)."""
    gain = trtr[0] - chance
    low, _ = from_influence(*trtr)
    state, note = OK, ""
    if low <= chance:
        state = NOT_INFORMATIVE
        note = (
            f"not informative: learners trained on real rows are at chance ({score} {trtr[0]:.3f})."
        )
    if gain <= 0:
        return Row("utility_ratio", np.nan, state=state, note=note)
    value = (tstr[0] - chance) / gain
    return Row(
        "utility_ratio",
        value,
        *from_influence(value, (tstr[1] - value * trtr[1]) / gain),
        state=state,
        note=note,
    )
