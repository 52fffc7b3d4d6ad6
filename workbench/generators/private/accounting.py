"""What private generators share: a budget that every look at the rows is charged to, noise that
nobody can repeat, and a sentence that says what is promised.

Dwork and Roth 2014; amounts are composed by privacy loss distributions (Koskela et al. 2020) in the
dp_accounting package, equal or unequal Gaussian queries in closed form (Balle and Wang 2018), from
the queries alone and never from their answers: a bound that depends on the data would itself leak
(Papernot et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import Failure, InputError
from workbench.generators.private.domain import Domain
from workbench.generators.private.noise import Noise
from workbench.tables.encode import level_codes
from workbench.tables.public import public_domain
from workbench.tables.schema import Schema


class OverBudget(Failure):
    """A query would have cost more than is left; nothing was charged."""


def check_budget(method: str, epsilon: float, delta: float) -> None:
    """Raises InputError unless epsilon is a finite number above 0 and delta lies between 0 and 1."""
    for name, value, most in (("epsilon", epsilon, math.inf), ("delta", delta, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < most:
            wanted = "number between 0 and 1, below 1 / rows"
            if name == "epsilon":
                wanted = "finite number above 0"
            raise InputError(f"{method}: {name} is {value!r}; give a {wanted}.")


class Ledger:
    """Every query that was asked of the private rows, as dp_accounting events with their counts,
    and what they cost.
    """

    def __init__(self, epsilon: float, delta: float):
        self.epsilon, self.delta = epsilon, delta
        self.queries: dict = {}
        self._reserved: dict = {}

    def cost(self, query=None, count: int = 0) -> float:
        """The epsilon at this delta of all that was asked, and of `count` times `query` besides."""
        return _composed(tuple(self._with(query, count).items()), self.delta)

    def _with(self, query, count: int) -> dict:
        # A copy: the question what a query would cost must charge nothing.
        every = dict(self.queries)
        if count:
            every[query] = every.get(query, 0) + count
        return every

    def affords(self, query, count: int) -> bool:
        # Part of what can be paid can be paid.
        if self._reserved:
            every = self._with(query, count)
            if all(times <= self._reserved.get(event, 0) for event, times in every.items()):
                return True
        return self.cost(query, count) <= self.epsilon

    def reserve(self, query, count: int) -> None:
        """Reckon many queries at once, of which each will be charged in its turn: as long as all of
        them together can be paid, no charge needs a reckoning of its own.
        """
        if self.affords(query, count):
            self._reserved = self._with(query, count)

    def charge(self, query, count: int) -> None:
        """To be called before the rows are looked at. Raises OverBudget, and charges nothing, where
        the budget is short.
        """
        # Before anything is noted: a refused query leaves the ledger as it was.
        if not self.affords(query, count):
            raise OverBudget(
                f"{count} more of {query} would cost more than epsilon {self.epsilon:g} "
                f"at delta {self.delta:g}."
            )
        self.queries[query] = self.queries.get(query, 0) + count


@cache
def _composed(queries: tuple, delta: float) -> float:
    """The epsilon of these queries, each an event with its count, in the order in which they were
    asked.
    """
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    if not queries:
        return 0.0
    # Gaussian queries together are one of less noise, whose epsilon has a closed form.
    if all(isinstance(event, GaussianDpEvent) for event, _ in queries):
        precision = sum(times / event.noise_multiplier**2 for event, times in queries)
        return _gaussian_epsilon(precision**-0.5, delta)
    # Loss distributions are the tightest bound for mixed queries, and take seconds.
    accountant = PLDAccountant()
    for event, times in queries:
        accountant.compose(event, times)
    return float(accountant.get_epsilon(delta))


@cache
def _gaussian_epsilon(noise: float, delta: float) -> float:
    """The epsilon of one Gaussian query: many of them are one of less noise."""
    import dp_accounting

    # A little more than its root finder says, which may end on either side.
    return float(dp_accounting.get_epsilon_gaussian(noise, delta)) * (1 + 1e-9)


def least_noise(
    epsilon: float, delta: float, event: Callable[[float], object], count: int
) -> float:
    """The least noise with which `count` queries `event(noise)` cost no more than epsilon at delta."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    # A closed form again, so no search is needed.
    if isinstance(event(1.0), dp_accounting.GaussianDpEvent):
        return dp_accounting.get_sigma_gaussian(epsilon, delta) * count**0.5 * (1 + 1e-4)

    def composed(noise: float):
        return dp_accounting.SelfComposedDpEvent(event(noise), count)

    # Renyi divergences need a little more noise and are found at once; loss distributions take long
    # where epsilon is large.
    bracket = dp_accounting.LowerEndpointAndGuess(min(0.01, 0.01 / epsilon), 1.0)
    # Where a Renyi bound is tight depends on the noise; these orders cover what occurs.
    orders = [*range(2, 64), 128, 256, 512, 1024]
    # A first answer that is a little too large; the search by loss distributions begins there.
    enough = dp_accounting.calibrate_dp_mechanism(
        lambda: RdpAccountant(orders), composed, epsilon, delta, bracket
    )
    bracket = dp_accounting.ExplicitBracketInterval(enough / 2, enough * 1.01)
    return dp_accounting.calibrate_dp_mechanism(
        PLDAccountant, composed, epsilon, delta, bracket, tol=1e-3 * enough
    )


