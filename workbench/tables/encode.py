"""A mixed table as numbers and back. Everything here is fitted on one table and then applied to
any.

Marginal   one numeric column: its empirical distribution, rounding grid and bounds
Codes      the whole table as small integers: bins for numbers, levels for labels, a code for
           missing
Features   the whole table as a learner's matrix: one-hot and standardised, or ordinal with missing
           values
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.tables.schema import KINDS, Column, Schema

FAR = 10.0  # standard deviations from the mean: where a gap lies that no fitted row has
_LAST_SECOND = 9_223_372_035.0  # datetime64[ns] ends in the year 2262
_LAST_WHOLE = float(2**63 - 1024)  # the largest float below 2**63


def to_float(values: pd.Series) -> np.ndarray:
    """A numeric, integer, boolean or datetime column as float64; missing is NaN; datetimes are
    seconds since 1970.
    """
    # Seconds, because generators and metrics want one unit of numbers.
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        # Nanoseconds since 1970 have no exact float; whole seconds do.
        seconds, nanoseconds = np.divmod(
            values.to_numpy("datetime64[ns]").astype("int64"), 1_000_000_000
        )
        return np.where(values.isna(), np.nan, seconds + nanoseconds / 1e9)
    return values.to_numpy(dtype=float, na_value=np.nan)


def from_float(values: np.ndarray, column: Column) -> pd.Series:
    """Floats back to the column's dtype; NaN becomes missing. Integers are rounded, a boolean is
    true from 0.5 up.

    Exact for whole numbers below 2**53 and for datetimes between 1900 and 2100 on whole
    microseconds; what lies outside the dtype's range becomes its nearest end.
    """
    values = np.asarray(values, dtype=float) + 0.0  # a copy, in which -0.0 is 0.0
    if column.kind == "numeric":
        return pd.Series(values, name=column.name)
    # Taken out before the cast: NaN as a whole number is undefined.
    missing = np.isnan(values)
    values = np.where(missing, 0, values)
    if column.kind == "boolean":
        return pd.Series(pd.arrays.BooleanArray(values >= 0.5, missing), name=column.name)
    if column.kind == "datetime":
        # Seconds as a float hold microseconds and no more; the rest is noise.
        stamps = np.round(np.clip(values, -_LAST_SECOND, _LAST_SECOND) * 1e6).astype("int64") * 1000
        return pd.Series(
            np.where(missing, np.datetime64("NaT", "ns"), stamps.view("datetime64[ns]")),
            name=column.name,
        )
    whole = np.round(np.clip(values, -_LAST_WHOLE, _LAST_WHOLE)).astype("int64")
    return pd.Series(pd.arrays.IntegerArray(whole, missing), name=column.name)


def level_codes(levels: pd.Index, values: pd.Series) -> np.ndarray:
    """Each value's place among distinct levels, int, shape (rows,); -1 where missing or new."""
    # An index looks up booleans, which all share two hashes, twenty times slower than it
    # looks up texts; so each distinct value is looked up once.
    place, distinct = pd.factorize(values.astype(object))
    found = levels.get_indexer(pd.Index(distinct, dtype=object))
    return np.append(found, -1)[place]


