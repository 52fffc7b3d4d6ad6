"""CART, column by column: a tree predicts each column from those before it, and a leaf's train
values are drawn again.

Reiter (2005), "Using CART to generate partially synthetic public use microdata"; Nowok, Raab and
Dibben (2016), "synthpop". Trees find interactions by themselves, so fidelity is high; but every
value is a train row's, and with small leaves rows come close to copies of train. The order of the
columns matters; a column never sees those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from workbench.errors import InputError, nearest
from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.schema import Schema


@dataclass
class Cart(SampledByRejection):
    """Sequential synthesis by classification and regression trees (Reiter 2005)."""

    min_samples_leaf: int = 5
    """Fewest train rows in a leaf: smaller fits closer, and copies more."""
    max_levels: int = 50
    """Commonest levels of a label that the trees tell apart; the rarer ones are one group to them,
    but still drawn.
    """
    max_predictors: int = 40
    """Columns a tree may look at; where more come before, those most correlated with the column, to
    bound the time.
    """
    smooth: bool = False
    """Draw numbers between neighbouring values of a leaf instead of repeating a train value."""
    order: Sequence[str] = ()
    """Columns to draw first, by name; the others follow in the table's order."""

    def __post_init__(self):
        check_least(self, min_samples_leaf=1, max_levels=1, max_predictors=1)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Cart:
        for name in self.order:
            if name not in schema.names:
                raise InputError(
                    f"order of cart: no column {name!r}; {nearest(str(name), schema.names)}"
                )
        self._schema = schema
        self._table = table.copy()
        self._order = list(dict.fromkeys([*self.order, *schema.names]))
        self._columns = {
            name: _Coded(table[name], schema[name].is_discrete, self.max_levels)
            for name in self._order
        }
        self._steps = {}
        for position, name in enumerate(self._order):
            before = {other: self._columns[other] for other in self._order[:position]}
            self._steps[name] = _Step(before, self._columns[name], self, int(rng.integers(2**31)))
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """n rows, column by column, each from the leaf that the columns before lead to."""
        # Codes of the columns drawn so far, shape (n,): what later trees look at.
        seen: dict[str, np.ndarray] = {}
        drawn = {}
        for name in self._order:
            coded = self._columns[name]
            low, high, share = self._steps[name].donors(seen, n, rng)
            if self.smooth and not coded.is_label:
                numbers = coded.between(low, high, share)
                seen[name] = coded.place(numbers)
                drawn[name] = from_float(numbers, self._schema[name])
            else:
                donors = np.where(share < 0.5, low, high)
                seen[name] = coded.codes[donors]
                drawn[name] = self._table[name].take(donors).reset_index(drop=True)
        return pd.DataFrame(drawn, columns=self._schema.names)


