"""Servers that mean harm, or answer nonsense: each is bounded, and told in one sentence."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import zlib
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.language import servers
from workbench.generators.language.chat import ModelError
from workbench.tables.schema import Column, Schema

KEY = "sk-of-the-reader-1234567890"
SCHEMA = Schema((Column("age", "integer"), Column("ward", "categorical")))
TABLE = SCHEMA.cast(pd.DataFrame({"age": [30, 40, 50, 60], "ward": ["a", "b", "a", "b"]}))
MB = 2**20


def good(**changes) -> dict:
    """A chat completion with twenty valid rows, or a part of it changed."""
    rows = {"rows": [{"age": 35, "ward": "a"}] * 20}
    message = {"role": "assistant", "content": json.dumps(rows)} | changes.pop("message", {})
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return {"model": "m", "choices": [choice], "usage": usage} | changes


def with_tokens(text: str) -> str:
    return json.dumps(good()).replace('"prompt_tokens": 1', f'"prompt_tokens": {text}')


# What a server answers, by the first part of its path
BODIES = {
    "good": json.dumps(good()),
    "content-number": json.dumps(good(message={"content": 123})),
    "content-list": json.dumps(good(message={"content": [{"a": 1}]})),
    "refusal-number": json.dumps(good(message={"refusal": 7})),
    "model-number": json.dumps(good(model=123)),
    "tokens-text": with_tokens('"abc"'),
    "tokens-object": with_tokens('{"a": 1}'),
    "tokens-infinite": with_tokens("1e400"),
    "tokens-nan": with_tokens("NaN"),
    "tokens-negative": with_tokens("-5"),
    "tokens-huge": with_tokens("9" * 5000),
    "no-choices": json.dumps({"choices": []}),
    "a-list": "[]",
    "brackets": "[" * 100_000 + "]" * 100_000,
    "not-text": b"\xff\xfe\x00",
    "many-lists": '{"choices": [' + "[]," * 3_000_000 + "[]]}",
}
FAULTY = [name for name in BODIES if name != "good"]


@cache
def bomb(size: int = 128) -> bytes:
    """So many megabytes of blanks as gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * MB) for _ in range(size)) + packer.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mode = self.path.split("/")[1]
        self.server.seen.append((mode, self.headers.get("Authorization"), body.decode()))
        special = getattr(self, mode.replace("-", "_"), None)
        try:
            if special:
                special()
            else:
                self.reply(BODIES[mode])
        except OSError:  # the client has gone, as it should
            self.close_connection = True

    def reply(self, body: str | bytes, status: int = 200, **headers: str):
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drip(self):
        """A blank every fifth of a second, for ever."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"1\r\n \r\n")
            time.sleep(0.2)

    def drip_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            self.wfile.write(b"x")
            time.sleep(0.2)

    def until_closed(self):
        """A good answer without a length, whose connection is left open."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODIES["good"].encode())
        self.wfile.flush()
        time.sleep(30)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        while True:
            self.write(b" " * MB)

    def write(self, data: bytes) -> None:
        """Send these bytes, and count them: the system keeps a few that nobody reads."""
        self.wfile.write(data)
        self.server.sent += len(data)

    def big(self, status: int = 200):
        """A completion of 100 MB, sent piece by piece."""
        self.send_response(status)
        self.send_header("Content-Length", str(100 * MB))
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": {"content": "')
        for _ in range(99):
            self.write(b"x" * MB)

    def big_error(self):
        self.big(status=500)

    def bomb(self):
        self.reply(bomb(), Content_Encoding="gzip")

    def bomb_error(self):
        self.reply(bomb(), status=400, Content_Encoding="gzip")

    def redirect(self):
        port = self.server.other.server_port
        self.reply("", status=307, Location=f"http://localhost:{port}/good/v1/chat/completions")

    def wait_for_ever(self):
        self.reply("{}", status=429, Retry_After="1000000000")

    def echo(self):
        """The key in each part of an answer where it could be kept."""
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.reply(json.dumps(good(model=key, system_fingerprint=key, note=key)))

    def echo_error(self):
        key = self.headers.get("Authorization")
        text = f"bad key {key}, it ends in {key[-12:]}\x1b[31m\nsecond line"
        self.reply(json.dumps({"error": {"message": text}}), status=500)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def running():
    first, other = (ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2))
    for server in (first, other):
        server.daemon_threads, server.seen, server.other, server.sent = True, [], other, 0
        server.handle_error = lambda *_: None  # of connections that the client cuts
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield first
    for server in (first, other):
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(running, monkeypatch, tmp_path):
    """The server, not named by the environment, and an empty cache."""
    for name in ("OPENAI_BASE_URL", "WORKBENCH_MODEL_SERVERS", "WORKBENCH_SHARE_ROWS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("WORKBENCH_LLM_CACHE", str(tmp_path / "cache"))
    running.sent = 0
    running.seen.clear()
    running.other.seen.clear()
    return running


def address(server, mode: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{mode}/v1"


def sampled(server, mode: str, **parameters):
    settings = {"base_url": address(server, mode), "model": "m", "patience": 0, "retries": 0}
    generator = make("llm", settings | {"timeout": 10.0} | parameters)
    generator = generator.fit(TABLE, SCHEMA, np.random.default_rng(0))
    return generator, generator.sample(20, np.random.default_rng(1))


def kept(tmp_path) -> str:
    return "".join(path.read_text() for path in (tmp_path / "cache").glob("*"))


# How long and how much a server may answer.


@pytest.mark.parametrize("mode", ["drip", "drip-headers"])
def test_an_answer_that_drips_ends_with_the_time(server, mode, tmp_path):
    sampled(server, "good")  # what is imported on first use takes seconds
    fired: list[float] = []
    # A timer of the same length says how late this machine is just now.
    timer = threading.Timer(1.0, lambda: fired.append(time.monotonic()))
    start = time.monotonic()
    timer.start()
    with pytest.raises(ModelError, match="gave no answer within 1 s, 1 times"):
        sampled(server, mode, timeout=1.0)
    ended = time.monotonic()
    timer.join()
    late = fired[0] - start - 1.0
    assert ended - start < 3 + 3 * late
    assert len(list((tmp_path / "cache").iterdir())) == 1, "the good one alone is kept"


def test_an_answer_without_an_end_is_not_taken_for_whole(server, tmp_path):
    with pytest.raises(ModelError, match="gave no answer within 1 s"):
        sampled(server, "until-closed", timeout=1.0)
    assert kept(tmp_path) == ""


@pytest.mark.parametrize("mode", ["endless", "big", "bomb", "big-error", "bomb-error"])
def test_an_answer_without_measure_takes_no_memory(server, mode, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The size ends it, long before the time does, however busy the machine is.
    with pytest.raises(ModelError, match="compressed or larger than 10 MB, and was not read"):
        sampled(server, mode, timeout=300.0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 60
    assert server.sent < 30 * MB, "and nothing more is taken in"
    assert kept(tmp_path) == ""


def test_control_c_does_not_wait_for_the_server(server, tmp_path):
    # A shell that starts pytest in the background lets all its children ignore the signal.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import numpy as np, test_llm_servers as here; from workbench.generators import make\n"
        f"settings = dict(base_url={address(server, 'drip')!r}, model='m', timeout=60)\n"
        "generator = make('llm', settings).fit(here.TABLE, here.SCHEMA, np.random.default_rng(0))\n"
        "print('waiting', flush=True)\n"
        "generator.sample(20, np.random.default_rng(1))"
    )
    folder = os.path.dirname(__file__)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder
    )
    try:
        process.stdout.readline()
        while not server.seen:
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        # The server would hold it for 60 s.
        assert b"KeyboardInterrupt" in process.communicate(timeout=50)[1]
    finally:
        process.kill()


# What a server answers.


@pytest.mark.parametrize("mode", FAULTY)
def test_an_answer_of_the_wrong_kind_fails_in_a_sentence_and_is_not_kept(server, mode, tmp_path):
    with pytest.raises(ModelError, match="is no chat completion in JSON, 1 times"):
        sampled(server, mode)
    assert kept(tmp_path) == ""


@pytest.mark.parametrize(
    "text",
    ['{"rows": ' + "[" * depth + "]" * depth + "}" for depth in (900, 5000, 100_000)]
    + ['{"rows": [{"age": 1e400, "ward": "a"}, {"age": ' + "9" * 60 + ', "ward": "a"}]}']
    + ['{"rows": [' + "{}," * 100_000 + "{}]}"],
    ids=["deep", "deeper", "deepest", "numbers", "many"],
)
def test_rows_of_any_kind_fail_in_a_sentence(server, text, monkeypatch):
    monkeypatch.setitem(BODIES, "rows", json.dumps(good(message={"content": text})))
    start = time.process_time()
    with pytest.raises(ModelError, match="does not follow the schema"):
        sampled(server, "rows", timeout=300.0)
    assert time.process_time() - start < 5


def test_whole_numbers_beyond_64_bits_are_no_values(server):
    """A column whose ends are too large for a JSON schema to hold leaves the check to the cast."""
    schema = Schema((Column("id", "integer"),))
    table = schema.cast(pd.DataFrame({"id": [10**17, 10**18, 3 * 10**18]}))
    generator = make("llm", {"base_url": address(server, "good"), "model": "m"})
    form = generator.fit(table, schema, np.random.default_rng(0))._form
    rows = [{"id": 10**17}, {"id": 10**30}]
    good_rows, why = form.read(json.dumps({"rows": rows}))
    assert list(good_rows["id"]) == [10**17]
    assert "not a value between its ends" in why


def test_an_absurd_wait_is_not_waited(server):
    start = time.monotonic()
    with pytest.raises(ModelError, match="still limits the rate"):
        sampled(server, "wait-for-ever", patience=6)
    assert time.monotonic() - start < 60  # a wait is of 120 s at most, and this one of 30 years
    assert len(server.seen) == 1


def test_answers_of_one_server_are_not_taken_for_anothers(server, tmp_path):
    first = sampled(server, "good")[0]
    other = sampled(server, "echo")[0]
    assert first.usage["sent"] == other.usage["sent"] == 1
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert sampled(server, "good")[0].usage["sent"] == 0


@pytest.mark.parametrize("changes", [{"text": 5}, {"input_tokens": "x"}, {"finish": []}])
def test_a_kept_answer_of_the_wrong_kind_is_asked_again(server, tmp_path, changes):
    sampled(server, "good")
    (path,) = (tmp_path / "cache").iterdir()
    content = json.loads(path.read_text())
    content["answer"] |= changes
    path.write_text(json.dumps(content))
    assert sampled(server, "good")[0].usage["sent"] == 1


# The key, and the rows.


def test_a_server_that_only_the_grid_names_gets_neither_key_nor_rows(server):
    with pytest.raises(InputError, match="set WORKBENCH_SHARE_ROWS=1 in the environment"):
        sampled(server, "good", examples=3, share_real_rows=True)
    assert server.seen == []
    sampled(server, "good")
    ((_, authorization, body),) = server.seen
    assert KEY not in str(authorization)
    assert KEY not in body


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "WORKBENCH_MODEL_SERVERS"])
def test_a_server_that_the_environment_names_gets_the_key(server, monkeypatch, name):
    listed = address(server, "good") + "/"
    if name == "WORKBENCH_MODEL_SERVERS":
        listed = f"https://other.example/v1, {listed}"
    monkeypatch.setenv(name, listed)
    sampled(server, "good")
    assert server.seen[0][1] == f"Bearer {KEY}"
    sampled(server, "echo")
    assert KEY not in str(server.seen[1][1]), "another path is another server"


