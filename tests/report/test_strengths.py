"""What rows are good for, in plain words: from planted places to sentences."""

import pandas as pd
import pytest
from test_leaderboard import planted
from test_report import Page

from workbench.metrics import METRICS, NOT_APPLICABLE, OK
from workbench.report import strengths

COLUMNS = ["metric", "mean", "floor", "ceiling", "state"]


def heads(*lines) -> pd.DataFrame:
    """Headlines of one label; an interval is not needed for words."""
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.assign(dataset="d", label="g", low=table["mean"], high=table["mean"])


@pytest.mark.parametrize(
    ("auc", "words"),
    [
        (0.80, "Good for training a model; nothing measured reads at the floor."),
        (0.75, "Good for training a model; nothing measured reads at the floor."),
        (0.65, "Good for nothing that was measured here; in part for training a model; nothing"),
        (0.52, "Good for nothing that was measured here; not good for training a model."),
        (0.30, "Good for nothing that was measured here; not good for training a model."),
    ],
)
def test_a_place_is_good_in_part_or_lost(auc, words):
    found = strengths.placed(heads(("tstr_auc", auc, 0.5, 0.8, OK)))
    assert strengths.sentence(found).startswith(words)


def test_less_is_better_where_it_is_and_no_reading_is_no_word():
    lines = [
        ("memorised_texts", 0.02, 1.0, 0.0, OK),
        ("text_tstr_auc", 0.55, 0.5, 0.9, OK),
        ("pair_trends", 0.9, 0.9, 0.9, OK),
        ("c2st", 0.9, 1.0, 0.5, NOT_APPLICABLE),
    ]
    words = strengths.sentence(strengths.placed(heads(*lines)))
    assert "Good for texts that do not repeat train's; in part for training a model on" in words
    assert "together" not in words.split(";")[0] and "passing" not in words


def test_each_purpose_is_a_metric_and_each_generator_but_controls_has_a_sentence(tmp_path):
    names = {name for _, metrics in strengths.PURPOSES for name in metrics}
    assert names <= set(METRICS)
    batch = planted(tmp_path, {("cart", "utility_ratio"): 0.21})
    text = Page(strengths.good_for(batch)).text
    assert "cart. " in text and "independent. " in text and "holdout. " not in text
    cart = text.split("cart. ")[1].split(".")[0]
    assert "not good for" in cart and "training a model" in cart.split("not good for")[1]
