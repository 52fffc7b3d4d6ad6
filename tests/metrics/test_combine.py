"""Combining rules: closed forms, and how often their intervals hold a known truth."""

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.metrics.combine import combine

REAL = 200


def test_closed_forms():
    one = combine([1.0, 3.0], [0.5, 0.7], rows=50, real_rows=100)
    assert one.estimate == 2 and one.error**2 == pytest.approx(0.6 * (50 / 100 + 1 / 2))
    partly = combine([1.0, 3.0], [0.5, 0.7], 100, 100, "partially")
    assert partly.error**2 == pytest.approx(0.6 + 2 / 2)
    assert partly.freedom == pytest.approx((1 + 0.6 / (2 / 2)) ** 2)
    fully = combine([1.0, 3.0], [0.5, 0.7], 100, 100, "fully")
    assert fully.error**2 == pytest.approx(1.5 * 2 - 0.6)
    negative = combine([1.0, 1.1], [0.5, 0.7], 50, 100, "fully")
    assert negative.error**2 == pytest.approx(0.6 * 50 / 100)


@pytest.mark.parametrize(
    "arguments",
    [
        ([], [], 10, 10),
        ([1.0], [0.1, 0.2], 10, 10),
        ([1.0], [-0.1], 10, 10),
        ([1.0], [0.1], 0, 10),
        ([1.0], [0.1], 10, 10, "fully"),
        ([1.0], [0.1], 10, 10, "fuly"),
        ([np.nan], [0.1], 10, 10),
    ],
)
def test_what_cannot_be_combined_is_refused(arguments):
    with pytest.raises(InputError):
        combine(*arguments)


def coverage(m, k, rule, draws, parameters_drawn=False):
    """How often the combined and the naive interval of a mean hold the truth 0."""
    rng = np.random.default_rng([m, k, draws])
    held, naive = 0, 0
    for _ in range(draws):
        real = rng.normal(size=REAL)
        tables = []
        for _ in range(m):
            center, spread = real.mean(), real.std(ddof=1)
            if parameters_drawn:
                center = rng.normal(center, spread / np.sqrt(REAL))
            tables.append(rng.normal(center, spread, size=k))
        means = [table.mean() for table in tables]
        variances = [table.var(ddof=1) / k for table in tables]
        found = combine(means, variances, k, REAL, rule)
        held += found.low <= 0 <= found.high
        naive += abs(found.estimate) <= 1.96 * found.naive
    return held / draws, naive / draws


@pytest.mark.parametrize(("m", "k"), [(1, 200), (1, 2000), (5, 200)])
def test_the_interval_of_a_mean_covers_where_the_naive_one_does_not(m, k):
    held, naive = coverage(m, k, "synthesis", 400)
    assert 0.92 <= held <= 0.98 and naive < 0.88


@pytest.mark.long
@pytest.mark.parametrize(
    ("m", "k", "rule", "drawn"),
    [
        (1, 200, "synthesis", False),
        (1, 2000, "synthesis", False),
        (5, 200, "synthesis", False),
        (20, 1000, "fully", True),
        (100, 200, "fully", True),
    ],
)
def test_coverage_of_the_combined_intervals(m, k, rule, drawn):
    held, _ = coverage(m, k, rule, 4000, drawn)
    assert 0.935 <= held <= 0.975


@pytest.mark.long
@pytest.mark.parametrize(("m", "low", "high"), [(2, 0.91, 0.94), (5, 0.97, 0.99), (20, 0.98, 1)])
def test_coverage_with_few_small_tables_of_drawn_parameters_is_what_the_notes_say(m, low, high):
    """The difference of two variances has a heavy left tail, which Student's quantile overdoes."""
    held, _ = coverage(m, REAL, "fully", 4000, True)
    assert low <= held <= high
