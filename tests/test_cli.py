"""The command line: what it prints, what it writes, and that every mistake ends in one sentence and
exit code 2.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batch_helpers import people, stub_notebook

from workbench import cli
from workbench.batch import grid
from workbench.cli import main
from workbench.generators import GENERATORS
from workbench.metrics import METRICS


@pytest.fixture
def table(tmp_path):
    return people(tmp_path)


@pytest.mark.parametrize("what", ["generators", "datasets", "metrics"])
def test_list_as_text_and_json(what, capsys):
    assert main(["list", what]) == 0
    text = capsys.readouterr().out
    assert main(["list", what, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert len(text.splitlines()) == len(entries) + 1
    assert all(entry["name"] in text for entry in entries)
    if what != "datasets":
        assert [entry["name"] for entry in entries] == list(
            {"generators": GENERATORS, "metrics": METRICS}[what]
        )


def test_list_is_quick():
    """Under a second of CPU time, which other work on the machine does not stretch: a listing
    imports no generator.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "workbench", "list", "generators"], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_compare_may_learn_from_some_of_the_rows(table, tmp_path, capsys):
    options = argparse.Namespace(table=str(table), generators=None, seeds=1, train_rows=50)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "grid.toml").write_text(cli._compared(options, {"target": "bought"}))
    read = grid.read(tmp_path / "some")
    dataset = read.datasets[0]["name"]
    assert len(read.generators) > 2
    assert {read.settings(dataset, row).train_rows for row in read.generators} == {50}
    options.train_rows = None
    assert "override" not in cli._compared(options, {"target": "bought"})
    command = ["compare", str(table), "--train-rows", "5", "--out", str(tmp_path / "few")]
    assert main(command) == 2
    assert "--train-rows is 5; give at least 20" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_generate_writes_the_same_rows_for_the_same_seed(table, tmp_path, suffix, capsys):
    written = []
    command = ["generate", str(table), "--generator", "cart", "--rows", "50"]
    for run, seed in enumerate([1, 1, 2]):
        out = tmp_path / f"{run}.{suffix}"
        assert main([*command, "--seed", str(seed), "--out", str(out)]) == 0
        written.append(out.read_bytes())
    assert written[0] == written[1] != written[2]
    rows = (
        pd.read_csv(tmp_path / "0.csv")
        if suffix == "csv"
        else pd.read_parquet(tmp_path / "0.parquet")
    )
    assert rows.shape == (50, 3)
    assert "50 rows by cart" in capsys.readouterr().out


