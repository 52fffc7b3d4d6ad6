"""Files: whole or not at all when written; a mistake in a TOML table names its line, which tomllib
does not keep.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError, nearest

TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
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
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), Lines(path, text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {hint}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"{path} is not TOML: {error}; texts need quotes, tables [brackets]."
        ) from None


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


def quote(value) -> str:
    """TOML of a text or list of texts: JSON's escapes are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def write_text(path: Path, text: str, sync: bool = False) -> None:
    """A reader sees the old file or the whole new one; with sync, so does one after a power cut."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    os.replace(part, path)


def write_json(path: Path, value, sync: bool = True) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False), sync)
