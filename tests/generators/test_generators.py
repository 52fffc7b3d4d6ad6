"""One contract over every registered generator, and what each method must and must not capture."""

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import GENERATORS, contract, generate, make, views
from workbench.generators.contract import SCHEMA, TABLE, make_table
from workbench.tables import conditions
from workbench.tables.datasets import Dataset, table_hash
from workbench.tables.schema import Column, Schema

TINY = {
    "independent": {},
    "gaussian-copula": {},
    "vine-copula": {"truncation": 1},
    "cart": {},
    "parametric": {},
    "kernel-density": {},
    "arf": {"trees": 5, "max_rounds": 2},
    "bayes-tree": {"bins": 4},
    "bayes-tan": {"bins": 4},
    "bayes-expert": {
        "bins": 4,
        "edges": [["age", "income"], ["income", "default"], ["region", "income"], ["age", "job"]],
    },
    # Private ones are repeated by a known seed, and guarantee nothing then; see test_private.py.
    "privbayes": {"epsilon": 1e4, "bins": 4, "noise_seed": 0},
    "mst": {"epsilon": 1e4, "noise_seed": 0},
    "dp-tan": {"epsilon": 1e4, "noise_seed": 0},
    "aim": {"epsilon": 1e4, "noise_seed": 0, "bins": 6, "steps": 3, "rounds": 1},
    "dp-merf": {
        "epsilon": 1e4,
        "noise_seed": 0,
        "epochs": 1,
        "batch_size": 100,
        "features": 20,
        "width": 16,
        "noise": 4,
        "max_levels": 400,
    },
    "bayes-hillclimb": {"bins": 4},
    "gan": {"epochs": 3, "batch_size": 50, "width": 16, "noise": 8},
    "pate-gan": {
        "epsilon": 1e4,
        "teachers": 4,
        "rounds": 2,
        "width": 16,
        "noise": 8,
        "noise_seed": 0,
    },
    # All rows in each step: what sampling them saves takes seconds to reckon; see test_dp_gan.py.
    "dp-gan": {
        "epochs": 2,
        "steps": 2,
        "batch_size": 600,
        "width": 16,
        "noise": 8,
        "noise_seed": 0,
    },
    "ctgan": {"epochs": 2, "batch_size": 40, "pac": 2, "width": 16, "noise": 8},
    "tvae": {"epochs": 60, "width": 32, "embedding": 8},
    "diffusion": {"epochs": 2, "width": 16, "blocks": 1, "steps": 8},
    "autoregressive": {"epochs": 3, "width": 16, "layers": 1, "heads": 2},
    "holdout": {},
    "copy": {},
    "permuted": {},
    "smote": {},
    "llm": {
        "retries": 12
    },  # needs OPENAI_BASE_URL and WORKBENCH_LLM_MODEL; tests/test_llm.py starts a server
    "great": {
        "checkpoint": "random",
        # Only `make test-long` looks at what it has learnt.
        "epochs": 12 if os.environ.get("WORKBENCH_LONG") == "1" else 2,
        "batch_size": 15,
        "width": 32,
        "layers": 1,
        "sample_rows": 1024,
    },
    "simulation": {
        "simulator": "mortgage",
        "budget": 64,
    },  # its own columns; tests/test_simulation.py holds the contract
    "reweighed": {},
    "per-group": {},
}
# Fits that are held to the contract alone, not to what the method must keep, train shortly.
BRIEF = {"great": {"epochs": 2}, "tvae": {"epochs": 2}}
REPEATING = ["holdout", "copy"]  # they return real rows and nothing else
every_generator = pytest.mark.parametrize("name", GENERATORS)
# Seconds a table, since it writes rows letter by letter. Where a claim is about what all generators
# share, it is made of them only by `make test-long`.
SLOW = ("great",)
quick_generators = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in GENERATORS],
)

VARYING = ["income", "rate", "age", "debts", "region", "job", "married", "opened", "default"]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def candidate(name: str) -> contract.Candidate:
    """Each generator with its fits: sampling does not change them."""
    brief = TINY[name] | BRIEF.get(name, {})
    return contract.Candidate(lambda: make(name, TINY[name]), lambda: make(name, brief))


