"""results/NAME: the numbers of a report as a data set that others use.

    rows.parquet      every number, a row each: CELL_COLUMNS then ROW_COLUMNS
    cells.parquet     how every cell ended and what it ran on: CELL_COLUMNS, FACT_COLUMNS and
                      RECORD_COLUMNS
    grid.toml         what was wanted, with the plug-ins that it names
    published.toml    where it replays a paper: what was printed
    merged/DIGEST/    the same of rows that others ran
    README.md, croissant.json, CITATION.cff
    results.json      the format, the version that wrote it, and the sha256 of every other file

No synthetic and no real row is in it. A page is made from it alone; its cells can be run again,
because the grid that asked for each of them is there. A folder may come from somebody else, so it
is read as a report folder is: up to limits, through no link, and every file against its sha256.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import workbench
from workbench.batch import cards
from workbench.batch import grid as grids
from workbench.batch.folder import CELL_COLUMNS, FACT_COLUMNS, Folder, explained
from workbench.batch.grid import canonical
from workbench.batch.keys import digest
from workbench.errors import InputError
from workbench.files import Damaged, read_own, read_own_json, write_bytes
from workbench.metrics.rows import ROW_COLUMNS
from workbench.tables.files import parquet_table

FORMAT = 1
MOST_BYTES = 10_000_000  # of all files together: they are kept under version control
MOST_READ = 64_000_000  # bytes of one file that are read
RECORD = "results.json"
# What `cells.parquet` holds after FACT_COLUMNS; the JSON texts are those of a cell's manifest.
RECORD_COLUMNS = {
    "cell": "object",  # JSON: the cell as it was planned, without its key
    "inputs": "object",  # JSON: what the key hashes, without the schema
    "fingerprint": "object",  # JSON: threads, machine, vector instructions
    # JSON: what a private generator guarantees, and what a plug-in measured itself; else "{}"
    "promise": "object",
    "train_hash": "object",
    "test_hash": "object",
    "grid": "object",  # the grid.toml in this folder that asked for the cell
    "origin": "object",  # who ran it; "" for whoever published the folder first
}
PROMISE = ("noise", "domain", "epsilon", "delta", "guarantee", "measured")
PUBLISHED = "published.toml"  # beside a grid that replays a paper: what was printed
ALL_CELLS = CELL_COLUMNS | FACT_COLUMNS | RECORD_COLUMNS
ALL_ROWS = CELL_COLUMNS | ROW_COLUMNS


@dataclass(frozen=True)
class Content:
    """What a results folder holds. texts: path in the folder -> text, of its grids and plug-ins.

    version: of this package, when the cells ran.
    """

    title: str
    version: str
    cells: pd.DataFrame
    rows: pd.DataFrame
    texts: Mapping[str, str] = field(repr=False)

    @property
    def finished(self) -> pd.DataFrame:
        """The cells that gave numbers."""
        return self.cells[self.cells["status"] == "ok"]


class Results:
    """A results folder, read once; what `Folder` is for a report.

    Parameters
    ----------
    path : path of the folder
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @cached_property
    def record(self) -> dict:
        """results.json: format, version, title, files. Raises InputError for another format."""
        # The format first: what follows is read by its rules.
        found = read_own_json(self.path / RECORD, MOST_READ)
        if found.get("format") != FORMAT:
            raise InputError(
                f"{self.path} is of format {str(found.get('format'))[:20]!r}, and this version"
                f" reads {FORMAT}; use the version of workbench that wrote it"
                f" ({str(found.get('version'))[:20]})."
            )
        files = found.get("files")
        texts = [found.get("title"), found.get("version")]
        if not isinstance(files, dict) or not all(isinstance(text, str) for text in texts):
            raise Damaged(f"{self.path / RECORD} has not the shape in which it was written.")
        return found

    @property
    def title(self) -> str:
        return self.record["title"]

    @cached_property
    def content(self) -> Content:
        """All of it. Raises Damaged where a file is not the one that was written."""
        if faults := self.problems():
            raise Damaged(f"{self.path}: {faults[0]}")
        # Every column that is read has to be there; others are left alone.
        parts = []
        for name, columns in {"cells": ALL_CELLS, "rows": ALL_ROWS}.items():
            # Through no link and up to a limit: the folder may be a stranger's.
            raw = read_own(self.path / f"{name}.parquet", MOST_READ)
            table = parquet_table(raw, f"{self.path.name}/{name}.parquet").to_pandas()
            lacking = [column for column in columns if column not in table]
            if lacking:
                raise Damaged(f"{name}.parquet lacks the column {lacking[0]}.")
            parts.append(_typed(table, columns))
        texts = {}
        for name in self.record["files"]:
            if name.endswith((".toml", ".py", ".json")) and name not in cards.NAMES:
                texts[name] = read_own(self.path / name, MOST_READ).decode("utf-8")
        return Content(self.title, self.record["version"], parts[0], parts[1], texts)

    def problems(self) -> list[str]:
        """One sentence for each file that is not as it was written."""
        found = []
        for name, expected in self.record["files"].items():
            if not _stays_inside(name):
                found.append(f"{RECORD} names {name[:40]!r}, which no run writes")
                continue
            try:
                same = digest(read_own(self.path / name, MOST_READ)) == expected
            except Damaged as damage:
                found.append(str(damage))
                continue
            if not same:
                found.append(f"{name} was changed after it was written")
        return found

    # The same questions that a report folder answers

    def cells(self) -> pd.DataFrame:
        return self.content.cells

    def rows(self) -> pd.DataFrame:
        return self.content.rows

    def versions(self) -> dict[str, str]:
        """Of Python and the libraries of the first finished cell."""
        finished = self.content.finished
        if not len(finished):
            return {}
        return _table(finished["inputs"].iloc[0]).get("versions", {})

    def rows_digest(self) -> str:
        """One sha256 for all the rows that a page of this folder is made from."""
        return self.record["files"].get("rows.parquet", "")

    def checked(self) -> str:
        """What `Folder.of_checked` wants to know: nothing, of a folder without cells' folders."""
        return json.dumps({"folder": "", "states": {}})

    def manifest(self, key: str) -> dict:
        """The record of one cell, with what `verify` compares."""
        # Put together from columns what a report folder keeps as a file.
        cell = self._by_key[key]
        inputs = _table(cell["inputs"])
        hashes = {name: cell[f"{name}_hash"] for name in ("synthetic", "rows")}
        return {
            "key": key,
            "cell": _table(cell["cell"]),
            "status": cell["status"],
            "reason": cell["reason"],
            "hashes": {name: value for name, value in hashes.items() if value},
            "inputs": inputs,
            "versions": inputs.get("versions", {}),
            "fingerprint": _table(cell["fingerprint"]),
            "facts": _table(cell["promise"]),
        }

    def cell_rows(self, key: str) -> pd.DataFrame:
        """The rows of one cell with ROW_COLUMNS."""
        rows = self._rows_by_key
        if key not in rows.groups:
            return self.content.rows.iloc[:0][list(ROW_COLUMNS)]
        return rows.get_group(key)[list(ROW_COLUMNS)].reset_index(drop=True)

    def grid_folders(self) -> list[Path]:
        """The folders of all grids whose cells are in here."""
        names = dict.fromkeys(self.content.cells["grid"])
        return [(self.path / name).parent for name in names]

    @cached_property
    def _by_key(self) -> dict[str, dict]:
        return {cell["key"]: cell for cell in self.content.cells.to_dict("records")}

    @cached_property
    def _rows_by_key(self):
        return self.content.rows.groupby("key")


