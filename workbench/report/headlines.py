"""Tidy rows over cells -> one number a generator and metric, with an interval -> what the generator
may be used for.

A 95% interval over k seeds joins two sources of doubt. Each cell's own interval gives a variance
((high - low) / 3.92)^2; its mean w over the seeds does not shrink with k, because every seed is
scored on the same real test rows. The seeds differ among each other with variance s^2. So: mean +-
t sqrt(w + s^2 / k), where t has the Welch-Satterthwaite degrees of freedom (k - 1) (1 + w k /
s^2)^2: 1.96 where w rules, Student's t of k - 1 degrees where the seeds do. Where there are several
splits, these are the k units, each the mean over its seeds; draws are averaged within a seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from workbench.generators import GENERATORS
from workbench.metrics import METRICS, OK, UNKNOWN, in_order

FACTORS = (
    "split",
    "seed",
    "draw",
)  # what may vary between the cells of one dataset and label, outermost first


def aggregate(
    rows: pd.DataFrame, by: Iterable[str] = ("dataset", "label", "metric", "column", "group")
) -> pd.DataFrame:
    """One row for each combination of `by`: mean, low, high (the interval above), floor, ceiling,
    seeds, state, note.

    Missing values are left out of the mean; `seeds` counts the units in it. With one unit the
    interval is the cell's own. `note` is one that most rows carry a like of (the most frequent), ""
    where half of them carry none.
    """
    by = list(by)
    frame = rows.assign(w=((rows["high"] - rows["low"]) / 3.92) ** 2)
    varying = [name for name in FACTORS if name in frame and frame[name].nunique() > 1]
    units = frame
    for level in range(len(varying) - 1, 0, -1):
        grouped = units.groupby([*by, *varying[:level]], sort=False, observed=True, dropna=False)
        units = grouped[["value", "low", "high", "floor", "ceiling", "w"]].mean().reset_index()
    grouped = units.groupby(by, sort=False, observed=True, dropna=False)
    out = grouped.agg(
        mean=("value", "mean"),
        seeds=("value", "count"),
        s2=("value", "var"),
        w=("w", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        floor=("floor", "mean"),
        ceiling=("ceiling", "mean"),
    )
    several = out["seeds"] > 1
    half = half_width(out["w"].fillna(0.0), out["s2"].fillna(0.0), out["seeds"])
    out["low"] = np.where(several, out["mean"] - half, out["low"])
    out["high"] = np.where(several, out["mean"] + half, out["high"])
    noted = frame[frame["note"].fillna("") != ""]
    notes = (
        noted.groupby([*by, "note"], sort=True, observed=True, dropna=False)
        .size()
        .sort_values(kind="stable")
    )
    notes = notes.reset_index("note")["note"]
    out["note"] = (
        notes[~notes.index.duplicated(keep="last")].reindex(out.index).fillna("")
        if len(notes)
        else ""
    )
    out.loc[
        (frame["note"].fillna("") != "").groupby([frame[b] for b in by], sort=False).mean() <= 0.5,
        "note",
    ] = ""
    out["state"] = _commonest_state(frame, by).reindex(out.index)
    return out.drop(columns=["s2", "w"]).reset_index()


def _commonest_state(frame: pd.DataFrame, by: list[str]) -> pd.Series:
    """For each combination of `by`: OK where half of the rows or more are, else the commonest other
    state.
    """
    keys = [frame[name] for name in by]
    is_ok = frame["state"] == OK
    mostly_ok = is_ok.groupby(keys, sort=False, dropna=False).mean() >= 0.5
    counts = frame[~is_ok].groupby([*by, "state"], sort=True, observed=True, dropna=False).size()
    ranked = counts.sort_values(kind="stable").reset_index("state")["state"]
    others = ranked[~ranked.index.duplicated(keep="last")]
    return others.reindex(mostly_ok.index).where(~mostly_ok, OK).fillna(OK)


def half_width(w, s2, k):
    """Half of the 95% interval from within-cell variance w, between-seed variance s2 and k seeds
    (arrays alike).
    """
    from scipy.stats import t

    w, between, k = (
        np.asarray(w, float),
        np.asarray(s2, float) / np.maximum(k, 1),
        np.asarray(k, float),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(between > 0, np.maximum(k - 1, 1) * (1 + w / between) ** 2, np.inf)
    return t.ppf(0.975, freedom) * np.sqrt(w + between)


def headlines(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, label and metric, as `aggregate` gives them; `column` names what
    the number is about.

    It is the row about the whole table where a metric has one. A metric that names another column
    each time (the worst one) is averaged over seeds as it is. A metric with a row for each column
    is represented by the worst of them.
    """
    rows = rows.assign(column=rows["column"].fillna(""), group=rows["group"].fillna(""))
    rank = (rows["column"] != "").astype(int) + 2 * (rows["group"] != "").astype(int)
    parts = []
    for metric, part in rows.assign(rank=rank).groupby("metric", sort=False):
        part = part[part["rank"] == part.groupby("dataset")["rank"].transform("min")]
        once = not part.duplicated(
            ["dataset", "label", *(name for name in FACTORS if name in part)]
        ).any()
        if once:
            names = part.groupby(["dataset", "label"], sort=False)["column"].agg(
                lambda n: ", ".join(sorted(set(n) - {""}))
            )
            summary = aggregate(part, ["dataset", "label", "metric"])
            summary["column"] = names.reindex(
                pd.MultiIndex.from_frame(summary[["dataset", "label"]])
            ).to_numpy()
            summary["group"] = ""
        else:
            summary = aggregate(part)
            bad = badness(summary["mean"], METRICS.get(metric, UNKNOWN).direction).fillna(-np.inf)
            summary = summary.loc[
                bad.groupby([summary["dataset"], summary["label"]], sort=False).idxmax()
            ]
        parts.append(summary)
    empty = [
        "dataset",
        "label",
        "metric",
        "column",
        "group",
        "mean",
        "seeds",
        "low",
        "high",
        "floor",
        "ceiling",
        "note",
        "state",
    ]
    out = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=empty)
    return in_order(out)


def badness(values: pd.Series, direction: str) -> pd.Series:
    """Values turned so that more is worse; direction as in METRICS."""
    return {"up": -values, "down": values, "zero": values.abs()}[direction]


def ordered(labels: Iterable[str]) -> list[str]:
    """Labels in the order of GENERATORS, unknown ones after them, controls last."""
    place = {name: count for count, name in enumerate(GENERATORS)}
    return sorted(
        set(labels),
        key=lambda text: (is_control(text), place.get(_generator(text), len(place)), text),
    )


def is_control(label: str) -> bool:
    entry = GENERATORS.get(_generator(label))
    return entry is not None and entry.family == "control"


def _generator(label: str) -> str:
    """A label is a registered name, followed by parameters where it ran with several."""
    return re.split(r"[ (,]", label, maxsplit=1)[0]
