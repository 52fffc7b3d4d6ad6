"""The tables of docs/generators.md and its figure, made from the published rows of results/benchmark.

`python docs/benchmark.py` writes them; a test walks every number back to its rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from published import (
    ends,
    filled,
    finished,
    interval,
    labels,
    of_line,
    one,
    readings,
    signed,
    table,
)

from workbench.report.identity import is_control, is_private

HERE = Path(__file__).parent
PAGE = HERE / "generators.md"
FIGURE = HERE / "quality_per_second.svg"
# Heading, metrics (the first one that a table has), digits.
SHOWN = (
    ("shape error %", ("shape_error",), 2),
    ("trend error %", ("trend_error",), 2),
    ("TSTR", ("tstr_auc", "tstr_r2"), 3),
    ("closer to train", ("dcr_share",), 3),
    ("membership AUC", ("membership_auc",), 3),
    ("excess copies", ("excess_copies",), 4),
)
PEERS = "gpu-peers"
# What is read of tables that others published: each question once.
SHOWN_OF_PEERS = (
    ("shape error %", ("shape_error",), 2),
    ("trend error %", ("trend_error",), 2),
    ("TSTR AUC", ("tstr_auc",), 3),
    ("told apart, C2ST AUC", ("c2st",), 3),
    ("bias amplified", ("bias_amp",), 3),
    ("coefficient moved", ("coefficient_shift",), 2),
    ("closer to train", ("dcr_share",), 3),
    ("membership AUC", ("membership_auc",), 3),
    ("excess copies", ("excess_copies",), 4),
)
COSTS = (
    ("fit, CPU s", "fit_cpu", 2),
    ("sample, CPU s", "sample_cpu", 2),
    ("peak MB", "peak_mb", 0),
)


def shown() -> pd.DataFrame:
    return readings(tuple(metric for _, metrics, _ in SHOWN for metric in metrics))


def tables() -> str:
    return "\n\n".join(of_dataset(dataset) for dataset in finished()["dataset"].unique())


def of_dataset(dataset: str) -> str:
    """One table: a line a generator, the smallest trend error first, and the two ends below."""
    ran = finished()[finished()["dataset"] == dataset]
    own = shown()[shown()["dataset"] == dataset]
    score = "R²" if own.loc[own["metric"] == "tstr_r2", "mean"].notna().any() else "AUC"
    heads = [f"TSTR {score}" if head == "TSTR" else head for head, _, _ in SHOWN]
    lines = []
    for label, generator in labels(ran).items():
        mine = own[own["label"] == label]
        control = " (control)" if is_control(generator) else ""
        trend = one(mine, ("trend_error",))
        order = np.inf if trend is None or np.isnan(trend["mean"]) else trend["mean"]
        lines.append((order, [f"`{label}`{control}", *line_of(mine, ran[ran["label"] == label])]))
    lines.sort(key=lambda pair: pair[0])
    header = ["generator", "seeds", *heads, *(head for head, _, _ in COSTS)]
    blank = [""] * len(COSTS)
    bottom = [[*line, *blank] for line in references(own, SHOWN)]
    rows = ran[["train_rows", "test_rows"]].max()
    size = f"{rows['train_rows']:,.0f} rows to learn from, {rows['test_rows']:,.0f} to test on."
    return f"### {dataset}\n\n{size}\n\n{table([header, *(line for _, line in lines), *bottom])}"


def gpu_peers() -> str:
    """Tables that others published beside ours: a line each, the smallest trend error first."""
    ran = finished(PEERS)
    own = readings(tuple(metric for _, metrics, _ in SHOWN_OF_PEERS for metric in metrics), PEERS)
    lines = []
    for label, generator in labels(ran).items():
        mine = own[own["label"] == label]
        control = " (control)" if is_control(generator) else ""
        seeds = str(ran.loc[ran["label"] == label, "seed"].nunique())
        numbers = means(mine, SHOWN_OF_PEERS)
        order = one(mine, ("trend_error",))["mean"]
        lines.append((order, [f"{label}{control}", seeds, *numbers]))
    lines.sort(key=lambda pair: pair[0])
    header = ["table", "runs", *(head for head, _, _ in SHOWN_OF_PEERS)]
    return table([header, *(line for _, line in lines), *references(own, SHOWN_OF_PEERS)])


def means(mine: pd.DataFrame, shown: tuple) -> list[str]:
    """Each reading of one label with its interval."""
    return [interval(one(mine, metrics), digits) for _, metrics, digits in shown]


def line_of(mine: pd.DataFrame, ran: pd.DataFrame) -> list[str]:
    """Seeds, each reading with its interval, and the means of what it cost."""
    line = [str(ran["seed"].nunique()), *means(mine, SHOWN)]
    return line + [f"{ran[name].mean():.{digits}f}" for _, name, digits in COSTS]


def of_generator(name: str) -> str:
    """The lines of one generator, a table and setting each."""
    ran = finished()[finished()["generator"] == name]
    heads = [head for head, _, _ in SHOWN]
    lines = [["table", "label", "seeds", *heads, *(head for head, _, _ in COSTS)]]
    for dataset, label in ran[["dataset", "label"]].drop_duplicates().itertuples(index=False):
        own = of_line(shown(), dataset, label)
        lines.append([dataset, label, *line_of(own, of_line(ran, dataset, label))])
    return table(lines)


def references(own: pd.DataFrame, shown: tuple) -> list[list[str]]:
    """The two lines below a table: what fresh real rows and what destroyed ones read."""
    lines = []
    for end, title in (("ceiling", "fresh real rows"), ("floor", "destroyed")):
        numbers = [signed(ends(own, metrics, end), digits) for _, metrics, digits in shown]
        lines.append([title, "", *numbers])
    return lines


def points() -> pd.DataFrame:
    """For each label: CPU seconds of a fit, trend error, and where the skill that its rows keep lies
    between floor (0) and fresh real rows (1); each the median over the tables.
    """
    ran, own = finished(), shown()
    rows = []
    for label, generator in labels(ran).items():
        mine = own[own["label"] == label]
        skill = mine[mine["metric"].isin(("tstr_auc", "tstr_r2"))].dropna(subset=["mean"])
        place = (skill["mean"] - skill["floor"]) / (skill["ceiling"] - skill["floor"])
        trend = mine.loc[mine["metric"] == "trend_error", "mean"]
        fit = ran[ran["label"] == label].groupby("dataset")["fit_cpu"].mean().median()
        kind = "guarantee" if is_private(generator) else "no guarantee"
        rows.append(
            {
                "label": label,
                "kind": "control" if is_control(generator) else kind,
                "fit": fit,
                "trend": trend.median(),
                "skill": place.median(),
            }
        )
    return pd.DataFrame(rows)


def figure(path: Path = FIGURE) -> None:
    """Trend error and skill against the CPU seconds of a fit: a point a generator, named beside."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "workbench"  # the same rows give the same bytes
    found = points()
    found = found[(found["kind"] != "control") & found[["trend", "skill"]].notna().all(axis=1)]
    height = max(4.5, 0.24 * len(found) + 1)
    drawn, axes = plt.subplots(1, 2, figsize=(13, height), layout="constrained")
    titles = {
        "trend": "trend error, % (log scale), lower is better",
        "skill": "skill kept: 0 destroyed, 1 fresh real rows",
    }
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        axis.set(xscale="log", xlabel="CPU seconds of fitting (log scale)", ylabel=title)
        if name == "trend":
            axis.set_yscale("log")
        for kind, marker in (("no guarantee", "o"), ("guarantee", "s")):
            part = found[found["kind"] == kind]
            axis.scatter(part["fit"], part[name], marker=marker, s=28, label=kind, zorder=3)
        named_beside(axis, found, name)
    axes[0].legend(frameon=False)
    drawn.savefig(path, metadata={"Date": None})
    plt.close(drawn)


def named_beside(axis, found: pd.DataFrame, name: str) -> None:
    """The labels in a column right of the axis, in the order of their points, a thin line to each.

    Beside the points themselves the names of thirty generators would cover each other.
    """
    ordered = found.sort_values(name)
    heights = np.linspace(0.02, 0.98, len(ordered))
    for height, (_, row) in zip(heights, ordered.iterrows(), strict=True):
        axis.annotate(
            row["label"],
            xy=(row["fit"], row[name]),
            xytext=(1.04, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.6, "shrinkB": 3},
        )


def page(text: str) -> str:
    return filled(text, {"tables": tables, "gpu_peers": gpu_peers})


def write() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    figure()
