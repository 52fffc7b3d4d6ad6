"""Synthesis by linear and logistic models, and by a kernel: what each keeps, and what each loses."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.generators import make
from workbench.tables.schema import Column, Schema

WORLD = Schema(
    (
        Column("x", "numeric"),
        Column("group", "categorical"),
        Column("spend", "numeric"),
        Column("y", "categorical"),
    )
)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw_world(rows: int, seed: int) -> pd.DataFrame:
    """Main effects alone; seven of ten spend nothing, the others a long-tailed amount."""
    draw = rng(seed)
    x = draw.normal(size=rows)
    group = draw.choice(["a", "b", "c"], size=rows, p=[0.5, 0.3, 0.2])
    spends = draw.random(rows) < 0.3
    spend = np.where(spends, np.round(np.exp(1 + 0.8 * x + draw.normal(size=rows)), 2), 0.0)
    odds = 0.9 * x + np.where(group == "c", 1.2, -0.4)
    y = np.where(draw.random(rows) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return WORLD.cast(pd.DataFrame({"x": x, "group": group, "spend": spend, "y": y}))


TRAIN = draw_world(4000, 0)


def synthetic(name: str, train: pd.DataFrame = TRAIN, schema: Schema = WORLD, **params):
    return make(name, params).fit(train, schema, rng(1)).sample(4000, rng(2))


def effects(table: pd.DataFrame) -> dict[str, float]:
    is_yes = (table["y"] == "yes").to_numpy(dtype=float)
    return {
        "x": np.corrcoef(table["x"], is_yes)[0, 1],
        "group": is_yes[table["group"] == "c"].mean() - is_yes[table["group"] != "c"].mean(),
        "spend": table["spend"].corr(table["x"], method="spearman"),
    }


@pytest.mark.parametrize("name", ["parametric", "kernel-density"])
def test_main_effects_and_a_spike_of_zeros_are_kept(name):
    # Three standard errors of a difference of two tables of 4,000 rows, and what the kernel's width
    # of .24 takes from a correlation.
    bound = 0.08
    table = synthetic(name)
    real, drawn = effects(TRAIN), effects(table)
    for effect in real:
        assert drawn[effect] == pytest.approx(real[effect], abs=bound), effect
    assert (table["spend"] == 0).mean() == pytest.approx((TRAIN["spend"] == 0).mean(), abs=0.035)
    assert table["x"].std() == pytest.approx(TRAIN["x"].std(), rel=0.05)
    assert effects(synthetic("independent"))["x"] < real["x"] - bound


def test_parametric_misses_an_interaction_that_cart_finds():
    draw = rng(3)
    table = pd.DataFrame({"a": draw.normal(size=3000), "b": draw.normal(size=3000)})
    table["y"] = np.where(table["a"] * table["b"] > 0, "yes", "no")
    schema = Schema((Column("a", "numeric"), Column("b", "numeric"), Column("y", "categorical")))

    def agreement(name: str) -> float:
        drawn = synthetic(name, schema.cast(table), schema)
        return ((drawn["y"] == "yes") == (drawn["a"] * drawn["b"] > 0)).mean()

    assert agreement("cart") > 0.8
    assert agreement("parametric") < 0.6


def test_parametric_writes_no_train_row_and_the_kernel_stays_close_to_one():
    def repeated(table: pd.DataFrame) -> float:
        return table.merge(TRAIN.drop_duplicates(), how="inner").shape[0] / len(table)

    def gap(table: pd.DataFrame) -> float:
        """The median distance from a row to the nearest train row with the same labels."""
        distances = []
        for labels, rows in table.groupby(["group", "y"]):
            of_train = TRAIN.set_index(["group", "y"]).loc[[labels]]
            away = np.abs(rows["x"].to_numpy()[:, None] - of_train["x"].to_numpy())
            away = away + np.abs(rows["spend"].to_numpy()[:, None] - of_train["spend"].to_numpy())
            distances.append(away.min(axis=1))
        return float(np.median(np.concatenate(distances)))

    assert repeated(synthetic("parametric")) == 0
    assert repeated(synthetic("kernel-density", bandwidth=0)) == 1
    narrow, wide = (synthetic("kernel-density", bandwidth=width) for width in (0.001, 1.0))
    assert gap(narrow) < gap(wide) / 5


def test_parametric_looks_at_the_strongest_columns_of_many():
    draw = rng(4)
    table = pd.DataFrame({f"noise_{j}": draw.normal(size=800) for j in range(6)})
    table["signal"] = draw.normal(size=800)
    table["y"] = np.where(table["signal"] > 0, "yes", "no")
    columns = [Column(name, "numeric") for name in table.columns[:-1]]
    schema = Schema((*columns, Column("y", "categorical")))
    drawn = synthetic("parametric", schema.cast(table), schema, max_predictors=1)
    assert ((drawn["y"] == "yes") == (drawn["signal"] > 0)).mean() > 0.9


def test_parametric_fits_its_models_on_a_part_of_many_rows():
    whole = synthetic("parametric")
    part = synthetic("parametric", most_rows=1000)
    assert not whole.equals(part)
    # Marginals are of all rows: the largest value can be reached.
    assert effects(part)["x"] == pytest.approx(effects(TRAIN)["x"], abs=0.12)


@pytest.mark.parametrize(
    ("name", "params", "field"),
    [
        ("parametric", {"max_levels": 1}, "max_levels"),
        ("parametric", {"max_predictors": 0}, "max_predictors"),
        ("kernel-density", {"bandwidth": -0.1}, "bandwidth"),
    ],
)
def test_a_setting_out_of_range_is_a_sentence(name, params, field):
    with pytest.raises(InputError, match=field):
        make(name, params)
