"""What trained networks share: epochs within a budget of seconds, progress, and the stop at a loss
that is no number.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from workbench.errors import Failure, InputError


class Diverged(Failure):
    """Training left the finite numbers; there is nothing to sample from."""


def bar(epochs: range, doing: str = "training", unit: str = "epoch") -> Iterable[int]:
    """The epochs, or other steps, with a progress bar, on a terminal or in a notebook, once they
    have taken two seconds.
    """
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        return epochs
    from tqdm.auto import tqdm

    return tqdm(epochs, desc=doing, unit=unit, delay=2, leave=False)


@dataclass
class Epochs:
    """The numbers of the epochs, at most `most`, and no more than fit into `seconds` (None: no
    limit).

    A training that goes through `steps` ends within an epoch where the seconds run out; one that
    does not ends with the last epoch that fits. Seconds make a result depend on the machine's
    speed: `done` says how many epochs were trained, a part of one included, but no number of epochs
    trains the same again, since a schedule follows the time. Give epochs where that matters.
    """

    most: int
    seconds: float | None = None
    progress: Callable[..., Iterable[int]] = bar
    done: float = field(init=False, default=0)
    _in_steps: bool = field(init=False, default=False, repr=False)
    _epoch: int = field(init=False, default=0, repr=False)

    def __post_init__(self):
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(
                f"seconds is {self.seconds}; give a number above 0, or none for no limit."
            )

    def __iter__(self) -> Iterator[int]:
        self._start, self._is_over = time.perf_counter(), False
        for epoch in self.progress(range(self.most)):
            self._epoch = epoch
            yield epoch
            if self._is_over:
                return
            self.done = epoch + 1
            # Of a training in whole epochs the next must fit; in steps it may end half-way
            if self.seconds is None:
                continue
            next_end = self._spent * (1 + 1 / self.done)
            if next_end > self.seconds and not self._in_steps:
                return

    def steps(self, count: int) -> Iterator[int]:
        """The numbers of the steps of the epoch under way; fewer where the seconds run out."""
        self._in_steps = True
        for step in range(count):
            yield step
            self.done = self._epoch + (step + 1) / count
            if self.seconds is not None and self._spent >= self.seconds:
                self._is_over = True
                return

    def share(self, epoch: int, step: int, steps: int) -> float:
        """How much of the training is done before a step, from 0 to 1: of the epochs, or of the
        seconds where these run out sooner. For schedules.
        """
        by_epochs = (epoch + step / steps) / self.most
        if self.seconds is None:
            return by_epochs
        return min(1.0, max(by_epochs, self._spent / self.seconds))

    @property
    def _spent(self) -> float:
        return time.perf_counter() - self._start

    def check(self, loss: float, method: str, cause: str) -> None:
        """Raises Diverged, with the epoch and the likely cause, where the loss is not finite."""
        if not math.isfinite(loss):
            raise Diverged(
                f"{method}: the loss is {loss} in epoch {self._epoch + 1} of {self.most}; most"
                f" likely {cause}."
            )

    def check_rate(self, loss: float, method: str, learning_rate: float) -> None:
        """`check` of a loss that a smaller learning rate would have kept finite."""
        self.check(loss, method, f"the learning rate {learning_rate:g} is too large for this table")
