"""llama.cpp's server with a real small model: rows held by a grammar, the key, and its ends."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.language import model_server
from workbench.generators.language.chat import ModelError
from workbench.generators.language.facts import Fact
from workbench.generators.language.grammar import from_pattern, pattern_of
from workbench.generators.language.model_server import (
    MODEL_COMMAND,
    bundled_model,
    local_server,
    main,
)
from workbench.tables.datasets import table_hash
from workbench.tables.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("age", "integer"),
        Column("income", "numeric", description="thousands of dollars"),
        Column("ward", "categorical", "target"),
    )
)
TABLE = SCHEMA.cast(
    pd.DataFrame(
        {
            "age": [30, 40, 50, 60],
            "income": [50.5, 161.25, 72.0, None],
            "ward": ["a", 'b "or" \\c', "c", "a"],
        }
    )
)
SETTINGS = {"response_format": "grammar", "batch_rows": 1, "patience": 0}


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("xllamacpp", reason='pip install "synthetic-workbench[language]"')
    try:
        bundled_model()
    except InputError:
        pytest.skip(MODEL_COMMAND)
    with local_server(context=2048, lifetime=300) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_LLM_CACHE", str(tmp_path / "cache"))


def fitted(**parameters):
    settings = SETTINGS | parameters
    return make("llm", settings).fit(TABLE, SCHEMA, np.random.default_rng(0))


def sampled(generator, rows: int = 2) -> pd.DataFrame:
    return generator.sample(rows, np.random.default_rng(1))


def test_every_row_of_the_real_model_is_valid_and_a_rerun_sends_nothing(server):
    first = fitted(temperature=1.0, top_p=0.9, hints={"age": "of grown-ups, in years"})
    rows = sampled(first)
    assert SCHEMA.check(rows) == []
    assert first.usage["sent"] == first.usage["requests"] == 2, "no row was written twice"
    assert first.facts["server"][0].startswith("smollm2-135m-instruct")
    prompt = first.request()["messages"][1]["content"]
    assert "(of grown-ups, in years)" in prompt and "(thousands of dollars)" in prompt
    again = fitted(temperature=1.0, top_p=0.9, hints={"age": "of grown-ups, in years"})
    assert table_hash(sampled(again)) == table_hash(rows)
    assert again.usage["sent"] == 0
    assert server.cpu_seconds > 0


def test_a_condition_and_a_json_schema_hold(server):
    assert set(fitted().sample(2, np.random.default_rng(1), where={"ward": "c"})["ward"]) == {"c"}
    assert SCHEMA.check(sampled(fitted(response_format="json_schema"), 1)) == []


def test_another_key_is_refused_and_the_servers_own_goes_nowhere_else(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with pytest.raises(InputError, match="did not accept the key"):
        sampled(fitted())


def test_a_server_that_is_gone_is_one_sentence_and_its_rows_are_kept(server):
    with local_server(context=1024, lifetime=60) as mortal:
        generator = fitted()
        first = sampled(generator, 1)
        mortal.process.kill()
        mortal.process.wait()
        with pytest.raises(ModelError, match=r"no connection to .* 1 of 2 rows were good"):
            sampled(fitted(), 2)
        assert table_hash(sampled(fitted(), 1)) == table_hash(first)


def test_the_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with model_server.named({"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": "y"}):
        assert model_server.os.environ["OPENAI_API_KEY"] == "x"
    assert model_server.os.environ["OPENAI_API_KEY"] == "mine"
    assert "OPENAI_BASE_URL" not in model_server.os.environ


def test_a_missing_model_is_one_sentence_with_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(model_server, "PACKAGE", "no-such-package")
    with pytest.raises(InputError, match=re.escape(MODEL_COMMAND)):
        bundled_model()
    text = tmp_path / "model.gguf"
    text.write_text("no model")
    for path, sentence in ((text, "is no GGUF file"), (tmp_path / "x.gguf", "cannot be read")):
        monkeypatch.setattr("sys.argv", ["model_server", "--model", str(path)])
        with pytest.raises(SystemExit, match=sentence):
            main()


def test_a_package_that_is_not_there_and_a_file_that_is_cut_off(server, monkeypatch, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(bundled_model().read_bytes()[:2_000_000])
    with pytest.raises(InputError, match=r"the model cut\.gguf cannot be used"), local_server(cut):
        pass
    (tmp_path / "xllamacpp.py").write_text("raise ModuleNotFoundError(name='xllamacpp')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(InputError, match=r"xllamacpp is not installed; pip install"),
        local_server(),
    ):
        pass


@pytest.mark.parametrize(
    "ends", [(1.0, 72.0), (-7919.0, 28023.0), (-90.25, -10.5), (-0.5, 99.5), (-200.0, 0.0)]
)
def test_a_grammars_numbers_lie_within_the_ends_and_reach_nearly_all(ends):
    low, high = ends
    fact = Fact.of(pd.Series([low, high, low + 1.25]), Column("x", "numeric"))
    pattern = re.compile(pattern_of(fact))
    draw = np.random.default_rng(0)
    for value in draw.uniform(low - 60, high + 60, 500):
        for decimals in (0, 1, 2):
            text = f"{value:.{decimals}f}"
            number = float(text)
            if pattern.fullmatch(text):
                assert low <= number <= high
            else:
                assert not low + 1 <= number <= high - 1 or text.startswith("-0")


def test_a_pattern_as_gbnf():
    assert from_pattern(r'"a\ b"|\\[nt]{2}') == r'"\"a b\"" | "\\" [nt]{2}'


def test_a_grammar_is_asked_for_in_place_of_a_schema():
    generator = make("llm", {**SETTINGS, "base_url": "http://localhost:1/v1", "model": "m"})
    request = generator.fit(TABLE, SCHEMA, np.random.default_rng(0)).request(2)
    assert "response_format" not in request
    assert 'root ::= "{\\"rows\\":[" row ("," row){1} "]}"' in request["grammar"]
    assert "The JSON schema" not in json.dumps(request["messages"])
    reason = make(
        "llm", {"hints": {"agee": "x"}, "base_url": "http://localhost:1/v1", "model": "m"}
    )
    assert "did you mean age" in reason.supports(SCHEMA)
