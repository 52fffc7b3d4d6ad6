"""Skip patterns, sums, products and dependencies: found where they are planted, nowhere else, and
kept by every generator that models more than single columns.
"""

import numpy as np
import pandas as pd
import pytest
from test_generators import BRIEF, TINY, quick_generators

from workbench.errors import InputError
from workbench.generators import GENERATORS, make
from workbench.tables.constraints import check, unequal
from workbench.tables.schema import Column, Schema, formula_text
from workbench.tables.structure import Skips, find_dependencies, find_formulas, find_skips

# These draw each column by itself on purpose, or must not look at train.
KEEP_NO_SKIPS = {"independent", "permuted", "llm"}
KEEP_NO_SKIPS |= {name for name, entry in GENERATORS.items() if "epsilon" in entry.supports}


def find_sums(table: pd.DataFrame, schema: Schema) -> list[str]:
    """Sums and products as constraints are written."""
    return [formula_text(*formula) for formula in find_formulas(table, schema)]


def nested_table(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """Three nested skips, one column beside another behind the first gate, and a gate of numbers."""
    rng = np.random.default_rng(seed)
    status = rng.choice(["single", "married", "widowed"], rows)
    is_married = status == "married"
    has_children = np.where(is_married, rng.choice(["yes", "no"], rows), None)
    children = np.where(has_children == "yes", rng.integers(1, 5, rows), np.nan)
    age = rng.integers(15, 80, rows)
    return pd.DataFrame(
        {
            "spouse_age": np.where(is_married, rng.normal(45, 9, rows).round(1), np.nan),
            "status": status,
            "has_children": has_children,
            "children": children,
            "youngest": np.where(children >= 2, rng.integers(0, 18, rows), np.nan),
            "age": age,
            "pension": np.where(age >= 65, rng.gamma(3, 400, rows).round(), np.nan),
            "x": rng.normal(size=rows).round(2),
            "y": rng.random(rows) < 0.4,
        }
    )


def broken_share(table: pd.DataFrame) -> float:
    is_married = (table["status"] == "married").to_numpy(dtype=bool)
    has_children = (table["has_children"] == "yes").to_numpy(dtype=bool)
    many = (table["children"] >= 2).fillna(False).to_numpy(dtype=bool)
    retired = (table["age"] >= 65).to_numpy(dtype=bool)
    broken = np.zeros(len(table), dtype=bool)
    for name, opened in (
        ("spouse_age", is_married),
        ("has_children", is_married),
        ("children", has_children),
        ("youngest", many),
        ("pension", retired),
    ):
        broken |= table[name].notna().to_numpy() != opened
    return broken.mean()


SCHEMA = Schema.infer(nested_table(), target="y", sensitive=["status"])
TABLE = SCHEMA.cast(nested_table())


@quick_generators
def test_generators_keep_nested_skip_patterns(name):
    generator = make(name, TINY[name] | BRIEF.get(name, {}))
    if reason := generator.supports(SCHEMA):
        pytest.skip(reason)
    synthetic = generator.fit(TABLE, SCHEMA, np.random.default_rng(1)).sample(
        1000, np.random.default_rng(2)
    )
    assert SCHEMA.check(synthetic) == []
    if name in KEEP_NO_SKIPS:
        return
    assert broken_share(synthetic) <= 0.01


def test_what_is_drawn_column_by_column_breaks_them():
    # The planted table can show a fault: without any model, most rows are broken.
    permuted = make("permuted").fit(TABLE, SCHEMA, np.random.default_rng(1))
    assert broken_share(permuted.sample(1000, np.random.default_rng(2))) > 0.5


@pytest.mark.parametrize("name", ["cart", "reweighed", "per-group", "arf", "gaussian-copula"])
def test_a_single_pattern_is_kept_and_the_values_behind_it_stay(name):
    rng = np.random.default_rng(3)
    status = rng.choice(["single", "married"], 800)
    age = rng.normal(50, 10, 800).round(1)
    table = pd.DataFrame({"status": status, "age": age, "y": rng.random(800) < 0.5})
    table["spouse_age"] = np.where(
        status == "married", (age + rng.normal(0, 2, 800)).round(1), np.nan
    )
    schema = Schema.infer(table, target="y", sensitive=["status"])
    fitted = make(name).fit(schema.cast(table), schema, np.random.default_rng(0))
    synthetic = fitted.sample(1000, np.random.default_rng(1))
    assert (synthetic["spouse_age"].notna() == (synthetic["status"] == "married")).all()
    married = synthetic[synthetic["status"] == "married"]
    assert 0.4 < len(married) / len(synthetic) < 0.6
    # What the repair adds is no stranger to the other columns than what the generator draws itself.
    unrepaired = type(fitted).sample(fitted, 1000, np.random.default_rng(1))
    unrepaired = unrepaired[unrepaired["spouse_age"].notna()]
    own = np.corrcoef(unrepaired["age"], unrepaired["spouse_age"])[0, 1]
    assert np.corrcoef(married["age"], married["spouse_age"])[0, 1] > own - 0.05
    some = fitted.sample(50, np.random.default_rng(2), where={"spouse_age": (40, 60)})
    assert len(some) == 50 and (some["status"] == "married").all()
    with pytest.raises(InputError, match="acceptance 0"):
        where = {"status": "single", "spouse_age": (40, 60)}
        fitted.sample(5, np.random.default_rng(3), where=where)


def test_level_order_of_a_tree_sees_gaps():
    """Without any repair, a tree alone parts the levels of a column that is present in one of them."""
    rng = np.random.default_rng(3)
    status = rng.choice(["single", "married"], 800)
    table = pd.DataFrame({"status": status, "x": rng.normal(size=800)})
    table["spouse_age"] = np.where(status == "married", rng.normal(50, 9, 800).round(1), np.nan)
    schema = Schema.infer(table)
    cart = make("cart")
    fitted = type(cart).fit(cart, schema.cast(table), schema, np.random.default_rng(0))
    synthetic = type(cart).sample(fitted, 1000, np.random.default_rng(1))
    assert (synthetic["spouse_age"].notna() == (synthetic["status"] == "married")).mean() > 0.99


def test_patterns_that_are_found():
    sentences = {rule.column: rule.sentence() for rule in find_skips(TABLE, SCHEMA)}
    assert sentences == {
        "spouse_age": "spouse_age is present exactly where status is married",
        "has_children": "has_children is present exactly where status is married",
        "children": "children is present exactly where has_children is yes",
        "youngest": "youngest is present exactly where children is above 1.5",
        "pension": "pension is present exactly where age is above 64.5",
    }
    assert all(rule.is_exact for rule in find_skips(TABLE, SCHEMA))


def test_a_gate_that_only_closes():
    rng = np.random.default_rng(4)
    age = rng.integers(5, 80, 2000)
    income = np.where((age < 16) | (rng.random(2000) < 0.1), np.nan, rng.normal(size=2000))
    table = pd.DataFrame({"income": income, "age": age, "x": rng.normal(size=2000)})
    schema = Schema.infer(table)
    (rule,) = find_skips(schema.cast(table), schema)
    assert rule.sentence() == "income is missing wherever age is below 15.5"
    synthetic = make("gaussian-copula").fit(schema.cast(table), schema, np.random.default_rng(0))
    synthetic = synthetic.sample(2000, np.random.default_rng(1))
    assert synthetic["income"][synthetic["age"] < 16].isna().all()
    assert 0.05 < synthetic["income"][synthetic["age"] >= 16].isna().mean() < 0.2


@pytest.mark.parametrize("seed", range(20))
def test_chance_makes_no_pattern(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(150, 12)).round(1), columns=[f"n{j}" for j in range(12)])
    table["rare"] = rng.integers(0, 70, 150).astype(str)
    table["few"] = rng.choice(["a", "b"], 150, p=[0.97, 0.03])
    table["twenty"] = rng.choice(list("abcdefghijklmnopqrst"), 150)
    gaps = rng.random(table.shape) < rng.choice([0.01, 0.1, 0.5, 0.9], table.shape[1])
    table = table.mask(gaps)
    schema = Schema.infer(table)
    table = schema.cast(table)
    assert find_skips(table, schema) == []
    assert find_sums(table, schema) == [] and find_dependencies(table, schema) == []


