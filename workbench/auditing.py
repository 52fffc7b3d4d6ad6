"""The regular audit of a synthetic table: does it still look like a fresh real sample, and if not, is that tolerable?

Every check has a value, the 95% band of what real rows show against real rows at the same sizes, a p value from that same
null, and a tolerance: how far beyond the band is accepted, fixed beforehand in a file.

    PASS    inside the band, or outside by no more than chance explains
    ALERT   outside the band by more than chance, within the tolerance
    FAIL    beyond the tolerance, or at a hard gate: schema, copies, a vanished group; or ALERT in two of three audits in a row

Chance: Benjamini-Hochberg over the checks of a gate at level alpha / gates, so at most a share alpha of fresh real samples
raises any alarm. Numbers and labels are held against test; copies, groups and their ties to the target against train.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import provenance, sources
from workbench.datasets import Dataset, table_hash
from workbench.encode import Codes, to_float
from workbench.evaluation import read_table
from workbench.metrics import Trial
from workbench.metrics.bias import amplification, association_signs, cramers_v
from workbench.metrics.groups import MIN_ROWS, Groups, listed
from workbench.metrics.models import one_thread
from workbench.metrics.privacy import is_copy
from workbench.schema import InputError, Schema, nearest
from workbench.summary import number

FORMAT = "workbench audit 1"
EXIT_CODES = {"PASS": 0, "ALERT": 1, "FAIL": 2}
DRAWS = 300  # pairs of real samples
MAX_ROWS = 40_000  # rows of each table that distribution and pairs read
MAX_PAIRS = 500  # all pairs of 32 columns; of a wider table the target's and the sensitive columns' first
BINS, MAX_LEVELS = 10, 50  # as pair_trends cuts columns
RARE = 0.01  # share of real rows below which a label is rare

TOLERANCES = {
    "alpha": 0.05,  # share of fresh real samples that may raise an alarm
    "categories": 0.0,  # share of rows with a label that train never held
    "range": 0.0,  # share of rows outside train's lowest and highest value
    "distribution": 0.03,  # KS of a number or date, total variation of a label; a shift of 0.2 sd is at least 0.057
    "missing": 0.02,  # share of rows
    "rare_levels": 0.1,  # share of test's rare labels that no synthetic row holds
    "pairs": 0.05,  # total variation of two columns' joint table
    "groups": 0.2,  # log-odds of a group's share; 0.2 is a share a fifth too large or small
    "association": 0.05,  # Cramer's V of a sensitive column and the target
    "bias_amplification": 0.03,  # BiasAmp A->T
    "copies": 0.0,  # share of rows that equal a train row
}
BY_COLUMN = ("categories", "range", "distribution", "missing", "rare_levels")  # may be set in a [columns.NAME] table


@dataclass(frozen=True)
class Check:
    """One reading: what gate, about what (a column, pair or group), and what real rows show in its place."""

    gate: str
    about: str
    value: float
    low: float = np.nan  # of the 95% band
    high: float = np.nan
    p: float = np.nan
    hard: bool = False
    note: str = ""


@dataclass(frozen=True, eq=False)
class Audit:
    """An audit's record, as it is written to JSON, and ways to read it."""

    record: dict

    @property
    def decision(self) -> str:
        """PASS, ALERT or FAIL: the worst status of any check."""
        return self.record["decision"]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision]

    @property
    def checks(self) -> pd.DataFrame:
        """One row a check: gate, about, value, low, high (of the band), tolerance, p, adjusted p, status, note, and before
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
        counts = pd.crosstab(self.checks["gate"], self.checks["status"])
        return counts.reindex(index=self.checks["gate"].unique()).reindex(columns=["PASS", "ALERT", "FAIL"], fill_value=0)

    @classmethod
    def read(cls, path: str | Path) -> Audit:
        """Raises InputError for what is no record of an audit."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"audit {str(path)!r} cannot be read ({error}); give the audit.json of an earlier audit."
            ) from None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise InputError(f"{str(path)!r} is no record of an audit ({FORMAT!r}); give an earlier audit.json.")
        return cls(record)

    def write(self, path: str | Path) -> None:
        """As JSON; a reader sees the old file or the whole new one."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
                json.dump(self.record, file, indent=1, ensure_ascii=False, allow_nan=False)
            os.replace(file.name, path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); name another folder.") from None

    def __repr__(self) -> str:
        lines = [f"{self.decision}: {self._title()}"]
        for row in self.alarms.to_dict("records"):
            band = f"band {number(row['low'])} to {number(row['high'])}" if pd.notna(row["low"]) else ""
            told = [f"{number(row['value'])}" if pd.notna(row["value"]) else "", band, row["note"]]
            lines.append(f"  {row['status']:<5}  {row['gate']}: {row['about']}  {', '.join(filter(None, told))}".rstrip())
        return "\n".join([*lines, *self.record["notes"]])

    def _repr_html_(self) -> str:
        facts = {name: self.record[name] for name in ("generator", "window", "made") if self.record[name]}
        told = "; ".join(escape(f"{name} {value}") for name, value in facts.items())
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.record["notes"])
        return (
            f"<p><strong>{self.decision}</strong>: {escape(self._title())}. <small>{told}</small></p>{notes}"
            f"{to_html(self.alarms) if len(self.alarms) else '<p>No check raised an alarm.</p>'}"
            f"<details><summary>All {len(self.checks):,} checks</summary>{to_html(self.checks)}</details>"
        )

    def _title(self) -> str:
        rows, found = self.record["rows"], self.checks["status"].value_counts()
        counts = f"{found.sum():,} checks, {found.get('ALERT', 0)} ALERT, {found.get('FAIL', 0)} FAIL"
        return (
            f"{self.record['dataset']}, {rows['synthetic']:,} synthetic rows against {rows['train']:,} train and "
            f"{rows['test']:,} test rows; {counts}"
        )


def to_html(checks: pd.DataFrame) -> str:
    """Checks as an escaped HTML table, numbers short."""
    shown = checks.drop(columns=["before", "change"] if checks["before"].eq("").all() else [])
    floats = dict.fromkeys(shown.select_dtypes("number"), lambda value: number(value) if pd.notna(value) else "")
    table = shown.to_html(index=False, escape=True, border=0, formatters=floats, na_rep="")
    return f'<div class="table text" role="region" tabindex="0" aria-label="checks">{table}</div>'


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
    """Audit `synthetic`, a table or the file of one, against the real rows of `data`.

    tolerances: a TOML file or a mapping with keys of TOLERANCES, and `columns` with such keys for single columns.
    against: the previous audit or its JSON file; the new record keeps its last statuses and the differences to it.
    generator, window: labels for the record. progress wraps the list of gates as tqdm does.
    A table with other columns is a FAIL with one check. Raises InputError for files that cannot be read and unknown keys.
    """
    limits = read_tolerances(tolerances, data.schema)
    previous = against if isinstance(against, Audit) or against is None else Audit.read(against)
    if not isinstance(synthetic, pd.DataFrame):
        labels = {column.name for column in data.schema.columns if column.kind == "categorical"}
        synthetic = sources.read_file(Path(synthetic), labels)
    table, problems = _read(synthetic, data.schema)
    checks = [Check("schema", "columns and kinds", float(len(problems)), 0.0, 0.0, hard=True, note=" ".join(problems))]
    if table is not None:
        trial = Trial(data.train, data.test, table, data.schema, seed)
        with one_thread(), np.errstate(all="ignore"):
            for gate in progress(GATES) if progress else GATES:
                checks += gate(trial)

    hashes = {"train": data.train, "test": data.test} | ({} if table is None else {"synthetic": table})
    record = {
        "format": FORMAT,
        "decision": "",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "window": window,
        "generator": generator,
        "dataset": data.name,
        "rows": {"train": len(data.train), "test": len(data.test), "synthetic": len(synthetic)},
        "hashes": {name: table_hash(part) for name, part in hashes.items()},
        "tolerances": limits,
        "seed": seed,
        "versions": provenance.versions([]),
        "against": previous and {name: previous.record[name] for name in ("made", "window", "decision")},
        "notes": [],
        "checks": _judge(checks, limits, previous),
    }
    record["hashes"]["tolerances"] = provenance.digest(json.dumps(limits, sort_keys=True))
    if previous:
        changed = [
            name for name in ("train", "test", "tolerances") if record["hashes"][name] != previous.record["hashes"][name]
        ]
        record["notes"] = [f"Since the previous audit {listed(changed)} changed."] if changed else []
    record["decision"] = max((check["status"] for check in record["checks"]), key=lambda status: EXIT_CODES.get(status, 0))
    return Audit(_finite(record))


def read_tolerances(tolerances: Mapping | str | Path | None, schema: Schema) -> dict:
    """TOLERANCES with what the file or mapping sets. Raises InputError for unknown keys and columns, and numbers below 0."""
    if tolerances is None:
        return {**TOLERANCES, "columns": {}}
    given = tolerances
    if not isinstance(given, Mapping):
        try:
            given = tomllib.loads(Path(tolerances).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"tolerances {str(tolerances)!r} cannot be read as TOML ({error}); correct the file.") from None
    columns = given.get("columns", {})
    tables = {"": (given, (*TOLERANCES, "columns"))}
    for name, table in columns.items() if isinstance(columns, Mapping) else [("columns", columns)]:
        schema[name]
        if not isinstance(table, Mapping):
            raise InputError(f"tolerances: columns.{name} is no table; write [columns.{name}] and its keys below.")
        tables[f"columns.{name}."] = (table, BY_COLUMN)
    for prefix, (table, known) in tables.items():
        for key, value in table.items():
            if key not in known:
                raise InputError(f"tolerances: unknown key {prefix}{key}; {nearest(key, known)}")
            if key != "columns" and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf):
                raise InputError(f"tolerances: {prefix}{key} is {value!r}; give a number, 0 or larger.")
    if not 0 < given.get("alpha", 0.05) < 1:
        raise InputError(f"tolerances: alpha is {given['alpha']}; give a share between 0 and 1.")
    return {**TOLERANCES, **given, "columns": {name: dict(table) for name, table in columns.items()}}


def _read(synthetic: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame | None, list[str]]:
    """The table cast to the schema (None where that makes no sense) and what is wrong with its columns and kinds."""
    try:
        table, problems = read_table(synthetic, schema)
    except InputError as error:
        return None, [str(error)]
    return (table, problems) if len(table) else (None, ["the synthetic table has no rows."])


def _judge(checks: list[Check], limits: dict, previous: Audit | None) -> list[dict]:
    """The checks as the record holds them, each with its status."""
    from scipy.stats import false_discovery_control

    gates = {check.gate for check in checks if np.isfinite(check.p)}
    adjusted = np.full(len(checks), np.nan)
    for gate in gates:
        family = [i for i, check in enumerate(checks) if check.gate == gate and np.isfinite(check.p)]
        adjusted[family] = np.minimum(1, len(gates) * false_discovery_control([checks[i].p for i in family]))
    before = {(check["gate"], check["about"]): check for check in previous.record["checks"]} if previous else {}
    judged = []
    for check, q in zip(checks, adjusted, strict=True):
        old = before.get((check.gate, check.about), {"history": [], "status": "", "value": None})
        tolerance = limits["columns"].get(check.about, {}).get(check.gate, limits.get(check.gate, 0.0))
        beyond = max(check.value - check.high, check.low - check.value)
        outside = beyond > 0 and not q > limits["alpha"]
        found = "FAIL" if outside and (check.hard or beyond > tolerance) else "ALERT" if outside else "PASS"
        found = found if np.isfinite(check.value) else "NOT MEASURED"
        history = [*old["history"][-2:], found]  # what was found, before escalation
        escalated = found == "ALERT" and history.count("ALERT") >= 2
        note = f"ALERT in {history.count('ALERT')} of the last {len(history)} audits; {check.note}" if escalated else check.note
        judged.append(
            {name: value for name, value in asdict(check).items() if name != "hard"}
            | {"tolerance": tolerance, "adjusted_p": float(q), "status": "FAIL" if escalated else found}
            | {"note": note.removesuffix("; "), "before": old["status"], "history": history}
            | {"change": check.value - old["value"] if old["value"] is not None else None}
        )
    return judged


def _share(gate: str, about: str, k: int, n: int, k_real: int, n_real: int, note: str = "", two_sided: bool = False) -> Check:
    """k of n synthetic rows beside k_real of n_real real ones: a share, and what n more real rows would show.

    The null is the beta-binomial predictive distribution with Jeffreys' prior.
    """
    low, high, p = _predicted(k, n, k_real, n_real, two_sided)
    return Check(gate, about, k / n, low / n, high / n, p, note=note)


def _predicted(k: int, n: int, k_real: int, n_real: int, two_sided: bool) -> tuple[int, int, float]:
    """The 95% band of the count among n further real rows, and the p value of k."""
    from scipy.stats import betabinom

    chance = betabinom.pmf(np.arange(n + 1), n, k_real + 0.5, n_real - k_real + 0.5)
    below = np.cumsum(chance)
    upper, lower = float(chance[k:].sum()), float(below[k])
    low, high = np.searchsorted(below, [0.025, 0.975] if two_sided else [0, 0.95])
    p = 2 * min(upper, lower) if two_sided else upper
    return int(low) if two_sided else 0, int(min(high, n)), float(np.clip(p, 0, 1))


def _drawn(gate: str, about: str, draws: np.ndarray, step: float, two_sided: bool = False) -> Check:
    """A statistic as observed (first) and on each pair of real samples.

    The p value is the tail of a Pearson type III curve with the draws' first three moments (Mielke and Berry 2007), so that
    it can be smaller than one in DRAWS; step is the least standard deviation, the change that a single row makes.
    """
    from scipy.stats import pearson3

    value, null = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value) or not len(null):
        return Check(gate, about, np.nan, note="insufficient: too few rows in every group")
    spread = max(float(null.std()), step)
    z, skew = (value - null.mean()) / spread, float(np.mean((null - null.mean()) ** 3)) / spread**3
    upper, lower = float(pearson3.sf(z, skew)), float(pearson3.cdf(z, skew))
    low, high = np.quantile(null, [0.025, 0.975]) if two_sided else (0.0, np.quantile(null, 0.95))
    p = 2 * min(upper, lower) if two_sided else upper
    return Check(gate, about, value, float(low), float(high), float(np.clip(p, 0, 1)))


def _categories(trial: Trial) -> Iterator[Check]:
    """Labels that train never held; a fresh real row may bring one too, as often as a test row does."""
    for column in trial.schema.columns:
        if column.is_discrete:
            known = set(trial.train[column.name].dropna())
            new = [t[column.name][t[column.name].notna() & ~t[column.name].isin(known)] for t in (trial.synthetic, trial.test)]
            note = f"never in train: {listed([str(label) for label in new[0].unique()], 5)}" if len(new[0]) else ""
            yield _share("categories", column.name, len(new[0]), len(trial.synthetic), len(new[1]), len(trial.test), note)


def _range(trial: Trial) -> Iterator[Check]:
    """Numbers and dates outside train's lowest and highest value; a fresh real row may lie there too."""
    for column in trial.schema.columns:
        if not column.is_discrete and trial.train[column.name].notna().any():
            low, high = trial.train[column.name].min(), trial.train[column.name].max()
            tables = trial.synthetic, trial.test
            out = [int(((t[column.name] < low) | (t[column.name] > high)).fillna(False).sum()) for t in tables]
            note = f"train runs from {low} to {high}" if out[0] else ""
            yield _share("range", column.name, out[0], len(trial.synthetic), out[1], len(trial.test), note)


