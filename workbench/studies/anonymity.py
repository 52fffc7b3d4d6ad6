"""What a card's privacy figures say under the three tests of anonymity, and what they leave open.
No claim of compliance.

The tests are those of the Article 29 Working Party's Opinion 05/2014 (WP216): singling out,
linkability, inference. A figure can show that a table fails one; none can show that it passes, for
a simple attack that fails proves nothing of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.metrics import METRICS, NOT_INFORMATIVE
from workbench.words import interval


@dataclass(frozen=True)
class Evidence:
    """One figure: the test it bears on, where its rows are, and in words what it does and does not
    show.
    """

    test: str
    metric: str
    group: str
    shows: str
    leaves_open: str


EVIDENCE = (
    Evidence(
        "singling out",
        "excess_copies",
        "",
        "rows of real people are given away whole",
        "a row changed in one digit",
    ),
    Evidence(
        "singling out",
        "attack_risk",
        "singling out, univariate",
        "a rare or extreme value isolates a real person",
        "predicates about columns that only this attacker knows",
    ),
    Evidence(
        "singling out",
        "attack_risk",
        "singling out, multivariate",
        "four columns together isolate a real person",
        "more columns, and people whom an attacker picks because they stand out",
    ),
    Evidence(
        "singling out",
        "dcr_share",
        "",
        "rows lie closer to train than to test",
        "privacy: tables that pass were attacked with success",
    ),
    Evidence(
        "linkability",
        "attack_risk",
        "linkability",
        "two halves of a record meet in one synthetic row",
        "records in another file, with other columns, errors and people",
    ),
    Evidence(
        "inference",
        "attack_risk",
        "attribute inference",
        "a secret is guessed better for people in train",
        "what holds of everyone alike: a guess that is as good for people not in train counts as 0",
    ),
    Evidence(
        "inference",
        "membership_auc",
        "",
        "an attacker can tell who was in train",
        "stronger attacks; single people: it is an average",
    ),
    Evidence(
        "inference",
        "membership_tpr",
        "",
        "some people are found with hardly a false alarm",
        "stronger attacks; people unlike those tried",
    ),
    Evidence(
        "all three",
        "epsilon",
        "",
        "a bound on what any attack can learn from one row, if the claim is true",
        "whether the code keeps it; persons with several rows; what is true of a whole group",
    ),
    Evidence(
        "all three",
        "empirical_epsilon",
        "",
        "a smaller budget than this is refuted",
        "an upper bound: 0 is no proof",
    ),
)


def evidence(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each figure (and secret column), a column of readings for each label, then what it
    shows and leaves open.

    rows: the rows of cards with a column "label", one card a label. A reading is a value with its
    95% interval; it is "uninformative" where the attack does no better than a naive one, and
    otherwise the reason for there being none.
    """
    rows = rows.fillna({"column": "", "group": "", "note": ""})
    lines = {}
    for one in EVIDENCE:
        found = rows[(rows["metric"] == one.metric) & (rows["group"] == one.group)]
        for column in dict.fromkeys(found["column"]):
            figure = " ".join(
                filter(None, [one.group or METRICS[one.metric].title, column and f"of {column}"])
            )
            readings = {
                row["label"]: _reading(row)
                for row in found[found["column"] == column].to_dict("records")
            }
            lines[one.test, figure] = readings | {
                "shows": one.shows,
                "leaves open": one.leaves_open,
            }
    labels = list(dict.fromkeys(rows["label"]))
    table = pd.DataFrame.from_dict(lines, orient="index", columns=[*labels, "shows", "leaves open"])
    return table.fillna("not measured").rename_axis(["test", "figure"])


def _reading(row: dict) -> str:
    if row["state"] == NOT_INFORMATIVE:
        return "uninformative"
    return (
        interval(row | {"mean": row["value"]})
        if np.isfinite(row["value"])
        else row["note"].split(":")[0].split(";")[0]
    )
