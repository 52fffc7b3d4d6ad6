"""DP-GAN: the accountant against closed forms, clipping against gradients made row by row, and what
a fit may claim.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators.neural.gan import Perceptron
from workbench.generators.private.accounting import Ledger, OverBudget, least_noise
from workbench.generators.private.domain import Domain
from workbench.generators.private.dp_gan import DPGAN, clipped_sums
from workbench.tables.schema import Schema


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def table_of(rows: int = 200) -> tuple[pd.DataFrame, Schema]:
    rng = seeded(0)
    table = pd.DataFrame(
        {"x": np.round(rng.random(rows), 2), "c": rng.choice(["a", "b"], rows, p=[0.9, 0.1])}
    )
    schema = Schema.infer(table, kinds={"x": "numeric"})
    return schema.cast(table), schema


DECLARED = {"bounds": {"x": (0, 1, 0.01)}, "levels": {"c": ["a", "b"]}, "missing": []}
SMALL = {"epochs": 3, "steps": 4, "batch_size": 20, "width": 16, "noise": 8}


@pytest.mark.parametrize(("noise", "steps"), [(5.0, 1), (20.0, 50), (100.0, 1000)])
def test_gaussian_steps_on_all_rows_cost_what_the_closed_form_says(noise, steps):
    """Sampling with chance 1 is composition of Gaussians: one of noise / root of steps (Balle and
    Wang 2018, theorem 8).
    """
    from dp_accounting import GaussianDpEvent
    from scipy.stats import norm

    ledger = Ledger(50.0, 1e-5)
    ledger.charge(GaussianDpEvent(noise), steps)
    epsilon, sensitivity = ledger.cost(), steps**0.5 / noise
    delta = norm.cdf(sensitivity / 2 - epsilon / sensitivity) - np.exp(epsilon) * norm.cdf(
        -sensitivity / 2 - epsilon / sensitivity
    )
    assert delta == pytest.approx(1e-5, rel=2e-3) and delta <= 1e-5


def test_sampling_costs_less_than_all_rows_and_more_than_none():
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    def cost(event):
        ledger = Ledger(1e3, 1e-5)
        ledger.charge(event, 100)
        return ledger.cost()

    # Much noise: loss distributions of small losses are reckoned quickly.
    costs = [cost(PoissonSampledDpEvent(chance, GaussianDpEvent(6.0))) for chance in (0.01, 0.1)]
    assert 0 < costs[0] < costs[1] < cost(GaussianDpEvent(6.0)) / 3


def test_the_least_noise_pays_for_all_steps_and_no_less_would():
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    for event in (
        GaussianDpEvent,
        lambda noise: PoissonSampledDpEvent(0.05, GaussianDpEvent(noise)),
    ):
        noise = least_noise(0.25, 1e-5, event, 100)
        assert Ledger(0.25, 1e-5).affords(event(noise), 100)
        assert not Ledger(0.25, 1e-5).affords(event(noise * 0.99), 100)


def test_a_charge_over_the_budget_is_refused_and_not_noted():
    from dp_accounting import GaussianDpEvent

    ledger = Ledger(1.0, 1e-5)
    ledger.charge(GaussianDpEvent(10.0), 5)
    before = ledger.cost()
    with pytest.raises(OverBudget):
        ledger.charge(GaussianDpEvent(10.0), 5)
    assert ledger.cost() == before <= 1


def test_what_is_reserved_is_charged_part_by_part_and_no_more_than_that():
    from dp_accounting import GaussianDpEvent

    step, other = GaussianDpEvent(10.0), GaussianDpEvent(5.0)
    ledger = Ledger(Ledger(9.0, 1e-5).cost(step, 5) * 1.001, 1e-5)
    ledger.reserve(step, 6)
    assert not ledger._reserved, "six are over the budget"
    ledger.reserve(step, 5)
    assert ledger.cost() == 0, "to reserve charges nothing"
    ledger.charge(step, 4)
    for query, count in ((step, 2), (other, 1)):
        with pytest.raises(OverBudget):
            ledger.charge(query, count)
    ledger.charge(step, 1)
    assert ledger.cost() == Ledger(9.0, 1e-5).cost(step, 5)


def row_by_row(critic: Perceptron, rows: torch.Tensor, clip: float) -> list[torch.Tensor]:
    total = [torch.zeros_like(parameter) for parameter in critic.parameters()]
    for row in rows:
        gradient = torch.autograd.grad(F.softplus(-critic(row[None])).sum(), critic.parameters())
        norm = sum(part.square().sum() for part in gradient) ** 0.5
        total = [
            one + part * min(1.0, clip / float(norm))
            for one, part in zip(total, gradient, strict=True)
        ]
    return total


@pytest.mark.parametrize("clip", [0.05, 0.5, 100.0])
def test_clipped_sums_are_those_of_gradients_made_row_by_row(clip):
    critic = Perceptron([6, 8, 8, 1], seeded(1))
    rows = torch.from_numpy(seeded(2).normal(size=(7, 6)).astype(np.float32))
    for mine, theirs in zip(
        clipped_sums(critic, rows, clip), row_by_row(critic, rows, clip), strict=True
    ):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_one_row_moves_the_sum_by_at_most_the_clip():
    critic, clip = Perceptron([6, 8, 8, 1], seeded(1)), 0.3
    rows = torch.from_numpy((1000 * seeded(2).normal(size=(7, 6))).astype(np.float32))
    everyone = clipped_sums(critic, rows, clip)
    for i in range(len(rows)):
        others = clipped_sums(critic, torch.cat([rows[:i], rows[i + 1 :]]), clip)
        moved = (
            sum((one - other).square().sum() for one, other in zip(everyone, others, strict=True))
            ** 0.5
        )
        assert moved <= clip * (1 + 1e-4)
    assert all((total == 0).all() for total in clipped_sums(critic, rows[:0], clip)), (
        "an empty sample has a sum too"
    )


def test_spent_is_what_was_asked_and_never_more_than_epsilon():
    generator = DPGAN(**SMALL, **DECLARED, epsilon=0.5).fit(*table_of(), seeded(1))
    ((event, count),) = generator.ledger.queries.items()
    assert count == 12 and event.sampling_probability == pytest.approx(20 / 200)
    assert 0.98 * 0.5 < generator.epsilon_spent <= 0.5 and generator.delta_spent == 1e-5
    assert (
        "not covered" not in generator.guarantee
        and "number of rows count as public" in generator.guarantee
    )


def test_a_budget_of_seconds_spends_less():
    generator = DPGAN(
        **SMALL | {"epochs": 10_000, "seconds": 0.2, "batch_size": 200}, **DECLARED
    ).fit(*table_of(), seeded(1))
    assert generator.trained.done < 10_000 and generator.epsilon_spent < 0.9


def test_the_guarantee_names_what_was_read_off_the_rows():
    table, schema = table_of()
    generator = DPGAN(**SMALL | {"batch_size": 200}, bounds={"x": (0, 1)}, missing=()).fit(
        table, schema, seeded(1)
    )
    assert generator.guarantee.endswith(
        "; the domain of c was read off the train table and is not covered"
    )


def test_declared_domains_are_kept_and_what_lies_outside_is_moved_into_them():
    table, schema = table_of()
    domain = Domain(table, schema, {"x": (0.2, 0.5, 0.1)}, {"c": ["b", "z"]}, [])
    assert domain.caveat == "" and domain.restrict(table)["c"].eq("b").all(), (
        "the undeclared label becomes the first level"
    )
    synthetic = DPGAN(
        **SMALL | {"batch_size": 200},
        bounds={"x": (0.2, 0.5, 0.1)},
        levels={"c": ["b", "z"]},
        missing=[],
    )
    synthetic = synthetic.fit(table, schema, seeded(1)).sample(500, seeded(2))
    assert set(synthetic["c"]) == {"b", "z"} and synthetic["x"].between(0.2, 0.5).all()
    assert (synthetic["x"].round(1) == synthetic["x"]).all() and not synthetic.isna().any(axis=None)
    maybe = Domain(table, schema, {"x": (0, 1)}, {"c": ["b"]}, ["c"])
    assert maybe.restrict(table)["c"].isna().equals(table["c"] == "a")


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"bounds": {"y": (0, 1)}}, "no column 'y'"),
        ({"bounds": {"c": (0, 1)}}, "column 'c' is categorical; give its levels"),
        ({"bounds": {"x": (1, 0)}}, "give .low, high."),
        ({"levels": {"c": []}}, "at least one level"),
    ],
)
def test_an_impossible_domain_is_refused(declared, said):
    with pytest.raises(InputError, match=said):
        DPGAN(**SMALL, **declared).fit(*table_of(), seeded(1))


@pytest.mark.parametrize("epsilon", [0, -1, float("inf"), float("nan"), "1", True])
def test_an_impossible_budget_is_one_sentence(epsilon):
    with pytest.raises(InputError, match=r"dp-gan: epsilon is .*; give a finite number above 0"):
        DPGAN(epsilon=epsilon)
