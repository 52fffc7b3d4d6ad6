"""Numbers as people write them: 1234.5, 1.234,50, $1,234.50, 57%, (12), 1 234,5 kg. What all values
of a column share (the marks, the unit, the digits) is found here, and numbers are read and written
with it.

Texts are held as Arrow arrays: half a million of them are looked at in some hundredths of a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

PLAIN = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
SAMPLE = 300  # distinct values from which the writing is guessed, before all are held against it


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CURRENCIES = _words(
    "$ € £ ¥ ₹ ₩ ₽ ₺ ₪ R$ A$ C$ US$ USD EUR GBP JPY CHF CNY INR SEK NOK DKK PLN CZK HUF AUD CAD NZD"
    " BRL ZAR MXN Fr. kr zł Kč Ft Rs Rs."
)
UNITS = _words(
    "% ‰ ° °C °F kg g mg µg ug t lb lbs oz km m cm mm µm nm mi ft in l L ml mL dl cl h hrs min s sec"
    " ms d y yr yrs years days months weeks hours W kW kWh MWh MW V A Hz MHz GHz KB MB GB TB bpm mmHg"
    " mmol/l mmol/L mg/dl mg/dL g/dl g/dL g/l g/L km/h mph m/s kcal cal kJ J Pa hPa kPa bar m² m2 km²"
    " m³ m3 cm³ pp bp pts px dB x"
)
# Decimal mark and thousands separator, the likelier first where several fit.
MARKS = (
    (".", ""),
    (".", ","),
    (",", ""),
    (",", "."),
    (",", " "),
    (".", " "),
    (",", "\u00a0"),
    (",", "\u202f"),
    (".", "\u00a0"),
    (".", "'"),
    (".", "’"),
    (",", "'"),
)
_BODY = r"(?:\d(?:[\d.,'’ \u00a0\u202f]*\d)?\.?|[.,]\d+)"
_AFFIX = r"[^\d\s.,'’()+\-−](?:[^\d+\-−()]*[^\d\s+\-−()])?"
_AFFIXED = re.compile(
    rf"(?P<open>\(?)(?P<sign>[+\-−]?)(?P<prefix>(?:{_AFFIX}\s?)?)(?P<inner>[+\-−]?)"
    rf"(?P<body>{_BODY})(?P<suffix>(?:\s?{_AFFIX})?)\)?"
)


@dataclass(frozen=True)
class Numeral:
    """How the numbers of one column are written.

    >>> Numeral(",", ".", suffix=" €", decimals=2, padded=True).write([1234.5, -3])
    ['1.234,50 €', '-3,00 €']
    """

    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""
    minus: str = "-"  # "(" for amounts in parentheses
    is_signed: bool = False  # whether positive numbers have a plus
    sign_inside: bool = False  # "$-5" rather than "-$5"
    decimals: int | None = None  # the most digits after the mark; None where they tell nothing
    padded: bool = False  # whether every number has as many
    whole_is_bare: bool = False  # with padded: but for whole numbers, "5" beside "7.10"
    lakhs: bool = False  # 12,34,567

    @property
    def is_plain(self) -> bool:
        """Whether any reader of CSV takes these texts for numbers."""
        affixes = (self.thousands, self.prefix, self.suffix)
        return self.decimal == "." and affixes == ("", "", "") and self.minus == "-"

    def example(self) -> str:
        """The number 1234.56 as this column would have it, without its unit."""
        return f"1{self.thousands}234{self.decimal}56"

    def normalised(self, texts: pa.Array) -> pa.Array:
        """The same numbers as a program writes them: "1.234,50 €" is "1234.50"."""
        texts = pc.utf8_trim_whitespace(texts)
        if self.is_plain and not self.is_signed:
            return texts
        if self.minus == "(":
            inside = pc.replace_substring(pc.replace_substring(texts, "(", "-"), ")", "")
            texts = pc.if_else(pc.starts_with(texts, "("), inside, texts)
        for affix in (self.prefix, self.suffix):
            if affix:
                texts = pc.replace_substring(texts, affix, "", max_replacements=1)
        for old, new in (("−", "-"), (self.thousands, ""), (self.decimal, ".")):
            if old and old != new:
                texts = pc.replace_substring(texts, old, new)
        if self.is_signed:
            texts = pc.replace_substring(texts, "+", "", max_replacements=1)
        return pc.utf8_trim_whitespace(texts)

    def fits(self, texts: pa.Array) -> np.ndarray:
        """Which texts are numbers in this writing, bool, shape (n,)."""
        grouped = _is_grouped(texts, self) if self.thousands or self.decimal != "." else True
        plain = pc.match_substring_regex(self.normalised(texts), PLAIN)
        return pc.fill_null(plain, False).to_numpy(zero_copy_only=False) & grouped

    def write(self, values) -> list[str]:
        """Texts of numbers, none of them missing."""
        numbers = np.asarray(values)
        if numbers.dtype.kind != "i":
            numbers = numbers.astype(float)
        return [self._text(number) for number in numbers.tolist()]

    def _text(self, number: float | int) -> str:
        text = self._digits(abs(number))
        is_zero = not re.search("[1-9]", text)
        whole, _, fraction = text.partition(".")
        if self.thousands and "e" not in text:
            whole = self._grouped(int(whole))
        body = whole + (self.decimal + fraction if fraction else "")
        negative = number < 0 and not is_zero
        sign = self.minus if negative else ("+" if self.is_signed and not is_zero else "")
        if sign == "(":
            return f"({self.prefix}{body}{self.suffix})"
        if self.sign_inside:
            return f"{self.prefix}{sign}{body}{self.suffix}"
        return f"{sign}{self.prefix}{body}{self.suffix}"

    def _grouped(self, whole: int) -> str:
        if self.lakhs and whole >= 1000:
            pairs = re.sub(r"(?<=\d)(?=(\d\d)+$)", self.thousands, str(whole // 1000))
            return f"{pairs}{self.thousands}{whole % 1000:03d}"
        return f"{whole:,}".replace(",", self.thousands)

    def _digits(self, number: float | int) -> str:
        if self.decimals is None:
            return str(number) if isinstance(number, int) else repr(number).removesuffix(".0")
        text = f"{number:.{self.decimals}f}"
        if self.padded and self.whole_is_bare:
            return text.removesuffix("." + "0" * self.decimals)
        if self.padded or "." not in text:
            return text
        return text.rstrip("0").removesuffix(".")


def guess(
    distinct: pa.Array, hint: str = "", near: float = 0.0
) -> tuple[Numeral, np.ndarray, str] | None:
    """How the numbers among the distinct texts of a column are written, which texts are numbers,
    and another way to read them where one fits as well ("" where none does).

    hint is the decimal mark that the rest of the file makes likely. None where fewer than half of
    the texts are numbers.
    """
    plain = Numeral()
    fits = plain.fits(distinct)
    if fits.all():
        numeral = with_digits(plain, distinct)
        return numeral, fits, other_reading(distinct, numeral)
    best, best_fits = (plain, fits) if fits.any() else (None, fits)
    for numeral in _candidates(_spread(distinct)):
        candidate_fits = numeral.fits(distinct)
        if best is None or candidate_fits.sum() > best_fits.sum():
            best, best_fits = numeral, candidate_fits
    if best is None or best_fits.mean() < near:
        return None
    numbers = distinct.filter(pa.array(best_fits))
    best, other = _settled(best, numbers, hint)
    return with_digits(best, numbers), best_fits, other


def by_example(text: str, distinct: pa.Array) -> Numeral | None:
    """The writing that an example of 1234.56 shows, such as "1.234,56"; None for another text."""
    match = re.fullmatch(r"1([^\d]?)234([.,])56", text)
    if not match:
        return None
    found = [Numeral(match[2], match[1])]
    for numeral in _candidates(_spread(distinct)):
        affixed = Numeral(match[2], match[1], numeral.prefix, numeral.suffix, numeral.minus)
        found.append(affixed)
    best = max(found, key=lambda numeral: numeral.fits(distinct).sum())
    return with_digits(best, distinct.filter(pa.array(best.fits(distinct))))


def _spread(distinct: pa.Array) -> list[str]:
    """Some of the texts, from all over the column."""
    places = np.unique(np.linspace(0, len(distinct) - 1, min(SAMPLE, len(distinct))).astype(int))
    return distinct.take(pa.array(places)).to_pylist()


def _candidates(sample: list[str]) -> Iterator[Numeral]:
    """The writings that the commonest unit of a sample allows, likelier marks first."""
    matches = [match for match in map(_AFFIXED.fullmatch, map(str.strip, sample)) if match]
    if not matches:
        return
    affixes = [(match["prefix"], match["suffix"]) for match in matches]
    prefix, suffix = max(set(affixes), key=lambda pair: (affixes.count(pair), pair))
    if not _is_unit(prefix, suffix):
        return
    shared = [match for match in matches if (match["prefix"], match["suffix"]) == (prefix, suffix)]
    signs = {match["sign"] for match in shared} | {match["inner"] for match in shared}
    minus = "("
    if not any(match["open"] for match in shared):
        minus = "−" if "−" in signs else "-"
    inside = bool(prefix) and any(match["inner"] for match in shared)
    # A plus before every number is a dialling code, unless there are minuses or decimals as well.
    is_signed = "+" in signs
    for decimal, thousands in MARKS:
        yield Numeral(decimal, thousands, prefix, suffix, minus, is_signed, inside)


def _is_unit(prefix: str, suffix: str) -> bool:
    before, after = prefix.strip(), suffix.strip()
    if before and before not in CURRENCIES:
        return False
    return not after or after in CURRENCIES or after in UNITS or _is_word(suffix)


def _is_word(suffix: str) -> bool:
    """Whether a suffix is set apart as a word is: "12 rooms", and not the code 12B."""
    return suffix[:1].isspace() and bool(re.fullmatch(r"[^\W\d_]{2,}", suffix.strip()))


def _is_grouped(texts: pa.Array, numeral: Numeral) -> np.ndarray:
    """Which texts have their separators where three digits follow, and one decimal mark at most."""
    decimal = re.escape(numeral.decimal)
    whole = r"\d+"
    if numeral.thousands:
        separator = re.escape(numeral.thousands)
        whole = rf"([1-9]\d{{0,2}}({separator}\d{{3}})+|\d+"
        if numeral.thousands == ",":
            whole += r"|\d{1,2}(,\d{2})+,\d{3}"  # lakhs and crores
        whole += ")"
    pattern = rf"(^|[^\d.,]){whole}?({decimal}\d+)?([^\d.,]|$)"
    if numeral.thousands:
        pattern = rf"(^|[^\d.,'’]){whole}({decimal}\d+)?([^\d.,'’]|$)"
    grouped = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    return grouped.to_numpy(zero_copy_only=False)


def _settled(numeral: Numeral, numbers: pa.Array, hint: str) -> tuple[Numeral, str]:
    """The writing, and another that fits as well: "1,609" alone is sixteen hundred or a good one
    and a half.
    """
    text = numbers
    one_comma = pc.all(
        pc.match_substring_regex(text, r"(^|\D)[1-9]\d{0,2},\d{3}([^\d.,]|$)")
    ).as_py()
    if numeral.thousands == "," and one_comma and numeral.decimal == ".":
        as_decimal = Numeral(",", "", numeral.prefix, numeral.suffix, numeral.minus)
        if hint == ",":
            return as_decimal, numeral.example()
        return numeral, as_decimal.example()
    one_point = pc.all(
        pc.match_substring_regex(text, r"(^|\D)[1-9]\d{0,2}\.\d{3}([^\d.,]|$)")
    ).as_py()
    if numeral.decimal == "." and not numeral.thousands and one_point:
        return numeral, Numeral(",", ".").example()
    return numeral, ""


def other_reading(distinct: pa.Array, numeral: Numeral) -> str:
    """ "1.609" and its like may be thousands, where every number has three digits after the point."""
    if len(distinct) < 3 or numeral.decimals != 3 or not numeral.padded:
        return ""
    pattern = r"^-?[1-9]\d{0,2}\.\d{3}$"
    if not pc.all(pc.match_substring_regex(distinct, pattern)).as_py():
        return ""
    return Numeral(",", ".").example()


def with_digits(numeral: Numeral, numbers: pa.Array, looked: Digits | None = None) -> Numeral:
    """The writing with the digits after its decimal mark; looked are those of the normalised texts,
    where they are known.
    """
    if looked is None:
        looked = Digits.of(numeral.normalised(numbers))
    if not len(looked.ends) or looked.has_exponent:
        return numeral
    digits = looked.after_point
    least, most = int(digits.min()), int(digits.max())
    padded = least == most and most > 0
    whole_is_bare = False
    if not padded and most > 1 and looked.ends_in_zero.any():
        whole_is_bare = bool(((digits == 0) | (digits == most)).all())
    lakhs = (
        numeral.thousands == ","
        and pc.any(pc.match_substring_regex(numbers, r"(^|\D)\d{1,2}(,\d{2})+,\d{3}(\D|$)")).as_py()
    )
    return replace(
        numeral,
        decimals=most,
        padded=padded or whole_is_bare,
        whole_is_bare=whole_is_bare,
        lakhs=bool(lakhs),
    )


@dataclass(frozen=True)
class Digits:
    """Where the digits of numbers stand that are written as a program writes them.

    All texts lie one after the other as bytes, and arrays of bytes are compared ten times faster
    than a regular expression is held against each text. `starts` and `ends` are places in `data`,
    `points` those of the first point within each text, -1 where there is none.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, texts: pa.Array) -> Digits:
        """What the bytes of large_string texts say; missing ones count for none."""
        texts = texts.drop_null() if texts.null_count else texts
        return cls(*_bytes_of(texts), pc.find_substring(texts, ".").to_numpy())

    @cached_property
    def lengths(self) -> np.ndarray:
        return self.ends - self.starts

    @cached_property
    def has_point(self) -> np.ndarray:
        return self.points >= 0

    @cached_property
    def after_point(self) -> np.ndarray:
        """How many digits stand after the point; none where there is no point."""
        return np.where(self.has_point, self.lengths - self.points - 1, 0)

    @cached_property
    def ends_in_zero(self) -> np.ndarray:
        """Whether a text has a point and ends in a zero."""
        is_filled = self.lengths > 0
        last = self.data[np.where(is_filled, self.ends - 1, 0)] if len(self.data) else self.ends
        return is_filled & self.has_point & (last == ord("0"))

    @cached_property
    def is_padded_whole(self) -> np.ndarray:
        """Whether a text of two bytes or more begins with a zero and has no point: 0123."""
        is_long = (self.lengths > 1) & ~self.has_point
        return is_long & (self.data[np.where(is_long, self.starts, 0)] == ord("0"))

    @cached_property
    def has_exponent(self) -> bool:
        return bool(((self.data | 0x20) == ord("e")).any())

    @cached_property
    def is_bare(self) -> bool:
        """Whether all bytes are digits, points and signs."""
        return bool(_IS_BARE[self.data].all())


