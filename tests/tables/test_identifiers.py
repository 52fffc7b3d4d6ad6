"""Columns that say who a row is: found, never learnt, never scored, never copied."""

import re
import uuid

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.metrics.evaluate import copied_identifiers, evaluate
from workbench.tables.identifiers import Pattern, is_identifier, named_like_one


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def people(rows: int = 400) -> pd.DataFrame:
    """Names and addresses of their own, a patient who comes several times, two columns to learn."""
    draw = rng(1)
    number = draw.permutation(rows)
    return pd.DataFrame(
        {
            "name": [f"Person {n:05d}" for n in number],
            "mail": [
                f"{w}.{n}@clinic.de"
                for w, n in zip(draw.choice(["anna", "bo"], rows), number * 37, strict=True)
            ],
            "patient_nbr": draw.integers(10**7, 10**7 + 10**6, rows // 4).repeat(4),
            "x": draw.normal(size=rows).round(2),
            "y": draw.choice(["yes", "no"], rows),
        }
    )


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (
            [
                f"C-{n:06d}-{sign}"
                for n, sign in zip(rng(2).integers(10**6, size=300), "ABC" * 100, strict=True)
            ],
            r"C-\d{6}-[A-Z]",
        ),
        ([f"+49 170 {n}" for n in rng(3).integers(10**6, 10**7, 300)], r"\+49 170 \d{7}"),
        (
            [
                f"{w}{n}@web.de"
                for w, n in zip(
                    ["ann", "bob", "cy"] * 100, rng(4).integers(10**6, size=300), strict=True
                )
            ],
            r"[^@\s]+@example\.(com|org|net)",
        ),
        (
            [
                str(uuid.UUID(int=int(n) << 64 | int(m)))
                for n, m in rng(5).integers(2**63, size=(300, 2))
            ],
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        ),
    ],
)
def test_fresh_values_have_the_pattern_and_are_new(values, pattern):
    known = pd.Series(values, dtype=object)
    assert is_identifier(known, "categorical")
    fresh = Pattern.learn(known).fresh(500, rng())
    assert fresh.nunique() == 500 and not fresh.isin(values).any()
    assert all(re.fullmatch(pattern, text) for text in fresh)


def test_counting_numbers_go_on_counting():
    numbers = pd.Series(rng().permutation(np.arange(1, 1001))[:700], dtype="Int64")
    fresh = Pattern.learn(numbers).fresh(3, rng())
    assert fresh.dtype == "Int64" and fresh.tolist() == [numbers.max() + k for k in (1, 2, 3)]
    padded = pd.Series([f"A{n:04d}" for n in range(50)], dtype=object)
    assert Pattern.learn(padded).fresh(2, rng()).tolist() == ["A0050", "A0051"]


def test_a_pattern_that_has_run_out_grows():
    taken = pd.Series([f"{n}" for n in rng().permutation(1000)[:450]] + ["x"], dtype=object)
    fresh = Pattern.learn(taken).fresh(3000, rng())
    assert fresh.nunique() == 3000 and not fresh.isin(taken).any()


def test_eighteen_digits_stay_exact_and_new():
    numbers = pd.Series(rng().integers(10**17, 10**18, 300)).astype("Int64")
    fresh = Pattern.learn(numbers).fresh(300, rng())
    assert (fresh.astype(str).str.len() == 18).all() and not fresh.isin(numbers).any()


def test_a_name_of_few_is_no_prefix():
    fresh = Pattern.learn(pd.Series(["Konstantin 7", "Konstantin 9"], dtype=object)).fresh(
        20, rng()
    )
    assert not fresh.str.startswith("Konstantin").any()


