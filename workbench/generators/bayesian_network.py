"""Bayesian networks: cut every column into a few states, learn a graph and its tables, draw parents before children.

Structure comes from pgmpy: the best tree (Chow and Liu 1968, "Approximating discrete probability distributions with
dependence trees") or a greedy search for the best scoring graph (Heckerman, Geiger and Chickering 1995, "Learning Bayesian
networks"). Numbers are drawn within their bin, so dependence finer than a bin is lost, as is the label of a level pooled
as rare. Missing is a state like any other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter

import numpy as np
import pandas as pd

from workbench.conditions import sample_matching
from workbench.encode import Codes
from workbench.generators import check_least
from workbench.schema import Schema


@dataclass
class _BayesianNetwork:
    """What both networks share. After fit, `parents` maps each column's index to the sorted indices of its parents."""

    bins: int = 10
    """Bins of a column of numbers or dates, cut at its quantiles."""
    max_levels: int = 50
    """Levels of a label that are states of their own; the rarer ones share one state and are drawn from it by their shares."""
    prior: float = 1.0
    """Weight, in rows, of the column's own shares in each conditional distribution; 0 is maximum likelihood."""
    max_cells: int = 100_000
    """Largest conditional probability table, in cells; a set of parents that needs more is not considered."""

    def __post_init__(self):
        check_least(self, bins=1, max_levels=1, prior=0, max_cells=1)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> _BayesianNetwork:
        self._schema = schema
        self._codes = Codes(table, schema, self.bins, self.max_levels)
        states = self._codes.encode(table)
        self.parents = dict.fromkeys(range(states.shape[1]), ())
        if min(states.shape) > 1:
            graph = self._structure(states)
            self.parents |= {node: tuple(sorted(graph.predecessors(node))) for node in graph}
        self._order = list(TopologicalSorter(self.parents).static_order())
        self._tables = {node: self._conditional(states, node) for node in self._order}
        return self

    def sample(self, n: int, rng: np.random.Generator, where: Mapping | None = None) -> pd.DataFrame:
        return sample_matching(self._draw, n, rng, self._schema, where)

    def network(self):
        """The fitted network as a pgmpy DiscreteBayesianNetwork, ready for its exact inference.

        Nodes are the columns' names; states are "CODE: LABEL", where LABEL is a level, a range of numbers, or "missing".
        """
        from pgmpy.factors.discrete import TabularCPD
        from pgmpy.models import DiscreteBayesianNetwork

        names = self._schema.names
        states = {name: [f"{code}: {label}" for code, label in enumerate(self._codes.labels(name))] for name in names}
        network = DiscreteBayesianNetwork()
        network.add_nodes_from(names)
        network.add_edges_from((names[parent], names[node]) for node, parents in self.parents.items() for parent in parents)
        for node, parents in self.parents.items():
            family = [names[node], *(names[parent] for parent in parents)]
            size, *parent_sizes = (len(states[name]) for name in family)
            shown = {name: states[name] for name in family}
            network.add_cpds(TabularCPD(family[0], size, self._tables[node].T, family[1:], parent_sizes, state_names=shown))
        return network

    def _conditional(self, states: np.ndarray, node: int) -> np.ndarray:
        """P(node | parents), shape (parent configurations, states): counts, and `prior` rows spread like the column itself."""
        counts = _family_counts(states, self._codes.sizes, node, self.parents[node])
        shares = counts.sum(axis=0) / len(states)
        weights = counts + self.prior * shares
        total = weights.sum(axis=1, keepdims=True)
        return np.where(total > 0, weights / np.where(total > 0, total, 1), shares)

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        states = np.zeros((n, len(self._order)), dtype=np.int32)
        for node in self._order:
            configuration = _configuration(states, self._codes.sizes, self.parents[node])
            states[:, node] = _draw_states(self._tables[node], configuration, rng)
        return self._codes.decode(states, rng)


@dataclass
class ChowLiuTree(_BayesianNetwork):
    """The tree of largest total mutual information: each column has one parent (Chow and Liu 1968)."""

    def _structure(self, states: np.ndarray):
        return _tree(states, self._codes.sizes, self.max_cells)


