"""A causal transformer over the columns of a coded table, and its optimiser.

Vaswani et al. 2017 with the normalisation before each block; every column has codes, logits and a
position of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from workbench.generators.neural.layers import DEVICE, normal, random

if TYPE_CHECKING:
    from workbench.generators.neural.autoregressive import AutoregressiveTransformer

RARE = 500  # train rows at which a number's code says as much by itself as with its neighbours


class Network:
    """The transformer as a function of one flat vector of weights. Position j sees the columns
    before j and predicts j.
    """

    def __init__(
        self,
        codes: torch.Tensor,
        sizes: Sequence[int],
        numbers: Sequence[bool],
        settings: AutoregressiveTransformer,
    ):
        """codes: of the train table; sizes: how many each column has; numbers: which columns are
        numbers.
        """
        self.settings, self._ends, width = settings, np.cumsum([0, *sizes]), settings.width
        # Without what the weights add, every column has its train shares; codes that train lacks
        # stay impossible.
        per_column = [
            torch.bincount(column.long(), minlength=size)
            for column, size in zip(codes.T, sizes, strict=True)
        ]
        counts, column = torch.cat(per_column), np.repeat(np.arange(len(sizes)), sizes)
        self._shares, self._column = (
            (counts / len(codes)).log(),
            torch.tensor(column, device=DEVICE),
        )
        self._first = torch.tensor(self._ends[:-1], device=DEVICE)
        # A number's code has a say of its own where train holds it often; a rare one says what its
        # neighbours say.
        self._own = torch.where(
            torch.tensor(np.array(numbers)[column], device=DEVICE), counts / (counts + RARE), 1.0
        )[:, None]
        places, knots = _places(sizes, numbers, settings.knots)
        self._low, self._between = (
            places.long().to(DEVICE),
            places.frac().float()[:, None].to(DEVICE),
        )
        self._scores = torch.cat(
            [_scores(*both) for both in zip(per_column, numbers, strict=True)]
        )[:, :, None]
        blocks = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        tables = [(len(counts), width), (knots, width), (len(sizes), 2, width)]
        self._shapes = [
            *tables,
            *tables,
            (len(counts),),
            (len(sizes), width),
            *blocks * settings.layers,
        ]

    def initial(self, rng: np.random.Generator) -> torch.Tensor:
        scales = [
            0.2,
            0.5,
            0.5,
            0.0,
            0.0,
            0.0,
            0.0,
            0.5,
            *(shape[0] ** -0.5 for shape in self._shapes[8:]),
        ]
        drawn = [
            normal(rng, *shape).flatten() * scale
            for shape, scale in zip(self._shapes, scales, strict=True)
        ]
        return torch.cat(drawn).to(DEVICE)

    def parts(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """What each code says, what makes it likely, the codes' and the positions' biases, and four
        matrices a block.
        """
        parts = weights.split([int(np.prod(shape)) for shape in self._shapes])
        parts = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return [
            self._vectors(*parts[:3]),
            self._vectors(*parts[3:6]),
            parts[6] + self._shares,
            *parts[7:],
        ]

    def _vectors(
        self, own: torch.Tensor, knots: torch.Tensor, curves: torch.Tensor
    ) -> torch.Tensor:
        """A vector for each code: its own, between those of two knots, and along a parabola of its
        normal score.
        """
        low, high = (
            F.embedding(index, knots)
            for index in (self._low, (self._low + 1).clamp(max=len(knots) - 1))
        )
        return (
            own * self._own
            + torch.lerp(low, high, self._between)
            + (self._scores * curves[self._column]).sum(1)
        )

    def cache(self, rows: int, positions: int) -> torch.Tensor:
        """Room for the keys and values of every block."""
        heads, width = self.settings.heads, self.settings.width
        return torch.empty(
            self.settings.layers, 2, rows, heads, positions, width // heads, device=DEVICE
        )

    def hidden(
        self,
        parts: list[torch.Tensor],
        codes: torch.Tensor,
        rng: np.random.Generator | None = None,
        cache: torch.Tensor | None = None,
        seen: int = 0,
    ) -> torch.Tensor:
        """What predicts the columns from position `seen` to the one after `codes`, shape (rows,
        positions, width).

        codes: the first columns of the rows, shape (rows, k). rng: for dropout, in training only.
        cache: of the `seen` positions before, 0 or k of them, and filled with these.
        """
        said, _, _, columns, *blocks = parts
        width, end = said.shape[1], codes.shape[1] + 1
        states = F.embedding(
            codes[:, max(seen - 1, 0) :] + self._first[max(seen - 1, 0) : end - 1], said
        )
        if not seen:
            states = F.pad(states, (0, 0, 1, 0))  # nothing comes before the first column
        states = states + columns[seen:end]
        for layer, (look, merge, widen, narrow) in enumerate(zip(*[iter(blocks)] * 4, strict=True)):
            split = (F.layer_norm(states, (width,)) @ look).unflatten(
                2, (3, self.settings.heads, -1)
            )
            query, key, value = split.permute(2, 0, 3, 1, 4)
            if cache is not None:
                cache[layer, 0, :, :, seen:end], cache[layer, 1, :, :, seen:end] = key, value
                key, value = cache[layer, :, :, :, :end]
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=not seen)
            states = states + self._drop(mixed.transpose(1, 2).flatten(2) @ merge, rng)
            states = states + self._drop(
                (F.layer_norm(states, (width,)) @ widen).relu() @ narrow, rng
            )
        return F.layer_norm(states, (width,))

    def _drop(self, states: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
        share = self.settings.dropout
        return (
            states
            if rng is None or not share
            else states * (random(rng, *states.shape) >= share).to(DEVICE) / (1 - share)
        )

    def logits(
        self, parts: list[torch.Tensor], hidden: torch.Tensor, position: int
    ) -> torch.Tensor:
        """Of the codes of the column at a position, shape (rows, size)."""
        own = slice(self._ends[position], self._ends[position + 1])
        return torch.addmm(parts[2][own], hidden, parts[1][own].T)

    def losses(
        self, weights: torch.Tensor, codes: torch.Tensor, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """Minus the log probability of each row, shape (rows,)."""
        parts, codes = self.parts(weights), codes.long()
        hidden = self.hidden(parts, codes[:, :-1], rng)
        logits = (self.logits(parts, hidden[:, j], j) for j in range(codes.shape[1]))
        losses = [
            F.cross_entropy(logit, column, reduction="none")
            for logit, column in zip(logits, codes.T, strict=True)
        ]
        return torch.stack(losses).sum(0)


def _places(sizes: Sequence[int], numbers: Sequence[bool], knots: int) -> tuple[torch.Tensor, int]:
    """Where each code lies among all knots, and how many those are.

    A number's codes lie evenly on its knots; missing has one of its own, and so have labels, one a
    column.
    """
    places, count = [], 0
    for size, number in zip(sizes, numbers, strict=True):
        own = min(knots, (size - 1) // 2) if number else 1
        places += (
            [count + np.linspace(0, max(own - 1, 0), size - 1), [count + own]]
            if own > 1
            else [np.full(size, count)]
        )
        count += own + 1
    return torch.from_numpy(np.concatenate(places).astype(float)), count


def _scores(counts: torch.Tensor, is_number: bool) -> torch.Tensor:
    """The normal score of each code of a number, and half its square less one, shape (size, 2);
    zeros for other codes.
    """
    if not is_number:
        return torch.zeros(len(counts), 2, device=DEVICE)
    present = counts[:-1].double()
    score = torch.special.ndtri(
        (present.cumsum(0) - present / 2) / present.sum().clamp(min=1)
    ).clamp(-4, 4)
    return F.pad(torch.stack([score, (score**2 - 1) / 2], dim=1), (0, 0, 0, 1)).float()
