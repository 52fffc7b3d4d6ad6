"""Generators that live in another environment: fitted and sampled in a Jupyter kernel of that
environment, scored in ours.

The other environment needs ipykernel, pandas and pyarrow, and what the generator itself imports.
This package is put at the end of its path, so the same generator file runs in both. Tables travel
as Parquet through a temporary folder.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.batch.kernels import PACKAGE_ROOT, isolated
from workbench.errors import InputError, nearest
from workbench.tables.schema import Schema

SETUP = """
import sys, json
sys.path.append({root!r})
import numpy as np, pandas as pd
from pathlib import Path
from workbench.generators import make
from workbench.tables.schema import Schema
folder = Path({folder!r})
schema = Schema.from_json((folder / "schema.json").read_text(encoding="utf-8"))
model = make({name!r}, json.loads({params!r}))
reason = model.supports(schema)
(folder / "reason.json").write_text(json.dumps(reason))
"""
FIT = """
train = schema.cast(pd.read_parquet(folder / "train.parquet"))
model = model.fit(train, schema, np.random.default_rng({seed}))
names = ("epsilon_spent", "delta_spent", "guarantee", "facts")
claims = {{name: getattr(model, name) for name in names if hasattr(model, name)}}
(folder / "claims.json").write_text(json.dumps(claims, default=float))
"""
SAMPLE = """
where = json.loads({where!r})
synthetic = model.sample({n}, np.random.default_rng({seed}), where=where)
synthetic.to_parquet(folder / "synthetic.parquet", index=False)
"""


@dataclass
class Peer:
    """A generator of the kernel `kernel`: the same three methods, each a message to it."""

    kernel: str
    name: str
    params: Mapping = field(default_factory=dict)

    def supports(self, schema: Schema) -> str | None:
        self._schema = schema
        self._folder = tempfile.TemporaryDirectory(prefix="peer-")
        # Tables travel as files: a message of a large table would be copied several times.
        folder = Path(self._folder.name)
        (folder / "schema.json").write_text(schema.to_json(), encoding="utf-8")
        self._start(folder / "ipc")
        self._run(
            SETUP,
            root=str(PACKAGE_ROOT),
            folder=str(folder),
            name=_from_anywhere(self.name),
            params=json.dumps({key: _from_anywhere(value) for key, value in self.params.items()}),
        )
        return json.loads((folder / "reason.json").read_text())

    def fit(self, table: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> Peer:
        table.to_parquet(Path(self._folder.name, "train.parquet"), index=False)
        self._run(FIT, seed=_seed(rng))
        # What it claims of its privacy has to arrive here, or the cell would have no epsilon.
        vars(self).update(json.loads(Path(self._folder.name, "claims.json").read_text()))
        return self

    def sample(
        self, n: int, rng: np.random.Generator, where: Mapping | None = None
    ) -> pd.DataFrame:
        self._run(
            SAMPLE, n=int(n), seed=_seed(rng), where=json.dumps(dict(where) if where else None)
        )
        return self._schema.cast(pd.read_parquet(Path(self._folder.name, "synthetic.parquet")))

    def _start(self, address: Path) -> None:
        from jupyter_client import KernelManager

        kernel_spec(self.kernel)
        self._manager = KernelManager(kernel_name=self.kernel, transport="ipc", ip=str(address))
        # In an empty folder: a kernel imports, and reads settings, from where it starts.
        place = address.with_name("empty")
        place.mkdir()
        self._manager.start_kernel(cwd=str(place), env=os.environ | isolated(os.environ))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)

    def _run(self, code: str, **values) -> None:
        # Output is passed on, errors are kept: the reply names them without their traceback.
        errors = []

        def hook(message: dict) -> None:
            if message["msg_type"] == "error":
                errors.append(message["content"])
            elif message["msg_type"] == "stream":
                print(message["content"]["text"], end="")

        reply = self._client.execute_interactive(
            code.format(**values), output_hook=hook, store_history=False
        )
        if reply["content"]["status"] != "ok":
            error = errors[0] if errors else reply["content"]
            print("\n".join(error.get("traceback", [])))
            raise RuntimeError(
                f"in kernel {self.kernel!r}: {error.get('ename')}: {error.get('evalue')}"
            )

    def __del__(self):
        # Where it failed to start there is nothing to end.
        if manager := getattr(self, "_manager", None):
            self._client.stop_channels()
            manager.shutdown_kernel(now=True)


def _from_anywhere(value: object) -> object:
    """A plug-in's name "./file.py:Class" with the absolute path, for a kernel that starts elsewhere;
    anything else as it is.
    """
    if not isinstance(value, str):
        return value
    file, _, class_name = value.rpartition(":")
    return f"{Path(file).absolute()}:{class_name}" if file.endswith(".py") else value


def kernel_spec(name: str) -> dict:
    """The kernel's command and environment. Raises InputError naming the known kernels."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel:
        raise InputError(
            f"no Jupyter kernel {name!r}; {nearest(name, manager.find_kernel_specs())}"
        ) from None
    return {"argv": spec.argv, "env": spec.env, "language": spec.language}


def _seed(rng: np.random.Generator) -> list[int]:
    return rng.integers(2**32, size=4).tolist()
