"""Bayesian networks: cut every column into a few states, learn a graph and its tables, draw parents
before children.

The graph is the best tree (Chow and Liu 1968, "Approximating discrete probability distributions
with dependence trees"), the best tree beside a target that is everybody's parent (Friedman, Geiger
and Goldszmidt 1997, "Bayesian network classifiers"), a greedy search for the best score (Heckerman,
Geiger and Chickering 1995, "Learning Bayesian networks"); or it is given. Trees are those that
pgmpy finds; the search makes the steps of pgmpy's, but tries fewer pairs where columns are many.
Numbers are drawn within their bin, so dependence finer than a bin is lost, as is the label of a
level pooled as rare. Missing is a state like any other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln

from workbench.errors import InputError, nearest
from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.tables.encode import Codes
from workbench.tables.schema import Schema

TABU = 100  # changes of hill climbing that are not taken back
LEAST_GAIN = 1e-4  # of the score, for another change


class Network(SampledByRejection):
    """A fitted network over codes: `parents` maps each column's index to the sorted indices of its
    parents.
    """

    _schema: Schema
    _codes: Any  # Codes, or a private generator's own
    # P(node | parents), shape (parent configurations, states), for each node
    _tables: dict[int, np.ndarray]
    parents: dict[int, tuple[int, ...]]

    def supports(self, schema: Schema) -> str | None:
        return None

    def network(self):
        """The fitted network as a pgmpy DiscreteBayesianNetwork, ready for its exact inference.

        Nodes are the columns' names; states are "CODE: LABEL", where LABEL is a level, a range of
        numbers, or "missing".
        """
        from pgmpy.factors.discrete import TabularCPD
        from pgmpy.models import DiscreteBayesianNetwork

        names = self._schema.names
        states = {}
        for name in names:
            labels = self._codes.labels(name)
            states[name] = [f"{code}: {label}" for code, label in enumerate(labels)]
        network = DiscreteBayesianNetwork()
        network.add_nodes_from(names)
        for node, parents in self.parents.items():
            network.add_edges_from((names[parent], names[node]) for parent in parents)
        for node, parents in self.parents.items():
            parent_names = [names[parent] for parent in parents]
            distribution = TabularCPD(
                names[node],
                len(states[names[node]]),
                self._tables[node].T,
                parent_names,
                [len(states[name]) for name in parent_names],
                state_names={name: states[name] for name in (names[node], *parent_names)},
            )
            network.add_cpds(distribution)
        return network

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        states = np.zeros((n, len(self.parents)), dtype=np.int32)
        for node in TopologicalSorter(self.parents).static_order():
            configuration = _configuration(states, self._codes.sizes, self.parents[node])
            states[:, node] = _draw_states(self._tables[node], configuration, rng)
        return self._codes.decode(states, rng)


@dataclass
class _Counted(Network):
    """A structure, and conditional distributions counted on train."""

    bins: int = 10
    """Bins of a column of numbers or dates, cut at its quantiles."""
    max_levels: int = 50
    """Levels of a label that are states of their own; the rarer ones share one state and are drawn
    from it by their shares.
    """
    prior: float = 1.0
    """Weight, in rows, of the column's own shares in each conditional distribution; 0 is maximum
    likelihood.
    """
    max_cells: int = 100_000
    """Largest conditional probability table, in cells; a set of parents that needs more is not
    considered.
    """

    def __post_init__(self):
        check_least(self, bins=1, max_levels=1, prior=0, max_cells=1)

    def _structure(self, states: np.ndarray):
        """The graph over column indices, as a networkx DiGraph."""
        raise NotImplementedError

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> _Counted:
        self._schema = schema
        self._codes = Codes(table, schema, self.bins, self.max_levels)
        states = self._codes.encode(table)
        self.parents = dict.fromkeys(range(states.shape[1]), ())
        if min(states.shape) > 1:
            graph = self._structure(states)
            self.parents |= {node: tuple(sorted(graph.predecessors(node))) for node in graph}
        self._tables = {node: self._conditional(states, node) for node in self.parents}
        return self

    def _conditional(self, states: np.ndarray, node: int) -> np.ndarray:
        """P(node | parents), shape (parent configurations, states): counts, and `prior` rows spread
        like the column itself.
        """
        counts = family_counts(states, self._codes.sizes, node, self.parents[node])
        shares = counts.sum(axis=0) / len(states)
        weights = counts + self.prior * shares
        total = weights.sum(axis=1, keepdims=True)
        return np.where(total > 0, weights / np.where(total > 0, total, 1), shares)


@dataclass
class ChowLiuTree(_Counted):
    """The tree of largest total mutual information: each column has one parent (Chow and Liu 1968)."""

    def _structure(self, states: np.ndarray):
        return _tree(states, self._codes.sizes, range(states.shape[1]), (), self.max_cells)


@dataclass
class TreeAugmented(_Counted):
    """Naive Bayes on the target, and a tree of largest mutual information given it (Friedman,
    Geiger and Goldszmidt 1997).
    """

    def supports(self, schema: Schema) -> str | None:
        if schema.target is None:
            return "its tree hangs on the target, and there is none; declare one."
        return None

    def _structure(self, states: np.ndarray):
        target = self._schema.names.index(self._schema.target.name)
        others = [node for node in range(states.shape[1]) if node != target]
        sizes = self._codes.sizes
        graph = _tree(states, sizes, others, (target,), self.max_cells)
        # The target is everybody's parent, where the table with it is not too large.
        for node in others:
            family = (node, target, *graph.predecessors(node))
            if math.prod(sizes[member] for member in family) <= self.max_cells:
                graph.add_edge(target, node)
        return graph


@dataclass
class ExpertNetwork(_Counted):
    """A structure that somebody who knows the field has drawn; only the distributions are learnt
    (Pearl 1988).
    """

    edges: Sequence[Sequence[str]] = ()
    """Pairs (parent, child) of column names; a column in no pair is independent of all others."""

    def supports(self, schema: Schema) -> str | None:
        if not self.edges:
            return (
                'it has no edges; give pairs of columns, for example edges = [["age", "income"]].'
            )
        for edge in self.edges:
            if not isinstance(edge, (list, tuple)) or len(edge) != 2:
                return f"edge {edge!r} is no pair (parent, child) of column names."
            for name in edge:
                if name not in schema.names:
                    return (
                        f"edge {list(edge)!r} names no column {name!r};"
                        f" {nearest(str(name), schema.names)}"
                    )
        parents = {}
        for name in schema.names:
            parents[name] = [parent for parent, child in self.edges if child == name]
        try:
            TopologicalSorter(parents).prepare()
        except CycleError as error:
            return f"the edges run in a circle: {' -> '.join(error.args[1])}; take one of them out."
        return None

    def _structure(self, states: np.ndarray):
        import networkx as nx

        names = self._schema.names
        sizes = self._codes.sizes
        pairs = [(names.index(parent), names.index(child)) for parent, child in self.edges]
        graph = nx.DiGraph(pairs)
        for node in graph:
            cells = math.prod(sizes[member] for member in (node, *graph.predecessors(node)))
            if cells > self.max_cells:
                raise InputError(
                    f"column {names[node]!r} with its parents has {cells:,} cells, more than"
                    f" max_cells ({self.max_cells:,}); take an edge out, or lower bins or"
                    " max_levels."
                )
        return graph


@dataclass
class HillClimb(_Counted):
    """Greedy search from the Chow-Liu tree: edges are added, dropped or turned while a score grows
    (Heckerman et al. 1995).
    """

    max_parents: int = 3
    """Most parents of a column."""
    max_candidates: int = 30
    """Columns tried as a new parent of a column, those of largest mutual information with it, to
    bound the time where there are more.
    """
    score: str = "bic"
    """What is to grow: "bic" (Schwarz 1978) or "bdeu" (Buntine 1991)."""
    equivalent_rows: float = 10.0
    """Weight of BDeu's uniform prior, in rows."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, max_parents=1, max_candidates=1, equivalent_rows=1e-9)
        if self.score not in ("bic", "bdeu"):
            raise InputError(f"bayes-hillclimb: score is {self.score!r}; give bic or bdeu.")

    def supports(self, schema: Schema) -> str | None:
        if len(schema.columns) > 200:
            return (
                f"hill climbing tries all pairs of {len(schema.columns)} columns at each step; use"
                " bayes-tree past 200."
            )
        return None

    def _structure(self, states: np.ndarray):
        tree = _tree(states, self._codes.sizes, range(states.shape[1]), (), self.max_cells)
        candidates = self._candidates(states)
        return _climb(tree, self._score(states), candidates, self.max_parents)

    def _candidates(self, states: np.ndarray) -> list[set[int]]:
        """The columns that may become a parent of each column."""
        sizes = self._codes.sizes
        nodes = range(states.shape[1])
        if len(nodes) - 1 <= self.max_candidates:
            return [set(nodes) - {node} for node in nodes]
        information = np.zeros((len(nodes), len(nodes)))
        for one, other in combinations(nodes, 2):
            if sizes[one] * sizes[other] <= self.max_cells:
                shared = mutual_information(states, sizes, one, other)
                information[one, other] = information[other, one] = shared
        np.fill_diagonal(information, -1.0)
        best = np.argsort(-information, axis=1, kind="stable")[:, : self.max_candidates]
        return [set(row) for row in best.tolist()]

    def _score(self, states: np.ndarray) -> Callable[[int, tuple[int, ...]], float]:
        """The score of a column with these parents, sorted, counted once and kept; minus infinity
        where the table is too large.
        """
        sizes = self._codes.sizes
        seen = [len(np.unique(column)) for column in states.T]
        family_score = _bic if self.score == "bic" else partial(_bdeu, weight=self.equivalent_rows)

        @cache
        def local_score(node: int, parents: tuple[int, ...]) -> float:
            cells = np.prod([sizes[member] for member in (node, *parents)], dtype=float)
            if cells > self.max_cells:
                return -np.inf
            counts = family_counts(states, sizes, node, parents)
            configurations = math.prod(seen[parent] for parent in parents)
            return family_score(counts, seen[node], configurations)

        return local_score


