"""GReaT: numbers and ranges as regular expressions, what is learnt and written, checkpoints in and
out, and what it refuses.
"""

import random
import re

import numpy as np
import pandas as pd
import pytest
import torch
from faulty_server import server_in_a_thread
from test_generators import SCHEMA, TABLE, TINY, rng

pytest.importorskip("transformers")

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.language.cells import Cell, between
from workbench.generators.language.facts import Fact
from workbench.generators.language.great import random_checkpoint
from workbench.tables.datasets import table_hash
from workbench.tables.schema import Column, Schema

PAIR = Schema((Column("a", "integer"), Column("b", "categorical", "target")))


def pair_table(rows: int = 400) -> pd.DataFrame:
    """b is "low, is" below 50 and "high" from there on, but for one row in ten."""
    a = rng(0).integers(0, 100, rows)
    return PAIR.cast(
        pd.DataFrame(
            {"a": a, "b": np.where((a < 50) ^ (rng(1).random(rows) < 0.1), "low, is", "high")}
        )
    )


def test_between_allows_what_lies_between_and_nothing_else():
    draw = random.Random(0)
    for _ in range(400):
        decimals, low = draw.choice([0, 1, 3]), draw.randint(-1500, 3000)
        high = low + draw.choice([0, 1, 7, 90, 2000])
        pattern = re.compile(between(low, high, decimals))
        for number in [
            low,
            high,
            low - 1,
            high + 1,
            *(draw.randint(-2000, 6000) for _ in range(20)),
        ]:
            text = f"{number / 10**decimals:.{decimals}f}"
            assert bool(pattern.fullmatch(text)) == (low <= number <= high), (low, high, text)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e9, 1e200])
def test_numbers_are_written_within_their_range(scale):
    values = pd.Series([*rng(0).normal(size=300) * scale, np.nan], name="x")
    cell = Cell.of(Fact.of(values, Column("x", "numeric")), digits=5)
    texts = cell.write(values)
    pattern = re.compile(cell.pattern(cell.fact))
    assert texts[-1] == "null" and all(pattern.fullmatch(text) for text in texts)
    read = np.array([float(text) for text in texts[:-1]])
    assert (abs(read - values[:-1]) <= 1e-4 * (values.max() - values.min())).all()


@pytest.fixture(scope="module")
def pair():
    """A model of pair_table()."""
    settings = {"checkpoint": "random", "epochs": 15, "width": 32, "layers": 1}
    return make("great", settings).fit(pair_table(), PAIR, rng(1))


def test_it_learns_the_rule_in_both_directions_and_a_comma_in_a_label(pair):
    generator = pair
    synthetic = generator.sample(400, rng(2))
    assert ((synthetic["a"] < 50) == (synthetic["b"] == "low, is")).mean() > 0.8, (
        "0.9 in train, 0.5 by chance"
    )
    assert generator.losses[-1] < generator.losses[0] / 2
    low = generator.sample(100, rng(3), where={"b": "low, is"})
    assert (low["b"] == "low, is").all() and (low["a"] < 50).mean() > 0.75
    few = generator.sample(100, rng(3), where={"a": (80, 90)})
    assert few["a"].between(80, 90).all() and (few["b"] == "high").mean() > 0.75
    facts = generator.facts
    assert (
        facts["checkpoint"] == "random"
        and facts["epochs"] == 15
        and facts["loss"] == generator.losses[-1]
    )


