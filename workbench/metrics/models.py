"""The learners that metrics train on one table and ask about another, fitted once however many
metrics ask.

LEARNERS are scikit-learn's defaults: "logistic" (ridge for a regression target) on one-hot,
standardised columns, and "boosting" (histogram gradient boosting) on ordinal ones. PANEL are cheap
configurations to be ranked. "boosting 100 rounds" never stops early, so that two of its fits differ
in their rows alone; "short boosting" has half the rounds, and stops early. Fits run on one thread,
so the bits do not depend on the cores.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd

from workbench.files import write_bytes
from workbench.metrics.references import kept_at
from workbench.tables.encode import Features, to_float
from workbench.tables.schema import Schema

T = TypeVar("T")
LEARNERS = ("logistic", "boosting")
PANEL = (
    "logistic",
    "logistic C=0.001",
    "naive Bayes",
    "5 neighbours",
    "50 neighbours",
    "tree of depth 3",
    "tree of depth 8",
    "forest",
    "forest of large leaves",
    "20 stumps",
    "boosting 20 rounds",
    "boosting 50 rounds",
)
# The other learners read one-hot columns.
ON_ORDINAL = (
    "boosting",
    "boosting 100 rounds",
    "short boosting",
    *PANEL[5:],
)
ROUNDING = 1e-6  # what `kth_distance` may be off by, as a share of a row's length
MAX_CLASSES = 20  # target labels with a probability of their own
OTHER = "(other)"  # all further labels share this one
_KEPT = 32  # fits remembered, the least recently used goes first
_memory: OrderedDict[Hashable, object] = OrderedDict()


def predictions(
    train_table: pd.DataFrame,
    test_table: pd.DataFrame,
    schema: Schema,
    learner: str,
    seed: int = 0,
    is_real: bool = False,
) -> pd.DataFrame:
    """Fit `learner` on train_table (real or synthetic, target against all other columns) and
    predict every row of test_table.

    Both tables are cast to the schema, which must have a target. Returns one row for each test row,
    in order: for labels one column for each label, named as text and sorted, of probabilities that
    sum to 1 (the positive class is the column schema.positive; the predicted label is
    `.idxmax(axis=1)`); for a regression target one column "prediction". Labels are those of both
    tables, so a class that train_table has lost keeps its column, with probability 0. Rows of
    train_table without a target are left out; where nothing can be learnt (no rows, one class) the
    prediction is constant. Equal tables, learner and seed give the identical answer, remembered
    from call to call, and where train_table `is_real` from cell to cell of a batch: do not change
    it.
    """
    # By what is in the tables: two metrics may hold equal tables in different objects.
    key = (fingerprint(train_table), fingerprint(test_table), schema, learner, seed)

    def compute() -> dict[str, pd.DataFrame]:
        return _fit_and_predict(train_table, test_table, schema, [learner], seed)

    return _answers(key, compute, is_real)[learner]


def panel_predictions(
    train_table: pd.DataFrame,
    test_table: pd.DataFrame,
    schema: Schema,
    seed: int = 0,
    is_real: bool = False,
) -> dict[str, pd.DataFrame]:
    """`predictions` of every configuration in PANEL, remembered together."""
    key = (fingerprint(train_table), fingerprint(test_table), schema, "panel", seed)

    def compute() -> dict[str, pd.DataFrame]:
        return _fit_and_predict(train_table, test_table, schema, PANEL, seed)

    return _answers(key, compute, is_real)


def _answers(
    key: tuple, compute: Callable[[], dict[str, pd.DataFrame]], is_real: bool
) -> dict[str, pd.DataFrame]:
    """compute(), remembered, of real rows also in the batch's folder of references."""
    if not is_real:
        return remembered(key, compute)

    def arrays() -> dict[str, np.ndarray]:
        found = compute()
        # Labels as JSON text: arrays of objects would need pickle, which reads code from a file.
        columns = list(next(iter(found.values())).columns)
        values = {f"of {name}": answer.to_numpy() for name, answer in found.items()}
        return {"columns": np.array(json.dumps(columns)), **values}

    def frames() -> dict[str, pd.DataFrame]:
        kept = dict(shared(key, arrays))
        columns = json.loads(str(kept.pop("columns")))
        answers = {}
        for name, values in kept.items():
            answers[name.removeprefix("of ")] = pd.DataFrame(values, columns=columns)
        return answers

    return remembered(key, frames)


