"""Kernels for the lessons that are forked from a process which has imported pandas, torch and what
else most lessons need: two seconds and more of each of twenty kernels.

What a kernel does is unchanged: it is a process of its own, talked to over its sockets. Only nbval's
kernels begin like this; tests of what a page's or a cell's kernel imports start the real command.
"""

import gc
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection

import jupyter_client.provisioning.local_provisioner as local
import pytest
from nbval import kernel as nbval_kernel

# What cells of most batches import, and most lessons: it takes as long as five small cells.
COMMON = (
    "imblearn.over_sampling",
    "matplotlib.pyplot",
    "pyarrow.parquet",
    "scipy.optimize",
    "scipy.stats",
    "seaborn",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "statsmodels.discrete.discrete_model",
    "statsmodels.regression.linear_model",
)
# What most lessons import. Importing starts no thread; a fork would not have it.
IMPORTS = [
    *COMMON,
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.comm.manager",
    "IPython.core.completer",
    "matplotlib.backends.backend_agg",
    "pandas",
    "torch",
    "tqdm.auto",
    "workbench",
    "workbench.generators",
    "workbench.metrics",
    "workbench.report.plots",
]
OWN_FOLDER = os.path.dirname(__file__)


def use(patch: pytest.MonkeyPatch) -> None:
    """Let nbval's kernels of this process be forked until `patch` is undone."""
    multiprocessing.set_forkserver_preload(IMPORTS)
    start_new_kernel = nbval_kernel.start_new_kernel

    def start_forked(*arguments, **settings):
        with pytest.MonkeyPatch.context() as launch:
            launch.setattr(local, "launch_kernel", fork_kernel)
            return start_new_kernel(*arguments, **settings)

    patch.setattr(nbval_kernel, "start_new_kernel", start_forked)


def fork_kernel(command: list[str], env: dict[str, str], cwd: str | None = None, **_streams):
    """Instead of jupyter_client's launch_kernel; returns what it asks of a subprocess.Popen."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_be_kernel, args=(command, env, cwd, there))
    process.start()
    # The manager signals the kernel's process group: it must have one of its own by then.
    here.recv()
    return _Forked(process)


class _Forked:
    """What jupyter_client asks of a subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.pid = process.pid
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, sign: int) -> None:
        os.kill(self.pid, sign)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _be_kernel(command: list[str], env: dict[str, str], cwd: str | None, ready: Connection) -> None:
    """In the forked process: what `python -m ipykernel_launcher -f FILE` does."""
    os.setsid()
    ready.send("a session of its own")
    ready.close()
    gc.freeze()  # a collection would copy every page that is shared with the fork server
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.environ.clear()
    os.environ.update(env)
    if cwd:
        os.chdir(cwd)
    # Lessons do not import the tests' helpers, which pytest puts into its path.
    sys.path = [entry for entry in sys.path if not entry.startswith(OWN_FOLDER)]
    module = command.index("ipykernel_launcher")
    sys.argv = command[module:]

    import matplotlib
    from ipykernel.kernelapp import IPKernelApp

    # What a kernel sets in its environment, too late for a library that is there already.
    matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    IPKernelApp.launch_instance()
