"""PATE-GAN: teachers judge made rows, each by its own part of the table; a student learns from
their noisy votes alone.

Jordon, Yoon and van der Schaar 2019 (ICLR), kept to what Ganev, Annamalai and De Cristofaro 2024
(arXiv:2406.13985) found six public implementations to break. The generator learns from the student,
so each table costs a few thousand noisy bits: expect coarse rows at any epsilon that protects, and
little from a small table, where teachers see a handful of rows each. Against so weak a student the
generator collapses: on Adult, at epsilon 1 and 10, its margins got worse by training.

Where this differs from the paper: noise goes on the number of votes for "real" alone, which one row
moves by one, so a query costs half of noise on both counts; it is Gaussian (Papernot et al. 2018)
unless told otherwise; the accountant never looks at the votes; the student may learn its bought
labels more than once, which costs nothing; no label steers the generator, so there are no class
shares to protect; every row is given to a teacher by a draw of its own, so that parts are only
about equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators import check_least
from workbench.generators.neural.gan import Bounded, GeneratorNetwork, OneHotTable, Perceptron
from workbench.generators.neural.layers import Adam
from workbench.generators.neural.modes import TableModes
from workbench.generators.private.accounting import (
    Ledger,
    Private,
    check_budget,
    choose_common_levels,
    least_noise,
)
from workbench.generators.private.domain import Domain
from workbench.generators.private.noise import Noise
from workbench.generators.rejection import SampledByRejection
from workbench.generators.training import Epochs, bar
from workbench.tables.schema import Schema


@dataclass
class PateGAN(Private, SampledByRejection):
    """A GAN whose student discriminator is taught by private aggregation of teachers (Jordon et al.
    2019).
    """

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the rounds. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epsilon: float = 1.0
    """Privacy budget, for the exchange of one row; what was spent is in `epsilon_spent` after the
    fit.
    """
    delta: float = 1e-5
    """The chance with which the guarantee may fail; well below 1 / rows."""
    teachers: int = 500
    """Parts of the table, with a teacher each: more withstand more noise, and each of them sees
    fewer rows.
    """
    mechanism: str = "gaussian"
    """Distribution of the noise on votes: gaussian or laplace, as in the paper."""
    vote_noise: float | None = None
    """Deviation of the Gaussian, or scale of the Laplace noise (1 / lambda); None is the least that
    pays for all rounds.
    """
    rounds: int = 50
    """Rounds of teachers, student and generator; fewer where the budget or the seconds end before.
    """
    seconds: float | None = None
    """Train no longer than this; what is not asked for is not spent."""
    queries: int = 16
    """Made rows that the teachers vote on in a round."""
    batch_size: int = 32
    """Real rows, and made rows, that each teacher sees in a step."""
    teacher_steps: int = 5
    """Steps of every teacher in a round."""
    student_steps: int = 10
    """Steps of the student in a round, on labels bought in this round and before."""
    memory: int = 1024
    """Bought labels that the student keeps."""
    generator_steps: int = 5
    """Steps of the generator in a round."""
    noise: int = 32
    """Normal inputs of the generator."""
    width: int = 64
    """Units in each of the two hidden layers of generator and student; a teacher has one layer of a
    quarter of them.
    """
    learning_rate: float = 1e-3
    """Of Adam, for all networks."""
    tau: float = 0.5
    """Temperature of the Gumbel softmax."""
    max_levels: int = 100
    """Levels of a label that are told apart, the most frequent by noisy counts that cost a tenth of
    epsilon where there are more; the others share one, and are drawn from it alike.
    """

    def __post_init__(self):
        check_budget("pate-gan", self.epsilon, self.delta)
        counts = (
            "rounds",
            "queries",
            "batch_size",
            "teacher_steps",
            "student_steps",
            "memory",
            "generator_steps",
            "noise",
        )
        check_least(
            self,
            **dict.fromkeys(counts, 1),
            teachers=2,
            width=4,
            learning_rate=1e-9,
            tau=1e-3,
            max_levels=2,
        )
        if self.vote_noise is not None:
            check_least(self, vote_noise=1e-3)
        if self.mechanism not in ("gaussian", "laplace"):
            raise InputError(
                f"pate-gan: mechanism is {self.mechanism!r}; give gaussian or laplace."
            )

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> PateGAN:
        """Raises InputError where the first round would cost more than epsilon, Diverged where a
        loss is not finite.
        """
        self._schema = schema
        domain, chance = self._domain(table, schema), self._noise()
        table = domain.restrict(table)
        self.ledger = Ledger(self.epsilon, self.delta)
        left = choose_common_levels(domain, table, self.max_levels, self.ledger, chance)
        encoding = self._encoding(domain, table, schema)
        rows = OneHotTable(encoding, table, rng)
        self._generator = GeneratorNetwork(encoding, self.noise, self.width, self.tau, rng)
        self._generator.start_from(domain.table, rng)
        self.teacher_of = self._partition(len(table), rng)
        teachers = Teachers(
            rows, self.teacher_of, self.teachers, self.width // 4, self.learning_rate, rng
        )
        student = Student(rows.size, self.width, self.learning_rate, rng)
        generator_adam = Adam(self._generator.parameters(), self.learning_rate)
        query, noise = self._query(left)

        self.trained = Epochs(self.rounds, self.seconds, self.progress)
        for turn in self.trained:
            if not self.ledger.affords(query, self.queries):
                if turn == 0:
                    least = self.ledger.cost(query, self.queries)
                    raise InputError(
                        f"pate-gan: a round costs epsilon {least:.3g}, more than {self.epsilon:g}; "
                        "raise vote_noise."
                    )
                break
            for _ in range(self.teacher_steps):
                teachers.learn(self._generator(self.batch_size, rng).detach(), self.batch_size, rng)
            asked = self._generator(self.queries, rng).detach()
            self.ledger.charge(query, self.queries)
            student.remember(asked, self._label(teachers.votes(asked), noise, chance), self.memory)
            loss = sum(student.learn(self.queries, rng) for _ in range(self.student_steps))
            for _ in range(self.generator_steps):
                generator_loss = F.softplus(
                    -student.network(self._generator(self.queries, rng))
                ).mean()
                generator_adam.step(
                    torch.autograd.grad(generator_loss, self._generator.parameters())
                )
                loss += float(generator_loss.detach())
            self.trained.check(
                loss,
                "pate-gan",
                f"the learning rate {self.learning_rate:g} is too large for this table",
            )
        epsilon = self.ledger.cost()
        claim = (
            f"({epsilon:.4g}, {self.delta:g})-differential privacy for the exchange of one row, by"
            f" {self.ledger.queries.get(query, 0)} noisy votes of {self.teachers} teachers, of each"
            " of which one bit is seen; the noise is in floating point"
        )
        self._promise(epsilon, self.delta, claim, domain)
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        return self._generator.draw(n, rng)

    def _encoding(self, domain: Domain, table: pd.DataFrame, schema: Schema) -> TableModes:
        """Fitted on the domain: the table itself must not shape it."""
        return TableModes(domain.table, schema, 1, 0.0, self.max_levels, number=Bounded)

    def _partition(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """The teacher of each row, shape (rows,), drawn once for the whole run; one more row moves
        no other.
        """
        return rng.integers(self.teachers, size=rows)

    def _query(self, epsilon: float) -> tuple[object, float]:
        """The event that one noisy vote is to the accountant, and its noise, where so much epsilon
        is left for all votes.
        """
        from dp_accounting import GaussianDpEvent, LaplaceDpEvent

        event = {"gaussian": GaussianDpEvent, "laplace": LaplaceDpEvent}[self.mechanism]
        noise = self.vote_noise or least_noise(
            epsilon, self.delta, event, self.rounds * self.queries
        )
        return event(noise), noise

    def _label(self, votes: np.ndarray, noise: float, rng: Noise) -> np.ndarray:
        """Whether the noisy number of votes for real is more than half of the teachers; bool, shape
        (n,).
        """
        draw = rng.normal if self.mechanism == "gaussian" else rng.laplace
        return votes + draw(scale=noise, size=len(votes)) > self.teachers / 2


class Teachers:
    """Small discriminators side by side; the i-th learns from the rows of part i and from made
    rows, and nothing else.
    """

    def __init__(
        self,
        rows: OneHotTable,
        teacher_of: np.ndarray,
        count: int,
        width: int,
        rate: float,
        rng: np.random.Generator,
    ):
        self._rows = rows
        self._by_teacher = np.argsort(teacher_of, kind="stable")
        self._counts = np.bincount(teacher_of, minlength=count)
        self._network = Perceptron([rows.size, width, 1], rng, (count,))
        self._adam = Adam(self._network.parameters(), rate)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The numbers of n rows of every teacher's own part, with replacement, shape (teachers, n)."""
        place = (rng.random((len(self._counts), n)) * self._counts[:, None]).astype(int)
        first = np.cumsum(self._counts) - self._counts
        return self._by_teacher[np.minimum(first[:, None] + place, len(self._by_teacher) - 1)]

    def learn(self, fake: torch.Tensor, n: int, rng: np.random.Generator) -> None:
        self.step(self._rows.take(self.draw(n, rng)), fake)

    def step(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        """real: shape (teachers, n, size); fake: shape (n, size), the same for all teachers."""
        # The loss is a sum over teachers, so none of them moves another; one without rows learns
        # from made rows alone.
        has_rows = torch.from_numpy(self._counts > 0).float()[:, None, None]
        losses = F.softplus(-self._network(real)) * has_rows, F.softplus(self._network(fake))
        self._adam.step(
            torch.autograd.grad(
                sum(loss.mean(dim=1).sum() for loss in losses), self._network.parameters()
            )
        )

    @torch.no_grad()
    def votes(self, rows: torch.Tensor) -> np.ndarray:
        """How many teachers hold each row for real, shape (n,)."""
        return (self._network(rows)[..., 0] > 0).sum(dim=0).numpy()


class Student:
    """The discriminator that the generator plays against: it sees made rows and their noisy labels,
    never a real row.
    """

    def __init__(self, size: int, width: int, rate: float, rng: np.random.Generator):
        self.network = Perceptron([size, width, width, 1], rng)
        self._adam = Adam(self.network.parameters(), rate)
        self._rows, self._labels = torch.empty(0, size), torch.empty(0)

    def remember(self, rows: torch.Tensor, labels: np.ndarray, most: int) -> None:
        self._rows = torch.cat([self._rows, rows])[-most:]
        self._labels = torch.cat([self._labels, torch.from_numpy(labels).float()])[-most:]

    def learn(self, n: int, rng: np.random.Generator) -> float:
        """One step on n of the remembered rows; the loss."""
        index = torch.from_numpy(rng.integers(len(self._rows), size=n))
        loss = F.binary_cross_entropy_with_logits(
            self.network(self._rows[index])[:, 0], self._labels[index]
        )
        self._adam.step(torch.autograd.grad(loss, self.network.parameters()))
        return float(loss.detach())
