"""Noisy counts of columns and of groups of columns, and what may be done with them at no cost:
cells joined into pools, counts made possible, conditional distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.generators.private.domain import Cells
from workbench.generators.private.noise import Noise


@dataclass(frozen=True)
class Pool:
    """States of a column that are counted together.

    group    for each state, the number of its pool, shape (states,)
    share    for each state, its share of that pool, shape (states,)
    """

    group: np.ndarray
    share: np.ndarray

    @property
    def size(self) -> int:
        return int(self.group.max()) + 1

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Counts of the pools, from counts of the states."""
        return np.bincount(self.group, counts, minlength=self.size)

    def spread(self, counts: np.ndarray) -> np.ndarray:
        """Counts of the states along the last axis, from counts of the pools along it."""
        return counts[..., self.group] * self.share


def pool_labels(counts: np.ndarray, allowed: np.ndarray, least: float, most: int) -> Pool:
    """A pool for every label of at least `least` rows, at most `most` of them, the most frequent;
    all others together in the last one, drawn from it alike.
    """
    # Twice: the place of each label in the order of counts.
    ranks = np.argsort(np.argsort(-np.where(allowed, counts, -np.inf), kind="stable"))
    kept = allowed & (counts >= least) & (ranks < most)
    group = np.where(kept, np.cumsum(kept) - 1, kept.sum())
    rest = allowed & ~kept
    share = np.where(rest, 1 / max(rest.sum(), 1), kept * 1.0)
    if not rest.any():  # states that cannot be: they go along with any other, at no share
        group = np.minimum(group, max(kept.sum() - 1, 0))
    return Pool(group, share)


def pool_numbers(counts: np.ndarray, allowed: np.ndarray, most: int, noise: float) -> Pool:
    """Adaptive bins: neighbouring cells together until they hold their share of the rows and drown
    no longer in the noise; a cell that holds as many stays alone, and so does the last state,
    missing.

    The cells' own noisy counts say how often each is drawn. Where many rows pile up in a few cells,
    the others share what is left of the `most` bins: else all gains but zero were one bin.
    """
    # Noisy counts may be negative; the nearest possible ones are not.
    present = project(counts[:-1], max(counts[:-1].sum(), 1.0))
    # A cell that holds a bin's share alone stays alone.
    heavy = present >= present.sum() / most
    least = present[~heavy].sum() / max(most - heavy.sum(), most / 4)
    group, current, held, cells = np.zeros(len(counts), dtype=int), 0, 0.0, 0
    for cell, count in enumerate(present):
        # The noise of a sum of cells grows with the root of their number.
        enough = max(least, 3 * noise * max(cells, 1) ** 0.5)
        if cells and (held >= enough or count >= max(least, 3 * noise)):
            current, held, cells = current + 1, 0.0, 0
        group[cell] = current
        held, cells = held + count, cells + 1
    # The last bin may have stayed too thin: it joins its neighbour.
    if current and held < 3 * noise * cells**0.5:
        group[group == current] = current - 1
        current -= 1
    group[-1] = current + 1 if allowed[-1] else current
    share = conditional_shares(np.append(present, 1.0 * allowed[-1]), group, allowed)
    return Pool(group, share)


