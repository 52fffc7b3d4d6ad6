"""Real tables by name or path, cast to a schema and split once into train and test.

`load` looks into the folder named by WORKBENCH_DATA first, then where the dataset's entry in
DATASETS says.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.errors import InputError, nearest
from workbench.markup import macros
from workbench.tables.catalog import DATASETS, Entry
from workbench.tables.constraints import check as check_constraints
from workbench.tables.declared import Declared, apply_missing
from workbench.tables.declared import read as read_declared
from workbench.tables.files import SUFFIXES, read_file
from workbench.tables.given import matched
from workbench.tables.packaged import check_pin, local_file, read_openml, true_network
from workbench.tables.schema import Column, Schema, written
from workbench.tables.sdv import read as read_metadata

__all__ = ["DATASETS", "Dataset", "Entry", "load", "table_hash", "true_network"]

MOST_SHARED = 0.05  # of the test rows that somebody has split, that may be train rows too
ADULT_TRAIN_ROWS = 32_561  # of UCI's 48,842: adult.data, followed by adult.test


@dataclass(frozen=True)
class Dataset:
    """A real table, cast to its schema and split once.

    Attributes
    ----------
    name : str
        What reports call it.
    train : DataFrame
        The rows that generators learn from.
    test : DataFrame
        Other rows of the same table, which no generator sees. Scores read these.
    schema : Schema
        What each column is.
    provenance : mapping
        Where the rows came from, how they were split, what was left out and why, and the hashes of
        both parts.

    Examples
    --------
    >>> data = load("loans")
    >>> [column.name for column in data.schema.sensitive]
    ['male', 'race']
    """

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    schema: Schema
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modelled(self) -> Dataset:
        """The same rows without identifiers and the group: what generators learn and metrics score."""
        # The same object where nothing is left out: a large table is not copied.
        schema = self.schema.modelled
        if schema is self.schema:
            return self
        names = schema.names
        return replace(self, train=self.train[names], test=self.test[names], schema=schema)

    def written(self, table: pd.DataFrame, as_text: bool = False) -> pd.DataFrame:
        """Synthetic rows as the real table was written: units, marks, digits, dates, zones, 0 and 1.

        as_text for a file of text, where 12.50 keeps its last digit; otherwise plain numbers stay
        numbers. `wb.load` reads such a table as it read the real one.
        """
        return written(table, self.schema, as_text)

    def _facts(self) -> dict[str, str]:
        facts = {
            "rows": f"{len(self.train):,} train + {len(self.test):,} test",
            "columns": f"{len(self.schema.columns)}",
            "target": (
                f"{self.schema.target.name} ({self.schema.task})" if self.schema.target else "none"
            ),
            "sensitive": ", ".join(column.name for column in self.schema.sensitive) or "none",
        }
        identifiers = [c.name for c in self.schema.columns if c.role == "identifier"]
        if identifiers:
            facts["identifiers"] = f"{', '.join(identifiers)} (never learnt, scored or copied)"
        if self.schema.group:
            facts["group"] = f"{self.schema.group.name} (its rows stay on one side of the split)"
        if self.provenance:
            hashes = (
                str(self.provenance.get(f"{part}_sha256", "?"))[:12] for part in ("train", "test")
            )
            facts |= {
                "read from": str(self.provenance.get("read_from", "?")),
                "sha256": " / ".join(hashes),
            }
        return facts

    def __repr__(self) -> str:
        return f"Dataset {self.name}: " + "; ".join(
            f"{key} {value}" for key, value in self._facts().items()
        )

    def columns(self) -> pd.DataFrame:
        """A line for each column: kind, role, share of train rows without a value, what it means
        (where that is known), its values in the first three train rows.
        """
        facts = {
            "kind": [column.kind for column in self.schema.columns],
            "role": [column.role for column in self.schema.columns],
            "missing": [f"{share:.1%}" if share else "" for share in self.train.isna().mean()],
        }
        descriptions = [column.description for column in self.schema.columns]
        if any(descriptions):
            facts["meaning"] = descriptions
        # As objects, or a gap would turn whole numbers into floats.
        first = self.train.head(3).astype(object)
        for column in self.schema.identifying:
            first[column.name] = "(not shown)"  # pages travel; whom a row is about stays here
        first = first.T.rename(columns=lambda row: f"row {row}")
        return pd.DataFrame(facts, index=self.schema.names).join(first)

    def _repr_html_(self) -> str:
        left_out = [
            f"{name} was left out: {reason}."
            for name, reason in self.provenance.get("dropped_columns", {}).items()
        ]
        notes = [*left_out, *self.provenance.get("notes", ())]
        # A description is shown whole: cut off, it would hide its unit.
        with pd.option_context("display.max_colwidth", None):
            columns = self.columns().to_html(escape=True, max_rows=60, na_rep="")
        pieces = macros("tables/shown.html.j2")
        return pieces.dataset(self.name, self._facts(), Markup(columns), notes)


def load(
    name_or_path: str | Path | pd.DataFrame,
    target: str | None = None,
    sensitive: Iterable[str] | str | None = None,
    kinds: Mapping[str, str] | None = None,
    test_size: float = 0.3,
    seed: int = 0,
    constraints: Iterable[str | Iterable[str]] | None = None,
    metadata: Mapping | str | Path | None = None,
    schema: Schema | str | Path | None = None,
    identifiers: Iterable[str] | str | None = None,
    group: str | None = None,
    missing: Iterable[str] | str = (),
    formats: Mapping[str, str] | None = None,
    analysis: str | None = None,
    keys: Iterable[str] | str | None = None,
    test: str | Path | pd.DataFrame | None = None,
) -> Dataset:
    """Read a table and split it once into train and test rows.

    Parameters
    ----------
    name_or_path : str, Path or DataFrame
        A dataset's name (`workbench list datasets`), the path of a CSV, CSV.gz or Parquet file, or
        a table in memory.
    target : str, optional
        The column to predict. Rows without a value in it are dropped. A named dataset has its own.
    sensitive : names of columns, optional
        Columns whose groups are compared. `()` names none, also where a named dataset has its own.
    kinds : mapping of column to kind, optional
        What each column is, such as {"zip": "categorical"}, where the values do not say it.
    test_size : float between 0 and 1
        The share of test rows: floor(test_size * rows). At seed 0, `adult` keeps the split that it
        was published with, whatever test_size is.
    seed : int
        Decides the split, which is stratified by the target's labels (by its quintiles for a
        number).
    constraints : list, optional
        Rules that hold in every row, and so in every synthetic one: "low <= high",
        ["city", "country"]. See `Schema`.
    metadata : mapping or path, optional
        SDV's metadata. They give kinds and the formats of dates; keys, identifiers and personal
        data are left out unless `kinds` names them.
    schema : path, optional
        The file that `inspect` writes. It says all of this at once; what is given beside it wins.
    identifiers : names of columns, optional
        Columns that name a row. They are never learnt, scored or copied. Unless given, these are
        the columns with a value of its own in nearly every row; `()` names none.
    group : str, optional
        The column whose equal values mark the rows of one person or household. Such rows stay on
        one side of the split, and synthetic rows get fresh values.
    missing : marks, optional
        Texts that stand for a missing value, such as "?".
    formats : mapping of column to format, optional
        How dates are written, such as {"born": "%d/%m/%Y"}.
    analysis : str, optional
        The regression that the table is for, "approve ~ race + income": its coefficients are
        compared with the real ones. Unless given, the target on all features.
    keys : names of columns, optional
        What somebody might know of a person: what these columns disclose is measured.
    test : path or DataFrame, optional
        The test rows, where somebody has split the table already. The first table is then train.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        For an unknown name, a file or column that cannot be read, and a target that cannot be
        learnt.

    Examples
    --------
    >>> data = load("loans")
    >>> len(data.train), len(data.test), data.schema.target.name
    (1393, 596, 'approve')
    """
    if not 0 < test_size < 1:
        raise InputError(f"test_size is {test_size}; give the share of test rows, between 0 and 1.")
    declared = read_declared(schema)
    formats = {**declared.formats, **(formats or {})}
    kinds = _stated_kinds(declared, kinds, formats)
    constraints = _either(constraints, declared.constraints)
    group = _either(group, declared.group)
    analysis = _either(analysis, declared.analysis)
    keys = _either(keys, declared.keys)
    identifiers = _identifiers(declared, identifiers, group)
    marks = [*declared.missing, *([missing] if isinstance(missing, str) else missing)]
    sdv = read_metadata(metadata) if metadata is not None else None
    # Number says nothing of whether it is whole: that is looked up in the table.
    if sdv:
        kinds = {name: kind for name, kind in sdv.kinds.items() if kind != "number"} | kinds

    # Read the rows, and join those of a test that somebody split off.
    name, entry, raw, read_from = _read(name_or_path)
    train_rows = len(raw)
    joining_notes: list[str] = []
    if test is not None:
        raw, joining_notes = _joined(raw, test)
    reading_notes = [*raw.attrs.get("notes", []), *joining_notes]
    target = _either(_either(target, declared.target), entry.target)
    sensitive = _sensitive(_either(sensitive, declared.sensitive), entry, target)

    # Clean them: names, dropped columns, personal data, marks of missing values, lost targets.
    table, left_out = _prepare(raw, entry)
    if sdv:
        table, private = sdv.apply(table, kept=kinds)
        left_out |= private
    table = apply_missing(table, marks)
    # The pin is that of the renamed table, without dropped columns and without marks.
    if read_from.startswith("OpenML"):
        check_pin(name, table, entry)
    given_test = _given_test(table, target, train_rows) if test is not None else None
    table, dropped_rows = _drop_rows_without_target(table, target)

    # Say what the columns are, and hold the rows to it.
    found = Schema.infer(
        table,
        target,
        sensitive,
        _kinds_of_entry(entry, table) | kinds,
        constraints or (),
        identifiers=identifiers,
        group=group,
        formats=formats,
    )
    schema = replace(
        found,
        columns=_described(found, entry),
        analysis=analysis,
        keys=(keys,) if isinstance(keys, str) else tuple(keys),
    )
    table = schema.cast(table)
    check_constraints(table, schema)
    _check_target(table, schema)

    # Split once: whatever is fitted later never sees the test rows.
    in_test, split = _split(name, table, schema, test_size, seed, given_test)
    shared = _shared_rows(table, in_test) if test is not None else []
    train, held = _part(table, ~in_test), _part(table, in_test)
    if not len(train) or not len(held):
        raise InputError(
            f"{name!r} has {len(table)} rows, too few for a train and a test part; give more rows."
        )
    provenance = {
        "title": entry.title,
        "source": entry.source,
        "read_from": read_from,
        "split": split,
        "train_sha256": table_hash(train),
        "test_sha256": table_hash(held),
        "dropped_rows": dropped_rows,
        "dropped_columns": left_out,
        "notes": [*reading_notes, *_notes(table, schema, dropped_rows), *shared],
    }
    return Dataset(name, train, held, schema, provenance)


def _either(given: Any, fallback: Any) -> Any:
    """What the call gives; where it gives nothing, what the schema file or the catalog says. An
    empty list is given: it names no column.
    """
    return fallback if given is None else given


def _stated_kinds(
    declared: Declared, kinds: Mapping[str, str] | None, formats: Mapping[str, str]
) -> dict[str, str]:
    """The kinds that the call or the schema file names, but those of columns with a format: that
    makes them dates already.
    """
    stated = declared.kinds | dict(kinds or {})
    return {name: kind for name, kind in stated.items() if name not in formats}


def _sensitive(given: Iterable[str] | str | None, entry: Entry, target: str | None) -> list[str]:
    """The sensitive columns: those that were named, or the catalog's without the target."""
    if given is None:
        return [column for column in entry.sensitive if column != target]
    return [given] if isinstance(given, str) else list(given)


