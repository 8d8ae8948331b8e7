"""What a payer of sessions takes of a server's words, and what it signs: no chain is asked here."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.receipt import Receipt
from coinslot.errors import MalformedHeader, NoPayableOffer, UsageError
from coinslot.intents.acts import Act, Held, Standing
from coinslot.intents.session import Channel
from coinslot.methods.solana.session.bearer import read_authentication
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.payload import read_payload
from coinslot.methods.solana.session.snapshot import SNAPSHOT_HEADER, Snapshot, snapshot_of
from coinslot.methods.solana.session.voucher import decode_voucher, read_signed_voucher, sign_voucher
from coinslot.methods.solana.tokens import asset
from support.solanapayer import (
    DELEGATE,
    DEPOSIT,
    NETWORK,
    OTHER,
    PAYEE,
    PAYER,
    PRICE,
    SERVER,
    TERMS,
    challenge,
    held,
    payer,
    recorded,
)

ELSEWHERE = OTHER.address
OFF_CURVE = recorded().id


def record(**changes: Any) -> Held:
    """A channel of other terms."""
    return held(recorded=recorded(**changes))


# --- terms -----------------------------------------------------------------------------------------


@pytest.mark.spec("SSES-064", "SSES-263", "SSES-061")
@pytest.mark.guard("T07")
@pytest.mark.guard("T47")
@pytest.mark.guard("T15")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"network": "devnet"}, "this wallet is on localnet"),
        ({"program": ELSEWHERE}, "not the known channel program"),
        ({"asset": asset(NETWORK, ELSEWHERE, None)}, "neither pinned nor in this wallet's tokens"),
        ({"recipient": PAYER.address}, "wants this wallet to pay itself"),
        ({"fee_payer": PAYER.address}, "or to be its sponsor"),
        ({"operator": PAYER.address}, "wants this wallet to pay itself"),
        ({"operator": OFF_CURVE}, "operator is no key"),
        ({"min_voucher_delta_units": PRICE + 1}, "minVoucherDelta"),
    ],
)
def test_what_this_wallet_does_not_know_is_not_paid(changes: dict[str, Any], why: str) -> None:
    """Cluster, program, token, who is who: a server's word for them is not enough."""
    assert payer(operator="1").terms(challenge()).recipient == PAYEE.address
    with pytest.raises(NoPayableOffer, match=why):
        payer(operator="1").terms(challenge(**changes))


@pytest.mark.guard("T29")
@pytest.mark.spec("SSES-009", "SSES-059")
@pytest.mark.parametrize(
    ("request_", "details", "why"),
    [
        ({}, {"decimals": 9}, "6 decimals, and the server says otherwise"),
        ({}, {"tokenProgram": "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"}, "another token program"),
        ({"currency": "sol"}, {}, "currency is missing or not an address"),
        ({"amount": 1.5}, {}, "amount"),
        ({"amount": "18446744073709551616"}, {}, "amount"),
        ({}, {"recentSlot": True}, "recentSlot"),
        ({}, {"gracePeriodSeconds": 0}, "gracePeriodSeconds"),
    ],
)
def test_another_token_than_the_one_we_know_is_not_paid(
    request_: dict[str, Any], details: dict[str, Any], why: str
) -> None:
    """Decimals and token program are ours to know; numbers are what they are, or nothing is read."""
    with pytest.raises(NoPayableOffer, match=why):
        payer().terms(challenge(request=request_, details=details))


def test_an_owner_may_allow_another_program() -> None:
    """And channels of it are looked for, too."""
    ours = payer(programs=frozenset({ELSEWHERE}))
    assert ours.terms(challenge(program=ELSEWHERE)).program == ELSEWHERE
    assert set(ours.config.all_programs()) == {TERMS.program, ELSEWHERE}


