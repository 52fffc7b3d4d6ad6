"""CTGAN: a generator and a critic play on rows, and a condition on one label keeps rare labels in
the game.

Xu, Skoularidou, Cuesta-Infante and Veeramachaneni 2019, arXiv:1907.00503. Numbers are normalised
within modes; every training row is drawn for a label chosen by log-frequency; the generator is told
that label and is penalised when it does not return it; the critic judges `pac` rows together (Lin
et al. 2018) under a gradient penalty (Gulrajani et al. 2017). It needs many steps: small tables and
short trainings give poor rows.

Where this differs from the paper: missing numbers are a mode, and so is a value that many rows
share; missing labels are a level, and the labels beyond `max_levels` share one; a real row and its
fake have the same condition, so the penalty's gradient is taken with respect to the rows alone; the
fakes of the last critic step also train the generator; rows are sampled with the average of the
generator's weights over its last steps, which stops the margins from swinging (Yazici et al. 2019),
and with averaged batch statistics, so that a row does not depend on the rows sampled beside it;
small tables have smaller batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators.neural.layers import (
    Adam,
    Blocks,
    Critic,
    GeneratorNetwork,
    gumbel,
    normal,
)
from workbench.generators.neural.modes import TableModes
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import sample_matching
from workbench.tables.schema import Schema


@dataclass
class CTGAN:
    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epochs: int = 300
    """Passes over the table."""
    seconds: float | None = None
    """Train no longer than this; every step is timed, so training may end within an epoch."""
    batch_size: int = 500
    """Most rows a step, drawn with replacement, a multiple of pac; fewer where an epoch would have
    less than 10 steps.
    """
    critic_steps: int = 1
    """Critic steps for each generator step."""
    pac: int = 10
    """Rows the critic judges together."""
    noise: int = 128
    """Normal inputs of the generator."""
    width: int = 256
    """Units in each of the two hidden layers of the generator, and of the critic."""
    learning_rate: float = 2e-4
    """Of Adam with betas (0.5, 0.9), for both networks."""
    weight_decay: float = 1e-6
    """Of the generator's Adam."""
    average: float = 0.998
    """Decay, at each step, of the average of the generator's weights that rows are sampled with."""
    dropout: float = 0.5
    """Of the critic's hidden units."""
    penalty: float = 10.0
    """Weight of the gradient penalty."""
    tau: float = 0.2
    """Temperature of the Gumbel softmax."""
    modes: int = 10
    """Most modes of a column of numbers."""
    min_mode_weight: float = 0.005
    """Modes of no more weight than this are dropped."""
    max_levels: int = 500
    """Most levels of a label column; the rarest labels share one."""

    def __post_init__(self):
        for name in ("epochs", "critic_steps", "pac", "noise", "width", "modes"):
            if getattr(self, name) < 1:
                raise InputError(f"ctgan: {name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("learning_rate", "tau"):
            if not getattr(self, name) > 0:
                raise InputError(f"ctgan: {name} is {getattr(self, name)}; it must be above 0.")
        for name in ("dropout", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"ctgan: {name} is {getattr(self, name)}; it must be at least 0 and below 1."
                )
        if self.batch_size < 2 or self.batch_size % self.pac:
            raise InputError(
                f"ctgan: batch_size is {self.batch_size}; it must be a multiple of pac ({self.pac})"
                " above 1."
            )

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> CTGAN:
        """Raises Diverged where a loss is no longer finite. Weights depend on rng and on torch's
        number of threads.
        """
        self._schema = schema
        self._encoding = TableModes(
            table, schema, self.modes, self.min_mode_weight, self.max_levels
        )
        self._rows = rows = Rows(*self._encoding.encode(table, rng), self._encoding)
        self._generator = generator = GeneratorNetwork(
            self.noise, self.width, rows.size, len(rows.counts), rng
        )
        critic = Critic(rows.size, len(rows.counts), self.pac, self.width, self.dropout, rng)
        generator_adam = Adam(
            generator.parameters, self.learning_rate, self.weight_decay, average=self.average
        )
        critic_adam = Adam(critic.parameters, self.learning_rate)

        # At least two groups: a batch of one row has no variance, and one of a single group little.
        groups = min(max(len(table) // (10 * self.pac), 2), self.batch_size // self.pac)
        size = groups * self.pac
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for _ in self.trained:
            losses = torch.zeros(())
            for _ in self.trained.steps(max(len(table) // size, 1)):
                for _ in range(self.critic_steps):
                    level = rows.levels(rows.by_log_frequency, size, rng)
                    logits = generator(normal(rng, size, self.noise), level)
                    fake = rows.activate(logits, self.tau, rng)
                    critic_loss, gradients = critic.loss(
                        rows.real(level, rng), fake.detach(), level, self.penalty, rng
                    )
                    critic_adam.step(gradients)
                score, gradient = critic.judge(fake.detach(), level, rng)
                condition_loss = rows.condition_loss(logits, level)
                generator_adam.step(
                    torch.autograd.grad(
                        (condition_loss, fake), generator.parameters, (None, -gradient)
                    )
                )
                losses += critic_loss + condition_loss.detach() - score
            cause = (
                f"the learning rate {self.learning_rate:g} or the penalty {self.penalty:g} is too"
                " large for this table"
            )
            self.trained.check(float(losses), "ctgan", cause)
        generator_adam.use_averages()
        self._average_statistics(rng)
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """The rarest label in `where` is asked of the generator itself; rejection then makes all of
        `where` exact.
        """
        asked = self._encoding.asked(where or {})
        levels = [
            self._rows.level_of(value.name, *self._encoding.label_codes(value)) for value in asked
        ]
        level = min(levels, key=lambda level: self._rows.counts[level], default=None)

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            return self._encoding.decode(*self._generate(size, rng, level), rng, asked)

        return sample_matching(draw, n, rng, self._schema, where)

    @torch.no_grad()
    def _generate(
        self, n: int, rng: np.random.Generator, level: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for start in range(0, n, 8192):
            size = min(8192, n - start)
            levels = (
                self._rows.levels(self._rows.by_frequency, size, rng)
                if level is None
                else torch.full((size,), level)
            )
            logits = self._generator(normal(rng, size, self.noise), levels, momentum=None)
            parts.append(self._rows.decide(logits, rng))
        offsets, codes = zip(*parts, strict=True)
        return np.concatenate(offsets), np.concatenate(codes)

    @torch.no_grad()
    def _average_statistics(self, rng: np.random.Generator, batches: int = 20) -> None:
        """Batch normalisation's means and variances over conditions as they are sampled."""
        for i in range(batches):
            level = self._rows.levels(self._rows.by_frequency, self.batch_size, rng)
            self._generator(normal(rng, self.batch_size, self.noise), level, momentum=1 / (i + 1))


class Rows:
    """The encoded table as the networks see it: offsets first, then a one-hot block for every
    column.

    A level is a code of a label column, numbered over all label columns: what a condition names. A
    table without label columns has one level, which every row has.
    """

    def __init__(self, offsets: np.ndarray, codes: np.ndarray, encoding: TableModes):
        self._blocks = blocks = Blocks(encoding.sizes, offsets.shape[1])
        self.size, starts = blocks.size, blocks.starts
        self._offsets, self._hot = (
            torch.from_numpy(offsets),
            torch.from_numpy((codes + starts).astype(np.int32)),
        )

        columns = [encoding.schema.names.index(name) for name in encoding.labels]
        levels = np.array(encoding.sizes)[columns] if columns else np.array([1])
        first = np.cumsum(levels) - levels
        self._first = dict(zip(encoding.labels, first, strict=False))
        members = codes[:, columns].T if columns else np.zeros((1, len(codes)), dtype=int)
        self._by_level = np.concatenate([np.argsort(member, kind="stable") for member in members])
        self.counts = np.concatenate(
            [np.bincount(member, minlength=n) for member, n in zip(members, levels, strict=True)]
        )
        self._begin = np.cumsum(self.counts) - self.counts
        self.by_frequency = _shares(self.counts, first)
        self.by_log_frequency = _shares(np.log1p(self.counts), first)

        column = np.repeat(np.arange(len(levels)), levels)
        target = (
            starts[columns][column] + np.arange(len(column)) - first[column]
            if columns
            else np.zeros(1, dtype=int)
        )
        outside = np.full((len(levels), self.size), -np.inf, dtype=np.float32)
        outside[column, target] = 0
        self._column, self._target, self._outside = map(torch.from_numpy, (column, target, outside))

    def levels(self, shares: np.ndarray, n: int, rng: np.random.Generator) -> torch.Tensor:
        """Levels by their shares in a uniformly drawn label column, int64, shape (n,)."""
        drawn = rng.integers(len(self._outside), size=n) + rng.random(n)
        return torch.from_numpy(
            np.searchsorted(shares, drawn, side="right").clip(max=len(shares) - 1)
        )

    def level_of(self, name: str, code: int) -> int:
        return int(self._first[name] + code)

    def real(self, levels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """A random table row that has each level, float32, shape (n, size)."""
        levels = levels.numpy()
        index = self._by_level[
            self._begin[levels] + (rng.random(len(levels)) * self.counts[levels]).astype(int)
        ]
        rows = torch.zeros(len(levels), self.size)
        rows[:, : self._blocks.numbers] = self._offsets[index]
        return rows.scatter_(1, self._hot[index].long(), 1.0)

    def activate(self, logits: torch.Tensor, tau: float, rng: np.random.Generator) -> torch.Tensor:
        """Rows from the generator's outputs: tanh of an offset, Gumbel softmax of a block."""
        numbers = self._blocks.numbers
        noisy = (logits.T[numbers:] + gumbel(rng, self.size - numbers, len(logits))) / tau
        return torch.cat([logits.T[:numbers].tanh(), self._blocks.softmax(noisy)]).T.contiguous()

    def decide(
        self, logits: torch.Tensor, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Offsets, shape (n, numbers), and codes, shape (n, columns): the largest entry of each
        Gumbel softmax.
        """
        numbers = self._blocks.numbers
        return logits[:, :numbers].tanh().numpy(), self._blocks.draw(logits.T[numbers:], rng)

    def condition_loss(self, logits: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy between the wanted level and its column's block."""
        if not self._first:
            return 0 * logits.sum()
        return F.cross_entropy(logits + self._outside[self._column[levels]], self._target[levels])


def _shares(weights: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Cumulative shares of levels within their column j, from j to j + 1."""
    return np.concatenate(
        [j + np.cumsum(part) / part.sum() for j, part in enumerate(np.split(weights, first[1:]))]
    )
