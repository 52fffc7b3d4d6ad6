"""Adversarial random forest: a forest learns to tell real rows from synthetic ones, until its
leaves hold independent columns.

Watson, Blesch, Kapar and Wright (2023), "Adversarial random forests for density estimation and
generative modeling", AISTATS. Round by round the synthetic rows are drawn from the leaves of the
forest before, each column on its own; once the forest can no longer tell them from real rows, a
mixture of leaves with independent columns describes the table. A tree cuts labels along one order
of their levels (that of the table's main axis), so nominal labels need more cuts. Differs from the
paper: the leaves before the last are kept (whose rows have been put to the test), and numbers are
drawn between two neighbours of their leaf, or as one of its rows has them where values repeat,
instead of from a truncated normal: spikes, grids, bounds and missing values stay.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.generators.statistical.margins import Margins
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import Column, Schema


@dataclass
class AdversarialForest(SampledByRejection):
    """Adversarial random forest (Watson et al. 2023).

    Attributes
    ----------
    accuracy : list of float
        After fit, the out-of-bag accuracies: first against rows with independent columns, then
        against the rows of each round's leaves.
    """

    trees: int = 30
    """Trees of each round's forest."""
    min_node_size: int = 10
    """Fewest real rows in a leaf: smaller fits closer, and copies more."""
    delta: float = 0.0
    """Rounds end once real rows are told from synthetic ones with an accuracy of at most 0.5 +
    delta, or no less often.
    """
    max_rounds: int = 10
    """Most rounds; the leaves are kept whose rows were the hardest to tell from real ones."""
    smoothing: float = 1.0
    """Rows of the whole table added to every leaf where labels are drawn (Laplace smoothing)."""
    tree_rows: int = 100_000
    """Real and synthetic rows that a tree is grown on at most, to bound the time; all real rows
    fill its leaves.
    """

    def __post_init__(self):
        check_least(self, trees=1, min_node_size=1, delta=0, max_rounds=1, smoothing=0, tree_rows=2)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(
        self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator
    ) -> AdversarialForest:
        self._schema = schema
        self._table = table.copy()
        self.accuracy: list[float] = []
        self._numbers = self._continuous_numbers(table, schema)
        self._marginals = {name: Marginal.fit(numbers) for name, numbers in self._numbers.items()}
        # Places among the train values: trees only compare, and places fit the float32 they read.
        margins = Margins(table, schema).columns
        places = [margins[name].codes(table[name]) for name in schema.names]
        real = np.column_stack(places).astype(np.float32)

        # The first synthetic rows have independent columns; those of each later round are drawn
        # from the leaves of the round before.
        synthetic = np.column_stack([rng.permutation(column) for column in real.T])
        leaves = self._discriminate(real, synthetic, rng)
        self._leaves = leaves
        while self.accuracy[-1] > 0.5 + self.delta and len(self.accuracy) <= self.max_rounds:
            drawn = leaves.draw(len(real), rng)
            synthetic = np.column_stack([column[leaves.rows(drawn, rng)] for column in real.T])
            next_leaves = self._discriminate(real, synthetic, rng)
            if self.accuracy[-1] >= min(self.accuracy[:-1]):
                # The rows of these leaves are no harder to tell apart than those of the leaves
                # before.
                break
            self._leaves = leaves
            leaves = next_leaves
        self._leaves.sort([j for j, name in enumerate(schema.names) if name in self._numbers])
        return self

    def _continuous_numbers(self, table: pd.DataFrame, schema: Schema) -> dict[str, np.ndarray]:
        """Columns of numbers of which few are repeated: they are drawn between two rows of a leaf,
        all else as one of its rows has it.
        """
        numbers = {}
        for column in schema.columns:
            values = table[column.name]
            if not column.is_discrete and 4 * values.nunique() > values.count():
                numbers[column.name] = to_float(values)
        return numbers

    def _discriminate(
        self, real: np.ndarray, synthetic: np.ndarray, rng: np.random.Generator
    ) -> _Leaves:
        """The leaves of a forest that learns which rows are real; its accuracy says how good the
        synthetic ones are.
        """
        forest = RandomForestClassifier(
            self.trees,
            min_samples_leaf=self.min_node_size,
            max_samples=min(self.tree_rows, 2 * len(real)),
            oob_score=True,
            random_state=int(rng.integers(2**31)),
        )
        both = np.vstack([real, synthetic])
        is_real = np.repeat([1, 0], [len(real), len(synthetic)])
        with warnings.catch_warnings():  # few rows or few trees leave some rows in every bag
            warnings.simplefilter("ignore", UserWarning)
            forest.fit(both, is_real)
        self.accuracy.append(float(forest.oob_score_))
        trees = [tree.tree_ for tree in forest.estimators_]
        return _Leaves(trees, real, self.min_node_size)

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """n rows: a leaf each, then every column on its own from the rows of that leaf."""
        leaves = self._leaves.draw(n, rng)
        columns = {}
        for j, column in enumerate(self._schema.columns):
            if column.name in self._numbers:
                columns[column.name] = self._draw_number(j, column, leaves, rng)
            else:
                columns[column.name] = self._draw_label(column, leaves, rng)
        return pd.DataFrame(columns, columns=self._schema.names)

    def _draw_label(self, column: Column, leaves: np.ndarray, rng: np.random.Generator):
        """A value of a row of each leaf, and now and then of any row of the table (smoothing)."""
        n = len(leaves)
        size = self._leaves.counts[leaves]
        is_from_anywhere = rng.random(n) * (size + self.smoothing) >= size
        anywhere = rng.integers(len(self._table), size=n)
        donors = np.where(is_from_anywhere, anywhere, self._leaves.rows(leaves, rng))
        return self._table[column.name].take(donors).array

    def _draw_number(self, j: int, column: Column, leaves: np.ndarray, rng: np.random.Generator):
        """A number between two neighbours of each leaf."""
        low, high, share = self._leaves.neighbours(leaves, j, rng)
        numbers = self._numbers[column.name]
        start = numbers[low]
        end = numbers[high]
        between = self._marginals[column.name].snap((1 - share) * start + share * end)
        # Missing values are last in a leaf: next to one, a draw goes to the nearer of the two.
        is_start = np.isnan(end) & (share < 0.5)
        return from_float(np.where(is_start, start, between), column).array


