"""Plain English on the pages that people read: words and turns of phrase that a reader stumbles over.

The list holds what was found and replaced once. `make test` keeps it out; add a line when a reader
stumbles.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LESSONS = sorted([*(ROOT / "notebooks").glob("[0-9]*.ipynb"), ROOT / "notebooks" / "start.ipynb"])
# pattern -> what to write instead
STUMBLES = {
    r"held between a floor and a ceiling": "shown beside a worst case and a real-data reference",
    r"whatever is clicked": "your choices",
    r"row of the report": "listed in the report",
    r"\bits last line\b": "last error message",
    r"data by name\b": "named datasets",
    r"make rows up": "generate data",
    r"keeps nobody's secret": "protects nobody",
    r"game has one player": "only one network is trained",
    r"\btaken? along\b": "export",
    r"the model's manners": "a plausibility check",
    r"who only wants": "users who only need",
    r"by heart\b": "memorized",
    r"\blearnt\b": "learned",
    r"\bis worth(?: it)?\b": "is useful, helps, costs",
    r"\bhangs? together\b": "is associated, depend on each other",
    r"\banew\b": "again",
    r"\bheld against\b": "compared with",
    r"\bbeforehand\b": "in advance",
    r"\bsave for\b": "except",
    r"\bbut for\b": "except for",
    r"\bheap\b": "group",
    r"\bwhich see\b": "see",
    r"\bwhereof\b|\bthereof\b|\bwherein\b|\btherein\b": "of which, in it",
    r"\bnobody's\b": "no one's",
    r"\bof one's own\b|\bone's own\b": "your own",
    r"\bput to the test\b": "tested",
    r"\btcp://HOST:PORT\b": "an address that is no link",
    r"\bhang(?:ing)? together\b": "depend on each other",
    r"\bheaps\b": "groups, modes, clusters",
    r"\b(?:the|clear) ties?\b|\btie between\b": "the association",
    r"\bhence\b|\bwhence\b|\blest\b|\bthereby\b": "so, that is why",
    r"\bwhoever\b": "anyone who, a person who",
    r"\bworth (?:nothing|anything)\b": "of no use, help",
    r"\bgives? (?:nobody|anybody|people|them) away\b|\bpeople away\b": "reveals",
    r"\brows that a program made up\b": "rows that a model generates",
    r"\bfor ever\b": "for good",
    r"\bto be had\b|\bto be got\b": "available",
    r"\bof late\b|\bas it were\b|\bso to speak\b": "(nothing)",
    r"\bnot a whit\b|\bin no wise\b|\bby and by\b": "not at all, later",
    r"\bwherefore\b|\bwhereupon\b|\bhitherto\b": "so, then, until now",
}
# Generated from docstrings or records by a script of their own, whose text other files hold.
GENERATED = {"metrics.md", "trust.md"}


def prose(page: Path) -> str:
    """A page's text, or the text cells of a notebook, one after the other."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return text


@pytest.mark.parametrize("page", [*PAGES, *LESSONS], ids=lambda page: page.name)
def test_no_page_holds_a_phrase_that_readers_stumbled_over(page):
    if page.name in GENERATED:
        pytest.skip("made from docstrings")
    text = re.sub(r"```.*?```", "", prose(page), flags=re.S)
    text = " ".join(text.split())
    found = [
        f"{match[0]!r} (write: {better}) in …{text[max(match.start() - 40, 0) : match.end() + 20]}…"
        for pattern, better in STUMBLES.items()
        for match in re.finditer(pattern, text, flags=re.I)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_can_be_read_in_one_breath(page):
    """Prose sentences of at most 60 words: tables, code and lists of links are left out."""
    if page.name in GENERATED:
        pytest.skip("made from docstrings")
    text = re.sub(
        r"```.*?```|^\|.*$|^    .*$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M
    )
    text = re.sub(r"\]\([^)]*\)", "]", text)
    long = []
    for paragraph in re.split(r"\n\s*\n|\n(?=[-#\d])", text):
        for sentence in re.split(r"(?<=[.?!:;])\s", " ".join(paragraph.split())):
            if len(sentence.split()) > 60:
                long.append(sentence)
    assert not long, long


def test_the_list_sees_what_it_is_for():
    """A pattern that matches nothing would pass every page."""
    assert re.search(next(iter(STUMBLES)), "every number held between a floor and a ceiling")
    assert all(re.compile(pattern) for pattern in STUMBLES)
