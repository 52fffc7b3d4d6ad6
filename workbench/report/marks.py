"""A strip of marks as SVG text, written directly: some dozens of marks need no drawing library, and a
page has a hundred such strips.

    strip(rows, metric, heads, generators, absent)     one metric between its floor and its ceiling
    bias_strip(rows, table, key, limit)                one column or group around zero
    legend()                                           what the marks of a strip mean

The best generator is the first line, controls are the last. Strips show what `plots.strips` and
`plots.bias_by_group` show, with the same colours and marks. All that belongs to a generator is one
group whose id is its `html.handle`, so that a page can hide it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from markupsafe import escape

from workbench.metrics import METRICS, UNKNOWN
from workbench.report.headlines import badness
from workbench.report.html import Drawing, handle
from workbench.report.identity import identities, is_control, ordered
from workbench.report.plots import (
    BAND,
    CROWD,
    INK,
    LETTER,
    LINE,
    MUTED,
    looks,
    prepared,
    seed_values,
)
from workbench.words import number, shortened

# In points, 72 an inch.
WIDTH, LINE_HEIGHT, ABOVE, BELOW = 252.0, 15.12, 22.0, 24.0
RIGHT = 33.0  # room for the numbers
NAME = 26  # letters of a label that are shown
TICKS = 5  # steps of an axis at most
MARGIN = 0.07  # of the range, on both sides of the outermost mark
ROOM = 1.0  # ways from floor to ceiling that an axis may reach beyond them; beyond are arrows
TALL = 0.35  # of a line's height, above and below the first and the last line

# Corners of each marker around its middle, for a mark six points wide.
STAR = [(3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1)]
PLUS: list[tuple[float, float]] = [*STAR, (-3, -1), (-1, -1), (-1, -3), (1, -3), (1, -1), (3, -1)]


def _regular(corners: int, radius: float = 3.0) -> list[tuple[float, float]]:
    """The corners of a regular polygon, the first one above."""
    turns = [2 * math.pi * place / corners for place in range(corners)]
    return [(radius * math.sin(turn), -radius * math.cos(turn)) for turn in turns]


SHAPES: dict[str, list[tuple[float, float]]] = {
    "s": [(-3, -3), (3, -3), (3, 3), (-3, 3)],
    "D": _regular(4, 4.2),
    "^": [(0, -3), (3, 3), (-3, 3)],
    "v": [(0, 3), (3, -3), (-3, -3)],
    "<": [(-3, 0), (3, -3), (3, 3)],
    ">": [(3, 0), (-3, -3), (-3, 3)],
    "P": PLUS,
    "X": [(0.71 * (x - y), 0.71 * (x + y)) for x, y in PLUS],
    "p": _regular(5),
    "h": _regular(6),
}


@dataclass
class Strip:
    """Where the lines of one strip stand, and the SVG that is there so far."""

    names: list[str]
    low: float
    high: float
    out: list[str] = field(default_factory=list)

    def __post_init__(self):
        longest = max(len(shortened(name, NAME)) for name in self.names)
        self.left = 72 * (0.12 + LETTER * longest)
        self.right = WIDTH - RIGHT
        self.bottom = ABOVE + LINE_HEIGHT * (len(self.names) + 2 * TALL - 0.5)
        self.height = self.bottom + BELOW

    def x(self, value: float) -> float:
        """Points from the left; what lies beyond the axis stands at its end."""
        share = (value - self.low) / (self.high - self.low)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def beyond(self, value: float) -> int:
        """-1 and 1 for what lies left and right of the axis, 0 for what is on it."""
        return int(value > self.high) - int(value < self.low)

    def y(self, place: int) -> float:
        """The middle of a generator's line."""
        return ABOVE + LINE_HEIGHT * (place + TALL + 0.25)

    def upright(self, value: float, style: str) -> None:
        """A line from top to bottom."""
        self.out.append(
            f'<path d="M{self.x(value):.2f} {ABOVE}V{self.bottom:.2f}" stroke="{MUTED}" {style}/>'
        )

    def text(self, x: float, y: float, words: str, size: float, color: str, more: str = "") -> None:
        self.out.append(
            f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size}" fill="{color}"{more}>'
            f"{escape(words)}</text>"
        )

    def drawing(self) -> Drawing:
        start = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {self.height:.2f}"'
            # By how much the page's script moves lines up to the place of hidden ones.
            f' data-pitch="{LINE_HEIGHT}" font-family="system-ui, sans-serif">'
            f'<path fill="#fff" d="M0 0H{WIDTH:.0f}V{self.height:.2f}H0z"/>'
        )
        scale = 100 / 72
        svg = start + "".join(self.out) + "</svg>"
        return Drawing(svg, round(WIDTH * scale), round(self.height * scale))


