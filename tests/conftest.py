"""CPU seconds beside the wall seconds of every test: neighbours on the machine do not stretch them.

The end of a run names the tests and files that took most, with the processes that they started and
waited for.
"""

import os
from collections import Counter

import pytest

MOST = 25  # tests that are named


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
