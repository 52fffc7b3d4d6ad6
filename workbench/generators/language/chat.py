"""Requests to an OpenAI-compatible server, each answered once: its answer is kept in a folder and
read from there again.

An answer's file is named by the SHA-256 of the server's address and the request (model, messages,
schema, seed, temperature), and holds the request and the answer as JSON. The key is read from
OPENAI_API_KEY when a request is sent, goes only to servers that the environment names, and is in no
file and no error. What a server answers is not trusted: see `Bounded` and `read_reply`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath

from workbench.errors import Failure, InputError
from workbench.files import plain as printable
from workbench.files import write_text
from workbench.generators.language.servers import is_named, plain, refusal
from workbench.tables.packaged import cache_folder

# A thousand rows as JSON take about a megabyte
MOST_BYTES = 10 * 2**20
# Commas and brackets of an answer: each may become an object of its own, some thirty times its size
MOST_PARTS = 2_000_000
LONGEST_WAIT = 120.0
TOKENS = ("input_tokens", "output_tokens")


class ModelError(Failure):
    """The server or its model did not deliver: one sentence says what happened."""


class Malformed(ValueError):
    """An answer that is no chat completion."""


@dataclass
class Chat:
    """A server by its address. `answers` lists, for each request: its hash, the answer's, tokens,
    and whether it was kept.
    """

    address: str
    timeout: float
    patience: int
    cache: str | None = None
    most_bytes: int = MOST_BYTES
    answers: list[dict] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return Path(self.cache or os.environ.get("WORKBENCH_LLM_CACHE") or cache_folder() / "llm")

    def answer(self, request: dict, stop: threading.Event | None = None) -> dict:
        """The answer's text, why it ended, and its tokens. Raises InputError or ModelError, in a
        sentence without the key; at once where `stop` is set while it waits to try again.
        """
        path = self._path(request)
        answer = read_kept(path, 2 * self.most_bytes)
        cached = answer is not None
        if answer is None:
            answer = self._send(request, stop or threading.Event())
            self._keep(path, request, answer)
        self.answers.append(
            {
                # Without the address: a record of a cell is the same wherever the server listens
                "request": sha256(json.dumps(request, sort_keys=True)),
                "answer": sha256(answer["text"]),
                "server": answer["server"],
                **{name: answer[name] for name in TOKENS},
                "cached": cached,
            }
        )
        return answer

    def cut(self) -> None:
        """Ends the requests under way, as far as they wait for the server."""
        if "_transport" in vars(self):
            self._transport.stop()

    def _path(self, request: dict) -> Path:
        # An answer of one server is never taken for another's
        key = sha256(json.dumps([plain(self.address), request], sort_keys=True))
        return self.folder / f"{key}.json"

    def _keep(self, path: Path, request: dict, answer: dict) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"request": request, "answer": answer}))

    def _send(self, request: dict, stop: threading.Event) -> dict:
        """A checked answer, asked for again after faults that may pass."""
        reason = refusal(self.address)
        if reason:
            raise InputError(reason)
        attempts = 1 + self.patience
        for attempt in range(attempts):
            try:
                return self._once(request)
            except Passing as fault:
                wait = fault.wait if fault.wait is not None else min(0.5 * 2**attempt, 8)
                if attempt + 1 == attempts or wait > LONGEST_WAIT:
                    raise fault.error from None
                if stop.wait(wait):
                    raise ModelError("it was stopped before the answer came.") from None
        raise AssertionError("the last attempt returns or raises")

    def _once(self, request: dict) -> dict:
        """A checked answer. Raises Passing where another attempt may help."""
        import openai

        from workbench.generators.language.transport import TooMuch

        body = dict(request)
        model, messages = body.pop("model"), body.pop("messages")
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model=model, messages=messages, extra_body=body
            )
            reply = read_reply(raw.http_response.content)
        except TooMuch:
            raise ModelError(
                f"the answer of {self.address} is compressed or larger than "
                f"{self.most_bytes / 2**20:g} MB, and was not read."
            ) from None
        except openai.APIError as error:
            failure = self._failure(error, model)
            if may_pass(error):
                raise Passing(failure, wait_wanted(error)) from None
            raise failure from None
        except Malformed:
            times = f"{1 + self.patience} times"
            sentence = f"the reply of {self.address} is no chat completion in JSON, {times}."
            raise Passing(ModelError(sentence)) from None
        if reply["refusal"] is not None:
            reason = printable(self._hidden(reply["refusal"]))
            raise ModelError(
                f"the model refused ({reason}); change the description or the examples."
            )
        return {
            "text": self._without_key(reply["text"]),
            "finish": reply["finish"],
            "server": self._hidden(reply["server"]),
            **{name: reply[name] for name in TOKENS},
        }

    @cached_property
    def _transport(self):
        from workbench.generators.language.transport import Bounded

        return Bounded(self.address, self.timeout, self.most_bytes)

    @cached_property
    def _client(self):
        import openai

        key, headers = os.environ.get("OPENAI_API_KEY"), {}
        if not key or not is_named(self.address):
            # A local server wants no key, the client wants some text
            key = "none"
            headers = {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        # A server that is named does not speak for the one that it redirects to
        http = openai.DefaultHttpxClient(
            transport=self._transport, follow_redirects=False, timeout=self.timeout
        )
        return openai.OpenAI(
            api_key=key,
            base_url=self.address,
            timeout=self.timeout,
            max_retries=0,
            default_headers=headers,
            http_client=http,
        )

    def _failure(self, error, model: str) -> Exception:
        """An error of the client as a sentence with the way out."""
        import openai

        text, tries = self._hidden(getattr(error, "message", str(error))), 1 + self.patience
        status = getattr(error, "status_code", 0)
        code = str(getattr(error, "code", ""))
        if isinstance(error, openai.APITimeoutError):
            sentence = f"gave no answer within {self.timeout:g} s, {tries} times; raise timeout."
            return ModelError(f"{self.address} {sentence}")
        if isinstance(error, openai.APIConnectionError):
            return ModelError(
                f"no connection to {self.address}, or it broke, {tries} times; see whether the"
                " server runs."
            )
        if 300 <= status < 400:
            return InputError(
                f"{self.address} redirects elsewhere ({status}), which is not followed; "
                "name the address itself."
            )
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            return self._wrong_key()
        if isinstance(error, openai.NotFoundError):
            return InputError(
                f"{self.address} does not know model {model!r}, or is no such address; correct"
                " either."
            )
        if isinstance(error, openai.RateLimitError):
            return ModelError(
                f"{self.address} still limits the rate ({text}); wait, or lower parallel."
            )
        if "context" in f"{code} {text}".lower():
            return InputError(
                f"a request is too long for the model ({text}); lower batch_rows, max_levels or the"
                " examples."
            )
        if isinstance(error, openai.BadRequestError):
            return InputError(
                f"{self.address} did not accept the request ({text}); see options and"
                " response_format."
            )
        return ModelError(f"{self.address} failed ({text}), {tries} times.")

    def _wrong_key(self) -> InputError:
        if os.environ.get("OPENAI_API_KEY") and not is_named(self.address):
            return InputError(
                f"{self.address} wants a key, which goes only to servers that you name; "
                f"set WORKBENCH_MODEL_SERVERS={self.address} if OPENAI_API_KEY is for it."
            )
        return InputError(
            f"{self.address} did not accept the key; set OPENAI_API_KEY to one that it knows."
        )

    def _hidden(self, text: str) -> str:
        """A server's words for a sentence or a record: one short line without the key or a part."""
        key = os.environ.get("OPENAI_API_KEY", "")
        for start in range(max(1, len(key) - 7)):
            part = key[start : start + 8]
            text = text.replace(part, "***") if part else text
        text = re.sub(r"(\*\*\*)+", "***", text)
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        return text.strip().rstrip(".")[:300]

    def _without_key(self, text: str) -> str:
        key = os.environ.get("OPENAI_API_KEY", "")
        # A shorter one, such as "EMPTY" or "ollama", is a word and no secret
        return text.replace(key, "***") if len(key) > 6 else text


