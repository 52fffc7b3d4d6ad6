"""What a table seems to be before anything is learnt from it: each column's kind and role, what
looks wrong, and what to do about it. `workbench inspect FILE` prints it and writes schema.json,
which every command takes as --schema.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.errors import InputError
from workbench.files import write_text
from workbench.markup import macros
from workbench.tables import declared as declarations
from workbench.tables import identifiers as identity
from workbench.tables.datasets import read_raw
from workbench.tables.files import TEXT
from workbench.tables.forms import infer as infer_form
from workbench.tables.forms import is_text
from workbench.tables.schema import MISSING_MARKS, Schema, formula_text
from workbench.tables.structure import find_dependencies, find_formulas, find_skips
from workbench.words import listed, listed_name, quoted

MARKS = MISSING_MARKS | {"--", "#n/a"}
SAMPLE = 20_000  # rows that are looked at first; what is found is checked on every row
FEW_CODES = 12  # distinct whole numbers up to which they may be codes


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong or helps: about which columns, of what kind, in words, and the
    option that mends it.
    """

    kind: str
    columns: tuple[str, ...]
    message: str
    option: str = ""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What `inspect` found. columns: one line a column; findings: what looks wrong; proposed: what
    --schema declares.
    """

    name: str
    rows: int
    columns: pd.DataFrame
    findings: tuple[Finding, ...]
    proposed: declarations.Declared

    @property
    def schema(self) -> Schema:
        return self.proposed.schema

    def write(self, path: str | Path = "schema.json") -> Path:
        """Write the proposal. Raises InputError where another file stands in its place."""
        path, text = Path(path), self.proposed.to_json()
        try:
            if path.exists() and path.read_text(encoding="utf-8") != text:
                raise InputError(
                    f"{path} exists and says something else; name another file with --out, or"
                    " delete it."
                )
            write_text(path, text)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); name another file with --out."
            ) from None
        return path

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.rows:,} rows, {len(self.columns)} columns", ""]
        lines += self.columns.to_string().splitlines()
        lines += ["", *(self._line(finding) for finding in self.findings)]
        if not self.findings:
            lines.append("Nothing looks wrong.")
        return "\n".join(lines)

    def _line(self, finding: Finding) -> str:
        ending = f"  [{finding.option}]" if finding.option else ""
        return f"- {finding.kind}: {finding.message}{ending}"

    def _repr_html_(self) -> str:
        findings = [self._line(finding).removeprefix("- ") for finding in self.findings]
        table = Markup(self.columns.to_html(escape=True, max_rows=200))
        pieces = macros("tables/shown.html.j2")
        return pieces.inspection(self.name, f"{self.rows:,}", table, findings)


def inspect(
    table: pd.DataFrame | str | Path,
    target: str | None = None,
    sensitive: Iterable[str] | str = (),
    kinds: Mapping[str, str] | None = None,
    missing: Iterable[str] | str = (),
    formats: Mapping[str, str] | None = None,
) -> Inspection:
    """Look at a table: what `load` would infer, what looks wrong, and what to do.

    Parameters
    ----------
    table : DataFrame, path or dataset's name
        The table to look at.
    target, sensitive, kinds, missing, formats
        What you declare, as `load` takes it. The proposal keeps all of it.

    Returns
    -------
    Inspection
        `.columns` has a line for each column, `.findings` what looks wrong. `.proposed` adds what
        was found with certainty: marks of missing values, forms of dates, identifiers, and labels
        that always occur together. `.write("schema.json")` keeps the proposal as a file.

    Raises
    ------
    InputError
        For a table that cannot be read, and columns that it lacks.

    Examples
    --------
    >>> import pandas as pd
    >>> found = inspect(pd.DataFrame({"age": [31, 40, 52], "town": ["Bonn", "Bonn", "Kiel"]}))
    >>> [(column.name, column.kind) for column in found.schema.columns]
    [('age', 'integer'), ('town', 'categorical')]
    """
    name, raw = read_raw(table)
    sensitive = [sensitive] if isinstance(sensitive, str) else list(sensitive)
    given = [missing] if isinstance(missing, str) else list(missing)
    formats, kinds = dict(formats or {}), dict(kinds or {})
    findings = list(_header(raw))
    marks, found = _marks(raw, given, kinds, formats)
    findings += found
    raw = declarations.apply_missing(raw, marks)
    kinds, found = _mixed(raw, kinds, formats)
    findings += found
    schema = Schema.infer(raw, target, sensitive, kinds, formats=formats)
    forms, found = _written(raw, schema, formats)
    findings += found
    schema, found = _codes(raw, schema, kinds)
    findings += found
    cast = schema.cast(raw)
    patterns: dict[str, str] = {}  # of identifiers, each learnt once
    schema, found = _roles(cast, schema, patterns)
    findings += [*found, *_empty(cast, schema), *_rare_classes(cast, schema)]

    relations = _relations(cast, schema)
    findings += relations
    findings += _leaks(cast, schema)
    constraints: list = [f.columns for f in relations if f.kind == "fixed combination"]
    constraints += [formula_text(*formula) for formula in _formulas_of(relations)]
    schema = replace(schema, constraints=tuple(constraints)).with_positive(cast)
    proposed = declarations.Declared(schema, tuple(marks), forms)
    return Inspection(name, len(raw), _overview(cast, schema, patterns), tuple(findings), proposed)


def _header(raw: pd.DataFrame) -> list[Finding]:
    """Names that are numbers, or values of their own column: the first row of data read as the
    header.
    """
    found = [Finding("no header", (), note.rstrip(".")) for note in raw.attrs.get("notes", [])]
    if found:
        return found
    suspicious = [str(name) for name in raw.columns if re.fullmatch(r"-?\d+([.,]\d+)?", str(name))]
    for name in raw.columns:
        if str(name) not in suspicious and (raw[name].head(SAMPLE).astype(object) == name).any():
            suspicious.append(str(name))
    if len(suspicious) < max(2, len(raw.columns) / 3):
        return []
    message = (
        f"the names {', '.join(map(repr, suspicious[:5]))} look like a row of data; add a header"
        " row to the file"
    )
    return [Finding("no header", tuple(suspicious), message)]


def _marks(
    raw: pd.DataFrame, given: list[str], kinds: dict[str, str], formats: dict[str, str]
) -> tuple[list[str], list[Finding]]:
    """Marks of missing values, those that were given first: a common one among numbers, dates or
    labels.
    """
    marks, findings = list(given), []
    for name in raw.columns:
        if kinds.get(name) == "categorical" or not is_text(raw[name]):
            continue
        is_label, beside_values = _has_levels(raw[name], kinds.get(name), formats.get(name, ""))
        if not is_label and not beside_values:
            continue
        labels = pd.Series(raw[name].dropna().unique(), dtype=TEXT).str.strip()
        spelled = labels[labels.str.lower().isin(MARKS)].astype(object).tolist()
        if not spelled:
            continue
        # Among labels only what no language uses as a word is a mark: "none" may be an answer.
        new = [text for text in spelled if beside_values or text in ("?", "#N/A", "NA", "N/A")]
        marks += [mark for mark in dict.fromkeys(new) if mark not in marks]
        shown = [text for text in spelled if text in marks]
        if shown:
            share = raw[name].astype("string").str.strip().isin(shown).mean()
            message = f"{name!r} marks missing values with {shown[0]!r} ({share:.1%} of rows)"
            findings.append(
                Finding("missing mark", (name,), message, f"--missing {quoted(shown[0])}")
            )
    return marks, findings


def _has_levels(values: pd.Series, kind: str | None, format_: str) -> tuple[bool, bool]:
    """Whether a column holds labels, and whether it holds numbers or dates with texts beside them."""
    try:
        found, form = infer_form(values, kind, format_)
    except InputError:
        return True, False
    return found == "categorical", form is not None and bool(form.level_texts)


def _written(
    raw: pd.DataFrame, schema: Schema, given: dict[str, str]
) -> tuple[dict[str, str], list[Finding]]:
    """How columns are written where their kind does not say it, and the formats to declare."""
    formats, findings = dict(given), []
    for column in schema.columns:
        form, name = column.form, column.name
        if form is None:
            if column.kind == "categorical":
                findings += _numbers_as_codes(raw[name])
            continue
        pattern = re.sub("%[-^]", "%", form.stamp.pattern) if form.stamp else ""
        if pattern and pattern != "%Y-%m-%d" and not form.dtype:
            if name not in formats and not form.stamp.zone:
                formats[name] = pattern
            doubt = f"; {form.other} fits as well" if form.other else ""
            message = f"{name!r} holds dates written as {pattern}{doubt}"
            option = f"--format {quoted(f'{name}={pattern}')}"
            findings.append(Finding("date", (name,), message, option))
        elif (form.number is not None and not form.number.is_plain) or form.other:
            example = form.number.example()
            doubt = f"; {form.other} fits as well" if form.other else ""
            if form.other:
                formats.setdefault(name, example)
            message = f"{name!r} holds numbers written as {form.sentence()}{doubt}"
            findings.append(
                Finding("number", (name,), message, f"--format {quoted(f'{name}={example}')}")
            )
        if form.level_texts:
            share = raw[name].astype("string").isin(form.level_texts).mean()
            shown = ", ".join(map(repr, form.level_texts))
            message = f"{name!r} holds {shown} among its values ({share:.1%} of rows): a level of"
            message += " its own beside them; if it only means missing, say so"
            option = f"--missing {quoted(form.level_texts[0])}"
            findings.append(Finding("level", (name,), message, option))
        if form.counted or (form.stamp is not None and form.stamp.zone == "UTC"):
            note = replace(schema, columns=(column,), constraints=()).form_notes
            findings += [Finding("date", (name,), text.rstrip(".")) for text in note]
    return formats, findings


def _as_labels(name: str) -> str:
    return "--kind " + shlex.quote(f"{name}=categorical")


def _numbers_as_codes(values: pd.Series) -> list[Finding]:
    """A column of labels that are all numbers, written as nobody writes a quantity."""
    if not is_text(values):
        return []
    labels = values.dropna()
    if not len(labels) or pd.to_numeric(labels.head(50), errors="coerce").isna().any():
        return []
    labels = pd.Series(labels.unique(), dtype=object)
    if pd.to_numeric(labels, errors="coerce").isna().any():
        return []
    name = str(values.name)
    message = f"{name!r} holds numbers that are written as codes; read as labels"
    return [Finding("codes", (name,), message, _as_labels(name))]


def _mixed(
    raw: pd.DataFrame, kinds: dict[str, str], formats: dict[str, str]
) -> tuple[dict[str, str], list[Finding]]:
    """Columns that `load` refuses are declared categorical, with the reason."""
    kinds, findings = dict(kinds), []
    for name in raw.columns:
        if name in kinds or name in formats or not is_text(raw[name]):
            continue
        try:
            infer_form(raw[name])
        except InputError as error:
            kinds[name] = "categorical"
            findings.append(Finding("mixed", (name,), str(error), _as_labels(name)))
    return kinds, findings


def _codes(
    raw: pd.DataFrame, schema: Schema, kinds: dict[str, str]
) -> tuple[Schema, list[Finding]]:
    """Whole numbers that may be codes: certain where the name says so, otherwise a question."""
    columns, findings, few = [], [], []
    for column in schema.columns:
        if column.kind == "integer" and column.name not in kinds and column.role != "identifier":
            if re.search(
                r"(^|_|\b)(code|zip|plz|postal|postcode|icd\d*)($|_|\b)", column.name.lower()
            ):
                column = replace(column, kind="categorical")
                message = f"{column.name!r} holds codes, by its name; read as labels"
                option = _as_labels(column.name)
                findings.append(Finding("codes", (column.name,), message, option))
            elif 2 < raw[column.name].nunique() <= FEW_CODES and len(raw) > 10 * FEW_CODES:
                few.append(column.name)
        columns.append(column)
    if few:
        message = (
            f"{', '.join(map(repr, few))} hold few whole numbers and are read as numbers; if they"
            " are codes, say so"
        )
        findings.append(Finding("codes or counts", tuple(few), message, _as_labels(few[0])))
    return replace(schema, columns=tuple(columns)), findings


def _roles(
    cast: pd.DataFrame, schema: Schema, patterns: dict[str, str]
) -> tuple[Schema, list[Finding]]:
    """Identifiers, and a column that names persons with several rows each: the group."""
    findings = []
    for column in schema.columns:
        if column.role == "identifier":
            pattern = identity.Pattern.learn(cast[column.name]).describe()
            patterns[column.name] = pattern
            message = (
                f"{column.name!r} has a value of its own in nearly every row ({pattern}): never"
                " learnt or copied"
            )
            findings.append(
                Finding(
                    "identifier",
                    (column.name,),
                    message,
                    f"--identifier {shlex.quote(listed_name(column.name))}",
                )
            )
    groups = [column for column in schema.columns if _is_group(cast[column.name], column)]
    if not groups:
        return schema, findings
    # The column of the most values names the smallest units: persons rather than their hospitals.
    group = max(groups, key=lambda column: cast[column.name].nunique())
    mean = cast[group.name].notna().sum() / cast[group.name].nunique()
    message = (
        f"{group.name!r} names {cast[group.name].nunique():,} persons or units of {mean:.1f} rows"
        " each"
    )
    findings.append(Finding("group", (group.name,), message, f"--group {shlex.quote(group.name)}"))
    columns = tuple(
        replace(column, role="group") if column == group else column for column in schema.columns
    )
    return replace(schema, columns=columns), findings


def _is_group(values: pd.Series, column) -> bool:
    if column.role != "feature" or column.kind not in ("integer", "categorical"):
        return False
    distinct = values.nunique()
    return identity.named_like_one(column.name) and distinct > 20 and distinct > 0.05 * len(values)


def _empty(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    findings = []
    for name in schema.names:
        present = cast[name].dropna()
        if not len(present):
            findings.append(Finding("all missing", (name,), f"{name!r} has no value; drop it"))
        elif present.nunique() == 1:
            message = f"{name!r} has one value only; nothing can be learnt from it"
            findings.append(Finding("constant", (name,), message))
    return findings


def _rare_classes(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Labels of the target that both parts of the split cannot have."""
    if schema.task != "classification":
        return []
    name = schema.target.name
    counts = cast[name].value_counts()
    rare = counts[counts < 4]
    if not len(rare):
        return []
    labels = ", ".join(repr(str(label)) for label in rare.index[:5])
    message = (
        f"{len(rare)} labels of {name!r} have under 4 rows ({labels}): train and test cannot share"
        " them; join or drop them"
    )
    return [Finding("rare class", (name,), message)]


