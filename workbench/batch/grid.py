"""grid.toml -> cells, each with the key of everything its numbers depend on.

    title = "Loans"
    seeds = [0, 1, 2]
    splits = [0]                   # seeds of the split into train and test; 0 keeps a published one
    draws = 1                      # synthetic tables a seed: fitted alike, sampled from other
                                   streams; or [0, 1] by number
    rows = 1000                    # synthetic rows a cell; as many as the generator was fitted on
                                   where left out
    threads = 1                    # threads a cell; more cells at a time beat more threads a cell

    [[datasets]]
    name = "loans"                 # a name, or path = "mine.csv" (seen from this file), target =
                                   "y", sensitive = ["sex"] # constraints = ["start <= end",
                                   ["city", "country"]]: kept in every synthetic row
                                   # analysis = "approve ~ race + income": the regression whose
                                   coefficients are held against the real ones
                                   # keys = ["age", "town"]: what somebody might know of a person,
                                   whose disclosure is measured

    [[generators]]
    name = "ctgan"                 # a name, or a plug-in "./my_generator.py:MyGenerator" (seen from
                                   this file)
    params = { epochs = 300 }
    label = "ctgan, long"          # what reports call it
    kernel = "peer-env"            # the Jupyter kernel that fits and samples it, where its
                                   dependencies conflict with ours

    [limits]                       # of each cell, all its processes together
    seconds = 600                  # CPU seconds, which other work on the machine does not stretch
    wall_seconds = 6000            # of the clock; ten times `seconds` where left out
    memory_mb = 2000
    retries = 0                    # further attempts after an error, a timeout or too much memory

`datasets = ["loans"]` and `generators = ["cart", "copy"]` are short for tables with a name only.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from workbench.batch import keys
from workbench.batch.peers import kernel_spec
from workbench.errors import InputError, nearest
from workbench.files import Lines, check_toml, plain, quote, read_given, read_toml
from workbench.generators import GENERATORS
from workbench.generators import make as make_generator
from workbench.tables.catalog import DATASETS

MOST_CELLS = 200_000  # of one grid
NOTEBOOK = keys.NOTEBOOKS / "cell.ipynb"
FORMAT = (
    2  # of a key's document; raised when what a cell does changes in a way its sources do not show
)

TOP = {
    "title": str,
    "seeds": list,
    "splits": list,
    "draws": object,
    "rows": int,
    "threads": int,
    "limits": dict,
}
TOP |= {"datasets": list, "generators": list}
DATASET = {
    "name": str,
    "path": str,
    "target": str,
    "sensitive": list,
    "kinds": dict,
    "constraints": list,
    "metadata": str,
    "schema": str,
    "identifiers": list,
    "group": str,
    "missing": list,
    "formats": dict,
    "analysis": str,
    "keys": list,
}
# What a dataset's table says of its columns, in the words of `load`
DECLARED = (
    "target",
    "sensitive",
    "kinds",
    "constraints",
    "identifiers",
    "group",
    "missing",
    "formats",
    "analysis",
    "keys",
)
GENERATOR = {"name": str, "params": dict, "label": str, "kernel": str}
LIMITS = {"seconds": float, "memory_mb": float, "retries": int, "wall_seconds": float}


@dataclass(frozen=True)
class Limits:
    """Of one cell. seconds: CPU seconds over all its processes. memory_mb: MB (1e6 bytes) over all
    its processes. retries: further attempts. wall_seconds: of the clock, ten times `seconds` where
    it is None; only a cell that waits, or a very busy machine, comes near it.
    """

    seconds: float = 3600
    memory_mb: float = 8000
    retries: int = 0
    wall_seconds: float | None = None


@dataclass(frozen=True)
class Cell:
    """One notebook run. kernel is "" for this environment; rows None for as many as the generator
    was fitted on.
    """

    dataset: str
    generator: str
    label: str
    params: Mapping
    seed: int
    rows: int | None
    threads: int
    kernel: str
    key: str = ""
    split: int = 0
    draw: int = 0


@dataclass(frozen=True)
class Grid:
    """A checked grid.toml. datasets and generators are its tables as written, names filled in."""

    folder: Path
    title: str
    datasets: tuple[dict, ...]
    generators: tuple[dict, ...]
    seeds: tuple[int, ...]
    splits: tuple[int, ...]
    draws: tuple[int, ...]
    rows: int | None
    threads: int
    limits: Limits
    digest: str = ""  # sha256 of grid.toml


@dataclass(frozen=True)
class Plan:
    """A grid's cells with what they run on. data: (dataset, split) -> Dataset. inputs: (dataset,
    split, label) -> what keys hash. modules: label -> what its cells import from other packages.
    home: where plug-ins' paths start.
    """

    grid: Grid
    cells: list[Cell]
    data: dict = field(repr=False)
    inputs: dict = field(repr=False)
    modules: dict = field(repr=False)
    home: Path = Path()

    @property
    def imports(self) -> list[str]:
        """All modules of other packages that any cell imports."""
        return sorted({name for names in self.modules.values() for name in names})


def plan(grid: Grid) -> Plan:
    """Load each split once, and give every cell the sha256 of all it depends on; by dataset, split,
    generator, seed, draw.
    """
    from workbench.tables.datasets import load, table_hash

    code = notebook_code()
    cells, loaded, inputs = [], {}, {}
    used = {row["label"]: _generator_inputs(grid, row, code) for row in grid.generators}
    for row, split in product(grid.datasets, grid.splits):
        place = Path(grid.folder, row["path"]) if "path" in row else row["name"]
        given = {key: row[key] for key in DECLARED if key in row}
        sdv = Path(grid.folder, row["metadata"]) if "metadata" in row else None
        declared = Path(grid.folder, row["schema"]) if "schema" in row else None
        data = load(place, **given, seed=split, metadata=sdv, schema=declared)
        loaded[row["name"], split] = data
        facts = {
            "train": table_hash(data.train),
            "test": table_hash(data.test),
            "schema": json.loads(data.schema.plain.to_json()),
        }
        for generator in grid.generators:
            about, _ = used[generator["label"]]
            document = {
                "format": FORMAT,
                "data": facts,
                "rows": grid.rows,
                "threads": grid.threads,
                **about,
            }
            inputs[row["name"], split, generator["label"]] = document
            # The part that all seeds share is hashed once: a plan of 10,000 cells takes a second.
            shared = keys.digest(canonical(document))
            cells += [
                Cell(
                    row["name"],
                    generator["name"],
                    generator["label"],
                    generator["params"],
                    seed,
                    grid.rows,
                    grid.threads,
                    generator["kernel"],
                    keys.digest(f"{shared} {seed}{f' {draw}' if draw else ''}")[:32],
                    split,
                    draw,
                )
                for seed in grid.seeds
                for draw in grid.draws
            ]
    return Plan(
        grid,
        cells,
        loaded,
        inputs,
        {label: modules for label, (_, modules) in used.items()},
        grid.folder,
    )


def read(folder: Path | str) -> Grid:
    """The checked grid of a report folder. Raises InputError naming the line, the key and the way
    out.
    """
    path = Path(folder) / "grid.toml"
    source, where = read_toml(path, "give a folder that holds a grid.toml.")
    check_toml(source, TOP, where, "")
    for key in ("datasets", "generators"):
        if not source.get(key):
            raise where.error(
                "", 0, key, f"{key} is missing; name at least one, for example {key} = [...]."
            )
    limits = source.get("limits", {})
    check_toml(limits, LIMITS, where, "limits")
    for key, least in {"seconds": 1, "memory_mb": 50, "retries": 0, "wall_seconds": 1}.items():
        if limits.get(key, least) < least:
            raise where.error("limits", 0, key, f"{key} is {limits[key]}; give at least {least}.")
    for key in ("rows", "threads"):
        if source.get(key, 1) < 1:
            raise where.error("", 0, key, f"{key} is {source[key]}; give at least 1.")
    _check_repetitions(source, where)
    _check_size(source, where)
    datasets = [_dataset(row, where, i) for i, row in enumerate(source["datasets"])]
    names = [row["name"] for row in datasets]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise where.error(
                "datasets", index, "name", f"dataset {name!r} occurs twice; give one another name."
            )
    generators = _labelled(
        [_generator(row, where, i) for i, row in enumerate(source["generators"])], where
    )
    title = source.get("title", path.absolute().parent.name)
    _check_printed(title, names, generators, where)
    return Grid(
        path.parent,
        title,
        tuple(datasets),
        generators,
        tuple(source["seeds"]),
        tuple(source["splits"]),
        tuple(source["draws"]),
        source.get("rows"),
        source.get("threads", 1),
        Limits(**limits),
        keys.digest(where.text),
    )


def _check_printed(title: str, names: list[str], generators: Iterable[dict], where: Lines) -> None:
    """What stands on pages and terminals is one line that commands neither."""
    labels = [row["label"] for row in generators]
    printed = {"title": [title], "datasets": names, "generators": labels}
    for header, texts in printed.items():
        for index, text in enumerate(texts):
            if plain(text) != text or "\n" in text:
                key = "title" if header == "title" else "name"
                header = "" if header == "title" else header
                sentence = f"{text[:60]!r} holds a control character; leave it out."
                raise where.error(header, index, key, sentence)


def _check_repetitions(source: dict, where: Lines) -> None:
    """Seeds, splits and draws as lists of different whole numbers; a number of draws is short for
    one.
    """
    draws = source.get("draws", 1)
    if type(draws) is int:
        if not 1 <= draws <= MOST_CELLS:
            raise where.error(
                "", 0, "draws", f"draws is {draws}; give at least 1 and at most {MOST_CELLS:,}."
            )
        draws = list(range(draws))
    source["draws"] = draws
    for key in ("seeds", "splits", "draws"):
        given = source.setdefault(key, [0])
        if (
            not isinstance(given, list)
            or not given
            or not all(type(seed) is int and 0 <= seed < 2**63 for seed in given)
            or len(set(given)) < len(given)
        ):
            raise where.error(
                "", 0, key, f"{key} is {given}; give different whole numbers from 0 on."
            )


def _check_size(source: dict, where: Lines) -> None:
    """Raises InputError for a grid of more cells than anybody runs, before any is made."""
    count = 1
    for key in ("datasets", "generators", "seeds", "splits", "draws"):
        count *= len(source[key])
    if count > MOST_CELLS:
        raise where.error(
            "",
            0,
            "draws",
            f"the grid asks for {count:,} cells; at most {MOST_CELLS:,} are planned. Use fewer"
            " seeds, splits or draws.",
        )


def make(
    title: str,
    table: str,
    target: str | None = None,
    sensitive: Iterable[str] | None = None,
    generators: Iterable[str] | None = None,
    seeds: int = 3,
    constraints: Iterable[str | list[str]] = (),
    metadata: str | None = None,
    schema: str | None = None,
    **declared,
) -> str:
    """The text of a grid.toml that compares generators (all by default) on one dataset's name or
    one file; `declared` are further keys of its dataset.
    """
    names = list(generators or GENERATORS)
    dataset = (
        f"name = {quote(table)}"
        if table in DATASETS
        else f"path = {quote(str(Path(table).absolute()))}"
    )
    if target is not None:
        dataset += f"\ntarget = {quote(target)}"
    if sensitive is not None:
        dataset += f"\nsensitive = {quote(list(sensitive))}"
    if constraints:
        dataset += f"\nconstraints = {quote(list(constraints))}"
    if metadata is not None:
        dataset += f"\nmetadata = {quote(str(Path(metadata).absolute()))}"
    if schema is not None:
        dataset += f"\nschema = {quote(str(Path(schema).absolute()))}"
    for key, value in declared.items():
        if isinstance(value, Mapping):
            pairs = [f"{quote(name)} = {quote(text)}" for name, text in value.items()]
            dataset += f"\n{key} = {{ {', '.join(pairs)} }}" if pairs else ""
        elif value or value == []:
            dataset += f"\n{key} = {quote(value)}"
    head = f"title = {quote(title)}\nseeds = {list(range(seeds))}\ngenerators = {quote(names)}"
    return f"{head}\n\n[[datasets]]\n{dataset}\n"


def canonical(value) -> str:
    """JSON with one spelling for equal values. Raises ValueError for what is not JSON, NaN
    included.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def notebook_code(text: str | None = None) -> list[str]:
    """The code cells of notebooks/cell.ipynb, or of its text where that was read before, in order."""
    cells = json.loads(text or NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def plugin(folder: Path, name: str) -> tuple[Path, str] | None:
    """The file and class of a plug-in's name "./file.py:Class", None for any other name."""
    file, _, class_name = name.rpartition(":")
    return (Path(folder, file), class_name) if file.endswith(".py") else None


def plugins(folder: Path, params: Mapping) -> dict[str, tuple[Path, str]]:
    """The parameters that are such a name themselves, of a simulator say, with its file and class."""
    named = {key: plugin(folder, value) for key, value in params.items() if isinstance(value, str)}
    return {key: place for key, place in named.items() if place}


def _generator_inputs(grid: Grid, row: dict, code: list[str]) -> tuple[dict, list[str]]:
    """What the keys of one generator's cells hash besides the data, and the modules it imports from
    other packages.
    """
    about = {
        "generator": row["name"],
        "params": row["params"],
        "kernel": row["kernel"],
        "notebook": keys.digest(canonical(code)),
    }
    place, named = plugin(grid.folder, row["name"]), plugins(grid.folder, row["params"])
    texts = {key: read_given(path) for key, (path, _) in named.items()}
    if texts:
        about["parameter plugins"] = {key: keys.digest(text) for key, text in texts.items()}
    if place:
        text = read_given(place[0])
        about["plugin"] = keys.digest(text)
        sources, modules = keys.uses([*code, *texts.values(), text])
    else:
        entry = GENERATORS[row["name"]]
        about["entry"] = [entry.where, entry.fits_on]
        sources, modules = keys.uses([*code, *texts.values()], [entry.where.split(":")[0]])
    if row["kernel"]:
        about["kernel_spec"] = kernel_spec(row["kernel"])
    return about | {"sources": sources, "versions": keys.versions(modules)}, modules


def _dataset(row: dict | str, where: Lines, index: int) -> dict:
    row = {"name": row} if isinstance(row, str) else row
    check_toml(row, DATASET, where, "datasets", index)
    if "path" not in row and "name" not in row:
        raise where.error("datasets", index, "", "a dataset needs a name or a path.")
    if "path" in row and not os.path.isfile(Path(where.path.parent, row["path"])):
        raise where.error(
            "datasets",
            index,
            "path",
            f"no file {row['path']!r}; paths start from the folder of grid.toml.",
        )
    for name in row.get("sensitive", []):
        if not isinstance(name, str):
            raise where.error(
                "datasets",
                index,
                "sensitive",
                f"sensitive holds {name!r}; give column names as text.",
            )
    if "path" in row:
        return {"name": re.sub(r"(\.csv|\.csv\.gz|\.parquet)$", "", Path(row["path"]).name), **row}
    from workbench.tables.packaged import local_file

    if row["name"] not in DATASETS and not local_file(row["name"]):
        raise where.error(
            "datasets",
            index,
            "name",
            f"unknown dataset {row['name']!r}; {nearest(row['name'], DATASETS)}",
        )
    return row


def _generator(row: dict | str, where: Lines, index: int) -> dict:
    row = {"name": row} if isinstance(row, str) else row
    check_toml(row, GENERATOR, where, "generators", index)
    if "name" not in row:
        raise where.error("generators", index, "", "a generator needs a name.")
    row = {"params": {}, "kernel": "", **row}
    try:
        canonical(row["params"])
    except (TypeError, ValueError):
        raise where.error(
            "generators",
            index,
            "params",
            "params holds a date, a NaN or an infinite number; give JSON values.",
        ) from None
    place = plugin(where.path.parent, row["name"])
    key = "kernel"
    try:
        if row["kernel"]:
            kernel_spec(row["kernel"])
        key = "params"
        for named in plugins(where.path.parent, row["params"]).values():
            _check_plugin(*named, (ast.ClassDef, ast.FunctionDef))
        key = "params" if row["name"] in GENERATORS else "name"
        if place:
            _check_plugin(*place)
        elif row["name"] not in GENERATORS or (row["params"] and not row["kernel"]):
            make_generator(
                row["name"], row["params"]
            )  # checking parameters costs an import: only where there are any
    except InputError as error:
        raise where.error("generators", index, key, str(error)) from None
    return row


def _check_plugin(path: Path, class_name: str, kinds: tuple = (ast.ClassDef,)) -> None:
    """Read, never imported: planning must not run, or need the dependencies of, somebody's
    generator.
    """
    try:
        body = ast.parse(read_given(path)).body
    except OSError as error:
        raise InputError(
            f"plug-in {path.name} cannot be read ({error.strerror}); paths start from grid.toml."
        ) from None
    except (RecursionError, MemoryError):
        raise InputError(
            f"plug-in {path.name} nests its code too deeply; write it flatter."
        ) from None
    except (SyntaxError, ValueError) as error:
        raise InputError(f"plug-in {path.name} is not Python: {error}.") from None
    classes = [node.name for node in body if isinstance(node, kinds)]
    if class_name not in classes:
        raise InputError(
            f"plug-in {path.name} has no class {class_name!r}; {nearest(class_name, classes)}"
        )


def _labelled(rows: list[dict], where: Lines) -> tuple[dict, ...]:
    """Each row with a label of its own: the name, with its parameters or kernel where a name occurs
    more than once.
    """
    names = [row["name"] for row in rows]
    for row in rows:
        if "label" not in row:
            extra = [f"{key}={value}" for key, value in row["params"].items()] + (
                [row["kernel"]] if row["kernel"] else []
            )
            base = row["name"].rpartition(":")[2]
            row["label"] = (
                f"{base} ({', '.join(extra)})" if extra and names.count(row["name"]) > 1 else base
            )
    for index, row in enumerate(rows):
        for other in rows[:index]:
            if row["label"] == other["label"] or all(
                row[key] == other[key] for key in ("name", "params", "kernel")
            ):
                sentence = (
                    f"generator {row['label']!r} occurs twice; give it other parameters, and labels"
                    " that differ."
                )
                raise where.error("generators", index, "name", sentence)
    return tuple(rows)