@dataclass(frozen=True)
class Marginal:
    """The empirical distribution of a column's present values, shape (n,), sorted, and the grid
    they lie on.

    step is the coarsest of 1, 0.1, ... 0.000001 that writes every value exactly, or None when there
    is no such grid. Whole numbers that all are multiples of 100, say, have a step of 100, where
    there are too many of them for chance. For a datetime the values are seconds, and a step of
    whole minutes, hours or days is kept as such.
    """

    values: np.ndarray
    step: float | None

    @classmethod
    def fit(cls, values: np.ndarray) -> Marginal:
        """values: floats, shape (n,), NaN ignored. An all-missing column has an empty marginal."""
        # Sorted once: quantiles and ranks are then searches.
        present = np.sort(values[~np.isnan(values)])
        return cls(present, _grid_step(present))

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Values at levels u in [0, 1]: the interpolated empirical quantile, on the grid. NaN for
        an empty marginal.
        """
        if not len(self.values):
            return np.full(np.shape(u), np.nan)
        return self.snap(
            np.interp(
                np.asarray(u) * (len(self.values) - 1), np.arange(len(self.values)), self.values
            )
        )

    def snap(self, values: np.ndarray) -> np.ndarray:
        """The nearest values on the grid and inside the bounds; NaN stays NaN."""
        if not len(self.values):
            return np.full(np.shape(values), np.nan)
        if self.step is not None:
            # Dividing by a whole number is exact where multiplying by 0.01 is not: 0.07 stays 0.07.
            values = (
                np.round(values / self.step) * self.step
                if self.step >= 1
                else np.round(values, _decimals(self.step))
            )
        return np.clip(values, self.values[0], self.values[-1])

    def middle_rank(self, values: np.ndarray) -> np.ndarray:
        """Levels in [0, 1] of `values`, the middle of those that tied values share, a half where
        missing.
        """
        below = np.searchsorted(self.values, values, side="left")
        up_to = np.searchsorted(self.values, values, side="right")
        rank = (below + up_to) / (2 * max(len(self.values), 1))
        return np.where(np.isnan(values), 0.5, rank)

    def uniform_rank(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Levels in (0, 1) of `values` in this distribution, ties broken at random; NaN stays NaN."""
        # A value that many rows share gets a random place among them: ranks are then even.
        low = np.searchsorted(self.values, values, side="left")
        high = np.searchsorted(self.values, values, side="right")
        n = max(len(self.values), 1)
        u = (low + rng.random(len(values)) * np.maximum(high - low, 1)) / n
        return np.where(np.isnan(values), np.nan, np.clip(u, 0.5 / n, 1 - 0.5 / n))


def _grid_step(present: np.ndarray) -> float | None:
    if not len(present):
        return None
    # Whole numbers first; they may lie on a coarser grid still.
    distinct = np.unique(present)
    if np.all(distinct == np.round(distinct)):
        # Datetimes on whole days, hours, minutes; also keeps large round numbers.
        for step in (86400.0, 3600.0, 60.0):
            if np.abs(distinct).max() >= 1e6 and np.all(distinct % step == 0):
                return _common_divisor(distinct, step)
        return _common_divisor(distinct, 1.0)
    for decimals in range(1, 7):
        if np.all(distinct == np.round(distinct, decimals)):
            return 10.0**-decimals
    return None


def _common_divisor(distinct: np.ndarray, step: float) -> float:
    """What divides all of these multiples of a step, or the step where chance may have made it so:
    1 in a million.
    """
    # Zero is a multiple of everything.
    nonzero = distinct[distinct != 0]
    if not len(nonzero) or np.abs(nonzero).max() >= 2**53:
        return step
    divisor = float(np.gcd.reduce(nonzero.astype(np.int64)))
    # Any one value may serve as the divisor: each of the others must be a multiple of it by luck.
    is_common = (len(nonzero) - 1) * np.log(divisor / step) >= np.log(1e6)
    return divisor if is_common else step


def _decimals(step: float) -> int:
    return round(-np.log10(step))


