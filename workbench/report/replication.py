"""Papers replayed: the figures that a paper printed, held against the readings of a report.

    published.toml    beside a grid.toml: the paper, and what it printed

        paper = "Xu et al. 2019, Modeling tabular data using conditional GAN, table 2"
        protocol = "What differs between their runs and ours."

        [[figures]]                      # a number that was printed
        what = "CLBN's rows, under the truth"
        dataset = "asia"
        generator = "CLBN"               # the label in grid.toml
        metric = "l_syn"                 # column = "", group = "" where it has several readings
        printed = "-2.44"                # as it stands there: its digits say how it was rounded
        within = 0.02                    # its own uncertainty, as the paper states or implies it
        scale = 100                      # what our reading is multiplied by, to be in their unit
        aside = "..."                    # why the two cannot be compared; they are shown all the same

        [[claims]]                       # a direction that was claimed
        what = "noise costs utility"
        dataset = "adult"
        metric = "tstr_auc"
        higher = "mst, epsilon 10"       # the label that should read higher ...
        lower = "mst, epsilon 0.1"       # ... than this one
        compare = "size"                 # distances from 0; the readings themselves where left out

The rule. A figure **agrees** where what was printed lies in our 95% interval, widened on both sides
by half a unit of its last digit and by `within`; otherwise it **differs**, by the distance to that
interval. A claim **agrees** where the 95% interval of the difference of our two readings lies on the
claimed side of 0, **differs** where it lies on the other one, and is **not shown** in between. Both
**cannot be compared** where a reading or its interval is missing.

A plug-in that measures something of its own tells it as the fact `measured`, a list of {metric,
value, low, high}; these are read as other rows are. No code of the folder runs here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch.folder import CELL_COLUMNS, Folder, explained
from workbench.batch.results import PUBLISHED, Results, opened
from workbench.files import Lines, check_toml, plain, read_toml, write_text
from workbench.metrics import NOT_INFORMATIVE, OK, titled
from workbench.metrics.rows import ROW_COLUMNS
from workbench.report.headlines import aggregate
from workbench.report.html import html_table, pieces
from workbench.report.publish import page_of
from workbench.words import interval, number, plural, shortened

PAGE = "replication.html"
AGREES, DIFFERS = "agrees", "differs"
NOT_SHOWN, NOT_COMPARED = "not shown", "cannot be compared"
VERDICTS = (AGREES, DIFFERS, NOT_SHOWN, NOT_COMPARED)
# States of rows with a value; the second says nothing of its references.
READ = (
    OK,
    NOT_INFORMATIVE,
)
MOST_FIGURES = 1000  # figures and claims of one paper
MOST_MEASURED = 100  # readings that one cell's plug-in may tell of
SIZE = "size"  # what a claim may compare: distances from 0
NUMBER = re.compile(r"[-+−]?[0-9]{0,20}\.?[0-9]{1,20}")

TOP = {"paper": str, "protocol": str, "figures": list, "claims": list}
READING: dict[str, type] = {
    "what": str,
    "dataset": str,
    "metric": str,
    "column": str,
    "group": str,
    "aside": str,
}
FIGURE: dict[str, type] = READING | {
    "generator": str,
    "printed": str,
    "within": float,
    "scale": float,
}
CLAIM: dict[str, type] = READING | {"higher": str, "lower": str, "compare": str}
RULE = (
    "A printed figure agrees where it lies in our 95% interval, widened by half a unit of its last"
    " digit and by its own uncertainty where that is known; otherwise it differs, by the distance"
    " to that interval. A claim agrees where the 95% interval of the difference of our two readings"
    " lies on its side of 0, differs where it lies on the other side, and is not shown in between."
)


@dataclass(frozen=True)
class Reading:
    """One number of ours with its interval, NaN where there is none."""

    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan

    @property
    def is_complete(self) -> bool:
        return all(np.isfinite([self.mean, self.low, self.high]))

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    def scaled(self, factor: float) -> Reading:
        ends = sorted([self.low * factor, self.high * factor])
        return Reading(self.mean * factor, *ends)

    def __str__(self) -> str:
        return interval({"mean": self.mean, "low": self.low, "high": self.high})


@dataclass(frozen=True)
class Outcome:
    """One figure or claim beside ours. detail: by how much it differs, or why nothing was compared."""

    what: str
    dataset: str
    about: str
    printed: str
    ours: str
    verdict: str
    detail: str = ""


@dataclass(frozen=True)
class Replication:
    """A paper replayed; `str` of it is for a terminal, and `write` makes the page."""

    paper: str
    protocol: str
    title: str
    outcomes: list[Outcome] = field(repr=False)

    def summary(self) -> str:
        """How many figures and claims ended in each verdict."""
        counts = Counter(outcome.verdict for outcome in self.outcomes)
        parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
        return f"{plural(len(self.outcomes), 'printed figure or claim')}: {', '.join(parts)}."

    def __str__(self) -> str:
        lines = [self.paper, ""]
        for outcome in self.outcomes:
            verdict = f"{outcome.verdict} {outcome.detail}".rstrip()
            about = f"{outcome.what} ({outcome.dataset})"
            lines.append(f"{about:<48} printed {outcome.printed}, ours {outcome.ours}: {verdict}")
        return plain("\n".join([*lines, "", self.summary()]))

    def write(self, path: Path) -> Path:
        """One HTML page that opens offline."""
        lines = []
        for outcome in self.outcomes:
            verdict = pieces().judged(outcome.verdict, outcome.detail)
            about = (outcome.what, outcome.dataset, outcome.about)
            lines.append((*about, outcome.printed, outcome.ours, verdict))
        header = ["What", "Dataset", "Reading", "Printed", "Ours [95% interval]", "Verdict"]
        parts: list = [
            "# Does the paper come out again?",
            pieces().lead(self.paper),
            pieces().paragraph(self.summary()),
            html_table(header, lines, "Printed figures and ours", "list"),
            pieces().paragraph(RULE),
            pieces().paragraph(self.protocol),
        ]
        with explained(path.parent):
            write_text(path, page_of(self.title, parts))
        return path


def replicate(folder: Path | str) -> Replication:
    """Hold what FOLDER/published.toml says was printed against the readings of a report's folder,
    or of results that were published from one.

    Raises InputError for a file that is not as described above.
    """
    place = Path(folder).resolve()
    source, where = read_toml(
        place / PUBLISHED, "it says what a paper printed: see docs/replications.md."
    )
    _check(source, where)
    home = opened(place)
    readings = _readings(home)
    outcomes = [_judged_figure(row, readings) for row in source.get("figures", ())]
    outcomes += [_judged_claim(row, readings) for row in source.get("claims", ())]
    return Replication(source["paper"], source.get("protocol", ""), home.title, outcomes)


# What was printed --------------------------------------------------------------------------------


def _check(source: dict, where: Lines) -> None:
    """Raises InputError naming the line of what published.toml must not hold."""
    check_toml(source, TOP, where, "")
    if "paper" not in source:
        raise where.error("", 0, "paper", "paper is missing; say which paper was printed.")
    wanted: dict[str, tuple[dict[str, type], tuple[str, ...]]] = {
        "figures": (FIGURE, ("what", "dataset", "metric", "generator", "printed")),
        "claims": (CLAIM, ("what", "dataset", "metric", "higher", "lower")),
    }
    count = sum(len(source.get(header, ())) for header in wanted)
    if not 1 <= count <= MOST_FIGURES:
        raise where.error("", 0, "", f"{count:,} figures and claims; give 1 to {MOST_FIGURES:,}.")
    for header, (known, needed) in wanted.items():
        for index, row in enumerate(source.get(header, ())):
            check_toml(row, known, where, header, index)
            lacking = [key for key in needed if key not in row]
            if lacking:
                raise where.error(header, index, "", f"{lacking[0]} is missing.")
            if "printed" in row and not NUMBER.fullmatch(row["printed"]):
                sentence = f"printed is {row['printed'][:40]!r}; give the number as it was printed."
                raise where.error(header, index, "printed", sentence)
            if row.get("compare", SIZE) != SIZE:
                raise where.error(header, index, "compare", f'compare can be "{SIZE}" alone.')


def _value(printed: str) -> tuple[float, float]:
    """A number as it was printed, and half a unit of its last digit."""
    decimals = len(printed.partition(".")[2])
    return float(printed.replace("−", "-")), 0.5 * 10**-decimals


# What we read ------------------------------------------------------------------------------------


def _readings(home: Folder | Results) -> dict[tuple[str, ...], Reading]:
    """(dataset, label, metric, column, group) -> our mean with its interval, over seeds."""
    rows = home.rows()
    rows = rows[(rows["metric"] != "") & rows["state"].isin(READ)]
    frames = [rows, *_measured(home)]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return {}
    found = pd.concat(frames, ignore_index=True)
    table = aggregate(found.fillna({"column": "", "group": ""}))
    keys = table[["dataset", "label", "metric", "column", "group"]].itertuples(index=False)
    ends = table[["mean", "low", "high"]].itertuples(index=False)
    return {tuple(key): Reading(*end) for key, end in zip(keys, ends, strict=True)}


def _measured(home: Folder | Results) -> list[pd.DataFrame]:
    """The readings that plug-ins measured themselves, as rows of their cells."""
    cells = home.cells()
    frames = []
    for cell in cells[cells["status"] == "ok"].to_dict("records"):
        facts = home.manifest(cell["key"]).get("facts")
        measured = facts.get("measured") if isinstance(facts, Mapping) else None
        lines = measured[:MOST_MEASURED] if isinstance(measured, list) else []
        rows = [row for row in map(_row, lines) if row]
        about = {name: cell[name] for name in CELL_COLUMNS}
        frames.append(pd.DataFrame([about | row for row in rows]))
    return frames


def _row(line: object) -> dict | None:
    """One reading with ROW_COLUMNS; None for what is none."""
    if not isinstance(line, Mapping) or not isinstance(line.get("metric"), str):
        return None
    row: dict = dict.fromkeys(ROW_COLUMNS, "")
    row |= {"metric": line["metric"], "state": OK}
    for name in ("value", "low", "high", "floor", "ceiling"):
        value = line.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        row[name] = float(value) if is_number else np.nan
    for name in ("column", "group"):
        row[name] = str(line.get(name, ""))[:200]
    return row


# Verdicts ----------------------------------------------------------------------------------------


def _judged_figure(row: Mapping, readings: Mapping[tuple, Reading]) -> Outcome:
    label = row["generator"]
    ours = readings.get(_key(row, label), Reading()).scaled(row.get("scale", 1.0))
    verdict, detail = _against(row, ours)
    about = f"{_metric(row)}, {label}"
    return Outcome(row["what"], row["dataset"], about, row["printed"], str(ours), verdict, detail)


def _against(row: Mapping, ours: Reading) -> tuple[str, str]:
    """The verdict on one printed figure, and what is to be said with it."""
    reason = _not_comparable(row, {row["generator"]: ours})
    if reason:
        return NOT_COMPARED, reason
    printed, rounding = _value(row["printed"])
    widening = rounding + abs(row.get("within", 0.0))
    low, high = ours.low - widening, ours.high + widening
    if low <= printed <= high:
        return AGREES, ""
    distance = low - printed if printed < low else printed - high
    return DIFFERS, f"by {number(distance)}"


def _judged_claim(row: Mapping, readings: Mapping[tuple, Reading]) -> Outcome:
    sides = {
        row[side]: readings.get(_key(row, row[side]), Reading()) for side in ("higher", "lower")
    }
    if row.get("compare") == SIZE:
        sides = {label: _size(reading) for label, reading in sides.items()}
    higher, lower = (sides[row[side]] for side in ("higher", "lower"))
    verdict, detail = _direction(row, higher, lower, sides)
    printed = f"{row['higher']} above {row['lower']}"
    ours = f"{higher} against {lower}"
    return Outcome(row["what"], row["dataset"], _metric(row), printed, ours, verdict, detail)


def _direction(
    row: Mapping, higher: Reading, lower: Reading, sides: Mapping[str, Reading]
) -> tuple[str, str]:
    """The verdict on one claim: where the interval of the difference lies."""
    reason = _not_comparable(row, sides)
    if reason:
        return NOT_COMPARED, reason
    difference = higher.mean - lower.mean
    # As if the two were independent: they share test rows, so this is wide rather than narrow.
    half = math.hypot(higher.half, lower.half)
    detail = f"difference {number(difference)} ± {number(half)}"
    if difference - half > 0:
        return AGREES, detail
    if difference + half < 0:
        return DIFFERS, detail
    return NOT_SHOWN, detail


def _not_comparable(row: Mapping, sides: Mapping[str, Reading]) -> str:
    """Why nothing can be compared, "" where it can."""
    if row.get("aside"):
        return str(row["aside"])
    for label, reading in sides.items():
        if not np.isfinite(reading.mean):
            return f"no reading of {shortened(label, 60)}"
        if not reading.is_complete:
            return f"our reading of {shortened(label, 60)} has no interval; run more seeds"
    return ""


def _size(reading: Reading) -> Reading:
    """The distance from 0, whose interval is as wide as the reading's own."""
    mean = abs(reading.mean)
    return Reading(mean, mean - reading.half, mean + reading.half)


def _key(row: Mapping, label: str) -> tuple[str, ...]:
    return (row["dataset"], label, row["metric"], row.get("column", ""), row.get("group", ""))


def _metric(row: Mapping) -> str:
    """What is read, in words."""
    subject = [row[name] for name in ("column", "group") if row.get(name)]
    return ", ".join([titled(row["metric"]), *subject])
