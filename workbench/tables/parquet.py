"""Parquet files that may be anybody's: nothing is unpacked before it is known how large it gets.

A footer says how large its columns are, and may lie; the header of each page says it again, and
that is what Arrow goes by. So the headers of all pages are read first: structs of Thrift's compact
protocol, https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FOOTER = 8_000_000  # bytes
# Structs and numbers in the lists of a footer: one of three bytes takes hundreds in memory.
MOST_LISTED = 300_000
MOST_PAGES = 300_000  # of a file; reading their headers takes seconds then
VALUE_BYTES = 8  # equal values are stored once: the least that each unfolds to
DICTIONARY_BYTES = 16  # Arrow's record of each value in a dictionary, whatever its length

# Thrift's kinds of fields.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12
DEEPEST = 12  # structs within structs
# Fields of a footer: the schema, whose leaves have a physical type and no children; rows; row groups,
# with their rows and columns; what a column says of itself.
SCHEMA, TYPE, CHILDREN = (2, LIST), (1, I32), (5, I32)
ROWS, GROUPS, GROUP_ROWS, COLUMNS, ABOUT = (3, I64), (4, LIST), (3, I64), (1, LIST), (3, STRUCT)
COUNT, SIZE, FIRST_PAGE, FIRST_DICTIONARY = (5, I64), (7, I64), (9, I64), (11, I64)
# What the lists of a footer are of, by the numbers of the fields that lead there. Arrow does not
# look at what a list says it is of: one that says otherwise would be read in two ways.
LISTS = {(2,): STRUCT, (4,): STRUCT, (5,): STRUCT, (7,): STRUCT, (4, 1): STRUCT, (4, 4): STRUCT}
LISTS |= {(4, 1, 3, 2): I32, (4, 1, 3, 3): BINARY, (4, 1, 3, 8): STRUCT, (4, 1, 3, 13): STRUCT}
LISTS |= {(4, 1, 3, 16, 2): I64, (4, 1, 3, 16, 3): I64, (4, 1, 3, 17, 2): I32}
LISTS |= {(4, 1, 8, 2, 1): BINARY}
# Fields of a page's header: its two sizes, and the headers of its kind, with their own fields.
UNPACKED, PACKED = (2, I32), (3, I32)
DATA, DICTIONARY, DATA_V2 = (5, STRUCT), (7, STRUCT), (8, STRUCT)
VALUES = (1, I32)
ENCODING = {DATA: (2, I32), DATA_V2: (4, I32)}
LONG_TYPES = (6, 7)  # texts, and bytes of a fixed length; a value of any other has 12 bytes at most
DELTA_BYTE_ARRAY = 7  # an encoding in which a text repeats the beginning of the one before


class TooLarge(ValueError):
    """A file that unfolds to more than is allowed."""


@dataclass
class Chunk:
    """What the pages of a column in one row group say of themselves, and the bytes of memory that
    they take.
    """

    is_long: bool  # whether its values may have any length
    values: int = 0
    stored: int = 0  # bytes of all pages, unpacked
    dictionary: int = 0  # bytes of the dictionary among them
    listed: int = 0  # values that the dictionary has
    repeated: int = 0  # bytes that texts take which repeat each other's beginnings, at most
    pages: int = 0

    @property
    def least(self) -> int:
        """While a value that occurs often is stored once."""
        plain = max(self.stored, self.values * VALUE_BYTES)
        return plain + self.listed * DICTIONARY_BYTES + self.repeated

    @property
    def most(self) -> int:
        """With every value written out, were all as long as the dictionary is."""
        return self.least + self.values * self.dictionary * self.is_long


def bounded_table(raw: bytes, most: int) -> pa.Table:
    """The table of a Parquet file. Raises TooLarge where it may take more than `most` bytes, before
    it does; ValueError, or what Arrow raises, for a file that is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    footer = _footer(raw)
    groups = footer.get(GROUPS, [])
    rows = max(footer[ROWS], sum(group[GROUP_ROWS] for group in groups))
    # A table without columns has rows all the same, and pandas may make an index of them.
    if rows * VALUE_BYTES > most:
        raise TooLarge
    columns = _columns(raw, footer)
    file = pq.ParquetFile(io.BytesIO(raw))
    fields = file.schema_arrow
    # A column within a list is not read as a dictionary, and takes more than one place.
    is_flat = not any(pa.types.is_nested(field.type) for field in fields)
    texts = [field.name for field in fields if is_flat and _is_text(field.type)]
    shared = whole = 0
    for place, chunk in columns:
        whole += chunk.most
        is_text = place < len(fields) and fields[place].name in texts
        shared += chunk.least if is_text else chunk.most
    if shared > most:
        raise TooLarge
    if whole <= most:
        return file.read()
    # Texts stay stored once until it is known how long they get.
    table = pq.ParquetFile(io.BytesIO(raw), read_dictionary=texts).read()
    if sum(_unfolded(table.column(i)) for i in range(table.num_columns)) > most:
        raise TooLarge
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def _footer(raw: bytes) -> dict:
    """The footer as its fields, read before Arrow reads it: that takes memory as the footer says,
    and some that are damaged end the process.
    """
    size = int.from_bytes(raw[-8:-4], "little")
    if raw[:4] != b"PAR1" or raw[-4:] != b"PAR1" or size + 12 > len(raw):
        raise ValueError("it begins or ends otherwise, or is encrypted")
    if size > MOST_FOOTER:
        raise ValueError(f"its footer has {size:,} bytes; at most {MOST_FOOTER:,} are read")
    try:
        found, end = _Reader(raw).struct(len(raw) - 8 - size, LISTS)
        for group in found.get(GROUPS, []):
            for column in group[COLUMNS]:
                if (8, STRUCT) in column or not {COUNT, SIZE, FIRST_PAGE} <= set(column[ABOUT]):
                    raise ValueError("a column is encrypted, or its footer is damaged")
            group[GROUP_ROWS]
        found[ROWS]
    except (IndexError, KeyError):
        raise ValueError("its footer is damaged") from None
    if end > len(raw) - 8:
        raise ValueError("its footer is damaged")
    return found


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_string, pa.types.is_large_string)
    checks += (pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in checks)


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


