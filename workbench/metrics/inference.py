"""Does the analysis survive? One regression, fitted to real and to synthetic rows, coefficient by
coefficient.

Marginals, pairs and a classifier may all look right while the one effect that a study is about is
gone. The model is the declared one (`Schema.analysis`), or else the target on all other columns:
logistic for labels (the positive one, or the commonest, against the rest), linear for numbers;
fitted by statsmodels. What train can only just estimate is not asked of another table: a second
sample of the same people would not repeat it either.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.intervals import Z, wilson
from workbench.metrics.models import labels, one_thread
from workbench.tables.encode import to_float
from workbench.tables.schema import Column, Schema
from workbench.words import listed

MIN_LEVEL = 30  # rows of a label that both tables hold; rarer ones join the reference label
MIN_CELL = 10  # of them of either outcome: with fewer a fresh sample may have none, and no fit
MAX_LABELS = 10  # indicator columns of one column of labels
MIN_ROWS_PER_TERM = 5  # rows of the rarer outcome a coefficient (Vittinghoff and McCulloch 2007)
TAIL = 0.01  # of train's numbers, at either end, that the default analysis pulls in
COLLINEAR = 0.999  # the share of a term's variance that the terms before it explain
NINETEEN_IN_TWENTY = 1.6448536269514722  # the normal quantile
STEPS = 50  # of Newton's method
METRICS_HERE = ("coefficient_overlap", "coefficient_shift", "conclusions_kept")


@dataclass(frozen=True)
class Fitted:
    """Coefficients and their standard errors, shape (terms,) each, and the rows they rest on."""

    coefficient: np.ndarray
    error: np.ndarray
    rows: int


@dataclass(frozen=True)
class Scale:
    """How a column of numbers enters the model: gaps filled, ends pulled in, standardised."""

    fill: float
    low: float
    high: float
    mean: float
    spread: float

    def __call__(self, values: pd.Series) -> np.ndarray:
        numbers = to_float(values)
        numbers = np.where(np.isfinite(numbers), numbers, self.fill)
        return (numbers.clip(self.low, self.high) - self.mean) / self.spread


@dataclass(frozen=True)
class Design:
    """The terms of the model, read off train: (column, "") for numbers, (column, label) for each
    label that has a coefficient of its own.
    """

    terms: list[tuple[str, str]]
    scales: dict[str, Scale]
    note: str  # what train cannot estimate, in words

    def matrix(self, table: pd.DataFrame) -> np.ndarray:
        """The model's matrix, the constant first, shape (rows, 1 + terms)."""
        # The constant first; everything below counts on its place.
        columns = [np.ones(len(table))]
        texts: dict[str, np.ndarray] = {}
        for name, label in self.terms:
            if label:
                # Written out once a column, however many labels it has.
                if name not in texts:
                    texts[name] = labels(table[name])
                columns.append((texts[name] == label).astype(float))
            else:
                columns.append(self.scales[name](table[name]))
        return np.column_stack(columns)


def analysis(trial: Trial) -> Iterator[Row]:
    """The declared analysis, or the target on all other columns, fitted to train and to the
    synthetic rows; three metrics.

    `coefficient_overlap`: the mean over coefficients of the overlap of their two 95% intervals, as
    a share of each, averaged (Karr et al. 2006); 1 the same interval, 0 disjoint, up.
    `coefficient_shift`: the distance of a synthetic coefficient from the real one in standard
    errors of the difference between two real tables of these lengths: of fresh real rows a normal
    number of mean 0 and standard deviation 1. The table's row is the surest one's distance, 0 or
    more, down. `conclusions_kept`: the share of coefficients that are significant at 5% with the
    sign of the real fit, of those so clear on train that a fresh real table of the synthetic one's
    length shows them in 19 of 20 draws, so that noise does not count; 0 to 1, up; its interval is
    that of a share of so few coefficients, not of rows drawn again. Rows: each coefficient, named
    by its column and label. Numbers and dates are standardised by train, gaps filled with train's
    mean, labels coded against the commonest. Where no analysis is declared, numbers are pulled in
    to train's middle 98%. A label with fewer than 10 rows of either outcome joins the commonest,
    a term that the others nearly determine is left out, and so are, of a default analysis, the
    weakest ones where there are fewer than 5 rows of the rarer outcome for each: two halves of real
    rows do not agree on these either, and often have no finite fit at all. The note says so. Known
    failure: one additive model is not the analysis of the study; an interaction that is lost is not
    seen.
    """
    about = f"design of the analysis for {len(trial.synthetic)} rows"
    # Read off train alone: the synthetic table must not choose what it is judged by.
    design = trial.once(about, trial.train, lambda: _design(trial))
    reason = _too_few(trial, design)
    real = synthetic = None
    if not reason:
        key = f"analysis {design.terms}"
        # The same for every table that is held against these real rows.
        real = trial.once(key, trial.train, lambda: _fitted(trial, trial.train, design))
        synthetic = _fitted(trial, trial.synthetic, design)
        if real is None or synthetic is None:
            table = "train" if real is None else "the synthetic rows"
            reason = f"insufficient: the model has no finite fit to {table}"
    if reason:
        for metric in METRICS_HERE:
            yield Row(metric, np.nan, state=INSUFFICIENT, note=reason)
        return
    yield from _rows(design, real, synthetic)


