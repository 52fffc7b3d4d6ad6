"""A distribution over columns of few states that comes as close as possible to noisy tables: a
graphical model, exact on its junction tree, fitted by mirror descent.

McKenna, Sheldon and Miklau 2019, "Graphical-model based estimation and inference for differential
privacy" (Private-PGM). Lauritzen and Spiegelhalter 1988 for the tree. Everything here is
post-processing: it reads noisy tables and no row. Steps are whole-array operations of numpy on a
clique's table; what limits speed is the number of cells of all cliques, `JunctionTree.cells`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import networkx as nx
import numpy as np

Subset = tuple[int, ...]  # columns, in increasing order


@dataclass(frozen=True)
class Measurement:
    """Noisy counts of a subset of the columns, one axis a column, and their noise's deviation."""

    columns: Subset
    counts: np.ndarray
    deviation: float


class JunctionTree:
    """Cliques of columns, joined to trees, so that every subset given lies inside a clique.

    sizes      states of each column
    subsets    what must lie inside a clique
    cliques    subsets of the columns, parents before children
    parents    the number of each clique's parent; None for a root
    separators the columns that a clique shares with its parent
    """

    def __init__(self, sizes: Sequence[int], subsets: Sequence[Subset]):
        self.sizes = list(sizes)
        cliques = _eliminated(self.sizes, subsets)
        graph = nx.Graph()
        graph.add_nodes_from(range(len(cliques)))
        # Weighed by the columns they share: that makes the spanning tree below a junction tree.
        for a, b in combinations(range(len(cliques)), 2):
            shared = len(set(cliques[a]) & set(cliques[b]))
            if shared:
                graph.add_edge(a, b, weight=shared)
        # A spanning tree of most shared columns has the running intersection property.
        tree = nx.maximum_spanning_tree(graph)
        self.cliques: list[Subset] = []
        self.parents: list[int | None] = []
        self.separators: list[Subset] = []
        self._homes: dict[Subset, int | None] = {}
        for part in nx.connected_components(tree):
            self._add_part(tree, min(part), cliques)

    @property
    def cells(self) -> int:
        return sum(_cells(self.sizes, clique) for clique in self.cliques)

    def home(self, subset: Subset) -> int | None:
        """The smallest clique that holds all these columns; None where none does."""
        # Asked for again at every step of the descent.
        if subset not in self._homes:
            self._homes[subset] = self._find_home(subset)
        return self._homes[subset]

    def _find_home(self, subset: Subset) -> int | None:
        homes = [i for i, clique in enumerate(self.cliques) if set(subset) <= set(clique)]
        return min(homes, key=lambda i: _cells(self.sizes, self.cliques[i]), default=None)

    def _add_part(self, tree: nx.Graph, root: int, cliques: list[Subset]) -> None:
        number = {root: len(self.cliques)}
        self.cliques.append(cliques[root])
        self.parents.append(None)
        self.separators.append(())
        # Parents before children: messages then run along the list, up backwards and down forwards.
        for parent, child in nx.bfs_edges(tree, root):
            number[child] = len(self.cliques)
            self.cliques.append(cliques[child])
            self.parents.append(number[parent])
            self.separators.append(tuple(sorted(set(cliques[parent]) & set(cliques[child]))))


def _eliminated(sizes: list[int], subsets: Sequence[Subset]) -> list[Subset]:
    """Maximal cliques of a triangulation: columns are taken out one after the other, the one whose
    clique has fewest cells first.
    """
    neighbours: dict[int, set[int]] = {column: set() for column in range(len(sizes))}
    for subset in subsets:
        for column in subset:
            neighbours[column].update(subset)
            neighbours[column].discard(column)
    cells = {column: _cells(sizes, (column, *near)) for column, near in neighbours.items()}
    found: list[set[int]] = []
    # Greedy by the size of the clique: the best order is too dear to find, and this one is good.
    while cells:
        # With the number as a second key, so that the order is the same every time.
        _, column = min(zip(cells.values(), cells, strict=True))
        del cells[column]
        near = neighbours.pop(column)
        clique = {column, *near}
        # A clique inside another adds nothing.
        if not any(clique <= other for other in found):
            found.append(clique)
        # Only the cliques of neighbours have changed: to count all of them again would make this
        # quadratic in columns, and it is called for every subset that may be measured.
        for other in near:
            neighbours[other] |= near
            neighbours[other] -= {other, column}
            cells[other] = _cells(sizes, (other, *neighbours[other]))
    return [tuple(sorted(clique)) for clique in found]


