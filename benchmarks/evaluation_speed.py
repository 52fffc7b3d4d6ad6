"""Our evaluation against other packages': CPU seconds for the same numbers on Adult, one thread
each, in one run.

    python benchmarks/evaluation_speed.py [--peers sdmetrics,syntheval,synthcity] [--python
    sdmetrics=PATH ...] [--repeats 3]

Each package lives in an environment of its own under build/peers, made the first time. synthcity
brings 3 GB of libraries, so it runs when it is named. Ours and the package's take turns; the best
of the repeats counts, and imports do not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEERS = Path(__file__).parent.parent / "build" / "peers"
PACKAGES = {
    "sdmetrics": ["sdmetrics==0.32.0"],
    "syntheval": ["syntheval==1.7.3", "ipython"],
    # 0.2.12 asks for torch 2.2, which later versions of opacus do not work with.
    "synthcity": ["synthcity==0.2.12", "opacus==1.4.1"],
}
NEIGHBOUR_ROWS = 4000


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder))
        print(
            f"{'Adult, 32,561 against 32,561 rows':44}{'ours, s':>9}{'theirs, s':>10}{'ratio':>7} "
            " numbers: ours, theirs"
        )
        for peer in options.peers.split(","):
            python = dict(pair.split("=", 1) for pair in options.python).get(peer) or environment(
                peer
            )
            if python is None:
                print(f"{peer}: it could not be installed")
                continue
            found = {sys.executable: [], python: []}
            for _ in range(options.repeats):
                for one in found:
                    found[one].append(
                        measure(one, peer, "ours" if one == sys.executable else "theirs", folder)
                    )
            ours, theirs = (
                min(runs, key=lambda run: sum(part["seconds"] for part in run.values()))
                for runs in found.values()
            )
            for task, mine in ours.items():
                numbers = [
                    ", ".join(f"{value:.6g}" for value in side["numbers"])
                    for side in (mine, theirs[task])
                ]
                seconds = mine["seconds"], theirs[task]["seconds"]
                timings = f"{seconds[0]:>9.3f}{seconds[1]:>10.3f}{seconds[0] / seconds[1]:>7.2f}"
                print(f"{peer + ': ' + task:44}{timings}  {numbers[0]}; {numbers[1]}")


def write_tables(folder: Path) -> None:
    """real.csv and synthetic.csv, a missing label as the label "?", numbers.json, and matrices of
    standardised rows.
    """
    import numpy as np

    import workbench
    from workbench.metrics import Trial
    from workbench.metrics.fidelity import standardised

    data = workbench.load("adult")
    synthetic = workbench.generate("gaussian-copula", data, seed=0)
    labels = {column.name: "?" for column in data.schema.columns if column.is_discrete}
    for name, table in (("real", data.train), ("synthetic", synthetic)):
        table.fillna(labels).to_csv(folder / f"{name}.csv", index=False)
    (folder / "numbers.json").write_text(
        json.dumps([name for name in data.schema.names if name not in labels])
    )
    trial = Trial(data.train, data.test, synthetic, data.schema)
    for name, matrix in zip(
        ("test", "drawn"), standardised(trial, [data.test, synthetic]), strict=True
    ):
        np.save(folder / f"{name}.npy", matrix[:NEIGHBOUR_ROWS])


def measure(python: str, peer: str, side: str, folder: str) -> dict:
    """task -> its CPU seconds and numbers, from a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [python, __file__, "--measure", peer, side, folder]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | threads,
    )
    return json.loads(done.stdout.splitlines()[-1])


def work(peer: str, side: str, folder: Path) -> None:
    """In the measuring process: print what each task of the peer takes, and its numbers."""
    import numpy as np
    import pandas as pd

    numbers = json.loads((folder / "numbers.json").read_text())
    tables = [
        pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in ("real", "synthetic")
    ]
    matrices = [np.load(folder / f"{name}.npy") for name in ("test", "drawn")]
    tasks = {
        "ours": _ours,
        "theirs": {"sdmetrics": _sdmetrics, "syntheval": _syntheval, "synthcity": _synthcity}[peer],
    }
    found = {}
    for task, run in tasks[side](peer, tables, numbers, matrices).items():
        start = time.process_time()
        values = run()
        found[task] = {
            "seconds": time.process_time() - start,
            "numbers": [float(value) for value in values],
        }
    print(json.dumps(found))