class Codes:
    """Every column as integers 0..size-1. The last code of a column, size-1, means missing or never
    seen.

    Numeric columns are cut at the quantiles of the fitted table; a value that fills a whole bin by
    itself gets its own. With tail_rows set, bins at both ends are split in half down to as many
    rows, since far values are far from each other. Labels keep their own code, in sorted order;
    with max_levels set, the rarest ones share the code before the last.

    >>> schema = Schema((Column("x", "numeric"), Column("c", "categorical")))
    >>> table = schema.cast(pd.DataFrame({"x": [1.5, 2.5, None], "c": ["b", "a", "b"]}))
    >>> Codes(table, schema, bins=2).encode(table).tolist()
    [[0, 1], [1, 0], [2, 1]]
    """

    def __init__(
        self,
        table: pd.DataFrame,
        schema: Schema,
        bins: int = 10,
        max_levels: int | None = None,
        tail_rows: int | None = None,
    ):
        self.schema = schema
        self._edges: dict[str, np.ndarray] = {}
        self._marginals: dict[str, list[Marginal]] = {}
        self._levels: dict[str, pd.Index] = {}
        self._rare: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.sizes: list[int] = []
        for column in schema.columns:
            if column.is_discrete:
                self._fit_labels(table[column.name], max_levels)
            else:
                self._fit_bins(column.name, to_float(table[column.name]), bins, tail_rows)

    def _fit_bins(self, name: str, values: np.ndarray, bins: int, tail_rows: int | None) -> None:
        present = values[~np.isnan(values)]
        # A bin keeps the values that fell into it, and numbers are drawn from these.
        edges = _bin_edges(present, bins, tail_rows)
        index = np.searchsorted(edges, present, side="right")
        self._edges[name] = edges
        step = _grid_step(np.sort(present))
        self._marginals[name] = [
            Marginal(np.sort(present[index == b]), step) for b in range(len(edges) + 1)
        ]
        self.sizes.append(len(edges) + 2)

    def _fit_labels(self, values: pd.Series, max_levels: int | None) -> None:
        counts = values.value_counts().to_dict()
        levels = sorted(counts)
        if max_levels is not None and len(levels) > max_levels:
            ranked = sorted(levels, key=lambda level: (-counts[level], level))
            levels, rare = sorted(ranked[: max_levels - 1]), sorted(ranked[max_levels - 1 :])
            share = np.array([counts[level] for level in rare], dtype=float)
            self._rare[values.name] = (np.array(rare, dtype=object), share / share.sum())
        self._levels[values.name] = pd.Index(levels, dtype=object)
        self.sizes.append(len(levels) + (values.name in self._rare) + 1)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Codes, int32, shape (rows, columns)."""
        codes = np.empty((len(table), len(self.schema.columns)), dtype=np.int32)
        for j, column in enumerate(self.schema.columns):
            codes[:, j] = self.encode_column(table[column.name])
        return codes

    def encode_column(self, values: pd.Series) -> np.ndarray:
        """Codes of one column by its name, int32, shape (rows,)."""
        name, last = values.name, self.size(values.name) - 1
        if name in self._edges:
            numbers = to_float(values)
            return np.where(
                np.isnan(numbers), last, np.searchsorted(self._edges[name], numbers, side="right")
            ).astype(np.int32)
        # Labels that were never seen share the code of missing.
        codes = level_codes(self._levels[name], values).astype(np.int32)
        if name in self._rare:
            codes[(codes < 0) & values.isin(self._rare[name][0]).to_numpy(dtype=bool)] = last - 1
        return np.where(codes < 0, last, codes).astype(np.int32)

    def size(self, name: str) -> int:
        return self.sizes[self.schema.names.index(name)]

    def labels(self, name: str) -> list[str]:
        """A readable name for each code of a column, the last one "missing"."""
        if name in self._edges:
            return [
                self._bin_label(name, marginal.values) for marginal in self._marginals[name]
            ] + ["missing"]
        return (
            [str(level) for level in self._levels[name]]
            + (["(rare)"] if name in self._rare else [])
            + ["missing"]
        )

    def _bin_label(self, name: str, values: np.ndarray) -> str:
        if not len(values):
            return "none"  # the one bin of a column without values
        column, ends = self.schema[name], values[[0, -1]]
        if column.kind == "datetime":
            low, high = (str(stamp).removesuffix(" 00:00:00") for stamp in from_float(ends, column))
        else:
            low, high = (f"{end:,.6g}" for end in ends)
        return low if low == high else f"{low} to {high}"

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A table from codes, shape (rows, columns): labels as they are, numbers drawn within their
        bin.
        """
        columns = {}
        for j, column in enumerate(self.schema.columns):
            columns[column.name] = self._decode_column(column, codes[:, j], rng)
        return pd.DataFrame(columns, columns=self.schema.names)

    def _decode_column(
        self, column: Column, codes: np.ndarray, rng: np.random.Generator
    ) -> pd.Series:
        # Drawn for every column, so that one column's kind moves no other column's values.
        u = rng.random(len(codes))
        if column.name in self._edges:
            values = np.full(len(codes), np.nan)
            for b, marginal in enumerate(self._marginals[column.name]):
                inside = codes == b
                values[inside] = marginal.quantile(u[inside])
            return from_float(values, column)
        levels = np.append(self._levels[column.name].to_numpy(dtype=object), [np.nan])
        if column.name in self._rare:
            rare, share = self._rare[column.name]
            levels = np.insert(levels, len(levels) - 1, None)
            values = levels[codes]
            drawn = codes == self.size(column.name) - 2
            values[drawn] = rare[np.searchsorted(np.cumsum(share)[:-1], u[drawn], side="right")]
        else:
            values = levels[codes]
        return pd.Series(values, name=column.name, dtype=object).astype(KINDS[column.kind])


