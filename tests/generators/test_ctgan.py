"""CTGAN: its mixtures against scikit-learn, its critic's loss against the plain formula, and what it
learns and keeps.
"""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import InputError
from workbench.generators.neural.ctgan import CTGAN, ConditionalTable, Critic
from workbench.generators.neural.layers import Adam
from workbench.generators.neural.modes import Mixture, NumberModes, TableModes
from workbench.generators.training import Diverged
from workbench.tables.encode import to_float
from workbench.tables.schema import Schema

SMALL = {"epochs": 2, "batch_size": 40, "pac": 4, "noise": 8, "width": 16}


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def mixed() -> tuple[pd.DataFrame, Schema]:
    """300 rows of every kind, with missing values, a constant, an all-missing and an unbalanced
    column.
    """
    rng, n = seeded(0), 300
    table = pd.DataFrame(
        {
            "price": np.where(rng.random(n) < 0.1, np.nan, np.round(rng.normal(100, 5, n), 2)),
            "count": pd.array(np.where(rng.random(n) < 0.5, 0, rng.poisson(20, n)), dtype="Int64"),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            "city": rng.choice(["a", "b", "c", None], n, p=[0.7, 0.25, 0.02, 0.03]),
            "flag": pd.array(
                rng.choice([True, False, None], n, p=[0.4, 0.5, 0.1]), dtype="boolean"
            ),
            "same": 7.5,
            "empty": np.nan,
        }
    )
    table.loc[::50, "when"] = pd.NaT
    schema = Schema.infer(table, kinds={"empty": "numeric", "city": "categorical"})
    return schema.cast(table), schema


def test_mixture_finds_the_modes_that_scikit_learn_finds():
    from sklearn.mixture import BayesianGaussianMixture

    rng = seeded(1)
    values = np.round(
        np.concatenate(
            [rng.normal(0, 1, 3000), rng.normal(10, 0.5, 1000), rng.normal(20, 2, 2000)]
        ),
        2,
    )
    ours = Mixture.fit(*np.unique(values, return_counts=True)).heavier_than(0.005)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = BayesianGaussianMixture(
            n_components=10,
            weight_concentration_prior_type="dirichlet_process",
            weight_concentration_prior=0.001,
            max_iter=500,
            random_state=0,
        ).fit(values[:, None])
    keep = theirs.weights_ > 0.005
    order, reference = np.argsort(ours.means), np.argsort(theirs.means_[keep, 0])
    assert len(ours.means) == 3 == keep.sum()
    np.testing.assert_allclose(ours.means[order], theirs.means_[keep, 0][reference], atol=0.02)
    np.testing.assert_allclose(ours.weights[order], theirs.weights_[keep][reference], atol=0.003)
    deviations = np.sqrt(theirs.covariances_[keep, 0, 0])[reference]
    np.testing.assert_allclose(ours.deviations[order], deviations, rtol=0.02)
    grid = np.linspace(-3, 25, 200)
    expected = theirs.predict_proba(grid[:, None])[:, np.flatnonzero(keep)[reference]]
    np.testing.assert_allclose(ours.responsibilities(grid)[order].T, expected, atol=0.02)


def test_mixture_of_counts_is_the_mixture_of_repeated_values():
    values, counts = np.array([0.0, 1.0, 5.0, 6.0]), np.array([3.0, 1.0, 2.0, 4.0])
    repeated = np.repeat(values, counts.astype(int))
    weighted, plain = Mixture.fit(values, counts, 2), Mixture.fit(repeated, np.ones(10), 2)
    np.testing.assert_allclose(weighted.means, plain.means, atol=1e-3)
    np.testing.assert_allclose(weighted.weights, plain.weights, atol=1e-3)


def test_many_distinct_values_share_points_and_still_give_the_modes():
    values = np.concatenate([seeded(2).normal(0, 1, 30_000), seeded(3).normal(50, 3, 10_000)])
    mixture = NumberModes(values, components=10, min_weight=0.005)
    means = mixture.centre + mixture.scale * mixture.mixture.means
    assert (np.abs(means - 50) < 5).any() and (np.abs(means) < 1).any()
    assert mixture.mixture.weights[np.abs(means - 50) < 10].sum() == pytest.approx(0.25, abs=0.02)


