"""A finished or half-finished batch -> one HTML page that opens offline.

`report` lets papermill run notebooks/report.ipynb on a report folder and exports what it shows. The functions below are
that notebook's cells: each takes a Batch and returns one piece of the page. Every value is escaped; no piece reads
anything but the batch's rows and cells.
"""

from __future__ import annotations

import base64
import io
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench import results, summary
from workbench.metrics import METRICS
from workbench.schema import InputError
from workbench.summary import FAMILIES, UNKNOWN, USES, interval, number

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "report.ipynb"
SHOWN_DATASETS, SHOWN_LABELS, SHOWN_GROUPS, SHOWN_FAILURES, SHOWN_HASHES = 4, 24, 12, 50, 100
STATES = {"meets": "✓", "fails": "✗", "undecided": "≈", "not measured": "○"}
DIRECTION = {"up": "higher is better", "down": "lower is better", "zero": "zero is best"}
BETTER = {"up": "↑", "down": "↓", "zero": "→ 0"}


def report(folder: str | Path) -> Path:
    """Write FOLDER/index.html (and the executed FOLDER/report.ipynb) from whatever its batch has finished; return its path.

    Raises InputError where the folder holds no cells yet or cannot be written.
    """
    import papermill

    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds a grid.toml.")
    title = results.plan(folder).get("title") or folder.name
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as scratch:
            executed, page = Path(scratch) / "report.ipynb", Path(scratch) / "index.html"
            papermill.execute_notebook(
                str(NOTEBOOK),
                str(executed),
                {"folder": str(folder)},
                kernel_name="python3",
                progress_bar=False,
                log_output=False,
            )
            page.write_text(to_html(executed, title=f"{title}: synthetic tables measured"), encoding="utf-8")
            for made in (executed, page):
                os.replace(made, folder / made.name)
    except PermissionError as error:
        raise InputError(f"{folder} is not writable ({error.strerror}); give a folder that is.") from None
    return folder / "index.html"


def to_html(notebook: Path, title: str, language: str = "en") -> str:
    """An executed notebook as one standalone HTML text: prose and results without code, styles inside, no scripts."""
    from nbconvert import HTMLExporter

    template = (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(raw_template=template, mathjax_url="", require_js_url="", exclude_input=True)
    text, _ = exporter.from_filename(str(notebook), resources={"page": {"title": title, "language": language}})
    return text


@dataclass
class Batch:
    """What a page is made of: the rows and cells of a report folder, and the headlines that follow from them."""

    title: str
    rows: pd.DataFrame
    cells: pd.DataFrame
    heads: pd.DataFrame
    versions: Mapping[str, str]

    @classmethod
    def read(cls, folder: str | Path) -> Batch:
        folder = Path(folder).resolve()
        rows, cells = results.read_report(folder), results.cells(folder)
        finished = cells.loc[cells["status"] == "ok", "key"]
        versions = results.manifest(folder, finished.iloc[0])["versions"] if len(finished) else {}
        return cls.of(rows, cells, results.plan(folder).get("title") or folder.name, versions)

    @classmethod
    def of(cls, rows: pd.DataFrame, cells: pd.DataFrame, title: str, versions: Mapping[str, str] | None = None) -> Batch:
        rows = rows[rows["metric"] != ""]
        return cls(title, rows, cells, summary.headlines(rows), versions or {})

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(self.cells["dataset"]))

    @property
    def shown(self) -> list[str]:
        return self.datasets[:SHOWN_DATASETS]

    def labels(self, dataset: str) -> list[str]:
        """The dataset's generators in page order; beyond SHOWN_LABELS the rest is left to the notebook."""
        return summary.ordered(self.cells.loc[self.cells["dataset"] == dataset, "label"])[:SHOWN_LABELS]

    def status(self, dataset: str, label: str) -> str:
        """ "" where every cell is ok, otherwise words like "2 of 3 failed (timeout)"."""
        cells = self.cells[(self.cells["dataset"] == dataset) & (self.cells["label"] == label)]
        bad = cells.loc[cells["status"] != "ok", "status"]
        return f"{len(bad)} of {len(cells)} {', '.join(sorted(set(bad)))}" if len(bad) else ""


