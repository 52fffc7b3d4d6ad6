"""What synthetic rows are worth where real ones are few: a rare label, and edge cases that somebody
declares.

    [[scenarios]]
    name = "young-high-debt"                            # also the name of the file of its rows
    where = { age = [18, 25], debt = [0.6, 1.0] }       # conditions as workbench.tables.conditions
                                                        reads them; nan is missing
    rows = 200                                          # how many are wanted (default 100)
    description = "first loan, thin file"
    expect = [0.0, 0.5]                                 # where a model's mean answer on these rows
                                                        should lie

`run` makes the rows with any generator and asks three things of them. Coverage: do they lie where
real edge rows lie? Plausibility: do they lie off the real support? Stress test: does a model that
learnt from real rows fail on them as it fails on real rows of the scenario? Their labels are the
generator's, so a failure on them is a place to look for real rows, not a score. `scarce` and
`augment` do the rare label: few real rows, and synthetic ones asked for by condition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.errors import InputError
from workbench.files import check_toml, read_toml, write_text
from workbench.generators import fitted, views
from workbench.markup import macros
from workbench.metrics import INSUFFICIENT, Row, Trial
from workbench.metrics.fidelity import K, standardised
from workbench.metrics.intervals import LEVELS, from_influence, wilson
from workbench.metrics.models import OTHER, ROUNDING, kth_distance, labels, predictions
from workbench.metrics.privacy import newcombe
from workbench.metrics.scarcity import LEARNER, rare_class_gain
from workbench.tables.conditions import TooFew, matches
from workbench.tables.datasets import Dataset
from workbench.tables.encode import to_float
from workbench.tables.schema import Schema, written

LEAST = 20  # real test rows of a scenario; of fewer nothing is told but their number
HALVINGS = 20  # of the train rows of a scenario, for coverage and its ceiling
# A row is off the support beyond this share of real rows' distances to their nearest train row
FAR = 0.95
REPEATS = 200
KEYS = {"name": str, "where": dict, "rows": int, "description": str, "expect": list}


@dataclass(frozen=True)
class Scenario:
    """Conditions on rows, how many are wanted, and the range in which a model's mean answer should
    lie (None: any).
    """

    name: str
    where: Mapping
    rows: int = 100
    description: str = ""
    expect: tuple[float, float] | None = None


def read(path: str | Path, data: Dataset) -> tuple[Scenario, ...]:
    """The scenarios of a TOML file, checked against the dataset. Raises InputError that names the
    line and the way out.
    """
    source, lines = read_toml(Path(path), "give a file with [[scenarios]] tables.")
    check_toml(source, {"scenarios": list}, lines, "")
    if not source.get("scenarios"):
        raise lines.error(
            "",
            0,
            "scenarios",
            "there is no scenario; write a table [[scenarios]] with a name and a where.",
        )
    found: dict[str, Scenario] = {}
    for index, table in enumerate(source["scenarios"]):
        check_toml(table, KEYS, lines, "scenarios", index)
        scenario = Scenario(**{"name": "", "where": {}, **table})
        if reason := _unusable(scenario, data, found):
            raise lines.error("scenarios", index, *reason)
        found[scenario.name] = scenario
    return tuple(found.values())


def _unusable(
    scenario: Scenario, data: Dataset, others: Iterable[str] = ()
) -> tuple[str, str] | None:
    """The key of a scenario that cannot be used, and why."""
    if not re.fullmatch(r"\w[\w.-]*", scenario.name):
        return (
            "name",
            (
                f"name is {scenario.name!r}; give letters, digits, '-', '_' and '.', for it also"
                " names a file."
            ),
        )
    if scenario.name in others:
        return "name", f"scenario {scenario.name!r} occurs twice; give one another name."
    if scenario.rows < 1:
        return "rows", f"rows is {scenario.rows}; ask for at least one."
    if not scenario.where:
        return (
            "where",
            (
                f"scenario {scenario.name!r} has no condition; write for example where = {{ COLUMN"
                " = VALUE }."
            ),
        )
    ends = scenario.expect if scenario.expect is not None else [0, 1]
    if (
        len(ends) != 2
        or not all(type(end) in (int, float) for end in ends)
        or not ends[0] <= ends[1]
    ):
        return (
            "expect",
            f"expect is {scenario.expect}; give the two ends of a range, for example [0.0, 0.5].",
        )
    try:
        matches(data.train, data.schema, scenario.where)
    except InputError as error:
        return "where", str(error)
    return None


def generate(
    data: Dataset, wanted: Iterable[Scenario], generator: str = "cart", seed: int = 0, **params
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The rows made for each scenario, and a sentence for each that fell short; `generator` is
    fitted once, on data.train.

    Nothing is lost: where a scenario is not met, the rows that were found are kept, and the others
    go on.
    """
    from tqdm.auto import tqdm

    model, tables, notes = fitted(generator, data, seed, **params), {}, {}
    for index, scenario in enumerate(
        tqdm(wanted, desc=f"rows by {generator}", leave=False, delay=1)
    ):
        try:
            table = model.sample(
                scenario.rows, np.random.default_rng([seed, 1, index]), where=scenario.where
            )
        except TooFew as few:
            table, notes[scenario.name] = few.rows.iloc[: scenario.rows], str(few)
        except InputError as error:
            table, notes[scenario.name] = data.train.head(0), str(error)
        # A server that is gone, memory that is short: the other scenarios must not be lost
        except Exception as error:
            table, notes[scenario.name] = data.train.head(0), f"{type(error).__name__}: {error}"
        tables[scenario.name] = table.reset_index(drop=True)
    return tables, notes


