"""Every registered metric of one synthetic table, beside what the same metric says of a real and of
a spoilt table.

    ceiling   the other real table in the synthetic one's place: a fresh real sample (train where a
              metric reads test; where it reads both, half of test, held against train and the other
              half)
    floor     train that has lost what the metric measures: each column permuted, uniform columns,
              or a raw copy

Both have as many rows as the synthetic table where they can. Fits and sums run on one thread: the
same tables and the same seed give the same numbers however many cores there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.files import write_text
from workbench.metrics import (
    ERROR,
    INSUFFICIENT,
    METRICS,
    NOT_APPLICABLE,
    NOT_INFORMATIVE,
    OK,
    Guarantee,
    Metric,
    Row,
    Trial,
    get,
    in_order,
)
from workbench.metrics.card import Card
from workbench.metrics.equivalent import check
from workbench.metrics.models import one_thread
from workbench.metrics.references import begin, end, hashed, kept_at
from workbench.metrics.rows import to_table
from workbench.tables.datasets import Dataset
from workbench.tables.encode import Marginal, from_float, to_float
from workbench.tables.files import read_file
from workbench.tables.given import read_table
from workbench.tables.schema import KINDS, Column, Schema

# Learners trained on noise rank real rows in a random direction, so one permutation is a coarse
# floor for utility.
FLOOR_DRAWS = {
    "workbench.metrics.utility:utility": 3,
    "workbench.metrics.utility:model_ranking": 3,
    "workbench.metrics.published:published_errors": (
        3
    ),  # it has no interval, so draws tell its noise
}
MOST_REFERENCES = 1000  # readings of reference tables that a process keeps, some hundred a dataset
_references: dict[str, list[Row]] = {}
CEILING = {"test": "train", "train": "test", "train and test": "fresh"}  # by what a metric reads


def evaluate(
    data: Dataset,
    synthetic: pd.DataFrame | str | Path,
    seed: int = 0,
    metrics: Iterable[str] | None = None,
    progress: Callable[[list], Iterable] | None = None,
    generator: object = None,
    shares: Iterable[str] = (),
) -> Card:
    """Score a synthetic table against real rows that no generator has seen.

    Parameters
    ----------
    data : Dataset
        The real rows, as `load` returned them.
    synthetic : DataFrame or path
        The table to score; a CSV or Parquet file is read by the rules of `load`. Values that a
        column's kind cannot hold are made missing, and the card's notes count them.
    seed : int
        Decides whatever the metrics draw.
    metrics : names, optional
        What is measured (`workbench list metrics`); all of them unless given.
    progress : callable, optional
        Wraps the list of steps, such as `tqdm`.
    generator : object, optional
        The fitted generator that made the table, for the privacy budget that it claims (see
        metrics.Guarantee).
    shares : names of metrics, optional
        Metrics whose equivalent share of real rows is measured, by default the cheap ones (see
        metrics.equivalent).

    Returns
    -------
    Card
        `.rows` has one measured number a row, with interval, floor and ceiling. A metric that
        cannot be computed is a row with a missing value whose note says why.

    Raises
    ------
    InputError
        For missing or surplus columns, and for unknown metrics.

    Examples
    --------
    >>> from workbench import generate, load
    >>> data = load("loans")
    >>> card = evaluate(data, generate("independent", data), metrics=["marginals"])
    >>> bool(card.headlines["value"].iloc[0] > 0.9)
    True
    """
    chosen = {name: get(name) for name in (METRICS if metrics is None else metrics)}
    shares = tuple(shares)
    check(shares)
    if isinstance(synthetic, str | Path):
        synthetic = read_file(Path(synthetic))
    identity_notes = [*data.schema.role_notes, *_copied_identifiers(data, synthetic)]
    group_column = data.schema.group
    # Identifiers are no features: whether a synthetic table has them, and which, moves no score.
    synthetic = without_identifiers(synthetic, data.schema)
    data = data.modelled
    # Cast to the real kinds, or a number written as text would score as a label.
    table, notes = read_table(synthetic, data.schema)
    notes += _unknown_labels(table, data)
    claim = Guarantee.of(generator)
    # One trial for all metrics: they share what they compute of it.
    trial = Trial(data.train, data.test, table, data.schema, seed, claim, shares)
    common = _common(trial)
    shared = [common, _length(trial)]
    # A function that measures several metrics runs once.
    groups = _by_function(chosen)
    frames = []
    # Nobody has checked how large the numbers are.
    with (
        one_thread(),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        waiting = list(groups)
        for _ in progress(groups) if progress else groups:
            group = _next(waiting, shared)
            frames.append(_with_references(group, trial, common))
            end([*shared, list(group)])
    rows = pd.concat(frames, ignore_index=True) if frames else to_table([])
    rows = _noted_groups(rows, group_column)
    notes = [*notes, *identity_notes]
    return Card(
        in_order(rows, chosen), data.name, len(data.train), len(data.test), len(table), notes
    )


def readings(trial: Trial, names: Iterable[str]) -> pd.DataFrame:
    """The rows of some metrics alone, without references: floor and ceiling stay missing."""
    chosen = {name: get(name) for name in names}
    rows: list[Row] = []
    with one_thread(), np.errstate(over="ignore", invalid="ignore"):
        for group in _by_function(chosen):
            rows += _run(group, trial)
    return to_table(rows)


def _by_function(chosen: dict[str, Metric]) -> list[dict[str, Metric]]:
    """The metrics in groups that one function measures together."""
    groups: dict[str, dict[str, Metric]] = {}
    for name, metric in chosen.items():
        groups.setdefault(metric.function, {})[name] = metric
    return list(groups.values())


def without_identifiers(synthetic: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A synthetic table without the columns that say who a row is; it need not have them."""
    names = {column.name for column in schema.identifying}
    if not names or not isinstance(synthetic, pd.DataFrame):
        return synthetic
    return synthetic[[name for name in synthetic.columns if name not in names]]


