"""MST: noisy marginals of every column and of the pairs along a tree, chosen privately, and a tree
network that fits them.

McKenna, Miklau and Sheldon 2021 (Journal of Privacy and Confidentiality 11:3), the winner of NIST's
2018 contest. Gaussian noise on the counts, the exponential mechanism for the tree, composed as
zero-concentrated privacy (Bun and Steinke 2016) and turned into (epsilon, delta). It keeps what
pairs along one tree say, and no interaction of three columns.

Where this differs from the paper: on a tree the noisy tables need no graphical-model engine: every
pair's table is shrunk towards independence as far as it drowns in its noise, and fitted to the
margins by iterative proportional fitting. Numbers are counted in many narrow cells first, and the
noisy counts say which neighbours are joined before pairs are counted: adaptive bins that cost
nothing more, where quantiles of the rows would leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import networkx as nx
import numpy as np
import pandas as pd

from workbench.generators.bayes.networks import Network, family_counts
from workbench.generators.private.marginals import Columns, shares
from workbench.generators.private.noise import Noise
from workbench.generators.private.tables import TreeOfTables
from workbench.tables.schema import Schema


@dataclass
class MST(TreeOfTables, Network):
    """A differentially private tree of noisy pair tables (McKenna et al. 2021)."""

    delta: float = 1e-9
    """The chance with which the guarantee may fail; well below 1 / rows."""
    bins: int = 32
    """Adaptive bins that these cells are joined to before pairs are counted, at most."""
    max_levels: int = 500
    """Levels of a label that are states of their own, the most frequent by noisy counts; the others
    share one, and are drawn from it alike.
    """
    max_cells: int = 100_000
    """Largest table of a pair, in cells; two columns that need more are not joined."""

    def __post_init__(self):
        self._check("mst", max_cells=1)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> MST:
        """Measure, select, measure, estimate. Raises InputError where `supports` says why not."""
        # Everything that follows looks at these cells and at no value of the table.
        domain, cells, states = self._encoded(table, schema)
        noise = self._noise()
        budget, count = self._start(self.epsilon, self.delta), len(schema.columns)
        part = budget / 3 if count > 1 else budget  # for the columns, the tree, and its pairs

        # Measure every column, and join what drowns in the noise.
        columns = self._measure_columns(cells, states, part, noise)
        binned = columns.bin(states)
        # Select a tree of pairs, and measure these.
        edges = self._select_tree(columns, binned, part, noise)
        pairs = self._measure_pairs(columns, binned, edges, part, noise)
        # Estimate a network that has these columns and these pairs.
        self._schema, self._codes = schema, columns
        self._estimate(pairs)
        self._promise_concentrated(self.delta, domain)
        return self

    def _select_tree(
        self, columns: Columns, states: np.ndarray, budget: float, noise: Noise
    ) -> list[tuple[int, int]]:
        """Edge by edge, the exponential mechanism prefers pairs that the columns on their own tell
        least about.
        """
        # A pair that is too large has no score, and so is never chosen.
        sizes, scores = columns.sizes, {}
        for a, b in combinations(range(len(sizes)), 2):
            if sizes[a] * sizes[b] <= self.max_cells:
                pair = family_counts(states, sizes, b, (a,))
                scores[a, b] = float(np.abs(pair - columns.independent((a, b))).sum())
        # A tree over k columns has k - 1 edges, however it is chosen.
        each = budget / max(len(sizes) - 1, 1)
        return self._choose_tree("choice", range(len(sizes)), scores, each, noise)

    def _measure_pairs(
        self,
        columns: Columns,
        states: np.ndarray,
        edges: list[tuple[int, int]],
        budget: float,
        noise: Noise,
    ) -> dict[tuple[int, int], np.ndarray]:
        """Possible counts of each pair, shape (bins of the first, bins of the second)."""
        pairs = {}
        for edge in edges:
            each = budget / (len(columns.sizes) - 1)
            pairs[edge] = self._measure_pair("pair", columns, states, edge, each, noise)
        return pairs

    def _estimate(self, pairs: dict[tuple[int, int], np.ndarray]) -> None:
        """Conditional tables along the tree."""
        singles = self._codes.singles
        # Columns that no pair could join are roots of their own.
        graph = nx.Graph(list(pairs))
        graph.add_nodes_from(range(len(singles)))
        self.parents, self._tables = {}, {}
        for root in (min(part) for part in nx.connected_components(graph)):
            self.parents[root] = ()
            self._tables[root] = shares(singles[root][None, :])
            for parent, node in nx.bfs_edges(graph, root):
                # A table is stored in the order in which it was measured; the tree may run the
                # other way.
                pair = pairs[parent, node] if (parent, node) in pairs else pairs[node, parent].T
                self.parents[node] = (parent,)
                self._tables[node] = shares(pair)
