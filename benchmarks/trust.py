"""How far the verdicts can be trusted: simulated tables whose truth is known, gate by gate.

Fresh rows, a new sample of the real population, must meet every gate; each planted fault must fail
its own. Each simulation draws train, test and the synthetic table anew. Answers are kept in a file
of JSON lines, so that a stopped run goes on where it was.

    python benchmarks/trust.py --simulations 200 --write docs/trust.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import workbench as wb
from workbench.report.headlines import aggregate
from workbench.report.uses import USES, read_by
from workbench.tables.schema import Schema
from workbench.words import interval

GATES = {gate.metric: gate for _, gates in USES.values() for gate in gates}
CHEAP = ("representation", "vanished_groups", "bias_amp", "excess_copies", "membership_tpr")


def people(rng: np.random.Generator, rows: int, strength: float = 1.0) -> pd.DataFrame:
    """Sex, race with a group of 5%, three numbers, and a target that depends on sex and skill."""
    sex = np.where(rng.random(rows) < 0.4, "woman", "man")
    race = rng.choice(["a", "b", "c"], rows, p=[0.7, 0.25, 0.05])
    skill, income, wealth = rng.normal(size=(3, rows))
    income = income + 0.5 * skill
    chance = 1 / (1 + np.exp(-1.5 * skill - strength * (sex == "man")))
    hired = np.where(rng.random(rows) < chance, "yes", "no")
    columns = {"skill": skill, "income": income, "wealth": wealth, "hired": hired}
    return pd.DataFrame({"sex": sex, "race": race} | columns)


def fresh(rng, train, rows):
    return people(rng, rows)


def no_women(rng, train, rows):
    table = people(rng, 3 * rows)
    return table[table["sex"] == "man"].head(rows)


def nine_in_ten_women_gone(rng, train, rows):
    table = people(rng, 3 * rows)
    keep = (table["sex"] == "man") | (rng.random(len(table)) < 0.1)
    return table[keep].head(rows)


def doubled_association(rng, train, rows):
    return people(rng, rows, strength=2.0)


def copies(rng, train, rows):
    leaked = train.head(rows * 3 // 100)
    return pd.concat([leaked, people(rng, rows - len(leaked))], ignore_index=True)


def near_verbatim(rng, train, rows):
    """Five in a hundred rows are train's, one number moved by 0.01."""
    leaked = train.head(rows * 5 // 100)
    leaked = leaked.assign(wealth=leaked["wealth"] + 0.01)
    return pd.concat([leaked, people(rng, rows - len(leaked))], ignore_index=True)


# Each fault, and the gate that must fail it.
FAULTS: dict[str, tuple[Callable, str]] = {
    "no women": (no_women, "vanished_groups"),
    "nine in ten women gone": (nine_in_ten_women_gone, "representation"),
    "doubled association": (doubled_association, "bias_amp"),
    "3% of the rows copied": (copies, "excess_copies"),
    "5% nearly verbatim": (near_verbatim, "membership_tpr"),
}


def simulate(seed: int, rows: int, name: str, metrics: tuple[str, ...]) -> dict[str, str]:
    """The state of each gate in one simulation: "fresh", or a name of FAULTS."""
    rng = np.random.default_rng([seed, *name.encode()])
    table = people(rng, 2 * rows)
    schema = Schema.infer(table, "hired", ["sex", "race"])
    train, test = table.iloc[:rows], table.iloc[rows:].reset_index(drop=True)
    make = fresh if name == "fresh" else FAULTS[name][0]
    synthetic = make(rng, train, rows).reset_index(drop=True)
    data = wb.Dataset("people", train, test, schema)
    found = wb.evaluate(data, synthetic, seed=seed, metrics=metrics).rows
    readings = aggregate(found.assign(dataset="people", label=name, seed=seed))
    return {metric: _state(readings, metric) for metric in metrics}


def _state(readings: pd.DataFrame, metric: str) -> str:
    gate = GATES[metric]
    own = readings[readings["metric"] == metric].to_dict("records")
    return gate.read(read_by(own, gate.about))[0]


def run(simulations: int, rows: int, store: Path | None = None) -> pd.DataFrame:
    """One row a simulation, gate and kind of table: its state."""
    known = {}
    if store is not None and store.exists():
        for line in store.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            known[record["name"], record["seed"], record["rows"]] = record["states"]
    records = []
    for seed in range(simulations):
        for name in ("fresh", *FAULTS):
            metrics = CHEAP if name == "fresh" else (FAULTS[name][1],)
            key = (name, seed, rows)
            if key not in known:
                known[key] = simulate(seed, rows, name, metrics)
                if store is not None:
                    line = {"name": name, "seed": seed, "rows": rows, "states": known[key]}
                    with store.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
            states = known[key].items()
            records += [{"name": name, "gate": g, "seed": seed, "state": s} for g, s in states]
    return pd.DataFrame(records)


def document(found: pd.DataFrame, rows: int) -> str:
    """The trust table: how often fresh rows meet each gate, and how often each fault fails its own."""
    lines = [
        "# How far the verdicts can be trusted",
        "",
        "Made by `python benchmarks/trust.py --write docs/trust.md`; do not edit by hand.",
        "",
        f"Train, test and synthetic table have {rows:,} rows each and are drawn anew in each",
        "simulation. A gate is worth its name where fresh real rows meet it and its planted fault",
        (
            "fails it in at least 90% of simulations; a line below 0.9 is a gate that does not hold"
            " that yet."
        ),
        "Shares with exact 95% intervals.",
        "",
        "| table | gate | should | does | simulations |",
        "|---|---|---|---|---|",
    ]
    for (name, gate), part in found.groupby(["name", "gate"], sort=False):
        wanted = "meets" if name == "fresh" else "fails"
        right = int((part["state"] == wanted).sum())
        share = _share(right, len(part))
        lines.append(f"| {name} | {GATES[gate].title} | {wanted} | {share} | {len(part)} |")
    return "\n".join(lines) + "\n"


def _share(right: int, count: int) -> str:
    from scipy.stats import binomtest

    low, high = binomtest(right, count).proportion_ci()
    return interval({"mean": right / count, "low": low, "high": high})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--store", type=Path, help="JSON lines of what was simulated already")
    parser.add_argument("--write", type=Path, help="the document; printed where left out")
    chosen = parser.parse_args()
    text = document(run(chosen.simulations, chosen.rows, chosen.store), chosen.rows)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
