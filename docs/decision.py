"""The tables of docs/which-generator.md, made from the published rows of results/benchmark.

`python docs/benchmark.py` writes them; a test says when they are out of date. Every number that
compares generators on the page is one of these rows; the rules that pick a line are in the
functions below, not in somebody's memory.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from published import filled as filled_marks
from published import (
    finished,
    interval,
    labels,
    of_line,
    one,
    readings,
    signed,
    table,
    verdict_counts,
)

from workbench.report.identity import is_control, is_private
from workbench.report.uses import USES
from workbench.tables.catalog import DATASETS

PAGE = Path(__file__).parent / "which-generator.md"
BUDGETS = ((1, "one second"), (10, "ten seconds"), (150, "a few minutes"))
SKILL = ("tstr_auc", "tstr_r2")
CLOSENESS = ("dcr_share", "membership_auc", "excess_copies", "trend_error")
PRIVATE_ON = "adult"  # the table that papers on private generators have in common
NAMED = 3  # generators that the table of uses names


def shown() -> pd.DataFrame:
    return readings((*SKILL, *CLOSENESS))


def open_methods(ran: pd.DataFrame) -> list[str]:
    """Labels that are neither controls nor private: what a budget in seconds picks from."""
    return [
        label
        for label, generator in labels(ran).items()
        if not is_control(generator) and not is_private(generator)
    ]


def skill(dataset: str, label: str) -> pd.Series | None:
    """The skill that is kept on a table, where it was measured."""
    row = one(of_line(shown(), dataset, label), SKILL)
    return None if row is None or not np.isfinite(row["mean"]) else row


def by_budget() -> str:
    """For each table and budget the method whose rows train the best model, among those that fit in
    time, and how many others cannot be told from it.
    """
    lines = [["table (rows to learn from)", *(f"within {words}" for _, words in BUDGETS)]]
    ran = finished()
    for dataset in ran["dataset"].unique():
        own = ran[ran["dataset"] == dataset]
        seconds = own.groupby("label")["fit_cpu"].mean()
        entry = DATASETS.get(dataset)
        columns = f" × {entry.columns}" if entry else ""
        line = [f"{dataset} ({int(own['train_rows'].max()):,}{columns})"]
        for budget, _ in BUDGETS:
            in_time = [name for name in open_methods(own) if seconds[name] <= budget]
            line.append(best_of(dataset, in_time, seconds))
        lines.append(line)
    return table(lines)


def best_of(dataset: str, names: list[str], seconds: pd.Series) -> str:
    found = {name: skill(dataset, name) for name in names}
    found = {name: row for name, row in found.items() if row is not None}
    if not found:
        return "–"
    best = max(found, key=lambda name: found[name]["mean"])
    # Overlapping intervals are no proof of a tie, but no ground to prefer either.
    ties = sum(row["high"] >= found[best]["low"] for row in found.values()) - 1
    what = {"tstr_auc": "AUC", "tstr_r2": "R²"}[found[best]["metric"]]
    score = f"`{best}` {what} {interval(found[best])} in {short(seconds[best])} s"
    return f"{score}; {ties} more overlap" if ties else score


def short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def closeness() -> str:
    """How near each method's rows lie to its train rows: medians over the tables, and their range."""
    heads = ("closer to train", "membership AUC", "excess copies %", "trend error %")
    ran = finished()
    names = open_methods(ran)
    if "holdout" in set(ran["label"]):
        names.append("holdout")
    lines = []
    for name in names:
        own = shown()[shown()["label"] == name]
        means = own.pivot_table(index="dataset", columns="metric", values="mean", sort=False)
        if not set(CLOSENESS) <= set(means.columns):
            continue
        means["excess_copies"] *= 100
        cells = [across(means[metric]) for metric in CLOSENESS]
        fit = ran[ran["label"] == name].groupby("dataset")["fit_cpu"].mean().median()
        shown_name = "fresh real rows, `holdout`" if name == "holdout" else f"`{name}`"
        order = -means["dcr_share"].median()
        lines.append((order, [shown_name, str(len(means)), *cells, short(fit)]))
    lines.sort(key=lambda pair: pair[0])
    header = ["generator", "tables", *heads, "fit, CPU s"]
    return table([header, *(line for _, line in lines)])


def across(values: pd.Series) -> str:
    """The median over tables with the smallest and the largest."""
    return f"{signed(values.median(), 2)} ({signed(values.min(), 2)} to {signed(values.max(), 2)})"


def private() -> str:
    """Methods with a guarantee on one table, as each promised it, and fresh real rows beside."""
    ran = finished()
    ran = ran[ran["dataset"] == PRIVATE_ON]
    lines = []
    for label, generator in labels(ran).items():
        if not is_private(generator):
            continue
        own = ran[ran["label"] == label]
        promise = json.loads(own["promise"].iloc[0])
        numbers = [f"{promise['epsilon']:.3g}", f"{promise['delta']:g}", promise["domain"]]
        lines.append([f"`{generator}`", *numbers, *scored(label, own)])
    lines.sort(key=lambda line: (float(line[1]), -leading(line[5])))
    if "holdout" in set(ran["label"]):
        own = ran[ran["label"] == "holdout"]
        lines.append(["fresh real rows, `holdout`", "–", "–", "–", *scored("holdout", own)])
    header = ["generator", "epsilon", "delta", "domain", "trend error %", "TSTR AUC", "fit, CPU s"]
    return table([header, *lines])


def scored(label: str, own: pd.DataFrame) -> list[str]:
    rows = of_line(shown(), PRIVATE_ON, label)
    trend = interval(one(rows, ("trend_error",)), 2)
    return [trend, interval(one(rows, SKILL)), short(own["fit_cpu"].mean())]


def leading(text: str) -> float:
    """The mean that a cell begins with; a cell without a reading sorts last."""
    first = text.split()[0].replace("−", "-")
    return -np.inf if first == "–" else float(first)


def by_use() -> str:
    """For each use the generators whose gates are met on most tables."""
    generators = labels(finished())
    counts = verdict_counts().copy()
    counts["generator"] = counts["label"].map(generators)
    lines = [["the rows are to", "no guarantee", "with a guarantee", "fresh real rows"]]
    for use, (title, _) in USES.items():
        own = counts[counts["use"] == use]
        ours = own[~own["generator"].map(is_control)]
        is_promised = ours["generator"].map(is_private)
        others, promised = leaders(ours[~is_promised]), leaders(ours[is_promised])
        fresh = [written(row) for row in own[own["label"] == "holdout"].itertuples()]
        lines.append([title.lower(), others, promised, *(fresh or ["–"])])
    return table(lines)


def leaders(own: pd.DataFrame) -> str:
    """The labels that meet the gates on most tables, and fail on fewest where that ties."""
    best = own.sort_values(["met", "failed"], ascending=[False, True], kind="stable")[:NAMED]
    met = best[best["met"] > 0]
    if not len(met):
        return "none on any table"
    return ", ".join(f"`{row.label}` {written(row)}" for row in met.itertuples())


def written(row) -> str:
    return f"{row.met} of {row.met + row.open + row.failed}"


def filled(text: str) -> str:
    """The page with each table between its marks made anew."""
    makers = {
        "by_use": by_use,
        "by_budget": by_budget,
        "closeness": closeness,
        "private": private,
    }
    return filled_marks(text, makers)


def write() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