def test_repair_changes_no_row_that_keeps_the_patterns():
    skips = Skips(TABLE, SCHEMA)
    pd.testing.assert_frame_equal(skips.repair(TABLE, np.random.default_rng(0)), TABLE)


def formula_table(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(2, 20, rows).round(1), rng.integers(0, 60, rows).astype(float)
    price, quantity = rng.gamma(2, 5, rows).round(2), rng.integers(0, 9, rows)
    b[rng.random(rows) < 0.1] = np.nan
    table = pd.DataFrame({"a": a, "b": b, "total": (a + b).round(1), "price": price})
    table["quantity"] = quantity
    table["amount"] = (price * quantity).round(2)
    # Gaps of its own: what has no amount is to have none.
    table.loc[rng.random(rows) < 0.2, "amount"] = np.nan
    table["due"] = table["amount"] + table["a"]
    table["y"] = rng.random(rows) < 0.5
    return table


FORMULAS = ["total = a + b", "amount = price * quantity", "due = amount + a"]
FORMULA_SCHEMA = Schema.infer(formula_table(), target="y", constraints=FORMULAS)
FORMULA_TABLE = FORMULA_SCHEMA.cast(formula_table())


def test_sums_and_products_that_are_found():
    free = Schema(FORMULA_SCHEMA.columns)
    found = find_sums(FORMULA_TABLE, free)
    assert set(found) == {*FORMULAS[:2], "due = a + amount"}
    assert Schema(FORMULA_SCHEMA.columns, constraints=found).formulas[0] == (
        "total",
        "+",
        ("a", "b"),
    )
    rng = np.random.default_rng(1)
    long = pd.DataFrame(rng.integers(0, 50, (300, 4)), columns=list("pqrs"))
    long["all"] = long.sum(axis=1)
    long["square"] = long["p"] * long["p"]
    schema = Schema.infer(long)
    assert find_sums(schema.cast(long), schema) == ["all = p + q + r + s", "square = p * p"]


def test_a_copy_is_no_sum():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"a": rng.integers(1, 50, 300), "zero": (rng.random(300) < 0.01) * 7.5})
    table["copy"] = table["a"]
    schema = Schema.infer(table, kinds={"zero": "numeric"})
    assert find_sums(schema.cast(table), schema) == []