@dataclass
class HillClimb(_BayesianNetwork):
    """Greedy search from the Chow-Liu tree: edges are added, dropped or turned while BIC grows (Heckerman et al. 1995)."""

    max_parents: int = 3
    """Most parents of a column."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, max_parents=1)

    def supports(self, schema: Schema) -> str | None:
        if len(schema.columns) > 200:
            return f"hill climbing tries all pairs of {len(schema.columns)} columns at each step; use bayes-tree past 200."
        return None

    def _structure(self, states: np.ndarray):
        from pgmpy.causal_discovery import HillClimbSearch

        search = HillClimbSearch(
            scoring_method=_bic(states, self._codes.sizes, self.max_cells),
            start_dag=_tree(states, self._codes.sizes, self.max_cells),
            max_indegree=self.max_parents,
            return_type="dag",
            show_progress=False,
        )
        # Nodes are numbers: pgmpy walks through sets of nodes, and the order of text in a set differs from run to run.
        return search.fit(pd.DataFrame(states)).causal_graph_


def _tree(states: np.ndarray, sizes: list[int], max_cells: int):
    """The Chow-Liu tree by pgmpy over the column indices, away from the column with the most mutual information."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pgmpy 1.1 warns of its own renamed modules
        from pgmpy.estimators import TreeSearch

    def weight(one: pd.Series, other: pd.Series) -> float:
        # Never zero: pgmpy drops an edge without weight, and with it the columns behind it.
        if sizes[one.name] * sizes[other.name] > max_cells:
            return 1e-12
        return max(_mutual_information(states, sizes, one.name, other.name), 1e-12)

    graph = TreeSearch(pd.DataFrame(states), n_jobs=1).estimate(edge_weights_fn=weight, show_progress=False)
    graph.remove_edges_from([(a, b) for a, b in graph.edges if sizes[a] * sizes[b] > max_cells])
    return graph


def _bic(states: np.ndarray, sizes: list[int], max_cells: int):
    """pgmpy's BIC score, counted by numpy and kept for every family; minus infinity where the table is too large."""
    from pgmpy.structure_score import BaseStructureScore

    seen = [len(np.unique(column)) for column in states.T]

    class BoundedBIC(BaseStructureScore):
        def __init__(self):
            self._kept = cache(self._family)

        def local_score(self, variable, parents):
            return self._kept(variable, tuple(sorted(parents)))

        def _family(self, variable, parents):
            if np.prod([sizes[node] for node in (variable, *parents)], dtype=float) > max_cells:
                return -np.inf
            counts = _family_counts(states, sizes, variable, parents)
            likelihood = _sum_n_log_n(counts) - _sum_n_log_n(counts.sum(axis=1))
            free = (seen[variable] - 1) * np.prod([seen[parent] for parent in parents])
            return likelihood - np.log(len(states)) / 2 * free

    return BoundedBIC()


def _mutual_information(states: np.ndarray, sizes: list[int], one: int, other: int) -> float:
    """In nats, by plugging in the observed shares."""
    counts, n = _family_counts(states, sizes, one, (other,)), len(states)
    return (_sum_n_log_n(counts) - _sum_n_log_n(counts.sum(axis=0)) - _sum_n_log_n(counts.sum(axis=1))) / n + np.log(n)


def _sum_n_log_n(counts: np.ndarray) -> float:
    counts = counts[counts > 0]
    return float(counts @ np.log(counts))


def _configuration(states: np.ndarray, sizes: list[int], parents: tuple[int, ...]) -> np.ndarray:
    """Which joint state the parents are in, shape (rows,); the first parent counts slowest, as in a TabularCPD."""
    index = np.zeros(len(states), dtype=np.int64)
    for parent in parents:
        index = index * sizes[parent] + states[:, parent]
    return index


def _family_counts(states: np.ndarray, sizes: list[int], node: int, parents: tuple[int, ...]) -> np.ndarray:
    """Rows in each state of the node for each joint state of its parents, shape (parent configurations, states)."""
    configurations, size = math.prod(sizes[parent] for parent in parents), sizes[node]
    cells = _configuration(states, sizes, parents) * size + states[:, node]
    return np.bincount(cells, minlength=configurations * size).reshape(configurations, size)


def _draw_states(table: np.ndarray, configuration: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One state a row from the table's line for its parents' configuration, by inversion, shape (rows,)."""
    # All lines end to end make one increasing sequence, c + P(state <= k | c), and one search serves every row.
    sequence = (np.cumsum(table, axis=1) + np.arange(len(table))[:, None]).ravel()
    # Just below 1: shares may add up to a little less, and what is left over must not fall to an impossible state.
    level = configuration + rng.random(len(configuration)) * (1 - 1e-9)
    return np.searchsorted(sequence, level, side="right") - configuration * table.shape[1]