def hold(check, name: str, *arguments) -> None:
    """One check of the contract; a generator that cannot take its table is skipped."""
    try:
        check(candidate(name), *arguments)
    except contract.Aside as reason:
        pytest.skip(str(reason))


def fitted(
    name: str,
    table: pd.DataFrame = TABLE,
    schema: Schema = SCHEMA,
    seed: int = 1,
    is_brief: bool = True,
    **settings,
):
    params = TINY[name] | settings
    if is_brief:
        params = params | BRIEF.get(name, {})
    generator = make(name, params)
    if reason := generator.supports(schema):
        pytest.skip(reason)
    return generator.fit(table, schema, rng(seed))


def trained(name: str):
    """Each generator fitted once on TABLE."""
    try:
        return candidate(name).trained
    except contract.Aside as reason:
        pytest.skip(str(reason))


def rows_of(name: str) -> pd.DataFrame:
    """Many rows of that fit, drawn once; nobody may change them."""
    trained(name)
    return candidate(name).rows


def test_tiny_settings_cover_the_registry():
    assert set(TINY) == set(GENERATORS)


@every_generator
@pytest.mark.parametrize("n", [1, 7, 300])
def test_rows_columns_and_dtypes(name, n):
    hold(contract.rows_columns_and_dtypes, name, n)


@quick_generators
def test_rows_columns_and_dtypes_of_many_rows(name):
    hold(contract.rows_columns_and_dtypes, name, contract.MANY)


@quick_generators
def test_values_stay_in_the_train_support(name):
    hold(contract.labels_are_those_of_train, name)
    hold(contract.numbers_stay_in_range, name)


@quick_generators
def test_constant_and_all_missing_columns(name):
    hold(contract.constant_and_all_missing_columns, name)


@quick_generators
def test_missing_rates_are_kept(name):
    if name in ("gan", "dp-gan", "ctgan"):
        pytest.skip("two epochs teach a GAN no rates; the tests of its own look at a trained one")
    if name == "llm":
        pytest.skip("what is missing is the language model's choice")
    synthetic = rows_of(name)
    real, drawn = TABLE.isna().mean(), synthetic.isna().mean()
    assert (abs(real - drawn) < 0.05).all(), (real - drawn).to_dict()
    assert (drawn[real == 0] == 0).all(), "a column that is complete in train stays complete"


@quick_generators
def test_input_is_not_changed(name):
    hold(contract.input_is_not_changed, name)


@quick_generators
def test_same_streams_give_the_same_table(name):
    hold(contract.same_streams_give_the_same_table, name)


@quick_generators
def test_global_random_state_is_left_alone(name):
    hold(contract.global_random_state_is_left_alone, name)


@every_generator
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_small_tables(name, rows):
    hold(contract.small_tables, name, rows)
    if rows == 1:
        table = make_table(rows, seed=5)
        synthetic = candidate(name).fit(table).sample(120, rng(2))
        assert table_hash(synthetic.drop_duplicates().reset_index(drop=True)) == table_hash(table)


@every_generator
@pytest.mark.parametrize("kind", ["numeric", "categorical", "datetime"])
def test_a_single_column(name, kind):
    hold(contract.a_single_column, name, kind)


@quick_generators
def test_without_target(name):
    hold(contract.without_target, name)


@quick_generators
def test_a_number_as_target(name):
    hold(contract.a_number_as_target, name)


@quick_generators
def test_extreme_numbers(name):
    schema = Schema(
        (
            Column("huge", "numeric"),
            Column("tiny", "numeric"),
            Column("id", "integer"),
            Column("c", "categorical"),
        )
    )
    draw = rng(0)
    table = pd.DataFrame(
        {
            "huge": draw.normal(size=200) * 1e200,
            "tiny": draw.normal(size=200) * 1e-200,
            "id": draw.integers(2**40, 2**41, 200),
            "c": draw.choice(["a", "b"], 200),
        }
    )
    table = schema.cast(table)
    synthetic = fitted(name, table, schema).sample(100, rng(2))
    assert schema.check(synthetic) == []
    assert np.isfinite(synthetic[["huge", "tiny"]]).all(axis=None)
    for column in ("huge", "tiny", "id"):
        assert synthetic[column].between(table[column].min(), table[column].max()).all()