def _missing(trial: Trial) -> Iterator[Check]:
    """The share of missing values of each column that has any, in either table."""
    for name in trial.schema.names:
        k, k_real = (int(table[name].isna().sum()) for table in (trial.synthetic, trial.test))
        if k or k_real:
            yield _share("missing", name, k, len(trial.synthetic), k_real, len(trial.test), two_sided=True)


class _Draws:
    """DRAWS pairs of disjoint real samples, as large as the synthetic and the test table, out of all real rows.

    Without replacement, so labels seen once stay rare; hence no more synthetic rows are read than train has.
    """

    def __init__(self, trial: Trial):
        rng = trial.rng("audit")

        def some(table, n):
            return table if len(table) <= n else table.iloc[np.sort(rng.permutation(len(table))[:n])]

        train, test = some(trial.train, MAX_ROWS), some(trial.test, MAX_ROWS)
        synthetic = some(trial.synthetic, len(train))
        self.table = pd.concat([train, test, synthetic], ignore_index=True)
        self.n, self.m, self.real = len(synthetic), len(test), len(train) + len(test)
        weight = np.zeros(self.real, dtype=np.float32)
        weight[: self.n], weight[self.real - self.m :] = 1 / self.n, -1 / self.m
        self.weights = np.ascontiguousarray(rng.permuted(np.tile(weight, (DRAWS, 1)), axis=1).T)
        self.observed = np.repeat([-1 / self.m, 1 / self.n], [self.m, self.n])

    def gaps(self, codes: np.ndarray) -> np.ndarray:
        """Synthetic minus test share of each code, shape (codes, 1 + DRAWS): as observed, then in each pair of samples."""
        from scipy.sparse import csr_array

        size, real = int(codes.max()) + 1, codes[: self.real]
        add = csr_array((np.ones(self.real, dtype=np.float32), (real, np.arange(self.real))), shape=(size, self.real))
        observed = np.bincount(codes[self.real - self.m :], weights=self.observed, minlength=size)
        return np.column_stack([observed, add @ self.weights])