@pytest.mark.parametrize(
    "url",
    [
        "https://stranger.example/v1",
        "http://127.0.0.1.stranger.example/v1",
        "http://10.0.0.7:8000/v1",
    ],
)
def test_nothing_is_sent_to_a_stranger(server, monkeypatch, url):
    generator = make("llm", {"base_url": url, "model": "m"})
    reason = generator.supports(SCHEMA)
    assert f"set WORKBENCH_MODEL_SERVERS={url} if you trust it" in reason
    with pytest.raises(InputError, match="is not a server that you named"):
        generator.fit(TABLE, SCHEMA, np.random.default_rng(0))
    monkeypatch.setenv("WORKBENCH_MODEL_SERVERS", url)
    assert generator.supports(SCHEMA) is None


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://localhost/v1", "http://localhost:x/v1", "http://a\\b/v1", "x"]
)
def test_what_is_no_address_is_told(url):
    assert "give an address such as" in servers.refusal(url)


def test_a_redirect_is_not_followed(server, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_MODEL_SERVERS", address(server, "redirect"))
    with pytest.raises(InputError, match=r"redirects elsewhere \(307\), which is not followed"):
        sampled(server, "redirect", patience=2)
    assert server.other.seen == []
    assert len(server.seen) == 1
    assert kept(tmp_path) == ""


def test_a_key_that_is_echoed_is_kept_nowhere(server, monkeypatch, tmp_path):
    urls = [address(server, mode) for mode in ("echo", "echo-error")]
    monkeypatch.setenv("WORKBENCH_MODEL_SERVERS", " ".join(urls))
    generator, _ = sampled(server, "echo")
    assert server.seen[0][1] == f"Bearer {KEY}"
    assert KEY[:8] not in kept(tmp_path) + str(generator.facts) + str(generator.answers)
    with pytest.raises(ModelError) as caught:
        sampled(server, "echo-error")
    message = str(caught.value)
    assert not any(KEY[start : start + 8] in message for start in range(len(KEY) - 7))
    assert "\x1b" not in message
    assert "\n" not in message


def test_a_key_for_a_server_that_is_not_named_is_said_so(server, monkeypatch):
    monkeypatch.setattr(Handler, "locked", lambda self: self.reply("{}", status=401), raising=False)
    with pytest.raises(InputError, match="wants a key, which goes only to servers that you name"):
        sampled(server, "locked")
