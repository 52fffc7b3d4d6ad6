"""Domain randomization on digits: a network that saw drawn digits only, read on scanned ones (Tremblay et al. 2018, in small).

    python benchmarks/digits.py [--seeds 0,1,2,3,4] [--parts transfer,ablation,images]
    python benchmarks/digits.py --write docs/domain-randomization.md       measure nothing: the tables from the record

transfer  trained on drawn digits alone; then fine-tuned on a few scanned ones, against the same network trained on those alone
ablation  one component of the drawing left out, all left out, and the preprocessing that is imitated left out
images    how many drawn digits

The scanned digits are scikit-learn's 1,797 (13 writers, in order). 300 from the first half tune the drawing and the network;
of the others, shuffled once, 1,000 train and 497 test. A second split has no writer on both sides but perhaps one: train
from the first half, test on the second. Ablations read all 1,497 digits that tuned nothing, since their networks saw none.
Every result is a line of benchmarks/digits.jsonl; the last one of a (part, what, settings, seed, threads) counts.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from recording import latest, run

RECORD = Path(__file__).with_suffix(".jsonl")
REAL = (20, 50, 100, 500, 1000)
DRAWN, STEPS = 20_000, 500
TUNE = {"steps": 200, "rate": 1e-3}
IMAGES = (100, 300, 1000, 3000, 10_000, 30_000)


def main() -> None:
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
    elif options.write:
        write(Path(options.write))
    else:
        done = {(row["dataset"], row["generator"], row["seed"]) for row in latest(RECORD) if "error" not in row}
        for part, what, seed in jobs(options.parts.split(","), [int(seed) for seed in options.seeds.split(",")]):
            if (part, what, seed) not in done or options.again:
                run(__file__, RECORD, {"dataset": part, "generator": what, "params": {}, "seed": seed, "threads": 1})
        print(tables(latest(RECORD)))


def jobs(parts: list[str], seeds: list[int]):
    from workbench.simulators.digits import Digits

    what = {
        "transfer": ["all"],
        "ablation": ["nothing", *Digits.components(), "preprocessing", "everything"],
        "images": list(map(str, IMAGES)),
    }
    return [(part, name, seed) for seed in seeds for part in parts for name in what[part]]


def split() -> dict[str, np.ndarray]:
    """Rows of scikit-learn's digits for each use; the same ones always."""
    rng = np.random.default_rng(0)
    tuning = np.sort(rng.choice(898, 300, replace=False))
    others = rng.permutation(np.setdiff1d(np.arange(1797), tuning))
    parts = {"tuning": tuning, "unseen": others, "shuffled train": others[:1000], "shuffled test": others[1000:]}
    return parts | {"in order train": np.sort(others[others < 898]), "in order test": np.arange(898, 1797)}


def measure(dataset: str, generator: str, params: dict, seed: int, threads: int) -> dict:
    """The shares of scanned digits that are read correctly, in one part of the benchmark, and its CPU seconds."""
    from sklearn.datasets import load_digits

    images, digits = load_digits().images, load_digits().target
    rows, start = split(), time.process_time()
    scanned = {name: (images[chosen], digits[chosen]) for name, chosen in rows.items()}
    parts = {"transfer": transfer, "ablation": ablation, "images": amount}
    result = parts[dataset](generator, scanned, np.random.default_rng([seed, 0]), **params)
    return {name: round(float(value), 4) for name, value in result.items()} | {"cpu": round(time.process_time() - start, 1)}


def transfer(_, scanned: dict, rng: np.random.Generator) -> dict:
    from workbench.simulators.digit_reader import Reader
    from workbench.simulators.digits import Digits

    drawn = Reader().fit(*Digits().images(DRAWN, rng), STEPS, rng)
    result = {name: drawn.accuracy(*scanned[name]) for name in ("tuning", "unseen", "shuffled test", "in order test")}
    for way in ("shuffled", "in order"):
        images, digits = scanned[f"{way} train"]
        order = rng.permutation(len(digits))
        for n in (n for n in REAL if n <= len(order)):
            few = images[order[:n]], digits[order[:n]]
            alone = Reader().fit(*few, STEPS, rng)
            tuned = replace(drawn).fit(*few, TUNE["steps"], rng, TUNE["rate"])
            result[f"{way} {n} alone"] = alone.accuracy(*scanned[f"{way} test"])
            result[f"{way} {n} tuned"] = tuned.accuracy(*scanned[f"{way} test"])
    return result


