"""One cell, from its spec to its outcome: limits that hold for all its processes, and a result that was checked.

`execute(spec)` is what every backend calls, on this machine or on another. A spec is all that a cell needs, as JSON and
bytes; an outcome is all that it made. Success is a clean return of the notebook, rows of the right shape, and hashes; what
papermill writes about itself is not asked.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from workbench import kernels, provenance
from workbench.schema import InputError

PREFIX = "workbench-warm"
LOOK = 0.05  # seconds between two looks at a cell's time and memory
THREAD_VARIABLES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
NO_MEMORY = re.compile(r"MemoryError|bad_alloc|can't allocate memory|Cannot allocate memory")


def execute(spec: dict, on_phase: Callable[[str], None] | None = None) -> dict:
    """Run one cell in a forked, supervised process of this machine and bring back its outcome.

    spec: key, parameters, notebook, data, files, limits, threads, imports, sources, versions (see runner.make_spec).
    Outcome: status (ok, skipped, error, timeout, out-of-memory, or lost where something killed it from outside), phase,
    reason, traceback, phases, seconds, peak_mb, hashes, host, cpu, cores, python, fingerprint, files (name -> bytes).
    """
    if difference := _difference(spec):
        host = provenance.machine()["host"]
        raise InputError(f"{difference} on {host} than when this run was planned; run again, with the same code everywhere.")
    warm = Warm.get(spec["threads"], spec["imports"])
    folder = warm.cell_folder(spec)
    started = time.time()
    try:
        outcome = warm.run(folder, on_phase or (lambda phase: None))
        outcome["files"] = _files(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
    return {"started": stamp} | outcome | provenance.machine() | {"fingerprint": provenance.fingerprint(spec["threads"])}


class Warm:
    """The runner's side of one warm process (kernels.serve) and its private folder."""

    _all: dict = {}  # noqa: RUF012 - one for each (threads, imports) of this process
    _lock = threading.Lock()

    @classmethod
    def get(cls, threads: int, imports: list[str]) -> Warm:
        with cls._lock:
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
        me = psutil.Process()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{me.pid}-{int(me.create_time())}-"))
        (self.folder / "imports.json").write_text(json.dumps(imports))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / "socket"))
        listener.listen(128)
        command = [sys.executable, "-P", "-m", "workbench.kernels", str(listener.fileno()), str(self.folder / "imports.json")]
        with open(self.folder / "log.txt", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[listener.fileno()],
                env=self._environment(threads), cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        listener.close()

    def _environment(self, threads: int) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(provenance.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        counts = {f"{name}_NUM_THREADS": str(threads) for name in THREAD_VARIABLES}
        return os.environ | counts | {
            "LOKY_MAX_CPU_COUNT": str(threads), "WORKBENCH_THREADS": str(threads), "WORKBENCH_WARM": str(self.folder),
            "PYTHONPATH": path, "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "IPYTHONDIR": str(self.folder / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",  # the one thread that an import would start
        }  # fmt: skip

    def cell_folder(self, spec: dict) -> Path:
        """A fresh folder with everything the cell reads; its data is written once for all cells of a dataset."""
        data = self.folder / spec["data"]["hash"]
        with self._lock:
            if not data.exists():
                part = Path(tempfile.mkdtemp(dir=self.folder))
                for name, content in spec["data"]["files"].items():
                    (part / name).write_bytes(content)
                part.rename(data)
        folder = Path(tempfile.mkdtemp(prefix="c", dir=self.folder))  # short: sockets' paths have 107 bytes at most
        (folder / "out").mkdir()
        (folder / "data").symlink_to(data)
        (folder / "source.ipynb").write_text(spec["notebook"], encoding="utf-8")
        for name, text in spec["files"].items():
            (folder / name).write_text(text, encoding="utf-8")
        small = {name: spec[name] for name in ("key", "parameters", "limits")}
        (folder / "spec.json").write_text(json.dumps(small), encoding="utf-8")
        return folder

    def run(self, folder: Path, on_phase: Callable[[str], None]) -> dict:
        """Hand the folder to a supervisor and wait for its outcome."""
        outcome = {"status": "lost", "reason": "its supervisor was killed", "phase": "start"}
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.folder / "socket"))
                connection.sendall(f"{folder}\n".encode())
                for line in connection.makefile(encoding="utf-8"):
                    message = json.loads(line)
                    if "phase" in message and "status" not in message:
                        on_phase(message["phase"])
                        outcome["phase"] = message["phase"]
                    else:
                        outcome = message
        except OSError as error:
            outcome["reason"] = f"its warm process was killed ({error})"
        return outcome

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(kernels.GRACE + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep() -> None:
    """Kill the processes and remove the folders that dead runners on this machine left behind."""
    for process in psutil.process_iter():
        try:
            folder = Path(process.environ().get("WORKBENCH_WARM", ""))
            if folder.name.startswith(PREFIX) and not _owner_lives(folder.name):
                process.kill()
        except (psutil.Error, OSError):
            continue
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if not _owner_lives(folder.name) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def _owner_lives(name: str) -> bool:
    try:
        pid, created = map(int, name.removeprefix(f"{PREFIX}-").split("-")[:2])
        return int(psutil.Process(pid).create_time()) == created
    except (psutil.NoSuchProcess, ValueError):
        return False


def supervise(connection: socket.socket) -> None:
    """In a process of its own: run the cell whose folder the connection names, and send phases and the outcome."""
    os.setsid()
    kernels.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        folder = Path(connection.makefile(encoding="utf-8").readline().strip())
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        outcome = _watch(connection, json.loads(Path("spec.json").read_text(encoding="utf-8")))
    finally:
        kernels.kill_descendants()
    if outcome:
        if outcome["status"] == "ok":
            outcome |= _check_result()
        connection.sendall((json.dumps(outcome) + "\n").encode())


def _watch(connection: socket.socket, spec: dict) -> dict | None:
    """Start kernel and papermill, look at them until they end or break a limit; None when the runner has gone."""
    from jupyter_client.connect import write_connection_file

    limits, began = spec["limits"], time.monotonic()
    file, _ = write_connection_file("kernel.json", transport="ipc", ip=str(Path.cwd() / "k"), key=os.urandom(24).hex().encode())
    memory_limit = limits["memory_mb"] * 1e6
    kernel = kernels.fork(kernels.run_kernel, file, int(1.1 * memory_limit), close=[connection])
    notebook = kernels.fork(kernels.run_notebook, file, kernel, spec["parameters"], close=[connection])
    meter, told, peak, ended, kernel_gone = _Meter(), "start", 0.0, {}, None
    while True:
        ready, _, _ = select.select([connection], [], [], LOOK)
        if ready and not connection.recv(1):
            return None
        ended |= kernels.reap_status()
        seconds = time.monotonic() - began
        done, current = _phases()
        if (current or told) != told:
            told = current
            connection.sendall((json.dumps({"phase": told}) + "\n").encode())
        about = {"phase": told, "phases": done, "seconds": round(seconds, 3), "traceback": ""}
        if notebook in ended:
            return about | {"peak_mb": round(peak / 1e6, 1)} | _verdict(ended, kernel, notebook, peak / memory_limit)
        memory = meter.read(memory_limit)
        peak = max(peak, memory)
        about["peak_mb"] = round(peak / 1e6, 1)
        if memory > memory_limit:
            return about | {"status": "out-of-memory", "reason": f"more than {limits['memory_mb']:g} MB of memory"}
        if seconds > limits["seconds"]:
            return about | {"status": "timeout", "reason": f"longer than {limits['seconds']:g} seconds"}
        if kernel in ended:
            kernel_gone = kernel_gone or seconds
            if seconds - kernel_gone > 3:  # papermill had its time to write down what it has
                return about | _verdict(ended, kernel, notebook, peak / memory_limit)


def _verdict(ended: dict[int, int], kernel: int, notebook: int, memory_share: float) -> dict:
    """What the exit codes and papermill's error say. memory_share: peak memory over its limit."""
    code = ended.get(kernel, 0)
    if code < 0:
        name = signal.Signals(-code).name
        status = "out-of-memory" if memory_share > 0.9 else "lost" if name in ("SIGKILL", "SIGTERM") else "error"
        return {"status": status, "reason": f"the kernel process ended by {name}"}
    if ended.get(notebook) == 0:
        return {"status": "ok", "reason": "", "phase": ""}
    if Path("error.json").exists():
        error = json.loads(Path("error.json").read_text(encoding="utf-8"))
        text = re.sub(r"\x1b\[[0-9;]*m", "", error["traceback"])
        reason = f"{error['ename']}: {error['evalue']}".strip()
        if error["ename"] == "Skipped":
            return {"status": "skipped", "reason": error["evalue"]}
        full = NO_MEMORY.search(f"{reason}\n{text}")
        return {"status": "out-of-memory" if full else "error", "reason": reason.splitlines()[-1], "traceback": text}
    if ended.get(notebook, 0) < 0:
        return {"status": "lost", "reason": f"papermill's process ended by {signal.Signals(-ended[notebook]).name}"}
    return {"status": "error", "reason": "the kernel process ended by itself"}


def _check_result() -> dict:
    from workbench import results

    try:
        paths = {name: Path("out", f"{name}.parquet") for name in ("rows", "synthetic")}
        results.check_rows(results.read(paths["rows"]))
        synthetic = results.read(paths["synthetic"])
        hashes = {name: provenance.digest(path.read_bytes()) for name, path in paths.items()}
        return {"hashes": hashes, "rows": len(synthetic)}
    except Exception as error:
        return {"status": "error", "phase": "save", "reason": f"the notebook ended without a valid result: {error}"}


def _phases() -> tuple[dict[str, float], str]:
    from workbench.cell import EPOCH, phases

    try:
        return phases(Path("out", EPOCH).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return {}, ""


class _Meter:
    """Bytes of memory of everything below this process; pages shared with the warm process count in proportion.

    The exact reading (PSS) takes milliseconds a process: in between it is moved by what the cheap one (anonymous pages)
    changed, so that looking often costs a cell a few percent of a core at most.
    """

    def __init__(self):
        self._exact = self._cheap = self._next_exact = self._next_list = 0.0
        self._processes: list[psutil.Process] = []

    def read(self, limit: float) -> float:
        now, cost = time.monotonic(), time.thread_time()
        if now >= self._next_list:
            before, self._processes = self._processes, psutil.Process().children(recursive=True)
            if before != self._processes:  # a forked process shares pages, which only the exact reading tells
                self._next_exact = now
            self._next_list = now + 20 * (time.thread_time() - cost)
        cheap = self._sum(lambda process: (info := process.memory_info()).rss - info.shared)
        estimate = self._exact + cheap - self._cheap
        if now < self._next_exact and estimate <= limit:
            return estimate
        self._exact, self._cheap = self._sum(lambda process: process.memory_full_info().pss), cheap
        self._next_exact = now + 1
        return self._exact

    def _sum(self, measure: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._processes:
            with suppress(psutil.Error, OSError):  # it has just ended
                total += measure(process)
        return total


def _files(folder: Path) -> dict[str, bytes]:
    paths = [folder / "cell.ipynb", folder / "log.txt", *(folder / "out").glob("*.parquet")]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _difference(spec: dict) -> str:
    """The first source or version in which this machine differs from the one that planned the cell, in words."""
    here = {name: provenance.source_hash(name) for name in spec["sources"]} | provenance.versions(spec["modules"])
    for name, wanted in (spec["sources"] | spec["versions"]).items():
        if here.get(name) != wanted:
            if name in spec["sources"]:
                return f"{name} has another source"
            return f"{name} is {here.get(name)} instead of {wanted}, another version"
    return ""
