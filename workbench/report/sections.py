"""A finished or half-finished batch -> one HTML page that opens offline.

`report` lets papermill run notebooks/report.ipynb on a report folder and exports what it shows. The
functions below are that notebook's cells: each takes a Batch and returns one piece of the page.
Every value is escaped; no piece reads anything but the batch's rows and cells.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.errors import InputError
from workbench.metrics import FAMILIES, FOLDED, METRICS, OK, UNKNOWN, titled
from workbench.report import scatter
from workbench.report.batch import Batch, Part
from workbench.report.headlines import FACTORS, badness
from workbench.report.html import (
    LABELS,
    Piece,
    direction,
    footnotes,
    handle,
    headed,
    html_table,
    image,
    legend_of,
    marked,
    pieces,
    scored,
    section,
)
from workbench.report.identity import controls, is_private
from workbench.report.leaderboard import MARKS
from workbench.report.significance import signs
from workbench.report.uses import USES
from workbench.words import digits, interval, joined, number, plural, shortened

# What one page holds at most, so that 10,000 cells still make a page that opens.
PANELS, COLUMNS, FAILURES, CELLS = 8, 12, 50, 2000
STATES = MARKS
# What the first screen's figure reads across: the first of these that is measured.
LEAKS = ("attack_risk", "membership_auc", "excess_copies", "dcr_share")


@section
def facts_line(batch: Batch) -> Piece:
    """The page's title; what ran and how much of it finished, and what the page leaves out."""
    # Of all planned cells: what is still to run is part of the facts.
    counts, labels = batch.cells["status"].value_counts(), batch.cells["label"].unique()
    factors = [name for name in FACTORS if name in batch.cells]
    counts_each = batch.cells.groupby(["dataset", "label"])[factors].nunique()
    # A split or a draw that never varies is no news; the number of seeds always is.
    each = [
        f"{_range(n)} {name}{'' if n.max() == 1 else 's'}"
        for name, n in counts_each.items()
        if name == "seed" or n.max() > 1
    ]
    control = sum(batch.control(label) for label in labels)
    facts = [
        plural(len(batch.datasets), "dataset"),
        plural(len(labels) - control, "generator")
        + (f" and {plural(control, 'control')}" if control else ""),
        f"{' × '.join(each)} each",
        ", ".join(
            [f"{counts.get('ok', 0):,} of {plural(len(batch.cells), 'cell')} finished"]
            + [f"{count:,} {status}" for status, count in counts.items() if status != "ok"]
        ),
    ]
    # By the largest dataset: the note says that something is cut, not for which.
    most = batch.cells.groupby("dataset")["label"].nunique().max()
    notes = []
    waiting = counts.get("pending", 0)
    if waiting:
        total = plural(len(batch.cells), "cell")
        words = f"This page is not finished: {waiting:,} of {total} have still to run."
        notes.append((words, True))
    # What is left out is said: nobody is to take the page for the whole batch.
    for many, shown, what in (
        (len(batch.datasets), batch.shown, "datasets"),
        (most, LABELS, "generators of a dataset"),
    ):
        if many > shown:
            notes.append((f"Shown in full: the first {shown} of {many} {what}.", False))
    return Piece(pieces().title(batch.title, f"{' · '.join(facts)}.", notes))


@section
def verdicts(batch: Batch) -> Piece:
    """One sentence a use, then a table of generators and uses that names the deciding gate."""
    # Judged once for the whole page; every sentence and cell reads from it.
    table = batch.verdicts
    header, out = ["Generator", *(title for title, _ in USES.values())], Markup("")
    if len(batch.datasets) > 1:
        count = table.groupby(["label", "use", "state"]).size()
        lines = []
        for label in batch.ordered(table["label"])[:LABELS]:
            tallies = []
            for use in USES:
                seen = [state for state in STATES if (label, use, state) in count.index]
                words = [f"{STATES[s]} {s} on {count[label, use, s]}" for s in seen]
                tallies.append(", ".join(words))
            lines.append((batch.named(label), *tallies))
        out += html_table(
            header,
            lines,
            f"On how many of {len(batch.datasets)} datasets each use is supported",
            "text",
        )
    for part in batch.each():
        own = table[(table["dataset"] == part.name) & table["label"].isin(list(part.labels))]
        lines = []
        for label in part.labels:
            cells = [
                pieces().state(
                    row["state"].replace(" ", "-"),
                    STATES[row["state"]],
                    row["state"],
                    row["reason"],
                    True,
                )
                for row in own[own["label"] == label].to_dict("records")
            ]
            lines.append((part.named(label), *cells))
        # Controls are no candidates for any use: they stand in the table, for comparison, not in the
        # sentences.
        out += part.title + _sentences(batch, own[~own["label"].map(batch.control).astype(bool)])
        out += html_table(
            header,
            lines,
            f"What synthetic rows of {part.name} may be used for, and the gates that decide",
            "text",
        )
    return Piece(out + _gates())


