"""The first screen of a report: a sentence, a table of generators by headline readings, a matrix of
generators by uses.

    verdict(batch)     what no generator can show on these test rows, then who may be used for what
    board(batch)       each generator's place between floor and ceiling, one reading a question
    matrix(batch)      generators by uses, a mark each; the deciding gates one click away

There is no composite score: a table that trains good models can still leak the people in it. The
lines stand in the order of one reading, utility, and every column sorts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.metrics import METRICS, OK, UNKNOWN, titled
from workbench.report.headlines import badness
from workbench.report.html import LABELS, Piece, html_table, pieces, section
from workbench.report.identity import is_private, method_family
from workbench.report.significance import ROPE, nemenyi_ranges, rank_ranges
from workbench.report.uses import USES
from workbench.words import joined, number, plural

if TYPE_CHECKING:
    from workbench.report.batch import Batch, Part

# One reading of each question, the first of its metrics that a report has. The same few everywhere,
# so that nobody picks the metric after the reading.
QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Columns alike", ("marginals",)),
    ("Pairs alike", ("pair_trends",)),
    ("Hard to tell from real rows", ("c2st",)),
    ("Trains models", ("utility_ratio", "tstr_auc", "tstr_r2")),
    ("Texts train models", ("text_tstr_auc",)),
    ("Gains as added rows", ("augmentation_gain",)),
    ("Analysis survives", ("coefficient_shift", "coefficient_overlap")),
    ("Bias kept as it is", ("bias_amp",)),
    ("Groups kept", ("representation",)),
    ("Withstands attacks", ("attack_risk", "membership_auc")),
    ("No near copies", ("near_copies", "excess_copies")),
    ("Texts not copied", ("memorised_texts",)),
)
# What lines are ordered by: the first of these that is measured.
ORDERED_BY = ("utility_ratio", "tstr_auc", "tstr_r2", "pair_trends", "marginals")
SHADES = (10, 50, 80, 95)  # places from which on a cell takes the next of five shades
FAR = 999  # places beyond are written as "below −999"
NAMED = 4  # generators that a sentence lists; more are counted

MARKS = {"meets": "✓", "fails": "✗", "undecided": "≈", "not measured": "○"}
# The uses in a matrix's heads and in sentences: "may be ...", "not shown fit ...".
SHORT = {
    "share": "Share",
    "train": "Train models",
    "analyse": "Estimate effects",
    "augment": "Add to real rows",
}


def places(heads: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The headlines of one metric with `place`, `place_low` and `place_high`: 0 is the floor, 100 a
    fresh real sample, and more is better whatever the metric's direction.

    Missing where the reading is none, or where the ceiling is no better than the floor, so that
    there is no scale.
    """
    own = heads[heads["metric"] == metric].copy()
    direction = METRICS.get(metric, UNKNOWN).direction
    ends = {name: badness(own[name], direction) for name in ("mean", "floor", "ceiling")}
    gap = ends["floor"] - ends["ceiling"]
    gap = gap.where((gap > 1e-9) & (own["state"] == OK))
    lower, upper = badness(own["low"], direction), badness(own["high"], direction)
    least, most = np.minimum(lower, upper), np.maximum(lower, upper)
    if direction == "zero":
        # An interval around zero holds the best reading that there is.
        least = least.where((own["low"] > 0) | (own["high"] < 0) | own["low"].isna(), 0.0)
    own["place"] = 100 * (ends["floor"] - ends["mean"]) / gap
    own["place_low"] = 100 * (ends["floor"] - most) / gap
    own["place_high"] = 100 * (ends["floor"] - least) / gap
    return own


@dataclass(frozen=True)
class Placed:
    """A cell of the leaderboard: HTML with a place, which gives it a shade and a bar."""

    html: Markup
    place: float

    def __html__(self) -> str:
        return str(self.html)

    @property
    def shade(self) -> str:
        """A class of the style sheet, from p0 (at the floor) to p4 (as fresh real rows)."""
        return f"place p{np.searchsorted(SHADES, self.place, side='right')}"

    @property
    def share(self) -> int:
        """How far the bar goes, in percent of the cell's width."""
        return round(min(max(self.place, 0.0), 100.0))


def in_order(batch: Batch, dataset: str, labels: list[str]) -> list[str]:
    """Labels of a dataset, the best in utility first, those without a reading after them, controls
    last.
    """
    heads = batch.heads[batch.heads["dataset"] == dataset]
    measured = heads.loc[heads["mean"].notna(), "metric"]
    metric = next((name for name in ORDERED_BY if name in set(measured)), "")
    own = heads[heads["metric"] == metric].set_index("label")["mean"]
    bad = badness(own, METRICS.get(metric, UNKNOWN).direction).to_dict()
    known = {label: count for count, label in enumerate(batch.ordered(labels))}

    def key(label: str) -> tuple:
        value = bad.get(label, np.nan)
        return batch.control(label), not np.isfinite(value), np.nan_to_num(value), known[label]

    return sorted(known, key=key)


