"""What private generators that count share: the fields by which columns are cut into cells, tables
of one and two columns with exact noise, and a privately chosen tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd

from workbench.generators import check_least
from workbench.generators.bayes.networks import family_counts
from workbench.generators.private.accounting import Concentrated, check_budget
from workbench.generators.private.domain import Cells, Domain
from workbench.generators.private.marginals import Columns, fit_margins, measure_columns, shrink
from workbench.generators.private.noise import Noise
from workbench.tables.schema import Schema


@dataclass
class NoisyTables(Concentrated):
    """A private generator that counts columns in many narrow cells first, joins these to adaptive
    bins by the noisy counts, and counts groups of columns in bins.
    """

    cells: int = 128
    """Cells of a column of numbers or dates that are counted at first, of equal width, with
    geometric ones towards both ends and zero; each value of a shorter grid has its own.
    """
    bins: int = 16
    """Adaptive bins that these cells are joined to before pairs are counted, at most."""
    max_levels: int = 100
    """Levels of a label that are states of their own, the most frequent by noisy counts; the others
    share one, and are drawn from it alike.
    """

    def _check(self, method: str, **least: float) -> None:
        """Raises InputError where a field that is shared, or one of those given, is impossible."""
        check_least(self, cells=1, bins=1, max_levels=1, **least)
        check_budget(method, self.epsilon, self.delta)

    def _encoded(self, table: pd.DataFrame, schema: Schema) -> tuple[Domain, Cells, np.ndarray]:
        """The domain, its cells, and every row's cells, shape (rows, columns)."""
        domain = self._domain(table, schema)
        cells = Cells(domain, self.cells, tails=True)
        return domain, cells, cells.encode(domain.restrict(table))

    def _measure_columns(
        self, cells: Cells, states: np.ndarray, rho: float, noise: Noise
    ) -> Columns:
        """Every column's noisy histogram and its bins, for rho in all."""
        # One row moves one cell of every column: each histogram pays its own part.
        count = states.shape[1]
        deviation = self._charge("column", rho / count, count)
        return measure_columns(cells, states, deviation, self.bins, self.max_levels, noise)

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
        # The true table: it must not leave this function without noise.
        counts = family_counts(states, columns.sizes, second, (first,))
        noisy = counts + noise.discrete_gaussian(deviation, counts.shape)
        margins = columns.singles[first], columns.singles[second]
        shrunk = shrink(noisy, columns.independent(pair), deviation)
        return fit_margins(shrunk, *margins)

    def _measure_with_target(
        self, columns: Columns, states: np.ndarray, target: int, rho: float, noise: Noise
    ) -> dict[int, np.ndarray]:
        """Possible counts of each column beside the target, shape (size of target, size of column),
        for rho in all.
        """
        tables, what = {}, "column and target"
        others = [j for j in range(len(columns.sizes)) if j != target]
        # The target itself is counted with every other column, so it has no table of its own.
        each = rho / max(len(others), 1)
        for j in others:
            tables[j] = self._measure_pair(what, columns, states, (target, j), each, noise)
        return tables


class TreeOfTables(NoisyTables):
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
            # Only pairs that close no circle compete, and which those are follows from earlier,
            # paid choices.
            open_scores = np.array([scores[pair] for pair in open_pairs])
            edges.append(open_pairs[self._choose(what, open_scores, rho, noise)])
            trees.union(*edges[-1])
        return edges
