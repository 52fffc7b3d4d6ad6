"""One answer from several synthetic tables: the combining rules of multiple imputation, adapted.

A standard error computed from a synthetic table as if its rows were real is too small: it knows
neither the sampling of the real rows nor how few synthetic rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.errors import InputError

RULES = ("synthesis", "fully", "partially")


@dataclass(frozen=True)
class Combined:
    """An estimate from m synthetic tables, its standard error and its 95% interval.

    `naive` is the standard error that would come from taking all synthetic rows for real ones.
    """

    estimate: float
    error: float
    low: float
    high: float
    freedom: float
    naive: float


def combine(
    estimates: Sequence[float],
    variances: Sequence[float],
    rows: int,
    real_rows: int,
    rule: str = "synthesis",
) -> Combined:
    """Combine the same estimate from m synthetic tables into one with a valid interval.

    Parameters
    ----------
    estimates : sequence of m numbers
        The estimate computed on each table.
    variances : sequence of m numbers
        The squared standard error that ordinary software gives for each.
    rows : int
        The rows of each synthetic table.
    real_rows : int
        The rows of the real table that the generator was fitted on.
    rule : str
        "synthesis": every value is drawn from a model fitted once to the real rows, as the
        generators here do (Raab, Nowok and Dibben 2016, T_s; m = 1 will do). "fully": the model's
        parameters are drawn anew for each table (Raghunathan, Reiter and Rubin 2003, m >= 2).
        "partially": only some values are replaced in the real rows (Reiter 2003, m >= 2).

    Returns
    -------
    Combined
        The mean of the estimates, its standard error, 95% interval and degrees of freedom.

    Raises
    ------
    InputError
        For lists of unequal length, too few tables for the rule, a negative variance or no rows.

    Notes
    -----
    With q the mean estimate, v the mean variance, b the variance between tables, k synthetic and n
    real rows: T_s = v (k/n + 1/m); T_f = (1 + 1/m) b - v, or v k/n where that is negative;
    T_p = v + b/m. All suppose that the generator's model is right: what it gets wrong is in no
    interval. The published interval of T_f is wide where few tables have as few rows as the real
    one: simulated with k = n it held the truth in 98% and 99% of 4,000 cases for m = 5 and 20, and
    in 93% for m = 2; in 95% for m = 100, or for m = 20 and k = 5 n.

    Examples
    --------
    >>> one = combine([10.0], [0.04], rows=100, real_rows=100)
    >>> round(one.error / one.naive, 3)
    1.414
    """
    estimate, variance = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    _check(estimate, variance, rows, real_rows, rule)
    m = len(estimate)
    # What ordinary software reports, on average, and what it cannot see: how tables differ.
    within = float(variance.mean())
    between = float(estimate.var(ddof=1)) if m > 1 else 0.0

    freedom = np.inf
    if rule == "synthesis":
        # The sampling of the real rows, and that of the synthetic ones around the model.
        total = within * (rows / real_rows + 1 / m)
    elif rule == "partially":
        total = within + between / m
        if between > 0:
            freedom = (m - 1) * (1 + within / (between / m)) ** 2
    else:
        spread = (1 + 1 / m) * between
        total = spread - within
        if total > 0:
            freedom = (m - 1) * (1 - within / spread) ** 2
        else:
            # The difference of two estimated variances can be negative; this stands in for it
            # (Reiter 2002).
            total = within * rows / real_rows
    # Student's quantile where the variance between tables was itself estimated.
    error = float(np.sqrt(total))
    half = error * _quantile(freedom)
    value = float(estimate.mean())
    naive = float(np.sqrt(within / m))
    return Combined(value, error, value - half, value + half, float(freedom), naive)


def _check(
    estimate: np.ndarray, variance: np.ndarray, rows: int, real_rows: int, rule: str
) -> None:
    if rule not in RULES:
        raise InputError(f"unknown rule {rule!r}; known: {', '.join(RULES)}.")
    if estimate.ndim != 1 or estimate.shape != variance.shape or not len(estimate):
        raise InputError("estimates and variances are two lists of the same length, one a table.")
    if rule != "synthesis" and len(estimate) < 2:
        raise InputError(f"the rule {rule!r} needs two tables or more; 'synthesis' takes one.")
    if not np.isfinite(estimate).all() or not np.isfinite(variance).all() or (variance < 0).any():
        raise InputError("estimates are finite numbers, variances are finite and not negative.")
    if rows < 1 or real_rows < 1:
        raise InputError("rows and real_rows are at least 1.")


def _quantile(freedom: float) -> float:
    from scipy.stats import norm, t

    return float(norm.ppf(0.975) if np.isinf(freedom) else t.ppf(0.975, freedom))