def is_results(path: Path | str) -> bool:
    """Whether a folder holds results, and no report."""
    return os.path.lexists(Path(path, RECORD)) and not os.path.lexists(Path(path, "plan.json"))


def opened(path: Path | str) -> Folder | Results:
    """The report or the results at a path."""
    return Results(path) if is_results(path) else Folder(path)


# Publishing ------------------------------------------------------------------------------------


def publish(folder: Path | str, out: Path | str | None = None) -> Path:
    """Write the numbers of a report to results/NAME (or `out`); return that folder.

    Rows that others ran and that were merged there before are kept. Raises InputError where no cell
    has finished, where the grid was changed since it ran, and where the files come to more than
    MOST_BYTES.
    """
    home = Folder(Path(folder).resolve())
    target = Path(out) if out else Path("results", home.path.name)
    # Numbers are published with the grid that asked for them, or not at all.
    changed = home.changed_files()
    if changed:
        raise InputError(f"{changed[0]} was changed since it was run: workbench run {folder}")
    content = _of_report(home)
    if not len(content.finished):
        raise InputError(f"{folder} has no finished cells; run it: workbench run {folder}")
    if is_results(target):
        before = Results(target).content
        # Rows that others ran cannot be made again here.
        foreign = before.cells["origin"] != ""
        if foreign.any():
            others = replace(before, cells=before.cells[foreign])
            content = _joined(content, others, "").content
    write(content, target)
    return target