@section
def verdict(batch: Batch) -> Piece:
    """What no generator can show here, said first; then one sentence of who may be used for what."""
    lead, sentence = said(batch)
    return Piece(pieces().verdict(lead, sentence))


def said(batch: Batch) -> tuple[list[str], str]:
    """The sentences of `verdict` as text: those on what cannot be shown, and the answer."""
    table = batch.verdicts
    own = table[~table["label"].map(batch.control).astype(bool)]
    if not len(own) or not len(batch.readings):
        return [], "No generator has a finished cell: nothing can be said yet."
    return _cannot(batch), _answer(batch, own)


IN_WORDS = {
    "share": "to be shared",
    "train": "for training",
    "analyse": "for estimating effects",
    "augment": "as added rows",
}


def _cannot(batch: Batch) -> list[str]:
    """A sentence for each use that no generator can pass, because one of its gates is not measured
    on these test rows; then one on fresh real rows that do not pass either.
    """
    table, sentences = batch.verdicts, []
    real = [label for label, name in batch.generators.items() if name == "holdout"]
    for use, words in IN_WORDS.items():
        about = {d: titles for (d, other), titles in batch.unmeasured.items() if other == use}
        if not about:
            continue
        titles = list(dict.fromkeys(title for found in about.values() for title in found))
        where = _where(list(about), batch)
        too = ", not even of fresh real ones" if real else ""
        sentences.append(
            f"No generator can be shown fit {words} {where}: {joined(titles)} cannot be measured on"
            f" these test rows{too}."
        )
    if len(batch.datasets) > 1:
        return sentences
    dataset = batch.datasets[0]
    states = table[table["label"].isin(real)].set_index("use")["state"]
    kinds: dict[str, list[str]] = {}
    for use, words in IN_WORDS.items():
        if states.get(use) in ("fails", "undecided") and (dataset, use) not in batch.unmeasured:
            kinds.setdefault(states[use], []).append(words)
    verbs = {"undecided": "stay undecided", "fails": "fail"}
    parts = [f"{verbs[kind]} {joined(kinds[kind])}" for kind in verbs if kind in kinds]
    if parts:
        sentences.append(f"Even fresh real rows ({real[0]}) {' and '.join(parts)} here.")
    return sentences


def _where(datasets: list[str], batch: Batch) -> str:
    if len(batch.datasets) == 1:
        return "here"
    if len(datasets) == len(batch.datasets):
        return "on any dataset"
    return f"on {joined(datasets[:NAMED])}" + (" and others" if len(datasets) > NAMED else "")


def _answer(batch: Batch, own: pd.DataFrame) -> str:
    """One sentence over all uses; with several datasets a use counts where it is met on each."""
    count = own["label"].nunique()
    met: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for use in USES:
        part = own[own["use"] == use]
        everywhere = part.groupby("label")["state"].agg(lambda states: set(states) == {"meets"})
        met[use] = batch.ordered(everywhere.index[everywhere.astype(bool)])
        others[use] = _others(part, set(met[use]))
    here = "here" if len(batch.datasets) == 1 else f"on all {len(batch.datasets)} datasets"
    parts = [_fit("train", met, others, here), _shared(met, count, others["share"])]
    if not set(met["share"]) & set(met["analyse"]):
        parts.append(_fit("analyse", met, others, ""))
    parts.append(_fit("augment", met, others, ""))
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:]


def _others(part: pd.DataFrame, met: set[str]) -> str:
    """How many generators are undecided or not measured, of those that do not meet a use."""
    rest = part[~part["label"].isin(met)].drop_duplicates(["label", "state"])
    counts = rest.groupby("state")["label"].nunique()
    found = [f"{counts[s]} {s}" for s in ("undecided", "not measured") if s in counts]
    return f" ({', '.join(found)})" if found else ""


def _fit(use: str, met: Mapping[str, list[str]], others: Mapping[str, str], here: str) -> str:
    here = f" {here}" if here else ""
    if not met[use]:
        who = "no generator is" if use == "train" else "none is"
        return f"{who} shown fit {IN_WORDS[use]}{here}{others[use]}"
    verb = "is" if len(met[use]) == 1 else "are"
    return f"{_people(met[use])} {verb} shown fit {IN_WORDS[use]}{here}{others[use]}"


