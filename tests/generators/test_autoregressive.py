"""The autoregressive transformer against enumerated probabilities, and its training's brakes."""

import itertools
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.neural import autoregressive
from workbench.generators.neural.transformer import CausalTransformer
from workbench.generators.training import Diverged
from workbench.tables.schema import Column, Schema

SMALL = {"epochs": 6, "width": 32, "layers": 2}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels_table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, Schema]:
    """a and b are independent, c says in five of six rows whether they differ; d has five levels
    and leans on c.
    """
    draw = rng(seed)
    a, b = draw.random((2, rows)) < [[0.5], [0.3]]
    c = (a ^ b) ^ (draw.random(rows) < 1 / 6)
    d = np.where(c, draw.integers(0, 5, rows), draw.integers(0, 2, rows))
    schema = Schema((*(Column(name, "boolean") for name in "abc"), Column("d", "categorical")))
    return schema.cast(pd.DataFrame({"a": a, "b": b, "c": c, "d": d})), schema


@pytest.fixture(scope="module")
def known():
    """A trained generator, every possible row, and the probability that the generator gives it."""
    table, schema = labels_table(4000)
    generator = make("autoregressive", SMALL).fit(table, schema, rng(0))
    rows = itertools.product([False, True], [False, True], [False, True], "01234")
    cells = schema.cast(pd.DataFrame(rows, columns=schema.names))
    return generator, cells, np.exp(generator.log_likelihood(cells).astype(float))


def shares(table: pd.DataFrame, cells: pd.DataFrame) -> np.ndarray:
    counts = table.astype(str).value_counts(normalize=True)
    return counts.reindex(pd.MultiIndex.from_frame(cells.astype(str)), fill_value=0).to_numpy()


def test_probabilities_sum_to_one_and_follow_an_interaction(known):
    _, cells, chance = known
    assert chance.sum() == pytest.approx(1, abs=1e-5)
    differ = ((cells["a"] ^ cells["b"]) == cells["c"]).to_numpy(dtype=bool)
    assert chance[differ].sum() == pytest.approx(5 / 6, abs=0.03), (
        "no pair of a, b and c tells c from the other two"
    )


def test_samples_follow_the_probabilities(known):
    generator, cells, chance = known
    assert np.abs(shares(generator.sample(40_000, rng(1)), cells) - chance).sum() / 2 < 0.02


@pytest.mark.parametrize(
    "where", [{"c": True}, {"d": "3"}, {"d": "4", "b": True}, {"a": False, "c": True}]
)
def test_conditions_give_the_conditional_distribution(known, where):
    generator, cells, chance = known
    keep = np.logical_and.reduce([cells[name] == value for name, value in where.items()]).astype(
        bool
    )
    expected = np.where(keep, chance, 0) / chance[keep].sum()
    assert (
        np.abs(shares(generator.sample(20_000, rng(1), where=where), cells) - expected).sum() / 2
        < 0.02
    )


def test_a_value_outside_train_has_no_probability(known):
    generator, cells, _ = known
    missing = cells.assign(d=None).head(1)
    assert generator.log_likelihood(generator._schema.cast(missing))[0] == -np.inf


@torch.no_grad()
def test_cached_states_are_the_same_as_all_at_once(known):
    generator = known[0]
    network, codes = generator._network, generator._encode(known[1]).long()
    meaning = network.meaning()
    whole = network.hidden(meaning, codes[:, :3])
    for prompt in (0, 2):  # how many columns are given before the first is drawn
        cache, seen, steps = network.cache(len(codes), 4), 0, []
        for known_columns in range(prompt, 4):
            steps.append(network.hidden(meaning, codes[:, :known_columns], cache=cache, seen=seen))
            seen = known_columns + 1
        assert torch.allclose(torch.cat(steps, dim=1), whole, atol=1e-5)
    changed = codes.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 2
    assert torch.equal(network.hidden(meaning, changed[:, :3])[:, :3], whole[:, :3]), (
        "a column sees only those before it"
    )


def mixed_table(rows: int) -> tuple[pd.DataFrame, Schema]:
    """x is half zero and otherwise continuous, y follows it, k has 2,000 labels whose first letter
    follows the sign of y.
    """
    draw = rng(5)
    x = np.where(draw.random(rows) < 0.5, 0.0, draw.normal(size=rows))
    y = x + 0.3 * draw.normal(size=rows)
    k = np.char.add(np.where(y > 0, "p", "n"), draw.integers(0, 1000, rows).astype(str))
    schema = Schema((Column("x", "numeric"), Column("y", "numeric"), Column("k", "categorical")))
    return schema.cast(pd.DataFrame({"x": x, "y": y, "k": k})), schema


@pytest.fixture(scope="module")
def mixed():
    table, schema = mixed_table(3000)
    return (
        make("autoregressive", SMALL | {"max_levels": 20, "epochs": 10}).fit(table, schema, rng(0)),
        table,
    )


def test_continuous_numbers_are_not_repeated_and_atoms_are(mixed):
    generator, table = mixed
    synthetic = generator.sample(3000, rng(1))
    assert (synthetic["x"] == 0).mean() == pytest.approx(0.5, abs=0.04)
    assert (
        synthetic.loc[synthetic["x"] != 0, "x"].isin(table["x"]).mean() < 0.01
        and synthetic["y"].isin(table["y"]).mean() < 0.01
    )
    assert synthetic["x"].corr(synthetic["y"]) == pytest.approx(
        table["x"].corr(table["y"]), abs=0.08
    )


