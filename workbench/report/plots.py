"""Tidy rows -> a figure.

    strips(rows)                                every metric on its floor-to-ceiling axis, a line of
                                                dots for each generator
    tradeoff(rows)                              utility against closeness to the training rows
    cost(rows, cells)                           a quality against the CPU seconds of the fit
    bias_by_group(rows)                         bias readings around zero, a panel for each
                                                sensitive column or group
    marginals(real, synthetic, columns)         distributions side by side
    pairs(real, synthetic, columns)             rows as dots for each pair of columns, real beside
                                                synthetic
    correlation_difference(real, synthetic, schema)   where pairwise association was lost or
                                                      invented
    critical_difference(ranks, difference)      mean ranks over datasets, those too close to tell
                                                apart joined by a bar

Rows are `Folder(path).rows()` or any table with metric, column, group, value, low, high,
floor and ceiling. Generators differ in colour (colour-blind safe) and in marker; controls are grey
and hollow. In the SVG all that belongs to a generator carries its `summary.handle` as id, so that a
page can dim it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.generators import GENERATORS
from workbench.metrics import METRICS, UNKNOWN, titled
from workbench.report.headlines import FACTORS, WORST, aggregate, headlines
from workbench.report.html import handle
from workbench.report.identity import identities, is_control, ordered
from workbench.tables.schema import Schema
from workbench.words import number, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GREY, LINE, BAND = "#1b1f24", "#57606a", "#6e7781", "#c9d1d9", "#eef2f6"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.dpi": 100,
    "svg.fonttype": "none",
    "svg.hashsalt": "workbench",
    "text.usetex": False,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
}
# Seaborn's palette "colorblind" without its grey (controls) and its pale yellow: for labels that
# belong to no family, such as generators of a user's own.
COLORS = [
    "#0173b2",
    "#d55e00",
    "#029e73",
    "#de8f05",
    "#cc78bc",
    "#ca9161",
    "#56b4e9",
    "#fbafe4",
]
# Of two dozen generators no palette of as many colours can be told: a family has a colour, its members
# differ in shade and marker.
FAMILY_COLORS = {
    "statistical": "#0164a3",
    "bayesian network": "#b84e00",
    "adversarial": "#017a58",
    "autoencoder": "#a0529a",
    "diffusion": "#7a4fb5",
    "autoregressive": "#8a5a2b",
    "language model": "#8f6a06",
    "simulation": "#3f6f7f",
    "mitigation": "#b0305c",
}
# How far each member is from its family's colour: towards white, or (negative) towards black.
SHADES = (0.0, 0.24, -0.45, 0.12, -0.7, -0.15, 0.18, -0.3, -0.6)
OWN_SHADE = -0.12  # of labels without a family, so that none looks like a registered generator
MARKERS = "osD^vPX<>ph"
LETTER = 0.075  # inches that a letter of a label takes at most, at size 9 in sans-serif
OUTLYING = 4  # times the usual size of a reading, beyond which it is an arrow
CROWD = 40  # seeds drawn as small dots for one generator; more are thinned evenly


def looks(labels: Sequence[str] | Mapping[str, str]) -> dict[str, dict]:
    """Colour and marker for each label, in the order of `identity.ordered`: no two generators share
    the pair. Colour tells the family, shade and marker the member.

    labels: label -> generator, or labels alone, which then stand for their generators. A registered
    name looks the same in every figure, whoever else is in it; other labels take what is left.
    """
    out, used = {}, {True: 0, False: 0}
    generators = labels if isinstance(labels, Mapping) else {label: label for label in labels}
    slots = _slots()
    for name in ordered(generators):
        control = is_control(generators[name])
        # Two labels of one generator must differ: the slot belongs to the one that bears its name.
        look = slots.get(name) if generators[name] == name else None
        if look is None:
            place = used[control]
            used[control] += 1
            registered = sum(map(is_control, GENERATORS))
            look = _control(registered + place) if control else _unfamiliar(place)
        out[name] = dict(look)
    return out


def _unfamiliar(place: int) -> dict:
    """A label of no family, by how many such come before it."""
    color = _shade(COLORS[place % len(COLORS)], OWN_SHADE)
    marker = MARKERS[(place + place // len(COLORS)) % len(MARKERS)]
    return {"color": color, "marker": marker, "face": color}


def _control(place: int) -> dict:
    return {"color": GREY, "marker": MARKERS[place % len(MARKERS)], "face": "white"}


def _shade(color: str, amount: float) -> str:
    """A colour that much nearer to white, or to black where the amount is negative."""
    rgb = np.array(mpl.colors.to_rgb(color))
    end = 1.0 if amount > 0 else 0.0
    return mpl.colors.to_hex(rgb + abs(amount) * (end - rgb))


@cache
def _slots() -> dict[str, dict]:
    """How each registered generator looks: its family's colour, its place there as shade and marker."""
    found: dict[str, dict] = {}
    members: dict[str, int] = {}  # family -> how many of it have a look
    for name, entry in GENERATORS.items():
        place = members.get(entry.family, 0)
        members[entry.family] = place + 1
        if is_control(name):
            found[name] = _control(place)
            continue
        base = FAMILY_COLORS.get(entry.family, COLORS[0])
        color = _shade(base, SHADES[place % len(SHADES)])
        found[name] = {"color": color, "marker": MARKERS[place % len(MARKERS)], "face": color}
    return found


