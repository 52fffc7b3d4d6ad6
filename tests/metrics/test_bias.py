"""Bias metrics against known truths: a simulator with dialled bias, hand calculations, scipy,
statsmodels and fairlearn.
"""

import os
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association
from statsmodels.stats.contingency_tables import Table2x2

from workbench.metrics import METRICS, Trial, bias, fairness
from workbench.metrics.evaluate import evaluate
from workbench.metrics.groups import Resamples
from workbench.metrics.models import predictions
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema

FUNCTIONS = [
    bias.bias_amp,
    bias.bias_amp_multi,
    bias.bias_amp_zhao,
    bias.representation,
    bias.cramers_v_shift,
    fairness.model_bias_amp,
    fairness.demographic_parity_shift,
    fairness.equalized_odds_shift,
    fairness.worst_group,
]
LONG = os.environ.get("WORKBENCH_LONG") == "1"
SCHEMA = Schema(
    (Column("group", "categorical", "sensitive"), Column("y", "boolean", "target")), positive="True"
)


def read(function, trial):
    """The rows of one metric function by (metric, column, group)."""
    rows = list(function(trial))
    found = {(row.metric, row.column, row.group): row for row in rows}
    assert len(found) == len(rows), "two rows have one name"
    return found


def population(n, rng, rates, shares=(0.6, 0.3, 0.1)):
    """n rows of groups a, b, c with P(y | group) as given."""
    group = rng.choice(len(shares), n, p=shares)
    y = rng.random(n) < np.array(rates)[group]
    return SCHEMA.cast(pd.DataFrame({"group": np.array(list("abc"))[group], "y": y}))


def from_counts(counts, schema=SCHEMA, names="abc", labels=(False, True)):
    """A table with counts[i][j] rows of group names[i] and label labels[j]."""
    cells = [
        (names[i], labels[j])
        for i, row in enumerate(counts)
        for j, k in enumerate(row)
        for _ in range(k)
    ]
    return schema.cast(pd.DataFrame(cells, columns=["group", "y"]))


def trial(train, synthetic, test=None, schema=SCHEMA, seed=0):
    return Trial(train, train if test is None else test, synthetic, schema, seed)


# The generator's own amplification


def test_bias_amp_of_a_two_by_two_table_by_hand():
    # Train: P(y|a) = 0.2, P(y|b) = 0.6, so y goes with b. Synthetic: 0.1 and 0.7, both 0.1 further
    # apart.
    train, synthetic = from_counts([[80, 20], [40, 60]]), from_counts([[90, 10], [60, 140]])
    rows = read(bias.bias_amp, trial(train, synthetic))
    for key in [
        ("", ""),
        ("group", ""),
        ("group", "group=a"),
        ("group", "group=a, y=True"),
        ("group", "group=b, y=False"),
    ]:
        assert rows["bias_amp", *key].value == pytest.approx(0.1)
    assert rows["bias_amp", "group", "group=a, y=True"].note == "train 0.2000, synthetic 0.1000"
    # T -> A: P(a|False) 80/120 -> 90/150, P(a|True) 20/80 -> 10/150; a goes with False.
    given_false, given_true = 90 / 150 - 80 / 120, -(10 / 150 - 20 / 80)
    assert rows["bias_amp_reverse", "group", "y=False"].value == pytest.approx(given_false)
    assert rows["bias_amp_reverse", "", ""].value == pytest.approx((given_false + given_true) / 2)


DIALS = [(0.05, -1.5, 0.2), (0.2, -1.5, 0.03), (0.2, 0.0, 0.2), (0.05, 0.7, 0.03), (0.2, 0.7, 0.2)]
MORE_DIALS = sorted({*product((0.05, 0.2), (-1.5, 0.0, 0.7), (0.03, 0.2))} - {*DIALS})