class Piece(Markup):
    """HTML that a notebook shows as such; its `repr` is short, so that saved notebooks stay small."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<{len(self)} characters of HTML>"


def head(batch: Batch) -> Piece:
    """One line of run facts, and what the page leaves out."""
    count = batch.cells["status"].value_counts()
    seeds = batch.cells.groupby(["dataset", "label"])["seed"].nunique()
    ran = batch.cells["label"].unique()
    controls = sum(map(summary.is_control, ran))
    span = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    told = [
        _plural(len(batch.datasets), "dataset"),
        _plural(len(ran) - controls, "generator") + (f" and {_plural(controls, 'control')}" if controls else ""),
        f"{span} seed{'' if span == '1' else 's'} each",
        f"{count.get('ok', 0)} of {_plural(len(batch.cells), 'cell')} finished"
        + "".join(f", {n} {status}" for status, n in count.items() if status != "ok"),
    ]
    out = Markup('<p class="facts"><strong>{}</strong>: {}.</p>').format(batch.title, " · ".join(told))
    if len(batch.datasets) > SHOWN_DATASETS:
        out += Markup('<p class="note">Figures and tables by dataset are shown for the first {} of {} datasets.</p>').format(
            SHOWN_DATASETS, len(batch.datasets)
        )
    if max((batch.cells[batch.cells["dataset"] == d]["label"].nunique() for d in batch.shown), default=0) > SHOWN_LABELS:
        out += Markup('<p class="note">For each dataset the first {} generators are shown.</p>').format(SHOWN_LABELS)
    return Piece(out)


def verdict_section(batch: Batch) -> Piece:
    """One sentence a use, then a table of generators and uses that names the failing gate."""
    pairs = batch.cells[["dataset", "label"]].drop_duplicates()
    table = summary.verdicts(batch.heads, pairs)
    parts = []
    if len(batch.datasets) > 1:
        counts = table.groupby(["label", "use"])["state"].value_counts().unstack(fill_value=0)
        rows = []
        for name in summary.ordered(table["label"])[:SHOWN_LABELS]:
            cells = []
            for use in USES:
                got = counts.loc[(name, use)]
                cells.append(", ".join(f"{STATES[state]} {state} on {got[state]}" for state in STATES if got.get(state, 0)))
            rows.append((_name(name), *cells))
        parts.append(_table(["Generator", *(USES[use][0] for use in USES)], rows, f"Uses over {len(batch.datasets)} datasets"))
    for dataset in batch.shown:
        part = table[(table["dataset"] == dataset) & table["label"].isin(batch.labels(dataset))]
        sentences = [_sentence(use, part[(part["use"] == use) & ~part["label"].map(summary.is_control)]) for use in USES]
        own = part[~part["label"].map(summary.is_control)]
        fails = own.groupby("label")["state"].agg(lambda states: "fails" in set(states) and "meets" not in set(states))
        useless = [name for name in batch.labels(dataset) if fails.get(name, False)]
        told = (
            f"{_listed(useless)}: at least one gate fails and no use is supported." if useless else "no generator is ruled out."
        )
        sentences.append(Markup("<li><strong>None of these.</strong> {}</li>").format(told[:1].upper() + told[1:]))
        rows = []
        for name in batch.labels(dataset):
            states = part[part["label"] == name].set_index("use")
            rows.append((_name(name), *(_state(states.loc[use]) for use in USES)))
        body = Markup('<ul class="verdicts">{}</ul>').format(Markup("").join(sentences))
        caption = f"What each table of {dataset} may be used for, and the gate that decides"
        parts.append(
            _dataset(batch, dataset) + body + _table(["Generator", *(USES[u][0] for u in USES)], rows, caption, "wide text")
        )
    return Piece(Markup("").join(parts))


def _sentence(use: str, part: pd.DataFrame) -> Markup:
    title, gates = USES[use]
    names = {state: summary.ordered(part.loc[part["state"] == state, "label"]) for state in STATES}
    told = []
    if names["meets"]:
        told.append(f"{_listed(names['meets'])} {_verb(names['meets'], 'meets', 'meet')} every gate")
    if names["fails"]:
        gate = [g.title for g in gates if part.loc[part["state"] == "fails", "reason"].str.contains(g.title, regex=False).any()]
        told.append(f"{_listed(names['fails'])} {_verb(names['fails'], 'fails', 'fail')} on {_listed(gate)}")
    if names["undecided"]:
        told.append(
            f"{_listed(names['undecided'])} {_verb(names['undecided'], 'is', 'are')} undecided: an interval straddles a limit"
        )
    if names["not measured"]:
        missing = sorted({reason for reason in part.loc[part["state"] == "not measured", "reason"]})
        who = "no generator is cleared" if len(names["not measured"]) == len(part) else _listed(names["not measured"])
        told.append(
            f"not measured for {who}: {missing[0]}" if who != "no generator is cleared" else f"not measured: {missing[0]}"
        )
    told = told or ["no generator was run"]
    text = "; ".join(told)
    return Markup("<li><strong>{}.</strong> {}.</li>").format(title, text[:1].upper() + text[1:])


def strip_section(batch: Batch) -> Piece:
    """Every headline metric as a small figure, by family."""
    from workbench import plots

    parts = []
    for dataset in batch.shown:
        labels = batch.labels(dataset)
        rows = batch.rows[(batch.rows["dataset"] == dataset) & batch.rows["label"].isin(labels)]
        heads = batch.heads[(batch.heads["dataset"] == dataset) & batch.heads["label"].isin(labels)]
        parts.append(_dataset(batch, dataset))
        for family in FAMILIES:
            cards = []
            for metric in [m for m in heads["metric"].unique() if METRICS.get(m, UNKNOWN).family == family]:
                figure = plots.strips(rows[rows["metric"] == metric], [metric], labels=labels)
                entry = METRICS.get(metric, UNKNOWN)
                caption = Markup("<strong>{}</strong> <span>{}</span>").format(
                    entry.title or metric, DIRECTION[entry.direction]
                )
                cards.append(_figure(figure, _spoken(heads[heads["metric"] == metric], metric, dataset), caption))
            if cards:
                parts.append(Markup('<h4>{}</h4><div class="cards">{}</div>').format(family.title(), Markup("").join(cards)))
    return Piece(Markup("").join(parts))


def tradeoff_section(batch: Batch) -> Piece:
    from workbench import plots

    parts = []
    for dataset in batch.shown:
        rows = batch.rows[(batch.rows["dataset"] == dataset) & batch.rows["label"].isin(batch.labels(dataset))]
        try:
            figure = plots.tradeoff(rows)
        except InputError as error:
            parts.append(_dataset(batch, dataset) + Markup('<p class="note">Not drawn: {}</p>').format(str(error)))
            continue
        heads = batch.heads[batch.heads["dataset"] == dataset]
        alt = "Utility against closeness to the training rows. " + " ".join(
            _spoken(heads[heads["metric"] == metric], metric, dataset)
            for metric in ("utility_ratio", "dcr_share", "excess_copies") if metric in set(heads["metric"])
        )  # fmt: skip
        caption = "Up: more useful to a learner. Right: closer to the training rows. Hollow grey marks are controls."
        parts.append(_dataset(batch, dataset) + _figure(figure, alt, caption, "wide"))
    return Piece(Markup("").join(parts))


def score_section(batch: Batch) -> Piece:
    """The table of generators and metrics: mean over seeds, interval, floor, ceiling; the best in each column is marked."""
    parts = [_across(batch)] if len(batch.datasets) > 1 else []
    for dataset in batch.shown:
        heads = batch.heads[batch.heads["dataset"] == dataset]
        metrics, notes = list(heads["metric"].unique()), []
        keyed = {(row["label"], row["metric"]): row for row in heads.to_dict("records")}
        best = {metric: _best(heads[heads["metric"] == metric], metric) for metric in metrics}
        rows = []
        for name in batch.labels(dataset):
            status, cells = batch.status(dataset, name), []
            for metric in metrics:
                cells.append(_score(keyed.get((name, metric)), name in best[metric], status, notes))
            rows.append((_name(name, status), *cells))
        for end, told in (("ceiling", "Ceiling: a fresh real sample"), ("floor", "Floor: what the metric sees is destroyed")):
            means = heads.groupby("metric")[end].mean()
            rows.append((Markup("<em>{}</em>").format(told), *(number(means[metric]) for metric in metrics)))
        header = [_metric_head(metric) for metric in metrics]
        out = _table(["Generator", *header], rows, f"Scores on {dataset}: mean over seeds, 95% interval below", "wide scores")
        listed = Markup("").join(Markup("<li value={}>{}</li>").format(place, note) for place, note in enumerate(notes, 1))
        notes_html = Markup('<ol class="notes">{}</ol>').format(listed) if notes else Markup("")
        parts.append(_dataset(batch, dataset) + out + notes_html)
    return Piece(Markup("").join(parts))


def _across(batch: Batch) -> Markup:
    """Mean normalised score over datasets, (value - floor) / (ceiling - floor), where floor and ceiling differ."""
    heads = batch.heads
    gap = heads["ceiling"] - heads["floor"]
    usable = heads.assign(score=(heads["mean"] - heads["floor"]) / gap.where(gap.abs() > 1e-9))
    usable = usable[~usable["note"].map(_uninformative)]
    mean = usable.groupby(["label", "metric"])["score"].agg(["mean", "count"])
    metrics = [m for m in heads["metric"].unique() if METRICS.get(m, UNKNOWN).direction != "zero"]
    ran = batch.cells.groupby("label")["dataset"].nunique()
    finished = batch.cells[batch.cells["status"] == "ok"].groupby("label")["dataset"].nunique()
    rows = []
    for name in summary.ordered(batch.cells["label"].unique())[:SHOWN_LABELS]:
        cells = []
        for metric in metrics:
            got = mean.loc[(name, metric)] if (name, metric) in mean.index else None
            told = (
                Markup("{}<small>{} datasets</small>").format(number(got["mean"]), int(got["count"]))
                if got is not None
                else "–"
            )
            cells.append(told)
        rows.append((_name(name), f"{finished.get(name, 0)} of {ran[name]}", *cells))
    note = Markup(
        '<h3>Across datasets</h3><p class="note">Mean over datasets of (score − floor) / (ceiling − floor): '
        "1 is a fresh real sample, 0 is the floor. Complete cases; the second column shows how many there are.</p>"
    )
    header = ["Generator", "Datasets finished", *(METRICS[m].title if m in METRICS else m for m in metrics)]
    return note + _table(header, rows, f"Normalised scores over {len(batch.datasets)} datasets", "wide scores")


def bias_section(batch: Batch) -> Piece:
    """Amplification by sensitive column and group, representation by group, change in association, fairness shifts."""
    from workbench import plots

    parts = []
    for dataset in batch.shown:
        labels = batch.labels(dataset)
        rows = batch.rows[(batch.rows["dataset"] == dataset) & batch.rows["label"].isin(labels)]
        rows = rows[rows["metric"].map(lambda name: METRICS.get(name, UNKNOWN).family == "bias")]
        parts.append(_dataset(batch, dataset))
        if not rows["value"].notna().any():
            why = sorted(set(rows["note"]) - {""}) or ["no sensitive column is declared for this dataset"]
            parts.append(Markup('<p class="note">Not measured: {}.</p>').format(why[0].rstrip(".")))
            continue
        table = summary.aggregate(rows)
        cards = []
        for metric in ("bias_amp", "model_bias_amp"):
            part = rows[(rows["metric"] == metric) & rows["value"].notna()]
            for key in _bias_keys(part, rows):
                chosen = part[(part["column"] == key[0]) & (part["group"] == key[1])]
                readings = table[(table["metric"] == metric) & (table["column"] == key[0]) & (table["group"] == key[1])]
                title = METRICS[metric].title if metric in METRICS else metric
                about = key[1] or key[0] or "all sensitive columns"
                caption = Markup("<strong>{}</strong> <span>{}</span>").format(about, title)
                figure = plots.bias_by_group(pd.concat([chosen, part[part["column"] == ""]]), metric, keys=[key])
                cards.append(_figure(figure, _signed(readings, f"{title}, {about}, {dataset}"), caption))
        parts.append(Markup('<div class="cards">{}</div>').format(Markup("").join(cards)))
        sentences = _amplifiers(batch.heads[(batch.heads["dataset"] == dataset) & batch.heads["label"].isin(labels)])
        parts.append(Markup("<p>{}</p>").format(sentences) if sentences else Markup(""))
        for metric in [m for m in table["metric"].unique() if m not in ("bias_amp", "model_bias_amp", "bias_amp_reverse")]:
            part = table[(table["metric"] == metric) & (table["column"] != "")]
            keys = part.assign(size=part["mean"].abs()).groupby(["column", "group"], sort=False)["size"].max()
            keys = list(keys.sort_values(ascending=False, kind="stable").index[:SHOWN_GROUPS])
            if keys:
                keyed = {(r["label"], r["column"], r["group"]): r for r in part.to_dict("records")}
                body = [
                    (_name(n), *(_score(keyed.get((n, *k)), False, batch.status(dataset, n), None) for k in keys))
                    for n in labels
                ]
                title = METRICS[metric].title if metric in METRICS else metric
                headers = [_short(group or column, 60) for column, group in keys]
                parts.append(
                    _table(["Generator", *headers], body, f"{title} on {dataset}, largest readings first", "wide scores")
                )
    return Piece(Markup("").join(parts))


def _bias_keys(part: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(column, group) of the panels: each sensitive column and intersection, then the groups that read largest.

    A group is what `representation` lists; cells of a group and a target label are left to the rows.
    """
    groups = set(map(tuple, rows.loc[rows["metric"] == "representation", ["column", "group"]].to_numpy()))
    size = part.assign(size=part["value"].abs()).groupby(["column", "group"], sort=False)["size"].max()
    keys = [key for key in size.index if key[0] and (not key[1] or not groups or key in groups)]
    return sorted(keys, key=lambda key: (key[1] != "", -size[key], key))[:SHOWN_GROUPS]


