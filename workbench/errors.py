"""Mistakes of the input, and what helps out of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

DISTRIBUTION = "synthetic-workbench"  # what pip installs; the import is `workbench`
# The packages that some commands need and the core installs without, by the extra that brings them.
EXTRAS = {
    "torch": "neural",
    "jsonschema": "language",
    "llguidance": "language",
    "openai": "language",
    "tokenizers": "language",
    "transformers": "language",
    "gguf": "language",
    "accelerate": "language",
    "xllamacpp": "language",
    "ipywidgets": "app",
    "itables": "app",
    "jupyterlab": "app",
    "voila": "app",
    "distributed": "cluster",
}


class InputError(ValueError):
    """A mistake of the input, in one sentence: the column, key or file, and the way out."""


class Failure(RuntimeError):
    """Something went wrong that is no mistake of the input: a server, a training that diverged.

    Its text is a sentence for the user; the command line prints it without a traceback.
    """


def missing_package(error: ModuleNotFoundError) -> InputError:
    """The sentence for a package that an extra would have brought; raises `error` for any other.

    >>> print(missing_package(ModuleNotFoundError("No module named 'torch'", name="torch")))
    torch is not installed; pip install "synthetic-workbench[neural]" brings it.
    """
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        raise error
    command = f'pip install "{DISTRIBUTION}[{EXTRAS[package]}]"'
    return InputError(f"{package} is not installed; {command} brings it.")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence: the known names nearest to `name`, or all of them.

    >>> nearest("ctgn", ["ctgan", "cart"])
    'did you mean ctgan?'
    """
    known = list(known)
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}."
