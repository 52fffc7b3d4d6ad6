"""An OpenAI-compatible server that fails as servers do, for tests of the `llm` generator.

    python tests/generators/faulty_server.py  random weights made on the spot; prints its address
    python tests/generators/faulty_server.py --checkpoint FOLDER  a model that transformers saved

The model computes every answer: it reads the prompt, and llguidance masks what the schema does not
allow at each token. Random weights know nothing, so their rows are valid and mean nothing. The
option --fault makes chosen requests fail the way servers fail: `limit` answers 429 with
Retry-After, `quota` 429 for good, `error` 500, `die` ends the process in mid-answer, `hang` never
answers, `garbage` sends a body cut in half, `free` decodes without the schema, `refuse` refuses. It
listens on this machine alone. Tests start it with `faulty_server`. The server that readers start is
llama.cpp's: see workbench/generators/language/model_server.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from workbench.errors import InputError, missing_package


@contextmanager
def faulty_server(*flags: object, lifetime: float = 3600) -> Iterator[str]:
    """Starts the server as a process of its own with these command line options, yields its
    address, and ends it.

    It ends by itself after `lifetime` seconds, should nobody be left to end it. Raises InputError
    where it does not start.
    """
    command = [sys.executable, __file__, "--lifetime", lifetime, *flags]
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        try:
            address = process.stdout.readline().strip()
            if not address:
                process.wait()
                said.seek(0)
                raise InputError(said.read().strip().splitlines()[-1])
            yield address
        finally:
            process.kill()


@contextmanager
def server_in_a_thread(*flags: object) -> Iterator[str]:
    """The same server in this process, which has imported what its model needs already."""
    server = _server(_options(list(map(str, flags))))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield _address(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class RandomBytes:
    """A recurrent language model over bytes (Elman 1990) with random weights, small enough for
    thousands of bytes a second.
    """

    def __init__(self, seed: int = 0, width: int = 64):
        import llguidance

        draw = np.random.default_rng(seed)
        self.tokens = llguidance.LLTokenizer("byte")
        self.embed = draw.normal(size=(self.tokens.vocab_size, width))
        self.recur = draw.normal(size=(width, width)) / np.sqrt(width)
        self.head = draw.normal(size=(self.tokens.vocab_size, width)) / np.sqrt(width)
        self.fingerprint = hashlib.sha256(self.head.tobytes()).hexdigest()[:12]

    def encode(self, messages: list[dict]) -> list[int]:
        return list(as_text(messages).encode())

    def read(self, tokens: list[int], state=None) -> tuple[np.ndarray, object]:
        """Logits of the token after these, shape (vocabulary,), and the state that they leave."""
        state = np.zeros(len(self.recur)) if state is None else state
        for token in tokens:
            state = np.tanh(self.embed[token] + self.recur @ state)
        return self.head @ state, state


class Checkpoint:
    """A causal language model of a folder, read by transformers; on CUDA where there is one."""

    def __init__(self, folder: str):
        import torch
        from llguidance.hf import from_tokenizer
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForCausalLM.from_pretrained(folder).to(self.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tokens = from_tokenizer(self.tokenizer, n_vocab=self.model.config.vocab_size)
        weights = hashlib.sha256()
        for path in sorted(Path(folder).glob("*.safetensors")):
            weights.update(path.read_bytes())
        self.fingerprint = weights.hexdigest()[:12]

    def encode(self, messages: list[dict]) -> list[int]:
        if self.tokenizer.chat_template:
            return list(
                self.tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, return_dict=False
                )
            )
        return self.tokenizer.encode(as_text(messages))

    def read(self, tokens: list[int], state=None) -> tuple[np.ndarray, object]:
        with self.torch.inference_mode():
            output = self.model(
                self.torch.tensor([tokens], device=self.device), cache=state, use_cache=True
            )
        return output.logits[0, -1].double().cpu().numpy(), output.cache


def as_text(messages: list[dict]) -> str:
    return (
        "".join(f"{message['role']}: {message['content']}\n\n" for message in messages)
        + "assistant: "
    )


def complete(
    engine, prompt: list[int], schema: dict | None, seed: int, temperature: float, limit: int
) -> tuple[list[int], str]:
    """Tokens drawn from the model, only such as the schema allows, and why they end: "stop" or
    "length".
    """
    import llguidance
    import llguidance.numpy

    draw = np.random.default_rng(seed)
    matcher, mask = None, llguidance.numpy.allocate_token_bitmask(1, engine.tokens.vocab_size)
    allowed = np.arange(engine.tokens.vocab_size)
    if schema is not None:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_flexible": False}
        )
        matcher = llguidance.LLMatcher(engine.tokens, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
    output: list[int] = []
    logits, state = engine.read(prompt)
    while len(output) < limit:
        chosen = (
            matcher.compute_ff_tokens() if matcher else []
        )  # what the schema leaves no choice about
        if not chosen:
            if matcher:
                llguidance.numpy.fill_next_token_bitmask(matcher, mask)
                allowed = np.flatnonzero(
                    np.unpackbits(mask.view(np.uint8), bitorder="little")[: len(logits)]
                )
            weight = np.cumsum(
                np.exp((logits[allowed] - logits[allowed].max()) / max(temperature, 1e-3))
            )
            chosen = [
                int(allowed[np.searchsorted(weight, draw.random() * weight[-1], side="right")])
            ]
        if chosen[0] == engine.tokens.eos_token:
            return output, "stop"
        output += chosen
        if matcher and (not matcher.consume_tokens(chosen) or matcher.is_stopped()):
            return output, "stop"
        logits, state = engine.read(chosen, state)
    return output[:limit], "length"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(
            200, {"object": "list", "data": [{"id": self.server.options.name, "object": "model"}]}
        )

    def do_POST(self):
        options = self.server.options
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests += 1
            number = self.server.requests
            if options.log:
                with open(options.log, "a") as log:
                    log.write(
                        json.dumps(
                            {"number": number, "body": body, "client": self.headers["User-Agent"]}
                        )
                        + "\n"
                    )
        fault = options.fault if number in options.on or not options.on else None
        if options.key and self.headers["Authorization"] != f"Bearer {options.key}":
            return self.refuse(
                401,
                f"Incorrect API key provided: {self.headers['Authorization']}",
                "invalid_api_key",
            )
        if body["model"] != options.name:
            return self.refuse(404, f"The model {body['model']} does not exist", "model_not_found")
        if fault == "limit":
            return self.refuse(
                429, "Too many requests", "rate_limit_exceeded", {"Retry-After": "1"}
            )
        if fault == "quota":
            return self.refuse(
                429, "You exceeded your quota", "insufficient_quota", {"x-should-retry": "false"}
            )
        if fault == "error":
            # Careless servers repeat the key.
            return self.refuse(
                500, f"The server had an error with {self.headers['Authorization']}", "server_error"
            )
        if fault == "hang":
            time.sleep(3600)
        self.answer(body, fault)

    def do_PUT(self):
        """Other options while the server runs, such as {"fault": "error", "on": [1]}; requests are
        counted from here on.
        """
        with self.server.lock:
            vars(self.server.options).update(
                json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.server.requests = 0
        self.reply(200, {})

    def answer(self, body: dict, fault: str | None) -> None:
        engine, options = self.server.engine, self.server.options
        prompt = engine.encode(body["messages"])
        limit = min(body.get("max_tokens") or options.context, options.context - len(prompt))
        if limit <= 0:
            text = (
                f"This model's maximum context length is {options.context} tokens, the messages"
                f" have {len(prompt)}"
            )
            return self.refuse(400, text, "context_length_exceeded")
        wanted = body.get("response_format", {})
        schema = wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None
        if fault == "free":
            schema, limit = None, min(limit, 300)
        try:
            seed, temperature = body.get("seed") or 0, body.get("temperature", 1.0)
            output, end = complete(engine, prompt, schema, seed, temperature, limit)
        except ValueError as error:
            return self.refuse(
                400, f"Invalid schema for response_format: {error}", "invalid_json_schema"
            )
        text = engine.tokens.decode_bytes(output).decode(errors="replace")
        message = {"role": "assistant", "content": text, "refusal": None}
        if fault == "refuse":
            message |= {"content": None, "refusal": "I cannot help with that."}
        usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(output),
            "total_tokens": len(prompt) + len(output),
        }
        choice = {"index": 0, "message": message, "finish_reason": end}
        reply = {
            "id": "chatcmpl",
            "object": "chat.completion",
            "created": 0,
            "model": options.name,
            "usage": usage,
        }
        self.reply(
            200,
            reply | {"system_fingerprint": engine.fingerprint, "choices": [choice]},
            fault=fault,
        )

    def refuse(self, status: int, text: str, code: str, headers: dict | None = None) -> None:
        self.reply(status, {"error": {"message": text, "type": code, "code": code}}, headers)

    def reply(
        self, status: int, body: dict, headers: dict | None = None, fault: str | None = None
    ) -> None:
        data = json.dumps(body).encode()
        if fault == "garbage":
            data = data[: len(data) // 2]
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(data),
            **(headers or {}),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        if fault == "die":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            os._exit(1)
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--name", default="random-bytes", help="the model's name in requests")
    parser.add_argument("--checkpoint", help="folder of a causal model saved by transformers")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument(
        "--context", type=int, default=32768, help="tokens of a prompt and its answer"
    )
    parser.add_argument("--key", help="answer 401 to any other key")
    parser.add_argument("--log", help="file that gets one JSON line for each request")
    parser.add_argument(
        "--fault", choices=["limit", "quota", "error", "die", "hang", "garbage", "free", "refuse"]
    )
    parser.add_argument(
        "--on",
        type=int,
        nargs="*",
        default=[],
        help="numbers of the requests that fail; all by default",
    )
    parser.add_argument(
        "--lifetime", type=float, help="seconds after which the server ends by itself"
    )
    return parser.parse_args(arguments)


def _server(options: argparse.Namespace) -> ThreadingHTTPServer:
    try:
        import llguidance  # noqa: F401 (not needed by anything else, so it may be missing)
    except ModuleNotFoundError as error:
        sys.exit(f"the model server needs llguidance: {missing_package(error)}")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    except OSError as error:
        sys.exit(
            f"port {options.port} cannot be used ({error.strerror}); choose another, or 0 for a"
            " free one."
        )
    server.options, server.lock, server.requests = options, threading.Lock(), 0
    server.engine = (
        Checkpoint(options.checkpoint) if options.checkpoint else RandomBytes(options.seed)
    )
    return server


def _address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def main() -> None:
    options = _options(sys.argv[1:])
    server = _server(options)
    if options.checkpoint:
        import torch

        torch.set_num_threads(1)
    if options.lifetime:
        ending = threading.Timer(options.lifetime, os._exit, [0])
        ending.daemon = True
        ending.start()
    print(_address(server), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
