"""Money out of channels: one transaction of ours that settles or closes many, and what became of each.

Its nonce is an expiring one and its life short, so that a lost one is soon known to be dead and its jobs can be done
anew. F09 F11
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from coinslot.chains.evm.rpc import Block, Receipt, balance_of, gas_price, latest_block
from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import Flow, now
from coinslot.errors import ChainError, UsageError, VerificationFailed
from coinslot.intents.acts import Done, JobOutcome, Sendable
from coinslot.intents.charge import Refused
from coinslot.intents.session import Channel, Close
from coinslot.methods.tempo.paying import FEE_MARGIN, VALID_S, chain_time_s
from coinslot.methods.tempo.session.calls import CloseCall, SettleCall, write_call
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, V2
from coinslot.methods.tempo.session.record import read_record
from coinslot.methods.tempo.session.reserve import confirm_closed, confirm_settled
from coinslot.methods.tempo.settle import find_block, find_receipt
from coinslot.methods.tempo.simulate import simulate
from coinslot.methods.tempo.tokens import fee_units
from coinslot.methods.tempo.transaction.build import serialise, sign, transaction_hash
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, TempoTransaction

# Simulated one by one, a v1 close takes 840,000 gas at most and a v2 settlement 330,000 (accounts that never held the
# token); these many stay below 11 million, a third of a block. What a batch really takes is about half of that.
BATCH: Mapping[str, int] = MappingProxyType({V1.name: 10, V2.name: 25})
# Simulated gas is told after refunds, which are a fifth of it at most, and the signature and the expiring nonce of the
# transaction are not in it. Unused gas costs nothing.
GAS_MARGIN = 5, 4
GAS_EXTRA = 200_000


@dataclass(frozen=True, slots=True)
class Payer:
    """Who signs and pays for settlements: the payee itself, or the operator of its channels.

    `max_fee_per_gas` is the highest price per gas, in units of 10**-18 dollars.
    """

    key: PrivateKey = field(repr=False)
    chain_id: int
    fee_token: str
    max_fee_per_gas: int


Job = tuple[Channel, Close, bool]


def pay_out(url: str, payer: Payer, jobs: Sequence[Job]) -> Flow[Sendable]:
    """One signed transaction of these jobs, without those that the chain would refuse now. Nothing is sent.

    Raises UsageError for none or too many of them, VerificationFailed if the chain would refuse them all, ChainError
    (also where our account can't pay the fee, or the price of gas is too high: later it may be otherwise).
    """
    most = max(BATCH.values())
    if not 0 < len(jobs) <= most:
        raise UsageError(f"one transaction settles 1 to {most} channels")
    calls = [write_call(call.channel.escrow, call) for call in map(_call, jobs)]
    seen = yield from simulate(url, [(payer.key.address, call) for call in calls])
    good = [(call, each.gas_used) for call, each in zip(calls, seen, strict=True) if each.succeeded]
    if not good:  # one bad channel must not hold up the others: `paid_out` tells that it was left out
        raise VerificationFailed(f"the escrow would refuse it: {', '.join(job[0].id for job in jobs)}")
    above, below = GAS_MARGIN
    max_fee = yield from _max_fee_per_gas(url, payer)
    head = yield from latest_block(url)
    valid_before = chain_time_s(head, (yield from now())) + VALID_S
    tx = TempoTransaction(
        chain_id=payer.chain_id,
        calls=tuple(call for call, _ in good),
        gas_limit=sum(gas for _, gas in good) * above // below + GAS_EXTRA,
        max_fee_per_gas=max_fee,
        nonce_key=EXPIRING_NONCE_KEY,  # T36: no nonce that another process of ours could use, or leave a gap in
        valid_before=valid_before,
        fee_token=payer.fee_token,
    )
    held = yield from balance_of(url, payer.fee_token, payer.key.address)
    if held < fee_units(tx.max_fee):
        raise ChainError(f"{payer.key.address} can't pay the fee of settling: it holds too little of {payer.fee_token}")
    raw = serialise(sign(tx, payer.key))
    return Sendable(transaction_hash(raw), raw, float(valid_before))


def _call(job: Job) -> SettleCall | CloseCall:
    channel, close, closes = job
    ref = recorded_ref(channel)
    if not closes:
        return SettleCall(ref, close.voucher_units, close.raw)
    return CloseCall(ref, close.voucher_units, close.capture_units, close.raw)


def recorded_ref(channel: Channel) -> ChannelRef:
    """How to speak of a channel on record. Raises UsageError for a record that is not this channel's."""
    ref = read_record(channel.state).ref
    if ref.id != channel.id:  # T08
        raise UsageError("the record is of another channel")
    return ref


def _max_fee_per_gas(url: str, payer: Payer) -> Flow[int]:
    price = yield from gas_price(url)
    if price > payer.max_fee_per_gas:
        raise ChainError(f"the network asks {price} per gas, more than session_max_fee_per_gas")
    return min(FEE_MARGIN * price, payer.max_fee_per_gas)


def paid_out(url: str, job: Job, sent: Sendable, *, confirmations: int, lag_s: int) -> Flow[JobOutcome]:
    """What became of one job: by receipt, event, and state at the receipt's block. F12 T32

    Refused only if this transaction can never do it. Raises ChainError.
    """
    receipt = yield from find_receipt(url, sent.reference, sent.dead_after_s, lag_s)
    if not isinstance(receipt, Receipt):
        return receipt
    if not receipt.succeeded:
        return Refused("the transaction was reverted: nothing moved")
    block = yield from find_block(url, receipt, confirmations)
    if not isinstance(block, Block):
        return block
    channel, close, closes = job
    ref, at_s = recorded_ref(channel), float(block.timestamp_s)
    try:
        if closes:
            closed = yield from confirm_closed(url, receipt, ref)
            return Done(closed.settled_units, closed.refunded_units, True, sent.reference, at_s)
        found = yield from confirm_settled(url, receipt, ref, close.capture_units)
    except VerificationFailed as problem:  # T32
        return Refused(problem.detail)
    # a v2 channel that was closed later in the same block is forgotten by then
    return Done(max(found.state.settled_units, close.capture_units), 0, False, sent.reference, at_s)
