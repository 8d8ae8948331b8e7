"""Opening and topping up on the local chain: what is taken, what is refused, and what the chain is believed about."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import (
    AmountExceedsDeposit,
    ChannelNotFound,
    CoinslotError,
    InvalidVoucher,
    MalformedCredential,
    PaymentInsufficient,
    Problem,
    RailUnavailable,
    SignerMismatch,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import session
from coinslot.intents.acts import Act, Funded, Move
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.methods.tempo.session.calls import OpenCall, RequestCloseCall, read_call, write_call
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V2, Version
from coinslot.methods.tempo.session.payload import OpenPayload, TopUpPayload
from coinslot.methods.tempo.session.record import scheme_of
from coinslot.methods.tempo.session.transaction import opened_channel
from coinslot.methods.tempo.tip20 import transfer_call
from coinslot.methods.tempo.transaction.build import serialise, sign
from coinslot.methods.tempo.transaction.fields import AccessEntry, TempoTransaction
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, sign_key_authorization
from coinslot.methods.tempo.transaction.read import read_transaction
from support.rpcfault import FaultyNode, edit
from support.tempochannel import ALPHA, PATH
from support.tempofunding import VERSIONS
from support.temposeller import Stall, stall
from support.temposession import session_payer
from support.temposhop import DOLLAR, Shop
from support.temposhop import payload as pulled

pytestmark = pytest.mark.devnet


SPONSORED = pytest.mark.parametrize("sponsored", [False, True], ids=["own fee", "sponsored"])


OTHER = "0x" + "99" * 20


Change = Callable[[TempoTransaction], TempoTransaction]


def handed(move: Move) -> TempoTransaction:
    """The transaction in a payload."""
    return read_transaction(bytes.fromhex(move.payload["transaction"][2:])).transaction


def forged(at: Stall, move: Move, tx: TempoTransaction, key: PrivateKey | None = None) -> dict[str, Any]:
    """The payload of an open whose transaction is another one, all that follows from it made to fit."""
    key = key or at.payer_key
    escrow = at.seller.config.escrow
    try:
        call = read_call(escrow, tx.calls[-1])
        assert isinstance(call, OpenCall)
        ref: ChannelRef = opened_channel(escrow, call, tx, key.address)
    except (CoinslotError, AssertionError):
        ref = at.ref_of(move)
    signed = sign(replace(tx, sender_signature=b""), key)
    signature = scheme_of(escrow).sign(key, ref.id, 0)
    return OpenPayload(ref, serialise(signed), 0, signature).members()


def recalled(**changes: Any) -> Callable[[Stall, TempoTransaction], TempoTransaction]:
    """Another open call."""

    def change(at: Stall, tx: TempoTransaction) -> TempoTransaction:
        escrow = at.seller.config.escrow
        call = read_call(escrow, tx.calls[-1])
        assert isinstance(call, OpenCall)
        return replace(tx, calls=(*tx.calls[:-1], write_call(escrow, replace(call, **changes))))

    return change


# --- what opens ----------------------------------------------------------------------------------


@VERSIONS
@SPONSORED
@pytest.mark.guard("T06", "T31")
@pytest.mark.spec("TSES-094", "TSES-095", "TSES-096", "TSES-109")
def test_a_channel_is_opened(shop: Shop, version: Version, sponsored: bool) -> None:
    """The deposit leaves the payer, the record is what the chain says, and only the sponsor pays where one does."""
    at = stall(shop, version, sponsored=sponsored)
    challenge, move = at.move(DOLLAR, first=400)
    before = at.balance(at.payer_key)
    funding = at.check(challenge, move.payload, source=move.source)
    prepared = at.prepare(funding, challenge)
    assert at.balance(at.payer_key) == before
    channel = funding.channel
    assert channel is not None
    assert (funding.act, funding.key, funding.payer) == (Act.OPEN, move.held.key, at.payer_key.address)
    assert funding.proof == f"eip155:42431/tx/{prepared.reference}"
    assert bool(funding.budgets) == sponsored
    assert (channel.key, channel.id, channel.stage) == (move.held.key, move.held.channel_id, session.Stage.OPENING)
    assert (channel.payer, channel.payee, channel.signer) == (move.held.payer, move.held.payee, move.held.signer)
    assert (channel.asset, channel.network) == (f"eip155:42431/{PATH}", "eip155:42431")
    assert (channel.deposit, channel.accepted, channel.spent, channel.settled) == (DOLLAR, 400, 0, 0)
    assert (channel.state, channel.voucher) == (move.held.state, move.held.voucher)
    session.begin(channel, at.rules)
    outcome = at.settle(prepared)
    assert isinstance(outcome, Funded)
    state = outcome.state
    assert (outcome.act, outcome.added_units, outcome.reference) == (Act.OPEN, DOLLAR, prepared.reference)
    assert (state.key, state.exists, state.deposit_units, state.settled_units) == (channel.key, True, DOLLAR, 0)
    assert (state.closing_at_s, state.closed) == (None, False)
    assert abs(outcome.settled_at_s - shop.chain.timestamp()) < 10
    paid = before - at.balance(at.payer_key)
    assert (paid == DOLLAR) if sponsored else (DOLLAR < paid < DOLLAR + 100_000)
    assert at.seller.serves(channel)


@pytest.mark.spec("TSES-109")
@VERSIONS
def test_an_access_key_opens_a_channel_for_its_account(shop: Shop, version: Version) -> None:
    """Its authorization comes along; whose money moves is the payer, and the plain key signs the vouchers."""
    at = stall(shop, version)
    key = shop.account(0)
    authorization = sign_key_authorization(KeyAuthorization(key.address, 42431), at.payer_key)
    at.payer = session_payer(
        shop, key, account=at.payer_key.address, key_authorization=to_hex(authorization), fee_token=PATH
    )
    channel = at.open()
    assert (channel.payer, channel.signer) == (at.payer_key.address, key.address)
    again = at.open()
    assert again.id != channel.id


@pytest.mark.guard("T18")
def test_an_access_key_that_nobody_authorized_opens_nothing(shop: Shop) -> None:
    """Anybody can name any account: the chain is asked before anything is claimed in its name."""
    at = stall(shop, V2)
    at.payer = session_payer(shop, shop.account(0), account=at.payer_key.address)
    challenge, move = at.move()
    with pytest.raises(VerificationFailed, match="not authorized"):
        at.check(challenge, move.payload, source=move.source)


@VERSIONS
@SPONSORED
@pytest.mark.spec("TSES-110", "TSES-111", "TSES-112", "TSES-113")
def test_a_channel_is_topped_up_by_exactly_what_was_said(shop: Shop, version: Version, sponsored: bool) -> None:
    """The deposit that is told is the chain's, in all; the second top-up of the same amount is another transaction."""
    at = stall(shop, version, sponsored=sponsored)
    channel = at.open()
    proofs = set()
    for deposit in (DOLLAR + 5000, DOLLAR + 10_000):
        challenge = at.challenge()
        move = shop.run(at.payer.top_up(challenge, at.held(channel), 5000))
        funding = at.check(challenge, move.payload, channel, source=move.source)
        assert (funding.act, funding.key, funding.channel) == (Act.TOP_UP, channel.key, None)
        assert bool(funding.budgets) == sponsored
        outcome = at.settle(at.prepare(funding, challenge))
        assert isinstance(outcome, Funded)
        assert (outcome.act, outcome.added_units, outcome.state.deposit_units) == (Act.TOP_UP, 5000, deposit)
        proofs.add(funding.proof)
    assert len(proofs) == 2


