"""A fit of a private generator, played again on a neighbouring table that releases the same noisy
answers: each query's answer may move by what it was charged for, and nothing else may move at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.generators import make
from workbench.generators.private import dp_gan
from workbench.generators.private.accounting import Ledger
from workbench.generators.private.noise import Noise
from workbench.tables.schema import Schema

# A clock, and the hook itself; nothing of them is drawn from the rows.
COST = Ledger.cost
COSTS: dict[tuple, float] = {}
ENOUGH = 6.0  # noise multiplier of dp-gan's steps
NOT_KEPT = {"_start", "_noise", "_partition", "progress"}


@dataclass
class Query:
    """One look at the rows.

    kind      gaussian, laplace, choice, subset (a draw of rows) or normal (noise in floating point)
    scale     of the noise; of a choice its epsilon, of a subset the chance of a row
    answer    before the noise; the scores of a choice are divided by what one row may move
    released  what the fit went on with
    """

    kind: str
    scale: float
    answer: np.ndarray
    released: object


class Added(np.ndarray):
    """Noise that shows to its maker which counts it is added to."""

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        plain = [np.asarray(one) for one in inputs]
        others = [one for one in inputs if not isinstance(one, Added)]
        if ufunc is np.add and others and self.watcher is not None:
            return self.watcher.release(np.asarray(others[0], dtype=float), self.view(np.ndarray))
        return getattr(ufunc, method)(*plain, **settings)

    def __array_finalize__(self, source):
        self.watcher = None


class WatchedSum(torch.Tensor):
    """A clipped sum of gradients that shows to the noise what it is added to."""

    def __add__(self, added):
        plain = self.as_subclass(torch.Tensor)
        return self.watcher.release(plain, added)


class Recorded(Noise):
    """Notes every query: its answer before the noise, the noise's scale, and what was released."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.queries: list[Query] = []

    def discrete_gaussian(self, deviation, shape):
        return self._watched("gaussian", deviation, super().discrete_gaussian(deviation, shape))

    def discrete_laplace(self, scale, shape):
        return self._watched("laplace", scale, super().discrete_laplace(scale, shape))

    def choice(self, scores, spread, epsilon):
        self._open = "choice", epsilon
        chosen = super().choice(scores, spread, epsilon)
        return self._note(np.asarray(scores, dtype=float) / spread, chosen)

    def subset(self, rows, chance):
        self._open = "subset", chance
        return self._note(np.zeros(0), super().subset(rows, chance))

    def normal(self, scale, size):
        # A tensor forgets what an array of noise knows, so the sum itself is watched: see `watched`.
        self._open = "normal", scale
        return super().normal(scale, size)

    def release(self, answer, drawn):
        return self._note(answer, answer + drawn)

    def _watched(self, kind, scale, drawn):
        self._open = kind, scale
        watched = drawn.view(Added)
        watched.watcher = self
        return watched

    def _note(self, answer, released):
        self.queries.append(Query(*self._open, np.asarray(answer, dtype=float), released))
        return released


class Replayed(Recorded):
    """Releases what another fit released, whatever the rows say: so both fits ask the same queries,
    and their answers differ by what the rows differ in.

    `blank` is the number of a row that dp-gan never draws nor counts; None draws the same rows.
    """

    def __init__(self, earlier: Recorded, blank: int | None = None):
        super().__init__(0)
        self._earlier, self.blank = earlier.queries, blank

    def _note(self, answer, released):
        # A fit that asks more than the first one has nothing to be released: it gets its own.
        place = len(self.queries)
        if place < len(self._earlier) and self._earlier[place].kind == self._open[0]:
            released = self._earlier[place].released
        super()._note(answer, released)
        if self._open[0] == "subset" and self.blank is not None:
            return released[released != self.blank]
        return released


@dataclass
class Played:
    """A fit whose noise was watched, and where its caller's random generator stopped."""

    generator: object
    noise: Recorded
    rng: np.random.Generator


