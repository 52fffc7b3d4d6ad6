"""Statistics across cells against hand calculations, published examples, and simulation."""

import io

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from workbench.report.plots import critical_difference
from workbench.report.significance import (
    COMPLETE,
    FAILED_LAST,
    across,
    bayesian_signed_rank,
    compare,
    corrected_interval,
    holm,
    per_cell,
    power,
    signed_rank_p,
    signs,
    variance_components,
)

# AUC of C4.5 and its three variants on 14 datasets: Demsar 2006 (JMLR 7:1-30), table 6.
DEMSAR = np.loadtxt(
    io.StringIO("""
        .763 .768  .771 .798
        .599 .591  .590 .569
        .954 .971  .968 .967
        .628 .661  .654 .657
        .882 .888  .886 .898
        .936 .931  .916 .931
        .661 .668  .609 .685
        .583 .583  .563 .625
        .775 .838  .866 .875
        1.0  1.0   1.0  1.0
        .940 .962  .965 .962
        .619 .666  .614 .669
        .972 .981 .9751 .975
        .957 .978  .946 .970
        """)
)
WIDE = pd.DataFrame(DEMSAR, columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"])


def test_demsars_example():
    friedman, ranks, pairs = compare(WIDE)
    assert ranks[["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]].round(3).tolist() == [
        3.143,
        2.0,
        2.893,
        1.964,
    ]  # his table 6
    by_hand = 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 5**2 / 4)
    assert by_hand == pytest.approx(
        9.28, abs=0.05
    )  # his page 13, with ranks rounded to three digits
    ties = 60 + 3 * 6  # sum of t^3 - t: one dataset with all four equal, three with a pair
    assert friedman["statistic"] == pytest.approx(by_hand / (1 - ties / (14 * 4 * 15)))
    assert friedman["critical_difference"] == pytest.approx(
        1.25, abs=0.005
    )  # page 14: 2.569 * sqrt(4 * 5 / (6 * 14))
    assert friedman["caveat"] == "" and len(pairs) == 6
    nemenyi = {(row["first"], row["second"]): row["nemenyi_p"] for row in pairs}
    gap = {key: abs(ranks[key[0]] - ranks[key[1]]) for key in nemenyi}
    assert all((nemenyi[key] < 0.05) == (gap[key] > friedman["critical_difference"]) for key in gap)


def test_demsars_wilcoxon():
    """His section 3.1.3, C4.5 against C4.5+m: ranks of the negative differences sum to 12 of 105,
    so p is below 0.05.
    """
    _, _, pairs = compare(WIDE[["C4.5", "C4.5+m"]])
    assert pairs[0]["wilcoxon_p"] < 0.02 and pairs[0]["difference"] < 0
    assert pairs[0]["holm_p"] == pairs[0]["wilcoxon_p"]


def test_a_signed_rank_with_equal_differences_and_zeros_is_scipys():
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 8, 14):
        for _ in range(3):
            differences = rng.integers(-3, 4, n) / 10
            differences[0] = differences[1] = 0.2
            expected = wilcoxon(differences, zero_method="zsplit").pvalue
            assert signed_rank_p(differences) == expected


def test_holm_by_hand():
    assert holm([0.02, np.nan, 0.01, 0.5]).tolist() == pytest.approx(
        [0.04, np.nan, 0.03, 0.5], nan_ok=True
    )
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert len(holm([])) == 0


def test_bayesian_signed_rank_by_hand():
    """One dataset far above: with w ~ Beta(1/2, 1) on the prior's 0, above wins while 1 - w^2 >
    w^2, w < 0.707: sqrt(0.707).
    """
    rng = np.random.default_rng(0)
    above, _, below = bayesian_signed_rank(np.array([1.0]), 0.01, rng, 200_000)
    assert above == pytest.approx(0.5**0.25, abs=0.005) and below == 0
    assert bayesian_signed_rank(np.full(12, 0.001), 0.01, rng)[1] == 1
    assert bayesian_signed_rank(np.full(12, -0.5), 0.01, rng)[2] > 0.99
    d = np.random.default_rng(3).normal(0.02, 0.05, 14)
    mirrored = bayesian_signed_rank(-d, 0.01, rng)
    assert bayesian_signed_rank(d, 0.01, rng) == pytest.approx(mirrored[::-1], abs=0.02)


