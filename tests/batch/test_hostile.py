"""A report folder that was damaged, edited or written by somebody hostile: nothing outside it is
touched, no number changes without a word, and every fault ends in one sentence.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_helpers import report, seal, stub, stub_notebook
from nbformat.v4 import new_code_cell, new_notebook

from workbench.batch import folder as folder_module
from workbench.batch import grid
from workbench.batch.folder import Folder, explained, plan_text
from workbench.batch.kernels import PACKAGE_ROOT, isolated
from workbench.batch.progress import log, status
from workbench.batch.runner import make_spec
from workbench.batch.spec import Outcome
from workbench.batch.trust import check, demands
from workbench.batch.verify import verify
from workbench.batch.worker.pool import PREFIX, Warm, sweep
from workbench.cli import main
from workbench.errors import InputError
from workbench.files import write_text
from workbench.metrics.rows import ROW_COLUMNS, write_rows
from workbench.report.batch import Batch
from workbench.report.changes import compare
from workbench.report.publish import page_faults, page_of, publish
from workbench.tables.files import MOST_COLUMNS, read_file

GENERATORS = ("copy", "independent", "permuted")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished report whose cells were stored by the code that stores them, without running any."""
    place = tmp_path_factory.mktemp("finished")
    folder = report(place / "report", [f"'{name}'" for name in GENERATORS], seeds=(0, 1))
    plan = grid.plan(grid.read(folder))
    home = Folder(folder)
    home.write_plan(plan)
    with home.lock(wait=False):
        for number, cell in enumerate(plan.cells):
            home.store(plan, cell, outcome(place, 0.1 * number), [{}])
    return folder


def outcome(place: Path, value: float) -> Outcome:
    row = dict.fromkeys(ROW_COLUMNS, "")
    row |= {name: np.nan for name, kind in ROW_COLUMNS.items() if kind == "float64"}
    row |= {"metric": "marginals", "value": value}
    write_rows(pd.DataFrame([row]).astype(ROW_COLUMNS), place / "rows.parquet")
    write_rows(pd.DataFrame({"a": [value]}), place / "synthetic.parquet")
    files = {
        f"{name}.parquet": (place / f"{name}.parquet").read_bytes()
        for name in ("rows", "synthetic")
    }
    hashes = {
        name.removesuffix(".parquet"): grid.keys.digest(content) for name, content in files.items()
    }
    files |= {"cell.ipynb": b"{}", "log.txt": b"a \x1b[31mred\x1b[0m word\x07\n"}
    return Outcome(
        "ok", phase="", hashes=hashes, rows=1, files=files, started="2026-01-01T00:00:00Z"
    )


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def one_cell(folder: Path) -> Path:
    return sorted(folder.glob("runs/*"))[0]


def test_an_honest_copy_stands(folder):
    home = Folder(folder)
    assert set(home.cells()["status"]) == {"ok"} and not home.problems()
    assert not home.changed_files() and len(home.rows()) == 6


