"""A grammar that holds a model to rows that can be accepted, as llama.cpp reads it (GBNF).

A JSON schema leaves blanks between values free, and servers hold its ranges of numbers only in
part. A grammar names every character: the columns in their order, each value as train could have
it, and no blanks, which a small model would spend its time on.
"""

from __future__ import annotations

import json
import math
import re

from workbench.generators.language.cells import Cell, between
from workbench.generators.language.facts import Fact

DIGITS = 4  # of numbers that lie on no grid
WIDE = 50  # whole numbers in a range from which decimals may be left out
# What the patterns of `Cell` are made of
TOKEN = re.compile(
    r"""(?P<group>\(\?:|\()
    |(?P<end>\))
    |(?P<either>\|)
    |(?P<one_of>\[(?:\\.|[^\]\\])+\])
    |(?P<times>\{\d+(?:,\d*)?\}|\?)
    |\\(?P<escaped>.)
    |(?P<letter>.)""",
    re.VERBOSE | re.DOTALL,
)


def rows_grammar(facts: list[Fact], rows: int, as_lists: bool = False) -> str:
    """The grammar of {"rows": [...]} with so many rows of these columns, each an object, or a list
    of the values alone.
    """
    parts = []
    rules = []
    opening, closing = ("[", "]") if as_lists else ("{", "}")
    for number, fact in enumerate(facts):
        before = opening if number == 0 else ","
        if not as_lists:
            before += json.dumps(fact.column.name, ensure_ascii=False) + ":"
        parts.append(f"{literal(before)} c{number}")
        rules.append(f"c{number} ::= {from_pattern(pattern_of(fact))}")
    further = f' ("," row){{{rows - 1}}}' if rows > 1 else ""
    root = f"root ::= {literal('{' + json.dumps('rows') + ':[')} row{further} {literal(']}')}"
    row = f"row ::= {' '.join(parts)} {literal(closing)}"
    return "\n".join([root, row, *rules]) + "\n"


def pattern_of(fact: Fact) -> str:
    """A regular expression of the column's values; decimals are optional where its range is wide.

    118 instead of 118.000 is what people write, and a third of the time. The two ends lose what lies
    beyond a whole number, less than a fiftieth of the range each.
    """
    cell = Cell.of(fact, DIGITS)
    has_ends = fact.column.kind == "numeric" and fact.low is not None
    if not has_ends or not cell.decimals or cell.power or fact.high - fact.low < WIDE:
        return cell.pattern(fact)
    decimals = rf"(?:\.[0-9]{{1,{cell.decimals}}})?"
    parts = []
    if fact.high >= 1:
        last = math.floor(fact.high)
        parts += [f"(?:{between(max(0, math.ceil(fact.low)), last - 1, 0)}){decimals}", str(last)]
    if fact.low <= -1:
        last = math.floor(-fact.low)
        parts += [f"-(?:{between(max(0, math.ceil(-fact.high)), last - 1, 0)}){decimals}"]
        parts += [f"-{last}"]
    return "|".join([*parts, "null"] if fact.missing else parts)


def from_pattern(pattern: str) -> str:
    """A regular expression of `Cell` as an expression of GBNF.

    >>> print(from_pattern(r'(?:1\\.[0-9]{2})|null'))
    ("1." [0-9]{2}) | "null"
    """
    written = []
    letters = ""
    for token in TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token[token.lastgroup]
        if kind in ("escaped", "letter"):
            letters += text
            continue
        if letters:
            written.append(literal(letters))
            letters = ""
        if kind == "times":
            written[-1] += text
        else:
            written.append({"(?:": "(", "|": "|"}.get(text, text))
    if letters:
        written.append(literal(letters))
    return " ".join(written).replace("( ", "(").replace(" )", ")")


def literal(text: str) -> str:
    """Characters that must be written as they are."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