@quick_generators
def test_generators_keep_sums_and_products(name):
    generator = make(name, TINY[name] | BRIEF.get(name, {}))
    if reason := generator.supports(FORMULA_SCHEMA):
        pytest.skip(reason)
    synthetic = generator.fit(FORMULA_TABLE, FORMULA_SCHEMA, np.random.default_rng(1))
    synthetic = synthetic.sample(500, np.random.default_rng(2))
    assert FORMULA_SCHEMA.check(synthetic) == []
    check(synthetic, FORMULA_SCHEMA)
    assert synthetic["total"].notna().sum() > 100 and synthetic["amount"].notna().sum() > 100
    assert (synthetic["total"].isna() == synthetic["b"].isna()).all()
    np.testing.assert_array_equal(synthetic["amount"].round(2), synthetic["amount"])


def test_copies_with_sums_are_still_copies():
    copied = make("copy").fit(FORMULA_TABLE, FORMULA_SCHEMA, np.random.default_rng(0))
    copied = copied.sample(len(FORMULA_TABLE), np.random.default_rng(1))
    names = FORMULA_SCHEMA.names
    pd.testing.assert_frame_equal(
        copied.sort_values(names, ignore_index=True),
        FORMULA_TABLE.sort_values(names, ignore_index=True),
    )


