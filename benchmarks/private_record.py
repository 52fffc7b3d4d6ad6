"""What private generators keep of all of Adult at epsilon 1, delta 1e-5 and the published domain; and
PATE-GAN beside the audit of six implementations of it, with the audit's own splits and columns.

    WORKBENCH_DATA=/your/folder python benchmarks/private_record.py --fits 5     the folder holds adult.csv.gz

Finished fits are kept in a file of JSON lines: a stopped run goes on where it was. Noise is from the
operating system, so no fit can be repeated, and a number of a fit only numbers it. `--print` shows
what is recorded, `--write docs/generators.md` puts it there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split

from workbench.generators import make
from workbench.metrics import Trial
from workbench.metrics.evaluate import readings
from workbench.metrics.models import PANEL, predictions
from workbench.metrics.published import trend_on_real_edges
from workbench.tables.datasets import Dataset, load

RECORD = Path(__file__).with_suffix(".jsonl")
PUBLIC = {"epsilon": 1.0, "delta": 1e-5, "domain": "public"}
GENERATORS = ("dp-tan", "aim", "pate-gan", "mst", "dp-merf")
READINGS = {
    "shape_error": ("shape error %", 2),
    "trend_error": ("trend error %", 2),
    "trend_on_real_edges": ("on real edges %", 2),
    "auc": ("AUC", 3),
    "accuracy": ("accuracy", 3),
    "cpu": ("fit, CPU s", 1),
}
TARGETS = {"cervical_cancer": "Biopsy", "epileptic": "y"}
# The audit's clean_data.py drops these columns of cervical_cancer, and keeps the three other tests.
DROPPED = (
    "STDs:cervical condylomatosis",
    "STDs:pelvic inflammatory disease",
    "STDs:genital herpes",
    "STDs:molluscum contagiosum",
    "STDs:AIDS",
    "STDs:Hepatitis B",
    "STDs:HPV",
)


def adult(generator: str, fit: int) -> dict:
    """One fit on Adult's train split, read on its own test rows."""
    data = load("adult")
    synthetic, seconds = drawn(generator, PUBLIC, data, fit)
    trial = Trial(data.train, data.test, synthetic, data.schema)
    rows = readings(trial, ["shape_error", "trend_error"]).set_index("metric")["value"]
    # The same boosted trees as tstr_auc's, for the area and for the share of right answers alike.
    chances = predictions(synthetic, data.test, data.schema, "boosting", 0, False)
    truth = data.test["income"].astype(str) == ">50K"
    found = {name: float(rows[name]) for name in ("shape_error", "trend_error")}
    found["trend_on_real_edges"] = trend_on_real_edges(trial).value
    found["auc"] = float(roc_auc_score(truth, chances[">50K"]))
    found["accuracy"] = float(accuracy_score(truth, chances[">50K"] > 0.5))
    return found | {"cpu": seconds}


def drawn(name: str, settings: dict, data: Dataset, fit: int) -> tuple[pd.DataFrame, float]:
    """As many rows as train has, and the CPU seconds of the fit."""
    generator = make(name, settings)
    start = time.process_time()
    generator.fit(data.train, data.schema, np.random.default_rng([fit, 0]))
    seconds = time.process_time() - start
    return generator.sample(len(data.train), np.random.default_rng([fit, 1])), seconds


def audit(dataset: str, generator: str, fit: int) -> dict:
    """One fit on the audit's train rows; area and average precision by each of twelve classifiers."""
    target = TARGETS[dataset]
    data = audit_split(dataset, target)
    synthetic = data.train
    if generator != "real rows":
        settings = {"epsilon": 1.0, "delta": 1e-5}
        synthetic, _ = drawn(generator, settings, data, fit)
    truth = data.test[target].astype(str) == "1"
    found: dict[str, dict[str, float]] = {"auc": {}, "average_precision": {}}
    for learner in PANEL:
        chances = predictions(synthetic, data.test, data.schema, learner, 0, False)
        # A table of one class alone teaches nothing: chance, as the audit counts it.
        score = chances["1"] if "1" in chances else np.zeros(len(truth))
        found["auc"][learner] = float(roc_auc_score(truth, score))
        found["average_precision"][learner] = float(average_precision_score(truth, score))
    return found


def cervical(generator: str, fit: int) -> dict:
    return audit("cervical_cancer", generator, fit)


