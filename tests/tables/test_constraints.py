"""Declared constraints: read and refused in one sentence, lossless to rewrite, and kept in every
row by every generator.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generators import BRIEF, SLOW, TINY, every_generator, quick_generators, row_set

from workbench.batch import grid
from workbench.cli import main
from workbench.errors import InputError
from workbench.generators import generate, make
from workbench.tables.constraints import Rewriting, check
from workbench.tables.datasets import Dataset, load, table_hash
from workbench.tables.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("low", "numeric"),
        Column("high", "integer"),
        Column("top", "numeric"),
        Column("start", "datetime"),
        Column("end", "datetime"),
        Column("city", "categorical"),
        Column("group", "boolean", "sensitive"),
        Column("country", "categorical"),
        Column("y", "categorical", "target"),
    ),
    positive="yes",
    constraints=["low <= high", "high < top", "low < top", "start < end", ["city", "country"]],
)


def make_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Tight bounds on different grids, gaps on every side, and low sides beyond all high sides
    where those are missing.
    """
    rng = np.random.default_rng(seed)
    low = np.round(rng.gamma(2, 2, rows), 1)
    high = np.ceil(low) + rng.integers(0, 3, rows)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), "D")
    city = rng.choice(["Paris", "Lyon", "Bonn", "Berlin"], rows, p=[0.4, 0.3, 0.2, 0.1])
    table = pd.DataFrame(
        {
            "low": low,
            "high": high,
            "top": high + rng.exponential(1, rows) + 1e-9,
            "start": start,
            "end": start + pd.to_timedelta(rng.integers(1, 40, rows), "D"),
            "city": city,
            "group": rng.random(rows) < 0.5,
            "country": np.where(np.isin(city, ["Paris", "Lyon"]), "France", "Germany"),
            "y": np.where(low + rng.normal(size=rows) > 4, "yes", "no"),
        }
    )
    for name in ("low", "high", "top", "start", "end", "city", "country"):
        table.loc[rng.random(rows) < 0.1, name] = None
    if rows > 1:
        table.loc[0, ["low", "high"]] = [1000.0, None]
    table.loc[table["low"] >= table["top"], "top"] = None
    return SCHEMA.cast(table)


TABLE = make_table(300)


def assert_kept(synthetic: pd.DataFrame, train: pd.DataFrame = TABLE) -> None:
    assert SCHEMA.check(synthetic) == []
    check(synthetic, SCHEMA)
    assert row_set(synthetic[["city", "country"]]) <= row_set(train[["city", "country"]])
    for name in ("low", "high", "top", "start", "end"):
        assert synthetic[name].dropna().between(train[name].min(), train[name].max()).all(), name
    assert (synthetic["low"].round(1).fillna(0) == synthetic["low"].fillna(0)).all()
    ends = synthetic["end"].dropna()
    assert (ends == ends.dt.normalize()).all()


@quick_generators
def test_every_generator_keeps_them_in_every_row(name):
    generator = make(name, TINY[name] | BRIEF.get(name, {}))
    if reason := generator.supports(SCHEMA):
        pytest.skip(reason)
    fitted = generator.fit(TABLE, SCHEMA, np.random.default_rng(1))
    rows = 100 if name in SLOW else 1000
    synthetic = fitted.sample(rows, np.random.default_rng(2))
    assert_kept(synthetic)
    assert table_hash(synthetic) == table_hash(fitted.sample(rows, np.random.default_rng(2)))
    where = {"high": (3, 6), "country": "France", "group": True}
    some = fitted.sample(20, np.random.default_rng(3), where=where)
    assert_kept(some)
    assert (
        len(some) == 20
        and some["high"].between(3, 6).all()
        and (some["country"] == "France").all()
        and some["group"].all()
    )


def test_conditions_that_cannot_be_met_end_in_one_sentence():
    fitted = make("cart").fit(TABLE, SCHEMA, np.random.default_rng(1))
    for where, sentence in (
        ({"contry": "France"}, "did you mean country"),
        ({"country": "Spain"}, "no train row has 'Spain'; known: France, Germany"),
        ({"high": (5, 3)}, "range 5 to 3 is empty"),
        ({"high": (500, 600), "group": True}, r"acceptance 0\b"),
    ):
        with pytest.raises(InputError, match=sentence):
            fitted.sample(5, np.random.default_rng(2), where=where)


