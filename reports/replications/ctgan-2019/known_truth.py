"""A plug-in: any generator, whose rows are also held against the truth that train was drawn from.

The likelihood fitness of Xu et al. 2019 (CTGAN, section 5.1), in nats a row, larger is better:

l_syn    mean log-likelihood of the synthetic rows under the truth. Low for rows that cannot be; a
         method that repeats the commonest row reads above real rows, so it is no score by itself.
l_test   mean log-likelihood of fresh real rows under the same kind of model, fitted on the
         synthetic rows. Low where something real is missing.

As in the authors' code (SDGym), a row's probability under a network is raised by 1e-8, so that a
row that cannot be costs 18.4 nats and no more.

Run as a script it writes the three tables of Gaussian mixtures beside this file: 20,000 rows each,
as many as SDGym drew for train and test together.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.generators import make
from workbench.tables.packaged import NETWORKS, sample_network, true_network
from workbench.tables.schema import Schema

RAISED = 1e-8  # added to every probability of a row
DRAWN_ROWS = 10_000  # synthetic rows whose likelihood is taken
FRESH_ROWS = 10_000  # of the truth, for l_test: as many as the paper's test rows
VARIANCE = 0.05  # of each Gaussian, in both directions
MIXTURES = ("grid", "gridr", "ring")


@dataclass
class KnownTruth:
    """The inner generator's rows, unchanged; their mean likelihoods are told as the fact `measured`."""

    world: str = "asia"
    """What train was drawn from: a network that the workbench knows, or grid, gridr or ring."""
    inner: str = "copy"
    """The generator, by its name."""
    params: Mapping = field(default_factory=dict)
    """Its hyper-parameters."""

    def supports(self, schema: Schema) -> str | None:
        if self.world not in (*NETWORKS, *MIXTURES):
            raise InputError(f"world {self.world!r} is none of {', '.join(NETWORKS + MIXTURES)}.")
        return make(self.inner, self.params).supports(schema)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> KnownTruth:
        self._fitted = make(self.inner, self.params).fit(table, schema, rng)
        # What a private generator promises is the inner one's to say.
        for name in ("epsilon_spent", "delta_spent", "guarantee"):
            if hasattr(self._fitted, name):
                setattr(self, name, getattr(self._fitted, name))
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        # Likelihoods are of as many rows as the paper drew, however few the batch wants.
        rows = self._fitted.sample(max(n, DRAWN_ROWS), rng, where=where)
        likelihoods = of_network if self.world in NETWORKS else of_mixture
        measured = [reading(name, values) for name, values in likelihoods(self.world, rows).items()]
        self.facts = {**getattr(self._fitted, "facts", {}), "measured": measured}
        return rows.head(n)


def reading(name: str, values: np.ndarray) -> dict[str, float | str]:
    """The mean of one number a row, with its 95% interval."""
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return {"metric": name, "value": mean, "low": mean - half, "high": mean + half}


# Bayesian networks -------------------------------------------------------------------------------


def of_network(world: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """l_syn and l_test of each row, where the truth is a Bayesian network."""
    model = true_network(world)
    truth = {node: model.get_cpds(node).get_values().T for node in model.nodes()}
    fresh = sample_network(model, FRESH_ROWS, np.random.default_rng(2019))
    return {
        "l_syn": np.log(probability(rows, model, truth) + RAISED),
        "l_test": np.log(probability(fresh, model, counted(rows, model)) + RAISED),
    }


def probability(table: pd.DataFrame, model, tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Each row's probability, shape (rows,).

    tables: P(node | parents), shape (cases of the parents, states), in the order of the model's own
    tables. A label that the network does not know makes a row impossible.
    """
    total = np.ones(len(table))
    for node in model.nodes():
        case, state = cells(table, model.get_cpds(node))
        known = (case >= 0) & (state >= 0)
        found = tables[node][np.maximum(case, 0), np.maximum(state, 0)]
        total *= np.where(known, found, 0.0)
    return total


def counted(table: pd.DataFrame, model) -> dict[str, np.ndarray]:
    """P(node | parents) as counted on the table along the model's graph; 0 where nothing was seen."""
    tables = {}
    for node in model.nodes():
        cpd = model.get_cpds(node)
        shape = cpd.get_values().T.shape
        case, state = cells(table, cpd)
        known = (case >= 0) & (state >= 0)
        flat = case[known] * shape[1] + state[known]
        counts = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        seen = counts.sum(axis=1, keepdims=True)
        tables[node] = counts / np.maximum(seen, 1)
    return tables


def cells(table: pd.DataFrame, cpd) -> tuple[np.ndarray, np.ndarray]:
    """For each row the number of its parents' case and of the node's state; -1 for unknown labels."""
    node, *parents = cpd.variables
    codes = {}
    for name in cpd.variables:
        states = pd.Index(cpd.state_names[name])
        codes[name] = states.get_indexer(table[name].astype(object))
    case = np.zeros(len(table), dtype=int)
    known = np.ones(len(table), dtype=bool)
    for parent in parents:
        case = case * len(cpd.state_names[parent]) + codes[parent]
        known &= codes[parent] >= 0
    return np.where(known, case, -1), codes[node]


# Gaussian mixtures -------------------------------------------------------------------------------


def centres(world: str) -> np.ndarray:
    """The means of a mixture's equal Gaussians, shape (Gaussians, 2), as SDGym placed them."""
    if world == "ring":
        angles = np.arange(8) * math.pi / 4
        return np.column_stack([np.cos(angles), np.sin(angles)])
    grid = np.array(list(product(range(-4, 5, 2), repeat=2)), dtype=float)
    if world == "gridr":
        # The authors' seed and their order of draws, so that the offsets are theirs.
        grid += np.random.RandomState(0).rand(25, 2) - 0.5
    return grid


def draw(world: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """n points of a mixture, shape (n, 2)."""
    means = centres(world)
    chosen = rng.integers(len(means), size=n)
    return means[chosen] + rng.normal(scale=math.sqrt(VARIANCE), size=(n, 2))


def density(world: str, points: np.ndarray) -> np.ndarray:
    """The log-density of each point under a mixture, shape (points,)."""
    from scipy.special import logsumexp

    means = centres(world)
    squares = ((points[:, None, :] - means[None, :, :]) ** 2).sum(axis=2)
    densities = -squares / (2 * VARIANCE) - math.log(2 * math.pi * VARIANCE)
    return logsumexp(densities, axis=1) - math.log(len(means))


def of_mixture(world: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """l_syn and l_test of each row, where the truth is a mixture of Gaussians."""
    from sklearn.mixture import GaussianMixture

    points = rows[["x", "y"]].to_numpy(dtype=float)
    # As many Gaussians as the truth has, fitted on the synthetic rows.
    count = len(centres(world))
    model = GaussianMixture(count, covariance_type="full", n_init=3, random_state=0).fit(points)
    fresh = draw(world, FRESH_ROWS, np.random.default_rng(2019))
    return {"l_syn": density(world, points), "l_test": model.score_samples(fresh)}


def main() -> None:
    for number, world in enumerate(MIXTURES):
        points = draw(world, 20_000, np.random.default_rng([2019, number]))
        with open(Path(__file__).with_name(f"{world}.csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["x", "y"])
            writer.writerows((f"{x:.6f}", f"{y:.6f}") for x, y in points)


if __name__ == "__main__":
    main()