def _climb(
    graph,
    local_score: Callable[[int, tuple[int, ...]], float],
    candidates: list[set[int]],
    max_parents: int,
):
    """The graph after the best of all single changes, again and again, until none is worth it.

    What was undone in the last TABU changes is not done again (tabu search).
    """
    tabu: deque[tuple[str, tuple[int, int]]] = deque(maxlen=TABU)
    while True:
        changes = _changes(graph, local_score, candidates, max_parents, set(tabu))
        change, gain = max(changes, key=lambda one: one[1], default=(None, -np.inf))
        if gain < LEAST_GAIN:
            return graph
        kind, (parent, child) = change
        if kind == "add":
            graph.add_edge(parent, child)
            tabu.append(("drop", (parent, child)))
            continue
        graph.remove_edge(parent, child)
        if kind == "drop":
            tabu.append(("add", (parent, child)))
        else:
            graph.add_edge(child, parent)
            tabu.append(("turn", (parent, child)))


def _changes(
    graph,
    local_score: Callable[[int, tuple[int, ...]], float],
    candidates: list[set[int]],
    max_parents: int,
    tabu: set[tuple[str, tuple[int, int]]],
) -> Iterator[tuple[tuple[str, tuple[int, int]], float]]:
    """Every allowed change of one edge that closes no circle, and what it adds to the score."""
    parents = {node: tuple(sorted(graph.predecessors(node))) for node in graph}
    now = {node: local_score(node, parents[node]) for node in graph}
    below = _descendants(graph)

    def gain(node: int, wanted: tuple[int, ...]) -> float:
        return local_score(node, tuple(sorted(wanted))) - now[node]

    edges = list(graph.edges)
    turned = {(child, parent) for parent, child in edges}
    all_pairs = set(permutations(range(len(parents)), 2))
    for parent, child in all_pairs - set(edges) - turned:
        if parent not in candidates[child] or len(parents[child]) >= max_parents:
            continue
        if parent not in below[child] and ("add", (parent, child)) not in tabu:
            yield ("add", (parent, child)), gain(child, (*parents[child], parent))

    fewer = {}
    for parent, child in edges:
        fewer[parent, child] = tuple(node for node in parents[child] if node != parent)
        if ("drop", (parent, child)) not in tabu:
            yield ("drop", (parent, child)), gain(child, fewer[parent, child])

    for parent, child in _turnable(graph, edges, below):
        if len(parents[parent]) >= max_parents:
            continue
        if not tabu & {("turn", (parent, child)), ("turn", (child, parent))}:
            of_parent = gain(parent, (*parents[parent], child))
            of_child = gain(child, fewer[parent, child])
            yield ("turn", (parent, child)), of_parent + of_child


