"""The side-by-side notebook as a user has it: JupyterLab and Voila started by `make`, driven in
headless Chromium.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = "10-side-by-side.ipynb"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed here"),
    pytest.mark.skipif(not shutil.which("make"), reason="no make is installed here"),
]
WAIT = 60_000  # milliseconds for the slowest step on a busy machine
HOSTILE = "<script>alert(1)</script>"
OWN = re.compile(r"(https?|wss?)://127\.0\.0\.1:|data:|blob:")
LABEL = "<img src=x onerror=alert(2)>"


def with_cart_alone(text: str) -> str:
    """The notebook, beginning with one generator: what it says of three is tried without a browser."""
    notebook = json.loads(text)
    cell = next(
        cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())
    )
    source = "".join(cell["source"])
    begun = re.sub(r"generators = \[.*?\]", 'generators = ["cart"]', source, flags=re.DOTALL)
    assert begun != source
    cell["source"] = begun
    return json.dumps(notebook)


@contextmanager
def served(target: str, folder: Path, *flags: str):
    """The server that `make TARGET` starts, on a copy of the notebook, with every file of its own
    in `folder`.

    Yields its address, its token and its process. It and all it started are killed at the end.
    """
    work = folder / "notebooks"
    work.mkdir()
    (work / NOTEBOOK).write_text(with_cart_alone((ROOT / "notebooks" / NOTEBOOK).read_text()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    dry_run = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "-n",
            "-o",
            ".venv/lab-installed",
            f"BIN={Path(sys.executable).parent}",
            target,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    words = shlex.split(dry_run)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    command = [word for word in words if not re.match(r"[A-Z_]+=", word) and word != "--token"]
    # `make lab` opens the start page; what is tried here is the page behind its second door.
    command = [
        str(work / NOTEBOOK) if re.fullmatch(r"notebooks/[\w-]+\.ipynb", word) else word
        for word in command
    ]
    command = [
        f"--notebook-dir={work}" if word.startswith("--notebook-dir=") else word for word in command
    ]
    own = {
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR",
    }
    places = {name: str(folder / name.lower()) for name in own | {"JUPYTERLAB_WORKSPACES_DIR"}}
    for plugin, settings in {
        "notebook-extension/tracker": {
            "windowingMode": "none"
        },  # cells out of sight are in the page, too
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        path = Path(
            places["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", f"{plugin}.jupyterlab-settings"
        )
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    command += [f"--port={port}", "--no-browser", *(flag.format(token=token) for flag in flags)]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | given | places,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not _listens(port):
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", token, process
    finally:
        children = (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        )
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        _, alive = psutil.wait_procs(children, timeout=5)
        for child in alive:
            child.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def visited(browser):
    """A page, and at its end: no error in the console, no dialog, no request to another machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 1500})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, wrong = context.new_page(), []
    page.set_default_timeout(WAIT)
    page.on(
        "console",
        lambda message: (
            wrong.append(f"console: {message.text}") if message.type == "error" else None
        ),
    )
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda sent: OWN.match(sent.url) or wrong.append(f"request: {sent.url}"))
    yield page
    context.close()
    assert not wrong, wrong


def button(page, name: str):
    return page.locator(".wb-page").get_by_role("button", name=name, exact=True)


def choose(page, *names: str) -> None:
    """Tick the checkboxes of these generators and no others; those to be added first, since a page
    without any says so.
    """
    boxes = page.locator(".wb-generators .widget-checkbox")
    first = {
        text.partition(":")[0].strip(): place for place, text in enumerate(boxes.all_inner_texts())
    }
    for name in names:
        boxes.nth(first[name]).locator("input").set_checked(True)
    for name, place in first.items():
        if name not in names:
            boxes.nth(place).locator("input").set_checked(False)


def workers(server: subprocess.Popen) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if "workbench.app.session" in child.cmdline()
    ]