def _shared(met: Mapping[str, list[str]], count: int, others: str) -> str:
    """Who may be shared, and which of them also keep effects."""
    shared = met["share"]
    if not shared:
        return f"none may be shared{others}"
    sentence = f"{_people(shared)} may be shared{others}"
    if len(shared) > NAMED:
        sentence = f"{len(shared)} of {count} may be shared{others}"
    both = [label for label in shared if label in set(met["analyse"])]
    if both and len(shared) > 1:
        sentence += (
            f", of which {_people(both)} also {'keeps' if len(both) == 1 else 'keep'} effects"
        )
    elif both:
        sentence += " and keeps effects"
    return sentence


def _people(labels: list[str]) -> str:
    more = len(labels) - NAMED
    if more > 1:
        return joined([*labels[:NAMED], f"{more} more"])
    return joined(labels)


@section
def board(batch: Batch) -> Piece:
    """Generators by headline readings: over all datasets where there are several, then of each."""
    out = _over_datasets(batch) if len(batch.datasets) > 1 else Markup("")
    for part in batch.each():
        table = _of_dataset(batch, part)
        if part.title:
            summary = f"Leaderboard of {part.name}"
            table = pieces().folded(summary, table)
        out += part.title + table
    return Piece(out)


def _of_dataset(batch: Batch, part: Part) -> Markup:
    measured = _measured(part.heads)
    columns = [_column(part.heads, metric, part.control) for _, metric in measured]
    spent = part.cells[part.cells["status"] == "ok"].groupby("label")["fit_cpu"].mean()
    head, foot = [], []
    for label in part.labels:
        cells = [column.get(label, pieces().lacking("–")) for column in columns]
        line = [_name(batch, part, label), *cells, _seconds(spent.get(label, np.nan))]
        (foot if part.control(label) else head).append(line)
    foot += _references(part.heads, [metric for _, metric in measured])
    caption = (
        f"{part.name}: 0 is the floor, 100 a fresh real sample, with 95% interval; ranks are those"
        " that are possible, as sure as the intervals are. The most useful first"
    )
    return html_table(_header(measured), head, caption, "board", foot)


def _measured(heads: pd.DataFrame) -> list[tuple[str, str]]:
    """The questions that these headlines answer, each with its metric."""
    known = set(heads.loc[heads["mean"].notna(), "metric"])
    found = []
    for words, metrics in QUESTIONS:
        metric = next((name for name in metrics if name in known), "")
        if metric:
            found.append((words, metric))
    return found


def _header(measured: list[tuple[str, str]]) -> list:
    columns = []
    for words, metric in measured:
        head = pieces().headed(words, titled(metric))
        # Places are turned: more is better in each column.
        columns.append(pieces().metric(titled(metric), "high", head))
    return ["Generator", *columns, pieces().headed("CPU seconds", "of the fit")]


def _column(heads: pd.DataFrame, metric: str, control) -> dict[str, Placed | Markup]:
    """Label -> its cell, of one metric on one dataset."""
    own = places(heads, metric).drop_duplicates("label").set_index("label")
    measured = own[own["mean"].notna() & (own["state"] == OK)]
    competing = measured[~measured.index.map(control).astype(bool)]
    ranges = rank_ranges(competing, METRICS.get(metric, UNKNOWN).direction)
    words = {label: _ranked(row.best, row.worst) for label, row in ranges.iterrows()}
    return {
        label: _cell(row, words.get(label, ""), number(row["mean"]))
        for label, row in own.iterrows()
    }


def _ranked(best: int, worst: int) -> str:
    return f"rank {best}" if best == worst else f"rank {best}–{worst}"


def _cell(row, rank: str, reading: str) -> Placed | Markup:
    """A place with interval, rank and reading; the word for its lack."""
    if not np.isfinite(row["mean"]) or row["state"] != OK:
        word = row["state"].replace("-", " ") if row["state"] != OK else "no value"
        return pieces().headed(pieces().lacking(word), reading if np.isfinite(row["mean"]) else "")
    place = float(row["place"])
    if not np.isfinite(place):
        return pieces().headed(pieces().lacking("no scale"), reading)
    interval = ""
    if np.isfinite(row["place_low"]) and np.isfinite(row["place_high"]):
        interval = f"{_whole(row['place_low'])} to {_whole(row['place_high'])}"
    html = pieces().place(round(place, 3), _whole(place), interval, rank, f"reads {reading}")
    return Placed(html, place)


def _whole(place: float) -> str:
    """A place without decimals; far beyond either end only that it is so."""
    if abs(place) > FAR:
        return f"beyond {'−' if place < 0 else ''}{FAR}"
    return f"{round(place) + 0}".replace("-", "−")


