"""The first pass over a text file: its encoding, and how many lines and quotes it has."""

from __future__ import annotations

import codecs
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from medhive.data.encoding import UTF8, find_fault, guess, marked, shown_encoding
from medhive.data.progress import Reading
from medhive.errors import DataError, Place

BLOCK = 1 << 22
"""Bytes that are read at a time."""

_SAVE = 'save it as "CSV UTF-8"'
_OTHER_FORMATS = {
    b"PK\x03\x04": ("an Excel workbook or a zip archive", _SAVE),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", _SAVE),
    b"\x1f\x8b": ("compressed by gzip", "give it a name that ends in .gz"),
    b"PAR1": ("a Parquet file", "give it a name that ends in .parquet"),
}


@dataclass(frozen=True)
class TextFile:
    """A text file and its encoding; what is read from it is UTF-8.

    Parameters
    ----------
    path : Path
        Unpacked if its name ends in ``.gz``.
    encoding : str
        A codec of Python's.
    """

    path: Path
    encoding: str = UTF8

    def open_raw(self) -> BinaryIO:
        """Open the file for its own bytes, unpacked."""
        path = self.path
        return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")

    def open(self) -> pa.NativeFile:
        """Open the file for its content as UTF-8 bytes."""
        packed = "gzip" if self.path.suffix == ".gz" else None
        stream = pa.input_stream(str(self.path), compression=packed)
        if self.encoding == UTF8:
            return stream
        return pa.transcoding_input_stream(stream, self.encoding, UTF8)

    def open_text(self) -> io.TextIOWrapper:
        """Open the file for its content as text, with its own line ends."""
        raw = self.open_raw() if self.encoding == UTF8 else self.open()
        return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


@dataclass(frozen=True)
class Survey:
    """What the first pass found.

    Parameters
    ----------
    file : TextFile
    n_lines : int
        Lines in the file, blank ones included.
    n_quotes : int
        Quote characters in the file.
    note : str
        How the encoding was found, where that has to be said.
    """

    file: TextFile
    n_lines: int
    n_quotes: int
    note: str = ""


def survey(path: Path, encoding: str | None, reading: Reading) -> Survey:
    """Find the encoding of a file, and count its lines and quotes.

    Parameters
    ----------
    path : Path
    encoding : str or None
        As declared; where nothing is, a mark at the start of the file decides, then whether
        all of it is UTF-8, then a guess from its words, if that is a confident one.
    reading : Reading
        Shows how far the pass is.

    Raises
    ------
    DataError
        If it is not text, or not in the declared encoding or in one that can be told.
    OSError, EOFError
        If it cannot be read.
    """
    file = TextFile(path)
    with file.open_raw() as stream:
        start = stream.read(4)
    for magic, (what, step) in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(
                f"this is {what}, not a CSV file", place=Place(file=path), next_step=step
            )
    known = marked(start) or (None if encoding is None else codecs.lookup(encoding).name)
    if known is not None:
        file = TextFile(path, known)
        note = "" if known == UTF8 or encoding is not None else _said(known)
        return Survey(file, *_count(file, reading), note)
    try:
        return Survey(file, *_count(file, reading))
    except DataError:
        found = guess(file.open_raw)
        if found is None:
            raise
    file = TextFile(path, found)
    return Survey(file, *_count(file, reading), f"{_said(found)}, a guess from its words")


def _said(encoding: str) -> str:
    return f"read as {shown_encoding(encoding)}"


def _count(file: TextFile, reading: Reading) -> tuple[int, int]:
    decoder = codecs.getincrementaldecoder(UTF8)()
    n_lines = n_quotes = 0
    last = b""
    try:
        with file.open() as stream, reading.stage(f"surveying {file.path.name}") as stage:
            while block := stream.read(BLOCK):
                if block.endswith(b"\r"):
                    block += stream.read(1)
                if b"\0" in block:
                    before = block[: block.index(b"\0")]
                    raise DataError(
                        "a NUL byte: this is not text, or in an encoding without a mark",
                        place=Place(file=file.path, line=n_lines + _count_lines(before) + 1),
                        next_step='export the data as "CSV UTF-8", or say encoding = "utf-16-le",'
                        " for instance, in a site file",
                    )
                if not block.isascii() or decoder.getstate()[0]:
                    decoder.decode(block)
                n_lines += _count_lines(block)
                n_quotes += block.count(b'"')
                stage.advance(len(block))
                last = block[-1:]
        decoder.decode(b"", final=True)
    except UnicodeError:
        raise find_fault(file.path, file.open_raw, file.encoding) from None
    return n_lines + (last not in (b"\n", b"\r", b"")), n_quotes


def _count_lines(block: bytes) -> int:
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
