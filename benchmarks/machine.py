"""What benchmarks say of the machine that they ran on."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