@VERSIONS
def test_a_top_up_takes_a_request_to_close_back(shop: Shop, version: Version) -> None:
    """The chain shows it open again."""
    at = stall(shop, version)
    channel = at.open()
    at.act(RequestCloseCall(at.ref(channel)))
    challenge = at.challenge()
    move = shop.run(at.payer.top_up(challenge, at.held(channel), 1))
    outcome = at.settle(at.prepare(at.check(challenge, move.payload, channel), challenge))
    assert isinstance(outcome, Funded)
    assert at.look(channel)[0].closing_at_s is None


# --- what does not -------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[Stall, TempoTransaction], TempoTransaction], str]] = {
    "another payee": (recalled(payee=OTHER), "somebody else"),
    "another token": (recalled(token=ALPHA), "another token"),
    "less than one unit": (recalled(deposit_units=999), "does not cover one unit"),
    "a second open": (lambda at, tx: replace(tx, calls=(*tx.calls, tx.calls[-1])), "does more|approves|not a call"),
    "a transfer beside it": (
        lambda at, tx: replace(tx, calls=(transfer_call(PATH, OTHER, 1), *tx.calls)),
        "does more|not a call of approve",
    ),
    "a transfer instead": (lambda at, tx: replace(tx, calls=(transfer_call(PATH, OTHER, 1),)), "not to the escrow"),
    "trailing calldata": (
        lambda at, tx: replace(tx, calls=(*tx.calls[:-1], replace(tx.calls[-1], data=tx.calls[-1].data + bytes(32)))),
        "words",
    ),
    "native value": (
        lambda at, tx: replace(tx, calls=(*tx.calls[:-1], replace(tx.calls[-1], value=1))),
        "no native value",
    ),
    "another escrow": (
        lambda at, tx: replace(tx, calls=(*tx.calls[:-1], replace(tx.calls[-1], to=OTHER))),
        "not to the escrow",
    ),
    "another chain": (lambda at, tx: replace(tx, chain_id=4217), "another chain"),
    "an access list": (lambda at, tx: replace(tx, access_list=(AccessEntry(OTHER),)), "access list"),
    "no end": (lambda at, tx: replace(tx, valid_before=None), "no valid_before"),
    "an end in the past": (lambda at, tx: replace(tx, valid_before=1_000_000_000), "not valid any more"),
    "an end long after the challenge's": (lambda at, tx: replace(tx, valid_before=2**40), "longer than the challenge"),
    "a start in the future": (
        lambda at, tx: replace(tx, valid_after=(tx.valid_before or 0) - 1),
        "not valid yet",
    ),
}


