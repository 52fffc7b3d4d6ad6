"""The guarantee of every private generator, clause by clause, by a probe that knows none of their
methods: a fit is played again on neighbouring tables that release the same noisy answers (`probe`).

A query may move by what it was charged for, and all that a fit keeps may not move at all.
"""

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from probe import Played, Query, Recorded, Replayed, differences, fitted_with

from workbench.generators import GENERATORS, make
from workbench.generators.bayes.networks import family_counts
from workbench.generators.private import dp_gan, privbayes, tables
from workbench.generators.private.accounting import Concentrated, Ledger, spent
from workbench.generators.private.dp_gan import DPGAN
from workbench.generators.private.dp_merf import Embedding
from workbench.generators.private.pate_gan import Teachers
from workbench.generators.private.privbayes import PrivBayes
from workbench.generators.private.tables import NoisyTables
from workbench.metrics import Guarantee
from workbench.tables.encode import Marginal, to_float
from workbench.tables.schema import Column, Schema

ROOT = Path(__file__).parents[2]
SCHEMA = Schema(
    (
        Column("c", "categorical", "target"),
        Column("k", "integer"),
        Column("b", "boolean"),
        Column("x", "numeric"),
        Column("d", "datetime"),
    )
)
DECLARED = {
    "bounds": {"k": (0, 5), "x": (0, 10, 0.5), "d": ("2020-01-01", "2020-12-31", 86400.0)},
    "levels": {"c": ["u", "v", "w"], "b": [False, True]},
    "missing": ["x"],
    "epsilon": 5.0,
    # Fewer than there are labels, so that choosing them is paid for too.
    "max_levels": 2,
}
GANS = {"width": 8, "noise": 4, "learning_rate": 0.05}
SMALL = {
    "privbayes": {"usefulness": 0.1},
    "mst": {},
    "dp-tan": {},
    "aim": {"steps": 3, "rounds": 2},
    "dp-merf": {**GANS, "epochs": 1, "batch_size": 20, "features": 30},
    # One question a round: every vote is a query of its own.
    "pate-gan": {**GANS, "teachers": 4, "rounds": 10, "queries": 1},
    # Every gradient is longer than the clip, so that the bound is reached.
    "dp-gan": {**GANS, "epochs": 1, "steps": 6, "batch_size": 20, "clip": 0.01},
}
# privbayes promises nothing for a row that is blanked.
BLANKING = [name for name in SMALL if name != "privbayes"]
ROWS = 40
# The row that is blanked or exchanged: it lies far outside of what is declared, or at its ends.
EXTREME = {
    "outside": {"c": "secret", "k": 2**40, "b": pd.NA, "x": 1e300, "d": pd.Timestamp("2200-01-01")},
    "at the ends": {"c": "w", "k": 5, "b": True, "x": 10.0, "d": pd.Timestamp("2020-12-31")},
    "gaps": {"c": None, "k": pd.NA, "b": pd.NA, "x": np.nan, "d": pd.NaT},
}
ROW = 7
every_private = pytest.mark.parametrize("name", SMALL)


def table_of(extreme: str | None = None) -> pd.DataFrame:
    """Rows inside the declared domain, of which one may be extreme."""
    draw = np.random.default_rng(0)
    days = pd.to_timedelta(draw.integers(0, 300, ROWS), "D")
    table = pd.DataFrame(
        {
            "c": draw.choice(["u", "v", "w"], ROWS, p=[0.6, 0.3, 0.1]),
            "k": draw.integers(0, 3, ROWS),
            "b": draw.random(ROWS) < 0.2,
            "x": draw.integers(0, 7, ROWS) / 2,
            "d": pd.Timestamp("2020-01-01") + days,
        }
    ).astype({"k": "Int64", "b": "boolean"})
    if extreme:
        for column, value in EXTREME[extreme].items():
            table.loc[ROW, column] = value
    return SCHEMA.cast(table)


@cache
def played(name: str, extreme: str = "at the ends") -> Played:
    return fitted_with(Recorded(0), name, table_of(extreme), SCHEMA, SMALL[name] | DECLARED)


