"""Diffusion: its losses and velocities against their closed forms, and what a small trained network
learns and keeps.
"""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.neural.diffusion import Denoiser, EncodedRows, Scores, _angle
from workbench.generators.training import Diverged
from workbench.tables.schema import Column, Schema

SMALL = {"epochs": 30, "batch_size": 128, "width": 64, "blocks": 2, "learning_rate": 5e-3}


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def train(table: pd.DataFrame, **params):
    schema = Schema.infer(table)
    return make("diffusion", SMALL | params).fit(schema.cast(table), schema, seeded(0))


@pytest.fixture(scope="module")
def gaussian():
    """A generator trained on two normal numbers of correlation 0.8."""
    z = seeded(0).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 10_000)
    return train(
        pd.DataFrame({"a": 5 + 2 * z[:, 0], "b": z[:, 1]}), revealed=0.4, epochs=30, batch_size=256
    )


@pytest.fixture(scope="module")
def moons():
    """Two half circles, a label that names the upper one, and a label and a number that are missing
    on half of it.
    """
    rng, n = seeded(1), 4000
    upper, angle = rng.random(n) < 0.6, np.pi * rng.random(n)
    x, y = np.cos(angle), np.sin(angle)
    points = np.where(upper, [x, y], [1 - x, 0.5 - y]) + 0.05 * rng.normal(size=(2, n))
    gone = upper & (rng.random(n) < 0.5)
    table = pd.DataFrame(
        {"x": points[0], "y": points[1], "moon": np.where(upper, "upper", "lower")}
    )
    table["note"] = np.where(gone, None, rng.choice(["p", "q"], n))
    table["count"] = np.where(gone, np.nan, np.where(upper, 0, rng.integers(0, 200, n)))
    return table, train(table, epochs=100)


def test_an_untrained_network_has_the_loss_of_independent_columns():
    """One for each number, and the entropy for each label (the masked loss averages to it over
    times).
    """
    rng = seeded(0)
    scores, codes = (
        rng.normal(size=(4000, 2)).astype(np.float32),
        rng.choice(3, (4000, 1), p=[0.7, 0.2, 0.1]),
    )
    rows = EncodedRows(scores, codes)
    network = Denoiser(rows, 16, 1, rng)
    with torch.no_grad():
        losses = [float(network.loss(rows.noised(np.arange(4000), rng))) for _ in range(50)]
    share = np.bincount(codes[:, 0]) / 4000
    assert np.mean(losses) == pytest.approx(2 - share @ np.log(share), abs=0.02)


def test_trained_velocities_are_the_best_ones_of_normal_data(gaussian):
    """For normal x with covariance S the mean velocity at angle a is sin a cos a (1 - S)(cos^2 a S
    + sin^2 a)^-1 (noised x).
    """
    covariance, draw = np.array([[1, 0.8], [0.8, 1]]), seeded(1)
    for share in (0.4, 0.6, 0.8):
        angle = float(_angle(torch.tensor(share)))
        cos, sin = np.cos(angle), np.sin(angle)
        noised_covariance = cos**2 * covariance + sin**2 * np.eye(2)
        noised = draw.multivariate_normal([0, 0], noised_covariance, 2000)
        best = noised @ np.linalg.solve(noised_covariance, sin * cos * (np.eye(2) - covariance))
        x, codes = torch.from_numpy(noised).float(), torch.zeros(2000, 0, dtype=torch.long)
        with torch.no_grad():
            found, _ = gaussian._network(
                x, torch.zeros_like(x), codes, torch.full((2000, 1), share)
            )
        assert np.square(found.numpy() - best).mean() < 0.05 * np.square(best).mean(), share


def test_normal_data_come_back_with_mean_variance_and_correlation(gaussian):
    synthetic = gaussian.sample(20_000, seeded(2))
    assert synthetic["a"].mean() == pytest.approx(5, abs=0.1) and synthetic[
        "a"
    ].std() == pytest.approx(2, rel=0.04)
    assert synthetic.corr().loc["a", "b"] == pytest.approx(0.8, abs=0.03)


def test_moons_and_their_labels_come_back(moons):
    synthetic = moons[1].sample(4000, seeded(2))
    upper = synthetic["moon"] == "upper"
    assert upper.mean() == pytest.approx(0.6, abs=0.03)
    radius = np.where(
        upper,
        np.hypot(synthetic["x"], synthetic["y"]),
        np.hypot(1 - synthetic["x"], 0.5 - synthetic["y"]),
    )
    assert np.abs(radius - 1).mean() < 0.08, "real rows: 0.04"
    side = np.where(upper, synthetic["y"], 0.5 - synthetic["y"])
    assert (side > -0.2).mean() > 0.97
    halves = [
        np.histogram(t.loc[t["moon"] == "upper", "x"], np.linspace(-1, 1, 6))[0]
        for t in (moons[0], synthetic)
    ]
    assert np.abs(halves[0] / halves[0].sum() - halves[1] / halves[1].sum()).max() < 0.05


def test_what_is_missing_together_and_where_stays_so(moons):
    synthetic = moons[1].sample(4000, seeded(3))
    gone, upper = synthetic["note"].isna(), synthetic["moon"] == "upper"
    assert (gone == synthetic["count"].isna()).mean() > 0.97
    assert gone[upper].mean() == pytest.approx(0.5, abs=0.04) and gone[~upper].mean() < 0.02
    assert (synthetic.loc[upper & ~gone, "count"] == 0).mean() > 0.97 and (
        synthetic.loc[~upper, "count"] == 0
    ).mean() < 0.03