@pytest.mark.parametrize(
    ("strength", "gain", "smallest"),
    [*DIALS, *(pytest.param(*dials, marks=pytest.mark.long) for dials in MORE_DIALS)],
)
def test_dialled_bias_is_read_within_a_hundredth(strength, gain, smallest):
    """Train rates are 0.4 +- strength; synthetic ones 0.4 +- (1 + gain) strength: the amplification
    is gain * strength.
    """
    rng, direction = np.random.default_rng(5), np.array([1, -1, -1])
    shares = (0.5, 0.5 - smallest, smallest)
    tables = [
        population(150_000, rng, 0.4 + direction * strength * g, shares) for g in (1, 1 + gain)
    ]
    row = read(bias.bias_amp, trial(*tables))["bias_amp", "", ""]
    assert abs(row.value - gain * strength) < 0.01
    assert row.low < row.value < row.high < row.low + 0.02


SHARES, REAL, SYNTHETIC = (
    np.array((0.6, 0.3, 0.1)),
    np.array((0.5, 0.3, 0.35)),
    np.array((0.6, 0.2, 0.3)),
)


def by_label(rates, shares=SHARES):
    """P(group | y) of a population, shape (2 labels, groups)."""
    joint = shares * np.array([1 - np.array(rates), rates])
    return joint / joint.sum(axis=1, keepdims=True)


def own_share(real, synthetic):
    """Zhao's reading of two populations."""
    return float(((by_label(synthetic) - by_label(real)) * (by_label(real) > 1 / 3)).sum() / 2)


def v(rates):
    """Cramer's V of a population: phi, with two labels."""
    p = SHARES @ rates
    return np.sqrt(SHARES @ (rates - p) ** 2 / (p * (1 - p)))


TRUTHS = {
    "bias_amp": np.mean([0.1, 0.1, 0.05]),
    "bias_amp_reverse": float(
        (np.sign(by_label(REAL) - SHARES) * (by_label(SYNTHETIC) - by_label(REAL))).mean()
    ),
    "bias_amp_multi": np.mean([0.1, 0.1, 0.05]),
    "bias_amp_zhao": own_share(REAL, SYNTHETIC),
    "cramers_v_shift": v(SYNTHETIC) - v(REAL),
}


@cache
def populations(n, runs):
    """Real and synthetic rows whose truths are known; drawn once, and nobody may change them."""
    rng = np.random.default_rng([11, n])
    return [(population(n, rng, REAL), population(n, rng, SYNTHETIC)) for _ in range(runs)]


@pytest.mark.parametrize("metric", TRUTHS)
def test_readings_are_within_a_hundredth_of_the_truth_and_intervals_cover_it(metric):
    hits, runs = 0, 400 if LONG else 40
    function = METRICS[metric].load()

    def read_one(real, synthetic):
        return next(r for r in function(trial(real, synthetic)) if r.metric == metric)

    (large,) = populations(300_000, 1)
    assert read_one(*large).value == pytest.approx(TRUTHS[metric], abs=0.01)
    for small in populations(2500, runs):
        row = read_one(*small)
        hits += row.low <= TRUTHS[metric] <= row.high
    assert (0.90 if LONG else 0.85) <= hits / runs <= (0.98 if LONG else 1)


def test_interval_of_the_representation_covers_the_truth():
    rng, hits, runs = np.random.default_rng(12), 0, 400 if LONG else 40
    synthetic = np.array((0.6, 0.35, 0.05))
    truth = np.log(synthetic / (1 - synthetic)) - np.log(SHARES / (1 - SHARES))
    for _ in range(runs):
        rows = read(
            bias.representation,
            trial(population(1500, rng, REAL), population(1500, rng, REAL, synthetic)),
        )
        hits += (
            np.array([rows["representation", "group", f"group={g}"].low for g in "abc"]) <= truth
        )
        hits -= (
            np.array([rows["representation", "group", f"group={g}"].high for g in "abc"]) < truth
        )
    assert ((0.90 if LONG else 0.82) <= hits / runs).all() and (
        hits / runs <= (0.98 if LONG else 1)
    ).all()


