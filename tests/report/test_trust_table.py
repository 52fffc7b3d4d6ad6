"""The trust table in small: each planted fault fails its gate, and the page says so in words."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Row, Trial
from workbench.metrics.evaluate import readings
from workbench.metrics.rows import to_table
from workbench.report import sections
from workbench.report.batch import Batch
from workbench.report.uses import USES
from workbench.tables.schema import Schema

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import trust  # noqa: E402

SLOW = ("augmentation_gain", "utility_ratio", "attack_risk", "equalized_odds_shift")
FAST = {
    name: tuple(gate for gate in line.gates if gate not in SLOW)
    for name, line in trust.LINES.items()
}


@pytest.mark.parametrize("name", [name for name, gates in FAST.items() if gates])
def test_a_gate_meets_fresh_rows_and_fails_its_fault(name, monkeypatch):
    """The long form is docs/trust.md."""
    line = trust.LINES[name]
    monkeypatch.setitem(trust.LINES, name, replace(line, gates=FAST[name], intervals=False))
    right = dict.fromkeys(FAST[name], 0)
    for seed in range(3):
        for gate, state in trust.simulate(name, seed + 1000)["states"].items():
            right[gate] += state == line.state
    assert min(right.values()) >= 2, right


def test_the_document_has_one_line_for_each_gate_and_table():
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    for name, line in trust.LINES.items():
        for gate in line.gates:
            title = line.title(gate)
            own = [cells for cells in lines if [c.strip() for c in cells[:2]] == [name, title]]
            assert len(own) == 1, "run python benchmarks/trust.py --write docs/trust.md"


def test_a_stopped_run_goes_on_and_two_may_write_to_one_file(tmp_path, monkeypatch):
    calls = []

    def simulate(name, seed, rows, only=()):
        calls.append((name, seed))
        states = dict.fromkeys(trust.LINES[name].gates, "meets")
        return {"name": name, "seed": seed, "rows": rows, "states": states}

    monkeypatch.setattr(trust, "simulate", simulate)
    store = tmp_path / "finished.jsonl"
    trust.run(1, store=store)
    assert len(calls) == len(trust.LINES)
    found = trust.run(2, store=store)
    assert len(calls) == len(found) == 2 * len(trust.LINES)
    trust.keep(simulate("no women", 0, trust.ROWS), store)
    assert len(trust.known(store)) == 2 * len(trust.LINES)
    assert "| no women | vanished groups | fails | 0.000" in trust.document(found)

    again = {"name": "no women", "seed": 0, "rows": trust.ROWS, "only": ["vanished_groups"]}
    trust.keep(again | {"states": {"vanished_groups": "fails"}}, store)
    assert trust.known(store)["no women", 0]["states"] == {"vanished_groups": "fails"}


# From a planted table to the sentence on the page

SENTENCES = {
    "no women": ("train", "vanished groups"),
    "nine in ten women gone": ("train", "representation"),
    "doubled association": ("train", "bias amplification"),
    "one association doubled, one gone": ("train", "bias amplification"),
    "erased effect": ("analyse", "a coefficient's shift in standard errors"),
    "35% of the labels flipped": ("analyse", "a coefficient's shift in standard errors"),
    "3% of the rows copied": ("share", "excess copies"),
    "5% nearly verbatim": ("share", "near copies"),
}
GENERATORS = ("arf", "cart", "ctgan", "tvae", "mst", "tabddpm", "copula", "pategan", "bayes")
MEASURED = ("representation", "vanished_groups", "bias_amp", "equalized_odds_shift")
MEASURED += ("coefficient_shift", "excess_copies", "near_copies", "membership_tpr")


def known_rows():
    """What would take long to measure and is not what the fault is about."""
    rows = [Row("utility_ratio", 0.98, 0.96, 1.0), Row("attack_risk", 0.0, 0.0, 0.02)]
    rows += [Row("membership_auc", 0.5, 0.48, 0.52)]
    rows += [Row("augmentation_gain", 0.02, 0.01, 0.03)]
    return to_table(rows)


@pytest.fixture(scope="module")
def page():
    """The verdicts of a page about one generator for each fault, as text, and each one's label."""
    rng = np.random.default_rng(7)
    table = trust.people(rng, 4000)
    schema = Schema.infer(table, "hired", ["sex", "race"])
    train, test = table.iloc[:2000], table.iloc[2000:].reset_index(drop=True)
    makers = {"fresh": trust.fresh} | {name: trust.LINES[name].make for name in SENTENCES}
    rows, labels = [], dict(zip(makers, GENERATORS, strict=True))
    for name, make in makers.items():
        synthetic = make(rng, train, 2000).reset_index(drop=True)
        metrics = MEASURED
        if name == "35% of the labels flipped":
            metrics = (*MEASURED, "augmentation_gain")
        own = pd.concat([readings(Trial(train, test, synthetic, schema), metrics), known_rows()])
        about = {"dataset": "people", "label": labels[name], "generator": labels[name], "seed": 0}
        rows.append(own.assign(**about))
    cells = pd.DataFrame({"label": list(labels.values()), "generator": list(labels.values())})
    cells = cells.assign(dataset="people", seed=0, status="ok", params="{}")
    batch = Batch.of(pd.concat(rows, ignore_index=True), cells, "planted")
    return str(sections.verdicts(batch).striptags()), labels


def parts(text, use):
    """The sentence of a use, cut where another outcome begins."""
    title = USES[use][0]
    sentence = text.split(f"{title}. ", 1)[1].split(".", 1)[0]
    return [part.strip().lower() for part in sentence.split(";")]


def test_fresh_rows_meet_every_use_on_the_page(page):
    text, labels = page
    for use in USES:
        (met,) = [part for part in parts(text, use) if part.endswith("every gate")]
        assert labels["fresh"] in met


@pytest.mark.parametrize("name", SENTENCES)
def test_a_fault_is_named_in_the_sentence_of_its_use(page, name):
    text, labels = page
    use, gate = SENTENCES[name]
    (failing,) = [part for part in parts(text, use) if " fail" in part]
    who, why = failing.split(" fail", 1)
    assert labels[name] in who and gate in why
