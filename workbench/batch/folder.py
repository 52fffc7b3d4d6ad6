"""A report folder on disk: every read and every write of it, scanned once.

A report folder that `workbench.batch.runner.run` wrote holds

    grid.toml                      what was wanted
    plan.json                      the cells, in order, each with its key, and a digest of them
    runs/KEY/                      a finished cell: cell.ipynb, rows.parquet, synthetic.parquet,
                                   manifest.json, log.txt, DONE
    failed/KEY-ATTEMPT/            an attempt that did not finish: manifest.json, log.txt, what else
                                   it left, and DIGESTS

DONE is written last and holds the sha256 of every other file of its cell; so does DIGESTS of a
failed one, and plan.json those of grid.toml and of all that it names in the folder. A folder may come
from somebody else: nothing in it is followed through a link, read without a limit, or trusted to
have the shape in which it was written. A cell that is not as it was stored counts as pending.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import platform
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from workbench.batch.grid import Cell, Grid, Plan, canonical, plugin, plugins
from workbench.batch.keys import digest
from workbench.batch.spec import FINAL, STATUSES, Outcome
from workbench.errors import InputError
from workbench.files import Damaged, open_own, parse_own_json, read_own, read_own_json, write_text
from workbench.generators import fit_notes
from workbench.metrics import ERROR
from workbench.metrics.rows import ROW_COLUMNS
from workbench.tables.files import MOST_TIMES, most_unfolded, parquet_table

# Which cell a row belongs to, in this order, before ROW_COLUMNS in `Folder.rows`.
CELL_COLUMNS = {
    "dataset": "object",  # the name in grid.toml
    "generator": "object",  # registered name, or the plug-in "./file.py:Class"
    # What to print: the generator, with its parameters where one generator occurs with several
    "label": "object",
    "params": "object",  # canonical JSON text, "{}" for none
    "split": "int64",  # seed of the split into train and test; 0 keeps a published one
    "seed": "int64",
    "draw": "int64",  # which sample of the same fit
    "key": "object",  # 32 hexadecimal digits of a sha256 of all that the cell depends on
    "status": (
        "object"
    ),  # ok, skipped, error, timeout, out-of-memory; in `Folder.cells` also pending
}

# What `Folder.cells` holds after CELL_COLUMNS. Missing where a cell did not get so far.
FACT_COLUMNS = {
    # "" when ok, otherwise where it ended: start, load, fit, sample, evaluate, save
    "phase": "object",
    # "" when ok, otherwise the reason it was skipped for or the last line of its traceback
    "reason": "object",
    "seconds": "float64",  # the whole cell
    "load_seconds": "float64",
    "fit_seconds": "float64",
    "sample_seconds": "float64",
    "evaluate_seconds": "float64",
    "save_seconds": "float64",
    # Largest proportional set size of the cell's processes together, in MB (1e6 bytes)
    "peak_mb": "float64",
    # User and system, of all the cell's processes: kernel, papermill and what they started
    "cpu_seconds": "float64",
    "fit_cpu": "float64",  # CPU seconds of a phase in the kernel and what it started
    "sample_cpu": "float64",
    "evaluate_cpu": "float64",
    # Of the machine's processor packages while the cell ran, whatever ran beside it; only as
    # counted
    "joules": "float64",
    "input_tokens": "Int64",  # of a language model, cached answers included
    "output_tokens": "Int64",
    # Of these tokens at the grid's input_price and output_price, in the grid's currency
    "cost": "float64",
    "attempts": "Int64",
    "rows": "Int64",  # synthetic rows
    "train_rows": "Int64",
    "test_rows": "Int64",
    "threads": "Int64",
    "kernel": "object",  # "" for this environment
    "host": "object",  # eight digits that stand for a machine; its name is not kept
    "cpu": "object",
    "python": "object",
    "started": "object",  # ISO 8601, UTC
    "synthetic_hash": "object",  # sha256 of synthetic.parquet
    "rows_hash": "object",  # sha256 of rows.parquet
    # Of a given table: what was done to bring it to the real one's columns. Of a generator: what its
    # fit left out
    "notes": "object",
}
PHASES = ("load", "fit", "sample", "evaluate", "save")
TOKENS = ("input_tokens", "output_tokens", "cost")

# What a finished cell stores; DONE vouches for each of them that is there, for the last always.
STORED = ("cell.ipynb", "log.txt", "rows.parquet", "synthetic.parquet", "manifest.json")
# The most bytes that are read of each, so that nobody's folder fills the memory.
MOST_PLAN, MOST_MANIFEST, MOST_DONE, MOST_ROWS, MOST_LOG = 64e6, 16e6, 1e6, 64e6, 64e6
MOST_HASHED = 2e9  # and of any file whose digest is compared
MOST_FILES, MOST_NAMED = 100, 10_000  # that DONE or DIGESTS vouches for; that plan.json names
# What one planned cell holds, and the types it may have.
PLANNED = {
    "dataset": str,
    "generator": str,
    "label": str,
    "params": dict,
    "seed": int,
    "kernel": str,
    "key": str,
    "split": int,
    "draw": int,
}
# What every manifest records, with its type; and tables that older ones lack.
RECORDED = {
    "traceback": str,
    "status": str,
    "reason": str,
    "phase": str,
    "phases": dict,
    "attempts": list,
    "cell": dict,
    "versions": dict,
    "inputs": dict,
}
OPTIONAL = ("limits", "fingerprint", "hashes", "phases_cpu", "facts")
MOST_NOTES = 4000  # characters of a cell's notes
CHECKED = "WORKBENCH_CHECKED"  # names the file of `Folder.of_checked`
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A folder where a file should be, or the other way round.
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)


@dataclass(frozen=True)
class State:
    """How one planned cell stands. home: its own folder. facts: FACT_COLUMNS of its manifest.

    problem: why a cell that had finished counts as pending, in one sentence, or "".
    """

    status: str = "pending"
    home: Path | None = None
    facts: Mapping = field(default_factory=dict)
    limits: Mapping = field(default_factory=dict)
    problem: str = ""


class Folder:
    """One report folder. What it holds is looked at once; make another to look again.

    Parameters
    ----------
    path : path of the folder
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._states: dict[str, State] = {}
        self.plan_is_as_written = False  # known once `read_plan` has read it

    def checked(self) -> str:
        """What was found of the planned cells, as JSON text for `Folder.of_checked`."""
        # Handed to the kernel that writes the page, which would otherwise check every file again.
        states = {}
        for cell in self.plan["cells"]:
            about = vars(self.state(cell["key"])).copy()
            home = about["home"]
            about["home"] = None if home is None else f"{home.parent.name}/{home.name}"
            states[cell["key"]] = about
        return json.dumps({"folder": str(self.path), "states": states})

    @classmethod
    def of_checked(cls, path: Path | str) -> Folder:
        """The folder as the process that started this one has just checked it, where it did, so
        that ten thousand files are not read twice for one page.

        It says so in a file that the environment names; nothing in the folder can.
        """
        folder = cls(path)
        place = os.environ.get(CHECKED)
        if not place:
            return folder
        found = json.loads(Path(place).read_text(encoding="utf-8"))
        if found["folder"] == str(folder.path):
            for key, about in found["states"].items():
                home = about.pop("home")
                folder._states[key] = State(**about, home=home and folder.path / home)
        return folder

    # The plan ----------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> dict:
        """plan.json: title, threads, limits, grid (sha256 of grid.toml) and cells, each with
        dataset, generator, label, params, split, seed, draw, rows, kernel, key.
        """
        found = self.read_plan()
        if not self.plan_is_as_written:
            raise Damaged(
                f"{self.path / 'plan.json'} was changed after it was written; "
                f"write it again from grid.toml: workbench run {self.path}"
            )
        return found

    def read_plan(self) -> dict:
        """The same, whether it is as it was written or not; Damaged where it has another shape."""
        path = self.path / "plan.json"
        if not os.path.lexists(path):
            raise InputError(
                f"{self.path} has no plan.json; run it first: workbench run {self.path}"
            )
        text = read_own(path, int(MOST_PLAN))
        found = parse_own_json(path, text)
        # To the byte, before anything is added to what was found: a blank more is another text.
        self.plan_is_as_written = text == plan_text(found).encode()
        cells = found.get("cells")
        named = found.get("files", {})
        shape = isinstance(cells, list) and isinstance(named, dict) and len(named) <= MOST_NAMED
        if not shape or not isinstance(found.get("title", ""), str):
            raise Damaged(f"{path} is no plan; write it again: workbench run {self.path}")
        for cell in cells:
            _check_planned(cell, path)
        return found

    @property
    def title(self) -> str:
        """The report's title; the folder's name where it has none."""
        return self.plan.get("title") or self.path.resolve().name

    def write_plan(self, plan: Plan) -> None:
        """Write plan.json."""
        grid = plan.grid
        record = {"title": grid.title, "threads": grid.threads, "limits": asdict(grid.limits)}
        record["grid"] = grid.digest
        # What the grid names is part of what was wanted: a plug-in that changed since makes its
        # cells others'.
        record["files"] = _named_files(grid)
        record["cells"] = [asdict(cell) for cell in plan.cells]
        write_text(self.path / "plan.json", plan_text(record), sync=True)
        self.__dict__.pop("plan", None)

    def changed_files(self) -> list[str]:
        """Which of grid.toml and the files of this folder that it names are not those that
        plan.json was written from.
        """
        # Read without a look at its digest: a changed plan is told of elsewhere.
        plan = self.read_plan()
        named = plan.get("files", {})
        expected = {name: named[name] for name in named if _stays_inside(name)}
        if plan.get("grid"):
            expected = {"grid.toml": plan["grid"], **expected}
        changed = []
        for name, planned in expected.items():
            try:
                same = _file_digest(self.path / name) == planned
            except Damaged:
                same = False
            if not same:
                changed.append(name)
        return changed

    # Its cells ---------------------------------------------------------------------------------

    @cached_property
    def _finished(self) -> dict[str, Path]:
        """Key -> folder, of all that runs/ holds."""
        return {path.name: path for path in _folders(self.path / "runs")}

    @cached_property
    def _attempts(self) -> dict[str, list[int]]:
        """Key -> numbers of the attempts that did not finish, the last one last."""
        found: dict[str, list[int]] = {}
        for path in _folders(self.path / "failed"):
            key, _, number = path.name.rpartition("-")
            # Somebody's own folder there is none of our business.
            if key.isalnum() and number.isascii() and number.isdigit() and len(number) < 10:
                found.setdefault(key, []).append(int(number))
        for numbers in found.values():
            numbers.sort()
        return found

    def state(self, key: str) -> State:
        """How one cell stands; read and checked once."""
        if key not in self._states:
            self._states[key] = self._look(key)
        return self._states[key]

    def statuses(self, keys: Iterable[str]) -> dict[str, str]:
        """Key -> status of those cells that finished or failed."""
        found = {key: self.state(key).status for key in keys}
        return {key: status for key, status in found.items() if status != "pending"}

    def problems(self) -> list[str]:
        """One sentence for each planned cell that had finished and is not as it was stored."""
        keys = [cell["key"] for cell in self.plan["cells"]]
        return [self.state(key).problem for key in keys if self.state(key).problem]

    def finished(self) -> list[str]:
        """The keys of all finished cells that are in the folder, planned or not."""
        return sorted(key for key in self._finished if self.state(key).status in FINAL)

    def altered(self) -> dict[str, str]:
        """Key -> what is wrong, of every cell in runs/ or failed/ that is not as it was stored."""
        keys = sorted({*self._finished, *self._attempts})
        return {key: self.state(key).problem for key in keys if self.state(key).problem}

    def strays(self) -> dict[str, str]:
        """Key -> what is wrong, of every planned cell beside whose files lies one that no run
        stored. Its numbers stand; hidden names, which editors and Jupyter leave, are not looked at.
        """
        found: dict[str, str] = {}
        for cell in self.plan["cells"]:
            home = self.state(cell["key"]).home
            if home is None:
                continue
            stored = {*_vouched(home), "DONE", "DIGESTS"}
            # DONE names all that a run stores; whatever else lies there came later.
            names: list[str] = []
            with suppress(OSError):  # it has just gone
                names = sorted(name for name in os.listdir(home) if name[:1] != ".")
            strange = [name for name in names if name not in stored]
            if strange and len(stored) > 2:
                found[cell["key"]] = f"{strange[0]} was not stored by a run"
        return found

    def _look(self, key: str) -> State:
        problem = ""
        if key in self._finished:
            try:
                return _stored(self._finished[key])
            except Damaged as damage:
                problem = f"cell {key[:12]} is not as it was stored and counts as pending: {damage}"
        if key not in self._attempts:
            return State(problem=problem)
        home = self.path / "failed" / f"{key}-{self._attempts[key][-1]}"
        try:
            _, text = _check_digests(home, "DIGESTS")
            record = _manifest(home, key, text)
        except Damaged as damage:
            problem = problem or f"the failed cell {key[:12]} counts as pending: {damage}"
            return State(problem=problem)
        return _state(record, home, problem)

    def manifest(self, key: str) -> dict:
        """The record of one cell: key, cell, inputs (what the key hashes), limits, status, phase,
        reason, traceback, phases (seconds), seconds, phases_cpu and cpu_seconds (CPU seconds),
        joules, peak_mb, facts (what the generator told of itself), attempts, versions, fingerprint,
        host, cpu, cores, python, started, hashes, rows. Older versions have no CPU seconds, joules
        and facts.

        `key` may be the beginning of one. Raises InputError where no attempt at such a cell is
        recorded.
        """
        home = self.place(key)
        whole = home.name.partition("-")[0]
        return _manifest(home, whole)

    def place(self, key: str) -> Path:
        """The folder of a finished cell, or of the last attempt at one that did not finish. `key`
        may be the beginning of one.
        """
        known = {*self._finished, *self._attempts}
        matches = [each for each in known if key.isalnum() and each.startswith(key)]
        matches = [each for each in matches if self.state(each).home]
        if len(matches) == 1:
            return self.state(matches[0]).home
        several = f"{len(matches)} cells begin with" if matches else "no cell that ran begins with"
        raise InputError(
            f"{several} {key!r} in {self.path}; `workbench status {self.path}` names the keys."
        )

    def cell_rows(self, key: str) -> pd.DataFrame:
        """The rows of one cell with ROW_COLUMNS, read up to a limit. Raises Damaged."""
        return rows_in(self.place(key))

    # Its tables --------------------------------------------------------------------------------

    def cells(self) -> pd.DataFrame:
        """One row per planned cell, in the plan's order: columns CELL_COLUMNS then FACT_COLUMNS."""
        # Pending cells have lines too: nothing that was planned vanishes.
        records = [_about(cell) | _facts(self.state(cell["key"])) for cell in self.plan["cells"]]
        columns = CELL_COLUMNS | FACT_COLUMNS
        return pd.DataFrame(records, columns=list(columns)).astype(columns)

    def rows(self) -> pd.DataFrame:
        """Every number of the report: columns CELL_COLUMNS then ROW_COLUMNS, in the plan's order.

        A cell that ended otherwise than ok is one row with metric "" whose note is the reason;
        pending cells have none. A cell whose rows cannot be read is pending from here on.
        """
        parts: dict[str, pa.Table] = {}
        size = unfolded = 0
        for cell in self.plan["cells"]:
            key = cell["key"]
            state = self.state(key)
            if state.status == "ok":
                try:
                    path, expected = state.home / "rows.parquet", state.facts.get("rows_hash")
                    table = _read_rows(path, expected)
                    size += path.stat().st_size
                    # Of many cells each may be small enough, and all of them together a bomb.
                    if unfolded + table.nbytes > most_unfolded(size, MOST_TIMES["rows"]):
                        raise Damaged("the rows of this folder unfold to more than is read.")
                    unfolded += table.nbytes
                    parts[key] = table
                except (Damaged, OSError) as damage:
                    problem = f"cell {key[:12]} cannot be read and counts as pending: {damage}"
                    self._states[key] = State(problem=problem)
            elif state.status != "pending":
                parts[key] = _reason_row(state.facts["reason"])
        table = self.cells()
        table = table[table["status"] != "pending"]
        if not len(table):
            columns = CELL_COLUMNS | ROW_COLUMNS
            return pd.DataFrame(columns=list(columns)).astype(columns)
        ordered = [parts[key] for key in table["key"]]
        rows = pa.concat_tables(ordered).to_pandas().astype(ROW_COLUMNS)
        lengths = [len(part) for part in ordered]
        about = table[list(CELL_COLUMNS)].loc[table.index.repeat(lengths)].reset_index(drop=True)
        return pd.concat([about, rows], axis=1)

    def rows_digest(self) -> str:
        """One sha256 for all the rows that a page of this folder is made from."""
        lines = [f"{cell['key']} {self.state(cell['key']).status}" for cell in self.plan["cells"]]
        hashes = [self.state(cell["key"]).facts.get("rows_hash") for cell in self.plan["cells"]]
        return digest(canonical([lines, hashes]))

    # Writing -----------------------------------------------------------------------------------

    def store(self, plan: Plan, cell: Cell, outcome: Outcome, attempts: list[dict]) -> Path:
        """Write an outcome into runs/KEY or failed/KEY-N as one rename; a crash at any moment
        leaves all of it or nothing.
        """
        record = _record(plan, cell, outcome, attempts)
        files = dict(outcome.files)
        text = json.dumps(record, indent=1, ensure_ascii=False)
        files["manifest.json"] = text.encode("utf-8", "replace")  # a reason may hold anything
        # Of what is written, before it is written: a disk that loses a byte is found out.
        hashes = {name: digest(content) for name, content in files.items()}
        # The last of them
        files["DONE" if outcome.status in FINAL else "DIGESTS"] = _digests_text(hashes)
        if outcome.status in FINAL:
            target = self.path / "runs" / cell.key
        else:
            numbers = self._attempts.setdefault(cell.key, [])
            numbers.append(max(numbers, default=0) + 1)
            target = self.path / "failed" / f"{cell.key}-{numbers[-1]}"
        name, mode = f"cell-{secrets.token_hex(8)}", stat.S_IMODE(self.path.stat().st_mode)
        home = target.parent.name
        # By descriptors: a link that takes the place of one of them in the meantime leads nowhere.
        with (
            self._subfolder(".tmp") as parts,
            self._subfolder("runs") as runs,
            self._subfolder(home) as beside,
        ):
            _write_folder(name, files, mode | stat.S_IRWXU, parts)
            # A skipped cell that was run again, or one that is not as it was stored.
            _remove(cell.key, runs)
            _remove(target.name, beside)
            os.replace(name, target.name, src_dir_fd=parts, dst_dir_fd=beside)
            os.fsync(beside)
        self._states[cell.key] = _state(record, target, "")
        return target

    def sweep(self) -> None:
        """Remove what a run that died left half written."""
        _remove(self.path / ".tmp")

    @contextmanager
    def _subfolder(self, name: str) -> Iterator[int]:
        """The descriptor of one of our own folders in this one, made where it is missing; never of
        what a link leads to.
        """
        path = self.path / name
        with suppress(FileExistsError):
            path.mkdir()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise InputError(f"{path} is a link or no folder; remove it, then run again.") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def lock(self, wait: bool) -> Iterator[None]:
        """Hold the folder alone; the kernel lets go of it when this process dies, however it dies."""
        # A lock of the kernel: no stale file to remove after a crash.
        with self._open_lock() as file:
            if not _locked(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
                time.sleep(0.2)  # `status` holds it for a moment when it asks
                if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    who = self.holder() or "another process"
                    raise InputError(
                        f"{self.path} is being run by {who}; wait for it, or run another folder."
                    )
            file.truncate(0)
            began = time.strftime("%H:%M:%S")
            file.write(f"process {os.getpid()} on {platform.node()} since {began}")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)  # the machine's name is nobody's business afterwards

    def _open_lock(self):
        path = self.path / ".lock"
        try:
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
            )
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise InputError(
                    f"{path} is a link or no file; remove it, then run again."
                ) from None
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}); choose a folder of yours."
            ) from None
        about = os.fstat(descriptor)
        # A second name of the same file may be anywhere: writing here would write there.
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            os.close(descriptor)
            raise InputError(f"{path} is a link or no file; remove it, then run again.")
        return open(descriptor, "a+", encoding="utf-8")

    def holder(self) -> str:
        """Who holds the lock, in words; "" for nobody."""
        try:
            with open_own(self.path / ".lock") as file:
                if _locked(file, fcntl.LOCK_SH | fcntl.LOCK_NB):
                    return ""
                return file.read(200).decode(errors="replace") or "another process"
        except (OSError, Damaged):
            return ""