@pytest.mark.parametrize(
    "name, damage, words",
    [
        ("rows.parquet", lambda content: content[:100], "rows.parquet was changed"),
        ("rows.parquet", lambda content: b"", "rows.parquet was changed"),
        ("rows.parquet", None, "rows.parquet is missing"),
        ("manifest.json", lambda content: content[:100], "manifest.json was changed"),
        ("manifest.json", None, "manifest.json is missing"),
        ("DONE", lambda content: b"", "DONE is no JSON text"),
        ("DONE", lambda content: b"{}", "DONE does not vouch for"),
        ("DONE", lambda content: b"[1]", "DONE holds no JSON object"),
        ("DONE", lambda content: b"[" * 100_000, "DONE is no JSON text"),
        ("DONE", lambda content: b'{"../../../precious": "00"}', "DONE names the file"),
        ("log.txt", lambda content: content + b"!", "log.txt was changed"),
    ],
)
def test_a_damaged_cell_is_pending_and_the_page_stands(folder, name, damage, words):
    path = one_cell(folder) / name
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    home = Folder(folder)
    assert sorted(home.cells()["status"]) == ["ok"] * 5 + ["pending"]
    (problem,) = home.problems()
    assert words in problem and one_cell(folder).name[:12] in problem
    batch = Batch.read(folder)
    assert len(batch.rows) == 5 and batch.cells["status"].eq("pending").sum() == 1
    state = status(folder)
    assert state["pending"] == 1 and state["altered"] == [problem]


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "long"},
        {"phases": [1]},
        {"status": "splendid"},
        {"status": ["ok"]},
        {"hashes": {"rows": 7}},
        {"rows": 2**70},
        {"key": "another"},
        {"attempts": None},
        {"versions": "none"},
    ],
)
def test_a_manifest_of_another_shape_is_one_pending_cell(folder, change):
    path = one_cell(folder) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    done = path.with_name("DONE")
    hashes = json.loads(done.read_text()) | {"manifest.json": grid.keys.digest(path.read_bytes())}
    done.write_text(json.dumps(hashes))
    home = Folder(folder)
    assert sorted(home.cells()["status"]) == ["ok"] * 5 + ["pending"] and len(home.problems()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "{}",
        r'{"cells": [], "digest": "\ud800"}',
        '{"cells": 3}',
        '{"cells": [3]}',
        '{"cells": [{}]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_plan_is_one_sentence(folder, text, capsys):
    (folder / "plan.json").write_text(text)
    for command in (["status", str(folder)], ["report", str(folder)]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "plan.json" in error and error.count("\n") == 1


def test_stray_folders_are_nobodys_attempts(folder):
    for name in ("notes-old", "notes", "a-b-c", "x-99999999999999"):
        (folder / "failed" / name).mkdir(parents=True)
        (folder / "failed" / name / "manifest.json").write_text("{}")
    (folder / "runs" / "notes").mkdir()
    assert status(folder)["ok"] == 6


def test_rows_that_unfold_to_gigabytes_are_refused(folder):
    unfold(one_cell(folder), 2_000_000)
    home = Folder(folder)
    assert len(home.rows()) == 5
    assert "unfolds to more than 32 MB" in home.problems()[0]


def test_long_equal_texts_are_refused_before_they_are_written_out(folder):
    path = one_cell(folder) / "rows.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("note")
    note = pa.DictionaryArray.from_arrays(
        pa.array([0] * 2000, pa.int32()), pa.array(["x" * 1_000_000])
    )
    long = pa.concat_tables([table] * 2000).set_column(place, "note", note)
    pq.write_table(long, path, compression="zstd", store_schema=False)
    seal(path.parent)
    home = Folder(folder)
    assert len(home.rows()) == 5 and "unfolds to more than" in home.problems()[0]


@pytest.mark.parametrize("name", [".lock", ".tmp", "runs", "failed"])
def test_nothing_is_written_through_a_link(folder, tmp_path, name):
    """A received folder whose own names lead elsewhere: what they lead to keeps its bytes."""
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = outside / "precious.txt"
    precious.write_text("my notes")
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious if name == ".lock" else outside)
    before = sorted(path.name for path in outside.iterdir())
    plan = grid.plan(grid.read(folder))
    home = Folder(folder)
    bad = Outcome("error", "it broke")
    good = outcome(tmp_path, 0.5)
    if name == ".lock":
        with pytest.raises(InputError, match="is a link"), home.lock(wait=False):
            pass
    elif name == ".tmp":
        home.sweep()
        home.store(plan, plan.cells[0], good, [{}])
    else:
        with pytest.raises(InputError, match="is a link"):
            home.store(plan, plan.cells[0], good if name == "runs" else bad, [{}])
    assert precious.read_text() == "my notes"
    assert sorted(path.name for path in outside.iterdir()) == before


def test_a_lock_with_a_second_name_is_refused(folder, tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("my notes")
    (folder / ".lock").unlink(missing_ok=True)
    os.link(precious, folder / ".lock")
    with pytest.raises(InputError, match="is a link"), Folder(folder).lock(wait=False):
        pass
    assert precious.read_text() == "my notes"


def test_writing_replaces_a_link_and_leaves_no_half_file(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("my notes")
    (tmp_path / "page.html").symlink_to(precious)
    write_text(tmp_path / "page.html", "a page")
    assert precious.read_text() == "my notes" and (tmp_path / "page.html").read_text() == "a page"
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "other.html", "\ud800")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "precious.txt"]


def test_a_link_in_a_cell_is_not_read(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    path = one_cell(folder) / "log.txt"
    path.unlink()
    path.symlink_to(secret)
    assert "it is a link" in Folder(folder).problems()[0]
    seal(path.parent)  # even where DONE vouches for what the link leads to
    assert "it is a link" in Folder(folder).problems()[0]


def test_a_log_commands_no_terminal(folder):
    text = log(folder, one_cell(folder).name[:8])
    assert "a red word" in text and "\x1b" not in text and "\x07" not in text


def test_names_in_a_plan_and_a_grid_command_no_terminal(folder, tmp_path, capsys, monkeypatch):
    """Names of files and cells that hold what a terminal obeys, with every digest in order; a file
    whose name is no text.
    """
    plan = json.loads((folder / "plan.json").read_text())
    plan["files"] = {"\x1b]0;title\x07t.csv": "0" * 64, "a\u202eb": "0" * 64}
    (folder / "plan.json").write_text(plan_text(plan))
    home = one_cell(folder)
    Path(os.fsdecode(os.fsencode(home) + b"/\xff.html")).write_text("more")
    done = json.loads((home / "DONE").read_text()) | {"\x1b[31mred": "0" * 64, "nul\0": "0" * 64}
    (home / "DONE").write_text(json.dumps(done))
    # One cell is run again, without metrics: what is looked at are the names that are printed.
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))
    commands = {"status": [], "verify": ["--cells", "1"], "log": ["0"]}
    for command, options in commands.items():
        main([command, str(folder), *options])
        said = "".join(capsys.readouterr())
        assert not re.search("[\x1b\x07\u202e]", said) and "Traceback" not in said
        if command == "verify":
            assert "title" in said and "different" in said, "names and a verdict were printed"
    text = (folder / "grid.toml").read_text()
    rows = '{name = "copy", label = "a\\u001b[31mred"}'
    (folder / "grid.toml").write_text(text.replace("'copy'", rows))
    assert main(["run", str(folder)]) == 2
    assert "holds a control character" in capsys.readouterr().err


