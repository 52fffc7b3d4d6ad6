"""Requests to an OpenAI-compatible server, each answered once: its answer is kept in a folder and
read from there again.

An answer's file is named by the SHA-256 of its request (model, messages, schema, seed, temperature)
and holds both as JSON; the key is read from OPENAI_API_KEY when a request is sent, and is in no
file and no error.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath

from workbench.errors import InputError
from workbench.tables.packaged import cache_folder


class ModelError(RuntimeError):
    """The server or its model did not deliver: one sentence says what happened."""


@dataclass
class Chat:
    """A server by its address. `answers` lists, for each request: its hash, the answer's, tokens,
    and whether it was kept.
    """

    address: str
    timeout: float
    patience: int
    cache: str | None = None
    answers: list[dict] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return Path(self.cache or os.environ.get("WORKBENCH_LLM_CACHE") or cache_folder() / "llm")

    def answer(self, request: dict) -> dict:
        """The answer's text, why it ended, and its tokens. Raises InputError or ModelError, in a
        sentence without the key.
        """
        key = sha256(json.dumps(request, sort_keys=True))
        path = self.folder / f"{key}.json"
        try:
            answer, cached = json.loads(path.read_text(encoding="utf-8"))["answer"], True
        except (OSError, ValueError, KeyError, TypeError):
            answer, cached = self._send(request), False
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            unfinished.write_text(
                json.dumps({"request": request, "answer": answer}), encoding="utf-8"
            )
            unfinished.replace(path)
        told = {name: answer.get(name) for name in ("server", "input_tokens", "output_tokens")}
        self.answers.append(
            {"request": key, "answer": sha256(answer["text"]), **told, "cached": cached}
        )
        return answer

    def _send(self, request: dict) -> dict:
        import openai

        body = dict(request)
        model, messages = body.pop("model"), body.pop("messages")
        for attempt in range(1 + self.patience):
            try:
                reply = self._client.chat.completions.create(
                    model=model, messages=messages, extra_body=body
                )
                choice, usage = reply.choices[0], reply.usage
                break
            except openai.APIError as error:
                raise self._failure(error, model) from None
            except (
                ValueError,
                AttributeError,
                IndexError,
                TypeError,
            ):  # a body that is broken, or something else's
                time.sleep(min(0.5 * 2**attempt, 8))
        else:
            raise ModelError(
                f"the reply of {self.address} is no chat completion in JSON, {1 + self.patience} times."
            )
        if choice.message.refusal or choice.finish_reason == "content_filter":
            said = self._hidden(choice.message.refusal or "content filter")
            raise ModelError(f"the model refused ({said}); change the description or the examples.")
        return {
            "text": choice.message.content or "",
            "finish": choice.finish_reason,
            # Some servers name the model's file; its folder is nobody's business.
            "server": " ".join(
                filter(None, (PurePath(reply.model or "").name, reply.system_fingerprint))
            ),
            "input_tokens": usage and usage.prompt_tokens,
            "output_tokens": usage and usage.completion_tokens,
        }

    @cached_property
    def _client(self):
        import openai

        # A local server wants no key, the client wants some text; its own retries honour
        # Retry-After and back off.
        key = os.environ.get("OPENAI_API_KEY") or "none"
        return openai.OpenAI(
            api_key=key, base_url=self.address, timeout=self.timeout, max_retries=self.patience
        )

    def _failure(self, error, model: str) -> Exception:
        """An error of the client as a sentence with the way out."""
        import openai

        text, tries = self._hidden(getattr(error, "message", str(error))), 1 + self.patience
        if isinstance(error, openai.APITimeoutError):
            return ModelError(
                f"{self.address} gave no answer within {self.timeout:g} s, {tries} times; raise timeout."
            )
        if isinstance(error, openai.APIConnectionError):
            return ModelError(
                f"no connection to {self.address}, or it broke, {tries} times; see whether the server runs."
            )
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            return InputError(
                f"{self.address} did not accept the key; set OPENAI_API_KEY to one that it knows."
            )
        if isinstance(error, openai.NotFoundError):
            return InputError(
                f"{self.address} does not know model {model!r}, or is no such address; correct either."
            )
        if isinstance(error, openai.RateLimitError):
            return ModelError(
                f"{self.address} still limits the rate ({text}); wait, or lower parallel."
            )
        if "context" in f"{error.code} {text}".lower():
            return InputError(
                f"a request is too long for the model ({text}); lower batch_rows, max_levels or the examples."
            )
        if isinstance(error, openai.BadRequestError):
            return InputError(
                f"{self.address} did not accept the request ({text}); see options and response_format."
            )
        return ModelError(f"{self.address} failed ({text}), {tries} times.")

    def _hidden(self, text: str) -> str:
        key = os.environ.get("OPENAI_API_KEY")
        return (text.replace(key, "***") if key else text).strip().rstrip(".")[:300]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