def test_a_total_that_is_the_target_stays_one():
    table = formula_table()
    schema = Schema.infer(table, target="total", constraints=["total = a + b"])
    fitted = make("cart").fit(schema.cast(table), schema, np.random.default_rng(0))
    conditioned = fitted.sample(300, np.random.default_rng(1), where={"total": (10, 50)})
    check(conditioned, schema)
    assert conditioned["total"].between(10, 50).all()


def test_rounding_is_no_fault_and_a_wrong_digit_is():
    table = pd.DataFrame({"net": [1.11, 2.5, 3.4], "rate": [1.19, 1.19, 1.07], "gross": 0.0})
    table["gross"] = (table["net"] * table["rate"]).round(2)
    assert not unequal(table, "gross", "*", ("net", "rate")).any()
    table.loc[2, "gross"] += 0.01
    assert unequal(table, "gross", "*", ("net", "rate")).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (["total = a + bb"], ["'total = a + bb'", "no column 'bb'", "did you mean b?"]),
        (["sum = a + b"], ["no column 'sum'"]),
        (["total = a - b"], ["'total = a - b'", "total = a + b"]),
        (["total = a + y"], ["'y' is boolean", "only numbers"]),
        (["total = a + b", "total = a * b"], ["'total'", "two constraints"]),
        (["total = a + b", "a = total + b"], ["circle"]),
        (["total = total + b"], ["circle"]),
        (["total = a + b", "a <= total"], ["'total'", "computed", "bounded"]),
    ],
)
def test_impossible_formulas_end_in_one_sentence(constraints, words):
    with pytest.raises(InputError) as caught:
        Schema(FORMULA_SCHEMA.columns, constraints=constraints)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_table_that_breaks_a_sum_is_refused():
    table = FORMULA_TABLE.copy()
    table.loc[:2, "total"] = 1e6
    with pytest.raises(InputError, match=r"'total = a \+ b' does not hold in [123] of 400 rows"):
        check(table, FORMULA_SCHEMA)


def test_names_in_a_formula_may_hold_signs():
    columns = tuple(Column(name, "numeric") for name in ("a+b", "a", "b", "t=x"))
    schema = Schema(columns, constraints=["t=x = a+b + a", "a = b"])
    assert schema.formulas == [("t=x", "+", ("a+b", "a")), ("a", "+", ("b",))]


def test_dependencies_that_are_found():
    rng = np.random.default_rng(0)
    city = rng.choice(["Paris", "Lyon", "Bonn", "Berlin"], 300)
    table = pd.DataFrame({"city": city, "x": rng.choice(list("pq"), 300)})
    table["country"] = np.where(np.isin(city, ["Paris", "Lyon"]), "France", "Germany")
    table["code"] = table["country"].str[0]
    schema = Schema.infer(table)
    found = find_dependencies(schema.cast(table), schema)
    assert found[0] in (("code", "country"), ("city", "country"))
    names = {name for pair in found for name in pair}
    assert names == {"city", "country", "code"}


@pytest.mark.parametrize(
    "name", ["gaussian-copula", "arf", "bayes-tree", "ctgan", "diffusion", "smote", "cart"]
)
def test_multiples_of_a_hundred_stay_so(name):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"rent": rng.integers(3, 60, 500) * 100, "x": rng.normal(size=500)})
    schema = Schema.infer(table)
    fitted = make(name, TINY[name]).fit(schema.cast(table), schema, np.random.default_rng(0))
    synthetic = fitted.sample(500, np.random.default_rng(1))
    assert (synthetic["rent"] % 100 == 0).all() and synthetic["rent"].nunique() > 5
