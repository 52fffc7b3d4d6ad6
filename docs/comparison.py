"""Draw the figure of the README's first screen by running the lines that stand above it there.

python docs/comparison.py    # writes docs/comparison.svg

The test of the README runs the same lines.
"""

import re
from pathlib import Path

from workbench.report import plots

HERE = Path(__file__).parent


def first_block() -> str:
    """The README's first Python block, which ends with `figure` drawn."""
    return re.search(
        r"```python\n(.*?)```", (HERE.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )[1]


if __name__ == "__main__":
    names: dict = {}
    exec(first_block(), names)
    (HERE / "comparison.svg").write_text(plots.svg(names["figure"]), encoding="utf-8")
