"""Datasets: every named table is what its entry says, files of every make are read, and bad ones
are named in one sentence.
"""

import gzip
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.tables.catalog import DATASETS
from workbench.tables.datasets import Dataset, load, table_hash, true_network
from workbench.tables.files import read_file
from workbench.tables.packaged import NETWORKS, loans, sample_network
from workbench.tables.schema import Schema

PACKAGED = [name for name, entry in DATASETS.items() if entry.package]
REFERENCE = Path(os.environ.get("WORKBENCH_DATA", "/nowhere"))
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="WORKBENCH_DATA names no folder of reference tables"
)


@pytest.fixture
def no_folder(monkeypatch, tmp_path):
    """Neither a data folder nor a cache of the person who runs the tests."""
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


def write(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def rows(n=20, header="x,y,label"):
    return header + "\n" + "".join(f"{i},{i / 7:.3f},{'ab'[i % 2]}\n" for i in range(n))


# The named tables


def check_entry(name, data):
    entry = DATASETS[name]
    whole = pd.concat([data.train, data.test])
    assert whole.shape == (entry.rows, entry.columns)
    assert data.schema.check(data.train) == data.schema.check(data.test) == []
    assert (data.schema.target.name if data.schema.target else None) == entry.target
    assert {column.name for column in data.schema.sensitive} == set(entry.sensitive)
    assert set(entry.kinds) - {"*"} <= set(data.schema.names)
    assert set(entry.descriptions) <= set(data.schema.names)
    assert not set(data.provenance["dropped_columns"]) & set(data.schema.names)
    assert data.provenance["train_sha256"] == table_hash(data.train)
    assert Schema.from_json(data.schema.to_json()) == data.schema
    assert json.loads(json.dumps(data.provenance)) == data.provenance
    assert not re.search(r"https?://|/(home|root|tmp|work)/", json.dumps(data.provenance))


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_tables_need_no_network_and_agree_with_their_entry(name, no_folder):
    check_entry(name, load(name))


@needs_reference
@pytest.mark.parametrize("name", [name for name in DATASETS if name not in PACKAGED])
def test_tables_of_the_data_folder_agree_with_their_entry(name):
    data = load(name)
    assert data.provenance["read_from"].startswith(name)
    check_entry(name, data)


def test_loans_keep_missing_values_and_leave_out_what_tells_the_decision(no_folder):
    data = load("loans")
    assert all(column.description for column in data.schema.columns)
    whole = pd.concat([data.train, data.test])
    assert {"action", "reject", "typur", "inson", "review"} <= set(
        data.provenance["dropped_columns"]
    )
    assert (
        whole["male"].isna().sum() == 15
        and whole["gdlin"].isna().sum() == 2
        and whole["term"].isna().sum() == 4
    )
    # 666 of income and a million of liquid assets are marks for unknown, and no values.
    assert whole["appinc"].isna().sum() == 21 and whole["liq"].isna().sum() == 9
    assert not whole["appinc"].eq(666).any() and whole["liq"].max() == 8650
    assert whole["appinc"].max() == 972, "a large income that is no mark stays"
    assert whole["race"].value_counts().to_dict() == {"white": 1681, "black": 197, "hispanic": 111}
    assert int(whole["approve"].sum()) == 1745
    # No kept column tells the decision alone: at no value seen 30 times or more is it certain to be
    # a refusal.
    for name in set(data.schema.names) - {"approve"}:
        share = (
            whole.groupby(name, observed=True)["approve"]
            .agg(["mean", "size"])
            .query("size >= 30")["mean"]
        )
        assert (share.astype(float) > 0.05).all(), name


def test_listing_the_names_needs_neither_pandas_nor_data():
    code = (
        "import sys, workbench.tables.catalog as c; print(len(c.DATASETS), 'pandas' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown == [str(len(DATASETS)), "False"]


# Splits and hashes


def test_the_split_is_stratified_seeded_and_loses_no_row(no_folder):
    one, same, other = load("loans"), load("loans"), load("loans", seed=1)
    assert table_hash(one.train) == table_hash(same.train) and table_hash(one.test) == table_hash(
        same.test
    )
    assert table_hash(one.train) != table_hash(other.train)
    both = [
        pd.concat([data.train, data.test]).sort_values(one.schema.names).reset_index(drop=True)
        for data in (one, other)
    ]
    pd.testing.assert_frame_equal(*both)
    assert len(one.test) == int(0.3 * 1989)
    for value in (True, False):
        share = (one.test["approve"] == value).sum() / (both[0]["approve"] == value).sum()
        assert share == pytest.approx(0.3, abs=1 / 200)


@pytest.mark.parametrize("test_size", [0.01, 0.25, 0.5, 0.9])
def test_the_size_of_the_test_part(no_folder, test_size):
    assert len(load("diabetes", test_size=test_size).test) == int(442 * test_size)


def test_a_number_is_stratified_by_its_quintiles(no_folder):
    data = load("diabetes")
    edges = np.quantile(
        pd.concat([data.train, data.test])["progression"].astype(float), [0, 0.2, 0.4, 0.6, 0.8, 1]
    )
    train, test = (
        np.histogram(part["progression"].astype(float), edges)[0]
        for part in (data.train, data.test)
    )
    assert (abs(test - 0.3 * (train + test)) <= 1.5).all()


def test_a_class_of_one_row_stays_in_train(tmp_path):
    path = write(tmp_path, rows(20) + "99,1.5,once\n")
    for seed in range(5):
        data = load(path, target="label", seed=seed)
        assert "once" in set(data.train["label"]) and len(data.train) + len(data.test) == 21


@needs_reference
def test_adult_keeps_its_official_split():
    data = load("adult", test_size=0.5)
    assert (len(data.train), len(data.test)) == (32561, 16281)
    assert data.provenance["split"]["kind"].startswith("official")
    assert data.train["fnlwgt"][0] == 77516 and data.test["fnlwgt"][0] == 226802
    again = load("adult", seed=3)
    assert again.provenance["split"]["kind"].startswith("stratified") and len(again.test) == 14652


def test_the_hash_reads_names_types_values_and_order():
    table = pd.DataFrame({"a": [0.0, 1.0, np.nan], "b": ["x", np.nan, "z"]})
    same = pd.DataFrame({"a": [-0.0, 1.0, np.nan], "b": ["x", np.nan, "z"]})
    assert table_hash(table) == table_hash(same)
    changed = [
        table.rename(columns={"a": "c"}),
        table[["b", "a"]],
        table[::-1],
        table.astype({"a": "Int64"}),
        table.replace("x", "y"),
        table.fillna({"a": 0}),
    ]
    assert len({table_hash(other) for other in [table, *changed]}) == 7


def test_the_hash_is_the_same_in_another_process(no_folder):
    code = "from workbench import load; d = load('loans'); print(d.provenance['test_sha256'])"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == load("loans").provenance["test_sha256"]


# Known networks


@pytest.mark.parametrize("name", NETWORKS)
def test_network_rows_follow_the_network(name):
    """Each node's share given its commonest parents' case lies within four standard errors of its
    CPD.
    """
    model = true_network(name)
    table = sample_network(model, 20_000, np.random.default_rng(7))
    assert list(table.columns) == list(model.nodes())
    for node in model.nodes():
        cpd, parents = model.get_cpds(node), model.get_cpds(node).variables[1:]
        for parent in parents:
            assert cpd.state_names[parent] == model.get_cpds(parent).state_names[parent]
        rows = np.ones(len(table), dtype=bool)
        case = table[parents].value_counts().index[0] if parents else ()
        for parent, label in zip(parents, case, strict=True):
            rows &= (table[parent] == label).to_numpy()
        index = [
            cpd.state_names[parent].index(label)
            for parent, label in zip(parents, case, strict=True)
        ]
        truth = cpd.values[(slice(None), *index)]
        seen = (
            table[node][rows].value_counts().reindex(cpd.state_names[node]).fillna(0).to_numpy()
            / rows.sum()
        )
        error = np.sqrt(truth * (1 - truth) / rows.sum())
        assert (abs(seen - truth) <= 4.5 * error + 1e-9).all(), node


def test_network_rows_leave_numpys_global_state_alone(no_folder):
    before = np.random.get_state()[1].copy()
    first, second = load("asia"), load("asia", seed=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    whole = [pd.concat([d.train, d.test]).value_counts().sort_index() for d in (first, second)]
    pd.testing.assert_series_equal(*whole)  # another split of the same rows


@needs_reference
@pytest.mark.parametrize("name", NETWORKS)
def test_the_packaged_network_is_the_reference_network(name):
    packed = files("pgmpy") / "utils" / "example_models" / f"{name}.bif.gz"
    assert (
        gzip.decompress(packed.read_bytes()).split()
        == (REFERENCE / "bif" / f"{name}.bif").read_bytes().split()
    )


def test_an_unknown_network_is_named():
    with pytest.raises(InputError, match=r"'asai'.*did you mean asia"):
        true_network("asai")


# The data folder


def test_the_data_folder_is_looked_into_first(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    write(tmp_path, gzip.compress(rows(30).encode()), "mine.csv.gz")
    assert load("mine").provenance["read_from"] == "mine.csv.gz in WORKBENCH_DATA"
    raw = loans().head(500)
    raw.to_parquet(tmp_path / "loans.parquet")
    data = load("loans")
    assert len(data.train) + len(data.test) == 500 and data.schema.target.name == "approve"


def test_a_data_folder_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", "/no/such/folder")
    with pytest.raises(InputError, match="WORKBENCH_DATA names '/no/such/folder'"):
        load("loans")


def test_a_name_never_leaves_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    write(tmp_path, rows(), "secret.csv")
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "data"))
    with pytest.raises(InputError):
        load("../secret")


def test_a_table_without_a_download_says_where_to_put_it(no_folder):
    with pytest.raises(InputError, match=r"compas_filtered\.csv into a folder.*WORKBENCH_DATA"):
        load("compas_filtered")


@pytest.mark.parametrize("name", ["lons", "adlut"])
def test_unknown_names_get_near_ones(name, no_folder):
    with pytest.raises(InputError, match=f"unknown dataset '{name}'; did you mean (loans|adult)"):
        load(name)


# Files that work


def values(data: Dataset) -> pd.DataFrame:
    return pd.concat([data.train, data.test]).sort_values("x").reset_index(drop=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", b"\xef\xbb\xbf" + rows().encode()),
        ("windows.csv", rows().replace("\n", "\r\n").encode()),
        ("old-mac.csv", rows().replace("\n", "\r").encode()),
        ("no-last-newline.csv", rows().rstrip().encode()),
        ("blank-lines.csv", (rows() + "\n\n").encode()),
        ("semicolon.csv", rows().replace(",", ";").encode()),
        ("european.csv", rows().replace(",", ";").replace(".", ",").encode()),
        ("tab.csv", rows().replace(",", "\t").encode()),
        ("bar.csv", rows().replace(",", "|").encode()),
        ("spaces.csv", rows().replace(",", ", ").encode()),
        ("quoted.csv", re.sub(r"(?<![\w.])[\w.]+", r'"\g<0>"', rows()).encode()),
        ("packed.csv.gz", gzip.compress(rows().encode())),
        ("UPPER.CSV", rows().encode()),
    ],
)
def test_every_make_of_csv_gives_the_same_table(tmp_path, name, content):
    data = load(write(tmp_path, content, name), target="label")
    plain = load(write(tmp_path, rows(), "plain.csv"), target="label")
    pd.testing.assert_frame_equal(data.train, plain.train)
    assert data.provenance["test_sha256"] == plain.provenance["test_sha256"]


def test_parquet_and_its_index(tmp_path):
    table = pd.read_csv(write(tmp_path, rows()))
    table.set_index("x").to_parquet(tmp_path / "t.parquet")
    data = load(str(tmp_path / "t.parquet"), target="label")
    assert data.name == "t" and sorted(data.schema.names) == ["label", "x", "y"]


def test_quoted_newlines_separators_and_none_stay_as_they_are(tmp_path):
    text = "x,note\n" + "".join(
        f'{i},"line one\nline, two"\n{i + 100},None\n{i + 200},NA\n{i + 300},\n' for i in range(5)
    )
    data = load(write(tmp_path, text))
    notes = values(data)["note"]
    assert len(notes) == 20 and notes.isna().sum() == 5
    assert set(notes.dropna()) == {"line one\nline, two", "None", "NA"}


def test_codes_with_leading_zeros_are_kept(tmp_path):
    data = load(write(tmp_path, "x,zip\n" + "".join(f"{i},0{1000 + i % 7}\n" for i in range(20))))
    assert data.schema["zip"].kind == "categorical" and set(values(data)["zip"]) == {
        f"0{1000 + i}" for i in range(7)
    }


def test_a_declared_label_is_kept_as_it_is_written(tmp_path):
    path = write(tmp_path, "x,code\n" + "".join(f"{i},{i % 3}.0\n" for i in range(20)))
    assert set(load(path, kinds={"code": "categorical"}).train["code"]) == {"0.0", "1.0", "2.0"}
    assert load(path).schema["code"].kind == "integer"


def test_all_missing_constant_and_identifier_columns_work_and_are_noted(tmp_path):
    text = "x,empty,same,id,label\n" + "".join(
        f"{i // 2},,7,u{i},{'ab'[i % 2]}\n" for i in range(20)
    )
    data = load(write(tmp_path, text), target="label")
    notes = " ".join(data.provenance["notes"])
    assert (
        "'empty' is empty" in notes
        and "'same' is constant" in notes
        and "Identifiers are neither learnt nor scored" in notes
        and data.schema["id"].role == "identifier"
    )
    assert (
        "'x'" not in notes and data.train["empty"].isna().all() and (data.train["same"] == 7).all()
    )


@pytest.mark.parametrize("first", ["9007199254740993", "-123456789012345678"])
def test_whole_numbers_beyond_a_float_keep_every_digit(tmp_path, first):
    """Beside an empty field too, where a reader of numbers would round the whole column."""
    path = write(tmp_path, f"code,x\n{first},1\n9007199254740995,2\n,3\n{first},4\n")
    data = load(path)
    assert data.schema["code"].kind == "categorical"
    assert first in set(values(data)["code"])
    whole = load(pd.DataFrame({"code": [int(first), 9007199254740995] * 20, "x": range(40)}))
    assert set(values(whole)["code"]) == {first, "9007199254740995"}


def test_rows_without_a_target_are_dropped_and_counted(tmp_path):
    data = load(write(tmp_path, rows(20) + "98,1.0,\n99,2.0,\n"), target="label")
    assert len(data.train) + len(data.test) == 20 and data.provenance["dropped_rows"] == 2
    assert any("2 rows without a value of 'label'" in note for note in data.provenance["notes"])


def test_ten_thousand_labels_load(tmp_path):
    data = load(
        write(tmp_path, "x,many\n" + "".join(f"{i},level {i % 10_000}\n" for i in range(20_000)))
    )
    assert values(data)["many"].nunique() == 10_000


def test_two_rows_are_enough_without_a_target(tmp_path):
    data = load(write(tmp_path, "x,y\n1,2\n3,4\n"), test_size=0.5)
    assert len(data.train) == len(data.test) == 1


def test_roles_may_be_given_and_taken_away(no_folder):
    data = load("loans", target="gdlin", sensitive=())
    assert data.schema.target.name == "gdlin" and not data.schema.sensitive
    assert [column.name for column in load("loans", sensitive="male").schema.sensitive] == ["male"]
    assert [column.name for column in load("loans", target="male").schema.sensitive] == ["race"]


def test_decimals_are_read_to_the_last_bit(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 10**6, 5000) / 1000
    data = load(
        write(tmp_path, "x,y\n" + "".join(f"{i},{number}\n" for i, number in enumerate(numbers)))
    )
    np.testing.assert_array_equal(values(data)["y"], numbers)


# Files that end in one sentence


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", {}, ["'bad.csv'", "empty"]),
        (b"\n\n  \n", {}, ["'bad.csv'", "empty"]),
        (b"x,y\n", {}, ["'bad.csv'", "no rows"]),
        (b"x,y\n1,2\n", {}, ["1 row", "too few"]),
        (b"x\n1\n2\n", {}, ["'x'", "only one column", "semicolon"]),
        (b"x,y,x\n1,2,3\n", {}, ["'x'", "more than once"]),
        (b"x,,y\n1,2,3\n", {}, ["column 2", "no name"]),
        (b"x,y\n1,2\n3\n", {}, ["line 3", "1 fields", "2"]),
        (b"x,y\n1,2\n3,4,5\n", {}, ["line 3", "3 fields", "quote"]),
        (b"x,y\n1,2,9\n3,4,9\n", {}, ["line 2", "3 fields"]),
        (b"x,y\n1,caf\xe9\n", {}, ["not UTF-8", "0xe9", "line 2", "iconv"]),
        ("x,y\n1,2\n".encode("utf-16")[:-1], {}, ["'bad.csv'", "UTF-8"]),
        ("x,y\n1,2\n".encode("utf-16-le"), {}, ["'bad.csv'", "UTF-16"]),
        (b"\x1f\x8b broken", {}, ["'bad.csv'", "unpacked"]),
        (b"x,y\n1,inf\n2,3.5\n", {}, ["'y'", "infinite"]),
        (b"x,y\n" + b"1,2\n" * 20 + b"1,two\n", {}, ["'y'", "'two'", "categorical"]),
        (b"x,y\n1,2\n2,3\n", {"target": "z"}, ["target", "'z'"]),
        (b"x,y\n1,2\n2,3\n", {"target": "why"}, ["target", "'why'", "known: x, y"]),
        (b"x,y\n1,a\n2,a\n", {"target": "y"}, ["target", "'y'", "one value only", "'a'"]),
        (b"x,y\n1,7\n2,7\n", {"target": "y"}, ["target", "'y'", "one value only", "'7'"]),
        (b"x,y\n1,a\n2,b\n3,c\n", {"target": "y"}, ["target", "'y'", "3 labels in 3 rows"]),
        (b"x,y\n1,\n2,\n", {"target": "y"}, ["target", "'y'", "no values"]),
        (b"x,y\n1,2\n2,3\n", {"sensitive": ["race"]}, ["sensitive", "'race'"]),
        (b"x,y\n1,2\n2,3\n", {"target": "y", "sensitive": "y"}, ["'y'", "both"]),
        (b"x,y\n1,2\n2,3\n", {"test_size": 1.5}, ["test_size", "1.5"]),
        (b"x,y\n1,2\n2,3\n", {"kinds": {"x": "text"}}, ["'x'", "'text'"]),
        (b'x,y\n1,"open\n', {}, ["'bad.csv'", "line"]),
    ],
)
def test_bad_tables_are_named_in_one_sentence(tmp_path, content, options, words):
    with pytest.raises(InputError) as caught:
        load(write(tmp_path, content, "bad.csv"), **options)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message and len(message) < 300


