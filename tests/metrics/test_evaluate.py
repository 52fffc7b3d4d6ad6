"""The evaluation engine and its card: references, errors as rows, tables nobody has checked, the
same numbers twice.
"""

import importlib
import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

import workbench as wb
from workbench.errors import InputError
from workbench.metrics import METRICS, Metric, Trial
from workbench.metrics.card import Card
from workbench.metrics.evaluate import _run, evaluate, read_table, reference_table
from workbench.metrics.rows import ROW_COLUMNS
from workbench.report.headlines import headlines
from workbench.report.uses import USES, verdicts

OWN = [name for name, metric in METRICS.items() if metric.family in ("fidelity", "utility")]
FEW = ["marginals", "coverage", "tstr_auc", "bias_amp", "dcr_share"]
KEEP = ["approve", "race", "male", "loanamt", "hrat", "obrat", "pubrec", "sch"]


@pytest.fixture(scope="module")
def data() -> wb.Dataset:
    """Eight columns of loans and a date made of the loan amount: every kind, few rows."""
    full = wb.load("loans")

    def narrow(table):
        days = pd.to_timedelta(table["loanamt"].astype(float) % 365 // 1, "D")
        return table[KEEP].assign(day=pd.Timestamp("1990-01-01") + days)

    schema = wb.Schema.infer(narrow(full.train), target="approve", sensitive=["race", "male"])
    train, test = (
        schema.cast(narrow(table)) for table in (full.train.head(300), full.test.head(200))
    )
    return wb.Dataset("loans", train, test, schema)


@pytest.fixture(scope="module")
def synthetic(data) -> pd.DataFrame:
    return wb.generate("gaussian-copula", data, seed=0)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """A folder of floors and ceilings that all tables of the same length share: they say nothing of
    a synthetic table.
    """
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def card(data, synthetic, references):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_REFERENCES", str(references))
        return evaluate(data, synthetic)


@pytest.fixture
def kept_references(references, monkeypatch):
    """No metric is replaced where this stands."""
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(references))


def test_every_metric_has_rows_and_none_is_an_error(card):
    assert set(card.rows["metric"]) == set(METRICS)
    assert {name: str(dtype) for name, dtype in card.rows.dtypes.items()} == ROW_COLUMNS
    assert not (card.rows["state"] == "error").any()
    lost = card.rows[card.rows["value"].isna() & (card.rows["state"] == "ok")]
    assert set(lost["metric"]) <= {"epsilon"}, "a missing value says by its state why"
    assert not card.rows.duplicated(["metric", "column", "group"]).any()
    assert card.rows.loc[card.rows["value"].isna(), "note"].ne("").all()


def test_what_repeats_other_readings_stands_under_more(card):
    lines = repr(card).splitlines()
    more = next(line for line in lines if line.startswith("more, in .rows: "))
    assert "shape_error" in more and "dcr_share" in more
    assert not any("Shape error" in line for line in lines)
    page = card._repr_html_()
    assert page.index("<details><summary>More:") < page.index("Shape error")
    alone = Card(card.rows[card.rows["metric"] == "shape_error"])
    assert "Shape error" in repr(alone), "nothing is left that it would repeat"


def test_headlines_stand_between_floor_and_ceiling(card):
    heads = card.headlines.set_index("metric")
    for name in (
        "marginals",
        "worst_column",
        "pair_trends",
        "c2st",
        "tstr_auc",
        "average_precision",
        "brier",
        "utility_ratio",
    ):
        row = heads.loc[name]
        assert np.isfinite([row["floor"], row["ceiling"], row["low"], row["high"]]).all()
        assert (row["ceiling"] > row["floor"]) == (METRICS[name].direction == "up")
        assert row["low"] <= row["value"] <= row["high"]
    assert heads.loc["utility_ratio", "ceiling"] == 1
    by_hand = (heads["value"] - heads["floor"]) / (heads["ceiling"] - heads["floor"])
    assert heads.loc["marginals", "score"] == pytest.approx(by_hand["marginals"])


