"""The regular audit of a synthetic table: does it still look like a fresh real sample, and if not,
is that tolerable?

Every check has a value, the 95% band of what real rows show against real rows at the same sizes, a
p value from that same null, and a tolerance: how far beyond the band is accepted, fixed beforehand
in a file.

    PASS    inside the band, or outside by no more than chance explains
    ALERT   outside the band by more than chance, within the tolerance
    NOT MEASURED    too few rows: a check that finds nothing in fewer than FEW synthetic rows has
                    not looked
    FAIL    beyond the tolerance, or at a hard gate: schema, copies, a vanished group; or ALERT in
            two of three audits in a row

Chance: Benjamini-Hochberg over the checks of a gate at level alpha / gates, so at most a share
alpha of fresh real samples raises any alarm. Numbers and labels are held against test; copies,
groups and their ties to the target against train.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.auditing.gates import GATES, Check
from workbench.batch import keys
from workbench.errors import InputError, nearest
from workbench.files import parse_own_json, read_given, read_toml, write_text
from workbench.metrics import Trial
from workbench.metrics.evaluate import copied_identifiers, without_identifiers
from workbench.metrics.models import one_thread
from workbench.report import publish as pages
from workbench.report.html import pieces
from workbench.tables.datasets import Dataset, table_hash
from workbench.tables.files import read_file
from workbench.tables.given import read_table
from workbench.tables.schema import Schema
from workbench.words import listed, number

NOTEBOOK = keys.NOTEBOOKS / "audit.ipynb"
FORMAT = "workbench audit 1"
MOST_RECORD = 16_000_000  # bytes of an earlier record that are read
UNMEASURED = "NOT MEASURED"
EXIT_CODES = {"PASS": 0, "ALERT": 1, "FAIL": 2, UNMEASURED: 3}
STATUSES = list(EXIT_CODES)
# What decides; the other statuses decide only where nothing else is left.
SEVERITY = {"FAIL": 2, "ALERT": 1}
# What `load` takes that may be the path of a file
PLACES = ("schema", "metadata")
FEW = 30  # synthetic rows below which a check that finds nothing says nothing

TOLERANCES = {
    "alpha": 0.05,  # share of fresh real samples that may raise an alarm
    "categories": 0.0,  # share of rows with a label that train never held
    "range": 0.0,  # share of rows outside train's lowest and highest value
    # KS of a number or date, total variation of a label; a shift of 0.2 sd is at least 0.057
    "distribution": 0.03,
    "missing": 0.02,  # share of rows
    "rare_levels": 0.1,  # share of test's rare labels that no synthetic row holds
    "pairs": 0.05,  # total variation of two columns' joint table
    "groups": 0.2,  # log-odds of a group's share; 0.2 is a share a fifth too large or small
    "association": 0.05,  # Cramer's V of a sensitive column and the target
    "bias_amplification": 0.03,  # BiasAmp A->T
    "copies": 0.0,  # share of rows that equal a train row
    "near_copies": 0.0,  # share of rows that are a train row up to small changes of numbers
}
# What may be set in a table [columns.NAME].
BY_COLUMN = ("categories", "range", "distribution", "missing", "rare_levels")


@dataclass(frozen=True, eq=False)
class Audit:
    """An audit's record, as it is written to JSON, and ways to read it."""

    record: dict

    @property
    def decision(self) -> str:
        """PASS, ALERT or FAIL, the worst status of any check; NOT MEASURED where no check failed in
        fewer than FEW synthetic rows.
        """
        return self.record["decision"]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision]

    @property
    def checks(self) -> pd.DataFrame:
        """One row a check: gate, about, value, low, high (of the band), tolerance, p, adjusted p,
        status, note, and before
        and change: the status in the previous audit and the difference to its value."""
        return pd.DataFrame(self.record["checks"]).drop(columns="history")

    @property
    def alarms(self) -> pd.DataFrame:
        """The checks that are not PASS, FAIL first."""
        checks = self.checks[self.checks["status"].isin(["ALERT", "FAIL"])]
        return checks.sort_values("status", ascending=False, kind="stable", ignore_index=True)

    @property
    def gates(self) -> pd.DataFrame:
        """Counts of each status, one row a gate."""
        counts = pd.crosstab(self.checks["gate"], self.checks["status"]).rename_axis(columns=None)
        return counts.reindex(index=self.checks["gate"].unique()).reindex(
            columns=STATUSES, fill_value=0
        )

    @classmethod
    def read(cls, path: str | Path) -> Audit:
        """Raises InputError for what is no record of an audit."""
        try:
            text = read_given(Path(path), MOST_RECORD)
            record = parse_own_json(Path(path), text.encode())
        except (OSError, ValueError) as error:
            raise InputError(
                f"audit {str(path)!r} cannot be read ({error}); give the audit.json of an earlier"
                " audit."
            ) from None
        if not _is_record(record):
            raise InputError(
                f"{str(path)!r} is no record of an audit ({FORMAT!r}); give an earlier audit.json."
            )
        return cls(record)

    def write(self, path: str | Path) -> None:
        """As JSON; a reader sees the old file or the whole new one."""
        path, text = (
            Path(path),
            json.dumps(self.record, indent=1, ensure_ascii=False, allow_nan=False),
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text + "\n")
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); name another folder."
            ) from None

    def __repr__(self) -> str:
        lines = [f"{self.decision}: {self._title()}"]
        for row in self.alarms.to_dict("records"):
            band = (
                f"band {number(row['low'])} to {number(row['high'])}"
                if pd.notna(row["low"])
                else ""
            )
            parts = [f"{number(row['value'])}" if pd.notna(row["value"]) else "", band, row["note"]]
            lines.append(
                f"  {row['status']:<5}  {row['gate']}: {row['about']} "
                f" {', '.join(filter(None, parts))}".rstrip()
            )
        return "\n".join([*lines, *self.record["notes"]])

    def _repr_html_(self) -> str:
        facts = [
            f"{name} {self.record[name]}"
            for name in ("generator", "window", "made")
            if self.record[name]
        ]
        alarms = to_html(self.alarms) if len(self.alarms) else ""
        page = pieces().audit(
            self.decision,
            self._title(),
            "; ".join(facts),
            self.record["notes"],
            alarms,
            f"All {len(self.checks):,} checks",
            to_html(self.checks),
        )
        return str(page)

    def _title(self) -> str:
        rows, found = self.record["rows"], self.checks["status"].value_counts()
        counts = (
            f"{found.sum():,} checks, {found.get('ALERT', 0)} ALERT, {found.get('FAIL', 0)} FAIL"
        )
        return (
            f"{self.record['dataset']}, {rows['synthetic']:,} synthetic rows against"
            f" {rows['train']:,} train and {rows['test']:,} test rows; {counts}"
        )