@dataclass(frozen=True)
class Columns:
    """Every column's noisy histogram, and the bins that follow from it at no further cost.

    cells      the fine cells that were counted
    pools      for each column, which of them make a bin
    singles    for each column, possible counts of its bins that sum to `rows`
    rows       the number of rows, from noisy counts
    deviation  of the noise on a cell's count
    """

    cells: Cells
    pools: list[Pool]
    singles: list[np.ndarray]
    rows: float
    deviation: float

    @property
    def sizes(self) -> list[int]:
        return [pool.size for pool in self.pools]

    def independent(self, pair: tuple[int, int]) -> np.ndarray:
        """The counts of a pair of columns that know nothing of each other."""
        first, second = pair
        return np.outer(self.singles[first], self.singles[second]) / self.rows

    def bin(self, states: np.ndarray) -> np.ndarray:
        """Bins of fine cells, shape (rows, columns)."""
        binned = [pool.group[states[:, j]] for j, pool in enumerate(self.pools)]
        return np.column_stack(binned)

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A table from bins: a cell of the bin by the noisy histogram, then a value of the cell."""
        states = np.empty(codes.shape, dtype=np.int32)
        for j, pool in enumerate(self.pools):
            cells = np.argsort(pool.group, kind="stable")
            # All bins end to end make one increasing sequence, and one search serves every row.
            sequence = np.cumsum(pool.share[cells])
            # Just below 1: a bin's shares may sum to a little less than one.
            level = codes[:, j] + rng.random(len(codes)) * (1 - 1e-9)
            states[:, j] = cells[np.searchsorted(sequence, level, side="right")]
        return self.cells.decode(states, rng)

    def labels(self, name: str) -> list[str]:
        """A readable name for each bin of a column."""
        j = self.cells.schema.names.index(name)
        named = np.array(self.cells.labels(name), dtype=object)
        shown = []
        for code in range(self.pools[j].size):
            inside = named[(self.pools[j].group == code) & self.cells.allowed[j]]
            shown.append(self._label(inside, self.cells.is_ordered(j)))
        return shown

    @staticmethod
    def _label(inside: np.ndarray, is_ordered: bool) -> str:
        if len(inside) <= 1:
            return str(inside[0]) if len(inside) else "none"
        if is_ordered:
            return f"{inside[0].split(' to ')[0]} to {inside[-1].split(' to ')[-1]}"
        return f"(rare: {len(inside)} levels)"


def measure_columns(
    cells: Cells, states: np.ndarray, deviation: float, bins: int, max_levels: int, noise: Noise
) -> Columns:
    """Noisy counts of every column's cells, and what follows from them: how many rows there are,
    and which cells are counted together from now on.
    """
    noisy = []
    for j, size in enumerate(cells.sizes):
        counts = np.bincount(states[:, j], minlength=size)
        noisy.append(counts + noise.discrete_gaussian(deviation, counts.shape))
    # Every column counts the same rows, so the mean over columns is the least noisy guess.
    totals = [counts[shown].sum() for counts, shown in zip(noisy, cells.allowed, strict=True)]
    rows = max(float(np.mean(totals)), 1.0)

    pools, singles = [], []
    for j, (counts, shown) in enumerate(zip(noisy, cells.allowed, strict=True)):
        if cells.is_ordered(j):
            pool = pool_numbers(counts, shown, bins, deviation)
        else:
            pool = pool_labels(counts, shown, 3 * deviation, max_levels)
        pools.append(pool)
        # Cells that cannot be hold nothing but noise.
        singles.append(project(pool.sums(np.where(shown, counts, 0)), rows))
    return Columns(cells, pools, singles, rows, deviation)


def uncounted(cells: Cells, rows: float) -> Columns:
    """Columns of which nothing was counted: every cell a bin that may be, all as frequent."""
    pools, singles = [], []
    for allowed in cells.allowed:
        group = np.maximum(np.cumsum(allowed) - 1, 0)  # cells that cannot be have no share of it
        pools.append(Pool(group, 1.0 * allowed))
        singles.append(np.full(allowed.sum(), rows / allowed.sum()))
    return Columns(cells, pools, singles, rows, 0.0)


def conditional_shares(counts: np.ndarray, group: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Each allowed state's share of the counts of its group; alike in a group without counts."""
    totals = np.bincount(group, counts * allowed)[group]
    sizes = np.bincount(group, allowed)[group]
    alike = allowed / np.maximum(sizes, 1)
    return np.where(totals > 0, counts * allowed / np.where(totals > 0, totals, 1), alike)


def conditional(counts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Each line's shares; a line without counts has those of all lines together, or any allowed
    state alike.
    """
    # What all lines say together is the best guess for one that says nothing.
    whole = counts.sum(axis=0)
    shares = whole / whole.sum() if whole.sum() > 0 else allowed / allowed.sum()
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), shares)


def shares(counts: np.ndarray) -> np.ndarray:
    """Each line's shares, where every state may be."""
    return conditional(counts, np.ones(counts.shape[1]))


def project(noisy: np.ndarray, total: float) -> np.ndarray:
    """The nearest counts that are not negative and sum to total (Duchi et al. 2008, projection on
    the simplex).
    """
    # The largest entries stay; what is taken from all of them is found by one pass (figure 1 of the
    # paper).
    falling = np.sort(noisy)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(noisy) + 1)
    return np.maximum(noisy - excess[np.flatnonzero(falling > excess)[-1]], 0)


def fit_margins(
    pair: np.ndarray, first: np.ndarray, second: np.ndarray, rounds: int = 50
) -> np.ndarray:
    """The pair's table with these margins, by iterative proportional fitting (Deming and Stephan
    1940).
    """
    # A margin needs a cell to live in.
    pair = pair + 1e-9 * np.outer(first, second) / max(second.sum(), 1)
    for _ in range(rounds):
        # Each pass puts one margin right and disturbs the other less and less.
        for axis, margin in ((1, first), (0, second)):
            sums = pair.sum(axis=axis, keepdims=True)
            scale = np.expand_dims(margin, axis) / np.where(sums > 0, sums, 1)
            pair = pair * np.where(sums > 0, scale, 0)
    return pair


def shrink(noisy: np.ndarray, expected: np.ndarray, deviation: float) -> np.ndarray:
    """What noisy counts say beyond the expected ones, as far as it stands out of the noise
    (empirical Bayes; Efron and Morris 1973).

    A cell's true count is taken to lie about its expectation with a deviation proportional to it.
    The factor is read off the noisy table, so cells that expect many rows follow their counts, and
    those that expect next to none their expectation.
    """
    residual = noisy - expected
    # Weighted least squares for spread^2 in E[residual^2] = spread^2 expected^2 + deviation^2.
    squares = expected**2
    spread = 0.0
    # The weights depend on the spread and the spread on the weights; five rounds settle it.
    for _ in range(5):
        weight = 1 / (spread * squares + deviation**2) ** 2
        top = (weight * squares * (residual**2 - deviation**2)).sum()
        spread = max(top / max((weight * squares**2).sum(), 1e-300), 0.0)
    factor = spread * squares / (spread * squares + deviation**2)
    return np.maximum(expected + factor * residual, 0)
