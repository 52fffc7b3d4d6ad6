"""A notebook that is executed into one HTML page which opens offline."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from workbench.batch import results
from workbench.batch.keys import NOTEBOOKS
from workbench.errors import InputError

NOTEBOOK = NOTEBOOKS / "report.ipynb"


def report(folder: str | Path) -> Path:
    """Write FOLDER/index.html (and the executed FOLDER/report.ipynb) from whatever its batch has
    finished; return its path.

    Raises InputError where the folder holds no cells yet or cannot be written.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds a grid.toml.")
    title = f"{results.plan(folder).get('title') or folder.name}: synthetic tables measured"
    return publish(NOTEBOOK, {"folder": str(folder)}, folder, title, page="index.html")


def publish(
    notebook: Path,
    parameters: dict[str, object],
    folder: Path,
    title: str,
    page: str,
    progress: bool = False,
) -> Path:
    """Run a notebook by papermill into FOLDER, and what it shows into FOLDER/page; return the
    page's path.

    Both files appear when they are whole. Raises the notebook's own InputError, and one where
    FOLDER cannot be written.
    """
    import nbformat
    import papermill

    try:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as scratch,
            tempfile.TemporaryDirectory() as sockets,
        ):
            executed, html = Path(scratch, notebook.name), Path(scratch, page)
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters,
                kernel_name="python3",
                kernel_manager_class=_kernel(sockets),
                progress_bar=progress,
            )
            html.write_text(to_html(nbformat.read(executed, as_version=4), title), encoding="utf-8")
            for made in (executed, html):
                os.replace(made, folder / made.name)
    except papermill.PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(error.evalue) from None
        raise
    except PermissionError as error:
        raise InputError(
            f"{folder} is not writable ({error.strerror}); give a folder that is."
        ) from None
    return folder / page


def _kernel(folder: str) -> type:
    """Kernels of this very environment that listen on sockets in `folder`: no port that others
    could take or hear.
    """
    from jupyter_client.manager import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        def __init__(self, **settings):
            super().__init__(**settings | {"transport": "ipc", "ip": str(Path(folder, "kernel"))})
            self.kernel_spec.argv[0] = sys.executable

    return Kernel


def to_html(notebook, title: str, language: str = "en") -> str:
    """An executed notebook (a NotebookNode) as one standalone HTML text: prose and results without
    code, styles inside.

    The page's policy lets a browser run one script, report.js, by its hash, and load nothing.
    """
    from nbconvert import HTMLExporter

    template, script = (
        (Path(__file__).parent / name).read_text(encoding="utf-8")
        for name in ("templates/report.html.j2", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = {
        "title": title,
        "language": language,
        "script": script,
        "script_hash": f"sha256-{digest}",
    }
    exporter = HTMLExporter(
        raw_template=template, mathjax_url="", require_js_url="", exclude_anchor_links=True
    )
    return exporter.from_notebook_node(notebook, resources={"page": page})[0]


def page_of(title: str, parts: Iterable[Markup | str]) -> str:
    """The same kind of page without a notebook: Markdown texts and pieces of HTML, in this order."""
    from nbformat import v4

    cells = [
        v4.new_code_cell(outputs=[v4.new_output("display_data", {"text/html": str(part)})])
        if isinstance(part, Markup)
        else v4.new_markdown_cell(part)
        for part in parts
    ]
    return to_html(v4.new_notebook(cells=cells), title)