# By a sponsor only.
GREEDY: dict[str, tuple[Callable[[Stall, TempoTransaction], TempoTransaction], str]] = {
    "its own fee": (lambda at, tx: replace(tx, fee_payer_signature=None, fee_token=PATH), "leave its fee"),
    "a fee token": (lambda at, tx: replace(tx, fee_token=ALPHA), "names a fee token"),
    "too much gas": (lambda at, tx: replace(tx, gas_limit=2_500_001), "gas limit is higher"),
    "too little gas": (lambda at, tx: replace(tx, gas_limit=100_000), "gas limit is too low"),
    "too dear gas": (lambda at, tx: replace(tx, max_fee_per_gas=10**11 + 1), "gas price is higher"),
    "too high a fee": (lambda at, tx: replace(tx, gas_limit=2_400_000, max_fee_per_gas=10**11), "could cost more"),
    "a nonce of its own": (lambda at, tx: replace(tx, nonce_key=0, nonce=3), "expiring nonce"),
    "an access key's authorization": (
        lambda at, tx: replace(
            tx, key_authorization=sign_key_authorization(KeyAuthorization(OTHER, 42431), at.payer_key)
        ),
        "authorizes an access key",
    ),
}


@VERSIONS
@pytest.mark.guard("T31")
@pytest.mark.spec("TSES-098", "TSES-099", "TSES-100")
@pytest.mark.parametrize("name", WRONG)
def test_an_open_that_is_not_what_was_asked_is_refused(shop: Shop, version: Version, name: str) -> None:
    """By name, before anything is sent, though its own signatures are all good."""
    at = stall(shop, version)
    change, reason = WRONG[name]
    challenge, move = at.move()
    wrong = forged(at, move, change(at, handed(move)))
    with pytest.raises(Problem, match=reason):
        at.check(challenge, wrong)


@VERSIONS
@pytest.mark.guard("T31")
@pytest.mark.spec("TSES-050")
@pytest.mark.parametrize("name", [*WRONG, *GREEDY])
def test_nothing_is_smuggled_past_the_sponsor_of_a_channel(shop: Shop, version: Version, name: str) -> None:
    """Refused by name, and the sponsor's purse is untouched."""
    at = stall(shop, version, sponsored=True)
    change, reason = (WRONG | GREEDY)[name]
    assert at.sponsor is not None
    purse = at.balance(at.sponsor)
    challenge, move = at.move()
    wrong = forged(at, move, change(at, handed(move)))
    with pytest.raises(Problem, match=reason):
        at.prepare(at.check(challenge, wrong), challenge)
    assert at.balance(at.sponsor) == purse


