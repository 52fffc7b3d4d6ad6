"""What trained networks share: epochs within a budget of seconds, progress, and the stop at a loss
that is no number.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from workbench.errors import InputError


class Diverged(RuntimeError):
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

    The first epoch is timed and lowers `total` to what fits, so that a schedule knows its end from
    the second epoch on; training also ends where the seconds run out before that. Seconds make a
    result depend on the machine's speed: `total` and `done` say what was trained, and `most=total`
    trains the same again where the time did not run out.
    """

    most: int
    seconds: float | None = None
    progress: object = bar
    total: int = field(init=False)
    done: int = field(init=False, default=0)

    def __post_init__(self):
        self.total = self.most
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(
                f"seconds is {self.seconds}; give a number above 0, or none for no limit."
            )

    def __iter__(self) -> Iterator[int]:
        start = time.perf_counter()
        for epoch in self.progress(range(self.most)):
            if epoch >= self.total:
                return
            yield epoch
            self.done, spent = epoch + 1, time.perf_counter() - start
            if self.seconds is None:
                continue
            if epoch == 0:
                self.total = max(1, min(self.most, int(self.seconds / spent)))
            elif spent + spent / self.done > self.seconds:
                return

    def check(self, loss: float, method: str, cause: str) -> None:
        """Raises Diverged, with the epoch and the likely cause, where the loss is not finite."""
        if not math.isfinite(loss):
            raise Diverged(
                f"{method}: the loss is {loss} in epoch {self.done + 1} of {self.total}; most likely {cause}."
            )
