"""What a cell costs, as its record tells: CPU seconds, joules, facts of the generator; and what
real rows would buy.
"""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from batch_helpers import report, seal, stub_notebook
from markupsafe import escape

import workbench as wb
from workbench.batch import grid
from workbench.batch.cell import MOST_FACTS, Record, cpu_seconds, json_facts, phases
from workbench.batch.folder import CELL_COLUMNS, FACT_COLUMNS, Folder
from workbench.batch.runner import run
from workbench.batch.worker.supervisor import Energy
from workbench.errors import InputError
from workbench.metrics import Row
from workbench.metrics.rows import to_table
from workbench.report import plots
from workbench.report.batch import Batch
from workbench.report.cost import section
from workbench.report.html import handle
from workbench.studies.learning_curve import (
    Curve,
    Scores,
    equivalent,
    learning_curve,
    power_law,
    price,
    score_tables,
    subset,
)
from workbench.tables.schema import Schema

BURN = "import time\nwhile time.process_time() < {}: pass"
COSTLY = '''
"""A bootstrap that works hard, in itself and in children, and tells what it cost."""
import os, subprocess, sys, time
from dataclasses import dataclass

import psutil


@dataclass
class Costly:
    # A path. A variable of the environment would cost a warm process of its own.
    flag: str = ""

    def supports(self, schema):
        return None if os.path.exists(self.flag) else "no server is named"

    def fit(self, table, schema, rng):
        self.table, until = table, time.process_time() + 0.3
        while time.process_time() < until:
            pass
        burn = "import time\\nwhile time.process_time() < 0.4: pass"
        subprocess.run([sys.executable, "-S", "-c", burn], check=True)
        self.alive = subprocess.Popen([sys.executable, "-S", "-c", burn + "\\ntime.sleep(1000)"], start_new_session=True)
        child = psutil.Process(self.alive.pid)
        # Of its own seconds, as the machine may be busy; psutil counts in hundredths, rounded down.
        while sum(child.cpu_times()[:2]) < 0.37:
            time.sleep(0.05)
        return self

    def sample(self, n, rng, where=None):
        if os.path.exists(self.flag + ".broken"):
            raise ValueError("the server is gone")
        return self.table.iloc[rng.integers(len(self.table), size=n)].reset_index(drop=True)

    @property
    def facts(self):
        said = {"note": [1, None, "ü"], "notes": ["All rows,", "half of them twice."]}
        return {"model": "m", "input_tokens": 1200, "output_tokens": 300, "cost": 0.25} | said
'''


@pytest.fixture
def costly(tmp_path, monkeypatch):
    """A report folder with one costly cell, and the file without which it is skipped."""
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))
    flag = tmp_path / "flag"
    row = f"{{name = './costly.py:Costly', params = {{flag = '{flag}'}}}}"
    folder = report(tmp_path / "costly", [row])
    (folder / "costly.py").write_text(COSTLY)
    return folder, flag


def test_a_cell_tells_what_it_cost_and_a_skipped_one_runs_again_when_asked(costly):
    folder, flag = costly
    assert run(folder, progress=False).counts == {"skipped": 1}
    flag.touch()
    assert run(folder, progress=False).before == 1, "a skipped cell is final until asked for"
    broken = flag.with_name("flag.broken")
    broken.touch()
    assert run(folder, progress=False, retry_failed=True).counts == {"error": 1}
    failed = Folder(folder).cells().iloc[0]
    assert (failed["status"], failed["phase"], failed["input_tokens"]) == (
        "error",
        "sample",
        1200,
    ), "tokens were paid for"
    broken.unlink()
    assert run(folder, progress=False, retry_failed=True).counts == {"ok": 1}
    cell = Folder(folder).cells().iloc[0]
    assert list(Folder(folder).cells()) == [*CELL_COLUMNS, *FACT_COLUMNS]
    assert 1.05 <= cell["fit_cpu"] < 1.6, (
        "its own seconds, those of a child that ended, and of one that lives"
    )
    assert cell["fit_cpu"] < cell["cpu_seconds"] < cell["fit_cpu"] + 5
    assert 0 <= cell["sample_cpu"] < 0.5 and 0 <= cell["evaluate_cpu"] < 0.5
    assert (cell["input_tokens"], cell["output_tokens"], cell["cost"]) == (1200, 300, 0.25)
    assert cell["notes"] == "All rows, half of them twice."
    record = Folder(folder).manifest(cell["key"])
    assert record["facts"]["note"] == [1, None, "ü"] and record["facts"]["model"] == "m"
    assert pd.isna(cell["joules"]) == (Energy().read() is None)
    before = {path: path.read_bytes() for path in folder.glob("runs/*/*")}
    assert run(folder, progress=False, retry_failed=True).before == 1
    assert {path: path.read_bytes() for path in folder.glob("runs/*/*")} == before
    records_of_older_versions_are_read(folder)


