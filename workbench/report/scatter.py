"""Generators as circles between two qualities, written as SVG text: no drawing library, and a name
at each circle in place of a legend.

    scatter(points, across, up, front)      one figure; a Point is a generator

What lies beyond an axis is an arrow with its number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import escape

from workbench.report.html import Drawing, handle
from workbench.report.marks import round_numbers
from workbench.report.plots import BAND, GREY, INK, LINE, MUTED
from workbench.words import digits, number, shortened

# In points, 72 an inch.
WIDTH, HEIGHT = 480.0, 340.0
LEFT, RIGHT, ABOVE, BELOW = 46.0, 14.0, 16.0, 62.0
LETTER = 4.6  # a letter's width at size 8.5
SMALLEST, LARGEST = 3.0, 11.0  # radii
SECONDS = (0.1, 1.0, 10.0, 100.0)  # of the circles in the key
COLORS = {"open": "#0173b2", "private": "#d55e00", "control": GREY}
WORDS = {"open": "generator", "private": "private", "control": "control"}


@dataclass(frozen=True)
class Point:
    """A generator: its reading across and up, with 95% intervals, and the CPU seconds of its fit."""

    label: str
    kind: str  # of COLORS
    x: float
    y: float
    x_ends: tuple[float, float] = (math.nan, math.nan)
    y_ends: tuple[float, float] = (math.nan, math.nan)
    seconds: float = math.nan


@dataclass(frozen=True)
class Axis:
    """A quality in words, the ends of its axis, and reference lines: place -> words."""

    words: str
    low: float
    high: float
    lines: dict[float, str] = field(default_factory=dict)
    is_log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis; below 0 and above 1 where the value lies beyond it."""
        if self.is_log:
            value = math.log10(max(value, 1e-12))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        if not self.is_log:
            return round_numbers(self.low, self.high)
        powers = range(math.ceil(self.low), math.floor(self.high) + 1)
        return [(10.0**power, f"{10.0**power:g}") for power in powers]


