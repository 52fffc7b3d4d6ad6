"""One cell, from its spec to its outcome, on whatever machine this is; and this side of that
machine's warm process.

`execute(spec)` is what every backend calls. A spec is all that a cell needs, as JSON and bytes; an
outcome all that it made.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from workbench.batch import keys
from workbench.batch.kernels import isolated
from workbench.batch.spec import Outcome, Spec
from workbench.batch.worker.server import GRACE
from workbench.batch.worker.supervisor import wall_limit
from workbench.errors import InputError

PREFIX = "workbench-warm"
PATIENCE = 60  # seconds after a cell's last limit until its supervisor counts as dead
THREAD_VARIABLES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")


def execute(spec: Spec, on_phase: Callable[[str], None] | None = None) -> Outcome:
    """Run one cell in a forked, supervised process of this machine and bring back its outcome."""
    # On a cluster's machine the code may be another one: its numbers would stand under a wrong key.
    if difference := _difference(spec):
        raise InputError(
            f"{difference} on {platform.node()} than when this run was planned; "
            "run again, with the same code everywhere."
        )
    # One warm process for all cells of a batch: imports cost seconds.
    warm = Warm.get(spec.threads, spec.imports)
    folder = warm.cell_folder(spec)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        message = warm.run(folder, on_phase or (lambda phase: None), spec.limits)
        # Read before the folder goes: an outcome is bytes, wherever it was made.
        files = _files(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    about: dict[str, Any] = keys.machine() | {"fingerprint": keys.fingerprint(spec.threads)}
    return Outcome(**message, **about, started=started, files=files)


class Warm:
    """The runner's side of one warm process (workbench.batch.worker.server) and its private folder."""

    _all: dict = {}  # noqa: RUF012 - one for each (threads, imports) of this process
    _lock = threading.Lock()

    @classmethod
    def get(cls, threads: int, imports: list[str]) -> Warm:
        with cls._lock:
            # A forked child must not use its parent's.
            key = (os.getpid(), threads, tuple(imports))
            warm = cls._all.get(key)
            if warm is None or warm.process.poll() is not None:
                warm = cls._all[key] = cls(threads, imports)
            return warm

    @classmethod
    def close_all(cls) -> None:
        with cls._lock:
            for warm in cls._all.values():
                warm.close()
            cls._all.clear()

    def __init__(self, threads: int, imports: list[str]):
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=own_prefix()))
        (self.folder / "imports.json").write_text(json.dumps(imports))
        (self.folder / "references").mkdir()
        # A socket in a private folder: no port that others could take or hear.
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / "socket"))
        listener.listen(128)
        command = [
            sys.executable,
            "-P",
            "-m",
            "workbench.batch.worker.server",
            str(listener.fileno()),
            str(self.folder / "imports.json"),
        ]
        with open(self.folder / "log.txt", "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                env=self._environment(threads),
                cwd=self.folder,
                start_new_session=True,
            )
        listener.close()

    def _environment(self, threads: int) -> dict[str, str]:
        """The runner's environment, and what makes cells alike and their threads few."""
        # A library that takes all cores would slow down the cells beside it, and add in another
        # order.
        counts = {f"{name}_NUM_THREADS": str(threads) for name in THREAD_VARIABLES}
        # Several batches of the same code (tests, notebooks) may share one folder of references.
        given = isolated(os.environ)
        references = given.get("WORKBENCH_REFERENCES") or str(self.folder / "references")
        own = {
            "LOKY_MAX_CPU_COUNT": str(threads),
            "WORKBENCH_THREADS": str(threads),
            "WORKBENCH_WARM": str(self.folder),
            "WORKBENCH_REFERENCES": references,
            "PYTHONHASHSEED": "0",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            # The one thread that an import would start
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
        }
        return os.environ | given | counts | own

    def cell_folder(self, spec: Spec) -> Path:
        """A fresh folder with everything the cell reads; its data is written once for all cells of
        a dataset.
        """
        data = self.folder / spec.data["hash"]
        with self._lock:
            if not data.exists():
                # Written beside its place and moved there: no cell sees half of it.
                part = Path(tempfile.mkdtemp(dir=self.folder))
                for name, content in spec.data["files"].items():
                    (part / name).write_bytes(content)
                part.rename(data)
        # A short name: sockets' paths have 107 bytes at most.
        folder = Path(tempfile.mkdtemp(prefix="c", dir=self.folder))
        (folder / "out").mkdir()
        (folder / "data").symlink_to(data)
        (folder / "source.ipynb").write_text(spec.notebook, encoding="utf-8")
        for name, content in spec.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            written = content.encode("utf-8") if isinstance(content, str) else content
            (folder / name).write_bytes(written)
        small = {"key": spec.key, "parameters": spec.parameters, "limits": spec.limits}
        (folder / "spec.json").write_text(json.dumps(small), encoding="utf-8")
        return folder

    def run(self, folder: Path, on_phase: Callable[[str], None], limits: Mapping) -> dict:
        """Hand the folder to a supervisor and wait for its outcome, a message with Outcome's
        fields.

        The supervisor holds the cell to its limits; one that says nothing for much longer than that
        (somebody stopped it) is killed, and its cell is lost.
        """
        # What holds if the connection ends without a word.
        outcome = {"status": "lost", "reason": "its supervisor was killed", "phase": "start"}
        supervisor = None
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(wall_limit(limits) + PATIENCE)
                connection.connect(str(self.folder / "socket"))
                connection.sendall(f"{folder}\n".encode())
                for line in connection.makefile(encoding="utf-8"):
                    message = json.loads(line)
                    if "supervisor" in message:
                        supervisor = message["supervisor"]
                    elif "status" not in message:
                        on_phase(message["phase"])
                        outcome["phase"] = message["phase"]
                    else:
                        outcome = message
        except TimeoutError:
            outcome["reason"] = "its supervisor said nothing for too long and was killed"
            with suppress(psutil.Error):
                psutil.Process(supervisor or -1).kill()
        except OSError as error:
            outcome["reason"] = f"its warm process was killed ({error})"
        return outcome

    def close(self) -> None:
        # The warm process ends itself when its input closes, and its supervisors with it.
        self.process.stdin.close()
        try:
            self.process.wait(GRACE + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def own_prefix() -> str:
    """How the name of a folder begins that `sweep` removes once this process is gone."""
    me = psutil.Process()
    return f"{PREFIX}-{me.pid}-{int(me.create_time())}-"


def sweep() -> None:
    """Kill the processes and remove the folders that dead runners on this machine left behind."""
    # By the variable that names their folder: other people's processes are left alone.
    for process in psutil.process_iter():
        try:
            folder = Path(process.environ().get("WORKBENCH_WARM", ""))
            if folder.name.startswith(PREFIX) and not _owner_lives(folder.name):
                process.kill()
        except (psutil.Error, OSError):
            continue
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        with suppress(OSError):  # another user's link to nowhere, or gone in the meantime
            about = folder.lstat()
            ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
            if ours and not _owner_lives(folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def _owner_lives(name: str) -> bool:
    try:
        # The start time too: process numbers are used again.
        pid, created = map(int, name.removeprefix(f"{PREFIX}-").split("-")[:2])
        return int(psutil.Process(pid).create_time()) == created
    except (psutil.NoSuchProcess, ValueError):
        return False


def _files(folder: Path) -> dict[str, bytes]:
    paths = [folder / "cell.ipynb", folder / "log.txt", *(folder / "out").glob("*.parquet")]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _difference(spec: Spec) -> str:
    """The first source or version in which this machine differs from the one that planned the cell,
    in words.
    """
    # Sources before versions: a changed file is the likelier cause.
    for name, wanted in spec.sources.items():
        if keys.source_hash(name) != wanted:
            return f"{name} has another source"
    versions = keys.versions(spec.modules)
    for name, wanted in spec.versions.items():
        if versions.get(name) != wanted:
            return f"{name} is {versions.get(name)} instead of {wanted}, another version"
    return ""