@quick_generators
def test_a_column_of_many_levels(name):
    schema = Schema(
        (Column("id", "categorical"), Column("x", "numeric"), Column("y", "boolean", "target"))
    )
    draw = rng(0)
    levels = draw.integers(0, 3000, 4000)
    table = schema.cast(
        pd.DataFrame(
            {
                "id": [f"level {v}" for v in levels],
                "x": draw.normal(size=4000),
                "y": levels % 2 == 0,
            }
        )
    )
    settings = {"batch_size": len(table)} if name == "dp-gan" else {}
    synthetic = fitted(name, table, schema, **settings).sample(4000, rng(2))
    assert schema.check(synthetic) == []
    assert set(synthetic["id"]) <= set(table["id"])
    assert synthetic["id"].nunique() > 400, "rare levels are drawn too"


@every_generator
def test_conditions(name):
    hold(contract.conditions, name)


@every_generator
def test_impossible_conditions(name):
    # A private generator does not say which labels train holds, and one that invents rows may draw others.
    with pytest.raises(InputError, match=r"acceptance 0\b|no train row has 'west'"):
        trained(name).sample(5, rng(2), where={"region": "west"})
    with pytest.raises(InputError, match="did you mean region"):
        trained(name).sample(5, rng(2), where={"regoin": "south"})


@every_generator
def test_documentation(name):
    """The docstrings name a source with its year, and every field is followed by a docstring of its
    own.
    """
    generator_class = GENERATORS[name].load()
    text = f"{inspect.getmodule(generator_class).__doc__} {generator_class.__doc__}"
    assert re.search(r"\b(19|20)\d\d\b", text)
    described = {}
    for base in generator_class.__mro__:
        if base.__module__.startswith("workbench"):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
            for statement, following in zip(body, [*body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign):
                    is_text = isinstance(following, ast.Expr) and isinstance(
                        following.value, ast.Constant
                    )
                    described[statement.target.id] = is_text
    assert all(described[field.name] for field in fields(generator_class))


@quick_generators
def test_registry_declares_what_a_generator_supports(name, monkeypatch):
    """Fields by their names; conditions by how many candidate rows are looked at for a thousand
    rows of a rare label.
    """
    declared, known = (
        set(GENERATORS[name].supports),
        {field.name for field in fields(GENERATORS[name].load())},
    )
    assert declared - {"conditions"} == known & {"seconds", "epsilon"}
    if name == "ctgan":
        return  # two epochs teach it no label; tests/test_ctgan.py asks a trained one
    generator, looked_at, matches = trained(name), [], conditions.matches
    share = (generator.sample(300, rng(2))["region"] == "east").mean()
    monkeypatch.setattr(
        conditions,
        "matches",
        lambda table, *rest: looked_at.append(len(table)) or matches(table, *rest),
    )
    generator.sample(1000, rng(2), where={"region": "east"})
    assert ("conditions" in declared) == (2 * share * sum(looked_at) < 1000)


@every_generator
def test_unknown_parameter_names_the_nearest(name):
    known = [field.name for field in fields(GENERATORS[name].load())]
    misspelt = f"{known[0]}x" if known else "bins"
    with pytest.raises(
        InputError, match=f"did you mean.*{known[0]}" if known else "has no parameters"
    ):
        make(name, {misspelt: 1})


@quick_generators
def test_generate_from_a_dataset(name):
    if reason := make(name, TINY[name]).supports(SCHEMA):
        pytest.skip(reason)
    params = TINY[name] | BRIEF.get(name, {})
    data = Dataset("made", TABLE, make_table(100, seed=9), SCHEMA)
    synthetic = generate(name, data, seed=4, **params)
    assert len(synthetic) == (50 if name == "holdout" else 300)
    # The same seed gives the streams that its docstring names, and the contract says that these
    # give the same bytes.
    learnt, _ = views(name, data, seed=4)
    fitted_by_hand = make(name, params).fit(learnt, SCHEMA, np.random.default_rng([4, 0]))
    by_hand = fitted_by_hand.sample(len(synthetic), np.random.default_rng([4, 1]))
    assert table_hash(synthetic) == table_hash(by_hand)


@pytest.mark.parametrize("name", ["independent", "cart", "bayes-tree", "gan"])
def test_generate_draws_other_rows_with_another_seed(name):
    data = Dataset("made", TABLE, make_table(100, seed=9), SCHEMA)
    tables = [generate(name, data, seed=seed, **TINY[name]) for seed in (4, 5)]
    assert table_hash(tables[0]) != table_hash(tables[1])


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("cart", {"min_samples_leaf": 0}, "min_samples_leaf"),
        ("bayes-tree", {"bins": 0}, "bins"),
        ("bayes-tree", {"prior": "1"}, "prior"),
        ("bayes-hillclimb", {"max_parents": 0}, "max_parents"),
        ("smote", {"neighbors": 0}, "neighbors"),
        ("per-group", {"least_rows": 0}, "least_rows"),
    ],
)
def test_impossible_parameters(name, parameters, named):
    with pytest.raises(InputError, match=f"{named} is"):
        make(name, parameters)


