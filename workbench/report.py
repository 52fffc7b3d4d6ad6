"""A finished or half-finished batch -> one HTML page that opens offline.

`report` lets papermill run notebooks/report.ipynb on a report folder and exports what it shows. The functions below are
that notebook's cells: each takes a Batch and returns one piece of the page. Every value is escaped; no piece reads
anything but the batch's rows and cells.
"""

from __future__ import annotations

import ast
import base64
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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
# What one page holds at most, so that 10,000 cells still make a page that opens.
DATASETS, LABELS, LINES, PANELS, COLUMNS, FAILURES, HASHES = 4, 24, 48, 8, 12, 50, 100
STATES = {"meets": "✓", "fails": "✗", "undecided": "≈", "not measured": "○"}


def report(folder: str | Path) -> Path:
    """Write FOLDER/index.html (and the executed FOLDER/report.ipynb) from whatever its batch has finished; return its path.

    Raises InputError where the folder holds no cells yet or cannot be written.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds a grid.toml.")
    title = f"{results.plan(folder).get('title') or folder.name}: synthetic tables measured"
    return publish(NOTEBOOK, {"folder": str(folder)}, folder, title, page="index.html")


def publish(notebook: Path, parameters: dict[str, object], folder: Path, title: str, page: str, progress: bool = False) -> Path:
    """Run a notebook by papermill into FOLDER, and what it shows into FOLDER/page; return the page's path.

    Both files appear when they are whole. Raises the notebook's own InputError, and one where FOLDER cannot be written.
    """
    import papermill

    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as scratch, tempfile.TemporaryDirectory() as sockets:
            executed, html = Path(scratch, notebook.name), Path(scratch, page)
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters,
                kernel_name="python3",
                kernel_manager_class=_kernel(sockets),
                progress_bar=progress,
            )
            html.write_text(to_html(executed, title), encoding="utf-8")
            for made in (executed, html):
                os.replace(made, folder / made.name)
    except papermill.PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(error.evalue) from None
        raise
    except PermissionError as error:
        raise InputError(f"{folder} is not writable ({error.strerror}); give a folder that is.") from None
    return folder / page


def _kernel(folder: str) -> type:
    """Kernels of this very environment that listen on sockets in `folder`: no port that others could take or hear."""
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        def __init__(self, **settings):
            super().__init__(**settings | {"transport": "ipc", "ip": str(Path(folder, "kernel"))})
            self.kernel_spec.argv[0] = sys.executable

    return Kernel


def to_html(notebook: Path, title: str, language: str = "en") -> str:
    """An executed notebook as one standalone HTML text: prose and results without code, styles inside, no scripts."""
    from nbconvert import HTMLExporter

    template = (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(raw_template=template, mathjax_url="", require_js_url="", exclude_anchor_links=True)
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
    def shown(self) -> int:
        """How many datasets are shown one by one: fewer where each has many generators."""
        most = min(self.cells.groupby("dataset")["label"].nunique().max(), LABELS)
        return min(DATASETS, max(1, LINES // most), len(self.datasets))

    def each(self) -> Iterator[Part]:
        """The datasets that are shown one by one."""
        for name in self.datasets[: self.shown]:
            cells = self.cells[self.cells["dataset"] == name]
            labels = summary.ordered(cells["label"])[:LABELS]
            tables = (t[(t["dataset"] == name) & t["label"].isin(labels)] for t in (self.rows, self.heads))
            title = Markup("<h3>{}</h3>").format(name) if len(self.datasets) > 1 else Markup("")
            rows, heads = tables
            idle = heads["note"].str.startswith("not applicable").groupby(heads["metric"]).transform("all").astype(bool)
            status = {label: _status(cells[cells["label"] == label]) for label in labels}
            yield Part(name, title, status, cells, rows, heads[~idle], heads[idle].drop_duplicates("metric"))


@dataclass
class Part:
    """One dataset of a batch; `labels` maps each generator, in page order, to words on its unfinished cells or "".

    `idle` holds a row for each metric that does not apply to the dataset.
    """

    name: str
    title: Markup
    labels: dict[str, str]
    cells: pd.DataFrame
    rows: pd.DataFrame
    heads: pd.DataFrame
    idle: pd.DataFrame

    def table(self, rows: pd.DataFrame, keys: list[tuple[str, str]], caption: str, signed: bool = False) -> Markup:
        """Generators by (column, group) of one metric's rows; with `signed`, each interval around zero also in words."""
        keyed = {(r["label"], r["column"], r["group"]): r for r in summary.aggregate(rows).to_dict("records")}
        lines, notes = [], []
        for label, status in self.labels.items():
            found = [keyed.get((label, *key)) for key in keys]
            words = [f"<small>{_sign(r)}</small>" if signed and r and np.isfinite(r["mean"]) else "" for r in found]
            cells = [_score(r, False, status, notes) + Markup(word) for r, word in zip(found, words, strict=True)]
            lines.append((_name(label), *cells))
        header = ["Generator", *(_short(group or column, 60) for column, group in keys)]
        return _table(header, lines, caption, "scores") + _notes(notes)


