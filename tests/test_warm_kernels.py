"""A forked kernel does what a started one does: it shows figures, it can be interrupted, and it
imports nothing of the tests.
"""

from collections.abc import Iterator

import pytest
import warm_kernels
from nbval import kernel as nbval_kernel

FIGURE = "import matplotlib.pyplot as plt; plt.plot([1, 2]);"
PATH = "import os, sys; print([entry for entry in sys.path if 'tests' in entry], os.getcwd())"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        warm_kernels.use(patch)
        folder = str(tmp_path_factory.mktemp("lessons"))
        running = nbval_kernel.RunningKernel(nbval_kernel.CURRENT_ENV_KERNEL_NAME, cwd=folder)
    yield running
    running.stop()


def messages(kernel, code: str) -> Iterator[dict]:
    """The contents of what a cell sends, until the kernel is idle again."""
    sent = kernel.execute_cell_input(code)
    while True:
        message = kernel.get_message("iopub", timeout=30)
        if message["parent_header"].get("msg_id") != sent:
            continue
        if message["content"].get("execution_state") == "idle":
            return
        yield message["content"]


def test_it_shows_figures(kernel):
    assert any("image/png" in content.get("data", {}) for content in messages(kernel, FIGURE))


def test_it_begins_where_it_should_and_finds_no_module_of_the_tests(kernel):
    (text,) = [content["text"] for content in messages(kernel, PATH) if "text" in content]
    assert text.startswith("[] ") and text.strip().endswith("lessons0")


def test_it_can_be_interrupted(kernel):
    errors = []
    for content in messages(kernel, "import time\nprint('begun')\ntime.sleep(60)"):
        if "text" in content:
            kernel.interrupt()
        errors.append(content.get("ename"))
    assert errors[-1] == "KeyboardInterrupt"
