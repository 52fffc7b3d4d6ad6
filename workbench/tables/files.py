"""Tables from files: CSV and Parquet, told apart, decoded and checked before anything is inferred."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import stat
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 5000  # a table of more takes hours in every metric; it is a mistake or an attack
# A file may unfold to so many times its size, or to this many bytes where that is more: a small file
# cannot fill the memory. Real tables stay far below it.
MOST_TIMES, FREE_BYTES = {"csv": 20, "parquet": 200, "rows": 20}, 32_000_000
SUFFIXES = (".csv", ".csv.gz", ".parquet")
SEPARATORS = ",;\t|"  # the likelier first
HEAD = 1 << 20  # bytes in which separator and header are looked for
LOOKED_ROWS = 200
TEXT = pd.StringDtype("pyarrow")


def read_file(path: Path) -> pd.DataFrame:
    """The raw table of a CSV, gzipped CSV or Parquet file: the columns of a CSV are text as it is
    written. An empty CSV field is missing; "NA" or "None" are text.

    A CSV is UTF-8, or UTF-16 with its mark; its fields are set apart by comma, semicolon, tab or
    bar, whichever header and rows agree on, and spaces before a field are dropped. A first row that
    is plainly data gets names, `column_1` and so on. The table's attrs hold "decimal", the mark
    that the separator makes likely, and "notes", sentences on what a reader should know. Raises
    InputError for a file that cannot be read or decoded, is empty, has no rows, repeats a column
    name or has a row of another length.
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
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    table = read(raw, path.name)
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
            raise too_large(path.name, most_bytes())
        return file.read()


def most_bytes() -> int:
    """How many bytes a file may unfold to: 512 MB, or as many MB as WORKBENCH_MOST_MB says."""
    given = os.environ.get("WORKBENCH_MOST_MB", "512")
    try:
        return int(float(given) * 1e6)
    except (ValueError, OverflowError):
        raise InputError(f"WORKBENCH_MOST_MB is {given!r}; give a number of MB.") from None


def most_unfolded(size: int, times: int) -> int:
    """How many bytes a file of `size` bytes may unfold to, unless WORKBENCH_MOST_MB says it."""
    if "WORKBENCH_MOST_MB" in os.environ:
        return most_bytes()
    return min(most_bytes(), max(FREE_BYTES, times * size))


def too_large(name: str, most: int) -> InputError:
    return InputError(
        f"file {name!r} unfolds to more than {most / 1e6:,.0f} MB; "
        "if you trust it, set WORKBENCH_MOST_MB to more."
    )


def parquet_table(raw: bytes, name: str) -> pa.Table:
    """The table of a Parquet file that unfolds to no more than a file of its size may. Raises
    InputError.
    """
    import pyarrow as pa

    from workbench.tables.parquet import TooLarge, bounded_table

    most = most_unfolded(len(raw), MOST_TIMES["parquet"])
    try:
        return bounded_table(raw, most)
    except TooLarge:
        raise too_large(name, most) from None
    except (pa.ArrowException, ValueError, OSError, TypeError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"file {name!r} is not a Parquet file that can be read ({reason})."
        ) from None


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


def _read_csv(raw: bytes, name: str) -> pd.DataFrame:
    raw = _decoded(raw, name)
    head = raw[:HEAD].decode("utf-8", errors="ignore")
    head = _without_last_line(head) if len(raw) > HEAD else head
    start = _length_of_hint(head)
    separator = head[4] if start else _separator(head)
    header, length = _header(head[start:], separator)
    start += length
    notes = []
    first_rows = _rows(head[start:], separator)
    if _is_data(header, first_rows):
        start -= length
        notes.append(
            f"the first row of {name!r}, {_shown(header)}, is data: columns are named column_1 to"
            f" column_{len(header)}; add a header row to name them."
        )
        header = [f"column_{place}" for place in range(1, len(header) + 1)]
    elif _looks_like_data(header):
        notes.append(
            f"the names {_shown(header)} of {name!r} look like a row of data; if they are, add a"
            " header row to the file."
        )
    _check_header(header, name)
    body = raw[start:]
    if not body or body.isspace():
        raise InputError(f"file {name!r} has a header but no rows; it needs rows to learn from.")
    spaced = _is_spaced(body, separator)
    lines_before = raw[:start].count(b"\n")
    table = _parsed(body, separator, header, name, spaced, lines_before)
    table.attrs = {
        "decimal": "," if separator == ";" else "",
        "notes": notes,
        "spaced": spaced,
    }
    return table