def _columns(raw: bytes, footer: dict) -> list[tuple[int, Chunk]]:
    """Each column of each row group: its place among them, and what its pages say. Raises
    ValueError where they are not what the footer says.
    """
    leaves = [each for each in footer.get(SCHEMA, []) if not each.get(CHILDREN)]
    found = []
    pages = 0
    for group in footer.get(GROUPS, []):
        for place, column in enumerate(group[COLUMNS]):
            about = column[ABOUT]
            start = about[FIRST_PAGE]
            first = about.get(FIRST_DICTIONARY, 0)
            if 0 < first < start:
                start = first
            kind = leaves[place].get(TYPE) if place < len(leaves) else None
            chunk = Chunk(is_long=kind is None or kind in LONG_TYPES)
            _read_pages(raw, start, start + about[SIZE], chunk, MOST_PAGES - pages)
            pages += chunk.pages
            # Arrow makes room for as many as the footer says, and reads on until it has them.
            if chunk.values < about[COUNT]:
                raise ValueError("a column has fewer values than its footer says")
            found.append((place, chunk))
    return found


def _read_pages(raw: bytes, start: int, end: int, chunk: Chunk, most_pages: int) -> None:
    """Add the pages that lie from start to end to their column."""
    if not 0 <= start <= end <= len(raw):
        raise ValueError("a column lies outside the file")
    place = start
    while place < end:
        chunk.pages += 1
        if chunk.pages > most_pages:
            raise ValueError(f"it has more than {MOST_PAGES:,} pages")
        try:
            header, place = _Reader(raw).struct(place, {})
            place += _add_page(chunk, header)
        except (IndexError, KeyError):
            raise ValueError("the header of a page is damaged") from None


def _add_page(chunk: Chunk, header: dict) -> int:
    """Add what a page's header says to its column; returns the bytes that the page takes."""
    unpacked, packed = header[UNPACKED], header[PACKED]
    if unpacked < 0 or packed < 0:
        raise ValueError("a page has a negative size")
    chunk.stored += unpacked
    for kind, encoding in ENCODING.items():
        if kind in header:
            values = max(header[kind][VALUES], 0)
            chunk.values += values
            if header[kind][encoding] == DELTA_BYTE_ARRAY:
                chunk.repeated += values * unpacked
    if DICTIONARY in header:
        chunk.listed += max(header[DICTIONARY][VALUES], 0)
        chunk.dictionary += unpacked
    return packed


class _Reader:
    """Structs of Thrift's compact protocol, as Arrow reads them: a field that occurs twice is what
    it was the last time, and one of another kind than it should have is none.
    """

    def __init__(self, raw: bytes):
        self._raw = raw
        self._listed = 0

    def struct(
        self, place: int, lists: Mapping[tuple[int, ...], int], path: tuple[int, ...] = ()
    ) -> tuple[dict[tuple[int, int], Any], int]:
        """(number, kind) -> value of each field, and where the struct ends. lists: see LISTS."""
        found: dict[tuple[int, int], Any] = {}
        number = 0
        while head := self._raw[place]:
            place += 1
            kind = head & 15
            if head >> 4:
                number += head >> 4
            else:
                number, place = self._signed(place)
            # Arrow's numbers of fields have 16 bits: a larger one is another's.
            number = (number + 2**15) % 2**16 - 2**15
            if kind in (TRUE, FALSE):  # which have no bytes of their own
                continue
            found[number, kind], place = self._value(kind, place, lists, (*path, number))
        return found, place + 1

    def _value(self, kind: int, place: int, lists: Mapping, path: tuple) -> tuple[Any, int]:
        if kind == I32:
            value, place = self._signed(place)
            return (value + 2**31) % 2**32 - 2**31, place
        if kind in (I16, I64):
            return self._signed(place)
        if kind == BINARY:
            length, place = self._varint(place)
            return None, place + length
        if kind in (TRUE, FALSE, BYTE):
            return None, place + 1
        if kind == DOUBLE:
            return None, place + 8
        if len(path) > DEEPEST or kind not in (LIST, STRUCT):
            raise ValueError("it has fields of an unknown kind")
        if kind == STRUCT:
            return self.struct(place, lists, path)
        return self._list(place, lists, path)

    def _list(self, place: int, lists: Mapping, path: tuple) -> tuple[list, int]:
        head = self._raw[place]
        place += 1
        kind, size = head & 15, head >> 4
        if size == 15:
            size, place = self._varint(place)
        self._listed += size
        if lists.get(path, kind) != kind or self._listed > MOST_LISTED:
            raise ValueError("a list in its footer is of another kind, or too long")
        values = []
        for _ in range(size):
            value, place = self._value(kind, place, lists, path)
            values.append(value)
        return values, place

    def _signed(self, place: int) -> tuple[int, int]:
        """A whole number with its sign, and where it ends."""
        folded, place = self._varint(place)
        return (folded >> 1) ^ -(folded & 1), place

    def _varint(self, place: int) -> tuple[int, int]:
        """A number of as many bytes as it needs, seven bits in each, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._raw[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value % 2**64, place
        raise ValueError("it holds a number without end")
