"""`where` against the true conditional distribution, for every generator that meets it by itself.

The truth is known: x and y are normal with a correlation of 0.8, and the label is "high" where y
and some noise exceed 1. What a condition leaves of a million rows of it is the reference.
"""

import numpy as np
import pandas as pd
import pytest

from workbench.generators import make
from workbench.tables.conditions import matches
from workbench.tables.schema import Column, Schema

SCHEMA = Schema((Column("x", "numeric"), Column("y", "numeric"), Column("label", "categorical")))
SETTINGS = {
    "gaussian-copula": {},
    "autoregressive": {"epochs": 6, "width": 48, "layers": 2},
    "diffusion": {"epochs": 25, "width": 64, "blocks": 2, "steps": 15},
    # Small, and in larger steps than by default. After 20 epochs of these x and y may still be
    # independent (a correlation of -.01 to .51 over seeds; .16 to .62 after 35), so that every
    # condition would be met truly by ignoring it.
    "ctgan": {
        "epochs": 35,
        "batch_size": 200,
        "width": 64,
        "noise": 32,
        "learning_rate": 1e-3,
        "dropout": 0.2,
    },
}
CONDITIONS = {
    "a range": {"x": (0.5, 2)},
    "a label": {"label": "high"},
    "both": {"x": (0, 1), "label": "high"},
    "a rare range": {"y": (1.8, 4)},
}
# How far a share, or a mean in standard deviations of the whole table, may be from the truth, and
# from what the model itself draws without a condition. Networks trained for seconds know the joint
# distribution less well than they should; their conditions must not add to that. CTGAN after so few
# epochs knows too little of the truth to be held against it.
FROM_TRUTH = {"gaussian-copula": 0.1, "autoregressive": 0.25, "diffusion": 0.25}
FROM_ITSELF = {"gaussian-copula": 0.1, "autoregressive": 0.12, "diffusion": 0.12, "ctgan": 0.12}


def truth(n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=n)
    y = 0.8 * x + 0.6 * draw.normal(size=n)
    label = np.where(y + 0.5 * draw.normal(size=n) > 1, "high", "low")
    return SCHEMA.cast(pd.DataFrame({"x": x, "y": y, "label": label}))


@pytest.fixture(scope="module")
def reference():
    return truth(300_000, 7)


@pytest.fixture(scope="module")
def fitted():
    models = {}

    def get(name):
        if name not in models:
            table, rng = truth(3000, 1), np.random.default_rng(2)
            model = make(name, SETTINGS[name]).fit(table, SCHEMA, rng)
            models[name] = model, model.sample(10_000, np.random.default_rng(4))
        return models[name]

    return get


# Networks write slowly: what "both" asks for at once is asked for alone by `make test-long`.
QUICK = dict.fromkeys(SETTINGS, ("both", "a rare range"))
QUICK |= {"gaussian-copula": tuple(CONDITIONS), "diffusion": ("both",)}
CASES = [
    pytest.param(
        name,
        condition,
        marks=[] if condition in QUICK[name] else pytest.mark.long,
    )
    for name in SETTINGS
    for condition in CONDITIONS
]


@pytest.mark.parametrize(("name", "condition"), CASES)
def test_a_condition_gives_the_true_conditional(name, condition, fitted, reference):
    where = CONDITIONS[condition]
    real = reference[matches(reference, SCHEMA, where)]
    model, whole = fitted(name)
    drawn = model.sample(1500, np.random.default_rng(3), where=where)
    assert matches(drawn, SCHEMA, where).all()
    if name in FROM_TRUTH:
        assert gap(drawn, real) < FROM_TRUTH[name]
    own = whole[matches(whole, SCHEMA, where)]
    assert len(own) > 150
    assert gap(drawn, own) < FROM_ITSELF[name]


def test_a_rare_condition_is_met_by_rejection_while_that_finds_rows(fitted):
    """Of one row in a hundred, a network that is given the condition is half a deviation off."""
    model, whole = fitted("diffusion")
    where = {"y": (2.3, 9)}
    own = whole[matches(whole, SCHEMA, where)]
    assert 10 < len(own) < 700
    drawn = model.sample(100, np.random.default_rng(3), where=where)
    assert len(drawn) == 100 and matches(drawn, SCHEMA, where).all()
    noise = own["x"].std() * (1 / len(own) + 1 / len(drawn)) ** 0.5
    assert abs(drawn["x"].mean() - own["x"].mean()) < 4 * noise


def gap(drawn: pd.DataFrame, wanted: pd.DataFrame) -> float:
    """The largest difference of means, of y's deviation, and of the share of "high"."""
    gaps = {
        "x": drawn["x"].mean() - wanted["x"].mean(),
        "y": drawn["y"].mean() - wanted["y"].mean(),
        "high": (drawn["label"] == "high").mean() - (wanted["label"] == "high").mean(),
        "spread": drawn["y"].std() - wanted["y"].std(),
    }
    print({name: round(float(value), 3) for name, value in gaps.items()})
    return max(map(abs, gaps.values()))


def test_a_mixture_keeps_its_shares_under_a_range():
    """The label of which hardly any row lies in the range stays rare there."""
    draw = np.random.default_rng(0)
    schema = Schema((Column("x", "numeric"), Column("label", "categorical")))
    label = draw.choice(["a", "b", "c"], 4000, p=[0.5, 0.3, 0.2])
    centre = pd.Series(label).map({"a": 1.0, "b": 3.0, "c": 5.0})
    table = schema.cast(pd.DataFrame({"x": centre + draw.normal(size=4000), "label": label}))
    model = make("diffusion", SETTINGS["diffusion"]).fit(table, schema, np.random.default_rng(1))
    drawn = model.sample(800, np.random.default_rng(2), where={"x": (3, 5)})
    inside = table[matches(table, schema, {"x": (3, 5)})]
    assert abs((drawn["label"] == "a").mean() - (inside["label"] == "a").mean()) < 0.05