def test_a_damaged_cell_is_left_out_of_what_changed(finished, folder):
    (one_cell(folder) / "rows.parquet").write_bytes(b"")
    found = compare(finished, folder)
    assert len(found.cells) == 6 and found.cells["status_after"].eq("pending").sum() == 1


@pytest.mark.parametrize(
    "name, value",
    [
        ("seconds", "1" + "0" * 4000),
        ("peak_mb", "1e999"),
        ("seconds", "NaN"),
        ("rows", "-Infinity"),
    ],
)
def test_a_number_that_nothing_holds_is_one_pending_cell(folder, name, value):
    home = one_cell(folder)
    record = json.loads((home / "manifest.json").read_text())
    text = json.dumps(record | {name: "HERE"}).replace('"HERE"', value)
    (home / "manifest.json").write_text(text)
    done = json.loads((home / "DONE").read_text())
    done["manifest.json"] = grid.keys.digest(text.encode())
    (home / "DONE").write_text(json.dumps(done))
    state = status(folder)
    assert state["pending"] == 1 and "manifest.json is no JSON text" in state["altered"][0]


@pytest.mark.parametrize(
    "text",
    [
        "a." * 500_000 + "a = 1",
        '"a".' * 300_000 + "a = 1",
        "seeds = [" + "9" * 5000 + "]",
        "seeds = [0x" + "f" * 5000 + "]",
        "seeds = [99999999999999999999]",
        "title = " + "[" * 100_000,
        "generators = [{name = 'copy', params = {x = 1e400}}]\ndatasets = ['diabetes']",
        "generators = ['copy']\ndatasets = [{path = '" + "x" * 5000 + "'}]",
        "generators = ['copy']\ndatasets = [{name = '../" + "x" * 5000 + "'}]",
        "generators = ['./" + "x" * 5000 + ".py:A']\ndatasets = ['diabetes']",
    ],
    ids=range(10),
)
def test_a_grid_of_any_kind_ends_in_a_sentence(tmp_path, text, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    (tmp_path / "grid.toml").write_text(text)
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        grid.read(tmp_path)
    assert time.process_time() - began < 5 and len(str(caught.value)) < 7000


def test_a_name_of_a_table_leads_out_of_no_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.csv").write_text("a,b\n" + "1,x\n2,y\n" * 30)
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "data"))
    for name in ("../secret", str(tmp_path / "secret")):
        text = f"generators = ['copy']\ndatasets = [{{name = '{name}', target = 'b'}}]\n"
        (tmp_path / "grid.toml").write_text(text)
        with pytest.raises(InputError, match="unknown dataset"):
            grid.read(tmp_path)


