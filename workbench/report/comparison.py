"""Sections of the report page that hold generators against each other: what mitigation buys, who is
better, who fails.

Paired cells only: two generators are compared on the same split and seed. Differences are turned so
that above 0 is better (nearer to zero for a bias reading). Within one dataset they carry Nadeau and
Bengio's interval; across datasets the dataset is the unit. Which pair is shown, and how sure one
may be with so few units, is said beside the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.generators import GENERATORS
from workbench.metrics import ERROR, METRICS, titled
from workbench.report import significance
from workbench.report.batch import Batch, Part
from workbench.report.headlines import FACTORS
from workbench.report.html import (
    LABELS,
    Piece,
    footnotes,
    headed,
    html_table,
    image,
    marked,
    pieces,
    scored,
    section,
)
from workbench.words import joined, number, plural

# One question of each family. The same few everywhere, so that nobody picks the metric after the
# reading.
COMPARED = ("pair_trends", "utility_ratio", "bias_amp", "membership_auc")
BOUGHT = (
    "bias_amp",
    "model_bias_amp",
    "cramers_v_shift",
    "demographic_parity_shift",
    "equalized_odds_shift",
    "worst_group",
    "utility_ratio",
    "tstr_auc",
    "marginals",
    "pair_trends",
    "c2st",
)
PAIRS = 60  # listed for one metric, the smallest p first


@section
def mitigation(batch: Batch) -> Piece:
    """Each generator that mitigates bias beside the one it is built on: bias, utility and fidelity,
    and what has changed.
    """
    out = Markup("")
    for part in batch.each():
        every = _scores(batch, part)
        metrics = [
            m for m in BOUGHT if part.heads.loc[part.heads["metric"] == m, "mean"].notna().any()
        ]
        keyed = {(row["label"], row["metric"]): row for row in part.heads.to_dict("records")}
        lines: list[tuple] = []
        sentences: list[tuple[str, str]] = []
        notes: list[str] = []
        shown: set[str] = set()
        for label, inner in _built_on(part.cells):
            if inner not in part.labels or label not in part.labels:
                sentences.append((label, f"is built on {inner}, which is not shown here."))
                continue
            rows = every[every["label"].isin([label, inner])].copy()
            # A signed reading keeps its sign: turned so that more is better, amplifying and dampening
            # a bias by as much would look alike.
            rows["score"] = rows["value"].where(rows["metric"].map(_signed), rows["score"])
            gains = {
                metric: _gain(rows[rows["metric"] == metric], label, inner, _sizes(batch))
                for metric in metrics
            }
            # Several generators may be built on the same one, which needs one line only.
            for one in (inner, label):
                if one not in shown:
                    cells = (
                        scored(keyed.get((one, m)), False, part.labels[one], notes) for m in metrics
                    )
                    lines.append((part.named(one), *cells))
                    shown.add(one)
            cells = (_gain_cell(gain, _signed(metric)) for metric, gain in gains.items())
            pair = pieces().change(batch.named(label), batch.named(inner))
            lines.append((pair, *cells))
            sentences.append((label, f"against {inner}: {_sentence(gains)}."))
        if sentences:
            header = ["Generator", *map(headed, metrics)]
            caption = (
                f"What mitigation buys on {part.name}: changes are paired by split and seed, with"
                " 95% intervals"
            )
            out += (
                part.title
                + pieces().mitigations(sentences)
                + html_table(header, lines, caption, "scores")
            )
            out += footnotes(notes)
    none = "No generator of this report mitigates bias; add reweighed or per-group."
    return Piece(out or pieces().note(none))


def _scores(batch: Batch, part: Part) -> pd.DataFrame:
    """`significance.per_cell` of one dataset, for all metrics that this page compares; once a page."""
    if part.name not in batch.scores:
        rows = _with_failures(batch, part.name, list(part.labels))
        metrics = dict.fromkeys([*COMPARED, *BOUGHT])
        batch.scores[part.name] = significance.per_cell(rows, metrics, batch.heads)
    return batch.scores[part.name]


def _built_on(cells: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The label of each mitigating generator, and of the one it is built on (its name where that
    has no cells).
    """
    for label, generator, params in (
        cells[["label", "generator", "params"]].drop_duplicates().itertuples(index=False)
    ):
        entry = GENERATORS.get(generator)
        if entry is not None and entry.family == "mitigation":
            inner = json.loads(params).get("inner") or vars(entry.load())["inner"]
            yield label, next(iter(cells.loc[cells["generator"] == inner, "label"]), inner)


