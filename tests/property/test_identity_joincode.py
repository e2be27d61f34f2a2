"""Join codes through e-mail and through other people's hands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhive.errors import IdentityError
from medhive.identity.joincode import PREFIX, JoinCode

CODES = st.builds(
    JoinCode,
    address=st.from_regex(r"[a-z0-9.-]{1,40}:[1-9][0-9]{1,4}", fullmatch=True),
    site=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    authority=st.binary(min_size=32, max_size=32),
    secret=st.binary(min_size=16, max_size=16),
)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(CODES)
def test_a_code_is_read_as_it_was_written(code: JoinCode) -> None:
    """Writing and reading loses nothing."""
    assert JoinCode.read(str(code)) == code


@given(CODES, st.lists(st.integers(0, 400), max_size=8), st.sampled_from(["\n", "\r\n", " ", "\t"]))
def test_line_breaks_of_an_e_mail_do_no_harm(code: JoinCode, places: list[int], gap: str) -> None:
    """White space anywhere in a code is ignored."""
    text = str(code)
    for place in places:
        place %= len(text)
        text = text[:place] + gap + text[place:]
    assert JoinCode.read(f" {text}\n") == code


@given(CODES, st.data())
def test_a_missing_character_is_noticed(code: JoinCode, data: st.DataObject) -> None:
    """A code without one of its characters is refused."""
    text = str(code)
    place = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(IdentityError, match="not a whole join code"):
        JoinCode.read(text[:place] + text[place + 1 :])


@given(CODES, st.data())
def test_an_altered_character_is_noticed(code: JoinCode, data: st.DataObject) -> None:
    """A code with another character is refused, or is the same code."""
    text = str(code)
    place = data.draw(st.integers(len(PREFIX), len(text) - 1))
    other = text[:place] + data.draw(st.sampled_from(ALPHABET)) + text[place + 1 :]
    try:
        assert JoinCode.read(other) == code
    except IdentityError as error:
        noticed = error
    else:
        return
    assert (noticed.reason, noticed.exit_code) == ("bad-code", 2)
    assert PREFIX in (noticed.next_step or "")


@given(st.one_of(st.text(), st.text().map(lambda text: PREFIX + text), st.binary().map(repr)))
def test_whatever_is_given_as_a_code_is_no_internal_error(text: str) -> None:
    """Any text that is not a code is refused as one."""
    with pytest.raises(IdentityError):
        JoinCode.read(text)


@given(CODES)
def test_a_code_does_not_show_its_secret(code: JoinCode) -> None:
    """Neither in a log of objects nor in the digest that a site keeps."""
    assert code.secret.hex() not in repr(code) + code.digest
    assert str(code.secret) not in repr(code)