def test_zhaos_amplification_by_hand_and_its_flaw():
    # P(a|False) = 80/120 and P(b|True) = 60/80 are above one half; after: 90/150 and 140/150.
    train, synthetic = from_counts([[80, 20], [40, 60]]), from_counts([[90, 10], [60, 140]])
    rows = read(bias.bias_amp_zhao, trial(train, synthetic))
    truth = ((90 / 150 - 80 / 120) + (140 / 150 - 60 / 80)) / 2
    assert (
        rows["bias_amp_zhao", "", ""].value
        == rows["bias_amp_zhao", "group", ""].value
        == pytest.approx(truth)
    )
    # Three times as many of group b, each group's labels unchanged: nothing is amplified, yet it
    # moves.
    more = trial(train, from_counts([[80, 20], [120, 180]]))
    assert next(bias.bias_amp(more)).value == 0
    assert next(bias.bias_amp_zhao(more)).value == pytest.approx(
        ((80 / 200 - 80 / 120) + (180 / 200 - 60 / 80)) / 2
    )


def test_multi_attribute_amplification_does_not_cancel():
    # Group a is amplified by 0.1 and group b weakened by 0.1, for both labels.
    train, synthetic = from_counts([[80, 20], [40, 60]]), from_counts([[90, 10], [50, 50]])
    assert next(bias.bias_amp(trial(train, synthetic))).value == pytest.approx(0, abs=1e-12)
    rows = read(bias.bias_amp_multi, trial(train, synthetic))
    assert rows["bias_amp_multi", "", ""].value == pytest.approx(0.1)
    assert rows["bias_amp_multi", "", "variance over the sets"].value == pytest.approx(0.01)
    assert rows["bias_amp_multi", "", ""].note == "4 sets"


def test_multi_attribute_amplification_counts_intersections():
    schema = Schema(
        (
            *(Column(name, "boolean", "sensitive") for name in "ab"),
            Column("y", "boolean", "target"),
        ),
        "True",
    )

    def table(rates):  # 100 rows a cell, shares of y by cell
        cells = [
            (a, b, i < 100 * rates[2 * a + b]) for a in (0, 1) for b in (0, 1) for i in range(100)
        ]
        return schema.cast(pd.DataFrame(cells, columns=["a", "b", "y"]))

    # Each column on its own stays as it was, one half; each of the four intersections moves by 0.3.
    train, synthetic = table([0.6, 0.4, 0.4, 0.6]), table([0.9, 0.1, 0.1, 0.9])
    rows = read(bias.bias_amp_multi, trial(train, synthetic, schema=schema))
    assert rows["bias_amp_multi", "a", ""].value == 0
    assert rows["bias_amp_multi", "a x b", ""].value == pytest.approx(0.3)
    assert rows["bias_amp_multi", "", ""].value == pytest.approx(
        0.15
    )  # 8 sets of one column, 8 of two
    assert rows["bias_amp_multi", "", "variance over the sets"].value == pytest.approx(0.15**2)
    few = read(
        bias.bias_amp_multi,
        trial(train, synthetic.iloc[:310].reset_index(drop=True), schema=schema),
    )
    assert few["bias_amp_multi", "", ""].note == "14 sets, without 1 small ones"


def test_a_fresh_real_sample_reads_about_zero_and_train_itself_reads_zero():
    rng = np.random.default_rng(3)
    train, fresh = (population(10_000, rng, (0.8, 0.3, 0.2)) for _ in range(2))
    for function in FUNCTIONS:
        for row in function(trial(train, fresh, fresh)):
            assert abs(row.value) < (0.1 if row.metric == "representation" else 0.05), row
        for row in function(trial(train, train, fresh)):
            assert row.value == pytest.approx(0, abs=1e-12), row


def test_without_association_in_synthetic_the_whole_bias_is_taken_back():
    train, synthetic = from_counts([[80, 20], [40, 60]]), from_counts([[60, 40], [60, 40]])
    rows = read(bias.bias_amp, trial(train, synthetic))
    assert rows["bias_amp", "", ""].value == pytest.approx(-0.2)


