"""Baselines that mitigate bias around any other generator, so that a report can show what they buy
and what they cost.

Reweighed   train rows are drawn again by w = P(a) P(y) / P(a, y), so that sensitive groups a and
            target y are independent (Kamiran and Calders 2012, "Data preprocessing techniques for
            classification without discrimination")
PerGroup    a generator of its own for each sensitive group, so that a small one is not drowned by
            the others (separate models as in Dwork, Immorlica, Kalai and Leiserson 2018, "Decoupled
            classifiers")

The groups are the cells of all sensitive columns together; a gap is a group of its own, numbers are
cut at their quartiles, and all labels of a column but the 19 commonest are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.generators import Generator, check_least, fit_notes, make
from workbench.generators.rejection import SampledByRejection
from workbench.tables.encode import Codes
from workbench.tables.schema import Column, Schema


@dataclass
class Reweighed:
    """The inner generator, fitted on train rows drawn again so that groups and target are
    independent.

    Kamiran and Calders (2012). Group shares and label shares stay; what is lost is every tie
    between them, also a just one.
    """

    inner: str = "cart"
    """The generator to fit, by its name."""

    def supports(self, schema: Schema) -> str | None:
        if not schema.sensitive or schema.target is None:
            return "reweighing needs a sensitive column and a target; declare both."
        return make(self.inner).supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Reweighed:
        # Quartiles of a sensitive number, halves of a target of numbers: cells with rows in them.
        group, label = _cells(table, schema.sensitive, 4), _cells(table, (schema.target,), 2)
        weight = independence_weights(group, label)
        # A comb with a random offset: a row comes up as often as its weight says, give or take one,
        # and none is lost by chance.
        comb = (rng.random() + np.arange(len(table))) * (weight.sum() / len(table))
        drawn = np.minimum(np.searchsorted(np.cumsum(weight), comb, side="right"), len(table) - 1)
        self._fitted = make(self.inner).fit(table.iloc[drawn].reset_index(drop=True), schema, rng)
        return self

    @property
    def facts(self) -> dict[str, list[str]]:
        """What the inner generator left out when it was fitted, in sentences."""
        return _notes([self._fitted])

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        return self._fitted.sample(n, rng, where=where)


@dataclass
class PerGroup(SampledByRejection):
    """An inner generator for each sensitive group, and the groups' train shares (after Dwork et al.
    2018).

    Groups of fewer than `least_rows` rows share one. What other groups could teach about a small
    one is lost.
    """

    inner: str = "cart"
    """The generator to fit to each group, by its name."""
    least_rows: int = 30
    """Groups with fewer train rows are fitted together."""

    def __post_init__(self):
        check_least(self, least_rows=1)

    def supports(self, schema: Schema) -> str | None:
        if not schema.sensitive:
            return "a generator for each group needs a sensitive column; declare one."
        return make(self.inner).supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> PerGroup:
        self._schema, group = schema, _cells(table, schema.sensitive, 4)
        # Groups that are too small share one model: alone they would be learnt by heart.
        sizes = np.bincount(group)
        group = np.unique(np.where(sizes[group] < self.least_rows, -1, group), return_inverse=True)[
            1
        ]
        self._shares = np.bincount(group) / len(group)
        parts = [table[group == g].reset_index(drop=True) for g in range(len(self._shares))]
        self._fitted = [make(self.inner).fit(part, schema, rng) for part in parts]
        return self

    @property
    def facts(self) -> dict[str, list[str]]:
        """What the groups' generators left out when they were fitted, in sentences."""
        return _notes(self._fitted)

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        # Group sizes are drawn as they would be among fresh people.
        counts = rng.multinomial(n, self._shares)
        parts = [
            generator.sample(int(k), rng)
            for generator, k in zip(self._fitted, counts, strict=True)
            if k
        ]
        return pd.concat(parts, ignore_index=True).iloc[rng.permutation(n)].reset_index(drop=True)


def independence_weights(group: np.ndarray, label: np.ndarray) -> np.ndarray:
    """P(a) P(y) / P(a, y) of each row, float, shape (rows,), from the codes of its group and of its
    label.

    >>> independence_weights(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])).tolist()
    [0.75, 0.75, 1.5, 0.5]
    """
    # What is expected of independent groups, over what is there.
    cells = np.zeros((group.max() + 1, label.max() + 1))
    np.add.at(cells, (group, label), 1)
    return (cells.sum(axis=1)[group] * cells.sum(axis=0)[label]) / (
        len(group) * cells[group, label]
    )


def _notes(fitted: list[Generator]) -> dict[str, list[str]]:
    """Notes alone: what an inner generator says of its privacy no longer holds for drawn rows."""
    said = [note for inner in fitted for note in fit_notes(getattr(inner, "facts", None))]
    # Many groups may say the same.
    notes = list(dict.fromkeys(said))
    return {"notes": notes} if notes else {}


def _cells(table: pd.DataFrame, columns: tuple[Column, ...], bins: int) -> np.ndarray:
    """Each row's cell of these columns together as a number from 0 up, shape (rows,)."""
    # All sensitive columns together make the groups.
    codes = Codes(table, Schema(columns), bins=bins, max_levels=20).encode(table)
    return np.unique(codes, axis=0, return_inverse=True)[1].ravel()
