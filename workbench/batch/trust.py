"""What a grid would run and read beyond this package, and whether the user has agreed to it.

A report folder is made to be sent on, so its grid may be somebody else's. Before a plug-in runs, or
a file outside the folder is read, the command line says so and wants a yes: by --trust, or at the
terminal. The yes is kept by content: the same plug-ins and the same files are not asked for again,
wherever the folder lies; another plug-in is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from workbench.batch.grid import Grid, canonical, plugin, plugins
from workbench.batch.keys import digest
from workbench.errors import InputError
from workbench.files import plain, write_text


def demands(grid: Grid) -> list[str]:
    """What the grid would run, read or reach beyond its folder, one line each; [] for nothing."""
    found: list[str] = []
    for row in grid.generators:
        places = [plugin(grid.folder, row["name"]), *plugins(grid.folder, row["params"]).values()]
        for place in filter(None, places):
            code = digest(place[0].read_text(encoding="utf-8"))
            found.append(f"run the code of {os.path.relpath(place[0], grid.folder)} ({code[:16]})")
        for text in _texts(row["params"]):
            if _leads_out(grid.folder, text) and not text.rpartition(":")[0].endswith(".py"):
                found.append(f"give {row['label']} the place {text}")
    for row in grid.datasets:
        for key in ("path", "metadata", "schema"):
            if key in row and _leads_out(grid.folder, row[key]):
                found.append(f"read the file {row[key]}")
    return list(dict.fromkeys(found))


def check(grid: Grid, trust: bool, question=None) -> None:
    """Raises InputError where the grid demands something that nobody has agreed to.

    trust: agree now. question: asks a person, where one is there; returns whether they agree.
    """
    found = demands(grid)
    if not found or digest(canonical(found)) in _known():
        return
    what = plain("; ".join(found))
    if trust or (question is not None and question(f"{grid.folder} would {what}.")):
        _keep(found)
        return
    raise InputError(
        f"{grid.folder} would {what}. If you trust whoever wrote it, say so once: --trust."
    )


def remember(grid: Grid) -> None:
    """Keep the user's yes to what this grid demands; a grid that was written here needs no other."""
    found = demands(grid)
    if found:
        _keep(found)


def _keep(found: list[str]) -> None:
    known = _known() | {digest(canonical(found))}
    path = _store()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(path, "\n".join(sorted(known)) + "\n")
    except OSError:
        return  # the yes holds for this time, and is wanted again


def _store() -> Path:
    """One sha256 a line, in the user's own state folder (XDG_STATE_HOME)."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home, "workbench", "trusted")


def _known() -> set[str]:
    try:
        return set(_store().read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return set()


def _leads_out(folder: Path, text: str) -> bool:
    """Whether a text is an address, or a path that leaves the folder, through a link too."""
    if "://" in text or text.startswith(("/", "~")):
        return True
    if "/" not in text and not (folder / text[:200]).is_symlink():
        return False
    try:
        return not (folder / text).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def _texts(value: object) -> Iterator[str]:
    """Every text in a parameter, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