def _kinds_of_entry(entry: Entry, table: pd.DataFrame) -> dict[str, str]:
    """The catalog's kinds of the columns that are there; "*" stands for all that are not named."""
    kinds = dict.fromkeys(table.columns, entry.kinds["*"]) if "*" in entry.kinds else {}
    own = {column: kind for column, kind in entry.kinds.items() if column in table.columns}
    return kinds | own


def _described(schema: Schema, entry: Entry) -> tuple[Column, ...]:
    """The schema's columns with what the catalog says that they mean."""
    described = []
    for column in schema.columns:
        text = entry.descriptions.get(column.name, column.description)
        described.append(replace(column, description=text))
    return tuple(described)


def _part(table: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Some rows under a new index; reset_index would copy them once more."""
    part = pd.DataFrame(table[rows])
    part.index = pd.RangeIndex(len(part))
    return part


def _identifiers(
    declared: Declared, identifiers: Iterable[str] | str | None, group: str | None
) -> list[str] | None:
    """The identifiers that were named, by the call or by the schema file; None to look for them."""
    found = declared.identifiers if identifiers is None else identifiers
    found = [found] if isinstance(found, str) else found
    return None if found is None else [name for name in found if name != group]


def _split_kind(schema: Schema) -> str:
    kind = "stratified by target" if schema.target else "random"
    return f"{kind}, rows of one {schema.group.name!r} together" if schema.group else kind


def table_hash(table: pd.DataFrame) -> str:
    """sha256 of a cast table's names, dtypes and values in row order: equal tables, equal hash, in
    any process.
    """
    # Column by column: the hash of a table must not depend on how pandas keeps it.
    digest = hashlib.sha256()
    for name in table.columns:
        values = table[name]
        if values.dtype == "float64":
            values = values + 0.0  # -0.0 equals 0.0
        digest.update(f"{name}\0{values.dtype}\0".encode())
        digest.update(pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def read_raw(table: pd.DataFrame | str | Path) -> tuple[str, pd.DataFrame]:
    """The name of a table, a path or a dataset's name, and its rows as they stand, under the names
    they get.
    """
    name, entry, raw, _ = _read(table)
    return name, _prepare(raw, entry)[0]


def _read(name_or_path: str | Path | pd.DataFrame) -> tuple[str, Entry, pd.DataFrame, str]:
    """The dataset's name, its entry, its raw table, and in words where that was read."""
    if isinstance(name_or_path, pd.DataFrame):
        if not len(name_or_path):
            raise InputError("the table has no rows; it needs rows to learn from.")
        entry = Entry("table", "a DataFrame", "folder", 0, 0)
        return "table", entry, name_or_path.reset_index(drop=True), "a DataFrame"
    if not isinstance(name_or_path, str | Path):
        raise InputError(
            f"a table is a DataFrame, the path of a file or the name of a dataset, not"
            f" {name_or_path!r:.60}."
        )
    name = str(name_or_path)
    # "loans" is a name, "loans.csv" and Path("loans") are files.
    is_name = (
        not isinstance(name_or_path, Path)
        and Path(name).name == name
        and not name.lower().endswith(SUFFIXES)
    )
    entry = DATASETS.get(name) if is_name else None
    local = local_file(name) if is_name else None
    if local:
        return (
            name,
            entry or _unnamed(local),
            read_file(local),
            f"{local.name} in WORKBENCH_DATA",
        )
    if entry:
        return name, entry, *_read_entry(name, entry)
    path = Path(name_or_path).expanduser()
    if is_name and not os.path.exists(path):
        raise InputError(
            f"unknown dataset {name!r}; {nearest(name, DATASETS)} A file needs its path and its"
            " ending."
        )
    # "mine.csv.gz" is the table "mine".
    stem = path.name
    for suffix in SUFFIXES:
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    return stem, _unnamed(path), read_file(path), f"file {path.name}"


def _unnamed(path: Path) -> Entry:
    return Entry(path.name, f"file {path.name}", "folder", 0, 0)


def _read_entry(name: str, entry: Entry) -> tuple[pd.DataFrame, str]:
    if entry.read == "folder":
        raise InputError(
            f"dataset {name!r} is read from your own copy; put {name}.csv into a folder and name it"
            " in WORKBENCH_DATA."
        )
    if entry.read.startswith("openml:"):
        return read_openml(name, entry), f"OpenML data id {entry.read.removeprefix('openml:')}"
    reader = resolve_name(entry.read)
    # One reader serves all known networks; the others read one table each.
    table = reader(name) if entry.read.endswith(":network") else reader()
    return table, f"{entry.package} {version(entry.package)}"


def _prepare(raw: pd.DataFrame, entry: Entry) -> tuple[pd.DataFrame, dict[str, str]]:
    """The raw table with the entry's names and labels, without the columns it leaves out; and these
    with their reasons.
    """
    # Copies of a published table differ in their names; pins and descriptions know one of them.
    table = raw.rename(columns=dict(entry.rename))
    left_out = {name: reason for name, reason in entry.drop.items() if name in table.columns}
    table = table.drop(columns=list(left_out))
    for column, labels in entry.labels.items():
        if column in table.columns:
            table[column] = (
                table[column]
                .astype(object)
                .map(lambda value, labels=labels: labels.get(str(value), value))
            )
    return table, left_out


def _given_test(table: pd.DataFrame, target: str | None, train_rows: int) -> np.ndarray:
    """Which of the rows that have a target are in test, where the first `train_rows` are train."""
    in_test = np.arange(len(table)) >= train_rows
    if _has_once(table, target):
        in_test = in_test[table[target].notna().to_numpy()]
    return in_test


def _split(
    name: str,
    table: pd.DataFrame,
    schema: Schema,
    test_size: float,
    seed: int,
    given: np.ndarray | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Which rows are in test, and how that was decided."""
    if given is not None:
        return given, {"kind": "given; test_size and seed not used"}
    if name == "adult" and seed == 0 and _is_adult_in_uci_order(table):
        in_test = np.arange(len(table)) >= ADULT_TRAIN_ROWS
        return in_test, {"kind": "official (UCI); test_size not used"}
    in_test = _stratified(table, schema, test_size, np.random.default_rng(seed))
    about = {"kind": _split_kind(schema), "test_size": test_size, "seed": seed}
    return in_test, about


def _shared_rows(table: pd.DataFrame, in_test: np.ndarray) -> list[str]:
    """A sentence where many test rows are train rows too: whoever split the table did not take
    them apart, and such a row is a member and none.
    """
    # Equal rows have equal hashes; that two others collide is next to impossible here.
    hashes = pd.util.hash_pandas_object(table, index=False)
    count = int(hashes[in_test].isin(hashes[~in_test]).sum())
    if count <= MOST_SHARED * in_test.sum():
        return []
    return [
        f"{count:,} of {in_test.sum():,} test rows equal a train row: what compares the two, such as"
        " membership, copies and the ceiling, cannot be taken at its word."
    ]


def _has_once(table: pd.DataFrame, name: str | None) -> bool:
    return name is not None and list(table.columns).count(name) == 1


def _joined(train: pd.DataFrame, test: str | Path | pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Train's raw rows with test's beneath, under train's names; and what that took, in sentences."""
    rows = _read(Path(test) if isinstance(test, str) else test)[2]
    rows, said = matched(rows, train.columns)
    for name in train.columns:
        if name not in rows:
            raise InputError(
                f"column {name!r} is missing from the test rows;"
                f" {nearest(name, map(str, rows.columns))}"
            )
    for name in rows.columns:
        if name not in train:
            raise InputError(
                f"column {name!r} of the test rows is surplus; train has:"
                f" {', '.join(train.columns)}."
            )
    # Inferred together: a column must not be numbers in train and text in test.
    joined = pd.concat([train, rows[list(train.columns)]], ignore_index=True)
    joined.attrs = train.attrs
    return joined, [f"test rows: {sentence}" for sentence in said]


def with_fewer_rows(data: Dataset, rows: int, seed: int) -> Dataset:
    """The dataset with `rows` of its train rows, in their order: drawn once by the seed, every
    label of the target (or quintile of a number) by its share. The same one where it has no more.
    """
    if len(data.train) <= rows:
        return data
    # By the number of rows too: a smaller sample is not the beginning of a larger one.
    order = np.random.default_rng([seed, rows]).permutation(len(data.train))
    order = order[np.argsort(_strata(data.train, data.schema)[order], kind="stable")]
    steps = np.floor(np.arange(len(order) + 1) * rows / len(order) + 1e-9)
    train = data.train.iloc[np.sort(order[np.diff(steps) > 0])].reset_index(drop=True)
    note = f"train is a sample of {rows:,} of {len(data.train):,} rows."
    about = {
        "train_sha256": table_hash(train),
        "notes": [*data.provenance.get("notes", ()), note],
    }
    return replace(data, train=train, provenance={**data.provenance, **about})


def _drop_rows_without_target(table: pd.DataFrame, target: str | None) -> tuple[pd.DataFrame, int]:
    if not _has_once(table, target):
        return table, 0  # Schema.infer names what is wrong with the target
    present = table[target].notna()
    if not present.any():
        raise InputError(f"target column {target!r} has no values; name another target.")
    return table[present].reset_index(drop=True), int((~present).sum())


def _check_target(table: pd.DataFrame, schema: Schema) -> None:
    if schema.target is None:
        return
    name, values = schema.target.name, table[schema.target.name]
    # A target that never varies, or whose labels are all different, teaches nothing.
    distinct = values.nunique()
    if distinct < 2:
        raise InputError(
            f"target column {name!r} has one value only, {str(values[0])!r}; name a target with at"
            " least two."
        )
    if schema.task == "classification" and distinct > max(len(values) / 2, 2):
        raise InputError(
            f"target column {name!r} has {distinct} labels in {len(values)} rows; name a target"
            " whose labels repeat."
        )


def _is_adult_in_uci_order(table: pd.DataFrame) -> bool:
    """Whether train begins with the first person of adult.data and test with that of adult.test,
    told by their fnlwgt.
    """
    if len(table) != DATASETS["adult"].rows or "fnlwgt" not in table:
        return False
    return table["fnlwgt"].iloc[[0, ADULT_TRAIN_ROWS]].tolist() == [77516, 226802]


def _stratified(
    table: pd.DataFrame, schema: Schema, test_size: float, rng: np.random.Generator
) -> np.ndarray:
    """Which rows are in test, bool, shape (rows,): every stratum's share is within one row of
    test_size.

    Every 1/test_size-th row of the rows shuffled within their strata is taken; a stratum of one row
    stays in train.
    """
    # Rows are shuffled first, then sorted by stratum without losing that order.
    strata = _strata(table, schema)
    if schema.group:
        return _by_group(table[schema.group.name], strata, test_size, rng)
    order = rng.permutation(len(table))
    order = order[np.argsort(strata[order], kind="stable")]
    taken = np.diff(np.floor(np.arange(len(table) + 1) * test_size + 1e-9)) > 0
    in_test = np.zeros(len(table), dtype=bool)
    in_test[order[taken]] = True
    return in_test & (np.bincount(strata)[strata] > 1) if len(table) else in_test


def _by_group(
    values: pd.Series, strata: np.ndarray, test_size: float, rng: np.random.Generator
) -> np.ndarray:
    """Which rows are in test where rows of one group stay together; a row without a group is one of
    its own.

    Groups are taken in random order within the stratum of their first row, each by test where test
    is behind its share of the rows so far.
    """
    # A row without a group is nobody's relative: it gets a group of its own.
    codes = pd.factorize(values)[0]
    alone = codes < 0
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    _, first, group_of, sizes = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    order = rng.permutation(len(sizes))
    order = order[np.argsort(strata[first[order]], kind="stable")]
    taken = np.zeros(len(sizes), dtype=bool)
    seen = in_test = 0
    for index in order:
        size = sizes[index]
        seen += size
        if in_test + size / 2 <= seen * test_size:
            taken[index] = True
            in_test += size
    return taken[group_of.ravel()]


def _strata(table: pd.DataFrame, schema: Schema) -> np.ndarray:
    if schema.target is None:
        return np.zeros(len(table), dtype=int)
    # Labels as they are; numbers by their quintiles, or a split could put all large ones into test.
    values = table[schema.target.name]
    if schema.task == "classification":
        return pd.factorize(values.astype(str), sort=True)[0]
    numbers = values.astype("int64") if schema.target.kind == "datetime" else values.astype(float)
    return np.searchsorted(np.quantile(numbers, [0.2, 0.4, 0.6, 0.8]), numbers, side="right")


def _notes(table: pd.DataFrame, schema: Schema, dropped_rows: int) -> list[str]:
    """Sentences on what a reader should know about the table before trusting a score."""
    notes = (
        [f"{dropped_rows} rows without a value of {schema.target.name!r} were dropped."]
        if dropped_rows
        else []
    )
    for column in schema.columns:
        values = table[column.name]
        is_gap = values.isna()
        # dropna would copy every column, and most have no gap.
        present = values[~is_gap] if is_gap.any() else values
        distinct = present.head(1000).nunique()
        may_be_constant = distinct == 1
        may_differ = distinct == min(len(present), 1000)
        may_name_rows = may_differ and column.kind in ("integer", "categorical")
        # Otherwise a column is neither constant nor asks whether all its values differ.
        if may_be_constant or may_name_rows:
            distinct = present.nunique()
        if not len(present):
            notes.append(f"column {column.name!r} is empty.")
        elif distinct == 1:
            notes.append(f"column {column.name!r} is constant.")
        elif (
            distinct == len(table)
            and column.kind in ("integer", "categorical")
            and column not in schema.identifying
        ):
            notes.append(
                f"column {column.name!r} has a value of its own in every row; if it names persons,"
                " declare it an identifier."
            )
    return [*notes, *schema.form_notes, *schema.role_notes]
