"""Watching a batch: one live view, its page while cells run, its counts from another terminal, and
what a cell left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from workbench.batch.folder import MOST_LOG, Folder
from workbench.batch.grid import Cell
from workbench.batch.kernels import isolated
from workbench.batch.spec import FINAL, STATUSES
from workbench.errors import InputError
from workbench.files import plain, read_own, read_own_json, write_json


class Watch:
    """The one live view: a progress bar, and the same facts in .running.json for `status` from
    another terminal.
    """

    def __init__(self, folder: Path, total: int, before: int, backend, progress: bool):
        from tqdm.auto import tqdm

        self.path, self.backend, self.failed = folder / ".running.json", backend, 0
        self.began, self.finished, self.left = time.time(), 0, total - before
        self.since: dict[str, tuple[Cell, float]] = {}
        self.bar = tqdm(
            total=total,
            initial=before,
            desc=folder.name,
            unit="cell",
            disable=not progress,
            dynamic_ncols=True,
        )
        self.written = 0.0

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
        self.path.unlink(missing_ok=True)

    def start(self, cell: Cell) -> None:
        self.since[cell.key] = (cell, time.time())

    def stop(self, cell: Cell) -> None:
        self.since.pop(cell.key, None)
        self.backend.phases.pop(cell.key, None)

    def finish(self, cell: Cell, status: str) -> None:
        self.finished += 1
        self.failed += status not in FINAL
        self.bar.update()

    def show(self) -> None:
        # Once a second is enough for eyes, and cheap for ten thousand cells.
        if time.time() - self.written < 1:
            return
        self.written = time.time()
        running = [
            (cell.label, self.backend.phases.get(key, "start"), self.written - since)
            for key, (cell, since) in list(self.since.items())
        ]
        now = ", ".join(f"{label} {phase}" for label, phase, _ in running[:4])
        self.bar.set_postfix_str(f"{len(running)} running, {self.failed} failed | {now}")
        # By the cells that have finished so far; short ones come first, so it is a low guess.
        left = (
            (self.written - self.began) / self.finished * (self.left - self.finished)
            if self.finished
            else None
        )
        record = {
            "running": [f"{label}: {phase}, {seconds:.0f} s" for label, phase, seconds in running]
        }
        write_json(self.path, record | {"seconds_left": left and round(left)}, sync=False)


class LivePage:
    """The page of a batch that still runs, written again and again by a process of its own: a cell
    waits for no page, and a page that cannot be written stops no cell.

    The first is written once one seed of everything is there, or FIRST_AFTER seconds have passed;
    later ones whenever cells have finished, and so that writing takes SHARE of the time at most.

    Parameters
    ----------
    folder : the report folder
    command : what writes its page; `workbench report FOLDER` where left out
    """

    FIRST_AFTER, SHARE, PATIENCE = 120, 0.05, 20

    def __init__(self, folder: Path | str, command: Sequence[str] | None = None):
        # -P: nothing that lies in the working directory is imported.
        own = [sys.executable, "-P", "-m", "workbench", "report", str(folder)]
        self.command = list(command or own)
        self.began = time.monotonic()
        self.not_before = self.began + self.FIRST_AFTER
        self.shown = 0  # cells that had finished when the last page was begun
        self.pages = 0
        self.writer: subprocess.Popen | None = None
        self.writer_began = 0.0

    def look(self, finished: int, first_round_is_done: bool) -> None:
        """Begin the next page if it is time for it. finished: cells, since the run began."""
        # The wall clock may be set back.
        now = time.monotonic()
        if self.writer is not None:
            if self.writer.poll() is None:
                return
            self._ended(now)
        is_time = now >= self.not_before or (first_round_is_done and not self.pages)
        if is_time and finished > self.shown:
            self.shown = finished
            self.pages += 1
            self.writer_began = now
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the writer runs
            self.writer = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
                env=os.environ | isolated(os.environ),
            )

    def _ended(self, now: float) -> None:
        """Rest after a page in proportion to what it took; say why there is none, if it failed."""
        # A page that takes a minute is not begun again at once.
        took = now - self.writer_began
        self.not_before = now + took * (1 / self.SHARE - 1)
        if self.writer.returncode:
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().splitlines()
            why = f"exit code {self.writer.returncode}"
            if said:
                why = plain(said[-1]).removeprefix("workbench: ")
            print(f"\nworkbench: the page was not written this time: {why}", file=sys.stderr)
        self.errors.close()
        self.writer = None

    def close(self) -> None:
        """End what is being written: whoever ran the cells writes the whole page next."""
        if self.writer is None:
            return
        self.writer.send_signal(signal.SIGINT)  # it takes its kernel along
        try:
            self.writer.wait(self.PATIENCE)
        except subprocess.TimeoutExpired:
            self.writer.kill()
            self.writer.wait()
        self.errors.close()
        self.writer = None


def status(folder: Path | str) -> dict:
    """Counts of a report's cells by status, who is running it, what each of its workers does, and
    the time left.
    """
    home = Folder(folder)
    cells = home.plan["cells"]
    # As they are on disk; the runner is another process.
    known = home.statuses(cell["key"] for cell in cells)
    counts = Counter(known.values())
    out = {"cells": len(cells)} | {status: counts[status] for status in STATUSES}
    out["pending"] = len(cells) - len(known)
    runner = home.holder()
    out["runner"] = plain(runner) or "none"
    if runner:
        with suppress(InputError):  # it has only just begun
            now = read_own_json(home.path / ".running.json", 1_000_000)
            out |= {name: now[name] for name in ("running", "seconds_left") if name in now}
    failed = [cell for cell in cells if known.get(cell["key"], "ok") not in FINAL]
    out["failed"] = [f"{cell['key'][:8]} {_name(cell)}: {known[cell['key']]}" for cell in failed]
    if problems := [*home.problems(), *home.strays().values()]:
        out["altered"] = problems
    if changed := home.changed_files():
        out["note"] = f"changed since the last run: {', '.join(changed)}"
    return out


def log(folder: Path | str, key: str) -> str:
    """What a cell left behind, as text: how it ended, its traceback and its log. `key` may be the
    beginning of one.
    """
    home = Folder(folder)
    place = home.place(key)
    # Only what was stored: a running cell has nothing yet.
    record = home.manifest(key)
    ending = f"{record['status']} in {record['phase'] or 'all phases'} after {record['seconds'] or 0:.1f} s"
    lines = [
        f"{_name(record['cell'])}: {ending}, peak {record['peak_mb'] or 0:.0f} MB",
        record["reason"],
        record["traceback"],
    ]
    with suppress(InputError):  # a cell that was killed early has none
        lines.append(read_own(place / "log.txt", int(MOST_LOG)).decode(errors="replace"))
    lines.append(str(place))
    # Anybody's code wrote this: a terminal must not obey it.
    return "\n\n".join(plain(line).strip() for line in lines if line.strip())


def _name(cell: dict) -> str:
    more = "".join(f", {name} {cell[name]}" for name in ("split", "draw") if cell.get(name))
    # Of a manifest that anybody may have written
    about = [str(cell.get(name, "?")) for name in ("dataset", "label", "seed")]
    return f"{about[0]}, {about[1]}, seed {about[2]}{more}"
