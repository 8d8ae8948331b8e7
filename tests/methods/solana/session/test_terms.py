"""What a Solana session asks: read strictly, written once, the same both ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.errors import UsageError
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.terms import (
    SessionTerms,
    completed,
    read_session_terms,
    resuming,
    write_session_request,
)
from support.solanaopening import ASSET, BLOCKHASH, OPERATOR, OTHER, SLOT, asset_of, by_operator, key, terms

U64 = 2**64 - 1
units = st.integers(min_value=1, max_value=U64)
times = st.integers(min_value=1, max_value=2_592_000)


@st.composite
def any_terms(draw: st.DrawFn) -> SessionTerms:
    """Terms of both kinds, with any of what is optional."""
    shares = draw(st.lists(st.integers(min_value=1, max_value=1_000), max_size=8))
    new: dict[str, Any] = {
        "grace_s": draw(times),
        "idle_options_s": tuple(sorted(draw(st.sets(times, max_size=4)))),
        "blockhash": None,
        "recent_slot": None,
    }
    if draw(st.booleans()):
        new |= {"blockhash": BLOCKHASH, "recent_slot": draw(units)}
    again: dict[str, Any] = {"grace_s": None, "idle_options_s": (), "blockhash": None, "recent_slot": None}
    again |= {"channel_id": OTHER.address, "idle_s": draw(times)}
    return replace(
        terms(),
        network=draw(st.sampled_from(["mainnet", "devnet", "localnet"])),
        amount_units=draw(units),
        unit_type=draw(st.none() | st.just("llm_token")),
        suggested_deposit_units=draw(st.none() | units),
        minimum_deposit_units=draw(st.integers(min_value=0, max_value=U64)),
        token_program=draw(st.sampled_from([None, TOKEN_PROGRAM, TOKEN_2022_PROGRAM])),
        fee_payer=draw(st.none() | st.just(OTHER.address)),
        operator=draw(st.none() | st.just(OPERATOR.address)),
        min_voucher_delta_units=draw(st.integers(min_value=0, max_value=U64)),
        ttl_s=draw(st.none() | times),
        splits=tuple(Split(key(f"split {at}").address, share) for at, share in enumerate(shares)),
        **(again if draw(st.booleans()) else new),
    )


@given(any_terms())
@pytest.mark.spec("SSES-054", "SSES-057", "SSES-058", "SSES-060", "SSES-063", "SSES-069", "SSES-084", "SSES-085")
def test_terms_are_read_as_they_were_written(asked: SessionTerms) -> None:
    """Whatever is in them."""
    request = write_session_request(asked)
    assert read_session_terms(request, lambda _, __, ___: ASSET) == asked


def request_with(where: str | None, name: str, value: object, asked: SessionTerms | None = None) -> dict[str, Any]:
    """A request with one member changed, or left out for None."""
    request = write_session_request(asked or terms())
    holder = request if where is None else request[where]
    holder.pop(name, None)
    if value is not None:
        holder[name] = value
    return request


M = "methodDetails"
WRONG = [
    pytest.param(None, "amount", None, id="no price", marks=pytest.mark.spec("SSES-054")),
    pytest.param(None, "amount", "0", id="price of zero", marks=pytest.mark.spec("SSES-054")),
    pytest.param(None, "amount", str(2**64), id="price beyond u64"),
    pytest.param(None, "recipient", None, id="no recipient", marks=pytest.mark.spec("SSES-057")),
    pytest.param(None, "currency", None, id="no currency", marks=pytest.mark.spec("SSES-058")),
    pytest.param(None, "currency", "sol", id="native SOL", marks=pytest.mark.spec("SSES-059")),
    pytest.param(M, "network", None, id="no network", marks=pytest.mark.spec("SSES-060", "SSES-062")),
    pytest.param(M, "network", "testnet", id="another network", marks=pytest.mark.spec("SSES-061")),
    pytest.param(M, "network", "mainnet-beta", id="another name of mainnet", marks=pytest.mark.spec("SSES-061")),
    pytest.param(M, "channelProgram", None, id="no program", marks=pytest.mark.spec("SSES-063")),
    pytest.param(M, "decimals", None, id="no decimals", marks=pytest.mark.spec("SSES-069", "SSES-070")),
    pytest.param(M, "decimals", 10, id="too many decimals", marks=pytest.mark.spec("SSES-069")),
    pytest.param(M, "decimals", True, id="decimals that are a bool"),
    pytest.param(M, "tokenProgram", OTHER.address, id="another token program", marks=pytest.mark.spec("SSES-071")),
    pytest.param(M, "feePayerKey", None, id="no fee payer's key", marks=pytest.mark.spec("SSES-073", "SSES-074")),
    pytest.param(M, "feePayer", "yes", id="feePayer that is text"),
    pytest.param(M, "voucherSigner", "server", id="another signer", marks=pytest.mark.spec("SSES-075")),
    pytest.param(M, "voucherSigner", "operator", id="no operator", marks=pytest.mark.spec("SSES-076")),
    pytest.param(M, "idleTimeoutOptionsSeconds", [], id="no options", marks=pytest.mark.spec("SSES-078")),
    pytest.param(M, "idleTimeoutOptionsSeconds", [60, 60], id="an option twice", marks=pytest.mark.spec("SSES-078")),
    pytest.param(M, "idleTimeoutOptionsSeconds", [60, 30], id="shrinking options", marks=pytest.mark.spec("SSES-078")),
    pytest.param(M, "idleTimeoutOptionsSeconds", [0], id="an option of zero", marks=pytest.mark.spec("SSES-078")),
    pytest.param(M, "idleTimeoutOptionsSeconds", [2_592_001], id="over 30 days", marks=pytest.mark.spec("SSES-078")),
    pytest.param(M, "idleTimeoutSeconds", 60, id="idle time of no channel", marks=pytest.mark.spec("SSES-081")),
    pytest.param(M, "gracePeriodSeconds", None, id="no grace time", marks=pytest.mark.spec("SSES-082")),
    pytest.param(M, "gracePeriodSeconds", 0, id="grace time of zero", marks=pytest.mark.spec("SSES-083")),
    pytest.param(M, "recentSlot", None, id="blockhash without slot", marks=pytest.mark.spec("SSES-068")),
    pytest.param(M, "recentBlockhash", None, id="slot without blockhash", marks=pytest.mark.spec("SSES-066")),
    pytest.param(
        M, "distributionSplits", [{"recipient": OTHER.address, "shareBps": 0}], id="share of zero",
        marks=pytest.mark.spec("SSES-084", "SSES-165"),
    ),
    pytest.param(
        M, "distributionSplits",
        [{"recipient": OTHER.address, "shareBps": 9_999}, {"recipient": OPERATOR.address, "shareBps": 2}],
        id="more than all", marks=pytest.mark.spec("SSES-085"),
    ),
    pytest.param(
        M, "distributionSplits", [{"recipient": OTHER.address, "shareBps": 1}] * 2, id="a recipient twice",
        marks=pytest.mark.spec("SSES-166"),
    ),
    pytest.param(M, "minVoucherDelta", "-1", id="a step down"),
    pytest.param(M, "minimumDeposit", "1", id="two least deposits that differ"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "name", "value"), WRONG)
def test_what_can_not_be_right_is_refused(where: str | None, name: str, value: object) -> None:
    """By the name of the member."""
    read_session_terms(write_session_request(terms()), asset_of)
    with pytest.raises(UsageError):
        read_session_terms(request_with(where, name, value), asset_of)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("recentBlockhash", BLOCKHASH, marks=pytest.mark.spec("SSES-066")),
        pytest.param("idleTimeoutOptionsSeconds", [60], marks=pytest.mark.spec("SSES-079")),
        pytest.param("idleTimeoutSeconds", None, marks=pytest.mark.spec("SSES-080")),
        pytest.param("idleTimeoutSeconds", 2_592_001, marks=pytest.mark.spec("SSES-080")),
        pytest.param("channelId", "0x1234", id="no address"),
    ],
)
def test_a_challenge_that_goes_on_with_a_channel_opens_no_other(name: str, value: object) -> None:
    """What belongs to a new channel may not stand beside the id of one."""
    again = resuming(write_session_request(terms()), OTHER.address, 60)
    assert read_session_terms(again, asset_of).channel_id == OTHER.address
    details = {key: given for key, given in again[M].items() if key != name}
    details |= {} if value is None else {name: value}
    if name == "recentBlockhash":
        details["recentSlot"] = "1"
    with pytest.raises(UsageError):
        read_session_terms({**again, M: details}, asset_of)


@pytest.mark.spec("SSES-066", "SSES-067", "SSES-068")
def test_an_offer_is_completed_with_what_the_chain_says() -> None:
    """The blockhash, and the slot as decimal text."""
    offer = write_session_request(terms(blockhash=None, recent_slot=None))
    assert read_session_terms(offer, asset_of).blockhash is None
    done = completed(offer, BLOCKHASH, SLOT)
    assert (done[M]["recentBlockhash"], done[M]["recentSlot"]) == (BLOCKHASH, str(SLOT))
    assert read_session_terms(done, asset_of).recent_slot == SLOT


@pytest.mark.spec("SSES-080", "SSES-223", "SSES-079", "SSES-066")
def test_a_suggestion_carries_the_agreed_idle_time_and_nothing_of_a_new_channel() -> None:
    """So that a client can recover what was agreed."""
    again = resuming(write_session_request(terms()), OTHER.address, 60)
    assert (again[M]["channelId"], again[M]["idleTimeoutSeconds"]) == (OTHER.address, 60)
    assert not {"recentBlockhash", "recentSlot", "idleTimeoutOptionsSeconds"} & set(again[M])


@pytest.mark.spec("SSES-075")
def test_who_does_not_say_signs_as_client() -> None:
    """The default of voucherSigner."""
    request = write_session_request(terms())
    assert "voucherSigner" not in request[M]
    assert read_session_terms(request, asset_of).operator is None
    ours = write_session_request(by_operator())
    assert ours[M]["voucherSigner"] == "operator"
    for other in ("server", "Operator", "", 1, ["operator"]):
        with pytest.raises(UsageError, match="voucherSigner"):
            read_session_terms({**ours, M: {**ours[M], "voucherSigner": other}}, asset_of)


def test_terms_that_nobody_could_pay_are_not_written() -> None:
    """A least deposit beyond u64, say."""
    with pytest.raises(UsageError):
        write_session_request(terms(minimum_deposit_units=2**64))


def test_the_least_deposit_is_read_from_either_place() -> None:
    """The document names both."""
    request = write_session_request(terms())
    request[M]["minimumDeposit"] = request.pop("minimumDeposit")
    assert read_session_terms(request, asset_of).minimum_deposit_units == 5_000
