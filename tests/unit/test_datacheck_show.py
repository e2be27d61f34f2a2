"""What a data manager sees: the terminal and the page, also where names are hostile."""

from __future__ import annotations

import io
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from medhive.datacheck.page import page, write_page
from medhive.datacheck.report import Report, check_data
from medhive.datacheck.show import show
from medhive.datacheck.words import LEVEL_WORDS, STAYS
from medhive.errors import SettingError
from medhive.study import Study
from medhive.studyfile import read_study
from support import HEART_SITES, HEART_STUDY

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"


def hostile(folder: Path) -> Report:
    """Return a report about a file whose names, values and levels are markup."""
    study = Study.model_validate(
        {
            "study": {
                "name": "s",
                "title": SCRIPT,
                "outcome": {"column": "y\x1b[31m", "event": 1},
            },
            "features": [
                {"name": SCRIPT, "kind": "continuous", "unit": IMAGE[:19], "range": [0, 1]},
                {"name": "cp", "kind": "categorical", "levels": ["<b>a</b>", "b"]},
            ],
        }
    )
    path = folder / "<i>ward.csv"
    rows = [f"{IMAGE[:18]},<b>a</b>,{i % 2},{i}" for i in range(30)]
    path.write_text("\n".join([f"{SCRIPT},cp,y\x1b[31m,{IMAGE}", *rows]) + "\n", encoding="utf-8")
    return check_data(path, study)


class Tags(HTMLParser):
    """Collects the elements of a page, and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "action"}:
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def test_names_and_values_are_no_markup(tmp_path: Path) -> None:
    """A column named as a script, levels and values with tags: the page shows them as text."""
    text = page(hostile(tmp_path))
    found = Tags()
    found.feed(text)
    assert found.tags.isdisjoint({"script", "img", "i"})
    assert found.handlers == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_loads_nothing() -> None:
    """The page has no link, no script, no import, and forbids the browser to load anything."""
    text = page(check_data(HEART_SITES["va"], read_study(HEART_STUDY)))
    found = Tags()
    found.feed(text)
    assert found.links == []
    assert found.tags.isdisjoint({"script", "link", "iframe", "object", "embed"})
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|https?://", text)
    assert "A4" in text


def test_the_page_says_that_it_stays_in_the_hospital() -> None:
    """The page says that it holds the hospital's own figures and is not meant to leave."""
    text = page(check_data(HEART_SITES["va"], read_study(HEART_STUDY)))
    assert STAYS.replace("'", "&#39;") in text


def test_a_new_page_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    """The page holds patients' values, so that others on the machine cannot read it."""
    write_page(hostile(tmp_path), tmp_path / "report.html")
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600


def test_a_page_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    """A folder in the page's place is an error about --html."""
    with pytest.raises(SettingError, match="--html"):
        write_page(hostile(tmp_path), tmp_path)


@pytest.mark.parametrize("terminal", [True, False])
def test_no_name_steers_the_terminal(terminal: bool, tmp_path: Path) -> None:
    """Escape sequences in a column's name are replaced; markup of Rich is text."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, color_system=None)
    show(hostile(tmp_path), console)
    assert "\x1b[31m" not in stream.getvalue()
    assert "[31m" in stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("site", sorted(HEART_SITES))
def test_a_terminal_of_any_width_is_enough(site: str, width: int) -> None:
    """No line is longer than the terminal or 100 columns; levels are words, not only colours."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    report = check_data(HEART_SITES[site], read_study(HEART_STUDY))
    show(report, console)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= min(width, 100)
    for level, word in LEVEL_WORDS.items():
        found = re.findall(rf"^{word} +\w+: ", text, re.MULTILINE)
        assert len(found) == report.count(level)
    assert " ".join(text.split()).endswith(f"{report.verdict} next: {report.next_step}")


def test_another_program_gets_one_line_a_finding(tmp_path: Path) -> None:
    """Without a terminal there is no colour, and a finding with its next step is one line."""
    report = hostile(tmp_path)
    stream = io.StringIO()
    show(report, Console(file=stream))
    text = stream.getvalue()
    assert "\x1b" not in text
    for finding in report.findings:
        word = {"break": "BREAK", "warning": "WARNING"}.get(finding.level, finding.level)
        (line,) = [
            line
            for line in text.splitlines()
            if line.startswith(word) and finding.sentence[:40] in line
        ]
        assert not finding.next_step or "\N{RIGHTWARDS ARROW}" in line


def test_a_terminal_without_unicode_gets_question_marks(tmp_path: Path) -> None:
    """A terminal that has ASCII alone shows the report."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(hostile(tmp_path), Console(file=stream))
    stream.flush()
