"""Network structures, their scores against pgmpy's, and the private networks: their accounts, and an audit by a canary."""

import numpy as np
import pandas as pd
import pytest

from workbench.datasets import Dataset
from workbench.generators import generate, make
from workbench.schema import Column, InputError, Schema


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(names: str, target: str | None = None) -> Schema:
    return Schema(tuple(Column(name, "categorical", "target" if name == target else "feature") for name in names))


def made(rows: int = 4000) -> tuple[pd.DataFrame, Schema]:
    """The class y is a parent of a, b and c; b follows a and c follows b, each in its own way in each class."""
    draw, schema = rng(0), labels("abcy", "y")
    y, a = draw.random(rows) < 0.4, draw.random(rows)
    a = a < np.where(y, 0.7, 0.3)
    b = np.where(draw.random(rows) < 0.1, draw.random(rows) < 0.5, a ^ y)
    c = np.where(draw.random(rows) < 0.2, draw.random(rows) < 0.5, b)
    return schema.cast(pd.DataFrame({"a": a, "b": b, "c": c, "y": y}).astype(str)), schema


def edges(generator, schema: Schema) -> set[tuple[str, str]]:
    return {(schema.names[parent], schema.names[child]) for child, of in generator.parents.items() for parent in of}


# Structures


def test_tan_hangs_every_column_on_the_target_and_finds_the_tree_given_it():
    table, schema = made()
    found = edges(make("bayes-tan").fit(table, schema, rng(0)), schema)
    assert {("y", name) for name in "abc"} <= found
    assert {frozenset(edge) for edge in found if "y" not in edge} == {frozenset("ab"), frozenset("bc")}


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
    table, schema = made()
    generator = make("bayes-tan", {"max_cells": 17}).fit(table, schema, rng(0))  # 3 states a column, missing among them
    assert edges(generator, schema) == {("y", name) for name in "abc"}


def test_tan_needs_a_target():
    assert "there is none; declare one" in make("bayes-tan").supports(labels("ab"))


def test_an_expert_s_edges_are_kept_and_the_other_columns_stay_alone():
    table, schema = made()
    generator = make("bayes-expert", {"edges": [["a", "b"], ["y", "b"]]}).fit(table, schema, rng(0))
    assert edges(generator, schema) == {("a", "b"), ("y", "b")}
    drawn = generator.sample(20_000, rng(1))
    shares = [t.groupby(["a", "y"])["b"].apply(lambda b: (b == "True").mean()) for t in (table, drawn)]
    assert (abs(shares[0] - shares[1]) < 0.03).all()
    assert abs((drawn["b"] == drawn["c"]).mean() - 0.5) < 0.05 < abs((table["b"] == table["c"]).mean() - 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([["a", "b"], ["b", "c"], ["c", "a"]], "run in a circle: .* -> "),
        ([["a", "a"]], "run in a circle: a -> a"),
        ([["a", "bb"]], "no column 'bb'; did you mean"),
        ([["a", "b", "c"]], "is no pair"),
        (["ab"], "is no pair"),
        ([], "has no edges"),
        ([["a", "y"], ["b", "y"], ["c", "y"]], "column 'y' with its parents has 81 cells, more than max_cells"),
    ],
)
def test_an_expert_s_mistakes_are_named(given, message):
    table, schema = made(100)
    with pytest.raises(InputError, match=message):
        generate("bayes-expert", Dataset("made", table, table, schema), edges=given, max_cells=50)


@pytest.mark.parametrize("score", ["bic", "bdeu"])
def test_scores_agree_with_pgmpy(score):
    from pgmpy.structure_score import BIC, BDeu

    table, schema = made(500)
    generator = make("bayes-hillclimb", {"score": score, "equivalent_rows": 7}).fit(table, schema, rng(0))
    states = generator._codes.encode(table)
    ours, data = generator._score(states), pd.DataFrame(states)
    theirs = BIC(data) if score == "bic" else BDeu(data, equivalent_sample_size=7)
    for node, parents in [(0, ()), (1, (0,)), (1, (0, 3)), (2, (0, 1, 3))]:
        assert ours.local_score(node, parents) == pytest.approx(theirs.local_score(node, parents))


def test_both_scores_find_the_structure():
    table, schema = made()
    for score in ("bic", "bdeu"):
        found = edges(make("bayes-hillclimb", {"score": score}).fit(table, schema, rng(0)), schema)
        assert {frozenset("ay"), frozenset("bc")} <= {frozenset(edge) for edge in found}
    with pytest.raises(InputError, match="score is 'aic'; give bic or bdeu"):
        make("bayes-hillclimb", {"score": "aic"})
