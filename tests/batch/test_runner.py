"""The runner: what becomes of each kind of cell, resuming, limits, the same bytes however often and
wherever cells run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pandas as pd
import psutil
import pytest
from batch_helpers import orphans, report, statuses, stub, stub_notebook, table_hashes

from workbench.batch import grid, runner
from workbench.batch.folder import CELL_COLUMNS, FACT_COLUMNS, Folder
from workbench.batch.runner import log, run
from workbench.batch.spec import Outcome, Spec
from workbench.batch.verify import verify
from workbench.errors import InputError
from workbench.metrics.rows import ROW_COLUMNS, read_rows, write_rows


@pytest.fixture(autouse=True)
def stub_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished report: three generators, two seeds."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "NOTEBOOK", stub_notebook(folder))
        report(folder / "report", ["'copy'", "'independent'", stub()], seeds=(0, 1))
        run(folder / "report", workers=2, progress=False)
    return folder / "report"


def test_a_finished_batch_is_complete_and_tidy(finished):
    cells = Folder(finished).cells()
    assert list(cells) == [*CELL_COLUMNS, *FACT_COLUMNS]
    assert (
        (cells["status"] == "ok").all()
        and (cells["reason"] == "").all()
        and (cells["phase"] == "").all()
    )
    assert list(zip(cells["label"], cells["seed"], strict=True)) == [
        (label, seed) for label in ("copy", "independent", "Stub") for seed in (0, 1)
    ]
    numbers = [
        "seconds",
        "load_seconds",
        "fit_seconds",
        "sample_seconds",
        "evaluate_seconds",
        "save_seconds",
    ]
    assert (cells[numbers] >= 0).all(axis=None) and (cells["peak_mb"] > 10).all()
    rows = Folder(finished).rows()
    assert list(rows) == [*CELL_COLUMNS, *ROW_COLUMNS] and len(rows) == 6
    for key in cells["key"]:
        place = finished / "runs" / key
        assert {path.name for path in place.iterdir()} == {
            "cell.ipynb",
            "rows.parquet",
            "synthetic.parquet",
            "manifest.json",
            "log.txt",
            "DONE",
        }
        record = Folder(finished).manifest(key[:8])
        assert {"train", "test", "schema"} == set(record["inputs"]["data"])
        assert (
            record["fingerprint"]["threads"] == 1 and record["versions"]["numpy"] and record["cpu"]
        )
        value = rows.loc[rows["key"] == key, "value"].item()
        assert value == pytest.approx(
            pd.read_parquet(place / "synthetic.parquet").iloc[:, 0].mean()
        )
    assert not list(finished.glob(".tmp/*")) and not orphans()


def test_one_worker_and_two_give_the_same_bytes(finished, tmp_path):
    other = report(tmp_path / "other", ["'copy'", "'independent'", stub()], seeds=(0, 1))
    run(other, workers=1, progress=False)
    assert table_hashes(other) == table_hashes(finished) and len(table_hashes(other)) == 12


def test_nothing_finished_runs_again_not_even_in_a_copy(finished, tmp_path):
    times = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*")}
    assert str(run(finished, progress=False)).startswith("6 cells: 6 ok (6 finished before)")
    assert {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*")} == times
    shutil.copytree(finished, tmp_path / "copied")
    assert run(tmp_path / "copied", progress=False).before == 6


def test_a_new_seed_runs_alone_and_a_dropped_one_leaves_the_tables(finished, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(finished, folder)
    report(folder, ["'copy'"], seeds=(1, 2))
    summary = run(folder, progress=False)
    assert (summary.before, summary.counts) == (1, {"ok": 2})
    assert list(Folder(folder).cells()["seed"]) == [1, 2]


FAILURES = {  # how the stub fails: status, phase, reason
    "skip": ("skipped", "load", "stubs take no such table"),
    "error": ("error", "fit", "ValueError: a stub broke"),
    "SIGSEGV": ("error", "fit", "SIGSEGV"),
    "SIGKILL": ("error", "fit", "killed 4 times"),
    "exit": ("error", "fit", "ernel"),
    "quit": ("error", "save", "without a valid result"),
    "burst": ("out-of-memory", "fit", "MemoryError"),
    "grow": ("out-of-memory", "fit", "emory"),
    "children": ("out-of-memory", "fit", "more than 400 MB"),
}


def test_every_way_to_fail_is_a_row_and_the_rest_goes_on(tmp_path):
    rows = [*(stub(how=how) for how in FAILURES), "'copy'"]
    folder = report(tmp_path / "failing", rows, limits="seconds = 40\nmemory_mb = 400")
    summary = run(folder, workers=2, progress=False)
    assert summary.counts == {"ok": 1, "skipped": 1, "error": 5, "out-of-memory": 3}
    cells = Folder(folder).cells().set_index("label")
    for how, (status, phase, reason) in FAILURES.items():
        cell = cells.loc[f"Stub (how={how})"]
        assert (cell["status"], cell["phase"]) == (status, phase), how
        assert reason in cell["reason"], how
    assert (
        (cells["peak_mb"] < 440).drop("Stub (how=children)").all()
    )  # four children at once allocate between two looks
    rows = Folder(folder).rows()
    assert set(rows.loc[rows["metric"] == "", "label"]) == {f"Stub (how={how})" for how in FAILURES}
    assert not orphans()

    state = runner.status(folder)
    assert (state["cells"], state["ok"], state["error"], state["pending"], state["runner"]) == (
        10,
        1,
        5,
        0,
        "none",
    )
    key = cells.loc["Stub (how=error)", "key"]
    assert any(key[:8] in line for line in state["failed"])
    text = log(folder, key[:8])
    assert "error in fit" in text and 'raise ValueError("a stub broke")' in text
    assert (folder / "failed" / f"{key}-1" / "cell.ipynb").exists()
    with pytest.raises(InputError, match="no cell that ran begins with"):
        log(folder, "nothing")


def test_a_cell_that_never_lets_go_is_stopped_by_the_clock(tmp_path):
    """A C call under Python's lock: the kernel answers nobody, and computes nothing. Alone in its
    batch, since a busy machine would bring others to so short a limit.
    """
    folder = report(tmp_path / "stuck", [stub(how="gil")], limits="seconds = 40\nwall_seconds = 5")
    assert run(folder, progress=False).counts == {"timeout": 1}
    cell = Folder(folder).cells().iloc[0]
    assert (cell["phase"], cell["reason"]) == ("fit", "longer than 5 seconds")
    assert 5 <= cell["seconds"] < 8 and not orphans()


def test_a_cell_is_stopped_by_the_seconds_it_computes_not_by_those_it_waits(tmp_path):
    """Other work on the machine stretches the clock, not a cell's own seconds."""
    rows = [stub(how="spin"), stub(sleep=4)]
    folder = report(tmp_path / "spinning", rows, limits="seconds = 3")
    run(folder, workers=2, progress=False)
    cells = Folder(folder).cells().set_index("label")
    spinning = cells.loc["Stub (how=spin)"]
    assert (spinning["status"], spinning["reason"]) == ("timeout", "more than 3 CPU seconds")
    assert 3 < spinning["cpu_seconds"] < 6
    waiting = cells.loc["Stub (sleep=4)"]
    assert waiting["status"] == "ok" and waiting["seconds"] > 4 > waiting["cpu_seconds"]


