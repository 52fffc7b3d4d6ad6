"""The pMSE ratio against scikit-learn's logistic regression, full refits under permutation, the
closed form, and fresh rows.
"""

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.propensity import permuted, pmse, pmse_ratio
from workbench.tables.schema import Schema


def people(seed: int, n: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    town = rng.choice(["north", "south", "west"], n)
    return pd.DataFrame({"x": rng.normal(size=n) + shift, "y": rng.normal(size=n), "town": town})


def read(synthetic: pd.DataFrame, test: pd.DataFrame) -> dict:
    schema = Schema.infer(people(1, 500))
    tables = (schema.cast(table) for table in (people(1, 500), test, synthetic))
    return {row.group: row for row in pmse_ratio(Trial(*tables, schema))}


def design(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 4))])
    return x, np.arange(n) < n // 3


def test_the_error_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    x, synthetic = design(600)
    x[synthetic, 1] += 0.4
    model = LogisticRegression(C=1e6, max_iter=1000, tol=1e-10).fit(x[:, 1:], synthetic)
    theirs = np.mean((model.predict_proba(x[:, 1:])[:, 1] - synthetic.mean()) ** 2)
    assert pmse(x, synthetic) == pytest.approx(theirs, rel=1e-3)


def test_the_null_is_that_of_full_refits_and_of_the_closed_form():
    x, synthetic = design(600)
    rng = np.random.default_rng(1)
    refits = np.mean([pmse(x, rng.permutation(synthetic)) for _ in range(150)])
    quick = permuted(x, synthetic, rng).mean()
    share = synthetic.mean()
    # Four slopes; both tables are samples here, so that (1 - c) stands once and not squared.
    closed = 4 * share * (1 - share) / len(x)
    assert quick == pytest.approx(refits, rel=0.2) and quick == pytest.approx(closed, rel=0.2)


def test_fresh_rows_read_one_and_the_interval_holds_it():
    found = [read(people(seed, 400), people(seed + 500, 400))[""] for seed in range(10, 50)]
    assert np.mean([row.value for row in found]) == pytest.approx(1, abs=0.25)
    held = np.mean([row.low <= 1 <= row.high for row in found])
    assert held >= 0.85


def test_a_shift_is_seen_in_the_ratio_and_in_standard_deviations():
    rows = read(people(3, 400, shift=0.5), people(4, 400))
    assert rows[""].low > 2 and rows["standardised"].value > 5
    assert rows[""].low < rows[""].value < rows[""].high


def test_too_few_rows_are_insufficient():
    assert read(people(3, 4), people(4, 400))[""].state == "insufficient"
