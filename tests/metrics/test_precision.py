"""Alpha-precision and authenticity against their definitions written out, and known tables."""

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.precision import alpha_precision, authenticity, precision
from workbench.tables.schema import Schema


def people(seed: int, n: int, scale: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: scale * rng.normal(size=n) for name in "abcd"})


def trial(synthetic: pd.DataFrame) -> Trial:
    train, test = people(1, 600), people(2, 600)
    schema = Schema.infer(train)
    return Trial(*map(schema.cast, (train, test, synthetic)), schema)


def test_precision_is_the_integral_of_its_definition():
    rng = np.random.default_rng(0)
    real, synthetic = rng.gamma(4, 1, 300), rng.gamma(3, 1, 200)
    alpha = np.linspace(0, 1, 3000)
    curve = [(synthetic <= np.quantile(real, a)).mean() for a in alpha]
    direct = 1 - 2 * np.mean(np.abs(curve - alpha))
    value, low, high = precision(real, synthetic)
    assert value == pytest.approx(direct, abs=0.01) and low < value < high


def test_depths_of_fresh_rows_are_precise_and_shrunk_or_far_rows_are_not():
    read = {
        name: next(alpha_precision(trial(table))).value
        for name, table in {
            "fresh": people(3, 600),
            "shrunk": people(3, 600, scale=0.2),
            "far": people(3, 600, scale=30.0),
        }.items()
    }
    assert read["fresh"] > 0.93
    assert read["shrunk"] < 0.1 and read["far"] < 0.1


def test_a_table_of_two_values_is_as_deep_as_itself():
    table = pd.DataFrame({"a": ["x"] * 90 + ["y"] * 10, "b": ["u", "v"] * 50})
    schema = Schema.infer(table)
    table = schema.cast(table)
    assert next(alpha_precision(Trial(table, table, table, schema))).value == 1


def test_authenticity_is_its_definition_written_out():
    of = trial(people(3, 200))
    train, rows = (table.to_numpy(dtype=float) for table in (of.train, of.synthetic))
    scale = train.std(axis=0)
    train, rows = train / scale, rows / scale
    count = 0
    for row in rows:
        distance = np.linalg.norm(train - row, axis=1)
        nearest = int(distance.argmin())
        others = np.linalg.norm(np.delete(train, nearest, axis=0) - train[nearest], axis=1)
        count += distance[nearest] > others.min()
    assert next(authenticity(of)).value == pytest.approx(count / 200, abs=0.006)


def test_copies_and_noisy_copies_are_not_authentic_and_fresh_rows_are_as_test_rows():
    of = trial(people(3, 600))
    copy = next(authenticity(trial(of.train))).value
    noisy = next(authenticity(trial(of.train + 0.001))).value
    fresh, ceiling = (next(authenticity(trial(t))) for t in (people(3, 600), of.test))
    assert copy == 0 and noisy == 0
    assert fresh.low < ceiling.value < fresh.high
