"""Schema: what is inferred, what is refused and in which words, and that a cast table is canonical."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError, nearest
from workbench.tables.schema import KINDS, Column, Schema

# The same examples in every run; no deadline, since the machine may be shared.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def infer(values, **options) -> Column:
    return Schema.infer(pd.DataFrame({"a": values, "b": range(len(values))}), **options)["a"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], "integer"),
        ([1.0, None, 3.0], "integer"),
        ([1.5, 2.0], "numeric"),
        (["1.5", "2"], "numeric"),
        ([Decimal("1.5"), Decimal(2)], "numeric"),
        ([2.0**60, 1.0], "numeric"),  # beyond what a float keeps of a whole number
        ([0, 1, 1], "boolean"),
        ([0, 0, 0], "integer"),  # a constant says nothing about truth
        (["1", "1", None], "integer"),
        (["TRUE", "false", None], "boolean"),
        ([True, None, False], "boolean"),
        (["2020-01-01", "2021-12-31 10:00:00", None], "datetime"),
        (["2020-01-01T00:00:00Z", "2020-06-01T00:00:00+02:00"], "datetime"),
        ([datetime.date(2020, 1, 1), None], "datetime"),
        (["None", "none", "x"], "categorical"),
        (["01234", "12345"], "categorical"),
        (pd.Categorical(["x", None]), "categorical"),
        (pd.Categorical([1, 2]), "integer"),
        ([None, None], "categorical"),
        ([np.nan, np.nan], "numeric"),
        (["1", "two", "3", "x"], "categorical"),
    ],
)
def test_kind_is_inferred_and_can_be_cast(values, kind):
    table = pd.DataFrame({"a": values})
    schema = Schema.infer(table)
    assert schema["a"].kind == kind
    cast = schema.cast(table)
    assert str(cast["a"].dtype) == KINDS[kind]
    assert schema.check(cast) == []
    assert cast["a"].isna().tolist() == pd.isna(pd.Series(values)).tolist()
    pd.testing.assert_frame_equal(schema.cast(cast), cast)  # casting again changes nothing


def test_time_zones_become_one():
    table = pd.DataFrame({"a": ["2020-01-01T00:00:00Z", "2020-01-01T02:00:00+02:00"]})
    cast = Schema.infer(table).cast(table)["a"]
    assert cast.nunique() == 1 and cast[0] == pd.Timestamp("2020-01-01")


def test_labels_are_text_and_whole_floats_lose_the_point():
    schema = Schema((Column("a", "categorical"),))
    assert schema.cast(pd.DataFrame({"a": [3.0, None, 1.0]}))["a"].tolist()[::2] == ["3", "1"]
    assert schema.cast(pd.DataFrame({"a": pd.Categorical([3, None, 1])}))["a"].tolist()[::2] == [
        "3",
        "1",
    ]


def test_there_is_one_zero():
    cast = Schema((Column("a", "numeric"),)).cast(pd.DataFrame({"a": [-0.0, 0.0, None]}))
    assert not np.signbit(cast["a"]).any()


def test_roles_turn_codes_into_labels_but_not_years():
    table = pd.DataFrame({"y": [3, 7] * 10, "group": [1, 2, 3, 4] * 5, "age": range(20)})
    schema = Schema.infer(table, target="y", sensitive=["group", "age"])
    assert [column.kind for column in schema.columns] == ["categorical", "categorical", "integer"]
    assert schema.task == "classification"
    assert Schema.infer(table, target="age").task == "regression"
    assert Schema.infer(table).task is None


def test_positive_is_true_or_the_rarest_label_whatever_the_row_order():
    assert (
        Schema.infer(pd.DataFrame({"y": [0, 1, 1], "x": [1, 2, 3]}), target="y").positive == "True"
    )
    labels = pd.DataFrame({"y": ["a", "b", "a", "c", "b", "a"]})
    assert Schema.infer(labels, target="y").positive == "c"
    tied = pd.DataFrame({"y": ["a", "b"]})
    assert (
        Schema.infer(tied, target="y").positive
        == Schema.infer(tied[::-1], target="y").positive
        == "b"
    )


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        ({"a": [1.0, np.inf]}, {}, ["'a'", "infinite", "cap"]),
        ({"a": ["-inf", "1.5"]}, {}, ["'a'", "infinite"]),
        (
            {"a": [*map(str, range(60)), *"uvwxyz"]},
            {},
            ["'a'", "'u'", "--missing", "categorical"],
        ),
        ({"a": [1, 2]}, {"target": "aa"}, ["target", "'aa'", "did you mean a?"]),
        ({"a": [1, 2]}, {"sensitive": ["race"]}, ["sensitive", "'race'", "known: a."]),
        ({"a": [1, 2]}, {"kinds": {"b": "numeric"}}, ["kinds", "'b'"]),
        ({"a": [1, 2]}, {"kinds": {"a": "number"}}, ["'a'", "'number'", "did you mean numeric?"]),
        ({"a": [1, 2]}, {"target": "a", "sensitive": ["a"]}, ["'a'", "both"]),
        ({" ": [1, 2]}, {}, ["' '", "header"]),
        ({3: [1, 2]}, {}, ["3", "not text"]),
    ],
)
def test_bad_input_is_named_in_one_sentence(table, options, words):
    with pytest.raises(InputError) as caught:
        Schema.infer(pd.DataFrame(table), **options)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["x", "1"], "numeric"),
        ([1.5, 2.0], "integer"),
        ([0, 2], "boolean"),
        (["yes", "no"], "boolean"),
        (["2020-13-01"], "datetime"),
        (["0001-01-01"], "datetime"),
        ([1, 2], "datetime"),
    ],
)
def test_a_kind_that_does_not_fit_names_column_and_kind(values, kind):
    with pytest.raises(InputError) as caught:
        Schema((Column("a", kind),)).cast(pd.DataFrame({"a": values}))
    assert (
        "'a'" in str(caught.value) and kind in str(caught.value) and "\n" not in str(caught.value)
    )


def test_duplicate_names_missing_and_surplus_columns():
    with pytest.raises(InputError, match="'a' occurs more than once"):
        Schema.infer(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InputError, match="'a' occurs more than once"):
        Schema((Column("a", "numeric"), Column("a", "integer")))
    with pytest.raises(InputError, match=r"'a', 'b' are all targets"):
        Schema((Column("a", "numeric", "target"), Column("b", "numeric", "target")))
    schema = Schema.infer(pd.DataFrame({"apple": [1], "pear": [2]}))
    with pytest.raises(InputError, match=r"'apple' is missing.*did you mean appel"):
        schema.cast(pd.DataFrame({"appel": [1], "pear": [2]}))
    with pytest.raises(InputError, match="'plum' is not in the schema"):
        schema.cast(pd.DataFrame({"apple": [1], "pear": [2], "plum": [3]}))
    assert len(schema.check(pd.DataFrame({"apple": [1.5], "plum": [3]}))) == 3


def test_cast_takes_the_schemas_order_and_leaves_its_input_alone():
    table = pd.DataFrame({"b": ["x", None], "a": [1.0, None]}, index=[7, 7])
    before = table.copy(deep=True)
    schema = Schema((Column("a", "integer"), Column("b", "categorical")))
    cast = schema.cast(table)
    assert list(cast.columns) == ["a", "b"] and list(cast.index) == [0, 1]
    pd.testing.assert_frame_equal(table, before)


def test_empty_and_one_row_tables_cast():
    for rows in (0, 1):
        table = pd.DataFrame(
            {"a": [1.5] * rows, "b": ["x"] * rows, "c": pd.to_datetime(["2020-01-01"] * rows)}
        )
        schema = Schema.infer(table)
        assert schema.check(schema.cast(table)) == [] and len(schema.cast(table)) == rows


def test_roles_can_be_changed_later():
    table = pd.DataFrame({"y": ["a", "b", "b"], "s": ["u", "v", "u"]})
    schema = Schema.infer(table).with_roles("y", ["s"]).with_positive(table)
    assert (schema.target.name, [c.name for c in schema.sensitive], schema.positive) == (
        "y",
        ["s"],
        "a",
    )
    with pytest.raises(InputError, match="'z'"):
        schema.with_roles("z")


names = st.text(min_size=1, max_size=8).filter(str.strip)
columns = st.builds(
    Column,
    names,
    st.sampled_from(list(KINDS)),
    st.sampled_from(["feature", "sensitive"]),
    st.text(max_size=8),
)


@given(
    st.lists(columns, max_size=6, unique_by=lambda column: column.name),
    st.none() | st.text(max_size=5),
)
def test_json_round_trip(columns, positive):
    schema = Schema(tuple(columns), positive)
    assert Schema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"columns": 3}', '{"columns": [{"name": "a"}]}', '{"columns": [{"x": 1}]}'],
)
def test_what_is_not_a_schema_is_refused(text):
    with pytest.raises(InputError, match="schema"):
        Schema.from_json(text)


def test_html_is_escaped():
    html = Schema((Column("<script>alert(1)</script>", "numeric"),))._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_nearest_offers_close_names_or_all():
    assert nearest("ctgn", ["ctgan", "cart"]) == "did you mean ctgan?"
    assert nearest("zzz", ["ctgan", "cart"]) == "known: ctgan, cart."


def test_a_table_of_2000_columns():
    table = pd.DataFrame(
        np.arange(20_000).reshape(10, 2000).astype(float), columns=[f"c{i}" for i in range(2000)]
    )
    schema = Schema.infer(table)
    assert schema.check(schema.cast(table)) == []
