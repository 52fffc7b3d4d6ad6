"""Every page and figure of the documentation that is made from published rows.

    python docs/benchmark.py    # writes them all; tests say when one is out of date

It writes docs/benchmark.md and the README's table from results/benchmark; decision.py and measured.py
have the makers of the other pages. Every number is the mean of rows over the seeds,
with the interval that the report's page gives. The method cards show the same readings.
"""

from __future__ import annotations

from pathlib import Path

import decision
import drawn_digits
import measured as generators_page
import pandas as pd
from published import RESULTS as PUBLISHED
from published import (
    cells,
    ends,
    finished,
    interval,
    labels,
    of_line,
    one,
    readings,
    signed,
    table,
    verdict_counts,
)
from published import filled as filled_marks

from workbench.metrics import METRICS
from workbench.report.identity import is_control
from workbench.report.uses import USES

HERE = Path(__file__).parent
RESULTS = PUBLISHED / "benchmark"
PAGE = HERE / "benchmark.md"
README = HERE.parent / "README.md"
# One reading of each question, as on the first screen of a report; the first that a table has.
SHOWN = (
    ("Columns alike", ("marginals",)),
    ("Pairs alike", ("pair_trends",)),
    ("Told apart", ("c2st",)),
    ("Skill kept", ("tstr_auc", "tstr_r2")),
    ("Coefficient moved", ("coefficient_shift",)),
    ("Bias amplified", ("bias_amp",)),
    ("Attack risk", ("attack_risk",)),
    ("Near copies", ("near_copies",)),
)
HEADS = ("seeds", *(title for title, _ in SHOWN), "fit, CPU s")
# What the README shows of them: a line a family.
IN_README = (
    *("independent", "gaussian-copula", "cart", "arf", "bayes-hillclimb", "ctgan", "reweighed"),
    *("dp-tan, epsilon 1", "mst, epsilon 1", "smote", "holdout", "copy"),
)


def shown() -> pd.DataFrame:
    return readings(tuple(metric for _, metrics in SHOWN for metric in metrics))


def measured(dataset: str, label: str) -> list[str]:
    """What a generator's line holds after its name: seeds, each reading, CPU seconds of a fit."""
    ran = of_line(finished(), dataset, label)
    own = of_line(shown(), dataset, label)
    line = [str(ran["seed"].nunique())]
    line += [interval(one(own, metrics)) for _, metrics in SHOWN]
    return [*line, f"{ran['fit_cpu'].mean():.2g}"]


def reference(dataset: str, end: str) -> list[str]:
    """The floor or the ceiling of each shown reading, as the controls' cells measured it."""
    own = shown()
    own = own[own["dataset"] == dataset]
    return [signed(ends(own, metrics, end)) for _, metrics in SHOWN]


def by_use(counts: pd.DataFrame) -> str:
    """On how many tables each generator meets each use, leaves it open, and fails it."""
    generators = labels(finished())
    lines = [["generator", "tables", *(title for title, _ in USES.values())]]
    for label, own in counts.groupby("label", sort=False):
        control = " (control)" if is_control(generators[label]) else ""
        cells_of_uses = [f"{row.met} / {row.open} / {row.failed}" for row in own.itertuples()]
        tables = own[["met", "open", "failed"]].iloc[0].sum()
        lines.append([f"`{label}`{control}", str(tables), *cells_of_uses])
    return table(lines)


def filled(readme: str) -> str:
    """The README with its table made anew: the lines of the page's first table for IN_README."""
    counts = verdict_counts()
    kept = counts[counts["label"].isin(IN_README)]
    return filled_marks(readme, {"benchmark": lambda: by_use(kept)})


def of_generator(name: str) -> str:
    """The lines of one generator, a table and setting each; "" where no cell of it has finished."""
    own = finished()[finished()["generator"] == name]
    pairs = own[["dataset", "label"]].drop_duplicates()
    if not len(pairs):
        return ""
    lines = [["table", "label", *HEADS]]
    for dataset, label in pairs.itertuples(index=False):
        lines.append([dataset, label, *measured(dataset, label)])
    return table(lines)


def of_dataset(dataset: str) -> str:
    own = finished()[finished()["dataset"] == dataset]
    rows = own[["train_rows", "test_rows"]].max()
    lines = [["generator", *HEADS]]
    for label, generator in labels(own).items():
        control = " (control)" if is_control(generator) else ""
        lines.append([f"`{label}`{control}", *measured(dataset, label)])
    lines.append(["fresh real rows", "", *reference(dataset, "ceiling"), ""])
    lines.append(["destroyed", "", *reference(dataset, "floor"), ""])
    title = f"### {dataset}\n\n{rows['train_rows']:,} rows to learn from, {rows['test_rows']:,} to test on."
    return f"{title}\n\n{table(lines)}"


def page() -> str:
    done = finished()
    missing = cells()[cells()["status"] != "ok"]
    count = done.groupby("dataset", sort=False)["label"].nunique()
    meanings = "\n".join(
        f"- **{title}**: {', '.join(f'`{m}`, {best(m)}' for m in metrics)}"
        for title, metrics in SHOWN
    )
    about = f"""# The benchmark

Made by `python docs/benchmark.py` from `results/benchmark`; do not edit by hand. {len(done):,} cells: {len(count)} real tables,
{done["label"].nunique()} generators and controls, up to {done["seed"].nunique()} seeds each.{unfinished(missing)}

Every number is a mean over seeds with a 95% interval, and can be measured again:

```console
workbench report results/benchmark             # the whole page: leaderboard, strips, bias, privacy
workbench verify results/benchmark --cells 5   # runs five cells again and compares every byte
```

The tables are cut to at most 3,000 rows to learn from, so that a night on two cores is enough; test rows are all there.

## What each generator may be used for

On how many tables the gates of the report are met / left open / failed. Open is what these test rows cannot tell: fresh real rows,
`holdout`, show what can be met at all. [How far the verdicts can be trusted](trust.md).

{by_use(verdict_counts())}

## By table

{meanings}

*Fresh real rows* are scored in the synthetic table's place; *destroyed* is a table that has lost what the metric looks for.
"""
    return about + "\n" + "\n\n".join(of_dataset(name) for name in count.index) + "\n"


def best(metric: str) -> str:
    return {"up": "higher is better", "down": "lower is better"}.get(
        METRICS[metric].direction, "zero is best"
    )


def unfinished(missing: pd.DataFrame) -> str:
    if not len(missing):
        return ""
    count = missing["status"].value_counts()
    return f" Not finished: {', '.join(f'{n} {status}' for status, n in count.items())}."


def write() -> None:
    text = page()
    PAGE.write_text(text, encoding="utf-8")
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    decision.write()
    generators_page.write()
    drawn_digits.write()


if __name__ == "__main__":
    write()
