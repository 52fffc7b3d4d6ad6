"""Disclosure for named keys: what somebody who knows a few facts of a person (age, sex, town) finds
in the synthetic table, as statistical agencies count it.

The measures and their names are those of synthpop 1.9 (Raab, Nowok and Dibben 2024, "Practical
privacy metrics for synthetic data"). The keys are declared: `load(..., keys=["age", "sex"])`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import norm

from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.intervals import Z, wilson
from workbench.metrics.privacy import row_numbers
from workbench.tables.encode import Codes
from workbench.tables.schema import Schema

GROUPS = 5  # of a target of numbers, as synthpop's `ngroups_target`


def disclosure(trial: Trial) -> Iterator[Row]:
    """Replicated uniques and DiSCO: identity and attribute disclosure from the declared keys.

    `replicated_uniques` (repU): the share of train rows whose combination of keys is unique in train
    and unique in the synthetic table. Rows: `unique in train` (UiO), `unique in synthetic` (UiS, of
    the synthetic rows). `disco`: the share of train rows for which the synthetic rows with the same
    keys all have one value of a secret column, and the row has it too ("disclosive in synthetic,
    correct in the original"). Secrets are the target and the sensitive columns that are no keys; one
    row each with its parts in the note: keys found (iS), disclosive (DiS), also disclosive in train
    (DiSDiO), and what train itself would disclose (Dorig). The headline is the largest, with a
    Bonferroni interval. Both 0 to 1, down, where synthpop prints percent; missing is a value of its
    own; a secret of numbers is cut at the GROUPS quantiles of train, keys are not. Wilson's
    intervals. Fresh rows read above 0, since common combinations disclose what everybody knows: read
    it beside the ceiling. Known failure: one set of keys is one attacker; more keys find more
    uniques and fewer matches.
    """
    if not len(trial.train) or not len(trial.synthetic):
        for metric in ("replicated_uniques", "disco"):
            note = "insufficient: train and synthetic need rows"
            yield Row(metric, np.nan, state=INSUFFICIENT, note=note)
        return
    keys = list(trial.schema.keys)
    n = len(trial.train)
    # Numbered together, so that the same keys have the same number in both tables.
    both = pd.concat([trial.train[keys], trial.synthetic[keys]], ignore_index=True)
    cell = row_numbers(both)
    train, synthetic = cell[:n], cell[n:]
    yield from _uniques(train, synthetic, ", ".join(keys))
    rows = [
        _attribute(trial, train, synthetic, column.name)
        for column in trial.schema.columns
        if column.role in ("target", "sensitive") and column.name not in keys
    ]
    if not rows:
        note = "insufficient: every target and sensitive column is a key"
        yield Row("disco", np.nan, state=INSUFFICIENT, note=note)
        return
    # The attacker asks about whichever secret gives most away.
    worst = max(rows, key=lambda row: row.value)
    wider = float(norm.ppf(1 - 0.025 / len(rows))) / Z
    low = max(worst.value - wider * (worst.value - worst.low), 0.0)
    high = min(worst.value + wider * (worst.high - worst.value), 1.0)
    note = f"{worst.column}: {worst.note}"
    yield replace(worst, low=low, high=high, column="", note=note)
    yield from rows


def _uniques(train: np.ndarray, synthetic: np.ndarray, keys: str) -> Iterator[Row]:
    metric, size = "replicated_uniques", int(max(train.max(), synthetic.max())) + 1
    in_train = np.bincount(train, minlength=size)
    in_synthetic = np.bincount(synthetic, minlength=size)
    counts = {
        "": (int(((in_train == 1) & (in_synthetic == 1)).sum()), len(train)),
        "unique in train": (int((in_train == 1).sum()), len(train)),
        "unique in synthetic": (int((in_synthetic == 1).sum()), len(synthetic)),
    }
    for group, (k, n) in counts.items():
        note = f"{k:,} of {n:,} rows; keys: {keys}"
        yield Row(metric, k / n, *wilson(k, n), group=group, note=note)


def _attribute(trial: Trial, train: np.ndarray, synthetic: np.ndarray, name: str) -> Row:
    """DiSCO of one secret column."""
    secret = _values(trial, name)
    own, theirs = secret[: len(train)], secret[len(train) :]
    size = int(max(train.max(), synthetic.max())) + 1
    # For each combination of keys, the one secret that all its rows share, if they do.
    one_in_synthetic = _single(synthetic, theirs, size)
    one_in_train = _single(train, own, size)
    # synthpop's names: keys found, disclosive, correct, disclosive in train as well.
    found = np.isin(train, synthetic)
    disclosive = found & (one_in_synthetic[train] >= 0)
    correct = disclosive & (one_in_synthetic[train] == own)
    in_both = correct & (one_in_train[train] >= 0)
    original = one_in_train[train] >= 0
    n, k = len(train), int(correct.sum())
    parts = {"iS": found, "DiS": disclosive, "DiSDiO": in_both, "Dorig": original}
    words = ", ".join(f"{part} {mask.mean():.3f}" for part, mask in parts.items())
    note = f"{k:,} of {n:,} train rows; {words}"
    return Row("disco", k / n, *wilson(k, n), column=name, note=note)


def _values(trial: Trial, name: str) -> np.ndarray:
    """The secret of train's and then of the synthetic rows, as numbers of its values."""
    column = trial.schema[name]
    if column.is_discrete:
        both = pd.concat([trial.train[[name]], trial.synthetic[[name]]], ignore_index=True)
        return row_numbers(both)
    # As a plain feature: a column's role has no part in how it is cut.
    codes = Codes(trial.train, Schema((replace(column, role="feature"),)), bins=GROUPS)
    sides = (codes.encode_column(table[name]) for table in (trial.train, trial.synthetic))
    return np.concatenate(list(sides))


def _single(cell: np.ndarray, secret: np.ndarray, size: int) -> np.ndarray:
    """The one secret of all rows of each cell, -1 where they differ, -2 where there are none."""
    # Lowest and highest agree exactly where all rows of a cell have one value.
    lowest = np.full(size, np.iinfo(np.int64).max)
    highest = np.full(size, -2, dtype=np.int64)
    np.minimum.at(lowest, cell, secret)
    np.maximum.at(highest, cell, secret)
    return np.where((highest >= 0) & (lowest != highest), -1, highest)
