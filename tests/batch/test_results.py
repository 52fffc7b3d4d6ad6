"""A report's numbers as a data set: published, the report deleted, verified from it alone, merged,
and refused where two of them contradict each other.
"""

import json
import shutil

import pandas as pd
import pytest
from batch_helpers import report, stub, stub_notebook

from workbench.batch import cards, grid, results
from workbench.batch.expected import LIMIT, MEASURED, SCALED, expected, neighbours
from workbench.batch.folder import Folder
from workbench.batch.results import Results, merge, publish
from workbench.batch.runner import run
from workbench.batch.verify import verify
from workbench.errors import InputError

# A table that may be given away lies beside the grid; a plug-in does too.
ROWS = [
    "'copy'",
    "'mst'",
    "'bayes-expert'",
    stub(),
    "{name = './stub.py:Stub', params = {how = 'error'}, label = 'broken'}",
]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Results of a report that ran and was then deleted, and the numbers that it had."""
    base = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "NOTEBOOK", stub_notebook(base))
        patch.chdir(base)
        folder = report(base / "reports" / "tiny", ROWS, head='title = "Tiny"')
        run(folder, workers=1, progress=False)
        rows = Folder(folder).rows()
        plan = expected(folder, neighbours(folder), cores=2)
        place = publish(folder)
        shutil.rmtree(folder)
        yield base / place, rows, plan


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published[0], tmp_path / "theirs")


def rewritten(place, **changes) -> None:
    """The same results with other columns of their cells, as somebody else may have sent them."""
    content = Results(place).content
    cells = content.cells.assign(**changes)
    shutil.rmtree(place)
    results.write(results.replace(content, cells=cells), place)


def test_what_is_published_are_the_numbers_and_no_rows_of_a_table(published):
    place, rows, _ = published
    assert place.parts[-2:] == ("results", "tiny")
    names = {str(path.relative_to(place)) for path in place.rglob("*")}
    assert names == {
        "rows.parquet",
        "cells.parquet",
        "grid.toml",
        "stub.py",
        "README.md",
        "croissant.json",
        "CITATION.cff",
        "results.json",
    }
    pd.testing.assert_frame_equal(Results(place).rows(), rows)
    cells = pd.read_parquet(place / "cells.parquet")
    assert dict(cells["status"].value_counts()) == {"ok": 3, "skipped": 1, "error": 1}
    for name in ("load", "fit", "sample", "evaluate", "save"):
        assert (cells.loc[cells["status"] == "ok", f"{name}_seconds"] >= 0).all()
    versions = json.loads(cells["inputs"][0])["versions"]
    assert {"python", "numpy", "pandas"} <= set(versions)
    assert cells.loc[cells["status"] == "ok", "rows_hash"].str.len().eq(64).all()


def test_the_same_results_are_the_same_bytes(published, tmp_path):
    content = Results(published[0]).content
    results.write(content, tmp_path)
    for path in published[0].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_its_cells_run_again_from_it_alone(published):
    verdicts = verify(published[0], workers=1, progress=False).set_index("label")["verdict"]
    assert verdicts["copy"] == verdicts["Stub"] == verdicts["bayes-expert"] == "identical"
    assert verdicts["mst"] == "not reproducible by design"
    assert verdicts["broken"] == "not run again"


def test_a_number_that_was_changed_is_found_though_all_digests_were_forged(copied):
    content = Results(copied).content
    keys = content.cells.set_index("label")["key"]
    changed = content.rows["key"] == keys["copy"]
    rows = content.rows.assign(value=content.rows["value"].where(~changed, 7.0))
    results.write(results.replace(content, rows=rows), copied)
    rewritten(
        copied,
        rows_hash=content.cells["rows_hash"].where(content.cells["label"] != "copy", "0" * 64),
    )
    lines = verify(copied, workers=1, progress=False).set_index("label")
    assert lines.loc["copy", "verdict"] == "different"
    assert lines.loc["copy", "detail"].startswith("mean: 7 then")


def test_a_file_that_was_changed_is_named_and_nothing_is_read(copied):
    (copied / "grid.toml").write_text("title = 'Another'")
    with pytest.raises(InputError, match=r"grid.toml was changed after it was written"):
        Results(copied).rows()
    lines = verify(copied, workers=1, progress=False)
    assert lines["detail"].tolist() == ["grid.toml was changed after it was written"]


def test_another_format_is_refused(copied):
    record = json.loads((copied / "results.json").read_text())
    (copied / "results.json").write_text(json.dumps(record | {"format": 9}))
    with pytest.raises(InputError, match=r"is of format '9', and this version reads 1"):
        Results(copied).rows()


def test_rows_of_others_are_added_with_their_origin_and_can_be_run_again(published, tmp_path):
    # Of the published cells one, which both have: whatever is verified runs again.
    content = Results(published[0]).content
    own = content.cells[content.cells["label"] == "copy"]
    rows = content.rows[content.rows["key"].isin(own["key"])]
    mine = tmp_path / "mine"
    results.write(results.replace(content, cells=own, rows=rows), mine)
    more = report(tmp_path / "reports" / "more", ["'copy'", "'permuted'"])
    run(more, workers=1, progress=False)
    theirs = publish(more, tmp_path / "theirs")
    done = merge(mine, theirs, "a friend")
    assert (done.added, done.agreed, done.kept) == (1, 1, 0)
    cells = Results(mine).cells()
    assert cells.set_index("label")["origin"].to_dict() == {"copy": "", "permuted": "a friend"}
    verdicts = verify(mine, workers=1, progress=False)
    assert set(verdicts.loc[verdicts["label"] == "permuted", "verdict"]) == {"identical"}
    again = merge(mine, theirs, "a friend")
    assert (again.added, again.agreed) == (0, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"rows_hash": "0" * 64},
            r"cell [0-9a-f]{32} \(diabetes, copy, seed 0\) has other numbers",
        ),
        ({"train_hash": "1" * 64}, r"dataset 'diabetes', split 0, has other rows in the one"),
        ({"params": '{"k":3}'}, r"'copy' stands for copy \{\} in the one and for copy"),
        ({"key": "a" * 32}, r"cell a{32} \(diabetes, .*\) is there as [0-9a-f]{32} already"),
    ],
)
def test_what_contradicts_is_refused_with_the_key_and_the_reason(
    published, copied, changes, sentence
):
    cells = Results(copied).cells()
    ok = cells["status"] == "ok"
    changes = {name: cells[name].where(~ok, value) for name, value in changes.items()}
    rewritten(copied, **changes)
    before = (published[0] / "results.json").read_bytes()
    with pytest.raises(InputError, match=sentence):
        merge(published[0], copied)
    assert (published[0] / "results.json").read_bytes() == before


def test_another_version_is_refused(published, copied):
    content = Results(copied).content
    results.write(results.replace(content, version="0.1.0"), copied)
    with pytest.raises(InputError, match=r"run by workbench \d.* the other by 0\.1\.0"):
        merge(published[0], copied)


def test_croissant_says_what_the_files_are(published):
    place = published[0]
    about = json.loads((place / "croissant.json").read_text())
    assert about["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    for name in ("name", "description", "license", "creator", "datePublished", "version"):
        assert about[name], name
    files = {file["@id"]: file for file in about["distribution"]}
    assert set(files) == {"rows.parquet", "cells.parquet"}
    digests = json.loads((place / "results.json").read_text())["files"]
    for name, file in files.items():
        assert file["sha256"] == digests[name]
        assert file["contentSize"] == f"{(place / name).stat().st_size} B"
    for record_set in about["recordSet"]:
        table = pd.read_parquet(place / f"{record_set['name']}.parquet")
        fields = [field["source"]["extract"]["column"] for field in record_set["field"]]
        assert fields == list(table.columns)
        for field in record_set["field"]:
            assert field["source"]["fileObject"]["@id"] in files
            assert field["dataType"] in cards.TYPES.values()
    ids = [field["@id"] for record_set in about["recordSet"] for field in record_set["field"]]
    assert len(ids) == len(set(ids))


def test_croissant_is_read_by_the_reference_library(published):
    reader = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    metadata = reader.Dataset(str(published[0] / "croissant.json")).metadata
    assert not metadata.issues.errors and not metadata.issues.warnings


def test_the_card_names_what_has_no_numbers(published):
    text = (published[0] / "README.md").read_text()
    assert "| diabetes | 310 | 132 | 5 | 3 |" in text
    assert "- diabetes, broken: 1 cell error: ValueError: a stub broke" in text
    assert "bayes-expert" in text
    assert "cff-version: 1.2.0" in (published[0] / "CITATION.cff").read_text()


def test_more_than_may_be_published_is_refused_and_nothing_is_written(
    published, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "MOST_BYTES", 10_000)
    with pytest.raises(InputError, match=r"results would take 0\.\d MB"):
        results.write(Results(published[0]).content, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_takes_its_seconds_from_earlier_cells(published, tmp_path):
    place, _, ran = published
    table = ran.table.set_index("label")
    assert table.loc["copy", "basis"] == MEASURED and table["left"].sum() == 0
    folder = report(
        tmp_path / "reports" / "next",
        ["'copy'", "'permuted'"],
        seeds=(0, 1, 2),
        limits="seconds = 36",
        head="[[override]]\ndatasets = ['diabetes']\ntrain_rows = 62\n[other]",
    )
    text = (folder / "grid.toml").read_text()
    head, _, rest = text.partition("[other]")
    (folder / "grid.toml").write_text(rest + head)
    plan = expected(folder, [place], cores=2)
    table = plan.table.set_index("label")
    assert table["left"].tolist() == [3, 3] and table["train_rows"].tolist() == [62, 62]
    assert table["basis"].tolist() == [SCALED, LIMIT]
    measured = ran.table.set_index("label").loc["copy", "seconds"]
    assert table.loc["copy", "seconds"] == pytest.approx(measured * 62 / 310)
    assert plan.at_most == pytest.approx(3 * 36 / 3600)
    assert "6 cells, 6 of them left" in str(plan)
