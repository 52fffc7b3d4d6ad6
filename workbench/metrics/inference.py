"""Does the analysis survive? One regression, fitted to real and to synthetic rows, coefficient by
coefficient.

Marginals, pairs and a classifier may all look right while the one effect that a study is about is
gone. The model is the declared one (`Schema.analysis`), or else the target on all other columns:
logistic for labels (the positive one, or the commonest, against the rest), linear for numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.intervals import Z, wilson
from workbench.metrics.models import labels
from workbench.tables.encode import to_float
from workbench.tables.schema import Column, Schema

MIN_LEVEL = 30  # rows of a label in both tables; rarer ones join the reference label
MAX_LABELS = 10  # indicator columns of one column of labels
MIN_ROWS_PER_TERM = 5  # rows of the rarer outcome a coefficient (Vittinghoff and McCulloch 2007)
STEPS = 50  # of Newton's method
METRICS_HERE = ("coefficient_overlap", "coefficient_shift", "conclusions_kept")


@dataclass(frozen=True)
class Fitted:
    """Coefficients and their standard errors, shape (terms,) each."""

    coefficient: np.ndarray
    error: np.ndarray


def analysis(trial: Trial) -> Iterator[Row]:
    """The declared analysis, or the target on all other columns, fitted to train and to the
    synthetic rows; three metrics.

    `coefficient_overlap`: the mean over coefficients of the overlap of their two 95% intervals, as
    a share of each, averaged (Karr et al. 2006); 1 the same interval, 0 disjoint, up.
    `coefficient_shift`: the largest distance of a synthetic coefficient from the real one, in the
    real one's standard errors, 0 or more, down; a correct synthesis of as many rows reads about 1
    on average for a single coefficient. `conclusions_kept`: the share of coefficients whose sign
    and whose significance at 5% are those of the real fit; of the ones that are significant on
    train only, so noise does not count; 0 to 1, up. Rows: each coefficient, named by its column and
    label. Numbers and dates are standardised by train, gaps filled with train's mean, labels coded
    against the commonest. Known failure: one additive model is not the analysis of the study; an
    interaction that is lost is not seen.
    """
    design = _design(trial)
    reason = _too_few(trial, design)
    real = synthetic = None
    if not reason:
        real = trial.once("analysis", trial.train, lambda: _fitted(trial, trial.train, design))
        synthetic = _fitted(trial, trial.synthetic, design)
        if real is None or synthetic is None:
            table = "train" if real is None else "the synthetic rows"
            reason = f"insufficient: the model has no finite fit to {table}"
    if reason:
        for metric in METRICS_HERE:
            yield Row(metric, np.nan, state=INSUFFICIENT, note=reason)
        return
    yield from _rows(design, real, synthetic)


def _rows(design: list[tuple[str, str]], real: Fitted, synthetic: Fitted) -> Iterator[Row]:
    # A label without any synthetic row has no coefficient there: nothing of its interval is left.
    overlap = np.nan_to_num(interval_overlap(real, synthetic))
    lost = np.isnan(synthetic.coefficient)
    shift = (synthetic.coefficient - real.coefficient) / real.error
    # Both fits are noisy, and the ruler is the real fit's standard error.
    half = Z * np.sqrt(1 + (synthetic.error / real.error) ** 2)
    clear = np.abs(real.coefficient) > Z * real.error
    clear_synthetic = np.abs(synthetic.coefficient) > Z * synthetic.error
    same_sign = np.sign(real.coefficient) == np.sign(synthetic.coefficient)
    kept = clear_synthetic & same_sign
    notes = []
    for j in range(len(design)):
        ours = f"train {real.coefficient[j]:.3f} ± {Z * real.error[j]:.3f}"
        theirs = f"synthetic {synthetic.coefficient[j]:.3f} ± {Z * synthetic.error[j]:.3f}"
        notes.append(f"{ours}, {theirs}")

    worst = int(np.argmax(np.where(lost, -1, np.abs(shift))))
    name = _named(*design[worst])
    if lost.any():
        gone = ", ".join(_named(*design[j]) for j in np.flatnonzero(lost)[:5])
        notes[worst] += f"; without any synthetic row: {gone}"
    yield Row("coefficient_overlap", float(overlap.mean()), note=f"{len(design)} coefficients")
    yield Row("coefficient_shift", float(np.abs(shift[worst])), note=f"{name}: {notes[worst]}")
    yield _conclusions(design, clear, kept)
    for j, (column, group) in enumerate(design):
        about = {"column": column, "group": group, "note": notes[j]}
        yield Row("coefficient_overlap", float(overlap[j]), **about)
        if lost[j]:
            words = {"state": INSUFFICIENT, "note": "insufficient: no synthetic row holds it"}
            yield Row("coefficient_shift", np.nan, **(about | words))
            continue
        ends = float(shift[j] - half[j]), float(shift[j] + half[j])
        yield Row("coefficient_shift", float(shift[j]), *ends, **about)


def _conclusions(design: list[tuple[str, str]], clear: np.ndarray, kept: np.ndarray) -> Row:
    count = int(clear.sum())
    if not count:
        note = "insufficient: no coefficient is significant on train"
        return Row("conclusions_kept", np.nan, state=INSUFFICIENT, note=note)
    held = int((clear & kept).sum())
    lost = [_named(*design[j]) for j in np.flatnonzero(clear & ~kept)]
    note = f"{held} of {count} coefficients that are significant on train"
    if lost:
        note += f"; lost: {', '.join(lost[:5])}"
    return Row("conclusions_kept", held / count, *wilson(held, count), note=note)


def interval_overlap(real: Fitted, synthetic: Fitted) -> np.ndarray:
    """Karr et al.'s overlap of the two 95% intervals of each coefficient, in [0, 1], shape
    (terms,).
    """
    ends = []
    for one in (real, synthetic):
        ends.append((one.coefficient - Z * one.error, one.coefficient + Z * one.error))
    (low, high), (low_synthetic, high_synthetic) = ends
    common = np.minimum(high, high_synthetic) - np.maximum(low, low_synthetic)
    common = np.maximum(common, 0)
    return (common / (high - low) + common / (high_synthetic - low_synthetic)) / 2


def _named(column: str, group: str) -> str:
    return f"{column}={group}" if group else column


def _design(trial: Trial) -> list[tuple[str, str]]:
    """The terms of the model: (column, "") for numbers, (column, label) for each label but the
    commonest of train that both tables hold often enough.
    """
    terms = []
    for column in _terms(trial.schema):
        if not column.is_discrete:
            if np.nan_to_num(np.nanstd(_filled(trial, trial.train, column.name))) > 0:
                terms.append((column.name, ""))
            continue
        counts = pd.Series(labels(trial.train[column.name])).value_counts()
        # The commonest label is the reference. Which labels are in is read off train alone: a
        # label that the synthetic table has lost is a lost effect, not a smaller model.
        for label in sorted(counts.index[1 : MAX_LABELS + 1]):
            if counts[label] >= MIN_LEVEL:
                terms.append((column.name, label))
    return terms


def model(schema: Schema) -> tuple[Column, bool]:
    """The outcome's column, and whether the model is logistic."""
    name, _ = schema.analysed
    column = schema[name] if name else schema.target
    return column, column.is_discrete


