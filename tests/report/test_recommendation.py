"""The three sentences at the end of a comparison: planted readings decide what they say."""

import numpy as np
import pandas as pd

from workbench.metrics import NOT_APPLICABLE, Row
from workbench.metrics.rows import to_table
from workbench.report.headlines import aggregate
from workbench.report.recommendation import recommend


def reading(metric, value, half, column="", group=""):
    return Row(metric, value, value - half, value + half, column=column, group=group)


def useful(utility=0.96):
    """What a generator reads that can train a model, without a sensitive column."""
    idle = ("vanished_groups", "representation", "bias_amp", "equalized_odds_shift")
    note = "not applicable: no sensitive column"
    return [
        reading("utility_ratio", utility, 0.02),
        *(Row(name, np.nan, state=NOT_APPLICABLE, note=note) for name in idle),
    ]


def private(copies=0.0, risk=0.0):
    """What a generator reads whose rows may be shared, or not."""
    return [
        reading("excess_copies", copies, 0.005),
        reading("near_copies", 0.0, 0.005),
        reading("membership_tpr", 0.01, 0.008),
        reading("membership_auc", 0.5, 0.03),
        reading("attack_risk", risk, 0.02, group="singling out"),
    ]


def harmless():
    return [
        reading("coefficient_shift", 0.1, 1.0, column="age"),
        reading("augmentation_gain", 0.02, 0.01),
    ]


def readings(*cells, seeds=3):
    """(label, rows) pairs, each repeated over the seeds."""
    parts = []
    for label, rows in cells:
        for seed in range(seeds):
            parts.append(to_table(rows).assign(dataset="d", label=label, seed=seed))
    return aggregate(pd.concat(parts, ignore_index=True))


def names(*labels):
    return {label: label for label in labels}


def test_a_better_score_never_pays_for_a_leak():
    rows = readings(
        ("cart", [*useful(0.99), *private(copies=0.2)]),
        ("arf", [*useful(0.93), *private()]),
    )
    found = recommend(rows, names("cart", "arf"))
    assert found.chosen["share"] == "arf", "the copies of cart are not made up for"
    assert "cart" not in found.chosen.get("share", "")


def test_those_that_meet_the_same_gates_are_parted_by_seconds_not_by_the_score():
    rows = readings(("cart", useful(0.99)), ("arf", useful(0.95)))
    found = recommend(rows, names("cart", "arf"), seconds={"cart": 3.0, "arf": 0.5})
    assert found.chosen["train"] == "arf"
    assert "arf meets every gate (utility ratio 0.950" in found.why
    assert "as cart does; of these it is the fastest to fit (0.50 s)" in found.why


def test_rows_that_are_safe_and_useless_come_second():
    rows = readings(("independent", [*useful(0.3), *private()]), ("arf", [*useful(), *private()]))
    seconds = {"independent": 0.01, "arf": 5.0}
    assert recommend(rows, names("independent", "arf"), seconds=seconds).chosen["share"] == "arf"
    alone = recommend(rows, names("independent"), seconds=seconds)
    assert alone.chosen == {"share": "independent"}
    assert "Independent fails to train a model" in alone.doubt


def test_what_the_choice_fails_stands_in_the_doubt():
    rows = readings(("cart", [*useful(), *private(copies=0.2), *harmless()]))
    found = recommend(rows, names("cart"))
    assert found.chosen["train"] == "cart" and "share" not in found.chosen
    assert "no generator is shown fit to share the table with others" in found.which
    assert "Cart fails to share the table with others (excess copies 0.200" in found.doubt


def test_where_none_is_shown_fit_it_says_so():
    rows = readings(
        ("cart", [*useful(0.5), *private(copies=0.2)]), ("arf", [*useful(0.6), *private(risk=0.5)])
    )
    found = recommend(rows, names("cart", "arf"))
    assert not found.chosen
    assert found.which.startswith("None of the 2 generators is shown fit")
    assert "excess copies 0.200" in found.why and "utility ratio" in found.why


def test_an_interval_across_the_limit_is_said_to_be_open():
    found = recommend(
        readings(("cart", [reading("utility_ratio", 0.9, 0.2), *useful()[1:]])), names("cart")
    )
    assert not found.chosen and "not ruled out: cart to train a model" in found.which
    assert "straddles its limit" in found.doubt


def test_few_seeds_failed_cells_and_controls():
    rows = readings(("cart", useful()), ("copy", useful(1.0)), seeds=1)
    found = recommend(rows, names("cart", "copy", "ctgan"))
    assert found.chosen == {"train": "cart"}, "a control is never recommended"
    assert "rests on 1 seed" in found.doubt and "ctgan gave no result" in found.doubt
    assert "copy" not in " ".join(found.sentences)
    nothing = recommend(rows[rows["label"] == "copy"], names("copy", "ctgan"))
    assert nothing.which == "Nothing can be recommended." and "ctgan" in nothing.why


def test_each_is_one_sentence():
    found = recommend(readings(("cart", [*useful(), *private(), *harmless()])), names("cart"))
    assert set(found.chosen) == {"share", "train", "analyse", "augment"}
    for sentence in found.sentences:
        assert sentence[0].isupper() and sentence.endswith(".") and ". " not in sentence
