"""Encodings: what goes in comes out, whatever the kinds, missing values and sizes; nothing depends
on the row order.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from workbench.tables.encode import Codes, Features, Marginal, from_float, level_codes, to_float
from workbench.tables.schema import Column, Schema

# The same examples in every run; no deadline, since the machine may be shared.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

SCHEMA = Schema(
    (
        Column("x", "numeric"),
        Column("n", "integer"),
        Column("b", "boolean"),
        Column("c", "categorical"),
        Column("t", "datetime"),
    )
)
STAMPS = st.datetimes(
    pd.Timestamp("1900-01-01").to_pydatetime(), pd.Timestamp("2100-01-01").to_pydatetime()
)
VALUES = {
    "x": st.floats(-1e6, 1e6),
    "n": st.integers(-(2**40), 2**40),
    "b": st.booleans(),
    "c": st.sampled_from(["", "a", "b", "None", "nan", "ü", "missing"]),
    "t": STAMPS,
}


@st.composite
def tables(draw, min_size=0, max_size=30):
    """Cast tables with missing values in every column."""
    n = draw(st.integers(min_size, max_size))
    raw = {
        name: draw(st.lists(st.none() | values, min_size=n, max_size=n))
        for name, values in VALUES.items()
    }
    raw["t"] = pd.to_datetime(pd.Series(raw["t"], dtype="datetime64[us]"))
    return SCHEMA.cast(
        pd.DataFrame(
            {name: pd.Series(values, dtype=None if n else object) for name, values in raw.items()}
        )
    )


def rng():
    return np.random.default_rng(0)


# to_float, from_float


@given(tables())
def test_numbers_truth_and_dates_survive_the_way_through_floats(table):
    for column in SCHEMA.columns:
        if column.kind != "categorical":
            back = from_float(to_float(table[column.name]), column)
            pd.testing.assert_series_equal(back, table[column.name], check_index=False)


def test_whole_numbers_are_exact_up_to_two_to_the_53():
    ends = pd.Series([2**53, -(2**53), None], dtype="Int64", name="n")
    pd.testing.assert_series_equal(from_float(to_float(ends), Column("n", "integer")), ends)


def test_floats_beyond_a_dtype_become_its_nearest_end():
    huge = np.array([1e300, -1e300, np.nan])
    whole = from_float(huge, Column("n", "integer"))
    assert whole[0] > 9e18 and whole[1] < -9e18 and whole.isna().tolist() == [False, False, True]
    stamps = from_float(huge, Column("t", "datetime"))
    assert stamps[0].year == 2262 and stamps[1].year == 1677 and pd.isna(stamps[2])


def test_from_float_does_not_share_memory_with_its_input():
    values = np.array([1.0, 2.0])
    series = from_float(values, Column("x", "numeric"))
    values[0] = 9.0
    assert series[0] == 1.0


# Marginal


arrays = npst.arrays(float, st.integers(1, 40), elements=st.floats(-1e6, 1e6) | st.just(np.nan))


@given(arrays, npst.arrays(float, 20, elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_snapped_values_keep_bounds_grid_and_missing(values, wild):
    marginal = Marginal.fit(values)
    snapped = marginal.snap(wild)
    present = values[~np.isnan(values)]
    if not len(present):
        assert np.isnan(snapped).all()
        return
    kept = snapped[~np.isnan(wild)]
    assert np.array_equal(np.isnan(snapped), np.isnan(wild))
    assert (kept >= present.min()).all() and (kept <= present.max()).all()
    np.testing.assert_array_equal(marginal.snap(snapped), snapped)
    np.testing.assert_array_equal(marginal.snap(present), present)  # what was seen is on the grid


@given(arrays, st.integers(0, 2**32))
def test_quantile_turns_uniform_ranks_back_into_values_near_by(values, seed):
    marginal = Marginal.fit(values)
    if not len(marginal.values):
        return
    u = marginal.uniform_rank(values, np.random.default_rng(seed))
    assert np.array_equal(np.isnan(u), np.isnan(values))
    inside = u[~np.isnan(u)]
    assert ((inside > 0) & (inside < 1)).all()
    back = marginal.quantile(inside)
    # A level lies inside its value's step of the distribution, so at most one neighbour away.
    low = np.searchsorted(marginal.values, values[~np.isnan(values)], side="left")
    high = np.searchsorted(marginal.values, values[~np.isnan(values)], side="right")
    n = len(marginal.values)
    slack = marginal.step or 0.0
    assert (back >= marginal.values[np.maximum(low - 1, 0)] - slack).all()
    assert (back <= marginal.values[np.minimum(high, n - 1)] + slack).all()


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([1, 2, 5], 1.0),
        ([0.1, 0.2, 0.5], 0.1),
        ([0.07, 0.5], 0.01),
        ([1 / 3, 0.5], None),
        ([np.nan], None),
        ([0, 200, 300, 700, 1100], 100.0),
        ([-500, 250, 1250, 1500, 2000], 250.0),
        ([100, 200], 1.0),  # two may be multiples of anything by chance
        ([2, 4, 8, 10, 12], 1.0),
        (np.arange(2, 80, 2), 2.0),
        (to_float(pd.Series(pd.to_datetime(["2020-01-01", "2020-02-01"]))), 86400.0),
        (
            to_float(pd.Series(pd.to_datetime(["1951-03-04", "1969-12-30"]))),
            86400.0,
        ),  # before 1970: negative seconds
        (to_float(pd.Series(pd.to_datetime(["2020-01-01 10:00", "2020-02-01 11:00"]))), 3600.0),
        (to_float(pd.Series(pd.to_datetime(["2020-01-01 10:01", "2020-02-01 11:00"]))), 60.0),
    ],
)
def test_grid_step(values, step):
    assert Marginal.fit(np.array(values, dtype=float)).step == step


def test_seven_hundredths_stay_as_they_are():
    marginal = Marginal.fit(np.array([0.01, 0.07, 0.29]))
    assert marginal.snap(np.array([0.0701, 0.2899])).tolist() == [0.07, 0.29]


# Codes


@given(tables(min_size=1), st.integers(1, 12))
def test_codes_round_trip(table, bins):
    codes = Codes(table, SCHEMA, bins=bins)
    matrix = codes.encode(table)
    assert matrix.dtype == np.int32 and matrix.shape == table.shape
    assert (matrix >= 0).all() and (matrix < np.array(codes.sizes)).all()
    back = codes.decode(matrix, rng())
    assert SCHEMA.check(back) == []
    for name in ("b", "c"):
        pd.testing.assert_series_equal(back[name], table[name])
    for name in ("x", "n", "t"):
        assert back[name].isna().equals(table[name].isna())
    # A number comes back inside its bin, so it encodes to the same code again. Dates closer than
    # the float's grain may not.
    again = codes.encode(back)
    keep = [SCHEMA.names.index(name) for name in ("x", "n", "b", "c")]
    np.testing.assert_array_equal(again[:, keep], matrix[:, keep])


@given(tables(min_size=1), st.integers(0, 2**32))
def test_codes_do_not_depend_on_the_row_order(table, seed):
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.iloc[order].reset_index(drop=True)
    straight, mixed = Codes(table, SCHEMA), Codes(shuffled, SCHEMA)
    assert straight.sizes == mixed.sizes
    np.testing.assert_array_equal(straight.encode(table)[order], mixed.encode(shuffled))
    assert [straight.labels(name) for name in SCHEMA.names] == [
        mixed.labels(name) for name in SCHEMA.names
    ]


@given(tables(min_size=1))
def test_every_code_has_a_label(table):
    for limit in (None, 1, 2):
        codes = Codes(table, SCHEMA, bins=4, max_levels=limit)
        assert [len(codes.labels(name)) for name in SCHEMA.names] == codes.sizes


def test_unseen_and_missing_share_the_last_code():
    schema = Schema((Column("c", "categorical"), Column("b", "boolean")))
    seen = schema.cast(pd.DataFrame({"c": ["a", "b"], "b": [True, True]}))
    new = schema.cast(pd.DataFrame({"c": ["z", None], "b": [False, None]}))
    assert Codes(seen, schema).encode(new).tolist() == [[2, 1], [2, 1]]


def test_numbers_outside_the_fitted_range_go_to_the_end_bins():
    schema = Schema((Column("x", "numeric"),))
    seen = pd.DataFrame({"x": np.arange(100.0)})
    codes = Codes(seen, schema, bins=4)
    assert codes.encode(pd.DataFrame({"x": [-1e9, 1e9, np.nan]})).ravel().tolist() == [0, 3, 4]


def test_a_heavy_value_has_a_bin_of_its_own():
    """capital-gain in Adult: 92% zeros beside a long tail."""
    schema = Schema((Column("x", "integer"),))
    table = schema.cast(pd.DataFrame({"x": [0] * 920 + list(range(1, 81))}))
    codes = Codes(table, schema, bins=10)
    zero, one = codes.encode(schema.cast(pd.DataFrame({"x": [0, 1]}))).ravel()
    assert zero != one
    decoded = codes.decode(np.full((50, 1), zero), rng())
    assert (decoded["x"] == 0).all()


def test_rare_levels_share_a_code_and_come_back_in_proportion():
    schema = Schema((Column("c", "categorical"),))
    table = schema.cast(pd.DataFrame({"c": ["a"] * 600 + ["b"] * 200 + ["c"] * 150 + ["d"] * 50}))
    codes = Codes(table, schema, max_levels=2)
    matrix = codes.encode(table)
    assert codes.sizes == [3] and codes.labels("c") == ["a", "(rare)", "missing"]
    back = codes.decode(np.repeat(matrix, 20, axis=0), rng())["c"].value_counts(normalize=True)
    assert back["a"] == 0.6
    # Expected 0.2, 0.15, 0.05; the standard error of a share of 8,000 rare draws is below 0.003.
    np.testing.assert_allclose(back[["b", "c", "d"]], [0.2, 0.15, 0.05], atol=0.012)


def test_bins_at_both_ends_are_split_down_to_few_rows():
    values = np.random.default_rng(0).lognormal(size=10_000)
    schema = Schema((Column("x", "numeric"),))
    table = pd.DataFrame({"x": values})
    counts = np.bincount(Codes(table, schema, bins=10, tail_rows=4).encode(table)[:, 0])
    expected = np.array([8, 8, 16, 31, 62, 125, 250, 500])  # halves of a tenth of the rows
    assert np.abs(counts - [*expected, *[1000] * 8, *expected[::-1]]).max() <= 1


def test_ten_thousand_levels():
    schema = Schema((Column("c", "categorical"),))
    table = schema.cast(pd.DataFrame({"c": [f"level {i % 10_000}" for i in range(30_000)]}))
    codes = Codes(table, schema)
    assert codes.sizes == [10_001]
    pd.testing.assert_frame_equal(codes.decode(codes.encode(table), rng()), table)
    assert Codes(table, schema, max_levels=100).sizes == [101]
    features = Features(table, schema.columns)
    assert features.one_hot(table).shape == (30_000, 51)
    assert np.nanmax(features.ordinal(table)) == 253


def test_empty_tables_encode_and_decode():
    empty = SCHEMA.cast(pd.DataFrame({name: [] for name in SCHEMA.names}))
    codes = Codes(empty, SCHEMA)
    assert codes.encode(empty).shape == (0, 5)
    assert SCHEMA.check(codes.decode(codes.encode(empty), rng())) == []
    missing = codes.decode(np.column_stack([np.full(3, size - 1) for size in codes.sizes]), rng())
    assert missing.isna().all().all() and len(missing) == 3
    features = Features(empty, SCHEMA.columns)
    assert features.one_hot(empty).shape[0] == 0 and features.ordinal(empty).shape == (0, 5)


def test_the_same_rng_decodes_the_same_table():
    table = SCHEMA.cast(
        pd.DataFrame(
            {
                "x": np.linspace(0, 1, 50),
                "n": range(50),
                "b": [True, False] * 25,
                "c": "a",
                "t": pd.Timestamp("2020"),
            }
        )
    )
    codes = Codes(table, SCHEMA, bins=3)
    first, second = (codes.decode(codes.encode(table), rng()) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert not codes.decode(codes.encode(table), np.random.default_rng(1))["x"].equals(first["x"])


# Features


@given(tables(min_size=1), tables())
def test_features_are_finite_and_keep_their_width_on_any_table(fitted, other):
    features = Features(fitted, SCHEMA.columns)
    for table in (fitted, other):
        one_hot, ordinal = features.one_hot(table), features.ordinal(table)
        assert one_hot.dtype == ordinal.dtype == np.float32
        assert (
            one_hot.shape == (len(table), features.one_hot(fitted).shape[1])
            and np.isfinite(one_hot).all()
        )
        assert ordinal.shape == (len(table), 5) and not np.isinf(ordinal).any()
    assert features.categorical == [False, False, True, True, False]


@given(tables(min_size=1), st.integers(0, 2**32))
@settings(max_examples=50)
def test_features_do_not_depend_on_the_row_order(table, seed):
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.iloc[order].reset_index(drop=True)
    straight, mixed = Features(table, SCHEMA.columns), Features(shuffled, SCHEMA.columns)
    np.testing.assert_array_equal(straight.ordinal(table)[order], mixed.ordinal(shuffled))
    np.testing.assert_allclose(
        straight.one_hot(table)[order], mixed.one_hot(shuffled), rtol=1e-4, atol=1e-4
    )


def test_levels_never_seen_are_other_in_one_view_and_missing_in_the_other():
    columns = (Column("c", "categorical"), Column("b", "boolean"))
    schema = Schema(columns)
    seen = schema.cast(pd.DataFrame({"c": ["a", "a", "b"], "b": [True, True, True]}))
    new = schema.cast(pd.DataFrame({"c": ["a", "z", None], "b": [True, False, None]}))
    features = Features(seen, columns)
    assert features.one_hot(new).tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 0, 1], [0, 0, 1, 0, 1]]
    ordinal = features.ordinal(new)
    assert ordinal[0].tolist() == [0, 0] and np.isnan(ordinal[1:]).all()


def test_missing_numbers_stand_at_the_median_with_a_flag():
    column = Column("x", "numeric")
    table = pd.DataFrame({"x": [1.0, 2.0, 9.0, np.nan]})
    matrix = Features(table, [column]).one_hot(table)
    assert matrix[:, 1].tolist() == [0, 0, 0, 1]
    assert matrix[3, 0] == matrix[1, 0]
    np.testing.assert_allclose(matrix[:3, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 0].std(), 1, atol=1e-6)


def test_a_constant_column_is_zero_even_where_its_mean_is_rounded():
    table = pd.DataFrame({"x": np.full(1000, 0.1)})
    assert (Features(table, [Column("x", "numeric")]).one_hot(table) == 0).all()


def test_values_beyond_float32_stay_finite():
    table = pd.DataFrame({"x": [1e300, -1e300, 0.0]})
    features = Features(table, [Column("x", "numeric")])
    np.testing.assert_allclose(
        features.one_hot(table).ravel(), [1.2247449, -1.2247449, 0], rtol=1e-6
    )
    assert np.isfinite(features.ordinal(table)).all()


def test_dates_a_minute_apart_stay_apart_in_both_views():
    table = pd.DataFrame(
        {"t": pd.to_datetime(["2020-01-01 10:00", "2020-01-01 10:01", "2020-01-01 10:02"])}
    )
    features = Features(table, [Column("t", "datetime")])
    assert len(np.unique(features.ordinal(table))) == len(np.unique(features.one_hot(table))) == 3


@pytest.mark.parametrize("levels", [[False, True], [True], ["a", "b"], [0, 1, 2.5], []])
def test_codes_of_levels_are_the_places_that_an_index_finds(levels):
    found = [*levels, True, 1, "new", None, np.nan, pd.NA]
    drawn = np.random.default_rng(0).integers(0, len(found), 60)
    values = pd.Series([found[place] for place in drawn], dtype=object)
    index = pd.Index(levels, dtype=object)
    np.testing.assert_array_equal(level_codes(index, values), index.get_indexer(values))
    assert len(level_codes(index, values[:0])) == 0
