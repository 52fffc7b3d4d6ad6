"""The learners that metrics train on one table and ask about another, fitted once however many metrics ask.

LEARNERS are scikit-learn's defaults: "logistic" (ridge for a regression target) on one-hot, standardised columns, and
"boosting" (histogram gradient boosting) on ordinal ones. Fits run on one thread, so the bits do not depend on the cores.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd

from workbench.encode import Features, to_float
from workbench.schema import Schema

LEARNERS = ("logistic", "boosting")
MAX_CLASSES = 20  # target labels with a probability of their own
OTHER = "(other)"  # all further labels share this one
_KEPT = 32  # fits remembered, the least recently used goes first
_memory: OrderedDict[tuple, pd.DataFrame] = OrderedDict()


def predictions(
    train_table: pd.DataFrame, test_table: pd.DataFrame, schema: Schema, learner: str, seed: int = 0
) -> pd.DataFrame:
    """Fit `learner` on train_table (real or synthetic, target against all other columns) and predict every row of test_table.

    Both tables are cast to the schema, which must have a target. Returns one row for each test row, in order:
    for labels one column for each label, named as text and sorted, of probabilities that sum to 1 (the positive class is
    the column schema.positive; the predicted label is `.idxmax(axis=1)`); for a regression target one column "prediction".
    Labels are those of both tables, so a class that train_table has lost keeps its column, with probability 0.
    Rows of train_table without a target are left out; where nothing can be learnt (no rows, one class) the prediction is
    constant. Equal tables, learner and seed give the identical answer, remembered from call to call: do not change it.
    """
    key = (_fingerprint(train_table), _fingerprint(test_table), schema, learner, seed)
    if key not in _memory:
        _memory[key] = _fit_and_predict(train_table, test_table, schema, learner, seed)
        if len(_memory) > _KEPT:
            _memory.popitem(last=False)
    _memory.move_to_end(key)
    return _memory[key]


def labels(values: pd.Series) -> np.ndarray:
    """A label column as text, object array, shape (n,); missing is None.

    >>> labels(pd.Series([True, None], dtype="boolean")).tolist()
    ['True', None]
    """
    text = np.full(len(values), None, dtype=object)
    present = values.notna().to_numpy()
    text[present] = values[present].astype(str).to_numpy(dtype=object)
    return text


def fit(
    train: np.ndarray, y: np.ndarray, learner: str, categorical: list[bool], seed: int, task: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A learner fitted on a matrix of `matrices`, as a function of another: probabilities, shape (rows, classes in sorted
    order), for the task "classification", predicted values, shape (rows, 1), for "regression"."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge

    is_label = task == "classification"
    if learner == "logistic":
        model = LogisticRegression(max_iter=300) if is_label else Ridge()
    else:
        train = np.where(np.isnan(train).all(axis=0), 0, train)  # its binning refuses a column without any value
        boosting = HistGradientBoostingClassifier if is_label else HistGradientBoostingRegressor
        model = boosting(categorical_features=categorical if any(categorical) else None, random_state=seed)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that stops before it has converged is a reading like any other
        model.fit(train, y)

    def predict(matrix: np.ndarray) -> np.ndarray:
        with one_thread():
            return model.predict_proba(matrix) if is_label else model.predict(matrix)[:, None]

    return predict


def matrices(features: Features, tables: list[pd.DataFrame], learner: str) -> list[np.ndarray]:
    """Each table as this learner's matrix, finite in float32 whatever the table holds (missing stays NaN for boosting)."""
    with np.errstate(all="ignore"):
        if learner == "logistic":
            return [np.nan_to_num(features.one_hot(table), posinf=1e6, neginf=-1e6).clip(-1e6, 1e6) for table in tables]
        return [features.ordinal(table).clip(-1e30, 1e30) for table in tables]


def one_thread():
    """A context in which linear algebra and boosting run on one thread."""
    return _thread_pools().limit(limits=1)


@cache
def _thread_pools():
    import sklearn.ensemble  # noqa: F401 (the pools are looked up once, so the libraries must be there)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _fit_and_predict(
    train_table: pd.DataFrame, test_table: pd.DataFrame, schema: Schema, learner: str, seed: int
) -> pd.DataFrame:
    target = schema.target
    inputs = [column for column in schema.columns if column.name != target.name]
    train_table = train_table[train_table[target.name].notna()].reset_index(drop=True)
    features = Features(train_table, inputs)
    train, test = matrices(features, [train_table, test_table], learner)
    if schema.task == "regression":
        y = to_float(train_table[target.name])
        y = y.clip(-1e100, 1e100)  # so that squares stay finite
        if len(np.unique(y)) < 2 or not inputs:
            return pd.DataFrame({"prediction": np.full(len(test_table), y.mean() if len(y) else 0.0)})
        center, spread = y.mean(), y.std()
        predict = fit(train, (y - center) / spread, learner, features.categorical, seed, schema.task)
        return pd.DataFrame({"prediction": predict(test)[:, 0] * spread + center})

    y, known = labels(train_table[target.name]), labels(test_table[target.name])
    counts = pd.Series(known).value_counts()
    own = sorted({label for label in [*y, *known] if label is not None}, key=lambda label: (-counts.get(label, 0), label))
    own, pooled = own[:MAX_CLASSES], set(own[MAX_CLASSES:])
    y = np.array([OTHER if label in pooled else label for label in y], dtype=object)
    answer = pd.DataFrame(0.0, index=range(len(test_table)), columns=sorted([*own, *([OTHER] if pooled else [])]))
    seen = sorted(set(y))
    if len(seen) < 2 or not inputs:
        share = pd.Series(y).value_counts(normalize=True) if len(y) else pd.Series(1 / len(own), index=own)
        answer[share.index] = share.to_numpy()
        return answer
    answer[seen] = fit(train, np.searchsorted(seen, y), learner, features.categorical, seed, schema.task)(test)
    return answer


def _fingerprint(table: pd.DataFrame) -> bytes:
    """Equal for tables of equal names and values in the same order."""
    digest = hashlib.sha256(repr(list(table.columns)).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False, categorize=False).to_numpy().tobytes())
    return digest.digest()