def test_failed_cells_run_again_when_asked_or_when_limits_change(tmp_path):
    folder = report(tmp_path / "again", [stub(how="error")])
    assert run(folder, progress=False).before == 0
    assert run(folder, progress=False).before == 1
    assert run(folder, progress=False, retry_failed=True).before == 0
    report(folder, [stub(how="error")], limits="seconds = 99")
    assert run(folder, progress=False).before == 0
    assert len(list(folder.glob("failed/*"))) == 3


def test_retries_are_taken_and_recorded(tmp_path):
    rows = [stub(how=f"flaky {tmp_path / 'flag'}"), stub(how="error")]
    folder = report(tmp_path / "flaky", rows, limits="retries = 1")
    assert run(folder, progress=False).counts == {"ok": 1, "error": 1}
    assert list(Folder(folder).cells()["attempts"]) == [2, 2]
    key = Folder(folder).cells()["key"][0]
    assert [attempt["status"] for attempt in Folder(folder).manifest(key)["attempts"]] == [
        "error",
        "ok",
    ]


def test_the_notebook_must_know_every_parameter(tmp_path):
    folder = report(tmp_path / "report", ["'copy'"])
    grid.NOTEBOOK.write_text(grid.NOTEBOOK.read_text().replace("kernel = ", "colonel = "))
    with pytest.raises(InputError, match="kernel among its names"):
        run(folder, progress=False)


