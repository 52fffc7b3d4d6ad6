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
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.errors import InputError, nearest
from workbench.markup import macros
from workbench.tables import forms, numerals, sdv
from workbench.tables import identifiers as identity
from workbench.tables.forms import MISSING_MARKS, Form
from workbench.words import quoted

KINDS = {
    "numeric": "float64",
    "integer": "Int64",
    "categorical": "object",
    "boolean": "boolean",
    "datetime": "datetime64[ns]",
}
ROLES = ("feature", "target", "sensitive", "identifier", "group")

BOOLEAN_TEXT = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
__all__ = ["BOOLEAN_TEXT", "KINDS", "MISSING_MARKS", "ROLES", "Column", "Schema"]
__all__ += ["formula_text", "rounded", "written"]


@dataclass(frozen=True)
class Column:
    """One column: its name, what its values are, and what it is for.

    Parameters
    ----------
    name : str
        As in the table's header.
    kind : str
        "numeric", "integer", "categorical", "boolean" or "datetime".
    role : str
        "feature", "target", "sensitive", "identifier" or "group".
    description : str
        What it means, for people.
    form : Form, optional
        How its values were written, where their kind does not say it.

    Examples
    --------
    >>> Column("age", "integer").is_discrete
    False
    """

    name: str
    kind: str
    role: str = "feature"
    description: str = ""
    form: Form | None = None

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
        """The values in the dtype of this kind; text is read as the column's form says.

        Raises InputError for a value that it cannot take.
        """
        if self.form is not None:
            values = self.form.read(values)
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

    def to_dict(self) -> dict:
        """The column as JSON holds it; without a form where it has none."""
        facts = {name: getattr(self, name) for name in ("name", "kind", "role", "description")}
        return facts | ({"form": self.form.to_dict()} if self.form is not None else {})

    @classmethod
    def from_dict(cls, facts: Mapping) -> Column:
        if facts.get("form") is None:
            return cls(**facts)
        return cls(**{**facts, "form": Form.from_dict(facts["form"])})


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order, and the rules that its rows meet.

    At most one column is the target; any number are sensitive. An identifier names one row (a
    customer number, an e-mail address), a group the rows that belong together (the patient of
    several visits). Neither is modelled or scored; synthetic rows get fresh values of the same
    pattern.

    Parameters
    ----------
    columns : tuple of Column
        The columns.
    positive : str, optional
        The target's label that counts as the event in a binary or one-against-rest score (as
        text). For a boolean target it is "True", otherwise the rarest label of the table that the
        schema was inferred from.
    constraints : list
        Rules that hold in every row, and so in every synthetic row. "low <= high" or "low < high"
        for two columns of numbers or two of dates (a missing side satisfies it). Names of label
        columns, ("city", "country"), of which only the combinations seen in train occur. Sums or
        products of number columns, "total = a + b" or "total = a * b", to the digits that total
        has.
    analysis : str
        The regression that the table is for, "approve ~ race + income": the outcome and the
        columns that explain it. Where it is empty, the target on all features.
    keys : tuple of str
        Columns that somebody might know of a person, ("age", "sex", "town"): what they disclose is
        measured.

    Examples
    --------
    >>> columns = (Column("a", "integer"), Column("b", "integer"))
    >>> Schema(columns, constraints=["a <= b"]).inequalities
    [('a', 'b', False)]
    """

    columns: tuple[Column, ...]
    positive: str | None = None
    constraints: tuple[str | tuple[str, ...], ...] = ()
    analysis: str = ""
    keys: tuple[str, ...] = ()

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
        _check_analysis(self)
        object.__setattr__(self, "keys", _checked_keys(self))

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
    def plain(self) -> Schema:
        """The same columns without their forms: for tables that are cast already."""
        if all(column.form is None for column in self.columns):
            return self
        return replace(self, columns=tuple(replace(c, form=None) for c in self.columns))

    @property
    def form_notes(self) -> list[str]:
        """A sentence on each column that might have been read in another way."""
        notes = [_form_note(column) for column in self.columns if column.form is not None]
        return [note for note in notes if note]

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

    @property
    def analysed(self) -> tuple[str, tuple[str, ...]]:
        """The outcome and the terms of `analysis`; ("", ()) where none is declared."""
        if not self.analysis:
            return "", ()
        outcome, _, terms = self.analysis.partition("~")
        return outcome.strip(), tuple(term.strip() for term in terms.split("+"))

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
        formats: Mapping[str, str] | None = None,
    ) -> Schema:
        """Read a schema off a raw table; `kinds` overrides what is inferred, `constraints` are
        taken as declared. Columns with a value of their own in nearly every row are identifiers,
        unless `identifiers` names them (none where it is empty).

        Whole numbers are integer, 0/1 and true/false are boolean, dates are datetime, other text is
        categorical, and so are numbers that nobody writes as a quantity (0123, 1E2, +49). How
        values are written is kept as the form of the column; `formats` says it where it is
        ambiguous, "%d/%m/%Y" of dates or "1.234,56" of numbers. A target with two distinct values,
        and a sensitive column with at most ten distinct whole numbers, are labels. Raises
        InputError for duplicate names, infinite values, numbers with many other texts among them,
        and roles that name no column.
        """
        _check_names(table)
        names = list(table.columns)
        kinds, sensitive = dict(kinds or {}), list(sensitive)
        formats = dict(formats or {})
        roles = _declared_roles(names, target, sensitive, identifiers, group)
        _check_known("kinds", kinds, names)
        _check_known("formats", formats, names)

        # The rest of a file says which of its marks is the decimal one, where a column does not.
        decimal = table.attrs.get("decimal", "")
        columns = []
        for name in names:
            role = roles.get(name, "feature")
            declared = kinds.get(name)
            if declared is not None and declared not in KINDS:
                Column(name, declared)  # raises, with the nearest kinds
            kind, form = _inferred(table[name], role, declared, formats.get(name, ""), decimal)
            if declared is None and _is_label_by_role(table[name], role, kind):
                kind, form = "categorical", None
            if (
                identifiers is None
                and role == "feature"
                and identity.is_identifier(table[name], kind)
            ):
                role = "identifier"
            columns.append(Column(name, kind, role, form=form))
        columns = _with_one_order_of_dates(columns, table)
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
        return Schema(columns, constraints=self.constraints, analysis=self.analysis, keys=self.keys)

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
        facts: dict = {"columns": [column.to_dict() for column in self.columns]}
        facts["positive"] = self.positive
        if self.constraints:
            facts["constraints"] = self.constraints
        if self.analysis:
            facts["analysis"] = self.analysis
        if self.keys:
            facts["keys"] = list(self.keys)
        return json.dumps(facts, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        try:
            data = json.loads(text)
            columns = tuple(Column.from_dict(column) for column in data["columns"])
            declared = {name: data[name] for name in ("analysis", "keys") if name in data}
            return cls(columns, data.get("positive"), data.get("constraints", ()), **declared)
        except InputError:
            raise
        except (TypeError, KeyError, AttributeError, RecursionError, ValueError) as error:
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
        facts = [replace(column, form=None).to_dict() for column in self.columns]
        written = [column.form.sentence() if column.form else "" for column in self.columns]
        if any(written):
            facts = [fact | {"written": text} for fact, text in zip(facts, written, strict=True)]
        table = pd.DataFrame(facts).to_html(index=False, escape=True)
        rules = [
            text if isinstance(text, str) else f"combinations of {', '.join(text)} as in train"
            for text in self.constraints
        ]
        return macros("tables/shown.html.j2").schema(Markup(table), rules)


def written(table: pd.DataFrame, schema: Schema, as_text: bool = False) -> pd.DataFrame:
    """A cast table as the raw one was written: see Form. Columns without a form stay as they are."""
    columns = {
        column.name: table[column.name]
        if column.form is None
        else column.form.write(table[column.name], as_text)
        for column in schema.columns
    }
    return pd.DataFrame(columns, index=table.index)


def rounded(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A cast table whose numbers have no more digits than those of the raw one."""
    changed = {
        column.name: column.form.rounded(table[column.name])
        for column in schema.columns
        # Whoever lacks a column is told so by the check that follows, not by a KeyError here.
        if column.form is not None and column.form.number is not None and column.name in table
    }
    return table.assign(**changed) if changed else table


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


