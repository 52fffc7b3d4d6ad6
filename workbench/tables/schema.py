"""What a table means: each column's kind and role, and the one canonical dtype that follows from
its kind.

Everything else reads tables through this file, so a generator or a metric never guesses what a
column is. A cast table has these dtypes and no others; missing values stay missing:

    numeric      float64          integer   Int64        boolean   boolean
    categorical  object of str    datetime  datetime64[ns], without a time zone
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables import identifiers as identity
from workbench.tables import sdv

KINDS = {
    "numeric": "float64",
    "integer": "Int64",
    "categorical": "object",
    "boolean": "boolean",
    "datetime": "datetime64[ns]",
}
ROLES = ("feature", "target", "sensitive", "identifier", "group")

BOOLEAN_TEXT = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
MISSING_MARKS = {"na", "n/a", "nan", "null", "none", "missing", "?", "-", "."}
_ZERO_LED = re.compile(
    r"0\d+$"
)  # 01234 is a code, such as a postal code: its zero is lost in a number
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$")


@dataclass(frozen=True)
class Column:
    """One column.

    >>> Column("age", "integer").is_discrete
    False
    """

    name: str
    kind: str
    role: str = "feature"
    description: str = ""

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise InputError(f"column name {self.name!r} is not text; give every column a name.")
        if self.kind not in KINDS:
            raise InputError(
                f"column {self.name!r}: unknown kind {self.kind!r}; {nearest(self.kind, KINDS)}"
            )
        if self.role not in ROLES:
            raise InputError(
                f"column {self.name!r}: unknown role {self.role!r}; {nearest(self.role, ROLES)}"
            )

    @property
    def is_discrete(self) -> bool:
        """Whether values are labels (categorical, boolean) rather than points on a line."""
        return self.kind in ("categorical", "boolean")

    def cast(self, values: pd.Series) -> pd.Series:
        """The values in the dtype of this kind. Raises InputError for one that it cannot take."""
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(object)
        try:
            return _CASTS[self.kind](values)
        except InputError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"column {self.name!r} cannot be read as {self.kind} ({reason}); declare another"
                " kind."
            ) from None


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order. At most one is the target; any number are sensitive.

    An identifier names one row (a customer number, an e-mail address), a group the rows that belong
    together (the patient of several visits). Neither is modelled or scored; synthetic rows get
    fresh values of the same pattern.

    `positive` is the target's label that counts as the event in a binary or one-against-rest score
    (as text); for a boolean target it is "True", otherwise the rarest label of the table the schema
    was inferred from.

    `constraints` hold in every row, and so in every synthetic row: "low <= high" or "low < high"
    for two columns of numbers or two of dates (a missing side satisfies it), and names of label
    columns, ("city", "country"), of which only the combinations seen in train occur; and sums or
    products of number columns, "total = a + b" or "total = a * b", to the digits that total has.

    >>> Schema((Column("a", "integer"), Column("b", "integer")), constraints=["a <= b"]).inequalities
    [('a', 'b', False)]
    """

    columns: tuple[Column, ...]
    positive: str | None = None
    constraints: tuple[str | tuple[str, ...], ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "constraints", _listed_constraints(self.constraints))
        for name, count in Counter(self.names).items():
            if count > 1:
                raise InputError(
                    f"column name {name!r} occurs more than once in the schema; name each column"
                    " once."
                )
        targets = [column.name for column in self.columns if column.role == "target"]
        if len(targets) > 1:
            raise InputError(
                f"columns {', '.join(map(repr, targets))} are all targets; a schema has one at"
                " most."
            )
        _check_constraints(self)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise InputError(f"no column {name!r}; {nearest(name, self.names)}")

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def target(self) -> Column | None:
        return next((column for column in self.columns if column.role == "target"), None)

    @property
    def sensitive(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role == "sensitive")

    @property
    def identifying(self) -> tuple[Column, ...]:
        """The columns that say who a row is: identifiers, and the group."""
        return tuple(column for column in self.columns if column.role in ("identifier", "group"))

    @property
    def group(self) -> Column | None:
        """The column whose equal values mark rows that belong together."""
        return next((column for column in self.columns if column.role == "group"), None)

    @property
    def modelled(self) -> Schema:
        """The schema of the columns that generators learn and metrics score: all but identifiers
        and the group.
        """
        if not self.identifying:
            return self
        kept = tuple(column for column in self.columns if column not in self.identifying)
        return replace(self, columns=kept)

    @property
    def role_notes(self) -> list[str]:
        """A sentence on the identifiers and one on the group, where there are any."""
        notes = []
        names = [repr(column.name) for column in self.columns if column.role == "identifier"]
        if names:
            notes.append(
                "Identifiers are neither learnt nor scored, and synthetic rows get fresh ones of"
                f" the same pattern: {', '.join(names)}."
            )
        if self.group:
            notes.append(
                f"Rows of one {self.group.name!r} stay on one side of the split, and synthetic rows"
                " get fresh values of it; privacy readings count rows, not those whom"
                f" {self.group.name!r} names."
            )
        return notes

    @property
    def task(self) -> str | None:
        """What a learner does with the target: "classification", "regression", or None without a
        target.
        """
        if self.target is None:
            return None
        return "classification" if self.target.is_discrete else "regression"

    @property
    def inequalities(self) -> list[tuple[str, str, bool]]:
        """The columns (low, high) of each inequality, and whether it is strict."""
        names = self.names
        texts = [text for text in self.constraints if isinstance(text, str)]
        return [_inequality(text, names) for text in texts if _formula(text, names) is None]

    @property
    def formulas(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """The total, the sign ("+" or "*") and the parts of each sum or product."""
        texts = [text for text in self.constraints if isinstance(text, str)]
        found = [_formula(text, self.names) for text in texts]
        return [formula for formula in found if formula is not None]

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """The columns of each fixed combination."""
        return [names for names in self.constraints if not isinstance(names, str)]

    @classmethod
    def infer(
        cls,
        table: pd.DataFrame,
        target: str | None = None,
        sensitive: Iterable[str] = (),
        kinds: Mapping[str, str] | None = None,
        constraints: Iterable[str | Iterable[str]] = (),
        identifiers: Iterable[str] | None = None,
        group: str | None = None,
    ) -> Schema:
        """Read a schema off a raw table; `kinds` overrides what is inferred, `constraints` are
        taken as declared. Columns with a value of their own in nearly every row are identifiers,
        unless `identifiers` names them (none where it is empty).

        Whole numbers are integer, 0/1 and true/false are boolean, ISO dates are datetime, other
        text is categorical, and so are text columns of digits with a leading zero (codes). A target
        with two distinct values, and a sensitive column with at most ten distinct whole numbers,
        are labels. Raises InputError for duplicate names, infinite values, up to a tenth of text
        (or any "NA" or "?") among numbers, and roles that name no column.
        """
        _check_names(table)
        names = list(table.columns)
        kinds, sensitive = dict(kinds or {}), list(sensitive)
        roles = _declared_roles(names, target, sensitive, identifiers, group)
        _check_known("kinds", kinds, names)

        columns = []
        for name in names:
            role = roles.get(name, "feature")
            kind = kinds.get(name) or _inferred_kind(table[name], role)
            if name not in kinds and kind in ("numeric", "integer"):
                distinct = table[name].nunique()
                if (role == "target" and distinct <= 2) or (
                    role == "sensitive" and kind == "integer" and distinct <= 10
                ):
                    kind = "categorical"
            if (
                identifiers is None
                and role == "feature"
                and identity.is_identifier(table[name], kind)
            ):
                role = "identifier"
            columns.append(Column(name, kind, role))
        return cls(tuple(columns), constraints=_listed_constraints(constraints)).with_positive(
            table
        )

    def with_positive(self, table: pd.DataFrame) -> Schema:
        """The same schema with `positive` read off `table` where the target has labels."""
        if self.task != "classification":
            return replace(self, positive=None)
        if self.target.kind == "boolean":
            return replace(self, positive="True")
        labels = table[self.target.name].reset_index(drop=True)
        counts = self.target.cast(labels).value_counts()
        # Ties go to the label that sorts last, so the choice does not depend on the row order.
        rarest = sorted(counts.index[counts == counts.min()])[-1] if len(counts) else None
        return replace(self, positive=rarest)

    def with_roles(self, target: str | None = None, sensitive: Iterable[str] = ()) -> Schema:
        """The same columns with other roles (and no `positive` yet); identifiers and the group
        stay.
        """
        sensitive = list(sensitive)
        for name in [*([target] if target is not None else []), *sensitive]:
            self[name]
        role = {column.name: column.role for column in self.identifying}
        role |= dict.fromkeys(sensitive, "sensitive")
        role |= {target: "target"} if target is not None else {}
        columns = tuple(
            replace(column, role=role.get(column.name, "feature")) for column in self.columns
        )
        return Schema(columns, constraints=self.constraints)

    def cast(self, table: pd.DataFrame) -> pd.DataFrame:
        """A copy of `table` with exactly this schema's columns, order and dtypes.

        Raises InputError naming the first column that is missing, surplus, or holds a value its
        kind cannot take.
        """
        _check_names(table)
        names = set(self.names)
        for name in self.names:
            if name not in table.columns:
                raise InputError(
                    f"column {name!r} is missing from the table;"
                    f" {nearest(name, map(str, table.columns))}"
                )
        for name in table.columns:
            if name not in names:
                raise InputError(
                    f"column {name!r} is not in the schema; drop it or infer the schema again."
                )
        table = table.reset_index(drop=True)
        columns = {column.name: column.cast(table[column.name]) for column in self.columns}
        return pd.DataFrame(columns, columns=self.names)

    def check(self, table: pd.DataFrame) -> list[str]:
        """What keeps `table` from this schema, one sentence a problem; empty when it conforms."""
        names = self.names
        problems = [f"column {name!r} is missing." for name in names if name not in table.columns]
        problems += [
            f"column {name!r} is not in the schema."
            for name in table.columns.difference(names, sort=False)
        ]
        for column in self.columns:
            if column.name in table.columns and str(table[column.name].dtype) != KINDS[column.kind]:
                problems.append(
                    f"column {column.name!r} has dtype {table[column.name].dtype}, {column.kind}"
                    f" wants {KINDS[column.kind]}."
                )
        return problems

    def to_json(self) -> str:
        """The schema as JSON text; `Schema.from_json` reads it back equal."""
        facts = asdict(self)
        if (
            not self.constraints
        ):  # a schema without any reads as it did before there were constraints
            del facts["constraints"]
        return json.dumps(facts, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        try:
            data = json.loads(text)
            columns = tuple(Column(**column) for column in data["columns"])
            return cls(columns, data.get("positive"), data.get("constraints", ()))
        except InputError:
            raise
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise InputError(
                f"this is not a schema in JSON ({error}); write one with Schema.to_json()."
            ) from None

    def to_sdv(self) -> dict:
        """SDV's metadata for a table of this schema, to be saved as JSON. Roles and constraints
        have no place in it.
        """
        return sdv.write({column.name: column.kind for column in self.columns})

    @classmethod
    def from_sdv(
        cls, source: str | Path | Mapping, target: str | None = None, sensitive: Iterable[str] = ()
    ) -> Schema:
        """The schema that SDV's metadata describe: a JSON file's path, or what Metadata.to_dict()
        returns.

        Keys, identifiers and personal data are left out. Numbers are numeric where nothing says
        that they are whole; `load(table, metadata=...)` looks at the table for that. Raises
        InputError as `metadata.read` does.
        """
        kinds = {
            name: "numeric" if kind == "number" else kind
            for name, kind in sdv.read(source).kinds.items()
        }
        return cls(tuple(Column(name, kind) for name, kind in kinds.items())).with_roles(
            target, sensitive
        )

    def _repr_html_(self) -> str:
        table = pd.DataFrame([asdict(column) for column in self.columns]).to_html(
            index=False, escape=True
        )
        texts = [
            text if isinstance(text, str) else f"combinations of {', '.join(text)} as in train"
            for text in self.constraints
        ]
        return table + (
            f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""
        )


def _check_known(role: str, given: Iterable[str], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise InputError(
                f"{role} column {name!r} is not in the table; {nearest(str(name), names)}"
            )


def _declared_roles(
    names: list[str],
    target: str | None,
    sensitive: list[str],
    identifiers: Iterable[str] | None,
    group: str | None,
) -> dict[str, str]:
    """The role of each column that was given one. Raises InputError for unknown columns and for two
    roles of one.
    """
    given = {
        "target": [] if target is None else [target],
        "sensitive": sensitive,
        "identifier": list(identifiers or ()),
        "group": [] if group is None else [group],
    }
    roles: dict[str, str] = {}
    for role, columns in given.items():
        _check_known(role, columns, names)
        for name in columns:
            if roles.get(name, role) != role:
                raise InputError(
                    f"column {name!r} cannot be both the {roles[name]} and {role}; name it once."
                )
            roles[name] = role
    return roles


def _inferred_kind(values: pd.Series, role: str) -> str:
    """The kind of a column nobody declared one for; what names rows is a whole number or a label."""
    if role not in ("identifier", "group"):
        return _infer_kind(values)
    try:
        kind = _infer_kind(values)
    except InputError:
        return "categorical"
    return kind if kind == "integer" else "categorical"


def _listed_constraints(constraints) -> tuple[str | tuple[str, ...], ...]:
    constraints = [constraints] if isinstance(constraints, str) else list(constraints)
    for item in constraints:
        if not isinstance(item, str) and not (
            isinstance(item, (list, tuple)) and all(isinstance(name, str) for name in item)
        ):
            raise InputError(
                f'constraint {item!r} is neither text such as "low <= high" nor a list of column'
                " names."
            )
    return tuple(item if isinstance(item, str) else tuple(item) for item in constraints)


def _inequality(text: str, names: list[str]) -> tuple[str, str, bool]:
    """Both columns and whether the inequality is strict; names may hold spaces, and a "<" too."""
    splits = [
        (text[: sign.start()].strip(), text[sign.end() :].strip(), sign.group() == "<")
        for sign in re.finditer("<=?", text)
    ]
    for low, high, strict in splits:
        if low in names and high in names:
            return low, high, strict
    if not splits and "=" in text:
        written = re.split("[=+*]", text)
        strange = [name.strip() for name in written if name.strip() not in names]
        if strange and strange[0] and not re.search("[-/]", strange[0]):
            raise InputError(
                f"constraint {text!r}: no column {strange[0]!r}; {nearest(strange[0], names)}"
            )
        raise InputError(
            f'constraint {text!r} is not read; write a sum or a product, "total = a + b" or "total'
            ' = a * b".'
        )
    if not splits:
        raise InputError(
            f'constraint {text!r} is not read; write "low <= high", "low < high", "total = a + b"'
            ' or "total = a * b", or a list of label columns.'
        )
    unknown = next(str(name) for name in splits[0][:2] if name not in names)
    raise InputError(f"constraint {text!r}: no column {unknown!r}; {nearest(unknown, names)}")


def formula_text(total: str, sign: str, parts: tuple[str, ...]) -> str:
    """A sum or product as a constraint is written.

    >>> formula_text("amount", "*", ("price", "quantity"))
    'amount = price * quantity'
    """
    return f"{total} = {f' {sign} '.join(parts)}"


def _formula(text: str, names: list[str]) -> tuple[str, str, tuple[str, ...]] | None:
    """Total, sign and parts of a sum or product; None for another text. Names may hold signs."""
    for equals in re.finditer("=", text):
        total, right = text[: equals.start()].strip(), text[equals.end() :]
        if total not in names:
            continue
        for sign in "+*":
            parts = _parts(right, sign, names)
            if parts is not None:
                return total, sign, parts
    return None


def _parts(text: str, sign: str, names: list[str]) -> tuple[str, ...] | None:
    """The column names that a sign joins in a text; None where it is no such text."""
    if text.strip() in names:
        return (text.strip(),)
    # The longest name first: "a+b + a" begins with the column "a+b", where there is one.
    for place in [found.start() for found in re.finditer(re.escape(sign), text)][::-1]:
        if text[:place].strip() not in names:
            continue
        others = _parts(text[place + 1 :], sign, names)
        if others is not None:
            return (text[:place].strip(), *others)
    return None


def _check_formulas(schema: Schema) -> None:
    """Raises InputError where a sum or product has a column of the wrong kind, where a column has
    two of them or an inequality as well, and where they run in a circle.
    """
    parts: dict[str, tuple[str, ...]] = {}
    for total, sign, names in schema.formulas:
        text = formula_text(total, sign, names)
        for name in (total, *names):
            if schema[name].kind not in ("numeric", "integer"):
                raise InputError(
                    f"constraint {text!r}: column {name!r} is {schema[name].kind}; only numbers are"
                    " added and multiplied."
                )
        if total in parts:
            raise InputError(f"column {total!r} is computed by two constraints; drop one of them.")
        parts[total] = names
    try:
        TopologicalSorter(parts).prepare()
    except CycleError as error:
        circle = " = ".join(error.args[1])
        raise InputError(f"the constraints run in a circle, {circle}; drop one of them.") from None
    for low, high, _ in schema.inequalities:
        for name in {low, high} & set(parts):
            raise InputError(
                f"column {name!r} is computed by one constraint and bounded by another; drop one of"
                " them."
            )


def _check_constraints(schema: Schema) -> None:
    """Raises InputError where a constraint names no column or the wrong kind, and where
    inequalities run in a circle.
    """
    named = {name for names in schema.combinations for name in names}
    named |= {name for low, high, _ in schema.inequalities for name in (low, high)}
    for column in schema.identifying:
        if column.name in named:
            raise InputError(
                f"a constraint names column {column.name!r}, whose values are made afresh (its role"
                f" is {column.role}); drop the constraint, or give the column another role."
            )
    _check_inequalities(schema)
    _check_formulas(schema)
    for names in schema.combinations:
        _check_combination(schema, names)


def _check_inequalities(schema: Schema) -> None:
    lower: dict[str, set[str]] = {}
    for low, high, strict in schema.inequalities:
        text = f"{low} {'<' if strict else '<='} {high}"
        kinds = (schema[low].kind, schema[high].kind)
        for name in (low, high):
            if schema[name].is_discrete:
                raise InputError(
                    f"constraint {text!r}: column {name!r} is {schema[name].kind}, and labels have"
                    " no order."
                )
        if kinds.count("datetime") == 1:
            raise InputError(
                f"constraint {text!r} compares a {kinds[0]} with a {kinds[1]} column; compare two"
                " of a kind."
            )
        lower.setdefault(high, set()).add(low)
    try:
        TopologicalSorter(lower).prepare()
    except CycleError as error:
        circle = " <= ".join(error.args[1])
        raise InputError(f"the constraints run in a circle, {circle}; drop one of them.") from None


def _check_combination(schema: Schema, names: tuple[str, ...]) -> None:
    start = f"constraint {list(names)}:"
    for name in names:
        if name not in schema.names:
            raise InputError(f"{start} no column {name!r}; {nearest(name, schema.names)}")
        if not schema[name].is_discrete:
            kind = schema[name].kind
            raise InputError(f"{start} column {name!r} is {kind}; only labels are combined.")
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise InputError(f"{start} name at least two columns, each of them once.")


def _check_names(table: pd.DataFrame) -> None:
    for name in table.columns:
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"column name {name!r} is not text; give every column a name in the header row."
            )
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise InputError(f"column name {repeated[0]!r} occurs more than once; rename one of them.")


def _infer_kind(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values.dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "datetime"
    present = values.dropna()
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _infer_number_kind(present)
    if not len(present):
        return "categorical"
    written = present.astype(object).astype(str)
    text = pd.Series(
        written.unique(), dtype=object, name=values.name
    )  # each spelling is looked at once
    if set(text.str.lower()) <= {"true", "false"}:
        return "boolean"
    number = pd.to_numeric(text, errors="coerce")
    if number.notna().all():
        is_code = text.str.match(_ZERO_LED).any() or _has_long_integers(text, number)
        return "categorical" if is_code else _infer_number_kind(number)
    _refuse_mixed(written, text[number.isna()])
    return "datetime" if text.str.match(_ISO_DATE).all() else "categorical"


def _has_long_integers(text: pd.Series, number: pd.Series) -> bool:
    """Whether whole numbers are written that a float cannot hold to the last digit."""
    long = text.str.fullmatch(r"-?\d{16,}")
    return bool((long & (number.abs() >= 2**53)).any())


def _refuse_mixed(written: pd.Series, strange: pd.Series) -> None:
    """Raises InputError where a column of numbers holds some text, which would make each number a
    label of its own.
    """
    if len(strange) == written.nunique():
        return
    is_strange = written.isin(strange)
    if set(strange.str.lower()) <= MISSING_MARKS:
        raise InputError(
            f"column {written.name!r} marks missing numbers with {strange.iloc[0]!r}; leave these"
            " fields empty, or declare the column categorical."
        )
    if is_strange.mean() <= 0.1:
        row = written.index[is_strange][0]
        raise InputError(
            f"column {written.name!r} mixes numbers with text (row {row} holds {written[row]!r}); "
            "clean it, or declare it categorical."
        )


def _infer_number_kind(present: pd.Series) -> str:
    array = present.to_numpy(dtype=float)
    _refuse_infinite(present.name, array)
    if len(array) and set(np.unique(array)) == {0.0, 1.0}:
        return "boolean"
    if not len(array) or not np.all(array == np.round(array)):
        return "numeric"
    if np.abs(array).max() < 2**53:
        return "integer"
    # Whole numbers that a float cannot hold are codes, and keep every digit as text.
    return "categorical" if pd.api.types.is_integer_dtype(present.dtype) else "numeric"


def _refuse_infinite(name: str, array: np.ndarray) -> None:
    if np.isinf(array).any():
        raise InputError(
            f"column {name!r} holds infinite values ({int(np.isinf(array).sum())}); make them"
            " missing or cap them."
        )


def _cast_numeric(values: pd.Series) -> pd.Series:
    cast = (
        pd.to_numeric(values).astype("Float64").astype("float64") + 0.0
    )  # there is one zero: -0.0 becomes 0.0
    _refuse_infinite(values.name, cast.to_numpy())
    return cast


def _cast_integer(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values).astype("Int64")


def _cast_boolean(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return values.astype("boolean")
    text = values.dropna().astype(str).str.lower()
    strange = text[~text.isin(BOOLEAN_TEXT)]
    if len(strange):
        raise ValueError(f"it holds {strange.iloc[0]!r}")
    return text.map(BOOLEAN_TEXT).astype("boolean").reindex(values.index)


def _cast_categorical(values: pd.Series) -> pd.Series:
    if (
        pd.api.types.is_float_dtype(values.dtype)
        and (values.dropna() == values.dropna().round()).all()
    ):
        values = values.astype("Int64")  # 3.0 beside a missing value is the label "3"
    missing = values.isna().to_numpy(dtype=bool)
    text = values.astype(object).astype(str).to_numpy(dtype=object, copy=True)
    text[missing] = np.nan
    return pd.Series(text, index=values.index, dtype=object, name=values.name)


def _cast_datetime(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values.dtype) and values.notna().any():
        raise ValueError(
            "it holds numbers, and nothing says whether they count seconds, days or years"
        )
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = pd.to_datetime(
            values, format="ISO8601", utc=True
        )  # one zone for all rows, whatever each row is written in
    if values.dt.tz is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return values.astype("datetime64[ns]")


_CASTS = {
    "numeric": _cast_numeric,
    "integer": _cast_integer,
    "categorical": _cast_categorical,
    "boolean": _cast_boolean,
    "datetime": _cast_datetime,
}
