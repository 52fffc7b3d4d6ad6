"""How we write things: numbers, intervals, plurals, lists, shortened texts."""

from __future__ import annotations

import numpy as np


def shortened(text: object, most: int) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def number(value: float) -> str:
    """Three decimals, fewer for large numbers, with a true minus sign.

    >>> number(0.91234), number(-0.0004), number(12345.6), number(float("nan"))
    ('0.912', '0.000', '12,346', '–')
    """
    if not np.isfinite(value):
        return "–"
    digits = 3 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{round(float(value), digits) + 0.0:,.{digits}f}".replace("-", "−")


def interval(row) -> str:
    """ "0.912 [0.900, 0.924]", or the number alone where there is no interval."""
    mean = number(row["mean"])
    if not (np.isfinite(row["low"]) and np.isfinite(row["high"])):
        return mean
    return f"{mean} [{number(row['low'])}, {number(row['high'])}]"


def digits(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if np.isfinite(value) else "–"


def joined(words: list[str], last: str = "and") -> str:
    """ "a, b and c"; with another word before the last one, "a, b or c"."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def listed(names: list[str], limit: int = 10) -> str:
    """The first `limit` names and how many more there are."""
    shown = [f"({name})" if ", " in name else name for name in names[:limit]]
    return ", ".join(shown) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def quoted(text: str) -> str:
    """A text in quotes that a shell takes off again.

    >>> print(quoted("?"), quoted("Alzheimer's"))
    '?' 'Alzheimer'"'"'s'
    """
    inner = text.replace("'", "'\"'\"'")
    return f"'{inner}'"


def listed_name(name: str) -> str:
    """A column's name as a comma-separated list takes it.

    >>> print(listed_name("sex"), listed_name("income, net"))
    sex "income, net"
    """
    return f'"{name}"' if "," in name else name
