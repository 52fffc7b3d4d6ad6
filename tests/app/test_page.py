"""The side-by-side session and page: what was clicked is what was measured, what is cancelled is
gone, text stays text.
"""

import asyncio
import html
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

import workbench as wb
from workbench.app import views
from workbench.app.page import SideBySide
from workbench.app.session import FAST, Session, _code, _do
from workbench.batch import grid
from workbench.batch.worker.pool import own_prefix
from workbench.errors import InputError
from workbench.generators.statistical.independent import Independent
from workbench.metrics import METRICS
from workbench.report.html import Drawing

SCRIPT, LONG, HEBREW, SMILE, FORMULA = (
    "<script>alert(1)</script>",
    "x" * 300,
    "עברית",
    "😀 smile",
    "=1+1",
)
LABELS = [
    "<img src=x onerror=alert(1)>",
    '=HYPERLINK("http://x")',
    "@SUM(A1)",
    "\u202eمرحبا",
    "-1+1",
    "</script></pre>",
]


def hostile(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.normal(size=rows)
    table = pd.DataFrame(
        {SCRIPT: rng.choice(LABELS, rows), FORMULA: size.round(3), LONG: rng.integers(-5, 5, rows)}
    )
    table[HEBREW] = rng.choice(["א", "ב" * 300], rows)
    table[SMILE] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        rng.integers(0, 300, rows), unit="D"
    )
    table["outcome"] = np.where(size + rng.normal(size=rows) > 0, "<b>yes</b>", "no")
    table.loc[rng.choice(rows, 20, replace=False), FORMULA] = np.nan
    return table


@pytest.fixture(scope="module")
def csv(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "hostile.csv"
    hostile().to_csv(path, index=False)
    return path


FEW = (
    "marginals",
    "pair_trends",
    "tstr_auc",
    "utility_ratio",
    "dcr_share",
    "membership_auc",
    "epsilon",
)
# In the order of a card, with one that is slow.
FEW_AND_SLOW = [name for name in METRICS if name in (*FEW, "c2st")]


@pytest.fixture
def few_metrics(monkeypatch):
    """Where it does not matter what is measured: a few quick metrics, and a slow one."""
    monkeypatch.setattr("workbench.app.session.FAST", FEW)
    few = {name: METRICS[name] for name in FEW_AND_SLOW}
    monkeypatch.setattr("workbench.app.session.METRICS", few)


def ended(session: Session) -> Session:
    for _ in session.run():
        pass
    return session


@pytest.fixture(scope="module")
def session(csv) -> Session:
    """Run once; tests that change it take a session of their own."""
    return ended(
        Session(
            csv,
            ["independent", "cart"],
            target="outcome",
            sensitive=[SCRIPT],
            root=csv.parent / "out",
        )
    )


def test_the_worker_gives_what_generate_and_evaluate_give(session):
    for name in ("independent", "cart"):
        table = wb.generate(name, session.data)
        pd.testing.assert_frame_equal(session.result(name, 0).synthetic, table)
        pd.testing.assert_frame_equal(
            session.card(name).rows, wb.evaluate(session.data, table, metrics=FAST).rows
        )
    assert any(
        note.startswith("Not measured yet: Told apart: C2ST AUC")
        for note in session.card("cart").notes
    )


def test_the_workers_numbers_have_the_digits_of_the_table(tmp_path, csv):
    """gaussian-copula draws between the values of train, so only rounding makes its digits theirs."""
    data = wb.load(csv, target="outcome")
    task = {"name": "gaussian-copula", "seed": 0, "params": {}, "has_rows": False}
    _do(tmp_path / "0", task | {"metrics": ["marginals"]}, data, lambda **message: None)
    drawn = pd.read_parquet(tmp_path / "0.synthetic.parquet")[FORMULA]
    assert (drawn.dropna() == drawn.dropna().round(3)).all() and drawn.notna().any()
    expected = wb.generate("gaussian-copula", data)[FORMULA]
    pd.testing.assert_series_equal(drawn, expected)


def test_what_a_fit_left_out_stays_with_a_table_whose_metrics_come_later(
    tmp_path, csv, monkeypatch
):
    class Half(Independent):
        def fit(self, table, schema, rng):
            self.facts = {"notes": ["independent: read half of the rows."]}
            return super().fit(table, schema, rng)

    monkeypatch.setattr("workbench.app.session.make", lambda name, params: Half())
    messages = []
    task = {"name": "independent", "seed": 0, "params": {}, "metrics": ["marginals"]}
    _do(
        tmp_path / "0",
        task | {"has_rows": False},
        wb.load(csv),
        lambda **said: messages.append(said),
    )
    again = {"has_rows": True, "claim": messages[-1]["outcome"]["claim"]}
    _do(tmp_path / "0", task | again, wb.load(csv), lambda **said: messages.append(said))
    ends = [message["outcome"] for message in messages if "outcome" in message]
    assert [end["notes"][-1] for end in ends] == ["independent: read half of the rows."] * 2


def references_of(session: Session) -> list[Path]:
    return list(Path(session._references.name).rglob("*.json"))


def test_references_of_a_killed_kernel_go_with_the_next_session(csv):
    gone = subprocess.Popen(["true"])
    gone.wait()
    mine = own_prefix()
    theirs = mine.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    left = Path(tempfile.mkdtemp(prefix=theirs))
    session = Session(csv, ["independent"])
    assert not left.exists()
    assert Path(session._references.name).name.startswith(mine)


def test_references_of_other_code_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "metrics").mkdir()
    file = tmp_path / "metrics" / "one.py"
    file.write_text("old")
    monkeypatch.setattr("workbench.app.session.PACKAGE", tmp_path)
    before = _code()
    assert before == _code()
    file.write_text("newer")
    assert _code() != before


