"""Tables of two and three columns against pandas' own counting, and a link that only three columns
have.
"""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.ways import kway_tables
from workbench.tables.schema import Schema


def people(rng, n: int, linked: bool = True) -> pd.DataFrame:
    """Two coins, and a third that is their parity (or a coin of its own); two more columns."""
    a, b = rng.integers(0, 2, size=(2, n))
    c = a ^ b if linked else rng.integers(0, 2, size=n)
    labels = {
        name: np.where(side == 1, "yes", "no") for name, side in zip("abc", (a, b, c), strict=True)
    }
    x = rng.normal(size=n)
    gone = rng.random(n) < 0.1
    return pd.DataFrame(labels | {"x": np.where(gone, np.nan, x), "day": rng.integers(0, 3, n)})


def trial(synthetic: pd.DataFrame, n: int = 1500) -> Trial:
    train, test = (people(np.random.default_rng(seed), n) for seed in (1, 2))
    schema = Schema.infer(train)
    return Trial(*map(schema.cast, (train, test, synthetic)), schema)


def read(of: Trial) -> dict[str, float]:
    return {row.group: row for row in kway_tables(of)}


def test_every_table_is_that_of_pandas():
    of = trial(people(np.random.default_rng(3), 700))
    edges = np.quantile(of.train["x"].dropna(), [0.2, 0.4, 0.6, 0.8], method="inverted_cdf")

    def coded(table):
        x = pd.Series(np.searchsorted(edges, table["x"], side="right"))
        return table.assign(x=x.where(table["x"].notna(), -1).astype(int)).astype(str)

    synthetic, test = coded(of.synthetic), coded(of.test)
    found = read(of)
    means = []
    for k, group in ((2, "pairs"), (3, "triples")):
        scores = {}
        for way in combinations(of.schema.names, k):
            shares = [t.groupby(list(way)).size() / len(t) for t in (synthetic, test)]
            gap = shares[0].sub(shares[1], fill_value=0).abs().sum() / 2
            scores[" x ".join(way)] = 1 - gap
        means.append(np.mean(list(scores.values())))
        assert found[group].value == pytest.approx(means[-1], abs=1e-12)
        worst = min(scores, key=scores.get)
        assert found[f"worst of the {group}"].value == pytest.approx(scores[worst], abs=1e-12)
        assert found[f"worst of the {group}"].note.startswith(worst)
    assert found[""].value == pytest.approx(np.mean(means), abs=1e-12)
    assert found[""].low < found[""].value < found[""].high


def test_a_link_of_three_columns_is_lost_in_triples_alone():
    fresh = read(trial(people(np.random.default_rng(3), 1500)))
    lost = read(trial(people(np.random.default_rng(3), 1500, linked=False)))
    assert lost["pairs"].value == pytest.approx(fresh["pairs"].value, abs=0.02)
    assert lost["worst of the triples"].value == pytest.approx(0.5, abs=0.06)
    assert lost["worst of the triples"].note.startswith("a x b x c")
    assert fresh["worst of the triples"].value > 0.85


def test_the_interval_is_as_wide_as_fresh_samples_scatter():
    draws = [read(trial(people(np.random.default_rng(seed), 1500)))[""] for seed in range(20, 45)]
    # Test rows stay the same here, so the scatter is that of the synthetic half of the variance.
    scatter = np.std([row.value for row in draws], ddof=1) * np.sqrt(2)
    half = np.mean([(row.high - row.low) / 2 for row in draws])
    assert 0.5 < 1.96 * scatter / half < 1.5


def test_many_columns_are_sampled_the_same_for_every_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"c{j}": rng.integers(0, 4, 200) for j in range(30)})
    schema = Schema.infer(table)
    table = schema.cast(table)
    of = Trial(table, table, table, schema)
    rows = read(of)
    assert rows[""].value == 1 and rows[""].note == "300 pairs and 200 triples"
    assert [row.note for row in kway_tables(of)] == [row.note for row in kway_tables(of)]


def test_one_column_has_no_pairs():
    table = pd.DataFrame({"a": ["x", "y"] * 20})
    schema = Schema.infer(table)
    table = schema.cast(table)
    (row,) = kway_tables(Trial(table, table, table, schema))
    assert row.state == "not-applicable"
