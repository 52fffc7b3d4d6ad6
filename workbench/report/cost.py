"""What a synthetic table costs, and how many real rows would have bought the same.

    section(batch)                        a report's figures of quality against CPU seconds, and the
                                          table of costs
    learning_curve(data, sizes, draws)    test scores of learners trained on m real rows, m on a
                                          curve, several draws
    equivalent(curve, scores, rng)        the real rows whose score on the curve is that of a
                                          synthetic table, with interval
    price(...)                            what rows, CPU hours and tokens cost at prices of your own

Costs are what the cells' records counted. Energy is what the processor's own counters say or
nothing: an estimate from the processor's nominal power, as codecarbon falls back to, would say no
more than CPU seconds and look like a measurement.
"""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from workbench.generators import GIVEN
from workbench.metrics import titled
from workbench.report import scatter
from workbench.report.batch import Batch, Part
from workbench.report.html import Piece, html_table, image, marked, pieces
from workbench.report.html import section as standing
from workbench.report.identity import is_private
from workbench.studies.learning_curve import QUALITIES
from workbench.words import digits, number

COLUMNS = (  # of the report's table: fact, words, decimals
    ("fit_cpu", "Fit, CPU s", 2),
    ("sample_cpu", "Sample, CPU s", 2),
    ("evaluate_cpu", "Evaluate, CPU s", 2),
    ("cpu_seconds", "Whole cell, CPU s", 2),
    ("input_tokens", "Prompt tokens", 0),
    ("output_tokens", "Answered tokens", 0),
    ("cost", "Price, in the grid's currency", 4),
)
REPORTED = ("input_tokens", "output_tokens", "cost")  # shown only where a generator told them


@standing
def section(batch: Batch) -> Piece:
    """Quality against the CPU seconds of the fit, and what each generator's cells cost."""
    out = Markup("")
    for part in batch.each():
        drawn = [metric for metric in QUALITIES if metric in set(part.rows["metric"])]
        cards = [_card(part, metric) for metric in drawn]
        out += part.title + pieces().cards(cards, True) + _table(part) + _left_out(part)
    return Piece(out)


def _card(part: Part, metric: str) -> Markup:
    """A quality against the CPU seconds of the fit."""
    heads = part.heads[part.heads["metric"] == metric].drop_duplicates("label")
    heads = heads[heads["mean"].notna()].set_index("label")
    cells = part.cells[(part.cells["status"] == "ok") & part.cells["fit_cpu"].notna()]
    # Fits below a millisecond stand at one.
    spent = cells.groupby("label")["fit_cpu"].agg(["mean", "min", "max"]).clip(lower=1e-3)
    labels = [label for label in part.labels if label in heads.index and label in spent.index]
    if not labels:
        return pieces().note(
            f"Not drawn: no cell has both {titled(metric)} and CPU seconds; cells of older versions"
            " have none: run them again."
        )
    points = [_point(part, label, spent.loc[label], heads.loc[label]) for label in labels]
    ends = np.log10([spent.loc[labels, "min"].min(), spent.loc[labels, "max"].max()])
    across = scatter.Axis("CPU seconds of the fit", ends[0] - 0.15, ends[1] + 0.3, is_log=True)
    ceiling = heads["ceiling"].mean()
    low, high = scatter.span(list(heads["mean"]), [heads["floor"].mean(), ceiling])
    lines = {float(ceiling): "fresh real rows"} if np.isfinite(ceiling) else {}
    figure = scatter.scatter(points, across, scatter.Axis(titled(metric), low, high, lines), True)
    below = "up: better · right: costs more · the line joins the best"
    caption = pieces().caption(marked(metric), below)
    name = f"{part.name} {titled(metric)} against CPU seconds"
    return image(figure, _spoken(part, metric), caption, name)


def _point(part: Part, label: str, spent, head) -> scatter.Point:
    kind = "open"
    if is_private(part.generators[label]):
        kind = "private"
    if part.control(label):
        kind = "control"
    ends = (spent["min"], spent["max"]), (head["low"], head["high"])
    return scatter.Point(label, kind, spent["mean"], head["mean"], *ends)


def _spoken(part: Part, metric: str) -> str:
    """The figure's points in words, the cheapest first."""
    spent = (
        part.cells[part.cells["status"] == "ok"]
        .groupby("label")["fit_cpu"]
        .mean()
        .dropna()
        .sort_values(kind="stable")
    )
    heads = part.heads[part.heads["metric"] == metric].set_index("label")["mean"]
    readings = [
        f"{label} {spent[label]:,.2f} s, {number(heads[label])}"
        for label in spent.index
        if label in heads
    ]
    return (
        f"{titled(metric)} against CPU seconds of the fit on {part.name}. Cheapest first:"
        f" {'; '.join(readings)}."
    )


def _left_out(part: Part) -> Markup:
    """What fits say that they left out, such as rows of an epoch; given tables stand elsewhere."""
    cells = part.cells[(part.cells["generator"] != GIVEN) & part.cells["label"].isin(part.labels)]
    said = cells.loc[cells["notes"].fillna("") != "", ["label", "notes"]].drop_duplicates()
    notes = [pieces().note(f"{label}: {words}") for label, words in said.to_numpy()]
    return Markup("").join(notes)


def _table(part: Part) -> Markup:
    """CPU seconds, memory, energy, tokens and price of each generator; means over its finished
    cells, peaks the largest.
    """
    ok = part.cells[part.cells["status"] == "ok"]
    columns = [
        (name, words, places)
        for name, words, places in COLUMNS
        if name not in REPORTED or ok[name].notna().any()
    ]
    lines = []
    for label in part.labels:
        cells = ok[ok["label"] == label]
        means = [digits(cells[name].astype(float).mean(), places) for name, _, places in columns]
        joules = cells["joules"].mean()
        energy = digits(joules, 0) if np.isfinite(joules) else "not readable"
        lines.append((part.named(label), *means, digits(cells["peak_mb"].max(), 0), energy))
    header = ["Generator", *(words for _, words, _ in columns), "Peak memory, MB", "Joules, shared"]
    return html_table(
        header,
        lines,
        f"Mean cost of a cell on {part.name}, and the largest peak memory of any",
        "scores",
    )