class Piece(Markup):
    """HTML that a notebook shows as such; its `repr` is short, so that saved notebooks stay small."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<{len(self)} characters of HTML>"


def facts_line(batch: Batch) -> Piece:
    """What ran and how much of it finished, and what the page leaves out."""
    counts, labels = batch.cells["status"].value_counts(), batch.cells["label"].unique()
    seeds = batch.cells.groupby(["dataset", "label"])["seed"].nunique()
    controls = sum(map(summary.is_control, labels))
    told = [
        _plural(len(batch.datasets), "dataset"),
        _plural(len(labels) - controls, "generator") + (f" and {_plural(controls, 'control')}" if controls else ""),
        f"{_range(seeds)} seed{'' if seeds.max() == 1 else 's'} each",
        ", ".join([f"{counts.get('ok', 0):,} of {_plural(len(batch.cells), 'cell')} finished"]
                  + [f"{count:,} {status}" for status, count in counts.items() if status != "ok"]),
    ]  # fmt: skip
    most = batch.cells.groupby("dataset")["label"].nunique().max()
    out = Markup('<p class="facts"><strong>{}</strong>: {}.</p>').format(batch.title, " · ".join(told))
    for many, shown, what in ((len(batch.datasets), batch.shown, "datasets"), (most, LABELS, "generators of a dataset")):
        if many > shown:
            out += Markup('<p class="note">Shown in full: the first {} of {} {}.</p>').format(shown, many, what)
    return Piece(out)


def verdicts(batch: Batch) -> Piece:
    """One sentence a use, then a table of generators and uses that names the deciding gate."""
    table = summary.verdicts(batch.heads, batch.cells[["dataset", "label"]].drop_duplicates())
    header, out = ["Generator", *(title for title, _ in USES.values())], Markup("")
    if len(batch.datasets) > 1:
        count = table.groupby(["label", "use", "state"]).size()
        lines = []
        for label in summary.ordered(table["label"])[:LABELS]:
            told = [
                [f"{STATES[s]} {s} on {count[label, use, s]}" for s in STATES if (label, use, s) in count.index] for use in USES
            ]
            lines.append((_name(label), *map(", ".join, told)))
        out += _table(header, lines, f"On how many of {len(batch.datasets)} datasets each use is supported", "text")
    for part in batch.each():
        own = table[(table["dataset"] == part.name) & table["label"].isin(list(part.labels))]
        lines = []
        for label, status in part.labels.items():
            states = own[own["label"] == label].to_dict("records")
            lines.append((_name(label, status), *(Markup('<span class="state {}">{} {}</span><small>{}</small>').format(
                s["state"].replace(" ", "-"), STATES[s["state"]], s["state"], s["reason"]) for s in states)))  # fmt: skip
        out += part.title + _sentences(own[~own["label"].map(summary.is_control)])
        out += _table(header, lines, f"What synthetic rows of {part.name} may be used for, and the gates that decide", "text")
    return Piece(out)


def _sentences(own: pd.DataFrame) -> Markup:
    """One sentence a use, over all generators that are no controls; the failing gates are named."""
    said = {}
    for use, (title, gates) in USES.items():
        part = own[own["use"] == use]
        who = {state: summary.ordered(part.loc[part["state"] == state, "label"]) for state in STATES}
        deciding = {state: set(part.loc[part["state"] == state, "gates"].explode()) for state in STATES}
        named = {state: _listed([g.title for g in gates if g.title in deciding[state]]) for state in STATES}
        people = {
            s: f"all {len(names)} generators" if 2 < len(names) == len(part) else _listed(names) for s, names in who.items()
        }
        told = [words.format(people[state], "s" if len(who[state]) == 1 else "", named[state]) for state, words in {
            "meets": "{0} meet{1} every gate", "fails": "{0} fail{1} on {2}",
            "undecided": "undecided for {0}, where an interval straddles the limit of {2}",
            "not measured": "not measured for {0}, for lack of {2}"}.items() if who[state]]  # fmt: skip
        said[title] = "; ".join(told) or "no generator has run"
    fails = own.groupby("label")["state"].agg(lambda states: "fails" in set(states) and "meets" not in set(states))
    none = summary.ordered(fails.index[fails])
    said["None of these"] = f"{_listed(none)}: a gate fails and no use is supported" if none else "no generator is ruled out"
    items = [
        Markup("<li><strong>{}.</strong> {}.</li>").format(title, told[:1].upper() + told[1:]) for title, told in said.items()
    ]
    return Markup('<ul class="verdicts">{}</ul>').format(Markup("").join(items))


def score_strips(batch: Batch) -> Piece:
    """Every headline metric as a small figure, by family."""
    from workbench import plots

    out = Markup("")
    for part in batch.each():
        out += part.title + (Markup("") if len(part.heads) else Markup('<p class="note">No cell has finished.</p>'))
        for family in FAMILIES:
            cards, blank = [], Markup("")
            for metric in [m for m in part.heads["metric"].unique() if METRICS.get(m, UNKNOWN).family == family]:
                readings = part.heads[part.heads["metric"] == metric]
                if not readings["mean"].notna().any():
                    note = Markup('<p class="note">No generator has a reading of <em>{}</em>: {}.</p>')
                    blank += note.format(_title(metric), (readings["note"].iloc[0] or "no cell finished").rstrip("."))
                    continue
                figure = plots.strips(part.rows[part.rows["metric"] == metric], [metric], absent=part.labels)
                caption = Markup("<strong>{}</strong> <span>{}</span>").format(_title(metric), _direction(metric))
                cards.append(_figure(figure, _spoken(part, metric), caption))
            if cards or blank:
                out += Markup('<h4>{}</h4><div class="cards">{}</div>{}').format(family.title(), Markup("").join(cards), blank)
    return Piece(out)


def tradeoff(batch: Batch) -> Piece:
    """Utility against each reading of closeness to the training rows."""
    from workbench import plots

    out = Markup("")
    for part in batch.each():
        try:
            utility, closeness = plots.tradeoff_axes(part.rows)
        except InputError as error:
            out += part.title + Markup('<p class="note">Not drawn: {}</p>').format(error)
            continue
        cards = [
            _figure(plots.tradeoff(part.rows, utility, [metric]), f"{_spoken(part, utility)} {_spoken(part, metric)}",
                    Markup("<strong>{}</strong> <span>up: more useful · right: closer to training rows</span>").format(
                        _title(metric)))
            for metric in closeness
        ]  # fmt: skip
        out += part.title + Markup('<div class="cards large">{}</div>').format(Markup("").join(cards))
    return Piece(out)


def score_table(batch: Batch) -> Piece:
    """Generators by metrics: mean over seeds, interval, ceiling and floor; the best of each column is starred."""
    out = _across(batch) if len(batch.datasets) > 1 else Markup("")
    for part in batch.each():
        metrics, notes = list(part.heads["metric"].unique()), []
        keyed = {(row["label"], row["metric"]): row for row in part.heads.to_dict("records")}
        best = {metric: _best(part.heads[part.heads["metric"] == metric], metric) for metric in metrics}
        lines = [
            (_name(label, status), *(_score(keyed.get((label, m)), label in best[m], status, notes) for m in metrics))
            for label, status in part.labels.items()
        ]
        ends = part.heads.groupby("metric")[["ceiling", "floor"]].mean()
        for end, told in (("ceiling", "a fresh real sample"), ("floor", "what the metric sees is destroyed")):
            lines.append(
                (Markup("{}<small>{}</small>").format(end.title(), told), *(number(ends.loc[m, end]) for m in metrics))
            )
        header = ["Generator", *(Markup("{}<small>{}</small>").format(_title(m), _direction(m)) for m in metrics)]
        out += part.title + _table(header, lines, f"Scores on {part.name}: mean over seeds, 95% interval below", "scores")
        out += _notes(notes)
        idle = part.idle.assign(note=part.idle["note"].str.removeprefix("not applicable: ").str.rstrip("."))
        told = "; ".join(f"{_title(r['metric'])} ({r['note']})" for r in idle.to_dict("records"))
        out += Markup('<p class="note">Not applicable here: {}.</p>').format(told) if told else Markup("")
    return Piece(out)


def _across(batch: Batch) -> Markup:
    """Mean over datasets of (score - floor) / (ceiling - floor), where that is informative."""
    heads = batch.heads[~batch.heads["note"].map(_unreadable).astype(bool)]
    gap = (heads["ceiling"] - heads["floor"]).where(lambda g: g.abs() > 1e-9)
    mean = (
        heads.assign(score=(heads["mean"] - heads["floor"]) / gap).groupby(["label", "metric"])["score"].agg(["mean", "count"])
    )
    metrics = [m for m in heads["metric"].unique() if METRICS.get(m, UNKNOWN).direction != "zero"]
    ran = batch.cells.groupby("label")["dataset"].nunique()
    done = batch.cells[batch.cells["status"] == "ok"].groupby("label")["dataset"].nunique()
    lines = []
    for label in summary.ordered(batch.cells["label"])[:LABELS]:
        found = [mean.loc[(label, m)] if (label, m) in mean.index else None for m in metrics]
        told = [
            Markup("{}<small>{:.0f} datasets</small>").format(number(f["mean"]), f["count"]) if f is not None else "–"
            for f in found
        ]
        lines.append((_name(label), f"{done.get(label, 0)} of {ran[label]}", *told))
    told = (
        '<h3>Across datasets</h3><p class="note">Mean over datasets of (score − floor) / (ceiling − floor): 1 is a fresh real '
        "sample, 0 is the floor. Datasets without a reading are left out of a mean; the counts say how many are in it.</p>"
    )
    header = ["Generator", "Datasets finished", *map(_title, metrics)]
    return Markup(told) + _table(header, lines, f"Normalised scores over {len(batch.datasets)} datasets", "scores")


def bias(batch: Batch) -> Piece:
    """Amplification by sensitive column, intersection and group; then every other bias metric by column and group."""
    from workbench import plots

    out = Markup("")
    for part in batch.each():
        out += part.title
        rows = part.rows[part.rows["metric"].isin([name for name, metric in METRICS.items() if metric.family == "bias"])]
        if not rows["value"].notna().any():
            why = sorted(set(rows["note"]) - {""}) or ["no finished cell has a sensitive column"]
            out += Markup('<p class="note">Not measured: {}.</p>').format(why[0].rstrip("."))
            continue
        groups = set(map(tuple, rows.loc[rows["metric"] == "representation", ["column", "group"]].to_numpy()))
        for metric in [m for m in METRICS if m in set(rows["metric"]) and m != "bias_amp_reverse"]:
            one = rows[(rows["metric"] == metric) & (rows["column"] != "")]
            # Cells of a group and an outcome stay in the rows: only what `representation` lists is a group.
            one = one[[not group or not groups or (column, group) in groups
                       for column, group in one[["column", "group"]].itertuples(index=False)]]  # fmt: skip
            size = one.assign(size=one["value"].abs()).groupby(["column", "group"], sort=False)["size"].max()
            keys = sorted(size.dropna().index, key=lambda key: (key[1] != "", -size[key], key))
            if metric == "bias_amp" and keys:
                out += _amplifiers(part.heads)
                limit, cards = plots.reach(one, keys[:PANELS]), []
                for key in keys[:PANELS]:
                    figure = plots.bias_by_group(one, metric, keys=[key], limit=limit)
                    told = summary.aggregate(one[(one["column"] == key[0]) & (one["group"] == key[1])]).to_dict("records")
                    alt = ", ".join(f"{r['label']} {number(r['mean'])} ({_sign(r)})" for r in told if np.isfinite(r["mean"]))
                    about = key[1] or key[0]
                    caption = Markup("<strong>{}</strong> <span>{}</span>").format(about, _title(metric))
                    cards.append(_figure(figure, f"{_title(metric)}, {about}: {alt}.", caption))
                out += Markup('<div class="cards">{}</div>').format(Markup("").join(cards))
            if keys:
                more = f", {COLUMNS} of {len(keys)}" if len(keys) > COLUMNS else ""
                caption = f"{_title(metric)} on {part.name} by sensitive column and group, largest first{more}"
                out += part.table(one, keys[:COLUMNS], caption, signed=metric.endswith("bias_amp"))
    return Piece(out)


def worst_columns(batch: Batch) -> Piece:
    """The columns whose marginals are kept worst, on average over all generators that are no controls."""
    out = Markup("")
    for part in batch.each():
        rows = part.rows[(part.rows["metric"] == "marginals") & (part.rows["column"] != "")]
        own = rows[~rows["label"].map(summary.is_control)]
        order = (own if len(own) else rows).groupby("column")["value"].mean().sort_values(kind="stable")
        caption = (
            f"Marginals of {part.name} by column, the worst {min(COLUMNS, len(order))} of {len(order)} first (1: identical)"
        )
        table = part.table(rows, [(column, "") for column in order.index[:COLUMNS]], caption) if len(order) else Markup(
            '<p class="note">No finished cell has readings by column.</p>')  # fmt: skip
        out += part.title + table
    return Piece(out)


def run_facts(batch: Batch) -> Piece:
    """What ran, how long it took and how much memory it needed; versions, machine and hashes."""
    lines, hashes = [], []
    for part in batch.each():
        for label in part.labels:
            cells = part.cells[part.cells["label"] == label]
            took = [_plain(cells[f"{phase}_seconds"].mean(), 2) for phase in ("fit", "sample", "evaluate")]
            size = [_range(cells[column]) for column in ("rows", "train_rows", "test_rows")]
            ok = f"{(cells['status'] == 'ok').sum()} of {len(cells)}"
            lines.append((_name(label), part.name, ok, *size, *took, _plain(cells["peak_mb"].max(), 0)))
        hashes += part.cells[part.cells["status"] == "ok"].to_dict("records")
    header = ["Generator", "Dataset", "Cells finished", "Synthetic rows", "Train rows", "Test rows"]
    header += ["Fit, s", "Sample, s", "Evaluate, s", "Peak memory, MB"]
    out = _table(header, lines, "Mean seconds over cells, and the largest peak memory of any", "scores")
    ran = batch.cells[batch.cells["status"] != "pending"]
    names = {"cpu": "Processor", "threads": "Threads of a cell", "python": "Python", "started": "Started (UTC)"}
    facts = [(words, _range(ran[name])) for name, words in names.items()]
    facts += [(f"Version of {name}", version) for name, version in batch.versions.items()]
    out += _table(["Fact", "Value"], facts, "The machine and the versions that the cells ran on", "text")
    code = Markup("<code>{}</code>").format
    lines = [
        (
            f"{r['label']}, seed {r['seed']}, {r['dataset']}",
            *(code(str(r[n])[:16]) for n in ("key", "synthetic_hash", "rows_hash")),
        )
        for r in hashes[:HASHES]
    ]
    table = _table(
        ["Cell", "Key", "Synthetic table", "Rows"], lines, "First 16 digits of sha256; equal hashes mean equal bytes", "text"
    )
    return Piece(out + Markup("<details><summary>Hashes of {} of {}</summary>{}</details>").format(
        len(lines), _plural(len(hashes), "finished cell"), table))  # fmt: skip


def failures(batch: Batch) -> Piece:
    """Every cell that is not ok: status, phase and last line."""
    bad = batch.cells[batch.cells["status"] != "ok"]
    if not len(bad):
        return Piece(Markup("<p>Every cell finished: no generator was skipped, stopped or failed.</p>"))
    lines = [
        (_name(r["label"]), r["dataset"], r["seed"], r["status"], r["phase"] or "–", _short(r["reason"] or "–", 300))
        for r in bad.head(FAILURES).fillna({"phase": "", "reason": ""}).to_dict("records")
    ]
    told = f"{len(bad):,} of {_plural(len(batch.cells), 'cell')} gave no score" + (
        f", the first {FAILURES}" * (len(bad) > FAILURES)
    )
    return Piece(_table(["Generator", "Dataset", "Seed", "Status", "Phase", "Last line"], lines, told, "text"))


def readings(batch: Batch) -> Piece:
    """How to read each metric on this page: from its registration and its function's docstring."""
    floors = {"permuted": "each column permuted on its own", "uniform": "uniform columns", "copy": "a raw copy of train"}
    out = Markup("")
    for metric in [m for m in batch.heads["metric"].unique() if m in METRICS]:
        entry = METRICS[metric]
        told = (
            f"{_direction(metric)[2:].capitalize()}. Held against {entry.reads}. Floor: {floors.get(entry.floor, entry.floor)}."
        )
        out += Markup("<details><summary><strong>{}</strong> <code>{}</code></summary><p>{}</p><pre>{}</pre></details>").format(
            entry.title, metric, told, _docstring(entry.function))  # fmt: skip
    return Piece(out)


