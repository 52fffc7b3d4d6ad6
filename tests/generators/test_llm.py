"""The prompted language model against a real server: what is asked and sent, what comes back, and
every way a server fails.
"""

import json
import os
import re
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_generators as contract
from faulty_server import faulty_server
from test_generators import SCHEMA, TABLE, rng

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.language.chat import ModelError
from workbench.generators.language.facts import Fact
from workbench.tables.datasets import table_hash
from workbench.tables.schema import Column, Schema

KEY = "sk-never-to-be-seen"


class Server:
    def __init__(self, address: str, log: Path):
        self.address, self.log = address, log

    def put(self, **options) -> None:
        """Options of the running server; its requests are counted and logged from here on."""
        self.log.write_text("")
        wanted = {"fault": None, "on": [], "key": None, "context": 32768} | options
        urllib.request.urlopen(
            urllib.request.Request(self.address, json.dumps(wanted).encode(), method="PUT")
        ).close()

    @property
    def requests(self) -> list[dict]:
        return [json.loads(line)["body"] for line in self.log.read_text().splitlines()]


@contextmanager
def serving(folder: Path, *flags: str):
    log = folder / "requests.jsonl"
    with faulty_server("--log", log, *flags, lifetime=300) as address:
        yield Server(address, log)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(running, monkeypatch, tmp_path):
    """The running server without faults, named by the environment, and an empty cache."""
    monkeypatch.setenv("OPENAI_BASE_URL", running.address)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("WORKBENCH_LLM_MODEL", "random-bytes")
    monkeypatch.setenv("WORKBENCH_LLM_CACHE", str(tmp_path / "cache"))
    running.put()
    yield running
    contract.candidate.cache_clear()  # it would ask a server that is gone


SMALL = Schema(
    (Column("age", "integer"), Column("weight", "numeric"), Column("ward", "categorical", "target"))
)
ROWS = SMALL.cast(
    pd.DataFrame(
        {"age": [30, 40, 50, 60], "weight": [50.5, 61.25, 72.0, None], "ward": ["a", "b", "c", "a"]}
    )
)


def fitted(table: pd.DataFrame = ROWS, schema: Schema = SMALL, **parameters):
    return make("llm", parameters).fit(table, schema, rng(1))


# Before anything is sent.


def test_nothing_is_sent_without_an_address(monkeypatch):
    for name in ("OPENAI_BASE_URL", "WORKBENCH_LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    generator = make("llm")
    assert "set OPENAI_BASE_URL" in generator.supports(SCHEMA)
    with pytest.raises(InputError, match="nothing is sent anywhere by default"):
        generator.fit(TABLE, SCHEMA, rng(1))
    assert "set WORKBENCH_LLM_MODEL" in make("llm", {"base_url": "http://localhost:1/v1"}).supports(
        SCHEMA
    )
    assert make("llm", {"base_url": "http://localhost:1/v1", "model": "m"}).supports(SCHEMA) is None
    assert "give the key as OPENAI_API_KEY" in make(
        "llm", {"base_url": "http://me:key@localhost/v1"}
    ).supports(SCHEMA)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"trim": 0.5}, "trim is 0.5"),
        ({"response_format": "json"}, "known: json_schema, grammar, json_object, text"),
        ({"examples": 3}, "set share_real_rows to true"),
    ],
)
def test_impossible_parameters(parameters, sentence):
    with pytest.raises(InputError, match=sentence):
        make("llm", parameters)


def test_free_text_is_a_plain_categorical_column(server):
    assert "did you mean region" in make("llm", {"texts": ["regoin"]}).supports(SCHEMA)
    assert "column 'age' is not categorical" in make("llm", {"texts": ["age"]}).supports(SCHEMA)


# The contract of every generator, as far as a model that knows nothing can keep it.


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        ("rows_columns_and_dtypes", [7]),
        ("input_is_not_changed", []),
        ("global_random_state_is_left_alone", []),
        ("small_tables", [1]),
        ("small_tables", [50]),
        ("a_single_column", ["numeric"]),
        ("a_single_column", ["categorical"]),
        ("a_single_column", ["datetime"]),
        ("a_number_as_target", []),
        ("conditions", []),
        ("impossible_conditions", []),
    ],
)
def test_the_contract(server, test, arguments):
    getattr(contract, f"test_{test}")("llm", *arguments)