def records_of_older_versions_are_read(folder):
    """Of the finished cell above, which takes seconds."""
    path = next(folder.glob("runs/*/manifest.json"))
    record = json.loads(path.read_text())
    for name in ("cpu_seconds", "phases_cpu", "joules", "facts"):
        record.pop(name)
    path.write_text(json.dumps(record))
    seal(path.parent)
    old = Folder(folder).cells()
    new = [
        "cpu_seconds",
        "fit_cpu",
        "sample_cpu",
        "evaluate_cpu",
        "joules",
        "input_tokens",
        "output_tokens",
        "cost",
    ]
    assert old[new].isna().all(axis=None) and old["fit_seconds"].item() > 1
    record["facts"] = {
        "input_tokens": True,
        "output_tokens": 1.5,
        "cost": 1e300,
        "notes": "no list",
    }
    path.write_text(json.dumps(record))
    seal(path.parent)
    unread = Folder(folder).cells()
    assert unread[["input_tokens", "output_tokens", "cost"]].isna().all(axis=None)
    assert unread["notes"].tolist() == [""]


@pytest.mark.parametrize(
    ("facts", "message"),
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
def test_facts_are_json_or_refused_in_a_sentence(facts, message, tmp_path):
    with pytest.raises(InputError, match=message):
        json_facts(facts)

    class Model:
        pass

    Model.facts = facts
    with pytest.raises(ValueError, match="the first"), Record(str(tmp_path)).facts(Model()):
        raise ValueError("the first")  # is not hidden by what is wrong with the facts
    with pytest.raises(InputError, match=message), Record(str(tmp_path)).facts(Model()):
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
    assert 0.58 <= both < 1.5 and cpu_seconds() - before >= 0.58, (
        "what a child took is not lost when it ends"
    )


def test_phases_keep_both_clocks_and_a_torn_last_line():
    notes = [("fit", "begin", 10, 1), ("fit", "end", 14, 4), ("sample", "begin", 14, 4)]
    text = "".join(
        json.dumps(dict(zip(("phase", "what", "time", "cpu"), note, strict=True))) + "\n"
        for note in notes
    )
    assert phases("") == ({}, {}, "") and phases(text[: text.index("sample") - 11])[2] == "fit"
    assert phases(text + '{"phase"') == ({"fit": 4}, {"fit": 3}, "sample")


def test_energy_is_what_the_packages_counted(tmp_path):
    def counter(name, kind, value, wraps=999_999):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        for file, text in (
            ("name", kind),
            ("energy_uj", str(value)),
            ("max_energy_range_uj", str(wraps)),
        ):
            (place / file).write_text(text + "\n")

    assert Energy(tmp_path).read() is None
    counter("intel-rapl:0", "package-0", 999_000)
    counter("intel-rapl:1", "package-1", 0)
    counter("intel-rapl:0:0", "core", 0)  # a part of package-0
    counter("intel-rapl:2", "psys", 0)  # holds the packages
    energy = Energy(tmp_path)
    assert energy.read() == 0
    for kind, name in (
        ("package-1", "intel-rapl:1"),
        ("core", "intel-rapl:0:0"),
        ("psys", "intel-rapl:2"),
    ):
        counter(name, kind, 500_000)
    counter("intel-rapl:0", "package-0", 1_000)  # it wrapped
    assert energy.read() == pytest.approx(0.502)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert energy.read() is None, "half a machine is no reading"


ROWS = np.array([50, 100, 200, 400, 800, 1600])


def law(rows, a=0.85, b=1.2, c=0.5):
    return a - b * np.asarray(rows, float) ** -c


def curve_of(values, influence=None):
    return Curve(ROWS, Scores(np.asarray(values), influence))


def test_the_power_law_is_found_where_it_holds():
    for a, b, c in ((0.85, 1.2, 0.5), (0.9, 3.0, 1.0), (0.6, 0.0, 0.7)):
        found = power_law(ROWS.astype(float), law(ROWS, a, b, c))
        np.testing.assert_allclose(found[:2], (a, b), atol=1e-9)
        assert b == 0 or found[2] == pytest.approx(c)
    assert power_law(ROWS.astype(float), -law(ROWS))[1] == 0, (
        "a curve that falls is flat to the law"
    )


def test_equivalent_inverts_the_curve_and_says_so_where_it_cannot():
    exact = curve_of(np.repeat(law(ROWS)[:, None], 4, axis=1))

    def rows_for(score):
        return equivalent(exact, Scores(np.array([score, score])), np.random.default_rng(0))

    assert (
        rows_for(law(300)).value == pytest.approx(300)
        and str(rows_for(law(300))) == "300 real rows"
    )
    assert str(rows_for(law(40))) == "less than 50 real rows" and rows_for(0.2).high == 0
    assert str(rows_for(law(1700))) == "more than 1,600 real rows" and rows_for(0.99).low == np.inf
    flat = curve_of(np.full((6, 4), 0.7))
    assert (
        str(equivalent(flat, Scores(np.array([0.69])), np.random.default_rng(0)))
        == "less than 50 real rows"
    )
    wide = equivalent(exact, Scores(law([30, 300, 5000])), np.random.default_rng(0))
    assert str(wide).endswith("real rows (less than 50 to more than 1,600)"), (
        "three tables that disagree"
    )


def test_the_interval_covers_what_it_should():
    """Draws of rows, synthetic tables and shared test rows all move the scores; the truth is 300
    rows.
    """
    rng, covered, low = np.random.default_rng(1), [], []
    for _ in range(100):
        common = rng.normal(size=400)  # what the test rows do to every learner

        def scored(truth, k, common=common):
            influence = 0.4 * common + 0.2 * rng.normal(size=(len(truth), k, 400))
            values = (
                truth[:, None] + rng.normal(size=(len(truth), k)) * 0.012 + influence.mean(axis=-1)
            )
            return values, influence - influence.mean(axis=-1, keepdims=True)

        values, influence = scored(law([300]), 4)
        found = equivalent(
            curve_of(*scored(law(ROWS), 8)), Scores(values[0], influence[0]), rng, repeats=200
        )
        covered.append(found.low <= 300 <= found.high)
        low.append(np.isfinite(found.high))
    assert 0.88 <= np.mean(covered) <= 1
    assert np.mean(low) > 0.7, "not by being endless"


def test_a_learning_curve_on_a_real_table_rises_and_repeats():
    data = wb.load("diabetes")
    curve = learning_curve(data, [20, 80, 300], draws=3)
    means = curve.scores.values.mean(axis=1)
    assert means[0] < means[1] < means[2] and curve.scores.influence.shape[:2] == (3, 3)
    np.testing.assert_array_equal(
        learning_curve(data, [300, 80, 20], draws=3).scores.values, curve.scores.values
    )
    assert subset(data, 80, 1).iloc[:20].equals(subset(data, 20, 1)), "draws are nested"
    copy = score_tables(data, [data.train, data.train.iloc[::-1]])
    assert equivalent(curve, copy, np.random.default_rng(0)).value > 80
    with pytest.raises(
        InputError, match=r"sizes \[10, 9999\], 3 draws: give three sizes or more, from 2 to"
    ):
        learning_curve(data, [10, 9999], draws=3)
    schema = Schema(tuple(replace(column, role="feature") for column in data.schema.columns))
    with pytest.raises(InputError, match="no score to buy: the table has no target"):
        score_tables(replace(data, schema=schema), [data.train])


def test_prices_add_up():
    assert price(rows=300, row_price=0.5) == 150
    assert price(
        cpu_seconds=7200, cpu_hour_price=0.05, tokens=(2_000_000, 500_000), token_prices=(1, 4)
    ) == pytest.approx(4.1)


@pytest.fixture
def batch():
    """Two generators and a control, one seed each; only one of them counted tokens."""
    labels = ["cart", "llm", "copy"]
    facts = {
        "generator": labels,
        "label": labels,
        "key": labels,
        "dataset": "d",
        "status": "ok",
        "seed": 0,
        "draw": 0,
        "split": 0,
    }
    facts |= {
        "fit_cpu": [2.5, 0.4, 0],
        "sample_cpu": 0.1,
        "evaluate_cpu": 9,
        "cpu_seconds": 12,
        "peak_mb": 300,
        "cost": np.nan,
    }
    facts |= {
        "input_tokens": [None, 5000, None],
        "output_tokens": [None, 700, None],
        "joules": [810, None, None],
    }
    columns = CELL_COLUMNS | FACT_COLUMNS
    cells = pd.DataFrame(facts, columns=list(columns)).astype(columns)
    readings = {
        "cart": {"utility_ratio": 0.9, "pair_trends": 0.95},
        "llm": {"utility_ratio": 0.4},
        "copy": {"utility_ratio": 1},
    }
    tables = [
        to_table([Row(*one) for one in found.items()]).assign(label=label)
        for label, found in readings.items()
    ]
    rows = pd.concat(tables, ignore_index=True).assign(dataset="d", seed=0, ceiling=1.0)
    return Batch.of(rows, cells, "<b>t</b>")


def test_the_section_tells_cost_beside_quality(batch):
    html = str(section(batch))
    assert "copy 0.00 s, 1.000; llm 0.40 s, 0.400; cart 2.50 s, 0.900" in html, (
        "the figure in words, cheapest first"
    )
    assert (
        html.count("<figure>") == 2
        and "Prompt tokens" in html
        and "5,000" in html
        and "in the grid" not in html
    )
    assert (
        'data-file="d-utility-kept-u-against-cpu-seconds.svg"' in html
        and html.count("<strong><span data-m=") == 2
    )
    assert html.count(f'<a href="#{handle("d", "cart")}"') == 1, (
        "the line leads to the generator's cells"
    )
    assert html.count("not readable") == 2 and "810" in html and "300" in html
    figure = plots.cost(batch.rows, batch.cells)
    ax = figure.axes[0]
    points = {
        line.get_xdata()[0]: line.get_ydata()[0] for line in ax.lines if line.get_markersize() == 8
    }
    assert "mathdefault" not in plots.svg(figure) and ">0.01<" in plots.svg(figure), (
        "ticks are plain text"
    )
    assert ax.get_xscale() == "log" and points == pytest.approx({2.5: 0.9, 0.4: 0.4, 0.001: 1.0})


def test_what_a_fit_left_out_stands_below_its_cost(batch):
    said = "An epoch trains on 100,000 of <b>450,000</b> rows."
    cells = batch.cells.assign(notes=[said, "", None])
    cells = pd.concat([cells, cells.head(1).assign(seed=1)], ignore_index=True)
    html = str(section(Batch.of(batch.rows, cells, "t")))
    assert html.count(f"cart: {escape(said)}") == html.count("An epoch") == 1, "once for all seeds"
    given = Batch.of(batch.rows, cells.assign(generator="given"), "t")
    assert "An epoch" not in str(section(given)), "the section of given tables has it"
    assert "An epoch" not in str(section(batch))


def test_reports_without_cpu_seconds_say_so(batch):
    batch.cells[["fit_cpu", "sample_cpu", "evaluate_cpu", "cpu_seconds", "joules"]] = np.nan
    html = str(section(batch))
    assert (
        "<figure>" not in html
        and html.count("Not drawn: no cell has both") == 2
        and html.count("not readable") == 3
    )