def _docstring(where: str) -> str:
    """A function's docstring, read off its source: importing it would import its libraries."""
    module, name = where.split(":")
    source = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return next((ast.get_docstring(f) or "" for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == name), "")


def _score(row, best: bool, status: str, notes: list[str]) -> Markup:
    """A table cell: number and interval, or the kind of reason for their lack, with a number into `notes`."""
    if row is None:
        return Markup('<span class="none">{}</span>').format(status or "not measured")
    out, note, missing = Markup(""), row["note"], not np.isfinite(row["mean"])
    if not missing:
        out = Markup('<span class="{}">{}{}</span>').format("best" if best else "", number(row["mean"]), " ★" if best else "")
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            out += Markup("<small>{} to {}</small>").format(number(row["low"]), number(row["high"]))
    if missing or _unreadable(note):
        word, mark = _unreadable(note) or "no value", ""
        if note:
            # Seeds and generators word the same reason with other numbers: one note a metric and kind of reason is enough.
            start = f"{_title(row['metric'])}: {word}"
            place = next((place for place, told in enumerate(notes, 1) if told.startswith(start)), len(notes) + 1)
            if place > len(notes):
                reason = note.split(word, 1)[-1].lstrip(": ").split(";")[0]
                notes.append(f"{start}{', for example' if word in note else ''}: {reason}")
            mark = f" ({place})"
        out += Markup('<small class="none">{}{}</small>').format(word, mark)
    return out