def _decoded(raw: bytes, name: str) -> bytes:
    """The bytes of a text file as UTF-8 with plain line ends, without a byte order mark."""
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = _unpack(raw, name)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"file {name!r} cannot be unpacked ({error}); copy it again."
            ) from None
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        try:
            raw = raw.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"file {name!r} is not UTF-16 though it begins so ({error.reason}); save it as"
                " UTF-8."
            ) from None
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        raw.isascii() or raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"file {name!r} is not UTF-8 (byte 0x{raw[error.start]:02x} in line {line}); convert"
            " it, for example with iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW."
        ) from None
    if b"\0" in raw:
        raise InputError(
            f"file {name!r} holds a null character; it is not text, or is UTF-16: save it as UTF-8."
        )
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # Most files end in one line end as it is, and need no copy.
    if raw[:1] == b"\n" or raw[-1:] != b"\n" or raw[-2:] == b"\n\n":
        raw = raw.strip(b"\n") + b"\n"
    if raw.isspace():
        raise InputError(f"file {name!r} is empty; it needs a header row and rows.")
    return raw


def _without_last_line(head: str) -> str:
    """A head that was cut within a line, up to the end of the line before."""
    end = head.rfind("\n")
    return head if end < 0 else head[: end + 1]


def _length_of_hint(head: str) -> int:
    """The length of a first line "sep=;", which spreadsheets write and read."""
    match = re.match(r"sep=[,;\t|]\n", head)
    return match.end() if match else 0


def _rows(text: str, separator: str, most: int = LOOKED_ROWS) -> list[list[str]]:
    """The first rows of a text, up to one that cannot be read."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    rows = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) == most:
                break
    except csv.Error:
        pass
    return rows


def _separator(head: str) -> str:
    """The mark between fields: the one that gives most fields, as many in the rows as in the header.

    A header may hold commas in its names, and rows of semicolons decimal commas.
    """
    best, best_score = ",", (-1.0, 0)
    for mark in SEPARATORS:
        rows = _rows(head, mark)
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        agreeing = sum(len(row) == width for row in rows) / len(rows)
        # A mark that most rows disagree with is none, however many fields the header has of it.
        score = (1.0 if agreeing == 1 else agreeing / 2, width)
        if score > best_score:
            best, best_score = mark, score
    return best


def _header(head: str, separator: str) -> tuple[list[str], int]:
    """The names, and the bytes that the header row takes."""
    lines = head.splitlines(keepends=True)
    reader = csv.reader(iter(lines), delimiter=separator, skipinitialspace=True)
    try:
        names = next(reader, [])
    except csv.Error:
        names = []
    length = len("".join(lines[: reader.line_num]).encode())
    return [name.strip() for name in names], length


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", text.strip()))


def _is_data(header: list[str], rows: list[list[str]]) -> bool:
    """Whether the first row is plainly one of data: a fraction that stands where every row has a
    number, or names that repeat, and nothing that only a header would say.
    """
    rows = [row for row in rows if len(row) == len(header)]
    if len(rows) < 3 or not header:
        return False
    columns = list(zip(*rows, strict=True))
    fractions, explained = 0, 0
    for name, column in zip(header, columns, strict=True):
        present = [value.strip() for value in column if value.strip()]
        if not name:
            explained += 1
        elif _is_number(name) and present and all(map(_is_number, present)):
            explained += 1
            fractions += bool(re.search("[.,]", name))
        elif name in present:
            explained += 1
    # Years and the numbers of pixels are names as well; they are whole and differ.
    names = [name for name in header if name]
    repeats = len(set(names)) < len(names) and all(map(_is_number, names))
    return explained == len(header) and (fractions > 0 or repeats)


def _looks_like_data(header: list[str]) -> bool:
    """Whether most names are numbers."""
    return sum(map(_is_number, header)) > max(1, len(header) / 2)


def _shown(header: list[str]) -> str:
    shown = ", ".join(repr(name) for name in header[:4])
    return shown + (", ..." if len(header) > 4 else "")


def _is_spaced(body: bytes, separator: str) -> bool:
    """Whether any field of a text begins with a blank, which reading drops."""
    # One byte is found far faster than two, and many files have no blank at all.
    if b" " not in body:
        return False
    return f"{separator} ".encode() in body or b"\n " in body or body[:1] == b" "


def _parsed(
    body: bytes, separator: str, header: list[str], name: str, spaced: bool, lines_before: int
) -> pd.DataFrame:
    """The fields of all rows as text; Arrow reads them an order faster than Python would, and
    refuses a row of another length by itself where no field is quoted.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    has_quotes = b'"' in body
    if has_quotes:
        _check_rows(body, lines_before, separator, header, name)
    if spaced and has_quotes:
        return _parsed_by_pandas(body, separator, header)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(column_names=header, use_threads=True),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if has_quotes else False,
                newlines_in_values=has_quotes,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        _check_rows(body, lines_before, separator, header, name)
        reason = str(error).splitlines()[0]
        raise InputError(f"file {name!r} cannot be read ({reason}); mend that line.") from None
    return pd.DataFrame(
        {column: _as_strings(table.column(column), spaced) for column in header}, copy=False
    )


