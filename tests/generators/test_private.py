"""What every private generator promises, clause by clause: noise that nobody can repeat, a domain
that shows no row, labels pooled by noisy counts, and a sentence that says what is covered.
"""

import os

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from workbench.errors import InputError
from workbench.generators import GENERATORS, make
from workbench.generators.private.domain import Cells, Domain
from workbench.generators.private.marginals import pool_numbers
from workbench.generators.private.noise import Noise
from workbench.metrics import Guarantee
from workbench.metrics.privacy import empirical_epsilon
from workbench.tables.datasets import load, table_hash
from workbench.tables.public import PUBLIC
from workbench.tables.schema import Column, Schema

SMALL = {
    "privbayes": {},
    "mst": {},
    "dp-tan": {},
    "aim": {"steps": 5, "rounds": 1},
    "dp-merf": {"epochs": 1, "batch_size": 50, "features": 20, "width": 8, "noise": 4},
    "pate-gan": {"teachers": 4, "rounds": 2, "width": 16, "noise": 8},
    "dp-gan": {"epochs": 2, "steps": 2, "batch_size": 100, "width": 16, "noise": 8},
}
every_private = pytest.mark.parametrize("name", SMALL)
SCHEMA = Schema(
    (
        Column("x", "numeric"),
        Column("k", "integer"),
        Column("c", "categorical", "target"),
        Column("b", "boolean"),
        Column("d", "datetime"),
    )
)
DECLARED = {
    "bounds": {"x": (0, 10, 0.5), "k": (0, 5), "d": ("2020-01-01", "2020-12-31", 86400.0)},
    "levels": {"c": ["u", "v"], "b": [False, True]},
    "missing": [],
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table_of(rows: int = 60, **strange) -> pd.DataFrame:
    """Rows inside the declared domain, the last one with the values given."""
    draw = rng(0)
    table = pd.DataFrame(
        {
            "x": draw.integers(0, 21, rows) / 2,
            "k": draw.integers(0, 6, rows),
            "c": draw.choice(["u", "v"], rows),
            "b": draw.random(rows) < 0.5,
            "d": pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 300, rows), "D"),
        }
    ).astype({"k": "Int64", "b": "boolean"})
    for column, value in strange.items():
        table.loc[rows - 1, column] = value
    return SCHEMA.cast(table)


def fitted(name: str, table: pd.DataFrame, **settings):
    return make(name, SMALL[name] | settings).fit(table, SCHEMA, rng(1))


def test_every_registered_private_generator_is_tested_here():
    assert set(SMALL) == {name for name, entry in GENERATORS.items() if "epsilon" in entry.supports}


# The noise


@every_private
def test_an_attacker_who_knows_the_seed_and_all_rows_but_one_finds_the_row_only_where_noise_is_seeded(
    name,
):
    """He fits both tables that are possible with the seed he has read, and looks which one gives
    the published rows.
    """
    tables = [table_of(c=label, x=x) for label, x in (("u", 0.0), ("v", 10.0))]

    def rows_of(table, noise_seed):
        return table_hash(
            fitted(name, table, noise_seed=noise_seed, **DECLARED).sample(200, rng(2))
        )

    # His own fits are the same whatever was published.
    guessed = [rows_of(table, 7) for table in tables]
    found = {None: 0, 7: 0}
    for noise_seed in found:
        for secret in (0, 1):
            found[noise_seed] += rows_of(tables[secret], noise_seed) == guessed[secret]
    assert found == {None: 0, 7: 2}


@every_private
def test_fits_with_the_same_random_generator_differ_unless_their_noise_is_seeded(name):
    fresh = [table_hash(fitted(name, table_of()).sample(300, rng(2))) for _ in range(2)]
    assert fresh[0] != fresh[1]
    known = [fitted(name, table_of(), noise_seed=3).sample(300, rng(2)) for _ in range(2)]
    assert table_hash(known[0]) == table_hash(known[1])


@every_private
def test_a_known_seed_guarantees_nothing_and_says_so(name):
    generator = fitted(name, table_of(), noise_seed=3, **DECLARED)
    assert generator.guarantee.startswith("no guarantee: the seed is known (3)")
    assert Guarantee.of(generator) is None and generator.facts["noise"] == "seed 3"
    fresh = fitted(name, table_of(), **DECLARED)
    assert Guarantee.of(fresh).epsilon <= 1 and fresh.facts["noise"] == "operating system"


