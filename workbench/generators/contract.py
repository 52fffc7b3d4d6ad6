"""The contract of a generator as checks that run: over every registered one in the tests, and over
one that somebody wrote by `workbench check ./my_generator.py:MyGenerator`.

A check is a function of a `Candidate` that returns nothing where the contract holds, and raises
`Broken` with one sentence where it does not, or `Aside` where it does not apply. What it looks at is
a made-up table with every kind of column, some with missing values, some constant, some empty.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.files import plain
from workbench.generators import find, is_private, make
from workbench.tables.conditions import matches
from workbench.tables.datasets import table_hash
from workbench.tables.schema import Column, Schema
from workbench.words import shortened

if TYPE_CHECKING:
    from workbench.generators import Generator

PASSES, FAILS, NOTE, ASIDE = "passes", "FAILS", "note", "aside"
METHODS = {
    "supports": ("schema",),
    "fit": ("table", "schema", "rng"),
    "sample": ("n", "rng", "where"),
}

SCHEMA = Schema(
    (
        Column("income", "numeric"),
        Column("rate", "numeric"),
        Column("age", "integer"),
        Column("debts", "integer"),
        Column("region", "categorical"),
        Column("job", "categorical"),
        Column("married", "boolean", "sensitive"),
        Column("opened", "datetime"),
        Column("always_1.5", "numeric"),
        Column("always_x", "categorical"),
        Column("never_number", "numeric"),
        Column("never_date", "datetime"),
        Column("never_label", "categorical"),
        Column("never_truth", "boolean"),
        Column("default", "categorical", "target"),
    ),
    positive="yes",
)


class Broken(AssertionError):
    """The contract does not hold; the text is one sentence that says how."""


class Aside(Exception):
    """The check does not apply to this generator; the text says why."""


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows of SCHEMA."""
    # Columns depend on each other: a generator that keeps nothing must not look right by chance.
    draw = rng(seed)
    age = draw.integers(18, 90, rows)
    income = draw.lognormal(10, 0.5, rows) * (1 + age / 50)
    risky = draw.random(rows) < 1 / (1 + np.exp((income - 40_000) / 20_000))

    def some(values, missing):
        values = pd.Series(values)
        return values.where(draw.random(rows) >= missing)

    return SCHEMA.cast(
        pd.DataFrame(
            {
                "income": some(income, 0.2),
                "rate": np.round(draw.normal(3, 1, rows), 2),
                "age": age,
                "debts": some(draw.poisson(2, rows).astype(float), 0.3),
                "region": draw.choice(["north", "south", "east"], rows, p=[0.6, 0.3, 0.1]),
                "job": some(
                    np.where(age > 65, "retired", draw.choice(["clerk", "driver"], rows)), 0.1
                ),
                "married": some((age > 30) & (draw.random(rows) < 0.7), 0.25).astype("boolean"),
                "opened": some(
                    pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 900, rows), "D"),
                    0.15,
                ),
                "always_1.5": 1.5,
                "always_x": "x",
                "never_number": np.nan,
                "never_date": pd.NaT,
                "never_label": None,
                "never_truth": pd.array([None] * rows, dtype="boolean"),
                "default": np.where(risky, "yes", "no"),
            }
        )
    )


TABLE = make_table(300)
# Rows that checks look at which only look: drawn once, since some generators write theirs slowly.
MANY = 2000


