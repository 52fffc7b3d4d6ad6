"""What a grid will cost, before it runs: its cells, and the CPU seconds that earlier cells took.

A cell is expected to take what earlier cells of the same generator took: of the same dataset and
number of train rows where there are any, else of the dataset nearest in size, in proportion to its
train rows. Where nobody has run the generator yet its limit is all that is known.

The page of one table has no earlier cells to look at: it takes `typical_seconds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch import grid as grids
from workbench.batch.folder import Folder
from workbench.batch.results import earlier_cells
from workbench.batch.runner import pending_cells

MEASURED, SCALED, LIMIT = "measured", "by size", "limit"
COLUMNS = ["dataset", "label", "train_rows", "cells", "left", "seconds", "basis"]


# Values of the table that the seconds below were measured on: rows times columns of loans' train.
MEASURED_ON = 1_393 * 23
# Fit and sample of each generator at its defaults, CPU seconds on one core.
TYPICAL: dict[str, float] = {
    "independent": 0.05,
    "gaussian-copula": 0.2,
    "vine-copula": 8.0,
    "cart": 0.3,
    "parametric": 0.4,
    "kernel-density": 0.1,
    "arf": 1.0,
    "bayes-tree": 0.2,
    "bayes-tan": 0.2,
    "bayes-hillclimb": 0.3,
    "privbayes": 0.2,
    "mst": 0.6,
    "dp-tan": 0.7,
    "aim": 16.0,
    "dp-merf": 20.0,
    "gan": 2.6,
    "ctgan": 51.0,
    "pate-gan": 3.2,
    "dp-gan": 35.0,
    "tvae": 21.0,
    "diffusion": 10.0,
    "autoregressive": 11.0,
    "reweighed": 0.4,
    "per-group": 1.0,
    "holdout": 0.01,
    "copy": 0.01,
    "permuted": 0.01,
    "smote": 0.3,
}
UNKNOWN = 10.0  # of a generator that was never measured, such as a file of yours


def typical_seconds(generator: str) -> float:
    """What a generator takes at its defaults on a table of MEASURED_ON values."""
    return TYPICAL.get(generator, UNKNOWN)


@dataclass(frozen=True)
class Expected:
    """table: a row for each dataset and generator, COLUMNS; seconds are CPU seconds of one cell.

    basis: MEASURED, SCALED or LIMIT.
    """

    table: pd.DataFrame
    cores: int

    @property
    def hours(self) -> float:
        """CPU hours of the cells that are left, of those that anything is known of."""
        # A limit is no expectation: it is told apart.
        known = self.table[self.table["basis"] != LIMIT]
        return float((known["seconds"] * known["left"]).sum() / 3600)

    @property
    def at_most(self) -> float:
        """CPU hours that the others can take, by their limits."""
        unknown = self.table[self.table["basis"] == LIMIT]
        return float((unknown["seconds"] * unknown["left"]).sum() / 3600)

    def __str__(self) -> str:
        lines = [f"{'dataset':<20} {'generator':<28} {'train rows':>10} {'cells':>6} {'left':>6}"]
        lines[0] += f" {'CPU s each':>11}  known from"
        for row in self.table.itertuples():
            lines.append(
                f"{row.dataset:<20.20} {row.label:<28.28} {row.train_rows:>10,} {row.cells:>6,}"
                f" {row.left:>6,} {row.seconds:>11,.1f}  {row.basis}"
            )
        cells, left = int(self.table["cells"].sum()), int(self.table["left"].sum())
        lines.append(
            f"{cells:,} cells, {left:,} of them left: {self.hours:.1f} CPU hours expected, or"
            f" {self.hours / self.cores:.1f} hours on {self.cores} cores."
        )
        if self.at_most:
            unknown = int(self.table.loc[self.table["basis"] == LIMIT, "left"].sum())
            lines.append(
                f"Nothing is known of {unknown:,} cells; by their limits they take"
                f" {self.at_most:.1f} CPU hours at most."
            )
        return "\n".join(lines)


def expected(folder: Path | str, earlier: Iterable[Path | str] = (), cores: int = 1) -> Expected:
    """What the cells of folder/grid.toml will cost on `cores` cores.

    earlier: reports and results from which the seconds are taken, besides the folder itself.
    """
    home = Folder(folder)
    plan = grids.plan(grids.read(home.path))
    # What is finished costs nothing more, but is counted.
    left = {cell.key for cell in pending_cells(plan, home)}
    # Seconds of other versions and machines too: a guess wants evidence, not proof.
    known = earlier_cells([home.path, *map(Path, earlier)])
    lines = []
    groups: dict[tuple[str, str], list[grids.Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.dataset, cell.label), []).append(cell)
    for (dataset, label), cells in groups.items():
        train_rows = len(plan.data_of(cells[0]).train)
        seconds, basis = _seconds(known, cells[0], train_rows)
        if basis == LIMIT:
            seconds = plan.limits_of(cells[0]).seconds
        waiting = sum(cell.key in left for cell in cells)
        lines.append((dataset, label, train_rows, len(cells), waiting, seconds, basis))
    return Expected(pd.DataFrame(lines, columns=COLUMNS), cores)


def _seconds(known: pd.DataFrame, cell: grids.Cell, train_rows: int) -> tuple[float, str]:
    """CPU seconds of one such cell and how they are known; of a LIMIT none are."""
    same = known[known["generator"] == cell.generator]
    same = same[same["cpu_seconds"].notna() & same["train_rows"].notna()]
    # Other parameters may take a hundred times as long.
    alike = same[same["params"] == grids.canonical(cell.params)]
    if cell.generator == grids.GIVEN:
        alike = same
    if not len(alike):
        return np.nan, LIMIT
    # The same table at the same size knows best.
    sizes = alike["train_rows"].astype(float)
    here = alike[(alike["dataset"] == cell.dataset) & (sizes == train_rows)]
    if len(here):
        return float(here["cpu_seconds"].median()), MEASURED
    # Twice as large is as far away as half as large.
    distance = np.abs(np.log(sizes / train_rows))
    nearest = alike[distance == distance.min()]
    per_row = nearest["cpu_seconds"] / nearest["train_rows"].astype(float)
    return float(per_row.median() * train_rows), SCALED


def neighbours(folder: Path | str) -> list[Path]:
    """The other reports beside a report, and the results beside their folder."""
    home = Path(folder).resolve()
    places = [*home.parent.glob("*/plan.json"), *home.parent.parent.glob("results/*/results.json")]
    return sorted(place.parent for place in places if place.parent != home)
