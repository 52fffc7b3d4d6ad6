"""Whether one generator is better than another: within a dataset, and across datasets (Demsar 2006;
Benavoli et al. 2017).

The unit of a test across datasets is the dataset: a method's mean over splits, seeds and draws.
These are no replicates. Scores are turned so that more is better, rank 1 is best, and controls stay
out. Everything is computed twice: with failed cells behind all others of their dataset and metric,
and on the datasets where no cell failed (complete case). The floor of a metric is no penalty: where
the best reading is that nothing is amplified, a table without any structure reads best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from workbench.metrics import METRICS, NOT_APPLICABLE
from workbench.report.headlines import FACTORS, WORST, badness, headlines, simultaneous
from workbench.report.identity import controls

ROPE = 0.01  # differences below it count as none
DRAWS = 20_000  # from the posterior of the Bayesian test
ENOUGH = 10  # datasets
# Datasets up to which all ways to sign equal differences are tried: scipy does so up to as many.
MOST_SIGNED = 13
FAILED_LAST, COMPLETE = "failures last", "complete case"


def across(
    rows: pd.DataFrame,
    metrics: Iterable[str] | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    rope: float = ROPE,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Tables that compare the generators of a report, from its tidy rows (`Folder.rows`),
    one metric after another.

    metrics: names in METRICS, by default all that the rows hold. sizes: (train rows, test rows) of
    each dataset, for the Nadeau-Bengio factor. A column "split" or "draw" in rows is used where
    there is one. Returns, by name:

    scores      metric, handling, dataset, label: mean (more is better), cells, failed
    within      metric, dataset, first, second: the paired difference first - second with its 95%
                interval, units, caveat
    components  metric, dataset, label: the variance due to each of split, seed and draw
    friedman    metric, handling: datasets, labels, statistic, p, critical_difference (Nemenyi, 5%),
                caveat
    ranks       metric, handling, label: rank, the mean over datasets, 1 is best; what
                plots.critical_difference draws
    pairs       metric, handling, first, second: mean difference, p and Holm's p of Wilcoxon's test,
                Nemenyi's p, and the probabilities of the Bayesian signed-rank test that first is
                better, that they differ by less than rope, that second is better; caveat
    """
    tables: dict[str, list] = {
        name: [] for name in ("scores", "within", "components", "friedman", "ranks", "pairs")
    }
    every = per_cell(rows)
    for metric in dict.fromkeys(every["metric"]) if metrics is None else metrics:
        cells = every[every["metric"] == metric]
        if cells["score"].notna().sum() == 0:
            continue
        about = {"metric": metric}
        tables["within"] += [about | row for row in within(cells, sizes or {})]
        tables["components"] += [about | row for row in components(cells)]
        for handling in (FAILED_LAST, COMPLETE):
            about = {"metric": metric, "handling": handling}
            scores = _scores(cells, handling)
            tables["scores"] += [about | row for row in scores.to_dict("records")]
            wide = scores.pivot(index="dataset", columns="label", values="mean")
            friedman, ranks, pairs = compare(wide, rope, np.random.default_rng(seed))
            tables["friedman"].append(about | friedman)
            tables["ranks"] += [
                about | {"label": label, "rank": rank} for label, rank in ranks.items()
            ]
            tables["pairs"] += [about | row for row in pairs]
    return {name: pd.DataFrame(records) for name, records in tables.items()}


