"""What a page is made of: one report folder, read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.batch.folder import Folder
from workbench.metrics import NOT_APPLICABLE
from workbench.report.headlines import aggregate, headlines, ordered
from workbench.report.html import (
    DATASETS,
    LABELS,
    LINES,
    footnotes,
    html_table,
    named,
    scored,
    sign,
    unfinished,
)
from workbench.words import shortened


@dataclass
class Batch:
    """What a page is made of: the rows and cells of a report folder, and the headlines that follow
    from them.

    `cells` has the columns of `Folder.cells`, and `home` where it comes from a folder: a cell's
    own place in it, "" for none.
    """

    title: str
    rows: pd.DataFrame
    cells: pd.DataFrame
    heads: pd.DataFrame
    versions: Mapping[str, str]

    @classmethod
    def read(cls, folder: str | Path) -> Batch:
        home = Folder(Path(folder).resolve())
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
        return cls.of(rows, cells, home.title, versions)

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        cells: pd.DataFrame,
        title: str,
        versions: Mapping[str, str] | None = None,
    ) -> Batch:
        rows = rows[rows["metric"] != ""]
        return cls(title, rows, cells, headlines(rows), versions or {})

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(self.cells["dataset"]))

    @property
    def shown(self) -> int:
        """How many datasets are shown one by one: fewer where each has many generators."""
        most = min(self.cells.groupby("dataset")["label"].nunique().max(), LABELS)
        return min(DATASETS, max(1, LINES // most), len(self.datasets))

    def each(self) -> Iterator[Part]:
        """The datasets that are shown one by one."""
        for name in self.datasets[: self.shown]:
            cells = self.cells[self.cells["dataset"] == name]
            labels = ordered(cells["label"])[:LABELS]
            tables = (
                t[(t["dataset"] == name) & t["label"].isin(labels)] for t in (self.rows, self.heads)
            )
            title = (
                Markup('<h3 data-d="{0}">{0}</h3>').format(name)
                if len(self.datasets) > 1
                else Markup("")
            )
            rows, heads = tables
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
                heads[~idle],
                heads[idle].drop_duplicates("metric"),
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
    heads: pd.DataFrame
    idle: pd.DataFrame

    def table(
        self, rows: pd.DataFrame, keys: list[tuple[str, str]], caption: Markup, signed: bool = False
    ) -> Markup:
        """Generators by (column, group) of one metric's rows; with `signed`, each interval around
        zero also in words.
        """
        keyed = {
            (r["label"], r["column"], r["group"]): r for r in aggregate(rows).to_dict("records")
        }
        lines, notes = [], []
        for label, status in self.labels.items():
            found = [keyed.get((label, *key)) for key in keys]
            words = [
                f"<small>{sign(r)}</small>" if signed and r and np.isfinite(r["mean"]) else ""
                for r in found
            ]
            cells = [
                scored(r, False, status, notes) + Markup(word)
                for r, word in zip(found, words, strict=True)
            ]
            lines.append((named(label, dataset=self.name), *cells))
        header = ["Generator", *(shortened(group or column, 60) for column, group in keys)]
        return html_table(header, lines, caption, "scores") + footnotes(notes)
