"""The two images by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from containers import inspect, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200), pytest.mark.usefixtures("images")]


def in_client(*command: str) -> str:
    return run("docker", "run", "--rm", "--entrypoint", command[0], "fl-client", *command[1:])


def test_the_clients_image_is_below_600_mb() -> None:
    """A hospital downloads less than 600 MB."""
    assert inspect("fl-client")["Size"] < 600_000_000


def test_the_client_brings_no_mlflow() -> None:
    """A hospital's image has no MLflow, and the client imports without it and without a server."""
    in_client(
        "python",
        "-c",
        "import importlib.util as u, sys, medhive.client.runtime, medhive.client.joining\n"
        "assert u.find_spec('mlflow') is None\n"
        "assert not {'mlflow', 'uvicorn', 'sqlalchemy'} & set(sys.modules)",
    )


@pytest.mark.parametrize("image", ["fl-client", "medhive-server"])
def test_nobody_is_root(image: str) -> None:
    """Neither image runs as root, nor can what it runs change the program."""
    assert inspect(image)["Config"]["User"] == "10001:10001"
    writable = "find /opt/medhive /usr/local ! -type l -writable -print -quit"
    said = run("docker", "run", "--rm", "--entrypoint", "sh", image, "-c", f"id -u; {writable}")
    assert said.strip() == "10001"


def test_the_client_asks_which_file_is_meant(tmp_path: Path) -> None:
    """A folder with two CSV files, or none, is refused: no client falls back to other rows."""
    tmp_path.chmod(0o755)
    command = (
        f"docker run --rm -v {tmp_path}:/data:ro -e CLIENT_ID=a -e SERVER_ADDRESS=b:1 fl-client"
    )
    with pytest.raises(
        AssertionError, match=r"ended with 2:\nerror: /data is mounted but holds no"
    ):
        run(*command.split())
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").touch()
    with pytest.raises(AssertionError, match="ended with 2:\nerror: /data holds several CSV"):
        run(*command.split())
