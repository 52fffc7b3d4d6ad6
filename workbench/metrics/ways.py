"""Tables of two and three columns, counted in both tables and held against each other cell by cell.

What NIST's SDNist calls k-marginals and synthpop `utility.tables`: a generator that keeps every
column and every pair may still lose what three columns say together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from workbench.metrics import NOT_APPLICABLE, Row, Trial
from workbench.metrics.intervals import from_influence
from workbench.tables.encode import Codes

BINS = 5  # of a column of numbers, as synthpop's `ngroups`: three columns have 125 cells
MAX_LEVELS = 20  # labels of a column that are told apart; the rarest ones share one
MOST = {2: 300, 3: 200}  # tables of so many columns that are counted; of more, a random sample
NAMED = 5  # tables that a note lists
GROUPS = {2: "pairs", 3: "triples"}


@dataclass(frozen=True)
class Distances:
    """The total variation of each table, and how often a row lies where it is reached.

    Parameters
    ----------
    ways : the columns of each table, as positions.
    distance : total variation, in [0, 1], shape (tables,).
    inside : for each row of the synthetic and of the real table, in how many tables it lies in the
        set of cells on which the two differ most, shape (rows,) each.
    """

    ways: list[tuple[int, ...]]
    distance: np.ndarray
    inside: tuple[np.ndarray, np.ndarray]


def kway_tables(trial: Trial) -> Iterator[Row]:
    """1 - total variation between synthetic and test in tables of two and of three columns, averaged.

    The mean over all pairs and all triples of columns, each kind with the same weight; of more than
    MOST a sample that the seed draws. Numbers are cut at the BINS quantiles of train, missing and
    never seen values have cells of their own, labels beyond the 20 commonest share one. 0 to 1, up;
    1 is equal tables. Rows: the mean; `pairs`, `triples`; the worst of each, with the five worst
    named in the note. SDNist's k-marginal score (Task, Bhagat and Howarth 2023) is 1,000 times the
    mean of one kind; its "equivalent subsample" is `equivalent_share`. synthpop's `utility.tables`
    (Raab, Nowok and Dibben 2021) ranks the same tables. Known failure: most cells of a triple hold
    a few rows, so that even a fresh sample reads well below 1: read it beside the ceiling.
    """
    p = len(trial.schema.columns)
    if p < 2:
        note = "the table has one column, so no pairs."
        yield Row("kway_tables", np.nan, state=NOT_APPLICABLE, note=note)
        return
    found = {k: distances(trial, k) for k in GROUPS if p >= k}
    scores = {k: 1 - float(part.distance.mean()) for k, part in found.items()}
    # Rows move a mean of means by the mean of their shares in each.
    moves = {}
    for k, part in found.items():
        moves[k] = [side / len(part.ways) for side in part.inside]
    overall = float(np.mean(list(scores.values())))
    by_side = zip(*moves.values(), strict=True)
    sides = [np.mean(shares, axis=0) for shares in by_side]
    counts = [f"{len(part.ways):,} {GROUPS[k]}" for k, part in found.items()]
    yield _row(overall, sides, "", " and ".join(counts))
    for k in found:
        yield _row(scores[k], moves[k], GROUPS[k], "")
    for k, part in found.items():
        worst = np.argsort(-part.distance, kind="stable")[:NAMED]
        named = [f"{_title(trial, part.ways[j])} {1 - part.distance[j]:.3f}" for j in worst]
        group = f"worst of the {GROUPS[k]}"
        value = 1 - float(part.distance[worst[0]])
        yield Row("kway_tables", value, group=group, note=", ".join(named))


def distances(trial: Trial, columns: int) -> Distances:
    """Every table of so many columns, or a sample of them, synthetic against test."""
    codes = trial.once("ways", trial.train, lambda: _fitted(trial))
    real = trial.once("ways of test", trial.test, lambda: _encoded(codes, trial.test))
    synthetic = _encoded(codes, trial.synthetic)
    both = np.vstack([synthetic, real])
    sizes = [size + 1 for size in codes.sizes]
    ways = chosen(trial, columns)
    weight = np.repeat([1 / len(synthetic), -1 / len(real)], [len(synthetic), len(real)])
    distance = np.zeros(len(ways))
    inside = np.zeros(len(both))
    for number, way in enumerate(ways):
        cell = both[:, way[0]]
        for j in way[1:]:
            cell = cell * sizes[j] + both[:, j]
        gap = np.bincount(cell, weights=weight)
        fuller = gap > 1e-12
        distance[number] = gap[fuller].sum()
        inside += fuller[cell]
    return Distances(ways, distance, (inside[: len(synthetic)], inside[len(synthetic) :]))


def chosen(trial: Trial, columns: int) -> list[tuple[int, ...]]:
    """The tables that are counted: the same for every table that a trial's references hold."""
    ways = list(combinations(range(len(trial.schema.columns)), columns))
    if len(ways) <= MOST[columns]:
        return ways
    picked = trial.rng(f"ways of {columns}").choice(len(ways), MOST[columns], replace=False)
    return [ways[j] for j in np.sort(picked)]


def _fitted(trial: Trial) -> Codes:
    return Codes(trial.train, trial.schema, bins=BINS, max_levels=MAX_LEVELS)


def _encoded(codes: Codes, table) -> np.ndarray:
    """The codes of a table, values that train never held moved from the missing code to one after
    it.
    """
    encoded = codes.encode(table).astype(np.int64)
    unseen = (encoded == np.array(codes.sizes) - 1) & table.notna().to_numpy()
    return encoded + unseen


def _row(value: float, sides, group: str, note: str) -> Row:
    ends = from_influence(value, *sides, lowest=0, highest=1)
    return Row("kway_tables", value, *ends, group=group, note=note)


def _title(trial: Trial, way: tuple[int, ...]) -> str:
    return " x ".join(trial.schema.names[j] for j in way)
