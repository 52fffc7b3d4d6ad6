"""What a card's privacy figures say under the three tests: the raw copy fails each, and nothing is
read where nothing is.
"""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.metrics import METRICS, Row
from workbench.metrics.rows import to_table
from workbench.studies.anonymity import EVIDENCE, evidence


@pytest.fixture(scope="module")
def table():
    data = wb.load("loans")
    metrics = list(dict.fromkeys(one.metric for one in EVIDENCE))
    tables = {"copy": data.train, "independent": wb.generate("independent", data)}
    cards = [
        wb.evaluate(data, tables[name], metrics=metrics).rows.assign(label=name) for name in tables
    ]
    return evidence(pd.concat(cards, ignore_index=True))


def test_every_figure_is_found_on_a_real_card(table):
    assert all(one.metric in METRICS for one in EVIDENCE)
    assert set(table.index.get_level_values("test")) == {one.test for one in EVIDENCE}
    assert set(table["shows"]) == {one.shows for one in EVIDENCE}, (
        "a figure whose rows are called otherwise has no line"
    )
    secrets = [figure for _, figure in table.index if figure.startswith("attribute inference")]
    assert secrets == [f"attribute inference of {name}" for name in ("male", "approve", "race")]
    assert (table[["shows", "leaves open"]] != "").all(axis=None)


def test_the_raw_copy_fails_all_three_tests(table):
    risks = table.loc[table.index.get_level_values("test") != "all three", "copy"]
    assert all(float(reading.split()[0]) > 0.9 for reading in risks), risks
    assert table.loc[("all three", "Epsilon spent, as claimed"), "copy"] == "no formal guarantee"
    assert (
        float(table.loc[("singling out", "singling out, univariate"), "independent"].split()[0])
        < 0.1
    )


def test_readings_without_a_number_say_why():
    rows = to_table(
        [
            Row(
                "attack_risk", 0.5, 0.4, 0.6, note="x"
            ),  # the headline repeats the worst one and has no line
            Row(
                "attack_risk",
                np.nan,
                group="linkability",
                state="not-informative",
                note="not informative: 0.1 of 9 attacks succeed",
            ),
            Row(
                "membership_auc",
                0.6,
                0.5,
                0.7,
                state="not-informative",
                note="not informative: floor and ceiling are close",
            ),
            Row(
                "membership_tpr",
                np.nan,
                state="insufficient",
                note="insufficient: 3 members; 30 needed",
            ),
        ]
    ).assign(label="g")
    other = to_table([Row("epsilon", 1.0)]).assign(label="h")
    table = evidence(pd.concat([rows, other], ignore_index=True))
    assert table["g"].to_dict() == {
        ("linkability", "linkability"): "uninformative",
        ("inference", "Membership attack AUC"): "uninformative",
        ("inference", "Membership TPR at 1% FPR"): "insufficient",
        ("all three", "Epsilon spent, as claimed"): "not measured",
    }
    assert table.loc[("all three", "Epsilon spent, as claimed"), "h"] == "1.000"
