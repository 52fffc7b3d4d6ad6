"""The first screen: from planted tables to the words, places and ranks on the page."""

import numpy as np
import pandas as pd
import pytest
from test_report import Page, write_report

from workbench.metrics import OK
from workbench.report import leaderboard, scatter
from workbench.report.batch import Batch
from workbench.report.significance import nemenyi_ranges, rank_ranges
from workbench.report.uses import USES

# A reading of each gate's metric that meets the gate, with a half width that decides.
GOOD = {
    "excess_copies": (0.0, 0.001),
    "near_copies": (0.0, 0.001),
    "membership_tpr": (0.01, 0.001),
    "membership_auc": (0.5, 0.01),
    "attack_risk": (0.0, 0.01),
    "utility_ratio": (0.97, 0.01),
    "vanished_groups": (0.0, 0.0),
    "representation": (0.0, 0.05),
    "bias_amp": (0.0, 0.01),
    "equalized_odds_shift": (0.0, 0.01),
    "coefficient_shift": (0.5, 0.1),
    "augmentation_gain": (0.02, 0.01),
}
ABOUT = {
    "representation": ("race", "race=a"),
    "attack_risk": ("race", "race=a"),
    "bias_amp": ("race", ""),
    "equalized_odds_shift": ("race", ""),
    "coefficient_shift": ("age", ""),
}


def planted(tmp_path, faults, generators=("independent", "cart", "holdout")):
    """A batch whose readings meet every gate, but for `faults`: (generator or "", metric) -> value."""
    batch = Batch.read(write_report(tmp_path, generators=generators, seeds=1))
    records = []
    for cell in batch.cells.to_dict("records"):
        for metric, (value, half) in GOOD.items():
            value = faults.get(("", metric), faults.get((cell["label"], metric), value))
            column, group = ABOUT.get(metric, ("", ""))
            about = {name: cell[name] for name in ("dataset", "generator", "label", "seed", "key")}
            low, high = value - half, value + half
            row = {"metric": metric, "column": column, "group": group, "value": value}
            ends = {"low": low, "high": high, "floor": 0.2, "ceiling": 1.0}
            records.append(about | row | ends | {"state": OK, "note": ""})
    return Batch.of(pd.DataFrame(records), batch.cells, batch.title)


def test_all_gates_met_is_what_the_sentence_says(tmp_path):
    assert set(GOOD) == {gate.metric for _, gates in USES.values() for gate in gates} - {
        "empirical_epsilon"
    }
    text = Page(leaderboard.verdict(planted(tmp_path, {}))).text
    assert "Independent and cart are shown fit for training here" in text
    assert "independent and cart may be shared, of which independent and cart also keep" in text
    assert "No generator" not in text and "fresh real rows" not in text


def test_a_gate_that_cannot_be_measured_is_said_first(tmp_path):
    batch = planted(tmp_path, {("", "equalized_odds_shift"): np.nan, ("cart", "near_copies"): 0.9})
    text = Page(leaderboard.verdict(batch)).text
    first = "No generator can be shown fit for training here: equalized odds shift cannot be"
    assert text.startswith(first) and "not even of fresh real ones" in text
    answer = text[text.index("No generator is shown fit for training here (2 not measured)") :]
    assert "independent may be shared and keeps effects" in answer
    # Measured on one table alone, the gate decides again.
    others = {(name, "equalized_odds_shift"): np.nan for name in ("independent", "holdout")}
    assert (
        "cannot be measured" not in Page(leaderboard.verdict(planted(tmp_path / "b", others))).text
    )


def test_real_rows_that_fail_are_named(tmp_path):
    batch = planted(tmp_path, {("holdout", "coefficient_shift"): 9.0})
    text = Page(leaderboard.verdict(batch)).text
    assert text.startswith("Even fresh real rows (holdout) fail for estimating effects here.")


@pytest.mark.parametrize(
    ("metric", "reading", "expected"),
    [
        # 0 is the floor and 100 the ceiling, whatever the direction: (mean, low, high, floor, ceiling)
        ("pair_trends", (0.75, 0.7, 0.8, 0.5, 1.0), (50, 40, 60)),
        ("c2st", (0.6, 0.55, 0.65, 1.0, 0.5), (80, 70, 90)),
        ("bias_amp", (0.05, -0.02, 0.12, -0.2, 0.0), (75, 40, 100)),
        ("pair_trends", (0.75, 0.7, 0.8, 0.5, 0.5), (np.nan, np.nan, np.nan)),
    ],
)
def test_places_are_turned_so_that_more_is_better(metric, reading, expected):
    names = ["mean", "low", "high", "floor", "ceiling"]
    heads = pd.DataFrame([reading], columns=names).assign(metric=metric, label="cart", state=OK)
    found = leaderboard.places(heads, metric)[["place", "place_low", "place_high"]].iloc[0]
    assert found.to_numpy(float) == pytest.approx(expected, nan_ok=True)


def test_ranks_are_as_wide_as_intervals_leave_them():
    table = pd.DataFrame(
        {"mean": [0.9, 0.89, 0.5], "low": [0.88, 0.87, 0.48], "high": [0.92, 0.91, 0.52]},
        index=["a", "b", "c"],
    )
    assert rank_ranges(table, "up").to_numpy().tolist() == [[1, 2], [1, 2], [3, 3]]
    assert rank_ranges(table, "down").to_numpy().tolist() == [[2, 3], [2, 3], [1, 1]]
    unsure = table.assign(low=np.nan, high=np.nan)
    assert rank_ranges(unsure, "up").to_numpy().tolist() == [[1, 3]] * 3
    # Twelve datasets on which a beats b beats c: mean ranks 1, 2, 3; Nemenyi's difference is .96.
    wide = pd.DataFrame({"a": np.full(12, 3.0), "b": np.full(12, 2.0), "c": np.full(12, 1.0)})
    found = nemenyi_ranges(wide)
    assert found["rank"].tolist() == [1, 2, 3] and found["best"].tolist() == [1, 2, 3]
    assert nemenyi_ranges(wide.head(3))["worst"].tolist() == [2, 3, 3]


def test_the_front_holds_what_no_other_beats():
    points = [scatter.Point(*p) for p in (
        ("a", "open", 0.1, 0.5), ("b", "open", 0.2, 0.4), ("c", "open", 0.3, 0.9),
        ("d", "open", 0.1, 0.6),
    )]  # fmt: skip
    assert [point.label for point in scatter.best_of_both(points)] == ["d", "c"]
    axis = scatter.Axis("x", 0.0, 1.0)
    svg = scatter.scatter([scatter.Point("<b>", "private", 5.0, 0.5)], axis, axis).svg
    assert "&lt;b&gt; → 5.000" in svg and "<b>" not in svg
