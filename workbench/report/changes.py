"""What changed between two runs: cells and their statuses, what they were made with, and every
headline's mean.

Cells are paired by dataset, label, split, seed and draw. A headline's difference (after - before)
is taken within these pairs, with Nadeau and Bengio's interval over splits, or Student's over seeds
where there is one split. Headlines are sorted by size relative to noise: the interval's half width,
or, where one pair allows none, that of both readings' own intervals as if they were independent,
which is too wide for two runs that share their test rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch import keys
from workbench.batch.folder import Folder
from workbench.errors import InputError
from workbench.files import write_text
from workbench.metrics import titled
from workbench.report import headlines as summary
from workbench.report import significance
from workbench.report.headlines import FACTORS
from workbench.report.html import direction, html_table, marked, named, pieces
from workbench.report.publish import page_of
from workbench.report.sections import where
from workbench.words import number, plural, shortened

PAIR = ["dataset", "label", *FACTORS]
PRINTED, LISTED = 20, 1000  # lines of a table on the terminal, and on the page


@dataclass(frozen=True, eq=False)
class Changes:
    """Two runs side by side; `str` of it is for a terminal.

    cells       PAIR, key and status of each run ("absent" where it lacks the cell), same (bytes of
                table and rows)
    made_with   fact, before, after: what the paired cells' manifests tell differently
    headlines   dataset, label, metric, before, after (means over the pairs), difference, low, high,
                units, ratio (to noise)
    """

    names: tuple[str, str]
    cells: pd.DataFrame
    provenance: pd.DataFrame
    headlines: pd.DataFrame

    @property
    def identical(self) -> bool:
        """Whether both have the same cells with the same statuses, at least one of them finished,
        and the same hashes.
        """
        ok = self.cells["status_after"] == "ok"
        return bool(ok.any() and len(self._moved()) == 0 and self.cells.loc[ok, "same"].all())

    def _moved(self) -> pd.DataFrame:
        return self.cells[self.cells["status_before"] != self.cells["status_after"]]

    def sentences(self) -> list[str]:
        """The sentences above the tables."""
        # Identical runs need one sentence and no tables.
        cells, heads = self.cells, self.headlines
        if self.identical:
            return [
                f"identical: {plural(len(cells), 'cell')}; every finished cell's table and rows"
                " have the same hashes."
            ]
        added, removed = (
            (cells[f"status_{side}"] == "absent").sum() for side in ("before", "after")
        )
        clear = (heads["low"].gt(0) | heads["high"].lt(0)).sum()
        return [
            (
                f"{plural(len(cells) - added - removed, 'cell')} in both runs,"
                f" {cells['same'].sum():,} with the same bytes; {added:,} added, {removed:,}"
                f" removed, {len(self._moved()) - added - removed:,} with another status."
            ),
            (
                f"{plural(len(heads), 'headline')} compared: {(heads['difference'] != 0).sum():,}"
                f" differ, {clear:,} by more than their 95% interval, which one in twenty does by"
                " noise alone."
            ),
        ]

    def tables(
        self, label: Callable = str, metric: Callable = titled
    ) -> Iterator[tuple[str, list[str], list[tuple]]]:
        """Caption, header and lines of what differs; the largest difference first."""
        lines = [
            (
                label(name),
                dataset,
                before,
                after,
                f"{len(of):,}",
                shortened("; ".join(map(where, of.to_dict("records"))), 120),
            )
            for (name, dataset, before, after), of in self._moved().groupby(
                ["label", "dataset", "status_before", "status_after"], sort=False
            )
        ]
        header = ["Generator", "Dataset", "Before", "After", "Cells", "Which"]
        yield "Cells added, removed or with another status", header, lines
        # What has not moved at all would bury what has.
        changed = self.headlines[self.headlines["difference"] != 0]
        lines = [
            (
                label(r["label"]),
                r["dataset"],
                metric(r["metric"]),
                direction(r["metric"])[0],
                *map(number, (r["before"], r["after"], r["difference"])),
                f"{number(r['low'])} to {number(r['high'])}" if np.isfinite(r["low"]) else "–",
                f"{r['ratio']:.1f}" if np.isfinite(r["ratio"]) else "∞" if r["ratio"] > 0 else "–",
                r["units"],
            )
            for r in changed.to_dict("records")
        ]
        header = [
            "Generator",
            "Dataset",
            "Metric",
            "Better",
            "Before",
            "After",
            "Difference",
            "95% interval",
            "To noise",
            "Pairs",
        ]
        yield "Headlines, the largest difference relative to noise first", header, lines
        lines = list(self.provenance.itertuples(index=False, name=None))
        yield "What the cells in both runs were made with", ["Fact", "Before", "After"], lines

    def __str__(self) -> str:
        out = [" -> ".join(self.names), *self.sentences()]
        for caption, header, lines in self.tables():
            if lines:
                shown = [header]
                for line in lines[:PRINTED]:
                    shown.append([shortened(value, 40) for value in line])
                widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
                more = f" (the first {PRINTED} of {len(lines):,})" if len(lines) > PRINTED else ""
                out += ["", f"{caption}{more}"]
                out += ["  ".join(map(str.ljust, line, widths)).rstrip() for line in shown]
        return "\n".join(out)

    def write(self, path: str | Path) -> Path:
        """One HTML page that opens offline. Raises InputError where it cannot be written."""
        # A page of its own, made like a report's, so that it opens offline.
        title = " → ".join(self.names)
        parts: list = [
            "# What changed between two runs?",
            pieces().lead(title),
        ]
        parts += [pieces().paragraph(sentence) for sentence in self.sentences()]
        for caption, header, lines in self.tables(named, marked):
            more = f", {LISTED:,} of {len(lines):,}" if len(lines) > LISTED else ""
            parts += [html_table(header, lines[:LISTED], caption + more, "list")] if lines else []
        try:
            write_text(Path(path), page_of(f"What changed: {title}", parts))
        except OSError as error:
            raise InputError(
                f"--out {path} cannot be written ({error.strerror}); name another file."
            ) from None
        return Path(path)


def compare(before: str | Path, after: str | Path) -> Changes:
    """Two report folders, whatever they have finished. Raises InputError where one of them is none."""
    # Resolved: "." has no name that could stand on a page.
    homes = [Folder(Path(before).resolve()), Folder(Path(after).resolve())]
    folders = [home.path for home in homes]
    tables = [home.rows() for home in homes]  # first: what cannot be read is pending in `cells`
    cells = [home.cells() for home in homes]
    keep = [*PAIR, "key", "status", "synthetic_hash", "rows_hash", "train_rows", "test_rows"]
    # Cells are paired by what was asked for: their keys differ as soon as the code does.
    both = cells[0][keep].merge(
        cells[1][keep], on=PAIR, how="outer", suffixes=("_before", "_after")
    )
    both = both.fillna({"status_before": "absent", "status_after": "absent"})
    ok = both[["status_before", "status_after"]].eq("ok").all(axis=1)
    both["same"] = ok
    for name in ("synthetic_hash", "rows_hash"):
        both["same"] &= both[f"{name}_before"] == both[f"{name}_after"]
    sides = zip(tables, ("before", "after"), strict=True)
    rows = [table.assign(side=side) for table, side in sides]
    # Two runs of one report lie in different folders under the same name.
    alike = folders[0].name == folders[1].name
    before, after = (
        f"{folder.parent.name}/{folder.name}" if alike else folder.name for folder in folders
    )
    shown = [*PAIR, "key_before", "key_after", "status_before", "status_after", "same"]
    return Changes(
        (before, after),
        both[shown],
        _provenance(homes, both[ok]),
        _headlines(pd.concat(rows), both[ok]),
    )


HEADLINE = ["dataset", "label", "metric", "before", "after", "difference", "low", "high"]
HEADLINE += ["units", "ratio"]


def _headlines(rows: pd.DataFrame, ok: pd.DataFrame) -> pd.DataFrame:
    """Every headline of the cells that are ok in both runs, the largest difference relative to
    noise first.
    """
    # Each dataset's label takes the part of a dataset, and the two runs that of its labels: then the
    # paired test of two generators on one dataset is that of two runs of one generator.
    size_columns = ["train_rows_after", "test_rows_after"]
    sizes = ok.groupby(["dataset", "label"], sort=False)[size_columns].mean()
    names = {str(place): about for place, about in enumerate(sizes.index)}
    sizes_of = dict(zip(names, map(tuple, sizes.to_numpy(float)), strict=True))
    place_of = {about: place for place, about in names.items()}
    rows = rows.merge(ok[PAIR], on=PAIR)
    pairs = zip(rows["dataset"], rows["label"], strict=True)
    rows["dataset"] = [place_of[about] for about in pairs]
    rows["label"] = rows["side"]

    own = summary.headlines(rows)
    own_noise = _own_noise(own)
    cells = significance.per_cell(rows, heads=own).dropna(subset="value")
    # What only one of the runs measured has no partner.
    cells = cells[cells.duplicated(["dataset", "metric", *FACTORS], keep=False)]
    cells = cells.assign(score=cells["value"])
    means = _means(cells)
    found = []
    for metric, part in cells.groupby("metric", sort=False):
        for row in significance.within(part, sizes_of):
            key = row["dataset"], metric
            both = means[(*key, "before")], means[(*key, "after")]
            size, low, high, ratio = _against_noise(row, own_noise.get(key, np.nan))
            found.append(
                (*names[key[0]], metric, *both, size, low, high, row["units"], ratio),
            )
    table = pd.DataFrame(found, columns=HEADLINE)
    order = table.assign(size=table["difference"].abs())
    order = order.sort_values(["ratio", "size"], ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _own_noise(own: pd.DataFrame) -> pd.Series:
    """The half width of the difference of two independent readings, by dataset and metric; NaN
    where one of them has no interval. own: the headlines of both runs.
    """
    own = own.assign(squared=((own["high"] - own["low"]) / 2) ** 2)
    return own.groupby(["dataset", "metric"])["squared"].sum(min_count=2) ** 0.5


def _means(cells: pd.DataFrame) -> pd.Series:
    """Mean of each run, by dataset, metric and run, over the units that `within` takes: over splits
    where there are several. Only then is after - before the difference that it tests.
    """
    unit = "split" if cells["split"].nunique() > 1 else "seed"
    by_unit = cells.groupby(["dataset", "metric", "label", unit])["value"].mean()
    return by_unit.groupby(level=[0, 1, 2]).mean()


def _against_noise(row: dict, own_noise: float) -> tuple[float, float, float, float]:
    """after - before, the ends of its interval, and its size relative to noise."""
    # `within` orders two labels as it meets them.
    turn = 1 if row["first"] == "after" else -1
    low, high = sorted((turn * row["low"], turn * row["high"]))
    size = abs(row["difference"])
    # One pair has no spread of its own: its noise is that of the two intervals together.
    noise = (high - low) / 2 if row["units"] > 1 else own_noise
    ratio = np.inf if noise == 0 else size / noise
    if size == 0:
        ratio = 0.0
    return turn * row["difference"], low, high, ratio


def _provenance(homes: list[Folder], ok: pd.DataFrame) -> pd.DataFrame:
    """The facts that the manifests of the cells that are ok in both runs tell differently, every
    value that occurs.
    """
    from tqdm.auto import tqdm

    known: tuple[dict, dict] = {}, {}
    for row in tqdm(ok.to_dict("records"), desc="manifests", delay=2, leave=False):
        for facts, home, side in zip(known, homes, ("before", "after"), strict=True):
            for name, value in _facts(home.manifest(row[f"key_{side}"])):
                facts.setdefault(name, set()).add(str(value))
    lines = []
    for name in known[0] | known[1]:
        before, after = (sorted(facts.get(name, {"–"})) for facts in known)
        lines.append((name, ", ".join(before), ", ".join(after)))
    table = pd.DataFrame(lines, columns=["fact", "before", "after"])
    return table[table["before"] != table["after"]].reset_index(drop=True)


def _facts(record: dict) -> Iterator[tuple[str, object]]:
    """What a manifest says about a cell's making, by name: the machine, versions, limits, data,
    parameters and sources.
    """
    # Digests are cut to what an eye can compare.
    cell, inputs = record["cell"], record.get("inputs", {})
    yield (
        f"parameters of {cell['label']}",
        json.dumps(cell["params"], sort_keys=True, ensure_ascii=False),
    )
    for name, value in (inputs.get("data") or {}).items():
        yield f"{name} of {cell['dataset']}", keys.digest(json.dumps(value, sort_keys=True))[:12]
    yield from ((name, record.get(name, "")) for name in ("cpu", "threads"))
    for kind, section in (
        ("machine", "fingerprint"),
        ("version of", "versions"),
        ("limit of", "limits"),
    ):
        yield from ((f"{kind} {name}", value) for name, value in record.get(section, {}).items())
    yield "notebook", str(inputs.get("notebook", ""))[:12]
    yield from (
        (f"source of {name}", str(value)[:12])
        for name, value in (inputs.get("sources") or {}).items()
    )
