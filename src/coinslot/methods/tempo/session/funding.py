"""Money into a channel: what we broadcast for a payer, and what the chain says of it (TSES "Open Verification").

A sponsored transaction is simulated before our key signs it and again as it will be sent: a failure costs the sponsor
a fee, so what is known to fail gets no signature, and what is signed was seen to succeed. T31
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coinslot.chains.evm.abi import encode_address, encode_call
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.rpc import Block, Receipt, get_receipt
from coinslot.drive import Flow
from coinslot.errors import (
    BadSignature,
    BadTransaction,
    ChannelFinalized,
    LedgerError,
    PaymentInsufficient,
    RailUnavailable,
    RpcUnreachable,
    VerificationFailed,
)
from coinslot.intents.acts import Act, Funded, FundingOutcome, OnChain
from coinslot.intents.charge import Prepared, Refused
from coinslot.methods.tempo.preflight import chosen_fee_token, require_fee, require_gas, require_key
from coinslot.methods.tempo.session.calls import OpenCall, TopUpCall, read_call
from coinslot.methods.tempo.session.channel import ChannelRef, expected_signer
from coinslot.methods.tempo.session.escrow import Escrow
from coinslot.methods.tempo.session.events import ChannelClosed, ChannelOpened, ToppedUp, read_events
from coinslot.methods.tempo.session.history import find_events
from coinslot.methods.tempo.session.reserve import ChainChannel, confirm_opened, confirm_topped_up
from coinslot.methods.tempo.session.terms import SessionTerms, require_parties
from coinslot.methods.tempo.session.transaction import Opening, ToppingUp, opened_channel
from coinslot.methods.tempo.settle import find_block, find_receipt
from coinslot.methods.tempo.simulate import Simulated, simulate
from coinslot.methods.tempo.sponsor import Sponsor
from coinslot.methods.tempo.tokens import network
from coinslot.methods.tempo.transaction.build import transaction_hash
from coinslot.methods.tempo.transaction.fields import Call
from coinslot.methods.tempo.transaction.read import SignedTransaction, read_transaction


@dataclass(frozen=True, slots=True)
class Handed:
    """An open or top-up that we will broadcast: the final bytes, their hash, who pays the fee and in which token.

    `fee_token` None: the chain chooses it.
    """

    asked: Opening | ToppingUp
    raw: bytes = field(repr=False)
    hash: str
    fee_payer: str
    fee_token: str | None

    @property
    def units(self) -> int:
        """What leaves the payer for the escrow."""
        return self.asked.deposit_units if isinstance(self.asked, Opening) else self.asked.additional_units


def channel_key(channel: ChannelRef) -> str:
    """The name of a channel in every store."""
    return f"{network(channel.escrow.chain_id)}/{channel.id}"


# --- before it is sent ---------------------------------------------------------------------------


def check_handed(
    url: str, asked: Opening | ToppingUp, terms: SessionTerms, sponsor: Sponsor | None, now_s: float
) -> Flow[Handed]:
    """What will be broadcast, if its key may act for the payer and, where we sponsor it, if it would succeed.

    Raises VerificationFailed, PaymentInsufficient, RailUnavailable, ChainError.
    """
    if terms.sponsored:
        if sponsor is None:
            raise RailUnavailable("fees are not paid for by this server any more; ask for a fresh challenge")
        sponsor.require(asked.signed, now_s, 1)  # T30 T31
    try:
        yield from require_key(url, asked.signed)  # T18
        if terms.sponsored:  # T31: no signature for what is known to fail
            calls = [(asked.signed.sender, call) for call in asked.signed.transaction.calls]
            _require_effect((yield from simulate(url, calls)), asked)
    except (VerificationFailed, PaymentInsufficient):
        # T35: what would fail now has perhaps happened already
        if (yield from get_receipt(url, _handed(asked, terms, sponsor).hash)) is None:
            raise
    return _handed(asked, terms, sponsor)


def _handed(asked: Opening | ToppingUp, terms: SessionTerms, sponsor: Sponsor | None) -> Handed:
    signed = asked.signed
    if not terms.sponsored or sponsor is None:
        fee_token = signed.transaction.fee_token
        return Handed(asked, signed.raw, transaction_hash(signed.raw), signed.sender, fee_token)
    final = sponsor.complete(signed)
    return Handed(asked, final, transaction_hash(final), sponsor.address, sponsor.fee_token)


def preflight_handed(url: str, handed: Handed, terms: SessionTerms) -> Flow[None]:
    """That the final bytes would move the deposit into this channel, and that the fee payer can pay.

    Raises VerificationFailed, PaymentInsufficient, RailUnavailable (the sponsor's purse is empty), ChainError.
    """
    final = read_transaction(handed.raw)  # what will be broadcast, not what we think we made of it
    tx, payer = final.transaction, final.sender
    fee_token = handed.fee_token or (yield from chosen_fee_token(url, handed.fee_payer, terms.token))
    balance = Call(fee_token, 0, encode_call("balanceOf(address)", encode_address(handed.fee_payer)))
    nothing = (payer, Call(payer))
    questions = [nothing, (ZERO_ADDRESS, balance), *((payer, call) for call in tx.calls), nothing]
    try:
        answers = yield from simulate(url, questions)
        moved = answers[2:-1]
        _require_effect(moved, handed.asked)
        spent = handed.units if fee_token == terms.token and not terms.sponsored else 0
        require_fee(answers[1], tx, spent, sponsored=terms.sponsored)
        if terms.sponsored:
            require_gas(tx, (answers[0], answers[-1]), moved)
    except (VerificationFailed, PaymentInsufficient):
        if (yield from get_receipt(url, handed.hash)) is None:  # T35
            raise


def _require_effect(moved: Sequence[Simulated], asked: Opening | ToppingUp) -> None:
    """That every call succeeds, and the escrow tells of this deposit. T32

    A simulated v2 open makes a channel of another id, since ids commit to the transaction; all else must agree.
    """
    if not all(each.succeeded for each in moved):
        raise PaymentInsufficient("it would be refused: not enough balance, or a rule of the token or the escrow")
    logs = tuple(log for each in moved for log in each.logs)
    told = read_events(asked.channel.escrow, logs)
    if isinstance(asked, Opening):
        found = [each.deposit_units for each in told if isinstance(each, ChannelOpened) and each.payer == asked.payer]
        wanted = asked.deposit_units
    else:
        mine = asked.channel.id
        found = [each.additional_units for each in told if isinstance(each, ToppedUp) and each.channel_id == mine]
        wanted = asked.additional_units
    if found != [wanted]:  # T32
        raise VerificationFailed("the transaction would not put this deposit into the channel")


# --- after it was sent ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """What the bytes on record do: open or top up `channel` with so many `units`. `signer` is that of an opened one."""

    act: Act
    channel: ChannelRef
    units: int
    signer: str | None = None


def read_sent(raw: bytes, escrow: Escrow) -> Sent:
    """What recorded bytes do. Raises LedgerError if they are not an open or a top-up that we prepared."""
    try:
        signed = read_transaction(raw)
        call = read_call(escrow, signed.transaction.calls[-1])
    except (BadTransaction, BadSignature) as error:
        raise LedgerError(f"the recorded transaction can't be read: {error}") from None
    if isinstance(call, OpenCall):
        channel = opened_channel(escrow, call, signed.transaction, signed.sender)
        return Sent(Act.OPEN, channel, call.deposit_units, _signer(signed, call))
    if isinstance(call, TopUpCall):
        return Sent(Act.TOP_UP, call.channel, call.additional_units)
    raise LedgerError("the recorded transaction neither opens nor tops up a channel")


def _signer(signed: SignedTransaction, call: OpenCall) -> str:
    return expected_signer(signed.sender, call.authorized_signer)


def confirm_funded(
    url: str, prepared: Prepared, terms: SessionTerms, *, confirmations: int, lag_s: int
) -> Flow[FundingOutcome]:
    """What the chain says of a prepared open or top-up: by receipt, event, and state at the receipt's block. F12 T32

    Refused too where the payer asked to close in the same block: such a channel is not sold on (TSES-102), and the
    deposit is the payer's to take back. Raises ChainError.
    """
    receipt = yield from find_receipt(url, prepared.reference, prepared.dead_after_s, lag_s)
    if not isinstance(receipt, Receipt):
        return receipt
    if not receipt.succeeded:
        return Refused("the transaction was reverted")
    block = yield from find_block(url, receipt, confirmations)
    if not isinstance(block, Block):
        return block
    sent = read_sent(prepared.raw, terms.escrow)
    try:
        if sent.act is Act.OPEN:
            found = yield from confirm_opened(url, receipt, sent.channel, sent.units)
            _require_same(found, terms, sent)
        else:
            found = yield from confirm_topped_up(url, receipt, sent.channel, sent.units)
    except (VerificationFailed, ChannelFinalized) as problem:
        return Refused(problem.detail)
    except RpcUnreachable:
        at = receipt.block_number
        told = yield from find_events(url, terms.escrow, (at, at), channel_id=sent.channel.id)
        if any(isinstance(event, ChannelClosed) for event in told):
            return Refused("the channel was closed in the same block")
        raise
    state = found.state
    on_chain = OnChain(channel_key(sent.channel), True, state.deposit_units, state.settled_units)
    return Funded(sent.act, on_chain, sent.units, prepared.reference, float(block.timestamp_s))


def _require_same(found: ChainChannel, terms: SessionTerms, sent: Sent) -> None:
    """That the chain names the parties that the channel's id stands for: it can't do otherwise, but a node can lie."""
    try:
        require_parties(found, terms)
        if found.signer != sent.signer:  # T15
            raise VerificationFailed("the channel has another signer")
    except VerificationFailed as problem:
        raise RpcUnreachable(f"the node tells of another channel: {problem.detail}") from None
