"""Tidy rows over cells -> one number a generator and metric, with an interval -> what the generator
may be used for.

A 95% interval over k seeds joins two sources of doubt. Each cell's own interval gives a variance
((high - low) / 3.92)^2; its mean w over the seeds does not shrink with k, because every seed is
scored on the same real test rows. The seeds differ among each other with variance s^2. So: mean +-
t sqrt(w + s^2 / k), where t has the Welch-Satterthwaite degrees of freedom (k - 1) (1 + w k /
s^2)^2: 1.96 where w rules, Student's t of k - 1 degrees where the seeds do. Where there are several
splits, these are the k units, each the mean over its seeds, and Nadeau and Bengio's variance s^2
(1/k + test rows / train rows) takes the place of both where the sizes are known; draws are averaged
within a seed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from workbench.metrics import METRICS, OK, UNKNOWN, in_order

# What may vary between the cells of one dataset and label, outermost first.
FACTORS = (
    "split",
    "seed",
    "draw",
)


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
    if "dataset" in by and rows["dataset"].nunique() > 1:
        # What varies is asked of each dataset: one may have several splits, another a fixed one.
        parts = [aggregate(part, by) for _, part in rows.groupby("dataset", sort=False)]
        return pd.concat(parts, ignore_index=True)
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
    if varying[:1] == ["split"] and "test_per_train" in frame:
        half = over_splits(out["s2"].fillna(0.0), out["seeds"], frame["test_per_train"].mean())
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
    # scipy.special holds the same function, and is imported in a tenth of scipy.stats' time.
    from scipy.special import stdtrit

    w, between, k = (
        np.asarray(w, float),
        np.asarray(s2, float) / np.maximum(k, 1),
        np.asarray(k, float),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(between > 0, np.maximum(k - 1, 1) * (1 + w / between) ** 2, np.inf)
    return stdtrit(freedom, 0.975) * np.sqrt(w + between)


def over_splits(s2, splits, test_per_train: float):
    """Half of the 95% interval of a mean over random splits of one table: their test rows overlap,
    so the variance between them does not shrink to 0 (Nadeau and Bengio 2003).
    """
    # scipy.special holds the same function, and is imported in a tenth of scipy.stats' time.
    from scipy.special import stdtrit

    splits = np.maximum(np.asarray(splits, float), 1)
    freedom = np.maximum(splits - 1, 1)
    return stdtrit(freedom, 0.975) * np.sqrt(np.asarray(s2, float) * (1 / splits + test_per_train))


# A metric with a reading for each column or group, whose headline is one of these: the largest, or
# the one that is furthest from zero for its noise. Signs differ among columns, groups and seeds, so
# each is averaged over the seeds before one is picked: picked first, signs would cancel.
WORST = {
    "bias_amp": ("columns", "largest"),
    "bias_amp_reverse": ("columns", "largest"),
    "model_bias_amp": ("columns", "largest"),
    "cramers_v_shift": ("columns", "largest"),
    "demographic_parity_shift": ("columns", "largest"),
    "equalized_odds_shift": ("columns", "largest"),
    "representation": ("groups", "surest"),
}
EMPTY = (
    *("dataset", "label", "metric", "column", "group", "mean", "seeds"),
    *("low", "high", "floor", "ceiling", "state", "note"),
)


def headlines(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, label and metric, as `aggregate` gives them; `column` and `group`
    name what the number is about.

    A metric in WORST is represented by the worst of its columns or groups, each averaged over the
    seeds, with an interval widened for their number (Bonferroni). Every other one is represented by
    the row about the whole table where it has one. A metric that names another column each time
    (the worst one) is averaged over seeds as it is; one with a row for each column alone is
    represented by the worst of them.
    """
    rows = rows.assign(column=rows["column"].fillna(""), group=rows["group"].fillna(""))
    by_metric = dict(list(rows.groupby("metric", sort=False)))
    tables = {metric: _about_the_table(part) for metric, part in by_metric.items()}
    means = _means(rows, {m: part for m, part in tables.items() if not _is_repeated(part)})
    parts = []
    for metric, part in by_metric.items():
        whole = _whole_table(metric, tables[metric], means.get(metric))
        parts.append(_headline(metric, part, rows, whole))
    out = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(EMPTY))
    return in_order(out)


def _headline(
    metric: str, part: pd.DataFrame, rows: pd.DataFrame, whole: pd.DataFrame
) -> pd.DataFrame:
    """One row for each dataset and label of one metric. whole: what it says of the whole table."""
    if metric not in WORST:
        return whole
    about, how = WORST[metric]
    detail = aggregate(part[subjects(part) == about])
    detail = detail[np.isfinite(detail["mean"])]
    if how == "surest":
        vanished = rows[(rows["metric"] == "vanished_groups") & (rows["group"] != "")]
        picked = surest(detail, vanished)
    else:
        picked = detail.loc[_first(detail["mean"].abs(), detail)]
    # Labels without any such reading keep what the metric says of the whole table: why it has none.
    rest = whole
    found = set(zip(picked["dataset"], picked["label"], strict=True))
    pairs = zip(rest["dataset"], rest["label"], strict=True)
    without = np.array([pair not in found for pair in pairs], dtype=bool)
    return pd.concat([widened(picked, detail), rest[without]], ignore_index=True)


