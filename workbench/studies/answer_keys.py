"""The answers to the exercises of the course. Read the notebooks first: this spoils them.

A key takes what the notebook computed and makes the right answer of it, with the slips that are
likely. Where an answer depends on chance, the exercise names the generator of random numbers, and
the key draws again with the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from workbench.studies.exercises import Key, as_word

KEYS: dict[str, Callable[..., Key]] = {}


def exercise(number: str) -> Callable[[Callable[..., Key]], Callable[..., Key]]:
    """Registers a key under the exercise's number."""

    def register(key: Callable[..., Key]) -> Callable[..., Key]:
        KEYS[number] = key
        return key

    return register


# 01 What synthetic data are


@exercise("01.1")
def _good_marginals() -> Key:
    slips = (
        ("gaussian-copula", "The copula keeps pairs as well: a model learns something from it."),
        ("cart", "CART keeps more than marginals: a model learns nearly everything from it."),
    )
    hint = "Which of the three is right in each column, and useless in the table of AUC values?"
    return Key("independent", hint, slips)


@exercise("01.2")
def _swapped_roles(data: Any, copula: pd.DataFrame, on_real: float) -> Key:
    right = auc_on(data.train, copula, data.schema.target.name)
    useful = f"{on_real:.3f} is train on synthetic, test on real: swap the tables."
    slips = (
        (on_real, useful),
        (1 - right, "The probability of the other label was taken: use the column of True."),
    )
    hint = "Fit the model on data.train, and ask it about the rows of synthetic['gaussian-copula']."
    return Key(right, hint, slips, tolerance=0.0015)


@exercise("01.3")
def _no_assumptions() -> Key:
    slips = (
        ("privacy", "Every row that it draws is the row of a real person."),
        ("scarcity", "Rows drawn again hold no information that was not there."),
        ("edge cases", "It cannot draw a case that is not in train."),
        ("cost", "Its rows had to be collected and labelled first."),
    )
    return Key("none", "What does a redrawn train row add, and whom does it hide?", slips)