def write(content: Content, folder: Path) -> None:
    """Write all files of a results folder, results.json last."""
    files = {name: text.encode("utf-8") for name, text in content.texts.items()}
    files["cells.parquet"] = _parquet(content.cells, ALL_CELLS)
    files["rows.parquet"] = _parquet(content.rows, ALL_ROWS)
    # The card describes the data files, so their hashes come first.
    hashes = {name: digest(raw) for name, raw in files.items()}
    about = cards.about(content.title, content.version, content.cells, len(content.rows))
    files["README.md"] = cards.readme(about).encode("utf-8")
    files["CITATION.cff"] = cards.citation(about).encode("utf-8")
    sizes = {name: len(raw) for name, raw in files.items()}
    described = {"cells.parquet": ALL_CELLS, "rows.parquet": ALL_ROWS}
    files["croissant.json"] = cards.croissant(about, described, hashes, sizes).encode("utf-8")
    total = sum(map(len, files.values()))
    if total > MOST_BYTES:
        raise InputError(
            f"the results would take {total / 1e6:.1f} MB, and at most {MOST_BYTES / 1e6:.0f} MB"
            " are published; leave out datasets or seeds, in a grid of their own."
        )
    record = {
        "format": FORMAT,
        "version": content.version,
        "title": content.title,
        "files": {name: digest(raw) for name, raw in sorted(files.items())},
    }
    files[RECORD] = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
    with explained(folder):
        for name, raw in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, raw)


def _of_report(home: Folder) -> Content:
    rows = home.rows()  # first: a cell whose rows cannot be read is pending in `cells`
    cells = home.cells()
    records = []
    for planned in home.plan["cells"]:
        state = home.state(planned["key"])
        manifest = home.manifest(planned["key"]) if state.home is not None else {}
        records.append(_record(planned, manifest))
    cells = pd.concat([cells, pd.DataFrame(records)], axis=1)
    texts = {"grid.toml": (home.path / "grid.toml").read_text(encoding="utf-8")}
    texts |= _plugin_texts(home.path)
    if os.path.lexists(home.path / PUBLISHED):
        texts[PUBLISHED] = read_own(home.path / PUBLISHED, MOST_READ).decode("utf-8")
    return Content(home.title, workbench.__version__, _typed(cells, ALL_CELLS), rows, texts)


def _record(planned: Mapping, manifest: Mapping) -> dict:
    """RECORD_COLUMNS of one cell; of a pending one there is no manifest."""
    # Hashes of the rows stay; their values never enter a results folder.
    inputs = without_schema(manifest.get("inputs", {}))
    data = inputs.get("data", {})
    facts = manifest.get("facts", {})
    promise = {name: facts[name] for name in PROMISE if name in facts}
    cell = {name: value for name, value in planned.items() if name != "key"}
    return {
        "cell": canonical(cell),
        "inputs": canonical(inputs),
        "fingerprint": canonical(manifest.get("fingerprint", {})),
        "promise": canonical(promise),
        "train_hash": str(data.get("train", "")),
        "test_hash": str(data.get("test", "")),
        "grid": "grid.toml",
        "origin": "",
    }


