"""What the sections of a report page are made of: the batch they read, and escaped HTML for tables,
scores and figures.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.markup import macros
from workbench.metrics import METRICS, OK, UNKNOWN, titled
from workbench.words import number, shortened

# What one page holds at most, so that 10,000 cells still make a page that opens.
DATASETS, LABELS, LINES = 4, 24, 48


def pieces() -> Any:
    """The macros of templates/pieces.html.j2, which escape every value that is not Markup."""
    return macros("report/templates/pieces.html.j2")


class Piece(Markup):
    """HTML that a notebook shows as such; its `repr` is short, so that saved notebooks stay small."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<{len(self)} characters of HTML>"


def section(make: Callable) -> Callable:
    """A section of the page that stands on anything: one that cannot be made says so in its place,
    and the rest of the page is written.
    """

    @wraps(make)
    def standing(batch) -> Piece:
        try:
            return make(batch)
        except Exception as error:  # whatever the readings are, the others are still worth a page
            words = shortened(f"{type(error).__name__}: {error}", 300)
            note = f"This section could not be made ({words}). The others stand."
            return Piece(pieces().note(note, True))

    return standing


def scored(row, best: bool, status: str, notes: list[str]) -> Markup:
    """A table cell: number and interval, or the kind of reason for their lack, with a number into
    `notes`.
    """
    if row is None:
        return pieces().lacking(status or "not measured")
    # The macro shows what is not empty.
    value, low, high, word, mark = "", "", "", "", 0
    is_missing = not np.isfinite(row["mean"])
    if not is_missing:
        value = number(row["mean"])
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            low, high = number(row["low"]), number(row["high"])
    if is_missing or row["state"] != OK:
        word, mark = _reason(row, notes)
    link = handle(row["dataset"], row["label"])
    return pieces().score(value, best, link, low, high, word, mark)


def _reason(row, notes: list[str]) -> tuple[str, int]:
    """The word for what a reading lacks, and the number of its note, which is added where new."""
    note = row["note"]
    # A missing value that is nevertheless a reading, such as no formal guarantee, says so itself.
    word = note or "no value"
    if row["state"] != OK:
        word = row["state"].replace("-", " ")
    if not note or note == word:
        return word, 0
    # Seeds and generators word the same reason with other numbers: one note a metric and kind of
    # reason is enough.
    start = f"{titled(row['metric'])}: {word}"
    for place, known in enumerate(notes, 1):
        if known.startswith(start):
            return word, place
    reason = note.split(word, 1)[-1].lstrip(": ").split(";")[0]
    example = ", for example" if word in note else ""
    notes.append(f"{start}{example}: {reason}")
    return word, len(notes)


def footnotes(notes: list[str]) -> Markup:
    return pieces().footnotes(notes)


@dataclass(frozen=True)
class Drawing:
    """A picture as SVG text, with its size in pixels."""

    svg: str
    width: int
    height: int

    @classmethod
    def of(cls, figure) -> Drawing:
        """A figure of Matplotlib."""
        from workbench.report.plots import svg

        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        return cls(slim(svg(figure)), width, height)


def image(figure, alt: str, caption: Markup, name: str = "figure") -> Markup:
    """An SVG image with its alternative text, saved as `name`; inside an img element it can run
    nothing. figure: a Drawing, or a figure of Matplotlib.
    """
    # Inside an img element an SVG can run no script and load nothing, whatever its labels say.
    drawing = figure if isinstance(figure, Drawing) else Drawing.of(figure)
    data = base64.b64encode(drawing.svg.encode()).decode()
    file = re.sub(r"\W+", "-", name.casefold()).strip("-")[:80] or "figure"
    return pieces().figure(drawing, alt, file, data, caption)


def legend_of(drawing: Drawing, words: str) -> Markup:
    """The one legend of many figures: a picture with what its marks mean beside it."""
    return pieces().legend(drawing, base64.b64encode(drawing.svg.encode()).decode(), words)


def slim(svg: str) -> str:
    """The same picture in the page's font and half the bytes: no metadata, paths to a hundredth of
    a point.
    """
    svg = re.sub(r"<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.S)
    svg = re.sub(r'(<g|<path|<text) id="[^"]*_\d+"', r"\1", svg)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+|\s*\n", r"\1", path[0]), svg)
    svg = re.sub(r'(style="font: [^";]*?px )[^";]*', r"\1system-ui, sans-serif", svg)
    return re.sub(r">\s+<", "><", svg).strip()


def html_table(
    header: Iterable,
    lines: Iterable[Iterable],
    caption: Markup | str,
    kind: str,
    foot: Iterable = (),
) -> Markup:
    """A table in a box that scrolls sideways and takes the keyboard's focus; a line's first cell is
    its header.

    `foot` holds lines that stay below the others, however these are sorted.
    """
    spoken = Markup(caption).striptags() if hasattr(caption, "__html__") else caption
    # Lists, because a generator would be used up by the template's first look.
    body = [list(line) for line in lines]
    last = [list(line) for line in foot]
    return pieces().table(list(header), body, caption, spoken, kind, last)


def named(
    label: str,
    status: str = "",
    dataset: str | None = None,
    control: bool = False,
    facts: Mapping[str, str] | None = None,
) -> Markup:
    """A generator as the page's script knows it; with its dataset, a link to the list of its cells.

    facts: what the page's filter asks for, name -> value.
    """
    link = "" if dataset is None else handle(dataset, label)
    return pieces().generator(handle(label), label, link, control, status, facts or {})


# Which readings of a column come first when it is sorted.
BEST = {"up": "high", "down": "low", "zero": "near"}


def marked(metric: str, words: str | Markup = "") -> Markup:
    """A metric's title, or other words for it, as the page's script knows it: in a table's head it
    stands for its column, in a caption for all.
    """
    best = BEST[METRICS.get(metric, UNKNOWN).direction]
    return pieces().metric(titled(metric), best, words or titled(metric))


def headed(metric: str) -> Markup:
    """A metric as the head of a column: its title and which way is better."""
    return pieces().headed(marked(metric), direction(metric))


def unfinished(cells: pd.DataFrame) -> str:
    # Said beside a generator wherever its numbers stand.
    bad = cells.loc[cells["status"] != "ok", "status"]
    return f"{len(bad)} of {len(cells)} {', '.join(sorted(set(bad)))}" if len(bad) else ""


def direction(metric: str) -> str:
    return {"up": "↑ higher is better", "down": "↓ lower is better", "zero": "→ zero is best"}[
        METRICS.get(metric, UNKNOWN).direction
    ]


def handle(*names: str) -> str:
    """A short id for a label, or for a dataset's label, that is safe in HTML, SVG and CSS, whatever
    the names hold.
    """
    return "g" + hashlib.sha256("\0".join(names).encode()).hexdigest()[:10]
