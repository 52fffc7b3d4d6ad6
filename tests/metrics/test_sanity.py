"""The sanity table: what a metric must see, what it is known to be blind to, and a document that
holds every metric.
"""

import sys
from pathlib import Path

import pytest

from workbench.metrics import METRICS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import sanity  # noqa: E402

# (sees, blind to) of a metric whose answer is known from its definition.
EXPECTED = {
    "marginals": ("shrunk, dropped mode, lost group", "outlier, permuted, leak"),
    "worst_column": ("shrunk, dropped mode, shift, lost group", "outlier, permuted"),
    "pair_trends": ("shrunk, dropped mode, permuted, lost group", "outlier, leak"),
    "coverage": ("shrunk, dropped mode, permuted", "outlier, leak"),
    "edge_coverage": ("shrunk, permuted", "outlier, leak"),
    "tstr_auc": ("permuted", ""),
    "utility_ratio": ("permuted", ""),
    "representation": ("lost group", "copy, shrunk, shift, permuted, outlier"),
    "cramers_v_shift": ("permuted", "copy, shrunk, shift, outlier"),
    "excess_copies": ("copy, leak", "shrunk, dropped mode, outlier, shift, permuted, lost group"),
}
QUICK = [
    name for name in EXPECTED if METRICS[name].function != "workbench.metrics.utility:utility"
]  # the document has it


@pytest.fixture(scope="module")
def marks():
    return sanity.seen(sanity.readings(2000, 8, QUICK))


@pytest.mark.parametrize("metric", QUICK)
def test_a_metric_sees_what_it_should_and_nothing_else_of_what_is_known(marks, metric):
    sees, blind = (set(filter(None, names.split(", "))) for names in EXPECTED[metric])
    assert sees | blind <= set(sanity.DEFECTS)
    found = {name for name in sanity.DEFECTS if marks.at[metric, name]}
    assert sees <= found
    assert not blind & found


def test_the_band_holds_fresh_samples():
    """Leave one out: the last of the fresh samples, judged by the band of the others."""
    table = sanity.readings(
        600, 9, ["marginals", "pair_trends", "coverage", "excess_copies"], defects=()
    )
    outside = sanity.seen(table.rename(columns={8: "fresh"}))
    assert outside["fresh"].sum() <= 1


def test_every_metric_has_its_line_in_the_document():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    lines = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert lines == list(METRICS), "run python benchmarks/sanity.py --write docs/metrics.md"
    assert text.count("(`") == len(METRICS)


def test_the_document_agrees_with_what_is_known():
    """The committed table, made with more rows and samples, says the same."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    head = next(line for line in text.splitlines() if line.startswith("| metric | better"))
    defects = [name.strip() for name in head.strip("|").split("|")][3:]
    assert set(defects) == set(sanity.DEFECTS)
    for metric, (sees, blind) in EXPECTED.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{metric}`"))
        bold = {
            d
            for d, cell in zip(defects, line.strip("|").split("|")[3:], strict=True)
            if "**" in cell
        }
        assert set(filter(None, sees.split(", "))) <= bold
        assert not set(filter(None, blind.split(", "))) & bold