# What each method must capture.


def correlated(rows: int, correlation: np.ndarray, seed: int = 0) -> np.ndarray:
    return rng(seed).multivariate_normal(np.zeros(len(correlation)), correlation, size=rows)


def test_copula_recovers_the_latent_correlation_behind_numbers_ties_labels_and_missing_values():
    truth = np.array(
        [[1, 0.6, -0.5, 0.4], [0.6, 1, -0.3, 0.5], [-0.5, -0.3, 1, -0.2], [0.4, 0.5, -0.2, 1]]
    )
    z = correlated(20_000, truth)
    schema = Schema(
        (
            Column("n", "numeric"),
            Column("t", "integer"),
            Column("b", "boolean"),
            Column("m", "numeric"),
        )
    )
    table = pd.DataFrame(
        {
            "n": np.exp(z[:, 0]),
            "t": np.maximum(np.floor(z[:, 1] * 2), 0),
            "b": z[:, 2] > 0.8,
            "m": z[:, 3],
        }
    )
    table.loc[rng(1).random(len(table)) < 0.3, "m"] = np.nan
    table = schema.cast(table)
    generator = make("gaussian-copula").fit(table, schema, rng(0))
    found = generator.correlation.loc[schema.names, schema.names].to_numpy()
    # A label's order along the main axis may be either of the two; here false is the higher end of
    # the latent b.
    sign = np.sign(found[0, 2]) * np.sign(truth[0, 2])
    found[2, :2] *= sign
    found[:2, 2] *= sign
    found[3, 2] *= sign
    found[2, 3] *= sign
    assert np.abs(found - truth).max() < 0.06
    synthetic = generator.sample(20_000, rng(1))
    assert (
        np.abs(synthetic.astype(float).corr("spearman") - table.astype(float).corr("spearman")).max(
            axis=None
        )
        < 0.05
    )


def test_copula_keeps_which_values_are_missing_together():
    missing = rng(0).random(5000) < 0.3
    schema = Schema((Column("a", "numeric"), Column("b", "numeric")))
    table = pd.DataFrame({"a": rng(1).normal(size=5000), "b": rng(2).normal(size=5000)})
    table.loc[missing] = np.nan
    synthetic = make("gaussian-copula").fit(table, schema, rng(0)).sample(5000, rng(1))
    assert (synthetic["a"].isna() == synthetic["b"].isna()).mean() > 0.95