@pytest.mark.guard("T47")
@pytest.mark.parametrize(
    ("limits", "changes", "why"),
    [
        ({"max_grace_s": 899}, {}, "900 s to settle"),
        ({}, {"operator": SERVER.address}, "operator_deposit doesn't allow"),
        ({"operator": "0.000999"}, {"operator": SERVER.address}, "more than operator_deposit allows"),
        ({"operator": "0.01"}, {"operator": SERVER.address, "minimum_deposit_units": 10_001}, "more than operator_dep"),
    ],
)
def test_nothing_is_deposited_beyond_the_owners_limits(
    limits: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    """A long grace period, or a server that signs for itself: only as far as the settings say. T47"""
    ours = payer(**limits)
    terms = ours.terms(challenge(**changes))
    with pytest.raises(NoPayableOffer, match=why):
        ours.require_openable(terms)
    payer(operator="0.02").require_openable(terms)


def test_what_a_server_demands_to_be_deposited_is_suggested() -> None:
    """The least deposit counts where the suggestion is lower."""
    assert payer().terms(challenge(minimum_deposit_units=5_000)).suggested_deposit_units == 5_000
    both = challenge(minimum_deposit_units=5_000, suggested_deposit_units=7_000)
    assert payer().terms(both).suggested_deposit_units == 7_000


# --- whose channel pays what -----------------------------------------------------------------------


@pytest.mark.guard("T07")
@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({"program": ELSEWHERE}, {}),
        ({"splits": (Split(ELSEWHERE, 1),)}, {}),
        ({"network": "solana:elsewhere"}, {}),
        ({"signer": ELSEWHERE}, {}),
        ({"operator": True, "signer": SERVER.address}, {}),
        ({}, {"recipient": ELSEWHERE}),
        ({}, {"operator": SERVER.address}),
        ({"operator": True, "signer": SERVER.address, "echo": None}, {"operator": SERVER.address}),
        ({"operator": True, "signer": SERVER.address, "echo": "{}"}, {"operator": ELSEWHERE}),
    ],
)
def test_a_channel_pays_only_its_own_terms(changes: dict[str, Any], terms: dict[str, Any]) -> None:
    """Program, payee, splits, and who signs: all as when it was opened."""
    assert payer().fits(held(), TERMS)
    assert not payer().fits(record(**changes), replace(TERMS, **terms))


@pytest.mark.guard("T15")
def test_a_delegated_key_signs_and_pays() -> None:
    """Channels that it was named in are ours; without that key they are not."""
    one = record(signer=DELEGATE.address)
    assert payer(voucher_key=DELEGATE).fits(one, TERMS)
    assert not payer().fits(one, TERMS)
    with pytest.raises(UsageError, match="no key of ours"):
        payer().sign(one, 1)


# --- vouchers --------------------------------------------------------------------------------------


@pytest.mark.spec("SSES-144")
@given(st.integers(0, 2**64 - 1))
def test_a_voucher_says_the_total_of_its_channel_and_no_end(total: int) -> None:
    """Signed by the channel's signer over the 50 bytes; what travels reads as the same."""
    one = held()
    raw = payer().sign(one, total)
    told = payer().payload(one, Act.VOUCHER, total, raw)
    voucher = read_signed_voucher(json.loads(json.dumps(told["voucher"])))
    assert (voucher.channel_id, voucher.cumulative_units, voucher.expires_at) == (one.channel_id, total, 0)
    voucher.verify(PAYER.address)
    assert voucher == decode_voucher(raw)


@pytest.mark.guard("T20")
@pytest.mark.parametrize("total", [-1, 2**64, True, 1.0, "1"])
def test_an_amount_is_a_u64(total: Any) -> None:
    """Nothing else is signed."""
    with pytest.raises(UsageError):
        payer().sign(held(), total)


@pytest.mark.spec("SSES-132", "SSES-133")
def test_a_close_shows_a_voucher_and_no_proof() -> None:
    """Also one for nothing, of a channel that was never used."""
    one = held()
    told = payer().payload(one, Act.CLOSE, 0, payer().sign(one, 0))
    assert (told["action"], "authentication" in told) == ("close", False)
    read_signed_voucher(told["voucher"]).verify(PAYER.address)


@pytest.mark.guard("T08")
def test_a_voucher_is_presented_for_its_own_channel_and_total_only() -> None:
    """A record that was mixed up presents nothing."""
    one = held()
    other = sign_voucher(PAYER, ELSEWHERE, 5).encode()
    stranger = sign_voucher(OTHER, one.channel_id, 5).encode()
    for voucher, total in ((other, 5), (stranger, 5), (payer().sign(one, 5), 6)):
        with pytest.raises(UsageError, match="another channel, or for another amount"):
            payer().payload(one, Act.VOUCHER, total, voucher)
    with pytest.raises(UsageError, match="signed by open and top_up"):
        payer().payload(one, Act.OPEN, 5, payer().sign(one, 5))
    with pytest.raises(UsageError, match="another channel"):
        payer().sign(replace(one, channel_id=ELSEWHERE), 5)


# --- the server signs --------------------------------------------------------------------------------


