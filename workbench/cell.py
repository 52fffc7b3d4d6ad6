"""What notebooks/cell.ipynb needs besides generators and metrics: the data, its phases, and where its results go."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from workbench import results
from workbench.datasets import Dataset, load
from workbench.schema import InputError, Schema

EPOCH = "phases.jsonl"  # in a cell's result folder: one line when a phase begins, one when it ends


class Skipped(Exception):
    """Ends a cell with status `skipped`; its text is the reason."""


class Record:
    """The result folder of one cell, a temporary one where `out` is "" (a notebook run by hand)."""

    def __init__(self, out: str = ""):
        self.folder = Path(out or tempfile.mkdtemp(prefix="workbench-cell-"))
        self.folder.mkdir(exist_ok=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside; the runner reads the phase while it lasts."""
        self._note(name, "begin")
        yield
        self._note(name, "end")

    def _note(self, name: str, what: str) -> None:
        line = json.dumps({"phase": name, "what": what, "time": time.time()}) + "\n"
        with open(self.folder / EPOCH, "a", encoding="utf-8") as file:
            file.write(line)

    def save(self, rows: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, int]:
        """Write rows.parquet and synthetic.parquet; returns their sizes in bytes."""
        tables = {"synthetic.parquet": synthetic, "rows.parquet": rows}
        for name, table in tables.items():
            results.write(table, self.folder / name)
        return {name: (self.folder / name).stat().st_size for name in tables}

    def seconds(self) -> pd.Series:
        """Seconds of each finished phase."""
        return pd.Series(phases((self.folder / EPOCH).read_text())[0], name="seconds").round(3)


def phases(text: str) -> tuple[dict[str, float], str]:
    """Seconds of each finished phase, and the phase that has begun and not ended ("" for none), from EPOCH's text."""
    begun, seconds, current = {}, {}, ""
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # a killed cell's last line
        note = json.loads(line)
        if note["what"] == "begin":
            begun[note["phase"]], current = note["time"], note["phase"]
        else:
            seconds[note["phase"]], current = note["time"] - begun[note["phase"]], ""
    return seconds, current


def read_data(name: str, snapshot: str = "", split: int = 0) -> Dataset:
    """The dataset as planned, from its snapshot folder; `load` splits it where there is none (a notebook run by hand)."""
    if not snapshot:
        return load(name, seed=split)
    folder = Path(snapshot)
    schema = Schema.from_json((folder / "schema.json").read_text(encoding="utf-8"))
    train, test = (schema.cast(pd.read_parquet(folder / f"{part}.parquet")) for part in ("train", "test"))
    return Dataset(name, train, test, schema, json.loads((folder / "provenance.json").read_text(encoding="utf-8")))


def snapshot(data: Dataset) -> dict[str, bytes]:
    """The files from which `read_data` makes a dataset again, equal to the last bit."""
    provenance = json.dumps(dict(data.provenance), default=str, ensure_ascii=False)
    files = {"schema.json": data.schema.to_json().encode(), "provenance.json": provenance.encode()}
    for part in ("train", "test"):
        files[f"{part}.parquet"] = getattr(data, part).to_parquet(index=False, compression="zstd", engine="pyarrow")
    return files


def check_synthetic(data: Dataset, synthetic: pd.DataFrame, rows: int) -> None:
    """Raises InputError naming the first way in which a generator's table breaks the contract."""
    problems = data.schema.check(synthetic)
    if len(synthetic) != rows:
        problems.append(f"{len(synthetic)} rows were sampled where {rows} were asked for.")
    if problems:
        raise InputError(f"the generator broke its contract: {problems[0]}")


def threads() -> int | None:
    """How many threads this cell was given; None by hand."""
    value = os.environ.get("WORKBENCH_THREADS")
    return int(value) if value else None