def run(
    data: Dataset,
    wanted: Iterable[Scenario] | str | Path,
    generator: str = "cart",
    seed: int = 0,
    model=None,
    **params,
) -> Outcome:
    """Make the rows of every scenario (or of the TOML file that declares them), and measure what
    they are worth.

    model: what is stressed, fitted here on the real train rows: fit(rows, y), predict_proba(rows)
    and classes_ like scikit-learn's, or predict(rows) for a target of numbers; by default gradient
    boosting of 100 rounds. Raises InputError for a scenario that the table cannot have, and for a
    generator or a model that cannot take the table.
    """
    data = data.modelled  # an edge case is about values, and identifiers have none to learn
    wanted = read(wanted, data) if isinstance(wanted, (str, Path)) else tuple(wanted)
    for index, scenario in enumerate(wanted):
        if reason := _unusable(scenario, data, [other.name for other in wanted[:index]]):
            raise InputError(f"scenario {scenario.name!r}: {reason[1]}")
    tables, notes = generate(data, wanted, generator, seed, **params)
    _, scored = views(generator, data, seed)
    parts = [scored.test, *tables.values()]
    error, answer = _answers(scored, pd.concat(parts, ignore_index=True), seed, model)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    real, *synthetic = zip(np.split(error, ends), np.split(answer, ends), strict=True)
    records = []
    for scenario, each in zip(wanted, synthetic, strict=True):
        table, held = tables[scenario.name], matches(scored.test, data.schema, scenario.where)
        rows = [
            Row("rows", len(table), note=notes.get(scenario.name, "")),
            Row("real test rows", int(held.sum())),
        ]
        enough = held.sum() >= LEAST
        if enough and len(table):
            rows += [
                *coverage(scored, scenario, table, seed),
                off_support(scored, scenario, table, seed),
            ]
        else:
            short = f"insufficient: {held.sum()} real test rows of the scenario, {LEAST} needed"
            rows.append(
                Row(
                    "coverage",
                    np.nan,
                    state=INSUFFICIENT,
                    note="no synthetic row was made" if enough else short,
                )
            )
        rows += stress(scenario, [side[held & enough] for side in real], each, real[0][~held])
        records += [{"scenario": scenario.name} | asdict(row) for row in rows]
    return Outcome(
        data.name,
        generator,
        seed,
        wanted,
        tables,
        pd.DataFrame(records).drop(columns=["column", "group"]),
        data.schema,
    )