def column_section(batch: Batch, worst: int = 8) -> Piece:
    """The columns whose marginals are kept worst, over all generators that are no controls."""
    parts = []
    for dataset in batch.shown:
        rows = batch.rows[
            (batch.rows["dataset"] == dataset) & (batch.rows["metric"] == "marginals") & (batch.rows["column"] != "")
        ]
        rows = rows[rows["label"].isin(batch.labels(dataset))]
        parts.append(_dataset(batch, dataset))
        if not len(rows):
            parts.append(Markup('<p class="note">No finished cell has readings by column.</p>'))
            continue
        table = summary.aggregate(rows)
        own = table[~table["label"].map(summary.is_control)]
        order = (own if len(own) else table).groupby("column", sort=False)["mean"].mean().sort_values(kind="stable")
        columns = list(order.index[:worst])
        keyed = {(row["label"], row["column"]): row for row in table.to_dict("records")}
        body = [
            (_name(n), *(_score(keyed.get((n, c)), False, batch.status(dataset, n), None) for c in columns))
            for n in batch.labels(dataset)
        ]  # fmt: skip
        told = f"Marginals of {dataset} by column, the worst {len(columns)} of {len(order)} first (1 is identical)"
        parts.append(_table(["Generator", *(_short(c, 60) for c in columns)], body, told, "wide scores"))
    return Piece(Markup("").join(parts))


