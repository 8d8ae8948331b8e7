"""How a payer leaves a channel without its server: ask the chain to close it, wait, and take the rest back.

    requestClose ── the channel's grace period, in which the payee can still settle ──► [seal] + withdrawPayer

What the payee is due stays in the escrow for it: anybody may have it paid out, but where its token account is missing
its share would go to the program's treasury for ever, so we don't do that for it. Only where the rent of the channel is
ours and nobody's share would be lost the same transaction pays out everybody, which brings the rent back.
"""

from __future__ import annotations

from dataclasses import replace

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.rpc import accounts
from coinslot.drive import Flow
from coinslot.errors import NoPayableOffer
from coinslot.methods.solana.session.beneficiaries import beneficiaries, create, missing, unusable
from coinslot.methods.solana.session.channel import ChannelAccount, Status, escrow_account
from coinslot.methods.solana.session.program import (
    RequestClose,
    Seal,
    WithdrawPayer,
    build_distribute,
    build_request_close,
    build_seal,
    build_withdraw_payer,
    distribute_of,
)
from coinslot.methods.solana.session.record import Recorded

# Compute units: about twice of what was measured, a token account that must be created first included.
REQUEST_UNITS = 20_000
WITHDRAW_UNITS = 120_000
DISTRIBUTE_UNITS = 200_000
# The clock of the chain is an estimate of its validators, and runs behind others by some seconds.
CLOCK_SLACK_S = 30


def require_open(state: ChannelAccount | None) -> None:
    """That there is a channel whose closing can be asked for. Raises NoPayableOffer."""
    _require_there(state)
    if state is not None and state.status is not Status.OPEN:
        raise NoPayableOffer("solana: closing this channel was asked for already")


def _require_there(state: ChannelAccount | None) -> None:
    if state is None:
        raise NoPayableOffer("solana: the chain knows no such channel; it was closed, or never opened")
    if state.status is Status.DISTRIBUTED or state.payer_withdrawn_at:
        raise NoPayableOffer("solana: the channel is closed, and its rest was paid back")


def request(recorded: Recorded) -> Instruction:
    """Ask to close."""
    return build_request_close(recorded.program, RequestClose(recorded.id, recorded.seeds.payer))


def require_withdrawable(state: ChannelAccount | None, chain_s: float) -> None:
    """That the program would let go at that time of its own clock. Raises NoPayableOffer."""
    _require_there(state)
    if state is None or state.status is Status.SEALED:
        return
    if state.status is Status.OPEN:
        raise NoPayableOffer("solana: nobody asked to close the channel; ask first")
    left_s = state.closure_started_at + state.grace_s - chain_s
    if left_s > 0:
        raise NoPayableOffer(f"solana: the payee may still settle; withdraw in {left_s:.0f} s or later")


def withdrawal(recorded: Recorded, state: ChannelAccount, *, creates: bool) -> list[Instruction]:
    """Take the rest back; `creates`: our token account is gone, and made anew."""
    seeds, program = recorded.seeds, recorded.program
    calls = []
    if creates:
        calls.append(build_create_idempotent(seeds.payer, seeds.payer, seeds.mint, recorded.token_program))
    if state.status is Status.CLOSING:
        calls.append(build_seal(program, Seal(recorded.id)))
    call = WithdrawPayer(recorded.id, seeds.payer, seeds.mint, recorded.token_program)
    return [*calls, build_withdraw_payer(program, call)]


def own_account(recorded: Recorded) -> str:
    """The token account that the rest comes back to."""
    return derive_ata(recorded.seeds.payer, recorded.seeds.mint, recorded.token_program)


def payout(url: str, recorded: Recorded, state: ChannelAccount, treasury_owner: str | None) -> Flow[list[Instruction]]:
    """What pays everybody out once we have our rest; nothing where the rent is another's, or a share would be lost.

    Raises ChainError.
    """
    if state.rent_payer != recorded.seeds.payer or treasury_owner is None:
        return []
    whose = beneficiaries(recorded, replace(state, payer_withdrawn_at=1), state.settled_units, treasury_owner)
    escrow = escrow_account(recorded.id, recorded.seeds.mint, recorded.token_program)
    found = yield from accounts(url, [escrow, *(each.account for each in whose)])
    pairs = list(zip(whose, found[1:], strict=True))
    lacking = [each for each, account in pairs if missing(account)]
    if any(each.owner != treasury_owner for each in lacking) or unusable(recorded, pairs, found[0]):  # T28
        return []
    # the program looks at the treasury's account in any case; its rent is half of what comes back
    creating = [create(each, recorded.seeds.payer, recorded) for each in lacking]
    call = distribute_of(recorded.id, state, recorded.token_program, treasury_owner, recorded.splits)
    return [*creating, build_distribute(recorded.program, call)]
