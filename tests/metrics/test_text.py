"""Free text: what counts as it, each metric by hand and against nltk, and what each sees of texts
spoilt in a known way.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

import workbench as wb
from workbench.errors import InputError
from workbench.metrics import METRICS, Trial
from workbench.metrics.text import distinct, nearest, self_bleu, text_columns, words
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema
from workbench.tables.texts import docstrings

NAMES = [
    name
    for name, metric in METRICS.items()
    if metric.function.startswith("workbench.metrics.text:")
]
TABLE, SCHEMA = docstrings(900)
TRAIN, TEST, FRESH = (
    TABLE.iloc[start : start + 290].reset_index(drop=True) for start in (0, 290, 580)
)


def readings(synthetic: pd.DataFrame, train=TRAIN, test=TEST, schema=SCHEMA) -> dict:
    trial = Trial(train, test, synthetic.reset_index(drop=True), schema)
    rows = [
        row
        for function in {METRICS[name].function: METRICS[name] for name in NAMES}.values()
        for row in function.load()(trial)
    ]
    assert {row.metric for row in rows} == set(NAMES)
    return {row.metric: row for row in rows if not row.column}


def test_docstrings_are_a_real_table_with_one_column_of_free_text():
    assert SCHEMA.check(TABLE) == [] and len(TABLE) > 850 and TABLE["text"].is_unique
    assert (
        set(TABLE["package"]) == {"numpy", "pandas", "scikit-learn", "scipy"}
        and TABLE["text"].str.len().max() <= 300
    )
    assert docstrings(40)[0].equals(docstrings(40)[0]) and not docstrings(40)[0].equals(
        docstrings(40, seed=1)[0]
    )
    assert text_columns(TABLE, SCHEMA) == ["text"]
    with pytest.raises(InputError, match="rows is 3"):
        docstrings(3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.head(3).tolist() * 100,
        lambda t: t.str[:9],
        lambda t: [f"id-{i}" for i in range(len(t))],
    ],
)
def test_repeated_values_codes_and_single_words_are_no_texts(spoil):
    assert text_columns(TABLE.head(300).assign(text=spoil(TABLE["text"].head(300))), SCHEMA) == []


@pytest.mark.parametrize("name", ["loans", "diabetes", "breast_cancer"])
def test_tables_without_texts_say_so(name):
    data = wb.load(name)
    rows = wb.evaluate(data, data.train, metrics=NAMES).rows
    assert list(rows["metric"]) == NAMES and rows["value"].isna().all()
    assert (rows["state"] == "not-applicable").all()


def test_distinct_by_hand():
    texts = [words("The cat sat."), words("the cat ran"), words("")]
    assert (
        distinct(texts, 1) == 4 / 6 and distinct(texts, 2) == 3 / 4 and np.isnan(distinct([[]], 1))
    )


def test_self_bleu_is_that_of_nltk():
    texts = [words(text) for text in TABLE["text"].head(60)]
    texts += [texts[0], texts[1][:-2], ["solve"], ["an", "array"], ["zzz"], texts[2] * 2]
    smooth = SmoothingFunction().method1
    expected = [
        sentence_bleu(texts[:i] + texts[i + 1 :], text, smoothing_function=smooth)
        for i, text in enumerate(texts)
    ]
    assert self_bleu(texts) == pytest.approx(expected, abs=1e-12)
    assert self_bleu(texts)[0] == 1 and self_bleu(texts)[-2] == 0
    assert self_bleu([["a"], []]).tolist() == [0, 0]


def test_nearest_is_the_jaccard_index_of_runs_of_three_words():
    texts = [words(text) for text in TABLE["text"].head(250)] + [["short"], ["short"]]
    runs = [set(zip(text, text[1:], text[2:], strict=False)) or {tuple(text)} for text in texts]
    index = np.array([[len(one & other) / len(one | other) for other in runs] for one in runs])
    assert nearest(texts, texts[:9]) == pytest.approx(index[:, :9].max(axis=1))
    np.fill_diagonal(index, 0)
    assert nearest(texts, texts, itself=False) == pytest.approx(index.max(axis=1))
    assert nearest([words("a b c d e")], [words("a b c d x")]) == pytest.approx([0.5])


def test_each_metric_sees_its_own_defect():
    fresh, copy = readings(FRESH), readings(TRAIN)
    few = readings(FRESH.iloc[np.arange(290) % 20])
    edited = readings(TRAIN.assign(text=TRAIN["text"] + " Truly."))
    wrong = readings(FRESH.assign(package=np.random.default_rng(0).permutation(FRESH["package"])))
    assert (
        fresh["memorised_texts"].value
        < 0.2
        < 0.95
        < edited["memorised_texts"].value
        <= copy["memorised_texts"].value
        == 1
    )
    assert few["text_duplicates"].value == 1 > 0.3 > fresh["text_duplicates"].value
    assert few["self_bleu"].value == pytest.approx(1) and fresh["self_bleu"].value < 0.6
    assert all(few[name].value < 0.2 * fresh[name].value for name in ("distinct_1", "distinct_2"))
    assert wrong["text_tstr_auc"].value < 0.65 < 0.85 < fresh["text_tstr_auc"].value
    low, high = fresh["text_tstr_auc"].low, fresh["text_tstr_auc"].high
    assert low < fresh["text_tstr_auc"].value < high and high - low < 0.1


def test_a_card_has_floors_and_ceilings():
    card = wb.evaluate(Dataset("docs", TRAIN, TEST, SCHEMA), FRESH, metrics=NAMES)
    rows = card.rows.set_index("metric")
    assert rows[["value", "floor", "ceiling"]].notna().all(axis=None)
    assert rows.at["memorised_texts", "floor"] == 1 and (rows["ceiling"] != rows["floor"]).all()
    for name, metric in METRICS.items():
        if name in NAMES:
            sign = 1 if metric.direction == "up" else -1
            assert sign * (rows.at[name, "ceiling"] - rows.at[name, "floor"]) > 0, name
            assert abs(rows.at[name, "value"] - rows.at[name, "ceiling"]) < 0.5 * abs(
                rows.at[name, "ceiling"] - rows.at[name, "floor"]
            )


def test_degenerate_texts_give_readings():
    empty = readings(FRESH.assign(text=pd.Series([None] * 290, dtype=object)))
    assert {name for name in NAMES if np.isnan(empty[name].value)} == set(NAMES) - {"text_tstr_auc"}
    assert (
        empty["self_bleu"].note == "0 synthetic texts, two are needed."
        and empty["text_tstr_auc"].value == 0.5
    )
    one = readings(FRESH.assign(package="numpy"))
    assert one["text_tstr_auc"].value == 0.5
    signs = readings(FRESH.assign(text=["!?"] * 290))
    assert (
        signs["self_bleu"].value == 0
        and signs["text_duplicates"].value == 1
        and np.isnan(signs["distinct_1"].value)
    )
    numbers = replace(SCHEMA, columns=(SCHEMA["text"], Column("x", "numeric", "target")))
    assert METRICS["text_tstr_auc"].lacks(numbers) == "the target holds numbers"


def test_two_columns_of_text_have_a_row_each_and_a_mean():
    schema = Schema((*SCHEMA.columns, Column("title", "categorical")))
    train, test, fresh = (
        table.assign(title=table["text"].str[-60:]) for table in (TRAIN, TEST, FRESH)
    )
    rows = wb.evaluate(
        Dataset("docs", train, test, schema), fresh, metrics=["distinct_1"]
    ).rows.set_index("column")["value"]
    assert set(rows.index) == {"", "text", "title"} and rows[""] == pytest.approx(
        (rows["text"] + rows["title"]) / 2
    )
