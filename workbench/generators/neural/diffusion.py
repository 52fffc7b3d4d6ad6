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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr, ndtri
from torch.nn import functional as F

from workbench.errors import InputError
from workbench.generators import check_least
from workbench.generators.neural.layers import DEVICE, AdamW, gumbel, normal, random, schedule
from workbench.generators.neural.modes import TableModes
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import matches, meets, sample_matching
from workbench.tables.encode import Marginal, from_float
from workbench.tables.schema import Schema

POWER = 2.0  # of time, in the angle of the noise
CHUNK = 4096  # most rows that are denoised at once
# Share of rows that meet a condition below which it is given to the network, since rejection would
# draw about seventy rows for one; judged by so many rows
RARE, PROBE = 0.015, 4000


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
    told: float = 0.1
    """Share of the training rows of which the network is told a random part, as conditions do."""
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
        for name in ("validation", "told"):
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
        rows = Rows(scores[:, self._scored], codes[:, self._coded])
        self._network = network = Network(rows, self.width, self.blocks)

        held = min(int(len(table) * self.validation), 2000)
        order = rng.permutation(len(table))
        valid, train, seed = order[:held], order[held:], int(rng.integers(2**32))
        size = max(1, min(self.batch_size, len(train) // 20))
        rounds = min(len(train), 100_000) // size
        weights = network.initial(rng).requires_grad_()
        adam = AdamW(weights, self.weight_decay)
        least, since, best, self.losses = np.inf, 0, adam.average, []
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for epoch in self.trained:
            total = 0.0
            batches = np.split(rng.permutation(train)[: size * rounds], rounds)
            for step in self.trained.steps(rounds):
                batch = batches[step]
                loss = network.loss(weights, *rows.noised(batch, rng, self.told))
                done = self.trained.share(epoch, step, rounds)
                adam.step(
                    *torch.autograd.grad(loss, weights),
                    self.learning_rate * schedule(done, warm_up=0.03),
                )
                total += loss.detach()
            self.trained.check(
                float(total), "diffusion", f"the learning rate {self.learning_rate:g} is too large"
            )
            if held:
                # The same noise each time, so that losses differ by the weights alone.
                with torch.no_grad():
                    loss = float(
                        network.loss(adam.average, *rows.noised(valid, np.random.default_rng(seed)))
                    )
                self.losses.append((float(total) / (step + 1), loss))
                least, since, best = (
                    (loss, 0, adam.average.clone()) if loss < least else (least, since + 1, best)
                )
                if since >= self.patience:
                    break
        self._weights = best
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Rows that meet `where` among those of the unconditional network, which is exact for what
        it has learnt. Where fewer than RARE of them do, the rest is drawn from a network that is
        given the conditions from the start, numbers as draws from their range by train's
        distribution: this is approximate (the draw of a number ignores what else is wanted, and the
        network has seen conditions in few rows: at an end of a range, other columns came out half a
        standard deviation off), and rejection makes all of `where` hold.
        """
        where = where or {}
        asked = self._encoding.asked(where)
        conditions = self._allowed({})
        rows_drawn = rows_met = 0

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            nonlocal conditions, rows_drawn, rows_met
            codes = np.zeros((size, len(self._encoding.sizes)), dtype=np.int64)
            scores = np.zeros((size, len(self._encoding.numbers)), dtype=np.float32)
            for start in range(0, size, CHUNK):
                part = slice(start, min(start + CHUNK, size))
                drawn = self._denoise(part.stop - start, rng, *conditions)
                scores[part, self._scored], codes[part, self._coded] = drawn
            table = self._encoding.decode(scores, codes, rng, asked)
            if where:
                rows_drawn += size
                rows_met += int(matches(table, self._schema, where).sum())
                if rows_drawn >= PROBE and rows_met < RARE * rows_drawn:
                    conditions = self._allowed(where)
            return table

        return sample_matching(draw, n, rng, self._schema, where)

    @torch.no_grad()
    def _denoise(
        self, n: int, rng: np.random.Generator, allowed: dict, levels: np.ndarray
    ) -> tuple:
        """Scores, shape (n, scored columns), and codes, shape (n, coded columns), from noise."""
        network, device = self._network, self._weights.device
        x = normal(rng, n, len(self._scored)).to(device)
        low, high = levels
        wanted = (
            torch.from_numpy(ndtri((low + (high - low) * rng.random(x.shape)).clip(1e-9, 1 - 1e-9)))
            .float()
            .to(device)
        )
        given = torch.from_numpy(high - low < 1).to(device).expand(x.shape)
        codes = network.masks.repeat(n, 1)
        for j, mask in allowed.items():
            if mask.sum() == 1:
                codes[:, j] = int(mask.nonzero())
        angles = _angle(torch.linspace(1, 0, self.steps + 1, dtype=float)).tolist()
        before, turned = 0.0, np.inf
        for step, (angle, after) in zip(range(self.steps, 0, -1), pairwise(angles), strict=True):
            x = torch.where(given, wanted, x)
            velocity, logits = network(
                self._weights, x, given, codes, torch.full((n, 1), step / self.steps, device=device)
            )
            # Adams and Bashforth's second step: the velocity's change goes on as it did.
            turn = angle - after
            x = x - turn * (velocity + turn / (2 * turned) * (velocity - before))
            before, turned = velocity, turn
            reveal = (codes == network.masks) & (random(rng, *codes.shape).to(device) < 1 / step)
            for j, logit in enumerate(logits):
                logit = logit[reveal[:, j]]
                if j in allowed:
                    logit = logit.masked_fill(~allowed[j], -torch.inf)
                codes[reveal[:, j], j] = (logit + gumbel(rng, *logit.shape).to(device)).argmax(1)
        return torch.where(given, wanted, x).cpu().numpy(), codes.cpu().numpy()

    def _allowed(self, where: Mapping) -> tuple[dict[int, torch.Tensor], np.ndarray]:
        """What conditions leave: codes, bool, by coded column; lowest and highest levels, shape (2,
        scored columns).

        Nothing is restricted where a condition is met by no train value.
        """
        allowed, levels = {}, np.tile([[0.0], [1.0]], len(self._encoding.numbers))
        for name, wanted in where.items():
            column, j = self._schema[name], self._schema.names.index(name)
            mask = np.zeros(self._encoding.sizes[j], dtype=bool)

            if column.is_discrete:
                labels = self._encoding.levels[name]
                mask[self._encoding.label_codes(labels[meets(labels, column, wanted)])] = True
            else:
                i = list(self._encoding.numbers).index(name)
                mask, levels[:, i] = self._encoding.numbers[name].allowed(
                    lambda v, c=column, w=wanted: meets(from_float(v, c), c, w)
                )
            if mask.any() and j in self._coded:
                allowed[int(np.searchsorted(self._coded, j))] = torch.from_numpy(mask).to(
                    self._weights.device
                )
        return allowed, levels[:, self._scored]


class Rows:
    """The encoded table: normal scores, NaN where a row's value is a code alone, and codes of
    `sizes` kinds a column.
    """

    def __init__(self, scores: np.ndarray, codes: np.ndarray):
        self.scores, self.codes = (
            torch.from_numpy(scores).to(DEVICE),
            torch.from_numpy(codes).to(DEVICE),
        )
        self.counts = [np.bincount(column) for column in codes.T]
        self.sizes = [len(count) for count in self.counts]

    def noised(
        self, rows: np.ndarray, rng: np.random.Generator, told: float = 0.0
    ) -> tuple[torch.Tensor, ...]:
        """Clean and noised scores, which are given, codes clean and masked, and times, shape (n,
        1), spread over (0, 1).

        A share `told` of the rows are told a random part of themselves.
        """
        n, index = len(rows), torch.from_numpy(rows)
        scores, codes = self.scores[index], self.codes[index]
        # What is not there is noise, of which nothing can be learnt.
        clean = torch.where(scores.isnan(), normal(rng, *scores.shape).to(scores.device), scores)
        time = (torch.from_numpy(rng.permutation(n))[:, None] + random(rng, n, 1)) / n
        told = torch.where(random(rng, n, 1) < told, random(rng, n, 1), 0.0)
        given = (random(rng, *scores.shape) < told).to(scores.device)
        masked = ((random(rng, *codes.shape) < time) & (random(rng, *codes.shape) >= told)).to(
            codes.device
        )
        time = time.to(scores.device)
        return clean, normal(rng, *scores.shape).to(scores.device), given, codes, masked, time


class Network:
    """A residual network as a function of one flat vector of weights."""

    def __init__(self, rows: Rows, width: int, blocks: int, frequencies: int = 16):
        self._numbers, self._sizes, self._counts = rows.scores.shape[1], rows.sizes, rows.counts
        self.masks = torch.tensor(
            rows.sizes, dtype=torch.long, device=rows.codes.device
        )  # the code after a column's last
        self._starts = (self.masks + 1).cumsum(0) - self.masks - 1
        self._waves = torch.arange(1, frequencies + 1, device=rows.codes.device) * torch.pi / 2
        self._width, out = width, self._numbers + sum(rows.sizes)
        self._shapes = [
            (2 * self._numbers, width),
            (sum(rows.sizes) + len(rows.sizes), width),
            (2 * frequencies, width),
        ]
        self._shapes += [(width,), *[(width, width), (width,)] * blocks, (width, out), (out,)]

    def initial(self, rng: np.random.Generator) -> torch.Tensor:
        """Small random weights, and outputs of velocity 0 and the codes' logarithmic shares,
        whatever the input.
        """
        inputs = [shape[0] if len(shape) > 1 else np.inf for shape in self._shapes]
        inputs[1] = len(self._sizes)  # one level of every column
        parts = [
            normal(rng, *shape) * max(n, 1) ** -0.5
            for shape, n in zip(self._shapes, inputs, strict=True)
        ]
        parts[-2].zero_()
        if self._counts:
            parts[-1][self._numbers :] = torch.from_numpy(np.log(np.concatenate(self._counts)))
        return torch.cat([part.flatten() for part in parts]).to(self.masks.device)

    def __call__(
        self, weights: torch.Tensor, x: torch.Tensor, given: torch.Tensor, codes, time
    ) -> tuple:
        """Velocities, shape (n, numbers), and a list of each column's logits, shape (n, size)."""
        # Products of half as many bits take half the time where the processor has instructions for
        # them.
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            out = self._outputs(weights, torch.cat([x, given], dim=1), codes, time).float()
        velocity, *logits = out.split([self._numbers, *self._sizes], dim=1)
        return velocity, logits

    def _outputs(
        self, weights: torch.Tensor, x: torch.Tensor, codes: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        parts = weights.split([int(np.prod(shape)) for shape in self._shapes])
        numbers, levels, waves, bias, *layers = (
            part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)
        )
        turns = time * self._waves
        hidden = torch.addmm(bias, torch.cat([turns.cos(), turns.sin()], dim=1), waves).addmm(
            x, numbers
        )
        if self._sizes:
            hidden = hidden + F.embedding_bag(codes + self._starts, levels, mode="sum")
        *blocks, weight, bias = layers
        for inner, shift in zip(blocks[::2], blocks[1::2], strict=True):
            hidden = hidden + F.silu(torch.addmm(shift, F.layer_norm(hidden, [self._width]), inner))
        return torch.addmm(bias, F.layer_norm(hidden, [self._width]), weight)

    def loss(
        self,
        weights: torch.Tensor,
        x: torch.Tensor,
        noise: torch.Tensor,
        given: torch.Tensor,
        codes,
        masked,
        time,
    ) -> torch.Tensor:
        """Squared error of the velocities, and MDLM's bound on the codes: the cross-entropy of the
        masked ones over time.

        Time is replaced by what it is on average given k of c codes are masked: 1 / time by (c + 1)
        / k.
        """
        cos, sin = _angle(time).cos(), _angle(time).sin()
        noised = torch.where(given, x, x * cos + noise * sin)
        velocity, logits = self(
            weights, noised, given, torch.where(masked, self.masks, codes), time
        )
        loss = ((velocity - noise * cos + x * sin).square() * ~given).sum(1)
        weight = (len(logits) + 1) / masked.sum(1).clamp(min=1)
        for j, logit in enumerate(logits):
            loss = (
                loss + F.cross_entropy(logit, codes[:, j], reduction="none") * masked[:, j] * weight
            )
        return loss.mean()


class Scores:
    """One column of numbers or dates as (normal score, code): a code for each atom, one for all
    other values, one for missing.

    All values are atoms where there are at most `max_values`, otherwise those that at least `share`
    of the present ones have.
    """

    def __init__(self, values: np.ndarray, max_values: int, share: float):
        present = values[~np.isnan(values)]
        distinct, counts = np.unique(present, return_counts=True)
        self.atoms = (
            distinct if len(distinct) <= max_values else distinct[counts >= share * len(present)]
        )
        others = Marginal.fit(present[~np.isin(present, self.atoms)])
        # A grid that the whole column shows, such as multiples of 100, holds for its few other values.
        step = Marginal.fit(present).step
        is_coarser = step is not None and others.step is not None and step > others.step
        self.others = Marginal(others.values, step) if is_coarser else others
        self._has_others = len(self.others.values) > 0
        self.size = len(self.atoms) + self._has_others + bool(np.isnan(values).any())

    def encode(self, values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores, NaN where the code says all, and codes, each of shape (n,)."""
        codes, other = (
            np.searchsorted(self.atoms, values),
            ~np.isin(values, self.atoms) & ~np.isnan(values),
        )
        codes[other], codes[np.isnan(values)] = len(self.atoms), self.size - 1
        return ndtri(self.others.uniform_rank(np.where(other, values, np.nan), rng)), codes

    def decode(self, scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Floats on the column's grid and within its bounds, NaN for missing, shape (n,)."""
        values = np.append(self.atoms, [np.nan, np.nan])[codes]
        if self._has_others:
            other = codes == len(self.atoms)
            values[other] = self.others.quantile(ndtr(scores[other].astype(float)))
        return values

    def allowed(
        self, meets: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, tuple[float, float]]:
        """Which codes can meet a condition, bool, shape (size,), and the lowest and highest level
        of other values that do.
        """
        mask, found = (
            meets(np.append(self.atoms, [np.nan, np.nan]))[: self.size],
            np.flatnonzero(meets(self.others.values)),
        )
        if self._has_others:
            mask[len(self.atoms)] = len(found) > 0
        return mask, (
            (
                found[0] / len(self.others.values),
                (found[-1] + 1) / len(self.others.values),
            )
            if len(found)
            else (0, 1)
        )


def _angle(time: torch.Tensor) -> torch.Tensor:
    """Of the noise in numbers, from 0 to a right angle; small angles, where details arise, take
    more of the time.
    """
    return time**POWER * torch.pi / 2
