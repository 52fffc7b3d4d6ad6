"""A report folder as the runner writes it: whole cells or nothing, one runner at a time, a full
disk told in a sentence.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from workbench.batch import results
from workbench.batch.grid import Cell, Plan
from workbench.batch.keys import digest, machine
from workbench.errors import InputError

STATUSES = ("ok", "skipped", "error", "timeout", "out-of-memory")
FINAL = ("ok", "skipped")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def store(plan: Plan, cell: Cell, outcome: dict, attempts: list[dict]) -> Path:
    """Write an outcome into runs/KEY or failed/KEY-N as one rename; a crash at any moment leaves
    all of it or nothing.
    """
    folder, data = plan.grid.folder, plan.data[cell.dataset, cell.split]
    inputs = plan.inputs[cell.dataset, cell.split, cell.label]
    record = {
        "key": cell.key,
        "cell": asdict(cell),
        "inputs": inputs,
        "limits": asdict(plan.grid.limits),
        "train_rows": len(data.train),
        "test_rows": len(data.test),
        "threads": cell.threads,
        "versions": inputs["versions"],
        "attempts": attempts,
    } | {name: value for name, value in outcome.items() if name != "files"}
    files = outcome["files"] | {
        "manifest.json": json.dumps(record, indent=1, ensure_ascii=False).encode()
    }
    if outcome["status"] in FINAL:
        files["DONE"] = json.dumps(
            {name: digest(content) for name, content in files.items()}
        ).encode()
        target = folder / "runs" / cell.key
    else:
        numbers = [
            int(path.name.rpartition("-")[2]) for path in folder.glob(f"failed/{cell.key}-*")
        ]
        target = folder / "failed" / f"{cell.key}-{max(numbers, default=0) + 1}"
    part = folder / ".tmp" / target.name
    part.mkdir(parents=True)
    for name, content in files.items():  # DONE is the last of them
        with open(part / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync(part)
    target.parent.mkdir(exist_ok=True)
    finished = (
        folder / "runs" / cell.key
    )  # a skipped cell that was run again, or without DONE: somebody else's hand
    if finished.exists():
        shutil.rmtree(finished)
    os.replace(part, target)
    _sync(target.parent)
    return target


def status_of(folder: Path, keys: set[str]) -> dict[str, str]:
    """key -> status of the cells that finished or failed."""
    failed = {
        key: path / "manifest.json" for key, path in results.attempts(folder).items() if key in keys
    }
    finished = {
        path.parent.name: path.parent / "manifest.json"
        for path in Path(folder, "runs").glob("*/DONE")
    }
    paths = failed | {key: path for key, path in finished.items() if key in keys}
    return {
        key: json.loads(path.read_text(encoding="utf-8"))["status"] for key, path in paths.items()
    }


@contextmanager
def lock(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the folder alone; the kernel lets go of it when this process dies, however it dies."""
    try:
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - the lock lives as long as the file is open
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); choose a folder of yours."
        ) from None
    with file:
        if not _locked(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
            time.sleep(0.2)  # `status` holds it for a moment when it asks
            if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                who = holder(folder) or "another process"
                raise InputError(
                    f"{folder} is being run by {who}; wait for it, or run another folder."
                )
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {machine()['host']} since {time.strftime('%H:%M:%S')}"
        )
        file.flush()
        yield


def holder(folder: Path) -> str:
    """Who holds the lock, in words; "" for nobody."""
    try:
        with open(folder / ".lock", encoding="utf-8") as file:
            return (
                ""
                if _locked(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                else file.read() or "another process"
            )
    except OSError:
        return ""


def _locked(file, how: int) -> bool:
    try:
        fcntl.flock(file, how)
        return True
    except BlockingIOError:
        return False


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written is the user's to mend: one sentence, no
    traceback.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise InputError(
                f"no space left for {folder}: finished cells are kept; free some and run again."
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise InputError(
                f"{error.filename} cannot be written ({error.strerror}); choose a folder of yours."
            ) from None
        raise


def says_disk_full(reason: str) -> bool:
    return any(f"[errno {number}]" in reason.lower() for number in DISK_FULL)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
