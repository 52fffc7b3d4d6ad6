"""Bias: does the synthetic table strengthen, weaken or reverse what the real one says about groups?

Groups are the labels of each sensitive column, and the cells of each pair of them; missing values are a group of their
own. A numeric sensitive column is cut at its train quartiles, a regression target at its train median; a column with more
than 20 labels keeps the 19 commonest and pools the others as "(rare)". Everything is counted against TRAIN, the table
a generator has seen, unless a docstring says otherwise. A group needs MIN_ROWS rows in both tables to be read.

Intervals are 95% and come from a multinomial bootstrap of the contingency tables: both tables' rows are drawn again, which
is cautious where the generator follows the very rows of train. The percentiles of the deviations from the bootstrap's
mean are laid around the observed value, which takes out the bias that resampling itself adds to V and to a maximum.
A share of exactly 0 or 1 is never resampled to anything else; such a group's interval is too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import norm

from workbench.encode import Codes
from workbench.metrics import Row, Trial
from workbench.metrics.intervals import LEVELS
from workbench.metrics.models import labels, predictions
from workbench.schema import Schema

MIN_ROWS = 30  # the usual least count for a normal approximation to a share
MAX_LEVELS = 20
DRAWS = 500
ARMS = ("trained on train", "trained on synthetic")


def bias_amp(trial: Trial) -> Iterator[Row]:
    """Directional bias amplification of the generator itself, without a model; two metrics, one a direction.

    bias_amp (A -> T): mean over groups a and target labels t of s_at (P_syn(t|a) - P_train(t|a)), where
    s_at = sign(P(a,t) - P(a)P(t)) on train, held fixed while resampling.
    bias_amp_reverse (T -> A): the same with P(a|t).
    In [-1, 1]; 0 none, above 0 the association of train is amplified, below 0 it is weakened. Wang and Russakovsky,
    Directional Bias Amplification, ICML 2021, eq. 1, with the generator's rows in place of a model's predictions.
    The headline is the mean over the sensitive columns. Rows follow for each column and each pair of columns, for each
    group and for each (a, t), whose note has both shares.
    Known failure: where train itself shows hardly any association its sign is a coin's, and a fresh real sample then
    reads slightly below 0 (see the ceiling); the unweighted mean gives a small group the weight of a large one.
    """
    metrics = ("bias_amp", "bias_amp_reverse")
    problem = _lacks(trial.schema, target=True)
    if problem:
        yield from (Row(metric, np.nan, note=problem) for metric in metrics)
        return
    groups, rng = Groups(trial), trial.rng("bias_amp")
    train, synthetic = Resamples(groups.encode(trial.train), rng), Resamples(groups.encode(trial.synthetic), rng)
    for metric in metrics:
        readings = []
        for view in groups.views():
            before, after = (r.table(*view, groups.target, sizes=groups.sizes) for r in (train, synthetic))
            names = [groups.names(view), groups.names((groups.target,))]
            if metric == "bias_amp_reverse":
                before, after, names = before.swapaxes(1, 2), after.swapaxes(1, 2), names[::-1]
            signs, seen = association_signs(before[0]), before[0].any(axis=0)
            readings.append(_amplified(metric, groups.title(view), signs, seen, before, after, names, ("train", "synthetic")))
        yield from _with_mean(metric, readings, len(groups.sensitive))


def association_signs(counts: np.ndarray) -> np.ndarray:
    """sign(P(a,t) - P(a)P(t)) from counts of shape (A, T); exact, 0 where independent."""
    return np.sign(counts * counts.sum() - counts.sum(axis=1, keepdims=True) * counts.sum(axis=0))


def amplification(before: np.ndarray, after: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """s_at (P_after(t|a) - P_before(t|a)), shape (..., A, T), from counts of that shape; NaN for a group without rows."""
    return signs * (_shares(after) - _shares(before))


def model_bias_amp(trial: Trial) -> Iterator[Row]:
    """BiasAmp (A -> T) of a model trained on the synthetic table minus that of one trained on train, on the same real test.

    A model's BiasAmp is the mean of s_at (P(predicted t|a) - P(t|a)) over test, s_at from train (Wang and Russakovsky 2021,
    eq. 1); the difference is in [-2, 2], 0 none, above 0 the synthetic table makes its models more biased. Gradient
    boosting; each model predicts its likeliest label (a regression is cut at the train median). The interval draws test
    rows again, paired; it leaves out what another training run would change. Known failure: likeliest labels jump where a
    probability passes a half, so a group near it reads a large change after a small one; and see bias_amp.
    """
    metric = "model_bias_amp"
    if problem := _lacks(trial.schema, target=True):
        yield Row(metric, np.nan, note=problem)
        return
    groups = Groups(trial)
    known = trial.test[trial.schema.target.name].notna().to_numpy()
    predicted = [groups.encode_target(_predicted(trial, table))[known] for table in (trial.synthetic, trial.train)]
    test = Resamples(np.column_stack([groups.encode(trial.test)[known], *predicted]), trial.rng(metric))
    truth, sizes = groups.target, [*groups.sizes, *[groups.sizes[groups.target]] * 2]
    train, readings = Resamples(groups.encode(trial.train)), []
    for view in groups.views():
        real = train.table(*view, truth, sizes=sizes)[0]
        actual, synthetic_model, train_model = (
            test.table(*view, column, sizes=sizes) for column in (truth, truth + 1, truth + 2)
        )
        signs, names = association_signs(real), [groups.names(view), groups.names((truth,))]
        seen = real.any(axis=0) & (np.arange(sizes[truth]) < sizes[truth] - 1)  # a model never predicts a missing label
        mean, rows = _amplified(metric, groups.title(view), signs, seen, train_model, synthetic_model, names, ARMS)
        if mean is not None:
            keep = np.ix_(actual[0].sum(axis=1) >= MIN_ROWS, seen)
            levels = [amplification(actual[0], model[0], signs)[keep].mean() for model in (train_model, synthetic_model)]
            rows[0] = replace(rows[0], note="; ".join(filter(None, [_levels(ARMS, levels), rows[0].note])))
        readings.append((mean, rows))
    yield from _with_mean(metric, readings, len(groups.sensitive))


def _amplified(metric, column, signs, seen, before, after, names, words) -> tuple[np.ndarray | None, list[Row]]:
    """The draws of a column's mean amplification (None without a large enough group), and its rows, that mean first.

    before, after: counts, shape (1 + draws, groups, labels); names: of both axes; seen: the labels to average over.
    """
    terms, n_before, n_after = amplification(before, after, signs), before[0].sum(axis=1), after[0].sum(axis=1)
    enough = (n_before >= MIN_ROWS) & (n_after >= MIN_ROWS)
    rows = []
    for a in np.flatnonzero(n_before):
        if not enough[a]:
            note = f"insufficient: {min(n_before[a], n_after[a]):.0f} rows, {MIN_ROWS} needed"
            rows.append(Row(metric, np.nan, column=column, group=names[0][a], note=note))
            continue
        rows.append(_row(metric, terms[:, a, seen].mean(axis=1), column, names[0][a]))
        for t in np.flatnonzero(seen):
            note = _levels(words, (before[0, a, t] / n_before[a], after[0, a, t] / n_after[a]))
            rows.append(_row(metric, terms[:, a, t], column, f"{names[0][a]}, {names[1][t]}", note))
    if not enough.any():
        note = f"insufficient: no group has {MIN_ROWS} rows in both tables"
        return None, [Row(metric, np.nan, column=column, note=note), *rows]
    mean = terms[:, enough][:, :, seen].mean(axis=(1, 2))
    small = int((n_before > 0).sum() - enough.sum())
    return mean, [_row(metric, mean, column, note=f"without {small} small groups" if small else ""), *rows]


def _with_mean(metric, readings, singles: int) -> Iterator[Row]:
    """The headline, the mean over the sensitive columns (the first `singles` readings) that can be read; then all rows."""
    means = [mean for mean, _ in readings[:singles] if mean is not None]
    without = [rows[0].column for mean, rows in readings[:singles] if mean is None]
    if means:
        yield _row(metric, np.mean(means, axis=0), note=f"without {_listed(without)}: groups too small" if without else "")
    else:
        yield Row(metric, np.nan, note=f"insufficient: no group has {MIN_ROWS} rows in both tables")
    for _, rows in readings:
        yield from rows


def representation(trial: Trial) -> Iterator[Row]:
    """How much rarer or commoner a group is: log-odds of P_syn(g) minus log-odds of P_train(g).

    0 none, below 0 the group is under-represented; natural logarithm, unbounded. Half a row is added to each of the four
    counts (Haldane 1956), so a vanished group has a finite reading: the worst its train count can give. Woolf intervals.
    The headline is the largest reading by absolute value, its sign kept, over all groups and pairs of columns with
    MIN_ROWS rows in train, with a Bonferroni interval, since it was picked out of many. Its note lists every vanished group.
    Known failure: the largest of many readings is above 0 by chance alone; read it beside the ceiling.
    """
    metric = "representation"
    if problem := _lacks(trial.schema):
        yield Row(metric, np.nan, note=problem)
        return
    groups = Groups(trial)
    train, synthetic = (Resamples(groups.encode(table)) for table in (trial.train, trial.synthetic))
    found, rows, vanished = [], [], []
    for view in groups.views():
        n_train, n_synthetic = (r.table(*view, sizes=groups.sizes).ravel() for r in (train, synthetic))
        shift, error = log_odds_shift(n_train, n_synthetic)
        for g in np.flatnonzero(n_train):
            name = groups.names(view)[g]
            note = _levels(("train", "synthetic"), (n_train[g] / n_train.sum(), n_synthetic[g] / n_synthetic.sum()))
            if not n_synthetic[g]:
                vanished.append(name)
                note = f"vanished: {n_train[g]:.0f} train rows, none synthetic"
            elif n_train[g] < MIN_ROWS:
                note += f"; {n_train[g]:.0f} train rows, not in the headline"
            if n_train[g] >= MIN_ROWS:
                found.append((shift[g], error[g], name))
            rows.append(Row(metric, shift[g], *_wald(shift[g], error[g]), groups.title(view), name, note))
    gone = f"vanished: {_listed(vanished)}" if vanished else ""
    if found:
        value, error, name = max(found, key=lambda reading: abs(reading[0]))
        low, high = _wald(value, error, tests=len(found))
        yield Row(metric, value, low, high, note="; ".join(filter(None, [name, gone])))
    else:
        yield Row(metric, np.nan, note="; ".join(filter(None, [f"insufficient: no group has {MIN_ROWS} train rows", gone])))
    yield from rows


def log_odds_shift(real: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds ratio of each group's share and its standard error (Woolf 1955), from counts of shape (groups,)."""
    cells = [synthetic + 0.5, synthetic.sum() - synthetic + 0.5, real + 0.5, real.sum() - real + 0.5]
    return np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3]), np.sqrt(sum(1 / cell for cell in cells))