def tree_table(rows: int = 5000) -> tuple[pd.DataFrame, Schema, set]:
    """A tree of labels whose edges flip the parent's label with probability 0.15."""
    edges = [("a", "b"), ("a", "c"), ("c", "d"), ("c", "e"), ("e", "f")]
    draw = rng(0)
    table = {"a": draw.random(rows) < 0.4}
    for parent, child in edges:
        table[child] = table[parent] ^ (draw.random(rows) < 0.15)
    schema = Schema(tuple(Column(name, "boolean") for name in sorted(table)))
    return schema.cast(pd.DataFrame(table)), schema, {frozenset(edge) for edge in edges}


@pytest.mark.parametrize("name", ["bayes-tree", "bayes-hillclimb"])
def test_networks_recover_a_known_tree(name):
    table, schema, edges = tree_table()
    parents = make(name).fit(table, schema, rng(0)).parents
    names = schema.names
    assert {
        frozenset((names[parent], names[child])) for child, of in parents.items() for parent in of
    } == edges


def test_hill_climbing_finds_what_no_tree_can():
    draw = rng(0)
    a, b, noise = (draw.random(4000) < share for share in (0.3, 0.6, 0.05))
    schema = Schema(tuple(Column(name, "boolean") for name in "abc"))
    table = schema.cast(pd.DataFrame({"a": a, "b": b, "c": (a & ~b) ^ noise}))

    def error(name):
        synthetic = make(name).fit(table, schema, rng(0)).sample(20_000, rng(1))
        real, sampled = (t.value_counts(normalize=True) for t in (table, synthetic))
        return abs(real.sub(sampled, fill_value=0)).sum() / 2

    assert error("bayes-hillclimb") < 0.02 < error("bayes-tree")


@pytest.mark.parametrize("name", ["bayes-tree", "bayes-hillclimb"])
def test_network_samples_agree_with_exact_inference(name):
    from pgmpy.inference import VariableElimination

    columns = ["age", "debts", "job", "married", "opened", "default"]
    schema = Schema(tuple(SCHEMA[column] for column in columns))
    generator = make(name, {"bins": 4}).fit(TABLE[columns], schema, rng(0))
    network = generator.network()
    assert network.check_model()
    rows = 40_000
    codes = generator._codes.encode(generator.sample(rows, rng(1)))
    exact = VariableElimination(network)
    pairs = [("job", "default"), ("age", "married"), ("debts", "opened")]
    for one, other in pairs:
        i, j = columns.index(one), columns.index(other)
        expected = exact.query([one, other], show_progress=False).marginalize([], inplace=False)
        expected = expected.values if expected.variables == [one, other] else expected.values.T
        seen = np.bincount(
            codes[:, i] * expected.shape[1] + codes[:, j], minlength=expected.size
        ).reshape(expected.shape)
        # Five standard errors of a share, and a row for the rare ones.
        assert (
            np.abs(seen / rows - expected)
            < 5 * np.sqrt(expected * (1 - expected) / rows) + 1 / rows
        ).all(), (one, other)


def test_network_never_draws_an_impossible_state():
    """Ten shares of 0.1 add up to less than 1 in floats; what is left over must not fall to the
    state behind them.
    """
    from workbench.generators.bayes.networks import _draw_states

    class Highest:
        def random(self, n):
            return np.full(n, np.nextafter(1, 0))

    table = np.array([[0.1] * 10 + [0.0], [0.0] + [0.1] * 10])
    assert np.cumsum(table[0])[-1] < 1
    assert _draw_states(table, np.array([0, 1, 0]), Highest()).tolist() == [9, 10, 9]


def test_network_reads_numbers_back_within_their_bins():
    synthetic = make("bayes-tree", {"bins": 5}).fit(TABLE, SCHEMA, rng(0)).sample(3000, rng(1))
    assert synthetic["income"].nunique() > 300


