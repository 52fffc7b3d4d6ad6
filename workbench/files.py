"""Files: whole or not at all when written; a mistake in a TOML table names its line, which tomllib
does not keep.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from workbench.errors import InputError, nearest

TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    object: "a whole number or a list",
}


def check_toml(
    table: dict, known: Mapping[str, type], where: Lines, header: str, index: int = 0
) -> None:
    if not isinstance(table, dict):
        raise where.error(
            header, index, "", f"{header} holds {table!r}; give a name as text or a table."
        )
    for key, value in table.items():
        if key not in known:
            raise where.error(header, index, key, f"unknown key {key!r}; {nearest(key, known)}")
        wanted = (int, float) if known[key] is float else known[key]
        if (
            not isinstance(value, wanted)
            or isinstance(value, bool)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise where.error(
                header, index, key, f"{key} is {value!r}; give {TYPE_NAMES[known[key]]}."
            )


def read_toml(path: Path, hint: str) -> tuple[dict, Lines]:
    """A file's tables, and where they stand. Raises InputError for what cannot be read or is not
    TOML.
    """
    try:
        text = read_given(path)
        # tomllib takes the square of the dots in a key, and thousands of them take hours.
        if max(part.count(".") for part in re.split(r"[=,\[\]{}\n]", text)) > MOST_DOTS:
            raise RecursionError
        found = tomllib.loads(text)
        _check_numbers(found)
        return found, Lines(path, text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {hint}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except RecursionError:
        raise InputError(f"{path} nests its values too deeply; write them flatter.") from None
    except ValueError as error:  # TOMLDecodeError, and that of a number of thousands of digits
        raise InputError(
            f"{path} is not TOML: {error}; texts need quotes, tables [brackets]."
        ) from None


def _check_numbers(table: dict) -> None:
    """Raises ValueError for a whole number beyond 64 bits, which TOML has not, and nobody can print
    if it is long enough.
    """
    waiting: list[object] = [table]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("a whole number has more than 64 bits")


@dataclass(frozen=True)
class Lines:
    """Finds the line that holds a key, because tomllib does not keep lines."""

    path: Path
    text: str

    def error(self, header: str, index: int, key: str, sentence: str) -> InputError:
        line = self.find(header, index, key)
        return InputError(f"{self.path}{f', line {line}' if line else ''}: {sentence}")

    def find(self, header: str, index: int, key: str) -> int | None:
        """The line of `key` in the index-th table `header`; of that table's header where the key
        has no line; or None.
        """
        current, seen, best = "", {}, None
        for number, line in enumerate(self.text.splitlines(), 1):
            if match := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
                current = match[1].strip("\"'")
                seen[current] = seen.get(current, -1) + 1
            here = current == header and seen.get(current, 0) == index
            if here and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
            # `params = {...}`, `[generators.params]`, `datasets = [...]`: the nearest thing that
            # has a line.
            if best is None and (
                (here and match) or (not current and header and re.match(rf"\s*{header}\s*=", line))
            ):
                best = number
        return best


MOST_TEXT = 4_000_000  # bytes of a grid, a plug-in or a schema
MOST_DOTS = 200  # in what stands between two marks of a TOML file: a key, a number or a text
# Commas and brackets of a JSON text that are read at most: each may become an object of its own.
MOST_PARTS = 5_000_000


def read_given(path: Path, most: int = MOST_TEXT) -> str:
    """The UTF-8 text of such a file as `read_bytes_given` reads."""
    return read_bytes_given(path, most).decode("utf-8")


def read_bytes_given(path: Path, most: int) -> bytes:
    """The bytes of a file that somebody named: a device never ends, and a pipe may wait for ever.
    Raises OSError for those and for a file of more than `most` bytes.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        return file.read(most + 1)


def quote(value) -> str:
    """TOML of a text or list of texts: JSON's escapes are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def write_bytes(path: Path, content: bytes, sync: bool = False) -> None:
    """A reader sees the old file or the whole new one; with sync, so does one after a power cut.

    The part is written under a random name that did not exist before, and moved over `path`: a link
    that stands at either name is never followed.
    """
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            # mkstemp makes files that nobody else may read; these are as any other new file.
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def write_text(path: Path, text: str, sync: bool = False) -> None:
    """`write_bytes` of a text, as UTF-8."""
    write_bytes(path, text.encode("utf-8"), sync)


def write_json(path: Path, value, sync: bool = True) -> None:
    """`write_bytes` of a value, as JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False), sync)


CONTROLS = (
    r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class Damaged(InputError):
    """A file of a report folder cannot be what was written there; the text names the file.

    Names come from whoever wrote the folder, and the text goes to terminals and pages.
    """

    def __init__(self, text: str):
        super().__init__(plain(text))


def open_own(path: Path, most: int | None = None) -> BufferedReader:
    """Open a regular file for reading, never through a link, never a pipe or a device.

    Raises Damaged for those, for a file larger than `most` bytes, and for one that is not there.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody who writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged(f"{name} is missing.") from None
    except ValueError:
        raise Damaged(f"{name!r} is no name of a file.") from None
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise Damaged(f"{name} cannot be read ({reason}).") from None
    about = os.fstat(descriptor)
    reason = ""
    if not stat.S_ISREG(about.st_mode):
        reason = "is no regular file"
    elif most is not None and about.st_size > most:
        reason = f"has {about.st_size:,} bytes; at most {most:,} are read"
    if reason:
        os.close(descriptor)
        raise Damaged(f"{name} {reason}.")
    return open(descriptor, "rb")


def read_own(path: Path, most: int) -> bytes:
    """The bytes of such a file."""
    with open_own(path, most) as file:
        return file.read(most + 1)


def read_own_json(path: Path, most: int) -> dict:
    """The JSON object that such a file holds. Raises Damaged where it holds anything else."""
    return parse_own_json(path, read_own(path, most))


def parse_own_json(path: Path, content: bytes) -> dict:
    """The JSON object in the bytes of the file `path`. Raises Damaged where it is anything else."""
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_PARTS:
        raise Damaged(f"{path.parent.name}/{path.name} holds more values than are read.")
    try:
        value = json.loads(
            content.decode("utf-8"), parse_int=_whole, parse_float=_finite, parse_constant=_finite
        )
        if b"\\u" in content:  # an escape may stand for half a character, which no file can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise Damaged(f"{path.parent.name}/{path.name} is no JSON text; it is damaged.") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path.parent.name}/{path.name} holds no JSON object; it is damaged.")
    return value


def _finite(text: str) -> float:
    """A number of a JSON text. Raises ValueError for NaN and what no float holds."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _whole(text: str) -> int:
    """The same for whole numbers: whatever takes one may make a float of it."""
    _finite(text)
    return int(text)


def plain(text: str) -> str:
    """A text without what a terminal would obey: control characters, and marks that turn the
    direction of writing. Lines and tabs stay. A half character, of a file's name that is no text,
    becomes a question mark.
    """
    text = text.encode("utf-8", "replace").decode()
    return re.sub(CONTROLS, "", text)


def import_nbformat():
    """The module nbformat, imported in a third of the time.

    It checks notebooks by jsonschema, which, where rfc3987_syntax is installed, builds a grammar of
    international addresses at its import: two seconds of each process, for a format that no
    notebook uses. That module is hidden while nbformat is imported, and can be imported afterwards.
    """
    name = "rfc3987_syntax"
    is_new = name not in sys.modules
    if is_new:
        sys.modules[name] = None  # its import fails, as where it is not installed
    try:
        import nbformat
    finally:
        if is_new:
            del sys.modules[name]
    return nbformat


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
