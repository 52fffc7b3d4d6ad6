"""Adversarial random forest: what its leaves hold, when its rounds end, and that it finds what
marginals do not show.
"""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import make
from workbench.generators.statistical.arf import _Leaves, _prune
from workbench.tables.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("a", "numeric"),
        Column("b", "numeric"),
        Column("c", "categorical"),
        Column("y", "boolean"),
    )
)


def table(rows: int = 3000, tied: bool = True) -> pd.DataFrame:
    """y is the sign of a * b, c the quarter of a; without ties, four independent columns."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, rows))
    columns = {
        "a": a,
        "b": b,
        "c": np.array(list("pqrs"))[np.digitize(a, [-0.7, 0, 0.7])],
        "y": a * b > 0,
    }
    if not tied:
        columns = {name: rng.permutation(values) for name, values in columns.items()}
    return SCHEMA.cast(pd.DataFrame(columns))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_it_finds_an_interaction_of_three_columns_and_a_function():
    synthetic = make("arf").fit(table(), SCHEMA, rng(1)).sample(5000, rng(2))
    assert ((synthetic["a"] * synthetic["b"] > 0) == synthetic["y"]).mean() > 0.8
    quarter = np.array(list("pqrs"))[np.digitize(synthetic["a"], [-0.7, 0, 0.7])]
    assert (quarter == synthetic["c"]).mean() > 0.75
    for name in "ab":
        assert (
            np.abs(
                np.quantile(synthetic[name], [0.1, 0.5, 0.9])
                - np.quantile(table()[name], [0.1, 0.5, 0.9])
            ).max()
            < 0.15
        )
        assert synthetic[name].isin(table()[name]).mean() < 0.2, (
            "numbers are drawn between train values"
        )


def test_rounds_end_where_nothing_is_left_to_tell_apart():
    free = make("arf", {"delta": 0.02}).fit(table(tied=False), SCHEMA, rng(1))
    assert free.accuracy[0] < 0.54 and len(free.accuracy) <= 2
    tied = make("arf").fit(table(), SCHEMA, rng(1))
    assert tied.accuracy[0] > 0.7, "rows with independent columns are told apart"
    assert min(tied.accuracy[1:]) < tied.accuracy[0] - 0.1, (
        "rows from the leaves are harder to tell apart"
    )
    assert len(make("arf", {"max_rounds": 1}).fit(table(), SCHEMA, rng(1)).accuracy) == 2


@pytest.mark.parametrize("least", [1, 5, 40])
def test_no_leaf_holds_fewer_rows_than_asked_for(least):
    leaves = make("arf", {"min_node_size": least, "trees": 5}).fit(table(), SCHEMA, rng(1))._leaves
    assert leaves.counts.min() >= least and leaves.counts.sum() == 5 * 3000


def test_pruning_undoes_the_splits_that_leave_few_rows_and_keeps_those_that_leave_none():
    class Tree:  # 0 -> (1, 2), 1 -> (3, 4), 2 -> (5, 6), as scikit-learn numbers a tree
        node_count = 7
        children_left = np.array([1, 3, 5, -1, -1, -1, -1])
        children_right = np.array([2, 4, 6, -1, -1, -1, -1])

    leaves = np.repeat([3, 4, 6], [4, 6, 7])
    assert np.unique(_prune(Tree, leaves, 4)).tolist() == [3, 4, 6]
    assert _prune(Tree, leaves, 5).tolist() == [1] * 10 + [6] * 7
    assert _prune(Tree, leaves, 8).tolist() == [0] * 17


def test_leaves_are_drawn_by_their_share_and_neighbours_are_sorted_in_them():
    class Tree:
        node_count, children_left, children_right = 3, np.array([1, -1, -1]), np.array([2, -1, -1])

        @staticmethod
        def apply(rows):
            return np.where(rows[:, 0] < 2.5, 1, 2)

    real = np.array([[4.0], [2.0], [np.nan], [3.0], [1.0], [5.0]], dtype=np.float32)
    leaves = _Leaves([Tree], real, 1)
    leaves.sort([0])
    assert leaves.counts.tolist() == [2, 4]
    drawn = leaves.draw(30_000, rng(0))
    assert np.bincount(drawn) / 30_000 == pytest.approx([2 / 6, 4 / 6], abs=0.02)
    low, high, share = leaves.neighbours(drawn, 0, rng(1))
    pairs = {
        (float(one), float(other))
        for one, other in zip(real[low, 0], real[high, 0], strict=True)
        if other == other
    }
    assert pairs == {(1, 2), (2, 2), (3, 4), (4, 5)}
    nearer = np.where(share < 0.5, low, high)
    assert np.bincount(nearer) / 30_000 == pytest.approx([1 / 6] * 6, abs=0.02), (
        "every row comes up as often as any other"
    )


def test_smoothing_draws_labels_that_a_leaf_does_not_hold():
    plain, smooth = (
        make("arf", {"smoothing": value, "trees": 10})
        .fit(table(), SCHEMA, rng(1))
        .sample(4000, rng(2))
        for value in (0, 20)
    )
    agree = [
        (
            np.array(list("pqrs"))[np.digitize(synthetic["a"], [-0.7, 0, 0.7])] == synthetic["c"]
        ).mean()
        for synthetic in (plain, smooth)
    ]
    assert agree[1] < agree[0] - 0.1


def test_missing_values_keep_their_ties():
    rows = table()
    rows.loc[rows["a"] > 0, "b"] = np.nan
    synthetic = make("arf").fit(rows, SCHEMA, rng(1)).sample(3000, rng(2))
    assert (synthetic["b"].isna() == (synthetic["a"] > 0)).mean() > 0.9


@pytest.mark.parametrize("name", ["trees", "min_node_size", "max_rounds"])
def test_impossible_settings(name):
    with pytest.raises(InputError, match=f"{name} is 0"):
        make("arf", {name: 0})