def _columns(trial: Trial) -> Iterator[Check]:
    draws = _Draws(trial)
    yield from _distribution(trial, draws)
    yield from _pairs(trial, draws)


def _distribution(trial: Trial, draws: _Draws) -> Iterator[Check]:
    """KS of numbers and dates, total variation of labels, as `marginals` has them; missing is a value of its own."""
    for column in trial.schema.columns:
        values = draws.table[column.name]
        if column.is_discrete:
            gaps = draws.gaps(pd.factorize(values.astype(object), use_na_sentinel=False)[0])
            distance = np.abs(gaps).sum(axis=0) / 2
        else:
            numbers = to_float(values)
            gaps = draws.gaps(np.unique(np.where(np.isnan(numbers), -np.inf, numbers), return_inverse=True)[1])
            distance = np.abs(np.cumsum(gaps, axis=0)).max(axis=0)
        yield _drawn("distribution", column.name, distance, step=1 / min(draws.n, draws.m))


def _pairs(trial: Trial, draws: _Draws) -> Iterator[Check]:
    """Total variation between two columns' joint tables, numbers cut at common deciles, at most 50 labels a column."""
    columns = trial.schema.columns
    codes = Codes(draws.table, trial.schema, BINS, MAX_LEVELS)
    table = codes.encode(draws.table).astype(np.int64)
    pairs = list(combinations(range(len(columns)), 2))
    if len(pairs) > MAX_PAIRS:
        order = trial.rng("pairs").permutation(len(pairs))
        order = sorted(order, key=lambda i: all(columns[j].role == "feature" for j in pairs[i]))[:MAX_PAIRS]
        pairs = [pairs[i] for i in sorted(order)]
    for j, k in pairs:
        cells = pd.factorize(table[:, j] * codes.sizes[k] + table[:, k])[0]
        distance = np.abs(draws.gaps(cells)).sum(axis=0) / 2
        yield _drawn("pairs", f"{columns[j].name} x {columns[k].name}", distance, step=1 / min(draws.n, draws.m))


