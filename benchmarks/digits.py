"""Domain randomization on digits: a network that saw drawn digits only, read on scanned ones
(Tremblay et al. 2018, in small).

    python benchmarks/digits.py [--seeds 0,1,2,3,4] [--parts transfer,ablation,images]
    python benchmarks/digits.py --write docs/domain-randomization.md       measure nothing: the tables from the record

transfer  trained on drawn digits; then tuned on a few scanned ones alone, or mixed with drawn ones; against those few alone
ablation  one component of the drawing left out, all left out, and the preprocessing that is imitated left out
images    how many drawn digits

The scanned digits are scikit-learn's 1,797 (13 writers, in order). 300 from the first half tune the
drawing and the network; of the others, shuffled once, 1,000 train and 497 test. A second split has
no writer on both sides but perhaps one: train from the first half, test on the second. Ablations
read all 1,497 digits that tuned nothing, since their networks saw none. Every result is a line of
benchmarks/digits.jsonl; the last one of a (part, seed) counts, and one that is there is not
repeated.
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
REAL = {"shuffled": (20, 50, 100, 500, 1000), "in order": (20, 50, 100, 500)}
DRAWN, STEPS = 20_000, 400
META = ("dataset", "generator", "params", "seed", "threads", "cpu", "date", "processor")
ARMS = ("alone", "tuned", "mixed")
IMAGES = (100, 300, 1000, 3000, 10_000)
SHORT = {"images": 10_000, "steps": 150}  # of the ablations


def main() -> None:
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
    elif options.write:
        write(Path(options.write))
    else:
        done = {(row["dataset"], row["seed"]) for row in latest(RECORD) if "error" not in row}
        for part in options.parts.split(","):
            for seed in map(int, options.seeds.split(",")):
                if (part, seed) not in done:
                    run(
                        __file__,
                        RECORD,
                        {
                            "dataset": part,
                            "generator": "digits",
                            "params": {},
                            "seed": seed,
                            "threads": 1,
                        },
                    )
        print(tables(latest(RECORD)))


def split() -> dict[str, np.ndarray]:
    """Rows of scikit-learn's digits for each use; the same ones always."""
    rng = np.random.default_rng(0)
    tuning = np.sort(rng.choice(898, 300, replace=False))
    others = rng.permutation(np.setdiff1d(np.arange(1797), tuning))
    parts = {
        "tuning": tuning,
        "unseen": others,
        "shuffled train": others[:1000],
        "shuffled test": others[1000:],
    }
    return parts | {
        "in order train": np.sort(others[others < 898]),
        "in order test": np.arange(898, 1797),
    }


def measure(dataset: str, generator: str, params: dict, seed: int, threads: int) -> dict:
    """The shares of scanned digits that are read correctly, in one part of the benchmark, and its
    CPU seconds.
    """
    from sklearn.datasets import load_digits

    images, digits = load_digits().images, load_digits().target
    scanned = {name: (images[chosen], digits[chosen]) for name, chosen in split().items()}
    parts, start = (
        {"transfer": transfer, "ablation": ablation, "images": amount},
        time.process_time(),
    )
    result = parts[dataset](scanned, seed)
    return {name: round(float(value), 4) for name, value in result.items()} | {
        "cpu": round(time.process_time() - start, 1)
    }


def transfer(scanned: dict, seed: int) -> dict:
    from workbench.simulators.digit_reader import Reader
    from workbench.simulators.digits import Digits

    rng = np.random.default_rng([seed, 0])
    drawn, more = Digits().images(DRAWN, rng), Digits().images(4000, rng)
    reader = Reader().fit(*drawn, STEPS, rng)
    result = {
        name: reader.accuracy(*scanned[name])
        for name in ("tuning", "unseen", "shuffled test", "in order test")
    }
    for way, sizes in REAL.items():
        images, digits = scanned[f"{way} train"]
        order = rng.permutation(len(digits))
        for n in sizes:
            few = images[order[:n]], digits[order[:n]]
            # As many scanned as drawn; four times as many where they are enough not to be learnt by
            # heart.
            often = np.resize(np.arange(n), len(more[1]) * (4 if n >= 500 else 1))
            both = [np.concatenate([own, real[often]]) for own, real in zip(more, few, strict=True)]
            readers = {
                "alone": Reader().fit(*few, 250, rng),
                "tuned": replace(reader).fit(*few, 100, rng, rate=1e-3),
                "mixed": replace(reader).fit(*both, 250, rng, rate=2e-3),
            }
            result |= {
                f"{way} {n} {arm}": one.accuracy(*scanned[f"{way} test"])
                for arm, one in readers.items()
            }
    return result