def prepared(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with every column that the figures read: missing facts of a cell become "", a missing
    label the generator's name.
    """
    rows = rows.copy()
    for name in ("dataset", "column", "group", "note"):
        rows[name] = rows[name].fillna("") if name in rows else ""
    rows["seed"] = rows.get("seed", 0)
    if "label" not in rows:
        rows["label"] = rows.get("generator", "synthetic")
    return rows[rows["metric"].fillna("") != ""]


def strips(
    rows: pd.DataFrame,
    metrics: Sequence[str] | None = None,
    columns: int = 3,
    absent: Mapping[str, str] | None = None,
    generators: Mapping[str, str] | None = None,
    heads: pd.DataFrame | None = None,
) -> Figure:
    """One panel a metric, one line a generator: seeds as small dots, their mean as the marker, its
    95% interval as a bar.

    The shaded band runs from the floor (what the metric measures is destroyed) to the ceiling (a
    fresh real sample). `absent` names generators that keep a line though they have no reading, and
    says why. `generators` maps labels to their generators where rows do not say; `heads` are the
    headlines of these rows where they are known already.
    """
    rows = prepared(rows)
    if heads is None:
        # Which of the groups vanished decides what some metrics speak of.
        spoken = rows["metric"].isin([*(metrics or rows["metric"].unique()), "vanished_groups"])
        heads = headlines(rows[spoken])
    metrics = [m for m in metrics or heads["metric"].unique() if m in set(heads["metric"])]
    if not metrics:
        raise InputError(
            "these rows hold none of the metrics asked for; leave `metrics` out to draw all of"
            " them."
        )
    known = {name: name for name in absent or {}}
    known |= dict(generators or {})
    known |= identities(rows)
    known = {name: known[name] for name in {*rows["label"], *(absent or {})}}
    with mpl.rc_context(STYLE):
        figure, axes = _panels(len(metrics), columns, 0.21 * len(known) + 0.75, layout="none")
        _fix_margins(figure, axes, list(known), titles=len(metrics) > 1)
        for ax, metric in zip(axes, metrics, strict=False):
            head = heads[heads["metric"] == metric].groupby("label", sort=False).first()
            _lines(ax, head, seed_values(rows, metric, head), known, absent or {})
            _reference(ax, head, METRICS.get(metric, UNKNOWN).direction)
            if len(metrics) > 1:
                ax.set_title(titled(metric), pad=14)
    return figure


def bias_by_group(
    rows: pd.DataFrame,
    metric: str = "bias_amp",
    columns: int = 3,
    keys: Sequence[tuple[str, str]] | None = None,
    limit: float | None = None,
    table: pd.DataFrame | None = None,
) -> Figure:
    """Readings around zero, a panel for each (column, group) of `metric`, on one scale; right of
    zero is amplified.

    `keys` picks panels; by default the twelve with the largest reading in either direction. `limit`
    is the scale's end, `table` what `aggregate` gives of these rows where that is known already.
    """
    rows = prepared(rows)
    rows = rows[(rows["metric"] == metric) & (rows["column"] != "")]
    table = aggregate(rows) if table is None else table
    if keys is None:
        # One name for each column of a view is a whole group; a name more is one of its target
        # labels, which repeats it.
        whole = [
            g == "" or g.count("=") == c.count(" x ") + 1
            for c, g in zip(table["column"], table["group"], strict=True)
        ]
        size = (
            table[np.array(whole, dtype=bool)]
            .assign(size=table["mean"].abs())
            .groupby(["column", "group"])["size"]
            .max()
        )
        keys = list(size.sort_values(ascending=False, kind="stable").index[:12])
    if not len(keys):
        raise InputError(
            f"these rows hold no {metric!r}; bias is read where a dataset has a sensitive column."
        )
    known, limit = identities(rows), limit or reach(table, keys)
    with mpl.rc_context(STYLE):
        figure, axes = _panels(len(keys), columns, 0.21 * len(known) + 0.75, layout="none")
        _fix_margins(figure, axes, list(known), titles=len(keys) > 1)
        for ax, (column, group) in zip(axes, keys, strict=False):
            head, part = (t[(t["column"] == column) & (t["group"] == group)] for t in (table, rows))
            head = head.groupby("label", sort=False).first()
            _lines(ax, head, part, known, {})
            _reference(ax, head, "zero", limit)
            if len(keys) > 1:
                ax.set_title(shortened(group or column, 30), pad=14)
    return figure


def reach(table: pd.DataFrame, keys: Sequence[tuple[str, str]]) -> float:
    """The end of one scale around zero for `keys`; table: aggregated readings.

    It holds every mean and all but the widest intervals, unless one generator reads several times
    as far as the others: that one is an arrow, for it would squeeze all other marks to a line.
    """
    wanted = set(keys)
    table = table[[key in wanted for key in zip(table["column"], table["group"], strict=True)]]
    means = table["mean"].abs()
    ends = table[["low", "high"]].abs().max(axis=1).quantile(0.9)
    most = float(np.nanmax([means.max(), ends, 0.01]))
    usual = OUTLYING * float(np.nan_to_num(means.quantile(0.75)))
    return 1.08 * min(most, max(usual, 0.01))


def tradeoff_axes(rows: pd.DataFrame) -> tuple[str, list[str]]:
    """The utility metric and the readings of closeness that these rows have, the preferred one
    first.
    """
    known = set(rows.loc[rows["value"].notna(), "metric"])
    utility = [metric for metric in ("utility_ratio", "tstr_auc", "tstr_r2") if metric in known]
    closeness = [
        metric for metric in ("membership_auc", "dcr_share", "excess_copies") if metric in known
    ]
    if not utility or not closeness:
        raise InputError(
            "these rows lack a reading of utility or of closeness to the training rows; it takes"
            " one of each."
        )
    return utility[0], closeness


def tradeoff(
    rows: pd.DataFrame,
    utility: str | None = None,
    closeness: Sequence[str] | None = None,
    heads: pd.DataFrame | None = None,
) -> Figure:
    """Utility (up) against closeness to the training rows (right), a panel for each reading of
    closeness.

    The upper left corner is where a table is useful and no closer to its training rows than fresh
    real rows are. Dashed lines are the two ceilings: what real rows reach. `heads` are the
    headlines of these rows where they are known already.
    """
    rows = prepared(rows)
    if utility is None or closeness is None:
        found = tradeoff_axes(rows)
        utility, closeness = utility or found[0], closeness or found[1]
    heads = headlines(rows[rows["metric"].isin([utility, *closeness])]) if heads is None else heads
    style, keys = looks(identities(rows)), ["dataset", "label"]
    up = heads[heads["metric"] == utility].set_index(keys)
    with mpl.rc_context(STYLE):
        figure = _new_figure(
            figsize=(5.0 * len(closeness), 4.2 + 0.2 * -(-len(style) // (3 * len(closeness))))
        )
        axes = figure.subplots(1, len(closeness), sharey=True, squeeze=False)[0]
        for ax, metric in zip(axes, closeness, strict=True):
            right = heads[heads["metric"] == metric].set_index(keys)
            for table, line in ((right, ax.axvline), (up, ax.axhline)):
                if np.isfinite(table["ceiling"].mean()):
                    line(table["ceiling"].mean(), color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
            _points(ax, right, up, style)
            ax.set_xlabel(titled(metric))
        axes[0].set_ylabel(titled(utility))
        _legend(figure, style, 3 * len(closeness))
    return figure


def cost(
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    metric: str = "utility_ratio",
    heads: pd.DataFrame | None = None,
) -> Figure:
    """A quality (up: its headline with its 95% interval) against the CPU seconds of the fit (right,
    log), with their range.

    cells: `Folder(path).cells()`. heads: the headlines of these rows where they are known already.
    Fits below a millisecond stand at one. The dashed line is the ceiling: what real rows reach.
    Raises InputError where no cell has both numbers, as with cells of versions that counted no CPU
    seconds.
    """
    if heads is None:
        heads = headlines(prepared(rows[rows["metric"] == metric]))
    up = heads[heads["metric"] == metric].set_index(["dataset", "label"])
    spent = cells[cells["fit_cpu"].notna() & (cells["status"] == "ok")].groupby(
        ["dataset", "label"]
    )["fit_cpu"]
    right = spent.agg(mean="mean", low="min", high="max").clip(lower=1e-3)
    both = up.index.intersection(right.index)
    if both.empty:
        raise InputError(
            f"no cell has both {metric!r} and CPU seconds; cells of older versions have none: run"
            " them again."
        )
    known = identities(cells)
    style = looks({label: known[label] for label in both.get_level_values("label")})
    with mpl.rc_context(STYLE):
        figure = _new_figure(figsize=(5.0, 4.2 + 0.2 * -(-len(style) // 3)))
        ax = figure.subplots()
        ax.set_xscale("log")
        # Powers of ten would need mathtext, which is off: names are drawn as they are.
        ax.xaxis.set_major_formatter("{x:g}")
        if np.isfinite(up["ceiling"].mean()):
            ax.axhline(up["ceiling"].mean(), color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        _points(ax, right, up, style)
        ax.set_xlabel("CPU seconds of the fit")
        ax.set_ylabel(titled(metric))
        _legend(figure, style, 3)
    return figure


def _points(ax, right: pd.DataFrame, up: pd.DataFrame, style: Mapping[str, dict]) -> None:
    """A mark with its whiskers for each (dataset, label) that has a finite mean in both tables."""
    for key in up.index.intersection(right.index):
        x, y, look = right.loc[key], up.loc[key], style[key[1]]
        if np.isfinite(x["mean"]) and np.isfinite(y["mean"]):
            errors = {"xerr": _whisker(x), "yerr": _whisker(y)}
            bars = ax.errorbar(
                x["mean"], y["mean"], **errors, color=look["color"], fmt="none", lw=1.2, alpha=0.5
            )
            mark = {"mfc": look["face"], "mec": look["color"], "mew": 1.5, "zorder": 4}
            drawn = ax.plot(x["mean"], y["mean"], look["marker"], ms=8, **mark)
            _belongs(key[1], *drawn, *bars.get_children())
    ax.margins(0.08)
    ax.grid(color=BAND, zorder=0)
    ax.set_axisbelow(True)


def _new_figure(**options) -> Figure:
    # A page draws its strips as text: it needs this module's colours, and not the second that the
    # import of figures takes.
    from matplotlib.figure import Figure

    return Figure(**options)


def _legend(figure: Figure, style: Mapping[str, dict], columns: int) -> None:
    marks = [
        mpl.lines.Line2D(
            [], [], ls="", marker=k["marker"], mfc=k["face"], mec=k["color"], label=shortened(n, 28)
        )
        for n, k in style.items()
    ]
    marks.append(
        mpl.lines.Line2D([], [], color=MUTED, lw=1, ls=(0, (4, 3)), label="real rows (ceiling)")
    )
    legend = figure.legend(
        handles=marks, loc="outside lower left", frameon=False, ncols=columns, handletextpad=0.4
    )
    for name, *entry in zip(style, legend.legend_handles, legend.get_texts(), strict=False):
        _belongs(name, *entry)


def svg(figure: Figure) -> str:
    """The figure as SVG text: the same bytes each time, labels as text."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has other fonts
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def marginals(
    real: pd.DataFrame,
    synthetic: pd.DataFrame | Mapping[str, pd.DataFrame],
    columns: Sequence[str] | None = None,
    most: int = 12,
) -> Figure:
    """Distributions of some columns (the first nine by default): real rows filled, each synthetic
    table a row of marks, joined by a line where the values have an order.

    Numbers and dates are drawn as shares over bins of the real rows' range; labels as shares of the
    `most` most frequent real ones, the rest together. The share of missing values is always the
    last mark.
    """
    tables = synthetic if isinstance(synthetic, Mapping) else {"synthetic": synthetic}
    columns = list(columns or real.columns[:9])
    style = looks(list(tables))
    with mpl.rc_context(STYLE):
        figure, axes = _panels(len(columns), 3, 2.3)
        for ax, name in zip(axes, columns, strict=False):
            places, shares = _shares(
                real[name], {key: table[name] for key, table in tables.items()}, most
            )
            at = np.arange(len(places))
            ax.bar(at, shares["real"], width=0.86, color=LINE, label="real")
            # Between labels, which have no order, a line would show a slope that means nothing.
            line = "none" if _has_labels(real[name]) else "-"
            for key in tables:
                look = style[key]
                ax.plot(
                    at,
                    shares[key],
                    look["marker"],
                    ls=line,
                    lw=0.9,
                    ms=4,
                    color=look["color"],
                    mfc=look["face"],
                    label=key,
                )
            ax.set_title(shortened(name, 40))
            step = max(1, -(-len(places) // 8))
            ax.set_xticks(
                at[::step],
                [shortened(p, 14) for p in places[::step]],
                rotation=35,
                ha="right",
                rotation_mode="anchor",
            )
            ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            [shortened(n, 30) for n in names],
            loc="outside upper left",
            ncols=4,
            frameon=False,
        )
    return figure


def pairs(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    columns: Sequence[str],
    most: int = 8,
    dots: int = 400,
) -> Figure:
    """Rows as dots for each pair of two to four columns: real ones left, synthetic ones right, on
    the same axes.

    Labels stand at the places of the `most` most frequent real ones, the rest and missing values
    together, and are spread around them; rows with a missing number are left out. Each side shows
    at most `dots` rows, thinned evenly.
    """
    chosen = [
        (first, second) for place, first in enumerate(columns) for second in columns[place + 1 :]
    ]
    if not 1 <= len(chosen) <= 6:
        raise InputError(f"{len(columns)} columns are chosen for pair plots; choose two to four.")
    tables = {
        name: t.iloc[np.linspace(0, len(t) - 1, min(dots, len(t))).astype(int)]
        for name, t in {"real": real, "synthetic": synthetic}.items()
    }
    with mpl.rc_context(STYLE):
        figure, axes = _panels(2 * len(chosen), 2, 2.6)
        for place, (first, second) in enumerate(chosen):
            left, right = axes[2 * place : 2 * place + 2]
            right.sharex(left)
            right.sharey(left)
            for ax, (kind, table), color in zip(
                (left, right), tables.items(), (MUTED, COLORS[0]), strict=True
            ):
                x, y = (
                    _places(table[name], real[name], most, axis)
                    for name, axis in ((first, ax.xaxis), (second, ax.yaxis))
                )
                ax.plot(x, y, ".", ms=3.5, color=color, alpha=0.5, mew=0)
                ax.set_title(kind if place == 0 else "")
                ax.set_xlabel(shortened(first, 40))
                ax.tick_params(axis="x", rotation=25)
            left.set_ylabel(shortened(second, 30))
    return figure


def _has_labels(values: pd.Series) -> bool:
    numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return not (numbers or pd.api.types.is_datetime64_any_dtype(values))


def _places(values: pd.Series, real: pd.Series, most: int, axis) -> np.ndarray:
    """Where the values stand on the axis, whose ticks are set: numbers and days as they are, labels
    spread around theirs.
    """
    if pd.api.types.is_numeric_dtype(real) and not pd.api.types.is_bool_dtype(real):
        return _floats(values)
    if pd.api.types.is_datetime64_any_dtype(real):
        axis.set_major_formatter(lambda day, _: str(pd.Timestamp(0) + pd.Timedelta(days=day))[:10])
        return _floats(values) / 86_400e9
    names = [str(label) for label in real.value_counts().index[:most]]
    axis.set_ticks(range(len(names) + 1), [*(shortened(name, 14) for name in names), "others"])
    place = values.astype(object).where(values.notna(), None).map(str, na_action="ignore")
    place = place.map({name: at for at, name in enumerate(names)})
    # The same each time, and of no meaning.
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(values))
    return place.fillna(len(names)).to_numpy(dtype=float) + spread


def correlation_difference(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, most: int = 40
) -> Figure:
    """Association of each pair of columns, synthetic minus real (the first `most` columns): purple
    is lost, orange is invented.

    Two numbers or dates: absolute Spearman correlation. Otherwise labels and the other column's
    real deciles: Cramer's V.
    """
    import seaborn as sns

    names = schema.names[:most]
    edges = {c.name: _deciles(real[c.name]) for c in schema.columns[:most] if not c.is_discrete}
    difference = pd.DataFrame(
        _association(synthetic[names], edges) - _association(real[names], edges),
        index=names,
        columns=names,
    )
    with mpl.rc_context(STYLE):
        side = 0.32 * len(names) + 2.2
        figure = _new_figure(figsize=(side + 1, side))
        ax = figure.subplots()
        few = len(names) <= 14
        sns.heatmap(
            difference,
            ax=ax,
            cmap="PuOr_r",
            center=0,
            vmin=-1,
            vmax=1,
            square=True,
            linewidths=0.5,
            annot=few,
            fmt=".2f",
            annot_kws={"fontsize": 6.5},
            cbar_kws={"label": "association, synthetic − real", "shrink": 0.6},
            mask=np.triu(np.ones_like(difference, bool)),
            xticklabels=False,
            yticklabels=False,
        )
        # By hand: seaborn makes a canvas for each label, to see whether it overlaps the next.
        centres, labels = np.arange(len(names)) + 0.5, [shortened(name, 20) for name in names]
        ax.set_xticks(centres, labels, rotation="vertical")
        ax.set_yticks(centres, labels, rotation="horizontal", va="center")
    return figure


def _panels(
    count: int, columns: int, height: float, layout: str = "constrained"
) -> tuple[Figure, list]:
    columns = min(columns, count)
    lines = -(-count // columns)
    figure = _new_figure(figsize=(3.5 * columns, height * lines), layout=layout)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def _fix_margins(figure: Figure, axes: list, names: list[str], titles: bool) -> None:
    """Room for the labels at the left, the numbers at the right, floor and ceiling above each
    panel.

    A layout engine would measure every text of every panel, which costs more than all the drawing.
    """
    width, height = figure.get_size_inches()
    longest = max(len(shortened(name, 26)) for name in names)
    left, right = 0.12 + LETTER * longest, 0.45
    above, below = (0.42 if titles else 0.2), 0.28
    grid = axes[0].get_subplotspec().get_gridspec()
    panel_width = width / grid.ncols - left - right
    panel_height = height / grid.nrows - above - below
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=(left + right) / panel_width,
        hspace=(above + below) / panel_height,
    )


def _lines(
    ax,
    head: pd.DataFrame,
    seeds: pd.DataFrame,
    generators: Mapping[str, str],
    absent: Mapping[str, str],
) -> None:
    """One line a generator on `ax`; where it has no number, the reason instead."""
    style, names = looks(generators), ordered(generators)
    ax.hlines(
        range(len(names)), 0, 1, transform=ax.get_yaxis_transform(), color=BAND, lw=1, zorder=0
    )
    for place, name in enumerate(names):
        look, row = style[name], head.loc[name] if name in head.index else None
        if row is None or not np.isfinite(row["mean"]):
            why = shortened((absent.get(name) if row is None else row["note"]) or "no reading", 40)
            why = ax.annotate(
                why,
                (0.5, place),
                xycoords=("axes fraction", "data"),
                ha="center",
                va="center",
                fontsize=7.5,
                color=MUTED,
                style="italic",
                zorder=6,
            )
            _belongs(name, why)
            continue
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            bar = {"color": look["color"], "lw": 4, "alpha": 0.35, "solid_capstyle": "butt"}
            _belongs(name, *ax.plot([row["low"], row["high"]], [place, place], **bar))
        dots = seeds.loc[seeds["label"] == name, "value"].dropna().to_numpy()
        dots = dots[np.linspace(0, len(dots) - 1, CROWD).astype(int)] if len(dots) > CROWD else dots
        small = ax.plot(
            dots, np.full(len(dots), place), ".", ms=5, color=look["color"], alpha=0.9, mew=0
        )
        mark = {"mfc": look["face"], "mec": look["color"], "mew": 1.3, "zorder": 5}
        large = ax.plot(row["mean"], place, look["marker"], ms=6, **mark)
        value_label = ax.annotate(
            number(row["mean"]),
            (1.015, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            color=INK,
        )
        _belongs(name, *small, *large, value_label)
    ax.set_yticks(range(len(names)), [shortened(name, 26) for name in names])
    for name, tick in zip(names, ax.get_yticklabels(), strict=True):
        _belongs(name, tick)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))


