"""Privacy metrics against row-by-row equality, statsmodels, hand calculations and known leaks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from workbench.metrics import METRICS, Guarantee, Trial, attacks, privacy
from workbench.tables.schema import Column, Schema

KINDS = ("numeric", "integer", "categorical", "boolean", "datetime")
MIXED = Schema(tuple(Column(kind, kind) for kind in KINDS))


def mixed(n, rng, spread=1.0):
    """A table of every kind with missing values; a smaller spread means more equal rows."""
    table = pd.DataFrame(
        {
            "numeric": rng.normal(0, spread, n).round(2),
            "integer": rng.poisson(5 * spread, n),
            "categorical": rng.choice(list("abcd"), n),
            "boolean": rng.random(n) < 0.3,
            "datetime": (
                pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 30, n), unit="D")
            ),
        }
    ).astype(object)
    return MIXED.cast(table.mask(rng.random(table.shape) < 0.1))


def numbers(rows, schema=None):
    return pd.DataFrame(rows, columns=[f"x{j}" for j in range(np.shape(rows)[1])])


def plain(width):
    return Schema(tuple(Column(f"x{j}", "numeric") for j in range(width)))


def text(row):
    """A row as something that equals itself, missing values too."""
    return tuple(None if pd.isna(value) else value for value in row)


# Copies

cells = st.tuples(
    st.sampled_from([0.0, -0.0, 0.1, 0.1 + 2**-56, np.nan, 1e300]),
    st.sampled_from([0, 1, 2**53 + 1, 2**53, None]),
    st.sampled_from(["", "a", "missing", None]),
    st.sampled_from([True, False, None]),
    st.sampled_from(
        [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01 00:00:00.000000001"), None]
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(cells, min_size=1, max_size=12), st.lists(cells, min_size=1, max_size=12))
def test_copies_are_the_rows_that_python_calls_equal(rows, reference):
    tables = []
    for part in (rows, reference):
        columns = dict(zip(KINDS, zip(*part, strict=True), strict=True))
        frame = pd.DataFrame(
            {kind: pd.Series(values, dtype=object) for kind, values in columns.items()}
        )
        tables.append(MIXED.cast(frame))
    known = {text(row) for row in tables[1].itertuples(index=False)}
    assert privacy.is_copy(*tables).tolist() == [
        text(row) in known for row in tables[0].itertuples(index=False)
    ]


def test_wide_tables_do_not_overflow():
    rng = np.random.default_rng(0)
    train = numbers(rng.normal(size=(300, 80)))
    near = train.copy()
    near.iloc[::2, -1] += 1e-9
    assert privacy.is_copy(near, train).tolist() == [i % 2 == 1 for i in range(300)]


@pytest.mark.parametrize(
    "k1, n1, k2, n2",
    [(56, 70, 48, 80), (9, 10, 3, 10), (0, 20, 0, 10), (10, 10, 0, 20), (3, 4000, 1, 900)],
)
def test_newcombe_is_that_of_statsmodels(k1, n1, k2, n2):
    assert privacy.newcombe(k1, n1, k2, n2) == pytest.approx(
        confint_proportions_2indep(k1, n1, k2, n2, method="newcomb")
    )


def test_a_raw_copy_lights_up_and_test_coincidences_are_taken_off():
    rng = np.random.default_rng(0)
    train, test = mixed(2000, rng, 0.05), mixed(600, rng, 0.05)
    known = {text(row) for row in train.itertuples(index=False)}
    by_chance = np.mean([text(row) in known for row in test.itertuples(index=False)])
    assert 0.05 < by_chance < 0.6
    head, synthetic, chance = privacy.excess_copies(Trial(train, test, train, MIXED))
    assert head.value == pytest.approx(1 - by_chance) and head.low < head.value < head.high <= 1
    assert (synthetic.value, chance.value) == (
        1,
        by_chance,
    ) and chance.low < by_chance < chance.high


def test_fresh_rows_have_no_excess_copies():
    rng, hits, runs = np.random.default_rng(1), 0, 60
    for _ in range(runs):
        train, test, fresh = (mixed(n, rng, 0.05) for n in (400, 200, 300))
        row = next(privacy.excess_copies(Trial(train, test, fresh, MIXED)))
        hits += row.low <= 0 <= row.high
    assert hits / runs >= 0.9


def test_a_share_of_copies_is_read_as_that_share():
    rng = np.random.default_rng(2)
    train, test, fresh = (mixed(n, rng, 50) for n in (1000, 500, 1000))
    leaky = pd.concat([train.iloc[:70], fresh.iloc[:930]], ignore_index=True)
    row = next(privacy.excess_copies(Trial(train, test, leaky, MIXED)))
    assert row.value == pytest.approx(0.07, abs=0.003) and row.low > 0.05
    assert row.note.startswith("70 of 1,000 synthetic") or row.note.startswith(
        "71 of 1,000 synthetic"
    )


# Distance to the closest record


def test_closer_share_by_hand():
    # Distinct real rows: 0 in train only, 1 in test only, 2 three times in train and once in test.
    train, test = np.array([1, 0, 3]), np.array([0, 1, 1])
    value, low, high = privacy.closer_share(np.array([0, 0, 1, 2]), train, test)
    share = (1 + 1 + 0 + 0.75) / 4
    assert value == pytest.approx(share * 2 / (share * 2 + (1 - share) * 4))
    assert 0 <= low < value < high <= 1
    assert privacy.closer_share(np.array([0, 0]), train, test)[0] == 1
    assert privacy.closer_share(np.array([1]), train, test)[0] == 0


def test_a_copy_of_train_reads_one_and_a_copy_of_test_zero():
    rng = np.random.default_rng(0)
    train, test = mixed(900, rng, 5), mixed(300, rng, 5)
    (copy,), (holdout,) = (
        privacy.dcr_share(Trial(train, test, table, MIXED)) for table in (train, test)
    )
    assert copy.value > 0.99 and copy.low > 0.95
    assert holdout.value < 0.01


def test_nearest_rows_are_those_of_a_full_search():
    rng = np.random.default_rng(4)
    train, test, synthetic = (rng.normal(size=(n, 3)) for n in (200, 100, 150))
    (row,) = privacy.dcr_share(Trial(*map(numbers, (train, test, synthetic)), plain(3)))
    distance = [
        (((synthetic[:, None] - real) / np.vstack([train, test]).std(axis=0)) ** 2)
        .sum(axis=2)
        .min(axis=1)
        for real in (train, test)
    ]
    share = (distance[0] < distance[1]).mean()
    assert row.value == pytest.approx(share * 100 / (share * 100 + (1 - share) * 200))


@pytest.mark.parametrize("n_train, n_test", [(300, 300), (600, 150)])
@pytest.mark.parametrize("kind", ["points", "cells"])
def test_fresh_rows_read_a_half_and_the_interval_covers_it(n_train, n_test, kind):
    rng, values, hits, runs = np.random.default_rng(7), [], 0, 80
    for _ in range(runs):
        rows = [rng.normal(size=(n, 3)) for n in (n_train, n_test, 900)]
        tables = [numbers(np.round(part) if kind == "cells" else part) for part in rows]
        (row,) = privacy.dcr_share(Trial(*tables, plain(3)))
        values.append(row.value)
        hits += row.low <= 0.5 <= row.high
    assert np.mean(values) == pytest.approx(0.5, abs=4 * np.std(values) / np.sqrt(runs))
    assert 0.88 <= hits / runs <= 1


def test_leaks_raise_the_share_step_by_step():
    rng = np.random.default_rng(5)
    train, test, fresh = (rng.normal(size=(n, 4)) for n in (1000, 500, 1000))
    values = []
    for leaked in (0, 200, 500, 1000):
        rows = np.vstack([train[:leaked] + rng.normal(0, 0.01, (leaked, 4)), fresh[leaked:]])
        values += [
            row.value
            for row in privacy.dcr_share(Trial(*map(numbers, (train, test, rows)), plain(4)))
        ]
    assert values == sorted(values) and values[-1] > 0.98 and values[1] > values[0] + 0.05


def test_large_tables_are_subsampled_and_say_so(monkeypatch):
    monkeypatch.setattr(privacy, "MAX_SYNTHETIC", 100)
    monkeypatch.setattr(privacy, "MAX_CELLS", 1500)  # five columns of features: 300 real rows
    rng = np.random.default_rng(5)
    tables = [numbers(rng.normal(size=(n, 5))) for n in (400, 200, 500)]
    (row,) = privacy.dcr_share(Trial(*tables, plain(5)))
    assert row.note.startswith("100 of 500 synthetic rows") and row.low < 0.5 < row.high
    counts = [int(word) for word in row.note.split() if word.isdigit()][2:]
    assert sum(counts) == 300


# Membership


def test_an_attack_on_a_raw_copy_finds_every_member():
    rng = np.random.default_rng(0)
    train, test = mixed(900, rng, 5), mixed(600, rng, 5)
    area, found, *outliers, epsilon = privacy.membership(Trial(train, test, train, MIXED))
    assert (
        area.value > 0.99
        and found.value > 0.95
        and area.note.startswith("300 members, 300 non-members, 300 reference")
    )
    assert [(row.metric, row.group) for row in outliers] == [
        (m, "outliers") for m in ("membership_auc", "membership_tpr")
    ]
    assert epsilon.value == epsilon.low > 3 and "150 trials a side can prove 3.7" in epsilon.note
    assert "delta 1e-05" in epsilon.note
    loose = Trial(train, test, train, MIXED, guarantee=Guarantee(9.0, 0.1, "said so"))
    assert list(privacy.membership(loose))[-1].value < epsilon.value, (
        "a larger claimed delta forgives more"
    )


@pytest.mark.parametrize("kind", ["points", "cells"])
def test_an_attack_on_fresh_rows_is_a_coin_toss(kind):
    rng, areas, found, hits, proven, runs = np.random.default_rng(3), [], [], 0, 0, 80
    for _ in range(runs):
        rows = [rng.normal(size=(n, 3)) for n in (300, 400, 500)]
        tables = [numbers(np.round(part, 1) if kind == "cells" else part) for part in rows]
        area, rate, *_, epsilon = privacy.membership(Trial(*tables, plain(3)))
        areas.append(area.value)
        found.append(rate.value)
        hits += area.low <= 0.5 <= area.high
        proven += epsilon.value > 0
    assert proven / runs <= 0.05, "nothing leaks, and the bound holds with 95% confidence"
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / np.sqrt(runs))
    assert 0.88 <= hits / runs <= 1 and np.mean(found) < 0.02


def test_an_attack_gains_with_each_leak_and_needs_enough_rows():
    rng = np.random.default_rng(5)
    train, test, fresh = (rng.normal(size=(n, 4)) for n in (600, 600, 600))
    values = []
    for leaked in (0, 150, 400, 600):
        rows = np.vstack([train[:leaked] + rng.normal(0, 0.05, (leaked, 4)), fresh[leaked:]])
        values.append(
            next(privacy.membership(Trial(*map(numbers, (train, test, rows)), plain(4)))).value
        )
    assert values == sorted(values) and values[-1] > 0.9 and values[1] > values[0] + 0.05
    few = Trial(*map(numbers, (train, test[:40], fresh)), plain(4))
    assert all(
        row.note.startswith("insufficient: 20") and np.isnan(row.value)
        for row in privacy.membership(few)
    )


def test_outliers_can_be_betrayed_where_others_are_not():
    """The generator repeats the train rows far out, and draws the others afresh."""
    rng = np.random.default_rng(0)
    train, test, fresh = (rng.standard_t(3, size=(n, 4)) for n in (1000, 2000, 1000))
    far = np.linalg.norm(train, axis=1) > 6
    rows = list(
        privacy.membership(
            Trial(*map(numbers, (train, test, np.vstack([train[far], fresh]))), plain(4))
        )
    )
    overall, outliers = (
        next(r for r in rows if (r.metric, r.group) == ("membership_auc", g))
        for g in ("", "outliers")
    )
    assert overall.high < 0.6 < outliers.low
    assert outliers.note.endswith("non-members") and overall.note.startswith(
        "1,000 members, 1,000 non-members"
    )


def test_few_outliers_are_not_read():
    """Of 30 fresh ones the attack finds .030 at "1%" false alarms: no reading of the rule."""
    rng = np.random.default_rng(0)
    for n, others in ((30, True), (privacy.MIN_OUTLIERS, False)):
        draws = [
            privacy.tpr_at_few_alarms(rng.normal(size=n), rng.normal(size=n))[0] for _ in range(300)
        ]
        assert (np.mean(draws) > 0.02) == others
    tables = [numbers(rng.normal(size=(n, 3))) for n in (300, 600, 300)]
    rows = [row for row in privacy.membership(Trial(*tables, plain(3))) if row.group == "outliers"]
    assert [np.isnan(row.value) and "99 needed of each" in row.note for row in rows] == [True, True]


# Epsilon


@pytest.mark.parametrize("trials, cap", [(200, 4.0), (1000, 5.6)])
def test_a_faultless_attack_proves_no_more_than_its_trials_can(trials, cap):
    proven = privacy.empirical_epsilon(np.ones(trials), np.zeros(trials), 0.5)
    assert proven == pytest.approx(cap, abs=0.05)
    low = 0.025 ** (
        1 / trials
    )  # of a rate that was 1 in all trials, Clopper and Pearson's end in closed form
    assert proven == pytest.approx(np.log(low / (1 - low)))
    assert privacy.empirical_epsilon(np.ones(trials), np.zeros(trials), 0.5, delta=0.1) < proven
    assert (
        privacy.empirical_epsilon(np.ones(trials), np.zeros(trials), 0.5, confidence=0.99) < proven
    )


def test_either_kind_of_error_can_prove_a_budget():
    """An attack that never misses a member proves as much as one that never gives a false alarm."""
    few = np.repeat([1.0, 0.0], [100, 900])
    silent, eager = (
        privacy.empirical_epsilon(few, np.zeros(1000), 0.5),
        privacy.empirical_epsilon(np.ones(1000), 1 - few, 0.5),
    )
    assert 3 < silent == pytest.approx(eager)
    assert privacy.empirical_epsilon(np.zeros(1000), few, 0.5) == 0


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_the_bound_holds_for_randomised_response(epsilon):
    """Its budget is known: the truth with probability exp(epsilon) / (1 + exp(epsilon))."""
    rng, truthful, runs = np.random.default_rng(2), np.exp(epsilon) / (1 + np.exp(epsilon)), 200
    proven = [
        privacy.empirical_epsilon(*(rng.random((2, 2000)) < [[truthful], [1 - truthful]]), 0.5)
        for _ in range(runs)
    ]
    assert np.mean(np.array(proven) > epsilon) <= 0.07
    assert np.mean(proven) > 0.75 * epsilon


def test_best_threshold_separates():
    assert privacy.best_threshold(np.arange(100.0, 200.0), np.arange(100.0)) == 99.5


# Properties of all


FUNCTIONS = [
    privacy.excess_copies,
    privacy.near_copies,
    privacy.dcr_share,
    privacy.membership,
    attacks.attack_risk,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_readings_are_reproducible_and_blind_to_row_order(function):
    rng = np.random.default_rng(6)
    tables = [mixed(n, rng) for n in (300, 200, 250)]
    before = [table.copy() for table in tables]
    once = list(function(Trial(*tables, MIXED)))
    assert repr(once) == repr(list(function(Trial(*tables, MIXED))))
    for table, copy in zip(tables, before, strict=True):
        pd.testing.assert_frame_equal(table, copy)
    shuffled = [table.iloc[rng.permutation(len(table))].reset_index(drop=True) for table in tables]
    assert repr(once) == repr(list(function(Trial(*shuffled, MIXED))))


def test_empty_synthetic_tables_give_a_missing_value():
    rng = np.random.default_rng(6)
    train, test = mixed(90, rng), mixed(80, rng)
    for function in FUNCTIONS:
        assert np.isnan(next(function(Trial(train, test, train.iloc[:0], MIXED))).value)


@pytest.mark.parametrize("rows", [1, 300], ids=["one row", "equal rows"])
@pytest.mark.parametrize("values", [True, False], ids=["with values", "no values"])
def test_degenerate_tables_have_a_reading_or_a_reason(rows, values):
    rng = np.random.default_rng(6)
    train, test, one = mixed(300, rng), mixed(200, rng), mixed(1, rng)
    synthetic = one.iloc[np.zeros(rows, dtype=int)].reset_index(drop=True)
    synthetic = (
        synthetic
        if values
        else MIXED.cast(synthetic.astype(object).mask(np.ones(synthetic.shape, dtype=bool)))
    )
    for function in FUNCTIONS:
        found = list(function(Trial(train, test, synthetic, MIXED)))
        assert all(
            np.isfinite(row.value) or row.note.startswith(("insufficient", "not informative"))
            for row in found
        )
        assert found[0].metric != "membership_auc" or abs(found[0].value - 0.5) < 0.15


def test_values_near_the_end_of_floating_point_are_finite_readings():
    rng = np.random.default_rng(6)
    tables = [numbers(rng.normal(size=(100, 3))) for _ in range(3)]
    for table in tables[::2]:
        table.iloc[:3, 0] = [1e300, -1e300, 1e308]
    for function in FUNCTIONS:
        for row in function(Trial(*tables, plain(3))):
            assert np.isfinite(row.value) or row.note.startswith(
                ("insufficient", "not informative")
            ), row


def test_every_metric_is_registered():
    rng = np.random.default_rng(6)
    named = {
        row.metric
        for function in FUNCTIONS
        for row in function(Trial(*(mixed(99, rng) for _ in range(3)), MIXED))
    }
    measured = {
        name for name, metric in METRICS.items() if metric.family == "privacy" and metric.floor
    }
    elsewhere = {"memorised_texts", "authenticity", "replicated_uniques", "disco"}
    measured -= elsewhere  # of metrics/text.py, precision.py and disclosure.py
    private = {name for name in METRICS if METRICS[name].family == "privacy"}
    assert named == measured and private - elsewhere == {*measured, "epsilon"}
    assert all(
        METRICS[name].load() in FUNCTIONS and METRICS[name].floor == "copy" for name in named
    )


def test_floor_and_ceiling_are_a_copy_and_fresh_real_rows():
    """A metric that reads train and test must not be handed test as its fresh sample."""
    from workbench import Dataset, evaluate

    rng = np.random.default_rng(8)
    data = Dataset("mixed", mixed(600, rng, 5), mixed(400, rng, 5), MIXED)
    names = [name for name, metric in METRICS.items() if metric.family == "privacy"]
    rows = evaluate(data, mixed(500, rng, 5), metrics=names).rows
    heads = rows[rows["group"] == ""].set_index("metric")
    assert heads.loc["dcr_share", "ceiling"] == pytest.approx(0.5, abs=0.1)
    assert heads.loc["membership_auc", "ceiling"] == pytest.approx(0.5, abs=0.12)
    assert heads.loc["excess_copies", "ceiling"] == 0
    assert (heads.loc[["dcr_share", "membership_auc", "excess_copies"], "floor"] > 0.9).all()
