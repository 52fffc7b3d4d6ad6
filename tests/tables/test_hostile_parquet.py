"""Parquet files written by somebody hostile: footers and pages that lie about what they hold. Each
ends in one sentence, before it takes memory.
"""

import gzip
import json
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.errors import InputError
from workbench.tables.files import parquet_table, read_file
from workbench.tables.parquet import MOST_FOOTER, PACKED, _Reader

INT64, DOUBLE, BYTE_ARRAY, FIXED = 2, 5, 6, 7  # physical types
PLAIN, RLE_DICTIONARY, DELTA_BYTE_ARRAY, RLE = 0, 8, 7, 3
UNCOMPRESSED, GZIP = 0, 2
DATA, DICTIONARY = 0, 2  # kinds of pages


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def struct(**fields) -> bytes:
    """Thrift's compact protocol: i3=5 is field 3, a whole number of 32 bits; l for 64, b for bytes,
    s for a struct and a for a list of (kind, items).
    """
    kinds = {"i": 5, "l": 6, "b": 8, "s": 12, "a": 9}
    out, before = bytearray(), 0
    for name, value in fields.items():
        number = int(name[1:])
        out.append((number - before) << 4 | kinds[name[0]])
        before = number
        if name[0] in "il":
            out += varint((value << 1) ^ (value >> 63))
        elif name[0] == "b":
            out += varint(len(value)) + value
        elif name[0] == "s":
            out += value
        else:
            kind, items = value
            out += bytes([0xF0 | kind]) + varint(len(items)) + b"".join(items)
    return bytes(out) + b"\0"


def page(content: bytes, values: int, kind: int = DATA, encoding: int = PLAIN, **lies) -> bytes:
    """A page of a column whose values are all there, packed by gzip."""
    packed = gzip.compress(content, 1, mtime=0)
    fields = {"i1": kind, "i2": len(content), "i3": len(packed)}
    if kind == DATA:
        fields["s5"] = struct(i1=values, i2=encoding, i3=RLE, i4=RLE)
    else:
        fields["s7"] = struct(i1=values, i2=encoding)
    return struct(**fields | lies) + packed


def file_of(kind: int, pages: list[bytes], count: int, **lies) -> bytes:
    """A file of one row group and one column `a`, as its pages and its footer say.

    lies: what the footer says otherwise: rows, values, length (of a fixed value), unpacked.
    """
    content = b"".join(pages)
    schema = {"i1": kind}
    if kind == FIXED:
        schema["i2"] = lies["length"]
    schema |= {"i3": 0, "b4": b"a"}
    places = {"l9": 4}
    if len(pages) > 1:
        places = {"l9": 4 + len(pages[0]), "l11": 4}
    about = struct(
        i1=kind,
        a2=(5, [varint(2 * PLAIN)]),
        a3=(8, [varint(1) + b"a"]),
        i4=GZIP,
        l5=lies.get("values", count),
        l6=lies.get("unpacked", 100),
        l7=len(content),
        **places,
    )
    column = struct(l2=4, s3=about)
    rows = lies.get("rows", count)
    group = struct(a1=(12, [column]), l2=lies.get("unpacked", 100), l3=rows)
    root = struct(b4=b"schema", i5=1)
    footer = struct(i1=1, a2=(12, [root, struct(**schema)]), l3=rows, a4=(12, [group]))
    return b"PAR1" + content + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def codes(values: int) -> bytes:
    """`values` times the first value of a dictionary."""
    return bytes([1]) + varint(values << 1) + b"\0"


