"""A linear model of the target, as fitted on a table and as fitted again on resamples of it.

What a model says of groups of people changes when it is trained on other rows of the same
population, as a rule by more than what other test rows change. An interval that leaves this out
holds the truth in a fifth to two thirds of cases. A learner that can be fitted again in a matrix
product keeps it in: logistic regression, one label against the others, ridge penalty 1 as in
scikit-learn, on one-hot columns.

A refit is the fit moved by its rows' influence under random weights (the multiplier bootstrap: van
der Vaart and Wellner 1996, section 2.9): beta + H^-1 X' ((y - p) * w), w standard normal, H the
Hessian of the penalised likelihood. Its covariance is Huber's sandwich (1967), which also holds
where the model is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.metrics.models import matrices, one_thread
from workbench.tables.encode import Features
from workbench.tables.schema import Column

REFITS = 200
PENALTY = 1.0  # of the squared coefficients, as scikit-learn's C = 1


@dataclass(frozen=True)
class Refits:
    """Linear models of the labels of one table.

    Parameters
    ----------
    features : the columns as numbers, fitted on the table.
    classes : codes of the labels that the table has, sorted, shape (K,).
    coefficients : the fit first, then its refits, shape (1 + REFITS, M, p + 1): the intercept
        last; M = K models of one label against the others, or a single one of the second label
        where there are two, or none where there is one.
    """

    features: Features
    classes: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of(
        cls, table: pd.DataFrame, codes: np.ndarray, inputs: list[Column], rng: np.random.Generator
    ) -> Refits:
        """Models of the codes, int, shape (rows,), given the columns `inputs` of the table."""
        # Fitted on this arm's own table, as whoever trains on it would have to.
        features = Features(table, inputs)
        matrix = _design(features, table)
        classes = np.unique(codes)
        own = classes
        if len(classes) <= 2:
            own = classes[1:]
        # The same weights move every label's model, or labels would stray from each other.
        weights = rng.standard_normal((len(matrix), REFITS)).astype(np.float32)
        models = []
        with one_thread():
            for label in own:
                models.append(_fitted(matrix, codes == label, weights))
        width = matrix.shape[1]
        empty = np.empty((1 + REFITS, 0, width))
        coefficients = np.stack(models, axis=1) if models else empty
        return cls(features, classes, coefficients)

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """The log-odds of each model for each row, shape (M, rows, 1 + REFITS), float32."""
        # Single precision: two hundred refits of every row are many products.
        matrix = _design(self.features, table).astype(np.float32)
        found = np.empty((self.coefficients.shape[1], len(matrix), 1 + REFITS), dtype=np.float32)
        with one_thread(), np.errstate(all="ignore"):
            for place in range(len(found)):
                found[place] = matrix @ self.coefficients[:, place].T.astype(np.float32)
        return found

    def predicted(self, table: pd.DataFrame) -> np.ndarray:
        """The likeliest label's code of each row, shape (rows, 1 + REFITS)."""
        if not len(self.classes):
            # Nothing can be learnt from no labels at all: the first one is as good as any.
            return np.zeros((len(table), 1 + REFITS), dtype=int)
        if len(self.classes) == 1:
            return np.full((len(table), 1 + REFITS), self.classes[0])
        scores = self.scores(table)
        if len(scores) == 1:
            return np.where(scores[0] > 0, self.classes[1], self.classes[0])
        return self.classes[scores.argmax(axis=0)]


def _design(features: Features, table: pd.DataFrame) -> np.ndarray:
    """One-hot columns and a one for the intercept, finite whatever the table holds."""
    (columns,) = matrices(features, [table], "logistic")
    return np.column_stack([columns, np.ones(len(table))]).astype(float)


def _fitted(matrix: np.ndarray, hit: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression and of its refits, shape (1 + REFITS, p + 1)."""
    beta, chance, hessian = _newton(matrix, hit.astype(float))
    # What each row pushes the coefficients by: its influence, before the Hessian.
    residual = hit - chance
    pushes = (matrix * residual[:, None]).astype(np.float32).T @ weights
    moved = beta[:, None] + np.linalg.solve(hessian, pushes)
    return np.vstack([beta, moved.T])


def _newton(matrix: np.ndarray, hit: np.ndarray, rounds: int = 50):
    """The penalised fit by Newton's method: coefficients, chances and the Hessian there."""
    # Not inference.logistic, which is statsmodels' fit without a penalty and needs standard errors:
    # this one must exist for separated labels too, and hands on its Hessian. See also
    # propensity.probabilities.
    penalty = np.full(matrix.shape[1], PENALTY)
    penalty[-1] = 1e-6  # the intercept is free, up to what keeps the system regular
    beta = np.zeros(matrix.shape[1])
    beta[-1] = np.log((hit.sum() + 0.5) / ((1 - hit).sum() + 0.5))
    # The first step is always taken.
    loss = np.inf
    step = np.zeros(len(beta))
    for _ in range(rounds):
        score = matrix @ beta
        now = np.logaddexp(0, score).sum() - hit @ score + penalty @ beta**2 / 2
        if now > loss + 1e-9 * abs(loss):
            # Too long a step, as where few rows carry a column: half of it, from where it began.
            step = step / 2
            beta = beta - step
            if np.abs(step).max() < 1e-9:
                break
            continue
        loss = now
        chance = 1 / (1 + np.exp(-np.clip(score, -500, 500)))
        hessian = (matrix * (chance * (1 - chance))[:, None]).T @ matrix
        hessian[np.diag_indices(len(beta))] += penalty
        step = np.linalg.solve(hessian, matrix.T @ (hit - chance) - penalty * beta)
        if np.abs(step).max() < 1e-7:
            break
        beta = beta + step
    return beta, chance, hessian