def _belongs(name: str, *artists) -> None:
    for artist in artists:
        artist.set_gid(handle(name))


def _reference(ax, head: pd.DataFrame, direction: str, limit: float | None = None) -> None:
    """The band between floor and ceiling with both ends named; for readings around zero, the two
    sides in words.
    """
    floor, ceiling = head["floor"].mean(), head["ceiling"].mean()
    top = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "fontsize": 7.5,
        "color": MUTED,
        "va": "bottom",
    }
    if limit is not None:
        ax.set_xlim(-limit, limit)
        ax.axvline(0, color=MUTED, lw=1, zorder=1)
        ax.annotate("← dampened", (0, 1), xytext=(-6, 1), ha="right", **top)
        ax.annotate("amplified →", (0, 1), xytext=(6, 1), ha="left", **top)
        return
    if direction == "zero":
        ax.axvline(0, color=MUTED, lw=1, zorder=1)
    ends = [
        (value, name)
        for value, name in ((floor, "floor"), (ceiling, "ceiling"))
        if np.isfinite(value)
    ]
    if len(ends) == 2:
        ax.axvspan(floor, ceiling, color=BAND, zorder=0, lw=0)
    for value, _ in ends:
        ax.axvline(value, color=MUTED, lw=0.9, ls=(0, (2, 2)), zorder=1)
    ax.margins(x=0.07)
    ax.autoscale_view()
    left, right = ax.get_xlim()
    together = len(ends) == 2 and abs(floor - ceiling) < 0.25 * (right - left)
    for place, (value, name) in enumerate(sorted(ends)):
        side = "center" if not together else ("right" if place == 0 else "left")
        side = (
            "left"
            if value < left + 0.08 * (right - left) and not (together and place == 0)
            else side
        )
        side = (
            "right"
            if value > right - 0.08 * (right - left) and not (together and place == 1)
            else side
        )
        ax.annotate(name, (value, 1), xytext=(0, 1), ha=side, **top)