def auc_on(train: pd.DataFrame, test: pd.DataFrame, target: str) -> float:
    """ROC AUC on `test` of boosted trees that learn from `train`, labels in columns of 0 and 1."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    coded = []
    for part in (train, test):
        features = part.drop(columns=target).astype(float, errors="ignore")
        coded.append(pd.get_dummies(features).astype(float))
    coded[0] = coded[0].reindex(columns=coded[1].columns, fill_value=0)
    model = HistGradientBoostingClassifier(random_state=0)
    model.fit(coded[0], train[target].astype(bool))
    found = model.predict_proba(coded[1])[:, 1]
    return float(roc_auc_score(test[target].astype(bool), found))


# 02 Marginals and copulas


@exercise("02.1")
def _no_correlation() -> Key:
    slips = (("gaussian-copula", "That is where it starts. What is left without correlations?"),)
    return Key("independent", "Without dependence, what is left of a joint distribution?", slips)


@exercise("02.2")
def _increasing_function() -> Key:
    hint = "Does an increasing function change which of two rows has the larger price?"
    slips = ((("up", "down"), hint),)
    return Key(("nothing", "none", "no change", "unchanged"), hint, slips)


@exercise("02.3")
def _upper_tail(truth: pd.DataFrame, copula: pd.DataFrame, vine: pd.DataFrame) -> Key:
    right = both_low(-copula) - both_low(-truth)
    lower = both_low(copula) - both_low(truth)
    slips = (
        (-right, "The sign is turned: take the copula's value minus the truth's."),
        (lower, "That is the lower tail: turn the signs of both columns first."),
        (both_low(-vine) - both_low(-truth), "That is the vine: take the Gaussian copula."),
        (both_low(-copula), "That is the copula's value: subtract the truth's."),
    )
    hint = "Turn the signs of both columns (-table), and use both_low again."
    return Key(right, hint, slips, tolerance=0.006)


def both_low(table: pd.DataFrame, share: float = 0.05) -> float:
    """P(y in its lowest share | x in its lowest share)."""
    low = table.le(table.quantile(share))
    return float(low.loc[low["x"], "y"].mean())


# 03 Bayesian networks


@exercise("03.1")
def _free_probabilities() -> Key:
    slips = (
        (10_000, "Each row of the table sums to 1: one of its ten numbers is not free."),
        (900, "That is two parents: three have 10 * 10 * 10 joint states."),
        (27, "Parents count together: a row of the table for each of their joint states."),
        (270, "Parents count together: a row of the table for each of their joint states."),
    )
    hint = "One row for each joint state of the parents. How many free numbers has a row?"
    return Key(9000, hint, slips)


@exercise("03.2")
def _cancer_after_xray(sample: pd.DataFrame) -> Key:
    seen, ill = sample["xray"] == "yes", sample["lung"] == "yes"
    slips = (
        (float(ill.mean()), "That is the share among all rows: ask for the condition."),
        (float(seen[ill].mean()), "That is P(X-ray | cancer): turn the condition round."),
    )
    hint = "Draw with where={'xray': 'yes'}, and take the share of lung == 'yes' among these rows."
    # 2,000 rows are drawn: 0.035 is three standard errors.
    return Key(float(ill[seen].mean()), hint, slips, tolerance=0.035)


@exercise("03.3")
def _independent_columns(columns: int) -> Key:
    slips = (
        (4, "These four are named by an edge. The others are asked for."),
        (columns, "The four columns that an edge names depend on each other in pairs."),
        (columns - 2, "An edge joins two columns: two edges name four."),
        (columns - 3, "An edge joins two columns: two edges name four."),
    )
    return Key(columns - 4, "Which columns does no edge name?", slips)


# 04 Adversarial networks


@exercise("04.1")
def _certain_critic() -> Key:
    hint = "What can a forger learn from a judge who is certain whatever the forger does?"
    return Key("gradient", hint, (("loss", hint),))


@exercise("04.2")
def _rare_label_drawn() -> Key:
    counts, shares = np.array([1960, 30, 10]), np.array([0.98, 0.015, 0.005])
    right = float(np.log(10) / np.log(counts).sum())
    wrong = float(np.log(0.005) / np.log(shares).sum())
    slips = (
        (0.005, "That is its share among the rows. The logarithm of its count decides."),
        (1 / 3, "That would be drawing each label alike. Take the logarithms of the counts."),
        (wrong, "Take logarithms of the counts among 2,000 rows, not of the shares."),
    )
    hint = "The logarithm of its count, over the sum of the three logarithms."
    return Key(right, hint, slips, tolerance=0.006)


@exercise("04.3")
def _single_judge(play: Callable, fraud: pd.DataFrame, schema: Any) -> Key:
    drawn = play("ctgan", fraud, schema, epochs=20, batch_size=200, pac=1)
    right = float(drawn["amount"].std() / fraud["amount"].std())
    slips = (
        (1 / right, "Turn the ratio round: the synthetic one over the real one."),
        (right**2, "That is the ratio of variances: take standard deviations."),
        (float(drawn["amount"].std()), "Divide by the standard deviation of the real rows."),
    )
    hint = (
        "play('ctgan', fraud, two, epochs=20, batch_size=200, pac=1), then compare the two `std`."
    )
    return Key(right, hint, slips, tolerance=0.015)


# 05 Diffusion and autoregression


@exercise("05.1")
def _order_of_columns() -> Key:
    hint = "Which of them says one value after the other?"
    return Key(("autoregressive", "autoregression"), hint, (("diffusion", hint),))


@exercise("05.2")
def _rows_a_combination(rows: int) -> Key:
    right = rows / 4**9
    slips = (
        (1 / right, "That is combinations for each row: turn it round."),
        (rows / (4 * 9), "Nine columns of four values have 4**9 combinations, not 4 * 9."),
        (rows / 9**4, "Nine columns of four values have 4**9 combinations, not 9**4."),
    )
    return Key(right, "Rows of train over the number of combinations.", slips, tolerance=0.0007)


@exercise("05.3")
def _two_hundred_rows(data: Any, full: float) -> Key:
    import workbench as wb
    from workbench.generators import make

    small = make("autoregressive")
    small.fit(data.train.head(200), data.schema, np.random.default_rng(0))
    drawn = small.sample(4000, np.random.default_rng(1))
    card = wb.evaluate(data, drawn, metrics=["pair_trends"])
    right = float(card.headlines["value"].iloc[0])
    slips = (
        (full, "That is the model of all train rows: fit it on data.train.head(200)."),
        (float(card.headlines["floor"].iloc[0]), "That is the floor: take the reading."),
    )
    hint = "Fit with default_rng(0), draw 4,000 rows with default_rng(1), read pair_trends."
    return Key(right, hint, slips, tolerance=0.006)


# 06 Differential privacy


@exercise("06.1")
def _biased_coin() -> Key:
    slips = (
        (9, "That is the factor: epsilon is its logarithm."),
        (np.log(4), "The second coin says yes by chance too: 0.8 + 0.2 / 2 in the one case."),
        (np.log(3), "That is the fair coin."),
        (np.log10(9), "Take the natural logarithm."),
    )
    hint = "With which probability does a person say yes in each of the two cases?"
    return Key(float(np.log(9)), hint, slips, tolerance=0.02)


@exercise("06.2")
def _least_noise(spent: Callable) -> Key:
    from dp_accounting import GaussianDpEvent

    right = 1
    while spent(GaussianDpEvent(float(right)), 1) > 1:
        right += 1
    slips = (
        (right + 1, "The classical formula gives that. Does one less do, by exact accounting?"),
        (right - 1, "That spends more than 1: more noise is needed."),
    )
    return Key(right, "Try spent(GaussianDpEvent(sd), 1) for sd of 1, 2, 3, ...", slips)


@exercise("06.3")
def _best_of_ten() -> Key:
    slips = (
        (1, "The choice of the best looked at all ten tables, and each asked the rows."),
        (0.1, "Budgets add up: they are not shared out afterwards."),
    )
    return Key(10, "How often were the rows asked, and what did each time cost?", slips)


# 07 Evaluation


@exercise("07.1")
def _passed_as_excellent(names: Iterable[str]) -> Key:
    others = tuple(name for name in names if name != "copy of train")
    hint = "Which of the tables consists of real people?"
    return Key(("copy of train", "copy"), hint, ((others, hint),))


@exercise("07.2")
def _wrong_unit(data: Any, table: Callable, seed: int) -> Key:
    import workbench as wb

    scaled = table(price=data.train["price"] * 10)
    card = wb.evaluate(data, scaled, metrics=["pair_trends", "worst_column"], seed=seed)
    found = card.headlines.set_index("metric")["value"]
    slips = (
        (float(found["pair_trends"]), "That is pair_trends: give the reading of worst_column."),
    )
    hint = "changed(price=train['price'] * 10), then the headline of worst_column."
    return Key(float(found["worst_column"]), hint, slips, tolerance=0.006)


@exercise("07.3")
def _shuffled_race(data: Any, table: Callable, seed: int) -> Key:
    import workbench as wb

    shuffled = data.train["race"].sample(frac=1, random_state=0).to_numpy()
    synthetic = table(race=shuffled)
    card = wb.evaluate(data, synthetic, metrics=["representation", "bias_amp"], seed=seed)
    right = float(card.headlines.set_index("metric").loc["bias_amp", "value"])
    slips = (
        (0, "That is representation, which sees no change. Give bias_amp."),
        (-right, "Check the sign: does shuffling make the association stronger or weaker?"),
    )
    hint = "Shuffle race among all rows with random_state=0, and read the headline of bias_amp."
    return Key(right, hint, slips, tolerance=0.003)


# 08 Bias amplification


@exercise("08.1")
def _exact_copy() -> Key:
    hint = "No change is no amplification, whatever the rows say."
    return Key(0, hint, tolerance=0.0005)


@exercise("08.2")
def _group_moved_most(one: pd.DataFrame) -> Key:
    whole = one[one["group"].str.count("=") == 1]
    means = whole.groupby("group")["value"].mean()
    right = str(means.abs().idxmax())
    slips = []
    for group in means.index:
        if group != right:
            moved = f"{group} moves by {means[group]:+.2f} on average: another group moves further."
            slips.append(((group, group.split("=")[1]), moved))
    hint = "Average over the seeds first, then take the largest absolute value."
    return Key((right, right.split("=")[1]), hint, tuple(slips))


@exercise("08.3")
def _dialled_by_a_tenth() -> Key:
    slips = (
        (0.1, "That is the group's own change: average over all three groups."),
        (-0.1 / 3, "The group is approved less often: fewer approvals amplify."),
        (0.1 / 6, "Both of the group's outcomes move by 0.1, and both count."),
        (0.05, "Average over three groups, not two."),
    )
    hint = "Both outcomes of one of three groups move by 0.1 in the amplifying direction."
    # A tenth of the group is no whole number of rows.
    return Key(0.1 / 3, hint, slips, tolerance=0.002)


# 09 Rare events


@exercise("09.1")
def _balanced_accuracy() -> Key:
    slips = (
        ((30 + 473) / 596, "That is the accuracy. Balanced: the mean of the two shares."),
        (30 / 73, "That is one of the two shares: the mean of both is asked for."),
        (473 / 523, "That is one of the two shares: the mean of both is asked for."),
        ((30 / 73 + 50 / 523) / 2, "Of the 523 approved ones, 473 are called rightly, not 50."),
    )
    hint = "The mean of the two shares that are called rightly: of 73 and of 523."
    return Key((30 / 73 + 473 / 523) / 2, hint, slips, tolerance=0.005)


@exercise("09.2")
def _as_many_as_there_are(
    dataset: str, splits: list[int], rows: int, many: list[float], others: int
) -> Key:
    import workbench as wb
    from workbench.studies import edge_cases

    right = []
    for split in splits:
        few = edge_cases.scarce(wb.load(dataset, seed=split), rows, split, others)
        found = edge_cases.augment(few, "cart", split, rows=rows)
        right += [row.value for row in found if row.group == "over none"]
    slips = ((list(many), "These are the gains of as many rows as balance the labels: rows=20."),)
    hint = (
        "One gain for each split: the row of augment(few, 'cart', split, rows=20) with 'over none'."
    )
    return Key(right, hint, slips, tolerance=0.006)


@exercise("09.3")
def _abstract() -> Key:
    slips = (
        ("gain", "The interval holds 0, and the best of six was picked by looking."),
        ("loss", "The interval holds 0, and its middle is above 0."),
    )
    return Key("undecided", "Does the interval hold 0?", slips)


# 11 Simulation


@exercise("11.1")
def _fourth_doctor(erlang: Callable) -> Key:
    three, four = erlang(2.5, 1, 3)[1], erlang(2.5, 1, 4)[1]
    slips = (
        (three / four, "Turn the ratio round: four doctors over three."),
        (3 / 4, "Waits do not shrink in proportion: use erlang_c for both."),
        (20 * four, "That is the wait in minutes: give the ratio."),
    )
    hint = "erlang_c(2.5, 1, 4)[1] over erlang_c(2.5, 1, 3)[1]."
    return Key(float(four / three), hint, slips, tolerance=0.006)


@exercise("11.2")
def _least_learnt(width_left: pd.Series) -> Key:
    widest = width_left[width_left == width_left.max()].index
    slips = ((str(width_left.idxmin()), "That one was learnt best: look for the widest."),)
    return Key(tuple(widest), "The parameter with the largest width_left.", slips)


@exercise("11.3")
def _refused_below_guidelines(desk: Any) -> Key:
    where = {"race": "black", "approve": False}
    rows = desk.sample(200, np.random.default_rng(5), where=where)
    met = float(rows["gdlin"].mean())
    slips = (
        (met, "That is the share that met the guidelines."),
        ((1 - met) * 200, "Give the share, not the number of applications."),
    )
    hint = "Draw with default_rng(5) and where={'race': 'black', 'approve': False}."
    return Key(1 - met, hint, slips, tolerance=0.006)


# 12 Domain randomization


@exercise("12.1")
def _few_drawings(reader: Any, digits: Any, steps: int, seed: int, test: tuple, full: float) -> Key:
    own = np.random.default_rng([seed, 4])
    drawn = digits.images(300, own)
    trained = reader().fit(*drawn, steps, own)
    slips = (
        (full, "That is the network of all drawings: train a new one on 300."),
        (trained.accuracy(*drawn), "That is its share on its own drawings: read the test scans."),
    )
    hint = "Draw 300 digits with default_rng([seed, 4]), fit a new Reader on them, read the test scans."
    return Key(float(trained.accuracy(*test)), hint, slips, tolerance=0.006)


@exercise("12.2")
def _too_wild(
    reader: Any, wild: Any, rows: int, steps: int, seed: int, test: tuple, full: float
) -> Key:
    own = np.random.default_rng([seed, 5])
    wild.images(400, own)  # the sheet that is looked at first
    looked = reader().fit(*wild.images(rows, own), steps, own)
    fresh = np.random.default_rng([seed, 5])
    unseen = reader().fit(*wild.images(rows, fresh), steps, fresh)
    # Whoever trains without looking at the sheet has other drawings, and is right too.
    right = ([float(looked.accuracy(*test))], [float(unseen.accuracy(*test))])
    slips = (([full], "That is the network of ordinary drawings."),)
    hint = "Double shape and rotation, draw with default_rng([seed, 5]), fit a new Reader."
    return Key(right, hint, slips, tolerance=0.006, read=lambda answer: [answer])


@exercise("12.3")
def _darkest_pixel(digits: Any, seed: int) -> Key:
    means = digits.simulate(500, np.random.default_rng(seed)).mean()
    slips = (
        ("digit", "That is the label: leave it out."),
        (str(means.drop("digit").idxmin()), "That is the lightest pixel."),
    )
    hint = "simulate(500, np.random.default_rng(seed)), without the column digit, then idxmax."
    return Key(str(means.drop("digit").idxmax()), hint, slips)


# 13 Language models


@exercise("13.1")
def _kept_back(fit: Callable, counts: pd.Series) -> Key:
    def named(setting: Mapping) -> set[str]:
        text = fit(setting).request()["messages"][1]["content"]
        return {label for label in counts.index if f'"{label}"' in text}

    frequent = {str(label) for label in counts.index[counts >= 100]}
    everything = {str(label) for label in counts.index}
    slips = ((everything, "The request still names every label: which field keeps labels back?"),)
    hint = "A mapping of one field of the generator to a value; see its docstring for labels."
    return Key(frequent, hint, slips, read=named)


@exercise("13.2")
def _dollars(cost: float, rows: int) -> Key:
    right = cost / rows * 100_000
    slips = (
        (cost * 100_000, "`cost` is that of all rows: divide by their number first."),
        (cost / rows, "That is one row."),
        (cost, "That is what the rows above cost."),
    )
    hint = "The cost of a row above, times 100,000."
    return Key(right, hint, slips, tolerance=0.02 * right)


@exercise("13.3")
def _cold(great: Any, tuned: pd.DataFrame, seed: int) -> Key:
    before = great.temperature
    great.temperature = 0.5
    cold = great.sample(200, np.random.default_rng(seed))
    great.temperature = 1.0
    warm = great.sample(200, np.random.default_rng(seed))
    great.temperature = before
    slips = (
        (white_share(warm), "That is temperature 1: set great.temperature to 0.5 first."),
        (white_share(tuned), "That is the table above: draw a new one at temperature 0.5."),
    )
    hint = "Set great.temperature = 0.5 and draw 200 rows with np.random.default_rng(seed)."
    return Key(white_share(cold), hint, slips, tolerance=0.0026, read=white_share)


def white_share(table: pd.DataFrame) -> float:
    """The share of the commonest race."""
    return float(table["race"].eq("white").mean())


# 14 Audits


@exercise("14.1")
def _twenty_gates() -> Key:
    slips = (
        (0.05, "That is one gate. There are twenty."),
        (1.0, "Probabilities do not add up beyond what excludes each other."),
        (0.95**20, "That is no alarm at all: take the rest to 1."),
    )
    hint = "What is the probability that none of twenty independent gates rings?"
    return Key(1 - 0.95**20, hint, slips, tolerance=0.006)


@exercise("14.2")
def _no_tolerance_buys() -> Key:
    hint = "A vanished group is a hard gate: no tolerance buys it back."
    return Key("FAIL", hint, ((("PASS", "ALERT"), hint),))


@exercise("14.3")
def _widened(record: Mapping) -> Key:
    """The tolerances stand in the record, and so does their hash; a later audit notes the change."""
    right = ("hashes", "tolerances", "notes", "hashes tolerances")
    others = tuple(str(name) for name in record if name not in right)
    hint = "Look into first.record: what would differ from the record of the month before?"
    return Key(right, hint, ((others, hint),))


# 15 Edge cases


@exercise("15.1")
def _rule(data: Any, scenario: Any, usual: float) -> Key:
    from workbench.studies import edge_cases

    real = data.test[np.asarray(edge_cases.matches(data.test, data.schema, scenario.where))]
    refused = real["obrat"] > 45
    right = float((refused == real["approve"].astype(bool)).mean())
    slips = ((usual, "That is the default model: hand over `model=Rule()`."),)
    hint = "Give the outcome of edge_cases.run(data, wanted, 'cart', seed, model=Rule())."

    def read(outcome: Any) -> float:
        return float(outcome.summary.loc[scenario.name, "error, real rows"])

    return Key(right, hint, slips, tolerance=0.002, read=read)


@exercise("15.2")
def _tested_on_copies(metrics: Iterable[str]) -> Key:
    others = tuple(str(name) for name in metrics if name != "error difference")
    hint = "Which of them holds the synthetic error against that of real rows?"
    return Key("error difference", hint, ((others, hint),))


# 16 Cost


@exercise("16.1")
def _rows_for_a_score(a: float, b: float, c: float, score: float = 0.75) -> Key:
    def read(answer: Any) -> float:
        rows = float(getattr(answer, "value", answer))
        return a - b * rows**-c if rows >= 2 else np.nan

    hint = "Solve a - b * m ** -c = 0.75 for m, or use learning_curve.equivalent."
    return Key(score, hint, tolerance=0.003, read=read)


@exercise("16.2")
def _tokens(rows: int, tokens: list[int], prices: list[float]) -> Key:
    one = tokens[0] * prices[0] + tokens[1] * prices[1]
    right = rows * one / 1e6
    slips = (
        (one / 1e6, "That is one row: train has more."),
        (rows * one, "Prices are for a million tokens."),
        (rows * one / 1e3, "Prices are for a million tokens, not for a thousand."),
        (rows * sum(tokens) * prices[0] / 1e6, "Answered tokens have a price of their own."),
    )
    hint = "Rows, times (prompt tokens times their price plus answered tokens times theirs)."
    return Key(right, hint, slips, tolerance=0.006 * right)


@exercise("16.3")
def _flat_curve(curve: Any, score: Any, seed: int) -> Key:
    from workbench.studies import learning_curve

    kept = curve.rows >= 400
    influence = curve.scores.influence
    if influence is not None:
        influence = influence[kept]
    scores = learning_curve.Scores(curve.scores.values[kept], influence)
    short = learning_curve.Curve(curve.rows[kept], scores)
    found = learning_curve.equivalent(short, score, np.random.default_rng(seed))
    whole = [float(curve.rows[0]), float(np.inf)]

    def read(answer: Any) -> list[float]:
        return [float(answer.first), float(answer.high)]

    slips = ((whole, "That curve still begins at its smallest size: keep 400 rows and more."),)
    hint = "Build a learning_curve.Curve from 400 rows on, and give `equivalent` of it."
    right = [float(found.first), float(found.high)]
    # Ends that are numbers move with the bootstrap.
    return Key(right, hint, slips, tolerance=0.1 * float(curve.rows[-1]), read=read)


# 17 Privacy rules


@exercise("17.1")
def _gives_away(once: Mapping[str, pd.Series], train: pd.DataFrame) -> Key:
    right, slips = [], []
    for name, values in once.items():
        share = values.isin(train[name]).mean() if len(values) else 0.0
        if len(values) >= 30 and share > 0.9:
            right.append(name)
        else:
            few = f"{name} has {len(values)} values that occur once, {share:.0%} of them in train."
            slips.append((name, few))
    hint = "The name of a column: count once[name], and how many of them train has."
    return Key(tuple(right), hint, tuple(slips))


@exercise("17.2")
def _belief() -> Key:
    odds = 0.1 / 0.9 * np.exp(3)
    slips = (
        (odds, "That is odds: a probability is odds / (1 + odds)."),
        (np.exp(3) / (1 + np.exp(3)), "That is for a belief of 50% before."),
        (0.1 * np.exp(3), "The factor is for odds, not for the probability."),
    )
    hint = "Odds of 0.1 / 0.9, times e ** 3, turned into a probability again."
    return Key(float(odds / (1 + odds)), hint, slips, tolerance=0.006)


@exercise("17.3")
def _ruled_out() -> Key:
    def read(answer: Any) -> set[str]:
        names = [answer] if isinstance(answer, str) else list(answer)
        return {as_word(name) for name in names} - {"copy", "holdout"}

    slips = (
        (set(), "One generator has a risk whose whole interval lies far from 0."),
        ({"cart", "independent"}, "Nothing above rules out independent columns."),
        ({"cart", "mst"}, "Nothing above rules out mst."),
        ({"cart", "privbayes"}, "Nothing above rules out privbayes."),
        ({"cart", "mst", "privbayes"}, "Nothing above rules out the private methods."),
    )
    hint = "A set of names: whose risk lies far from 0 with all of its interval?"
    return Key({"cart"}, hint, slips, read=read)


# 18 Autoencoders, 19 Model collapse


@exercise("18.1")
def _divergence() -> Key:
    slips = (
        (1, "Mean and deviation are 1 each: (1 + 1 - 1) / 2, minus a logarithm of 1."),
        (0, "That would be mean 0: the cloud lies one standard deviation away."),
    )
    return Key(0.5, "(mean ** 2 + sd ** 2 - 1) / 2 - log(sd).", slips, tolerance=0.005)


@exercise("18.2")
def _collapsed(weights: list[float]) -> Key:
    hint = "A divergence of zero: does the code still say anything about the row?"
    return Key(float(weights[-1]), hint)


@exercise("19.1")
def _gone_at_once(rows: int) -> Key:
    right = float((1 - 1 / rows) ** rows)
    slips = (
        (1 - right, "That is the probability that it is still there."),
        (1 / rows, "That is its share: it has to be missed by every one of the rows."),
    )
    hint = "Each of the rows misses it with probability 1 - 1 / rows."
    return Key(right, hint, slips, tolerance=0.004)


@exercise("19.2")
def _way_that_holds() -> Key:
    hint = "Which line of the last panel stays up?"
    return Key(("accumulate", "accumulating"), hint, (("replace", hint),))
