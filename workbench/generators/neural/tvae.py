"""TVAE: an encoder sends rows to a normal cloud, a decoder brings them back, and new rows are
decoded from the cloud.

Xu, Skoularidou, Cuesta-Infante and Veeramachaneni 2019, arXiv:1907.00503, section 4.6; Kingma and
Welling 2014. Numbers are normalised within modes as in CTGAN; the decoder's output is a normal
offset of learned deviation and a softmax over the modes of each number, and a softmax over the
levels of each label. It trains faster and more steadily than CTGAN, but has no condition to keep
rare labels in the game, and `where` is met by rejection alone.

As in the paper, what a softmax gives is drawn; the ctgan package takes its largest entry instead,
which loses rare labels. As in the package, reconstruction counts twice. Where this differs from
both: missing numbers are a mode, missing labels a level, labels beyond `max_levels` share one, a
value that many rows share is a mode of its own, and small tables have smaller batches. CUDA is used
where there is one (never tested).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn

from workbench.generators import check_least
from workbench.generators.neural.layers import (
    DEVICE,
    Adam,
    Blocks,
    Linear,
    OneHotLinear,
    normal,
)
from workbench.generators.neural.modes import TableModes
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import sample_matching
from workbench.tables.schema import Schema

CHUNK = 8192  # most rows that are drawn at once


@dataclass
class TVAE:
    """Variational autoencoder on mode-specific normalised rows."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epochs: int = 300
    """Passes over the table."""
    seconds: float | None = None
    """Train no longer than this; every step is timed, so training may end within an epoch."""
    batch_size: int = 500
    """Most rows a step; fewer where an epoch would have less than 10 steps."""
    embedding: int = 128
    """Dimensions of the normal cloud."""
    width: int = 128
    """Units in each of the two hidden layers of the encoder, and of the decoder."""
    learning_rate: float = 1e-3
    """Of Adam with betas (0.9, 0.999)."""
    weight_decay: float = 1e-5
    """Of Adam."""
    loss_factor: float = 2.0
    """Weight of the reconstruction beside the divergence from the normal cloud."""
    modes: int = 10
    """Most modes of a column of numbers."""
    min_mode_weight: float = 0.005
    """Modes of no more weight than this are dropped."""
    max_levels: int = 500
    """Most levels of a label column; the rarest labels share one."""

    def __post_init__(self):
        check_least(
            self, epochs=1, batch_size=1, embedding=1, width=1, learning_rate=1e-12, weight_decay=0
        )
        check_least(self, loss_factor=0, modes=1, min_mode_weight=0, max_levels=2)

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> TVAE:
        """Raises Diverged where a loss is no longer finite. Weights depend on rng and on torch's
        number of threads.
        """
        self._schema = schema
        self._encoding = TableModes(
            table, schema, self.modes, self.min_mode_weight, self.max_levels
        )
        offsets, codes = self._encoding.encode(table, rng)
        # Where offsets and one-hot blocks lie in a row; encoder and decoder share it.
        blocks = Blocks(self._encoding.sizes, offsets.shape[1])
        self._network = network = Autoencoder(blocks, self.width, self.embedding, rng).to(DEVICE)
        all_offsets = torch.from_numpy(offsets).to(DEVICE)
        all_hot = torch.from_numpy(codes + blocks.starts).to(DEVICE)
        parameters = list(network.parameters())
        adam = Adam(parameters, self.learning_rate, self.weight_decay, betas=(0.9, 0.999))
        # torch's own normal numbers come twice as fast as numpy's.
        normals = torch.Generator(DEVICE).manual_seed(int(rng.integers(2**63)))

        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        # At least ten steps an epoch, however small the table.
        size = min(self.batch_size, max(len(table) // 10, 1))
        for _ in self.trained:
            batches = torch.from_numpy(rng.permutation(len(table))).to(DEVICE).split(size)
            losses = torch.zeros((), device=DEVICE)
            for step in self.trained.steps(len(batches)):
                rows = batches[step]
                reconstruction, divergence = network.losses(
                    all_offsets[rows], all_hot[rows], normals
                )
                # Sums over the batch, so that the rate means the same for every batch size.
                loss = (self.loss_factor * reconstruction + divergence) / len(rows)
                adam.step(torch.autograd.grad(loss, parameters))
                # As in the ctgan package: a deviation near zero would let one column rule the loss.
                with torch.no_grad():
                    network.deviations.clamp_(0.01, 1.0)
                losses += loss.detach()
            self.trained.check_rate(float(losses), "tvae", self.learning_rate)
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        # A wanted label that shares a code with others is put in by name.
        requested = self._encoding.requested(where or {})

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            offsets, codes = [], []
            for start in range(0, size, CHUNK):
                part = self._network.draw(min(CHUNK, size - start), rng)
                offsets.append(part[0])
                codes.append(part[1])
            return self._encoding.decode(
                np.concatenate(offsets), np.concatenate(codes), rng, requested
            )

        return sample_matching(draw, n, rng, self._schema, where)


class Autoencoder(nn.Module):
    """The encoder sends a row to a normal distribution in the cloud, the decoder a point of the
    cloud to the distribution of a row (Xu et al. 2019, section 4.6).
    """

    def __init__(self, blocks: Blocks, width: int, embedding: int, rng: np.random.Generator):
        super().__init__()
        self._blocks = blocks
        self._embedding = embedding
        # A row's one-hot entries are given by their places: no product with zeros is made.
        bound = blocks.size**-0.5
        self.encode_offsets = Linear(blocks.numbers, width, rng, bound)
        self.encode_codes = OneHotLinear(blocks.size, width, rng, bound)
        self.encoder = nn.Sequential(
            nn.ReLU(),
            Linear(width, width, rng),
            nn.ReLU(),
            Linear(width, 2 * embedding, rng),
        )
        self.decoder = nn.Sequential(
            Linear(embedding, width, rng),
            nn.ReLU(),
            Linear(width, width, rng),
            nn.ReLU(),
            Linear(width, blocks.size, rng),
        )
        self.deviations = nn.Parameter(torch.full((blocks.numbers,), 0.1))

    def losses(
        self, offsets: torch.Tensor, hot: torch.Tensor, normals: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over rows: minus the log-likelihood of the rows at drawn points of the cloud (but
        for a constant), and the divergence of their distributions there from the normal cloud.

        offsets: shape (n, numbers). hot: places of the ones, shape (n, columns).
        """
        hidden = self.encode_offsets(offsets) + self.encode_codes(hot)
        mean, log_variance = self.encoder(hidden).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=normals, device=mean.device)
        # The noise comes from outside, so that gradients pass through mean and variance (Kingma and
        # Welling's reparameterisation).
        point = mean + (log_variance / 2).exp() * noise
        reconstruction = self.reconstruction(self.decoder(point), offsets, hot)
        # Of two normal distributions, in closed form.
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2
        return reconstruction, divergence

    def reconstruction(
        self, output: torch.Tensor, offsets: torch.Tensor, hot: torch.Tensor
    ) -> torch.Tensor:
        """Minus the log-likelihood of rows under the decoder's output, but for a constant."""
        numbers = self._blocks.numbers
        distance = (output[:, :numbers].tanh() - offsets) / self.deviations
        of_offsets = distance.square().sum() / 2 + len(offsets) * self.deviations.log().sum()
        # Columns first, in which a softmax over blocks is ten times as fast.
        log_chances = self._blocks.log_softmax(output[:, numbers:].T)
        of_codes = -log_chances.gather(0, hot.T - numbers).sum()
        return of_offsets + of_codes

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Offsets, shape (n, numbers), and codes, shape (n, columns), from points of the cloud."""
        numbers = self._blocks.numbers
        point = normal(rng, n, self._embedding).to(self.deviations.device)
        output = self.decoder(point).cpu()
        # The decoder gives a distribution, and rows are drawn from it; its mean alone would be too
        # narrow.
        noise = self.deviations.cpu() * normal(rng, n, numbers)
        offsets = (output[:, :numbers].tanh() + noise).clamp(-1, 1)
        codes = self._blocks.draw(output[:, numbers:].T, rng)
        return offsets.numpy(), codes