def test_hill_climbing_is_the_same_in_another_process(tmp_path):
    """Sets of text come in another order there; the graph must not depend on it."""
    TABLE.to_parquet(tmp_path / "table.parquet")
    (tmp_path / "schema.json").write_text(SCHEMA.to_json())
    code = (
        "import sys; import numpy as np, pandas as pd; from workbench.tables.schema import"
        " Schema\nfrom workbench.generators import make; from workbench.tables.datasets import"
        " table_hash\nschema = Schema.from_json(open(sys.argv[2]).read()); table ="
        " schema.cast(pd.read_parquet(sys.argv[1]))\ng = make('bayes-hillclimb', {'bins':"
        " 4}).fit(table, schema, np.random.default_rng(1))\nprint(table_hash(g.sample(100,"
        " np.random.default_rng(2))))"
    )
    paths = [str(tmp_path / "table.parquet"), str(tmp_path / "schema.json")]
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *paths],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert there == f"{table_hash(fitted('bayes-hillclimb').sample(100, rng(2)))}\n"


def test_cart_recovers_an_interaction_that_the_copula_misses():
    """y has the sign of a * b: no pair of columns is dependent, all three are."""
    draw = rng(0)
    a, b = draw.normal(size=(2, 3000))
    schema = Schema((Column("a", "numeric"), Column("b", "numeric"), Column("y", "boolean")))
    table = schema.cast(
        pd.DataFrame({"a": a, "b": b, "y": (a * b > 0) ^ (draw.random(3000) < 0.05)})
    )

    def agreement(name):
        synthetic = make(name).fit(table, schema, rng(1)).sample(3000, rng(2))
        return ((synthetic["a"] * synthetic["b"] > 0) == synthetic["y"]).mean()

    assert agreement("cart") > 0.85
    assert abs(agreement("gaussian-copula") - 0.5) < 0.05


def test_cart_repeats_train_values_unless_smooth():
    income = TABLE["income"].dropna()
    plain, smooth = (
        make("cart", {"smooth": s}).fit(TABLE, SCHEMA, rng(0)).sample(2000, rng(1))
        for s in (False, True)
    )
    assert plain["income"].dropna().isin(income).all()
    assert smooth["income"].dropna().isin(income).mean() < 0.6
    assert abs(smooth["income"].isna().mean() - TABLE["income"].isna().mean()) < 0.05
    assert (smooth["rate"].round(2) == smooth["rate"]).all()


def test_cart_looks_at_the_strongest_columns_of_many():
    draw = rng(0)
    table = pd.DataFrame({f"x{j}": draw.normal(size=1000) for j in range(12)})
    table["empty"], table["label"] = np.nan, draw.choice(["a", "b", "c"], 1000)
    table["y"] = np.where(
        draw.random(1000) < 0.3, np.nan, table["x7"] + (table["label"] == "b") * 2
    )
    schema = Schema(
        tuple(Column(name, "categorical" if name == "label" else "numeric") for name in table)
    )
    table = schema.cast(table)
    generator = make("cart", {"max_predictors": 2}).fit(table, schema, rng(0))
    assert generator._steps["y"]._before == ["x7", "label"]
    synthetic = generator.sample(1000, rng(1))
    assert abs(synthetic["y"].corr(synthetic["x7"]) - table["y"].corr(table["x7"])) < 0.1


def test_cart_draws_in_the_order_asked_for():
    generator = make("cart", {"order": ["default", "age"]}).fit(TABLE, SCHEMA, rng(0))
    assert generator._order[:3] == ["default", "age", "income"]
    assert generator.sample(5, rng(1)).columns.tolist() == SCHEMA.names
    with pytest.raises(InputError, match="did you mean age"):
        make("cart", {"order": ["agee"]}).fit(TABLE, SCHEMA, rng(0))


def row_set(table: pd.DataFrame) -> set:
    return set(table.astype(object).where(table.notna(), None).itertuples(index=False, name=None))


@pytest.mark.parametrize("name", REPEATING)
def test_copies_repeat_whole_passes(name):
    generator = fitted(name)
    synthetic = generator.sample(2 * len(TABLE) + 10, rng(2))
    assert row_set(synthetic) == row_set(TABLE)
    counts = synthetic["income"].value_counts()
    assert counts.min() == 2 and counts.max() == 3
    assert table_hash(generator.sample(len(TABLE), rng(2))) != table_hash(TABLE), (
        "rows are shuffled"
    )
    few = generator.sample(40, rng(2), where={"job": "retired", "default": "yes"})
    assert row_set(few) == row_set(TABLE[(TABLE["job"] == "retired") & (TABLE["default"] == "yes")])