@dataclass
class Passing(Exception):
    """A fault that may pass, what to say if it does not, and the seconds the server wants to have."""

    error: Exception
    wait: float | None = None


def may_pass(error) -> bool:
    """Whether to send again what the client reports: no answer, a busy or a broken server."""
    import openai

    if isinstance(error, openai.APIConnectionError):
        return True
    response = getattr(error, "response", None)
    if response is None or response.headers.get("x-should-retry") == "false":
        return False
    return response.status_code in (408, 409, 429) or response.status_code >= 500


def wait_wanted(error) -> float | None:
    """Seconds that the server wants to have before the next request, None where it does not say."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(response.headers[header]) / unit
        except (KeyError, ValueError):
            continue
        if wait >= 0:  # not nan
            return wait
    return None


def read_reply(content: bytes) -> dict:
    """The text, its end, the server's name and tokens of a chat completion; all as declared.

    Raises Malformed where anything is of another kind, so that nothing else is kept or counted.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_PARTS:
        raise Malformed
    try:
        reply = json.loads(content)
        choice = reply["choices"][0]
        message = choice["message"]
        refusal_text = message.get("refusal")
        if choice.get("finish_reason") == "content_filter":
            refusal_text = refusal_text or "content filter"
        names = (PurePath(reply.get("model") or "").name, reply.get("system_fingerprint"))
        usage = reply.get("usage") or {}
        read = {
            "text": message.get("content") or "",
            "finish": choice.get("finish_reason"),
            # Some servers name the model's file; its folder is nobody's business
            "server": " ".join(name for name in names if name),
            "input_tokens": usage.get("prompt_tokens"),
            "output_tokens": usage.get("completion_tokens"),
            "refusal": refusal_text or None,
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Malformed from None
    if not is_answer(read) or not isinstance(read["refusal"], (str, type(None))):
        raise Malformed
    return read


def read_kept(path: Path, most_bytes: int) -> dict | None:
    """An answer from its file, or None where there is none that is whole and as it should be."""
    try:
        if path.stat().st_size > most_bytes:
            return None
        answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return answer if is_answer(answer) else None


def is_answer(answer) -> bool:
    """Whether each part of an answer is of its kind: texts, and counts of tokens or None."""
    if not isinstance(answer, dict):
        return False
    counts = [answer.get(name) for name in TOKENS]
    are_counts = all(
        count is None or (type(count) is int and 0 <= count < 2**53) for count in counts
    )
    are_texts = isinstance(answer.get("text"), str) and isinstance(answer.get("server"), str)
    return are_counts and are_texts and isinstance(answer.get("finish"), (str, type(None)))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
