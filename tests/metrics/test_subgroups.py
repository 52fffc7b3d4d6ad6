"""TSTR of each group against scikit-learn's areas, and a group whose labels are spoilt."""

import numpy as np
import pandas as pd
import pytest

from workbench.metrics import Trial
from workbench.metrics.models import LEARNERS, predictions
from workbench.metrics.subgroups import subgroup_tstr
from workbench.tables.schema import Schema


def people(seed: int, n: int, spoilt: str = "") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], n, p=[0.6, 0.37, 0.03])
    x = rng.normal(size=n)
    score = 1.5 * np.where(group == spoilt, -x, x)
    hired = np.where(rng.random(n) < 1 / (1 + np.exp(-score)), "yes", "no")
    return pd.DataFrame({"group": group, "x": x, "pay": score, "hired": hired})


def trial(spoilt: str = "", target: str = "hired") -> Trial:
    tables = [people(1, 900), people(2, 900), people(3, 900, spoilt)]
    gone = "pay" if target == "hired" else "hired"
    tables = [table.drop(columns=gone) for table in tables]
    schema = Schema.infer(tables[0], target=target, sensitive=["group"])
    if target == "hired":
        schema = schema.with_positive(tables[0])
    return Trial(*map(schema.cast, tables), schema)


def test_each_group_has_the_area_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    of = trial()
    rows = {row.group: row for row in subgroup_tstr(of)}
    for name in "ab":
        inside = (of.test["group"] == name).to_numpy()
        truth = of.test["hired"][inside] == of.schema.positive
        areas = [
            roc_auc_score(
                truth,
                predictions(of.synthetic, of.test, of.schema, learner)[of.schema.positive][inside],
            )
            for learner in LEARNERS
        ]
        assert rows[f"group={name}"].value == pytest.approx(np.mean(areas))
    assert rows["group=c"].state == "insufficient"
    assert "too small: group=c" in rows[""].note and "smallest group: group=b" in rows[""].note


def test_the_group_whose_labels_are_spoilt_is_the_headline():
    rows = {row.group: row for row in subgroup_tstr(trial(spoilt="b"))}
    # A sum of effects cannot turn the one group round and keep the other; boosting does.
    assert rows[""].note.startswith("group=b") and rows[""].high < 0.6
    assert rows["group=a"].low > 0.7


def test_a_target_of_numbers_reads_r2_within_the_group():
    rows = {row.group: row for row in subgroup_tstr(trial(target="pay"))}
    assert rows[""].value > 0.9
    spoilt = {row.group: row for row in subgroup_tstr(trial(spoilt="b", target="pay"))}
    assert spoilt["group=b"].value < 0 < spoilt["group=a"].value
