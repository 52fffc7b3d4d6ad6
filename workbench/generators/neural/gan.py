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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from workbench.generators import check_least
from workbench.generators.neural.layers import Adam, gumbel, normal, uniform
from workbench.generators.neural.modes import TableModes
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import sample_matching
from workbench.tables.encode import Marginal
from workbench.tables.schema import Schema


@dataclass
class GAN:
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
        rows = Rows(TableModes(table, schema, 1, 0.0, self.max_levels, number=Bounded), table, rng)
        self._maker = Maker(rows.encoding, self.noise, self.width, self.tau, rng)
        critic = Perceptron([rows.size, self.width, self.width, 1], rng)
        maker_adam, critic_adam = (
            Adam(self._maker.parameters, self.learning_rate),
            Adam(critic.parameters, self.learning_rate),
        )

        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for _ in self.trained:
            losses = torch.zeros(())
            for _ in self.trained.steps(max(len(table) // self.batch_size, 1)):
                real = rows.take(rng.integers(len(table), size=self.batch_size))
                fake = self._maker(self.batch_size, rng)
                critic_loss = (
                    F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
                )
                critic_adam.step(torch.autograd.grad(critic_loss, critic.parameters))
                maker_loss = F.softplus(-critic(fake)).mean()
                maker_adam.step(torch.autograd.grad(maker_loss, self._maker.parameters))
                losses += critic_loss.detach() + maker_loss.detach()
            self.trained.check(
                float(losses),
                "gan",
                f"the learning rate {self.learning_rate:g} is too large for this table",
            )
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        return sample_matching(self._maker.draw, n, rng, self._maker.encoding.schema, where)


class Bounded:
    """One column of numbers or dates for TableModes: its place between the bounds, in [-1, 1], and
    a flag where missing.
    """

    def __init__(self, values: np.ndarray, *_):
        self.marginal = Marginal.fit(values)
        self.low, self.high = (
            self.marginal.values[[0, -1]] if len(self.marginal.values) else (np.nan, np.nan)
        )
        self.size = bool(len(self.marginal.values)) + bool(np.isnan(values).any())

    def encode(self, values: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and codes, 0 present and the last missing, each of shape (n,)."""
        # Halved first: the distance between bounds near the largest float is infinite.
        place = np.divide(values / 2 - self.low / 2, (self.high / 2 - self.low / 2) or 1.0)
        missing = np.isnan(values)
        return np.where(missing, 0.0, np.clip(2 * place - 1, -1, 1)), np.where(
            missing, self.size - 1, 0
        )

    def decode(self, offsets: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Floats on the column's grid and within its bounds, NaN for missing, shape (n,)."""
        share = (np.asarray(offsets, dtype=float) + 1) / 2
        values = self.marginal.snap(self.low * (1 - share) + self.high * share)
        return np.where((codes > 0) | np.isnan(self.low), np.nan, values)


class Rows:
    """A table as a critic reads it: offsets first, then a one-hot block for every column; made a
    batch at a time.
    """

    def __init__(self, encoding: TableModes, table: pd.DataFrame, rng: np.random.Generator):
        self.encoding = encoding
        self._offsets, codes = encoding.encode(table, rng)
        first = len(encoding.numbers) + np.cumsum(encoding.sizes) - encoding.sizes
        self._hot = (codes + first).astype(np.int32)
        self.size = encoding.size

    def take(self, index: np.ndarray) -> torch.Tensor:
        """The rows at `index`, float32, of its shape and one axis more."""
        rows = torch.zeros(*index.shape, self.size)
        rows[..., : self._offsets.shape[1]] = torch.from_numpy(self._offsets[index])
        return rows.scatter_(-1, torch.from_numpy(self._hot[index].astype(np.int64)), 1.0)


class Maker:
    """The generator: a perceptron from noise to the logits of a row, a row as a critic reads it,
    and a table.
    """

    def __init__(
        self, encoding: TableModes, noise: int, width: int, tau: float, rng: np.random.Generator
    ):
        self.encoding, self._noise, self._tau = encoding, noise, tau
        self._numbers = len(encoding.numbers)
        self._perceptron = Perceptron([noise, width, width, encoding.size], rng)
        self.parameters = self._perceptron.parameters

    @torch.no_grad()
    def start_from(self, table: pd.DataFrame, rng: np.random.Generator) -> None:
        """Draw codes as often as `table` has them, before any training."""
        codes = self.encoding.encode(table, rng)[1].T
        counts = [
            np.bincount(code, minlength=size)
            for code, size in zip(codes, self.encoding.sizes, strict=True)
        ]
        self.parameters[-1][0, self._numbers :] += torch.from_numpy(
            np.log(np.concatenate(counts) / len(table) + 1e-9)
        ).float()

    def _parts(self, n: int, rng: np.random.Generator) -> list[torch.Tensor]:
        """Offsets, shape (n, numbers), and noisy logits of every column, shape (n, its size)."""
        logits = self._perceptron(normal(rng, n, self._noise))
        offsets, logits = logits[:, : self._numbers].tanh(), logits[:, self._numbers :]
        return [offsets, *(logits + gumbel(rng, *logits.shape)).split(self.encoding.sizes, dim=1)]

    def __call__(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """Made rows, shape (n, size), through which gradients flow."""
        offsets, *blocks = self._parts(n, rng)
        return torch.cat(
            [offsets, *((block / self._tau).softmax(dim=1) for block in blocks)], dim=1
        )

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        parts = [self._parts(min(8192, n - start), rng) for start in range(0, n, 8192)]
        offsets = torch.cat([offsets for offsets, *_ in parts])
        codes = torch.cat(
            [torch.stack([block.argmax(dim=1) for block in blocks], dim=1) for _, *blocks in parts]
        )
        return self.encoding.decode(offsets.numpy(), codes.numpy(), rng)


class Perceptron:
    """Leaky hidden layers and a linear one. With `copies`, as many networks of their own: rows have
    that axis in front.
    """

    def __init__(self, sizes: list[int], rng: np.random.Generator, copies: tuple[int, ...] = ()):
        self.parameters = []
        for inputs, outputs in pairwise(sizes):
            bound = (3 / inputs) ** 0.5 if outputs > 1 else inputs**-0.5
            self.parameters.append(uniform(rng, bound, *copies, inputs, outputs))
            self.parameters.append(torch.zeros(*copies, 1, outputs))
        for parameter in self.parameters:
            parameter.requires_grad_()

    def layers(self, rows: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What goes into each linear layer, and what comes out of it."""
        passed = []
        for weight, bias in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            passed.append((rows, rows @ weight + bias))
            rows = F.leaky_relu(passed[-1][1], 0.2)
        return passed

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layers(rows)[-1][1]
