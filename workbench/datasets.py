"""Real tables by name or path, split once into train and test.

`load` looks into the folder named by WORKBENCH_DATA first, then at the tables that installed packages carry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from workbench.schema import Schema


@dataclass(frozen=True)
class Dataset:
    """A real table, cast to its schema and split once.

    train and test are disjoint rows of one table; a generator sees train only, and scores read test.
    provenance says where the rows came from, how they were split, and the hashes of both parts.
    """

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    schema: Schema
    provenance: Mapping[str, object] = field(default_factory=dict)


def table_hash(table: pd.DataFrame) -> str:
    """sha256 of a cast table's names, dtypes and values in row order: equal tables, equal hash, in any process."""
    digest = hashlib.sha256()
    for name in table.columns:
        digest.update(f"{name}\0{table[name].dtype}\0".encode())
        digest.update(pd.util.hash_pandas_object(table[name], index=False, categorize=False).to_numpy().tobytes())
    return digest.hexdigest()
