"""Fidelity against scipy, hand calculations and tables whose defect is known."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, spearmanr

from workbench.metrics import Trial, fidelity
from workbench.metrics.fidelity import (
    c2st,
    column_distance,
    coverage,
    marginals,
    pair_trends,
    rank_correlation,
)
from workbench.tables.schema import Column, Schema

NUMBER, LABEL = Column("x", "numeric"), Column("x", "categorical")
SCHEMA = Schema(
    (
        Column("a", "numeric"),
        Column("b", "numeric"),
        Column("c", "integer"),
        Column("d", "categorical"),
        Column("e", "boolean"),
    )
)


def draw(n: int, seed: int) -> pd.DataFrame:
    """Correlated numbers, a label that follows them, and a truth value that follows the label."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = np.round(0.8 * a + 0.6 * rng.normal(size=n), 2)
    b[rng.random(n) < 0.1] = np.nan
    d = np.where(a > 0.6, "high", np.where(a < -0.6, "low", "middle")).astype(object)
    e = np.where(d == "high", rng.random(n) < 0.8, rng.random(n) < 0.2)
    return SCHEMA.cast(
        pd.DataFrame(
            {"a": np.round(a, 2), "b": b, "c": rng.poisson(np.exp(1 + a / 2)), "d": d, "e": e}
        )
    )


TRAIN, TEST, FRESH = draw(2000, 1), draw(1000, 2), draw(2000, 3)


def readings(metric, synthetic: pd.DataFrame, train=TRAIN, test=TEST, schema=SCHEMA) -> dict:
    return {
        (r.metric, r.column, r.group): r for r in metric(Trial(train, test, synthetic, schema, 0))
    }


def value(metric, synthetic, **real) -> float:
    return readings(metric, synthetic, **real)[metric.__name__, "", ""].value


def permuted(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: table[name].array[rng.permutation(len(table))] for name in table})


numbers = st.lists(
    st.one_of(st.integers(-5, 5).map(float), st.just(float("nan"))), min_size=1, max_size=40
)
words = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=40)


@given(numbers, numbers)
@settings(max_examples=80, deadline=None)
def test_numbers_differ_as_scipy_says_with_missing_left_of_all(first, second):
    distance, *_ = column_distance(pd.Series(first, name="x"), pd.Series(second, name="x"), NUMBER)
    low = [np.where(np.isnan(sample), -1e9, sample) for sample in (first, second)]
    assert distance == pytest.approx(ks_2samp(*low, method="asymp").statistic, abs=1e-12)


@given(words, words)
@settings(max_examples=80, deadline=None)
def test_labels_differ_by_total_variation(first, second):
    a, b = (pd.Series(sample, dtype=object, name="x") for sample in (first, second))
    distance, *_ = column_distance(a, b, LABEL)
    shares = [
        [sample.count(level) / len(sample) for level in ("a", "b", "c", None)]
        for sample in (first, second)
    ]
    assert distance == pytest.approx(np.abs(np.subtract(*shares)).sum() / 2, abs=1e-12)
    assert distance == pytest.approx(column_distance(b, a, LABEL)[0], abs=1e-12)
    assert column_distance(a, a.iloc[::-1], LABEL)[0] == 0


def test_marginals_by_hand():
    schema = Schema((Column("n", "numeric"), Column("c", "categorical")))
    real = schema.cast(pd.DataFrame({"n": [1.0, 2.0, 3.0, 4.0], "c": ["a", "b", "b", "b"]}))
    synthetic = schema.cast(
        pd.DataFrame({"n": [3.0, 4.0, 5.0, np.nan], "c": ["a", "a", "b", None]})
    )
    found = readings(marginals, synthetic, real, real, schema)
    assert found["marginals", "n", ""].value == pytest.approx(
        0.75
    )  # up to 2: two of four real, one (missing) of four
    assert found["marginals", "c", ""].value == pytest.approx(0.5)
    assert found["marginals", "", ""].value == pytest.approx(0.625)
    assert found["worst_column", "c", ""].value == pytest.approx(0.5)