def _gain(rows: pd.DataFrame, label: str, inner: str, sizes: dict) -> dict | None:
    """The row of `statistics.within` about the two, turned to label - inner."""
    for row in significance.within(rows, sizes):
        if {row["first"], row["second"]} == {label, inner}:
            # `within` names a pair in the rows' order; here the sign says what the change bought.
            turned = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
            return row if row["first"] == label else row | turned
    return None


def _signed(metric: str) -> bool:
    """Whether readings lie on both sides of zero: less of them is another direction, and better
    only for some purposes.
    """
    return metric in METRICS and METRICS[metric].direction == "zero"


def _gain_cell(gain: dict | None, signed: bool = False) -> Markup:
    if gain is None or not np.isfinite(gain["difference"]):
        return pieces().lacking("not measured")
    sign = "+" if gain["difference"] > 0 else ""
    low, high = "", ""
    if np.isfinite(gain["low"]):
        low, high = number(gain["low"]), number(gain["high"])
    return pieces().gain(sign + number(gain["difference"]), low, high, _word(gain, signed))


def _word(gain: dict, signed: bool) -> str:
    if not np.isfinite(gain["low"]):
        return "no interval"
    above, below = ("higher", "lower") if signed else ("better", "worse")
    return above if gain["low"] > 0 else below if gain["high"] < 0 else "no clear difference"


def _sentence(gains: dict[str, dict | None]) -> str:
    """Which metrics have clearly changed, and how many have not."""
    found: dict[str, list[str]] = {}
    for metric, gain in gains.items():
        if gain is not None and np.isfinite(gain["difference"]):
            word = _word(gain, _signed(metric))
            found.setdefault(word, []).append(f"{titled(metric)} ({number(gain['difference'])})")
    clauses = [
        f"{word} on {joined(n) if not word.startswith('no') else plural(len(n), 'metric')}"
        for word, n in found.items()
    ]
    return "; ".join(clauses) or "nothing measured on both"


@section
def comparison(batch: Batch) -> Piece:
    """Differences to the best generator of each dataset; with several datasets the tests across
    them.
    """
    out = Markup("")
    for part in batch.each():
        rows = _scores(batch, part)
        rows = rows[rows["metric"].isin(COMPARED)]
        table = _behind(part, rows, _sizes(batch))
        out += (part.title + table + _components(part, rows)) if table else Markup("")
    if len(batch.datasets) > 1:
        out += _across(batch)
    none = "Not compared: it takes two generators with a reading of the same metric."
    return Piece(out or pieces().note(none))


def _behind(part: Part, rows: pd.DataFrame, sizes: dict) -> Markup:
    """How far each generator lies behind the best one, by metric."""
    columns, caveats, names = {}, set(), [label for label in part.labels if not part.control(label)]
    for metric, of in rows.groupby("metric", sort=False):
        mean = of.groupby("label", sort=False)["score"].mean().dropna()
        if len(mean) < 2:
            continue
        best = mean.idxmax()
        gains = {
            label: _gain(of[of["label"].isin([label, best])], label, best, sizes)
            for label in mean.index
            if label != best
        }
        caveats |= {gain["caveat"] for gain in gains.values() if gain and gain["caveat"]}
        columns[metric] = {best: pieces().best()} | {
            k: _gain_cell(gain) for k, gain in gains.items()
        }
    if not columns:
        return Markup("")
    lines = []
    for k in names:
        gained = [cells.get(k, _gain_cell(None)) for cells in columns.values()]
        lines.append((part.named(k), *gained))
    caption = (
        f"How far each generator lies behind the best one on {part.name}: paired difference, 95%"
        " interval"
    )
    table = html_table(["Generator", *map(marked, columns)], lines, caption, "scores")
    caveats |= {
        "the best one is picked on these very numbers, and the intervals are not widened for their"
        " number"
    }
    return table + footnotes([f"{caveat[0].upper()}{caveat[1:]}." for caveat in sorted(caveats)])


