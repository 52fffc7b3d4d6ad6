"""Conditions on rows, and sampling until enough rows meet them."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import make
from workbench.tables.conditions import MAX_DRAWS, matches, matching_rows, sample_matching
from workbench.tables.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("x", "numeric"),
        Column("n", "integer"),
        Column("c", "categorical"),
        Column("b", "boolean"),
        Column("d", "datetime"),
    )
)
TABLE = SCHEMA.cast(
    pd.DataFrame(
        {
            "x": [0.5, 1.5, None, 2.5],
            "n": [1, None, 3, 4],
            "c": ["3", "nan", None, "True"],
            "b": pd.array([True, False, None, True], dtype="boolean"),
            "d": ["2020-01-01", "2020-06-01", "2021-01-01", None],
        }
    )
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"x": 1.5}, [1]),
        ({"x": (0.5, 1.5)}, [0, 1]),
        ({"x": [1, np.inf]}, [1, 3]),
        ({"x": None}, [2]),
        ({"x": float("nan")}, [2]),
        ({"n": 3}, [2]),
        ({"n": "3"}, [2]),
        ({"n": (2, 4)}, [2, 3]),
        ({"n": pd.NA}, [1]),
        ({"c": "3"}, [0]),
        ({"c": 3}, [0]),
        ({"c": 3.0}, [0]),
        ({"c": "nan"}, [1]),
        ({"c": None}, [2]),
        ({"c": True}, [3]),
        ({"b": True}, [0, 3]),
        ({"b": "false"}, [1]),
        ({"b": 0}, [1]),
        ({"b": np.bool_(True)}, [0, 3]),
        ({"b": None}, [2]),
        ({"d": "2020-06-01"}, [1]),
        ({"d": ("2020-01-01", "2020-12-31")}, [0, 1]),
        ({"d": (pd.Timestamp("2020-02-01"), np.datetime64("2022-01-01"))}, [1, 2]),
        ({"d": ("2020-01-01T02:00+02:00", "2020-01-02")}, [0]),
        ({"d": None}, [3]),
        ({"x": (0, 9), "b": True}, [0, 3]),
        ({"x": (0, 1), "b": False}, []),
        ({"c": "unheard of"}, []),
    ],
)
def test_matches(where, rows):
    keep = matches(TABLE, SCHEMA, where)
    assert keep.dtype == bool and np.flatnonzero(keep).tolist() == rows


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ({"xx": 1}, "no column 'xx'"),
        ({"c": ("a", "b")}, "condition on 'c': a range is a pair"),
        ({"b": (False, True)}, "condition on 'b': a range is a pair"),
        ({"x": (1, 2, 3)}, "condition on 'x': a range is a pair"),
        ({"x": (2, 1)}, "the range 2 to 1 is empty"),
        ({"x": (np.nan, 1)}, "is empty"),
        ({"x": "large"}, "'large' is not a value of a numeric column"),
        ({"x": (0, "large")}, "'large' is not a value of a numeric column"),
        ({"x": (0, None)}, "None is not a value of a numeric column"),
        ({"x": {1, 2}}, "is not a value of a numeric column"),
        ({"c": {"a"}}, "is not a value of a categorical column"),
        ({"b": "yes"}, "'yes' is not a value of a boolean column"),
        ({"d": "next week"}, "'next week' is not a value of a datetime column"),
        ({"d": 5}, "5 is not a value of a datetime column"),
    ],
)
def test_bad_conditions_end_in_one_sentence(where, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        matches(TABLE, SCHEMA, where)
    assert "\n" not in str(error.value)


X = Schema((Column("x", "numeric"),))


def uniform(calls):
    def draw(n, rng):
        calls.append(n)
        return pd.DataFrame({"x": rng.random(n)})

    return draw


@pytest.mark.parametrize("n", [1, 10, 5000])
def test_sampling_returns_exactly_n_rows_that_match(n):
    calls = []
    table = sample_matching(uniform(calls), n, np.random.default_rng(0), X, {"x": (0.9, 1)})
    assert (
        len(table) == n
        and table["x"].between(0.9, 1).all()
        and table.index.equals(pd.RangeIndex(n))
    )
    assert len(calls) < 20
    again = sample_matching(uniform([]), n, np.random.default_rng(0), X, {"x": (0.9, 1)})
    pd.testing.assert_frame_equal(table, again)


def test_no_condition_draws_once():
    calls = []
    assert len(sample_matching(uniform(calls), 7, np.random.default_rng(0), X, None)) == 7
    assert calls == [7]


def test_a_rare_condition_is_met_late():
    calls = []
    table = sample_matching(uniform(calls), 10, np.random.default_rng(0), X, {"x": (0, 0.0002)})
    assert len(table) == 10 and 10 < len(calls) <= MAX_DRAWS


def test_a_hopeless_condition_gives_up_early_with_the_acceptance_rate():
    calls = []
    with pytest.raises(
        InputError,
        match=r"only 0 of 10000 sampled rows meet \{'x': \(2, 3\)\} \(acceptance 0\), 10 were",
    ):
        sample_matching(uniform(calls), 10, np.random.default_rng(0), X, {"x": (2, 3)})
    assert len(calls) == MAX_DRAWS // 10
    with pytest.raises(InputError, match=r"acceptance 0\.00"):
        sample_matching(uniform(calls), 20_000, np.random.default_rng(0), X, {"x": (0, 0.001)})


def test_matching_rows():
    assert matching_rows(TABLE, SCHEMA, {"b": True}, 5).tolist() == [0, 3]
    assert matching_rows(TABLE, SCHEMA, None, 5).tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"acceptance 0\)"):
        matching_rows(TABLE, SCHEMA, {"c": "no such label"}, 5)


def test_the_gaussian_copula_conditions_by_itself():
    """A condition of one row in a thousand costs a few draws, and its rows are spread as rejection
    would spread them.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    y = 0.8 * x + 0.6 * rng.normal(size=20_000)
    kinds = {"x": "numeric", "y": "numeric", "n": "integer", "rare": "boolean", "gap": "numeric"}
    schema = Schema(tuple(Column(name, kind) for name, kind in kinds.items()))
    gap = np.where(rng.random(20_000) < 0.01, np.nan, y)
    table = schema.cast(
        pd.DataFrame({"x": x, "y": y, "n": np.floor(2 * x), "rare": x > 3.0, "gap": gap})
    )
    generator = make("gaussian-copula").fit(table, schema, np.random.default_rng(1))
    draws = []
    plain = generator._draw
    generator._draw = lambda n, rng, where: draws.append(n) or plain(n, rng, where)
    for where, share in (
        ({"x": (3.0, 9.0)}, 0.9),
        ({"rare": True}, 0.5),
        ({"n": 7}, 0.5),
        ({"gap": None}, 0.9),
    ):
        draws.clear()
        synthetic = generator.sample(500, np.random.default_rng(2), where=where)
        assert len(synthetic) == 500 and matches(synthetic, schema, where).all()
        assert sum(draws) < 500 / share + 1000, where
    synthetic = generator.sample(20_000, np.random.default_rng(2), where={"x": (1.0, 1.1)})
    assert synthetic["y"].mean() == pytest.approx(0.8 * 1.05, abs=0.03) and synthetic[
        "y"
    ].std() == pytest.approx(0.6, abs=0.03)
    assert synthetic["x"].mean() == pytest.approx(1.048, abs=0.01)