def _inferred(
    values: pd.Series, role: str, declared: str | None, format_: str, decimal: str
) -> tuple[str, Form | None]:
    """Kind and form of a column; what names rows is a whole number or a label, as it is written."""
    if role not in ("identifier", "group") or declared is not None:
        return forms.infer(values, declared, format_, decimal)
    try:
        kind, form = forms.infer(values, None, format_, decimal)
    except InputError:
        return "categorical", None
    return (kind, None) if kind == "integer" and _is_bare(form) else ("categorical", None)


def _is_bare(form: Form | None) -> bool:
    """Whether whole numbers have no unit, no mark and no other text beside them."""
    return form is None or (form.number is None and not form.levels and not form.clock)


def _is_label_by_role(values: pd.Series, role: str, kind: str) -> bool:
    """Whether numbers are labels because they are what is predicted, or name groups."""
    if kind not in ("numeric", "integer") or role not in ("target", "sensitive"):
        return False
    distinct = values.nunique()
    if role == "target":
        return distinct <= 2
    return role == "sensitive" and kind == "integer" and distinct <= 10


def _with_one_order_of_dates(columns: list[Column], table: pd.DataFrame) -> list[Column]:
    """Dates that may begin with the day or with the month follow the other dates of the table."""
    stamps = [c.form.stamp.pattern for c in columns if c.form and c.form.stamp and not c.form.other]
    begins = [re.sub("[^dm]", "", pattern)[:2] for pattern in stamps]
    if "md" not in begins or "dm" in begins:
        return columns
    return [
        replace(column, form=forms.infer(table[column.name], None, column.form.other)[1])
        if column.form and column.form.stamp and column.form.other
        else column
        for column in columns
    ]


