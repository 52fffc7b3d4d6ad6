"""PATE-GAN: teachers judge made rows, each by its own part of the table; a student learns from
their noisy votes alone.

Jordon, Yoon and van der Schaar 2019 (ICLR), kept to what Ganev, Annamalai and De Cristofaro 2024
(arXiv:2406.13985) found six public implementations to break: parts are disjoint for the whole run, a
teacher reads its own part alone, the student sees made rows and noisy votes alone, noise goes on the
number of votes, every query is charged before it is asked, no query is asked beyond the budget, the
encoder knows the declared domain and noisy histograms only, and the bound depends on the queries and
never on the votes.

With start = "uniform" it is the paper's game: teachers say whether a row is real. On Adult their
votes for real fell from 211 to 0 of 500 within ten rounds; from then on the student sees one class,
which teaches the generator nothing, at any epsilon. With start = "tables", the default, half of the
budget buys noisy histograms and every column's table with the target, from which the generator
starts and which it is held to; and the teachers say which of two made rows is more real, so that
both answers stay as likely as each other. What such a fit is worth is the tables' doing: on Adult at
epsilon 1 and delta 1e-5, shape error .88%, trend 6.0 and AUC .902 (means of three fits), where
rounds = 0, that base alone, has .72, 5.7 and .905, and start = "uniform" 66, 77 and .54 (one fit
each).

Where this differs from the paper, besides: rows are of bins, one-hot, and made rows as hard as real
ones; a vote is moved by one by one row, so a query costs half of noise on both counts; the noise is
Gaussian on whole numbers (Papernot et al. 2018; Canonne et al. 2020), composed as zero-concentrated
privacy; the student may learn its bought labels more than once, which costs nothing; every row is
given to a teacher by a draw of its own, so that parts are only about equal.
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
from workbench.generators.neural.gan import Perceptron
from workbench.generators.neural.layers import Adam
from workbench.generators.private.accounting import spent
from workbench.generators.private.classwise import ByClass, ByClassGenerator, RowNetwork, one_hot
from workbench.generators.private.domain import Cells, Domain
from workbench.generators.private.marginals import uncounted
from workbench.generators.private.noise import Noise
from workbench.generators.training import Epochs, bar
from workbench.tables.schema import Schema

ROWS_PER_TEACHER = 65  # by default


@dataclass
class PateGAN(ByClassGenerator):
    """A GAN whose student discriminator is taught by private aggregation of teachers (Jordon et al.
    2019).
    """

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the rounds. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    start: str = "tables"
    """"tables": half of the budget buys noisy tables that the generator starts from, and teachers
    compare two made rows. "uniform": the paper's, from equal shares of all bins, of equal width;
    teachers say whether a made row is real.
    """
    teachers: int | None = None
    """Parts of the table, with a teacher each: more withstand more noise, and each of them sees
    fewer rows. None is one for 65 rows.
    """
    vote_noise: float | None = None
    """Deviation of the noise on votes; None is the least that pays for all rounds."""
    rounds: int = 30
    """Rounds of teachers, student and generator; fewer where the budget or the seconds end before.
    None at all leaves the tables that the generator starts from.
    """
    seconds: float | None = None
    """Train no longer than this; what is not asked for is not spent."""
    queries: int = 16
    """Questions that the teachers vote on in a round."""
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
    margin_weight: float = 10.0
    """Weight of the divergence from the tables that the generator starts from; none is paid for
    start = "uniform", which has no tables to be held to.
    """
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

    def __post_init__(self):
        counts = (
            "queries",
            "batch_size",
            "teacher_steps",
            "student_steps",
            "memory",
            "generator_steps",
            "noise",
        )
        self._check("pate-gan", **dict.fromkeys(counts, 1), rounds=0, width=4)
        check_least(self, learning_rate=1e-9, tau=1e-3, margin_weight=0)
        if self.teachers is not None:
            check_least(self, teachers=2)
        if self.vote_noise is not None:
            check_least(self, vote_noise=1e-3)
        if self.start not in ("tables", "uniform"):
            raise InputError(f"pate-gan: start is {self.start!r}; give tables or uniform.")

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> PateGAN:
        """Raises InputError where the first round would cost more than epsilon, Diverged where a
        loss is not finite.
        """
        self._schema = schema
        domain, cells, states = self._encoded(table, schema)
        if self.start == "uniform":
            cells = Cells(domain, self.bins)
            states = cells.encode(domain.restrict(table))
        chance = self._noise()
        self._budget = self._start(self.epsilon, self.delta)
        known = self._first_tables(schema, cells, states, chance)
        self._keep(known, RowNetwork(known, self.noise, self.width, self.tau, rng))
        rows = PrivateRows(known.codes(states), self._network.sizes)
        # The number of rows is public.
        self.parts = self.teachers or max(len(table) // ROWS_PER_TEACHER, 2)
        # Once for the whole fit: a row that changed teachers would be paid for by one and seen by
        # several.
        self.teacher_of = self._partition(len(table), rng)
        teachers = Teachers(
            rows, self.teacher_of, self.parts, self.width // 4, self.learning_rate, rng
        )
        student = Student(rows.size, self.width, self.learning_rate, rng)
        self.label_shares: list[float] = []
        self._train(teachers, student, chance, rng)
        if self.start == "tables" and self.rounds:
            self._network.calibrate(rng)
        self._promise_votes(domain)
        return self

    def _first_tables(
        self, schema: Schema, cells: Cells, states: np.ndarray, noise: Noise
    ) -> ByClass:
        """What the generator starts from: noisy tables for half of the budget, or for all of it
        where no votes are to be bought; equal shares of the domain's bins at no cost.
        """
        if self.start == "tables":
            share = 0.5 if self.rounds else 1.0
            return self._measure_by_class(schema, cells, states, share * self._budget, noise)
        columns = uncounted(cells, len(states))
        singles = [counts / counts.sum() for counts in columns.singles]
        return ByClass(columns, list(range(len(singles))), np.ones(1), [s[None] for s in singles])

    def _train(
        self, teachers: Teachers, student: Student, chance: Noise, rng: np.random.Generator
    ) -> None:
        """Rounds of teachers, student and generator, as many as the budget pays for."""
        network, adam = self._network, Adam(self._network.parameters(), self.learning_rate)
        # What the tables have left is for the votes.
        left = self._budget - self._spent()
        deviation = self.vote_noise or self._least_noise(left)
        rho = 1 / (2 * deviation**2)
        self.trained = Epochs(self.rounds, self.seconds, self.progress)
        for turn in self.trained:
            # A round is not begun that the budget cannot end.
            if not self._affords(rho):
                if turn == 0:
                    cost = spent(self._spent() + rho * self.queries, self.delta)
                    raise InputError(
                        f"pate-gan: a round costs epsilon {cost:.3g}, more than {self.epsilon:g}; "
                        "raise vote_noise."
                    )
                break
            # Teachers read private rows, and nothing of them leaves but the noisy votes below.
            for _ in range(self.teacher_steps):
                fakes, _ = network(self.batch_size, rng)
                teachers.learn(fakes.detach(), self.batch_size, rng)
            first, second = self._questions(rng)
            # Charged before the votes are counted: an interrupted fit has never seen more than it
            # paid for.
            self._charge("vote", rho, self.queries)
            votes = teachers.votes(first, second)
            student.remember(first, second, self._label(votes, deviation, chance), self.memory)
            loss = sum(student.learn(self.queries, rng) for _ in range(self.student_steps))
            for _ in range(self.generator_steps):
                loss += self._step(student, adam, rng)
            self.trained.check_rate(loss, "pate-gan", self.learning_rate)

    def _step(self, student: Student, adam: Adam, rng: np.random.Generator) -> float:
        """One step of the generator towards what the student holds for real; the loss."""
        drawn_rows, drawn_shares = self._network(8 * self.queries, rng)
        loss = F.softplus(-student.network(drawn_rows)).mean()
        if self.start == "tables":
            loss = loss + self.margin_weight * self._network.margin_loss(drawn_shares)
        adam.step(torch.autograd.grad(loss, self._network.parameters()))
        return float(loss.detach())

    def _questions(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Made rows to be voted on: two sides of a comparison, or one side alone."""
        first, _ = self._network(self.queries, rng)
        if self.start == "uniform":
            return first.detach(), None
        # A comparison of two made rows has both answers in balance, where "is it real?" soon has
        # one.
        second, _ = self._network(self.queries, rng)
        return first.detach(), second.detach()

    def _partition(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """The teacher of each row, shape (rows,), drawn once for the whole run; one more row moves
        no other.
        """
        return rng.integers(self.parts, size=rows)

    def _least_noise(self, rho: float) -> float:
        """The deviation with which all rounds' votes cost no more than rho."""
        # All rounds are paid for alike: noise that depended on the votes would leak them.
        votes = max(self.rounds, 1) * self.queries
        return float((votes / (2 * rho)) ** 0.5 * (1 + 1e-9)) if rho > 0 else 1.0

    def _affords(self, rho: float) -> bool:
        return self._spent() + self.queries * rho <= self._budget

    def _label(self, votes: np.ndarray, deviation: float, noise: Noise) -> np.ndarray:
        """Whether the noisy number of votes is more than half of the teachers; bool, shape (n,)."""
        noisy = votes + noise.discrete_gaussian(deviation, votes.shape)
        # One bit of each vote; how clear it was stays unknown.
        labels = noisy > self.parts / 2
        # What the student is given is noisy already, so its share may be logged.
        self.label_shares.append(float(labels.mean()))
        return labels

    def _promise_votes(self, domain: Domain) -> None:
        """What all charges cost: a blanked row and an exchanged one move a vote by one alike; an
        exchanged one moves two counts of a table, so their costs double.
        """
        # Votes and tables differ in what an exchanged row can move.
        votes = sum(rho for what, rho in self.charges if what == "vote")
        counted = self._spent() - votes
        epsilon = spent(self._spent(), self.delta)
        exchange = spent(votes + 2 * counted, self.delta)
        vote_count = sum(what == "vote" for what, _ in self.charges)
        claim = (
            f"({epsilon:.4g}, {self.delta:g})-differential privacy for one row against a blank one"
            f" that is counted nowhere, ({exchange:.4g}, {self.delta:g}) for the exchange of one"
            f" row for another, by {len(self.charges) - vote_count} noisy tables and {vote_count} noisy votes"
            f" of {self.parts} teachers, of each of which one bit is seen, by exact integer noise"
        )
        self._promise(epsilon, self.delta, claim, domain)


class PrivateRows:
    """The private rows as the teachers read them, one-hot, a batch at a time."""

    def __init__(self, codes: np.ndarray, sizes: list[int]):
        self._codes, self._sizes = codes, sizes
        self.size = sum(sizes)

    def take(self, index: np.ndarray) -> torch.Tensor:
        """The rows at `index`, float32, of its shape and one axis more."""
        return one_hot(self._codes[index], self._sizes)


class Teachers:
    """Small discriminators side by side; the i-th learns from the rows of part i and from made
    rows, and nothing else.
    """

    def __init__(
        self,
        rows: PrivateRows,
        teacher_of: np.ndarray,
        count: int,
        width: int,
        rate: float,
        rng: np.random.Generator,
    ):
        self._rows = rows
        # Rows of one teacher lie together, so that a draw from a part needs no search.
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
    def votes(self, first: torch.Tensor, second: torch.Tensor | None = None) -> np.ndarray:
        """How many teachers hold each row for more real than the second one, or for real, shape
        (n,).
        """
        # One forward pass asks all teachers at once: the networks lie side by side.
        scores = self._network(first)[..., 0]
        if second is not None:
            scores = scores - self._network(second)[..., 0]
        return (scores > 0).sum(dim=0).numpy()


class Student:
    """The discriminator that the generator plays against: it sees made rows and their noisy labels,
    never a real row.
    """

    def __init__(self, size: int, width: int, rate: float, rng: np.random.Generator):
        self.network = Perceptron([size, width, width, 1], rng)
        self._adam = Adam(self.network.parameters(), rate)
        self._rows, self._others = torch.empty(0, size), torch.empty(0, size)
        self._labels = torch.empty(0)

    def remember(
        self, rows: torch.Tensor, others: torch.Tensor | None, labels: np.ndarray, most: int
    ) -> None:
        """Keep questions and their noisy answers, the latest `most` of them."""
        # Bought labels may be learnt from again at no cost: they are noisy already.
        self._rows = torch.cat([self._rows, rows])[-most:]
        if others is not None:
            self._others = torch.cat([self._others, others])[-most:]
        self._labels = torch.cat([self._labels, torch.from_numpy(labels).float()])[-most:]

    def learn(self, n: int, rng: np.random.Generator) -> float:
        """One step on n of the remembered questions; the loss."""
        # Among all that is remembered, so that old answers are not forgotten.
        index = torch.from_numpy(rng.integers(len(self._rows), size=n))
        scores = self.network(self._rows[index])[:, 0]
        if len(self._others):
            # Bradley and Terry's model of comparisons.
            scores = scores - self.network(self._others[index])[:, 0]
        loss = F.binary_cross_entropy_with_logits(scores, self._labels[index])
        self._adam.step(torch.autograd.grad(loss, self.network.parameters()))
        return float(loss.detach())
