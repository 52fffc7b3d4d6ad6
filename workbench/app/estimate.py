"""How long a run of the page will take, before it is started: from the same generator's earlier seeds
where there are any, otherwise from the typical seconds of `batch.expected`, by the number of values.

It is a guess: good enough to choose between waiting and a coffee.
"""

from __future__ import annotations

from workbench.app.session import SLOW, Session
from workbench.batch.expected import MEASURED_ON, typical_seconds

SCORING = 7.0  # the metrics that are always measured, on a table as large as MEASURED_ON
SCORING_SLOW = 18.0  # and the slow ones
START = 3.0  # the worker process


def seconds(session: Session) -> dict[str, float]:
    """Generator -> seconds of what is chosen and not there yet."""
    # By the number of values: fits and scores grow with rows and columns alike.
    table = session.data.train
    size = len(table) * len(session.data.schema.modelled.columns) / MEASURED_ON
    found: dict[str, float] = {}
    for name, seed in session.pairs:
        missing = session.missing(name, seed)
        if not missing:
            continue
        found[name] = found.get(name, 0.0) + _one(session, name, seed, missing, size)
    return found


def _one(session: Session, name: str, seed: int, missing: list[str], size: float) -> float:
    """Of one generator and seed."""
    # Slow metrics in proportion; the quick ones share their fits, and come together.
    scoring = sum(metric in SLOW for metric in missing) / len(SLOW) * SCORING_SLOW
    if any(metric not in SLOW for metric in missing):
        scoring += SCORING
    # Scoring fits models, whose start takes its time on the smallest table too.
    scoring *= max(size, 0.5)
    if session.result(name, seed):
        return scoring  # its rows are there
    earlier = [found for (other, _), found in session.finished.items() if other == name]
    # Another seed of this very table, with these parameters: no list of seconds knows better.
    if earlier:
        return earlier[0].seconds
    return typical_seconds(name) * max(size, 0.1) + scoring


def words(session: Session) -> str:
    """ "About 40 s, most of it ctgan."."""
    found = seconds(session)
    if not found:
        return "Nothing is left to run."
    total = START + sum(found.values())
    # Who waits wants to know which choice to drop.
    longest = max(found, key=lambda name: found[name])
    most = f", most of it {longest}" if found[longest] > total / 2 else ""
    return f"About {rounded(total)}{most}."


def rounded(total: float) -> str:
    """A guess with one digit that counts: "40 s", "3 minutes", "2 hours"."""
    if total < 90:
        return f"{max(round(total, -1), 10):.0f} s"
    if total < 5_400:
        return f"{total / 60:.0f} minutes"
    return f"{total / 3_600:.0f} hours"
