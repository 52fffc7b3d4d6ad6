"""Network structures, their scores against pgmpy's, and the private networks: their accounts, and
an audit by a canary.
"""

import numpy as np
import pandas as pd
import pytest
from canaries import proven_epsilon

from workbench.errors import InputError
from workbench.generators import generate, make
from workbench.generators.bayes.networks import _tree, mutual_information
from workbench.generators.private.noise import Noise
from workbench.tables.datasets import Dataset
from workbench.tables.schema import Column, Schema


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(names: str, target: str | None = None) -> Schema:
    return Schema(
        tuple(
            Column(name, "categorical", "target" if name == target else "feature") for name in names
        )
    )


def simulated(rows: int = 4000) -> tuple[pd.DataFrame, Schema]:
    """The class y is a parent of a, b and c; b follows a and c follows b, each in its own way in
    each class.
    """
    draw, schema = rng(0), labels("abcy", "y")
    y, a = draw.random(rows) < 0.4, draw.random(rows)
    a = a < np.where(y, 0.7, 0.3)
    b = np.where(draw.random(rows) < 0.1, draw.random(rows) < 0.5, a ^ y)
    c = np.where(draw.random(rows) < 0.2, draw.random(rows) < 0.5, b)
    return schema.cast(pd.DataFrame({"a": a, "b": b, "c": c, "y": y}).astype(str)), schema


def edges(generator, schema: Schema) -> set[tuple[str, str]]:
    return {
        (schema.names[parent], schema.names[child])
        for child, of in generator.parents.items()
        for parent in of
    }


# Structures


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("given", [(), (6,)])
def test_the_tree_is_the_one_that_pgmpy_finds(given):
    from pgmpy.estimators import TreeSearch

    nodes = range(6)
    for seed in range(10):
        draw = rng(seed)
        sizes = draw.integers(2, 5, size=7).tolist()
        states = np.column_stack([draw.integers(size, size=500) for size in sizes])
        for node in range(1, 7):
            # Each column repeats an earlier one in a part of the rows.
            same = draw.random(500) < draw.random()
            source = states[:, draw.integers(node)]
            states[:, node] = np.where(same, source % sizes[node], states[:, node])

        def weight(one: pd.Series, other: pd.Series) -> float:
            return mutual_information(states, sizes, one.name, other.name, given=given)  # noqa: B023

        search = TreeSearch(pd.DataFrame(states)[list(nodes)], n_jobs=1)
        expected = search.estimate(edge_weights_fn=weight, show_progress=False)
        found = _tree(states, sizes, nodes, given, 10**6)
        assert set(found.edges) == set(expected.edges)


def test_tan_hangs_every_column_on_the_target_and_finds_the_tree_given_it():
    table, schema = simulated()
    found = edges(make("bayes-tan").fit(table, schema, rng(0)), schema)
    assert {("y", name) for name in "abc"} <= found
    assert {frozenset(edge) for edge in found if "y" not in edge} == {
        frozenset("ab"),
        frozenset("bc"),
    }


def test_tan_sees_what_a_tree_cannot():
    """b is a exclusive-or y: no pair of the three is dependent where a and y are fair coins."""
    draw, schema = rng(1), labels("aby", "y")
    a, y = draw.random((2, 4000)) < 0.5
    table = schema.cast(pd.DataFrame({"a": a, "b": a ^ y, "y": y}).astype(str))

    def agreement(name):
        drawn = make(name).fit(table, schema, rng(0)).sample(4000, rng(1)) == "True"
        return ((drawn["a"] ^ drawn["y"]) == drawn["b"]).mean()

    assert agreement("bayes-tan") > 0.99 and agreement("bayes-tree") < 0.6


def test_tan_drops_edges_that_need_too_large_a_table():
    table, schema = simulated()
    generator = make("bayes-tan", {"max_cells": 17}).fit(
        table, schema, rng(0)
    )  # 3 states a column, missing among them
    assert edges(generator, schema) == {("y", name) for name in "abc"}


def test_tan_needs_a_target():
    assert "there is none; declare one" in make("bayes-tan").supports(labels("ab"))


