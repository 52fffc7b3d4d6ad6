"""Structure found in a table: skip patterns, sums and products of columns, functional dependencies.

    skip pattern            spouse_age is present exactly when status is married
    sum or product          total = a + b, amount = price * quantity, in every row
    dependency              every city lies in one country

Each is found only where it holds in every row, and where chance alone would hardly make it so. The
finders look at a sample of rows first and at all rows only for what the sample leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations_with_replacement, pairwise

import numpy as np
import pandas as pd

from workbench.tables.encode import Marginal, level_codes, to_float
from workbench.tables.schema import Column, Schema

CHANCE = 1e-6  # of a pattern anywhere in a table whose columns have nothing to do with each other
LEAST_SHARE = 0.005  # of rows in which a column is absent, or present: rarer, it is no pattern
SAMPLED_ROWS = 20_000  # looked at first
MOST_RUNS = 4  # stretches of a number in which a column is present or absent throughout
DONORS = 10  # train rows of which the one most alike lends a value that must not be missing
MOST_RULES = 3  # gates of a column that no single gate decides
LEAST_VALUES = 5  # distinct totals, and rows on which a sum must tell something
MOST_NUMBERS = 60  # columns of which every pair is tried as a sum; a cube of them is compared
REGRESSION_ROWS = 2_000  # on which a column is regressed on all others
MOST_GAPS = 0.1  # missing share of a column in such a regression
MOST_LEVELS = 200  # levels of a column on which another may depend


@dataclass(frozen=True)
class Skip:
    """One column is absent, or present, wherever another one, its gate, has certain values.

    The gate's values fall into cells: one a label, or one a stretch of numbers between `cuts`; the
    last cell is a missing gate.
    """

    column: str
    gate: str
    levels: tuple[str | bool, ...]
    cuts: tuple[float, ...]
    absent: tuple[bool, ...]
    present: tuple[bool, ...]
    is_exact: bool
    """Whether every cell of the gate decides: the column is present exactly in some of them."""

    def cells(self, gate: pd.Series) -> np.ndarray:
        """The cell of each value of the gate, int, shape (rows,); -1 for a label never seen."""
        missing = gate.isna().to_numpy(dtype=bool)
        if self.levels:
            codes = level_codes(pd.Index(self.levels, dtype=object), gate)
        else:
            codes = np.searchsorted(self.cuts, to_float(gate), side="right")
        return np.where(missing, len(self.absent) - 1, codes)

    @property
    def is_presence(self) -> bool:
        """Whether the column is missing where the gate is, and nowhere else."""
        return self.absent == (False,) * (len(self.absent) - 1) + (True,)

    def sentence(self) -> str:
        """The pattern in words.

        >>> levels = ("married", "single")
        >>> skip = Skip("age", "status", levels, (), (False, True, False), (True, False, False), True)
        >>> skip.sentence()
        'age is present exactly where status is married'
        """
        if self.is_presence:
            return f"{self.column} is present exactly where {self.gate} is present"
        if self.is_exact:
            shown = [self._cell_words(int(cell)) for cell in np.flatnonzero(self.present)]
            return f"{self.column} is present exactly where {self.gate} is {' or '.join(shown)}"
        shown = [self._cell_words(int(cell)) for cell in np.flatnonzero(self.absent)]
        return f"{self.column} is missing wherever {self.gate} is {' or '.join(shown)}"

    def _cell_words(self, cell: int) -> str:
        if cell == len(self.absent) - 1:
            return "missing"
        if self.levels:
            return str(self.levels[cell])
        if not self.cuts:
            return "present"
        if cell == 0:
            return f"below {self.cuts[0]:g}"
        if cell == len(self.cuts):
            return f"above {self.cuts[-1]:g}"
        return f"between {self.cuts[cell - 1]:g} and {self.cuts[cell]:g}"


class Skips:
    """The skip patterns of a train table, and their repair in a synthetic one."""

    def __init__(self, table: pd.DataFrame, schema: Schema):
        self.rules = find_skips(table, schema)
        self.changed = {rule.column for rule in self.rules}
        self._train = table
        self._ranks = _ranks(table, table, self.changed)

    def repair(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """The table with every pattern kept: what must be absent is removed, and what must be
        present is taken from a train row of the same cell of the gate.
        """
        columns = dict(table.items())
        shares: dict[str, np.ndarray] = {}
        ranks = None
        # Gates come before the columns that they open, so that nested patterns are kept as well.
        for name in dict.fromkeys(rule.column for rule in self.rules):
            rules = [rule for rule in self.rules if rule.column == name]
            absent = np.zeros(len(table), dtype=bool)
            for rule in rules:
                absent |= _lookup(rule.absent, rule.cells(columns[rule.gate]))
            for rule in rules:
                cells = rule.cells(columns[rule.gate])
                lost = columns[name].isna().to_numpy(dtype=bool) & ~absent
                lost &= _lookup(rule.present, cells)
                if not lost.any():
                    continue
                # Columns behind one gate are filled from one train row, so that they fit together.
                if rule.gate not in shares:
                    shares[rule.gate] = rng.random((len(table), DONORS))
                if ranks is None:
                    ranks = _ranks(table, self._train, self.changed)
                donors = self._donors(rule, cells[lost], shares[rule.gate][lost], ranks[lost])
                filled = columns[name].copy()
                filled[lost] = self._train[name].iloc[donors].array
                columns[name] = filled
            if (absent & columns[name].notna().to_numpy(dtype=bool)).any():
                columns[name] = columns[name].mask(absent)
        return pd.DataFrame(columns, columns=table.columns)

    def _donors(
        self, rule: Skip, cells: np.ndarray, shares: np.ndarray, ranks: np.ndarray
    ) -> np.ndarray:
        """A train row for each of the cells: of DONORS rows drawn from it, the one most alike."""
        train = rule.cells(self._train[rule.gate])
        donors = np.zeros(len(cells), dtype=int)
        for cell in np.unique(cells):
            rows = np.flatnonzero(train == cell)
            inside = cells == cell
            drawn = rows[(shares[inside] * len(rows)).astype(int)]
            apart = np.zeros(drawn.shape)
            for column in range(ranks.shape[1]):
                apart += np.abs(self._ranks[drawn, column] - ranks[inside, column][:, None])
            donors[inside] = drawn[np.arange(len(drawn)), apart.argmin(axis=1)]
        return donors


def _ranks(table: pd.DataFrame, train: pd.DataFrame, leave_out: set[str]) -> np.ndarray:
    """Each number as its share of smaller train values, 0.5 where missing, shape (rows, numbers)."""
    ranks = []
    for name in train.columns:
        if name in leave_out or pd.api.types.is_object_dtype(train[name].dtype):
            continue
        known = np.sort(to_float(train[name].dropna()))
        place = np.searchsorted(known, to_float(table[name])) / max(len(known), 1)
        ranks.append(np.where(table[name].isna(), 0.5, place))
    return np.column_stack(ranks) if ranks else np.zeros((len(table), 0))


def _lookup(flags: tuple[bool, ...], cells: np.ndarray) -> np.ndarray:
    """The flag of each cell, False for the cell -1."""
    return np.append(flags, False)[cells]


def find_skips(table: pd.DataFrame, schema: Schema) -> list[Skip]:
    """Skip patterns that hold in every row, gates before the columns that they open.

    Parameters
    ----------
    table : DataFrame, shape (rows, columns)
        Cast to `schema`.

    Returns
    -------
    list of Skip
        At most one exact pattern a column, or a few that say where it is always absent.
    """
    masks = {name: table[name].isna().to_numpy(dtype=bool) for name in schema.names}
    gappy = [n for n, mask in masks.items() if LEAST_SHARE <= mask.mean() <= 1 - LEAST_SHARE]
    if not gappy:
        return []
    rows = _sampled(len(table))
    gates = {column.name: _Gate(table[column.name].iloc[rows], column) for column in schema.columns}
    order = sorted(schema.names, key=lambda name: masks[name].sum())  # a gate without gaps first
    full: dict[str, _Gate] = gates if len(rows) == len(table) else {}
    log_tries = np.log(len(gappy) * len(schema.names))
    rules: list[Skip] = []
    graph: dict[str, set[str]] = {}
    for name in gappy:
        found = []
        for gate in order:
            if gate == name or gates[gate].examine(masks[name][rows], name, log_tries) is None:
                continue
            if gate not in full:
                full[gate] = _Gate(table[gate], schema[gate])
            found.append(full[gate].examine(masks[name], name, log_tries))
        rules += _chosen(name, list(filter(None, found)), table, graph)
    depth = {column: turn for turn, column in enumerate(TopologicalSorter(graph).static_order())}
    return sorted(rules, key=lambda rule: depth[rule.column])


def _chosen(
    name: str, found: list[Skip], table: pd.DataFrame, graph: dict[str, set[str]]
) -> list[Skip]:
    """The first exact pattern that closes no circle; without one, those that each explain more."""
    exact = [rule for rule in found if rule.is_exact]
    chosen: list[Skip] = []
    explained = np.zeros(len(table), dtype=bool)
    for rule in [*exact, *found]:
        absent = _lookup(rule.absent, rule.cells(table[rule.gate]))
        further = (absent & ~explained).sum() * np.log(table[name].isna().mean())
        # Another gate must explain more rows than chance would hand to it.
        if further > np.log(CHANCE) or _closes_circle(graph, name, rule.gate):
            continue
        graph.setdefault(name, set()).add(rule.gate)
        chosen.append(rule)
        explained |= absent
        if rule.is_exact or len(chosen) == MOST_RULES:
            break
    return chosen


def _closes_circle(graph: dict[str, set[str]], column: str, gate: str) -> bool:
    longer = {**graph, column: graph.get(column, set()) | {gate}}
    try:
        TopologicalSorter(longer).prepare()
    except CycleError:
        return True
    return False


class _Gate:
    """A column as the gate of others: its labels, or its distinct numbers, as codes."""

    def __init__(self, values: pd.Series, column: Column):
        self._name = column.name
        self._levels: tuple = ()
        self._numbers = np.empty(0)
        if column.is_discrete:
            codes, levels = pd.factorize(values.astype(object), sort=True)
            self._levels = tuple(levels)
            size = len(levels)
        else:
            numbers = to_float(values)
            self._numbers = np.unique(numbers[~np.isnan(numbers)])
            codes = np.searchsorted(self._numbers, numbers)
            size = len(self._numbers)
        self._codes = np.where(values.isna().to_numpy(dtype=bool), size, codes)
        self._size = size + 1
        self._counts = np.bincount(self._codes, minlength=self._size)

    def examine(self, mask: np.ndarray, column: str, log_tries: float) -> Skip | None:
        """The pattern by which this gate decides where `mask` is true, or None."""
        gaps = np.bincount(self._codes, weights=mask, minlength=self._size).astype(int)
        counts = self._counts
        cuts: tuple[float, ...] = ()
        log_choices = self._size * np.log(2)
        if not self._levels:
            starts = _stretches(gaps[:-1], counts[:-1])
            cuts = tuple((self._numbers[starts - 1] + self._numbers[starts]) / 2)
            log_choices = len(starts) * np.log(max(self._size, 2)) + np.log(2)
            edges = np.r_[0, starts, self._size - 1]
            edges = edges[: len(edges) if len(self._numbers) else 0]
            gaps, counts = _pooled(gaps, edges), _pooled(counts, edges)
        absent, present = gaps == counts, gaps == 0
        share = mask.mean()
        if not LEAST_SHARE <= share <= 1 - LEAST_SHARE:
            return None
        log_absent, log_present = counts * np.log(share), counts * np.log1p(-share)
        limit = np.log(CHANCE) - log_tries
        if (absent | present).all():
            chance = log_absent[absent].sum() + log_present[present].sum() + log_choices
            if chance < limit:
                return self._skip(column, cuts, absent & (counts > 0), present & (counts > 0), True)
        # No single cell may be taken for a rule only because it has few rows.
        absent &= log_absent + np.log(self._size) < limit
        present &= log_present + np.log(self._size) < limit
        return self._skip(column, cuts, absent, present, False) if absent.any() else None

    def _skip(
        self, column: str, cuts: tuple, absent: np.ndarray, present: np.ndarray, is_exact: bool
    ) -> Skip:
        flags = tuple(absent.tolist()), tuple(present.tolist())
        return Skip(column, self._name, self._levels, cuts, *flags, is_exact)


def _pooled(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The sums of stretches of all values but the last, and the last one, the missing gate's."""
    sums = [values[start:end].sum() for start, end in pairwise(edges)]
    return np.array([*sums, values[-1]])