def test_a_range_is_given_to_the_network_and_gives_the_conditional_distribution(gaussian):
    where = {"a": (7, 9)}
    scores, _ = gaussian._denoise(500, seeded(3), gaussian._restriction(where))
    conditioned = gaussian._encoding.numbers["a"].others.quantile(ndtr(scores[:, 0]))
    assert ((conditioned >= 7) & (conditioned <= 9)).mean() > 0.98, "no row is drawn in vain"
    synthetic = gaussian.sample(4000, seeded(4), where=where)
    assert synthetic["a"].between(7, 9).all()
    z = seeded(5).normal(size=100_000)
    z = z[(z > 1) & (z < 2)]
    assert synthetic["a"].mean() == pytest.approx(5 + 2 * z.mean(), abs=0.05)
    assert synthetic["b"].mean() == pytest.approx(0.8 * z.mean(), abs=0.1)
    assert synthetic["b"].std() == pytest.approx(np.hypot(0.6, 0.8 * z.std()), abs=0.06)


def test_labels_asked_for_stand_from_the_start(moons):
    table, generator = moons
    _, codes = generator._denoise(
        500, seeded(3), generator._restriction({"moon": "lower", "note": "p"})
    )
    assert (codes[:, 0] == 0).all() and (codes[:, 1] == 0).all(), "no row is drawn in vain"
    synthetic, real = (
        generator.sample(2000, seeded(4), where={"moon": "lower"}),
        table[table["moon"] == "lower"],
    )
    assert (synthetic["moon"] == "lower").all() and synthetic["note"].isna().mean() < 0.02
    for column in ("x", "y", "count"):
        assert synthetic[column].mean() == pytest.approx(
            real[column].mean(), abs=0.12 * real[column].std()
        ), column
    missing = generator.sample(300, seeded(5), where={"count": None})
    assert missing["count"].isna().all() and (missing["moon"] == "upper").mean() > 0.97
    with pytest.raises(InputError, match="acceptance 0"):
        generator.sample(5, seeded(6), where={"x": (7, 8)})


def test_scores_come_back_as_values():
    values = np.array([0, 0, 0, 0, 1.5, 2.5, 7, 8, np.nan, 0])
    column = Scores(values, max_values=2, share=0.4)
    assert column.atoms.tolist() == [0] and column.size == 3
    scores, codes = column.encode(values, seeded(0))
    assert codes.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 0]
    assert np.array_equal(np.isnan(scores), codes != 1)
    back = column.decode(scores, codes)
    assert back[codes == 2].size and np.isnan(back[8]) and (back[codes == 0] == 0).all()
    assert (np.diff(back[4:8]) > 0).all() and back[4:8].min() >= 1.5 and back[4:8].max() <= 8
    few = Scores(values, max_values=5, share=0.4)
    assert few.size == 6 and np.isnan(few.encode(values, seeded(0))[0]).all()
    np.testing.assert_array_equal(few.decode(*few.encode(values, seeded(0))), values)


def test_many_levels_share_a_code_so_that_weights_stay_few():
    levels = pd.Series(seeded(0).integers(0, 10_000, 20_000)).astype(str)
    generator = train(
        pd.DataFrame({"id": "level " + levels, "x": seeded(1).normal(size=20_000)}),
        epochs=1,
        max_levels=100,
    )
    weights = sum(parameter.numel() for parameter in generator._network.parameters())
    assert generator._network.sizes == [100] and weights < 40_000
    assert generator.sample(2000, seeded(1))["id"].nunique() > 1000
    wanted = generator.sample(20, seeded(2), where={"id": "level 77"})
    assert (wanted["id"] == "level 77").all()


def test_noise_is_not_learnt_by_heart():
    """Held-out rows end the training of independent columns soon, and the rows made are not those
    of train.
    """
    table = pd.DataFrame(seeded(0).normal(size=(200, 4)), columns=list("abcd"))
    generator = train(table, epochs=500, patience=5)
    assert generator.trained.done < 100
    synthetic = generator.sample(200, seeded(1)).to_numpy()
    nearest = [
        np.abs(np.expand_dims(t, 1) - table.to_numpy()).max(axis=2).min(axis=1)
        for t in (synthetic, seeded(2).normal(size=(200, 4)))
    ]
    assert np.median(nearest[0]) > 0.7 * np.median(nearest[1])


def test_a_loss_that_is_no_number_stops_the_training():
    table = pd.DataFrame(seeded(0).normal(size=(200, 2)), columns=["a", "b"])
    with pytest.raises(
        Diverged,
        match=r"diffusion: the loss is \w+ in epoch \d+ of 30; most likely the learning rate",
    ):
        train(table, learning_rate=1e30)


def test_seconds_are_kept():
    table = pd.DataFrame(seeded(0).normal(size=(5000, 5)), columns=list("abcde"))
    start = time.perf_counter()
    generator = train(table, epochs=10_000, patience=10_000, seconds=0.8)
    assert time.perf_counter() - start < 6 and 0 < generator.trained.done < 10_000


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("validation", 1.0), ("max_levels", 1), ("epochs", "3")]
)
def test_impossible_parameters(name, value):
    with pytest.raises(InputError, match=f"{name} is"):
        make("diffusion", {name: value})


def test_constant_columns_alone():
    schema = Schema((Column("c", "categorical"), Column("n", "numeric")))
    table = schema.cast(pd.DataFrame({"c": ["x"] * 10, "n": [np.nan] * 10}))
    synthetic = (
        make("diffusion", SMALL | {"epochs": 1}).fit(table, schema, seeded(0)).sample(5, seeded(1))
    )
    pd.testing.assert_frame_equal(synthetic, table.head(5))
