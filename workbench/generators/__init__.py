"""The generator contract and the table of all generators.

A generator is a dataclass whose fields are its hyper-parameters, with three methods:

    supports(schema)                      None, or one sentence that says why it cannot take such a
                                          table
    fit(table, schema, rng)               learn from a table cast to the schema; returns itself;
                                          never changes the table
    sample(n, rng, where=None)            exactly n rows with the same columns, order and dtypes

A private one sets epsilon_spent, delta_spent and guarantee, one sentence of what these cover, when
it is fitted.

The same two random generators give the same table, byte for byte, on the same machine and library
versions. A private one's noise is its own, of the operating system's entropy, so that no two fits
are alike; its field noise_seed repeats it for tests, and then it guarantees nothing.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import resolve_name
from sys import modules
from typing import TYPE_CHECKING, Protocol

from workbench.errors import InputError, missing_package, nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from workbench.tables.datasets import Dataset
    from workbench.tables.schema import Schema


class Generator(Protocol):
    def supports(self, schema: Schema) -> str | None: ...

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Generator: ...

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Entry:
    """A registered generator: where its class lives, its family, and the paper it follows."""

    where: str  # "module:Class"
    family: str  # statistical, bayesian network, adversarial, mitigation, control
    title: str
    source: str
    fits_on: str = (
        "train"  # the holdout control alone is given half of test, and is scored on the other half
    )
    supports: tuple[
        str,
        ...,
        # "conditions" where it meets some by itself, "seconds" and "epsilon" where these are fields
    ] = ()

    def load(self) -> type:
        """The class; raises InputError where a package that it needs comes with an extra."""
        place, _, name = self.where.rpartition(":")
        try:
            if place.endswith(".py"):
                return getattr(_import_file(place), name)
            return resolve_name(self.where)
        except ModuleNotFoundError as error:
            raise missing_package(error) from None


GENERATORS: dict[str, Entry] = {
    "independent": Entry(
        "workbench.generators.statistical.independent:Independent",
        "statistical",
        "Independent marginals",
        "baseline",
    ),
    "gaussian-copula": Entry(
        "workbench.generators.statistical.gaussian_copula:GaussianCopula",
        "statistical",
        "Gaussian copula",
        "Sklar 1959; Nelsen 2006",
        supports=("conditions",),
    ),
    "vine-copula": Entry(
        "workbench.generators.statistical.vine_copula:VineCopula",
        "statistical",
        "Vine copula",
        "Dissmann et al. 2013",
    ),
    "cart": Entry(
        "workbench.generators.statistical.cart:Cart",
        "statistical",
        "CART, column by column",
        "Reiter 2005; Nowok, Raab and Dibben 2016",
    ),
    "parametric": Entry(
        "workbench.generators.statistical.parametric:Parametric",
        "statistical",
        "Linear and logistic models, column by column",
        "Nowok, Raab and Dibben 2016",
    ),
    "kernel-density": Entry(
        "workbench.generators.statistical.kernel_density:KernelDensity",
        "statistical",
        "Kernel density (smoothed bootstrap)",
        "Silverman and Young 1987",
    ),
    "arf": Entry(
        "workbench.generators.statistical.arf:AdversarialForest",
        "statistical",
        "Adversarial random forest",
        "Watson, Blesch, Kapar and Wright 2023",
    ),
    "bayes-tree": Entry(
        "workbench.generators.bayes.networks:ChowLiuTree",
        "bayesian network",
        "Chow-Liu tree",
        "Chow and Liu 1968",
    ),
    "bayes-tan": Entry(
        "workbench.generators.bayes.networks:TreeAugmented",
        "bayesian network",
        "Tree-augmented naive Bayes",
        "Friedman, Geiger and Goldszmidt 1997",
    ),
    "bayes-expert": Entry(
        "workbench.generators.bayes.networks:ExpertNetwork",
        "bayesian network",
        "Expert-given network",
        "Pearl 1988",
    ),
    "privbayes": Entry(
        "workbench.generators.private.privbayes:PrivBayes",
        "bayesian network",
        "PrivBayes",
        "Zhang et al. 2014, 2017",
        supports=("epsilon",),
    ),
    "mst": Entry(
        "workbench.generators.private.mst:MST",
        "bayesian network",
        "MST",
        "McKenna, Miklau and Sheldon 2021",
        supports=("epsilon",),
    ),
    "dp-tan": Entry(
        "workbench.generators.private.dp_tan:DPTAN",
        "bayesian network",
        "Tree-augmented naive Bayes (private)",
        "after Friedman, Geiger and Goldszmidt 1997; McKenna, Miklau and Sheldon 2021",
        supports=("epsilon",),
    ),
    "aim": Entry(
        "workbench.generators.private.aim:AIM",
        "bayesian network",
        "AIM",
        "McKenna, Mullins, Sheldon and Miklau 2022, arXiv:2201.12677",
        supports=("epsilon",),
    ),
    "dp-merf": Entry(
        "workbench.generators.private.dp_merf:DPMERF",
        "adversarial",
        "DP-MERF (private)",
        "Harder, Adamczewski and Park 2021, arXiv:2002.11603",
        supports=("seconds", "epsilon"),
    ),
    "bayes-hillclimb": Entry(
        "workbench.generators.bayes.networks:HillClimb",
        "bayesian network",
        "Bayesian network by hill climbing",
        "Heckerman, Geiger and Chickering 1995",
    ),
    "gan": Entry(
        "workbench.generators.neural.gan:GAN",
        "adversarial",
        "Plain GAN",
        "Goodfellow et al. 2014, arXiv:1406.2661",
        supports=("seconds",),
    ),
    "ctgan": Entry(
        "workbench.generators.neural.ctgan:CTGAN",
        "adversarial",
        "Conditional tabular GAN",
        "Xu et al. 2019, arXiv:1907.00503",
        supports=("conditions", "seconds"),
    ),
    "pate-gan": Entry(
        "workbench.generators.private.pate_gan:PateGAN",
        "adversarial",
        "PATE-GAN (private)",
        "Jordon, Yoon and van der Schaar 2019; Ganev et al. 2024",
        supports=("seconds", "epsilon"),
    ),
    "dp-gan": Entry(
        "workbench.generators.private.dp_gan:DPGAN",
        "adversarial",
        "DP-GAN (private)",
        "Xie et al. 2018, arXiv:1802.06739",
        supports=("seconds", "epsilon"),
    ),
    "tvae": Entry(
        "workbench.generators.neural.tvae:TVAE",
        "autoencoder",
        "Variational autoencoder for tables",
        "Xu et al. 2019, arXiv:1907.00503",
        supports=("seconds",),
    ),
    "diffusion": Entry(
        "workbench.generators.neural.diffusion:Diffusion",
        "diffusion",
        "Diffusion of numbers and labels",
        "Kotelnikov et al. 2023 (TabDDPM); Shi et al. 2025 (TabDiff)",
        supports=("seconds",),
    ),
    "autoregressive": Entry(
        "workbench.generators.neural.autoregressive:AutoregressiveTransformer",
        "autoregressive",
        "Autoregressive transformer over columns",
        "Castellon et al. 2023, arXiv:2307.10430",
        supports=("conditions", "seconds"),
    ),
    "llm": Entry(
        "workbench.generators.language.llm:LLM",
        "language model",
        "Prompted language model",
        "Seedat et al. 2024",
        supports=("conditions",),
    ),
    "great": Entry(
        "workbench.generators.language.great:GReaT",
        "language model",
        "GReaT, a fine-tuned language model",
        "Borisov et al. 2023",
        supports=("conditions", "seconds"),
    ),
    "simulation": Entry(
        "workbench.generators.simulation:Simulation",
        "simulation",
        "Calibrated simulator",
        "Beaumont, Zhang and Balding 2002",
    ),
    "reweighed": Entry(
        "workbench.generators.mitigated:Reweighed",
        "mitigation",
        "Reweighed, then CART",
        "Kamiran and Calders 2012",
    ),
    "per-group": Entry(
        "workbench.generators.mitigated:PerGroup",
        "mitigation",
        "CART for each group",
        "after Dwork et al. 2018",
    ),
    "holdout": Entry(
        "workbench.generators.controls:Holdout",
        "control",
        "Real holdout",
        "reference: real rows nobody trained on",
        "holdout",
        supports=("conditions",),
    ),
    "copy": Entry(
        "workbench.generators.controls:Copy",
        "control",
        "Raw copy of train",
        "reference: no privacy at all",
        supports=("conditions",),
    ),
    "permuted": Entry(
        "workbench.generators.controls:Permuted",
        "control",
        "Permuted columns",
        "reference: no joint structure",
    ),
    "smote": Entry(
        "workbench.generators.controls:Smote",
        "control",
        "SMOTE interpolation",
        "Chawla et al. 2002",
    ),
}


# What a grid's `table = "tabsyn-*.csv"` names: rows that others made are measured like a generator's.
GIVEN = "given"
_GIVEN = Entry("workbench.generators.given:Given", "given", "A table that was given", "a file")


def find(name: str) -> Entry:
    """The entry of a registered name, of GIVEN, or of a plug-in "path/to/file.py:Class", a file of the user's
    with such a class.
    """
    if name in GENERATORS:
        return GENERATORS[name]
    if name == GIVEN:
        return _GIVEN
    # From the right: a path on Windows has a colon of its own.
    file, _, class_name = name.rpartition(":")
    if file.endswith(".py"):
        return Entry(name, "plug-in", class_name, file)
    raise InputError(f"unknown generator {name!r}; {nearest(name, GENERATORS)}")


def _import_file(path: str):
    """The module of a Python file outside any package."""
    if not Path(path).is_file():
        raise InputError(
            f"no plug-in file {path!r}; give its path, for example ./my_generator.py:MyGenerator."
        )
    spec = spec_from_file_location(f"plugin_{Path(path).stem}", path)
    module = modules[spec.name] = module_from_spec(spec)  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def make(name: str, params: Mapping | None = None) -> Generator:
    """An unfitted generator by its name (see `find`), which keeps the constraints of the schema it
    will be fitted with.

    Raises InputError for an unknown name or parameter.
    """
    from workbench.generators.constrained import keep_constraints
    from workbench.generators.identified import keep_identifiers

    entry = find(name)
    # Only now is the generator's file imported, and with it torch or pgmpy.
    generator_class = entry.load()
    known = {field.name: field.type for field in fields(generator_class) if field.init}
    for key, value in (params or {}).items():
        if key not in known:
            ending = nearest(key, known) if known else "it has no parameters."
            raise InputError(f"generator {name!r} has no parameter {key!r}; {ending}")
        _check_type(name, key, value, str(known[key]))
    # Wrapped from the inside out: constraints see what the generator draws, identifiers the
    # finished rows.
    generator = keep_constraints(generator_class(**(params or {})))
    # A given table is to be seen whole, with its identifiers.
    return generator if name == GIVEN else keep_identifiers(generator, entry.family)


def _check_type(generator: str, key: str, value: object, annotation: str) -> None:
    """Raises InputError where a field that is declared a number or a truth value gets something
    else.
    """
    accepted = {"int": numbers.Integral, "float": numbers.Real, "bool": bool, "None": type(None)}
    # "int | None" as it is written: annotations are texts here.
    names = [part.strip() for part in annotation.split("|")]
    if not set(names) <= set(accepted):
        return  # texts, mappings and lists are the generator's own to check
    # To Python True is the number 1; to a reader of a grid it is not.
    is_truth = isinstance(value, bool)
    fits = any(
        isinstance(value, accepted[name]) and (name == "bool" or not is_truth) for name in names
    )
    if not fits:
        words = {"int": "a whole number", "float": "a number", "bool": "true or false", "None": ""}
        wanted = " or ".join(filter(None, (words[name] for name in names)))
        raise InputError(f"generator {generator!r}: parameter {key} is {value!r}; give {wanted}.")


def is_private(generator: Generator) -> bool:
    """Whether a generator promises privacy, or fits another one that does."""
    if "epsilon" in {field.name for field in fields(generator)}:  # type: ignore[arg-type]
        return True
    # A mitigation that fits a private generator looks at the rows as well.
    inner = getattr(generator, "inner", None)
    return isinstance(inner, str) and "epsilon" in find(inner).supports


def fit_notes(facts: object) -> list[str]:
    """Sentences in which a fitted generator's `facts` say what it left out: "notes", or of a table
    that was given "given". Nothing where they are no list: anybody's code wrote them.
    """
    if not isinstance(facts, Mapping):
        return []
    given = facts.get("given")
    found = given if isinstance(given, list) else facts.get("notes")
    return [str(sentence) for sentence in found] if isinstance(found, list) else []


def check_rows_and_seed(rows: object, seed: object) -> None:
    """Raises InputError where rows is no whole number from 1, or seed none from 0."""
    for name, value, least in (("rows", rows, 1), ("seed", seed, 0)):
        # numpy's whole numbers are no int.
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_whole or int(value) < least:  # type: ignore[call-overload]
            raise InputError(f"{name} is {value!r}; give a whole number of at least {least}.")


def check_least(generator: object, **least: float) -> None:
    """Raises InputError where a parameter of the generator is below its least value, or no number."""
    for name, bound in least.items():
        value = getattr(generator, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= bound:
            raise InputError(
                f"{type(generator).__name__}: {name} is {value!r}; give a number of at least"
                f" {bound}."
            )


def views(name: str, data: Dataset, seed: int) -> tuple[pd.DataFrame, Dataset]:
    """The table generator `name` may learn from, and the dataset its rows are scored on: train, and
    data itself.

    The holdout control learns from a random half of test, so its dataset keeps only the other half
    as test.
    """
    import numpy as np

    if find(name).fits_on == "train":
        return data.train, data
    # A stream of its own: fit and sample have 0 and 1.
    order = np.random.default_rng([seed, 2]).permutation(len(data.test))
    half = len(order) // 2
    parts = [
        data.test.iloc[np.sort(order[rows])].reset_index(drop=True)
        for rows in (slice(half), slice(half, None))
    ]
    return parts[0], replace(data, test=parts[1])


def fitted(name: str, data: Dataset, seed: int = 0, **params) -> Generator:
    """Generator `name`, fitted on the table of its view. Raises InputError where it cannot take
    such a table.
    """
    import numpy as np

    check_rows_and_seed(1, seed)
    # Parameters are checked before the table is looked at.
    generator = make(name, params)
    reason = generator.supports(data.schema)
    if reason:
        raise InputError(f"generator {name!r} cannot take this table: {reason}")
    return generator.fit(views(name, data, seed)[0], data.schema, np.random.default_rng([seed, 0]))


def generate(
    name: str,
    data: Dataset,
    rows: int | None = None,
    seed: int = 0,
    where: Mapping | None = None,
    written: bool = False,
    **params,
) -> pd.DataFrame:
    """Fit a generator on the train rows and sample a synthetic table.

    Parameters
    ----------
    name : str
        A registered generator (`workbench list generators`).
    data : Dataset
        What `load` returned. The generator sees data.train only.
    rows : int, optional
        How many rows to sample; by default as many as it was fitted on.
    seed : int
        Decides fit and sample: the same seed gives the same table.
    where : mapping, optional
        Conditions that every row meets: {"race": "black", "price": (400, 2000)}.
    written : bool
        Whether rows get the units, marks and dtypes of the table that was read;
        `data.written(rows)` gives them later.
    **params
        The generator's hyper-parameters, such as epochs=100.

    Returns
    -------
    DataFrame
        Rows with train's columns, and with its dtypes unless `written`.

    Raises
    ------
    InputError
        For an unknown generator or parameter, and where the generator cannot take such a table.

    Examples
    --------
    >>> from workbench import load
    >>> table = generate("independent", load("loans"), rows=5, where={"approve": False})
    >>> len(table), bool(table["approve"].any())
    (5, False)
    """
    check_rows_and_seed(1 if rows is None else rows, seed)
    # As many as it learns from, which for the holdout control is half of test.
    rows = len(views(name, data, seed)[0]) if rows is None else rows
    drawn = sampled(fitted(name, data, seed, **params), data, rows, seed, where)
    return data.written(drawn) if written else drawn


def sampled(
    generator: Generator, data: Dataset, rows: int, seed: int, where: Mapping | None = None
) -> pd.DataFrame:
    """Rows of a fitted generator, their numbers with no more digits than those of the real table:
    what `generate`, the page and its script show and score.
    """
    import numpy as np

    from workbench.tables.schema import rounded

    # Two streams of one seed: what fitting draws never shifts what sampling draws.
    drawn = generator.sample(rows, np.random.default_rng([seed, 1]), where=where)
    return rounded(drawn, data.schema)
