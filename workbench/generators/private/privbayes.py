"""PrivBayes: a Bayesian network whose graph is chosen, and whose tables are counted, under
differential privacy.

Zhang, Cormode, Procopiuc, Srivastava and Xiao 2014 (SIGMOD) and 2017 (ACM TODS 42:25). The
exponential mechanism adds one column after the other, with the parents that it depends on most
(score R of 2017, for columns with any number of states); Laplace noise goes on every joint table;
all costs add up to epsilon (basic composition). Bins are equally wide over the declared domain
(mst joins them by noisy counts). What is not declared is read off train, outside the guarantee,
which says so.

Where this differs from the paper: parents are whole columns (no generalised values), all tables are
counted anew, and noisy tables are projected on those that sum to the rows instead of cut at zero.
The number of rows is public, as there. Coarse: what happens inside a bin is lost, and with many
columns or few rows the noise leaves little but marginals. Noise on counts, and the choices, are
exact (see workbench.generators.private.noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.generators import check_least
from workbench.generators.bayes.networks import Network, family_counts
from workbench.generators.private.accounting import Private, check_budget, choose_levels
from workbench.generators.private.domain import Cells, Domain
from workbench.generators.private.marginals import conditional, project
from workbench.generators.private.noise import Noise
from workbench.tables.schema import Schema


@dataclass
class PrivBayes(Private, Network):
    """A differentially private Bayesian network (Zhang et al. 2014)."""

    epsilon: float = 1.0
    """Privacy budget, for the exchange of one row; what was spent is in `epsilon_spent` after the
    fit.
    """
    graph_share: float = 0.3
    """Share of epsilon for choosing the graph (beta in the paper); the rest is for the tables."""
    degree: int = 3
    """Most parents of a column."""
    usefulness: float = 4.0
    """A table may have so many cells that its counts are this many times their noise on average
    (theta in the paper).
    """
    bins: int = 16
    """Equally wide bins of a column of numbers or dates."""
    max_levels: int = 50
    """Levels of a label that are states of their own, the most frequent by noisy counts that cost a
    tenth of epsilon where there are more; the others share one, and are drawn from it alike.
    """
    max_candidates: int = 1000
    """Most pairs of a column and its parents to choose from in a round, drawn at random."""

    def __post_init__(self):
        check_least(self, degree=0, usefulness=0, bins=1, max_levels=1, max_candidates=1)
        check_budget("privbayes", self.epsilon, 0.5)  # pure: there is no delta to check
        if not 0 < self.graph_share < 1:
            raise InputError(
                f"privbayes: graph_share is {self.graph_share}; give a number between 0 and 1."
            )

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> PrivBayes:
        """Choose a network, and count its tables. Raises InputError where `supports` says why not."""
        # What is not declared is read off the rows here, and the promise below says so.
        domain, noise = self._domain(table, schema), self._noise()
        table = domain.restrict(table)
        self._schema, self.charges = schema, []
        budget = self.epsilon - self._choose_levels(domain, table, noise)
        self._codes = Cells(domain, self.bins)
        states = self._codes.encode(table)
        columns = states.shape[1]
        # A single column has no graph to choose.
        choice = self.graph_share * budget if columns > 1 else 0.0
        self.parents = self._choose_parents(states, choice, budget, rng, noise)

        each, self._tables = (budget - choice) / columns, {}
        for node, parents in self.parents.items():
            self.charges.append((f"table of {schema.names[node]}", each))
            allowed = self._codes.allowed[node]
            counts = family_counts(states, self._codes.sizes, node, parents)
            # Exchanging a row moves two counts by one.
            noisy = counts + noise.discrete_laplace(2 / each, counts.shape)
            # States that cannot be would only take noise.
            possible = noisy[:, allowed]
            counts = np.zeros(counts.shape)
            counts[:, allowed] = project(possible.ravel(), len(table)).reshape(possible.shape)
            self._tables[node] = conditional(counts, allowed)

        epsilon = math.fsum(epsilon for _, epsilon in self.charges)
        claim = (
            f"{epsilon:.4g}-differential privacy for the exchange of one row (delta 0), by exact "
            "integer noise"
        )
        self._promise(epsilon, 0.0, claim, domain)
        return self

    def _choose_levels(self, domain: Domain, table: pd.DataFrame, noise: Noise) -> float:
        """Pay a tenth of epsilon for which labels to tell apart, where a column has too many."""
        # Numbers have bins of equal width, which nobody needs to count.
        labels = [column.name for column in domain.schema.columns if column.is_discrete]
        most = dict.fromkeys(labels, self.max_levels)
        if not choose_levels(domain, table, most, self.epsilon / 10, noise):
            return 0.0
        self.charges.append(("levels", self.epsilon / 10))
        return self.epsilon / 10

    def _choose_parents(
        self,
        states: np.ndarray,
        epsilon: float,
        budget: float,
        rng: np.random.Generator,
        noise: Noise,
    ) -> dict[int, tuple[int, ...]]:
        """Algorithms 2 and 4 of the paper, in the order the columns are chosen: parents come before
        their children. What `rng` draws does not depend on the rows.
        """
        rows, columns = states.shape
        sizes, each = self._codes.sizes, epsilon / max(columns - 1, 1)
        # The paper's theta-usefulness: a table whose cells drown in its noise is not considered.
        most_cells = rows * (1 - self.graph_share) * budget / (2 * columns * self.usefulness)
        chosen: dict[int, tuple[int, ...]] = {int(rng.integers(columns)): ()}
        while len(chosen) < columns:
            left = [node for node in range(columns) if node not in chosen]
            candidates = [(node, ()) for node in left]
            for degree in range(1, self.degree + 1):
                for parents in combinations(chosen, degree):
                    room = most_cells / math.prod(sizes[parent] for parent in parents)
                    candidates += [(node, parents) for node in left if sizes[node] <= room]
            # Drawn without looking at the rows, so it costs nothing.
            if len(candidates) > self.max_candidates:
                drawn = np.sort(rng.permutation(len(candidates))[: self.max_candidates])
                candidates = [candidates[i] for i in drawn]
            scores = np.array(
                [dependence(family_counts(states, sizes, *candidate)) for candidate in candidates]
            )
            self.charges.append((f"choice {len(chosen)}", each))
            node, parents = candidates[noise.choice(scores, 3 / rows, each)]
            chosen[node] = tuple(sorted(parents))
        return chosen


def dependence(counts: np.ndarray) -> float:
    """R of Zhang et al. 2017: half the sum of |P(x, y) - P(x) P(y)|, from 0 for independence to
    less than 1.

    The exchange of one of n rows moves the joint shares by 2/n in all, and the product by 2/n for
    each of its two factors: R by at most 3/n (3/n + 2/n^2 in the paper). Mutual information moves
    by more than log(n)/n, for smaller differences.
    """
    shares = counts / counts.sum()
    return float(np.abs(shares - shares.sum(axis=1, keepdims=True) * shares.sum(axis=0)).sum() / 2)
