"""Linear and logistic models, column by column: the parametric methods of synthpop.

Nowok, Raab and Dibben (2016), "synthpop: Bespoke creation of synthetic data in R", Journal of
Statistical Software 74(11): a number by linear regression of its normal scores, a label by
(multinomial) logistic regression, each on the columns before it. Keeps marginals and main effects,
which is what most published analyses estimate; misses interactions and bends, where CART and
forests do better. Rows are drawn from a model with few parameters, so that none is a train row.

Where this differs from synthpop: tied numbers share a stretch of scores instead of one score, or
the scores would be too narrow and the commonest value too common; the models have a small ridge
penalty, so that a label that decides another one does no harm; missing numbers are a logistic model
of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from sklearn.linear_model import LogisticRegression

from workbench.generators import check_least
from workbench.generators.rejection import SampledByRejection
from workbench.generators.statistical.cart import standardised
from workbench.tables.encode import Codes, Marginal, from_float, to_float
from workbench.tables.schema import Column, Schema

PENALTY = 1.0  # of the squared coefficients of standardised predictors, in rows
ITERATIONS = 200


@dataclass
class Parametric(SampledByRejection):
    """Sequential synthesis by linear and logistic regression (Nowok, Raab and Dibben 2016)."""

    max_levels: int = 30
    """Commonest levels of a label that the models tell apart; the rarer ones are one group to them,
    but still drawn.
    """
    max_predictors: int = 40
    """Columns a model may look at; where more come before, those most correlated with the column."""
    most_rows: int = 50_000
    """Train rows that the models are fitted on, at most; marginals are those of all of them."""

    def __post_init__(self):
        check_least(self, max_levels=2, max_predictors=1, most_rows=10)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Parametric:
        self._schema = schema
        self._columns = {
            column.name: _read(table[column.name], column, self.max_levels)
            for column in schema.columns
        }
        rows = np.arange(len(table))
        if len(table) > self.most_rows:
            rows = np.sort(rng.permutation(len(table))[: self.most_rows])
        train = table.iloc[rows].reset_index(drop=True)

        self._models: dict[str, tuple[list[str], _Model]] = {}
        # What later models read of each column, shape (rows, parts).
        read: dict[str, np.ndarray] = {}
        for name, column in self._columns.items():
            outcome = column.outcome(train[name], rng)
            before = self._strongest(read, outcome)
            predictors = _side_by_side([read[other] for other in before], len(train))
            self._models[name] = before, column.model(predictors, outcome)
            read[name] = column.predictor(train[name])
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        read: dict[str, np.ndarray] = {}
        drawn = {}
        for name, column in self._columns.items():
            before, model = self._models[name]
            predictors = _side_by_side([read[other] for other in before], n)
            drawn[name] = column.values(model.draw(predictors, rng), rng)
            read[name] = column.predictor(drawn[name])
        return pd.DataFrame(drawn, columns=self._schema.names)

    def _strongest(self, read: dict[str, np.ndarray], outcome: np.ndarray) -> list[str]:
        """The names of the columns that a model looks at, in the table's order."""
        names = list(read)
        if len(names) <= self.max_predictors:
            return names
        # A label's outcome is a code: its levels have no order, so each is correlated by itself.
        parts = outcome if outcome.dtype.kind == "f" else np.eye(outcome.max() + 1)[outcome]
        parts = standardised(np.nan_to_num(parts.reshape(len(outcome), -1)))
        strength = []
        for name in names:
            correlation = standardised(read[name]).T @ parts
            strength.append(np.abs(correlation).max())
        kept = np.argsort(-np.array(strength), kind="stable")[: self.max_predictors]
        return [names[place] for place in np.sort(kept)]


# How each kind of column is read as a predictor, modelled as an outcome and written back


def _read(values: pd.Series, column: Column, max_levels: int) -> _Label | _Number:
    if column.is_discrete:
        return _Label(values, column, max_levels)
    return _Number(values, column)


class _Label:
    """A column of labels. Its outcome is a code, shape (rows,); missing is a level like others."""

    def __init__(self, values: pd.Series, column: Column, max_levels: int):
        alone = Schema((Column(column.name, column.kind),))
        self._name = column.name
        self._codes = Codes(values.to_frame(), alone, max_levels=max_levels)
        self._size = self._codes.size(column.name)

    def outcome(self, values: pd.Series, rng: np.random.Generator) -> np.ndarray:
        return self._codes.encode_column(values)

    def model(self, predictors: np.ndarray, outcome: np.ndarray) -> _Model:
        return _Logistic(predictors, outcome)

    def values(self, outcome: np.ndarray, rng: np.random.Generator) -> pd.Series:
        return self._codes.decode(outcome[:, None], rng)[self._name]

    def predictor(self, values: pd.Series) -> np.ndarray:
        """Indicators of the levels, shape (rows, levels)."""
        return np.eye(self._size, dtype=np.float32)[self._codes.encode_column(values)]