def test_multiclass_targets_average_over_all_labels():
    schema = Schema(
        (Column("group", "categorical", "sensitive"), Column("y", "categorical", "target")),
        positive="z",
    )
    train = from_counts([[50, 30, 20], [20, 30, 50]], schema, labels="xyz")
    synthetic = from_counts([[60, 30, 10], [20, 50, 30]], schema, labels="xyz")
    rows = read(bias.bias_amp, trial(train, synthetic, schema=schema))
    # y is independent of the group in train, so its sign, and its part, are 0.
    assert rows["bias_amp", "group", "group=a"].value == pytest.approx((0.1 + 0 + 0.1) / 3)
    assert rows["bias_amp", "group", "group=b"].value == pytest.approx((0 + 0 - 0.2) / 3)
    assert rows["bias_amp", "group", "group=b, y=y"].value == 0


def test_numbers_are_cut_at_train_quantiles():
    schema = Schema((Column("group", "numeric", "sensitive"), Column("y", "numeric", "target")))
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 60, 4000)
    train = pd.DataFrame({"group": age, "y": age + rng.normal(0, 20, 4000)})
    rows = read(bias.bias_amp, trial(train, train.assign(y=age), schema=schema))
    groups = {
        group for metric, _, group in rows if metric == "bias_amp" and group and "y=" not in group
    }
    assert len(groups) == 4
    cut = train["y"].quantile(0.5, interpolation="lower")
    quarter = np.searchsorted(age[np.argsort(age)][[1000, 2000, 3000]], age, side="right")
    by_hand = [
        (age[quarter == q] >= cut).mean() - (train["y"][quarter == q] >= cut).mean()
        for q in range(4)
    ]
    assert rows["bias_amp", "", ""].value == pytest.approx(
        np.mean(np.array([-1, -1, 1, 1]) * by_hand), abs=0.003
    )
    assert METRICS["equalized_odds_shift"].lacks(schema) == "the target holds numbers"


def test_missing_values_are_a_group_of_their_own():
    train, synthetic = (
        from_counts([[80, 20], [40, 60], [20, 80]]),
        from_counts([[80, 20], [40, 60], [60, 40]]),
    )
    for table in (train, synthetic):
        table.loc[table["group"] == "c", "group"] = np.nan
    rows = read(bias.bias_amp, trial(train, synthetic))
    assert rows["bias_amp", "group", "group=missing, y=True"].value == pytest.approx(-0.4)
    assert ("representation", "group", "group=missing") in read(
        bias.representation, trial(train, synthetic)
    )


def test_small_groups_are_named_and_left_out():
    train, synthetic = (
        from_counts([[80, 20], [40, 60], [10, 5]]),
        from_counts([[90, 10], [60, 140], [0, 40]]),
    )
    rows = read(bias.bias_amp, trial(train, synthetic))
    assert np.isnan(rows["bias_amp", "group", "group=c"].value)
    assert rows["bias_amp", "group", "group=c"].note == "insufficient: 15 rows, 30 needed"
    assert rows["bias_amp", "group", ""].note == "without 1 small groups"
    # y still goes with b and a with not y, so the reading is that of the two groups left.
    assert rows["bias_amp", "", ""].value == pytest.approx(0.1)
    alone = read(bias.bias_amp, trial(train, synthetic.iloc[:20].reset_index(drop=True)))
    assert (
        np.isnan(alone["bias_amp", "", ""].value)
        and "insufficient" in alone["bias_amp", "", ""].note
    )


@pytest.mark.parametrize("counts", [[[60, 60]], [[60, 0], [60, 0]]], ids=["one group", "one label"])
def test_one_level_is_no_bias_to_read(counts):
    train, few = from_counts(counts), from_counts([[30, 30]])
    for function in FUNCTIONS:
        head = next(function(trial(train, few, train)))
        if len(counts) == 1 or function not in (
            bias.representation,
            fairness.demographic_parity_shift,
        ):
            assert np.isnan(head.value) and "insufficient" in head.note, head
        if len(counts) == 2 and function is fairness.demographic_parity_shift:
            assert head.value == 0 and "the model trained on train predicts one label" in head.note