def _bin_edges(present: np.ndarray, bins: int, tail_rows: int | None) -> np.ndarray:
    """Inner edges (the left end of every bin but the first); a value heavier than a bin is a bin of
    its own.
    """
    if not len(present):
        return np.empty(0)
    # With few values each is a bin: no quantile falls between them.
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) <= bins:
        return distinct[1:]
    levels = np.arange(1, bins) / bins
    if tail_rows:
        tails = (
            0.5 ** np.arange(1, max(int(np.log2(len(present) / bins / tail_rows)), 0) + 1) / bins
        )
        levels = np.sort(np.concatenate([tails, levels, 1 - tails]))
    edges = np.unique(np.quantile(present, levels, method="inverted_cdf"))
    heavy = distinct[counts >= len(present) / bins]
    after = np.searchsorted(distinct, heavy, side="right")
    edges = np.unique(np.concatenate([edges, heavy, distinct[after[after < len(distinct)]]]))
    return edges[edges > distinct[0]]


class Features:
    """A learner's view of a table, fitted on the table it trains on.

    one_hot(table)   float32 (rows, p): numbers standardised with missing at the median and a
                     missing flag beside it; labels one-hot, the commonest `max_levels`, all others
                     (and never seen ones) in one "other" flag
    ordinal(table)   float32 (rows, columns): numbers as they are, labels as codes (see
                     `categorical`), missing as NaN; at most 254 labels a column, the histogram
                     gradient boosting of scikit-learn takes no more

    far_gaps: a gap in a column that has none in the fitted table lies FAR standard deviations away,
    as distances between rows want it; a learner is better served by the median.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        columns: Iterable[Column],
        max_levels: int = 50,
        far_gaps: bool = False,
    ):
        self.columns = tuple(columns)
        self.far_gaps = far_gaps
        self._scale: dict[str, tuple[float, float, float, bool]] = {}
        self._levels: dict[str, pd.Index] = {}
        self.max_levels = max_levels
        for column in self.columns:
            # Everything below is read off this table alone; other tables are only transformed.
            values = table[column.name]
            if column.is_discrete:
                counts = values.value_counts().to_dict()
                ranked = sorted(counts, key=lambda level: (-counts[level], str(level)))
                self._levels[column.name] = pd.Index(ranked[:254], dtype=object)
            else:
                numbers = to_float(values)
                present = numbers[~np.isnan(numbers)]
                center = float(np.median(present)) if len(present) else 0.0
                # Divided first, so that squares of values near 1e300 stay finite.
                scale = float(np.abs(present).max(initial=0)) or 1.0
                unit = present / scale if len(present) else np.zeros(1)
                mean, spread = float(unit.mean() * scale), float(unit.std() * scale)
                self._scale[column.name] = (
                    center,
                    mean,
                    spread or 1.0,
                    len(present) < len(numbers),
                )

    @property
    def categorical(self) -> list[bool]:
        """Which columns of `ordinal` hold codes."""
        return [column.is_discrete for column in self.columns]

    def ordinal(self, table: pd.DataFrame) -> np.ndarray:
        matrix = np.empty((len(table), len(self.columns)), dtype=np.float32)
        for j, column in enumerate(self.columns):
            if column.is_discrete:
                codes = level_codes(self._levels[column.name], table[column.name])
                matrix[:, j] = np.where(codes < 0, np.nan, codes)
            else:
                # Centred before the cast: float32 would round datetimes in seconds to two minutes.
                matrix[:, j] = _float32(to_float(table[column.name]) - self._scale[column.name][0])
        return matrix

    def one_hot(self, table: pd.DataFrame) -> np.ndarray:
        blocks = []
        for column in self.columns:
            if column.is_discrete:
                levels = self._levels[column.name][: self.max_levels]
                # What is rare, missing or new shares the last flag.
                codes = level_codes(levels, table[column.name])
                block = np.zeros((len(table), len(levels) + 1), dtype=np.float32)
                block[np.arange(len(table)), np.where(codes < 0, len(levels), codes)] = 1
            else:
                center, mean, spread, has_missing = self._scale[column.name]
                numbers = to_float(table[column.name])
                missing = np.isnan(numbers)
                block = _float32((np.where(missing, center, numbers) - mean) / spread)[:, None]
                if self.far_gaps and not has_missing:
                    block[missing] = FAR
                if has_missing:
                    block = np.column_stack([block, missing.astype(np.float32)])
            blocks.append(block)
        return np.hstack(blocks) if blocks else np.empty((len(table), 0), dtype=np.float32)


def _float32(values: np.ndarray) -> np.ndarray:
    """Rounded to float32; what is beyond its range becomes its largest number, since learners
    refuse infinity.
    """
    return np.clip(values, np.finfo(np.float32).min, np.finfo(np.float32).max).astype(np.float32)