def operated() -> tuple[Any, Held]:
    """A payer that allows it, and a channel whose vouchers its server signs."""
    ours, asked = payer(operator="1"), challenge(operator=SERVER.address)
    planned = ours._planned(asked, ours.terms(asked), 7)
    return asked, replace(planned.held(DEPOSIT), signed_units=DEPOSIT, standing=Standing.OPEN)


@pytest.mark.spec("SSES-094", "SSES-090", "SSES-133")
def test_a_proof_is_the_same_each_time_and_echoes_the_opening() -> None:
    """Of this channel, under the challenge that opened it, whatever challenge is at hand now."""
    asked, one = operated()
    ours = payer(operator="1")
    assert not ours.signs(one)
    told = [ours.payload(one, act, DEPOSIT, b"") for act in (Act.USE, Act.VOUCHER)]
    assert told[0] == told[1]
    assert told[0]["action"] == "use"
    proof = read_authentication(told[0]["authentication"])
    proof.verify(one.channel_id, PAYER.address, asked.id)
    assert ours.echoed(one, challenge()) == asked
    closing = ours.payload(one, Act.CLOSE, DEPOSIT, b"")
    assert read_payload(closing, operator=True) == read_payload(dict(closing), operator=True)
    assert (closing["action"], closing["authentication"]) == ("close", told[0]["authentication"])
    assert "voucher" not in closing


@pytest.mark.guard("T38")
@pytest.mark.spec("SSES-250")
def test_the_book_holds_no_proof() -> None:
    """Who reads it can't use the channel; nothing that is shown of a payload has it either."""
    _, one = operated()
    ours = payer(operator="1")
    proof = ours.payload(one, Act.USE, DEPOSIT, b"")["authentication"]["signature"]
    marker = ours.sign(one, DEPOSIT)
    assert proof not in marker.decode("latin-1")
    assert proof not in one.state.decode()
    assert proof not in repr(read_payload(ours.payload(one, Act.USE, DEPOSIT, b""), operator=True))


def test_other_channels_echo_the_challenge_at_hand() -> None:
    """A voucher needs no opening."""
    asked = challenge()
    assert payer().echoed(held(), asked) == asked


# --- what a server says --------------------------------------------------------------------------------


def channel_of(one: Held, accepted: int, spent: int, voucher: bytes) -> Channel:
    """The server's record of a channel."""
    return Channel(
        key=one.key, id=one.channel_id, network=NETWORK, method="solana", payer=PAYER.address, payee=PAYEE.address,
        signer=one.signer, asset=one.asset, deposit=DEPOSIT, accepted=accepted, spent=spent, voucher=voucher,
        state=one.state,
    )  # fmt: skip


def told(one: Held, accepted: int, spent: int, voucher: bytes) -> dict[str, str]:
    """The headers that a server sends of it."""
    snapshot = snapshot_of(channel_of(one, accepted, spent, voucher))
    assert snapshot is not None
    return {SNAPSHOT_HEADER.lower(): snapshot.encode()}


def hinted(one: Held, fields: dict[str, str], **terms: Any) -> Held | None:
    """What a payer makes of it."""
    asked = challenge(**terms)
    return payer().hint(asked, payer().terms(challenge()), fields, one)


@pytest.mark.guard("F05")
def test_our_own_signature_brings_an_old_record_forward() -> None:
    """To the total that it is on, with the voucher; the server's word on the rest counts up to that."""
    one = held(1_000)
    found = hinted(one, told(one, 3_000, 2_000, payer().sign(one, 3_000)))
    assert found is not None
    assert (found.signed_units, found.acknowledged_units, found.spent_units) == (3_000, 3_000, 2_000)
    assert decode_voucher(found.voucher).cumulative_units == 3_000


@pytest.mark.guard("T24")
@pytest.mark.guard("T13")
@pytest.mark.parametrize(
    ("accepted", "spent", "signer", "total", "expires"),
    [
        (3_000, 2_000, OTHER, 3_000, 0),
        (3_000, 2_000, PAYER, 2_000, 0),
        (3_000, 3_001, PAYER, 3_000, 0),
        (3_000, 2_000, PAYER, 3_000, 5),
        (DEPOSIT + 1, 2_000, PAYER, DEPOSIT + 1, 0),
    ],
)
def test_a_claim_that_we_did_not_sign_is_refused(
    accepted: int, spent: int, signer: Any, total: int, expires: int
) -> None:
    """A stranger's signature, one for less, one with an end, amounts that contradict each other."""
    one = held(1_000)
    voucher = replace(sign_voucher(signer, one.channel_id, total, expires), signer=PAYER.address).encode()
    with pytest.raises(NoPayableOffer, match="more than we signed"):
        hinted(one, told(one, accepted, spent, voucher))


