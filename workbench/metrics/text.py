"""Free text: how varied the synthetic texts are, whether they repeat each other or train, and what
a classifier learns of them.

A column is free text where it holds labels that are mostly distinct and mostly of several words:
see `text_columns`. Nothing here needs a language model: words are runs of letters and digits, in
lower case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, NOT_APPLICABLE, OK, Row, Trial
from workbench.metrics.intervals import from_influence, wilson
from workbench.metrics.models import labels, one_thread
from workbench.metrics.utility import score, unscorable
from workbench.tables.schema import Schema

LEAST_WORDS = 5  # of the median text of a free-text column
LEAST_DISTINCT = 0.5  # its distinct values, as a share of those that are present
MAX_TEXTS = (
    500  # that diversity is read from: it falls with their number, so all tables give as many
)
MAX_COMPARED = 2000  # synthetic texts looked up among one another and in train
SHINGLE = 3  # words in a row
SIMILAR = 0.5  # Jaccard index from which two texts are near-duplicates, as in Broder 1997
BLEU_ORDER = 4
NONE = "not applicable: no column of free text."


def text_columns(train: pd.DataFrame, schema: Schema) -> list[str]:
    """The columns of free text by name: labels, no target, at least half of them distinct, five
    words or more at the median.
    """

    def is_text(values: pd.Series) -> bool:
        # Codes and names are labels too: only many different texts of several words are free text.
        values = values.dropna()
        if len(values) < 2 or values.nunique() < LEAST_DISTINCT * len(values):
            return False
        return float(np.median([len(words(text)) for text in values.head(1000)])) >= LEAST_WORDS

    return [
        c.name
        for c in schema.columns
        if c.kind == "categorical" and c.role != "target" and is_text(train[c.name])
    ]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def diversity(trial: Trial) -> Iterator[Row]:
    """How little the synthetic texts repeat themselves, on at most 500 of them, as many as of test.

    `distinct_1`, `distinct_2` (Li et al. 2016): distinct words, or pairs of words in a row, as a
    share of all; 0 to 1, up. `self_bleu` (Zhu et al. 2018, Texygen): the mean BLEU-4 of each text
    with all others as references, a count of no match smoothed to 0.1; 0 to 1, down, 1 is one text
    again and again. Floor: train's texts drawn with replacement. Known failure: words drawn at
    random are as diverse as can be, so a reading beyond the ceiling is no praise; longer texts
    repeat more words.
    """
    names = text_columns(trial.train, trial.schema)
    yield from _each(
        trial, "distinct_1", names, lambda texts, _: (distinct(texts, 1), np.nan, np.nan)
    )
    yield from _each(
        trial, "distinct_2", names, lambda texts, _: (distinct(texts, 2), np.nan, np.nan)
    )

    def bleu(texts, _):
        each = self_bleu(texts)
        return float(each.mean()), *from_influence(each.mean(), each, lowest=0, highest=1)

    yield from _each(trial, "self_bleu", names, bleu)


def distinct(texts: list[list[str]], n: int) -> float:
    """Distinct n-grams of words over all n-grams of the texts; missing where there are none.

    >>> distinct([["a", "b"], ["a", "c"]], 1)
    0.75
    """
    # Over all texts together, as the paper counts.
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len(set(grams)) / len(grams) if grams else np.nan


def self_bleu(texts: list[list[str]]) -> np.ndarray:
    """BLEU-4 of each text against all the others (Papineni et al. 2002, closest reference length),
    shape (texts,).
    """
    logs = np.zeros(len(texts))
    for n in range(1, BLEU_ORDER + 1):
        # Highest counts over all references are kept with whose they are, so that one pass serves
        # every text: pairing all of them would be quadratic.
        counts = [Counter(_grams(text, n)) for text in texts]
        # The highest count of an n-gram, whose it is, and the highest among the others.
        highest: dict[tuple, list] = {}
        for i, count in enumerate(counts):
            for gram, times in count.items():
                top = highest.setdefault(gram, [0, -1, 0])
                if times > top[0]:
                    top[:] = times, i, top[0]
                elif times > top[2]:
                    top[2] = times
        for i, count in enumerate(counts):
            tops = ((times, highest[gram]) for gram, times in count.items())
            hits = sum(min(times, top[2] if top[1] == i else top[0]) for times, top in tops)
            if hits or n > 1:
                logs[i] += np.log((hits or 0.1) / max(1, count.total())) / BLEU_ORDER
            else:
                logs[i] = -np.inf
    sizes = Counter(map(len, texts))
    for i, size in enumerate(map(len, texts)):
        others = [other for other, count in sizes.items() if other != size or count > 1]
        # The brevity penalty, against the closest reference length.
        nearest = min(others, key=lambda other: (abs(other - size), other))
        logs[i] += min(0.0, 1 - nearest / size) if size else -np.inf
    return np.exp(logs)


def _grams(text: list[str], n: int) -> list[tuple]:
    return list(zip(*(text[i:] for i in range(n)), strict=False))


def duplicates(trial: Trial) -> Iterator[Row]:
    """The share of synthetic texts that nearly repeat another synthetic one: a Jaccard index of
    their runs of three words of 0.5 or more (Broder 1997). At most 2,000 texts; 0 to 1, down; 0 is
    none. Floor: train's texts drawn with replacement. Known failure: a paraphrase shares no three
    words in a row and goes unseen.
    """

    def read(texts, _):
        return _share(nearest(texts, texts, itself=False) >= SIMILAR)

    yield from _each(
        trial, "text_duplicates", text_columns(trial.train, trial.schema), read, MAX_COMPARED
    )


def memorised(trial: Trial) -> Iterator[Row]:
    """The share of synthetic texts that nearly repeat a train one, as in `text_duplicates`. Down;
    the ceiling is how many
    of test's texts do, and the floor, a copy of train, reads 1.
    Known failure: names and numbers of a person may be repeated in a text that is otherwise new.
    """

    def read(texts, name):
        return _share(
            nearest(texts, [words(text) for text in trial.train[name].dropna()]) >= SIMILAR
        )

    yield from _each(
        trial, "memorised_texts", text_columns(trial.train, trial.schema), read, MAX_COMPARED
    )


def nearest(texts: list[list[str]], others: list[list[str]], itself: bool = True) -> np.ndarray:
    """The highest Jaccard index of each text's shingles with those of another text, exact, shape
    (texts,).
    """
    from sklearn.feature_extraction.text import CountVectorizer

    def shingles(text: list[str]) -> set:
        return set(_grams(text, SHINGLE)) or {tuple(text)}  # a short text is one shingle

    # A sparse matrix of shingles: all common ones of many texts are one product.
    count = CountVectorizer(analyzer=shingles, binary=True).fit([*texts, *others])
    ours, theirs = (count.transform(side).astype(np.float32) for side in (texts, others))
    sizes, result = np.asarray(theirs.sum(axis=1)).ravel(), np.zeros(len(texts))
    for start in range(0, len(texts), 200):
        # In chunks, for memory.
        part = ours[start : start + 200]
        common = (part @ theirs.T).toarray()
        index = common / (np.asarray(part.sum(axis=1)) + sizes - common)
        if not itself:
            index[np.arange(len(index)), start + np.arange(len(index))] = 0
        result[start : start + 200] = index.max(axis=1, initial=0)
    return result


def _share(found: np.ndarray) -> tuple[float, float, float]:
    return float(found.mean()), *wilson(int(found.sum()), len(found))


def _each(
    trial: Trial, metric: str, names: list[str], read: Callable, most: int = MAX_TEXTS
) -> Iterator[Row]:
    """A row for each column of free text, and their mean; read(texts as words, column) gives a
    value and its interval.
    """
    rows = []
    for name in names:
        present = trial.synthetic[name].dropna()
        size = min(most, len(present), max(len(trial.test), 2))
        # As many as of test at most: diversity falls with the number of texts.
        present = present.iloc[np.sort(trial.rng(metric).permutation(len(present))[:size])]
        if size < 2:
            rows.append(
                Row(
                    metric,
                    np.nan,
                    column=name,
                    state=INSUFFICIENT,
                    note=f"{len(present)} synthetic texts, two are needed.",
                )
            )
        else:
            rows.append(Row(metric, *read([words(text) for text in present], name), column=name))
    if len(rows) == 1:
        yield replace(rows[0], column="")
    elif rows:
        mean = float(np.mean([row.value for row in rows]))
        state = OK if np.isfinite(mean) else INSUFFICIENT
        yield Row(metric, mean, state=state)
        yield from rows
    else:
        yield Row(metric, np.nan, state=NOT_APPLICABLE, note=NONE)


def text_utility(trial: Trial) -> Iterator[Row]:
    """Train on synthetic texts, test on real ones: ROC AUC on test of a logistic regression on
    TF-IDF weights of words and
    pairs of words (Salton and Buckley 1988) that predicts the target from the texts alone.

    One-against-rest and unweighted for three labels or more; 0.5 is chance, up. The interval is
    over test rows. Known failure: a few telling words are enough, so texts nobody could read may
    score like real ones.
    """
    names = text_columns(trial.train, trial.schema)
    if not names:
        yield Row("text_tstr_auc", np.nan, state=NOT_APPLICABLE, note=NONE)
        return
    if reason := unscorable(trial):
        yield Row("text_tstr_auc", np.nan, state=INSUFFICIENT, note=reason)
        return
    value, influence = score(trial, _learnt(trial, names))
    yield Row("text_tstr_auc", value, *from_influence(value, influence, lowest=0, highest=1))


def _learnt(trial: Trial, names: list[str]) -> pd.DataFrame:
    """The probability of each label for each test row, as of `models.predictions`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    # A text without a label teaches nothing.
    labelled = trial.synthetic[trial.synthetic[trial.schema.target.name].notna()]
    y = labels(labelled[trial.schema.target.name])
    train = [" ".join(row) for row in labelled[names].fillna("").to_numpy()]
    test = [" ".join(row) for row in trial.test[names].fillna("").to_numpy()]
    try:
        weigh = TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2), sublinear_tf=True).fit(
            train
        )
        with one_thread():
            model = LogisticRegression(max_iter=1000).fit(weigh.transform(train), y)
            return pd.DataFrame(model.predict_proba(weigh.transform(test)), columns=model.classes_)
    except ValueError:  # no word at all, or fewer than two labels: nothing to learn
        return pd.DataFrame(1.0, index=range(len(test)), columns=sorted(set(y))[:1])
