"""Our copulas against the copulas package and SDV on Adult: seconds to fit and to sample as many
rows, and their errors.

    python benchmarks/copulas_adult.py [--threads 1] [--seed 0] [--repeat 3] [--vine-rows 200]
    [--sdv-python PATH]

Each runs in a process of its own with its defaults; seconds are medians over the repeats, imports
are not counted. SDV's synthesizer is what its users run; the package alone takes numbers, so labels
are coded by their frequency and codes are rounded back. The package's vine samples row by row: it
is fitted on 2,000 rows (all of them took over four minutes), draws `--vine-rows` rows, and the
seconds of sampling all rows are extrapolated; its errors are those of the rows drawn. Shape and
trend errors (SDMetrics' definitions) are against train.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

PEERS = Path(__file__).parent.parent / "build" / "peers-sdv"
SDV = "2.0.0"
METHODS = {
    "ours: gaussian-copula": "ours",
    "copulas, GaussianMultivariate, Gaussian margins": "package",
    f"SDV {SDV}, GaussianCopulaSynthesizer": "sdv",
    "ours: vine-copula": "ours",
    "ours: vine-copula, families gaussian": "ours",
    "copulas, VineCopula, regular, fitted on 2,000 rows": "package",
}


def main() -> None:
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
        return
    with tempfile.TemporaryDirectory() as folder:
        train, schema = write_adult(Path(folder))
        print(
            f"\nAdult, {len(train):,} train rows, {options.threads} thread(s),"
            f" {datetime.date.today()}"
        )
        print(
            "\n| | fit, CPU s | sample, CPU s | fit and sample, wall s | shape error % | trend"
            " error % |" + "\n" + "|---" * 6 + "|"
        )
        for method, kind in METHODS.items():
            if options.only and options.only not in method:
                continue
            python = (options.sdv_python or make_sdv(PEERS)) if kind == "sdv" else sys.executable
            print(
                "| "
                + " | ".join([method, *line(python, method, Path(folder), options, train, schema)])
                + " |",
                flush=True,
            )


def line(
    python: str, method: str, folder: Path, options: argparse.Namespace, train, schema
) -> list[str]:
    job = {
        "method": method,
        "folder": str(folder),
        "seed": options.seed,
        "repeat": options.repeat,
        "rows": options.vine_rows,
    }
    threads = {f"{name}_NUM_THREADS": str(options.threads) for name in ("OMP", "MKL", "OPENBLAS")}
    command = [python, __file__, "--job", json.dumps(job)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads
    )
    seconds = json.loads(done.stdout.splitlines()[-1])
    drawn, scale = seconds["rows"], len(train) / seconds["rows"]
    sample = f"{seconds['sample'] * scale:.3g}" + (
        f" (from {seconds['sample']:.3g} for {drawn} rows)" if scale > 1 else ""
    )
    wall = f"{seconds['fit_wall'] + seconds['sample_wall'] * scale:.3g}"
    return [
        f"{seconds['fit']:.3g}",
        sample,
        wall,
        *errors(folder / "made.csv", train, schema, options.seed),
    ]


def measure(method: str, folder: str, seed: int, repeat: int, rows: int) -> dict:
    """Median seconds of fitting and sampling; writes made.csv. Runs in the method's own
    environment.
    """
    import warnings

    import numpy as np

    warnings.simplefilter("ignore")
    setup = {"ours": _ours, "package": _package, "sdv": _sdv}[METHODS[method]]
    fit, sample = setup(method, Path(folder), seed, rows)
    times = []
    for _ in range(1 if "vine" in method.lower() else repeat):
        start = np.array([time.process_time(), time.perf_counter()])
        model = fit()
        fitted = np.array([time.process_time(), time.perf_counter()])
        synthetic = sample(model)
        times.append([*(fitted - start), *([time.process_time(), time.perf_counter()] - fitted)])
    synthetic.to_csv(Path(folder) / "made.csv", index=False)
    medians = np.median(times, axis=0).tolist()
    return dict(zip(["fit", "fit_wall", "sample", "sample_wall"], medians, strict=True)) | {
        "rows": len(synthetic)
    }


def _ours(method: str, folder: Path, seed: int, rows: int) -> tuple:
    import copulas.multivariate  # noqa: F401  (imports are not counted)
    import numpy as np
    import pyvinecopulib  # noqa: F401

    import workbench
    from workbench.generators import make

    data = workbench.load("adult")
    name, _, families = method.removeprefix("ours: ").partition(", families ")

    def fit():
        model = make(name, {"families": families} if families else {})
        return model.fit(data.train, data.schema, np.random.default_rng([seed, 0]))

    return fit, lambda model: model.sample(len(data.train), np.random.default_rng([seed, 1]))


def _package(method: str, folder: Path, seed: int, rows: int) -> tuple:
    import numpy as np
    import pandas as pd
    from copulas.multivariate import GaussianMultivariate, VineCopula
    from copulas.univariate import GaussianUnivariate

    train = pd.read_csv(folder / "train.csv")
    labels = {name: train[name].value_counts().index for name in train.select_dtypes(object)}
    coded = train.assign(
        **{name: known.get_indexer(train[name]) for name, known in labels.items()}
    ).astype(float)
    vine = "VineCopula" in method

    def fit():
        # Its own choice of margins took over 11 CPU minutes and 11 GB here, so that it is left out.
        gaussian = GaussianMultivariate(distribution=GaussianUnivariate, random_state=seed)
        model = VineCopula("regular", random_state=seed) if vine else gaussian
        model.fit(coded[:2000] if vine else coded)
        return model

    def sample(model):
        np.random.seed(seed)
        sampled = model.sample(rows if vine else len(train))
        for name in sampled:
            whole = sampled[name].round().clip(coded[name].min(), coded[name].max()).astype(int)
            sampled[name] = labels[name][whole] if name in labels else whole
        return sampled[train.columns]

    return fit, sample


def _sdv(method: str, folder: Path, seed: int, rows: int) -> tuple:
    import pandas as pd
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    tables = {"adult": pd.read_csv(folder / "train.csv").replace("?", None)}
    metadata = Metadata.detect_from_dataframes(tables, infer_keys=None)

    def fit():
        model = GaussianCopulaSynthesizer(metadata)
        model.fit(tables)
        return model

    return fit, lambda model: model.sample(len(tables["adult"]))["adult"].fillna("?")


def errors(path: Path, train, schema, seed: int) -> list[str]:
    import pandas as pd

    from workbench.metrics import Trial
    from workbench.metrics.published import published_errors

    synthetic = pd.read_csv(path)
    labels = {
        column.name: synthetic[column.name].replace("?", None)
        for column in schema.columns
        if column.is_discrete
    }
    synthetic = schema.cast(synthetic.assign(**labels))
    found = {
        row.metric: row.value
        for row in published_errors(Trial(train, train, synthetic, schema, seed))
    }
    return [f"{found[name]:.2f}" for name in ("shape_error", "trend_error")]


def write_adult(folder: Path) -> tuple:
    """train.csv, a missing label as the label "?"; returns the train rows and the schema."""
    import workbench

    data = workbench.load("adult")
    gaps = {column.name: "?" for column in data.schema.columns if column.is_discrete}
    data.train.fillna(gaps).to_csv(folder / "train.csv", index=False)
    return data.train, data.schema


def make_sdv(folder: Path) -> str:
    """The Python of an environment with SDV, made where it is missing."""
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing sdv into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        packages = [f"sdv=={SDV}", f"torch=={version('torch').split('+')[0]}"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "installed").touch()
    return str(python)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--vine-rows", type=int, default=100, help="rows drawn from the package's vine"
    )
    parser.add_argument("--only", metavar="TEXT", help="only the methods whose name holds this")
    parser.add_argument(
        "--sdv-python", metavar="PATH", help="the Python of an environment that has sdv"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