def test_references_read_their_own_scores(data, kept_references):
    """A fresh real sample scores 1 and permuted columns 0, within noise; train itself is the
    ceiling to the last bit.
    """
    held_against_test = [name for name in OWN if METRICS[name].reads == "test"]
    train = evaluate(data, data.train, metrics=held_against_test).headlines.set_index("metric")
    same = train["score"].notna()
    assert (train.loc[same, "value"] == train.loc[same, "ceiling"]).all()
    full = wb.load("loans")
    half = wb.Dataset("loans", full.train.head(700), full.test.head(400), full.schema)
    permuted = evaluate(
        half, wb.generate("permuted", half, seed=5), metrics=["pair_trends", "c2st"]
    ).headlines
    assert (permuted["score"].abs() < 0.25).all()


def test_references_are_what_they_say(data):
    trial = Trial(data.train, data.test, data.train.head(200), data.schema)
    for kind in ("permuted", "uniform", "copy", "train", "test"):
        table = reference_table(kind, trial)
        assert len(table) == 200 and not data.schema.check(table)
    whole = Trial(data.train, data.test, data.train, data.schema)
    permuted = reference_table("permuted", whole)
    for name in data.schema.names:
        pd.testing.assert_series_equal(
            permuted[name].sort_values(ignore_index=True),
            data.train[name].sort_values(ignore_index=True),
        )
    assert not permuted.equals(data.train)
    assert not permuted.equals(reference_table("permuted", whole, draw=1))
    assert reference_table("copy", whole).equals(data.train)
    assert len(reference_table("test", whole)) == len(data.test)
    uniform = reference_table("uniform", whole)
    assert (
        uniform["loanamt"].between(data.train["loanamt"].min(), data.train["loanamt"].max()).all()
    )
    assert uniform["race"].value_counts(normalize=True).to_numpy() == pytest.approx(
        1 / data.train["race"].nunique(), abs=0.08
    )


def test_same_tables_and_seed_give_the_same_numbers(data, synthetic, card, references, monkeypatch):
    """Every reading, and of a few metrics, which have floors and ceilings of every kind, those too."""
    monkeypatch.setattr("workbench.metrics.models._memory", OrderedDict())  # fitted anew
    few = evaluate(data, synthetic, metrics=FEW).rows
    before = card.rows[card.rows["metric"].isin(FEW)].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, before, check_exact=True)
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(references))
    pd.testing.assert_frame_equal(evaluate(data, synthetic).rows, card.rows, check_exact=True)
    other = evaluate(data, synthetic, seed=1, metrics=["c2st"])
    assert (
        other.rows["value"].iloc[0] != card.rows.loc[card.rows["metric"] == "c2st", "value"].iloc[0]
    )


SCRIPT = """
import pandas as pd, workbench as wb
data = wb.load("loans")
data = wb.Dataset("small", data.train.head(300), data.test.head(200), data.schema)
rows = wb.evaluate(data, data.train.iloc[::2], metrics=["pair_trends", "c2st", "tstr_auc"]).rows
print(rows[["metric", "group", "value", "low", "floor", "ceiling"]].to_json(double_precision=15))
"""


def test_same_numbers_in_another_process_with_other_threads(monkeypatch, capsys):
    # Floors and ceilings that the other process found written down would not be its own.
    monkeypatch.delenv("WORKBENCH_REFERENCES", raising=False)
    with threadpool_limits(1):
        exec(SCRIPT, {})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED"):
        monkeypatch.setenv(name, "2")
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    ).stdout
    assert there == capsys.readouterr().out != ""


class Claims:
    """What a private generator sets when it is fitted; this one lies."""

    epsilon_spent, delta_spent, guarantee = 0.5, 1e-6, "one row more or less, as counted by nobody"


