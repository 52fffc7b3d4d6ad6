"""Conversations: a table of dialogues written by a prompted language model, from a format and a
domain.

The form is by construction: how many turns a dialogue has, who speaks, which scenario it plays and
how often each occurs are drawn here, and a grammar (or a JSON schema) holds the answer to them. The
model writes what is said, and how it ends. What is said is the model's, and a small one says little:
read `docs/language-models.md` before you train on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.generators.language.chat import Chat, ModelError
from workbench.generators.language.grammar import from_pattern, literal
from workbench.generators.language.servers import refusal

COLUMNS = ["dialogue", "scenario", "turn", "role", "text", "outcome"]
TASK = (
    "You write one short, realistic conversation as a JSON object. Each turn is one natural"
    " sentence or two, in the speaker's own words, and answers the turn before it."
)
# What a text may hold: no quote, no backslash, no line break, no blank at its start, and an end
FIRST = r"[A-Za-z0-9]"
LETTER = r'[^"\\\x00-\x1f\x7f]'
END = r"[.!?]"


@dataclass(frozen=True)
class ConversationFormat:
    """What a dialogue is made of.

    Parameters
    ----------
    domain : str
        Where the conversations take place, in a sentence.
    roles : sequence of str
        Who speaks; they take turns in this order.
    scenarios : mapping of str to str
        What dialogues are about: a name, and a sentence for the model.
    turns : pair of int
        Fewest and most turns.
    outcomes : sequence of str
        How a dialogue can end.
    text_length : int
        Most characters of a turn.

    Examples
    --------
    >>> form = ConversationFormat("A bank's help line.", ["customer", "clerk"], {"card": "lost card"})
    >>> form.roles[1]
    'clerk'
    """

    domain: str
    roles: Sequence[str]
    scenarios: Mapping[str, str]
    turns: tuple[int, int] = (2, 6)
    outcomes: Sequence[str] = ("resolved", "open")
    text_length: int = 160

    def __post_init__(self):
        for name in ("roles", "scenarios", "outcomes"):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise InputError(
                    f"a conversation's {name} are {values}; name at least one, none twice."
                )
        fewest, most = self.turns
        if not 1 <= fewest <= most:
            raise InputError(f"turns is {tuple(self.turns)}; give the fewest and the most, from 1.")
        if self.text_length < 2:
            raise InputError(f"text_length is {self.text_length}; give at least 2.")

    def speakers(self, turns: int) -> list[str]:
        return [self.roles[turn % len(self.roles)] for turn in range(turns)]

    def prompt(self, scenario: str, turns: int) -> str:
        speakers = ", then ".join(self.speakers(turns))
        ends = json.dumps(list(self.outcomes))
        return (
            f"The domain: {self.domain}\n\nWhat this conversation is about: "
            f"{self.scenarios[scenario]}\n\nIt has {turns} turns: {speakers}. "
            f'The last field, "outcome", is one of {ends}.\n\nWrite the conversation.'
        )

    def grammar(self, turns: int) -> str:
        """The one form that a dialogue of so many turns can have, as llama.cpp reads it."""
        parts = []
        for number, role in enumerate(self.speakers(turns)):
            before = '{"turns":[{' if number == 0 else '"},{'
            parts += [literal(f'{before}"role":{json.dumps(role)},"text":"'), "text"]
        parts += [literal('"}],"outcome":'), "outcome", literal("}")]
        outcomes = " | ".join(literal(json.dumps(outcome)) for outcome in self.outcomes)
        text = f"{FIRST} {from_pattern(LETTER)}{{0,{self.text_length - 2}}} {END}"
        return f"root ::= {' '.join(parts)}\ntext ::= {text}\noutcome ::= {outcomes}\n"

    def json_schema(self, turns: int) -> dict:
        """The same for servers that take a JSON schema."""
        said = []
        for role in self.speakers(turns):
            text = {"type": "string", "minLength": 1, "maxLength": self.text_length}
            said.append(_closed({"role": {"const": role}, "text": text}))
        array = {"type": "array", "prefixItems": said, "minItems": turns, "maxItems": turns}
        return _closed({"turns": array, "outcome": {"enum": list(self.outcomes)}})

    def faults(self, table: pd.DataFrame) -> list[str]:
        """What a table of dialogues has that the format does not allow, a sentence each."""
        if list(table) != COLUMNS:
            return [f"the columns are {list(table)}, not {COLUMNS}."]
        found = []
        for dialogue, rows in table.groupby("dialogue", sort=False):
            turns = len(rows)
            checks = {
                "has another number of turns": self.turns[0] <= turns <= self.turns[1],
                "has turns out of order": list(rows["turn"]) == list(range(turns)),
                "has a wrong speaker": list(rows["role"]) == self.speakers(turns),
                "is of no declared scenario": set(rows["scenario"]) <= set(self.scenarios),
                "ends in no declared outcome": set(rows["outcome"]) <= set(self.outcomes),
                "changes its scenario or outcome": len(
                    rows[["scenario", "outcome"]].drop_duplicates()
                )
                == 1,
                "has an empty or too long text": rows["text"]
                .str.len()
                .between(1, self.text_length)
                .all(),
            }
            found += [
                f"dialogue {dialogue} {fault}." for fault, holds in checks.items() if not holds
            ]
        return found


@dataclass
class Conversations:
    """Dialogues of a format, one request each; the server and the model as for the generator `llm`."""

    form: ConversationFormat
    base_url: str = ""
    model: str = ""
    temperature: float = 0.8
    top_p: float | None = 0.95
    response_format: str = "grammar"
    retries: int = 3
    patience: int = 6
    timeout: float = 300.0
    cache: str | None = None

    def __post_init__(self):
        if self.response_format not in ("grammar", "json_schema"):
            raise InputError(
                f"response_format is {self.response_format!r}; known: grammar, json_schema."
            )
        address = self.base_url or os.environ.get("OPENAI_BASE_URL", "")
        if not address:
            raise InputError("no server is named; set OPENAI_BASE_URL, or base_url.")
        if reason := refusal(address):
            raise InputError(reason)
        self.chat = Chat(address, self.timeout, self.patience, self.cache)

    def request(self, scenario: str, turns: int, seed: int) -> dict:
        """The request for one dialogue: all that is sent, but for the key."""
        request = {
            "model": self.model or os.environ.get("WORKBENCH_LLM_MODEL", ""),
            "messages": [
                {"role": "system", "content": TASK},
                {"role": "user", "content": self.form.prompt(scenario, turns)},
            ],
            "seed": seed,
            "temperature": self.temperature,
        }
        if self.top_p is not None:
            request["top_p"] = self.top_p
        if self.response_format == "grammar":
            request["grammar"] = self.form.grammar(turns)
        else:
            held = {"name": "dialogue", "strict": True, "schema": self.form.json_schema(turns)}
            request["response_format"] = {"type": "json_schema", "json_schema": held}
        return request

    def write(self, counts: int | Mapping[str, int], rng: np.random.Generator) -> pd.DataFrame:
        """So many dialogues of each scenario, a row a turn.

        Parameters
        ----------
        counts : int or mapping of str to int
            Dialogues of each scenario, or of those named.
        rng : numpy Generator
            Draws the numbers of turns and the seeds of the requests.

        Returns
        -------
        DataFrame
            dialogue (from 0), scenario, turn (from 0), role, text and outcome.

        Raises
        ------
        InputError, ModelError
            In a sentence; finished dialogues are kept, and the same call goes on from there.
        """
        if isinstance(counts, int):
            counts = dict.fromkeys(self.form.scenarios, counts)
        wanted = [name for name, count in counts.items() for _ in range(count)]
        unknown = [name for name in counts if name not in self.form.scenarios]
        if unknown:
            raise InputError(
                f"no scenario {unknown[0]!r}; known: {', '.join(self.form.scenarios)}."
            )
        fewest, most = self.form.turns
        sizes = rng.integers(fewest, most + 1, size=len(wanted))
        seeds = rng.integers(2**30, size=len(wanted))
        rows = []
        for number, (scenario, turns) in enumerate(zip(wanted, sizes.tolist(), strict=True)):
            dialogue = self._dialogue(scenario, turns, int(seeds[number]))
            for place, turn in enumerate(dialogue["turns"]):
                said = [turn["role"], turn["text"].strip(), dialogue["outcome"]]
                rows.append([number, scenario, place, *said])
        return pd.DataFrame(rows, columns=COLUMNS)

    def _dialogue(self, scenario: str, turns: int, seed: int) -> dict:
        """One dialogue, asked for again where the server did not hold to its form."""
        from jsonschema import Draft202012Validator

        validator = Draft202012Validator(self.form.json_schema(turns))
        for attempt in range(1 + self.retries):
            answer = self.chat.answer(self.request(scenario, turns, seed + attempt))
            try:
                dialogue = json.loads(answer["text"])
            except (ValueError, RecursionError):
                continue
            is_whole = validator.is_valid(dialogue)
            if is_whole and all(turn["text"].strip() for turn in dialogue["turns"]):
                return dialogue
        raise ModelError(
            f"the model wrote no conversation of the form, {1 + self.retries} times; "
            f"answers are kept in {self.chat.folder}, and the same call goes on from there."
        )


def _closed(properties: dict) -> dict:
    """An object of these fields, all of them and no other."""
    required = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