@every_generator
@pytest.mark.parametrize("rows", [1, 2])
def test_small_tables(name, rows):
    table = make_table(rows, seed=3)
    generator = make(name, TINY[name] | BRIEF.get(name, {}))
    if reason := generator.supports(SCHEMA):
        pytest.skip(reason)
    assert_kept(
        generator.fit(table, SCHEMA, np.random.default_rng(1)).sample(50, np.random.default_rng(2)),
        table,
    )


def test_copies_are_still_copies():
    synthetic = (
        make("copy")
        .fit(TABLE, SCHEMA, np.random.default_rng(0))
        .sample(len(TABLE), np.random.default_rng(1))
    )
    assert row_set(synthetic) == row_set(TABLE)


@pytest.mark.parametrize("name", ["independent", "gaussian-copula", "cart"])
def test_marginals_survive_the_rewriting(name):
    synthetic = (
        make(name)
        .fit(TABLE, SCHEMA, np.random.default_rng(1))
        .sample(4000, np.random.default_rng(2))
    )
    assert (abs(synthetic.isna().mean() - TABLE.isna().mean()) < 0.05).all()
    for column in ("low", "high", "top"):
        real, drawn = (
            table[column].astype(float).quantile([0.25, 0.5, 0.75]).to_numpy()
            for table in (TABLE, synthetic)
        )
        assert np.abs(real - drawn).max() < 1, column
    assert (synthetic["end"] - synthetic["start"]).max() <= pd.Timedelta(days=60)


def test_a_generator_fitted_again_without_constraints_forgets_them():
    generator = make("permuted")
    free = Schema(SCHEMA.columns, SCHEMA.positive)
    generator.fit(TABLE, SCHEMA, np.random.default_rng(1)).sample(5, np.random.default_rng(2))
    synthetic = generator.fit(TABLE, free, np.random.default_rng(1)).sample(
        300, np.random.default_rng(2)
    )
    with pytest.raises(InputError, match="does not hold"):
        check(synthetic, SCHEMA)


numbers = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    st.floats(-1e9, 1e9),
)
labels = st.sampled_from(["p", "q", None])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.lists(st.tuples(numbers, numbers, numbers, labels, labels), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_rewriting_is_lossless_and_what_comes_back_from_any_values_keeps_the_constraints(
    rows, random
):
    schema = Schema(
        (
            Column("a", "numeric"),
            Column("b", "numeric"),
            Column("c", "numeric"),
            Column("d", "categorical"),
            Column("e", "categorical"),
        ),
        constraints=["a <= b", "b < c", ["d", "e"]],
    )
    table = schema.cast(pd.DataFrame(rows, columns=schema.names))
    broken = (table["a"] > table["b"]) | (table["b"] >= table["c"])
    if broken.any():
        with pytest.raises(InputError, match=r"does not hold in \d+ of"):
            Rewriting(schema).apply(table, np.random.default_rng(0))
    table = table[~broken].reset_index(drop=True)
    if not len(table):
        return
    rewriting = Rewriting(schema)
    rewritten = rewriting.apply(table, np.random.default_rng(0))
    pd.testing.assert_frame_equal(rewriting.restore(rewritten), table)
    for name in rewritten:
        order = random.sample(range(len(table)), len(table))
        rewritten[name] = rewritten[name].take(order).to_numpy()
        if rewritten[name].dtype == float:
            scaled = rewritten[name] * random.choice([-3.7, 0.0, 1e-9, 2.1])
            # What a generator draws lies within the train range.
            rewritten[name] = scaled.clip(rewritten[name].min(), rewritten[name].max())
    restored = rewriting.restore(rewritten)
    check(restored, schema)
    assert row_set(restored[["d", "e"]]) <= row_set(table[["d", "e"]])


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("low <= hihg", ["'low <= hihg'", "no column 'hihg'", "did you mean high?"]),
        ("low", ["'low'", "low <= high"]),
        ("low <= city", ["'city' is categorical", "labels have no order"]),
        ("low < start", ["numeric", "datetime", "two of a kind"]),
        ("low <= low", ["circle", "low <= low"]),
        ("top <= low", ["circle", "drop one"]),
        (["city"], ["at least two"]),
        (["city", "city"], ["each of them once"]),
        (["city", "countri"], ["no column 'countri'", "country"]),
        (["city", "low"], ["'low' is numeric", "labels"]),
        (3, ["3", "neither"]),
        ([3, 4], ["[3, 4]", "neither"]),
    ],
)
def test_impossible_constraints_end_in_one_sentence(constraint, words):
    with pytest.raises(InputError) as caught:
        Schema(SCHEMA.columns, constraints=["low <= high", "high <= top", constraint])
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_names_may_hold_spaces_and_signs():
    schema = Schema(
        (Column("a < b", "numeric"), Column("c d", "numeric")), constraints="a < b <= c d"
    )
    assert schema.inequalities == [("a < b", "c d", False)] and schema.constraints == (
        "a < b <= c d",
    )


