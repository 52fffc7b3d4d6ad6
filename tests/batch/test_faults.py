"""kill -9 at any moment, two runners, a full disk: no finished cell is lost, nothing is left
behind, the bytes stay the same.

WORKBENCH_KILLS=60 WORKBENCH_LONG=1 python -m pytest tests/batch/test_faults.py    kills that many
times (default: 5)
"""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from batch_helpers import (
    in_thread,
    orphans,
    report,
    start_run,
    statuses,
    stub,
    stub_notebook,
    table_hashes,
)

from workbench.batch import grid, runner
from workbench.batch.folder import Folder
from workbench.batch.runner import status
from workbench.errors import InputError

KILLS = int(os.environ.get("WORKBENCH_KILLS", 5))
VICTIMS = ("runner", "kernel", "supervisor", "notebook", "warm process")


@pytest.fixture(autouse=True)
def stub_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))


def batch(folder: Path) -> Path:
    return report(folder, [stub(sleep=0.3), stub(sleep=0.1)], seeds=(0, 1))


def processes(runner_pid: int) -> dict[str, list[psutil.Process]]:
    """The processes of a running batch by what they do: children of each other, in the order they
    are forked.
    """
    found = {name: [] for name in VICTIMS} | {"runner": [psutil.Process(runner_pid)]}
    try:
        for warm in psutil.Process(runner_pid).children():
            if "workbench.batch.worker.server" not in warm.cmdline():
                continue  # of the tests' own process
            found["warm process"].append(warm)
            for supervisor in warm.children():
                found["supervisor"].append(supervisor)
                for place, child in enumerate(
                    sorted(supervisor.children(), key=lambda child: child.pid)
                ):
                    found["notebook" if place else "kernel"].append(child)
    except psutil.NoSuchProcess:
        pass
    return found


def stamps(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_ino for path in folder.glob("runs/*/DONE")}


@pytest.mark.parametrize("most", [1, pytest.param(KILLS, marks=pytest.mark.long)])
def test_kill_9_loses_no_finished_cell(tmp_path, most):
    """Kill a random process at a random moment, start again where the runner died, until the batch
    is done; then again. The quick one kills the runner once.
    """
    reference = batch(tmp_path / "reference")
    runner.run(reference, progress=False)
    expected = table_hashes(reference)
    assert len(expected) == 8

    draw, kills, rounds, killed = random.Random(0), 0, 0, dict.fromkeys(VICTIMS, 0)
    while kills < most:
        rounds += 1
        folder, finished = batch(tmp_path / f"round{rounds}"), {}
        while table_hashes(folder) != expected:
            run = start_run(folder, "workers=2, retry_failed=True")
            try:
                until = time.monotonic() + draw.uniform(1.5, 4)
                victims = VICTIMS[kills % len(VICTIMS)] if kills < most else None
                while victims and run.poll() is None:
                    chosen = processes(run.pid)[victims]
                    if chosen and time.monotonic() > until:
                        draw.choice(chosen).send_signal(signal.SIGKILL)
                        kills, killed[victims] = kills + 1, killed[victims] + 1
                        break
                    time.sleep(0.02)
                run.wait(timeout=120)
                assert run.returncode in (0, -signal.SIGKILL), run.stderr.read()
            finally:
                run.kill()
                run.communicate()
            now = stamps(folder)
            assert finished.items() <= now.items(), "a finished cell was lost or run again"
            finished = now
            assert not orphans()
        assert not list(folder.glob(".tmp/*")) and set(statuses(folder).values()) == {"ok"}
        shutil.rmtree(folder)
    print(f"{kills} kills in {rounds} batches: {killed}")


def test_a_batch_survives_its_kernels_without_a_restart(tmp_path):
    """The runner itself lives: every other kernel it starts is killed once, and it ends as if
    nothing had been.
    """
    folder = report(tmp_path / "report", [stub(sleep=0.6)], seeds=(0, 1))
    thread, out = in_thread(folder, workers=1)
    killed = set()
    while thread.is_alive():
        for kernel in processes(os.getpid())["kernel"]:
            if (
                len(killed) < 2
                and kernel.pid not in killed
                and time.time() - kernel.create_time() > 0.3
            ):
                kernel.kill()
                killed.add(kernel.pid)
        time.sleep(0.05)
    assert len(killed) == 2 and out[0].counts == {"ok": 2}, out
    assert not orphans()


def test_half_written_cells_and_temporary_folders_are_swept(tmp_path):
    folder = report(tmp_path / "report", [stub()])
    runner.run(folder, progress=False)
    expected, (done,) = table_hashes(folder), folder.glob("runs/*/DONE")
    done.unlink()  # what a crash before the rename could at most leave, if renames were not atomic
    (done.parent / "rows.parquet").write_bytes(b"half")
    (folder / ".tmp" / "left").mkdir(parents=True)
    assert runner.run(folder, progress=False).before == 0
    assert table_hashes(folder) == expected and not list(folder.glob(".tmp/*"))


def test_a_second_runner_says_who_holds_the_folder_or_waits(tmp_path):
    folder = report(tmp_path / "report", [stub(sleep=0.6)], seeds=(0, 1))
    first = start_run(folder, "workers=1")
    while not (folder / "plan.json").exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.05)
    with pytest.raises(InputError, match=rf"is being run by process {first.pid} on .* since"):
        runner.run(folder, progress=False)
    state = status(folder)
    assert f"process {first.pid}" in state["runner"] and state["pending"] == 2
    second = runner.run(folder, progress=False, wait=True)
    out, errors = first.communicate(timeout=120)
    assert "2 cells: 2 ok (0 finished before)" in out, errors
    assert (second.before, second.counts) == (2, {"ok": 2})


def test_status_tells_what_each_worker_does(tmp_path):
    # Before its first phase the cell waits, long enough to be seen there.
    notebook = tmp_path / "stub.ipynb"
    begin = "record = Record(out)"
    waiting = notebook.read_text().replace(begin, f"import time; time.sleep(0.5); {begin}")
    notebook.write_text(waiting)
    folder = report(tmp_path / "report", [stub(sleep=1)])
    thread, out = in_thread(folder)
    seen = set()
    while thread.is_alive():
        if (folder / "plan.json").exists():
            seen |= {line.split(",")[0] for line in status(folder).get("running", [])}
        time.sleep(0.05)
    assert out[0].counts == {"ok": 1} and {"Stub: start", "Stub: fit"} <= seen


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 140 kB, where three cells have room."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=140k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_finished_cells_stay(tmp_path, small_disk):
    seeds = tuple(range(4))
    reference = report(tmp_path / "reference", [stub()], seeds=seeds)
    runner.run(reference, progress=False)
    folder = report(small_disk / "report", [stub()], seeds=seeds)
    with pytest.raises(InputError, match=r"no space left for .*: finished cells are kept"):
        runner.run(folder, workers=1, progress=False)
    kept = table_hashes(folder)
    assert 0 < len(kept) < 8 and kept.items() <= table_hashes(reference).items()
    assert set(Folder(folder).cells()["status"]) == {"ok", "pending"}
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert runner.run(folder, progress=False).before == len(kept) // 2
    assert table_hashes(folder) == table_hashes(reference)