def shared(key: tuple, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """compute(), arrays by name that depend on real rows alone, once for all cells of a batch: kept
    in the folder of references where there is one.
    """
    parts = []
    for part in key:
        # Everything becomes text that another process writes alike.
        if isinstance(part, Schema):
            parts.append(part.to_json())
        else:
            parts.append(part.hex() if isinstance(part, bytes) else str(part))
    path = kept_at(parts, ".npz")
    if path is None:
        return compute()
    # Two cells may compute it at once; both write the same bytes, whole.
    if not path.exists():
        content = io.BytesIO()
        arrays: dict[str, Any] = compute()
        np.savez(content, **arrays)
        write_bytes(path, content.getvalue())
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def remembered(key: Hashable, compute: Callable[[], T]) -> T:
    """compute(), once for each key among the last _KEPT."""
    if key not in _memory:
        _memory[key] = compute()
        if len(_memory) > _KEPT:
            _memory.popitem(last=False)
    # The last used is kept longest.
    _memory.move_to_end(key)
    return cast(T, _memory[key])


def labels(values: pd.Series) -> np.ndarray:
    """A label column as text, object array, shape (n,); missing is None.

    >>> labels(pd.Series([True, None], dtype="boolean")).tolist()
    ['True', None]
    """
    # Labels are compared as text everywhere, or True and "True" would be two.
    text = np.full(len(values), None, dtype=object)
    present = values.notna().to_numpy()
    text[present] = values[present].astype(str).to_numpy(dtype=object)
    return text


def fit(
    train: np.ndarray,
    y: np.ndarray,
    learner: str,
    categorical: list[bool],
    seed: int,
    task: str,
    weights: np.ndarray | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """A learner fitted on a matrix of `matrices`, as a function of another: probabilities, shape
    (rows, classes in sorted
    order), for the task "classification", predicted values, shape (rows, 1), for "regression"."""
    is_label = task == "classification"
    if learner in ON_ORDINAL:
        # Binning refuses a column without any value.
        train = np.where(np.isnan(train).all(axis=0), 0, train)
    model = _model(learner, is_label, categorical if any(categorical) else None, seed, len(train))
    with one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
        # A fit that stops before it has converged is a reading like any other.
        warnings.simplefilter("ignore")
        model.fit(train, y, **({} if weights is None else {"sample_weight": weights}))

    def predict(matrix: np.ndarray) -> np.ndarray:
        with one_thread(), np.errstate(all="ignore"):
            # Naive Bayes divides by variances, which are all 0 for a table of constants.
            return (
                np.nan_to_num(model.predict_proba(matrix))
                if is_label
                else model.predict(matrix)[:, None]
            )

    return predict


def _model(learner: str, is_label: bool, categorical: list[bool] | None, seed: int, n: int):
    """An estimator by its name, for numbers the regressor nearest to it."""
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, tree

    kind = "Classifier" if is_label else "Regressor"

    def boosting(**settings):
        make = getattr(ensemble, f"HistGradientBoosting{kind}")
        return make(categorical_features=categorical, random_state=seed, **settings)

    def forest(**settings):
        return getattr(ensemble, f"RandomForest{kind}")(
            30, max_features=0.3, random_state=seed, **settings
        )

    def grown(depth: int):
        return getattr(tree, f"DecisionTree{kind}")(max_depth=depth, random_state=seed)

    def neighbours(k: int):
        return getattr(neighbors, f"KNeighbors{kind}")(min(k, n), algorithm="brute")

    return {
        "logistic": lambda: (
            linear_model.LogisticRegression(max_iter=300) if is_label else linear_model.Ridge()
        ),
        "logistic C=0.001": lambda: (
            linear_model.LogisticRegression(C=1e-3) if is_label else linear_model.Ridge(1e3)
        ),
        "naive Bayes": lambda: naive_bayes.GaussianNB() if is_label else linear_model.Lasso(0.1),
        "5 neighbours": lambda: neighbours(5),
        "50 neighbours": lambda: neighbours(50),
        "tree of depth 3": lambda: grown(3),
        "tree of depth 8": lambda: grown(8),
        "forest": lambda: forest(),
        "forest of large leaves": lambda: forest(min_samples_leaf=20),
        "20 stumps": lambda: boosting(max_iter=20, max_leaf_nodes=2),
        "boosting 20 rounds": lambda: boosting(max_iter=20, early_stopping=False),
        "boosting 50 rounds": lambda: boosting(max_iter=50, early_stopping=False),
        "boosting 100 rounds": lambda: boosting(max_iter=100, early_stopping=False),
        "short boosting": lambda: boosting(max_iter=50),
        "boosting": lambda: boosting(),
    }[learner]()


def matrices(features: Features, tables: list[pd.DataFrame], learner: str) -> list[np.ndarray]:
    """Each table as this learner's matrix, finite in float32 whatever the table holds (missing
    stays NaN for boosting).
    """
    with np.errstate(all="ignore"):
        if learner in ON_ORDINAL:
            return [features.ordinal(table).clip(-1e30, 1e30) for table in tables]
        found = []
        for table in tables:
            matrix = features.one_hot(table).clip(-1e6, 1e6)
            matrix[np.isnan(matrix)] = 0
            found.append(matrix)
        return found


def kth_distance(rows: np.ndarray, reference: np.ndarray, k: int) -> np.ndarray:
    """The Euclidean distance from each row to its k-th nearest reference row (the farthest, of
    fewer), shape (len(rows),).

    Equal rows may stand ROUNDING times their length apart.
    """
    return neighbours(rows, reference, k)[0][:, -1]


def neighbours(rows: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the k nearest reference rows, nearest first, and their numbers, shape (rows, k)
    each (fewer where there are fewer); searched in chunks of bounded memory.
    """
    from sklearn.neighbors import NearestNeighbors

    with one_thread():
        # By brute force: trees lose to it beyond a dozen columns.
        search = NearestNeighbors(n_neighbors=min(k, len(reference)), algorithm="brute").fit(
            reference
        )
        distances, numbers = search.kneighbors(rows)
        return distances, numbers


def one_thread():
    """A context in which linear algebra and boosting run on one thread."""
    return _thread_pools().limit(limits=1)


@cache
def _thread_pools():
    import sklearn.ensemble  # noqa: F401 (the pools are looked up once, so the libraries must be there)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _fit_and_predict(
    train_table: pd.DataFrame,
    test_table: pd.DataFrame,
    schema: Schema,
    learners: Iterable[str],
    seed: int,
) -> dict[str, pd.DataFrame]:
    target = schema.target
    inputs = [column for column in schema.columns if column.name != target.name]
    train_table = train_table[train_table[target.name].notna()].reset_index(drop=True)
    features = Features(train_table, inputs)
    encoded: dict[bool, list[np.ndarray]] = {}

    def learnt(learner: str, y: np.ndarray) -> np.ndarray:
        # Encoded once for each of the two forms, however many learners read it.
        ordinal = learner in ON_ORDINAL
        if ordinal not in encoded:
            encoded[ordinal] = matrices(features, [train_table, test_table], learner)
        train, test = encoded[ordinal]
        return fit(train, y, learner, features.categorical, seed, schema.task)(test)

    if schema.task == "regression":
        y = to_float(train_table[target.name])
        y = y.clip(-1e100, 1e100)  # so that squares stay finite
        if len(np.unique(y)) < 2 or not inputs:
            constant = pd.DataFrame(
                {"prediction": np.full(len(test_table), y.mean() if len(y) else 0.0)}
            )
            return dict.fromkeys(learners, constant)
        # Standardised: ridge's penalty must not depend on the target's unit.
        center, spread = y.mean(), y.std()
        unit = (y - center) / spread
        return {
            one: pd.DataFrame({"prediction": learnt(one, unit)[:, 0] * spread + center})
            for one in learners
        }

    # Labels of both tables: one that train has lost keeps its column, with probability 0.
    y, known = labels(train_table[target.name]), labels(test_table[target.name])
    counts = pd.Series(known).value_counts()
    own = sorted(
        {label for label in [*y, *known] if label is not None},
        key=lambda label: (-counts.get(label, 0), label),
    )
    # The rarest of many labels share one column: a model of hundreds of classes takes minutes.
    own, pooled = own[:MAX_CLASSES], set(own[MAX_CLASSES:])
    y = np.array([OTHER if label in pooled else label for label in y], dtype=object)
    blank = pd.DataFrame(
        0.0, index=range(len(test_table)), columns=sorted([*own, *([OTHER] if pooled else [])])
    )
    seen = sorted(set(y))
    if len(seen) < 2 or not inputs:
        share = (
            pd.Series(y).value_counts(normalize=True)
            if len(y)
            else pd.Series(1 / len(own), index=own)
        )
        blank[share.index] = share.to_numpy()
        return dict.fromkeys(learners, blank)
    # scikit-learn wants the classes it sees to be numbered without gaps.
    code = np.searchsorted(seen, y)
    answers = {one: blank.copy() for one in learners}
    for one, answer in answers.items():
        answer[seen] = learnt(one, code)
    return answers


def fingerprint(table: pd.DataFrame) -> bytes:
    """Equal for tables of equal names and values in the same order."""
    # pandas' hash of rows leaves out what the columns are called.
    digest = hashlib.sha256(repr(list(table.columns)).encode())
    digest.update(
        pd.util.hash_pandas_object(table, index=False, categorize=False).to_numpy().tobytes()
    )
    return digest.digest()