@pytest.mark.parametrize("column", [NUMBER, LABEL])
def test_interval_is_as_wide_as_the_spread_of_fresh_samples(column):
    distances, widths = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        a, b = rng.binomial(5, 0.3, 200).astype(float), rng.binomial(5, 0.5, 300).astype(float)
        a, b = (pd.Series(x, name="x").astype(object if column is LABEL else float) for x in (a, b))
        distance, in_a, in_b = column_distance(a, b, column)
        distances.append(distance)
        widths.append(np.sqrt(np.var(in_a) / len(a) + np.var(in_b) / len(b)))
    assert np.mean(widths) == pytest.approx(np.std(distances), rel=0.12)


def test_rank_correlation_is_scipys():
    columns = list(SCHEMA.columns[:3])
    full = TRAIN.assign(b=TRAIN["b"].fillna(0.0))
    r, _ = rank_correlation(full, columns)
    assert np.allclose(r, spearmanr(full[["a", "b", "c"]].astype(float)).statistic, atol=1e-12)
    r, _ = rank_correlation(TRAIN, columns)
    omitted = spearmanr(TRAIN["a"], TRAIN["b"], nan_policy="omit").statistic
    assert r[0, 1] == pytest.approx(omitted, abs=0.005)  # ranks are taken before the pairs are


def test_rank_correlation_of_constant_and_missing_columns_is_zero():
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0] * 4, "c": [np.nan] * 4})
    r, z = rank_correlation(table, [Column(name, "numeric") for name in "abc"])
    assert r[0, 1] == r[0, 2] == r[1, 2] == 0
    assert np.isfinite(z).all()


def test_pair_trends_by_hand():
    schema = Schema((Column("c", "categorical"), Column("d", "categorical")))
    real = schema.cast(pd.DataFrame({"c": list("aabb"), "d": list("xxyy")}))
    half = schema.cast(pd.DataFrame({"c": list("aabb"), "d": list("xyyx")}))
    new = schema.cast(pd.DataFrame({"c": list("aabb"), "d": ["x", "x", "new", None]}))
    assert value(pair_trends, real, train=real, test=real, schema=schema) == 1
    assert value(pair_trends, half, train=real, test=real, schema=schema) == pytest.approx(0.5)
    assert value(pair_trends, new, train=real, test=real, schema=schema) == pytest.approx(0.5)
    gone = real.assign(d=pd.Series([np.nan] * 4, dtype=object))
    never_seen = real.assign(d="new")
    assert (
        value(pair_trends, never_seen, train=real, test=gone, schema=schema) == 0
    )  # never seen is not missing


def test_pair_trends_of_two_numbers_by_hand():
    schema = Schema((Column("a", "numeric"), Column("b", "numeric")))
    real = pd.DataFrame({"a": [1.0, 2, 3, 4, 5], "b": [1.0, 2, 3, 4, 5]})
    reverse = real.assign(b=real["b"].to_numpy()[::-1])
    assert value(pair_trends, reverse, train=real, test=real, schema=schema) == pytest.approx(
        0
    )  # 1 - |-1 - 1| / 2


def test_mixed_pairs_are_cut_where_the_real_rows_are():
    schema = Schema((Column("a", "numeric"), Column("d", "categorical")))
    real, test = TRAIN[["a", "d"]], TEST[["a", "d"]]
    moved = real.assign(a=3 * real["a"] + 100)
    assert value(pair_trends, real, train=real, test=test, schema=schema) > 0.9
    assert value(pair_trends, moved, train=real, test=test, schema=schema) < 0.2


def test_pair_trends_interval_is_as_wide_as_the_spread_of_fresh_samples():
    def one(seed):
        rng = np.random.default_rng(seed)
        synthetic, test = draw(300, [seed, 1]), draw(300, [seed, 2])
        return readings(pair_trends, permuted(synthetic, rng.integers(99)), TRAIN, test)[
            "pair_trends", "", ""
        ]

    rows = [one(seed) for seed in range(60)]
    assert np.mean([(row.high - row.low) / 3.92 for row in rows]) == pytest.approx(
        np.std([r.value for r in rows]), rel=0.35
    )