def test_encoding_comes_back_exactly(mixed):
    table, schema = mixed
    encoding = TableModes(table, schema, 10, 0.005, 500)
    offsets, codes = encoding.encode(table, seeded(0))
    assert np.abs(offsets).max() <= 1
    assert (codes.max(axis=0) < encoding.sizes).all() and codes.min() == 0
    pd.testing.assert_frame_equal(encoding.decode(offsets, codes, seeded(1)), table)


def test_a_value_out_of_every_modes_reach_goes_to_the_end_of_the_nearest():
    values = np.append(seeded(0).normal(0, 1, 1000), 1e4)
    modes = NumberModes(values, 10, 0.005)
    offsets, codes = modes.encode(values, seeded(0))
    back = modes.decode(offsets, codes)
    assert offsets[-1] == 1 and back[-1] == back.max() < 1e4
    np.testing.assert_allclose(back[:-1], values[:-1], atol=1e-6)


def test_a_value_that_many_rows_share_is_a_mode_without_width():
    rng = seeded(0)
    values = np.concatenate([np.zeros(800), rng.lognormal(5, 1, 150), np.full(50, np.nan)])
    modes = NumberModes(values, 10, 0.005)
    offsets, codes = modes.encode(values, seeded(1))
    zero = codes[0]
    assert (
        (codes[:800] == zero).all() and (codes[800:] != zero).all() and (offsets[:800] == 0).all()
    )
    # It comes back exactly, whatever the offset, and the other modes are those of the other values.
    assert (modes.decode(rng.uniform(-1, 1, 100), np.full(100, zero)) == 0).all()
    np.testing.assert_allclose(modes.decode(offsets, codes), values)
    alone = NumberModes(values[800:950], 10, 0.005)
    np.testing.assert_allclose(modes.means[: len(alone.means)], alone.means)


def test_the_critics_loss_is_that_of_one_hot_conditions_and_slopes_in_the_rows(mixed):
    table, schema = mixed
    encoding = TableModes(table, schema, 10, 0.005, 500)
    rows = ConditionalTable(*encoding.encode(table, seeded(0)), encoding)
    pac, groups, width, penalty = 4, 5, 16, 10.0
    critic = Critic(rows.size, len(rows.counts), pac, width, 0.0, seeded(1))
    level = rows.levels(rows.by_log_frequency, pac * groups, seeded(2))
    real = rows.real(level, seeded(3))
    fake = torch.from_numpy(seeded(4).random((pac * groups, rows.size), dtype=np.float32))
    parameters = list(critic.parameters())
    loss = critic.loss(real, fake, level, penalty, seeded(5))

    condition = torch.nn.functional.one_hot(level, len(rows.counts)).float().view(groups, -1)

    def score(rows):
        first = critic.first(rows) + condition @ critic.condition.table
        hidden = torch.nn.functional.leaky_relu(first, 0.2)
        return critic.last(torch.nn.functional.leaky_relu(critic.second(hidden), 0.2))

    real, flat = real.view(groups, -1), fake.view(groups, -1)
    torch.testing.assert_close(critic(fake, level, seeded(6)), score(flat))
    share = torch.from_numpy(seeded(5).random((groups, 1), dtype=np.float32))
    between = torch.lerp(real, flat, share).requires_grad_()
    slope = torch.autograd.grad(score(between).sum(), between, create_graph=True)[0]
    excess = slope.norm(dim=1) - 1
    expected = score(flat).mean() - score(real).mean() + penalty * (excess**2).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad(loss, parameters)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_adam_is_torchs_adam_and_averages():
    start, gradients = torch.from_numpy(seeded(0).random((3, 2))), seeded(1).normal(size=(20, 3, 2))
    ours, theirs = start.clone(), start.clone().requires_grad_()
    adam, average = Adam([ours], 0.01, weight_decay=0.1, average=0.8), start
    reference = torch.optim.Adam([theirs], 0.01, betas=(0.5, 0.9), weight_decay=0.1)
    for step, gradient in enumerate(map(torch.from_numpy, gradients), start=1):
        adam.step([gradient])
        theirs.grad = gradient
        reference.step()
        average = average.lerp(theirs.detach(), max(0.2, 9 / (9 + step)))
    torch.testing.assert_close(ours, theirs.detach())
    adam.use_averages()
    torch.testing.assert_close(ours, average)


