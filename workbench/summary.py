"""Tidy rows over cells -> one number a generator and metric, with an interval -> what the generator may be used for.

A 95% interval over k seeds joins two sources of doubt. Each cell's own interval gives a variance ((high - low) / 3.92)^2;
its mean w over the seeds does not shrink with k, because every seed is scored on the same real test rows. The seeds
differ among each other with variance s^2. So: mean +- t sqrt(w + s^2 / k), where t has the Welch-Satterthwaite degrees
of freedom (k - 1) (1 + w k / s^2)^2: 1.96 where w rules, Student's t of k - 1 degrees where the seeds do.
Where there are several splits, these are the k units, each the mean over its seeds; draws are averaged within a seed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.generators import GENERATORS
from workbench.metrics import METRICS, Metric, in_order

FACTORS = ("split", "seed", "draw")  # what may vary between the cells of one dataset and label, outermost first
FAMILIES = ("fidelity", "utility", "bias", "privacy")
UNKNOWN = Metric("", "fidelity", "up", "")


def aggregate(rows: pd.DataFrame, by: Iterable[str] = ("dataset", "label", "metric", "column", "group")) -> pd.DataFrame:
    """One row for each combination of `by`: mean, low, high (the interval above), floor, ceiling, seeds, note.

    Missing values are left out of the mean; `seeds` counts the units in it. With one unit the interval is the cell's own.
    `note` is one that most rows carry a like of (the most frequent), "" where half of them carry none.
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
        mean=("value", "mean"), seeds=("value", "count"), s2=("value", "var"), w=("w", "mean"),
        low=("low", "mean"), high=("high", "mean"), floor=("floor", "mean"), ceiling=("ceiling", "mean"),
    )  # fmt: skip
    several = out["seeds"] > 1
    half = half_width(out["w"].fillna(0.0), out["s2"].fillna(0.0), out["seeds"])
    out["low"] = np.where(several, out["mean"] - half, out["low"])
    out["high"] = np.where(several, out["mean"] + half, out["high"])
    noted = frame[frame["note"].fillna("") != ""]
    notes = noted.groupby([*by, "note"], sort=True, observed=True, dropna=False).size().sort_values(kind="stable")
    notes = notes.reset_index("note")["note"]
    out["note"] = notes[~notes.index.duplicated(keep="last")].reindex(out.index).fillna("") if len(notes) else ""
    out.loc[(frame["note"].fillna("") != "").groupby([frame[b] for b in by], sort=False).mean() <= 0.5, "note"] = ""
    return out.drop(columns=["s2", "w"]).reset_index()