def facts_section(batch: Batch) -> Piece:
    """What ran, how long it took and how much memory it needed; versions, machine and hashes."""
    rows = []
    for dataset in batch.shown:
        for name in batch.labels(dataset):
            part = batch.cells[(batch.cells["dataset"] == dataset) & (batch.cells["label"] == name)]
            ok = f"{(part['status'] == 'ok').sum()} of {len(part)}"
            took = [_plain(part[f"{phase}_seconds"].mean(), 2) for phase in ("fit", "sample", "evaluate")]
            size = [_range(part[column]) for column in ("rows", "train_rows", "test_rows")]
            rows.append((_name(name), dataset, ok, *size, *took, _plain(part["peak_mb"].max(), 0)))
    header = ["Generator", "Dataset", "Cells finished", "Synthetic rows", "Train rows", "Test rows"]
    header += ["Fit, s", "Sample, s", "Evaluate, s", "Peak memory, MB"]
    out = _table(header, rows, "Mean seconds over cells, and the largest peak memory of any", "wide scores")
    cells = batch.cells[batch.cells["status"] != "pending"]
    facts = [(words, _several(cells[name])) for name, words in
             (("cpu", "Processor"), ("threads", "Threads a cell"), ("python", "Python"), ("host", "Host"))]  # fmt: skip
    facts.append(
        ("First and last start (UTC)", " to ".join(sorted({str(cells["started"].min()), str(cells["started"].max())})))
    )
    facts += [(f"Version of {name}", told) for name, told in batch.versions.items()]
    hashes = [
        (f"{r['label']}, seed {r['seed']}, {r['dataset']}", Markup("<code>{}</code>").format(r["key"][:16]),
         *(Markup("<code>{}</code>").format(str(r[name])[:16]) for name in ("synthetic_hash", "rows_hash")))
        for r in cells[(cells["status"] == "ok") & cells["dataset"].isin(batch.shown)].head(SHOWN_HASHES).to_dict("records")
    ]  # fmt: skip
    out += _table(["Fact", "Value"], facts, "The machine and the versions that the cells ran on", "text")
    out += Markup(
        "<details><summary>Hashes of the synthetic tables and of their rows (first 16 digits of sha256)</summary>{}</details>"
    ).format(_table(["Cell", "Key", "Synthetic table", "Rows"], hashes, "Equal hashes mean equal bytes", "text"))
    return Piece(out)