def _components(part: Part, rows: pd.DataFrame) -> Markup:
    """Where the spread of a generator's scores comes from, as standard deviations; "" where each
    has one cell.
    """
    varying = [name for name in FACTORS if name in rows and rows[name].nunique() > 1]
    if not varying:
        return Markup("")
    found = {
        (m, row["label"]): row
        for m, of in rows.groupby("metric", sort=False)
        for row in significance.components(of)
    }
    metrics = list(dict.fromkeys(metric for metric, _ in found))
    lines = []
    for label in [label for label in part.labels if not part.control(label)]:
        cells = []
        for metric in metrics:
            row = found.get((metric, label))
            due = [f"{name} {number(np.sqrt(row[name]))}" for name in varying] if row else ["–"]
            cells.append(", ".join(due))
        lines.append((part.named(label), *cells))
    caption = (
        f"Standard deviation of the scores on {part.name} that is due to each of:"
        f" {', '.join(varying)}"
    )
    return html_table(["Generator", *map(marked, metrics)], lines, caption, "text")


def _across(batch: Batch) -> Markup:
    """Friedman's test, mean ranks and pairs over all datasets, failed cells last and complete
    case.
    """
    labels = batch.ordered(batch.cells["label"])
    labels = [label for label in labels if not batch.control(label)][:LABELS]
    tables = significance.across(_with_failures(batch, None, labels), COMPARED, _sizes(batch))
    if not len(tables["pairs"]):
        return Markup("")
    cards, details = [], Markup("")
    friedman = tables["friedman"].groupby(["metric", "handling"], sort=False)
    for (metric, handling), found in friedman:
        row = found.iloc[0]
        if not row["datasets"]:  # every dataset has a failed cell: there is no complete case
            continue
        own = {}
        for name in ("ranks", "pairs"):
            indexed = tables[name].set_index(["metric", "handling"])
            own[name] = indexed.loc[[(metric, handling)]]
        # One figure a metric. Leaving datasets with a failed cell out favours who fails, so the
        # handling that counts failures is the one that is drawn.
        if handling == significance.FAILED_LAST:
            cards.append(_ranks_card(row, own["ranks"]))
        details += _pairs_folded(batch, row, own["pairs"])
    rope = (
        f"Equal in practice: a new dataset's difference lies within ±{significance.ROPE:g}"
        " (Bayesian signed-rank test)."
    )
    out = pieces().heading("Tests across datasets") + _friedman_table(tables["friedman"])
    return out + pieces().cards(cards, True) + details + pieces().note(rope)


def _friedman_table(found: pd.DataFrame) -> Markup:
    """Whether any of the generators differ, by metric and by how failed cells are counted."""
    lines = []
    for row in found.to_dict("records"):
        tested = map(number, (row["statistic"], row["critical_difference"]))
        lines.append(
            (titled(row["metric"]), row["handling"], row["datasets"], *tested, _p(row["p"]))
        )
    header = ["Metric", "Failed cells", "Datasets", "Friedman's chi squared"]
    header += ["Critical difference", "p"]
    caption = "Do any of the generators differ? Friedman's test, the dataset as the unit"
    return html_table(header, lines, caption, "text")


def _ranks_card(row: pd.Series, found: pd.DataFrame) -> Markup:
    """The critical-difference diagram of one metric."""
    from workbench.report.plots import critical_difference

    ranks = dict(found[["label", "rank"]].itertuples(index=False))
    about = f"{titled(row['metric'])}, {row['handling']}"
    listed = ", ".join(f"{label} {rank:.2f}" for label, rank in ranks.items())
    spoken = (
        f"Mean ranks of {about}, over {plural(row['datasets'], 'dataset')}: {listed}."
        f" {row['caveat'].capitalize()}."
    )
    caption = pieces().caption(marked(row["metric"]), row["caveat"] or row["handling"])
    figure = critical_difference(ranks, row["critical_difference"])
    return image(figure, spoken, caption, f"ranks {about}")


