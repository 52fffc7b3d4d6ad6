"""Every block of the README runs, top to bottom, in one fresh folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_every_block_runs(tmp_path):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }
    # make installs and runs the whole benchmark; the tests are one of its targets.
    commands = [
        (language, code)
        for language, code in BLOCKS
        if "make " not in code and language in ("python", "bash")
    ]
    assert {language for language, _ in commands} == {"python", "bash"}
    session = "\n".join(code for language, code in commands if language == "python")
    for command in (
        [sys.executable, "-c", session],
        *(
            ["bash", "-euo", "pipefail", "-c", code]
            for language, code in commands
            if language == "bash"
        ),
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
