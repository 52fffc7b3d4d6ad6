"""The page of a batch that still runs: first after one seed of everything, then again, and never in
the way of a cell.
"""

import sys
import time
from concurrent.futures import Future

import pytest
from batch_helpers import report, stub, stub_notebook

from workbench.batch import grid, keys
from workbench.batch.progress import LivePage
from workbench.batch.runner import run
from workbench.batch.spec import Outcome
from workbench.report.batch import Batch
from workbench.report.sections import facts_line

NOTE = """
import pathlib, sys
from workbench.batch.folder import Folder
cells = Folder(sys.argv[1]).cells()
seeds = sorted(set(cells.loc[cells["status"] != "pending", "seed"]))
with open(sys.argv[2], "a") as file:
    file.write(f"{seeds}\\n")
"""


class OneByOne:
    """A backend whose cells are skipped, each a tenth of a second after the one before."""

    slots = 1

    def __init__(self):
        self.phases, self.order = {}, []

    def submit(self, spec):
        self.order.append((spec.parameters["seed"], spec.parameters["generator"]))
        time.sleep(0.1)
        future = Future()
        about = keys.machine() | {"reason": "stubs take no such table", "phase": "load"}
        future.set_result(Outcome("skipped", **about))
        return future

    def close(self): ...


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))
    names = ["'tvae'", "'bayes-tree'", "'cart'", stub()]
    return report(tmp_path / "report", names, seeds=(0, 1))


def test_the_first_page_comes_after_one_seed_of_everything_the_cheap_ones_first(folder, tmp_path):
    notes, backend = tmp_path / "notes", OneByOne()
    live = LivePage(folder, [sys.executable, "-c", NOTE, str(folder), str(notes)])
    live.close = lambda: live.writer and live.writer.wait()  # the last page is read below
    run(folder, progress=False, backend=backend, live=live)
    assert [seed for seed, _ in backend.order] == [0] * 4 + [1] * 4
    names = [name for _, name in backend.order[:4]]
    # The dearest is begun beside the first, which measures what all of them need.
    assert names[:3] == ["cart", "tvae", "bayes-tree"] and names[3].endswith("stub.py:Stub")
    first, *_ = notes.read_text().splitlines()
    assert first.startswith("[0")
    assert live.pages >= 1 and live.shown >= 4


def test_later_pages_take_a_bounded_share_of_the_time(tmp_path):
    live = LivePage(tmp_path, [sys.executable, "-c", "import time; time.sleep(0.2)"])
    live.look(3, first_round_is_done=False)
    assert live.pages == 0
    live.look(4, first_round_is_done=True)
    live.writer.wait()
    live.look(5, first_round_is_done=True)
    took = time.monotonic() - live.writer_began
    assert live.pages == 1 and live.not_before - time.monotonic() > 8 * min(took, 0.2)
    live.not_before = 0.0
    live.look(4, first_round_is_done=True)
    assert live.pages == 1  # nothing has finished since
    live.look(5, first_round_is_done=True)
    assert live.pages == 2
    live.close()
    assert live.writer is None


def test_a_first_round_that_takes_long_has_a_page_all_the_same(tmp_path):
    live = LivePage(tmp_path, [sys.executable, "-c", "pass"])
    live.not_before = live.began
    live.look(0, first_round_is_done=False)
    assert live.pages == 0  # there is nothing to show
    live.look(1, first_round_is_done=False)
    assert live.pages == 1
    live.close()


def test_a_page_that_cannot_be_written_stops_nothing_and_says_why(tmp_path, capsys):
    live = LivePage(tmp_path / "nowhere")
    live.look(1, first_round_is_done=True)
    live.writer.wait(60)
    live.look(1, first_round_is_done=True)
    live.close()
    assert "nowhere has no plan.json; run it first" in capsys.readouterr().err


def test_a_half_finished_page_says_so_on_top(folder):
    run(folder, progress=False, backend=OneByOne())
    text = facts_line(Batch.read(folder))
    assert "not finished" not in text
    some = next(iter(folder.glob("runs/*/DONE")))
    some.unlink()
    top = facts_line(Batch.read(folder))
    assert (
        '<p class="note bad">This page is not finished: 1 of 8 cells have still to run.</p>' in top
    )
