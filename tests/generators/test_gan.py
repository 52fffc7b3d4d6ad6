"""The plain GAN: its encoding there and back, what it learns, what it does not, and where it stops."""

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import InputError
from workbench.generators.neural.gan import GAN, Bounded, GeneratorNetwork, OneHotTable, Perceptron
from workbench.generators.neural.modes import TableModes
from workbench.generators.training import Diverged
from workbench.tables.schema import Schema


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def mixed() -> tuple[pd.DataFrame, Schema]:
    rng, n = seeded(0), 1000
    city = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    price = np.round(np.where(city == "a", rng.normal(20, 3, n), rng.normal(60, 3, n)), 1)
    table = pd.DataFrame(
        {"price": np.where(rng.random(n) < 0.2, np.nan, price), "city": city, "same": 7.5}
    )
    schema = Schema.infer(table, kinds={"city": "categorical"})
    return schema.cast(table), schema


def test_rows_hold_the_place_between_the_bounds_a_flag_and_labels(mixed):
    table, schema = mixed
    encoding = TableModes(table, schema, 1, 0.0, 100, number=Bounded)
    rows = OneHotTable(encoding, table, seeded(1)).take(np.arange(len(table))).numpy()
    price = table["price"].to_numpy()
    low, high = np.nanmin(price), np.nanmax(price)
    place = np.where(np.isnan(price), 0, 2 * (price - low) / (high - low) - 1)
    assert encoding.sizes == [2, 3, 1]
    assert np.allclose(rows[:, 0], place, atol=1e-6) and (rows[:, 1] == -1).all()
    assert np.array_equal(rows[:, 2:4], np.column_stack([~np.isnan(price), np.isnan(price)]))
    assert np.array_equal(
        rows[:, 4:7], table["city"].to_numpy()[:, None] == np.array(["a", "b", "c"])
    )
    pd.testing.assert_frame_equal(
        encoding.decode(*encoding.encode(table, seeded(1)), seeded(2)), table
    )


@pytest.mark.parametrize(
    "values", [[-1.7e308, 0.0, 1.7e308], [1e-300, 2e-300], [5.0, 5.0], [np.nan], [np.nan, 3.0]]
)
def test_bounds_hold_for_any_numbers(values):
    values = np.array(values)
    bounded = Bounded(values)
    offsets, codes = bounded.encode(values, seeded(0))
    assert np.isfinite(offsets).all() and (codes < bounded.size).all()
    assert np.allclose(bounded.decode(offsets, codes), values, rtol=1e-6, equal_nan=True)


def test_it_learns_shares_and_a_dependence(mixed):
    """A plain GAN wobbles: in larger steps than by default a share is off by 0.01 to 0.03 over
    seeds, and by 0.25 where all that is known is that there are three cities.
    """
    table, schema = mixed
    real = table["city"].value_counts(normalize=True)
    for seed in (1, 2):
        model = GAN(epochs=80, batch_size=250, width=64, noise=16, learning_rate=5e-4)
        drawn = model.fit(table, schema, seeded(seed)).sample(3000, seeded(seed + 50))
        assert (real - drawn["city"].value_counts(normalize=True)).abs().max() < 0.1
        means = drawn.groupby(drawn["city"] == "a")["price"].mean()
        assert means[True] < 32 and means[False] > 48


def test_start_from_draws_codes_as_often_as_the_table(mixed):
    table, schema = mixed
    encoding = TableModes(table, schema, 1, 0.0, 100, number=Bounded)
    network = GeneratorNetwork(encoding, 8, 16, 0.5, seeded(1))
    network.perceptron.linear[-1].weight.data.zero_()
    network.start_from(table, seeded(2))
    sampled = network.draw(20_000, seeded(3))
    assert (
        sampled["city"].value_counts(normalize=True) - table["city"].value_counts(normalize=True)
    ).abs().max() < 0.02


def test_copies_of_a_network_are_networks_of_their_own():
    many = Perceptron([4, 8, 1], seeded(1), (3,))
    rows = torch.from_numpy(seeded(2).normal(size=(5, 4)).astype(np.float32))
    out = many(rows)
    for i in range(3):
        one = Perceptron([4, 8, 1], seeded(1))
        for mine, theirs in zip(one.parameters(), many.parameters(), strict=True):
            mine.data = theirs.data[i]
        assert torch.allclose(one(rows), out[i], atol=1e-6)
    (gradient,) = torch.autograd.grad(out[1].sum(), many.linear[0].weight)
    assert (gradient[1] != 0).any() and (gradient[[0, 2]] == 0).all()


def test_seconds_end_the_training(mixed):
    generator = GAN(epochs=100_000, seconds=0.5, width=16, batch_size=50).fit(*mixed, seeded(1))
    assert 0 < generator.trained.done < 100_000


def test_a_loss_that_is_no_number_stops_with_the_epoch(mixed):
    with pytest.raises(Diverged, match=r"gan: the loss is .* in epoch"):
        GAN(epochs=20, learning_rate=1e30, batch_size=100).fit(*mixed, seeded(1))


def test_bad_parameters_name_the_way_out():
    with pytest.raises(InputError, match="epochs is 0; give a number of at least 1"):
        GAN(epochs=0)
