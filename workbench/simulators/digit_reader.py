"""A small convolutional network that reads 8 x 8 digits: trained on drawn ones, fine-tuned on real
ones.

Two blocks of 3 x 3 convolutions with batch normalisation (Ioffe and Szegedy 2015), a linear layer;
AdamW, a cosine schedule, smoothed labels (Szegedy et al. 2016), and the running average of the
weights is what reads (Polyak and Juditsky 1992).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Reader:
    """Reads digits; `fit` again on other images goes on from the weights it has: that is
    fine-tuning.
    """

    width: int = 16
    """Channels of the first convolution; the others have twice as many"""
    rate: float = 4e-3
    """Highest learning rate"""
    decay: float = 0.02
    """Weight decay"""
    smoothing: float = 0.05
    """Share of each label that is spread over all digits"""
    batch: int = 128
    """Images a step"""
    shift: float = 0.5
    """Probability that an image of a batch is moved by one pixel, in a direction of its own"""
    threads: int = 1
    """Threads of the processor: their number changes a result's last bits"""

    network: nn.Module | None = None

    def fit(
        self,
        images: np.ndarray,
        digits: np.ndarray,
        steps: int,
        rng: np.random.Generator,
        rate: float | None = None,
    ):
        """Train for `steps` batches on images, shape (n, 8, 8), values 0..16, and their digits;
        returns itself.
        """
        pixels, labels = _pixels(images), torch.from_numpy(digits.astype(np.int64))
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            self.network = self._train(pixels, labels, steps, rate or self.rate, rng)
        finally:
            torch.set_num_threads(before)
        return self

    def _train(
        self,
        pixels: torch.Tensor,
        labels: torch.Tensor,
        steps: int,
        rate: float,
        rng: np.random.Generator,
    ) -> nn.Module:
        network = deepcopy(self.network) if self.network is not None else _network(self.width, rng)
        average = deepcopy(network).eval()
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=self.decay)
        network.train()
        order = np.empty(0, dtype=int)
        for step in range(steps):
            while len(order) < self.batch:
                order = np.concatenate([order, rng.permutation(len(labels))])
            chosen, order = order[: self.batch], order[self.batch :]
            x = self._moved(pixels[chosen], rng)
            loss = F.cross_entropy(network(x), labels[chosen], label_smoothing=self.smoothing)
            for group in optimizer.param_groups:
                group["lr"] = (
                    rate * min(1.0, (step + 1) / (0.1 * steps)) * (1 + cos(pi * step / steps)) / 2
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            keep = min(0.99, step / (step + 10))
            with torch.no_grad():
                for mean, now in zip(
                    average.state_dict().values(), network.state_dict().values(), strict=True
                ):
                    mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)
        return average

    def _moved(self, pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        wide = F.pad(pixels, (1, 1, 1, 1))
        moves = np.where(
            rng.random((len(pixels), 1)) < self.shift, rng.integers(3, size=(len(pixels), 2)), 1
        )
        rows, columns = (torch.from_numpy(moves[:, i, None] + np.arange(8)) for i in range(2))
        return wide[
            torch.arange(len(pixels))[:, None, None], 0, rows[:, :, None], columns[:, None, :]
        ][:, None]

    @torch.no_grad()
    def read(self, images: np.ndarray) -> np.ndarray:
        """The digits read in images, shape (n, 8, 8)."""
        return self.network(_pixels(images)).argmax(dim=1).numpy()

    def accuracy(self, images: np.ndarray, digits: np.ndarray) -> float:
        """The share of digits that are read as they are, 0..1."""
        return float((self.read(images) == digits).mean())


def _pixels(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images[:, None].astype(np.float32) / 8 - 1)


def _network(width: int, rng: np.random.Generator) -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    # Torch draws first weights from its global generator: seed it, and put it back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        layers = [
            *block(1, width),
            *block(width, 2 * width),
            nn.MaxPool2d(2),
            *block(2 * width, 2 * width),
        ]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 16, 10))