def _gates() -> Markup:
    """When each gate is met and when it fails, to unfold: the same for every batch."""
    lines = [(title, gate.title, *gate.words()) for title, gates in USES.values() for gate in gates]
    header = ["Use", "Gate", "Reads", "Met where", "Fails where"]
    table = html_table(header, lines, "The gates, fixed beforehand", "text")
    return pieces().folded("When is a gate met?", table, kind="more")


def _sentences(batch: Batch, own: pd.DataFrame) -> Markup:
    """One sentence a use, over all generators that are no controls; the failing gates are named."""
    said = {}
    for use, (title, gates) in USES.items():
        part = own[own["use"] == use]
        who = {state: batch.ordered(part.loc[part["state"] == state, "label"]) for state in STATES}
        deciding = {
            state: set(part.loc[part["state"] == state, "gates"].explode()) for state in STATES
        }
        named = {}
        for state in STATES:
            titles = [gate.title for gate in gates if gate.title in deciding[state]]
            named[state] = joined(titles)
        people = {
            s: f"all {len(names)} generators" if 2 < len(names) == len(part) else joined(names)
            for s, names in who.items()
        }
        clauses = [
            words.format(people[state], "s" if len(who[state]) == 1 else "", named[state])
            for state, words in {
                "meets": "{0} meet{1} every gate",
                "fails": "{0} fail{1} on {2}",
                "undecided": "undecided for {0}, where an interval is too wide to decide on {2}",
                "not measured": "not measured for {0}, for lack of {2}",
            }.items()
            if who[state]
        ]
        said[title] = "; ".join(clauses) or "no generator has run"
    # Ruled out is who fails somewhere and is supported nowhere.
    fails = own.groupby("label")["state"].agg(
        lambda states: "fails" in set(states) and "meets" not in set(states)
    )
    none = batch.ordered(fails.index[fails.astype(bool)])
    said["None of these"] = (
        f"{joined(none)}: a gate fails and no use is supported"
        if none
        else "no generator is ruled out"
    )
    items = [(f"{title}.", f"{words[:1].upper()}{words[1:]}.") for title, words in said.items()]
    return pieces().sentences(items, "verdicts")


@section
def score_strips(batch: Batch) -> Piece:
    """Every headline metric as a small figure, by family."""
    from workbench.report import marks

    said = (
        "One line for each generator: small dots are its seeds, the large mark is their mean, the"
        " bar its 95% interval. The band runs from floor to ceiling; an arrow and a number stand for"
        " a mean that lies far beyond them. The best stand first, hollow grey controls last."
    )
    out = legend_of(marks.legend(), said)
    for part in batch.each():
        out += part.title
        if not len(part.heads):
            out += pieces().note("No cell has finished.")
        for family in FAMILIES:
            metrics = [
                m for m in part.heads["metric"].unique() if METRICS.get(m, UNKNOWN).family == family
            ]
            shown = _strips(part, [m for m in metrics if m not in FOLDED])
            more = _strips(part, [m for m in metrics if m in FOLDED])
            if shown or more:
                level = "h4" if part.title else "h3"
                out += pieces().family(level, family.title())
                out += shown + _folded(more)
    return Piece(out)


def _folded(content: Markup) -> Markup:
    """What repeats other readings, closed until somebody opens it; nothing where there is none."""
    if not content:
        return content
    words = "More: readings that repeat these, for comparison with papers"
    return pieces().folded(words, content, kind="more")