def test_a_cell_gets_its_threads(tmp_path):
    text = grid.NOTEBOOK.read_text()
    probe = (
        'import os, threadpoolctl; table[\\"note\\"] = str([os.environ[\\"OMP_NUM_THREADS\\"]] +'
        ' [pool[\\"num_threads\\"] for pool in threadpoolctl.threadpool_info()])\\n",\n    "with'
        ' record.phase(\\"save\\")'
    )
    assert text.count('with record.phase(\\"save\\")') == 1
    grid.NOTEBOOK.write_text(text.replace('with record.phase(\\"save\\")', probe))
    folder = report(tmp_path / "threads", ["'copy'"], head="threads = 2")
    run(folder, progress=False)
    note = Folder(folder).rows()["note"].item()
    assert note.startswith("['2', 2") and set(note) <= set("['2], ")


def test_the_warm_process_has_one_thread(tmp_path):
    """Forking is safe only there: every library of the real cells is imported, none has started a
    pool.
    """
    from workbench.batch.worker.pool import Warm

    report(tmp_path / "all", [f"'{name}'" for name in grid.GENERATORS])
    imports = grid.plan(grid.read(tmp_path / "all")).imports
    assert {"torch", "pandas"} <= set(imports)
    warm = Warm(1, imports)
    try:
        process = psutil.Process(warm.process.pid)
        until = time.monotonic() + 300  # of the clock: the machine may be busy
        # Not psutil's memory_maps: it asks for the pages of each map, which costs seconds of CPU.
        maps = Path(f"/proc/{process.pid}/maps")
        while "torch" not in maps.read_text() or process.cpu_percent(0.5) > 5:
            assert time.monotonic() < until
        assert process.num_threads() == 1
    finally:
        warm.close()


def test_verify_says_identical_and_finds_what_was_tampered_with(finished, tmp_path):
    some = verify(finished, cells=2, progress=False)
    assert list(some["verdict"]) == ["identical"] * 2 and len(set(some["key"])) == 2
    folder = tmp_path / "tampered"
    shutil.copytree(finished, folder)
    key = sorted(path.name for path in folder.glob("runs/*"))[0]
    path = folder / "runs" / key / "rows.parquet"
    write_rows(read_rows(path).assign(value=0.5), path)
    one = verify(folder, cells=1, progress=False)
    assert one["key"].iloc[0] == key and list(one["verdict"]) == ["different", "identical"]
    assert "rows.parquet was changed" in one["detail"][0]


def test_verify_knows_another_fingerprint(finished, tmp_path):
    """Edit the plug-in so that its numbers move a little, then a lot."""
    folder = tmp_path / "edited"
    shutil.copytree(finished, folder)
    # One other generator is enough: each of its cells is run twice again.
    report(folder, ["'copy'", stub()], seeds=(0, 1))
    assert run(folder, progress=False).before == 4
    code = (folder / "stub.py").read_text()
    for change, verdict in (("+ 1e-9", "within tolerance"), ("+ 1e9", "different")):
        last = "reset_index(drop=True)"
        moved = f"{last}.pipe(lambda t: t.assign(**{{t.columns[0]: t[t.columns[0]] {change}}}))"
        (folder / "stub.py").write_text(code.replace(f"size=n)].{last}", f"size=n)].{moved}"))
        table = verify(folder, progress=False).set_index("label")
        assert set(table.loc["Stub", "verdict"]) == {verdict}
        assert table.loc["Stub", "detail"].str.contains("plug-in: .* then, .* now; mean").all()
        assert table.loc["stub.py", "detail"] == "it is not the one that was run"
        assert list(table.drop(["Stub", "stub.py"])["verdict"]) == ["identical"] * 2


