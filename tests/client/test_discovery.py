"""Reading what services advertise: both forms, nothing believed that is malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.client.discovery import MAX_DOCUMENT_BYTES, Advertised, Operation, read_discovery, read_offers
from coinslot.errors import MalformedHeader

ONE = {"intent": "charge", "method": "toy", "amount": "10", "currency": "coin", "description": "tea"}
READ = Advertised("charge", "toy", 10, "coin", "tea")


def document(info: Any) -> bytes:
    """One operation with this payment information."""
    paths = {"/a/{b}": {"get": {"x-payment-info": info}, "parameters": [], "summary": "x"}, "/free": {"get": {}}}
    return json.dumps({"openapi": "3.1.0", "info": {}, "paths": paths}).encode()


@pytest.mark.spec("DISC-019", "DISC-020")
def test_one_offer_is_a_list_of_one() -> None:
    """The short form and the list of one mean the same."""
    assert read_discovery(document(ONE)) == read_discovery(document({"offers": [ONE]}))
    assert read_discovery(document(ONE)) == (Operation("GET", "/a/{b}", (READ,)),)


@pytest.mark.spec("DISC-021", "DISC-024", "DISC-025")
def test_several_offers_are_alternatives_in_order() -> None:
    """Also of kinds that we can't pay; null is a price that depends."""
    other = {"intent": "session", "method": "unheard", "amount": None}
    (operation,) = read_discovery(document({"offers": [other, ONE]}))
    assert operation.offers == (Advertised("session", "unheard", None), READ)


@pytest.mark.spec("DISC-022", "DISC-023", "DISC-024", "DISC-026", "DISC-027")
@pytest.mark.parametrize(
    "changed",
    [
        {"intent": "gift"}, {"intent": None}, {"method": 7}, {"amount": "010"}, {"amount": "1.5"}, {"amount": "-1"},
        {"amount": 10}, {"amount": "1٣"}, {"amount": ""}, {"amount": "9" * 79},
    ],
)  # fmt: skip
def test_a_malformed_offer_is_passed_over(changed: dict[str, Any]) -> None:
    """The others count."""
    assert read_offers({"offers": [{**ONE, **changed}, "x", ONE]}) == (READ,)
    assert read_offers({**ONE, **changed}) == ()
    for name in changed:
        assert read_offers({key: value for key, value in ONE.items() if key != name}) == ()


def test_an_offer_must_have_an_amount_even_if_null() -> None:
    """An absent amount is no price that depends."""
    assert read_offers({"intent": "charge", "method": "toy"}) == ()


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"openapi":"2.0"}', b'{"swagger":"2.0"}', b" " * MAX_DOCUMENT_BYTES + b"{}"]
)
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    """By name, and before it is read where it is too long."""
    with pytest.raises(MalformedHeader):
        read_discovery(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ONE, "offers", "get"]) | st.text(max_size=4), inner)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_document_breaks_the_reader(info: Any, paths: Any) -> None:
    """Whatever stands where offers or paths should be."""
    read_discovery(document(info))
    read_discovery(json.dumps({"openapi": "3.0.0", "paths": paths}).encode())
