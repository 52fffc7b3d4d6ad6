"""Handwritten digits drawn from strokes, with everything randomized that a pen, a hand and a
scanner may change.

Domain randomization (Tobin et al. 2017, arXiv:1703.06907; Tremblay et al. 2018, arXiv:1804.06516):
what is not known of the real world is varied so widely that reality is one more variation. The rest
is done exactly as it was done to the real digits of UCI (Alpaydin and Kaynak 1998), because there
it is known: NIST's public form-reading system (Garris et al. 1994, NISTIR 5469) stretches the ink
to a box of 20 x 32 pixels in a 32 x 32 bitmap, erodes thick digits and dilates thin ones, and
shears the digit upright; then the black pixels of each 4 x 4 block are counted, which gives 8 x 8
integers 0..16.

What it cannot draw: ways of writing a digit that are not in `STROKES`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.simulators import Prior

SIDE, BOX, NODES = 32, 20, 72
PIXELS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
# Ways to write each digit, a line each: strokes of control points "x,y" in hundredths of the height
# (y down), which a smooth curve passes through; it has a corner at those marked "!", and the pen
# leaves the paper at "/".
STROKES = """
0: 30,0 8,15 0,50 10,88 30,100 50,86 60,50 50,14 30,0
0: 38,0 12,12 0,52 12,90 32,100 52,84 58,45 46,10 24,6
0: 10,14 0,50 10,88 30,100 50,86 60,50 46,8 22,0 4,22
1: 0,38 16,24 32,0! 32,50 32,100
1: 18,0 18,50 18,100
1: 0,52 16,34 28,0! 28,50 24,100
1: 4,26 26,0! 26,50 26,100! / 2,100 26,100 50,100
1: 0,34 24,0! 22,50 18,100! 56,98
2: 2,24 8,6 26,0 44,8 44,28 28,62 0,100! 30,97 64,97
2: 2,20 16,2 38,2 48,18 38,48 20,78 4,92 2,80 14,78 34,94 62,96
2: 0,14 20,0 42,8 42,30 24,60 0,96! 30,92 62,100
2: 6,16 26,0 42,14 38,40 26,66 8,96 4,82 24,82 44,98 70,92
3: 2,10 26,0 52,12 48,36 20,46! 48,54 60,76 40,98 16,100 0,90
3: 0,14 24,0 48,10 44,34 22,46 46,54 56,78 34,100 0,92
3: 2,2 30,2 56,2! 24,42! 52,54 58,80 34,100 0,92
4: 28,0 14,26 0,58! 30,60 60,56 / 44,32 42,66 38,100
4: 46,0 22,32 0,66! 30,66 64,66 / 46,0 46,50 46,100
4: 10,0 4,28 4,50! 30,54 62,46 / 52,0 46,50 40,100
4: 30,0 10,30 0,56 14,60 36,54 54,32! 48,66 40,100
5: 58,2 30,2 8,2! 7,22 5,42! 26,36 48,50 48,76 28,98 0,94
5: 10,0 8,22 6,44! 30,38 52,54 52,80 30,100 0,92 / 10,2 34,4 64,0
5: 58,0 24,4 10,14 8,36 28,46 48,60 44,88 24,100 0,94
5: 64,0 36,4 12,6! 6,38! 24,42 42,56 40,82 22,98 0,92
6: 40,0 16,22 2,56 6,86 28,100 50,90 54,70 38,56 16,62 4,82
6: 26,0 8,26 0,62 8,92 30,100 54,88 56,66 36,54 12,64 4,80
6: 48,2 22,12 4,46 4,82 26,100 50,92 56,72 40,56 18,64 6,80
7: 0,4 28,4 58,0! 42,36 28,66 20,100
7: 0,6 28,6 60,0! 40,44 20,100 / 10,52 32,48 56,46
7: 0,18 4,2! 30,6 58,2! 40,44 24,100 / 12,52 32,50 54,46
7: 0,22 6,4 28,8 56,4! 46,30 30,60 22,100
8: 52,12 28,0 6,14 14,38 38,54 52,76 34,98 10,92 4,72 24,52 48,32 52,12
8: 28,0 8,12 10,34 28,46 46,34 48,12 28,0 / 28,46 4,62 4,88 28,100 52,88 52,62 28,46
8: 50,18 30,0 10,12 16,36 40,58 46,84 26,100 6,84 16,58 46,34 56,4
9: 52,16 30,0 6,12 4,36 24,48 46,38 52,14! 52,50 46,100
9: 52,18 32,0 8,10 2,34 22,50 46,38 52,18! 56,56 48,88 24,100 2,90
9: 50,14 26,0 4,16 8,42 34,46 50,20 54,56 42,92 16,100 0,88
9: 48,20 28,0 4,14 8,40 30,46 50,24! 48,60 34,100
"""


@dataclass(frozen=True)
class Digits:
    """What is randomized, and how far: at 0 a component is switched off, and is the same in every
    image, or absent.

    Heights are those of the digit as it was written.
    """

    variants: float = 1.0
    """Share of digits written in any way of `STROKES`; the others are written in the first. 0..1"""
    shape: float = 0.045
    """Standard deviation of each control point, in heights"""
    slant: float = 0.35
    """Largest horizontal shear either way, in heights of x for one of y"""
    aspect: float = 0.3
    """Largest logarithm of the factor on the width, either way"""
    rotation: float = 8.0
    """Largest rotation either way, in degrees"""
    misfit: float = 0.02
    """Standard deviation of each edge of the box around the ink, in widths or heights of the box"""
    thickness: float = 0.5
    """Largest logarithm of the factor on the pen's half width of 0.06 heights, either way"""
    pressure: float = 0.25
    """Standard deviation of the logarithm of the ink along the strokes"""
    blur: float = 0.03
    """Largest standard deviation of the scanner's blur, in heights"""
    light: float = 0.3
    """Largest relative change, either way, of the level that counts as black: of its mean, and from
    the middle to an edge
    """
    texture: float = 0.2
    """Standard deviation of the ink's relative unevenness, which is about 4 pixels wide"""
    noise: float = 0.1
    """Standard deviation of each pixel, as a share of full ink"""
    distractors: float = 0.1
    """Probability of a stray stroke that begins at the box's edge, as the end of a neighbouring
    digit does. 0..1
    """
    preprocessing: bool = True
    """NIST's steps; without them a digit fills the height, keeps its proportions and its thickness,
    and leans as written
    """

    columns: ClassVar = dict.fromkeys(PIXELS, "integer") | {"digit": "categorical"}
    priors: ClassVar[dict[str, Prior]]

    def __post_init__(self):
        for name in self.components():
            value, most = getattr(self, name), self.most(name)
            if not 0 <= value <= most:
                raise InputError(
                    f"{name} is {value}; give a number from 0 {'up' if most == np.inf else 'to 1'}."
                )

    @classmethod
    def components(cls) -> list[str]:
        """The names of what is randomized."""
        return [field.name for field in fields(cls) if field.name != "preprocessing"]

    @staticmethod
    def most(component: str) -> float:
        return 1.0 if component in ("variants", "distractors") else np.inf

    def simulate(self, n: int, rng: np.random.Generator, **parameters: float) -> pd.DataFrame:
        """A table of n digits: 64 integers pixel_ROW_COLUMN, 0..16, and the category `digit`, "0"
        to "9".
        """
        settings: dict[str, Any] = dict(parameters)
        images, digits = replace(self, **settings).images(n, rng)
        return pd.DataFrame(images.reshape(n, 64), columns=PIXELS).assign(
            digit=digits.astype(str).astype(object)
        )

    def images(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Images, shape (n, 8, 8), integers 0..16, and their digits, shape (n,), uniform over 0..9."""
        digits = rng.integers(10, size=n)
        starts = range(0, n, 256)  # what 256 digits need fits into a processor's cache
        parts = [self.bitmaps(digits[i : i + 256], rng) for i in starts]
        if self.preprocessing:
            parts = [upright(even_out(part)) for part in parts]
        return (
            np.concatenate([np.zeros((0, 8, 8), dtype=np.int64), *map(count_blocks, parts)]),
            digits,
        )

    def bitmaps(self, digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Black pixels, shape (n, 32, 32), of digits as written and scanned, stretched to the box
        or in proportion.
        """
        x, y, down = self._written(digits, rng)
        x, y = self._posed(x, y, rng)
        half = 0.06 * np.exp(rng.uniform(-self.thickness, self.thickness, (len(digits), 1)))
        return self._scanned(self._inked(x, y, down, half, rng), rng)

    def _posed(self, x, y, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        spreads = (self.slant, np.radians(self.rotation), self.aspect)
        slant, turn, widen = (rng.uniform(-most, most, (len(x), 1)) for most in spreads)
        x, y = (x - 0.3) * np.exp(widen) - slant * (y - 0.5), y - 0.5
        return x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)

    def _inked(self, x, y, down, half, rng: np.random.Generator) -> np.ndarray:
        """Ink on each pixel of the box, 1 in the middle of a stroke, shape (n, 32, 32).

        A stroke is a row of Gaussian dots, whose sum is a product of matrices; half of a line's ink
        is left at `half`.
        """
        n, pen = len(x), half / np.sqrt(2 * np.log(2))
        spread = np.hypot(pen, self.blur * rng.random((n, 1)))
        left, right = self._edges(x, half, rng)
        top, bottom = self._edges(y, half, rng)
        if not self.preprocessing:
            middle, width = (left + right) / 2, (bottom - top) * BOX / SIDE
            left, right = middle - width / 2, middle + width / 2
        before, after = (
            np.pad(down, ((0, 0), (1, 1)))[:, :-2],
            np.pad(down, ((0, 0), (1, 1)))[:, 2:],
        )
        # Where a stroke begins and ends: a dot's ink there makes the end round.
        rests = down * (2.0 - before - after)
        ink = np.hypot(np.diff(x), np.diff(y)) * down + 1.9 * pen * rests
        ink *= np.exp(self.pressure * rng.standard_normal((n, 6)) @ _between(6, NODES - 1).T)
        across, along, drawn = self._stray(n, rng)
        x = np.hstack([(x[:, 1:] + x[:, :-1]) / 2, left + (right - left) * across])
        y = np.hstack([(y[:, 1:] + y[:, :-1]) / 2, top + (bottom - top) * along])
        ink = np.hstack([ink, drawn]) * pen / (spread**2 * np.sqrt(2 * np.pi))
        columns = _dots(
            left + (right - left) * (np.arange(SIDE) - (SIDE - BOX) / 2 + 0.5) / BOX, x, spread
        )
        rows = _dots(top + (bottom - top) * (np.arange(SIDE) + 0.5) / SIDE, y, spread)
        return (rows * ink.astype(np.float32)[:, None]) @ columns.transpose(0, 2, 1)

    def _scanned(self, ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which pixels are black: those with half of the full ink, more or less."""
        n, patches = len(ink), _between(8, SIDE).astype(np.float32)
        ink = ink * (
            1
            + self.texture
            * (patches @ rng.standard_normal((n, 8, 8), dtype=np.float32) @ patches.T)
        )
        ink += self.noise * rng.standard_normal(ink.shape, dtype=np.float32)
        light, slope_x, slope_y = rng.uniform(-self.light, self.light, (3, n, 1, 1)).astype(
            np.float32
        )
        line = np.linspace(-1, 1, SIDE, dtype=np.float32)
        black = ink > 0.5 * (1 + light + slope_x * line + slope_y * line[:, None])
        if self.preprocessing:
            black[:, :, : (SIDE - BOX) // 2] = black[:, :, (SIDE + BOX) // 2 :] = False
        return black

    def _written(
        self, digits: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the strokes, x and y of shape (n, NODES), and whether the pen is down between
        two, (n, NODES - 1).
        """
        points, down = (
            np.empty((len(digits), NODES, 2)),
            np.empty((len(digits), NODES - 1), dtype=bool),
        )
        chosen = rng.random(len(digits)) * (rng.random(len(digits)) < self.variants)
        for digit, ways in _ways().items():
            for number, (basis, controls, pen) in enumerate(ways):
                here = np.flatnonzero(
                    (digits == digit) & ((chosen * len(ways)).astype(int) == number)
                )
                moved = controls + self.shape * rng.standard_normal((len(here), *controls.shape))
                points[here], down[here] = basis @ moved, pen
        return points[..., 0], points[..., 1], down

    def _edges(
        self, at: np.ndarray, half: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """Both ends of the ink along one axis, shape (n, 1) each, misjudged a little."""
        low, high = at.min(axis=1, keepdims=True) - half, at.max(axis=1, keepdims=True) + half
        miss = self.misfit * (high - low) * rng.standard_normal((2, len(at), 1))
        return low + miss[0], high + miss[1]

    def _stray(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Dots of a straight stroke from the box's edge, in any direction: x, y (in widths and
        heights of it), ink.
        """
        side, place = rng.integers(4, size=(n, 1)), rng.random((n, 1))
        start = np.where(side < 2, side, place), np.where(side < 2, place, side - 2)
        angle, length = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(0.1, 0.4, (n, 1))
        steps = np.linspace(0, 1, 12) * length
        drawn = (rng.random((n, 1)) < self.distractors) * length / 12
        return (
            start[0] + np.cos(angle) * steps,
            start[1] + np.sin(angle) * steps,
            np.repeat(drawn, 12, axis=1),
        )


# Everything is randomized and nothing calibrated: a table's spreads are drawn up to twice as wide
# as the defaults.
Digits.priors = {
    name: Prior(0, min(2 * getattr(Digits, name), Digits.most(name)), calibrated=False)
    for name in Digits.components()
}


def even_out(black: np.ndarray) -> np.ndarray:
    """Bitmaps, shape (n, 32, 32), thinned or thickened by one or two pixels where they have many or
    few black ones (NIST).
    """
    black, count, thin, thicken = (
        black.copy(),
        black.sum(axis=(1, 2)),
        np.logical_and,
        np.logical_or,
    )
    for chosen, change in (
        (count > 412, thin),
        (count > 560, thin),
        (count < 256, thicken),
        (count < 108, thicken),
    ):
        wide = np.pad(black[chosen], ((0, 0), (1, 1), (1, 1)))
        neighbours = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
        black[chosen] = change.reduce([black[chosen], *neighbours])
    return black


def upright(black: np.ndarray) -> np.ndarray:
    """Bitmaps with their rows shifted so that the leftmost pixels of two rows, near the top and the
    bottom, meet (NIST).
    """
    rows = np.asarray(black.any(axis=2))
    all_of = np.arange(len(black))
    top = np.minimum(rows.argmax(axis=1) + 2, SIDE - 1)
    bottom = np.maximum(SIDE - 3 - rows[:, ::-1].argmax(axis=1), 0)
    known = black[all_of, top].any(axis=1) & black[all_of, bottom].any(axis=1) & (bottom > top + 1)
    lean = black[all_of, top].argmax(axis=1) - black[all_of, bottom].argmax(axis=1)
    factor = np.where(known, lean / np.maximum(bottom - top, 1), 0.0)
    shift = np.rint((np.arange(SIDE) - SIDE // 2) * factor[:, None]).astype(int)
    source = np.arange(SIDE) - shift[..., None]
    return (
        np.take_along_axis(black, source.clip(0, SIDE - 1), axis=2)
        & (source >= 0)
        & (source < SIDE)
    )


def count_blocks(black: np.ndarray) -> np.ndarray:
    """Black pixels in each block of 4 x 4, shape (n, 8, 8), integers 0..16 (UCI)."""
    return black.reshape(-1, 8, 4, 8, 4).sum(axis=(2, 4))


def _dots(at: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Gaussian heights of dots, shape (n, points, dots)."""
    distance = ((at[:, :, None] - middle[:, None]) / spread[:, None]).astype(np.float32)
    return np.exp(-0.5 * distance**2)


@cache
def _between(knots: int, points: int) -> np.ndarray:
    """The matrix, shape (points, knots), of linear interpolation from evenly spaced knots to evenly
    spaced points.
    """
    return np.stack(
        [
            np.interp(np.linspace(0, knots - 1, points), range(knots), unit)
            for unit in np.eye(knots)
        ],
        axis=1,
    )


@cache
def _ways() -> dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Of each way of writing: the basis (NODES, controls), the controls (controls, 2), where the
    pen is down (NODES - 1).
    """
    lines = STROKES.strip().splitlines()
    ways = {}
    for digit in range(10):
        written = [line[3:] for line in lines if line.startswith(f"{digit}: ")]
        ways[digit] = [_way(strokes) for strokes in written]
    return ways


def _way(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cubic Hermite spline (Catmull-Rom tangents; none at corners) through the controls, linear
    in them.
    """
    names: list[str] = []
    span_list: list[int] = []
    begin_list: list[int] = []  # of each span: where its stroke begins
    for stroke in text.split("/"):
        points = stroke.split()
        begin_list += [len(names)] * (len(points) - 1)
        span_list += range(len(names), len(names) + len(points) - 1)
        names += points
    spans = np.array(span_list)
    begins = np.array(begin_list)
    controls = np.array([name.rstrip("!").split(",") for name in names], dtype=float) / 100
    unit, tangents = np.eye(len(names)), np.zeros((len(names), len(names)))
    for span, begin in zip(spans, begins, strict=True):
        # Half the way from the control before to the one after; an end has only one neighbour.
        tangents[span] += (unit[span + 1] - unit[span]) / (1 if span == begin else 2)
        tangents[span + 1] += (unit[span + 1] - unit[span]) / (2 if span + 1 in spans else 1)
    tangents[[name.endswith("!") for name in names]] = 0
    lengths = np.linalg.norm(controls[spans + 1] - controls[spans], axis=1)
    ends = np.cumsum(lengths)
    steps = np.linspace(0, ends[-1], NODES)
    of = np.searchsorted(ends[:-1], steps, side="right")
    at, t = spans[of], (1 - (ends[of] - steps) / lengths[of])[:, None]
    basis = (2 * t**3 - 3 * t**2 + 1) * unit[at] + (t**3 - 2 * t**2 + t) * tangents[at]
    basis += (3 * t**2 - 2 * t**3) * unit[at + 1] + (t**3 - t**2) * tangents[at + 1]
    return basis, controls, np.diff(begins[of]) == 0