def test_values_stay_in_the_support_and_on_the_grid(server):
    synthetic = fitted(TABLE, SCHEMA).sample(150, rng(2))
    for column in SCHEMA.columns:
        real, drawn = TABLE[column.name].dropna(), synthetic[column.name].dropna()
        if column.is_discrete:
            assert set(drawn) <= set(real)
        elif len(drawn):
            assert drawn.min() >= real.min() and drawn.max() <= real.max()
    assert (synthetic["rate"].round(2) == synthetic["rate"]).all()
    assert (synthetic["always_1.5"] == 1.5).all() and (synthetic["always_x"] == "x").all()
    assert (
        synthetic[[f"never_{kind}" for kind in ("number", "date", "label", "truth")]]
        .isna()
        .all(axis=None)
    )
    assert (synthetic["opened"].dropna() == synthetic["opened"].dropna().dt.normalize()).all()
    assert synthetic["income"].isna().any() and not synthetic["age"].isna().any()


def test_constraints_hold_in_every_row(server):
    kinds = {"low": "integer", "high": "integer", "city": "categorical", "land": "categorical"}
    schema = Schema(
        tuple(Column(*pair) for pair in kinds.items()), constraints=["low < high", ["city", "land"]]
    )
    city = rng(0).choice(["Paris", "Lyon", "Bonn"], 200)
    low = rng(1).integers(0, 50, 200)
    table = pd.DataFrame({"low": low, "high": low + rng(2).integers(1, 9, 200), "city": city})
    table = schema.cast(table.assign(land=np.where(city == "Bonn", "Germany", "France")))
    generator = fitted(table, schema)
    synthetic = generator.sample(60, rng(2))
    assert (synthetic["low"] < synthetic["high"]).all()
    assert set(zip(synthetic["city"], synthetic["land"], strict=True)) <= set(
        zip(table["city"], table["land"], strict=True)
    )
    assert synthetic["city"].nunique() == 3
    assert set(generator.sample(10, rng(2), where={"land": "Germany"})["city"]) == {"Bonn"}
    with pytest.raises(InputError, match="acceptance 0"):
        generator.sample(1, rng(2), where={"low": (60, 70)})
    prompt = generator.request()["messages"][1]["content"]
    assert "In every row: low < high." in prompt and '["Bonn", "Germany"]' in prompt


def test_a_request_names_some_of_many_levels_and_all_occur(server):
    schema = Schema((Column("id", "categorical"), Column("x", "boolean")))
    table = schema.cast(
        pd.DataFrame({"id": [f"level {i}" for i in range(10_000)], "x": np.arange(10_000) % 2 == 0})
    )
    generator = fitted(table, schema, max_levels=50)
    synthetic = generator.sample(200, rng(2))
    assert set(synthetic["id"]) <= set(table["id"]) and synthetic["id"].nunique() > 120
    sent = [
        body["response_format"]["json_schema"]["schema"]["properties"]["rows"]
        for body in server.requests
    ]
    assert {len(rows["items"]["properties"]["id"]["enum"]) for rows in sent} == {50}
    assert set(generator.sample(5, rng(2), where={"id": "level 77"})["id"]) == {"level 77"}


def test_free_text_is_written_freely(server):
    schema = Schema(
        (*SMALL.columns, Column("note", "categorical", description="what the nurse wrote"))
    )
    table = schema.cast(ROWS.assign(note=["slept well", "fell at night", None, "slept well"]))
    generator = fitted(table, schema, texts=["note"], text_length=30)
    synthetic = generator.sample(20, rng(2))
    notes = synthetic["note"].dropna()
    assert (
        notes.nunique() > 5
        and notes.str.len().between(1, 30).all()
        and not notes.isin(table["note"]).any()
    )
    assert set(synthetic["ward"]) <= set("abc")
    assert "slept" not in str(server.requests) and "what the nurse wrote" in str(server.requests)
    assert set(generator.sample(5, rng(2), where={"note": "new words"})["note"]) == {"new words"}
    rows = '{"rows": [{"age": 35, "weight": 60, "ward": "a", "note": "%s"}]}'
    assert [
        len(generator._form.read(rows % text)[0])
        for text in ("\\ud83d\\ude00", "\\ud83d", "x" * 31)
    ] == [1, 0, 0]


