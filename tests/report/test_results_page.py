"""A page is made from published results alone, and says what the report's own page says."""

import pytest
from test_report import pieces, write_report

from workbench.batch.results import Results, publish
from workbench.cli import main
from workbench.report.batch import Batch
from workbench.report.given import given

GRID = 'datasets = ["loans"]\ngenerators = ["independent", "cart", "copy"]\nseeds = [0, 1]\n'


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A report and its results."""
    base = tmp_path_factory.mktemp("page")
    folder = write_report(
        base / "loans", failed={("cart", 1): ("timeout", "fit", "stopped after 60 s")}
    )
    (folder / "grid.toml").write_text(GRID)
    return folder, publish(folder, base / "results")


def test_every_section_says_the_same(both):
    own, published = (pieces(Batch.read(path)) for path in both)
    # Only the links to cells' notebooks are gone: there are none in the results.
    linked = {name for name in own if "cell.ipynb" in own[name] or "manifest.json" in own[name]}
    assert {name: own[name] for name in own if name not in linked} == {
        name: published[name] for name in published if name not in linked
    }
    assert not any("cell.ipynb" in text for text in published.values())


def test_the_page_is_made_without_the_report(both, tmp_path):
    folder, place = both
    folder.rename(tmp_path / "away")
    assert main(["report", str(place)]) == 0
    text = (place / "index.html").read_text(encoding="utf-8")
    assert Results(place).rows_digest() in text
    assert "stopped after 60 s" in text and "independent" in text
    (tmp_path / "away").rename(folder)


def test_a_given_table_is_on_the_page_with_what_was_done(tmp_path):
    folder = write_report(tmp_path / "loans", generators=("cart", "given"))
    batch = Batch.read(folder)
    said = "300 rows. columns were read by name: Ra-ce as race."
    is_given = batch.cells["generator"] == "given"
    batch.cells["notes"] = batch.cells["notes"].where(~is_given, said)
    batch.cells["params"] = batch.cells["params"].where(~is_given, '{"table":"peer-1.csv"}')
    text = str(given(batch))
    assert said in text and "peer-1.csv" in text and "cart" not in text
    assert "No table of this report was given" in str(given(Batch.read(write_plain(tmp_path))))


def write_plain(folder):
    place = write_report(folder / "plain", generators=("cart",), seeds=1)
    return place
