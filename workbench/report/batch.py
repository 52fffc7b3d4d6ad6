"""What a page is made of: one report folder, read once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.batch.folder import Folder
from workbench.batch.results import Results, is_results
from workbench.metrics import NOT_APPLICABLE
from workbench.report import uses
from workbench.report.headlines import aggregate, headlines
from workbench.report.html import (
    DATASETS,
    LABELS,
    LINES,
    footnotes,
    html_table,
    named,
    pieces,
    scored,
    unfinished,
)
from workbench.report.identity import identities, is_control, ordered
from workbench.report.leaderboard import in_order
from workbench.report.significance import signs
from workbench.words import shortened


@dataclass
class Batch:
    """What a page is made of: the rows and cells of a report folder, and what follows from them,
    which is computed when a section first needs it.

    `cells` has the columns of `Folder.cells`, and `home` where it comes from a folder: a cell's
    own place in it, "" for none.
    """

    title: str
    rows: pd.DataFrame
    cells: pd.DataFrame
    versions: Mapping[str, str]
    generators: Mapping[str, str]  # label -> generator: who is a control, and in what order
    # What several sections need is computed by the first of them: dataset -> scores of its cells.
    scores: dict[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path, metrics: Collection[str] | None = None) -> Batch:
        """What a folder holds of these metrics, or of all. Cells are all there in either case."""
        place = Path(folder).resolve()
        if is_results(place):
            results = Results(place)
            cells = results.cells().assign(home="", executed=False)
            rows = _of_metrics(results.rows(), metrics)
            return cls.of(rows, cells, results.title, results.versions())
        home = Folder.of_checked(place)
        rows = home.rows()  # first: a cell whose rows cannot be read is pending in `cells`
        cells = home.cells()
        places = [home.state(key).home for key in cells["key"]]
        cells["home"] = [
            "" if place is None else f"{place.parent.name}/{place.name}" for place in places
        ]
        cells["executed"] = [
            place is not None and (place / "cell.ipynb").exists() for place in places
        ]
        finished = cells.loc[cells["status"] == "ok", "key"]
        versions = home.manifest(finished.iloc[0])["versions"] if len(finished) else {}
        return cls.of(_of_metrics(rows, metrics), cells, home.title, versions)

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        cells: pd.DataFrame,
        title: str,
        versions: Mapping[str, str] | None = None,
    ) -> Batch:
        # A cell without numbers is a row with the metric "": it counts among cells, and has no reading.
        rows = with_sizes(rows[rows["metric"] != ""], cells)
        generators = identities(cells)
        return cls(title, rows, cells, versions or {}, generators)

    @cached_property
    def readings(self) -> pd.DataFrame:
        """Every column and group of every metric over the seeds, as `aggregate` gives them."""
        return aggregate(self.rows.fillna({"column": "", "group": ""}))

    @cached_property
    def heads(self) -> pd.DataFrame:
        """Every metric of every generator, as `headlines` gives them."""
        return headlines(self.rows)

    def control(self, label: str) -> bool:
        return is_control(self.generators[label])

    def ordered(self, labels) -> list[str]:
        """These labels in page order, controls last."""
        return ordered({label: self.generators[label] for label in labels})

    def named(
        self,
        label: str,
        status: str = "",
        dataset: str | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> Markup:
        return named(label, status, dataset, self.control(label), facts)

    @cached_property
    def _pairs(self) -> pd.DataFrame:
        return self.cells[["dataset", "label"]].drop_duplicates()

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """What each generator may be used for, as `uses.verdicts` gives it; once a page."""
        return uses.verdicts(self.readings, self._pairs)

    @cached_property
    def unmeasured(self) -> dict[tuple[str, str], list[str]]:
        """The gates that nobody has measured, as `uses.unmeasured` gives them."""
        return uses.unmeasured(self.readings, self._pairs)

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(self.cells["dataset"]))

    @property
    def shown(self) -> int:
        """How many datasets are shown one by one: fewer where each has many generators."""
        most = min(self.cells.groupby("dataset")["label"].nunique().max(), LABELS)
        return min(DATASETS, max(1, LINES // most), len(self.datasets))

    def each(self) -> list[Part]:
        """The datasets that are shown one by one."""
        return self._parts

    @cached_property
    def _parts(self) -> list[Part]:
        return list(self._each())

    def _each(self) -> Iterator[Part]:
        for name in self.datasets[: self.shown]:
            cells = self.cells[self.cells["dataset"] == name]
            labels = in_order(self, name, list(cells["label"].unique()))[:LABELS]
            rows, readings, heads = (
                t[(t["dataset"] == name) & t["label"].isin(labels)]
                for t in (self.rows, self.readings, self.heads)
            )
            title = pieces().dataset(name) if len(self.datasets) > 1 else Markup("")
            # A metric that applies to nobody here would be a column of one word; it is named below the table.
            idle = (
                (heads["state"] == NOT_APPLICABLE)
                .groupby(heads["metric"])
                .transform("all")
                .astype(bool)
            )
            status = {label: unfinished(cells[cells["label"] == label]) for label in labels}
            yield Part(
                name,
                title,
                status,
                cells,
                rows,
                readings,
                heads[~idle],
                heads[idle].drop_duplicates("metric"),
                self.generators,
            )


@dataclass
class Part:
    """One dataset of a batch; `labels` maps each generator, in page order, to words on its
    unfinished cells or "".

    `idle` holds a row for each metric that does not apply to the dataset.
    """

    name: str
    title: Markup
    labels: dict[str, str]
    cells: pd.DataFrame
    rows: pd.DataFrame
    readings: pd.DataFrame
    heads: pd.DataFrame
    idle: pd.DataFrame
    generators: Mapping[str, str]

    def control(self, label: str) -> bool:
        return is_control(self.generators[label])

    def named(self, label: str) -> Markup:
        """A generator's name with what its cells lack, a link to their list."""
        return named(label, self.labels.get(label, ""), self.name, self.control(label))

    def table(
        self,
        readings: pd.DataFrame,
        keys: list[tuple[str, str]],
        caption: Markup,
        signed: bool = False,
    ) -> Markup:
        """Generators by (column, group) of one metric's readings; with `signed`, each also in
        words, held against chance over all columns and groups (see `significance.signs`).
        """
        records = signs(readings).to_dict("records") if signed else readings.to_dict("records")
        keyed = {(r["label"], r["column"], r["group"]): r for r in records}
        lines, notes = [], []
        for label, status in self.labels.items():
            found = [keyed.get((label, *key)) for key in keys]
            words = [Markup("")] * len(found)
            if signed:
                words = [_sign(row) for row in found]
            cells = [
                scored(r, False, status, notes) + word for r, word in zip(found, words, strict=True)
            ]
            lines.append((named(label, "", self.name, self.control(label)), *cells))
        header = ["Generator", *(shortened(group or column, 60) for column, group in keys)]
        return html_table(header, lines, caption, "scores") + footnotes(notes)


def _sign(row: dict | None) -> Markup:
    """Amplified, dampened or no clear change, below a reading."""
    if row is None or not np.isfinite(row["mean"]):
        return Markup("")
    return pieces().headed("", row["sign"])


def _of_metrics(rows: pd.DataFrame, metrics: Collection[str] | None) -> pd.DataFrame:
    return rows if metrics is None else rows[rows["metric"].isin(metrics)]


def with_sizes(rows: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Rows with test_per_train, test rows for each train row of their dataset, where cells say so."""
    if not {"train_rows", "test_rows"} <= set(cells):
        return rows
    # Intervals over splits need it, because the splits of one table share rows.
    sizes = cells.groupby("dataset")[["train_rows", "test_rows"]].mean().astype(float)
    known = (sizes["test_rows"] / sizes["train_rows"]).dropna()
    if not len(known):
        return rows
    return rows.assign(test_per_train=rows["dataset"].map(known).astype(float))