def subject(column: str, group: str) -> str:
    """What a reading is about: the whole "table", "columns", or "groups"."""
    if group:
        return "groups"
    return "columns" if column else "table"


def subjects(rows: pd.DataFrame) -> pd.Series:
    """The `subject` of each row."""
    found = map(subject, rows["column"], rows["group"])
    return pd.Series(found, index=rows.index, dtype=object)


def surest(detail: pd.DataFrame, vanished: pd.DataFrame) -> pd.DataFrame:
    """The reading of each dataset and label that is surest to differ from zero: a group that
    vanished, otherwise the one with the largest ratio of mean to interval.
    """
    half = (detail["high"] - detail["low"]) / 2
    with np.errstate(divide="ignore"):
        size = detail["mean"].abs() / half.where(half > 0)
    # The interval of a group without any synthetic row rests on half a row that was added to it,
    # and says nothing of how sure its loss is.
    keys = ["dataset", "label", "column", "group"]
    lost = set(map(tuple, vanished[keys].drop_duplicates().to_numpy()))
    gone = np.array([tuple(key) in lost for key in detail[keys].to_numpy()], dtype=bool)
    size = size.fillna(0.0).where(~gone, np.inf)
    # Among several that vanished, the commonest in train has the largest reading.
    order = pd.DataFrame({"size": size, "mean": detail["mean"].abs()})
    order = order.sort_values(["size", "mean"], ascending=False, kind="stable")
    first = detail.loc[order.index].drop_duplicates(["dataset", "label"])
    return first.sort_index()


def widened(picked: pd.DataFrame, among: pd.DataFrame) -> pd.DataFrame:
    """The picked readings with intervals that hold for all readings of their dataset and label at
    once (Bonferroni).
    """
    counts = among.groupby(["dataset", "label"], sort=False).size()
    pairs = zip(picked["dataset"], picked["label"], strict=True)
    factor = np.array([simultaneous(counts[pair]) for pair in pairs], dtype=float)
    low, high = stretched(picked, factor)
    return picked.assign(low=low, high=high)


def stretched(readings, factor):
    """Both ends of intervals that are `factor` times as wide: of one reading, or of a table."""
    mean = readings["mean"]
    return mean - factor * (mean - readings["low"]), mean + factor * (readings["high"] - mean)


def simultaneous(count: int) -> float:
    """How much wider 95% intervals must be for `count` of them to hold at once."""
    from scipy.special import ndtri

    return float(ndtri(1 - 0.025 / max(count, 1)) / ndtri(0.975))


def _first(size: pd.Series, table: pd.DataFrame) -> pd.Index:
    """Where each dataset's and label's largest size is."""
    groups = [table["dataset"], table["label"]]
    return pd.Index(size.fillna(-np.inf).groupby(groups, sort=False).idxmax())


def _about_the_table(part: pd.DataFrame) -> pd.DataFrame:
    """A metric's rows about the whole table, or where it has none those about its columns."""
    rank = (part["column"] != "").astype(int) + 2 * (part["group"] != "").astype(int)
    return part[rank == rank.groupby(part["dataset"]).transform("min")]


def _is_repeated(part: pd.DataFrame) -> bool:
    """Whether a cell has several rows."""
    cell = ["dataset", "label", *(name for name in FACTORS if name in part)]
    return bool(part.duplicated(cell).any())


def _means(rows: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """`aggregate` of each metric's table, by metric: all in one call, which takes a tenth of the
    time of a call for each.
    """
    by = ["dataset", "label", "metric"]
    # Where splits vary, or several factors, it matters in which of them this very metric does.
    if not tables or not _only_one_varies(rows):
        return {metric: aggregate(part, by) for metric, part in tables.items()}
    together = aggregate(pd.concat(tables.values()), by)
    parts = together.groupby("metric", sort=False)
    return {str(metric): part.reset_index(drop=True) for metric, part in parts}


def _only_one_varies(rows: pd.DataFrame) -> bool:
    """Whether cells of a dataset and label differ in their seed alone, or in their draw alone."""
    for _, part in rows.groupby("dataset", sort=False):
        varying = [name for name in FACTORS if name in part and part[name].nunique() > 1]
        if len(varying) > 1 or varying == ["split"]:
            return False
    return True


def _whole_table(metric: str, part: pd.DataFrame, summary: pd.DataFrame | None) -> pd.DataFrame:
    """part: rows about the whole table. summary: their means, where each cell has one row."""
    if summary is None:
        summary = aggregate(part)
        bad = badness(summary["mean"], METRICS.get(metric, UNKNOWN).direction)
        return summary.loc[_first(bad, summary)]
    names = part.groupby(["dataset", "label"], sort=False)["column"].agg(_names)
    about = pd.MultiIndex.from_frame(summary[["dataset", "label"]])
    return summary.assign(column=names.reindex(about).to_numpy(), group="")


def _names(columns: pd.Series) -> str:
    return ", ".join(sorted(set(columns) - {""}))


def badness(values: pd.Series, direction: str) -> pd.Series:
    """Values turned so that more is worse; direction as in METRICS."""
    return {"up": -values, "down": values, "zero": values.abs()}[direction]
