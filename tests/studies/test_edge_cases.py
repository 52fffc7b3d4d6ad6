"""Declared edge cases: read, made, measured, and a model tested on them; and a rare label asked for
by condition.
"""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from workbench.cli import main
from workbench.errors import InputError
from workbench.studies import edge_cases
from workbench.studies.edge_cases import (
    LEAST,
    Scenario,
    augment,
    coverage,
    generate,
    off_support,
    read,
    run,
    scarce,
)
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Schema


def draw(n: int, seed: int) -> pd.DataFrame:
    """Debt decides, steeply among the young; a date, a gap and a truth value beside it."""
    rng = np.random.default_rng(seed)
    age, debt = rng.integers(18, 80, n), rng.beta(2, 4, n).round(2)
    bad = rng.random(n) < 1 / (1 + np.exp(4 - 8 * debt * (1 + (age < 30))))
    opened = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    income = np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3, 0.4, n).round(1))
    city = rng.choice(["Rome", "Oslo"], n, p=[0.9, 0.1])
    columns = {
        "age": age,
        "debt": debt,
        "income": income,
        "opened": opened,
        "city": city,
        "owner": rng.random(n) < 0.4,
    }
    return pd.DataFrame({**columns, "default": np.where(bad, "yes", "no")})


SCHEMA = Schema.infer(draw(400, 9), target="default")
TRAIN, TEST = SCHEMA.cast(draw(1500, 1)), SCHEMA.cast(draw(1500, 2))
DATA = Dataset("people", TRAIN, TEST, SCHEMA)
YOUNG = Scenario("young", {"age": (18, 30), "debt": (0.3, 1.0)}, 150)
OSLO = Scenario("oslo", {"city": "Oslo"}, 80)
NOWHERE = Scenario("nowhere", {"city": "Paris"}, 30)

DECLARED = """
[[scenarios]]
name = "young"
where = { age = [18, 30], debt = [0.3, 1.0] }
rows = 150
expect = [0.2, 0.9]

[[scenarios]]
name = "gap-2021"
[scenarios.where]
income = nan
opened = [2021-01-01, 2021-12-31]
"""


def values(outcome, name: str) -> pd.DataFrame:
    return outcome.rows[outcome.rows["scenario"] == name].set_index("metric")


def write(tmp_path, text: str):
    path = tmp_path / "scenarios.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_read_and_make(tmp_path):
    path = write(tmp_path, DECLARED)
    young, gap = read(path, DATA)
    assert (young.rows, young.expect, gap.rows, gap.expect) == (150, [0.2, 0.9], 100, None)
    outcome = run(DATA, path, "cart", seed=3)
    for scenario in (young, gap):
        table = outcome.tables[scenario.name]
        assert len(table) == scenario.rows and (table.dtypes == TRAIN.dtypes).all()
    synthetic = outcome.tables["gap-2021"]
    assert synthetic["income"].isna().all() and (synthetic["opened"].dt.year == 2021).all()
    assert (
        outcome.tables["young"]["age"].between(18, 30).all()
        and outcome.tables["young"]["debt"].min() >= 0.3
    )
    again = run(DATA, path, "cart", seed=3)
    assert again.rows.equals(outcome.rows) and all(
        again.tables[name].equals(outcome.tables[name]) for name in again.tables
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rows = 150", "rows = 0"), "line 5: rows is 0"),
        (("rows = 150", 'rows = "many"'), "line 5: rows is 'many'; give a whole number"),
        (("rows = 150", "row = 150"), "line 5: unknown key 'row'"),
        (("age = [18, 30]", "aeg = [18, 30]"), "line 4: no column 'aeg'"),
        (
            ("age = [18, 30]", "age = [30, 18]"),
            "line 4: condition on 'age': the range 30 to 18 is empty",
        ),
        (
            ("{ age = [18, 30], debt = [0.3, 1.0] }", "{}"),
            "line 4: scenario 'young' has no condition",
        ),
        (('"young"', '"../young"'), "line 3: name is '../young'"),
        (('"gap-2021"', '"young"'), "line 9: scenario 'young' occurs twice"),
        (("expect = [0.2, 0.9]", "expect = [0.9, 0.2]"), "line 6: expect is [0.9, 0.2]"),
        (("expect = [0.2, 0.9]", "expect = [0.2"), "is not TOML"),
        (('name = "young"\n', ""), "line 2: name is ''"),
        ((DECLARED, "title = 'x'"), "unknown key 'title'"),
        ((DECLARED, ""), "there is no scenario"),
    ],
)
def test_every_mistake_names_its_line(tmp_path, change, words):
    assert change[0] in DECLARED
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, DECLARED.replace(*change)), DATA)
    assert words in str(caught.value)


