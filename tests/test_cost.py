"""What a cell costs, as its record tells: CPU seconds, joules, facts of the generator; and what real rows would buy."""

import json
import subprocess
import sys
import time

import pandas as pd
import pytest
from batch import report, stub_notebook

from workbench import grid, results, runner
from workbench.cell import MOST_FACTS, Record, cpu_seconds, json_facts, phases
from workbench.schema import InputError
from workbench.supervise import Energy

BURN = "import time\nwhile time.process_time() < {}: pass"
COSTLY = '''
"""A bootstrap that works hard, in itself and in children, and tells what it cost."""
import os, subprocess, sys, time
from dataclasses import dataclass


@dataclass
class Costly:
    def supports(self, schema):
        return None if os.path.exists(os.environ["COST_FLAG"]) else "no server is named"

    def fit(self, table, schema, rng):
        self.table, until = table, time.process_time() + 0.3
        while time.process_time() < until:
            pass
        burn = "import time\\nwhile time.process_time() < 0.4: pass"
        subprocess.run([sys.executable, "-S", "-c", burn], check=True)
        self.alive = subprocess.Popen([sys.executable, "-S", "-c", burn + "\\ntime.sleep(1000)"], start_new_session=True)
        time.sleep(1.5)
        return self

    def sample(self, n, rng, where=None):
        if os.path.exists(os.environ["COST_FLAG"] + ".broken"):
            raise ValueError("the server is gone")
        return self.table.iloc[rng.integers(len(self.table), size=n)].reset_index(drop=True)

    @property
    def facts(self):
        return {"model": "m", "input_tokens": 1200, "output_tokens": 300, "cost": 0.25, "note": [1, None, "ü"]}
'''


@pytest.fixture
def costly(tmp_path, monkeypatch):
    """A report folder with one costly cell, and the file without which it is skipped."""
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))
    monkeypatch.setenv("COST_FLAG", str(tmp_path / "flag"))
    folder = report(tmp_path / "costly", ["{name = './costly.py:Costly'}"])
    (folder / "costly.py").write_text(COSTLY)
    return folder, tmp_path / "flag"


def test_a_cell_tells_what_it_cost_and_a_skipped_one_runs_again_when_asked(costly):
    folder, flag = costly
    assert runner.run(folder, progress=False).counts == {"skipped": 1}
    flag.touch()
    assert runner.run(folder, progress=False).before == 1, "a skipped cell is final until asked for"
    broken = flag.with_name("flag.broken")
    broken.touch()
    assert runner.run(folder, progress=False, retry_failed=True).counts == {"error": 1}
    failed = results.cells(folder).iloc[0]
    assert (failed["status"], failed["phase"], failed["input_tokens"]) == ("error", "sample", 1200), "tokens were paid for"
    broken.unlink()
    assert runner.run(folder, progress=False, retry_failed=True).counts == {"ok": 1}
    cell = results.cells(folder).iloc[0]
    assert list(results.cells(folder)) == [*results.CELL_COLUMNS, *results.FACT_COLUMNS]
    assert 1.05 <= cell["fit_cpu"] < 1.6, "its own seconds, those of a child that ended, and of one that lives"
    assert cell["fit_cpu"] < cell["cpu_seconds"] < cell["fit_cpu"] + 5
    assert 0 <= cell["sample_cpu"] < 0.5 and 0 <= cell["evaluate_cpu"] < 0.5
    assert (cell["input_tokens"], cell["output_tokens"], cell["cost"]) == (1200, 300, 0.25)
    record = results.manifest(folder, cell["key"])
    assert record["facts"]["note"] == [1, None, "ü"] and record["facts"]["model"] == "m"
    assert pd.isna(cell["joules"]) == (Energy().read() is None)
    before = {path: path.read_bytes() for path in folder.glob("runs/*/*")}
    assert runner.run(folder, progress=False, retry_failed=True).before == 1
    assert {path: path.read_bytes() for path in folder.glob("runs/*/*")} == before