def plan_text(record: dict) -> str:
    """What plan.json holds: the record, and the sha256 of all else in it as `digest`."""
    rest = {name: value for name, value in record.items() if name != "digest"}
    return json.dumps(record | {"digest": digest(canonical(rest))}, ensure_ascii=False)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """A full disk, or a folder that cannot be written or is gone, is the user's to mend: one
    sentence, no traceback.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise InputError(
                f"no space left for {folder}: finished cells are kept; free some and run again."
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise InputError(
                f"{error.filename} cannot be written ({error.strerror}); choose a folder of yours."
            ) from None
        if error.errno in IN_THE_WAY:
            raise InputError(
                f"{error.filename} cannot be written ({error.strerror}) in {folder}; "
                "remove what is in its way."
            ) from None
        if error.errno == errno.ENOENT and error.filename is None:  # of tempfile, about all of them
            raise InputError(
                "no folder for temporary files can be written; free some space, or set TMPDIR."
            ) from None
        if not folder.is_dir():
            raise InputError(
                f"{folder} is gone; somebody removed it while it was written."
            ) from None
        raise


def says_disk_full(reason: str) -> bool:
    return any(f"[errno {number}]" in reason.lower() for number in DISK_FULL)


def _check_planned(cell: object, path: Path) -> None:
    """Raises Damaged unless a planned cell has the shape that a run writes."""
    if not isinstance(cell, dict):
        raise Damaged(f"{path} holds a cell that is no table; it is damaged.")
    cell.setdefault("split", 0)  # plans of older versions have one of each
    cell.setdefault("draw", 0)
    for name, kinds in PLANNED.items():
        if not isinstance(cell.get(name), kinds) or isinstance(cell.get(name), bool):
            raise Damaged(
                f"{path} holds a cell whose {name} is {str(cell.get(name))[:40]!r}; it is damaged."
            )
    # A key becomes part of a path, and the folder may come from somebody else.
    if not (cell["key"].isascii() and cell["key"].isalnum()):
        raise Damaged(
            f"{path} holds the key {cell['key'][:40]!r}, which no run writes; do not trust this"
            " folder."
        )
    for name in ("seed", "split", "draw"):
        if not 0 <= cell[name] < 2**63:
            raise Damaged(f"{path} holds a cell whose {name} is out of range; it is damaged.")


def _folders(place: Path) -> list[Path]:
    """The folders in `place`, links left out; none where it is missing or a link itself."""
    if place.is_symlink():
        return []
    try:
        with os.scandir(place) as entries:
            return [
                Path(place, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []


def _stored(home: Path) -> State:
    """The state of a finished cell. Raises Damaged unless it is as it was stored."""
    # First whether the files are those, then what they say.
    hashes, text = _check_digests(home, "DONE")
    record = _manifest(home, home.name, text)
    if record["status"] not in FINAL:
        raise Damaged("manifest.json says that it did not finish.")
    for name in STORED:
        needed = name == "manifest.json" or os.path.lexists(home / name)
        if needed and name not in hashes:
            raise Damaged(f"DONE does not vouch for {name}.")
    if record["status"] == "ok" and "rows" not in record.get("hashes", {}):
        raise Damaged("manifest.json records no hash of rows.parquet.")
    for name, expected in record.get("hashes", {}).items():
        if hashes.get(f"{name}.parquet") != expected:
            raise Damaged(f"{name}.parquet is not the one that manifest.json records.")
    return _state(record, home, "")


def _check_digests(home: Path, record: str) -> tuple[dict, bytes | None]:
    """What DONE or DIGESTS records, file -> sha256, and the bytes of manifest.json where it is one
    of these. Raises Damaged unless the files are those.
    """
    text = read_own(home / record, int(MOST_DONE))
    hashes = parse_own_json(home / record, text)
    if text != _digests_text(hashes):
        raise Damaged(f"{record} was changed after the cell was stored.")
    if len(hashes) > MOST_FILES:
        raise Damaged(f"{record} names {len(hashes):,} files; no run stores so many.")
    manifest = None
    for name, expected in hashes.items():
        if not _is_name(name):
            raise Damaged(f"{home.name}/{record} names the file {name[:40]!r}; no run writes that.")
        if name == "manifest.json":
            # Opened once: what is parsed later are the very bytes whose hash was compared here.
            manifest = read_own(home / name, int(MOST_MANIFEST))
            found = digest(manifest)
        else:
            found = _file_digest(home / name)
        if found != expected:
            raise Damaged(f"{name} was changed after the cell was stored.")
    return hashes, manifest


def _digests_text(hashes: dict) -> bytes:
    """What DONE or DIGESTS holds."""
    return json.dumps(hashes).encode()


def _vouched(home: Path) -> dict:
    """The files that DONE or DIGESTS names; none where neither can be read."""
    for record in ("DONE", "DIGESTS"):
        with suppress(Damaged):
            return read_own_json(home / record, int(MOST_DONE))
    return {}


def _file_digest(path: Path) -> str:
    with open_own(path, int(MOST_HASHED)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stays_inside(name: str) -> bool:
    return not os.path.isabs(name) and ".." not in Path(name).parts


def _named_files(grid: Grid) -> dict[str, str]:
    """Path seen from the folder -> sha256, of the files in it that the grid names: plug-ins, tables
    and their schemas.
    """
    # Plug-ins, parameters that are plug-ins, tables with their schemas, given tables.
    places: list[Path] = []
    for row in grid.variants():
        named = [plugin(grid.folder, row["name"]), *plugins(grid.folder, row["params"]).values()]
        places += [place[0] for place in named if place]
    for row in grid.datasets:
        given = [row[key] for key in ("path", "metadata", "schema") if key in row]
        places += [Path(grid.folder, path) for path in given]
    places += [file.path for file in grid.files() if not file.in_data_folder]
    found: dict[str, str] = {}
    for place in places:
        name = os.path.normpath(os.path.relpath(place, grid.folder))
        # What lies outside does not travel with the folder.
        if _stays_inside(name) and place.resolve().is_relative_to(grid.folder.resolve()):
            with suppress(Damaged):  # a link within the folder
                found[name] = _file_digest(grid.folder / name)
    return found


def _manifest(home: Path, key: str, text: bytes | None = None) -> dict:
    """A cell's record. Raises Damaged where it has not the shape in which it was written.

    text: what manifest.json holds, where it has been read already.
    """
    path = home / "manifest.json"
    record = parse_own_json(path, read_own(path, int(MOST_MANIFEST)) if text is None else text)
    for name, blank in {"traceback": "", "seconds": 0.0, "peak_mb": None, "inputs": {}}.items():
        record.setdefault(name, blank)
    for name, kind in RECORDED.items():
        if not isinstance(record.get(name), kind):
            raise Damaged(f"manifest.json lacks a valid {name}; it is damaged.")
    for name in ("seconds", "peak_mb"):
        _valid(record[name], "float64", name)
    optional = {name: record.get(name, {}) for name in OPTIONAL}
    optional |= {name: record["inputs"].get(name, {}) for name in ("data", "sources")}
    for name, value in optional.items():
        if not isinstance(value, dict):
            raise Damaged(f"manifest.json lacks valid {name}; it is damaged.")
    _check_planned(record["cell"], path)
    if record["status"] not in STATUSES:
        raise Damaged(f"manifest.json holds the status {record['status'][:40]!r}; it is damaged.")
    if record.get("key") != key:
        raise Damaged("manifest.json belongs to another cell.")
    return record


def _state(record: Mapping, home: Path, problem: str) -> State:
    """What is kept of a manifest while a page is made: ten thousand of them fit into memory."""
    # A manifest is kilobytes of sources and versions; a page needs a line of it.
    facts: dict[str, object] = {}
    for name, kind in FACT_COLUMNS.items():
        if name in record and name != "attempts":
            facts[name] = _valid(record[name], kind, name)
    for phase, seconds in record["phases"].items():
        if phase in PHASES:
            facts[f"{phase}_seconds"] = _valid(seconds, "float64", phase)
    for phase, seconds in record.get("phases_cpu", {}).items():
        if f"{phase}_cpu" in FACT_COLUMNS:
            facts[f"{phase}_cpu"] = _valid(seconds, "float64", phase)
    facts |= _tokens(record.get("facts", {}))
    facts |= _notes(record.get("facts", {}))
    for name, value in record.get("hashes", {}).items():
        if f"{name}_hash" in FACT_COLUMNS:
            facts[f"{name}_hash"] = _valid(value, "object", name)
    facts["attempts"] = len(record["attempts"])
    return State(record["status"], home, facts, record.get("limits", {}), problem)


def _tokens(reported: Mapping) -> dict[str, object]:
    """Tokens and their cost, as far as they are numbers: anybody's code wrote them."""
    found: dict[str, object] = {}
    for name in TOKENS:
        value = reported.get(name)
        is_count = type(value) in (int, float) and 0 <= value < 2**53
        if is_count and (name == "cost" or value == int(value)):
            found[name] = value
    return found


