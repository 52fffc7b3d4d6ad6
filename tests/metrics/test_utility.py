"""Utility and the shared intervals against scikit-learn and scipy, and on tables whose worth is
known.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.linear_model import Ridge
from sklearn.metrics import (
    average_precision_score,
    log_loss,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from workbench.metrics import METRICS, Trial, models
from workbench.metrics.evaluate import evaluate
from workbench.metrics.intervals import auc, bootstrap, clopper_pearson, from_influence, wilson
from workbench.metrics.models import MAX_CLASSES, OTHER, labels, predictions
from workbench.metrics.utility import (
    BINS,
    LABEL_METRICS,
    NUMBER_METRICS,
    Ranking,
    calibration_error,
    ranked_halves,
    utility,
)
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema


def binary(n: int, seed: int, signal: float = 2.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.choice(["red", "green", "blue"], n)
    p = 1 / (1 + np.exp(-signal * (x + (z == "red") - 0.3)))
    return pd.DataFrame(
        {"x": np.round(x, 2), "z": z, "y": np.where(rng.random(n) < p, "yes", "no")}
    )


def number(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return pd.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "y": 10 + 3 * x[:, 0] - x[:, 1] + rng.normal(size=n)}
    )


def trial(make, synthetic=None, **settings) -> Trial:
    train, test = make(600, 1, **settings), make(400, 2, **settings)
    schema = Schema.infer(train, target="y")
    train, test = schema.cast(train), schema.cast(test)
    return Trial(train, test, train if synthetic is None else schema.cast(synthetic(train)), schema)


def readings(of: Trial) -> dict:
    return {(row.metric, row.group): row for row in utility(of)}


def permuted(table: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: table[name].array[rng.permutation(len(table))] for name in table})


@given(st.integers(2, 60), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_auc_and_average_precision_are_scikit_learns_with_ties(n, seed):
    rng = np.random.default_rng(seed)
    truth, score, weight = rng.random(n) < 0.4, rng.integers(0, 6, n) / 5, rng.integers(0, 3, n)
    truth[:2] = [True, False]
    weight[:2] = 1
    assert auc(truth, score)[0] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    expected = average_precision_score(truth, score, sample_weight=weight)
    assert Ranking(truth, score).average_precision(weight) == pytest.approx(expected, abs=1e-12)


def test_auc_interval_is_as_wide_as_the_spread_of_fresh_samples():
    values, halves = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth = rng.random(200) < 0.3
        value, influence = auc(truth, truth + 1.2 * rng.normal(size=200))
        low, high = from_influence(value, influence)
        values.append(value)
        halves.append((high - low) / 2)
    assert np.mean(halves) / 1.96 == pytest.approx(np.std(values), rel=0.1)


def test_calibration_error_by_hand():
    rng = np.random.default_rng(0)
    score = rng.random(15 * 40)
    hit = rng.random(15 * 40) < score**2
    order = np.argsort(score)
    parts = zip(np.split(score[order], BINS), np.split(hit[order], BINS), strict=True)
    value, influence = calibration_error(hit, score)
    assert value == pytest.approx(np.mean([abs(s.mean() - h.mean()) for s, h in parts]), abs=1e-12)
    assert value == pytest.approx(1 / 6, abs=0.04), "the integral of s - s^2"
    shuffled = rng.permutation(len(score))
    assert calibration_error(hit[shuffled], score[shuffled])[0] == pytest.approx(value, abs=1e-12)
    assert influence.mean() == pytest.approx(value)
    assert calibration_error(hit, np.full(600, hit.mean()))[0] == pytest.approx(0, abs=1e-12), (
        "one score, one bin"
    )


def test_calibration_intervals_are_as_wide_as_the_spread_of_fresh_samples():
    values, halves = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        score = rng.random(2000)
        value, influence = calibration_error(rng.random(2000) < score**2, score)
        low, high = from_influence(value, influence)
        values.append(value)
        halves.append((high - low) / 2)
    assert np.mean(halves) / 1.96 == pytest.approx(np.std(values), rel=0.15)


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_shares_have_scipys_intervals(k, more):
    n = k + more
    if n == 0:
        assert wilson(0, 0) == clopper_pearson(0, 0) == (0, 1)
        return
    result = binomtest(k, n)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = result.proportion_ci(0.95, method)
        assert ours(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_bootstrap_of_a_mean_is_its_standard_error():
    sample = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(
        lambda rows: sample[rows].mean(), 400, np.random.default_rng(1), repeats=2000
    )
    assert (high - low) / 3.92 == pytest.approx(sample.std() / 20, rel=0.08)
    assert bootstrap(lambda rows: np.nan, 5, np.random.default_rng(1)) == pytest.approx(
        (np.nan, np.nan), nan_ok=True
    )


def test_scores_are_scikit_learns_of_the_predictions():
    of = trial(binary, permuted)
    found, truth = readings(of), of.test["y"] == of.schema.positive
    for learner in ("logistic", "boosting"):
        score = predictions(of.synthetic, of.test, of.schema, learner)[of.schema.positive]
        assert found["tstr_auc", learner].value == pytest.approx(roc_auc_score(truth, score))
        assert found["average_precision", learner].value == pytest.approx(
            average_precision_score(truth, score)
        )
        assert found["brier", learner].value == pytest.approx(((score - truth) ** 2).mean())
        assert found["log_loss", learner].value == pytest.approx(log_loss(truth, score))
    mean = np.mean([found["tstr_auc", learner].value for learner in ("logistic", "boosting")])
    assert found["tstr_auc", ""].value == pytest.approx(mean)


def test_ratio_is_one_for_train_and_nothing_for_permuted_columns():
    kept, lost = readings(trial(binary)), readings(trial(binary, permuted))
    assert kept["utility_ratio", ""].value == kept["utility_ratio", ""].low == pytest.approx(1)
    assert kept["tstr_auc", ""].value > 0.8
    assert abs(lost["utility_ratio", ""].value) < 0.4
    assert lost["average_precision", ""].value < kept["average_precision", ""].value - 0.2
    assert lost["brier", ""].value > kept["brier", ""].value + 0.05


def test_ratio_is_by_hand():
    of = trial(binary, lambda train: train.head(60))
    found, truth = readings(of), of.test["y"] == of.schema.positive
    arm = {}
    for name, table in (("synthetic", of.synthetic), ("train", of.train)):
        scores = [
            predictions(table, of.test, of.schema, m)[of.schema.positive]
            for m in ("logistic", "boosting")
        ]
        arm[name] = np.mean([roc_auc_score(truth, score) for score in scores])
    assert found["utility_ratio", ""].value == pytest.approx(
        (arm["synthetic"] - 0.5) / (arm["train"] - 0.5)
    )
    row = found["utility_ratio", ""]
    assert row.low < row.value < row.high


def test_a_target_that_cannot_be_learnt_is_not_informative():
    row = readings(trial(binary, signal=0.0))["utility_ratio", ""]
    assert row.note.startswith("not informative")


def test_regression_scores_are_scikit_learns():
    of = trial(number, permuted)
    found, y = readings(of), of.test["y"]
    for learner in ("logistic", "boosting"):
        predicted = predictions(of.synthetic, of.test, of.schema, learner)["prediction"]
        assert found["tstr_r2", learner].value == pytest.approx(r2_score(y, predicted))
        assert found["tstr_rmse", learner].value == pytest.approx(
            mean_squared_error(y, predicted) ** 0.5
        )
    assert found["tstr_r2", ""].value < 0.1
    assert readings(trial(number))["tstr_r2", ""].value > 0.8
    assert all(METRICS[name].lacks(of.schema) for name in LABEL_METRICS)


def test_ridge_predictions_are_scikit_learns():
    of = trial(number)
    x, y = of.train[["a", "b"]].to_numpy(), of.train["y"].to_numpy()
    center, spread = x.mean(axis=0), x.std(axis=0)
    direct = (
        Ridge()
        .fit((x - center) / spread, y)
        .predict((of.test[["a", "b"]].to_numpy() - center) / spread)
    )
    ours = predictions(of.train, of.test, of.schema, "logistic")["prediction"]
    assert np.allclose(ours, direct, atol=1e-4)


def test_three_labels_are_scored_one_against_the_rest():
    def three(n, seed):
        table = number(n, seed)
        return table.assign(
            y=pd.cut(table["y"], [-99, 9, 11, 99], labels=["low", "middle", "high"]).astype(str)
        )

    of = trial(three)
    found = readings(of)
    probability = predictions(of.train, of.test, of.schema, "boosting")
    assert list(probability) == ["high", "low", "middle"]
    assert np.allclose(probability.sum(axis=1), 1)
    expected = roc_auc_score(of.test["y"], probability, multi_class="ovr", average="macro")
    assert found["tstr_auc", "boosting"].value == pytest.approx(expected)
    no_middle = readings(trial(three, lambda train: train[train["y"] != "middle"]))
    assert no_middle["tstr_auc", ""].value < found["tstr_auc", ""].value


def test_without_a_target_every_reading_says_so():
    schema = Schema.infer(number(10, 0))
    table = schema.cast(number(10, 0))
    names = [*LABEL_METRICS, *NUMBER_METRICS, "utility_ratio"]
    rows = evaluate(Dataset("none", table, table, schema), table, metrics=names).rows
    assert list(rows["metric"]) == names and set(rows["state"]) == {"not-applicable"}
    assert rows["value"].isna().all() and rows["note"].str.contains("no target").all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda train: train[train["y"] == "no"],
        lambda train: train.head(1),
        lambda train: train.assign(y=np.nan),
        lambda train: train.assign(y="perhaps"),
        lambda train: train.assign(x=np.nan, z=np.nan),
        lambda train: train.assign(z="purple"),
        lambda train: train.assign(x=1e300),
    ],
    ids=[
        "vanished class",
        "one row",
        "no target values",
        "unseen class",
        "no features",
        "unseen feature",
        "far away",
    ],
)
def test_useless_tables_read_badly(spoil):
    found = readings(trial(binary, spoil))
    real = readings(trial(binary))
    assert all(np.isfinite(found[name, ""].value) for name in (*LABEL_METRICS, "utility_ratio"))
    assert found["tstr_auc", ""].value < real["tstr_auc", ""].value - 0.02
    if spoil(binary(50, 1))["y"].nunique() < 2 or spoil(binary(50, 1))["x"].isna().all():
        assert found["tstr_auc", ""].value == pytest.approx(0.5)


def test_predictions_are_remembered_by_content():
    of = trial(binary)
    first = predictions(of.train, of.test, of.schema, "logistic")
    assert predictions(of.train.copy(), of.test.copy(), of.schema, "logistic") is first
    changed = of.train.assign(x=of.train["x"].where(of.train.index > 0, 3.0))
    assert not predictions(changed, of.test, of.schema, "logistic").equals(first)


def test_answers_of_real_rows_are_shared_by_the_cells_of_a_batch(tmp_path, monkeypatch):
    """Another process reads what the first one wrote, to the bit; synthetic rows leave no file."""
    of = trial(binary)
    train, test, schema = of.train, of.test, of.schema
    alone = predictions(train, test, schema, "logistic")
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(tmp_path))
    models._memory.clear()
    predictions(train, test, schema, "logistic")
    assert not list(tmp_path.iterdir())
    models._memory.clear()
    first = predictions(train, test, schema, "logistic", is_real=True)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    models._memory.clear()
    monkeypatch.setattr(models, "_fit_and_predict", None)
    again = predictions(train, test, schema, "logistic", is_real=True)
    assert file.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(first, alone, check_exact=True)
    pd.testing.assert_frame_equal(again, alone, check_exact=True)


def test_rare_target_labels_share_one_probability():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "x": rng.normal(size=400),
            "y": [f"k{i:02}" for i in (rng.random(400) ** 2 * 40).astype(int)],
        }
    )
    schema = Schema.infer(table, target="y")
    table = schema.cast(table)
    probability = predictions(table, table, schema, "logistic")
    assert len(probability.columns) == MAX_CLASSES + 1 and OTHER in probability
    assert np.allclose(probability.sum(axis=1), 1)
    assert all(
        np.isfinite(row.value)
        for row in utility(Trial(table, table, table, schema))
        if row.metric in LABEL_METRICS
    )


def test_labels_as_text():
    assert labels(pd.Series(["a", np.nan], dtype=object)).tolist() == ["a", None]
    assert labels(pd.Series([True, False], dtype="boolean")).tolist() == ["True", "False"]


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_part_of_train_is_ranked_by_rows_that_the_real_arm_does_not_have(share):
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"x": rng.normal(size=800), "y": rng.choice(["no", "yes"], 800)})
    schema = Schema.infer(train, target="y")
    train = schema.cast(train)
    for seed in range(5):
        part = train.sample(round(share * 800), random_state=seed).reset_index(drop=True)
        real, synthetic, _ = ranked_halves(Trial(train, train, part, schema, seed))
        assert len(real) == len(synthetic) == len(part) // 2
        shared = len(set(real["x"]) & set(synthetic["x"]))
        assert shared <= 0.05 * len(real)


@pytest.mark.parametrize(("columns", "rows"), [(120, 5000), (200, 3000)])
def test_a_wide_table_is_ranked_by_fewer_rows(columns, rows):
    rng = np.random.default_rng(0)
    names = [f"x{place}" for place in range(columns)]
    schema = Schema(tuple(Column(name, "numeric") for name in names))
    train, synthetic = (
        pd.DataFrame(rng.normal(size=(10_000, columns)), columns=names) for _ in range(2)
    )
    arms = ranked_halves(Trial(train, train, synthetic, schema))
    assert [len(arm) for arm in arms] == [rows] * 3