def test_intersections_see_what_single_columns_do_not():
    schema = Schema(
        (
            *(Column(name, "boolean", "sensitive") for name in "ab"),
            Column("y", "boolean", "target"),
        ),
        "True",
    )
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 8000)) < 0.5
    same = a == b
    train = schema.cast(
        pd.DataFrame({"a": a, "b": b, "y": rng.random(8000) < np.where(same, 0.6, 0.4)})
    )
    synthetic = schema.cast(
        pd.DataFrame({"a": a, "b": b, "y": rng.random(8000) < np.where(same, 0.9, 0.1)})
    )
    rows = read(bias.bias_amp, trial(train, synthetic, schema=schema))
    assert abs(rows["bias_amp", "", ""].value) < 0.03
    assert rows["bias_amp", "a x b", ""].value == pytest.approx(0.3, abs=0.03)
    assert rows["bias_amp", "a x b", "a=True, b=False"].value == pytest.approx(0.3, abs=0.05)
    mean = np.mean([rows["bias_amp", name, ""].value for name in "ab"])
    assert rows["bias_amp", "", ""].value == pytest.approx(mean)


def test_a_column_of_ten_thousand_labels_stays_readable():
    schema = Schema(
        (Column("group", "categorical", "sensitive"), Column("y", "boolean", "target")),
        positive="True",
    )
    rng = np.random.default_rng(0)
    names = np.where(
        rng.random(20_000) < 0.5, "common", rng.integers(0, 10_000, 20_000).astype(str)
    )
    table = schema.cast(pd.DataFrame({"group": names, "y": rng.random(20_000) < 0.5}))
    rows = read(bias.bias_amp, trial(table, table))
    assert len(rows) < 200 and ("bias_amp", "group", "group=(rare)") in rows


# Representation and association


def test_representation_is_the_odds_ratio_of_statsmodels():
    train, synthetic = (
        from_counts([[80, 20], [40, 60], [50, 50]]),
        from_counts([[20, 10], [60, 140], [30, 40]]),
    )
    rows = read(bias.representation, trial(train, synthetic))
    table = Table2x2(np.array([[30, 270], [100, 200]]) + 0.5)
    row = rows["representation", "group", "group=a"]
    assert row.value == pytest.approx(table.log_oddsratio)
    assert (row.low, row.high) == pytest.approx(table.log_oddsratio_confint())
    # Group a moved furthest, group b most surely: the likelihood ratio of its counts is larger.
    head, surest = rows["representation", "", ""], rows["representation", "group", "group=b"]
    assert abs(row.value) > abs(surest.value)
    assert head.value == surest.value > 0 and head.note == "group=b"
    assert head.low < surest.low and head.high > surest.high, (
        "the pick of three groups needs a wider interval"
    )


def test_a_vanished_group_is_named_with_its_worst_reading():
    train, synthetic = from_counts([[500, 420], [40, 30], [5, 5]]), from_counts([[500, 500]])
    rows = read(bias.representation, trial(train, synthetic))
    head, gone = rows["representation", "", ""], rows["representation", "group", "group=b"]
    assert gone.note == "vanished: 70 train rows, none synthetic"
    assert gone.value == pytest.approx(np.log(0.5 / 1000.5) - np.log(70.5 / 930.5))
    assert abs(head.value) == max(
        abs(gone.value), abs(rows["representation", "group", "group=a"].value)
    )
    assert head.note.endswith("vanished: group=b, group=c")


