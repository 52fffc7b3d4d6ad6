"""Processes of one cell: forking and ending them, the IPython kernel, and papermill that talks to
it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import psutil

SUBREAPER, DEATH_SIGNAL = 36, 1  # prctl(2): PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG
RESERVE = 100_000_000  # bytes that a kernel out of memory gets for telling so


def fork(function, *arguments, on_death=signal.SIGKILL, close=()) -> int:
    """Run `function` in a forked child that gets the signal `on_death` when this process dies;
    returns its pid.
    """
    # Known before the fork: afterwards it may have died, and its number be another's.
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # The warm process's handlers are not the child's.
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, signal.SIG_DFL)
        _prctl(DEATH_SIGNAL, on_death)
        if os.getppid() != parent:  # it died before prctl
            os._exit(1)
        # A descriptor that stays open would keep the other end waiting.
        for thing in close:
            thing.close()
        function(*arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # no atexit handlers of the warm process


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0)


def reap() -> set[int]:
    """Collect children that have ended; returns their pids."""
    return set(reap_status())


def reap_status() -> dict[int, int]:
    """Collect children that have ended: pid -> exit code, minus the signal's number for a killed
    one.
    """
    ended = {}
    # Until nobody is left to collect: signals of several children may fall into one.
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def kill_descendants() -> None:
    """SIGKILL everything below this process, again until nothing is left: a dying process may have
    forked.
    """
    while children := psutil.Process().children(recursive=True):
        kill(children)
        reap()


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            # Children first, while they can still be found below it.
            for child in [*process.children(recursive=True), process]:
                child.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(processes, timeout=1)


def run_kernel(connection_file: str, memory: int) -> None:
    """Be an IPython kernel. memory: bytes of new data that this process may hold before it gets a
    MemoryError.
    """
    from ipykernel.kernelapp import IPKernelApp

    # What a killed cell leaves goes with its folder.
    tempfile.tempdir = os.environ["TMPDIR"] = os.getcwd()
    # What a notebook may look at; the warm process's own arguments are none of its business.
    sys.argv = ["ipykernel_launcher", "-f", connection_file]
    # 1: no notice, no thread that polls it.
    app = IPKernelApp.instance(connection_file=connection_file, parent_handle=1)
    settings = [
        "--HistoryManager.enabled=False",
        # A plug-in named like a module, random.py say, lies in this folder.
        "--InteractiveShellApp.ignore_cwd=True",
    ]
    app.initialize(["-f", connection_file, *settings])
    _limit_memory(memory, app.shell)
    app.start()


def _limit_memory(memory: int, shell) -> None:
    """A hard stop for one process that allocates faster than the supervisor looks; private pages,
    touched or not.
    """
    try:
        import resource

        now = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmData")
        )
        ceiling = int(now.split()[1]) * 1024 + memory
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling + RESERVE))
    except (OSError, ImportError, StopIteration, ValueError):
        return  # the supervisor's own look remains

    def tell(shell, kind, error, trace, tb_offset=None):
        # To write the traceback.
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling + RESERVE, ceiling + RESERVE))
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((MemoryError,), tell)


def run_notebook(connection_file: str, kernel_pid: int, parameters: dict) -> None:
    """Execute source.ipynb here into cell.ipynb on the running kernel; error.json says what went
    wrong.
    """
    import papermill
    from nbformat import read

    try:
        # Its own kernel manager would start a kernel; ours runs already, forked.
        papermill.execute_notebook(
            read("source.ipynb", as_version=4),
            "cell.ipynb",
            parameters=parameters,
            kernel_name="python3",
            km=_manager(connection_file, kernel_pid),
            progress_bar=False,
        )
    except BaseException as error:
        about = {
            "ename": type(error).__name__,
            "evalue": str(error),
            "traceback": traceback.format_exc(),
        }
        if isinstance(error, papermill.PapermillExecutionError):
            about = {
                "ename": error.ename,
                "evalue": error.evalue,
                "traceback": "\n".join(error.traceback),
            }
        Path("error.json").write_text(json.dumps(about), encoding="utf-8")
        raise SystemExit(1) from None


def _manager(connection_file: str, kernel_pid: int):
    from jupyter_client.manager import AsyncKernelManager

    class RunningKernel(AsyncKernelManager):
        """A kernel that somebody else started and ends; nbclient asks only whether it lives."""

        has_kernel = True

        async def _async_is_alive(self) -> bool:
            return psutil.pid_exists(kernel_pid)

        is_alive = _async_is_alive

    manager = RunningKernel(connection_file=connection_file)
    manager.load_connection_file()
    return manager
