"""CPU seconds of writing a report's page: python benchmarks/page_speed.py [CELLS ...]

The cells are made up: one real evaluation of loans, moved a little for each generator and seed, and
stored as a run stores them. Prints one line a size: seconds to read the folder, to make the
sections, and of the whole `workbench report`, kernel included.
"""

import cProfile
import json
import os
import pstats
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np

import workbench as wb
from workbench.batch import grid, keys, runner
from workbench.batch.spec import Outcome
from workbench.metrics.rows import write_rows
from workbench.report.batch import Batch
from workbench.report.publish import report, section_makers

METHODS = [name for name in grid.GENERATORS if name not in ("llm", "great", "simulation", "gan")]
SEEDS = 3  # of each generator, as in the default report


class Stored:
    """A backend whose cells end at once, with the same rows moved a little."""

    slots = 1

    def __init__(self, rows, folder: Path):
        self.rows, self.phases, self.path = rows, {}, folder / "rows.parquet"

    def submit(self, spec) -> Future:
        rng = np.random.default_rng(int(spec.key[:8], 16))
        moved = self.rows.copy()
        shift = rng.normal(0, 0.02, len(moved))
        for name in ("value", "low", "high"):
            moved[name] = moved[name] + shift
        write_rows(moved, self.path)
        content = self.path.read_bytes()
        table = b"no part of a page"
        files = {"rows.parquet": content, "synthetic.parquet": table, "cell.ipynb": b"{}"}
        files["log.txt"] = b""
        outcome = Outcome(
            "ok",
            phase="",
            phases=dict.fromkeys(("load", "fit", "sample", "evaluate", "save"), 1.0),
            phases_cpu=dict.fromkeys(("load", "fit", "sample", "evaluate", "save"), 1.0),
            seconds=5.0,
            cpu_seconds=5.0,
            peak_mb=300.0,
            hashes={"rows": keys.digest(content), "synthetic": keys.digest(table)},
            rows=1393,
            started="2026-01-01T00:00:00Z",
            files=files,
            **keys.machine(),
        )
        future: Future = Future()
        future.set_result(outcome)
        return future

    def close(self) -> None: ...


def make_folder(place: Path, cells: int, rows) -> Path:
    """A report of about so many cells: more generators first, then more seeds."""
    count = max(1, min(len(METHODS), cells // SEEDS))
    seeds = max(1, round(cells / count))
    names = ", ".join(f'"{name}"' for name in METHODS[:count])
    folder = place / f"page-{cells}"
    folder.mkdir()
    text = f'datasets = ["loans"]\ngenerators = [{names}]\nseeds = {list(range(seeds))}\n'
    (folder / "grid.toml").write_text(text)
    os.fsync = lambda descriptor: None  # the disk is not what this measures
    runner.run(folder, progress=False, backend=Stored(rows, place))
    return folder


def make_sections(batch: Batch) -> int:
    """All that the report's notebook makes, in its order; the number of characters."""
    size = 0
    for make in section_makers():
        began = time.process_time()
        text = make(batch)
        assert "could not be made" not in text, text
        size += len(text)
        print(f"    {time.process_time() - began:6.2f} {make.__name__}")
    return size


def main(sizes: list[int]) -> None:
    place = Path(tempfile.mkdtemp(prefix="page-speed-"))
    data = wb.load("loans")
    known = Path(os.environ.get("PAGE_SPEED_ROWS", place / "rows.parquet"))
    if known.exists():
        from workbench.metrics.rows import read_rows

        rows = read_rows(known)
    else:
        rows = wb.evaluate(data, wb.generate("cart", data)).rows
        write_rows(rows, known)
    for cells in sizes:
        folder = make_folder(place, cells, rows)
        began = time.process_time()
        batch = Batch.read(folder)
        read = time.process_time() - began
        profile = cProfile.Profile()
        began = time.process_time()
        if "PROFILE" in os.environ:
            profile.enable()
        assert (batch.cells["status"] == "ok").all()
        size = make_sections(batch)
        profile.disable()
        sections_seconds = time.process_time() - began
        before = os.times()
        report(folder)
        after = os.times()
        whole = sum(after[:4]) - sum(before[:4])
        about = {
            "cells": len(batch.cells),
            "read": read,
            "sections": sections_seconds,
            "report": whole,
        }
        about = {name: round(value, 2) for name, value in about.items()}
        print(json.dumps(about | {"megabytes": round(size / 1e6, 1)}))
        if "PROFILE" in os.environ:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    shutil.rmtree(place)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [69, 2000])