def _relations(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Columns that are functions of others, as `tables.structure` finds them for the generators."""
    schema = schema.modelled
    copies = _copies(cast, schema)
    copied = {finding.columns[1] for finding in copies}
    names = [name for name in schema.names if name not in copied and cast[name].nunique() > 1]
    schema = replace(schema, columns=tuple(schema[name] for name in names), constraints=())
    return [
        *copies,
        *_combinations(cast, schema),
        *_sums(cast, schema),
        *_skips(cast, schema),
    ]


def _copies(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Columns equal to an earlier one, gaps included: on a sample first and then on every row."""
    sample = cast.sample(min(SAMPLE, len(cast)), random_state=0)
    by_hash: dict[int, str] = {}
    findings = []
    for name in schema.names:
        if sample[name].nunique() < 2:
            continue
        key = hash(
            pd.util.hash_pandas_object(sample[name].astype(str), index=False).to_numpy().tobytes()
        )
        first = by_hash.setdefault(key, name)
        if first != name and (cast[first].astype(str) == cast[name].astype(str)).all():
            message = f"{name!r} equals {first!r} in every row; drop one of them"
            findings.append(Finding("copy", (first, name), message))
    return findings


def _combinations(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Pairs of label columns in which the one fixes the other, as a city fixes its country."""
    # What fixes the target is a leak, and no combination that synthetic rows should keep.
    features = tuple(column for column in schema.columns if column.role != "target")
    findings = []
    for fine, coarse in find_dependencies(cast, replace(schema, columns=features)):
        if cast[fine].nunique(dropna=False) < 3:
            continue  # two columns of two labels each are one column in two spellings
        count = len(cast[[fine, coarse]].drop_duplicates())
        message = f"{fine!r} fixes {coarse!r}: only the {count} combinations of the table occur"
        pair = f"{listed_name(fine)},{listed_name(coarse)}"
        option = f"--constraint {quoted(pair)}"
        findings.append(Finding("fixed combination", (fine, coarse), message, option))
    return findings


def _sums(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Numbers that are the sum or the product of others."""
    findings = []
    for total, sign, parts in find_formulas(cast, schema):
        kind = "sum" if sign == "+" else "product"
        formula = formula_text(total, sign, parts)
        message = f"{formula} in every row; synthetic rows keep it"
        findings.append(Finding(kind, (total, *parts), message, f"--constraint {quoted(formula)}"))
    return findings


def _formulas_of(findings: list[Finding]) -> list[tuple[str, str, tuple[str, ...]]]:
    """The total, the sign and the parts of each sum and product that was found."""
    signs = {"sum": "+", "product": "*"}
    return [
        (finding.columns[0], signs[finding.kind], finding.columns[1:])
        for finding in findings
        if finding.kind in signs
    ]


def _skips(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Columns that are missing exactly where another column has certain values; those that are
    missing in the same rows together.
    """
    findings = []
    together: list[set[str]] = []
    for rule in find_skips(cast, schema):
        if not rule.is_exact:
            continue
        if not rule.is_presence:
            findings.append(Finding("skip pattern", (rule.gate, rule.column), rule.sentence()))
            continue
        names = {rule.gate, rule.column}
        for known in [known for known in together if known & names]:
            together.remove(known)
            names |= known
        together.append(names)
    for names in together:
        columns = tuple(column.name for column in schema.columns if column.name in names)
        share = cast[columns[0]].isna().mean()
        message = f"{listed(list(columns), 20)} are missing in the same rows ({share:.1%})"
        findings.append(Finding("skip pattern", columns, message))
    return findings


def _leaks(cast: pd.DataFrame, schema: Schema) -> list[Finding]:
    """Columns that nearly equal the target: a model that may see them learns nothing else."""
    if schema.target is None:
        return []
    sample = cast.sample(min(SAMPLE, len(cast)), random_state=0)
    truth = _cells(sample[schema.target.name], schema.target, 20)
    base = np.bincount(truth).max() / len(truth)
    findings = []
    for column in schema.modelled.columns:
        if column.role == "target":
            continue
        cells = _cells(sample[column.name], column, 20)
        if cells.max() + 1 > len(sample) / 10:
            continue  # levels of a few rows each know everything
        table = np.zeros((cells.max() + 1, truth.max() + 1))
        np.add.at(table, (cells, truth), 1)
        right = table.max(axis=1).sum() / len(truth)
        if right > 0.98 and right - base > 0.5 * (1 - base):
            message = (
                f"{column.name!r} alone gives {schema.target.name!r} in {right:.1%} of rows: is it"
                " known beforehand?"
            )
            findings.append(Finding("leak", (column.name,), message))
    return findings


def _cells(values: pd.Series, column, bins: int) -> np.ndarray:
    """Codes of labels, or of a number's quantiles; a missing value is a cell of its own."""
    if column.is_discrete:
        return pd.factorize(values, use_na_sentinel=False)[0]
    numbers = values.astype("int64") if column.kind == "datetime" else values.astype(float)
    cut = pd.qcut(numbers.rank(method="dense"), bins, labels=False, duplicates="drop")
    return cut.fillna(bins).astype(int).to_numpy()


def _overview(cast: pd.DataFrame, schema: Schema, patterns: dict[str, str]) -> pd.DataFrame:
    """One line a column: kind, role, missing, distinct, and its range or commonest labels."""
    lines = {}
    for column in schema.columns:
        values = cast[column.name]
        gap = values.isna().mean()
        lines[column.name] = {
            "kind": column.kind,
            "role": column.role,
            "missing": f"{gap:.1%}" if gap else "",
            "distinct": f"{values.nunique():,}",
            "values": patterns.get(column.name) or _shown(values, column),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _shown(values: pd.Series, column) -> str:
    present = values.dropna()
    if not len(present):
        return ""
    if column.role in ("identifier", "group"):
        return identity.Pattern.learn(values).describe()
    if column.is_discrete:
        labels = present.value_counts().index[:3]
        return ", ".join(str(label)[:20] for label in labels)
    low, high = present.min(), present.max()
    if column.kind == "datetime":
        return f"{low:%Y-%m-%d} to {high:%Y-%m-%d}"
    return f"{low:g} to {high:g}"
