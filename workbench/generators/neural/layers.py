"""What the neural generators share: linear layers, the blocks of a row, optimisers, and noise.

All noise and all first weights come from numpy's generator: it is seeded by the caller, is faster
than torch's, and leaves torch's global state alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import cos, pi

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Linear(nn.Module):
    """A linear layer that starts as torch.nn.Linear does, but from `rng`.

    Parameters
    ----------
    inputs, outputs : int
    rng : numpy.random.Generator
    bound : float, optional
        Weights start uniformly between plus and minus this; one over the root of inputs by default.
    bias : bool
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        bound: float | None = None,
        bias: bool = True,
    ):
        super().__init__()
        # An empty layer, of a table without numbers say, has a bound too.
        if bound is None:
            bound = max(inputs, 1) ** -0.5
        self.weight = nn.Parameter(uniform(rng, bound, outputs, inputs))
        self.bias = nn.Parameter(uniform(rng, bound, outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


class OneHotLinear(nn.Module):
    """A linear layer without a bias on one-hot inputs, which are given as their places.

    Its product is a sum of rows of a table, so it costs the same however many levels there are.
    """

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator, bound: float):
        super().__init__()
        self.table = nn.Parameter(uniform(rng, bound, inputs, outputs))

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """places: int64, shape (n, how many ones each row has)."""
        return F.embedding_bag(places, self.table, mode="sum")


class Blocks:
    """Where the entries of a row lie: the offsets of numbers first, then a one-hot block for every
    column.

    Blocks of one size lie together, so that one softmax takes them all. `starts` has the first
    entry of each column's block.
    """

    def __init__(self, sizes: list[int], numbers: int):
        of_column = np.array(sizes)
        # Sorted by size, so that equal blocks are neighbours and one view takes them all.
        self._order = np.argsort(of_column, kind="stable")
        in_order = of_column[self._order]
        self.starts = np.empty_like(of_column)
        self.starts[self._order] = numbers + np.cumsum(in_order) - in_order
        self.numbers = numbers
        self.size = numbers + int(of_column.sum())
        distinct, counts = np.unique(of_column, return_counts=True)
        self._groups = list(zip(distinct.tolist(), counts.tolist(), strict=True))

    def softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """Of each block; `logits` and result have shape (size - numbers, n), in which a softmax is
        ten times as fast.
        """
        return torch.cat([block.softmax(dim=1).flatten(0, 1) for block in self._split(logits)])

    def log_softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """As `softmax`, its logarithm."""
        return torch.cat([block.log_softmax(dim=1).flatten(0, 1) for block in self._split(logits)])

    def draw(self, logits: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
        """Codes, shape (n, columns), by the softmax of each block of `logits`, shape (size -
        numbers, n).
        """
        noisy = logits + gumbel(rng, *logits.shape)
        # The blocks come in the order of their sizes, and go back to that of the columns.
        codes = torch.cat([block.argmax(dim=1) for block in self._split(noisy)])
        return codes[np.argsort(self._order)].T.numpy()

    def _split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Blocks of one size, shape (blocks, size, n)."""
        parts = values.split([size * count for size, count in self._groups])
        return [
            part.unflatten(0, (-1, size))
            for part, (size, _) in zip(parts, self._groups, strict=True)
        ]


def flattened(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """One vector of all parameters, which become views of it: an optimiser's step then takes fewer
    and larger kernels.
    """
    parameters = list(parameters)
    # The parameters become windows into one vector: whoever changes it changes them.
    vector = torch.cat([parameter.detach().flatten() for parameter in parameters])
    parts = vector.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view(parameter.shape)
    return vector


class Adam:
    """Kingma and Ba 2015, and an exponential average of the parameters after each step.

    Making torch's own imports its compiler, which costs over a second.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.5, 0.9),
        average: float | None = None,
    ):
        self._rate = learning_rate
        self._decay = weight_decay
        self._betas = betas
        self._steps = 0
        self._vector = flattened(parameters)
        self._mean = torch.zeros_like(self._vector)
        self._square = torch.zeros_like(self._vector)
        # Room for the root, taken once: a step makes no new large array.
        self._root = torch.empty_like(self._vector)
        self._keep = average
        self._averages = None if average is None else self._vector.clone()

    @torch.no_grad()
    def step(self, gradients: Iterable[torch.Tensor]) -> None:
        self._steps += 1
        first, second = self._betas
        # Both averages start at zero; these factors undo that (Kingma and Ba, section 3).
        spread = (1 - second**self._steps) ** 0.5
        rate = self._rate * spread / (1 - first**self._steps)
        gradient = torch.cat([gradient.flatten() for gradient in gradients])
        if self._decay:
            gradient.add_(self._vector, alpha=self._decay)
        # In place throughout: new arrays would cost as much as the arithmetic.
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        # Of a unit that no longer learns this fades into the subnormal numbers, of which a root
        # takes fifty times as long; this far below 1e-8 the bound changes no step.
        self._square.clamp_(min=1e-36)
        torch.sqrt(self._square, out=self._root).add_(1e-8 * spread)
        self._vector.addcdiv_(self._mean, self._root, value=-rate)
        if self._keep is not None:
            # The first steps, which are far from the last, are forgotten sooner.
            self._averages.lerp_(self._vector, max(1 - self._keep, 9 / (9 + self._steps)))

    def use_averages(self) -> None:
        self._vector.copy_(self._averages)


class AdamW:
    """Loshchilov and Hutter 2019, betas (0.9, 0.99), its gradient's norm at most 1; and a running
    average of the parameters.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], decay: float):
        self._decay = decay
        self._steps = 0
        self.vector = flattened(parameters)
        self.average = self.vector.clone()
        self._mean = torch.zeros_like(self.vector)
        self._square = torch.zeros_like(self.vector)

    @torch.no_grad()
    def step(self, gradients: Iterable[torch.Tensor], rate: float) -> None:
        self._steps += 1
        gradient = torch.cat([gradient.flatten() for gradient in gradients])
        # One odd batch does not throw the weights far away.
        gradient = gradient / gradient.norm().clamp(min=1.0)
        self._mean.lerp_(gradient, 0.1)
        self._square.lerp_(gradient.square_(), 0.01)
        spread = (self._square / (1 - 0.99**self._steps)).sqrt_().add_(1e-8)
        # The decay acts on the weights and not on the gradient: that is the W of AdamW.
        self.vector.mul_(1 - rate * self._decay)
        self.vector.addcdiv_(self._mean, spread, value=-rate / (1 - 0.9**self._steps))
        # The first steps, which are far from the last, are forgotten sooner.
        self.average.lerp_(self.vector, max(0.01, 9 / (10 + self._steps)))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the parameters are their averages."""
        # Put back whatever happens within, or training would go on from the average.
        trained = self.vector.clone()
        self.vector.copy_(self.average)
        try:
            yield
        finally:
            self.vector.copy_(trained)

    def use(self, weights: torch.Tensor) -> None:
        """Set all parameters, from one vector of them."""
        self.vector.copy_(weights)


def schedule(done: float, warm_up: float = 0.05) -> float:
    """The share of the highest learning rate when a share of the training is done: up over
    `warm_up`, then a half cosine.
    """
    return min(1.0, done / warm_up + 0.01) * (1 + cos(pi * done)) / 2


def normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def random(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


def uniform(rng: np.random.Generator, bound: float | torch.Tensor, *shape: int) -> torch.Tensor:
    return (2 * random(rng, *shape) - 1) * bound


def gumbel(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    drawn = torch.from_numpy(rng.standard_exponential(shape, dtype=np.float32))
    # An exponential draw may be zero in single precision, and its logarithm infinite.
    return drawn.clamp_(min=1e-30).log_().neg_()
