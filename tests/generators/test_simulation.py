"""Simulators against queueing theory and known truths; their calibration; every way in which one
can be wrong.
"""

import json
import re
import textwrap
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batch_helpers import statuses, stub_notebook

from workbench.batch import grid
from workbench.batch.cell import json_facts
from workbench.batch.folder import Folder
from workbench.batch.runner import run
from workbench.errors import InputError
from workbench.generators import generate, make
from workbench.generators.calibration import Statistics
from workbench.generators.simulation import Simulation, World
from workbench.metrics import Trial
from workbench.metrics.bias import bias_amp
from workbench.simulators import SIMULATORS, Prior, draw
from workbench.simulators.emergency import HOURS, Queue, erlang_c, thinned
from workbench.simulators.mortgage import MortgageDesk
from workbench.tables.datasets import load, table_hash
from workbench.tables.schema import Column, Schema

every_simulator = pytest.mark.parametrize("name", SIMULATORS)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@every_simulator
@pytest.mark.parametrize("n", [1, 7, 800])
def test_a_simulator_makes_what_it_declares(name, n):
    world = World(name)
    for seed in range(3):
        table = world.run(n, rng(seed), draw(world.priors, rng(seed)))
        assert world.schema.check(table) == [] and len(table) == n


@every_simulator
def test_the_same_stream_gives_the_same_table(name):
    world = World(name)
    tables = [world.run(300, rng(seed), {}) for seed in (1, 1, 2)]
    assert table_hash(tables[0]) == table_hash(tables[1]) != table_hash(tables[2])


