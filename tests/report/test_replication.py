"""Papers replayed: each verdict from planted readings, the words on page and terminal, folders of
somebody else, and the figures that are kept with the repository.
"""

import math
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from workbench.batch import grid, results
from workbench.cli import main
from workbench.errors import InputError
from workbench.generators import find
from workbench.metrics.rows import ROW_COLUMNS
from workbench.report import replication
from workbench.tables.schema import Column, Schema

ROOT = Path(__file__).parents[2]
REPLAYED = sorted((ROOT / "reports" / "replications").glob("*/published.toml"))
CLAIM = 'metric = "tstr_auc"\ndataset = "adult"\nwhat = "w"\n'
FIGURE = f'{CLAIM}generator = "a"\n'


class Home:
    """What a report's folder answers, of planted readings: label -> (value, low, high) by seed."""

    title = "Planted"

    def __init__(self, planted: dict, measured: object = None):
        self.planted, self.measured = planted, measured

    def cells(self) -> pd.DataFrame:
        lines = []
        for label, seeds in self.planted.items():
            for seed in range(len(seeds)):
                line = {"dataset": "adult", "generator": "cart", "label": label, "params": "{}"}
                line |= {"split": 0, "seed": seed, "draw": 0, "key": f"{label} {seed}"}
                lines.append(line | {"status": "ok"})
        return pd.DataFrame(lines)

    def rows(self) -> pd.DataFrame:
        blank = dict.fromkeys(ROW_COLUMNS, "") | {"floor": np.nan, "ceiling": np.nan}
        lines = []
        for cell in self.cells().to_dict("records"):
            reading = dict(
                zip(
                    ("value", "low", "high"), self.planted[cell["label"]][cell["seed"]], strict=True
                )
            )
            lines.append(cell | blank | {"metric": "tstr_auc", "state": "ok"} | reading)
        return pd.DataFrame(lines)

    def manifest(self, key: str) -> dict:
        return {"facts": {"measured": self.measured}}


def outcome(text: str, planted: dict, tmp_path, monkeypatch, measured=None) -> replication.Outcome:
    (tmp_path / "published.toml").write_text(f'paper = "Somebody 2020"\n{text}')
    monkeypatch.setattr(replication, "opened", lambda place: Home(planted, measured))
    (found,) = replication.replicate(tmp_path).outcomes
    return found


@pytest.mark.parametrize(
    ("printed", "more", "verdict", "detail"),
    [
        ("0.80", "", "agrees", ""),
        # The interval ends at .82, and half a unit of the last digit is .005 or .0005.
        ("0.82", "", "agrees", ""),
        ("0.824", "", "differs", "by 0.004"),
        ("0.825", "", "differs", "by 0.005"),
        ("0.825", "within = 0.01", "agrees", ""),
        (".70", "", "differs", "by 0.075"),
        ("80", "scale = 100", "agrees", ""),
        ("−0.8", "scale = -1", "agrees", ""),
        ("0.80", 'aside = "another table"', "cannot be compared", "another table"),
        ("0.80", 'column = "nobody"', "cannot be compared", "no reading of a"),
    ],
)
def test_a_figure_agrees_within_our_interval_widened_by_its_own(
    printed, more, verdict, detail, tmp_path, monkeypatch
):
    text = f'[[figures]]\n{FIGURE}printed = "{printed}"\n{more}\n'
    found = outcome(text, {"a": [(0.80, 0.78, 0.82)]}, tmp_path, monkeypatch)
    assert (found.verdict, found.detail) == (verdict, detail)


