"""The documentation builds without a warning, says every public name, and asks no other host for
anything.
"""

import ast
import doctest
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.generators import GENERATORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\ssrc=[\"'](?:https?:)?//[^>]*>|<link\b[^>]*>|@import[^;]*"
)
ROWS = 5  # of a table that are looked at in the browser


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("furo", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("docs")
    # Without the pages of highlighted sources: a fifth of the time. `make docs` has them.
    extensions = ["-D", "extensions=myst_nb,sphinx.ext.autodoc,sphinx.ext.napoleon"]
    if os.environ.get("WORKBENCH_LONG") == "1":
        extensions = []
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        *extensions,
        "-d",
        str(folder / "trees"),
        str(DOCS),
        str(folder / "site"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_pages_load_nothing_from_other_hosts_and_name_their_language(site):
    pages = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    assert len(pages) > 40
    for page in pages:
        text = page.read_text()
        assert '<html lang="en"' in text or '<html class="no-js" lang="en"' in text, page.name
        loads = [
            tag for tag in LOADED.findall(text) if "//" in tag and 'rel="canonical"' not in tag
        ]
        assert not loads, f"{page.name}: {loads[0]}"


@pytest.mark.parametrize("name", wb.__all__)
def test_every_public_name_has_a_page_with_parameters_and_an_example_that_runs(site, name):
    text = (site / "names" / f"{name}.html").read_text()
    assert f'id="{wb._EXPORTS[name]}.{name}"' in text
    value = getattr(wb, name)
    if issubclass(type(value), type) and issubclass(value, Exception):
        return
    # A list of parameters sets them in bold; attributes of a class have entries of their own.
    heads = re.findall(r'<strong>([^<]+)</strong>|descname">(.+?)</span>(?:<a |</dt>)', text)
    plain = [re.sub(r"<[^>]+>", "", "".join(head)) for head in heads]
    explained = {name.strip(" *") for head in plain for name in head.split(",")}
    for parameter in inspect.signature(value).parameters:
        assert parameter in explained or f"{parameter}:" in text, parameter
    assert "&gt;&gt;&gt;" in text, "no example"
    module = sys.modules[value.__module__]
    (example,) = doctest.DocTestFinder(recurse=False).find(value, name, module=module)
    assert example.examples, "no example"
    failed, _ = doctest.DocTestRunner().run(example)
    assert failed == 0


class Anchors(HTMLParser):
    """The places of a page that a link may name, and the links that leave from it."""

    def __init__(self):
        super().__init__()
        self.places, self.links = set(), set()

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key in ("id", "name"):
                self.places.add(value)
            if key in ("href", "src") and value:
                self.links.add(value)


def test_no_link_of_the_site_is_broken(site):
    pages = {}
    for path in site.rglob("*.html"):
        pages[path] = Anchors()
        pages[path].feed(path.read_text())
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
            known = target in pages and unquote(parts.fragment) in pages[target].places
            if not target.exists() or (parts.fragment and target in pages and not known):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


@pytest.fixture(scope="module")
def browser():
    """One for all pages: starting it takes longer than looking at one."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the path")
@pytest.mark.parametrize(
    "name",
    [
        *("index", "which-generator", "names/load", "methods/cart", "benchmark", "metrics"),
        *("first-five-minutes", "your-table", "language-models", "glossary"),
    ],
)
def test_pages_of_the_site_are_accessible_and_fit_a_narrow_screen(site, browser, name):
    from axe_playwright_python.sync_playwright import Axe

    # A page of its own context, as a new browser would have: nothing of the last one is kept.
    with browser.new_context(viewport={"width": 390, "height": 900}) as context:
        page = context.new_page()
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        # Axe looks at each of thousands of cells: the first rows of a table are like the others.
        page.evaluate(
            f"document.querySelectorAll('tbody tr:nth-child(n + {ROWS + 1})')"
            ".forEach(row => row.remove())"
        )
        found = Axe().run(page).response["violations"]
    grave = [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")]
    assert not grave


def test_each_generator_has_a_card_with_its_docstring_and_fields(site):
    for name, entry in GENERATORS.items():
        text = re.sub(r"<[^>]+>|\s+", "", (site / "methods" / f"{name}.html").read_text())
        first = sys.modules[entry.load().__module__].__doc__.split(".")[0]
        assert re.sub(r"\s+|[`\"']", "", first)[:40] in re.sub(r"&#?\w+;|[`\"'“”’]", "", text), name
        for field in fields(entry.load()):
            assert not field.init or field.name in text, f"{name}: {field.name}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_python_on_a_page_is_python_and_its_links_lead_somewhere(page):
    text = page.read_text()
    for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        ast.parse(code)
    for target in re.findall(r"\]\(([^)#:]+\.(?:md|svg|ipynb))(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists() or target.startswith(
            ("methods/", "names/", "gallery/")
        ), target


def test_the_metric_of_the_page_runs_and_its_rows_hold_numbers_where_numbers_belong():
    text = (DOCS / "your-metric.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(code, names)
    data = wb.load("loans")
    trial = wb.Trial(data.train, data.test, data.train.head(300), data.schema)
    rows = list(names["mean_shift"](trial))
    assert rows and {row.metric for row in rows} == {"mean_shift"}
    assert {row.column for row in rows} <= set(data.schema.names) and "" not in {
        row.column for row in rows
    }
    assert all(np.isfinite(row.value) and np.isnan(row.low) for row in rows)
    with pytest.raises(TypeError):
        wb.Row("mean_shift", 0.1, 0.0, 0.2, "a column in a number's place")


def makers_of_pages(*names):
    """The modules of docs/ that make pages from published rows."""
    sys.path.insert(0, str(DOCS))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(DOCS))


def test_the_decision_page_is_made_of_published_rows():
    (decision,) = makers_of_pages("decision")
    text = decision.PAGE.read_text(encoding="utf-8")
    filled = decision.filled(text)
    assert filled == text, "run python docs/benchmark.py"
    with pytest.raises(ValueError, match="0 places for by_use"):
        decision.filled("no marks")
    # A generator that is recommended by name exists.
    page = (DOCS / "which-generator.md").read_text(encoding="utf-8")
    for column in re.findall(r"^\|[^|]*\|([^|]*)\|", page, flags=re.MULTILINE):
        for name in re.findall(r"`([a-z-]+)`", column):
            assert name in GENERATORS, name


def test_the_page_of_drawn_digits_is_made_of_published_cells():
    (drawn_digits,) = makers_of_pages("drawn_digits")
    text = drawn_digits.PAGE.read_text(encoding="utf-8")
    assert drawn_digits.page(text) == text, "run python docs/benchmark.py"
    # A gain is the mean over seeds of the differences, read here from the cells alone.
    cells = pd.read_parquet(ROOT / "results" / drawn_digits.NAME / "cells.parquet")
    shares = {}
    for cell in cells[cells["status"] == "ok"].itertuples():
        for reading in json.loads(cell.promise)["measured"]:
            shares[cell.label, cell.seed, reading["metric"]] = reading["value"]
    seeds = sorted({seed for _, seed, _ in shares})
    gains = [
        shares["drawn, then scans", seed, "right_20"] - shares["scans", seed, "right_20"]
        for seed in seeds
    ]
    line = next(line for line in text.splitlines() if line.startswith("| 20 |"))
    assert f"+{100 * sum(gains) / len(gains):.1f} ±" in line


def test_every_number_of_the_benchmarks_page_is_the_mean_of_published_rows():
    """The page is what its command writes, and its means are those of rows read by pandas alone."""
    (benchmark,) = makers_of_pages("benchmark")
    text = benchmark.PAGE.read_text(encoding="utf-8")
    rows = pd.read_parquet(benchmark.RESULTS / "rows.parquet")
    whole = rows[(rows["column"].fillna("") == "") & (rows["group"].fillna("") == "")]
    means = whole.groupby(["dataset", "label", "metric"])["value"].mean()
    walked = 0
    for dataset in rows["dataset"].unique():
        section = benchmark.of_dataset(dataset)
        assert section in text, f"{dataset}: run python docs/benchmark.py"
        for line in re.findall(r"^\| `.*", section, flags=re.MULTILINE):
            first, _, marginals, pairs, *_ = line.strip("| ").split(" | ")
            label = first.split("`")[1]
            for metric, shown in (("marginals", marginals), ("pair_trends", pairs)):
                number = float(shown.split()[0].replace("−", "-"))
                assert number == pytest.approx(means[dataset, label, metric], abs=5.1e-4)
                walked += 1
    assert walked > 100
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmark.filled(readme) == readme, "run python docs/benchmark.py"


def test_every_number_on_generators_is_the_mean_of_published_rows():
    """What stands between the marks, read against rows and cells by pandas alone."""
    (measured,) = makers_of_pages("measured")
    text = measured.PAGE.read_text(encoding="utf-8")
    assert measured.page(text) == text, "run python docs/benchmark.py"
    folder = ROOT / "results" / "benchmark"
    rows, ran = pd.read_parquet(folder / "rows.parquet"), pd.read_parquet(folder / "cells.parquet")
    whole = rows[(rows["column"].fillna("") == "") & (rows["group"].fillna("") == "")]
    means = whole.groupby(["dataset", "label", "metric"])["value"].mean()
    costs = ran[ran["status"] == "ok"].groupby(["dataset", "label"])
    costs = costs[["fit_cpu", "sample_cpu", "peak_mb"]].mean()
    metrics = ["shape_error", "trend_error", "tstr_auc", "dcr_share", "membership_auc"]
    metrics.append("excess_copies")
    walked = 0
    tables = text.partition("<!-- tables")[2].partition("<!-- end -->")[0]
    for section in tables.split("### ")[1:]:
        dataset = section.partition("\n")[0]
        for line in re.findall(r"^\| `.*", section, flags=re.MULTILINE):
            first, _, *cells = line.strip("| ").split(" | ")
            label = first.split("`")[1]
            numbers = [
                float(cell.split()[0].replace("−", "-").replace("–", "nan")) for cell in cells
            ]
            names = [
                name.replace("auc", "r2") if "R²" in section and name == "tstr_auc" else name
                for name in metrics
            ]
            expected = [means.get((dataset, label, name), np.nan) for name in names]
            expected += costs.loc[(dataset, label)].tolist()
            digits = [2, 2, 3, 3, 3, 4, 2, 2, 0]
            for number, mean, places in zip(numbers, expected, digits, strict=True):
                assert number == pytest.approx(mean, abs=0.51 * 10**-places, nan_ok=True), line
                walked += 1
    assert walked > 900


def test_the_figure_is_drawn_by_the_readmes_first_lines():
    sys.path.insert(0, str(DOCS))
    try:
        from comparison import first_block
    finally:
        sys.path.remove(str(DOCS))
    code = first_block()
    assert "figure = plots.strips(" in code
    drawn = (DOCS / "comparison.svg").read_text()
    assert all(
        name in drawn
        for name in (
            re.findall(r"names = (\[.*?\])", code)[0].strip("[]").replace('"', "").split(", ")
        )
    )


def test_a_notebook_that_fails_fails_the_gallery(tmp_path, monkeypatch):
    import nbformat

    sys.path.insert(0, str(DOCS))
    try:
        import gallery
    finally:
        sys.path.remove(str(DOCS))
    (tmp_path / "notebooks").mkdir()
    for name, code in {
        "00-good": "print(6 * 7)",
        "01-bad": "raise ValueError('broken here')",
    }.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "start.ipynb").touch()
    monkeypatch.setattr(gallery, "GALLERY", tmp_path / "gallery")
    linked = "[all](start.ipynb#Words), [next](02-next.ipynb), [page](../docs/loans.md)"
    assert gallery.relinked(linked) == "[all](start.ipynb), next, [page](../loans.md)"
    (tmp_path / "gallery" / "start.ipynb").unlink()
    monkeypatch.setattr(gallery, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(gallery, "GALLERY", tmp_path / "gallery")
    assert gallery.main([]) == 1
    assert "42" in (tmp_path / "gallery" / "00-good.ipynb").read_text()
    assert "broken here" in (tmp_path / "gallery" / "01-bad.ipynb").read_text()
    # Executed once; which ones are chosen, and how it ends where all ran, needs no second time.
    chosen = []
    monkeypatch.setattr(gallery, "execute", lambda notebook: chosen.append(notebook.name) or "")
    assert gallery.main(["00"]) == 0 and chosen == ["00-good.ipynb"]
    assert gallery.main(["77"]) == 2 and len(chosen) == 1
