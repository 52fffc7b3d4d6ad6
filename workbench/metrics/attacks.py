"""Three attacks on the people of train, each held against the same attack on people whom the
generator never saw.

Giomi, Boenisch, Wehmeyer and Tasnadi 2023, "A Unified Framework for Quantifying Privacy Risk in
Synthetic Data" (PoPETs), known by the name of its software, Anonymeter; the three are those of the
Article 29 Working Party (Opinion 05/2014).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, norm

from workbench.metrics import INSUFFICIENT, NOT_INFORMATIVE, Row, Trial
from workbench.metrics.intervals import Z
from workbench.metrics.privacy import MAX_CELLS, in_own_order
from workbench.tables.encode import to_float

MAX_ATTACKS = 1000
MIN_ATTACKS = 30
MAX_TRIES = 200_000  # predicates looked at to find those that single out a synthetic row
MAX_CANDIDATES = 100_000  # synthetic rows among which neighbours are looked for
COLUMNS = 4  # in a multivariate predicate
NEIGHBORS = 10  # synthetic rows on either side of a link
TOLERANCE = 0.05  # of a guessed number or date: of the standard deviation of its column
# Distances are whole multiples of 1 / GRID, so that their float32 sums are exact up to 4,096
# columns
GRID = 4096
CHUNK = 1 << 16  # distances held at a time for each column: 256 KB stay in a processor's cache


def attack_risk(trial: Trial) -> Iterator[Row]:
    """The worst risk of three attacks: singling out, linkability and attribute inference.

    risk = (r_train - r_control) / (1 - r_control), where r is the share of attacks that succeed on
    train rows and on test rows (control), at the middle of Wilson's interval; the interval is that
    of the two Wilson intervals, propagated (Giomi et al. 2023, section 4). In [0, 1]; 0 no more is
    learnt about train than about anyone, 1 a raw copy. Rows: one an attack, the attack in `group`,
    the secret column in `column`. The headline is the largest, with a Bonferroni interval, since it
    was picked out of several.

    singling out       a predicate that holds for exactly one synthetic row holds for exactly one
                       train row: rare values and extremes of one column (univariate), or four
                       columns of a synthetic row (multivariate)
    linkability        two halves of the columns, dealt at random, of a train row have a common one
                       among their nearest 10 synthetic rows
    attribute          the target or a sensitive column of a train row is that of the synthetic row
                       nearest in all the others:
    inference          labels equal, numbers and dates within 5% of a standard deviation
    Distances are Gower's (1971), a missing value being a label of its own. Up to 1,000 attacks on
    train and as many on test, as many as there are rows where these are fewer. An attack that does
    no better than a naive one (random predicates, random links, the secret of a random synthetic
    row) has no reading and says "not informative". Known failure: simple attacks on random rows;
    stronger ones, on rows that stand out, may succeed where these fail. Multivariate predicates
    about a table of a few hundred rows share its rows, so that their interval is about a quarter
    too narrow there.
    """
    if not all(map(len, (trial.train, trial.test, trial.synthetic))):
        yield Row(
            "attack_risk",
            np.nan,
            state=INSUFFICIENT,
            note="train, test and synthetic need at least one row each",
        )
        return
    # The same codes for all three attacks: they are counted and compared, never read as values.
    tables = _coded(trial)
    attacks = [*singling_out(*tables, trial), *linkability_and_inference(*tables, trial)]
    risks = [(risk(attack), attack) for attack in attacks if not attack.problem]
    if risks:
        # The largest of several was picked, so its interval is that of all of them together
        # (Bonferroni).
        (value, half), attack = max(risks, key=lambda one: one[0][0])
        row = _row(attack, value, half * norm.ppf(1 - 0.025 / len(risks)) / Z)
        yield replace(
            row,
            column="",
            group="",
            note=f"{', '.join(filter(None, [row.group, row.column]))}: {row.note}",
        )
    else:
        yield Row(
            "attack_risk",
            np.nan,
            state=NOT_INFORMATIVE,
            note="not informative: no attack does better than a naive one",
        )
    for attack in attacks:
        yield _row(attack, *risk(attack))


@dataclass(frozen=True)
class Attack:
    """How often an attack succeeded: on `attacks` train rows, on `controls` test rows, and a naive
    one on the train rows.
    """

    name: str
    found: float
    attacks: int
    control: float
    controls: float
    naive: float
    column: str = ""

    @property
    def problem(self) -> str:
        """Why its risk says nothing, or ""."""
        # So few attacks would tell chance from risk for nobody.
        if min(self.attacks, self.controls) < MIN_ATTACKS:
            return (
                f"not informative: {self.attacks:,} attacks, {self.controls:,.0f} controls,"
                f" {MIN_ATTACKS} needed of each"
            )
        if self.found <= self.naive:
            return f"not informative: {self.shares}"
        return (
            f"not informative: every control is found: {self.shares}"
            if self.control >= self.controls
            else ""
        )

    @property
    def shares(self) -> str:
        shares = [
            self.found / self.attacks,
            self.control / self.controls,
            self.naive / self.attacks,
        ]
        return "{:.3f} of {:,} attacks succeed, {:.3f} of control, {:.3f} naive".format(
            shares[0], self.attacks, *shares[1:]
        )


def risk(attack: Attack) -> tuple[float, float]:
    """(r_train - r_control) / (1 - r_control), below 0 where control is attacked better, and its
    95% half-width.
    """
    (hit, hit_error), (chance, chance_error) = (
        _rate(attack.found, attack.attacks),
        _rate(attack.control, attack.controls),
    )
    # The delta method on (r - c) / (1 - c), both rates independent.
    half = np.hypot(hit_error / (1 - chance), (1 - hit) * chance_error / (1 - chance) ** 2)
    return float((hit - chance) / (1 - chance)), float(half)


def _rate(k: float, n: float) -> tuple[float, float]:
    """The midpoint and the half-width of Wilson's interval (1927)."""
    return (k + Z * Z / 2) / (n + Z * Z), Z / (n + Z * Z) * np.sqrt(
        max(k * (n - k), 0) / max(n, 1) + Z * Z / 4
    )