def failure_section(batch: Batch) -> Piece:
    """Every cell that is not ok: status, phase and last line."""
    bad = batch.cells[batch.cells["status"] != "ok"]
    if not len(bad):
        return Piece(Markup("<p>Every cell finished: no generator was skipped, stopped or failed.</p>"))
    rows = [
        (_name(r["label"]), r["dataset"], r["seed"], r["status"], r["phase"] or "–", _short(r["reason"] or "–", 300))
        for r in bad.head(SHOWN_FAILURES).to_dict("records")
    ]
    told = f"{len(bad)} of {len(batch.cells)} cells gave no score" + (
        f"; the first {len(rows)}" if len(bad) > len(rows) else ""
    )
    return Piece(_table(["Generator", "Dataset", "Seed", "Status", "Phase", "Last line"], rows, told, "wide text"))


def reading_section(batch: Batch) -> Piece:
    """How to read each metric on this page: from the metric's own registration and docstring."""
    items = []
    for metric in batch.heads["metric"].unique():
        entry = METRICS.get(metric)
        if entry is None:
            continue
        floor = {"permuted": "every column permuted on its own", "uniform": "uniform columns", "copy": "a raw copy of train"}
        told = f"{DIRECTION[entry.direction].capitalize()}. Held against {entry.reads}; floor: {floor.get(entry.floor, entry.floor)}."
        items.append(
            Markup("<details><summary><strong>{}</strong> <code>{}</code> {}</summary><p>{}</p><pre>{}</pre></details>").format(
                entry.title, metric, BETTER[entry.direction], told, _docstring(entry.function)
            )
        )
    return Piece(Markup('<div class="readings">{}</div>').format(Markup("").join(items)))