def exchanged(name: str, first: Played) -> Played:
    """The same releases from the table whose extreme row is an ordinary one."""
    noise = Replayed(first.noise)
    return fitted_with(noise, name, table_of(), SCHEMA, SMALL[name] | DECLARED)


def blanked(name: str, first: Played) -> Played:
    """The same releases from the table without the extreme row: mst, dp-tan, aim and dp-merf need
    not even know that there was one.
    """
    table, hooks = table_of("at the ends"), {}
    noise = Replayed(first.noise, blank=ROW)
    if name == "dp-gan":
        return fitted_with(noise, name, table, SCHEMA, SMALL[name] | DECLARED)
    if name == "pate-gan":
        # The others stay with their teachers.
        def partition(rows, rng):
            return np.delete(rng.integers(first.generator.parts, size=rows + 1), ROW)

        hooks = {"_partition": partition}
    table = table.drop(index=ROW).reset_index(drop=True)
    return fitted_with(noise, name, table, SCHEMA, SMALL[name] | DECLARED, **hooks)


def move(name: str, one: Query, two: Query) -> float:
    """What the move of one answer costs: rho of concentrated privacy, or epsilon where pure."""
    apart = (one.answer - two.answer).ravel()
    if one.kind == "laplace":
        return np.abs(apart).sum() / one.scale
    if one.kind == "choice":
        # The scores are divided by what one row may move them by.
        epsilon = one.scale * np.abs(apart).max()
        return epsilon if name == "privbayes" else epsilon**2 / 8
    return (apart @ apart) / (2 * one.scale**2)


def meant(name: str, query: Query, clip: float) -> float:
    """What a query costs by its noise alone, if one row moves it as far as is meant: a count by one,
    a sum of gradients by `clip`. privbayes reckons with the exchange, which moves two counts.
    """
    if query.kind == "laplace":
        return (2 if name == "privbayes" else 1) / query.scale
    if query.kind == "choice":
        return query.scale if name == "privbayes" else query.scale**2 / 8
    return (clip if query.kind == "normal" else 1) ** 2 / (2 * query.scale**2)


def charged(name: str, fit: Played) -> list[tuple[str, float]]:
    """What each query is, and what it was charged, in the order in which they were asked."""
    if name != "dp-gan":
        return fit.generator.charges
    charges = []
    for event, times in fit.generator.ledger.queries.items():
        # Steps draw their rows by chance; the only other charge is for choosing levels.
        step = getattr(event, "event", None)
        if step is None:
            charges += [("levels", 1 / event.noise_multiplier)] * times
        else:
            charges += [("step", 1 / (2 * step.noise_multiplier**2))] * times
    return charges


@dataclass
class Look:
    """A query with what it costs by its noise, and by how far a neighbour moved it."""

    kind: str
    meant: float
    moved: float


def looks(name: str, one: Played, two: Played) -> list[Look]:
    """All queries. A step of dp-gan is one, of all its sums of gradients together."""
    found: list[Look] = []
    clip = getattr(one.generator, "clip", 1.0)
    for first, second in zip(one.noise.queries, two.noise.queries, strict=True):
        if first.kind == "subset":
            found.append(Look("step", 0.0, 0.0))
        elif first.kind == "normal":
            found[-1].meant = meant(name, first, clip)
            found[-1].moved += move(name, first, second)
        else:
            found.append(Look(first.kind, meant(name, first, clip), move(name, first, second)))
    return found


def queries_of(fit: Played) -> list[tuple]:
    """What was asked: kind, scale and shape of every query."""
    return [(one.kind, one.scale, one.answer.shape) for one in fit.noise.queries]


def allowed(name: str, what: str, is_exchange: bool) -> float:
    """By how much of its charge a neighbour may move a query, as the sentence says."""
    if not is_exchange or name == "privbayes" or what in ("vote", "levels"):
        # What is charged for the exchange from the start; and a vote moves by one either way.
        return 1.0
    # Twice the distance is four times the rho; an exchange moves two counts of a table, each by one.
    return 2.0 if name == "pate-gan" else 4.0


