"""What notebooks/cell.ipynb needs besides generators and metrics: the data, its phases, and where
its results go.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import psutil

from workbench.errors import InputError
from workbench.metrics.rows import write_rows
from workbench.tables.datasets import Dataset, load
from workbench.tables.schema import Schema

EPOCH = "phases.jsonl"  # in a cell's result folder: one line when a phase begins, one when it ends
FACTS = "facts.json"  # there too: what the generator tells of itself
MOST_FACTS = 65536  # bytes


class Skipped(Exception):
    """Ends a cell with status `skipped`; its text is the reason."""


class Record:
    """The result folder of one cell, a temporary one where `out` is "" (a notebook run by hand)."""

    def __init__(self, out: str = ""):
        self.folder = Path(out or tempfile.mkdtemp(prefix="workbench-cell-"))
        self.folder.mkdir(exist_ok=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside, and its CPU seconds; the runner reads the phase while it lasts."""
        self._note(name, "begin")
        yield
        self._note(name, "end")

    def _note(self, name: str, what: str) -> None:
        line = (
            json.dumps({"phase": name, "what": what, "time": time.time(), "cpu": cpu_seconds()})
            + "\n"
        )
        # Opened and closed for each line: what a killed cell has begun is on disk.
        with open(self.folder / EPOCH, "a", encoding="utf-8") as file:
            file.write(line)

    @contextmanager
    def facts(self, model: object) -> Iterator[None]:
        """Keep what `model.facts`, a dict of JSON values, tells after what is inside: tokens were
        paid for by a failure too.

        Raises InputError, once what is inside went well, where it is anything else or longer than
        MOST_FACTS bytes.
        """
        try:
            yield
        # Also an interrupt: tokens were paid for whatever ended the fit.
        except BaseException:
            with suppress(Exception):
                self._keep(model)
            raise
        self._keep(model)

    def _keep(self, model: object) -> None:
        if facts := getattr(model, "facts", None):
            (self.folder / FACTS).write_text(json_facts(facts), encoding="utf-8")

    def save(self, rows: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, int]:
        """Write rows.parquet and synthetic.parquet; returns their sizes in bytes."""
        tables = {"synthetic.parquet": synthetic, "rows.parquet": rows}
        for name, table in tables.items():
            write_rows(table, self.folder / name)
        return {name: (self.folder / name).stat().st_size for name in tables}

    def seconds(self) -> pd.Series:
        """Seconds of each finished phase."""
        return pd.Series(phases((self.folder / EPOCH).read_text())[0], name="seconds").round(3)


def cpu_seconds() -> float:
    """CPU seconds, user and system, of this process, its children that ended, and all descendants
    that live.

    What descendants took is known in steps of 10 ms, and of one that ended only where its parent
    asked how.
    """
    # The children that still live are asked one by one: a kernel may have started its own.
    me = psutil.Process()
    total = time.process_time() + sum(me.cpu_times()[2:4])  # of children that ended
    for child in me.children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            total += sum(child.cpu_times()[:4])
    return total


def json_facts(facts: object) -> str:
    """A generator's facts as JSON text. Raises InputError for anything but a dict, by text, of JSON
    values, in bounded size.
    """
    if not isinstance(facts, dict):
        raise InputError(f"a generator's facts must be a dict; these are a {type(facts).__name__}.")
    for name, value in facts.items():
        one = {name: value}
        try:
            # There and back again: tuples, NaN and keys that are no text would come back as
            # something else.
            alike = json.loads(json.dumps(one, allow_nan=False, ensure_ascii=False).encode()) == one
        except (TypeError, ValueError, RecursionError):
            alike = False
        if not alike:
            raise InputError(
                f"fact {name!r} is {str(value)[:60]!r}; give texts, finite numbers, booleans, None,"
                " lists and dicts."
            )
    text = json.dumps(facts)
    if len(text) > MOST_FACTS:
        raise InputError(
            f"a generator's facts are {len(text):,} bytes of JSON; tell at most {MOST_FACTS:,}."
        )
    return text


def phases(text: str) -> tuple[dict[str, float], dict[str, float], str]:
    """Seconds and CPU seconds of each finished phase, and the phase that began last ("" for none),
    from EPOCH's text.
    """
    begun, seconds, cpu, current = {}, {}, {}, ""
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # a killed cell's last line
        # A phase that began and never ended is the one in which a cell died.
        note = json.loads(line)
        if note["what"] == "begin":
            begun[note["phase"]], current = note, note["phase"]
        else:
            seconds[note["phase"]], cpu[note["phase"]] = (
                note[name] - begun[note["phase"]][name] for name in ("time", "cpu")
            )
    return seconds, cpu, current


def read_data(name: str, snapshot: str = "", split: int = 0) -> Dataset:
    """The dataset as planned, from its snapshot folder; `load` splits it where there is none (a
    notebook run by hand).
    """
    if not snapshot:
        return load(name, seed=split)
    folder = Path(snapshot)
    schema = Schema.from_json((folder / "schema.json").read_text(encoding="utf-8"))
    train, test = (
        schema.cast(pd.read_parquet(folder / f"{part}.parquet")) for part in ("train", "test")
    )
    return Dataset(
        name,
        train,
        test,
        schema,
        json.loads((folder / "provenance.json").read_text(encoding="utf-8")),
    )


def snapshot(data: Dataset) -> dict[str, bytes]:
    """The files from which `read_data` makes a dataset again, equal to the last bit."""
    # As JSON, and not pickled: a snapshot is read by another process, perhaps on another machine.
    provenance = json.dumps(dict(data.provenance), default=str, ensure_ascii=False)
    files = {"schema.json": data.schema.to_json().encode(), "provenance.json": provenance.encode()}
    for part in ("train", "test"):
        files[f"{part}.parquet"] = getattr(data, part).to_parquet(
            index=False, compression="zstd", engine="pyarrow"
        )
    return files


def check_synthetic(data: Dataset, synthetic: pd.DataFrame, rows: int) -> None:
    """Raises InputError naming the first way in which a generator's table breaks the contract."""
    # The first sentence is enough: the rest follows from it as a rule.
    problems = data.schema.check(synthetic)
    if len(synthetic) != rows:
        problems.append(f"{len(synthetic)} rows were sampled where {rows} were asked for.")
    if problems:
        raise InputError(f"the generator broke its contract: {problems[0]}")


def threads() -> int | None:
    """How many threads this cell was given; None by hand."""
    value = os.environ.get("WORKBENCH_THREADS")
    return int(value) if value else None
