"""Requests: what is offered, and what is read, to the last member."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import decode_object, encode_object
from coinslot.errors import ConfigError, UsageError
from coinslot.method import Extras
from coinslot.methods.tempo.charge_seller import SellerConfig, TempoChargeSeller
from coinslot.methods.tempo.terms import TempoTerms, read_terms
from coinslot.methods.tempo.tokens import Token, asset, pinned
from support.temposhop import ALPHA, PATH, Shop, fresh_address

TO = "0x742d35cc6634c0532925a3b844bc9e7595f8fe00"
OTHER = "0xa1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2"
GOOD: dict[str, Any] = {
    "amount": "1000000",
    "currency": PATH,
    "recipient": TO,
    "methodDetails": {"chainId": 42431},
}
# The encoded "Split Payment Example" of the document.
EXAMPLE = (
    "eyJhbW91bnQiOiIxMDAwMDAwIiwiY3VycmVuY3kiOiIweDIwYzAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJtZXRob2RE"
    "ZXRhaWxzIjp7ImNoYWluSWQiOjQyMTcsImZlZVBheWVyIjp0cnVlLCJzcGxpdHMiOlt7ImFtb3VudCI6IjUwMDAwIiwicmVjaXBpZW50IjoiMHhB"
    "MUIyQzNENEU1RjZBMUIyQzNENEU1RjZBMUIyQzNENEU1RjZBMUIyIn1dfSwicmVjaXBpZW50IjoiMHg3NDJkMzVDYzY2MzRDMDUzMjkyNWEzYjg0"
    "NEJjOWU3NTk1ZjhmRTAwIn0"
)


def read(request: Mapping[str, Any]) -> TempoTerms:
    """The terms of a request."""
    return read_terms(request, lambda chain_id, address: asset(chain_id, address, pinned(chain_id).get(address)))


def with_details(**details: Any) -> dict[str, Any]:
    """The good request with other details."""
    return {**GOOD, "methodDetails": {**GOOD["methodDetails"], **details}}


def offline(**changes: Any) -> TempoChargeSeller:
    """A seller that never asks a node."""
    config: dict[str, Any] = {
        "rpc_url": "http://127.0.0.1:1",
        "chain_id": 42431,
        "asset": asset(42431, PATH, Token(6, "pathUSD", "USD")),
        "recipient": TO,
        "memo": None,
        "modes": ("pull", "push"),
        "plain_allowed": False,
        "proof_versions": ("3",),
        "simulate": True,
        "confirmations": 0,
        "lag_s": 30,
        "sponsor": None,
    }
    return TempoChargeSeller(SellerConfig(**{**config, **changes}))


@pytest.mark.spec("TCHG-024")
def test_the_documents_example_is_read_as_it_says() -> None:
    """One dollar: 0.95 for the recipient, 0.05 for the platform; addresses in any case."""
    terms = read(decode_object(EXAMPLE))
    assert [(leg.recipient, leg.amount_units) for leg in terms.legs] == [(TO, 950_000), (OTHER, 50_000)]
    assert (terms.chain_id, terms.sponsored, terms.modes) == (4217, True, frozenset({"pull", "push"}))
    assert terms.asset.peg == "USD"


BAD: dict[str, Mapping[str, Any]] = {
    "no amount": {name: value for name, value in GOOD.items() if name != "amount"},
    "amount as a number": {**GOOD, "amount": 1000},
    "negative amount": {**GOOD, "amount": "-1"},
    "signed amount": {**GOOD, "amount": "+1"},
    "fraction": {**GOOD, "amount": "1.0"},
    "exponent": {**GOOD, "amount": "1e6"},
    "leading zero": {**GOOD, "amount": "01"},
    "underscore": {**GOOD, "amount": "1_0"},
    "more than a token holds": {**GOOD, "amount": str(2**128)},
    "no currency": {name: value for name, value in GOOD.items() if name != "currency"},
    "currency by name": {**GOOD, "currency": "usd"},
    "short currency": {**GOOD, "currency": PATH[:-1]},
    "zero recipient": {**GOOD, "recipient": "0x" + "0" * 40},
    "no recipient": {name: value for name, value in GOOD.items() if name != "recipient"},
    "no chain": {**GOOD, "methodDetails": {}},
    "no details": {name: value for name, value in GOOD.items() if name != "methodDetails"},
    "details as text": {**GOOD, "methodDetails": "x"},
    "chain as text": with_details(chainId="42431"),
    "chain as truth": with_details(chainId=True),
    "chain zero": with_details(chainId=0),
    "chain too large": with_details(chainId=2**53),
    "fee payer as text": with_details(feePayer="true"),
    "fee payer as a number": with_details(feePayer=1),
    "short memo": with_details(memo="0x" + "11" * 31),
    "memo without 0x": with_details(memo="11" * 32),
    "memo as a number": with_details(memo=5),
    "no modes": with_details(supportedModes=[]),
    "unknown modes": with_details(supportedModes=["carrier pigeon"]),
    "modes as text": with_details(supportedModes="pull"),
    "no splits": with_details(splits=[]),
    "eleven splits": with_details(splits=[{"recipient": OTHER, "amount": "1"}] * 11),
    "splits as an object": with_details(splits={}),
    "a split as text": with_details(splits=["x"]),
    "a split of zero": with_details(splits=[{"recipient": OTHER, "amount": "0"}]),
    "a split with a sign": with_details(splits=[{"recipient": OTHER, "amount": "+5"}]),
    "a split with a space": with_details(splits=[{"recipient": OTHER, "amount": " 5"}]),
    "a split as a number": with_details(splits=[{"recipient": OTHER, "amount": 5}]),
    "a split without amount": with_details(splits=[{"recipient": OTHER}]),
    "a split without recipient": with_details(splits=[{"amount": "5"}]),
    "a split with a bad memo": with_details(splits=[{"recipient": OTHER, "amount": "5", "memo": "0x11"}]),
    "splits of everything": with_details(splits=[{"recipient": OTHER, "amount": "1000000"}]),
    "splits of more": with_details(splits=[{"recipient": OTHER, "amount": "600000"}] * 2),
    "splits of nothing": {**with_details(splits=[{"recipient": OTHER, "amount": "1"}]), "amount": "0"},
    "external id as a number": {**GOOD, "externalId": 7},
}


@pytest.mark.spec(
    "TCHG-004", "TCHG-005", "TCHG-006", "TCHG-008", "TCHG-012", "TCHG-013", "TCHG-014", "TCHG-015", "TCHG-017",
    "TCHG-018", "TCHG-070",
)  # fmt: skip
@pytest.mark.parametrize("name", BAD)
def test_a_request_that_can_not_be_right_is_refused(name: str) -> None:
    """Each member in its one spelling and range."""
    with pytest.raises(UsageError):
        read(BAD[name])
    assert read(GOOD).amount_units == 1_000_000


def test_unknown_members_and_modes_are_passed_over() -> None:
    """What later versions add does no harm, as long as one mode is known."""
    terms = read({**with_details(supportedModes=["push", "teleport"], later=1), "later": 2})
    assert terms.modes == {"push"}


@given(
    st.integers(1, 2**128 - 1).flatmap(
        lambda total: st.tuples(st.just(total), st.lists(st.integers(1, max(1, total // 10)), max_size=9))
    )
)
def test_legs_sum_to_the_amount(drawn: tuple[int, list[int]]) -> None:
    """Whatever is read as terms is shared out to the unit, each share above zero; anything else is refused."""
    total, shares = drawn
    splits = [{"recipient": OTHER, "amount": str(share)} for share in shares]
    request = {**(with_details(splits=splits) if splits else GOOD), "amount": str(total)}
    if sum(shares) >= total:
        with pytest.raises(UsageError):
            read(request)
        return
    terms = read(request)
    assert sum(payee.amount_units for payee in terms.payees) == total
    assert all(payee.amount_units > 0 for payee in terms.payees)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner)))
def test_nothing_but_a_usage_error_comes_of_junk(junk: object) -> None:
    """No traceback for whatever stands in a member's place."""
    for name in GOOD:
        for request in ({**GOOD, name: junk}, with_details(splits=junk), with_details(memo=junk, feePayer=junk)):
            try:
                read(request)
            except UsageError:
                continue