def _row(attack: Attack, value: float, half: float) -> Row:
    if attack.problem:
        return Row(
            "attack_risk",
            np.nan,
            column=attack.column,
            group=attack.name,
            state=NOT_INFORMATIVE,
            note=attack.problem,
        )
    # Where control is attacked better there is no risk, and none below it.
    ends = np.clip([value, value - half, value + half], 0, 1).tolist()
    return Row("attack_risk", *ends, column=attack.column, group=attack.name, note=attack.shares)


# Singling out


def singling_out(
    synthetic: np.ndarray, train: np.ndarray, test: np.ndarray, levels: list, trial: Trial
) -> list[Attack]:
    """The univariate and the multivariate attack, from tables of codes, shape (rows, columns)."""
    rng = trial.rng("singling out")
    # An attacker drops repeated rows, which no predicate would single out.
    synthetic = np.unique(synthetic, axis=0)
    isolating = {
        "univariate": univariate(synthetic, levels, rng),
        "multivariate": multivariate(synthetic, levels, rng),
    }
    attacks = []
    for name, predicates in isolating.items():
        # As many random predicates of the same width: how often would nobody's knowledge do as
        # well?
        naive = random_predicates(synthetic, levels, len(predicates), predicates.shape[2], rng)
        in_train, in_test, by_chance = (
            count(train, predicates),
            count(test, predicates),
            count(train, naive),
        )
        control, controls = control_share(in_train, in_test, len(train), len(test))
        success = (
            (in_train == 1).sum(),
            len(predicates),
            control * controls,
            controls,
            (by_chance == 1).sum(),
        )
        attacks.append(Attack(f"singling out, {name}", *success))
    return attacks


