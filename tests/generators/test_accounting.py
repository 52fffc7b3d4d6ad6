"""The accounts of private generators against foreign ones: what one row moves is found by playing a
fit again, its cost by dp_accounting's loss distributions, and both by an attack.
"""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from canaries import proven_epsilon
from probe import Recorded, Replayed

from workbench.generators import make
from workbench.generators.private.noise import Noise
from workbench.tables.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("c", "categorical", "target"),
        Column("k", "integer"),
        Column("b", "boolean"),
        Column("x", "numeric"),
    )
)
DECLARED = {
    "bounds": {"k": (0, 5), "x": (0, 10, 0.5)},
    "levels": {"c": ["u", "v", "w"], "b": [False, True]},
    "missing": [],
}
COUNTING = {
    "mst": {},
    "dp-tan": {},
    "aim": {"steps": 3, "rounds": 2, "max_levels": 2},
    "privbayes": {"max_levels": 2, "usefulness": 0.1},
    "dp-merf": {"epochs": 1, "batch_size": 20, "features": 30, "width": 8, "noise": 4},
    # One question a round: every vote is a query of its own.
    "pate-gan": {"teachers": 4, "rounds": 3, "queries": 1, "width": 8, "learning_rate": 0.05},
}
CONCENTRATED = ["mst", "dp-tan", "aim", "pate-gan"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table_of(rows: int = 40) -> pd.DataFrame:
    draw = rng(0)
    columns = {
        "c": draw.choice(["u", "v", "w"], rows, p=[0.6, 0.3, 0.1]),
        "k": draw.integers(0, 6, rows),
        "b": draw.random(rows) < 0.5,
        "x": draw.integers(0, 21, rows) / 2,
    }
    return SCHEMA.cast(pd.DataFrame(columns))


def fitted_with(noise: Noise, name: str, table: pd.DataFrame, **settings):
    generator = make(name, {**COUNTING[name], **DECLARED, **settings})
    generator._noise = lambda: noise
    return generator.fit(table, SCHEMA, rng(1))


EXCHANGED = ("privbayes", "pate-gan")  # one row for another: places of rows, or their number, count


@pytest.mark.parametrize("name", COUNTING)
def test_no_query_moves_by_more_with_one_row_than_it_is_charged_for(name):
    """Every query of a fit, asked again of neighbours that release the same answers before it."""
    table, first, used = table_of(), Recorded(0), []
    charges = fitted_with(first, name, table, epsilon=5.0).charges
    charges = [rho for what, rho in charges if what != "levels"]
    for row in (0, 7, 23):
        other = table.drop(index=row).reset_index(drop=True)
        if name in EXCHANGED:
            other = table.copy()
            other.loc[row] = ["w", 5, not table["b"][row], 10.0]
        again = Replayed(first)
        fitted_with(again, name, other, epsilon=5.0)
        assert len(again.queries) == len(first.queries), "the same queries were asked"
        for one, two in zip(first.queries, again.queries, strict=True):
            assert (one.kind, one.scale) == (two.kind, two.scale), "at the same noise"
            apart = (one.answer - two.answer).ravel()
            if one.kind == "choice":  # scores, divided by their spread
                assert np.abs(apart).max() <= 1 + 1e-9
            elif one.kind == "laplace":  # two counts by one each
                assert np.abs(apart).sum() <= 2
            else:
                used.append((apart @ apart) / (2 * one.scale**2))
    if name == "privbayes":
        return
    # Gaussian noise: rho is the squared move over twice the variance. A count and a vote move by one;
    # two counts of a table do where a row is exchanged, which costs twice as much.
    gaussian = [i for i, query in enumerate(first.queries) if query.kind == "gaussian"]
    allowed = np.tile(np.array(charges)[gaussian], 3)
    share = np.array(used) / allowed
    assert share.max() <= (2 if name == "pate-gan" else 1) + 1e-9
    assert share.max() > 0.9, "the watch is not blind"


def test_a_vote_moves_by_one_with_an_exchanged_row():
    table, first, moved = table_of(), Recorded(0), []
    fitted_with(first, "pate-gan", table, epsilon=5.0)
    for row in range(0, 40, 8):
        other = table.copy()
        other.loc[row] = ["w", 5, not table["b"][row], 10.0]
        again = Replayed(first)
        fitted_with(again, "pate-gan", other, epsilon=5.0)
        pairs = list(zip(first.queries, again.queries, strict=True))[-2:]
        moved += [np.abs(one.answer - two.answer).max() for one, two in pairs]
    assert max(moved) == 1


def mechanisms(noise: Recorded) -> list[tuple[str, float]]:
    """The kind and the scale of each query."""
    return [(query.kind, query.scale) for query in noise.queries]


def composed(released: list[tuple[str, float]], delta: float) -> float:
    """The epsilon of these mechanisms by loss distributions, where every choice is between two
    subsets whose scores move apart: a fit that the mechanisms allow.

    Losses are rounded up to the grid, so that a coarse one finds a little more than there is.
    """
    from dp_accounting.pld.privacy_loss_distribution import (
        from_gaussian_mechanism,
        from_randomized_response,
        identity,
    )

    grid = 1e-3
    losses = identity(grid)
    for (kind, scale), times in Counter(released).items():
        if kind == "choice":
            one = from_randomized_response(
                2 / (np.exp(scale / 2) + 1), 2, value_discretization_interval=grid
            )
        else:
            one = from_gaussian_mechanism(scale, value_discretization_interval=grid)
        losses = losses.compose(one.self_compose(times))
    return float(losses.get_epsilon_for_delta(delta))


@pytest.mark.parametrize("name", CONCENTRATED)
@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-5), (8.0, 1e-9)])
def test_loss_distributions_find_no_more_spent_than_was_said(name, epsilon, delta):
    noise = Recorded(0)
    fit = fitted_with(noise, name, table_of(), epsilon=epsilon, delta=delta)
    found = composed(mechanisms(noise), delta)
    assert 0.8 * fit.epsilon_spent < found <= fit.epsilon_spent <= epsilon
    assert fit.epsilon_spent == pytest.approx(epsilon, rel=1e-6), "all of it is spent"
    halved = [
        (kind, scale / 2 if kind == "gaussian" else scale) for kind, scale in mechanisms(noise)
    ]
    assert composed(halved, delta) > 1.5 * epsilon, "half of the noise would be found"


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_pure_charges_of_privbayes_add_up_to_what_was_said(epsilon):
    noise = Recorded(0)
    fit = fitted_with(noise, "privbayes", table_of(), epsilon=epsilon)
    # Two counts move by one with the exchange of a row.
    pure = [2 / scale if kind == "laplace" else scale for kind, scale in mechanisms(noise)]
    assert len(pure) == len(fit.charges) > 7 and sum(pure) == pytest.approx(epsilon)
    assert fit.epsilon_spent == pytest.approx(epsilon)


