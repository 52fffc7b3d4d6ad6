"""DP-TAN: tree-augmented naive Bayes from noisy tables. The target is everybody's parent, a
privately chosen tree joins the other columns, and every table has Gaussian noise.

The model is Friedman, Geiger and Goldszmidt's (1997, "Bayesian network classifiers"); its private
form here is made of known parts: the tree is chosen edge by edge with the exponential mechanism, as
in MST (McKenna, Miklau and Sheldon 2021), and all costs are composed as zero-concentrated privacy
(Bun and Steinke 2016). A fifth of the budget pays the histograms, from which adaptive bins follow at
no further cost, a quarter every column's table with the target, a tenth the tree, and the rest the
tables of three along it.

It keeps what each column says of the target, and what pairs along one tree say given the target; no
other dependence. Where rows are few beside the noise, the tables of three are shrunk towards
independence given the target, so that little is left of the tree but nothing is invented.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd

from workbench.generators.bayes.networks import Network, family_counts
from workbench.generators.private.marginals import Columns, fit_margins, shares, shrink
from workbench.generators.private.noise import Noise
from workbench.generators.private.tables import TreeOfTables
from workbench.tables.schema import Schema

# Shares of the budget; the rest, .45, is for the tables of three.
HISTOGRAMS, WITH_TARGET, CHOICE = 0.20, 0.25, 0.10


@dataclass
class DPTAN(TreeOfTables, Network):
    """A differentially private tree-augmented naive Bayes network (after Friedman et al. 1997)."""

    def __post_init__(self):
        self._check("dp-tan")

    def supports(self, schema: Schema) -> str | None:
        if schema.target is None:
            return "the target is every column's parent; declare one."
        return super().supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> DPTAN:
        """Measure, select, measure, estimate. Raises InputError where `supports` says why not."""
        domain, cells, states = self._encoded(table, schema)
        noise = self._noise()
        budget, count = self._start(self.epsilon, self.delta), len(schema.columns)
        target = schema.names.index(schema.target.name)
        others = [j for j in range(count) if j != target]

        # Measure every column, and join what drowns in the noise.
        columns = self._measure_columns(cells, states, HISTOGRAMS * budget, noise)
        binned = columns.bin(states)
        # Measure every column beside the target.
        share = WITH_TARGET * budget
        with_target = self._measure_with_target(columns, binned, target, share, noise)
        # Select a tree of the columns, given the target, and measure its tables of three.
        edges = self._select_tree(columns, binned, target, with_target, CHOICE * budget, noise)
        share = 1 - HISTOGRAMS - WITH_TARGET - CHOICE
        each = share * budget / max(len(others) - 1, 1)
        triples = self._measure_triples(columns, binned, target, edges, each, noise)
        # Estimate a network that has these tables.
        self._schema, self._codes = schema, columns
        self._estimate(target, with_target, edges, triples)
        self._promise_concentrated(self.delta, domain)
        return self

    def _select_tree(
        self,
        columns: Columns,
        states: np.ndarray,
        target: int,
        with_target: dict[int, np.ndarray],
        budget: float,
        noise: Noise,
    ) -> list[tuple[int, int]]:
        """Edge by edge, the exponential mechanism prefers pairs that depend most given the target,
        beyond what the noise on their table would hide.
        """
        # The target is everybody's parent and has no place in the tree.
        others, sizes = list(with_target), columns.sizes
        if len(others) < 2:
            return []
        each = budget / (len(others) - 1)
        share = 1 - HISTOGRAMS - WITH_TARGET - CHOICE
        # The deviation that the tables of three will have, so that the choice can reckon with it.
        deviation = (budget / CHOICE * share / (len(others) - 1) * 2) ** -0.5
        scores = {}
        for place, a in enumerate(others):
            for b in others[place + 1 :]:
                expected = _independent(with_target[a], with_target[b])
                counts = family_counts(states, sizes, b, (target, a)).reshape(expected.shape)
                # The mean absolute value of that noise, over the cells it can be seen in.
                hidden = (2 / np.pi) ** 0.5 * deviation * _seen(expected, deviation)
                scores[a, b] = float(np.abs(counts - expected).sum()) - hidden
        return self._choose_tree("edge", others, scores, each, noise)

    def _measure_triples(
        self,
        columns: Columns,
        states: np.ndarray,
        target: int,
        edges: list[tuple[int, int]],
        rho: float,
        noise: Noise,
    ) -> dict[tuple[int, int], tuple[np.ndarray, float]]:
        """Noisy counts of (target, first, second) along the tree, with the noise's deviation."""
        triples, sizes = {}, columns.sizes
        for a, b in edges:
            deviation = self._charge("edge and target", rho)
            counts = family_counts(states, sizes, b, (target, a))
            # One row moves one cell of the joint table of three columns by one.
            noisy = counts + noise.discrete_gaussian(deviation, counts.shape)
            triples[a, b] = noisy.reshape(sizes[target], sizes[a], sizes[b]), deviation
        return triples

    def _estimate(
        self,
        target: int,
        with_target: dict[int, np.ndarray],
        edges: list[tuple[int, int]],
        triples: dict[tuple[int, int], tuple[np.ndarray, float]],
    ) -> None:
        """Conditional tables along the tree, the target first."""
        sizes, classes = self._codes.sizes, self._codes.singles[target]
        self.parents = {target: ()}
        self._tables = {target: shares(classes[None, :])}
        if not with_target:
            return
        graph = nx.Graph(edges)
        # A column that no edge could join hangs on the target alone.
        graph.add_nodes_from(with_target)
        root = min(with_target)
        self.parents[root], self._tables[root] = (target,), shares(with_target[root])
        for parent, node in nx.bfs_edges(graph, root):
            turned = (parent, node) not in triples
            noisy, deviation = triples[(node, parent) if turned else (parent, node)]
            if turned:
                noisy = noisy.transpose(0, 2, 1)
            expected = _independent(with_target[parent], with_target[node])
            # Towards independence given the target: where the noise drowns a cell, nothing is
            # invented.
            table = shrink(noisy, expected, deviation)
            for level in range(sizes[target]):
                margins = with_target[parent][level], with_target[node][level]
                table[level] = fit_margins(table[level], *margins)
            # The network's parents are in the order of the columns.
            if parent < target:
                table = table.transpose(1, 0, 2)
            self.parents[node] = tuple(sorted((target, parent)))
            self._tables[node] = shares(table.reshape(-1, sizes[node]))


def _independent(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts of (target, first, second) where both are independent given the target."""
    classes = np.maximum(first.sum(axis=1), 1e-9)
    return np.einsum("ta,tb->tab", first / classes[:, None], second)


def _seen(expected: np.ndarray, deviation: float) -> float:
    """How many cells' noise is to be reckoned with: one that expects next to nothing is shrunk."""
    return float(np.minimum(expected / deviation, 1).sum())
