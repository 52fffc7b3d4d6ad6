"""A mortgage desk: households apply for loans, and an underwriter decides by a scorecard. It makes
the columns of `loans`.

Income is lognormal with a longer upper tail (after Reed and Jorgensen 2004), the price follows
income, and the loan is what savings leave of the price, with lumps at the lenders' limits of 80, 90
and 95 percent. Ratios of housing and debts follow from the annuity. One latent trait ties the
credit records together. The scorecard looks at guidelines, unverified facts, ratios and leverage
(the factors of Munnell et al. 1996, American Economic Review 86); `disparity` is the share of
minority applicants who passed it and are turned down all the same, so P(approve | minority) is
exactly (1 - disparity) times what it would be. It knows no geography, no lender, no co-applicant,
and no typing error of the real table.

Its structure and constants (industries, terms, gaps, sizes of noise) were set with `loans` at hand
and revised on its card, so its scores on that table are those of a program that was fitted to it by
a person too, and not only by calibration.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtri

from workbench.simulators import Prior

SHARE = "share"
INDUSTRIES = {  # unemployment rate in an industry, percent -> its weight among applicants
    **{1.8: 10, 2.0: 5, 3.1: 12, 3.2: 36, 3.6: 7, 3.9: 9, 4.3: 9, 5.3: 3, 8.9: 1, 10.6: 8},
}
TERMS = {120: 1, 180: 8, 240: 1, 300: 3, 360: 85, 480: 2}  # months -> weight: what lenders offer
# Left empty on forms.
GAPS = {
    "appinc": 0.011,
    "liq": 0.005,
    "male": 0.008,
    "unit": 0.003,
    "married": 0.002,
    "dep": 0.002,
    "term": 0.002,
    "gdlin": 0.001,
}
LIMITS = (0.8, 0.9, 0.95)  # loan to value: without mortgage insurance, with it, and at the most


class MortgageDesk:
    """Mortgage applications and their decisions."""

    columns: ClassVar = (
        dict.fromkeys(("loanamt", "appinc", "unit", "dep", "term"), "integer")
        | dict.fromkeys(("price", "liq", "netw", "hrat", "obrat", "unem"), "numeric")
        | dict.fromkeys(
            ("married", "self", "gdlin", "pubrec", "unver", "min30", "sch", "male", "approve"),
            "boolean",
        )
        | dict.fromkeys(("mortg", "cons", "race"), "categorical")
    )
    missing = ("min30", *GAPS)
    priors: ClassVar = {
        "income": Prior(20, 200, "median yearly income, thousand dollars", "log-uniform"),
        "income_spread": Prior(0.2, 1.0, "standard deviation of the logarithm"),
        "price_ratio": Prior(1, 6, "median price over median income", "log-uniform"),
        "elasticity": Prior(0.1, 1.2, "percent of price for a percent of income"),
        "price_spread": Prior(0.1, 0.8, "standard deviation of the logarithm"),
        "savings": Prior(0.1, 3, "median liquid assets over median income", "log-uniform"),
        "savings_spread": Prior(0.4, 2.0, "standard deviation of the logarithm"),
        "leverage": Prior(0.5, 1.1, "typical loan to value, before the limits"),
        "equity": Prior(0.0, 0.3, "loan to value given up for savings times e"),
        "wealth": Prior(0.2, 5, "median other assets over income, of owners", "log-uniform"),
        "taxes": Prior(0.2, 4, "taxes and insurance, percent of the price a year"),
        "debts": Prior(2, 15, "other debt payments, percent of income"),
        "owners": Prior(0.05, 0.8, SHARE),
        "clean": Prior(0.2, 0.9, "share without a slow account"),
        "delinquent": Prior(0.02, 0.4, "share seriously delinquent"),
        "bankrupt": Prior(0.01, 0.3, SHARE),
        "substandard": Prior(0.01, 0.3, "share below the credit guidelines"),
        "credit_tie": Prior(0.3, 0.99, "correlation of each record with the latent trait"),
        "minority": Prior(0.02, 0.5, SHARE),
        "credit_gap": Prior(
            0.0, 1.5, "mean latent trait, white minus minority, standard deviations"
        ),
        "wealth_gap": Prior(0.0, 1.0, "mean logarithm of income and savings, white minus minority"),
        "married": Prior(0.3, 0.95, SHARE),
        "schooled": Prior(0.3, 0.95, SHARE),
        "leniency": Prior(0.0, 6.0, "log-odds of approval of a clean application"),
        "credit_weight": Prior(0.0, 8.0, "log-odds lost below the guidelines"),
        "ratio_weight": Prior(
            0.0,
            0.3,
            "log-odds lost for a percent of debts above 36, and for 2.5 of leverage above 80",
        ),
        "disparity": Prior(0.0, 0.5, "share of minority applicants turned down after they passed"),
        "rate": Prior(0.09, 0.11, "yearly interest", calibrated=False),
        "men": Prior(0.75, 0.87, SHARE, calibrated=False),
        "self_employed": Prior(0.1, 0.18, SHARE, calibrated=False),
        "unverified": Prior(0.03, 0.07, SHARE, calibrated=False),
        "unlocated": Prior(0.05, 0.12, "share of addresses without a tract", calibrated=False),
    }

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        income: float = 60,
        income_spread: float = 0.5,
        price_ratio: float = 2.5,
        elasticity: float = 0.6,
        price_spread: float = 0.3,
        savings: float = 0.6,
        savings_spread: float = 1.0,
        leverage: float = 0.85,
        equity: float = 0.1,
        wealth: float = 1.0,
        taxes: float = 1.5,
        debts: float = 8,
        owners: float = 0.4,
        clean: float = 0.6,
        delinquent: float = 0.15,
        bankrupt: float = 0.08,
        substandard: float = 0.1,
        credit_tie: float = 0.7,
        minority: float = 0.15,
        credit_gap: float = 0.5,
        wealth_gap: float = 0.1,
        married: float = 0.65,
        schooled: float = 0.75,
        leniency: float = 3.5,
        credit_weight: float = 3.0,
        ratio_weight: float = 0.1,
        disparity: float = 0.0,
        rate: float = 0.10,
        men: float = 0.8,
        self_employed: float = 0.14,
        unverified: float = 0.05,
        unlocated: float = 0.08,
    ) -> pd.DataFrame:
        """n applications. Amounts are in thousands of dollars, ratios in percent."""
        # Draws in this order, whatever the parameters: the same seed gives the same people.
        group = rng.random(n) < minority
        hispanic = group & (rng.random(n) < 0.4)
        # Households: men apply with a wife more often; schooling and self-employment pay.
        male, age = rng.random(n) < men, rng.normal(size=n)
        wed = rng.random(n) < np.clip(married * np.where(male, 1.13, 0.45) + 0.1 * age, 0, 1)
        children = rng.poisson(rng.gamma(1.5, np.where(wed, 0.75, 0.15) * np.exp(0.2 * age)))
        # Constants here and below were set with the real table at hand; the docstring says what
        # follows.
        school = rng.random(n) < np.clip(schooled - 0.12 * group, 0, 1)
        alone = rng.random(n) < self_employed
        tail = 0.8 * rng.normal(size=n) + 0.6 * (rng.exponential(size=n) - 0.69)
        earns = (
            income_spread * tail
            + 0.2 * (school - schooled)
            + 0.25 * (wed - married)
            + 0.2 * (male - men)
        )
        earns += 0.2 * (alone - self_employed) - wealth_gap * (group - minority)
        earned = income * np.exp(earns)

        # The house, what is saved, and the loan between them.
        # Who owes more looks for a cheaper house.
        others = np.where(rng.random(n) < 0.08, 0, rng.gamma(1.2, debts / 1.2, n))
        dear = elasticity * earns + price_spread * rng.standard_t(6, n) - 0.01 * (others - debts)
        # The price follows income less than one to one: who earns twice as much does not buy twice
        # the house.
        price = price_ratio * income * np.exp(dear)
        saver = (
            savings_spread * rng.standard_t(6, n) / 1.2
            + 0.8 * dear
            - wealth_gap * (group - minority)
        )
        liquid = savings * income * np.exp(saver)
        tract = rng.random(n) < np.where(group, 0.25, 0.02)
        units = np.where(
            rng.random(n) < np.where(tract, 0.45, 0.07), _pick({2: 6, 3: 3, 4: 1}, n, rng), 1
        )
        months = _pick(TERMS, n, rng)
        wanted = (
            leverage
            - equity * (saver - 0.5 * dear)
            - 0.15 * (rng.gumbel(size=n) - 0.58)
            - 0.3 * (1 - months / 360)
        )
        limit = np.asarray(LIMITS)[rng.choice(3, n, p=[0.45, 0.25, 0.3])]
        # Lumps at the lenders' limits: who wants more gets just that.
        loan = price * np.clip(np.minimum(limit, wanted), 0.1, None)
        # Dearer houses and older people: those who have owned one before.
        owner = rng.random(n) < expit(logit(owners) + dear + 0.7 * age)
        other = (
            earned
            * wealth
            * np.exp(rng.normal(size=n) + 0.5 * saver + 0.5 * alone + 0.3 * age)
            * np.where(owner, 1.0, 0.2)
        )
        owed = earned * 0.3 * rng.exponential(size=n) * (rng.random(n) < 0.4)

        payment = _annuity(loan, rate, months)
        housing, burden = _ratios(payment, price, taxes, earned, others, rng)

        # Credit records: one trait, each with noise of its own; shares hold over both groups
        # together.
        trait = rng.normal(size=n) - credit_gap * (group - minority)
        trait /= np.sqrt(1 + credit_gap**2 * minority * (1 - minority))
        worst = partial(_worst, trait, credit_tie, rng)
        poorly_kept = (1 - clean, (1 - clean + delinquent) / 2, delinquent, delinquent / 2)
        slow, poor, bad, worse = worst(*poorly_kept)
        # The worst first: nested shares, so that a level is what the worse ones leave.
        consumer = np.select([worse, bad, poor, slow], ["6", "5", "3", "2"], "1")
        consumer = np.where((consumer == "3") & (rng.random(n) < 0.4), "4", consumer)
        (failed,), (below,), (late, later) = worst(bankrupt), worst(substandard), worst(0.1, 0.03)
        paid = np.select([~owner, later, late], ["2", "4", "3"], "1")

        # The desk.
        facts = rng.random(n) < unverified * np.where(below, 5, 0.6)
        # What lies beyond the guidelines of 36 percent of debts and 80 of leverage.
        worry = np.clip(burden - 36, 0, 30) + np.clip(100 * loan / price - 80, 0, 40) / 2.5
        odds = leniency - credit_weight * below - 3 * facts - ratio_weight * worry - 0.5 * failed
        passed = rng.random(n) < expit(odds - 0.4 * (units - 1))
        # The one place where a group is treated otherwise, so that its size is known exactly.
        approved = passed & ~(group & (rng.random(n) < disparity))
        table = pd.DataFrame(
            {
                "loanamt": np.maximum(np.round(loan), 1).astype(int),
                "appinc": np.round(earned).astype(int),
                "unit": units.astype(int),
                "dep": np.minimum(children, 8),
                "term": months.astype(int),
                "price": np.round(price),
                "liq": _rounded(liquid, 0.8, rng),
                "netw": _rounded(liquid + other - owed, 0.75, rng),
                "hrat": _rounded(housing, 0.67, rng),
                "obrat": _rounded(burden, 0.67, rng),
                "unem": _pick(INDUSTRIES, n, rng),
                "married": wed,
                "self": alone,
                "gdlin": ~below,
                "pubrec": failed,
                "unver": facts,
                "min30": tract,
                "sch": school,
                "male": male,
                "approve": approved,
                "mortg": paid,
                "cons": consumer,
                "race": np.select([hispanic, group], ["hispanic", "black"], "white"),
            }
        )
        for name, share in {"min30": unlocated, **GAPS}.items():
            table[name] = table[name].convert_dtypes().mask(rng.random(n) < share)
        return table

    def derive(self, table: pd.DataFrame) -> pd.DataFrame:
        """Ratios that an underwriter would look at."""
        price, earned, loan, liquid = (
            table[name].astype(float) for name in ("price", "appinc", "loanamt", "liq")
        )
        return pd.DataFrame(
            {
                "loan to value": loan / price,
                "price to income": price / earned,
                "liquid to income": liquid / earned,
                "other debts": table["obrat"] - table["hrat"],
                "cost of a loan": table["hrat"] * earned / loan,
            }
        )


def _annuity(loan: np.ndarray, rate: float, months: np.ndarray) -> np.ndarray:
    """The equal monthly payments that pay a loan back at a yearly rate."""
    return loan * (rate / 12) / (1 - (1 + rate / 12) ** -months)


def _ratios(
    payment: np.ndarray,
    price: np.ndarray,
    taxes: float,
    earned: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Percent of the monthly income that goes to the house, and to all debts together."""
    # What the income leaves out (co-applicants, rents) is the noise.
    housing = (
        100
        * (payment + price * taxes / 1200)
        / (earned / 12)
        * np.exp(0.12 * rng.standard_t(2, len(price)))
    )
    # Households look for a house whose cost they can carry: far from a quarter of income is rare on
    # both sides.
    housing = 26 * (housing / 26) ** 0.7
    housing = np.clip(np.where(housing > 33, 33 + (housing - 33) * 0.3, housing), 1, 80)
    burden = housing + others
    return housing, np.minimum(np.where(burden > 38, 38 + (burden - 38) * 0.6, burden), 95)


def _worst(
    trait: np.ndarray, correlation: float, rng: np.random.Generator, *shares: float
) -> list[np.ndarray]:
    """Whether each row's record is among the worst share, for nested shares. The record is the trait
    and a noise of its own, drawn once for all of them: who is in the smaller share is in the larger.
    """
    noise = rng.normal(size=len(trait))
    record = correlation * trait + np.sqrt(1 - correlation**2) * noise
    return [record <= ndtri(share) for share in shares]


def _pick(weights: dict, n: int, rng: np.random.Generator) -> np.ndarray:
    shares = np.array(list(weights.values()), dtype=float)
    return rng.choice(np.array(list(weights), dtype=float), n, p=shares / shares.sum())


def _rounded(values: np.ndarray, whole: float, rng: np.random.Generator) -> np.ndarray:
    """Two decimals, or none in a share `whole` of the rows: as clerks write."""
    return np.round(np.where(rng.random(len(values)) < whole, np.round(values), values), 2)
