"""Every generator on 500,000 rows, and on a label of 10,000 levels within 1 GB: WORKBENCH_LONG=1
pytest tests/test_scale.py -s

Each runs in a process of its own, so that its peak memory, imports included, is its own; seconds
are CPU seconds of fitting and of sampling as many rows. The neural ones train one epoch, and only
on the label of many levels.
"""

import json
import os
import subprocess
import sys

import pytest

from workbench.generators import GENERATORS

pytestmark = pytest.mark.skipif(
    os.environ.get("WORKBENCH_LONG") != "1", reason="takes an hour: set WORKBENCH_LONG=1"
)
NAMES = [
    name for name in GENERATORS if name != "llm"
]  # answers of a model server say nothing about this machine
TRAINED = [name for name in NAMES if "seconds" in GENERATORS[name].supports]

MEASURE = """
import json, resource, sys, time
import numpy as np, pandas as pd
from workbench.generators import make
from workbench.tables.schema import Column, Schema

name, rows, levels, params = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
rng = np.random.default_rng(0)
z = rng.normal(size=(rows, 3))
label = lambda values: pd.Series(values).astype(int).astype(str).astype(object)
columns = {
    "a": z[:, 0], "b": np.round(np.exp(z[:, 1] + z[:, 0]), 2), "c": np.floor(10 * np.abs(z[:, 2])),
    "d": np.where(rng.random(rows) < 0.1, np.nan, z.sum(axis=1)),
    "e": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, rows), "D"),
    "f": label(np.digitize(z[:, 0], [-1, 0, 1])), "g": label(np.abs(z[:, 1] * 15)), "h": z[:, 2] > 1,
    "i": label(levels * rng.random(rows) ** 2), "y": z.sum(axis=1) + rng.normal(size=rows) > 2,
}
kinds = dict.fromkeys("abd", "numeric") | {"c": "integer", "e": "datetime", "h": "boolean", "y": "boolean"}
kinds = {n: kinds.get(n, "categorical") for n in columns}
roles = {"f": "sensitive", "y": "target"}
schema = Schema(tuple(Column(n, kind, roles.get(n, "feature")) for n, kind in kinds.items()), positive="True")
table = schema.cast(pd.DataFrame(columns))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
generator = make(name, params)
start = time.process_time()
generator.fit(table, schema, np.random.default_rng(1))
fitted = time.process_time()
made = generator.sample(rows, np.random.default_rng(2))
seconds = [fitted - start, time.process_time() - fitted]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
assert len(made) == rows and schema.check(made) == [] and set(made["i"]) <= set(table["i"])
print(json.dumps({"fit": seconds[0], "sample": seconds[1], "mb": memory, "before": before, "levels": made["i"].nunique()}))
"""


def measured(name: str, rows: int, levels: int) -> dict:
    params = json.dumps({"epochs": 1} if name in TRAINED else {})
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, name, str(rows), str(levels), params]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\n{name}, {rows:,} rows x 10, {levels:,} levels: fit {facts['fit']:.1f} s, sample"
        f" {facts['sample']:.1f} s, peak {facts['mb']:.0f} MB ({facts['before']:.0f} before)"
    )
    return facts


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRAINED])
def test_half_a_million_rows(name):
    facts = measured(name, 500_000, 20)
    assert facts["mb"] < 4000 and facts["fit"] + facts["sample"] < 900


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_levels_within_one_gigabyte(name):
    facts = measured(name, 50_000, 10_000)
    assert facts["mb"] < 1000 and facts["levels"] > 2000
