"""What can be shown of a session and exported from it: figures, rows, the ranking with its
recommendation, what was read off the table, grid.toml, the same comparison in plain Python, files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

import pandas as pd
import tomli_w
from markupsafe import Markup
from matplotlib.figure import Figure

from workbench.app.session import SLOW, Session
from workbench.errors import InputError
from workbench.files import write_text
from workbench.markup import macros
from workbench.metrics import METRICS
from workbench.report import plots, uses
from workbench.report.headlines import aggregate, headlines
from workbench.report.html import Piece, html_table, image
from workbench.report.identity import is_control
from workbench.report.recommendation import Recommendation, recommend
from workbench.tables.datasets import DATASETS
from workbench.words import interval, listed, plural

COLUMNS = 6  # shown in marginals where none are chosen
PAIRED = 3  # columns that the pair plots show at most
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # how a cell begins that a spreadsheet may run
SIGNED = re.compile(r"[-+]\s?[\d.,]")  # how a number with a sign begins, which is none
WIDE = 2  # panels of the overview beside each other: three are too small for a notebook's width

# View -> the call that draws it, in the names that SCRIPT defines, and what it shows. `figure`
# makes the same calls.
FIGURES = {
    "scores": (
        "plots.strips(rows, {strips}, columns={wide})",
        (
            "Each metric between its floor, a worst case, and its ceiling, a fresh real sample; one"
            " line for each generator."
        ),
    ),
    "marginals": (
        (
            "plots.marginals(data.test, {{n: t for (n, s), t in tables.items() if s == {seed}}},"
            " {columns})"
        ),
        "Single columns: bars are real test rows, marks are generators.",
    ),
    "pairs": (
        "plots.pairs(data.test, tables[{name!r}, {seed}], {paired})",
        "Pairs of columns: real test rows left, synthetic rows right.",
    ),
    "correlations": (
        "plots.correlation_difference(data.test, tables[{name!r}, {seed}], data.schema.modelled)",
        "Association of each pair, synthetic minus real: purple is lost, orange is invented.",
    ),
    "groups": (
        "plots.bias_by_group(rows)",
        (
            "Bias by group: right of zero a difference of the real rows is amplified, left of zero"
            " dampened."
        ),
    ),
    "trade-off": (
        "plots.tradeoff(rows)",
        (
            "Up is useful for training models, right is close to the training rows; the best place"
            " is the upper left."
        ),
    ),
}
STRIPS = (
    "marginals",
    "worst_column",
    "pair_trends",
    "tstr_auc",
    "tstr_r2",
    "utility_ratio",
    "bias_amp",
    "excess_copies",
)

SCRIPT = '''"""The comparison that was clicked together: python side_by_side.py [FOLDER] writes its files."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import workbench as wb
from workbench.report import plots
from workbench.generators import make, sampled, views
from workbench.metrics import METRICS

data = wb.load({load})
generators = {generators}
metrics = [name for name in METRICS if name not in {left_out}]

tables, cards = {{}}, {{}}
for name, params in generators.items():
    for seed in {seeds}:
        train, scored = views(name, data, seed)  # all train rows, save for the holdout control
        generator = make(name, params).fit(train, data.schema, np.random.default_rng([seed, 0]))
        tables[name, seed] = sampled(generator, data, len(train), seed)
        cards[name, seed] = wb.evaluate(scored, tables[name, seed], seed, metrics, generator=generator)
rows = pd.concat({{pair: card.rows for pair, card in cards.items()}}, names=["label", "seed"])
rows = rows.reset_index(["label", "seed"]).reset_index(drop=True)
rows.insert(0, "dataset", data.name)

figures = {{
{figures}}}

out = Path(sys.argv[1] if len(sys.argv) > 1 else "side-by-side")
out.mkdir(parents=True, exist_ok=True)
rows.to_csv(out / "scores.csv", index=False, lineterminator="\\r\\n")
for (name, seed), table in tables.items():
    place = out / f"{{name.rpartition(':')[2]}}-{{seed}}.csv"
    data.written(table, as_text=True).to_csv(place, index=False, lineterminator="\\r\\n")
for name, figure in figures.items():
    (out / f"{{name}}.svg").write_text(plots.svg(figure), encoding="utf-8")
