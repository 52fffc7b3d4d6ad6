"""How benchmarks measure and keep what they measured: a process a job, and a line of a JSONL file a
result.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path


def run(script: str, record: Path, job: dict) -> None:
    """`python SCRIPT --job JOB` in a process of its own; its result, or its error's last line, goes
    into the record.
    """
    threads = {f"{name}_NUM_THREADS": str(job["threads"]) for name in ("OMP", "MKL", "OPENBLAS")}
    command = [sys.executable, script, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
    result = (
        json.loads(done.stdout)
        if done.returncode == 0
        else {"error": done.stderr.strip().splitlines()[-1]}
    )
    facts = {"date": str(datetime.date.today()), "processor": processor()}
    with open(record, "a", encoding="utf-8") as file:
        file.write(json.dumps(job | result | facts) + "\n")
    print(job["dataset"], job["generator"], json.dumps(result), file=sys.stderr)


def latest(record: Path) -> list[dict]:
    """The last line of each (dataset, generator, params, seed, threads)."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    keys = ("dataset", "generator", "params", "seed", "threads")
    return list(
        {
            json.dumps([row[key] for key in keys], sort_keys=True): row
            for row in map(json.loads, lines)
        }.values()
    )


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