def _rows(design: Design, real: Fitted, synthetic: Fitted) -> Iterator[Row]:
    # A label without any synthetic row has no coefficient there: nothing of its interval is left.
    overlap = np.nan_to_num(interval_overlap(real, synthetic))
    lost = np.isnan(synthetic.coefficient)
    # The ruler is what two real tables of these lengths differ by, not the synthetic fit's own
    # error: a table that has lost the information must not read as close.
    ruler = real.error * np.sqrt(1 + real.rows / synthetic.rows)
    shift = (synthetic.coefficient - real.coefficient) / ruler
    half = Z * np.sqrt(real.error**2 + synthetic.error**2) / ruler
    notes = []
    for j in range(len(design.terms)):
        ours = f"train {real.coefficient[j]:.3f} ± {Z * real.error[j]:.3f}"
        theirs = f"synthetic {synthetic.coefficient[j]:.3f} ± {Z * synthetic.error[j]:.3f}"
        notes.append(f"{ours}, {theirs}")

    # The surest shift, not the largest: few rows of a label shift far by chance.
    worst = int(np.argmax(np.where(lost, -1, np.abs(shift / half))))
    head = f"{_named(*design.terms[worst])}: {notes[worst]}"
    if lost.any():
        gone = ", ".join(_named(*design.terms[j]) for j in np.flatnonzero(lost)[:5])
        head += f"; without any synthetic row: {gone}"
    about_all = "; ".join(filter(None, [f"{len(design.terms)} coefficients", design.note]))
    yield Row("coefficient_overlap", float(overlap.mean()), note=about_all)
    yield Row("coefficient_shift", float(np.abs(shift[worst])), note=head)
    yield _conclusions(design, real, synthetic)
    for j, (column, group) in enumerate(design.terms):
        about: dict[str, Any] = {"column": column, "group": group, "note": notes[j]}
        yield Row("coefficient_overlap", float(overlap[j]), **about)
        if lost[j]:
            words = {"state": INSUFFICIENT, "note": "insufficient: no synthetic row holds it"}
            yield Row("coefficient_shift", np.nan, **(about | words))
            continue
        ends = float(shift[j] - half[j]), float(shift[j] + half[j])
        yield Row("coefficient_shift", float(shift[j]), *ends, **about)


def _conclusions(design: Design, real: Fitted, synthetic: Fitted) -> Row:
    # A fresh table's z is normal around the real fit's, which is itself known up to 1; both are
    # taken in the fresh table's own standard errors, `ratio` times the real ones.
    ratio = np.sqrt(real.rows / synthetic.rows)
    needed = max(Z, Z * ratio + NINETEEN_IN_TWENTY * np.sqrt(1 + ratio**2))
    clear = np.abs(real.coefficient) > needed * real.error
    significant = np.abs(synthetic.coefficient) > Z * synthetic.error
    kept = significant & (np.sign(real.coefficient) == np.sign(synthetic.coefficient))
    count = int(clear.sum())
    if not count:
        note = (
            "insufficient: no coefficient is so clear on train that fresh real rows would show it"
        )
        return Row("conclusions_kept", np.nan, state=INSUFFICIENT, note=note)
    held = int((clear & kept).sum())
    lost = [_named(*design.terms[j]) for j in np.flatnonzero(clear & ~kept)]
    note = f"{held} of {count} coefficients that fresh real rows would show"
    if lost:
        note += f"; lost: {', '.join(lost[:5])}"
    return Row("conclusions_kept", held / count, *wilson(held, count), note=note)