def _form_note(column: Column) -> str:
    """What a person should know of how a column was read, in one sentence; "" for nothing."""
    form, name = column.form, column.name
    if form.other:
        return (
            f"column {name!r} is read as {form.sentence()}, and {form.other} fits as well; if that"
            f" is meant, say --format {quoted(f'{name}={form.other}')} (formats=)."
        )
    if form.counted:
        unit = {"D": "days", "s": "seconds"}[form.counted]
        return (
            f"column {name!r} holds dates before 1677 or after 2262 and counts {unit} since 1970."
        )
    if form.level_texts:
        shown = ", ".join(repr(text) for text in form.level_texts)
        what = "dates" if form.stamp else "numbers"
        return (
            f"column {name!r} holds {shown} among its {what}: kept as a level of its own beside"
            f" them; if it only means missing, say --missing {quoted(form.level_texts[0])} (missing=)."
        )
    if form.stamp is not None and form.stamp.zone == "UTC":
        return f"column {name!r} holds times of several zones, which are read as UTC."
    return ""


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


def _checked_keys(schema: Schema) -> tuple[str, ...]:
    """The keys as a tuple. Raises InputError for a key that is no column, or is named twice."""
    keys = (schema.keys,) if isinstance(schema.keys, str) else tuple(schema.keys)
    for name in keys:
        if name not in schema.names:
            raise InputError(f"keys: no column {name!r}; {nearest(str(name), schema.names)}")
        if schema[name] in schema.identifying:
            raise InputError(f"keys: column {name!r} says who a row is, and is never synthesised.")
        if keys.count(name) > 1:
            raise InputError(f"keys: column {name!r} is named twice.")
    return keys


