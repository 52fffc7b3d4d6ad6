"""Generative adversarial network: one network makes rows, the other tells them from real ones, and
each trains on the other.

Goodfellow et al. 2014, arXiv:1406.2661, with its non-saturating loss. The teaching baseline, with
nothing of what was added for tables later: numbers are scaled to their bounds, so skewed and
many-peaked columns come out badly; nothing keeps rare labels in the game, so they may vanish, and
missing values with them; nothing holds the two networks in balance, so longer training may be
worse.

Where this differs from the paper: tables instead of images, hence a Gumbel softmax for each label
column (Jang et al. 2017); missing is a level of a label column, and a flag beside a number; Adam
(betas 0.5 and 0.9) instead of momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from workbench.generators import check_least
from workbench.generators.neural.layers import Adam, gumbel, normal, uniform
from workbench.generators.neural.modes import TableModes
from workbench.generators.rejection import SampledByRejection
from workbench.generators.training import Epochs, bar
from workbench.tables.encode import Marginal
from workbench.tables.schema import Schema

CHUNK = 8192  # most rows that are drawn at once


@dataclass
class GAN(SampledByRejection):
    """A plain GAN of two multilayer perceptrons (Goodfellow et al. 2014)."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epochs: int = 100
    """Passes over the table; each is max(rows // batch_size, 1) steps of both networks."""
    seconds: float | None = None
    """Train no longer than this; every step is timed, so training may end within an epoch."""
    batch_size: int = 500
    """Real rows, and made rows, of a step; drawn with replacement."""
    noise: int = 64
    """Normal inputs of the generator."""
    width: int = 128
    """Units in each of the two hidden layers of both networks."""
    learning_rate: float = 1e-3
    """Of Adam, for both networks."""
    tau: float = 0.5
    """Temperature of the Gumbel softmax."""
    max_levels: int = 100
    """Most levels of a label column; the rarest labels share one."""

    def __post_init__(self):
        check_least(
            self,
            epochs=1,
            batch_size=1,
            noise=1,
            width=1,
            learning_rate=1e-9,
            tau=1e-3,
            max_levels=2,
        )

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> GAN:
        """Raises Diverged where a loss is no longer finite."""
        self._schema = schema
        # One mode a number: the plain scaling that the paper's networks would get.
        encoding = TableModes(table, schema, 1, 0.0, self.max_levels, number=Bounded)
        rows = OneHotTable(encoding, table, rng)
        self._generator = GeneratorNetwork(encoding, self.noise, self.width, self.tau, rng)
        # Thrown away after the fit; only the generator is kept.
        critic = Perceptron([rows.size, self.width, self.width, 1], rng)
        generator_parameters = list(self._generator.parameters())
        critic_parameters = list(critic.parameters())
        generator_adam = Adam(generator_parameters, self.learning_rate)
        critic_adam = Adam(critic_parameters, self.learning_rate)

        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for _ in self.trained:
            losses = torch.zeros(())
            for _ in self.trained.steps(max(len(table) // self.batch_size, 1)):
                real = rows.take(rng.integers(len(table), size=self.batch_size))
                # Made once and used by both steps: to make others for the second one would double
                # the cost.
                fake = self._generator(self.batch_size, rng)

                # The critic learns to give real rows a high score, and made rows a low one.
                real_loss = F.softplus(-critic(real)).mean()
                fake_loss = F.softplus(critic(fake.detach())).mean()
                critic_loss = real_loss + fake_loss
                critic_adam.step(torch.autograd.grad(critic_loss, critic_parameters))

                # The generator learns to be taken for real (the paper's non-saturating loss).
                generator_loss = F.softplus(-critic(fake)).mean()
                generator_adam.step(torch.autograd.grad(generator_loss, generator_parameters))
                losses += critic_loss.detach() + generator_loss.detach()
            self.trained.check_rate(float(losses), "gan", self.learning_rate)
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        return self._generator.draw(n, rng)


class Bounded:
    """One column of numbers or dates for TableModes: its place between the bounds, in [-1, 1], and
    a flag where missing.
    """

    def __init__(self, values: np.ndarray, *_):
        self.marginal = Marginal.fit(values)
        has_values = len(self.marginal.values) > 0
        # The values are sorted: these are the bounds.
        self.low, self.high = self.marginal.values[[0, -1]] if has_values else (np.nan, np.nan)
        self.size = int(has_values) + int(np.isnan(values).any())

    def encode(self, values: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and codes, 0 present and the last missing, each of shape (n,)."""
        # Halved first: the distance between bounds near the largest float is infinite.
        width = (self.high / 2 - self.low / 2) or 1.0
        place = np.divide(values / 2 - self.low / 2, width)
        missing = np.isnan(values)
        offsets = np.where(missing, 0.0, np.clip(2 * place - 1, -1, 1))
        codes = np.where(missing, self.size - 1, 0)
        return offsets, codes

    def decode(self, offsets: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Floats on the column's grid and within its bounds, NaN for missing, shape (n,)."""
        share = (np.asarray(offsets, dtype=float) + 1) / 2
        # Mixed rather than added to: the distance between the bounds may be infinite.
        values = self.marginal.snap(self.low * (1 - share) + self.high * share)
        is_missing = (codes > 0) | np.isnan(self.low)
        return np.where(is_missing, np.nan, values)


class OneHotTable:
    """A table as a critic reads it: offsets first, then a one-hot block for every column; made a
    batch at a time, because all of it may be too much.
    """

    def __init__(self, encoding: TableModes, table: pd.DataFrame, rng: np.random.Generator):
        self._offsets, codes = encoding.encode(table, rng)
        first = len(encoding.numbers) + np.cumsum(encoding.sizes) - encoding.sizes
        self._hot = (codes + first).astype(np.int32)
        self.size = encoding.size

    def take(self, index: np.ndarray) -> torch.Tensor:
        """The rows at `index`, float32, of its shape and one axis more."""
        # One batch at a time: the whole table one-hot may not fit into memory.
        rows = torch.zeros(*index.shape, self.size)
        rows[..., : self._offsets.shape[1]] = torch.from_numpy(self._offsets[index])
        hot = torch.from_numpy(self._hot[index].astype(np.int64))
        return rows.scatter_(-1, hot, 1.0)


class GeneratorNetwork(nn.Module):
    """A perceptron from noise to the logits of a row, to a row as a critic reads it, and to a
    table.
    """

    def __init__(
        self, encoding: TableModes, noise: int, width: int, tau: float, rng: np.random.Generator
    ):
        super().__init__()
        self.encoding = encoding
        self._noise = noise
        self._tau = tau
        self._numbers = len(encoding.numbers)
        self.perceptron = Perceptron([noise, width, width, encoding.size], rng)

    @torch.no_grad()
    def start_from(self, table: pd.DataFrame, rng: np.random.Generator) -> None:
        """Draw codes as often as `table` has them, before any training."""
        _, codes = self.encoding.encode(table, rng)
        counts = [
            np.bincount(column, minlength=size)
            for column, size in zip(codes.T, self.encoding.sizes, strict=True)
        ]
        log_shares = np.log(np.concatenate(counts) / len(table) + 1e-9)
        # The last layer's bias alone decides while its weights say little: a good start without
        # looking at any pair of columns.
        last_bias = self.perceptron.linear[-1].bias
        last_bias[0, self._numbers :] += torch.from_numpy(log_shares).float()

    def _parts(self, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Offsets, shape (n, numbers), and noisy logits of every column, shape (n, its size)."""
        output = self.perceptron(normal(rng, n, self._noise))
        offsets = output[:, : self._numbers].tanh()
        logits = output[:, self._numbers :]
        # The same noise whether the softmax is soft, for gradients, or hard, for a table.
        noisy = logits + gumbel(rng, *logits.shape)
        return offsets, list(noisy.split(self.encoding.sizes, dim=1))

    def forward(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """Made rows, shape (n, size), through which gradients flow."""
        offsets, blocks = self._parts(n, rng)
        # Soft, because nothing could be learnt through a hard choice.
        soft = [(block / self._tau).softmax(dim=1) for block in blocks]
        return torch.cat([offsets, *soft], dim=1)

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """A table of n rows: of each column the code whose noisy logit is the largest."""
        offsets, codes = [], []
        for start in range(0, n, CHUNK):
            part, blocks = self._parts(min(CHUNK, n - start), rng)
            offsets.append(part)
            codes.append(torch.stack([block.argmax(dim=1) for block in blocks], dim=1))
        return self.encoding.decode(torch.cat(offsets).numpy(), torch.cat(codes).numpy(), rng)


class Perceptron(nn.Module):
    """Leaky hidden layers and a linear one. With `copies`, as many networks of their own: rows have
    that axis in front.
    """

    def __init__(self, sizes: list[int], rng: np.random.Generator, copies: tuple[int, ...] = ()):
        super().__init__()
        pairs = pairwise(sizes)
        self.linear = nn.ModuleList([CopiedLinear(*pair, rng, copies) for pair in pairs])

    def layers(self, rows: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What goes into each linear layer, and what comes out of it."""
        # Kept for private steps, which need each layer's input and output to know a row's gradient.
        passed = []
        for linear in self.linear:
            output = linear(rows)
            passed.append((rows, output))
            rows = F.leaky_relu(output, 0.2)
        return passed

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        _, last_output = self.layers(rows)[-1]
        return last_output


class CopiedLinear(nn.Module):
    """Linear layers side by side, one for each of `copies`, that do not know of each other."""

    def __init__(
        self, inputs: int, outputs: int, rng: np.random.Generator, copies: tuple[int, ...]
    ):
        super().__init__()
        # He's bound for a hidden layer keeps the size of what passes; the last has torch's own.
        bound = (3 / inputs) ** 0.5 if outputs > 1 else inputs**-0.5
        self.weight = nn.Parameter(uniform(rng, bound, *copies, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(*copies, 1, outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.weight + self.bias