def test_row_order_does_not_matter():
    shuffled = FRESH.sample(frac=1, random_state=0).reset_index(drop=True)
    assert readings(marginals, FRESH) == readings(marginals, shuffled)
    assert value(pair_trends, FRESH) == pytest.approx(value(pair_trends, shuffled), abs=1e-12)


DEFECTS = {
    "copy": TRAIN,
    "fresh": FRESH,
    "shrunk": FRESH.assign(a=FRESH["a"] * 0.3, b=FRESH["b"] * 0.3),
    "dropped mode": FRESH[FRESH["d"] != "high"].reset_index(drop=True),
    "one outlier": FRESH.assign(a=FRESH["a"].where(FRESH.index > 0, 1e6)),
    "shift": FRESH.assign(a=FRESH["a"] + 1),
    "permuted": permuted(FRESH),
}


@pytest.fixture(scope="module")
def sanity() -> pd.DataFrame:
    """marginals, pair_trends and c2st (columns) of each table (rows)."""
    metrics = (marginals, pair_trends, c2st)
    return pd.DataFrame(
        {m.__name__: {name: value(m, table) for name, table in DEFECTS.items()} for m in metrics}
    )


@pytest.mark.parametrize("table", ["copy", "fresh", "one outlier"])
def test_good_tables_read_like_fresh_rows(sanity, table):
    assert sanity.loc[table, "marginals"] > 0.95
    assert sanity.loc[table, "pair_trends"] > 0.93
    assert sanity.loc[table, "c2st"] < 0.56


@pytest.mark.parametrize("table", ["shrunk", "dropped mode", "shift"])
def test_broken_marginals_lower_all_three(sanity, table):
    assert sanity.loc[table, "marginals"] < 0.93
    assert sanity.loc[table, "pair_trends"] < sanity.loc["fresh", "pair_trends"] - 0.03
    assert sanity.loc[table, "c2st"] > 0.6  # without the 27% "high", a perfect judge reads 0.64


def test_permuted_columns_keep_marginals_and_lose_the_rest(sanity):
    assert sanity.loc["permuted", "marginals"] == sanity.loc["fresh", "marginals"]
    assert sanity.loc["permuted", "pair_trends"] < sanity.loc["fresh", "pair_trends"] - 0.1
    assert sanity.loc["permuted", "c2st"] > 0.85


def test_c2st_names_the_column_that_gives_rows_away():
    found = readings(c2st, FRESH.assign(c=FRESH["c"] + 30))
    assert found["c2st", "", ""].value > 0.99
    assert found["c2st", "", "short boosting"].note == "told by c"
    assert {key[2] for key in found} == {"", "logistic", "short boosting"}


def test_c2st_rounds_before_it_judges():
    off_grid = FRESH.assign(a=FRESH["a"] + 0.004)
    schema = Schema(SCHEMA.columns[:1])
    whole = [table[["a"]].round() for table in (TRAIN, TEST, FRESH)]
    decimals = whole[2] + np.random.default_rng(0).uniform(-0.3, 0.3, whole[2].shape)
    found = readings(c2st, decimals, whole[0], whole[1], schema)
    assert found["c2st", "", ""].value < 0.56
    assert found["c2st", "", "as delivered"].value > 0.9
    assert value(c2st, off_grid) == value(c2st, FRESH)


def test_the_linear_area_of_equal_tables_varies_as_much_as_its_interval_says():
    """DeLong's variance alone is half of it: each fold's direction is learnt from the others."""
    schema = Schema.infer(pd.DataFrame({"x": [0.5, 1.5, 2.25], "y": [0.5, 1.5, 2.25]}))
    values, errors = [], []
    for seed in range(60):
        x = np.random.default_rng(seed).normal(size=(2, 200, 2))
        sides = [pd.DataFrame(one, columns=["x", "y"]) for one in x]
        row = fidelity._discriminated(*sides, schema, "logistic", seed)
        values.append(row.value)
        errors.append((row.high - row.low) / (2 * 1.96))
    assert 0.8 < np.std(values) / np.mean(errors) < 1.2