# --- offers --------------------------------------------------------------------------------------


@pytest.mark.spec("TCHG-003")
def test_an_offer_is_what_it_was_asked_to_be() -> None:
    """Base units as text, lower-case addresses, an explicit chain, and nothing that was not set."""
    offer = offline().offer(Decimal("0.1234567"), Extras())
    assert offer == {
        "amount": "123457",
        "currency": PATH,
        "recipient": TO,
        "methodDetails": {"chainId": 42431},
    }
    assert decode_object(encode_object(dict(offer))) == offer
    details, rest = '"methodDetails":{"chainId":42431}', f'"recipient":"{TO}"'
    text = f'{{"amount":"123457","currency":"{PATH}",{details},{rest}}}'
    assert encode_object(dict(offer)) == base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.spec("TCHG-001", "TCHG-002", "TCHG-009", "TCHG-010")
@pytest.mark.parametrize(
    ("modes", "told"), [(("pull", "push"), None), (("pull",), ["pull"]), (("push",), ["push"])], ids=str
)
def test_modes_are_told_where_one_is_missing(modes: tuple[str, ...], told: list[str] | None) -> None:
    """Left out only where both are taken."""
    details = offline(modes=modes).offer(Decimal(1), Extras())["methodDetails"]
    assert details.get("supportedModes") == told


