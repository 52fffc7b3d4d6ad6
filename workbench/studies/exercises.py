"""Exercises of the course: an answer is checked against one that is computed from the same run.

    from workbench.studies.exercises import check
    check("03.1", 9000)

The notebook hands over what it computed; `answer_keys` makes the right answer from it, so that
parameters may be changed and the check stays right. Capital letters, blanks and rounding are
forgiven. What is wrong never reads "Correct"; a likely slip gets a hint of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.errors import InputError, nearest
from workbench.markup import macros


@dataclass(frozen=True)
class Key:
    """What is right in one run, and what is said to those who are not.

    right      a number, a word, a set of words, a list of numbers; a tuple of words where each
               of them is right
    hint       said where no slip fits
    slips      pairs of a likely wrong answer and the hint for it
    tolerance  how far a number may lie from `right`: what rounding, or another draw, changes
    read       makes a number, a word or a set of words of the answer, where it is a table or an
               outcome
    """

    right: object
    hint: str
    slips: tuple[tuple[object, str], ...] = ()
    tolerance: float = 0.0
    read: Callable | None = None


@dataclass(frozen=True)
class Checked:
    """The result of a check: whether the answer is right, and what to say. `print` shows it."""

    number: str
    correct: bool
    message: str = field(default="")

    def __str__(self) -> str:
        return f"Exercise {self.number}: {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        color = "#1a7f37" if self.correct else "#57606a"
        return macros("studies/shown.html.j2").exercise(self.number, self.message, color)


def check(number: str, answer: object, **computed: object) -> Checked:
    """Whether `answer` solves exercise `number`, given what the notebook computed.

    Parameters
    ----------
    number : str
        The notebook's number and the exercise's, such as "01.2".
    answer : object
        None reads "not answered yet": the right answer is not computed then.
    computed
        What the notebook computed, by the names that the exercise's key takes.

    Returns
    -------
    Checked
        `correct` is True for a right answer only. A wrong one raises nothing.

    Raises
    ------
    InputError
        Where there is no such exercise.

    Examples
    --------
    >>> check("03.1", None)
    Exercise 03.1: not answered yet. Set `answer` and run this cell again.
    >>> check("03.1", "9,000").correct
    True
    >>> check("03.1", 10_000).correct
    False
    """
    from workbench.studies.answer_keys import KEYS

    if number not in KEYS:
        raise InputError(f"no exercise {number!r}; {nearest(number, KEYS)}")
    if answer is None:
        return Checked(number, False, "not answered yet. Set `answer` and run this cell again.")
    key = KEYS[number](**computed)
    given = answer
    if key.read is not None:
        # Whatever a reader cannot read is a wrong answer, and no traceback.
        try:
            given = key.read(answer)
        except Exception:
            return Checked(number, False, key.hint)
    return _judged(number, given, key)


def _judged(number: str, given: object, key: Key) -> Checked:
    """The right answer and the slips compete: what lies nearest to the answer speaks."""
    best = distance(given, key.right, key.tolerance)
    message = "Correct." if best is not None else ""
    for wrong, hint in key.slips:
        away = distance(given, wrong, key.tolerance)
        if away is not None and (best is None or away < best):
            best, message = away, hint
    if message:
        return Checked(number, message == "Correct.", message)
    if _is_percentage(given, key):
        return Checked(number, False, "Give a share between 0 and 1, not a percentage.")
    return Checked(number, False, key.hint)


def _is_percentage(given: object, key: Key) -> bool:
    """Whether a hundredth of the answer would be right, where the right one is a share."""
    value = as_number(given)
    if value is None or not isinstance(key.right, float) or not 0 < key.right < 1:
        return False
    return distance(value / 100, key.right, key.tolerance) is not None


def distance(given: object, wanted: Any, tolerance: float) -> float | None:
    """How far an answer lies from another one; None where it is another answer altogether."""
    if isinstance(wanted, tuple):
        each = [distance(given, one, tolerance) for one in wanted]
        return min((one for one in each if one is not None), default=None)
    if isinstance(wanted, set | frozenset):
        words = as_words(given)
        return 0.0 if words == {as_word(one) for one in wanted} else None
    if isinstance(wanted, list):
        return _list_distance(given, wanted, tolerance)
    if isinstance(wanted, str):
        return 0.0 if isinstance(given, str) and as_word(given) == as_word(wanted) else None
    return _number_distance(given, float(wanted), tolerance)


def _number_distance(given: object, wanted: float, tolerance: float) -> float | None:
    value = as_number(given)
    if value is None:
        return None
    if math.isinf(wanted) or math.isinf(value):
        return 0.0 if value == wanted else None
    away = abs(value - wanted)
    return away if away <= tolerance + 1e-9 * max(1.0, abs(wanted)) else None


def _list_distance(given: object, wanted: list, tolerance: float) -> float | None:
    """The largest distance of two lists' members, None where one of them is another answer."""
    if isinstance(given, str | Mapping) or not hasattr(given, "__iter__"):
        return None
    members = list(given)
    if len(members) != len(wanted):
        return None
    each = [distance(one, other, tolerance) for one, other in zip(members, wanted, strict=True)]
    if any(one is None for one in each):
        return None
    return max((one for one in each if one is not None), default=0.0)


def as_number(given: object) -> float | None:
    """A finite or infinite number, also one that is written as a text; None for anything else."""
    if isinstance(given, bool | np.bool_):
        return None
    if isinstance(given, str):
        text = given.strip().replace(",", "").replace("−", "-")
        share = 0.01 if text.endswith("%") else 1.0
        try:
            return share * float(text.removesuffix("%"))
        except ValueError:
            return None
    if isinstance(given, int | float | np.number):
        return None if math.isnan(float(given)) else float(given)
    return None


def as_word(given: str) -> str:
    """A word without capitals, quotation marks and the difference of blank, hyphen and underscore."""
    plain = given.strip().strip("\"'`.").casefold()
    return " ".join(plain.replace("-", " ").replace("_", " ").split())


def as_words(given: object) -> set[str] | None:
    """A set of words, from one word or from several; None for anything else."""
    if isinstance(given, str):
        return {as_word(given)}
    if not isinstance(given, set | frozenset | list | tuple):
        return None
    if not all(isinstance(one, str) for one in given):
        return None
    return {as_word(one) for one in given}
