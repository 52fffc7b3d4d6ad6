"""A cell's supervisor: it starts kernel and papermill, holds them and all their descendants to the
limits, and judges the end.

Success is a clean return of the notebook, rows of the right shape, and hashes; what papermill
writes about itself is not asked: a killed kernel leaves a notebook in which every cell is
"completed".
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from workbench.batch import keys
from workbench.batch.worker import processes

# Seconds of wall clock that a cell gets for each CPU second of its limit: a busy machine is no fault
# of the cell, and one that waits for ever ends all the same.
BACKSTOP = 10
LOOK = 0.05  # seconds between two looks at a cell's time and memory
# Of a core, that each of the two dear readings of memory may take: which processes there are, and
# the pages that they share.
SHARE = 0.01
# Seconds that papermill gets, once its kernel is gone, to write down what it has.
LAST_WORDS = 3
# Where Linux keeps the processor's energy counters (RAPL), readable by root as a rule.
POWERCAP = Path("/sys/class/powercap")
NO_MEMORY = re.compile(r"MemoryError|bad_alloc|can't allocate memory|Cannot allocate memory")


def supervise(connection: socket.socket) -> None:
    """In a process of its own: run the cell whose folder the connection names, and send phases and
    the outcome.
    """
    os.setsid()
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        # One line: everything else lies in the folder.
        folder = Path(connection.makefile(encoding="utf-8").readline().strip())
        os.chdir(folder)
        _redirect_streams()
        _send(connection, {"supervisor": os.getpid()})
        spec = json.loads(Path("spec.json").read_text(encoding="utf-8"))
        outcome = _watch(connection, spec)
    finally:
        processes.kill_descendants()
    if outcome is None:
        return
    # Of all that this process and its descendants waited for; what was still running has been
    # killed and waited for.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcome["cpu_seconds"] = round(used.ru_utime + used.ru_stime, 2)
    outcome["facts"] = _facts()
    if outcome["status"] == "ok":
        outcome |= _check_result()
    _send(connection, outcome)


def _redirect_streams() -> None:
    """Nothing to read, and what is written goes to log.txt: of this process and of all that it
    starts.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _send(connection: socket.socket, message: dict) -> None:
    connection.sendall((json.dumps(message) + "\n").encode())


def _watch(connection: socket.socket, spec: dict) -> dict | None:
    """Start kernel and papermill, look at them until they end or break a limit; None when the
    runner has gone.
    """
    # CPU seconds, wall seconds and memory, of all processes of the cell together.
    limits = spec["limits"]
    memory_limit = limits["memory_mb"] * 1e6
    began = time.monotonic()
    kernel, notebook = _start(connection, spec, memory_limit)
    meter = _Meter()
    energy = Energy()
    phase = "start"
    peak = 0.0
    kernel_gone = None  # when the kernel was found to have ended
    ended: dict[int, int] = {}
    while True:
        # The runner sends nothing: a connection to be read from has been closed.
        ready, _, _ = select.select([connection], [], [], LOOK)
        if ready and not connection.recv(1):
            return None
        ended |= processes.reap_status()
        seconds = time.monotonic() - began
        done, cpu, current = _phases()
        if current and current != phase:
            phase = current
            _send(connection, {"phase": phase})
        # Whatever ends the cell now, this is what is known of it.
        about = {
            "phase": phase,
            "phases": done,
            "phases_cpu": cpu,
            "seconds": round(seconds, 3),
            "joules": energy.read(),
            "traceback": "",
            "peak_mb": round(peak / 1e6, 1),
        }
        # Before limits are looked at: what has ended in time is not ended for its last look.
        if notebook in ended:
            return about | _verdict(ended, kernel, notebook, peak / memory_limit)
        memory = meter.read(memory_limit)
        peak = max(peak, memory)
        about["peak_mb"] = round(peak / 1e6, 1)
        if memory > memory_limit:
            reason = f"more than {limits['memory_mb']:g} MB of memory"
            return about | {"status": "out-of-memory", "reason": reason}
        if overrun := meter.overrun(limits, seconds):
            return about | {"status": "timeout", "reason": overrun}
        if kernel in ended:
            kernel_gone = kernel_gone or seconds
            if seconds - kernel_gone > LAST_WORDS:
                return about | _verdict(ended, kernel, notebook, peak / memory_limit)


