"""HTML from templates: macros of Jinja that escape every value which is not markup already."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


@cache
def macros(template: str) -> Any:
    """The macros of a template of this package, by its path, such as "metrics/card.html.j2".

    Autoescape is on for all of them: names, notes and labels come from other people's tables.
    """
    # Imported here: most commands write no HTML, and `import workbench` is to stay quick.
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template(template).module