def text(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


def test_an_honest_file_of_the_same_make_is_read():
    numbers = np.arange(5.0)
    raw = file_of(DOUBLE, [page(numbers.tobytes(), 5)], 5)
    assert parquet_table(raw, "t.parquet").column("a").to_pylist() == list(numbers)
    pages = [page(text(b"red"), 1, DICTIONARY), page(codes(5), 5, encoding=RLE_DICTIONARY)]
    raw = file_of(BYTE_ARRAY, pages, 5)
    assert parquet_table(raw, "t.parquet").column("a").to_pylist() == [b"red"] * 5


def repeated_beginnings(values: int, size: int) -> bytes:
    """So many texts that all repeat one, as DELTA_BYTE_ARRAY writes them."""
    prefixes, suffixes = [0] + [size] * (values - 1), [size] + [0] * (values - 1)
    sink = pa.BufferOutputStream()
    table = pa.table({"p": pa.array(prefixes, pa.int32()), "s": pa.array(suffixes, pa.int32())})
    pq.write_table(
        table,
        sink,
        use_dictionary=False,
        column_encoding=dict.fromkeys("ps", "DELTA_BINARY_PACKED"),
        compression="NONE",
        write_statistics=False,
        store_schema=False,
    )
    raw = sink.getvalue().to_pybytes()
    parts = []
    about = pq.ParquetFile(pa.BufferReader(raw)).metadata.row_group(0)
    for place in range(2):
        header, start = _Reader(raw).struct(about.column(place).data_page_offset, {})
        # An optional column's page begins with the levels, which the column of the bomb has not.
        levels = int.from_bytes(raw[start : start + 4], "little") + 4
        parts.append(raw[start + levels : start + header[PACKED]])
    return parts[0] + parts[1] + b"x" * size


MB = 1_000_000
ONE_TEXT = page(text(b"x" * 100_000), 1, DICTIONARY)
BOMBS = {
    "a page larger than its footer says": lambda: file_of(
        DOUBLE, [page(bytes(40 * MB), 5 * MB)], 5 * MB
    ),
    "a dictionary page": lambda: file_of(
        BYTE_ARRAY,
        [page(text(b"x" * 40 * MB), 1, DICTIONARY), page(codes(9), 9, encoding=RLE_DICTIONARY)],
        9,
    ),
    "a long text that occurs often": lambda: file_of(
        BYTE_ARRAY, [ONE_TEXT, page(codes(MB), MB, encoding=RLE_DICTIONARY)], MB
    ),
    "a long value of a fixed length": lambda: file_of(
        FIXED,
        [page(b"x" * MB, 1, DICTIONARY), page(codes(9999), 9999, encoding=RLE_DICTIONARY)],
        9999,
        length=MB,
    ),
    "texts that repeat their beginnings": lambda: file_of(
        BYTE_ARRAY,
        [page(repeated_beginnings(9999, MB), 9999, encoding=DELTA_BYTE_ARRAY)],
        9999,
    ),
    "a thousand million rows": lambda: file_of(DOUBLE, [page(bytes(40), 5)], 5, rows=10**9),
    "as many values": lambda: file_of(DOUBLE, [page(bytes(40), 5)], 5, values=10**9),
    "as many values in a dictionary": lambda: file_of(
        BYTE_ARRAY,
        [page(text(b"x"), 10**9, DICTIONARY), page(codes(9), 9, encoding=RLE_DICTIONARY)],
        9,
    ),
    "as many rows of pages that say so too": lambda: file_of(
        BYTE_ARRAY,
        [page(text(b"x"), 1, DICTIONARY), page(codes(10**9), 10**9, encoding=RLE_DICTIONARY)],
        10**9,
    ),
    "a page that says it has 2 GB": lambda: file_of(DOUBLE, [page(bytes(40), 5, i2=2**31 - 1)], 5),
    "a page of a negative size": lambda: file_of(DOUBLE, [page(bytes(40), 5, i3=-40)], 5),
    "a page that ends behind the file": lambda: file_of(DOUBLE, [page(bytes(40), 5, i3=10**6)], 5),
    "the number of a field that wraps around": lambda: file_of(
        DOUBLE, [wrapped(page(bytes(40), 5))], 5
    ),
}


def wrapped(first: bytes) -> bytes:
    """A page's header with one more field: 2 again, by a number of more than 16 bits."""
    packed = gzip.compress(bytes(40), 1, mtime=0)
    header = first[: len(first) - len(packed) - 1]
    again = bytes([5]) + varint(2 * (2 + 2**16)) + varint(2 * (2**31 - 1))
    return header + again + b"\0" + packed


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_lies_about_its_size_ends_in_a_sentence(name):
    raw = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"t\.parquet") as caught:
        parquet_table(raw, "t.parquet")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60_000 and "\n" not in str(caught.value), (grown, caught.value)


