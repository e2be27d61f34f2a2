"""The doctor takes the way that MedHive's own connections take."""

from __future__ import annotations

import os

import httpx
import pytest

from medhive.doctor.network import find_route
from medhive.errors import SettingError

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
HOSTS = (
    "hospital.example:9092",
    "www.hospital.example:443",
    "nothospital.example:9092",
    "localhost:9092",
    "127.0.0.1:9092",
    "10.1.2.3:9092",
    "[::1]:9092",
)
EXCEPTIONS = (
    "",
    "*",
    "hospital.example",
    ".hospital.example",
    "HOSPITAL.example",
    "hospital.example:9092",
    "hospital.example:443",
    "www.hospital.example:443",
    "localhost",
    "localhost,127.0.0.1",
    "127.0.0.1",
    "10.0.0.0/8",
    "10.1.2.3/8",
    "::1",
    "https://hospital.example",
    "https://hospital.example:9092",
    "https://hospital.example:443",
    "http://hospital.example",
    "all://hospital.example",
    "other.example, hospital.example",
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.lower() in PROXY_VARIABLES:
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("exceptions", EXCEPTIONS)
@pytest.mark.parametrize("address", HOSTS)
def test_no_proxy_is_read_as_httpx_reads_it(
    environment: pytest.MonkeyPatch, exceptions: str, address: str
) -> None:
    """A proxy is used for a server exactly where httpx, which makes the connections, uses it."""
    environment.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    environment.setenv("NO_PROXY", exceptions)
    with httpx.Client() as client:
        chosen = client._transport_for_url(httpx.URL(f"https://{address}"))
        uses_proxy = chosen is not client._transport
    route = find_route(address)
    assert (route.proxy is not None) == uses_proxy
    assert route.excepted != uses_proxy


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, ("hospital.example", 9092)),
        ({"HTTP_PROXY": "http://proxy.example:1"}, ("hospital.example", 9092)),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https_proxy": "proxy.example:3128"}, ("proxy.example", 3128)),
        ({"HTTPS_PROXY": "http://proxy.example"}, ("proxy.example", 80)),
        ({"HTTPS_PROXY": "https://proxy.example"}, ("proxy.example", 443)),
        ({"ALL_PROXY": "http://proxy.example:8"}, ("proxy.example", 8)),
        (
            {"ALL_PROXY": "http://other.example:8", "HTTPS_PROXY": "http://proxy.example:9"},
            ("proxy.example", 9),
        ),
    ],
)
def test_the_first_connection_goes_to_the_proxy_for_https(
    environment: pytest.MonkeyPatch, variables: dict[str, str], first: tuple[str, int]
) -> None:
    """HTTPS_PROXY is used, else ALL_PROXY, and not HTTP_PROXY."""
    for name, value in variables.items():
        environment.setenv(name, value)
    assert find_route("hospital.example:9092").first == first


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("ALL_PROXY", "socks5://u:hidden-word@proxy.example:1080", "a SOCKS proxy is set"),
        ("HTTPS_PROXY", "ftp://u:hidden-word@proxy.example", "a proxy setting is malformed"),
        ("HTTPS_PROXY", "http://u:hidden-word@proxy.example:x", "a proxy setting is malformed"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    environment: pytest.MonkeyPatch, variable: str, value: str, cause: str
) -> None:
    """A proxy of another kind is refused, and its password is not repeated."""
    environment.setenv(variable, value)
    with pytest.raises(SettingError, match=cause) as error:
        find_route("hospital.example:9092")
    assert "HTTPS_PROXY" in str(error.value)
    assert "http://HOST:PORT" in str(error.value.next_step)
    assert "hidden-word" not in str(error.value)
