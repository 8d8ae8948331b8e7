"""The transactions that fund a channel, as the payer writes and the server reads them (TSES "Open Verification").

             v1                                        v2
    open     approve(escrow, deposit), open(...)       open(...)
    top-up   approve(escrow, amount), topUp(...)       topUp(...)

and nothing else. The v1 approval may be missing: chains exist on which the escrow needs none. What is read here is all
that a sponsor may sign for; what it may cost is the sponsor's to say. T31
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coinslot.errors import (
    AmountExceedsDeposit,
    BadSignature,
    BadTransaction,
    PaymentInsufficient,
    UsageError,
    VerificationFailed,
)
from coinslot.methods.tempo.pull import EXPIRY_SLACK_S
from coinslot.methods.tempo.session.calls import (
    OpenCall,
    SessionCall,
    TopUpCall,
    approve_call,
    read_approve_call,
    read_call,
    write_call,
)
from coinslot.methods.tempo.session.channel import (
    ChannelRef,
    Descriptor,
    StreamChannel,
    channel_ref,
    expected_signer,
    expiring_nonce_hash,
    stream_channel_id,
)
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow
from coinslot.methods.tempo.session.payload import OpenPayload, TopUpPayload
from coinslot.methods.tempo.session.terms import SessionTerms, require_parties
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.sponsor import GAS_PER_KEY_AUTHORIZATION
from coinslot.methods.tempo.tokens import is_tip20
from coinslot.methods.tempo.transaction.fields import (
    AWAITING_FEE_PAYER,
    EXPIRING_NONCE_KEY,
    TRANSACTION_TYPE,
    Call,
    TempoTransaction,
)
from coinslot.methods.tempo.transaction.read import SignedTransaction, read_transaction

# New storage is dear on Tempo (250,000 gas a slot). Measured against local escrows: 1.58 million for a v1 open (five
# slots and an allowance), 0.56 million for v2 (one slot); 264,000 and 65,000 for a top-up. Deployed servers try it out
# without its nonce key, as if it made a new account, which takes more. Unused gas costs nothing.
OPEN_GAS = {V1.name: 2_500_000, V2.name: 1_200_000}
TOP_UP_GAS = {V1.name: 1_000_000, V2.name: 1_200_000}


# --- the payer's side ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Funding:
    """How a funding transaction is sent. `account` is the payer; times are whole seconds of the chain's clock.

    `fee_token` is needed unless `sponsored`. `valid_after`, some time in the past, tells two equal top-ups apart that
    would otherwise be one transaction; an open is unique by its salt. `gas_limit` None: what is enough everywhere.
    """

    account: str
    max_fee_per_gas: int
    valid_before: int
    fee_token: str | None
    sponsored: bool = False
    valid_after: int | None = None
    gas_limit: int | None = None
    key_authorization: bytes | None = None


def open_transaction(escrow: Escrow, call: OpenCall, funding: Funding) -> tuple[TempoTransaction, ChannelRef]:
    """The unsigned transaction that opens a channel, and the channel that it will be.

    The channel's id is known before anything is sent: sign the first voucher, write both down, then hand it over.
    Raises UsageError.
    """
    opening = write_call(escrow, call)
    calls = (
        [opening] if escrow.version == V2 else [approve_call(call.token, escrow.address, call.deposit_units), opening]
    )
    tx = _funding_transaction(escrow, calls, funding, OPEN_GAS[escrow.version.name])
    return tx, opened_channel(escrow, call, tx, funding.account)


def opened_channel(escrow: Escrow, call: OpenCall, tx: TempoTransaction, payer: str) -> ChannelRef:
    """The channel that an open call in this transaction of this sender makes."""
    if escrow.version == V1:
        terms = StreamChannel(payer, call.payee, call.token, call.salt, call.authorized_signer)
        return ChannelRef(escrow, stream_channel_id(escrow, terms))
    descriptor = Descriptor(
        payer=payer,
        payee=call.payee,
        operator=call.operator,
        token=call.token,
        salt=call.salt,
        authorized_signer=call.authorized_signer,
        expiring_nonce_hash=expiring_nonce_hash(tx, payer),  # T08
    )
    return channel_ref(escrow, descriptor)


def top_up_transaction(channel: ChannelRef, token: str, additional_units: int, funding: Funding) -> TempoTransaction:
    """The unsigned transaction that adds to a channel's deposit. Raises UsageError."""
    escrow = channel.escrow
    if additional_units == 0:
        raise UsageError("a top-up of nothing")
    adding = write_call(escrow, TopUpCall(channel, additional_units))
    calls = [adding] if escrow.version == V2 else [approve_call(token, escrow.address, additional_units), adding]
    return _funding_transaction(escrow, calls, funding, TOP_UP_GAS[escrow.version.name])


