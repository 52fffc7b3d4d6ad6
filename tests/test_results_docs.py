"""The commands of docs/results.md run, in their order, on the grid that stands there."""

import re
import shlex
import shutil
from pathlib import Path

import workbench as wb
from workbench.batch import grid as grids
from workbench.batch.results import Results
from workbench.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
# One of each kind. All of them are measured where the README's blocks run.
FEW = ("marginals", "tstr_auc", "utility_ratio", "dcr_share", "membership_auc")


def with_few_metrics(notebook: Path, copy: Path) -> Path:
    """The notebook of a cell as it is, but for the metrics that it measures."""
    text = notebook.read_text()
    call = "evaluate(scored, synthetic, seed=seed, generator=model)"
    assert text.count(call) == 1
    copy.write_text(text.replace(call, call.replace("generator", f"metrics={FEW}, generator")))
    return copy


def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capsys):
    text = PAGE.read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    grid = next(code for language, code in blocks if language == "toml")
    commands = [code.splitlines() for language, code in blocks if language == "console"]
    few = with_few_metrics(grids.NOTEBOOK, tmp_path / "cell.ipynb")
    monkeypatch.setattr(grids, "NOTEBOOK", few)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "reports" / "small").mkdir(parents=True)
    (tmp_path / "reports" / "small" / "grid.toml").write_text(grid)
    friend = wb.load("diabetes").train.sample(120, random_state=0)
    friend.to_csv(tmp_path / "reports" / "small" / "friend-1.csv", index=False)
    for command in commands[0]:
        arguments = shlex.split(command)
        assert arguments.pop(0) == "workbench"
        assert main(arguments) == 0, capsys.readouterr()
        if arguments[0] == "publish":
            # From here on there are the results alone, and the table that was brought along.
            shutil.rmtree(tmp_path / "reports" / "small" / "runs")
            given = tmp_path / "reports" / "small" / "friend-1.csv"
            shutil.copy(given, tmp_path / "results" / "small")
    said = capsys.readouterr().out
    assert "3 cells, 3 of them left" in said and "1 identical" in said
    cells = Results(tmp_path / "results" / "small").cells().set_index("label")
    assert set(cells["status"]) == {"ok"} and cells.loc["independent", "train_rows"] == 200
    assert "120 rows." in cells.loc["a friend's", "notes"]

    shutil.copytree(tmp_path / "results" / "small", tmp_path / "results" / "theirs")
    assert len(commands) == 2 and len(commands[1]) == 1
    assert main(shlex.split(commands[1][0])[1:]) == 0
    assert "0 cells added, 3 were there already and agree" in capsys.readouterr().out