def _unreadable(note: str) -> str:
    """The words of a note which say that a number, if any, must not be read; otherwise ""."""
    found = re.match(r"(?:[^:;]{1,80}: )?(not informative|uninformative|insufficient|not applicable|error)\b", note)
    return found[1] if found else ""


def _notes(notes: list[str]) -> Markup:
    items = Markup("").join(Markup("<li>{}</li>").format(note) for note in notes)
    return Markup('<ol class="note">{}</ol>').format(items) if notes else Markup("")


def _best(heads: pd.DataFrame, metric: str) -> set[str]:
    """Labels of the best generator, and of those whose number prints alike; controls do not compete."""
    own = heads[~heads["label"].map(summary.is_control) & heads["mean"].notna() & ~heads["note"].map(_unreadable).astype(bool)]
    if len(own) < 2:
        return set()
    best = own.loc[summary.badness(own["mean"], METRICS.get(metric, UNKNOWN).direction).idxmin(), "mean"]
    return set(own.loc[own["mean"].map(number) == number(best), "label"])


def _spoken(part: Part, metric: str) -> str:
    """A metric's readings in two sentences, for those who do not see the figure."""
    heads = part.heads[(part.heads["metric"] == metric) & part.heads["mean"].notna()]
    order = summary.badness(heads["mean"], METRICS.get(metric, UNKNOWN).direction).sort_values(kind="stable").index
    told = ", ".join(f"{row['label']} {number(row['mean'])}" for row in heads.loc[order].to_dict("records")) or "no reading"
    ends = [f"{end} {number(heads[end].mean())}" for end in ("floor", "ceiling") if heads[end].notna().any()]
    return f"{_title(metric)} on {part.name}, {_direction(metric)[2:]}. Best first: {told}. {', '.join(ends).capitalize()}."


