"""CTGAN: a generator and a critic play on rows, and a condition on one label keeps rare labels in
the game.

Xu, Skoularidou, Cuesta-Infante and Veeramachaneni 2019, arXiv:1907.00503. Numbers are normalised
within modes; every training row is drawn for a label chosen by log-frequency; the generator is given
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
from torch import nn
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators.neural.layers import (
    Adam,
    Blocks,
    Linear,
    OneHotLinear,
    gumbel,
    normal,
    random,
)
from workbench.generators.neural.modes import TableModes
from workbench.generators.rejection import Acceptance
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import matches, sample_matching
from workbench.tables.schema import Schema

CHUNK = 8192  # most rows that are drawn at once


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
        # Encoded once: a row's mode is drawn, and stays the same in all epochs.
        offsets, codes = self._encoding.encode(table, rng)
        self._rows = rows = ConditionalTable(offsets, codes, self._encoding)
        levels = len(rows.counts)
        self._generator = ConditionalGenerator(self.noise, self.width, rows.size, levels, rng)
        # The critic is thrown away after the fit; only the generator is needed to sample.
        critic = Critic(rows.size, levels, self.pac, self.width, self.dropout, rng)
        self._train(self._generator, critic, len(table), rng)
        # The statistics of training belong to weights that the average has replaced.
        self._average_statistics(rng)
        return self

    def _train(
        self,
        generator: ConditionalGenerator,
        critic: Critic,
        table_rows: int,
        rng: np.random.Generator,
    ) -> None:
        rows = self._rows
        generator_parameters = list(generator.parameters())
        critic_parameters = list(critic.parameters())
        generator_adam = Adam(
            generator_parameters, self.learning_rate, self.weight_decay, average=self.average
        )
        critic_adam = Adam(critic_parameters, self.learning_rate)

        # At least two groups: a batch of one row has no variance, and one of a single group little.
        groups = min(max(table_rows // (10 * self.pac), 2), self.batch_size // self.pac)
        # The critic sees whole groups of pac rows.
        size = groups * self.pac
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for _ in self.trained:
            losses = torch.zeros(())
            for _ in self.trained.steps(max(table_rows // size, 1)):
                for _ in range(self.critic_steps):
                    # Conditions by log-frequency: rare labels are trained on far more often than
                    # they occur.
                    level = rows.levels(rows.by_log_frequency, size, rng)
                    logits = generator(normal(rng, size, self.noise), level)
                    fake = rows.activate(logits, self.tau, rng)
                    # Real rows of the same conditions, so that the critic cannot tell by the label
                    # alone.
                    real = rows.real(level, rng)
                    critic_loss = critic.loss(real, fake.detach(), level, self.penalty, rng)
                    critic_adam.step(torch.autograd.grad(critic_loss, critic_parameters))
                # The last fakes train the generator too, so that it need not make others.
                condition_loss = rows.condition_loss(logits, level)
                # The critic's score is to rise, and the condition is to be returned: the paper's
                # two terms.
                generator_loss = condition_loss - critic(fake, level, rng).mean()
                generator_adam.step(torch.autograd.grad(generator_loss, generator_parameters))
                losses += critic_loss.detach() + generator_loss.detach()
            cause = (
                f"the learning rate {self.learning_rate:g} or the penalty {self.penalty:g} is too"
                " large for this table"
            )
            self.trained.check(float(losses), "ctgan", cause)
        # Rows are drawn with the average of the weights: the last ones swing with the game.
        generator_adam.use_averages()

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Rows that meet `where` among those drawn without it, which is exact for what has been
        learnt. Where few do (see Acceptance), the rarest label in `where` is given to the generator
        as its condition: this is a model of its own, and approximate.
        """
        where = where or {}
        requested = self._encoding.requested(where)
        levels = []
        for value in requested:
            (code,) = self._encoding.label_codes(value)
            levels.append(self._rows.level_of(value.name, code))
        # The rarest label is the one that rejection would wait longest for.
        rarest = min(levels, key=lambda level: self._rows.counts[level], default=None)
        acceptance = Acceptance()

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            # Exact first; the generator is given the condition only where rejection would take too
            # long.
            level = rarest if acceptance.is_too_low else None
            offsets, codes = self._generate(size, rng, level)
            table = self._encoding.decode(offsets, codes, rng, requested)
            if where and level is None:
                acceptance.count(matches(table, self._schema, where))
            return table

        return sample_matching(draw, n, rng, self._schema, where)

    @torch.no_grad()
    def _generate(
        self, n: int, rng: np.random.Generator, level: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and codes of n rows, given one level, or as many levels as train has them."""
        offsets, codes = [], []
        for start in range(0, n, CHUNK):
            size = min(CHUNK, n - start)
            # Without a condition, conditions are drawn as often as train has the labels: training's
            # log-frequencies would make rare ones too common.
            if level is None:
                levels = self._rows.levels(self._rows.by_frequency, size, rng)
            else:
                levels = torch.full((size,), level)
            logits = self._generator(normal(rng, size, self.noise), levels)
            part_offsets, part_codes = self._rows.decide(logits, rng)
            offsets.append(part_offsets)
            codes.append(part_codes)
        return np.concatenate(offsets), np.concatenate(codes)

    @torch.no_grad()
    def _average_statistics(self, rng: np.random.Generator, batches: int = 20) -> None:
        """Batch normalisation's means and variances over conditions as they are sampled, so that a
        row does not depend on the rows sampled beside it.
        """
        self._generator.average_statistics_anew()
        for _ in range(batches):
            level = self._rows.levels(self._rows.by_frequency, self.batch_size, rng)
            self._generator(normal(rng, self.batch_size, self.noise), level)
        # From now on batch normalisation uses these averages, not the batch's own.
        self._generator.eval()


class ConditionalGenerator(nn.Module):
    """Two residual layers with batch normalisation, then a linear one, all of which see the noise
    and the condition (Xu et al. 2019, section 4.4).
    """

    def __init__(self, noise: int, width: int, size: int, levels: int, rng: np.random.Generator):
        super().__init__()
        self.first = ConditionalLinear(noise, levels, width, rng)
        self.second = ConditionalLinear(width + noise, levels, width, rng)
        self.last = ConditionalLinear(2 * width + noise, levels, size, rng)
        self.first_norm = nn.BatchNorm1d(width)
        self.second_norm = nn.BatchNorm1d(width)

    def forward(self, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n, size), of noise, shape (n, noise), and conditions, int64, shape (n,)."""
        hidden = noise
        for layer, norm in ((self.first, self.first_norm), (self.second, self.second_norm)):
            added = norm(layer(hidden, levels)).relu()
            hidden = torch.cat([added, hidden], dim=1)
        return self.last(hidden, levels)

    def average_statistics_anew(self) -> None:
        """Forget the batches seen so far; those to come count alike."""
        for norm in (self.first_norm, self.second_norm):
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for a plain average


class ConditionalLinear(nn.Module):
    """A linear layer on inputs and a one-hot condition beside them."""

    def __init__(self, inputs: int, levels: int, outputs: int, rng: np.random.Generator):
        super().__init__()
        # Both parts are one layer: its first weights have the spread of a layer with all inputs.
        bound = (inputs + levels) ** -0.5
        self.linear = Linear(inputs, outputs, rng, bound)
        self.condition = OneHotLinear(levels, outputs, rng, bound)

    def forward(self, x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.condition(levels[:, None])


class Critic(nn.Module):
    """Two leaky layers with dropout on `pac` rows laid side by side, and one score for each such
    group (Lin et al. 2018), trained by the Wasserstein loss with a gradient penalty (Gulrajani et
    al. 2017).
    """

    def __init__(
        self, size: int, levels: int, pac: int, width: int, dropout: float, rng: np.random.Generator
    ):
        super().__init__()
        self._pac = pac
        self._levels = levels
        self._dropout = dropout
        # As one layer on pac rows with their conditions.
        bound = (pac * (size + levels)) ** -0.5
        self.first = Linear(pac * size, width, rng, bound)
        self.condition = OneHotLinear(pac * levels, width, rng, bound)
        self.second = Linear(width, width, rng)
        self.last = Linear(width, 1, rng, bias=False)  # a bias would cancel in every loss

    def forward(
        self, rows: torch.Tensor, levels: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Scores, shape (n / pac, 1), of rows, shape (n, size), and their conditions, shape (n,)."""
        return self._scores(self._first_sums(rows) + self._condition_sums(levels), rng)

    def loss(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        levels: torch.Tensor,
        penalty: float,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """How far real rows fail to score above fakes of the same conditions, and the penalty."""
        # The same for real and fake rows, so it is computed once.
        condition = self._condition_sums(levels)
        real_sums = self._first_sums(real) + condition
        fake_sums = self._first_sums(fake) + condition
        # One pass for both halves; each row gets a dropout mask of its own all the same.
        scores = self._scores(torch.cat([real_sums, fake_sums]), rng)
        real_score, fake_score = scores.view(2, -1).mean(dim=1)

        # Slopes are held near one at random points between a real group and its fake. The first
        # layer is linear, so these points may be taken behind it, and the slope with respect to
        # rows is its weights times the slope there.
        share = random(rng, len(real_sums), 1)
        between = torch.lerp(real_sums, fake_sums, share).detach().requires_grad_()
        score = self._scores(between, rng).sum()
        (slope_behind,) = torch.autograd.grad(score, between, create_graph=True)
        slope = slope_behind @ self.first.weight
        excess = slope.norm(dim=1) - 1
        return fake_score - real_score + penalty * excess.square().mean()

    def _first_sums(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows' part of the first layer's sums, shape (n / pac, width)."""
        return self.first(rows.reshape(len(rows) // self._pac, -1))

    def _condition_sums(self, levels: torch.Tensor) -> torch.Tensor:
        """The conditions' part of the first layer's sums, shape (n / pac, width)."""
        # Each of the pac rows has columns of its own in the weights.
        first_places = self._levels * torch.arange(self._pac)
        return self.condition(levels.view(-1, self._pac) + first_places)

    def _scores(self, sums: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """From the first layer's sums on."""
        hidden = self._activate(sums, rng)
        hidden = self._activate(self.second(hidden), rng)
        return self.last(hidden)

    def _activate(self, sums: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """A leaky rectifier, then dropout."""
        hidden = F.leaky_relu(sums, 0.2)
        if not self._dropout:
            return hidden
        # numpy's generator draws the mask, or the weights would depend on torch's global state.
        is_kept = random(rng, *hidden.shape) >= self._dropout
        return hidden * (is_kept / (1 - self._dropout))


class ConditionalTable:
    """The encoded table as the networks see it: offsets first, then a one-hot block for every
    column.

    A level is a code of a label column, numbered over all label columns: what a condition names. A
    table without label columns has one level, which every row has.
    """

    def __init__(self, offsets: np.ndarray, codes: np.ndarray, encoding: TableModes):
        self._blocks = Blocks(encoding.sizes, offsets.shape[1])
        self.size = self._blocks.size
        self._offsets = torch.from_numpy(offsets)
        self._hot = torch.from_numpy((codes + self._blocks.starts).astype(np.int32))

        columns = [encoding.schema.names.index(name) for name in encoding.labels]
        if columns:
            sizes = np.array(encoding.sizes)[columns]
            members = codes[:, columns].T
        else:
            sizes = np.array([1])
            members = np.zeros((1, len(codes)), dtype=int)
        first = np.cumsum(sizes) - sizes
        self._first = dict(zip(encoding.labels, first, strict=False))

        # Rows sorted by level, so that a row of a level is drawn without a search.
        self._by_level = np.concatenate([np.argsort(member, kind="stable") for member in members])
        self.counts = np.concatenate(
            [np.bincount(member, minlength=n) for member, n in zip(members, sizes, strict=True)]
        )
        self._begin = np.cumsum(self.counts) - self.counts
        self.by_frequency = _shares(self.counts, first)
        self.by_log_frequency = _shares(np.log1p(self.counts), first)
        self._aim_at_levels(columns, sizes, first)

    def _aim_at_levels(self, columns: list[int], sizes: np.ndarray, first: np.ndarray) -> None:
        """For the condition's loss: each level's column and entry, and which entries of a row are
        outside a column (minus infinity there).
        """
        # Which label column each level belongs to.
        column = np.repeat(np.arange(len(sizes)), sizes)
        if columns:
            within = np.arange(len(column)) - first[column]
            target = self._blocks.starts[columns][column] + within
        else:
            target = np.zeros(1, dtype=int)
        outside = np.full((len(sizes), self.size), -np.inf, dtype=np.float32)
        outside[column, target] = 0
        self._column = torch.from_numpy(column)
        self._target = torch.from_numpy(target)
        self._outside = torch.from_numpy(outside)

    def levels(self, shares: np.ndarray, n: int, rng: np.random.Generator) -> torch.Tensor:
        """Levels by their shares in a uniformly drawn label column, int64, shape (n,)."""
        # The whole part chooses the column, the fraction its level: one search serves both.
        drawn = rng.integers(len(self._outside), size=n) + rng.random(n)
        found = np.searchsorted(shares, drawn, side="right")
        return torch.from_numpy(found.clip(max=len(shares) - 1))

    def level_of(self, name: str, code: int) -> int:
        return int(self._first[name] + code)

    def real(self, levels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """A random table row that has each level, float32, shape (n, size)."""
        wanted = levels.numpy()
        # A random place among the rows of the level, without a search for them.
        place = (rng.random(len(wanted)) * self.counts[wanted]).astype(int)
        index = self._by_level[self._begin[wanted] + place]
        rows = torch.zeros(len(wanted), self.size)
        rows[:, : self._blocks.numbers] = self._offsets[index]
        return rows.scatter_(1, self._hot[index].long(), 1.0)

    def activate(self, logits: torch.Tensor, tau: float, rng: np.random.Generator) -> torch.Tensor:
        """Rows from the generator's outputs: tanh of an offset, Gumbel softmax of a block."""
        numbers = self._blocks.numbers
        # Columns first: in this layout the blocks of a softmax lie together in memory.
        noise = gumbel(rng, self.size - numbers, len(logits))
        soft = self._blocks.softmax((logits.T[numbers:] + noise) / tau)
        return torch.cat([logits.T[:numbers].tanh(), soft]).T.contiguous()

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
        # Nothing was conditioned on; zero, but with a gradient, so that callers need not ask.
        if not self._first:
            return 0 * logits.sum()
        return F.cross_entropy(logits + self._outside[self._column[levels]], self._target[levels])


def _shares(weights: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Cumulative shares of levels within their column j, from j to j + 1."""
    shares = []
    for j, part in enumerate(np.split(weights, first[1:])):
        shares.append(j + np.cumsum(part) / part.sum())
    return np.concatenate(shares)
