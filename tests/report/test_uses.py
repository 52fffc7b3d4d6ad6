"""Verdicts under known truth: from planted rows, and from planted tables to the sentence on the
page.
"""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.metrics import NOT_INFORMATIVE, Row
from workbench.metrics.rows import to_table
from workbench.report import sections
from workbench.report.batch import Batch
from workbench.report.headlines import aggregate, headlines
from workbench.report.uses import USES, verdicts
from workbench.tables.schema import Schema

GATES = {gate.metric: gate for _, gates in USES.values() for gate in gates}


def cell(rows, label="g", seed=0, generator=None):
    table = to_table(rows).assign(dataset="d", label=label, seed=seed)
    return table.assign(generator=generator or label)


def reading(metric, value, half, column="", group="", **about):
    return Row(metric, value, value - half, value + half, column=column, group=group, **about)


def gate(metric, *cells):
    """State and words of one gate, from the rows of some seeds."""
    rows = pd.concat([cell(rows, seed=seed) for seed, rows in enumerate(cells)])
    return GATES[metric].read(aggregate(rows).to_dict("records"))


# Each column and group is averaged over the seeds, then the worst is taken


def test_signs_of_a_lost_group_do_not_cancel_over_seeds():
    """Nine in ten women gone in each of ten seeds: which of the two log-odds is larger is decided
    by rounding, and picking it first gave 1.37 [-.01, 2.76].
    """
    rng, cells = np.random.default_rng(0), []
    for seed in range(10):
        shift = 2.29 + 0.1 * rng.normal()
        rows = [
            reading("representation", -shift, 0.12, "sex", "sex=woman"),
            reading("representation", shift, 0.12, "sex", "sex=man"),
            reading("representation", shift * rng.choice([-1, 1]), 0.12),
        ]
        cells.append(cell(rows, seed=seed))
    head = headlines(pd.concat(cells)).set_index("metric").loc["representation"]
    assert abs(head["mean"]) == pytest.approx(2.29, abs=0.1)
    assert head["high"] < -2 or head["low"] > 2
    own = [rows[rows["group"] != ""] for rows in cells]
    state, words = GATES["representation"].read(aggregate(pd.concat(own)).to_dict("records"))
    assert state == "fails" and "sex=woman" in words


def test_a_one_sided_gate_reads_the_signed_maximum():
    rows = [
        reading("equalized_odds_shift", -0.104, 0.03),
        reading("equalized_odds_shift", -0.104, 0.03, "race"),
        reading("equalized_odds_shift", 0.10, 0.03, "sex"),
    ]
    state, words = gate("equalized_odds_shift", rows[1:])
    assert state == "fails" and "of sex" in words and "race" not in words
    # Bias that becomes smaller is no harm of a one-sided gate.
    assert gate("equalized_odds_shift", rows[1:2])[0] == "meets"
    # The page's headline is the largest column, named.
    assert headlines(cell(rows))["column"].tolist() == ["race"]


def test_every_column_is_gated_and_nothing_averages_out():
    rows = [
        reading("bias_amp", -0.019, 0.01),
        reading("bias_amp", 0.048, 0.02, "sex"),
        reading("bias_amp", -0.086, 0.02, "race"),
    ]
    state, words = gate("bias_amp", rows[1:])
    assert state == "fails" and "race" in words
    head = headlines(cell(rows)).iloc[0]
    assert head["mean"] == pytest.approx(-0.086) and head["column"] == "race"


def test_representation_names_the_surest_shift():
    """A group of half the rows falls to 46%, one of half a percent strays further by chance."""
    rows = [
        reading("representation", -0.16, 0.06, "sex", "sex=woman"),
        reading("representation", 0.16, 0.06, "sex", "sex=man"),
        reading("representation", -0.4, 0.9, "race", "race=other"),
    ]
    head = headlines(cell(rows)).iloc[0]
    assert head["group"] in ("sex=woman", "sex=man")
    # A group without any row comes first, though its interval is wide.
    gone = [*rows, reading("representation", -3.0, 2.8, "race", "race=few")]
    gone.append(Row("vanished_groups", 1.0, column="race", group="race=few"))
    heads = headlines(cell(gone)).set_index("metric")
    assert heads.loc["representation", "group"] == "race=few"


def test_a_vanished_group_is_never_met():
    rows = [
        reading("bias_amp", 0.0, 0.01, "sex"),
        reading("utility_ratio", 1.0, 0.02),
        reading("representation", 0.0, 0.1, "sex", "sex=man"),
        reading("equalized_odds_shift", 0.0, 0.02, "sex"),
    ]
    labels = pd.DataFrame({"dataset": ["d"], "label": ["g"]})
    for lost, state in ((0.0, "meets"), (1.0, "fails")):
        own = cell([*rows, Row("vanished_groups", lost)])
        table = verdicts(aggregate(own), labels).set_index("use")
        assert table.loc["train", "state"] == state
    assert table.loc["train", "gates"] == ["vanished groups"]


# Privacy is read off the tail


