"""A page for each generator, made from its registry entry, its docstrings, the published rows of
results/benchmark, and benchmarks/methods.jsonl.

    python docs/cards.py    # writes docs/methods/, as every build of the documentation does

Idea, paper, what a method keeps and what it misses stand in its module's docstring;
hyper-parameters are its class's fields. Both are set by autodoc, so that no page repeats what the
code says.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import benchmark
from decision import table

from workbench.generators import GENERATORS, Entry

RECORD = Path(__file__).parents[1] / "benchmarks" / "methods.jsonl"
COLUMNS = {  # heading -> keys of the record, the first one that is there
    "shape error %": ["shape"],
    "trend error %": ["trend"],
    "utility": ["auc", "rmse"],
    "closer to train": ["closer"],
    "membership AUC": ["membership"],
    "fit, CPU s": ["fit"],
    "sample, CPU s": ["sample"],
    "peak MB": ["mb"],
}
DIGITS = {"shape": 2, "copies": 4, "trend": 2, "fit": 2, "sample": 2, "mb": 0}  # all others: three
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
    record = [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]
    for name, entry in GENERATORS.items():
        measured = [row for row in record if row["generator"] == name]
        (folder / f"{name}.md").write_text(card(name, entry, measured), encoding="utf-8")
    (folder / "index.md").write_text(index(), encoding="utf-8")


def card(name: str, entry: Entry, measured: list[dict]) -> str:
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
        "## On larger tables",
        results(measured),
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
    return f"{lines}\n\n{about}"


def results(measured: list[dict]) -> str:
    """The record's lines as a table; what the columns mean, and every other method, is on one page."""
    if not measured:
        return "Not in this record: see [the measurements](../generators.md) for what it holds."
    lines = [["table", "settings", *COLUMNS]]
    for row in measured:
        settings = ", ".join(f"{key}={value}" for key, value in row["params"].items()) or "defaults"
        lines.append([row["dataset"], settings, *(cell(row, keys) for keys in COLUMNS.values())])
    about = (
        "One seed. Held-out utility is the ROC AUC, for beijing_pm25 the RMSE. [All methods side by"
        " side](../generators.md)."
    )
    return f"{table(lines)}\n\n{about}"


def cell(row: dict, keys: list[str]) -> str:
    """A reading with as many digits as every other of its column."""
    key = next((key for key in keys if row.get(key) is not None), None)
    if key is None:
        return "–"
    return f"{row[key]:.{DIGITS.get(key, 3)}f}"


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
