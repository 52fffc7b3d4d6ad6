"""Which tables of a report were given, and what it took to read them."""

from __future__ import annotations

import json

from workbench.generators import GIVEN
from workbench.report.batch import Batch
from workbench.report.html import Piece, html_table, pieces, section

HEADER = ["Generator", "Dataset", "Table", "What was done to it"]


@section
def given(batch: Batch) -> Piece:
    """A line for each table that somebody else made: its file, and what was done to it."""
    cells = batch.cells[batch.cells["generator"] == GIVEN]
    if not len(cells):
        return Piece(pieces().note("No table of this report was given."))
    lines = []
    for cell in cells.to_dict("records"):
        file = _file(cell["params"])
        said = cell.get("notes") or cell.get("reason") or cell["status"]
        lines.append((batch.named(cell["label"]), cell["dataset"], file, said))
    caption = "Tables that others made: nothing was fitted here, so they have no cost of a fit"
    return Piece(html_table(HEADER, lines, caption, "text"))


def _file(params: str) -> str:
    try:
        return str(json.loads(params).get("table", ""))
    except (ValueError, AttributeError):
        return ""
