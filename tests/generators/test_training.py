"""Epochs within a budget of seconds."""

import time

import numpy as np
import pandas as pd
import pytest

from workbench.generators import make
from workbench.generators.training import Diverged, Epochs
from workbench.tables.schema import Column, Schema


def plain(numbers):
    return numbers


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_steps_are_timed(seconds):
    """One epoch of ten seconds ends when the seconds do, and not with the epoch."""
    epochs, start, count, shares = Epochs(3, seconds, plain), time.perf_counter(), 0, []
    for epoch in epochs:
        for step in epochs.steps(1000):
            shares.append(epochs.share(epoch, step, 1000))
            time.sleep(0.01)
            count += 1
    spent = time.perf_counter() - start
    assert seconds <= spent < seconds + 0.3
    assert epochs.done == count / 1000
    assert shares == sorted(shares)
    assert shares[-1] > 0.8, "a schedule ends with the time"


def test_without_seconds_all_epochs_are_trained():
    epochs = Epochs(3, None, plain)
    shares = [epochs.share(epoch, step, 4) for epoch in epochs for step in epochs.steps(4)]
    assert shares == [number / 12 for number in range(12)]
    assert epochs.done == 3


def test_whole_epochs_end_with_the_last_that_fits():
    epochs, start = Epochs(1000, 0.5, plain), time.perf_counter()
    for _ in epochs:
        time.sleep(0.1)
    assert time.perf_counter() - start < 0.65
    assert 2 <= epochs.done <= 5


@pytest.mark.parametrize("name", ["gan", "ctgan", "tvae", "diffusion", "autoregressive"])
def test_a_generator_ends_within_an_epoch(name):
    draw = np.random.default_rng(0)
    schema = Schema((Column("x", "numeric"), Column("c", "categorical")))
    columns = {"x": draw.normal(size=100_000), "c": draw.choice(["a", "b"], 100_000)}
    table = schema.cast(pd.DataFrame(columns))
    done = []
    for seconds in (0.1, 0.4):
        parameters = {"epochs": 1, "seconds": seconds, "batch_size": 20}
        generator = make(name, parameters).fit(table, schema, np.random.default_rng(1))
        done.append(generator.trained.done)
        assert len(generator.sample(5, np.random.default_rng(2))) == 5
    assert 0 < done[0] < done[1] < 1


@pytest.mark.parametrize("name", ["gan", "ctgan", "tvae", "diffusion", "autoregressive"])
def test_a_loss_that_is_no_number_is_told_with_the_cause(name):
    draw = np.random.default_rng(0)
    schema = Schema((Column("x", "numeric"), Column("c", "categorical")))
    table = schema.cast(pd.DataFrame({"x": draw.normal(size=200), "c": ["only"] * 200}))
    parameters = {"epochs": 5, "learning_rate": 1e30}
    with pytest.raises(Diverged, match=r"the loss is \S+ in epoch \d of 5; most likely the l"):
        make(name, parameters).fit(table, schema, np.random.default_rng(1))
