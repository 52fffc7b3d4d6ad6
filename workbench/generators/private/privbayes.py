"""PrivBayes: a Bayesian network whose graph is chosen, and whose tables are counted, under
differential privacy.

Zhang, Cormode, Procopiuc, Srivastava and Xiao 2014 (SIGMOD) and 2017 (ACM TODS 42:25). The
exponential mechanism adds one column after the other, with the parents that it depends on most
(score R of 2017, for columns with any number of states); Laplace noise goes on every joint table;
all costs add up to epsilon (basic composition). Bins are equally wide over the declared domain,
since quantiles would leak. What is not declared is read off train, outside the guarantee, which
says so.

Where this differs from the paper: parents are whole columns (no generalised values), all tables are
counted anew, and noisy tables are projected on those that sum to the rows instead of cut at zero.
The number of rows is public, as there. Coarse: what happens inside a bin is lost, and with many
columns or few rows the noise leaves little but marginals. The noise is made of double-precision
floats, which is no protection from who reads their last bits (Mironov 2012).
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
from workbench.generators.private.accounting import Domain, Private, check_budget
from workbench.tables.encode import Codes, Marginal, from_float, to_float
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
    """Levels of a label that are states of their own; the others share one, and are drawn from it
    alike.
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
        self._schema = schema
        domain = self._domain(table, schema)
        self._codes, allowed = domain_codes(domain, schema, self.bins, self.max_levels)
        states = self._codes.encode(domain.restrict(table))
        columns, self.charges = states.shape[1], []
        choice = self.graph_share * self.epsilon if columns > 1 else 0.0
        self.parents = self._choose_parents(states, choice, rng)
        count = (self.epsilon - choice) / columns
        self._tables = {}
        for node, parents in self.parents.items():
            self.charges.append((f"table of {schema.names[node]}", count))
            counts = family_counts(states, self._codes.sizes, node, parents)
            # Exchanging a row moves two counts by one.
            noisy = (counts + rng.laplace(scale=2 / count, size=counts.shape))[:, allowed[node]]
            counts = np.zeros(counts.shape)
            counts[:, allowed[node]] = project(noisy.ravel(), len(table)).reshape(noisy.shape)
            self._tables[node] = conditional(counts, allowed[node])
        self.epsilon_spent, self.delta_spent = (
            math.fsum(epsilon for _, epsilon in self.charges),
            0.0,
        )
        self.guarantee = f"{self.epsilon_spent:.4g}-differential privacy for the exchange of one row{domain.caveat}"
        return self

    def _choose_parents(
        self, states: np.ndarray, epsilon: float, rng: np.random.Generator
    ) -> dict[int, tuple[int, ...]]:
        """Algorithms 2 and 4 of the paper, in the order the columns are chosen: parents come before
        their children.
        """
        rows, columns = states.shape
        sizes, each = self._codes.sizes, epsilon / max(columns - 1, 1)
        most_cells = rows * (1 - self.graph_share) * self.epsilon / (2 * columns * self.usefulness)
        chosen = {int(rng.integers(columns)): ()}
        while len(chosen) < columns:
            left = [node for node in range(columns) if node not in chosen]
            candidates = [(node, ()) for node in left]
            for degree in range(1, self.degree + 1):
                for parents in combinations(chosen, degree):
                    room = most_cells / math.prod(sizes[parent] for parent in parents)
                    candidates += [(node, parents) for node in left if sizes[node] <= room]
            if len(candidates) > self.max_candidates:
                drawn = np.sort(rng.permutation(len(candidates))[: self.max_candidates])
                candidates = [candidates[i] for i in drawn]
            scores = np.array(
                [dependence(family_counts(states, sizes, *candidate)) for candidate in candidates]
            )
            self.charges.append((f"choice {len(chosen)}", each))
            node, parents = candidates[exponential_mechanism(scores, 3 / rows, each, rng)]
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


def exponential_mechanism(
    scores: np.ndarray, spread: float, epsilon: float, rng: np.random.Generator
) -> int:
    """One index, with a chance proportional to exp(epsilon score / (2 spread)) (McSherry and Talwar
    2007).
    """
    return int(np.argmax(epsilon * scores / (2 * spread) + rng.gumbel(size=len(scores))))


def domain_codes(
    domain: Domain, schema: Schema, bins: int, max_levels: int
) -> tuple[Codes, list[np.ndarray]]:
    """Codes that know the domain and nothing else, and for each column which of them may be drawn,
    bool, shape (states,).

    Bins are equally wide, but each end of the domain is a bin of its own: many columns pile up
    there, at zero above all. Numbers and pooled labels are drawn evenly from their bin.
    """
    rows = max(50 * bins, len(domain.table))
    even = {}
    for name in schema.names:
        known = domain.table[name].dropna()
        if schema[name].is_discrete or known.empty:
            labels = known.unique().astype(object) if len(known) else [None]
            even[name] = np.resize(np.array(labels, dtype=object), rows)
        else:
            numbers = Marginal.fit(to_float(known))
            (low, high), share = (
                numbers.values[[0, -1]],
                np.clip(np.linspace(-2 / bins, 1 + 2 / bins, rows), 0, 1),
            )
            even[name] = from_float(numbers.snap((1 - share) * low + share * high), schema[name])
    table = schema.cast(pd.DataFrame(even))
    codes, allowed = Codes(table, schema, bins, max_levels), []
    for column, size in zip(schema.columns, codes.sizes, strict=True):
        known = domain.table[column.name]
        allowed.append(np.append(np.full(size - 1, known.notna().any()), known.isna().any()))
    return codes, allowed


def conditional(counts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Each line's shares; a line without counts has those of all lines together, or any allowed
    state alike.
    """
    whole = counts.sum(axis=0)
    shares = whole / whole.sum() if whole.sum() > 0 else allowed / allowed.sum()
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), shares)


def project(noisy: np.ndarray, total: float) -> np.ndarray:
    """The nearest counts that are not negative and sum to total (Duchi et al. 2008, projection on
    the simplex).
    """
    falling = np.sort(noisy)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(noisy) + 1)
    return np.maximum(noisy - excess[np.flatnonzero(falling > excess)[-1]], 0)
