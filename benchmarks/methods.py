"""Every method on the papers' datasets: fidelity, utility, privacy and cost, one process a method.

    python benchmarks/methods.py [--datasets adult,magic_gamma] [--generators cart,ctgan] [--params JSON] [--seed 0]
    python benchmarks/methods.py --show        the table of what was measured so far, without measuring

Every result is a line of benchmarks/methods.jsonl, the last one of a (dataset, generator, params, seed, threads) counts.
`--params` are given to every generator named. Shape and trend error follow SDMetrics' definitions, against train; AUC and
RMSE are of scikit-learn's histogram gradient boosting with its defaults, fitted on synthetic, read on real test rows (the
papers: XGBoost; the RMSE of Beijing is of the logarithm of pm2.5, as theirs).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

RECORD = Path(__file__).with_suffix(".jsonl")
DATASETS = ("adult", "default_credit", "online_shoppers", "magic_gamma", "beijing_pm25")
MEASURES = ("shape", "trend", "auc", "rmse", "closer", "membership", "copies", "fit", "sample", "wall", "mb")


def main() -> None:
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
        return
    if not options.show:
        for dataset in options.datasets.split(","):
            for generator in options.generators.split(","):
                job = {"dataset": dataset, "generator": generator, "params": json.loads(options.params), "seed": options.seed}
                run(job | {"threads": options.threads})
    print(table())


def run(job: dict) -> None:
    """Measure in a process of its own and add the result, or the error's last line, to the record."""
    threads = {f"{name}_NUM_THREADS": str(job["threads"]) for name in ("OMP", "MKL", "OPENBLAS")}
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
    result = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip().splitlines()[-1]}
    facts = {"date": str(datetime.date.today()), "processor": _processor()}
    with open(RECORD, "a", encoding="utf-8") as file:
        file.write(json.dumps(job | result | facts) + "\n")
    print(job["dataset"], job["generator"], json.dumps(result), file=sys.stderr)


def measure(dataset: str, generator: str, params: dict, seed: int, threads: int) -> dict:
    """Fit on train, sample as many rows, and score them. Seconds are CPU seconds of fit and sample; wall is both together."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    import workbench
    from workbench.generators import make, views
    from workbench.metrics import Trial
    from workbench.metrics.privacy import dcr_share, excess_copies, membership
    from workbench.metrics.published import published_errors

    threadpool_limits(threads)
    data = workbench.load(dataset)
    learnt, scored = views(generator, data, seed)
    model = make(generator, params)
    start, wall = time.process_time(), time.perf_counter()
    model.fit(learnt, data.schema, np.random.default_rng([seed, 0]))
    fitted = time.process_time()
    synthetic = model.sample(len(learnt), np.random.default_rng([seed, 1]))
    sampled, wall = time.process_time(), time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    trial = Trial(scored.train, scored.test, synthetic, data.schema, seed)
    rows = {row.metric: row.value for metric in (published_errors, dcr_share, membership) for row in metric(trial)}
    copies = next(iter(excess_copies(trial))).value
    result = {"shape": rows["shape_error"], "trend": rows["trend_error"], "closer": rows["dcr_share"]}
    result |= {"membership": rows["membership_auc"], "copies": copies} | utility(scored.test, synthetic, data.schema, seed)
    result |= {"fit": fitted - start, "sample": sampled - fitted, "wall": wall, "mb": memory}
    return {name: round(float(value), 4) for name, value in result.items()}


def utility(test, synthetic, schema, seed: int) -> dict:
    """{"auc": ...} of the positive class, or {"rmse": ...} of the target (log of it, from 1 up, for pm2.5)."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from workbench.encode import to_float
    from workbench.metrics.models import labels, predictions

    target = schema.target.name
    if target == "pm2.5":
        test, synthetic = (table.assign(**{target: np.log(table[target].clip(1, 20_000))}) for table in (test, synthetic))
    answer = predictions(synthetic, test, schema, "boosting", seed)
    if schema.task == "classification":
        return {"auc": roc_auc_score(labels(test[target]) == schema.positive, answer[schema.positive])}
    return {"rmse": float(np.sqrt(np.nanmean((answer["prediction"].to_numpy() - to_float(test[target])) ** 2)))}


def table() -> str:
    """A Markdown table for each dataset, the best trend error first."""
    latest = {}
    for line in RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else []:
        row = json.loads(line)
        latest[row["dataset"], row["generator"], json.dumps(row["params"], sort_keys=True), row["seed"], row["threads"]] = row
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in latest.values()):
        rows = sorted((row for row in latest.values() if row["dataset"] == dataset), key=lambda row: row.get("trend", 1e9))
        score = "rmse" if any("rmse" in row for row in rows) else "auc"
        names = [name for name in MEASURES if name not in {"auc", "rmse"} - {score}]
        parts.append(f"\n### {dataset}\n\n| generator | params | {' | '.join(names)} | threads | date |")
        parts.append("|---" * (len(names) + 4) + "|")
        for row in rows:
            params = ", ".join(f"{key}={value}" for key, value in row["params"].items())
            cells = [row["error"]] if "error" in row else [f"{row[name]:.4g}" for name in names]
            parts.append("| " + " | ".join([row["generator"], params, *cells, str(row["threads"]), row["date"]]) + " |")
    return "\n".join(parts)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--generators", default="holdout,independent,gaussian-copula,cart,bayes-tree,bayes-hillclimb,ctgan")
    parser.add_argument("--params", default="{}", help="hyper-parameters as JSON, for every generator named")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="only print the table of the record")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
