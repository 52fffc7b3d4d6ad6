"""Sphinx: pages of Markdown and executed notebooks, a reference made from the docstrings. Nothing
is executed or fetched.
"""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import cards  # noqa: E402

project, author, language = "workbench", "the workbench's contributors", "en"
version = release = version_of("synthetic-workbench")
copyright = "the workbench's contributors, MIT"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme, html_title = "furo", "workbench"
html_show_sphinx = False
default_role = "code"

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make gallery` executes
nb_ipywidgets_js = {}  # by default from another host
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

GALLERY = """# Gallery

The numbered notebooks, executed. They are here when the pages were built by `make gallery`, which runs them first; `make docs`
alone builds without them. Open one yourself with `make lab`.

```{{toctree}}
:maxdepth: 1

{}
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


def setup(app) -> None:
    cards.write(HERE / "methods")
    (HERE / "gallery").mkdir(exist_ok=True)
    executed = sorted(path.stem for path in (HERE / "gallery").glob("*.ipynb"))
    (HERE / "gallery" / "index.md").write_text(
        GALLERY.format("\n".join(executed)), encoding="utf-8"
    )
    app.connect("autodoc-process-docstring", _lines)