@pytest.mark.parametrize("name", ["index.html", "report.ipynb", "plan.json", ".running.json"])
def test_a_folder_in_the_place_of_a_file_is_one_sentence(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(InputError, match="remove what is in its way"), explained(folder):
        write_text(folder / name, "{}")
    assert page_faults(Folder(folder)) or name[-5:] == ".json"


@pytest.mark.parametrize("name", ["runs", "failed", ".tmp"])
def test_a_folder_that_becomes_a_link_in_mid_run_leads_nowhere(folder, tmp_path, monkeypatch, name):
    """Somebody who may write there swaps it while a cell is being stored."""
    outside = tmp_path / "outside"
    outside.mkdir()
    plan = grid.plan(grid.read(folder))
    write = folder_module._write_folder

    def swap_then_write(*arguments):
        (folder / name).mkdir(exist_ok=True)
        (folder / name).rename(tmp_path / "elsewhere")
        (folder / name).symlink_to(outside)
        write(*arguments)

    monkeypatch.setattr(folder_module, "_write_folder", swap_then_write)
    ending = Outcome("error", "it broke \ud800") if name == "failed" else outcome(tmp_path, 0.5)
    Folder(folder).store(plan, plan.cells[0], ending, [{}])
    assert not list(outside.iterdir())


def test_a_file_of_a_cell_is_stored_in_its_folder_alone(folder, tmp_path):
    plan = grid.plan(grid.read(folder))
    bad = replace(outcome(tmp_path, 0.5), files={"../../escaped.txt": b"x"})
    with pytest.raises(InputError, match="is no name"):
        Folder(folder).store(plan, plan.cells[0], bad, [{}])
    assert not (folder / "escaped.txt").exists()


def test_a_file_too_large_to_be_compared_is_not_read(folder):
    os.truncate(one_cell(folder) / "synthetic.parquet", 3_000_000_000)  # it takes no space
    (problem,) = Folder(folder).problems()
    assert "at most 2,000,000,000 are read" in problem


def test_verify_finds_forged_numbers_swapped_names_and_struck_cells(
    folder, monkeypatch, tmp_path, capsys
):
    """All of it at once, as somebody would do who wants a better page."""
    monkeypatch.setattr("workbench.batch.verify.run_cells", lambda *_: None)
    monkeypatch.setattr("workbench.batch.verify._compare", lambda *_: ("identical", ""))
    assert set(verify(folder)["verdict"]) == {"identical"}
    runs = sorted(folder.glob("runs/*"))
    for place in runs[:-1]:
        rows = pd.read_parquet(place / "rows.parquet")
        write_rows(rows.assign(value=0.999), place / "rows.parquet")
        (place / "DONE").write_text("{}")
    plan = json.loads((folder / "plan.json").read_text())
    other = {"copy": "independent", "independent": "copy"}
    for cell in plan["cells"]:
        cell["label"] = cell["generator"] = other.get(cell["label"], cell["label"])
    struck = plan["cells"].pop()
    (folder / "plan.json").write_text(json.dumps(plan))
    table = verify(folder)
    different = table[table["verdict"] == "different"]
    assert set(different["key"]) >= {place.name for place in runs[:-1]} | {struck["key"]}
    assert "it was changed after it was written" in set(different["detail"])
    assert different["detail"].str.contains("plan.json lacks this cell").sum() == 1
    with pytest.raises(InputError, match=r"plan\.json was changed"):
        Batch.read(folder)
    assert main(["verify", str(folder), "--trust"]) == 1  # trust in a sender is no proof
    said = capsys.readouterr().out
    assert all(place.name[:12] in said for place in runs[:-1]) and "plan.json" in said
    assert struck["label"] in said


def test_two_plugins_with_one_file_name_stay_apart(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        code = f"class Gen:\n    which = {place!r}\n"
        (tmp_path / place / "x.py").write_text(code)
    row = "{name = './a/x.py:Gen', params = {helper = './b/x.py:Gen'}}"
    folder = report(tmp_path, [row])
    plan = grid.plan(grid.read(folder))
    spec = make_spec(plan, plan.cells[0], "", {})
    names = spec.parameters["generator"], spec.parameters["params"]["helper"]
    codes = [spec.files[name.removeprefix("./").rpartition(":")[0]] for name in names]
    assert "'a'" in codes[0] and "'b'" in codes[1]


def test_a_kernels_variables_are_in_no_manifest(folder, tmp_path):
    plan = grid.plan(grid.read(folder))
    for inputs in plan.inputs.values():
        inputs["kernel_spec"] = {"argv": ["python"], "env": {"API_TOKEN": "tok-secret"}}
    home = Folder(folder).store(plan, plan.cells[0], outcome(tmp_path, 0.5), [{}])
    text = (home / "manifest.json").read_text()
    assert "API_TOKEN" in text and "tok-secret" not in text


def test_a_strangers_grid_runs_and_reads_nothing_without_a_yes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = report(tmp_path / "received", [stub()])
    (tmp_path / "private.csv").write_text("a,b\n" + "1,x\n2,y\n" * 30)
    text = (folder / "grid.toml").read_text()
    rows = "datasets = [{path = '../private.csv', target = 'b'}]"
    (folder / "grid.toml").write_text(text.replace("datasets = ['diabetes']", rows))
    wanted = grid.read(folder)
    assert [line.split(" (")[0] for line in demands(wanted)] == [
        "run the code of stub.py",
        "read the file ../private.csv",
    ]
    assert main(["run", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "stub.py" in error and "../private.csv" in error and "--trust" in error
    assert not (folder / "runs").exists()
    check(wanted, trust=True)
    check(wanted, trust=False)  # the yes is remembered
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    check(grid.read(moved), trust=False)  # by content, wherever the folder lies
    elsewhere = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, elsewhere)
    (tmp_path / "elsewhere" / "private.csv").write_text("a,b\n" + "1,x\n2,y\n" * 30)
    with pytest.raises(InputError, match=r"read the file \.\./private\.csv"):
        check(grid.read(elsewhere), trust=False)  # the same name is another file there
    (folder / "stub.py").write_text((folder / "stub.py").read_text() + "\n# more\n")
    with pytest.raises(InputError, match="--trust"):
        check(grid.read(folder), trust=False)


@pytest.mark.parametrize("value", ["/etc/passwd", "../../x.json", "https://evil.example/v1", "~/x"])
def test_a_parameter_that_leads_out_of_the_folder_is_named(tmp_path, monkeypatch, value):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    row = f"{{name = 'llm', params = {{base_url = {value!r}, model = 'm'}}}}"
    folder = report(tmp_path / "received", [row])
    (line,) = demands(grid.read(folder))
    assert line.split(" (")[0] == f"give llm the place {value}"


def test_a_link_of_any_name_leads_out(tmp_path):
    folder = tmp_path / "received"
    folder.mkdir()
    (tmp_path / "private.csv").write_text("a,b\n" + "1,x\n2,y\n" * 30)
    name = "x" * 230 + ".csv"
    (folder / name).symlink_to(tmp_path / "private.csv")
    text = f"generators = ['copy']\n[[datasets]]\npath = '{name}'\nname = 't'\ntarget = 'b'\n"
    (folder / "grid.toml").write_text(text)
    (line,) = demands(grid.read(folder))
    assert str(tmp_path / "private.csv") in line


def test_kernels_servers_and_real_rows_are_named(tmp_path, monkeypatch):
    place = tmp_path / "jupyter" / "kernels" / "peer"
    place.mkdir(parents=True)
    spec = {"argv": ["python"], "display_name": "Peer", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("OPENAI_BASE_URL", "https://paid.example/v1")
    rows = [
        "{name = 'independent', kernel = 'peer'}",
        "{name = 'llm', params = {model = 'm', share_real_rows = true}}",
    ]
    lines = demands(grid.read(report(tmp_path / "received", rows)))
    assert [line.split(" (")[0] for line in lines] == [
        "start your Jupyter kernel peer",
        "let llm send real rows of its tables to a model server",
        "let llm ask the model server https://paid.example/v1, which may cost money",
    ]
    (place / "kernel.json").write_text(json.dumps(spec | {"argv": ["another"]}))
    assert demands(grid.read(tmp_path / "received"))[0] != lines[0]


def test_a_grid_within_its_folder_needs_no_yes(tmp_path):
    folder = report(tmp_path / "own", ["'copy'"])
    assert demands(grid.read(folder)) == []


def test_draws_may_be_a_number_or_a_list_and_have_an_end(tmp_path):
    assert grid.read(report(tmp_path, ["'copy'"], head="draws = 2")).draws == (0, 1)
    assert grid.read(report(tmp_path, ["'copy'"], head="draws = [0, 3]")).draws == (0, 3)
    for wrong in ("draws = 1000000000", "draws = 0", "draws = true", "draws = 'x'", "draws = []"):
        with pytest.raises(InputError, match="draws is"):
            grid.read(report(tmp_path, ["'copy'"], head=wrong))
    with pytest.raises(InputError, match="at most 200,000 are planned"):
        head = f"draws = 100000\nsplits = {list(range(5))}"
        grid.read(report(tmp_path, ["'copy'"], head=head))
    with pytest.raises(InputError, match="too deeply"):
        grid.read(report(tmp_path, ["'copy'"], head="x = " + "[" * 5000 + "]" * 5000))


def test_devices_pipes_and_bombs_end_in_a_sentence(tmp_path, monkeypatch):
    import gzip

    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        with pytest.raises(InputError, match="no regular file"):
            read_file(tmp_path / name)
    monkeypatch.setenv("WORKBENCH_MOST_MB", "5")
    with gzip.open(tmp_path / "bomb.csv.gz", "wb") as file:
        file.write(b"a,b\n" + b"1,1\n" * 2_000_000)
    with pytest.raises(InputError, match="unfolds to more than 5 MB"):
        read_file(tmp_path / "bomb.csv.gz")
    monkeypatch.setenv("WORKBENCH_MOST_MB", "much")
    with pytest.raises(InputError, match="WORKBENCH_MOST_MB"):
        read_file(tmp_path / "bomb.csv.gz")
    monkeypatch.delenv("WORKBENCH_MOST_MB")
    wide = ",".join(f"c{i}" for i in range(MOST_COLUMNS + 1))
    (tmp_path / "wide.csv").write_text(wide + "\n" + wide + "\n")
    with pytest.raises(InputError, match=r"5,001 columns"):
        read_file(tmp_path / "wide.csv")


def test_parquet_of_a_strange_make_ends_in_a_sentence(tmp_path):
    table = pa.table({"a": list(range(50)), "b": list(range(50))})
    about = {"index_columns": ["zz"], "columns": [], "column_indexes": []}
    path = tmp_path / "meta.parquet"
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(about)}), path)
    with pytest.raises(InputError, match=r"meta\.parquet"):
        read_file(path)
    pq.write_table(
        pa.table({"a": pa.array([b"\xff"] * 50), "b": list(range(50))}), tmp_path / "bytes.parquet"
    )
    with pytest.raises(InputError, match="holds bytes"):
        read_file(tmp_path / "bytes.parquet")


def test_a_dangling_link_in_the_temporary_folder_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{PREFIX}-999-1-x").symlink_to("/nonexistent")
    dead = tmp_path / f"{PREFIX}-999999999-1-y"
    dead.mkdir()
    sweep()
    assert not dead.exists()


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="is gone"), explained(tmp_path / "gone"):
        write_text(tmp_path / "gone" / "plan.json", "{}")


