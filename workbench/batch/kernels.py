"""Kernels and workers that import nothing from the folder in which somebody starts them.

A report folder may be a stranger's, and a command may be given inside it: a file pandas.py or
ipykernel_launcher.py that lies there must stay a file. So every interpreter that this package
starts leaves its working directory out of its path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from workbench.batch.keys import PACKAGE

PACKAGE_ROOT = PACKAGE.parent
# Variables that hold a folder, which a user may have given seen from where they are.
PLACES = ("WORKBENCH_DATA", "WORKBENCH_CACHE", "WORKBENCH_LLM_CACHE", "WORKBENCH_REFERENCES")


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set over these environment variables, so that they mean the same in every folder.

    In the import path this package comes first. Relative and empty entries of PYTHONPATH go: they
    stand for whatever the working directory is.
    """
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    entries = [str(PACKAGE_ROOT), *(entry for entry in given if os.path.isabs(entry))]
    path = os.pathsep.join(dict.fromkeys(entries))
    places = {}
    for name in PLACES:
        if environment.get(name):
            places[name] = os.path.abspath(environment[name])
    # From Python 3.11 on, `python -m` then leaves out the working directory, in children too.
    return {**places, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