class Instant:
    """A backend whose cells end at once, with the bytes of one real cell."""

    slots = 64

    def __init__(self, outcome: Outcome):
        self.outcome, self.phases = outcome, {}

    def submit(self, spec: Spec) -> Future:
        future = Future()
        future.set_result(self.outcome)
        return future

    def close(self) -> None: ...


def large_batch(folder: Path, source: Path, count: int) -> None:
    """Plan, run, watch and read a grid of `count` cells; prints CPU seconds and peak memory."""
    key = next(source.glob("runs/*")).name
    record, files = Folder(source).manifest(key), (source / "runs" / key).glob("*")
    outcome = {
        name: record[name]
        for name in (
            "status",
            "reason",
            "phase",
            "phases",
            "seconds",
            "peak_mb",
            "traceback",
            "hashes",
        )
    }
    outcome["files"] = {
        path.name: path.read_bytes() for path in files if path.name not in ("manifest.json", "DONE")
    }
    os.fsync = lambda descriptor: (
        None
    )  # a second of disk a thousand cells, which is not what this measures
    seconds = {}

    def timed(name, call):
        began = time.process_time()
        out = call()
        seconds[name] = round(time.process_time() - began, 2)
        return out

    plan = timed("plan", lambda: grid.plan(grid.read(folder)))
    assert len({cell.key for cell in plan.cells}) == count
    timed("run", lambda: run(folder, progress=False, backend=Instant(Outcome(**outcome))))
    assert timed("status", lambda: runner.status(folder))["ok"] == count
    assert timed("resume", lambda: run(folder, progress=False, backend=None)).before == count
    # Not getrusage: its maximum outlives exec, so it would tell the size of the test process that
    # started this one.
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
    assert len(timed("read", lambda: Folder(folder).rows())) >= count
    print(json.dumps(seconds | {"peak_mb": round(peak)}))


def facts_of_a_large_batch(finished, tmp_path, seeds: int) -> dict:
    rows = [stub(sleep=index) for index in range(100)]
    folder = report(tmp_path / "large", rows, seeds=tuple(range(seeds)))
    code = (
        "import test_runner as t; from pathlib import Path; "
        f"t.large_batch(Path({str(folder)!r}), Path({str(finished)!r}), {100 * seeds})"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    print(facts)
    return facts


@pytest.mark.long
def test_ten_thousand_cells_are_planned_watched_and_resumed_quickly(finished, tmp_path):
    """Quick sibling: test_a_hundred_cells_are_planned_watched_and_resumed_quickly."""
    facts = facts_of_a_large_batch(finished, tmp_path, seeds=100)
    assert all(facts[name] < 10 for name in ("plan", "status", "resume")), facts
    assert facts["read"] < 60 and facts["peak_mb"] < 500, facts


def test_a_hundred_cells_are_planned_watched_and_resumed_quickly(finished, tmp_path):
    facts = facts_of_a_large_batch(finished, tmp_path, seeds=1)
    # Reading the sources and importing what a plan needs takes most of it, however many cells.
    assert all(facts[name] < 8 for name in ("plan", "status", "resume")), facts
    assert facts["read"] < 5 and facts["peak_mb"] < 300, facts


def test_statuses_of_a_half_finished_grid(finished, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(finished, folder)
    shutil.rmtree(next(folder.glob("runs/*")))
    assert sorted(Folder(folder).cells()["status"]) == ["ok"] * 5 + ["pending"]
    assert len(Folder(folder).rows()) == 5 and runner.status(folder)["pending"] == 1
    assert set(statuses(folder)) == {"copy", "independent", "Stub"}
