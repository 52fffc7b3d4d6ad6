"""What the tests of the batch share: a notebook without metrics, and a plug-in generator that fails
on demand.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
from nbformat.v4 import new_code_cell, new_notebook

from workbench.batch import grid, runner
from workbench.batch.folder import Folder
from workbench.batch.worker.pool import PREFIX, _owner_lives

PARAMETERS = """
dataset = "diabetes"
generator = "copy"
params = {}
seed = 0
split = 0
draw = 0
rows = None
kernel = ""
snapshot = ""
out = ""
"""
# The same phases, files and calls as notebooks/cell.ipynb; one number instead of all metrics.
CODE = """
import numpy as np
import pandas as pd
from workbench.batch.cell import Record, Skipped, read_data
from workbench.generators import make, views
from workbench.batch.peers import Peer

record = Record(out)
with record.phase("load"):
    data = read_data(dataset, snapshot, split)
    learnt, scored = views(generator, data, seed)
model = Peer(kernel, generator, params) if kernel else make(generator, params)
if reason := model.supports(data.schema):
    raise Skipped(reason)
with record.phase("fit"):
    model = model.fit(learnt, data.schema, np.random.default_rng([seed, 0]))
with record.phase("sample"), record.facts(model):
    n = rows or getattr(model, "given_rows", 0) or len(learnt)
    synthetic = model.sample(n, np.random.default_rng([seed, 1, draw]))
with record.phase("evaluate"):
    row = {"metric": "mean", "column": "", "group": "", "value": float(synthetic.iloc[:, 0].mean()), "state": "ok", "note": ""}
    table = pd.DataFrame([row | dict.fromkeys(("low", "high", "floor", "ceiling"), np.nan)])
    table = table[["metric", "column", "group", "value", "low", "high", "floor", "ceiling", "state", "note"]]
with record.phase("save"):
    record.save(rows=table, synthetic=synthetic)
"""
STUB = '''
"""A bootstrap of the real rows that can be told to fail."""
import ctypes, os, subprocess, sys, time
from dataclasses import dataclass

import numpy as np
import psutil


@dataclass
class Stub:
    sleep: float = 0.0
    how: str = ""

    def supports(self, schema):
        return "stubs take no such table" if self.how == "skip" else None

    def fit(self, table, schema, rng):
        self.table = table
        time.sleep(self.sleep)
        if self.how == "error":
            raise ValueError("a stub broke")
        # Where, in `how` too: a variable of the environment would cost a warm process of its own.
        kind, _, flag = self.how.partition(" ")
        if kind == "flaky" and not os.path.exists(flag):
            open(flag, "w").close()
            raise ValueError("the first time only")
        if self.how in ("SIGKILL", "SIGSEGV"):
            os.kill(os.getpid(), {"SIGKILL": 9, "SIGSEGV": 11}[self.how])
        if self.how == "worker":  # kernel, supervisor, warm process, then whoever runs cells
            psutil.Process().parents()[2].kill()
            time.sleep(60)
        while self.how == "spin":
            pass
        if self.how == "exit":
            os._exit(0)
        if self.how == "quit":
            raise SystemExit(0)
        if self.how == "grow":
            self.kept = []
            while True:
                self.kept.append(np.ones(2_000_000))
                time.sleep(0.005)
        if self.how == "burst":
            self.kept = np.ones(2_000_000_000)
        if self.how == "gil":  # a C call that never lets another Python thread run
            ctypes.PyDLL(None).sleep(1000)
        if self.how == "children":
            code = "import time; kept = bytearray(200_000_000); time.sleep(1000)"
            for _ in range(4):
                subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
            time.sleep(1000)
        return self

    def sample(self, n, rng, where=None):
        return self.table.iloc[rng.integers(len(self.table), size=n)].reset_index(drop=True)
'''


def people(folder: Path) -> Path:
    """A small table as a CSV file. Whoever compares it finds floors and ceilings that another test
    has measured.
    """
    rng = np.random.default_rng(0)
    path = folder / "people.csv"
    pd.DataFrame(
        {
            "age": rng.integers(18, 80, 300),
            "group": rng.choice(["a", "b"], 300),
            "bought": rng.choice(["yes", "no"], 300),
        }
    ).to_csv(path, index=False)
    return path


def seal(home: Path) -> None:
    """Make a cell's folder, written or edited by a test, one that is as it was stored."""
    record = json.loads((home / "manifest.json").read_text())
    if record["status"] == "ok":
        found = {name: home / f"{name}.parquet" for name in ("synthetic", "rows")}
        record["hashes"] = {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in found.items()
            if path.exists()
        }
    (home / "manifest.json").write_text(json.dumps(record))
    files = [path for path in home.iterdir() if path.name not in ("DONE", "DIGESTS")]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    digests = "DONE" if home.parent.name == "runs" else "DIGESTS"
    (home / digests).write_text(json.dumps(hashes))


def stub_notebook(folder: Path) -> Path:
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(CODE)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(
        new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "stub.ipynb"
    )
    return folder / "stub.ipynb"


def report(folder: Path, rows: list[str], seeds=(0,), limits: str = "", head: str = "") -> Path:
    """A report folder on a small table, with the stub beside its grid; rows are TOML inline tables
    or texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stub.py").write_text(STUB)
    text = (
        f"{head}\nseeds = {list(seeds)}\ndatasets = ['diabetes']\ngenerators ="
        f" [{', '.join(rows)}]\n[limits]\n{limits}\n"
    )
    (folder / "grid.toml").write_text(text)
    return folder


def stub(**params) -> str:
    inner = ", ".join(f"{key} = {value!r}" for key, value in params.items())
    return f"{{name = './stub.py:Stub', params = {{{inner}}}}}"


def start_run(folder: Path, arguments: str = "") -> subprocess.Popen:
    """`run` with the stub notebook in a process of its own."""
    code = f"""
from pathlib import Path
from workbench.batch import grid, runner
from workbench.errors import InputError
grid.NOTEBOOK = Path({str(grid.NOTEBOOK)!r})
try:
    print(runner.run({str(folder)!r}, progress=False, {arguments}))
except InputError as error:
    raise SystemExit(f"InputError: {{error}}")
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def in_thread(folder: Path, **arguments) -> tuple[threading.Thread, list]:
    """`run` beside the test, and a list that gets its summary or its error."""
    out = []

    def call():
        try:
            out.append(runner.run(folder, progress=False, **arguments))
        except Exception as error:
            out.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, out


def table_hashes(folder: Path) -> dict[str, str]:
    """File -> hash of all that must not depend on when, where and how often cells ran."""
    paths = sorted(Path(folder, "runs").glob("*/*.parquet"))
    return {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def statuses(folder: Path) -> dict[str, str]:
    table = Folder(folder).cells()
    return dict(zip(table["label"], table["status"], strict=True))


def orphans(patience: float = 10) -> list[str]:
    """Processes of warm processes whose runner is gone, after they had some seconds to end."""
    until = time.monotonic() + patience
    while found := list(_orphans()):
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    return found


def _orphans():
    for process in psutil.process_iter():
        try:
            name = Path(process.environ().get("WORKBENCH_WARM", "")).name
            if (
                name.startswith(PREFIX)
                and not _owner_lives(name)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                yield f"{process.pid} {process.cmdline()}"
        except (psutil.Error, OSError):
            continue
