"""What a results folder says about itself: a data card, Croissant metadata and how to cite it.

Croissant is a vocabulary on top of schema.org by which search engines and loaders read what files
and columns a data set has (http://mlcommons.org/croissant/1.1). Nothing here depends on the day or
on the machine: the same cells give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from workbench.words import plural

NAMES = ("README.md", "croissant.json", "CITATION.cff")
AUTHOR = "The authors of synthetic-workbench"
LICENSE = ("MIT", "https://spdx.org/licenses/MIT.html")
CROISSANT = "http://mlcommons.org/croissant/1.1"
# The terms of the vocabulary whose names are their own; readers want the whole context that the
# specification gives, those included that are not used here.
TERMS = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes"
    " isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace"
    " samplingRate separator source subField transform"
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS.split()},
}
TYPES = {"object": "sc:Text", "float64": "sc:Float", "int64": "sc:Integer", "Int64": "sc:Integer"}
# What a column holds, where its name does not say it
MEANINGS = {
    "dataset": "name of the real table",
    "generator": "registered name of the generator, or the plug-in",
    "label": "what pages call the generator",
    "params": "hyper-parameters as JSON",
    "split": "seed of the split into train and test; 0 keeps a published one",
    "seed": "seed of fitting, sampling and scoring; of a given table its number",
    "draw": "which sample of the same fit",
    "key": "digest of everything that the cell's numbers depend on",
    "status": "ok, skipped, error, timeout, out-of-memory or pending",
    "metric": "name of the metric; empty for a cell without numbers",
    "column": "column that the number is about, where it is about one",
    "group": "group of rows that the number is about, where it is about one",
    "value": "the reading",
    "low": "lower end of its 95% interval",
    "high": "upper end of its 95% interval",
    "floor": "the same metric of a table that has lost what it measures",
    "ceiling": "the same metric of a fresh real sample",
    "state": "ok, not-applicable, not-informative, insufficient or error",
    "note": "why, in a sentence",
    "notes": "of a given table what was done to it, of a generator what its fit left out, in sentences",
    "reason": "why a cell has no numbers",
    "cell": "the cell as it was planned, as JSON",
    "inputs": "what the key hashes, as JSON: sources, versions, rows",
    "promise": "what a private generator guarantees, and what a plug-in measured itself, as JSON",
    "grid": "the grid.toml in this folder that asked for the cell",
    "origin": "who ran the cell; empty for whoever published the folder",
}


@dataclass(frozen=True)
class About:
    """What the three files say. day: of the last cell that ran, ISO 8601."""

    title: str
    version: str
    day: str
    datasets: list[str]
    labels: list[str]
    counts: dict[str, int]
    cpu_hours: float
    cells: pd.DataFrame
    rows: int


def about(title: str, version: str, cells: pd.DataFrame, rows: int) -> About:
    # The day of the last cell, not of today: the same cells give the same bytes.
    started = [text for text in cells["started"] if text]
    return About(
        title=title,
        version=version,
        day=max(started, default="1970-01-01")[:10],
        datasets=sorted(cells["dataset"].unique()),
        labels=sorted(cells["label"].unique()),
        counts={str(name): int(n) for name, n in cells["status"].value_counts().items()},
        cpu_hours=float(cells["cpu_seconds"].sum() / 3600),
        cells=cells,
        rows=rows,
    )


def description(card: About) -> str:
    """One sentence for search engines and readers."""
    return (
        f"{plural(card.rows, 'reading')} of synthetic tables by"
        f" {plural(len(card.labels), 'generator')} on {plural(len(card.datasets), 'real table')}:"
        " fidelity, utility, bias, fairness and privacy, each between a floor and a ceiling, with"
        " intervals where the metric has one."
    )


def readme(card: About) -> str:
    """The data card."""
    states = ", ".join(f"{count:,} {status}" for status, count in sorted(card.counts.items()))
    lines = [
        "---",
        f"pretty_name: {json.dumps(card.title, ensure_ascii=False)}",
        f"license: {LICENSE[0].lower()}",
        "tags: [synthetic-data, tabular, benchmark]",
        "configs:",
        "  - config_name: rows",
        "    data_files: rows.parquet",
        "  - config_name: cells",
        "    data_files: cells.parquet",
        "---",
        "",
        f"# {card.title}",
        "",
        description(card),
        "",
        f"Run by workbench {card.version}, {card.cpu_hours:.1f} CPU hours, last on {card.day}.",
        f"{plural(len(card.cells), 'cell')}: {states}.",
        "",
        "## What is in it",
        "",
        "- `rows.parquet`: one reading a row: which cell, metric, column and group; value, interval,"
        " floor and ceiling.",
        "- `cells.parquet`: one cell a row: how it ended, seconds and CPU seconds by phase, memory,"
        " versions, and the sha256 of its rows and of its synthetic table.",
        "- `grid.toml`: what was asked for. `results.json`: the sha256 of every file.",
        "",
        "There are no rows of any table in it, real or synthetic.",
        "",
        "## Use it",
        "",
        "```",
        "workbench report FOLDER             # the page, from these files alone",
        "workbench verify FOLDER --cells 5   # run five cells again, and compare every byte",
        "workbench merge FOLDER OTHER        # add the rows that somebody else ran",
        "```",
        "",
        "```python",
        "import pandas as pd",
        "",
        'rows = pd.read_parquet("rows.parquet")',
        "```",
        "",
        "## What to keep in mind",
        "",
        "- A reading says something only between its floor and its ceiling; `state` says where it"
        " says nothing. Do not average over different metrics.",
        "- Seeds of one split share its test rows: their mean has no smaller error from the split.",
        "- Cells that failed or were skipped are rows too, without a value: leave none out when you"
        " count.",
        "",
        "## Tables and generators",
        "",
        *_finished_table(card),
        "",
    ]
    lines += _unfinished(card)
    return "\n".join(lines)


def _finished_table(card: About) -> list[str]:
    """Finished cells of each dataset, of how many."""
    lines = ["| dataset | train rows | test rows | cells | finished |", "|---|---|---|---|---|"]
    for dataset, cells in card.cells.groupby("dataset"):
        finished = cells[cells["status"] == "ok"]
        sizes = []
        for name in ("train_rows", "test_rows"):
            # Splits and overrides may give one dataset several sizes.
            present = finished[name].dropna().unique()
            sizes.append(" or ".join(f"{int(size):,}" for size in sorted(present)) or "–")
        lines.append(
            f"| {dataset} | {sizes[0]} | {sizes[1]} | {len(cells):,} | {len(finished):,} |"
        )
    return [*lines, "", f"Generators: {', '.join(card.labels)}."]


def _unfinished(card: About) -> list[str]:
    """What was asked for and is not there, by dataset and generator."""
    bad = card.cells[card.cells["status"] != "ok"]
    if not len(bad):
        return []
    lines = ["## What has no numbers", ""]
    for (dataset, label, status), cells in bad.groupby(["dataset", "label", "status"]):
        reason = cells["reason"].iloc[0]
        ending = f": {reason}" if reason else ""
        lines.append(f"- {dataset}, {label}: {plural(len(cells), 'cell')} {status}{ending}")
    origins = [name for name in card.cells["origin"].unique() if name]
    if origins:
        lines += ["", f"Rows of others: {', '.join(sorted(origins))}."]
    return [*lines, ""]


def citation(card: About) -> str:
    """CITATION.cff, version 1.2.0."""
    lines = [
        "cff-version: 1.2.0",
        "message: If you use these results, please cite them.",
        "type: dataset",
        f"title: {json.dumps(card.title, ensure_ascii=False)}",
        f'version: "{card.version}"',
        f"date-released: {card.day}",
        f"license: {LICENSE[0]}",
        "authors:",
        f"  - name: {AUTHOR}",
        f"abstract: {json.dumps(description(card), ensure_ascii=False)}",
        "keywords: [synthetic data, tabular data, benchmark]",
    ]
    return "\n".join(lines) + "\n"


def croissant(
    card: About,
    tables: Mapping[str, Mapping[str, str]],
    hashes: Mapping[str, str],
    sizes: Mapping[str, int],
) -> str:
    """Croissant metadata as JSON text.

    tables: Parquet file -> column -> dtype. hashes and sizes: of these files.
    """
    about = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT,
        "name": card.title,
        "description": description(card),
        "version": _semantic(card.version),
        "datePublished": card.day,
        "license": LICENSE[1],
        "creator": {"@type": "sc:Organization", "name": AUTHOR},
        "citeAs": f"{AUTHOR}: {card.title}, version {card.version}, {card.day}",
        "keywords": ["synthetic data", "tabular data", "benchmark"],
        "distribution": [_file_object(name, hashes[name], sizes[name]) for name in tables],
        "recordSet": [_record_set(name, columns) for name, columns in tables.items()],
    }
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _file_object(name: str, sha256: str, size: int) -> dict:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256,
    }


def _record_set(file: str, columns: Mapping[str, str]) -> dict:
    name = file.removesuffix(".parquet")
    fields = []
    for column, kind in columns.items():
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": f"{name}/{column}",
                "description": MEANINGS.get(column, column.replace("_", " ")),
                "dataType": TYPES[kind],
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
        )
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _semantic(version: str) -> str:
    """A version of three numbers, as Croissant wants it."""
    # "0.2.0rc1" has a part that is no number.
    parts = [part for part in version.split(".") if part.isdigit()]
    return ".".join([*parts, "0", "0"][:3])
