"""The type hints hold: mypy, in one of the tests' workers while the other goes on."""

import subprocess
import sys
from pathlib import Path


def test_the_type_hints_hold():
    done = subprocess.run(
        [sys.executable, "-m", "mypy"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
