"""What all tests share: readings of real rows that are measured once a session, one warm process for
all batches, the longest files first, and CPU seconds beside the wall seconds of every test, which
neighbours on the machine do not stretch.
"""

import gc
import json
import os
import shutil
import tempfile
import threading
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
import warm_kernels

from workbench.files import import_nbformat

import_nbformat()  # before jsonschema is imported by anything else
# Collecting tests, and importing torch, make a million objects that live to the end. Looked for
# rubbish after each 700 of them, as by default, they cost a fiftieth of all tests' seconds.
gc.set_threshold(50_000, 20, 20)
# Tables that a property is tried on, where its test names no number of its own.
hypothesis.settings.register_profile("quick", max_examples=25)
if os.environ.get("WORKBENCH_LONG") != "1":
    hypothesis.settings.load_profile("quick")

MOST = 25  # tests and files that are named at the end
# Seconds of the files that take longest, which are begun first: a worker that took one up last would
# end alone. Written anew by a whole run: `make test PYTEST_OPTIONS=--record-seconds`.
RECORD = Path(__file__).with_name("seconds.json")
LONG_ENOUGH = 10  # seconds from which a file is recorded
# Changed by pytest for every test, and read by the runner alone.
NOT_FOR_CELLS = ("PYTEST_CURRENT_TEST", "XDG_STATE_HOME")


def pytest_addoption(parser):
    """`--record-seconds`: keep what each file took, for the order of later runs."""
    parser.addoption("--record-seconds", action="store_true", help=f"write {RECORD.name} anew")


def pytest_configure(config):
    """One folder for the readings of reference tables, for this process and all that it starts.

    Floors and ceilings depend on the real rows alone: notebooks, blocks of the README and tests
    that evaluate the same table need them once. Tests of the metrics themselves do without.
    """
    if config.getoption("nbval_lax", False):
        config.kernel_patch = pytest.MonkeyPatch()
        warm_kernels.use(config.kernel_patch)
    if "WORKBENCH_REFERENCES" not in os.environ:
        config.shared_references = tempfile.mkdtemp(prefix="workbench-references-")
        os.environ["WORKBENCH_REFERENCES"] = config.shared_references


def pytest_unconfigure(config):
    """Remove the folder where it was made: workers of xdist leave it to whoever started them."""
    if patch := getattr(config, "kernel_patch", None):
        patch.undo()
    if folder := getattr(config, "shared_references", None):
        del os.environ["WORKBENCH_REFERENCES"]
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items):
    """The longest files first, the others as they were found."""
    known = json.loads(RECORD.read_text())

    def seconds(item) -> int:
        return known.get(_file(item), 0)

    items.sort(key=seconds, reverse=True)  # which keeps the order of equals


def pytest_collection_finish():
    """What thousands of collected tests hold lives to the end: the garbage collector need not look
    at it again and again.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def shared_warm_process():
    """Batches of this process leave their warm process to the next one with the same environment.

    A second one is kept beside it while tests change the environment of their cells.
    """
    from workbench.batch.backends import Processes
    from workbench.batch.worker.pool import Warm

    kept: dict[tuple, Warm] = {}
    getting = threading.Lock()

    def get(threads, imports):
        environment = dict(os.environ)
        for name in NOT_FOR_CELLS:
            environment.pop(name, None)
        key = (threads, frozenset(environment.items()))
        with getting:
            ended = [known for known, warm in kept.items() if warm.process.poll() is not None]
            spare = [] if key in kept else list(kept)[1:]
            for known in {*ended, *spare}:
                kept.pop(known).close()
            if key not in kept:
                # What the plan says is enough for the few cells of a changed environment.
                kept[key] = Warm(threads, imports if kept else list(warm_kernels.COMMON))
            return kept[key]

    def wait_for_cells(backend):
        backend._pool.shutdown(cancel_futures=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Warm, "get", get)
        patch.setattr(Processes, "close", wait_for_cells)
        yield
    for warm in kept.values():
        warm.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """One test with the fixtures that it was the first to need."""
    began = _cpu_seconds()
    item.user_properties.append(("cpu_began", began))
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The report of each phase takes along what the test has used so far, to another process too."""
    outcome = yield
    began = dict(item.user_properties)["cpu_began"]
    used = ("cpu", _cpu_seconds() - began)
    outcome.get_result().user_properties = [used]


def pytest_terminal_summary(terminalreporter):
    """The tests and files that took most CPU seconds, and the sum of all."""
    spent: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            found = dict(getattr(report, "user_properties", ()))
            if "cpu" in found:
                # The last phase has seen the whole test.
                spent[report.nodeid] = max(found["cpu"], spent.get(report.nodeid, 0.0))
    if terminalreporter.config.getoption("record_seconds"):
        _record(terminalreporter)
    if not terminalreporter.config.getoption("durations"):
        return
    files: Counter[str] = Counter()
    for name, seconds in spent.items():
        files[name.partition("::")[0]] += seconds
    terminalreporter.section(f"{sum(spent.values()):.0f} CPU seconds, without what still runs")
    for name, seconds in Counter(spent).most_common(MOST):
        terminalreporter.write_line(f"{seconds:8.1f} {name}")
    terminalreporter.section("by file")
    for name, seconds in files.most_common(MOST):
        terminalreporter.write_line(f"{seconds:8.1f} {name}")


def _file(test) -> str:
    """Of a test, or of its report."""
    return test.nodeid.partition("::")[0]


def _record(terminalreporter) -> None:
    """Seconds of the clock, since a test that waits keeps its worker too. Files that did not run
    keep theirs.
    """
    took: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            took[_file(report)] += getattr(report, "duration", 0.0)
    known = json.loads(RECORD.read_text())
    kept = {file: seconds for file, seconds in known.items() if file not in took}
    for file, seconds in took.items():
        if seconds >= LONG_ENOUGH:
            kept[file] = round(seconds)
    longest = dict(Counter(kept).most_common())
    RECORD.write_text(json.dumps(longest, indent=1) + "\n")


def _cpu_seconds() -> float:
    """User and system, of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
