"""The gates of an audit: what each reads off a synthetic table, and what real rows show in its
place.

A gate is a function of a Trial that yields Checks. Their bands and p values come from one null,
real rows against real rows at the same sizes: predicted counts where a gate counts rows, drawn
pairs of samples where it measures a distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.metrics import Trial
from workbench.metrics.bias import amplification, association_signs, cramers_v
from workbench.metrics.groups import MIN_ROWS, Groups
from workbench.metrics.privacy import is_copy, nearly_copied
from workbench.tables.encode import Codes, to_float
from workbench.words import listed

DRAWS = 300  # pairs of real samples
MAX_ROWS = 40_000  # rows of each table that distribution and pairs read
MAX_PAIRS = (
    500  # all pairs of 32 columns; of a wider table the target's and the sensitive columns' first
)
BINS, MAX_LEVELS = 10, 50  # as pair_trends cuts columns
RARE = 0.01  # share of rows below which a label is rare


@dataclass(frozen=True)
class Check:
    """One reading: what gate, about what (a column, pair or group), and what real rows show in its
    place.
    """

    gate: str
    about: str
    value: float
    low: float = np.nan  # of the 95% band
    high: float = np.nan
    p: float = np.nan
    hard: bool = False
    note: str = ""


def _categories(trial: Trial) -> Iterator[Check]:
    """Labels that train never held; a fresh real row may bring one too, as often as a test row
    does.
    """
    for column in trial.schema.columns:
        if column.is_discrete:
            known = set(trial.train[column.name].dropna())
            new = [
                t[column.name][t[column.name].notna() & ~t[column.name].isin(known)]
                for t in (trial.synthetic, trial.test)
            ]
            note = (
                f"never in train: {listed([str(label) for label in new[0].unique()], 5)}"
                if len(new[0])
                else ""
            )
            yield _share(
                "categories",
                column.name,
                len(new[0]),
                len(trial.synthetic),
                len(new[1]),
                len(trial.test),
                note,
            )


def _range(trial: Trial) -> Iterator[Check]:
    """Numbers and dates outside train's lowest and highest value; a fresh real row may lie there
    too.
    """
    for column in trial.schema.columns:
        if not column.is_discrete and trial.train[column.name].notna().any():
            low, high = trial.train[column.name].min(), trial.train[column.name].max()
            tables = trial.synthetic, trial.test
            out = [
                int(((t[column.name] < low) | (t[column.name] > high)).fillna(False).sum())
                for t in tables
            ]
            note = f"train runs from {low} to {high}" if out[0] else ""
            yield _share(
                "range", column.name, out[0], len(trial.synthetic), out[1], len(trial.test), note
            )


def _missing(trial: Trial) -> Iterator[Check]:
    """The share of missing values of each column that has any, in either table."""
    for name in trial.schema.names:
        k, k_real = (int(table[name].isna().sum()) for table in (trial.synthetic, trial.test))
        if k or k_real:
            yield _share(
                "missing", name, k, len(trial.synthetic), k_real, len(trial.test), two_sided=True
            )


class _Draws:
    """DRAWS pairs of disjoint real samples, as large as the synthetic and the test table, out of
    all real rows.

    Without replacement, so labels seen once stay rare; hence no more synthetic rows are read than
    train has.
    """

    def __init__(self, trial: Trial):
        rng = trial.rng("audit")

        def some(table, n):
            return (
                table if len(table) <= n else table.iloc[np.sort(rng.permutation(len(table))[:n])]
            )

        # No more rows than this: each column is drawn again DRAWS times.
        train, test = some(trial.train, MAX_ROWS), some(trial.test, MAX_ROWS)
        synthetic = some(trial.synthetic, len(train))
        self.table = pd.concat([train, test, synthetic], ignore_index=True)
        self.n, self.m, self.real = len(synthetic), len(test), len(train) + len(test)
        weight = np.zeros(self.real, dtype=np.float32)
        # A sample is a column of weights: one product then gives the shares of all codes in all draws.
        weight[: self.n], weight[self.real - self.m :] = 1 / self.n, -1 / self.m
        self.weights = np.ascontiguousarray(rng.permuted(np.tile(weight, (DRAWS, 1)), axis=1).T)
        self.observed = np.repeat([-1 / self.m, 1 / self.n], [self.m, self.n])

    def gaps(self, codes: np.ndarray) -> np.ndarray:
        """Synthetic minus test share of each code, shape (codes, 1 + DRAWS): as observed, then in
        each pair of samples.
        """
        from scipy.sparse import csr_array

        size, real = int(codes.max()) + 1, codes[: self.real]
        add = csr_array(
            (np.ones(self.real, dtype=np.float32), (real, np.arange(self.real))),
            shape=(size, self.real),
        )
        observed = np.bincount(codes[self.real - self.m :], weights=self.observed, minlength=size)
        return np.column_stack([observed, add @ self.weights])


def _columns(trial: Trial) -> Iterator[Check]:
    draws = _Draws(trial)
    yield from _distribution(trial, draws)
    yield from _pairs(trial, draws)


def _distribution(trial: Trial, draws: _Draws) -> Iterator[Check]:
    """KS of numbers and dates, total variation of labels, as `marginals` has them; missing is a
    value of its own.
    """
    for column in trial.schema.columns:
        values = draws.table[column.name]
        if column.is_discrete:
            gaps = draws.gaps(pd.factorize(values.astype(object), use_na_sentinel=False)[0])
            distance = np.abs(gaps).sum(axis=0) / 2
        else:
            numbers = to_float(values)
            gaps = draws.gaps(
                np.unique(np.where(np.isnan(numbers), -np.inf, numbers), return_inverse=True)[1]
            )
            distance = np.abs(np.cumsum(gaps, axis=0)).max(axis=0)
        yield _drawn("distribution", column.name, distance, step=1 / min(draws.n, draws.m))


def _pairs(trial: Trial, draws: _Draws) -> Iterator[Check]:
    """Total variation between two columns' joint tables, numbers cut at common deciles, at most 50
    labels a column.
    """
    columns = trial.schema.columns
    codes = Codes(draws.table, trial.schema, BINS, MAX_LEVELS)
    table = codes.encode(draws.table).astype(np.int64)
    pairs = list(combinations(range(len(columns)), 2))
    if len(pairs) > MAX_PAIRS:
        order = trial.rng("pairs").permutation(len(pairs))
        # Pairs of a target or a sensitive column stay, whatever their number: features are cut first.
        order = sorted(order, key=lambda i: all(columns[j].role == "feature" for j in pairs[i]))[
            :MAX_PAIRS
        ]
        pairs = [pairs[i] for i in sorted(order)]
    for j, k in pairs:
        cells = pd.factorize(table[:, j] * codes.sizes[k] + table[:, k])[0]
        distance = np.abs(draws.gaps(cells)).sum(axis=0) / 2
        yield _drawn(
            "pairs",
            f"{columns[j].name} x {columns[k].name}",
            distance,
            step=1 / min(draws.n, draws.m),
        )


def _rare_levels(trial: Trial) -> Iterator[Check]:
    """The share of test's rare labels that no synthetic row holds; at most as many synthetic rows
    as train has are read.

    Null: synthetic and test rows change places. A label with c rows in both then has them all in
    test with a hypergeometric probability; the number of such labels is taken as a sum of
    independent draws.
    """
    from scipy.stats import hypergeom

    order = trial.rng("rare_levels").permutation(len(trial.synthetic))[: len(trial.train)]
    n, m = len(order), len(trial.test)
    for column in trial.schema.columns:
        sides = (
            trial.test[column.name].value_counts(),
            trial.synthetic[column.name].iloc[order].value_counts(),
        )
        counts = pd.concat(sides, axis=1).fillna(0).set_axis(["test", "synthetic"], axis=1)
        counts = counts[counts.sum(axis=1) < max(RARE * (n + m), 2)]
        held, lost = int((counts["test"] > 0).sum()), counts.index[counts["synthetic"] == 0]
        if not column.is_discrete or not held:
            continue
        # The distribution of a sum of independent yes or no, one label after the other.
        chance = np.ones(1)
        for q in hypergeom.pmf(0, n + m, counts.sum(axis=1), n):
            chance = np.convolve(chance, [1 - q, q])
        high = int(np.searchsorted(np.cumsum(chance), 0.95))
        note = f"lost: {listed(sorted(map(str, lost)), 5)}" if len(lost) else ""
        p = float(np.clip(chance[len(lost) :].sum(), 0, 1))
        yield Check("rare_levels", column.name, len(lost) / held, 0.0, high / held, p, note=note)


def _groups(trial: Trial) -> Iterator[Check]:
    """Log-odds of each group's share, synthetic minus train, for sensitive columns and pairs of
    them.

    Half a row is added to both counts (Haldane 1956). A group that vanished is a hard gate unless
    chance explains it.
    """
    if not trial.schema.sensitive:
        return
    groups, tables = Groups(trial), (trial.synthetic, trial.train)
    codes, (n, n_real) = [groups.encode(table) for table in tables], map(len, tables)

    def shift(k, k_real):
        return math.log((k + 0.5) / (n - k + 0.5)) - math.log(
            (k_real + 0.5) / (n_real - k_real + 0.5)
        )

    for view in groups.views():
        sizes = [groups.sizes[j] for j in view]
        counts = [
            np.bincount(np.ravel_multi_index(c[:, view].T, sizes), minlength=np.prod(sizes))
            for c in codes
        ]
        for name, k, k_real in zip(
            groups.names(view), *(count.tolist() for count in counts), strict=True
        ):
            if k_real:
                low, high, p = _predicted(k, n, k_real, n_real, two_sided=True)
                note = f"{k:,} of {n:,} synthetic and {k_real:,} of {n_real:,} train rows"
                note = note if k else f"vanished: {note}"
                yield Check(
                    "groups",
                    name,
                    shift(k, k_real),
                    shift(low, k_real),
                    shift(high, k_real),
                    p,
                    not k,
                    note,
                )


def _tables(trial: Trial) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each sensitive column's name and its counts by target label, train and synthetic, each (1 +
    DRAWS, groups, labels).

    As observed, then for pairs of samples of the same sizes from one distribution, drawn around the
    real shares (the Bayesian bootstrap, Rubin 1981): what real rows show is itself known only so
    well.
    """
    if not trial.schema.sensitive or trial.schema.target is None:
        return
    groups, rng, tables = (
        Groups(trial),
        trial.rng("tables"),
        (trial.train, trial.test, trial.synthetic),
    )
    codes = [groups.encode(table) for table in tables]
    for j in groups.sensitive:
        shape = groups.sizes[j], groups.sizes[groups.target]
        cells = [np.ravel_multi_index((c[:, j], c[:, groups.target]), shape) for c in codes]
        train, test, synthetic = (np.bincount(cell, minlength=np.prod(shape)) for cell in cells)
        share = rng.standard_gamma(train + test, size=(DRAWS, len(train)))
        share /= share.sum(axis=1, keepdims=True)
        sides = [
            np.vstack([side, rng.multinomial(side.sum(), share)]) for side in (train, synthetic)
        ]
        yield groups.columns[j], *(side.reshape(-1, *shape).astype(float) for side in sides)