def test_representation_needs_no_target():
    schema = Schema((Column("group", "categorical", "sensitive"), Column("x", "numeric")))
    train = pd.DataFrame({"group": ["a"] * 50 + ["b"] * 50, "x": 0.0})
    assert (
        read(bias.representation, trial(train, train, schema=schema))[
            "representation", "", ""
        ].value
        == 0
    )
    for name, metric in METRICS.items():
        if metric.family == "bias" and name not in ("representation", "vanished_groups"):
            assert metric.lacks(schema) == "no target column declared", name


def test_cramers_v_is_scipys_with_bergsmas_correction():
    rng = np.random.default_rng(1)
    tables = rng.integers(1, 60, (20, 4, 3))
    for table in tables:
        n, phi2 = table.sum(), association(table, method="cramer") ** 2 * 2
        phi2 = max(0, phi2 - 3 * 2 / (n - 1))
        assert bias.cramers_v(table) == pytest.approx(np.sqrt(phi2 / (3 - 2**2 / (n - 1) - 1)))
    assert bias.cramers_v(tables) == pytest.approx(
        np.array([bias.cramers_v(table) for table in tables])
    )
    # Without the correction, independent columns of 200 rows would read 0.12 on average.
    independent = rng.multinomial(200, np.full(12, 1 / 12), size=500).reshape(-1, 4, 3)
    assert bias.cramers_v(independent).mean() < 0.05
    assert bias.cramers_v(np.diag([30, 40, 50])) == pytest.approx(1)
    assert bias.cramers_v(np.array([[10, 20, 0], [0, 0, 0]])) == 0, (
        "one level says nothing about another column"
    )


def test_change_in_v_names_the_worst_column():
    train, synthetic = from_counts([[80, 20], [40, 60]]), from_counts([[60, 40], [60, 40]])
    rows = read(bias.cramers_v_shift, trial(train, synthetic))
    before = bias.cramers_v(np.array([[80, 20], [40, 60]]))
    assert rows["cramers_v_shift", "", ""].value == pytest.approx(-before)
    assert rows["cramers_v_shift", "", ""].note == f"group: train {before:.4f}, synthetic 0.0000"


# Models


@pytest.fixture(scope="module")
def lending():
    """Train, test and a synthetic table that ties approval to the group twice as closely."""
    schema = Schema(
        (
            Column("income", "numeric"),
            Column("group", "categorical", "sensitive"),
            Column("y", "boolean", "target"),
        ),
        "True",
    )

    def draw(n, rng, gap):
        group = rng.choice(list("ab"), n, p=[0.7, 0.3])
        income = rng.normal(0, 1, n)
        y = rng.random(n) < 1 / (1 + np.exp(-income - gap * np.where(group == "a", 1, -1)))
        return schema.cast(pd.DataFrame({"income": income, "group": group, "y": y}))

    rng = np.random.default_rng(0)
    return Trial(draw(2000, rng, 0.5), draw(1000, rng, 0.5), draw(2000, rng, 1.5), schema)


@pytest.fixture(scope="module")
def arms(lending):
    """Predictions on test of the models trained on train and on synthetic, bool."""
    tables = (lending.train, lending.synthetic)
    return [
        predictions(t, lending.test, lending.schema, "logistic").idxmax(axis=1).to_numpy() == "True"
        for t in tables
    ]


def test_model_bias_amp_by_hand(lending, arms):
    rows = read(fairness.model_bias_amp, lending)
    is_a = (lending.test["group"] == "a").to_numpy()
    gap = [arm[is_a].mean() - arm[~is_a].mean() for arm in arms]
    head = rows["model_bias_amp", "", ""]
    # With two groups and two labels, the mean of the signed changes is half the change of the gap.
    assert head.value == pytest.approx((gap[1] - gap[0]) / 2)
    assert 0 < head.low < head.value < head.high
    y = lending.test["y"].to_numpy(dtype=bool)
    real_gap = y[is_a].mean() - y[~is_a].mean()
    levels = [(g - real_gap) / 2 for g in gap]
    assert rows[
        "model_bias_amp", "group", ""
    ].note == "trained on train {:.4f}, trained on synthetic {:.4f}".format(*levels)