class _Coded:
    """A train column as trees read it (`codes`, shape (rows,)) and as a tree predicts it
    (`outcome`).

    A number's code is its place among the distinct train values (trees only compare, and places fit
    the float32 they read), NaN where missing. A label's code counts from the commonest; missing is
    a label, labels past max_levels share a code. The outcome is a label's code, or a number's rank
    in [0, 1] and whether it is missing, shape (rows, 2): ranks keep a few extreme values from
    taking all the splits.
    """

    def __init__(self, column: pd.Series, is_label: bool, max_levels: int):
        self.is_label = is_label
        if is_label:
            self._code_labels(column, max_levels)
        else:
            self._code_numbers(column)

    def _code_labels(self, column: pd.Series, max_levels: int) -> None:
        codes, levels = pd.factorize(column.astype(object), use_na_sentinel=False)
        counts = np.bincount(codes, minlength=len(levels))
        # Ties go by name: the order of train's rows must not matter.
        commonest_first = np.lexsort([levels.astype(str), -counts])
        rank = np.empty(len(levels), dtype=int)
        rank[commonest_first] = np.arange(len(levels))
        self.codes = np.minimum(rank[codes], max_levels)
        self.outcome = self.codes
        self.size = min(len(levels), max_levels + 1)

    def _code_numbers(self, column: pd.Series) -> None:
        self.numbers = to_float(column)
        self.marginal = Marginal.fit(self.numbers)
        self._distinct = np.unique(self.marginal.values)
        self.codes = self.place(self.numbers)
        self.outcome = np.column_stack(
            [self.marginal.middle_rank(self.numbers), np.isnan(self.numbers)]
        )

    def place(self, numbers: np.ndarray) -> np.ndarray:
        """The code of each number."""
        return np.where(np.isnan(numbers), np.nan, np.searchsorted(self._distinct, numbers))

    def between(self, low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Numbers a share of the way from train row low to train row high, on the grid; the nearer
        one if high is missing.
        """
        start = self.numbers[low]
        end = self.numbers[high]
        mixed = self.marginal.snap((1 - share) * start + share * end)
        return np.where(np.isnan(end) & (share < 0.5), start, mixed)


class _Step:
    """The tree that draws one column from those before it, and the train rows of each of its
    leaves.
    """

    def __init__(self, before: dict[str, _Coded], response: _Coded, settings: Cart, seed: int):
        rows = len(response.codes)
        outcome = response.outcome
        train = {name: coded.codes for name, coded in before.items()}
        self._orderings = {
            name: _level_order(coded, response) for name, coded in before.items() if coded.is_label
        }
        self._before = list(before)
        if len(before) > settings.max_predictors:
            strength = _correlation(self._matrix(train, rows), response)
            strongest = np.argsort(-strength, kind="stable")[: settings.max_predictors]
            self._before = [self._before[j] for j in np.sort(strongest)]

        self._tree = None
        if before and (outcome != outcome[0]).any():
            tree_class = DecisionTreeClassifier if response.is_label else DecisionTreeRegressor
            self._tree = tree_class(min_samples_leaf=settings.min_samples_leaf, random_state=seed)
            self._tree.fit(self._matrix(train, rows), outcome)
        leaves = self._leaves(train, rows)
        # By leaf, and by value inside a leaf with missing ones last.
        self._rows = np.lexsort([response.codes, leaves])
        self._counts = np.bincount(leaves)
        self._starts = np.cumsum(self._counts) - self._counts

    def donors(
        self, seen: dict[str, np.ndarray], n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Two train rows that are neighbours by value in each row's leaf, and how far to go from
        the first to the second.

        Each has shape (n,). Taking the nearer one draws every train row of the leaf with the same
        chance.
        """
        leaves = self._leaves(seen, n)
        last = self._counts[leaves] - 1
        # Every train row of a leaf owns a stretch of length one around its place.
        place = np.clip(rng.random(n) * (last + 1) - 0.5, 0, last)
        low = place.astype(int)
        high = np.minimum(low + 1, last)
        starts = self._starts[leaves]
        return self._rows[starts + low], self._rows[starts + high], place - low

    def _leaves(self, seen: dict[str, np.ndarray], n: int) -> np.ndarray:
        """The leaf of each row, shape (n,); one for all where nothing could be split."""
        if self._tree is None:
            return np.zeros(n, dtype=int)
        return self._tree.apply(self._matrix(seen, n))

    def _matrix(self, seen: dict[str, np.ndarray], n: int) -> np.ndarray:
        """What the tree reads, float32, shape (n, predictors)."""
        matrix = np.empty((n, len(self._before)), dtype=np.float32)
        for j, name in enumerate(self._before):
            codes = seen[name]
            matrix[:, j] = self._orderings[name][codes] if name in self._orderings else codes
        return matrix


def _level_order(predictor: _Coded, response: _Coded) -> np.ndarray:
    """A number for each code of a label, shape (size,), that puts like levels side by side, so that
    one cut parts them.

    The mean outcome of the level, which holds the best cut for a number or two classes (Breiman et
    al. 1984); for more classes the first principal component of the levels' class shares
    (Coppersmith, Hong and Hosking 1999).
    """
    counts = np.bincount(predictor.codes, minlength=predictor.size)
    outcome = _indicators(response)
    if not response.is_label and not outcome[:, 1].any():
        outcome = outcome[:, :1]  # nothing is missing: the rank says all
    shares = np.empty((predictor.size, outcome.shape[1]))
    for column, weights in enumerate(outcome.T):
        totals = np.bincount(predictor.codes, weights=weights, minlength=predictor.size)
        shares[:, column] = totals / counts
    if not response.is_label and shares.shape[1] == 1:
        return shares[:, 0]
    # Where a number has gaps, levels differ in its mean rank and in how often it is missing: the
    # mean alone could not part a level without any value from the others.
    centred = shares - np.average(shares, axis=0, weights=counts)
    covariance = (centred * counts[:, None]).T @ centred
    _, vectors = np.linalg.eigh(covariance)
    first_component = vectors[:, -1]
    return centred @ first_component


def _correlation(matrix: np.ndarray, response: _Coded) -> np.ndarray:
    """The largest absolute correlation of each predictor with a column of the outcome (an indicator
    a class), shape (p,).
    """
    is_present = ~np.isnan(matrix)
    counts = np.maximum(is_present.sum(axis=0), 1)
    means = matrix.sum(axis=0, where=is_present) / counts
    filled = np.where(is_present, matrix, means)
    predictors = standardised(filled)
    outcomes = standardised(_indicators(response))
    return np.abs(predictors.T @ outcomes).max(axis=1)


def _indicators(response: _Coded) -> np.ndarray:
    """The outcome as columns of numbers: an indicator a class, or a number's rank and gaps."""
    if response.is_label:
        return np.eye(response.size)[response.codes]
    return response.outcome


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and length 1; a constant one is zero."""
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
