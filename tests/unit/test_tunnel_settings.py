"""A tunnel's options, the addresses it reads, and the secrets it hides."""

from __future__ import annotations

import re

import pytest

from medhive.errors import SettingError
from medhive.tunnel import TunnelKind, TunnelSettings, split_address
from medhive.tunnel.command import CommandAgent
from medhive.tunnel.redact import Redactor
from medhive.tunnel.supervisor import Up


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"kind": TunnelKind.COMMAND}, "--tunnel-command"),
        ({"kind": TunnelKind.COMMAND, "command": "  "}, "--tunnel-command"),
        ({"command": "ssh"}, "--tunnel-command"),
        ({"kind": TunnelKind.NGROK, "command": "ssh"}, "--tunnel-command"),
        ({"kind": TunnelKind.NGROK, "pattern": "x"}, "--tunnel-pattern"),
        ({"kind": TunnelKind.NGROK, "address": "1.tcp.eu.ngrok.io"}, "--tunnel-address"),
        ({"address": "1.tcp.eu.ngrok.io:1"}, "--tunnel-address"),
        ({"kind": TunnelKind.NGROK, "timeout": 0.0}, "--tunnel-timeout"),
        ({"kind": TunnelKind.NGROK, "timeout": float("nan")}, "--tunnel-timeout"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, object], setting: str) -> None:
    """A missing, malformed or useless option is an error that names it and the next step."""
    with pytest.raises(SettingError) as caught:
        TunnelSettings(**options)  # type: ignore[arg-type]
    assert caught.value.place.setting == setting
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.tcp.ngrok.io:12345", ("0.tcp.ngrok.io", 12345)),
        ("tcp://relay:1", ("relay", 1)),
        ("[2001:db8::1]:9092", ("2001:db8::1", 9092)),
    ],
)
def test_an_address_is_split(text: str, parts: tuple[str, int]) -> None:
    """Host names, IPv6 addresses and tcp:// are understood."""
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["", "relay", "relay:0", "relay:65536", "https://a:1", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Anything but HOST:PORT is an error."""
    with pytest.raises(SettingError, match="not an address"):
        split_address(text)


def read(
    line: str, pattern: str | None = None, known: str | None = None, host: str = "127.0.0.1"
) -> str | None:
    compiled = None if pattern is None else re.compile(pattern)
    news = CommandAgent(["/bin/x"], compiled, known, host, 9092).read(line)
    assert news is None or isinstance(news, Up)
    return None if news is None else news.address


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (
            "2024-01-01T12:00:00Z  INFO bore_cli::client: listening at bore.pub:35735",
            "bore.pub:35735",
        ),
        ("Forwarding TCP connections from tcp://serveo.net:40123", "serveo.net:40123"),
        ("Forwarding TCP traffic from serveo.net:40123", "serveo.net:40123"),
        ("tcp://abc-10-0-0-1.a.free.pinggy.link:44011", "abc-10-0-0-1.a.free.pinggy.link:44011"),
        ("\x1b[1mtcp://relay:7000/\x1b[0m", "relay:7000"),
        ("127.0.0.1:9092 <- 203.0.113.7:4000, ready", "203.0.113.7:4000"),
        ('msg="started" addr=//localhost:9092 url=tcp://0.tcp.ngrok.io:123', "0.tcp.ngrok.io:123"),
        ("at [2001:db8::1]:7000.", "[2001:db8::1]:7000"),
        ("address=relay.example.org:443", "relay.example.org:443"),
        ("localhost:9092", None),
        ("tcp://127.0.0.1:9092", None),
        ("2024/01/01 12:00:01 [I] [service.go:295] login to server success", None),
        ("Starting metrics server on 127.0.0.1:20241/metrics", None),
        ("Visit https://abc.trycloudflare.com:443/ or http://a.b:80", None),
        ("dial tcp 203.0.113.7:7000: connect: connection refused", None),
        ("version 1.2:30", None),
        ("relay.example.org:99999", None),
    ],
)
def test_the_default_pattern_finds_the_public_address_alone(line: str, address: str | None) -> None:
    """The relay's address is read as ssh, bore, ngrok and others print it; nothing else is."""
    assert read(line) == address


def test_a_pattern_may_name_the_address_or_its_parts() -> None:
    """Groups address, host and port, a plain group, or the whole match; the rest is known."""
    assert read("up <relay:7000>", r"up <(?P<address>\S+)>") == "relay:7000"
    assert read("host relay port 7000", r"host (?P<host>\w+) port (?P<port>\d+)") == "relay:7000"
    assert read("up <relay:7000>", r"<(\S+)>") == "relay:7000"
    assert read("up relay:7000", r"relay:\d+") == "relay:7000"
    line = "Allocated port 41233 for remote forward to localhost:9092"
    assert read(line, r"Allocated port (?P<port>\d+)", "relay.example") == "relay.example:41233"
    assert (
        read("[I] start proxy success", "start proxy success", "frp.example:7") == "frp.example:7"
    )
    assert read("[I] login", "start proxy success", "frp.example:7") is None


@pytest.mark.parametrize(
    "text",
    [
        "token=abc123def",
        "Your authtoken: abc123def",
        "--token abc123def",
        'password = "abc123def"',
        "https://user:abc123def@relay.example/",
        "the value is abc123def indeed",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    """Known secrets, values named as secrets, and passwords in URLs are replaced."""
    assert "abc123def" not in Redactor(["abc123def"]).hide(text)
    if "indeed" not in text:
        assert "abc123def" not in Redactor([]).hide(text)


def test_what_is_no_secret_stays() -> None:
    """An empty or short value is not replaced everywhere."""
    assert Redactor(["", "1"]).hide("port 1111 of relay") == "port 1111 of relay"