def test_our_interval_is_that_of_the_seeds_and_one_run_without_any_is_not_judged(
    tmp_path, monkeypatch
):
    text = f'[[figures]]\n{FIGURE}printed = "0.90"\n'
    alone = {"a": [(0.80, np.nan, np.nan)]}
    found = outcome(text, alone, tmp_path, monkeypatch)
    assert found.verdict == "cannot be compared" and "run more seeds" in found.detail
    # Student's t of two: 12.7 standard errors of 0.01.
    several = {"a": [(0.79, np.nan, np.nan), (0.81, np.nan, np.nan)]}
    assert outcome(text, several, tmp_path, monkeypatch).verdict == "agrees"


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ((0.9, 0.88, 0.92), (0.8, 0.78, 0.82), "agrees"),
        ((0.8, 0.78, 0.82), (0.9, 0.88, 0.92), "differs"),
        ((0.82, 0.80, 0.84), (0.8, 0.78, 0.82), "not shown"),
    ],
)
def test_a_claim_is_judged_by_the_interval_of_the_difference(
    first, second, verdict, tmp_path, monkeypatch
):
    text = f'[[claims]]\n{CLAIM}higher = "a"\nlower = "b"\n'
    found = outcome(text, {"a": [first], "b": [second]}, tmp_path, monkeypatch)
    half = math.hypot(0.02, 0.02)
    assert found.verdict == verdict
    assert found.detail.endswith(f"± {half:.3f}")


def test_sizes_are_distances_from_zero(tmp_path, monkeypatch):
    planted = {"a": [(-0.5, -0.6, -0.4)], "b": [(0.1, 0.0, 0.2)]}
    text = f'[[claims]]\n{CLAIM}higher = "a"\nlower = "b"\n'
    assert outcome(text, planted, tmp_path, monkeypatch).verdict == "differs"
    sized = text + 'compare = "size"\n'
    assert outcome(sized, planted, tmp_path, monkeypatch).verdict == "agrees"