_IS_BARE = np.isin(np.arange(256), np.frombuffer(b"0123456789.+-", np.uint8))


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes of all texts, and where each text begins and ends in them."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        none = np.zeros(len(texts), dtype=np.int64)
        return np.empty(0, np.uint8), none, none
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    bounds = bounds - bounds[0]
    return held, bounds[:-1], bounds[1:]


def to_floats(texts: pa.Array) -> np.ndarray:
    """Normalised texts as float64, to the last bit; NaN where there is none."""
    return pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)


def to_integers(texts: pa.Array) -> pd.arrays.IntegerArray | None:
    """Whole numbers written as a program writes them, 12 and not 012 or 12.0; None for others."""
    if not _begins_with(texts, r"^-?\d{1,18}$"):
        return None
    try:
        whole = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    missing = np.asarray(pc.is_null(whole))
    numbers = pc.fill_null(whole, 0).to_numpy().copy()
    # A leading zero makes a text longer than its number needs.
    present = numbers[~missing] if missing.any() else numbers
    needed = len(present) + int((present < 0).sum())
    sizes = np.abs(present)
    for power in range(1, len(str(sizes.max()))):
        needed += int((sizes >= 10**power).sum())
    if needed != pc.sum(pc.binary_length(texts)).as_py():
        return None
    return pd.arrays.IntegerArray(numbers, missing)


def _begins_with(texts: pa.Array, pattern: str) -> bool:
    """Whether the first texts have a shape: a cast that fails on every row takes long."""
    first = texts[:100].drop_null()
    return len(first) == 0 or bool(pc.all(pc.match_substring_regex(first, pattern)).as_py())


def plain_floats(texts: pa.Array) -> np.ndarray | None:
    """Finite numbers written as a program writes them, NaN where there is none; None for others."""
    if not _begins_with(texts, PLAIN):
        return None
    try:
        numbers = to_floats(texts)
    except pa.ArrowInvalid:
        return None
    finite = np.isfinite(numbers)
    return numbers if finite.sum() == len(texts) - texts.null_count else None


def as_arrow(values: pd.Series) -> pa.Array:
    """A column of text as one Arrow array; other objects as Python writes them."""
    if isinstance(values.dtype, pd.ArrowDtype) or str(values.dtype).startswith("string"):
        array = pa.array(values)
    else:
        missing = values.isna().to_numpy(dtype=bool)
        items = [None if gone else str(v) for v, gone in zip(values, missing, strict=True)]
        array = pa.array(items, type=pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    return array if array.type == pa.large_string() else pc.cast(array, pa.large_string())
