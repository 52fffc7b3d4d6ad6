"""A causal transformer over the columns of a coded table.

Vaswani et al. 2017 with the normalisation before each block; every column has codes, logits and a
position of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workbench.generators.neural.layers import Linear, normal, random

RARE = 500  # train rows at which a number's code says as much by itself as with its neighbours


class CausalTransformer(nn.Module):
    """Position j sees the columns before j and predicts j.

    Parameters
    ----------
    codes : torch.Tensor, shape (rows, columns)
        Of the train table. Without what the weights add, every column has its train shares, and
        codes that train lacks are impossible.
    sizes : sequence of int
        How many codes each column has.
    is_number : sequence of bool
        Which columns are numbers: their codes learn from their neighbours.
    width, layers, heads, knots, dropout
        As the fields of AutoregressiveTransformer.
    rng : numpy.random.Generator
        Of the first weights.
    """

    def __init__(
        self,
        codes: torch.Tensor,
        sizes: Sequence[int],
        is_number: Sequence[bool],
        width: int,
        layers: int,
        heads: int,
        knots: int,
        dropout: float,
        rng: np.random.Generator,
    ):
        super().__init__()
        ends = np.cumsum([0, *sizes])
        self._sizes = list(sizes)
        # How often train has each code: the start from which the weights only add.
        counts = [
            torch.bincount(column.long(), minlength=size).cpu()
            for column, size in zip(codes.T, sizes, strict=True)
        ]
        self.register_buffer("_log_shares", (torch.cat(counts) / len(codes)).log())
        self.register_buffer("_first_code", torch.tensor(ends[:-1]))

        self.meaning = CodeVectors(counts, is_number, width, knots, (0.2, 0.5, 0.5), rng)
        # Zero at first: then every column has its train shares, whatever came before it.
        self.likeness = CodeVectors(counts, is_number, width, knots, (0.0, 0.0, 0.0), rng)
        self.bias = nn.Parameter(torch.zeros(len(self._log_shares)))
        self.positions = nn.Parameter(0.5 * normal(rng, len(sizes), width))
        self.blocks = nn.ModuleList([Block(width, heads, dropout, rng) for _ in range(layers)])

    def hidden(
        self,
        meaning: torch.Tensor,
        codes: torch.Tensor,
        rng: np.random.Generator | None = None,
        cache: torch.Tensor | None = None,
        seen: int = 0,
    ) -> torch.Tensor:
        """What predicts the columns from position `seen` to the one after `codes`, shape (rows,
        positions, width).

        Parameters
        ----------
        meaning : torch.Tensor
            `self.meaning()`, which is the same for many calls.
        codes : torch.Tensor, shape (rows, k)
            The first columns of the rows.
        rng : numpy.random.Generator, optional
            For dropout, in training only.
        cache : torch.Tensor, optional
            From `self.cache`, of the `seen` positions before, 0 or k of them; filled with these.
        """
        # Position j is fed the column before it, so with a cache only the newest column is needed.
        first = max(seen - 1, 0)
        end = codes.shape[1] + 1
        states = F.embedding(codes[:, first:] + self._first_code[first : end - 1], meaning)
        if not seen:
            states = F.pad(states, (0, 0, 1, 0))  # nothing comes before the first column
        states = states + self.positions[seen:end]
        for number, block in enumerate(self.blocks):
            states = block(states, rng, None if cache is None else cache[number], seen)
        return _normalised(states)

    def cache(self, rows: int, positions: int) -> torch.Tensor:
        """Room for the keys and values of every block."""
        width = self.positions.shape[1]
        heads = self.blocks[0].heads
        shape = (len(self.blocks), 2, rows, heads, positions, width // heads)
        return torch.empty(shape, device=self.positions.device)

    def outputs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What the logits of each column are made of: its codes' vectors, shape (size, width), and
        their bias, shape (size,); the same for many calls.
        """
        # A code that train lacks has a log share of minus infinity, whatever the weights say.
        bias = self.bias + self._log_shares
        # A slice a column would cost a gradient of all codes each, which is quadratic in columns.
        vectors = self.likeness().split(self._sizes)
        return list(zip(vectors, bias.split(self._sizes), strict=True))

    def losses(self, codes: torch.Tensor, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Minus the log probability of each row, shape (rows,)."""
        # Kept in 16 bits until here: the table of codes is the largest thing in memory.
        codes = codes.long()
        outputs = self.outputs()
        # As above: all positions at once, or each would cost a gradient of all of them.
        hidden = self.hidden(self.meaning(), codes[:, :-1], rng).unbind(1)
        losses = []
        for output, before, column in zip(outputs, hidden, codes.T, strict=True):
            losses.append(F.cross_entropy(logits(output, before), column, reduction="none"))
        return torch.stack(losses).sum(0)


def logits(output: tuple[torch.Tensor, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """Of the codes of one column, shape (rows, size).

    output: an item of `CausalTransformer.outputs()`. hidden: shape (rows, width).
    """
    vectors, bias = output
    return torch.addmm(bias, hidden, vectors.T)


class CodeVectors(nn.Module):
    """A vector for each code of the table: one of its own, one between those of two knots, and one
    along a parabola of its normal score.

    A number's code has a say of its own only where train holds it often; a rare one says what its
    neighbours say.
    """

    def __init__(
        self,
        counts: Sequence[torch.Tensor],
        is_number: Sequence[bool],
        width: int,
        knots: int,
        scales: tuple[float, float, float],
        rng: np.random.Generator,
    ):
        super().__init__()
        sizes = [len(count) for count in counts]
        column = np.repeat(np.arange(len(sizes)), sizes)
        places, knot_count = _places(sizes, is_number, knots)
        every_count = torch.cat(list(counts))
        of_number = torch.tensor(np.array(is_number)[column])
        # A number's rare code would learn its few rows by heart; it leans on its neighbours.
        trust = torch.where(of_number, every_count / (every_count + RARE), 1.0)
        scores = [_scores(*one) for one in zip(counts, is_number, strict=True)]
        low = places.long()
        self.register_buffer("_column", torch.tensor(column))
        self.register_buffer("_trust", trust[:, None])
        self.register_buffer("_low", low)
        self.register_buffer("_high", (low + 1).clamp(max=knot_count - 1))
        self.register_buffer("_between", places.frac().float()[:, None])
        self.register_buffer("_scores", torch.cat(scores)[:, :, None])

        own_scale, knot_scale, curve_scale = scales
        self.own = nn.Parameter(own_scale * normal(rng, len(every_count), width))
        self.knots = nn.Parameter(knot_scale * normal(rng, knot_count, width))
        self.curves = nn.Parameter(curve_scale * normal(rng, len(sizes), 2, width))

    def forward(self) -> torch.Tensor:
        """Shape (codes, width)."""
        # Between two knots, by the distance to each: neighbouring bins mean nearly the same.
        low = F.embedding(self._low, self.knots)
        high = F.embedding(self._high, self.knots)
        curve = (self._scores * self.curves[self._column]).sum(1)
        return self.own * self._trust + torch.lerp(low, high, self._between) + curve


class Block(nn.Module):
    """Attention to the columns before, then a network of one hidden layer, each added to the
    states.
    """

    def __init__(self, width: int, heads: int, dropout: float, rng: np.random.Generator):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.look = _matrix(width, 3 * width, rng)
        self.merge = _matrix(width, width, rng)
        self.widen = _matrix(width, 4 * width, rng)
        self.narrow = _matrix(4 * width, width, rng)

    def forward(
        self,
        states: torch.Tensor,
        rng: np.random.Generator | None,
        cache: torch.Tensor | None,
        seen: int,
    ) -> torch.Tensor:
        """states: shape (rows, positions, width), of the positions from `seen` on."""
        split = self.look(_normalised(states)).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # What earlier columns are is known; only the new positions' keys and values are added.
        if cache is not None:
            end = seen + states.shape[1]
            cache[0, :, :, seen:end] = key
            cache[1, :, :, seen:end] = value
            key, value = cache[:, :, :, :end]
        # Once something was seen there is one new position, which may look at all before it: no mask is
        # needed.
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=not seen)
        states = states + self._drop(self.merge(mixed.transpose(1, 2).flatten(2)), rng)
        wide = self.widen(_normalised(states)).relu()
        return states + self._drop(self.narrow(wide), rng)

    def _drop(self, states: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
        if rng is None or not self.dropout:
            return states
        is_kept = (random(rng, *states.shape) >= self.dropout).to(states.device)
        return states * (is_kept / (1 - self.dropout))


def _matrix(inputs: int, outputs: int, rng: np.random.Generator) -> Linear:
    """Without a bias, of weights with variance 1 / inputs."""
    return Linear(inputs, outputs, rng, (3 / inputs) ** 0.5, bias=False)


def _normalised(states: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(states, states.shape[-1:])


def _places(
    sizes: Sequence[int], is_number: Sequence[bool], knots: int
) -> tuple[torch.Tensor, int]:
    """Where each code lies among all knots, and how many those are.

    A number's codes lie evenly on its knots; missing has one of its own, and so have labels, one a
    column.
    """
    places = []
    count = 0
    for size, number in zip(sizes, is_number, strict=True):
        # With more knots than half the bins, each bin would have one of its own, and learn alone.
        own = min(knots, (size - 1) // 2) if number else 1
        if own > 1:
            places.append(count + np.linspace(0, own - 1, size - 1))
            places.append(np.array([count + own]))
        else:
            places.append(np.full(size, count))
        count += own + 1
    return torch.from_numpy(np.concatenate(places).astype(float)), count


def _scores(counts: torch.Tensor, is_number: bool) -> torch.Tensor:
    """The normal score of each code of a number, and half its square less one, shape (size, 2);
    zeros for other codes.
    """
    if not is_number:
        return torch.zeros(len(counts), 2)
    # The middle of each bin's ranks; the score at its end would be infinite.
    present = counts[:-1].double()
    rank = (present.cumsum(0) - present / 2) / present.sum().clamp(min=1)
    score = torch.special.ndtri(rank).clamp(-4, 4)
    both = torch.stack([score, (score**2 - 1) / 2], dim=1)
    return F.pad(both, (0, 0, 0, 1)).float()  # missing, the last code, has none