def test_demographic_parity_by_hand(lending, arms):
    rows = read(fairness.demographic_parity_shift, lending)
    is_a = (lending.test["group"] == "a").to_numpy()
    gap = [abs(arm[is_a].mean() - arm[~is_a].mean()) for arm in arms]
    row = rows["demographic_parity_shift", "group", ""]
    assert row.value == pytest.approx(gap[1] - gap[0]) and 0 < row.low < row.value < row.high
    assert row.note == f"trained on train {gap[0]:.4f}, trained on synthetic {gap[1]:.4f}"
    change = arms[1][is_a].mean() - arms[0][is_a].mean()
    assert rows[
        "demographic_parity_shift", "group", "group=a, positive rate"
    ].value == pytest.approx(change)


def test_equalized_odds_by_hand(lending, arms):
    rows = read(fairness.equalized_odds_shift, lending)
    is_a, y = (lending.test["group"] == "a").to_numpy(), lending.test["y"].to_numpy(dtype=bool)
    rate = [
        [[arm[g & (y == t)].mean() for t in (False, True)] for g in (is_a, ~is_a)] for arm in arms
    ]
    odds = [max(abs(r[0][t] - r[1][t]) for t in (0, 1)) for r in rate]
    row = rows["equalized_odds_shift", "group", ""]
    assert row.value == pytest.approx(odds[1] - odds[0]) and row.low < row.value < row.high
    for name, t in (("false", 0), ("true", 1)):
        reading = rows["equalized_odds_shift", "group", f"group=b, {name} positive rate"]
        assert reading.value == pytest.approx(rate[1][1][t] - rate[0][1][t])


def test_worst_group_by_hand(lending):
    """sklearn's AUC of either model within each group, and DeLong's interval of their difference
    against a bootstrap.
    """
    from sklearn.metrics import roc_auc_score

    rows = read(fairness.worst_group, lending)
    tables = (lending.train, lending.synthetic)
    scores = [
        predictions(t, lending.test, lending.schema, "boosting")["True"].to_numpy() for t in tables
    ]
    y, group = lending.test["y"].to_numpy(dtype=bool), lending.test["group"].to_numpy()
    lost = {}
    for g in "ab":
        of = np.flatnonzero(group == g)
        lost[g] = roc_auc_score(y[of], scores[0][of]) - roc_auc_score(y[of], scores[1][of])
        row = rows["worst_group", "group", f"group={g}"]
        assert row.value == pytest.approx(lost[g])
        draws = [np.random.default_rng(k).choice(of, len(of)) for k in range(150)]
        spread = np.std(
            [roc_auc_score(y[d], scores[0][d]) - roc_auc_score(y[d], scores[1][d]) for d in draws]
        )
        assert (row.high - row.low) / 2 == pytest.approx(1.96 * spread, rel=0.2)
    head, worst = rows["worst_group", "", ""], max(lost, key=lost.get)
    assert head.value == pytest.approx(lost[worst]) and head.note.startswith(
        f"group={worst}: trained on train"
    )
    assert head.low < rows["worst_group", "group", f"group={worst}"].low


def test_the_group_that_loses_its_signal_is_the_worst(lending):
    noise, rng = lending.synthetic.copy(), np.random.default_rng(0)
    of = (noise["group"] == "b").to_numpy()
    noise.loc[of, "y"] = rng.permutation(noise.loc[of, "y"])
    rows = read(fairness.worst_group, Trial(lending.train, lending.test, noise, lending.schema))
    assert (
        rows["worst_group", "", ""].note.startswith("group=b")
        and rows["worst_group", "", ""].low > 0.05
    )
    assert rows["worst_group", "group", "group=a"].value < rows["worst_group", "", ""].value - 0.1
    numbers = lending.schema.with_roles(target="income", sensitive=["group"])
    assert METRICS["worst_group"].lacks(numbers) == "the target holds numbers"


