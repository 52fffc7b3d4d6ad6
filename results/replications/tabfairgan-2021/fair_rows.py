"""A plug-in: any generator, whose rows also teach a decision tree that is read on rows held out.

The readings of Rajabi and Garibay 2021 (TabFairGAN, table II). A fifth of the rows that it is given
is held out from the generator; what is measured is told as the fact `measured`:

dp_rows     demographic parity of the synthetic rows: how much oftener the privileged group has the
            favourable label than the other one
dt_acc      accuracy of a decision tree (scikit-learn's defaults) that learned from synthetic rows,
            on the rows held out
dt_f1       its F1 of the favourable label
dt_dp       demographic parity of its predictions there

Intervals are of 200 bootstrap samples of the rows read; they say nothing of other fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from workbench.errors import InputError
from workbench.generators import make
from workbench.tables.schema import Schema

HELD_OUT = 5  # one row in so many
SAMPLES = 200  # of the bootstrap


@dataclass
class FairRows:
    """The inner generator's rows, unchanged, and what a decision tree learns from them."""

    inner: str = "cart"
    """The generator, by its name."""
    params: Mapping = field(default_factory=dict)
    """Its hyper-parameters."""
    group: str = "sex"
    """The sensitive column."""
    privileged: str = "Male"
    """The label of the privileged group; all others together are the other one."""
    favourable: str = ">50K"
    """The label of the target that is the good outcome."""

    def supports(self, schema: Schema) -> str | None:
        if self.group not in schema.names or schema.target is None:
            raise InputError(f"fair rows need a target and the column {self.group!r}.")
        return make(self.inner, self.params).supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> FairRows:
        if self.favourable not in set(table[schema.target.name].astype(str)):
            raise InputError(f"no row has the favourable label {self.favourable!r}.")
        held = rng.permutation(len(table)) % HELD_OUT == 0
        self._schema, self._held = schema, table[held].reset_index(drop=True)
        learned = table[~held].reset_index(drop=True)
        self._size = len(learned)
        self._fitted = make(self.inner, self.params).fit(learned, schema, rng)
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        # The tree learns from as many rows as the generator did, however few the batch wants.
        rows = self._fitted.sample(max(n, self._size), rng, where=where)
        self.facts = {**getattr(self._fitted, "facts", {}), "measured": self.measured(rows, rng)}
        return rows.head(n)

    def measured(self, rows: pd.DataFrame, rng: np.random.Generator) -> list[dict]:
        target = self._schema.target.name
        rows = rows[rows[target].notna()]
        tree = tree_of(self._schema).fit(rows, rows[target].astype(str))
        said = tree.predict(self._held) == self.favourable
        truth = (self._held[target].astype(str) == self.favourable).to_numpy()
        favoured = (rows[target].astype(str) == self.favourable).to_numpy()
        ours, theirs = self.is_privileged(rows), self.is_privileged(self._held)
        return [
            reading("dp_rows", lambda i: gap(favoured[i], ours[i]), len(rows), rng),
            reading("dt_acc", lambda i: (said[i] == truth[i]).mean(), len(truth), rng),
            reading(
                "dt_f1", lambda i: f1_score(truth[i], said[i], zero_division=0), len(truth), rng
            ),
            reading("dt_dp", lambda i: gap(said[i], theirs[i]), len(truth), rng),
        ]

    def is_privileged(self, table: pd.DataFrame) -> np.ndarray:
        return (table[self.group].astype(str) == self.privileged).to_numpy()


def tree_of(schema: Schema):
    """A decision tree over numbers as they are and labels one-hot; gaps are filled."""
    inputs = [column for column in schema.columns if column.role != "target"]
    labels = [column.name for column in inputs if column.kind not in ("numeric", "integer")]
    numbers = [column.name for column in inputs if column.kind in ("numeric", "integer")]
    words = make_pipeline(AsWords(), OneHotEncoder(handle_unknown="ignore"))
    columns = make_column_transformer((SimpleImputer(), numbers), (words, labels))
    return make_pipeline(columns, DecisionTreeClassifier(random_state=0))


class AsWords:
    """Labels, gaps among them, as plain strings."""

    def fit(self, table: pd.DataFrame, y: object = None) -> AsWords:
        return self

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.astype(object).where(table.notna(), "missing").astype(str)

    def fit_transform(self, table: pd.DataFrame, y: object = None) -> pd.DataFrame:
        return self.transform(table)


def gap(favoured: np.ndarray, privileged: np.ndarray) -> float:
    return float(favoured[privileged].mean() - favoured[~privileged].mean())


def reading(metric: str, of_rows, size: int, rng: np.random.Generator) -> dict[str, float | str]:
    """A statistic of all rows, with the middle 95% of its bootstrap samples."""
    value = float(of_rows(np.arange(size)))
    drawn = [of_rows(rng.integers(size, size=size)) for _ in range(SAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"metric": metric, "value": value, "low": float(low), "high": float(high)}