def epileptic(generator: str, fit: int) -> dict:
    return audit("epileptic", generator, fit)


def audit_split(dataset: str, target: str) -> Dataset:
    """Ganev, Annamalai and De Cristofaro 2024, clean_data.py: gaps get the commonest value, seizures
    are 1 of five classes, and a fifth of the rows, drawn with seed 13, are for testing.
    """
    path = Path(os.environ["WORKBENCH_DATA"]) / f"{dataset}.csv.gz"
    table = pd.read_csv(path, na_values="?").drop(columns=list(DROPPED), errors="ignore")
    table = table.fillna(table.mode().iloc[0])
    if dataset == "epileptic":
        table[target] = (table[target] == 1).astype(int)
    # Zeros and ones are answers, whatever the file writes them as.
    kinds = {name: "categorical" for name in table if table[name].isin([0, 1]).all()}
    table = table.assign(**{name: table[name].astype(int) for name in kinds})
    train, test = train_test_split(table, stratify=table[target], test_size=0.2, random_state=13)
    parts = [part.reset_index(drop=True) for part in (train, test)]
    return load(parts[0], test=parts[1], target=target, kinds=kinds)


AUDITED = ("real rows", "pate-gan")
JOBS = {
    "adult": (adult, GENERATORS),
    "cervical": (cervical, AUDITED),
    "epileptic": (epileptic, AUDITED),
}


def record(dataset: str, fits: int) -> None:
    """Whatever is missing, the first fit of every generator first."""
    measure, generators = JOBS[dataset]
    known = {(row["dataset"], row["generator"], row["fit"]) for row in recorded()}
    for fit in range(fits):
        for generator in generators:
            if (dataset, generator, fit) in known:
                continue
            found = measure(generator, fit)
            row = {"dataset": dataset, "generator": generator, "fit": fit, **found}
            row["date"] = str(datetime.date.today())
            # At once, so that a stopped run loses one fit at most.
            with RECORD.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def recorded() -> list[dict]:
    lines = RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else []
    return [json.loads(line) for line in lines]


def table() -> str:
    """A line a generator: means over its fits, with the 95% interval of Student's t."""
    heads = ["generator", "fits", *(head for head, _ in READINGS.values())]
    lines = [heads, ["---"] * len(heads)]
    rows = pd.DataFrame([row for row in recorded() if row["dataset"] == "adult"])
    for name, own in rows.groupby("generator", sort=False):
        line = [f"`{name}`", str(len(own))]
        for reading, (_, digits) in READINGS.items():
            line.append(interval(own[reading].to_numpy(), digits))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page: str) -> str:
    """The page with the table between its marks made anew."""
    mark = r"(<!-- private record: made by benchmarks/private_record.py -->\n).*?(\n<!-- end -->)"
    page, count = re.subn(
        mark, lambda found: f"{found[1]}\n{table()}\n{found[2]}", page, flags=re.S
    )
    if count != 1:
        raise ValueError(f"{count} places for the record of private generators; one is needed")
    return page


def interval(values: np.ndarray, digits: int) -> str:
    shown = f"{values.mean():.{digits}f}"
    if len(values) < 2:
        return shown
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{shown} [{values.mean() - half:.{digits}f}, {values.mean() + half:.{digits}f}]"


def audited(dataset: str) -> str:
    """As the audit sums up: of each classifier the largest reading over the fits, then their mean;
    and the plain mean beside it.
    """
    lines = []
    for name in AUDITED:
        own = [row for row in recorded() if (row["dataset"], row["generator"]) == (dataset, name)]
        for reading in ("auc", "average_precision"):
            values = pd.DataFrame([row[reading] for row in own])
            largest, plain = values.max().mean(), values.to_numpy().mean()
            lines.append(
                f"{name}, {reading}: {largest:.3f} (mean over fits {plain:.3f}, {len(own)})"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=JOBS, default="adult")
    parser.add_argument("--fits", type=int, default=5)
    parser.add_argument("--print", action="store_true", help="what is recorded, and nothing else")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    chosen = parser.parse_args()
    if chosen.write:
        chosen.write.write_text(filled(chosen.write.read_text(encoding="utf-8")), encoding="utf-8")
        return
    if not chosen.print:
        record(chosen.dataset, chosen.fits)
    print(table() if chosen.dataset == "adult" else audited(chosen.dataset))


if __name__ == "__main__":
    main()
