"""Dialogues held to a format, planted faults of their form, and the texts that need no model."""

import json
import re
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators.language.conversations import (
    COLUMNS,
    ConversationFormat,
    Conversations,
)
from workbench.generators.language.markov import Markov, Resampled
from workbench.generators.language.model_server import MODEL_COMMAND, bundled_model, local_server
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema
from workbench.tables.texts import CHATS_COMMAND, QUESTIONS, chats

FORM = ConversationFormat(
    domain="The help line of a bank.",
    roles=["customer", "clerk"],
    scenarios={"card": "The customer has lost a card.", "loan": "The customer wants a loan."},
    turns=(2, 3),
    outcomes=["resolved", "open"],
    text_length=60,
)
TALKS = pd.DataFrame(
    [
        [0, "card", 0, "customer", "I lost my card.", "resolved"],
        [0, "card", 1, "clerk", "It is blocked.", "resolved"],
        [1, "loan", 0, "customer", "I want a loan.", "open"],
        [1, "loan", 1, "clerk", "How much?", "open"],
        [1, "loan", 2, "customer", "A lot.", "open"],
    ],
    columns=COLUMNS,
)
REVIEWS = Schema((Column("stars", "categorical", "target"), Column("text", "categorical")))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"turn": [0, 1, 0, 2, 1]}, "dialogue 1 has turns out of order"),
        (
            {"role": ["customer", "customer", "customer", "clerk", "customer"]},
            "0 has a wrong speaker",
        ),
        ({"scenario": ["card", "card", "lone", "lone", "lone"]}, "1 is of no declared scenario"),
        ({"outcome": ["resolved", "open", "open", "open", "open"]}, "0 changes its scenario or"),
        ({"outcome": ["lost", "lost", "open", "open", "open"]}, "0 ends in no declared outcome"),
        ({"text": ["a", "", "a", "a", "a"]}, "0 has an empty or too long text"),
        ({"text": ["a", "b" * 61, "a", "a", "a"]}, "0 has an empty or too long text"),
    ],
)
def test_each_planted_fault_of_the_form_is_named(change, fault):
    assert FORM.faults(TALKS) == []
    (found,) = FORM.faults(TALKS.assign(**change))
    assert fault in found


def test_the_number_of_turns_is_the_formats():
    assert "another number of turns" in FORM.faults(TALKS.iloc[[0]])[0]
    assert "the columns are" in FORM.faults(TALKS.drop(columns="role"))[0]


def test_a_format_that_cannot_be_is_refused_in_a_sentence():
    for changes, sentence in (
        ({"turns": (3, 2)}, "turns is"),
        ({"roles": []}, "name at least one"),
        ({"outcomes": ["a", "a"]}, "none twice"),
        ({"text_length": 1}, "give at least 2"),
    ):
        with pytest.raises(InputError, match=sentence):
            ConversationFormat(**(vars(FORM) | changes))
    address = "http://localhost:1/v1"
    with pytest.raises(InputError, match="no scenario 'lone'"):
        Conversations(FORM, base_url=address, model="m").write({"lone": 1}, rng())
    with pytest.raises(InputError, match="is not a server that you named"):
        Conversations(FORM, base_url="http://stranger.example/v1")


def test_the_grammar_names_speakers_and_outcomes_in_order():
    grammar = FORM.grammar(3)
    assert re.findall(r'role\\":\\"(\w+)', grammar) == ["customer", "clerk", "customer"]
    assert 'outcome ::= "\\"resolved\\"" | "\\"open\\""' in grammar
    assert json.loads(json.dumps(FORM.json_schema(2)))["required"] == ["turns", "outcome"]


@pytest.mark.long
def test_the_real_model_keeps_the_form_and_covers_the_scenarios(tmp_path):
    pytest.importorskip("xllamacpp", reason='pip install "synthetic-workbench[language]"')
    try:
        bundled_model()
    except InputError:
        pytest.skip(MODEL_COMMAND)
    with local_server(context=1024, lifetime=300):
        talks = Conversations(FORM, cache=str(tmp_path)).write(1, rng())
        again = Conversations(FORM, cache=str(tmp_path))
        assert again.write(1, rng()).equals(talks)
    assert all(answer["cached"] for answer in again.chat.answers)
    assert FORM.faults(talks) == []
    assert set(talks["scenario"]) == {"card", "loan"}


# Texts without a language model.


def reviews(rows: int = 40) -> pd.DataFrame:
    opening = [["Again liked", "Really liked", "I liked"][i % 3] for i in range(rows // 2)]
    good = [f"{opening[i]} it. The food number {i} was good." for i in range(rows // 2)]
    bad = [f"I left early. The soup number {i} was cold and thin." for i in range(rows // 2)]
    stars = ["five"] * (rows // 2) + ["one"] * (rows // 2)
    return REVIEWS.cast(pd.DataFrame({"stars": stars, "text": good + bad}))


@pytest.mark.parametrize("generator", [Markov, Resampled])
def test_texts_of_a_label_are_made_of_its_own(generator):
    table = reviews()
    written = generator().fit(table, REVIEWS, rng()).sample(60, rng(1))
    assert REVIEWS.check(written) == []
    assert written["text"].str.contains("good|liked").equals(written["stars"] == "five")
    known = {word for text in table["text"] for word in text.split()}
    assert {word for text in written["text"] for word in text.split()} <= known
    assert set(
        generator().fit(table, REVIEWS, rng()).sample(5, rng(1), {"stars": "one"})["stars"]
    ) == {"one"}
    assert "did you mean text" in generator(texts=("txt",)).supports(REVIEWS)


def test_a_chain_writes_runs_of_three_words_that_train_has():
    table = reviews()
    written = Markov(order=2).fit(table, REVIEWS, rng()).sample(40, rng(1))
    runs = {tuple(t.split()[i : i + 3]) for t in table["text"] for i in range(len(t.split()) - 2)}
    for text in written["text"]:
        words = text.split()
        assert all(tuple(words[i : i + 3]) in runs for i in range(len(words) - 2))
    assert not set(written["text"]) <= set(table["text"]), "and puts them together anew"


def test_chats_are_a_labelled_table_split_by_chat():
    if find_spec("chitchat_dataset") is None:
        pytest.skip(CHATS_COMMAND)
    data = chats(300)
    assert isinstance(data, Dataset)
    assert len(data.train) + len(data.test) == 300
    assert set(data.train["topic"]) == set(data.test["topic"]) == set(QUESTIONS)
    assert not set(data.train["text"]) & set(data.test["text"])
    assert chats(300).train.equals(data.train)
    assert data.train["text"].str.split().str.len().between(3, 60).all()
