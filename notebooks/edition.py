"""The lessons for a class: with every solution in its answer cell, or without solutions.

python notebooks/edition.py instructor OUT
python notebooks/edition.py student OUT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
SOLUTION = re.compile(
    r"<details><summary>Solution</summary>\n(?P<text>.*?)</details>\n*", re.DOTALL
)
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
ANSWER = re.compile(r"^(answer|secret|dollars|cold) = None\b.*$", re.MULTILINE)


def solution_code(text: str, name: str) -> str:
    """The code of a solution: its block, or what stands first between backticks."""
    block = BLOCK.search(text)
    if block:
        return block.group(1).rstrip()
    inline = INLINE.search(text)
    if inline is None:
        raise ValueError(f"a solution without code: {text[:60]!r}")
    return f"{name} = {inline.group(1)}"


def instructor(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with each answer filled in from the solution below it."""
    cells = notebook.cells
    for place, cell in enumerate(cells):
        open_answer = ANSWER.search(cell.source)
        if cell.cell_type != "code" or open_answer is None:
            continue
        below = next(later for later in cells[place + 1 :] if SOLUTION.search(later.source))
        text = SOLUTION.search(below.source).group("text")
        code = solution_code(text, open_answer.group(1))
        # The solution stands right before the check, after what the cell computes for it.
        before, after = cell.source.split("check(", 1)
        before = ANSWER.sub("", before).strip()
        cell.source = "\n".join(part for part in (before, code, "check(" + after) if part)
    return notebook


def student(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without solutions."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = SOLUTION.sub("", cell.source).strip()
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    return notebook


EDITIONS = {"instructor": instructor, "student": student}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in EDITIONS:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("[0-9]*.ipynb")):
        notebook = EDITIONS[arguments[0]](nbformat.read(path, as_version=4))
        nbformat.write(notebook, folder / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