def control_share(
    in_train: np.ndarray, in_test: np.ndarray, n_train: int, n_test: int
) -> tuple[float, float]:
    """The share of predicates that would hold for exactly one of n_train fresh rows, and the number
    of yes-or-no controls that would tell it as exactly; from the numbers of train and of test rows
    that each holds for, shape (predicates,).

    More rows make it harder and easier to be the only one, so the share among test rows themselves
    is no control for a train table of another size. A larger test table is cut down to n_train
    rows, averaged over all ways to do so. A smaller one takes the place of n_test of the train
    rows, over all ways; the change of the share is then that of a full exchange times n_test /
    n_train, as long as a predicate owes its success to one train row.
    """
    # No predicate at all: nothing was attacked.
    n = len(in_train)
    if not n:
        return 0.0, 0.0
    if n_test >= n_train:
        return float(hypergeom.pmf(1, n_test, in_test, n_train).mean()), float(n)
    # How many of the train rows are left that it holds for, when n_test of them have been replaced.
    held, place = np.unique(in_train, return_inverse=True)
    left = [hypergeom.pmf(one, n_train, held, n_train - n_test)[place] for one in (0, 1)]
    mixed, alone = (
        np.where(in_test == 0, left[1], np.where(in_test == 1, left[0], 0)),
        in_train == 1,
    )
    # From the partial exchange to a whole one, in proportion.
    each = alone - (alone - mixed) * n_train / n_test
    share, most = float(np.clip(each.mean(), 0, 1)), n * n_test / n_train
    return share, float(min(most, n * share * (1 - share) / each.var())) if 0 < share < 1 else most


def univariate(codes: np.ndarray, levels: list, rng: np.random.Generator) -> np.ndarray:
    """Predicates, shape (n, 3, 1), that single out a row by a value that occurs once; at an
    extreme, that or beyond.

    A predicate is the numbers of its columns and the lowest and highest code that each may have.
    """
    found = []
    for j, numbers in enumerate(levels):
        # Values that occur once are what sets a row apart.
        value, times = np.unique(codes[:, j], return_counts=True)
        once = value[times == 1]
        low, high = once.copy(), once.copy()
        if numbers is not None and (value >= 0).any():
            low[once == value[value >= 0][0]] = 0  # the least number, or smaller
            high[once == value[-1]] = len(numbers)
        found.append(np.stack([np.full(len(once), j), low, high], axis=1))
    # One column a predicate, but in the shape of those with several.
    found = np.concatenate(found).astype(np.int32)[:, :, None]
    return found[rng.permutation(len(found))[:MAX_ATTACKS]]


def multivariate(codes: np.ndarray, levels: list, rng: np.random.Generator) -> np.ndarray:
    """Predicates, shape (n, 3, COLUMNS), that single out a row by some of its values: its labels,
    its gaps, and its
    numbers or larger ones where they are above the median, or smaller ones."""
    middle = np.array(
        [np.median(column[column >= 0]) if (column >= 0).any() else 0 for column in codes.T]
    )
    is_number, top = (
        np.array([n is not None for n in levels]),
        np.array([0 if n is None else len(n) for n in levels]),
    )
    # In batches, because most random predicates hold for no row or for many.
    width, batch = min(COLUMNS, codes.shape[1]), 5000
    found = np.empty((0, 3, width), dtype=np.int32)
    for _ in range(0, MAX_TRIES, batch):
        # Sorted, so that equal predicates are equal arrays.
        columns = np.sort(_choices(batch, width, codes.shape[1], rng), axis=1)
        # About a row that exists: a random combination of values holds for hardly any.
        value = codes[rng.integers(len(codes), size=batch)[:, None], columns]
        ranged, above = is_number[columns] & (value >= 0), value > middle[columns]
        low, high = (
            np.where(ranged & ~above, 0, value),
            np.where(ranged & above, top[columns], value),
        )
        predicates = np.stack([columns, low, high], axis=1).astype(np.int32)
        found = np.unique(
            np.concatenate([found, predicates[count(codes, predicates, enough=1) == 1]]), axis=0
        )
        if len(found) >= MAX_ATTACKS:
            break
    return found[rng.permutation(len(found))[:MAX_ATTACKS]]


