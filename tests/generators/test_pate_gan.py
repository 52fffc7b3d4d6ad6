"""PATE-GAN: the nine points that public implementations broke (Ganev et al. 2024), and broken
variants that are caught.

What the parts of a fit are given is seen at the networks themselves: every real row that is taken
for the teachers is marked with its number.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch
from canaries import proven_epsilon
from scipy.stats import norm

from workbench.errors import InputError
from workbench.generators.neural.gan import Perceptron
from workbench.generators.private import pate_gan
from workbench.generators.private.accounting import Ledger, spent
from workbench.generators.private.noise import Noise
from workbench.generators.private.pate_gan import PateGAN, PrivateRows, Student, Teachers
from workbench.generators.training import Diverged
from workbench.metrics.privacy import empirical_epsilon
from workbench.tables.datasets import table_hash
from workbench.tables.schema import Column, Schema

SCHEMA = Schema((Column("x", "numeric"), Column("c", "categorical")))
DECLARED = {"bounds": {"x": (0, 1)}, "levels": {"c": ["a", "b"]}, "missing": []}
SMALL = {
    "teachers": 6,
    "rounds": 4,
    "queries": 8,
    "batch_size": 8,
    "teacher_steps": 2,
    "width": 8,
    "noise": 4,
} | DECLARED


def seeded(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def table_of(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = seeded(seed)
    return SCHEMA.cast(
        pd.DataFrame({"x": rng.permutation(rows) / (rows - 1), "c": rng.choice(["a", "b"], rows)})
    )


def exact_delta(epsilon: float, noise: float, count: int) -> float:
    """The delta of `count` Gaussian queries at this epsilon (Balle and Wang 2018, theorem 8)."""
    mean = count**0.5 / noise
    return norm.cdf(mean / 2 - epsilon / mean) - np.exp(epsilon) * norm.cdf(
        -mean / 2 - epsilon / mean
    )


@dataclass
class Watched:
    """A fit, and what was seen during it."""

    generator: PateGAN
    read: dict = field(
        default_factory=lambda: defaultdict(set)
    )  # (network, copy) -> real rows that went into it
    labelled: list = field(default_factory=list)  # what the teachers' noisy votes said
    learned: list = field(default_factory=list)  # what the student was given as labels

    def broken(self) -> set[str]:
        teachers = {key: rows for key, rows in self.read.items() if key[1] is not None}
        found, everyone = set(), [row for rows in teachers.values() for row in rows]
        if len(everyone) != len(set(everyone)):
            found.add("1: parts are not disjoint for the whole run")
        if any(
            rows - set(np.flatnonzero(self.generator.teacher_of == copy))
            for (_, copy), rows in teachers.items()
        ):
            found.add("2: a teacher reads another part")
        if any(rows for (_, copy), rows in self.read.items() if copy is None):
            found.add("3: a real row outside the teachers")
        if len(self.labelled) != len(self.learned) or any(
            map(np.any, map(np.not_equal, self.labelled, self.learned))
        ):
            found.add("3: labels that no noisy vote gave")
        votes = [rho for what, rho in self.generator.charges if what == "vote"]
        queried = sum(map(len, self.learned))
        if queried > len(votes):
            found.add("5: a query that was not charged")
        tables = sum(rho for what, rho in self.generator.charges if what != "vote")
        if spent(tables + queried * votes[0], self.generator.delta) > self.generator.epsilon:
            found.add("6: more was queried than epsilon allows")
        return found


MARK = 1 / 1024  # times a row's number and one, on what its first value is


def watch(monkeypatch, kind: type = PateGAN, **params) -> Watched:
    table, generator = table_of(), kind(**SMALL | params)
    watched = Watched(generator)
    layers, label, remember = Perceptron.layers, kind._label, pate_gan.Student.remember
    take = PrivateRows.take

    def marked(self, index):
        rows = take(self, index)
        rows[..., 0] += MARK * (1 + torch.from_numpy(np.array(index))).float()
        watched.rows = self
        return rows

    def rows_in(rows: torch.Tensor) -> set:
        marks = (rows[:, 0] - rows[:, 0].round()).detach().numpy() / MARK
        return {int(np.rint(mark)) - 1 for mark in marks if mark > 0.5}

    def seen_layers(network, rows):
        if rows.dim() == 3:
            for copy, part in enumerate(rows):
                watched.read[id(network), copy] |= rows_in(part)
        elif network.linear[-1].weight.shape[-1] == 1:
            watched.read[id(network), None] |= rows_in(rows)
        return layers(network, rows)

    def seen_label(self, votes, noise, rng):
        watched.labelled.append(label(self, votes, noise, rng))
        return watched.labelled[-1]

    def seen_remember(self, rows, others, labels, most):
        watched.learned.append(np.array(labels))
        self.private = watched.rows
        remember(self, rows, others, labels, most)

    monkeypatch.setattr(PrivateRows, "take", marked)
    monkeypatch.setattr(Perceptron, "layers", seen_layers)
    monkeypatch.setattr(kind, "_label", seen_label)
    monkeypatch.setattr(pate_gan.Student, "remember", seen_remember)
    generator.fit(table, SCHEMA, seeded(1))
    return watched


@pytest.mark.parametrize("start", ["tables", "uniform"])
def test_a_fit_breaks_no_point_that_can_be_watched(monkeypatch, start):
    watched = watch(monkeypatch, noise=5, rounds=20, start=start)
    assert watched.broken() == set()
    assert len(watched.labelled) == 20
    teachers = [rows for (_, copy), rows in watched.read.items() if copy is not None]
    assert len(teachers) == 6 and set.union(*teachers) == set(range(60)), (
        "every row is read, so the watch is not blind"
    )


class EveryRow(Teachers):
    def draw(self, n, rng):
        return rng.integers(len(self._by_teacher), size=(len(self._counts), n))


class LastPart(Teachers):
    def draw(self, n, rng):
        return np.broadcast_to(super().draw(n, rng)[-1], (len(self._counts), n))


class Repartitioned(Teachers):
    def learn(self, fake, n, rng):
        self._by_teacher = rng.permutation(self._by_teacher)
        super().learn(fake, n, rng)


class TaughtByRows(Student):
    def remember(self, rows, others, labels, most):
        super().remember(self.private.take(np.arange(len(rows))), others, labels, most)


class Unaccounted(PateGAN):
    """Notes every second charge of votes."""

    calls = 0

    def _charge(self, what, rho, times=1):
        self.calls += what == "vote"
        return super()._charge(what, rho, 0 if self.calls % 2 and what == "vote" else times)


class OneRoundTooMany(PateGAN):
    """Looks whether the budget is spent, not whether the next round fits."""

    def _affords(self, rho):
        return self._spent() <= self._budget


@pytest.mark.parametrize(
    ("part", "variant", "params", "point"),
    [
        ("Teachers", EveryRow, {}, "1"),
        ("Teachers", LastPart, {}, "1"),
        ("Teachers", LastPart, {}, "2"),
        ("Teachers", Repartitioned, {}, "1"),
        ("Student", TaughtByRows, {}, "3: a real row"),
        ("PateGAN", Unaccounted, {}, "5"),
        ("PateGAN", OneRoundTooMany, {"vote_noise": 40.0, "rounds": 1000}, "6"),
    ],
)
def test_a_fit_that_breaks_a_point_is_caught(monkeypatch, part, variant, params, point):
    kind = variant if part == "PateGAN" else PateGAN
    monkeypatch.setattr(pate_gan, part, variant)
    found = watch(monkeypatch, kind, **{"noise": 5, **params}).broken()
    assert any(one.startswith(point) for one in found)


class NoNoiseOnVotes(PateGAN):
    """Labels by the bare majority."""

    def _label(self, votes, noise, rng):
        return votes > self.parts / 2


class NoiseOnLabels(PateGAN):
    def _label(self, votes, noise, rng):
        return (votes > self.parts / 2) + rng.normal(noise, len(votes)) / self.parts > 0.5


class NoiseTooSmall(PateGAN):
    def _label(self, votes, noise, rng):
        return super()._label(votes, noise / 2, rng)


def voting(kind: type, parts: int = 100, **settings) -> PateGAN:
    generator = kind(**settings)
    generator.parts, generator.label_shares = parts, []
    return generator


def noise_is_on_votes(kind: type, noise: float = 20.0) -> bool:
    """Whether a label is 1 as often as the noisy number of votes is above half, whatever the votes."""
    generator, runs = voting(kind), 20_000
    for votes in (0, 40, 49, 55, 100):
        # A whole number is above half of 100 from 51 on.
        share = norm.cdf((votes - 50.5) / noise)
        drawn = generator._label(np.full(runs, votes), noise, Noise(votes)).mean()
        if abs(drawn - share) > 5 * (share * (1 - share) / runs) ** 0.5 + 1 / runs:
            return False
    return True


def test_4_noise_goes_on_the_votes():
    assert noise_is_on_votes(PateGAN)
    for variant in (NoNoiseOnVotes, NoiseOnLabels, NoiseTooSmall):
        assert not noise_is_on_votes(variant), variant


def test_6_the_last_round_that_fits_is_paid_and_the_next_is_not():
    settings = {"rounds": 1000, "vote_noise": 40.0}
    generator = PateGAN(**SMALL | settings).fit(table_of(), SCHEMA, seeded(1))
    votes = [rho for what, rho in generator.charges if what == "vote"]
    assert generator.trained.done == len(votes) // 8 < 1000
    assert set(votes) == {1 / (2 * 40.0**2)}
    rho = sum(rho for _, rho in generator.charges)
    assert spent(rho, 1e-5) <= 1 < spent(rho + 8 * votes[0], 1e-5)
    assert generator.epsilon_spent == pytest.approx(spent(rho, 1e-5))


class CountedInTheOpen(PateGAN):
    """Whose histograms have no noise."""

    def _measure_columns(self, cells, states, rho, noise):
        plain = Noise(0)
        plain.discrete_gaussian = lambda deviation, shape: np.zeros(shape)
        return super()._measure_columns(cells, states, rho, plain)


def bins_follow_noisy_counts(kind: type) -> bool:
    """Whether the noise decides about bins where it is much larger than the counts: what two tables
    that differ in one row are cut into must not be the same each time.
    """
    bins = []
    for seed in range(6):
        settings = SMALL | {"epsilon": 30.0, "noise_seed": seed, "rounds": 1}
        fit = kind(**settings).fit(table_of(), SCHEMA, seeded(1))
        bins.append(fit._known.columns.pools[0].group.tobytes())
    return len(set(bins)) > 1


def test_7_bins_know_the_declared_domain_and_noisy_counts_only():
    assert bins_follow_noisy_counts(PateGAN)
    assert not bins_follow_noisy_counts(CountedInTheOpen)
    uniform = [
        PateGAN(**SMALL, start="uniform").fit(table, SCHEMA, seeded(1))
        for table in (table_of(), table_of(seed=1).assign(x=0.2))
    ]
    shown = [fit._known.columns.decode(np.zeros((9, 2), int), seeded(2)) for fit in uniform]
    assert table_hash(shown[0]) == table_hash(shown[1])


def test_7_what_was_not_declared_is_named_as_not_covered():
    whole = PateGAN(**SMALL).fit(table_of(), SCHEMA, seeded(1)).guarantee
    assert "not covered" not in whole
    part = PateGAN(**SMALL | {"levels": {}}).fit(table_of(), SCHEMA, seeded(1)).guarantee
    assert part.endswith("; the domain of c was read off the train table and is not covered")


class RefundsAgreement(PateGAN):
    """A bound that depends on the data: votes that agree cost nothing."""

    def _label(self, votes, noise, rng):
        agreed = int((np.abs(votes - self.parts / 2) == self.parts / 2).sum())
        if agreed:
            del self.charges[-agreed:]
        return super()._label(votes, noise, rng)


def cost_ignores_votes(monkeypatch, kind: type) -> bool:
    spent = []
    for votes in (3, 6):
        monkeypatch.setattr(
            Teachers, "votes", lambda self, rows, others, votes=votes: np.full(len(rows), votes)
        )
        spent.append(
            kind(**SMALL, vote_noise=40.0).fit(table_of(), SCHEMA, seeded(1)).epsilon_spent
        )
    return spent[0] == spent[1]


def test_8_the_bound_does_not_depend_on_the_votes(monkeypatch):
    assert cost_ignores_votes(monkeypatch, PateGAN)
    assert not cost_ignores_votes(monkeypatch, RefundsAgreement)


class MissingLog(Ledger):
    """Renyi divergence to epsilon with delta where log(1 / delta) should be."""

    def cost(self, query=None, count=0):
        rho, orders = count / (2 * query.noise_multiplier**2), np.arange(1.1, 200, 0.1)
        return (orders * rho + self.delta / (orders - 1)).min()


class XorForPower(Ledger):
    """10^delta, as one implementation wrote it: ten exclusive-or the exponent is 10 ^ -5 = -15 in
    whole numbers.
    """

    def cost(self, query=None, count=0):
        return Ledger(self.epsilon, 1 / abs(10 ^ round(np.log10(self.delta)))).cost(query, count)


class OwnDelta(Ledger):
    """Discards the delta that was asked for."""

    def __init__(self, epsilon, delta):
        super().__init__(epsilon, 1e-2)


def bounds_the_closed_form(kind: type) -> bool:
    from dp_accounting import GaussianDpEvent

    for noise, count, delta in ((10.0, 1, 1e-5), (50.0, 200, 1e-6), (100.0, 3000, 1e-9)):
        if (
            exact_delta(kind(100.0, delta).cost(GaussianDpEvent(noise), count), noise, count)
            > delta * 1.0001
        ):
            return False
    return True


def test_9_the_accountant_bounds_the_closed_form_tightly():
    from dp_accounting import GaussianDpEvent, LaplaceDpEvent

    assert bounds_the_closed_form(Ledger)
    for variant in (MissingLog, XorForPower, OwnDelta):
        assert not bounds_the_closed_form(variant), variant
    epsilon = Ledger(10.0, 1e-5).cost(GaussianDpEvent(50.0), 200)
    assert exact_delta(0.999 * epsilon, 50.0, 200) > 1e-5
    # Laplace noise of scale b: delta = 1 - exp((epsilon - 1 / b) / 2), and 1 / b at delta 0.
    assert Ledger(10.0, 0.01).cost(LaplaceDpEvent(2.0), 1) == pytest.approx(
        0.5 + 2 * np.log(0.99), abs=1e-3
    )


def audit_votes(kind: type, epsilon: float, runs: int = 5000) -> float:
    """What an attacker proves who sees all labels of a budget, and knows the votes up to one
    teacher's.
    """
    generator = voting(kind, epsilon=epsilon, rounds=10, queries=10)
    noise = generator._least_noise(generator._start(epsilon, generator.delta))
    shares = []
    for votes in (51, 50):
        labels = generator._label(np.full(runs * 100, votes), noise, Noise(votes))
        shares.append(labels.reshape(runs, 100).mean(axis=1))
    return proven_epsilon(*shares, generator.delta)


class TenthOfNoise(PateGAN):
    def _label(self, votes, noise, rng):
        return super()._label(votes, noise / 10, rng)


def test_9_the_votes_pass_a_canary_audit():
    assert audit_votes(PateGAN, 1.0) <= 1.0
    assert audit_votes(TenthOfNoise, 1.0) > 1.0


def audit_fits(kind: type, epsilon: float, fits: int = 40) -> float:
    """What an attacker proves who sees made rows, and knows that the only row is one of two."""
    tiny = SMALL | {"teachers": 2, "rounds": 8, "batch_size": 4, "start": "uniform"}
    tiny |= {"learning_rate": 0.02, "teacher_steps": 10, "student_steps": 5, "bins": 4}
    tiny |= {"generator_steps": 10, "epsilon": epsilon}
    means = []
    for x in (1.0, 0.0):
        table = SCHEMA.cast(pd.DataFrame({"x": [x], "c": ["a"]}))
        found = []
        for seed in range(fits):
            fit = kind(**tiny).fit(table, SCHEMA, seeded(seed, int(x)))
            found.append(fit.sample(30, seeded(seed, 2))["x"].mean())
        means.append(np.array(found))
    # Halfway between the two, as the attacker knows beforehand.
    return empirical_epsilon(*means, 0.5, 1e-5)


class NoNoise(PateGAN):
    def _label(self, votes, noise, rng):
        return votes > 0


@pytest.mark.long
def test_9_whole_fits_pass_a_canary_audit():
    """Quick sibling: test_9_the_votes_pass_a_canary_audit."""
    assert audit_fits(PateGAN, 0.5) <= 0.5
    assert audit_fits(NoNoise, 0.5) > 0.5


def test_votes_are_balanced_where_two_rows_are_compared():
    fit = PateGAN(**SMALL | {"rounds": 20, "queries": 32}).fit(table_of(), SCHEMA, seeded(1))
    assert len(fit.label_shares) == 20 and 0.35 < np.mean(fit.label_shares) < 0.65


def test_the_base_alone_spends_all_on_tables_and_asks_nobody():
    fit = PateGAN(**SMALL | {"rounds": 0}).fit(table_of(), SCHEMA, seeded(1))
    assert not any(what == "vote" for what, _ in fit.charges)
    assert fit.epsilon_spent == pytest.approx(1, rel=1e-6)


def test_an_exchanged_row_costs_what_its_tables_and_votes_move():
    """Every table's noise is halved in variance for two counts that move, a vote's is not."""
    fit = PateGAN(**SMALL).fit(table_of(), SCHEMA, seeded(1))
    charges = [rho * (1 if what == "vote" else 2) for what, rho in fit.charges]
    assert f"({spent(sum(charges), 1e-5):.4g}, 1e-05) for the exchange" in fit.guarantee


def test_a_short_time_keeps_the_account():
    generator = PateGAN(**SMALL).fit(table_of(), SCHEMA, seeded(1))
    assert 0.98 < generator.epsilon_spent <= 1
    short = PateGAN(**SMALL | {"rounds": 100_000}, seconds=0.3).fit(table_of(), SCHEMA, seeded(1))
    assert short.trained.done < 100_000 and 0 < short.epsilon_spent < 0.9


def test_a_round_that_costs_more_than_epsilon_is_refused():
    with pytest.raises(
        InputError, match=r"a round costs epsilon .*, more than 1; raise vote_noise"
    ):
        PateGAN(**SMALL, vote_noise=2.0).fit(table_of(), SCHEMA, seeded(1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon", 0),
        ("epsilon", float("inf")),
        ("epsilon", float("nan")),
        ("delta", 0),
        ("delta", 1),
    ],
)
def test_an_impossible_budget_is_one_sentence(name, value):
    with pytest.raises(InputError, match=rf"pate-gan: {name} is .*; give a "):
        PateGAN(**{name: value})


def test_a_loss_that_is_no_number_stops_with_the_round():
    with pytest.raises(Diverged, match=r"pate-gan: the loss is .* in epoch"):
        # Its votes are drawn anew at each fit, and some of them leave nothing to learn from.
        PateGAN(**SMALL, learning_rate=1e30, noise_seed=0).fit(table_of(), SCHEMA, seeded(1))
