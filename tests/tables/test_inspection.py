"""What `inspect` says of a table, and that the file it writes is enough to load it."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import cli
from workbench.errors import InputError


def clinic(rows: int = 600) -> pd.DataFrame:
    """Every kind of trouble once."""
    draw = np.random.default_rng(0)
    city = draw.choice(["Paris", "Lyon", "Rome", "Bonn"], rows)
    status = draw.choice(["single", "married"], rows)
    first, second = draw.integers(1, 100, rows), draw.integers(1, 50, rows)
    answer = draw.choice(["yes", "no"], rows)
    answer[:2] = "rare"
    days = draw.integers(1, 29, rows)
    return pd.DataFrame(
        {
            "id": [f"K-{n:07d}" for n in draw.permutation(10**6)[:rows]],
            "patient_nbr": draw.integers(10_000, 99_999, rows // 3).repeat(3),
            "born": [f"{day:02d}/{day % 12 + 1:02d}/19{day + 40}" for day in days],
            "weight": np.where(
                draw.random(rows) < 0.1, "?", draw.integers(40, 90, rows).astype(str)
            ),
            "status": status,
            "spouse_age": np.where(
                status == "married", draw.integers(20, 80, rows).astype(float), np.nan
            ),
            "city": city,
            "country": pd.Series(city).map({"Paris": "F", "Lyon": "F", "Rome": "I", "Bonn": "D"}),
            "a": first,
            "b": second,
            "total": first + second,
            "area": first * second,
            "twin": first,
            "zip_code": draw.integers(1000, 1100, rows),
            "empty": np.nan,
            "one": 1,
            "leak": (answer == "yes").astype(int),
            "y": answer,
        }
    )


EXPECTED = {
    ("identifier", "id"),
    ("group", "patient_nbr"),
    ("date", "born"),
    ("missing mark", "weight"),
    ("skip pattern", "status"),
    ("fixed combination", "city"),
    ("sum", "total"),
    ("product", "area"),
    ("copy", "a"),
    ("codes", "zip_code"),
    ("all missing", "empty"),
    ("constant", "one"),
    ("leak", "leak"),
    ("rare class", "y"),
}


def test_every_trouble_is_found_and_no_other():
    found = wb.inspect(clinic(), target="y")
    assert {(finding.kind, finding.columns[0]) for finding in found.findings} == EXPECTED


def test_a_clean_table_has_nothing_wrong():
    draw = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "x": draw.normal(size=400),
            "n": draw.integers(0, 90, 400),
            "y": draw.choice(["a", "b"], 400),
        }
    )
    found = wb.inspect(table, target="y")
    assert found.findings == () and "Nothing looks wrong" in repr(found)


def test_the_file_it_writes_is_enough(tmp_path):
    table = tmp_path / "clinic.csv"
    clinic().to_csv(table, index=False)
    path = wb.inspect(table, target="y").write(tmp_path / "schema.json")
    data = wb.load(table, schema=path)
    kinds = {column.name: column.kind for column in data.schema.columns}
    assert (
        kinds["born"] == "datetime"
        and kinds["weight"] == "integer"
        and kinds["zip_code"] == "categorical"
    )
    assert data.schema.target.name == "y" and data.schema.group.name == "patient_nbr"
    assert data.schema.combinations == [("city", "country")]
    assert data.train["weight"].isna().any()
    assert data.train["born"].dt.year.between(1941, 1968).all()
    synthetic = wb.generate("independent", data)
    assert not synthetic["id"].isin(data.train["id"]).any()
    wb.Schema.from_json(path.read_text())


def test_it_overwrites_nothing_else(tmp_path):
    found = wb.inspect(clinic(), target="y")
    path = found.write(tmp_path / "schema.json")
    found.write(path)
    path.write_text("mine")
    with pytest.raises(InputError, match="says something else"):
        found.write(path)


def test_it_prints_no_identifier():
    table = clinic()
    text = repr(wb.inspect(table, target="y")) + wb.inspect(table, target="y")._repr_html_()
    assert not any(value in text for value in table["id"])


def test_a_header_of_data():
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(50, 3)).round(1), columns=["4.2", "5.2", "3.3"]
    )
    assert wb.inspect(table).findings[0].kind == "no header"


@pytest.mark.parametrize(
    "broken", ["{", "[]", json.dumps({"columns": [], "reading": {"missing": 3}})]
)
def test_a_file_that_is_no_schema(tmp_path, broken):
    path = tmp_path / "schema.json"
    path.write_text(broken)
    with pytest.raises(InputError):
        wb.load(clinic(), schema=path)


def test_what_is_given_beside_the_file_wins(tmp_path):
    path = wb.inspect(clinic(), target="y").write(tmp_path / "schema.json")
    data = wb.load(
        clinic(),
        schema=path,
        target="status",
        kinds={"zip_code": "integer"},
        identifiers=["zip_code"],
    )
    assert data.schema.target.name == "status" and data.schema["zip_code"].role == "identifier"


def test_formats_and_marks_say_what_does_not_fit():
    with pytest.raises(InputError, match=r"'born'.*is not written as"):
        wb.load(clinic(), formats={"born": "%Y-%m-%d"}, missing="?")
    with pytest.raises(InputError, match="did you mean born"):
        wb.load(clinic(), formats={"bron": "%d/%m/%Y"}, missing="?")


def test_what_it_proposes_works_where_it_is_printed(tmp_path):
    """Names with spaces, commas and quotes: every option that is shown is taken by a shell and by
    the command.
    """
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "days in bed": rng.integers(1, 6, 300),
            "born, date": [f"{1 + i % 28:02d}/03/19{10 + i % 80}" for i in range(300)],
            "patient's mail": [f"person{i}@example.org" for i in range(300)],
            "weight": [str(v) if v % 7 else "?" for v in rng.integers(40, 99, 300)],
            "seen": rng.choice(["yes", "no"], 300),
        }
    )
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    findings = wb.inspect(path, target="seen").findings
    options = [finding.option for finding in findings if finding.option]
    assert len(options) >= 4
    command = f"compare {shlex.quote(str(path))} --out x " + " ".join(options)
    given = cli._parser().parse_args(shlex.split(command))
    assert given.missing == ["?"]
    assert "days in bed=categorical" in given.kind
    assert "born, date=%d/%m/%Y" in given.format
    assert given.identifier == ["patient's mail"]


def test_columns_that_are_missing_together_are_one_finding():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(200, 5)), columns=list("abcde"))
    table.loc[rng.random(200) < 0.3, ["a", "c", "d", "e"]] = np.nan
    findings = [f for f in wb.inspect(table).findings if f.kind == "skip pattern"]
    assert [f.columns for f in findings] == [("a", "c", "d", "e")]
    assert "missing in the same rows" in findings[0].message
