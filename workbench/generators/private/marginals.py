"""Noisy counts of columns and of groups of columns, and what may be done with them at no cost:
cells joined into pools, counts made possible, conditional distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
    ranks = np.argsort(np.argsort(-np.where(allowed, counts, -np.inf), kind="stable"))
    kept = allowed & (counts >= least) & (ranks < most)
    group = np.where(kept, np.cumsum(kept) - 1, kept.sum())
    rest = allowed & ~kept
    share = np.where(rest, 1 / max(rest.sum(), 1), kept * 1.0)
    if not rest.any():  # states that cannot be: they go along with any other, at no share
        group = np.minimum(group, max(kept.sum() - 1, 0))
    return Pool(group, share)


def pool_numbers(counts: np.ndarray, allowed: np.ndarray, least: float, noise: float) -> Pool:
    """Neighbouring cells together until they hold `least` rows and drown no longer in the noise; a
    cell that holds as many stays alone, and so does the last state, missing.

    The cells' own noisy counts say how often each is drawn.
    """
    present = project(counts[:-1], max(counts[:-1].sum(), 1.0))
    group, current, held, cells = np.zeros(len(counts), dtype=int), 0, 0.0, 0
    for cell, count in enumerate(present):
        enough = max(least, 3 * noise * max(cells, 1) ** 0.5)
        if cells and (held >= enough or count >= max(least, 3 * noise)):
            current, held, cells = current + 1, 0.0, 0
        group[cell] = current
        held, cells = held + count, cells + 1
    if current and held < 3 * noise * cells**0.5:
        group[group == current] = current - 1
        current -= 1
    group[-1] = current + 1 if allowed[-1] else current
    share = conditional_shares(np.append(present, 1.0 * allowed[-1]), group, allowed)
    return Pool(group, share)


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
    whole = counts.sum(axis=0)
    shares = whole / whole.sum() if whole.sum() > 0 else allowed / allowed.sum()
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), shares)


def project(noisy: np.ndarray, total: float) -> np.ndarray:
    """The nearest counts that are not negative and sum to total (Duchi et al. 2008, projection on
    the simplex).
    """
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
        for axis, margin in ((1, first), (0, second)):
            sums = pair.sum(axis=axis, keepdims=True)
            scale = np.expand_dims(margin, axis) / np.where(sums > 0, sums, 1)
            pair = pair * np.where(sums > 0, scale, 0)
    return pair
