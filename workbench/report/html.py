"""What the sections of a report page are made of: the batch they read, and escaped HTML for tables,
scores and figures.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.metrics import METRICS, OK, UNKNOWN, titled
from workbench.words import number, shortened

# What one page holds at most, so that 10,000 cells still make a page that opens.
DATASETS, LABELS, LINES = 4, 24, 48


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
            note = '<p class="note bad">This section could not be made ({}). The others stand.</p>'
            return Piece(Markup(note).format(words))

    return standing


def scored(row, best: bool, status: str, notes: list[str]) -> Markup:
    """A table cell: number and interval, or the kind of reason for their lack, with a number into
    `notes`.
    """
    if row is None:
        return Markup('<span class="none">{}</span>').format(status or "not measured")
    out, note, missing = Markup(""), row["note"], not np.isfinite(row["mean"])
    if not missing:
        told = Markup('<span class="{}">{}{}</span>').format(
            "best" if best else "", number(row["mean"]), " ★" if best else ""
        )
        # Off the keyboard's way: the line's header links to the same list of cells, and thousands
        # of stops help nobody.
        out = Markup('<a href="#{}" tabindex="-1">{}</a>').format(
            handle(row["dataset"], row["label"]), told
        )
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            out += Markup("<small>{} to {}</small>").format(number(row["low"]), number(row["high"]))
    if missing or row["state"] != OK:
        # A missing value that is nevertheless a reading, such as no formal guarantee, says so itself.
        word = row["state"].replace("-", " ") if row["state"] != OK else note or "no value"
        mark = ""
        if note and note != word:
            # Seeds and generators word the same reason with other numbers: one note a metric and
            # kind of reason is enough.
            start = f"{titled(row['metric'])}: {word}"
            place = next(
                (place for place, told in enumerate(notes, 1) if told.startswith(start)),
                len(notes) + 1,
            )
            if place > len(notes):
                reason = note.split(word, 1)[-1].lstrip(": ").split(";")[0]
                notes.append(f"{start}{', for example' if word in note else ''}: {reason}")
            mark = f" ({place})"
        out += Markup('<small class="none">{}{}</small>').format(word, mark)
    return out


def footnotes(notes: list[str]) -> Markup:
    items = Markup("").join(Markup("<li>{}</li>").format(note) for note in notes)
    return Markup('<ol class="note">{}</ol>').format(items) if notes else Markup("")


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
    drawing = figure if isinstance(figure, Drawing) else Drawing.of(figure)
    data = base64.b64encode(drawing.svg.encode()).decode()
    file = re.sub(r"\W+", "-", name.casefold()).strip("-")[:80] or "figure"
    return Markup(
        '<figure><img width="{}" height="{}" alt="{}" data-file="{}.svg"'
        ' src="data:image/svg+xml;base64,{}"><figcaption>{}</figcaption></figure>'
    ).format(drawing.width, drawing.height, alt, file, data, caption)


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
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body, last = (
        Markup("").join(
            Markup('<tr><th scope="row">{}</th>{}</tr>').format(
                first, Markup("").join(Markup("<td>{}</td>").format(v) for v in rest)
            )
            for first, *rest in part
        )
        for part in (lines, foot)
    )
    return Markup(
        '<div class="table {}" role="region" tabindex="0"'
        ' aria-label="{}"><table><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody>{}</table></div>"
    ).format(
        kind,
        Markup(caption).striptags() if hasattr(caption, "__html__") else caption,
        caption,
        top,
        body,
        Markup("<tfoot>{}</tfoot>").format(last) if last else "",
    )


def named(
    label: str, status: str = "", dataset: str | None = None, control: bool = False
) -> Markup:
    """A generator as the page's script knows it; with its dataset, a link to the list of its cells."""
    out = Markup('<span data-g="{}">{}</span>').format(handle(label), label)
    if dataset is not None:
        out = Markup('<a href="#{}">{}</a>').format(handle(dataset, label), out)
    out += Markup("<small>control</small>") if control else ""
    return out + (Markup('<small class="bad">{}</small>').format(status) if status else "")


def marked(metric: str) -> Markup:
    """A metric's title as the page's script knows it: in a table's head it stands for its column,
    in a caption for all.
    """
    return Markup("<span data-m>{}</span>").format(titled(metric))


def unfinished(cells: pd.DataFrame) -> str:
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
