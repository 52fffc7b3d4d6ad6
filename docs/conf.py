"""Sphinx: pages of Markdown and executed notebooks, a reference made from the docstrings. Nothing
is executed or fetched.
"""

import gc
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

# Nodes of documents point at each other and live to the end: looking for rubbish among them took a
# sixth of a build. Without it a build needs 1.2 GB of memory instead of 0.9.
gc.disable()

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import cards  # noqa: E402
import names  # noqa: E402

from workbench.files import import_nbformat  # noqa: E402

import_nbformat()  # before myst_nb does, for whom it would take two seconds

project, author, language = "workbench", "the workbench's contributors", "en"
version = release = version_of("synthetic-workbench")
copyright = "the workbench's contributors, MIT"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme, html_title = "furo", "workbench"
html_show_sphinx = False
html_static_path, html_js_files, html_css_files = ["_static"], ["scrollable.js"], ["wide.css"]
html_show_search_summary = False  # a page opened from disk may not fetch the others
default_role = "code"

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make gallery` executes
nb_ipywidgets_js = {}  # by default from another host
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
python_use_unqualified_type_names = True

GALLERY = """# Gallery

The numbered notebooks, executed. Open one yourself with `make lab`.

```{{toctree}}
:maxdepth: 1

{}
```
"""
# The entry of it in index.md, as it stands there.
LISTED = """```{toctree}
:caption: Lessons, executed
:hidden:
:maxdepth: 1

gallery/index
```
"""
_ALIGNED = re.compile(r"^(\S.*?) {2,}(\S.*)$")


def _lines(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text: names set apart by spaces from what they mean stay lines of their
    own.
    """
    # An example of an address is no link.
    text = re.sub(r"[\"']?(tcp://[A-Z:0-9]+)[\"']?", r"``\1``", "\n".join(lines))
    blocks, out = text.split("\n\n"), []
    for block in blocks:
        rows = block.split("\n")
        if sum(bool(_ALIGNED.match(row.strip())) for row in rows) >= 2:
            rows = [
                f"| {row}" if _ALIGNED.match(row.strip()) else f"  {row}"
                for row in (row.strip() for row in rows)
            ]
        elif (
            block.strip()
            and all(row.startswith("    ") for row in rows if row)
            and not rows[0].strip().startswith((">>>", "- ", ".."))
        ):
            rows = ["::", "", *rows]
        out += [*rows, ""]
    lines[:] = out


def _gallery(folder: Path) -> None:
    """An entry for the executed notebooks, where `make gallery` has made some."""
    executed = sorted(path.stem for path in folder.glob("*.ipynb"))
    (folder / "index.md").unlink(missing_ok=True)
    if executed:
        text = GALLERY.format("\n".join(executed))
        (folder / "index.md").write_text(text, encoding="utf-8")


def _without_gallery(app, docname: str, source: list[str]) -> None:
    """The index lists the gallery where there is one: an entry without a page is a warning."""
    if docname == "index" and not (HERE / "gallery" / "index.md").exists():
        source[0] = source[0].replace(LISTED, "")


def _levels(app, pagename, templatename, context, doctree) -> None:
    """Captions of the navigation are headings; a heading needs a level to be read out."""
    tree = context.get("furo_navigation_tree")
    if tree:
        context["furo_navigation_tree"] = tree.replace(
            'role="heading"', 'role="heading" aria-level="2"'
        )


def setup(app) -> None:
    cards.write(HERE / "methods")
    names.write(HERE / "names")
    (HERE / "gallery").mkdir(exist_ok=True)
    _gallery(HERE / "gallery")
    app.connect("source-read", _without_gallery)
    app.connect("autodoc-process-docstring", _lines)
    # Furo makes its tree at priority 500.
    app.connect("html-page-context", _levels, priority=900)
