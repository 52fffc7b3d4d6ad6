"""Tables that a grid brings along: the files behind { table = "tabsyn-*.csv" } and behind the train
and test parts of a dataset that somebody has split.

Such a path is relative. It is looked for in the folder of grid.toml first, then in the data folder
that WORKBENCH_DATA names, and never leads out of either, through a link neither.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workbench.errors import InputError
from workbench.files import read_bytes_given
from workbench.tables.files import SUFFIXES, most_bytes
from workbench.tables.packaged import data_folder

MOST_FILES = 1000  # that one pattern may name


@dataclass(frozen=True)
class GivenFile:
    """One file. name: seen from its folder, as keys and manifests give it. in_data_folder: whether
    that folder is the one of WORKBENCH_DATA.
    """

    name: str
    path: Path
    in_data_folder: bool

    def read(self) -> bytes:
        """Its bytes. Raises InputError where it cannot be read."""
        try:
            return read_bytes_given(self.path, most_bytes())
        except OSError as error:
            raise InputError(
                f"table {self.name!r} cannot be read ({error.strerror}); check the file."
            ) from None

    def digest(self) -> str:
        """sha256 of its bytes."""
        return hashlib.sha256(self.read()).hexdigest()


def find_files(folder: Path, pattern: str) -> list[GivenFile]:
    """The files that a pattern names, numbers in their names in order: tabsyn-2 before tabsyn-10.

    Raises InputError for a pattern that could lead out of the two folders, and for one that names
    no file.
    """
    # Before anything is looked up: a pattern must not even ask what lies outside.
    _check_pattern(pattern)
    roots = [(folder, False)]
    data = data_folder()
    if data is not None:
        roots.append((data, True))
    for root, in_data_folder in roots:
        # The report's own folder first: what travels with a grid wins over the data folder.
        found = [path for path in root.glob(pattern) if path.is_file()]
        if not found:
            continue
        if len(found) > MOST_FILES:
            raise InputError(
                f"{pattern!r} names {len(found):,} files; at most {MOST_FILES:,} are taken."
            )
        files = [_inside(path, root, in_data_folder) for path in found]
        return sorted(files, key=lambda file: _natural(file.name))
    where = "the folder of grid.toml"
    if data is None:
        raise InputError(
            f"no file {pattern!r} in {where}; WORKBENCH_DATA may name another folder to look in."
        )
    raise InputError(f"no file {pattern!r} in {where} or in WORKBENCH_DATA.")


def find_file(folder: Path, name: str) -> GivenFile:
    """The one file of this name."""
    if re.search(r"[*?\[\]]", name):
        raise InputError(f"{name!r} names several files; give one.")
    return find_files(folder, name)[0]


def _check_pattern(pattern: str) -> None:
    # As written, whatever this system's separator is.
    parts = PurePosixPath(pattern).parts
    leads_out = not pattern or pattern.startswith(("/", "~")) or ".." in parts
    if leads_out or "://" in pattern or "\0" in pattern:
        raise InputError(
            f"{pattern!r} leads out of the folder; put the tables beside grid.toml, or into the"
            " folder that WORKBENCH_DATA names, and give the path from there."
        )
    if "**" in pattern:
        raise InputError(f"{pattern!r} goes through every folder; name the folder.")
    if not pattern.lower().endswith(SUFFIXES):
        raise InputError(f"{pattern!r} has an unknown ending; known: {', '.join(SUFFIXES)}.")


def _inside(path: Path, root: Path, in_data_folder: bool) -> GivenFile:
    # Links are followed before they are judged.
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{path.name!r} is a link that leads out of the folder; put the file itself there."
        )
    return GivenFile(path.relative_to(root).as_posix(), path, in_data_folder)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which numbers in a name sort as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]
