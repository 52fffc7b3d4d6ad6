"""A finished folder of which one thing was altered: `verify` notices every one, the cheap check of
`report` and `status` nearly every one, and neither ends in a traceback.
"""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batch_helpers import report, seal, stub

from workbench.batch import grid
from workbench.batch.folder import Folder
from workbench.batch.progress import log, status
from workbench.batch.spec import Outcome
from workbench.batch.verify import verify
from workbench.errors import InputError
from workbench.metrics.rows import ROW_COLUMNS, read_rows, write_rows
from workbench.report import publish

ALTERATIONS = 30


def honest(place: Path, cell: grid.Cell) -> Outcome:
    """What a cell gives whenever it is run: a number of its own, a skipped one or a failed one."""
    about = {"started": "2026-01-01T00:00:00Z", "seconds": 1.0}
    if (cell.label, cell.seed) == ("permuted", 0):
        return Outcome("skipped", "no such table", **about, files={"log.txt": b"skipped\n"})
    if (cell.label, cell.seed) == ("permuted", 1):
        return Outcome("error", "it broke", **about, files={"log.txt": b"broke\n"})
    value = len(cell.label) + 0.1 * cell.seed
    row = dict.fromkeys(ROW_COLUMNS, "")
    row |= {name: np.nan for name, kind in ROW_COLUMNS.items() if kind == "float64"}
    row |= {"metric": "marginals", "value": value, "state": "ok"}
    tables = {"rows": pd.DataFrame([row] * 3).astype(ROW_COLUMNS)}
    tables["synthetic"] = pd.DataFrame({"a": np.arange(20) + value})
    files, hashes = {"cell.ipynb": b'{"cells": []}', "log.txt": b"a word\n"}, {}
    for name, table in tables.items():
        write_rows(table, place / f"{name}.parquet")
        content = (place / f"{name}.parquet").read_bytes()
        files[f"{name}.parquet"] = content
        hashes[name] = grid.keys.digest(content)
    return Outcome("ok", phase="", hashes=hashes, rows=20, files=files, **about)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A report of its own table and plug-in, with a page."""
    place = tmp_path_factory.mktemp("finished")
    rows = ["'copy'", stub(), "'permuted'"]
    folder = report(place / "report", rows, seeds=(0, 1))
    (folder / "t.csv").write_text("a,b\n" + "1.5,x\n2.5,y\n3.5,x\n" * 40)
    text = (folder / "grid.toml").read_text()
    table = "datasets = [{path = 't.csv', target = 'b'}]"
    (folder / "grid.toml").write_text(text.replace("datasets = ['diabetes']", table))
    plan = grid.plan(grid.read(folder))
    home = Folder(folder)
    home.write_plan(plan)
    for cell in plan.cells:
        home.store(plan, cell, honest(place, cell), [{}])
    rows = home.rows_digest()
    page = f'<!DOCTYPE html><meta name="workbench-rows" content="{rows}"><p>Numbers.</p>\n'
    (folder / "index.html").write_text(page + publish._seal(page))
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "report.ipynb").write_text(publish._sealed_notebook(notebook, rows))
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    def run_again(plan, again, cells, *_):
        again.write_plan(plan)
        for cell in cells:
            again.store(plan, cell, honest(tmp_path, cell), [{}])

    monkeypatch.setattr("workbench.batch.verify.run_cells", run_again)
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def append(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + draw.choice([b" ", b"\n", b"\0", b"0"]))


def cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def link(path: Path, draw: random.Random) -> None:
    """The same bytes, but elsewhere: what they are tomorrow is another's choice."""
    target = path.parent / f".{path.name}"
    path.rename(target)
    path.symlink_to(target)


def swap(path: Path, draw: random.Random) -> None:
    """Another cell's file of this name."""
    others = sorted(other for other in path.parent.parent.glob(f"*/{path.name}") if other != path)
    others = [other for other in others if other.read_bytes() != path.read_bytes()]
    if not others or path.parent.parent.name not in ("runs", "failed"):
        flip(path, draw)
    else:
        path.write_bytes(draw.choice(others).read_bytes())