def in_pairs(pairs: int) -> np.ndarray:
    """The balls of rows that lie two and two beside each other: each holds itself and its partner."""
    rows = np.arange(2 * pairs)
    return np.column_stack([rows, rows ^ 1])


def test_rows_hit_together_count_as_fewer():
    """Pairs of equal rows, hit or missed as one: the variance of the share doubles."""
    half = np.repeat(np.random.default_rng(0).random(50_000) < 0.5, 2)
    assert fidelity._dependence_of_balls(half, in_pairs(50_000)) == pytest.approx(2, abs=1e-3)
    # Few balls missed: drawn towards the dependence that was simulated.
    hit = np.repeat(np.random.default_rng(0).random(500) < 0.9, 2)
    missed = np.count_nonzero(~hit)
    drawn = fidelity.FEW_BALLS / (missed + fidelity.FEW_BALLS)
    expected = 2 + drawn * (fidelity.DEPENDENT - 2)
    assert fidelity._dependence_of_balls(hit, in_pairs(500)) == pytest.approx(expected)
    alone = np.random.default_rng(1).random(100_000) < 0.9
    assert fidelity._dependence_of_balls(alone, in_pairs(50_000)) < 1.2


def test_c2st_needs_rows():
    row = readings(c2st, FRESH.head(3))["c2st", "", ""]
    assert np.isnan(row.value) and "at least 10" in row.note


def test_one_column_has_no_pairs():
    schema = Schema(SCHEMA.columns[:1])
    row = readings(pair_trends, FRESH[["a"]], TRAIN[["a"]], TEST[["a"]], schema)[
        "pair_trends", "", ""
    ]
    assert np.isnan(row.value) and "no pairs" in row.note


def test_ten_thousand_levels_stay_small():
    rng = np.random.default_rng(0)
    schema = Schema(tuple(Column(f"c{i}", "categorical") for i in range(4)))
    tables = [
        schema.cast(pd.DataFrame(rng.integers(10_000, size=(10_000, 4)), columns=schema.names))
        for _ in range(3)
    ]
    tracemalloc.start()
    assert 0 <= value(pair_trends, tables[0], train=tables[1], test=tables[2], schema=schema) <= 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # one full contingency table of two such columns takes 800 MB


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_readings_stay_in_bounds(seed):
    rng = np.random.default_rng(seed)
    table = permuted(draw(int(rng.integers(1, 60)), seed), seed)
    table = table.mask(rng.random(table.shape) < rng.random()).astype(TRAIN.dtypes.to_dict())
    for metric in (marginals, pair_trends):
        for row in readings(metric, table).values():
            # The worst pair is picked out of many: it has no interval of its own.
            low, high = (0, 1) if row.group == "worst pair" else (row.low, row.high)
            assert 0 <= low <= row.value <= high <= 1


def test_one_lost_pair_of_many_is_named_though_the_mean_hardly_moves():
    rng = np.random.default_rng(0)

    def drawn(n, lost=False):
        x = rng.normal(size=(n, 12))
        x[:, 7] = x[:, 2] if not lost else rng.normal(size=n)
        return pd.DataFrame(x, columns=[f"x{j}" for j in range(12)])

    train, test, synthetic = drawn(800), drawn(800), drawn(800, lost=True)
    schema = Schema.infer(train)
    rows = {row.group: row for row in pair_trends(Trial(train, test, synthetic, schema))}
    assert rows[""].value > 0.95
    assert rows["worst pair"].value == pytest.approx(0.5, abs=0.05)
    assert rows["worst pair"].note.startswith("x2 x x7 0.")


def test_gaps_that_only_the_synthetic_table_has_are_far_from_real_rows():
    rng = np.random.default_rng(0)
    train, test, synthetic = (
        pd.DataFrame(rng.normal(size=(600, 3)), columns=list("abc")) for _ in range(3)
    )
    schema = Schema.infer(train)
    emptied = synthetic.assign(a=np.nan)
    whole = next(coverage(Trial(train, test, synthetic, schema))).value
    assert next(coverage(Trial(train, test, emptied, schema))).value < 0.05 < whole