def test_a_claimed_budget_stands_beside_the_bound_and_a_refuted_one_fails_sharing(data):
    both = ["empirical_epsilon", "epsilon"]
    full = wb.load("loans")
    card = evaluate(full, full.train, metrics=both, generator=Claims())
    heads = card.headlines.set_index("metric")
    assert heads.loc["epsilon", "value"] == 0.5 < heads.loc["empirical_epsilon", "value"]
    assert np.isnan([heads.loc["epsilon", "floor"], heads.loc["epsilon", "ceiling"]]).all()
    assert "delta 1e-06; one row more or less" in repr(card)
    rows = card.rows.assign(dataset="loans", label="liar", seed=0)
    share = (
        verdicts(headlines(rows), rows[["dataset", "label"]].drop_duplicates())
        .set_index("use")
        .loc["share"]
    )
    assert share["state"] == "fails" and share["gates"] == [
        "epsilon shown by an attack against the claimed one"
    ]
    none = (
        evaluate(full, full.train, metrics=["epsilon"], generator=object())
        .headlines.set_index("metric")
        .loc["epsilon"]
    )
    assert np.isnan(none["value"]) and none["note"] == "no formal guarantee"


def test_a_claim_that_no_attack_refutes_meets_its_gate_and_without_one_there_is_no_gate():
    gate = USES["share"][1][-1]
    reading = {"mean": 2.0, "low": 1.0, "high": 3.0, "state": "ok", "note": ""}
    reading |= {"column": "", "group": ""}
    assert gate.against([]) is None and gate.against([{"mean": np.nan}]) is None
    for claimed, state in ((2.5, "meets"), (2.0, "meets"), (1.5, "fails")):
        assert gate.against([{"mean": claimed}]).read([reading])[0] == state


def test_a_choice_of_metrics_and_progress(data, synthetic):
    steps = []
    card = evaluate(
        data,
        synthetic,
        metrics=["worst_column", "pair_trends"],
        progress=lambda todo: steps.extend(todo) or todo,
    )
    assert list(card.headlines["metric"]) == ["worst_column", "pair_trends"]
    assert len(steps) == 2
    with pytest.raises(InputError, match="did you mean marginals"):
        evaluate(data, synthetic, metrics=["marginal"])


def test_an_error_becomes_a_row(data, synthetic, monkeypatch):
    monkeypatch.setitem(METRICS, "broken", Metric("math:sqrt", "fidelity", "up", "Broken"))
    card = evaluate(data, synthetic, metrics=["broken", "marginals"])
    row = card.rows.iloc[0]
    assert np.isnan(row["value"]) and row["state"] == "error"
    assert row["note"].startswith("error: TypeError: must be real number")
    assert card.rows["metric"].nunique() == 2
    assert "error: TypeError" in repr(card)


def test_no_distance_between_floor_and_ceiling_is_told(data, synthetic):
    noise = data.train.assign(approve=data.train["approve"].sample(frac=1, random_state=0).array)
    card = evaluate(
        wb.Dataset("noise", noise, data.test, data.schema), synthetic, metrics=["tstr_auc"]
    )
    head = card.headlines.iloc[0]
    assert head["state"] == "not-informative" and np.isnan(head["score"])


def test_a_reading_whose_floor_and_ceiling_fall_together_is_not_informative():
    """SDMetrics bins each table on its own range, so one far value in train alone makes every other
    table look worst: fresh rows and the floor alike.
    """
    rng = np.random.default_rng(0)
    draw = pd.DataFrame({"x": rng.normal(size=900), "c": rng.choice(["a", "b"], 900)})
    schema = wb.Schema.infer(draw)
    train, test = draw[:600].reset_index(drop=True), draw[600:].reset_index(drop=True)
    train.loc[0, "x"] = 1000.0
    head = evaluate(
        wb.Dataset("far", train, test, schema), train, metrics=["trend_error"]
    ).headlines.iloc[0]
    assert min(head["ceiling"], head["floor"]) > 90
    assert head["state"] == "not-informative" and np.isnan(head["score"])


