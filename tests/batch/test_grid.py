"""grid.toml: every mistake names its line, and a cell's key changes with what its numbers depend
on, and nothing else.
"""

import shutil
from pathlib import Path

import pytest
from batch_helpers import report, stub

from workbench.batch import grid
from workbench.batch import keys as provenance
from workbench.batch.keys import PACKAGE, uses, versions
from workbench.errors import InputError

GOOD = """
title = "Two"
seeds = [0, 1]

[[datasets]]
name = "diabetes"

[[generators]]
name = "copy"

[[generators]]
name = "cart"
params = { min_samples_leaf = 7 }

[limits]
seconds = 60
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "grid.toml").write_text(text)
    return folder


def test_read_gives_every_choice_or_its_default(tmp_path):
    read = grid.read(write(tmp_path, GOOD))
    assert (read.title, read.seeds, read.rows, read.threads) == ("Two", (0, 1), None, 1)
    assert read.limits == grid.Limits(60, grid.Limits.memory_mb, 0)
    assert [row["label"] for row in read.generators] == ["copy", "cart"]
    assert read.generators[1]["params"] == {"min_samples_leaf": 7}


MISTAKES = {
    "misspelt top key": (("seeds = [0, 1]", "sedes = [0, 1]"), 3, "sedes.*did you mean seeds"),
    "misspelt limit": (("seconds = 60", "secs = 60"), 16, "secs"),
    "misspelt generator key": (("params = {", "param = {"), 13, "param.*did you mean params"),
    "unknown generator": (('name = "copy"', 'name = "copie"'), 9, "copie.*did you mean copy"),
    "unknown parameter": (
        ("min_samples_leaf = 7", "min_samples_leef = 7"),
        13,
        "min_samples_leef.*min_samples_leaf",
    ),
    "unknown dataset": (('"diabetes"', '"diabetis"'), 6, "diabetis.*did you mean diabetes"),
    "seeds that are no list": (("[0, 1]", "3"), 3, "seeds is 3; give a list"),
    "seeds that are no numbers": (("[0, 1]", "[0, 'a']"), 3, "whole numbers"),
    "the same seed twice": (("[0, 1]", "[1, 1]"), 3, "different"),
    "text for a number": (("seconds = 60", 'seconds = "60"'), 16, "seconds is '60'; give a number"),
    "true for a number": (("seconds = 60", "seconds = true"), 16, "give a number"),
    "a limit below the least": (("seconds = 60", "seconds = 0"), 16, "at least 1"),
    "no JSON": (("min_samples_leaf = 7", "min_samples_leaf = 2020-01-01"), 13, "date"),
    "no file": (('name = "diabetes"', 'path = "nowhere.csv"'), 6, "no file 'nowhere.csv'"),
    "no plug-in": (('name = "copy"', 'name = "./mine.py:Mine"'), 9, "mine.py cannot be read"),
    "no class": (
        ('name = "copy"', 'name = "./stub.py:Stup"'),
        9,
        "no class 'Stup'; did you mean Stub",
    ),
    "no kernel": (
        ('name = "copy"', 'name = "copy"\nkernel = "nowhere"'),
        10,
        "no Jupyter kernel 'nowhere'",
    ),
    "a generator twice": (
        ('name = "cart"\nparams = { min_samples_leaf = 7 }', 'name = "copy"'),
        12,
        "'copy' occurs twice",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_its_line_and_the_way_out(tmp_path, name):
    (before, after), line, message = MISTAKES[name]
    assert before in GOOD
    report(tmp_path, [])
    write(tmp_path, GOOD.replace(before, after))
    with pytest.raises(InputError, match=rf"(?s)grid\.toml, line {line}: .*{message}") as error:
        grid.read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("title = x", "is not TOML.*line 1"),
        ("seeds = [0]", "datasets is missing"),
        ("datasets = ['diabetes']", "generators is"),
    ],
)
def test_a_file_that_is_no_grid(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        grid.read(write(tmp_path, text))


def test_a_folder_without_grid(tmp_path):
    with pytest.raises(InputError, match=r"grid\.toml cannot be read"):
        grid.read(tmp_path / "nowhere")


def test_make_writes_a_grid_that_reads_back(tmp_path):
    (tmp_path / "mine.csv").write_text('a,"b ""x"""\n1,2\n')
    text = grid.make('A "title"', str(tmp_path / "mine.csv"), 'b "x"', ["a"], ["copy", "cart"], 2)
    read = grid.read(write(tmp_path / "out", text))
    assert (read.title, read.seeds) == ('A "title"', (0, 1))
    assert read.datasets == (
        {"name": "mine", "path": str(tmp_path / "mine.csv"), "target": 'b "x"', "sensitive": ["a"]},
    )
    assert [row["name"] for row in read.generators] == ["copy", "cart"]


