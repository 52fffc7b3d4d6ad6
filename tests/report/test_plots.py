"""Figures: what they draw is read back from their axes and their SVG text."""

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import GENERATORS
from workbench.metrics import Row
from workbench.metrics.rows import to_table
from workbench.report import plots
from workbench.tables.schema import Schema


def rows_of(readings, metric="pair_trends", **about):
    """readings: label -> values by seed."""
    parts = []
    for label, values in readings.items():
        table = to_table(
            [Row(metric, value, value - 0.02, value + 0.02, **about) for value in values]
        )
        parts.append(
            table.assign(floor=0.1, ceiling=0.9, label=label, seed=range(len(values)), dataset="d")
        )
    return pd.concat(parts, ignore_index=True)


def texts(figure):
    return re.findall(r"<text[^>]*>([^<]*)</text>", plots.svg(figure))


def marks(ax):
    """x of the large marks, in drawing order."""
    return [
        line.get_xdata()[0]
        for line in ax.lines
        if line.get_markersize() == 6 and len(line.get_xdata()) == 1
    ]


def test_strips_put_means_where_they_belong():
    figure = plots.strips(
        rows_of({"cart": [0.7, 0.8], "copy": [0.5, 0.5], "independent": [0.2, 0.4]})
    )
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["independent", "cart", "copy"]
    np.testing.assert_allclose(marks(ax), [0.3, 0.75, 0.5])
    shown = texts(figure)
    assert {"floor", "ceiling", "0.750", "0.300"} <= set(shown)


def test_strips_say_why_a_reading_is_missing():
    rows = pd.concat(
        [rows_of({"cart": [0.7]}), rows_of({"ctgan": [np.nan]}).assign(note="insufficient: 3 rows")]
    )
    figure = plots.strips(rows, absent={"independent": "3 of 3 timeout"})
    assert {"insufficient: 3 rows", "3 of 3 timeout"} <= set(texts(figure))
    assert len(marks(figure.axes[0])) == 1


def test_figures_repeat_and_leave_matplotlib_alone():
    before = dict(mpl.rcParams)
    rows = rows_of({"cart": [0.7, 0.8], "ctgan": [0.4]})
    assert plots.svg(plots.strips(rows)) == plots.svg(plots.strips(rows))
    assert dict(mpl.rcParams) == before


def test_names_are_drawn_as_text():
    figure = plots.strips(rows_of({"<b>$x_1$</b> & co": [0.5]}))
    assert "&lt;b&gt;$x_1$&lt;/b&gt; &amp; co" in texts(figure)


def test_looks_differ_in_colour_and_marker():
    names = [f"method {number}" for number in range(60)]
    looks = plots.looks(names)
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 60
    first = list(plots.looks(names[:8]).values())
    assert len({look["marker"] for look in first}) == 8, "colour is never the only difference"


def test_registered_generators_differ_and_families_have_a_colour():
    looks = plots.looks(list(GENERATORS))
    pairs = {(look["color"], look["marker"], look["face"]) for look in looks.values()}
    assert len(pairs) == len(GENERATORS)
    families = {entry.family for entry in GENERATORS.values()} - {"control"}
    assert families <= set(plots.FAMILY_COLORS)
    assert len(set(plots.FAMILY_COLORS.values())) == len(plots.FAMILY_COLORS)
    # A shade is still seen on white: contrast of graphics, WCAG 1.4.11 asks for 3 : 1.
    for name, look in looks.items():
        red, green, blue = (part**2.2 for part in mpl.colors.to_rgb(look["color"]))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert 1.05 / (luminance + 0.05) >= 3, name


def test_many_seeds_are_thinned():
    figure = plots.strips(rows_of({"cart": list(np.linspace(0.2, 0.8, 1000))}))
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert len(dots[0].get_xdata()) == plots.CROWD


def test_bias_panels_share_one_scale_around_zero():
    rows = pd.concat(
        [
            rows_of({"cart": [0.1], "ctgan": [-0.02]}, "bias_amp", column="race"),
            rows_of({"cart": [0.3], "ctgan": [0.0]}, "bias_amp", column="race", group="race=black"),
        ]
    )
    figure = plots.bias_by_group(rows)
    assert len(figure.axes) == 2
    limits = {ax.get_xlim() for ax in figure.axes}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high and high > 0.3
    assert {"← dampened", "amplified →", "race=black"} <= set(texts(figure))
    with pytest.raises(InputError, match="no 'bias_amp'"):
        plots.bias_by_group(rows_of({"cart": [0.1]}))


def test_tradeoff_needs_both_sides():
    rows = pd.concat(
        [
            rows_of({"cart": [0.8], "copy": [1.0]}, "utility_ratio"),
            rows_of({"cart": [0.5], "copy": [1.0]}, "dcr_share"),
        ]
    )
    figure = plots.tradeoff(rows)
    points = [
        tuple(line.get_xydata()[0]) for line in figure.axes[0].lines if line.get_markersize() == 8
    ]
    assert sorted(points) == [(0.5, 0.8), (1.0, 1.0)]
    with pytest.raises(InputError, match="one of each"):
        plots.tradeoff(rows_of({"cart": [0.8]}, "utility_ratio"))


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 400
    income = rng.lognormal(size=n)
    return pd.DataFrame(
        {
            "income": np.where(rng.random(n) < 0.1, np.nan, income),
            "age": pd.array(rng.integers(18, 90, n), dtype="Int64"),
            "city": [f"city {number}" for number in rng.integers(0, 10_000, n)],
            "owner": pd.array(income > 1, dtype="boolean"),
            "rich": np.where(income > 1, "yes", "no").astype(object),
            "opened": (
                pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
            ),
            "same": pd.array([3] * n, dtype="Int64"),
            "empty": np.full(n, np.nan),
        }
    )


def test_marginals_shares_are_whole(table):
    other = table.sample(100, random_state=0)
    for name in table.columns:
        places, shares = plots._shares(table[name], {"s": other[name]}, most=12)
        assert len(places) == len(shares["real"]) == len(shares["s"])
        assert shares["real"].sum() == pytest.approx(1) and shares["s"].sum() == pytest.approx(1)
        assert shares["real"][-1] == pytest.approx(table[name].isna().mean())
    figure = plots.marginals(table, {"cart": other, "copy": table}, list(table.columns))
    assert {"real", "cart", "copy", "missing", "others", *table.columns} <= set(texts(figure))


def test_correlation_difference_shows_what_is_lost(table):
    schema = Schema.infer(table)
    mesh = plots.correlation_difference(table, table, schema).axes[0].collections[0]
    assert np.nanmax(np.abs(np.ma.filled(mesh.get_array(), 0.0))) == 0
    permuted = table.assign(
        rich=table["rich"].to_numpy()[np.random.default_rng(1).permutation(len(table))]
    )
    names = schema.names
    values = np.ma.filled(
        plots.correlation_difference(table, permuted, schema).axes[0].collections[0].get_array(),
        0.0,
    )
    lost = values.reshape(len(names), len(names))[names.index("rich"), names.index("owner")]
    assert lost < -0.9, "rich says the same as owner until it is permuted"


def test_a_generator_looks_the_same_whoever_else_is_drawn():
    assert plots.looks(["ctgan", "cart", "copy"])["ctgan"] == plots.looks(["ctgan"])["ctgan"]
    assert plots.looks(["smote"])["smote"] == plots.looks(["copy", "smote"])["smote"]
