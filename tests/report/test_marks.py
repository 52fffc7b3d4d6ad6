"""Strips written as SVG show what the figures of Matplotlib show: the same places, words and order."""

import re

import numpy as np
import pandas as pd
import pytest
from test_plots import rows_of

from workbench.report import marks, plots
from workbench.report.headlines import aggregate, headlines
from workbench.report.html import handle


def strip_of(rows, absent=None, metric="pair_trends"):
    labels = [*dict.fromkeys(rows["label"]), *(absent or {})]
    heads = headlines(plots.prepared(rows))
    return marks.strip(rows, metric, heads, dict(zip(labels, labels, strict=True)), absent or {})


def group(svg, name):
    (found,) = re.findall(rf'<g id="{handle(name)}">(.*?)</g>', svg)
    return found


def axis(svg):
    """Points from the left -> value, from the numbers below the axis."""
    numbers = re.findall(r'<text x="([\d.]+)" y="[\d.]+" font-size="8"[^>]*>([^<]+)</text>', svg)
    places = [float(place) for place, _ in numbers]
    values = [float(words.replace("−", "-")) for _, words in numbers]
    slope, start = np.polyfit(places, values, 1)
    return lambda place: slope * place + start


def test_marks_stand_where_matplotlib_puts_them():
    rows = rows_of({"independent": [0.7, 0.8], "gaussian-copula": [0.2, 0.4], "copy": [0.5, 0.5]})
    svg = strip_of(rows).svg
    to_value = axis(svg)
    drawn = re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="3"', group(svg, "independent"))
    assert to_value(float(drawn[0])) == pytest.approx(0.75, abs=0.005)
    dots = re.findall(r"M([\d.]+) [\d.]+h0", group(svg, "gaussian-copula"))
    assert [to_value(float(x)) for x in dots] == pytest.approx([0.2, 0.4], abs=0.005)
    first, last = re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)" stroke="#', group(svg, "copy")).groups()
    head = headlines(plots.prepared(rows)).set_index("label").loc["copy"]
    ends = [to_value(float(first)), to_value(float(last))]
    assert ends == pytest.approx([head["low"], head["high"]], abs=0.005)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"floor", "ceiling", "0.750", "0.300"} <= set(words)
    order = [words.index(name) for name in ("independent", "gaussian-copula", "copy")]
    assert order == sorted(order)


def test_a_missing_reading_says_why_and_names_stay_text():
    rows = pd.concat(
        [
            rows_of({"<b>$x_1$</b> & co": [0.7]}),
            rows_of({"ctgan": [np.nan]}).assign(note="insufficient: 3 rows"),
        ]
    )
    drawing = strip_of(rows, absent={"arf": "3 of 3 timeout"})
    assert "insufficient: 3 rows" in group(drawing.svg, "ctgan")
    assert "3 of 3 timeout" in group(drawing.svg, "arf")
    assert "&lt;b&gt;$x_1$&lt;/b&gt; &amp; co" in drawing.svg and "<b>" not in drawing.svg
    assert drawing == strip_of(rows, absent={"arf": "3 of 3 timeout"})


def test_bias_stands_on_the_given_scale_and_an_interval_ends_with_it():
    rows = rows_of({"cart": [0.05], "arf": [-0.02]}, metric="bias_amp", column="race")
    table = aggregate(rows)
    svg = marks.bias_strip(plots.prepared(rows), table, ("race", ""), 0.06).svg
    assert "← dampened" in svg and "amplified →" in svg and "floor" not in svg
    to_value = axis(svg)
    first, last = re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)" stroke="#', group(svg, "cart")).groups()
    assert to_value(float(first)) == pytest.approx(0.03, abs=0.001)
    assert to_value(float(last)) == pytest.approx(0.06, abs=0.001)  # 0.07 lies beyond


def test_every_marker_has_a_shape():
    assert set(plots.MARKERS) == {"o", *marks.SHAPES}


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.06, 0.06, ["−0.05", "0.00", "0.05"]),
        (3.0, 97.0, ["20", "40", "60", "80"]),
        (2e7, 9e7, ["2e+07", "4e+07", "6e+07", "8e+07"]),
    ],
)
def test_numbers_below_the_axis_are_round(low, high, words):
    assert [text for _, text in marks.round_numbers(low, high)] == words