def interval_overlap(real: Fitted, synthetic: Fitted) -> np.ndarray:
    """Karr et al.'s overlap of the two 95% intervals of each coefficient, in [0, 1], shape
    (terms,).
    """
    # Both 95% intervals of each coefficient.
    ends = []
    for one in (real, synthetic):
        ends.append((one.coefficient - Z * one.error, one.coefficient + Z * one.error))
    (low, high), (low_synthetic, high_synthetic) = ends
    common = np.minimum(high, high_synthetic) - np.maximum(low, low_synthetic)
    common = np.maximum(common, 0)
    return (common / (high - low) + common / (high_synthetic - low_synthetic)) / 2


def _named(column: str, group: str) -> str:
    return f"{column}={group}" if group else column


def _design(trial: Trial) -> Design:
    """The terms that train can estimate: a label that the synthetic table has lost is a lost
    effect, not a smaller model.
    """
    terms, scales, pooled = [], {}, []
    y = outcome(trial.train, trial.schema, trial.train)
    for column in _terms(trial.schema):
        if column.is_discrete:
            own, rare = _own_labels(trial, column.name, y)
            terms += [(column.name, label) for label in own]
            if rare:
                pooled.append(f"{rare} of {column.name}")
            continue
        scale = _scale(trial, column.name)
        if scale is not None:
            terms.append((column.name, ""))
            scales[column.name] = scale
    notes = []
    if pooled:
        notes.append(f"rare labels joined the commonest: {listed(pooled, 5)}")
    dependent = _dependent(trial, Design(terms, scales, ""))
    if dependent:
        names = [_named(*term) for term in dependent]
        notes.append(f"determined by the others: {listed(names, 5)}")
    terms = [term for term in terms if term not in dependent]
    affordable = _rarer_rows(trial) // MIN_ROWS_PER_TERM
    if not trial.schema.analysis and len(terms) > affordable:
        kept = _strongest(trial, Design(terms, scales, ""), affordable)
        notes.append(f"{len(terms) - len(kept)} weaker terms left out, too few rows for them")
        terms = kept
    return Design(terms, scales, "; ".join(notes))


def _strongest(trial: Trial, design: Design, count: int) -> list[tuple[str, str]]:
    """So many terms: those of sensitive columns first, then by correlation with the outcome."""
    has_outcome = trial.train[model(trial.schema)[0].name].notna()
    x = design.matrix(trial.train[has_outcome])[:, 1:]
    y = outcome(trial.train, trial.schema, trial.train)
    x = x - x.mean(axis=0)
    spread = np.maximum(np.linalg.norm(x, axis=0), np.finfo(float).tiny)
    strength = np.abs(x.T @ (y - y.mean())) / spread
    is_sensitive = [trial.schema[name].role == "sensitive" for name, _ in design.terms]
    order = np.lexsort((-strength, ~np.array(is_sensitive)))
    return [design.terms[j] for j in sorted(order[:count])]


def _own_labels(trial: Trial, name: str, y: np.ndarray) -> tuple[list[str], int]:
    """The labels that have a coefficient, and how many others join the commonest; y is train's
    outcome.
    """
    # The commonest label is the reference, and has no coefficient.
    present = pd.Series(labels(trial.train[name]))
    counts = present.value_counts()
    # A table as long as the synthetic one holds so many of them.
    share = min(1.0, len(trial.synthetic) / len(trial.train))
    enough = counts * share >= MIN_LEVEL
    if model(trial.schema)[1]:
        has_outcome = trial.train[model(trial.schema)[0].name].notna().to_numpy()
        cells = pd.Series(y).groupby(present[has_outcome].to_numpy()).agg(["sum", "count"])
        fewest = np.minimum(cells["sum"], cells["count"] - cells["sum"])
        enough &= fewest.reindex(counts.index, fill_value=0) * share >= MIN_CELL
    candidates = counts.index[1 : MAX_LABELS + 1]
    own = [label for label in candidates if enough[label]]
    return sorted(own), len(counts) - 1 - len(own)


def _scale(trial: Trial, name: str) -> Scale | None:
    """None where the column does not vary."""
    values = to_float(trial.train[name])
    present = values[np.isfinite(values)]
    if not len(present):
        return None
    low, high = -np.inf, np.inf
    if not trial.schema.analysis:
        # One fortune would decide a slope, and another sample has another one. Who declares an
        # analysis has decided this already.
        low, high = np.quantile(present, [TAIL, 1 - TAIL])
    fill = present.clip(low, high).mean()
    used = np.where(np.isfinite(values), values, fill).clip(low, high)
    spread = used.std()
    if not spread > 0:
        return None
    return Scale(float(fill), float(low), float(high), float(used.mean()), float(spread))