def copied_identifiers(data: Dataset, synthetic: pd.DataFrame) -> dict[str, int]:
    """How many synthetic rows carry an identifier of a train row, by the name of the identifying
    column.
    """
    found = {}
    for column in data.schema.identifying:
        if isinstance(synthetic, pd.DataFrame) and list(synthetic.columns).count(column.name) == 1:
            # As text, because one of the two may have been read as numbers.
            real = _identifier_texts(data.train[column.name])
            held = _identifier_texts(synthetic[column.name])
            found[column.name] = int(held.isin(set(real)).sum())
    return found


def _identifier_texts(values: pd.Series) -> pd.Series:
    """The values that are there, as text: 12.0, which a gap makes of 12, is 12."""
    present = values.dropna()
    if pd.api.types.is_float_dtype(present.dtype) and (present == present.round()).all():
        present = present.astype("Int64")
    return present.astype(str)


def _copied_identifiers(data: Dataset, synthetic: pd.DataFrame) -> list[str]:
    return [
        f"WARNING: {count:,} synthetic rows carry a real {name!r} of the train rows."
        for name, count in copied_identifiers(data, synthetic).items()
        if count
    ]


def _noted_groups(rows: pd.DataFrame, group: Column | None) -> pd.DataFrame:
    """Privacy rows say that they counted rows where several rows may be about one person."""
    if group is None or not len(rows):
        return rows
    is_privacy = rows["metric"].map(lambda name: METRICS[name].family == "privacy")
    is_counted = is_privacy & rows["value"].notna()
    sentence = f"rows were counted, not values of {group.name!r}"
    notes = rows["note"].where(
        ~is_counted, rows["note"].map(lambda n: "; ".join(filter(None, [n, sentence])))
    )
    return rows.assign(note=notes)


