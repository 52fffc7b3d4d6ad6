"""A page for each public name of `import workbench as wb`, and an index of them.

    python docs/names.py    # writes docs/names/, as every build of the documentation does

What a page says stands in the name's docstring: parameters, what comes back, what is raised, an example.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import workbench as wb

# In the order in which a reader needs them.
ORDER = [
    "load",
    "inspect",
    "Dataset",
    "Schema",
    "Column",
    "generate",
    "evaluate",
    "combine",
    "audit",
]
ORDER += ["Trial", "Row", "InputError"]
# What comes back from a function of the list, and has no name of its own in `wb`.
RESULTS = {
    "evaluate": "workbench.metrics.card.Card",
    "inspect": "workbench.tables.inspection.Inspection",
    "audit": "workbench.auditing.audit.Audit",
}
PAGE = """# wb.{name}

```{{eval-rst}}
.. auto{kind}:: {home}.{name}
{members}
```
"""
RESULT = """
## What it returns

```{{eval-rst}}
.. autoclass:: {where}
   :members:
```
"""


def first_sentence(name: str) -> str:
    """The docstring's first sentence, on one line."""
    text = " ".join(inspect.getdoc(getattr(wb, name)).split("\n\n")[0].split())
    return text.removesuffix(".") + "."


def page(name: str) -> str:
    value = getattr(wb, name)
    kind = "function"
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, Exception) else "class"
    # A class that people only catch has no members worth a page.
    members = "   :members:" if kind == "class" else ""
    text = PAGE.format(name=name, kind=kind, home=wb._EXPORTS[name], members=members)
    if name in RESULTS:
        text += RESULT.format(where=RESULTS[name])
    return text


def index() -> str:
    lines = ["# Names of `wb`", "", "`import workbench as wb` gives these names.", ""]
    lines += ["| name | what it does |", "|---|---|"]
    lines += [f"| [`wb.{name}`]({name}.md) | {first_sentence(name)} |" for name in ORDER]
    lines += ["", "```{toctree}", ":hidden:", "", *ORDER, "```"]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """One page a name and an index of them."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for name in ORDER:
        (folder / f"{name}.md").write_text(page(name), encoding="utf-8")
    (folder / "index.md").write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent / "names")