def faults(name: str, one: Played, two: Played, is_exchange: bool) -> list[str]:
    """What a fit does that its guarantee does not allow, where the neighbour `two` has the same
    releases.
    """
    if queries_of(one) != queries_of(two):
        return ["which queries are asked, or their noise, depends on the row"]
    found = []
    charges, seen = charged(name, one), looks(name, one, two)
    if len(charges) != len(seen):
        return [f"{len(seen)} queries and {len(charges)} charges"]
    for (what, charge), look in zip(charges, seen, strict=True):
        if look.meant > charge * (1 + 1e-6):
            found.append(f"the noise of {what} costs {look.meant / charge:.3g} of its charge")
        if look.moved > allowed(name, what, is_exchange) * charge * (1 + 1e-6):
            found.append(f"{what} moves by {look.moved / charge:.3g} of its charge")
    if one.rng.bit_generator.state != two.rng.bit_generator.state:
        found.append("the row decides how often the caller's random generator is drawn from")
    for path in differences(one.generator, two.generator):
        # Which row has which teacher is drawn apart from the rows; it is as long as there are rows.
        if path != "fit.teacher_of":
            found.append(f"{path} depends on the row")
    return found


def test_every_registered_private_generator_is_probed():
    assert set(SMALL) == {name for name, entry in GENERATORS.items() if "epsilon" in entry.supports}


@every_private
@pytest.mark.parametrize("extreme", EXTREME)
def test_nothing_but_paid_noisy_answers_depends_on_an_exchanged_row(name, extreme):
    first = played(name, extreme)
    assert faults(name, first, exchanged(name, first), is_exchange=True) == []


@pytest.mark.parametrize("name", BLANKING)
def test_nothing_but_paid_noisy_answers_depends_on_a_row_that_is_blanked(name):
    first = played(name)
    assert faults(name, first, blanked(name, first), is_exchange=False) == []


@every_private
def test_the_probe_sees_every_kind_of_query_move_as_far_as_it_is_paid_for(name):
    """So half of the noise, or twice the move, would be found."""
    first = played(name)
    other = exchanged(name, first) if name == "privbayes" else blanked(name, first)
    shares: dict[str, float] = {}
    for (_, charge), look in zip(charged(name, first), looks(name, first, other), strict=True):
        shares[look.kind] = max(shares.get(look.kind, 0.0), look.moved / charge)
    # Scores rarely move by all that they may.
    least = {"gaussian": 0.99, "laplace": 0.49, "step": 0.99, "choice": 1e-6}
    assert shares and all(share > least[kind] for kind, share in shares.items()), shares


def by_renyi(ledger: Ledger) -> float:
    """The epsilon of all queries by Renyi divergences, which never say less than their losses do."""
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    for event, times in ledger.queries.items():
        accountant.compose(event, times)
    return float(accountant.get_epsilon(ledger.delta))


@every_private
def test_all_charges_together_cost_what_the_fit_says_it_spent(name):
    generator = played(name).generator
    epsilon, delta = generator.epsilon_spent, generator.delta_spent
    assert epsilon <= 5.0
    if name == "privbayes":
        assert delta == 0 and sum(amount for _, amount in generator.charges) == pytest.approx(5.0)
        assert epsilon == pytest.approx(5.0)
        return
    assert delta == generator.delta
    if name == "dp-gan":
        assert 0.6 * by_renyi(generator.ledger) < epsilon <= by_renyi(generator.ledger)
        return
    rho = sum(rho for _, rho in generator.charges)
    assert epsilon == pytest.approx(spent(rho, delta)) and epsilon == pytest.approx(5.0, rel=1e-6)
    # Gaussian queries of the same rho: their losses, by the other accountant, are no more than that.
    from dp_accounting import get_epsilon_gaussian

    assert 0.8 * epsilon < get_epsilon_gaussian((2 * rho) ** -0.5, delta) <= epsilon


