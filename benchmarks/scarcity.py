"""Does a table with few rows of a rare label gain from synthetic ones that are asked for by
condition?

    python benchmarks/scarcity.py [--datasets loans,adult] [--generators cart,ctgan] [--rare 20,50] [--splits 0,1,2] [--times 1]
    python benchmarks/scarcity.py --write docs/scarcity.md      measure nothing: the page's tables from the record

Train keeps `rare` rows of the rarer label and at most 2,000 of the other, test stays as it is (at
most 6,000 rows). A generator is fitted on that train table and asked for rows of the rare label, as
many as make both labels equally frequent, or `times` as many as there are real ones. Every result
is a line of benchmarks/scarcity.jsonl; what is there is not measured again. Datasets but loans are
read from the folder named by WORKBENCH_DATA.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from machine import processor
from tqdm.auto import tqdm

import workbench
from workbench.errors import InputError
from workbench.report.significance import corrected_interval
from workbench.studies import edge_cases

RECORD = Path(__file__).with_suffix(".jsonl")
DATASETS = ("loans", "adult", "default_credit", "online_shoppers", "bank_marketing")
# Networks with a tenth to a third of their default epochs, which is what these few rows need; all
# others by default.
GENERATORS = {
    name: {}
    for name in ("independent", "gaussian-copula", "cart", "arf", "bayes-tree", "bayes-tan")
}
GENERATORS |= {
    "tvae": {"epochs": 100},
    "ctgan": {"epochs": 100, "batch_size": 100},
    "diffusion": {"epochs": 100},
}
GENERATORS |= {
    "autoregressive": {},
    "vine-copula": {},
    "privbayes": {},
    "mst": {},
    "smote": {},
    "copy": {},
    "holdout": {},
}
BY_REFERENCE = {"copy": "copy: the real rare rows repeated", "holdout": "holdout: fresh real rows"}
TEST_ROWS = 6000
KEYS = ["dataset", "rare", "split", "generator", "times"]


def main() -> None:
    options = _options()
    if options.write:
        write(Path(options.write))
        return
    done = {tuple(row[key] for key in KEYS) for row in record()}
    listed = [
        text.split(",")
        for text in (options.datasets, options.rare, options.splits, options.generators)
    ]
    cells = [(d, int(r), int(s)) for d in listed[0] for s in listed[2] for r in listed[1]]
    for dataset, rare, split in tqdm(cells):
        missing = [
            name for name in listed[3] if (dataset, rare, split, name, options.times) not in done
        ]
        if missing:
            measure(dataset, rare, split, missing, options.times)


def measure(dataset: str, rare: int, split: int, generators: list[str], times: int) -> None:
    data = workbench.load(dataset, seed=split)
    data = replace(
        data,
        test=data.test.sample(min(TEST_ROWS, len(data.test)), random_state=split).reset_index(
            drop=True
        ),
    )
    try:
        data = edge_cases.scarce(data, rare, split)
    except InputError:
        return  # it never had so many
    for name in generators:
        start = time.process_time()
        rows = edge_cases.augment(data, name, split, rare * times or None, **GENERATORS[name])
        result = {
            row.group or "over the best": round(row.value, 4)
            for row in rows
            if not np.isnan(row.value)
        }
        line = dict(zip(KEYS, (dataset, rare, split, name, times), strict=True))
        line |= {
            "params": GENERATORS[name],
            "gains": result,
            "note": rows[0].note,
            "cpu": round(time.process_time() - start, 1),
        }
        with open(RECORD, "a", encoding="utf-8") as file:
            file.write(
                json.dumps(line | {"date": str(datetime.date.today()), "processor": processor()})
                + "\n"
            )


def record() -> list[dict]:
    return (
        [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]
        if RECORD.exists()
        else []
    )


def write(page: Path) -> None:
    """Replace what follows the page's line "## Measured" by tables of the record."""
    rows = pd.DataFrame([row | row["gains"] for row in record()])
    balanced, doubled = rows[rows["times"] == 0], rows[rows["times"] == 1]
    parts = [
        "Average precision over the best cheap baseline of each test",
        across(balanced, "over the best"),
    ]
    parts += ["Average precision over doing nothing", across(balanced, "over none")]
    parts += [
        "Balanced accuracy over the best cheap baseline, a tuned threshold among them",
        across(balanced, "in balanced accuracy"),
    ]
    for rate in ("1%", "5%"):
        parts += [
            f"Recall at {rate} false positives over the best",
            across(balanced, f"in recall at {rate} false positives"),
        ]
    if len(doubled):
        parts += [
            "Only as many synthetic rare rows as real ones: average precision over doing nothing",
            across(doubled, "over none"),
        ]
    for dataset in [name for name in DATASETS if name in set(balanced["dataset"])]:
        parts += [
            f"{dataset}: average precision over doing nothing",
            within(balanced[balanced["dataset"] == dataset], "over none"),
        ]
    text = "\n\n".join(f"### {part}" if k % 2 == 0 else part for k, part in enumerate(parts))
    facts = (
        f"{len(rows):,} runs, {rows['cpu'].sum() / 60:.0f} CPU minutes on"
        f" {' and '.join(sorted(set(rows['processor'])))}."
    )
    head = page.read_text(encoding="utf-8").split("## Measured")[0]
    page.write_text(
        f"{head}## Measured\n\nMade by `python benchmarks/scarcity.py --write {page}`:"
        f" {facts}\n\n{text}\n",
        encoding="utf-8",
    )


def across(rows: pd.DataFrame, gain: str) -> str:
    """Mean gain over datasets at each number of rare rows; and of those with an interval, how many
    lie above and below 0.
    """
    cells = {}
    for (generator, rare), part in rows.groupby(["generator", "rare"]):
        ends = [interval(one[gain]) for _, one in part.groupby("dataset")]
        better, worse = sum(low > 0 for _, low, _ in ends), sum(high < 0 for _, _, high in ends)
        known = sum(not np.isnan(low) for _, low, _ in ends)
        mean = np.mean([value for value, _, _ in ends])
        cells[generator, rare] = f"{mean:+.3f} ({better} better, {worse} worse of {known})".replace(
            "-", "−"
        )
    return markdown(cells)


def within(rows: pd.DataFrame, gain: str) -> str:
    """Mean gain over splits of one dataset with its interval."""
    cells = {}
    for (generator, rare), part in rows.groupby(["generator", "rare"]):
        mean, low, high = interval(part[gain])
        ends = "one split" if np.isnan(low) else f"{low:+.3f}, {high:+.3f}"
        cells[generator, rare] = f"{mean:+.3f} [{ends}]".replace("-", "−")
    return markdown(cells)


def interval(gains: pd.Series) -> tuple[float, float, float]:
    return corrected_interval(gains.dropna().to_numpy(), 0.7, 0.3)


def markdown(readings: dict[tuple[str, int], str]) -> str:
    sizes = sorted({rare for _, rare in readings})
    lines = [
        "| generator | " + " | ".join(f"{rare} rare rows" for rare in sizes) + " |",
        "|---" * (1 + len(sizes)) + "|",
    ]
    for name in [name for name in GENERATORS if any((name, rare) in readings for rare in sizes)]:
        cells = [BY_REFERENCE.get(name, name), *(readings.get((name, rare), "") for rare in sizes)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--generators", default=",".join(GENERATORS))
    parser.add_argument("--rare", default="20,50,100,400", help="train rows of the rare label")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument(
        "--times",
        type=int,
        default=0,
        help="synthetic rows for each real rare one (default: to balance)",
    )
    parser.add_argument(
        "--write", metavar="PAGE", help="measure nothing; write the record's tables"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