def refilled(some: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Some rows, drawn to the length of the whole table: its floors and ceilings are known then."""
    return some.sample(len(whole), replace=True, random_state=0).reset_index(drop=True)


HOSTILE = {
    "no rows": lambda t: t.head(0),
    "one row": lambda t: t.head(1),
    "all rows equal": lambda t: t.iloc[[0] * len(t)],
    "all missing": lambda t: t.assign(**dict.fromkeys(t)),
    "vanished class": lambda t: refilled(t[t["approve"]], t),
    "vanished group": lambda t: refilled(t[t["race"] == "white"], t),
    "unseen labels": lambda t: t.assign(
        race="<script>alert(1)</script>", day=pd.Timestamp("2200-01-01")
    ),
    "text for numbers": lambda t: t.assign(
        loanamt="many", hrat=t["hrat"].astype(str), approve="perhaps"
    ),
    "infinite and far away": lambda t: t.assign(hrat=np.inf, obrat=1e300, loanamt=1e25),
}
SAME = {
    "fractions in whole numbers": lambda t: t.assign(loanamt=t["loanamt"].astype(float) + 0.4),
    "other dtypes": lambda t: t.astype(
        {"loanamt": "int32", "hrat": "Float64", "race": "category", "approve": "object"}
    ),
    "numbers and dates as text": lambda t: t.assign(
        **{name: t[name].astype(str) for name in ("loanamt", "hrat", "male", "day")}
    ),
    "columns in another order": lambda t: t[t.columns[::-1]],
    "strange index": lambda t: t.set_index(pd.Index(["x"] * len(t))),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_values_in_another_dress_are_read_the_same(data, synthetic, name):
    table = SAME[name](synthetic.assign(male=synthetic["male"].fillna(True)))
    pd.testing.assert_frame_equal(
        read_table(table, data.schema)[0], synthetic.assign(male=synthetic["male"].fillna(True))
    )


def test_cells_that_begin_together_share_the_references(data, synthetic, tmp_path, monkeypatch):
    """What another cell has begun comes last, also where that cell was killed; the rows are the
    same.
    """
    module = importlib.import_module("workbench.metrics.evaluate")
    measured = []
    original = module._with_references

    def noted(group, trial, common):
        measured.append(next(iter(group)))
        return original(group, trial, common)

    names = ["marginals", "pair_trends", "kway_tables"]
    alone = evaluate(data, synthetic, metrics=names)
    monkeypatch.setattr(module, "_with_references", noted)
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(tmp_path))
    evaluate(data, synthetic, metrics=["marginals"])
    (mark,) = tmp_path.glob("*.begun")
    measured.clear()
    mark.write_text("")  # begun, and not ended yet
    together = evaluate(data, synthetic, metrics=names)
    assert measured == ["pair_trends", "kway_tables", "marginals"]
    pd.testing.assert_frame_equal(together.rows, alone.rows)
    # What has ended is taken in its turn.
    measured.clear()
    pd.testing.assert_frame_equal(evaluate(data, synthetic, metrics=names).rows, alone.rows)
    assert measured == names


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_give_readings_or_notes(data, synthetic, card, kept_references, name):
    table = HOSTILE[name](synthetic)
    before = table.copy(deep=True)
    found = evaluate(data, table)
    pd.testing.assert_frame_equal(table, before)
    assert set(found.rows["metric"]) == set(METRICS)
    assert found.rows.loc[found.rows["value"].isna(), "note"].ne("").all()
    assert not [note for note in found.rows["note"] if "error:" in note]
    assert "<script" not in found._repr_html_()
    score, good = (c.headlines.set_index("metric")["value"]["marginals"] for c in (found, card))
    if name == "no rows":
        assert found.rows["value"].isna().all()
    else:
        assert score < good
    if name in ("text for numbers", "infinite and far away"):
        assert any("'loanamt'" in note for note in found.notes) and found.notes[0] in repr(found)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_with_a_target_of_numbers_give_readings_or_notes(data, synthetic, name):
    """Every function on its own, without its references: a reading for each metric, or the reason
    why there is none.
    """
    target = data.schema.with_roles(target="loanamt")
    table, _ = read_table(HOSTILE[name](synthetic), target)
    trial = Trial(data.train, data.test, table, target)
    with np.errstate(all="ignore"):
        for function in dict.fromkeys(metric.function for metric in METRICS.values()):
            group = {
                name: metric for name, metric in METRICS.items() if metric.function == function
            }
            rows = _run(group, trial)
            assert {row.metric for row in rows} == set(group)
            assert all(np.isfinite(row.value) or row.note for row in rows)
            assert not [row for row in rows if "error:" in row.note or "no reading" in row.note]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda t: t.drop(columns="race"), "'race' is missing"),
        (lambda t: t.assign(extra=1), "'extra' of the synthetic table is surplus"),
        (lambda t: pd.concat([t, t[["race"]]], axis=1), "'race' of the synthetic table is surplus"),
        (lambda t: t.to_numpy(), "give a pandas DataFrame"),
    ],
)
def test_other_columns_are_one_sentence(data, synthetic, spoil, named):
    with pytest.raises(InputError, match=named):
        evaluate(data, spoil(synthetic))


def test_unreadable_values_count_as_missing(data, synthetic):
    table, notes = read_table(
        synthetic.assign(
            loanamt=["7.2", "seven"] + ["1e400"] * (len(synthetic) - 2), male="no idea"
        ),
        data.schema,
    )
    assert table["loanamt"].iloc[0] == 7 and table["loanamt"].iloc[1:].isna().all()
    assert table["male"].isna().all() == (data.schema["male"].kind == "boolean")
    assert notes[0].startswith("column") and not data.schema.check(table)


def test_card_reads_aloud_and_escapes(data, synthetic):
    hostile = synthetic.rename(columns={"hrat": "<img src=x onerror=alert(1)>"})
    renamed = [
        table.rename(columns={"hrat": "<img src=x onerror=alert(1)>"})
        for table in (data.train, data.test)
    ]
    schema = wb.Schema.infer(renamed[0], target="approve")
    real = wb.Dataset("<b>x</b>", *(schema.cast(table) for table in renamed), schema)
    card = evaluate(real, hostile, metrics=["marginals", "worst_column", "tstr_auc", "tstr_r2"])
    page = card._repr_html_()
    assert "<img" not in page and "<b>" not in page and "&lt;img" in page
    assert page.count('role="img" aria-label="') == page.count("<svg") == card.score.notna().sum()
    assert (
        page.count("<caption>") == page.count("<table>")
        and 'scope="col"' in page
        and 'scope="row"' in page
    )
    assert "Not applicable here: tstr_r2" in page
    text = repr(card)
    assert (
        "Marginals" in text
        and len({line.index("floor") for line in text.splitlines() if "95% interval" in line}) == 1
    )


def test_wb_evaluate_is_the_function():
    assert wb.evaluate is evaluate


@pytest.fixture(scope="module")
def small(data) -> wb.Dataset:
    """Few rows are enough where the same bytes are looked for."""
    return wb.Dataset("small", data.train.head(100), data.test.head(80), data.schema)


@pytest.fixture(scope="module")
def tables(small) -> list[pd.DataFrame]:
    """Two tables of the same length: what is measured for one holds for the other."""
    return [small.train.sample(frac=1, random_state=seed).reset_index(drop=True) for seed in (0, 1)]


@pytest.fixture(scope="module")
def plain(small, tables) -> list[pd.DataFrame]:
    """Their rows where nothing is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WORKBENCH_REFERENCES", raising=False)
        return [evaluate(small, table, metrics=FEW).rows for table in tables]


def test_references_are_remembered_and_change_no_byte(small, tables, plain, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(tmp_path))
    first = evaluate(small, tables[0], metrics=FEW).rows
    written = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert written and {path.suffix for path in written} == {".json", ".begun"}
    pd.testing.assert_frame_equal(first, plain[0], check_exact=True)
    pd.testing.assert_frame_equal(
        evaluate(small, tables[1], metrics=FEW).rows, plain[1], check_exact=True
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == written, (
        "the second table needs nothing new"
    )
    evaluate(small, tables[1].head(50), metrics=FEW)
    assert len(list(tmp_path.iterdir())) > len(written), "another length is another reference"


def test_a_folder_of_references_is_made_where_there_is_none(small, tables, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(tmp_path / "new" / "folder"))
    evaluate(small, tables[0], metrics=["marginals"])
    assert list((tmp_path / "new" / "folder").glob("*.json"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_REFERENCES", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"WORKBENCH_REFERENCES names the folder .*file"):
        evaluate(small, tables[0], metrics=["marginals"])


def test_a_notebook_measures_the_references_of_a_table_once(small, tables, plain, monkeypatch):
    module = importlib.import_module("workbench.metrics.evaluate")
    monkeypatch.setattr(module, "MOST_REFERENCES", 1000)
    monkeypatch.setattr(module, "_references", {})
    first = evaluate(small, tables[0], metrics=FEW).rows
    monkeypatch.setattr(module, "reference_table", None)
    second = evaluate(small, tables[1], metrics=FEW).rows
    for kept, whole in zip((first, second), plain, strict=True):
        pd.testing.assert_frame_equal(kept, whole, check_exact=True)
    shorter = tables[1].head(50)
    with pytest.raises(TypeError):
        evaluate(small, shorter, metrics=FEW)  # another length is another reference
    monkeypatch.undo()
    alone = evaluate(small, shorter, metrics=["dcr_share"]).rows
    monkeypatch.setattr(module, "_references", {})
    monkeypatch.setattr(module, "MOST_REFERENCES", 1000)
    evaluate(small, tables[0], metrics=["dcr_share"])
    monkeypatch.setattr(module, "_fresh", None)
    again = evaluate(small, shorter, metrics=["dcr_share"]).rows
    pd.testing.assert_frame_equal(again, alone, check_exact=True)  # fresh rows have no length


BOUNDED = """
import resource, sys
import numpy as np, pandas as pd, workbench as wb

def levels(n, rng):
    code = rng.integers(10_000, size=n)
    return pd.DataFrame({"code": [f"k{c}" for c in code], "x": rng.normal(size=n) + code / 5000})

def wide(n, rng):
    x = rng.normal(size=(n, 4)) @ np.random.default_rng(1).normal(size=(4, 150)) + rng.normal(size=(n, 150))
    labels = np.array(list("abcde"))[np.clip(x[:, :48] + 2, 0, 4).astype(int)]
    columns = {f"x{j}": x[:, j].round(2) for j in range(150)} | {f"c{j}": labels[:, j] for j in range(48)}
    return pd.DataFrame(columns).rename(columns={"x0": "x"})

def table(make, n, seed):
    rng = np.random.default_rng(seed)
    rows = make(n, rng)
    return rows.assign(sex=rng.choice(["m", "f"], n), y=np.where(rows["x"] + rng.normal(size=n) > 1, "yes", "no"))

make, n = {"levels": (levels, 30_000), "wide": (wide, 20_000)}[sys.argv[1]]
train, test, synthetic = (table(make, n // part, seed) for seed, part in enumerate((1, 2, 1)))
schema = wb.Schema.infer(train, target="y", sensitive=["sex"], kinds={"code": "categorical"} if "code" in train else None)
rows = wb.evaluate(wb.Dataset("large", *map(schema.cast, (train, test)), schema), schema.cast(synthetic)).rows
assert rows["metric"].nunique() == len(wb.metrics.METRICS) and not rows["note"].str.contains("error:").any()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""


@pytest.mark.skipif(
    os.environ.get("WORKBENCH_LONG") != "1", reason="minutes: WORKBENCH_LONG=1 runs it"
)
@pytest.mark.parametrize("kind", ["levels", "wide"])
def test_ten_thousand_levels_and_two_hundred_columns_need_less_than_two_gigabytes(kind):
    done = subprocess.run([sys.executable, "-c", BOUNDED, kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2000
