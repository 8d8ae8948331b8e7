"""Body digests in both deployed spellings, compared as bytes."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coinslot.core.digest import body_digest, parse_digest, same_body
from coinslot.errors import MalformedHeader


@pytest.mark.spec("CORE-041", "CORE-042", "CORE-043")
@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans())
def test_a_digest_fits_its_body_only(body: bytes, other: bytes, rfc9530: bool) -> None:
    """In either spelling."""
    digest = body_digest(body, rfc9530=rfc9530)
    assert same_body(digest, body)
    assume(body != other)
    assert not same_body(digest, other)


def test_spellings_by_hand() -> None:
    """The document's form, the deployed form, and the deployed form without padding, are one digest."""
    raw = hashlib.sha256(b"tea").digest()
    text = base64.b64encode(raw).decode()
    assert body_digest(b"tea") == f"sha-256={text}"
    assert body_digest(b"tea", rfc9530=True) == f"sha-256=:{text}:"
    url = text.replace("+", "-").replace("/", "_").rstrip("=")
    for spelling in (f"sha-256={text}", f"sha-256=:{text}:", f"sha-256={text.rstrip('=')}", f"sha-256={url}"):
        assert parse_digest(spelling) == raw


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ":",
        lambda text: text.replace("=", "=:", 1),
        lambda text: text.replace("sha-256", "sha-512"),
        lambda text: text.replace("sha-256", "SHA-256"),
        lambda text: text + "=",
        lambda text: text[:-2],
        lambda text: text + "\n",
        lambda text: f"{text}, {text}",
        lambda text: text.replace("=", "", 1),
        lambda _: "",
    ],
)
def test_what_can_t_be_read_is_malformed(change: object) -> None:
    """A digest that we can't compare is refused, never skipped."""
    assert callable(change)
    with pytest.raises(MalformedHeader):
        same_body(change(body_digest(b"tea")), b"tea")


@given(st.text(max_size=60))
def test_arbitrary_text_is_malformed(text: str) -> None:
    """Nothing but MalformedHeader comes out."""
    with pytest.raises(MalformedHeader):
        parse_digest(text)