def _unknown_labels(table: pd.DataFrame, data: Dataset) -> list[str]:
    """A note for each column whose labels train never had, as of a CSV that was read by other
    rules.
    """
    notes = []
    for column in data.schema.columns:
        if column.kind != "categorical":
            continue
        # A label that train never had costs a score, and the reader should know why.
        present = table[column.name].dropna()
        unknown = present[~present.isin(data.train[column.name].dropna().unique())]
        if len(unknown):
            example = unknown.value_counts().index[0]
            notes.append(
                f"column {column.name!r}: {len(unknown):,} of {len(table):,} values are labels that"
                f" train never had, such as {str(example)[:40]!r}; was the file read as text?"
            )
    return notes


def _with_references(group: dict[str, Metric], trial: Trial, common: str) -> pd.DataFrame:
    """The rows of metrics that share one function, run on the synthetic table and on each reference
    they name.
    """
    references: dict[tuple[str, int], list[dict]] = {}

    def reference(kind: str, draws: int) -> list[dict]:
        # Only where some row asks for it: a metric without a floor needs no spoilt table.
        if (kind, draws) not in references:
            tables = range(draws)
            found = [_reference_rows(group, trial, kind, draw, common) for draw in tables]
            references[kind, draws] = [_by_subject(rows) for rows in found]
        return references[kind, draws]

    rows, floors, ceilings = [], [], []
    for row in _run(group, trial):
        metric = group[row.metric]
        floor, ceiling = [], []
        # What cannot be measured here has no references either.
        if row.state != NOT_APPLICABLE:
            draws = FLOOR_DRAWS.get(metric.function, 1)
            if metric.floor:
                floor = _answers(row, reference(_floor_table(metric), draws))
            ceiling = _answers(row, reference(CEILING[metric.reads], 1))
            row = _judged(row, metric, floor, ceiling)
        rows.append(row)
        floors.append(_mean(floor))
        ceilings.append(_mean(ceiling))
    return to_table(rows).assign(
        floor=np.array(floors, dtype=float), ceiling=np.array(ceilings, dtype=float)
    )


def _next(waiting: list[dict[str, Metric]], shared: list) -> dict[str, Metric]:
    """Take the next group of metrics: the first whose references no other cell is measuring just now.

    Cells that begin together share the work so, instead of measuring the same references twice.
    Which comes first changes no number.
    """
    for place, group in enumerate(waiting):
        if begin([*shared, list(group)]):
            return waiting.pop(place)
    # Others are at all that is left: sooner done once more than waited for, and they may be gone.
    return waiting.pop(0)


def _floor_table(metric: Metric) -> str:
    """The floor's table: permuted rows come from the table that the metric does not read, or they
    would share its very values.
    """
    return (
        "permuted test" if (metric.floor, metric.reads) == ("permuted", "train") else metric.floor
    )


def _judged(row: Row, metric: Metric, floor: list[Row], ceiling: list[Row]) -> Row:
    """The row, not informative where its references are too close to tell floor from ceiling."""
    # A difference from 0 means something by itself; only its place between floor and ceiling
    # would be noise, and such a metric has no score.
    if row.state != OK or not np.isfinite(row.value) or metric.speaks_for_itself:
        return row
    reason = _not_informative(floor, ceiling, metric.direction)
    if not reason:
        return row
    return replace(row, state=NOT_INFORMATIVE, note="; ".join(filter(None, [reason, row.note])))


def _common(trial: Trial) -> str:
    """All that the reference tables of a trial are made from, hashed once however many metrics ask
    for them.
    """
    about = [
        hashed(trial, trial.train),
        hashed(trial, trial.test),
        trial.schema.to_json(),
        trial.seed,
        trial.shares,
    ]
    return json.dumps(about)


def _length(trial: Trial) -> int:
    """How long its reference tables are, where they can be: many readings depend on the number of
    rows. A table without any is compared with what a whole one could be.
    """
    return len(trial.synthetic) or len(trial.train)