@pytest.mark.usefixtures("few_metrics")
def test_a_second_run_does_only_what_is_new(csv, monkeypatch):
    monkeypatch.setenv("WORKBENCH_REFERENCES", "")  # an empty name is none
    session = ended(
        Session(
            csv,
            {"independent": {}, "privbayes": {"epsilon": 2.0}},
            target="outcome",
            sensitive=[HEBREW],
        )
    )
    first, private = session.result("independent", 0), session.result("privbayes", 0)
    assert [step.detail for step in session.run()] == [
        "kept",
        "kept",
    ] and not session._folder.exists()
    epsilon = private.rows["metric"] == "epsilon"
    assert private.rows.loc[epsilon, "value"].item() == pytest.approx(2.0)
    private.rows = private.rows[~epsilon]
    session.everything = True
    assert session.missing("independent", 0) == ["c2st"]
    assert session.missing("privbayes", 0) == ["c2st", "epsilon"]
    session.choose_generators(
        {"independent": {}, "privbayes": {"epsilon": 2.0}, "bayes-expert": {}}
    )
    references = {path: path.stat().st_mtime_ns for path in references_of(session)}
    steps = {step.generator: step for step in session.run()}
    later = {path: path.stat().st_mtime_ns for path in references_of(session)}
    assert references and references.items() < later.items(), "those of c2st alone are new"
    pd.testing.assert_frame_equal(session.result("independent", 0).synthetic, first.synthetic)
    pd.testing.assert_frame_equal(
        session.card("independent").rows,
        wb.evaluate(session.data, first.synthetic, metrics=FEW_AND_SLOW).rows,
    )
    assert not any("Not measured" in note for note in session.card("independent").notes)
    rows = session.card("privbayes").rows.set_index("metric")
    assert rows.loc["epsilon", "value"] == pytest.approx(2.0), (
        "a generator's claim is there for metrics that come later"
    )
    assert steps["bayes-expert"].phase == "skipped" and steps["bayes-expert"].detail
    assert "bayes-expert" not in views.code(session) and "bayes-expert" in views.grid(session)

    session.choose_table(csv, "outcome", [SCRIPT])
    assert not session.finished, "other roles are other results"
    session.choose_table(csv, "outcome", [HEBREW])
    assert session.finished, "and the old ones are still there"


# A fit that goes on until somebody ends it, without torch, which each worker would import first.
ENDLESS = {"trees": 1_000_000, "max_rounds": 1}