@VERSIONS
@pytest.mark.guard("T08", "T13", "T15")
@pytest.mark.spec("TSES-065", "TSES-103", "TSES-105", "TSES-106")
def test_a_payload_that_contradicts_its_transaction_is_refused(shop: Shop, version: Version) -> None:
    """Another channel's id, another signer, an amount above the deposit, a first voucher that is no good."""
    at = stall(shop, version)
    challenge, move = at.move()
    good, other = dict(move.payload), PrivateKey(secrets.token_bytes(32))
    scheme, mine = scheme_of(at.seller.config.escrow), move.held.channel_id
    high = bytes.fromhex(good["signature"][2:66]) + b"\xff" * 32 + b"\x1b"
    cases: list[tuple[dict[str, Any], type[Problem]]] = [
        ({"channelId": "0x" + "12" * 32}, VerificationFailed),
        ({"authorizedSigner": OTHER}, MalformedCredential if version == V2 else VerificationFailed),
        (
            {"cumulativeAmount": "1000001", "signature": sig(scheme.sign(at.payer_key, mine, 1_000_001))},
            AmountExceedsDeposit,
        ),
        ({"signature": sig(scheme.sign(other, mine, 0))}, SignerMismatch),
        ({"signature": sig(scheme.sign(at.payer_key, mine, 1))}, SignerMismatch),
        ({"signature": sig(high)}, InvalidVoucher),
        ({"signature": good["signature"][:-2]}, InvalidVoucher),
        ({"transaction": good["transaction"][:-2]}, VerificationFailed),
        ({"transaction": "0x"}, VerificationFailed),
        ({"type": "hash"}, MalformedCredential),
        ({"action": "opens"}, MalformedCredential),
    ]
    for wrong, problem in cases:
        with pytest.raises(problem):
            at.check(challenge, good | wrong)
    with pytest.raises(VerificationFailed, match="source"):
        at.check(challenge, good, source=f"did:pkh:eip155:42431:{OTHER}")
    at.check(challenge, good)


def sig(raw: bytes) -> str:
    """As JSON."""
    return to_hex(raw)


@VERSIONS
@pytest.mark.guard("T08")
def test_a_top_up_of_something_else_is_refused(shop: Shop, version: Version) -> None:
    """Another amount, another channel, somebody else's transaction, a channel that is not ours."""
    at, elsewhere = stall(shop, version), stall(shop, version)
    channel, second = at.open(), at.open()
    challenge = at.challenge()
    move = shop.run(at.payer.top_up(challenge, at.held(channel), 5000))
    good = dict(move.payload)
    with pytest.raises(VerificationFailed, match="another amount"):
        at.check(challenge, good | {"additionalDeposit": "5001"}, channel)
    with pytest.raises(MalformedCredential):
        at.check(challenge, good | {"additionalDeposit": "0"}, channel)
    with pytest.raises(ChannelNotFound):
        at.check(challenge, good)
    with pytest.raises(UsageError):
        at.check(challenge, good, second)
    with pytest.raises(VerificationFailed, match="not the payer's"):
        at.check(challenge, good, replace(channel, payer=OTHER))
    with pytest.raises(VerificationFailed, match="somebody else"):
        at.check(challenge, good, replace(channel, payee=OTHER))
    named = TopUpPayload(at.ref(second), bytes.fromhex(good["transaction"][2:]), 5000).members()
    with pytest.raises(VerificationFailed, match="another channel"):
        at.check(challenge, named, second)
    with pytest.raises(CoinslotError):
        elsewhere.check(elsewhere.challenge(), good, channel)
    at.check(challenge, good, channel)


@VERSIONS
@SPONSORED
@pytest.mark.guard("T31", "T36")
def test_an_open_that_would_fail_is_not_sent_and_not_signed(shop: Shop, version: Version, sponsored: bool) -> None:
    """The payer's money is gone by then. A sponsor does not even sign: that is refused before anything is claimed."""
    at = stall(shop, version, sponsored=sponsored)
    challenge, move = at.move(19 * DOLLAR)
    at.act(transfer_call(PATH, OTHER, 15 * DOLLAR))
    if sponsored:
        with pytest.raises(PaymentInsufficient):
            at.check(challenge, move.payload)
        return
    funding = at.check(challenge, move.payload)
    with pytest.raises(PaymentInsufficient):
        at.prepare(funding, challenge)


