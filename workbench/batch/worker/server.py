"""The warm process: it imports once, then forks for every cell a supervisor, and the supervisor a
kernel and papermill.

    runner --socket--> warm process --fork--> supervisor --fork--> kernel
                                                         --fork--> notebook

The kernel runs the notebook's code; the notebook's process is papermill, which talks to the kernel.

Forking skips the seconds that importing torch, pandas and seaborn costs each kernel. It is safe
because the warm process has imported and nothing else: no thread pool, no event loop, no ZeroMQ
context, no random draw. The supervisor and the warm process are subreapers, so whatever a cell
starts stays below them, and each child dies with its parent.
"""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path

import psutil

from workbench.batch import keys
from workbench.batch.worker import processes
from workbench.batch.worker.supervisor import supervise
from workbench.files import import_nbformat

# What every cell's kernel and papermill need, besides what the cells themselves import.
ALWAYS = (
    "papermill.execute",
    "nbclient",
    "jupyter_client.asynchronous",
    "jupyter_client.manager",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "IPython.core.completer",
    "ipykernel.comm.manager",
    "pandas",
    "pyarrow.parquet",
    "workbench.batch.folder",
)
GRACE = 5  # seconds that supervisors get to end their cells


def serve(listener: socket.socket) -> None:
    """Fork a supervisor for each connection until standard input closes, which it does when the
    runner is gone.
    """
    processes.adopt_orphans()
    supervisors = set()
    while True:
        # Standard input is the runner's life line: it is readable when the runner is gone.
        ready, _, _ = select.select([listener, 0], [], [], 0.5)  # type: ignore[type-var]
        if 0 in ready and not os.read(0, 1):
            break
        if listener in ready:
            connection, _ = listener.accept()
            supervisors.add(
                processes.fork(supervise, connection, on_death=signal.SIGTERM, close=[listener])
            )
            connection.close()
        if gone := processes.reap() & supervisors:
            supervisors -= gone
            # A supervisor that was killed leaves its cell's processes to us.
            processes.kill(
                [child for child in psutil.Process().children() if child.pid not in supervisors]
            )
    for pid in supervisors:
        os.kill(pid, signal.SIGTERM)
    psutil.wait_procs(psutil.Process().children(), timeout=GRACE)
    processes.kill_descendants()


def _preload(names: list[str]) -> None:
    drawing = (
        ["matplotlib.backends.backend_agg", "matplotlib_inline.backend_inline"]
        if "matplotlib.pyplot" in names
        else []
    )
    import_nbformat()
    # Each import once, before any fork; pages are then shared by all cells.
    for name in [*ALWAYS, *names, *drawing]:
        try:
            import_module(name)
        except Exception:  # the cell that needs it says so
            continue
    # Which distribution a module comes from: half a second to find out, the same for every cell.
    keys.versions([])
    gc.collect()
    gc.freeze()  # a collection in a child must not copy every page it looks at


if __name__ == "__main__":
    _preload(json.loads(Path(sys.argv[2]).read_text()))
    serve(socket.socket(fileno=int(sys.argv[1])))
    # A runner that was killed removes nothing: the data of its cells would stay behind.
    shutil.rmtree(Path(sys.argv[2]).parent, ignore_errors=True)
