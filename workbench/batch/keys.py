"""What a cell's numbers depend on besides its inputs: the source files it really uses, library
versions, the machine.

`uses` follows import statements from the cell's notebook and generator without running anything, so
editing one generator's file changes that generator's cells alone.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata, util
from pathlib import Path
from threading import Lock

import workbench

PACKAGE = Path(workbench.__file__).parent
# In a checkout a link to the folder at its top; installed, a folder.
NOTEBOOKS = PACKAGE / "notebooks"
_PARSER = Lock()  # Python 3.11 may lose count of its recursion where two threads parse at once
# Every cell computes with these and writes Parquet by pyarrow, whatever its own imports are.
ALWAYS = ("numpy", "pandas", "pyarrow", "scipy", "sklearn")
# Drawing and progress change no number. A cell's data and schema are in its key by their values, so
# how they were read is not; how rows are named and written is in `grid.FORMAT`; how they are shown
# changes none.
NO_NUMBERS = {"matplotlib", "seaborn", "tqdm", "IPython"}
NOT_FOLLOWED = {
    "workbench",
    *(
        f"workbench.{name}"
        for name in (
            "tables.datasets",
            "batch.folder",
            "batch.keys",
            "metrics.card",
            "metrics.rows",
            "words",
        )
    ),
}
# Registries: an entry added for one generator does not touch another's cells.
TABLES = {"workbench.generators": "GENERATORS"}


def digest(data: bytes | str) -> str:
    """sha256 in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def uses(
    code: Iterable[str],
    modules: Iterable[str] = (),
    read: dict[str, tuple[str, list[str]] | None] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """What `code` (Python texts) and `modules` import, over any number of steps inside this
    package.

    read: keeps the modules that were read from one call to the next, of one plan say, whose
    generators import much the same.

    Returns the package's modules with the sha256 of their sources, and the other packages' modules
    by dotted name.
    """
    # A walk over import statements: nothing is imported, so no plug-in runs.
    found, others, todo = {}, set(), [*modules]
    for text in code:
        todo += _imports(text)
    # A module is imported by many others: to look for its file each time is what planning would take
    # longest for.
    known = set()
    read = {} if read is None else read
    while todo:
        name = todo.pop()
        if name in known:
            continue
        known.add(name)
        if name.split(".")[0] != "workbench":
            others.add(name)
        # A package's __init__ runs when one of its modules is imported, so it counts too.
        elif name not in NOT_FOLLOWED:
            if name not in read:
                path = _path(name)
                read[name] = _read_module(name, path) if path else None
            if module := read[name]:
                found[name], imported = module
                todo += [*imported, *name.rpartition(".")[:1]]
    outside = {name for name in others if name.split(".")[0] not in sys.stdlib_module_names}
    return dict(sorted(found.items())), sorted(outside)


def source_hash(name: str) -> str:
    """sha256 of one of the package's modules as `uses` gives it, "" where there is no such module."""
    path = _path(name)
    return _read_module(name, path)[0] if path else ""


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the distributions that the dotted names come from; drawing
    libraries left out.
    """
    return dict(
        _versions(frozenset(name.split(".")[0] for name in [*ALWAYS, *modules]) - NO_NUMBERS)
    )


@cache
def _versions(tops: frozenset[str]) -> dict[str, str]:
    # By distribution: one may bring several modules.
    names = {distribution for top in tops for distribution in _distributions().get(top, [])}
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in sorted(names)
    }


def fingerprint(threads: int) -> dict[str, object]:
    """What decides the last bits of a sum beside versions: threads, machine architecture, vector
    instruction set.
    """
    return {"threads": threads, "machine": platform.machine(), "instructions": _cpu()[1]}


def machine() -> dict[str, str]:
    """What a cell records of the machine that it ran on; its name becomes eight digits, because
    reports are sent on.
    """
    return {
        "host": digest(platform.node())[:8],
        "cpu": _cpu()[0],
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
    }


@cache
def _cpu() -> tuple[str, str]:
    """The processor's name and its vector instructions, such as "avx avx2 fma"."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    # "flags" on x86, "Features" on ARM.
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    vector = re.compile(r"(sse4_|avx|fma|amx|asimd|sve)")
    return (
        name[1] if name else platform.machine(),
        " ".join(sorted(flag for flag in flags[1].split() if vector.match(flag))) if flags else "",
    )


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _path(name: str) -> Path | None:
    parts = name.split(".")[1:]
    for path in (
        PACKAGE.joinpath(*parts).with_suffix(".py"),
        PACKAGE.joinpath(*parts, "__init__.py"),
    ):
        if parts and path.is_file():
            return path
    return None


def _read_module(name: str, path: Path) -> tuple[str, list[str]]:
    # The registry's own table is left out: a new entry must not make all cells old.
    text = path.read_text(encoding="utf-8")
    imported = [*_imports(text)]
    if name in TABLES:
        text = _without(text, TABLES[name])
    # Their modules are imported by the names in their tables.
    if name in (
        "workbench.metrics",
        "workbench.simulators",
    ):
        imported += re.findall(r'"(workbench\.(?:metrics|simulators)\.\w+):\w+"', text)
    return digest(text), imported


def _parse(text: str) -> ast.Module:
    with _PARSER:
        return ast.parse(text)


@cache
def _without(text: str, table: str) -> str:
    for node in _parse(text).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == table for target in targets):
            lines = text.splitlines()
            return "\n".join(lines[: node.lineno - 1] + lines[node.end_lineno :])
    return text


@cache
def _imports(text: str) -> list[str]:
    """Dotted names of everything imported anywhere in `text`, except for type checkers."""
    names: list[str] = []
    # Imports inside functions count as much as those at the top.
    todo: list[ast.AST] = [_parse(text)]
    while todo:
        node = todo.pop()
        test = getattr(node, "test", None)
        if isinstance(node, ast.If) and getattr(test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            exports = workbench._EXPORTS if node.module == "workbench" else {}
            for alias in node.names:
                name = exports.get(alias.name, f"{node.module}.{alias.name}")
                if name.startswith("workbench.") or _is_module(name):
                    names.append(name)
        todo += list(ast.iter_child_nodes(node))
    return names


@cache
def _is_module(name: str) -> bool:
    """Whether `from package import name` imports a module, asked without importing anything but
    parents already loaded.
    """
    # "from pandas import DataFrame" names a class, "from scipy import stats" a module.
    package, _, last = name.rpartition(".")
    try:
        spec = util.find_spec(package) if "." not in package else None
    except (ImportError, ValueError):
        return False
    locations = spec.submodule_search_locations if spec else None
    return any(
        Path(place, last + ending).exists()
        for place in locations or ()
        for ending in (".py", "/__init__.py")
    )
