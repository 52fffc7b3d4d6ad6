"""How the values of one column are written in the table that was read, beside what they mean.

A column of prices is numeric; its form says that these are written as $1,234.50, that "refused"
stands where there is none, and that two decimals are always there. Values are read through the form
once, everything between works on numbers, dates and labels, and what leaves is written through it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import InputError
from workbench.tables import dates, numerals
from workbench.tables.dates import Clock, Stamp
from workbench.tables.numerals import Numeral
from workbench.words import quoted

FIRST_DATE, LAST_DATE = np.datetime64("1677-09-22", "us"), np.datetime64("2262-04-11", "us")
MISSING_MARKS = {"na", "n/a", "nan", "null", "none", "missing", "?", "-", "."}
# Texts that say why there is no number or date.
ANSWERS = MISSING_MARKS | {"--", "---", "n.a.", "#n/a", "#na", "nil", "unk", "tbd", "tba"}
ANSWERS |= {"unknown", "refused", "unavailable", "pending", "withheld"}
ANSWERS |= {"not available", "not applicable", "not known", "not given", "no answer", "no data"}
MOST_LEVELS = 5  # different texts beside numbers or dates up to which each is a level
LEAST_NUMBERS = 10  # distinct numbers from which other texts may be levels beside them
LEAST_DATES = 3
LEAST_MONTHS = 8  # distinct numbers of six digits from which they may be months
_ISO = Stamp("%Y-%m-%d")
_ANY_ISO = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$"


@dataclass(frozen=True)
class Form:
    """How one column is written. One of number, stamp, clock, labels and dtype says it, or none of
    them where only `levels` do.

    levels: the texts that stand where there is no value, each with its share of such rows; "" is an
    empty field.
    """

    number: Numeral | None = None
    stamp: Stamp | None = None
    clock: Clock | None = None
    labels: tuple[str, ...] = ()  # of false and true; of categories, in their order
    ordered: bool = False
    dtype: str = ""  # of a column that was no text
    counted: str = ""  # "D" or "s": dates that are held as a count since 1970
    levels: tuple[tuple[str, float], ...] = ()
    other: str = ""  # another format that fits as well

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON holds it."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if field.name in ("number", "stamp", "clock"):
                value = {
                    name: given
                    for name, given in asdict(value).items()
                    if given != getattr(type(value)(**_LEAST.get(field.name, {})), name)
                    or name == "pattern"
                }
            found[field.name] = value
        return found

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Form:
        facts = dict(facts)
        for name, kind in (("number", Numeral), ("stamp", Stamp), ("clock", Clock)):
            if name in facts:
                facts[name] = kind(**facts[name])
        facts["labels"] = tuple(facts.get("labels", ()))
        facts["levels"] = tuple((text, share) for text, share in facts.get("levels", ()))
        return cls(**facts)

    @property
    def is_text(self) -> bool:
        """Whether what it describes was text."""
        return not self.dtype or self.dtype in ("date", "time", "decimal")

    def read(self, values: pd.Series, strict: bool = True) -> pd.Series:
        """Raw values as numbers, dates or truth values; what is no raw value stays as it is.

        Raises InputError for the first text of another form, or makes it missing if not strict.
        """
        if is_text(values):
            if not _holds_text(values):
                return values
            read = self._read_text(values, strict)
        else:
            read = _read_typed(values, self)
        return read.rename(values.name)

    def _read_text(self, values: pd.Series, strict: bool) -> pd.Series:
        texts = numerals.as_arrow(values)
        if self.number is not None and self.number.is_plain and not self.levels:
            numbers = numerals.plain_floats(texts)
            if numbers is not None:
                return pd.Series(numbers + 0.0)
        encoded = texts.dictionary_encode()
        distinct, codes = encoded.dictionary, encoded.indices
        if self.number is None and self.stamp is None and self.clock is None:
            return _taken(self._labels_of(distinct), codes)
        # 9999-12-31 may be a date and yet a level.
        gone = pc.is_in(distinct, pa.array(self.level_texts, distinct.type))
        found = self._parsed(pc.if_else(gone, None, distinct))
        if strict:
            self._refuse_strange(values.name, distinct, found)
        return _taken(found, codes)

    def _labels_of(self, distinct: pa.Array) -> np.ndarray:
        """Labels as they are; truth values under the names that every program knows."""
        gone = pc.is_in(distinct, pa.array(self.level_texts, distinct.type))
        found = _objects(pc.if_else(gone, None, distinct))
        if len(self.labels) == 2 and self.dtype != "category":
            names = dict(zip(self.labels, ("false", "true"), strict=True))
            found = np.array([names.get(text, text) for text in found], dtype=object)
        return found

    @property
    def level_texts(self) -> list[str]:
        return [text for text, _ in self.levels if text]

    def _parsed(self, distinct: pa.Array) -> np.ndarray:
        """The value of each distinct text, NaN or NaT for what is none."""
        if self.number is not None:
            return _numbers_of(distinct, self.number)
        if self.clock is not None:
            return self.clock.read(distinct)
        found = self.stamp.read(distinct)
        lost = np.isnat(found)
        if lost.any() and lost.sum() > len(self.level_texts):
            # A file that another program wrote has ISO dates.
            iso = pd.to_datetime(
                pd.Series(distinct.filter(pa.array(lost)).to_pylist()),
                format="ISO8601",
                errors="coerce",
                utc=True,
            )
            found[lost] = iso.dt.tz_localize(None).to_numpy().astype(found.dtype)
        if self.counted:
            return _counted(found, self.counted)
        return found

    def _refuse_strange(self, name: object, distinct: pa.Array, found: np.ndarray) -> None:
        strange = pd.isna(found)
        strange &= ~pc.is_in(distinct, pa.array(self.level_texts, distinct.type)).to_numpy(
            zero_copy_only=False
        )
        strange &= ~pc.is_null(distinct).to_numpy(zero_copy_only=False)
        if strange.any():
            first = distinct[int(np.flatnonzero(strange)[0])].as_py()
            form = self.sentence() or "a number"
            raise InputError(
                f"column {name!r}: {first!r} is not written as {form}; mark it missing"
                f" (--missing {quoted(first)}), or declare another kind or format."
            )

    def sentence(self) -> str:
        """The form in a few words.

        >>> Form(number=Numeral(",", ".", suffix=" €")).sentence()
        '1.234,56 €'
        """
        if self.stamp is not None:
            zone = f" ({self.stamp.zone})" if self.stamp.zone else ""
            return self.stamp.pattern + zone
        if self.number is not None and self.number.is_plain and not self.other:
            return ""  # as any program writes numbers
        if self.number is not None:
            return self.number.prefix + self.number.example() + self.number.suffix
        if self.clock is not None:
            clock = "hours:minutes" + (":seconds" if self.clock.seconds else "")
            return f"days and {clock}" if self.clock.days else clock
        return self.dtype or " and ".join(self.labels[:2])

    def rounded(self, values: pd.Series) -> pd.Series:
        """Numbers with no more digits than the column has."""
        number = self.number
        if number is None or number.decimals is None or values.dtype != "float64":
            return values
        return values.round(number.decimals) + 0.0

    def write(self, values: pd.Series, as_text: bool) -> pd.Series:
        """Cast values as they were written, an object column of text wherever no dtype can say it;
        as_text for a file that holds nothing but text.
        """
        if self.dtype and not (self.is_text and as_text):
            return _typed(values, self)
        if not as_text and not self.levels and self._has_plain_type:
            return self._plain(values)
        missing = values.isna().to_numpy(dtype=bool)
        texts = np.full(len(values), np.nan, dtype=object)
        texts[~missing] = self._texts(values[~missing])
        texts[missing] = self._fillers(int(missing.sum()))
        return pd.Series(texts, index=values.index, name=values.name, dtype=object)

    @property
    def _has_plain_type(self) -> bool:
        if self.number is not None:
            return self.number.is_plain
        return self.labels == ("0", "1")

    def _plain(self, values: pd.Series) -> pd.Series:
        return values.astype("Int64") if self.labels else self.rounded(values)

    def _texts(self, present: pd.Series) -> list[str]:
        if self.number is not None:
            whole = str(present.dtype) == "Int64"
            return self.number.write(present.to_numpy(dtype="int64" if whole else float))
        if self.clock is not None:
            return self.clock.write(present.to_numpy(dtype=float))
        if self.stamp is not None:
            times = present.to_numpy()
            if self.counted:
                times = present.to_numpy(dtype="int64").astype(f"datetime64[{self.counted}]")
                times = times.astype("datetime64[us]")
            return self.stamp.write(times)
        if self.labels:
            return [self.labels[int(value)] for value in present]
        return [_shown(value) for value in present]

    def _fillers(self, n: int) -> np.ndarray:
        """Texts for n missing values, in the shares that they have in the table that was read.

        Where an empty field is one of several, which row gets which is drawn, the same in every
        call.
        """
        if not self.levels:
            return np.full(n, np.nan, dtype=object)
        texts = np.array([text or np.nan for text, _ in self.levels], dtype=object)
        if len(texts) == 1:
            return np.repeat(texts, n)
        shares = np.array([share for _, share in self.levels])
        places = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(n) + 0.5) / max(n, 1))
        return np.random.default_rng(0).permutation(texts[places])


_LEAST = {"stamp": {"pattern": ""}}


def is_text(values: pd.Series) -> bool:
    """Whether a column holds text, or objects that are looked at as text."""
    return values.dtype == object or pd.api.types.is_string_dtype(values.dtype)


def _holds_text(values: pd.Series) -> bool:
    """Whether objects are text, or dates and decimals that are read as text; not bare numbers."""
    if values.dtype != object:
        return True
    held = pd.api.types.infer_dtype(values, skipna=True)
    return held in ("string", "mixed", "mixed-integer", "date", "time", "decimal", "empty")


def _shown(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        whole_day = value == value.normalize()
        return f"{value:%Y-%m-%d}" if whole_day else str(value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def _objects(texts: pa.Array) -> np.ndarray:
    return texts.to_numpy(zero_copy_only=False).astype(object)


def _taken(found: np.ndarray, codes: pa.Array) -> pd.Series:
    """A value for each row from those of the distinct texts."""
    missing = np.asarray(pc.is_null(codes))
    places = pc.fill_null(codes, 0).to_numpy()
    if not len(found):
        return pd.Series(np.full(len(codes), np.nan, dtype=object))
    taken = found[places]
    if missing.any():
        if taken.dtype.kind in "biu":
            taken = taken.astype(float)
        taken[missing] = np.datetime64("NaT") if taken.dtype.kind == "M" else np.nan
    return pd.Series(taken)


def _numbers_of(distinct: pa.Array, numeral: Numeral) -> np.ndarray:
    """Numbers in a writing; texts of another are read as any program would write them."""
    normalised = numeral.normalised(distinct)
    fits = pa.array(numeral.fits(distinct))
    if not pc.all(fits).as_py():
        plain = pc.fill_null(pc.match_substring_regex(distinct, numerals.PLAIN), False)
        normalised = pc.if_else(fits, normalised, pc.if_else(plain, distinct, None))
    return numerals.to_floats(normalised) + 0.0  # there is one zero: -0.0 becomes 0.0


def _counted(times: np.ndarray, unit: str) -> np.ndarray:
    counts = times.astype(f"datetime64[{unit}]").astype("int64").astype(float)
    counts[np.isnat(times)] = np.nan
    return counts


def infer(
    values: pd.Series, kind: str | None = None, form: str = "", decimal: str = ""
) -> tuple[str, Form | None]:
    """The kind of a raw column and how it is written; None where its dtype or text says it all.

    kind is one that was declared, form a format of dates ("%d/%m/%Y") or of numbers ("1.234,56"),
    decimal the mark that the rest of the file makes likely. Raises InputError for infinite values,
    for a column of numbers with many different texts, and for a format that does not fit.
    """
    values = _without_arrow(values)
    if not is_text(values):
        return _infer_typed(values, kind, form)
    texts = numerals.as_arrow(values)
    quick = _infer_plain(values, texts, kind) if not form else None
    if quick is not None:
        return quick
    counts = texts.value_counts()
    distinct, rows = counts.field("values"), np.asarray(counts.field("counts"))
    gaps = int(rows[np.asarray(pc.is_null(distinct))].sum())
    rows = rows[np.asarray(pc.is_valid(distinct))]
    looked = _Texts(values.name, distinct.drop_null(), rows, gaps, decimal)
    found_kind, found = looked.infer(kind, form)
    dtype = _object_type(values) if found_kind != "categorical" else ""
    if dtype:
        found = replace(found or Form(), dtype=dtype)
    return found_kind, found


def _infer_plain(
    values: pd.Series, texts: pa.Array, kind: str | None
) -> tuple[str, Form | None] | None:
    """The same for numbers that need no second look, without counting what is distinct."""
    if kind is not None or values.dtype == object or texts.null_count == len(texts):
        return None
    whole = numerals.to_integers(texts)
    if whole is not None:
        low, high = int(whole.min()), int(whole.max())
        if (low, high) == (0, 1):
            return "boolean", Form(labels=("0", "1"))
        may_be_dates = (low >= 19_000_101 and high < 21_000_000) or (
            low >= 190_001 and high < 210_000
        )
        is_exact = max(-low, high) < 2**53
        return ("integer", None) if is_exact and not may_be_dates else None
    numbers = numerals.plain_floats(texts)
    if numbers is None:
        return None
    present = texts.drop_null() if texts.null_count else texts
    looked = numerals.Digits.of(present)
    numeral = numerals.with_digits(Numeral(), present, looked)
    found = _kind_of_numbers(numbers[~np.isnan(numbers)])
    # Codes, 0.0 and 1.0, and what may be thousands are looked at text by text.
    if found != "numeric" or numeral.decimals is None or _are_codes(present, numeral, looked):
        return None
    if numerals.other_reading(present, numeral):
        return None
    return "numeric", Form(number=numeral)


def _object_type(values: pd.Series) -> str:
    """date, time or decimal where a column of objects holds these, otherwise nothing."""
    first = values.dropna()
    if values.dtype != object or not len(first):
        return ""
    for name, kind in (("date", datetime.date), ("time", datetime.time), ("decimal", Decimal)):
        if isinstance(first.iloc[0], kind) and not isinstance(first.iloc[0], datetime.datetime):
            return name
    return ""


@dataclass
class _Texts:
    """The distinct texts of a column, how many rows have each, and how many rows have none."""

    name: object
    distinct: pa.Array
    rows: np.ndarray
    gaps: int
    decimal: str

    def infer(self, kind: str | None, form: str) -> tuple[str, Form | None]:
        if form:
            return self._declared(form)
        if kind == "categorical":
            return kind, None
        if not len(self.distinct):
            return kind or "categorical", None
        for attempt in (self._truth, self._numbers, self._dates, self._clock):
            found = attempt(kind)
            if found is not None:
                return found
        if kind is None:
            self._refuse_mixed()
        return kind or "categorical", None

    def _truth(self, kind: str | None) -> tuple[str, Form | None] | None:
        if kind not in (None, "boolean") or len(self.distinct) > 2:
            return None
        spelled = {text.lower(): text for text in self.distinct.to_pylist()}
        if set(spelled) <= {"true", "false"} and len(spelled) == len(self.distinct):
            labels = (
                spelled.get("false", _like("false", spelled.get("true", ""))),
                spelled.get("true", _like("true", spelled.get("false", ""))),
            )
            return "boolean", None if labels == ("False", "True") else Form(labels=labels)
        return None

    def _numbers(self, kind: str | None) -> tuple[str, Form | None] | None:
        if kind not in (None, "numeric", "integer", "boolean"):
            return None
        found = numerals.guess(self.distinct, self.decimal)
        if found is None or not found[1].any():
            return None
        numeral, fits, other = found
        self._refuse_infinite_texts(fits)
        if not self._are_levels(fits, LEAST_NUMBERS, declared=kind is not None):
            return None
        texts = self.distinct.filter(pa.array(fits))
        if kind is None and fits.all() and self._is_compact_date(texts):
            return None
        if kind is None and _are_codes(texts, numeral):
            return "categorical", None
        numbers = numerals.to_floats(numeral.normalised(texts))
        refuse_infinite(self.name, numbers)
        found_kind = _kind_of_numbers(numbers)
        levels = self._levels(fits)
        if found_kind == "boolean" and kind in (None, "boolean"):
            return "boolean", Form(labels=self._truth_labels(texts, numbers), levels=levels)
        is_bare = numeral == replace(Numeral(), decimals=0) and not levels
        form = None if is_bare else Form(number=numeral, levels=levels, other=other)
        if kind == "numeric" or (kind is None and found_kind == "numeric"):
            return "numeric", form
        return "integer", form

    def _refuse_infinite_texts(self, fits: np.ndarray) -> None:
        strange = self.distinct.filter(pa.array(~fits)).to_pylist()[: 4 * MOST_LEVELS]
        infinite = [re.fullmatch(r"[+-]?inf(inity)?", text.strip().lower()) for text in strange]
        refuse_infinite(self.name, np.full(sum(map(bool, infinite)), np.inf))

    def _truth_labels(self, texts: pa.Array, numbers: np.ndarray) -> tuple[str, ...]:
        spelled = dict(zip(numbers.tolist(), texts.to_pylist(), strict=True))
        return spelled[0.0], spelled[1.0]

    def _is_compact_date(self, texts: pa.Array) -> bool:
        """Whether eight digits are a day, or six a month, in every row: by chance one number in
        thirty is a day, and one in eight a month.
        """
        month = r"^(19|20)\d{2}(0[1-9]|1[0-2])$"
        if len(texts) >= LEAST_MONTHS and pc.all(pc.match_substring_regex(texts, month)).as_py():
            return True
        head = texts[:3].to_pylist()
        if len(head) < LEAST_DATES or not all(re.fullmatch(r"(19|20)\d{6}", t) for t in head):
            return False
        return bool(Stamp("%Y%m%d").fits(texts).all())

    def _dates(self, kind: str | None) -> tuple[str, Form | None] | None:
        if kind not in (None, "datetime"):
            return None
        found = dates.guess(self.distinct)
        if found is None:
            return self._mixed_iso()
        stamp, fits, other = found
        times = stamp.read(self.distinct)
        fits &= ~self._far(times)
        if not self._are_levels(fits, LEAST_DATES, declared=kind is not None):
            iso = self._mixed_iso()
            if iso is not None:
                return iso
            return self._far_dates(stamp, times, other)
        if fits.all() and stamp == _ISO:
            return "datetime", None
        return "datetime", Form(stamp=stamp, levels=self._levels(fits), other=other)

    def _far(self, times: np.ndarray) -> np.ndarray:
        """Which dates nanoseconds cannot count."""
        if times.dtype == "datetime64[ns]":
            return np.zeros(len(times), dtype=bool)
        return (times < FIRST_DATE) | (times > LAST_DATE)

    def _far_dates(self, stamp: Stamp, times: np.ndarray, other: str):
        """Dates of which many are before 1677 are counted in days, or in microseconds."""
        fits = ~np.isnat(times)
        if not self._far(times).any() or not self._are_levels(fits, LEAST_DATES, False):
            return None
        unit = "D" if (times[fits] == times[fits].astype("datetime64[D]")).all() else "s"
        return "integer", Form(stamp=stamp, counted=unit, levels=self._levels(fits), other=other)

    def _mixed_iso(self) -> tuple[str, Form | None] | None:
        """ISO dates of which some have a time of day: read as they are, written as pandas does."""
        matches = pc.match_substring_regex(self.distinct, _ANY_ISO)
        if not pc.all(matches).as_py():
            return None
        texts = pd.Series(self.distinct.to_pylist())
        read = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
        return ("datetime", None) if read.notna().all() else None

    def _clock(self, kind: str | None) -> tuple[str, Form | None] | None:
        if kind not in (None, "numeric", "integer"):
            return None
        found = dates.guess_clock(self.distinct)
        if found is None or not self._are_levels(found[1], LEAST_DATES, kind is not None):
            return None
        clock, fits = found
        seconds = clock.read(self.distinct.filter(pa.array(fits)))
        whole = bool((seconds == np.round(seconds)).all())
        form = Form(clock=clock, levels=self._levels(fits))
        return ("integer" if whole and kind != "numeric" else "numeric"), form

    def _are_levels(self, fits: np.ndarray, least: int, declared: bool) -> bool:
        """Whether the texts that are no numbers or dates may be levels beside those that are."""
        strange = self.distinct.filter(pa.array(~fits)).to_pylist()
        if not strange:
            return True
        if not fits.any() or len(strange) > MOST_LEVELS:
            return False
        known = {text.strip().lower() for text in strange} <= ANSWERS
        enough = fits.sum() >= max(least, 2 * len(strange))
        return known or enough or (declared and fits.sum() > len(strange))

    def _levels(self, fits: np.ndarray) -> tuple[tuple[str, float], ...]:
        """The texts that are no numbers or dates, with their shares of the rows that have neither."""
        strange = self.distinct.filter(pa.array(~fits)).to_pylist()
        if not strange:
            return ()
        counts = dict(zip(strange, self.rows[~fits].tolist(), strict=True))
        if self.gaps:
            counts[""] = self.gaps
        total = sum(counts.values())
        return tuple((text, round(count / total, 6)) for text, count in counts.items())

    def _declared(self, form: str) -> tuple[str, Form]:
        """A form of dates or numbers that a person declared; what does not fit may be levels."""
        numeral = numerals.by_example(form, self.distinct)
        if numeral is not None:
            fits = numeral.fits(self.distinct)
            self._refuse_unlike(fits, form)
            numbers = numerals.to_floats(numeral.normalised(self.distinct.filter(pa.array(fits))))
            kind = "integer" if (numbers == np.round(numbers)).all() else "numeric"
            return kind, Form(number=numeral, levels=self._levels(fits))
        stamp = dates.checked(form, str(self.name))
        times = stamp.read(self.distinct)
        fits = ~np.isnat(times)
        self._refuse_unlike(fits, form)
        stamp = dates.detailed(stamp, self.distinct.filter(pa.array(fits)))
        far = self._far(times)
        if far.any() and not self._are_levels(fits & ~far, LEAST_DATES, False):
            return self._far_dates(stamp, times, "")
        return "datetime", Form(stamp=stamp, levels=self._levels(fits & ~far))

    def _refuse_unlike(self, fits: np.ndarray, form: str) -> None:
        if fits.all() or (fits.any() and self._are_levels(fits, LEAST_DATES, False)):
            return
        first = self.distinct.filter(pa.array(~fits))[0].as_py()
        raise InputError(
            f"column {self.name!r}: {first!r} is not written as {form}; give the format it has"
            f" (--format {quoted(f'{self.name}=%d.%m.%Y')}), or mark it missing (--missing"
            f" {quoted(first)})."
        )

    def _refuse_mixed(self) -> None:
        """Raises InputError where a column of numbers holds many different texts, which would make
        each number a label of its own.
        """
        found = numerals.guess(self.distinct, self.decimal)
        if found is None or found[1].all() or not found[1].any():
            return
        fits = found[1]
        share = self.rows[~fits].sum() / self.rows.sum()
        strange = self.distinct.filter(pa.array(~fits)).to_pylist()
        # V27 and E909 beside 250.10 are codes too, and all of them are labels.
        if share > 0.1 or all(map(_is_code, strange)):
            return
        shown = ", ".join(repr(text[:30]) for text in strange[:3])
        raise InputError(
            f"column {self.name!r} mixes numbers with other texts, such as {shown}; mark them"
            f" missing (--missing {quoted(strange[0])}), or read all as labels (--kind"
            f" {quoted(f'{self.name}=categorical')})."
        )


def _like(word: str, sample: str) -> str:
    """A word in the case of a sample: TRUE, True or true."""
    if sample.isupper():
        return word.upper()
    return word.capitalize() if sample[:1].isupper() else word


def _is_code(text: str) -> bool:
    """Whether a text is a code such as V27 and 12B, or a range such as 3+, <5 and 10-20."""
    code = r"[A-Za-z]{1,4}[-. ]?\d[\w.\-]*|\d[\w.\-]*[A-Za-z]{1,2}"
    span = r"[<>≤≥]=?\s*\d+|\d+\s*(\+|-\s*\d+|–\s*\d+|to\s*\d+)"
    return bool(re.fullmatch(f"{code}|{span}", text.strip()))


def _are_codes(texts: pa.Array, numeral: Numeral, looked: numerals.Digits | None = None) -> bool:
    """Whether numbers are written as nobody writes a quantity: 0123, 1E2, +49, 250.10 beside 401.9."""

    def some(pattern: str) -> bool:
        return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())

    if numeral.is_signed and not some(r"[-−.,]"):
        return True
    if not numeral.is_plain or numeral.prefix or numeral.suffix:
        return False
    if looked is None:
        looked = numerals.Digits.of(texts)
    if looked.is_bare:
        return _are_bare_codes(texts, looked, numeral)
    if some(r"^\s*0\d+\s*$"):
        return True
    if some(r"\d{16,}") and _has_long_integers(texts):
        return True
    if numeral.decimals is None:
        return some(r"^\d+[eE]\d+$") and not some(r"\.")
    # Prices are padded to two decimals throughout, and floats not at all.
    return numeral.decimals > 1 and not numeral.padded and some(r"\.\d+0$")


def _are_bare_codes(texts: pa.Array, looked: numerals.Digits, numeral: Numeral) -> bool:
    """The same of numbers without blanks and exponents, whose bytes say it."""
    if looked.is_padded_whole.any():
        return True
    if looked.lengths.max(initial=0) >= 16 and _has_long_integers(texts):
        return True
    if numeral.decimals is None or numeral.decimals < 2 or numeral.padded:
        return False
    return bool((looked.ends_in_zero & (looked.after_point > 1)).any())


def _has_long_integers(texts: pa.Array) -> bool:
    """Whether whole numbers are written that a float cannot hold to the last digit."""
    long = texts.filter(pc.match_substring_regex(texts, r"^-?\d{16,}$"))
    return any(abs(int(text)) >= 2**53 for text in long.to_pylist())


def _kind_of_numbers(numbers: np.ndarray) -> str:
    is_within = len(numbers) > 0 and numbers.min() == 0 and numbers.max() == 1
    if is_within and np.isin(numbers, (0.0, 1.0)).all():
        return "boolean"
    if not len(numbers) or not np.all(numbers == np.round(numbers)):
        return "numeric"
    return "integer" if np.abs(numbers).max() < 2**53 else "numeric"


def refuse_infinite(name: object, numbers: np.ndarray) -> None:
    """Raises InputError where numbers are infinite."""
    if np.isinf(numbers).any():
        raise InputError(
            f"column {name!r} holds infinite values ({int(np.isinf(numbers).sum())}); make them"
            " missing or cap them."
        )


def _without_arrow(values: pd.Series) -> pd.Series:
    """A column of an Arrow type other than text, in the dtype that pandas has for it."""
    if not isinstance(values.dtype, pd.ArrowDtype):
        return values
    kind = values.dtype.pyarrow_dtype
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values
    if pa.types.is_integer(kind):
        return values.astype("UInt64" if pa.types.is_unsigned_integer(kind) else "Int64")
    if pa.types.is_boolean(kind):
        return values.astype("boolean")
    return pd.Series(pa.array(values).to_pandas(), name=values.name)


def _infer_typed(values: pd.Series, kind: str | None, form: str) -> tuple[str, Form | None]:
    """Kind and form of a column that is no text."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _infer_category(values, kind, form)
    if pd.api.types.is_bool_dtype(dtype):
        return kind or "boolean", None
    if isinstance(dtype, pd.PeriodDtype):
        return kind or "datetime", Form(dtype=str(dtype))
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _infer_datetimes(values, kind)
    if pd.api.types.is_timedelta64_dtype(dtype):
        seconds = values.dropna().dt.total_seconds().to_numpy()
        whole = bool(len(seconds)) and bool((seconds == np.round(seconds)).all())
        found = "integer" if whole else "numeric"
        return kind or found, Form(dtype=str(dtype))
    if pd.api.types.is_numeric_dtype(dtype):
        return _infer_numbers(values, kind, form)
    return kind or "categorical", None