def seed_values(rows: pd.DataFrame, metric: str, head: pd.DataFrame) -> pd.DataFrame:
    """The single-seed values behind a headline: its own column and group, or every row where
    columns differ by seed.
    """
    part = rows[rows["metric"] == metric]
    whole = part[(part["column"] == "") & (part["group"] == "")]
    if len(whole) and metric not in WORST:
        return whole
    if not part.duplicated(["dataset", "label", *(name for name in FACTORS if name in part)]).any():
        return part
    wanted = part["label"].map(head["column"]), part["label"].map(head["group"])
    return part[(part["column"] == wanted[0]) & (part["group"] == wanted[1])]


def _whisker(row) -> list | None:
    ends = [[max(row["mean"] - row["low"], 0)], [max(row["high"] - row["mean"], 0)]]
    return ends if np.isfinite(ends).all() else None


def _shares(
    real: pd.Series, others: dict[str, pd.Series], most: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    numbers = pd.api.types.is_numeric_dtype(real) and not pd.api.types.is_bool_dtype(real)
    dates = pd.api.types.is_datetime64_any_dtype(real)
    if (numbers or dates) and real.notna().any():
        floats = {key: _floats(values) for key, values in {"real": real, **others}.items()}
        edges = np.histogram_bin_edges(floats["real"][np.isfinite(floats["real"])], bins=24)
        middle = (edges[1:] + edges[:-1]) / 2
        places = (
            [str(pd.Timestamp(int(m)).date()) for m in middle]
            if dates
            else [f"{m:.4g}" for m in middle]
        )
        counts = {
            key: np.histogram(np.clip(v[np.isfinite(v)], edges[0], edges[-1]), bins=edges)[0]
            for key, v in floats.items()
        }
        rest = {key: [np.isnan(v).sum()] for key, v in floats.items()}
        shares = {
            key: np.append(counts[key], rest[key]) / max(len(floats[key]), 1) for key in floats
        }
        return [*places, "missing"], shares
    places = [str(value) for value in real.value_counts().index[:most]]
    shares = {}
    for key, values in {"real": real, **others}.items():
        text = values.astype(object).where(values.notna(), None).map(str, na_action="ignore")
        inside = text.value_counts().reindex(places).fillna(0).to_numpy()
        missing = int(values.isna().sum())
        shares[key] = np.append(inside, [len(values) - inside.sum() - missing, missing]) / max(
            len(values), 1
        )
    return [*places, "others", "missing"], shares


def _floats(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(values):
        return np.where(
            values.isna(), np.nan, values.astype("datetime64[ns]").astype("int64").astype(float)
        )
    return values.astype("Float64").astype(float).to_numpy(na_value=np.nan)


def _deciles(values: pd.Series) -> np.ndarray:
    floats = _floats(values)
    floats = floats[np.isfinite(floats)]
    return (
        np.unique(np.quantile(floats, np.linspace(0, 1, 11)[1:-1])) if len(floats) else np.array([])
    )


def _association(table: pd.DataFrame, edges: dict[str, np.ndarray]) -> np.ndarray:
    from scipy.stats.contingency import crosstab

    from workbench.metrics.bias import cramers_v

    names = list(table.columns)
    floats = pd.DataFrame({name: _floats(table[name]) for name in edges}, index=table.index)
    rank = floats.corr(method="spearman").abs()
    codes = {
        n: (
            np.searchsorted(edges[n], floats[n])
            if n in edges
            else pd.factorize(table[n].astype(object))[0]
        )
        for n in names
    }
    out = np.zeros((len(names), len(names)))
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            both = first in edges and second in edges
            out[i, j] = (
                rank.loc[first, second]
                if both
                else cramers_v(crosstab(codes[first], codes[second]).count)
            )
    return np.nan_to_num(out)


def critical_difference(ranks: Mapping[str, float], difference: float, caveat: str = "") -> Figure:
    """Mean ranks over datasets (1 is best, left) by label; a bar joins labels that lie within the
    critical difference.

    ranks and difference are those of `statistics.compare` for one metric (Demsar 2006, figure 1);
    without a critical difference (NaN: fewer than two datasets) no bar is drawn. caveat is printed
    below.
    """
    ranks = dict(ranks)
    order = sorted(ranks, key=lambda label: (ranks[label], label))
    place, look = np.array([ranks[label] for label in order]), looks(order)
    ends = [
        np.flatnonzero(place <= first + difference)[-1] if np.isfinite(difference) else k
        for k, first in enumerate(place)
    ]
    joined = [
        (k, last) for k, last in enumerate(ends) if last > k and (k == 0 or last > ends[k - 1])
    ]
    with mpl.rc_context(STYLE):
        figure = _new_figure(figsize=(6.4, 1.3 + 0.24 * len(order) + 0.1 * len(joined)))
        ax = figure.subplots()
        for line, label in enumerate(order):
            mark = {"color": look[label]["color"], "mfc": look[label]["face"], "ms": 7}
            label_text = ax.annotate(
                f"{label}  {place[line]:.2f}",
                (place[line], line),
                (8, 0),
                textcoords="offset points",
                va="center",
            )
            _belongs(label, label_text, *ax.plot(place[line], line, look[label]["marker"], **mark))
        for count, (first, last) in enumerate(joined):
            ax.plot(
                place[[first, last]],
                [len(order) + 0.45 * count] * 2,
                color=INK,
                lw=3,
                solid_capstyle="butt",
            )
        critical = (
            f"critical difference {difference:.2f}"
            if np.isfinite(difference)
            else "no critical difference"
        )
        ax.set_title(f"Mean rank over datasets, 1 is best ({critical})")
        ax.set_xlim(0.9, max(len(order), 2) + 1.2)  # room for the last name
        ax.set_ylim(len(order) + 0.45 * len(joined), -0.7)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xticks(range(1, len(order) + 1))
        bar = "a bar joins what the Nemenyi test at 5% cannot tell apart" if joined else ""
        ax.set_xlabel("\n".join(filter(None, [bar, caveat])))
    return figure
