"""One page over all report folders, and over the results that were published from some: what each
holds, how far it got, who is best by a few headlines.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from tqdm.auto import tqdm

from workbench.batch.results import RECORD, is_results
from workbench.errors import InputError
from workbench.files import write_text
from workbench.metrics import titled
from workbench.report.batch import Batch
from workbench.report.comparison import COMPARED
from workbench.report.html import html_table, pieces
from workbench.report.publish import page_of
from workbench.report.replication import PAGE
from workbench.report.sections import leaders
from workbench.words import joined, number, plural, shortened

SHOWN = 3  # datasets of a report whose best generators are named
HEADER = ["Report", "State", "Cells finished", "Datasets", "Generators", "Started (UTC)"]


def index(folder: str | Path = "reports") -> Path:
    """Write FOLDER/index.html over the report folders in FOLDER and one level below it, half-finished
    and broken ones too, and likewise over the results in ../results where FOLDER is named reports;
    return its path.

    Raises InputError where FOLDER is no folder or cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds your report folders.")
    homes = _homes(folder)
    lines = [_line(home, folder) for home in tqdm(homes, desc="index", delay=2, leave=False)]
    header = [*HEADER, *(f"Best by {titled(metric)}" for metric in COMPARED)]
    note = (
        "Each line is one report, or the results published from one. Best is the generator with the"
        " best mean over its cells; controls do not compete."
    )
    table = html_table(
        header, lines, f"{plural(len(lines), 'report')} in {folder.resolve().name}", "list"
    )
    # Names may be no text.
    page = page_of("Reports", [f"# Reports\n\n{note}", table]).encode("utf-8", "replace").decode()
    try:
        write_text(folder / "index.html", page)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); give a folder that can."
        ) from None
    return folder / "index.html"


def _homes(folder: Path) -> list[Path]:
    """Every report and results folder that the page lists, reports first."""
    roots = [folder]
    if folder.resolve().name == "reports":
        roots.append(Path(os.path.abspath(folder)).parent / "results")
    found = []
    for path in [child for root in roots for child in _children(root)]:
        if _is_listed(path):
            found.append(path)
        elif not path.is_symlink():
            found += [below for below in _children(path) if _is_listed(below)]
    return found


def _children(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(_files(folder))]


def _is_listed(path: Path) -> bool:
    return bool({"grid.toml", "plan.json", RECORD} & set(_files(path)))


def _files(home: Path) -> list[str]:
    try:
        return os.listdir(home)
    except OSError:  # a file, a folder of somebody else, a link to nowhere
        return []


def _line(home: Path, folder: Path) -> list:
    """A report's line; a folder that cannot be read keeps its line, with the reason."""
    state = "not run yet"
    if {"plan.json", RECORD} & set(_files(home)):
        try:
            # Headlines of all metrics of a large report would take several times as long.
            batch = Batch.read(home, COMPARED)
            return [
                _title(home, batch.title, folder),
                *_facts(home, batch, folder),
                *(_best(batch, metric) for metric in COMPARED),
            ]
        except Exception as error:  # whatever is wrong with one folder, the others are still listed
            reason = f"{type(error).__name__}: {error}".replace(str(home.resolve()), home.name)
            state = "broken: " + shortened(reason, 200)
    return [_place(home, folder), state, *["–"] * (len(HEADER) - 2 + len(COMPARED))]


def _place(home: Path, folder: Path) -> str:
    """Where a folder lies, seen from the page."""
    return os.path.relpath(os.path.abspath(home), os.path.abspath(folder))


def _title(home: Path, title: str, folder: Path) -> Markup:
    place = _place(home, folder)
    out = pieces().headed(title, place)
    files = _files(home)
    if "index.html" in files:
        out = pieces().link(f"{quote(place)}/index.html", out)
    if PAGE in files:
        out += Markup(" ") + pieces().link(f"{quote(place)}/{PAGE}", "against the paper")
    return out


def _facts(home: Path, batch: Batch, folder: Path) -> list[str]:
    counts = batch.cells["status"].value_counts()
    rest = ", ".join(f"{count:,} {status}" for status, count in counts.items() if status != "ok")
    state = (
        "half finished"
        if counts.get("pending")
        else "finished"
        if not rest
        else "finished with gaps"
    )
    if "index.html" not in _files(home):
        seen = os.path.normpath(f"{folder.resolve().name}/{_place(home, folder)}")
        state += f"; no page yet: workbench report {seen}"
    if is_results(home):
        state = f"published, {state}"
    labels = batch.cells["label"].unique()
    started = max(batch.cells["started"].dropna(), default="–")[:16].replace("T", " ")
    return [
        state,
        f"{counts.get('ok', 0):,} of {len(batch.cells):,}{f' ({rest})' if rest else ''}",
        shortened(joined(batch.datasets), 120),
        f"{len(labels):,}",
        started,
    ]


def _best(batch: Batch, metric: str) -> Markup:
    out = []
    for dataset in batch.datasets[:SHOWN]:
        heads = batch.heads[(batch.heads["dataset"] == dataset) & (batch.heads["metric"] == metric)]
        best = leaders(heads, metric, batch.control)
        if best:
            value = number(heads.set_index("label").loc[min(best), "mean"])
            about = f"{value}{f', {dataset}' if len(batch.datasets) > 1 else ''}"
            out.append(pieces().headed(", ".join(sorted(best)), about))
    found = Markup("").join(out) or Markup("–")
    more = len(batch.datasets) - SHOWN
    if more > 0:
        found += pieces().below(f"and {more} more datasets")
    return found