class Candidate:
    """A generator under check, and its fits, each computed once.

    new: makes it anew, unfitted, as the batch does. brief: the same for fits that are held to the
    contract alone; `new` where left out.
    """

    def __init__(self, new: Callable[[], Generator], brief: Callable[[], Generator] | None = None):
        self.new = new
        self.brief = brief or new
        self._failure: Exception | None = None

    def fit(
        self,
        table: pd.DataFrame = TABLE,
        schema: Schema = SCHEMA,
        seed: int = 1,
        new: Callable[[], Generator] | None = None,
    ) -> Generator:
        """Fitted on a copy of a table, so that a generator that changes what it gets spoils no later
        check; raises Aside where it cannot take such a one.
        """
        return self._fit(table.copy(deep=True), schema, seed, new or self.brief)

    def _fit(
        self, table: pd.DataFrame, schema: Schema, seed: int, new: Callable[[], Generator]
    ) -> Generator:
        # Made anew for each fit: what one leaves behind must not help the next.
        generator = new()
        reason = generator.supports(schema)
        if reason:
            raise Aside(f"it says that it cannot take such a table: {reason}")
        return generator.fit(table, schema, rng(seed))

    @cached_property
    def trained(self) -> Generator:
        """Fitted on TABLE; sampling must not change it. A fit that failed is not tried again."""
        if self._failure is not None:
            raise self._failure
        try:
            return self.fit(new=self.new)
        except Exception as error:
            self._failure = error
            raise

    @cached_property
    def rows(self) -> pd.DataFrame:
        """MANY rows of the trained one."""
        return self.trained.sample(MANY, rng(2))

    @cached_property
    def trained_again(self) -> tuple[Generator, pd.DataFrame, bool]:
        """A second fit, on a copy of TABLE: the generator, that copy, and whether the global random
        states of numpy and torch are as they were.
        """
        # Put back at the end: the check of global state must not move it for others.
        kept = np.random.get_state()
        try:
            np.random.seed(123)
            before = _global_states()
            table = TABLE.copy(deep=True)
            generator = self._fit(table, SCHEMA, 1, self.new)
            synthetic = generator.sample(50, rng(2))
            # Rows that share memory with the train table would change it here.
            synthetic.loc[:, "rate"] = -1.0
            generator.sample(50, rng(2))
            is_kept = before == _global_states(with_torch="torch" in before)
        finally:
            np.random.set_state(kept)
        return generator, table, is_kept

    @property
    def repeats(self) -> bool:
        """Whether two fits on the same stream must be equal: of a private generator they must not,
        unless a field `noise_seed` repeats its noise.
        """
        generator = self.new()
        return not is_private(generator) or getattr(generator, "noise_seed", None) is not None


def _global_states(with_torch: bool | None = None) -> dict:
    states = {"numpy": np.random.get_state()[1].tolist()}  # type: ignore[index]
    is_there = "torch" in sys.modules if with_torch is None else with_torch
    if is_there:
        states["torch"] = sys.modules["torch"].get_rng_state().tolist()
    return states


def require(holds: bool, sentence: str) -> None:
    """Raises Broken with the sentence where the contract does not hold."""
    if not holds:
        raise Broken(sentence)


def conforms(synthetic: object, n: int, schema: Schema = SCHEMA) -> None:
    """Exactly n rows with the columns, order, dtypes and index of the contract."""
    require(
        isinstance(synthetic, pd.DataFrame),
        f"sample returned a {type(synthetic).__name__}; return a pandas DataFrame.",
    )
    assert isinstance(synthetic, pd.DataFrame)
    require(len(synthetic) == n, f"{n} rows were wanted and {len(synthetic)} came.")
    for problem in schema.check(synthetic):
        raise Broken(problem)
    require(
        list(synthetic.columns) == schema.names,
        f"the columns came in the order {shortened(', '.join(map(str, synthetic.columns)), 80)};"
        " keep that of the table.",
    )
    require(
        synthetic.index.equals(pd.RangeIndex(n)),
        "the rows are not numbered from 0; end with reset_index(drop=True).",
    )


# The contract -----------------------------------------------------------------------------------


def rows_columns_and_dtypes(candidate: Candidate, n: int = 300) -> None:
    """Exactly as many rows as were wanted, with the table's columns, order and dtypes."""
    synthetic = candidate.rows if n == MANY else candidate.trained.sample(n, rng(2))
    conforms(synthetic, n)


def labels_are_those_of_train(candidate: Candidate) -> None:
    """Every label is one that train has."""
    synthetic = candidate.rows
    for column in SCHEMA.columns:
        if not column.is_discrete:
            continue
        # Many rows: a rare stray label shows only in them.
        unknown = set(synthetic[column.name].dropna()) - set(TABLE[column.name].dropna())
        example = sorted(map(str, unknown))[:1]
        require(
            not unknown,
            f"column {column.name!r} has labels that train never had, such as {example}.",
        )


