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
        import simpy

        customers = max(n // 40, 5)
        pace = rng.gamma(3, rate / 3, customers) / 24  # payments an hour
        peak = rng.normal(14, 4, customers)
        level = prices * rng.lognormal(0, 0.4, customers)
        tastes = rng.dirichlet(SHARES * habit * len(SHARES), customers).cumsum(axis=1)
        earns = wage * rng.lognormal(0, 0.5, customers)
        balance, past = earns * rng.random(customers) * 2, [[] for _ in range(customers)]
        env, rows = simpy.Environment(), []
        enough = env.event()

        def pay(card: int, merchant: int, amount: float, online: bool, is_fraud: bool) -> bool:
            """Whether the account held enough; the payment is a row then."""
            amount = max(round(amount, 2), 0.5)
            if amount > balance[card] or enough.triggered:
                return False
            day = [(then, spent) for then, spent in past[card] if then > env.now - 24]
            since = env.now - past[card][-1][0] if past[card] else np.nan
            rows.append(
                (
                    env.now,
                    card,
                    merchant,
                    online,
                    amount,
                    balance[card],
                    since,
                    len(day),
                    sum(s for _, s in day),
                    is_fraud,
                )
            )
            balance[card] -= amount
            past[card] = [*(day or past[card][-1:]), (env.now, amount)]
            if (
                len(rows) == n + customers
            ):  # as many payments as there are customers come before the first row that is kept
                enough.succeed()
            return True

        def customer(card: int):
            while True:
                yield env.timeout(rng.exponential(0.5 / pace[card]))
                # People sleep: half of the moments are dropped, those far from the customer's own
                # hour (thinning).
                away = abs((env.now - peak[card] + 12) % 24 - 12)
                if rng.random() < 1.1 * np.exp(-((away / 6.5) ** 2)):
                    merchant = min(int(np.searchsorted(tastes[card], rng.random())), len(TYPES) - 1)
                    amount = (
                        level[card] * AMOUNTS[merchant] * np.exp(SPREADS[merchant] * rng.normal())
                    )
                    pay(card, merchant, amount, rng.random() < ONLINE[merchant], False)

        def wages():
            while True:
                yield env.timeout(24 * 30.4)
                balance[:] += earns

        def fraudster(card: int):
            if rng.random() < night:
                yield env.timeout((25 - env.now) % 24 + 4 * rng.random())
            for _ in range(rng.poisson(trials)):
                if not pay(card, int(rng.choice([0, 2, 5])), rng.uniform(0.5, 3), True, True):
                    return
                yield env.timeout(rng.exponential(haste / 4 / 60))
            while True:
                merchant = int(rng.choice(len(TYPES), p=RESALE / RESALE.sum()))
                amount = haul * prices * AMOUNTS[merchant] * np.exp(0.5 * rng.normal())
                amount = min(amount, 0.9 * balance[card])
                if (
                    not pay(card, merchant, amount, rng.random() < 0.5 + ONLINE[merchant] / 2, True)
                    or rng.random() < caught
                ):
                    return
                yield env.timeout(rng.exponential(haste / 60))

        def thefts():
            gap = (trials + 1 / caught) / (fraud * pace.sum())
            while True:
                yield env.timeout(rng.exponential(gap))
                env.process(fraudster(int(rng.integers(customers))))

        for process in (*(customer(card) for card in range(customers)), wages(), thefts()):
            env.process(process)
        env.run(until=enough)
        table = pd.DataFrame(rows[customers:], columns=list(self.columns))
        return table.round({"balance": 2, "hours_since": 2, "spent_day": 2}).assign(
            time=START + pd.to_timedelta((table["time"] * 3600).round(), unit="s"),
            customer=[f"C{card:05d}" for card in table["customer"]],
            merchant=TYPES[table["merchant"]],
            channel=np.where(table["channel"], "online", "shop"),
        )