@pytest.mark.parametrize("deviation", [0.4, 3.0, 60.0, 5000.0])
def test_discrete_gaussian_noise_has_its_closed_form(deviation):
    draws = Noise(1).discrete_gaussian(deviation, (6000,))
    assert (draws == np.round(draws)).all()
    reach = int(12 * deviation) + 2
    support = np.arange(-reach, reach + 1)
    chances = np.exp(-(support**2) / (2 * deviation**2))
    assert fits(draws, support, chances)
    assert not fits(draws, support, np.exp(-(support**2) / (2 * (1.15 * deviation) ** 2)))


@pytest.mark.parametrize("scale", [0.5, 4.0, 90.0])
def test_discrete_laplace_noise_has_its_closed_form(scale):
    draws = Noise(1).discrete_laplace(scale, (6000,))
    support = np.arange(-int(30 * scale) - 2, int(30 * scale) + 3)
    assert fits(draws, support, np.exp(-np.abs(support) / scale))
    assert not fits(draws, support, np.exp(-np.abs(support) / (1.15 * scale)))


def fits(draws: np.ndarray, support: np.ndarray, chances: np.ndarray) -> bool:
    """Whether a chi-squared test of about twenty cells lets the chances pass at 0.1%."""
    order = np.cumsum(chances / chances.sum())
    cell = np.minimum((order - 1e-12) * 20, 19).astype(int)
    expected = np.bincount(cell, chances / chances.sum(), minlength=20)
    seen = np.bincount(cell[np.searchsorted(support, draws)], minlength=20)
    used = expected > 0
    return chisquare(seen[used], expected[used] / expected.sum() * len(draws)).pvalue > 1e-3


