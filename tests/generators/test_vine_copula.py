"""Vine copula: the dependence of a known vine, tails that no Gaussian copula has, labels, gaps, and
bounds on its cost.
"""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import make
from workbench.tables.schema import Column, Schema


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def fitted(table: pd.DataFrame, params: dict | None = None, name: str = "vine-copula"):
    kinds = {"float64": "numeric", "int64": "integer", "bool": "boolean", "object": "categorical"}
    schema = Schema(tuple(Column(column, kinds[str(table[column].dtype)]) for column in table))
    return make(name, params).fit(schema.cast(table), schema, rng(1))


def clayton(rows: int) -> pd.DataFrame:
    """A pair with Clayton's copula, tau 0.5: tied in the lower tail (coefficient 2^(-1/2)), free in
    the upper one.
    """
    u, w = rng(0).random((2, rows))
    v = (u**-2 * (w ** (-2 / 3) - 1) + 1) ** -0.5
    return pd.DataFrame({"u": np.log(u), "v": np.log(v)})


def tail(table: pd.DataFrame, q: float) -> float:
    """How often both columns are below (q < 0.5) or above their q-quantile, as a share of one of
    them.
    """
    ranks = table.rank(pct=True)
    both = (ranks < q).all(axis=1) if q < 0.5 else (ranks > q).all(axis=1)
    return both.mean() / min(q, 1 - q)


def test_a_tail_is_kept_where_a_gaussian_copula_loses_it():
    table = clayton(5000)
    synthetic = {
        name: fitted(table, name=name).sample(20_000, rng(2))
        for name in ("vine-copula", "gaussian-copula")
    }
    synthetic["parametric"] = fitted(table, {"families": "parametric"}).sample(20_000, rng(2))
    real = tail(table, 0.02)
    assert real > 0.6 and tail(table, 0.98) < 0.15
    assert tail(synthetic["parametric"], 0.02) == pytest.approx(real, abs=0.08)
    assert tail(synthetic["vine-copula"], 0.02) == pytest.approx(real, abs=0.15)
    assert tail(synthetic["gaussian-copula"], 0.02) < real - 0.15
    assert tail(synthetic["parametric"], 0.98) < 0.15


def test_parametric_families_find_the_true_one():
    vine = fitted(clayton(5000), {"families": "parametric", "truncation": 1}).vine
    copula = vine.get_pair_copula(0, 0)
    assert "clayton" in str(copula.family).lower() and copula.tau == pytest.approx(0.5, abs=0.03)


def test_dependence_without_order_is_kept_by_nonparametric_pairs_only():
    x = rng(0).normal(size=5000)
    table = pd.DataFrame({"x": x, "y": x**2 + 0.1 * rng(1).normal(size=5000)})
    error = {}
    for families in ("gaussian", "nonparametric"):
        synthetic = fitted(table, {"families": families}).sample(5000, rng(2))
        error[families] = np.abs(synthetic["y"] - synthetic["x"] ** 2).mean()
    assert error["nonparametric"] < 0.4 < 0.8 < error["gaussian"]


def test_what_is_given_a_third_column_needs_a_second_tree():
    """a and b are independent given c in the first vine only; there they are as strongly tied as c
    lets them be.
    """
    c, a, b = rng(0).normal(size=(3, 6000))
    tied = pd.DataFrame({"a": c + a, "c": 2 * c + 0.01 * b, "b": c - a + 0.3 * b})
    synthetic = {
        trees: fitted(tied, {"families": "gaussian", "truncation": trees}).sample(6000, rng(2))
        for trees in (1, 2)
    }
    real = tied["a"].corr(tied["b"])
    assert (
        abs(synthetic[2]["a"].corr(synthetic[2]["b"]) - real)
        < 0.05
        < 0.3
        < abs(synthetic[1]["a"].corr(synthetic[1]["b"]) - real)
    )


@pytest.mark.parametrize("families", ["gaussian", "nonparametric"])
def test_labels_ties_and_gaps_keep_their_dependence(families):
    z = rng(0).multivariate_normal([0, 0, 0], [[1, 0.7, 0.6], [0.7, 1, 0.4], [0.6, 0.4, 1]], 4000)
    table = pd.DataFrame(
        {
            "n": z[:, 0],
            "k": np.maximum(np.floor(z[:, 1] * 2), 0).astype(int),
            "c": np.array(list("pqr"))[np.digitize(z[:, 2], [-0.5, 1])],
        }
    )
    gone = (table["n"] > 1) & (rng(1).random(4000) < 0.8)
    gap = table["n"].where(~gone)
    synthetic = fitted(table.assign(n=gap, gone=gone), {"families": families}).sample(6000, rng(2))
    assert synthetic["n"].isna().mean() == pytest.approx(gone.mean(), abs=0.02)
    assert (synthetic["n"].isna() == synthetic["gone"]).mean() > 0.97
    real, drawn = (
        t[["n", "k"]].astype(float).corr("spearman").iloc[0, 1]
        for t in (table.assign(n=gap), synthetic)
    )
    assert drawn == pytest.approx(real, abs=0.06)
    shares = [
        pd.crosstab(t["k"].clip(upper=2), t["c"], normalize=True).to_numpy(dtype=float)
        for t in (table, synthetic)
    ]
    assert np.abs(shares[0] - shares[1]).sum() / 2 < 0.05


def test_columns_that_are_never_present_together():
    half = np.arange(400) % 2 == 0
    x = rng(0).normal(size=400)
    synthetic = fitted(
        pd.DataFrame({"a": np.where(half, x, np.nan), "b": np.where(half, np.nan, x)})
    ).sample(400, rng(2))
    assert (synthetic["a"].isna() != synthetic["b"].isna()).mean() > 0.95


def test_a_wide_table_is_refused_before_it_starts():
    schema = Schema(tuple(Column(f"c{j}", "numeric") for j in range(250)))
    assert "250 columns" in make("vine-copula").supports(schema) and "max_columns" in make(
        "vine-copula"
    ).supports(schema)
    assert make("vine-copula", {"max_columns": 250}).supports(schema) is None


def test_unknown_families():
    with pytest.raises(InputError, match="did you mean parametric"):
        make("vine-copula", {"families": "parametrik"})
