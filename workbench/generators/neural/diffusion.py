"""Diffusion for tables: noise is laid over real rows, a network learns to take it off, and new rows
start as pure noise.

Kotelnikov, Baranchuk, Rubachev and Babenko 2023 (TabDDPM, arXiv:2209.15421) diffuse numbers and
labels in one network. Noise on a label is a mask, as in Shi et al. 2025 (TabDiff, arXiv:2410.20626)
and Sahoo et al. 2024 (MDLM). Noise on a number x is a turn by an angle, x cos a + e sin a, and the
network predicts its velocity e cos a - x sin a (Salimans and Ho 2022), which is zero on average for
independent normal numbers: an untrained network draws the right margins, training adds dependence.
It cannot leave the range of train, and needs some thousand rows and minutes of training to earn its
cost.

Where this differs from the papers: numbers are normal scores of their ranks; a value that many rows
share is a code of its own, and so is missing; tens of steps along the deterministic path replace a
thousand random ones; the network is small, and training ends early where rows kept aside say so.
CUDA is used where there is one (never tested).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr, ndtri
from torch import nn
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators import check_least
from workbench.generators.neural.layers import (
    DEVICE,
    AdamW,
    Linear,
    OneHotLinear,
    gumbel,
    normal,
    random,
    schedule,
)
from workbench.generators.neural.modes import TableModes
from workbench.generators.rejection import Acceptance
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import matches, meets, sample_matching
from workbench.tables.encode import Marginal, from_float
from workbench.tables.schema import Schema

POWER = 2.0  # of time, in the angle of the noise
CHUNK = 4096  # most rows that are denoised at once


@dataclass
class Diffusion:
    """Gaussian diffusion of numbers and masked diffusion of labels in one residual network."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epochs: int = 200
    """Most passes over the table (over 100,000 rows of it, drawn anew, where it has more)."""
    seconds: float | None = None
    """Train no longer than this; every step is timed, so training may end within an epoch."""
    patience: int = 20
    """Stop after so many epochs without a better loss on the held-out rows."""
    validation: float = 0.1
    """Share of the rows held out of training (2,000 rows at most)."""
    batch_size: int = 512
    """Rows a step; fewer where an epoch would have less than 20 steps."""
    width: int = 256
    """Units of the network."""
    blocks: int = 3
    """Residual blocks of the network."""
    learning_rate: float = 3e-3
    """Highest rate of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW."""
    revealed: float = 0.1
    """Share of the training rows of which the network sees a random part clean, as conditions make
    it see.
    """
    steps: int = 30
    """Steps from noise to rows."""
    max_values: int = 30
    """A number with at most so many values is treated as a label."""
    atom_share: float = 0.01
    """A value of a number that at least this share of the present ones have is a label within its
    column.
    """
    max_levels: int = 500
    """Most levels of a label column; the rarest labels share one, and are drawn by their shares."""

    def __post_init__(self):
        check_least(
            self,
            epochs=1,
            patience=1,
            batch_size=1,
            width=1,
            blocks=0,
            steps=1,
            max_values=1,
            max_levels=2,
        )
        for name in ("validation", "revealed"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"diffusion: {name} is {getattr(self, name)}; it must be at least 0 and"
                    " below 1."
                )

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Diffusion:
        """Raises Diverged where the loss is no longer finite. Weights depend on rng and on torch's
        number of threads.
        """
        self._schema = schema
        self._encoding = TableModes(
            table, schema, self.max_values, self.atom_share, self.max_levels, Scores
        )
        scores, codes = self._encoding.encode(table, rng)
        # Columns with one code only, and numbers without a value between their atoms, have nothing
        # to learn.
        self._coded = np.flatnonzero(np.array(self._encoding.sizes) > 1)
        self._scored = np.flatnonzero(np.isfinite(scores).any(axis=0))
        rows = EncodedRows(scores[:, self._scored], codes[:, self._coded])
        self._network = Denoiser(rows, self.width, self.blocks, rng).to(DEVICE)
        self._train(rows, rng)
        return self

    def _train(self, rows: EncodedRows, rng: np.random.Generator) -> None:
        """Train until rows held out say that it is enough, and keep the weights that were best for
        them.
        """
        network = self._network
        count = len(rows.scores)
        held = min(int(count * self.validation), 2000)
        order = rng.permutation(count)
        valid, train = order[:held], order[held:]
        # Drawn once, so that every epoch's held-out rows are noised alike.
        noise_seed = int(rng.integers(2**32))
        size = max(1, min(self.batch_size, len(train) // 20))
        rounds = min(len(train), 100_000) // size
        parameters = list(network.parameters())
        adam = AdamW(parameters, self.weight_decay)

        best = adam.average
        least = np.inf
        epochs_since = 0
        self.losses = []
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for epoch in self.trained:
            total = torch.zeros((), device=DEVICE)
            # A large table is not passed whole: an epoch is what can be waited for.
            batches = np.split(rng.permutation(train)[: size * rounds], rounds)
            for step in self.trained.steps(rounds):
                loss = network.loss(rows.noised(batches[step], rng, self.revealed))
                gradients = torch.autograd.grad(loss, parameters)
                done = self.trained.share(epoch, step, rounds)
                adam.step(gradients, self.learning_rate * schedule(done, warm_up=0.03))
                total += loss.detach()
            self.trained.check_rate(float(total), "diffusion", self.learning_rate)
            if not held:
                continue
            # The same noise each time, so that losses differ by the weights alone.
            noise = np.random.default_rng(noise_seed)
            with torch.no_grad(), adam.averaged():
                held_out_loss = float(network.loss(rows.noised(valid, noise)))
            self.losses.append((float(total) / (step + 1), held_out_loss))
            if held_out_loss < least:
                least = held_out_loss
                epochs_since = 0
                best = adam.average.clone()
            else:
                epochs_since += 1
            if epochs_since >= self.patience:
                break
        adam.use(best)

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Rows that meet `where` among those of the unconditional network, which is exact for what
        it has learnt. Where few do (see Acceptance), the rest is drawn from a network that is given
        the conditions from the start, numbers as draws from their range by train's distribution:
        this is approximate (the draw of a number ignores what else is wanted, and the network has
        seen conditions in few rows: beside a label of 1% of train, other columns came out half a
        standard deviation further off than by rejection), and rejection makes all of `where` hold.
        """
        where = where or {}
        requested = self._encoding.requested(where)
        # Both are prepared once, because a draw is repeated until enough rows meet the conditions.
        unrestricted = self._restriction({})
        restricted = self._restriction(where)
        acceptance = Acceptance()

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            # Exact by rejection first; the approximation only where too few rows would be accepted.
            is_given = acceptance.is_too_low
            restriction = restricted if is_given else unrestricted
            codes = np.zeros((size, len(self._encoding.sizes)), dtype=np.int64)
            scores = np.zeros((size, len(self._encoding.numbers)), dtype=np.float32)
            # In chunks, for memory: a step holds the states of all its rows.
            for start in range(0, size, CHUNK):
                part = slice(start, min(start + CHUNK, size))
                drawn = self._denoise(part.stop - start, rng, restriction)
                scores[part, self._scored], codes[part, self._coded] = drawn
            table = self._encoding.decode(scores, codes, rng, requested)
            if where and not is_given:
                acceptance.count(matches(table, self._schema, where))
            return table

        return sample_matching(draw, n, rng, self._schema, where)

    @torch.no_grad()
    def _denoise(
        self, n: int, rng: np.random.Generator, restriction: Restriction
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores, shape (n, scored columns), and codes, shape (n, coded columns), from noise."""
        network = self._network
        # Pure noise, and all codes masked: where every row starts.
        x = normal(rng, n, len(self._scored)).to(DEVICE)
        wanted, is_given = restriction.scores(rng, x)
        codes = network.masks.repeat(n, 1)
        # A condition that leaves one code is known from the first step on, so that it steers all
        # others.
        for column, code in restriction.single_codes():
            codes[:, column] = code
        angles = _angle(torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)).tolist()
        velocity_before = 0.0
        turn_before = np.inf
        for step, (angle, next_angle) in zip(
            range(self.steps, 0, -1), pairwise(angles), strict=True
        ):
            # Given numbers are put in clean again before each step, as they were in training.
            x = torch.where(is_given, wanted, x)
            time = torch.full((n, 1), step / self.steps, device=DEVICE)
            velocity, logits = network(x, is_given, codes, time)
            # Adams and Bashforth's second step: the velocity's change goes on as it did.
            turn = angle - next_angle
            change = turn / (2 * turn_before) * (velocity - velocity_before)
            x = x - turn * (velocity + change)
            velocity_before = velocity
            turn_before = turn
            # Of the masked codes as many are revealed at each step, the last ones at the last.
            is_masked = codes == network.masks
            is_revealed = is_masked & (random(rng, *codes.shape).to(DEVICE) < 1 / step)
            for column, logit in enumerate(logits):
                rows = is_revealed[:, column]
                allowed = restriction.masked(column, logit[rows])
                noise = gumbel(rng, *allowed.shape).to(DEVICE)
                codes[rows, column] = (allowed + noise).argmax(1)
        return torch.where(is_given, wanted, x).cpu().numpy(), codes.cpu().numpy()

    def _restriction(self, where: Mapping) -> Restriction:
        """What conditions leave of codes and scores. Nothing is restricted where a condition is met
        by no train value.
        """
        allowed: dict[int, torch.Tensor] = {}
        levels = np.tile([[0.0], [1.0]], len(self._encoding.numbers))
        numbers = list(self._encoding.numbers)
        for name, wanted in where.items():
            column = self._schema[name]
            position = self._schema.names.index(name)
            # A label's condition is a set of its codes.
            if column.is_discrete:
                labels = self._encoding.levels[name]
                met = labels[meets(labels, column, wanted)]
                mask = np.zeros(self._encoding.sizes[position], dtype=bool)
                mask[self._encoding.label_codes(met)] = True
            else:

                def is_met(values, column=column, wanted=wanted):
                    return meets(from_float(values, column), column, wanted)

                mask, levels[:, numbers.index(name)] = self._encoding.numbers[name].allowed(is_met)
            if mask.any() and position in self._coded:
                coded_column = int(np.searchsorted(self._coded, position))
                allowed[coded_column] = torch.from_numpy(mask).to(DEVICE)
        return Restriction(allowed, levels[:, self._scored])


@dataclass
class Restriction:
    """What conditions leave of a row.

    allowed   codes, bool, shape (size,), of the coded columns that are restricted
    levels    lowest and highest level of each score in train's distribution, shape (2, columns)
    """

    allowed: dict[int, torch.Tensor]
    levels: np.ndarray

    def scores(
        self, rng: np.random.Generator, like: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A draw of each score from its range by train's distribution, and which of them are to be
        given, both shaped like the scores `like`.
        """
        # Levels are places in train's distribution, so a draw between them follows train.
        low, high = self.levels
        level = low + (high - low) * rng.random(like.shape)
        wanted = torch.from_numpy(ndtri(level.clip(1e-9, 1 - 1e-9))).float().to(like.device)
        # A range that leaves all of the distribution restricts nothing.
        is_given = torch.from_numpy(high - low < 1).to(like.device)
        return wanted, is_given.expand(like.shape)

    def single_codes(self) -> Iterator[tuple[int, int]]:
        """Columns of which a single code is left, and this code."""
        for column, mask in self.allowed.items():
            if mask.sum() == 1:
                yield column, int(mask.nonzero())

    def masked(self, column: int, logits: torch.Tensor) -> torch.Tensor:
        """The logits of a column, minus infinity for codes that are not allowed."""
        if column not in self.allowed:
            return logits
        return logits.masked_fill(~self.allowed[column], -torch.inf)


@dataclass
class NoisedRows:
    """A batch of rows on their way to noise. Scores have shape (n, scored columns), codes (n, coded
    columns), times (n, 1).
    """

    clean: torch.Tensor
    noise: torch.Tensor
    is_given: torch.Tensor  # scores that the network sees clean, and need not predict
    codes: torch.Tensor
    is_masked: torch.Tensor  # codes that the network does not see
    time: torch.Tensor


class EncodedRows:
    """The encoded table: normal scores, NaN where a row's value is a code alone, and codes of
    `sizes` kinds a column.
    """

    def __init__(self, scores: np.ndarray, codes: np.ndarray):
        self.scores = torch.from_numpy(scores).to(DEVICE)
        self.codes = torch.from_numpy(codes).to(DEVICE)
        self.counts = [np.bincount(column) for column in codes.T]
        self.sizes = [len(count) for count in self.counts]

    def noised(
        self, rows: np.ndarray, rng: np.random.Generator, revealed: float = 0.0
    ) -> NoisedRows:
        """Rows at times spread over (0, 1); of a share `revealed` of them a random part is clean."""
        n = len(rows)
        index = torch.from_numpy(rows)
        scores = self.scores[index]
        codes = self.codes[index]
        device = scores.device
        # What is not there is noise, of which nothing can be learnt.
        clean = torch.where(scores.isnan(), normal(rng, *scores.shape).to(device), scores)
        # Times are spread evenly over the batch, one in each n-th part: less noise than independent
        # draws.
        time = (torch.from_numpy(rng.permutation(n))[:, None] + random(rng, n, 1)) / n
        # Some rows are shown in part, as conditions will show them.
        is_revealed = random(rng, n, 1) < revealed
        part = torch.where(is_revealed, random(rng, n, 1), 0.0)
        is_given = random(rng, *scores.shape) < part
        is_masked = random(rng, *codes.shape) < time
        # What is revealed is not masked.
        is_masked &= random(rng, *codes.shape) >= part
        noise = normal(rng, *scores.shape)
        return NoisedRows(
            clean,
            noise.to(device),
            is_given.to(device),
            codes,
            is_masked.to(device),
            time.to(device),
        )


class Denoiser(nn.Module):
    """A residual network that predicts the velocities of noised scores and the codes behind masks.

    It starts with outputs of velocity 0 and the codes' shares, whatever the input: columns that are
    independent of each other.
    """

    def __init__(
        self,
        rows: EncodedRows,
        width: int,
        blocks: int,
        rng: np.random.Generator,
        frequencies: int = 16,
    ):
        super().__init__()
        self._numbers = rows.scores.shape[1]
        self.sizes = rows.sizes
        self.width = width
        masks = torch.tensor(rows.sizes, dtype=torch.long)  # the code after a column's last
        self.register_buffer("masks", masks)
        self.register_buffer("_starts", (masks + 1).cumsum(0) - masks - 1)
        self.register_buffer("_waves", torch.arange(1, frequencies + 1) * torch.pi / 2)

        outputs = self._numbers + sum(rows.sizes)
        # Uniform weights whose variance is one over the inputs, so that sums start with variance 1;
        # of the codes, one a column counts as an input.
        self.numbers = Linear(2 * self._numbers, width, rng, _bound(2 * self._numbers), bias=False)
        self.codes = None
        if rows.sizes:
            entries = sum(rows.sizes) + len(rows.sizes)
            self.codes = OneHotLinear(entries, width, rng, _bound(len(rows.sizes)))
        self.time = Linear(2 * frequencies, width, rng, _bound(2 * frequencies))
        layers = [Linear(width, width, rng, _bound(width)) for _ in range(blocks)]
        self.blocks = nn.ModuleList(layers)
        self.last = Linear(width, outputs, rng)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.bias.zero_()
            # The first logits are the columns' shares, so that an untrained network draws the right
            # margins.
            if rows.counts:
                log_counts = torch.from_numpy(np.log(np.concatenate(rows.counts)))
                self.last.bias[self._numbers :] = log_counts

    def forward(
        self, x: torch.Tensor, is_given: torch.Tensor, codes: torch.Tensor, time: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Velocities, shape (n, numbers), and a list of each column's logits, shape (n, size).

        x: noised scores, and clean ones where `is_given`. codes: a column's mask where unseen.
        """
        # Products of half as many bits take half the time where the processor has instructions for
        # them.
        has_half = torch.cpu._is_avx512_bf16_supported()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_half):
            # Time as waves of several lengths: a linear layer can tell early from late steps by
            # them.
            turns = time * self._waves
            hidden = self.time(torch.cat([turns.cos(), turns.sin()], dim=1))
            hidden = hidden + self.numbers(torch.cat([x, is_given], dim=1))
            if self.codes is not None:
                hidden = hidden + self.codes(codes + self._starts)
            for block in self.blocks:
                hidden = hidden + F.silu(block(self._normalised(hidden)))
            output = self.last(self._normalised(hidden)).float()
        velocity, *logits = output.split([self._numbers, *self.sizes], dim=1)
        return velocity, logits

    def _normalised(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(hidden, [self.width])

    def loss(self, rows: NoisedRows) -> torch.Tensor:
        """Squared error of the velocities, and MDLM's bound on the codes: the cross-entropy of the
        masked ones over time.

        Time is replaced by what it is on average given k of c codes are masked: 1 / time by (c + 1)
        / k.
        """
        # The turn of the module's docstring: x cos a + e sin a.
        cos = _angle(rows.time).cos()
        sin = _angle(rows.time).sin()
        noised = torch.where(rows.is_given, rows.clean, rows.clean * cos + rows.noise * sin)
        seen = torch.where(rows.is_masked, self.masks, rows.codes)
        velocity, logits = self(noised, rows.is_given, seen, rows.time)
        error = velocity - (rows.noise * cos - rows.clean * sin)
        # What was given clean need not be predicted, and would pull the loss down for nothing.
        loss = (error.square() * ~rows.is_given).sum(1)
        weight = (len(logits) + 1) / rows.is_masked.sum(1).clamp(min=1)
        for j, logit in enumerate(logits):
            surprise = F.cross_entropy(logit, rows.codes[:, j], reduction="none")
            loss = loss + surprise * rows.is_masked[:, j] * weight
        return loss.mean()


def _bound(inputs: int) -> float:
    """Of uniform weights with variance 1 / inputs."""
    return (3 / max(inputs, 1)) ** 0.5


class Scores:
    """One column of numbers or dates as (normal score, code): a code for each atom, one for all
    other values, one for missing.

    All values are atoms where there are at most `max_values`, otherwise those that at least `share`
    of the present ones have.
    """

    def __init__(self, values: np.ndarray, max_values: int, share: float):
        present = values[~np.isnan(values)]
        distinct, counts = np.unique(present, return_counts=True)
        # A number of few values is a label: between its values lies nothing that could be drawn.
        if len(distinct) <= max_values:
            self.atoms = distinct
        else:
            self.atoms = distinct[counts >= share * len(present)]
        others = Marginal.fit(present[~np.isin(present, self.atoms)])
        # A grid that the whole column shows, such as multiples of 100, holds for its few other values.
        step = Marginal.fit(present).step
        # A finer grid than the column's would be read off few values by chance.
        is_coarser = step is not None and others.step is not None and step > others.step
        self.others = Marginal(others.values, step) if is_coarser else others
        self._has_others = len(self.others.values) > 0
        self.size = len(self.atoms) + int(self._has_others) + int(np.isnan(values).any())

    def encode(self, values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores, NaN where the code says all, and codes, each of shape (n,)."""
        is_missing = np.isnan(values)
        is_other = ~np.isin(values, self.atoms) & ~is_missing
        codes = np.searchsorted(self.atoms, values)
        codes[is_other] = len(self.atoms)
        codes[is_missing] = self.size - 1
        ranks = self.others.uniform_rank(np.where(is_other, values, np.nan), rng)
        return ndtri(ranks), codes

    def decode(self, scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Floats on the column's grid and within its bounds, NaN for missing, shape (n,)."""
        # Two more places: the code of other values, filled below, and that of missing ones.
        values = np.append(self.atoms, [np.nan, np.nan])[codes]
        if self._has_others:
            other = codes == len(self.atoms)
            values[other] = self.others.quantile(ndtr(scores[other].astype(float)))
        return values

    def allowed(
        self, is_met: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, tuple[float, float]]:
        """Which codes can meet a condition, bool, shape (size,), and the lowest and highest level
        of other values that do.
        """
        mask = is_met(np.append(self.atoms, [np.nan, np.nan]))[: self.size]
        # The values are sorted, so those that meet a range are neighbours.
        met = np.flatnonzero(is_met(self.others.values))
        if self._has_others:
            mask[len(self.atoms)] = len(met) > 0
        if not len(met):
            return mask, (0.0, 1.0)
        count = len(self.others.values)
        return mask, (met[0] / count, (met[-1] + 1) / count)


def _angle(time: torch.Tensor) -> torch.Tensor:
    """Of the noise in numbers, from 0 to a right angle; small angles, where details arise, take
    more of the time.
    """
    return time**POWER * torch.pi / 2
