"""What a cell costs beyond its own work: a notebook that only imports, by plain papermill and by
the batch's forked kernels.

    python benchmarks/cell_overhead.py [REPEATS]

Both run the same notebook, interleaved, in this process; the median of wall seconds and their ratio
are printed. The notebook imports what cells import (torch, pgmpy, seaborn, pandas, scikit-learn),
or nothing but pandas ("bare").
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import nbformat
import papermill
from nbformat.v4 import new_code_cell, new_notebook

from workbench.batch.spec import Spec
from workbench.batch.worker.pool import Warm, execute
from workbench.metrics.rows import ROW_COLUMNS, check_rows, read_rows

LIBRARIES = [
    "torch",
    "pgmpy.models",
    "seaborn",
    "pandas",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "scipy.stats",
]
SAVE = f"""
import pandas
table = pandas.DataFrame({{name: pandas.Series(["" if kind == "object" else 0.0], dtype=kind)
                          for name, kind in {ROW_COLUMNS!r}.items()}})
for name in ("rows", "synthetic"):
    table.to_parquet(f"{{out}}/{{name}}.parquet", index=False)
"""


def main(repeats: int = 5) -> None:
    warnings.filterwarnings("ignore")
    for title, imports in {"bare": [], "with the imports of a cell": LIBRARIES}.items():
        notebook = _notebook(imports)
        began = time.perf_counter()
        _warm(notebook, imports)
        first = time.perf_counter() - began
        seconds = {"plain papermill": [], "forked": []}
        for _ in range(repeats):
            for name, run in (
                ("plain papermill", _plain),
                ("forked", lambda n: _warm(n, imports)),  # noqa: B023
            ):
                began = time.perf_counter()
                run(notebook)
                seconds[name].append(time.perf_counter() - began)
        plain, forked = (median(times) for times in seconds.values())
        print(
            f"{title}: plain papermill {plain:.2f} s, forked {forked:.2f} s a cell, ratio"
            f" {forked / plain:.2f} (median of {repeats}; the first forked cell, which warms up,"
            f" {first:.2f} s)"
        )
    Warm.close_all()


def _notebook(imports: list[str]) -> nbformat.NotebookNode:
    parameters = new_code_cell('out = ""', metadata={"tags": ["parameters"]})
    cells = [
        parameters,
        new_code_cell("\n".join(f"import {name}" for name in imports)),
        new_code_cell(SAVE),
    ]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": spec})


def _plain(notebook: nbformat.NotebookNode) -> None:
    with tempfile.TemporaryDirectory() as folder:
        papermill.execute_notebook(
            notebook,
            f"{folder}/cell.ipynb",
            {"out": folder},
            kernel_name="python3",
            progress_bar=False,
        )
        check_rows(read_rows(Path(folder, "rows.parquet")))


def _warm(notebook: nbformat.NotebookNode, imports: list[str]) -> None:
    spec = Spec(
        key="overhead",
        parameters={"out": "out"},
        notebook=nbformat.writes(notebook),
        data={"hash": "none", "files": {}},
        files={},
        limits={"seconds": 60, "memory_mb": 4000},
        threads=1,
        imports=imports,
        modules=[],
        sources={},
        versions={},
    )
    outcome = execute(spec)
    if outcome.status != "ok":
        raise RuntimeError(outcome.reason)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
