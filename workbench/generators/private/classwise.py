"""Rows of bins by class: noisy tables of every column beside the target, and a network that starts
from them and may join the columns.

On its own it is naive Bayes: columns that know nothing of each other, given the class. Whatever a
private generator learns besides is what it is worth beyond this base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from workbench.generators.neural.gan import CHUNK, Perceptron
from workbench.generators.neural.layers import gumbel, normal
from workbench.generators.private.domain import Cells
from workbench.generators.private.marginals import Columns, shares
from workbench.generators.private.noise import Noise
from workbench.generators.private.tables import NoisyTables
from workbench.generators.rejection import SampledByRejection
from workbench.tables.schema import Schema

LEAST_SHARE = 1e-6  # of a state in a class, so that its logarithm is finite


@dataclass(frozen=True)
class ByClass:
    """What is known of the columns by class, all of it noisy or public.

    columns  how codes become a table
    order    the columns, the target first where there is one
    classes  each class's share, shape (classes,)
    given    for each other column its shares by class, shape (classes, size of the column)
    """

    columns: Columns
    order: list[int]
    classes: np.ndarray
    given: list[np.ndarray]

    def decode(self, codes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A table from codes in this order, where a column may have been put in front for classes
        of a table without a target.
        """
        # Back to the columns' own order, without the class that was made up for a table that has
        # none.
        places = np.argsort(self.order)
        return self.columns.decode(codes[:, places + codes.shape[1] - len(places)], rng)

    def codes(self, states: np.ndarray) -> np.ndarray:
        """Rows' bins in this order, the class first, shape (rows, 1 + len(given))."""
        binned = self.columns.bin(states)[:, self.order]
        # There is a target, and it stands first already.
        if len(self.order) > len(self.given):
            return binned
        return np.column_stack([np.zeros(len(binned), dtype=binned.dtype), binned])


