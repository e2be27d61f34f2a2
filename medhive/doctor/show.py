"""Findings for people, one line each, and for support tickets."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medhive.doctor.finding import Finding

_SIGNS = {True: ("✓", "ok", "green"), False: ("✗", "FAIL", "red"), None: ("\u2013", "--", "dim")}
_STATUS = {True: "ok", False: "failed", None: "not checked"}
_NAME = 11


def show(findings: Iterable[Finding], console: Console) -> bool:
    """Print findings as they come; return whether nothing failed."""
    kept = []
    for finding in findings:
        kept.append(finding)
        if console.is_terminal:
            console.print(_wrapped(finding, console))
        else:
            # one line stays one line for other programs
            console.print(_plain(finding, console), soft_wrap=True, markup=False)
    count, failed = len(kept), sum(finding.ok is False for finding in kept)
    done = sum(finding.ok is not None for finding in kept)
    left = f", {count - done} not checked" if count > done else ""
    verdict = f"{failed} of {done} checks failed{left}" if failed else f"all in order{left}"
    console.print()
    console.print(Text(verdict, style="bold red" if failed else "bold green"))
    return not failed


def as_ticket(findings: Iterable[Finding], role: str) -> tuple[str, bool]:
    """Return findings as JSON that holds no secret and no patient's value, and the verdict."""
    kept = list(findings)
    ok = all(finding.ok is not False for finding in kept)
    ticket = {
        "medhive": version("medhive"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "time": f"{datetime.now(UTC):%FT%TZ}",
        "role": role,
        "ok": ok,
        "checks": [dict(_entry(finding)) for finding in kept],
    }
    return json.dumps(ticket, indent=2, ensure_ascii=False), ok


def _wrapped(finding: Finding, console: Console) -> Table:
    sign, width, style = _sign(finding, console)
    dim = "dim" if finding.ok is None else ""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=width)
    grid.add_column(width=_NAME)
    grid.add_column(overflow="fold")
    grid.add_row(
        Text(sign, style=f"bold {style}"),
        Text(finding.name, style=dim or "bold"),
        Text(_fit(console, finding.detail), style=dim),
    )
    if finding.next_step:
        step = Text.assemble(("next: ", "bold"), _fit(console, finding.next_step))
        grid.add_row("", "", step)
    return grid


def _plain(finding: Finding, console: Console) -> str:
    sign, width, _ = _sign(finding, console)
    line = f"{sign:{width}} {finding.name:{_NAME}} {finding.detail}"
    if finding.next_step:
        line += f"\n{'':{width + _NAME + 1}} next: {finding.next_step}"
    return _fit(console, line)


def _sign(finding: Finding, console: Console) -> tuple[str, int, str]:
    """Return a finding's sign, the width of signs, and the style."""
    fancy = "".join(sign for sign, _, _ in _SIGNS.values())
    sign, word, style = _SIGNS[finding.ok]
    return (sign, 1, style) if _fit(console, fancy) == fancy else (word, 4, style)


def _entry(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "check", finding.name
    yield "status", _STATUS[finding.ok]
    yield "detail", finding.ticket or finding.detail
    if finding.next_step and not finding.ticket:
        yield "next", finding.next_step


def _fit(console: Console, text: str) -> str:
    """Replace what the terminal's encoding does not have."""
    return text.encode(console.encoding, "replace").decode(console.encoding)
