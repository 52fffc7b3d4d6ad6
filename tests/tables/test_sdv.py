"""SDV's metadata: what is read off them, what is left out, and that SDV's own validator takes what
is written.
"""

import json

import pandas as pd
import pytest

import workbench as wb
from workbench.cli import main
from workbench.errors import InputError
from workbench.tables.schema import Schema

GUESTS = {
    "METADATA_SPEC_VERSION": "V1",
    "tables": {
        "guests": {
            "primary_key": "guest_email",
            "alternate_keys": ["credit_card_number"],
            "columns": {
                "guest_email": {"sdtype": "email", "pii": True},
                "has_rewards": {"sdtype": "boolean"},
                "room_type": {"sdtype": "categorical"},
                "amenities_fee": {"sdtype": "numerical"},
                "nights": {"sdtype": "numerical", "computer_representation": "Int64"},
                "checkin_date": {"sdtype": "datetime", "datetime_format": "%d %b %Y"},
                "country": {"sdtype": "country_code", "pii": False},
                "billing_address": {"sdtype": "address", "pii": True},
                "credit_card_number": {"sdtype": "credit_card_number"},
                "stamp": {"sdtype": "datetime", "datetime_format": "%Y%m%d"},
            },
            "column_relationships": [],
        }
    },
    "relationships": [],
}
KINDS = {
    "has_rewards": "boolean",
    "room_type": "categorical",
    "amenities_fee": "numeric",
    "nights": "integer",
    "checkin_date": "datetime",
    "country": "categorical",
    "stamp": "datetime",
}
LEFT_OUT = ["guest_email", "billing_address", "credit_card_number"]


def guests(rows: int = 40) -> pd.DataFrame:
    days = pd.Timestamp("2020-01-30") + pd.to_timedelta([7 * i for i in range(rows)], "D")
    return pd.DataFrame(
        {
            "guest_email": [f"guest{i}@example.com" for i in range(rows)],
            "has_rewards": [i % 3 == 0 for i in range(rows)],
            "room_type": [["BASIC", "DELUXE"][i % 2] for i in range(rows)],
            "amenities_fee": [None if i % 7 == 0 else 10 * i for i in range(rows)],
            "nights": [1 + i % 5 for i in range(rows)],
            "checkin_date": days.strftime("%d %b %Y"),
            "country": [["NO", "FR"][i % 2] for i in range(rows)],
            "billing_address": [f"{i} Main Street" for i in range(rows)],
            "credit_card_number": [f"{4000 + i}" for i in range(rows)],
            "stamp": days.strftime("%Y%m%d"),
        }
    )


@pytest.fixture
def files(tmp_path):
    guests().to_csv(tmp_path / "guests.csv", index=False)
    (tmp_path / "metadata.json").write_text(json.dumps(GUESTS))
    return tmp_path


def changed(**column) -> dict:
    copy = json.loads(json.dumps(GUESTS))
    copy["tables"]["guests"]["columns"]["nights"] = column
    return copy


def test_schema_has_every_column_but_keys_and_personal_data(files):
    for source in (GUESTS, files / "metadata.json", str(files / "metadata.json")):
        schema = Schema.from_sdv(source, target="room_type", sensitive=["country"])
        assert {column.name: column.kind for column in schema.columns} == KINDS
        assert schema.target.name == "room_type" and [
            column.name for column in schema.sensitive
        ] == ["country"]
    old = {"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", **GUESTS["tables"]["guests"]}
    assert Schema.from_sdv(old) == Schema.from_sdv(GUESTS)


def test_load_reads_kinds_and_dates_and_says_what_it_left_out(files):
    data = wb.load(files / "guests.csv", target="room_type", metadata=files / "metadata.json")
    # Nothing says whether the fees are whole: the table does.
    assert {column.name: column.kind for column in data.schema.columns} == KINDS | {
        "amenities_fee": "integer"
    }
    days = pd.concat([data.train, data.test])
    assert set(days["checkin_date"]) == set(days["stamp"]) == set(pd.to_datetime(guests()["stamp"]))
    assert list(data.provenance["dropped_columns"]) == LEFT_OUT
    assert (
        "a key in the metadata (sdtype email)" in data.provenance["dropped_columns"]["guest_email"]
    )
    kept = wb.load(files / "guests.csv", metadata=GUESTS, kinds={"billing_address": "categorical"})
    assert kept.schema["billing_address"].kind == "categorical"