def fitted_with(
    noise: Noise, name: str, table: pd.DataFrame, schema: Schema, settings: dict, **hooks
) -> Played:
    """A fit with this noise; `hooks` replace attributes of the generator before it."""
    generator = make(name, settings)
    generator._noise = lambda: noise
    for attribute, value in hooks.items():
        setattr(generator, attribute, value)
    rng = np.random.default_rng(1)
    # Only dp-gan adds sums of gradients to noise; the others' counts are seen by the noise itself.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dp_gan, "clipped_sums", watched(dp_gan.clipped_sums, noise))
        # Its search takes most of a small fit; what it finds is tested beside the accountant.
        patch.setattr(dp_gan, "least_noise", lambda *wanted: ENOUGH)
        patch.setattr(Ledger, "cost", remembered_cost)
        if getattr(noise, "blank", None) is not None:
            patch.setattr(dp_gan, "choose_common_levels", counting_all_but(noise.blank))
        generator.fit(table, schema, rng)
    return Played(generator, noise, rng)


def remembered_cost(ledger: Ledger, query=None, count: int = 0) -> float:
    """The cost of the same queries, found once for all fits."""
    key = (ledger.delta, frozenset(ledger.queries.items()), query, count)
    if key not in COSTS:
        COSTS[key] = COST(ledger, query, count)
    return COSTS[key]


def counting_all_but(blank: int) -> Callable:
    """The counts of levels without the row that is blank."""
    plain = dp_gan.choose_common_levels

    def choose(domain, table, *others):
        return plain(domain, table.drop(index=blank), *others)

    return choose


def watched(clipped_sums: Callable, noise: Noise) -> Callable:
    """The sums of gradients, each telling the noise what it is."""

    def sums(critic, real, clip):
        found = []
        for total in clipped_sums(critic, real, clip):
            one = total.as_subclass(WatchedSum)
            one.watcher = noise
            found.append(one)
        return found

    return sums


def differences(one: object, two: object, path: str = "fit", seen: dict | None = None) -> list[str]:
    """The places where two fitted generators are not the same, to the bit."""
    seen = {} if seen is None else seen
    if id(one) in seen:
        return []
    seen[id(one)] = one  # kept alive, so that its number is not given to another object
    if type(one) is not type(two):
        return [path]
    parts, others = parts_of(one), parts_of(two)
    if parts is None:
        return [] if same(one, two) else [path]
    if list(parts) != list(others):
        return [path]
    found = []
    for key in parts:
        found += differences(parts[key], others[key], f"{path}.{key}", seen)
    return found


def same(one: object, two: object) -> bool:
    """Whether two values are the same; a number that is none is the same as itself."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, (pd.DataFrame, pd.Series, pd.Index)):
        return one.equals(two)
    if isinstance(one, np.ndarray):
        return one.shape == two.shape and pd.Series(one.ravel()).equals(pd.Series(two.ravel()))
    if isinstance(one, np.random.Generator):
        return one.bit_generator.state == two.bit_generator.state
    return bool(one == two or (one != one and two != two))


def parts_of(thing: object) -> dict | None:
    """What a thing is made of, by name; None where it is one value."""
    if isinstance(thing, dict):
        return thing
    if isinstance(thing, (list, tuple)):
        return dict(enumerate(thing))
    # A method stands for the object that it belongs to: make() wraps the generator's own three.
    if callable(thing) and not isinstance(thing, nn.Module):
        return {"self": thing.__self__} if hasattr(thing, "__self__") else {}
    values = (torch.Tensor, pd.DataFrame, pd.Series, pd.Index, np.ndarray, np.random.Generator)
    if isinstance(thing, values) or not hasattr(thing, "__dict__"):
        return None
    parts = {key: value for key, value in vars(thing).items() if key not in NOT_KEPT}
    if isinstance(thing, nn.Module):
        parts |= thing.state_dict()
    return parts
