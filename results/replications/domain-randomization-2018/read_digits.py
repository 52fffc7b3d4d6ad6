"""A plug-in: digits as they are drawn or scanned, whose rows also teach a network to read.

What Tremblay et al. 2018 claim of domain randomization, on scikit-learn's scanned digits. Four in
ten of the scans that it is given are held out, always the same ones; the network never sees them.
The shares of them that are read correctly are told as the fact `measured`:

right          after 400 batches of 20,000 drawn digits, and no scan
right_short    after 150 batches of 10,000 drawn digits: what ablations are held against
right_300      after 150 batches of so many drawn digits; right_1000 and right_3000 likewise
right_20       after so many scans; right_50, right_100 and right_500 likewise

Which of them a cell measures follows from its `arm`. Intervals are of the scans read, by Wilson's
method; they say nothing of other draws or trainings: seeds do.

Run as a script it writes the scans as a table beside this file: 64 pixels of 0 to 16, and the digit;
without the 300 that were looked at when the drawing was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from workbench.errors import InputError, nearest
from workbench.simulators.digit_reader import Reader
from workbench.simulators.digits import Digits
from workbench.tables.schema import Schema

ARMS = ("drawn", "short", "scans", "drawn, then scans", "drawn, then both")
PIXELS = [f"pixel_{place:02d}" for place in range(64)]
HELD_OUT = 0.4  # share of the scans that are only read
DRAWN, STEPS = 20_000, 400
SHORT_DRAWN, SHORT_STEPS = 10_000, 150
FEWER_DRAWN = (300, 1_000, 3_000)
SCANS = (20, 50, 100, 500)
# With so many scans four of them are shown for each drawn digit: enough not to be learnt by heart.
MANY_SCANS = 500
MIXED_DRAWN = 4_000


@dataclass
class ReadDigits:
    """Drawn digits, or the scans once more, and how well a network reads that learned from them."""

    arm: str = "drawn"
    """One of ARMS: what the network learns from. The rows of the arm `scans` are scans, of all
    others drawn digits."""
    left_out: Iterable[str] = ()
    """Components of the drawing that are switched off, by their names in `Digits`."""

    def supports(self, schema: Schema) -> str | None:
        if self.arm not in ARMS:
            raise InputError(f"unknown arm {self.arm!r}; {nearest(self.arm, ARMS)}")
        known = [*Digits.components(), "preprocessing"]
        for name in self.left_out:
            if name not in known:
                raise InputError(f"no component {name!r}; {nearest(name, known)}")
        if schema.names != [*PIXELS, "digit"]:
            raise InputError("this reads the table that read_digits.py writes; run it first.")
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> ReadDigits:
        # The same scans whatever the arm and the seed, so that arms differ by what they learned.
        is_held = np.random.default_rng(0).random(len(table)) < HELD_OUT
        self._schema = schema
        self._drawing = Digits(**dict.fromkeys(self.left_out, 0))
        self._held = images_of(table[is_held])
        self._scans = images_of(table[~is_held])
        self.facts = {"measured": self.measured(rng)}
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        if where:
            raise InputError("digits are not drawn under a condition.")
        if self.arm == "scans":
            scans, digits = self._scans
            again = rng.integers(len(digits), size=n)
            images, digits = scans[again], digits[again]
        else:
            images, digits = self._drawing.images(n, rng)
        return self._schema.cast(table_of(images, digits))

    def measured(self, rng: np.random.Generator) -> list[dict]:
        if self.arm == "short":
            drawn = self._drawing.images(SHORT_DRAWN, rng)
            return [self.reading("right_short", Reader().fit(*drawn, SHORT_STEPS, rng))]
        if self.arm == "scans":
            return self.after_scans(Reader(), None, rng)
        reader = Reader().fit(*self._drawing.images(DRAWN, rng), STEPS, rng)
        if self.arm == "drawn, then scans":
            return self.after_scans(reader, None, rng)
        if self.arm == "drawn, then both":
            return self.after_scans(reader, self._drawing.images(MIXED_DRAWN, rng), rng)
        readings = [self.reading("right", reader)]
        for images in FEWER_DRAWN:
            fewer = Reader().fit(*self._drawing.images(images, rng), SHORT_STEPS, rng)
            readings.append(self.reading(f"right_{images}", fewer))
        return readings

    def after_scans(
        self, reader: Reader, drawn: tuple | None, rng: np.random.Generator
    ) -> list[dict]:
        """The readings of a network that goes on from here with scans, and with drawn digits among
        them if there are any.
        """
        images, digits = self._scans
        order = rng.permutation(len(digits))
        readings = []
        for size in SCANS:
            few = images[order[:size]], digits[order[:size]]
            if drawn is not None:
                repeats = MIXED_DRAWN * (4 if size >= MANY_SCANS else 1)
                often = np.resize(np.arange(size), repeats)
                both = [
                    np.concatenate([own, scans[often]])
                    for own, scans in zip(drawn, few, strict=True)
                ]
                taught = replace(reader).fit(*both, 250, rng, rate=2e-3)
            elif reader.network is None:
                taught = replace(reader).fit(*few, 250, rng)
            else:
                taught = replace(reader).fit(*few, 100, rng, rate=1e-3)
            readings.append(self.reading(f"right_{size}", taught))
        return readings

    def reading(self, metric: str, reader: Reader) -> dict[str, float | str]:
        """The share of the scans held out that are read correctly, with its 95% interval."""
        images, digits = self._held
        share = reader.accuracy(images, digits)
        count = binomtest(round(share * len(digits)), len(digits))
        found = count.proportion_ci(method="wilson")
        low, high = float(found.low), float(found.high)
        return {"metric": metric, "value": float(share), "low": low, "high": high}


def images_of(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Images, shape (rows, 8, 8), values 0 to 16, and their digits."""
    images = table[PIXELS].to_numpy(dtype=float).reshape(-1, 8, 8)
    return images, table["digit"].astype(int).to_numpy()


def table_of(images: np.ndarray, digits: np.ndarray) -> pd.DataFrame:
    """A row an image: its pixels, whole, and its digit as a label."""
    pixels = np.round(images.reshape(len(images), 64)).astype(int)
    table = pd.DataFrame(pixels, columns=PIXELS)
    table["digit"] = digits.astype(str)
    return table


if __name__ == "__main__":
    path = Path(__file__).parent / "digits.csv"
    scanned = load_digits()
    tuned_on = np.random.default_rng(0).choice(898, 300, replace=False)
    others = np.setdiff1d(np.arange(len(scanned.target)), tuned_on)
    table_of(scanned.images[others], scanned.target[others]).to_csv(path, index=False)
    print(path)
