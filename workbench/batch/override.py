"""[[override]] of a grid: other parameters, limits or fewer train rows for some of its cells.

    [[override]]
    datasets = ["adult"]           # names of datasets; all where left out
    generators = ["ctgan"]         # labels or names of generators; all where left out
    params = { epochs = 30 }       # over those of the generator's own row
    limits = { seconds = 900 }     # over those of [limits]
    train_rows = 5000              # at most so many rows of train, drawn once for each split

An override needs datasets, generators or both. A later one wins over an earlier one, key by key.
Parameters and train rows are part of a cell's key. Limits are not, because a cell that finished
does not depend on them; one that failed is run again under others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from workbench.batch.limits import Limits, check_limits
from workbench.errors import nearest
from workbench.files import Lines, check_toml

OVERRIDE = {
    "datasets": list,
    "generators": list,
    "params": dict,
    "limits": dict,
    "train_rows": int,
}
LEAST_TRAIN_ROWS = 20


@dataclass(frozen=True)
class Settings:
    """What holds for the cells of one dataset and one generator.

    train_rows: at most so many rows of train, None for all of them.
    """

    params: dict
    limits: Limits
    train_rows: int | None


def settings(
    overrides: Iterable[Mapping], limits: Limits, dataset: str, generator: Mapping
) -> Settings:
    """The settings of one dataset and one generator's row, after all overrides that match them."""
    # A copy: the row serves every dataset.
    params = dict(generator["params"])
    train_rows = None
    for override in overrides:
        if not _matches(override, dataset, generator):
            continue
        params |= override.get("params", {})
        limits = dataclasses.replace(limits, **override.get("limits", {}))
        train_rows = override.get("train_rows", train_rows)
    return Settings(params, limits, train_rows)


def check_overrides(
    rows: Sequence, where: Lines, datasets: Sequence[str], generators: Sequence[Mapping]
) -> tuple[dict, ...]:
    """The overrides of a grid, where nothing is wrong with them.

    datasets: the names of the grid's datasets. generators: its generators' rows, labels filled in.
    Raises InputError naming the line, the key and the way out. Whether a generator takes the
    parameters is checked by the grid.
    """
    for index, row in enumerate(rows):
        check_toml(row, OVERRIDE, where, "override", index)
        _check_named(row, where, index, datasets, generators)
        check_limits(row.get("limits", {}), where, "override", index)
        _check_train_rows(row, where, index)
    return tuple(rows)


def _check_named(
    row: Mapping,
    where: Lines,
    index: int,
    datasets: Sequence[str],
    generators: Sequence[Mapping],
) -> None:
    """An override says for whom it is and what it changes, and all that it names is in the grid."""
    if "datasets" not in row and "generators" not in row:
        sentence = "an override needs datasets, generators or both: for which cells is it?"
        raise where.error("override", index, "", sentence)
    if not {"params", "limits", "train_rows"} & set(row):
        sentence = "an override needs params, limits or train_rows: what does it change?"
        raise where.error("override", index, "", sentence)
    # A misspelt name would override nothing, and nobody would notice.
    labels = [known for generator in generators for known in _names(generator)]
    for key, known in {"datasets": list(datasets), "generators": labels}.items():
        given = row.get(key)
        if given == []:
            sentence = f"{key} is empty; leave it out where the override is for all of them."
            raise where.error("override", index, key, sentence)
        for name in given or ():
            if name not in known:
                sentence = f"the grid has no {key[:-1]} {name!r}; {nearest(str(name), known)}"
                raise where.error("override", index, key, sentence)


def _check_train_rows(row: Mapping, where: Lines, index: int) -> None:
    if row.get("train_rows", LEAST_TRAIN_ROWS) < LEAST_TRAIN_ROWS:
        sentence = f"train_rows is {row['train_rows']}; give at least {LEAST_TRAIN_ROWS}."
        raise where.error("override", index, "train_rows", sentence)


def _matches(override: Mapping, dataset: str, generator: Mapping) -> bool:
    if dataset not in override.get("datasets", [dataset]):
        return False
    # Left out means all of them.
    wanted = override.get("generators")
    return wanted is None or any(name in wanted for name in _names(generator))


def _names(generator: Mapping) -> list[str]:
    """By what an override may name a generator's row: its label, and the generator's own name."""
    return list(dict.fromkeys([generator["label"], generator["name"]]))
