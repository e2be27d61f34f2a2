"""The first pass over a text file: is it UTF-8, and how many lines and quotes has it."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path
from typing import BinaryIO, cast

from medhive.errors import DataError, Place

BLOCK = 1 << 22
"""Bytes that are read at a time."""

_OTHER_FORMATS = {
    codecs.BOM_UTF16_LE: ("UTF-16 text", 'save it as "CSV UTF-8"'),
    codecs.BOM_UTF16_BE: ("UTF-16 text", 'save it as "CSV UTF-8"'),
    b"PK\x03\x04": ("an Excel workbook or a zip archive", 'save it as "CSV UTF-8"'),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", 'save it as "CSV UTF-8"'),
    b"\x1f\x8b": ("compressed by gzip", "give it a name that ends in .gz"),
    b"PAR1": ("a Parquet file", "export it as CSV"),
}


def is_gzip(path: Path) -> bool:
    """Say whether the name means a gzip file."""
    return path.suffix == ".gz"


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for its content, unpacked if it is gzip."""
    return cast("BinaryIO", gzip.open(path)) if is_gzip(path) else path.open("rb")


def survey(path: Path) -> tuple[int, int]:
    """Count the lines and quotes of a file.

    Raises
    ------
    DataError
        If it is not UTF-8 text throughout.
    OSError, EOFError
        If it cannot be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_lines = n_quotes = position = 0
    last = b""
    with open_bytes(path) as stream:
        while block := stream.read(BLOCK):
            if block.endswith(b"\r"):
                block += stream.read(1)
            if position == 0:
                _refuse_other_formats(path, block)
            if b"\0" in block:
                before = block[: block.index(b"\0")]
                raise DataError(
                    "a NUL byte: this is not a text file",
                    place=Place(file=path, line=n_lines + _count_lines(before) + 1),
                    next_step='export the data as "CSV UTF-8"',
                )
            if not block.isascii() or decoder.getstate()[0]:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    raise _not_utf8(path, error) from None
            n_lines += _count_lines(block)
            n_quotes += block.count(b'"')
            position += len(block)
            last = block[-1:]
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    return n_lines + (last not in (b"\n", b"\r", b"")), n_quotes


def _count_lines(block: bytes) -> int:
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")


def _refuse_other_formats(path: Path, block: bytes) -> None:
    for start, (what, step) in _OTHER_FORMATS.items():
        if block.startswith(start):
            raise DataError(
                f"this is {what}, not a CSV file in UTF-8", place=Place(file=path), next_step=step
            )


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    """Find the first bad byte again, since the decoder counts from its own block."""
    position = n_lines = 0
    with open_bytes(path) as stream:
        for line in stream:
            n_lines += 1
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as exact:
                error, position = exact, position + exact.start
                break
            position += len(line)
    return DataError(
        f"not UTF-8 text: byte 0x{error.object[error.start]:02X} at position {position}",
        place=Place(file=path, line=n_lines),
        next_step='save the file as UTF-8 (in a spreadsheet: "CSV UTF-8")',
    )
