"""What a generator may be used for: tolerances fixed beforehand, and the verdict that follows from
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.metrics import NOT_APPLICABLE, NOT_INFORMATIVE
from workbench.words import interval


@dataclass(frozen=True)
class Gate:
    """A tolerance on one metric's headline: "at least", "at most" or "within" (plus or minus)
    `limit`.

    With `claim`, the limit is the value of that metric, and there is no gate where it has none. The
    reading is then a lower bound that already holds with 95% confidence: it decides by itself.
    """

    metric: str
    test: str
    limit: float
    title: str
    claim: str = ""

    def against(self, claimed: dict | None) -> Gate | None:
        """This gate with its limit; None where it takes a claim and there is none."""
        if not self.claim:
            return self
        known = claimed is not None and np.isfinite(claimed["mean"])
        return replace(self, limit=round(float(claimed["mean"]), 6)) if known else None

    def read(self, row: pd.Series | None) -> tuple[str, str]:
        """A state (meets, fails, undecided, not measured) and the words for it; the interval
        decides where there is one.
        """
        if row is None:
            return "not measured", f"{self.title} is not measured"
        if not np.isfinite(row["mean"]):
            return "not measured", f"{self.title}: {row['note'] or 'no value'}"
        low, high = (
            row["mean"] if self.claim or not np.isfinite(row[end]) else row[end]
            for end in ("low", "high")
        )
        limit = self.limit
        inside, outside = {
            "at least": (low >= limit, high < limit),
            "at most": (high <= limit, low > limit),
            "within": (-limit <= low and high <= limit, low > limit or high < -limit),
        }[self.test]
        if row["state"] == NOT_INFORMATIVE:
            return "undecided", f"{self.title}: {row['note']}"
        told = f"{self.title} {interval(row)}, asked: {self.test} {'±' if self.test == 'within' else ''}{limit:g}"
        return ("meets" if inside else "fails" if outside else "undecided"), told


# Fixed beforehand. DCR share is no gate: tables that pass distance checks have been shown to leak
# their members.
USES: dict[str, tuple[str, tuple[Gate, ...]]] = {
    "share": (
        "Share the table with others",
        (
            Gate("excess_copies", "at most", 0.005, "excess copies"),
            Gate("membership_auc", "at most", 0.55, "membership inference"),
            Gate("attack_risk", "at most", 0.3, "the worst attack's risk"),
            Gate(
                "empirical_epsilon",
                "at most",
                np.nan,
                "epsilon shown by an attack against the claimed one",
                "epsilon",
            ),
        ),
    ),
    "train": (
        "Train a model in place of the real rows",
        (
            Gate("utility_ratio", "at least", 0.9, "utility ratio"),
            Gate("bias_amp", "within", 0.05, "bias amplification"),
            Gate("equalized_odds_shift", "at most", 0.05, "equalized odds shift"),
        ),
    ),
    "augment": (
        "Add rows to the real ones",
        (Gate("augmentation_gain", "at least", 0.0, "augmentation gain"),),
    ),
}


def verdicts(heads: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """One row for each row of `labels` (dataset, label) and use: its state, the gates that decide
    it, the reason in words.

    A use fails with its first failing gate, is undecided where an interval straddles a limit, and
    counts as not measured while any of its gates is. Gates that do not apply (no sensitive column,
    a regression target) are left out.
    """
    known = {(row["dataset"], row["label"], row["metric"]): row for row in heads.to_dict("records")}
    records = []
    for dataset, label in labels[["dataset", "label"]].itertuples(index=False):
        for use, (_, gates) in USES.items():
            own = [gate.against(known.get((dataset, label, gate.claim))) for gate in gates]
            rows = [(gate, known.get((dataset, label, gate.metric))) for gate in own if gate]
            apply = [
                (gate, row) for gate, row in rows if row is None or row["state"] != NOT_APPLICABLE
            ]
            read = [(gate.title, *gate.read(row)) for gate, row in apply or rows]
            state = next(
                s
                for s in ("fails", "undecided", "not measured", "meets")
                if any(s == got for _, got, _ in read)
            )
            # Where a gate is missing, the others are told too: a use that is not measured may still
            # be half cleared.
            told = [
                words
                for _, got, words in read
                if got == state or (state == "not measured" and got == "meets")
            ]
            gates_named = [title for title, got, _ in read if got == state]
            records.append((dataset, label, use, state, gates_named, "; ".join(told)))
    return pd.DataFrame(records, columns=["dataset", "label", "use", "state", "gates", "reason"])
