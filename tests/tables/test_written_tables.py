"""Tables of random kinds go through CSV, load, a generator and CSV again, and keep how they are
written."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workbench as wb

ROWS = 60


def _numbers(rng, low=0, high=90_000):
    return rng.integers(low, high, ROWS)


# Each kind: how its texts are drawn, the kind that is inferred, and what every text looks like.
KINDS = {
    "integer": (lambda r: [f"{n}" for n in _numbers(r)], "integer", r"\d+"),
    "two decimals": (lambda r: [f"{n / 100:.2f}" for n in _numbers(r)], "numeric", r"\d+\.\d\d"),
    "comma": (
        lambda r: [f"{n / 10:.1f}".replace(".", ",") for n in _numbers(r)],
        "numeric",
        r"\d+,\d",
    ),
    "dollars": (lambda r: [f"${n + 0.25:,.2f}" for n in _numbers(r)], "numeric", r"\$[\d,]+\.\d\d"),
    "percent": (lambda r: [f"{n}%" for n in _numbers(r, 3, 99)], "integer", r"\d+%"),
    "refused": (
        lambda r: ["refused" if n % 6 == 0 else f"{n}" for n in _numbers(r)],
        "integer",
        r"\d+|refused",
    ),
    "day first": (
        lambda r: [f"{n % 28 + 1:02d}/{n % 12 + 1:02d}/{2000 + n % 20}" for n in _numbers(r)],
        "datetime",
        r"\d\d/\d\d/20\d\d",
    ),
    "zone": (
        lambda r: [f"2021-{n % 12 + 1:02d}-{n % 28 + 1:02d}T08:00:00+02:00" for n in _numbers(r)],
        "datetime",
        r"2021-\d\d-\d\dT\d\d:\d\d:\d\d\+02:00",
    ),
    "truth": (lambda r: [f"{n % 2}" for n in _numbers(r)], "boolean", "[01]"),
    "label": (lambda r: [f"level {n % 4}" for n in _numbers(r)], "categorical", r"level \d"),
    "code": (lambda r: [f"0{n % 9}{n % 7}" for n in _numbers(r)], "categorical", r"0\d\d"),
    "identifier": (
        lambda r: [f"P-{n}" for n in 10**6 + r.permutation(10**6)[:ROWS]],
        "categorical",
        r"P-\d{7}",
    ),
}


def check(kinds, seed, generator, tmp_path):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({f"{i} {kind}": KINDS[kind][0](rng) for i, kind in enumerate(kinds)})
    table["x"] = rng.normal(size=ROWS).round(3)
    path = tmp_path / "real.csv"
    table.to_csv(path, index=False)
    data = wb.load(path, test_size=0.2)
    synthetic = data.written(wb.generate(generator, data, seed=seed % 1000), as_text=True)
    text = synthetic.to_csv(index=False)
    back = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    for name, kind in zip(table.columns, kinds, strict=False):
        _, inferred, pattern = KINDS[kind]
        assert data.schema[name].kind == inferred, name
        odd = [value for value in back[name] if not re.fullmatch(pattern, value)]
        assert not odd, (name, odd[:3])
        if kind == "identifier":
            assert not set(back[name]) & set(table[name])
    (tmp_path / "synthetic.csv").write_text(text)
    again = wb.evaluate(data, tmp_path / "synthetic.csv", metrics=["marginals"])
    assert not [note for note in again.notes if "count as missing" in note]
    drawn = data.schema.cast(pd.read_csv(io.StringIO(text), dtype="string"))
    for column in data.schema.modelled.columns:
        if column.kind in ("numeric", "integer", "datetime"):
            real = pd.concat([data.train, data.test])[column.name]
            assert drawn[column.name].dropna().between(real.min(), real.max()).all(), column.name


mixtures = st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=5)
seeds = st.integers(0, 10**6)
fixture = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


@settings(max_examples=8, derandomize=True, **fixture)
@given(mixtures, seeds, st.sampled_from(["independent", "cart", "gaussian-copula"]))
def test_a_table_comes_back_as_it_was_written(tmp_path, kinds, seed, generator):
    check(kinds, seed, generator, tmp_path)


@pytest.mark.long
@settings(max_examples=150, **fixture)
@given(mixtures, seeds, st.sampled_from(["independent", "cart", "gaussian-copula", "arf"]))
def test_many_tables_come_back_as_they_were_written(tmp_path, kinds, seed, generator):
    """Its quick sibling is test_a_table_comes_back_as_it_was_written."""
    check(kinds, seed, generator, tmp_path)


def test_generate_writes_as_the_table_was_written_where_that_is_wished(tmp_path):
    prices = [f"${n + 1000:,}.50" for n in range(ROWS)]
    table = pd.DataFrame({"price": prices, "x": np.arange(ROWS) % 7, "y": ["a", "b"] * (ROWS // 2)})
    data = wb.load(table)
    numbers = wb.generate("independent", data)
    texts = wb.generate("independent", data, written=True)
    assert str(numbers["price"].dtype) == "float64"
    assert texts["price"].str.fullmatch(r"\$\d,\d{3}\.\d0").all()
    pd.testing.assert_frame_equal(texts, data.written(numbers))
