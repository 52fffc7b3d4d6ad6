"""Card payments and fraud as behaviour (SimPy): customers with habits, and fraudsters who take a
card over.

Each customer pays at a rate, at hours, at merchant types and in amounts of their own, until the
account is empty; wages fill it. A fraudster takes a card, tries it online with small amounts, then
buys what resells well, larger and faster than its owner, until the bank blocks the card (patterns
described by Bolton and Hand 2002; PaySim, Lopez-Rojas et al. 2016, simulates mobile payments from
aggregates). The label is known by construction. It knows no collusion of merchants, no seasons, and
no fraudster who learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from workbench.simulators import Prior

START = pd.Timestamp("2024-03-01")
# Merchant type -> share of payments, median amount, spread of its logarithm, share paid online, how
# well its goods resell.
MERCHANTS = {
    "groceries": (0.34, 32, 0.7, 0.06, 1.0),
    "restaurant": (0.20, 24, 0.6, 0.12, 0.5),
    "transport": (0.14, 9, 0.8, 0.35, 0.5),
    "clothing": (0.09, 55, 0.7, 0.45, 2.0),
    "pharmacy": (0.08, 18, 0.6, 0.10, 0.5),
    "digital": (0.08, 12, 0.8, 1.00, 3.0),
    "electronics": (0.04, 160, 0.9, 0.50, 6.0),
    "travel": (0.03, 240, 0.8, 0.75, 2.0),
}
SHARES, AMOUNTS, SPREADS, ONLINE, RESALE = (
    np.array(column, dtype=float) for column in zip(*MERCHANTS.values(), strict=True)
)
TYPES = np.array(list(MERCHANTS), dtype=object)


class Payments:
    """Payments by card in the order of time, about one in a hundred of them fraud."""

    columns: ClassVar = {
        "time": "datetime",
        "customer": "categorical",
        "merchant": "categorical",
        "channel": "categorical",
        "amount": "numeric",
        "balance": "numeric",
        "hours_since": "numeric",
        "count_day": "integer",
        "spent_day": "numeric",
        "fraud": "boolean",
    }
    missing = ("hours_since",)
    priors: ClassVar = {
        "rate": Prior(0.3, 4, "payments a day, mean of customers", "log-uniform"),
        "prices": Prior(0.3, 3, "amounts relative to the table of merchants", "log-uniform"),
        "habit": Prior(0.5, 20, "how alike customers are in where they pay", "log-uniform"),
        "fraud": Prior(0.002, 0.05, "share of payments", "log-uniform"),
        "wage": Prior(300, 6000, "a month, median", "log-uniform"),
        "haul": Prior(
            1, 8, "fraudster's amount over the merchant type's", "log-uniform", calibrated=False
        ),
        "trials": Prior(0, 4, "payments to try a card, mean", calibrated=False),
        "haste": Prior(
            5, 600, "minutes between a fraudster's payments", "log-uniform", calibrated=False
        ),
        "caught": Prior(0.1, 0.6, "chance that a fraudulent payment is the last", calibrated=False),
        "night": Prior(0, 0.9, "share of fraudsters who work at night", calibrated=False),
    }

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        rate: float = 1.2,
        prices: float = 1.0,
        habit: float = 4.0,
        fraud: float = 0.01,
        wage: float = 2000,
        haul: float = 3.0,
        trials: float = 2.0,
        haste: float = 60.0,
        caught: float = 0.3,
        night: float = 0.5,
    ) -> pd.DataFrame:
        """n payments of about n / 40 customers. amount, balance (before it) and spent_day (24 hours
        before it) in one currency; count_day is the card's number of payments in these hours,
        hours_since the time since its last one."""
        town = _Town(n, rng, rate, prices, habit, wage)
        thief = _Thief(haul, trials, haste, caught, night)
        town.run(fraud, thief)
        # As many payments as there are customers come before the first row that is kept.
        table = pd.DataFrame(town.rows[town.customers :], columns=list(self.columns))
        return table.round({"balance": 2, "hours_since": 2, "spent_day": 2}).assign(
            time=START + pd.to_timedelta((table["time"] * 3600).round(), unit="s"),
            customer=[f"C{card:05d}" for card in table["customer"]],
            merchant=TYPES[table["merchant"]],
            channel=np.where(table["channel"], "online", "shop"),
        )


@dataclass(frozen=True)
class _Thief:
    """How fraudsters work; the fields are parameters of `Payments.simulate`."""

    haul: float
    trials: float
    haste: float
    caught: float
    night: float


class _Town:
    """Customers, their accounts and what they pay, until enough payments are there."""

    def __init__(
        self,
        n: int,
        rng: np.random.Generator,
        rate: float,
        prices: float,
        habit: float,
        wage: float,
    ):
        import simpy

        self.rng, self.prices = rng, prices
        self.customers = max(n // 40, 5)
        self.wanted = n + self.customers
        self.pace = rng.gamma(3, rate / 3, self.customers) / 24  # payments an hour
        self.peak = rng.normal(14, 4, self.customers)
        self.level = prices * rng.lognormal(0, 0.4, self.customers)
        self.tastes = rng.dirichlet(SHARES * habit * len(SHARES), self.customers).cumsum(axis=1)
        self.earns = wage * rng.lognormal(0, 0.5, self.customers)
        self.balance = self.earns * rng.random(self.customers) * 2
        self.past: list[list] = [[] for _ in range(self.customers)]
        self.rows: list[tuple] = []
        self.env = simpy.Environment()
        self.enough = self.env.event()

    def run(self, fraud: float, thief: _Thief) -> None:
        for card in range(self.customers):
            self.env.process(self._customer(card))
        self.env.process(self._wages())
        self.env.process(self._thefts(fraud, thief))
        self.env.run(until=self.enough)

    def _pay(self, card: int, merchant: int, amount: float, online: bool, is_fraud: bool) -> bool:
        """Whether the account held enough; the payment is a row then."""
        amount = max(round(amount, 2), 0.5)
        balance, past, now = self.balance[card], self.past[card], self.env.now
        if amount > balance or self.enough.triggered:
            return False
        day = [(then, spent) for then, spent in past if then > now - 24]
        since = now - past[-1][0] if past else np.nan
        spent_day = sum(spent for _, spent in day)
        about = (now, card, merchant, online, amount, balance, since, len(day), spent_day)
        self.rows.append((*about, is_fraud))
        self.balance[card] -= amount
        self.past[card] = [*(day or past[-1:]), (now, amount)]
        if len(self.rows) == self.wanted:
            self.enough.succeed()
        return True

    def _customer(self, card: int):
        rng = self.rng
        while True:
            yield self.env.timeout(rng.exponential(0.5 / self.pace[card]))
            # People sleep: half of the moments are dropped, those far from the customer's own
            # hour (thinning).
            away = abs((self.env.now - self.peak[card] + 12) % 24 - 12)
            if rng.random() < 1.1 * np.exp(-((away / 6.5) ** 2)):
                taste = int(np.searchsorted(self.tastes[card], rng.random()))
                merchant = min(taste, len(TYPES) - 1)
                spread = np.exp(SPREADS[merchant] * rng.normal())
                amount = self.level[card] * AMOUNTS[merchant] * spread
                self._pay(card, merchant, amount, rng.random() < ONLINE[merchant], False)

    def _wages(self):
        while True:
            yield self.env.timeout(24 * 30.4)
            self.balance[:] += self.earns

    def _thefts(self, fraud: float, thief: _Thief):
        gap = (thief.trials + 1 / thief.caught) / (fraud * self.pace.sum())
        while True:
            yield self.env.timeout(self.rng.exponential(gap))
            self.env.process(self._fraudster(int(self.rng.integers(self.customers)), thief))

    def _fraudster(self, card: int, thief: _Thief):
        rng = self.rng
        if rng.random() < thief.night:
            yield self.env.timeout((25 - self.env.now) % 24 + 4 * rng.random())
        # Small payments first, to see whether the card still works.
        for _ in range(rng.poisson(thief.trials)):
            merchant = int(rng.choice([0, 2, 5]))
            if not self._pay(card, merchant, rng.uniform(0.5, 3), True, True):
                return
            yield self.env.timeout(rng.exponential(thief.haste / 4 / 60))
        while True:
            merchant = int(rng.choice(len(TYPES), p=RESALE / RESALE.sum()))
            amount = thief.haul * self.prices * AMOUNTS[merchant] * np.exp(0.5 * rng.normal())
            amount = min(amount, 0.9 * self.balance[card])
            online = rng.random() < 0.5 + ONLINE[merchant] / 2
            if not self._pay(card, merchant, amount, online, True):
                return
            if rng.random() < thief.caught:
                return
            yield self.env.timeout(rng.exponential(thief.haste / 60))