def test_a_row_has_the_same_random_features_whoever_else_is_in_the_table():
    """As bits, before they are rounded: one row less must not move the others by a grid step."""
    sizes = [2] + [16] * 9
    draw = np.random.default_rng(0)
    codes = np.column_stack([draw.integers(0, size, 100) for size in sizes])
    embedding = Embedding(sizes, 200, 2.0, draw)
    fine = 2.0**40  # the grid is finer than any of their bits
    together = embedding.counted(codes, fine)
    for least, most in ((0, 1), (1, 100), (40, 47)):
        assert (embedding.counted(codes[least:most], fine) == together[least:most]).all()


@pytest.mark.parametrize("name", BLANKING)
def test_the_sentence_says_what_the_exchange_of_a_row_costs(name):
    """From what the probe allows a query to move by: four times rho, or twice; and group privacy."""
    generator = played(name).generator
    epsilon, delta = generator.epsilon_spent, generator.delta_spent
    if name == "dp-gan":
        exchange, chance = 2 * epsilon, min((1 + np.exp(epsilon)) * delta, 1.0)
        said = f"({exchange:.4g}, {chance:.2g})"
    else:
        rho = sum(rho * allowed(name, what, True) for what, rho in generator.charges)
        said = f"({spent(rho, delta):.4g}, {delta:g})"
    assert f"{said} for the exchange of one row for another" in generator.guarantee
    assert generator.guarantee.startswith(
        f"({epsilon:.4g}, {delta:g})-differential privacy for one"
    )


def test_the_pattern_of_an_identifier_is_named_as_not_covered():
    schema = Schema((Column("id", "categorical", "identifier"), Column("b", "boolean")))
    table = pd.DataFrame({"id": [f"P-{i:03d}" for i in range(30)], "b": [True, False] * 15})
    generator = make("mst", {"levels": {"b": [False, True]}, "missing": []})
    said = generator.fit(schema.cast(table), schema, np.random.default_rng(0)).guarantee
    assert said.endswith("was read off the train table and is not covered") and "id" in said
    plain = schema.modelled.plain
    said = generator.fit(plain.cast(table[["b"]]), plain, np.random.default_rng(0)).guarantee
    assert "not covered" not in said


@pytest.mark.parametrize("wrapper", ["reweighed", "per-group"])
def test_a_mitigation_around_a_private_generator_claims_nothing(wrapper):
    """It weighs or parts the rows by their own counts, which nobody paid for."""
    schema = SCHEMA.with_roles(target="c", sensitive=["b"])
    generator = make(wrapper, {"inner": "mst"})
    assert Guarantee.of(generator.fit(table_of(), schema, np.random.default_rng(0))) is None


# What the page says of all this


def named_by_the_page() -> list[str]:
    """Everything that the page's two tables of clauses set as code."""
    page = (ROOT / "docs" / "privacy-compliance.md").read_text()
    section = page.split("<!-- clauses:")[1].split("<!-- end -->")[0]
    return re.findall(r"`([^`]+)`", section)


def test_the_page_of_clauses_names_tests_and_code_that_exist():
    defined = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        found = re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
        defined |= {f"{path.name}::{name}" for name in found}
    tests = [name for name in named_by_the_page() if "::" in name]
    assert len(tests) > 25 and set(tests) <= defined, set(tests) - defined
    code = [name for name in named_by_the_page() if re.match(r"[a-z_]+\.[A-Za-z]", name)]
    code = [name for name in code if "::" not in name]
    assert len(code) > 20
    for name in code:
        module, *attributes = name.split(".")
        thing = import_module(f"workbench.generators.private.{module}")
        for attribute in attributes:
            thing = getattr(thing, attribute)


def test_the_page_of_clauses_has_a_line_for_every_private_generator():
    page = (ROOT / "docs" / "privacy-compliance.md").read_text()
    assert all(f"\n| `{name}` | " in page for name in SMALL)


def test_the_page_shows_the_record_of_private_generators_as_it_is():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import private_record

    page = (ROOT / "docs" / "generators.md").read_text()
    assert private_record.filled(page) == page, (
        "run python benchmarks/private_record.py --write docs/generators.md"
    )
    assert all(f"| `{name}` | " in page for name in private_record.GENERATORS)


# Fits that break a clause