def input_is_not_changed(candidate: Candidate) -> None:
    """Neither fitting nor sampling changes the table that was given."""
    _, table, _ = candidate.trained_again
    require(
        table_hash(table) == table_hash(TABLE),
        "the train table was changed; work on a copy, and return rows that share no memory with it.",
    )


def same_streams_give_the_same_table(candidate: Candidate) -> None:
    """The same pair of random generators gives the same bytes, and another one others."""
    # Sampled twice from one fit first: the cheaper of the two ways in which streams can leak.
    one = candidate.trained
    first = table_hash(one.sample(200, rng(2)))
    require(
        first == table_hash(one.sample(200, rng(2))),
        "sampling twice from one fit by the same stream gives other rows: something is drawn from"
        " elsewhere, or sampling leaves a trace in the generator.",
    )
    if not candidate.repeats:
        return  # two fits of a private generator differ, and must
    other, _, _ = candidate.trained_again
    again = table_hash(other.sample(200, rng(2)))
    require(
        first == again,
        "two fits by the same streams give other rows: take all randomness from `rng`.",
    )
    require(
        table_hash(one.sample(200, rng(3))) != again,
        "another stream gives the same rows: sample does not use `rng`.",
    )


def global_random_state_is_left_alone(candidate: Candidate) -> None:
    """Numpy's and torch's global random states stay as they were."""
    _, _, is_kept = candidate.trained_again
    require(is_kept, "a global random state was moved; draw from `rng`, not from np.random.")


def small_tables(candidate: Candidate, rows: int = 50) -> None:
    """A table of very few rows can be learnt from."""
    # Other rows than TABLE's, with fewer of each label.
    table = make_table(rows, seed=5)
    synthetic = candidate.fit(table).sample(120, rng(2))
    conforms(synthetic, 120)


def a_single_column(candidate: Candidate, kind: str = "numeric") -> None:
    """A table of one column."""
    source = {"numeric": "rate", "categorical": "region", "datetime": "opened"}[kind]
    schema = Schema((SCHEMA[source],))
    conforms(candidate.fit(TABLE[[source]], schema).sample(40, rng(2)), 40, schema)


def without_target(candidate: Candidate) -> None:
    """A table of which no column is to be predicted."""
    schema = SCHEMA.with_roles()
    conforms(candidate.fit(TABLE, schema).sample(40, rng(2)), 40, schema)


def a_number_as_target(candidate: Candidate) -> None:
    """A table whose target is a number."""
    schema = SCHEMA.with_roles(target="income")
    conforms(candidate.fit(TABLE, schema).sample(40, rng(2)), 40, schema)


def conditions(candidate: Candidate) -> None:
    """Every row meets the conditions, by the same streams the same rows."""
    # A label, a range and a truth value together; about one row in twenty meets them.
    where = {"region": "south", "age": (30, 60), "married": True}
    synthetic = candidate.trained.sample(25, rng(2), where=where)
    conforms(synthetic, 25)
    missed = 25 - int(matches(synthetic, SCHEMA, where).sum())
    require(
        missed == 0,
        f"{missed} of 25 rows do not meet the conditions; meet them, or raise an InputError.",
    )
    again = candidate.trained.sample(25, rng(2), where=where)
    require(
        table_hash(synthetic) == table_hash(again),
        "the same stream and conditions give other rows the second time.",
    )


def impossible_conditions(candidate: Candidate) -> None:
    """Conditions that cannot be met end in an InputError."""
    for where in ({"region": "west"}, {"regoin": "south"}):
        try:
            candidate.trained.sample(5, rng(2), where=where)
        except InputError:
            continue
        raise Broken(f"where={where} gave rows; raise an InputError that says what is wrong.")


