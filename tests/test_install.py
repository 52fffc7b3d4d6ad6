"""install.py looks where pip is told to look, and pip installs where uv cannot."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Already there, so that pip has nothing to fetch.
NOTHING_NEW = ("--no-index", "pip")
FAKE_UV = """#!{python}
import json, os, sys
with open({record!r}, "w") as file:
    json.dump([sys.argv[1:], dict(os.environ)], file)
sys.exit({code})
"""


@pytest.fixture
def install(tmp_path):
    """Runs install.py with pip's settings in a file and a uv that writes down how it was called."""
    record = tmp_path / "called.json"
    settings = tmp_path / "pip.conf"
    (tmp_path / "strong.txt").touch()
    settings.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /certs/ours.pem\n"
        "find-links =\n    /wheels one\n    https://wheels.example\nconstraint = /etc/weak.txt\n"
        f"[install]\nconstraint = {tmp_path}/strong.txt\n"
    )

    def run(code: int = 0, **environment):
        uv = tmp_path / "bin" / "uv"
        uv.parent.mkdir(exist_ok=True)
        uv.write_text(FAKE_UV.format(python=sys.executable, record=str(record), code=code))
        uv.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        kept.pop("SSL_CERT_FILE", None)
        kept["PATH"] = f"{uv.parent}{os.pathsep}{kept['PATH']}"
        done = subprocess.run(
            [sys.executable, ROOT / "install.py", *NOTHING_NEW],
            env=kept | {"PIP_CONFIG_FILE": str(settings)} | environment,
            capture_output=True,
            text=True,
        )
        arguments, given = json.loads(record.read_text())
        return done, arguments, given

    return run


def options_of(arguments: list[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(arguments))


def test_settings_of_pip_are_handed_to_uv(install):
    done, arguments, environment = install(PIP_EXTRA_INDEX_URL="https://more.example/simple")
    assert done.returncode == 0, done.stderr
    assert arguments[:4] == ["pip", "install", "--python", sys.executable]
    assert arguments[-2:] == list(NOTHING_NEW)
    given = options_of(arguments)
    assert ("--default-index", "https://mirror.example/simple") in given
    assert ("--index", "https://more.example/simple") in given
    assert ("--index-strategy", "unsafe-best-match") in given
    assert [value for option, value in given if option == "--find-links"] == [
        "/wheels",
        "one",
        "https://wheels.example",
    ]
    assert environment["SSL_CERT_FILE"] == "/certs/ours.pem"


def test_the_strongest_setting_of_pip_counts(install, tmp_path):
    def constraints(**environment):
        _, arguments, _ = install(**environment)
        return [value for option, value in options_of(arguments) if option == "--constraint"]

    assert constraints() == [f"{tmp_path}/strong.txt"]
    assert constraints(PIP_CONSTRAINT="/mine.txt") == ["/mine.txt"]


def test_pip_installs_where_uv_cannot(install):
    done, _, _ = install(code=2)
    assert "uv could not install this: pip tries." in done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "already satisfied: pip" in done.stdout