def to_html(checks: pd.DataFrame) -> Markup:
    """Checks as a table, numbers short."""
    header = ["status", "gate", "about", "value", "band", "tolerance", "p", "adjusted_p"]
    if checks["before"].ne("").any():
        header += ["before", "change"]
    header.append("note")
    # Numbers as words: two digits are enough to see which side of a limit they are on.
    lines = []
    for check in checks.to_dict("records"):
        shown = check | {"band": ""}
        if pd.notna(check["low"]) and np.isfinite(check["low"]):
            shown["band"] = f"{number(check['low'])} to {number(check['high'])}"
        for name in ("value", "tolerance", "change"):
            shown[name] = number(check[name]) if pd.notna(check[name]) else ""
        # Two digits are enough to hold a p-value against alpha.
        for name in ("p", "adjusted_p"):
            shown[name] = f"{check[name]:.2g}" if pd.notna(check[name]) else ""
        lines.append([shown[name] for name in header])
    return pieces().plain_table("checks", header, lines)


def audit(
    data: Dataset,
    synthetic: pd.DataFrame | str | Path,
    tolerances: Mapping | str | Path | None = None,
    against: Audit | str | Path | None = None,
    generator: str = "",
    window: str = "",
    seed: int = 0,
    progress: Callable[[list], Iterable] | None = None,
) -> Audit:
    """Hold a synthetic table against limits, and end in PASS, ALERT or FAIL.

    Parameters
    ----------
    data : Dataset
        The real rows. What they show against each other is the band of each check.
    synthetic : DataFrame or path
        The table to audit. Other columns than the real ones are a FAIL with one check.
    tolerances : mapping or path of a TOML file, optional
        How far beyond its band a check may lie: keys of TOLERANCES, and `columns` with such keys
        for single columns.
    against : Audit or path, optional
        The previous audit. The new record keeps its last statuses and the differences to it.
    generator, window : str
        Labels for the record, such as "cart" and "2026-03".
    seed : int
        Decides what the checks draw.
    progress : callable, optional
        Wraps the list of gates, such as `tqdm`.

    Returns
    -------
    Audit
        `.decision` is the word, `.checks` has a line for each check, `.write(path)` keeps the
        record.

    Raises
    ------
    InputError
        For files that cannot be read, and unknown keys.

    Examples
    --------
    >>> from workbench import generate, load
    >>> data = load("loans")
    >>> audit(data, generate("independent", data)).decision
    'FAIL'
    """
    # Files first: a misspelt tolerance must not be found after a minute of checks.
    limits = read_tolerances(tolerances, data.schema.modelled)
    previous = against if isinstance(against, Audit) or against is None else Audit.read(against)
    if not isinstance(synthetic, pd.DataFrame):
        synthetic = read_file(Path(synthetic))
    rows = len(synthetic)
    identity = _identifiers(data, synthetic)
    # No gate but the one on identifiers looks at them: it is no fault that real ones are missing.
    synthetic = without_identifiers(synthetic, data.schema)
    modelled = data.modelled
    table, problems = _read(synthetic, modelled.schema)
    columns = Check(
        "schema",
        "columns and kinds",
        float(len(problems)),
        0.0,
        0.0,
        hard=True,
        note=" ".join(problems),
    )
    checks = [columns, *identity]
    if table is not None:
        trial = Trial(modelled.train, modelled.test, table, modelled.schema, seed)
        with one_thread(), np.errstate(all="ignore"):
            for gate in progress(GATES) if progress else GATES:
                checks += gate(trial)

    record: dict[str, Any] = {
        "format": FORMAT,
        "decision": "",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "window": window,
        "generator": generator,
        "dataset": data.name,
        "rows": {"train": len(modelled.train), "test": len(modelled.test), "synthetic": rows},
        "hashes": _hashes(modelled, table, limits),
        "tolerances": limits,
        "seed": seed,
        "versions": keys.versions([]),
        "against": (
            previous and {name: previous.record[name] for name in ("made", "window", "decision")}
        ),
        "notes": [*data.schema.role_notes],
        "checks": _judge(checks, limits, previous, rows),
    }
    record["notes"] += _changed_since(previous, record["hashes"])
    record["decision"] = _decision(record["checks"], rows)
    # Where nothing was found, the reader has to know what could have been.
    if record["decision"] not in SEVERITY:
        record["notes"].append(_visible(record["checks"]))
    return Audit(_finite(record))