def _turnable(
    graph, edges: list[tuple[int, int]], below: Mapping[int, set[int]]
) -> Iterator[tuple[int, int]]:
    """The edges that may be turned: no other way leads from the parent to the child."""
    for parent, child in edges:
        if not any(child in below[other] for other in graph.successors(parent)):
            yield parent, child


def _descendants(graph) -> dict[int, set[int]]:
    """All nodes that each node leads to."""
    below: dict[int, set[int]] = {}
    children_first = TopologicalSorter({node: list(graph.successors(node)) for node in graph})
    for node in children_first.static_order():
        below[node] = set(graph.successors(node))
        for child in graph.successors(node):
            below[node] |= below[child]
    return below


def _bic(counts: np.ndarray, states: int, configurations: int) -> float:
    """Log-likelihood, less half the logarithm of the rows for each free parameter (Schwarz 1978)."""
    likelihood = _sum_n_log_n(counts) - _sum_n_log_n(counts.sum(axis=1))
    return likelihood - np.log(counts.sum()) / 2 * (states - 1) * configurations


def _bdeu(counts: np.ndarray, states: int, configurations: int, weight: float) -> float:
    """Log marginal likelihood under a uniform Dirichlet prior worth `weight` rows (Buntine 1991;
    Heckerman et al. 1995).
    """
    # The prior's rows that fall to one configuration of the parents, and to one cell of the table.
    of_configuration = weight / configurations
    of_cell = weight / configurations / states
    cells = counts[counts > 0]
    totals = counts.sum(axis=1)
    totals = totals[totals > 0]
    in_cells = (gammaln(cells + of_cell) - gammaln(of_cell)).sum()
    in_configurations = (gammaln(totals + of_configuration) - gammaln(of_configuration)).sum()
    return float(in_cells - in_configurations)


