"""Every method on the papers' datasets: fidelity, utility, privacy and cost, one process a method.

    python benchmarks/methods.py [--datasets adult,magic_gamma] [--generators cart,ctgan] [--params JSON] [--seed 0]
    python benchmarks/methods.py --budgets 10,60,180,600 --datasets adult --generators ctgan,tvae
    python benchmarks/methods.py --write docs/generators.md     measure nothing: the page and the figure from the record

Every result is a line of benchmarks/methods.jsonl; the last one of a (dataset, generator, params,
seed, threads) counts. `--params` are given to every generator named, and each budget as its
`seconds`. Shape and trend error follow SDMetrics' definitions, against train; AUC and RMSE are of
scikit-learn's histogram gradient boosting with its defaults, fitted on synthetic and read on real
test rows (the papers: XGBoost; the RMSE of Beijing is of the logarithm of pm2.5, as theirs).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

from recording import latest, run

RECORD = Path(__file__).with_suffix(".jsonl")
REAL = "real rows"  # the ceiling: errors of test against train, and a model fitted on train
MEASURES = {
    "shape": "shape error %",
    "trend": "trend error %",
    "real_trend": "trend on real edges %",
    "auc": "TSTR AUC",
    "rmse": "TSTR RMSE",
    "closer": "closer to train",
    "membership": "membership AUC",
    "copies": "excess copies",
    "fit": "fit, CPU s",
    "sample": "sample, CPU s",
    "mb": "peak MB",
}
# Shape error, trend error, AUC (RMSE for Beijing) as Zhang et al. 2024 (TabSyn) and Shi et al. 2025
# (TabDiff) print them.
GENERATORS = (
    "independent",
    "gaussian-copula",
    "vine-copula",
    "cart",
    "arf",
    "bayes-tree",
    "bayes-tan",
    "bayes-hillclimb",
    "privbayes",
    "mst",
    "dp-tan",
    "aim",
    "dp-merf",
    "gan",
    "ctgan",
    "pate-gan",
    "dp-gan",
    "tvae",
    "diffusion",
    "autoregressive",
)
PUBLISHED = {
    "adult": {
        "CTGAN": (16.84, 20.23, 0.886),
        "TVAE": (14.22, 14.15, 0.878),
        "GReaT": (12.12, 17.59, 0.913),
        "TabDDPM": (1.75, 3.01, 0.907),
        "TabSyn": (0.81, 1.93, 0.909),
        "TabDiff": (0.63, 1.49, 0.912),
        "real rows": (None, None, 0.927),
    },
    "default_credit": {
        "CTGAN": (16.83, 26.95, 0.696),
        "TVAE": (10.17, 19.50, 0.724),
        "GReaT": (19.94, 70.02, 0.755),
        "TabDDPM": (1.57, 4.89, 0.758),
        "TabSyn": (1.01, 2.81, 0.763),
        "TabDiff": (1.24, 2.55, 0.763),
        "real rows": (None, None, 0.770),
    },
    "online_shoppers": {
        "CTGAN": (21.15, 13.08, 0.875),
        "TVAE": (24.51, 18.67, 0.871),
        "GReaT": (14.51, 45.16, 0.902),
        "TabDDPM": (2.72, 6.61, 0.918),
        "TabSyn": (1.44, 2.13, 0.914),
        "TabDiff": (1.28, 1.74, 0.921),
        "real rows": (None, None, 0.926),
    },
    "magic_gamma": {
        "CTGAN": (9.81, 7.00, 0.855),
        "TVAE": (8.25, 5.82, 0.887),
        "GReaT": (16.16, 10.23, 0.888),
        "TabDDPM": (1.01, 1.70, 0.935),
        "TabSyn": (1.03, 0.88, 0.937),
        "TabDiff": (0.78, 0.76, 0.936),
        "real rows": (None, None, 0.946),
    },
    "beijing_pm25": {
        "CTGAN": (21.39, 22.95, 0.902),
        "TVAE": (19.16, 18.01, 0.770),
        "GReaT": (8.25, 59.60, 0.653),
        "TabDDPM": (1.30, 2.71, 0.592),
        "TabSyn": (1.26, 3.13, 0.580),
        "TabDiff": (1.03, 2.59, 0.555),
        "real rows": (None, None, 0.423),
    },
}


def main() -> None:
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
    elif options.write:
        write(Path(options.write))
    else:
        for dataset in options.datasets.split(","):
            for generator in options.generators.split(","):
                for budget in map(float, options.budgets.split(",")) if options.budgets else [None]:
                    params = json.loads(options.params) | ({"seconds": budget} if budget else {})
                    job = {
                        "dataset": dataset,
                        "generator": generator,
                        "params": params,
                        "seed": options.seed,
                    }
                    run(__file__, RECORD, job | {"threads": options.threads})
        print(tables(latest(RECORD)))


def measure(dataset: str, generator: str, params: dict, seed: int, threads: int) -> dict:
    """Fit on train, sample as many rows, and score them. Seconds are CPU seconds of fit and sample;
    wall is both together.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    import workbench
    from workbench.generators import make, views
    from workbench.metrics import Trial
    from workbench.metrics.privacy import dcr_share, excess_copies, membership
    from workbench.metrics.published import published_errors, trend_on_real_edges

    threadpool_limits(threads)
    data = workbench.load(dataset)
    if generator == REAL:
        errors = {
            row.metric: row.value
            for row in published_errors(Trial(data.train, data.test, data.test, data.schema, seed))
        }
        result = {"shape": errors["shape_error"], "trend": errors["trend_error"]}
        return _rounded(result | utility(data.test, data.train, data.schema, seed))
    learnt, scored = views(generator, data, seed)
    model = make(generator, params)
    start, wall = time.process_time(), time.perf_counter()
    model.fit(learnt, data.schema, np.random.default_rng([seed, 0]))
    fitted = time.process_time()
    synthetic = model.sample(len(learnt), np.random.default_rng([seed, 1]))
    sampled, wall = time.process_time(), time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    trial = Trial(scored.train, scored.test, synthetic, data.schema, seed)
    rows = {
        row.metric: row.value
        for metric in (published_errors, dcr_share, membership)
        for row in metric(trial)
    }
    copies = next(iter(excess_copies(trial))).value
    result = {
        "shape": rows["shape_error"],
        "trend": rows["trend_error"],
        "real_trend": trend_on_real_edges(trial).value,
        "closer": rows["dcr_share"],
    }
    result |= {"membership": rows["membership_auc"], "copies": copies} | utility(
        scored.test, synthetic, data.schema, seed
    )
    result |= {"fit": fitted - start, "sample": sampled - fitted, "wall": wall, "mb": memory}
    facts = getattr(model, "facts", None) or {}
    # The budget of a private row: epsilon at another delta, or of a domain read off train, is another.
    budget = {name: facts[name] for name in ("epsilon", "delta", "domain") if name in facts}
    return _rounded(result) | ({"budget": budget} if budget else {})