@pytest.mark.parametrize(
    "low", ["1900-03-01", "2024-02-27", "2024-02-28 06:00", "2024-02-28 23:59:58"]
)
def test_dates_match_their_pattern(low):
    """Any date of a range is written as its pattern allows."""
    dates = pd.Series(pd.date_range(low, "2024-03-02", periods=7).floor("s"), name="d")
    fact = Fact.of(dates, Column("d", "datetime"))
    pattern = fact.json_schema()["pattern"]
    step = "%Y-%m-%d" if "T" not in pattern else "%Y-%m-%dT%H:%M:%S"
    assert dates.dt.strftime(step).str.match(pattern).all()
    assert (
        fact.cast(list(dates.dt.strftime(step))).equals(dates)
        and fact.cast(["2024-02-31", "3000-01-01"]).isna().all()
    )


# What leaves the machine.


def test_no_row_is_sent_unless_it_may_be(server, monkeypatch):
    generator = fitted(TABLE, SCHEMA)
    generator.sample(20, rng(2))
    assert server.requests[0] == generator.request(20, server.requests[0]["seed"])
    incomes = {str(value) for value in TABLE["income"].dropna()}
    sent = [value for value in incomes if value in str(server.requests)]
    assert sorted(map(float, sent)) == [TABLE["income"].min(), TABLE["income"].max()]
    trimmed = fitted(TABLE, SCHEMA, trim=0.05)
    assert trimmed.sample(20, rng(2))["income"].max() < TABLE["income"].max()
    assert str(TABLE["income"].max()) not in str(trimmed.request())
    examples = {"examples": 2, "share_real_rows": True}
    with pytest.raises(InputError, match="set WORKBENCH_SHARE_ROWS=1 in the environment"):
        fitted(TABLE, SCHEMA, **examples)
    monkeypatch.setenv("WORKBENCH_SHARE_ROWS", "1")
    shown = fitted(TABLE, SCHEMA, **examples).request()["messages"][1]["content"]
    assert shown.count('"income"') == 3 and "Examples of rows" in shown
    assert sum(f'"income": {value},' in shown for value in incomes) == 2


def test_rare_levels_can_be_kept_back(server):
    table = SMALL.cast(pd.concat([ROWS] * 10).assign(ward=["a", "b"] * 19 + ["Jane Doe", "a"]))
    generator = fitted(table, least_rows=5)
    assert "Jane Doe" not in str(generator.request()) and set(
        generator.sample(30, rng(2))["ward"]
    ) == {"a", "b"}
    with pytest.raises(InputError, match="'ward' has no level in 50 rows"):
        fitted(table, least_rows=50)


def test_the_key_is_in_the_header_alone(server, tmp_path, monkeypatch):
    server.put(key=KEY)
    generator = fitted()
    generator.sample(5, rng(2))
    kept = "".join(path.read_text() for path in (tmp_path / "cache").iterdir())
    assert KEY not in kept + str(server.requests) + repr(generator) + str(generator.answers)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="did not accept the key"):
        fitted().sample(5, rng(3))
    server.put()
    assert len(fitted().sample(5, rng(3))) == 5, "a server that wants no key gets none"


def test_shares_examples_and_the_description_are_told(server):
    rows = [{"age": 33, "weight": 60.0, "ward": "a"}, {"age": 44, "ward": "b"}]
    generator = fitted(description="Patients of a clinic.", shares=True, example_rows=rows)
    prompt = generator.request()["messages"][1]["content"]
    assert prompt.startswith("The table: Patients of a clinic.")
    assert "a 50%" in prompt and "quartiles: 30, 40, 50" in prompt and "25% of the rows" in prompt
    assert '{"age": 44, "weight": null, "ward": "b"}' in prompt
    assert len(generator.sample(5, rng(2))) == 5
    with pytest.raises(InputError, match="'wards' is not in the schema"):
        fitted(example_rows=[{"wards": "a"}])


