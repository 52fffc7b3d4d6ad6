"""TVAE: its reconstruction against plain formulas, and what it learns and keeps."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators.neural.layers import Blocks
from workbench.generators.neural.modes import TableModes
from workbench.generators.neural.tvae import TVAE, Autoencoder
from workbench.generators.training import Diverged
from workbench.tables.schema import Schema

SMALL = {"epochs": 2, "batch_size": 50, "width": 16, "embedding": 8}


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def clinic() -> tuple[pd.DataFrame, Schema]:
    """2,000 rows: x depends on the group and is missing in one of them only; most fees are 0; one
    label is rare.
    """
    rng, n = seeded(0), 2000
    high = rng.random(n) < 0.3
    x = np.where(high, rng.normal(20, 1, n), rng.normal(0, 2, n))
    x[~high & (rng.random(n) < 0.3)] = np.nan
    fee = np.where(rng.random(n) < 0.8, 0.0, np.round(rng.lognormal(5, 1, n), 2))
    table = pd.DataFrame({"group": np.where(high, "high", "low"), "x": x, "fee": fee})
    table["kind"] = rng.choice(["a", "b", "c"], n, p=[0.85, 0.12, 0.03])
    schema = Schema.infer(table)
    return schema.cast(table), schema


def test_the_losses_are_those_of_distributions_on_one_hot_rows(clinic):
    table, schema = clinic
    encoding = TableModes(table, schema, 10, 0.005, 500)
    offsets, codes = (part[:40] for part in encoding.encode(table, seeded(1)))
    blocks = Blocks(encoding.sizes, offsets.shape[1])
    offsets, hot = torch.from_numpy(offsets), torch.from_numpy(codes + blocks.starts)
    rows = torch.zeros(40, blocks.size).scatter_(1, hot, 1.0)
    network = Autoencoder(blocks, 16, 8, seeded(2))
    network.deviations.data = torch.tensor([0.1, 0.5])
    with torch.no_grad():
        reconstruction, divergence = network.losses(offsets, hot, torch.Generator().manual_seed(3))

        first = rows @ network.encode_codes.table + network.encode_offsets(offsets)
        mean, log_variance = network.encoder(first).chunk(2, dim=1)
        cloud = torch.distributions.Normal(mean, (log_variance / 2).exp())
        away = torch.distributions.kl_divergence(cloud, torch.distributions.Normal(0.0, 1.0))
        torch.testing.assert_close(divergence, away.sum())

        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(3))
        output = network.decoder(mean + cloud.scale * noise)
        numbers = torch.distributions.Normal(output[:, :2].tanh(), network.deviations)
        expected = -numbers.log_prob(offsets).sum() - 40 * 2 * np.log(2 * np.pi) / 2
        for start, size, code in zip(blocks.starts, encoding.sizes, codes.T, strict=True):
            block = output[:, start : start + size]
            expected += F.cross_entropy(block, torch.from_numpy(code), reduction="sum")
    torch.testing.assert_close(reconstruction, expected)


def test_codes_are_drawn_by_the_softmax_of_their_column():
    blocks = Blocks([3, 1, 2, 3], numbers=2)
    shares = [[0.7, 0.2, 0.1], [1.0], [0.4, 0.6], [0.05, 0.05, 0.9]]
    logits = torch.zeros(20_000, blocks.size)
    for start, share in zip(blocks.starts, shares, strict=True):
        logits[:, start : start + len(share)] = torch.tensor(share).log()
    codes = blocks.draw(logits.T[2:], seeded(0))
    for code, share in zip(codes.T, shares, strict=True):
        np.testing.assert_allclose(np.bincount(code) / 20_000, share, atol=0.01)


def test_it_learns_the_margins_and_what_depends_on_what(clinic, one_thread):
    table, schema = clinic
    model = TVAE(epochs=100, batch_size=100, width=64, embedding=16)
    synthetic = model.fit(table, schema, seeded(1)).sample(4000, seeded(2))
    high = synthetic["group"] == "high"
    assert high.mean() == pytest.approx(0.3, abs=0.06)
    # Independent columns would put 70% of the high group near 0, and 30% of the low group near 20.
    assert ((synthetic["x"] > 10) == high).mean() > 0.9
    assert synthetic["x"].isna()[high].mean() < 0.15 < synthetic["x"].isna()[~high].mean() < 0.45
    assert synthetic.loc[high, "x"].median() == pytest.approx(20, abs=1)
    assert synthetic.loc[~high, "x"].median() == pytest.approx(0, abs=1)
    assert synthetic["fee"].eq(0).mean() == pytest.approx(0.8, abs=0.06)
    assert synthetic["kind"].eq("c").mean() == pytest.approx(0.03, abs=0.03)


def test_same_rngs_same_table_whatever_torch_is_seeded_with(clinic):
    table, schema = clinic
    before, state = table.copy(deep=True), torch.get_rng_state()
    first = TVAE(**SMALL).fit(table, schema, seeded(0)).sample(100, seeded(1))
    assert torch.equal(state, torch.get_rng_state())
    pd.testing.assert_frame_equal(
        first, TVAE(**SMALL).fit(table, schema, seeded(0)).sample(100, seeded(1)), check_exact=True
    )
    assert not first.equals(TVAE(**SMALL).fit(table, schema, seeded(9)).sample(100, seeded(1)))
    assert not first.equals(TVAE(**SMALL).fit(table, schema, seeded(0)).sample(100, seeded(9)))
    pd.testing.assert_frame_equal(table, before)


def test_conditions_a_divergence_and_fields_out_of_range(clinic):
    model = TVAE(**SMALL).fit(*clinic, seeded(0))
    conditioned = model.sample(40, seeded(1), {"kind": "c", "x": (-5, 25)})
    assert (
        len(conditioned) == 40
        and conditioned["kind"].eq("c").all()
        and conditioned["x"].between(-5, 25).all()
    )
    with pytest.raises(Diverged, match=r"in epoch \d+ of 2; .*learning rate 1e\+30"):
        TVAE(**SMALL, learning_rate=1e30).fit(*clinic, seeded(0))
    with pytest.raises(InputError, match="embedding"):
        TVAE(embedding=0)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_few_rows(clinic, n):
    table, schema = clinic
    synthetic = TVAE(**SMALL).fit(table.iloc[:n], schema, seeded(0)).sample(30, seeded(1))
    assert len(synthetic) == 30 and not schema.check(synthetic)


@pytest.fixture
def one_thread():
    """Sums, and so what a short training ends in, depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
