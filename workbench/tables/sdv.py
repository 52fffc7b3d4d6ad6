"""SDV's metadata JSON, read and written: which columns are numbers, labels, truth values, dates or
identifiers.

https://docs.sdv.dev/sdv/concepts/metadata/metadata-json: "V1" (a dictionary of tables; here it
holds one) and the older "SINGLE_TABLE_V1". What a table of independent rows has no place for is
left out, with its reason, or refused:

- An identifier, a key and personal data (sdtype id, email, ssn, ..., or unknown, unless "pii" is
  false) are left out. They carry nothing to learn, and a generator that repeats them leaks. `kinds`
  of `load` keeps one that is named there.
- Place names and other semantic types with "pii": false are labels.
- Relationships of several tables, and sequences, are refused. Column relationships are read over:
  the generators learn which labels occur together, and constraints=[["city", "country"]] makes that
  certain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from workbench.errors import InputError, nearest
from workbench.files import read_given

KINDS = {
    "numerical": "numeric",
    "categorical": "categorical",
    "boolean": "boolean",
    "datetime": "datetime",
}
SDTYPES = {
    "numeric": {"sdtype": "numerical", "computer_representation": "Float"},
    "integer": {"sdtype": "numerical", "computer_representation": "Int64"},
    "categorical": {"sdtype": "categorical"},
    "boolean": {"sdtype": "boolean"},
    "datetime": {"sdtype": "datetime"},
}
VERSIONS = ("V1", "SINGLE_TABLE_V1")


@dataclass(frozen=True)
class Metadata:
    """One table's columns, in order.

    kinds     column -> a kind of Schema; "number" where the metadata does not say whether numbers
              are whole
    formats   column -> strftime format of its dates in a file
    left_out  column -> why it is no column of the schema
    """

    kinds: Mapping[str, str]
    formats: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def apply(
        self, table: pd.DataFrame, kept: Mapping[str, str]
    ) -> tuple[pd.DataFrame, dict[str, str]]:
        """The raw table without the columns left out (but `kept`), its dates parsed; and what was
        left out, with reasons.

        Raises InputError where the table and the metadata name different columns, and where a date
        has another format.
        """
        named = [*self.kinds, *self.left_out]
        for name in table.columns:
            if name not in named:
                raise InputError(
                    f"column {name!r} is not in the metadata; {nearest(str(name), named)}"
                )
        for name in named:
            if name not in table.columns:
                raise InputError(
                    f"column {name!r} of the metadata is not in the table;"
                    f" {nearest(name, map(str, table))}"
                )
        left_out = {name: reason for name, reason in self.left_out.items() if name not in kept}
        table = table.drop(columns=list(left_out))
        for name, pattern in self.formats.items():
            if name in table.columns and not pd.api.types.is_datetime64_any_dtype(
                table[name].dtype
            ):
                try:
                    table[name] = pd.to_datetime(table[name], format=pattern)
                except (TypeError, ValueError) as error:
                    reason = str(error).splitlines()[0]
                    raise InputError(
                        f"column {name!r} is not written in its datetime_format {pattern!r}"
                        f" ({reason})."
                    ) from None
        return table, left_out


def read(source: str | Path | Mapping) -> Metadata:
    """The metadata in a JSON file, or in the dictionary that SDV's Metadata.to_dict() returns.

    Raises InputError for a file that cannot be read, another version, several tables, a sequence
    and an unknown sdtype.
    """
    table = _table(source if isinstance(source, Mapping) else _load(Path(source)))
    if table.get("sequence_key"):
        raise InputError(
            f"the metadata describe sequences by {table['sequence_key']!r}; the workbench takes"
            " independent rows."
        )
    keys = [table.get("primary_key"), *table.get("alternate_keys", [])]
    keys = {name for key in keys if key for name in ([key] if isinstance(key, str) else key)}
    kinds, formats, left_out = {}, {}, {}
    for name, about in table["columns"].items():
        sdtype, is_key = _sdtype(name, about), name in keys
        if sdtype in KINDS and not is_key:
            whole = str(about.get("computer_representation", "")).startswith(("Int", "UInt"))
            unsaid = sdtype == "numerical" and "computer_representation" not in about
            kinds[name] = "integer" if whole else "number" if unsaid else KINDS[sdtype]
            if sdtype == "datetime" and about.get("datetime_format"):
                formats[name] = about["datetime_format"]
        elif about.get("pii") is False and sdtype not in ("id", "unknown") and not is_key:
            kinds[name] = "categorical"
        else:
            left_out[name] = (
                f"{'a key' if is_key else 'personal data or an identifier'} in the metadata (sdtype"
                f" {sdtype})"
            )
    if not kinds:
        raise InputError("the metadata hold keys and personal data only; nothing is left to learn.")
    return Metadata(kinds, formats, left_out)


def write(kinds: Mapping[str, str]) -> dict:
    """SDV's "V1" dictionary of one table with these column kinds. Dates have no datetime_format:
    none is needed where they
    are dates already, as in every table that the workbench returns."""
    columns = {name: dict(SDTYPES[kind]) for name, kind in kinds.items()}
    return {
        "METADATA_SPEC_VERSION": "V1",
        "tables": {"table": {"columns": columns}},
        "relationships": [],
    }


def _load(path: Path) -> dict:
    try:
        return json.loads(read_given(path))
    except OSError as error:
        raise InputError(
            f"metadata {path.name!r} cannot be read ({error.strerror}); check the path."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"metadata {path.name!r} is no JSON ({error}); save it with SDV's"
            " Metadata.save_to_json."
        ) from None


def _table(document: Mapping) -> Mapping:
    version = document.get("METADATA_SPEC_VERSION") if isinstance(document, Mapping) else None
    if version not in VERSIONS:
        raise InputError(
            f"METADATA_SPEC_VERSION is {version!r}; the workbench reads {' and '.join(VERSIONS)}."
        )
    tables = document.get("tables", {"table": document})
    if len(tables) != 1:
        raise InputError(
            f"the metadata hold {len(tables)} tables ({', '.join(tables)}); give those of one"
            " table."
        )
    (table,) = tables.values()
    if not isinstance(table.get("columns"), Mapping) or not all(
        isinstance(about, Mapping) for about in table["columns"].values()
    ):
        raise InputError(
            'the metadata have no "columns"; save them with SDV\'s Metadata.save_to_json.'
        )
    return table


def _sdtype(name: str, about: Mapping) -> str:
    if not isinstance(about.get("sdtype"), str):
        raise InputError(
            f"column {name!r} has no sdtype in the metadata; name one, for example"
            f" {', '.join(KINDS)}."
        )
    return about["sdtype"]