@cache
def spent(rho: float, delta: float) -> float:
    """The least epsilon that rho-concentrated privacy gives at this delta (Canonne et al. 2020, by
    dp_accounting).
    """
    from dp_accounting.rdp import compute_epsilon

    # Fine near 1, where small epsilons are decided, and far out for tiny deltas.
    orders = np.concatenate([1 + np.logspace(-3, 0, 200), np.logspace(np.log10(2.01), 5, 2000)])
    losses = orders * rho
    # It goes through the orders one by one. The least bound is found among those that are least
    # up to rounding by the same formula (Canonne et al. 2020, proposition 12) for all at once.
    bounds = losses + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    bounds[orders <= 1.01] = np.inf
    bounds[delta**2 + np.expm1(-losses) > 0] = 0.0
    near = bounds <= bounds.min() + 1e-9 * (1 + abs(bounds.min()))
    return float(compute_epsilon(orders[near], losses[near], delta)[0])


@cache
def concentrated(epsilon: float, delta: float) -> float:
    """The most rho whose epsilon at this delta is no more than epsilon."""
    low, high = 0.0, epsilon + 1.0
    # The upper end of the search has to be on the other side first.
    while spent(high, delta) < epsilon:
        high *= 2
    # Sixty halvings leave nothing that a float could tell apart.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle, delta) <= epsilon else (low, middle)
    return low


@dataclass
class Private:
    """The hyper-parameters by which a private generator is given the domain and its noise.

    Schemas with constraints are refused (see workbench.generators.constrained): rewriting a table
    by them looks at its rows. A subclass's fit ends with `_promise`, which sets epsilon_spent,
    delta_spent, guarantee and facts.
    """

    bounds: Mapping[str, Sequence] = field(default_factory=dict)
    """(low, high) or (low, high, grid step) of columns of numbers and dates, known without the
    rows.
    """
    levels: Mapping[str, Sequence] = field(default_factory=dict)
    """Labels of label columns, known without the rows."""
    missing: Sequence[str] | None = None
    """The columns that may miss values; None reads that off the rows, like all that is not
    declared: see `guarantee`.
    """
    domain: str = ""
    """"public" takes bounds, levels and missing columns from the codebook of the named dataset that
    has these columns, before what is declared here; see workbench.tables.public.
    """
    noise_seed: int | None = None
    """Repeats the noise of a fit, for tests and teaching. Whoever knows the seed can take the noise
    away again, so such a fit guarantees nothing and says so. None: noise of the operating system.
    """

    def supports(self, schema: Schema) -> str | None:
        if self.domain not in ("", "public"):
            return f'domain is {self.domain!r}; give "public", or declare bounds and levels.'
        if self.domain and public_domain(schema) is None:
            return "no named dataset with a published domain has these columns; declare them."
        return None

    def _domain(self, table: pd.DataFrame, schema: Schema) -> Domain:
        """Raises InputError where the domain is to be a published one, and there is none."""
        if reason := self.supports(schema):
            raise InputError(f"{type(self).__name__}: {reason}")
        # What is declared by hand wins over the published domain, column by column.
        known: dict = {"bounds": {}, "levels": {}, "missing": None, "undocumented": []}
        if self.domain:
            known = public_domain(schema)
        # None is no declaration: the rows are asked, and the guarantee says so.
        missing: Any = known["missing"] if self.missing is None else self.missing
        bounds = {**known["bounds"], **self.bounds}
        levels = {**known["levels"], **self.levels}
        # What somebody has declared by hand is theirs to answer for.
        undocumented = [name for name in known["undocumented"] if name not in self.bounds]
        return Domain(table, schema, bounds, levels, missing, undocumented)

    def _noise(self) -> Noise:
        return Noise(self.noise_seed)

    def _promise(self, epsilon: float, delta: float, claim: str, domain: Domain) -> None:
        """Set what was spent and what it guarantees; nothing, where the noise can be repeated."""
        self.epsilon_spent, self.delta_spent = epsilon, delta
        self.guarantee = (
            f"{claim}; the schema and the number of rows count as public, and every further fit on "
            f"these rows adds its own epsilon{domain.caveat}"
        )
        # Whoever knows the seed subtracts the noise: such a fit promises nothing.
        source = "operating system"
        if self.noise_seed is not None:
            self.epsilon_spent, self.delta_spent = math.inf, 1.0
            self.guarantee = (
                f"no guarantee: the seed is known ({self.noise_seed}), and the noise with it; "
                f"without it, {self.guarantee}"
            )
            source = f"seed {self.noise_seed}"
        self.facts = {
            "noise": source,
            "domain": domain.source,
            "epsilon": epsilon,
            "delta": delta,
            "guarantee": self.guarantee,
        }


