"""Texts without a language model: what a prompted one has to beat.

`Resampled` takes sentences of train, `Markov` draws word after word of what followed the last two
words in train (Shannon 1948). Both write texts of one label at a time, so that a label's texts are
made of its own, and draw the other columns with a row of train.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables.conditions import matches
from workbench.tables.schema import Schema

START, END = "", "\n"
LONGEST = 60  # words of a text


@dataclass
class Markov:
    """Texts by a Markov chain over train's words, one for each label of the target (Shannon 1948)."""

    texts: tuple[str, ...] = ()
    """Columns of free text; by default all labels but the target."""
    order: int = 2
    """Words that the next one depends on."""

    def supports(self, schema: Schema) -> str | None:
        for name in self.texts:
            if name not in schema.names:
                return f"texts: no column {name!r}; {nearest(name, schema.names)}"
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Markov:
        if reason := self.supports(schema):
            raise InputError(f"{type(self).__name__}: {reason}")
        self._table, self._schema = table, schema
        self._names = list(self.texts) or [
            column.name
            for column in schema.columns
            if column.kind == "categorical" and column.role != "target"
        ]
        labels = table[schema.target.name] if schema.target else pd.Series("", table.index)
        self._labels = labels.astype(str)
        self._parts = {}
        for name in self._names:
            for label, values in table.groupby(self._labels)[name]:
                self._parts[name, label] = self._learnt(list(values.dropna().astype(str)))
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        allowed = np.flatnonzero(matches(self._table, self._schema, where or {}))
        if not len(allowed):
            raise InputError(f"no row can meet {dict(where)!r} (acceptance 0).")
        rows = allowed[rng.integers(len(allowed), size=n)]
        table = self._table.iloc[rows].reset_index(drop=True)
        labels = self._labels.iloc[rows]
        for name in self._names:
            if name in (where or {}):
                continue
            written = [self._written(self._parts[name, label], rng) for label in labels]
            table[name] = pd.Series(written, dtype=object).where(table[name].notna(), None)
        return self._schema.cast(table)

    def _learnt(self, texts: list[str]) -> Any:
        """What follows each run of words in these texts, as often as it does."""
        followers: dict[tuple, list[str]] = {}
        for text in texts:
            for before, word in runs(text, self.order):
                followers.setdefault(before, []).append(word)
        return followers

    def _written(self, followers: Any, rng: np.random.Generator) -> str:
        before = (START,) * self.order
        words: list[str] = []
        while len(words) < LONGEST:
            choices = followers.get(before, [END])
            word = choices[rng.integers(len(choices))]
            if word == END:
                break
            words.append(word)
            before = (*before[1:], word)
        return " ".join(words)


@dataclass
class Resampled(Markov):
    """Texts of train's own sentences, drawn with replacement among those of one label."""

    def _learnt(self, texts: list[str]) -> list[list[str]]:
        return [re.split(r"(?<=[.!?])\s+", text) for text in texts]

    def _written(self, texts: list[list[str]], rng: np.random.Generator) -> str:
        """As many sentences as some text has, each of any text."""
        if not texts:
            return ""
        size = len(texts[rng.integers(len(texts))])
        drawn = [texts[rng.integers(len(texts))] for _ in range(size)]
        return " ".join(sentences[rng.integers(len(sentences))] for sentences in drawn)


def runs(text: str, order: int) -> Iterator[tuple[tuple, str]]:
    """Each word of a text, and its end, with the words before it."""
    words = [*[START] * order, *text.split(), END]
    for place in range(order, len(words)):
        yield tuple(words[place - order : place]), words[place]