def _terms(schema: Schema) -> list[Column]:
    """The columns that explain the outcome: the declared ones in their order, or all others."""
    outcome_name, names = schema.analysed
    if outcome_name:
        return [schema[name] for name in names]
    return [column for column in schema.columns if column.role in ("feature", "sensitive")]


def _too_few(trial: Trial, design: list[tuple[str, str]]) -> str:
    if not design:
        return "insufficient: no column besides the target varies"
    y = outcome(trial.train, trial.schema, trial.train)
    rarer = len(y)
    if model(trial.schema)[1]:
        rarer = int(min(y.sum(), len(y) - y.sum()))
    needed = MIN_ROWS_PER_TERM * len(design)
    if rarer < needed:
        return (
            f"insufficient: {rarer} rows of the rarer outcome, {needed} needed for {len(design)}"
            " coefficients"
        )
    return ""


def outcome(table: pd.DataFrame, schema: Schema, train: pd.DataFrame) -> np.ndarray:
    """The outcome of the rows that have one: 0 or 1, or a number in train's standard deviations."""
    column, is_logistic = model(schema)
    name = column.name
    present = table[table[name].notna()]
    if not is_logistic:
        spread = float(np.nanstd(to_float(train[name]))) or 1.0
        return to_float(present[name]) / spread
    # The schema's positive label is the target's; another outcome has none of its own.
    positive = schema.positive if column.role == "target" else None
    if positive is None:
        positive = pd.Series(labels(train[name])).value_counts().index[0]
    return (labels(present[name]) == positive).astype(float)


