"""Augmentation, rare class, edge, coverage and model ranking on tables whose worth is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from workbench.metrics import METRICS, Trial
from workbench.metrics.fidelity import K, coverage, standardised
from workbench.metrics.models import PANEL, kth_distance, panel_predictions, predictions
from workbench.metrics.scarcity import (
    LEARNER,
    augmentation_gain,
    edge_coverage,
    rare_class_gain,
    tail_mass,
)
from workbench.metrics.utility import Ranking, model_ranking
from workbench.tables.schema import Schema

OWN = {
    "coverage": coverage,
    "kendall_tau": model_ranking,
    "augmentation_gain": augmentation_gain,
    "rare_class_gain": rare_class_gain,
    "edge_coverage": edge_coverage,
}


def draw(n: int, seed: int) -> pd.DataFrame:
    """A rare label (about 15%) that follows an interaction, so that trees beat linear models."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, n))
    d = rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])
    risk = -2.6 + 2.0 * a * b + 1.5 * (d == "red") * a + 0.5 * c
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-risk)), "yes", "no")
    return pd.DataFrame({"a": a.round(2), "b": b.round(2), "c": c.round(1), "d": d, "y": y})


SCHEMA = Schema.infer(draw(500, 0), target="y")
NUMBER = Schema.infer(draw(500, 0), target="b")
TRAIN, TEST, FRESH = (SCHEMA.cast(draw(n, seed)) for n, seed in ((1500, 1), (1500, 2), (1500, 3)))
PERMUTED = pd.DataFrame(
    {
        name: FRESH[name].array[np.random.default_rng(i).permutation(1500)]
        for i, name in enumerate(FRESH)
    }
)


def rows(metric, synthetic, train=TRAIN, test=TEST, schema=SCHEMA) -> dict:
    return {
        row.group: row
        for row in metric(Trial(train, test, synthetic.reset_index(drop=True), schema))
    }


def value(metric, synthetic, **real) -> float:
    return rows(metric, synthetic, **real)[""].value


def test_kth_distance_is_exact():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(80, 4)).astype(np.float32)
    brute = np.sort(np.linalg.norm(x[:, None] - y[None], axis=2), axis=1)
    assert np.allclose(kth_distance(x, y, 5), brute[:, 4], atol=1e-5)
    assert np.allclose(kth_distance(x, y[:3], 5), brute_last(x, y[:3]), atol=1e-5)


def brute_last(x, y):
    return np.linalg.norm(x[:, None] - y[None], axis=2).max(axis=1)


def test_coverage_by_hand():
    """Test rows 0 to 9 on a line: the fifth neighbour of rows 0, 1, 2, 3 and 4 is 5, 4, 3, 3 and 3
    away.
    """
    schema = Schema.infer(pd.DataFrame({"x": [0.5]}))
    test = pd.DataFrame({"x": np.arange(10.0)})
    expected = {100.0: 0.0, 0.0: 4 / 10, 4.5: 1.0}  # x = 0 lies in the balls of rows 0 to 3
    for place, share in expected.items():
        synthetic = pd.DataFrame({"x": np.full(10, place)})
        assert value(coverage, synthetic, train=test, test=test, schema=schema) == share