@pytest.mark.spec("TCHG-009", "TCHG-010")
@pytest.mark.parametrize("extra", [{"memo": "0x" + "11" * 32}, {"fee_payer_key": "01" * 32}], ids=str)
def test_what_can_only_be_pulled_is_offered_as_pull_only(shop: Shop, extra: dict[str, str]) -> None:
    """A memo of one's own or sponsorship excludes push, and asking for it is a mistake in the settings."""
    assert shop.seller(**extra).offer(Decimal(1), Extras())["methodDetails"]["supportedModes"] == ["pull"]
    with pytest.raises(ConfigError, match="pulled only"):
        shop.seller(**extra, modes=("pull", "push"))


@pytest.mark.spec("TCHG-014", "TCHG-015", "TCHG-016", "TCHG-018", "TCHG-019", "TCHG-074")
@pytest.mark.parametrize(
    "shares", [["1"], ["0.6", "0.4"], ["0.5", "0.6"], ["0"], ["0.01"] * 11], ids=lambda shares: "+".join(shares)
)
def test_splits_that_do_not_fit_are_never_offered(shares: list[str]) -> None:
    """Nothing left over, a share of nothing, or too many."""
    with pytest.raises(UsageError):
        offline().offer(Decimal(1), Extras(splits=tuple((OTHER, Decimal(share)) for share in shares)))


@given(st.integers(1, 10**12), st.lists(st.integers(1, 10**6), max_size=10))
def test_an_offer_is_read_back_as_it_was_meant(units: int, shares: list[int]) -> None:
    """Through JSON and back, the sum is exact and nobody gets less than promised."""
    seller = offline()
    total = units + sum(shares)
    splits = tuple((fresh_address(), Decimal(share).scaleb(-6)) for share in shares)
    offer = seller.offer(Decimal(total).scaleb(-6), Extras(splits=splits, external_id="o", description="d"))
    terms = seller.terms(decode_object(encode_object(dict(offer))))
    assert terms.amount_units == total
    assert [payee.amount_units for payee in terms.payees] == [units, *shares]
    assert [payee.recipient for payee in terms.payees] == [TO, *(who for who, _ in splits)]
    assert terms.asset == seller.config.asset


@pytest.mark.spec("TCHG-020")
def test_all_transfers_are_in_the_one_currency() -> None:
    """A split has no currency of its own, whatever it says."""
    terms = read(with_details(splits=[{"recipient": OTHER, "amount": "5", "currency": ALPHA}]))
    assert terms.asset.id == PATH
    assert len(terms.legs) == 2


def test_a_price_of_zero_asks_for_no_transfer(shop: Shop) -> None:
    """Neither sponsorship nor memo mean anything without a transaction."""
    seller = shop.seller(fee_payer_key="01" * 32, memo="0x" + "11" * 32)
    offer = seller.offer(Decimal(0), Extras())
    assert offer["amount"] == "0"
    assert {"feePayer", "memo"}.isdisjoint(offer["methodDetails"])
    assert read(offer).legs == ()


def test_a_price_beyond_the_token_is_never_offered() -> None:
    """A uint128 of base units is all there can be."""
    with pytest.raises(UsageError):
        offline().offer(Decimal(2**128), Extras())


def test_a_token_that_is_not_pinned_has_no_peg() -> None:
    """Nobody becomes a dollar by saying so."""
    terms = read({**GOOD, "currency": "0x20c0" + "11" * 18})
    assert (terms.asset.decimals, terms.asset.peg) == (None, None)