def _tree(
    states: np.ndarray,
    sizes: list[int],
    nodes: Sequence[int],
    given: tuple[int, ...],
    max_cells: int,
):
    """The tree over these column indices of largest mutual information (given others, if any), away
    from the column with the most of it.

    It is the one that pgmpy's TreeSearch finds. To import pgmpy would take longer than most trees
    do, because torch and statsmodels come with it.
    """
    import networkx as nx

    nodes = list(nodes)
    if len(nodes) < 2:
        graph = nx.DiGraph()
        graph.add_nodes_from(nodes)
        return graph
    largest = max_cells // math.prod(sizes[node] for node in given)  # of a pair, in cells

    def weight(one: int, other: int) -> float:
        # Never zero: an edge without weight is dropped, and with it the columns behind it.
        if sizes[one] * sizes[other] > largest:
            return 1e-12
        return max(mutual_information(states, sizes, one, other, given=given), 1e-12)

    weights = np.zeros((len(nodes), len(nodes)))
    for i, j in combinations(range(len(nodes)), 2):
        weights[i, j] = weights[j, i] = weight(nodes[i], nodes[j])
    root = nodes[np.argsort(weights.sum(axis=0))[-1]]
    complete = nx.from_pandas_adjacency(pd.DataFrame(weights, index=nodes, columns=nodes))
    graph = nx.bfs_tree(nx.maximum_spanning_tree(complete), root)
    too_large = [(a, b) for a, b in graph.edges if sizes[a] * sizes[b] > largest]
    graph.remove_edges_from(too_large)
    return graph


def mutual_information(
    states: np.ndarray, sizes: list[int], one: int, *others: int, given: tuple[int, ...] = ()
) -> float:
    """I(one; others | given) in nats, by plugging in the observed shares."""
    counts = family_counts(states, sizes, one, (*others, *given))
    # Axes: the joint state of the others, of what is given, and of the one.
    counts = counts.reshape(math.prod(sizes[other] for other in others), -1, sizes[one])
    both = _sum_n_log_n(counts.ravel())
    without_others = _sum_n_log_n(counts.sum(axis=0).ravel())
    without_one = _sum_n_log_n(counts.sum(axis=2).ravel())
    neither = _sum_n_log_n(counts.sum(axis=(0, 2)))
    return (both - without_others - without_one + neither) / len(states)


def _sum_n_log_n(counts: np.ndarray) -> float:
    counts = counts[counts > 0]
    return float(counts @ np.log(counts))


def _configuration(states: np.ndarray, sizes: list[int], parents: tuple[int, ...]) -> np.ndarray:
    """Which joint state the parents are in, shape (rows,); the first parent counts slowest, as in a
    TabularCPD.
    """
    index = np.zeros(len(states), dtype=np.int64)
    for parent in parents:
        index = index * sizes[parent] + states[:, parent]
    return index


def family_counts(
    states: np.ndarray, sizes: list[int], node: int, parents: tuple[int, ...]
) -> np.ndarray:
    """Rows in each state of the node for each joint state of its parents, shape (parent
    configurations, states).
    """
    configurations = math.prod(sizes[parent] for parent in parents)
    size = sizes[node]
    cells = _configuration(states, sizes, parents) * size + states[:, node]
    return np.bincount(cells, minlength=configurations * size).reshape(configurations, size)


def _draw_states(
    table: np.ndarray, configuration: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One state a row from the table's line for its parents' configuration, by inversion, shape
    (rows,).
    """
    # All lines end to end make one increasing sequence, c + P(state <= k | c), and one search
    # serves every row.
    sequence = (np.cumsum(table, axis=1) + np.arange(len(table))[:, None]).ravel()
    # Just below 1: shares may add up to a little less, and what is left over must not fall to an
    # impossible state.
    level = configuration + rng.random(len(configuration)) * (1 - 1e-9)
    return np.searchsorted(sequence, level, side="right") - configuration * table.shape[1]
