"""Replicated uniques and DiSCO against their definitions, row by row, and an example by hand."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.metrics import Trial
from workbench.metrics.disclosure import disclosure
from workbench.tables.schema import Schema

ROLES = {"target": "ill", "sensitive": ["race"]}


def people(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = {"age": rng.integers(20, 60, n), "town": rng.choice(list("abcd"), n)}
    race = np.where(rng.random(n) < 0.05, None, rng.choice(["x", "y"], n))
    ill = np.where(table["age"] > 55, "yes", rng.choice(["yes", "no"], n))
    return pd.DataFrame(table | {"race": race, "ill": ill})


def read(train: pd.DataFrame, synthetic: pd.DataFrame) -> dict:
    schema = Schema.infer(train, **ROLES)
    schema = Schema(schema.columns, schema.positive, keys=("age", "town"))
    tables = [schema.cast(table) for table in (train, train, synthetic)]
    return {(row.metric, row.column, row.group): row for row in disclosure(Trial(*tables, schema))}


def test_the_readings_are_their_definitions_row_by_row():
    train, synthetic = people(1, 150), people(2, 120)
    found = read(train, synthetic)
    keys = [list(zip(t["age"], t["town"], strict=True)) for t in (train, synthetic)]
    unique = sum(keys[0].count(key) == 1 and keys[1].count(key) == 1 for key in keys[0])
    assert found["replicated_uniques", "", ""].value == unique / 150
    alone = sum(keys[0].count(key) == 1 for key in keys[0])
    assert found["replicated_uniques", "", "unique in train"].value == alone / 150
    for name in ("ill", "race"):
        secret = [t[name].fillna("missing").tolist() for t in (train, synthetic)]
        correct = 0
        for key, own in zip(keys[0], secret[0], strict=True):
            theirs = {value for k, value in zip(keys[1], secret[1], strict=True) if k == key}
            correct += theirs == {own}
        assert found["disco", name, ""].value == pytest.approx(correct / 150)
    larger = max(found["disco", "ill", ""].value, found["disco", "race", ""].value)
    assert found["disco", "", ""].value == larger


def test_four_people_by_hand():
    train = pd.DataFrame(
        {"age": [30, 30, 40, 50], "town": list("aaab"), "race": list("xyxy"), "ill": list("ynyn")}
    )
    synthetic = pd.DataFrame(
        {"age": [30, 40, 40, 60], "town": list("aaab"), "race": list("xxxx"), "ill": list("yyyn")}
    )
    found = read(train, synthetic)
    # (40, a) and (50, b) are unique in train; (30, a) and (60, b) in the synthetic table: no match.
    assert found["replicated_uniques", "", ""].value == 0
    # ill: (30, a) says yes, right for one of two; (40, a) says yes, right.
    assert found["disco", "ill", ""].value == 0.5
    assert "iS 0.750, DiS 0.750, DiSDiO 0.250, Dorig 0.500" in found["disco", "ill", ""].note


def test_a_copy_discloses_what_train_itself_would():
    train = people(1, 150)
    found = read(train, train)
    alone = found["replicated_uniques", "", "unique in train"].value
    assert found["replicated_uniques", "", ""].value == alone > 0.1
    assert f"Dorig {found['disco', 'ill', ''].value:.3f}" in found["disco", "ill", ""].note


def test_keys_are_declared_and_kept_in_a_schema():
    table = people(1, 200)
    data = wb.load(table, target="ill", sensitive=["race"], keys=["age", "town"])
    assert data.schema.keys == ("age", "town")
    assert Schema.from_json(data.schema.to_json()) == data.schema
    rows = wb.evaluate(data, data.train, metrics=["disco"]).rows
    assert rows["value"].notna().all() and rows["ceiling"].notna().all()
    bare = wb.load(table, target="ill", sensitive=["race"])
    (row,) = wb.evaluate(bare, bare.train, metrics=["disco"]).rows.itertuples()
    assert row.state == "not-applicable" and "no keys declared" in row.note


@pytest.mark.parametrize("keys", [["aeg"], ["age", "age"]])
def test_keys_that_are_no_columns_are_refused(keys):
    with pytest.raises(InputError, match="keys: "):
        wb.load(people(1, 200), target="ill", keys=keys)