def keys(folder: Path) -> dict[tuple, str]:
    cells = grid.plan(grid.read(folder)).cells
    return {(cell.label, cell.seed): cell.key for cell in cells}


def changed(before: dict, after: dict) -> set[str]:
    return {label for (label, seed), key in before.items() if after[label, seed] != key}


def test_each_cell_has_a_key_of_its_own_and_keeps_it(tmp_path):
    first = keys(write(tmp_path, GOOD))
    assert len(set(first.values())) == len(first) == 4
    assert keys(write(tmp_path / "elsewhere", GOOD)) == first
    assert (
        keys(write(tmp_path, GOOD.replace("Two", "Other").replace("60", "70"))) == first
    )  # neither moves a number


@pytest.mark.parametrize(
    "before, after, labels",
    [
        ("min_samples_leaf = 7", "min_samples_leaf = 8", {"cart"}),
        ("seeds", "rows = 50\nseeds", {"copy", "cart"}),
        ("seeds", "threads = 2\nseeds", {"copy", "cart"}),
        ('"diabetes"', '"diabetes"\nsensitive = ["age"]', {"copy", "cart"}),
    ],
)
def test_a_key_changes_with_its_inputs(tmp_path, before, after, labels):
    first = keys(write(tmp_path, GOOD))
    assert changed(first, keys(write(tmp_path, GOOD.replace(before, after, 1)))) == labels


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the sources that keys are read from, to edit."""
    copy = tmp_path / "copy" / "workbench"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(grid.NOTEBOOK, tmp_path / "cell.ipynb")
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    monkeypatch.setattr(grid, "NOTEBOOK", tmp_path / "cell.ipynb")
    return copy


@pytest.mark.parametrize(
    "file, labels",
    [
        ("generators/statistical/cart.py", {"cart"}),
        ("generators/controls.py", {"copy"}),
        ("generators/neural/ctgan.py", set()),
        ("metrics/fidelity.py", {"copy", "cart"}),
        ("metrics/evaluate.py", {"copy", "cart"}),
        ("tables/schema.py", {"copy", "cart"}),
        ("report/plots.py", set()),
        ("metrics/card.py", set()),
        ("batch/runner.py", set()),
        ("tables/datasets.py", set()),  # the rows themselves are in the key
    ],
)
def test_editing_a_file_re_keys_the_cells_that_use_it(tmp_path, package, file, labels):
    folder = write(tmp_path / "report", GOOD)
    first = keys(folder)
    assert (package / file).exists()
    with open(package / file, "a") as source:
        source.write("\n# edited\n")
    assert changed(first, keys(folder)) == labels


def test_registering_a_generator_re_keys_nothing_and_editing_the_notebook_everything(
    tmp_path, package
):
    folder = write(tmp_path / "report", GOOD)
    first = keys(folder)
    registry = package / "generators" / "__init__.py"
    registry.write_text(
        registry.read_text().replace(
            "] = {\n", '] = {\n    "new": Entry("a:B", "c", "d", "e"),\n', 1
        )
    )
    assert keys(folder) == first
    grid.NOTEBOOK.write_text(
        grid.NOTEBOOK.read_text().replace("synthetic.head()", "synthetic.tail()")
    )
    assert changed(first, keys(folder)) == {"copy", "cart"}


def test_editing_a_plugin_re_keys_its_cells(tmp_path):
    folder = report(tmp_path, [stub(sleep=0.5), "'copy'"])
    first = keys(folder)
    (folder / "stub.py").write_text((folder / "stub.py").read_text() + "\n# edited\n")
    assert changed(first, keys(folder)) == {"Stub"}


def test_uses_follows_imports_in_functions_and_not_those_for_type_checkers(tmp_path):
    code = (
        "def f():\n    from sklearn import tree\n    from workbench import Schema\n    import"
        " torch.nn as nn\n"
    )
    sources, others = uses(
        [code, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dask\n"]
    )
    assert {"workbench.tables.schema"} <= set(
        sources
    ) and "workbench.tables.datasets" not in sources
    assert {"sklearn", "sklearn.tree", "torch.nn"} <= set(others) and "dask" not in others
    assert set(versions(others)) >= {"python", "numpy", "scikit-learn", "torch"}


def test_splits_and_draws_are_cells_of_their_own_and_leave_the_others_keys_alone(tmp_path):
    plain = grid.plan(grid.read(write(tmp_path, GOOD)))
    more = grid.plan(
        grid.read(write(tmp_path, GOOD.replace("seeds", "splits = [0, 4]\ndraws = 3\nseeds", 1)))
    )
    assert len(more.cells) == len(plain.cells) * 6 == len({cell.key for cell in more.cells})
    assert [cell.key for cell in more.cells if (cell.split, cell.draw) == (0, 0)] == [
        cell.key for cell in plain.cells
    ]
    first, second = (more.data["diabetes", split, 0] for split in (0, 4))
    assert len(first.test) == len(second.test) and not first.test.equals(second.test)