class _Leaves:
    """The leaves of all trees together, numbered from 0, with the real rows in each of them.

    of        leaf of each real row in each tree, shape (trees, rows)
    counts    real rows in each leaf
    """

    def __init__(self, trees: list, real: np.ndarray, least: int):
        self._real = real
        self.of = np.empty((len(trees), len(real)), dtype=np.int32)
        leaf_count = 0
        for number, tree in enumerate(trees):
            nodes = _prune(tree, tree.apply(real), least)
            _, self.of[number] = np.unique(nodes, return_inverse=True)
            self.of[number] += leaf_count
            leaf_count = self.of[number].max() + 1
        self.counts = np.bincount(self.of.ravel())
        # The rows of leaf k are _order[_starts[k] : _starts[k] + counts[k]].
        self._starts = np.cumsum(self.counts) - self.counts
        self._order = np.argsort(self.of, axis=1, kind="stable").astype(np.int32).ravel()
        self._orders: dict[int, np.ndarray] = {}

    def sort(self, columns: list[int]) -> None:
        """Put the rows of each leaf in the order of these columns' values, missing ones last."""
        for j in columns:
            by_value = np.argsort(self._real[:, j], kind="stable").astype(np.int32)
            by_leaf = np.argsort(self.of[:, by_value], axis=1, kind="stable")
            self._orders[j] = by_value[by_leaf].ravel()

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n leaves: a tree at random, then one of its leaves by its share of the real rows."""
        tree_count, row_count = self.of.shape
        trees = rng.integers(tree_count, size=n)
        rows = rng.integers(row_count, size=n)
        return self.of[trees, rows]

    def rows(self, leaves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A real row of each leaf."""
        place = (rng.random(len(leaves)) * self.counts[leaves]).astype(int)
        return self._order[self._starts[leaves] + place]

    def neighbours(
        self, leaves: np.ndarray, column: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Two real rows that are neighbours by a sorted column in each leaf, and how far to go from
        the first to the second.

        Each has shape (n,). Taking the nearer one draws every row of the leaf with the same chance.
        """
        order = self._orders[column]
        last = self.counts[leaves] - 1
        # Every row of a leaf owns a stretch of length one around its place.
        place = np.clip(rng.random(len(leaves)) * (last + 1) - 0.5, 0, last)
        low = place.astype(int)
        high = np.minimum(low + 1, last)
        starts = self._starts[leaves]
        return order[starts + low], order[starts + high], place - low


def _prune(tree, leaves: np.ndarray, least: int) -> np.ndarray:
    """The node that stands for each row's leaf once every split that leaves 1 to least - 1 real
    rows on a side is undone.
    """
    counts = np.bincount(leaves, minlength=tree.node_count)
    sides = np.column_stack([tree.children_left, tree.children_right])
    for node in range(tree.node_count - 1, -1, -1):  # children come after their parent
        if sides[node, 0] >= 0:
            counts[node] = counts[sides[node]].sum()
    is_split = sides[:, 0] >= 0
    is_too_small = (counts[sides] > 0) & (counts[sides] < least) & is_split[:, None]
    is_leaf = is_too_small.any(axis=1)
    stands_for = np.arange(tree.node_count)
    for node in np.flatnonzero(is_split):
        if is_leaf[node]:
            stands_for[sides[node]] = stands_for[node]
            is_leaf[sides[node]] = True
    return stands_for[leaves]