def coverage(data: Dataset, scenario: Scenario, table: pd.DataFrame, seed: int = 0) -> list[Row]:
    """Share of the scenario's real test rows that have a synthetic row as near as their K-th
    nearest real one; the ceiling.

    The scenario's train rows are halved HALVINGS times: one half gives the radius, as many rows of
    the other stand in the synthetic table's place for the ceiling. Distances as for the metric
    `coverage`. 0 to 1, up; Wilson's interval over test rows. Known failure: rows blown up beyond
    the real ones cover well, which `off_support` sees.
    """
    train, test = (t[matches(t, data.schema, scenario.where)] for t in (data.train, data.test))
    if len(train) < 2 * (K + 1):
        note = f"insufficient: {len(train)} real train rows of the scenario, {2 * (K + 1)} needed"
        return [
            Row(name, np.nan, state=INSUFFICIENT, note=note)
            for name in ("coverage", "coverage ceiling")
        ]
    points = standardised(Trial(data.train, data.test, table, data.schema), [train, test, table])
    rng, hits = np.random.default_rng([seed, 2]), []
    half = len(points[0]) // 2
    m = min(half, len(points[2]))
    for _ in range(HALVINGS):
        order = rng.permutation(len(points[0]))
        reach = kth_distance(points[1], points[0][order[half:]], K) + ROUNDING * (
            1 + np.linalg.norm(points[1], axis=1)
        )
        pools = (points[2][rng.permutation(len(points[2]))[:m]], points[0][order[:m]])
        hits.append([(kth_distance(points[1], pool, 1) <= reach).mean() for pool in pools])
    n, note = len(points[1]), f"{m:,} rows a side"
    shares = zip(("coverage", "coverage ceiling"), np.mean(hits, axis=0), strict=True)
    return [Row(name, float(share), *wilson(share * n, n), note=note) for name, share in shares]


def off_support(data: Dataset, scenario: Scenario, table: pd.DataFrame, seed: int = 0) -> Row:
    """Share of synthetic rows farther from any train row than FAR of the scenario's real test rows
    are.

    0 to 1, down; 0.05 is what fresh real rows read, 0 what copies of train rows do. Bootstrap over
    both tables. Known failure: near is not right; a row that mixes two people may lie between them.
    """
    test = data.test[matches(data.test, data.schema, scenario.where)]
    points = standardised(
        Trial(data.train, data.test, table, data.schema), [data.train, test, table]
    )
    real, synthetic = (kth_distance(part, points[0], 1) for part in points[1:])
    slack, rng = ROUNDING * (1 + np.abs(points[2]).max(initial=0)), np.random.default_rng([seed, 3])
    pairs = [(real, synthetic)]
    for _ in range(REPEATS):
        pairs.append((rng.choice(real, len(real)), rng.choice(synthetic, len(synthetic))))
    value, *shares = (float((far > _far(near) + slack).mean()) for near, far in pairs)
    return Row(
        "off support",
        value,
        *np.quantile(shares, LEVELS).tolist(),
        note=f"{1 - FAR:.0%} of real rows lie farther",
    )


def _far(near: np.ndarray) -> float:
    """The distance beyond which a fresh real row lies with chance 1 - FAR, whatever the number of
    rows (Weibull's plotting position); of fewer than 19 rows, with chance 1 / (rows + 1).
    """
    return float(np.quantile(near, FAR, method="weibull"))


def stress(
    scenario: Scenario,
    real: Sequence[np.ndarray],
    synthetic: Sequence[np.ndarray],
    others: np.ndarray,
) -> list[Row]:
    """What a model gets wrong on the real rows of a scenario and on the synthetic ones, each given
    as (errors, answers).

    Rows: the mean `error` of both and of all other test rows, the difference synthetic - real, and
    the mean answer on both, held against `expect`. 95% intervals: Wilson's and Newcombe's for
    shares of wrong labels, normal ones for numbers. A difference whose interval holds 0 is "not
    told apart", which few real rows make easy. The synthetic rows' labels are the generator's: what
    a model "gets wrong" there may be the generator's mistake, and rows close to those that the
    model learnt from look easier than they are.
    """
    (real_error, real_answer), (synthetic_error, synthetic_answer) = real, synthetic
    errors: dict[str, np.ndarray] = {
        "real rows": real_error,
        "synthetic rows": synthetic_error,
        "other rows": others,
    }
    rows = [_mean(f"error, {who}", values) for who, values in errors.items()]
    value, (a, b) = (
        rows[1].value - rows[0].value,
        (side[~np.isnan(side)] for side in (real_error, synthetic_error)),
    )
    shares = np.isin([*a, *b], (0, 1)).all()
    counts = [int(count) for count in (b.sum(), len(b), a.sum(), len(a))]
    low, high = newcombe(*counts) if shares else _spread(value, b, a)
    verdict = (
        "not told apart"
        if low <= 0 <= high
        else "more wrong on synthetic"
        if low > 0
        else "more wrong on real"
    )
    rows.append(Row("error difference", value, low, high, note="" if np.isnan(low) else verdict))
    for row in (
        _mean("answer, real rows", real_answer),
        _mean("answer, synthetic rows", synthetic_answer),
    ):
        if scenario.expect is not None and not np.isnan(row.value):
            met = scenario.expect[0] <= row.value <= scenario.expect[1]
            row = replace(row, note=f"{row.note}; {'as' if met else 'not as'} expected")
        rows.append(row)
    return rows


