"""Networks on CUDA, without a machine that has it: a second device for torch that keeps its rules."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from second_device import SECOND, second_device
from test_generators import TINY

import workbench
from workbench.generators import make
from workbench.tables.datasets import table_hash
from workbench.tables.schema import Column, Schema

MOVED = ("tvae", "diffusion", "autoregressive", "great")
STAYING = ("gan", "ctgan", "pate-gan", "dp-gan", "dp-merf")
# Short, and with every part switched on: rows held out, dropout, gaps, levels that share a code.
SHORT = {
    "tvae": {"epochs": 1, "width": 16, "embedding": 4},
    "diffusion": {"epochs": 2, "width": 16, "blocks": 1, "steps": 4},
    "autoregressive": {"epochs": 2, "width": 8, "layers": 2, "heads": 2, "max_levels": 3},
    "great": {"checkpoint": "random", "epochs": 1, "width": 8, "layers": 1, "batch_size": 30},
}
SCHEMA = Schema(
    (Column("x", "numeric"), Column("label", "categorical"), Column("yes", "boolean", "target"))
)


def small_table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    x = np.where(draw.random(80) < 0.1, np.nan, draw.normal(size=80).round(1))
    columns = {"x": x, "label": draw.choice(list("abcde"), 80), "yes": draw.random(80) < 0.4}
    return SCHEMA.cast(pd.DataFrame(columns))


def drawn(name: str) -> list[pd.DataFrame]:
    """Rows without and with a condition, and what a fitted object says of rows where it can."""
    table = small_table()
    parameters = SHORT.get(name) or TINY[name]
    generator = make(name, parameters).fit(table, SCHEMA, np.random.default_rng(1))
    tables = [generator.sample(4, np.random.default_rng(2))]
    tables.append(generator.sample(2, np.random.default_rng(3), where={"label": "b"}))
    if hasattr(generator, "log_likelihood"):
        tables.append(pd.DataFrame({"nats": generator.log_likelihood(table)}))
    return tables


@pytest.mark.parametrize("name", MOVED)
def test_networks_learn_and_draw_on_the_second_device_as_on_the_cpu(name, monkeypatch):
    on_cpu = drawn(name)
    with second_device(monkeypatch) as device:
        elsewhere = drawn(name)
    # Not one product is left to the CPU.
    assert device.products["second"] > 100 and device.products["cpu"] == 0
    for ours, theirs in zip(on_cpu, elsewhere, strict=True):
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("name", STAYING)
def test_small_networks_stay_on_the_cpu(name, monkeypatch):
    on_cpu = drawn(name)
    with second_device(monkeypatch) as device:
        elsewhere = drawn(name)
    assert device.products["second"] == 0 < device.products["cpu"]
    assert [table_hash(table) for table in on_cpu] == [table_hash(table) for table in elsewhere]


def test_every_module_that_moves_tensors_is_walked_above():
    folder = Path(workbench.__file__).parent
    using = [
        ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        for path in sorted(folder.rglob("*.py"))
        if "DEVICE" in path.read_text(encoding="utf-8")
    ]
    assert [name.rpartition(".")[2] for name in using] == [
        *("checkpoint", "great"),
        *("autoregressive", "diffusion", "layers", "tvae"),
    ]
    for name in using:
        assert isinstance(importlib.import_module(name).DEVICE, torch.device)


def test_the_second_device_keeps_the_rules_of_cuda(monkeypatch):
    with second_device(monkeypatch) as device:
        there = torch.tensor([1.0, 2.0, 3.0], device=SECOND)
        assert there.device == SECOND and float(there.sum()) == 6
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.ones(3)[torch.tensor([0, 1], device=SECOND)]
        with pytest.raises(RuntimeError, match="two devices"):
            torch.zeros(()).add_(there.sum())
        with pytest.raises(RuntimeError, match="another device"):
            torch.randn(3, generator=torch.Generator(), device=SECOND)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert there[torch.tensor([2])].cpu().numpy().tolist() == [3]
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2, 3, 4]
        assert not device.products