def tree_cells(sizes: Sequence[int], subsets: Sequence[Subset]) -> int:
    """Cells of the junction tree that these subsets need."""
    return sum(_cells(sizes, clique) for clique in _eliminated(list(sizes), subsets))


def _cells(sizes: Sequence[int], columns: Sequence[int]) -> int:
    return math.prod(sizes[column] for column in columns)


class GraphicalModel:
    """The distribution that is proportional to the product of exp(potential) over measured subsets.

    Parameters
    ----------
    tree
        Cliques in which all measured subsets lie.
    potentials
        By subset, an array with an axis a column; a subset that is not there has zeros.
    """

    def __init__(self, tree: JunctionTree, potentials: dict[Subset, np.ndarray]):
        self.tree = tree
        self.potentials = potentials
        self.beliefs = self._propagated(potentials)

    def fit(self, measured: Sequence[Measurement], rows: float, rounds: int) -> None:
        """Mirror descent on the squared distance to the measured counts, each weighed by its noise,
        with steps that are halved until they help (McKenna et al. 2019, algorithm 1).
        """
        for one in measured:
            # A new measurement starts at zero, where it changes nothing.
            self.potentials.setdefault(one.columns, np.zeros(one.counts.shape))
        shares = self._shares(self.beliefs)
        loss, slopes = _loss(shares, measured, rows)
        # A guess at the inverse of the curvature; it is doubled and halved from here on.
        step = 2.0 / max(1.0, rows**2 * sum(one.deviation**-2 for one in measured))
        for _ in range(rounds):
            step *= 2
            for _ in range(40):
                potentials = {
                    subset: potential - step * slopes[subset]
                    for subset, potential in self.potentials.items()
                }
                # Every try needs the marginals of the whole model: this is where the time goes.
                beliefs = self._propagated(potentials)
                new_shares = self._shares(beliefs)
                new_loss, new_slopes = _loss(new_shares, measured, rows)
                expected = 0.0
                for subset, slope in slopes.items():
                    expected += float((slope * (shares[subset] - new_shares[subset])).sum())
                # Armijo's condition: the loss has to fall by half of what the slope promised.
                if loss - new_loss >= 0.5 * expected:
                    break
                step /= 2
            else:
                return  # as near as floating point comes
            self.potentials, self.beliefs, shares = potentials, beliefs, new_shares
            loss, slopes = new_loss, new_slopes

    def marginal(self, subset: Subset) -> np.ndarray:
        """Shares of these columns' joint states, one axis a column in the order given."""
        home = self.tree.home(subset)
        # Most marginals are asked for inside one clique.
        if home is not None:
            return _summed(self.beliefs[home], self.tree.cliques[home], subset)
        factors: list = []
        for clique in self._spanning(subset):
            belief, columns = self.beliefs[clique], self.tree.cliques[clique]
            parent, separator = self.tree.parents[clique], self.tree.separators[clique]
            if parent is not None and separator:
                shared = _summed(belief, columns, separator)
                # Where the separator's share is zero, so is every cell above it.
                shared = np.where(shared > 0, shared, 1)
                belief = belief / _spread(shared, separator, columns)
            # Each clique given its separator: their product is the joint distribution.
            factors += [belief, list(columns)]
        return np.einsum(*factors, list(subset), optimize="greedy")

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """States of n rows, int32, shape (n, columns): clique by clique, given its parent's."""
        states = np.zeros((n, len(self.tree.sizes)), dtype=np.int32)
        for number, clique in enumerate(self.tree.cliques):
            given = self.tree.separators[number]
            # What the parent's clique has drawn already is given.
            new = tuple(column for column in clique if column not in given)
            order = [clique.index(column) for column in (*given, *new)]
            lines = math.prod(self.tree.sizes[column] for column in given)
            table = self.beliefs[number].transpose(order).reshape(lines, -1)
            line = np.zeros(n, dtype=np.int64)
            for column in given:
                line = line * self.tree.sizes[column] + states[:, column]
            cell = _draw_cells(table, line, rng)
            # A cell's number is taken apart again, the last column counting fastest.
            for column in reversed(new):
                states[:, column] = cell % self.tree.sizes[column]
                cell = cell // self.tree.sizes[column]
        return states

    def _propagated(self, potentials: dict[Subset, np.ndarray]) -> list[np.ndarray]:
        """Every clique's joint shares: messages from the leaves to the roots and back."""
        tree = self.tree
        # In logarithms, because products of many small shares would underflow.
        logs = []
        for clique in tree.cliques:
            sizes = [tree.sizes[column] for column in clique]
            logs.append(np.zeros(sizes))
        for subset, potential in potentials.items():
            home = tree.home(subset)
            logs[home] += _spread(potential, subset, tree.cliques[home])
        # Up, in logarithms: what is left of a clique is its shares given its separator.
        for child in range(len(logs) - 1, -1, -1):
            parent, separator = tree.parents[child], tree.separators[child]
            message = _log_summed(logs[child], tree.cliques[child], separator)
            logs[child] = logs[child] - _spread(message, separator, tree.cliques[child])
            if parent is not None:
                logs[parent] = logs[parent] + _spread(message, separator, tree.cliques[parent])
        # Down: times the separator's shares in the parent.
        beliefs: list[np.ndarray] = []
        for child, log in enumerate(logs):
            belief, parent = np.exp(log), tree.parents[child]
            if parent is not None:
                separator = tree.separators[child]
                shared = _summed(beliefs[parent], tree.cliques[parent], separator)
                belief *= _spread(shared, separator, tree.cliques[child])
            beliefs.append(belief)
        return beliefs

    def _shares(self, beliefs: list[np.ndarray]) -> dict[Subset, np.ndarray]:
        shares = {}
        for subset in self.potentials:
            home = self.tree.home(subset)
            shares[subset] = _summed(beliefs[home], self.tree.cliques[home], subset)
        return shares

    def _spanning(self, subset: Subset) -> list[int]:
        """The cliques that are needed to join these columns, with each part's root."""
        needed: set[int] = set()
        for column in subset:
            clique = self.tree.home((column,))
            while clique is not None:
                needed.add(clique)
                clique = self.tree.parents[clique]
        return sorted(needed)