def _hashes(data: Dataset, table: pd.DataFrame | None, limits: dict) -> dict[str, str]:
    """What the audit was made from: the tables, and the tolerances that it was held to."""
    # Whoever reads the record later can tell which tables it is about.
    hashes = {"train": table_hash(data.train), "test": table_hash(data.test)}
    if table is not None:
        hashes["synthetic"] = table_hash(table)
    hashes["tolerances"] = keys.digest(json.dumps(limits, sort_keys=True))
    return hashes


def _changed_since(previous: Audit | None, hashes: Mapping[str, str]) -> list[str]:
    """A sentence where another table or other tolerances make this audit hard to compare."""
    if previous is None:
        return []
    before = previous.record["hashes"]
    changed = [name for name in ("train", "test", "tolerances") if hashes[name] != before.get(name)]
    return [f"Since the previous audit {listed(changed)} changed."] if changed else []


def _decision(checks: list[dict], rows: int) -> str:
    """The worst status of any check; of few rows without an alarm, that nothing was measured."""
    worst = max((check["status"] for check in checks), key=lambda status: SEVERITY.get(status, 0))
    if worst in SEVERITY:
        return worst
    return UNMEASURED if rows < FEW else "PASS"


def _identifiers(data: Dataset, synthetic: pd.DataFrame) -> list[Check]:
    """A hard gate for each identifying column: no synthetic row carries a value of a train row.
    None is printed.
    """
    return [
        Check(
            "identifiers",
            name,
            float(count),
            0.0,
            0.0,
            hard=True,
            note=(
                f"{count:,} of {len(synthetic):,} synthetic rows carry a real one" if count else ""
            ),
        )
        for name, count in copied_identifiers(data, synthetic).items()
    ]


