"""How a payer leaves a channel without its server: ask the escrow to close it, wait, and take the rest back.

    requestClose ── 15 minutes in which the payee can still settle ──► withdraw

A top-up in between takes the request back. Clients wait 16 minutes, since block times vary (TSES-189).
"""

from __future__ import annotations

from coinslot.errors import NoPayableOffer
from coinslot.methods.tempo.session.calls import RequestCloseCall, WithdrawCall, write_call
from coinslot.methods.tempo.session.reserve import ChannelState
from coinslot.methods.tempo.session.transaction import Funding
from coinslot.methods.tempo.sponsor import GAS_PER_KEY_AUTHORIZATION
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, TempoTransaction

# A withdrawal may create the payer's balance (250,000 gas a slot) and rewrites the channel's five. Unused gas is free.
EXIT_GAS = 1_000_000


def exit_transaction(call: RequestCloseCall | WithdrawCall, funding: Funding) -> TempoTransaction:
    """The unsigned transaction of one of the two calls, its fee paid by the payer itself."""
    escrow, gas = call.channel.escrow, EXIT_GAS
    if funding.key_authorization is not None:
        gas += GAS_PER_KEY_AUTHORIZATION
    return TempoTransaction(
        chain_id=escrow.chain_id,
        calls=(write_call(escrow, call),),
        gas_limit=gas,
        max_fee_per_gas=funding.max_fee_per_gas,
        nonce_key=EXPIRING_NONCE_KEY,
        valid_before=funding.valid_before,
        valid_after=funding.valid_after,
        fee_token=funding.fee_token,
        key_authorization=funding.key_authorization,
    )


def require_there(state: ChannelState) -> None:
    """That there is something to leave. Raises NoPayableOffer."""
    if not state.exists:
        raise NoPayableOffer("tempo: the chain knows no such channel; it was closed, or never opened")
    if state.finalized:
        raise NoPayableOffer("tempo: the channel is closed already")


def require_withdrawable(state: ChannelState, chain_time_s: int) -> None:
    """That the escrow would let go by that time of its own clock. Raises NoPayableOffer."""
    if state.withdrawable_at is None:
        raise NoPayableOffer("tempo: nobody asked to close the channel, or a top-up took that back; ask first")
    if chain_time_s < state.withdrawable_at:
        left_s = state.withdrawable_at - chain_time_s
        raise NoPayableOffer(f"tempo: the payee may still settle; withdraw in {left_s} s or later")
