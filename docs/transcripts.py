"""The transcripts of docs/first-five-minutes.md and docs/your-table.md, made by running their commands.

    python docs/transcripts.py            # both pages, a few minutes
    python docs/transcripts.py your-table

Each page holds `<!-- transcript: NAME -->` before a console block. The commands below run one after the
other in one empty folder, and the block is written from what they print, so nobody edits it by hand.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
WIDEST = 180  # characters of a line; a longer one ends in an ellipsis
COMMANDS = {
    "first-five-minutes": [
        "head -2 my_table.csv",
        "workbench inspect my_table.csv --target approve --sensitive race",
        "workbench compare my_table.csv --schema schema.json"
        " --generators independent,cart,gaussian-copula --seeds 1 --out my-report",
        "workbench status my-report",
    ],
    "your-table": [
        "workbench inspect hospital.csv --target readmitted --sensitive sex",
        "workbench compare hospital.csv --schema schema.json --generators independent,cart"
        " --seeds 1 --out my-report",
    ],
}


def loans(folder: Path) -> None:
    """1,989 mortgage applications as a person's CSV."""
    import workbench as wb

    data = wb.load("loans")
    pd.concat([data.train, data.test]).to_csv(folder / "my_table.csv", index=False)


def hospital(folder: Path) -> None:
    """A made-up hospital: codes of diagnoses, patients who come back, '?' for missing, dates that
    begin with the day, e-mail addresses, a total of two costs.
    """
    rng = np.random.default_rng(0)
    rows, patients = 1_200, 480
    patient = rng.integers(0, patients, rows)
    born = pd.Timestamp("1930-01-01") + pd.to_timedelta(rng.integers(0, 30_000, patients), "D")
    admitted = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), "D")
    icd = rng.choice(["I10", "E11.9", "J18.9", "I21.4", "E10.1"], rows, p=[0.3, 0.3, 0.2, 0.1, 0.1])
    chapters = {"I": "circulatory", "E": "endocrine", "J": "respiratory"}
    days = rng.integers(1, 13, rows)
    ward, theatre = 300 * days, rng.choice([0, 800, 2_500], rows)
    weight = rng.normal(78, 14, rows).round(1).astype(str)
    weight[rng.random(rows) < 0.2] = "?"
    risk = 0.15 + 0.02 * days + 0.2 * (icd == "I21.4")
    table = pd.DataFrame(
        {
            "encounter_id": 200_000 + rng.permutation(rows),
            "patient_nbr": 5_000_000 + 37 * patient,
            "email": [f"{name}@example.org" for name in rng.permutation(10 * rows)[:rows]],
            "born": born[patient].strftime("%d/%m/%Y"),
            "admitted": admitted.strftime("%d/%m/%Y"),
            "sex": rng.choice(["F", "M"], patients)[patient],
            "icd": icd,
            "chapter": [chapters[code[0]] for code in icd],
            "days": days,
            "weight": weight,
            "ward_cost": ward,
            "theatre_cost": theatre,
            "total_cost": ward + theatre,
            "country": "NL",
            "readmitted": np.where(rng.random(rows) < risk, "yes", "no"),
        }
    )
    table.to_csv(folder / "hospital.csv", index=False)


def transcript(name: str) -> str:
    """What a terminal shows: each command after a $, then all that it printed, and its seconds."""
    lines = []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        loans(folder)
        hospital(folder)
        for command in COMMANDS[name]:
            began = time.monotonic()
            done = subprocess.run(
                shlex.split(command),
                cwd=folder,
                env=os.environ | {"PATH": path},
                capture_output=True,
                text=True,
                check=True,
            )
            seconds = time.monotonic() - began
            lines.append(f"$ {command}" + (f"   # {seconds:.0f} s" if seconds > 5 else ""))
            notes = [line for line in done.stderr.splitlines() if line.startswith("workbench:")]
            printed = [*notes, *done.stdout.rstrip().splitlines()]
            lines += [line.replace(f"{folder}/", "") for line in printed]
    return "\n".join(line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…" for line in lines)


def write(name: str) -> None:
    page = HERE / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    mark = rf"(<!-- transcript: {name} -->\n+```console\n).*?(\n```)"
    block = transcript(name)
    changed, count = re.subn(mark, lambda m: f"{m[1]}{block}{m[2]}", text, flags=re.S)
    assert count == 1, f"{page.name} has no mark for its transcript"
    page.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or COMMANDS:
        write(wanted)