def _stretches(gaps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where another stretch of the sorted numbers begins, in each of which a column is absent,
    present, or neither throughout.
    """
    state = np.where(gaps == counts, 1, np.where(gaps == 0, 0, 2))
    starts = np.flatnonzero(np.diff(state)) + 1
    if len(starts) < MOST_RUNS:
        return starts
    # Of many stretches only both ends may mean something: the middle is one without a rule.
    return np.array([starts[0], starts[-1]])


def find_formulas(table: pd.DataFrame, schema: Schema) -> list[tuple[str, str, tuple[str, ...]]]:
    """Sums and products of number columns that hold in every row.

    Parameters
    ----------
    table : DataFrame, shape (rows, columns)
        Cast to `schema`.

    Returns
    -------
    list of (total, sign, parts)
        As `Schema.formulas` gives them, such as ("amount", "*", ("price", "quantity")), at most one
        for each column, none of which runs in a circle with the others.
    """
    numbers = {c.name: to_float(table[c.name]) for c in schema.columns if _is_number(c)}
    numbers = {name: values for name, values in numbers.items() if _varies(values)}
    names = list(numbers)[:MOST_NUMBERS]
    if len(names) < 2:
        return []
    matrix = np.column_stack([numbers[name] for name in names])
    tolerance = np.array([rounding(matrix[:, j]) for j in range(len(names))])
    found: dict[int, tuple[str, tuple[int, ...]]] = {}
    for total, sign, parts in _pairs(matrix, tolerance):
        if _may_follow(found, total, parts) and _holds(
            matrix, total, sign, parts, tolerance[total]
        ):
            found[total] = (sign, parts)
    # Totals are left out of the longer sums, where they could stand for their parts.
    held = np.flatnonzero(np.isnan(matrix).mean(axis=0) < MOST_GAPS)
    for total, parts in _long_sums(matrix, [int(j) for j in held if j not in found]):
        if _may_follow(found, total, parts) and _holds(matrix, total, "+", parts, tolerance[total]):
            found[total] = ("+", parts)
    relations = []
    for total, (sign, parts) in sorted(found.items()):
        relations.append((names[total], sign, tuple(names[part] for part in parts)))
    return relations


def _may_follow(found: Mapping[int, tuple], total: int, parts: tuple[int, ...]) -> bool:
    """Whether the total has no sum yet, and no part of it is computed from the total itself."""
    if total in found:
        return False
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part == total:
            return False
        if part in found:
            waiting += found[part][1]
    return True


def combined(parts: list[np.ndarray], sign: str) -> np.ndarray:
    """The sum ("+") or the product ("*") of columns, shape (rows,); missing where a part is."""
    value = parts[0]
    for part in parts[1:]:
        value = value + part if sign == "+" else value * part
    return value


def rounding(total: np.ndarray) -> float:
    """How far a total may lie from its sum: half a unit of its last decimal, where it has one."""
    step = Marginal.fit(total).step
    return 0.0 if step is None else min(step, 1.0) / 2 * (1 - 1e-9)


def differs(total: np.ndarray, value: np.ndarray, tolerance: float | np.ndarray) -> np.ndarray:
    """Whether a total is another number than the sum of its parts; a missing one never is."""
    size = np.fmax(np.abs(total), np.abs(value))
    with np.errstate(invalid="ignore"):
        return np.abs(total - value) > tolerance + 1e-9 * size


def _is_number(column: Column) -> bool:
    return column.kind in ("numeric", "integer")


def _varies(values: np.ndarray) -> bool:
    return len(np.unique(values[~np.isnan(values)])) >= LEAST_VALUES - 2


def _pairs(matrix: np.ndarray, tolerance: np.ndarray) -> Iterator[tuple[int, str, tuple[int, int]]]:
    """Totals of two columns, by comparing every pair with every column on a few full rows."""
    full = np.flatnonzero(~np.isnan(matrix).any(axis=1))
    if len(full) < LEAST_VALUES:
        # Columns with many gaps are never all present: those few rows have the fewest gaps.
        full = np.argsort(np.isnan(matrix).sum(axis=1), kind="stable")[:LEAST_VALUES]
    # Rows with large values tell most: zeros add up to zero whatever they are.
    size = np.abs(np.nan_to_num(matrix[full]))
    rank = (size / np.maximum(size.max(axis=0), 1e-300)).sum(axis=1)
    rows = full[np.argsort(-rank, kind="stable")[:12]]
    few = matrix[rows]
    for first, second in combinations_with_replacement(range(matrix.shape[1]), 2):
        parts = [few[:, first], few[:, second]]
        for sign in ("+", "*"):
            value = combined(parts, sign)[:, None]
            wrong = differs(few, value, tolerance).any(axis=0)
            wrong |= np.isfinite(few - value).sum(axis=0) < 3
            for total in np.flatnonzero(~wrong):
                if total not in (first, second):
                    yield int(total), sign, (first, second)


def _long_sums(matrix: np.ndarray, held: list[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Totals of three columns or more, where a regression on all others has coefficients of 0 and
    1 only.
    """
    full = matrix[~np.isnan(matrix[:, held]).any(axis=1)][:REGRESSION_ROWS]
    if len(full) <= 2 * len(held):
        return
    scale = np.maximum(np.abs(full).max(axis=0), 1e-300)
    for total in held:
        others = [other for other in held if other != total]
        scaled = full[:, others] / scale[others]
        # Slopes of the scaled columns: a part moves the total by its own size, all else by nothing.
        slopes, *_ = np.linalg.lstsq(scaled, full[:, total] / scale[total], rcond=None)
        expected = scale[others] / scale[total]
        is_part = np.abs(slopes - expected) < 1e-3 * expected
        is_idle = np.abs(slopes) < 1e-4
        if is_part.sum() > 2 and (is_part | is_idle).all():
            yield total, tuple(other for other, part in zip(others, is_part, strict=True) if part)


def _holds(
    matrix: np.ndarray, total: int, sign: str, parts: tuple[int, ...], tolerance: float
) -> bool:
    """Whether a sum or product holds in all rows, and says something in enough of them."""
    columns = [matrix[:, j] for j in parts]
    value = combined(columns, sign)
    if differs(matrix[:, total], value, tolerance).any():
        return False
    both = ~np.isnan(value) & ~np.isnan(matrix[:, total])
    # a + 0 and a * 1 hold for any copy of a column: every part must matter in several rows.
    for place in range(len(columns)):
        without = combined(columns[:place] + columns[place + 1 :], sign)
        both &= differs(value, without, tolerance)
        if sign == "*":
            both &= value != 0
    return len(np.unique(value[both])) >= LEAST_VALUES


def find_dependencies(table: pd.DataFrame, schema: Schema) -> list[tuple[str, ...]]:
    """Label columns of which one decides the other in every row, as lists of columns whose
    combinations are fixed.

    Parameters
    ----------
    table : DataFrame, shape (rows, columns)
        Cast to `schema`.

    Returns
    -------
    list of tuple of str
        Such as ("city", "country"), the deciding column first.
    """
    labels = [column.name for column in schema.columns if column.is_discrete]
    codes = {}
    for name in labels:
        column, levels = pd.factorize(table[name].astype(object), use_na_sentinel=False)
        if 2 <= len(levels) <= min(MOST_LEVELS, len(table) / LEAST_VALUES):
            codes[name] = column
    sizes = {name: column.max() + 1 for name, column in codes.items()}
    rows = _sampled(len(table))
    found: list[tuple[str, ...]] = []
    taken: set[tuple[str, str]] = set()
    # The column with the fewest levels that decides another is the closest to it.
    for name in codes:
        for other in sorted(codes, key=lambda label: (sizes[label], label)):
            if other == name or sizes[other] < sizes[name] or (other, name) in taken:
                continue
            if not _decides(codes[other][rows], codes[name][rows]):
                continue
            if _decides(codes[other], codes[name]) and not _by_chance(codes[other], codes[name]):
                found.append((other, name))
                taken |= {(name, other)}
                break
    return found


def _decides(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether each code of `one` occurs with a single code of `other`."""
    # The last code of `other` that each code of `one` occurs with; one that decides has no second.
    last = np.zeros(one.max() + 1, dtype=other.dtype)
    last[one] = other
    return bool((last[one] == other).all())


def _by_chance(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether columns without any link would look like this too: nearly all rows have one code of
    `other`, or each code of `one` has a row or two.
    """
    shares = np.bincount(other) / len(other)
    # After its first row, each row of a code must repeat the code of `other` by luck.
    first = np.unique(one, return_index=True)[1]
    repeats = np.ones(len(one), dtype=bool)
    repeats[first] = False
    return float(np.log(shares[other[repeats]]).sum()) > np.log(CHANCE)


def _sampled(rows: int) -> np.ndarray:
    """Row numbers to look at first: all, or a fixed random sample."""
    if rows <= SAMPLED_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, SAMPLED_ROWS, replace=False))
