"""The tables of docs/which-generator.md and the results table of the README, made from the recorded
rows of benchmarks/methods.jsonl.

    python docs/decision.py    # writes both; a test says when they are out of date

Every number on these pages that compares generators is one of the record; the rules that pick a line
are in the functions below, not in somebody's memory.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from workbench.report.identity import is_private
from workbench.tables.catalog import DATASETS

HERE = Path(__file__).parent
RECORD = HERE.parent / "benchmarks" / "methods.jsonl"
PAGES = (HERE / "which-generator.md",)
TABLES = ("adult", "default_credit", "online_shoppers", "magic_gamma", "beijing_pm25")
NOT_COMPARED = ("holdout", "real rows")
BUDGETS = ((1, "one second"), (10, "ten seconds"), (150, "a few minutes"))


def record() -> list[dict]:
    """The recorded rows; of one generator with the same settings the last one counts."""
    lines = RECORD.read_text(encoding="utf-8").splitlines()
    found = {}
    for row in map(json.loads, lines):
        key = row["dataset"], row["generator"], json.dumps(row["params"], sort_keys=True)
        found[key] = row
    return list(found.values())


def is_budgeted(row: dict) -> bool:
    """Whether a training was cut off by the clock: such a row says little of the method."""
    return "seconds" in row["params"]


def candidates(rows: list[dict], dataset: str) -> list[dict]:
    """Methods at their defaults on one table, without references and private ones."""
    return [
        row
        for row in rows
        if row["dataset"] == dataset
        and row["generator"] not in NOT_COMPARED
        and not is_budgeted(row)
        and not is_private(row["generator"])
        and row.get("fit") is not None
    ]


def by_budget(rows: list[dict]) -> str:
    """For each table and budget the method whose rows train the best model, among those that fit in
    time.
    """
    header = ["table (rows × columns)", *(f"within {words}" for _, words in BUDGETS)]
    lines = [header]
    for dataset in TABLES:
        entry = DATASETS[dataset]
        line = [f"{dataset} ({entry.rows:,} × {entry.columns})"]
        for seconds, _ in BUDGETS:
            in_time = [row for row in candidates(rows, dataset) if row["fit"] <= seconds]
            best = min(in_time, key=loss)
            line.append(f"`{best['generator']}` {utility(best)} in {short(best['fit'])} s")
        lines.append(line)
    return table(lines)


def loss(row: dict) -> float:
    """Less is better: 1 - AUC, or the RMSE of a regression."""
    return row["rmse"] if row.get("auc") is None else 1 - row["auc"]


def utility(row: dict) -> str:
    if row.get("auc") is None:
        return f"RMSE {row['rmse']:.3f}"
    return f"AUC {row['auc']:.3f}"


def short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def closeness(rows: list[dict]) -> str:
    """How near each method's rows lie to its train rows, the median over the five tables."""
    header = [
        *("generator", "closer to train", "membership AUC", "excess copies %"),
        *("trend error %", "fit, CPU s"),
    ]
    lines = []
    names = {row["generator"] for dataset in TABLES for row in candidates(rows, dataset)}
    for name in names:
        own = [row for d in TABLES for row in candidates(rows, d) if row["generator"] == name]
        if len(own) < len(TABLES):
            continue
        middle = {
            key: float(np.median([row[key] for row in own]))
            for key in ("closer", "membership", "copies", "trend", "fit")
        }
        lines.append((middle, f"`{name}`"))
    lines.sort(key=lambda pair: -pair[0]["closer"])
    body = [
        [
            name,
            f"{middle['closer']:.3f}",
            f"{middle['membership']:.3f}",
            f"{100 * middle['copies']:.2f}".replace("-", "−"),
            f"{middle['trend']:.2f}",
            short(middle["fit"]),
        ]
        for middle, name in lines
    ]
    return table([header, *body])


def private(rows: list[dict]) -> str:
    """Methods with a guarantee on Adult, at one epsilon each."""
    header = ["generator", "epsilon", "delta", "domain", "trend error %", "TSTR AUC", "fit, CPU s"]
    lines = []
    for row in rows:
        if row["dataset"] != "adult" or not is_private(row["generator"]) or is_budgeted(row):
            continue
        params = row["params"]
        delta = params.get("delta", {"mst": 1e-9, "privbayes": 0.0}.get(row["generator"], 1e-5))
        lines.append(
            [
                f"`{row['generator']}`",
                f"{params.get('epsilon', 1.0):g}",
                f"{delta:g}",
                params.get("domain", "read off train"),
                f"{row['trend']:.1f}",
                f"{row['auc']:.3f}",
                short(row["fit"]),
            ]
        )
    lines.sort(key=lambda line: (float(line[1]), -float(line[5])))
    return table([header, *lines])


def table(lines: list[list[str]]) -> str:
    header, *body = lines
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def filled(text: str) -> str:
    """The page with each table between its marks made anew."""
    rows = record()
    makers = {
        "by_budget": by_budget,
        "closeness": closeness,
        "private": private,
    }
    for name, maker in makers.items():
        mark = rf"(<!-- {name}: made by docs/decision.py -->\n).*?(\n<!-- end -->)"
        table = maker(rows)
        text = re.sub(mark, lambda m, table=table: f"{m[1]}\n{table}\n{m[2]}", text, flags=re.S)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