def _docstring(where: str) -> str:
    """A function's docstring, read off the source so that no learner or fairness library is imported for it."""
    import ast
    from importlib.util import find_spec
    from inspect import cleandoc

    module, name = where.split(":")
    tree = ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return cleandoc(ast.get_docstring(found[0]) or "") if found else ""


def _score(row, best: bool, status: str, notes: list | None) -> Markup:
    """A table cell: number and interval; a reason where there is none, listed in `notes` (or written out without)."""
    if row is None:
        return Markup('<span class="none">{}</span>').format(status or "not measured")
    note, mark = row["note"], Markup("")
    told = not np.isfinite(row["mean"]) or _uninformative(note)
    if told and notes is not None and note:
        if note not in notes:
            notes.append(note)
        mark = Markup("<sup>{}</sup>").format(notes.index(note) + 1)
    if not np.isfinite(row["mean"]):
        word = _uninformative(note) or "no value"
        return Markup('<span class="none">{}{}</span>').format(
            word if notes is not None or not note else _short(note, 80), mark
        )
    out = Markup('<span class="{}">{}{}</span>').format("best" if best else "", number(row["mean"]), " ★" if best else "")
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        out += Markup("<small>{} to {}</small>").format(number(row["low"]), number(row["high"]))
    return out + (Markup('<small class="none">{}{}</small>').format(_uninformative(note), mark) if told else Markup(""))


