"""Prompted language model: a model reads what the columns are, and writes rows as JSON that the
schema's grammar constrains.

Borisov et al. (2023), "Language models are realistic tabular data generators", fine-tune; Seedat et
al. (2024), "Curated LLM", prompt, as here, any OpenAI-compatible server. What the model knows of
the domain replaces train rows, so it works where there are hardly any; but shares and correlations
are the model's and not train's, its own training data may come through, and every row costs. Of
train the server is told names, descriptions, ranges, levels and constraints, and no row unless it
is asked to.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.generators import check_least
from workbench.generators.language.chat import Chat, ModelError, sha256
from workbench.generators.language.grammar import rows_grammar
from workbench.generators.language.prompt import Form, as_records, unwritable
from workbench.generators.language.servers import may_share_rows, refusal
from workbench.tables.constraints import check
from workbench.tables.schema import Schema

FORMATS = ("json_schema", "grammar", "json_object", "text")
# Those that hold the model to the form of a row while it writes
HOLDING = ("json_schema", "grammar")
LAYOUTS = ("objects", "lists")
TASK = (
    "You write rows of a synthetic table as JSON. The rows are invented: realistic, varied,"
    " consistent across their columns, and no copies of anything you have seen. Answer with one"
    ' JSON object {"rows": [...]} and nothing else.'
)


@dataclass
class LLM:
    """Rows written by a prompted language model (after Seedat et al. 2024). The key is read from
    OPENAI_API_KEY alone.
    """

    description: str = ""
    """What the table is about, in a sentence or more: the domain, the place, the time."""
    hints: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    """What to know of single columns, such as {"hrat": "housing expenses in percent of income"},
    instead of their descriptions in the schema; or of their levels: {"topic": {"film": "..."}}.
    """
    per_level: str = ""
    """Label column whose shares are to be train's: rows are asked for one of its levels at a time."""
    base_url: str = ""
    """Address of the server, such as http://localhost:8000/v1; by default OPENAI_BASE_URL. Without
    one nothing is sent.
    """
    model: str = ""
    """The model's name on the server; by default WORKBENCH_LLM_MODEL."""
    texts: Sequence[str] = ()
    """Label columns that are written freely, such as notes, instead of chosen among train's levels.
    """
    text_length: int = 400
    """Most characters of a free text."""
    trim: float = 0.0
    """Share of values at each end of a range that is not told, such as 0.01: the ends are the
    values of single rows.
    """
    least_rows: int = 1
    """Train rows that a level, or a combination of a constraint, must have to be told: a rare one
    may name a person.
    """
    shares: bool = False
    """Whether the model is also told the shares of levels and missing values, and the quartiles of
    numbers.
    """
    example_rows: Sequence[Mapping] = ()
    """Rows to show the model that may leave the machine: synthetic or public ones, as mappings of
    column to value.
    """
    examples: int = 0
    """Train rows to show the model; any but 0 needs share_real_rows."""
    share_real_rows: bool = False
    """Whether real rows may be sent to the server. They are where the environment agrees, too:
    WORKBENCH_SHARE_ROWS=1. A grid that came from elsewhere cannot agree for you.
    """
    drop_copies: bool = False
    """Whether rows that repeat an example are dropped and asked for again."""
    batch_rows: int = 20
    """Rows asked for in one request."""
    parallel: int = 1
    """Requests under way at a time."""
    temperature: float | None = 1.0
    """Sampling temperature of the model; None leaves it to the server."""
    top_p: float | None = None
    """Share of the likeliest tokens that are drawn from, such as 0.9; None leaves it to the server.
    """
    max_levels: int = 100
    """Most levels of a column that one request names; of more, each request names as many, drawn at
    random.
    """
    response_format: str = "json_schema"
    """How the answer is constrained: json_schema; grammar, which holds ranges and decimals, too, and
    which llama.cpp reads; or json_object or text for servers without either, which get the schema as
    a prompt.
    """
    layout: str = "objects"
    """How a row is written: objects, {"age": 30, ...}, or lists, [30, ...], which take half the
    tokens, and with which a grammar alone holds the form.
    """
    options: Mapping = field(default_factory=dict)
    """Further fields of each request, such as {"max_tokens": 4000}."""
    retries: int = 3
    """Times a batch is asked again for the rows that were not valid, and rounds of further batches
    for those still missing.
    """
    patience: int = 6
    """Times a request is sent again after a rate limit (when the server says so), a server error or
    a time-out.
    """
    timeout: float = 120.0
    """Seconds to wait for an answer."""
    input_price: float | None = None
    """Price of a million prompt tokens, in any currency; None where it is not known."""
    output_price: float | None = None
    """Price of a million answered tokens."""
    cache: str | None = None
    """Folder of the answers; by default WORKBENCH_LLM_CACHE, or a folder of the workbench's cache.
    """

    keeps_constraints: ClassVar[bool] = (
        True  # rows are asked for as the schema declares them, and checked
    )

    def __post_init__(self):
        check_least(
            self,
            text_length=1,
            trim=0,
            least_rows=1,
            examples=0,
            batch_rows=1,
            parallel=1,
            max_levels=1,
            retries=0,
            patience=0,
        )
        check_least(self, timeout=0.001)
        if self.trim >= 0.5:
            raise InputError(f"LLM: trim is {self.trim}; give a share below 0.5.")
        if self.response_format not in FORMATS:
            raise InputError(
                f"LLM: response_format is {self.response_format!r}; "
                f"{nearest(str(self.response_format), FORMATS)}"
            )
        if self.layout not in LAYOUTS:
            raise InputError(f"LLM: layout is {self.layout!r}; {nearest(self.layout, LAYOUTS)}")
        if self.layout == "lists" and self.response_format != "grammar":
            raise InputError("LLM: layout is 'lists', which needs response_format = 'grammar'.")
        if self.examples and not self.share_real_rows:
            raise InputError(
                f"LLM: examples is {self.examples}, which sends real rows to the server; "
                "set share_real_rows to true if they "
                "may leave this machine, or give synthetic ones as example_rows."
            )

    def supports(self, schema: Schema) -> str | None:
        address = self._address
        if not address:
            return (
                "no server is named, and nothing is sent anywhere by default; "
                "set OPENAI_BASE_URL, or the field base_url."
            )
        if reason := refusal(address):
            return reason
        if not self._model:
            return "no model is named; set WORKBENCH_LLM_MODEL, or the field model."
        if self.examples and not may_share_rows():
            return (
                f"examples is {self.examples}, which sends real rows to {address}; "
                "set WORKBENCH_SHARE_ROWS=1 in the environment if they may leave this machine."
            )
        named = {"hints": list(self.hints), "per_level": [self.per_level] if self.per_level else []}
        for setting, names in named.items():
            for name in names:
                if name not in schema.names:
                    return f"{setting}: no column {name!r}; {nearest(name, schema.names)}"
        if self.per_level and not schema[self.per_level].is_discrete:
            return f"per_level: column {self.per_level!r} has no levels; name a label."
        return unwritable(self.texts, schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> LLM:
        if reason := self.supports(schema):
            raise InputError(f"LLM: {reason}")
        check(table, schema)
        schema = self._hinted(schema)
        lengths = dict.fromkeys(self.texts, self.text_length)
        self._form = Form.of(table, schema, lengths, self.trim, self.least_rows)
        self._form = replace(self._form, as_lists=self.layout == "lists")
        shown = [dict.fromkeys(schema.names) | dict(row) for row in self.example_rows]
        shown = schema.cast(pd.DataFrame(shown)) if shown else table[:0]
        real = table.iloc[rng.choice(len(table), min(self.examples, len(table)), replace=False)]
        self._examples = [*as_records(shown), *as_records(real)]
        if self.drop_copies:
            self._form = replace(self._form, forbidden=frozenset(map(tuple, self._examples)))
        if self.per_level:
            known = list(self._form.facts[self.per_level].levels)
            labels = table[self.per_level]
            self._shares = labels[labels.isin(known)].value_counts(normalize=True)
            self._shares = self._shares.sort_index()
        self._chat = Chat(self._address, self.timeout, self.patience, self.cache)
        return self

    def _hinted(self, schema: Schema) -> Schema:
        """The schema with the hints as descriptions of their columns."""
        columns = []
        for column in schema.columns:
            hint = self.hints.get(column.name)
            if isinstance(hint, str):
                column = replace(column, description=hint)
            columns.append(column)
        return replace(schema, columns=tuple(columns))

    def _with_levels_hinted(self, form: Form) -> Form:
        """The form with what the hints say of the levels that it still allows."""
        facts = dict(form.facts)
        for name, hint in self.hints.items():
            if not isinstance(hint, str):
                fact = facts[name]
                said = [f"{level}: {hint[level]}" for level in fact.levels if level in hint]
                column = replace(fact.column, description="; ".join(said))
                facts[name] = replace(fact, column=column)
        return replace(form, facts=facts)

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        if self.per_level and self.per_level not in (where or {}):
            return self._sample_per_level(n, rng, where or {})
        form = self._with_levels_hinted(self._form.narrowed(where))
        if not form.written:
            return form.table([{}] * n)
        tables, found, why = [form.table([])], 0, ""
        for attempt in range(2 + self.retries):
            sizes = [min(self.batch_rows, n - start) for start in range(found, n, self.batch_rows)]
            # One batch first: a model that cannot do it is not paid for them all.
            sizes = sizes if attempt else sizes[:1]
            batches = self._ask_all(form, sizes, rng.integers(2**30, size=len(sizes)))
            tables += [batch.table for batch in batches]
            found = sum(map(len, tables))
            why = next((batch.why for batch in batches if batch.why), why)
            if failed := next((batch.failure for batch in batches if batch.failure), None):
                raise type(failed)(f"LLM: {failed} {self._kept(found, n)}") from None
            if found >= n:
                return pd.concat(
                    [part for part in tables if len(part)] or tables, ignore_index=True
                )
            if not found:
                break
        raise ModelError(
            f"LLM: the model does not follow the schema ({why}). {self._kept(found, n)}"
        )

    def _sample_per_level(self, n: int, rng: np.random.Generator, where: Mapping) -> pd.DataFrame:
        """Rows of each level of the column `per_level`, as many as train has of it, in random order."""
        wanted = self._shares.to_numpy() * n
        counts = np.floor(wanted).astype(int)
        # The largest remainders get the rows that are left
        left = n - int(counts.sum())
        counts[np.argsort(counts - wanted, kind="stable")[:left]] += 1
        tables = []
        for level, count in zip(self._shares.index, counts, strict=True):
            if count:
                tables.append(self.sample(int(count), rng, {**where, self.per_level: level}))
        if not tables:
            return self._form.table([])
        table = pd.concat(tables, ignore_index=True)
        return table.iloc[rng.permutation(n)].reset_index(drop=True)

    def _kept(self, found: int, n: int) -> str:
        return (
            f"{found} of {n} rows were good; answers are kept in {self._chat.folder}, "
            "and the same call goes on from there."
        )

    def _ask_all(self, form: Form, sizes: list[int], seeds: np.ndarray) -> list[_Batch]:
        """Batches in order; those not yet begun when one fails are left out."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.parallel)
        try:
            batches = pool.map(
                lambda size, seed: self._batch(form, size, int(seed), stop), sizes, seeds
            )
            return list(batches)
        except BaseException:  # Ctrl-C does not wait for the server
            stop.set()
            self._chat.cut()
            raise
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _batch(self, form: Form, size: int, seed: int, stop: threading.Event) -> _Batch:
        """Rows of one batch, asked for again with the reason where some are not valid."""
        form = form.drawn(self.max_levels, np.random.default_rng(seed))
        batch, most = _Batch(form.table([])), size
        for attempt in range(1 + self.retries):
            missing = size - len(batch.table)
            if not missing or stop.is_set():
                break
            try:
                answer = self._chat.answer(
                    self.request(min(missing, most), seed + attempt, form, batch.why), stop
                )
            except (InputError, ModelError) as error:
                stop.set()
                batch.failure = error
                break
            table, batch.why = form.read(answer["text"], 10 * size)
            if answer["finish"] == "length":
                most, batch.why = (
                    max(1, most // 2),
                    f"the answer was cut off at {answer['output_tokens']} tokens",
                )
            batch.table = (
                pd.concat([batch.table, table.iloc[:missing]], ignore_index=True)
                if len(table)
                else batch.table
            )
        return batch

    def request(
        self, rows: int = 1, seed: int = 0, form: Form | None = None, why: str = ""
    ) -> dict:
        """The request for so many rows: all that is sent to the server, but for the key. To be
        looked at before it is sent.
        """
        if form is None:
            form = self._with_levels_hinted(self._form)
            form = form.drawn(self.max_levels, np.random.default_rng(seed))
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": TASK},
                {"role": "user", "content": "\n\n".join(self._parts(rows, form, why))},
            ],
            "seed": seed,
        }
        if self.response_format == "grammar":
            request["grammar"] = rows_grammar(form.written, rows, form.as_lists)
        else:
            request["response_format"] = {"type": self.response_format}
        if self.response_format == "json_schema":
            held = {"name": "rows", "strict": True, "schema": form.json_schema(rows)}
            request["response_format"]["json_schema"] = held
        for name in ("temperature", "top_p"):
            if getattr(self, name) is not None:
                request[name] = getattr(self, name)
        return request | dict(self.options)

    def _parts(self, rows: int, form: Form, why: str) -> list[str]:
        """The paragraphs of the prompt."""
        parts = [form.prompt(self.description, self.shares)]
        names = [fact.column.name for fact in form.written]
        if self._examples:
            shown = []
            for row in self._examples:
                named = dict(zip(form.schema.names, row, strict=True))
                kept = {name: value for name, value in named.items() if name in names}
                shown.append(list(kept.values()) if form.as_lists else kept)
            parts += [f"Examples of rows: {json.dumps(shown, ensure_ascii=False)}"]
        if form.as_lists:
            listed = json.dumps(names, ensure_ascii=False)
            parts += [f"Each row is a list of its values, in the order {listed}."]
        if self.response_format not in HOLDING:
            schema = json.dumps(form.json_schema(rows), ensure_ascii=False)
            parts += [f"The JSON schema of the answer: {schema}"]
        if why:
            parts += [f"Your last answer was not accepted: {why}."]
        return [*parts, f"Write {rows} new rows."]

    @property
    def _address(self) -> str:
        return self.base_url or os.environ.get("OPENAI_BASE_URL", "")

    @property
    def _model(self) -> str:
        return self.model or os.environ.get("WORKBENCH_LLM_MODEL", "")

    @property
    def answers(self) -> list[dict]:
        """For each request so far: the hashes of it and of its answer, what the server calls
        itself, tokens, and whether it
        was in the cache."""
        return sorted(self._chat.answers, key=lambda answer: answer["request"])

    @property
    def usage(self) -> dict:
        """What the answers so far took, those from the cache included; None for what the server or
        the prices do not tell.
        """
        answers = self.answers
        tokens = {
            "input_tokens": _total(answer["input_tokens"] for answer in answers),
            "output_tokens": _total(answer["output_tokens"] for answer in answers),
        }
        priced = list(zip(tokens.values(), (self.input_price, self.output_price), strict=True))
        cost = (
            None
            if any(None in pair for pair in priced)
            else sum(count * price for count, price in priced) / 1e6
        )
        sent = sum(not answer["cached"] for answer in self.answers)
        return {"requests": len(self.answers), "sent": sent, **tokens, "cost": cost}

    @property
    def facts(self) -> dict:
        """What a cell's record keeps of the answers so far: JSON values without the server's
        address and the key. The hash of the prompt is that of a request for one row; those of
        requests and of answers are of their hashes' lists, in order."""
        hashes = {}
        for name in ("request", "answer"):
            listed = [answer[name] for answer in self.answers]
            hashes[name] = sha256(json.dumps(listed))
        facts = {
            "model": self._model,
            "server": sorted({answer["server"] or "" for answer in self.answers})[:3],
        }
        prompt = sha256(json.dumps(self.request()["messages"]))
        # The same for a run from the cache.
        usage = {name: value for name, value in self.usage.items() if name != "sent"}
        return (
            facts
            | {"prompt_sha256": prompt}
            | {f"{name}s_sha256": value for name, value in hashes.items()}
            | usage
        )


@dataclass
class _Batch:
    """Good rows of one batch, what was wrong with the others, and what ended it early."""

    table: pd.DataFrame
    why: str = ""
    failure: Exception | None = None


def _total(counts) -> int | None:
    counts = list(counts)
    return None if None in counts else sum(counts)
