"""AIM: noisy tables of the subsets of columns that the model so far gets most wrong, chosen
privately one after the other, and a graphical model that fits them all.

McKenna, Mullins, Sheldon and Miklau 2022, "AIM: An adaptive and iterative mechanism for
differentially private synthetic data" (VLDB 15:11, arXiv:2201.12677), algorithm 4. Gaussian noise
on counts and the exponential mechanism, composed as zero-concentrated privacy; a round's share of
the budget is quadrupled when the last table changed the model by no more than its noise would. It
keeps what the chosen tables say, and the least that follows from them otherwise.

Where this differs from the paper: the workload is every pair of columns, and every pair beside the
target; all count alike. Columns are counted in many narrow cells first, for a fixed share of the
budget, and adaptive bins follow from these counts at no further cost. The model is ours, see
workbench.generators.private.graphical; tables are shrunk towards what the model expected, as far as
they drown in their noise. The paper's bounds on a query's error are not computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.generators.bayes.networks import family_counts
from workbench.generators.private.graphical import (
    GraphicalModel,
    JunctionTree,
    Measurement,
    Subset,
    tree_cells,
)
from workbench.generators.private.marginals import Columns, shrink
from workbench.generators.private.noise import Noise
from workbench.generators.private.tables import NoisyTables
from workbench.generators.rejection import SampledByRejection
from workbench.tables.schema import Schema

HISTOGRAMS = 0.15  # share of the budget for the columns on their own
MEASURED = 0.9  # share of a round for its table; the rest is for choosing it


@dataclass
class AIM(NoisyTables, SampledByRejection):
    """Adaptively chosen noisy tables and a graphical model of them (McKenna et al. 2022)."""

    max_cells: int = 100_000
    """Cells of the model's cliques together, at most, once all is spent: time and memory."""
    steps: int = 50
    """Steps of mirror descent after each table; ten times as many after the last one."""
    rounds: int = 16
    """Tables, at most, for each column; annealing makes them fewer and less noisy."""

    def __post_init__(self):
        self._check("aim", max_cells=1, steps=1, rounds=1)

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> AIM:
        """Measure the columns; then select, measure, estimate and anneal until all is spent. Raises
        InputError where `supports` says why not.
        """
        domain, cells, states = self._encoded(table, schema)
        noise = self._noise()
        self._schema, count = schema, len(schema.columns)
        self._budget = self._start(self.epsilon, self.delta)

        # A single column has no pairs to spend the rest on.
        share = HISTOGRAMS if count > 1 else 1.0
        columns = self._measure_columns(cells, states, share * self._budget, noise)
        workload = self._workload(columns, columns.bin(states))
        # The columns' own histograms are the first measurements, already paid for.
        measured = [
            Measurement((j,), single, columns.deviation) for j, single in enumerate(columns.singles)
        ]
        model = self._estimate(None, columns, measured, self.steps)
        # Many small rounds; annealing makes them larger where the noise says all.
        rho = (self._budget - self._spent()) / (self.rounds * count)
        while workload and self._left() > 0:
            if self._left() < 2 * rho:
                rho = self._left()  # the last round
            deviation = (2 * MEASURED * rho) ** -0.5
            chosen = self._select(model, columns, workload, measured, rho, noise)
            before = model.marginal(chosen) * columns.rows
            measured.append(self._measure(workload[chosen], chosen, before, rho, noise))
            model = self._estimate(model, columns, measured, self.steps)
            # Anneal: a table that said no more than noise would have is a sign to spend more.
            changed = np.abs(model.marginal(chosen) * columns.rows - before).sum()
            if changed <= (2 / np.pi) ** 0.5 * deviation * before.size:
                rho *= 4
        # Only now to the end: in between, the model only has to say what to ask next.
        model.fit(measured, columns.rows, 10 * self.steps)
        self._model, self._codes = model, columns
        self._promise_concentrated(self.delta, domain)
        return self

    def _draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        return self._codes.decode(self._model.draw(n, rng), rng)

    def _left(self) -> float:
        # Rounding leaves crumbs that would buy a table of pure noise.
        left = self._budget - self._spent()
        return left if left > 1e-9 * self._budget else 0.0

    def _workload(self, columns: Columns, states: np.ndarray) -> dict[Subset, np.ndarray]:
        """The true counts of all subsets that may be chosen: pairs, and pairs with the target."""
        sizes, names = columns.sizes, self._schema.names
        # All of these are the algorithm's workload: what is read is chosen privately among them.
        subsets: list[Subset] = list(combinations(range(len(sizes)), 2))
        if self._schema.target is not None:
            target = names.index(self._schema.target.name)
            with_target = [tuple(sorted((target, *pair))) for pair in subsets if target not in pair]
            subsets += with_target
        counted = {}
        for subset in subsets:
            if math.prod(sizes[column] for column in subset) <= self.max_cells:
                counts = family_counts(states, sizes, subset[-1], subset[:-1])
                counted[subset] = counts.reshape([sizes[column] for column in subset])
        return counted

    def _select(
        self,
        model: GraphicalModel,
        columns: Columns,
        workload: dict[Subset, np.ndarray],
        measured: list[Measurement],
        rho: float,
        noise: Noise,
    ) -> Subset:
        """The exponential mechanism prefers subsets that the model gets wrong by more than the
        noise on their table would be, among those that leave the model small enough.
        """
        deviation = (2 * MEASURED * rho) ** -0.5
        # The model may grow as the budget is spent, so that early rounds do not fill it up.
        room = max(self._spent() + rho, 1e-12) / self._budget * self.max_cells
        # A subset inside a clique that is there costs no cell, however large it is.
        known = [one.columns for one in measured]
        candidates = []
        for subset in workload:
            fits = model.tree.home(subset) is not None
            if fits or tree_cells(columns.sizes, [*known, subset]) <= room:
                candidates.append(subset)
        # Something has to be measured; the smallest table harms least.
        if not candidates:
            candidates = [min(workload, key=lambda subset: workload[subset].size)]
        # What the model misses, less what the noise on the table would look like (its mean absolute
        # value).
        scores = []
        for subset in candidates:
            missed = np.abs(workload[subset] - columns.rows * model.marginal(subset)).sum()
            scores.append(missed - (2 / np.pi) ** 0.5 * deviation * workload[subset].size)
        return candidates[self._choose("subset", np.array(scores), (1 - MEASURED) * rho, noise)]

    def _measure(
        self, counts: np.ndarray, subset: Subset, expected: np.ndarray, rho: float, noise: Noise
    ) -> Measurement:
        """The subset's noisy counts, shrunk towards what the model expected."""
        deviation = self._charge("table", MEASURED * rho)
        noisy = counts + noise.discrete_gaussian(deviation, counts.shape)
        return Measurement(subset, shrink(noisy, expected, deviation), deviation)

    def _estimate(
        self,
        before: GraphicalModel | None,
        columns: Columns,
        measured: list[Measurement],
        steps: int,
    ) -> GraphicalModel:
        """A model of all that was measured, from where the last one stood."""
        # Built anew: another subset may need other cliques. Potentials stay, so the fit goes on.
        tree = JunctionTree(columns.sizes, [one.columns for one in measured])
        potentials = {} if before is None else before.potentials
        model = GraphicalModel(tree, dict(potentials))
        model.fit(measured, columns.rows, steps)
        return model