def test_conditions_on_ranges_single_numbers_and_shared_labels(mixed):
    generator, table = mixed
    synthetic = generator.sample(500, rng(1), where={"y": (0.5, 0.6)})
    inside = table[table["y"].between(0.5, 0.6)]
    assert (
        synthetic["y"].between(0.5, 0.6).all()
        and abs(synthetic["x"].mean() - inside["x"].mean()) < 0.1
    )
    value, label = table["y"].max(), table["k"].mode()[0]
    assert (generator.sample(50, rng(1), where={"y": value})["y"] == value).all()
    rare = table["k"].value_counts().index[-1]
    for level in (label, rare):
        assert (generator.sample(50, rng(1), where={"k": level})["k"] == level).all()
    with pytest.raises(InputError, match=r"acceptance 0\b"):
        generator.sample(5, rng(1), where={"y": value + 1})


def test_columns_are_drawn_in_the_order_asked_for():
    table, schema = labels_table(400)
    generator = make("autoregressive", SMALL | {"order": ["d", "b"]}).fit(table, schema, rng(0))
    assert generator._order == ["d", "b", "a", "c"]
    assert generator.sample(10, rng(1)).columns.tolist() == schema.names
    with pytest.raises(InputError, match="no column 'e'"):
        make("autoregressive", {"order": ["e"]}).fit(table, schema, rng(0))


def test_the_weights_of_the_least_loss_are_kept_and_training_stops():
    """Noise cannot be learnt, only learnt by heart."""
    draw = rng(0)
    schema = Schema(tuple(Column(name, "categorical") for name in "abcd"))
    table = schema.cast(pd.DataFrame(draw.integers(0, 8, (400, 4)), columns=list("abcd")))
    # In large steps, so that few epochs are enough to learn the rows by heart.
    settings = {"epochs": 200, "patience": 4, "width": 32, "layers": 1, "learning_rate": 0.01}
    settings |= {"dropout": 0.0}
    generator = make("autoregressive", settings).fit(table, schema, rng(0))
    losses = generator.losses
    assert len(losses) < 100 and np.argmin(losses) == len(losses) - 5 and losses[-1] > min(losses)
    held = table.iloc[generator.held]
    assert len(held) == 40
    assert -generator.log_likelihood(held).mean() == pytest.approx(min(losses), abs=1e-4)
    heart = make("autoregressive", settings | {"validation": 0, "epochs": 50}).fit(
        table, schema, rng(0)
    )
    assert heart.trained.done == 50
    assert heart.log_likelihood(table).mean() > generator.log_likelihood(table).mean() + 1


def test_the_budget_in_seconds_holds():
    table, schema = labels_table(2000)
    start = time.perf_counter()
    generator = make("autoregressive", {"epochs": 10_000, "patience": 10_000, "seconds": 0.8}).fit(
        table, schema, rng(0)
    )
    assert time.perf_counter() - start < 5 and 0 < generator.trained.done < 200


def test_divergence_is_an_error_that_names_the_epoch():
    table, schema = labels_table(300)
    with pytest.raises(Diverged, match=r"loss is .* in epoch 1 of .*learning rate 1e\+30"):
        make("autoregressive", SMALL | {"learning_rate": 1e30}).fit(table, schema, rng(0))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"dropout": 1.0}, "dropout is"),
        ({"epochs": 0}, "epochs is"),
    ],
)
def test_impossible_settings(settings, named):
    with pytest.raises(InputError, match=named):
        make("autoregressive", settings)


def test_a_wide_table_is_trained_in_smaller_steps(monkeypatch):
    monkeypatch.setattr(autoregressive, "TOKENS", 1000)
    steps: list[int] = []
    losses = CausalTransformer.losses

    def recorded(network, codes, rng=None):
        steps.append(len(codes))
        return losses(network, codes, rng)

    monkeypatch.setattr(CausalTransformer, "losses", recorded)
    draw = rng(0)
    columns = {f"x{j}": draw.normal(size=200) for j in range(200)}
    schema = Schema(tuple(Column(name, "numeric") for name in columns))
    table = pd.DataFrame(columns)
    generator = make("autoregressive", {"epochs": 1, "width": 16, "layers": 1})
    synthetic = generator.fit(table, schema, rng(0)).sample(25, rng(1))
    assert max(steps) == 5, "so many rows have a thousand values"
    assert schema.check(synthetic) == [] and len(synthetic) == 25


def test_an_epoch_of_a_large_table_is_a_part_of_it_and_says_so(monkeypatch):
    table, schema = labels_table(1000)
    trained: list[np.ndarray] = []
    losses = CausalTransformer.losses

    def recorded(network, codes, rng=None):
        if rng is not None:
            trained.append(codes.numpy())
        return losses(network, codes, rng)

    monkeypatch.setattr(CausalTransformer, "losses", recorded)
    settings = {"epochs": 2, "width": 16, "layers": 1}
    with pytest.warns(UserWarning, match="each epoch trains on 200 of 900 rows") as caught:
        capped = make("autoregressive", settings | {"epoch_rows": 200}).fit(table, schema, rng(0))
    assert [str(caught[0].message)] == capped.facts["notes"]
    rows = np.concatenate(trained)
    assert len(rows) == 400 and not (rows[:200] == rows[200:]).all(), "other rows in each epoch"
    assert capped.trained.done == 2

    trained.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = [
            make("autoregressive", settings | {"epoch_rows": most}).fit(table, schema, rng(0))
            for most in (None, 900)
        ]
    assert len(np.concatenate(trained)) == 2 * 2 * 900
    assert not tables[1].facts
    assert tables[0].losses == tables[1].losses
    with pytest.raises(InputError, match="epoch_rows is 0"):
        make("autoregressive", {"epoch_rows": 0})
