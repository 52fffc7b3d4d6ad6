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
from typing import ClassVar

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.generators import check_least
from workbench.generators.language.chat import Chat, ModelError, sha256
from workbench.generators.language.prompt import Form, as_records, unwritable
from workbench.generators.language.servers import may_share_rows, refusal
from workbench.tables.constraints import check
from workbench.tables.schema import Schema

FORMATS = ("json_schema", "json_object", "text")
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
    max_levels: int = 100
    """Most levels of a column that one request names; of more, each request names as many, drawn at
    random.
    """
    response_format: str = "json_schema"
    """How the answer is constrained: json_schema, or json_object or text for servers without it,
    which get it as a prompt.
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
        return unwritable(self.texts, schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> LLM:
        if reason := self.supports(schema):
            raise InputError(f"LLM: {reason}")
        check(table, schema)
        lengths = dict.fromkeys(self.texts, self.text_length)
        self._form = Form.of(table, schema, lengths, self.trim, self.least_rows)
        shown = [dict.fromkeys(schema.names) | dict(row) for row in self.example_rows]
        shown = schema.cast(pd.DataFrame(shown)) if shown else table[:0]
        real = table.iloc[rng.choice(len(table), min(self.examples, len(table)), replace=False)]
        self._examples = [*as_records(shown), *as_records(real)]
        if self.drop_copies:
            self._form = replace(self._form, forbidden=frozenset(map(tuple, self._examples)))
        self._chat = Chat(self._address, self.timeout, self.patience, self.cache)
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        form = self._form.narrowed(where)
        if not form.written:
            return form.table([{}] * n)
        tables, found, why = [form.table([])], 0, ""
        for attempt in range(2 + self.retries):
            sizes = [min(self.batch_rows, n - start) for start in range(found, n, self.batch_rows)]
            sizes = (
                sizes if attempt else sizes[:1]
            )  # one batch first: a model that cannot do it is not paid for them all
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
        form = form or self._form.drawn(self.max_levels, np.random.default_rng(seed))
        schema = form.json_schema(rows)
        parts = [form.prompt(self.description, self.shares)]
        if self._examples:
            names = {fact.column.name for fact in form.written}
            named = [dict(zip(form.schema.names, row, strict=True)) for row in self._examples]
            shown = [{name: value for name, value in row.items() if name in names} for row in named]
            parts += [f"Examples of rows: {json.dumps(shown, ensure_ascii=False)}"]
        if self.response_format != "json_schema":
            parts += [f"The JSON schema of the answer: {json.dumps(schema, ensure_ascii=False)}"]
        if why:
            parts += [f"Your last answer was not accepted: {why}."]
        parts += [f"Write {rows} new rows."]
        request = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": TASK},
                {"role": "user", "content": "\n\n".join(parts)},
            ],
            "response_format": {"type": self.response_format},
            "seed": seed,
        }
        if self.response_format == "json_schema":
            request["response_format"]["json_schema"] = {
                "name": "rows",
                "strict": True,
                "schema": schema,
            }
        return (
            request
            | ({} if self.temperature is None else {"temperature": self.temperature})
            | dict(self.options)
        )

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
        tokens = {
            name: _total(answer[name] for answer in self.answers)
            for name in ("input_tokens", "output_tokens")
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
        hashes = {
            name: sha256(json.dumps([answer[name] for answer in self.answers]))
            for name in ("request", "answer")
        }
        facts = {
            "model": self._model,
            "server": sorted({answer["server"] or "" for answer in self.answers})[:3],
        }
        prompt = sha256(json.dumps(self.request()["messages"]))
        usage = {
            name: value for name, value in self.usage.items() if name != "sent"
        }  # the same for a run from the cache
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
