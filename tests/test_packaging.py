"""What `pip install .` puts elsewhere works without the checkout; the command completes itself in a
shell.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from batch_helpers import people

from workbench.batch.folder import Folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that pip installed the package's wheel into, built from a copy of what git tracks."""
    folder = tmp_path_factory.mktemp("packaging")
    source, site = folder / "source", folder / "site"
    source.mkdir()
    for name in ("workbench", "notebooks"):
        shutil.copytree(
            ROOT / name,
            source / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(
        [
            *pip,
            "wheel",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            "--wheel-dir",
            str(folder),
            str(source),
        ]
    )
    (wheel,) = folder.glob("synthetic_workbench-*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)])
    return site


def run(command: list[str], **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def elsewhere(place: Path, *arguments: str) -> str:
    """Python with the package at `place`, in a folder far from the checkout."""
    return run(
        [sys.executable, *arguments], cwd=place.parent, env=os.environ | {"PYTHONPATH": str(place)}
    )


def test_every_file_of_the_package_travels(installed):
    def files(folder: Path) -> set[str]:
        own = [
            *folder.rglob("*"),
            *(folder / "notebooks").iterdir(),
        ]  # rglob does not follow the checkout's link
        return {
            str(path.relative_to(folder))
            for path in own
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed / "workbench") == files(installed.parent / "source" / "workbench")


KEYS = (
    "import sys; from workbench.batch import grid; print([cell.key for cell in"
    " grid.plan(grid.read(sys.argv[1])).cells])"
)


def test_the_wheel_generates_and_its_cells_have_the_checkouts_keys(installed):
    table, out = people(installed.parent), installed.parent / "plan"
    assert elsewhere(installed, "-c", "import workbench; print(workbench.__file__)").startswith(
        str(installed)
    )
    command = ["-m", "workbench", "generate", str(table), "--generator", "independent"]
    rows = installed.parent / "rows.csv"
    elsewhere(installed, *command, "--rows", "50", "--out", str(rows))
    assert len(rows.read_text().splitlines()) == 51
    out.mkdir()
    (out / "grid.toml").write_text(
        "datasets = ['loans']\ngenerators = ['cart', 'ctgan']\nseeds = [0]"
    )
    here = elsewhere(installed, "-c", KEYS, str(out))
    assert here.count(",") == 1
    assert elsewhere(installed.parent / "source", "-c", KEYS, str(out)) == here


@pytest.mark.long
def test_the_wheel_compares(installed):
    """Quick siblings: test_every_file_of_the_package_travels, and the one above."""
    table, out = people(installed.parent), installed.parent / "report"
    elsewhere(
        installed,
        "-m",
        "workbench",
        "compare",
        str(table),
        "--target",
        "bought",
        "--sensitive",
        "group",
        "--generators",
        "independent",
        "--seeds",
        "1",
        "--out",
        str(out),
    )
    assert "independent" in (out / "index.html").read_text()
    assert Folder(out).cells()["status"].tolist() == ["ok"]
    keys = Folder(out).cells()["key"].tolist()
    assert elsewhere(installed.parent / "source", "-c", KEYS, str(out)) == f"{keys}\n"
