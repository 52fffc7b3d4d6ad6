"""Given tables in a grid: n files are n seeds, columns are mapped by name, what was done is said,
nothing outside the two folders is read, and other columns end in evaluate's sentence.
"""

import json

import pandas as pd
import pytest
from batch_helpers import stub_notebook

import workbench as wb
from workbench.batch import grid, trust
from workbench.batch.folder import Folder
from workbench.batch.runner import run
from workbench.batch.verify import verify
from workbench.errors import InputError
from workbench.metrics.evaluate import evaluate
from workbench.tables.given import matched

GRID = """
seeds = [5]
datasets = ["loans"]
generators = ["copy", {{ table = "{table}", label = "Peer" }}]
"""


def write_grid(folder, table: str = "peer-*.csv"):
    folder.mkdir(exist_ok=True)
    (folder / "grid.toml").write_text(GRID.format(table=table))
    return folder


@pytest.fixture(scope="module")
def loans():
    return wb.load("loans")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, loans):
    """Three tables as others write them, in the data folder; the third lacks a column."""
    base = tmp_path_factory.mktemp("given")
    data = base / "data"
    data.mkdir()
    for number in (1, 2, 10):
        table = loans.train.sample(300, random_state=number).astype(object)
        table["race"] = " " + table["race"].astype(str) + " "
        table = table.rename(columns={"race": "Ra-ce"})
        if number == 10:
            table = table.drop(columns=["loanamt"])
        table.to_csv(data / f"peer-{number}.csv", index=False)
    folder = write_grid(base / "report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_DATA", str(data))
        patch.setattr(grid, "NOTEBOOK", stub_notebook(base))
        run(folder, workers=1, progress=False)
        yield folder


def test_each_file_is_a_seed_and_its_manifest_says_what_was_done(finished):
    cells = Folder(finished).cells()
    peer = cells[cells["label"] == "Peer"].set_index("seed")
    assert list(peer.index) == [0, 1, 2] and set(peer["generator"]) == {"given"}
    names = [json.loads(text)["table"] for text in peer["params"]]
    assert names == ["peer-1.csv", "peer-2.csv", "peer-10.csv"]
    assert list(peer["status"]) == ["ok", "ok", "error"]
    assert peer.loc[0, "rows"] == 300
    said = Folder(finished).manifest(peer.loc[0, "key"])["facts"]["given"]
    assert said[:2] == ["300 rows.", "columns were read by name: Ra-ce as race."]
    assert "blanks at the ends of values were dropped in race." in said
    assert peer.loc[0, "notes"] == " ".join(said)


def test_other_columns_end_in_the_sentence_that_evaluate_gives(finished, loans):
    cells = Folder(finished).cells()
    reason = cells.loc[(cells["label"] == "Peer") & (cells["seed"] == 2), "reason"].item()
    with pytest.raises(InputError) as error:
        evaluate(loans, loans.train.drop(columns=["loanamt"]))
    assert str(error.value) in reason and "'loanamt' is missing" in reason


def test_the_scored_rows_are_those_of_the_file(finished, loans):
    cells = Folder(finished).cells()
    key = cells.loc[(cells["label"] == "Peer") & (cells["seed"] == 1), "key"].item()
    rows = pd.read_parquet(finished / "runs" / key / "synthetic.parquet")
    expected = loans.train.sample(300, random_state=2).reset_index(drop=True)
    pd.testing.assert_frame_equal(loans.schema.cast(rows), expected)


