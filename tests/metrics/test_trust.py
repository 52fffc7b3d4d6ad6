"""Known truth: how often an interval holds it, and whether a planted fault is seen."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.metrics import Trial, bias, fidelity, privacy
from workbench.metrics.evaluate import evaluate, reference_table
from workbench.metrics.intervals import auc, auc_interval
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema

GROUPED = Schema(
    (
        Column("group", "categorical", "sensitive"),
        Column("y", "categorical", "target"),
        Column("x", "numeric"),
    )
).with_positive(pd.DataFrame({"group": ["g"], "y": ["yes"], "x": [0.0]}))


def grouped(n, seed, groups=20, slope=0.0, share=None):
    """Rows whose chance of "yes" rises by `slope` from the first group to the last."""
    rng = np.random.default_rng(seed)
    code = rng.choice(groups, n, p=share)
    chance = 0.5 + slope * (code / max(groups - 1, 1) - 0.5)
    y = np.where(rng.random(n) < chance, "yes", "no").astype(object)
    names = np.array([f"g{k:02d}" for k in range(groups)], dtype=object)
    return pd.DataFrame({"group": names[code], "y": y, "x": rng.normal(size=n).round(3)})


def heads(function, train, synthetic, schema=GROUPED):
    rows = function(Trial(train, train, synthetic, schema))
    return {row.metric: row for row in rows if not row.column and not row.group}


# The attacker's rate at few false alarms


def rate_held(repeats, n, gap=0.0):
    """How often the interval holds the expected rate at the threshold's nominal level."""
    from scipy.stats import norm

    allowed = (privacy.allowed_alarms(n) + 1) / (n + 1)
    truth = norm.sf(norm.isf(allowed) - gap)
    rng = np.random.default_rng([n, int(10 * gap)])
    held = 0
    for _ in range(repeats):
        members, others = rng.normal(gap, 1, n), rng.normal(0, 1, n)
        _, low, high = privacy.tpr_at_few_alarms(members, others)
        held += low <= truth <= high
    return held / repeats


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_the_rate_at_few_alarms_is_held_by_its_interval(gap):
    assert rate_held(120, 500, gap) >= 0.88


@pytest.mark.long
@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [300, 1000])
def test_coverage_of_the_rate_at_few_alarms(n, gap):
    assert 0.92 <= rate_held(1000, n, gap) <= 0.995


def test_allowed_alarms_keep_the_expected_rate_below_one_in_a_hundred():
    assert [privacy.allowed_alarms(n) for n in (30, 99, 199, 299, 999, 1000)] == [0, 0, 1, 2, 9, 9]


# AUC with few positives


def area_held(repeats, positives, gap=1.0):
    from scipy.stats import norm

    truth = norm.cdf(gap / np.sqrt(2))
    rng = np.random.default_rng([positives, int(10 * gap)])
    held = 0
    for _ in range(repeats):
        score = np.concatenate([rng.normal(gap, 1, positives), rng.normal(0, 1, 300)])
        positive = np.arange(positives + 300) < positives
        low, high = auc_interval(*auc(positive, score), positive)
        held += low <= truth <= high
    return held / repeats


@pytest.mark.parametrize("positives", [1, 3, 10, 30])
def test_an_area_of_few_positives_is_held_by_its_interval(positives):
    assert area_held(200, positives) >= 0.9


@pytest.mark.long
@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("positives", [2, 5, 10, 30, 60])
def test_coverage_of_areas(positives, gap):
    assert 0.93 <= area_held(2000, positives, gap) <= 0.985


# Bias amplification with many groups


def amplification_of_fresh_rows(repeats, n=2000, slope=0.0, change=0.0):
    values, held = [], 0
    for seed in range(repeats):
        train = grouped(n, [seed, 0], slope=slope)
        fresh = grouped(n, [seed, 1], slope=slope + change)
        row = heads(bias.bias_amp, train, fresh)["bias_amp"]
        values.append(row.value)
        held += row.low <= 0 <= row.high
    return float(np.mean(values)), held / repeats


def test_fresh_rows_without_any_association_read_no_dampening():
    mean, held = amplification_of_fresh_rows(40)
    assert abs(mean) < 0.012 and held >= 0.85


def test_a_true_amplification_is_still_read():
    mean, held = amplification_of_fresh_rows(15, slope=0.5, change=0.4)
    assert mean > 0.05 and held < 0.2


@pytest.mark.long
def test_coverage_of_bias_amplification():
    mean, held = amplification_of_fresh_rows(300)
    assert abs(mean) < 0.01 and held >= 0.9


# Representation


def test_the_surest_shift_is_named_and_not_the_largest():
    """Half of the rows fall to 46%; a group of 1% is unchanged."""
    before, after = [0.5, 0.49, 0.01], [0.46, 0.53, 0.01]
    named = []
    for seed in range(20):
        train = grouped(3500, [seed, 0], 3, share=before)
        synthetic = grouped(3500, [seed, 1], 3, share=after)
        named.append(heads(bias.representation, train, synthetic)["representation"].note)
    assert sum("g02" in note for note in named) <= 2