def _rare_levels(trial: Trial) -> Iterator[Check]:
    """The share of test's rare labels that no synthetic row holds; at most as many synthetic rows as train has are read.

    Null: synthetic and test rows change places. A label with c rows in both then has them all in test with a hypergeometric
    probability; the number of such labels is taken as a sum of independent draws.
    """
    from scipy.stats import hypergeom

    order = trial.rng("rare_levels").permutation(len(trial.synthetic))[: len(trial.train)]
    n, m = len(order), len(trial.test)
    for column in trial.schema.columns:
        sides = trial.test[column.name].value_counts(), trial.synthetic[column.name].iloc[order].value_counts()
        counts = pd.concat(sides, axis=1).fillna(0).set_axis(["test", "synthetic"], axis=1)
        counts = counts[counts.sum(axis=1) < max(RARE * (n + m), 2)]
        held, lost = int((counts["test"] > 0).sum()), counts.index[counts["synthetic"] == 0]
        if not column.is_discrete or not held:
            continue
        chance = np.ones(1)
        for q in hypergeom.pmf(0, n + m, counts.sum(axis=1), n):
            chance = np.convolve(chance, [1 - q, q])
        high = int(np.searchsorted(np.cumsum(chance), 0.95))
        note = f"lost: {listed(sorted(map(str, lost)), 5)}" if len(lost) else ""
        p = float(np.clip(chance[len(lost) :].sum(), 0, 1))
        yield Check("rare_levels", column.name, len(lost) / held, 0.0, high / held, p, note=note)