def started(session: Session, phase: str, seconds: float = 60) -> psutil.Process:
    """The worker process once some generator is in the phase."""
    session.start()
    end = time.monotonic() + seconds
    while phase not in {step.phase for step in session.progress.values()}:
        assert session.poll() and time.monotonic() < end, session.progress
        time.sleep(0.05)
    return psutil.Process(session._worker.pid)


@pytest.mark.usefixtures("few_metrics")
def test_cancel_stops_a_fit_under_way_and_keeps_what_is_finished(csv):
    """Of a network in its epoch too: the long test of the page in JupyterLab cancels one."""
    session = Session(csv, {"independent": {}, "arf": ENDLESS}, seeds=[3], target="outcome")
    session.start()
    while session.progress["arf", 3].phase != "fit":
        assert session.poll()
        time.sleep(0.05)
    worker, folder = psutil.Process(session._worker.pid), session._folder
    with pytest.raises(InputError, match="under way"):
        session.start()
    begun = time.monotonic()
    session.cancel()
    assert time.monotonic() - begun < 1
    assert not worker.is_running() and not folder.exists() and not session.busy
    assert (
        list(session.finished) == [("independent", 3)]
        and session.progress["arf", 3].phase == "cancelled"
    )
    assert session.card("independent", 3).headlines["value"].notna().any()


def test_a_killed_worker_is_an_error_in_words_and_another_does_the_rest(csv):
    session = Session(csv, {"arf": ENDLESS, "independent": {}}, seeds=2, target="outcome")
    started(session, "fit").kill()
    while session.progress["arf", 1].phase != "fit":
        assert session.poll()
        time.sleep(0.05)
    assert (
        session.progress["arf", 0].phase == "error"
        and "SIGKILL" in session.progress["arf", 0].detail
    )
    assert session.missing("arf", 0), "it is tried again"
    worker = psutil.Process(session._worker.pid)
    shutil.rmtree(session._folder)  # as a cleaner of temporary files may do
    assert session.poll()
    worker.kill()
    while session.poll():
        time.sleep(0.05)
    assert {step.phase for step in session.progress.values()} == {"error"} and not session.busy


