"""No generator sees an identifier: it learns and draws the other columns, and fresh values of the
same pattern are put back beside what it drew. See workbench.tables.identifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.generators import is_private
from workbench.tables.conditions import TooFew, label
from workbench.tables.identifiers import Pattern
from workbench.tables.schema import Schema

if TYPE_CHECKING:
    from workbench.generators import Generator

# Generators that may draw labels which train never held: a condition on one of these is theirs to judge.
INVENTS = ("simulation", "language model")


def keep_identifiers(generator: Generator, family: str = "") -> Generator:
    """The same generator; its three methods are called on the table without identifiers and groups."""
    # Outermost, after constraints: what is put back is never rewritten.
    kept = _Identified(generator, family)
    generator.supports, generator.fit, generator.sample = kept.supports, kept.fit, kept.sample
    return generator


class _Identified:
    def __init__(self, generator: Generator, family: str):
        self._own_supports = generator.supports
        self._own_fit = generator.fit
        self._own_sample = generator.sample
        # A private generator must not say which labels train holds, nor one that fits such a one.
        self._checks_labels = family not in INVENTS and not is_private(generator)
        self._schema: Schema | None = None
        self._patterns: dict[str, Pattern] = {}
        self._labels: dict[str, set] = {}

    def supports(self, schema: Schema) -> str | None:
        if not schema.modelled.columns:
            return "every column is an identifier or a group; nothing is left to learn."
        return self._own_supports(schema.modelled.plain)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Generator:
        # What generators write themselves is no text of the raw table.
        modelled = schema.modelled.plain
        self._schema = schema
        # What an identifier looks like is learnt, never one that somebody has.
        self._patterns = {
            column.name: Pattern.learn(table[column.name]) for column in schema.identifying
        }
        if self._checks_labels:
            self._labels = _labels(table, modelled)
        # No copy where nothing is left out.
        learnt = table[modelled.names] if self._patterns else table
        fitted = self._own_fit(learnt, modelled, rng)
        if self._patterns and hasattr(fitted, "guarantee"):
            fitted.guarantee += (
                "; the pattern of its identifiers (lengths, shared signs, the largest counting"
                " number) "
            )
            fitted.guarantee += "was read off the train table and is not covered"
        return fitted

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        if self._schema is not None and where:
            self._check_conditions(where)
        if not self._patterns:
            return self._own_sample(n, rng, where)
        # The stream is split first, so that the modelled columns do not depend on what identifiers draw.
        identifiers_rng = rng.spawn(1)[0]
        try:
            drawn = self._own_sample(n, rng, where)
        except TooFew as few:
            raise TooFew(str(few), self._completed(few.rows, identifiers_rng)) from None
        return self._completed(drawn, identifiers_rng)

    def _completed(self, drawn: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """The drawn rows with fresh identifiers, in the order of train's columns."""
        # After the draw: fresh values depend on how many rows there are, and on nothing in them.
        columns = dict(drawn.items())
        for column in self._schema.identifying:
            pattern = self._patterns[column.name]
            draw = pattern.fresh_groups if column.role == "group" else pattern.fresh
            columns[column.name] = draw(len(drawn), rng).set_axis(drawn.index)
        return pd.DataFrame(columns, index=drawn.index, columns=self._schema.names)

    def _check_conditions(self, where: Mapping) -> None:
        """Raises InputError for a condition on an identifier, and on a label that train does not
        have: no draw would ever meet it.
        """
        for name, wanted in where.items():
            column = self._schema[name]
            if column in self._schema.identifying:
                raise InputError(
                    f"condition on {name!r}: its values are made afresh (its role is"
                    f" {column.role}); name another column."
                )
            # A misspelt label would be waited for through a hundred tables.
            known = self._labels.get(name)
            is_label = isinstance(wanted, (str, int, float)) and not pd.isna(wanted)
            if known is None or not is_label or label(column, wanted) in known:
                continue
            spelled = str(label(column, wanted))
            shown = get_close_matches(spelled, known, n=3) or sorted(known)[:10]
            raise InputError(
                f"condition on {name!r}: no train row has {wanted!r}; {nearest(spelled, shown)}"
            )


def _labels(table: pd.DataFrame, schema: Schema) -> dict[str, set]:
    return {
        column.name: set(table[column.name].dropna().unique())
        for column in schema.columns
        if column.kind == "categorical"
    }
