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
from workbench.batch.peers import kernel_spec
from workbench.errors import InputError
from workbench.files import plain, read_given, write_text


def demands(grid: Grid) -> list[str]:
    """What the grid would run, read or reach beyond its folder, one line each; [] for nothing.

    Each line says what is behind the name: the digest of the code, the place where a path leads
    from this very folder. So a yes to one folder says nothing of a copy that lies elsewhere.
    """
    found: list[str] = []
    for row in grid.variants():
        found += _of_generator(grid.folder, row)
    for file in grid.files():
        if file.in_data_folder:
            found.append(f"read {file.name} in your data folder ({file.path.resolve()})")
    for row in grid.datasets:
        for key in ("path", "metadata", "schema"):
            if key in row and _leads_out(grid.folder, row[key]):
                found.append(f"read the file {_with_place(grid.folder, row[key])}")
    return list(dict.fromkeys(found))


def _of_generator(folder: Path, row: dict) -> list[str]:
    found: list[str] = []
    # By the digest of their code: a yes to one text is no yes to the next.
    named = {"": plugin(folder, row["name"])} | plugins(folder, row["params"])
    for place in filter(None, named.values()):
        code = digest(read_given(place[0]))
        found.append(f"run the code of {os.path.relpath(place[0], folder)} ({code})")
    if row["kernel"]:
        # The kernel is the user's own, but an old one may run what a new one refuses.
        kernel = digest(canonical(kernel_spec(row["kernel"])))
        found.append(f"start your Jupyter kernel {row['kernel']} ({kernel})")
    # A plug-in's name is no place of data; all other texts are looked at, however deep.
    others = {name: value for name, value in row["params"].items() if name not in named}
    for text in _texts(others):
        if "://" in text:
            found.append(f"give {row['label']} the place {text}")
        elif _leads_out(folder, text):
            found.append(f"give {row['label']} the place {_with_place(folder, text)}")
    if row["params"].get("share_real_rows"):
        found.append(f"let {row['label']} send real rows of its tables to a model server")
    if row["name"] == "llm" and os.environ.get("OPENAI_BASE_URL"):
        server = row["params"].get("base_url") or os.environ["OPENAI_BASE_URL"]
        found.append(f"let {row['label']} ask the model server {server}, which may cost money")
    return found


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
    # By what was demanded, not by where the folder lies.
    known = _known() | {digest(canonical(found))}
    path = _store()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(path, "\n".join(sorted(known)) + "\n")
    except OSError:
        return  # the yes holds for this time, and is wanted again


def _store() -> Path:
    """One sha256 a line, in the user's own state folder (XDG_STATE_HOME)."""
    # The user's, never the folder's: a folder must not bring its own yes.
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
    try:
        return not (folder / text).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # too long for a name, or a loop of links
        return "/" in text


def _with_place(folder: Path, text: str) -> str:
    """A path as the grid writes it, with where it leads from this folder."""
    try:
        return f"{text} ({(folder / text).resolve()})"
    except (OSError, ValueError, RuntimeError):
        return text


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
