"""How cost grows: slopes of planted seconds, and the tables of docs/speed.md."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
FIELDS = ["what", "name", "axis", "size", "seconds", "trouble"]


@pytest.fixture(scope="module")
def scale():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import scale

    yield scale
    sys.path.remove(str(ROOT / "benchmarks"))


def rows(seconds: dict[int, float], trouble: str = "") -> pd.DataFrame:
    """Measurements of one name along one axis; a missing number was stopped."""
    lines = [
        ("metrics", "m", "rows", size, cost, trouble if np.isnan(cost) else "")
        for size, cost in seconds.items()
    ]
    return pd.DataFrame(lines, columns=FIELDS)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ({1000: 0.4, 4000: 1.6, 16000: 25.6}, "2.0; 26 s"),
        ({4000: 1.6, 16000: 1.59}, "0.0; 1.6 s"),
        ({4000: 0.01, 16000: 0.06}, "0.06 s"),
        ({4000: 0.01, 16000: 0.01}, "under 0.05 s"),
        ({1000: 1, 4000: 4, 16000: np.nan}, "1.0; 4 s at 4,000; 16,000: stopped"),
        ({}, "–"),
    ],
)
def test_a_slope_is_that_of_the_large_end(scale, seconds, shown):
    assert scale.growth(rows(seconds, "stopped")) == shown


def test_what_is_measured_again_counts_where_it_is_less(scale):
    again = pd.concat([rows({4000: 1.0, 16000: 9.0}), rows({4000: 2.0, 16000: 4.0})])
    assert scale.growth(again) == "1.0; 4 s"


def test_a_stopped_run_goes_on_where_it_was(scale, tmp_path, monkeypatch):
    """It measures what is missing, of each axis up to a stop."""
    monkeypatch.setattr(scale, "RECORD", tmp_path / "record.csv")
    calls = []

    def process(arguments, seconds):
        wanted = arguments[3 : arguments.index("--seconds")]
        calls.append(wanted)
        # The first ends well; the second is stopped at its second measurement.
        return ([0.5] * 2, "") if len(calls) == 1 else ([1.0], "stopped")

    monkeypatch.setattr(scale, "in_own_process", process)
    scale.measure_slopes("metrics", "c2st", ["rows:1000", "rows:4000"], 9)
    left = scale.unmeasured("metrics", "c2st")
    assert left == ["rows:16000", *(place for place in scale.every_size() if "rows" not in place)]
    scale.measure_slopes("metrics", "c2st", ["rows:16000", "columns:8", "columns:16"], 9)
    assert calls[1:] == [["rows:16000", "columns:8", "columns:16"]]
    assert scale.unmeasured("metrics", "c2st") == ["levels:4", "levels:32", "levels:256"]
    line = next(line for line in scale.slopes_table("metrics").splitlines() if "`c2st`" in line)
    assert line == "| `c2st` | 0.5; 1 s | 8: stopped | – |"


def test_the_page_has_the_tables_of_the_record(scale):
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert scale.filled(page) == page, "run python benchmarks/scale.py --write docs/speed.md"
    with pytest.raises(ValueError, match="0 places"):
        scale.filled("")
