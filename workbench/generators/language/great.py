"""GReaT: a small causal language model, fine-tuned on rows that are written out as text, writes
further rows.

Borisov, Sessler, Leemann, Pawelczyk and Kasneci 2023, "Language models are realistic tabular data
generators": a row is "age is 39, job is "clerk", ..." with its columns in random order, so that the
model can go on from any of them. It brings what the checkpoint has read about the columns' words,
and needs a checkpoint that has read something: random weights learn from train alone, and less well
than networks made for tables.

Where this differs: values are written as JSON, so that no comma or "is" within a label can be taken
for an end; numbers have a fixed count of decimals; only values are learnt, as the columns' names
are given; and a grammar (llguidance) masks at each token what no value can be. What a grammar
cannot hold, such as a number's ends, is checked in every row, and bad rows are written again.
Masking is renormalisation token by token, so chances under a condition are approximate.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from workbench.errors import InputError, missing_package
from workbench.generators import check_least
from workbench.generators.language.cells import Cell
from workbench.generators.language.checkpoint import (
    is_gguf,
    last_layers,
    load,
    random_checkpoint,
    untrained,
)
from workbench.generators.language.prompt import Form, unwritable
from workbench.generators.neural.layers import DEVICE, AdamW, schedule
from workbench.generators.training import Epochs, bar
from workbench.tables.schema import Schema

__all__ = ["GReaT", "random_checkpoint"]

RANDOM = "random"
IGNORED = -100  # transformers' mark of a token that is not to be learnt

TokenPair = tuple[list[int], list[int]]  # of a column's name, and of its value


@dataclass
class GReaT:
    """Fine-tunes the causal language model of a checkpoint on rows as text (Borisov et al. 2023)."""

    progress: ClassVar[Callable[[range], Iterable[int]]] = staticmethod(bar)
    """Wraps the epochs. No hyper-parameter: set it on an object to follow its training elsewhere.
    """

    checkpoint: str = ""
    """Folder of a causal model and its tokenizer saved by transformers, a GGUF file, or a hub's name
    where there is a network; "smollm2-135m-instruct" is the model that `make model-server` serves;
    "random" makes a tiny model of random weights and a tokenizer of train's words.
    """
    trained_layers: int | None = None
    """How many of the last layers learn, the others keep what the checkpoint has; None lets all
    weights learn. A step through few layers takes less than half the time.
    """
    epochs: int = 50
    """Most passes over the table; the learning rate falls to zero over them."""
    seconds: float | None = None
    """Train no longer than this; every step is timed, so training may end within an epoch."""
    batch_size: int = 32
    """Rows a step."""
    learning_rate: float | None = None
    """Highest rate of AdamW; None takes 0.0001, and 0.01 for random weights."""
    weight_decay: float = 0.01
    """Of AdamW."""
    temperature: float = 1.0
    """Below 1 the likelier values are drawn more often than they should be; the paper takes 0.7."""
    digits: int = 5
    """Digits that resolve a number's range, where train's numbers have no grid such as whole cents."""
    texts: Sequence[str] = ()
    """Label columns that are written freely, such as notes, instead of chosen among train's levels.
    """
    text_length: int = 400
    """Most characters of a free text; longer ones are learnt up to here."""
    sample_rows: int = 256
    """Rows written side by side."""
    tries: int = 50
    """Rows written for each that is wanted, before giving up."""
    width: int = 64
    """Units of a random checkpoint, a multiple of 4."""
    layers: int = 2
    """Layers of a random checkpoint."""

    def __post_init__(self):
        least = dict.fromkeys(
            ("epochs", "batch_size", "digits", "text_length", "sample_rows", "tries", "layers"), 1
        )
        check_least(self, **least, width=4, weight_decay=0, temperature=0.01)
        if self.trained_layers is not None:
            check_least(self, trained_layers=1)
        if self.learning_rate is not None:
            check_least(self, learning_rate=0)
        if self.width % 4:
            raise InputError(f"GReaT: width is {self.width}; it must be a multiple of 4.")

    def supports(self, schema: Schema) -> str | None:
        if not self.checkpoint:
            return (
                "no checkpoint is named; set the field checkpoint to a folder saved by"
                ' transformers, or to "random".'
            )
        packages = ["transformers", "llguidance"]
        if is_gguf(self.checkpoint):
            packages += ["gguf", "accelerate"]
        for package in packages:
            if find_spec(package) is None:
                return str(missing_package(ModuleNotFoundError(name=package)))
        return unwritable(self.texts, schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> GReaT:
        """Raises Diverged where the loss is no longer finite. Weights depend on rng and on torch's
        number of threads.
        """
        if reason := self.supports(schema):
            raise InputError(f"GReaT: {reason}")
        longest_texts = dict.fromkeys(self.texts, self.text_length)
        self._form = Form.of(table, schema, longest_texts, trim=0.0, least=1)
        self._cells = {fact.column.name: Cell.of(fact, self.digits) for fact in self._form.written}
        self.losses: list[float] = []
        self.trained = Epochs(self.epochs, self.seconds, self.progress)
        if not self._cells:
            return self
        texts = {name: cell.write(table[name]) for name, cell in self._cells.items()}
        if self.checkpoint == RANDOM:
            self._model, self.tokenizer = untrained(texts, rng, self.width, self.layers)
        else:
            self._model, self.tokenizer = load(self.checkpoint)
        self._train(self._tokenized(texts), rng)
        return self

    def _train(self, rows: list[list[TokenPair]], rng: np.random.Generator) -> None:
        parameters = list(self._model.parameters())
        if self.trained_layers is not None:
            parameters = last_layers(self._model, self.trained_layers)
        adam = AdamW(parameters, self.weight_decay)
        self._start = hashlib.sha256(adam.vector.cpu().numpy().tobytes()).hexdigest()
        steps = math.ceil(len(rows) / self.batch_size)
        rate = self.learning_rate or (1e-2 if self.checkpoint == RANDOM else 1e-4)
        for epoch in self.trained:
            total = 0.0
            batches = np.array_split(rng.permutation(len(rows)), steps)
            for step in self.trained.steps(steps):
                batch = [rows[i] for i in batches[step]]
                tokens, wanted = self._shuffled(batch, rng)
                loss = self._model(input_ids=tokens, labels=wanted, use_cache=False).loss
                gradients = torch.autograd.grad(loss, parameters)
                done = self.trained.share(epoch, step, steps)
                adam.step(gradients, rate * schedule(done))
                total += float(loss.detach())
            self.trained.check_rate(total, "GReaT", rate)
            self.losses.append(total / (step + 1))
        adam.use(adam.average)

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        """Columns with a condition are written first, and the others go on from them."""
        form = self._form.narrowed(where)
        if not self._cells:
            return form.table([{}] * n)
        starts = {}
        for name, cell in self._cells.items():
            starts[name] = self._matcher(cell.pattern(form.facts[name]))
        tables: list[pd.DataFrame] = []
        found = written = 0
        reason = ""
        ticks = iter(bar(range(n), "writing", "row"))
        while found < n:
            if written >= self.tries * max(n, 20):
                raise InputError(
                    f"GReaT: only {found} of {written} written rows are good (acceptance"
                    f" {found / written:.2g}; {reason}); train longer, loosen the condition, or"
                    " raise tries."
                )
            # As many as hold what is missing, by the rate so far.
            size = math.ceil((n - found) * (written + 10) / (found + 10))
            size = min(size, self.sample_rows)
            table, fault = form.accepted(self._write(starts, list(form.where), size, rng))
            found += len(table)
            written += size
            reason = fault or reason
            if len(table) or not tables:
                tables.append(table)
            list(islice(ticks, len(table)))
        list(ticks)  # ends the bar
        # Tables without a row have no dtypes to speak of.
        filled = [table for table in tables if len(table)]
        return pd.concat(filled or tables, ignore_index=True).iloc[:n]

    @torch.no_grad()
    def _write(
        self, starts: Mapping, first: list[str], size: int, rng: np.random.Generator
    ) -> list[dict]:
        """Rows as mappings of column to value, a token of each at a time."""
        first = [name for name in first if name in starts]
        rest = [name for name in starts if name not in first]
        rows = []
        for _ in range(size):
            order = first + [rest[i] for i in rng.permutation(len(rest))]
            rows.append(RowWriter(order, starts, self._names, self._tokens))
        unfinished, cache = rows, None
        tokens = torch.full((size, 1), self._begin)
        while True:
            output = self._model(input_ids=tokens.to(DEVICE), cache=cache, use_cache=True)
            cache = output.cache
            chosen = self._choose(unfinished, output.logits[:, -1], rng)
            for row, token in zip(unfinished, chosen.tolist(), strict=True):
                row.take(token)
            kept = [i for i, row in enumerate(unfinished) if not row.is_done]
            if not kept:
                return [row.values for row in rows]
            if len(kept) < len(unfinished):
                # The model goes on with the rows that are not at their end
                unfinished = [unfinished[i] for i in kept]
                cache.batch_select_indices(torch.tensor(kept, dtype=torch.int64, device=DEVICE))
            tokens = torch.from_numpy(chosen[kept])[:, None]

    def _choose(
        self, rows: list[RowWriter], logits: torch.Tensor, rng: np.random.Generator
    ) -> np.ndarray:
        """The next token of each row, given by a column's name or drawn among those allowed."""
        import llguidance.numpy as guidance

        chosen = np.array([-1 if row.given is None else row.given for row in rows])
        free = np.flatnonzero(chosen < 0)
        if not len(free):
            return chosen
        scores = logits[torch.from_numpy(free)].double().cpu().numpy() / self.temperature
        mask = guidance.allocate_token_bitmask(len(free), self._tokens.vocab_size)
        for line, i in enumerate(free):
            guidance.fill_next_token_bitmask(rows[i].matcher, mask, line)
        bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little")
        allowed = bits[:, : scores.shape[1]]
        if not allowed.any(axis=1).all():
            raise InputError(
                f"GReaT: the tokenizer of {self.checkpoint!r} cannot write a value; take one of"
                " bytes."
            )
        chosen[free] = _draw(np.where(allowed, scores, -np.inf), rng)
        return chosen

    def _tokenized(self, texts: Mapping[str, list[str]]) -> list[list[TokenPair]]:
        """Each row's columns as pairs of tokens, of the name and of the value.

        Raises InputError where the model cannot read a row.
        """
        from llguidance.hf import from_tokenizer

        config = self._model.config
        ends = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        self._begin = next((end for end in ends if end is not None), None)
        if self._begin is None:
            raise InputError(
                f"GReaT: the tokenizer of {self.checkpoint!r} has no token for a text's beginning"
                " or end."
            )
        self._tokens = from_tokenizer(self.tokenizer, n_vocab=config.vocab_size)
        self._names = {name: self._tokens.tokenize_str(f" {name} is") for name in texts}
        columns = []
        for name, column in texts.items():
            # Each distinct text is tokenized once.
            values = {text: self._tokens.tokenize_str(f" {text},") for text in set(column)}
            columns.append([(self._names[name], values[text]) for text in column])
        rows = [list(row) for row in zip(*columns, strict=True)]

        longest = 1 + max(_length(row) for row in rows)
        most = getattr(config, "max_position_embeddings", None) or longest
        if longest > most:
            raise InputError(
                f"GReaT: a row takes {longest} tokens, of which {self.checkpoint!r} reads {most};"
                " drop columns."
            )
        return rows

    def _shuffled(
        self, rows: list[list[TokenPair]], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of rows, each with its columns in an order of its own, and those to be learnt
        (-100 elsewhere): (rows, m).
        """
        tokens, wanted = [], []
        for row in rows:
            row_tokens = [self._begin]
            row_wanted: list[int] = []
            for i in rng.permutation(len(row)):
                name, value = row[i]
                row_tokens += [*name, *value]
                # The names of columns are given when rows are written, so they are not learnt.
                row_wanted += [*[IGNORED] * len(name), *value]
            tokens.append(row_tokens)
            wanted.append([IGNORED, *row_wanted])
        return _padded(tokens, 0), _padded(wanted, IGNORED)

    def _matcher(self, pattern: str):
        from llguidance import LLMatcher

        return LLMatcher(self._tokens, LLMatcher.grammar_from_regex(f" (?:{pattern}),"))

    def save(self, folder: str | Path) -> None:
        """The fine-tuned model as a checkpoint that transformers reads."""
        self._model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @property
    def facts(self) -> dict:
        """What a cell's record keeps of the training."""
        if not self._cells:
            return {}
        count = sum(parameter.numel() for parameter in self._model.parameters())
        facts = {
            "checkpoint": Path(self.checkpoint).name,
            "weights": count,
            "start_sha256": self._start,
        }
        return facts | {"epochs": self.trained.done, "loss": self.losses[-1]}


class RowWriter:
    """A row on its way: the names of its columns are given, their values are drawn token by token
    as the columns' grammars allow.
    """

    def __init__(self, order: list[str], starts: Mapping, names: Mapping, tokens):
        """starts: an unused matcher of each column; names: the tokens of each column's name."""
        self.values: dict = {}
        self.matcher: Any = None  # llguidance's, of the value being written
        self._starts, self._names, self._tokens = starts, names, tokens
        self._to_come = list(order)
        self._begin_column()

    @property
    def is_done(self) -> bool:
        return not self._to_come

    @property
    def given(self) -> int | None:
        """The next token where a name is being written; None where a value is."""
        return self._name_tokens[0] if self._name_tokens else None

    def take(self, token: int) -> None:
        """Goes on by a token."""
        if self._name_tokens:
            self._name_tokens.pop(0)
            if not self._name_tokens:
                self.matcher = self._starts[self._to_come[0]].deep_copy()
            return
        self._value_tokens.append(token)
        self.matcher.consume_token(token)
        if self.matcher.is_stopped():
            # A comma ends each value, so that 1 is not taken for the beginning of 10
            text = self._tokens.decode_bytes(self._value_tokens).decode()[:-1]
            self.values[self._to_come.pop(0)] = json.loads(text)
            self._begin_column()

    def _begin_column(self) -> None:
        self._value_tokens: list[int] = []
        self._name_tokens = list(self._names[self._to_come[0]]) if self._to_come else []


def _length(row: list[tuple[list[int], list[int]]]) -> int:
    """Tokens of a row: of its columns' names and of its values."""
    return sum(len(name) + len(value) for name, value in row)


def _padded(lines: list[list[int]], fill: int) -> torch.Tensor:
    """Lines of one length, shape (lines, longest)."""
    longest = max(map(len, lines))
    return torch.tensor([line + [fill] * (longest - len(line)) for line in lines], device=DEVICE)


def _draw(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A token of each line by its softmax, shape (lines,); never one whose logit is minus infinity."""
    weight = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
    total = weight[:, -1:]
    # Just below the total: what lies beyond the last possible token must not be reached.
    place = np.minimum(rng.random((len(weight), 1)) * total, np.nextafter(total, 0))
    return (weight <= place).sum(axis=1)