def test_conditions_are_drawn_by_log_frequency_and_rows_have_them():
    table = pd.DataFrame({"c": ["a"] * 990 + ["b"] * 10, "d": ["x", "y"] * 500})
    schema = Schema.infer(table)
    encoding = TableModes(schema.cast(table), schema, 10, 0.005, 500)
    rows = ConditionalTable(*encoding.encode(schema.cast(table), seeded(0)), encoding)
    level = rows.levels(rows.by_log_frequency, 20_000, seeded(1))
    share = np.bincount(level.numpy()) / 20_000
    wanted = np.log([991, 11]) / np.log([991, 11]).sum() / 2
    np.testing.assert_allclose(share, [*wanted, 0.25, 0.25], atol=0.01)
    np.testing.assert_allclose(
        np.bincount(rows.levels(rows.by_frequency, 20_000, seeded(1)).numpy()) / 20_000,
        [0.495, 0.005, 0.25, 0.25],
        atol=0.01,
    )
    # Every row's own level is hot, and its penalty is zero exactly where the output says so.
    real = rows.real(level, seeded(2))
    assert real.sum(dim=1).eq(2).all() and float(rows.condition_loss(1000 * real, level)) == 0


def test_same_rngs_same_table_whatever_torch_is_seeded_with(mixed):
    table, schema = mixed
    before = table.copy(deep=True)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = CTGAN(**SMALL).fit(table, schema, seeded(0)).sample(100, seeded(1))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    torch.rand(3)
    second = CTGAN(**SMALL).fit(table, schema, seeded(0)).sample(100, seeded(1))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert not first.equals(CTGAN(**SMALL).fit(table, schema, seeded(9)).sample(100, seeded(1)))
    assert not first.equals(CTGAN(**SMALL).fit(table, schema, seeded(0)).sample(100, seeded(9)))
    pd.testing.assert_frame_equal(table, before)
    assert not schema.check(first)
    assert first["same"].eq(7.5).all() and first["empty"].isna().all()
    assert set(first["city"].dropna()) <= {"a", "b", "c"}


