"""The transactions that payers sign for us to send: an opening or a top-up, and nothing besides (SSES "Open" 1 to 12).

The decoded transaction is what counts, not what is said of it. Every byte of the message is accounted for: how much it
may compute and what it bids for that, then the one instruction of the channel program. No lookup tables, no account
that this instruction does not name, no signature but those of the payer and of who pays the fee. T31
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.chains.solana.address import is_on_curve
from coinslot.chains.solana.budget import read_unit_limit, read_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import Transaction, read_transaction, verify_signatures
from coinslot.chains.solana.programs import BUDGET_PROGRAM
from coinslot.errors import BadSignature, BadTransaction, VerificationFailed
from coinslot.methods.solana.session.channel import derive_channel
from coinslot.methods.solana.session.distribution import distribution_hash
from coinslot.methods.solana.session.escrow import in_open_window
from coinslot.methods.solana.session.payload import OpenPayload, TopUpPayload
from coinslot.methods.solana.session.program import Open, TopUp, read_open, read_top_up
from coinslot.methods.solana.session.record import Recorded
from coinslot.methods.solana.session.terms import SessionTerms

LAMPORTS_PER_SIGNATURE = 5_000
MICRO_LAMPORTS = 1_000_000
# What the runtime grants an instruction where a transaction doesn't say.
DEFAULT_UNITS = 200_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A transaction of one channel instruction. `units` and `unit_price` are what it may compute, and bids per unit in
    millionths of a lamport."""

    transaction: Transaction
    call: Instruction
    units: int
    unit_price: int

    @property
    def fee_lamports(self) -> int:
        """The most that it can cost whoever pays the fee; rent comes on top."""
        priority = -(-self.units * self.unit_price // MICRO_LAMPORTS)
        return LAMPORTS_PER_SIGNATURE * len(self.transaction.signatures) + priority


@dataclass(frozen=True, slots=True)
class Opening:
    """A transaction that opens exactly the channel that was asked for. `idle_s` is what is agreed by taking it."""

    shape: Shape
    call: Open
    channel_id: str
    idle_s: int


@dataclass(frozen=True, slots=True)
class ToppingUp:
    """A transaction that adds to exactly one channel of ours."""

    shape: Shape
    call: TopUp


def read_shape(raw: bytes, program: str) -> Shape:
    """The transaction, if it is one instruction of this program with at most two that bound its fee before it.

    Raises VerificationFailed.
    """
    try:
        transaction = read_transaction(raw)
        if transaction.lookups:  # T31: accounts that nobody sees here
            raise BadTransaction("it takes accounts from a lookup table")
        *before, call = transaction.instructions or (None,)
        if call is None or call.program != program:
            raise BadTransaction("its last instruction is not one of the channel program")
        limit, price = _budget(before)
        named = {account.address for account in call.accounts}
        named |= {each.program for each in transaction.instructions} | {transaction.payer}
        if any(account.address not in named for account in transaction.accounts):  # T31 SSES step 9
            raise BadTransaction("it names accounts that none of its instructions uses")
    except BadTransaction as error:
        raise VerificationFailed(f"the transaction can't be taken: {error}") from None
    units = DEFAULT_UNITS * len(transaction.instructions) if limit is None else limit
    return Shape(transaction, call, units, price)


def _budget(instructions: Sequence[Instruction | None]) -> tuple[int | None, int]:
    """The unit limit and the unit price of what stands before the call. Raises BadTransaction."""
    limit: int | None = None
    price: int | None = None
    for each in instructions:
        if each is None or each.program != BUDGET_PROGRAM:  # T31
            raise BadTransaction("it has an instruction that is none of ours")
        if each.data[:1] == b"\x02" and limit is None:
            limit = read_unit_limit(each)
        elif each.data[:1] == b"\x03" and price is None:
            price = read_unit_price(each)
        else:
            raise BadTransaction("it bounds its fee in a way that we don't read, or twice")
    return limit, price or 0


def _require_roles(shape: Shape, payer: str, fee_payer: str | None) -> None:
    """That the payer signs for its money and, where we pay the fee, we sign for nothing else. Raises
    VerificationFailed. T30 T31

    Whoever pays the fee is the first signer of the message and writable by that; it must not also be whose tokens
    move. SSES-052: its signature stands for no other authority.
    """
    transaction = shape.transaction
    if transaction.payer != (fee_payer or payer):  # SSES-209
        raise VerificationFailed("the transaction's fee is paid by somebody else than was agreed")
    if fee_payer == payer:  # T31
        raise VerificationFailed("the fee payer can't be the payer of a channel")
    if set(transaction.signers) != {fee_payer or payer, payer}:
        raise VerificationFailed("the transaction wants signatures of others")
    try:
        verify_signatures(transaction, unsigned=() if fee_payer is None else (fee_payer,))  # T13
    except BadSignature as error:
        raise VerificationFailed(f"the transaction is not signed: {error}") from None


# --- open ----------------------------------------------------------------------------------------


def read_opening(payload: OpenPayload, terms: SessionTerms, challenge_id: str, slot: int, idle_s: int) -> Opening:
    """What an opening does, if that is what was asked and what is said of it. The steps are those of SSES "Open".

    `slot` is the cluster's now, `idle_s` what we choose where the client doesn't. Raises VerificationFailed,
    SignerMismatch, InvalidVoucher.
    """
    if terms.channel_id is not None or terms.blockhash is None or terms.recent_slot is None:
        raise VerificationFailed("this challenge is not for a new channel; take one that is")
    shape = read_shape(payload.transaction, terms.program)  # 1
    try:
        call = read_open(terms.program, shape.call)  # 1, 2, 4: derived accounts are computed and compared
    except BadTransaction as error:
        raise VerificationFailed(f"the transaction can't be taken: {error}") from None
    channel_id = derive_channel(terms.program, call.seeds)
    _require_agreement(payload, terms, call, channel_id)  # 2, 3, 4, 5, 10, 11
    agreed_s = agreed_idle(payload.idle_s, terms.idle_options_s, idle_s)  # 6
    opening = Opening(shape, call, channel_id, agreed_s)
    for at in (terms.recent_slot, slot):  # 7
        require_slot(opening, at)
    if shape.transaction.blockhash != terms.blockhash:  # 9
        raise VerificationFailed("the transaction is not built on the challenged blockhash")
    if call.rent_payer != (terms.fee_payer or call.seeds.payer):  # 8
        raise VerificationFailed("the rent is paid by somebody else than the fee")
    if call.seeds.payee == call.seeds.payer or not is_on_curve(terms.recipient):  # SSES-219
        raise VerificationFailed("a channel to this payee could not be closed")
    _require_roles(shape, call.seeds.payer, terms.fee_payer)  # 8, 9
    _require_signer(payload, terms, call, channel_id, challenge_id)  # 12
    return opening


def require_slot(opening: Opening, slot: int) -> None:
    """That a channel of this slot can be opened at that one. Raises VerificationFailed."""
    if not in_open_window(opening.call.seeds.open_slot, slot):
        raise VerificationFailed("openSlot is not within the slots before the challenged one and the newest one")


def _require_agreement(payload: OpenPayload, terms: SessionTerms, call: Open, channel_id: str) -> None:
    """That challenge, payload, and decoded transaction say the same (SSES-117). Raises VerificationFailed."""
    seeds = call.seeds
    for agrees, what in (
        (payload.channel_id == channel_id, "channelId is not the address of this channel"),  # T08
        (payload.payer == seeds.payer, "payer differs"),
        (payload.payee == seeds.payee == terms.recipient, "payee differs"),
        (payload.mint == seeds.mint == terms.mint, "mint differs"),  # SSES-183
        (payload.authorized_signer == seeds.authorized_signer, "authorizedSigner differs"),
        (payload.salt == seeds.salt, "salt differs"),
        (payload.deposit_units == call.deposit_units, "depositAmount differs"),
        (payload.open_slot == seeds.open_slot, "openSlot differs"),
        (payload.grace_s == call.grace_s == terms.grace_s, "gracePeriodSeconds differs"),  # T28
        (payload.splits == call.splits == terms.splits, "distributionSplits differ"),
        (terms.token_program in (None, call.token_program), "the token program differs"),
        (distribution_hash(call.splits) == distribution_hash(terms.splits), "the hash of the splits differs"),
    ):
        if not agrees:
            raise VerificationFailed(f"challenge, payload and transaction don't agree: {what}")
    if call.deposit_units < terms.minimum_deposit_units:  # T26 SSES-055
        raise VerificationFailed(
            f"a channel is taken with a deposit of {terms.minimum_deposit_units} base units or more"
        )


def agreed_idle(chosen_s: int | None, options_s: tuple[int, ...], ours_s: int) -> int:
    """After how much silence the channel will be closed: what the client chose of what was offered, else our choice.

    Raises VerificationFailed for another choice; it is never bent to one that was offered (SSES-208).
    """
    if chosen_s is not None and chosen_s not in options_s:
        raise VerificationFailed("the requested idle timeout was not one of the advertised options")
    if chosen_s is not None:
        return chosen_s
    return ours_s if not options_s or ours_s in options_s else options_s[-1]


def _require_signer(payload: OpenPayload, terms: SessionTerms, call: Open, channel_id: str, challenge_id: str) -> None:
    """Who will sign the vouchers (SSES-118). Raises VerificationFailed, SignerMismatch, InvalidVoucher."""
    if terms.operator is None:
        if payload.authentication is not None:
            raise VerificationFailed("a proof of who pays is not taken where the client signs the vouchers")
        return
    if call.seeds.authorized_signer != terms.operator:  # T15
        raise VerificationFailed("authorizedSigner is not the challenged operator")
    if payload.authentication is None:
        raise VerificationFailed("the proof of who pays is missing")
    payload.authentication.verify(channel_id, call.seeds.payer, challenge_id)  # SSES-091 SSES-092


# --- topUp ---------------------------------------------------------------------------------------


def read_topping_up(payload: TopUpPayload, recorded: Recorded, fee_payer: str | None) -> ToppingUp:
    """What a top-up does, if it adds to this channel and does nothing else (SSES "TopUp" 2). Its fee is paid by its
    payer, or by `fee_payer`. Raises VerificationFailed.
    """
    shape = read_shape(payload.transaction, recorded.program)
    try:
        call = read_top_up(recorded.program, shape.call)
    except BadTransaction as error:
        raise VerificationFailed(f"the transaction can't be taken: {error}") from None
    seeds = recorded.seeds
    for agrees, what in (
        (payload.channel_id == recorded.id == call.channel, "it adds to another channel"),  # T08
        (call.payer == seeds.payer, "the payer is another"),
        ((call.mint, call.token_program) == (seeds.mint, recorded.token_program), "the token is another"),
        (call.amount_units == payload.additional_units, "additionalAmount differs"),
    ):
        if not agrees:
            raise VerificationFailed(f"the transaction is not the top-up that it is said to be: {what}")
    _require_roles(shape, seeds.payer, None if shape.transaction.payer == seeds.payer else fee_payer)
    return ToppingUp(shape, call)
