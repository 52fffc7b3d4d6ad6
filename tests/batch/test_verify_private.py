"""Cells of private generators under `verify`: fresh noise cannot be repeated, and is not called
different for that; a known seed can.
"""

import pytest
from batch_helpers import report, stub_notebook

from workbench.batch import grid
from workbench.batch.folder import Folder
from workbench.batch.runner import run
from workbench.batch.verify import _compare_private, verify


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "NOTEBOOK", stub_notebook(folder))
        rows = ["'mst'", "{name = 'mst', params = {noise_seed = 3}}"]
        report(folder / "report", rows)
        run(folder / "report", workers=1, progress=False)
        yield folder / "report"


def manifests(folder) -> dict:
    home = Folder(folder)
    found = [home.manifest(key) for key in home.finished()]
    return {record["facts"]["noise"]: record for record in found}


def test_the_record_of_a_cell_says_where_its_noise_is_from(finished):
    stored = manifests(finished)
    assert set(stored) == {"operating system", "seed 3"}
    fresh, known = stored["operating system"]["facts"], stored["seed 3"]["facts"]
    assert 0 < fresh["epsilon"] <= 1 and fresh["delta"] == 1e-9
    assert fresh["domain"] == "read off train"
    assert known["guarantee"].startswith("no guarantee: the seed is known")


def test_fresh_noise_is_not_reproducible_by_design_and_a_known_seed_is(finished):
    verdicts = verify(finished, workers=1, progress=False).set_index("label")["verdict"]
    assert verdicts["mst"] == "not reproducible by design"
    assert verdicts.drop("mst").tolist() == ["identical"]


def test_what_can_be_compared_is_compared(finished):
    record = manifests(finished)["operating system"]
    place = Folder(finished).cell_rows(record["key"])
    assert _compare_private(place, place, record, record)[0] == "not reproducible by design"
    other = record | {"facts": record["facts"] | {"epsilon": 0.5}}
    verdict, detail = _compare_private(place, place, other, record)
    assert verdict == "different" and detail.startswith("epsilon: 0.5 then")
    # Which groups vanish depends on the noise; which metrics there are does not.
    some = place.groupby("metric").head(1)
    assert _compare_private(place, some, record, record)[0] == "not reproducible by design"
    lacking = place[place["metric"] != place["metric"].iloc[0]]
    verdict, detail = _compare_private(place, lacking, record, record)
    assert verdict == "different" and "other metrics" in detail
