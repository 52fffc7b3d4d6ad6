"""Sections that compare generators: every number held against a hand calculation on rows whose
truth is known.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare, t
from test_report import Page

from workbench.report import comparison
from workbench.report.batch import Batch
from workbench.words import number


def batch(values, splits=(0,), sizes=(700, 300), failed=(), params="{}"):
    """values: (dataset, label) -> {metric: one number for each (split, seed)}; failed: (dataset,
    label, k).
    """
    rows, cells = [], []
    for (dataset, label), metrics in values.items():
        count = len(next(iter(metrics.values())))
        for k in range(count):
            split, seed = splits[k % len(splits)], k // len(splits)
            about = {
                "dataset": dataset,
                "label": label,
                "generator": label.split(" ")[0],
                "split": split,
                "seed": seed,
                "draw": 0,
            }
            ok = (dataset, label, k) not in failed
            cells.append(
                about
                | {
                    "status": "ok" if ok else "error",
                    "reason": "boom",
                    "params": params,
                    "train_rows": sizes[0],
                    "test_rows": sizes[1],
                }
            )
            for metric, numbers in metrics.items() if ok else ():
                rows.append(
                    about
                    | {
                        "metric": metric,
                        "column": "",
                        "group": "",
                        "value": numbers[k],
                        "low": np.nan,
                        "high": np.nan,
                        "floor": 0.1,
                        "ceiling": 1.0,
                        "state": "ok",
                        "note": "",
                    }
                )
    return Batch.of(pd.DataFrame(rows), pd.DataFrame(cells), "made up")


def cells_of(piece, row):
    """The texts of the row of the first table line that starts with these words."""
    lines = [line.split("<td>") for line in str(piece).split('<th scope="row">')[1:]]
    line = next(cells for cells in lines if Page(cells[0]).text.startswith(row))
    return [Page(cell).text for cell in line[1:]]


def test_what_mitigation_buys_by_hand():
    results = batch(
        {
            ("d", "cart"): {"bias_amp": [0.10, 0.12, 0.10], "utility_ratio": [0.95, 0.96, 0.94]},
            ("d", "reweighed"): {
                "bias_amp": [0.01, -0.02, 0.0],
                "utility_ratio": [0.90, 0.93, 0.86],
            },
            ("d", "per-group"): {
                "bias_amp": [0.10, 0.13, 0.09],
                "utility_ratio": [0.95, 0.95, 0.95],
            },
        }
    )
    piece = comparison.mitigation(results)
    gained = cells_of(piece, "change reweighed against cart")
    assert gained[0].startswith("−0.110") and gained[0].endswith(
        "lower"
    )  # by 0.09, 0.14 and 0.10, signs kept
    d = np.array([-0.05, -0.03, -0.08])
    half = t.ppf(0.975, 2) * d.std(ddof=1) / np.sqrt(3)
    assert (
        gained[1]
        == f"{number(d.mean())} {number(d.mean() - half)} to {number(d.mean() + half)} no clear"
        " difference"
    )
    text = Page(piece).text
    assert (
        "reweighed against cart: lower on Bias amplification (−0.110); no clear difference on 1"
        " metric" in text
    )
    assert "per-group against cart: no clear difference on 2 metrics" in text
    heads = [Page(line.split("<td>")[0]).text for line in str(piece).split('<th scope="row">')[1:]]
    assert heads.count("cart") == 1, "the inner generator has one line"


def test_a_mitigation_without_its_inner_generator_says_so():
    values = {("d", label): {"bias_amp": [0.1, 0.2]} for label in ("ctgan", "reweighed")}
    assert (
        "is built on cart, which is not shown here"
        in Page(comparison.mitigation(batch(values))).text
    )
    inner = batch(values, params='{"inner":"ctgan"}')
    assert "reweighed against ctgan" in Page(comparison.mitigation(inner)).text
    assert "add reweighed or per-group" in comparison.mitigation(
        batch({("d", "cart"): {"bias_amp": [0.1]}})
    )


def test_splits_carry_nadeau_and_bengios_interval():
    first, second = [0.90, 0.80, 0.85], [0.80, 0.76, 0.78]
    results = batch(
        {("d", "cart"): {"utility_ratio": first}, ("d", "ctgan"): {"utility_ratio": second}},
        splits=(0, 1, 2),
    )
    piece = comparison.comparison(results)
    assert cells_of(piece, "cart") == ["best ★"]
    d = np.array(second) - first
    half = t.ppf(0.975, 2) * np.sqrt((1 / 3 + 300 / 700) * d.var(ddof=1))
    assert cells_of(piece, "ctgan")[0].startswith(
        f"{number(d.mean())} {number(d.mean() - half)} to {number(d.mean() + half)}"
    )
    assert (
        "one split" not in Page(piece).text and "picked on these very numbers" in Page(piece).text
    )


def test_variance_components_are_told_where_factors_vary():
    values = [
        1.0,
        7.0,
        3.0,
        9.0,
    ]  # by (split, seed): (0, 0), (1, 0), (0, 1), (1, 1): split 17, seed 2 (see test_statistics)
    results = batch(
        {("d", label): {"utility_ratio": values} for label in ("cart", "ctgan")}, splits=(0, 1)
    )
    piece = str(comparison.comparison(results))
    piece = piece[piece.index("Standard deviation") :]
    assert cells_of(piece, "cart") == [f"split {number(np.sqrt(17))}, seed {number(np.sqrt(2))}"]


def across(datasets, failed=()):
    rng = np.random.default_rng(0)
    level = rng.uniform(0.3, 0.5, datasets)
    gain = {"cart": 0.3, "ctgan": 0.1, "independent": 0.0}
    values = {
        (f"d{k}", label): {"utility_ratio": [level[k] + g + 0.02 * rng.normal()]}
        for k in range(datasets)
        for label, g in gain.items()
    }
    return values, batch(values, failed=failed)


def test_friedman_ranks_and_pairs_across_datasets():
    values, results = across(12)
    piece = comparison.comparison(results)
    text = Page(piece).text
    columns = [
        [values[f"d{k}", label]["utility_ratio"][0] for k in range(12)]
        for label in ("cart", "ctgan", "independent")
    ]
    result = friedmanchisquare(*columns)
    assert cells_of(piece, "Utility kept (U)")[:3] == [
        "failures last",
        "12",
        number(result.statistic),
    ]
    alts = [image["alt"] for image in Page(piece).all("img")]
    assert len(alts) == 1 and "cart 1.00" in alts[0] and "over 12 datasets" in alts[0]
    assert "cart − independent" in text and "complete case" in text and "low power" not in text
    assert (
        cells_of(piece, "cart − independent")[1] == "0.001"
    )  # Holm's, three times Wilcoxon's least p 2^-11


def test_few_datasets_carry_the_caveat_and_failures_both_handlings():
    _, results = across(4, failed=[("d0", "cart", 0)])
    piece = comparison.comparison(results)
    assert "4 datasets, fewer than 10: low power" in Page(piece).text
    text = str(piece)
    handled = [
        cells_of(text[text.index("<td>" + words) - 45 :], "Utility kept (U)")[1]
        for words in ("failures last", "complete case")
    ]
    assert handled == ["4", "3"]


def test_success_rates_and_both_means():
    assert "100% of 4 cells" in comparison.success(
        batch({("d", g): {"utility_ratio": [0.5, 0.6]} for g in ("cart", "ctgan")})
    )
    results = batch(
        {
            ("d", "cart"): {"utility_ratio": [0.9, 0.7]},
            ("d", "ctgan"): {"utility_ratio": [0.5, 0.6]},
        },
        failed=[("d", "cart", 1)],
    )
    piece = comparison.success(results)
    assert cells_of(piece, "cart") == [
        "50%, 1 of 2",
        "0.900",
    ]  # nothing stands in for a failed cell
    assert cells_of(piece, "ctgan") == ["100%, 2 of 2", "0.550"]


@pytest.mark.parametrize(
    "values",
    [{("d", "cart"): {"pair_trends": [0.5]}}, {("d", "copy"): {"pair_trends": [0.5, 0.6]}}],
)
def test_nothing_to_compare(values):
    assert "Not compared" in comparison.comparison(batch(values))