@pytest.mark.parametrize(
    ("metric", "low", "high", "state"),
    [
        ("membership_tpr", 0.004, 0.02, "meets"),  # fresh rows
        ("membership_tpr", 0.027, 0.06, "fails"),  # 3% of the rows leaked
        ("excess_copies", -0.001, 0.001, "meets"),
        ("excess_copies", 0.001, 0.005, "fails"),  # 60 of 20,000
        ("excess_copies", -0.1, 0.1, "undecided"),  # so few rows that nothing could be seen
        ("attack_risk", 0.0, 0.08, "meets"),
        ("attack_risk", 0.12, 0.3, "fails"),
    ],
)
def test_privacy_gates_read_the_lower_end(metric, low, high, state):
    row = Row(metric, (low + high) / 2, low, high)
    assert gate(metric, [row])[0] == state


def test_the_tail_is_read_for_outliers_too():
    rows = [Row("membership_tpr", 0.01, 0.004, 0.02)]
    rows.append(Row("membership_tpr", 0.2, 0.1, 0.3, group="outliers"))
    state, words = gate("membership_tpr", rows)
    assert state == "fails" and "outliers" in words


def test_not_informative_never_hides_plain_harm():
    harm = Row("augmentation_gain", -0.052, -0.089, -0.015, state=NOT_INFORMATIVE, note="close")
    assert gate("augmentation_gain", [harm])[0] == "fails"
    for value, state in ((0.2, "fails"), (0.99, "undecided")):
        row = reading("utility_ratio", value, 0.02, state=NOT_INFORMATIVE, note="close ends")
        assert gate("utility_ratio", [row])[0] == state


def test_a_gain_of_exactly_nothing_shows_no_merit():
    """Learners that cannot read a text predict the same with or without more of them."""
    nothing = Row("augmentation_gain", 0.0, 0.0, 0.0)
    assert gate("augmentation_gain", [nothing])[0] == "undecided"
    assert gate("augmentation_gain", [Row("augmentation_gain", 0.02, 0.0, 0.04)])[0] == "meets"


def test_tables_that_disagree_by_many_standard_errors_leave_a_coefficient_open():
    """Two seeds of a noisy private fit: 6.9 (-20 to 34) holds 0, and shows no effect unharmed."""
    apart = Row("coefficient_shift", 6.9, -20.0, 33.8, column="obrat")
    assert gate("coefficient_shift", [apart])[0] == "undecided"
    wide = Row("coefficient_shift", 2.4, -1.2, 6.0, column="obrat")
    assert gate("coefficient_shift", [wide])[0] == "meets"


# Identity is data


def test_a_control_is_known_by_its_generator_and_not_by_its_label():
    labels = {"copy of mine": "cart", "raw copy": "copy", "arf": "arf"}
    rows = [
        cell([reading("utility_ratio", value, 0.01)], label, generator=generator)
        for value, (label, generator) in zip((0.8, 0.99, 0.7), labels.items(), strict=True)
    ]
    cells = pd.DataFrame(list(labels.items()), columns=["label", "generator"]).assign(
        dataset="d", seed=0, status="ok", params="{}"
    )
    batch = Batch.of(pd.concat(rows), cells, "identity")
    assert [batch.control(label) for label in labels] == [False, True, False]
    assert sections.leaders(batch.heads, "utility_ratio", batch.control) == {"copy of mine"}
    assert "2 generators and 1 control" in sections.facts_line(batch)


# From planted tables to the words on the page


def people(rng, n):
    sex = np.where(rng.random(n) < 0.4, "woman", "man")
    skill = rng.normal(size=n)
    chance = 1 / (1 + np.exp(-2 * skill - (sex == "man")))
    hired = np.where(rng.random(n) < chance, "yes", "no")
    return pd.DataFrame({"sex": sex, "skill": skill, "hired": hired})


def test_from_a_planted_table_to_the_sentence():
    rng = np.random.default_rng(1)
    table = people(rng, 4500)
    schema = Schema.infer(table, "hired", ["sex"])
    parts = [part.reset_index(drop=True) for part in (table[:1500], table[1500:3000], table[3000:])]
    data = wb.Dataset("people", parts[0], parts[1], schema)
    fresh = parts[2]
    tables = {
        "arf": fresh,
        "cart": fresh[fresh["sex"] == "man"].reset_index(drop=True),
        "ctgan": pd.concat([parts[0][:150], fresh[150:]], ignore_index=True),
    }
    wanted = ["representation", "vanished_groups", "bias_amp", "excess_copies"]
    rows = []
    for label, synthetic in tables.items():
        card = wb.evaluate(data, synthetic, metrics=wanted)
        known = [
            reading("utility_ratio", 0.98, 0.02),
            reading("equalized_odds_shift", 0, 0.02, "sex"),
        ]
        rows += [card.rows.assign(dataset="people", label=label, generator=label, seed=0)]
        rows += [cell(known, label).assign(dataset="people")]
    cells = pd.DataFrame({"label": list(tables), "generator": list(tables)})
    cells = cells.assign(dataset="people", seed=0, status="ok", params="{}")
    text = sections.verdicts(Batch.of(pd.concat(rows), cells, "planted")).striptags()
    assert "Arf and ctgan meet every gate; cart fails on vanished groups" in text
    assert "Ctgan fails on excess copies" in text