def test_records_of_older_versions_are_read(costly):
    folder, flag = costly
    flag.touch()
    runner.run(folder, progress=False)
    path = next(folder.glob("runs/*/manifest.json"))
    record = json.loads(path.read_text())
    for name in ("cpu_seconds", "phases_cpu", "joules", "facts"):
        record.pop(name)
    path.write_text(json.dumps(record))
    old = results.cells(folder)
    new = ["cpu_seconds", "fit_cpu", "sample_cpu", "evaluate_cpu", "joules", "input_tokens", "output_tokens", "cost"]
    assert old[new].isna().all(axis=None) and old["fit_seconds"].item() > 1
    record["facts"] = {"input_tokens": True, "output_tokens": 1.5, "cost": 1e300}
    path.write_text(json.dumps(record))
    assert results.cells(folder)[["input_tokens", "output_tokens", "cost"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([1], "must be a dict; these are a list"),
        ({"when": pd.Timestamp("2020-01-01")}, "fact 'when' is '2020-01-01"),
        ({"loss": float("nan")}, "fact 'loss' is 'nan'"),
        ({"pair": (1, 2)}, "fact 'pair'"),
        ({1: 2}, "fact 1 is"),
        ({"half": "\ud800"}, "fact 'half'"),
        ({"long": "x" * MOST_FACTS}, "bytes of JSON; tell at most 65,536"),
    ],
)
def test_facts_are_json_or_refused_in_a_sentence(facts, told, tmp_path):
    with pytest.raises(InputError, match=told):
        json_facts(facts)

    class Model:
        pass

    Model.facts = facts
    with pytest.raises(ValueError, match="the first"), Record(str(tmp_path)).facts(Model()):
        raise ValueError("the first")  # is not hidden by what is wrong with the facts
    with pytest.raises(InputError, match=told), Record(str(tmp_path)).facts(Model()):
        pass


def test_a_generator_without_facts_leaves_none(tmp_path):
    with Record(str(tmp_path)).facts(object()):
        pass
    assert not list(tmp_path.iterdir())


def test_cpu_seconds_count_children_dead_and_alive():
    before = cpu_seconds()
    subprocess.run([sys.executable, "-S", "-c", BURN.format(0.3)], check=True)
    child = subprocess.Popen([sys.executable, "-S", "-c", BURN.format(0.3) + "\ntime.sleep(1000)"])
    until = time.monotonic() + 30
    while cpu_seconds() - before < 0.58 and time.monotonic() < until:
        time.sleep(0.05)
    both = cpu_seconds() - before
    child.kill()
    child.wait()
    assert 0.58 <= both < 1.5 and cpu_seconds() - before >= 0.58, "what a child took is not lost when it ends"


def test_phases_keep_both_clocks_and_a_torn_last_line():
    notes = [("fit", "begin", 10, 1), ("fit", "end", 14, 4), ("sample", "begin", 14, 4)]
    text = "".join(json.dumps(dict(zip(("phase", "what", "time", "cpu"), note, strict=True))) + "\n" for note in notes)
    assert phases("") == ({}, {}, "") and phases(text[: text.index("sample") - 11])[2] == "fit"
    assert phases(text + '{"phase"') == ({"fit": 4}, {"fit": 3}, "sample")


def test_energy_is_what_the_packages_counted(tmp_path):
    def counter(name, kind, value, wraps=999_999):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        for file, text in (("name", kind), ("energy_uj", str(value)), ("max_energy_range_uj", str(wraps))):
            (place / file).write_text(text + "\n")

    assert Energy(tmp_path).read() is None
    counter("intel-rapl:0", "package-0", 999_000)
    counter("intel-rapl:1", "package-1", 0)
    counter("intel-rapl:0:0", "core", 0)  # a part of package-0
    counter("intel-rapl:2", "psys", 0)  # holds the packages
    energy = Energy(tmp_path)
    assert energy.read() == 0
    for kind, name in (("package-1", "intel-rapl:1"), ("core", "intel-rapl:0:0"), ("psys", "intel-rapl:2")):
        counter(name, kind, 500_000)
    counter("intel-rapl:0", "package-0", 1_000)  # it wrapped
    assert energy.read() == pytest.approx(0.502)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert energy.read() is None, "half a machine is no reading"
