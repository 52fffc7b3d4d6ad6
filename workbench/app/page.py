"""The side-by-side page: ipywidgets over a Session. What is shown is made by `session` and
`exhibit`; this file lays it out.

    session = Session("loans")
    SideBySide(session)            # in JupyterLab, or alone through Voila

Every value that comes from a table is escaped. A mistake is one sentence on the page, never a
traceback.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import ipywidgets as ipw
from markupsafe import Markup

from workbench.app import views
from workbench.app.session import ENDED, LOOK, MOST_SEEDS, Session, choices
from workbench.errors import InputError
from workbench.generators import GENERATORS
from workbench.report.html import html_table
from workbench.tables.datasets import DATASETS

VIEWS = ("card", *views.FIGURES, "rows")
NONE = "(none)"
STYLE = """<style>
.wb-page{font:13px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;max-width:75rem}
.wb-page h2{font-size:15px;margin:10px 0 2px} .wb-page figure{margin:0;overflow-x:auto}
.wb-page .table{overflow-x:auto}
.wb-page .table,.wb-page .table table{background:none;border-collapse:collapse}
.wb-page .table :is(caption,td,th){text-align:left;padding:2px 12px 2px 0;overflow-wrap:anywhere;
  max-width:30rem}
.wb-page pre,.wb-page pre *{font:12px/1.35 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.wb-page pre{max-height:24rem;overflow:auto;border:1px solid #8884;padding:6px;
  white-space:pre-wrap;overflow-wrap:anywhere}
.wb-page button:focus-visible{outline:2px solid #0b57d0;outline-offset:2px}
.wb-page .widget-button.mod-primary{background:#0b57d0;color:#fff}
.wb-error{color:#b00020;font-weight:600}
</style>"""
CODE = Markup(
    '<h2>The same in Python</h2><button type="button" class="jupyter-button" title="Copy the script'
    ' to the clipboard"'
    ' onclick="navigator.clipboard.writeText(this.nextElementSibling.textContent)">Copy as'
    ' code</button><pre tabindex="0" role="region" aria-label="Python script of this'
    ' comparison">{}</pre><details><summary>As grid.toml, for a batch</summary><pre tabindex="0"'
    ' role="region" aria-label="grid.toml">{}</pre></details>'
)
SEVERAL = "Ctrl or Shift for several"
WRAP = ipw.Layout(flex_flow="row wrap", align_items="flex-start")


class SideBySide(ipw.VBox):
    """The page. Its controls are attributes, so that a test or a notebook can set them as a click
    does.
    """

    def __init__(self, session: Session):
        self.session = session
        self.table = _control(
            ipw.Combobox,
            "Table",
            "A dataset's name, or the path of your CSV or Parquet file",
            value=session.table,
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
        self.generators = _control(
            ipw.SelectMultiple,
            "Generators",
            f"What is compared; {SEVERAL}",
            rows=9,
            options=list(GENERATORS),
            value=list(session.generators),
        )
        self.seeds = _control(
            ipw.Text,
            "Seeds",
            f"Each is repeated with these, at most {MOST_SEEDS}: 0, 3, 7 or 0-4",
            value=", ".join(map(str, session.seeds)),
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
        self.everything = ipw.Checkbox(
            description="Measure everything (slower)",
            value=session.everything,
            indent=False,
            tooltip="Also classifier test, model ranking, gains, attribute attacks",
        )
        self.run = ipw.Button(
            description="Run", button_style="primary", tooltip="Fit, sample and score what is new"
        )
        self.cancel = ipw.Button(
            description="Cancel", disabled=True, tooltip="Stop at once; what is finished is kept"
        )
        self.told, self.taken, self.progress, self.code, self.shown = (ipw.HTML() for _ in range(5))
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
        self.view.tooltips = [
            "Report card with floor and ceiling",
            *(told for _, told in views.FIGURES.values()),
            "The rows",
        ]
        self.folder = _control(ipw.Text, "Folder", f"Inside {session.root.name}/", value="export")
        self.safe = ipw.Checkbox(
            description="Formula-safe CSV",
            indent=False,
            tooltip="A leading ' for text that a spreadsheet would run",
        )
        self.export = ipw.Button(
            description="Export",
            tooltip="grid.toml, script, scores and tables as CSV and LaTeX, SVG",
        )
        roles = [
            self.table,
            self.upload,
            self.target,
            self.sensitive,
            self.generators,
            self.seeds,
            self.params,
        ]
        start = ipw.VBox(
            [
                self.everything,
                ipw.HBox([self.run, self.cancel]),
                self.told,
                self.progress,
                self.code,
            ]
        )
        start.layout.flex = "1 1 24rem"
        super().__init__(
            [
                ipw.HTML(STYLE),
                ipw.HBox([ipw.VBox([_heading("Choose"), *roles]), start], layout=WRAP),
                _heading("Look"),
                ipw.HBox([ipw.VBox([self.name, self.seed]), self.columns], layout=WRAP),
                self.view,
                self.shown,
                _heading("Take along"),
                ipw.HBox([self.folder, self.safe, self.export], layout=WRAP),
                self.taken,
            ]
        )
        self.add_class("wb-page")

        self._task: asyncio.Task | None = None
        self._fill_columns()
        self.table.observe(self._guarded(self._choose_table), "value")
        self.upload.observe(self._guarded(self._take_upload), "value")
        for control in (self.target, self.sensitive):
            control.observe(self._guarded(self._choose_roles), "value")
        for control in (self.generators, self.seeds, self.params, self.everything):
            control.observe(self._guarded(self._choose_generators), "value")
        for control in (self.name, self.seed, self.columns, self.view):
            control.observe(self._guarded(self._show), "value")
        self.run.on_click(self._guarded(self._start))
        self.cancel.on_click(self._guarded(self._cancel))
        self.export.on_click(self._guarded(self._export, self.taken))
        session.watchers.append(self._follow)
        self._guarded(self._refresh)()

    def _guarded(self, action: Callable[[], None], place: ipw.HTML | None = None) -> Callable:
        """The action as a callback whose error is a sentence on the page, beside Run or in another
        place.
        """
        place = place or self.told

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

        return act

    _quiet = False  # while the page itself sets its controls

    def _tell(self, place: ipw.HTML, words: str, bad: bool = False) -> None:
        kind = Markup(' role="alert" class="wb-error"') if bad else Markup(' role="status"')
        place.value = Markup("<p{}>{}</p>").format(kind, words)

    def _choose_table(self) -> None:
        try:
            self.session.choose_table(self.table.value.strip())
        finally:
            self._fill_columns()
        self._refresh()

    def _choose_roles(self) -> None:
        target = None if self.target.value == NONE else self.target.value
        self.session.choose_table(self.session.table, target, self.sensitive.value)
        self._refresh()

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
        self._refresh()

    def _take_upload(self) -> None:
        if self.upload.value:
            file = self.upload.value[0]
            self.table.value = str(self.session.upload(file["name"], bytes(file["content"])))

    def _fill_columns(self) -> None:
        schema = self.session.data.schema
        declared = getattr(
            DATASETS.get(self.session.table), "target", None
        )  # `load` always gives such a table its target
        self._quiet = True
        self.table.value = self.session.table
        self.target.options = [*([] if declared else [NONE]), *schema.names]
        self.target.value = schema.target.name if schema.target else NONE
        for control in (self.sensitive, self.columns):
            control.value = ()  # first, or the browser marks options that are gone
            control.options = schema.modelled.names
        self.sensitive.value = [column.name for column in schema.sensitive]
        self._quiet = False

    def _start(self) -> None:
        self._choose_generators()
        self.session.start()
        self._follow()
        self._task = asyncio.get_running_loop().create_task(self._attend())

    async def _attend(self) -> None:
        while self.session.poll():
            await asyncio.sleep(LOOK)

    def _cancel(self) -> None:
        self.session.cancel()
        self._follow()

    def _follow(self) -> None:
        """Show how far the worker is, and the views anew when something has been finished."""
        steps = list(self.session.progress.values())
        self.run.disabled, self.cancel.disabled = self.session.busy, not self.session.busy
        lines = [
            (s.generator, s.seed, f"{s.phase} {s.told}", f"{s.seconds:.1f} s", f"{s.rows:,}")
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
        """What can be looked at now, the code, and the view."""
        names = list(dict.fromkeys(name for name, _ in self.session.finished))
        self._quiet = True
        kept = self.name.value, self.seed.value
        self.name.options, self.seed.options = names, self.session.seeds
        self.name.value = kept[0] if kept[0] in names else (names[0] if names else None)
        self.seed.value = kept[1] if kept[1] in self.session.seeds else self.session.seeds[0]
        self._quiet = False
        self._show()

    def _show(self) -> None:
        looked = self.name.value or "", self.seed.value or 0
        self.code.value = CODE.format(
            views.code(self.session, *looked, self.columns.value), views.grid(self.session)
        )
        if not self.session.finished:
            self.shown.value = Markup("<p>Nothing is measured yet: press Run.</p>")
            return
        self.shown.value = self._drawn(*looked)

    def _drawn(self, name: str, seed: int) -> str:
        if self.view.value == "card":
            return self.session.card(name, seed)._repr_html_()
        if self.view.value == "rows":
            return str(views.browse(self.session, name, seed))
        return str(views.picture(self.session, self.view.value, name, seed, self.columns.value))

    def _export(self) -> None:
        looked = self.name.value or "", self.seed.value or 0, self.columns.value
        self._tell(self.taken, "Writing tables and drawing figures ...")
        paths = views.export(self.session, self.folder.value, *looked, formula_safe=self.safe.value)
        names = ", ".join(path.name for path in paths)
        self._tell(self.taken, f"Written to {Path(self.session.root, self.folder.value)}: {names}.")


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
        found += range(
            first, min(last, first + MOST_SEEDS) + 1
        )  # one too many is enough to be refused
    return found


def _heading(text: str) -> ipw.HTML:
    return ipw.HTML(Markup("<h2>{}</h2>").format(text))


def _control(kind: type, description: str, tooltip: str, **options) -> ipw.DOMWidget:
    """A labelled control with a tooltip, as wide as the others."""
    box, label = ipw.Layout(width="26rem", max_width="100%"), {"description_width": "9rem"}
    return kind(description=description, tooltip=tooltip, layout=box, style=label, **options)
