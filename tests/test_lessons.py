"""What a lesson asserts holds at other seeds than its own: whoever changes them meets no failed
assertion, and reads no sentence that was true by chance.
"""

import json
from pathlib import Path

import numpy as np
import papermill
import pytest

LESSONS = Path(__file__).parents[1] / "notebooks"
# Lessons 10 and 14 number their repetitions themselves.
SEEDED = sorted(
    path.name for path in LESSONS.glob("[0-9]*.ipynb") if path.name[:2] not in ("10", "14")
)
LISTS = {"06": ("seeds", [10, 11]), "08": ("seeds", [3, 4, 5]), "09": ("splits", [2, 3])}


def parameters_of(name: str) -> dict:
    key, value = LISTS.get(name[:2], ("seed", 1))
    return {key: value}


@pytest.mark.parametrize("name", SEEDED)
def test_a_lesson_takes_other_seeds(name):
    cells = json.loads((LESSONS / name).read_text())["cells"]
    parameters = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    assert all(f"{key} = " in "".join(parameters[0]["source"]) for key in parameters_of(name))


@pytest.mark.long
@pytest.mark.parametrize("name", SEEDED)
def test_a_lesson_holds_at_another_seed(name, tmp_path):
    papermill.execute_notebook(
        LESSONS / name,
        tmp_path / name,
        parameters=parameters_of(name),
        cwd=LESSONS,
        kernel_name="python3",
        progress_bar=False,
    )


def run_cells(name: str, ids: tuple[str, ...], names: dict) -> dict:
    """What the names mean after these cells of a lesson."""
    cells = json.loads((LESSONS / name).read_text())["cells"]
    code = {cell["id"]: "".join(cell["source"]) for cell in cells}
    for one in ids:
        exec(code[one].replace("%matplotlib inline", ""), names)
    return names


@pytest.mark.long
def test_twelve_seeds_of_detectors_read_what_lesson_11_says():
    """Its figures are of seeds 0 to 11: what one world, 24 worlds and six of as many rows teach."""
    lesson, gains = "11-simulation.ipynb", []
    for seed in range(12):
        sizes = {"seed": seed, "worlds": 24, "payments": 1000}
        many = run_cells(lesson, ("sim01", "sim15", "sim17", "sim18"), sizes)
        six = run_cells(lesson, ("sim17",), many | {"worlds": 6, "payments": 4000})
        # Six worlds in place of the one, scored in the same unseen worlds.
        several = run_cells(lesson, ("sim18",), many | {"fixed": six["randomized"]})
        one, all_worlds, six_worlds = (
            found["scores"][column].mean()
            for found, column in ((many, "one world"), (many, "randomized"), (several, "one world"))
        )
        gains.append((all_worlds - one, six_worlds - one))
    mean, error = np.mean(gains, axis=0), np.std(gains, axis=0, ddof=1) / np.sqrt(12)
    assert mean.round(2).tolist() == [0.02, -0.01] and error.round(2).tolist() == [0.01, 0.01]
    assert (np.array(gains)[:, 0] < 0).sum() == 3