def random_predicates(
    codes: np.ndarray, levels: list, n: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """n predicates about `width` random columns: equal to a random one of its values, or for
    numbers also above or below.
    """
    # Nothing of the synthetic rows but the values that occur.
    columns = _choices(n, width, codes.shape[1], rng)
    value, high = np.empty((2, n, width), dtype=np.int32)
    low = value.copy()
    for j, numbers in enumerate(levels):
        here = columns == j
        value[here] = rng.choice(np.unique(codes[:, j]), here.sum())
        way = rng.integers(3, size=here.sum()) if numbers is not None else np.zeros(here.sum())
        # A gap has no values above or below it.
        way = np.where(value[here] < 0, 0, way)
        top = 0 if numbers is None else len(numbers)
        low[here], high[here] = (
            np.where(way == 1, 0, value[here]),
            np.where(way == 2, top, value[here]),
        )
    return np.stack([columns, low, high], axis=1).astype(np.int32)


def count(codes: np.ndarray, predicates: np.ndarray, enough: int | None = None) -> np.ndarray:
    """For how many rows each predicate holds, int, shape (predicates,); counting stops beyond
    `enough`.
    """
    by_column = np.ascontiguousarray(codes.T)
    counts = np.zeros(len(predicates), dtype=int)
    alive = np.arange(len(predicates))
    # A few rows first: most predicates hold for too many of them and are out.
    start, size = 0, 64
    while start < len(codes) and len(alive):
        counts[alive] += _holding(by_column[:, start : start + size], predicates[alive])
        if enough is not None:
            alive = alive[counts[alive] <= enough]
        start, size = start + size, min(size * 4, 1 << 15)
    return counts


def _holding(rows: np.ndarray, predicates: np.ndarray) -> np.ndarray:
    """For how many of these rows, codes of shape (columns, rows), each predicate holds."""
    # Predicates share conditions, so each of these is looked at once; its answers are bits.
    every = predicates.transpose(0, 2, 1).reshape(-1, 3).astype(np.int64)
    span = every[:, 1:].max(initial=0) + 2
    # One number for three: to find equal numbers is quicker than to find equal rows.
    name = (every[:, 0] * span + every[:, 1] + 1) * span + every[:, 2] + 1
    _, first, place = np.unique(name, return_index=True, return_inverse=True)
    column, low, high = every[first].astype(np.int32).T
    bits = np.empty((len(first), -(-rows.shape[1] // 8)), dtype=np.uint8)
    step = max(CHUNK // rows.shape[1], 1)
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        # One comparison for both ends: a code below the lowest wraps round to a large unsigned
        # number.
        above = (rows[column[part]] - low[part, None]).view(np.uint32)
        bits[part] = np.packbits(above <= (high - low)[part, None].view(np.uint32), axis=1)
    place = place.reshape(len(predicates), -1)
    held = bits[place[:, 0]]
    for j in range(1, place.shape[1]):
        held &= bits[place[:, j]]
    return np.bitwise_count(held).sum(axis=1, dtype=int)


def _choices(n: int, k: int, of: int, rng: np.random.Generator) -> np.ndarray:
    """n draws of k different numbers below `of`, shape (n, k)."""
    return np.argsort(rng.random((n, of)), axis=1)[:, :k]


# Linkability and attribute inference


def linkability_and_inference(synthetic, train, test, levels: list, trial: Trial) -> list[Attack]:
    """Both attacks in one search, since the distance in all columns but one is that in all columns
    less that in the one.
    """
    rng, columns = trial.rng("neighbours"), trial.schema.columns
    if len(columns) < 2:
        return []
    # In random order already, so the first rows are a sample.
    synthetic = synthetic[:MAX_CANDIDATES]
    targets = [table[:MAX_ATTACKS] for table in (train, test)]
    both, k, n = np.concatenate(targets), min(NEIGHBORS, len(synthetic)), len(targets[0])
    points, candidates = _scaled(both, synthetic, levels)
    has_gaps = (both < 0).any(axis=0) | (synthetic < 0).any(axis=0)
    secrets = [j for j, column in enumerate(columns) if column.role != "feature"]
    # The attacker holds two halves of the columns from two places, and wants to join them.
    half = rng.permutation(len(columns)) % 2
    linked, guess = (
        np.empty(len(both), dtype=bool),
        {j: np.empty(len(both), dtype=int) for j in secrets},
    )
    # So many rows at a time that their distances stay in a processor's cache.
    step = max(CHUNK // len(synthetic), 1)
    for rows in np.split(np.arange(len(both)), range(step, len(both), step)):
        sides, own = np.zeros((2, len(rows), len(synthetic)), dtype=np.float32), {}
        distance = np.empty_like(sides[0])
        for j, numbers in enumerate(levels):
            if numbers is None:
                np.not_equal(points[j, rows, None], candidates[j], out=distance)
            else:
                np.subtract(points[j, rows, None], candidates[j], out=distance)
                np.abs(distance, out=distance)
            # Only a gap lies farther than 1 from a number.
            if has_gaps[j]:
                np.clip(distance, 0, 1, out=distance)
            sides[half[j]] += distance
            if j in guess:
                own[j] = distance.copy()
        # The nearest k, in no order: who is among them is all that counts.
        near = [np.argpartition(side, k - 1, axis=1)[:, :k] for side in sides]
        linked[rows] = (near[0][:, :, None] == near[1][:, None, :]).any(axis=(1, 2))
        total = sides.sum(axis=0)
        for j in secrets:
            guess[j][rows] = np.argmin(total - own[j], axis=1)

    def attack(name: str, hits: np.ndarray, naive: float, column: str = "") -> Attack:
        return Attack(name, hits[:n].sum(), n, hits[n:].sum(), len(both) - n, naive, column)

    # Two random sets of k synthetic rows meet with this chance.
    by_chance = 1 - hypergeom.pmf(0, len(synthetic), k, k)
    attacks = [attack("linkability", linked, by_chance * n)]
    for j in secrets:
        secret, naive = both[:, j], rng.integers(len(synthetic), size=n)
        hits = _guessed(synthetic[guess[j], j], secret, levels[j])
        chance = _guessed(synthetic[naive, j], secret[:n], levels[j]).sum()
        attacks.append(attack("attribute inference", hits, chance, columns[j].name))
    return attacks


def _guessed(guess: np.ndarray, secret: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
    """Which guesses are right, bool; both are codes."""
    # A label is guessed or it is not; a number may be near enough.
    right = guess == secret
    if numbers is not None and len(numbers):
        values = numbers[secret]
        present = secret >= 0
        # A share of the number itself would depend on its unit: 20 degrees Celsius are 293 Kelvin.
        room = float(np.std(values[present])) if present.any() else 0.0
        near = np.abs(numbers[guess] - values) <= TOLERANCE * room
        right |= (guess >= 0) & present & near
    return right


def _scaled(targets: np.ndarray, candidates: np.ndarray, levels: list) -> list[np.ndarray]:
    """Both tables of codes so that min(|x - y|, 1) is a column's Gower distance, float32, shape
    (columns, rows).

    Numbers run from 0 to 1 over the attacked rows; a synthetic one beyond is at the end, so no
    outlier squeezes the rest.
    """
    out = [np.ascontiguousarray(table.T, dtype=np.float32) for table in (targets, candidates)]
    for j, numbers in enumerate(levels):
        # Missing values have no place on the scale.
        present = targets[:, j][targets[:, j] >= 0]
        if numbers is None:
            continue
        unit = numbers / (np.abs(numbers).max(initial=0) or 1)  # so that no difference overflows
        low, high = (unit[present.min()], unit[present.max()]) if len(present) else (0, 0)
        place = np.round(np.clip((unit - low) / ((high - low) or 1), 0, 1) * GRID) / GRID
        place = np.append(place, -10)  # the code -1: a missing value is far from any number
        for table, codes in zip(out, (targets, candidates), strict=True):
            table[j] = place[codes[:, j]]
    return out


def _coded(trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray, list]:
    """Synthetic, train and test as int32 codes in the order of the values, missing -1, and each
    column's numbers by code
    (None for labels). Rows are shuffled; no more than MAX_CELLS cells of a table are kept."""
    rng, most = trial.rng("attack_risk"), max(MAX_CELLS // max(len(trial.schema.columns), 1), 1)
    tables = [
        in_own_order(table, rng).iloc[:most] for table in (trial.synthetic, trial.train, trial.test)
    ]
    codes, levels = np.empty((sum(map(len, tables)), len(trial.schema.columns)), dtype=np.int32), []
    for j, column in enumerate(trial.schema.columns):
        values = pd.concat([table[column.name] for table in tables], ignore_index=True)
        codes[:, j], known = pd.factorize(
            values if column.is_discrete else to_float(values), sort=True
        )
        levels.append(None if column.is_discrete else known)
    synthetic, train, test = np.split(codes, np.cumsum(list(map(len, tables)))[:2])
    return synthetic, train, test, levels