def test_no_file_and_a_scenario_from_python_are_checked_too(tmp_path):
    with pytest.raises(InputError, match=r"absent.toml cannot be read"):
        read(tmp_path / "absent.toml", DATA)
    with pytest.raises(InputError, match="occurs twice"):
        run(DATA, [YOUNG, YOUNG])
    with pytest.raises(InputError, match="no column 'aeg'"):
        run(DATA, [Scenario("x", {"aeg": 1})])


def test_what_cannot_be_met_is_said_and_what_was_found_is_kept(tmp_path):
    twenty = TRAIN.copy()
    twenty["city"] = np.where(np.arange(len(TRAIN)) < 2, "Oslo", "Rome")
    data = replace(DATA, train=SCHEMA.cast(twenty))
    rare = Scenario(
        "rare", {"city": "Oslo", "age": (int(twenty["age"][0]), int(twenty["age"][0]))}, 5000
    )
    tables, notes = generate(data, [rare, NOWHERE, YOUNG], "independent")
    assert 0 < len(tables["rare"]) < 5000 and (tables["rare"]["city"] == "Oslo").all()
    assert notes["rare"].startswith(f"only {len(tables['rare'])} of ")
    assert "no train row has 'Paris'" in notes["nowhere"]
    assert len(tables["young"]) == 150 and set(notes) == {"rare", "nowhere"}
    outcome = run(data, [NOWHERE, YOUNG], "independent")
    assert (
        "no train row has 'Paris'" in repr(outcome)
        and values(outcome, "nowhere").loc["rows", "value"] == 0
    )
    folder = outcome.write(tmp_path / "out")
    assert (
        pd.read_csv(folder / "nowhere.csv").empty and len(pd.read_csv(folder / "young.csv")) == 150
    )


def test_a_generator_that_breaks_in_one_scenario_loses_no_other(tmp_path):
    plugin = tmp_path / "breaks.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from workbench.generators.controls import Copy\n"
        "@dataclass\n"
        "class Breaks(Copy):\n"
        "    def sample(self, n, rng, where=None):\n"
        "        if 'city' in where:\n"
        "            raise ConnectionError('the server is gone')\n"
        "        return super().sample(n, rng, where)\n"
    )
    tables, notes = generate(DATA, [OSLO, YOUNG], f"{plugin}:Breaks")
    assert notes == {"oslo": "ConnectionError: the server is gone"}
    assert len(tables["oslo"]) == 0 and len(tables["young"]) == 150
    assert list(tables["oslo"].columns) == SCHEMA.names


def test_rows_found_are_whole_rows_where_constraints_rewrite_the_table():
    table = TRAIN.assign(until=TRAIN["age"] + 5)
    schema = Schema.infer(table, target="default", constraints=["age <= until"])
    data = Dataset("people", schema.cast(table), schema.cast(table), schema)
    wanted = Scenario("old", {"until": (84, 90), "age": (79, 79), "city": "Oslo"}, 3000)
    tables, notes = generate(data, [wanted], "copy")
    found = tables["old"]
    assert list(found.columns) == schema.names
    if len(found):
        assert (
            (found["age"] == 79).all()
            and (found["until"] >= 84).all()
            and (found["city"] == "Oslo").all()
        )
    assert len(found) == 3000 or "only" in notes["old"]


