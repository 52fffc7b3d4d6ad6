"""Rules of train, planted and counted."""

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.violations import rules_of, violations
from workbench.tables.schema import Schema

TOWNS = {"a-street": "north", "b-street": "north", "c-street": "south", "d-street": "south"}


def people(seed: int, n: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    street = rng.choice(list(TOWNS), n)
    sex = rng.choice(["man", "woman"], n)
    pregnant = np.where((sex == "woman") & (rng.random(n) < 0.2), "yes", "no")
    start = rng.integers(0, 50, n)
    length = rng.integers(0, 20, n)
    table = {"street": street, "town": [TOWNS[name] for name in street], "sex": sex}
    return pd.DataFrame(
        table
        | {"pregnant": pregnant, "start": start, "end": start + length}
        | {"rent": length, "food": start, "total": start + length}
    )


def read(synthetic: pd.DataFrame) -> dict:
    train, test = people(1), people(2)
    schema = Schema.infer(train, constraints=["start <= end", "total = rent + food"])
    tables = map(schema.cast, (train, test, synthetic))
    return {row.group: row for row in violations(Trial(*tables, schema))}


def test_fresh_rows_break_nothing():
    rows = read(people(3))
    assert set(rows) == {
        "",
        "start <= end",
        "total = rent + food",
        "street decides town",
        "never together: labels of sex and pregnant",
    }
    assert all(row.value == 0 for row in rows.values())


def test_each_rule_is_counted_and_named():
    table = people(3)
    table.loc[:9, "end"] = -1
    table.loc[:9, "total"] = -1
    table.loc[10:29, "town"] = np.where(table.loc[10:29, "town"] == "north", "south", "north")
    table.loc[30:69, ["sex", "pregnant"]] = ["man", "yes"]
    rows = read(table)
    assert rows["start <= end"].value == 10 / 2000
    assert rows["total = rent + food"].value == 10 / 2000
    assert rows["street decides town"].value == 20 / 2000
    pregnant = rows["never together: labels of sex and pregnant"]
    assert pregnant.value == 40 / 2000 and pregnant.note == "man, yes (40)"
    assert rows[""].value == 70 / 2000, "a row that breaks two rules counts once"
    assert rows[""].low < 0.035 < rows[""].high


def test_a_missing_value_and_a_new_label_break_no_rule():
    table = people(3)
    table.loc[:9, "town"] = None
    table.loc[10:19, "street"] = "new-street"
    assert read(table)[""].value == 0


def test_columns_without_a_link_have_no_rule():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(5):
        table = pd.DataFrame({name: rng.choice(list("abcdefgh"), 1500) for name in "stuvw"})
        schema = Schema.infer(table)
        table = schema.cast(table)
        trial = Trial(table, table, table, schema)
        found += len(rules_of(trial))
        (row,) = violations(trial)
        assert row.state == "not-applicable"
    assert found == 0


def test_a_declared_combination_is_a_rule():
    train = people(1)
    schema = Schema.infer(train, constraints=[("street", "town")])
    table = people(3)
    table.loc[:4, ["street", "town"]] = ["a-street", "south"]
    trial = Trial(*map(schema.cast, (train, people(2), table)), schema)
    rows = {row.group: row for row in violations(trial)}
    assert rows["combinations of street, town"].value == pytest.approx(5 / 2000)
    assert "street decides town" not in rows