def _dependent(trial: Trial, design: Design) -> list[tuple[str, str]]:
    """The terms that those before them determine, up to what a fresh table could not tell."""
    if not design.terms:
        return []
    x = design.matrix(trial.train)
    # Centred, so that the constant explains nothing of a term.
    x[:, 1:] -= x[:, 1:].mean(axis=0)
    with one_thread():
        left = np.abs(np.diag(np.linalg.qr(x, mode="r")))[1:]
    whole = np.linalg.norm(x[:, 1:], axis=0)
    is_dependent = left**2 <= (1 - COLLINEAR) * whole**2
    return [design.terms[j] for j in np.flatnonzero(is_dependent)]


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


def _rarer_rows(trial: Trial) -> int:
    """The train rows that bound how many coefficients can be estimated."""
    y = outcome(trial.train, trial.schema, trial.train)
    if model(trial.schema)[1]:
        return int(min(y.sum(), len(y) - y.sum()))
    return len(y)


def _too_few(trial: Trial, design: Design) -> str:
    rarer = _rarer_rows(trial)
    if rarer < MIN_ROWS_PER_TERM:
        return f"insufficient: {rarer} rows of the rarer outcome, {MIN_ROWS_PER_TERM} needed"
    if not design.terms:
        return "insufficient: no column besides the target varies enough"
    needed = MIN_ROWS_PER_TERM * len(design.terms)
    if rarer < needed:
        return (
            f"insufficient: {rarer} rows of the rarer outcome, {needed} needed for"
            f" {len(design.terms)} coefficients"
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


def _fitted(trial: Trial, table: pd.DataFrame, design: Design) -> Fitted | None:
    """The model fitted to the rows of `table` that have an outcome; None where that has no answer."""
    outcome_column, is_logistic = model(trial.schema)
    present = table[table[outcome_column.name].notna()]
    if len(present) <= len(design.terms) + 1:
        return None
    x = design.matrix(present)
    y = outcome(table, trial.schema, trial.train)
    # A term that is constant in this table cannot be fitted to it; the others can. Nor can a label
    # all of whose rows have one outcome.
    varies = np.ptp(x[:, 1:], axis=0) > 0
    if is_logistic and np.ptp(y) > 0:
        for j, (_, label) in enumerate(design.terms):
            if label and varies[j]:
                varies[j] = np.ptp(y[x[:, 1 + j] > 0]) > 0
    if not varies.any():
        return None
    # What cannot be fitted is left out of both, and has NaN in its place.
    fit = logistic if is_logistic else linear
    part = fit(x[:, np.append(True, varies)], y)
    if part is None:
        return None
    # Back among all terms.
    coefficient, error = np.full((2, len(design.terms)), np.nan)
    coefficient[varies], error[varies] = part.coefficient, part.error
    return Fitted(coefficient, error, len(present))


def linear(x: np.ndarray, y: np.ndarray) -> Fitted | None:
    """Least squares; without the constant, which comes first in x."""
    from statsmodels.regression.linear_model import OLS

    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    with one_thread(), np.errstate(all="ignore"):
        found = OLS(y, x).fit()
        return _finite(found.params, found.bse, len(y))


def logistic(x: np.ndarray, y: np.ndarray) -> Fitted | None:
    """Maximum likelihood; None where labels are separated or x is singular."""
    from statsmodels.discrete.discrete_model import Logit

    # statsmodels would return some answer; none is the right one.
    if np.linalg.matrix_rank(x) < x.shape[1] or np.ptp(y) == 0:
        return None
    with one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            # statsmodels' own look at the rank took a third of the seconds on 200 columns.
            found = Logit(y, x, check_rank=False).fit(disp=0, maxiter=STEPS)
        except np.linalg.LinAlgError:
            return None
        # Separated labels send a coefficient to infinity, about one unit a step.
        if not found.mle_retvals["converged"] or np.abs(found.params).max() > 25:
            return None
        return _finite(found.params, found.bse, len(y))


def _finite(coefficient: np.ndarray, error: np.ndarray, rows: int) -> Fitted | None:
    usable = np.isfinite(coefficient).all() and np.isfinite(error).all() and (error > 0).all()
    return Fitted(coefficient[1:], error[1:], rows) if usable else None