def _filled(trial: Trial, table: pd.DataFrame, name: str) -> np.ndarray:
    values = to_float(trial.train[name])
    present = values[np.isfinite(values)]
    if not len(present):
        return np.zeros(len(table))
    own = to_float(table[name])
    return np.where(np.isfinite(own), own, present.mean())


def _matrix(trial: Trial, table: pd.DataFrame, design: list[tuple[str, str]]) -> np.ndarray:
    """The model's matrix, the constant first, shape (rows, 1 + terms)."""
    columns = [np.ones(len(table))]
    for name, label in design:
        if label:
            columns.append((labels(table[name]) == label).astype(float))
            continue
        train = _filled(trial, trial.train, name)
        columns.append((_filled(trial, table, name) - train.mean()) / train.std())
    return np.column_stack(columns)


def _fitted(trial: Trial, table: pd.DataFrame, design: list[tuple[str, str]]) -> Fitted | None:
    """The model fitted to the rows of `table` that have an outcome; None where that has no answer."""
    outcome_column, is_logistic = model(trial.schema)
    present = table[table[outcome_column.name].notna()]
    if len(present) <= len(design) + 1:
        return None
    x = _matrix(trial, present, design)
    y = outcome(table, trial.schema, trial.train)
    # A term that is constant in this table cannot be fitted to it; the others can.
    varies = np.append(True, np.ptp(x[:, 1:], axis=0) > 0)
    if not varies[1:].any():
        return None
    fit = logistic if is_logistic else linear
    with np.errstate(all="ignore"):
        part = fit(x[:, varies], y)
    if part is None:
        return None
    coefficient, error = np.full((2, len(design)), np.nan)
    coefficient[varies[1:]], error[varies[1:]] = part.coefficient, part.error
    return Fitted(coefficient, error)


def linear(x: np.ndarray, y: np.ndarray) -> Fitted | None:
    """Least squares; without the constant, which comes first in x."""
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    inverse = np.linalg.inv(x.T @ x)
    coefficient = inverse @ (x.T @ y)
    residual = y - x @ coefficient
    error = np.sqrt(residual @ residual / (len(y) - x.shape[1]) * np.diag(inverse))
    return _finite(coefficient, error)


def logistic(x: np.ndarray, y: np.ndarray) -> Fitted | None:
    """Maximum likelihood by Newton's steps; None where labels are separated or x is singular."""
    if np.linalg.matrix_rank(x) < x.shape[1] or np.ptp(y) == 0:
        return None
    coefficient = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ coefficient, -30, 30)))
        information = (x * (p * (1 - p))[:, None]).T @ x
        try:
            step = np.linalg.solve(information, x.T @ (y - p))
        except np.linalg.LinAlgError:
            return None
        coefficient = coefficient + step
        # Separated labels send a coefficient to infinity, one unit a step.
        if np.abs(coefficient).max() > 25:
            return None
        if np.abs(step).max() < 1e-9:
            break
    return _finite(coefficient, np.sqrt(np.diag(np.linalg.inv(information))))


def _finite(coefficient: np.ndarray, error: np.ndarray) -> Fitted | None:
    usable = np.isfinite(coefficient).all() and np.isfinite(error).all() and (error > 0).all()
    return Fitted(coefficient[1:], error[1:]) if usable else None
