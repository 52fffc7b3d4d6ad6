"""Which generator to take: three sentences (which, why, doubt) that follow from the verdicts of
`uses` alone.

    which    for each use the generator that meets all its gates; those uses that none is shown fit for
    why      the reading that decides, with its interval and its limit
    doubt    what speaks against it: uses that it fails, gates that were not measured, too few seeds

There is no composite score: a gain in one reading never pays for a failure in another. Where several
generators meet a use they are equal as far as its gates can tell, so a plain order decides: one that
can train a model too comes first, since rows that are safe to share may be useless; then the
fastest to fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.report import uses
from workbench.report.identity import is_control, ordered
from workbench.words import digits, joined, listed, plural

ENOUGH_SEEDS = 3  # fewer say little about the next one
DOUBTS = 3  # that the last sentence holds at most
NAMED = 4  # generators that a sentence names


@dataclass(frozen=True)
class Recommendation:
    """Three sentences, and what they say as data.

    Parameters
    ----------
    which, why, doubt : one sentence each.
    chosen : use (a key of `uses.USES`) -> the label to take; uses that no generator is shown fit
        for are left out.
    """

    which: str
    why: str
    doubt: str
    chosen: Mapping[str, str]

    @property
    def sentences(self) -> tuple[str, str, str]:
        return self.which, self.why, self.doubt

    def __str__(self) -> str:
        return f"Which one: {self.which}\nWhy: {self.why}\nDoubt: {self.doubt}"


def recommend(
    readings: pd.DataFrame,
    generators: Mapping[str, str],
    dataset: str | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Recommendation:
    """What to take for which use, and what speaks against it.

    Parameters
    ----------
    readings : what `headlines.aggregate` gives of the measured rows.
    generators : label -> generator, of everything that was asked for; controls are left out.
    dataset : which one of `readings` is meant; the only one by default.
    seconds : label -> seconds of the fit, to choose among generators that meet the same gates.

    Returns
    -------
    Recommendation
    """
    labels = [label for label in ordered(generators) if not is_control(generators[label])]
    if dataset is not None:
        readings = readings[readings["dataset"] == dataset]
    measured = set(readings["label"])
    present = [label for label in labels if label in measured]
    if not present:
        return _nothing_measured(labels)
    dataset = readings["dataset"].iloc[0]
    pairs = pd.DataFrame({"dataset": dataset, "label": present})
    table = uses.verdicts(readings, pairs)
    states = {
        use: dict(zip(part["label"], part["state"], strict=True))
        for use, part in table.groupby("use")
    }
    chosen, rivals = {}, {}
    for use in uses.USES:
        fit = [label for label in present if states[use][label] == "meets"]
        if fit:
            chosen[use] = _first(fit, states, seconds or {})
            rivals[use] = fit
    about = _About(readings, dataset, present, states, seconds or {})
    missing = [label for label in labels if label not in measured]
    if not chosen:
        return _none_fit(about, missing)
    return Recommendation(
        _which(chosen), _why(about, chosen, rivals), _doubt(about, chosen, missing), chosen
    )


@dataclass(frozen=True)
class _About:
    """What the sentences are made from; states: use -> label -> state."""

    readings: pd.DataFrame
    dataset: str
    labels: list[str]
    states: dict[str, dict[str, str]]
    seconds: Mapping[str, float]

    def deciding(self, label: str, use: str) -> str:
        """The words of the first gate that gives the use its state."""
        state = self.states[use][label]
        read = uses.read_gates(self.readings, self.dataset, label, use)
        return next(words for _, found, words in read if found == state)

    @property
    def fewest_seeds(self) -> int:
        """Repetitions behind the readings of the whole table."""
        part = self.readings[self.readings["label"].isin(self.labels)]
        part = part[(part["column"] == "") & (part["group"] == "")]
        return int(part.groupby("label")["seeds"].max().min()) if len(part) else 0


def _first(fit: list[str], states: dict, seconds: Mapping[str, float]) -> str:
    """The one of several that meet the same gates that can train a model too, then the fastest."""
    better_first = list(reversed(uses.ORDER))

    def key(label: str) -> tuple:
        spent = seconds.get(label, np.inf)
        return better_first.index(states["train"][label]), spent

    return min(fit, key=key)


def _purpose(use: str) -> str:
    title = uses.USES[use][0]
    return f"to {title[:1].lower()}{title[1:]}"


def _which(chosen: dict[str, str]) -> str:
    by_label: dict[str, list[str]] = {}
    for use, label in chosen.items():
        by_label.setdefault(label, []).append(_purpose(use))
    parts = [f"take {label} {joined(purposes)}" for label, purposes in by_label.items()]
    lacking = [_purpose(use) for use in uses.USES if use not in chosen]
    if lacking:
        parts.append(f"no generator is shown fit {joined(lacking, 'or')}")
    return _sentence("; ".join(parts))


def _why(about: _About, chosen: dict[str, str], rivals: dict[str, list[str]]) -> str:
    """The reading that decides each choice, and how it was chosen where others meet the use too."""
    parts = []
    for use, label in chosen.items():
        words = f"{_purpose(use)}, {label} meets every gate ({about.deciding(label, use)})"
        others = [name for name in rivals[use] if name != label]
        if others:
            words += f", as {_do(others)}{_preferred(about, use, label, others)}"
        parts.append(words)
    return _sentence("; ".join(parts))


def _do(names: list[str]) -> str:
    return f"{listed(names, NAMED)} {'does' if len(names) == 1 else 'do'}"


def _preferred(about: _About, use: str, label: str, others: list[str]) -> str:
    """Why this one of several that meet the same gates."""
    own = about.states["train"][label]
    alike = [name for name in others if about.states["train"][name] == own]
    if not alike:
        return "; of these it serves best to train a model too"
    spent = about.seconds.get(label, np.nan)
    if not np.isfinite(spent):
        return ""
    if len(alike) < len(others):
        return f"; of those not worse for training a model it is the fastest ({_short(spent)} s)"
    return f"; of these it is the fastest to fit ({_short(spent)} s)"


def _short(seconds: float) -> str:
    return digits(seconds, 0 if seconds >= 10 else 2)


def _doubt(about: _About, chosen: dict[str, str], missing: list[str]) -> str:
    """What speaks against it, the gravest first."""
    doubts = []
    for label in dict.fromkeys(chosen.values()):
        for use in uses.USES:
            if about.states[use][label] == "fails":
                doubts.append(f"{label} fails {_purpose(use)} ({about.deciding(label, use)})")
    doubts += _common_doubts(about, list(dict.fromkeys(chosen.values())), missing)
    if not doubts:
        doubts.append("the limits of the gates are general ones; check that they suit your purpose")
    return _sentence("; ".join(doubts[:DOUBTS]))


def _common_doubts(about: _About, labels: list[str], missing: list[str]) -> list[str]:
    doubts = []
    if about.fewest_seeds < ENOUGH_SEEDS:
        doubts.append(
            f"this rests on {plural(about.fewest_seeds, 'seed')}, and another draw may read"
            f" otherwise: repeat it with {ENOUGH_SEEDS} or more"
        )
    for state, words in (("not measured", "was not measured"), ("undecided", "is undecided")):
        left = [
            f"whether {label} serves {_purpose(use)} {words}"
            for use in uses.USES
            for label in labels
            if about.states[use][label] == state
        ]
        doubts += left[:1]
    if missing:
        doubts.append(f"{listed(missing, NAMED)} gave no result")
    return doubts


def _none_fit(about: _About, missing: list[str]) -> Recommendation:
    """No generator meets any use: said plainly, with those that are not ruled out."""
    count = len(about.labels)
    who = "the one generator is not" if count == 1 else f"none of the {count} generators is"
    which = f"{who} shown fit for any of the {len(uses.USES)} uses"
    open_uses, reasons = [], []
    for use in uses.USES:
        states = about.states[use]
        undecided = [label for label in about.labels if states[label] == "undecided"]
        failed = [label for label in about.labels if states[label] == "fails"]
        if undecided:
            open_uses.append(f"{listed(undecided, NAMED)} {_purpose(use)}")
            label = undecided[0]
            reasons.append(f"{_purpose(use)}, {label} is undecided: {about.deciding(label, use)}")
        elif failed:
            label = failed[0]
            reasons.append(f"{_purpose(use)}, {label} fails: {about.deciding(label, use)}")
        else:
            label = about.labels[0]
            reasons.append(f"{_purpose(use)}: {about.deciding(label, use)}")
    if open_uses:
        which += f"; not ruled out: {'; '.join(open_uses)}"
    doubts = _common_doubts(about, about.labels, missing)
    if open_uses:
        doubts.insert(
            0, "an interval that straddles its limit may clear it with more rows or seeds"
        )
    if not doubts:
        doubts.append("other parameters, or a generator that was not compared, may do better")
    return Recommendation(
        _sentence(which), _sentence("; ".join(reasons)), _sentence("; ".join(doubts[:DOUBTS])), {}
    )


def _nothing_measured(labels: list[str]) -> Recommendation:
    who = listed(labels, NAMED) if labels else "only controls were chosen, and no generator"
    return Recommendation(
        "Nothing can be recommended.",
        f"No reading was measured: {who} gave no result.",
        "A generator that failed or was skipped says nothing about the others; see the reasons beside"
        " it.",
        {},
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