def _ours(peer, tables, numbers, matrices):
    from workbench import Schema
    from workbench.metrics import Trial
    from workbench.metrics.fidelity import K, column_distance
    from workbench.metrics.models import kth_distance, one_thread
    from workbench.metrics.published import published_errors

    one_thread()
    schema = Schema.infer(
        tables[0], kinds={name: "categorical" for name in tables[0] if name not in numbers}
    )
    real, synthetic = map(schema.cast, tables)

    def shapes(names):
        distances = [
            column_distance(synthetic[name], real[name], schema[name])[0] for name in names
        ]
        return [sum(distances) / len(distances)]

    def coverage():
        radius = kth_distance(matrices[0], matrices[0], K + 1)
        return [(kth_distance(matrices[0], matrices[1], 1) < radius).mean()]

    return {
        "sdmetrics": {
            "shapes and pair trends, %": lambda: [
                r.value for r in published_errors(Trial(real, real, synthetic, schema))
            ]
        },
        "syntheval": {"KS and total variation": lambda: shapes(schema.names)},
        "synthcity": {
            "KS of numbers": lambda: shapes(numbers),
            "coverage, k = 5, 4,000 rows": coverage,
        },
    }[peer]


def _sdmetrics(peer, tables, numbers, matrices):
    from sdmetrics.reports.single_table import QualityReport

    report = QualityReport()
    # The papers' version counts all pairs.
    report.real_correlation_threshold = report.real_association_threshold = 0
    metadata = {
        "columns": {
            name: {"sdtype": "numerical" if name in numbers else "categorical"}
            for name in tables[0]
        }
    }

    def run():
        report.generate(*tables, metadata, verbose=False)
        return 100 - 100 * report.get_properties().set_index("Property")["Score"]

    return {"shapes and pair trends, %": run}


def _syntheval(peer, tables, numbers, matrices):
    from syntheval.metrics.utility.metric_kolmogorov_smirnov import KolmogorovSmirnovTest

    labels = [name for name in tables[0] if name not in numbers]
    for name in labels:  # it wants them as numbers, as its own preprocessing makes them
        known = sorted(set(tables[0][name]) | set(tables[1][name]))
        for table in tables:
            table[name] = table[name].map(known.index)
    test = KolmogorovSmirnovTest(*tables, cat_cols=labels, num_cols=numbers, do_preprocessing=False)
    test.plot_figures = False
    return {
        "KS and total variation": lambda: [test.evaluate(n_perms=1)["avg stat"]]
    }  # without its permutation test


def _synthcity(peer, tables, numbers, matrices):
    import pandas as pd
    from synthcity.metrics.eval_statistical import KolmogorovSmirnovTest, PRDCScore
    from synthcity.plugins.core.dataloader import GenericDataLoader

    columns = [GenericDataLoader(table[numbers]) for table in tables]
    rows = [GenericDataLoader(pd.DataFrame(matrix).rename(columns=str)) for matrix in matrices]
    test, scores = (
        metric(use_cache=False, workspace=Path(tempfile.mkdtemp()))
        for metric in (KolmogorovSmirnovTest, PRDCScore)
    )
    return {
        "KS of numbers": lambda: [1 - test._evaluate(*columns)["marginal"]],
        "coverage, k = 5, 4,000 rows": lambda: [scores._evaluate(*rows)["coverage"]],
    }


def environment(peer: str) -> str | None:
    """The Python of an environment that holds the package, made where it is missing; None where
    that fails.
    """
    folder = PEERS / peer
    if not (folder / "installed").exists():
        print(f"installing {peer} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        if subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES[peer]]
        ).returncode:
            return None
        (folder / "installed").touch()
    return str(folder / "bin" / "python")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="sdmetrics,syntheval", help=f"of {', '.join(PACKAGES)}")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="a Python that has the package",
    )
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        work(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
