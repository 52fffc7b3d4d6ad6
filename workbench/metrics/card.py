"""What `evaluate` hands back: tidy rows, and a card of them that reads well in a notebook, in a
terminal and aloud.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd

from workbench.metrics import FAMILIES, FOLDED, METRICS, NOT_APPLICABLE, OK
from workbench.words import number

MAX_DETAILS = (
    200  # rows about single columns, groups and learners that the card lists for each family
)

EXPLANATION = (
    "The bar runs from the floor (left tick: a table that has lost what is measured) to the ceiling"
    " (right tick: a fresh sample of real rows). The score is 0 at the one and 1 at the other."
)

STYLE = """
.wb-card{font:13px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;max-width:60rem;overflow-x:auto;
  color:var(--jp-content-font-color1,inherit)}
.wb-card h3{font-size:15px;margin:0 0 2px}
.wb-card p{margin:2px 0 10px;opacity:.75}
.wb-card table{border-collapse:collapse;table-layout:fixed;width:100%;min-width:50rem;
  margin:0 0 4px;font:inherit;
  color:inherit;font-variant-numeric:tabular-nums}
.wb-card caption{text-align:left;font-weight:600;padding:8px 0 2px}
.wb-card th,.wb-card td{text-align:right;padding:3px 8px;border:0;
  border-bottom:1px solid rgba(128,128,128,.25);
  white-space:nowrap;background:none;vertical-align:middle}
.wb-card thead th{font-weight:500;font-size:12px;opacity:.75}
.wb-card th:first-child{text-align:left;font-weight:400;white-space:normal;overflow-wrap:anywhere;
  padding-left:0}
.wb-card .wb-bar{text-align:center}
.wb-card small{opacity:.75}
.wb-card .wb-note{display:block}
.wb-card details{margin:0 0 6px}
.wb-card summary{cursor:pointer;font-size:12px;opacity:.8}
.wb-card svg{display:inline-block;vertical-align:middle}
"""


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
        against_zero = self.rows["metric"].map(
            lambda name: name in METRICS and METRICS[name].speaks_for_itself
        )
        informative = (span != 0) & (self.rows["state"] == OK) & ~against_zero.astype(bool)
        return ((self.rows["value"] - self.rows["floor"]) / span.where(informative)).rename("score")

    @property
    def headlines(self) -> pd.DataFrame:
        rank = (self.rows["column"] != "").astype(int) + 2 * (self.rows["group"] != "").astype(int)
        best = rank.groupby(self.rows["metric"]).transform("min")
        return self.rows[rank == best].drop_duplicates("metric").assign(score=self.score)

    def __repr__(self) -> str:
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
        details = self.rows.drop(heads.index).assign(score=self.score)
        parts = [f'<div class="wb-card"><style>{STYLE}</style><h3>{escape(self._title())}</h3>']
        parts.append(f"<p>{EXPLANATION}</p>")
        for family, part in self._families(heads):
            shown, folded = _split(part)
            parts.append(_table(shown, family))
            if len(folded):
                summary = f"More: {len(folded)} that repeat these, for comparison with papers"
                parts.append(f"<details><summary>{summary}</summary>")
                parts.append(_table(folded, f"{family}, more") + "</details>")
            more = details[details["metric"].isin(part["metric"])]
            if len(more):
                cut = (
                    f", the first {MAX_DETAILS}; all are in .rows"
                    if len(more) > MAX_DETAILS
                    else ""
                )
                parts.append(
                    f"<details><summary>Columns, groups and learners: {len(more):,}"
                    f" rows{cut}</summary>"
                )
                parts.append(_table(more.head(MAX_DETAILS), f"{family}, in detail") + "</details>")
        left_out = self._not_applicable(heads)
        remarks = [*([f"Not applicable here: {left_out}."] if left_out else []), *self.notes]
        return "".join(parts) + "".join(f"<p>{escape(remark)}</p>" for remark in remarks) + "</div>"

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
    if folded.all():
        folded[:] = False
    return part[~folded], part[folded]


def _table(rows: pd.DataFrame, caption: str) -> str:
    arrow = {"up": "higher is better", "down": "lower is better", "zero": "zero is best"}
    heads = {
        "metric": 35,
        "value": 9,
        "95% interval": 18,
        "floor": 9,
        "floor to ceiling": 13,
        "ceiling": 9,
        "score": 7,
    }
    columns = "".join(
        '<th scope="col"'
        f' style="width:{width}%"{" class=wb-bar" if head == "floor to ceiling" else ""}>{head}</th>'
        for head, width in heads.items()
    )
    lines = [
        f"<table><caption>{escape(caption.capitalize())}</caption><thead><tr>{columns}</tr></thead><tbody>"
    ]
    for row in rows.itertuples():
        note = f'<small class="wb-note">{escape(row.note)}</small>' if row.note else ""
        about = (
            f"{escape(_title(row))} <small>({arrow[METRICS[row.metric].direction]})</small>{note}"
        )
        cells = (number(row.value), _interval(row), number(row.floor))
        lines.append(
            f'<tr><th scope="row">{about}</th>' + "".join(f"<td>{cell}</td>" for cell in cells)
        )
        lines.append(
            f'<td class="wb-bar">{_bar(row)}</td><td>{number(row.ceiling)}</td>'
            f"<td>{_score(row.score)}</td></tr>"
        )
    return "".join(lines) + "</tbody></table>"


def _bar(row) -> str:
    """A small drawing of the score between floor (0) and ceiling (1), with the interval; it says
    the same in words.
    """
    if not np.isfinite(row.score):
        return ""

    def at(score: float) -> float:
        return 20 + 80 * float(np.clip(score, -0.2, 1.2))

    span = row.ceiling - row.floor
    ends = sorted((end - row.floor) / span for end in (row.low, row.high) if np.isfinite(end))
    x, outside = at(row.score), not -0.2 <= row.score <= 1.2
    words = (
        f"{number(row.value)} between floor {number(row.floor)} and ceiling {number(row.ceiling)}:"
        f" score {_score(row.score)}"
    )
    line = (
        '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-width="{}"'
        ' stroke-opacity="{}"/>'
    )
    parts = [
        line.format(20, 100, 8, 8, 1, 0.35),
        line.format(20, 20, 3, 13, 1, 0.6),
        line.format(100, 100, 3, 13, 1, 0.6),
    ]
    if len(ends) == 2:
        parts.append(
            f'<line x1="{at(ends[0]):.1f}" x2="{at(ends[1]):.1f}" y1="8" y2="8" stroke="#0173b2"'
            ' stroke-width="3"/>'
        )
    if outside:  # an arrow head: the dot lies beyond the drawing
        tip = x + (3 if row.score > 0 else -3)
        parts.append(f'<path d="M{x:.1f} 3.5L{tip:.1f} 8L{x:.1f} 12.5z" fill="#0173b2"/>')
    else:
        parts.append(f'<circle cx="{x:.1f}" cy="8" r="4" fill="#0173b2"/>')
    drawing = "".join(parts)
    return (
        '<svg width="120" height="16" role="img"'
        f' aria-label="{escape(words)}"><title>{escape(words)}</title>{drawing}</svg>'
    )


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
