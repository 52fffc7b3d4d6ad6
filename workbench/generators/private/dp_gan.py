"""DP-GAN: a GAN whose critic learns from real rows by differentially private steps; the generator
sees the critic only.

Xie, Lin, Wang, Wang and Zhou 2018, arXiv:1802.06739; Abadi et al. 2016 for the steps. Every step
draws each row with the same small chance, clips the gradient of each drawn row and adds Gaussian
noise to their sum. The noise hides what few rows say: rare labels and interactions go first, and
small tables leave nothing but noise.

Where this differs from the paper: the logistic loss of the plain GAN instead of Wasserstein's,
whose critic would have to be bounded as well; made rows hold nothing of the table that the critic
has not been charged for, so their gradients are neither clipped nor noisy. No condition vector (as
in CTGAN, and DP-CTGAN after it), since its label frequencies would leak; no packing of rows (pac is
1), since a row would then have part in the gradients of its pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from workbench.generators import check_least
from workbench.generators.neural.gan import Bounded, GeneratorNetwork, OneHotTable, Perceptron
from workbench.generators.neural.layers import Adam
from workbench.generators.neural.modes import TableModes
from workbench.generators.private.accounting import (
    Ledger,
    Private,
    check_budget,
    choose_common_levels,
    least_noise,
)
from workbench.generators.private.noise import Noise
from workbench.generators.rejection import SampledByRejection
from workbench.generators.training import Epochs, bar
from workbench.tables.schema import Schema


@dataclass
class DPGAN(Private, SampledByRejection):
    """A GAN with differentially private steps of its critic (Xie et al. 2018)."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epsilon: float = 1.0
    """Privacy budget, for one row blanked out (see `guarantee`); what was spent is in
    `epsilon_spent` after the fit.
    """
    delta: float = 1e-5
    """The chance with which the guarantee may fail; well below 1 / rows."""
    epochs: int = 50
    """Blocks of `steps` steps; the noise is the least that pays for all of them."""
    steps: int = 40
    """Steps of critic and generator in an epoch."""
    seconds: float | None = None
    """Train no longer than this; the noise stays that of all epochs, and what is not asked for is
    not spent.
    """
    batch_size: int = 500
    """Real rows of a step on average; each row is drawn with chance batch_size / rows, at most 1.
    Made rows of a step.
    """
    clip: float = 1.0
    """Largest norm of one row's gradient."""
    noise: int = 64
    """Normal inputs of the generator."""
    width: int = 128
    """Units in each of the two hidden layers of both networks."""
    learning_rate: float = 1e-3
    """Of Adam, for both networks."""
    tau: float = 0.5
    """Temperature of the Gumbel softmax."""
    max_levels: int = 100
    """Levels of a label that are told apart, the most frequent by noisy counts that cost a tenth of
    epsilon where there are more; the others share one, and are drawn from it alike.
    """

    def __post_init__(self):
        check_budget("dp-gan", self.epsilon, self.delta)
        check_least(
            self,
            **dict.fromkeys(("epochs", "steps", "batch_size", "noise", "width"), 1),
            max_levels=2,
        )
        check_least(self, clip=1e-9, learning_rate=1e-9, tau=1e-3)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> DPGAN:
        """Raises InputError where `supports` says why not, Diverged where a loss is not finite."""
        self._schema = schema
        domain, noise = self._domain(table, schema), self._noise()
        table = domain.restrict(table)
        self.ledger = Ledger(self.epsilon, self.delta)
        # Which labels there are is itself a fact about the rows: naming them is paid for first, and the
        # steps get what is left.
        left = choose_common_levels(domain, table, self.max_levels, self.ledger, noise)
        # Fitted on the domain's table: an encoder fitted on the rows would be a look that nobody
        # paid for.
        encoding = TableModes(domain.table, schema, 1, 0.0, self.max_levels, number=Bounded)
        rows = OneHotTable(encoding, table, rng)
        self._generator = GeneratorNetwork(encoding, self.noise, self.width, self.tau, rng)
        # From equal shares of the domain, which are public.
        self._generator.start_from(domain.table, rng)
        critic = Perceptron([rows.size, self.width, self.width, 1], rng)
        generator_adam = Adam(self._generator.parameters(), self.learning_rate)
        critic_adam = Adam(critic.parameters(), self.learning_rate)

        # Every row is drawn on its own with this chance: the accountant reckons with such draws, and a
        # shuffled batch of fixed size would promise less.
        chance = min(1.0, self.batch_size / len(table))
        self.noise_multiplier = least_noise(
            left, self.delta, lambda noise: _step(noise, chance), self.epochs * self.steps
        )
        step = _step(self.noise_multiplier, chance)
        self.ledger.reserve(step, self.epochs * self.steps)
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for _ in self.trained:
            # Paid before the rows are looked at: a fit that is stopped has never seen more than it paid.
            self.ledger.charge(step, self.steps)
            losses = torch.zeros(())
            for _ in range(self.steps):
                # Only the critic meets real rows, and only in clipped sums with noise; what the generator
                # learns from the critic costs nothing more.
                real = self._real_gradients(critic, rows, len(table), chance, noise)
                fake = self._generator(self.batch_size, rng)
                critic_loss = F.softplus(critic(fake.detach())).mean()
                gradients = torch.autograd.grad(critic_loss, critic.parameters())
                critic_adam.step([one + other for one, other in zip(real, gradients, strict=True)])
                generator_loss = F.softplus(-critic(fake)).mean()
                generator_adam.step(
                    torch.autograd.grad(generator_loss, self._generator.parameters())
                )
                losses += critic_loss.detach() + generator_loss.detach()
            self.trained.check_rate(float(losses), "dp-gan", self.learning_rate)
        # A fit that was stopped has spent less, and says so.
        steps = self.trained.done * self.steps
        epsilon = self.ledger.cost()
        # To exchange a row is to blank it and to fill the blank: two steps of the guarantee.
        twice = (1 + np.exp(min(epsilon, 700.0))) * self.delta
        claim = (
            f"({epsilon:.4g}, {self.delta:g})-differential privacy for one row against a blank one"
            f" that is never drawn, ({2 * epsilon:.4g}, {min(twice, 1):.2g}) for the exchange of"
            f" one row for another, by {steps} steps of noise multiplier"
            f" {self.noise_multiplier:.3g} in floating point, whose last bits are not protected"
        )
        self._promise(epsilon, self.delta, claim, domain)
        return self

    def _real_gradients(
        self, critic: Perceptron, rows: OneHotTable, count: int, chance: float, noise: Noise
    ) -> list[torch.Tensor]:
        """The clipped and noisy gradients of the rows that this step happens to draw."""
        # The draw is part of the protection, so it comes from the noise and not from the caller's
        # generator.
        drawn = noise.subset(count, chance)
        gradients = []
        for total in clipped_sums(critic, rows.take(drawn), self.clip):
            added = noise.normal(self.clip * self.noise_multiplier, tuple(total.shape))
            # By the expected number of rows: how many were drawn is a fact about the table.
            gradients.append((total + torch.from_numpy(added).float()) / self.batch_size)
        return gradients

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        return self._generator.draw(n, rng)


