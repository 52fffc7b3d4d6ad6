"""What no real row does: declared constraints that are broken, dependencies of train that do not
hold, and labels that train never has together.

A single impossible row (a pregnant man, a street in another town) discredits a synthetic table that
has every marginal right, and no distance between distributions sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.metrics import INSUFFICIENT, NOT_APPLICABLE, Row, Trial
from workbench.metrics.intervals import wilson
from workbench.tables.constraints import broken, unequal
from workbench.tables.schema import formula_text
from workbench.tables.structure import find_dependencies

EXPECTED = 20  # train rows, were two columns unrelated; chance leaves such a cell empty once in 5e8
MAX_COLUMNS = 60  # label columns whose pairs are looked at
MAX_LEVELS = 500  # labels of a column that is looked at: a text per row is none
NAMED = 3  # broken combinations that a note lists


@dataclass(frozen=True)
class Rule:
    """What train's rows keep: in words, and which rows of another table break it."""

    words: str
    breaks: Callable[[pd.DataFrame], np.ndarray]
    columns: tuple[str, ...] = ()


def violations(trial: Trial) -> Iterator[Row]:
    """Share of synthetic rows that break a rule that every train row keeps.

    Rules are the declared constraints; the dependencies between columns of labels that hold in all
    of train and are no coincidence ("city decides country"); and structural zeros: two labels that
    train never has in one row, though EXPECTED rows or more would be were their columns unrelated.
    A missing value breaks a rule only where a declared combination has none such. 0 to 1, down; 0
    no row does what no real row does. Rows: one a rule, the commonest broken combinations in its
    note. Wilson's interval. Held against train, which keeps them all; the ceiling is what fresh real
    rows break, since an empty cell of train may be rare rather than impossible. Known failure: rules
    between numbers are seen only where they are declared.
    """
    rules = trial.once("rules", trial.train, lambda: rules_of(trial))
    if not rules:
        note = "not applicable: no declared constraint, no dependency, no labels that exclude each"
        yield Row("violations", np.nan, state=NOT_APPLICABLE, note=f"{note} other in train")
        return
    n = len(trial.synthetic)
    if not n:
        note = "insufficient: no synthetic row"
        yield Row("violations", np.nan, state=INSUFFICIENT, note=note)
        return
    masks = [rule.breaks(trial.synthetic) for rule in rules]
    bad = int(np.any(masks, axis=0).sum())
    note = f"{bad:,} of {n:,} rows break one of {len(rules)} rules"
    yield Row("violations", bad / n, *wilson(bad, n), note=note)
    for rule, mask in zip(rules, masks, strict=True):
        k = int(mask.sum())
        note = _examples(trial.synthetic[mask], rule.columns)
        yield Row("violations", k / n, *wilson(k, n), group=rule.words, note=note)


def _examples(rows: pd.DataFrame, columns: tuple[str, ...]) -> str:
    if not columns or not len(rows):
        return ""
    counts = rows[list(columns)].astype(object).value_counts(dropna=False)
    named = []
    for values, count in counts.head(NAMED).items():
        named.append(f"{', '.join(str(value)[:40] for value in values)} ({count:,})")
    return "; ".join(named)


def rules_of(trial: Trial) -> list[Rule]:
    """Everything that holds in each train row."""
    schema, train = trial.schema, trial.train
    rules = []
    for low, high, strict in schema.inequalities:
        rules.append(_inequality(low, high, strict))
    for total, sign, parts in schema.formulas:
        rules.append(_formula(total, sign, parts))
    for names in schema.combinations:
        rules.append(_combination(train, tuple(names)))
    declared = [set(names) for names in schema.combinations]
    taken = []
    for fine, coarse in find_dependencies(train, schema):
        if not any({fine, coarse} <= names for names in declared):
            rules.append(_dependency(train, fine, coarse))
            taken.append({fine, coarse})
    labels = [column.name for column in schema.columns if column.is_discrete][:MAX_COLUMNS]
    coded = {name: pd.factorize(train[name].astype(object)) for name in labels}
    labels = [name for name in labels if len(coded[name][1]) <= MAX_LEVELS]
    for one, other in combinations(labels, 2):
        # A dependency is full of empty cells; it says all of them at once.
        if any({one, other} <= names for names in [*declared, *taken]):
            continue
        zeros = empty_cells(coded[one], coded[other])
        if zeros:
            rules.append(_zeros(one, other, zeros))
    return rules


def empty_cells(one: tuple, other: tuple) -> set[tuple]:
    """Pairs of labels that no row has, though EXPECTED rows would have them by chance; each column
    as its codes (missing -1) and labels.
    """
    held = (one[0] >= 0) & (other[0] >= 0)
    shape = len(one[1]), len(other[1])
    if min(shape) < 2 or not held.any():
        return set()
    cell = one[0][held].astype(np.int64) * shape[1] + other[0][held]
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / held.sum()
    found = np.argwhere((counts == 0) & (expected >= EXPECTED))
    return {(one[1][i], other[1][j]) for i, j in found}


def _inequality(low: str, high: str, strict: bool) -> Rule:
    words = f"{low} {'<' if strict else '<='} {high}"
    return Rule(words, lambda table: broken(table, low, high, strict))


def _formula(total: str, sign: str, parts: tuple[str, ...]) -> Rule:
    words = formula_text(total, sign, parts)
    return Rule(words, lambda table: unequal(table, total, sign, parts))


def _combination(train: pd.DataFrame, names: tuple[str, ...]) -> Rule:
    known = set(_together(train, names))

    def breaks(table: pd.DataFrame) -> np.ndarray:
        return np.array([values not in known for values in _together(table, names)], dtype=bool)

    return Rule(f"combinations of {', '.join(names)}", breaks, names)


def _dependency(train: pd.DataFrame, fine: str, coarse: str) -> Rule:
    present = train[train[fine].notna() & train[coarse].notna()]
    decided = dict(zip(present[fine].astype(object), present[coarse].astype(object), strict=True))

    def breaks(table: pd.DataFrame) -> np.ndarray:
        # A label that train never had decides nothing.
        due = table[fine].astype(object).map(decided)
        differs = due.to_numpy() != table[coarse].astype(object).to_numpy()
        known = due.notna().to_numpy() & table[coarse].notna().to_numpy()
        return np.asarray(known & differs, dtype=bool)

    return Rule(f"{fine} decides {coarse}", breaks, (fine, coarse))


def _zeros(one: str, other: str, zeros: set[tuple]) -> Rule:
    def breaks(table: pd.DataFrame) -> np.ndarray:
        return np.array([pair in zeros for pair in _together(table, (one, other))], dtype=bool)

    return Rule(f"never together: labels of {one} and {other}", breaks, (one, other))


def _together(table: pd.DataFrame, names: tuple[str, ...]) -> list[tuple]:
    """The rows' labels in these columns, a missing value being None."""
    columns = []
    for name in names:
        values = table[name].astype(object)
        columns.append(values.where(values.notna(), None).tolist())
    return list(zip(*columns, strict=True))