def test_small_tables_have_batches_of_a_tenth_of_their_rows(mixed):
    seen, model = [], CTGAN(epochs=1, noise=8, width=16)
    levels = ConditionalTable.levels

    class Counting(ConditionalTable):
        def levels(self, shares, n, rng):
            seen.append(n)
            return levels(self, shares, n, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.generators.neural.ctgan.ConditionalTable", Counting)
        model.fit(*mixed, seeded(0))
    assert seen[:10] == [30] * 10


@pytest.mark.parametrize(
    "columns", [["city"], ["price"], ["same"], ["empty"], ["city", "flag"], ["price", "when"]]
)
@pytest.mark.parametrize("n", [1, 50])
def test_any_columns_and_few_rows(mixed, columns, n):
    table, schema = mixed
    table, part = (
        table[columns].iloc[:n].reset_index(drop=True),
        Schema(tuple(schema[name] for name in columns)),
    )
    synthetic = CTGAN(**SMALL).fit(table, part, seeded(0)).sample(30, seeded(1))
    assert len(synthetic) == 30 and not part.check(synthetic)
    for name in columns:
        if not part[name].is_discrete and table[name].notna().any():
            real, sampled = to_float(table[name]), to_float(synthetic[name])
            assert np.nanmin(sampled) >= np.nanmin(real) and np.nanmax(sampled) <= np.nanmax(real)
        assert table[name].isna().any() or synthetic[name].notna().all()


def test_a_condition_is_honoured_and_asked_of_the_generator(mixed):
    table, schema = mixed
    model = CTGAN(**SMALL).fit(table, schema, seeded(0))
    assert model.sample(40, seeded(1), {"city": "c"})["city"].eq("c").all()
    assert model.sample(40, seeded(1), {"flag": None})["flag"].isna().all()
    both = model.sample(20, seeded(1), {"flag": True, "price": (95, 105)})
    assert both["flag"].all() and both["price"].between(95, 105).all()

    # After some training, the generator itself returns a label of 2% far more often when it is
    # asked for it.
    model = CTGAN(epochs=50, batch_size=100, pac=10, width=64, noise=16, learning_rate=1e-3).fit(
        table, schema, seeded(0)
    )
    names, city = sorted({"a", "b", "c"}), schema.names.index("city")
    level = model._rows.level_of("city", names.index("c"))
    free, conditioned = (
        model._generate(2000, seeded(1), condition)[1][:, city] for condition in (None, level)
    )
    assert (conditioned == 2).mean() > 0.5 > 5 * (free == 2).mean()


def test_ten_thousand_labels_stay_small_and_can_be_asked_for():
    n = 20_000
    labels = [f"v{i:05}" for i in range(10_000)]
    rng = seeded(0)
    table = pd.DataFrame(
        {"code": [*labels, *rng.choice(labels[:50], n - 10_000)], "x": rng.normal(size=n)}
    )
    schema = Schema.infer(table)
    table = schema.cast(table)
    tracemalloc.start()
    model = CTGAN(**(SMALL | {"epochs": 1, "batch_size": 500, "pac": 10}), max_levels=100).fit(
        table, schema, rng
    )
    synthetic = model.sample(2000, seeded(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One float of every label for every row would be 800 MB.
    assert peak < 60e6 and model._rows.size < 120
    assert set(synthetic["code"]) <= set(labels) and synthetic["code"].nunique() > 100
    assert model.sample(5, seeded(2), {"code": "v09999"})["code"].eq("v09999").all()


def test_training_that_diverges_says_where_and_why(mixed):
    table, schema = mixed
    with pytest.raises(Diverged, match=r"in epoch \d+ of 2; .*learning rate 1e\+30"):
        CTGAN(**SMALL, learning_rate=1e30).fit(table, schema, seeded(0))


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"batch_size": 45, "pac": 10}, "batch_size"), ({"pac": 0}, "pac"), ({"epochs": 0}, "epochs")],
)
def test_fields_out_of_range_are_refused(fields, named):
    with pytest.raises(InputError, match=named):
        CTGAN(**fields)


def test_progress_is_a_hook_and_no_parameter(mixed):
    from dataclasses import fields

    assert "progress" not in {field.name for field in fields(CTGAN)}
    seen, model = [], CTGAN(**SMALL)
    model.progress = lambda epochs: (seen.append(epoch) or epoch for epoch in epochs)
    model.fit(*mixed, seeded(0))
    assert seen == [0, 1]


def test_it_learns_two_modes_that_depend_on_a_label(one_thread):
    rng, n = seeded(0), 2000
    label = rng.random(n) < 0.3
    x = np.where(label, rng.normal(20, 1, n), rng.normal(0, 2, n))
    x[~label & (rng.random(n) < 0.3)] = np.nan
    table = pd.DataFrame({"group": np.where(label, "high", "low"), "x": x})
    schema = Schema.infer(table)
    table = schema.cast(table)
    model = CTGAN(epochs=60, batch_size=200, width=64, noise=16, learning_rate=1e-3)
    synthetic = model.fit(table, schema, seeded(1)).sample(2000, seeded(2))
    high = synthetic["group"] == "high"
    assert high.mean() == pytest.approx(0.3, abs=0.1)
    # Independent columns would put 70% of the high group near 0, and 30% of the low group near 20.
    assert ((synthetic["x"] > 10) == high).mean() > 0.9
    assert synthetic["x"].isna()[high].mean() < 0.05
    assert synthetic["x"].isna()[~high].mean() == pytest.approx(0.3, abs=0.1)
    assert synthetic.loc[high, "x"].median() == pytest.approx(20, abs=1.5)
    assert synthetic.loc[~high, "x"].median() == pytest.approx(0, abs=1.5)


@pytest.fixture
def one_thread():
    """Sums, and so what a short training ends in, depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
