"""Autoregressive transformer: a small language model whose words are a row's values, one column after the other.

Radford et al. 2018, "Improving language understanding by generative pre-training", for tables as in Castellon et al. 2023
(DP-TBART) and Tiwald et al. 2025 (TabularARGN): every column has a vocabulary of its own, so an impossible value cannot be
drawn. Numbers of many values are quantile bins and are drawn within their bin; what depends on them within a bin is lost.

Where this differs from those papers: the columns keep one order, so that conditions on late columns are met by weighted
rejection (exact but for a share of one over the proposals); the weights are averaged, and those of the least loss on
rows held out of training are kept, which is what keeps it from learning rows by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from workbench.conditions import matches, sample_matching
from workbench.encode import Codes
from workbench.generators import check_least
from workbench.generators._networks import gumbel, normal
from workbench.generators._training import Epochs, bar
from workbench.schema import InputError, Schema, nearest

TOKENS = 2**15  # most values (rows times columns) that pass through the network at once


@dataclass
class AutoregressiveTransformer:
    """A causal transformer over columns, trained by maximum likelihood."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere."""

    epochs: int = 60
    """Most passes over the table; the learning rate falls to zero over them."""
    seconds: float | None = None
    """Train no longer than this; the first epoch's time sets how many fit."""
    patience: int = 10
    """Stop after so many epochs without a better loss on the held-out rows."""
    validation: float = 0.1
    """Share of the rows held out of training (10,000 rows at most)."""
    batch_size: int = 512
    """Rows a step; fewer for tables of many columns, and so that an epoch has 20 steps."""
    width: int = 64
    """Units of a value's representation; a multiple of heads."""
    layers: int = 3
    """Blocks of attention and a two-layer network."""
    heads: int = 4
    """Attention heads."""
    bins: int = 128
    """Most values of a number that are drawn as they are; with more, the number of quantile bins."""
    max_levels: int = 500
    """Most levels of a label column; the rarest labels share one, and are drawn by their shares."""
    learning_rate: float = 3e-3
    """Highest rate of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW: how strongly weights are drawn to zero, which stands for independent columns."""
    order: Sequence[str] = ()
    """Columns to draw first, by name; the others follow in the table's order."""

    def __post_init__(self):
        check_least(self, epochs=1, patience=1, batch_size=1, width=1, layers=1, heads=1, bins=1, max_levels=2)
        if self.width % self.heads:
            raise InputError(f"autoregressive: width is {self.width}; it must be a multiple of heads ({self.heads}).")
        if not 0 <= self.validation < 1:
            raise InputError(f"autoregressive: validation is {self.validation}; it must be at least 0 and below 1.")

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> AutoregressiveTransformer:
        """Raises Diverged where the loss is no longer finite. Weights depend on rng and on torch's number of threads."""
        self._schema = schema
        self._encode(table)
        codes = self.codes(table)
        network = self._network = Network(codes, self._codes_sizes, self.width, self.layers, self.heads)
        held = min(int(len(table) * self.validation), 10_000)
        order = rng.permutation(len(table))
        valid, train = codes[order[:held]], codes[order[held:]]
        size = max(1, min(self.batch_size, len(train) // 20, TOKENS // codes.shape[1]))
        steps = len(train) // size

        weights = network.initial(rng).requires_grad_()
        adam = AdamW(weights, self.weight_decay)
        least, since, best = np.inf, 0, adam.average
        self.losses = []
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for epoch in self.trained:
            losses = torch.zeros(())
            for step, rows in enumerate(_batches(rng.permutation(len(train)), size, steps)):
                loss = network.losses(weights, train[rows]).mean()
                done = (epoch + step / steps) / self.trained.total
                adam.step(*torch.autograd.grad(loss, weights), self.learning_rate * _schedule(done))
                losses += loss.detach()
            self.trained.check(float(losses), "autoregressive", f"the learning rate {self.learning_rate:g} is too large")
            if held:
                loss = -float(self._scores(adam.average, valid).mean())
                self.losses.append((float(losses) / steps, loss))
                least, since, best = (loss, 0, adam.average.clone()) if loss < least else (least, since + 1, best)
                if since >= self.patience:
                    break
        self._weights = best
        return self

    def log_likelihood(self, table: pd.DataFrame) -> np.ndarray:
        """Log probability of each row's codes in nats, shape (rows,); minus infinity for what train never holds."""
        return self._scores(self._weights, self.codes(table)).numpy()

    def sample(self, n: int, rng: np.random.Generator, where: Mapping | None = None) -> pd.DataFrame:
        """Columns up to the last one in `where` are drawn among what it allows, and kept by the chance they had."""
        allowed, asked = self._allowed(where or {})

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            codes = np.empty((size, 0), dtype=np.int64)
            if allowed:
                codes, chance = self._extend(codes, max(allowed) + 1, rng, allowed)
                codes = codes[np.log(rng.random(size)) < chance - chance.max()]
            codes, _ = self._extend(codes, len(self._order), rng)
            made = self._codes.decode(codes[:, np.argsort(self._order)], rng)
            for value in asked:
                made[value.name] = made[value.name].mask(
                    self._codes.encode_column(made[value.name]) == self._codes.encode_column(value)[0], value.iloc[0]
                )
            return made

        return sample_matching(draw, n, rng, self._schema, where)

    def _encode(self, table: pd.DataFrame) -> None:
        schema = self._schema
        for name in self.order:
            if name not in schema.names:
                raise InputError(f"order of autoregressive: no column {name!r}; {nearest(str(name), schema.names)}")
        names = dict.fromkeys([*self.order, *schema.names])
        self._order = [schema.names.index(name) for name in names]
        self._codes = Codes(table, schema, max(1, min(self.bins, len(table) // 8)), self.max_levels)
        self._codes_sizes = [self._codes.sizes[j] for j in self._order]
        self._values = {name: table[name].drop_duplicates() for name in schema.names}

    def codes(self, table: pd.DataFrame) -> torch.Tensor:
        """The table's codes, columns in the order they are drawn, shape (rows, columns)."""
        codes = np.empty((len(table), len(self._order)), dtype=np.int16 if max(self._codes.sizes) < 2**15 else np.int32)
        for position, j in enumerate(self._order):
            codes[:, position] = self._codes.encode_column(table[self._schema.names[j]])
        return torch.from_numpy(codes)

    def _allowed(self, where: Mapping) -> tuple[dict[int, torch.Tensor], list[pd.Series]]:
        """What conditions leave of a column: by position, which codes, bool, shape (size,); and values named outright.

        Nothing where a condition is met by no train value.
        """
        allowed, asked = {}, []
        for name, wanted in where.items():
            column, values = self._schema[name], self._values.get(name)
            found = values[matches(values.to_frame(), Schema((column,)), {name: wanted})]
            if not len(found):
                return {}, []
            mask = torch.zeros(self._codes.size(name), dtype=torch.bool)
            mask[self._codes.encode_column(found).astype(np.int64)] = True
            allowed[self._order.index(self._schema.names.index(name))] = mask
            if len(found) == 1:
                asked.append(found)
        return allowed, asked

    @torch.no_grad()
    def _scores(self, weights: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        size = max(1, TOKENS // codes.shape[1])
        parts = [-self._network.losses(weights, part) for part in codes.split(size)]
        return torch.cat(parts)

    @torch.no_grad()
    def _extend(
        self, codes: np.ndarray, end: int, rng: np.random.Generator, allowed: Mapping[int, torch.Tensor] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows with the columns before `end`, shape (n, end), and the log chance that each met `allowed`, shape (n,)."""
        drawn, chances = [np.empty((0, end), dtype=np.int64)], [np.empty(0)]
        for start in range(0, len(codes), size := max(1, 2 * TOKENS // len(self._order))):
            rows = torch.from_numpy(codes[start : start + size])
            chance, cache, known = torch.zeros(len(rows)), [], 0
            for position in range(rows.shape[1], end):
                hidden = self._network.hidden(self._weights, rows[:, known:position], cache)[:, -1]
                logits, known = self._network.logits(self._weights, hidden, position), position
                if allowed and position in allowed:
                    total, logits = logits.logsumexp(1), logits.masked_fill(~allowed[position], -torch.inf)
                    chance += logits.logsumexp(1) - total
                choice = (logits + gumbel(rng, *logits.shape)).argmax(1, keepdim=True)
                rows = torch.cat([rows, choice], dim=1)
            drawn.append(rows.numpy())
            chances.append(chance.numpy())
        return np.concatenate(drawn), np.concatenate(chances)


class Network:
    """The transformer as a function of one flat vector of weights. Position j sees the columns before j and predicts j."""

    def __init__(self, codes: torch.Tensor, sizes: Sequence[int], width: int, layers: int, heads: int):
        self._heads, self._ends = heads, np.cumsum([0, *sizes])
        blocks = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        total, columns = int(self._ends[-1]), len(sizes)
        self._shapes = [(total, width), (columns, width), (total, width), (total,), *blocks * layers]
        # Without what the network adds, every column has its train shares; codes that train never holds stay impossible.
        counts = [torch.bincount(column.long(), minlength=size) for column, size in zip(codes.T, sizes, strict=True)]
        self._shares = torch.cat([(count / len(codes)).log() for count in counts])
        self._first = torch.tensor(self._ends[:-1])

    def initial(self, rng: np.random.Generator) -> torch.Tensor:
        scales = [0.5, 0.5, 0.0, 0.0, *(shape[0] ** -0.5 for shape in self._shapes[4:])]
        return torch.cat([normal(rng, *shape).flatten() * scale for shape, scale in zip(self._shapes, scales, strict=True)])

    def _parts(self, weights: torch.Tensor) -> list[torch.Tensor]:
        parts = weights.split([int(np.prod(shape)) for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def hidden(self, weights: torch.Tensor, codes: torch.Tensor, cache: list | None = None) -> torch.Tensor:
        """What predicts the columns after those in `codes`, shape (rows, positions, width).

        codes: the first columns of the rows, shape (rows, k), for k + 1 positions. With a filled cache: those that
        follow what it has seen, for k positions.
        """
        values, columns, _, _, *blocks = self._parts(weights)
        width, seen = values.shape[1], cache[0][0].shape[2] if cache else 0
        first = max(seen - 1, 0)
        states = F.embedding(codes + self._first[first : first + codes.shape[1]], values)
        if not seen:
            states = torch.cat([states.new_zeros(len(codes), 1, width), states], dim=1)
        states = states + columns[seen : seen + states.shape[1]]
        for layer, (look, merge, widen, narrow) in enumerate(zip(*[iter(blocks)] * 4, strict=True)):
            query, key, value = (
                (F.layer_norm(states, (width,)) @ look).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
            )
            if cache is not None:
                if seen:
                    key, value = (torch.cat(pair, dim=2) for pair in zip(cache[layer], (key, value), strict=True))
                    cache[layer] = key, value
                else:
                    cache.append((key, value))
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=not seen)
            states = states + mixed.transpose(1, 2).flatten(2) @ merge
            states = states + (F.layer_norm(states, (width,)) @ widen).relu() @ narrow
        return F.layer_norm(states, (width,))

    def logits(self, weights: torch.Tensor, hidden: torch.Tensor, position: int) -> torch.Tensor:
        """Of the codes of the column at a position, shape (rows, size)."""
        _, _, out, bias, *_ = self._parts(weights)
        part = slice(self._ends[position], self._ends[position + 1])
        return torch.addmm(bias[part] + self._shares[part], hidden, out[part].T)

    def losses(self, weights: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Minus the log probability of each row, shape (rows,)."""
        codes = codes.long()
        hidden = self.hidden(weights, codes[:, :-1])
        columns = range(codes.shape[1])
        parts = [F.cross_entropy(self.logits(weights, hidden[:, j], j), codes[:, j], reduction="none") for j in columns]
        return torch.stack(parts).sum(0)


class AdamW:
    """Loshchilov and Hutter 2019, with betas (0.9, 0.99), on one vector; and the exponential average of its steps."""

    def __init__(self, weights: torch.Tensor, decay: float):
        self._weights, self._decay, self._steps = weights, decay, 0
        self.average = weights.detach().clone()
        self._mean, self._square = torch.zeros_like(self.average), torch.zeros_like(self.average)

    @torch.no_grad()
    def step(self, gradient: torch.Tensor, rate: float) -> None:
        self._steps += 1
        gradient = gradient / gradient.norm().clamp(min=1.0)
        self._mean.lerp_(gradient, 0.1)
        self._square.lerp_(gradient.square_(), 0.01)
        spread = (self._square / (1 - 0.99**self._steps)).sqrt_().add_(1e-8)
        self._weights.mul_(1 - rate * self._decay).addcdiv_(self._mean, spread, value=-rate / (1 - 0.9**self._steps))
        self.average.lerp_(self._weights, max(0.01, 9 / (10 + self._steps)))


def _batches(order: np.ndarray, size: int, steps: int) -> Iterator[torch.Tensor]:
    return iter(torch.from_numpy(order)[: size * steps].view(steps, size))


def _schedule(done: float) -> float:
    """The share of the highest learning rate when a share of the training is done: up over 5% of it, then a half cosine."""
    return min(1.0, done / 0.05 + 0.01) * (1 + cos(pi * done)) / 2
