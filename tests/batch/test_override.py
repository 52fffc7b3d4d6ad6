"""[[override]]: what it changes, for which cells, what it does to their keys, and each mistake."""

import pytest

from workbench.batch import grid
from workbench.errors import InputError

GRID = """
seeds = [0, 1]
datasets = ["diabetes", "breast_cancer"]
generators = [
    "cart",
    { name = "ctgan", label = "deep" },
]

[limits]
seconds = 60
"""


def plan(folder, overrides: str) -> grid.Plan:
    (folder / "grid.toml").write_text(GRID + overrides)
    return grid.plan(grid.read(folder))


def cells(plan: grid.Plan) -> dict:
    return {(cell.dataset, cell.label, cell.seed): cell for cell in plan.cells}


def test_an_override_changes_its_cells_and_no_other(tmp_path):
    plain = cells(plan(tmp_path, ""))
    changed = plan(
        tmp_path,
        """
[[override]]
datasets = ["diabetes"]
generators = ["deep"]
params = { epochs = 5 }
limits = { seconds = 7 }
train_rows = 100

[[override]]
generators = ["ctgan"]
params = { batch_size = 50 }
limits = { retries = 1 }
""",
    )
    now = cells(changed)
    deep = now["diabetes", "deep", 0]
    assert deep.params == {"epochs": 5, "batch_size": 50} and deep.train_rows == 100
    assert len(changed.data_of(deep).train) == 100
    limits = changed.limits_of(deep)
    assert (limits.seconds, limits.retries, limits.memory_mb) == (7, 1, 8000)
    other = now["breast_cancer", "deep", 0]
    assert other.params == {"batch_size": 50} and other.train_rows is None
    assert changed.limits_of(other).seconds == 60
    # Keys: of exactly the cells whose numbers change.
    same = {place for place in plain if plain[place].key == now[place].key}
    assert same == {place for place in plain if place[1] == "cart"}


def test_fewer_train_rows_are_a_sample_by_the_target_and_a_limit_alone_keeps_the_key(tmp_path):
    plain = cells(plan(tmp_path, ""))
    limited = cells(
        plan(tmp_path, "[[override]]\ndatasets = ['breast_cancer']\nlimits = { seconds = 5 }\n")
    )
    assert [cell.key for cell in plain.values()] == [cell.key for cell in limited.values()]
    fewer = plan(tmp_path, "[[override]]\ndatasets = ['breast_cancer']\ntrain_rows = 40\n")
    whole = fewer.data["diabetes", 0, 0]
    assert len(whole.train) > 40
    sample = fewer.data["breast_cancer", 0, 40]
    assert len(sample.train) == 40 and len(sample.test) == 170
    # 63% of the rows are benign, in the whole table and in its sample.
    assert abs((sample.train["diagnosis"] == "benign").mean() - 0.627) < 0.02
    assert "train is a sample of 40 of 399 rows." in sample.provenance["notes"]
    again = plan(tmp_path, "[[override]]\ndatasets = ['breast_cancer']\ntrain_rows = 40\n")
    assert [cell.key for cell in again.cells] == [cell.key for cell in fewer.cells]
    # More rows than there are change nothing.
    more = plan(tmp_path, "[[override]]\ndatasets = ['breast_cancer']\ntrain_rows = 4000\n")
    assert cells(more)["breast_cancer", "cart", 0].key == plain["breast_cancer", "cart", 0].key


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("params = { epochs = 5 }", 12, "an override needs datasets, generators or both"),
        ("generators = ['cart']", 12, "an override needs params, limits or train_rows"),
        ("datasets = ['diabetis']\ntrain_rows = 50", 13, "no dataset 'diabetis'; did you mean"),
        ("generators = ['deap']\ntrain_rows = 50", 13, "no generator 'deap'; did you mean deep"),
        ("datasets = []\ntrain_rows = 50", 13, "datasets is empty"),
        ("datasets = ['diabetes']\ntrain_rows = 3", 14, "train_rows is 3; give at least 20"),
        ("datasets = ['diabetes']\nrows = 50", 14, "unknown key 'rows'; known: .*train_rows"),
        ("datasets = ['diabetes']\nlimits = { seconds = 0 }", 12, "seconds is 0; give at least 1"),
        ("generators = ['deep']\nparams = { epoch = 5 }", 14, "no parameter 'epoch'.*epochs"),
        ("datasets = ['diabetes']\nparams = { epochs = 5 }", 14, "'cart' has no parameter 'epoch"),
    ],
)
def test_a_mistake_names_its_line_and_its_key(tmp_path, text, line, sentence):
    (tmp_path / "grid.toml").write_text(f"{GRID}\n[[override]]\n{text}\n")
    with pytest.raises(InputError, match=rf"line {line}: .*{sentence}"):
        grid.read(tmp_path)
