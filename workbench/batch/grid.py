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

    [[generators]]                 # synthetic tables that others made, scored like a generator's
    table = "tabsyn-*.csv"         # in the folder of this file or in WORKBENCH_DATA; n files are n
                                   seeds
    label = "TabSyn"
    dataset = "adult"              # which they belong to, where the grid has several
    split = 0                      # whose train rows they were fitted on, where it has several

    [limits]                       # of each cell, all its processes together
    seconds = 600                  # CPU seconds, which other work on the machine does not stretch
    wall_seconds = 6000            # of the clock; ten times `seconds` where left out
    memory_mb = 2000
    retries = 0                    # further attempts after an error, a timeout or too much memory

    [[override]]                   # for some cells: see workbench.batch.override
    datasets = ["adult"]
    generators = ["ctgan"]
    params = { epochs = 30 }
    limits = { seconds = 900 }
    train_rows = 5000

A dataset that somebody has split already has train = "train.csv" and test = "test.csv" in place of
a path; these two are looked for like given tables.
`datasets = ["loans"]` and `generators = ["cart", "copy"]` are short for tables with a name only.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from workbench.batch import keys
from workbench.batch.given import GivenFile, find_file, find_files
from workbench.batch.limits import Limits, check_limits
from workbench.batch.override import Settings, check_overrides, settings
from workbench.batch.peers import kernel_spec
from workbench.errors import InputError, nearest
from workbench.files import Lines, check_toml, plain, quote, read_given, read_toml
from workbench.generators import GENERATORS, GIVEN, find
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
    "override": list,
}
TOP |= {"datasets": list, "generators": list}
DATASET = {
    "name": str,
    "path": str,
    "train": str,
    "test": str,
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
GIVEN_TABLE = {"table": str, "label": str, "dataset": str, "split": int}


@dataclass(frozen=True)
class Cell:
    """One notebook run. kernel is "" for this environment; rows None for as many as the generator
    was fitted on; train_rows None for all rows of train, else at most so many.
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
    train_rows: int | None = None


@dataclass(frozen=True)
class Grid:
    """A checked grid.toml. datasets, generators and overrides are its tables as written, names
    filled in.
    """

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
    overrides: tuple[dict, ...] = ()

    def settings(self, dataset: str, generator: Mapping) -> Settings:
        """Parameters, limits and train rows of one dataset's and one generator's cells."""
        return settings(self.overrides, self.limits, dataset, generator)

    def variants(self) -> Iterator[dict]:
        """Every generator's row with every set of parameters that some of its cells get."""
        for row in self.generators:
            seen = []
            for dataset in self.datasets:
                params = self.settings(dataset["name"], row).params
                # Overrides may give several sets of parameters to one generator, or the same set again.
                if params not in seen:
                    seen.append(params)
                    yield {**row, "params": params}

    def files(self) -> Iterator[GivenFile]:
        """The tables that it brings along: given ones, and the parts of datasets split already."""
        for row in self.generators:
            yield from row.get("files", ())
        for row in self.datasets:
            for key in ("train", "test"):
                if key in row:
                    yield find_file(self.folder, row[key])


@dataclass(frozen=True)
class Plan:
    """A grid's cells with what they run on. data: (dataset, split, train rows) -> Dataset. inputs:
    (dataset, split, label, file of a given table or "") -> what keys hash. modules: label -> what
    its cells import from other packages. home: where plug-ins' paths start.
    """

    grid: Grid
    cells: list[Cell]
    data: dict = field(repr=False)
    inputs: dict = field(repr=False)
    modules: dict = field(repr=False)
    home: Path = Path()
    facts: dict = field(repr=False, default_factory=dict)  # of `data`: what keys hash of it

    def data_of(self, cell: Cell):
        """The dataset that a cell runs on."""
        return self.data[data_place(cell)]

    def inputs_of(self, cell: Cell) -> dict:
        """What a cell's key hashes."""
        return self.inputs[cell.dataset, cell.split, cell.label, given_name(cell)]

    def given_file(self, cell: Cell) -> GivenFile:
        """The file of a given table's cell."""
        files = self._rows[cell.label]["files"]
        return next(file for file in files if file.name == given_name(cell))

    def limits_of(self, cell: Cell) -> Limits:
        """A cell's limits, overrides included."""
        return self.grid.settings(cell.dataset, self._rows[cell.label]).limits

    @cached_property
    def _rows(self) -> dict[str, dict]:
        return {row["label"]: row for row in self.grid.generators}

    @property
    def imports(self) -> list[str]:
        """All modules that any cell imports, of other packages and of this one."""
        names = {name for names in self.modules.values() for name in names}
        for about in self.inputs.values():
            names.update(about["sources"])
        return sorted(names)


def plan(grid: Grid) -> Plan:
    """Load each split once, and give every cell the sha256 of all it depends on; by dataset, split,
    generator, seed, draw.
    """
    # Filled as the loops go; frozen for everybody else.
    planned = Plan(grid, [], {}, {}, {}, grid.folder)
    # The cell's notebook is code of every cell, and part of its key.
    code = notebook_code()
    used: dict[str, tuple[dict, list[str]]] = {}
    read: dict = {}  # the package's modules, each read once for all generators
    for dataset, split in product(grid.datasets, grid.splits):
        # Once for all generators: reading and hashing a table is what takes time here.
        whole = _load(grid, dataset, split)
        for generator in grid.generators:
            if not _belongs(generator, dataset["name"], split):
                continue
            chosen = grid.settings(dataset["name"], generator)
            row = {**generator, "params": chosen.params}
            # What is the same for all datasets is found out once.
            name = canonical([row["label"], row["params"]])
            if name not in used:
                used[name] = _generator_inputs(grid, row, code, read)
            about, modules = used[name]
            known = planned.modules.get(row["label"], [])
            planned.modules[row["label"]] = sorted({*known, *modules})
            first = Cell(
                dataset["name"],
                row["name"],
                row["label"],
                row["params"],
                0,
                grid.rows,
                grid.threads,
                row["kernel"],
                split=split,
                train_rows=chosen.train_rows,
            )
            # By the values of the rows: the same rows under another name or path keep their key.
            facts = _data_facts(planned, first, whole)
            common = {"rows": grid.rows, "threads": grid.threads, **about}
            document = {"format": FORMAT, "data": facts, **common}
            _add_cells(planned, first, row, document)
    return planned


def _belongs(generator: Mapping, dataset: str, split: int) -> bool:
    """Whether a generator has cells on this split; a given table belongs to one."""
    if generator["name"] != GIVEN:
        return True
    return (generator["dataset"], generator["split"]) == (dataset, split)


def _load(grid: Grid, row: Mapping, split: int):
    """The dataset of a grid's row, split by that seed or as somebody has split it."""
    from workbench.tables.datasets import load

    # Only what is written: `load` has defaults of its own.
    given: dict = {key: row[key] for key in DECLARED if key in row}
    for key in ("metadata", "schema"):
        if key in row:
            given[key] = Path(grid.folder, row[key])
    # A name is looked up in the catalog; path and train name files beside the grid.
    place: str | Path = row["name"]
    if "path" in row:
        place = Path(grid.folder, row["path"])
    if "train" in row:
        place = find_file(grid.folder, row["train"]).path
        given["test"] = find_file(grid.folder, row["test"]).path
    return load(place, **given, seed=split)


def data_place(cell: Cell) -> tuple[str, int, int]:
    """Where a plan keeps the dataset of a cell: by name, split and number of train rows, 0 for all."""
    return cell.dataset, cell.split, cell.train_rows or 0


def given_name(cell: Cell) -> str:
    """The file of a given table's cell, "" for a generator's."""
    return cell.params["table"] if cell.generator == GIVEN else ""


def _data_facts(planned: Plan, cell: Cell, whole) -> dict:
    """What keys hash of the rows of a cell, which the plan keeps from now on."""
    from workbench.tables.datasets import table_hash, with_fewer_rows

    place = data_place(cell)
    if place not in planned.data:
        # Drawn by the split's number, so that all seeds learn from the same rows.
        data = with_fewer_rows(whole, cell.train_rows, cell.split) if cell.train_rows else whole
        planned.data[place] = data
        planned.facts[place] = {
            "train": table_hash(data.train),
            "test": table_hash(data.test),
            "schema": json.loads(data.schema.plain.to_json()),
        }
    return planned.facts[place]


def _add_cells(planned: Plan, first: Cell, row: Mapping, document: dict) -> None:
    """The cells of one dataset, split and generator: a seed each, or a given table each."""
    grid = planned.grid
    if row["name"] != GIVEN:
        planned.inputs[first.dataset, first.split, first.label, ""] = document
        # The part that all seeds share is hashed once: a plan of 10,000 cells takes a second.
        shared = keys.digest(canonical(document))
        for seed in grid.seeds:
            for draw in grid.draws:
                planned.cells.append(_keyed(first, shared, seed, draw))
        return
    for seed, file in enumerate(row["files"]):
        own = {**document, "params": {"table": file.name}, "table": file.digest()}
        cell = replace(first, params=own["params"])
        planned.inputs[first.dataset, first.split, first.label, file.name] = own
        planned.cells.append(_keyed(cell, keys.digest(canonical(own)), seed, 0))


def _keyed(cell: Cell, shared: str, seed: int, draw: int) -> Cell:
    # Without a draw as before there were draws: older keys stay valid.
    text = f"{shared} {seed} {draw}" if draw else f"{shared} {seed}"
    return replace(cell, seed=seed, draw=draw, key=keys.digest(text)[:32])


def read(folder: Path | str) -> Grid:
    """The checked grid of a report folder. Raises InputError naming the line, the key and the way
    out.
    """
    path = Path(folder) / "grid.toml"
    # `where` knows the lines: every complaint below names the one it is about.
    source, where = read_toml(path, "give a folder that holds a grid.toml.")
    check_toml(source, TOP, where, "")
    for key in ("datasets", "generators"):
        if not source.get(key):
            raise where.error(
                "", 0, key, f"{key} is missing; name at least one, for example {key} = [...]."
            )
    # Checked in the order of the file, so that the first mistake is told first.
    limits = source.get("limits", {})
    check_limits(limits, where, "limits")
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
    _check_given_splits(datasets, source["splits"], where)
    generators = []
    for index, row in enumerate(source["generators"]):
        if isinstance(row, dict) and "table" in row:
            generators.append(_given(row, where, index, names, source["splits"]))
        else:
            generators.append(_generator(row, where, index))
    labelled = _labelled(generators, where)
    title = source.get("title", path.absolute().parent.name)
    _check_printed(title, names, labelled, where)
    # Overrides last: they name generators by their labels, which are known only now.
    grid = Grid(
        path.parent,
        title,
        tuple(datasets),
        labelled,
        tuple(source["seeds"]),
        tuple(source["splits"]),
        tuple(source["draws"]),
        source.get("rows"),
        source.get("threads", 1),
        Limits(**limits),
        keys.digest(where.text),
        check_overrides(source.get("override", ()), where, names, labelled),
    )
    _check_overridden(grid, where)
    return grid


def _check_printed(title: str, names: list[str], generators: Iterable[dict], where: Lines) -> None:
    """What stands on pages and terminals is one line that commands neither."""
    # A label with an escape sequence could move a terminal's cursor, or hide text.
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
    train_rows: int | None = None,
    **declared,
) -> str:
    """The text of a grid.toml that compares generators (all by default) on one dataset's name or
    one file, with all its train rows or at most `train_rows`; `declared` are further keys of its
    dataset.
    """
    # Text and not a dump of a dictionary: a person is to read and edit it.
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
    text = f"{head}\n\n[[datasets]]\n{dataset}\n"
    # An override has to say for whom it is: here for every generator of the grid.
    if train_rows is not None:
        text += f"\n[[override]]\ngenerators = {quote(names)}\ntrain_rows = {train_rows}\n"
    return text