def _answers(data: Dataset, rows: pd.DataFrame, seed: int, model) -> tuple[np.ndarray, np.ndarray]:
    """Each row's error (1 for a wrong label, or the absolute error) and the model's answer
    (probability of the positive label, or the predicted number), float, shape (rows,); NaN where
    there is no target, or no positive label."""
    if data.schema.target is None:
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    own = (
        predictions(data.train, rows, data.schema, LEARNER, seed)
        if model is None
        else _predicted(model, data, rows)
    )
    if data.schema.task != "classification":
        return (
            np.abs(own["prediction"].to_numpy() - to_float(rows[data.schema.target.name])),
            own["prediction"].to_numpy(),
        )
    truth = pd.Series(labels(rows[data.schema.target.name]))
    # As `predictions` calls the rarest of many labels.
    called = truth.where(truth.isin(own.columns), OTHER)
    wrong = np.where(truth.isna(), np.nan, own.idxmax(axis=1).to_numpy() != called.to_numpy())
    return wrong, own.get(data.schema.positive, pd.Series(np.nan, own.index)).to_numpy()


def _predicted(model, data: Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    """What a model of the user's, fitted on the train rows that have a target, says of each row, as
    `predictions` gives it.
    """
    name, is_label = data.schema.target.name, data.schema.task == "classification"
    method, inputs = (
        "predict_proba" if is_label else "predict",
        [other for other in data.schema.names if other != name],
    )
    if not all(hasattr(model, needed) for needed in ("fit", method)):
        raise InputError(
            f"model {type(model).__name__} has no fit or no {method}; give one like scikit-learn's."
        )
    train = data.train[data.train[name].notna()]
    try:
        fitted = model.fit(train[inputs], (labels if is_label else to_float)(train[name]))
        answers = np.reshape(getattr(fitted, method)(rows[inputs]), (len(rows), -1))
        return pd.DataFrame(
            answers,
            columns=[str(label) for label in fitted.classes_] if is_label else ["prediction"],
        )
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"model {type(model).__name__} cannot take this table; encode it before ({reason})."
        ) from error


def _mean(name: str, values: np.ndarray) -> Row:
    values = values[~np.isnan(values)]
    if not len(values):
        return Row(name, np.nan, state=INSUFFICIENT, note="0 rows")
    mean, shares = float(values.mean()), np.isin(values, (0, 1)).all()
    interval = wilson(int(values.sum()), len(values)) if shares else _spread(mean, values)
    return Row(name, mean, *interval, note=f"{len(values):,} rows")


def _spread(value: float, *samples: np.ndarray) -> tuple[float, float]:
    """The normal interval of a mean or a difference of means; none where a sample has one row,
    which tells no spread.
    """
    if min(map(len, samples)) < 2:
        return np.nan, np.nan
    return from_influence(value, *(sample - sample.mean() for sample in samples))


