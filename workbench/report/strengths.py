"""What each generator's rows are good for and what not, in plain words.

The words follow from the places of the headlines between floor and ceiling, and from nothing else:
a purpose is "good" from the place that the leaderboard shades as fresh real rows, and "not good"
where nearly all of it is lost. A label without any reading is left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.metrics import OK
from workbench.report.batch import Batch, Part
from workbench.report.html import Piece, pieces, section
from workbench.report.leaderboard import QUESTIONS, places
from workbench.words import joined

_OF = dict(QUESTIONS)
# What a reading is about as a purpose: the first of the metrics that is measured, which are the
# leaderboard's own where it asks the same.
PURPOSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rows that break no rule", ("violations",)),
    ("each column by itself", _OF["Columns alike"]),
    ("how columns go together", _OF["Pairs alike"]),
    ("passing for real rows", _OF["Hard to tell from real rows"]),
    ("training a model", _OF["Trains models"]),
    ("training a model on their texts", _OF["Texts train models"]),
    ("adding to real rows", _OF["Gains as added rows"]),
    ("estimating effects", _OF["Analysis survives"]),
    ("keeping the tie of group and outcome", _OF["Bias kept as it is"]),
    ("keeping the shares of groups", _OF["Groups kept"]),
    ("withstanding attacks on people in train", _OF["Withstands attacks"]),
    ("not repeating train rows", _OF["No near copies"]),
    ("texts that do not repeat train's", _OF["Texts not copied"]),
    ("texts that do not repeat each other", ("text_duplicates",)),
)
GOOD = 80.0  # places of 100, a fresh real sample, from which on a purpose counts as served
LOST = 10.0  # places up to which nothing to speak of is left


@section
def good_for(batch: Batch) -> Piece:
    """A sentence for each generator of each dataset: what its rows are good for, and what not."""
    out = Markup("")
    for part in batch.each():
        items = []
        for label, words in sentences(part).items():
            items.append((f"{label}.", words))
        if not items:
            continue
        plain_words = pieces().sentences(items)
        if part.title:
            plain_words = pieces().folded(f"In plain words, of {part.name}", plain_words)
        out += part.title + plain_words
    return Piece(out or pieces().note("No generator has a reading between floor and ceiling yet."))


def sentences(part: Part) -> dict[str, str]:
    """Label -> its sentence, of the generators of one dataset that are no controls."""
    said = {}
    found = placed(part.heads)
    for label in part.labels:
        own = found[found["label"] == label]
        if len(own) and not part.control(label):
            said[label] = sentence(own)
    return said


def placed(heads: pd.DataFrame) -> pd.DataFrame:
    """A line for each label and purpose that is measured, with its place."""
    parts = []
    measured = heads[heads["mean"].notna() & (heads["state"] == OK)]
    known = set(measured["metric"])
    for purpose, metrics in PURPOSES:
        metric = next((name for name in metrics if name in known), "")
        own = places(measured, metric).drop_duplicates("label")
        own = own[np.isfinite(own["place"].astype(float))]
        parts.append(own.assign(purpose=purpose))
    return pd.concat(parts, ignore_index=True)


def sentence(own: pd.DataFrame) -> str:
    """One generator's purposes, sorted into good, partly and not good."""
    place = own["place"].astype(float)
    good = list(own.loc[place >= GOOD, "purpose"])
    lost = list(own.loc[place <= LOST, "purpose"])
    between = list(own.loc[(place > LOST) & (place < GOOD), "purpose"])
    # Nothing is left out: a list that is empty says so
    clauses = [f"good for {joined(good)}" if good else "good for nothing that was measured here"]
    if between:
        clauses.append(f"in part for {joined(between)}")
    clauses.append(
        f"not good for {joined(lost)}" if lost else "nothing measured reads at the floor"
    )
    text = "; ".join(clauses) + "."
    return text[0].upper() + text[1:]