def publish(out: str | Path, **parameters) -> Audit:
    """Run notebooks/audit.ipynb with these parameters: OUT/audit.json, the record, and
    OUT/audit.html, the page.

    Raises InputError where `audit` does, and where the folder cannot be written.
    """
    # A record that is none is known before a notebook starts.
    if isinstance(parameters.get("against"), str | Path):
        Audit.read(parameters["against"])
    folder = Path(out).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {folder} cannot be written ({error.strerror}); name another folder."
        ) from None
    pages.publish(
        NOTEBOOK,
        _from_anywhere(parameters) | {"out": str(folder)},
        folder,
        f"Audit of {parameters['real']}",
        "audit.html",
        True,
    )
    return Audit.read(folder / "audit.json")


def _from_anywhere(parameters: Mapping) -> dict:
    """The notebook's parameters with absolute paths: its kernel starts in a folder of its own."""
    # Paths seen from where the command was given mean something else to the kernel.
    found = dict(parameters)
    for name in ("real", "synthetic", "tolerances", "against"):
        if isinstance(found.get(name), str | Path):
            found[name] = _absolute(found[name])
    if declared := found.get("declared"):
        places = {name: _absolute(declared[name]) for name in PLACES if declared.get(name)}
        found["declared"] = {**declared, **places}
    return found


def _absolute(place: str | Path) -> str:
    """The absolute path of a file that is there; a dataset's name, say, as it is."""
    return str(Path(place).absolute()) if Path(place).is_file() else str(place)


def read_tolerances(tolerances: Mapping | str | Path | None, schema: Schema) -> dict:
    """TOLERANCES with what the file or mapping sets. Raises InputError for unknown keys and
    columns, and numbers below 0.
    """
    if tolerances is None:
        return {**TOLERANCES, "columns": {}}
    if isinstance(tolerances, Mapping):
        given = tolerances
    else:
        given, _ = read_toml(Path(tolerances), "name a file of tolerances.")
    # Names are held against the schema: a tolerance for no column would never act.
    columns = given.get("columns", {})
    if not isinstance(columns, Mapping):
        raise _not_a_table("columns", columns)
    _check_limits("", given, (*TOLERANCES, "columns"))
    for name, table in columns.items():
        if not isinstance(table, Mapping):
            raise _not_a_table(name, table)
        schema[name]  # raises for an unknown column
        _check_limits(f"columns.{name}.", table, BY_COLUMN)
    if not 0 < given.get("alpha", 0.05) < 1:
        raise InputError(f"tolerances: alpha is {given['alpha']}; give a share between 0 and 1.")
    by_column = {name: dict(table) for name, table in columns.items()}
    return {**TOLERANCES, **given, "columns": by_column}


def _not_a_table(name: str, value: object) -> InputError:
    return InputError(
        f"tolerances: {name} is {value!r}; write a table [columns.NAME] with its keys below."
    )


def _check_limits(prefix: str, table: Mapping, known: tuple[str, ...]) -> None:
    """Raises InputError for a key that no gate has, and for a limit that is no number from 0 up."""
    for key, value in table.items():
        if key not in known:
            raise InputError(f"tolerances: unknown key {prefix}{key}; {nearest(key, known)}")
        if key == "columns":
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < np.inf:
            raise InputError(f"tolerances: {prefix}{key} is {value!r}; give a number, 0 or larger.")


def _read(synthetic: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame | None, list[str]]:
    """The table cast to the schema (None where that makes no sense) and what is wrong with its
    columns and kinds.
    """
    try:
        table, problems = read_table(synthetic, schema)
    except InputError as error:
        return None, [str(error)]
    return (table, problems) if len(table) else (None, ["the synthetic table has no rows."])


