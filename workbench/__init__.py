"""Compare generators of synthetic tabular data, always evaluated on real rows.

    import workbench as wb
    data = wb.load("loans")
    synthetic = wb.generate("ctgan", data, seed=0)
    wb.evaluate(data, synthetic)

Names are imported when first used, so `import workbench` itself costs a few milliseconds.
"""

__version__ = "0.2.0"

_EXPORTS = {
    "InputError": "workbench.errors",
    "Column": "workbench.tables.schema",
    "Schema": "workbench.tables.schema",
    "Dataset": "workbench.tables.datasets",
    "load": "workbench.tables.datasets",
    "inspect": "workbench.tables.inspection",
    "generate": "workbench.generators",
    "Trial": "workbench.metrics",
    "Row": "workbench.metrics",
    "evaluate": "workbench.metrics.evaluate",
    "combine": "workbench.metrics.combine",
    "audit": "workbench.auditing.audit",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)


def __dir__():
    return sorted([*globals(), *_EXPORTS])