@pytest.mark.long
def test_jupyterlab_from_run_all_to_export(browser, tmp_path):
    """Quick siblings: the page in Voila below, its controls in test_page, its notebook by nbval."""
    began = time.monotonic()
    root = ["--allow-root"] if os.geteuid() == 0 else []
    with (
        served("lab", tmp_path, "--IdentityProvider.token={token}", *root) as (
            address,
            token,
            server,
        ),
        visited(browser) as page,
    ):
        page.goto(f"{address}/lab/tree/{NOTEBOOK}?token={token}")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        print(f"a usable notebook after {time.monotonic() - began:.1f} s")
        page.get_by_role("menubar").get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.locator(".wb-page .wb-card").wait_for()
        print(f"the first card after {time.monotonic() - began:.1f} s")
        page.locator(
            ".jp-OutputArea-output th", has_text="ipywidgets"
        ).wait_for()  # the versions, the last cell
        page.screenshot(path=tmp_path / "lab.png")

        panel = page.locator(".wb-page")
        choose(page, "cart", "gan")
        panel.get_by_label("Parameters").fill("gan.epochs = 100000")
        panel.get_by_label("Parameters").blur()
        button(page, "Run").click()
        panel.locator("tr", has_text="gan").get_by_text("fit").wait_for()
        assert len(workers(server)) == 1
        button(page, "Cancel").click()
        panel.locator("tr", has_text="gan").get_by_text("cancelled").wait_for()
        assert not workers(server)

        panel.get_by_label("Parameters").fill("")
        choose(page, "cart", "copy")
        button(page, "Run").click()
        panel.locator("tr", has_text="copy").get_by_text("done").wait_for()
        panel.locator("tr", has_text="cart").get_by_text("done kept").wait_for()
        button(page, "scores").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") == "marginals"
        pressed = panel.locator(".wb-views button[aria-pressed=true]")
        pressed.and_(page.get_by_text("marginals")).wait_for()
        for view in ("marginals", "trade-off"):
            button(page, view).click()
            figure = panel.locator("figure img")
            figure.and_(
                page.locator(
                    {"marginals": "[alt^='Single columns']", "trade-off": "[alt^='Up is useful']"}[
                        view
                    ]
                )
            ).wait_for()
            assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
        button(page, "rows").click()
        rows = panel.frame_locator("iframe.wb-rows")
        rows.get_by_label("Search:").fill("synthetic")
        rows.get_by_text("1,393 entries (filtered from 1,989").wait_for()
        assert [
            text[:9] for text in rows.locator("tbody tr").filter(visible=True).all_inner_texts()
        ] == ["synthetic"] * 10
        panel.locator("summary", has_text="The same in Python").click()
        button(page, "Copy as code").click()
        button(page, "Copied").wait_for()
        script = page.evaluate("navigator.clipboard.readText()")
        assert "generators = {'cart': {}, 'copy': {}}" in script and compile(
            script, "copied", "exec"
        )

        button(page, "Export").click()
        panel.get_by_role("status").get_by_text("Written to").wait_for()
        page.screenshot(path=tmp_path / "lab-export.png")
        written = {
            path.name: path
            for path in (tmp_path / "notebooks" / "side-by-side" / "export").iterdir()
        }
        assert {
            "grid.toml",
            "scores.csv",
            "scores.tex",
            "cart-0.csv",
            "copy-0.csv",
            "pairs.svg",
        } <= set(written)
        assert written["side_by_side.py"].read_text() == script
        assert written["marginals.svg"].read_text().lstrip().startswith("<?xml")


def test_voila_by_keyboard_and_for_a_screen_reader(browser, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    with (
        served("app", tmp_path, "--token={token}") as (address, token, server),
        visited(browser) as page,
    ):
        assert (
            page.request.get(address).status in (401, 403)
            or "login" in page.request.get(address).url
        )
        page.goto(f"{address}/?token={token}")
        button(page, "Run").wait_for()
        assert page.locator("text=import pandas").count() == 1, (
            "sources are stripped: only the script shows an import"
        )
        assert page.title() == "Synthetic tables side by side"
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent.trim() == 'Run'"):
                break
        page.keyboard.press("Space")
        page.locator(".wb-card").wait_for()
        page.locator("tr", has_text="cart").get_by_text("done").wait_for()
        page.screenshot(path=tmp_path / "voila.png", full_page=True)
        for view in ("card", "groups"):
            button(page, view).click()
            found = Axe().run(page).response["violations"]
            grave = [
                (rule["id"], [node["html"] for node in rule["nodes"]])
                for rule in found
                if rule["impact"] in ("serious", "critical")
            ]
            assert not grave, grave

        table = tmp_path / "mine.csv"
        lines = [
            f"{LABEL if row % 3 else 'plain'},{row % 7},{'yes' if row % 2 else 'no'}"
            for row in range(120)
        ]
        table.write_text("\n".join([f"{HOSTILE},=1+1,outcome", *lines]))
        with page.expect_file_chooser() as chooser:
            page.locator(".wb-page").get_by_text("Upload a table").click()
        chooser.value.set_files(table)
        page.get_by_label("Target column").locator("option", has_text=HOSTILE).wait_for(
            state="attached"
        )
        page.get_by_label("Target column").select_option("outcome")
        page.get_by_label("Sensitive columns").select_option(HOSTILE)
        choose(page, "cart")
        button(page, "Run").click()
        button(page, "card").click()
        page.locator(".wb-card h3", has_text="mine").wait_for()
        button(page, "marginals").click()
        page.locator("figure img").wait_for()
        page.set_viewport_size({"width": 800, "height": 1000})
        width = "document.querySelector('.wb-page figure img').getBoundingClientRect().right"
        # The page may still be at its old width. A figure that does not fit ends in a timeout.
        page.wait_for_function(f"{width} <= innerWidth")
        button(page, "rows").click()
        rows = page.frame_locator("iframe.wb-rows")
        rows.locator("thead", has_text=HOSTILE).first.wait_for()
        rows.locator("td", has_text=LABEL).first.wait_for()
        assert page.locator("img[src=x]").count() == 0 and rows.locator("img[src=x]").count() == 0
        page.screenshot(path=tmp_path / "voila-hostile.png", full_page=True)
        assert not workers(server)