def test_a_checkpoint_goes_in_and_out_and_is_served(tmp_path, monkeypatch):
    random_checkpoint(tmp_path / "start", pair_table(), PAIR, rng(0), width=16, layers=1)
    settings = {"checkpoint": str(tmp_path / "start"), "epochs": 2, "learning_rate": 0.01}
    state = torch.get_rng_state().tolist()
    one, other = (make("great", settings).fit(pair_table(), PAIR, rng(1)) for _ in range(2))
    assert table_hash(one.sample(50, rng(2))) == table_hash(other.sample(50, rng(2)))
    assert torch.get_rng_state().tolist() == state and one.facts["checkpoint"] == "start"
    one.save(tmp_path / "tuned")
    again = make("great", settings | {"checkpoint": str(tmp_path / "tuned"), "epochs": 1}).fit(
        pair_table(), PAIR, rng(1)
    )
    assert (
        again.losses[0] < one.losses[0] and again.facts["start_sha256"] != one.facts["start_sha256"]
    )
    monkeypatch.setenv("WORKBENCH_LLM_CACHE", str(tmp_path / "cache"))
    with server_in_a_thread("--checkpoint", tmp_path / "tuned", "--name", "tuned") as address:
        served = make("llm", {"base_url": address, "model": "tuned", "batch_rows": 3}).fit(
            pair_table(), PAIR, rng(1)
        )
        synthetic = served.sample(6, rng(2))
    assert (
        PAIR.check(synthetic) == []
        and synthetic["a"].between(0, 99).all()
        and set(synthetic["b"]) <= {"low, is", "high"}
    )


def test_free_text_is_written_letter_by_letter():
    schema = Schema((Column("note", "categorical"), Column("ward", "categorical", "target")))
    notes = [f'said "no" to {word}' for word in ("tea", "milk", "déjà vu", "a\\b", "water")]
    table = schema.cast(
        pd.DataFrame({"note": [*notes * 30, None], "ward": ["x", "y"] * 75 + ["x"]})
    )
    settings = {
        "checkpoint": "random",
        "epochs": 10,
        "width": 32,
        "layers": 1,
        "texts": ["note"],
        "text_length": 18,
    }
    generator = make("great", settings).fit(table, schema, rng(1))
    written = generator.sample(60, rng(2))["note"].dropna()
    assert (
        written.str.len().between(1, 18).all()
        and written.str.startswith('said "no" to ').mean() > 0.5
    )
    assert set(generator.sample(5, rng(2), where={"note": "slept"})["note"]) == {"slept"}
    assert "column 'x' is not categorical" in make("great", settings | {"texts": ["x"]}).supports(
        Schema((Column("x", "numeric"),))
    )


def test_what_it_cannot_do_is_a_sentence(pair, tmp_path):
    assert "no checkpoint is named" in make("great").supports(SCHEMA)
    with pytest.raises(InputError, match="no checkpoint is named"):
        make("great").fit(TABLE, SCHEMA, rng(1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^GReaT: checkpoint .*empty.* cannot be read"):
        make("great", {"checkpoint": str(tmp_path / "empty")}).fit(TABLE, SCHEMA, rng(1))
    with pytest.raises(InputError, match="width is 30"):
        make("great", {"width": 30})
    with pytest.raises(InputError, match="acceptance 0"):
        pair.sample(3, rng(2), where={"a": (50.2, 50.3)})


def test_rows_that_no_writing_meets_are_given_up_with_the_rate():
    generator = make("great", TINY["great"] | {"tries": 1, "epochs": 1}).fit(TABLE, SCHEMA, rng(1))
    with pytest.raises(
        InputError,
        match=r"only \d+ of \d+ written rows are good \(acceptance .*'opened' is not a value",
    ):
        generator.sample(300, rng(2))


@pytest.mark.long
def test_the_bundled_gguf_is_a_checkpoint_and_only_its_last_layers_learn(tmp_path):
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    from workbench.generators.language.checkpoint import load
    from workbench.generators.language.model_server import NAME, bundled_model

    try:
        bundled_model()
    except InputError as error:
        pytest.skip(str(error))
    before, tokenizer = load(NAME)
    assert tokenizer.decode(tokenizer("age is 39")["input_ids"]) == "age is 39"
    settings = {"checkpoint": NAME, "epochs": 1, "batch_size": 2, "trained_layers": 1}
    tuned = make("great", settings).fit(pair_table(4), PAIR, rng(1))
    changed = []
    for (name, old), new in zip(before.named_parameters(), tuned._model.parameters(), strict=True):
        if not torch.equal(old, new):
            changed.append(name)
    assert changed and all(name.startswith("model.layers.29.") for name in changed)
    assert len(tuned.sample(2, rng(2))) == 2
    tuned.save(tmp_path / "tuned")
    kept, _ = load(str(tmp_path / "tuned"))
    for old, new in zip(tuned._model.parameters(), kept.parameters(), strict=True):
        assert torch.equal(old, new)