def _association(trial: Trial) -> Iterator[Check]:
    """Bias-corrected Cramer's V of a sensitive column and the target, synthetic minus train."""
    for name, before, after in _tables(trial):
        yield _drawn(
            "association",
            name,
            cramers_v(after) - cramers_v(before),
            1 / len(trial.test),
            two_sided=True,
        )


def _bias_amplification(trial: Trial) -> Iterator[Check]:
    """Directional bias amplification A -> T of the generator (Wang and Russakovsky 2021), as
    `bias_amp` has it.
    """

    def mean(before, after):
        enough = (before.sum(axis=1) >= MIN_ROWS) & (after.sum(axis=1) >= MIN_ROWS)
        terms = amplification(before, after, association_signs(before))[enough][
            :, before.any(axis=0)
        ]
        return terms.mean() if terms.size else np.nan

    for name, before, after in _tables(trial):
        readings = np.array([mean(*pair) for pair in zip(before, after, strict=True)])
        yield _drawn("bias_amplification", name, readings, 1 / len(trial.test), two_sided=True)


def _copies(trial: Trial) -> Iterator[Check]:
    """Rows equal to a train row in every column; tables of few values are full of them, so test's
    share is the measure.
    """
    k, k_test = (int(is_copy(table, trial.train).sum()) for table in (trial.synthetic, trial.test))
    n, m = len(trial.synthetic), len(trial.test)
    note = f"{k:,} of {n:,} synthetic and {k_test:,} of {m:,} test rows equal a train row"
    yield _share("copies", "all columns", k, n, k_test, m, note)