def queue(servers: int, load_share: float, n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """n patients of the emergency department's machinery as M/M/c, mean service 20 minutes; and the
    waits that the same
    patients have with one server `servers` times as fast, by Lindley's recursion (1952)."""
    table = Queue().simulate(
        n,
        rng(7, seed),
        load_share * servers * 3,
        20.0,
        assessment=0,
        rest=0,
        doctors=servers,
        nurses=10**6,
        beds=10**6,
    )
    gaps = table["arrival"].diff().dt.total_seconds().to_numpy() / 60
    served = (table["stay"] - table["wait"]).to_numpy() / servers
    walk = np.append(0, served[:-1] - gaps[1:]).cumsum()
    return table, walk - np.minimum.accumulate(walk)


def test_one_doctor_serves_by_lindleys_recursion():
    table, waits = queue(1, 0.7, 5000, 0)
    idle = np.flatnonzero(table["wait"] == 0)[
        0
    ]  # until then there are patients of the day before the table
    assert (
        np.abs(table["wait"] - waits)[idle:].max() < 1 and idle < 1000 and table["wait"].mean() > 20
    )


@pytest.mark.parametrize(
    ("servers", "load_share", "n"),
    [(2, 0.7, 2000), pytest.param(3, 0.8, 3000, marks=pytest.mark.long)],
)
def test_waits_of_the_emergency_departments_machinery_are_erlangs(servers, load_share, n):
    """Mean wait, share that waits and utilisation of M/M/2 and M/M/3, within 2%, with a standard
    error of 0.7% at the most.

    A fast single server fed by the same patients, whose mean wait and share are known, is the
    control variate (Lavenberg and Welch 1981): it takes nine tenths of the chance out of what is
    left, the difference between c servers and one.
    """
    found, control, busy = [], [], []
    for seed in range(24):
        table, single = (
            part[500:] for part in queue(servers, load_share, n + 500, seed)
        )  # past the start
        found.append([table["wait"].mean(), (table["doctor_seen"] > table["arrival"]).mean()])
        control.append([single.mean(), (single > 1e-9).mean()])
        span = (table["arrival"].max() - table["arrival"].min()).total_seconds() / 60
        busy.append((table["stay"] - table["wait"]).sum() / span / servers)
    share, wait = erlang_c(load_share * servers / 20, 1 / 20, servers)
    known = erlang_c(load_share / 20, 1 / 20, 1)
    for k, (truth, mean) in enumerate([(wait, known[1] / servers), (share, known[0])]):
        y, x = np.array(found)[:, k], np.array(control)[:, k]
        slope = np.polyfit(x, y, 1)[0]
        y = y - slope * (x - mean)
        error = y.std(ddof=2) / np.sqrt(len(y)) / truth
        assert error <= 0.007 and y.mean() == pytest.approx(truth, rel=0.02), (servers, k, error)
    assert np.mean(busy) == pytest.approx(load_share, rel=0.02)


def test_erlang_c_in_closed_form():
    for load_share in (
        0.1,
        0.5,
        0.9,
    ):  # one server: P(wait) = rho and W = rho / (mu - lambda); two: P = 2 rho^2 / (1 + rho)
        assert erlang_c(load_share * 2, 2, 1) == pytest.approx(
            (load_share, load_share / (2 - 2 * load_share))
        )
        assert erlang_c(load_share * 2, 1, 2)[0] == pytest.approx(
            2 * load_share**2 / (1 + load_share)
        )
    with pytest.raises(ValueError, match="without end"):
        erlang_c(3, 1, 3)


def test_arrivals_follow_the_hours():
    times = thinned(60_000, 0.2, HOURS, rng(0))
    counts = np.bincount((times // 60 % 24).astype(int), minlength=24)
    assert abs(counts / counts.mean() / (HOURS / HOURS.mean()) - 1).max() < 0.08
    assert (np.diff(times) > 0).all() and 60_000 / times[-1] == pytest.approx(
        0.2 * HOURS.mean(), rel=0.02
    )


def test_the_emergency_department_behaves_like_one():
    simulate = World("emergency").run
    busy, helped = (
        simulate(3000, rng(1), {"arrivals": 8, "doctors": doctors, "beds": 30})
        for doctors in (2, 4)
    )
    assert helped["wait"].mean() < 0.5 * busy["wait"].mean()
    left = [(table["disposition"] == "left unseen").mean() for table in (busy, helped)]
    assert left[1] < left[0]
    waits = busy.groupby("triage")["wait"].mean()
    assert waits["2"] < waits["3"] < waits["5"], "the priority queue"
    seen = busy.dropna()
    assert (seen["arrival"] <= seen["nurse_seen"]).all() and (
        seen["nurse_seen"] <= seen["doctor_seen"]
    ).all()
    assert (busy["doctor_seen"].isna() == (busy["disposition"] == "left unseen")).all()


def test_payments_are_what_their_parameters_say():
    table = World("payments").run(20_000, rng(0), {"fraud": 0.01, "wage": 6000})
    assert 0.006 < table["fraud"].mean() < 0.016 and table["customer"].nunique() > 400
    assert table["time"].is_monotonic_increasing and (table["amount"] <= table["balance"]).all()
    for _, card in list(table.groupby("customer"))[
        :15
    ]:  # velocity of the second half, by hand (the first has a past unseen)
        card = card.reset_index(drop=True)
        for row in card[card["time"] > table["time"].min() + pd.Timedelta("1D")].itertuples():
            day = card[: row.Index]
            day = day[day["time"] > row.time - pd.Timedelta("86398s")]
            assert abs(len(day) - row.count_day) <= 1
            assert row.count_day != len(day) or row.spent_day == pytest.approx(
                day["amount"].sum(), abs=0.01
            )
    bold = World("payments").run(10_000, rng(0), {"haul": 8, "wage": 6000, "prices": 0.2})
    meek = World("payments").run(10_000, rng(0), {"haul": 2, "wage": 6000, "prices": 0.2})
    amounts = [
        synthetic.loc[synthetic["fraud"] & (synthetic["amount"] > 4), "amount"].median()
        for synthetic in (meek, bold)
    ]
    assert amounts[1] > 2.5 * amounts[0]


def test_disparity_is_a_share_of_minority_approvals():
    fair, unfair = (MortgageDesk().simulate(200_000, rng(3), disparity=d) for d in (0.0, 0.3))
    rates = [table.groupby(table["race"] == "white")["approve"].mean() for table in (fair, unfair)]
    assert rates[1][False] / rates[0][False] == pytest.approx(0.7, abs=0.01)
    assert rates[1][True] == pytest.approx(rates[0][True], abs=0.005)


def test_the_bias_dial_is_read_by_bias_amp():
    """Turned from 0.2 to 0.4, P(approve | group) falls by a quarter: what bias_amp reads is that
    within 0.01.
    """
    world, roles = World("mortgage"), {"target": "approve", "sensitive": ["race"]}
    schema = Schema(world.schema.columns).with_roles(**roles)
    before, after = (
        world.run(150_000, rng(seed), {"disparity": d}) for seed, d in ((1, 0.2), (2, 0.4))
    )
    rows = bias_amp(Trial(before, before[:1000], after, schema, 0))
    readings = {row.column: row.value for row in rows if row.metric == "bias_amp" and not row.group}
    rates = before.groupby("race")["approve"].mean().astype(float)
    expected = (
        (rates["black"] + rates["hispanic"]) / 4 / 3
    )  # two of three groups; white stays as it is
    assert readings["race"] == pytest.approx(expected, abs=0.01)


TOY = textwrap.dedent("""
    import numpy as np, pandas as pd
    from workbench.simulators import Prior

    class Toy:
        columns = {"x": "numeric", "y": "numeric", "c": "boolean"}
        priors = {
            "center": Prior(-5, 5, "metres"),
            "spread": Prior(0.2, 5, "metres", "log-uniform"),
            "tie": Prior(-0.9, 0.9, ""),
            "share": Prior(0.02, 0.98, ""),
            "nuisance": Prior(0.8, 1.2, "", calibrated=False),
        }

        def simulate(self, n, rng, center=0.0, spread=1.0, tie=0.0, share=0.5, nuisance=1.0):
            z = rng.normal(size=(2, n))
            y = nuisance * (tie * z[0] + np.sqrt(1 - tie**2) * z[1])
            return pd.DataFrame({"x": center + spread * z[0], "y": y, "c": rng.random(n) < share})
""")


def write(folder, text: str, name: str = "toy.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return f"{path}:Toy"


@pytest.mark.long
def test_the_posterior_covers_the_truth_at_about_the_nominal_rate(tmp_path):
    """Quick sibling: test_the_posterior_is_as_wide_as_theory_says."""
    where = write(tmp_path, TOY)
    world, inside, widths = World(where), [], []
    for seed in range(12):
        truth = draw(world.priors, rng(100, seed))
        table = world.run(200, rng(101, seed), truth)
        posterior = (
            Simulation(where, budget=128, excluded="warning")
            .fit(table, world.schema, rng(102, seed))
            .posterior
        )
        inside += [row.low <= truth[row.parameter] <= row.high for row in posterior.itertuples()]
        widths += posterior["width_left"].tolist()
    assert len(inside) == 48 and np.mean(inside) >= 0.82, np.mean(inside)
    assert np.median(widths) < 0.25, (
        "intervals that cover because they learnt nothing are no success"
    )


def test_the_posterior_is_as_wide_as_theory_says(tmp_path):
    """For a normal sample the exact posterior of center has the standard deviation spread /
    sqrt(n).
    """
    where = write(tmp_path, TOY)
    world = World(where)
    table = world.run(400, rng(0), {"center": 1.0, "spread": 2.0})
    row = (
        Simulation(where, budget=128)
        .fit(table, world.schema, rng(1))
        .posterior.set_index("parameter")
        .loc["center"]
    )
    width = 2 * 1.96 * table["x"].std() / 20
    assert 0.8 * width < row["high"] - row["low"] < 2.5 * width
    assert abs(row["median"] - table["x"].mean()) < width / 2


@cache
def calibrated() -> Simulation:
    data = load("loans")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make("simulation", {"simulator": "mortgage", "budget": 64, "most_rows": 400}).fit(
            data.train, data.schema, rng(1)
        )


def test_a_real_table_is_calibrated_to():
    data, generator = load("loans"), calibrated()
    table = generator.posterior.set_index("parameter")
    shares = {
        "minority": (data.train["race"] != "white").mean(),
        "bankrupt": data.train["pubrec"].mean(),
    }
    for name, share in shares.items():
        assert table.loc[name, "low"] - 0.03 < share < table.loc[name, "high"] + 0.03
    assert "missing share of male" not in generator.facts["unreached"]
    assert json.loads(json_facts(generator.facts)) == generator.facts
    assert generator.facts["randomized"] == [
        "rate",
        "men",
        "self_employed",
        "unverified",
        "unlocated",
    ]
    synthetic = generator.sample(500, rng(2))
    assert (
        data.schema.check(synthetic) == []
        and len(synthetic) == 500
        and len(generator.sample(0, rng(2))) == 0
    )
    assert (
        table_hash(synthetic)
        == table_hash(generator.sample(500, rng(2)))
        != table_hash(generator.sample(500, rng(3)))
    )
    assert synthetic["approve"].mean() == pytest.approx(data.train["approve"].mean(), abs=0.12)


def test_the_same_stream_calibrates_to_the_same_posterior(tmp_path):
    where, world = write(tmp_path, TOY), World(write(tmp_path, TOY))
    table = world.run(100, rng(0), {})
    one, other = (Simulation(where, budget=64).fit(table, world.schema, rng(5)) for _ in range(2))
    pd.testing.assert_frame_equal(one.posterior, other.posterior)


def test_conditions_are_met_by_rejection():
    synthetic = calibrated().sample(
        40, rng(1), where={"race": "black", "appinc": (40, 90), "approve": False}
    )
    assert (
        len(synthetic) == 40
        and (synthetic["race"] == "black").all()
        and synthetic["appinc"].between(40, 90).all()
    )
    with pytest.raises(InputError, match="acceptance 0"):
        calibrated().sample(5, rng(1), where={"race": "martian"})


def test_without_calibration_parameters_come_from_their_priors(tmp_path):
    world = World(write(tmp_path, TOY))
    generator = Simulation(world.name, calibrate="none").fit(
        world.run(50, rng(0), {}), world.schema, rng(0)
    )
    centers = [generator.parameters(rng(seed))["center"] for seed in range(400)]
    assert abs(np.mean(centers)) < 0.5 and min(centers) < -4 and max(centers) > 4
    assert generator.facts["randomized"] == list(world.priors)
    with pytest.raises(InputError, match='set calibrate to "abc"'):
        _ = generator.posterior


def test_columns_the_simulator_does_not_make(tmp_path):
    world = World(write(tmp_path, TOY))
    table = world.run(300, rng(0), {}).assign(city=["a", "b", "b"] * 100)
    schema = Schema((*world.schema.columns, Column("city", "categorical")))
    assert "'city' is not made by simulator" in make(
        "simulation", {"simulator": world.name}
    ).supports(schema)
    generator = make(
        "simulation", {"simulator": world.name, "rest": "independent", "budget": 32}
    ).fit(table, schema, rng(0))
    synthetic = generator.sample(3000, rng(1))
    assert synthetic["city"].value_counts(normalize=True)["b"] == pytest.approx(2 / 3, abs=0.05)
    assert generator.facts["independent columns"] == ["city"]
    fewer = Schema(schema.columns[:1])
    generator = make("simulation", {"simulator": world.name, "budget": 32}).fit(
        table[["x"]], fewer, rng(0)
    )
    assert fewer.check(generator.sample(20, rng(1))) == [] and generator.facts[
        "columns not in train"
    ] == ["y", "c"]
    other = Schema((Column("x", "categorical"),))
    assert "makes it numeric" in make("simulation", {"simulator": world.name}).supports(other)
    nothing = Schema((Column("z", "numeric"),))
    assert "none of the table's columns" in Simulation(world.name, rest="independent").supports(
        nothing
    )


def test_constraints_hold_in_every_row(tmp_path):
    world = World(write(tmp_path, TOY))
    table = world.run(600, rng(0), {"center": 1.0})
    table = (
        table[table["x"] <= table["y"] + 2].assign(y=lambda t: t["y"] + 2).reset_index(drop=True)
    )
    schema = Schema(world.schema.columns, constraints=["x <= y"])
    params = {"simulator": world.name, "budget": 64, "excluded": "warning"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        synthetic = make("simulation", params).fit(table, schema, rng(0)).sample(400, rng(1))
    assert len(synthetic) == 400 and (synthetic["x"] <= synthetic["y"]).all()


def test_a_prior_that_excludes_the_data_is_named(tmp_path):
    data = load("loans")
    dollars = data.train.assign(price=data.train["price"] * 1000)
    with pytest.raises(
        InputError,
        match=r"the prior of '(income|price_ratio)' .* excludes the data: the .* of price",
    ):
        make("simulation", {"simulator": "mortgage", "budget": 128, "most_rows": 200}).fit(
            dollars, data.schema, rng(0)
        )
    where = write(tmp_path, TOY)
    table = World(where).run(100, rng(0), {"center": 4.0}).assign(x=lambda t: t["x"] * 1000)
    with pytest.warns(UserWarning, match="the prior of 'center' .* excludes the data: the .* of x"):
        Simulation(where, budget=128, excluded="warning").fit(table, World(where).schema, rng(0))


def test_what_nothing_tells_stays_wide_with_few_tables_too():
    """27 parameters, hundreds of statistics and 16 tables a round: something always fits, and must
    not be believed.
    """
    world = World("mortgage")
    truth = draw(world.priors, rng(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = Simulation("mortgage", budget=64, excluded="warning")
        posterior = generator.fit(world.run(200, rng(9), truth), world.schema, rng(10)).posterior
    inside = [row.low <= truth[row.parameter] <= row.high for row in posterior.itertuples()]
    assert np.mean(inside) > 0.6 and posterior["width_left"].median() > 0.1


EXACT = """
    import numpy as np, pandas as pd
    from workbench.simulators import Prior

    class Toy:
        columns = {"x": "numeric", "many": "boolean"}
        priors = {"level": Prior(0, 5), "share": Prior(0, 1), "count": Prior(1, 6, "", "whole")}

        def simulate(self, n, rng, level, share, count):
            return pd.DataFrame({"x": level + count * np.arange(n), "many": np.arange(n) < share * n})
"""


@pytest.mark.parametrize(
    "truth",
    [{"level": 2.0, "share": 0.3, "count": 2.0}, {"level": 0.0, "share": 1.0, "count": 6.0}],
)
def test_a_simulator_without_noise_is_calibrated_too(tmp_path, truth):
    """Its parameters are told exactly, and some lie at the ends of their priors."""
    where = write(tmp_path, EXACT)
    table = World(where).run(100, rng(0), truth)
    found = (
        Simulation(where, budget=256)
        .fit(table, World(where).schema, rng(1))
        .posterior.set_index("parameter")
    )
    assert found["median"].to_dict() == pytest.approx(truth, abs=0.1)
    only = EXACT.replace('"level": Prior(0, 5), "share": Prior(0, 1), ', "")
    only = only.replace("level, share, count", "count, level=0, share=0")
    where = write(tmp_path, only, "only.py")  # all tables of a round become one and the same
    table = World(where).run(100, rng(0), {"count": 3.0})
    assert Simulation(where, budget=64).fit(table, World(where).schema, rng(1)).posterior[
        "median"
    ].tolist() == [3]


def test_columns_may_have_any_name(tmp_path):
    """A column called share holds no shares: its numbers are read like those of any other."""
    where = write(tmp_path, TOY.replace('"x":', '"share of":'))
    named = write(tmp_path, TOY.replace('"x":', '"share":').replace('"y":', '"tie":'), "named.py")
    medians = []
    for one in (where, named):
        table = World(one).run(200, rng(0), {"center": 3.0, "spread": 2.0})
        medians.append(
            Simulation(one, budget=64)
            .fit(table, World(one).schema, rng(1))
            .posterior["median"]
            .tolist()
        )
    assert medians[0] == medians[1]


def test_more_rows_than_are_simulated_do_not_slow_the_clock(tmp_path):
    """A day's arrivals in 300 rows are as many a day in 3,000; what 3,000 rows span is not what 300
    do.
    """
    world = World("emergency")
    table = (
        world.run(3000, rng(0), {"arrivals": 6.0})
        .sample(frac=1, random_state=0)
        .reset_index(drop=True)
    )
    generator = Simulation("emergency", budget=64, most_rows=300, excluded="warning").fit(
        table, world.schema, rng(1)
    )
    row = generator.posterior.set_index("parameter").loc["arrivals"]
    assert 0.7 * 6 < row["median"] < 1.4 * 6
    visits = pd.DataFrame({"who": [f"P{i % 100}" for i in range(6000)]})
    schema = Schema((Column("who", "categorical"),))
    twice = [
        Statistics(part, schema).real[1] for part in (visits, visits.sample(500, random_state=0))
    ]
    assert twice[0] == pytest.approx(1 / 100, rel=0.02) and twice[1] == pytest.approx(
        1 / 100, rel=0.2
    )


def test_facts_of_a_wide_table_fit_into_the_record(tmp_path):
    text = """
    import numpy as np, pandas as pd
    from workbench.simulators import Prior
    def Toy(n, rng, level):
        return pd.DataFrame(rng.normal(level, size=(n, 60)), columns=list(Toy.columns))
    Toy.columns = {f"measurement number {i}": "numeric" for i in range(60)}
    Toy.priors = {"level": Prior(-1, 1)}
    """
    world = World(write(tmp_path, text))
    same = world.run(100, rng(0), {"level": 0.0}).assign(
        **{name: np.linspace(-2, 2, 100) for name in world.schema.names}
    )
    with pytest.warns(UserWarning, match="does not reach"):
        facts = Simulation(world.name, budget=16).fit(same, world.schema, rng(0)).facts
    assert facts["unreached in all"] > 1500 and len(facts["unreached"]) == 100 and json_facts(facts)


WRONG = [
    (
        "    raise ZeroDivisionError('no customers')",
        r"failed with a=.*: ZeroDivisionError: no customers",
    ),
    ("    return [1] * n", "returned a list; it must return a DataFrame"),
    (
        "    return pd.DataFrame({'x': rng.random(n - 1), 'c': 'u'})",
        r"returned \d+ rows where \d+ were asked for",
    ),
    (
        "    return pd.DataFrame({'x': rng.random(n)})",
        "does not make what it declares: column 'c' is missing",
    ),
    (
        "    return pd.DataFrame({'x': rng.random(n), 'c': 'u', 'extra': 1})",
        "column 'extra' is not in the schema",
    ),
    (
        "    return pd.DataFrame({'x': ['many'] * n, 'c': 'u'})",
        "does not make what it declares: column 'x'",
    ),
    (
        "    return pd.DataFrame({'x': [np.nan] * n, 'c': 'u'})",
        "leaves column 'x' missing; list it in `missing`",
    ),
    (
        "    return pd.DataFrame({'x': [np.inf] * n, 'c': 'u'})",
        "does not make what it declares: column 'x'",
    ),
    (
        "    return pd.DataFrame({'x': np.random.rand(n), 'c': 'u'})",
        "draws from a global random state",
    ),
    (
        "    return pd.DataFrame({'x': random.random(), 'c': ['u'] * n})",
        "draws from a global random state",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), WRONG, ids=[sentence[:30] for _, sentence in WRONG])
def test_a_simulator_that_is_wrong_is_told_in_a_sentence(tmp_path, body, sentence):
    head = """
    import random
    import numpy as np, pandas as pd
    from workbench.simulators import Prior
    def Toy(n, rng, a):
    """
    text = (
        textwrap.dedent(head).rstrip()
        + f"\n{body}\nToy.columns = {{'x': 'numeric', 'c': 'categorical'}}\n"
    )
    where = write(tmp_path, text + "Toy.priors = {'a': Prior(0, 1)}\n")
    schema = Schema((Column("x", "numeric"), Column("c", "categorical")))
    table = schema.cast(pd.DataFrame({"x": rng(0).random(30), "c": "u"}))
    with pytest.raises(InputError, match=sentence):
        Simulation(where, budget=8).fit(table, schema, rng(0))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def Toy(n, rng): pass", "has no columns: declare a dict"),
        (
            "class Toy:\n    columns = {'x': 'numeric'}\n    priors = {}",
            r"has no simulate\(n, rng, ",
        ),
        (
            "def Toy(n, rng): pass\nToy.columns = {'x': 'numeric'}\nToy.priors = {'a': 1}",
            "has no priors",
        ),
        (
            "class Toy:\n    def __init__(self): raise OSError('no engine')",
            "cannot be loaded: OSError: no engine",
        ),
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError"),
        (
            "def Toy(n, rng, b): pass\nToy.columns = {'x': 'numbers'}\nToy.priors = {}",
            "unknown kind 'numbers'",
        ),
    ],
)
def test_a_simulator_that_declares_nonsense(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        World(write(tmp_path, text))


def test_wrong_parameters_are_named(tmp_path):
    text = TOY.replace("tie=0.0", "tye=0.0")
    with pytest.raises(InputError, match="takes no parameter 'tie'; did you mean tye"):
        World(write(tmp_path, text))
    with pytest.raises(InputError, match="did you mean mortgage"):
        World("mortgag")
    with pytest.raises(InputError, match="no plug-in file"):
        World("nowhere.py:Toy")
    for params, sentence in [
        ({"calibrate": "abcd"}, "give abc or none"),
        ({"keep": 0}, "keep is 0"),
        ({"rest": "drop"}, "give error or independent"),
        ({"budget": 1}, "budget is 1"),
    ]:
        with pytest.raises(InputError, match=sentence):
            make("simulation", {"simulator": "mortgage", **params})
    assert "has no simulator; known: " in make("simulation").supports(
        Schema((Column("x", "numeric"),))
    )


def test_priors_are_what_they_say():
    u = np.linspace(0, 1, 2001)
    values = {
        shape: np.array([Prior(1, 5, "", shape).at(level) for level in u])
        for shape in ("uniform", "log-uniform", "normal", "whole")
    }
    assert all(
        v.min() == pytest.approx(1) and v.max() == pytest.approx(5) and (np.diff(v) >= 0).all()
        for v in values.values()
    )
    assert np.mean(np.log(values["log-uniform"])) == pytest.approx(np.log(5) / 2, rel=1e-3)
    assert values["normal"].std() == pytest.approx(
        0.88, abs=0.01
    )  # a normal cut off at two standard deviations
    assert np.unique(values["whole"], return_counts=True)[1].tolist() == pytest.approx(
        [400] * 5, abs=1
    )
    for low, high, shape, sentence in [
        (2, 1, "uniform", "low < high"),
        (0, 1, "log-uniform", "above 0"),
        (0, 1, "flat", "shape 'flat'"),
    ]:
        with pytest.raises(InputError, match=sentence):
            Prior(low, high, "", shape)


@pytest.mark.long
def test_emergency_is_calibrated_from_dates_too():
    """Quick sibling: test_more_rows_than_are_simulated_do_not_slow_the_clock."""
    world = World("emergency")
    truth = {"arrivals": 5.0, "treatment": 15.0, "doctors": 3.0, "rest": 60.0}
    table = world.run(150, rng(0), truth)
    generator = Simulation("emergency", budget=128, worlds=2).fit(table, world.schema, rng(1))
    found = generator.posterior.set_index("parameter")
    for name in ("arrivals", "rest"):
        assert found.loc[name, "low"] <= truth[name] <= found.loc[name, "high"]
        assert found.loc[name, "width_left"] < 0.65
    assert world.schema.check(generator.sample(100, rng(2))) == []


def test_generate_without_calibration():
    assert (
        len(generate("simulation", load("loans"), rows=30, simulator="mortgage", calibrate="none"))
        == 30
    )


def test_a_simulator_of_ones_own_runs_in_a_batch(tmp_path, monkeypatch):
    """Its file travels with the cell and is part of its key; one that fails is a recorded failure
    with a sentence.
    """
    monkeypatch.setattr(grid, "NOTEBOOK", stub_notebook(tmp_path))
    World(write(tmp_path, TOY)).run(120, rng(0), {}).to_csv(tmp_path / "toy.csv", index=False)
    write(tmp_path, TOY.replace("z = rng", "z = 1 / 0 * rng"), "broken.py")
    (tmp_path / "grid.toml").write_text(
        "seeds = [0]\ndatasets = [{path = 'toy.csv'}]\ngenerators = [\n{name = 'simulation', label"
        " = 'good', params = {simulator = './toy.py:Toy', budget = 16}},\n{name = 'simulation',"
        " label = 'bad', params = {simulator = './broken.py:Toy', budget = 16}}]\n"
    )
    run(tmp_path, progress=False)
    assert statuses(tmp_path) == {"good": "ok", "bad": "error"}
    reasons = Folder(tmp_path).cells().set_index("label")["reason"]
    assert "ZeroDivisionError" in reasons["bad"] and "failed with center=" in reasons["bad"]
    keys = {cell.key for cell in grid.plan(grid.read(tmp_path)).cells}
    write(tmp_path, TOY + "\n# changed")
    assert len(keys & {cell.key for cell in grid.plan(grid.read(tmp_path)).cells}) == 1
    (tmp_path / "grid.toml").write_text(
        (tmp_path / "grid.toml").read_text().replace("toy.py:Toy", "toy.py:Tool")
    )
    with pytest.raises(InputError, match="has no class 'Tool'; known: Toy"):
        grid.plan(grid.read(tmp_path))


def test_what_cannot_be_calibrated_is_said(tmp_path):
    world = World("digits")  # whose parameters are all randomized
    with pytest.raises(InputError, match="no parameter of the simulator is to be calibrated"):
        Simulation("digits", budget=8).fit(world.run(20, rng(0), {}), world.schema, rng(0))
    world = World(
        write(tmp_path, textwrap.dedent(TOY) + "    derive = lambda self, table: table[['x']]\n")
    )
    with pytest.raises(InputError, match="cannot derive its numbers: ValueError: columns overlap"):
        Simulation(world.name, budget=8).fit(world.run(20, rng(0), {}), world.schema, rng(0))


def test_the_page_about_simulators_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
            exec(block, names)
    assert names["synthetic"]["regular"].all() and len(names["synthetic"]) == 100
    found = names["model"].posterior.set_index("parameter")
    assert (
        found.loc["regulars", "low"] < 0.7 < found.loc["regulars", "high"]
        and "bread" in capsys.readouterr().out
    )