def _groups(trial: Trial) -> Iterator[Check]:
    """Log-odds of each group's share, synthetic minus train, for sensitive columns and pairs of them.

    Half a row is added to both counts (Haldane 1956). A group that vanished is a hard gate unless chance explains it.
    """
    if not trial.schema.sensitive:
        return
    groups, tables = Groups(trial), (trial.synthetic, trial.train)
    codes, (n, n_real) = [groups.encode(table) for table in tables], map(len, tables)

    def shift(k, k_real):
        return math.log((k + 0.5) / (n - k + 0.5)) - math.log((k_real + 0.5) / (n_real - k_real + 0.5))

    for view in groups.views():
        sizes = [groups.sizes[j] for j in view]
        counts = [np.bincount(np.ravel_multi_index(c[:, view].T, sizes), minlength=np.prod(sizes)) for c in codes]
        for name, k, k_real in zip(groups.names(view), *(count.tolist() for count in counts), strict=True):
            if k_real:
                low, high, p = _predicted(k, n, k_real, n_real, two_sided=True)
                note = f"{k:,} of {n:,} synthetic and {k_real:,} of {n_real:,} train rows"
                note = note if k else f"vanished: {note}"
                yield Check("groups", name, shift(k, k_real), shift(low, k_real), shift(high, k_real), p, not k, note)