def _near_copies(trial: Trial) -> Iterator[Check]:
    """Rows that are a train row up to small changes of numbers, as `near_copies` has them; without
    numbers and dates they would be `copies` again.
    """
    if all(column.is_discrete for column in trial.schema.columns):
        return
    (k, n), (k_test, m) = ((int(near.sum()), len(near)) for near in nearly_copied(trial))
    note = f"{k:,} of {n:,} synthetic and {k_test:,} of {m:,} test rows are nearly a train row"
    yield _share("near_copies", "all columns", k, n, k_test, m, note)


def _share(
    gate: str,
    about: str,
    k: int,
    n: int,
    k_real: int,
    n_real: int,
    note: str = "",
    two_sided: bool = False,
) -> Check:
    """k of n synthetic rows beside k_real of n_real real ones: a share, and what n more real rows
    would show.

    The null is the beta-binomial predictive distribution with Jeffreys' prior.
    """
    low, high, p = _predicted(k, n, k_real, n_real, two_sided)
    return Check(gate, about, k / n, low / n, high / n, p, note=note)


def _predicted(k: int, n: int, k_real: int, n_real: int, two_sided: bool) -> tuple[int, int, float]:
    """The 95% band of the count among n further real rows, and the p value of k."""
    from scipy.stats import betabinom

    chance = betabinom.pmf(np.arange(n + 1), n, k_real + 0.5, n_real - k_real + 0.5)
    below = np.cumsum(chance)
    upper, lower = float(chance[k:].sum()), float(below[k])
    low, high = np.searchsorted(below, [0.025, 0.975] if two_sided else [0, 0.95])
    p = 2 * min(upper, lower) if two_sided else upper
    return int(low) if two_sided else 0, int(min(high, n)), float(np.clip(p, 0, 1))


def _drawn(gate: str, about: str, draws: np.ndarray, step: float, two_sided: bool = False) -> Check:
    """A statistic as observed (first) and on each pair of real samples.

    The p value is the tail of a Pearson type III curve with the draws' first three moments (Mielke
    and Berry 2007), so that it can be smaller than one in DRAWS; step is the least standard
    deviation, the change that a single row makes.
    """
    from scipy.stats import pearson3

    value, null = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value) or not len(null):
        return Check(gate, about, np.nan, note="insufficient: too few rows in every group")
    spread = max(float(null.std()), step)
    z, skew = (value - null.mean()) / spread, float(np.mean((null - null.mean()) ** 3)) / spread**3
    upper = float(pearson3.sf(z, skew))
    if two_sided:
        p = 2 * min(upper, float(pearson3.cdf(z, skew)))
        low, high = np.quantile(null, [0.025, 0.975])
    else:
        p = upper
        low, high = 0.0, np.quantile(null, 0.95)
    return Check(gate, about, value, float(low), float(high), float(np.clip(p, 0, 1)))


GATES = [
    _categories,
    _range,
    _copies,
    _near_copies,
    _groups,
    _columns,
    _missing,
    _rare_levels,
    _association,
    _bias_amplification,
]