@pytest.mark.guard("T31")
def test_what_the_sponsor_signed_is_simulated_again(shop: Shop) -> None:
    """Between the check and the claim the money went away."""
    at = stall(shop, V2, sponsored=True)
    challenge, move = at.move(19 * DOLLAR)
    funding = at.check(challenge, move.payload)
    at.act(transfer_call(PATH, OTHER, 15 * DOLLAR))
    with pytest.raises(PaymentInsufficient):
        at.prepare(funding, challenge)


def test_a_sponsor_without_money_charges_nothing(shop: Shop) -> None:
    """Not the payer's fault."""
    at = stall(shop, V2, fee_payer_key=to_hex(secrets.token_bytes(32)))
    challenge, move = at.move()
    with pytest.raises(RailUnavailable):
        at.prepare(at.check(challenge, move.payload), challenge)


def test_a_sponsor_that_is_gone_signs_nothing(shop: Shop) -> None:
    """The challenge promised what this server doesn't do any more."""
    at = stall(shop, V2, sponsored=True)
    challenge, move = at.move()
    at.seller = replace(at.seller, config=replace(at.seller.config, sponsor=None))
    with pytest.raises(RailUnavailable):
        at.check(challenge, move.payload)


@pytest.mark.guard("T32")
@pytest.mark.parametrize("change", ["nothing told", "another amount"])
def test_a_simulation_that_moves_nothing_is_no_success(shop: Shop, faulty: FaultyNode, change: str) -> None:
    """The escrow's event must be there, with the deposit."""
    at = stall(shop, V2, rpc_url=faulty.url)
    challenge, move = at.move()
    funding = at.check(challenge, move.payload)

    def edited(blocks: Any) -> Any:
        for call in blocks[0]["calls"]:
            for log in list(call["logs"]):
                if log["address"] == at.seller.config.escrow.address:
                    call["logs"].remove(log)
                    if change == "another amount":
                        call["logs"].append(log | {"data": log["data"][:-2] + "41"})
        return blocks

    faulty.on("eth_simulateV1", edit(edited))
    with pytest.raises(VerificationFailed, match="would not put"):
        at.prepare(funding, challenge)


@pytest.mark.guard("T26")
@pytest.mark.spec("TSES-202")
def test_dust_opens_no_channel(shop: Shop) -> None:
    """A deposit below the seller's least is refused, and what it suggests is at least that."""
    at = stall(shop, V2, min_deposit="0.5")
    assert at.challenge().request_object()["suggestedDeposit"] == "500000"
    challenge, move = at.move(499_999)
    with pytest.raises(PaymentInsufficient, match=r"0\.5 pathUSD or more"):
        at.check(challenge, move.payload)
    challenge, move = at.move(500_000)
    at.check(challenge, move.payload)


# --- one proof, for all ---------------------------------------------------------------------------


@pytest.mark.guard("T06")
def test_a_charge_can_not_open_and_an_open_can_not_pay(shop: Shop) -> None:
    """Their transactions have one name space of proofs, and each reads only what it is."""
    at = stall(shop, V2)
    charges = shop.seller(recipient=at.seller.config.recipient)
    assert isinstance(charges, TempoChargeSeller)
    offered = shop.challenge(charges)
    paid = shop.pay(shop.payer(at.payer_key), offered)
    proof = shop.check(charges, offered, paid.payload, paid.source).proof
    assert proof.startswith("eip155:42431/tx/0x")
    challenge, move = at.move()
    assert at.check(challenge, move.payload).proof.rpartition("/")[0] == proof.rpartition("/")[0]
    with pytest.raises(VerificationFailed):
        at.check(challenge, dict(move.payload) | {"transaction": paid.payload["signature"]})
    with pytest.raises(VerificationFailed):
        shop.check(charges, offered, pulled(bytes.fromhex(move.payload["transaction"][2:])))


@VERSIONS
@pytest.mark.guard("T35")
@pytest.mark.parametrize("sponsored", [False, True], ids=["own fee", "sponsored"])
def test_an_open_that_is_on_the_chain_already_is_taken(shop: Shop, version: Version, sponsored: bool) -> None:
    """Who sent the very bytes makes no difference, also if they would fail by now."""
    at = stall(shop, version, sponsored=sponsored)
    challenge, move = at.move(15 * DOLLAR)
    first = at.prepare(at.check(challenge, move.payload), challenge)
    shop.run(at.seller.broadcast(first))
    again = at.prepare(at.check(challenge, move.payload), challenge)
    assert again == first
    assert isinstance(at.settle(again), Funded)
