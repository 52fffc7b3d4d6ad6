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
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from workbench.generators import check_least
from workbench.generators.neural.layers import DEVICE, Adam, Blocks, normal, uniform
from workbench.generators.neural.modes import TableModes
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import sample_matching
from workbench.tables.schema import Schema


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

    @torch.no_grad()
    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> TVAE:
        """Raises Diverged where a loss is no longer finite. Weights depend on rng and on torch's
        number of threads.
        """
        self._schema = schema
        self._encoding = TableModes(
            table, schema, self.modes, self.min_mode_weight, self.max_levels
        )
        offsets, codes = self._encoding.encode(table, rng)
        self._blocks = blocks = Blocks(self._encoding.sizes, offsets.shape[1])
        offsets, hot = (
            torch.from_numpy(offsets).to(DEVICE),
            torch.from_numpy(codes + blocks.starts).to(DEVICE),
        )
        encoder = Network([blocks.size, self.width, self.width, 2 * self.embedding], rng)
        self._decoder = decoder = Network(
            [self.embedding, self.width, self.width, blocks.size], rng
        )
        self._deviations = torch.full((blocks.numbers, 1), 0.1, device=DEVICE)
        parameters = [*encoder.parameters, *decoder.parameters, self._deviations]
        normals = torch.Generator(DEVICE).manual_seed(
            int(rng.integers(2**63))
        )  # twice as fast as numpy's
        adam = Adam(parameters, self.learning_rate, self.weight_decay, betas=(0.9, 0.999))

        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        size = min(self.batch_size, max(len(table) // 10, 1))
        for _ in self.trained:
            batches = torch.from_numpy(rng.permutation(len(table))).to(DEVICE).split(size)
            for step in self.trained.steps(len(batches)):
                rows = batches[step]
                x, ones = offsets[rows].T, hot[rows]
                mean, log_variance = encoder(x, ones).chunk(2)
                deviation, noise = (
                    (log_variance / 2).exp(),
                    torch.randn(mean.shape, generator=normals, device=DEVICE),
                )
                output = decoder(torch.addcmul(mean, deviation, noise))

                # The gradient of the loss: reconstruction, and the divergence (mean^2 + variance -
                # log variance - 1) / 2.
                slope, deviations_slope = self._slopes(output, x, ones)
                weight = self.loss_factor / len(rows)
                pull, decoder_gradients = decoder.gradients(slope.mul_(weight))
                variance_pull = (
                    (pull * noise)
                    .add_(deviation, alpha=1 / len(rows))
                    .mul_(deviation)
                    .sub_(1 / len(rows))
                    .div_(2)
                )
                mean_pull = pull.add_(mean, alpha=1 / len(rows))
                _, encoder_gradients = encoder.gradients(torch.cat([mean_pull, variance_pull]))
                adam.step([*encoder_gradients, *decoder_gradients, weight * deviations_slope])
                self._deviations.clamp_(0.01, 1.0)
            loss = float(
                self._reconstruction(output, x, ones)
                + mean.square().sum()
                + deviation.square().sum()
            )
            self.trained.check(
                loss,
                "tvae",
                f"the learning rate {self.learning_rate:g} is too large for this table",
            )
        return self

    def _reconstruction(
        self, output: torch.Tensor, offsets: torch.Tensor, hot: torch.Tensor
    ) -> torch.Tensor:
        """Minus the log-likelihood of rows, but for a constant."""
        numbers = self._blocks.numbers
        chances = self._blocks.softmax(output[numbers:]).gather(0, hot.T - numbers).clamp(min=1e-30)
        distance = (output[:numbers].tanh() - offsets) / self._deviations
        return (
            distance.square().sum() / 2
            + offsets.shape[1] * self._deviations.log().sum()
            - chances.log().sum()
        )

    def _slopes(
        self, output: torch.Tensor, offsets: torch.Tensor, hot: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient of `_reconstruction` at `output` and at the deviations."""
        mean = output[: self._blocks.numbers].tanh()
        distance = (mean - offsets) / self._deviations
        chances = self._blocks.softmax(output[len(mean) :])
        slope = torch.cat([distance / self._deviations * (1 - mean.square()), chances])
        slope.scatter_add_(0, hot.T, torch.full(hot.T.shape, -1.0, device=hot.device))
        return slope, ((1 - distance.square()) / self._deviations).sum(dim=1, keepdim=True)

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        asked = self._encoding.asked(where or {})

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            offsets, codes = zip(
                *(self._draw(min(8192, size - start), rng) for start in range(0, size, 8192)),
                strict=True,
            )
            return self._encoding.decode(np.concatenate(offsets), np.concatenate(codes), rng, asked)

        return sample_matching(draw, n, rng, self._schema, where)

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        output, numbers = (
            self._decoder(normal(rng, self.embedding, n).to(DEVICE)).cpu(),
            self._blocks.numbers,
        )
        offsets = output[:numbers].tanh() + self._deviations.cpu() * normal(rng, numbers, n)
        return offsets.clamp(-1, 1).T.numpy(), self._blocks.draw(output[numbers:], rng)


class Network:
    """Linear layers with rectifiers between them, started as torch.nn.Linear starts them; rows are
    columns, shape (sizes, n).

    As in CTGAN's critic, gradients are written out: they are products of weights, inputs and
    slopes.
    """

    def __init__(self, sizes: list[int], rng: np.random.Generator):
        self.parameters = []
        for inputs, outputs in pairwise(sizes):
            shapes = (inputs, outputs), (outputs, 1)
            self.parameters += [uniform(rng, inputs**-0.5, *shape).to(DEVICE) for shape in shapes]

    def __call__(self, x: torch.Tensor, hot: torch.Tensor | None = None) -> torch.Tensor:
        """With `hot`, shape (n, columns), x has the first inputs alone; the others are one-hot:
        their part is a sum of rows.
        """
        self._hot, self._inputs = hot, []
        for weight, bias in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            x = x.relu_() if self._inputs else x
            self._inputs.append(x)
            if hot is not None and len(self._inputs) == 1:
                bias = F.embedding_bag(hot, weight, mode="sum").T + bias
            x = torch.addmm(bias, weight[: len(x)].T, x)
        return x

    def gradients(self, slope: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """From the loss's gradient at the last outputs: its gradient at the first inputs, and for
        each parameter.
        """
        gradients = []
        for i, (weight, x) in reversed(
            list(enumerate(zip(self.parameters[::2], self._inputs, strict=True)))
        ):
            if i or self._hot is None:
                gradient = x @ slope.T
            else:
                gradient = torch.zeros_like(weight)
                gradient.index_add_(
                    0,
                    self._hot.flatten(),
                    slope.T.contiguous().repeat_interleave(self._hot.shape[1], dim=0),
                )
                gradient[: len(x)] = x @ slope.T
            gradients[:0] = [gradient, slope.sum(dim=1, keepdim=True)]
            if i or self._hot is None:
                slope = weight @ slope
            if i:
                slope *= x.sign()
        return slope, gradients
