"""DP-MERF: one noisy mean of random features of the rows is released; a generator learns to make
rows with the same mean.

Harder, Adamczewski and Park 2021, "DP-MERF: Differentially private mean embeddings with random
features for practical privacy-preserving data generation" (AISTATS, arXiv:2002.11603); random
features after Rahimi and Recht 2007. Rows are private once, however long the generator trains. The
kernel weighs what few columns say together most, so it keeps pairs by class roughly and rare
combinations hardly; mean features are all it can see, so whatever they blur is lost.

Where this differs from the paper: the embedding is of bins, one-hot, which a noisy histogram of every
column gives, instead of numbers on their scale: heavy tails and piles at one value would vanish in a
kernel of numbers. The kernel of labels, which is linear in the paper, is every column's table with the
target, and the generator starts from it and is led back to it at the end; the random features are of
all columns together. Features are rounded to whole numbers, row by row, so that the noise on their
sums is exact. On Adult at epsilon 1 and delta 1e-5 (one fit): shape error .86%, trend 5.0, AUC .901;
the tables it starts from have .75, 5.9 and .900, so the embedding buys pairs, and nothing for the
target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from workbench.errors import InputError
from workbench.generators import check_least
from workbench.generators.neural.layers import Adam
from workbench.generators.private.classwise import ByClass, ByClassGenerator, RowNetwork, one_hot
from workbench.generators.private.noise import Noise
from workbench.generators.training import Epochs, bar
from workbench.tables.schema import Schema

CHUNK = 4096  # rows whose features are computed at once
FINEST = 4096.0  # noise's deviation in units of the features' grid: larger ones are slow to draw


@dataclass
class DPMERF(ByClassGenerator):
    """A generator of rows whose random features have a privately released mean (Harder et al.
    2021).
    """

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    embedding_share: float = 0.4
    """Share of the budget for the random features; histograms have 4 parts in 9 of the rest, tables
    with the target 5.
    """
    features: int = 500
    """Random frequencies, each a cosine and a sine, for every class."""
    length: float = 2.0
    """Length scale of the kernel, in columns that differ: how many may, until rows are strangers."""
    epochs: int = 10
    """Blocks of 50 steps of the generator."""
    seconds: float | None = None
    """Train no longer than this; the release stays the same."""
    batch_size: int = 1000
    """Made rows of a step."""
    margin_weight: float = 0.3
    """Weight of the divergence from the tables that the generator starts from."""
    noise: int = 32
    """Normal inputs of the generator."""
    width: int = 128
    """Units in each of the two hidden layers of the generator."""
    learning_rate: float = 2e-3
    """Of Adam."""
    tau: float = 0.5
    """Temperature of the Gumbel softmax."""

    def __post_init__(self):
        self._check("dp-merf", **dict.fromkeys(("features", "epochs", "noise", "width"), 1))
        check_least(self, length=1e-3, batch_size=1, margin_weight=0, learning_rate=1e-9, tau=1e-3)
        if not 0 < self.embedding_share < 1:
            raise InputError(
                f"dp-merf: embedding_share is {self.embedding_share}; give a number between 0 and 1."
            )

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> DPMERF:
        """Measure tables and the mean embedding; then train, which looks at no row. Raises
        InputError where `supports` says why not, Diverged where a loss is not finite.
        """
        self._schema = schema
        domain, cells, states = self._encoded(table, schema)
        noise = self._noise()
        budget = self._start(self.epsilon, self.delta)
        # Both parts are fixed beforehand: a split by what the tables show would depend on the rows.
        released = self.embedding_share * budget
        known = self._measure_by_class(schema, cells, states, budget - released, noise)
        network = RowNetwork(known, self.noise, self.width, self.tau, rng)
        embedding = Embedding(network.sizes, self.features, self.length, rng)
        # The only look at the rows besides the tables; from here on all is post-processing.
        wanted = self._release(embedding, known, states, released, noise)
        self._promise_concentrated(self.delta, domain)

        adam = Adam(network.parameters(), self.learning_rate)
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for _ in self.trained:
            losses = torch.zeros(())
            for _ in self.trained.steps(50):
                rows, drawn_shares = network(self.batch_size, rng)
                # The squared distance of two means of features is the kernel distance of both
                # tables.
                missed = (embedding.mean(rows) - wanted).square().sum()
                loss = missed / embedding.scale + self.margin_weight * network.margin_loss(
                    drawn_shares
                )
                adam.step(torch.autograd.grad(loss, network.parameters()))
                losses += loss.detach()
            self.trained.check_rate(float(losses), "dp-merf", self.learning_rate)
        # Training moved the margins, which the tables know better than the embedding.
        network.calibrate(rng)
        self._keep(known, network)
        return self

    def _release(
        self, embedding: Embedding, known: ByClass, states: np.ndarray, rho: float, noise: Noise
    ) -> torch.Tensor:
        """The noisy mean embedding of the rows: their features' sums on a grid, with exact noise.

        A row's features have norm 1, and each is rounded by half a grid step at most; so a row
        moves the sums, in grid steps, by no more than `moved` in the 2-norm.
        """
        deviation = self._charge("mean embedding", rho)
        # The finest grid on which exact noise can still be drawn quickly.
        steps = max(float(np.floor(FINEST / deviation)), 1.0)
        moved = steps + 0.5 * (2 * embedding.features) ** 0.5
        codes = known.codes(states)
        sums = np.zeros((embedding.classes, 2 * embedding.features))
        # In chunks, or the features of all rows would fill the memory.
        for first in range(0, len(codes), CHUNK):
            chunk = codes[first : first + CHUNK]
            np.add.at(sums, chunk[:, 0], embedding.counted(chunk, steps))
        noisy = sums + noise.discrete_gaussian(deviation * moved, sums.shape)
        return torch.from_numpy(noisy / steps / known.columns.rows).float()


class Embedding:
    """Random features of one-hot rows, whose products are a Gaussian kernel of the number of
    columns that differ, kept apart by class.
    """

    def __init__(self, sizes: list[int], features: int, length: float, rng: np.random.Generator):
        self.sizes, self.features, self.classes = sizes, features, sizes[0]
        # Two rows of which m columns differ are 2m apart, squared: exp(-m / length^2).
        frequencies = rng.normal(size=(sum(sizes) - sizes[0], features)) / length
        self._frequencies = torch.from_numpy(frequencies).float()
        self.scale = 1e-3
        """What a squared distance of means is divided by, to be of the order of a divergence."""

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Features of norm 1 of rows, their class left out, shape (n, 2 features)."""
        angles = rows[:, self.classes :] @ self._frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1) / self.features**0.5

    def counted(self, codes: np.ndarray, steps: float) -> np.ndarray:
        """The features of at most CHUNK rows of codes as whole numbers of grid steps, shape (n, 2
        features). A row's numbers depend on that row alone.
        """
        # A product of matrices rounds differently for another number of rows: with one row less,
        # the others might move. So there are always as many.
        padded = np.zeros((CHUNK, codes.shape[1]), dtype=codes.dtype)
        padded[: len(codes)] = codes
        features = self.of(one_hot(padded, self.sizes)).numpy()[: len(codes)]
        # Whole numbers, row by row: only then is the noise on their sum exact.
        return np.round(features * steps)

    def mean(self, rows: torch.Tensor) -> torch.Tensor:
        """The mean of the rows' features by class, shape (classes, 2 features)."""
        return rows[:, : self.classes].T @ self.of(rows) / len(rows)
