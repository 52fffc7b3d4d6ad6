"""The plug-ins that come with reports do what their first lines say."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import find
from workbench.tables.schema import Column, Schema

REPORTS = Path(__file__).parents[2] / "reports"


def plugin(path, name):
    """The module of a report's generator, imported as a batch does it."""
    generator = find(f"{REPORTS / path}:{name}").load()
    return sys.modules[generator.__module__]


def test_a_table_goes_to_another_package_without_gaps_and_comes_back_with_them():
    packages = plugin("peers/packages.py", "PackageCtgan")
    schema = Schema(
        (
            Column("age", "integer"),
            Column("pay", "numeric"),
            Column("town", "categorical"),
            Column("owner", "boolean"),
        )
    )
    table = schema.cast(
        pd.DataFrame(
            {
                "age": [20, None, 40],
                "pay": [1.5, 2.5, None],
                "town": ["a", None, "b"],
                "owner": [True, False, None],
            }
        )
    )
    rows, labels = packages.filled(table, schema)
    assert not rows.isna().any().any() and labels == ["town", "owner"]
    assert rows["age"].tolist() == [20.0, 30.0, 40.0] and rows["pay"].tolist() == [1.5, 2.5, 2.0]
    back = packages.opened(rows.assign(age=[20.4, 30.6, 40.0]), schema)
    assert back["age"].tolist() == [20, 31, 40]
    for name in labels:
        pd.testing.assert_series_equal(back[name], table[name])
    dated = Schema((Column("day", "datetime"),))
    assert "datetime" in packages.only_plain(dated) and packages.only_plain(schema) is None


def test_fair_rows_tell_the_gap_of_their_rows_and_of_a_tree_that_learned_from_them():
    fair = plugin("replications/tabfairgan-2021/fair_rows.py", "FairRows")
    schema = Schema((Column("sex", "categorical"), Column("income", "categorical", role="target")))
    # Four in five men and one in five women have the good outcome, and nothing else is known.
    table = pd.DataFrame(
        {
            "sex": ["Male"] * 500 + ["Female"] * 500,
            "income": ([">50K"] * 4 + ["<=50K"]) * 100 + ([">50K"] + ["<=50K"] * 4) * 100,
        }
    )
    rows = fair.FairRows(inner="copy").fit(table, schema, np.random.default_rng(0))
    rows.sample(10, np.random.default_rng(1))
    readings = {reading["metric"]: reading for reading in rows.facts["measured"]}
    assert readings["dp_rows"]["low"] < 0.6 < readings["dp_rows"]["high"]
    assert readings["dt_acc"]["low"] < 0.8 < readings["dt_acc"]["high"]
    assert readings["dt_dp"]["value"] == 1.0  # the tree says yes to every man and to no woman
    with pytest.raises(InputError, match="no row has the favourable label 'rich'"):
        fair.FairRows(inner="copy", favourable="rich").fit(table, schema, np.random.default_rng(0))
