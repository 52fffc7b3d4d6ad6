"""Tables from files: CSV and Parquet, told apart, decoded and checked before anything is inferred."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from workbench.errors import InputError

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def read_file(path: Path, text_columns: Iterable[str] = ()) -> pd.DataFrame:
    """The raw table of a CSV, gzipped CSV or Parquet file. An empty CSV field is missing; "NA" or
    "None" are text.

    text_columns of a CSV ("*" for all of them) are kept as they are written, and so are columns of
    digits with a leading zero: these are codes. A CSV is UTF-8 with a header row; fields are set
    apart by comma, semicolon, tab or bar, and spaces before a field are dropped. Raises InputError
    for a file that cannot be read, is not UTF-8, is empty, has no rows, repeats a column name or
    has a row of another length.
    """
    if os.path.isdir(path):
        raise InputError(
            f"{str(path)!r} is a folder; give the path of one {', '.join(SUFFIXES)} file."
        )
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"file {path.name!r} has an unknown ending; known: {', '.join(SUFFIXES)}.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"file {str(path)!r} does not exist; check the path.") from None
    except PermissionError:
        raise InputError(
            f"file {str(path)!r} may not be read; give yourself the read permission (chmod u+r)."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"file {str(path)!r} cannot be read ({error}); check the path.") from None
    if not raw:
        raise InputError(f"file {path.name!r} is empty; it needs a header row and rows.")
    table = (
        _read_parquet(raw, path.name)
        if path.suffix.lower() == ".parquet"
        else _read_csv(raw, path.name, text_columns)
    )
    if not len(table):
        raise InputError(
            f"file {path.name!r} has a header but no rows; it needs rows to learn from."
        )
    return table


def _read_parquet(raw: bytes, name: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(raw), engine="pyarrow")
    except (ValueError, OSError) as error:
        raise InputError(
            f"file {name!r} is not a Parquet file that can be read ({str(error).splitlines()[0]})."
        ) from None
    # A named index is a column that pandas set aside.
    return table.reset_index() if any(level is not None for level in table.index.names) else table


def _read_csv(raw: bytes, name: str, text_columns: Iterable[str]) -> pd.DataFrame:
    text = _decode(raw, name)
    separator, header = _check_rows(text, name)
    text_columns = (
        set(header)
        if "*" in text_columns
        else set(text_columns) | _zero_led(text, separator, header)
    )
    # A European file has semicolons between fields and commas inside numbers.
    decimal = (
        "," if separator == ";" and re.search(r"(^|;)-?\d+,\d+(;|$)", text, re.MULTILINE) else "."
    )
    return pd.read_csv(
        io.StringIO(text),
        header=0,
        names=header,
        sep=separator,
        skipinitialspace=True,
        # The default may be off by one bit, and 0.1 would not lie on a grid of tenths
        float_precision="round_trip",
        dtype=dict.fromkeys(text_columns & set(header), str),
        decimal=decimal,
        keep_default_na=False,
        na_values=[""],
        low_memory=False,  # else the kind of a column depends on where a chunk ends
        index_col=False,
    )


def _decode(raw: bytes, name: str) -> str:
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(
                f"file {name!r} cannot be unpacked ({error}); copy it again."
            ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"file {name!r} is not UTF-8 (byte 0x{raw[error.start]:02x} in line {line}); convert it, for example with "
            "iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW."
        ) from None
    if "\0" in text:
        raise InputError(
            f"file {name!r} holds a null character; it is not text, or is UTF-16: save it as UTF-8."
        )
    if not text.strip():
        raise InputError(f"file {name!r} is empty; it needs a header row and rows.")
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def _check_rows(text: str, name: str) -> tuple[str, list[str]]:
    """The separator and the header; pandas would rename repeated columns and fill up short rows
    without a word.
    """
    first = io.StringIO(text.lstrip("\n"))
    headers = {}
    for mark in ",;\t|":
        first.seek(0)
        headers[mark] = next(csv.reader(first, delimiter=mark, skipinitialspace=True))
    separator = "," if len(headers[","]) > 1 else max(headers, key=lambda mark: len(headers[mark]))
    header = [column.strip() for column in headers[separator]]
    if len(header) < 2:
        raise InputError(
            f"file {name!r} has only one column, {header[0]!r}; a table needs two or more, set apart by comma, "
            "semicolon, tab or bar."
        )
    for column in header:
        if not column:
            raise InputError(
                f"file {name!r}: column {header.index('') + 1} has no name; name it in the header row."
            )
        if header.count(column) > 1:
            raise InputError(
                f"file {name!r}: column name {column!r} occurs more than once; rename one of them."
            )
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if len(row) != len(header) and row:
                raise InputError(
                    f"file {name!r}: line {rows.line_num} has {len(row)} fields where the header has {len(header)}; "
                    "mend it, or quote a field that holds the separator."
                )
    except csv.Error as error:
        raise InputError(
            f"file {name!r}: line {rows.line_num} cannot be read ({error}); mend that line."
        ) from None
    return separator, header


def _zero_led(text: str, separator: str, header: list[str]) -> set[str]:
    """Columns that hold whole numbers with a leading zero, such as postal codes: the zero is lost
    in a number.
    """
    end = re.escape(separator)
    if not re.search(rf"(^|{end}|\")0\d+($|{end}|\")", text, re.MULTILINE):
        return set()
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    next(rows)
    return {
        header[j]
        for row in rows
        for j, value in enumerate(row)
        if value[:1] == "0" and value.isdigit() and len(value) > 1
    }
