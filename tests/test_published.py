"""Shape and trend error against SDMetrics where it is installed, and against its documented flaw everywhere."""

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.published import published_errors
from workbench.schema import Schema

TYPES = {"numeric": "numerical", "integer": "numerical"}  # the other kinds have the same name there


def table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    gaps = rng.random((2, n)) < 0.1
    return pd.DataFrame(
        {
            "a": a,
            "b": np.where(gaps[0], np.nan, a + rng.normal(size=n)),
            "c": rng.poisson(3, n) + 2,
            "same": 7.5,
            "d": np.where(gaps[1], None, np.where(a > rng.normal(size=n), "up", "down")),
            "e": rng.random(n) < 0.3,
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "many": rng.integers(0, 300, n).astype(str),
        }
    )


def trial() -> Trial:
    train = table(900, 1)
    schema = Schema.infer(train, kinds={"many": "categorical"})
    test, synthetic = table(300, 2), table(700, 3).assign(a=lambda t: t["a"] * 2)
    return Trial(*map(schema.cast, (train, test, synthetic)), schema)


def test_errors_are_sdmetrics():
    sdmetrics = pytest.importorskip("sdmetrics.reports.single_table", reason="sdmetrics is not installed")
    report = sdmetrics.QualityReport()
    # Its later versions leave pairs out that are hardly associated in the real table; the papers' version did not.
    report.real_correlation_threshold = report.real_association_threshold = 0
    of = trial()
    metadata = {"columns": {column.name: {"sdtype": TYPES.get(column.kind, column.kind)} for column in of.schema.columns}}
    plain = [t.astype({"c": "int64", "e": "bool"}) for t in (of.train, of.synthetic)]
    report.generate(*plain, metadata, verbose=False)
    scores = report.get_properties().set_index("Property")["Score"]
    ours = {row.metric: row.value for row in published_errors(of)}
    assert ours["shape_error"] == pytest.approx(100 - 100 * scores["Column Shapes"], abs=1e-6)
    assert ours["trend_error"] == pytest.approx(100 - 100 * scores["Column Pair Trends"], abs=1e-6)


def test_an_equal_table_has_no_error_and_a_moved_column_only_one_of_shape():
    schema = Schema.infer(table(900, 1)[["a", "d"]])
    train = schema.cast(table(900, 1)[["a", "d"]])
    same = {row.metric: row.value for row in published_errors(Trial(train, train, train, schema))}
    assert same == pytest.approx({"shape_error": 0, "trend_error": 0}, abs=1e-9)
    moved = {
        row.metric: row.value for row in published_errors(Trial(train, train, train.assign(a=3 * train["a"] + 100), schema))
    }
    assert moved["shape_error"] == pytest.approx(50) and moved["trend_error"] == pytest.approx(0, abs=0.5)


def test_errors_by_hand():
    schema = Schema.infer(pd.DataFrame({"c": ["a", "b"], "d": ["x", "y"]}))
    real = schema.cast(pd.DataFrame({"c": list("aabb"), "d": list("xxyy")}))
    synthetic = schema.cast(pd.DataFrame({"c": list("aaab"), "d": ["x", "x", None, "y"]}))
    found = {row.metric: row.value for row in published_errors(Trial(real, real, synthetic, schema))}
    assert found == pytest.approx({"shape_error": 100 * (1 / 4 + 1 / 6) / 2, "trend_error": 25.0})
