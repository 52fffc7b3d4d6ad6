"""Drawn digits: NIST's and UCI's steps against bitmaps by hand, each component, and a network that
reads scanned ones.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from workbench.errors import InputError
from workbench.generators import make
from workbench.simulators.digit_reader import Reader
from workbench.simulators.digits import PIXELS, STROKES, Digits, count_blocks, even_out, upright
from workbench.tables.schema import Schema

PLAIN = Digits(**dict.fromkeys(Digits.components(), 0))


def drawn(n=400, seed=0, digits=PLAIN):
    return digits.images(n, np.random.default_rng(seed))


def test_a_table_of_digits():
    table = Digits().simulate(700, np.random.default_rng(0))
    assert list(table.columns) == [*PIXELS, "digit"] == list(Digits.columns)
    pixels = table[PIXELS].to_numpy()
    assert pixels.dtype == np.int64 and pixels.min() == 0 and pixels.max() == 16
    assert set(table["digit"]) == set("0123456789")
    assert table.equals(Digits().simulate(700, np.random.default_rng(0)))
    assert not table.equals(Digits().simulate(700, np.random.default_rng(1)))
    assert len(Digits().simulate(0, np.random.default_rng(0))) == 0
    assert len(Digits().simulate(1, np.random.default_rng(0), slant=0.0)) == 1


def test_priors_name_every_component_and_hold_its_default():
    assert list(Digits.priors) == Digits.components()
    assert all(
        prior.low <= getattr(Digits, name) <= prior.high for name, prior in Digits.priors.items()
    )


def test_the_generator_simulation_draws_them():
    table = Digits().simulate(60, np.random.default_rng(0))
    schema = Schema.infer(table, kinds={"digit": "categorical"})
    model = make("simulation", {"simulator": "digits", "calibrate": "none"})
    synthetic = model.fit(table, schema, np.random.default_rng(1)).sample(
        40, np.random.default_rng(2)
    )
    assert list(synthetic.columns) == list(table.columns) and len(synthetic) == 40
    assert synthetic[PIXELS].to_numpy().max() > 8


@pytest.mark.parametrize(
    ("name", "value"), [("slant", -0.1), ("distractors", 1.5), ("noise", float("nan"))]
)
def test_a_spread_out_of_range_is_named(name, value):
    with pytest.raises(InputError, match=name):
        Digits(**{name: value})


def test_without_randomization_a_digit_is_always_the_same():
    images, digits = drawn()
    for digit in range(10):
        assert len(np.unique(images[digits == digit], axis=0)) == 1
    assert len(np.unique(images, axis=0)) == 10


@pytest.mark.parametrize("component", Digits.components())
def test_each_component_alone_changes_the_images(component):
    images, _ = drawn(digits=replace(PLAIN, **{component: getattr(Digits, component)}))
    assert len(np.unique(images, axis=0)) > 15, "ten where nothing changes"


def test_ink_fills_the_box_and_nothing_else():
    black = PLAIN.bitmaps(np.arange(10), np.random.default_rng(0))
    for rows, columns in (
        (slice(2), slice(6, 8)),
        (slice(-2, None), slice(24, 26)),
    ):  # a sharp corner may end a pixel short
        assert black[:, rows].any(axis=(1, 2)).all() and black[:, :, columns].any(axis=(1, 2)).all()
    assert not black[:, :, :6].any() and not black[:, :, 26:].any()


def test_without_preprocessing_a_one_is_narrow():
    ones = np.ones(1, dtype=int)
    narrow = replace(PLAIN, preprocessing=False).bitmaps(ones, np.random.default_rng(0))
    stretched = PLAIN.bitmaps(ones, np.random.default_rng(0))
    assert 2 * narrow.sum() < 1.5 * stretched.sum()


def test_every_line_of_strokes_is_another_digit_drawn():
    lines = STROKES.strip().splitlines()
    images, digits = drawn(4000, digits=replace(PLAIN, variants=1.0))
    assert len(np.unique(np.column_stack([digits, images.reshape(-1, 64)]), axis=0)) == len(lines)


def test_blocks_are_counted():
    black = np.zeros((1, 32, 32), dtype=bool)
    black[0, 4:8, 8:12] = black[0, 0, 0] = True
    counts = count_blocks(black)[0]
    assert counts[1, 2] == 16 and counts[0, 0] == 1 and counts.sum() == 17


@pytest.mark.parametrize(
    ("side", "after"), [(10, 184), (12, 192), (17, 17**2), (20, 20**2), (22, 20**2), (26, 22**2)]
)
def test_thick_ink_is_thinned_and_thin_ink_thickened(side, after):
    """Squares: below 108 pixels two neighbours are added, below 256 one, above 412 one is taken
    away, above 560 two.
    """
    black = np.zeros((1, 32, 32), dtype=bool)
    black[0, 3 : 3 + side, 3 : 3 + side] = True
    assert even_out(black).sum() == after


def test_a_leaning_line_is_put_upright():
    black = np.zeros((1, 32, 32), dtype=bool)
    for row in range(32):
        black[0, row, 8 + row // 2 : 11 + row // 2] = True
    columns = upright(black)[0].argmax(axis=1)
    assert np.ptp(columns) <= 1 and upright(black).sum() == black.sum()
    assert columns[16] == 16, "the middle row stays"


def test_an_empty_bitmap_stays_empty():
    black = np.zeros((2, 32, 32), dtype=bool)
    assert not upright(even_out(black)).any()


def test_a_network_that_saw_drawn_digits_only_reads_scanned_ones():
    rng = np.random.default_rng(0)
    images, digits = Digits().images(5000, rng)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    reader = Reader().fit(images, digits, 150, rng)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    scanned = load_digits()
    assert reader.accuracy(scanned.images, scanned.target) > 0.9
    before = reader.read(scanned.images)
    tuned = replace(reader).fit(
        scanned.images[:100], scanned.target[:100], 5, np.random.default_rng(1)
    )
    assert np.array_equal(reader.read(scanned.images), before), (
        "fine-tuning a copy leaves the first one alone"
    )
    again = replace(reader).fit(
        scanned.images[:100], scanned.target[:100], 5, np.random.default_rng(1)
    )
    weights = [list(one.network.state_dict().values()) for one in (tuned, again)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
