"""Execute the numbered notebooks into docs/gallery/, where a build of the documentation finds them.

    python docs/gallery.py            # all of them, two at a time; exits with 1 where one fails
    python docs/gallery.py 00 07      # those whose names start so

A failed notebook is kept as far as it came; what it says goes to standard error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
GALLERY = Path(__file__).parent / "gallery"
WORKERS = 2
# Papermill's command, without what importing nbformat takes as a rule: see import_nbformat.
PAPERMILL = (
    "from workbench.files import import_nbformat; import_nbformat();"
    " from papermill.cli import papermill; papermill()"
)


LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def relinked(text: str) -> str:
    """Links as they hold in the gallery: to pages of the documentation, to notebooks that are in it.

    What has no page there, such as a lesson that was not executed, keeps its words without a link.
    """

    def replaced(match: re.Match) -> str:
        words, target = match.groups()
        path = target.partition("#")[0]
        if path.startswith("../docs/"):
            return f"[{words}](../{target.removeprefix('../docs/')})"
        if path.endswith(".ipynb") and not (GALLERY / path).exists():
            return words
        if path.endswith(".ipynb"):
            return f"[{words}]({path})"
        return match.group()

    return LINK.sub(replaced, text)


def relink(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked("".join(cell["source"]))
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def execute(notebook: Path) -> str:
    """Run one notebook in its own folder; the end of its errors, empty where it ran."""
    command = [
        sys.executable,
        "-c",
        PAPERMILL,
        "--no-progress-bar",
        str(notebook),
        str(GALLERY / notebook.name),
    ]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=NOTEBOOKS, env=os.environ | threads, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stderr[-2000:] or f"exit code {done.returncode}"


def main(starts: list[str]) -> int:
    notebooks = [
        path
        for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
        if not starts or path.name.startswith(tuple(starts))
    ]
    if not notebooks:
        print(f"no notebook starts with {' or '.join(starts)}", file=sys.stderr)
        return 2
    GALLERY.mkdir(exist_ok=True)
    with ThreadPoolExecutor(WORKERS) as pool, tqdm(total=len(notebooks), unit="notebook") as bar:

        def run(notebook: Path) -> str:
            problem = execute(notebook)
            bar.update()
            return problem

        failed = {
            path.name: problem
            for path, problem in zip(notebooks, pool.map(run, notebooks), strict=True)
            if problem
        }
    for executed in GALLERY.glob("*.ipynb"):
        relink(executed)
    for name, problem in failed.items():
        print(f"{name} failed:\n{problem}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