class _Number:
    """A column of numbers. Its outcome are normal scores, shape (rows,), NaN where missing."""

    def __init__(self, values: pd.Series, column: Column):
        self._column = column
        self._marginal = Marginal.fit(to_float(values))

    def outcome(self, values: pd.Series, rng: np.random.Generator) -> np.ndarray:
        return ndtri(self._marginal.uniform_rank(to_float(values), rng))

    def model(self, predictors: np.ndarray, outcome: np.ndarray) -> _Model:
        return _Linear(predictors, outcome)

    def values(self, outcome: np.ndarray, rng: np.random.Generator) -> pd.Series:
        return from_float(self._marginal.quantile(ndtr(outcome)), self._column)

    def predictor(self, values: pd.Series) -> np.ndarray:
        """The normal score of the middle of the value's ranks, and whether it is missing."""
        numbers = to_float(values)
        missing = np.isnan(numbers)
        # A score is finite: the ends of a column lie half a row inside.
        end = 0.5 / max(len(self._marginal.values), 1)
        middle = np.clip(self._marginal.middle_rank(numbers), end, 1 - end)
        score = np.where(missing, 0.0, ndtri(middle))
        return np.column_stack([score, missing]).astype(np.float32)


# The models


class _Model:
    """What one column is, given those before it."""

    def draw(self, predictors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An outcome for each row of predictors, shape (rows,)."""
        raise NotImplementedError


class _Logistic(_Model):
    """Multinomial logistic regression of a code."""

    def __init__(self, predictors: np.ndarray, outcome: np.ndarray):
        self._levels, counts = np.unique(outcome, return_counts=True)
        self._shares = counts / counts.sum()
        self._model = None
        if len(self._levels) > 1 and predictors.shape[1]:
            self._scale = _Scale(predictors)
            self._model = LogisticRegression(C=1 / PENALTY, max_iter=ITERATIONS, tol=1e-3)
            self._model.fit(self._scale.apply(predictors), outcome)

    def draw(self, predictors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self._model is None:
            shares = np.broadcast_to(self._shares, (len(predictors), len(self._shares)))
        else:
            shares = self._model.predict_proba(self._scale.apply(predictors))
        # The last share is left out: u beyond its rounded sum still means the last level.
        beyond = rng.random(len(predictors))[:, None] >= np.cumsum(shares, axis=1)[:, :-1]
        return self._levels[beyond.sum(axis=1)]


class _Linear(_Model):
    """Linear regression of normal scores with normal errors, and a logistic one of the gaps."""

    def __init__(self, predictors: np.ndarray, outcome: np.ndarray):
        missing = np.isnan(outcome)
        self._gaps = _Logistic(predictors, missing.astype(int))
        self._scale = _Scale(predictors)
        matrix = self._scale.apply(predictors[~missing]).astype(float)
        scores = outcome[~missing]
        self._mean = float(scores.mean()) if len(scores) else 0.0
        penalised = matrix.T @ matrix + PENALTY * np.eye(matrix.shape[1])
        self._slopes = np.linalg.solve(penalised, matrix.T @ (scores - self._mean))
        errors = scores - self._mean - matrix @ self._slopes
        self._deviation = float(errors.std()) if len(scores) else 1.0

    def draw(self, predictors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        missing = self._gaps.draw(predictors, rng).astype(bool)
        expected = self._mean + self._scale.apply(predictors).astype(float) @ self._slopes
        scores = expected + self._deviation * rng.standard_normal(len(predictors))
        return np.where(missing, np.nan, scores)


class _Scale:
    """Predictors with mean 0 and standard deviation 1, so that one penalty suits all of them."""

    def __init__(self, predictors: np.ndarray):
        self._mean = predictors.mean(axis=0)
        spread = predictors.std(axis=0)
        self._spread = np.where(spread > 1e-6, spread, 1)

    def apply(self, predictors: np.ndarray) -> np.ndarray:
        return ((predictors - self._mean) / self._spread).astype(np.float32)


def _side_by_side(blocks: list[np.ndarray], rows: int) -> np.ndarray:
    return np.hstack(blocks) if blocks else np.empty((rows, 0), dtype=np.float32)
