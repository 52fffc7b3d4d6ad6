"""Simulation: a program of how the rows come about, its parameters calibrated to the real table,
run to make new ones.

The simulator says what depends on what and why; train says how much, through statistics (shares,
quantiles, correlations), by approximate Bayesian computation (Beaumont, Zhang and Balding 2002). No
row is copied or learnt, and a question nobody has data for, such as one more doctor, can be asked.
What the simulator does not know, no calibration adds: look at `unreached` and at the card.
docs/simulation.md shows how to write one.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import ClassVar

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.generators import Entry, check_least
from workbench.generators.calibration import Posterior, calibrate
from workbench.generators.statistical.independent import Independent
from workbench.simulators import SIMULATORS, Prior, draw
from workbench.tables.conditions import sample_matching
from workbench.tables.constraints import broken, check, unequal
from workbench.tables.schema import Column, Schema

# Unreached statistics that the facts name; of a wide table there may be thousands
MOST_NAMED = 100


@dataclass
class Simulation:
    """A simulator calibrated by approximate Bayesian computation (Beaumont, Zhang and Balding
    2002).
    """

    simulator: str = ""
    """A name in SIMULATORS, or "path/to/file.py:Class", a simulator of yours."""
    calibrate: str = "abc"
    """"abc", or "none": then every parameter is drawn from its prior, and train is looked at for
    nothing else.
    """
    budget: int = 1024
    """Tables simulated to calibrate."""
    keep: float = 0.25
    """Share of a round of them that is kept, the nearest to train; at least 60."""
    most_rows: int = 2000
    """Most rows of such a table. Where train has more, the posterior is wider than it might be; and
    if the simulator makes rows in the order of a date, train's first ones in that order are what it
    is calibrated to.
    """
    worlds: int = 10
    """Draws of the parameters that share the rows of a table; 1 makes a table of one world."""
    rest: str = "error"
    """Train's columns that the simulator does not make: "error", or "independent", each drawn on
    its own from its marginal.
    """
    excluded: str = "error"
    """What a prior that excludes the data is: an "error", or a "warning"."""

    keeps_constraints: ClassVar[bool] = True  # rows that break one are drawn again

    def __post_init__(self):
        check_least(self, budget=4, most_rows=1, worlds=1)
        is_number = isinstance(self.keep, (int, float)) and not isinstance(self.keep, bool)
        if not is_number or not 0 < self.keep <= 1:
            raise InputError(f"Simulation: keep is {self.keep!r}; give a share above 0, at most 1.")
        choices = {
            "calibrate": ("abc", "none"),
            "rest": ("error", "independent"),
            "excluded": ("error", "warning"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"Simulation: {name} is {getattr(self, name)!r}; give {' or '.join(known)}."
                )

    def supports(self, schema: Schema) -> str | None:
        if not self.simulator:
            return f"it has no simulator; known: {', '.join(SIMULATORS)}, or path/to/file.py:Class."
        simulated = World(self.simulator).schema
        missing = [name for name in schema.names if name not in simulated.names]
        if missing and self.rest == "error":
            return (
                f"column {missing[0]!r} is not made by simulator {self.simulator!r}; drop it, or"
                ' set rest to "independent".'
            )
        if len(missing) == len(schema.names):
            return (
                f"simulator {self.simulator!r} makes none of the table's columns; it makes"
                f" {', '.join(simulated.names)}."
            )
        for column in schema.columns:
            if column.name in missing:
                continue
            kind = simulated[column.name].kind
            if column.kind != kind:
                return (
                    f"column {column.name!r} is {column.kind}, and simulator {self.simulator!r}"
                    f" makes it {kind}."
                )
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Simulation:
        """Raises InputError where `supports` says why not, and where the data are excluded."""
        if reason := self.supports(schema):
            raise InputError(f"Simulation: {reason}")
        check(table, schema)
        self._world = World(self.simulator)
        self._schema = schema
        self._combinations = [table[list(names)].drop_duplicates() for names in schema.combinations]
        simulated_names = self._world.schema.names
        own = Schema(tuple(column for column in schema.columns if column.name in simulated_names))
        rest = Schema(tuple(column for column in schema.columns if column.name not in own.names))
        self._rest = None
        if rest.names:
            self._rest = Independent().fit(table[rest.names], rest, rng)
        self._posterior = None
        if self.calibrate == "abc":
            self._posterior = self._calibrate(table[own.names], own, rng)
        self.facts = self._describe(rest.names, own.names, len(table))
        return self

    def _calibrate(self, table: pd.DataFrame, own: Schema, rng: np.random.Generator) -> Posterior:
        rows = min(len(table), self.most_rows)
        # The simulated tables have a stream of their own: however much is drawn there, the search
        # for parameters does not shift.
        stream = np.random.default_rng(rng.integers(2**63))

        def simulate(values: Mapping[str, float]) -> pd.DataFrame:
            described, _ = self._world.describe(self._world.run(rows, stream, values), own)
            return described

        real, described_schema = self._world.describe(self._consecutive(table, own, rows, rng), own)
        posterior = calibrate(
            simulate,
            real,
            described_schema,
            self._world.priors,
            rng,
            self.budget,
            self.keep,
            strict=self.excluded == "error",
        )
        if posterior.unreached:
            warnings.warn(
                f"simulator {self.simulator!r} does not reach {len(posterior.unreached)} statistics"
                f" of train, such as the {posterior.unreached[0]}; they are left out of the"
                " calibration.",
                stacklevel=3,
            )
        return posterior

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Exactly n rows in which the constraints and `where` hold, by rejection."""
        draw_rows = self._draw_valid if self._schema.constraints else self._draw
        return sample_matching(draw_rows, n, rng, self._schema, where)

    def parameters(self, rng: np.random.Generator) -> dict[str, float]:
        """One draw of all parameters: the calibrated ones from the posterior, the others from their
        priors.
        """
        values = draw(self._world.priors, rng)
        if self._posterior is None:
            return values
        draws = self._posterior.draws
        chosen = rng.choice(len(draws), p=self._posterior.weights)
        return values | draws.iloc[chosen].to_dict()

    @property
    def posterior(self) -> pd.DataFrame:
        """A row a calibrated parameter: unit, the prior's ends, the posterior's 95% interval and
        median, and width_left, the width of that interval in shares of the prior (1: nothing was
        learnt).
        """
        if self._posterior is None:
            raise InputError('Simulation: nothing was calibrated; set calibrate to "abc".')
        return self._posterior.table

    def _consecutive(
        self, table: pd.DataFrame, schema: Schema, rows: int, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Train, or its first rows by date where simulated ones come in that order: the same rate
        spans longer in more rows.
        """
        if rows >= len(table):
            return table
        simulated = self._world.run(100, rng, self.parameters(rng))
        for column in schema.columns:
            if column.kind == "datetime" and simulated[column.name].is_monotonic_increasing:
                return table.sort_values(column.name, kind="stable").head(rows)
        return table

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """n rows of several worlds, which follow each other."""
        if n == 0:  # which a simulator need not know to make
            return self._draw(1, rng).head(0)
        ends = np.linspace(0, n, min(self.worlds, n) + 1).astype(int)
        tables = []
        for size in np.diff(ends):
            tables.append(self._world.run(int(size), rng, self.parameters(rng)))
        table = pd.concat(tables, ignore_index=True)
        if self._rest is not None:
            table = table.join(self._rest.sample(n, rng))
        return table[self._schema.names]

    def _draw_valid(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Rows in which the constraints hold; the others are drawn again."""
        kept: list[pd.DataFrame] = []
        for _ in range(100):
            table = self._draw(max(n, 100), rng)
            for low, high, strict in self._schema.inequalities:
                table = table[~broken(table, low, high, strict)]
            for formula in self._schema.formulas:
                table = table[~unequal(table, *formula)]
            for combination in self._combinations:
                table = table.merge(combination, how="inner")
            kept.append(table)
            if sum(map(len, kept)) >= n:
                return pd.concat(kept, ignore_index=True).iloc[:n]
        raise InputError(
            f"simulator {self.simulator!r} hardly makes a row in which the constraints hold; drop"
            " one of them."
        )

    def _describe(self, rest: list[str], own: list[str], rows: int) -> dict:
        """What a cell's record keeps of the calibration."""
        is_drawn_from_prior = {
            name: self.calibrate == "none" or not prior.calibrated
            for name, prior in self._world.priors.items()
        }
        facts = {
            "simulator": self.simulator,
            "calibration": self.calibrate,
            "randomized": [name for name, is_drawn in is_drawn_from_prior.items() if is_drawn],
            "independent columns": rest,
            "columns not in train": [name for name in self._world.schema.names if name not in own],
        }
        if self._posterior is None:
            return facts
        intervals = {}
        ends = self._posterior.table.set_index("parameter")[["low", "median", "high"]]
        for name, row in ends.iterrows():
            intervals[name] = [float(f"{value:.6g}") for value in row]
        return facts | {
            "simulations": self._posterior.simulations,
            "rows of a simulation": min(rows, self.most_rows),
            "effective draws": round(self._posterior.effective, 1),
            "posterior": intervals,
            "unreached": self._posterior.unreached[:MOST_NAMED],
            "unreached in all": len(self._posterior.unreached),
        }


class World:
    """A simulator by its name, checked before and after every run: whatever is wrong is an
    InputError of one sentence.
    """

    def __init__(self, name: str):
        if name not in SIMULATORS and not name.rpartition(":")[0].endswith(".py"):
            raise InputError(f"unknown simulator {name!r}; {nearest(name, SIMULATORS)}")
        try:
            found = Entry(SIMULATORS.get(name, name), "", "", "").load()
            found = found() if isinstance(found, type) else found
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"simulator {name!r} cannot be loaded: {_in_words(error)}") from error
        self.name = name
        self._simulate = getattr(found, "simulate", found)
        self._derive = getattr(found, "derive", None)
        self._missing = set(getattr(found, "missing", ()))
        if not callable(self._simulate):
            raise InputError(f"simulator {name!r} has no simulate(n, rng, **parameters).")
        columns = self._declared(found, "columns", str)
        self.priors = self._declared(found, "priors", Prior)
        self.schema = Schema(tuple(Column(column, kind) for column, kind in columns.items()))
        self._check_parameters()

    def _declared(self, found: object, attribute: str, kind: type) -> Mapping:
        """A mapping that the simulator declares; raises InputError for anything else."""
        value = getattr(found, attribute, None)
        is_mapping = isinstance(value, Mapping)
        if not is_mapping or not all(isinstance(item, kind) for item in value.values()):
            raise InputError(
                f"simulator {self.name!r} has no {attribute}: declare a dict of name to"
                f" {kind.__name__}."
            )
        return value

    def _check_parameters(self) -> None:
        """Raises InputError for a prior whose parameter the simulator does not take."""
        taken = signature(self._simulate).parameters
        if any(value.kind is Parameter.VAR_KEYWORD for value in taken.values()):
            return
        by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        named = [key for key, value in taken.items() if value.kind in by_name]
        own = named[2:]  # after the number of rows and the random generator
        for parameter in self.priors:
            if parameter not in own:
                raise InputError(
                    f"simulator {self.name!r} takes no parameter {parameter!r};"
                    f" {nearest(parameter, own)}"
                )

    def describe(self, table: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, Schema]:
        """The table with the numbers that the simulator derives, where it has all of its columns,
        and the schema of both.
        """
        if self._derive is None or len(schema.columns) < len(self.schema.columns):
            return table, schema
        try:
            further = self._derive(table).astype(float).replace([np.inf, -np.inf], np.nan)
            joined = table.join(further, validate="1:1")
        except Exception as error:
            raise InputError(
                f"simulator {self.name!r} cannot derive its numbers: {_in_words(error)}"
            ) from error
        return joined, Schema((*schema.columns, *(Column(name, "numeric") for name in further)))

    def run(self, n: int, rng: np.random.Generator, values: Mapping[str, float]) -> pd.DataFrame:
        """A table of n rows, cast to the simulator's schema."""
        before = _global_state()
        # A stream of its own: however much the simulator draws, nothing else shifts.
        try:
            table = self._simulate(n, np.random.default_rng(rng.integers(2**63, size=2)), **values)
        except Exception as error:
            at = ", ".join(f"{name}={value:.4g}" for name, value in values.items())
            raise InputError(
                f"simulator {self.name!r} failed with {at}: {_in_words(error)}"
            ) from error
        if _global_state() != before:
            raise InputError(
                f"simulator {self.name!r} draws from a global random state; let it use the"
                " generator it is given."
            )
        if not isinstance(table, pd.DataFrame):
            raise InputError(
                f"simulator {self.name!r} returned a {type(table).__name__}; it must return a"
                " DataFrame."
            )
        if len(table) != n:
            raise InputError(
                f"simulator {self.name!r} returned {len(table)} rows where {n} were asked for."
            )
        try:
            table = self.schema.cast(table)
        except InputError as error:
            raise InputError(
                f"simulator {self.name!r} does not make what it declares: {error}"
            ) from None
        for name in table.columns[table.isna().any()]:
            if name not in self._missing:
                raise InputError(
                    f"simulator {self.name!r} leaves column {name!r} missing; list it in `missing`,"
                    " or fill it."
                )
        return table


def _in_words(error: Exception) -> str:
    """The kind of an error and its first line."""
    lines = str(error).splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"


def _global_state() -> tuple:
    """What any draw from numpy's or Python's global generator changes."""
    state = np.random.get_state(legacy=False)
    inner = state["state"]
    kept_normal = (state["has_gauss"], state["gauss"])
    return inner["key"].tobytes(), inner["pos"], kept_normal, random.getstate()
