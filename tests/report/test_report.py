"""The report page: statistics over seeds held against closed forms, and the page read back as a
reader would.
"""

import base64
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from batch_helpers import seal
from scipy import stats
from test_replication import published as write_results

from workbench import files
from workbench.batch import folder as batch_folder
from workbench.batch.folder import Folder, plan_text
from workbench.cli import main
from workbench.errors import InputError
from workbench.metrics import METRICS, Row
from workbench.metrics.rows import read_rows, to_table, write_rows
from workbench.report import (
    changes,
    comparison,
    index,
    sections,
    uses,
)
from workbench.report.headlines import aggregate, half_width, headlines
from workbench.report.publish import report, section_makers
from workbench.report.uses import USES, verdicts

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
GENERATORS = ("independent", "cart", "copy")


def cell_rows(generator, seed, sensitive=True, regression=False, column="income"):
    """Rows of one cell in the shape that `evaluate` gives them, with values that depend on
    generator and seed.
    """
    rng = np.random.default_rng([seed, *generator.encode()])
    rows = []

    def add(metric, value, half=0.02, **about):
        rows.append(Row(metric, value, value - half, value + half, **about))

    for name in (column, "age", "purpose"):
        add("marginals", rng.uniform(0.6, 0.99), column=name)
    add("marginals", rng.uniform(0.7, 0.9))
    add("worst_column", rng.uniform(0.4, 0.6), column=str(rng.choice([column, "age"])))
    add("utility_ratio", 0.97 if generator == "cart" else 0.3 + 0.01 * rng.normal())
    rows.append(
        Row(
            "pair_trends",
            0.5,
            state="not-informative",
            note="not informative: floor and ceiling are 0.01 apart",
        )
    )
    inapplicable = "tstr_auc" if regression else "tstr_r2"
    rows.append(
        Row(
            inapplicable,
            np.nan,
            state="not-applicable",
            note=f"not applicable: the target holds {'numbers' if regression else 'labels'}.",
        )
    )
    for metric in ("bias_amp", "equalized_odds_shift", "representation"):
        if not sensitive:
            rows.append(
                Row(
                    metric,
                    np.nan,
                    state="not-applicable",
                    note="not applicable: no sensitive column declared",
                )
            )
            continue
        add(metric, 0.03, half=0.01)
        add(metric, 0.03 + 0.001 * rng.normal(), half=0.01, column="race")
        for group in ("race=black", "race=white"):
            add(metric, 0.04 * rng.normal(), column="race", group=group)
    rows.append(Row("vanished_groups", 0.0))
    rows.append(Row("c2st", np.nan, state="insufficient", note="insufficient: 12 rows, 30 needed"))
    add("excess_copies", 1.0 if generator == "copy" else 0.0, half=0.001)
    add("dcr_share", 1.0 if generator == "copy" else 0.5)
    table = to_table(rows)
    return table.assign(
        floor=np.where(table["value"].isna(), np.nan, 0.2),
        ceiling=np.where(table["value"].isna(), np.nan, 0.95),
    )


def write_report(folder, datasets=("loans",), generators=GENERATORS, seeds=2, failed=(), **kind):
    """A report folder as the batch leaves it; `failed` maps (generator, seed) to (status, phase,
    reason).
    """
    failed, planned = dict(failed), []
    for dataset in datasets:
        for generator in generators:
            for seed in range(seeds):
                key = f"{len(planned):064x}"
                cell = {
                    "dataset": dataset,
                    "generator": generator,
                    "label": generator,
                    "params": {},
                    "seed": seed,
                    "key": key,
                }
                planned.append(cell | {"kernel": "", "rows": None})
                status, phase, reason = failed.get((generator, seed), ("ok", "", ""))
                if status == "pending":
                    continue
                home = (
                    folder / "runs" / key
                    if status in ("ok", "skipped")
                    else folder / "failed" / f"{key}-1"
                )
                home.mkdir(parents=True)
                record = {
                    "key": key,
                    "cell": cell | {"kernel": "", "rows": None},
                    "status": status,
                    "phase": phase,
                    "reason": reason,
                    "attempts": [{}],
                    "phases": {"fit": 1.5, "sample": 0.1, "evaluate": 2.0},
                    "seconds": 4.0,
                    "peak_mb": 321.0,
                    "threads": 1,
                    "rows": 90,
                    "train_rows": 100,
                    "test_rows": 50,
                    "versions": {"numpy": "2.4"},
                    "cpu": "Some CPU",
                    "python": "3.11",
                    "started": "2026-01-01T00:00:00Z",
                    # A cell without rows has no hashes of them.
                    "hashes": {"synthetic": "ab" * 32, "rows": "cd" * 32} if status == "ok" else {},
                }
                (home / "manifest.json").write_text(json.dumps(record))
                if status == "ok":
                    write_rows(cell_rows(generator, seed, **kind), home / "rows.parquet")
                    (home / "synthetic.parquet").write_bytes(b"")
                seal(home)
    (folder / "plan.json").write_text(plan_text({"title": "loans", "cells": planned}))
    return folder