def _funding_transaction(escrow: Escrow, calls: Sequence[Call], funding: Funding, gas: int) -> TempoTransaction:
    if not funding.sponsored and funding.fee_token is None:  # TSES-048
        raise UsageError("who pays the fee itself names the token to pay it in")
    if funding.key_authorization is not None:
        gas += GAS_PER_KEY_AUTHORIZATION
    return TempoTransaction(
        chain_id=escrow.chain_id,
        calls=tuple(calls),
        gas_limit=gas if funding.gas_limit is None else funding.gas_limit,
        max_fee_per_gas=funding.max_fee_per_gas,
        nonce_key=EXPIRING_NONCE_KEY,
        valid_before=funding.valid_before,
        valid_after=funding.valid_after,
        fee_token=None if funding.sponsored else funding.fee_token,  # TSES-052
        fee_payer_signature=AWAITING_FEE_PAYER if funding.sponsored else None,
        key_authorization=funding.key_authorization,
    )


# --- the server's side ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """A transaction that opens `channel` with `deposit_units` of the payer's, if the chain takes it.

    `signer` is whose vouchers will count; the first of them, of `cumulative_units`, was verified.
    """

    signed: SignedTransaction
    channel: ChannelRef
    payer: str
    authorized_signer: str
    signer: str
    salt: str
    deposit_units: int
    cumulative_units: int
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToppingUp:
    """A transaction that adds `additional_units` to the deposit of `channel`, if the chain takes it."""

    signed: SignedTransaction
    channel: ChannelRef
    additional_units: int


def read_opening(
    payload: OpenPayload, terms: SessionTerms, scheme: VoucherScheme, times: tuple[float, float]
) -> Opening:
    """An open that pays these terms; `times` are now and when the challenge expires, seconds since 1970.

    All that can be known without the chain: the calls to the last byte, the channel's id, the first voucher. Raises
    VerificationFailed, PaymentInsufficient, AmountExceedsDeposit, InvalidVoucher, SignerMismatch.
    """
    signed, calls = _read_funding(payload.transaction, terms, times)
    call = _escrow_call(terms, calls)
    if not isinstance(call, OpenCall):
        raise VerificationFailed("the transaction does not open a channel")
    _require_open_call(call, terms)
    _require_approval(calls, terms, call.deposit_units)
    channel = opened_channel(terms.escrow, call, signed.transaction, signed.sender)
    if payload.channel != channel:  # T08 TSES-017 TSES-065 TSES-095
        raise VerificationFailed("the transaction opens another channel than the payload names")
    if payload.authorized_signer not in (None, call.authorized_signer):  # T15: inferred from the calldata
        raise VerificationFailed("payload.authorizedSigner is not that of the transaction")
    if payload.cumulative_units > call.deposit_units:
        raise AmountExceedsDeposit("the first voucher says more than the deposit", channel_id=channel.id)
    signer = expected_signer(signed.sender, call.authorized_signer)
    scheme.verify(channel.id, payload.cumulative_units, payload.signature, signer)
    return Opening(
        signed=signed,
        channel=channel,
        payer=signed.sender,
        authorized_signer=call.authorized_signer,
        signer=signer,
        salt=call.salt,
        deposit_units=call.deposit_units,
        cumulative_units=payload.cumulative_units,
        signature=payload.signature,
    )


def read_top_up(payload: TopUpPayload, terms: SessionTerms, payer: str, times: tuple[float, float]) -> ToppingUp:
    """A top-up of the payload's channel by its `payer` (known from the chain), of exactly what the payload says.

    Raises VerificationFailed.
    """
    signed, calls = _read_funding(payload.transaction, terms, times)
    call = _escrow_call(terms, calls)
    if not isinstance(call, TopUpCall):
        raise VerificationFailed("the transaction does not top up a channel")
    _require_approval(calls, terms, call.additional_units)
    if call.channel != payload.channel:  # T08
        raise VerificationFailed("the transaction tops up another channel")
    if call.additional_units != payload.additional_units:
        raise VerificationFailed("the transaction adds another amount than the payload says")
    if signed.sender != payer:
        raise VerificationFailed("the transaction is not the payer's")
    return ToppingUp(signed, payload.channel, call.additional_units)


def _read_funding(
    raw: bytes, terms: SessionTerms, times: tuple[float, float]
) -> tuple[SignedTransaction, tuple[Call, ...]]:
    try:
        signed = read_transaction(raw)
    except (BadTransaction, BadSignature) as error:
        raise VerificationFailed(f"transaction: {error}") from None
    tx, (now_s, expires_at_s) = signed.transaction, times
    own_fee = raw[0] == TRANSACTION_TYPE and not tx.sponsored
    for wrong, reason in (
        (tx.chain_id != terms.escrow.chain_id, "is for another chain"),  # T07
        (bool(tx.access_list), "has an access list"),
        # F13: without an end, a lost transaction would be pending for ever
        (tx.valid_before is None, "has no valid_before"),
        ((tx.valid_before or 0) <= now_s, "is not valid any more"),
        ((tx.valid_before or 0) > expires_at_s + EXPIRY_SLACK_S, "stays valid longer than the challenge"),
        (tx.valid_after is not None and tx.valid_after > now_s, "is not valid yet"),
        (terms.sponsored and not tx.awaiting_fee_payer, "does not leave its fee to the server"),
        (not terms.sponsored and not own_fee, "wants a sponsor, and this session has none"),
        (terms.sponsored and tx.fee_token is not None, "names a fee token; the sponsor chooses it"),
        (tx.fee_token is not None and not is_tip20(tx.fee_token), "names no TIP-20 token to pay its fee in"),
    ):
        if wrong:
            raise VerificationFailed(f"the transaction {reason}")
    return signed, tx.calls


def _escrow_call(terms: SessionTerms, calls: Sequence[Call]) -> SessionCall:
    """The last call; before it, in v1 only, room for one approval."""
    if len(calls) > (2 if terms.version == V1 else 1):  # T31
        raise VerificationFailed("the transaction does more than it should")
    try:
        return read_call(terms.escrow, calls[-1])
    except BadTransaction as error:
        raise VerificationFailed(f"transaction: {error}") from None


def _require_approval(calls: Sequence[Call], terms: SessionTerms, units: int) -> None:
    """That a call before the last approves exactly what the escrow is about to take. T31"""
    for call in calls[:-1]:
        try:
            token, spender, approved = read_approve_call(call)
        except BadTransaction as error:
            raise VerificationFailed(f"transaction: {error}") from None
        if (token, spender, approved) != (terms.token, terms.escrow.address, units):  # T31
            raise VerificationFailed("the transaction approves something else than the deposit")


def _require_open_call(call: OpenCall, terms: SessionTerms) -> None:
    """That the channel pays these terms, and holds at least the price of one unit."""
    require_parties(call, terms)
    if call.deposit_units < terms.amount_units:  # TSES-100
        raise PaymentInsufficient("the deposit does not cover one unit")
