"""The request object of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.errors import UsageError, VerificationFailed
from coinslot.methods.tempo.session.escrow import CHANNEL_RESERVE, V1, V2, Escrow
from coinslot.methods.tempo.session.snapshot import Snapshot
from coinslot.methods.tempo.session.terms import (
    SessionTerms,
    read_session_terms,
    require_parties,
    require_terms,
    write_session_request,
)
from support.tempochannel import ALPHA, BOTH, E1, E2, OPERATOR, PATH, PAYEE, asset_of, channel, descriptor, terms

REQUEST: dict[str, Any] = {
    "amount": "25",
    "unitType": "llm_token",
    "suggestedDeposit": "10000000",
    "currency": PATH,
    "recipient": PAYEE,
    "methodDetails": {"escrowContract": CHANNEL_RESERVE, "chainId": 42431, "sessionProtocol": "v2"},
}


def read(request: Mapping[str, Any]) -> SessionTerms:
    """The terms of a request."""
    return read_session_terms(request, asset_of)


def detailed(**details: Any) -> dict[str, Any]:
    """The request with other details; None leaves one out."""
    merged = {**REQUEST["methodDetails"], **details}
    return {**REQUEST, "methodDetails": {name: value for name, value in merged.items() if value is not None}}


@pytest.mark.spec("TSES-029", "TSES-030", "TSES-031", "TSES-033")
def test_the_documents_request_is_read() -> None:
    """All of its members, in base units."""
    assert read(REQUEST) == SessionTerms(
        escrow=E2,
        asset=asset_of(42431, PATH),
        recipient=PAYEE,
        amount_units=25,
        unit_type="llm_token",
        suggested_deposit_units=10_000_000,
    )


def test_all_optional_members_are_read() -> None:
    """Each has its place in the terms."""
    found = read(detailed(operator=OPERATOR, channelId="0x" + "AB" * 32, minVoucherDelta="7", feePayer=True))
    assert (found.operator, found.channel_id, found.min_voucher_delta_units, found.sponsored) == (
        OPERATOR, "0x" + "ab" * 32, 7, True,
    )  # fmt: skip


@pytest.mark.spec("TSES-008", "TSES-056")
def test_case_and_unknown_members_change_nothing() -> None:
    """Addresses are compared by value; what we don't know is passed over."""
    shouted = detailed(escrowContract="0x" + CHANNEL_RESERVE[2:].upper(), feeToken=ALPHA, more={"a": 1})
    shouted |= {"recipient": "0x" + PAYEE[2:].upper(), "currency": "0x" + PATH[2:].upper(), "unknown": [1]}
    assert read(shouted) == read(REQUEST)


@pytest.mark.spec("TSES-006")
def test_the_protocol_is_the_one_indicated() -> None:
    """Absent means v1; any other name is refused, never guessed."""
    assert read(detailed(sessionProtocol=None)).version == V1
    assert read(detailed(sessionProtocol="v1")).version == V1
    assert read(detailed()).version == V2
    for name in ("v3", "V2", "", 2, True, ["v2"]):
        with pytest.raises(UsageError, match="sessionProtocol"):
            read(detailed(sessionProtocol=name))


@pytest.mark.spec("TSES-037")
def test_without_an_operator_it_is_nobody() -> None:
    """In v2 the zero address; v1 has none, whatever is written."""
    assert read(detailed()).operator == ZERO_ADDRESS
    assert read(detailed(operator=ZERO_ADDRESS)).operator == ZERO_ADDRESS
    assert read(detailed(sessionProtocol="v1", operator=OPERATOR)).operator == ZERO_ADDRESS


BAD_AMOUNTS = ["", "0x10", "1.5", "-1", "+1", "01", "1_0", " 1", "1e3", 25, True, ["1"], str(2**96), "9" * 79]


@pytest.mark.guard("T20")
@pytest.mark.parametrize("value", BAD_AMOUNTS)
def test_amounts_are_strict(value: object) -> None:
    """Decimal digits in the range of the protocol, nothing else, wherever an amount stands."""
    for request in (
        {**REQUEST, "amount": value},
        {**REQUEST, "suggestedDeposit": value},
        detailed(minVoucherDelta=value),
    ):
        with pytest.raises(UsageError):
            read(request)


@pytest.mark.spec("TSES-018")
def test_v1_amounts_are_wider_than_v2_amounts() -> None:
    """uint128 and uint96."""
    assert read({**detailed(sessionProtocol="v1"), "amount": str(2**128 - 1)}).amount_units == 2**128 - 1
    assert read({**REQUEST, "amount": str(2**96 - 1)}).amount_units == 2**96 - 1
    for request, units in ((detailed(sessionProtocol="v1"), 2**128), (REQUEST, 2**96)):
        with pytest.raises(UsageError, match="more than"):
            read({**request, "amount": str(units)})