def _reference_rows(
    group: dict[str, Metric], trial: Trial, kind: str, draw: int, common: str
) -> list[Row]:
    """The group's rows of a reference table, kept in the folder of references where there is one,
    else in this process.

    They depend on the synthetic table's length alone, so the cells of a batch that share data, seed
    and length need them once, and so does a notebook that scores one table after the other. Fresh
    rows are half of test however long that table is.
    """
    # All metrics of a group share it.
    function = next(iter(group.values())).function
    length = None if kind == "fresh" else _length(trial)
    about = [common, length, function, list(group), kind, draw]
    path = kept_at(about, ".json")
    if path is not None and path.exists():
        return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    key = json.dumps(about)
    if path is None and key in _references:
        return _references[key]
    # A reference table makes no claim about privacy.
    real = replace(trial, guarantee=None)
    rows = _run(group, _fresh(real) if kind == "fresh" else _in_place(kind, real, draw))
    # An error may be this process's own, such as too little memory.
    if any(row.state == ERROR for row in rows):
        return rows
    if path is not None:
        write_text(path, json.dumps([asdict(row) for row in rows]))
    elif len(_references) < MOST_REFERENCES:
        _references[key] = rows
    return rows


def _by_subject(rows: list[Row]) -> dict[tuple, Row]:
    """Rows by metric, column and group; a metric with a single row (the worst column) also by its
    name alone.
    """
    count = Counter(row.metric for row in rows)
    alone = {(row.metric,): row for row in rows if count[row.metric] == 1}
    return alone | {(row.metric, row.column, row.group): row for row in rows}


def _answers(row: Row, indexes: list[dict[tuple, Row]]) -> list[Row]:
    """What each reference table reads where `row` reads the synthetic one."""
    found = []
    for index in indexes:
        # The worst column of a reference may be another one than that of the synthetic table.
        same = index.get((row.metric, row.column, row.group)) or index.get((row.metric,))
        if same is not None:
            found.append(same)
    return found


def _mean(rows: list[Row]) -> float:
    return float(np.mean([row.value for row in rows])) if rows else np.nan


def _not_informative(floor: list[Row], ceiling: list[Row], direction: str) -> str:
    """Why the way from floor to ceiling says nothing, or an empty text: it is within noise, or
    leads to the worse side.

    The noise of each is its 95% half-width joined with the spread among its draws; without any
    interval only equality counts.
    """
    # Without both ends there is nothing to compare.
    distance = abs(_mean(ceiling) - _mean(floor))
    if not np.isfinite(distance):
        return ""
    # The half width of each side's interval, on average over its draws.
    half, spread = [], []
    for side in (floor, ceiling):
        widths = [np.nan_to_num((row.high - row.low) / 2) for row in side]
        half.append(np.mean(widths))
        if len(side) > 1:
            values = [row.value for row in side]
            spread.append(1.96 * np.std(values, ddof=1) / np.sqrt(len(side)))
    noise = float(np.sqrt(np.sum(np.square([*half, *spread]))))
    if distance <= noise + 1e-9:
        return (
            f"not informative: floor and ceiling are {distance:.3g} apart, within resampling noise"
            f" ({noise:.3g})"
        )
    # A fresh sample that reads worse than noise shows that the metric is blind here.
    bad = {"up": np.negative, "down": np.positive, "zero": np.abs}[direction]
    if bad(_mean(ceiling)) > bad(_mean(floor)):
        return (
            "not informative: a fresh real sample reads worse here than the table that has lost"
            " what is measured"
        )
    return ""


def _run(group: dict[str, Metric], trial: Trial) -> list[Row]:
    """The rows of the group's metrics; an error becomes a row for each of them, so that nothing
    vanishes, and so does what the schema lacks.
    """
    if not len(trial.synthetic):
        note = "the synthetic table has no rows."
        return [Row(name, np.nan, state=INSUFFICIENT, note=note) for name in group]
    # What the schema cannot give is set aside with a reason; the rest is measured.
    aside, possible = [], []
    for name, metric in group.items():
        lacking = metric.lacks(trial.schema)
        if lacking:
            note = f"not applicable: {lacking}"
            aside.append(Row(name, np.nan, state=NOT_APPLICABLE, note=note))
        else:
            possible.append(name)
    if not possible:
        return aside
    function = group[possible[0]].function
    try:
        rows = [row for row in trial.rows(function) if row.metric in possible]
    # Whatever a metric breaks on, the others still have their numbers, and this one says why not.
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        note = f"error: {type(error).__name__}: {lines[-1]}"
        return aside + [Row(name, np.nan, state=ERROR, note=note) for name in possible]
    # A metric that yields nothing at all would vanish from every page.
    seen = {row.metric for row in rows}
    note = "the metric gave no reading."
    silent = [Row(name, np.nan, state=ERROR, note=note) for name in possible if name not in seen]
    return rows + silent + aside