def without_schema(inputs: Mapping) -> dict:
    """What a key hashes, without the schema: that is as large as the rest together, and the hashes
    stand for the rows.
    """
    found = dict(inputs)
    if isinstance(found.get("data"), dict):
        found["data"] = {name: value for name, value in found["data"].items() if name != "schema"}
    return found


def _plugin_texts(folder: Path) -> dict[str, str]:
    """The plug-ins, and the schemas of tables, that a grid names in its own folder."""
    # Checked as before a run: a grid that no longer holds is not published.
    grid = grids.read(folder)
    places = []
    for row in grid.variants():
        named = [grids.plugin(folder, row["name"]), *grids.plugins(folder, row["params"]).values()]
        places += [place[0] for place in named if place]
    for row in grid.datasets:
        places += [Path(folder, row[key]) for key in ("metadata", "schema") if key in row]
    found = {}
    for place in places:
        name = os.path.normpath(os.path.relpath(place, folder))
        if _stays_inside(name):
            found[name] = read_own(folder / name, MOST_READ).decode("utf-8")
    return found


# Merging ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merged:
    """What a merge did. added, agreed, kept: numbers of cells; kept are those that nobody can
    repeat, of which the first stay.
    """

    content: Content = field(repr=False)
    added: int
    agreed: int
    kept: int

    def __str__(self) -> str:
        done = f"{self.added:,} cells added, {self.agreed:,} were there already and agree"
        if self.kept:
            done += f", {self.kept:,} of private generators were there already and stay"
        return done


def merge(into: Path | str, other: Path | str, origin: str | None = None) -> Merged:
    """Add to the results at `into` the cells that only `other` has, with their origin.

    origin: who ran them; the name of the other folder where left out. Raises InputError, and writes
    nothing, where the two are of other formats or versions, where a table has other rows, and where
    one cell has other numbers: with the cell's key and the reason.
    """
    mine, theirs = Results(into), Results(other)
    name = origin or theirs.path.resolve().name
    done = _joined(mine.content, theirs.content, name)
    write(done.content, mine.path)
    return done


def _joined(mine: Content, theirs: Content, origin: str) -> Merged:
    if mine.version != theirs.version:
        raise InputError(
            f"the one was run by workbench {mine.version}, the other by {theirs.version}; their"
            " numbers are not comparable: run the cells again with one version."
        )
    # All checks before anything is joined: a merge that fails writes nothing.
    _check_tables(mine.cells, theirs.cells)
    _check_labels(mine.cells, theirs.cells)
    chosen = _chosen(mine, theirs)
    place = _place_of(theirs.texts)
    # Whoever ran a cell stands beside it, through any number of merges.
    cells = pd.DataFrame(chosen.added, columns=list(ALL_CELLS))
    cells["origin"] = [cell["origin"] or origin for cell in chosen.added]
    cells["grid"] = [f"{place}/{name}" if name == "grid.toml" else name for name in cells["grid"]]
    keys = set(cells["key"])
    all_cells = [mine.cells[~mine.cells["key"].isin(keys)], _typed(cells, ALL_CELLS)]
    all_rows = [
        mine.rows[~mine.rows["key"].isin(keys)],
        theirs.rows[theirs.rows["key"].isin(keys)],
    ]
    content = replace(
        mine,
        cells=pd.concat([part for part in all_cells if len(part)], ignore_index=True),
        rows=pd.concat([part for part in all_rows if len(part)], ignore_index=True),
        texts={**mine.texts, **_texts_of(chosen.added, theirs.texts, place)},
    )
    return Merged(content, len(chosen.added), chosen.agreed, chosen.kept)