def test_an_expert_s_edges_are_kept_and_the_other_columns_stay_alone():
    table, schema = simulated()
    generator = make("bayes-expert", {"edges": [["a", "b"], ["y", "b"]]}).fit(table, schema, rng(0))
    assert edges(generator, schema) == {("a", "b"), ("y", "b")}
    drawn = generator.sample(20_000, rng(1))
    shares = [
        t.groupby(["a", "y"])["b"].apply(lambda b: (b == "True").mean()) for t in (table, drawn)
    ]
    assert (abs(shares[0] - shares[1]) < 0.03).all()
    assert (
        abs((drawn["b"] == drawn["c"]).mean() - 0.5)
        < 0.05
        < abs((table["b"] == table["c"]).mean() - 0.5)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([["a", "b"], ["b", "c"], ["c", "a"]], "run in a circle: .* -> "),
        ([["a", "a"]], "run in a circle: a -> a"),
        ([["a", "bb"]], "no column 'bb'; did you mean"),
        ([["a", "b", "c"]], "is no pair"),
        (["ab"], "is no pair"),
        ([], "has no edges"),
        (
            [["a", "y"], ["b", "y"], ["c", "y"]],
            "column 'y' with its parents has 81 cells, more than max_cells",
        ),
    ],
)
def test_an_expert_s_mistakes_are_named(given, message):
    table, schema = simulated(100)
    with pytest.raises(InputError, match=message):
        generate("bayes-expert", Dataset("made", table, table, schema), edges=given, max_cells=50)


@pytest.mark.parametrize("score", ["bic", "bdeu"])
def test_scores_agree_with_pgmpy(score):
    from pgmpy.structure_score import BIC, BDeu

    table, schema = simulated(500)
    generator = make("bayes-hillclimb", {"score": score, "equivalent_rows": 7}).fit(
        table, schema, rng(0)
    )
    states = generator._codes.encode(table)
    ours, data = generator._score(states), pd.DataFrame(states)
    theirs = BIC(data) if score == "bic" else BDeu(data, equivalent_sample_size=7)
    for node, parents in [(0, ()), (1, (0,)), (1, (0, 3)), (2, (0, 1, 3))]:
        assert ours(node, tuple(sorted(parents))) == pytest.approx(
            theirs.local_score(node, parents)
        )