def _uninformative(note: str) -> str:
    """The note's opening words where they say that a number, if any, must not be read; otherwise ""."""
    return next((words for words in ("not informative", "uninformative", "insufficient") if str(note).startswith(words)), "")


def _best(heads: pd.DataFrame, metric: str) -> set[str]:
    """Labels of the best generator in a column, and of those whose number prints alike; controls do not compete."""
    own = heads[
        ~heads["label"].map(summary.is_control) & heads["mean"].notna() & ~heads["note"].map(_uninformative).astype(bool)
    ]
    if len(own) < 2:
        return set()
    badness = summary.badness(own["mean"], METRICS.get(metric, UNKNOWN).direction)
    best = own.loc[badness.idxmin(), "mean"]
    return set(own.loc[own["mean"].map(number) == number(best), "label"])


def _spoken(heads: pd.DataFrame, metric: str, dataset: str) -> str:
    """A figure in one or two sentences, for readers who do not see it."""
    entry = METRICS.get(metric, UNKNOWN)
    known = heads[heads["mean"].notna()]
    title = f"{entry.title or metric} on {dataset}, {DIRECTION[entry.direction]}"
    if not len(known):
        return f"{title}: no reading."
    order = known.loc[summary.badness(known["mean"], entry.direction).sort_values(kind="stable").index]
    ends = [f"{name} {number(known[name].mean())}" for name in ("floor", "ceiling") if known[name].notna().any()]
    told = ", ".join(f"{row['label']} {number(row['mean'])}" for row in order.to_dict("records"))
    return f"{title}. Best first: {told}." + (f" {', '.join(ends)}.".capitalize() if ends else "")