@dataclass
class _Chosen:
    """Which cells of the other results come in, and how many there were that did not need to."""

    added: list[dict] = field(default_factory=list)
    agreed: int = 0
    kept: int = 0


def _chosen(mine: Content, theirs: Content) -> _Chosen:
    """Raises InputError where a cell of the one contradicts the other."""
    # By key, and by question: the same question under another key means other code or versions.
    known = {cell["key"]: cell for cell in mine.cells.to_dict("records")}
    questions = {cell["cell"]: cell for cell in known.values() if cell["status"] != "pending"}
    found = _Chosen()
    for cell in theirs.cells.to_dict("records"):
        before = known.get(cell["key"])
        if cell["status"] == "pending":
            continue
        if before is None:
            _check_question(questions.get(cell["cell"]), cell)
            found.added.append(cell)
        elif cell["status"] == "ok" and before["status"] != "ok":
            found.added.append(cell)  # what failed or waited here has numbers there
        elif cell["status"] == "ok" and _check_equal(before, cell, mine.rows, theirs.rows):
            found.agreed += 1
        elif cell["status"] == "ok":
            found.kept += 1
    return found


def _texts_of(added: Iterable[Mapping], texts: Mapping[str, str], place: str) -> dict[str, str]:
    """The grids that asked for what was added, with their plug-ins; the other folder's own one goes
    to `place`.
    """
    # Only the grids that asked for something that came in.
    needed = {cell["grid"].removesuffix("grid.toml") for cell in added}
    found = {}
    for name, text in texts.items():
        if "" in needed and not name.startswith("merged/"):
            found[f"{place}/{name}"] = text
        elif any(folder and name.startswith(folder) for folder in needed):
            found[name] = text
    return found


def _place_of(texts: Mapping[str, str]) -> str:
    """Where a merged grid and its plug-ins go."""
    own = {name: text for name, text in texts.items() if not name.startswith("merged/")}
    return f"merged/{digest(canonical(own))[:12]}"