def _rounded(result: dict) -> dict:
    return {name: round(float(value), 4) for name, value in result.items()}


def utility(test, synthetic, schema, seed: int) -> dict:
    """{"auc": ...} of the positive class, or {"rmse": ...} of the target (log of it, from 1 up, for
    pm2.5).
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score

    from workbench.metrics.models import labels, predictions
    from workbench.tables.encode import to_float

    target = schema.target.name
    if target == "pm2.5":
        test, synthetic = (
            table.assign(**{target: np.log(table[target].clip(1, 20_000))})
            for table in (test, synthetic)
        )
    answer = predictions(synthetic, test, schema, "boosting", seed)
    if schema.task == "classification":
        return {
            "auc": roc_auc_score(labels(test[target]) == schema.positive, answer[schema.positive])
        }
    return {
        "rmse": float(
            np.sqrt(np.nanmean((answer["prediction"].to_numpy() - to_float(test[target])) ** 2))
        )
    }


# Of rows that were recorded before a row held its budget; their domains were read off train.
DELTAS = {"privbayes": 0.0, "mst": 1e-9, "pate-gan": 1e-5, "dp-gan": 1e-5}


def described(row: dict) -> list[str]:
    """A row's parameters, and for a private one its epsilon, delta and where its domain is from."""
    params, name = dict(row["params"]), row["generator"]
    budget = row.get("budget")
    if budget is None and name in DELTAS:
        params = {"epsilon": 1.0, "delta": DELTAS[name]} | params
        params["domain"] = "read off train"
    elif budget is not None:
        params |= {"epsilon": f"{budget['epsilon']:.4g}", "delta": budget["delta"]}
        params["domain"] = params.get("domain") or budget["domain"]
    return [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    ]


