"""A page for each generator, made from its registry entry, its docstrings and the published rows of
results/benchmark.

    python docs/cards.py    # writes docs/methods/, as every build of the documentation does

Idea, paper, what a method keeps and what it misses stand in its module's docstring;
hyper-parameters are its class's fields. Both are set by autodoc, so that no page repeats what the
code says.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import benchmark
import measured

from workbench.generators import GENERATORS, Entry

SUPPORTS = {
    "conditions": "Meets some conditions (`where`) by itself; rejection makes all of them exact.",
    "seconds": "Takes a budget in seconds.",
    "epsilon": (
        "Differentially private: `epsilon` is its budget, and the fitted generator's `guarantee`"
        " says what it covers."
    ),
}


def write(folder: Path) -> None:
    """One page a generator and an index of them, by family."""
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.md"):
        page.unlink()
    for name, entry in GENERATORS.items():
        (folder / f"{name}.md").write_text(card(name, entry), encoding="utf-8")
    (folder / "index.md").write_text(index(), encoding="utf-8")


def card(name: str, entry: Entry) -> str:
    module, _, class_name = entry.where.partition(":")
    generator = f"{entry.load().__module__}.{class_name}"
    facts = [
        f"**Name in a grid** `{name}`",
        f"**Family** {entry.family}",
        f"**Source** {entry.source}",
    ]
    facts += [SUPPORTS[word] for word in entry.supports]
    if "conditions" not in entry.supports:
        facts.append(
            "Meets conditions (`where`) by rejection alone: a rare condition costs many rows."
        )
    parts = [
        f"# {entry.title}",
        "\n".join(f"- {fact}" for fact in facts),
        "## Idea, what it keeps, what it misses",
    ]
    parts += [
        directive("automodule", module, "no-members", "no-index"),
        "## In the benchmark",
        benchmarked(name),
    ]
    return (
        "\n\n".join(
            [
                *parts,
                "## Hyper-parameters",
                directive("autoclass", generator, "members"),
            ]
        )
        + "\n"
    )


def directive(kind: str, what: str, *options: str) -> str:
    return "\n".join(
        ["```{eval-rst}", f".. {kind}:: {what}", *(f"   :{option}:" for option in options), "```"]
    )


def benchmarked(name: str) -> str:
    """The benchmark's readings of a generator, with their intervals over the seeds."""
    lines = benchmark.of_generator(name)
    if not lines:
        return "Not among the benchmark's finished cells yet: [what is](../benchmark.md)."
    about = (
        "Means over seeds with 95% intervals. What the columns mean, and floor and ceiling of each:"
        " [the benchmark](../benchmark.md)."
    )
    errors = (
        "Errors as SDMetrics defines them, how close the rows lie to train, and what they cost:"
        " [all generators side by side](../generators.md)."
    )
    return f"{lines}\n\n{about}\n\n{measured.of_generator(name)}\n\n{errors}"


def index() -> str:
    parts = [
        "# Method cards",
        (
            "A page for each generator: idea, source, what it keeps and misses, cost, measured"
            " results."
        ),
    ]
    family = lambda pair: pair[1].family  # noqa: E731
    for title, members in groupby(GENERATORS.items(), key=family):
        pages = "\n".join(name for name, _ in members)
        parts.append(f"```{{toctree}}\n:caption: {title}\n\n{pages}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write(Path(__file__).parent / "methods")