def test_compare_makes_a_grid_and_a_report(table, tmp_path, capsys, monkeypatch):
    """Its cells measure one number; the README's command, which is run too, measures all."""
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))
    out = tmp_path / "report"
    command = [
        "compare",
        str(table),
        "--target",
        "bought",
        "--sensitive",
        "group",
        "--generators",
        "independent",
    ]
    assert main([*command, "--seeds", "1", "--out", str(out)]) == 0
    assert (out / "index.html").stat().st_size < 5_000_000
    assert "independent" in (out / "index.html").read_text()
    capsys.readouterr()
    assert main(["status", str(out), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["ok"] == 1 and status["cells"] == 1
    assert main([*command, "--seeds", "3", "--out", str(out)]) == 2
    assert "asks for something else" in capsys.readouterr().err


def bad(name, text, *words):
    return pytest.param(name, text, words, id=name)


HEADER = "age,group,bought\n"
ROWS = "".join(f"{20 + i},{'ab'[i % 2]},{'yes' if i % 3 else 'no'}\n" for i in range(60))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        bad("empty", b"", "empty"),
        bad("header-only", HEADER.encode(), "row"),
        bad("one-row", (HEADER + "20,a,yes\n").encode(), "bought", "one value"),
        bad("duplicate-names", ("age,group,group\n" + ROWS).encode(), "group"),
        bad("one-class", (HEADER + ROWS.replace("no", "yes")).encode(), "bought"),
        bad(
            "no-target-value",
            (HEADER + ROWS.replace("yes", "").replace("no", "")).encode(),
            "bought",
        ),
        bad("infinite", (HEADER + ROWS + "inf,a,yes\n").encode(), "age", "infinite"),
        bad("not-utf-8", (HEADER + ROWS).replace("a,", "\xe4,").encode("latin-1"), "UTF-8"),
        bad("no-such-target", ("age,group,buys\n" + ROWS).encode(), "bought", "buys"),
        bad("no-such-sensitive", ("age,grp,bought\n" + ROWS).encode(), "group", "grp"),
    ],
)
def test_a_bad_table_ends_in_one_sentence(name, content, words, tmp_path, capsys):
    path, out = tmp_path / f"{name}.csv", tmp_path / "out"
    path.write_bytes(content)
    command = [
        "compare",
        str(path),
        "--target",
        "bought",
        "--sensitive",
        "group",
        "--generators",
        "independent",
    ]
    assert main([*command, "--seeds", "1", "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("workbench: ") and "\n" not in error and "Traceback" not in error
    assert all(word in error for word in words), error
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--generator": "ctgn"}, ["ctgn", "ctgan"]),
        ({"table": "lones"}, ["lones", "loans"]),
        ({"--out": "rows.xlsx"}, [".csv"]),
        ({"--out": "no/such/folder/rows.csv"}, ["cannot be written"]),
        ({"--param": "min_leaf=3"}, ["min_leaf", "min_samples_leaf"]),
        ({"--param": "nothing"}, ["NAME=VALUE"]),
    ],
)
def test_a_bad_option_names_the_nearest(change, words, table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"table": str(table), "--generator": "cart", "--out": "rows.csv"} | change
    command = [
        "generate",
        options.pop("table"),
        *(text for pair in options.items() for text in pair),
    ]
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(word in error for word in words), error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(table, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert (
        main(
            [
                "compare",
                str(table),
                "--target",
                "bought",
                "--out",
                str(tmp_path / "locked" / "report"),
            ]
        )
        == 2
    )
    assert "cannot be written" in capsys.readouterr().err


def test_an_out_folder_that_is_a_file(table, capsys):
    assert main(["compare", str(table), "--target", "bought", "--out", str(table)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_grid_that_does_not_exist(tmp_path, capsys):
    assert main(["run", str(tmp_path / "nothing")]) == 2
    assert "grid.toml" in capsys.readouterr().err


def test_output_into_a_closed_pipe_is_quiet():
    done = subprocess.run(
        f"{sys.executable} -m workbench list metrics | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_module_and_script_are_the_same():
    script = Path(sys.executable).parent / "workbench"
    texts = [
        subprocess.run(
            [*start, "list", "metrics"], check=True, capture_output=True, text=True
        ).stdout
        for start in ([str(script)], [sys.executable, "-m", "workbench"])
    ]
    assert texts[0] == texts[1]


def registry(rows: int = 200) -> pd.DataFrame:
    """Names and addresses of their own, a column whose name holds a comma, numbers with a gap
    written NA.
    """
    rng = np.random.default_rng(0)
    weight = rng.normal(70, 9, rows).round(1).astype(str)
    weight[::20] = "NA"
    return pd.DataFrame(
        {
            "name": [f"Person {n:05d}" for n in rng.permutation(rows)],
            "mail": [f"p{n}@example.org" for n in range(rows)],
            "weight": weight,
            "born": [f"{n % 28 + 1:02d}/{n % 12 + 1:02d}/1970" for n in range(rows)],
            "a,b": rng.choice(["u", "v"], rows),
            "y": rng.choice(["yes", "no"], rows),
        }
    )


DECLARED = ["--missing", "NA", "--format", "born=%d/%m/%Y"]


@pytest.fixture
def registry_file(tmp_path):
    path = tmp_path / "registry.csv"
    registry().to_csv(path, index=False)
    return path


def test_generate_copies_no_identifier_and_says_so(registry_file, tmp_path, capsys):
    out = tmp_path / "out.csv"
    command = ["generate", str(registry_file), "--target", "y", "--generator", "cart", *DECLARED]
    assert main([*command, "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert said.count("'name', 'mail'") == 1
    synthetic, real = pd.read_csv(out), registry()
    for name in ("name", "mail"):
        assert not synthetic[name].isin(real[name]).any()


def test_a_column_is_declared_on_the_command_line(registry_file, tmp_path):
    out = tmp_path / "out.csv"
    command = ["generate", str(registry_file), "--generator", "independent", "--out", str(out)]
    declared = ["--kind", "weight=categorical", "--format", "born=%d/%m/%Y", "--identifier", ""]
    assert main([*command, *declared]) == 0
    synthetic = pd.read_csv(out, keep_default_na=False)
    assert (synthetic["weight"] == "NA").any() and synthetic["mail"].isin(registry()["mail"]).all()


def test_a_name_with_a_comma(registry_file, tmp_path):
    command = ["generate", str(registry_file), "--generator", "independent", *DECLARED]
    out = ["--out", str(tmp_path / "out.csv")]
    assert main([*command, "--sensitive", '"a,b",y', *out]) == 0
    assert main([*command, "--constraint", '"a,b",y', *out]) == 0


def test_inspect_writes_what_schema_takes(registry_file, tmp_path, capsys):
    schema = tmp_path / "schema.json"
    assert main(["inspect", str(registry_file), "--target", "y", "--out", str(schema)]) == 0
    said = capsys.readouterr().out
    for option in (
        "--missing 'NA'",
        "--format 'born=%d/%m/%Y'",
        "--identifier name",
        f"--schema {schema}",
    ):
        assert option in said
    assert "Person 0" not in said
    command = [
        "generate",
        str(registry_file),
        "--schema",
        str(schema),
        "--generator",
        "independent",
    ]
    assert main([*command, "--out", str(tmp_path / "out.csv")]) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--generator", "ctgan", "--param", "epochs=five"],
            "epochs is 'five'; give a whole number",
        ),
        (["--generator", "cart", "--kind", "weight"], "is not COL=VALUE"),
        (["--generator", "cart", "--kind", "weight=number"], "unknown kind"),
        (["--generator", "cart", "--schema", "nowhere.json"], "workbench inspect FILE writes one"),
        (["--generator", "cart", "--group", "nme"], "did you mean name"),
    ],
)
def test_declarations_that_are_wrong(registry_file, tmp_path, capsys, options, sentence):
    command = ["generate", str(registry_file), *DECLARED, "--out", str(tmp_path / "out.csv")]
    assert main([*command, *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said


def test_a_negative_seed_is_one_sentence(registry_file, tmp_path, capsys):
    command = [
        "generate",
        str(registry_file),
        "--generator",
        "cart",
        "--out",
        str(tmp_path / "o.csv"),
    ]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--seed", "-1"])
    assert ended.value.code == 2 and "must be at least 0" in capsys.readouterr().err


def test_rows_and_seed_of_another_type():
    import workbench as wb

    data = wb.load(registry(), formats={"born": "%d/%m/%Y"}, missing="NA")
    for wrong in ({"rows": "10"}, {"rows": 2.5}, {"seed": -1}, {"seed": "x"}):
        with pytest.raises(wb.InputError, match="give a whole number"):
            wb.generate("independent", data, **wrong)
