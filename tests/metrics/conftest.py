"""A metric that a test replaces must not be answered from a reading of the real one."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_shared_references():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WORKBENCH_REFERENCES", raising=False)
        patch.setattr("workbench.metrics.evaluate.MOST_REFERENCES", 0)
        yield
