"""A site's own key: made at the site, kept at the site."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from medhive.errors import Place, SettingError


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises
    ------
    FileExistsError
        If there is such a file and it may not be replaced.
    """
    private_folder(path.parent)
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(part).replace(path)
        else:
            os.link(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key.

    Raises
    ------
    SettingError
        If the file is not a PEM file of an elliptic-curve key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingError(
            "not a private key that MedHive wrote",
            place=Place(file=path),
            next_step="restore the file from a backup, or move it away to get a new key",
        )
    return key


def site_key(home: Path) -> ec.EllipticCurvePrivateKey:
    """Return the site's key; the first call makes it.

    Raises
    ------
    SettingError
        If the file is not a key, or the folder cannot be written.
    """
    path = home / "site.key"
    try:
        if not path.exists():
            with suppress(FileExistsError):  # another client of this site was first
                write_private(path, key_pem(new_key()), replace=False)
        return load_key(path)
    except OSError as error:
        raise SettingError(
            f"the site's key cannot be read or written: {error.strerror}",
            place=Place(file=path),
            next_step="choose a folder that you may write with --home",
        ) from None