def test_json_hash_roles_and_html():
    again = Schema.from_json(SCHEMA.to_json())
    assert (
        again == SCHEMA and hash(again) == hash(SCHEMA) and again != Schema(SCHEMA.columns, "yes")
    )
    assert SCHEMA.with_roles().constraints == SCHEMA.constraints
    assert "constraints" not in Schema(SCHEMA.columns).to_json()
    assert "low &lt;= high" in SCHEMA._repr_html_()
    with pytest.raises(InputError, match="schema"):
        Schema.from_json('{"columns": [], "constraints": 3}')


def test_columns_keep_their_names_and_roles():
    schema = Rewriting(SCHEMA).schema
    assert schema.names == ["low", "high", "top", "start", "end", "city", "group", "y"]
    assert (schema.target.name, [column.name for column in schema.sensitive], schema.positive) == (
        "y",
        ["group"],
        "yes",
    )
    joined = Rewriting(
        Schema(SCHEMA.columns, "yes", [["country", "y"], ["city", "country"]])
    ).schema
    assert (
        joined.target.name == "city" and joined.positive is None and "country" not in joined.names
    )


def test_a_table_that_breaks_a_constraint_is_refused():
    broken = TABLE.copy()
    broken.loc[3:5, ["start", "end"]] = pd.Timestamp("2024-03-01")
    with pytest.raises(InputError, match=r"'start < end' does not hold in 3 of 300 rows"):
        generate("independent", Dataset("made", broken, TABLE, SCHEMA))


def test_constraints_of_a_file(tmp_path):
    path = tmp_path / "table.csv"
    TABLE.to_csv(path, index=False)
    data = load(
        path,
        target="y",
        kinds={"high": "integer"},
        constraints=["low <= high", ["city", "country"]],
    )
    assert data.schema.constraints == ("low <= high", ("city", "country"))
    with pytest.raises(InputError, match=r"'high <= low' does not hold in \d+ of 300 rows"):
        load(path, target="y", constraints=["high <= low"])


def test_constraints_of_a_grid_and_of_the_command_line(tmp_path):
    path, out = tmp_path / "table.csv", tmp_path / "made.csv"
    TABLE.to_csv(path, index=False)
    options = [
        "--generator",
        "permuted",
        "--constraint",
        "low <= high",
        "--constraint",
        "start < end",
        "--constraint",
        "city, country",
    ]
    assert main(["generate", str(path), *options, "--out", str(out)]) == 0
    written = SCHEMA.cast(pd.read_csv(out))
    assert (written["low"] <= written["high"]).fillna(True).all() and not (
        written["start"] >= written["end"]
    ).any()
    assert row_set(written[["city", "country"]]) <= row_set(TABLE[["city", "country"]])
    text = grid.make(
        "t", str(path), generators=["copy"], constraints=["low <= high", ["city", "country"]]
    )
    (tmp_path / "grid.toml").write_text(text)
    planned = grid.plan(grid.read(tmp_path))
    assert [data.schema.constraints for data in planned.data.values()] == [
        ("low <= high", ("city", "country"))
    ]
    (tmp_path / "grid.toml").write_text(text.replace("low <= high", "low <= hihg"))
    with pytest.raises(InputError, match="did you mean high"):
        grid.plan(grid.read(tmp_path))


def test_a_private_generator_refuses_constraints():
    declared = Schema(SCHEMA.columns, SCHEMA.positive, ["low <= high"])
    free = replace(declared, constraints=())
    private = make("privbayes", TINY["privbayes"])
    assert "would be read off the rows" in private.supports(declared)
    assert private.supports(free) is None


def test_a_setting_that_describes_a_rewritten_column_is_refused():
    declared = Schema(SCHEMA.columns, SCHEMA.positive, ["low <= high"])
    assert make("cart").supports(declared) is None
    described = make("cart")
    described.bounds = {"high": (0, 20)}
    assert "bounds describes column 'high'" in described.supports(declared)