def strip(
    rows: pd.DataFrame,
    metric: str,
    heads: pd.DataFrame,
    generators: Mapping[str, str],
    absent: Mapping[str, str],
) -> Drawing:
    """One metric, a line for each generator: seeds as small dots, their mean as the marker, its 95%
    interval as a bar, the band from floor to ceiling behind.

    heads: the headlines of these rows. generators: label -> generator, of all that have a line.
    absent: label -> why it has no reading.
    """
    rows = prepared(rows[rows["metric"] == metric])
    head = heads[heads["metric"] == metric].groupby("label", sort=False).first()
    seeds = _values(seed_values(rows, metric, head))
    ends = {}
    for name in ("floor", "ceiling"):
        mean = head[name].mean()
        if np.isfinite(mean):
            ends[name] = float(mean)
    is_around_zero = METRICS.get(metric, UNKNOWN).direction == "zero"
    around = [0.0] if is_around_zero else []
    low, high = _range(head, seeds, [*ends.values(), *around])
    if len(ends) == 2:
        low, high = _between(low, high, [*ends.values(), *around])
    direction = METRICS.get(metric, UNKNOWN).direction
    panel = Strip(best_first(generators, head["mean"], direction), low, high)
    _band(panel, ends)
    if is_around_zero:
        panel.upright(0, 'stroke-width="1"')
    _lines(panel, head, seeds, generators, absent)
    _name_ends(panel, ends)
    _axis(panel)
    return panel.drawing()


def bias_strip(
    rows: pd.DataFrame, table: pd.DataFrame, key: tuple[str, str], limit: float
) -> Drawing:
    """One column or group of a metric around zero, from -limit to limit; right of zero is amplified.

    table: what `aggregate` gives of these rows.
    """
    known = identities(rows)
    column, group = key
    head = table[(table["column"] == column) & (table["group"] == group)]
    head = head.groupby("label", sort=False).first()
    part = rows[(rows["column"] == column) & (rows["group"] == group)]
    panel = Strip(best_first(known, head["mean"], "zero"), -limit, limit)
    _rules(panel)
    panel.upright(0, 'stroke-width="1"')
    _lines(panel, head, _values(part), known, {})
    middle = panel.x(0)
    panel.text(middle - 6, ABOVE - 3, "← dampened", 7.5, MUTED, ' text-anchor="end"')
    panel.text(middle + 6, ABOVE - 3, "amplified →", 7.5, MUTED)
    _axis(panel)
    return panel.drawing()


def best_first(generators: Mapping[str, str], means: pd.Series, direction: str) -> list[str]:
    """Labels by their reading, the best first; those without one after them, controls last.

    generators: label -> generator. means: by label.
    """
    bad = badness(means, direction).to_dict()
    place = {label: count for count, label in enumerate(ordered(generators))}

    def key(label: str) -> tuple:
        value = bad.get(label, np.nan)
        missing = not np.isfinite(value)
        return is_control(generators[label]), missing, np.nan_to_num(value), place[label]

    return sorted(place, key=key)


