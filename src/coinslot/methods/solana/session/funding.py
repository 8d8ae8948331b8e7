"""Money into a channel: what we broadcast for a payer, and what the chain says of it (SSES "Open" 13 to 15, "TopUp").

A sponsored transaction is tried out before our key signs it: a failure would cost the sponsor a fee. What would fail
now has perhaps happened already, when a client comes again with what it presented before. T31 T35
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.solana.message import read_transaction
from coinslot.chains.solana.programs import SYSTEM_PROGRAM
from coinslot.chains.solana.rpc import Commitment, account, balance
from coinslot.chains.solana.rpc import slot as newest_slot
from coinslot.chains.solana.sending import Landed, Simulation, signature_statuses, simulate
from coinslot.drive import Flow, now
from coinslot.errors import (
    BadTransaction,
    LedgerError,
    RailUnavailable,
    RpcUnreachable,
    VerificationFailed,
)
from coinslot.intents.acts import Act, Funded, FundingOutcome, OnChain
from coinslot.intents.charge import Prepared
from coinslot.methods.solana.session.channel import Status, derive_channel, read_channel
from coinslot.methods.solana.session.distribution import distribution_hash
from coinslot.methods.solana.session.escrow import OPEN_SLOT_WINDOW
from coinslot.methods.solana.session.landing import find_end
from coinslot.methods.solana.session.program import Open, TopUp, read_open, read_top_up
from coinslot.methods.solana.session.program_errors import ProgramError
from coinslot.methods.solana.session.record import channel_key
from coinslot.methods.solana.session.sponsoring import Sponsoring
from coinslot.methods.solana.session.transaction import Opening, ToppingUp

# What a node says of a blockhash that is too old, or that it has not seen yet.
_STALE = "BlockhashNotFound"


@dataclass(frozen=True, slots=True)
class Handed:
    """An opening or top-up that we will broadcast: the final bytes, and the signature by which the chain knows them."""

    asked: Opening | ToppingUp
    raw: bytes = field(repr=False)
    signature: str


def final(asked: Opening | ToppingUp, sponsoring: Sponsoring | None) -> Handed:
    """The final bytes: with our signature where we pay the fee. Nothing is sent."""
    raw = asked.shape.transaction.raw
    raw = raw if sponsoring is None else sponsoring.complete(raw)
    return Handed(asked, raw, read_transaction(raw).signature)


def known(url: str, handed: Handed) -> Flow[bool]:
    """Whether the chain knows this transaction already, whatever became of it. Raises ChainError. T35"""
    (status,) = yield from signature_statuses(url, [handed.signature], history=True)
    return status is not None


def require_success(
    url: str, asked: Opening | ToppingUp, sponsoring: Sponsoring | None, commitment: Commitment
) -> Flow[None]:
    """That it would succeed now, tried out without our signature. Raises VerificationFailed, RailUnavailable,
    ChainError.
    """
    tried = yield from simulate(url, asked.shape.transaction.raw, commitment=commitment)
    if tried.failure is None:
        return
    if sponsoring is not None:
        cost = sponsoring.cost(asked.shape, opens=isinstance(asked, Opening))
        if (yield from balance(url, sponsoring.address, commitment=commitment)) < cost:
            raise RailUnavailable("the server can't pay this transaction's fee at the moment; come back later")
    raise VerificationFailed(f"the chain would refuse this transaction: {_reason(tried)}")


def _reason(tried: Simulation) -> str:
    failure = tried.failure
    if failure is None:
        return "no reason"
    if failure.kind == _STALE:
        return "its blockhash is too old; take a fresh challenge"
    if failure.code in set(ProgramError):
        return ProgramError(failure.code).name.lower().replace("_", " ")
    return failure.text


# --- after it was sent ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """What the bytes on record do to which channel."""

    call: Open | TopUp
    channel_id: str
    blockhash: str


def read_sent(raw: bytes, program: str) -> Sent:
    """What recorded bytes do. Raises LedgerError if they are not an opening or a top-up that we prepared."""
    try:
        transaction = read_transaction(raw)
        call: Open | TopUp
        if transaction.instructions[-1].data[:1] == b"\x01":
            call = read_open(program, transaction.instructions[-1])
            return Sent(call, derive_channel(program, call.seeds), transaction.blockhash)
        call = read_top_up(program, transaction.instructions[-1])
        return Sent(call, call.channel, transaction.blockhash)
    except (BadTransaction, IndexError) as error:
        raise LedgerError(f"the recorded transaction can't be read: {error}") from None


def confirm_funded(
    url: str, prepared: Prepared, program: str, network: str, commitment: Commitment
) -> Flow[FundingOutcome]:
    """What the chain says of a prepared opening or top-up: that it landed, and then the channel's account. F12 T32

    It tells, too, if the channel is being closed by now: then nothing is sold on it. Raises ChainError.
    """
    sent = read_sent(prepared.raw, program)
    end = yield from find_end(url, prepared.reference, sent.blockhash, prepared.dead_after_s or 0.0, commitment)
    if not isinstance(end, Landed):
        return end
    found = yield from account(url, sent.channel_id, commitment=commitment)
    if found is None or (found.owner == SYSTEM_PROGRAM and not found.data):  # its address may hold gifts
        return (yield from _gone(url, prepared, sent, network, end, commitment))
    if found.slot < end.slot:
        raise RpcUnreachable("the node that was asked has not seen the channel yet")
    try:
        state = read_channel(program, found)
    except BadTransaction as error:
        raise RpcUnreachable(f"the node tells of something else than a channel: {error}") from None
    call = sent.call
    if isinstance(call, Open):  # SSES "Open" 14
        same = (
            state.seeds == call.seeds  # payer, payee, mint, authorizedSigner, salt, openSlot
            and state.deposit_units >= call.deposit_units  # a top-up may have followed
            and state.grace_s == call.grace_s
            and state.distribution_hash == distribution_hash(call.splits)
            and state.rent_payer == call.rent_payer
        )
        if not same:  # T32
            raise RpcUnreachable("the node tells of another channel than was opened")
    closing = float(state.closure_started_at) or None
    if state.status is not Status.OPEN and closing is None:  # sealing clears it
        closing = yield from now()
    over = state.status is Status.DISTRIBUTED
    key = channel_key(network, sent.channel_id)
    shown = OnChain(key, True, state.deposit_units, state.settled_units, closing, over)
    return (yield from _funded(prepared, sent, shown, end))


def _funded(prepared: Prepared, sent: Sent, shown: OnChain, end: Landed) -> Flow[Funded]:
    call = sent.call
    added, act = (call.deposit_units, Act.OPEN) if isinstance(call, Open) else (call.amount_units, Act.TOP_UP)
    at_s = float(end.block_time_s) if end.block_time_s is not None else (yield from now())
    return Funded(act, shown, added, prepared.reference, at_s)


def _gone(url: str, prepared: Prepared, sent: Sent, network: str, end: Landed, commitment: Commitment) -> Flow[Funded]:
    """The transaction landed and there is no such account: closed and freed since, if that can have happened by now
    (only after the window in which it could be opened); else the node is behind. Raises RpcUnreachable.
    """
    opened_slot = sent.call.seeds.open_slot if isinstance(sent.call, Open) else end.slot
    if (yield from newest_slot(url, commitment=commitment)) <= opened_slot + OPEN_SLOT_WINDOW:
        raise RpcUnreachable("the node that was asked has not seen the channel yet")
    units = sent.call.deposit_units if isinstance(sent.call, Open) else sent.call.amount_units
    shown = OnChain(channel_key(network, sent.channel_id), False, units, 0, closed=True)
    return (yield from _funded(prepared, sent, shown, end))
