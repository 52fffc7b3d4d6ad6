"""MST: noisy marginals of every column and of the pairs along a tree, chosen privately, and a tree
network that fits them.

McKenna, Miklau and Sheldon 2021 (Journal of Privacy and Confidentiality 11:3), the winner of NIST's
2018 contest. Gaussian noise on the counts, the exponential mechanism for the tree, composed as
zero-concentrated privacy (Bun and Steinke 2016) and turned into (epsilon, delta). It keeps what
pairs along one tree say, and no interaction of three columns.

Where this differs from the paper: on a tree the noisy tables need no graphical-model engine: every
table is projected on the counts that could have been (not negative, summing to the rows), and the
pairs are fitted to the margins by iterative proportional fitting. Bins are equally wide over the
declared domain, since quantiles would leak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import networkx as nx
import numpy as np
import pandas as pd

from workbench.generators import check_least
from workbench.generators.bayes.networks import Network, family_counts
from workbench.generators.private.accounting import Private, check_budget
from workbench.generators.private.privbayes import (
    conditional,
    domain_codes,
    exponential_mechanism,
    project,
)
from workbench.tables.schema import Schema


@dataclass
class MST(Private, Network):
    """A differentially private tree of noisy pair tables (McKenna et al. 2021)."""

    epsilon: float = 1.0
    """Privacy budget, for adding or taking away one row; what was spent is in `epsilon_spent` after
    the fit.
    """
    delta: float = 1e-9
    """The chance with which the guarantee may fail; well below 1 / rows."""
    bins: int = 32
    """Equally wide bins of a column of numbers or dates."""
    max_levels: int = 500
    """Levels of a label that are states of their own; the others share one, and are drawn from it
    alike.
    """
    max_cells: int = 100_000
    """Largest table of a pair, in cells; two columns that need more are not joined."""

    def __post_init__(self):
        check_least(self, bins=1, max_levels=1, max_cells=1)
        check_budget("mst", self.epsilon, self.delta)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> MST:
        self._schema = schema
        domain = self._domain(table, schema)
        self._codes, allowed = domain_codes(domain, schema, self.bins, self.max_levels)
        states, sizes = self._codes.encode(domain.restrict(table)), self._codes.sizes
        columns, self.charges = states.shape[1], []
        budget = concentrated(self.epsilon, self.delta)
        part = budget / 3 if columns > 1 else budget  # for the columns, for the tree, for its pairs

        deviation = self._charge("column", part / columns, columns)
        noisy = [
            np.bincount(states[:, node], minlength=sizes[node]) * 1.0 for node in range(columns)
        ]
        noisy = [counts + rng.normal(scale=deviation, size=len(counts)) for counts in noisy]
        rows = max(
            float(
                np.mean([counts[shown].sum() for counts, shown in zip(noisy, allowed, strict=True)])
            ),
            1.0,
        )
        # Levels that drown in the noise are one state, so that pairs are counted in few and full
        # cells.
        pools = [
            pool(counts, shown, 3 * deviation) for counts, shown in zip(noisy, allowed, strict=True)
        ]
        ones = [
            project(np.bincount(group[shown], counts[shown]), rows)
            for (group, _), counts, shown in zip(pools, noisy, allowed, strict=True)
        ]
        sizes = [len(one) for one in ones]
        states = np.column_stack([group[states[:, node]] for node, (group, _) in enumerate(pools)])

        edges = self._tree(states, sizes, ones, rows, part, rng) if columns > 1 else []
        deviation = self._charge("pair", part / (columns - 1), len(edges)) if edges else 0.0
        graph = nx.Graph(edges)
        graph.add_nodes_from(range(columns))
        self.parents, self._tables = {}, {}
        for root in (min(part) for part in nx.connected_components(graph)):
            self.parents[root] = ()
            self._tables[root] = self._spread(ones[root][None, :], root, None, pools, allowed)
            for parent, node in nx.bfs_edges(graph, root):
                pair = family_counts(states, sizes, node, (parent,))
                pair = project(
                    (pair + rng.normal(scale=deviation, size=pair.shape)).ravel(), rows
                ).reshape(pair.shape)
                self.parents[node] = (parent,)
                self._tables[node] = self._spread(
                    fitted(pair, ones[parent], ones[node]), node, parent, pools, allowed
                )
        self.epsilon_spent = spent(math.fsum(rho for _, rho in self.charges), self.delta)
        self.delta_spent = self.delta
        self.guarantee = f"({self.epsilon_spent:.4g}, {self.delta:g})-differential privacy for adding or taking away one row{domain.caveat}"
        return self

    def _charge(self, what: str, rho: float, times: int) -> float:
        """Notes the cost and returns the deviation of the noise on counts that one row moves by
        one: rho = 1 / (2 sd^2).
        """
        self.charges += [(what, rho)] * times
        return (1 / (2 * rho)) ** 0.5

    def _tree(
        self,
        states: np.ndarray,
        sizes: list[int],
        ones: list,
        rows: float,
        budget: float,
        rng: np.random.Generator,
    ):
        """Edge by edge, the exponential mechanism prefers pairs that the columns on their own tell
        least about.
        """
        columns = len(sizes)
        each = budget / (columns - 1)
        scores = {}
        for a in range(columns):
            for b in range(a + 1, columns):
                if sizes[a] * sizes[b] <= self.max_cells:
                    pair = family_counts(states, sizes, b, (a,))
                    scores[a, b] = float(np.abs(pair - np.outer(ones[a], ones[b]) / rows).sum())
        graph, edges = nx.utils.UnionFind(range(columns)), []
        while open_pairs := [(a, b) for a, b in scores if graph[a] != graph[b]]:
            self._charge("choice", each, 1)
            # An exponential mechanism with this epsilon is (epsilon^2 / 8)-concentrated (Cesar and
            # Rogers 2021).
            index = exponential_mechanism(
                np.array([scores[pair] for pair in open_pairs]), 1.0, (8 * each) ** 0.5, rng
            )
            edges.append(open_pairs[index])
            graph.union(*open_pairs[index])
        return edges

    def _spread(
        self,
        counts: np.ndarray,
        node: int,
        parent: int | None,
        pools: list,
        allowed: list[np.ndarray],
    ) -> np.ndarray:
        """P(node | parent) over all states from counts over the pooled ones."""
        group, share = pools[node]
        pooled = conditional(counts, np.ones(counts.shape[1]))
        lines = pooled if parent is None else pooled[np.minimum(pools[parent][0], len(pooled) - 1)]
        return conditional(
            lines[:, np.minimum(group, counts.shape[1] - 1)] * share * allowed[node], allowed[node]
        )


def pool(counts: np.ndarray, allowed: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """For each state the number of its pool, and its share of that pool: states below `least` are
    in the last one together.
    """
    kept = allowed & (counts >= least)
    group = np.where(kept, np.cumsum(kept) - 1, kept.sum())
    pooled = allowed & ~kept
    return group, np.where(pooled, 1 / max(pooled.sum(), 1), kept * 1.0)


def fitted(pair: np.ndarray, first: np.ndarray, second: np.ndarray, rounds: int = 50) -> np.ndarray:
    """The pair's table with these margins, by iterative proportional fitting (Deming and Stephan
    1940).
    """
    pair = pair + 1e-9 * np.outer(first, second) / max(
        second.sum(), 1
    )  # a margin needs a cell to live in
    for _ in range(rounds):
        for axis, margin in ((1, first), (0, second)):
            sums = pair.sum(axis=axis, keepdims=True)
            pair = pair * np.where(
                sums > 0, np.expand_dims(margin, axis) / np.where(sums > 0, sums, 1), 0
            )
    return pair


@cache
def spent(rho: float, delta: float) -> float:
    """The least epsilon that rho-concentrated privacy gives at this delta (Canonne et al. 2020, by
    dp_accounting).
    """
    from dp_accounting.rdp import compute_epsilon

    orders = np.concatenate([1 + np.logspace(-3, 0, 200), np.logspace(np.log10(2.01), 5, 2000)])
    return float(compute_epsilon(orders, orders * rho, delta)[0])


@cache
def concentrated(epsilon: float, delta: float) -> float:
    """The most rho whose epsilon at this delta is no more than epsilon."""
    low, high = 0.0, epsilon + 1.0
    while spent(high, delta) < epsilon:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle, delta) <= epsilon else (low, middle)
    return low