class Page(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and all text outside
    of styles.
    """

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._style = [], [], False
        self.feed(text)
        self.text = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._style = tag in ("style", "script")

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if not self._style:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def pieces(batch):
    return {maker.__name__: str(maker(batch)) for maker in section_makers()}


@pytest.fixture(scope="module")
def report_page(tmp_path_factory):
    """A page made end to end by papermill and nbconvert, from a batch with one failed cell."""
    folder = write_report(
        tmp_path_factory.mktemp("a folder with a long name and spaces " + "x" * 120) / "loans",
        failed={("cart", 1): ("timeout", "fit", "stopped after 60 s")},
    )
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    assert main(["report", str(folder)]) == 0
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before, (
        "the kernel is gone"
    )
    return folder / "index.html"


def test_page_stands_alone(report_page):
    text = report_page.read_text(encoding="utf-8")
    page = Page(text)
    assert report_page.stat().st_size < 5e6
    assert (
        page.all("html")[0]["lang"] == "en"
        and "loans" in text[text.index("<title>") : text.index("</title>")]
    )
    policy = [
        meta["content"]
        for meta in page.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
        f" 'sha256-{digest}';" in policy[0]
    )
    assert page.all("script") == [{}] and not page.all("link") and not page.all("iframe")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(re.match("#|runs/|failed/", anchor["href"]) for anchor in page.all("a"))
    assert "@import" not in text and "url(" not in text
    assert "report.Batch.read" not in page.text and "import" not in page.text.split()


def test_page_reads_without_eyes(report_page):
    text = report_page.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("img")) >= 10
    assert all(len(image.get("alt", "")) > 30 for image in page.all("img"))
    assert "No description has been provided" not in text
    assert (
        len(
            {anchor["href"][1:] for anchor in page.all("a") if anchor["href"][0] == "#"}
            - {attributes.get("id") for _, attributes in page.elements}
        )
        == 0
    )
    assert all(header.get("scope") in ("row", "col") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(
        box.get("tabindex") == "0" and box.get("aria-label")
        for box in page.all("div")
        if box.get("role") == "region"
    )
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level is skipped"


def test_page_tells_everything_in_order(report_page):
    page = Page(report_page.read_text(encoding="utf-8"))
    sentences = [
        "5 of 6 cells finished, 1 timeout",
        "Leaderboard",
        "Which use is shown?",
        "Train a model in place of the real rows",
        "Scores between floor and ceiling",
        "Useful, or just close",
        "All scores",
        "Who is treated differently?",
        "What mitigation buys",
        "Is one generator better than another?",
        "best ★",
        "Columns that are kept worst",
        "Run facts",
        "stopped after 60 s",
        "50%, 1 of 2",
        "How to read the numbers",
    ]
    places = [page.text.rfind(words) for words in sentences]
    assert -1 not in places
    assert "Cart meets every gate; independent fails on utility ratio" in page.text
    assert "not informative" in page.text and "floor and ceiling are 0.01 apart" in page.text
    assert "12 rows, 30 needed" in page.text and "TSTR R2 (the target holds labels)" in page.text
    assert "Version of numpy" in page.text and "321" in page.text


def test_page_and_notebook_are_made_as_one_and_leave_nothing(report_page):
    assert sorted(path.name for path in report_page.parent.iterdir()) == [
        "failed",
        "index.html",
        "plan.json",
        "report.ipynb",
        "runs",
    ]
    executed = nbformat.read(report_page.parent / "report.ipynb", 4)
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in executed.cells)


def test_a_failing_notebook_keeps_the_old_page(tmp_path):
    folder = write_report(tmp_path)
    (folder / "index.html").write_text("old")
    shutil.rmtree(folder / "runs")
    for manifest in folder.glob("failed/*/manifest.json"):
        manifest.unlink()
    plan = folder / "plan.json"
    plan.write_text(plan.read_text()[:-20])
    with pytest.raises(InputError, match=r"plan\.json is no JSON text"):
        report(folder)
    assert (folder / "index.html").read_text() == "old"
    assert not list(folder.glob(".report-*"))


def test_a_manifest_is_opened_once(tmp_path, monkeypatch):
    opened = []
    plain = files.open_own
    for module in (files, batch_folder):
        monkeypatch.setattr(
            module, "open_own", lambda path, most: opened.append(path) or plain(path, most)
        )
    home = batch_folder.Folder(write_report(tmp_path))
    assert set(home.statuses(cell["key"] for cell in home.plan["cells"]).values()) == {"ok"}
    for name in ("manifest.json", "DONE"):
        assert sum(path.name == name for path in opened) == len(home.plan["cells"]), name


def test_no_folder_and_no_plan_are_told(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        report(tmp_path / "none")
    with pytest.raises(InputError, match=r"plan\.json"):
        report(tmp_path)


def test_hostile_names_stay_text(tmp_path):
    names = [HOSTILE, "x" * 500, "\u202eright-to-left", "🦊 $x^2$ & \\frac"]
    write_report(
        tmp_path,
        datasets=names[:1],
        generators=names,
        seeds=1,
        column=HOSTILE,
        failed={(names[1], 0): ("error", "fit", HOSTILE)},
    )
    sections_html = pieces(sections.Batch.read(tmp_path))
    page = Page("".join(sections_html.values()))
    assert not page.all("script")
    assert all(
        set(image) == {"width", "height", "alt", "src", "data-file"} for image in page.all("img")
    )
    assert page.text.count(HOSTILE) > 5
    assert all(name in page.text for name in names)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"sensitive": False}, "no sensitive column declared"),
        ({"regression": True}, "the target holds numbers"),
        ({"generators": ("cart",), "seeds": 1}, "1 generator · 1 seed each"),
        (
            {"failed": {(g, s): ("error", "fit", "boom") for g in GENERATORS for s in (0, 1)}},
            "0 of 6 cells finished, 6 error",
        ),
        (
            {"failed": {("cart", 0): ("pending", "", ""), ("cart", 1): ("pending", "", "")}},
            "2 of 2 pending",
        ),
        (
            {"failed": {("cart", s): ("skipped", "fit", "wants labels") for s in (0, 1)}},
            "wants labels",
        ),
    ],
)
def test_partial_and_small_batches(tmp_path, kind, words):
    sections_html = pieces(sections.Batch.read(write_report(tmp_path, **kind)))
    page = Page("".join(sections_html.values()))
    assert words in page.text
    cells = [
        cell.strip()
        for text in sections_html.values()
        for cell in re.findall(r"<td>(.*?)</td>", text)
    ]
    assert not {"", "nan", "None", "&lt;NA&gt;", "NaT"} & set(cells), "a gap is told in words"


def test_what_repeats_other_readings_is_folded_away(tmp_path):
    batch = sections.Batch.read(write_report(tmp_path, seeds=1))
    for piece in (sections.score_table(batch), sections.score_strips(batch)):
        shown, _, more = str(piece).partition('<details class="more">')
        assert ">Excess copies<" in shown and ">Closer to train (DCR)<" not in shown
        assert ">Closer to train (DCR)<" in more


def test_many_datasets_are_summed_up(tmp_path):
    names = [f"table-{number}" for number in range(6)]
    batch = sections.Batch.read(
        write_report(
            tmp_path, datasets=names, seeds=1, failed={("copy", 0): ("error", "fit", "boom")}
        )
    )
    text = Page(sections.score_table(batch)).text
    assert "0 of 6" in text and "6 datasets" in text
    assert "the first 4 of 6 datasets" in sections.facts_line(batch)
    assert "✗ fails on 6" in Page(sections.verdicts(batch)).text
    assert "table-3" in text and "table-4" not in text


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_ten_thousand_cells_make_a_bounded_page(count):
    rows = cell_rows("cart", 0)
    cells = pd.DataFrame(
        [
            (f"data-{number // 500}", f"cart (depth={number // 5 % 100})", number % 5)
            for number in range(count)
        ],
        columns=["dataset", "label", "seed"],
    ).assign(
        generator="cart",
        params="{}",
        status="ok",
        phase="",
        reason="",
        key="0" * 64,
        started="",
        python="3.11",
        cpu="x",
        threads=1,
        rows=9,
        train_rows=9,
        test_rows=9,
        fit_seconds=1.0,
        sample_seconds=1.0,
        evaluate_seconds=1.0,
        peak_mb=1.0,
        synthetic_hash="",
        rows_hash="",
    )
    about = cells[["dataset", "generator", "label", "params", "seed", "key", "status"]]
    every = pd.concat(
        [
            about.loc[about.index.repeat(len(rows))].reset_index(drop=True),
            pd.concat([rows] * len(cells), ignore_index=True),
        ],
        axis=1,
    )
    batch = sections.Batch.of(every, cells, "many")
    html = (
        sections.verdicts(batch)
        + sections.score_table(batch)
        + sections.bias(batch)
        + sections.run_facts(batch)
    )
    few = cells["dataset"].isin(["data-0", "data-1"]) & (
        cells["seed"] == 0
    )  # its length is that of the list of labels
    part = sections.Batch.of(every[few.repeat(len(rows)).to_numpy()], cells[few], "many")
    html += comparison.comparison(part) + comparison.success(batch)
    assert len(html) < 3e6
    assert f"{count:,} cells" in sections.facts_line(batch)


def changed(folder, label, metric, by):
    """Another run of the same cells: the readings of one label's metric moved by as much for each
    seed, its hashes new.
    """
    for path in sorted(folder.glob("runs/*/manifest.json")):
        record = json.loads(path.read_text())
        if record["cell"]["label"] == label:
            rows = read_rows(path.with_name("rows.parquet"))
            rows.loc[rows["metric"] == metric, ["value", "low", "high"]] += by[
                record["cell"]["seed"]
            ]
            write_rows(rows, path.with_name("rows.parquet"))
            record["versions"]["numpy"] = "2.5"
            path.write_text(json.dumps(record))
            seal(path.parent)


def test_what_changed_is_paired_and_sorted_by_noise(tmp_path):
    before = write_report(
        tmp_path / "before", seeds=3, failed={("copy", 2): ("error", "fit", "boom")}
    )
    after = write_report(tmp_path / "after", generators=(*GENERATORS, "arf"), seeds=3)
    same = changes.compare(before, before)
    assert same.identical and "identical: 9 cells" in str(same)
    by = [0.01, 0.03, 0.02]
    changed(after, "cart", "utility_ratio", by)
    changed(after, "independent", "utility_ratio", [0.5, -0.5, 0.3])
    found = changes.compare(before, after)
    assert not found.identical
    first, second = found.headlines.head(2).to_dict("records")
    assert (first["label"], first["metric"], first["units"]) == ("cart", "utility_ratio", 3)
    half = stats.t.ppf(0.975, 2) * np.std(by, ddof=1) / np.sqrt(3)
    assert [first[n] for n in ("difference", "low", "high")] == pytest.approx(
        [0.02, 0.02 - half, 0.02 + half]
    )
    assert first["after"] - first["before"] == pytest.approx(0.02) and first[
        "ratio"
    ] == pytest.approx(0.02 / half)
    assert second["label"] == "independent" and second["ratio"] < 1, "larger, and within its noise"
    assert (found.headlines["difference"].iloc[2:] == 0).all()
    status = found.cells.set_index(["label", "seed"])
    assert status.loc[("copy", 2), ["status_before", "status_after"]].tolist() == ["error", "ok"]
    assert (status.loc["arf", "status_before"] == "absent").all() and not status.loc[
        "cart", "same"
    ].any()
    assert found.provenance.to_numpy().tolist() == [["version of numpy", "2.4", "2.4, 2.5"]]
    text = str(found)
    assert (
        "9 cells in both runs, 2 with the same bytes; 3 added, 0 removed, 1 with another status"
        in text
    )
    assert re.search(r"cart +loans +Utility kept \(U\) +↑ +0\.970 +0\.990 +0\.020", text)
    page = Page(found.write(tmp_path / "changes.html").read_text())
    assert (
        "before → after" in page.text
        and "version of numpy" in page.text
        and str(tmp_path) not in page.text
    )


def test_what_changed_is_paired_within_splits(tmp_path):
    """Unequal seeds in the splits: each split counts once, and after - before is the difference
    that is told.
    """
    folders = [
        write_report(tmp_path / name, generators=("cart",), seeds=3) for name in ("before", "after")
    ]
    changed(folders[1], "cart", "utility_ratio", by := [0.05, 0.01, 0.02])
    for folder in folders:
        plan = json.loads((folder / "plan.json").read_text())
        for cell, split in zip(plan["cells"], (0, 1, 1), strict=True):
            cell["split"] = split
        (folder / "plan.json").write_text(plan_text(plan))
    first = changes.compare(*folders).headlines.iloc[0]
    splits = [by[0], np.mean(by[1:])]
    half = (
        stats.t.ppf(0.975, 1) * np.std(splits, ddof=1) * np.sqrt(1 / 2 + 50 / 100)
    )  # test rows over train rows
    assert (first["metric"], first["units"]) == ("utility_ratio", 2)
    assert [first[n] for n in ("difference", "low", "high")] == pytest.approx(
        np.mean(splits) + half * np.array([0, -1, 1])
    )
    assert first["after"] - first["before"] == pytest.approx(first["difference"])


@pytest.mark.parametrize("key", ["../../elsewhere", "/etc", "", "a/b", ".."])
def test_a_plan_leads_to_no_path_outside_its_folder(tmp_path, key):
    folder = write_report(tmp_path / "one", seeds=1)
    plan = json.loads((folder / "plan.json").read_text())
    plan["cells"][0]["key"] = key
    (folder / "plan.json").write_text(plan_text(plan))
    with pytest.raises(InputError, match="do not trust"):
        Folder(folder).rows()


def test_report_and_index_by_the_command_line(tmp_path, capsys):
    folder = write_report(tmp_path / "reports" / "one", seeds=1)
    assert (
        main(
            [
                "report",
                "--compare",
                str(folder),
                str(folder),
                "--out",
                str(tmp_path / "changes.html"),
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert (
        "identical: 3 cells" in printed
        and printed.rstrip().endswith("changes.html")
        and (tmp_path / "changes.html").exists()
    )
    assert main(["index", str(folder.parent)]) == 0 and (folder.parent / "index.html").exists()
    for wrong in (
        ["report"],
        ["report", str(folder), "--compare", str(folder), str(folder)],
        ["index", str(tmp_path / "no")],
    ):
        assert main(wrong) == 2
    assert main(["report", str(folder), "--out", "page.html"]) == 2
    assert "--out" in capsys.readouterr().err


def test_one_pair_is_ordered_by_the_readings_own_intervals(tmp_path):
    before, after = (write_report(tmp_path / name, seeds=1) for name in ("before", "after"))
    changed(after, "cart", "utility_ratio", [0.01])
    first = changes.compare(before, after).headlines.iloc[0]
    assert np.isnan(first["low"]) and first["ratio"] == pytest.approx(0.01 / np.hypot(0.02, 0.02))
    with pytest.raises(InputError, match="run it first"):
        changes.compare(before, tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        changes.compare(before, after).write(tmp_path / "none" / "page.html")


def test_index_lists_published_results_and_reports_one_level_below(tmp_path):
    folder = write_report(tmp_path / "reports" / "papers" / "one", seeds=1)
    (folder / "replication.html").write_text("a page")
    text = '[[figures]]\nwhat = "w"\ndataset = "adult"\n'
    write_results(tmp_path / "results" / "papers" / "small", f'paper = "Somebody 2020"\n{text}')
    page = index.index(tmp_path / "reports").read_text()
    lines = [Page(line).text for line in page.split("<tr>")[2:]]
    assert len(lines) == 2 and "papers/one" in lines[0] and "against the paper" in lines[0]
    assert "../results/papers/small" in lines[1] and "published, finished" in lines[1]
    assert "no page yet: workbench report results/papers/small" in lines[1] and "2 of 2" in lines[1]
    links = [a["href"] for a in Page(page).all("a") if a["href"][0] != "#"]
    assert links == ["papers/one/replication.html"]
    # A folder of results has such a page too, and another name than reports looks at no neighbour.
    text = index.index(tmp_path / "results").read_text()
    assert "published, finished" in text and "papers/one" not in text


def test_index_lists_finished_half_finished_and_broken_reports(tmp_path):
    write_report(tmp_path / "done")
    (tmp_path / "done" / "index.html").write_text("a page")
    write_report(tmp_path / "half", failed={("cart", 0): ("pending", "", "")})
    broken = write_report(tmp_path / f"broken {HOSTILE[:8]}")
    (broken / "plan.json").write_text("[")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "grid.toml").write_text("")
    (tmp_path / "no report").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "link")
    shutil.copytree(tmp_path / "half", tmp_path / os.fsdecode(b"no text \xff"))
    text = index.index(tmp_path).read_text()
    lines = [Page(line).text for line in text.split("<tr>")[2:]]
    listed = "\n".join(lines)
    assert len(lines) == 5 and "5 reports in" in text and str(tmp_path) not in text
    assert (
        "half finished; no page yet: workbench report" in listed and "5 of 6 (1 pending)" in listed
    )
    assert (
        "broken: Damaged" in listed
        and "no text ? 5 of 6 (1 pending)" in listed
        and "new not run yet" in listed
    )
    assert "6 of 6 loans 3 2026-01-01 00:00" in listed and re.search(r"cart 0\.970", listed), (
        "the best by utility"
    )
    assert [a["href"] for a in Page(text).all("a") if a["href"][0] != "#"] == ["done/index.html"]
    with pytest.raises(InputError, match="is not a folder"):
        index.index(tmp_path / "none")


# Statistics over seeds


def one_metric(values, half, metric="pair_trends"):
    rows = to_table([Row(metric, value, value - half, value + half) for value in values])
    return rows.assign(dataset="d", label="g", seed=range(len(values)))


def test_interval_is_students_where_only_seeds_vary():
    values = [0.71, 0.74, 0.70, 0.77]
    row = aggregate(one_metric(values, 0.0)).iloc[0]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    np.testing.assert_allclose([row["low"], row["high"]], expected, rtol=1e-12)


def test_interval_does_not_shrink_with_seeds_where_only_test_rows_vary():
    row = aggregate(one_metric([0.7] * 5, 0.05)).iloc[0]
    np.testing.assert_allclose([row["low"], row["high"]], [0.65, 0.75], rtol=1e-4)
    alone = aggregate(one_metric([0.7], 0.05)).iloc[0]
    np.testing.assert_allclose([alone["low"], alone["high"]], [0.65, 0.75])


def test_interval_covers_the_truth():
    rng, k, covered = np.random.default_rng(0), 3, []
    for w, s in ((0.02, 0.02), (0.01, 0.04), (0.04, 0.01)):
        shared, between = rng.normal(0, w, (4000, 1)), rng.normal(0, s, (4000, k))
        values = shared + between
        half = half_width(np.full(4000, w**2), values.var(axis=1, ddof=1), np.full(4000, k))
        covered.append(np.mean(np.abs(values.mean(axis=1)) <= half))
    assert min(covered) > 0.925 and max(covered) < 0.985


def test_splits_are_the_units_and_draws_are_averaged_within_a_seed():
    values = {(0, 0): 0.6, (0, 1): 0.8, (1, 0): 0.9, (1, 1): 0.9, (2, 0): 0.8}
    parts = [
        one_metric([value - 0.01, value + 0.01], 0.05).assign(split=split, seed=seed, draw=[0, 1])
        for (split, seed), value in values.items()
    ]
    rows, splits = pd.concat(parts), [0.7, 0.9, 0.8]
    row = aggregate(rows).iloc[0]
    half = half_width((0.1 / 3.92) ** 2, np.var(splits, ddof=1), 3)
    assert row["seeds"] == 3 and row["mean"] == pytest.approx(0.8)
    assert [row["low"], row["high"]] == pytest.approx([0.8 - half, 0.8 + half])
    assert headlines(rows)["mean"].tolist() == [pytest.approx(0.8)]


def test_missing_values_and_notes():
    rows = one_metric([0.5, np.nan, 0.7], 0.0)
    row = aggregate(rows.assign(note=["", "error: boom", ""], state=["ok", "error", "ok"])).iloc[0]
    assert row["mean"] == pytest.approx(0.6) and row["seeds"] == 2
    assert row["note"] == "" and row["state"] == "ok"
    failed = rows.assign(note=["error: boom", "error: boom", ""], state=["error", "error", "ok"])
    row = aggregate(failed.assign(value=np.nan)).iloc[0]
    assert np.isnan(row["mean"]) and row["note"] == "error: boom" and row["state"] == "error"


def test_headline_prefers_the_whole_table_then_the_worst():
    rows = pd.concat([one_metric([0.9], 0.0), one_metric([0.1], 0.0).assign(column="age")])
    assert headlines(rows)["mean"].tolist() == [0.9]
    rows = pd.concat(
        [
            one_metric([0.9, 0.8], 0.0).assign(column="sex"),
            one_metric([0.2, 0.4], 0.0).assign(column="age"),
        ]
    )
    head = headlines(rows).iloc[0]
    assert head["mean"] == pytest.approx(0.3) and head["column"] == "age"
    rows = one_metric([0.2, 0.4], 0.0, "worst_column").assign(column=["age", "sex"])
    head = headlines(rows).iloc[0]
    assert head["mean"] == pytest.approx(0.3) and head["column"] == "age, sex"
    rows = pd.concat(
        [
            one_metric([-0.3], 0.0, "bias_amp").assign(column="a"),
            one_metric([0.1], 0.0, "bias_amp").assign(column="b"),
        ]
    )
    assert headlines(rows)["mean"].tolist() == [-0.3]


@pytest.mark.parametrize(
    ("value", "half", "state"),
    [(0.95, 0.02, "meets"), (0.91, 0.05, "undecided"), (0.8, 0.05, "fails"), (0.9, 0.0, "meets")],
)
def test_gate_reads_the_whole_interval(value, half, state):
    heads = headlines(one_metric([value], half, "utility_ratio"))
    gate = USES["train"][1][0]
    assert gate.read(heads.to_dict("records"))[0] == state


def test_a_use_with_an_unmeasured_gate_is_never_cleared():
    heads = headlines(one_metric([0.0], 0.001, "excess_copies"))
    table = verdicts(heads, heads[["dataset", "label"]]).set_index("use")
    assert (
        table.loc["share", "state"] == "not measured"
        and "membership found" in table.loc["share", "reason"]
    )
    heads = headlines(one_metric([0.4], 0.001, "excess_copies"))
    table = verdicts(heads, heads[["dataset", "label"]]).set_index("use")
    assert table.loc["share", "state"] == "fails" and table.loc["share", "gates"] == [
        "excess copies"
    ]


def test_gates_name_metrics_that_exist_or_are_announced():
    known = {gate.metric for _, gates in USES.values() for gate in gates}
    assert known - set(METRICS) <= {"near_copies", "vanished_groups"}


def test_every_metric_explains_itself_on_the_page():
    assert all(len(sections._docstring(metric.function)) > 80 for metric in METRICS.values())


def test_a_section_that_fails_says_so_and_the_others_stand(tmp_path, monkeypatch):
    batch = sections.Batch.read(write_report(tmp_path, seeds=1))

    def broken(*_, **__):
        raise KeyError("value")

    monkeypatch.setattr(uses, "verdicts", broken)
    assert "This section could not be made (KeyError: &#39;value&#39;)" in sections.verdicts(batch)
    assert "3 of 3 cells finished" in sections.facts_line(batch)


@pytest.mark.parametrize("shape", ["empty", "single", "missing"])
def test_every_section_stands_on_few_readings(tmp_path, shape):
    folder = write_report(tmp_path, seeds=1, generators=("cart",))
    batch = sections.Batch.read(folder)
    rows = batch.rows
    if shape == "empty":
        rows = rows.iloc[:0]
    if shape == "single":
        rows = rows[rows["metric"] == "utility_ratio"].head(1)
    if shape == "missing":
        rows = rows.assign(value=np.nan, low=np.nan, high=np.nan)
    few = sections.Batch.of(rows, batch.cells, "few")
    for name, text in pieces(few).items():
        assert "could not be made" not in text, name
