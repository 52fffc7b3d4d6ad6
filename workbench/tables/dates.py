"""Dates, times and durations as people write them: 31/12/2022, Dec 31 2022, 20221231, 2022-W52,
2022Q4, 09:30, 2 days 01:40:22. What all values of a column share is found here, and dates are read
and written with it.

Years before 1677 and after 2262, which nanoseconds cannot count, are read and written as well.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import InputError

SAMPLE = 200  # distinct values from which the writing is guessed, before all are held against it
_MONTHS = [name.lower() for name in calendar.month_abbr]
_MONTH_NAMES = "(?:" + "|".join(calendar.month_name[1:]) + "|" + "|".join(calendar.month_abbr[1:])
_MONTH_NAMES += ")"
# What a date looks like, and how it may be meant, the likelier first.
_DATE_SHAPES = (
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y", "%m.%d.%Y")),
    (r"\d{1,2}/\d{1,2}/\d{2}", ("%d/%m/%y", "%m/%d/%y", "%y/%m/%d")),
    (r"\d{1,2}-\d{1,2}-\d{2}", ("%d-%m-%y", "%m-%d-%y", "%y-%m-%d")),
    (r"\d{1,2}\.\d{1,2}\.\d{2}", ("%d.%m.%y",)),
    (r"(?:19|20)\d{6}", ("%Y%m%d",)),
    (r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])", ("%Y%m",)),
    (r"\d{4}-(?:0[1-9]|1[0-2])", ("%Y-%m",)),
    (r"\d{4}/(?:0[1-9]|1[0-2])", ("%Y/%m",)),
    (r"\d{1,2}/\d{4}", ("%m/%Y",)),
    (r"\d{4}Q[1-4]", ("%YQ%q",)),
    (r"\d{4}-Q[1-4]", ("%Y-Q%q",)),
    (r"\d{4} Q[1-4]", ("%Y Q%q",)),
    (r"Q[1-4] \d{4}", ("Q%q %Y",)),
    (r"\d{4}-W\d{2}", ("%G-W%V",)),
    (rf"\d{{1,2}} {_MONTH_NAMES} \d{{4}}", ("%d %b %Y", "%d %B %Y")),
    (rf"\d{{1,2}}-{_MONTH_NAMES}-\d{{4}}", ("%d-%b-%Y", "%d-%B-%Y")),
    (rf"\d{{1,2}}/{_MONTH_NAMES}/\d{{4}}", ("%d/%b/%Y", "%d/%B/%Y")),
    (rf"\d{{1,2}}{_MONTH_NAMES}\d{{4}}", ("%d%b%Y", "%d%B%Y")),
    (rf"\d{{1,2}}-{_MONTH_NAMES}-\d{{2}}", ("%d-%b-%y",)),
    (rf"{_MONTH_NAMES} \d{{1,2}}, \d{{4}}", ("%b %d, %Y", "%B %d, %Y")),
    (rf"{_MONTH_NAMES} \d{{1,2}} \d{{4}}", ("%b %d %Y", "%B %d %Y")),
    (rf"{_MONTH_NAMES} \d{{4}}", ("%b %Y", "%B %Y")),
    (rf"{_MONTH_NAMES}-\d{{4}}", ("%b-%Y", "%B-%Y")),
    (rf"{_MONTH_NAMES}-\d{{2}}", ("%b-%y",)),
)
_SHAPES = [(re.compile(shape, re.IGNORECASE), meanings) for shape, meanings in _DATE_SHAPES]
_ANY_DATE = re.compile("|".join(f"(?:{shape})" for shape, _ in _DATE_SHAPES), re.IGNORECASE)
_ZONE = r"Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?"
_STAMP = re.compile(
    rf"(?P<date>.+?)(?:(?P<gap>T|,? +)(?P<time>\d{{1,2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d+)?)?)"
    rf"(?P<half> ?[AP]\.?M\.?)?(?P<space> ?)(?P<zone>{_ZONE})?)?",
    re.IGNORECASE,
)
_DIRECTIVES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{1,2}",
    "d": r"\d{1,2}",
    "H": r"\d{1,2}",
    "I": r"\d{1,2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,9}",
    "b": r"[A-Za-z]{3}",
    "B": r"[A-Za-z]{3,9}",
    "a": r"[A-Za-z]{3}",
    "A": r"[A-Za-z]{6,9}",
    "p": r"[AaPp]\.?[Mm]\.?",
    "q": r"[1-4]",
    "G": r"\d{4}",
    "V": r"\d{2}",
    "j": r"\d{3}",
    "z": _ZONE,
}
_TOKEN = re.compile(r"%(?P<flag>[-^]?)(?P<letter>[A-Za-z%])|(?P<literal>[^%]+)")
# Looked through first where a column's offsets change with the season.
_ZONES = (
    "Europe/Berlin Europe/London America/New_York America/Chicago America/Denver"
    " America/Los_Angeles Europe/Athens Australia/Sydney America/Sao_Paulo America/Halifax"
    " Pacific/Auckland America/Toronto Europe/Moscow Europe/Istanbul Asia/Jerusalem"
)
_CONTINENTS = ("Africa/", "America/", "Asia/", "Australia/", "Europe/", "Pacific/")


@dataclass(frozen=True)
class Stamp:
    """How the dates of one column are written: a pattern as of strftime, with %-d for a day without
    its zero, %q for a quarter and a literal for an offset that all rows share.

    >>> stamp = Stamp("%-d/%-m/%Y")
    >>> stamp.write(stamp.read(pa.array(["3/12/2022", "today"]))[:1])
    ['3/12/2022']
    """

    pattern: str
    zone: str = ""  # of the wall time, where offsets differ from row to row
    offset: str = "+00:00"  # how these are written: +00:00, +0000 or +00
    zulu: bool = False  # whether no offset is written as Z
    digits: int = 0  # of a fraction of a second
    padded: bool = True  # whether all have as many

    @cached_property
    def tokens(self) -> list[tuple[str, str]]:
        """(flag and letter, literal), one of them empty."""
        found = []
        for match in _TOKEN.finditer(self.pattern):
            letter = match["letter"] or ""
            found.append((match["flag"] + letter if letter else "", match["literal"] or ""))
        return [("", "%") if token == "%" else (token, literal) for token, literal in found]

    @property
    def shape(self) -> str:
        """A regular expression that every date of this writing meets."""
        parts = []
        for token, literal in self.tokens:
            pattern = _DIRECTIVES.get(token[-1:], "")
            parts.append(f"({pattern})" if token else re.escape(literal).replace("\\ ", " "))
        return f"^{''.join(parts)}$"

    def fits(self, texts: pa.Array) -> np.ndarray:
        """Which texts are dates in this writing, bool, shape (n,)."""
        return ~np.isnat(self.read(texts))

    def read(self, texts: pa.Array) -> np.ndarray:
        """The local times, datetime64 of nanoseconds where all fit in them and of microseconds
        otherwise; NaT for what is no date.
        """
        texts = pc.utf8_trim_whitespace(texts)
        # The shape first: most texts of a wrong column are sorted out by one look of arrow's.
        shaped = pc.fill_null(pc.match_substring_regex(texts, f"(?i){self.shape}"), False)
        shaped = shaped.to_numpy(zero_copy_only=False)
        times = np.full(len(texts), np.datetime64("NaT", "us"))
        if not shaped.any():
            return times
        # pandas reads common patterns a hundred times faster than their parts are put together
        # below.
        series = pd.Series(texts.filter(pa.array(shaped)).to_pylist(), dtype=object)
        if not re.search("%[-^]?[qGVz]", self.pattern):
            form = re.sub("%[-^]", "%", self.pattern)
            read = pd.to_datetime(series, format=form, errors="coerce").to_numpy("datetime64[ns]")
            if not np.isnat(read).any():
                if shaped.all():
                    return read
                result = times.astype("datetime64[ns]")
                result[shaped] = read
                return result
        times[shaped] = self._by_parts(series)
        return times

    def _by_parts(self, series: pd.Series) -> np.ndarray:
        """The times of texts that have the right shape, from their parts."""
        # For what pandas does not know: quarters, weeks, offsets, years beyond its range.
        columns = series.str.extract(re.compile(self.shape, re.IGNORECASE))
        names = [token[-1] for token, _ in self.tokens if token]
        parts = {name: columns[index].str.upper() for index, name in enumerate(names)}
        times = _assembled(parts, len(series))
        if "z" not in parts:
            return times
        offsets = offset_minutes(parts["z"])
        if self.zone == "UTC":
            return times - offsets.astype("timedelta64[m]")
        return times

    def write(self, times: np.ndarray) -> list[str]:
        """Texts of local times, none of them missing."""
        # Each distinct time is written once: a column of days has few.
        distinct, inverse = np.unique(np.asarray(times), return_inverse=True)
        parts = _taken_apart(distinct)
        pieces = []
        for token, literal in self.tokens:
            if not token:
                pieces.append([literal] * len(distinct))
            elif token[-1] == "z":
                pieces.append(self._offsets(distinct))
            else:
                pieces.append(_rendered(token, parts, self))
        texts = np.array(["".join(row) for row in zip(*pieces, strict=True)], dtype=object)
        return texts[inverse.ravel()].tolist()

    def _offsets(self, times: np.ndarray) -> list[str]:
        # In the hour that comes twice, the first one is meant.
        index = pd.DatetimeIndex(times)
        first = np.ones(len(index), dtype=bool)
        known = index.tz_localize(self.zone, ambiguous=first, nonexistent="shift_forward")
        utc = known.tz_convert("UTC").tz_localize(None)
        minutes = ((known.tz_localize(None) - utc) // pd.Timedelta(minutes=1)).tolist()
        return [self._offset_text(int(minute)) for minute in minutes]

    def _offset_text(self, minutes: int) -> str:
        if self.zulu and minutes == 0:
            return "Z"
        # divmod of a negative number would round the hours down.
        sign = "-" if minutes < 0 else "+"
        hours, rest = divmod(abs(minutes), 60)
        if self.offset == "+00":
            return f"{sign}{hours:02d}"
        colon = ":" if self.offset == "+00:00" else ""
        return f"{sign}{hours:02d}{colon}{rest:02d}"


def checked(pattern: str, column: str) -> Stamp:
    """The writing that a person declared. Raises InputError for a directive that is not read."""
    # Checked before any row is read, so that the sentence is about the format.
    stamp = Stamp(pattern)
    for token, _ in stamp.tokens:
        if token and token[-1] not in _DIRECTIVES:
            raise InputError(
                f"format of column {column!r}: %{token[-1]} is not read; known are"
                f" {' '.join('%' + letter for letter in _DIRECTIVES)}."
            )
    if not any(token for token, _ in stamp.tokens):
        raise InputError(
            f"format {pattern!r} of column {column!r} names no part of a date; write for example"
            f" %d/%m/%Y, or 1.234,56 for a column of numbers."
        )
    return stamp


def guess(distinct: pa.Array) -> tuple[Stamp, np.ndarray, str] | None:
    """How the dates among the distinct texts of a column are written, which texts are dates, and
    another pattern that fits as well ("" where none does).

    None where fewer than half of the texts are dates.
    """
    places = np.unique(np.linspace(0, len(distinct) - 1, min(SAMPLE, len(distinct))).astype(int))
    # Patterns are guessed from a sample, and held against all distinct texts after it.
    sample = [text.strip() for text in distinct.take(pa.array(places)).to_pylist()]
    patterns: dict[str, int] = {}
    for text in sample:
        for pattern in _patterns_of(text):
            patterns[pattern] = patterns.get(pattern, 0) + 1
    patterns = {pattern: n for pattern, n in patterns.items() if n >= len(sample) / 3}
    fitting = []
    for pattern in sorted(patterns, key=lambda pattern: -patterns[pattern]):
        fits = Stamp(pattern).fits(distinct)
        if fits.any() and fits.mean() >= 0.5:
            fitting.append((pattern, fits))
    if not fitting:
        return None
    # Where two read the same texts, the likelier one, which comes first, is taken, and the other is
    # told of.
    best, fits = max(fitting, key=lambda pair: pair[1].sum())
    other = next((p for p, f in fitting if p != best and f.sum() == fits.sum()), "")
    if sorted(other) != sorted(best):  # May and %B is not another reading of May and %b
        other = ""
    return detailed(Stamp(best), distinct.filter(pa.array(fits))), fits, other


def _patterns_of(text: str) -> Iterator[str]:
    """The patterns that a single text may follow."""
    match = _STAMP.fullmatch(text)
    # Most texts are no date of any shape, which one look tells.
    if not match or not _ANY_DATE.fullmatch(match["date"]):
        return
    time = ""
    if match["time"]:
        hour = "%I" if match["half"] else "%H"
        time = f"{match['gap']}{hour}:%M" + (":%S" if match["time"].count(":") == 2 else "")
        fraction = re.search("[.,]", match["time"])
        time += f"{fraction.group()}%f" if fraction else ""
        half = match["half"] or ""
        time += (" " if half.startswith(" ") else "") + ("%p" if half else "")
        time += (match["space"] + "%z") if match["zone"] else ""
    for shape, meanings in _SHAPES:
        if shape.fullmatch(match["date"]):
            for meaning in meanings:
                yield meaning + time


def detailed(stamp: Stamp, dates: pa.Array) -> Stamp:
    """The writing with what a pattern does not say by itself: zeros before days, capital months,
    digits of a fraction, and offsets.
    """
    trimmed = pc.utf8_trim_whitespace(dates)
    if _is_all_padded(stamp, trimmed):
        return stamp
    # Only where the pattern does not say all: taking texts apart is slow.
    texts = pd.Series(trimmed.to_pylist(), dtype=object)
    parts = texts.str.extract(re.compile(stamp.shape, re.IGNORECASE))
    names = [token for token, _ in stamp.tokens if token]
    changed = {}
    for index, name in enumerate(names):
        held = parts[index].dropna()
        letter = name[-1]
        if letter in "mdHI" and (held.str.len() == 1).any():
            changed[name] = f"%-{letter}"
        elif letter in "bBa" and len(held) and held.str.isupper().all():
            changed[name] = f"%^{letter}"
        elif letter == "f":
            lengths = held.str.len()
            stamp = replace(stamp, digits=int(lengths.max()), padded=lengths.nunique() == 1)
    pattern = stamp.pattern
    for name, new in changed.items():
        pattern = pattern.replace(f"%{name}", new)
    stamp = replace(stamp, pattern=pattern)
    return _zoned(stamp, parts[names.index("z")], texts) if "z" in names else stamp


def _is_all_padded(stamp: Stamp, dates: pa.Array) -> bool:
    """Whether the pattern says all: it is one of numbers, and every date has each zero it may have."""
    # By length alone: a column in which every zero is written is as long everywhere.
    widths = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "I": 2, "M": 2, "S": 2}
    widest = 0
    for token, literal in stamp.tokens:
        if token and token not in widths:
            return False
        widest += widths.get(token, 0) + len(literal.encode())
    return bool(pc.all(pc.equal(pc.binary_length(dates), widest)).as_py())


def _zoned(stamp: Stamp, zones: pd.Series, texts: pd.Series) -> Stamp:
    """One offset for all rows is part of the pattern; several belong to a zone, or become UTC."""
    if zones.nunique() == 1:
        return replace(stamp, pattern=stamp.pattern.replace("%z", zones.iloc[0]))
    # "Z" says nothing of how other offsets are written.
    longest = max(zones.unique(), key=len)
    offset = "+00:00" if ":" in longest else "+00" if len(longest) == 3 else "+0000"
    stamp = replace(stamp, offset=offset, zulu=bool(zones.isin(["Z", "z"]).any()))
    local = stamp.read(pa.array(texts.tolist()))
    minutes = offset_minutes(zones.str.upper()).astype("timedelta64[m]")
    return replace(stamp, zone=_zone_of(local, local - minutes))


def _zone_of(local: np.ndarray, utc: np.ndarray) -> str:
    """The name of a time zone in which these instants show these local times; UTC where none does."""
    from zoneinfo import available_timezones

    local, utc = local.astype("datetime64[ns]"), utc.astype("datetime64[ns]")
    moments = pd.DatetimeIndex(utc).tz_localize("UTC")
    first = moments[:20]
    names = _ZONES.split()
    # A handful of moments would fit some far island by chance.
    if len(np.unique(utc)) >= 20:
        names += sorted(name for name in available_timezones() if name.startswith(_CONTINENTS))
    for name in names:
        shown = first.tz_convert(name).tz_localize(None).to_numpy()
        if not np.array_equal(shown, local[:20]):
            continue
        if np.array_equal(moments.tz_convert(name).tz_localize(None).to_numpy(), local):
            return name
    return "UTC"


def offset_minutes(zones: pd.Series) -> np.ndarray:
    """Minutes east of Greenwich of +02:00, -0530, +01, Z, UTC or GMT; shape (n,)."""
    # Z, UTC and GMT have no digits, and are zero.
    found = zones.str.extract(r"([+-])(\d{2}):?(\d{2})?")
    hours = pd.to_numeric(found[1]).fillna(0)
    minutes = pd.to_numeric(found[2]).fillna(0)
    sign = found[0].map({"-": -1}).fillna(1)
    return (sign * (hours * 60 + minutes)).to_numpy().astype("int64")


def _assembled(parts: dict[str, pd.Series], rows: int) -> np.ndarray:
    """datetime64[us] from the parts of dates; NaT for a day that its month does not have."""

    def number(letter: str, absent: int) -> np.ndarray:
        if letter not in parts:
            return np.full(rows, absent, dtype="int64")
        return pd.to_numeric(parts[letter]).fillna(absent).to_numpy().astype("int64")

    # Parts that are not written have the value that changes nothing.
    year = number("Y", 1970)
    if "y" in parts:
        year = number("y", 0)
        year += np.where(year < 69, 2000, 1900)  # as POSIX reads two digits
    month, day = number("m", 1), number("d", 1)
    for letter in "bB":
        if letter in parts:
            month = parts[letter].str[:3].str.lower().map(_MONTHS.index).to_numpy()
    if "q" in parts:
        month = 3 * number("q", 1) - 2
    wrong = (month < 1) | (month > 12) | (day < 1)
    # Counted in months, whose starts numpy knows: years before 1677 too.
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    start = months.astype("datetime64[M]").astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[M]").astype("datetime64[D]") - start).astype(int)
    days = start + (day - 1) + (number("j", 1) - 1)
    wrong |= day > length
    if "V" in parts:
        days = _weeks(number("G", 1970), number("V", 1))
    hour = number("H", 0)
    if "p" in parts:
        afternoon = parts["p"].str.startswith("P").to_numpy(dtype=bool)
        hour = number("I", 12) % 12 + 12 * afternoon
    minute, second = number("M", 0), number("S", 0)
    wrong |= (hour > 23) | (minute > 59) | (second > 59)
    seconds = hour * 3600 + minute * 60 + second
    micro = np.zeros(rows, dtype="int64")
    if "f" in parts:
        micro = pd.to_numeric(parts["f"].str.ljust(6, "0").str[:6]).to_numpy().astype("int64")
    times = days.astype("datetime64[us]") + (seconds * 1_000_000 + micro).astype("timedelta64[us]")
    times[wrong] = np.datetime64("NaT")
    return times


def _weeks(year: np.ndarray, week: np.ndarray) -> np.ndarray:
    """The Mondays of ISO weeks, datetime64[D]: week 1 holds the fourth of January."""
    # By the ISO's own definition of the first week.
    fourth = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]") + 3
    weekday = (fourth.astype("int64") + 3) % 7  # the first of January 1970 was a Thursday
    return fourth - weekday + 7 * (week - 1)


def _taken_apart(times: np.ndarray) -> dict[str, np.ndarray]:
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    years = times.astype("datetime64[Y]")
    month = months.astype("int64") % 12 + 1
    seconds = (times.astype("datetime64[s]") - days).astype("int64")
    nano = (times - times.astype("datetime64[s]")).astype("timedelta64[ns]").astype("int64")
    # The Monday of the week; its Thursday decides the ISO year.
    monday = days - (days.astype("int64") + 3) % 7
    thursday_year = (monday + 3).astype("datetime64[Y]").astype("int64") + 1970
    return {
        "Y": years.astype("int64") + 1970,
        "m": month,
        "d": (days - months.astype("datetime64[D]")).astype("int64") + 1,
        "H": seconds // 3600,
        "M": seconds // 60 % 60,
        "S": seconds % 60,
        "nano": nano,
        "q": (month + 2) // 3,
        "weekday": (days.astype("int64") + 3) % 7,
        "G": thursday_year,
        "V": (monday - _weeks(thursday_year, np.ones(len(times), int))).astype("int64") // 7 + 1,
        "j": (days - years.astype("datetime64[D]")).astype("int64") + 1,
    }


def _rendered(token: str, parts: dict[str, np.ndarray], stamp: Stamp) -> list[str]:
    """One part of each date as text."""
    letter = token[-1]
    if letter == "f":
        texts = [f"{nano:09d}"[: max(stamp.digits, 1)] for nano in parts["nano"].tolist()]
        return texts if stamp.padded else [text.rstrip("0") or "0" for text in texts]
    if letter in "bBaA":
        names_of: dict[str, list[str]] = {
            "b": list(calendar.month_abbr),
            "B": list(calendar.month_name),
            "a": list(calendar.day_abbr),
            "A": list(calendar.day_name),
        }
        names = names_of[letter]
        which = parts["m"] if letter in "bB" else parts["weekday"]
        texts = [names[index] for index in which.tolist()]
        return [text.upper() for text in texts] if token[0] == "^" else texts
    if letter == "p":
        return ["PM" if hour >= 12 else "AM" for hour in parts["H"].tolist()]
    numbers = parts[{"I": "H", "y": "Y"}.get(letter, letter)]
    if letter == "I":
        numbers = (numbers + 11) % 12 + 1
    elif letter == "y":
        numbers = numbers % 100
    width = {"Y": 4, "G": 4, "j": 3, "q": 1}.get(letter, 2)
    if token[0] == "-":
        width = 1
    return [f"{number:0{width}d}" for number in numbers.tolist()]


@dataclass(frozen=True)
class Clock:
    """How times of day or durations are written, read as seconds: 9:30, 01:40:22, 2 days 01:40:22.

    >>> Clock(seconds=True).write([6022.0])
    ['01:40:22']
    """

    seconds: bool = True
    padded: bool = True  # 09:30 rather than 9:30
    days: bool = False  # 2 days 01:40:22, as pandas writes a duration
    digits: int = 0
    fraction_padded: bool = True

    SHAPE = r"^(-?)(?:(\d+) days? ?)?(?:\+?(\d{1,4}):([0-5]\d)(?::([0-5]\d)(\.\d{1,9})?)?)?$"

    def fits(self, texts: pa.Array) -> np.ndarray:
        return ~np.isnan(self.read(texts))

    def read(self, texts: pa.Array) -> np.ndarray:
        """Seconds, float64; NaN for what is no time in this writing."""
        series = pd.Series(pc.utf8_trim_whitespace(texts).to_pylist(), dtype=object)
        seconds = np.full(len(series), np.nan)
        shaped = series.str.match(self.SHAPE).fillna(False).to_numpy(dtype=bool)
        shaped &= (series.fillna("") != "").to_numpy()
        if not shaped.any():
            return seconds
        # Sign, days, hours, minutes, seconds and fraction, each of which may be missing.
        parts = series[shaped].str.extract(self.SHAPE)
        has_days, has_seconds = parts[1].notna(), parts[4].notna()
        has_clock = parts[2].notna()
        fine = (has_days == self.days) & (has_clock | has_days)
        fine &= (has_seconds == self.seconds) | ~has_clock
        numbers = [pd.to_numeric(parts[index]).fillna(0.0) for index in (1, 2, 3, 4, 5)]
        total = numbers[0] * 86400 + numbers[1] * 3600 + numbers[2] * 60 + numbers[3] + numbers[4]
        if self.days:
            # pandas counts -1 days +23:00:00 forward from the day before.
            total = numbers[0].where(parts[0] != "-", -numbers[0]) * 86400 + (
                total - numbers[0] * 86400
            )
        else:
            total = total.where(parts[0] != "-", -total)
        seconds[np.flatnonzero(shaped)] = total.where(fine).to_numpy()
        return seconds

    def write(self, values) -> list[str]:
        return [self._text(float(value)) for value in values]

    def _text(self, value: float) -> str:
        # In whole ticks: 59.9999 seconds must not be written as 60.
        unit = 10**self.digits
        ticks = round(value * unit) if self.seconds else round(value / 60) * 60 * unit
        sign, days = "", 0
        if self.days:
            days, ticks = divmod(ticks, 86400 * unit)
        elif ticks < 0:
            sign, ticks = "-", -ticks
        whole, fraction = divmod(ticks, unit)
        hours, rest = divmod(whole, 3600)
        width = 2 if self.padded else 1
        text = f"{sign}{hours:0{width}d}:{rest // 60:02d}"
        if self.seconds:
            text += f":{rest % 60:02d}"
            if self.digits and (fraction or self.fraction_padded):
                text += f".{fraction:0{self.digits}d}"
        if not self.days:
            return text
        return f"{days} days {'+' if days < 0 else ''}{text}"


def guess_clock(distinct: pa.Array) -> tuple[Clock, np.ndarray] | None:
    """How the times of day or durations among distinct texts are written, and which texts are any."""
    places = np.unique(np.linspace(0, len(distinct) - 1, min(SAMPLE, len(distinct))).astype(int))
    sample = pd.Series(distinct.take(pa.array(places)).to_pylist(), dtype=object).str.strip()
    parts = sample.str.extract(Clock.SHAPE)
    held = parts[parts[2].notna() | parts[1].notna()]
    if len(held) < len(sample) / 2:
        return None
    clock = Clock(
        seconds=bool(held[4].notna().any()),
        days=bool(held[1].notna().any()),
    )
    fits = clock.fits(distinct)
    if not fits.any():
        return None
    texts = pd.Series(distinct.filter(pa.array(fits)).to_pylist(), dtype=object).str.strip()
    parts = texts.str.extract(Clock.SHAPE)
    fractions = parts[5].dropna().str.len() - 1
    clock = replace(
        clock,
        padded=not (parts[2].str.len() == 1).any(),
        digits=int(fractions.max()) if len(fractions) else 0,
        fraction_padded=len(fractions) == len(texts),
    )
    return clock, fits