def _start(connection: socket.socket, spec: dict, memory_limit: float) -> tuple[int, int]:
    """The process ids of the kernel and of papermill, which do not hold the runner's connection."""
    from jupyter_client.connect import write_connection_file

    file, _ = write_connection_file(
        "kernel.json", transport="ipc", ip=str(Path.cwd() / "k"), key=os.urandom(24).hex().encode()
    )
    # A little more than the limit: the supervisor is to see it broken, not the kernel to meet it.
    kernel = processes.fork(processes.run_kernel, file, int(1.1 * memory_limit), close=[connection])
    notebook = processes.fork(
        processes.run_notebook, file, kernel, spec["parameters"], close=[connection]
    )
    return kernel, notebook


def _verdict(ended: dict[int, int], kernel: int, notebook: int, memory_share: float) -> dict:
    """What the exit codes and papermill's error say. memory_share: peak memory over its limit."""
    # The kernel first: papermill's own error only says that it died.
    code = ended.get(kernel, 0)
    if code < 0:
        return _killed_kernel(signal.Signals(-code).name, memory_share)
    if ended.get(notebook) == 0:
        return {"status": "ok", "reason": "", "phase": ""}
    if Path("error.json").exists():
        return _notebook_error(json.loads(Path("error.json").read_text(encoding="utf-8")))
    if ended.get(notebook, 0) < 0:
        name = signal.Signals(-ended[notebook]).name
        return {"status": "lost", "reason": f"papermill's process ended by {name}"}
    return {"status": "error", "reason": "the kernel process ended by itself"}


def _killed_kernel(signal_name: str, memory_share: float) -> dict:
    # The kernel of the system kills without a word; so close to the limit memory is the likely
    # cause.
    if memory_share > 0.9:
        status = "out-of-memory"
    elif signal_name in ("SIGKILL", "SIGTERM"):
        status = "lost"  # somebody outside did it
    else:
        status = "error"
    return {"status": status, "reason": f"the kernel process ended by {signal_name}"}


def _notebook_error(error: dict) -> dict:
    """What an error raised in the notebook says of the cell."""
    if error["ename"] == "Skipped":
        return {"status": "skipped", "reason": error["evalue"]}
    text = re.sub(r"\x1b\[[0-9;]*m", "", error["traceback"])  # without its colours
    reason = f"{error['ename']}: {error['evalue']}".strip()
    is_memory = NO_MEMORY.search(f"{reason}\n{text}")
    return {
        "status": "out-of-memory" if is_memory else "error",
        "reason": reason.splitlines()[-1],
        "traceback": text,
    }


def _check_result() -> dict:
    from workbench.metrics.rows import check_rows, read_rows

    try:
        # Read back from disk: what was written is what counts.
        paths = {name: Path("out", f"{name}.parquet") for name in ("rows", "synthetic")}
        check_rows(read_rows(paths["rows"]))
        synthetic = read_rows(paths["synthetic"])
        hashes = {name: keys.digest(path.read_bytes()) for name, path in paths.items()}
        return {"hashes": hashes, "rows": len(synthetic)}
    except Exception as error:
        return {
            "status": "error",
            "phase": "save",
            "reason": f"the notebook ended without a valid result: {error}",
        }


def _facts() -> dict:
    """What Record kept of the generator's facts; {} for none, and for what is not as Record writes
    it.
    """
    from workbench.batch.cell import FACTS, MOST_FACTS, json_facts

    try:
        with open(Path("out", FACTS), encoding="utf-8") as file:
            return json.loads(json_facts(json.loads(file.read(MOST_FACTS))))
    except (OSError, ValueError):
        return {}