def _seconds(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _references(heads: pd.DataFrame, metrics: list[str]) -> list[list]:
    """Two lines with the readings that are 100 and 0, means over the labels."""
    ends = heads.groupby("metric")[["ceiling", "floor"]].mean()
    lines = []
    for end, words, below in (
        ("ceiling", "Fresh real rows", "100"),
        ("floor", "What is measured is destroyed", "0"),
    ):
        values = [number(ends.loc[metric, end]) for metric in metrics]
        lines.append([pieces().headed(words, below), *values, "–"])
    return lines


def _name(batch: Batch, part: Part, label: str) -> Markup:
    """A generator's name with what the page's filter asks for."""
    return batch.named(label, part.labels[label], part.name, _facts(batch, label))


def _facts(batch: Batch, label: str) -> dict[str, str]:
    table = batch.verdicts
    met = table[(table["label"] == label) & (table["state"] == "meets")]
    generator = batch.generators[label]
    return {
        "family": method_family(generator),
        "private": "yes" if is_private(generator) else "no",
        "uses": " ".join(use for use in USES if use in set(met["use"])),
    }


def _over_datasets(batch: Batch) -> Markup:
    """Mean places over datasets with mean ranks; a dataset without a reading ranks the label last."""
    labels = [label for label in batch.ordered(batch.cells["label"]) if not batch.control(label)]
    labels = labels[:LABELS]
    measured = _measured(batch.heads)
    columns = [_mean_column(batch.heads, metric, labels) for _, metric in measured]
    ok = batch.cells[batch.cells["status"] == "ok"]
    spent = ok.groupby("label")["fit_cpu"].mean()
    order = _useful_first(labels, [metric for _, metric in measured], columns)
    lines = []
    for label in order:
        cells = [column.get(label, pieces().lacking("–")) for column in columns]
        name = batch.named(label, facts=_facts(batch, label))
        lines.append([name, *cells, _seconds(spent.get(label, np.nan))])
    caption = (
        f"Means over {plural(len(batch.datasets), 'dataset')}: 0 is the floor, 100 a fresh real"
        " sample, with 95% interval over datasets; mean rank, and the ranks that Nemenyi's critical"
        " difference leaves possible. The most useful first"
    )
    return html_table(_header(measured), lines, caption, "board across")


def _useful_first(
    labels: list[str], metrics: list[str], columns: list[dict[str, Placed | Markup]]
) -> list[str]:
    """Labels by their mean place in usefulness, those without one last, else as they were."""
    candidates = [metric for metric in metrics if metric in ORDERED_BY]
    if not candidates:
        return labels
    metric = candidates[0]
    # The ratio to real rows means the same on every dataset; an area under a curve does not.
    if "utility_ratio" in candidates:
        metric = "utility_ratio"
    first = columns[metrics.index(metric)]
    return sorted(labels, key=lambda label: -getattr(first.get(label), "place", -np.inf))


def _mean_column(heads: pd.DataFrame, metric: str, labels: list[str]) -> dict[str, Placed | Markup]:
    from scipy.special import stdtrit

    own = places(heads, metric)
    own = own[own["label"].isin(labels)]
    wide = own.pivot_table(index="dataset", columns="label", values="place", aggfunc="first")
    wide = wide.reindex(columns=[label for label in labels if label in wide])
    # A label without a reading where others have one ranks behind them.
    filled = wide.apply(lambda line: line.fillna(line.min() - 100 * ROPE), axis=1)
    ranges = nemenyi_ranges(filled)
    found: dict[str, Placed | Markup] = {}
    for label in wide:
        values = wide[label].dropna()
        if not len(values):
            continue
        mean, count = float(values.mean()), len(values)
        interval = ""
        if count > 1:
            half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
            interval = f"{_whole(mean - half)} to {_whole(mean + half)}"
        row = ranges.loc[label]
        rank = f"mean rank {row['rank']:.1f}, {int(row['best'])}–{int(row['worst'])}"
        datasets = plural(count, "dataset")
        html = pieces().place(round(mean, 3), _whole(mean), interval, rank, datasets)
        found[label] = Placed(html, mean)
    return found


@section
def matrix(batch: Batch) -> Piece:
    """Generators by uses with a mark each."""
    header = ["Generator", *SHORT.values()]
    out = Markup("")
    for part in batch.each():
        own = batch.verdicts[batch.verdicts["dataset"] == part.name]
        known = {(row["label"], row["use"]): row for row in own.to_dict("records")}
        head, foot = [], []
        for label in part.labels:
            marks = [_mark(known.get((label, use))) for use in SHORT]
            (foot if part.control(label) else head).append([part.named(label), *marks])
        caption = f"{part.name}: ✓ shown · ✗ fails · ≈ undecided · ○ not measured"
        out += part.title + html_table(header, head, caption, "matrix", foot)
    return Piece(out)


def _mark(row: dict | None) -> Markup:
    state = row["state"] if row else "not measured"
    reason = row["reason"] if row else "no finished cell"
    return pieces().state(state.replace(" ", "-"), MARKS[state], state, reason, False)