def test_written_metadata_are_read_back_and_taken_by_sdmetrics():
    data = wb.load("loans")
    written = json.loads(json.dumps(data.schema.to_sdv()))
    again = Schema.from_sdv(
        written, target=data.schema.target.name, sensitive=[c.name for c in data.schema.sensitive]
    )
    facts = lambda schema: [(column.name, column.kind, column.role) for column in schema.columns]  # noqa: E731
    assert facts(again) == facts(data.schema)
    from sdmetrics.reports.single_table import QualityReport

    report = QualityReport()
    (table,) = written["tables"].values()
    plain = data.train.astype(
        {c.name: "float64" for c in data.schema.columns if c.kind == "integer"}
    )
    report.generate(plain, plain, table, verbose=False)
    assert report.get_score() == 1


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"columns": {}}, "METADATA_SPEC_VERSION is None; the workbench reads V1"),
        ([1], "METADATA_SPEC_VERSION is None"),
        (
            GUESTS | {"tables": GUESTS["tables"] | {"hotels": {}}},
            r"hold 2 tables \(guests, hotels\)",
        ),
        (GUESTS | {"tables": {"guests": {"columns": 3}}}, 'no "columns"'),
        (changed(kind="numerical"), "column 'nights' has no sdtype"),
        (
            GUESTS | {"tables": {"t": GUESTS["tables"]["guests"] | {"sequence_key": "country"}}},
            "sequences by 'country'",
        ),
        (
            GUESTS | {"tables": {"t": {"columns": {"email": {"sdtype": "email"}}}}},
            "nothing is left to learn",
        ),
    ],
)
def test_what_is_no_table_of_independent_rows_is_refused(metadata, sentence, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match=sentence):
        Schema.from_sdv(tmp_path / "m.json")


def test_mistakes_name_the_column_or_the_file(files):
    with pytest.raises(InputError, match=r"'none.json' cannot be read \(No such file"):
        Schema.from_sdv(files / "none.json")
    (files / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"'bad.json' is no JSON"):
        Schema.from_sdv(files / "bad.json")
    with pytest.raises(
        InputError, match="'checkin_date' is not written in its datetime_format '%Y'"
    ):
        wrong = json.loads(json.dumps(GUESTS).replace("%d %b %Y", "%Y"))
        wb.load(files / "guests.csv", metadata=wrong)
    guests().drop(columns="nights").to_csv(files / "fewer.csv", index=False)
    with pytest.raises(InputError, match="'nights' of the metadata is not in the table"):
        wb.load(files / "fewer.csv", metadata=GUESTS)
    guests().assign(night=1).to_csv(files / "more.csv", index=False)
    with pytest.raises(InputError, match=r"'night' is not in the metadata; did you mean nights\?"):
        wb.load(files / "more.csv", metadata=GUESTS)


def test_the_command_and_a_grid_take_metadata(files):
    command = [
        "generate",
        str(files / "guests.csv"),
        "--metadata",
        str(files / "metadata.json"),
        "--generator",
        "independent",
    ]
    assert main([*command, "--out", str(files / "out.csv")]) == 0
    assert list(pd.read_csv(files / "out.csv").columns) == list(KINDS)
    from workbench.batch import grid

    table = str(files / "guests.csv")
    text = grid.make(
        "t", table, generators=["independent"], seeds=1, metadata=str(files / "metadata.json")
    )
    (files / "grid.toml").write_text(text)
    ((_, data),) = grid.plan(grid.read(files)).data.items()
    assert data.schema.names == list(KINDS)


def test_a_shell_completes_the_command(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "compare" in script and "--sensitive" in script


def test_a_dataset_shows_itself_and_hostile_names_stay_text(tmp_path):
    rows = {
        "<b>x</b>": [1.5, None, 2.5] * 20,
        "label": ["<script>alert(1)</script>", "b", "b"] * 20,
    }
    pd.DataFrame(rows | {"key": range(60)}).to_csv(tmp_path / "t.csv", index=False)
    columns = {
        "<b>x</b>": {"sdtype": "numerical"},
        "label": {"sdtype": "categorical"},
        "key": {"sdtype": "id"},
    }
    document = {"METADATA_SPEC_VERSION": "V1", "tables": {"t": {"columns": columns}}}
    data = wb.load(tmp_path / "t.csv", target="label", metadata=document)
    described = data.columns()
    assert described.loc["label", ["kind", "role", "missing"]].tolist() == [
        "categorical",
        "target",
        "",
    ]
    assert (
        described.loc["<b>x</b>", "missing"] == f"{data.train['<b>x</b>'].isna().mean():.1%}" != ""
    )
    assert described.loc["label", "row 0"] == data.train["label"][0]
    for page in (data._repr_html_(), data.schema._repr_html_()):
        assert "&lt;b&gt;x" in page and "<b>" not in page and "<script>" not in page
    assert "key was left out: personal data or an identifier" in data._repr_html_()
