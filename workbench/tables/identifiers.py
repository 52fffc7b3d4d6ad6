"""Identifiers: columns whose values name one person, account or visit. They are recognised here,
their pattern is learnt, and fresh values of the same pattern are drawn, none of which is in the
train rows.

    counting numbers    go on counting after the largest one, with the same prefix, suffix and
                        leading zeros
    e-mail addresses    get a new name at one of the domains that are reserved for examples (RFC
                        2606)
    everything else     keeps length, punctuation, and at each place whether a digit or a letter
                        stands there; what all values share at a place (a prefix, a country code) is
                        kept
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

LEAST_ROWS = 20  # of fewer rows nothing can be said: any ten measurements differ from each other
NEARLY_ALL = (
    0.95  # share of distinct values from which a column has a value of its own in nearly every row
)
LONGEST_WORDS = 4.0  # mean words of a value; what is longer is text to learn from, not a name
LEARNT_ROWS = 20_000  # values that a pattern is learnt from
ENOUGH = 20  # values of one shape from which what they share is a prefix and not somebody's name
EXAMPLE_DOMAINS = ("example.com", "example.org", "example.net")
LARGEST = 2**63 - 1  # of Int64

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+$")
_COUNTED = re.compile(r"(?P<before>.*?)(?P<digits>\d+)(?P<after>\D*)$", re.DOTALL)
_WORDS_OF_A_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NAMES_OF_IDENTIFIERS = {
    "id",
    "ids",
    "uid",
    "uuid",
    "guid",
    "key",
    "nr",
    "nbr",
    "no",
    "num",
    "number",
}
_NAMES_OF_IDENTIFIERS |= {
    "account",
    "acct",
    "iban",
    "ssn",
    "mrn",
    "passport",
    "phone",
    "mobile",
    "tel",
}
_NAMES_OF_IDENTIFIERS |= {
    "email",
    "mail",
    "index",
    "rowid",
    "serial",
    "ticket",
    "invoice",
    "encounter",
}
# Years that follow each other count the rows too, and mean something.
_NAMES_OF_TIME = {
    "year",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "time",
    "date",
    "period",
}
_NAMES_OF_TIME |= {"step", "age", "t"}
_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"


def named_like_one(name: str) -> bool:
    """Whether a column's name says that it holds identifiers.

    >>> named_like_one("customerID"), named_like_one("patient_nbr"), named_like_one("width")
    (True, True, False)
    """
    words = [word.lower() for word in _WORDS_OF_A_NAME.findall(name)]
    # The last word counts: `account` names an account, `account_balance` measures one.
    return bool(words) and (words[-1] in _NAMES_OF_IDENTIFIERS or words[0] in ("id", "uuid"))


def is_identifier(values: pd.Series, kind: str) -> bool:
    """Whether a column of a kind has a value of its own in nearly every row, and is no measurement
    and no text.

    Labels count where they are short; whole numbers only where they count the rows, have 15 digits
    or more, or the column's name says so: a thousand incomes differ from each other too.
    """
    if kind not in ("categorical", "integer"):
        return False
    present = values.dropna()
    if len(present) < LEAST_ROWS:
        return False
    # What repeats in a sample repeats in the whole column at least as often.
    sample = present.iloc[:: max(len(present) // LEARNT_ROWS, 1)]
    for part in (sample, present):
        if part.nunique() < NEARLY_ALL * len(part) - 50 * (part is sample):
            return False
    if kind == "categorical":
        return not _is_free_text(present)
    return _is_number_of_a_row(present)


def _is_free_text(present: pd.Series) -> bool:
    words = present.head(1000).astype(str).str.split().str.len().mean()
    return words > LONGEST_WORDS


def _is_number_of_a_row(present: pd.Series) -> bool:
    """Whether whole numbers, all different, name rows rather than measure something."""
    numbers = pd.to_numeric(present, errors="coerce").dropna()
    if not len(numbers):
        return False
    if numbers.nunique() < len(numbers) and not named_like_one(str(present.name)):
        return False
    low, high = int(numbers.min()), int(numbers.max())
    words = {word.lower() for word in _WORDS_OF_A_NAME.findall(str(present.name))}
    counts_rows = high - low < 1.05 * len(numbers) and not words & _NAMES_OF_TIME
    many_digits = min(len(str(abs(low))), len(str(abs(high)))) >= 15
    return counts_rows or many_digits or named_like_one(str(present.name))


@dataclass
class Pattern:
    """What identifiers of one column look like, learnt from train; `fresh` draws new ones.

    >>> table = pd.Series([f"C-{number:04d}" for number in range(1, 41)])
    >>> Pattern.learn(table).fresh(2, np.random.default_rng(0)).tolist()
    ['C-0041', 'C-0042']
    """

    known: set[str]
    is_integer: bool = False
    missing: float = 0.0  # share of rows
    counted: tuple[str, int, int, str] | None = None  # before, next number, least digits, after
    emails: bool = False
    shapes: list[_Shape] = field(default_factory=list)
    weights: np.ndarray = field(default_factory=lambda: np.ones(0))
    sizes: np.ndarray = field(default_factory=lambda: np.ones(1, dtype=int))  # rows of each value

    @classmethod
    def learn(cls, values: pd.Series) -> Pattern:
        """The pattern of a cast column of labels or whole numbers."""
        present = values.dropna()
        texts = present.astype(str)
        pattern = cls(
            known=set(texts.unique()),
            is_integer=str(values.dtype) == "Int64",
            missing=float(values.isna().mean()) if len(values) else 0.0,
        )
        if len(texts):
            pattern.sizes = texts.value_counts().to_numpy()
        pattern.counted = _counting(pattern.known)
        if pattern.counted:
            return pattern
        sample = list(texts.iloc[:LEARNT_ROWS])
        pattern.emails = bool(sample) and all(map(_EMAIL.match, sample))
        if pattern.emails:
            sample = [text.partition("@")[0] for text in sample]
        pattern.shapes = _shapes(sample, pattern.is_integer)
        counts = np.array([shape.count for shape in pattern.shapes], dtype=float)
        pattern.weights = counts / counts.sum() if len(counts) else counts
        return pattern

    def fresh(self, n: int, rng: np.random.Generator) -> pd.Series:
        """n different values of the pattern, none of train; missing as often as in train."""
        return self._as_column(self._new(n, rng), rng)

    def fresh_groups(self, n: int, rng: np.random.Generator) -> pd.Series:
        """n values that repeat as often as those of train do: rows of one group, in random order."""
        sizes = np.zeros(0, dtype=int)
        while sizes.sum() < n:
            sizes = np.append(sizes, rng.choice(self.sizes, size=max(n // 10, 10)))
        groups = int(np.searchsorted(np.cumsum(sizes), n)) + 1
        repeated = np.repeat(self._new(groups, rng), sizes[:groups])[:n]
        return self._as_column(list(rng.permutation(repeated)), rng)

    def _new(self, n: int, rng: np.random.Generator) -> list[str]:
        return self._counted(n) if self.counted else self._drawn(n, rng)

    def _as_column(self, new: list[str], rng: np.random.Generator) -> pd.Series:
        values = pd.Series(new, dtype=object)
        if self.is_integer:
            values = values.map(int).astype("Int64")
        if self.missing:
            values[rng.random(len(values)) < self.missing] = pd.NA if self.is_integer else np.nan
        return values

    def describe(self) -> str:
        """The pattern in a few words, without any value of the table."""
        if self.counted:
            return "counting numbers"
        if self.emails:
            return "e-mail addresses"
        if not self.shapes:
            return "no values"
        commonest = self.shapes[int(np.argmax(self.weights))]
        return f"such as {commonest.picture()}"

    def _counted(self, n: int) -> list[str]:
        before, first, digits, after = self.counted
        return [f"{before}{number:0{digits}d}{after}" for number in range(first, first + n)]

    def _drawn(self, n: int, rng: np.random.Generator) -> list[str]:
        """Draw until there are n different new values; shapes grow by a place where all of theirs
        are taken.
        """
        found: dict[str, None] = {}
        longer = 0
        while len(found) < n:
            size = n - len(found)
            before = len(found)
            for text in self._draw(size, rng, longer):
                if text not in self.known:
                    found[text] = None
            # Nearly all values of these shapes are taken: three digits name a thousand rows at most.
            if len(found) - before < 0.1 * size:
                longer += 1
        return list(found)[:n]

    def _draw(self, n: int, rng: np.random.Generator, longer: int) -> list[str]:
        shapes = self.shapes or [_Shape([_LOWER + _DIGITS] * 8, 1)]
        weights = self.weights if len(self.weights) else np.ones(1)
        chosen = rng.choice(len(shapes), size=n, p=weights)
        texts = np.empty(n, dtype=object)
        for index in np.unique(chosen):
            places = np.flatnonzero(chosen == index)
            texts[places] = shapes[index].draw(len(places), rng, longer)
        if self.emails:
            domains = rng.choice(EXAMPLE_DOMAINS, size=n)
            texts = [f"{name}@{domain}" for name, domain in zip(texts, domains, strict=True)]
        if self.is_integer:
            texts = [str(_within_int64(int(text))) for text in texts]
        return list(texts)


@dataclass
class _Shape:
    """Values of one length and punctuation: the characters that may stand at each place."""

    alphabets: list[str]
    count: int

    def draw(self, n: int, rng: np.random.Generator, longer: int) -> list[str]:
        """n values; `longer` more places of the last kind that varies where the shape has run out."""
        alphabets = list(self.alphabets)
        varying = [index for index, alphabet in enumerate(alphabets) if len(alphabet) > 1]
        last = varying[-1] if varying else len(alphabets) - 1
        repeated = alphabets[last] if varying else _DIGITS
        for _ in range(longer):
            alphabets.insert(last + 1, repeated)
        letters = np.empty((n, len(alphabets)), dtype="U1")
        for place, alphabet in enumerate(alphabets):
            letters[:, place] = np.array(list(alphabet))[rng.integers(len(alphabet), size=n)]
        return ["".join(row) for row in letters.tolist()]

    def picture(self) -> str:
        """The shape with 9 for a digit, A and a for letters: what all values share stays readable."""
        signs = []
        for alphabet in self.alphabets:
            if len(alphabet) == 1:
                signs.append(alphabet)
            elif alphabet.isdigit():
                signs.append("9")
            else:
                signs.append("A" if alphabet.isupper() else "a")
        return "".join(signs)


def _counting(known: set[str]) -> tuple[str, int, int, str] | None:
    """(before, next number, least digits, after) where values of one prefix and suffix fill at
    least half of a range.

    Train holds a share of the rows only, so the numbers that it lacks may be those of test.
    """
    if len(known) < LEAST_ROWS:
        return None
    some = list(known)[:1000]
    if not all(map(_COUNTED.match, some)):
        return None
    if len({_COUNTED.sub(r"\g<before> \g<after>", text) for text in some}) > 1:
        return _counting_first(known)
    matched = [_COUNTED.match(text) for text in known]
    if not all(matched):
        return None
    ends = {(match["before"], match["after"]) for match in matched}
    if len(ends) > 1:
        # A number may stand inside the suffix, as in p17@host2.org: the first number is tried as well.
        return _counting_first(known)
    before, after = ends.pop()
    return _dense([match["digits"] for match in matched], before, after)


def _counting_first(known: set[str]) -> tuple[str, int, int, str] | None:
    matched = [re.match(r"(\D*)(\d+)(.*)$", text, re.DOTALL) for text in known]
    if not all(matched):
        return None
    ends = {(match[1], match[3]) for match in matched}
    if len(ends) > 1:
        return None
    before, after = ends.pop()
    return _dense([match[2] for match in matched], before, after)


def _dense(digits: list[str], before: str, after: str) -> tuple[str, int, int, str] | None:
    numbers = {int(text) for text in digits}
    low, high = min(numbers), max(numbers)
    if len(numbers) < 0.5 * (high - low + 1) or before.endswith("-"):
        return None
    padded = any(text[0] == "0" and len(text) > 1 for text in digits)
    width = max(map(len, digits)) if padded else 1
    return before, high + 1, width, after


def _shapes(texts: Iterable[str], is_integer: bool) -> list[_Shape]:
    """The shapes of the values, by length and places of punctuation, in the order of first
    occurrence.
    """
    groups: dict[tuple, list[str]] = defaultdict(list)
    for text in texts:
        groups[_skeleton(text)].append(text)
    return [_shape(group, is_integer) for group in groups.values()]


def _skeleton(text: str) -> tuple:
    """The length of a value and its punctuation."""
    marks = tuple((place, sign) for place, sign in enumerate(text) if not sign.isalnum())
    return len(text), marks


def _shape(group: list[str], is_integer: bool) -> _Shape:
    few = len(set(group)) < ENOUGH
    letters_used = {sign for sign in "".join(group) if sign.isalpha()}
    hexadecimal = letters_used <= set("abcdefABCDEF") and len(letters_used) > 2
    alphabets = []
    for place, signs in enumerate(map(set, zip(*group, strict=True))):
        only = next(iter(signs))
        # What few values share may be somebody's name; a sign that is no letter or digit is kept.
        if len(signs) == 1 and (not few or not only.isalnum()):
            alphabets.append(only)
            continue
        alphabet = _alphabet(signs, hexadecimal)
        if is_integer and place == 0:
            alphabet = alphabet.replace("0", "") or "1"
        alphabets.append(alphabet)
    return _Shape(alphabets, len(group))


def _alphabet(signs: set[str], hexadecimal: bool) -> str:
    """All digits, and all letters of the cases, that occur at a place; hexadecimal letters stay
    hexadecimal.
    """
    letters = ""
    if any(sign.isdigit() for sign in signs):
        letters += _DIGITS
    for every in (_UPPER, _LOWER):
        used = {sign for sign in signs if sign in every}
        if used:
            letters += every[:6] if hexadecimal else every
    foreign = sorted(sign for sign in signs if sign.isalpha() and not sign.isascii())
    return letters + "".join(foreign) if letters else "".join(sorted(signs))


def _within_int64(number: int) -> int:
    """The number itself, or with its first digits turned down where 64 bits cannot hold it."""
    return number if abs(number) <= LARGEST else number % LARGEST