def test_the_worker_goes_with_the_process_that_started_it(tmp_path):
    program = (
        "import sys, time; from workbench.app.session import Session\n"
        f"session = Session('loans', {{'arf': {ENDLESS}}}); session.start()\n"
        "print(session._worker.pid, session._folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as parent:
        pid, folder = parent.stdout.readline().split()
        worker = psutil.Process(int(pid))
        messages = Path(folder, "messages.jsonl")
        while '"fit"' not in messages.read_text():
            time.sleep(0.1)
        parent.send_signal(signal.SIGKILL)
    worker.wait(10)
    assert not Path(folder).exists()


@pytest.fixture(scope="module")
def exported(session) -> dict[str, Path]:
    return {
        path.name: path for path in views.export(session, "a", "cart", 0, [SCRIPT, FORMULA, SMILE])
    }


def test_the_script_gives_the_same_bytes_and_the_grid_reads(exported, tmp_path):
    paths = exported
    subprocess.run(
        [sys.executable, paths["side_by_side.py"], tmp_path / "b"], check=True, cwd=tmp_path
    )
    written = {path.name for path in (tmp_path / "b").iterdir()}
    assert (
        written == set(paths) - {"grid.toml", "side_by_side.py", "scores.tex"} and len(written) == 9
    )
    for name in written:
        assert (tmp_path / "b" / name).read_bytes() == paths[name].read_bytes(), name
    read = grid.read(paths["grid.toml"].parent)
    assert [row["name"] for row in read.generators] == ["independent", "cart"] and read.seeds == (
        0,
    )
    assert read.datasets[0]["target"] == "outcome" and read.datasets[0]["sensitive"] == [SCRIPT]
    assert "Shape error \\%" in paths["scores.tex"].read_text()


def test_formulas_become_text_only_when_asked(session, exported, tmp_path):
    kept = pd.read_csv(exported["cart-0.csv"], dtype=str)
    (tmp_path / "safe.csv").write_text(
        views.as_csv(session.result("cart", 0).synthetic, formula_safe=True), newline=""
    )
    quoted = pd.read_csv(tmp_path / "safe.csv", dtype=str)
    assert (
        views.as_csv(pd.DataFrame({"a": ["b\r=1+1"], "c": ["＝1"]}), True)
        == 'a,c\r\n"b\r=1+1",\'＝1\r\n'
    ), "one line"
    assert FORMULA in kept and f"'{FORMULA}" in quoted and LONG in quoted
    text = quoted[SCRIPT].dropna()
    assert set(text[text.str.startswith("'")].str[1:]) == {
        label for label in LABELS if label[0] in "=@-"
    }
    assert set(text) & set(LABELS) == {label for label in LABELS if label[0] not in "=@-"}
    assert quoted[LONG].str.startswith("-").any(), "negative numbers stay numbers"
    pd.testing.assert_series_equal(quoted[LONG], kept[LONG])


@pytest.mark.parametrize("folder", ["..", "../elsewhere", "/tmp", "link"])
def test_nothing_is_written_outside_the_root(session, folder):
    session.root.mkdir(exist_ok=True)
    link = session.root / "link"
    if not link.is_symlink():
        link.symlink_to(session.root.parent)
    before = set(session.root.parent.iterdir())
    with pytest.raises(InputError, match="outside"):
        views.export(session, folder)
    assert set(session.root.parent.iterdir()) == before


def test_uploads_stay_in_the_root_under_their_own_name(tmp_path):
    session = Session(root=tmp_path / "root")
    path = session.upload("../../a\\..\\evil.csv", b"a,b\n1,2\n")
    assert path == tmp_path / "root" / "uploads" / "evil.csv" and path.read_bytes() == b"a,b\n1,2\n"
    with pytest.raises(InputError, match=r"ends in none of"):
        session.upload("evil.py", b"")
    precious = tmp_path / "precious.csv"
    precious.write_text("my notes")
    path.unlink()
    path.symlink_to(precious)
    assert session.upload("evil.csv", b"a,b\n3,4\n").read_bytes() == b"a,b\n3,4\n"
    assert precious.read_text() == "my notes" and not path.is_symlink()
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path)
    with pytest.raises(InputError, match="is a link"):
        session.upload("precious.csv", b"")
    assert precious.read_text() == "my notes"


def test_refused_choices_name_the_way_out_and_change_nothing(csv):
    session = Session()
    for call, words in (
        (lambda: session.choose_generators([]), "choose at least one"),
        (lambda: session.choose_generators(["cart"], 0), "1 to 20 whole"),
        (lambda: session.choose_generators(["cart"], [3, -1]), "1 to 20 whole"),
        (lambda: session.choose_generators(["cartt"]), "did you mean cart"),
        (lambda: session.choose_generators({"cart": {"depth": 1}}), "'depth'"),
        (lambda: session.choose_table("loanss"), "did you mean loans"),
        (lambda: session.choose_table(csv, "outcom"), "did you mean outcome"),
        (lambda: session.card("cart"), "run it"),
        (lambda: views.export(session), "run it"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    assert session.table == "loans" and list(session.generators) == [
        "independent",
        "gaussian-copula",
        "cart",
    ]


def inert(text: str) -> None:
    """No element or attribute of the text came from a value."""
    assert not re.search(r"<script>alert|<img src=x|<b>yes|</script></pre>", text), text[:500]


def test_hostile_values_stay_text_in_every_view(session, exported, monkeypatch):
    columns = [SCRIPT, FORMULA, LONG, HEBREW, SMILE, "outcome"]
    for view in views.drawable(session):
        inert(exported[f"{view}.svg"].read_text())
    inert(views.picture(session, "marginals", "cart", 0, columns))
    # The words of the others. What they draw is in the files above, and takes seconds.
    monkeypatch.setattr(views, "figure", lambda *looked: Drawing("<svg/>", 1, 1))
    for view in views.drawable(session):
        inert(views.picture(session, view, "cart", 0, columns))
    inert(session.card("cart")._repr_html_())
    frame = views.browse(session, "cart")
    assert 'sandbox="allow-scripts"' in frame and frame.count("<iframe") == 1
    inside = html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])
    inert(inside)
    assert "cdn" not in re.sub(r"[A-Za-z0-9+/=]{200,}", "", inside), "no address of a network"