def test_holdout_learns_from_half_of_test():
    data = Dataset("made", TABLE, make_table(100, seed=9), SCHEMA)
    table, scored = views("holdout", data, seed=0)
    synthetic = generate("holdout", data, seed=0)
    assert row_set(synthetic) == row_set(table)
    assert not row_set(synthetic) & (row_set(scored.test) | row_set(data.train))


def test_permuted_keeps_marginals_and_nothing_else():
    z = correlated(2000, np.array([[1, 0.9], [0.9, 1]]))
    schema = Schema((Column("a", "numeric"), Column("b", "numeric")))
    table = pd.DataFrame(z, columns=["a", "b"])
    synthetic = make("permuted").fit(table, schema, rng(0)).sample(2000, rng(1))
    assert (np.sort(synthetic, axis=0) == np.sort(table, axis=0)).all()
    assert abs(synthetic.corr().iloc[0, 1]) < 0.1


def test_independent_keeps_marginals_and_nothing_else():
    z = correlated(4000, np.array([[1, 0.9], [0.9, 1]]))
    schema = Schema((Column("a", "numeric"), Column("b", "numeric")))
    synthetic = (
        make("independent")
        .fit(pd.DataFrame(z, columns=["a", "b"]), schema, rng(0))
        .sample(4000, rng(1))
    )
    assert (
        np.abs(
            np.quantile(synthetic["a"], [0.05, 0.5, 0.95]) - np.quantile(z[:, 0], [0.05, 0.5, 0.95])
        ).max()
        < 0.1
    )
    assert abs(synthetic.corr().iloc[0, 1]) < 0.1


def test_smote_stays_between_neighbours_of_a_class():
    """Two rings of one class each: points of a class lie near their own ring, and are not its rows."""
    draw = rng(0)
    angle, inner = draw.uniform(0, 2 * np.pi, 1000), np.arange(1000) < 300
    radius = np.where(inner, 1.0, 2.0)
    schema = Schema(
        (Column("x", "numeric"), Column("y", "numeric"), Column("ring", "categorical", "target"))
    )
    table = pd.DataFrame(
        {
            "x": radius * np.cos(angle),
            "y": radius * np.sin(angle),
            "ring": np.where(inner, "in", "out"),
        }
    )
    synthetic = make("smote").fit(schema.cast(table), schema, rng(1)).sample(3000, rng(2))
    distance = np.hypot(synthetic["x"], synthetic["y"])
    assert np.abs(distance - np.where(synthetic["ring"] == "in", 1.0, 2.0)).max() < 0.15
    assert abs((synthetic["ring"] == "in").mean() - 0.3) < 0.04
    assert synthetic["x"].isin(table["x"]).mean() < 0.01


def test_smote_neighbours_are_the_nearest_of_the_class_and_not_the_row_itself():
    schema = Schema((Column("x", "numeric"), Column("c", "boolean", "target")))
    table = schema.cast(
        pd.DataFrame(
            {"x": [0.0, 1.0, 10.0, 11.0, 0.1, 5.0], "c": [True, True, True, True, False, False]}
        )
    )
    generator = make("smote", {"neighbors": 1}).fit(table, schema, rng(0))
    assert generator._neighbors.ravel().tolist() == [1, 0, 3, 2, 5, 4]
    searched = replace(make("smote", {"neighbors": 2}), search_rows=3).fit(TABLE, SCHEMA, rng(0))
    assert (searched._neighbors != np.arange(len(TABLE))[:, None]).all()


BIASED = Schema(
    (
        Column("x", "numeric"),
        Column("group", "categorical", "sensitive"),
        Column("y", "boolean", "target"),
    ),
    positive="True",
)