def per_cell(
    rows: pd.DataFrame,
    metrics: Iterable[str] = tuple(METRICS),
    heads: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each cell and metric: value, score (more is better) and floor; missing where the
    cell failed; no controls. heads: the headlines of these rows where they are known already.

    A metric is represented as in `summary.headlines`: by its row about the whole table, otherwise
    by its worst one. Where zero is best the score is minus the distance of a label's mean from
    zero: readings on both sides of it cancel, noise does not count as bias.
    """
    rows = rows[~controls(rows)].fillna({"column": "", "group": ""})
    factors = [name for name in FACTORS if name in rows]
    cell = ["dataset", "label", *factors]
    parts = []
    every = rows[cell].drop_duplicates()
    wanted = [metric for metric in metrics if metric in METRICS]
    for metric, part in rows[rows["metric"].isin(wanted)].groupby("metric", sort=False):
        if (part["state"] == NOT_APPLICABLE).all():
            continue
        # The same row as on the page's first table: a test about another number would answer nobody.
        part = _representing(metric, part, rows, heads)
        direction = METRICS[metric].direction
        turned = {name: -badness(part[name], direction) for name in ("value", "floor")}
        best = part[[*cell, "value"]].assign(score=turned["value"], floor=turned["floor"])
        best = best.sort_values("score", kind="stable").drop_duplicates(cell).sort_index()
        # Turned by the sign of the mean, noise on both sides of zero cancels as it does in the mean.
        if direction == "zero":
            best["score"] = -best["value"] * np.sign(
                best.groupby(["dataset", "label"])["value"].transform("mean")
            )
        # Every cell of a dataset that the metric applies to, so that those that failed have a gap.
        of_metric = every[every["dataset"].isin(best["dataset"])].merge(best, how="left", on=cell)
        parts.append(of_metric.assign(metric=metric))
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=[*cell, "value", "score", "floor", "metric"])
    )


def _representing(
    metric: str, part: pd.DataFrame, rows: pd.DataFrame, heads: pd.DataFrame | None
) -> pd.DataFrame:
    """The rows of a metric that its headline is made of: about the whole table, otherwise all; for
    the worst of many columns or groups, the rows of the one that each label's headline names.
    """
    if metric in WORST and {"low", "high"} <= set(part):
        if heads is None:
            needed = rows[rows["metric"].isin([metric, "vanished_groups"])]
            heads = headlines(needed.assign(ceiling=np.nan, note=needed["note"].fillna("")))
        heads = heads[(heads["metric"] == metric) & heads["mean"].notna()]
        return part.merge(heads[["dataset", "label", "column", "group"]])
    # 0 for the whole table: where there is such a row it speaks for the metric.
    rank = (part["column"] != "").astype(int) + 2 * (part["group"] != "").astype(int)
    return part[rank == rank.groupby(part["dataset"]).transform("min")]


def failed_last(cells: pd.DataFrame) -> pd.Series:
    """The scores of one metric's cells, failed ones ROPE below the floor and the worst score of
    their dataset, so that no generator gains by not running.
    """
    # By the worst of the dataset: a score of zero could be a good one there.
    worst = cells[["score", "floor"]].min(axis=1).groupby(cells["dataset"]).transform("min")
    return cells["score"].fillna(worst - ROPE)


def _scores(cells: pd.DataFrame, handling: str) -> pd.DataFrame:
    # Two ways to count those that failed, and the page shows both.
    failed = cells["score"].isna()
    if handling == COMPLETE:
        cells = cells[~failed.groupby(cells["dataset"]).transform("any")]
        filled = cells["score"]
    else:
        filled = failed_last(cells)
    table = cells.assign(filled=filled, missing=cells["score"].isna()).groupby(
        ["dataset", "label"], sort=False
    )
    return table.agg(
        mean=("filled", "mean"), cells=("filled", "size"), failed=("missing", "sum")
    ).reset_index()


def compare(
    wide: pd.DataFrame, rope: float = ROPE, rng: np.random.Generator | None = None
) -> tuple[dict, pd.Series, list[dict]]:
    """The tests across datasets of a table of scores, shape (datasets, labels), more is better;
    datasets with a gap stay out.

    Returns a row of `friedman`, the mean ranks by label, and rows of `pairs` (see `across`).
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    wide = wide.dropna()
    n, k = wide.shape
    caveat = power(n)
    values = wide.to_numpy(dtype=float)
    # Rank 1 is the best; equal scores share the mean of their ranks.
    mean_rank = rankdata(-values, axis=1).mean(axis=0) if n else np.full(k, np.nan)
    ranks = pd.Series(mean_rank, index=wide.columns).sort_values(kind="stable")
    friedman = {
        "datasets": n,
        "labels": k,
        "statistic": np.nan,
        "p": np.nan,
        "critical_difference": np.nan,
        "caveat": caveat,
    }
    # Of two labels Wilcoxon's test says all; where no score differs, scipy would divide by zero.
    if n >= 2 and k >= 3:
        varies = (np.ptp(values, axis=1) > 0).any()
        friedman["statistic"], friedman["p"] = (
            map(float, friedmanchisquare(*values.T)) if varies else (0.0, 1.0)
        )
    step = np.sqrt(k * (k + 1) / (6 * n)) if n else np.nan
    friedman["critical_difference"] = critical_difference(n, k)
    rng, pairs = rng or np.random.default_rng(0), []
    for first, second in combinations(wide.columns, 2):
        d = (wide[first] - wide[second]).to_numpy(dtype=float)
        p = nemenyi = np.nan
        better = (np.nan,) * 3
        if n >= 2:
            p = signed_rank_p(d) if d.any() else 1.0
            nemenyi = float(
                studentized_range.sf(
                    abs(ranks[first] - ranks[second]) * np.sqrt(2) / step, k, np.inf
                )
            )
            better = bayesian_signed_rank(d, rope, rng)
        row = {
            "first": first,
            "second": second,
            "difference": d.mean() if n else np.nan,
            "wilcoxon_p": p,
            "holm_p": np.nan,
        }
        row |= {
            "nemenyi_p": nemenyi,
            **dict(
                zip(("first_better", "practically_equal", "second_better"), better, strict=True)
            ),
        }
        pairs.append(row | {"caveat": caveat})
    # Adjusted at the end, because Holm's step needs all p values of the table.
    for row, adjusted in zip(pairs, holm([row["wilcoxon_p"] for row in pairs]), strict=True):
        row["holm_p"] = adjusted
    return friedman, ranks, pairs


def signed_rank_p(differences: np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test, two-sided; zeros are shared between the signs, as Demsar
    advises.
    """
    from scipy.stats import rankdata, wilcoxon

    size, n = np.abs(differences), len(differences)
    is_simple = len(np.unique(size)) == n and size.all()
    if is_simple or n > MOST_SIGNED:
        return float(wilcoxon(differences, zero_method="zsplit").pvalue)
    # Every way to sign the differences, as scipy does for so few with equal ones among them: one
    # after the other it takes a second, all at once a millisecond. A zero is neither positive nor
    # negative, and counts by half. Sums of halves and quarters are exact.
    positive = np.arange(2**n)[:, None] >> np.arange(n) & 1
    ranks = rankdata(size)
    sums = np.where(size > 0, positive, 0.5) @ ranks
    found = np.where(size > 0, differences > 0, 0.5) @ ranks
    rarer = min(np.count_nonzero(sums <= found), np.count_nonzero(sums >= found))
    return min(2 * rarer / 2**n, 1.0)


def rank_ranges(readings: pd.DataFrame, direction: str) -> pd.DataFrame:
    """The best and the worst rank that each reading of one metric and dataset may have: 1 + those
    that are surely better, and all but those that are surely worse.

    readings: mean, low and high by label. Two are surely apart where their difference is beyond
    the 95% interval of a difference of independent readings, widened for the number of pairs
    (Bonferroni). Readings on the same test rows go together, so this is on the careful side. A
    reading without an interval is never surely apart from another.
    """
    # Smaller is better from here on, whatever the metric's direction.
    bad = badness(readings["mean"], direction).to_numpy(dtype=float)
    half = ((readings["high"] - readings["low"]) / 2).to_numpy(dtype=float)
    factor = simultaneous(len(bad) * (len(bad) - 1) // 2)
    apart = factor * np.hypot(half[:, None], half[None, :])
    # Entry (i, j): whether i is surely better than j; a missing half width compares as false.
    with np.errstate(invalid="ignore"):
        is_better = bad[None, :] - bad[:, None] > apart
    return _ranges(is_better, readings.index)


def nemenyi_ranges(wide: pd.DataFrame) -> pd.DataFrame:
    """The same over datasets, with the mean rank: two labels are surely apart where their mean
    ranks differ by more than the critical difference.

    wide: scores, shape (datasets, labels), more is better; datasets with a gap stay out.
    """
    from scipy.stats import rankdata

    # A dataset with a gap has no ranks of all labels.
    complete = wide.dropna()
    count = wide.shape[1]
    ranks = np.full(count, np.nan)
    if len(complete):
        ranks = rankdata(-complete.to_numpy(dtype=float), axis=1).mean(axis=0)
    apart = critical_difference(len(complete), count)
    with np.errstate(invalid="ignore"):
        is_better = ranks[None, :] - ranks[:, None] > apart
    return _ranges(is_better, wide.columns).assign(rank=ranks)


def _ranges(is_better: np.ndarray, labels: pd.Index) -> pd.DataFrame:
    best = 1 + is_better.sum(axis=0)
    worst = len(labels) - is_better.sum(axis=1)
    return pd.DataFrame({"best": best, "worst": worst}, index=labels)


def critical_difference(datasets: int, labels: int) -> float:
    """Nemenyi's critical difference of mean ranks at 5%; NaN for fewer than two of either."""
    from scipy.stats import studentized_range

    if datasets < 2 or labels < 2:
        return np.nan
    step = np.sqrt(labels * (labels + 1) / (6 * datasets))
    return float(studentized_range.ppf(0.95, labels, np.inf) / np.sqrt(2) * step)


def power(datasets: int) -> str:
    """What to keep in mind with so few datasets, or an empty text from ENOUGH on."""
    if datasets >= ENOUGH:
        return ""
    least = (
        f"; the smallest p that Wilcoxon's test can give is {2.0 ** (1 - datasets):.2g}"
        if datasets
        else ""
    )
    return (
        f"{datasets} datasets, fewer than {ENOUGH}: low power; read each dataset's paired"
        f" differences first{least}"
    )


def holm(p: Iterable[float]) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979); missing ones stay missing and do not count.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    # The smallest is multiplied by their number, the next by one less; none falls below the one
    # before.
    p = np.array(list(p), dtype=float)
    order = np.argsort(p, kind="stable")[: int(np.isfinite(p).sum())]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def signs(readings: pd.DataFrame) -> pd.DataFrame:
    """Readings of one metric around zero with a column `sign`: "amplified", "dampened" or "no clear
    change".

    A reading is clear where Holm's p value over all columns and groups of its dataset and label is
    below 5%; p from the normal curve with the interval's width. Without this correction four in ten
    fresh real samples show some group that has changed. A reading without an interval is never
    clear.
    """
    # Not from scipy.stats, whose import alone takes a tenth of the seconds of a page.
    from scipy.special import ndtr, ndtri

    spread = (readings["high"] - readings["low"]) / (2 * ndtri(0.975))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = readings["mean"].abs() / spread.where(spread > 0)
    p = pd.Series(2 * ndtr(-z.to_numpy(dtype=float)), index=readings.index)
    groups = [readings["dataset"], readings["label"]]
    clear = p.groupby(groups, sort=False).transform(lambda part: holm(part)) < 0.05
    words = np.where(readings["mean"] > 0, "amplified", "dampened")
    return readings.assign(sign=np.where(clear, words, "no clear change"))


def bayesian_signed_rank(
    differences: np.ndarray, rope: float, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float, float]:
    """Posterior probabilities that a new dataset's difference lies above rope, within it, below
    -rope most likely.

    Benavoli et al. 2014 and 2017 (JMLR 18:77, section 4.2.1): a Dirichlet process whose prior puts
    half an observation on 0; each draw weighs the datasets, and the pairwise means that fall in
    each of the three regions are weighed with them.
    """
    # Half an observation on 0, the prior's, keeps a handful of datasets from being sure.
    z = np.append(0.0, differences)
    sums = z[:, None] + z
    weights = rng.dirichlet(np.append(0.5, np.ones(len(differences))), draws)
    above, below = (
        (weights @ ((s > 2 * rope) + (s == 2 * rope) / 2) * weights).sum(axis=1)
        for s in (sums, -sums)
    )
    winner = np.argmax([above, 1 - above - below, below], axis=0)
    return tuple((np.bincount(winner, minlength=3) / draws).tolist())


def corrected_interval(
    differences: np.ndarray, n_train: float, n_test: float
) -> tuple[float, float, float]:
    """The mean of paired differences over J random splits and its 95% interval, mean -+ t sqrt((1/J
    + n_test/n_train) s^2).

    Nadeau and Bengio 2003: splits of one table share rows, so the plain 1/J is too small. NaN ends
    for fewer than two.
    """
    from scipy.special import stdtrit

    differences = np.asarray(differences, dtype=float)
    count = len(differences)
    mean = float(differences.mean()) if count else np.nan
    if count < 2:
        return mean, np.nan, np.nan
    half = float(
        stdtrit(count - 1, 0.975)
        * np.sqrt((1 / count + n_test / n_train) * differences.var(ddof=1))
    )
    return mean, mean - half, mean + half


def within(cells: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> Iterable[dict]:
    """Paired differences of every two labels in each dataset, over its splits, or over seeds where
    there is one split.
    """
    splits = cells["split"].nunique() if "split" in cells else 1
    unit = "split" if splits > 1 else "seed"
    for dataset, part in cells.groupby("dataset", sort=False):
        wide = part.pivot_table(index=unit, columns="label", values="score", sort=False)
        n_train, n_test = sizes.get(dataset, (np.nan, np.nan))
        for first, second in combinations(wide.columns, 2):
            d = (wide[first] - wide[second]).dropna().to_numpy()
            if unit == "split":
                caveat = (
                    ""
                    if dataset in sizes
                    else "no interval: the sizes of train and test are not given"
                )
                mean, low, high = corrected_interval(d, n_train, n_test)
            else:
                caveat = (
                    "one split: the interval is over seeds, and says nothing about other test rows"
                )
                mean, low, high = corrected_interval(d, np.inf, 0)
            if len(d) < 2:
                caveat = f"no interval: {len(d)} {unit}{'' if len(d) == 1 else 's'} in common"
            row = {
                "dataset": dataset,
                "first": first,
                "second": second,
                "difference": mean,
                "low": low,
                "high": high,
            }
            yield row | {"units": len(d), "caveat": caveat}


def components(cells: pd.DataFrame) -> Iterable[dict]:
    factors = [name for name in FACTORS if name in cells]
    for (dataset, label), part in cells.dropna(subset=["score"]).groupby(
        ["dataset", "label"], sort=False
    ):
        yield {"dataset": dataset, "label": label, **variance_components(part, factors, "score")}


def variance_components(table: pd.DataFrame, factors: list[str], value: str) -> dict[str, float]:
    """The variance that each factor adds, outermost factor first, each nested in those before it;
    NaN where it does not vary.

    ANOVA estimators (Searle, Casella and McCulloch 1992, ch. 3 to 5), for unequal numbers those of
    unweighted means: from the inside out, the variance among a group's values less the variance
    that those values owe to deeper factors. Cut at 0.
    """
    found: dict[str, float] = {}
    level = table[factors].assign(mean=table[value], noise=0.0)
    for depth in range(len(factors), 0, -1):
        outer = factors[: depth - 1]
        # The outermost factor's groups form one group together.
        grouped = level.groupby(outer, sort=False) if outer else level.groupby(lambda _: 0)
        n, spread = grouped["mean"].size(), grouped["mean"].var(ddof=1)
        freedom = (n - 1).sum()
        noise = level["noise"].mean()
        pooled = (spread * (n - 1)).sum() / freedom if freedom else np.nan
        component = max(pooled - noise, 0.0) if freedom else np.nan
        found[factors[depth - 1]] = float(component)
        level = (
            grouped["mean"]
            .mean()
            .to_frame()
            .assign(noise=(np.nan_to_num(component) + noise) / n)
            .reset_index()
        )
    return {factor: found[factor] for factor in factors}
