"""Plain English on the pages that people read: words and turns of phrase that a reader stumbles over.

The list holds what was found and replaced once. `make test` keeps it out; add a line when a reader
stumbles.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
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
}
# Generated from docstrings or records by a script of their own, whose text other files hold.
GENERATED = {"metrics.md", "trust.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_holds_a_phrase_that_readers_stumbled_over(page):
    if page.name in GENERATED:
        pytest.skip("made from docstrings")
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
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