def test_copies_of_the_examples_are_dropped_if_asked(server):
    schema = Schema((Column("a", "boolean"), Column("b", "boolean")))
    table = schema.cast(
        pd.DataFrame({"a": [True, True, False, False], "b": [True, False, True, False]})
    )
    parameters = {"example_rows": [{"a": True, "b": True}]}
    assert {(True, True)} < set(
        fitted(table, schema, **parameters).sample(60, rng(2)).itertuples(index=False, name=None)
    )
    synthetic = fitted(table, schema, drop_copies=True, **parameters).sample(60, rng(2))
    assert set(synthetic.itertuples(index=False, name=None)) == {
        (True, False),
        (False, True),
        (False, False),
    }


def test_a_server_without_constraints_gets_the_schema_as_a_prompt(server):
    request = fitted(
        response_format="json_object", temperature=None, options={"top_p": 0.9}
    ).request()
    assert (
        request["response_format"] == {"type": "json_object"}
        and request["top_p"] == 0.9
        and "temperature" not in request
    )
    assert '"required": ["age", "weight", "ward"]' in request["messages"][1]["content"]


@pytest.mark.parametrize(
    ("answer", "rows", "why"),
    [
        ('```json\n{"rows": [{"age": 35, "weight": null, "ward": "a"}]}\n```', 1, ""),
        (
            (
                '{"rows": [{"age": 35, "weight": 60, "ward": "d"}, {"age": 35, "weight": 60,'
                ' "ward": "a"}]}'
            ),
            1,
            "ward: 'd' is not",
        ),
        (
            '{"rows": [{"age": 35.5, "weight": 60, "ward": "a"}]}',
            0,
            "age: 35.5 is not of type 'integer'",
        ),
        ('{"rows": [{"age": 35, "weight": 1e999, "ward": "a"}]}', 0, "weight: "),
        ('{"rows": [{"age": 35, "weight": NaN, "ward": "a"}]}', 0, "'weight' is not a value"),
        ('{"rows": [{"age": 35, "weight": 60}]}', 0, "'ward' is a required"),
        ('{"rows": [35, null]}', 0, "35 is not of type 'object'"),
        ('{"rows": {}}', 0, "not a JSON object"),
        ('{"rows": [{"age": 35, ', 0, "not a JSON object"),
        ("[" * 100_000, 0, "not a JSON object"),
        ("", 0, "not a JSON object"),
    ],
)
def test_answers_are_checked_row_by_row(server, answer, rows, why):
    table, said = fitted()._form.read(answer)
    assert (
        len(table) == rows and SMALL.check(table) == [] and why in said and bool(why) == bool(said)
    )


def test_a_labels_shares_are_trains_where_they_are_to_be(server):
    table = SMALL.cast(pd.concat([ROWS] * 5, ignore_index=True))
    hints = {"ward": {"a": "the first floor", "b": "the second"}}
    generator = fitted(table, per_level="ward", hints=hints)
    counts = generator.sample(10, rng(2))["ward"].value_counts()
    assert dict(counts) == {"a": 5, "b": 3, "c": 2} or dict(counts) == {"a": 5, "b": 2, "c": 3}
    prompts = [body["messages"][1]["content"] for body in server.requests]
    assert "a: the first floor" in prompts[0] and "the second" not in prompts[0]
    assert "a: the first floor; b: the second" in generator.request()["messages"][1]["content"]
    assert "did you mean ward" in make("llm", {"per_level": "wards"}).supports(SMALL)
    assert "has no levels" in make("llm", {"per_level": "age"}).supports(SMALL)


def test_rows_as_lists_are_read_by_their_place(server):
    generator = fitted(response_format="grammar", layout="lists")
    table, why = generator._form.read('{"rows": [[35, null, "a"], [35, 60, "d"], [35, 60]]}')
    assert len(table) == 1 and list(table["ward"]) == ["a"] and "ward: 'd' is not" in why
    request = generator.request()
    assert 'order ["age", "weight", "ward"].' in request["messages"][1]["content"]
    assert 'row ::= "[" c0 "," c1 "," c2 "]"' in request["grammar"]
    with pytest.raises(InputError, match="needs response_format = 'grammar'"):
        make("llm", {"layout": "lists"})


# Resuming, and what answers take.


