"""The graphical model against its closed form: the joint table of all columns, written out."""

import numpy as np
import pytest

from workbench.generators.private.graphical import (
    GraphicalModel,
    JunctionTree,
    Measurement,
    tree_cells,
)

SIZES = [2, 3, 2, 4, 2]
SUBSETS = [(0, 1), (1, 2), (2, 3), (0, 3), (4,), (1, 2, 3)]


def random_model(seed: int = 0) -> GraphicalModel:
    rng = np.random.default_rng(seed)
    shapes = {subset: [SIZES[column] for column in subset] for subset in SUBSETS}
    potentials = {subset: rng.normal(0, 1.5, shape) for subset, shape in shapes.items()}
    return GraphicalModel(JunctionTree(SIZES, SUBSETS), potentials)


def joint(model: GraphicalModel) -> np.ndarray:
    log = np.zeros(SIZES)
    for subset, potential in model.potentials.items():
        missing = [axis for axis in range(len(SIZES)) if axis not in subset]
        log = log + np.expand_dims(potential, missing)
    weight = np.exp(log)
    return weight / weight.sum()


@pytest.mark.parametrize("subset", [(0,), (4,), (0, 2), (1, 3), (0, 4), (0, 2, 4), (1, 2, 3)])
def test_marginals_are_those_of_the_joint_table_inside_and_across_cliques(subset):
    model = random_model()
    missing = tuple(axis for axis in range(len(SIZES)) if axis not in subset)
    assert model.marginal(subset) == pytest.approx(joint(model).sum(axis=missing))


def test_a_junction_tree_holds_every_subset_and_its_separators_run_through():
    tree = JunctionTree(SIZES, SUBSETS)
    assert all(tree.home(subset) is not None for subset in SUBSETS)
    assert tree.cells == tree_cells(SIZES, SUBSETS)
    assert tree.home((0, 4)) is None
    for child, parent in enumerate(tree.parents):
        if parent is not None:
            assert set(tree.separators[child]) <= set(tree.cliques[parent])
            earlier = {column for clique in tree.cliques[:child] for column in clique}
            assert earlier & set(tree.cliques[child]) == set(tree.separators[child])


def test_rows_are_drawn_from_the_joint_table():
    model = random_model()
    drawn = model.draw(40_000, np.random.default_rng(1))
    seen = np.bincount(np.ravel_multi_index(drawn.T, SIZES), minlength=np.prod(SIZES)) / 40_000
    assert np.abs(seen - joint(model).ravel()).sum() / 2 < 0.03


def test_mirror_descent_finds_the_tables_that_were_measured_and_nothing_beyond_them():
    truth = random_model(3)
    measured = [
        Measurement(subset, 1000 * truth.marginal(subset), 5.0) for subset in [(0, 1), (1, 2)]
    ]
    tree = JunctionTree(SIZES, [(0, 1), (1, 2)])
    model = GraphicalModel(tree, {})
    model.fit(measured, 1000, 300)
    for one in measured:
        assert 1000 * model.marginal(one.columns) == pytest.approx(one.counts, abs=1.0)
    # The largest entropy: columns 0 and 2 are independent given column 1, and 3 is uniform.
    shares = model.marginal((0, 1, 2))
    pairs = np.einsum("ab,bc->abc", shares.sum(axis=2), shares.sum(axis=0))
    assert shares * shares.sum(axis=(0, 2))[None, :, None] == pytest.approx(pairs, abs=1e-9)
    assert model.marginal((3,)) == pytest.approx(np.full(4, 0.25))
