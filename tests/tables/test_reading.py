"""Tables as people have them: what is read off them, and that it is written back as it was."""

import io
import subprocess
import sys
from datetime import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.tables.files import read_file

ROWS = 80
RNG = np.random.default_rng(0)
LABELS = RNG.choice(["no", "yes"], ROWS)


def csv_of(column, path, separator=",", name="a", quote=False):
    """A file of one column under test, a number and a label."""
    mark = '"' if quote else ""
    lines = [f"{name}{separator}x{separator}y"]
    for index, value in enumerate(column):
        lines.append(f"{mark}{value}{mark}{separator}{index % 17}{separator}{LABELS[index]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def round_trip(path, generator="independent"):
    """The dataset of a file, and the text of the column under test in a synthetic file of it."""
    data = wb.load(path)
    synthetic = data.written(wb.generate(generator, data), as_text=True)
    text = pd.read_csv(io.StringIO(synthetic.to_csv(index=False)), dtype=str, keep_default_na=False)
    return data, text[data.schema.names[0]]


def spread(form, least=0, most=50_000):
    """ROWS texts of numbers between two bounds."""
    return [form(number) for number in RNG.integers(least, most, ROWS).tolist()]


NUMBERS = {
    # case: texts, separator, whether quoted, kind, pattern of what comes back
    "thousands": (spread(lambda n: f"{n:,}"), ",", True, "integer", r"\d{1,3}(,\d{3})*"),
    "dollars": (
        spread(lambda n: f"${n + 0.05:,.2f}"),
        ",",
        True,
        "numeric",
        r"\$\d{1,3}(,\d{3})*\.\d\d",
    ),
    "percent": (spread(lambda n: f"{n}%", 0, 99), ",", False, "integer", r"\d+%"),
    "decimal comma, quoted": (
        spread(lambda n: f"{n},{n % 90 + 10}"),
        ",",
        True,
        "numeric",
        r"\d+,\d\d",
    ),
    "decimal comma, tabs": (
        spread(lambda n: f"{n},{n % 90 + 10}"),
        "\t",
        False,
        "numeric",
        r"\d+,\d\d",
    ),
    "thousands points, semicolons": (
        spread(lambda n: f"{n:,}".replace(",", ".") + ",90"),
        ";",
        False,
        "numeric",
        r"\d{1,3}(\.\d{3})*,\d\d",
    ),
    "euro behind": (
        spread(lambda n: f"{n:,}".replace(",", " ") + ",5 €"),
        ";",
        False,
        "numeric",
        r"\d{1,3}( \d{3})*,\d €",
    ),
    "parentheses": (
        spread(lambda n: f"({n})" if n % 3 == 0 else f"{n}"),
        ",",
        False,
        "integer",
        r"\(\d+\)|\d+",
    ),
    "kilograms": (spread(lambda n: f"{n / 10:.1f} kg"), ",", False, "numeric", r"\d+\.\d kg"),
    "lakhs": (["12,34,567", "1,00,000", "99,999", "7"] * 20, ",", True, "integer", r"[\d,]+"),
    "seven decimals": (
        spread(lambda n: f"52.{n:07d}", 1, 9_999_999),
        ",",
        False,
        "numeric",
        r"52\.\d{1,7}",
    ),
    "last zero": (spread(lambda n: f"{n / 100:.2f}"), ",", False, "numeric", r"\d+\.\d\d"),
    "unknown": (
        ["unknown" if n % 7 == 0 else f"{n}.5" for n in range(ROWS)],
        ",",
        False,
        "numeric",
        r"\d+\.5|\d+\.\d|unknown",
    ),
    "thousands and unknown": (
        ["unknown" if n % 7 == 0 else f"{n + 1},{n + 100}" for n in range(ROWS)],
        ",",
        True,
        "integer",
        r"\d{1,2},\d{3}|unknown",
    ),
    "not applicable": (
        ["NA" if n % 7 == 0 else f"{n}" for n in range(ROWS)],
        ",",
        False,
        "integer",
        r"\d+|NA",
    ),
    "clock": (
        spread(lambda n: f"{n // 60:02d}:{n % 60:02d}", 0, 1440),
        ",",
        False,
        "integer",
        None,
    ),
    "durations": (
        spread(lambda n: f"{n // 86400} days {n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}"),
        ",",
        False,
        "integer",
        r"\d days \d\d:\d\d:\d\d",
    ),
    "zero and one": (spread(str, 0, 2), ",", False, "boolean", "[01]"),
    "true and false": (["true", "false"] * 40, ",", False, "boolean", "true|false"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_read_and_written_back(tmp_path, case):
    texts, separator, quote, kind, pattern = NUMBERS[case]
    data, back = round_trip(csv_of(texts, tmp_path / "t.csv", separator, quote=quote))
    assert data.schema["a"].kind == kind
    assert back.str.fullmatch(pattern or r"\d\d:\d\d").all(), back[:5].tolist()
    original = pd.Series(texts)
    for level in ("unknown", "NA"):
        assert abs((back == level).mean() - (original == level).mean()) < 0.15


DATES = {
    "day first": ("%d/%m/%Y", "%d/%m/%Y"),
    "month first": ("%m/%d/%Y", "%m/%d/%Y"),
    "year first": ("%Y/%m/%d", "%Y/%m/%d"),
    "points": ("%d.%m.%y", "%d.%m.%y"),
    "compact": ("%Y%m%d", "%Y%m%d"),
    "compact month": ("%Y%m", "%Y%m"),
    "month by name": ("%d %b %Y", "%d %b %Y"),
    "quarter": (None, None),
    "month": ("%Y-%m", "%Y-%m"),
    "time": ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S"),
    "afternoon": ("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M %p"),
}


@pytest.mark.parametrize("case", DATES)
def test_dates_are_read_and_written_back(tmp_path, case):
    form, pattern = DATES[case]
    days = pd.Timestamp("2019-03-01 08:30:15") + pd.to_timedelta(RNG.integers(0, 900, ROWS), "D")
    texts = [str(day.to_period("Q")) if form is None else day.strftime(form) for day in days]
    data, back = round_trip(csv_of(texts, tmp_path / "t.csv"))
    assert data.schema["a"].kind == "datetime"
    read = pd.concat([data.train, data.test])["a"]
    assert read.min() >= pd.Timestamp("2019-01-01") and read.max() < days.max() + pd.Timedelta("1D")
    if form is None:
        assert back.str.fullmatch(r"20\d\dQ[1-4]").all()
    else:
        assert pd.to_datetime(back, format=pattern).notna().all()


def test_an_ambiguous_date_is_said_and_settled_by_a_format(tmp_path):
    path = csv_of(
        [f"{n % 12 + 1:02d}/{n % 11 + 1:02d}/2021" for n in range(ROWS)], tmp_path / "t.csv"
    )
    data = wb.load(path)
    note = next(note for note in data.provenance["notes"] if "'a'" in note)
    assert "%d/%m/%Y" in note and "--format 'a=%m/%d/%Y'" in note
    other = wb.load(path, formats={"a": "%m/%d/%Y"})
    assert other.train["a"].dt.month[0] == data.train["a"].dt.day[0]
    assert not any("'a'" in note for note in other.provenance["notes"])


def test_an_ambiguous_number_is_said_and_settled_by_an_example(tmp_path):
    path = csv_of(spread(lambda n: f"{n + 1000:,}"), tmp_path / "t.csv", quote=True)
    data = wb.load(path)
    assert data.train["a"].min() >= 1000
    assert any("--format 'a=1234,56'" in note for note in data.provenance["notes"])
    other = wb.load(path, formats={"a": "1234,56"})
    assert other.train["a"].max() <= 60 and other.schema["a"].kind == "numeric"


def test_an_unknown_among_dates_is_a_level_beside_them(tmp_path):
    texts = ["unknown" if n % 9 == 0 else f"2021-{n % 12 + 1:02d}-03" for n in range(ROWS)]
    data, back = round_trip(csv_of(texts, tmp_path / "t.csv"), "cart")
    assert data.schema["a"].kind == "datetime"
    assert 0 < (back == "unknown").sum() < ROWS / 3
    assert back[back != "unknown"].str.fullmatch(r"2021-\d\d-\d\d").all()


def test_dates_that_nanoseconds_cannot_count(tmp_path):
    texts = [f"{1500 + 3 * n}-07-14" for n in range(ROWS)]
    data, back = round_trip(csv_of(texts, tmp_path / "t.csv"))
    assert data.schema["a"].kind == "integer"
    assert any("before 1677" in note for note in data.provenance["notes"])
    assert back.str.fullmatch(r"1[567]\d\d-\d\d-\d\d").all()
    open_end = ["9999-12-31" if n % 9 == 0 else f"2021-{n % 12 + 1:02d}-03" for n in range(ROWS)]
    data, back = round_trip(csv_of(open_end, tmp_path / "u.csv"))
    assert data.schema["a"].kind == "datetime" and (back == "9999-12-31").any()


def test_time_zones_keep_the_local_time(tmp_path):
    texts = [f"1980-01-{n % 28 + 1:02d}T00:00:00+02:00" for n in range(ROWS)]
    data, back = round_trip(csv_of(texts, tmp_path / "t.csv"))
    assert data.train["a"].min() == pd.Timestamp("1980-01-01")
    assert back.str.fullmatch(r"1980-01-\d\dT\d\d:00:00\+02:00").all()

    berlin = pd.date_range("2021-01-01 09:00", periods=ROWS, freq="5D", tz="Europe/Berlin")
    data, back = round_trip(csv_of([at.isoformat() for at in berlin], tmp_path / "u.csv"))
    assert (data.train["a"].dt.hour == 9).all()
    assert set(back.str[-6:]) == {"+01:00", "+02:00"}

    table = pd.DataFrame({"at": berlin.tz_convert("America/New_York"), "x": range(ROWS)})
    data = wb.load(table)
    assert set(data.train["at"].dt.hour) == set(table["at"].dt.hour)
    assert data.written(wb.generate("independent", data))["at"].dtype == table["at"].dtype


@pytest.mark.parametrize(
    "codes",
    [
        ["250.10", "401.9", "428", "250.1"],
        ["1E2", "2E5", "7E1", "1E10"],
        ["+49", "+1", "+31", "+44"],
        ["07030", "00501", "10001", "94105"],
        ["250.83", "V27", "E909", "276"],
        ["479233761942588435", "722721118723948213", "387897410103221387", "4"],
    ],
)
def test_codes_stay_as_they_are_written(tmp_path, codes):
    data, back = round_trip(csv_of(codes * 20, tmp_path / "t.csv"))
    assert data.schema["a"].kind == "categorical"
    assert set(back) <= set(codes) and set(data.train["a"]) <= set(codes)


def test_types_of_parquet_come_back(tmp_path):
    n = np.arange(ROWS)
    table = pd.DataFrame(
        {
            "price": (n % 50 + 0.01).astype("float32"),
            "lasts": pd.to_timedelta(n * 37, unit="s"),
            "month": pd.period_range("2020-01", periods=ROWS, freq="M"),
            "size": pd.Categorical(
                np.array(["s", "m", "l"])[n % 3], categories=["s", "m", "l"], ordered=True
            ),
            "count": pd.array([None, *range(ROWS - 1)], dtype="UInt8"),
            "flag": (n % 2).astype("int8"),
            "at": [time(k % 24, 30) for k in range(ROWS)],
            "paid": [Decimal(k) / 100 for k in range(ROWS)],
            "is_ok": pd.array([None, *[True, False] * 39, True], dtype="boolean"),
        }
    )
    table["day"] = [day.date() for day in pd.date_range("2020-01-01", periods=ROWS)]
    table.to_parquet(tmp_path / "t.parquet")
    data = wb.load(tmp_path / "t.parquet", identifiers=())
    kinds = {column.name: column.kind for column in data.schema.columns}
    assert kinds == {
        "price": "numeric",
        "lasts": "integer",
        "month": "datetime",
        "size": "categorical",
        "count": "integer",
        "flag": "boolean",
        "at": "integer",
        "paid": "numeric",
        "is_ok": "boolean",
        "day": "datetime",
    }
    synthetic = wb.generate("independent", data)
    assert set(synthetic["price"].round(2)) == set(synthetic["price"])
    back = data.written(synthetic)
    for name in ("price", "lasts", "month", "size", "count", "flag", "is_ok"):
        assert back[name].dtype == table[name].dtype, name
    for name in ("at", "paid", "day"):
        assert type(back[name].dropna().iloc[0]) is type(table[name].iloc[0])
    again = wb.load(back, identifiers=())
    assert {column.name: column.kind for column in again.schema.columns} == kinds


def test_a_header_that_is_data_is_read_as_data(tmp_path):
    lines = [f"{n / 10},{n / 7:.2f},{'setosa' if n % 2 else 'virginica'}" for n in range(1, 61)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    data = wb.load(path)
    assert data.schema.names == ["column_1", "column_2", "column_3"]
    assert len(data.train) + len(data.test) == 60
    assert any("first row" in note for note in data.provenance["notes"])
    years = tmp_path / "years.csv"
    years.write_text("2019,2020,2021\n" + "\n".join(f"{n},{n + 1},{n + 2}" for n in range(60)))
    data = wb.load(years)
    assert data.schema.names == ["2019", "2020", "2021"]
    assert any("look like a row of data" in note for note in data.provenance["notes"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("age, in years;income, yearly\n12;1,5\n13;2,5\n", ["age, in years", "income, yearly"]),
        ("a;b,c\n1;2\n3;4\n", ["a", "b,c"]),
        ("a,b;c\n1,2\n3,4\n", ["a", "b;c"]),
        ("sep=;\na;b\n1;2\n3;4\n", ["a", "b"]),
        ("\ufeffa\tb\n1\t2\n3\t4\n", ["a", "b"]),
        ('a,"b\nc"\n1,2\n3,4\n', ["a", "b\nc"]),
    ],
)
def test_the_separator_fits_header_and_rows(tmp_path, text, names):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    table = read_file(path)
    assert list(table.columns) == names and len(table) == 2
    path.write_bytes(text.removeprefix("\ufeff").encode("utf-16"))
    assert list(read_file(path).columns) == names


def test_numbers_among_many_other_texts_end_in_a_sentence_that_works(tmp_path):
    texts = [f"{n}.5" for n in range(ROWS)]
    for place, word in enumerate(["abc", "oops", "see file", "x y", "(none)", "later"]):
        texts[10 * place] = word
    path = csv_of(texts, tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"--kind 'a=categorical'"):
        wb.load(path)
    assert wb.load(path, kinds={"a": "categorical"}).schema["a"].kind == "categorical"
    assert wb.load(path, missing=["abc", "oops"]).schema["a"].kind == "numeric"


def test_a_written_file_is_scored_as_it_was_drawn(tmp_path):
    texts = spread(lambda n: f"${n + 0.05:,.2f}")
    data = wb.load(csv_of(texts, tmp_path / "t.csv", quote=True))
    synthetic = wb.generate("independent", data)
    data.written(synthetic, as_text=True).to_csv(tmp_path / "s.csv", index=False)
    names = ["marginals", "pair_trends"]
    drawn = wb.evaluate(data, synthetic, metrics=names).rows
    read = wb.evaluate(data, tmp_path / "s.csv", metrics=names)
    pd.testing.assert_frame_equal(drawn, read.rows)
    assert not read.notes


def test_the_command_line_writes_what_was_read(tmp_path):
    path = csv_of(spread(str, 0, 2), tmp_path / "t.csv")
    out = tmp_path / "s.csv"
    command = [sys.executable, "-m", "workbench", "generate", str(path), "--generator"]
    subprocess.run([*command, "independent", "--out", str(out)], check=True)
    assert set(pd.read_csv(out, dtype=str)["a"]) == {"0", "1"}


def test_what_is_no_table_is_said(tmp_path):
    with pytest.raises(InputError, match="a DataFrame, the path of a file or the name"):
        wb.load(None)