def test_coverage_is_naeems():
    """Their definition, straight from sklearn on the same matrices."""
    real, fake = standardised(Trial(TRAIN, TEST, FRESH, SCHEMA), [TEST, FRESH])
    radius = NearestNeighbors(n_neighbors=K + 1).fit(real).kneighbors(real)[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(fake).kneighbors(real)[0][:, 0]
    assert value(coverage, FRESH) == pytest.approx(np.mean(nearest <= radius), abs=2 / len(real))


def test_fresh_rows_cover_as_theory_says_and_shrunk_ones_do_not():
    expected = 1 - 0.5**K
    shrunk = FRESH.assign(a=FRESH["a"] * 0.3, b=FRESH["b"] * 0.3)
    for metric in (coverage, edge_coverage):
        assert value(metric, FRESH) == pytest.approx(expected, abs=0.06)
        assert value(metric, shrunk) < expected - 0.2
    assert value(edge_coverage, shrunk) < value(coverage, shrunk) - 0.1
    assert value(coverage, TRAIN) == pytest.approx(
        expected, abs=0.06
    )  # a copy of train covers no better than fresh rows


def test_equal_rows_are_neighbours_at_distance_zero():
    """Labels only: every ball has radius 0, and the same rows lie in it whatever rounding does."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.integers(0, 2, (2000, 4)).astype(str), columns=list("pqrs"))
    schema = Schema.infer(table, kinds=dict.fromkeys("pqrs", "categorical"))
    train, test, other = (schema.cast(table[k::3].reset_index(drop=True)) for k in range(3))
    for metric in (coverage, edge_coverage):
        assert value(metric, other, train=train, test=test, schema=schema) == 1
        gone = other.assign(p="0")
        assert value(metric, gone, train=train, test=test, schema=schema) < 0.7


@pytest.mark.parametrize("schema", [SCHEMA, NUMBER], ids=["labels", "numbers"])
def test_ranking_is_kept_by_fresh_rows_and_lost_by_permuted_ones(schema):
    kept, lost = (
        rows(model_ranking, FRESH, schema=schema)[""],
        rows(model_ranking, PERMUTED, schema=schema)[""],
    )
    assert kept.value > 0.85 and kept.low <= kept.value <= kept.high <= 1
    assert lost.value < 0.5
    assert "pairs of configurations differ" in kept.note


def test_tau_by_hand():
    """From the scores themselves: signs of differences over the pairs that DeLong's interval tells
    apart on real rows.
    """
    from workbench.metrics.privacy import in_own_order
    from workbench.metrics.utility import RANKING_ROWS

    of = Trial(TRAIN, TEST, PERMUTED, SCHEMA)
    real, synthetic, test = (
        in_own_order(t, of.rng("kendall_tau")) for t in (TRAIN, PERMUTED, TEST)
    )
    assert len(test) < RANKING_ROWS
    truth = (test["y"] == "yes").to_numpy()
    areas = []
    for table in (real.head(750), synthetic.tail(750)):
        answers = panel_predictions(table, test, SCHEMA)
        areas.append([roc_auc_score(truth, answers[name]["yes"]) for name in PANEL])
    areas, signs, significant = np.array(areas), [], 0
    for i in range(len(PANEL)):
        for j in range(i):
            d = [areas[0][i] - areas[0][j], areas[1][i] - areas[1][j]]
            if abs(d[0]) > 0.06:  # far beyond any paired interval here
                significant += 1
                signs.append(np.sign(d[0]) * np.sign(d[1]))
    row = rows(model_ranking, PERMUTED)[""]
    apart = int(row.note.split()[0])
    assert significant <= apart <= len(PANEL) * (len(PANEL) - 1) / 2
    total = row.value * apart  # whole pairs, each -1, 0 or 1
    assert total == pytest.approx(round(total)) and abs(total - sum(signs)) <= apart - significant


def test_a_panel_of_at_least_ten_configurations_is_the_one_by_one_predictions():
    assert len(set(PANEL)) >= 10
    together = panel_predictions(TRAIN.head(300), TEST.head(50), SCHEMA)
    for name in PANEL[::3]:
        pd.testing.assert_frame_equal(
            together[name], predictions(TRAIN.head(300), TEST.head(50), SCHEMA, name)
        )


def test_pairs_that_real_rows_cannot_tell_apart_say_nothing():
    blank, test = (
        t.assign(a=0.0, b=0.0, c=0.0, d="red") for t in (TRAIN, TEST)
    )  # every row has the same answer
    row = rows(model_ranking, FRESH, train=blank, test=test)[""]
    assert np.isnan(row.value) and row.note.startswith("not informative: only")


def test_augmentation_gain_by_hand():
    few = TRAIN.head(150)
    found = rows(augmentation_gain, FRESH, train=few)[""]
    scores = [
        roc_auc_score(TEST["y"] == "yes", predictions(table, TEST, SCHEMA, LEARNER)["yes"])
        for table in (pd.concat([few, FRESH], ignore_index=True), few)
    ]
    assert found.value == pytest.approx(
        scores[0] - scores[1], abs=0.03
    )  # rows in another order, other ties
    assert found.low > 0  # ten times the rows help
    assert rows(augmentation_gain, PERMUTED)[""].high < 0
    number = rows(augmentation_gain, PERMUTED, schema=NUMBER)[""]
    assert "R2" in number.note and number.value < 0


@pytest.fixture(scope="module")
def arms():
    """Fresh rows beside few of train."""
    return rows(rare_class_gain, FRESH, train=TRAIN.head(400))


def test_rare_class_arms_by_hand(arms):
    found = arms
    assert set(found) == {
        "",
        "over none",
        "over class weights",
        "over random oversampling",
        "over SMOTENC",
        "in recall at 1% false positives",
        "in recall at 5% false positives",
        "in balanced accuracy",
    }
    over = {name: row.value for name, row in found.items() if name.startswith("over")}
    assert found[""].value == min(over.values())
    assert found[""].low <= found[""].value <= found[""].high
    assert (
        found[""].value > 0
    )  # fresh real rows of the rare label, as many again as there were, are worth something
    assert rows(rare_class_gain, PERMUTED.head(600), **SMALL)[""].value < 0


def test_none_arm_is_the_learner_itself(arms):
    found = arms["over none"]
    ours = float(found.note.split("with none")[0].rsplit(", ", 1)[1])
    truth = TEST["y"] == "yes"
    few = TRAIN.head(400)
    theirs = average_precision_score(truth, predictions(few, TEST, SCHEMA, LEARNER)["yes"])
    assert ours == pytest.approx(theirs, abs=0.001)  # three digits


def test_recall_at_a_rate_is_on_scikit_learns_curve():
    rng = np.random.default_rng(0)
    truth, score = rng.random(3000) < 0.2, rng.integers(0, 40, 3000) / 40
    score = score + 0.3 * truth
    weights = rng.integers(0, 3, 3000)
    false, true, _ = roc_curve(truth, score, sample_weight=weights, drop_intermediate=False)
    for rate in (0.01, 0.05, 0.5):
        assert Ranking(truth, score).recall(weights, rate) == pytest.approx(
            true[false <= rate].max()
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(y=np.where(t.index % 2, "yes", "no")), "below 30% is rare"),
        (lambda t: t.assign(y=np.where(t.index % 9, t["y"], "other")), "has 3 labels"),
        (
            lambda t: (
                t[t["y"] == "no"]
                .reset_index(drop=True)
                .assign(y=lambda n: n["y"].where(n.index > 5, "yes"))
            ),
            "insufficient",
        ),
    ],
    ids=["balanced", "three labels", "six rows"],
)
def test_where_no_label_is_rare(change, words):
    train, test = change(TRAIN), change(TEST)
    row = rows(rare_class_gain, FRESH, train=train, test=test)[""]
    assert np.isnan(row.value) and words in row.note
    assert row.state == ("insufficient" if words == "insufficient" else "not-applicable")
    assert METRICS["rare_class_gain"].lacks(NUMBER) == "the target holds numbers"


def test_only_labels_and_only_numbers_are_oversampled_too():
    labels = TRAIN[["d", "y"]].assign(e=np.where(TRAIN["a"] > 0, "up", "down").astype(object))
    numbers = TRAIN[["a", "b", "y"]].assign(b=TRAIN["b"].where(TRAIN.index % 7 > 0))
    for table in (labels, numbers):
        schema = Schema.infer(table, target="y")
        half = [schema.cast(table.iloc[k:500:2].reset_index(drop=True)) for k in (0, 1)]
        assert np.isfinite(
            value(rare_class_gain, half[1], train=half[0], test=half[1], schema=schema)
        )


HOSTILE = {
    "one row": lambda t: t.head(1),
    "all rows equal": lambda t: t.iloc[[0] * 200],
    "vanished class": lambda t: t[t["y"] == "no"],
    "all missing": lambda t: t.assign(
        **{name: pd.Series(np.nan, t.index, dtype=t[name].dtype) for name in t}
    ),
    "unseen labels": lambda t: t.assign(d="purple", y="perhaps"),
    "far away": lambda t: t.assign(a=1e300, b=-1e300),
}


SMALL = {"train": TRAIN.head(600), "test": TEST.head(400)}


@cache
def of_fresh_rows(name: str):
    """What a metric reads of rows that nobody spoiled."""
    return rows(OWN[name], FRESH.head(600), **SMALL)[""]


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", OWN)
def test_degenerate_tables_read_badly_or_say_why(name, spoil):
    row, fresh = rows(OWN[name], spoil(FRESH), **SMALL)[""], of_fresh_rows(name)
    if np.isnan(row.value):
        assert row.note.startswith("not informative")
    elif name.endswith("gain"):
        assert row.value <= max(0.03, fresh.value)  # nothing usable was added
    else:
        assert row.value < fresh.value - 0.05


def test_without_a_target_or_with_one_column():
    schema = replace(
        SCHEMA, columns=tuple(replace(c, role="feature") for c in SCHEMA.columns), positive=None
    )
    for name in ("kendall_tau", "augmentation_gain", "rare_class_gain"):
        assert "target" in METRICS[name].needs  # `evaluate` writes the row that says so
        row = rows(OWN[name], FRESH, schema=schema)[""]
        assert np.isnan(row.value) and "the table has no target" in row.note
    alone = Schema(tuple(c for c in SCHEMA.columns if c.name == "y"), positive="yes")
    tables = [t[["y"]] for t in (FRESH, TRAIN, TEST)]
    for name in OWN:
        row = rows(OWN[name], tables[0], train=tables[1], test=tables[2], schema=alone)[""]
        assert np.isfinite(row.value) or row.note


@pytest.mark.parametrize("name", OWN)
def test_row_order_does_not_matter(name):
    turned = [t.iloc[::-1].reset_index(drop=True) for t in (FRESH.head(600), *SMALL.values())]
    other = value(OWN[name], turned[0], train=turned[1], test=turned[2])
    assert other == pytest.approx(of_fresh_rows(name).value, abs=1e-9)


def test_all_are_registered_with_a_ceiling_that_is_no_copy():
    for name in OWN:
        assert METRICS[name].load() is OWN[name]
    assert {
        METRICS[name].reads for name in ("augmentation_gain", "rare_class_gain", "edge_coverage")
    } == {"train and test"}


def test_ten_thousand_levels_and_two_hundred_columns_stay_small():
    import tracemalloc

    rng = np.random.default_rng(0)
    # Nearly every row has a level of its own in twenty of the columns.
    few = {f"c{j}": rng.integers(0, 6, 400).astype(str) for j in range(180)}
    many = {f"k{j}": rng.integers(10_000, size=400).astype(str) for j in range(20)}
    wide = pd.DataFrame(few | many)
    schema = Schema.infer(wide, kinds=dict.fromkeys(wide.columns, "categorical"))
    table = schema.cast(wide)
    tracemalloc.start()
    assert value(coverage, table.iloc[::-1], train=table, test=table, schema=schema) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6


def tails(n, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_t(4, n) * scale
    return pd.DataFrame(
        {"x": x, "y": x + rng.normal(size=n), "flat": 1.0, "c": rng.choice(["a", "b"], n)}
    )


def tail_readings(synthetic):
    train, test = tails(3000, 1), tails(2000, 2)
    schema = Schema.infer(train)
    return {
        row.column: row
        for row in tail_mass(Trial(*map(schema.cast, (train, test, synthetic)), schema))
    }


def test_tail_mass_sees_cut_and_heavy_tails_and_is_their_ratio():
    fresh, cut, heavy = (
        tail_readings(tails(3000, 3)),
        tail_readings(
            tails(3000, 3).assign(x=lambda t: t["x"].clip(-2, 2), y=lambda t: t["y"].clip(-2, 2))
        ),
        tail_readings(tails(3000, 3, 2)),
    )
    assert set(fresh) == {"", "x", "y"}, "a column without tails is left out"
    assert fresh[""].low < 0 < fresh[""].high and cut[""].high < -1 and heavy["x"].low > 0.5
    ends = np.quantile(tails(3000, 1)["x"], [0.01, 0.99])
    counts = [
        int(((t["x"] < ends[0]) | (t["x"] > ends[1])).sum())
        for t in (tails(3000, 3), tails(2000, 2))
    ]
    assert fresh["x"].value == pytest.approx(
        np.log((counts[0] + 0.5) / 3000 / ((counts[1] + 0.5) / 2000))
    )
    assert tail_readings(tails(50, 3).head(1))[""].note
    schema = Schema.infer(pd.DataFrame({"c": ["a", "b"]}))
    table = schema.cast(pd.DataFrame({"c": ["a", "b"]}))
    assert next(tail_mass(Trial(table, table, table, schema))).note.startswith("not applicable")


def test_tail_mass_interval_covers_equal_tails():
    inside = []
    for seed in range(120):
        train, test, synthetic = (tails(800, [seed, part]) for part in range(3))
        schema = Schema.infer(train)
        row = next(tail_mass(Trial(*map(schema.cast, (train, test, synthetic)), schema)))
        inside.append(row.low <= 0 <= row.high)
    assert 0.88 <= np.mean(inside) <= 1


def test_rare_cells_by_hand():
    def labels(pairs):
        return pd.DataFrame(pairs, columns=["c", "d"])

    common = [("a", "x")] * 300 + [("b", "y")] * 300
    train = labels([*common, *[("a", "y")] * 3, *[("b", "x")] * 5])
    test = labels([*common[:100], *[("a", "y")] * 12, *[("b", "x")] * 18])
    schema = Schema.infer(train)
    for extra, share in (([], 0), ([("a", "y")], 12 / 30), ([("a", "y"), ("b", "x")], 1)):
        trial = Trial(*map(schema.cast, (train, test, labels(common + extra))), schema)
        row = next(row for row in edge_coverage(trial) if row.group == "rare cells")
        assert (
            row.value == pytest.approx(share)
            and row.low <= share + 1e-9
            and share <= row.high + 1e-9
        )
    few = Trial(*map(schema.cast, (train, test.head(105), train)), schema)
    assert [row.note for row in edge_coverage(few)][-1].startswith("insufficient: 5 such rows")