@pytest.mark.parametrize("score", ["bic", "bdeu"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_search_ends_where_that_of_pgmpy_ends(score, seed):
    from pgmpy.base import DAG
    from pgmpy.causal_discovery import HillClimbSearch
    from pgmpy.structure_score import BIC, BDeu

    random = rng(seed)
    causes = random.normal(size=(250, 3))
    values = causes[:, random.integers(0, 3, 9)] + 0.7 * random.normal(size=(250, 9))
    table = pd.DataFrame(values.round(1), columns=[f"c{j}" for j in range(9)])
    schema = Schema.infer(table)
    generator = make("bayes-hillclimb", {"bins": 3, "score": score}).fit(table, schema, rng(0))
    states = generator._codes.encode(table)
    data = pd.DataFrame(states)
    search = HillClimbSearch(
        scoring_method=BIC(data) if score == "bic" else BDeu(data, equivalent_sample_size=10),
        start_dag=DAG(_tree(states, generator._codes.sizes, range(9), (), 100_000)),
        max_indegree=3,
        return_type="dag",
        show_progress=False,
    )
    expected = search.fit(data).causal_graph_
    # Turned edges may score the same to the last bit or not, by either sum: pairs are compared.
    found = {frozenset(edge) for edge in edges(generator, schema)}
    names = schema.names
    assert found == {frozenset((names[one], names[other])) for one, other in expected.edges}


def test_few_candidates_bound_the_search():
    random = rng(0)
    cause = random.normal(size=(300, 1))
    table = pd.DataFrame(cause + random.normal(size=(300, 8)), columns=[f"c{j}" for j in range(8)])
    table["c1"] = table["c0"] + 0.01 * random.normal(size=300)
    schema = Schema.infer(table)
    few = make("bayes-hillclimb", {"bins": 3, "max_candidates": 1}).fit(table, schema, rng(0))
    candidates = few._candidates(few._codes.encode(table))
    assert candidates[0] == {1} and candidates[1] == {0}
    assert all(len(columns) == 1 for columns in candidates)
    all_of_them = make("bayes-hillclimb", {"bins": 3}).fit(table, schema, rng(0))
    assert all_of_them._candidates(all_of_them._codes.encode(table))[0] == set(range(1, 8))


def test_both_scores_find_the_structure():
    table, schema = simulated()
    for score in ("bic", "bdeu"):
        found = edges(make("bayes-hillclimb", {"score": score}).fit(table, schema, rng(0)), schema)
        assert {frozenset("ay"), frozenset("bc")} <= {frozenset(edge) for edge in found}
    with pytest.raises(InputError, match="score is 'aic'; give bic or bdeu"):
        make("bayes-hillclimb", {"score": "aic"})


# Differential privacy


def neighbours(columns: str = "abcd", rows: int = 20) -> tuple[list[pd.DataFrame], Schema]:
    """Two tables that differ in their last row, which is the only one to say yes in the second."""
    schema = labels(columns)
    return [
        schema.cast(pd.DataFrame({name: ["no"] * (rows - 1) + [last] for name in columns}))
        for last in ("no", "yes")
    ], schema


def public(columns: str) -> dict:
    return {"levels": {name: ["no", "yes"] for name in columns}, "missing": []}


class Watched(Noise):
    """Noise that is `share` of what it should be, and remembers how much was wanted."""

    def __init__(self, seed, share: float = 1.0):
        super().__init__(seed)
        self._share, self.scales = share, []

    def discrete_laplace(self, scale, shape):
        self.scales.append(scale)
        return self._share * super().discrete_laplace(scale, shape)

    def discrete_gaussian(self, deviation, shape):
        self.scales.append(deviation)
        return self._share * super().discrete_gaussian(deviation, shape)


def fitted_with(noise: Noise, name: str, settings: dict, table: pd.DataFrame, schema: Schema):
    generator = make(name, settings)
    generator._noise = lambda: noise
    return generator.fit(table, schema, rng(0))


@pytest.mark.parametrize("columns", ["a", "ab", "abcd"])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_privbayes_spends_epsilon_and_no_more(columns, epsilon):
    (table, _), schema = neighbours(columns)
    noise = Watched(0)
    settings = {"epsilon": epsilon, **public(columns)}
    generator = fitted_with(noise, "privbayes", settings, table, schema)
    assert generator.epsilon_spent == pytest.approx(epsilon) and generator.delta_spent == 0
    assert len(generator.charges) == 2 * len(columns) - 1
    tables = epsilon * (0.7 if len(columns) > 1 else 1)
    assert noise.scales == pytest.approx([2 * len(columns) / tables] * len(columns)), (
        "Zhang et al. 2017, algorithm 3"
    )


@pytest.mark.parametrize("name", ["privbayes", "mst"])
def test_the_guarantee_says_what_it_leaves_out(name):
    (table, _), schema = neighbours("ab")
    kept = make(name, public("ab")).fit(table, schema, rng(0)).guarantee
    assert "differential privacy for" in kept and "not covered" not in kept
    assert (
        "domain of a, b was read off the train table"
        in make(name).fit(table, schema, rng(0)).guarantee
    )


@pytest.mark.parametrize("name", ["privbayes", "mst"])
@pytest.mark.parametrize("epsilon", [0, -1.0, float("inf"), float("nan"), "1", True])
def test_an_impossible_budget_is_named(name, epsilon):
    with pytest.raises(InputError, match=r"epsilon is .*; give a (finite )?number"):
        make(name, {"epsilon": epsilon})


def test_the_score_moves_by_no_more_than_its_sensitivity():
    """Every exchange of one row, in tables of every kind of dependence; some come close to the
    bound.
    """
    from workbench.generators.private.privbayes import dependence

    draw, largest = rng(0), 0.0
    for trial in range(300):
        n = int(draw.integers(2, 30))
        counts = (
            draw.multinomial(n, draw.dirichlet(np.full(6, 0.3))).reshape(2, 3)
            if trial
            else np.array([[n, 0, 0], [0] * 3])
        )
        for taken in np.argwhere(counts > 0):
            for given in np.ndindex(2, 3):
                other = counts.copy()
                other[tuple(taken)] -= 1
                other[given] += 1
                largest = max(largest, abs(dependence(other) - dependence(counts)) * n)
    assert 1.8 < largest <= 3
    assert dependence(np.array([[5, 0], [0, 5]])) == pytest.approx(0.5)
    assert dependence(np.outer([1, 2], [3, 4])) == pytest.approx(0)


def test_the_exponential_mechanism_has_its_closed_form():
    noise, scores = Noise(0), np.array([0.0, 0.1, 0.3])
    chosen = [noise.choice(scores, 0.05, 1.0) for _ in range(8000)]
    seen = np.bincount(chosen, minlength=3) / len(chosen)
    expected = np.exp(scores / 0.1) / np.exp(scores / 0.1).sum()
    assert np.abs(seen - expected).max() < 0.015


def audit(name: str, epsilon: float, noise: float, runs: int = 300) -> float:
    """The budget that an attack proves who knows every row but the last, from the share of yes in
    the fitted tables.
    """
    tables, schema = neighbours("a")
    if name == "mst":  # whose neighbour lacks the row
        tables[0] = tables[0].iloc[:-1]
    settings = {"epsilon": epsilon, **public("a")} | ({"delta": 1e-2} if name == "mst" else {})
    scores = []
    for w in (1, 0):
        fits = [
            fitted_with(Watched([w, i], noise), name, settings, tables[w], schema)
            for i in range(runs)
        ]
        scores.append(np.array([fit._tables[0][0, 1] for fit in fits]))
    return proven_epsilon(*scores, settings.get("delta", 0.0))


@pytest.mark.parametrize("name", ["privbayes", "mst"])
def test_a_quick_canary_proves_no_more_than_epsilon_and_catches_missing_noise(name):
    assert audit(name, 1.0, 1.0, runs=100) <= 1.0
    assert audit(name, 1.0, 0.0, runs=100) > 2.0, "no noise at all"


@pytest.mark.long
@pytest.mark.parametrize("name", ["privbayes", "mst"])
def test_a_canary_proves_no_more_than_epsilon_and_catches_missing_noise(name):
    """Quick sibling: the quick canary above."""
    assert 0 < audit(name, 3.0, 1.0) <= 3.0
    assert audit(name, 1.0, 0.0) > 2.0, "no noise at all"
    assert audit(name, 1.0, 0.1) > 1.0, "every one of ten tables spends the whole budget"


def test_zero_concentrated_privacy_lies_between_its_closed_forms():
    """Above the exact cost of the same Gaussian noise (Balle and Wang 2018), below the bound of Bun
    and Steinke 2016.
    """
    import dp_accounting

    from workbench.generators.private.accounting import concentrated, spent

    for rho, delta in [(0.001, 1e-9), (0.05, 1e-6), (1.0, 1e-5), (10.0, 1e-9)]:
        exact = dp_accounting.get_epsilon_gaussian((1 / (2 * rho)) ** 0.5, delta)
        assert exact <= spent(rho, delta) <= rho + 2 * (rho * np.log(1 / delta)) ** 0.5
        assert concentrated(spent(rho, delta), delta) == pytest.approx(rho, rel=1e-6)


def test_mst_spends_epsilon_and_no_more():
    (table, _), schema = neighbours()
    noise = Watched(0)
    settings = {"epsilon": 2.0, "delta": 1e-6, **public("abcd")}
    generator = fitted_with(noise, "mst", settings, table, schema)
    assert 1.999 < generator.epsilon_spent <= 2.0 and generator.delta_spent == 1e-6
    gaussian = sum(
        1 / (2 * scale**2) for scale in noise.scales
    )  # all but the choice of the tree, which takes a third
    assert sum(rho for _, rho in generator.charges) == pytest.approx(1.5 * gaussian)


@pytest.mark.parametrize("name", ["privbayes", "mst", "dp-tan"])
def test_private_networks_find_the_dependence_at_a_large_budget_and_lose_it_at_a_small_one(name):
    draw, schema = rng(0), labels("abc", "b")
    a = draw.random(5000) < 0.4
    table = schema.cast(
        pd.DataFrame(
            {"a": a, "b": draw.random(5000) < 0.5, "c": a ^ (draw.random(5000) < 0.1)}
        ).astype(str)
    )

    def agreement(epsilon):
        shares = []
        for seed in range(8):
            fit = make(name, {"epsilon": epsilon, "noise_seed": seed}).fit(table, schema, rng(1))
            drawn = fit.sample(5000, rng(2))
            shares.append((drawn["a"] == drawn["c"]).mean())
        return np.array(shares)

    assert np.abs(agreement(100.0) - 0.9).max() < 0.03
    assert agreement(1e-4).mean() < 0.8


@pytest.mark.parametrize("name", ["privbayes", "mst"])
def test_a_declared_domain_hides_what_lies_outside(name):
    schema = Schema((Column("x", "numeric"), Column("c", "categorical")))
    table = schema.cast(
        pd.DataFrame(
            {"x": [*np.linspace(0, 10, 999), 1e6], "c": ["u", "v"] * 499 + ["v", "secret"]}
        )
    )
    settings = {
        "epsilon": 50.0,
        "bounds": {"x": [0, 10]},
        "levels": {"c": ["u", "v", "w"]},
        "missing": [],
    }
    drawn = make(name, settings).fit(table, schema, rng(0)).sample(5000, rng(1))
    assert drawn["x"].between(0, 10).all() and set(drawn["c"]) <= {"u", "v", "w"}
    assert abs(drawn["x"].mean() - 5) < 0.3


@pytest.mark.parametrize("name", ["privbayes", "mst", "dp-tan"])
def test_private_networks_export_to_pgmpy(name):
    table, schema = simulated()
    assert make(name, {"epsilon": 5.0}).fit(table, schema, rng(0)).network().check_model()
