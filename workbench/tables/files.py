"""Tables from files: CSV and Parquet, told apart, decoded and checked before anything is inferred."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 5000  # a table of more takes hours in every metric; it is a mistake or an attack
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
        raw = _read_bytes(path)
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
    if table.shape[1] > MOST_COLUMNS:
        raise _too_wide(path.name, table.shape[1])
    if not len(table):
        raise InputError(
            f"file {path.name!r} has a header but no rows; it needs rows to learn from."
        )
    return table


def _read_bytes(path: Path) -> bytes:
    """A regular file's bytes: a device never ends, and a pipe may wait for ever."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise InputError(
                f"{str(path)!r} is no regular file; save the table to a file and give that."
            )
        if about.st_size > most_bytes():
            raise too_large(path.name)
        return file.read()


def most_bytes() -> int:
    """How many bytes a file may unfold to: 512 MB, or as many MB as WORKBENCH_MOST_MB says."""
    given = os.environ.get("WORKBENCH_MOST_MB", "512")
    try:
        return int(float(given) * 1e6)
    except (ValueError, OverflowError):
        raise InputError(f"WORKBENCH_MOST_MB is {given!r}; give a number of MB.") from None


def too_large(name: str) -> InputError:
    return InputError(
        f"file {name!r} unfolds to more than {most_bytes() / 1e6:,.0f} MB; "
        "if you trust it, set WORKBENCH_MOST_MB to more."
    )


def parquet_table(raw: bytes, name: str) -> pa.Table:
    """The table of a Parquet file that unfolds to at most `most_bytes()`. Raises InputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    most = most_bytes()
    try:
        file = pq.ParquetFile(io.BytesIO(raw))
        about = file.metadata
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        stored = sum(group.total_byte_size for group in groups)
        # Equal values are stored once: eight bytes a value is the least that they unfold to.
        if stored > most or about.num_rows * about.num_columns * 8 > most:
            raise too_large(name)
        if about.num_rows * max(stored, 1) <= most:
            return file.read()
        # Texts stay stored once until it is known how long they get.
        fields = file.schema_arrow
        texts = [field.name for field in fields if _is_text(field.type)]
        file = pq.ParquetFile(io.BytesIO(raw), read_dictionary=texts)
        table = file.read()
        if sum(_unfolded(table.column(i)) for i in range(table.num_columns)) > most:
            raise too_large(name)
        return table.cast(pa.schema(fields, metadata=table.schema.metadata))
    except (pa.ArrowException, ValueError, OSError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"file {name!r} is not a Parquet file that can be read ({reason})."
        ) from None


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def _unfolded(column: pa.ChunkedArray) -> int:
    """Bytes that a column takes with every value written out; at least its own bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = column.nbytes
    if pa.types.is_dictionary(column.type):
        for chunk in column.chunks:
            lengths = pc.binary_length(chunk.dictionary)
            total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _read_parquet(raw: bytes, name: str) -> pd.DataFrame:
    arrow = parquet_table(raw, name)
    try:
        table = arrow.to_pandas()
    except (ValueError, OSError, KeyError, TypeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"file {name!r} is not a Parquet file that can be read ({reason})."
        ) from None
    _check_binary(table, name)
    # A named index is a column that pandas set aside.
    return table.reset_index() if any(level is not None for level in table.index.names) else table


def _read_csv(raw: bytes, name: str, text_columns: Iterable[str]) -> pd.DataFrame:
    text = _decode(raw, name)
    separator, header = _check_rows(text, name)
    text_columns = (
        set(header) if "*" in text_columns else set(text_columns) | _codes(text, separator, header)
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
            raw = _unpack(raw, name)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"file {name!r} cannot be unpacked ({error}); copy it again."
            ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"file {name!r} is not UTF-8 (byte 0x{raw[error.start]:02x} in line {line}); convert"
            " it, for example with iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW."
        ) from None
    if "\0" in text:
        raise InputError(
            f"file {name!r} holds a null character; it is not text, or is UTF-16: save it as UTF-8."
        )
    if not text.strip():
        raise InputError(f"file {name!r} is empty; it needs a header row and rows.")
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def _unpack(raw: bytes, name: str) -> bytes:
    """What gzip packed, read in pieces so that a small file cannot fill the memory."""
    most = most_bytes()
    parts, total = [], 0
    with gzip.open(io.BytesIO(raw)) as file:
        while part := file.read(1 << 22):
            parts.append(part)
            total += len(part)
            if total > most:
                raise too_large(name)
    return b"".join(parts)


def _check_binary(table: pd.DataFrame, name: str) -> None:
    """Raises InputError for a column that holds bytes: no kind of column is made of them."""
    for column, kind in table.dtypes.items():
        if str(kind) == "object" and table[column].map(type).eq(bytes).any():
            raise InputError(
                f"file {name!r}: column {str(column)!r} holds bytes, not text; leave it out, or"
                " decode it."
            )


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
    if len(header) > MOST_COLUMNS:
        raise _too_wide(name, len(header))
    if len(header) < 2:
        raise InputError(
            f"file {name!r} has only one column, {header[0]!r}; a table needs two or more, set"
            " apart by comma, semicolon, tab or bar."
        )
    seen: set[str] = set()
    for column in header:
        if not column:
            raise InputError(
                f"file {name!r}: column {header.index('') + 1} has no name; name it in the header"
                " row."
            )
        repeated = column in seen
        seen.add(column)
        if repeated:
            raise InputError(
                f"file {name!r}: column name {column!r} occurs more than once; rename one of them."
            )
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if len(row) != len(header) and row:
                raise InputError(
                    f"file {name!r}: line {rows.line_num} has {len(row)} fields where the header"
                    f" has {len(header)}; mend it, or quote a field that holds the separator."
                )
    except csv.Error as error:
        raise InputError(
            f"file {name!r}: line {rows.line_num} cannot be read ({error}); mend that line."
        ) from None
    return separator, header


def _too_wide(name: str, columns: int) -> InputError:
    return InputError(
        f"file {name!r} has {columns:,} columns; at most {MOST_COLUMNS:,} are read: keep those you"
        " need."
    )


def _codes(text: str, separator: str, header: list[str]) -> set[str]:
    """Columns that hold digits which a number would change: a leading zero, as in a postal code, or
    more digits than a float keeps.
    """
    end = re.escape(separator)
    if not re.search(rf"(^|{end}|\")(0\d+|-?\d{{16,}})($|{end}|\")", text, re.MULTILINE):
        return set()
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    next(rows)
    found = set()
    for row in rows:
        for name, value in zip(header, row, strict=False):
            digits = value.removeprefix("-")
            if digits.isdigit() and (len(digits) > 15 or (value[:1] == "0" and len(value) > 1)):
                found.add(name)
    return found
