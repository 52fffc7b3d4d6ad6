"""Install packages into the environment of the Python that runs this, as `pip install` would.

    .venv/bin/python install.py --constraint requirements.txt --editable ".[neural]"

uv does it, in a tenth of pip's CPU seconds. It reads none of pip's settings by itself, so a mirror,
a folder of wheels or a certificate that is configured for pip is handed over here. Where uv is not
installed, pip brings it into this environment first; where that or uv fails, pip installs.
"""

import ast
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PIP = [sys.executable, "-m", "pip"]
VERSIONS = Path(__file__).with_name("requirements.txt")  # the one of uv stands there too
# pip's settings and uv's options of the same meaning. Each may hold several values.
OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}
# Where pip finds a setting, from the weakest to the strongest.
SECTIONS = ("global", "install", ":env:")


def main() -> int:
    """Install what the command line names; the exit code of who installed it."""
    settings = pip_settings()
    uv = shutil.which("uv") or fetched_uv()
    if uv:
        command = [uv, "pip", "install", "--python", sys.executable, *uv_options(settings)]
        if subprocess.run([*command, *sys.argv[1:]], env=uv_environment(settings)).returncode == 0:
            return 0
        print("uv could not install this: pip tries.", file=sys.stderr)
    # Modules are compiled when they are first imported: most of what is installed never is.
    return subprocess.run([*PIP, "install", "--no-compile", *sys.argv[1:]]).returncode


def pip_settings() -> dict[str, str]:
    """pip's own settings by name, of its files and of the environment; several values of one are
    separated by white space.
    """
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True)
    found = {}
    for line in listed.stdout.splitlines():
        place, _, value = line.partition("=")
        section, _, name = place.rpartition(".")
        found[section, name] = ast.literal_eval(value)
    return {
        name: value
        for strength in SECTIONS
        for (section, name), value in found.items()
        if section == strength
    }


def fetched_uv() -> str | None:
    """The path of uv after pip has brought it into this environment, None where it cannot."""
    done = subprocess.run([*PIP, "install", "--quiet", "--constraint", str(VERSIONS), "uv"])
    if done.returncode:
        return None
    return shutil.which("uv", path=sysconfig.get_path("scripts"))


def uv_options(settings: dict[str, str]) -> list[str]:
    """uv's options for pip's settings. Like pip it then takes the best version of all indexes."""
    options = ["--index-strategy", "unsafe-best-match"]
    for name, option in OPTIONS.items():
        for value in shlex.split(settings.get(name, "")):
            options += [option, value]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    return options


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """This environment, with the certificates that pip trusts: its own file's, else the system's."""
    environment = {"UV_NATIVE_TLS": "1", **os.environ}
    if "cert" in settings:
        environment.setdefault("SSL_CERT_FILE", settings["cert"])
    return environment


if __name__ == "__main__":
    sys.exit(main())
