"""95% intervals, one place for all metrics: proportions, bootstraps, and averages of influence
values.

An estimate that is a smooth function of averages moves by the mean of its influence values when
rows are drawn again, so its standard error is the standard deviation of those values over sqrt(n)
(Hampel 1974); averages, differences and ratios of estimates on the same rows are then averages,
differences and ratios of influence values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Z = 1.959963984540054  # the normal quantile of a two-sided 95% interval
LEVELS = (0.025, 0.975)


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson's interval (1927) for k successes in n trials, whole or effective numbers; (0, 1)
    without trials.

    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    if n == 0:
        return 0.0, 1.0
    # Solving |p - q| = z sqrt(q (1 - q) / n) for q gives both ends.
    p, z2 = k / n, Z * Z / n
    middle, half = (p + z2 / 2) / (1 + z2), Z * np.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return float(max(middle - half, 0)), float(min(middle + half, 1))


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson 1934) for k successes in n trials; (0, 1)
    without trials.
    """
    from scipy.special import betaincinv

    # The binomial tail as an incomplete beta function, which scipy inverts.
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def bootstrap(
    statistic: Callable[[np.ndarray], float], n: int, rng: np.random.Generator, repeats: int = 200
) -> tuple[float, float]:
    """The percentile interval of statistic(rows) over `repeats` samples of n row numbers with
    replacement.

    statistic takes an int array, shape (n,); readings that are not finite are left out. NaN ends
    where none is left.
    """
    if n == 0:
        return np.nan, np.nan
    # Row numbers are drawn, so that a statistic of several columns keeps rows whole.
    readings = np.array([statistic(rng.integers(n, size=n)) for _ in range(repeats)], dtype=float)
    readings = readings[np.isfinite(readings)]
    return tuple(np.quantile(readings, LEVELS).tolist()) if len(readings) else (np.nan, np.nan)


def from_influence(
    value: float, *influences: np.ndarray, lowest: float = -np.inf, highest: float = np.inf
) -> tuple[float, float]:
    """value -+ 1.96 standard errors, cut to [lowest, highest]; one influence array for each
    independent sample of rows.
    """
    # Samples are independent, so their variances add up.
    variance = sum(np.var(influence) / len(influence) for influence in influences if len(influence))
    half = Z * float(np.sqrt(variance))
    return float(np.clip(value - half, lowest, highest)), float(
        np.clip(value + half, lowest, highest)
    )


def auc(positive: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """The area under the ROC curve, ties counted half, and each row's influence (DeLong et al.
    1988).

    positive: bool, shape (n,); score: float, shape (n,). NaN and zeros where a class is absent.
    """
    positive = np.asarray(positive, dtype=bool)
    n, n1 = len(positive), int(positive.sum())
    if n1 in (0, n):
        return np.nan, np.zeros(n)
    # A row's placement: the share of the other class that it stands above (positives) or below
    # (negatives).
    ordered = [np.sort(score[~positive]), np.sort(score[positive])]
    above = [
        (np.searchsorted(o, score, "left") + np.searchsorted(o, score, "right")) / (2 * len(o))
        for o in ordered
    ]
    placement = np.where(positive, above[0], 1 - above[1])
    value = float(placement[positive].mean())
    return value, (placement - value) * n / np.where(positive, n1, n - n1)


FEW = 30  # rows of the rarer class, up to which an area's own variance says too little


def auc_interval(value: float, influence: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """The 95% interval of an area under the ROC curve that may rest on few positives.

    With up to FEW rows of the rarer class Newcombe's score interval (2006, method 5): the areas
    whose variance by Hanley and McNeil would make this one likely. With more, DeLong's variance on
    the logit scale (Pepe 2003, section 5.2) with Student's t at Welch's degrees of freedom. (0, 1)
    where a class has fewer than two rows. value, influence: as `auc` gives them, or their mean over
    several scores of the same rows.
    """
    positive = np.asarray(positive, dtype=bool)
    sizes = [int(positive.sum()), int((~positive).sum())]
    if min(sizes) < 2 or not np.isfinite(value):
        return 0.0, 1.0
    if min(sizes) <= FEW:
        return _newcombe(float(value), sizes)
    return _logit_interval(value, influence, positive)


def _newcombe(value: float, sizes: list[int]) -> tuple[float, float]:
    from scipy.optimize import brentq

    # Hanley and McNeil's variance of an area, by the area alone.
    middle = sum(sizes) / 2

    def beyond(area: float) -> float:
        spread = (1 - area) / (2 - area) + area / (1 + area)
        variance = area * (1 - area) * (1 + (middle - 1) * spread) / (sizes[0] * sizes[1])
        return abs(value - area) - Z * np.sqrt(variance)

    tiny = 1e-9
    low = high = value
    if value > tiny:
        low = float(brentq(beyond, tiny, min(value, 1 - tiny)))
    if value < 1 - tiny:
        high = float(brentq(beyond, max(value, tiny), 1 - tiny))
    return low, high


def _logit_interval(value: float, influence: np.ndarray, positive: np.ndarray):
    from scipy.stats import t

    n, sizes = len(positive), [int(positive.sum()), int((~positive).sum())]
    if value in (0.0, 1.0):
        return clopper_pearson(round(value * min(sizes)), min(sizes))
    parts = []
    # Each class's placements have a variance of their own (DeLong), and Welch's freedom joins them.
    for rows, size in zip((positive, ~positive), sizes, strict=True):
        placement = influence[rows] * size / n
        parts.append(float(placement.var(ddof=1)) / size)
    variance = sum(parts)
    if variance == 0:
        return float(value), float(value)
    freedom = variance**2 / sum(
        part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)
    )
    # On the logit scale, or an interval near 1 would pass it.
    logit = np.log(value / (1 - value))
    half = t.ppf(0.975, freedom) * np.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + np.exp(-end)) for end in (logit - half, logit + half))
    return float(low), float(high)