def test_what_a_plug_in_measured_is_read_and_what_is_no_reading_is_not(tmp_path, monkeypatch):
    text = f'[[figures]]\n{FIGURE}printed = "-2.44"\n'.replace("tstr_auc", "l_syn")
    measured = [
        {"metric": "l_syn", "value": -2.44, "low": -2.45, "high": -2.43},
        {"metric": ["no", "text"], "value": 1.0},
        {"metric": "l_test", "value": "a text"},
        "nothing",
    ]
    planted = {"a": [(0.8, 0.7, 0.9)]}
    assert outcome(text, planted, tmp_path, monkeypatch, measured).verdict == "agrees"
    for strange in (None, "x", {"metric": "l_syn"}, [{"metric": "l_syn", "value": True}]):
        found = outcome(text, planted, tmp_path, monkeypatch, strange)
        assert found.verdict == "cannot be compared"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "0 figures and claims"),
        (f"[[figures]]\n{FIGURE}", "line 2: printed is missing"),
        (f'[[figures]]\n{FIGURE}printed = "1e400"', "line 7: printed is '1e400'"),
        (f"[[figures]]\n{FIGURE}printed = 0.8", "printed is 0.8; give text"),
        (f'[[figures]]\n{FIGURE}printed = "{"9" * 50}"', "as it was printed"),
        (f'[[figures]]\n{FIGURE}printed = "1"\nwithn = 1', "did you mean within"),
        (f'[[figures]]\n{FIGURE}printed = "1"\nscale = nan', "scale is nan"),
        (f'[[claims]]\n{CLAIM}higher = "a"', "lower is missing"),
        (f'[[claims]]\n{CLAIM}higher = "a"\nlower = "b"\ncompare = "x"', 'can be "size" alone'),
        ('figures = ["x"]', "give a name as text or a table"),
        ("figures = 3", "figures is 3; give a list"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_with_its_line(text, sentence, tmp_path):
    (tmp_path / "published.toml").write_text(f'paper = "Somebody 2020"\n{text}')
    with pytest.raises(InputError, match=re.escape(sentence)):
        replication.replicate(tmp_path)
    (tmp_path / "published.toml").write_text('[[figures]]\nwhat = "x"')
    with pytest.raises(InputError, match="paper is missing"):
        replication.replicate(tmp_path)


def published(folder: Path, text: str) -> Path:
    """Results with two finished cells, written as `workbench publish` writes them."""
    home = Home({"a": [(0.80, 0.78, 0.82)], "b": [(0.70, 0.68, 0.72)]})
    cells = home.cells()
    facts = {name: "" for name in results.ALL_CELLS if name not in cells}
    cells = cells.assign(**facts | {"grid": "grid.toml", "promise": "{}"})
    for name, kind in results.ALL_CELLS.items():
        if kind != "object" and name not in home.cells():
            cells[name] = 0
    texts = {"grid.toml": 'datasets = ["loans"]\ngenerators = ["cart"]\n', "published.toml": text}
    rows = home.rows()[list(results.ALL_ROWS)]
    results.write(results.Content("Small", "0.2.0", cells, rows, texts), folder)
    return folder


def test_published_results_alone_make_the_page_and_it_runs_nothing(tmp_path, capsys):
    evil = "<script>alert(1)</script>\\u001b[31m"
    text = f'paper = "{evil}"\nprotocol = "{evil}"\n'
    text += f'[[figures]]\n{FIGURE}printed = "0.80"\n'.replace('"w"', f'"{evil}"')
    text += f'[[claims]]\n{CLAIM}higher = "b"\nlower = "a"\n'
    folder = published(tmp_path / "small", text)
    assert main(["replicate", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "printed 0.80, ours 0.800 [0.780, 0.820]: agrees" in printed
    assert "2 printed figure or claims: 1 agrees, 1 differs." in printed
    assert "\x1b" not in printed
    page = (folder / "replication.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "<strong>agrees</strong>" in page and "<strong>differs</strong>" in page
    # What was printed belongs to what is checked.
    (folder / "published.toml").write_text(text.replace("0.80", "0.90"))
    assert main(["replicate", str(folder)]) == 2
    assert "published.toml was changed after it was written" in capsys.readouterr().err


@pytest.mark.parametrize("path", REPLAYED, ids=lambda path: path.parent.name)
def test_each_kept_paper_names_labels_and_datasets_of_its_grid(path, tmp_path):
    from workbench.files import read_toml

    source, where = read_toml(path, "")
    replication._check(source, where)
    for file in (path.with_name("grid.toml"), *path.parent.glob("*.py")):
        shutil.copy(file, tmp_path)
    # The tables that known_truth.py and read_digits.py write.
    for name in ("grid", "gridr", "ring", "digits"):
        (tmp_path / f"{name}.csv").write_text("x,y\n0,0\n")
    planned = grid.read(tmp_path)
    labels = {row["label"] for row in planned.generators}
    datasets = {row["name"] for row in planned.datasets}
    for row in [*source.get("figures", []), *source.get("claims", [])]:
        named = {row[side] for side in ("generator", "higher", "lower") if side in row}
        assert named <= labels and row["dataset"] in datasets, row


# The plug-in that knows the truth ---------------------------------------------------------------


def plug_in(name: str) -> type:
    """The class of a kept replication, "NAME/file.py:Class"."""
    return find(f"{ROOT}/reports/replications/{name}").load()


@pytest.fixture(scope="module")
def known_truth():
    """The module of the plug-in."""
    return sys.modules[plug_in("ctgan-2019/known_truth.py:KnownTruth").__module__]


def test_the_mixtures_have_the_likelihood_that_the_paper_printed_for_real_rows(known_truth):
    """grid -3.06, gridr -3.06, ring -1.70: the sums of squares, the offsets and the radius are theirs."""
    for world, printed in {"grid": -3.06, "gridr": -3.06, "ring": -1.70}.items():
        points = known_truth.draw(world, 20_000, np.random.default_rng(1))
        # 1.96 standard errors of 20,000 rows are 0.014.
        assert known_truth.density(world, points).mean() == pytest.approx(printed, abs=0.02)


def test_a_row_s_probability_is_pgmpy_s_and_an_unknown_label_is_impossible(known_truth):
    model = known_truth.true_network("asia")
    truth = {node: model.get_cpds(node).get_values().T for node in model.nodes()}
    table = known_truth.sample_network(model, 50, np.random.default_rng(0))
    found = known_truth.probability(table, model, truth)
    cpds = [model.get_cpds(node) for node in model.nodes()]
    theirs = []
    for _, row in table.iterrows():
        theirs.append(math.prod(cpd.get_value(**row[cpd.variables]) for cpd in cpds))
    assert found == pytest.approx(theirs)
    strange = table.assign(asia="perhaps")
    assert (known_truth.probability(strange, model, truth) == 0).all()
    # As in the authors' code such a row costs 18.4 nats.
    readings = known_truth.of_network("asia", strange)
    assert readings["l_syn"] == pytest.approx(math.log(1e-8))


def test_counted_tables_come_to_the_true_ones(known_truth):
    model = known_truth.true_network("asia")
    rows = known_truth.sample_network(model, 100_000, np.random.default_rng(0))
    found = known_truth.counted(rows, model)
    for node in ("smoke", "lung", "bronc", "xray"):
        assert np.abs(found[node] - model.get_cpds(node).get_values().T).max() < 0.02


def test_the_plug_in_keeps_the_inner_rows_and_tells_what_it_measured(known_truth):
    from workbench.tables.datasets import load

    data = load("asia")
    train = data.train.head(2000)
    generator = known_truth.KnownTruth("asia", "copy").fit(train, data.schema, None)
    rows = generator.sample(500, np.random.default_rng(0))
    assert len(rows) == 500 and data.schema.check(rows) == []
    names = [line["metric"] for line in generator.facts["measured"]]
    assert names == ["l_syn", "l_test"]
    for line in generator.facts["measured"]:
        # The paper printed -2.23 and -2.24 for real rows.
        assert line["value"] == pytest.approx(-2.235, abs=0.1)
        assert line["low"] < line["value"] < line["high"]
    with pytest.raises(InputError, match="none of asia"):
        known_truth.KnownTruth("asja", "copy").supports(data.schema)


def test_a_chain_of_generations_with_all_rows_fresh_is_one_fit_of_train():
    from workbench.tables.datasets import load

    data = load("loans")
    chain_of = plug_in("feedback-loop-2024/generations.py:Generations")
    seen = []
    for generations, fresh in ((1, 0.0), (4, 0.0), (4, 1.0)):
        chain = chain_of("copy", generations, fresh)
        rows = chain.fit(data.train, data.schema, np.random.default_rng(0)).sample(
            len(data.train), np.random.default_rng(1)
        )
        assert data.schema.check(rows) == []
        seen.append(rows)
    # A chain of copies passes train on unchanged, and so does one that is given all of it again.
    ordered = [rows.sort_values(data.schema.names, ignore_index=True) for rows in seen]
    assert ordered[0].equals(ordered[1]) and ordered[0].equals(ordered[2])


@pytest.fixture(scope="module")
def scans():
    """The scanned digits as the batch would load them."""
    from workbench.tables.datasets import load

    module = sys.modules[plug_in("domain-randomization-2018/read_digits.py:ReadDigits").__module__]
    scanned = load_digits()
    table = module.table_of(scanned.images, scanned.target)
    border = dict.fromkeys(("pixel_24", "pixel_31", "pixel_56"), "integer")
    return module, load(table, target="digit", kinds={"digit": "categorical", **border})


def test_a_reader_of_drawn_digits_reads_scans_and_one_of_straight_strokes_fewer(scans, monkeypatch):
    module, data = scans
    monkeypatch.setattr(module, "SHORT_DRAWN", 1500)
    monkeypatch.setattr(module, "SHORT_STEPS", 60)
    shares = {}
    for left_out in ((), module.Digits.components()):
        arm = module.ReadDigits("short", left_out)
        arm.fit(data.train, data.schema, np.random.default_rng(0))
        (line,) = arm.facts["measured"]
        assert line["metric"] == "right_short" and line["low"] < line["value"] < line["high"]
        shares[bool(left_out)] = line["value"]
        rows = arm.sample(20, np.random.default_rng(1))
        assert data.schema.check(rows) == []
    # 87% of 300 drawn digits' readers were right, a third of those of digits that are all alike
    # were not: far apart, and both far above chance.
    assert 0.2 < shares[True] < shares[False] - 0.05


def test_digits_are_read_by_arms_and_components_that_exist(scans):
    module, data = scans
    with pytest.raises(InputError, match="unknown arm 'scan'"):
        module.ReadDigits("scan").supports(data.schema)
    with pytest.raises(InputError, match="no component 'nois'"):
        module.ReadDigits("short", ["nois"]).supports(data.schema)
    other = Schema((Column("x", "numeric"),))
    with pytest.raises(InputError, match="run it first"):
        module.ReadDigits().supports(other)
    assert module.ReadDigits("scans").supports(data.schema) is None
