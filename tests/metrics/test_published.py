"""Shape and trend error against SDMetrics where it is installed, and against its documented flaw
everywhere.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.published import published_errors
from workbench.tables.schema import Schema

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


def sdmetrics_errors(of: Trial) -> dict[str, float]:
    reports = pytest.importorskip(
        "sdmetrics.reports.single_table", reason="sdmetrics is not installed"
    )
    report = reports.QualityReport()
    # Its later versions leave pairs out that are hardly associated in the real table; the papers'
    # version did not.
    report.real_correlation_threshold = report.real_association_threshold = 0
    metadata = {
        "columns": {
            column.name: {"sdtype": TYPES.get(column.kind, column.kind)}
            for column in of.schema.columns
        }
    }
    plain = [t.astype({"c": "int64", "e": "bool"}) for t in (of.train, of.synthetic)]
    report.generate(*plain, metadata, verbose=False)
    scores = report.get_properties().set_index("Property")["Score"]
    names = {"shape_error": "Column Shapes", "trend_error": "Column Pair Trends"}
    return {metric: 100 - 100 * scores[name] for metric, name in names.items()}


def test_errors_are_sdmetrics():
    of = trial()
    unseen = ~of.synthetic["many"].isin(set(of.train["many"]))
    seen = of.synthetic.assign(many=of.synthetic["many"].where(~unseen, of.train["many"].iloc[0]))
    for synthetic, extra in ((seen, 0), (of.synthetic, of.synthetic.loc[unseen, "many"].nunique())):
        case = replace(of, synthetic=synthetic)
        ours, theirs = (
            {row.metric: row.value for row in published_errors(case)},
            sdmetrics_errors(case),
        )
        assert ours["trend_error"] == pytest.approx(theirs["trend_error"], abs=1e-9)
        # Its shapes count 1e-6 of a real row for every label that the real table lacks; theirs are
        # that much better.
        assert (
            ours["shape_error"] - theirs["shape_error"]
            <= 100 * extra * 1e-6 / len(of.train) / len(of.schema.columns) + 1e-9
        )
        assert ours["shape_error"] >= theirs["shape_error"] - 1e-9


def test_an_equal_table_has_no_error_and_a_moved_column_only_one_of_shape():
    schema = Schema.infer(table(900, 1)[["a", "d"]])
    train = schema.cast(table(900, 1)[["a", "d"]])
    same = {row.metric: row.value for row in published_errors(Trial(train, train, train, schema))}
    assert same == pytest.approx({"shape_error": 0, "trend_error": 0}, abs=1e-9)
    moved = {
        row.metric: row.value
        for row in published_errors(
            Trial(train, train, train.assign(a=3 * train["a"] + 100), schema)
        )
    }
    assert moved["shape_error"] == pytest.approx(50) and moved["trend_error"] == pytest.approx(
        0, abs=0.5
    )


def test_errors_by_hand():
    schema = Schema.infer(pd.DataFrame({"c": ["a", "b"], "d": ["x", "y"]}))
    real = schema.cast(pd.DataFrame({"c": list("aabb"), "d": list("xxyy")}))
    synthetic = schema.cast(pd.DataFrame({"c": list("aaab"), "d": ["x", "x", None, "y"]}))
    found = {
        row.metric: row.value for row in published_errors(Trial(real, real, synthetic, schema))
    }
    assert found == pytest.approx({"shape_error": 100 * (1 / 4 + 1 / 6) / 2, "trend_error": 25.0})


def test_a_column_that_was_emptied_is_named_where_its_error_vanishes():
    of = trial()
    rows = {row.metric: row for row in published_errors(of)}
    table = of.synthetic.copy()
    table.loc[:, "a"] = np.nan
    emptied = {row.metric: row for row in published_errors(replace(of, synthetic=table))}
    assert emptied["shape_error"].value < rows["shape_error"].value
    assert "values of a are gone" in emptied["shape_error"].note
    assert not rows["shape_error"].note