def _strips(part: Part, metrics: list[str]) -> Markup:
    """A small figure for each metric, and a sentence on each that has no reading."""
    from workbench.report import marks

    # Drawn in the page's order, so that a label has the same line in every figure.
    lines = {label: part.generators[label] for label in part.labels}
    cards, blank = [], Markup("")
    for metric in metrics:
        readings = part.heads[part.heads["metric"] == metric]
        # An empty figure would look like a mistake of the page; the reason says whose it is.
        if not readings["mean"].notna().any():
            reason = (readings["note"].iloc[0] or "no cell finished").rstrip(".")
            blank += pieces().note(f"No generator has a reading of {titled(metric)}: {reason}.")
            continue
        figure = marks.strip(part.rows, metric, readings, lines, part.labels)
        caption = pieces().caption(marked(metric), direction(metric))
        name = f"{part.name} {titled(metric)}"
        cards.append(image(figure, _spoken(part, metric), caption, name))
    if not cards:
        return blank
    return pieces().cards(cards, False) + blank


@section
def pareto(batch: Batch) -> Piece:
    """Utility against the worst leak that an attack shows, as large as the fit was costly."""
    return _tradeoffs(batch, lambda known: next((m for m in LEAKS if m in known), ""))


@section
def tradeoff(batch: Batch) -> Piece:
    """Utility against each reading of closeness to the training rows."""
    return _tradeoffs(batch, None)


def _tradeoffs(batch: Batch, chosen: Callable[[set[str]], str] | None) -> Piece:
    """A figure for each reading of closeness, or for the chosen one of those that are measured."""
    from workbench.report import plots

    out = Markup("")
    for part in batch.each():
        try:
            utility, closeness = plots.tradeoff_axes(part.rows)
        except InputError as error:
            out += part.title + pieces().note(f"Not drawn: {error}")
            continue
        if chosen is not None:
            measured = set(part.heads.loc[part.heads["mean"].notna(), "metric"])
            # Where nobody attacked the table, a distance is better than no figure.
            closeness = [chosen(measured) or closeness[0]]
        cards = [_tradeoff_card(part, utility, metric) for metric in closeness]
        out += part.title + pieces().cards(cards, True)
    return Piece(out)


def _tradeoff_card(part: Part, utility: str, metric: str) -> Markup:
    # One figure a reading of closeness, all against the same utility.
    heads = {name: part.heads[part.heads["metric"] == name] for name in (utility, metric)}
    across = _axis(heads[metric], titled(metric), "fresh real rows")
    up = _axis(heads[utility], titled(utility), "fresh real rows")
    drawn = scatter.scatter(_points(part, heads[metric], heads[utility]), across, up, front=True)
    below = "up: more useful · left: further from the training rows · the line joins the best"
    caption = pieces().caption(marked(metric, f"{titled(utility)} against {titled(metric)}"), below)
    spoken = f"{_spoken(part, utility)} {_spoken(part, metric)}"
    return image(drawn, spoken, caption, f"{part.name} {titled(utility)} against {titled(metric)}")


def _axis(heads: pd.DataFrame, words: str, ceiling_words: str) -> scatter.Axis:
    """From floor to ceiling with room, with a line at the ceiling."""
    ceiling, floor = heads["ceiling"].mean(), heads["floor"].mean()
    low, high = scatter.span(list(heads["mean"]), [floor, ceiling])
    lines = {float(ceiling): ceiling_words} if np.isfinite(ceiling) else {}
    return scatter.Axis(words, low, high, lines)


def _points(part: Part, across: pd.DataFrame, up: pd.DataFrame) -> list[scatter.Point]:
    """A point for each generator of a dataset."""
    # CPU seconds: the clock would show how busy the machine was.
    spent = part.cells[part.cells["status"] == "ok"].groupby("label")["fit_cpu"].mean()
    right, above = (table.drop_duplicates("label").set_index("label") for table in (across, up))
    points = []
    for label in part.labels:
        # A point needs both readings; the table of scores says why one is lacking.
        if label not in right.index or label not in above.index:
            continue
        kind = "open"
        if is_private(part.generators[label]):
            kind = "private"
        if part.control(label):
            kind = "control"
        x, y = right.loc[label], above.loc[label]
        seconds = float(spent.get(label, np.nan))
        ends = (x["low"], x["high"]), (y["low"], y["high"])
        points.append(scatter.Point(label, kind, x["mean"], y["mean"], *ends, seconds))
    return points