def retouch(path: Path, draw: random.Random) -> None:
    """Another number, in a file that is otherwise as good as before."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        name = "value" if "value" in table else "a"
        table.loc[0, name] += 0.001
        write_rows(table, path)
    elif path.suffix in (".json", ".ipynb") or path.name in ("DONE", "DIGESTS"):
        value = json.loads(path.read_text())
        path.write_text(json.dumps(value | {"note": draw.random()}))
    else:
        flip(path, draw)


def add(path: Path, draw: random.Random) -> None:
    """A file beside it that no run stored."""
    inside = path.parent.parent.name in ("runs", "failed")
    if inside:
        (path.parent / "more.html").write_text("more")
    else:
        flip(path, draw)


def remove_cell(path: Path, draw: random.Random) -> None:
    if path.parent.parent.name in ("runs", "failed"):
        shutil.rmtree(path.parent)
    else:
        path.unlink()


HOW = (flip, flip, flip, append, cut, remove, link, swap, retouch, add, remove_cell)


def noticed_cheaply(folder: Path, expected: dict) -> bool:
    """What `status` and `report` compare before a page is made."""
    try:
        home = Folder(folder)
        home.rows()
        faults = [*home.problems(), *home.strays(), *home.changed_files()]
        faults += publish.page_faults(home)
        return bool(faults) or home.statuses(expected) != expected
    except InputError:
        return True  # one sentence, which names the file


def noticed_by_verify(folder: Path) -> bool:
    try:
        verdicts = set(verify(folder, progress=False)["verdict"])
        return bool(verdicts & {"different", "not verified"} or publish.page_faults(Folder(folder)))
    except InputError:
        return True


def alter(folder: Path, tmp_path: Path, count: int) -> tuple[list, list]:
    """Alter one thing at a time; returns what the cheap check and what verify did not notice."""
    draw = random.Random(0)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name.name != ".lock"]
    expected = Folder(folder).statuses(cell["key"] for cell in Folder(folder).plan["cells"])
    assert Counter(expected.values()) == {"ok": 4, "skipped": 1, "error": 1}
    assert not noticed_cheaply(folder, expected) and not noticed_by_verify(folder)
    missed: tuple[list, list] = ([], [])
    for number in range(count):
        name, how = draw.choice(names), draw.choice(HOW)
        altered = tmp_path / "altered"
        shutil.copytree(folder, altered)
        before = altered.joinpath(name).read_bytes()
        how(altered / name, draw)
        after = altered / name
        same = after.is_file() and not after.is_symlink() and after.read_bytes() == before
        assert not same or how in (add,), (name, how)
        about = (number, how.__name__, str(name))
        if not noticed_cheaply(altered, expected):
            missed[0].append(about)
        if not noticed_by_verify(altered):
            missed[1].append(about)
        shutil.rmtree(altered)
    return missed


def test_an_alteration_is_noticed(folder, tmp_path):
    cheap, verified = alter(folder, tmp_path, ALTERATIONS)
    assert not verified and len(cheap) <= ALTERATIONS // 100, (cheap, verified)


@pytest.mark.long
def test_five_hundred_alterations_are_noticed(folder, tmp_path):
    """Its quick sibling is test_an_alteration_is_noticed."""
    cheap, verified = alter(folder, tmp_path, 500)
    print(f"{len(cheap)} of 500 unnoticed by the cheap check, {len(verified)} by verify: {cheap}")
    assert not verified and len(cheap) <= 5, (cheap, verified)


def forge(folder: Path) -> None:
    """Another number in every finished cell, and every digest made anew: nothing on disk differs
    from what its record says.
    """
    for home in sorted(folder.glob("runs/*")):
        record = json.loads((home / "manifest.json").read_text())
        if record["status"] == "ok":
            write_rows(read_rows(home / "rows.parquet").assign(value=0.999), home / "rows.parquet")
            record["hashes"]["rows"] = grid.keys.digest((home / "rows.parquet").read_bytes())
        (home / "manifest.json").write_text(json.dumps(record))
        files = [path for path in home.iterdir() if path.name != "DONE"]
        digests = {path.name: grid.keys.digest(path.read_bytes()) for path in files}
        (home / "DONE").write_text(json.dumps(digests))
    rows = Folder(folder).rows_digest()
    page = f'<!DOCTYPE html><meta name="workbench-rows" content="{rows}"><p>Numbers.</p>\n'
    (folder / "index.html").write_text(page + publish._seal(page))
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "report.ipynb").write_text(publish._sealed_notebook(notebook, rows))


def test_digests_that_were_forged_together_are_seen_by_the_re_run_alone(folder):
    home = Folder(folder)
    expected = home.statuses(cell["key"] for cell in home.plan["cells"])
    forge(folder)
    assert not noticed_cheaply(folder, expected)
    table = verify(folder, progress=False)
    different = table[table["verdict"] == "different"]
    assert len(different) == 4 and different["detail"].str.contains("0.999 then").all()


def test_a_skipped_cell_is_run_again_and_a_failed_one_is_named(folder):
    verdicts = verify(folder, progress=False).set_index(["label", "seed"])["verdict"]
    assert verdicts["permuted", 0] == "identical"
    assert verdicts["permuted", 1] == "not run again"


def forge_manifests(folder: Path, **changes) -> None:
    """Other words in every manifest, with every digest in order: only a sender can have done it."""
    for home in [*folder.glob("runs/*"), *folder.glob("failed/*")]:
        record = json.loads((home / "manifest.json").read_text()) | changes
        for name in ("traceback", "seconds", "peak_mb"):
            record.pop(name, None)
        (home / "manifest.json").write_text(json.dumps(record))
        seals = "DONE" if home.parent.name == "runs" else "DIGESTS"
        files = [path for path in home.iterdir() if path.name != seals]
        digests = {path.name: grid.keys.digest(path.read_bytes()) for path in files}
        (home / seals).write_text(json.dumps(digests))


def test_a_manifest_that_lacks_what_older_versions_lacked_stands(folder):
    forge_manifests(folder, inputs={})
    assert status(folder)["ok"] == 4
    key = next(iter(folder.glob("runs/*"))).name
    assert "seed" in log(folder, key)
    assert "different" in set(verify(folder, progress=False)["verdict"])


@pytest.mark.parametrize("cell", [{}, {"dataset": 3, "label": [1], "split": "x", "seed": None}])
def test_a_manifest_that_says_nothing_of_its_cell_is_one_of_a_pending_cell(folder, cell):
    forge_manifests(folder, cell=cell)
    found = status(folder)
    assert found["pending"] == 6 and "manifest.json holds a cell whose" in found["altered"][0]
    assert "different" in set(verify(folder, progress=False)["verdict"])


def test_verify_reads_forged_rows_up_to_a_limit(folder):
    """Rows that unfold to gigabytes, or hold no number at all, with every digest in order."""
    homes = [home for home in sorted(folder.glob("runs/*")) if (home / "rows.parquet").exists()]
    for home, repeats in zip(homes, (500_000, 1), strict=False):
        table = read_rows(home / "rows.parquet").assign(value=None)
        write_rows(table.loc[table.index.repeat(repeats)], home / "rows.parquet")
        seal(home)
    table = verify(folder, progress=False).set_index("key")
    different = table[table["verdict"] == "different"]["detail"]
    assert "unfolds to more than" in different[homes[0].name]
    assert different[homes[1].name].startswith("marginals: nan then")