def test_bayesian_signed_rank_is_baycomps():
    baycomp = pytest.importorskip("baycomp", reason="baycomp is not installed")
    d = DEMSAR[:, 1] - DEMSAR[:, 0]
    theirs = baycomp.SignedRankTest.probs(
        np.zeros(len(d)), d, 0.01, nsamples=20_000, random_state=0
    )
    assert bayesian_signed_rank(d, 0.01, np.random.default_rng(0)) == pytest.approx(
        theirs[::-1], abs=0.015
    )


def test_nemenyi_and_wilcoxon_are_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs", reason="scikit-posthocs is not installed")
    _, _, pairs = compare(WIDE)
    nemenyi = posthocs.posthoc_nemenyi_friedman(DEMSAR)
    long = WIDE.melt(var_name="label", value_name="score")
    wilcoxon = posthocs.posthoc_wilcoxon(
        long, "score", "label", zero_method="zsplit", p_adjust="holm", sort=False
    )
    place = {label: k for k, label in enumerate(WIDE)}
    for row in pairs:
        assert row["nemenyi_p"] == pytest.approx(
            nemenyi.iloc[place[row["first"]], place[row["second"]]], abs=1e-3
        )
        assert row["holm_p"] == pytest.approx(wilcoxon.loc[row["first"], row["second"]], abs=1e-9)


def test_nadeau_bengio_by_hand():
    mean, low, high = corrected_interval([0.01, 0.03, 0.02], n_train=700, n_test=300)
    half = 4.302653 * np.sqrt((1 / 3 + 3 / 7) * 0.0001)
    assert (mean, low, high) == pytest.approx((0.02, 0.02 - half, 0.02 + half), abs=1e-7)
    assert np.isnan(corrected_interval([0.1], 7, 3)[1])


def test_nadeau_bengio_covers_where_the_plain_interval_does_not():
    """Splits of one table share rows: differences of means over random test parts, the true
    difference 0.
    """
    inside = {True: 0, False: 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        table = rng.normal(size=300)
        d = [table[rng.permutation(300)[:90]].mean() for _ in range(15)]
        for corrected in inside:
            _, low, high = corrected_interval(d, *((210, 90) if corrected else (np.inf, 0)))
            inside[corrected] += low <= 0 <= high
    assert inside[True] / 300 > 0.88 > 0.75 > inside[False] / 300


def test_variance_components_by_hand_and_by_simulation():
    table = pd.DataFrame({"split": [0, 0, 1, 1], "seed": [0, 1, 0, 1], "x": [1.0, 3.0, 7.0, 9.0]})
    # Within: (2 + 2) / 2 = 2. Between: the means 2 and 8 have variance 18, of which 2 / 2 is the
    # seeds'.
    assert variance_components(table, ["split", "seed"], "x") == {"split": 17, "seed": 2}
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(300), range(4), range(3)], names=["split", "seed", "draw"]
    ).to_frame(index=False)
    split, seed = rng.normal(0, 3, 300), rng.normal(0, 2, (300, 4))
    index["x"] = (
        split[index["split"]] + seed[index["split"], index["seed"]] + rng.normal(0, 1, len(index))
    )
    found = variance_components(
        index.sample(frac=0.9, random_state=0), ["split", "seed", "draw"], "x"
    )
    assert found == pytest.approx({"split": 9, "seed": 4, "draw": 1}, rel=0.15)


def test_a_factor_that_does_not_vary_has_no_component():
    table = pd.DataFrame({"split": [0, 0], "seed": [0, 1], "x": [1.0, 3.0]})
    assert variance_components(table, ["split", "seed"], "x") == pytest.approx(
        {"split": np.nan, "seed": 2}, nan_ok=True
    )


