"""The report for other readers: a page that stands alone, and JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from medhive.datacheck import words
from medhive.datacheck.report import Report
from medhive.errors import Place, SettingError


def page(report: Report) -> str:
    """Return the report as one HTML page that loads nothing from elsewhere."""
    environment = Environment(
        loader=PackageLoader("medhive.datacheck"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = words.printable
    template = environment.get_template("report.html.j2")
    return template.render(report=report, words=words, version=version("medhive"))


def as_json(report: Report) -> str:
    """Return the report as JSON. It holds the hospital's own figures, as the page does."""
    study = report.study.study
    content = {
        "medhive": version("medhive"),
        "study": study.name,
        "contract_sha256": report.study.sha256,
        "source": report.source,
        "fits": report.fits,
        "verdict": report.verdict,
        "next": report.next_step,
        "rows": asdict(report.rows) | {"kept": report.rows.kept},
        "outcome": asdict(report.outcome),
        "features": [asdict(each) for each in report.features],
        "missing_patterns": [asdict(each) for each in report.patterns],
        "findings": [
            {
                "level": each.level,
                "about": each.about,
                "where": each.where,
                "sentence": each.sentence,
                "next": each.next_step,
            }
            for each in report.findings
        ],
        "notes": report.notes,
        "allow_drop": report.allow_drop,
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def require_writable(path: Path) -> None:
    """Make sure, before the rows are read, that a page can be written.

    Raises
    ------
    SettingError
    """
    if path.is_dir():
        cause, step = "this is a folder", "name a file in it, such as report.html"
    elif not path.parent.is_dir():
        cause, step = f"there is no folder {path.parent}", "make it, or choose another"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        cause, step = "it cannot be written", "choose another file"
    else:
        return
    raise SettingError(cause, place=Place(file=path, setting="--html"), next_step=step)


def write_page(report: Report, path: Path) -> None:
    """Write the page so that a new file can be read by this user alone.

    Raises
    ------
    SettingError
        If it cannot be written.
    """
    text = page(report)
    try:
        with open(
            path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)
        ) as stream:
            stream.write(text)
    except OSError as error:
        raise SettingError(
            f"cannot be written: {error.strerror}",
            place=Place(file=path, setting="--html"),
            next_step="choose another file",
        ) from None
