"""Controls: tables whose scores are known beforehand, so that a report can be checked against them.

Holdout   real rows nobody trained on: what a perfect generator would give (Platzer and Reutterer
          2021, "Holdout-based empirical assessment of mixed-type synthetic data")
Copy      the train rows themselves: perfect fidelity and no privacy, every privacy metric must
          light up
Permuted  each column shuffled on its own: true marginals and no joint structure (Shi and Horvath
          2006)
Smote     points between near neighbours (Chawla et al. 2002): good fidelity, close to train rows
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.tables.conditions import matching_rows
from workbench.tables.encode import Features, Marginal, from_float, to_float
from workbench.tables.schema import Schema


@dataclass
class Copy:
    """The fitted rows in random order; more rows than fitted repeat whole passes. A raw copy of
    train has no privacy at all.

    The lower reference of the distance-to-closest-record checks of Platzer and Reutterer (2021). It
    has no parameters.
    """

    # Real rows have the skip patterns that they have, and shuffled columns are to have none.
    keeps_skips: ClassVar[bool] = False

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Copy:
        self._table, self._schema = table.copy(), schema
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        # Conditions pick among real rows; nothing is drawn that was not there.
        rows = matching_rows(self._table, self._schema, where, n)
        return self._table.take(rows[_passes(len(rows), n, rng)]).reset_index(drop=True)


@dataclass
class Holdout(Copy):
    """Real rows in random order, fitted on rows that no other generator and no score reads: the
    ceiling.

    The holdout of Platzer and Reutterer (2021). It has no parameters.
    """


@dataclass
class Permuted(SampledByRejection, Copy):
    """Each column of the fitted rows shuffled on its own: true marginals, no joint structure (Shi
    and Horvath 2006).
    """

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        columns = {
            name: values.take(_passes(len(values), n, rng)).array
            for name, values in self._table.items()
        }
        return pd.DataFrame(columns, columns=self._schema.names)


@dataclass
class Smote(SampledByRejection):
    """SMOTE over the whole table: a random place between a train row and one of its nearest
    neighbours (Chawla et al. 2002).

    With labels as target, neighbours share the row's label, so labels keep their shares; otherwise
    any row is a neighbour. Numbers are interpolated; labels, and values missing in one of the two
    rows, come from one of the two at random.
    """

    neighbors: int = 5
    """Nearest rows of the same target label to choose from."""
    search_rows: int = 10_000
    """Neighbours are looked for among this many rows of a label at most, drawn at random, so that
    tall tables stay feasible.
    """

    def __post_init__(self):
        check_least(self, neighbors=1, search_rows=2)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Smote:
        self._table, self._schema = table.copy(), schema
        self._neighbors = np.empty((len(table), self.neighbors), dtype=np.int64)
        target = schema.target if schema.task == "classification" else None
        features = [column for column in schema.columns if column != target]
        # The target stays out: neighbours are found within its labels anyway.
        points = Features(table, features, max_levels=50).one_hot(table)
        label = (
            pd.factorize(table[target.name].astype(object))[0]
            if target
            else np.zeros(len(table), dtype=int)
        )
        # One search for each label, each over its own rows.
        order = np.argsort(label, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
            self._neighbors[rows] = _nearest(points, rows, self.neighbors, self.search_rows, rng)
        self._marginals = {
            column.name: Marginal.fit(to_float(table[column.name]))
            for column in schema.columns
            if not column.is_discrete
        }
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        # A row, and one of its neighbours: the new row lies between the two.
        one = rng.integers(len(self._table), size=n)
        other = self._neighbors[one, rng.integers(self.neighbors, size=n)]
        # One place on the line between the two rows, the same for all numbers.
        share = rng.random(n)
        columns = {}
        for column in self._schema.columns:
            values = self._table[column.name]
            # Drawn for every column, so that labels of both rows mix.
            parent = np.where(rng.random(n) < 0.5, one, other)
            if column.is_discrete:
                columns[column.name] = values.take(parent).array
            else:
                numbers = to_float(values)
                between = self._marginals[column.name].snap(
                    (1 - share) * numbers[one] + share * numbers[other]
                )
                columns[column.name] = from_float(
                    np.where(np.isnan(between), numbers[parent], between), column
                ).array
        return pd.DataFrame(columns, columns=self._schema.names)


def _passes(rows: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n row numbers: whole passes over the rows, each in a random order of its own."""
    return np.concatenate([rng.permutation(rows) for _ in range(-(-n // rows))])[:n]


def _nearest(
    points: np.ndarray, rows: np.ndarray, k: int, search_rows: int, rng: np.random.Generator
) -> np.ndarray:
    """k nearest others of each of `rows` among them, shape (len(rows), k); repeated where fewer
    exist, itself where alone.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(rows) == 1:
        return np.full((1, k), rows[0])
    searched = (
        rows if len(rows) <= search_rows else np.sort(rng.choice(rows, search_rows, replace=False))
    )
    found = NearestNeighbors(n_neighbors=min(k + 1, len(searched)), algorithm="brute").fit(
        points[searched]
    )
    nearest = searched[found.kneighbors(points[rows], return_distance=False)]
    # A row is not its own neighbour: it goes last, and the k first stay (a row outside the searched
    # ones loses its farthest).
    itself = np.argsort(nearest == rows[:, None], axis=1, kind="stable")
    others = np.take_along_axis(nearest, itself, axis=1)[:, :-1]
    return others[:, np.arange(k) % others.shape[1]]
