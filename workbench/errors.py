"""Mistakes of the input, and what helps out of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """One sentence for the person who gave the input: it names the column, key or file, and the way
    out.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence: the known names nearest to `name`, or all of them.

    >>> nearest("ctgn", ["ctgan", "cart"])
    'did you mean ctgan?'
    """
    known = list(known)
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}."
