"""What all tests share: readings of real rows that are measured once a session, and CPU seconds
beside the wall seconds of every test, which neighbours on the machine do not stretch.
"""

import os
import shutil
import tempfile
from collections import Counter

import pytest

from workbench.files import import_nbformat

import_nbformat()  # before jsonschema is imported by anything else
MOST = 25  # tests and files that are named at the end


def pytest_configure(config):
    """One folder for the readings of reference tables, for this process and all that it starts.

    Floors and ceilings depend on the real rows alone: notebooks, blocks of the README and tests
    that evaluate the same table need them once. Tests of the metrics themselves do without.
    """
    if "WORKBENCH_REFERENCES" not in os.environ:
        config.shared_references = tempfile.mkdtemp(prefix="workbench-references-")
        os.environ["WORKBENCH_REFERENCES"] = config.shared_references


def pytest_unconfigure(config):
    """Remove the folder where it was made: workers of xdist leave it to whoever started them."""
    if folder := getattr(config, "shared_references", None):
        del os.environ["WORKBENCH_REFERENCES"]
        shutil.rmtree(folder, ignore_errors=True)


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


def _cpu_seconds() -> float:
    """User and system, of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
