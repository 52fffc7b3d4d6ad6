"""A real table with a column of free text that needs no download: what functions of installed
packages say of themselves.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.tables.schema import Column, Schema

MODULES = {
    "numpy": "numpy numpy.linalg numpy.fft numpy.ma numpy.polynomial",
    "pandas": (
        "pandas pandas.DataFrame pandas.Series pandas.api.types pandas.Index pandas.DatetimeIndex"
    ),
    "scikit-learn": (
        "sklearn.metrics sklearn.preprocessing sklearn.ensemble sklearn.linear_model"
        " sklearn.datasets sklearn.decomposition sklearn.model_selection sklearn.cluster"
        " sklearn.feature_extraction.text"
    ),
    "scipy": (
        "scipy.stats scipy.optimize scipy.signal scipy.linalg scipy.ndimage scipy.spatial.distance"
    ),
}
LONGEST = 300


def docstrings(rows: int = 600, seed: int = 0) -> tuple[pd.DataFrame, Schema]:
    """Functions and classes of numpy, pandas, scikit-learn and scipy, as many of each: how they are
    described before their parameters are (`text`, at most 300 characters), whether they have an
    example, and which package they are of (the target).

    A table of at most `rows` rows in random order, without equal texts, and its schema; the rows
    depend on the installed versions and on the seed alone. Raises InputError for fewer than four
    rows.
    """
    if rows < len(MODULES):
        raise InputError(f"docstrings: rows is {rows}; ask for at least {len(MODULES)}.")
    rng, parts = np.random.default_rng(seed), []
    for package, modules in MODULES.items():
        found: dict[str, bool] = {}
        for path in modules.split():
            place, _, name = path.rpartition(".")
            home = (
                getattr(import_module(place), name) if name[:1].isupper() else import_module(path)
            )
            members = (
                getattr(home, name, None) for name in sorted(dir(home)) if not name.startswith("_")
            )
            docs = [inspect.getdoc(member) or "" for member in members if callable(member)]
            found |= {
                text: ">>>" in doc for doc in docs if len((text := _opening(doc)).split()) >= 8
            }
        table = pd.DataFrame(
            {"text": list(found), "example": list(found.values()), "package": package}
        )
        parts.append(table.iloc[rng.permutation(len(table))[: rows // len(MODULES)]])
    table = pd.concat(parts).drop_duplicates("text")
    schema = Schema(
        (
            Column("text", "categorical"),
            Column("example", "boolean"),
            Column("package", "categorical", "target"),
        )
    )
    return schema.cast(table.iloc[rng.permutation(len(table))].reset_index(drop=True)), schema


def _opening(doc: str) -> str:
    """What a docstring says before its first section, in one line that ends with a word."""
    line = " ".join(re.split(r"\n[A-Z][\w ]+\n---|>>>", doc)[0].split())
    return line if len(line) <= LONGEST else line[: line[:LONGEST].rfind(" ")]