def _sign(row) -> str:
    """What an interval around zero says, in words."""
    low, high = (row[end] if np.isfinite(row[end]) else row["mean"] for end in ("low", "high"))
    return "amplified" if low > 0 else "dampened" if high < 0 else "no clear change"


def _amplifiers(heads: pd.DataFrame) -> Markup:
    """Who amplifies and who dampens over all sensitive columns, one sentence each."""
    told = {}
    for row in heads[(heads["metric"] == "bias_amp") & heads["mean"].notna()].to_dict("records"):
        told.setdefault(_sign(row), []).append(f"{row['label']} ({interval(row)})")
    words = {"amplified": "Amplified by", "dampened": "Dampened by", "no clear change": "No clear change by"}
    items = [
        Markup("<li><strong>{}</strong> {}.</li>").format(start, _listed(told[s])) for s, start in words.items() if s in told
    ]
    return Markup("<ul>{}</ul>").format(Markup("").join(items)) if items else Markup("")


def _figure(figure, alt: str, caption: Markup) -> Markup:
    """An SVG image with its alternative text; inside an img element it can run nothing."""
    from workbench.plots import svg

    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    data = base64.b64encode(_slim(svg(figure)).encode()).decode()
    return Markup(
        '<figure><img width="{}" height="{}" alt="{}" src="data:image/svg+xml;base64,{}"><figcaption>{}</figcaption></figure>'
    ).format(width, height, alt, data, caption)


