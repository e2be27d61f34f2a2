"""The documentation says what the code does."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from medhive import errors
from medhive.cli.main import STOPPED, TERMINATED
from medhive.errors import MedHiveError
from medhive.study import TUNING, Feature, Header, Outcome, Privacy, Run, Study

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def _page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("`[study]`", Header),
        ("`outcome`", Outcome),
        ("`[run]`", Run),
        ("`[privacy]`", Privacy),
        ("`[[features]]`", Feature),
    ],
)
def test_every_key_of_the_study_file_is_documented(heading: str, model: type[BaseModel]) -> None:
    """study-file.md has one row a key of the contract, with its default, and no other row."""
    rows = re.findall(
        r"^\| `([\w-]+)` \| [^|]+ \| ([^|]*) \|",
        _sections(_page("study-file.md"))[heading],
        re.MULTILINE,
    )
    documented = dict(rows)
    assert len(documented) == len(rows)
    assert set(documented) == {field.alias or key for key, field in model.model_fields.items()}
    for key, field in model.model_fields.items():
        shown = documented[field.alias or key]
        if field.is_required():
            assert shown == "required", key
        elif isinstance(field.default, bool):
            assert shown == f"`{str(field.default).lower()}`", key
        elif isinstance(field.default, str):
            assert shown == f'`"{field.default}"`', key
        elif isinstance(field.default, int | float):
            assert float(shown.strip("`")) == field.default, key


@pytest.mark.parametrize("strategy", TUNING)
def test_every_strategy_is_documented_with_its_own_keys(strategy: str) -> None:
    """study-file.md has one row a strategy, with its extra keys and their defaults."""
    (row,) = re.findall(rf"^\| `{strategy}` \| (.*) \|$", _page("study-file.md"), re.MULTILINE)
    found = {key: float(value) for key, value in re.findall(r"`([a-z0-9-]+) = ([\d.e-]+)`", row)}
    assert found == {key.replace("_", "-"): value for key, value in TUNING[strategy].items()}


def test_the_example_of_the_study_file_is_valid() -> None:
    """The example in study-file.md is a contract."""
    from medhive.studyfile import parse_study

    (example,) = re.findall(
        r"^```toml\n(.*?)^```", _page("study-file.md"), re.DOTALL | re.MULTILINE
    )
    assert isinstance(parse_study(example, file="study-file.md"), Study)


def _errors() -> Iterator[type[MedHiveError]]:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, MedHiveError):
            yield kind


@pytest.mark.parametrize("kind", _errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_section(kind: type[MedHiveError]) -> None:
    """errors.md has a section under each error's anchor, which names the error and its code."""
    section = _sections(_page("errors.md"))[kind.anchor]
    assert kind.__name__ in section
    assert f"exit code {kind.exit_code}" in section.lower()


def test_every_exit_code_is_in_the_table() -> None:
    """errors.md's table has every exit code that a command may end with, and no other."""
    table = _sections(_page("errors.md"))["Exit codes"]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert listed == {0, STOPPED, TERMINATED, *(kind.exit_code for kind in _errors())}


def test_the_commands_page_is_current() -> None:
    """cli.md is what scripts/make-cli-docs writes now."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make-cli-docs", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_leads_somewhere() -> None:
    """No relative link in the documentation is broken, nor is an anchor."""
    broken = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"https?:|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            if not file.exists() or (anchor and anchor not in _anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