def a_private_one_says_what_it_spent(candidate: Candidate) -> None:
    """A private generator tells its budget in numbers and its guarantee in a sentence."""
    if not is_private(candidate.new()):
        raise Aside("it has no field epsilon, so it promises no privacy")
    fitted = candidate.trained
    lacking = [
        name for name in ("epsilon_spent", "delta_spent", "guarantee") if not hasattr(fitted, name)
    ]
    require(
        not lacking,
        f"it has a field epsilon and sets no {' and no '.join(lacking)} when it is fitted, so"
        " nothing is claimed for its rows.",
    )
    spent = (fitted.epsilon_spent, fitted.delta_spent)  # type: ignore[attr-defined]
    is_number = [isinstance(value, (int, float)) and value >= 0 for value in spent]
    require(all(is_number), f"epsilon_spent and delta_spent are {spent!r}; give numbers from 0.")
    sentence = fitted.guarantee  # type: ignore[attr-defined]
    require(isinstance(sentence, str) and bool(sentence.strip()), "guarantee is no sentence.")


def noise_of_a_private_one_is_its_own(candidate: Candidate) -> None:
    """Nobody who knows the seed of a report can repeat a private generator's noise."""
    if not is_private(candidate.new()):
        raise Aside("it has no field epsilon, so it promises no privacy")
    if candidate.repeats:
        raise Aside("its noise_seed is set, which repeats the noise for tests")
    other, _, _ = candidate.trained_again
    # The same stream both times: what differs comes from the fits' own noise.
    rows = [table_hash(one.sample(200, rng(2))) for one in (candidate.trained, other)]
    require(
        rows[0] != rows[1],
        "two fits by the same stream give the same rows: its noise comes from `rng`, whose seed"
        " every report prints. Take it from the operating system (secrets.SystemRandom).",
    )


# What the registered generators keep too ---------------------------------------------------------


def numbers_stay_in_range(candidate: Candidate) -> None:
    """Numbers and dates stay within train's range and steps."""
    synthetic = candidate.rows
    for column in SCHEMA.columns:
        # Gaps are no values, and have a check of their own.
        real, drawn = TABLE[column.name].dropna(), synthetic[column.name].dropna()
        if column.is_discrete or not len(drawn) or not len(real):
            continue
        is_inside = drawn.min() >= real.min() and drawn.max() <= real.max()
        require(
            is_inside,
            f"column {column.name!r} leaves train's range {real.min()} to {real.max()}.",
        )
    require(
        bool((synthetic["rate"].round(2) == synthetic["rate"]).all()),
        "column 'rate' has two decimals in train and more in the rows.",
    )
    opened = synthetic["opened"].dropna()
    require(
        bool((opened == opened.dt.normalize()).all()),
        "column 'opened' has whole days in train and times of day in the rows.",
    )


def constant_and_all_missing_columns(candidate: Candidate) -> None:
    """A constant column stays constant, and an empty one empty."""
    synthetic = candidate.rows
    for name, value in {"always_1.5": 1.5, "always_x": "x"}.items():
        same = bool((synthetic[name] == value).fillna(False).all())
        require(same, f"column {name!r} is always {value!r} in train, and not in the rows.")
    for kind in ("number", "date", "label", "truth"):
        is_empty = bool(synthetic[f"never_{kind}"].isna().all())
        require(is_empty, f"column 'never_{kind}' has no value in train, and some in the rows.")


@dataclass(frozen=True)
class Check:
    """One check with its arguments, and the question that it answers."""

    question: str
    function: Callable[..., None]
    arguments: tuple = ()
    is_required: bool = True


CHECKS = (
    *(Check(f"{n:,} rows, columns, dtypes", rows_columns_and_dtypes, (n,)) for n in (1, 7, 300)),
    Check("labels are those of train", labels_are_those_of_train),
    Check("the train table is not changed", input_is_not_changed),
    Check("same streams, same rows", same_streams_give_the_same_table),
    Check("global random state left alone", global_random_state_is_left_alone),
    *(Check(f"a table of {n} rows", small_tables, (n,)) for n in (2, 50)),
    *(
        Check(f"a {kind} column alone", a_single_column, (kind,))
        for kind in ("numeric", "categorical", "datetime")
    ),
    Check("no target", without_target),
    Check("a number as target", a_number_as_target),
    Check("conditions are met", conditions),
    Check("impossible conditions are refused", impossible_conditions),
    Check("a private one: what it spent", a_private_one_says_what_it_spent),
    Check("a private one: its own noise", noise_of_a_private_one_is_its_own),
    Check("numbers within train's range", numbers_stay_in_range, is_required=False),
    Check("constant and empty columns", constant_and_all_missing_columns, is_required=False),
)