FRESH = SCHEMA.cast(draw(4000, 3))
HELD = FRESH[edge_cases.matches(FRESH, SCHEMA, YOUNG.where)].reset_index(drop=True)


def test_coverage_reads_fresh_rows_at_the_ceiling_and_a_clump_far_below():
    fresh, ceiling = coverage(DATA, YOUNG, HELD)
    assert ceiling.value > 0.85 and abs(fresh.value - ceiling.value) < 0.06
    assert fresh.low <= fresh.value <= fresh.high <= 1
    clump = HELD.assign(**{name: HELD[name].iloc[[0] * len(HELD)].array for name in HELD})
    assert coverage(DATA, YOUNG, clump)[0].value < 0.3
    few = coverage(DATA, YOUNG, HELD.head(4))
    assert (
        few[0].note == "4 rows a side" and few[1].value < ceiling.value
    )  # the ceiling gets no more rows than they do


def test_a_fresh_row_lies_beyond_the_far_distance_of_twenty_rows_once_in_twenty():
    rng = np.random.default_rng(0)
    beyond = [
        (rng.exponential(size=200) > edge_cases._far(rng.exponential(size=20))).mean()
        for _ in range(2000)
    ]
    assert np.mean(beyond) == pytest.approx(0.05, abs=0.005)


def test_off_support_is_a_twentieth_for_fresh_rows_none_for_copies_and_all_for_invented_ones():
    fresh = off_support(DATA, YOUNG, HELD)
    assert fresh.low <= 0.05 <= fresh.high
    assert (
        off_support(DATA, YOUNG, TRAIN[edge_cases.matches(TRAIN, SCHEMA, YOUNG.where)]).value == 0
    )
    far = off_support(DATA, YOUNG, HELD.assign(income=500.0))
    assert far.value == 1 and far.low == 1


def test_too_few_real_rows_read_insufficient_and_the_model_is_asked_all_the_same():
    test = TEST[~edge_cases.matches(TEST, SCHEMA, YOUNG.where)]
    some = TEST[edge_cases.matches(TEST, SCHEMA, YOUNG.where)].head(LEAST - 1)
    data = replace(DATA, test=pd.concat([test, some], ignore_index=True))
    rows = values(run(data, [replace(YOUNG, expect=(0.9, 1.0))], "cart"), "young")
    assert (
        rows.loc["coverage", "note"]
        == f"insufficient: {LEAST - 1} real test rows of the scenario, {LEAST} needed"
    )
    assert np.isnan(rows.loc["error, real rows", "value"]) and "off support" not in rows.index
    assert rows.loc["error, synthetic rows", "value"] >= 0
    assert rows.loc["answer, synthetic rows", "note"] == "150 rows; not as expected"


class Always:
    """A model that always says yes, with probability 0.8."""

    def fit(self, rows, y):
        self.seen, self.classes_ = list(rows.columns), np.unique(y)
        return self

    def predict_proba(self, rows):
        return np.tile([0.2, 0.8], (len(rows), 1))


def test_stress_by_hand_with_a_model_of_ones_own():
    model = Always()
    outcome = run(DATA, [YOUNG], "copy", model=model)
    rows = values(outcome, "young")
    real = TEST[edge_cases.matches(TEST, SCHEMA, YOUNG.where)]
    shares = [(table["default"] == "no").mean() for table in (real, outcome.tables["young"])]
    assert rows.loc["error, real rows", "value"] == pytest.approx(shares[0])
    assert rows.loc["error, synthetic rows", "value"] == pytest.approx(shares[1])
    assert rows.loc["error difference", "value"] == pytest.approx(shares[1] - shares[0])
    assert rows.loc["answer, real rows", "value"] == pytest.approx(0.8)
    assert model.seen == [name for name in SCHEMA.names if name != "default"]
    with pytest.raises(InputError, match="model object has no fit"):
        run(DATA, [YOUNG], "copy", model=object())