def _in_place(kind: str, trial: Trial, draw: int) -> Trial:
    table = trial.once(
        f"{kind} {draw}", trial.synthetic, lambda: reference_table(kind, trial, draw)
    )
    return replace(trial, synthetic=table)


def _fresh(trial: Trial) -> Trial:
    """Half of test in the synthetic table's place, and only the other half as test: no row stands
    on two sides.
    """

    def halves():
        # Fresh rows and the test they are held against must share no row.
        order = trial.rng("fresh").permutation(len(trial.test))
        parts = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        return [trial.test.iloc[part].reset_index(drop=True) for part in parts]

    synthetic, test = trial.once("fresh", trial.test, halves)
    return replace(trial, synthetic=synthetic, test=test)


def reference_table(kind: str, trial: Trial, draw: int = 0) -> pd.DataFrame:
    """A table to hold the synthetic one against, of as many rows where it can: a name of
    Metric.floor, "train" or "test".

    permuted   train, each column shuffled on its own; "permuted test" the same of test, up to as
               many rows
            uniform   each column uniform over train's range or labels
    copy       train itself                                    train, test   the real table, fewer
               rows without replacement
    """
    rng = trial.rng(f"{kind} {draw}")
    n = _length(trial)
    if kind == "permuted test":
        # Test is shorter than the synthetic table as a rule. Its columns are drawn apart, so they
        # can be drawn with replacement up to the same length.
        columns = {}
        for name in trial.schema.names:
            columns[name] = trial.test[name].iloc[_drawn(len(trial.test), n, rng)].array
        table = pd.DataFrame(columns, columns=trial.schema.names)
    elif kind == "permuted":
        columns = {
            name: trial.train[name].iloc[rng.permutation(len(trial.train))].array
            for name in trial.schema.names
        }
        table = pd.DataFrame(columns, columns=trial.schema.names)
    elif kind == "uniform":
        columns = {
            column.name: _uniform(trial.train[column.name], column, n, rng)
            for column in trial.schema.columns
        }
        table = pd.DataFrame(columns, columns=trial.schema.names)
    else:
        table = {"copy": trial.train, "train": trial.train, "test": trial.test}[kind]
    if len(table) > n:
        table = table.iloc[np.sort(rng.permutation(len(table))[:n])].reset_index(drop=True)
    return table


def _drawn(rows: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n of the row numbers in random order, each as often as any other, give or take one."""
    # Whole rounds first, so that no row is drawn twice before every one is drawn once.
    rounds = [rng.permutation(rows) for _ in range(-(-n // max(rows, 1)))]
    return np.concatenate(rounds)[:n]


def _uniform(values: pd.Series, column: Column, n: int, rng: np.random.Generator) -> pd.Series:
    present = values.dropna()
    if present.empty:
        return pd.Series(values.array[:0].take([-1] * n, allow_fill=True), name=column.name)
    if column.is_discrete:
        levels = sorted(present.unique())
        return pd.Series(
            [levels[i] for i in rng.integers(len(levels), size=n)], name=column.name
        ).astype(KINDS[column.kind])
    # Between train's bounds and on its grid, or the grid would give the floor away.
    marginal = Marginal.fit(to_float(values))
    low, high = marginal.values[[0, -1]]
    return from_float(marginal.snap(low + rng.random(n) * (high - low)), column)
