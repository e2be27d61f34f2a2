"""Folders that can be written, files that nobody else can read, and the site's rows."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from medhive.data.site import load_site
from medhive.data.sources import open_source
from medhive.doctor.finding import Finding, green, grey, red
from medhive.errors import DataError, MedHiveError, StudyError
from medhive.studyfile import read_study

DISK, DATA = "disk", "data file"
SITE_FREE = 50 * 10**6
SERVER_FREE = 500 * 10**6
"""Bytes that a site's home, and a server's folder of results, should have free."""

_PROBE = 64 * 1024


def check_disk(folder: Path, needed: int) -> Finding:
    """Write into a folder, or into the nearest one above it that exists.

    Parameters
    ----------
    folder : Path
    needed : int
        Bytes that should be free.
    """
    place = folder.absolute()
    # unlike Path.exists, this takes what may not be looked at for what is not there
    while not os.path.exists(place):
        place = place.parent
    elsewhere = "free space, or choose another folder"
    if not place.is_dir():
        return red(DISK, f"{place} is a file, not a folder", "choose another folder")
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(_PROBE))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        step = elsewhere if full else "let this user write it, or choose another folder"
        return red(DISK, f"{place} cannot be written: {error.strerror}", step)
    free = shutil.disk_usage(place).free
    if free < needed:
        return red(DISK, f"{place} has {_size(free)} left, less than {_size(needed)}", elsewhere)
    return green(DISK, f"{place} can be written, {_size(free)} left")


def check_private(path: Path) -> str | None:
    """Say what is wrong with the rights on a file of secrets, or on the folder of such files.

    A folder is no fault while others can only list it: what is in it is private itself.
    """
    if os.name != "posix":
        return None
    mode = path.stat().st_mode & 0o777
    others = mode & (0o022 if path.is_dir() else 0o077)
    return f"others on this machine can use {path} (mode {mode:04o})" if others else None


def not_allowed(name: str, error: PermissionError, whose: str) -> Finding:
    """Return the fault of looking at files that belong to another user."""
    return red(
        name,
        f"this user may not look at {error.filename}",
        f"run this as the user that runs {whose}",
    )


def check_data(data: Path | None, study: Path | None, site: str) -> Finding:
    """Read a site's rows, and hold them against a study."""
    if data is None:
        return grey(DATA, "not checked: give --data FILE, and --study STUDY.toml if you have it")
    contract = None
    try:
        if study is not None:
            contract = read_study(study)
            loaded = load_site(data, contract, site)
            used = loaded.n_rows - loaded.n_dropped
            return green(
                DATA,
                f"{data} fits the study {contract.study.name}: {loaded.n_rows} rows, {used} used",
                ticket=f"fits the study {contract.study.name}",
            )
        table = open_source(data)
        rows = sum(batch.num_rows for batch in table.batches(table.names))
    except StudyError as error:
        return red(DATA, str(error), error.next_step or "correct the study file")
    except MedHiveError as error:
        return _unfit(error, contract is not None)
    return green(
        DATA,
        f"{data} can be read: {rows} rows, {len(table.names)} columns; add --study STUDY.toml to"
        " check the values",
        ticket="can be read",
    )


def _unfit(error: MedHiveError, has_study: bool) -> Finding:
    # a cause may quote a patient's value, and so may a column's name, where a header is missing
    kind = "cannot be read" if isinstance(error, DataError) and not has_study else "does not fit"
    line = "" if error.place.line is None else f", at line {error.place.line}"
    return Finding(
        DATA,
        False,
        str(error),
        error.next_step or "correct the file",
        ticket=f"{kind}{line}; the reason may quote the file, and is shown on the screen alone",
    )


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"
