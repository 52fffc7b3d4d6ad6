"""Autoregressive transformer: a small language model whose words are a row's values, one column
after the other.

Radford et al. 2018, "Improving language understanding by generative pre-training", for tables as in
Castellon et al. 2023 (DP-TBART, arXiv:2307.10430) and Tiwald et al. 2025 (TabularARGN,
arXiv:2501.12012): every column has a vocabulary of its own, so an impossible value cannot be drawn.
Numbers with many values are quantile bins, and are drawn within their bin without regard to the
rest of the row; a table of a few hundred rows teaches it little more than the marginals.

Where this differs from those papers: a number's codes take their meaning from knots along its range
and from its normal score, and have a say of their own only where train holds them often, so that
neighbours are learnt together; bins at both ends are finer; the weights are averaged, and those
with the least loss on rows held out of training are kept, which keeps rows from being learnt by
heart; the columns keep one order, so conditions are met by weighted rejection, which is exact up to
a share of one over the number of proposals.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from workbench.errors import InputError, nearest
from workbench.generators import check_least
from workbench.generators.neural.layers import DEVICE, AdamW, gumbel, schedule
from workbench.generators.neural.transformer import CausalTransformer, logits
from workbench.generators.training import Epochs, bar
from workbench.tables.conditions import meets, sample_matching
from workbench.tables.encode import Codes
from workbench.tables.schema import Schema

TOKENS = 2**15  # most values, rows times columns, that pass through the network at once


@dataclass
class AutoregressiveTransformer:
    """A causal transformer over columns, trained by maximum likelihood."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    epochs: int = 10
    """Most passes over the table, or over `epoch_rows` rows of it; the learning rate falls to zero
    over them.
    """
    epoch_rows: int | None = 100_000
    """Most rows of one epoch, those held out not counted; an epoch of a larger table trains on so
    many of its rows, drawn anew for each epoch, and a warning says so. None for no limit.
    """
    seconds: float | None = None
    """Train no longer than this; every step is timed, so training may end within an epoch."""
    patience: int = 5
    """Stop after so many epochs without a lower loss on the rows held out of training."""
    validation: float = 0.1
    """Share of the rows held out of training, 10,000 rows at most; with 0 the last weights are
    kept.
    """
    batch_size: int = 256
    """Rows a step; fewer in tables of many columns, and so many that an epoch has 20 steps."""
    width: int = 64
    """Units that stand for a value and what came before it; a multiple of heads."""
    layers: int = 3
    """Blocks of attention and a network of one hidden layer, four times as wide."""
    heads: int = 2
    """Attention heads."""
    bins: int = 128
    """Quantile bins of a number, and the most distinct values that are drawn as they are; an eighth
    of the rows at most.
    """
    knots: int = 16
    """Points along a number's range between which its codes interpolate what they share."""
    max_levels: int = 500
    """Most levels of a label column; the rarest labels share one, and are drawn by their shares."""
    learning_rate: float = 3e-3
    """Highest rate of AdamW for 256 rows a step; for fewer it falls with the square root."""
    weight_decay: float = 0.01
    """Of AdamW: pulls all weights towards zero, where the columns are independent."""
    dropout: float = 0.1
    """Share of each block's outputs that is left out in a training step."""
    order: Sequence[str] = ()
    """Columns to draw first, by name; the others follow in the table's order. Conditions on the
    first column cost nothing.
    """

    def __post_init__(self):
        least = dict.fromkeys(
            ("epochs", "patience", "batch_size", "width", "layers", "heads", "bins", "knots"), 1
        )
        check_least(
            self, **least, max_levels=2, validation=0, learning_rate=0, weight_decay=0, dropout=0
        )
        if self.epoch_rows is not None:
            check_least(self, epoch_rows=1)
        if self.width % self.heads:
            raise InputError(
                f"autoregressive: width is {self.width}; it must be a multiple of heads"
                f" ({self.heads})."
            )
        for name in ("validation", "dropout"):
            if not getattr(self, name) < 1:
                raise InputError(
                    f"autoregressive: {name} is {getattr(self, name)}; it must be below 1."
                )

    def supports(self, schema: Schema) -> str | None:
        return None

    def fit(
        self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator
    ) -> AutoregressiveTransformer:
        """Raises Diverged where the loss is no longer finite. Weights depend on rng and on torch's
        number of threads.
        """
        for name in self.order:
            if name not in schema.names:
                raise InputError(
                    f"order of autoregressive: no column {name!r};"
                    f" {nearest(str(name), schema.names)}"
                )
        self._schema = schema
        # The columns named first come first, each once; all others keep the table's order.
        self._order = list(dict.fromkeys([*self.order, *schema.names]))
        # Conditions are looked up among these: a code stands for a bin or for several labels, so
        # that codes alone could not say which values meet a condition.
        self._values = {name: table[name].drop_duplicates() for name in schema.names}
        # Eight rows a bin at least: fewer would be learnt by heart.
        self._codes = Codes(
            table, schema, max(1, min(self.bins, len(table) // 8)), self.max_levels, tail_rows=4
        )
        codes = self._encode(table)
        # So many rows tell the loss well enough; more would only make each epoch longer.
        held_count = min(int(len(table) * self.validation), 10_000)
        self.held = rng.permutation(len(table))[:held_count]
        # Rows for the stop are taken out before the first step, or their loss would not rise when
        # the network begins to learn rows by heart.
        held = codes[self.held]
        train = codes[np.delete(np.arange(len(table)), self.held)]
        self._network = CausalTransformer(
            codes,
            [self._codes.size(name) for name in self._order],
            [not schema[name].is_discrete for name in self._order],
            self.width,
            self.layers,
            self.heads,
            self.knots,
            self.dropout,
            rng,
        ).to(DEVICE)
        self._train(train, held, rng)
        return self

    def _train(self, train: torch.Tensor, held: torch.Tensor, rng: np.random.Generator) -> None:
        """Train on codes, and keep the weights that were best for those held out."""
        network = self._network
        epoch_rows = self._rows_of_an_epoch(len(train))
        parameters = list(network.parameters())
        adam = AdamW(parameters, self.weight_decay)
        # At least 20 steps an epoch on a small table, and a bound on what one step holds in memory
        # on a wide one.
        size = max(1, min(self.batch_size, epoch_rows // 20, TOKENS // train.shape[1]))
        steps = epoch_rows // size
        # A smaller batch has noisier gradients: the rate falls with the root of its size.
        rate = self.learning_rate * min(1.0, size / 256) ** 0.5

        best = adam.average
        self.losses = []
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        for epoch in self.trained:
            total = torch.zeros((), device=DEVICE)
            # The last, incomplete batch is left out, and so are rows beyond those of an epoch; which
            # rows that is changes with every epoch.
            order = torch.from_numpy(rng.permutation(len(train))[: size * steps])
            batches = order.view(steps, size)
            for step in self.trained.steps(steps):
                loss = network.losses(train[batches[step]], rng).mean()
                gradients = torch.autograd.grad(loss, parameters)
                done = self.trained.share(epoch, step, steps)
                adam.step(gradients, rate * schedule(done))
                total += loss.detach()
            self.trained.check_rate(float(total), "autoregressive", self.learning_rate)
            if not len(held):
                continue
            # The averaged weights are the ones that are kept, so it is their loss that decides.
            with adam.averaged():
                self.losses.append(-float(self._scores(held).mean()))
            if self.losses[-1] <= min(self.losses):
                best = adam.average.clone()
            # The best epoch lies more than `patience` epochs back.
            elif len(self.losses) - np.argmin(self.losses) > self.patience:
                break
        adam.use(best)

    def _rows_of_an_epoch(self, train_rows: int) -> int:
        """As many as there are, or `epoch_rows` with a warning; the batch keeps the same sentence."""
        self.facts = {}
        if self.epoch_rows is None or train_rows <= self.epoch_rows:
            return train_rows
        sentence = (
            f"autoregressive: each epoch trains on {self.epoch_rows:,} of {train_rows:,} rows, drawn"
            " anew for each; epoch_rows=None trains on all of them."
        )
        self.facts["notes"] = [sentence]
        warnings.warn(sentence, stacklevel=4)
        return self.epoch_rows

    def log_likelihood(self, table: pd.DataFrame) -> np.ndarray:
        """Log probability of each row's codes in nats, shape (rows,); minus infinity where train
        lacks a value.

        Probabilities are of bins and of shared levels; see `bins` and `max_levels`.
        """
        return self._scores(self._encode(table))

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Columns up to the last one in `where` are drawn among what it allows; of these
        beginnings, those are kept that the model had a good chance to draw without a condition (in
        proportion to it), and completed. Rejection then makes it exact.
        """
        allowed, requested = self._allowed(where or {})
        # The network's columns may stand in another order than the table's.
        in_table_order = [self._order.index(name) for name in self._schema.names]

        def draw(size: int, rng: np.random.Generator) -> pd.DataFrame:
            rows = torch.empty((size, 0), dtype=torch.int64, device=DEVICE)
            if allowed:
                # A beginning that the model would hardly have drawn is kept with that small a
                # chance: the weights of importance sampling, turned into an acceptance.
                rows, log_chance = self._extend(rows, max(allowed) + 1, rng, allowed)
                threshold = torch.from_numpy(rng.random(size)).to(DEVICE).log()
                rows = rows[threshold < log_chance - log_chance.max()]
            rows, _ = self._extend(rows, len(self._order), rng)
            codes = rows.cpu().numpy()
            table = self._codes.decode(codes[:, in_table_order], rng)
            # A label that shares its code with others would come back as any of them.
            for value in requested:
                repeated = value.take(np.zeros(len(table), dtype=int))
                table[value.name] = repeated.reset_index(drop=True)
            return table

        return sample_matching(draw, n, rng, self._schema, where)

    def _encode(self, table: pd.DataFrame) -> torch.Tensor:
        """The table's codes, columns in the order they are drawn, shape (rows, columns)."""
        # Half the memory where codes are small, which they nearly always are.
        dtype = np.int16 if max(self._codes.sizes) < 2**15 else np.int32
        codes = np.empty((len(table), len(self._order)), dtype=dtype)
        for position, name in enumerate(self._order):
            codes[:, position] = self._codes.encode_column(table[name])
        return torch.from_numpy(codes).to(DEVICE)

    def _allowed(self, where: Mapping) -> tuple[dict[int, torch.Tensor], list[pd.Series]]:
        """Which codes conditions leave of the column at a position, bool, shape (size,); and the
        values requested outright.

        Nothing where no train value meets a condition.
        """
        allowed: dict[int, torch.Tensor] = {}
        requested: list[pd.Series] = []
        for name, wanted in where.items():
            column = self._schema[name]
            values = self._values[name]
            found = values[meets(values, column, wanted)]
            if not len(found):
                return {}, []
            mask = torch.zeros(self._codes.size(name), dtype=torch.bool, device=DEVICE)
            mask[self._codes.encode_column(found).astype(np.int64)] = True
            allowed[self._order.index(name)] = mask
            # A single value that was asked for is written as it stands; a range is left to the
            # draw.
            if not isinstance(wanted, (list, tuple)):
                requested.append(found)
        return allowed, requested

    @torch.no_grad()
    def _scores(self, codes: torch.Tensor) -> np.ndarray:
        # In parts, or a large table would not fit into memory at once.
        size = max(1, TOKENS // codes.shape[1])
        parts = [-self._network.losses(part) for part in codes.split(size)]
        return torch.cat(parts).double().cpu().numpy()

    @torch.no_grad()
    def _extend(
        self,
        rows: torch.Tensor,
        end: int,
        rng: np.random.Generator,
        allowed: Mapping[int, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of the columns before `end`, shape (n, end), and the log chance of meeting
        `allowed`, shape (n,).
        """
        network = self._network
        # Both depend on the weights alone, and are the same for every column and row.
        meaning = network.meaning()
        outputs = network.outputs()
        extended, log_chances = [], []
        for codes in rows.split(2 * TOKENS // len(self._order) + 1):
            log_chance = torch.zeros(len(codes), device=DEVICE)
            # Keys and values of the columns before are kept: each new column costs one position,
            # not all.
            cache = network.cache(len(codes), end)
            seen = 0
            for position in range(codes.shape[1], end):
                hidden = network.hidden(meaning, codes, cache=cache, seen=seen)[:, -1]
                seen = position + 1
                chances = logits(outputs[position], hidden)
                if allowed and position in allowed:
                    # The chance that the column meets its condition, before the impossible codes
                    # are taken out.
                    total = chances.logsumexp(1)
                    chances = chances.masked_fill(~allowed[position], -torch.inf)
                    log_chance += chances.logsumexp(1) - total
                # The largest of logits with Gumbel noise is a draw from their softmax.
                noise = gumbel(rng, *chances.shape).to(DEVICE)
                drawn = (chances + noise).argmax(1, keepdim=True)
                codes = torch.cat([codes, drawn], dim=1)
            extended.append(codes)
            log_chances.append(log_chance)
        return torch.cat(extended), torch.cat(log_chances)