def test_a_model_of_ones_own_sees_no_row_without_a_target_and_one_that_breaks_is_told():
    gaps = SCHEMA.cast(
        TRAIN.assign(default=np.where(np.arange(len(TRAIN)) < 5, None, TRAIN["default"]))
    )

    class Sees(Always):
        def fit(self, rows, y):
            assert len(rows) == len(TRAIN) - 5 and not pd.isna(y).any()
            return super().fit(rows, y)

    rows = values(run(replace(DATA, train=gaps), [YOUNG], "independent", model=Sees()), "young")
    assert rows.loc["error, real rows", "value"] > 0
    with pytest.raises(
        InputError,
        match=r"model LogisticRegression cannot take this table; .* \(TypeError: Cannot cast",
    ):
        run(DATA, [YOUNG], "copy", model=LogisticRegression())


def test_rare_labels_that_learners_pool_are_no_mistakes():
    """Of thirty labels that debt tells exactly, the rarest share one column of the answers."""

    def labelled(table):
        return table.assign(
            default=[f"level {int(debt * 30):02d}" for debt in table["debt"].clip(0, 0.99)]
        )

    schema = Schema.infer(labelled(TRAIN), target="default")
    train, test = schema.cast(labelled(TRAIN)), schema.cast(labelled(TEST))
    assert train["default"].nunique() > 21
    edge = Scenario("indebted", {"debt": (0.7, 1.0)}, 50)
    rows = values(run(Dataset("people", train, test, schema), [edge], "copy"), "indebted")
    assert (
        rows.loc["real test rows", "value"] >= LEAST and rows.loc["error, real rows", "value"] < 0.3
    )


