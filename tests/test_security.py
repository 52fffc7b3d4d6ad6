"""docs/security.md against the code: each row of its first table is proven by tests that are named
here, and each limit of its last one is the one in the code.
"""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook, new_output

from workbench import files
from workbench.batch import folder as folders
from workbench.batch import grid
from workbench.batch.kernels import isolated
from workbench.report import publish
from workbench.tables import files as tables
from workbench.tables import parquet

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "security.md"
HOSTILE, ALTERED = "batch/test_hostile.py", "batch/test_alterations.py"
# What a receiver wants to do -> the page's answer, and the tests that prove what holds it.
PROVEN = {
    "open `index.html` in a browser": (
        "yes",
        [
            ("report/test_report.py", "test_page_stands_alone"),
            ("report/test_report.py", "test_hostile_names_stay_text"),
        ],
    ),
    "`workbench status`, `log`, `index`": (
        "yes",
        [
            (HOSTILE, "test_a_link_in_a_cell_is_not_read"),
            (HOSTILE, "test_a_log_commands_no_terminal"),
            (HOSTILE, "test_names_in_a_plan_and_a_grid_command_no_terminal"),
            (HOSTILE, "test_no_bomb_takes_a_gigabyte"),
            (HOSTILE, "test_a_page_takes_no_template_from_the_working_directory"),
        ],
    ),
    "`workbench report`": (
        "yes",
        [
            (HOSTILE, "test_the_pages_kernel_imports_nothing_that_lies_in_the_folder"),
            (HOSTILE, "test_a_damaged_cell_is_pending_and_the_page_stands"),
            (ALTERED, "test_an_alteration_is_noticed"),
            (ALTERED, "test_digests_that_were_forged_together_are_seen_by_the_re_run_alone"),
        ],
    ),
    "`workbench report --compare`": (
        "yes",
        [(HOSTILE, "test_a_damaged_cell_is_left_out_of_what_changed")],
    ),
    "`workbench run`, `verify`: registered generators, tables of this package or inside the folder": (
        "yes",
        [
            (HOSTILE, "test_a_grid_within_its_folder_needs_no_yes"),
            (HOSTILE, "test_draws_may_be_a_number_or_a_list_and_have_an_end"),
            (HOSTILE, "test_devices_pipes_and_bombs_end_in_a_sentence"),
            (
                "tables/test_hostile_parquet.py",
                "test_a_file_that_lies_about_its_size_ends_in_a_sentence",
            ),
            (HOSTILE, "test_nothing_is_written_through_a_link"),
        ],
    ),
    "the same, with plug-ins, Jupyter kernels, model servers, real rows for them, absolute paths or `../`": (
        "**only if you trust the sender**",
        [
            (HOSTILE, "test_a_strangers_grid_runs_and_reads_nothing_without_a_yes"),
            (HOSTILE, "test_a_parameter_that_leads_out_of_the_folder_is_named"),
            (HOSTILE, "test_kernels_servers_and_real_rows_are_named"),
            (HOSTILE, "test_a_link_of_any_name_leads_out"),
        ],
    ),
    "`python -m workbench` inside the folder": (
        "**no**",
        [("test_security.py", "test_python_itself_imports_from_the_folder_it_is_started_in")],
    ),
    "open `cell.ipynb` or `report.ipynb` in JupyterLab": (
        "to read, yes; to run, as with any notebook",
        [("test_security.py", "test_jupyter_trusts_no_received_notebook")],
    ),
    "load `synthetic.parquet` elsewhere": (
        "as safe as the other program",
        [("app/test_page.py", "test_formulas_become_text_only_when_asked")],
    ),
}
# What the page's last table says, and what the code does.
LIMITS = {
    "512 MB": tables.most_bytes() == 512e6,
    "32 MB, or 20 times its size (`.csv.gz`), 200 times (Parquet)": (
        tables.FREE_BYTES == 32e6 and tables.MOST_TIMES == {"csv": 20, "parquet": 200, "rows": 20}
    ),
    "4 MB each": files.MOST_TEXT == 4e6,
    "5,000,000 commas and brackets": files.MOST_PARTS == 5_000_000,
    "64 MB each": publish.MOST_PAGE == 64e6,
    "5,000": tables.MOST_COLUMNS == 5000,
    "200,000": grid.MOST_CELLS == 200_000,
    "8 MB; 300,000 columns of row groups; 300,000 pages": (
        parquet.MOST_FOOTER == 8e6 and parquet.MOST_LISTED == parquet.MOST_PAGES == 300_000
    ),
    "16 MB": folders.MOST_MANIFEST == 16e6,
    "2 GB": folders.MOST_HASHED == 2e9,
}


def table(heading: str) -> list[list[str]]:
    """The rows of the first table on the page whose header begins with a cell."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_each_row_of_what_a_receiver_may_do_is_proven_by_a_test():
    rows = {row[0].strip(): row[1] for row in table("You want to")}
    assert rows == {name: answer for name, (answer, _) in PROVEN.items()}
    for _, tests in PROVEN.values():
        for file, name in tests:
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in names, f"{file} has no test {name}"


def test_each_limit_of_the_page_is_the_one_of_the_code(monkeypatch):
    monkeypatch.delenv("WORKBENCH_MOST_MB", raising=False)
    said = [row[1] for row in table("What")]
    for limit, holds in LIMITS.items():
        assert holds and any(text.startswith(limit) for text in said), limit


def test_python_itself_imports_from_the_folder_it_is_started_in(tmp_path):
    """Why the page says no: nothing of this package runs before Python has chosen what to import."""
    (tmp_path / "workbench.py").write_text("print('code of the folder')")
    command = [sys.executable, "-m", "workbench", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "code of the folder" in done.stdout
    own = shutil.which("workbench", path=Path(sys.executable).parent) or "workbench"
    done = subprocess.run([own, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "code of the folder" not in done.stdout and "usage" in done.stdout
    assert isolated({})["PYTHONSAFEPATH"] == "1", "and so do the processes that it starts"


def test_jupyter_trusts_no_received_notebook(tmp_path):
    """Jupyter runs scripts of outputs only in notebooks that were signed where they are opened."""
    output = new_output("display_data", {"text/html": "<script>alert(1)</script>"})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[output])])
    notebook.cells[0].metadata["trusted"] = True
    received = nbformat.reads(nbformat.writes(notebook), as_version=4)
    notary = NotebookNotary(data_dir=str(tmp_path))
    assert not notary.check_signature(received)
    notary.mark_cells(received, False)
    assert not notary.check_cells(received)
    text = publish._sealed_notebook(notebook, "rows")
    assert not re.search('"signature"', text)