def _slim(svg: str) -> str:
    """The same picture in the page's font and half the bytes: no metadata, paths to a hundredth of a point."""
    svg = re.sub(r"<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.S)
    svg = re.sub(r'(<g|<path|<text) id="[^"]*_\d+"', r"\1", svg)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+|\s*\n", r"\1", path[0]), svg)
    svg = re.sub(r'(style="font: [^";]*?px )[^";]*', r"\1system-ui, sans-serif", svg)
    return re.sub(r">\s+<", "><", svg)


def _table(header: Iterable, lines: Iterable[Iterable], caption: str, kind: str) -> Markup:
    """A table in a box that scrolls sideways and takes the keyboard's focus; a line's first cell is its header."""
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            first, Markup("").join(Markup("<td>{}</td>").format(v) for v in rest)
        )
        for first, *rest in lines
    )
    return Markup(
        '<div class="table {}" role="region" tabindex="0" aria-label="{}"><table><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(kind, caption, caption, top, body)


def _name(label: str, status: str = "") -> Markup:
    out = Markup("{}<small>control</small>" if summary.is_control(label) else "{}").format(label)
    return out + (Markup('<small class="bad">{}</small>').format(status) if status else "")


def _status(cells: pd.DataFrame) -> str:
    bad = cells.loc[cells["status"] != "ok", "status"]
    return f"{len(bad)} of {len(cells)} {', '.join(sorted(set(bad)))}" if len(bad) else ""


def _title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric


def _direction(metric: str) -> str:
    return {"up": "↑ higher is better", "down": "↓ lower is better", "zero": "→ zero is best"}[
        METRICS.get(metric, UNKNOWN).direction
    ]


def _range(values: pd.Series) -> str:
    """The one value, or the least and the largest."""
    ends = [
        f"{end:,}" if isinstance(end, int | np.integer) else str(end) for end in (values.dropna().min(), values.dropna().max())
    ]
    return "–" if values.isna().all() else " to ".join(dict.fromkeys(ends))


def _plain(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if np.isfinite(value) else "–"


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _short(text: object, most: int) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"