'''


def pieces() -> Any:
    """The macros of page.html.j2, which escape every value that is not Markup."""
    return macros("app/page.html.j2")


def looked_at(
    session: Session, name: str = "", seed: int = 0, columns: Sequence[str] = ()
) -> tuple[str, int, list[str]]:
    """What the views show: the pair if it is finished, otherwise the first that is; columns, the
    first few by default.
    """
    # Before anything has run the code is written for what is chosen.
    finished = session.finished or dict.fromkeys(session.pairs)
    pair = (name, seed) if (name, seed) in finished else next(iter(finished))
    known = session.data.schema.modelled.names
    return *pair, [column for column in columns if column in known] or known[:COLUMNS]


def figure(
    session: Session, view: str, name: str = "", seed: int = 0, columns: Sequence[str] = ()
) -> Figure:
    """The figure of one view of FIGURES, about what `looked_at` makes of the other arguments.

    Raises InputError where nothing is measured yet, or nothing that the figure is made of.
    """
    # The same calls as in FIGURES, whose text is the script: both have to stay alike.
    rows, data = session.rows(), session.data
    name, seed, columns = looked_at(session, name, seed, columns)
    tables = {pair: found.synthetic for pair, found in session.finished.items()}
    if view == "scores":
        return plots.strips(rows, _strips(session), columns=WIDE)
    if view == "marginals":
        return plots.marginals(
            data.test, {n: t for (n, s), t in tables.items() if s == seed}, columns
        )
    if view == "pairs":
        return plots.pairs(data.test, tables[name, seed], columns[:PAIRED])
    if view == "correlations":
        return plots.correlation_difference(data.test, tables[name, seed], data.schema.modelled)
    return plots.bias_by_group(rows) if view == "groups" else plots.tradeoff(rows)


def picture(
    session: Session, view: str, name: str = "", seed: int = 0, columns: Sequence[str] = ()
) -> Piece:
    """`figure` as an escaped HTML image whose alternative text says what it shows and of what."""
    # The sentence says which of the choices the figure is about.
    drawn = figure(session, view, name, seed, columns)
    name, seed, columns = looked_at(session, name, seed, columns)
    about = {
        "pairs": f"{name}, seed {seed}",
        "correlations": f"{name}, seed {seed}",
        "marginals": f"seed {seed}",
    }
    words = f"{FIGURES[view][1]} Here: {about.get(view, ', '.join(session.generators))}."
    return Piece(image(drawn, words, Markup.escape(words)))


def browse(session: Session, name: str = "", seed: int = 0) -> Piece:
    """Real test rows and synthetic rows in one table to search and sort; without a network, in a
    frame of its own.

    The frame is sandboxed: whatever a value is, it cannot reach the page around it. Of more than
    half a megabyte only a part is shown.
    """
    from itables import options, to_html_datatable
    from itables.javascript import generate_init_offline_itables_html

    name, seed, _ = looked_at(session, name, seed)
    found = session.result(name, seed)
    if not found:
        raise InputError("nothing is measured yet; run it first.")
    # Every row says what it is, so that searching for "real" or "synthetic" leaves these alone.
    real = session.data.test
    real = real.set_axis([f"real {row}" for row in range(len(real))])
    synthetic = found.synthetic
    synthetic = synthetic.set_axis([f"synthetic {row}" for row in range(len(synthetic))])
    table = pd.concat([real, synthetic])
    body = generate_init_offline_itables_html(options.dt_bundle)
    body += to_html_datatable(
        table, connected=False, maxBytes=2**19, showIndex=True, allow_html=False, style="width:100%"
    )
    words = (
        f"Real test rows and synthetic rows of {name}, seed {seed}: search for real or synthetic"
    )
    # itables has escaped the values. The page as a whole becomes an attribute, and is escaped
    # again: a `str` is no markup for the macro.
    page = str(pieces().framed(Markup(body)))
    return Piece(pieces().frame(words, page))


def grid(session: Session) -> str:
    """The text of the grid.toml that repeats the choice as a batch (`workbench run FOLDER`)."""
    table, roles = _table(session)
    dataset = {"name" if table in DATASETS else "path": table} | roles
    rows = [
        {"name": name, "params": dict(params)} if params else name
        for name, params in session.generators.items()
    ]
    about = {
        "title": f"Side by side: {session.data.name}",
        "seeds": list(session.seeds),
        "generators": rows,
    }
    return tomli_w.dumps(about | {"datasets": [dataset]})


def code(session: Session, name: str = "", seed: int = 0, columns: Sequence[str] = ()) -> str:
    """The plain-Python twin of what is chosen: a script whose files are, byte for byte, those of
    `export`.

    Generators that were skipped or have failed are left out.
    """
    name, seed, columns = looked_at(session, name, seed, columns)
    table, roles = _table(session)
    load = ", ".join([repr(table), *(f"{role}={value!r}" for role, value in roles.items())])
    # A script that fails at once would be of no use to anybody.
    failed = {
        pair[0] for pair, step in session.progress.items() if step.phase in ("skipped", "error")
    }
    failed -= {pair[0] for pair in session.finished}
    used = {key: dict(params) for key, params in session.generators.items() if key not in failed}
    blanks = {
        "name": name,
        "seed": seed,
        "columns": columns,
        "paired": columns[:PAIRED],
        "strips": _strips(session),
        "wide": WIDE,
    }
    figures = "".join(
        f'    "{view}": {FIGURES[view][0].format(**blanks)},\n' for view in drawable(session)
    )
    left_out = () if session.everything else SLOW
    shown = pformat(used, sort_dicts=False)
    return SCRIPT.format(
        load=load, generators=shown, left_out=left_out, seeds=list(session.seeds), figures=figures
    )


def drawable(session: Session) -> list[str]:
    """The views of FIGURES that the data have something for: groups need a sensitive column,
    utility a target.
    """
    schema = session.data.schema
    lacking = {"groups": not (schema.sensitive and schema.target), "trade-off": not schema.target}
    return [view for view in FIGURES if not lacking.get(view)]


def export(
    session: Session,
    folder: str = ".",
    name: str = "",
    seed: int = 0,
    columns: Sequence[str] = (),
    formula_safe: bool = False,
) -> list[Path]:
    """Write grid.toml, side_by_side.py, the scores (CSV, LaTeX), the tables (CSV) and figures
    (SVG); returns the paths.

    folder is one inside the session's root. Raises InputError for a folder elsewhere.
    """
    root = session.root.resolve()
    place = (root / folder).resolve()
    if not place.is_relative_to(root):
        raise InputError(f"folder {folder!r} is outside {root.name!r}; name one inside it.")
    rows, finished = session.rows(), session.finished
    texts = {"grid.toml": grid(session), "side_by_side.py": code(session, name, seed, columns)}
    texts |= {"scores.csv": as_csv(rows, formula_safe), "scores.tex": latex(rows)}
    for (n, s), found in finished.items():
        # As the person's own file has it: forms of dates, decimal commas, units, marks.
        table = session.data.written(found.synthetic, as_text=True)
        numbers = {c.name for c in session.data.schema.columns if c.kind != "categorical"}
        texts[f"{n.rpartition(':')[2]}-{s}.csv"] = as_csv(table, formula_safe, numbers)
    for view in drawable(session):
        texts[f"{view}.svg"] = plots.svg(figure(session, view, name, seed, columns))
    try:
        place.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            write_text(place / file, text)
    except OSError as error:
        raise InputError(
            f"folder {folder!r} cannot be written ({error.strerror}); name another."
        ) from None
    return [place / file for file in texts]


def latex(rows: pd.DataFrame) -> str:
    """Headline values as a LaTeX table, a line a metric, a column a generator, mean over seeds;
    every text is escaped.
    """
    from workbench.report.headlines import headlines
    from workbench.words import number

    heads = headlines(rows)
    table = heads.pivot_table("mean", "metric", "label", sort=False)[
        list(dict.fromkeys(rows["label"]))
    ]
    table.index = [METRICS[metric].title for metric in table.index]
    return table.map(number).rename_axis(columns=None).to_latex(escape=True)


def as_csv(table: pd.DataFrame, formula_safe: bool = False, numbers: Collection[str] = ()) -> str:
    """CSV text; formula_safe puts a ' before every text and column name that begins as a formula
    does (OWASP, CSV injection).

    `numbers` names columns of text that hold written numbers, dates or truth values: there a sign
    before a digit begins no formula. Lines end as RFC 4180 has it, or a text with a lone \\r would
    begin one.
    """
    if not formula_safe:
        return table.to_csv(index=False, lineterminator="\r\n")
    # Column names are cells of a spreadsheet too.
    columns = {}
    for name in table.columns:
        values = table[name]
        if str(values.dtype) in ("object", "category", "string", "str"):
            quote = _quoted_beside_numbers if name in numbers else _quoted
            values = values.astype(object).map(quote)
        columns[_quoted(name)] = values
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\r\n")


def _quoted(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula else value


def _quoted_beside_numbers(value: object) -> object:
    is_number = isinstance(value, str) and SIGNED.match(value)
    return value if is_number else _quoted(value)


def ranking(session: Session) -> Piece:
    """What was chosen in one order, with what each may be used for, and the recommendation.

    The order is by one reading, named in the caption: how useful the rows are for training a
    model, or how well they keep pairs of columns where there is no target. It is no total score.
    """
    # One reading orders, and the caption names it: there is no total score.
    rows = session.rows()
    by = next(name for name in RANKED_BY if name in set(rows["metric"]))
    heads = headlines(rows)
    heads = heads[heads["metric"] == by].set_index("label")
    order = heads["mean"].sort_values(ascending=False, na_position="last", kind="stable")
    pairs = pd.DataFrame({"dataset": session.data.name, "label": list(order.index)})
    verdicts = uses.verdicts(_readings(rows), pairs)
    lines = []
    for label in order.index:
        own = verdicts[verdicts["label"] == label]
        states = [pieces().state(word, reason) for word, reason in _states(own)]
        control = " (control)" if is_control(label) else ""
        lines.append((f"{label}{control}", interval(heads.loc[label]), *states))
    titles = (title for title, _ in uses.USES.values())
    caption = f"Ranked by {METRICS[by].title}: overlapping intervals are no difference"
    table = html_table(("Generator", METRICS[by].title, *titles), lines, caption, "ranking")
    return Piece(table + recommended(recommendation(session)))


RANKED_BY = ("utility_ratio", "tstr_auc", "tstr_r2", "pair_trends", "marginals")


def _states(verdicts: pd.DataFrame) -> list[tuple[str, str]]:
    return list(verdicts[["state", "reason"]].itertuples(index=False, name=None))


def _readings(rows: pd.DataFrame) -> pd.DataFrame:
    return aggregate(rows.fillna({"column": "", "group": ""}))


def recommendation(session: Session) -> Recommendation:
    """Which of the chosen generators to take, from what was measured."""
    # Labels are names here: the page gives no labels of its own.
    names = {name: name for name in session.generators}
    seconds = {
        name: found.fit_seconds
        for (name, _), found in session.finished.items()
        if found.fit_seconds is not None
    }
    return recommend(_readings(session.rows()), names, seconds=seconds)


def recommended(found: Recommendation) -> Markup:
    """The three sentences as a list."""
    words = zip(("Which one", "Why", "Doubt"), found.sentences, strict=True)
    return pieces().recommended(list(words))


def columns(session: Session) -> Piece:
    """What was read off the table, column by column, and what looks wrong."""
    # The table as it was read, and the schema as it is declared by now.
    found = session.inspection()
    schema = session.data.schema
    lines = [
        (name, schema[name].kind, schema[name].role, row["missing"], row["distinct"], row["values"])
        for name, row in found.columns.head(MOST_COLUMNS).iterrows()
        if name in schema.names
    ]
    header = ("Column", "Kind", "Role", "Missing", "Distinct", "Values")
    caption = f"{found.name}: {plural(found.rows, 'row')}, {plural(len(schema.columns), 'column')}"
    table = html_table(header, lines, caption, "columns")
    return Piece(table + pieces().findings(found.findings))


MOST_COLUMNS = 200


def summary(session: Session) -> str:
    """What a person must know of a table before anything is run: its size, its identifiers, and
    whether a target is still to be chosen.
    """
    # Said before anything runs: a name taken for a feature would be learnt.
    data = session.data
    count = len(data.train) + len(data.test)
    words = [
        f"{data.name}: {plural(count, 'row')}, {plural(len(data.schema.columns), 'column')}"
        f" ({len(data.train):,} to train on, {len(data.test):,} to test with)."
    ]
    names = [column.name for column in data.schema.columns if column.role == "identifier"]
    if names:
        words.append(f"Identifiers are never learned, scored or copied: {listed(names)}.")
    if data.schema.target is None:
        words.append("Choose a target column: without one nothing is said about utility.")
    return " ".join(words)


def proposals(session: Session) -> dict:
    """What `inspect` proposes that is not declared yet, as `load` takes it."""
    # Only what changes something: a button that does nothing is a riddle.
    proposed, schema = session.inspection().proposed, session.data.schema
    kinds = {
        name: kind
        for name, kind in proposed.kinds.items()
        if name in schema.names and schema[name].kind != kind and name not in proposed.formats
    }
    found = {
        "kinds": kinds,
        "missing": list(proposed.missing),
        "formats": dict(proposed.formats),
        "identifiers": list(proposed.identifiers or ()),
        "group": proposed.group,
        "constraints": [
            rule if isinstance(rule, str) else list(rule) for rule in proposed.constraints
        ],
    }
    return {key: value for key, value in found.items() if value}


def _table(session: Session) -> tuple[str, dict]:
    """The data by a name or path that holds from any folder, and the roles that were chosen for
    them.
    """
    table = session.table if session.table in DATASETS else str(Path(session.table).absolute())
    roles = {"target": session.target, "sensitive": session.sensitive, **session.declared}
    return table, {role: value for role, value in roles.items() if value is not None}


def _strips(session: Session) -> list[str]:
    """The metrics of the overview that apply to the target's kind."""
    # A panel of a metric that does not apply would be empty.
    task = session.data.schema.task
    idle = {
        "classification": {"tstr_r2"},
        "regression": {"tstr_auc"},
        None: {"tstr_r2", "tstr_auc", "utility_ratio"},
    }[task]
    idle |= set() if session.data.schema.sensitive else {"bias_amp"}
    return [metric for metric in STRIPS if metric not in idle]