def test_bad_paths_are_named(tmp_path, no_folder):
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"'table\.xlsx' has an unknown ending; known: \.csv"):
        load(write(tmp_path, rows(), "table.xlsx"))
    with pytest.raises(InputError, match="does not exist"):
        load(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="cannot be read"):
        load("\0.csv")
    with pytest.raises(InputError, match="unknown dataset"):
        load("x" * 5000)
    with pytest.raises(InputError, match="not a Parquet file"):
        load(write(tmp_path, rows(), "table.parquet"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no Unix permissions here")
def test_a_file_without_read_permission_is_named(tmp_path):
    path = write(tmp_path, rows())
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read every file, so somebody else tries
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"may not be read.*chmod"):
            load(path)
    finally:
        if root:
            os.seteuid(0)


# OpenML, from a server on this machine that speaks its interface


class OpenML:
    """Serves one table under one data id the way OpenML does: description, features, and an ARFF
    file.
    """

    def __init__(self, number: int, table: pd.DataFrame, target: str):
        arff, features = ["@relation table"], []
        for index, name in enumerate(table.columns):
            numeric = pd.api.types.is_numeric_dtype(table[name])
            labels = sorted(set(table[name].dropna().astype(str)))
            arff.append(
                f"@attribute '{name}' "
                + ("numeric" if numeric else "{" + ",".join(f"'{v}'" for v in labels) + "}")
            )
            features.append(
                {
                    "index": str(index),
                    "name": name,
                    "data_type": "numeric" if numeric else "nominal",
                }
                | {"is_target": str(name == target).lower(), "is_row_identifier": "false"}
                | {"is_ignore": "false", "number_of_missing_values": "0", "nominal_value": labels}
            )
        quoted = table.apply(
            lambda v: (
                v
                if pd.api.types.is_numeric_dtype(v)
                else v.map(lambda x: f"'{x}'", na_action="ignore")
            )
        )
        arff += [
            "@data",
            quoted.to_csv(
                index=False, header=False, na_rep="?", quoting=3, escapechar="\\"
            ).strip(),
            "",
        ]
        body = "\n".join(arff).encode()
        description = {
            "id": str(number),
            "name": "table",
            "version": "1",
            "format": "ARFF",
            "status": "active",
            "description": "",
        }
        self.pages = {
            f"/api/v1/json/data/{number}": {"data_set_description": description},
            f"/api/v1/json/data/features/{number}": {"data_features": {"feature": features}},
            f"/api/v1/json/data/qualities/{number}": {"data_qualities": {"quality": []}},
            "/data/v1/download/1/table.arff": body,
        }
        self.requests: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                page = server.pages.get(self.path)
                self.send_response(200 if page is not None else 404)
                self.end_headers()
                self.wfile.write(page if isinstance(page, bytes) else json.dumps(page).encode())

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        description |= {
            "url": f"{self.base}/data/v1/download/1/table.arff",
            "md5_checksum": hashlib.md5(body).hexdigest(),
        }
        description["status"] = "active"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def point_at(monkeypatch, no_folder):
    """Sends scikit-learn's reader to another address; everything else is its real code over real
    HTTP.
    """
    from sklearn.datasets import _openml

    def point(base):
        for constant in ("_DATA_INFO", "_DATA_FEATURES", "_DATA_QUALITIES"):
            monkeypatch.setattr(
                _openml,
                constant,
                getattr(_openml, constant).replace("https://www.openml.org", base),
            )

    return point


def as_published(name: str) -> tuple[pd.DataFrame, str]:
    """The reference table in OpenML's dress, its column names, labels, row number and row order;
    and its target's name.
    """
    entry = DATASETS[name]
    table = read_file(REFERENCE / f"{name}.csv.gz").rename(columns=dict(entry.rename))
    if name == "adult":
        table = pd.concat([table[32561:], table[:32561]], ignore_index=True)
    if name == "magic_gamma":
        table["ID"] = range(1, len(table) + 1)
    for column, labels in entry.labels.items():
        table[column] = table[column].map({ours: theirs for theirs, ours in labels.items()})
    table[entry.target] = table[entry.target].astype(str)
    back = {ours: theirs for theirs, ours in entry.rename.items() if " " not in theirs}
    return table.rename(columns=back), back.get(entry.target, entry.target)


@needs_reference
@pytest.mark.parametrize(
    "name", [name for name, entry in DATASETS.items() if entry.read.startswith("openml")]
)
def test_openml_tables_are_fetched_once_and_equal_the_reference(name, point_at, monkeypatch):
    table, target = as_published(name)
    reference = load_reference(name, monkeypatch)
    with OpenML(int(DATASETS[name].read.split(":")[1]), table, target) as server:
        point_at(server.base)
        data = load(name)
        requests = len(server.requests)
        assert (
            requests >= 3
            and load(name).provenance == data.provenance
            and len(server.requests) == requests
        )  # from the cache
    assert data.schema == reference.schema
    pd.testing.assert_frame_equal(data.train, reference.train)
    pd.testing.assert_frame_equal(data.test, reference.test)


def load_reference(name, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(REFERENCE))
    data = load(name)
    monkeypatch.delenv("WORKBENCH_DATA")
    return data


@needs_reference
def test_a_changed_openml_table_is_refused(point_at):
    table, target = as_published("german_credit")
    table.loc[17, "age"] = str(int(table.loc[17, "age"]) + 1)
    with (
        OpenML(31, table, target) as server,
        pytest.raises(InputError, match=r"'german_credit'.*not the recorded table"),
    ):
        point_at(server.base)
        load("german_credit")


def test_no_network_says_what_to_do_instead(point_at, monkeypatch):
    point_at("http://127.0.0.1:9")  # the discard port: nobody listens
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with pytest.raises(
        InputError, match=r"'adult' could not be fetched.*adult\.csv.*WORKBENCH_DATA"
    ):
        load("adult")
    assert waits, "it is tried again after a while"


# How a dataset shows itself


def test_a_dataset_shows_rows_roles_and_hashes_and_escapes_them(tmp_path, no_folder):
    data = load("loans")
    for shown in (repr(data), data._repr_html_()):
        assert (
            "1,393" in shown
            and "approve" in shown
            and "race" in shown
            and data.provenance["train_sha256"][:12] in shown
        )
    hostile = load(
        write(tmp_path, rows(header="x,<script>alert(1)</script>,label")),
        target="<script>alert(1)</script>",
    )
    assert "<script>" not in hostile._repr_html_() and "&lt;script&gt;" in hostile._repr_html_()