def test_one_row_tells_no_spread_and_a_constant_target_no_mistake():
    schema = Schema.infer(draw(400, 9), target="debt")
    number = replace(DATA, schema=schema)
    rows = values(run(number, [replace(OSLO, rows=1)], "copy"), "oslo")
    assert np.isfinite(rows.loc["error, synthetic rows", "value"]) and np.isnan(
        rows.loc["error, synthetic rows", "low"]
    )
    assert (
        np.isnan(rows.loc["error difference", "low"]) and rows.loc["error difference", "note"] == ""
    )
    few = replace(number, test=TEST[TEST["city"] == "Rome"].reset_index(drop=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = values(run(few, [OSLO], "copy"), "oslo")
    assert rows.loc["error, real rows", "note"] == "0 rows" and rows.loc[
        "coverage", "note"
    ].startswith("insufficient: 0")
    same = [table.assign(default="no") for table in (TRAIN, TEST)]
    constant = replace(DATA, train=SCHEMA.cast(same[0]), test=SCHEMA.cast(same[1]))
    rows = values(run(constant, [OSLO], "independent"), "oslo")
    assert rows.loc["error, real rows", "value"] == rows.loc["error difference", "value"] == 0


def test_labels_that_the_generator_got_wrong_show_as_a_difference_and_copies_look_easy(tmp_path):
    fresh = values(run(replace(DATA, train=FRESH), [YOUNG], "holdout"), "young").loc[
        "error difference"
    ]
    assert fresh["low"] <= 0 <= fresh["high"] and fresh["note"] == "not told apart"
    noise = values(run(DATA, [YOUNG], "independent"), "young").loc["error difference"]
    assert noise["low"] > 0 and noise["note"] == "more wrong on synthetic"
    copied = values(run(DATA, [YOUNG], "copy"), "young").loc["error difference"]
    assert (
        copied["high"] < 0 and copied["note"] == "more wrong on real"
    )  # the model has seen these rows


def test_numbers_and_no_target():
    schema = Schema.infer(draw(400, 9), target="debt")
    rows = values(run(replace(DATA, schema=schema), [OSLO], "copy"), "oslo")
    assert (
        0 < rows.loc["error, synthetic rows", "value"] < rows.loc["error, real rows", "value"] < 1
    )
    assert rows.loc["answer, real rows", "low"] < rows.loc["answer, real rows", "high"]
    bare = Schema.infer(draw(400, 9))
    outcome = run(replace(DATA, schema=bare), [OSLO], "copy")
    assert np.isnan(values(outcome, "oslo").loc["error, real rows", "value"]) and np.isfinite(
        outcome.summary["coverage"]["oslo"]
    )


def test_page_is_escaped_and_json_is_json(tmp_path):
    nasty = SCHEMA.cast(TRAIN.assign(city=np.where(TRAIN["city"] == "Oslo", "<img src=x>", "Rome")))
    outcome = run(
        replace(DATA, train=nasty, name="<b>"),
        [replace(OSLO, where={"city": "<script>"}), YOUNG],
        "copy",
    )
    page = outcome._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "&lt;b&gt;" in page
    record = json.loads((outcome.write(tmp_path) / "scenarios.json").read_text())
    assert record["scenarios"][0]["where"] == {"city": "<script>"} and len(record["rows"]) == len(
        outcome.rows
    )
    with pytest.raises(InputError, match="cannot be written"):
        outcome.write(tmp_path / "scenarios.json")


def test_command_line(tmp_path, capsys):
    TRAIN.to_csv(tmp_path / "people.csv", index=False)
    path, out = write(tmp_path, DECLARED), tmp_path / "out"
    command = [
        "scenarios",
        str(tmp_path / "people.csv"),
        str(path),
        "--target",
        "default",
        "--generator",
        "arf",
    ]
    assert main([*command, "--param", "trees=10", "--out", str(out)]) == 0
    assert "Scenarios of people by arf, seed 0" in capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == {"young.csv", "gap-2021.csv", "scenarios.json"}
    path.write_text(DECLARED.replace("age =", "aeg ="))
    assert main([*command, "--out", str(out)]) == 2
    assert "scenarios.toml, line 4: no column 'aeg'" in capsys.readouterr().err


def test_scarce_keeps_what_it_says_and_augment_asks_for_the_rare_label():
    few = scarce(DATA, 30, seed=1, others=500)
    counts = few.train["default"].value_counts()
    rare = TRAIN["default"].value_counts().index[-1]
    assert counts[rare] == 30 and counts.sum() == 530 and few.test is DATA.test
    assert not few.train.equals(scarce(DATA, 30, seed=2, others=500).train)
    with pytest.raises(InputError, match="ask for 1 to so many"):
        scarce(DATA, 1400)
    with pytest.raises(InputError, match="ask for 1 to so many"):
        scarce(DATA, -3)
    rows = {row.group: row for row in augment(few, "cart", seed=0)}
    assert (
        "with 470 synthetic rows" in rows[""].note
    )  # all that were asked for, though the label is 6% of train
    assert "with 60 synthetic rows" in augment(few, "cart", rows=60)[0].note
    assert rows["in balanced accuracy"].low <= rows["in balanced accuracy"].high
    number = replace(DATA, schema=Schema.infer(draw(400, 9), target="debt"))
    with pytest.raises(InputError, match="no target of labels"):
        augment(number, "cart")


def test_augmenting_with_fresh_real_rows_helps_and_with_noise_it_does_not():
    few = scarce(DATA, 20, seed=0, others=700)
    fresh = {row.group: row for row in augment(replace(few, test=FRESH), "holdout")}
    noise = {row.group: row for row in augment(replace(few, test=FRESH), "independent")}
    assert fresh["over none"].low > 0 and noise["over none"].value < fresh["over none"].value - 0.05