@pytest.mark.guard("T08")
def test_a_snapshot_of_another_channel_proves_nothing_of_ours() -> None:
    """Nor does one of a channel that is over, or what can't be read."""
    one = held(1_000)
    other = replace(one, channel_id=ELSEWHERE)
    voucher = sign_voucher(PAYER, ELSEWHERE, 9_000).encode()
    assert hinted(one, told(other, 9_000, 0, voucher)) is None
    foreign = Snapshot(one.channel_id, 9_000, 0, decode_voucher(voucher)).encode()
    with pytest.raises(NoPayableOffer, match="more than we signed"):
        hinted(one, {SNAPSHOT_HEADER.lower(): foreign})
    assert hinted(replace(one, standing=Standing.CLOSED), told(one, 3_000, 0, payer().sign(one, 3_000))) is None
    with pytest.raises(NoPayableOffer, match="word on the channel"):
        hinted(one, {SNAPSHOT_HEADER.lower(): "e30"})


def test_a_channel_is_named_by_the_challenge_or_a_header() -> None:
    """One that is ours and fits is gone on with; any other is passed over."""
    one = held(1_000)
    resumed = {"channel_id": one.channel_id, "idle_s": 600, "blockhash": None, "recent_slot": None}
    assert hinted(one, {}, **resumed) == one
    assert hinted(one, {"payment-session": one.channel_id}) == one
    assert hinted(one, {"payment-session": ELSEWHERE}) is None
    assert payer().hint(challenge(), TERMS, {"payment-session": one.channel_id}, None) is None


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    "changes",
    [{"amount_units": 2 * PRICE}, {"recipient": ELSEWHERE}, {"operator": SERVER.address}, {"unit_type": "byte"}],
)
def test_other_terms_than_those_agreed_to_are_not_signed_for(changes: dict[str, Any]) -> None:
    """Whatever else the fresh challenge says."""
    with pytest.raises(NoPayableOffer, match="something else than what was agreed"):
        payer(operator="1").hint(challenge(**changes), TERMS, {}, held())


RECEIPT = {"intent": "session", "acceptedCumulative": "5", "spent": "4", "idleTimeoutSeconds": 600}


def test_a_receipt_tells_how_the_channel_stands() -> None:
    """Strings or JSON integers; another method's, or another intent's, is none."""
    one = held()
    for value in ("5", 5):
        balance = payer().balance(Receipt("solana", one.channel_id, "t", {**RECEIPT, "acceptedCumulative": value}))
        assert (balance.channel_id, balance.accepted_units, balance.spent_units) == (one.channel_id, 5, 4)


@pytest.mark.parametrize(
    ("reference", "changes"),
    [
        ("channel", {}),
        (None, {"acceptedCumulative": True}),
        (None, {"acceptedCumulative": 5.0}),
        (None, {"acceptedCumulative": "18446744073709551616"}),
        (None, {"acceptedCumulative": "05"}),
        (None, {"spent": None}),
        (None, {"intent": "charge"}),
    ],
)
def test_a_receipt_that_says_something_else_is_none(reference: str | None, changes: dict[str, Any]) -> None:
    """No guess is made of what it could mean."""
    receipt = Receipt("solana", reference or held().channel_id, "t", {**RECEIPT, **changes})
    with pytest.raises(MalformedHeader):
        payer().balance(receipt)


def test_a_dry_stream_names_its_channel_and_total() -> None:
    """And nothing that can't be read."""
    one = held()
    asked = {"channelId": one.channel_id, "requiredCumulative": "7", "acceptedCumulative": "5", "deposit": "9"}
    assert payer().needed(asked).required_units == 7
    with pytest.raises(MalformedHeader):
        payer().needed({**asked, "requiredCumulative": "-7"})


def test_a_payer_says_who_it_is() -> None:
    """As other programs write it."""
    ours = payer()
    assert ours.source() == f"did:pkh:{NETWORK}:{PAYER.address}"
    assert (ours.network, ours.account, ours.opens_signed, ours.signs(held())) == (NETWORK, PAYER.address, False, True)
    assert ours.withdraw_after_s(held()) > 900