def _notes(reported: Mapping) -> dict[str, object]:
    """Sentences: of a given table on what was done to it, of a generator on what it left out."""
    notes: dict[str, object] = {"notes": " ".join(fit_notes(reported))[:MOST_NOTES]}
    if not isinstance(reported.get("given"), list):
        return notes
    # To read a file is no fit: what the real one took, nobody here knows.
    unknown = [f"{phase}_{what}" for phase in ("fit", "sample") for what in ("seconds", "cpu")]
    return notes | dict.fromkeys(unknown)


def _valid(value: object, kind: str, name: str) -> object:
    """A fact of a manifest, or Damaged where its column cannot hold it."""
    if kind == "object":
        fits = isinstance(value, str)
    elif kind == "Int64":
        fits = value is None or (type(value) is int and abs(value) < 2**63)
    else:
        fits = value is None or (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    if not fits:
        raise Damaged(f"manifest.json holds {name} = {str(value)[:40]!r}; it is damaged.")
    return value


def _about(cell: Mapping) -> dict:
    names = ("dataset", "generator", "label", "seed", "split", "draw", "key", "kernel")
    about = {name: cell[name] for name in names}
    about["params"] = json.dumps(
        cell["params"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return about


def _facts(state: State) -> dict:
    if state.status == "pending":
        return {"status": "pending", "phase": "", "reason": state.problem}
    return dict(state.facts) | {"status": state.status}


def rows_in(home: Path) -> pd.DataFrame:
    """The rows of one cell's folder with ROW_COLUMNS, read up to a limit. Raises Damaged."""
    return _read_rows(home / "rows.parquet").to_pandas().astype(ROW_COLUMNS)


def _read_rows(path: Path, expected: object = None) -> pa.Table:
    """The rows of one cell with ROW_COLUMNS, in their types. Raises Damaged for anything else.

    expected: the sha256 that was found before; the file may have changed since.
    """
    content = read_own(path, int(MOST_ROWS))
    if expected is not None and digest(content) != expected:
        raise Damaged("rows.parquet changed while it was read.")
    try:
        table = parquet_table(content, f"{path.parent.name}/{path.name}")
    except InputError as error:
        raise Damaged(str(error)) from None
    for name, kind in ROW_COLUMNS.items():
        if name not in table.column_names or table.column_names.count(name) > 1:
            raise Damaged(f"rows.parquet lacks the column {name}.")
        found = table.schema.field(name).type
        # A column without any value is written without a type.
        is_text = pa.types.is_string(found) or pa.types.is_large_string(found)
        # Any other type would be cast, and a cast may turn a text into a number.
        fits = is_text if kind == "object" else pa.types.is_float64(found)
        if not fits and not pa.types.is_null(found):
            raise Damaged(f"rows.parquet holds {found} in the column {name}.")
    kinds = {"object": pa.string(), "float64": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in ROW_COLUMNS.items()])
    return table.select(list(ROW_COLUMNS)).cast(schema)


def _reason_row(reason: str) -> pa.Table:
    # A failed cell takes part in every table, with a reason in place of a number.
    row: dict[str, object] = {}
    for name, kind in ROW_COLUMNS.items():
        row[name] = np.nan if kind == "float64" else ""
    row["state"] = ERROR
    row["note"] = reason
    kinds = {"object": pa.string(), "float64": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in ROW_COLUMNS.items()])
    return pa.Table.from_pylist([row], schema=schema)


def _record(plan: Plan, cell: Cell, outcome: Outcome, attempts: list[dict]) -> dict:
    """A cell's manifest."""
    data = plan.data_of(cell)
    inputs = dict(plan.inputs_of(cell))
    if "kernel_spec" in inputs:
        # The key hashes a kernel's environment variables; their values may be secrets.
        spec = dict(inputs["kernel_spec"])
        spec["env"] = sorted(spec.get("env", {}))
        inputs["kernel_spec"] = spec
    record = {
        "key": cell.key,
        "cell": asdict(cell),
        "inputs": inputs,
        "limits": asdict(plan.limits_of(cell)),
        "train_rows": len(data.train),
        "test_rows": len(data.test),
        "threads": cell.threads,
        "versions": inputs["versions"],
        "attempts": attempts,
    }
    return record | outcome.record()


def _write_folder(name: str, files: Mapping[str, bytes], mode: int, parent: int) -> None:
    """Make a folder in the one that the descriptor `parent` stands for, and the files in it, all of
    them on disk when this returns.
    """
    # Closed to others until all is written.
    os.mkdir(name, 0o700, dir_fd=parent)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.fchmod(folder, mode)
        for file_name, content in files.items():
            if not _is_name(file_name):  # of a machine of a cluster, say
                raise InputError(f"a cell left the file {file_name!r}, which is no name.")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(file_name, flags, 0o666, dir_fd=folder), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_name(name: str) -> bool:
    """Whether a text names a file in its folder and in no other."""
    return "/" not in name and name not in ("", ".", "..")


def _remove(name: Path | str, parent: int | None = None) -> None:
    """Remove a folder, or a link or file that stands in its place; not what a link points to.

    parent: the descriptor of the folder that holds it.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


def _locked(file, how: int) -> bool:
    try:
        fcntl.flock(file, how)
        return True
    except BlockingIOError:
        return False