def test_the_pages_kernel_imports_nothing_that_lies_in_the_folder(folder, tmp_path, monkeypatch):
    """A module beside the grid with the name of one that every kernel imports; braces in the name."""
    place = tmp_path / "re{x}ceived"
    shutil.copytree(folder, place)
    marker = tmp_path / "executed"
    code = f"open({str(marker)!r}, 'w').close()\nraise SystemExit\n"
    for name in ("ipykernel_launcher.py", "ipykernel.py", "pandas.py", "ipython_config.py"):
        (place / name).write_text(code)
    cells = [
        new_code_cell('folder = ""', metadata={"tags": ["parameters"]}),
        new_code_cell(
            "import os, sys, pandas\nprint(folder, os.listdir('.'), sys.flags.safe_path)"
        ),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(
        new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "report.ipynb"
    )
    monkeypatch.chdir(place)
    digest = Folder(place).rows_digest()
    about = {"folder": str(place)}
    publish(tmp_path / "report.ipynb", about, place, "title", "index.html", home=Folder(place))
    assert not marker.exists()
    notebook, page = ((place / name).read_text() for name in ("report.ipynb", "index.html"))
    assert str(tmp_path) not in notebook and str(Path.home()) + "/" not in notebook
    assert digest in notebook and f'content="{digest}"' in page
    assert "True" in nbformat.reads(notebook, 4).cells[-1].outputs[0].text
    assert page_faults(Folder(place)) == []
    for name, text in (("index.html", page), ("report.ipynb", notebook)):
        for altered in (text.replace("title", "titel"), text + " ", text[:-40], ""):
            (place / name).write_text(altered if altered != text else text[1:])
            (fault,) = page_faults(Folder(place))
            assert name in fault
        (place / name).write_text(text)
    one = one_cell(place) / "rows.parquet"
    one.write_bytes(b"")
    assert all("written from other rows" in fault for fault in page_faults(Folder(place)))
    assert len(page_faults(Folder(place))) == 2


def test_a_page_takes_no_template_from_the_working_directory(tmp_path, monkeypatch):
    """nbconvert looks there for templates, whose settings name what it imports and calls."""
    marker = tmp_path / "executed"
    for name in ("lab", "base", "classic"):
        (tmp_path / name).mkdir()
        call = {"type": "subprocess.run", "args": ["touch", str(marker)], "enabled": True}
        (tmp_path / name / "conf.json").write_text(json.dumps({"preprocessors": {"x": call}}))
        for file in ("index.html.j2", "base.html.j2", "null.j2", "mathjax.html.j2"):
            (tmp_path / name / file).write_text("altered")
    monkeypatch.chdir(tmp_path)
    page = page_of("title", ["# Heading"])
    assert "Heading" in page and "altered" not in page and not marker.exists()


def test_a_started_interpreter_imports_nothing_from_where_it_starts(monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", "tables")
    monkeypatch.setenv("WORKBENCH_REFERENCES", "references")
    given = os.pathsep.join(["", ".", "relative", "/absolute"])
    found = isolated(os.environ | {"PYTHONPATH": given})
    assert found["PYTHONPATH"].split(os.pathsep) == [str(PACKAGE_ROOT), "/absolute"]
    assert found["PYTHONSAFEPATH"] == "1" and os.path.isabs(found["WORKBENCH_DATA"])
    # A cell's folder is another one than that of the person who named this.
    of_cells = Warm._environment(SimpleNamespace(folder=Path("warm")), 1)
    assert of_cells["WORKBENCH_REFERENCES"] == str(Path("references").absolute())


# How a disk that takes nothing looks to a process: no file grows beyond zero bytes, or whatever would
# write below a folder is refused.
NO_DISK = {
    "full": """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
""",
    "read-only": """
import errno, os, sys
def refuse(event, arguments):
    path = arguments[0] if arguments else None
    writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
    if event == "open":
        writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if writes and isinstance(path, (str, os.PathLike)) and str(path).startswith(ROOT):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
sys.addaudithook(refuse)
""",
}


@pytest.mark.parametrize("disk", NO_DISK)
def test_a_disk_that_takes_nothing_ends_in_a_sentence_and_leaves_no_half_file(
    folder, tmp_path, disk
):
    table = str(tmp_path / "t.csv")
    Path(table).write_text("a,b\n" + "1,x\n2,y\n" * 30)
    out = str(tmp_path / "out.csv")
    commands = [
        ["index", str(tmp_path)],
        ["generate", table, "--generator", "independent", "--out", out],
        ["inspect", table, "--out", str(tmp_path / "schema.json")],
        ["run", str(folder)],
        ["report", str(folder)],
        ["report", "--compare", str(folder), str(folder), "--out", str(tmp_path / "c.html")],
        ["audit", table, table, "--target", "b", "--out", str(tmp_path / "audit")],
    ]
    code = f"""
import contextlib, io, os
from workbench.cli import main
ROOT = {str(tmp_path)!r}
{NO_DISK[disk]}
for command in {commands!r}:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(command)
    os.write(1, f"{{code}} {{said.getvalue().strip().splitlines()[-1]}}\\n".encode())
"""
    before = files_in(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    lines = done.stdout.splitlines()
    assert [line[:2] for line in lines] == ["2 "] * len(commands), (lines, done.stderr)
    said = ("cannot be written", "can be written", "no space left")
    assert all(any(words in line for words in said) for line in lines), lines
    assert files_in(tmp_path) == before


def files_in(folder: Path) -> dict[Path, bytes]:
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: content for path, content in found.items() if path.name != ".lock"}


BOMBS = ("csv", "plan", "many rows", "plug-in")
MORE_BOMBS = ("wide", "long row", "parquet", "texts", "rows", "grid")
MOST_MEMORY = 1_000_000  # KB


@pytest.mark.parametrize(
    "bomb", [*BOMBS, *(pytest.param(bomb, marks=pytest.mark.long) for bomb in MORE_BOMBS)]
)
def test_no_bomb_takes_a_gigabyte(folder, tmp_path, bomb):
    """The most that a process of its own had in memory while it read or refused a file of a size
    just below the limits, or one far beyond them.
    """
    path = tmp_path / "bomb.csv.gz"
    if bomb in ("csv", "wide", "long row"):
        line = {"csv": b"1,1\n", "wide": b",", "long row": b","}[bomb]
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b"" if bomb == "wide" else b"a,b\n")
            for _ in range(7):  # below the limit, by little
                file.write(line * (4_000_000 // len(line)))
    elif bomb == "parquet":
        path = tmp_path / "bomb.parquet"
        column = pa.array(np.zeros(1_900_000))
        pq.write_table(pa.table({"a": column, "b": column}), path, compression="zstd")
    elif bomb == "texts":
        path = tmp_path / "bomb.parquet"
        column = pa.DictionaryArray.from_arrays(np.zeros(60, "int32"), pa.array(["x" * 500_000]))
        pq.write_table(pa.table({"a": column, "b": column}), path, store_schema=False)
    elif bomb in ("rows", "many rows"):
        for home in sorted(folder.glob("runs/*"))[: 1 if bomb == "rows" else None]:
            unfold(home, 390_000 if bomb == "rows" else 150_000)
    elif bomb == "plan":
        (folder / "plan.json").write_text('{"cells": [' + "{}," * 20_000_000 + "{}]}")
    elif bomb == "grid":
        (folder / "grid.toml").write_text("x = [" + "{}," * 1_300_000 + "]")
    else:
        text = (folder / "grid.toml").read_text().replace("'copy'", "'./x.py:A', 'copy'")
        (folder / "grid.toml").write_text(text)
        (folder / "x.py").symlink_to("/dev/zero")
    place = str(path if path.exists() else folder)
    code = f"""
import sys
from pathlib import Path
from workbench.batch.folder import Folder
from workbench.cli import main
from workbench.errors import InputError
from workbench.tables.files import read_file
try:
    if {bomb!r} in ("plan", "grid", "plug-in"):
        main(["status" if {bomb!r} == "plan" else "run", {place!r}])
    elif {bomb!r} in ("rows", "many rows"):
        home = Folder({place!r})
        print(len(home.rows()), home.problems())
    else:
        print(read_file(Path({place!r})).shape)
except InputError as error:
    print(error, file=sys.stderr)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    memory = int(done.stdout.splitlines()[-1])
    print(bomb, memory, done.stdout[-200:], done.stderr[-200:])
    assert memory < MOST_MEMORY and "Traceback" not in done.stderr, (memory, done.stderr)


def unfold(home: Path, n: int) -> None:
    """Give a cell so many equal rows."""
    path = home / "rows.parquet"
    schema = pq.read_schema(path).remove_metadata()
    columns = []
    for field in schema:
        if "string" in str(field.type):
            columns.append(pa.repeat(pa.scalar("marginals", pa.string()), n).cast(field.type))
        else:
            columns.append(pa.nulls(n, field.type))
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="zstd")
    seal(home)


def test_hostile_code_and_pipes_in_a_grid_end_in_a_sentence(tmp_path):
    """Read before anybody is asked: it must neither hang nor break the reader."""
    folder = report(tmp_path / "received", ["'./x.py:A'"])
    for code in ("x = " + "-" * 200_000 + "1", "a" + ".a" * 200_000, "x\0", "(" * 200_000):
        (folder / "x.py").write_text(code)
        with pytest.raises(InputError, match=r"x\.py"):
            grid.read(folder)
    (folder / "x.py").unlink()
    os.mkfifo(folder / "x.py")
    with pytest.raises(InputError, match="no regular file"):
        grid.read(folder)
    (folder / "grid.toml").unlink()
    os.mkfifo(folder / "grid.toml")
    with pytest.raises(InputError, match="no regular file"):
        grid.read(folder)
