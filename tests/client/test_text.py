"""Origins in one spelling, what counts as private, and words made safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.client.text import is_private, origin_of, plain
from coinslot.errors import UsageError


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/a?b#c", "https://api.example.com"),
        ("https://api.example.com:443/", "https://api.example.com"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("https://api.example.com:8443/", "https://api.example.com:8443"),
        ("https://api.example.com./", "https://api.example.com"),
        ("https://user:pass@api.example.com/", "https://api.example.com"),
        ("https://good.example@evil.example/", "https://evil.example"),
        ("http://[::1]:80/x", "http://[::1]"),
        ("HTTP://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    """Case, default ports, user names and a final dot make no other origin."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "https://", "/path", "https://a:port/", "https://a:99999/", "https://[::1"]
)
def test_what_is_no_origin_is_an_error(url: str) -> None:
    """UsageError, never a guess."""
    with pytest.raises(UsageError):
        origin_of(url)


@pytest.mark.guard("T37")
def test_only_https_and_this_machine_are_private() -> None:
    """Names that merely look like loopback are not."""
    yes = [
        "https://a.example",
        "http://localhost:1",
        "http://x.localhost",
        "http://127.0.0.1",
        "http://127.9.9.9",
        "http://[::1]:5",
    ]
    no = [
        "http://a.example",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[::2]",
    ]
    assert all(is_private(origin) for origin in yes)
    assert not any(is_private(origin) for origin in no)


@given(st.text())
def test_plain_text_is_printable_and_short(text: str) -> None:
    """Whatever came."""
    shown = plain(text, 20)
    assert shown == "" or shown.isprintable()
    assert len(shown) <= 20