@dataclass(frozen=True, eq=False)
class Outcome:
    """The rows made for each scenario (`tables`, by name), and tidy `rows`: scenario, metric,
    value, low, high, note.
    """

    dataset: str
    generator: str
    seed: int
    scenarios: tuple[Scenario, ...]
    tables: dict[str, pd.DataFrame]
    rows: pd.DataFrame
    schema: Schema | None = None
    """How the real table was written, and so the files will be."""

    @property
    def summary(self) -> pd.DataFrame:
        """One line a scenario: rows made and wanted, what was measured, and what the two errors say
        or why there is none.
        """
        shown = [
            "rows",
            "real test rows",
            "coverage",
            "coverage ceiling",
            "off support",
            "error, real rows",
        ]
        names, shown = (
            [scenario.name for scenario in self.scenarios],
            [*shown, "error, synthetic rows", "error difference"],
        )
        wide = self.rows.pivot(index="scenario", columns="metric", values="value").reindex(
            names, columns=shown
        )
        wide.insert(1, "wanted", [float(scenario.rows) for scenario in self.scenarios])
        verdicts = self.rows[
            self.rows["metric"].isin(["coverage", "error difference"]) & (self.rows["note"] != "")
        ]
        return wide.assign(verdict=verdicts.groupby("scenario")["note"].last()).rename_axis(
            columns=None
        )

    @property
    def shortfalls(self) -> list[str]:
        """A sentence for each scenario of which fewer rows than wanted were made."""
        rows = self.rows[(self.rows["metric"] == "rows") & (self.rows["note"] != "")]
        return [f"{row.scenario}: {row.note}" for row in rows.itertuples()]

    def write(self, folder: str | Path) -> Path:
        """NAME.csv for each scenario, and scenarios.json with all that was declared and measured;
        returns the folder.
        """
        folder, records = (
            Path(folder),
            self.rows.astype(object).where(self.rows.notna(), None).to_dict("records"),
        )
        about = {
            "dataset": self.dataset,
            "generator": self.generator,
            "seed": self.seed,
            "shortfalls": self.shortfalls,
        }
        about |= {"scenarios": [asdict(scenario) for scenario in self.scenarios], "rows": records}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, table in self.tables.items():
                if self.schema is not None:
                    table = written(table, self.schema, as_text=True)
                write_text(folder / f"{name}.csv", table.to_csv(index=False))
            write_text(
                folder / "scenarios.json",
                json.dumps(about, indent=1, ensure_ascii=False, default=str) + "\n",
            )
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written ({error.strerror}); name another folder."
            ) from None
        return folder

    def __repr__(self) -> str:
        shown = self.summary.to_string(na_rep="", float_format="{:.4g}".format)
        return "\n".join(
            [
                f"Scenarios of {self.dataset} by {self.generator}, seed {self.seed}",
                shown,
                *self.shortfalls,
            ]
        )

    def _repr_html_(self) -> str:
        table = Markup(self.summary.to_html(na_rep="", float_format="{:.4g}".format))
        about = (self.dataset, self.generator, self.seed)
        return macros("studies/shown.html.j2").scenarios(*about, table, self.shortfalls)


def scarce(data: Dataset, rows: int, seed: int = 0, others: int = 2000) -> Dataset:
    """The dataset with `rows` train rows of the rarer of its two labels and at most `others` of the
    other; test is whole.
    """
    counts, label = _labels(data)
    if not 1 <= rows <= counts.iloc[-1]:
        raise InputError(
            f"{data.name!r} has {counts.iloc[-1]} train rows of {counts.index[-1]!r}; ask for 1 to"
            " so many."
        )
    rng = np.random.default_rng([seed, 4])
    sizes = {counts.index[-1]: rows, counts.index[0]: min(others, counts.iloc[0])}
    kept = np.concatenate(
        [rng.permutation(np.flatnonzero(label == name))[:size] for name, size in sizes.items()]
    )
    return replace(data, train=data.train.iloc[np.sort(kept)].reset_index(drop=True))


def augment(
    data: Dataset, generator: str, seed: int = 0, rows: int | None = None, **params
) -> list[Row]:
    """`rare_class_gain` of rows of the rare label that the generator is asked for by condition, not
    found by chance.

    rows: how many; by default as many as make both labels equally frequent. Where fewer can be had,
    those are used.
    """
    _, scored = views(generator, data, seed)
    counts, _ = _labels(data)
    rows = int(counts.iloc[0] - counts.iloc[-1]) if rows is None else rows
    rare_scenario = Scenario("rare", {data.schema.target.name: counts.index[-1]}, rows)
    tables, notes = generate(data, [rare_scenario], generator, seed, **params)
    if len(tables["rare"]) == 0:
        return [Row("rare_class_gain", np.nan, state=INSUFFICIENT, note=notes["rare"])]
    return list(
        rare_class_gain(Trial(scored.train, scored.test, tables["rare"], data.schema, seed))
    )


def _labels(data: Dataset) -> tuple[pd.Series, np.ndarray]:
    """How often each of the two labels occurs in train, the rarer last; and each row's label as
    text.
    """
    if data.schema.target is None or data.schema.task != "classification":
        raise InputError(f"{data.name!r} has no target of labels; name one that has two.")
    label = labels(data.train[data.schema.target.name])
    counts = pd.Series(label).value_counts()
    if len(counts) != 2:
        raise InputError(
            f"target {data.schema.target.name!r} has {len(counts)} labels in train; two are needed."
        )
    return counts, label