def test_a_text_within_a_list_is_a_bomb_as_well():
    texts = pa.DictionaryArray.from_arrays(np.zeros(2000, "int32"), pa.array(["x" * 100_000]))
    column = pa.ListArray.from_arrays(pa.array([0, 2000]), texts.cast(pa.string()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": column}), sink, compression="zstd")
    with pytest.raises(InputError, match="unfolds to more than"):
        parquet_table(sink.getvalue().to_pybytes(), "t.parquet")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_long_labels_that_occur_often_are_read_within_the_limit(kind):
    """As other packages write them; the second way of reading gives the table all the same."""
    labels = pa.array(["a" * 20_000, "b"]).cast(kind)
    column = pa.DictionaryArray.from_arrays(np.array([1] * 3000 + [0], "int32"), labels)
    table = pa.table({"a": column.cast(kind), "b": np.arange(3001)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    found = parquet_table(sink.getvalue().to_pybytes(), "t.parquet")
    assert found.equals(table)


def footer_of(tail: bytes) -> bytes:
    return b"PAR1" + tail + len(tail).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize(
    "tail",
    [
        bytes([0x15, 2, 0x19, 0xFC]) + varint(10**9),  # a list of as many columns
        bytes([0x15, 2, 0x19, 0xFC]) + varint(2**62),
        b"\x15\x02\x28" + varint(10**9),  # a text of as many bytes
        b"\x1c" * 100_000,  # structs within structs
        bytes(MOST_FOOTER + 1),
        b"\xff" * 50,
        b"",
    ],
    ids=["columns", "more columns", "text", "nested", "long", "ones", "empty"],
)
def test_a_damaged_footer_ends_in_a_sentence(tail, tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(footer_of(tail))
    with pytest.raises(InputError, match="is not a Parquet file that can be read") as caught:
        read_file(path)
    assert "\n" not in str(caught.value)


def test_no_bit_of_a_file_makes_more_than_a_sentence_of_it(tmp_path):
    """Each byte of a small file altered once: it is read, or refused in one sentence."""
    table = pa.table({"a": [1.5, 2.5, None] * 5, "b": ["x", "yy", "x"] * 5, "c": [True] * 15})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    raw = sink.getvalue().to_pybytes()
    draw = np.random.default_rng(0)
    refused = 0
    for place in range(len(raw)):
        content = bytearray(raw)
        content[place] ^= 1 << int(draw.integers(8))
        try:
            parquet_table(bytes(content), "t.parquet")
        except InputError:
            refused += 1
    assert refused > len(raw) / 10


def test_an_index_of_a_table_without_columns_takes_no_memory(tmp_path):
    """Rows that only the footer and pandas' own words speak of."""
    index = {"kind": "range", "name": "i", "start": 0, "stop": 10**9, "step": 1}
    about = {"index_columns": [index], "columns": [], "column_indexes": []}
    schema = pa.schema([], metadata={"pandas": json.dumps(about)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema) as writer:
        batch = pa.RecordBatch.from_arrays([], schema=schema)
        writer.write_batch(batch)
    raw = sink.getvalue().to_pybytes()
    (tmp_path / "t.parquet").write_bytes(raw)
    with pytest.raises(InputError, match=r"t\.parquet"):
        read_file(tmp_path / "t.parquet")