class RowNetwork(nn.Module):
    """A perceptron from noise and a class to the logits of the other columns' bins, added to those
    of the tables it starts from.
    """

    def __init__(
        self, known: ByClass, noise: int, width: int, tau: float, rng: np.random.Generator
    ):
        super().__init__()
        self._noise, self._tau = noise, tau
        self._classes = np.cumsum(known.classes / known.classes.sum())
        self.sizes = [len(known.classes), *(table.shape[1] for table in known.given)]
        # A share of zero would be a logit of minus infinity, which no training could move.
        start = np.log(np.concatenate([np.maximum(t, LEAST_SHARE) for t in known.given], axis=1))
        self.register_buffer("tables", torch.from_numpy(start).float())
        self.register_buffer("start", self.tables.clone())
        inputs = noise + self.sizes[0]
        self.perceptron = Perceptron([inputs, width, width, start.shape[1]], rng)
        # At first every row is drawn from the tables alone.
        nn.init.zeros_(self.perceptron.linear[-1].weight)

    def logits(self, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes, shape (n,), and the logits of all other columns, shape (n, their sizes)."""
        # Just below 1: the shares may sum to a little less than one.
        drawn = np.searchsorted(self._classes, rng.random(n) * (1 - 1e-9), side="right")
        classes = torch.from_numpy(drawn)
        hot = torch.nn.functional.one_hot(classes, self.sizes[0]).float()
        moved = self.perceptron(torch.cat([normal(rng, n, self._noise), hot], dim=1))
        return classes, moved + self.start[classes]

    def forward(self, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Made rows, one-hot, shape (n, all sizes), and the shares they were drawn with.

        Rows are hard, as real ones are; gradients flow as if they were soft (Jang et al. 2017).
        """
        classes, logits = self.logits(n, rng)
        hot = torch.nn.functional.one_hot(classes, self.sizes[0]).float()
        noisy = logits + gumbel(rng, *logits.shape)
        parts = [hot]
        for block in noisy.split(self.sizes[1:], dim=1):
            soft = (block / self._tau).softmax(dim=1)
            # Hard in value, soft in gradient: the straight-through form.
            hard = torch.zeros_like(soft).scatter_(1, block.argmax(dim=1, keepdim=True), 1.0)
            parts.append(hard + soft - soft.detach())
        # The shares without noise are what the margins are held to.
        plain = [block.softmax(dim=1) for block in logits.split(self.sizes[1:], dim=1)]
        return torch.cat(parts, dim=1), torch.cat([hot, *plain], dim=1)

    def margin_loss(self, drawn_shares: torch.Tensor) -> torch.Tensor:
        """How far a batch's shares by class are from the tables: the divergence of Kullback and
        Leibler, of all columns together, weighed by the classes' shares in the batch.
        """
        hot, plain = drawn_shares[:, : self.sizes[0]], drawn_shares[:, self.sizes[0] :]
        # A class that this batch happens to lack says nothing, and weighs nothing.
        counts = hot.sum(dim=0)
        means = (hot.T @ plain) / counts.clamp(min=1)[:, None]
        lost = self.tables.exp() * (self.tables - means.clamp(min=LEAST_SHARE).log())
        return (lost.sum(dim=1) * counts).sum() / counts.sum()

    @torch.no_grad()
    def calibrate(self, rng: np.random.Generator, rounds: int = 5, rows: int = 2000) -> None:
        """Move the start so that every class has the shares of the tables again, which training
        has moved (iterative proportional fitting, on rows drawn for it).
        """
        # Post-processing of noisy tables: no row is looked at, so it costs no budget.
        for label in range(self.sizes[0]):
            hot = torch.zeros(rows, self.sizes[0])
            hot[:, label] = 1.0
            moved = self.perceptron(torch.cat([normal(rng, rows, self._noise), hot], dim=1))
            for _ in range(rounds):
                blocks = (moved + self.start[label]).split(self.sizes[1:], dim=1)
                means = torch.cat([block.softmax(dim=1).mean(dim=0) for block in blocks])
                self.start[label] += self.tables[label] - means.clamp(min=LEAST_SHARE).log()

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Codes of n rows, the class first, shape (n, columns)."""
        codes = []
        for first in range(0, n, CHUNK):
            classes, logits = self.logits(min(CHUNK, n - first), rng)
            noisy = logits + gumbel(rng, *logits.shape)
            blocks = noisy.split(self.sizes[1:], dim=1)
            codes.append(torch.stack([classes, *(block.argmax(dim=1) for block in blocks)], dim=1))
        return torch.cat(codes).numpy()


@dataclass
class ByClassGenerator(NoisyTables, SampledByRejection):
    """A private generator that measures every column beside the target, and then trains a network
    of rows that starts from these tables.
    """

    def _measure_by_class(
        self, schema: Schema, cells: Cells, states: np.ndarray, rho: float, noise: Noise
    ) -> ByClass:
        """Histograms for 4 parts in 9 of rho, tables with the target for the rest; histograms alone
        where there is no target or no other column.
        """
        # A table's count moves by one row in both of its columns, so tables get a little more than
        # the histograms.
        count, target = len(schema.columns), None
        if schema.target is not None and count > 1:
            target = schema.names.index(schema.target.name)
        single = rho if target is None else rho * 4 / 9
        columns = self._measure_columns(cells, states, single, noise)
        if target is None:
            given = [shares(counts[None, :]) for counts in columns.singles]
            return ByClass(columns, list(range(count)), np.ones(1), given)
        tables = self._measure_with_target(
            columns, columns.bin(states), target, rho - single, noise
        )
        given = [shares(table) for table in tables.values()]
        return ByClass(columns, [target, *tables], columns.singles[target], given)

    def _keep(self, known: ByClass, network: RowNetwork) -> None:
        """What rows are drawn from, from now on."""
        self._known, self._network = known, network

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        return self._known.decode(self._network.draw(n, rng), rng)


def one_hot(codes: np.ndarray, sizes: list[int]) -> torch.Tensor:
    """Rows of codes as float32 blocks of each column's size, one axis more."""
    first = np.cumsum(sizes) - sizes
    rows = torch.zeros(*codes.shape[:-1], sum(sizes))
    return rows.scatter_(-1, torch.from_numpy((codes + first).astype(np.int64)), 1.0)
