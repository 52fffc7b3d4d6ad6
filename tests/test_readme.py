"""Every block of the README runs, top to bottom, in one fresh folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


# Some rows and columns of the same table, for the quick run: its readings are no use, its blocks are
# the same. Of the columns, those that the blocks name and one of each kind that the others have.
LOANS = 'wb.load("loans")'
COLUMNS = ["race", "male", "loanamt", "price", "mortg", "approve"]
SMALL_LOANS = 'wb.load("loans.csv", target="approve", sensitive=["race", "male"])'
# Written with double quotes: the shell's lines are within single ones.
SMALL_TRAIN = f"{LOANS}.train[{json.dumps(COLUMNS)}].sample(300, random_state=0)"
SMALL = f"""
import workbench as wb
{SMALL_TRAIN}.to_csv("loans.csv", index=False)
"""


@pytest.mark.parametrize("is_small", [True, pytest.param(False, marks=pytest.mark.long)])
def test_every_block_runs(tmp_path, is_small):
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
    if is_small:
        assert session.count(LOANS) == 1
        session = SMALL + session.replace(LOANS, SMALL_LOANS)
        typed = "".join(code for language, code in commands if language == "bash")
        assert typed.count(f"{LOANS}.train") == 1
        commands = [
            (language, code.replace(f"{LOANS}.train", SMALL_TRAIN)) for language, code in commands
        ]
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