def _values(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Label -> its readings, thinned evenly where there are more than CROWD."""
    found = {}
    for label, values in rows.groupby("label", sort=False)["value"]:
        dots = values.dropna().to_numpy()
        if len(dots) > CROWD:
            dots = dots[np.linspace(0, len(dots) - 1, CROWD).astype(int)]
        found[label] = dots
    return found


def _range(head: pd.DataFrame, seeds: dict, more: list[float]) -> tuple[float, float]:
    """The axis: all that is drawn, with a margin."""
    drawn = [head[["mean", "low", "high"]].to_numpy(dtype=float).ravel(), *seeds.values(), more]
    values = np.concatenate([np.asarray(part, dtype=float) for part in drawn])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    # One value alone still needs an axis around it.
    room = MARGIN * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _between(low: float, high: float, ends: list[float]) -> tuple[float, float]:
    """An axis that holds floor and ceiling, and no more than ROOM ways between them on each side:
    one reading far off must not squeeze all others.
    """
    first, last = min(ends), max(ends)
    way = last - first
    # Where floor and ceiling are alike, all that is drawn decides.
    if way <= 1e-9 * max(abs(first), abs(last), 1e-12):
        return low, high
    return max(low, first - ROOM * way), min(high, last + ROOM * way)


def _rules(panel: Strip) -> None:
    """A thin line under the marks of each generator."""
    lines = "".join(
        f"M{panel.left:.2f} {panel.y(k):.2f}H{panel.right}" for k in range(len(panel.names))
    )
    panel.out.append(f'<path d="{lines}" stroke="{BAND}"/>')


def _band(panel: Strip, ends: dict[str, float]) -> None:
    """The way from floor to ceiling, shaded, with both ends dashed."""
    if len(ends) == 2:
        first, last = sorted(panel.x(value) for value in ends.values())
        panel.out.append(
            f'<path fill="{BAND}" d="M{first:.2f} {ABOVE}H{last:.2f}V{panel.bottom:.2f}H{first:.2f}z"/>'
        )
    _rules(panel)
    for value in ends.values():
        panel.upright(value, 'stroke-width=".9" stroke-dasharray="1.8 1.8"')


def _name_ends(panel: Strip, ends: dict[str, float]) -> None:
    """The words floor and ceiling above the panel, side by side where the ends lie together."""
    places = sorted((panel.x(value), name) for name, value in ends.items())
    width = panel.right - panel.left
    is_together = len(places) == 2 and places[1][0] - places[0][0] < 0.25 * width
    for place, (x, name) in enumerate(places):
        anchor = "middle"
        if is_together:
            anchor = ("end", "start")[place]
        is_first, is_last = is_together and place == 0, is_together and place == 1
        if x < panel.left + 0.08 * width and not is_first:
            anchor = "start"
        if x > panel.right - 0.08 * width and not is_last:
            anchor = "end"
        panel.text(x, ABOVE - 3, name, 7.5, MUTED, f' text-anchor="{anchor}"')


def _lines(
    panel: Strip,
    head: pd.DataFrame,
    seeds: Mapping[str, np.ndarray],
    generators: Mapping[str, str],
    absent: Mapping[str, str],
) -> None:
    """A group for each generator: its name, its marks and its number, or why it has none."""
    style = looks(generators)
    readings = head.to_dict("index")
    for place, name in enumerate(panel.names):
        y = panel.y(place)
        panel.out.append(f'<g id="{handle(name)}">')
        short = shortened(name, NAME)
        panel.text(panel.left - 4, y + 3.2, short, 9, INK, ' text-anchor="end"')
        row = readings.get(name)
        if row is None or not np.isfinite(row["mean"]):
            why = absent.get(name) if row is None else row["note"]
            middle = (panel.left + panel.right) / 2
            italic = ' text-anchor="middle" font-style="italic"'
            panel.text(middle, y + 2.7, shortened(why or "no reading", 40), 7.5, MUTED, italic)
        else:
            _marks(panel, y, row, seeds.get(name, ()), style[name])
            panel.text(panel.right + 3, y + 2.7, number(row["mean"]), 7.5, INK)
        panel.out.append("</g>")


def _marks(panel: Strip, y: float, row: Mapping, dots, look: Mapping[str, str]) -> None:
    """The interval as a bar, seeds as dots, the mean as the generator's marker."""
    color = look["color"]
    side = panel.beyond(row["mean"])
    if side:
        _arrow(panel, y, side, row["mean"], color)
        return
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        bar = f"M{panel.x(row['low']):.2f} {y:.2f}H{panel.x(row['high']):.2f}"
        panel.out.append(
            f'<path d="{bar}" stroke="{color}" stroke-width="4" stroke-opacity=".35"/>'
        )
    dots = [value for value in dots if not panel.beyond(value)]
    if len(dots):
        # A line of no length with round ends is a dot, in a fifth of the bytes of a circle.
        places = "".join(f"M{panel.x(value):.2f} {y:.2f}h0" for value in dots)
        pen = 'stroke-width="2.5" stroke-linecap="round" opacity=".9"'
        panel.out.append(f'<path d="{places}" stroke="{color}" {pen}/>')
    x = panel.x(row["mean"])
    pen = f'fill="{look["face"]}" stroke="{color}" stroke-width="1.3"'
    if look["marker"] == "o":
        panel.out.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="3" {pen}/>')
        return
    corners = "L".join(f"{x + right:.2f} {y + down:.2f}" for right, down in SHAPES[look["marker"]])
    panel.out.append(f'<path d="M{corners}z" {pen}/>')


def _arrow(panel: Strip, y: float, side: int, value: float, color: str) -> None:
    """An arrow at the end of the axis, with the number of the reading that lies beyond it."""
    tip = panel.x(value)
    back = tip - 7 * side
    panel.out.append(
        f'<path d="M{tip:.2f} {y:.2f}L{back:.2f} {y - 4:.2f}V{y + 4:.2f}z" fill="{color}"/>'
    )
    anchor = ' text-anchor="end"' if side > 0 else ""
    panel.text(back - 3 * side, y + 2.7, number(value), 7.5, INK, anchor)


def legend() -> Drawing:
    """One line for each generator mark of a strip, in words, once for all strips."""
    panel = Strip(["generator"], 0.0, 1.0)
    panel.out.append(
        f'<path fill="{BAND}" d="M{panel.x(0.1):.2f} {ABOVE}H{panel.x(0.9):.2f}V{panel.bottom:.2f}'
        f'H{panel.x(0.1):.2f}z"/>'
    )
    for value, words in ((0.1, "floor"), (0.9, "ceiling")):
        panel.upright(value, 'stroke-width=".9" stroke-dasharray="1.8 1.8"')
        panel.text(panel.x(value), ABOVE - 3, words, 7.5, MUTED, ' text-anchor="middle"')
    row = {"mean": 0.5, "low": 0.3, "high": 0.7}
    look = {"color": "#0173b2", "face": "#0173b2", "marker": "o"}
    _marks(panel, panel.y(0), row, [0.4, 0.53, 0.58], look)
    panel.text(panel.left - 4, panel.y(0) + 3.2, "generator", 9, INK, ' text-anchor="end"')
    panel.text(panel.right + 3, panel.y(0) + 2.7, "mean", 7.5, INK)
    return panel.drawing()


def _axis(panel: Strip) -> None:
    """The line below, with round numbers at round places."""
    panel.out.append(
        f'<path d="M{panel.left:.2f} {panel.bottom:.2f}H{panel.right}" stroke="{LINE}" stroke-width=".8"/>'
    )
    for value, words in round_numbers(panel.low, panel.high):
        middle = ' text-anchor="middle"'
        panel.text(panel.x(value), panel.bottom + 10, words, 8, MUTED, middle)


def round_numbers(low: float, high: float) -> list[tuple[float, str]]:
    """At most TICKS + 1 values from low to high that are 1, 2 or 5 times a power of ten apart, as
    they are written.
    """
    least = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    found = []
    for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        value = place * step
        words = f"{value:.{digits}f}" if abs(value) < 1e5 and digits < 6 else f"{value:.3g}"
        found.append((value, words.replace("-", "−")))
    return found