def _infer_category(values: pd.Series, kind: str | None, form: str) -> tuple[str, Form | None]:
    """A category keeps its levels and their order; unordered numbers are numbers all the same."""
    levels = values.cat.categories
    if kind is None and not values.cat.ordered and pd.api.types.is_numeric_dtype(levels.dtype):
        return infer(values.astype(levels.dtype), kind, form)
    if kind is None or kind == "categorical":
        labels = tuple(label_text(level) for level in levels)
        return "categorical", Form(
            dtype="category", labels=labels, ordered=bool(values.cat.ordered)
        )
    return infer(values.astype(object), kind, form)


def label_text(value: object) -> str:
    """A level as a label is written: 3.0 is the label 3."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _infer_datetimes(values: pd.Series, kind: str | None) -> tuple[str, Form | None]:
    present = values.dropna()
    zone = getattr(values.dtype, "tz", None)
    if kind not in (None, "datetime"):
        return kind, None
    local = present.dt.tz_localize(None) if zone is not None else present
    times = local.to_numpy()
    if times.dtype != "datetime64[ns]" and len(times):
        outside = (times.min() < FIRST_DATE) or (times.max() > LAST_DATE)
        if outside and kind is None:
            return "integer", Form(dtype=str(values.dtype), counted="s")
    is_plain = str(values.dtype) == "datetime64[ns]"
    return "datetime", None if is_plain else Form(dtype=str(values.dtype))


def _infer_numbers(values: pd.Series, kind: str | None, form: str) -> tuple[str, Form | None]:
    present = values.dropna()
    if form or _is_compact_day(present, kind):
        whole = present.astype("Int64") if len(present) else present
        texts = whole.reindex(values.index).astype("string")
        found_kind, found = infer(texts.rename(values.name), None, form or "%Y%m%d")
        return found_kind, replace(found, dtype=str(values.dtype)) if found else None
    if pd.api.types.is_float_dtype(values.dtype) and _itemsize(values) < 8:
        present = to_double(present)
    numbers = present.to_numpy(dtype=float)
    refuse_infinite(values.name, numbers)
    found = _kind_of_numbers(numbers)
    whole = bool(len(numbers)) and bool(np.all(numbers == np.round(numbers)))
    if found == "numeric" and whole and pd.api.types.is_integer_dtype(present.dtype):
        # Whole numbers that a float cannot hold are codes, and keep every digit as text.
        return kind or "categorical", Form(dtype=str(values.dtype))
    kind = kind or found
    if kind == "boolean":
        return kind, Form(labels=("0", "1"), dtype=str(values.dtype))
    known = {"numeric": ("float64", "Float64"), "integer": ("int64", "Int64", "float64")}
    if kind in known and str(values.dtype) not in known[kind]:
        numeral = Numeral(decimals=_decimals(numbers)) if kind == "numeric" else None
        return kind, Form(number=numeral, dtype=str(values.dtype))
    if kind == "numeric":
        decimals = _decimals(numbers)
        return kind, None if decimals is None else Form(Numeral(decimals=decimals), dtype="float64")
    return kind, None


def _is_compact_day(present: pd.Series, kind: str | None) -> bool:
    """Whether whole numbers are days such as 20221231."""
    if kind not in (None, "datetime") or present.nunique() < LEAST_DATES:
        return False
    if not ((present >= 19000101) & (present < 21000000)).all():
        return False
    if not (present == present.round()).all():
        return False
    texts = pa.array(present.astype("int64").unique().astype(str).tolist(), pa.large_string())
    return bool(Stamp("%Y%m%d").fits(texts).all())


def _itemsize(values: pd.Series) -> int:
    return int(getattr(values.dtype, "itemsize", 8) or 8)


def _decimals(numbers: np.ndarray) -> int | None:
    """The decimals that write every number exactly, up to nine; None where it takes more."""
    for decimals in range(10):
        if np.array_equal(numbers, np.round(numbers, decimals)):
            return decimals
    return None


def to_double(values: pd.Series) -> pd.Series:
    """Numbers of 32 or 16 bits with the digits that they show: 26.01, and not 26.010000228881836."""
    numbers = values.to_numpy(dtype=f"float{8 * _itemsize(values)}", na_value=np.nan)
    distinct, inverse = np.unique(numbers, return_inverse=True)
    doubles = np.array([float(str(number)) for number in distinct])
    doubles = doubles if len(doubles) else np.empty(0)
    return pd.Series(doubles[inverse.ravel()], index=values.index, name=values.name)


def _read_typed(values: pd.Series, form: Form) -> pd.Series:
    """A column of a dtype that no kind has, as a kind holds it; others stay as they are."""
    values = _without_arrow(values)
    dtype = values.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return values.dt.to_timestamp()
    if pd.api.types.is_timedelta64_dtype(dtype):
        return values.dt.total_seconds()
    if pd.api.types.is_datetime64_any_dtype(dtype):
        local = values.dt.tz_localize(None) if getattr(dtype, "tz", None) is not None else values
        if form.counted:
            return pd.Series(_counted(local.to_numpy(), form.counted), index=values.index)
        return local
    if form.stamp is not None and pd.api.types.is_numeric_dtype(dtype) and not form.counted:
        return form.read(values.astype("Int64").astype("string"))
    return values


def _typed(values: pd.Series, form: Form) -> pd.Series:
    """Cast values in the dtype of the table that was read."""
    dtype = form.dtype
    if dtype == "category":
        kind = pd.CategoricalDtype(list(form.labels), ordered=form.ordered)
        return values.astype(kind)
    if dtype.startswith("period"):
        return values.dt.to_period(dtype.removeprefix("period[").removesuffix("]"))
    if dtype.startswith("timedelta64"):
        seconds = values.astype("float64")
        return pd.to_timedelta(seconds, unit="s").dt.round("us").astype(dtype)
    if dtype in ("date", "time", "decimal"):
        return _objects_of(values, form)
    if form.stamp is not None:
        texts = pd.Series(form.stamp.write(values.dropna().to_numpy()), index=values.dropna().index)
        return pd.to_numeric(texts).astype("Int64").reindex(values.index)
    if dtype.startswith("datetime64"):
        return _zoned(values, form)
    if form.labels:
        return _like_ints(values.astype("Int64"), dtype)
    if "float" in dtype.lower():
        return form.rounded(values.astype("float64")).astype(dtype)
    return _like_ints(values, dtype)


def _like_ints(values: pd.Series, dtype: str) -> pd.Series:
    """Whole numbers in the dtype that they had, a nullable one where some are missing."""
    if dtype.lower().startswith("float"):
        return values.astype("float64").astype(dtype)
    if values.isna().any():
        dtype = dtype.replace("uint", "UInt").replace("int", "Int")
        dtype = "boolean" if dtype == "bool" else dtype
    try:
        return values.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return values


def _zoned(values: pd.Series, form: Form) -> pd.Series:
    if form.counted:
        times = values.to_numpy(dtype=float, na_value=np.nan)
        counts = np.where(np.isnan(times), np.iinfo("int64").min, times).astype("int64")
        stamps = counts.astype(f"datetime64[{form.counted}]")
        values = pd.Series(stamps, index=values.index, name=values.name)
    kind = pd.api.types.pandas_dtype(form.dtype)
    zone = getattr(kind, "tz", None)
    if zone is None:
        return values.astype(kind)
    first = np.ones(len(values), dtype=bool)
    local = values.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return local.astype(kind)


def _objects_of(values: pd.Series, form: Form) -> pd.Series:
    """Dates, times of day or decimals as Python has them."""
    present = values.dropna()
    if form.dtype == "decimal":
        listed = [Decimal(text) for text in replace(form, dtype="")._texts(present)]
    elif form.dtype == "date":
        times = present
        if form.counted:
            times = pd.Series(
                present.to_numpy(dtype="int64").astype(f"datetime64[{form.counted}]").astype("O")
            )
        listed = [t if type(t) is datetime.date else t.date() for t in times.tolist()]
    else:
        start = datetime.datetime(2000, 1, 1)
        listed = [
            (start + datetime.timedelta(seconds=float(second) % 86400)).time() for second in present
        ]
    found = pd.Series(listed, index=present.index, dtype=object)
    return found.reindex(values.index).rename(values.name)
