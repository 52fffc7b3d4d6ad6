"""Who a label is: controls and the order of a page follow from the generator, which every row and
cell names.

A label is what a person chose to print. "copy of mine" may name any generator, and a control may
be called "raw copy"; so nothing here reads a label, except in tables that have no generator column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from workbench.generators import GENERATORS


def is_control(generator: str) -> bool:
    """Whether the generator of this registered name is a control."""
    entry = GENERATORS.get(generator)
    return entry is not None and entry.family == "control"


def identities(table: pd.DataFrame) -> dict[str, str]:
    """label -> generator. In a table without a generator column (rows put together by hand) a
    label is all there is, and stands for its generator.
    """
    if "generator" not in table:
        return {label: label for label in table["label"].unique()}
    known = table[["label", "generator"]].drop_duplicates("label")
    return dict(known.itertuples(index=False, name=None))


def controls(table: pd.DataFrame) -> pd.Series:
    """Which rows of a table belong to controls, bool, with the table's index."""
    source = table["generator"] if "generator" in table else table["label"]
    known = {name: is_control(name) for name in source.unique()}
    return source.map(known).astype(bool)


def ordered(labels: Iterable[str] | Mapping[str, str]) -> list[str]:
    """Labels in the order of GENERATORS, unknown ones after them, controls last.

    labels: label -> generator, or labels alone, which then stand for their generators.
    """
    generators = labels if isinstance(labels, Mapping) else {label: label for label in labels}
    place = {name: count for count, name in enumerate(GENERATORS)}

    def key(label: str) -> tuple:
        generator = generators[label]
        return is_control(generator), place.get(generator, len(place)), label

    return sorted(generators, key=key)


def is_private(generator: str) -> bool:
    """Whether the generator of this registered name keeps differential privacy."""
    entry = GENERATORS.get(generator)
    return entry is not None and "epsilon" in entry.supports


def method_family(generator: str) -> str:
    """The family of the generator of this registered name; "own" for one that is not registered."""
    entry = GENERATORS.get(generator)
    return "own" if entry is None else entry.family