def ablation(component: str, scanned: dict, rng: np.random.Generator) -> dict:
    from workbench.simulators.digits import Digits

    out = {"nothing": [], "everything": Digits.components()}.get(component, [component])
    return _drawn_only(Digits(**dict.fromkeys(out, 0)), DRAWN, scanned, rng)


def amount(images: str, scanned: dict, rng: np.random.Generator) -> dict:
    from workbench.simulators.digits import Digits

    return _drawn_only(Digits(), int(images), scanned, rng)


def _drawn_only(drawing, images: int, scanned: dict, rng: np.random.Generator) -> dict:
    from workbench.simulators.digit_reader import Reader

    reader = Reader().fit(*drawing.images(images, rng), STEPS, rng)
    return {name: reader.accuracy(*scanned[name]) for name in ("tuning", "unseen")}


def interval(values: list[float]) -> tuple[float, float]:
    """The mean of several seeds, and half of its 95% interval (Student's t)."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return float(np.mean(values)), float(half)


def tables(rows: list[dict]) -> str:
    """Markdown: means over seeds, with 95% intervals; differences are of the same seed and the same scanned digits."""
    found = {part: {} for part in ("transfer", "ablation", "images")}
    for row in sorted((row for row in rows if "error" not in row), key=lambda row: row["seed"]):
        found[row["dataset"]].setdefault(row["generator"], {})[row["seed"]] = row

    def text(part: str, what: str, column: str, less: tuple[str, str] | None = None) -> str:
        runs = found[part].get(what, {})
        against = dict.fromkeys(runs, 0.0) if less is None else {s: r[less[1]] for s, r in found[part].get(less[0], {}).items()}
        values = [row[column] - against[seed] for seed, row in runs.items() if seed in against and column in row]
        if not values:
            return ""
        mean, half = interval(values)
        return f"{mean:{'+' if less else ''}.4f} ± {half:.4f}"

    names = ["unseen", "shuffled test", "in order test", "tuning"]
    parts = ["### Drawn digits alone\n", "| read on | digits | correct |\n|---|---|---|"]
    sizes = {name: len(chosen) for name, chosen in split().items()}
    parts += [f"| {name} | {sizes[name]:,} | {text('transfer', 'all', name)} |" for name in names]
    for way in ("shuffled", "in order"):
        parts.append(f"\n### Fine-tuned on scanned digits, {way}\n")
        parts.append("| scanned | those alone | drawn, then those | gain |\n|---|---|---|---|")
        for n in (n for n in REAL if n <= sizes[f"{way} train"]):
            alone, tuned = f"{way} {n} alone", f"{way} {n} tuned"
            gain = text("transfer", "all", tuned, ("all", alone))
            parts.append(f"| {n:,} | {text('transfer', 'all', alone)} | {text('transfer', 'all', tuned)} | {gain} |")
    for part, title, name in (("ablation", "One component left out", "left out"), ("images", "How many drawn digits", "drawn")):
        parts.append(f"\n### {title}\n\n| {name} | correct | change |\n|---|---|---|")
        reference = ("nothing" if part == "ablation" else max(found[part], key=int, default=""), "unseen")
        for what in found[part]:
            parts.append(f"| {what} | {text(part, what, 'unseen')} | {text(part, what, 'unseen', reference)} |")
    return "\n".join(parts)


def write(page: Path) -> None:
    """Replace what follows the page's line "## Measured" by the tables."""
    rows = latest(RECORD)
    head = page.read_text(encoding="utf-8").split("## Measured")[0]
    seeds, cpu = len({row["seed"] for row in rows}), sum(row.get("cpu", 0) for row in rows)
    note = f"{seeds} seeds, {cpu / 60:.0f} CPU minutes on one thread of {rows[0]['processor']}, {rows[0]['date']}.\n"
    page.write_text(f"{head}## Measured\n\n{note}\n{tables(rows)}\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--parts", default="transfer,ablation,images")
    parser.add_argument("--again", action="store_true", help="measure what the record already holds, too")
    parser.add_argument("--write", metavar="PAGE", help="measure nothing; write the record's tables")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
