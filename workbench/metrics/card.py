"""What `evaluate` hands back: tidy rows, and a card of them that reads well in a notebook, in a
terminal and aloud.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from workbench.markup import macros
from workbench.metrics import FAMILIES, FOLDED, METRICS, NOT_APPLICABLE, OK
from workbench.words import number

MAX_DETAILS = (
    200  # rows about single columns, groups and learners that the card lists for each family
)


@dataclass(frozen=True, eq=False)
class Card:
    """The measured rows of one synthetic table.

    rows       one measured number a row, with ROW_COLUMNS: value, 95% interval, floor, ceiling,
               state, note
    score      (value - floor) / (ceiling - floor) for each row: 1 is a fresh real sample, 0 the
               floor; not clipped
    headlines  the rows that speak for the whole table, one a metric where there is one
    """

    rows: pd.DataFrame
    dataset: str = ""
    train_rows: int = 0
    test_rows: int = 0
    synthetic_rows: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def score(self) -> pd.Series:
        """Missing where floor and ceiling are equal or within noise of each other, and for readings
        held against 0: a larger one would score above a fresh sample.
        """
        span = self.rows["ceiling"] - self.rows["floor"]
        # A difference from 0 has no place between two references.
        against_zero = self.rows["metric"].map(
            lambda name: name in METRICS and METRICS[name].speaks_for_itself
        )
        informative = (span != 0) & (self.rows["state"] == OK) & ~against_zero.astype(bool)
        return ((self.rows["value"] - self.rows["floor"]) / span.where(informative)).rename("score")

    @property
    def headlines(self) -> pd.DataFrame:
        # 0 for the whole table, 1 for a column, 2 or more for a group; the widest row of a metric
        # speaks for it.
        rank = (self.rows["column"] != "").astype(int) + 2 * (self.rows["group"] != "").astype(int)
        best = rank.groupby(self.rows["metric"]).transform("min")
        return self.rows[rank == best].drop_duplicates("metric").assign(score=self.score)

    def __repr__(self) -> str:
        # Fixed widths: a terminal's card lines up under its heads.
        heads, lines, more = self.headlines, [self._title()], []
        for family, part in self._families(heads):
            lines.append(
                f"\n{family:<38}{'value':>9} "
                f" {'95% interval':<18}{'floor':>9}{'ceiling':>9}{'score':>7}"
            )
            shown, folded = _split(part)
            more += [f"{row.metric} {number(row.value)}" for row in folded.itertuples()]
            for row in shown.itertuples():
                numbers = f"{number(row.floor):>9}{number(row.ceiling):>9}{_score(row.score):>7}"
                line = f"  {_title(row):<36}{number(row.value):>9}  {_interval(row):<18}{numbers}"
                lines.append(f"{line}  {row.note}".rstrip())
        if more:
            lines += ["", f"more, in .rows: {', '.join(more)}"]
        left_out = self._not_applicable(heads)
        lines += ["", *([f"not applicable here: {left_out}"] if left_out else []), *self.notes]
        return "\n".join(
            [
                *lines,
                f"{len(self.rows)} rows in .rows; score: 0 is the floor, 1 a fresh real sample",
            ]
        )

    def _repr_html_(self) -> str:
        heads = self.headlines
        # Whatever is no headline is folded away, and none of it is lost.
        details = self.rows.drop(heads.index).assign(score=self.score)
        families = []
        for family, part in self._families(heads):
            shown, folded = _split(part)
            more = details[details["metric"].isin(part["metric"])]
            tables = []
            if len(folded):
                summary = f"More: {len(folded)} that repeat these, for comparison with papers"
                tables.append((summary, f"{family}, more", folded))
            if len(more):
                # A wide table has thousands of rows about columns: a notebook would not scroll.
                cut = f", the first {MAX_DETAILS}; all are in .rows" * (len(more) > MAX_DETAILS)
                summary = f"Columns, groups and learners: {len(more):,} rows{cut}"
                tables.append((summary, f"{family}, in detail", more.head(MAX_DETAILS)))
            families.append(
                {
                    "caption": family.capitalize(),
                    "readings": _readings(shown),
                    "folded": [
                        (summary, caption.capitalize(), _readings(rows))
                        for summary, caption, rows in tables
                    ],
                }
            )
        left_out = self._not_applicable(heads)
        remarks = [*([f"Not applicable here: {left_out}."] if left_out else []), *self.notes]
        return str(macros("metrics/card.html.j2").card(self._title(), families, remarks))

    def _title(self) -> str:
        counts = (
            f"{self.synthetic_rows:,} synthetic rows against {self.train_rows:,} train and"
            f" {self.test_rows:,} test rows"
        )
        return f"{self.dataset}: {counts}" if self.dataset else counts

    def _families(self, heads: pd.DataFrame):
        shown = heads[heads["state"] != NOT_APPLICABLE]
        families = shown["metric"].map(lambda name: METRICS[name].family)
        return [
            (family, shown[families == family]) for family in FAMILIES if (families == family).any()
        ]

    def _not_applicable(self, heads: pd.DataFrame) -> str:
        return ", ".join(heads.loc[heads["state"] == NOT_APPLICABLE, "metric"])


def _split(part: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A family's rows: those to show, and those that repeat them; all are shown where none is left
    to repeat.
    """
    folded = part["metric"].isin(FOLDED)
    # A family of nothing but repeats is shown: an empty table would say that nothing was measured.
    if folded.all():
        folded[:] = False
    return part[~folded], part[folded]


def _readings(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the card's template shows of each row, as text."""
    words = {"up": "higher is better", "down": "lower is better", "zero": "zero is best"}
    return [
        {
            "title": _title(row),
            "direction": words[METRICS[row.metric].direction],
            "note": row.note,
            "value": number(row.value),
            "interval": _interval(row),
            "floor": number(row.floor),
            "drawing": _drawing(row),
            "ceiling": number(row.ceiling),
            "score": _score(row.score),
        }
        for row in rows.itertuples()
    ]


def _drawing(row) -> dict[str, str] | None:
    """Where the score and its interval lie on a bar from 20 (floor) to 100 (ceiling), in pixels, and
    the same in words; None where there is no score.
    """
    if not np.isfinite(row.score):
        return None

    def at(score: float) -> float:
        return 20 + 80 * float(np.clip(score, -0.2, 1.2))

    words = (
        f"{number(row.value)} between floor {number(row.floor)} and ceiling {number(row.ceiling)}:"
        f" score {_score(row.score)}"
    )
    x = at(row.score)
    drawing = {"words": words, "x": f"{x:.1f}"}
    # Where less is better the interval's low end is the right one of the bar.
    span = row.ceiling - row.floor
    ends = sorted((end - row.floor) / span for end in (row.low, row.high) if np.isfinite(end))
    if len(ends) == 2:
        drawing |= {"low": f"{at(ends[0]):.1f}", "high": f"{at(ends[1]):.1f}"}
    if not -0.2 <= row.score <= 1.2:  # an arrow head: the dot lies beyond the drawing
        drawing["tip"] = f"{x + (3 if row.score > 0 else -3):.1f}"
    return drawing


def _title(row) -> str:
    about = ", ".join(part for part in (row.column, row.group) if part)
    return f"{METRICS[row.metric].title}: {about}" if about else METRICS[row.metric].title


def _interval(row) -> str:
    return (
        f"{number(row.low)} to {number(row.high)}"
        if np.isfinite(row.low) and np.isfinite(row.high)
        else ""
    )


def _score(score: float) -> str:
    return f"{score:.2f}".replace("-", "−") if np.isfinite(score) else ""
