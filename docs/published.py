"""What the pages of the documentation read from published rows: means with intervals, by generator.

Every maker of a page (benchmark.py, decision.py, measured.py, cards.py) reads the rows through this
module, so that one reading looks the same wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch.results import Results
from workbench.report import uses
from workbench.report.batch import Batch
from workbench.report.headlines import headlines
from workbench.report.identity import identities, ordered

RESULTS = Path(__file__).parent.parent / "results"
BENCHMARK = "benchmark"


@cache
def results(name: str = BENCHMARK) -> Results:
    return Results(RESULTS / name)


@cache
def cells(name: str = BENCHMARK) -> pd.DataFrame:
    return results(name).cells()


@cache
def finished(name: str = BENCHMARK) -> pd.DataFrame:
    ran = cells(name)
    return ran[ran["status"] == "ok"]


@cache
def readings(metrics: tuple[str, ...], name: str = BENCHMARK) -> pd.DataFrame:
    """The metrics as a report's headlines: one row for each dataset, label and metric."""
    rows = results(name).rows()
    # Whether all groups are there decides how a headline counts, so these rows come along.
    return headlines(rows[rows["metric"].isin([*metrics, "vanished_groups"])])


@cache
def verdict_counts(name: str = BENCHMARK) -> pd.DataFrame:
    """On how many tables each label meets each use, leaves it open and fails it: one row for each
    label and use, in the order of a report.
    """
    batch = Batch.read(RESULTS / name, uses.needed())
    done = finished(name)[["dataset", "label"]].drop_duplicates()
    verdicts = batch.verdicts.merge(done, on=["dataset", "label"])
    counts = []
    for label in batch.ordered(verdicts["label"].unique()):
        own = verdicts[verdicts["label"] == label]
        for use in uses.USES:
            states = own.loc[own["use"] == use, "state"]
            met, failed = int((states == "meets").sum()), int((states == "fails").sum())
            rest = len(states) - met - failed
            counts.append({"label": label, "use": use, "met": met, "open": rest, "failed": failed})
    return pd.DataFrame(counts)


def labels(ran: pd.DataFrame) -> dict[str, str]:
    """label -> generator of these cells, in the order of a report."""
    generators = identities(ran)
    return {label: generators[label] for label in ordered(generators)}


def of_line(frame: pd.DataFrame, dataset: str, label: str) -> pd.DataFrame:
    """Of cells or readings those of one label on one table: what a line of a page is made from."""
    datasets, names = frame["dataset"].to_numpy(), frame["label"].to_numpy()
    return frame[(datasets == dataset) & (names == label)]


def one(own: pd.DataFrame, metrics: tuple[str, ...]) -> pd.Series | None:
    """The reading of the first of these metrics that a line's rows hold."""
    names = own["metric"].to_numpy()
    for metric in metrics:
        places = np.flatnonzero(names == metric)
        if len(places):
            return own.iloc[places[0]]
    return None


def ends(own: pd.DataFrame, metrics: tuple[str, ...], end: str) -> float:
    """The floor or the ceiling on one table, the median of what its cells measured."""
    for metric in metrics:
        part = own[own["metric"] == metric]
        known = part[end].dropna()
        if len(part):
            return float(np.median(known)) if len(known) else np.nan
    return np.nan


def signed(value: float, digits: int = 3) -> str:
    """A number with a real minus; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def interval(row: pd.Series | None, digits: int = 3) -> str:
    """A mean with its 95% interval, or a dash where there is no reading."""
    if row is None or not np.isfinite(row["mean"]):
        return "–"
    mean = signed(row["mean"], digits)
    if not np.isfinite(row["low"]):
        return mean
    return f"{mean} [{signed(row['low'], digits)}, {signed(row['high'], digits)}]"


def table(lines: list[list[str]]) -> str:
    header, *body = lines
    rows = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def filled(text: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """The page with what stands between the marks of each maker made anew.

    A page that lacks a maker's marks is refused: its numbers would stay as they are unnoticed.
    """
    for name, maker in makers.items():
        mark = rf"(<!-- {name}: made by docs/benchmark.py -->\n).*?(\n<!-- end -->)"
        lines = maker()
        filling = lambda found, lines=lines: f"{found[1]}\n{lines}\n{found[2]}"  # noqa: E731
        text, count = re.subn(mark, filling, text, flags=re.S)
        if count != 1:
            raise ValueError(f"{count} places for {name}; one is needed")
    return text