def x_of(axis: Axis, value: float) -> float:
    return LEFT + min(max(axis.share(value), 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def y_of(axis: Axis, value: float) -> float:
    return HEIGHT - BELOW - min(max(axis.share(value), 0.0), 1.0) * (HEIGHT - ABOVE - BELOW)


def scatter(points: Sequence[Point], across: Axis, up: Axis, front: bool = False) -> Drawing:
    """Circles, as large as the fit was costly; with `front`, a line joins the generators that no
    other one beats on both axes (less across, more up).
    """
    points = [p for p in points if np.isfinite(p.x) and np.isfinite(p.y)]
    out: list[str] = []
    _frame(out, across, up)
    if front:
        _front(out, [p for p in points if p.kind != "control"], across, up)
    taken = [_circle_box(point, across, up) for point in points]
    # The best are named first, so that they get the place beside their circle.
    for point in sorted(points, key=lambda p: -p.y):
        out.append(f'<g id="{handle(point.label)}">')
        _draw(out, point, across, up)
        _label(out, point, across, up, taken)
        out.append("</g>")
    _key(out, points)
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"'
        ' font-family="system-ui, sans-serif">'
        f'<path fill="#fff" d="M0 0H{WIDTH:.0f}V{HEIGHT:.0f}H0z"/>'
    )
    scale = 100 / 72
    return Drawing(start + "".join(out) + "</svg>", round(WIDTH * scale), round(HEIGHT * scale))


def span(values: Sequence[float], ends: Sequence[float], room: float = 0.15) -> tuple[float, float]:
    """Both ends of an axis: floor and ceiling with room where both are known and apart, otherwise
    all values.
    """
    known = [end for end in ends if np.isfinite(end)]
    if len(known) < 2 or max(known) - min(known) < 1e-9:
        known += [value for value in values if np.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    margin = room * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _text(x: float, y: float, words: str, size: float, color: str, more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{more}>'
        f"{escape(words)}</text>"
    )


def _frame(out: list[str], across: Axis, up: Axis) -> None:
    """Axes with round numbers, and the reference lines with their words."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BELOW
    for value, words in across.ticks():
        x = x_of(across, value)
        out.append(f'<path d="M{x:.1f} {ABOVE}V{bottom}" stroke="{BAND}"/>')
        out.append(_text(x, bottom + 11, words, 8, MUTED, ' text-anchor="middle"'))
    for value, words in up.ticks():
        y = y_of(up, value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="{BAND}"/>')
        out.append(_text(LEFT - 4, y + 3, words, 8, MUTED, ' text-anchor="end"'))
    dashed = f'stroke="{MUTED}" stroke-width=".9" stroke-dasharray="4 3"'
    for value, words in across.lines.items():
        x = x_of(across, value)
        out.append(f'<path d="M{x:.1f} {ABOVE}V{bottom}" {dashed}/>')
        side = ' text-anchor="end"' if across.share(value) > 0.5 else ""
        out.append(_text(x, ABOVE - 4, words, 7.5, MUTED, side))
    for value, words in up.lines.items():
        y = y_of(up, value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{right}" {dashed}/>')
        # In the middle, where seldom a generator stands.
        middle = (LEFT + right) / 2
        out.append(_text(middle, y - 3, words, 7.5, MUTED, ' text-anchor="middle"'))
    out.append(f'<path d="M{LEFT} {ABOVE}V{bottom}H{right}" fill="none" stroke="{LINE}"/>')
    out.append(_text(right, bottom + 24, across.words, 9, INK, ' text-anchor="end"'))
    middle = (ABOVE + bottom) / 2
    turned = f' text-anchor="middle" transform="rotate(-90 11 {middle:.1f})"'
    out.append(_text(11, middle, up.words, 9, INK, turned))


def radius(seconds: float) -> float:
    """Of a circle: a step for each power of ten of CPU seconds, within bounds."""
    if not np.isfinite(seconds):
        return SMALLEST
    steps = math.log10(max(seconds, 1e-3) / SECONDS[0])
    return min(max(SMALLEST + 2.2 * steps, SMALLEST), LARGEST)


def best_of_both(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats on both axes, less across and more up, from the left."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not found or point.y > found[-1].y:
            found.append(point)
    return found


def _front(out: list[str], points: list[Point], across: Axis, up: Axis) -> None:
    steps = ""
    for place, point in enumerate(best_of_both(points)):
        x, y = x_of(across, point.x), y_of(up, point.y)
        steps += f"H{x:.1f}V{y:.1f}" if place else f"M{x:.1f} {y:.1f}"
    if "H" in steps:
        pen = f'fill="none" stroke="{COLORS["open"]}" stroke-width="1.5" stroke-opacity=".35"'
        out.append(f'<path d="{steps}" {pen}/>')


def _draw(out: list[str], point: Point, across: Axis, up: Axis) -> None:
    """The intervals as thin lines, the circle, and an arrow for what lies beyond an axis."""
    x, y, color = x_of(across, point.x), y_of(up, point.y), COLORS[point.kind]
    pen = f'stroke="{color}" stroke-opacity=".35"'
    if np.isfinite(point.x_ends).all():
        low, high = (x_of(across, end) for end in point.x_ends)
        out.append(f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" {pen}/>')
    if np.isfinite(point.y_ends).all():
        low, high = (y_of(up, end) for end in point.y_ends)
        out.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" {pen}/>')
    fill = "#fff" if point.kind == "control" else color
    r = radius(point.seconds)
    out.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{fill}" fill-opacity=".75"'
        f' stroke="{color}" stroke-width="1.3"/>'
    )
    if point.kind == "private":
        # Not by colour alone: a private generator's circle has a ring.
        out.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r + 2.5:.1f}" fill="none" stroke="{color}"/>'
        )


def _beyond(point: Point, across: Axis, up: Axis) -> str:
    """Arrows and numbers of what lies beyond an axis, "" where nothing does."""
    words = []
    if not 0 <= across.share(point.x) <= 1:
        words.append(f"{'→' if across.share(point.x) > 1 else '←'} {number(point.x)}")
    if not 0 <= up.share(point.y) <= 1:
        words.append(f"{'↑' if up.share(point.y) > 1 else '↓'} {number(point.y)}")
    return " ".join(words)


def _circle_box(point: Point, across: Axis, up: Axis) -> tuple[float, float, float, float]:
    x, y, r = x_of(across, point.x), y_of(up, point.y), radius(point.seconds)
    return x - r, y - r, x + r, y + r


def _label(out: list[str], point: Point, across: Axis, up: Axis, taken: list[tuple]) -> None:
    """The name where it covers no circle and no other name: the first free one of some places
    around the circle, with a thin line to it where it stands further off.
    """
    words = " ".join(filter(None, [shortened(point.label, 26), _beyond(point, across, up)]))
    width = LETTER * len(words)
    x, y, r = x_of(across, point.x), y_of(up, point.y), radius(point.seconds) + 3
    places = []
    for away in (0.0, 11.0, 22.0, 34.0, 48.0, 64.0):
        for turn in (away, -away):
            places += [(x + r, y + turn), (x - r - width, y + turn)]
    for left, middle in places:
        box = (left, middle - 5, left + width, middle + 5)
        is_inside = box[0] > LEFT and box[2] < WIDTH and box[1] > ABOVE and box[3] < HEIGHT - BELOW
        if is_inside and not any(_overlap(box, other) for other in taken):
            break
    else:
        left, middle = x + r, y
    box = (left, middle - 5, left + width, middle + 5)
    taken.append(box)
    if abs(middle - y) > 8:
        near = left if left > x else left + width
        out.append(f'<path d="M{x:.1f} {y:.1f}L{near:.1f} {middle:.1f}" stroke="{LINE}"/>')
    # A white rim keeps the letters readable where a line crosses them.
    rim = ' stroke="#fff" stroke-width="2.5" paint-order="stroke"'
    out.append(_text(left, middle + 3, words, 8.5, INK, rim))


def _overlap(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _key(out: list[str], points: list[Point]) -> None:
    """What colours and sizes mean, in one line below the figure."""
    x, y = LEFT, HEIGHT - 14.0
    for kind in COLORS:
        if not any(point.kind == kind for point in points):
            continue
        fill = "#fff" if kind == "control" else COLORS[kind]
        pen = f'stroke="{COLORS[kind]}" stroke-width="1.3"'
        out.append(f'<circle cx="{x + 4:.1f}" cy="{y:.1f}" r="4" fill="{fill}" {pen}/>')
        if kind == "private":
            out.append(f'<circle cx="{x + 4:.1f}" cy="{y:.1f}" r="6.5" fill="none" {pen}/>')
        out.append(_text(x + 14, y + 3, WORDS[kind], 8.5, MUTED))
        x += 24 + LETTER * len(WORDS[kind])
    if not any(np.isfinite(point.seconds) for point in points):
        return
    x += 4
    out.append(_text(x, y + 3, "CPU seconds of the fit:", 8.5, MUTED))
    x += LETTER * 22
    for seconds in SECONDS:
        r = radius(seconds)
        pen = f'fill="none" stroke="{MUTED}"'
        out.append(f'<circle cx="{x + r:.1f}" cy="{y:.1f}" r="{r:.1f}" {pen}/>')
        words = digits(seconds, 1 if seconds < 1 else 0)
        out.append(_text(x + 2 * r + 3, y + 3, words, 8.5, MUTED))
        x += 2 * r + 9 + LETTER * len(words)