def test_missing_identifiers_stay_as_frequent():
    values = pd.Series([f"K{n}" for n in rng().integers(10**8, size=400)], dtype=object)
    values[rng(1).random(400) < 0.25] = np.nan
    assert 0.2 < Pattern.learn(values).fresh(4000, rng()).isna().mean() < 0.31


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pd.Series(rng().integers(10**6, size=1000), name="income"), "integer", False),
        (pd.Series(range(1000), name="anything"), "integer", True),
        (pd.Series(range(1950, 2020), name="year"), "integer", False),
        (pd.Series(rng().integers(10**8, size=300), name="customerID"), "integer", True),
        (
            pd.Series(["a b c d e f g " + str(n) for n in range(100)], name="text"),
            "categorical",
            False,
        ),
        (pd.Series([f"k{n}" for n in range(10)], name="small"), "categorical", False),
        (pd.Series(["k1", "k2"] * 100, name="label"), "categorical", False),
    ],
)
def test_what_is_an_identifier(values, kind, expected):
    assert is_identifier(values, kind) is expected


def test_the_last_word_of_a_name_counts():
    assert all(map(named_like_one, ("id", "customer_id", "customerID", "account", "patient_nbr")))
    assert not any(map(named_like_one, ("account_balance", "width", "valid", "paid")))


@pytest.mark.parametrize("generator", ["independent", "cart", "copy", "gaussian-copula", "smote"])
def test_no_generator_copies_an_identifier(generator):
    data = wb.load(people(), target="y", group="patient_nbr")
    assert [column.name for column in data.schema.identifying] == ["name", "mail", "patient_nbr"]
    synthetic = wb.generate(generator, data, seed=1)
    assert copied_identifiers(data, synthetic) == {"name": 0, "mail": 0, "patient_nbr": 0}
    assert not data.schema.check(synthetic)
    assert synthetic["patient_nbr"].nunique() < 0.5 * len(synthetic)


def test_rows_of_a_group_stay_on_one_side():
    data = wb.load(people(), target="y", group="patient_nbr")
    assert not set(data.train["patient_nbr"]) & set(data.test["patient_nbr"])
    assert 0.27 < len(data.test) / 400 < 0.33
    assert "stay on one side" in repr(data) and "patient_nbr" in repr(data)


def test_identifiers_move_no_score_and_real_ones_are_a_warning():
    table = people()
    data = wb.load(table, target="y", group="patient_nbr")
    bare = wb.load(table.drop(columns=["name", "mail"]), target="y", group="patient_nbr")
    synthetic = wb.generate("cart", data, seed=1)
    metrics = ["marginals", "pair_trends", "dcr_share"]
    card = evaluate(data, synthetic, metrics=metrics)
    alone = evaluate(bare, synthetic.drop(columns=["name", "mail"]), metrics=metrics)
    pd.testing.assert_frame_equal(card.rows, alone.rows)
    assert "rows were counted" in card.rows.set_index("metric").loc["dcr_share", "note"]
    leaking = synthetic.assign(mail=data.train["mail"])
    notes = evaluate(data, leaking, metrics=["marginals"]).notes
    assert any("WARNING" in note and "'mail'" in note for note in notes)
    assert "clinic.de" not in " ".join(notes)


def test_the_pages_show_no_identifier():
    data = wb.load(people(), target="y")
    assert "clinic.de" not in data._repr_html_() and "clinic.de" not in repr(data)
    assert "Identifiers are neither learnt nor scored" in data._repr_html_()


def test_identifiers_are_declared_or_declined():
    table = people()
    assert wb.load(table, identifiers=()).schema.identifying == ()
    data = wb.load(table, identifiers=["patient_nbr"])
    assert data.schema["patient_nbr"].role == "identifier" and data.schema["mail"].role == "feature"
    with pytest.raises(InputError, match="cannot be both"):
        wb.load(table, target="y", identifiers=["y"])
    with pytest.raises(InputError, match="did you mean mail"):
        wb.load(table, identifiers=["mial"])
    with pytest.raises(InputError, match="made afresh"):
        wb.load(table, constraints=["x < patient_nbr"], group="patient_nbr")


def test_conditions_on_identifiers_and_unknown_labels_say_so_at_once():
    data = wb.load(people(), target="y")
    with pytest.raises(InputError, match="made afresh"):
        wb.generate("cart", data, where={"name": "Person 00001"})
    with pytest.raises(InputError, match="no train row has 'yess'; did you mean yes"):
        wb.generate("cart", data, where={"y": "yess"})
