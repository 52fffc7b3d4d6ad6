"""What a private generator may know of a table without its rows, and the cells that follow from it.

Bounds and grids of numbers, levels of labels, and which columns may miss values are declared, or
taken from the published domain of a named dataset. What nobody declared is read off the train rows:
no budget pays for that, and `Domain.caveat` says for which columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables.encode import Marginal, from_float, level_codes, to_float
from workbench.tables.schema import KINDS, Column, Schema


@dataclass(frozen=True)
class Known:
    """One column's domain. `values` are the levels of labels; of numbers the least, the greatest
    and one between them that shows the grid; `step` is that grid; none of them where the column is
    empty.
    """

    column: Column
    values: pd.Series
    step: float | None
    gaps: bool  # whether a value may be missing

    def restrict(self, values: pd.Series) -> pd.Series:
        """The same column inside the domain, row by row: numbers are cut at the bounds, labels
        outside become missing, and what must not be missing becomes the first value.
        """
        if self.column.is_discrete:
            # No error for a strange label: that it occurs would tell that somebody has it.
            inside = values.where(values.isin(self.values))
            first = self.values.iloc[0] if len(self.values) else None
        else:
            numbers = to_float(values)
            low, high = self.ends()
            inside = from_float(np.clip(numbers, low, high), self.column)
            first = self.values.iloc[0] if len(self.values) else None
        # A column that declared no gaps must not show one, or a missing value would betray its row.
        if self.gaps or first is None:
            return inside
        return inside.fillna(first)

    def ends(self) -> tuple[float, float]:
        """Both bounds of numbers as floats, NaN for an empty column."""
        if not len(self.values):
            return np.nan, np.nan
        # The first two witnesses are kept as lowest and highest.
        numbers = to_float(self.values)
        return float(numbers[0]), float(numbers[1])

    def snap(self, numbers: np.ndarray) -> np.ndarray:
        """The nearest numbers on the grid, which starts at the lower bound, and inside the bounds."""
        low, high = self.ends()
        # From the lower bound on: a grid of 5 may start at 2.
        if self.step:
            numbers = low + np.round((numbers - low) / self.step) * self.step
        if self.step and self.step < 1:
            # 0.07 is written as such: 7 * 0.01 is, give or take what floats cannot hold.
            numbers = np.round(numbers, int(np.ceil(-np.log10(self.step))) + 3)
        return np.clip(numbers, low, high)


class Domain:
    """The domains of all columns.

    Parameters
    ----------
    train
        The private rows; read for the columns that are not declared, and for no others.
    bounds, levels
        (low, high) or (low, high, grid step) of numbers and dates, and labels, by column.
    missing
        The columns that may miss values; None reads that off the rows.
    undocumented
        Columns whose declared bounds stand in no document: a guarantee names them.
    """

    def __init__(
        self,
        train: pd.DataFrame,
        schema: Schema,
        bounds: Mapping,
        levels: Mapping,
        missing: Sequence[str] | None,
        undocumented: Sequence[str] = (),
    ):
        # Before any row is read: a misspelt declaration must not quietly become a look at the rows.
        _check_names(schema, bounds, levels, missing)
        self.schema = schema
        self.known: dict[str, Known] = {}
        self._common: dict[str, pd.Series] = {}
        self._read: list[str] = []
        self._undocumented = list(undocumented)
        for column in schema.columns:
            declared = (levels if column.is_discrete else bounds).get(column.name)
            self.known[column.name] = _known(train[column.name], column, declared, missing)
            # That a column has gaps at all is a fact about its rows, unless somebody has declared it.
            if declared is None or missing is None:
                self._read.append(column.name)

    @property
    def caveat(self) -> str:
        """A clause for the guarantee: which columns' domains were read off the rows."""
        if not self._read and self._undocumented:
            named = ", ".join(self._undocumented)
            return f"; the bounds of {named} are from no document and are not covered"
        if not self._read:
            return ""
        # The guarantee is one sentence; a hundred names would hide what it says.
        named = ", ".join(self._read[:5])
        if len(self._read) > 5:
            named += f" and {len(self._read) - 5} more"
        return f"; the domain of {named} was read off the train table and is not covered"

    @property
    def source(self) -> str:
        """In a word or two, where the domain is from."""
        if not self._read and self._undocumented:
            return "published, but for some bounds"
        if not self._read:
            return "declared"
        if len(self._read) < len(self.known):
            return "partly read off train"
        return "read off train"

    @property
    def table(self) -> pd.DataFrame:
        """A table that shows the domain and nothing else: an encoder fitted on it cannot learn
        more. Levels in `prefer` occur more often than the others.
        """
        shown = {}
        for name, known in self.known.items():
            parts = [known.values]
            if name in self._common:
                # Encoders keep the most frequent levels, so those that are to be told apart occur twice.
                rare = known.values[~known.values.isin(self._common[name])]
                parts = [self._common[name], self._common[name], rare]
            values = pd.concat(parts, ignore_index=True)
            # One more value, a missing one, tells an encoder that the column may miss some.
            if known.gaps or not len(values):
                values = values.reindex(range(len(values) + 1))
            shown[name] = values
        # Shorter columns are repeated: how often a value stands here says nothing of the rows.
        rows = np.arange(max(len(values) for values in shown.values()))
        columns = {
            name: values.take(rows % len(values)).to_numpy() for name, values in shown.items()
        }
        return self.schema.cast(pd.DataFrame(columns))

    def prefer(self, name: str, common: Sequence[int]) -> None:
        """Note which levels of a column, by their numbers, are to be told apart before others."""
        self._common[name] = self.known[name].values.iloc[np.sort(common)]

    def common(self, name: str) -> pd.Series:
        """The levels of a column that are told apart: all, unless some are preferred."""
        return self._common.get(name, self.known[name].values)

    def restrict(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table inside the domain, row by row; what lies outside leaves no trace, and no error."""
        return pd.DataFrame(
            {name: self.known[name].restrict(values) for name, values in table.items()}
        )


class Cells:
    """Columns as integers 0..size-1, by the domain alone; the last one, size-1, means missing.

    Labels have a cell each, those that `Domain.prefer` left out one together. Numbers have a cell
    for every value of their grid where there are at most `bins` of them; otherwise each end is a
    cell of its own, since many columns pile up there, and between them lie equally wide cells, with
    `tails` also dyadic ones, that halve towards both ends, and towards zero where that lies inside.
    """

    def __init__(self, domain: Domain, bins: int, tails: bool = False):
        self.schema, self._known = domain.schema, domain.known
        # Numbers have edges, labels have levels; an empty column has neither.
        self._edges: dict[str, np.ndarray] = {}
        self._levels: dict[str, np.ndarray] = {}
        self._rare: dict[str, np.ndarray] = {}
        self.sizes: list[int] = []
        self.allowed: list[np.ndarray] = []
        for name, known in self._known.items():
            size = len(known.values)
            if known.column.is_discrete:
                size = self._fit_labels(name, domain)
            elif size:
                self._edges[name] = _edges(known, bins, tails)
                size = len(self._edges[name]) + 1
            # Which codes can be drawn at all; missing comes last.
            present = np.full(max(size, 1), len(known.values) > 0)
            self.allowed.append(np.append(present, known.gaps or not size))
            self.sizes.append(len(self.allowed[-1]))

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Codes of a table inside the domain, int32, shape (rows, columns)."""
        codes = np.empty((len(table), len(self.sizes)), dtype=np.int32)
        for j, (name, known) in enumerate(self._known.items()):
            last = self.sizes[j] - 1
            if name in self._edges:
                numbers = to_float(table[name])
                # The right side: an edge is the left end of its cell.
                place = np.searchsorted(self._edges[name], numbers, side="right")
                codes[:, j] = np.where(np.isnan(numbers), last, place)
            elif known.column.is_discrete and len(known.values):
                values = table[name].astype(object)
                place = level_codes(pd.Index(self._levels[name], dtype=object), values)
                # The labels that were left out share the cell after the last level.
                rare = values.isin(self._rare[name]).to_numpy(dtype=bool)
                place = np.where(rare, len(self._levels[name]), place)
                # A label outside the domain counts as missing: an error would tell that somebody has it.
                codes[:, j] = np.where(place < 0, last, place)
            else:
                codes[:, j] = last
        return codes

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A table from codes; numbers are drawn evenly within their cell, on the column's grid."""
        columns = {}
        for j, (name, known) in enumerate(self._known.items()):
            # Drawn for every kind of column, so that one column's kind moves no other column's values.
            share = rng.random(len(codes))
            if name in self._edges:
                columns[name] = self._numbers(known, codes[:, j], share)
            elif len(known.values):
                columns[name] = self._labels(known, codes[:, j], share)
            else:
                columns[name] = _empty(known.column, len(codes))
        return pd.DataFrame(columns, columns=self.schema.names)

    def labels(self, name: str) -> list[str]:
        """A readable name for each code of a column, the last one "missing"."""
        known = self._known[name]
        if not len(known.values):
            return ["none", "missing"]
        if name not in self._edges:
            rare = ["(rare)"] * bool(len(self._rare[name]))
            return [str(level) for level in self._levels[name]] + rare + ["missing"]
        low, high = known.ends()
        # Inner edges alone are kept; the bounds close the outer cells.
        borders = [low, *self._edges[name], high]
        named = [f"{a:,.6g} to {b:,.6g}" for a, b in pairwise(borders)]
        return [*named, "missing"]

    def is_ordered(self, j: int) -> bool:
        """Whether neighbouring codes of the column are neighbouring numbers."""
        return self.schema.names[j] in self._edges

    def _fit_labels(self, name: str, domain: Domain) -> int:
        """Note which labels have a cell of their own; the number of cells, without that of missing."""
        every = domain.known[name].values
        common = domain.common(name)
        self._levels[name] = common.to_numpy(dtype=object, na_value=None)
        self._rare[name] = every[~every.isin(common)].to_numpy(dtype=object, na_value=None)
        return len(self._levels[name]) + bool(len(self._rare[name]))

    def _labels(self, known: Known, codes: np.ndarray, share: np.ndarray) -> pd.Series:
        name = known.column.name
        levels, rare = self._levels[name], self._rare[name]
        shown = np.append(levels, [None] * bool(len(rare)) + [np.nan])
        values = shown[codes]
        drawn = (codes == len(levels)) & (len(rare) > 0)
        values[drawn] = rare[(share[drawn] * len(rare)).astype(int)]
        kind = KINDS[known.column.kind]
        return pd.Series(values, name=name, dtype=object).astype(kind)

    def _numbers(self, known: Known, codes: np.ndarray, share: np.ndarray) -> pd.Series:
        name = known.column.name
        low, high = known.ends()
        borders = np.concatenate([[low], self._edges[name], [high]])
        missing = codes == self.sizes[self.schema.names.index(name)] - 1
        # Any cell will do: the value is overwritten below.
        code = np.where(missing, 0, codes)
        first, second = borders[code], borders[code + 1]
        # Mixed rather than added to: a difference of bounds near the largest float is infinite.
        values = known.snap(first * (1 - share) + second * share)
        return from_float(np.where(missing, np.nan, values), known.column)


def _empty(column: Column, rows: int) -> pd.Series:
    return column.cast(pd.Series([None] * rows, name=column.name, dtype=object))


def _check_names(
    schema: Schema, bounds: Mapping, levels: Mapping, missing: Sequence[str] | None
) -> None:
    for name in [*bounds, *levels, *(missing or ())]:
        if name not in schema.names:
            raise InputError(
                f"declared domain: no column {name!r}; {nearest(str(name), schema.names)}"
            )
        # Bounds of labels, or levels of numbers, are a mistake that would have no effect otherwise.
        is_discrete = schema[name].is_discrete
        if name in (bounds if is_discrete else levels):
            right = "levels" if is_discrete else "bounds"
            raise InputError(
                f"declared domain: column {name!r} is {schema[name].kind}; give its {right}."
            )


def _known(
    train: pd.Series, column: Column, declared: Sequence | None, missing: Sequence[str] | None
) -> Known:
    """A column's domain as declared, and where it is not, as the train values show it."""
    # Rows are read only where nobody has declared anything.
    values = train.dropna() if declared is None else _cast(declared, column)
    step = None
    if column.is_discrete:
        values = pd.Series(sorted(values.unique()), dtype=values.dtype)
    else:
        step = _step(values, column, declared)
        values = from_float(_witnesses(to_float(values), step), column)
    gaps = train.isna().any() if missing is None else column.name in missing
    return Known(column, values, step, bool(gaps) or not len(values))


def _step(values: pd.Series, column: Column, declared: Sequence | None) -> float | None:
    # The grid of undeclared numbers is read off the rows too; the caveat names the column.
    if declared is None:
        return Marginal.fit(to_float(values)).step
    if len(declared) == 3:
        return float(declared[2])
    return 1.0 if column.kind == "integer" else None


def _cast(declared: Sequence, column: Column) -> pd.Series:
    """Declared levels, or both declared bounds, in the column's dtype."""
    values = list(declared) if column.is_discrete else list(declared)[:2]
    values = column.cast(pd.Series(values, name=column.name)).dropna()
    wanted = "at least one level"
    right = len(values) > 0
    if not column.is_discrete:
        wanted = "(low, high) or (low, high, step) with low <= high"
        right = len(declared) in (2, 3) and len(values) == 2 and values.iloc[0] <= values.iloc[1]
    if not right:
        raise InputError(f"declared domain of column {column.name!r}: {declared!r}; give {wanted}.")
    return values


def _witnesses(values: np.ndarray, step: float | None) -> np.ndarray:
    """The least and greatest value, and one between them from which an encoder reads the grid, if
    there is one.
    """
    if not len(values):
        return values
    low, high = values.min(), values.max()
    # A number that lies on no grid shows that there is none; divided first, for bounds near the
    # largest float.
    between = low + (high / np.pi - low / np.pi) if step is None else low + step
    if step:
        between = round(between, 9)
    return np.array([low, high, min(between, high)])


def _edges(known: Known, bins: int, tails: bool) -> np.ndarray:
    """The inner edges of a column's cells: the left end of every cell but the first."""
    low, high = known.ends()
    # One value, one cell.
    if low == high:
        return np.empty(0)
    step = known.step
    if step and (high - low) / step + 1 <= bins:
        count = round((high - low) / step) + 1
        values = known.snap(low + step * np.arange(count))
        return np.unique(values[1:] / 2 + values[:-1] / 2)
    # Two bins are spent on the ends.
    share = np.linspace(0, 1, max(bins - 1, 2))[1:-1]
    if tails:
        # Ever narrower cells where amounts pile up: near the bounds, and around zero.
        halves = 0.5 ** np.arange(3, 15)
        share = np.concatenate([share, halves, 1 - halves])
        if low < 0 < high:
            zero = low / (low - high)
            share = np.concatenate([share, zero + halves * (1 - zero), zero - halves * zero])
    inner = low * (1 - share) + high * share
    # The lowest value gets a cell of its own.
    edges = np.append(inner, low if step else np.nextafter(low, np.inf))
    if step:
        # Between two values of the grid, so that a value drawn in a cell stays in it.
        edges = known.snap(edges) + step / 2
        edges = np.append(np.minimum(edges, high - step / 2), high - step / 2)
    else:
        edges = np.append(edges, high)
    return np.unique(edges[(edges > low) & (edges <= high)])
