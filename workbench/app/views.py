"""What can be shown of a session, taken along, and said in plain Python: figures, rows, grid.toml,
code, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from pprint import pformat

import pandas as pd
import tomli_w
from markupsafe import Markup
from matplotlib.figure import Figure

from workbench.app.session import SLOW, Session
from workbench.errors import InputError
from workbench.files import write_text
from workbench.metrics import METRICS
from workbench.report import plots
from workbench.report.html import Piece, image
from workbench.tables.datasets import DATASETS

COLUMNS = 6  # shown in marginals where none are chosen
PAIRED = 3  # columns that the pair plots show at most
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # how a cell begins that a spreadsheet may run

# View -> the call that draws it, in the names that SCRIPT defines, and what it shows. `figure`
# makes the same calls.
FIGURES = {
    "scores": (
        "plots.strips(rows, {strips})",
        "Each metric between its floor and its ceiling, a fresh real sample; a line a generator.",
    ),
    "marginals": (
        (
            "plots.marginals(data.test, {{n: t for (n, s), t in tables.items() if s == {seed}}},"
            " {columns})"
        ),
        "Single columns: bars are real test rows, each line a generator.",
    ),
    "pairs": (
        "plots.pairs(data.test, tables[{name!r}, {seed}], {paired})",
        "Pairs of columns: real test rows left, synthetic rows right.",
    ),
    "correlations": (
        "plots.correlation_difference(data.test, tables[{name!r}, {seed}], data.schema.modelled)",
        "Association of each pair, synthetic minus real: blue is lost, orange invented.",
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
            "Up is useful for training models, right is close to the training rows; the upper left"
            " is wanted."
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
from workbench.generators import make, views
from workbench.metrics import METRICS

data = wb.load({load})
generators = {generators}
metrics = [name for name in METRICS if name not in {left_out}]

tables, cards = {{}}, {{}}
for name, params in generators.items():
    for seed in {seeds}:
        train, scored = views(name, data, seed)  # all train rows, save for the holdout control
        generator = make(name, params).fit(train, data.schema, np.random.default_rng([seed, 0]))
        tables[name, seed] = generator.sample(len(train), np.random.default_rng([seed, 1]))
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


def looked_at(
    session: Session, name: str = "", seed: int = 0, columns: Sequence[str] = ()
) -> tuple[str, int, list[str]]:
    """What the views show: the pair if it is finished, otherwise the first that is; columns, the
    first few by default.
    """
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
    rows, data = session.rows(), session.data
    name, seed, columns = looked_at(session, name, seed, columns)
    tables = {pair: found.synthetic for pair, found in session.finished.items()}
    if view == "scores":
        return plots.strips(rows, _strips(session))
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
    drawn = figure(session, view, name, seed, columns)
    name, seed, columns = looked_at(session, name, seed, columns)
    about = {
        "pairs": f"{name}, seed {seed}",
        "correlations": f"{name}, seed {seed}",
        "marginals": f"seed {seed}",
    }
    words = f"{FIGURES[view][1]} Here: {about.get(view, ', '.join(session.generators))}."
    return Piece(image(drawn, words, Markup("{}").format(words)))


def browse(session: Session, name: str = "", seed: int = 0) -> Piece:
    """Real test rows and synthetic rows in one table to search and sort; without a network, in a
    frame of its own.

    The frame is sandboxed: whatever a value is, it cannot reach the page around it. Of more than
    half a megabyte a part.
    """
    from itables import options, to_html_datatable
    from itables.javascript import generate_init_offline_itables_html

    name, seed, _ = looked_at(session, name, seed)
    found = session.result(name, seed)
    if not found:
        raise InputError("nothing is measured yet; run it first.")
    parts = {"real": session.data.test, name: found.synthetic}
    table = pd.concat(
        [
            part.set_axis([f"{label} {row}" for row in range(len(part))])
            for label, part in parts.items()
        ]
    )
    body = generate_init_offline_itables_html(options.dt_bundle)
    body += to_html_datatable(
        table, connected=False, maxBytes=2**19, showIndex=True, allow_html=False, style="width:100%"
    )
    look = "<style>body{font:13px/1.4 system-ui,sans-serif}</style>"
    page = (
        '<!doctype html><html lang="en"><meta'
        f' charset="utf-8"><title>Rows</title>{look}<body>{body}</body></html>'
    )
    words = f"Real test rows and synthetic rows of {name}, seed {seed}: search and sort"
    frame = (
        '<iframe class="wb-rows" title="{}" sandbox="allow-scripts" srcdoc="{}" width="100%"'
        ' height="560"></iframe>'
    )
    return Piece(frame.format(escape(words), escape(page)))


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
        texts[f"{n.rpartition(':')[2]}-{s}.csv"] = as_csv(found.synthetic, formula_safe)
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


def as_csv(table: pd.DataFrame, formula_safe: bool = False) -> str:
    """CSV text; formula_safe puts a ' before every text and column name that begins as a formula
    does (OWASP, CSV injection).

    Numbers, dates and booleans stay as they are. Lines end as RFC 4180 has it, or a text with a
    lone \\r would begin one.
    """

    def quoted(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    if formula_safe:
        table = table.apply(
            lambda values: (
                values.astype(object).map(quoted)
                if str(values.dtype) in ("object", "category", "string", "str")
                else values
            )
        ).rename(columns=quoted)
    return table.to_csv(index=False, lineterminator="\r\n")


def _table(session: Session) -> tuple[str, dict]:
    """The data by a name or path that holds from any folder, and the roles that were chosen for
    them.
    """
    table = session.table if session.table in DATASETS else str(Path(session.table).absolute())
    roles = {"target": session.target, "sensitive": session.sensitive}
    return table, {role: value for role, value in roles.items() if value is not None}


def _strips(session: Session) -> list[str]:
    """The metrics of the overview that apply to the target's kind."""
    task = session.data.schema.task
    idle = {
        "classification": {"tstr_r2"},
        "regression": {"tstr_auc"},
        None: {"tstr_r2", "tstr_auc", "utility_ratio"},
    }[task]
    idle |= set() if session.data.schema.sensitive else {"bias_amp"}
    return [metric for metric in STRIPS if metric not in idle]