def canonical(value) -> str:
    """JSON with one spelling for equal values. Raises ValueError for what is not JSON, NaN
    included.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def notebook_code(text: str | None = None) -> list[str]:
    """The code cells of notebooks/cell.ipynb, or of its text where that was read before, in order."""
    # Prose in the notebook may change without a cell being run again.
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


def _generator_inputs(grid: Grid, row: dict, code: list[str], read: dict) -> tuple[dict, list[str]]:
    """What the keys of one generator's cells hash besides the data, and the modules it imports from
    other packages.
    """
    # What a cell depends on besides its rows. Whoever adds a field changes every key.
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
        sources, modules = keys.uses([*code, *texts.values(), text], read=read)
    else:
        # A registered generator's sources are found by following its imports.
        entry = find(row["name"])
        about["entry"] = [entry.where, entry.fits_on]
        own = [entry.where.split(":")[0]]
        sources, modules = keys.uses([*code, *texts.values()], own, read)
    if row["kernel"]:
        about["kernel_spec"] = kernel_spec(row["kernel"])
    return about | {"sources": sources, "versions": keys.versions(modules)}, modules


def _dataset(row: dict | str, where: Lines, index: int) -> dict:
    row = {"name": row} if isinstance(row, str) else row
    check_toml(row, DATASET, where, "datasets", index)
    if "train" in row or "test" in row:
        return _split_dataset(row, where, index)
    if "path" not in row and "name" not in row:
        raise where.error("datasets", index, "", "a dataset needs a name or a path.")
    if "path" in row and not os.path.isfile(Path(where.path.parent, row["path"])):
        raise where.error(
            "datasets",
            index,
            "path",
            f"no file {row['path']!r}; paths start from the folder of grid.toml.",
        )
    _check_sensitive(row, where, index)
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


def _check_sensitive(row: dict, where: Lines, index: int) -> None:
    for name in row.get("sensitive", []):
        if not isinstance(name, str):
            sentence = f"sensitive holds {name!r}; give column names as text."
            raise where.error("datasets", index, "sensitive", sentence)


def _split_dataset(row: dict, where: Lines, index: int) -> dict:
    """A dataset whose train and test rows lie in two files."""
    for key in ("name", "train", "test"):
        if key not in row:
            sentence = f"a dataset that is split already needs {key}."
            raise where.error("datasets", index, "", sentence)
    if "path" in row:
        sentence = "path and train both name the table; leave out one of them."
        raise where.error("datasets", index, "path", sentence)
    _check_sensitive(row, where, index)
    for key in ("train", "test"):
        try:
            find_file(where.path.parent, row[key])
        except InputError as error:
            raise where.error("datasets", index, key, str(error)) from None
    return row


def _check_given_splits(datasets: list[dict], splits: list[int], where: Lines) -> None:
    """A dataset that somebody has split has that one split."""
    for index, row in enumerate(datasets):
        if "train" in row and splits != [0]:
            sentence = f"dataset {row['name']!r} is split already; leave out splits."
            raise where.error("datasets", index, "train", sentence)


def _given(row: dict, where: Lines, index: int, datasets: list[str], splits: list[int]) -> dict:
    """The row of synthetic tables that others made, with the files that it names."""
    check_toml(row, GIVEN_TABLE, where, "generators", index)
    try:
        files = find_files(where.path.parent, row["table"])
    except InputError as error:
        raise where.error("generators", index, "table", str(error)) from None
    dataset = _only(row, "dataset", datasets, where, index)
    split = _only(row, "split", splits, where, index)
    return {
        "name": GIVEN,
        "params": {"table": row["table"]},
        "kernel": "",
        "label": row.get("label", row["table"]),
        "dataset": dataset,
        "split": split,
        "files": files,
    }


def _only(row: dict, key: str, known: list, where: Lines, index: int):
    """What a given table says about its dataset or split; the grid's only one where it says
    nothing.
    """
    # Asked for only where there is a choice.
    listed = ", ".join(map(str, known))
    if key not in row and len(known) > 1:
        sentence = f"to which {key} does the table belong? Give one of {listed}."
        raise where.error("generators", index, "table", sentence)
    chosen = row.get(key, known[0])
    if chosen not in known:
        sentence = f"the grid has no {key} {chosen!r}; known: {listed}."
        raise where.error("generators", index, key, sentence)
    return chosen


def _check_overridden(grid: Grid, where: Lines) -> None:
    """Raises InputError where the parameters of an override are none of its generators'."""
    for index, override in enumerate(grid.overrides):
        if not override.get("params"):
            continue
        matching = [row for row in grid.generators if _concerns(override, row)]
        for row in matching:
            if row["name"] == GIVEN:
                sentence = f"{row['label']!r} is a given table and has no parameters."
                raise where.error("override", index, "params", sentence)
            try:
                _check_params(where.path.parent, {**row, "params": override["params"]})
            except InputError as error:
                raise where.error("override", index, "params", str(error)) from None


