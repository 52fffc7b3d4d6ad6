"""What private generators that join columns by a tree have in common: how they choose its edges and
measure tables of two columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx
import numpy as np

from workbench.generators.bayes.networks import family_counts
from workbench.generators.private.accounting import Concentrated
from workbench.generators.private.marginals import Columns, fit_margins, shrink
from workbench.generators.private.noise import Noise


class TreeOfTables(Concentrated):
    """A private generator that measures tables along a tree of its columns."""

    def _choose_tree(
        self,
        what: str,
        nodes: Iterable[int],
        scores: Mapping[tuple[int, int], float],
        rho: float,
        noise: Noise,
    ) -> list[tuple[int, int]]:
        """Edges that join the nodes without a circle, one by one by the exponential mechanism, rho
        each; high scores are preferred, pairs without a score are never joined.
        """
        trees, edges = nx.utils.UnionFind(nodes), []
        while open_pairs := [(a, b) for a, b in scores if trees[a] != trees[b]]:
            open_scores = np.array([scores[pair] for pair in open_pairs])
            edges.append(open_pairs[self._choose(what, open_scores, rho, noise)])
            trees.union(*edges[-1])
        return edges

    def _measure_pair(
        self,
        what: str,
        columns: Columns,
        states: np.ndarray,
        pair: tuple[int, int],
        rho: float,
        noise: Noise,
    ) -> np.ndarray:
        """Possible counts of a pair, shape (bins of the first, bins of the second): noisy ones,
        shrunk towards independence and fitted to the columns' own counts.
        """
        first, second = pair
        deviation = self._charge(what, rho)
        counts = family_counts(states, columns.sizes, second, (first,))
        noisy = counts + noise.discrete_gaussian(deviation, counts.shape)
        margins = columns.singles[first], columns.singles[second]
        shrunk = shrink(noisy, columns.independent(pair), deviation)
        return fit_margins(shrunk, *margins)
