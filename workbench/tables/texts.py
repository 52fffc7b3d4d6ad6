"""Real tables with a column of free text that need no network: what functions of installed packages
say of themselves, and how students answer an opening question in a chat.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema

CHATS_PACKAGE = "chitchat-dataset"
CHATS_COMMAND = f"pip install {CHATS_PACKAGE}==0.9.0"
# The opening questions of the chats, by topic
QUESTIONS = {
    "country": "If you were in power for a day, how would you try to improve the country?",
    "film": "What's the last film that truly made an impression on you?",
    "music": "Mozart or Beethoven?",
    "smell": "What's your favorite smell?",
    "superpower": "What superpower do you wish you had, and why?",
}
TURNS = 2  # of each chat: later ones leave the topic
FEWEST_WORDS, MOST_WORDS = 5, 40
MODULES = {
    "numpy": "numpy numpy.linalg numpy.fft numpy.ma numpy.polynomial",
    "pandas": (
        "pandas pandas.DataFrame pandas.Series pandas.api.types pandas.Index pandas.DatetimeIndex"
    ),
    "scikit-learn": (
        "sklearn.metrics sklearn.preprocessing sklearn.ensemble sklearn.linear_model"
        " sklearn.datasets sklearn.decomposition sklearn.model_selection sklearn.cluster"
        " sklearn.feature_extraction.text"
    ),
    "scipy": (
        "scipy.stats scipy.optimize scipy.signal scipy.linalg scipy.ndimage scipy.spatial.distance"
    ),
}
LONGEST = 300


def docstrings(rows: int = 600, seed: int = 0) -> tuple[pd.DataFrame, Schema]:
    """Functions and classes of numpy, pandas, scikit-learn and scipy, as many of each: how they are
    described before their parameters are (`text`, at most 300 characters), whether they have an
    example, and which package they are of (the target).

    A table of at most `rows` rows in random order, without equal texts, and its schema; the rows
    depend on the installed versions and on the seed alone. Raises InputError for fewer than four
    rows.
    """
    if rows < len(MODULES):
        raise InputError(f"docstrings: rows is {rows}; ask for at least {len(MODULES)}.")
    rng = np.random.default_rng(seed)
    parts = []
    for package, modules in MODULES.items():
        found: dict[str, bool] = {}
        for path in modules.split():
            found |= _openings(path)
        table = pd.DataFrame(
            {"text": list(found), "example": list(found.values()), "package": package}
        )
        parts.append(table.iloc[rng.permutation(len(table))[: rows // len(MODULES)]])
    table = pd.concat(parts).drop_duplicates("text")
    schema = Schema(
        (
            Column("text", "categorical"),
            Column("example", "boolean"),
            Column("package", "categorical", "target"),
        )
    )
    return schema.cast(table.iloc[rng.permutation(len(table))].reset_index(drop=True)), schema


def _openings(path: str) -> dict[str, bool]:
    """The openings of at least eight words in a module or class, each with whether there is an
    example.
    """
    home = resolve_name(path)
    found = {}
    for name in sorted(dir(home)):
        member = getattr(home, name, None)
        if name.startswith("_") or not callable(member):
            continue
        documentation = inspect.getdoc(member) or ""
        text = _opening(documentation)
        if len(text.split()) >= 8:
            found[text] = ">>>" in documentation
    return found


def _opening(doc: str) -> str:
    """What a docstring says before its first section, in one line that ends with a word."""
    line = " ".join(re.split(r"\n[A-Z][\w ]+\n---|>>>", doc)[0].split())
    return line if len(line) <= LONGEST else line[: line[:LONGEST].rfind(" ")]


def chats(rows: int = 900, test_size: float = 0.35, seed: int = 0) -> Dataset:
    """The first two turns of chats between students (Myers et al. 2020, the Chit-Chat Dataset of
    BYU, MIT licence): `text`, and the `topic` of the question that opened the chat, the target.

    Texts of 5 to 40 words, at most `rows`, none twice; all of a chat are on one side of the split.
    Raises InputError where the package chitchat-dataset, which ships them, is not installed.

    A classifier on words learns the topic from train's texts with a ROC AUC of about 0.9 on test's.
    """
    table = chat_table(rows, seed)
    names = np.array(sorted(set(table["chat"])))
    draw = np.random.default_rng([seed, 1])
    held_out = names[draw.permutation(len(names))[: int(test_size * len(names))]]
    is_test = table.pop("chat").isin(held_out)
    schema = Schema((Column("topic", "categorical", "target"), Column("text", "categorical")))
    train, test = (schema.cast(table[side].reset_index(drop=True)) for side in (~is_test, is_test))
    return Dataset("chats", train, test, schema)


def chat_table(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    """The same texts before they are split, with the number of their `chat`."""
    topics = {question: topic for topic, question in QUESTIONS.items()}
    found: dict[str, tuple[str, int]] = {}
    for number, content in enumerate(_all_chats().values()):
        topic = topics.get(content.get("prompt"))
        for turn in content["messages"][:TURNS] if topic else []:
            text = " ".join(" ".join(message["text"] for message in turn).split())
            if FEWEST_WORDS <= len(re.findall(r"\w+", text)) <= MOST_WORDS:
                found.setdefault(text, (topic, number))
    table = pd.DataFrame(list(found.values()), columns=["topic", "chat"])
    table.insert(1, "text", list(found))
    order = np.random.default_rng(seed).permutation(len(table))[:rows]
    return table.iloc[order].reset_index(drop=True)


def _all_chats() -> dict:
    """The chats as the package ships them; it is not imported, since that reads them all twice."""
    try:
        listed = files(CHATS_PACKAGE) or []
    except PackageNotFoundError:
        raise InputError(f"the chats are not installed; {CHATS_COMMAND} brings them.") from None
    for file in listed:
        if file.name == "dataset.json":
            return json.loads(Path(str(file.locate())).read_text(encoding="utf-8"))
    raise InputError(f"the package {CHATS_PACKAGE} is installed without its chats; {CHATS_COMMAND}")


if __name__ == "__main__":
    try:
        chat_table().to_csv(sys.argv[1], index=False)
    except InputError as error:
        sys.exit(str(error))
