"""A second device for torch, for a machine that has none: its tensors are ordinary ones in a shell
that says it lies elsewhere.

It keeps CUDA's rules: an operation takes tensors of one device (a single number that it only reads,
or the indices of a lookup, may lie on the CPU), random numbers come from a generator there, and
only `.cpu()` brings values back. So code that forgets to move a tensor fails here as it would
there, and code that forgets nothing finds the same numbers as on the CPU. What it cannot show is
speed, memory, and kernels that CUDA lacks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# A device that torch knows on every machine, and that has no kernels which could run by mistake.
SECOND = torch.device("meta")
COPY = torch.ops.aten.copy_.default
# CUDA takes the indices of these from the CPU, into a table on its own side.
LOOKUPS = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
)
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "embedding", "_embedding_bag"}


class Elsewhere(torch.Tensor):
    """A tensor on the second device; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        shell = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=SECOND,
        )
        shell.held = held
        return shell

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        # The values are in an attribute, which torch's own assignment would leave as it is.
        if function == torch.Tensor.data.__set__:
            arguments[0].held = arguments[1].held
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(keywords or {}))

    @classmethod
    def __torch_dispatch__(cls, operation, types, arguments=(), keywords=None):
        return run(operation, arguments, keywords or {}, Counter())


class SecondDevice(TorchDispatchMode):
    """Within it, SECOND can be asked for; `products` counts products of matrices and lookups in
    tables of weights, by device.
    """

    def __init__(self):
        super().__init__()
        self.products: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        return run(operation, arguments, keywords or {}, self.products)


def run(operation, arguments: tuple, keywords: dict, products: Counter):
    """One operation of torch on the values, its result where CUDA would have put it."""
    tensors = [leaf for leaf in tree_leaves((arguments, keywords)) if torch.is_tensor(leaf)]
    shells = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.dim()]
    is_lookup = operation in LOOKUPS and isinstance(arguments[0], Elsewhere)
    name = operation.overloadpacket.__name__
    # What an operation writes to lies with the rest, even a single number.
    is_written_here = name.endswith("_") and not isinstance(arguments[0], Elsewhere)
    is_mixed = bool(here) or is_written_here
    if shells and is_mixed and not (is_lookup or operation is COPY):
        raise RuntimeError(f"{operation}: tensors of two devices")
    # A copy stays where it is written to.
    is_elsewhere = isinstance(arguments[0], Elsewhere) if operation is COPY else bool(shells)
    if keywords.get("device") is not None:
        is_elsewhere = torch.device(keywords["device"]) == SECOND
        keywords = keywords | {"device": torch.device("cpu")}
    if name in PRODUCTS:
        products["second" if is_elsewhere else "cpu"] += 1
    result = operation(*tree_map(_opened, arguments), **tree_map(_opened, keywords))
    # What was changed in place stays the same object.
    known = {id(shell.held): shell for shell in shells}
    if not is_elsewhere:
        return result

    def closed(leaf):
        if id(leaf) in known or not torch.is_tensor(leaf):
            return known.get(id(leaf), leaf)
        return Elsewhere(leaf)

    return tree_map(closed, result)


def _opened(leaf):
    return leaf.held if isinstance(leaf, Elsewhere) else leaf


class CpuGenerator(torch.Generator):
    """The random numbers of the CPU, for the device they are wanted on."""

    wanted: torch.device

    def __new__(cls, device="cpu"):
        generator = super().__new__(cls, "cpu")
        generator.wanted = torch.device(device)
        return generator


@contextmanager
def second_device(monkeypatch) -> Iterator[SecondDevice]:
    """The workbench's DEVICE is SECOND in every module that has it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("workbench.") and "DEVICE" in vars(module):
            monkeypatch.setattr(module, "DEVICE", SECOND)
    tensor, randn = torch.tensor, torch.randn

    def tensor_there(values, *, device=None, **keywords):
        # torch would fill no tensor of this device from a list.
        return tensor(values, **keywords).to(device or "cpu")

    def randn_there(*size, generator, device, **keywords):
        if generator.wanted != device:
            raise RuntimeError("randn: a generator of another device")
        return randn(*size, generator=generator, device=device, **keywords)

    monkeypatch.setattr(torch, "tensor", tensor_there)
    monkeypatch.setattr(torch, "randn", randn_there)
    monkeypatch.setattr(torch, "Generator", CpuGenerator)
    with SecondDevice() as device:
        yield device
