"""Which encoding a text file is in, and where it is not."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from medhive.errors import DataError, Place

UTF8 = "utf-8"
_MARKS = {
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; UTF-32's come before UTF-16's, which they start with."""

_SAMPLE = 1 << 16
_LEAST_COHERENCE = 0.3
_LEAST_LEAD = 0.05
_USUAL = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp850", "mac_roman")
"""What hospitals' programs write where it is not UTF-8; of names for one reading, the first."""

_BLOCK = 1 << 20


def marked(start: bytes) -> str | None:
    """Return the encoding that the mark at the start of a file says."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)


def shown_encoding(encoding: str) -> str:
    """Return an encoding's usual name."""
    name = encoding.replace("_", "-")
    return re.sub(r"^cp(125\d)$", r"windows-\1", name) if name.startswith("cp") else name.upper()


def guess(open_raw: Callable[[], BinaryIO]) -> str | None:
    """Guess the encoding of text that is not UTF-8; None where the guess is not confident.

    Only lines that are not plain ASCII are looked at. A guess is confident if what it gives looks
    like words of a language, and clearly more so than what any other encoding gives.
    """
    # slow to import, and few files need it
    from charset_normalizer import from_bytes

    sample = bytearray()
    with open_raw() as stream:
        for line in stream:
            if not line.isascii():
                sample += line
            if len(sample) > _SAMPLE:
                break
    matches = from_bytes(bytes(sample), cp_isolation=list(_USUAL))
    ranked = sorted(((match.coherence - match.chaos, match) for match in matches), reverse=True)
    if not ranked or ranked[0][0] < _LEAST_COHERENCE:
        return None
    score, best = ranked[0]
    if any(score - other < _LEAST_LEAD for other, m in ranked[1:] if str(m) != str(best)):
        return None
    alike = [best.encoding, *best.could_be_from_charset]
    return next(name for name in _USUAL if name in alike)


def find_fault(path: Path, open_raw: Callable[[], BinaryIO], encoding: str) -> DataError:
    """Return the error about the first bytes of a file that its encoding does not know."""
    inner = codecs.getincrementaldecoder(encoding)()
    decoder = io.IncrementalNewlineDecoder(inner, translate=True)
    n_lines, n_read = 1, 0
    with open_raw() as stream:
        while True:
            block = stream.read(_BLOCK)
            n_before = n_lines
            try:
                n_lines += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, errors="ignore")
                n_lines = n_before + len(re.findall(r"\r\n?|\n", before))
                start = n_read - (len(error.object) - len(block)) + error.start
                byte = error.object[error.start]
                return _not_in(path, encoding, n_lines, f": byte 0x{byte:02X} at position {start}")
            except UnicodeError:
                return _not_in(path, encoding, None, "")
            n_read += len(block)
            if not block:
                return _not_in(path, encoding, None, "")


def _not_in(path: Path, encoding: str, line: int | None, what: str) -> DataError:
    known = encoding == UTF8
    return DataError(
        f"not {shown_encoding(encoding)} text{what}",
        place=Place(file=path, line=line),
        next_step='save the file as UTF-8 (in a spreadsheet: "CSV UTF-8"), or say its encoding in '
        'a site file, such as encoding = "windows-1252"'
        if known
        else "correct encoding = … in the site file, or save the file as UTF-8",
    )