def _phases() -> tuple[dict[str, float], dict[str, float], str]:
    from workbench.batch.cell import EPOCH, phases

    try:
        return phases(Path("out", EPOCH).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return {}, {}, ""


def wall_limit(limits: Mapping) -> float:
    """Seconds of wall clock after which a cell is ended whatever it computed."""
    return limits.get("wall_seconds") or BACKSTOP * limits["seconds"]


class Energy:
    """Joules that the processor packages took since this was made, as their own counters (RAPL)
    say; never an estimate.

    It is the whole machine's packages, whatever else ran on them meanwhile.
    """

    def __init__(self, folder: Path = POWERCAP):
        self._joules = 0.0
        self._last: dict[Path, tuple[int, int]] = {}
        # AMD's processors too; two colons are parts of a package.
        for place in sorted(folder.glob("intel-rapl:*")):
            if place.name.count(":") != 1:
                continue
            with suppress(OSError, ValueError):
                if (place / "name").read_text().startswith("package"):
                    wraps = int((place / "max_energy_range_uj").read_text())
                    counter = place / "energy_uj"
                    self._last[counter] = int(counter.read_text()), wraps

    def read(self) -> float | None:
        """None where there is no counter, or none that may be read. To be asked more often than a
        counter wraps (minutes).
        """
        with suppress(OSError, ValueError):
            for path, (before, wraps) in self._last.items():
                now = int(path.read_text())
                self._joules += (now - before) % (wraps + 1) / 1e6
                self._last[path] = now, wraps
            return round(self._joules, 3) if self._last else None


class _Meter:
    """Bytes of memory of everything below this process; pages shared with the warm process count in
    proportion.

    The exact reading (PSS) takes ten milliseconds a process: in between it is moved by what the cheap
    one (anonymous pages) changed, so that looking often costs little.
    """

    def __init__(self):
        self._exact = 0.0
        self._cheap = 0.0
        self._next_exact = 0.0
        self._next_list = 0.0
        self._next_cpu = 0.0
        self._processes: list[psutil.Process] = []

    def read(self, limit: float) -> float:
        now = time.monotonic()
        if now >= self._next_list:
            began = time.thread_time()
            before = self._processes
            self._processes = psutil.Process().children(recursive=True)
            if before != self._processes:
                # A forked process shares pages, which only the exact reading counts right.
                self._next_exact = now
            self._next_list = now + (time.thread_time() - began) / SHARE
        # Moves with the truth between two exact readings.
        cheap = self._sum(_anonymous_bytes)
        estimate = self._exact + cheap - self._cheap
        if now < self._next_exact and estimate <= limit:
            return estimate
        began = time.thread_time()
        self._exact = self._sum(lambda process: process.memory_full_info().pss)
        self._cheap = cheap
        self._next_exact = now + max(1, (time.thread_time() - began) / SHARE)
        return self._exact

    def overrun(self, limits: Mapping, seconds: float) -> str:
        """Which limit of time the cell broke after so many seconds of wall clock, or ""."""
        if seconds > wall_limit(limits):
            return f"longer than {wall_limit(limits):g} seconds"
        if seconds < self._next_cpu:
            return ""
        self._next_cpu = seconds + 0.5
        # What has ended, and what runs: together all CPU seconds of the cell.
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = ended.ru_utime + ended.ru_stime + self._sum(lambda one: sum(one.cpu_times()[:4]))
        if used > limits["seconds"]:
            return f"more than {limits['seconds']:g} CPU seconds"
        return ""

    def _sum(self, measure: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._processes:
            with suppress(psutil.Error, OSError):  # it has just ended
                total += measure(process)
        return total


def _anonymous_bytes(process: psutil.Process) -> float:
    info = process.memory_info()
    return info.rss - info.shared