def _check_tables(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Raises InputError where a dataset's split has other rows in the one than in the other."""
    # By what is asked of a dataset: fewer train rows are other rows.
    hashes: dict[tuple, tuple] = {}
    for which, cells in enumerate((mine, theirs)):
        for cell in cells[cells["test_hash"] != ""].to_dict("records"):
            place = (cell["dataset"], cell["split"], _table(cell["cell"]).get("train_rows"))
            found = (cell["train_hash"], cell["test_hash"])
            known = hashes.setdefault(place, found)
            if which and known != found:
                raise InputError(
                    f"cell {cell['key']}: dataset {cell['dataset']!r}, split {cell['split']}, has"
                    f" other rows in the one ({known[0][:8]}, {known[1][:8]}) than in the other"
                    f" ({found[0][:8]}, {found[1][:8]}); a changed table is another dataset: give"
                    " it another name."
                )


def _check_labels(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Raises InputError where one label would stand for two generators in one dataset."""
    known: dict[tuple, tuple] = {}
    for which, cells in enumerate((mine, theirs)):
        # A given table's file is its parameter.
        for cell in cells[cells["generator"] != grids.GIVEN].to_dict("records"):
            about = (cell["generator"], cell["params"], cell["kernel"])
            before = known.setdefault((cell["dataset"], cell["label"]), about)
            if which and before != about:
                raise InputError(
                    f"cell {cell['key']}: {cell['label']!r} stands for {before[0]} {before[1]} in"
                    f" the one and for {about[0]} {about[1]} in the other; give one another label."
                )


def _check_question(before: Mapping | None, cell: Mapping) -> None:
    """Raises InputError where the same cell is there under another key: other code or versions."""
    if before is None:
        return
    # The first part that differs is a reason that somebody can act on.
    then, now = _table(before["inputs"]), _table(cell["inputs"])
    reason = "its inputs differ"
    for name in ("versions", "sources"):
        for part in sorted({*then.get(name, {}), *now.get(name, {})}):
            pair = [str(inputs.get(name, {}).get(part, "none"))[:12] for inputs in (then, now)]
            if pair[0] != pair[1]:
                reason = f"{part} is {pair[0]} there and {pair[1]} here"
                break
    raise InputError(
        f"cell {cell['key']} ({_named(cell)}) is there as {before['key']} already: {reason}; run"
        " it with the same code and versions."
    )


def _check_equal(before: Mapping, cell: Mapping, mine: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Whether a cell that both have agrees; False where nobody can repeat it. Raises InputError
    where it differs.
    """
    same = all(before[f"{name}_hash"] == cell[f"{name}_hash"] for name in ("rows", "synthetic"))
    if same:
        return True
    # Fresh noise is no contradiction, and no agreement either.
    if all(_table(each["promise"]).get("noise") == "operating system" for each in (before, cell)):
        return False
    reason = "another synthetic table was drawn"
    subject = ["metric", "column", "group"]
    values = [rows[rows["key"] == cell["key"]].set_index(subject) for rows in (mine, theirs)]
    if not values[0].index.equals(values[1].index):
        reason = "other rows were measured"
    else:
        pair = [table["value"].to_numpy() for table in values]
        differs = ~((pair[0] == pair[1]) | (np.isnan(pair[0]) & np.isnan(pair[1])))
        if differs.any():
            first = int(np.argmax(differs))
            name = " ".join(filter(None, values[0].index[first]))
            reason = f"{name} is {pair[0][first]:.6g} there and {pair[1][first]:.6g} here"
    raise InputError(
        f"cell {cell['key']} ({_named(cell)}) has other numbers: {reason}. One of the two is not"
        " what its key says; workbench verify finds which."
    )


def _named(cell: Mapping) -> str:
    return f"{cell['dataset']}, {cell['label']}, seed {cell['seed']}"


# Tables ----------------------------------------------------------------------------------------


def _parquet(table: pd.DataFrame, columns: Mapping[str, str]) -> bytes:
    """The bytes of a table: texts that repeat are stored once, and the whole is packed tightly."""
    # Types are given, not inferred: a column of nothing but gaps would get another one.
    kinds = {"object": pa.string(), "float64": pa.float64()}
    fields = [(name, kinds.get(kind, pa.int64())) for name, kind in columns.items()]
    arrow = pa.Table.from_pandas(table[list(columns)], pa.schema(fields), preserve_index=False)
    out = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata({}), out, compression="zstd", compression_level=19)
    return out.getvalue()


def _typed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The columns in their order and types; a text that is missing is ""."""
    found = table[list(columns)].copy()
    for name, kind in columns.items():
        if kind == "object":
            # A missing text and an empty one say the same here; Parquet would tell them apart.
            values = found[name].astype(object)
            found[name] = values.where(values.notna(), "")
        else:
            found[name] = found[name].astype(kind)
    return found.reset_index(drop=True)


def _table(text: object) -> dict:
    """The JSON object in a text; an empty one where it holds anything else."""
    try:
        found = json.loads(str(text))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _stays_inside(name: str) -> bool:
    return bool(name) and not os.path.isabs(name) and ".." not in Path(name).parts


def earlier_cells(folders: Iterable[Path]) -> pd.DataFrame:
    """The finished cells of all these reports and results, those that cannot be read left out."""
    found = []
    for folder in folders:
        try:
            cells = opened(folder).cells()
        except InputError:
            continue
        found.append(cells.loc[cells["status"] == "ok", [*CELL_COLUMNS, *FACT_COLUMNS]])
    found = [cells for cells in found if len(cells)]
    if not found:
        return _typed(
            pd.DataFrame(columns=[*CELL_COLUMNS, *FACT_COLUMNS]), CELL_COLUMNS | FACT_COLUMNS
        )
    return pd.concat(found, ignore_index=True)
