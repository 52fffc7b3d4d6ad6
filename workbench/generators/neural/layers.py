"""What CTGAN and TVAE share, and the two networks of CTGAN; Xu et al. 2019, arXiv:1907.00503,
section 4.4.

A row has `size` entries, and a condition is one of `levels`. Conditions are one-hot, so their part
of a first layer is a row of a table: there is no product with zeros, however many levels there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, pi

import numpy as np
import torch
from torch.nn import functional as F

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Blocks:
    """Where the entries of a row lie: the offsets of numbers first, then a one-hot block for every
    column.

    Blocks of one size lie together, so that one softmax takes them all. `starts` has the first
    entry of each column's block.
    """

    def __init__(self, sizes: list[int], numbers: int):
        sizes = np.array(sizes)
        self._order = np.argsort(sizes, kind="stable")
        self.starts = np.empty_like(sizes)
        self.starts[self._order] = numbers + np.cumsum(sizes[self._order]) - sizes[self._order]
        self.numbers, self.size = numbers, numbers + int(sizes.sum())
        self._groups = [
            (int(size), int(count))
            for size, count in zip(*np.unique(sizes, return_counts=True), strict=True)
        ]

    def softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """Of each block; `logits` and result have shape (size - numbers, n), in which a softmax is
        ten times as fast.
        """
        return torch.cat([block.softmax(dim=1).flatten(0, 1) for block in self._split(logits)])

    def draw(self, logits: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
        """Codes, shape (n, columns), by the softmax of each block of `logits`, shape (size -
        numbers, n).
        """
        codes = torch.cat(
            [block.argmax(dim=1) for block in self._split(logits + gumbel(rng, *logits.shape))]
        )
        return codes[np.argsort(self._order)].T.numpy()

    def _split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Blocks of one size, shape (blocks, size, n)."""
        parts = values.split([size * count for size, count in self._groups])
        return [
            part.unflatten(0, (-1, size))
            for part, (size, _) in zip(parts, self._groups, strict=True)
        ]


class GeneratorNetwork:
    """Two residual layers with batch normalisation, then a linear one, all of which see the noise
    and the condition.

    What those two add to every layer is found at once.
    """

    def __init__(self, noise: int, width: int, size: int, levels: int, rng: np.random.Generator):
        self._sizes = [width, width, size]
        # Uniform between plus and minus one over the root of all inputs of the layer, as in
        # torch.nn.Linear.
        bounds = [(noise + levels + i * width) ** -0.5 for i in range(3)]
        bound = torch.repeat_interleave(torch.tensor(bounds), torch.tensor(self._sizes))
        self.parameters = [
            uniform(rng, bound, noise, sum(self._sizes)),
            uniform(rng, bound, levels, sum(self._sizes)),
            uniform(rng, bounds[1], width, width),
            uniform(rng, bounds[2], 2 * width, size),
            uniform(rng, bounds[2], size),
            *(torch.ones(width), torch.zeros(width), torch.ones(width), torch.zeros(width)),
        ]
        for parameter in self.parameters:
            parameter.requires_grad_()
        self._statistics = [(torch.zeros(width), torch.ones(width)) for _ in range(2)]

    def __call__(
        self, noise: torch.Tensor, levels: torch.Tensor, momentum: float | None = 0.1
    ) -> torch.Tensor:
        """Outputs, shape (n, size). Normalised by the batch, or by the averages of batches where
        momentum is None.
        """
        weight, table, second_weight, last_weight, bias, *affine = self.parameters
        first, second, last = torch.addmm(F.embedding(levels, table), noise, weight).split(
            self._sizes, dim=1
        )

        def normalise(x: torch.Tensor, layer: int) -> torch.Tensor:
            gain, shift = affine[2 * layer : 2 * layer + 2]
            training = momentum is not None
            return F.batch_norm(
                x, *self._statistics[layer], gain, shift, training, momentum or 0.0
            ).relu()

        hidden = normalise(first, 0)
        both = torch.cat([normalise(torch.addmm(second, hidden, second_weight), 1), hidden], dim=1)
        return torch.addmm(last + bias, both, last_weight)