def half_the_noise(self, what, rho, times=1):
    self.charges += [(what, rho)] * times
    return (1 / (2 * rho)) ** 0.5 / 2


def uncharged(self, what, rho, times=1):
    return (1 / (2 * rho)) ** 0.5


def best_without_noise(self, what, scores, rho, noise):
    self.charges.append((what, rho))
    return int(np.argmax(scores))


def choice_of_four_times_epsilon(self, what, scores, rho, noise):
    self.charges.append((what, rho))
    return noise.choice(scores, 1.0, 4 * (8 * rho) ** 0.5)


def counted_twice(states, sizes, node, parents, plain=family_counts):
    return 2 * plain(states, sizes, node, parents)


def votes_of_three(self, first, second=None, plain=Teachers.votes):
    """Every row is a vote too, and has three."""
    return plain(self, first, second) + 3 * self._counts.sum()


def clipped_late(critic, real, clip, plain=dp_gan.clipped_sums):
    return plain(critic, real, 3 * clip)


def by_rows_drawn(self, critic, rows, count, chance, noise, plain=DPGAN._real_gradients):
    """Divides by how many rows were drawn, which is a fact about the table."""
    real = plain(self, critic, rows, count, chance, noise)
    drawn = noise.queries[-1 - len(real)].released
    here = len(drawn) - (getattr(noise, "blank", None) in drawn)
    return [one / max(here, 1) for one in real]


def keeps_counts(self, cells, states, rho, noise, plain=NoisyTables._measure_columns):
    self.seen = np.bincount(states[:, 0], minlength=9)
    return plain(self, cells, states, rho, noise)


def keeps_encoding(self, table, schema, rng, plain=DPGAN.fit):
    """An encoder that was fitted on rows instead of the domain."""
    self.encoding = Marginal.fit(to_float(table["x"].fillna(0)))
    return plain(self, table, schema, rng)


def draws_by_the_row(self, states, epsilon, budget, rng, noise, plain=PrivBayes._choose_parents):
    parents = plain(self, states, epsilon, budget, rng, noise)
    rng.random(int(states.sum()))
    return parents


def noise_by_rows(self, cells, states, rho, noise, plain=NoisyTables._measure_columns):
    return plain(self, cells, states, rho / (1 + states[ROW, 3]), noise)


@pytest.mark.parametrize(
    ("name", "owner", "attribute", "fault", "found"),
    [
        ("mst", Concentrated, "_charge", half_the_noise, "the noise of column costs 4"),
        ("dp-tan", Concentrated, "_charge", half_the_noise, "column moves by 4"),
        ("dp-merf", Concentrated, "_charge", uncharged, "queries and 0 charges"),
        ("aim", Concentrated, "_choose", best_without_noise, "queries and"),
        ("dp-tan", Concentrated, "_choose", choice_of_four_times_epsilon, "the noise of edge"),
        ("mst", tables, "family_counts", counted_twice, "pair moves by"),
        ("privbayes", privbayes, "family_counts", counted_twice, "table of"),
        ("pate-gan", Teachers, "votes", votes_of_three, "vote moves by"),
        ("dp-gan", dp_gan, "clipped_sums", clipped_late, "step moves by"),
        ("dp-gan", DPGAN, "_real_gradients", by_rows_drawn, "depends on the row"),
        ("dp-gan", DPGAN, "fit", keeps_encoding, "fit.encoding"),
        ("dp-merf", NoisyTables, "_measure_columns", keeps_counts, "fit.seen"),
        ("privbayes", PrivBayes, "_choose_parents", draws_by_the_row, "random generator"),
        ("aim", NoisyTables, "_measure_columns", noise_by_rows, "which queries are asked"),
    ],
)
def test_a_fit_that_breaks_a_clause_is_caught(monkeypatch, name, owner, attribute, fault, found):
    monkeypatch.setattr(owner, attribute, fault)
    first = played.__wrapped__(name)
    others = [(exchanged(name, first), True)]
    if name in BLANKING:
        others.append((blanked(name, first), False))
    seen = []
    for other, is_exchange in others:
        seen += faults(name, first, other, is_exchange)
    assert any(found in one for one in seen), seen
