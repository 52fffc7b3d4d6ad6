"""MST: noisy marginals of every column and of the pairs along a tree, chosen privately, and a tree
network that fits them.

McKenna, Miklau and Sheldon 2021 (Journal of Privacy and Confidentiality 11:3), the winner of NIST's
2018 contest. Gaussian noise on the counts, the exponential mechanism for the tree, composed as
zero-concentrated privacy (Bun and Steinke 2016) and turned into (epsilon, delta). It keeps what
pairs along one tree say, and no interaction of three columns.

Where this differs from the paper: on a tree the noisy tables need no graphical-model engine: every
table is projected on the counts that could have been (not negative, summing to the rows), and the
pairs are fitted to the margins by iterative proportional fitting. Numbers are counted in many
narrow cells first, and the noisy counts say which neighbours are joined before pairs are counted:
bins of about equal weight that cost nothing more, where quantiles of the rows would leak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd

from workbench.generators import check_least
from workbench.generators.bayes.networks import Network, family_counts
from workbench.generators.private.accounting import Private, check_budget, concentrated, spent
from workbench.generators.private.domain import Cells
from workbench.generators.private.marginals import (
    Pool,
    conditional,
    fit_margins,
    pool_labels,
    pool_numbers,
    project,
)
from workbench.generators.private.noise import Noise
from workbench.tables.schema import Schema


@dataclass
class MST(Private, Network):
    """A differentially private tree of noisy pair tables (McKenna et al. 2021)."""

    epsilon: float = 1.0
    """Privacy budget, for one row blanked out (see `guarantee`); what was spent is in
    `epsilon_spent` after the fit.
    """
    delta: float = 1e-9
    """The chance with which the guarantee may fail; well below 1 / rows."""
    cells: int = 128
    """Cells of a column of numbers or dates that are counted at first; each value of a shorter grid
    has its own.
    """
    bins: int = 32
    """Bins of about equal weight that these cells are joined to before pairs are counted, at most.
    """
    max_levels: int = 500
    """Levels of a label that are states of their own, the most frequent by noisy counts; the others
    share one, and are drawn from it alike.
    """
    max_cells: int = 100_000
    """Largest table of a pair, in cells; two columns that need more are not joined."""

    def __post_init__(self):
        check_least(self, cells=1, bins=1, max_levels=1, max_cells=1)
        check_budget("mst", self.epsilon, self.delta)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> MST:
        """Measure, select, measure, estimate. Raises InputError where `supports` says why not."""
        domain, noise = self._domain(table, schema), self._noise()
        self._schema, self._codes = schema, Cells(domain, self.cells, tails=True)
        states = self._codes.encode(domain.restrict(table))
        columns, self.charges = states.shape[1], []
        budget = concentrated(self.epsilon, self.delta)
        part = budget / 3 if columns > 1 else budget  # for the columns, the tree, and its pairs

        # Measure every column, and join what drowns in the noise.
        singles, pools, rows = self._measure_columns(states, part, noise)
        pooled = np.column_stack([pool.group[states[:, j]] for j, pool in enumerate(pools)])
        sizes = [pool.size for pool in pools]
        # Select a tree of pairs, and measure these.
        edges = self._select_tree(pooled, sizes, singles, rows, part, noise)
        pairs = self._measure_pairs(pooled, sizes, edges, part, noise)
        # Estimate a network that has these columns and these pairs.
        self._estimate(singles, pairs, pools, rows)

        rho = math.fsum(rho for _, rho in self.charges)
        epsilon, exchange = spent(rho, self.delta), spent(4 * rho, self.delta)
        claim = (
            f"({epsilon:.4g}, {self.delta:g})-differential privacy for one row against a blank one"
            f" that is counted nowhere, ({exchange:.4g}, {self.delta:g}) for the exchange of one"
            " row for another, by exact integer noise"
        )
        self._promise(epsilon, self.delta, claim, domain)
        return self

    def _measure_columns(
        self, states: np.ndarray, budget: float, noise: Noise
    ) -> tuple[list[np.ndarray], list[Pool], float]:
        """Counts of every column's pools, the pools, and the number of rows, all with noise."""
        allowed, sizes = self._codes.allowed, self._codes.sizes
        deviation = self._charge("column", budget / len(sizes), len(sizes))
        noisy = []
        for j, size in enumerate(sizes):
            counts = np.bincount(states[:, j], minlength=size)
            noisy.append(counts + noise.discrete_gaussian(deviation, counts.shape))
        totals = [counts[shown].sum() for counts, shown in zip(noisy, allowed, strict=True)]
        rows = max(float(np.mean(totals)), 1.0)

        pools, singles = [], []
        for j, (counts, shown) in enumerate(zip(noisy, allowed, strict=True)):
            if self._codes.is_ordered(j):
                pool = pool_numbers(counts, shown, rows / self.bins, deviation)
            else:
                pool = pool_labels(counts, shown, 3 * deviation, self.max_levels)
            pools.append(pool)
            singles.append(project(pool.sums(np.where(shown, counts, 0)), rows))
        return singles, pools, rows

    def _select_tree(
        self,
        states: np.ndarray,
        sizes: list[int],
        singles: list[np.ndarray],
        rows: float,
        budget: float,
        noise: Noise,
    ) -> list[tuple[int, int]]:
        """Edge by edge, the exponential mechanism prefers pairs that the columns on their own tell
        least about.
        """
        columns, scores = len(sizes), {}
        for a in range(columns):
            for b in range(a + 1, columns):
                if sizes[a] * sizes[b] <= self.max_cells:
                    pair = family_counts(states, sizes, b, (a,))
                    expected = np.outer(singles[a], singles[b]) / rows
                    scores[a, b] = float(np.abs(pair - expected).sum())
        each = budget / max(columns - 1, 1)
        trees, edges = nx.utils.UnionFind(range(columns)), []
        while open_pairs := [(a, b) for a, b in scores if trees[a] != trees[b]]:
            # An exponential mechanism with this epsilon is (epsilon^2 / 8)-concentrated (Cesar and
            # Rogers 2021).
            self.charges.append(("choice", each))
            open_scores = np.array([scores[pair] for pair in open_pairs])
            edges.append(open_pairs[noise.choice(open_scores, 1.0, (8 * each) ** 0.5)])
            trees.union(*edges[-1])
        return edges

    def _measure_pairs(
        self,
        states: np.ndarray,
        sizes: list[int],
        edges: list[tuple[int, int]],
        budget: float,
        noise: Noise,
    ) -> dict[tuple[int, int], np.ndarray]:
        """Noisy counts of each pair, shape (size of the first, size of the second)."""
        if not edges:
            return {}
        deviation = self._charge("pair", budget / (len(sizes) - 1), len(edges))
        pairs = {}
        for a, b in edges:
            counts = family_counts(states, sizes, b, (a,))
            pairs[a, b] = counts + noise.discrete_gaussian(deviation, counts.shape)
        return pairs

    def _estimate(
        self, singles: list[np.ndarray], pairs: dict, pools: list[Pool], rows: float
    ) -> None:
        """Conditional tables along the tree, spread over all states."""
        graph = nx.Graph(list(pairs))
        graph.add_nodes_from(range(len(singles)))
        self.parents, self._tables = {}, {}
        for root in (min(part) for part in nx.connected_components(graph)):
            self.parents[root] = ()
            self._tables[root] = self._states(singles[root][None, :], root, pools)
            for parent, node in nx.bfs_edges(graph, root):
                pair = pairs[parent, node] if (parent, node) in pairs else pairs[node, parent].T
                pair = project(pair.ravel(), rows).reshape(pair.shape)
                pair = fit_margins(pair, singles[parent], singles[node])
                # Every state of the parent has the children of its pool.
                lines = self._states(pair, node, pools)
                self.parents[node] = (parent,)
                self._tables[node] = lines[pools[parent].group]

    def _states(self, counts: np.ndarray, node: int, pools: list[Pool]) -> np.ndarray:
        """P(node | line) over all states, from a line's counts over the node's pools."""
        pooled = conditional(counts, np.ones(counts.shape[1]))
        return conditional(pools[node].spread(pooled), self._codes.allowed[node])

    def _charge(self, what: str, rho: float, times: int) -> float:
        """Notes the cost and returns the deviation of the noise on counts that one row moves by
        one: rho = 1 / (2 sd^2).
        """
        self.charges += [(what, rho)] * times
        return (1 / (2 * rho)) ** 0.5
