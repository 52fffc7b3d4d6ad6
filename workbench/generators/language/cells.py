"""How values of a column are written as text, and what a grammar lets a language model write there."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

import pandas as pd

from workbench.errors import InputError
from workbench.generators.language.facts import Fact


@dataclass(frozen=True)
class Cell:
    """How the values of a column are written as JSON: numbers with `decimals`, in units of ten to
    the `power`.
    """

    fact: Fact
    decimals: int = 0
    power: int = 0

    @classmethod
    def of(cls, fact: Fact, digits: int) -> Cell:
        if fact.column.kind != "numeric" or fact.low is None:
            return cls(fact)
        if "minimum" not in fact.json_schema() and fact.low < fact.high:
            return cls(fact, digits, math.floor(math.log10(max(abs(fact.low), abs(fact.high)))))
        step = fact.step or 10.0 ** (
            math.floor(math.log10((fact.high - fact.low) or 1)) + 1 - digits
        )
        return cls(fact, max(0, round(-math.log10(step))))

    def write(self, values: pd.Series) -> list[str]:
        """Each value as JSON, "null" for missing."""
        codes, levels = pd.factorize(values)
        texts = [*map(self._text, levels), "null"]
        return [texts[code] for code in codes]

    def _text(self, value) -> str:
        fact = self.fact
        if fact.is_free:
            return json.dumps(value[: fact.length], ensure_ascii=False)
        if fact.column.kind == "datetime":
            has_time = "T" in fact.json_schema()["pattern"]
            form = "%Y-%m-%dT%H:%M:%S" if has_time else "%Y-%m-%d"
            return f'"{pd.Timestamp(value):{form}}"'
        if fact.column.kind != "numeric":
            return (
                str(value)
                if fact.column.kind == "integer"
                else json.dumps(self._plain(value), ensure_ascii=False)
            )
        scaled, low, high = (end / 10.0**self.power for end in (value, fact.low, fact.high))
        text = f"{scaled:.{self.decimals}f}"
        if not fact.step:  # rounding may lead over an end
            inside = scaled + 10.0**-self.decimals * ((float(text) < low) - (float(text) > high))
            text = f"{inside:.{self.decimals}f}"
        return text + (f"e{self.power}" if self.power else "")

    def _plain(self, value):
        return bool(value) if self.fact.column.kind == "boolean" else value

    def pattern(self, fact: Fact) -> str:
        """A regular expression of what may be written where the column's fact is this one, narrowed
        by a condition perhaps.
        """
        missing = ["null"] if fact.missing or fact.is_empty else []
        if fact.is_empty:
            return "null"
        if fact.levels:
            return "|".join([*(re.escape(self._text(level)) for level in fact.levels), *missing])
        if fact.is_free:
            letter = r'[^"\\\x00-\x1f\x7f]|\\["\\/bfnrt]'
            return "|".join([f'"(?:{letter}){{1,{fact.length}}}"', *missing])
        if fact.column.kind == "datetime":
            return "|".join([f'"{fact.json_schema()["pattern"][1:-1]}"', *missing])
        if fact.low == fact.high:
            return "|".join([re.escape(self._text(fact.low)), *missing])
        end = f"e{self.power}" if self.power else ""
        unit = 10.0 ** (self.power - self.decimals)
        if unit == 1:
            low = int(fact.low)
            high = int(fact.high)
        elif fact.step:
            low = round(fact.low / unit)
            high = round(fact.high / unit)
        else:
            low = math.ceil(fact.low / unit)
            high = math.floor(fact.high / unit)
        if low > high:
            raise InputError(
                f"no row can meet the condition (acceptance 0): {fact.column.name!r} has no such"
                " value."
            )
        return "|".join([f"(?:{between(low, high, self.decimals)}){end}", *missing])


def between(low: int, high: int, decimals: int) -> str:
    """A regular expression of the whole numbers from low to high, with a point before the last
    `decimals` of their digits.
    """
    parts = [f"-(?:{between(max(1, -high), -low, decimals)})"] if low < 0 else []
    low = max(low, 0)
    for size in range(decimals + 1, max(len(str(high)), decimals + 1) + 1 if high >= low else 0):
        smallest = 10 ** (size - 1) if size > decimals + 1 else 0
        first = max(low, smallest)
        last = min(high, 10**size - 1)
        if first <= last:
            parts.append(_digits(str(first).zfill(size), str(last).zfill(size), decimals))
    return "|".join(parts)


def _digits(low: str, high: str, decimals: int) -> str:
    """The strings of digits from low to high, which are equally long."""
    if not low:
        return ""
    dot = r"\." if decimals and len(low) == decimals else ""
    first, last, zeros, nines = (
        int(low[0]),
        int(high[0]),
        "0" * (len(low) - 1),
        "9" * (len(low) - 1),
    )
    if first == last:
        return f"{dot}{first}{_digits(low[1:], high[1:], decimals)}"
    parts = []
    if low[1:] != zeros:
        parts, first = [f"{first}{_digits(low[1:], nines, decimals)}"], first + 1
    if high[1:] != nines:
        parts, last = [*parts, f"{last}{_digits(zeros, high[1:], decimals)}"], last - 1
    if first <= last:
        parts += [f"[{first}-{last}]{_digits(zeros, nines, decimals)}"]
    return f"{dot}(?:{'|'.join(parts)})"