DEGENERATE = {
    "one row": lambda table: table.iloc[:1],
    "equal rows": lambda table: table.iloc[np.zeros(len(table), dtype=int)].reset_index(drop=True),
    "a vanished group": lambda table: table[table["group"] == "a"].reset_index(drop=True),
    "a vanished class": lambda table: table[table["y"].astype(bool)].reset_index(drop=True),
    "no values": lambda table: table.mask(np.ones(table.shape, dtype=bool)),
    "no group known": lambda table: table.assign(
        group=pd.Series(np.nan, index=table.index, dtype=object)
    ),
}


@pytest.mark.parametrize("change", DEGENERATE)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_degenerate_tables_have_a_reading_or_a_reason(function, change, lending):
    degenerate = lending.schema.cast(DEGENERATE[change](lending.synthetic))
    rows = list(function(Trial(lending.train, lending.test, degenerate, lending.schema)))
    assert rows and all(
        np.isfinite(row.value) or row.note.startswith("insufficient") for row in rows
    )
    if change in ("equal rows", "a vanished class") and function is fairness.worst_group:
        assert rows[0].value > 0.1, "a model that knows one class ranks nobody: the worst reading"


def test_resampled_rates_start_from_fairlearns(lending, arms):
    """The interval's own arithmetic and fairlearn's agree on the observed table."""
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    y, group = (
        lending.test["y"].to_numpy(dtype=int),
        (lending.test["group"] == "b").to_numpy(dtype=int),
    )
    for arm in arms:
        counts = Resamples(np.column_stack([group, y, arm.astype(int)]))
        for columns, rates, fairlearn in (
            ((0, 2), 1, demographic_parity_difference),
            ((0, 1, 2), 2, equalized_odds_difference),
        ):
            table = counts.table(*columns, sizes=[2, 2, 2])[0].reshape(2, rates, 2)
            share = table[..., 1] / table.sum(axis=-1)
            assert np.ptp(share, axis=0).max() == pytest.approx(
                fairlearn(y, arm, sensitive_features=group)
            )


def test_groups_with_too_few_cases_are_not_judged(lending):
    few = lending.test.copy()
    few.loc[few.index[few["group"] == "b"][40:], "group"] = "a"
    small = Trial(lending.train, few, lending.synthetic, lending.schema)
    assert np.isfinite(next(fairness.demographic_parity_shift(small)).value)
    rows = read(fairness.equalized_odds_shift, small)
    head = rows["equalized_odds_shift", "", ""]
    assert (
        np.isnan(head.value)
        and "fewer than two groups with 30 positives and 30 negatives" in head.note
    )
    assert rows["equalized_odds_shift", "group", "group=b"].note.startswith("insufficient")


# Properties of all


def test_every_metric_is_registered_and_says_why_it_is_silent():
    schema = SCHEMA.with_roles(target="y").with_positive(from_counts([[5, 5]]))
    table = from_counts([[40, 40], [40, 40]])
    names = [name for name, metric in METRICS.items() if metric.family == "bias"]
    rows = evaluate(Dataset("none", table, table, schema), table, metrics=names).rows
    assert list(rows["metric"]) == names and rows["value"].isna().all()
    assert set(rows["state"]) == {"not-applicable"}
    assert set(rows["note"]) == {"not applicable: no sensitive column declared"}
    for name in names:
        assert METRICS[name].load() in FUNCTIONS


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_readings_are_reproducible_and_blind_to_row_order(function, lending):
    once, again = list(function(lending)), list(function(lending))
    assert once == again
    state = np.random.get_state()[1].copy()
    order = np.random.default_rng(1).permutation(len(lending.synthetic))
    shuffled = Trial(
        lending.train,
        lending.test,
        lending.synthetic.iloc[order].reset_index(drop=True),
        lending.schema,
    )
    if function in (
        bias.bias_amp,
        bias.representation,
        bias.cramers_v_shift,
    ):  # boosting sums in row order
        assert list(function(shuffled)) == once
    assert (np.random.get_state()[1] == state).all()
