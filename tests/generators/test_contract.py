"""`workbench check`: what it says of generators that keep the contract, and of planted faults."""

import re
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.generators import contract
from workbench.tables.datasets import table_hash

PAGE = Path(__file__).parents[2] / "docs" / "your-generator.md"
START = "return self.table.iloc[rng.integers(len(self.table), size=n)].reset_index(drop=True)"
FAULTS = {
    "one row too few": ("size=n)]", "size=n - 1)]", "300 rows, columns, dtypes", "299 came"),
    "dtypes": (START, f"{START}.astype(str)", "7 rows, columns, dtypes", "has dtype"),
    "labels": (
        START,
        f"{START}.assign(region='west')",
        "labels are those of train",
        r"never had, such as \['west'\]",
    ),
    "own randomness": (
        "rng.integers(",
        "__import__('numpy').random.default_rng().integers(",
        "same streams, same rows",
        "drawn from elsewhere",
    ),
    "global randomness": (
        "kept = rng.permutation(len(table))",
        "kept = __import__('numpy').random.permutation(len(table))",
        "global random state left alone",
        "global random state was moved",
    ),
    "the table": (
        "self.schema = schema",
        "self.schema = schema; table.loc[:, 'income'] = 0.5",
        "the train table is not changed",
        "work on a copy",
    ),
    "conditions": ("self.schema, where)", "self.schema, None)", "conditions are met", "of 25 rows"),
    "a private one": (
        "most_rows: int = 1000",
        "epsilon: float = 1.0; most_rows: int = 1000",
        "a private one: what it spent",
        "sets no epsilon_spent",
    ),
    "noise": (
        "most_rows: int = 1000",
        "epsilon: float = 1.0; most_rows: int = 1000",
        "a private one: its own noise",
        "whose seed every report prints",
    ),
    "an error": (
        "kept = rng",
        "1 / 0; kept = rng",
        "1 rows, columns, dtypes",
        r"ZeroDivisionError.*my_generator\.py, line",
    ),
    "no sample": ("def sample(", "def draw(", "the class", "has no method sample"),
    "no where": ("rng, where=None)", "rng)", "the class", "has no parameter where"),
    "no dataclass": ("@dataclass\n", "", "the class", "write @dataclass above it"),
    "no default": ("most_rows: int = 1000", "most_rows: int", "the class", "no default"),
}


def plugin(folder: Path, old: str = "", new: str = "") -> str:
    """The generator of the documentation's page, with one place of it changed."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert old in code
    (folder / "my_generator.py").write_text(code.replace(old, new) if old else code)
    return f"{folder / 'my_generator.py'}:MyGenerator"


def states(name: str, params: dict | None = None) -> dict[str, contract.Finding]:
    return {found.question: found for found in contract.findings(name, params)}


def test_the_generator_of_the_page_keeps_the_contract(tmp_path, capsys):
    assert main(["check", plugin(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "19 checks pass, 0 fail, 2 do not apply." in printed
    assert contract.FAILS not in printed


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault, tmp_path):
    old, new, question, sentence = FAULTS[fault]
    before = table_hash(contract.TABLE)
    found = states(plugin(tmp_path, old, new))[question]
    assert found.state == contract.FAILS
    assert re.search(sentence, found.sentence), found.sentence
    assert table_hash(contract.TABLE) == before, "no fault spoils the table of later checks"


def test_exit_code_and_a_parameter_that_is_not_there(tmp_path, capsys):
    name = plugin(tmp_path, "size=n)]", "size=n - 1)]")
    assert main(["check", name, "--param", "most_rows=50"]) == 1
    assert "FAILS" in capsys.readouterr().out
    assert main(["check", name, "--param", "most_row=50"]) == 2
    assert "did you mean most_rows" in capsys.readouterr().err
    assert main(["check", f"{tmp_path}/nobody.py:MyGenerator"]) == 2
    assert "no plug-in file" in capsys.readouterr().err


def test_what_a_generator_may_do_is_no_fault(tmp_path):
    """Conditions may be refused and a table not supported; a number outside train's range is said."""
    refusing = "raise __import__('workbench').InputError('no conditions here.')"
    body = f"if where:\n            {refusing}\n        return self._draw(n, rng)"
    old = "return sample_matching(self._draw, n, rng, self.schema, where)"
    found = states(plugin(tmp_path, old, body))
    assert found["conditions are met"].state == contract.ASIDE
    assert "no conditions here" in found["conditions are met"].sentence

    wider = f"{START}.assign(**({{'income': 1e9}} if 'income' in self.table else {{}}))"
    found = states(plugin(tmp_path, START, wider))
    assert found["numbers within train's range"].state == contract.NOTE
    assert contract.FAILS not in {one.state for one in found.values()}

    old = "return None  # or one sentence that says why it cannot take such a table"
    new = "return 'only labels.' if any(not c.is_discrete for c in schema.columns) else None"
    found = states(plugin(tmp_path, old, new))
    assert found["300 rows, columns, dtypes"].state == contract.ASIDE
    assert "only labels" in found["300 rows, columns, dtypes"].sentence
    assert found["a categorical column alone"].state == contract.PASSES


def test_a_private_generator_is_held_to_noise_of_its_own():
    found = states("mst", {"epsilon": 5.0})
    assert found["a private one: what it spent"].state == contract.PASSES
    assert found["a private one: its own noise"].state == contract.PASSES
    assert contract.FAILS not in {one.state for one in found.values()}
