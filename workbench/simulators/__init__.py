"""Simulators: how a world makes its rows, written as a program, with priors over what is not known
of it.

A simulator is a class without arguments, or a plain function, with attributes that declare it:

    columns     column -> kind, in order: what it makes
    priors      parameter -> Prior, for every parameter
    missing     names of the columns that may have missing values (left out: none)
    simulate    simulate(n, rng, **parameters): a table of exactly n rows; all randomness from `rng`
                (a function is its own)
    derive      derive(table): a DataFrame of further numbers, computed from real and simulated rows
                alike, that tell parameters well, such as a ratio of two columns; the calibration
                looks at them too (left out: none)

The generator `simulation` draws parameters, calibrates those that are to be calibrated to a real
table, and simulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import InputError, nearest

if TYPE_CHECKING:
    import numpy as np

SHAPES = ("uniform", "log-uniform", "normal", "whole")

SIMULATORS: dict[str, str] = {  # name -> "module:Class"
    "emergency": "workbench.simulators.emergency:Emergency",
    "payments": "workbench.simulators.payments:Payments",
    "mortgage": "workbench.simulators.mortgage:MortgageDesk",
    "digits": "workbench.simulators.digits:Digits",
}


@dataclass(frozen=True)
class Prior:
    """What is known of a parameter before any data: it lies in [low, high].

    shape is uniform, log-uniform (both ends above 0), normal (about the middle, its standard
    deviation a quarter of the width, cut off at the ends) or whole (uniform over whole numbers). A
    parameter that is not calibrated is randomized: it is drawn from its prior whenever a table is
    simulated (domain randomization, Tobin et al. 2017).

    >>> Prior(1, 100, "dollars", "log-uniform").at(0.5)
    10.0
    """

    low: float
    high: float
    unit: str = ""
    shape: str = "uniform"
    calibrated: bool = True

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise InputError(
                f"a prior has shape {self.shape!r}; {nearest(str(self.shape), SHAPES)}"
            )
        if not self.low < self.high or (self.shape == "log-uniform" and self.low <= 0):
            raise InputError(
                f"a {self.shape} prior runs from {self.low} to {self.high}; give low < high, above"
                " 0 for logarithms."
            )

    def at(self, u: float) -> float:
        """The quantile at level u in [0, 1]."""
        if self.shape == "whole":
            return float(min(self.low + (self.high - self.low + 1) * u // 1, self.high))
        if self.shape == "log-uniform":
            return float(self.low * (self.high / self.low) ** u)
        if self.shape == "normal":
            from scipy.stats import truncnorm

            u = truncnorm.ppf(u, -2, 2) / 4 + 0.5
        return float(self.low + (self.high - self.low) * u)


def draw(priors: Mapping[str, Prior], rng: np.random.Generator) -> dict[str, float]:
    """One value of every parameter, each drawn from its prior on its own."""
    return {name: prior.at(rng.random()) for name, prior in priors.items()}