def _signed(readings: pd.DataFrame, title: str) -> str:
    told = [f"{r['label']} {number(r['mean'])} ({_sign(r)})" for r in readings.to_dict("records") if np.isfinite(r["mean"])]
    return f"{title}: {', '.join(told)}."


def _sign(row) -> str:
    """What an interval around zero says in words."""
    if not np.isfinite(row["low"]) or not np.isfinite(row["high"]):
        return "amplified" if row["mean"] > 0 else "dampened" if row["mean"] < 0 else "unchanged"
    return "amplified" if row["low"] > 0 else "dampened" if row["high"] < 0 else "not told from zero"


def _amplifiers(heads: pd.DataFrame) -> str:
    part = heads[(heads["metric"] == "bias_amp") & heads["mean"].notna()]
    told = {}
    for row in part.to_dict("records"):
        told.setdefault(_sign(row), []).append(f"{row['label']} ({interval(row)})")
    words = {
        "amplified": "Amplified by",
        "dampened": "Dampened by",
        "not told from zero": "Not told from zero:",
        "unchanged": "Unchanged:",
    }
    return " ".join(f"{start} {_listed(told[sign])}." for sign, start in words.items() if sign in told)


def _figure(figure, alt: str, caption: str | Markup = "", kind: str = "") -> Markup:
    """An SVG image with its alternative text; as a picture inside an img element it can run nothing."""
    import matplotlib as mpl

    from workbench.plots import STYLE

    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = re.sub(r'(style="font: [^";]*?px )[^";]*', r"\1system-ui, sans-serif", buffer.getvalue())
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    data = base64.b64encode(svg.encode()).decode()
    return Markup(
        '<figure class="{}"><img width="{}" height="{}" alt="{}" src="data:image/svg+xml;base64,{}">{}</figure>'
    ).format(kind, width, height, alt, data, Markup("<figcaption>{}</figcaption>").format(caption) if caption else "")


def _table(header: Iterable, rows: Iterable[Iterable], caption: str, kind: str = "") -> Markup:
    """A table in a box of its own that scrolls sideways; the first cell of a row is its header."""
    cell, lead = Markup("<td>{}</td>"), Markup('<th scope="row">{}</th>')
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    lines = [Markup("<tr>{}</tr>").format(Markup("").join([lead.format(r[0]), *(cell.format(v) for v in r[1:])])) for r in rows]
    return Markup(
        '<div class="table {}" role="region" tabindex="0" aria-label="{}"><table><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(kind, caption, caption, top, Markup("").join(lines))


def _dataset(batch: Batch, dataset: str) -> Markup:
    return Markup("<h3>{}</h3>").format(dataset) if len(batch.datasets) > 1 else Markup("")


def _name(label: str, status: str = "") -> Markup:
    kind = Markup("<small>control</small>") if summary.is_control(label) else Markup("")
    return Markup("{}{}{}").format(label, kind, Markup('<small class="bad">{}</small>').format(status) if status else "")


def _state(row) -> Markup:
    return Markup('<span class="state {}">{} {}</span><small>{}</small>').format(
        row["state"].replace(" ", "-"), STATES[row["state"]], row["state"], row["reason"]
    )


def _metric_head(metric: str) -> Markup:
    entry = METRICS.get(metric, UNKNOWN)
    return Markup("{}<small>{} {}</small>").format(entry.title or metric, BETTER[entry.direction], DIRECTION[entry.direction])


def _range(values: pd.Series) -> str:
    values = values.dropna()
    if not len(values):
        return "–"
    return f"{values.min():,}" if values.min() == values.max() else f"{values.min():,} to {values.max():,}"


def _several(values: pd.Series) -> str:
    values = [str(value) for value in pd.unique(values.dropna())]
    return ", ".join(_short(value, 120) for value in values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")


def _plain(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if np.isfinite(value) else "–"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _verb(words: list[str], one: str, many: str) -> str:
    return one if len(words) == 1 else many


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _short(text: object, most: int) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"
