"""The equivalent share of real rows: samples of a known share, the ends, and isotonic regression
as scikit-learn fits it.
"""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.metrics import METRICS, Trial, equivalent
from workbench.metrics.equivalent import equivalent_share, monotone, place
from workbench.metrics.evaluate import evaluate
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Schema


def people(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], n).T
    group = np.where(x + rng.normal(size=n) > 0, "high", "low")
    town = rng.choice(["north", "south", "west"], n)
    return pd.DataFrame({"x": x, "y": y, "group": group, "town": town})


@pytest.fixture(scope="module")
def data() -> Dataset:
    train, test = people(1, 3000), people(2, 3000)
    schema = Schema.infer(train)
    return Dataset("people", schema.cast(train), schema.cast(test), schema)


SAMPLES: dict = {}  # the samples of the one dataset of this file are read once


def read(data: Dataset, table: pd.DataFrame, memo: dict = SAMPLES) -> dict:
    trial = Trial(data.train, data.test, data.schema.cast(table), data.schema, memo=memo)
    return {row.group: row for row in equivalent_share(trial)}


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_fresh_sample_of_a_share_reads_about_that_share(data, share):
    found = [
        np.log(read(data, people(seed, round(share * 3000)))["kway_tables"].value)
        for seed in range(10, 18)
    ]
    assert abs(np.mean(found) - np.log(share)) < np.log(1.3)


def test_the_ends_are_named(data):
    every = read(data, people(5, 60_000))["kway_tables"]
    assert every.value == 1 and every.note == "as all real rows"
    rng = np.random.default_rng(0)
    noise = data.train.assign(x=rng.uniform(-9, 9, 3000), group="high", town="north")
    lost = read(data, noise)
    assert lost["kway_tables"].value == 0.01
    assert lost["kway_tables"].note == "below 1% of the real rows"
    assert lost[""].value == 0.01, "the headline is that of the tables of two and three columns"


def test_what_does_not_depend_on_the_number_of_rows_is_not_informative(data):
    trial = Trial(data.train, data.test, data.schema.cast(people(5, 900)), data.schema)
    trial = Trial(*(trial.train, trial.test, trial.synthetic, trial.schema), shares=("coverage",))
    rows = list(equivalent_share(trial))
    assert {row.state for row in rows} == {"not-informative"}


def test_floor_and_ceiling_come_from_the_usual_references(data):
    card = evaluate(data, people(5, 300), metrics=["equivalent_share"])
    rows = card.rows.set_index("group")
    # References have as many rows as the synthetic table: a tenth of train.
    assert 0.07 < rows.loc["kway_tables", "ceiling"] < 0.14
    assert rows.loc["kway_tables", "floor"] < rows.loc["kway_tables", "value"]


def test_a_metric_that_reads_train_is_placed_among_samples_of_test(data):
    card = evaluate(
        data, people(5, 300), metrics=["equivalent_share"], shares=["shape_error", "trend_error"]
    )
    rows = card.rows.set_index("group")
    assert 0.03 < rows.loc["shape_error", "value"] < 0.4


@pytest.mark.parametrize("name", ["bias_amp", "edge_coverage", "epsilon"])
def test_a_metric_without_an_equivalent_share_is_refused(data, name):
    with pytest.raises(InputError, match="has no equivalent share"):
        evaluate(data, data.train, metrics=["marginals"], shares=[name])


def test_samples_are_read_once_for_all_cells_of_a_batch(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(tmp_path))
    first = read(data, people(5, 300), {})
    monkeypatch.setattr(equivalent, "_read", lambda trial, metric: pytest.fail("read again"))
    assert read(data, people(5, 300), {}) == first


def test_isotonic_regression_is_that_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(4)
    for _ in range(20):
        values, weights = rng.normal(size=7) + np.arange(7) / 3, rng.integers(1, 5, 7)
        theirs = IsotonicRegression().fit(np.arange(7), values, weights).predict(np.arange(7))
        np.testing.assert_allclose(monotone(values, weights.astype(float)), theirs)


def test_the_place_lies_on_a_logarithmic_scale_and_takes_the_smallest_of_equals():
    shares, values = np.array([0.01, 0.1, 0.5, 1.0]), np.array([1.0, 2.0, 2.0, 3.0])
    assert place(1.5, shares, values) == pytest.approx(np.sqrt(0.001))
    assert place(2.0, shares, values) == pytest.approx(0.1)
    assert place(0.0, shares, values) == 0.01 and place(9.0, shares, values) == 1.0
    assert np.isnan(place(np.nan, shares, values))


def test_the_usual_metrics_have_an_equivalent_share():
    equivalent.check(equivalent.DEFAULT)
    assert METRICS["equivalent_share"].floor == "permuted"