def written(name: str, value: float | None) -> str:
    """A reading with the digits of its column; nothing where there is none."""
    if value is None:
        return ""
    digits = {"shape": 2, "trend": 2, "real_trend": 2, "copies": 4, "fit": 2, "sample": 2, "mb": 0}
    return f"{value:.{digits.get(name, 3)}f}"


def tables(rows: list[dict]) -> str:
    """A Markdown table for each dataset, the smallest trend error first, and what papers print
    below it.
    """
    parts = []
    for dataset in [name for name in PUBLISHED if any(row["dataset"] == name for row in rows)]:
        here = sorted(
            (row for row in rows if row["dataset"] == dataset),
            key=lambda row: row.get("trend", 1e9),
        )
        score = "rmse" if any("rmse" in row for row in here) else "auc"
        names = [name for name in MEASURES if name not in {"auc", "rmse"} - {score}]
        parts.append(
            f"\n### {dataset}\n\n| generator | {' | '.join(MEASURES[name] for name in names)} |"
            " threads | date |"
        )
        parts.append("|---" * (len(names) + 3) + "|")
        for row in here:
            params = ", ".join(described(row))
            cells = (
                [row["error"]]
                if "error" in row
                else [written(name, row.get(name)) for name in names]
            )
            name = row["generator"] + (f" ({params})" if params else "")
            parts.append("| " + " | ".join([name, *cells, str(row["threads"]), row["date"]]) + " |")
        for method, (shape, trend, utility) in PUBLISHED[dataset].items():
            known = {"shape": shape, "trend": trend, score: utility}
            cells = [written(name, known.get(name)) for name in names]
            parts.append("| " + " | ".join([f"*published: {method}*", *cells, "", ""]) + " |")
    return "\n".join(parts)


def write(page: Path) -> None:
    """Replace what follows the page's line "## Measured" by the tables, and draw the figure beside
    the page.
    """
    rows = latest(RECORD)
    head = page.read_text(encoding="utf-8").split("## Measured")[0]
    processors = " and ".join(sorted({row["processor"] for row in rows}))
    note = f"Seconds were measured on {processors}; compare them within a table only.\n"
    page.write_text(f"{head}## Measured\n\n{note}{tables(rows)}\n", encoding="utf-8")
    plain = [
        row
        for row in rows
        if row["dataset"] == "adult" and "fit" in row and row["params"].keys() <= {"seconds"}
    ]
    figure(plain, page.parent / "quality_per_second.svg")


def figure(rows: list[dict], path: Path) -> None:
    """Trend error and utility against the CPU seconds of fitting: one line a generator, one point a
    budget.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    plt.rcParams["svg.hashsalt"] = "workbench"  # the same rows give the same bytes
    table = pd.DataFrame(rows).sort_values("fit")
    measures = {
        "trend": "trend error, % (log scale)",
        "auc": "AUC, train on synthetic, test on real",
    }
    shown, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", sharex=True)
    for axis, (name, label) in zip(axes, measures.items(), strict=True):
        style = {
            "hue": "generator",
            "style": "generator",
            "dashes": False,
            "palette": "husl",
            "markers": True,
        }
        sns.lineplot(
            table, x="fit", y=name, legend=axis is axes[1], ax=axis, errorbar=None, **style
        )
        axis.set(xscale="log", xlabel="CPU seconds of fitting (log scale)", ylabel=label)
    axes[0].set_yscale("log")
    sns.move_legend(axes[1], "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False)
    shown.savefig(path, metadata={"Date": None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default=",".join(PUBLISHED))
    parser.add_argument("--generators", default=",".join([REAL, *GENERATORS]))
    parser.add_argument(
        "--params", default="{}", help="hyper-parameters as JSON, for every generator named"
    )
    parser.add_argument("--budgets", help="measure at each of these seconds of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--write", metavar="PAGE", help="measure nothing; write the record's tables and figure"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