def test_a_given_table_is_verified_and_its_bytes_are_part_of_the_key(finished, tmp_path):
    verdicts = verify(finished, workers=1, progress=False)
    assert list(verdicts["verdict"]) == ["identical"] * 3 + ["not run again"]
    before = [cell.key for cell in grid.plan(grid.read(finished)).cells]
    path = finished.parent / "data" / "peer-2.csv"
    text = path.read_text()
    path.write_text(text.replace("white", "black", 1))
    try:
        after = [cell.key for cell in grid.plan(grid.read(finished)).cells]
    finally:
        path.write_text(text)
    changed = [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert changed == [2]


def test_tables_in_the_data_folder_are_named_before_they_are_read(finished):
    found = trust.demands(grid.read(finished))
    assert len(found) == 3 and found[0].startswith("read peer-1.csv in your data folder (/")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("/etc/peer-*.csv", "leads out of the folder"),
        ("../data/peer-*.csv", "leads out of the folder"),
        ("~/peer.csv", "leads out of the folder"),
        ("https://host/peer.csv", "leads out of the folder"),
        ("**/peer-1.csv", "goes through every folder"),
        ("peer-*.txt", "unknown ending"),
        ("other-*.csv", "no file 'other-.*' in the folder of grid.toml or in WORKBENCH_DATA"),
    ],
)
def test_no_path_leads_out(finished, tmp_path, table, sentence):
    with pytest.raises(InputError, match=rf"line \d: .*{sentence}"):
        grid.read(write_grid(tmp_path, table))


def test_no_link_leads_out(finished, tmp_path):
    folder = write_grid(tmp_path / "report", "mine.csv")
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    (folder / "mine.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError, match="is a link that leads out of the folder"):
        grid.read(folder)


def test_where_several_are_possible_the_dataset_and_the_split_are_to_be_named(finished, tmp_path):
    text = GRID.format(table="peer-*.csv").replace('["loans"]', '["loans", "diabetes"]')
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(InputError, match="to which dataset does the table belong"):
        grid.read(tmp_path)
    text = "splits = [0, 3]" + GRID.format(table="peer-*.csv")
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(InputError, match="to which split does the table belong"):
        grid.read(tmp_path)
    (tmp_path / "grid.toml").write_text(text.replace('"Peer"', '"Peer", split = 3'))
    splits = {cell.split for cell in grid.plan(grid.read(tmp_path)).cells if cell.label == "Peer"}
    assert splits == {3}


def test_a_dataset_may_be_split_already(finished, tmp_path, loans):
    loans.train.head(200).to_csv(tmp_path / "train.csv", index=False)
    renamed = loans.test.head(90).rename(columns={"race": "RACE"})
    renamed.to_csv(tmp_path / "test.csv", index=False)
    text = """
generators = ["copy"]
[[datasets]]
name = "mine"
train = "train.csv"
test = "test.csv"
target = "approve"
sensitive = ["race"]
"""
    (tmp_path / "grid.toml").write_text(text)
    data = grid.plan(grid.read(tmp_path)).data["mine", 0, 0]
    assert (len(data.train), len(data.test)) == (200, 90)
    assert data.test["race"].tolist() == loans.test.head(90)["race"].tolist()
    assert data.provenance["split"]["kind"].startswith("given")
    assert not any("equal a train row" in note for note in data.provenance["notes"])
    # A test part that repeats a quarter of its rows from train is not one.
    mixed = pd.concat([loans.test.head(90), loans.train.head(30)])
    declared = {"target": "approve", "sensitive": ["race"]}
    data = wb.load(loans.train.head(200), test=mixed, **declared)
    assert any(
        note.startswith("30 of 120 test rows equal a train row")
        for note in data.provenance["notes"]
    )
    (tmp_path / "grid.toml").write_text("splits = [0, 1]" + text)
    with pytest.raises(InputError, match="'mine' is split already; leave out splits"):
        grid.read(tmp_path)


def test_names_that_could_both_be_one_are_refused():
    table = pd.DataFrame({"a b": [1], "A-B": [2]})
    with pytest.raises(InputError, match=r"'a b' and 'A-B' .*could both be 'a_b'"):
        matched(table, ["a_b"])
    found, said = matched(pd.DataFrame({"a b": ["x ", "y"], "c": [1, 2]}), ["a_b", "c"], ["a_b"])
    assert found["a_b"].tolist() == ["x ", "y"] and len(said) == 1
