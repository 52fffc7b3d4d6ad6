"""One warm process for all batches of a file: importing what cells need takes as long as five cells."""

import os

import pytest

from workbench.batch.backends import Processes
from workbench.batch.worker.pool import Warm


@pytest.fixture(scope="module", autouse=True)
def shared_warm_process():
    """Batches of this process leave their warm process to the next one with the same environment."""
    started_in = {}
    begin = Processes.__init__

    def begin_in_this_environment(backend, *arguments):
        now = dict(os.environ)
        now.pop("PYTEST_CURRENT_TEST", None)
        if now != started_in:
            Warm.close_all()
            started_in.clear()
            started_in.update(now)
        begin(backend, *arguments)

    def wait_for_cells(backend):
        backend._pool.shutdown(cancel_futures=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "__init__", begin_in_this_environment)
        patch.setattr(Processes, "close", wait_for_cells)
        yield
    Warm.close_all()