def clicked(page: SideBySide, seconds: float = 60) -> None:
    """Press Run and let the page attend its worker to the end."""

    async def press():
        page.run.click()
        end = time.monotonic() + seconds
        while page.session.busy:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        await page._task

    asyncio.run(press())


@pytest.mark.usefixtures("few_metrics")
def test_the_page_by_its_controls(csv, tmp_path, monkeypatch):
    # One figure in the script and among the files: `exported` has all.
    monkeypatch.setattr(views, "drawable", lambda session: ["marginals"])
    page = SideBySide(Session("loans", root=tmp_path))
    page.table.value = str(csv)
    assert page.target.value == "(none)" and page.target.options == ("(none)", *hostile().columns)
    page.target.value, page.sensitive.value = "outcome", [HEBREW]
    page.generators.value = ["independent"]
    page.columns.value = [SCRIPT, LONG, HEBREW]
    clicked(page)
    assert page.name.value == "independent" and "wb-card" in page.shown.value
    for view in ("rows", "marginals", "card"):
        page.view.value = view
        assert "wb-error" not in page.message.value, (view, page.message.value)
        inert(page.shown.value)
        inert(page.code.value)
    script = html.unescape(re.search(r"<pre[^>]*>(.*?)</pre>", page.code.value, re.S)[1])
    assert script == views.code(page.session, "independent", 0, [SCRIPT, LONG, HEBREW])
    page.safe.value = True
    page.export.click()
    assert f"'{FORMULA}" in (tmp_path / "export" / "independent-0.csv").read_text().splitlines()[0]
    assert (
        tmp_path / "export" / "grid.toml"
    ).is_file() and "side_by_side.py" in page.exported.value
    assert (tmp_path / "export" / "marginals.svg").is_file()


def test_mistakes_on_the_page_are_one_sentence(tmp_path):
    page = SideBySide(Session("loans", ["cart"], root=tmp_path / "root"))

    def says(words: str) -> None:
        assert 'role="alert"' in page.message.value and words in html.unescape(
            page.message.value
        ), page.message.value
        assert "Traceback" not in page.message.value

    page.table.value = "<b>nothing</b>.csv"
    says("does not exist")
    assert "<b>" not in page.message.value and page.table.value == "loans"
    page.seeds.value = "0, three"
    says("'three'")
    page.seeds.value = "0-99"
    says("1 to 20 whole numbers")
    page.seeds.value = "7, 0 3-4"
    assert page.session.seeds == (7, 0, 3, 4) and "for seed in [7, 0, 3, 4]:" in page.code.value
    page.params.value = "cart = ["
    says("not TOML")
    page.params.value = "gan.epochs = 1"
    says("choose that generator too")
    page.params.value = "cart.deepness = 1"
    says("no parameter 'deepness'")
    page.params.value = ""
    page.generators.value = []
    says("choose at least one")
    page.export.click()
    assert 'role="alert"' in page.exported.value and "run it" in page.exported.value
    page.run.click()
    says("choose at least one")
    assert not page.session.busy


