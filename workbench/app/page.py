"""The side-by-side page: ipywidgets over a Session. What is shown is made by `session` and
`views`; this file lays it out.

    session = Session("loans")
    SideBySide(session)            # in JupyterLab, or alone through Voila

Every value that comes from a table is escaped. A mistake is one sentence on the page, never a
traceback.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import ipywidgets as ipw
from markupsafe import Markup

from workbench.app import estimate, views
from workbench.app.choices import Checkboxes, generator_groups
from workbench.app.session import ENDED, LOOK, MOST_SEEDS, Session, choices
from workbench.app.views import pieces
from workbench.errors import InputError
from workbench.report.html import html_table
from workbench.tables.datasets import DATASETS
from workbench.tables.schema import KINDS

VIEWS = ("card", *views.FIGURES, "rows", "columns")
NONE = "(none)"
AS_FOUND = "as found"
HERE = Path(__file__).parent
SEVERAL = "Ctrl or Shift for several"


class SideBySide(ipw.VBox):
    """The page. Its controls are attributes, so that a test or a notebook can set them as a click
    does.
    """

    def __init__(self, session: Session):
        # What is chosen and measured lives in the session; the page only shows it.
        self.session = session
        self._task: asyncio.Task | None = None
        self._make_table_controls()
        self._make_generator_controls()
        self._make_run_controls()
        self._make_look_controls()
        self._make_export_controls()
        super().__init__([ipw.HTML(_style()), *self._rows()])
        self.add_class("wb-page")
        self._fill_columns()
        self._watch()
        session.watchers.append(self._follow)
        self._guarded(self._refresh)()

    def _make_table_controls(self) -> None:
        self.table = _control(
            ipw.Combobox,
            "Table",
            "A dataset's name, or the path of your CSV or Parquet file",
            value=self.session.table,
            options=choices(),
            continuous_update=False,
        )
        self.upload = ipw.FileUpload(
            description="Upload a table",
            tooltip="A CSV or Parquet file",
            accept=".csv,.gz,.parquet",
        )
        self.target = _control(
            ipw.Dropdown, "Target column", "What models predict; utility needs one"
        )
        self.sensitive = _control(
            ipw.SelectMultiple,
            "Sensitive columns",
            f"Groups that bias is read for; {SEVERAL}",
            rows=4,
        )
        # Corrections of what was read off the table; shown with the view of its columns.
        self.column = _control(ipw.Dropdown, "Column", "Whose kind is corrected")
        self.kind = _control(
            ipw.Dropdown,
            "Read it as",
            "Its kind, or an identifier: never learned, scored or copied",
            options=[AS_FOUND, *KINDS, "identifier"],
        )
        self.accept = ipw.Button(
            description="Accept all proposals",
            tooltip="Declare what was found: marks of missing values, dates, identifiers, rules",
            layout=ipw.Layout(width="auto"),
        )
        self.corrections = ipw.HBox([self.column, self.kind, self.accept], layout=_wrapping())

    def _make_generator_controls(self) -> None:
        # Scrolls by itself: thirty boxes would push Run out of sight.
        height = ipw.Layout(max_height="17rem", overflow="auto", width="26rem", max_width="100%")
        self.generators = Checkboxes(
            "Generators", generator_groups(), self.session.generators, layout=height
        )
        self.generators.add_class("wb-generators")
        self.seeds = _control(
            ipw.Text,
            "Seeds",
            f"Each is repeated with these, at most {MOST_SEEDS}: 0, 3, 7 or 0-4",
            value=", ".join(map(str, self.session.seeds)),
            continuous_update=False,
        )
        self.params = _control(
            ipw.Textarea,
            "Parameters",
            "Other than the defaults, as TOML: generator.parameter = value",
            rows=2,
            placeholder="ctgan.epochs = 100",
            continuous_update=False,
        )

    def _make_run_controls(self) -> None:
        self.everything = ipw.Checkbox(
            description="Measure everything (slower)",
            value=self.session.everything,
            indent=False,
            tooltip="Also attacks on persons, the classifier test, model ranking, gains",
        )
        self.run = ipw.Button(
            description="Run", button_style="primary", tooltip="Fit, sample and score what is new"
        )
        self.cancel = ipw.Button(
            description="Cancel", disabled=True, tooltip="Stop at once; what is finished is kept"
        )
        self.message, self.exported, self.progress = ipw.HTML(), ipw.HTML(), ipw.HTML()
        self.estimated, self.about = ipw.HTML(), ipw.HTML()
        self.about.layout.max_width = "26rem"
        self.code, self.ranking = ipw.HTML(), ipw.HTML()

    def _make_look_controls(self) -> None:
        self.name = _control(ipw.Dropdown, "Look at", "Whose rows the views show")
        self.seed = _control(ipw.Dropdown, "Seed", "Which repetition the views show")
        words = f"For marginals (all) and pairs (the first {views.PAIRED}); {SEVERAL}"
        self.columns = _control(ipw.SelectMultiple, "Columns", words, rows=5)
        self.view = ipw.ToggleButtons(
            description="View",
            options=VIEWS,
            style={"button_width": "auto"},
            tooltip="What is shown",
        )
        self.view.add_class("wb-views")
        self.view.tooltips = [
            "Report card with floor and ceiling",
            *(words for _, words in views.FIGURES.values()),
            "Real and synthetic rows, to search and to sort",
            "What was read off the table, and what looks wrong",
        ]
        self.drawing, self.shown = ipw.HTML(), ipw.HTML()
        self.shown.add_class("wb-shown")

    def _make_export_controls(self) -> None:
        self.folder = _control(
            ipw.Text, "Folder", f"Inside {self.session.root.name}/", value="export"
        )
        self.safe = ipw.Checkbox(
            description="Formula-safe CSV",
            indent=False,
            tooltip="A leading ' for text that a spreadsheet would run",
        )
        self.export = ipw.Button(
            description="Export",
            tooltip="grid.toml, script, scores and tables as CSV and LaTeX, SVG",
        )

    def _rows(self) -> list[ipw.Widget]:
        """The page from top to bottom; the results stand directly below Run."""
        # In the order of use; a screen reader follows it too.
        table = [self.table, self.upload, self.target, self.sensitive, self.about]
        generators = [self.generators, self.seeds, self.params]
        beside = ipw.VBox([self.code])
        beside.layout.flex = "1 1 16rem"
        done = ipw.VBox([self.progress, self.ranking])
        done.layout.flex = "3 1 30rem"
        return [
            ipw.HBox(
                [
                    ipw.VBox([_heading("1. Choose a table"), *table]),
                    ipw.VBox([_heading("2. Choose generators"), *generators]),
                ],
                layout=_wrapping(),
            ),
            _heading("3. Run"),
            ipw.HBox(
                [self.run, self.cancel, self.everything, self.estimated],
                layout=ipw.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 8px"),
            ),
            self.message,
            ipw.HBox([done, beside], layout=_wrapping()),
            _heading("4. Look"),
            ipw.HBox([ipw.VBox([self.name, self.seed]), self.columns], layout=_wrapping()),
            self.view,
            self.drawing,
            self.corrections,
            self.shown,
            _heading("5. Export"),
            ipw.HBox([self.folder, self.safe, self.export], layout=_wrapping()),
            self.exported,
        ]

    def _watch(self) -> None:
        """What a click or a choice does."""
        self.table.observe(self._guarded(self._choose_table), "value")
        self.upload.observe(self._guarded(self._take_upload), "value")
        for control in (self.target, self.sensitive):
            control.observe(self._guarded(self._choose_roles), "value")
        for control in (self.generators, self.seeds, self.params, self.everything):
            control.observe(self._guarded(self._choose_generators), "value")
        for control in (self.name, self.seed, self.columns, self.view):
            control.observe(self._guarded(self._show), "value")
        self.column.observe(self._guarded(self._show_kind), "value")
        self.kind.observe(self._guarded(self._correct_kind), "value")
        self.accept.on_click(self._guarded(self._accept_proposals))
        self.run.on_click(self._guarded(self._start))
        self.cancel.on_click(self._guarded(self._cancel))
        self.export.on_click(self._guarded(self._export, self.exported))

    def _guarded(self, action: Callable[[], None], place: ipw.HTML | None = None) -> Callable:
        """The action as a callback whose error is a sentence on the page, beside Run or in another
        place.
        """
        # Errors beside the button that caused them.
        place = place or self.message

        def act(*_):
            if self._quiet:
                return
            try:
                self._tell(place, "")
                action()
            except InputError as error:
                self._tell(place, str(error), bad=True)
            except Exception as error:
                self._tell(place, f"{type(error).__name__}: {error}", bad=True)
            finally:
                self.drawing.value = ""

        return act

    _quiet = False  # while the page itself sets its controls

    def _tell(self, place: ipw.HTML, words: str, bad: bool = False) -> None:
        place.value = pieces().message(words, bad)

    def _choose_table(self) -> None:
        try:
            self.session.choose_table(self.table.value.strip())
        finally:
            self._fill_columns()
        # What was read off a person's own file is shown before anything is run on it.
        if self.session.table not in DATASETS:
            self._set_view("columns")
        self._refresh()

    def _set_view(self, view: str) -> None:
        self._quiet = True
        self.view.value = view
        self._quiet = False

    def _choose_roles(self) -> None:
        self._choose_again(self.session.declared)

    def _choose_again(self, declared: Mapping) -> None:
        """The same table with the roles on the page and other declarations."""
        # A widget cannot hold None as a choice.
        target = None if self.target.value == NONE else self.target.value
        try:
            self.session.choose_table(self.session.table, target, self.sensitive.value, declared)
        finally:
            self._fill_columns()
        self._refresh()

    def _show_kind(self) -> None:
        """What is declared of the column whose kind may be corrected."""
        # The session knows what is declared; the control only shows it.
        declared, name = self.session.declared, self.column.value
        kind = declared.get("kinds", {}).get(name, AS_FOUND)
        if name in declared.get("identifiers", ()):
            kind = "identifier"
        self._quiet = True
        self.kind.value = kind
        self._quiet = False

    def _correct_kind(self) -> None:
        # All declarations are given again: one column's kind may change another's role.
        name, kind = self.column.value, self.kind.value
        declared = dict(self.session.declared)
        kinds = {known: k for known, k in declared.get("kinds", {}).items() if known != name}
        schema = self.session.data.schema
        found = [column.name for column in schema.columns if column.role == "identifier"]
        others = [known for known in found if known != name]
        declared.pop("identifiers", None)
        if kind == "identifier":
            declared["identifiers"] = [*others, name]
        elif kind != AS_FOUND:
            kinds[name] = kind
            # It may have been taken for an identifier: it is none now.
            declared["identifiers"] = others
        declared["kinds"] = kinds
        self._choose_again({key: v for key, v in declared.items() if v or key == "identifiers"})

    def _accept_proposals(self) -> None:
        # What a person has corrected stays: proposals fill in what is left.
        found = views.proposals(self.session)
        kinds = {**found.pop("kinds", {}), **self.session.declared.get("kinds", {})}
        self._choose_again({**found, **({"kinds": kinds} if kinds else {})})

    def _choose_generators(self) -> None:
        try:
            params = tomllib.loads(self.params.value)
        except tomllib.TOMLDecodeError as error:
            raise InputError(
                f"the parameters are not TOML: {error}; write for example ctgan.epochs = 100."
            ) from None
        for name in set(params) - set(self.generators.value):
            raise InputError(
                f"parameters name {name!r}, which is not chosen; choose that generator too."
            )
        chosen = {name: params.get(name, {}) for name in self.generators.value}
        self.session.choose_generators(chosen, _whole_numbers(self.seeds.value))
        self.session.everything = self.everything.value
        # What is shown stays: a tick more or less must not redraw a figure.
        self._show_choice()

    def _take_upload(self) -> None:
        if self.upload.value:
            # Written into the session's folder, and then read like any other path.
            file = self.upload.value[0]
            self.table.value = str(self.session.upload(file["name"], bytes(file["content"])))

    def _fill_columns(self) -> None:
        schema = self.session.data.schema
        # `load` always gives a table of the catalog its own target: there is no "none" to choose.
        declared = getattr(DATASETS.get(self.session.table), "target", None)
        self._quiet = True
        self.table.value = self.session.table
        self.target.options = [*([] if declared else [NONE]), *schema.names]
        self.target.value = schema.target.name if schema.target else NONE
        for control in (self.sensitive, self.columns):
            control.value = ()  # first, or the browser marks options that are gone
            control.options = schema.modelled.names
        self.sensitive.value = [column.name for column in schema.sensitive]
        kept = self.column.value
        self.column.options = schema.names
        self.column.value = kept if kept in schema.names else schema.names[0]
        self._quiet = False
        self._show_kind()
        self._tell(self.about, views.summary(self.session))

    def _start(self) -> None:
        self._choose_generators()
        self.session.start()
        if self.view.value == "columns":
            self._set_view("card")
        self._follow()
        loop = asyncio.get_running_loop()
        # Imported while the worker is at work, so that no view waits for it.
        loop.run_in_executor(None, import_module, "seaborn")
        self._task = loop.create_task(self._attend())

    async def _attend(self) -> None:
        while self.session.poll():
            await asyncio.sleep(LOOK)

    def _cancel(self) -> None:
        self.session.cancel()
        self._follow()

    def _follow(self) -> None:
        """Show how far the worker is, and the views again when something has been finished."""
        # Called once a second: what has not changed is not sent to the browser again.
        steps = list(self.session.progress.values())
        self.run.disabled, self.cancel.disabled = self.session.busy, not self.session.busy
        lines = [
            (s.generator, s.seed, f"{s.phase} {s.detail}", f"{s.seconds:.1f} s", f"{s.rows:,}")
            for s in steps
        ]
        header = ("generator", "seed", "phase", "seconds", "rows")
        table = str(html_table(header, lines, "Progress", "progress")) if steps else ""
        if table != self.progress.value:
            self.progress.value = table
        done = [(s.generator, s.seed, s.phase) for s in steps if s.phase in ENDED]
        if (done, self.session.busy) != self._done:
            self._done = done, self.session.busy
            self._guarded(self._refresh)()

    _done: tuple = ()

    def _refresh(self) -> None:
        """What can be looked at now, the code, the ranking, and the view."""
        # Only what has finished can be looked at.
        names = list(dict.fromkeys(name for name, _ in self.session.finished))
        self._quiet = True
        kept = self.name.value, self.seed.value
        self.name.options, self.seed.options = names, self.session.seeds
        self.name.value = kept[0] if kept[0] in names else (names[0] if names else None)
        self.seed.value = kept[1] if kept[1] in self.session.seeds else self.session.seeds[0]
        self._quiet = False
        self._show_choice()
        ready = self.session.finished and not self.session.busy
        self.ranking.value = str(views.ranking(self.session)) if ready else ""
        self._show()

    def _show_choice(self) -> None:
        """The choice as code, and what it will take."""
        script = views.code(self.session, *self._looked_at(), self.columns.value)
        self.code.value = pieces().code(script, views.grid(self.session))
        self._tell(self.estimated, estimate.words(self.session))

    def _looked_at(self) -> tuple[str, int]:
        return self.name.value or "", self.seed.value or 0

    def _show(self) -> None:
        self.corrections.layout.display = "flex" if self.view.value == "columns" else "none"
        if self.view.value != "columns" and not self.session.finished:
            self.shown.value = pieces().paragraph("Nothing is measured yet: press Run.")
            return
        self._tell(self.drawing, "drawing ...")
        self.shown.value = self._drawn(*self._looked_at())
        self._show_choice()

    def _drawn(self, name: str, seed: int) -> str:
        if self.view.value == "card":
            return self.session.card(name, seed)._repr_html_()
        if self.view.value == "rows":
            return str(views.browse(self.session, name, seed))
        if self.view.value == "columns":
            return str(views.columns(self.session))
        return str(views.picture(self.session, self.view.value, name, seed, self.columns.value))

    def _export(self) -> None:
        # The script exports what is on the page, so both are given the same.
        looked = *self._looked_at(), self.columns.value
        self._tell(self.exported, "Writing tables and drawing figures ...")
        paths = views.export(self.session, self.folder.value, *looked, formula_safe=self.safe.value)
        names = ", ".join(path.name for path in paths)
        place = Path(self.session.root, self.folder.value)
        self._tell(self.exported, f"Written to {place}: {names}.")


def _whole_numbers(text: str) -> list[int]:
    """ "0, 3, 7-9" -> 0, 3, 7, 8, 9."""
    found: list[int] = []
    for part in text.replace(",", " ").split():
        span = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
        if not span:
            raise InputError(
                f"seeds hold {part!r}; write whole numbers, for example 0, 3, 7 or 0-4."
            )
        first, last = int(span[1]), int(span[2] or span[1])
        # One too many is enough to be refused: "0-999999999" must not become a list first.
        found += range(first, min(last, first + MOST_SEEDS) + 1)
    return found


def _wrapping() -> ipw.Layout:
    """One for each box: a layout that two share is hidden in both."""
    return ipw.Layout(flex_flow="row wrap", align_items="flex-start")


def _heading(text: str) -> ipw.HTML:
    return ipw.HTML(pieces().heading(text))


def _style() -> Markup:
    """The page's look, and the script that runs as soon as the sheet is in the page: ipywidgets has
    no other place for one.
    """
    sheet, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    # The sheet is ours, and escaped its selectors would mean nothing; the script stands in an
    # attribute, where it has to be escaped.
    return pieces().style(Markup(sheet), script)


def _control(kind: type, description: str, tooltip: str, **options) -> ipw.DOMWidget:
    """A labelled control with a tooltip, as wide as the others."""
    box, label = ipw.Layout(width="26rem", max_width="100%"), {"description_width": "9rem"}
    return kind(description=description, tooltip=tooltip, layout=box, style=label, **options)
