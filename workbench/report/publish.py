"""A notebook that is executed into one HTML page which opens offline."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from pkgutil import resolve_name

from markupsafe import Markup

from workbench.batch.folder import CHECKED, Folder, explained
from workbench.batch.kernels import isolated
from workbench.batch.keys import NOTEBOOKS
from workbench.batch.results import Results, opened
from workbench.errors import InputError
from workbench.files import MOST_PARTS, Damaged, import_nbformat, read_own, write_text

NOTEBOOK = NOTEBOOKS / "report.ipynb"
MOST_PAGE = 64e6  # bytes of a page that are read to check it
SEAL = ("<!-- sha256 of all above: ", " -->\n")


def report(folder: str | Path, home: Folder | Results | None = None) -> Path:
    """Write FOLDER/index.html (and the executed FOLDER/report.ipynb) from whatever its batch has
    finished, or from published results alone; return its path.

    home: the same folder where somebody has looked at it already, by its resolved path. Raises
    InputError where the folder holds no cells yet or cannot be written.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds a grid.toml.")
    home = home or opened(folder)
    title = f"{home.title}: synthetic tables measured"
    return publish(NOTEBOOK, {"folder": str(folder)}, folder, title, page="index.html", home=home)


def section_makers() -> list[Callable]:
    """The functions that the report's notebook calls, in the page's order: each takes a Batch.

    The notebook is the one list of sections, so a new cell in it is measured and tested too.
    """
    code = [
        cell["source"]
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    calls = re.findall(r"^(\w+)\.(\w+)\(batch\)$", "\n".join(map("".join, code)), re.M)
    return [resolve_name(f"workbench.report.{module}:{name}") for module, name in calls]


def page_faults(home: Folder | Results, rows: bool = True) -> list[str]:
    """One sentence for each way in which a folder's page is not the one that was written from its
    rows; none where it has no page.

    rows: also where it is the one that was written, but from other rows.
    """
    faults = []
    checks = {"index.html": _page_is_sealed, NOTEBOOK.name: _notebook_is_sealed}
    there = [name for name in checks if os.path.lexists(home.path / name)]
    for name, check in checks.items():
        if name not in there:
            if there:  # they are written together
                faults.append(f"{name} is missing; write it again: workbench report")
            continue
        try:
            text = read_own(home.path / name, int(MOST_PAGE)).decode("utf-8")
        except (Damaged, UnicodeDecodeError) as error:
            faults.append(f"{name} is not the one that was written: {error}")
            continue
        if not check(text):
            faults.append(f"{name} was changed after it was written from the rows")
        elif rows and home.rows_digest() not in text:
            faults.append(f"{name} was written from other rows; write it again: workbench report")
    return faults


def _page_is_sealed(text: str) -> bool:
    above, mark, rest = text.rpartition(SEAL[0])
    return mark + rest == _seal(above)


def _notebook_is_sealed(text: str) -> bool:
    if sum(map(text.count, ",[{")) > MOST_PARTS:
        return False
    try:
        found = json.loads(text)
        seal = found["metadata"].pop("workbench")["sha256"]
        rows = json.loads(text)["metadata"]["workbench"]["rows"]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return False
    return seal == _notebook_digest(found) and text == _sealed_notebook(found, rows)


def _notebook_digest(found: dict) -> str:
    text = json.dumps(found, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sealed_notebook(found: dict, rows: str) -> str:
    """A notebook's text with the digest of its rows, and that of all else in it."""
    seal = {"rows": rows, "sha256": _notebook_digest(found)}
    whole = found | {"metadata": found["metadata"] | {"workbench": seal}}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _seal(text: str) -> str:
    """The end of a page: the sha256 of all before it."""
    return f"{SEAL[0]}{hashlib.sha256(text.encode()).hexdigest()}{SEAL[1]}"


def publish(
    notebook: Path,
    parameters: dict[str, object],
    folder: Path,
    title: str,
    page: str,
    progress: bool = False,
    home: Folder | Results | None = None,
) -> Path:
    """Run a notebook by papermill into FOLDER, and what it shows into FOLDER/page; return the
    page's path.

    The notebook runs in an empty folder: nothing that lies in FOLDER, or where the command was
    given, is imported; paths among the parameters are absolute. home: the report folder whose rows
    the page is made from: its cells are not checked again in the kernel, and both files carry the
    digest of the rows and the sha256 of their own text. Both files appear when they are whole.
    Raises the notebook's own InputError, and one where FOLDER cannot be written.
    """
    nbformat = import_nbformat()
    import papermill

    try:
        with explained(folder), tempfile.TemporaryDirectory(prefix="workbench-page-") as scratch:
            # A folder that cannot be written is said before the page is computed, not after it.
            tempfile.TemporaryFile(dir=folder).close()
            empty = str(Path(scratch, "empty"))
            os.mkdir(empty)
            rows = home.rows_digest() if home else ""
            more = {}
            if home:
                more[CHECKED] = str(Path(scratch, "checked.json"))
                write_text(Path(more[CHECKED]), home.checked())
            # Given as text, not as a path: papermill takes braces in a path for its parameters.
            executed = papermill.execute_notebook(
                nbformat.read(notebook, as_version=4),
                None,
                parameters,
                kernel_name="python3",
                kernel_manager_class=_kernel(scratch, more),
                cwd=empty,
                progress_bar=progress,
            )
            places = {str(Path.cwd()): ".", str(folder): ".", empty: ".", scratch: "."}
            executed = _without_paths(executed, places)
            html = to_html(executed, title, rows=rows)
            text = nbformat.writes(executed)
            if rows:
                html += _seal(html)
                text = _sealed_notebook(json.loads(text), rows)
            for name, content in ((notebook.name, text), (page, html)):
                write_text(folder / name, content)
    except papermill.PapermillExecutionError as error:
        if error.ename in ("InputError", "Damaged"):
            raise InputError(error.evalue) from None
        raise
    return folder / page


def _without_paths(notebook, places: dict[str, str]):
    """The notebook without the reader's absolute paths: it is sent on with the report."""
    nbformat = import_nbformat()

    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
    text = nbformat.writes(notebook)
    # The longest first: one may be the beginning of another.
    known = places | {sys.prefix: "(environment)", str(Path.home()): "~"}
    for place in sorted(known, key=len, reverse=True):
        if len(place) > 1:
            written = re.escape(json.dumps(place, ensure_ascii=False)[1:-1])
            # Whole names only: /tmp/a is no part of /tmp/ab.
            text = re.sub(rf"(?<![\w.-]){written}(?![\w-])", known[place], text)
    return nbformat.reads(text, as_version=4)


def _kernel(scratch: str, more: Mapping[str, str]) -> type:
    """Kernels of this very environment that listen on sockets in `scratch`: no port that others
    could take or hear. They import nothing from the working directory, and read no configuration of
    the user's. more: further environment variables.
    """
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        def __init__(self, **settings):
            super().__init__(**settings | {"transport": "ipc", "ip": str(Path(scratch, "kernel"))})
            module = ["-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            self.kernel_spec.argv = [sys.executable, *module]
            more_here = {"IPYTHONDIR": str(Path(scratch, "ipython")), **more}
            self.kernel_spec.env = isolated(os.environ) | more_here

    return Kernel


def to_html(notebook, title: str, language: str = "en", rows: str = "") -> str:
    """An executed notebook (a NotebookNode) as one standalone HTML text: prose and results without
    code, styles inside.

    The page's policy lets a browser run one script, report.js, by its hash, and load nothing.
    """
    from nbconvert import HTMLExporter, TemplateExporter

    template, script, style = (
        (Path(__file__).parent / name).read_text(encoding="utf-8")
        for name in ("templates/report.html.j2", "page.js", "page.css")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = {
        "title": title,
        "language": language,
        "script": script,
        "style": style,
        "groups": any("group" in cell.metadata.get("tags", []) for cell in notebook.cells),
        "script_hash": f"sha256-{digest}",
        "rows": rows,
    }
    exporter = HTMLExporter(
        raw_template=template,
        mathjax_url="",
        require_js_url="",
        exclude_anchor_links=True,
        # Otherwise it takes templates, and what they import, from the working directory.
        extra_template_basedirs=[],
    )
    # HTMLExporter's own way would parse the finished page, for a fifth of all its seconds, to give
    # images a text: ours have one.
    html, _ = TemplateExporter.from_notebook_node(exporter, notebook, resources={"page": page})
    return html


def page_of(title: str, parts: Iterable[Markup | str]) -> str:
    """The same kind of page without a notebook: Markdown texts and pieces of HTML, in this order."""
    v4 = import_nbformat().v4

    cells = [
        (
            v4.new_code_cell(outputs=[v4.new_output("display_data", {"text/html": str(part)})])
            if isinstance(part, Markup)
            else v4.new_markdown_cell(part)
        )
        for part in parts
    ]
    return to_html(v4.new_notebook(cells=cells), title)
