"""The same cells on a Dask cluster over TCP, and in another Jupyter kernel: the same bytes; lost
workers cost nothing.
"""

import json
import os
import re
import subprocess
import sys
import time

import psutil
import pytest
from batch_helpers import (
    in_thread,
    orphans,
    report,
    statuses,
    stub,
    stub_notebook,
    table_hashes,
)

from workbench.batch import grid
from workbench.batch.folder import Folder
from workbench.batch.runner import run, status
from workbench.errors import InputError

pytest.importorskip("distributed", reason="the cluster extra is not installed")


@pytest.fixture(autouse=True)
def stub_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))


def start(module: str, *arguments: str, cwd) -> subprocess.Popen:
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    with open(cwd / f"{module}.log", "a") as log:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=env, cwd=cwd, start_new_session=True
        )


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, processes of their own with folders of their own; gives the
    address and the processes.
    """
    home = tmp_path / "cluster"
    home.mkdir()
    started = [
        start("dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", cwd=home)
    ]
    address, until = None, time.monotonic() + 60
    while not address:
        assert time.monotonic() < until and started[0].poll() is None
        address = re.search(
            r"Scheduler at:\s+(tcp://\S+)", (home / "dask_scheduler.log").read_text()
        )
        time.sleep(0.1)
    address = address[1]
    for number in range(2):
        place = home / str(number)
        place.mkdir()
        options = [
            "--name",
            f"w{number}",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(place),
        ]
        started.append(start("dask_worker", address, *options, cwd=place))
    yield address, started
    for process in started:
        for one in (
            [*psutil.Process(process.pid).children(recursive=True)]
            if process.poll() is None
            else []
        ):
            one.kill()
        process.kill()
        process.wait()
    assert not orphans()


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(tmp_path, cluster):
    address, (_, *workers) = cluster
    rows = [stub(sleep=1.5), "'independent'"]
    local = report(tmp_path / "local", rows, seeds=(0, 1))
    run(local, progress=False)
    remote = report(tmp_path / "remote", rows, seeds=(0, 1))
    thread, out = in_thread(remote, scheduler=address)
    victim, phases, until = None, set(), time.monotonic() + 120
    while thread.is_alive() and time.monotonic() < until:
        if (remote / "plan.json").exists():
            phases |= set(re.findall(r"(\w+), \d+ s", " ".join(status(remote).get("running", []))))
        if victim is None and "fit" in phases:
            # The nanny with its worker: a machine that is gone, and the cell in flight with it.
            victim = workers[0]
            for process in [*psutil.Process(victim.pid).children(), psutil.Process(victim.pid)]:
                process.kill() if "kernels" not in " ".join(process.cmdline()) else None
        time.sleep(0.05)
    thread.join(10)
    assert victim is not None and out and not isinstance(out[0], Exception), out
    assert out[0].counts == {"ok": 4}
    assert table_hashes(remote) == table_hashes(local) and len(table_hashes(remote)) == 8


def test_a_cell_that_kills_its_workers_fails_alone(tmp_path, cluster):
    address, _ = cluster
    folder = report(tmp_path / "poison", [stub(how="worker"), stub()], seeds=(0,))
    thread, out = in_thread(folder, scheduler=address)
    thread.join(150)
    assert out and not isinstance(out[0], Exception), out
    assert out[0].counts == {"ok": 1, "error": 1}
    assert statuses(folder) == {"Stub (how=worker)": "error", "Stub": "ok"}
    assert "worker" in Folder(folder).cells().set_index("label").loc["Stub (how=worker)", "reason"]


def test_no_scheduler_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.batch.backends.PATIENCE", 1)
    folder = report(tmp_path / "report", [stub()])
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        run(folder, progress=False, scheduler="tcp://127.0.0.1:9")


@pytest.fixture
def peer_kernel(tmp_path, monkeypatch):
    """A Jupyter kernel "peer" that starts Python without this package on its path, and marks its
    environment.
    """
    place = tmp_path / "jupyter" / "kernels" / "peer"
    place.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Peer", "language": "python", "env": {"PEER_MARK": "yes"}}
    (place / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def test_a_generator_in_another_kernel_is_scored_by_ours(tmp_path, peer_kernel):
    """The plug-in works only where PEER_MARK is set; its cell is limited and cleaned up like any
    other.
    """
    row = "{{name = './stub.py:Stub', kernel = 'peer', params = {{how = '{}'}}}}"
    # Stopped by the clock while others run: a batch of its own, whose short limit meets no other.
    limits = "seconds = 40\nwall_seconds = 8"
    stuck = report(tmp_path / "stuck", [row.format("gil")], limits=limits)
    thread, out = in_thread(stuck)
    folder = report(tmp_path / "report", [row.format(""), row.format("error"), "'./stub.py:Stub'"])
    code = (folder / "stub.py").read_text()
    check = (
        'assert os.environ.get("PEER_MARK") == "yes", "not in the peer"\n'
        '        assert os.listdir(".") == [], "not started in an empty folder"\n        return "stubs'
    )
    (folder / "stub.py").write_text(code.replace('return "stubs', check))
    run(folder, workers=1, progress=False)
    cells = Folder(folder).cells()
    assert list(cells["status"]) == ["ok", "error", "error"]
    assert list(cells["kernel"]) == ["peer", "peer", ""]
    assert "in kernel 'peer': ValueError: a stub broke" in cells["reason"][1]
    assert "not in the peer" in cells["reason"][2]
    thread.join(60)
    assert out and not isinstance(out[0], Exception), out
    (cell,) = Folder(stuck).cells().itertuples()
    assert (cell.kernel, cell.status) == ("peer", "timeout")
    assert cell.reason == "longer than 8 seconds"
    assert not orphans()