@dataclass
class Concentrated(Private):
    """A private generator whose queries are composed as zero-concentrated privacy (Bun and Steinke
    2016): every query costs rho, and the rhos add up.

    Two tables are neighbours when one row of the first is blank in the second and counted nowhere.
    """

    epsilon: float = 1.0
    """Privacy budget, for one row blanked out (see `guarantee`); what was spent is in
    `epsilon_spent` after the fit.
    """
    delta: float = 1e-5
    """The chance with which the guarantee may fail; well below 1 / rows."""

    def _start(self, epsilon: float, delta: float) -> float:
        """Forget what was spent, and return the rho that may be."""
        self.charges: list[tuple[str, float]] = []
        # A little less, so that the sum of its parts does not exceed it by a rounding.
        return concentrated(epsilon, delta) * (1 - 1e-12)

    def _charge(self, what: str, rho: float, times: int = 1) -> float:
        """Note the cost of `times` queries of counts that one row moves by one, rho each; returns
        the deviation of the Gaussian noise that they need: rho = 1 / (2 sd^2).
        """
        self.charges += [(what, rho)] * times
        return (1 / (2 * rho)) ** 0.5

    def _choose(self, what: str, scores: np.ndarray, rho: float, noise: Noise) -> int:
        """One index by the exponential mechanism, from scores that one row moves by one at most.

        With this epsilon it is (epsilon^2 / 8)-concentrated (Cesar and Rogers 2021).
        """
        self.charges.append((what, rho))
        return noise.choice(scores, 1.0, (8 * rho) ** 0.5)

    def _spent(self) -> float:
        """The rho of all charges so far."""
        return math.fsum(rho for _, rho in self.charges)

    def _promise_concentrated(self, delta: float, domain: Domain) -> None:
        """Set what all charges cost together, for a blanked and for an exchanged row."""
        # Read off what was charged, not off the budget: what was not spent is not claimed.
        rho = self._spent()
        # To exchange a row is to blank one and fill one: noise for a distance of two, four times
        # the rho.
        epsilon, exchange = spent(rho, delta), spent(4 * rho, delta)
        claim = (
            f"({epsilon:.4g}, {delta:g})-differential privacy for one row against a blank one"
            f" that is counted nowhere, ({exchange:.4g}, {delta:g}) for the exchange of one"
            " row for another, by exact integer noise"
        )
        self._promise(epsilon, delta, claim, domain)


def choose_levels(
    domain: Domain, table: pd.DataFrame, most: Mapping[str, int], epsilon: float, noise: Noise
) -> int:
    """Choose by noisy counts which labels are told apart, in the columns that have more than `most`
    levels: the number of these columns, whose counts cost `epsilon` in all for the exchange of a
    row.
    """
    many = [name for name, limit in most.items() if len(domain.known[name].values) > limit]
    for name in many:
        levels = pd.Index(domain.known[name].values.astype(object), dtype=object)
        # A label outside the domain has place -1, and is counted nowhere.
        place = level_codes(levels, table[name])
        counts = np.bincount(place[place >= 0], minlength=len(levels))
        # The exchange of a row moves two counts by one, in each of these columns.
        noisy = counts + noise.discrete_laplace(2 * len(many) / epsilon, counts.shape)
        # By noisy counts alone: the true order would be a leak.
        commonest_first = np.argsort(-noisy, kind="stable").tolist()
        domain.prefer(name, commonest_first[: most[name] - 1])
    return len(many)


def choose_common_levels(
    domain: Domain, table: pd.DataFrame, most: int, ledger: Ledger, noise: Noise
) -> float:
    """`choose_levels` for a tenth of the ledger's epsilon, charged to it; the epsilon that is left.

    Pure privacy of the counts adds to whatever the rest costs at the ledger's delta.
    """
    from dp_accounting import LaplaceDpEvent

    labels = [column.name for column in domain.schema.columns if column.is_discrete]
    share = ledger.epsilon / 10
    # Nothing is charged where no column has more levels than are told apart.
    columns = choose_levels(domain, table, dict.fromkeys(labels, most), share, noise)
    if not columns:
        return ledger.epsilon
    ledger.charge(LaplaceDpEvent(columns / share), columns)
    return ledger.epsilon - share