def _loss(
    shares: dict[Subset, np.ndarray], measured: Sequence[Measurement], rows: float
) -> tuple[float, dict[Subset, np.ndarray]]:
    """Half the squared distance to the measured counts in units of their noise, and its slopes by
    each subset's shares.
    """
    loss, slopes = 0.0, {subset: np.zeros_like(share) for subset, share in shares.items()}
    for one in measured:
        missed = rows * shares[one.columns] - one.counts
        loss += float((missed**2).sum()) / 2 / one.deviation**2
        slopes[one.columns] += rows * missed / one.deviation**2
    return loss, slopes


def _spread(table: np.ndarray, columns: Subset, clique: Subset) -> np.ndarray:
    """The table with an axis of length 1 for every column of the clique that it lacks."""
    missing = tuple(axis for axis, column in enumerate(clique) if column not in columns)
    return np.expand_dims(table, missing)


def _summed(table: np.ndarray, clique: Subset, columns: Subset) -> np.ndarray:
    missing = tuple(axis for axis, column in enumerate(clique) if column not in columns)
    return table.sum(axis=missing)


def _log_summed(table: np.ndarray, clique: Subset, columns: Subset) -> np.ndarray:
    missing = tuple(axis for axis, column in enumerate(clique) if column not in columns)
    # Taken out first: exp of large numbers would overflow.
    largest = table.max(axis=missing, keepdims=True)
    return np.log(np.exp(table - largest).sum(axis=missing)) + largest.squeeze(missing)


def _draw_cells(table: np.ndarray, line: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One cell a row from its line of the table, by inversion, shape (rows,)."""
    totals = table.sum(axis=1, keepdims=True)
    # A line without any share is never drawn from, and must not be NaN.
    shares = np.where(totals > 0, table / np.where(totals > 0, totals, 1), 1 / table.shape[1])
    sequence = (np.cumsum(shares, axis=1) + np.arange(len(shares))[:, None]).ravel()
    # All lines end to end make one increasing sequence, and one search serves every row.
    level = line + rng.random(len(line)) * (1 - 1e-9)
    return np.searchsorted(sequence, level, side="right") - line * table.shape[1]
