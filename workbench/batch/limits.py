"""The limits of a cell, and how a table of grid.toml that holds them is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.files import Lines, check_toml

LIMITS = {"seconds": float, "memory_mb": float, "retries": int, "wall_seconds": float}
LEAST = {"seconds": 1, "memory_mb": 50, "retries": 0, "wall_seconds": 1}


@dataclass(frozen=True)
class Limits:
    """Of one cell. seconds: CPU seconds over all its processes. memory_mb: MB (1e6 bytes) over all
    its processes. retries: further attempts. wall_seconds: of the clock, ten times `seconds` where
    it is None; only a cell that waits, or a very busy machine, comes near it.
    """

    seconds: float = 3600
    memory_mb: float = 8000
    retries: int = 0
    wall_seconds: float | None = None


def check_limits(limits: Mapping, where: Lines, header: str, index: int = 0) -> None:
    """Raises InputError naming the line and the key of the first limit that none can be."""
    check_toml(dict(limits), LIMITS, where, header, index)
    for key, least in LEAST.items():
        if limits.get(key, least) < least:
            sentence = f"{key} is {limits[key]}; give at least {least}."
            raise where.error(header, index, key, sentence)