def half_width(w, s2, k):
    """Half of the 95% interval from within-cell variance w, between-seed variance s2 and k seeds (arrays alike)."""
    from scipy.stats import t

    w, between, k = np.asarray(w, float), np.asarray(s2, float) / np.maximum(k, 1), np.asarray(k, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(between > 0, np.maximum(k - 1, 1) * (1 + w / between) ** 2, np.inf)
    return t.ppf(0.975, freedom) * np.sqrt(w + between)


def headlines(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, label and metric, as `aggregate` gives them; `column` names what the number is about.

    It is the row about the whole table where a metric has one. A metric that names another column each time (the worst
    one) is averaged over seeds as it is. A metric with a row for each column is represented by the worst of them.
    """
    rows = rows.assign(column=rows["column"].fillna(""), group=rows["group"].fillna(""))
    rank = (rows["column"] != "").astype(int) + 2 * (rows["group"] != "").astype(int)
    parts = []
    for metric, part in rows.assign(rank=rank).groupby("metric", sort=False):
        part = part[part["rank"] == part.groupby("dataset")["rank"].transform("min")]
        once = not part.duplicated(["dataset", "label", *(name for name in FACTORS if name in part)]).any()
        if once:
            names = part.groupby(["dataset", "label"], sort=False)["column"].agg(lambda n: ", ".join(sorted(set(n) - {""})))
            summary = aggregate(part, ["dataset", "label", "metric"])
            summary["column"] = names.reindex(pd.MultiIndex.from_frame(summary[["dataset", "label"]])).to_numpy()
            summary["group"] = ""
        else:
            summary = aggregate(part)
            bad = badness(summary["mean"], METRICS.get(metric, UNKNOWN).direction).fillna(-np.inf)
            summary = summary.loc[bad.groupby([summary["dataset"], summary["label"]], sort=False).idxmax()]
        parts.append(summary)
    empty = ["dataset", "label", "metric", "column", "group", "mean", "seeds", "low", "high", "floor", "ceiling", "note"]
    out = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=empty)
    return in_order(out)


def badness(values: pd.Series, direction: str) -> pd.Series:
    """Values turned so that more is worse; direction as in METRICS."""
    return {"up": -values, "down": values, "zero": values.abs()}[direction]


def ordered(labels: Iterable[str]) -> list[str]:
    """Labels in the order of GENERATORS, unknown ones after them, controls last."""
    place = {name: count for count, name in enumerate(GENERATORS)}
    return sorted(set(labels), key=lambda text: (is_control(text), place.get(_generator(text), len(place)), text))


def titled(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric


def shortened(text: object, most: int) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def handle(*names: str) -> str:
    """A short id for a label, or for a dataset's label, that is safe in HTML, SVG and CSS, whatever the names hold."""
    return "g" + hashlib.sha256("\0".join(names).encode()).hexdigest()[:10]


def is_control(label: str) -> bool:
    entry = GENERATORS.get(_generator(label))
    return entry is not None and entry.family == "control"


def _generator(label: str) -> str:
    """A label is a registered name, followed by parameters where it ran with several."""
    return re.split(r"[ (,]", label, maxsplit=1)[0]


@dataclass(frozen=True)
class Gate:
    """A tolerance on one metric's headline: "at least", "at most" or "within" (plus or minus) `limit`.

    With `claim`, the limit is the value of that metric, and there is no gate where it has none. The reading is then a lower
    bound that already holds with 95% confidence: it decides by itself.
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
        """A state (meets, fails, undecided, not measured) and the words for it; the interval decides where there is one."""
        if row is None:
            return "not measured", f"{self.title} is not measured"
        if not np.isfinite(row["mean"]):
            return "not measured", f"{self.title}: {row['note'] or 'no value'}"
        low, high = (row["mean"] if self.claim or not np.isfinite(row[end]) else row[end] for end in ("low", "high"))
        limit = self.limit
        inside, outside = {
            "at least": (low >= limit, high < limit),
            "at most": (high <= limit, low > limit),
            "within": (-limit <= low and high <= limit, low > limit or high < -limit),
        }[self.test]
        if row["note"].startswith("not informative"):
            return "undecided", f"{self.title}: {row['note']}"
        told = f"{self.title} {interval(row)}, asked: {self.test} {'±' if self.test == 'within' else ''}{limit:g}"
        return ("meets" if inside else "fails" if outside else "undecided"), told


# Fixed beforehand. DCR share is no gate: tables that pass distance checks have been shown to leak their members.
USES: dict[str, tuple[str, tuple[Gate, ...]]] = {
    "share": (
        "Share the table with others",
        (
            Gate("excess_copies", "at most", 0.005, "excess copies"),
            Gate("membership_auc", "at most", 0.55, "membership inference"),
            Gate("attack_risk", "at most", 0.3, "the worst attack's risk"),
            Gate("empirical_epsilon", "at most", np.nan, "epsilon shown by an attack against the claimed one", "epsilon"),
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
    "augment": ("Add rows to the real ones", (Gate("augmentation_gain", "at least", 0.0, "augmentation gain"),)),
}


def verdicts(heads: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """One row for each row of `labels` (dataset, label) and use: its state, the gates that decide it, the reason in words.

    A use fails with its first failing gate, is undecided where an interval straddles a limit, and counts as not measured
    while any of its gates is. Gates that do not apply (no sensitive column, a regression target) are left out.
    """
    known = {(row["dataset"], row["label"], row["metric"]): row for row in heads.to_dict("records")}
    records = []
    for dataset, label in labels[["dataset", "label"]].itertuples(index=False):
        for use, (_, gates) in USES.items():
            own = [gate.against(known.get((dataset, label, gate.claim))) for gate in gates]
            rows = [(gate, known.get((dataset, label, gate.metric))) for gate in own if gate]
            apply = [(gate, row) for gate, row in rows if row is None or not row["note"].startswith("not applicable")]
            read = [(gate.title, *gate.read(row)) for gate, row in apply or rows]
            state = next(s for s in ("fails", "undecided", "not measured", "meets") if any(s == got for _, got, _ in read))
            # Where a gate is missing, the others are told too: a use that is not measured may still be half cleared.
            told = [words for _, got, words in read if got == state or (state == "not measured" and got == "meets")]
            gates_named = [title for title, got, _ in read if got == state]
            records.append((dataset, label, use, state, gates_named, "; ".join(told)))
    return pd.DataFrame(records, columns=["dataset", "label", "use", "state", "gates", "reason"])


def number(value: float) -> str:
    """Three decimals, fewer for large numbers, with a true minus sign.

    >>> number(0.91234), number(-0.0004), number(12345.6), number(float("nan"))
    ('0.912', '0.000', '12,346', '–')
    """
    if not np.isfinite(value):
        return "–"
    digits = 3 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{round(float(value), digits) + 0.0:,.{digits}f}".replace("-", "−")


def interval(row) -> str:
    """ "0.912 [0.900, 0.924]", or the number alone where there is no interval."""
    told = number(row["mean"])
    bounded = np.isfinite(row["low"]) and np.isfinite(row["high"])
    return f"{told} [{number(row['low'])}, {number(row['high'])}]" if bounded else told