def _as_strings(column: pa.ChunkedArray, spaced: bool) -> pd.Series:
    import pyarrow as pa
    import pyarrow.compute as pc

    if spaced:
        column = pc.utf8_ltrim(column, characters=" ")
        column = pc.if_else(pc.equal(column, ""), None, column)
    # In one piece, since each later look at the column would have to join its pieces.
    return pd.Series(pd.array(pa.chunked_array([column.combine_chunks()]), dtype=TEXT))


def _parsed_by_pandas(body: bytes, separator: str, header: list[str]) -> pd.DataFrame:
    """The same for quotes that stand after a space."""
    return pd.read_csv(
        io.BytesIO(body),
        header=None,
        names=header,
        sep=separator,
        skipinitialspace=True,
        dtype=TEXT,
        keep_default_na=False,
        na_values=[""],
        index_col=False,
    )


def _unpack(raw: bytes, name: str) -> bytes:
    """What gzip packed, read in pieces so that a small file cannot fill the memory."""
    most = most_unfolded(len(raw), MOST_TIMES["csv"])
    parts, total = [], 0
    with gzip.open(io.BytesIO(raw)) as file:
        while part := file.read(1 << 22):
            parts.append(part)
            total += len(part)
            if total > most:
                raise too_large(name, most)
    return b"".join(parts)


def _check_binary(table: pd.DataFrame, name: str) -> None:
    """Raises InputError for a column that holds bytes: no kind of column is made of them."""
    for column, kind in table.dtypes.items():
        if str(kind) == "object" and table[column].map(type).eq(bytes).any():
            raise InputError(
                f"file {name!r}: column {str(column)!r} holds bytes, not text; leave it out, or"
                " decode it."
            )


def _check_header(header: list[str], name: str) -> None:
    if len(header) > MOST_COLUMNS:
        raise _too_wide(name, len(header))
    if len(header) < 2:
        first = header[0] if header else ""
        raise InputError(
            f"file {name!r} has only one column, {first!r}; a table needs two or more, set"
            " apart by comma, semicolon, tab or bar."
        )
    seen: set[str] = set()
    for column in header:
        if not column:
            raise InputError(
                f"file {name!r}: column {header.index('') + 1} has no name; name it in the header"
                " row."
            )
        if column in seen:
            raise InputError(
                f"file {name!r}: column name {column!r} occurs more than once; rename one of them."
            )
        seen.add(column)


def _check_rows(
    body: bytes, lines_before: int, separator: str, header: list[str], name: str
) -> None:
    """Raises InputError for a row of another length, which readers fill up or cut without a word."""
    text = io.StringIO(body.decode("utf-8"))
    rows = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if len(row) != len(header) and row:
                raise InputError(
                    f"file {name!r}: line {rows.line_num + lines_before} has {len(row)} fields"
                    f" where the header has {len(header)}; mend it, or quote a field that holds the"
                    " separator."
                )
    except csv.Error as error:
        line = rows.line_num + lines_before
        raise InputError(
            f"file {name!r}: line {line} cannot be read ({error}); mend that line."
        ) from None


def _too_wide(name: str, columns: int) -> InputError:
    return InputError(
        f"file {name!r} has {columns:,} columns; at most {MOST_COLUMNS:,} are read: keep those you"
        " need."
    )