def _visible(checks: list[dict]) -> str:
    """What the audit could have seen, for the gate of distributions: the largest band of its
    columns.
    """
    # What a check of this size could have noticed at least.
    bands = {
        check["about"]: check["high"] + check["tolerance"]
        for check in checks
        if check["gate"] == "distribution" and np.isfinite(check["high"])
    }
    if not bands:
        return "No column could be compared."
    name = max(bands, key=lambda about: bands[about])
    return (
        f"With so many rows, a distribution fails from a distance of {number(min(bands.values()))} "
        f"on, and that of {name} from {number(bands[name])} on; smaller shifts were not seen."
    )


def _judge(checks: list[Check], limits: dict, previous: Audit | None, rows: int) -> list[dict]:
    """The checks as the record holds them, each with its status; rows: how many synthetic ones."""
    before = {}
    if previous:
        before = {(check["gate"], check["about"]): check for check in previous.record["checks"]}
    judged = []
    for check, q in zip(checks, _adjusted(checks), strict=True):
        old = before.get((check.gate, check.about), {"history": [], "status": "", "value": None})
        own = limits["columns"].get(check.about, {})
        tolerance = own.get(check.gate, limits.get(check.gate, 0.0))
        found = _status(check, q, tolerance, limits["alpha"], rows)
        history = [*old["history"][-2:], found]  # what was found, before escalation
        alerts = history.count("ALERT")
        # One alarm may be chance; the same one in two of three audits is not.
        escalated = found == "ALERT" and alerts >= 2
        notes = [check.note]
        if escalated:
            notes.insert(0, f"ALERT in {alerts} of the last {len(history)} audits")
        line = {name: value for name, value in asdict(check).items() if name != "hard"}
        line |= {
            "tolerance": tolerance,
            "adjusted_p": float(q),
            "status": "FAIL" if escalated else found,
            "note": "; ".join(filter(None, notes)),
            "before": old["status"],
            "history": history,
            "change": None if old["value"] is None else check.value - old["value"],
        }
        judged.append(line)
    return judged


def _adjusted(checks: list[Check]) -> np.ndarray:
    """The p values, adjusted for the checks of a gate (Benjamini-Hochberg) and for the number of
    gates (Bonferroni); NaN where a check has none.
    """
    from scipy.stats import false_discovery_control

    gates = {check.gate for check in checks if np.isfinite(check.p)}
    adjusted = np.full(len(checks), np.nan)
    for gate in gates:
        family = [
            i for i, check in enumerate(checks) if check.gate == gate and np.isfinite(check.p)
        ]
        within = false_discovery_control([checks[i].p for i in family])
        adjusted[family] = np.minimum(1, len(gates) * within)
    return adjusted


def _status(check: Check, adjusted_p: float, tolerance: float, alpha: float, rows: int) -> str:
    """What one check finds, before its history is looked at."""
    if not np.isfinite(check.value):
        return UNMEASURED
    beyond = max(check.value - check.high, check.low - check.value)
    # A check without a p value (a hard gate) has NaN here, which is above no alpha: it counts.
    if beyond > 0 and not adjusted_p > alpha:
        return "FAIL" if check.hard or beyond > tolerance else "ALERT"
    # Few rows can show that something is wrong, not that nothing is.
    return UNMEASURED if rows < FEW and check.gate != "schema" else "PASS"


def _is_record(record: Mapping) -> bool:
    """Whether a JSON object has the shape of an audit's record, as far as it is read: it may be
    somebody else's.
    """
    # Only what is read of it: later versions may record more.
    texts = [record.get(name) for name in ("made", "window")]
    checks, hashes = record.get("checks"), record.get("hashes")
    if record.get("format") != FORMAT or record.get("decision") not in STATUSES:
        return False
    if not isinstance(checks, list) or not isinstance(hashes, dict):
        return False
    return all(isinstance(text, str) for text in texts) and all(map(_is_check, checks))


def _is_check(check: object) -> bool:
    if not isinstance(check, dict) or not isinstance(check.get("history"), list):
        return False
    texts = [check.get(name) for name in ("gate", "about", "status")]
    is_number = isinstance(check.get("value"), int | float | None)
    return is_number and all(isinstance(text, str) for text in [*texts, *check["history"]])


def _finite(value: object) -> Any:
    """The same record with None where JSON has no number."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