def test_uniform_whole_numbers_of_any_length_are_even():
    for limit in (3, 2**54 + 1, 2**90):
        kind = object if limit > 2**62 else np.int64
        drawn = Noise(2).below(np.full(3000, limit, dtype=kind))
        thirds = np.array([int(3 * int(value) // limit) for value in drawn])
        assert np.abs(np.bincount(thirds, minlength=3) / 3000 - 1 / 3).max() < 0.035
        assert min(drawn) >= 0 and max(drawn) < limit


def test_noise_in_floating_point_has_its_scale():
    normal, laplace = Noise(1).normal(3.0, (100, 201)), Noise(1).laplace(2.0, 20_000)
    assert normal.shape == (100, 201) and normal.std() == pytest.approx(3, rel=0.02)
    assert np.abs(laplace).mean() == pytest.approx(2, rel=0.03) and abs(laplace.mean()) < 0.1
    share = len(Noise(1).subset(50_000, 0.3)) / 50_000
    assert share == pytest.approx(0.3, abs=0.01) and len(Noise(1).subset(10, 1.0)) == 10


# The domain


STRANGE = {
    "a gap in numbers": ({"x": np.nan}, {"x": 0.0}),
    "a gap in whole numbers": ({"k": pd.NA}, {"k": 0}),
    "a gap in labels": ({"c": None}, {"c": "u"}),
    "a gap in truths": ({"b": pd.NA}, {"b": False}),
    "a gap in dates": ({"d": pd.NaT}, {"d": pd.Timestamp("2020-01-01")}),
    "a label": ({"c": "secret"}, {"c": "u"}),
    "a large number": ({"x": 1e300}, {"x": 10.0}),
    "a small whole number": ({"k": -(2**60)}, {"k": 0}),
    "a late date": ({"d": pd.Timestamp("2200-01-01")}, {"d": pd.Timestamp("2020-12-31")}),
}


@every_private
@pytest.mark.parametrize("case", STRANGE)
def test_what_was_not_declared_neither_fails_nor_shows(name, case):
    """The same bytes as of a table with the declared value in its place."""
    strange, plain = STRANGE[case]
    tables = []
    for given in (strange, plain):
        generator = fitted(name, table_of(**given), noise_seed=5, **DECLARED)
        tables.append(generator.sample(100, rng(2)))
    assert table_hash(tables[0]) == table_hash(tables[1])
    assert SCHEMA.check(tables[0]) == [] and not tables[0].isna().any(axis=None)


@every_private
def test_one_row_and_a_column_without_values_are_fitted(name):
    table = table_of(1, x=np.nan)
    drawn = fitted(name, table, bounds={"k": (0, 5)}).sample(20, rng(2))
    assert drawn["x"].isna().all() and drawn["k"].between(0, 5).all()


@every_private
def test_constraints_are_refused_since_they_would_publish_a_value(name):
    schema = Schema((Column("low", "numeric"), Column("high", "numeric")), None, ["low <= high"])
    table = schema.cast(pd.DataFrame({"low": [np.nan] * 29 + [17.25], "high": [20.0] * 30}))
    generator = make(name, SMALL[name])
    assert "would be read off the rows" in generator.supports(schema)
    with pytest.raises(InputError, match="leave the constraints out"):
        generator.fit(table, schema, rng())


@every_private
def test_the_sentence_counts_schema_and_rows_as_public_and_fits_as_adding_up(name):
    said = fitted(name, table_of(), **DECLARED).guarantee
    assert "the schema and the number of rows count as public" in said
    assert "every further fit on these rows adds its own epsilon" in said
    assert "exchange of one row" in said, "the number of rows is released"
    assert "not covered" not in said
    assert "exact integer noise" in said or "floating point" in said
    read = fitted(name, table_of()).guarantee
    assert read.endswith(
        "; the domain of x, k, c, b, d was read off the train table and is not covered"
    )


def test_blanking_costs_less_than_exchange_and_both_are_said():
    from workbench.generators.private.accounting import spent

    generator = fitted("mst", table_of(), epsilon=1.0, delta=1e-6, **DECLARED)
    rho = sum(rho for _, rho in generator.charges)
    assert f"({spent(4 * rho, 1e-6):.4g}, 1e-06) for the exchange" in generator.guarantee
    assert f"({generator.epsilon_spent:.4g}, 1e-06)-differential privacy" in generator.guarantee


@pytest.mark.parametrize("name", ["privbayes", "mst"])
def test_a_common_label_beyond_the_limit_is_kept_whatever_its_name(name):
    schema = Schema((Column("c", "categorical"),))
    levels = [f"a{i:03d}" for i in range(100)] + ["zebra"]
    values = ["zebra"] * 900 + levels[:100]
    table = schema.cast(pd.DataFrame({"c": values}))
    settings = {"epsilon": 5.0, "levels": {"c": levels}, "missing": [], "max_levels": 20}
    drawn = make(name, settings).fit(table, schema, rng()).sample(2000, rng(1))
    assert abs((drawn["c"] == "zebra").mean() - 0.9) < 0.05


def test_gans_choose_their_levels_by_noisy_counts_that_are_charged():
    from workbench.generators.private.accounting import Ledger, choose_common_levels

    schema = Schema((Column("c", "categorical"), Column("e", "categorical")))
    levels = [f"a{i:03d}" for i in range(30)] + ["zebra"]
    table = schema.cast(pd.DataFrame({"c": ["zebra"] * 500 + levels[:30] * 5, "e": "x"}))
    domain = Domain(table, schema, {}, {"c": levels, "e": ["x"]}, [])
    ledger = Ledger(4.0, 1e-5)
    left = choose_common_levels(domain, table, 10, ledger, Noise(0))
    assert left == pytest.approx(3.6) and 0.3 < ledger.cost() <= 0.4
    assert "zebra" in set(domain.common("c")) and len(domain.common("c")) == 9
    counts = domain.table["c"].value_counts()
    assert counts[domain.common("c")].min() > counts.drop(domain.common("c")).max()
    assert choose_common_levels(domain, table, 50, Ledger(4.0, 1e-5), Noise(0)) == 4.0


def test_numbers_stay_in_their_cell_and_labels_come_back():
    domain = Domain(table_of(), SCHEMA, DECLARED["bounds"], DECLARED["levels"], ["x", "c"])
    for bins, tails in ((4, False), (16, True), (64, True)):
        cells = Cells(domain, bins, tails)
        draw = rng(3)
        codes = [draw.integers(0, size, 500) for size in cells.sizes]
        allowed = zip(codes, cells.allowed, strict=True)
        codes = [np.where(shown[code], code, 0) for code, shown in allowed]
        codes = np.column_stack(codes)
        decoded = cells.decode(codes, rng(4))
        assert SCHEMA.check(decoded) == [] and (cells.encode(decoded) == codes).all()


def test_bins_of_about_equal_weight_come_from_noisy_counts():
    counts = np.array([900.0, 3, -2, 1, 40, 60, 55, 45, 0, 0, 0, 5])
    pool = pool_numbers(counts, np.append(np.full(11, True), True), 3, 1.0)
    sums = pool.sums(counts)
    assert sums[0] == 900 and pool.group[0] != pool.group[1], "a heavy cell stays alone"
    assert pool.group[-1] == pool.size - 1 and (pool.group[-1] != pool.group[:-1]).all()
    assert np.bincount(pool.group, pool.share) == pytest.approx(np.ones(pool.size))
    assert pool.size == 4


@pytest.mark.parametrize("inner", ["cart", "mst"])
def test_a_condition_tells_which_labels_train_holds_only_where_nothing_private_is_inside(inner):
    from workbench.generators import is_private

    schema = SCHEMA.with_roles(target="c", sensitive=["b"])
    generator = make("reweighed", {"inner": inner}).fit(table_of(), schema, rng())
    assert is_private(generator) == (inner == "mst")
    with pytest.raises(InputError) as refused:
        generator.sample(5, rng(1), where={"c": "z"})
    assert ("no train row has 'z'" in str(refused.value)) == (inner == "cart")


# Published domains


@pytest.mark.parametrize("name", PUBLIC)
def test_a_published_domain_covers_its_dataset_and_leaves_nothing_to_read(name):
    if name != "loans" and "WORKBENCH_DATA" not in os.environ:
        pytest.skip(f"{name} is read from a folder: WORKBENCH_DATA names none")
    data = load(name)
    generator = make("mst", {"domain": "public"}).fit(data.train, data.schema, rng())
    known = PUBLIC[name]
    named = ", ".join(known["undocumented"])
    assert generator.guarantee.endswith(
        f"; the bounds of {named} are from no document and are not covered"
    )
    assert generator.facts["domain"] == "published, but for some bounds"
    declared = {column: known["bounds"][column] for column in known["undocumented"]}
    vouched = make("mst", {"domain": "public", "bounds": declared})
    assert "not covered" not in vouched.fit(data.train, data.schema, rng()).guarantee
    domain = Domain(data.train, data.schema, known["bounds"], known["levels"], known["missing"])
    # Bounds are not taken from the rows, so a few of them lie outside.
    inside = domain.restrict(data.train).to_numpy(dtype=object, na_value=None)
    moved = inside != data.train.to_numpy(dtype=object, na_value=None)
    assert moved.mean(axis=0).max() < 0.01


def test_a_published_domain_that_does_not_exist_is_refused():
    reason = make("mst", {"domain": "public"}).supports(SCHEMA)
    assert "no named dataset with a published domain has these columns" in reason
    assert 'give "public"' in make("mst", {"domain": "adult"}).supports(SCHEMA)


# One row, attacked


def audit_dp_gan(monkeypatch, epsilon: float, share: float, fits: int = 14) -> float:
    """What an attacker proves who sees made rows, and knows all rows but whether one is there."""
    schema = Schema((Column("x", "numeric"),))
    settings = {"bounds": {"x": (0, 1)}, "missing": [], "epsilon": epsilon, "epochs": 1}
    settings |= {"steps": 20, "batch_size": 4, "width": 4, "noise": 4, "learning_rate": 0.05}
    plain = Noise.normal
    monkeypatch.setattr(Noise, "normal", lambda self, s, size: share * plain(self, s, size))
    means = []
    for values in ([0.0] * 3 + [1.0], [0.0] * 4):
        table = schema.cast(pd.DataFrame({"x": values}))
        fitted = [make("dp-gan", settings).fit(table, schema, rng(i)) for i in range(fits)]
        means.append(np.array([one.sample(50, rng(9))["x"].mean() for one in fitted]))
    monkeypatch.undo()
    return empirical_epsilon(*means, float(np.median(np.concatenate(means))), 1e-5)


def test_dp_gan_passes_a_canary_audit_and_one_without_noise_does_not(monkeypatch):
    assert audit_dp_gan(monkeypatch, 0.5, 1.0) <= 0.5
    assert audit_dp_gan(monkeypatch, 0.5, 0.0) > 0.5