def test_a_rerun_reads_the_cache_and_batches_in_parallel_change_nothing(server):
    first = fitted(input_price=2.0, output_price=8.0)
    synthetic = first.sample(60, rng(2))
    usage = first.usage
    assert usage["sent"] == usage["requests"] == len(server.requests) >= 3
    assert (
        usage["cost"]
        == pytest.approx((2 * usage["input_tokens"] + 8 * usage["output_tokens"]) / 1e6)
        and usage["cost"] > 0
    )
    again = fitted(parallel=3)
    assert table_hash(again.sample(60, rng(2))) == table_hash(synthetic)
    assert (
        again.usage == usage | {"sent": 0, "cost": None} and len(server.requests) == usage["sent"]
    )
    hashes = [
        [(answer["request"], answer["answer"]) for answer in each.answers]
        for each in (first, again)
    ]
    assert hashes[0] == hashes[1]
    fresh = fitted(parallel=3, cache=os.environ["WORKBENCH_LLM_CACHE"] + "2")
    assert (
        table_hash(fresh.sample(60, rng(2))) == table_hash(synthetic)
        and fresh.usage["sent"] == usage["sent"]
    )
    assert table_hash(fresh.sample(60, rng(3))) != table_hash(synthetic)


def test_a_damaged_cache_is_asked_again(server, tmp_path):
    synthetic = fitted().sample(20, rng(2))
    for path in (tmp_path / "cache").iterdir():
        path.write_text(path.read_text()[:50])
    assert table_hash(fitted().sample(20, rng(2))) == table_hash(synthetic)


def test_a_server_that_dies_in_mid_answer_leaves_rows_to_go_on_from(server, tmp_path):
    whole = fitted(cache=str(tmp_path / "other")).sample(60, rng(2))
    sentence = r"^LLM: no connection to .* 40 of 60 rows were good; answers are kept in .*cache"
    with (
        serving(tmp_path, "--fault", "die", "--on", "3") as mortal,
        pytest.raises(ModelError, match=sentence),
    ):
        fitted(base_url=mortal.address, patience=1).sample(60, rng(2))
    port = mortal.address.split(":")[2].split("/")[0]
    with serving(tmp_path, "--port", port) as again:
        again.put()
        generator = fitted(base_url=again.address)
        assert table_hash(generator.sample(60, rng(2))) == table_hash(whole)
        sent = generator.usage["sent"]
        assert sent == len(again.requests) == generator.usage["requests"] - 2


@pytest.mark.parametrize("fault", ["error", "limit", "garbage", "hang", "refuse", "free"])
def test_finished_rows_are_kept_whatever_fails(server, fault):
    whole = fitted(cache=os.environ["WORKBENCH_LLM_CACHE"] + "2").sample(60, rng(2))
    server.put(fault=fault, on=list(range(3, 20)))
    with pytest.raises(ModelError, match="40 of 60 rows were good; answers are kept"):
        fitted(patience=0, retries=1, timeout=0.5 if fault == "hang" else 20).sample(60, rng(2))
    server.put()
    generator = fitted()
    synthetic = generator.sample(60, rng(2))
    assert generator.usage["sent"] == len(server.requests) < generator.usage["requests"]
    assert fault == "free" or table_hash(synthetic) == table_hash(whole), (
        "a kept answer off the schema is asked again as it was"
    )


def test_facts_tell_what_was_asked_and_answered_and_no_address_or_key(server):
    first = fitted(input_price=2.0, output_price=8.0)
    first.sample(40, rng(2))
    facts = first.facts
    assert json.loads(json.dumps(facts)) == facts and len(json.dumps(facts)) < 700
    assert (
        facts["model"] == "random-bytes"
        and facts["requests"] == 2
        and facts["cost"] == first.usage["cost"] > 0
    )
    assert re.fullmatch("random-bytes [0-9a-f]{12}", *facts["server"])
    assert not any(hidden in str(facts) for hidden in (KEY, "127.0.0.1", "localhost"))
    again, other, shares = (
        fitted(input_price=2.0, output_price=8.0, shares=with_shares)
        for with_shares in (False, False, True)
    )
    for generator, seed in ((again, 2), (other, 3), (shares, 2)):
        generator.sample(40, rng(seed))
    assert again.facts == facts, "a run from the cache was the same run"
    changed = {name for name in facts if other.facts[name] != facts[name]}
    assert changed >= {"requests_sha256", "answers_sha256"} and "prompt_sha256" not in changed
    assert shares.facts["prompt_sha256"] != facts["prompt_sha256"]