def ablation(scanned: dict, seed: int) -> dict:
    from workbench.simulators.digits import Digits

    names = Digits.components()
    out = {"nothing": []} | {name: [name] for name in [*names, "preprocessing"]}
    out |= {
        "all that is randomized": names,
        "that and the preprocessing": [*names, "preprocessing"],
    }
    return {
        what: _drawn_only(Digits(**dict.fromkeys(left, 0)), scanned, seed, **SHORT)
        for what, left in out.items()
    }


def amount(scanned: dict, seed: int) -> dict:
    from workbench.simulators.digits import Digits

    return {f"{n:,}": _drawn_only(Digits(), scanned, seed, n, SHORT["steps"]) for n in IMAGES}


def _drawn_only(drawing, scanned: dict, seed: int, images: int, steps: int) -> float:
    from workbench.simulators.digit_reader import Reader

    rng = np.random.default_rng([seed, 1])
    return Reader().fit(*drawing.images(images, rng), steps, rng).accuracy(*scanned["unseen"])


def interval(values: list[float]) -> tuple[float, float]:
    """The mean of several seeds, and half of its 95% interval (Student's t)."""
    from scipy.stats import t

    half = (
        t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
        if len(values) > 1
        else np.nan
    )
    return float(np.mean(values)), float(half)


def tables(rows: list[dict]) -> str:
    """Markdown: means over seeds, with 95% intervals; differences are of the same seed and the same
    scanned digits.
    """
    found = {
        part: [row for row in rows if row["dataset"] == part and "error" not in row]
        for part in ("transfer", "ablation", "images")
    }
    transferred, sizes = found["transfer"], {name: len(chosen) for name, chosen in split().items()}

    def text(part: list[dict], what: str, less: str | None = None) -> str:
        mean, half = interval([row[what] - (row[less] if less else 0) for row in part])
        return f"{100 * mean:{'+' if less else ''}.1f} ± {100 * half:.1f}"

    parts = []
    if transferred:
        parts.append("### Drawn digits alone\n\n| read on | digits | correct, % |\n|---|---|---|")
        names = ("unseen", "shuffled test", "in order test", "tuning")
        parts += [f"| {name} | {sizes[name]:,} | {text(transferred, name)} |" for name in names]
    for way, numbers in REAL.items() if transferred else ():
        parts.append(f"\n### With scanned digits, {way}\n")
        parts.append(
            "| scans | those alone | drawn, then those | gain | drawn, then both | gain"
            " |\n|---|---|---|---|---|---|"
        )
        for n in numbers:
            alone, tuned, mixed = (f"{way} {n} {arm}" for arm in ARMS)
            pairs = ((alone, None), (tuned, None), (tuned, alone), (mixed, None), (mixed, alone))
            parts.append(f"| {n:,} | {' | '.join(text(transferred, *pair) for pair in pairs)} |")
    for part, title, first in (
        ("ablation", "Left out", "nothing"),
        ("images", "Drawn digits", f"{max(IMAGES):,}"),
    ):
        if found[part]:
            parts.append(
                f"\n### {title}\n\n| {title.lower()} | correct, % | change |\n|---|---|---|"
            )
            what = [name for name in found[part][0] if name not in META]
            parts += [
                f"| {name} | {text(found[part], name)} | {text(found[part], name, first)} |"
                for name in what
            ]
    return "\n".join(parts)


def write(page: Path) -> None:
    """Replace what follows the page's line "## Measured" by the tables."""
    rows = latest(RECORD)
    head = page.read_text(encoding="utf-8").split("## Measured")[0]
    seeds, cpu = len({row["seed"] for row in rows}), sum(row.get("cpu", 0) for row in rows)
    note = (
        f"{seeds} seeds, {cpu / 60:.0f} CPU minutes on one thread of {rows[0]['processor']},"
        f" {rows[0]['date']}.\n"
    )
    page.write_text(f"{head}## Measured\n\n{note}\n{tables(rows)}\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--parts", default="transfer,ablation,images")
    parser.add_argument(
        "--write", metavar="PAGE", help="measure nothing; write the record's tables"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