# An attack


CANARY = Schema((Column("a", "categorical", "target"), Column("b", "categorical")))


class Weakened(Noise):
    """Noise that is `share` of what it should be; choices are left as they are."""

    def __init__(self, seed, share: float):
        super().__init__(seed)
        self._share = share

    def discrete_gaussian(self, deviation, shape):
        return self._share * super().discrete_gaussian(deviation, shape)


def canary_audit(name: str, epsilon: float, share: float, runs: int) -> float:
    """The budget that an attacker proves who knows all rows and whether a canary, the only row of
    its labels, is among them or not: by how often made rows have its labels.
    """
    labels, delta = ["no", "yes"], 1e-2
    settings = {"levels": {"a": labels, "b": labels}, "missing": [], "epsilon": epsilon}
    settings |= {"delta": delta} | ({"steps": 3, "rounds": 2} if name == "aim" else {})
    scores = []
    for canaries in (1, 0):
        values = ["no"] * 60 + ["yes"] * canaries
        table = CANARY.cast(pd.DataFrame({"a": values, "b": values}))
        found = []
        for i in range(runs):
            generator = make(name, settings)
            generator._noise = lambda i=i, n=canaries: Weakened([n, i], share)
            drawn = generator.fit(table, CANARY, rng(0)).sample(2000, rng(1))
            found.append((drawn == "yes").to_numpy().mean())
        scores.append(np.array(found))
    return proven_epsilon(*scores, delta)


@pytest.mark.parametrize("name", ["dp-tan", "aim"])
def test_a_quick_canary_proves_no_more_than_epsilon_and_catches_missing_noise(name):
    assert canary_audit(name, 1.0, 1.0, runs=30) <= 1.0
    assert canary_audit(name, 1.0, 0.0, runs=30) > 1.0, "no noise at all"


@pytest.mark.long
@pytest.mark.parametrize("name", ["dp-tan", "aim"])
def test_a_canary_proves_no_more_than_epsilon_and_catches_missing_noise(name):
    """Quick sibling: the quick canary above."""
    assert 0 < canary_audit(name, 3.0, 1.0, runs=300) <= 3.0
    assert canary_audit(name, 1.0, 0.1, runs=300) > 1.0, "a tenth of the noise"
