"""The noise of private generators: drawn from the operating system's entropy, and exact where it
goes on counts.

A seed that somebody knows takes all noise away again, so the noise has no part in the caller's
random generator. Counts get integer noise sampled without any rounding, from whole numbers alone
(Canonne, Kamath and Steinke 2020, "The discrete Gaussian for differential privacy", algorithms 1 to
3), because the last bits of floating-point noise may betray what they were added to (Mironov 2012,
"On significance of the least significant bits for differential privacy").
"""

from __future__ import annotations

import math
import os

import numpy as np

# Whole numbers up to here are handled by numpy; larger ones by Python, slowly and as exactly.
_LARGEST = 2**55
_LARGEST_DEVIATION = 4096.0


class Noise:
    """Random numbers that nobody can repeat; with a seed, for tests and teaching, that everybody
    can.

    Parameters
    ----------
    seed
        None for the operating system's entropy. Any number makes the noise repeatable, and so no
        protection at all.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed
        self._stream = None if seed is None else np.random.default_rng(seed)

    def words(self, count: int) -> np.ndarray:
        """Independent uniform 64-bit whole numbers, uint64, shape (count,)."""
        if self._stream is None:
            # Through a bytearray, so that single words may be drawn again in place.
            return np.frombuffer(bytearray(os.urandom(8 * count)), dtype=np.uint64)
        return self._stream.bit_generator.random_raw(count)

    # Exact noise, for counts and for choices

    def discrete_gaussian(self, deviation: float, shape: tuple[int, ...]) -> np.ndarray:
        """Whole numbers x with a chance proportional to exp(-x^2 / (2 deviation^2)).

        On counts that one row moves by one, it costs rho = 1 / (2 deviation^2) of concentrated
        privacy, as the continuous Gaussian does. The variance is rounded up to a fraction.
        """
        count = math.prod(shape)
        # The variance as top / bottom, with about 22 binary digits: squares of it must fit.
        digits = int(np.clip(22 - math.log2(max(deviation, 1e-6) ** 2), 0, 22))
        bottom = 2**digits
        top = max(math.ceil(deviation**2 * bottom), 1)
        # The geometric proposal has about the Gaussian's width, so that most draws are kept.
        scale = math.isqrt(top // bottom) + 1
        kind = np.int64 if deviation <= _LARGEST_DEVIATION else object
        drawn, left = np.zeros(count, dtype=kind), np.arange(count)
        while len(left):
            # A wider two-sided geometric draw is kept by the ratio of both chances.
            proposal = self._two_sided(scale, 1, len(left)).astype(kind)
            # In whole numbers throughout: no float takes part in whether a draw is kept.
            excess = np.abs(proposal) * (bottom * scale) - top
            divisor = np.full(len(left), 2 * top * bottom * scale**2, dtype=kind)
            kept = self.happens(excess * excess, divisor)
            drawn[left[kept]] = proposal[kept]
            left = left[~kept]
        return drawn.astype(float).reshape(shape)

    def discrete_laplace(self, scale: float, shape: tuple[int, ...]) -> np.ndarray:
        """Whole numbers x with a chance proportional to exp(-|x| / scale), scale rounded up."""
        bottom = 2**20
        # Rounded up: a little more noise than was paid for, never less.
        top = max(math.ceil(scale * bottom), 1)
        return self._two_sided(top, bottom, math.prod(shape)).astype(float).reshape(shape)

    def choice(self, scores: np.ndarray, spread: float, epsilon: float) -> int:
        """One index, with a chance proportional to exp(epsilon score / (2 spread)): the exponential
        mechanism (McSherry and Talwar 2007), for scores that one row moves by at most `spread`.

        Scores are cut to a grid, by which one row may move them a step further; epsilon is lowered
        to pay for that.
        """
        steps = 2**12
        # Whole steps, so that the chances below can be drawn exactly.
        units = np.floor(np.asarray(scores, dtype=float) / spread * steps)
        gaps = [int(gap) for gap in units.max() - units]
        rate = int(epsilon / (2 * (1 + 1 / steps)) / steps * 2**24)
        tops = np.array([gap * rate for gap in gaps], dtype=object)
        # Python's long numbers are exact beyond any size, and slow: only where they are needed.
        if max(tops) < _LARGEST:
            tops = tops.astype(np.int64)
        while True:
            # Candidates at random, each kept by its chance relative to the best one's.
            tried = self.below(np.full(2 * len(tops), len(tops), dtype=np.int64))
            kept = self.happens(tops[tried], np.full(len(tried), 2**24, dtype=tops.dtype))
            if kept.any():
                return int(tried[np.argmax(kept)])

    def subset(self, rows: int, chance: float) -> np.ndarray:
        """The numbers of the rows that are drawn, each with this chance (Poisson sampling)."""
        if chance >= 1:
            return np.arange(rows)
        return np.flatnonzero(self.words(rows) < np.uint64(int(chance * 2**64)))

    def happens(self, tops: np.ndarray, bottoms: np.ndarray) -> np.ndarray:
        """Whether each of independent events of chance exp(-top / bottom) happens, bool, exactly."""
        # exp(-a - b) is the chance that a events of chance 1/e and one of exp(-b) all happen.
        whole, rest = tops // bottoms, tops % bottoms
        happened = self._exp_of_a_fraction(rest, bottoms)
        left = np.flatnonzero(happened & (whole > 0))
        while len(left):
            one = np.ones(len(left), dtype=np.int64)
            again = self._exp_of_a_fraction(one, one)
            happened[left[~again]] = False
            whole[left] -= 1
            left = left[again]
            left = left[whole[left] > 0]
        return happened

    def below(self, limits: np.ndarray) -> np.ndarray:
        """Uniform whole numbers from 0 to each limit less one."""
        if limits.dtype == object:
            return np.array([self._long_below(int(limit)) for limit in limits], dtype=object)
        most = limits.astype(np.uint64)
        words = self.words(len(most))
        # 2^64 is no multiple of most limits: the last, incomplete multiple is drawn again. It is
        # shorter than the limit, so for small limits next to no word can lie in it.
        if np.count_nonzero(words > ~most):
            last = ~((~most + np.uint64(1)) % most)
            unfair = words > last
            while unfair.any():
                words[unfair] = self.words(int(unfair.sum()))
                unfair = words > last
        return (words % most).astype(np.int64)

    # Noise in floating point, for what is no count

    def normal(self, scale: float, size) -> np.ndarray:
        """Gaussian noise in double precision (Box and Muller 1958)."""
        shape = (size,) if isinstance(size, int) else tuple(size)
        count = math.prod(shape)
        half = (count + 1) // 2
        # Two normal numbers from two uniform ones; never the logarithm of zero.
        radius = np.sqrt(-2 * np.log(self._open_unit(half)))
        angle = 2 * np.pi * self._open_unit(half)
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return scale * both[:count].reshape(shape)

    def laplace(self, scale: float, size: int) -> np.ndarray:
        """Laplace noise in double precision."""
        sign = np.where(self.words(size) >> np.uint64(63), 1.0, -1.0)
        return -scale * sign * np.log(self._open_unit(size))

    def _open_unit(self, count: int) -> np.ndarray:
        """Uniform numbers above 0 and up to 1."""
        # 53 bits are what a double holds; one is added so that zero cannot come.
        return ((self.words(count) >> np.uint64(11)) + 1.0) * 2.0**-53

    def _exp_of_a_fraction(self, tops: np.ndarray, bottoms: np.ndarray) -> np.ndarray:
        """Events of chance exp(-top / bottom) for 0 <= top <= bottom: algorithm 1 of the paper."""
        happened, left, turn = np.ones(len(tops), dtype=bool), np.arange(len(tops)), 1
        while len(left):
            # The chance to go on in turn k is top / (k bottom): the terms of the exponential's
            # series.
            goes_on = np.asarray(self.below(bottoms * turn) < tops, dtype=bool)
            left, tops, bottoms = left[goes_on], tops[goes_on], bottoms[goes_on]
            # It happens where the last turn was an odd one.
            happened[left] = turn % 2 == 0
            turn += 1
        return happened

    def _two_sided(self, top: int, bottom: int, count: int) -> np.ndarray:
        """Whole numbers x with a chance proportional to exp(-|x| bottom / top): algorithm 2."""
        kind = np.int64 if top < _LARGEST else object
        drawn, left = np.zeros(count, dtype=kind), np.arange(count)
        while len(left):
            limits = np.full(len(left), top, dtype=kind)
            # The part below one scale, by rejection; the number of whole scales is geometric.
            low = self.below(limits)
            kept = self.happens(low, limits)
            size = (low + top * self._successes(len(left)).astype(kind)) // bottom
            negative = self.below(np.full(len(left), 2, dtype=np.int64)) == 1
            # Zero would be counted twice, once with each sign.
            kept &= ~(negative & (size == 0)).astype(bool)
            drawn[left[kept]] = np.where(negative, -size, size)[kept]
            left = left[~kept]
        return drawn

    def _successes(self, count: int) -> np.ndarray:
        """How many events of chance 1 / e happen before the first that does not."""
        successes, left = np.zeros(count, dtype=np.int64), np.arange(count)
        while len(left):
            one = np.ones(len(left), dtype=np.int64)
            left = left[self._exp_of_a_fraction(one, one)]
            successes[left] += 1
        return successes

    def _long_below(self, limit: int) -> int:
        """A uniform whole number below a limit of any length."""
        # Too large a draw is thrown away: taking it modulo the limit would favour small numbers.
        bits = limit.bit_length()
        while True:
            words = self.words((bits + 63) // 64)
            drawn = int.from_bytes(words.tobytes(), "little") & ((1 << bits) - 1)
            if drawn < limit:
                return drawn