def _concerns(override: Mapping, row: Mapping) -> bool:
    wanted = override.get("generators")
    return wanted is None or row["label"] in wanted or row["name"] in wanted


def _check_params(folder: Path, row: dict) -> None:
    """Raises InputError where a generator does not take the parameters of its row."""
    try:
        canonical(row["params"])
    except (TypeError, ValueError):
        raise InputError(
            "params holds a date, a NaN or an infinite number; give JSON values."
        ) from None
    for named in plugins(folder, row["params"]).values():
        _check_plugin(*named, (ast.ClassDef, ast.FunctionDef))
    is_known = row["name"] in GENERATORS
    # Checking parameters costs an import: only where there are any.
    if is_known and row["params"] and not row["kernel"]:
        make_generator(row["name"], row["params"])


def _generator(row: dict | str, where: Lines, index: int) -> dict:
    row = {"name": row} if isinstance(row, str) else row
    check_toml(row, GENERATOR, where, "generators", index)
    if "name" not in row:
        raise where.error("generators", index, "", "a generator needs a name.")
    row = {"params": {}, "kernel": "", **row}
    place = plugin(where.path.parent, row["name"])
    key = "kernel"
    try:
        if row["kernel"]:
            kernel_spec(row["kernel"])
        key = "name"
        if place:
            _check_plugin(*place)
        elif row["name"] not in GENERATORS:
            raise InputError(
                f"unknown generator {row['name']!r}; {nearest(row['name'], GENERATORS)}"
            )
        key = "params"
        _check_params(where.path.parent, row)
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
    # A name that occurs once needs no parameters behind it.
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