def report(datasets: int = 12, splits: int = 3, failed: tuple = ()) -> pd.DataFrame:
    """Rows of two methods and a control, `good` 0.1 better than `poor`; marginals tell the same
    from 1 downwards.
    """
    rng, rows = np.random.default_rng(0), []
    for d in range(datasets):
        level = rng.uniform(0.6, 0.8)
        for label, gain in (("good", 0.1), ("poor", 0.0), ("permuted", -0.5)):
            for split in range(splits):
                for seed in (0, 1):
                    about = {
                        "dataset": f"d{d}",
                        "label": label,
                        "split": split,
                        "seed": seed,
                        "column": "",
                        "group": "",
                    }
                    if (d, label) in failed:
                        rows.append(
                            about
                            | {
                                "metric": "",
                                "value": np.nan,
                                "floor": np.nan,
                                "state": "error",
                                "note": "out of memory",
                            }
                        )
                        continue
                    auc = level + gain + rng.normal(0, 0.01)
                    rows.append(
                        about
                        | {
                            "metric": "tstr_auc",
                            "value": auc,
                            "floor": 0.5,
                            "state": "ok",
                            "note": "",
                        }
                    )
                    rows.append(
                        about
                        | {
                            "metric": "tstr_auc",
                            "value": 0.0,
                            "floor": 0.0,
                            "group": "logistic",
                            "state": "ok",
                            "note": "",
                        }
                    )
                    rows.append(
                        about
                        | {
                            "metric": "c2st",
                            "value": 1.3 - auc,
                            "floor": 1.0,
                            "state": "ok",
                            "note": "",
                        }
                    )
                    rows.append(
                        about
                        | {
                            "metric": "tstr_r2",
                            "value": np.nan,
                            "floor": np.nan,
                            "state": "not-applicable",
                            "note": "not applicable: labels",
                        }
                    )
    return pd.DataFrame(rows)


def test_across_finds_the_better_method_in_either_direction():
    tables = across(report(), sizes={f"d{d}": (700, 300) for d in range(12)})
    assert set(tables["friedman"]["metric"]) == {"tstr_auc", "c2st"}
    for row in tables["pairs"].itertuples():
        assert (row.first, row.second) == ("good", "poor")  # the control takes no part
        assert row.difference == pytest.approx(0.1, abs=0.01)
        assert row.holm_p < 0.001 and row.first_better > 0.99 and row.caveat == ""
    assert (tables["ranks"].set_index("label")["rank"]["good"] == 1).all()
    within = tables["within"]
    assert (
        len(within) == 2 * 12
        and (within["units"] == 3).all()
        and (within["low"] <= within["difference"]).all()
    )
    assert tables["components"]["seed"].mean() == pytest.approx(1e-4, rel=0.5)
    assert set(tables["scores"]["cells"]) == {6} and not tables["scores"]["failed"].any()


def test_readings_on_both_sides_of_zero_cancel():
    about = {
        "metric": "bias_amp",
        "dataset": "d",
        "column": "",
        "group": "",
        "floor": -0.3,
        "state": "ok",
        "note": "",
    }
    values = {("noisy", 0): 0.2, ("noisy", 1): -0.1, ("low", 0): -0.1, ("low", 1): -0.2}
    rows = [
        about | {"label": label, "seed": seed, "value": value}
        for (label, seed), value in values.items()
    ]
    scores = per_cell(pd.DataFrame(rows)).groupby("label")["score"]
    assert scores.mean().to_dict() == pytest.approx({"noisy": -0.05, "low": -0.15})
    assert per_cell(pd.DataFrame(rows))["floor"].tolist() == [-0.3] * 4


def test_failures_rank_last_and_are_left_out():
    tables = across(report(failed=((0, "good"), (1, "good"))))
    friedman = tables["friedman"].query("metric == 'tstr_auc'").set_index("handling")
    assert friedman["datasets"].to_dict() == {FAILED_LAST: 12, COMPLETE: 10}
    scores = tables["scores"].query("metric == 'tstr_auc' and dataset == 'd0' and label == 'good'")
    assert scores[["handling", "mean", "failed"]].to_numpy().tolist() == [[FAILED_LAST, 0.49, 6]]
    difference = tables["pairs"].query("metric == 'tstr_auc'").set_index("handling")["difference"]
    assert difference[FAILED_LAST] < 0.07 < difference[COMPLETE]
    c2st = tables["scores"].query("metric == 'c2st' and dataset == 'd0' and label == 'good'")
    assert c2st["mean"].tolist() == [-1.01]