@dataclass(frozen=True)
class Finding:
    """How one check ended: PASSES, FAILS, NOTE or ASIDE, with a sentence for all but the first."""

    question: str
    state: str
    sentence: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        line = f"{self.state:<10} {self.question:<36} {self.seconds:6.1f} s  {self.sentence}"
        return plain(line.rstrip()).replace("\n", " ")


def findings(name: str, params: Mapping | None = None) -> Iterator[Finding]:
    """Every check of generator `name`, a registered one or "./file.py:Class", one after the other.

    A class that cannot be made ends the list. Raises InputError for a file that is not there and
    an unknown parameter.
    """
    # As the batch makes it, with constraints and identifiers around it.
    candidate = Candidate(lambda: make(name, params))
    first = _finding(Check("the class", the_class, (name,)), candidate)
    yield first
    if first.state == FAILS:
        return
    for check in CHECKS:
        yield _finding(check, candidate)


def summary(states: Mapping[str, int]) -> str:
    """One sentence on all findings. states: how many ended in each state."""
    parts = [f"{states.get(PASSES, 0)} checks pass", f"{states.get(FAILS, 0)} fail"]
    if states.get(NOTE):
        parts.append(f"{states[NOTE]} notes on what registered generators keep and yours need not")
    if states.get(ASIDE):
        parts.append(f"{states[ASIDE]} do not apply")
    return ", ".join(parts) + "."


def the_class(candidate: Candidate, name: str) -> None:
    """A dataclass with three methods, whose fields have defaults."""
    class_name = name.rpartition(":")[2]
    try:
        found = find(name).load()
    except AttributeError:
        raise Broken(f"the file defines no {class_name!r}.") from None
    require(is_dataclass(found), f"{class_name} is no dataclass; write @dataclass above it.")
    for field in fields(found):
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        require(has_default, f"field {field.name!r} has no default.")
    for method, wanted in METHODS.items():
        function = getattr(found, method, None)
        require(callable(function), f"{class_name} has no method {method}.")
        assert function is not None
        # By name, because the workbench calls them by name.
        given = inspect.signature(function).parameters
        is_open = any(one.kind is one.VAR_KEYWORD for one in given.values())
        lacking = [word for word in wanted if word not in given and not is_open]
        require(
            not lacking,
            f"{method} has no parameter {' and no '.join(lacking)}; its parameters are"
            f" {', '.join(('self', *wanted))}.",
        )
    candidate.new()


def _finding(check: Check, candidate: Candidate) -> Finding:
    start = time.perf_counter()
    state, sentence = PASSES, ""
    try:
        check.function(candidate, *check.arguments)
    except Aside as reason:
        state, sentence = ASIDE, str(reason)
    except Broken as broken:
        state, sentence = FAILS, str(broken)
    except InputError as error:
        if check.function is the_class:
            raise
        state, sentence = _refused(check, error)
    except Exception as error:  # whatever somebody's code raises
        state, sentence = FAILS, _raised(error)
    if state == FAILS and not check.is_required:
        state = NOTE
    return Finding(check.question, state, sentence, time.perf_counter() - start)


def _refused(check: Check, error: InputError) -> tuple[str, str]:
    """A generator may refuse conditions; nothing else that its `supports` has let through."""
    if check.function is conditions:
        return ASIDE, f"it refuses conditions, as it may: {error}"
    return FAILS, f"InputError: {error}"


def _raised(error: Exception) -> str:
    """An error in words, with the line of the file that it comes from."""
    frames = list(traceback.extract_tb(error.__traceback__))
    # The last line that is neither a library's nor this package's, where there is one.
    others = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<frozen")
    own = []
    for frame in frames:
        is_library = "site-packages" in frame.filename or frame.filename.startswith(others)
        if not is_library:
            own.append(frame)
    frames = own or frames
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {shortened(lines[0], 200)}{place}"
