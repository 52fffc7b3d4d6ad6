"""Texts without a language model, as the grid beside this file names them."""

from dataclasses import dataclass

from workbench.generators.language import markov


@dataclass
class Markov(markov.Markov):
    """A Markov chain over train's words, one for each topic."""


@dataclass
class Resampled(markov.Resampled):
    """Train's own sentences, drawn with replacement."""