def cramers_v_shift(trial: Trial) -> Iterator[Row]:
    """Bias-corrected Cramer's V of a sensitive column and the target, synthetic minus train; one row a column.

    In [-1, 1]; 0 none, above 0 the synthetic table ties group and target more closely. Bergsma 2013, J. Korean Stat.
    Soc. 42. The headline is the largest shift by absolute value, its sign kept. Known failure: V says how strong an
    association is, not which way it goes; a reversed one reads 0 (bias_amp sees it).
    """
    metric = "cramers_v_shift"
    if problem := _lacks(trial.schema, target=True):
        yield Row(metric, np.nan, note=problem)
        return
    groups, rng = Groups(trial), trial.rng(metric)
    train, synthetic = Resamples(groups.encode(trial.train), rng), Resamples(groups.encode(trial.synthetic), rng)
    rows = []
    for view in groups.views(pairs=False):
        before, after = (cramers_v(r.table(*view, groups.target, sizes=groups.sizes)) for r in (train, synthetic))
        rows.append(
            _row(metric, after - before, groups.title(view), note=_levels(("train", "synthetic"), (before[0], after[0])))
        )
    yield _worst(metric, rows)
    yield from rows


def cramers_v(counts: np.ndarray) -> np.ndarray:
    """Bias-corrected Cramer's V, shape (...), in [0, 1], from counts of shape (..., A, T).

    Empty rows and columns do not count as levels; 0 where fewer than two levels are left on either side.
    """
    rows, columns = counts.sum(axis=-1, keepdims=True), counts.sum(axis=-2, keepdims=True)
    n = counts.sum(axis=(-2, -1))
    expected = rows * columns / n[..., None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.where(expected > 0, (counts - expected) ** 2 / expected, 0).sum(axis=(-2, -1))
        r, k = (rows > 0).sum(axis=(-2, -1)), (columns > 0).sum(axis=(-2, -1))
        phi2 = np.maximum(0, squares / n - (r - 1) * (k - 1) / (n - 1))
        least = np.minimum(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
        return np.where(least > 0, np.sqrt(phi2 / least), 0.0)


def demographic_parity_shift(trial: Trial) -> Iterator[Row]:
    """Demographic parity difference of a model trained on the synthetic table minus that of one trained on train.

    The difference is fairlearn's: the largest minus the smallest share predicted positive over the groups of a sensitive
    column, both models on the same real test. In [-1, 1]; 0 none, above 0 the synthetic table makes its model less fair.
    Needs MIN_ROWS test rows a group. Rows: each column, with both levels in the note, and the change of each group's
    share. The headline is the largest shift by absolute value, its sign kept. Gradient boosting at its likeliest label;
    paired bootstrap of test rows, which leaves out what another training run would change. Known failure: a useless
    model that predicts one label has parity 0, so a fall is only good news beside the utility.
    """
    yield from _fairness_shift(trial, "demographic_parity_shift", ["positive rate"])


def equalized_odds_shift(trial: Trial) -> Iterator[Row]:
    """Equalized odds difference of a model trained on the synthetic table minus that of one trained on train.

    fairlearn's, the larger of the differences in true and in false positive rate over the groups; needs MIN_ROWS positives
    and MIN_ROWS negatives of the real test in a group. Otherwise as demographic_parity_shift. Hardt, Price and Srebro 2016.
    """
    yield from _fairness_shift(trial, "equalized_odds_shift", ["false positive rate", "true positive rate"])


def _fairness_shift(trial: Trial, metric: str, rates: list[str]) -> Iterator[Row]:
    problem = _lacks(trial.schema, target=True)
    if not problem and trial.schema.task == "regression":
        problem = "not applicable: not defined for a regression target"
    if problem:
        yield Row(metric, np.nan, note=problem)
        return
    from fairlearn import metrics as fairlearn

    difference = getattr(fairlearn, metric.replace("_shift", "_difference"))
    known = trial.test[trial.schema.target.name].notna().to_numpy()
    texts = [labels(trial.test[trial.schema.target.name])] + [_predicted(trial, t) for t in (trial.train, trial.synthetic)]
    outcomes = [np.asarray(text == trial.schema.positive)[known].astype(int) for text in texts]
    groups = Groups(trial)
    test = Resamples(np.column_stack([groups.encode(trial.test)[known][:, : groups.target], *outcomes]), trial.rng(metric))
    # fairlearn is given the distinct rows and their numbers, which is a hundred times faster than all rows and the same.
    (truth, *models), weights = test.cells[:, groups.target :].T, test.counts[0]
    sizes = [*groups.sizes[: groups.target], 2, 2, 2]
    constant = "".join(f"; the model {arm} predicts one label" for arm, m in zip(ARMS, models, strict=True) if not np.ptp(m))
    needed = f"{MIN_ROWS} positives and {MIN_ROWS} negatives" if len(rates) == 2 else f"{MIN_ROWS} test rows"
    totals, details = [], []
    for (j,) in groups.views(pairs=False):
        given = (j, groups.target) if len(rates) == 2 else (j,)
        counts = [test.table(*given, groups.target + 1 + m, sizes=sizes) for m in (0, 1)]
        counts = [table.reshape(len(table), -1, len(rates), 2) for table in counts]
        enough = (counts[0][0].sum(axis=-1) >= MIN_ROWS).all(axis=-1)
        share = [_shares(table)[..., 1] for table in counts]  # (1 + draws, groups, rates)
        for g in np.flatnonzero(counts[0][0].sum(axis=(-2, -1))):
            name = groups.names((j,))[g]
            if not enough[g]:
                details.append(
                    Row(metric, np.nan, column=groups.columns[j], group=name, note=f"insufficient: fewer than {needed}")
                )
                continue
            for r, rate in enumerate(rates):
                note = _levels(ARMS, (share[0][0, g, r], share[1][0, g, r]))
                details.append(_row(metric, share[1][:, g, r] - share[0][:, g, r], groups.columns[j], f"{name}, {rate}", note))
        if enough.sum() < 2:
            note = f"insufficient: fewer than two groups with {needed}"
            totals.append(Row(metric, np.nan, column=groups.columns[j], note=note))
            continue
        group = test.cells[:, j]
        keep = enough[group]
        facts = {"sensitive_features": group[keep], "sample_weight": weights[keep]}
        before, after = (difference(truth[keep], model[keep], **facts) for model in models)
        spread = [np.ptp(s[:, enough], axis=1).max(axis=-1) for s in share]
        row = _row(metric, spread[1] - spread[0], groups.columns[j], note=_levels(ARMS, (before, after)) + constant)
        totals.append(replace(row, value=after - before))
    yield _worst(metric, totals)
    yield from totals + details


class Groups:
    """A trial's sensitive columns, and its target where it has one, as codes fitted on train; the target comes last."""

    def __init__(self, trial: Trial):
        schema = trial.schema
        parts = [(schema.sensitive, 4), ((schema.target,), 2)] if schema.target else [(schema.sensitive, 4)]
        self.parts = [Codes(trial.train, Schema(columns), bins, MAX_LEVELS) for columns, bins in parts]
        self.columns = [column.name for part in self.parts for column in part.schema.columns]
        self.labels = [part.labels(column.name) for part in self.parts for column in part.schema.columns]
        self.sizes = [size for part in self.parts for size in part.sizes]
        self.sensitive = range(len(schema.sensitive))
        self.target = len(self.sensitive)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Codes, shape (rows, columns)."""
        return np.hstack([part.encode(table) for part in self.parts])

    def encode_target(self, values: np.ndarray) -> np.ndarray:
        """Codes of predicted labels (as text) or values, shape (rows,)."""
        column = self.parts[-1].schema.columns[0]
        values = pd.Series(values, name=column.name)
        if column.kind == "boolean":
            values = values.map({"True": True, "False": False})
        return self.parts[-1].encode_column(values)

    def views(self, pairs: bool = True) -> list[tuple[int, ...]]:
        """Each sensitive column on its own, then each pair, as positions."""
        return [(j,) for j in self.sensitive] + (list(combinations(self.sensitive, 2)) if pairs else [])

    def title(self, view: tuple[int, ...]) -> str:
        return " x ".join(self.columns[j] for j in view)

    def names(self, view: tuple[int, ...]) -> list[str]:
        """A name for every cell of a view, like "race=black, male=True"."""
        labels = [[f"{self.columns[j]}={label}" for label in self.labels[j]] for j in view]
        return [", ".join(cell) for cell in product(*labels)]


class Resamples:
    """How often each distinct row of a code matrix occurs: as observed first, then in DRAWS bootstrap samples.

    Drawing the joint counts once and adding them up keeps all tables of one sample consistent. Without rng, no draws.
    """

    def __init__(self, codes: np.ndarray, rng: np.random.Generator | None = None):
        self.cells, counts = np.unique(codes, axis=0, return_counts=True)
        draws = np.empty((0, len(counts))) if rng is None else rng.multinomial(len(codes), counts / len(codes), size=DRAWS)
        self.counts = np.vstack([counts, draws]).astype(float)

    def table(self, *columns: int, sizes: list[int]) -> np.ndarray:
        """Counts, shape (1 + draws, product of the sizes of all columns but the last, size of the last column)."""
        shape = [sizes[j] for j in columns]
        cell = np.ravel_multi_index([self.cells[:, j] for j in columns], shape)
        add = csr_array((np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=(int(np.prod(shape)), len(cell)))
        return (add @ self.counts.T).T.reshape(len(self.counts), -1, shape[-1])


def _predicted(trial: Trial, table: pd.DataFrame) -> np.ndarray:
    """Test's predicted labels as text, or its predicted values, by gradient boosting fitted on `table`."""
    answer = predictions(table, trial.test, trial.schema, "boosting", trial.seed)
    return answer["prediction"].to_numpy() if trial.schema.task == "regression" else answer.idxmax(axis=1).to_numpy()


def _lacks(schema: Schema, target: bool = False) -> str:
    """Why a metric has nothing to measure, or ""."""
    if not schema.sensitive:
        return "not applicable: no sensitive column declared"
    return "not applicable: no target column declared" if target and schema.target is None else ""


def _shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of their sum along the last axis; NaN where it is 0."""
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=-1, keepdims=True)


def _row(metric: str, draws: np.ndarray, column: str = "", group: str = "", note: str = "") -> Row:
    """A row from a statistic as observed (first) and in each bootstrap sample."""
    value = float(draws[0])
    low, high = value + np.quantile(draws[1:], LEVELS) - draws[1:].mean()
    return Row(metric, value, float(low), float(high), column, group, note)


def _worst(metric: str, rows: list[Row]) -> Row:
    """The headline of rows of one column each: the largest by absolute value, its sign kept."""
    row = max(rows, key=lambda row: -1 if np.isnan(row.value) else abs(row.value))
    return replace(row, metric=metric, column="", note=f"{row.column}: {row.note}")


def _wald(value: float, error: float, tests: int = 1) -> tuple[float, float]:
    half = norm.ppf(1 - 0.025 / tests) * error
    return float(value - half), float(value + half)


def _levels(words: tuple[str, str], values) -> str:
    return ", ".join(f"{word} {value:.4f}" for word, value in zip(words, values, strict=True))


def _listed(names: list[str], limit: int = 10) -> str:
    shown = [f"({name})" if ", " in name else name for name in names[:limit]]
    return ", ".join(shown) + (f" and {len(names) - limit} more" if len(names) > limit else "")