class Critic:
    """Two leaky layers with dropout on `pac` rows laid side by side, and one score for each such
    group.

    Between its kinks the critic is linear, so the gradient of a score is a product of weights and
    slopes, and so is the derivative of the gradient penalty: everything here is written out, and
    nothing needs a second pass through a graph.
    """

    def __init__(
        self, size: int, levels: int, pac: int, width: int, dropout: float, rng: np.random.Generator
    ):
        self._pac, self._levels, self._dropout = pac, levels, dropout
        first, second = (pac * (size + self._levels)) ** -0.5, width**-0.5
        self.parameters = [
            uniform(rng, first, pac * size, width),
            uniform(rng, first, pac * self._levels, width),
            uniform(rng, first, width),
            uniform(rng, second, width, width),
            uniform(rng, second, width),
            uniform(rng, second, width, 1),  # without a bias: it would cancel in every loss
        ]

    @torch.no_grad()
    def judge(
        self, rows: torch.Tensor, levels: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean score, and its gradient with respect to `rows`, shape (n, size)."""
        inner = self._inner(rows) + self._condition(levels)
        scores, *slopes, _, _ = self._scores(inner, rng)
        return scores.mean(), (self._gradient(*slopes)[-1] / len(scores)).view(rows.shape)

    @torch.no_grad()
    def loss(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        levels: torch.Tensor,
        penalty: float,
        rng: np.random.Generator,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Wasserstein loss with gradient penalty, and its gradient for each parameter."""
        weight, table, _, second_weight, _, last_weight = self.parameters
        rows, condition, groups = (
            torch.cat([real, fake]),
            self._condition(levels),
            len(real) // self._pac,
        )
        inner = self._inner(rows) + condition.repeat(2, 1)
        scores, slope, second_slope, hidden, second_hidden = self._scores(inner, rng)
        share = torch.full((2 * groups, 1), 1 / groups)
        share[:groups] *= -1
        second_delta = share @ last_weight.T * second_slope
        delta = second_delta @ second_weight.T * slope

        # The penalty: the gradient at points between real and fake, and the derivative of its
        # norm's distance from one.
        between = torch.lerp(inner[:groups], inner[groups:], random(rng, groups, 1))
        _, slope, second_slope, _, _ = self._scores(between, rng)
        outer, middle, gradient = self._gradient(slope, second_slope)
        norm = gradient.norm(dim=1, keepdim=True)
        pull = gradient * (2 * penalty / groups * (norm - 1) / norm.clamp(min=1e-12))
        middle_pull = pull @ weight * slope
        outer_pull = middle_pull @ second_weight * second_slope

        both = (delta[:groups] + delta[groups:]).repeat_interleave(self._pac, dim=0)
        gradients = [
            torch.cat([rows.view(2 * groups, -1), pull]).T @ torch.cat([delta, middle]),
            torch.zeros_like(table).index_add_(0, self._places(levels).flatten(), both),
            delta.sum(dim=0),
            torch.cat([hidden, middle_pull]).T @ torch.cat([second_delta, outer]),
            second_delta.sum(dim=0),
            second_hidden.T @ share + outer_pull.sum(dim=0)[:, None],
        ]
        return (scores * share).sum() + penalty * ((norm - 1) ** 2).mean(), gradients

    def _inner(self, rows: torch.Tensor) -> torch.Tensor:
        """The first layer's sums without their part of the condition, shape (n / pac, width)."""
        return torch.addmm(
            self.parameters[2], rows.view(len(rows) // self._pac, -1), self.parameters[0]
        )

    def _condition(self, levels: torch.Tensor) -> torch.Tensor:
        return F.embedding_bag(self._places(levels), self.parameters[1], mode="sum")

    def _places(self, levels: torch.Tensor) -> torch.Tensor:
        return levels.view(-1, self._pac) + self._levels * torch.arange(self._pac)

    def _scores(self, inner: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Scores, both hidden layers' slopes (leak times dropout), and both hidden layers, from the
        first layer's sums.
        """
        _, _, _, second_weight, second_bias, last_weight = self.parameters
        slope = self._slope(inner, rng)
        hidden = inner * slope
        second = torch.addmm(second_bias, hidden, second_weight)
        second_slope = self._slope(second, rng)
        second_hidden = second * second_slope
        return second_hidden @ last_weight, slope, second_slope, hidden, second_hidden

    def _slope(self, inner: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        slope = torch.where(inner > 0, 1 / (1 - self._dropout), 0.2 / (1 - self._dropout))
        return (
            slope.masked_fill_(random(rng, *inner.shape) < self._dropout, 0.0)
            if self._dropout
            else slope
        )

    def _gradient(
        self, slope: torch.Tensor, second_slope: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The gradient of each score on its way back: at the second layer's sums, the first's, and
        the rows.
        """
        weight, _, _, second_weight, _, last_weight = self.parameters
        outer = last_weight.T * second_slope
        middle = outer @ second_weight.T * slope
        return outer, middle, middle @ weight.T


class Adam:
    """Kingma and Ba 2015, and an exponential average of the parameters after each step.

    Making torch's own imports its compiler, which costs over a second.
    """

    def __init__(
        self,
        parameters: list[torch.Tensor],
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.5, 0.9),
        average: float | None = None,
    ):
        self._rate, self._decay, self._betas, self._steps = learning_rate, weight_decay, betas, 0
        # All parameters become views of one vector, which takes fewer and larger kernels.
        self._vector = torch.cat([parameter.detach().flatten() for parameter in parameters])
        self._mean, self._square = torch.zeros_like(self._vector), torch.zeros_like(self._vector)
        self._keep, self._averages = average, None if average is None else self._vector.clone()
        for parameter, part in zip(
            parameters, self._vector.split([p.numel() for p in parameters]), strict=True
        ):
            parameter.data = part.view(parameter.shape)

    @torch.no_grad()
    def step(self, gradients: Iterable[torch.Tensor]) -> None:
        self._steps += 1
        first, second = self._betas
        spread = (1 - second**self._steps) ** 0.5
        rate = self._rate * spread / (1 - first**self._steps)
        gradient = torch.cat([gradient.flatten() for gradient in gradients])
        if self._decay:
            gradient.add_(self._vector, alpha=self._decay)
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        self._vector.addcdiv_(self._mean, self._square.sqrt().add_(1e-8 * spread), value=-rate)
        if self._averages is not None:
            # The first steps, which are far from the last, are forgotten sooner.
            self._averages.lerp_(self._vector, max(1 - self._keep, 9 / (9 + self._steps)))

    def use_averages(self) -> None:
        self._vector.copy_(self._averages)


class AdamW:
    """Loshchilov and Hutter 2019, betas (0.9, 0.99), on one vector, its gradient's norm at most 1;
    and a running average.
    """

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
        self._weights.mul_(1 - rate * self._decay).addcdiv_(
            self._mean, spread, value=-rate / (1 - 0.9**self._steps)
        )
        self.average.lerp_(self._weights, max(0.01, 9 / (10 + self._steps)))


def schedule(done: float, warm_up: float = 0.05) -> float:
    """The share of the highest learning rate when a share of the training is done: up over
    `warm_up`, then a half cosine.
    """
    return min(1.0, done / warm_up + 0.01) * (1 + cos(pi * done)) / 2


# All noise comes from numpy's generator: it is seeded by the caller, faster than torch's, and
# leaves torch's state alone.


def normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def random(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


def uniform(rng: np.random.Generator, bound: float | torch.Tensor, *shape: int) -> torch.Tensor:
    return (2 * random(rng, *shape) - 1) * bound


def gumbel(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return (
        torch.from_numpy(rng.standard_exponential(shape, dtype=np.float32))
        .clamp_(min=1e-30)
        .log_()
        .neg_()
    )