def test_a_vanished_group_is_the_surest_shift_and_an_invented_one_has_a_row():
    train = grouped(2000, 0, 3, share=[0.5, 0.45, 0.05])
    synthetic = train[train["group"] != "g02"].reset_index(drop=True)
    synthetic.loc[:20, "group"] = "nobody"
    rows = list(bias.representation(Trial(train, train, synthetic, GROUPED)))
    assert rows[0].note.startswith("group=g02") and "vanished: group=g02" in rows[0].note
    invented = [row for row in rows if row.note.startswith("invented")]
    assert len(invented) == 1 and invented[0].state == "insufficient"


# Near copies


def table(n, seed):
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(50, 12, n).round(2) for name in ("a", "b", "c", "d")}
    label = rng.choice(["x", "y"], n).astype(object)
    return pd.DataFrame(numbers | {"e": label, "f": rng.choice(["u", "v"], n).astype(object)})


NUMBERED = Schema(
    (
        *(Column(name, "numeric") for name in ("a", "b", "c", "d")),
        Column("e", "categorical"),
        Column("f", "categorical", "target"),
    )
)


def near(synthetic, train, test):
    return next(privacy.near_copies(Trial(train, test, synthetic, NUMBERED)))


@pytest.mark.parametrize("leaked", [105, 280])
def test_rows_moved_in_one_number_are_near_copies_and_fresh_rows_are_not(leaked):
    seen, passed = 0, 0
    for seed in range(10):
        train, test, fresh = table(3500, [seed, 0]), table(1500, [seed, 1]), table(3500, [seed, 2])
        passed += near(fresh, train, test).low <= 0
        hidden = fresh.copy()
        moved = train.head(leaked).assign(a=train["a"].head(leaked) + 0.01)
        hidden.iloc[:leaked] = moved.to_numpy()
        hidden = hidden.astype(fresh.dtypes)
        seen += near(hidden, train, test).low > 0
    assert seen == 10 and passed >= 9


# Coverage, whose balls overlap


def coverage_held(repeats, n=300, shift=0.0):
    """How often the interval holds what tables of this size read on average."""
    schema = Schema(tuple(Column(name, "numeric") for name in "ab"))
    rows = []
    for seed in range(repeats):
        rng = np.random.default_rng([seed, n])
        tables = [pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"]) for _ in range(3)]
        tables[2]["a"] += shift
        rows.append(next(fidelity.coverage(Trial(*tables, schema))))
    truth = np.mean([row.value for row in rows])
    return np.mean([row.low <= truth <= row.high for row in rows])


def test_coverage_is_held_by_its_interval():
    assert coverage_held(40) >= 0.87


@pytest.mark.long
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_coverage_of_coverage(shift):
    """Wilson's interval for independent rows held it in .74 to .86."""
    assert 0.92 <= coverage_held(300, 500, shift) <= 0.99


# Files and references


def test_a_path_is_read_by_the_rules_of_load_and_unknown_labels_are_named(tmp_path):
    rng = np.random.default_rng(0)
    codes = [f"{code:03d}" for code in range(20)] + ["NA"]
    raw = pd.DataFrame({"code": rng.choice(codes, 400), "x": rng.normal(size=400).round(3)})
    train, test = raw[:250].reset_index(drop=True), raw[250:].reset_index(drop=True)
    schema = Schema((Column("code", "categorical"), Column("x", "numeric")))
    data = Dataset("codes", schema.cast(train), schema.cast(test), schema)
    path = tmp_path / "synthetic.csv"
    train.to_csv(path, index=False)
    by_path = wb.evaluate(data, path, metrics=["marginals"])
    whole = by_path.headlines["value"].iloc[0]
    assert whole == wb.evaluate(data, data.train, metrics=["marginals"]).headlines["value"].iloc[0]
    assert not by_path.notes
    spoilt = wb.evaluate(data, pd.read_csv(path), metrics=["marginals"])
    assert any("'code'" in note and "train never had" in note for note in spoilt.notes)
    assert spoilt.headlines["value"].iloc[0] < whole


def test_floors_of_metrics_that_read_train_are_made_from_test():
    train, test = table(600, 0), table(200, 1)
    trial = Trial(train, test, train, NUMBERED)
    floor = reference_table("permuted test", trial)
    assert len(floor) == 600 and set(floor["a"]) <= set(test["a"])
    assert floor["a"].value_counts().max() <= 3 * test["a"].value_counts().max()
    rows = evaluate(Dataset("d", train, test, NUMBERED), table(600, 2), metrics=["trend_error"])
    head = rows.headlines.iloc[0]
    assert np.isfinite(head["floor"]) and np.isfinite(head["ceiling"])
