"""The tables of docs/domain-randomization.md, made from the published rows of its replication.

`python docs/benchmark.py` writes them; a test says when they are out of date.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from published import filled, finished, results, table
from scipy.stats import t

PAGE = Path(__file__).parent / "domain-randomization.md"
NAME = "replications/domain-randomization-2018"
DRAWN = (
    ("20,000 drawn digits, 400 batches", "drawn", "right"),
    ("10,000, 150 batches", "nothing left out", "right_short"),
    ("3,000, 150 batches", "drawn", "right_3000"),
    ("1,000, 150 batches", "drawn", "right_1000"),
    ("300, 150 batches", "drawn", "right_300"),
)
SCANS = (20, 50, 100, 500)
WHOLE = "nothing left out"


@cache
def shares() -> pd.DataFrame:
    """The shares of scans that were read correctly: label, metric, seed, value."""
    found = []
    for cell in finished(NAME).to_dict("records"):
        facts = results(NAME).manifest(cell["key"])["facts"]
        for reading in facts["measured"]:
            about = {"label": cell["label"], "seed": cell["seed"]}
            found.append({**about, "metric": reading["metric"], "value": reading["value"]})
    return pd.DataFrame(found)


def of_seeds(label: str, metric: str) -> pd.Series:
    found = shares()
    own = found[(found["label"] == label) & (found["metric"] == metric)]
    return own.set_index("seed")["value"]


def percent(values: pd.Series, sign: str = "") -> str:
    """The mean over seeds in percent, and half of its 95% interval (Student's t)."""
    values = 100 * values.dropna()
    if len(values) < 2:
        return f"{values.mean():{sign}.1f}" if len(values) else "–"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{values.mean():{sign}.1f} ± {half:.1f}".replace("-", "−")


def drawn_alone() -> str:
    lines = [["learned from", "correct, %"]]
    lines += [[what, percent(of_seeds(label, metric))] for what, label, metric in DRAWN]
    return table(lines)


def with_scans() -> str:
    """Gains are of the same seed, read on the same scans."""
    lines = [["scans", "those alone", "drawn, then those", "gain", "drawn, then both", "gain"]]
    for size in SCANS:
        alone = of_seeds("scans", f"right_{size}")
        line = [str(size), percent(alone)]
        for label in ("drawn, then scans", "drawn, then both"):
            taught = of_seeds(label, f"right_{size}")
            line += [percent(taught), percent(taught - alone, "+")]
        lines.append(line)
    return table(lines)


def left_out() -> str:
    whole = of_seeds(WHOLE, "right_short")
    found = shares()
    labels = found.loc[found["metric"] == "right_short", "label"].unique()
    lines = [["left out", "correct, %", "change"]]
    for label in [WHOLE, *sorted(set(labels) - {WHOLE})]:
        own = of_seeds(label, "right_short")
        change = "" if label == WHOLE else percent(own - whole, "+")
        lines.append([label.removesuffix(" left out"), percent(own), change])
    return table(lines)


def page(text: str) -> str:
    makers = {"drawn_alone": drawn_alone, "with_scans": with_scans, "left_out": left_out}
    return filled(text, makers)


def write() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