HOSPITAL = """encounter;born;cost;ward;readmitted
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    """A table as people write it: semicolons, decimal commas, days first, '?' for missing."""
    rng = np.random.default_rng(0)
    lines = [
        f"E{700_000 + row};{1 + row % 28:02d}.{1 + row % 12:02d}.19{40 + row % 50};"
        f"{rng.uniform(100, 999):.2f};".replace(".", ",", 3).replace(",", ".", 2)
        + f"{rng.choice(['A', 'B', '?'])};{rng.choice(['yes', 'no'])}"
        for row in range(240)
    ]
    path = tmp_path_factory.mktemp("hospital") / "hospital.csv"
    path.write_text(HOSPITAL + "\n".join(lines))
    return path


def test_a_file_is_looked_at_before_anything_runs_and_corrected_in_place(hospital, tmp_path):
    page = SideBySide(Session("loans", root=tmp_path))
    page.table.value = str(hospital)
    assert page.view.value == "columns" and "E7" not in page.about.value
    assert "240 rows, 5 columns" in page.about.value and "encounter" in page.about.value
    assert "Choose a target" in page.about.value
    assert page.corrections.layout.display == "flex"
    page.column.value, page.kind.value = "ward", "identifier"
    assert page.session.data.schema["ward"].role == "identifier"
    page.kind.value = "categorical"
    assert page.session.data.schema["ward"].role == "feature"
    page.kind.value = "as found"
    page.column.value = "encounter"
    page.kind.value = "categorical"
    assert page.session.data.schema["encounter"].role == "feature", "no identifier after all"
    page.kind.value = "as found"
    page.accept.click()
    declared = page.session.declared
    assert declared["missing"] == ["?"] and declared["formats"] == {"born": "%d.%m.%Y"}
    assert declared["identifiers"] == ["encounter"]
    page.target.value = "readmitted"
    assert page.session.declared == declared, "another target keeps what was declared"
    assert "missing=['?']" in html.unescape(page.code.value)
    assert "wb-error" not in page.message.value, page.message.value


@pytest.mark.usefixtures("few_metrics")
def test_an_export_is_written_as_the_persons_own_file(hospital, tmp_path):
    declared = {"missing": ["?"]}
    session = Session(
        hospital, ["independent"], target="readmitted", declared=declared, root=tmp_path
    )
    paths = {path.name: path for path in views.export(ended(session))}
    table = pd.read_csv(paths["independent-0.csv"], dtype=str, sep=",")
    assert table["cost"].str.fullmatch(r"\d+,\d\d").all()
    assert table["born"].str.fullmatch(r"\d\d\.\d\d\.\d{4}").all()
    assert "missing = [" in paths["grid.toml"].read_text()


def test_a_tick_more_redraws_nothing_and_says_how_long_it_takes(session, monkeypatch):
    page = SideBySide(session)
    page.view.value = "scores"
    shown = page.shown.value
    monkeypatch.setattr(page, "_drawn", lambda *looked: pytest.fail("drawn again"))
    page.generators.boxes["ctgan"].value = True
    assert "ctgan" in session.generators and page.shown.value == shown
    assert "most of it ctgan" in page.estimated.value
    page.generators.boxes["ctgan"].value = False
    assert "Nothing is left to run" in page.estimated.value
    assert page.generators.value == ("independent", "cart")


def test_the_ranking_and_the_card_say_whose_they_are(session):
    page = SideBySide(session)
    ranking = html.unescape(page.ranking.value)
    assert "Ranked by" in ranking and "Which one." in ranking and "Doubt." in ranking
    assert ranking.index("cart") < ranking.index("independent")
    inert(page.ranking.value)
    assert "independent, seed 0, on hostile" in page.shown.value


def test_a_cancelled_worker_reads_cancelled_whichever_thread_looks_first(csv):
    session = Session(csv, {"arf": ENDLESS}, target="outcome")
    for _ in range(2):
        started(session, "fit")
        going = threading.Event()

        def look(going=going):
            while session.poll():
                going.set()

        looking = threading.Thread(target=look)
        looking.start()
        going.wait(5)
        session.cancel()
        looking.join(5)
        assert not looking.is_alive() and not session.busy
        assert session.progress["arf", 0].phase == "cancelled"


def test_every_control_says_what_it_is(tmp_path):
    page = SideBySide(Session("loans", root=tmp_path))
    controls = [
        control
        for control in vars(page).values()
        if hasattr(control, "description") and hasattr(control, "tooltip")
    ]
    named = [control for control in controls if control.description]
    assert len(named) == 19 and all(control.tooltip for control in named)
    assert all(page.view.tooltips), "and every view"


def test_nothing_is_left_behind():
    """Last in this file: every worker that the tests above have started is gone."""
    assert not [
        child
        for child in psutil.Process().children(recursive=True)
        if "workbench.app.session" in child.cmdline()
    ]