def _check_analysis(schema: Schema) -> None:
    """Raises InputError where the analysis is no formula of different, known columns."""
    if not isinstance(schema.analysis, str):
        raise InputError(
            f'analysis is {schema.analysis!r}; write it as text, such as "approve ~ race + income".'
        )
    outcome, terms = schema.analysed
    if not outcome and not terms:
        return
    start = f"analysis {schema.analysis!r}:"
    if schema.analysis.count("~") != 1 or not outcome or not all(terms):
        raise InputError(f'{start} write "outcome ~ column + column".')
    for name in (outcome, *terms):
        if name not in schema.names:
            raise InputError(f"{start} no column {name!r}; {nearest(name, schema.names)}")
        if schema[name] in schema.identifying:
            raise InputError(f"{start} column {name!r} says who a row is, and explains nothing.")
    if len({outcome, *terms}) <= len(terms):
        raise InputError(f"{start} name each column once.")


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


def _cast_numeric(values: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(values.dtype) and values.dtype.itemsize < 8:
        values = forms.to_double(values)
    # There is one zero: -0.0 becomes 0.0.
    if values.dtype != "float64":
        values = pd.to_numeric(values).astype("Float64").astype("float64")
    cast = values + 0.0
    forms.refuse_infinite(values.name, cast.to_numpy())
    return cast


def _cast_integer(values: pd.Series) -> pd.Series:
    if pd.api.types.is_string_dtype(values.dtype) and values.dtype != object:
        whole = numerals.to_integers(numerals.as_arrow(values))
        if whole is not None:
            return pd.Series(whole, index=values.index, name=values.name)
    return pd.to_numeric(values).astype("Int64")


def _cast_boolean(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return values.astype("boolean")
    codes, spelled = pd.factorize(values.astype(object))
    known = [BOOLEAN_TEXT.get(str(text).strip().lower()) for text in spelled]
    strange = [text for text, truth in zip(spelled, known, strict=True) if truth is None]
    if strange:
        raise ValueError(f"it holds {strange[0]!r}")
    truths = np.array([*known, False], dtype=bool)[codes]  # -1, the last one, is missing
    return pd.Series(
        pd.arrays.BooleanArray(truths, codes < 0), index=values.index, name=values.name
    )


def _cast_categorical(values: pd.Series) -> pd.Series:
    if (
        pd.api.types.is_float_dtype(values.dtype)
        and (values.dropna() == values.dropna().round()).all()
    ):
        values = values.astype("Int64")  # 3.0 beside a missing value is the label "3"
    if pd.api.types.is_string_dtype(values.dtype) and values.dtype != object:
        # Equal labels are one object in memory, however many rows have them.
        codes, labels = pd.factorize(values)
        text = np.append(labels.astype(object), [np.nan])[codes]
        return pd.Series(text, index=values.index, dtype=object, name=values.name)
    missing = values.isna().to_numpy(dtype=bool)
    text = values.astype(object).astype(str).to_numpy(dtype=object, copy=True)
    text[missing] = np.nan
    return pd.Series(text, index=values.index, dtype=object, name=values.name)


def _cast_datetime(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values.dtype) and values.notna().any():
        raise ValueError(
            "it holds numbers, and nothing says whether they count seconds, days or years"
        )
    if pd.api.types.is_string_dtype(values.dtype) and values.dtype != object:
        quick = _datetimes_of(values)
        if quick is not None:
            return quick
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        # One zone for all rows, whatever each row is written in.
        values = pd.to_datetime(values.astype(object), format="ISO8601", utc=True)
    if values.dt.tz is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return values.astype("datetime64[ns]")


def _datetimes_of(values: pd.Series) -> pd.Series | None:
    """The same of a column of text, each distinct text read once; None where one is no date."""
    codes, distinct = pd.factorize(values)
    try:
        read = pd.to_datetime(distinct.astype(object), format="ISO8601", utc=True)
    except ValueError:  # is said again with the row where it stands
        return None
    times = np.append(read.tz_localize(None).to_numpy("datetime64[ns]"), np.datetime64("NaT", "ns"))
    return pd.Series(times[codes], index=values.index, name=values.name)


_CASTS = {
    "numeric": _cast_numeric,
    "integer": _cast_integer,
    "categorical": _cast_categorical,
    "boolean": _cast_boolean,
    "datetime": _cast_datetime,
}