@section
def score_table(batch: Batch) -> Piece:
    """Generators by metrics: mean over seeds, interval, ceiling and floor; the best of each column
    is starred.
    """
    out = _across(batch) if len(batch.datasets) > 1 else Markup("")
    for part in batch.each():
        metrics = list(part.heads["metric"].unique())
        caption = f"Scores on {part.name}: mean over seeds, 95% interval below"
        out += part.title + _scores(part, [m for m in metrics if m not in FOLDED], caption)
        more = [m for m in metrics if m in FOLDED]
        if more:
            out += _folded(_scores(part, more, f"More readings of {part.name}"))
        idle = part.idle.assign(
            note=part.idle["note"].str.removeprefix("not applicable: ").str.rstrip(".")
        )
        reasons = "; ".join(f"{titled(r['metric'])} ({r['note']})" for r in idle.to_dict("records"))
        if reasons:
            out += pieces().note(f"Not applicable here: {reasons}.")
    return Piece(out)


def _scores(part: Part, metrics: list[str], caption: str) -> Markup:
    """The table of some metrics, with its ceiling and floor below and its footnotes."""
    notes: list = []
    # Looked up for each cell of the table: a search for each would be quadratic.
    keyed = {(row["label"], row["metric"]): row for row in part.heads.to_dict("records")}
    best = {
        metric: leaders(part.heads[part.heads["metric"] == metric], metric, part.control)
        for metric in metrics
    }
    lines = []
    for label, state in part.labels.items():
        cells = [scored(keyed.get((label, m)), label in best[m], state, notes) for m in metrics]
        lines.append((part.named(label), *cells))
    # The same for all generators but for draws, so one mean stands below the column.
    ends = part.heads.groupby("metric")[["ceiling", "floor"]].mean()
    foot = []
    for end, words in (
        ("ceiling", "a fresh real sample"),
        ("floor", "what the metric sees is destroyed"),
    ):
        values = [number(ends.loc[metric, end]) for metric in metrics]
        foot.append((pieces().headed(end.title(), words), *values))
    header = ["Generator", *map(headed, metrics)]
    return html_table(header, lines, caption, "scores", foot) + footnotes(notes)


def _across(batch: Batch) -> Markup:
    """Mean over datasets of (score - floor) / (ceiling - floor), where that is informative."""
    heads = batch.heads[(batch.heads["state"] == OK) & batch.heads["mean"].notna()]
    # Where floor and ceiling agree the metric cannot tell tables apart, and dividing by their
    # difference would show noise as a score.
    gap = (heads["ceiling"] - heads["floor"]).where(lambda g: g.abs() > 1e-9)
    mean = (
        heads.assign(score=(heads["mean"] - heads["floor"]) / gap)
        .groupby(["label", "metric"])["score"]
        .agg(["mean", "count"])
    )
    metrics = [m for m in heads["metric"].unique() if METRICS.get(m, UNKNOWN).direction != "zero"]
    # A mean over the datasets that went well flatters whoever failed on the others.
    ran = batch.cells.groupby("label")["dataset"].nunique()
    done = batch.cells[batch.cells["status"] == "ok"].groupby("label")["dataset"].nunique()
    lines = []
    for label in batch.ordered(batch.cells["label"])[:LABELS]:
        found = [mean.loc[(label, m)] if (label, m) in mean.index else None for m in metrics]
        cells = [
            "–"
            if f is None
            else pieces().mean_over(number(f["mean"]), handle(label), f"{f['count']:.0f}")
            for f in found
        ]
        lines.append((batch.named(label), f"{done.get(label, 0)} of {ran[label]}", *cells))
    intro = pieces().introduced(
        "Across datasets",
        "Mean over datasets of (score − floor) / (ceiling − floor): 1 is a fresh real sample, 0 is"
        " the floor. Datasets without a reading are left out of a mean; the counts say how many are"
        " in it.",
    )
    header = ["Generator", "Datasets finished", *map(marked, metrics)]
    return intro + html_table(
        header, lines, f"Normalised scores over {len(batch.datasets)} datasets", "scores"
    )


@section
def bias(batch: Batch) -> Piece:
    """Amplification by sensitive column, intersection and group; then every other bias metric by
    column and group.
    """
    out = Markup("")
    for part in batch.each():
        out += part.title + _bias_of(part)
    return Piece(out)