@pytest.mark.spec("TSES-029", "TSES-030", "TSES-031", "TSES-033")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount": None}, "amount"),
        ({"amount": "0"}, "price"),
        ({"currency": None}, "currency"),
        ({"currency": ZERO_ADDRESS}, "currency"),
        ({"recipient": None}, "recipient"),
        ({"recipient": ZERO_ADDRESS}, "recipient"),
        ({"methodDetails": None}, "methodDetails"),
        ({"methodDetails": []}, "methodDetails"),
        ({"unitType": ""}, "unitType"),
        ({"unitType": "x" * 65}, "unitType"),
        ({"unitType": 5}, "unitType"),
        (detailed(escrowContract=None), "escrowContract"),
        (detailed(escrowContract=ZERO_ADDRESS), "escrowContract"),
        (detailed(chainId=None), "chainId"),
        (detailed(chainId="42431"), "chainId"),
        (detailed(chainId=True), "chainId"),
        (detailed(chainId=0), "chainId"),
        (detailed(channelId="0x12"), "channelId"),
        (detailed(operator="nobody"), "operator"),
        (detailed(feePayer="true"), "feePayer"),
        (detailed(sessionSnapshot={}), "chainId"),
        (detailed(sessionSnapshot="x"), "sessionSnapshot"),
    ],
)
def test_a_request_with_a_bad_member_is_refused_by_its_name(change: dict[str, Any], reason: str) -> None:
    """The message names the member."""
    with pytest.raises(UsageError, match=reason):
        read({**REQUEST, **change})


@pytest.mark.spec("TSES-005", "TSES-007", "TSES-036")
@pytest.mark.parametrize("place", BOTH)
def test_terms_are_written_as_they_are_read(place: Escrow) -> None:
    """Protocol, chain and escrow are always said."""
    one = terms(
        place, suggested_deposit_units=7, channel_id="0x" + "ab" * 32, min_voucher_delta_units=3, sponsored=True
    )
    request = write_session_request(one)
    assert read(request) == one
    assert request["methodDetails"]["sessionProtocol"] == place.version.name
    assert request["methodDetails"]["chainId"] == 42431
    assert request["methodDetails"]["escrowContract"] == place.address


def test_a_snapshot_travels_with_the_terms() -> None:
    """v2 only."""
    ref = channel(E2)
    snapshot = Snapshot(E2, ref.id, descriptor(), 100, 10, 50, 60, 40, units=3)
    one = terms(E2, operator=OPERATOR, channel_id=ref.id, snapshot=snapshot)
    assert read(write_session_request(one)) == one
    with pytest.raises(UsageError):
        write_session_request(terms(E1, snapshot=snapshot))


def test_terms_that_nobody_could_pay_are_never_offered() -> None:
    """A price of zero, an amount beyond the protocol, an operator in v1."""
    for bad in (terms(E2, amount_units=0), terms(E2, amount_units=2**96), terms(E1, operator=OPERATOR)):
        with pytest.raises(UsageError):
            write_session_request(bad)


amounts = st.integers(1, 2**96 - 1)


@given(amounts, st.none() | amounts, st.sampled_from(BOTH), st.booleans(), st.integers(0, 2**96 - 1))
def test_any_terms_come_back(price: int, deposit: int | None, place: Escrow, sponsored: bool, delta: int) -> None:
    """Written and read again."""
    one = terms(
        place, amount_units=price, suggested_deposit_units=deposit, sponsored=sponsored, min_voucher_delta_units=delta
    )
    assert read(write_session_request(one)) == one


@pytest.mark.guard("T07")
@pytest.mark.parametrize("place", BOTH)
def test_terms_of_another_chain_are_refused(place: Escrow) -> None:
    """Also if its escrow is known."""
    require_terms(terms(place), 42431)
    with pytest.raises(UsageError, match="chain"):
        require_terms(terms(place), 4217)


@pytest.mark.guard("T47")
def test_terms_of_a_strange_escrow_are_refused() -> None:
    """Before anything is signed; by option they may be taken."""
    strange = terms(Escrow(V2, 42431, PAYEE))
    with pytest.raises(UsageError, match="not the known escrow"):
        require_terms(strange, 42431)
    require_terms(strange, 42431, [PAYEE])


@pytest.mark.spec("TSES-013", "TSES-014", "TSES-015", "TSES-016", "TSES-118")
@pytest.mark.parametrize(
    ("change", "reason"),
    [({"payee": ALPHA}, "somebody else"), ({"token": ALPHA}, "token"), ({"operator": ALPHA}, "operator"),
     ({"operator": ZERO_ADDRESS}, "operator")],
)  # fmt: skip
def test_a_channel_of_other_parties_does_not_pay_these_terms(change: dict[str, str], reason: str) -> None:
    """Payee, token and operator are those of the challenge."""
    asked = terms(E2, operator=OPERATOR)
    require_parties(descriptor(), asked)
    with pytest.raises(VerificationFailed, match=reason):
        require_parties(descriptor(**change), asked)
