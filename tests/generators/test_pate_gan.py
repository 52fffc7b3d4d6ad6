"""PATE-GAN: the nine points that public implementations broke (Ganev et al. 2024), and broken
variants that are caught.

What the parts of a fit are given is seen at the networks themselves: every real row of the test
table has an x of its own.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from workbench.errors import InputError
from workbench.generators.neural.gan import Bounded, Perceptron
from workbench.generators.neural.modes import TableModes
from workbench.generators.private import pate_gan
from workbench.generators.private import pate_gan as pategan
from workbench.generators.private.accounting import Ledger
from workbench.generators.private.pate_gan import PateGAN, Student, Teachers
from workbench.generators.training import Diverged
from workbench.metrics.privacy import best_threshold, empirical_epsilon
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
        asked, ((event, charged),) = (
            sum(map(len, self.learned)),
            self.generator.ledger.queries.items() or [(None, 0)],
        )
        if asked > charged:
            found.add("5: a query that was not charged")
        if (
            exact_delta(self.generator.epsilon, event.noise_multiplier, asked)
            > self.generator.delta
        ):
            found.add("6: more asked than epsilon allows")
        return found


def watch(monkeypatch, kind: type = PateGAN, **params) -> Watched:
    table, generator = table_of(), kind(**SMALL | params)
    places = {np.float32(2 * x - 1).tobytes(): row for row, x in enumerate(table["x"])}
    watched = Watched(generator)
    layers, label, remember = Perceptron.layers, kind._label, pate_gan.Student.remember

    def rows_in(rows: torch.Tensor) -> set:
        whole = (
            rows[rows[:, 1:].eq(rows[:, 1:].round()).all(dim=1), 0].detach().numpy()
        )  # made rows are not quite one-hot
        return {places[x.tobytes()] for x in whole if x.tobytes() in places}

    def seen_layers(network, rows):
        if rows.shape[-1] == 4 and network.linear[0].weight.shape[-2] == 4 and rows.dim() == 3:
            for copy, part in enumerate(rows):
                watched.read[id(network), copy] |= rows_in(part)
        elif rows.shape[-1] == len(SCHEMA.columns) + 2:
            watched.read[id(network), None] |= rows_in(rows)
        return layers(network, rows)

    def seen_label(self, votes, noise, rng):
        watched.labelled.append(label(self, votes, noise, rng))
        return watched.labelled[-1]

    def seen_remember(self, rows, labels, most):
        watched.learned.append(np.array(labels))
        remember(self, rows, labels, most)

    monkeypatch.setattr(Perceptron, "layers", seen_layers)
    monkeypatch.setattr(kind, "_label", seen_label)
    monkeypatch.setattr(pate_gan.Student, "remember", seen_remember)
    generator.fit(table, SCHEMA, seeded(1))
    return watched


def test_a_fit_breaks_no_point_that_can_be_watched(monkeypatch):
    watched = watch(monkeypatch, noise=5, rounds=20)
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
    def remember(self, rows, labels, most):
        x = torch.from_numpy(table_of()["x"].to_numpy(dtype=np.float32, copy=True))[: len(rows)]
        raw = torch.zeros_like(rows)
        raw[:, 0], raw[:, 1], raw[:, 2] = 2 * x - 1, 1, 1
        super().remember(raw, labels, most)


class Unaccounted(Ledger):
    """Returns before it notes every second charge."""

    calls = 0

    def charge(self, query, count):
        self.calls += 1
        if self.calls % 2:
            super().charge(query, count)


class OneRoundTooMany(Ledger):
    """Asks whether the budget is spent, not whether the next round fits."""

    def affords(self, query, count):
        return self.cost() <= self.epsilon


@pytest.mark.parametrize(
    ("part", "variant", "params", "point"),
    [
        ("Teachers", EveryRow, {}, "1"),
        ("Teachers", LastPart, {}, "1"),
        ("Teachers", LastPart, {}, "2"),
        ("Teachers", Repartitioned, {}, "1"),
        ("Student", TaughtByRows, {}, "3: a real row"),
        ("Ledger", Unaccounted, {}, "5"),
        ("Ledger", OneRoundTooMany, {"vote_noise": 15.0}, "6"),
    ],
)
def test_a_fit_that_breaks_a_point_is_caught(monkeypatch, part, variant, params, point):
    monkeypatch.setattr(pategan, part, variant)
    assert any(found.startswith(point) for found in watch(monkeypatch, noise=5, **params).broken())


class NoNoiseOnVotes(PateGAN):
    """Labels by the bare majority."""

    def _label(self, votes, noise, rng):
        return votes > self.teachers / 2


class NoiseOnLabels(PateGAN):
    def _label(self, votes, noise, rng):
        return (votes > self.teachers / 2) + rng.normal(
            scale=noise, size=len(votes)
        ) / self.teachers > 0.5


class NoiseTooSmall(PateGAN):
    def _label(self, votes, noise, rng):
        return super()._label(votes, noise / 2, rng)


def noise_is_on_votes(kind: type, mechanism: str = "gaussian", noise: float = 20.0) -> bool:
    """Whether a label is "real" as often as the noisy number of votes is above half, whatever the
    votes.
    """
    generator, runs = kind(teachers=100, mechanism=mechanism), 20_000
    for votes in (0, 40, 49, 55, 100):
        margin = (votes - 50) / noise
        share = (
            norm.cdf(margin)
            if mechanism == "gaussian"
            else 0.5 + np.sign(margin) * (1 - np.exp(-abs(margin))) / 2
        )
        drawn = generator._label(np.full(runs, votes), noise, seeded(votes)).mean()
        if abs(drawn - share) > 5 * (share * (1 - share) / runs) ** 0.5 + 1 / runs:
            return False
    return True


def test_4_noise_goes_on_the_votes():
    assert noise_is_on_votes(PateGAN) and noise_is_on_votes(PateGAN, "laplace")
    for variant in (NoNoiseOnVotes, NoiseOnLabels, NoiseTooSmall):
        assert not noise_is_on_votes(variant), variant


def test_6_the_last_round_that_fits_is_asked_and_the_next_is_not():
    generator = PateGAN(**SMALL | {"rounds": 1000, "vote_noise": 40.0}).fit(
        table_of(), SCHEMA, seeded(1)
    )
    ((_, asked),) = generator.ledger.queries.items()
    assert generator.trained.done == asked // 8 < 1000
    assert exact_delta(1.0, 40.0, asked) <= 1e-5 < exact_delta(1.0, 40.0, asked + 8)
    assert (
        generator.epsilon_spent
        <= 1
        < generator.ledger.cost(*[next(iter(generator.ledger.queries)), 8])
    )


class EncodedOnRows(PateGAN):
    def _encoding(self, domain, table, schema):
        return TableModes(table, schema, 1, 0.0, self.max_levels, number=Bounded)


def encoder_ignores_rows(kind: type) -> bool:
    """Whether two tables of one declared domain get one encoding."""
    first, second = table_of(), table_of(seed=1)
    second["x"] = second["x"] * 0.5 + 0.2
    codes, offsets = np.tile([0, 1], (2, 1)).T, np.array([[-1.0], [1.0]], dtype=np.float32)
    generators = [kind(**SMALL).fit(table, SCHEMA, seeded(1)) for table in (first, second)]
    encodings = [generator._generator.encoding for generator in generators]
    if encodings[0].sizes != encodings[1].sizes:
        return False
    codes[:, 0] = 0
    return (
        len({table_hash(encoding.decode(offsets, codes, seeded(2))) for encoding in encodings}) == 1
    )


def test_7_the_encoder_knows_the_declared_domain_only():
    assert encoder_ignores_rows(PateGAN)
    assert not encoder_ignores_rows(EncodedOnRows)


def test_7_what_was_not_declared_is_named_as_not_covered():
    told = PateGAN(**SMALL).fit(table_of(), SCHEMA, seeded(1)).guarantee
    assert "not covered" not in told
    part = PateGAN(**SMALL | {"levels": {}}).fit(table_of(), SCHEMA, seeded(1)).guarantee
    assert part.endswith("; the domain of c was read off the train table and is not covered")


class RefundsAgreement(PateGAN):
    """A bound that depends on the data: votes that agree cost less."""

    def _label(self, votes, noise, rng):
        for query in self.ledger.queries:
            self.ledger.queries[query] -= (
                int((np.abs(votes - self.teachers / 2) == self.teachers / 2).sum()) // 2
            )
        return super()._label(votes, noise, rng)


def cost_ignores_votes(monkeypatch, kind: type) -> bool:
    spent = []
    for votes in (3, 6):
        monkeypatch.setattr(
            Teachers, "votes", lambda self, rows, votes=votes: np.full(len(rows), votes)
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


def audit_votes(kind: type, epsilon: float, runs: int = 20_000) -> float:
    """What an attacker proves who sees all labels of a budget, and knows the votes up to one
    teacher's.
    """
    generator = kind(epsilon=epsilon, teachers=100, rounds=10, queries=10)
    _, noise = generator._query(epsilon)
    shares = []
    for votes in (51, 50):
        labels = generator._label(np.full(runs * 100, votes), noise, seeded(votes))
        shares.append(labels.reshape(runs, 100).mean(axis=1))
    return attack(*shares, generator.delta)


def attack(members: np.ndarray, others: np.ndarray, delta: float) -> float:
    half = len(members) // 2
    threshold = best_threshold(members[:half], others[:half])
    return empirical_epsilon(members[half:], others[half:], threshold, delta)


class TenthOfNoise(PateGAN):
    def _label(self, votes, noise, rng):
        return super()._label(votes, noise / 10, rng)


def test_9_the_votes_pass_a_canary_audit():
    assert audit_votes(PateGAN, 1.0) <= 1.0
    assert audit_votes(TenthOfNoise, 1.0) > 1.0


def audit_fits(monkeypatch, kind: type, epsilon: float, fits: int = 40) -> float:
    """What an attacker proves who sees made rows, and knows that the only row is one of two."""
    from dp_accounting import get_epsilon_gaussian, get_sigma_gaussian

    cost = cache(get_epsilon_gaussian)

    def closed(
        self, query=None, count=0
    ):  # the accountant agrees with it, and hundreds of fits are charged
        query = query or next(iter(self.queries))
        return cost(
            query.noise_multiplier / (self.queries.get(query, 0) + count) ** 0.5, self.delta
        )

    monkeypatch.setattr(Ledger, "cost", closed)
    tiny = SMALL | {
        "teachers": 2,
        "rounds": 8,
        "batch_size": 4,
        "learning_rate": 0.02,
        "teacher_steps": 10,
    }
    tiny |= {"student_steps": 5, "generator_steps": 10}
    tiny["vote_noise"] = get_sigma_gaussian(epsilon, 1e-5) * 64**0.5 * 1.0001
    means = []
    for x in (1.0, 0.0):
        table = SCHEMA.cast(pd.DataFrame({"x": [x], "c": ["a"]}))
        fitted = [
            kind(**tiny, epsilon=epsilon).fit(table, SCHEMA, seeded(seed, int(x)))
            for seed in range(fits)
        ]
        means.append(
            np.array(
                [made.sample(30, seeded(seed, 2))["x"].mean() for seed, made in enumerate(fitted)]
            )
        )
    return empirical_epsilon(
        *means, 0.5, 1e-5
    )  # halfway between the two, as the attacker knows beforehand


class NoNoise(PateGAN):
    def _label(self, votes, noise, rng):
        return votes > 0


@pytest.mark.long
def test_9_whole_fits_pass_a_canary_audit(monkeypatch):
    """Quick sibling: test_9_the_votes_pass_a_canary_audit."""
    assert audit_fits(monkeypatch, PateGAN, 0.5) <= 0.5
    assert audit_fits(monkeypatch, NoNoise, 0.5) > 0.5


def test_laplace_votes_and_a_short_time_keep_the_account():
    generator = PateGAN(**SMALL, mechanism="laplace").fit(table_of(), SCHEMA, seeded(1))
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
        PateGAN(**SMALL, learning_rate=1e30).fit(table_of(), SCHEMA, seeded(1))