def test_a_generator_that_never_runs_is_last_even_where_the_floor_reads_best():
    """Permuting removes bias: at the floor, a failed cell would beat every generator that ran."""
    about = {"metric": "bias_amp", "column": "", "group": "", "state": "ok", "note": ""}
    rows = []
    for d in range(12):
        for label, value in (("runs", 0.05), ("worse", 0.1), ("never", np.nan)):
            cell = {"dataset": f"d{d}", "label": label, "seed": 0, "value": value, "floor": 0.0}
            rows.append(about | cell | ({"metric": ""} if np.isnan(value) else {}))
    tables = across(pd.DataFrame(rows))
    ranks = tables["ranks"].query("handling == @FAILED_LAST").set_index("label")["rank"]
    assert ranks.to_dict() == {"runs": 1, "worse": 2, "never": 3}


def test_holm_over_groups_keeps_fresh_samples_quiet():
    """Twenty groups without any change: a sign is named for at most 5% of samples, and one true
    change of 5 standard errors for nearly all.
    """
    rng = np.random.default_rng(0)
    parts = []
    for sample in range(400):
        mean = rng.normal(size=20) + 5 * (np.arange(20) == 0) * (sample >= 200)
        part = {"dataset": "d", "label": str(sample), "mean": mean}
        parts.append(pd.DataFrame(part | {"low": mean - 1.96, "high": mean + 1.96}))
    clear = signs(pd.concat(parts, ignore_index=True)).assign(
        clear=lambda table: table["sign"] != "no clear change"
    )
    by_sample = clear.groupby("label", sort=False)["clear"]
    assert by_sample.any().head(200).mean() <= 0.08
    assert by_sample.first().tail(200).mean() > 0.95


def test_few_datasets_and_one_split_say_so():
    tables = across(report(datasets=3, splits=1))
    assert tables["pairs"]["caveat"].str.contains("3 datasets, fewer than 10: low power").all()
    assert tables["friedman"]["caveat"].str.contains("0.25").all()
    assert (
        tables["within"]["caveat"].str.startswith("one split").all()
        and tables["within"]["low"].notna().all()
    )
    assert power(10) == ""
    one = across(report(datasets=1, splits=1))
    assert (
        one["pairs"]["wilcoxon_p"].isna().all()
        and "1 datasets" in one["friedman"]["caveat"].iloc[0]
    )


def test_nothing_to_compare():
    everything_failed = report(
        2, 1, failed=tuple((d, label) for d in range(2) for label in ("good", "poor", "permuted"))
    )
    assert all(table.empty for table in across(everything_failed).values())
    assert all(table.empty for table in across(report(2, 1).query("label == 'permuted'")).values())


def test_same_rows_same_tables():
    first, second = across(report(), seed=1), across(report(), seed=1)
    assert all(first[name].equals(second[name]) for name in first)


def test_the_diagram_joins_what_is_too_close():
    friedman, ranks, _ = compare(WIDE)
    axes = critical_difference(ranks, friedman["critical_difference"], "14 datasets").axes[0]
    bars = [line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
    assert bars == [
        [ranks.iloc[0], ranks.iloc[-1]]
    ]  # Demsar's figure 1a: 1.96 to 3.14 lie within 1.25
    assert {text.get_text().split("  ")[0] for text in axes.texts} == set(WIDE)
    assert "14 datasets" in axes.get_xlabel()
    apart = critical_difference({"a": 1.0, "b": 2.0, "c": 3.0}, 1.5).axes[0]
    assert [line.get_xdata().tolist() for line in apart.lines if len(line.get_xdata()) == 2] == [
        [1, 2],
        [2, 3],
    ]
    assert not [
        line
        for line in critical_difference({"a": 1.0, "b": 2.0}, np.nan).axes[0].lines
        if len(line.get_xdata()) == 2
    ]
