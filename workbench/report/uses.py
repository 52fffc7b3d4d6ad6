"""What a generator may be used for: tolerances fixed beforehand, and the verdict that follows from
them.

A gate reads one metric: of the whole table, or of each column or group, each averaged over the
seeds. Intervals are widened for the number of readings (Bonferroni), so that a table does not fail
because one of twenty groups strayed by chance. Two kinds of gates:

    a merit must be shown     "at least", "at most": the whole interval lies on the right side
    a harm must be shown      "within", "not raised", "not above": how wide an interval of fresh
                              real rows is depends on the table, so a reading passes unless harm is
                              shown; an interval so wide that harm of the size `blind` could hide in
                              it decides nothing

Two harms are differences, of which fresh rows read 0: "within" and, of a rise alone, "not raised".
Harm is shown where the interval lies off 0 and the reading itself is beyond the limit. To want the
whole interval beyond the limit asks for a proof of what is seen already: a doubled association of
2,000 rows, .08 with a limit of .05, would fail in one simulation of six. "not above" is for
readings whose value for fresh rows is not 0, as rates of an attack: their lower end is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.metrics import NOT_APPLICABLE, NOT_INFORMATIVE
from workbench.report.headlines import simultaneous, stretched, subject
from workbench.words import interval

# A gate and a use are as bad as the worst of what they are made of.
ORDER = ("fails", "undecided", "not measured", "meets")
NAMED = 3  # readings that a reason lists


@dataclass(frozen=True)
class Gate:
    """A tolerance on one metric.

    Parameters
    ----------
    metric : name in METRICS.
    test : "at least", "at most", "within" (plus or minus the limit), "not raised" (the same of a
        rise alone), "not above", or "none" (any reading above 0 fails).
    limit : in the metric's unit.
    title : the metric's name in a sentence.
    about : which rows are read: "table", "columns", "groups", "details" (all but the table's), or
        "any".
    blind : for gates of harm, the half width from which on an interval decides nothing.
    claim : a metric whose value is the limit; there is no gate where it has none. The reading is
        then a lower bound that already holds with 95% confidence: it decides by itself.
    without : a metric of what the reading leaves out; where it is above 0, nothing is met.
    complete : whether a reading without a value, among others that have one, is a loss: of an
        effect whose label no synthetic row holds nothing can be estimated.
    relative : whether the reading is a share of the way from floor to ceiling, and so means
        nothing where these are within noise of each other.
    """

    metric: str
    test: str
    limit: float
    title: str
    about: str = "table"
    blind: float = np.inf
    claim: str = ""
    without: str = ""
    complete: bool = False
    relative: bool = False

    def against(self, claimed: list[dict]) -> Gate | None:
        """This gate with its limit; None where it takes a claim and there is none."""
        if not self.claim:
            return self
        known = [row["mean"] for row in claimed if np.isfinite(row["mean"])]
        return replace(self, limit=round(float(known[0]), 6)) if known else None

    def read(self, rows: list[dict], most: int = NAMED) -> tuple[str, str]:
        """A state (meets, fails, undecided, not measured) and the words for it, from the readings
        of one dataset and label; the words name at most `most` readings.
        """
        if not rows:
            return "not measured", f"{self.title} is not measured"
        finite = [row for row in rows if np.isfinite(row["mean"])]
        if not finite:
            return "not measured", f"{self.title}: {rows[0]['note'] or 'no value'}"
        lost = [row for row in rows if not np.isfinite(row["mean"])]
        if self.complete and lost:
            named = ", ".join(_subject(row) for row in lost[:NAMED])
            return "fails", f"{self.title}: nothing is left of {named}"
        factor = simultaneous(len(finite))
        judged = [(self._state(row, factor), row) for row in finite]
        state = min((found for found, _ in judged), key=ORDER.index)
        deciding = [row for found, row in judged if found == state]
        deciding.sort(key=lambda row: -abs(row["mean"]))
        if state == "undecided" and self._unreadable(deciding[0]):
            return state, f"{self.title}: {deciding[0]['note']}"
        words = [f"{_about(row)}{interval(_wider(row, factor))}" for row in deciding[:most]]
        more = f" and {len(deciding) - most} more" if len(deciding) > most else ""
        return state, f"{self.title} {', '.join(words)}{more}, {self._limit()}"

    def words(self) -> tuple[str, str, str]:
        """What the gate reads, when it is met and when it fails: for readers of its verdicts."""
        read = READ[self.about]
        if self.test == "none":
            return read, "none did", "any did"
        limit = "what is claimed" if self.claim else f"{self.limit:g}"
        if self.test == "at least":
            moved = ", and not exactly 0" if self.limit == 0 else ""
            return read, f"interval at or above {limit}{moved}", f"interval below {limit}"
        if self.test == "at most":
            # A claim is held against a lower bound, which decides by itself.
            subject = "reading" if self.claim else "interval"
            return read, f"{subject} at or below {limit}", f"{subject} above {limit}"
        width = f"is at most {2 * self.blind:g} wide"
        half = "" if np.isinf(self.blind) else f" and {width}"
        if self.test == "not above":
            return read, f"upper end at or below {limit}, or {width}", f"lower end above {limit}"
        if self.test == "not raised":
            met = f"upper end at or below {limit}, or lower end at or below 0{half}"
            return read, met, f"lower end above 0, reading above {limit}"
        met = f"interval within ±{limit}, or holds 0{half}"
        return read, met, f"interval without 0, reading beyond ±{limit}"

    def _limit(self) -> str:
        """What the reading was held against. A harm counts where it is clear: an interval that may
        as well hold none is no failure, though it reaches beyond the limit.
        """
        if self.test == "none":
            return "limit: none"
        if self.test == "within":
            return f"limit: within ±{self.limit:g}, or not clearly different from 0"
        if self.test == "not raised":
            return f"limit: not clearly raised by more than {self.limit:g}"
        clearly = "not clearly above" if self.test == "not above" else self.test
        return f"limit: {clearly} {self.limit:g}"

    def _unreadable(self, row: dict) -> bool:
        """Whether the metric says that its place between floor and ceiling means nothing."""
        return self.relative and row["state"] == NOT_INFORMATIVE

    def _state(self, row: dict, factor: float) -> str:
        wide = _wider(row, factor)
        point = bool(self.claim)
        low = row["mean"] if point or not np.isfinite(wide["low"]) else wide["low"]
        high = row["mean"] if point or not np.isfinite(wide["high"]) else wide["high"]
        state = _TESTS[self.test](self, row["mean"], low, high)
        # Plain harm stays harm, whatever floor and ceiling are.
        if state == "meets" and self._unreadable(row):
            return "undecided"
        return state


def _at_least(gate: Gate, mean: float, low: float, high: float) -> str:
    # A gain of exactly nothing, as where no learner can read the columns, shows no merit.
    if gate.limit == 0 and low == high == 0:
        return "undecided"
    if low >= gate.limit:
        return "meets"
    return "fails" if high < gate.limit else "undecided"


def _at_most(gate: Gate, mean: float, low: float, high: float) -> str:
    if high <= gate.limit:
        return "meets"
    return "fails" if low > gate.limit else "undecided"


def _within(gate: Gate, mean: float, low: float, high: float) -> str:
    shown = low > 0 or high < 0
    if shown and abs(mean) > gate.limit:
        return "fails"
    if -gate.limit <= low and high <= gate.limit:
        return "meets"
    return "meets" if not shown and (high - low) / 2 <= gate.blind else "undecided"


def _not_raised(gate: Gate, mean: float, low: float, high: float) -> str:
    shown = low > 0
    if shown and mean > gate.limit:
        return "fails"
    if high <= gate.limit:
        return "meets"
    return "meets" if not shown and (high - low) / 2 <= gate.blind else "undecided"


def _not_above(gate: Gate, mean: float, low: float, high: float) -> str:
    if low > gate.limit:
        return "fails"
    if high <= gate.limit:
        return "meets"
    return "meets" if (high - low) / 2 <= gate.blind else "undecided"


def _none(gate: Gate, mean: float, low: float, high: float) -> str:
    return "fails" if low > 0 or high > 0 else "meets"


READ = {
    "table": "the table",
    "columns": "each column",
    "groups": "each group",
    "details": "each column, group or coefficient",
    "any": "the table and each group",
}
_TESTS = {
    "at least": _at_least,
    "at most": _at_most,
    "within": _within,
    "not raised": _not_raised,
    "not above": _not_above,
    "none": _none,
}


# Fixed beforehand; docs/trust.md holds how often fresh real rows pass each, and how often a planted
# fault fails it. Privacy is read off the tail: a mean hides the few rows that leak. DCR share is no
# gate: tables that pass distance checks have been shown to leak their members.
USES: dict[str, tuple[str, tuple[Gate, ...]]] = {
    "share": (
        "Share the table with others",
        (
            # Fresh rows show no excess at all, so that any that is clear is a leak.
            Gate("excess_copies", "not above", 0.0, "excess copies", blind=0.05),
            Gate("near_copies", "not above", 0.0, "near copies", blind=0.05),
            # Lower ends of fresh rows lie at .003 to .006, of 3% leaked rows at .027 and more.
            Gate("membership_tpr", "not above", 0.02, "membership found", "any", blind=0.1),
            Gate("membership_auc", "not above", 0.55, "membership inference", "any", blind=0.1),
            # What an attack gains over the same attack on people outside train; one secret in
            # twenty.
            Gate("attack_risk", "not above", 0.05, "an attack's risk", "groups", blind=0.3),
            Gate(
                "empirical_epsilon",
                "at most",
                np.nan,
                "epsilon shown by an attack against the claimed one",
                claim="epsilon",
            ),
        ),
    ),
    "train": (
        "Train a model in place of the real rows",
        (
            Gate("utility_ratio", "at least", 0.9, "utility ratio", relative=True),
            Gate("vanished_groups", "none", 0.0, "vanished groups"),
            # log(1.25): a group's odds fall to four fifths, the rule of thumb of US employment law.
            Gate("representation", "within", 0.223, "representation", "groups", blind=1.2),
            Gate(
                "bias_amp",
                "within",
                0.05,
                "bias amplification",
                "columns",
                blind=0.2,
                without="vanished_groups",
            ),
            Gate(
                "equalized_odds_shift",
                "not raised",
                0.05,
                "equalized odds shift",
                "columns",
                # Two models of 2,000 fresh rows differ by up to .2 in a column with a group of 5%.
                blind=0.3,
            ),
        ),
    ),
    "analyse": (
        "Estimate effects in place of the real rows",
        (
            # In standard errors of the difference between two real tables: of fresh real rows nine
            # in ten coefficients and more lie within two.
            Gate(
                "coefficient_shift",
                "within",
                2.0,
                "a coefficient's shift in standard errors",
                "details",
                # Of one table half an interval is 2 standard errors, 3.3 among fifty coefficients.
                # It is wider where tables of several seeds disagree, as with much private noise:
                # from 6 on it says nothing, whatever it holds.
                blind=6.0,
                without="vanished_groups",
                complete=True,
            ),
        ),
    ),
    "augment": (
        "Add rows to the real ones",
        (Gate("augmentation_gain", "at least", 0.0, "augmentation gain"),),
    ),
}


def verdicts(readings: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """What each generator may be used for.

    Parameters
    ----------
    readings : what `headlines.aggregate` gives of a report's rows: one row for each dataset,
        label, metric, column and group.
    labels : columns dataset and label, one row for each verdict.

    Returns
    -------
    DataFrame
        One row for each row of `labels` and use: its state, the gates that decide it, the reason
        in words. A use fails where any of its gates does; else it is undecided where one is, else
        not measured where one is; it is met where all are. Gates that do not apply (no sensitive
        column, a regression target) are left out.
    """
    known = _by_metric(readings)
    records = []
    for dataset, label in labels[["dataset", "label"]].itertuples(index=False):
        for use, (_, gates) in USES.items():
            read = _gates(known, dataset, label, gates)
            records.append((dataset, label, use, *_decided(read)))
    return pd.DataFrame(records, columns=["dataset", "label", "use", "state", "gates", "reason"])


def read_gates(
    readings: pd.DataFrame, dataset: str, label: str, use: str
) -> list[tuple[str, str, str]]:
    """Title, state and words of each gate of one use that applies to one generator; the words name
    one reading, the one that is furthest out.
    """
    return _gates(_by_metric(readings), dataset, label, USES[use][1], most=1)


def unmeasured(readings: pd.DataFrame, labels: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """(dataset, use) -> titles of the gates that no label of the dataset has measured, controls
    included: with one of them no generator can pass, whatever its rows are. Parameters as in
    `verdicts`.
    """
    known = _by_metric(readings)
    read = set(zip(readings["dataset"], readings["label"], strict=True))
    found = {}
    for dataset, part in labels.groupby("dataset", sort=False):
        # A label whose cells have not finished says nothing about the test rows.
        finished = [label for label in part["label"] if (dataset, label) in read]
        for use, (_, gates) in USES.items():
            states: dict[str, set[str]] = {}
            for label in finished:
                for title, state, _ in _gates(known, dataset, label, gates):
                    states.setdefault(title, set()).add(state)
            titles = [title for title, seen in states.items() if seen == {"not measured"}]
            if titles:
                found[dataset, use] = titles
    return found


def needed() -> set[str]:
    """The metrics that verdicts are made from."""
    gates = [gate for _, gates in USES.values() for gate in gates]
    return {name for gate in gates for name in (gate.metric, gate.claim, gate.without) if name}


def _by_metric(readings: pd.DataFrame) -> dict[tuple, list[dict]]:
    known: dict[tuple, list[dict]] = {}
    for row in readings[readings["metric"].isin(needed())].to_dict("records"):
        known.setdefault((row["dataset"], row["label"], row["metric"]), []).append(row)
    return known


def _gates(
    known: dict, dataset: str, label: str, gates: Iterable[Gate], most: int = NAMED
) -> list[tuple]:
    """(title, state, words) of each gate that applies, or of all where none does."""
    read, idle = [], []
    for named in gates:
        gate = named.against(known.get((dataset, label, named.claim), []))
        if gate is None:
            continue
        rows = read_by(known.get((dataset, label, gate.metric), []), gate.about)
        state, words = gate.read(rows, most)
        left_out = known.get((dataset, label, gate.without), [])
        if state == "meets" and any(row["mean"] > 0 for row in left_out):
            state, words = "not measured", f"{gate.title} leaves out the groups that vanished"
        applies = not rows or not all(_not_applicable(row) for row in rows)
        (read if applies else idle).append((gate.title, state, words))
    return read or idle


def _not_applicable(row: dict) -> bool:
    return row["state"] == NOT_APPLICABLE


def read_by(rows: list[dict], about: str) -> list[dict]:
    """The rows that a gate reads; those about the whole table where there are no others."""
    if about == "any":
        chosen = rows
    elif about == "details":
        chosen = [row for row in rows if subject(row["column"], row["group"]) != "table"]
    else:
        chosen = [row for row in rows if subject(row["column"], row["group"]) == about]
    if any(np.isfinite(row["mean"]) for row in chosen):
        return chosen
    return [row for row in rows if subject(row["column"], row["group"]) == "table"]


def _decided(read: list[tuple]) -> tuple[str, list[str], str]:
    """State, deciding gates and reason of a use."""
    state = min((found for _, found, _ in read), key=ORDER.index)
    # Where a gate is missing, the others are named too: a use that is not measured may still be
    # half cleared.
    shown = {state, "meets"} if state == "not measured" else {state}
    words = [sentence for _, found, sentence in read if found in shown]
    titles = [title for title, found, _ in read if found == state]
    return state, titles, "; ".join(words)


def _wider(row: dict, factor: float) -> dict:
    low, high = stretched(row, factor)
    return row | {"low": low, "high": high}


def _about(row: dict) -> str:
    about = _subject(row)
    return f"of {about} " if about else ""


def _subject(row: dict) -> str:
    """The column or group that a reading is about, in words; a group names its column as a rule."""
    if "=" in row["group"]:
        return row["group"]
    return " ".join(filter(None, [row["column"], row["group"]]))
