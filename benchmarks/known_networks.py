"""Samples against the truth: how well each method's rows agree with the Bayesian network that its
train rows were drawn from.

    python benchmarks/known_networks.py [--datasets asia,alarm] [--generators cart,ctgan] [--params
    JSON] [--seed 0]

The likelihood fitness of Xu et al. 2019 (CTGAN, section 5.1), in nats a row, larger is better:

L_syn    mean log-likelihood of synthetic rows under the true network. Low for rows that cannot be; but a method that repeats
         the commonest row scores above real rows, so the distance to their value counts, on both
         sides.
L_test   mean log-likelihood of real test rows under the true graph with its distributions counted on synthetic rows. Low where
         something real is missing: real train rows set the ceiling.

A state that the truth rules out has probability 0. SDMetrics (BNLogLikelihood) gives such a row
1e-8, which is more than many possible rows of a large network have; here every conditional
probability is at least 1e-6, and `impossible` is the share of rows with one that was raised.
Counted distributions have one uniform row's weight in each case of the parents. "real rows" are the
ceiling, independent and permuted the floor; bayes-expert is given the true edges.

Every result is a line of benchmarks/known_networks.jsonl; the last one of a (dataset, generator,
params, seed, threads) counts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from recording import latest, run

RECORD = Path(__file__).with_suffix(".jsonl")
REAL = "real rows"
FLOOR = 1e-6
MEASURES = {
    "l_syn": "L_syn",
    "l_test": "L_test",
    "impossible": "impossible rows",
    "fit": "fit, CPU s",
    "sample": "sample, CPU s",
}


def main() -> None:
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
        return
    for dataset in options.datasets.split(",") if options.generators else []:
        for generator in options.generators.split(","):
            job = {"dataset": dataset, "generator": generator, "params": json.loads(options.params)}
            run(__file__, RECORD, job | {"seed": options.seed, "threads": options.threads})
    print(tables(latest(RECORD)))


def measure(dataset: str, generator: str, params: dict, seed: int, threads: int) -> dict:
    """Fit on train, sample as many rows, and score them; or a sentence why the generator cannot
    take the table.
    """
    from threadpoolctl import threadpool_limits

    import workbench
    from workbench.generators import make, views
    from workbench.tables.datasets import true_network

    threadpool_limits(threads)
    data, model = workbench.load(dataset), true_network(dataset)
    learnt, scored, costs = data.train, data, {}
    synthetic, described = (
        data.test,
        data.train,
    )  # the ceiling: test rows under the truth, and under what train describes
    if generator != REAL:
        learnt, scored = views(generator, data, seed)
        method = make(
            generator,
            params | ({"edges": sorted(model.edges())} if generator == "bayes-expert" else {}),
        )
        if reason := method.supports(data.schema):
            return {"error": reason}
        start = time.process_time()
        method.fit(learnt, data.schema, np.random.default_rng([seed, 0]))
        fitted = time.process_time()
        synthetic = described = method.sample(len(data.train), np.random.default_rng([seed, 1]))
        costs = {"fit": fitted - start, "sample": time.process_time() - fitted}
    syn, ruled_out = log_likelihood(
        synthetic, model, {node: cpd.get_values().T for node, cpd in _cpds(model).items()}
    )
    test, _ = log_likelihood(scored.test, model, counted(described, model))
    result = {"l_syn": syn.mean(), "l_test": test.mean(), "impossible": ruled_out.mean()} | costs
    return {name: round(float(value), 4) for name, value in result.items()}


def log_likelihood(
    table: pd.DataFrame, model, tables: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's log-likelihood, shape (rows,), and whether a probability below FLOOR was raised to
    it, bool, shape (rows,).

    tables: P(node | parents), shape (cases of the parents, states), in the order of the model's own
    tables. A label that the network does not know has probability 0, as has all below a parent with
    such a label.
    """
    total, raised = np.zeros(len(table)), np.zeros(len(table), dtype=bool)
    for node, cpd in _cpds(model).items():
        case, state = _cells(table, cpd)
        known = (case >= 0) & (state >= 0)
        probability = np.where(known, tables[node][np.maximum(case, 0), np.maximum(state, 0)], 0)
        total += np.log(np.maximum(probability, FLOOR))
        raised |= probability < FLOOR
    return total, raised


def counted(table: pd.DataFrame, model) -> dict[str, np.ndarray]:
    """P(node | parents) counted on the table along the model's graph, with the weight of one
    uniform row in each case.
    """
    tables = {}
    for node, cpd in _cpds(model).items():
        case, state = _cells(table, cpd)
        known, shape = (case >= 0) & (state >= 0), cpd.get_values().T.shape
        counts = (
            np.bincount(
                case[known] * shape[1] + state[known], minlength=shape[0] * shape[1]
            ).reshape(shape)
            + 1 / shape[1]
        )
        tables[node] = counts / counts.sum(axis=1, keepdims=True)
    return tables


def _cpds(model) -> dict:
    return {node: model.get_cpds(node) for node in model.nodes()}


def _cells(table: pd.DataFrame, cpd) -> tuple[np.ndarray, np.ndarray]:
    """For each row the number of its parents' case and of the node's state; -1 where a label is not
    the network's.
    """
    node, *parents = cpd.variables
    codes = {
        name: pd.Index(cpd.state_names[name]).get_indexer(table[name].astype(object))
        for name in cpd.variables
    }
    case, known = np.zeros(len(table), dtype=int), np.ones(len(table), dtype=bool)
    for parent in parents:
        case = case * len(cpd.state_names[parent]) + codes[parent]
        known &= codes[parent] >= 0
    return np.where(known, case, -1), codes[node]


def tables(rows: list[dict]) -> str:
    """A Markdown table for each dataset, the largest L_test first."""
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        here = sorted(
            (row for row in rows if row["dataset"] == dataset),
            key=lambda row: -row.get("l_test", -1e9),
        )
        parts.append(
            f"\n### {dataset}\n\n| generator | {' | '.join(MEASURES.values())} | seed | date |"
        )
        parts.append("|---" * (len(MEASURES) + 3) + "|")
        for row in here:
            params = ", ".join(f"{key}={value}" for key, value in row["params"].items())
            cells = [f"{row[name]:.4g}" if name in row else "" for name in MEASURES]
            cells[0] = row.get("error", cells[0])
            name = row["generator"] + (f" ({params})" if params else "")
            parts.append("| " + " | ".join([name, *cells, str(row["seed"]), row["date"]]) + " |")
    return "\n".join(parts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default="asia,alarm,child,insurance")
    parser.add_argument(
        "--generators",
        default=(
            "real rows,independent,permuted,holdout,gaussian-copula,cart,bayes-tree,bayes-hillclimb,bayes-expert"
        ),
        help="empty: measure nothing, print the record's tables",
    )
    parser.add_argument(
        "--params", default="{}", help="hyper-parameters as JSON, for every generator named"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