def biased(rows: int, seed: int = 0) -> pd.DataFrame:
    """P(y) is 0.6 in group a, 0.2 in group b and in the small group c; x is y with noise, and 3
    higher in group c.
    """
    draw = rng(seed)
    group = draw.choice(list("abc"), rows, p=[0.6, 0.37, 0.03])
    y = draw.random(rows) < np.where(group == "a", 0.6, 0.2)
    return BIASED.cast(
        pd.DataFrame({"x": draw.normal(size=rows) + y + 3 * (group == "c"), "group": group, "y": y})
    )


def test_reweighing_unties_group_and_target_and_keeps_their_shares():
    table = biased(6000)
    plain, reweighed = (
        make(name).fit(table, BIASED, rng(1)).sample(6000, rng(2)) for name in ("cart", "reweighed")
    )
    rates = [sampled.groupby("group")["y"].mean().astype(float) for sampled in (plain, reweighed)]
    assert rates[0]["a"] - rates[0]["b"] == pytest.approx(0.4, abs=0.05)
    assert abs(rates[1]["a"] - rates[1]["b"]) < 0.05
    assert reweighed["y"].mean() == pytest.approx(table["y"].mean(), abs=0.03)
    shares = [sampled["group"].value_counts(normalize=True) for sampled in (table, reweighed)]
    assert (abs(shares[0] - shares[1]) < 0.03).all()


def test_a_generator_for_each_group_keeps_shares_and_small_groups():
    """The independent inner generator loses every tie, but not that of a group to its own values."""
    table = biased(6000)
    sampled = (
        make("per-group", {"inner": "independent"}).fit(table, BIASED, rng(1)).sample(6000, rng(2))
    )
    for column in ("x", "y"):
        means = [
            t.assign(**{column: t[column].astype(float)}).groupby("group")[column].mean()
            for t in (table, sampled)
        ]
        assert (abs(means[0] - means[1]) < 0.2).all() and means[0].idxmax() == means[1].idxmax()
    shares = [t["group"].value_counts(normalize=True) for t in (table, sampled)]
    assert (abs(shares[0] - shares[1]) < 0.03).all()


def test_small_groups_share_a_generator_and_many_are_few():
    table = biased(6000)
    few = make("per-group", {"least_rows": 500, "inner": "copy"}).fit(table, BIASED, rng(1))
    assert (
        len(few._fitted) == 3
        and len(make("per-group", {"least_rows": 9999}).fit(table, BIASED, rng(1))._fitted) == 1
    )
    many = BIASED.cast(table.assign(group=rng(3).integers(0, 3000, 6000).astype(str)))
    assert len(make("per-group", {"inner": "copy"}).fit(many, BIASED, rng(1))._fitted) <= 21
    sampled = make("reweighed", {"inner": "copy"}).fit(many, BIASED, rng(1)).sample(6000, rng(2))
    assert sampled["group"].nunique() > 1500


def test_mitigation_says_once_what_its_inner_generators_left_out(tmp_path):
    plugin = tmp_path / "half.py"
    plugin.write_text(
        "from workbench.generators.statistical.independent import Independent\n"
        "class Half(Independent):\n"
        "    def fit(self, table, schema, rng):\n"
        "        self.facts = {'notes': ['half of the rows.'], 'epsilon': 1}\n"
        "        return super().fit(table, schema, rng)\n"
    )
    for name in ("reweighed", "per-group"):
        model = make(name, {"inner": f"{plugin}:Half"}).fit(biased(300), BIASED, rng(1))
        assert model.facts == {"notes": ["half of the rows."]}
        assert make(name, {"inner": "independent"}).fit(biased(300), BIASED, rng(1)).facts == {}


def test_mitigation_needs_roles_and_a_known_inner_generator():
    bare = BIASED.with_roles()
    assert "needs a sensitive column and a target" in make("reweighed").supports(bare)
    assert "needs a sensitive column" in make("per-group").supports(bare)
    assert make("per-group").supports(BIASED.with_roles(sensitive=["group"])) is None
    for name in ("reweighed", "per-group"):
        with pytest.raises(InputError, match="did you mean cart"):
            make(name, {"inner": "carrt"}).supports(BIASED)