# Faults of a server.


def test_a_server_that_cannot_start_says_why(running):
    port = running.address.split(":")[2].split("/")[0]
    with (
        pytest.raises(InputError, match=f"port {port} cannot be used .*; choose another"),
        faulty_server("--port", port),
    ):
        pass


@pytest.mark.parametrize(("fault", "seconds"), [("limit", 1.0), ("error", 0.3), ("garbage", 0.0)])
def test_a_passing_fault_is_waited_out(server, fault, seconds):
    whole = fitted().sample(20, rng(2))
    server.put(fault=fault, on=[1])
    start = time.perf_counter()
    synthetic = fitted(cache=os.environ["WORKBENCH_LLM_CACHE"] + "2").sample(20, rng(2))
    assert time.perf_counter() - start >= seconds, "the server said when to come back"
    assert table_hash(synthetic) == table_hash(whole) and server.requests[0] == server.requests[1]


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"fault": "error"},
            ModelError,
            r"failed \(.*The server had an error with Bearer \*\*\*.*\), 2 times",
        ),
        ({"fault": "limit"}, ModelError, "still limits the rate"),
        ({"fault": "quota"}, ModelError, "You exceeded your quota"),
        ({"fault": "garbage"}, ModelError, "no chat completion in JSON"),
        ({"fault": "free"}, ModelError, r"does not follow the schema \(the answer is not a JSON"),
        ({"fault": "refuse"}, ModelError, r"the model refused \(I cannot help with that\)"),
        ({"fault": "hang"}, ModelError, "no answer within 0.5 s, 2 times; raise timeout"),
        ({"key": "another"}, InputError, "did not accept the key; set OPENAI_API_KEY"),
        ({"context": 400}, InputError, "too long for the model .*400 tokens.*; lower batch_rows"),
    ],
)
def test_a_lasting_fault_is_one_sentence(server, options, error, sentence):
    server.put(**options)
    with pytest.raises(error, match=f"^LLM: .*{sentence}.* 0 of 30 rows were good") as caught:
        fitted(patience=1, timeout=0.5 if options.get("fault") == "hang" else 20, retries=1).sample(
            30, rng(2)
        )
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)
    again = options.get("fault") in ("error", "limit", "garbage", "free", "hang")
    assert len(server.requests) == (2 if again else 1), "what cannot change is not asked again"


def test_no_server_and_no_such_model(server):
    with pytest.raises(ModelError, match=r"no connection to http://127\.0\.0\.1:9/v1"):
        fitted(base_url="http://127.0.0.1:9/v1", patience=0).sample(5, rng(2))
    with pytest.raises(InputError, match="does not know model 'another'"):
        fitted(model="another").sample(5, rng(2))


def test_an_answer_off_the_schema_is_asked_again_with_the_reason(server):
    server.put(fault="free", on=[1])
    assert len(fitted().sample(20, rng(2))) == 20
    assert "Your last answer was not accepted: the answer is not a JSON object" in str(
        server.requests[1]
    )
    assert "not accepted" not in str(server.requests[0])


def test_an_answer_that_is_cut_off_is_asked_for_in_halves(server):
    assert len(fitted(options={"max_tokens": 700}).sample(20, rng(2))) == 20
    requests = [body["messages"][1]["content"].splitlines()[-1] for body in server.requests]
    assert requests[:3] == ["Write 20 new rows.", "Write 10 new rows.", "Write 10 new rows."]
    with pytest.raises(ModelError, match="the answer was cut off at 20 tokens"):
        fitted(options={"max_tokens": 20}).sample(20, rng(2))


def test_the_page_about_it_runs(server):
    page = Path(__file__).parents[2] / "docs" / "language-models.md"
    code = re.search(
        r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL
    ).group(1)
    session: dict = {}
    exec(code, session)
    assert len(session["synthetic"]) == 20 and session["edge"]["age"].between(70, 90).all()