def _step(noise_multiplier: float, chance: float):
    """The event that one step is to the accountant."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    # Every row in every step leaves nothing for the sampling to hide.
    event = GaussianDpEvent(noise_multiplier)
    return event if chance == 1 else PoissonSampledDpEvent(chance, event)


def clipped_sums(critic: Perceptron, real: torch.Tensor, clip: float) -> list[torch.Tensor]:
    """For each parameter, the sum over real rows of the loss's gradient, each row's scaled to a
    norm of at most `clip`.

    A row's gradient of a linear layer is an outer product, so its norm is known without making it
    (Goodfellow 2015, arXiv:1510.01799), and the scaled sum is one product of matrices.
    """
    inputs, outputs = zip(*critic.layers(real), strict=True)
    # The loss's slope at each layer's output, for all rows at once.
    slopes = torch.autograd.grad(F.softplus(-outputs[-1]).sum(), outputs)
    with torch.no_grad():
        # The squared norm of a row's gradient: that of the weights, and of the bias (the one
        # added).
        squares = [
            (x.square().sum(1) + 1) * slope.square().sum(1)
            for x, slope in zip(inputs, slopes, strict=True)
        ]
        scale = (clip / sum(squares).sqrt().clamp(min=1e-12)).clamp(max=1)[:, None]
        sums = [
            (x.T @ (slope * scale), (slope * scale).sum(0, keepdim=True))
            for x, slope in zip(inputs, slopes, strict=True)
        ]
    return [part for pair in sums for part in pair]
