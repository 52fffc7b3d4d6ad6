"""The propensity score's mean squared error, in units of what chance alone would make of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.intervals import Z
from workbench.metrics.models import matrices
from workbench.metrics.privacy import in_own_order
from workbench.tables.encode import Features

MAX_ROWS = 5000  # a side
PERMUTATIONS = 100
PENALTY = 1e-3  # of squared coefficients: keeps a column of one label regular
STEPS = 30
ROWS_PER_COLUMN = 5


def pmse_ratio(trial: Trial) -> Iterator[Row]:
    """Mean squared error of propensity scores over its mean when synthetic and test rows are dealt
    at random.

    pMSE is the mean over all rows of (p - c)^2, p the fitted probability to be synthetic, in sample,
    by a logistic regression on all columns (numbers standardised, labels one-hot), and c the share
    of synthetic rows (Woo et al. 2009). The null is replicated: the names "synthetic" and "test" are
    permuted PERMUTATIONS times (Snoke, Raab, Nowok, Dibben and Slavkovic 2018, section 4; synthpop's
    `utility.gen` with resamp.method "perm"). 0 or more, down; 1 is what fresh real rows read. Rows:
    the ratio, and `standardised`, (pMSE - mean) / sd of the null, which synthpop calls S_pMSE. A
    permuted fit is one Newton step from c, which is exact to first order where nothing is to be
    found. Interval: pMSE is to first order a multiple of a noncentral chi-square variable, whose
    variance is 2 (k + 2 noncentrality). Known failure: a sum of effects is blind to what stands
    between columns, which `c2st` and `kway_tables` see, and a ratio grows with the number of rows.
    """
    # More rows only make a ratio larger, and a fit slower.
    m, n = (min(len(table), MAX_ROWS) for table in (trial.test, trial.synthetic))
    rng = trial.rng("pmse_ratio")
    tables = [in_own_order(table, rng).head(MAX_ROWS) for table in (trial.synthetic, trial.test)]
    features = Features(trial.train, trial.schema.columns, far_gaps=True)
    x = np.vstack(matrices(features, tables, "logistic")).astype(float)
    # A constant column takes part in nothing, and makes the Hessian singular.
    x = x[:, np.ptp(x, axis=0) > 0] if len(x) else x
    # With as many coefficients as rows any table is told apart.
    if min(m, n) < 10 or m + n < ROWS_PER_COLUMN * (x.shape[1] + 1):
        note = f"insufficient: {n} synthetic and {m} test rows for {x.shape[1]} coefficients"
        yield Row("pmse_ratio", np.nan, state=INSUFFICIENT, note=note)
        return
    synthetic = np.arange(n + m) < n
    # A value a thousand deviations out says no more at ten thousand.
    x = np.column_stack([np.ones(len(x)), np.clip(x, -1e3, 1e3)])
    observed = pmse(x, synthetic)
    null = permuted(x, synthetic, rng)
    mean, spread = float(null.mean()), float(null.std(ddof=1))
    if mean <= 0:
        note = "insufficient: no column varies"
        yield Row("pmse_ratio", np.nan, state=INSUFFICIENT, note=note)
        return
    # In units of what dealing the names at random would give.
    ratio = observed / mean
    # The null's own degrees of freedom: what a chi-square with this mean and variance has.
    freedom = 2 * (mean / spread) ** 2 if spread > 0 else 1.0
    excess = max(ratio - 1, 0) * freedom
    half = Z * np.sqrt(2 * (freedom + 2 * excess)) / freedom
    likely = np.quantile(null / mean, [0.025, 0.975])
    note = f"pMSE {observed:.4g}, permuted {mean:.4g}; 95% of permutations read"
    note += f" {likely[0]:.2f} to {likely[1]:.2f}"
    yield Row("pmse_ratio", ratio, max(ratio - half, 0.0), ratio + half, note=note)
    if spread > 0:
        yield Row("pmse_ratio", (observed - mean) / spread, group="standardised")


def pmse(x: np.ndarray, synthetic: np.ndarray) -> float:
    """The mean squared distance of fitted probabilities from the share of synthetic rows."""
    share = synthetic.mean()
    return float(np.mean((probabilities(x, synthetic.astype(float)) - share) ** 2))


def permuted(x: np.ndarray, synthetic: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """pMSE of PERMUTATIONS random dealings of the names, shape (PERMUTATIONS,)."""
    share = synthetic.mean()
    dealt = np.column_stack([rng.permutation(synthetic) for _ in range(PERMUTATIONS)])
    # All permutations at once: one factorisation serves a hundred fits.
    push = x.T @ (dealt - share)
    step = np.linalg.solve(_hessian(x, np.full(len(x), share)), push)
    start = np.log(share / (1 - share))
    fitted = 1 / (1 + np.exp(-(start + x @ step)))
    return np.mean((fitted - share) ** 2, axis=0)


def probabilities(x: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Fitted probabilities of a logistic regression by Newton's method, halved where it overshoots."""
    # A second Newton fit beside refits._newton, with reason: here the penalty takes in the constant
    # and the loss decides when to stop, there the intercept is free and the step decides; one
    # routine with both rules would be read as neither, and published numbers would move in their
    # last digits.
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(hit.mean() / (1 - hit.mean()))
    loss, step = np.inf, np.zeros(len(beta))
    fitted = np.full(len(x), hit.mean())
    for _ in range(STEPS):
        score = x @ beta
        now = np.logaddexp(0, score).sum() - hit @ score + PENALTY * beta @ beta / 2
        # Too long a step: half of it, from where it began.
        if now > loss:
            step = step / 2
            beta = beta - step
            continue
        if loss - now < 1e-6:
            break
        loss = now
        fitted = 1 / (1 + np.exp(-np.clip(score, -500, 500)))
        gradient = x.T @ (hit - fitted) - PENALTY * beta
        step = np.linalg.solve(_hessian(x, fitted), gradient)
        beta = beta + step
    return fitted


def _hessian(x: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    hessian = (x * (fitted * (1 - fitted))[:, None]).T @ x
    hessian[np.diag_indices(len(hessian))] += PENALTY
    return hessian