def _tables(trial: Trial) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each sensitive column's name and its counts by target label, train and synthetic, each (1 + DRAWS, groups, labels).

    As observed, then for pairs of samples of the same sizes from one distribution, drawn around the real shares (the
    Bayesian bootstrap, Rubin 1981): what real rows show is itself known only so well.
    """
    if not trial.schema.sensitive or trial.schema.target is None:
        return
    groups, rng, tables = Groups(trial), trial.rng("tables"), (trial.train, trial.test, trial.synthetic)
    codes = [groups.encode(table) for table in tables]
    for j in groups.sensitive:
        shape = groups.sizes[j], groups.sizes[groups.target]
        cells = [np.ravel_multi_index((c[:, j], c[:, groups.target]), shape) for c in codes]
        train, test, synthetic = (np.bincount(cell, minlength=np.prod(shape)) for cell in cells)
        share = rng.standard_gamma(train + test, size=(DRAWS, len(train)))
        share /= share.sum(axis=1, keepdims=True)
        sides = [np.vstack([side, rng.multinomial(side.sum(), share)]) for side in (train, synthetic)]
        yield groups.columns[j], *(side.reshape(-1, *shape).astype(float) for side in sides)


def _association(trial: Trial) -> Iterator[Check]:
    """Bias-corrected Cramer's V of a sensitive column and the target, synthetic minus train."""
    for name, before, after in _tables(trial):
        yield _drawn("association", name, cramers_v(after) - cramers_v(before), 1 / len(trial.test), two_sided=True)


def _bias_amplification(trial: Trial) -> Iterator[Check]:
    """Directional bias amplification A -> T of the generator (Wang and Russakovsky 2021), as `bias_amp` has it."""

    def mean(before, after):
        enough = (before.sum(axis=1) >= MIN_ROWS) & (after.sum(axis=1) >= MIN_ROWS)
        terms = amplification(before, after, association_signs(before))[enough][:, before.any(axis=0)]
        return terms.mean() if terms.size else np.nan

    for name, before, after in _tables(trial):
        readings = np.array([mean(*pair) for pair in zip(before, after, strict=True)])
        yield _drawn("bias_amplification", name, readings, 1 / len(trial.test), two_sided=True)


def _copies(trial: Trial) -> Iterator[Check]:
    """Rows equal to a train row in every column; tables of few values are full of them, so test's share is the measure."""
    k, k_test = (int(is_copy(table, trial.train).sum()) for table in (trial.synthetic, trial.test))
    n, m = len(trial.synthetic), len(trial.test)
    note = f"{k:,} of {n:,} synthetic and {k_test:,} of {m:,} test rows equal a train row"
    yield _share("copies", "all columns", k, n, k_test, m, note)


GATES = [_categories, _range, _copies, _groups, _columns, _missing, _rare_levels, _association, _bias_amplification]


def _finite(value: object) -> object:
    """The same record with None where JSON has no number."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