def _pairs_folded(batch: Batch, row: pd.Series, found: pd.DataFrame) -> Markup:
    """The pairs of one metric, those that differ most surely first; closed, for they are many."""
    pairs = found.sort_values("holm_p", kind="stable").head(PAIRS).to_dict("records")
    lines = []
    for pair in pairs:
        posterior = []
        for name in ("first_better", "practically_equal", "second_better"):
            posterior.append(f"{pair[name]:.0%}" if np.isfinite(pair[name]) else "–")
        named = pieces().pair(batch.named(pair["first"]), batch.named(pair["second"]))
        tested = (number(pair["difference"]), _p(pair["holm_p"]), _p(pair["nemenyi_p"]))
        lines.append((named, *tested, *posterior))
    header = ["Pair", "Mean difference", "Wilcoxon p (Holm)", "Nemenyi p"]
    header += ["First better", "Equal in practice", "Second better"]
    about = f"{titled(row['metric'])}, {row['handling']}"
    caption = f"Pairs: {about}; the last three are posterior probabilities"
    shown = f"{len(lines)} of {plural(len(found), 'pair')}"
    summary = marked(row["metric"]) + f", {row['handling']}: {shown}"
    return pieces().folded(summary, html_table(header, lines, caption, "text"))


@section
def success(batch: Batch) -> Piece:
    """How often each generator gave a score, and its means over finished cells alone."""
    cells = batch.cells[batch.cells["status"] != "pending"]
    if not (cells["status"] != "ok").any():
        return Piece(pieces().paragraph(f"Success rate: 100% of {plural(len(cells), 'cell')}."))
    labels = batch.ordered(cells["label"])[:LABELS]
    rows = significance.per_cell(_with_failures(batch, None, labels))
    rows = rows[rows["metric"].isin(COMPARED)]
    # Each dataset counts once, however many of its cells finished.
    means = (
        rows.groupby(["label", "metric", "dataset"])["score"].mean().groupby(level=[0, 1]).mean()
    )
    metrics = [m for m in COMPARED if m in set(rows["metric"])]
    lines = []
    for label in labels:
        ok = cells.loc[cells["label"] == label, "status"] == "ok"
        shown = []
        for metric in metrics:
            sign = 1 if METRICS[metric].direction == "up" else -1
            shown.append(number(sign * means.get((label, metric), np.nan)))
        lines.append((batch.named(label), f"{ok.mean():.0%}, {ok.sum()} of {len(ok)}", *shown))
    caption = (
        "Success rate; then means over finished cells alone. Tests across datasets rank failures"
        " last"
    )
    header = ["Generator", "Success rate", *map(marked, metrics)]
    return Piece(html_table(header, lines, caption, "text"))


def _with_failures(batch: Batch, dataset: str | None, labels: list[str]) -> pd.DataFrame:
    """The rows of these labels, and a row without a metric for each of their cells that gave no
    score.
    """
    failed = batch.cells[~batch.cells["status"].isin(["ok", "pending"])]
    failed = failed.assign(
        metric="",
        column="",
        group="",
        value=np.nan,
        low=np.nan,
        high=np.nan,
        floor=np.nan,
        state=ERROR,
        note=failed["reason"],
    )
    keep = ["dataset", "generator", "label", *(name for name in FACTORS if name in batch.rows)]
    keep += ["metric", "column", "group", "value", "low", "high", "floor", "state", "note"]
    rows = pd.concat([batch.rows[keep], failed[keep]], ignore_index=True)
    return rows[rows["label"].isin(labels) & ((rows["dataset"] == dataset) | (dataset is None))]


def _sizes(batch: Batch) -> dict[str, tuple[int, int]]:
    sizes = batch.cells.groupby("dataset")[["train_rows", "test_rows"]].mean().dropna()
    return {
        name: (round(train), round(test))
        for name, (train, test) in zip(sizes.index, sizes.to_numpy(), strict=True)
    }


def _p(value: float) -> str:
    return "–" if not np.isfinite(value) else "below 0.001" if value < 0.001 else f"{value:.3f}"