def _bias_of(part: Part) -> Markup:
    known = [name for name, metric in METRICS.items() if metric.family == "bias"]
    readings = part.readings[part.readings["metric"].isin(known)]
    # A table without groups has nothing but a headline here.
    about_columns = readings[readings["column"] != ""]
    if not about_columns["mean"].notna().any():
        why = sorted(set(readings["note"]) - {""}) or ["no finished cell has a sensitive column"]
        return pieces().note(f"Not measured: {why[0].rstrip('.')}.")
    out = Markup("")
    for metric in [name for name in known if name in set(about_columns["metric"])]:
        if metric == "bias_amp_reverse":
            continue
        one = _whole_groups(about_columns, metric)
        keys = _largest_first(one)
        if not keys:
            continue
        if metric == "bias_amp":
            out += _amplifiers(part.heads) + _bias_figures(part, one, keys[:PANELS])
        more = f", {COLUMNS} of {len(keys)}" if len(keys) > COLUMNS else ""
        caption = Markup("{} on {} by sensitive column and group, largest first{}").format(
            marked(metric), part.name, more
        )
        out += part.table(one, keys[:COLUMNS], caption, signed=metric.endswith("bias_amp"))
    return out


def _whole_groups(readings: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric's readings of columns and of groups. Cells of a group and an outcome stay out: only
    what `representation` lists is a group.
    """
    one = readings[readings["metric"] == metric]
    # It lists every group that train or the synthetic table has.
    listed = readings[readings["metric"] == "representation"]
    groups = pd.MultiIndex.from_frame(listed[["column", "group"]])
    if not len(groups):
        return one
    known = pd.MultiIndex.from_frame(one[["column", "group"]]).isin(groups)
    return one[(one["group"] == "") | known]


def _largest_first(readings: pd.DataFrame) -> list[tuple[str, str]]:
    """(column, group) of readings, columns before groups, the largest mean of any generator first."""
    # By the largest of any generator, so that all of them are compared in one order.
    size = readings.assign(size=readings["mean"].abs())
    size = size.groupby(["column", "group"], sort=False)["size"].max().dropna()
    return sorted(size.index, key=lambda key: (key[1] != "", -size[key], key))


def _bias_figures(part: Part, one: pd.DataFrame, keys: list[tuple[str, str]]) -> Markup:
    """A panel for each column or group, all on one scale, with the readings in words."""
    from workbench.report import marks, plots

    metric = "bias_amp"
    rows = part.rows[(part.rows["metric"] == metric) & (part.rows["column"] != "")]
    # One scale for all panels: else the smallest bias would look as grave as the largest.
    limit, known, cards = plots.reach(one, keys), signs(one), []
    for key in keys:
        figure = marks.bias_strip(rows, one, key, limit)
        here = known[(known["column"] == key[0]) & (known["group"] == key[1])]
        alt = ", ".join(
            f"{r['label']} {number(r['mean'])} ({r['sign']})"
            for r in here.to_dict("records")
            if np.isfinite(r["mean"])
        )
        about = key[1] or key[0]
        caption = pieces().caption(about, marked(metric))
        name = f"{part.name} {titled(metric)} {about}"
        cards.append(image(figure, f"{titled(metric)}, {about}: {alt}.", caption, name))
    return pieces().cards(cards, False)


@section
def worst_columns(batch: Batch) -> Piece:
    """The columns whose marginals are kept worst, on average over all generators that are no
    controls.
    """
    out = Markup("")
    for part in batch.each():
        rows = part.rows[(part.rows["metric"] == "marginals") & (part.rows["column"] != "")]
        of_metric = part.readings[part.readings["metric"] == "marginals"]
        # Controls keep marginals by construction or destroy them, so they have no vote here.
        own = rows[~controls(rows)]
        order = (
            (own if len(own) else rows).groupby("column")["value"].mean().sort_values(kind="stable")
        )
        shown = min(COLUMNS, len(order))
        words = f"of {part.name} by column, the worst {shown} of {len(order)} first (1: identical)"
        caption = pieces().by_parts("Marginals", words)
        table = (
            part.table(of_metric, [(column, "") for column in order.index[:COLUMNS]], caption)
            if len(order)
            else pieces().note("No finished cell has readings by column.")
        )
        out += part.title + table
    return Piece(out)


@section
def run_facts(batch: Batch) -> Piece:
    """What ran, how long it took and how much memory it needed; versions, machine and the list of
    cells.
    """
    lines = []
    for part in batch.each():
        for label in part.labels:
            # Means over cells: one slow seed is not the generator's cost.
            cells = part.cells[part.cells["label"] == label]
            took = [
                digits(cells[f"{phase}_seconds"].mean(), 2)
                for phase in ("fit", "sample", "evaluate")
            ]
            size = [_range(cells[column]) for column in ("rows", "train_rows", "test_rows")]
            ok = f"{(cells['status'] == 'ok').sum()} of {len(cells)}"
            lines.append(
                (
                    part.named(label),
                    part.name,
                    ok,
                    *size,
                    *took,
                    digits(cells["peak_mb"].max(), 0),
                )
            )
    header = ["Generator", "Dataset", "Cells finished", "Synthetic rows", "Train rows", "Test rows"]
    header += ["Fit, s", "Sample, s", "Evaluate, s", "Peak memory, MB"]
    out = html_table(
        header, lines, "Mean seconds over cells, and the largest peak memory of any", "scores"
    )
    # What has not run has no machine.
    ran = batch.cells[batch.cells["status"] != "pending"]
    names = {
        "cpu": "Processor",
        "threads": "Threads of a cell",
        "python": "Python",
        "started": "Started (UTC)",
    }
    facts = [(words, _range(ran[name])) for name, words in names.items()]
    facts += [(f"Version of {name}", version) for name, version in batch.versions.items()]
    out += html_table(
        ["Fact", "Value"], facts, "The machine and the versions that the cells ran on", "text"
    )
    return Piece(out + _cells(batch))


def _cells(batch: Batch) -> Markup:
    """A list a generator of its cells, which the numbers link to: executed notebook, manifest and
    hashes of each.
    """
    ran = pd.concat(
        [part.cells[part.cells["label"].isin(list(part.labels))] for part in batch.each()]
    )
    # One list a generator, which all its numbers link to.
    groups = dict(list(ran.groupby("label", sort=False)))
    # Every dataset and generator keeps some cells, however many there are: each number on the page
    # links to one of these lists.
    most = max(1, CELLS // max(1, ran[["dataset", "label"]].drop_duplicates().shape[0]))
    out, header = (
        Markup(""),
        ["Dataset", "Cell", "Status", "Executed notebook", "Manifest", "Synthetic table", "Rows"],
    )
    for label in batch.ordered(groups):
        lines = []
        for dataset, cells in groups[label].groupby("dataset", sort=False):
            first = pieces().anchor(handle(dataset, label), dataset)
            for cell in cells.head(most).to_dict("records"):
                hashes = (
                    str(cell[name])[:16] if cell["status"] == "ok" else "–"
                    for name in ("synthetic_hash", "rows_hash")
                )
                lines.append((first, where(cell), cell["status"], *_links(cell), *hashes))
                first = dataset
        caption = (
            f"Cells of {label}; hashes are the first 16 digits of sha256, equal hashes mean equal"
            " bytes"
        )
        summed = batch.named(label) + f": {len(lines)} of {plural(len(groups[label]), 'cell')}"
        out += pieces().folded(summed, html_table(header, lines, caption, "text"), handle(label))
    return pieces().listed_cells(out)


def _links(cell: dict) -> tuple[Markup | str, Markup | str]:
    """To a cell's executed notebook and manifest, by their place beside the page; "–" where there
    is none.
    """
    home = quote(str(cell.get("home") or ""))
    if not home:
        return "–", "–"
    name = cell["key"][:12]
    notebook: Markup | str = "–"
    if cell["executed"]:
        notebook = pieces().link(f"{home}/cell.ipynb", f"{name} notebook")
    return notebook, pieces().link(f"{home}/manifest.json", f"{name} manifest")


@section
def failures(batch: Batch) -> Piece:
    """Every cell that is not ok: status, phase and last line."""
    bad = batch.cells[batch.cells["status"] != "ok"]
    if not len(bad):
        words = "Every cell finished: no generator was skipped, stopped or failed."
        return Piece(pieces().paragraph(words))
    lines = [
        (
            batch.named(r["label"], dataset=r["dataset"]),
            r["dataset"],
            where(r),
            r["status"],
            r["phase"] or "–",
            shortened(r["reason"] or "–", 300),
        )
        for r in bad.head(FAILURES).fillna({"phase": "", "reason": ""}).to_dict("records")
    ]
    caption = f"{len(bad):,} of {plural(len(batch.cells), 'cell')} gave no score" + (
        f", the first {FAILURES}" * (len(bad) > FAILURES)
    )
    return Piece(
        html_table(
            ["Generator", "Dataset", "Cell", "Status", "Phase", "Last line"], lines, caption, "text"
        )
    )


@section
def readings(batch: Batch) -> Piece:
    """How to read each metric on this page: from its registration and its function's docstring."""
    floors = {
        "permuted": "each column permuted on its own",
        "uniform": "uniform columns",
        "copy": "a raw copy of train",
    }
    out = Markup("")
    for metric in [m for m in batch.heads["metric"].unique() if m in METRICS]:
        # From the registration alone: what the page says of a metric is what was measured.
        entry = METRICS[metric]
        floor = floors.get(entry.floor, entry.floor) or "none, for no table is a sensible one"
        words = f"{direction(metric)[2:].capitalize()}. Held against {entry.reads}. Floor: {floor}."
        out += pieces().explained(marked(metric), metric, words, _docstring(entry.function))
    return Piece(out)


def _docstring(where: str) -> str:
    """A function's docstring, read off its source: importing it would import its libraries."""
    module, name = where.split(":")
    source = Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return next(
        (
            ast.get_docstring(f) or ""
            for f in tree.body
            if isinstance(f, ast.FunctionDef) and f.name == name
        ),
        "",
    )


def leaders(heads: pd.DataFrame, metric: str, control: Callable[[str], bool]) -> set[str]:
    """Labels of the best generator, and of those whose number prints alike; controls do not
    compete.
    """
    # Controls are references and no rivals; a reading without information wins nothing.
    own = heads[
        ~heads["label"].map(control).astype(bool) & heads["mean"].notna() & (heads["state"] == OK)
    ]
    if len(own) < 2:
        return set()
    best = own.loc[badness(own["mean"], METRICS.get(metric, UNKNOWN).direction).idxmin(), "mean"]
    alike = set(own.loc[own["mean"].map(number) == number(best), "label"])
    # A star on every 0.000 tells nothing: where more than a few share the best number, none has one.
    return alike if len(alike) <= max(1, len(own) // 3) else set()


def _spoken(part: Part, metric: str) -> str:
    """A metric's readings in two sentences, for those who do not see the figure."""
    heads = part.heads[(part.heads["metric"] == metric) & part.heads["mean"].notna()]
    order = (
        badness(heads["mean"], METRICS.get(metric, UNKNOWN).direction)
        .sort_values(kind="stable")
        .index
    )
    readings = (
        ", ".join(
            f"{row['label']} {number(row['mean'])}" for row in heads.loc[order].to_dict("records")
        )
        or "no reading"
    )
    ends = [
        f"{end} {number(heads[end].mean())}"
        for end in ("floor", "ceiling")
        if heads[end].notna().any()
    ]
    return (
        f"{titled(metric)} on {part.name}, {direction(metric)[2:]}. Best first: {readings}."
        f" {', '.join(ends).capitalize()}."
    )


def _amplifiers(heads: pd.DataFrame) -> Markup:
    """Who amplifies and who dampens in the column that moved most, one sentence each; the interval
    already allows for the number of columns.
    """
    # Words by the interval, not by the value: what may be chance is called no clear change.
    readings: dict[str, list[str]] = {}
    for row in heads[(heads["metric"] == "bias_amp") & heads["mean"].notna()].to_dict("records"):
        about = f"{row['column']}: " if row["column"] else ""
        word = "No clear change by"
        if row["low"] > 0:
            word = "Amplified by"
        if row["high"] < 0:
            word = "Dampened by"
        readings.setdefault(word, []).append(f"{row['label']} ({about}{interval(row)})")
    words = [
        word for word in ("Amplified by", "Dampened by", "No clear change by") if word in readings
    ]
    items = [(word, f"{joined(readings[word])}.") for word in words]
    return pieces().sentences(items) if items else Markup("")


def where(cell: dict) -> str:
    """Which seed, and which split and draw where there are several."""
    return ", ".join(f"{name} {cell[name]}" for name in FACTORS if name == "seed" or cell.get(name))


def _range(values: pd.Series) -> str:
    """The one value, or the least and the largest."""
    ends = [
        f"{end:,}" if isinstance(end, int | np.integer) else str(end)
        for end in (values.dropna().min(), values.dropna().max())
    ]
    return "–" if values.isna().all() else " to ".join(dict.fromkeys(ends))
