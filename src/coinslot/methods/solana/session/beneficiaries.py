"""Who is paid when a channel is distributed, and whether their token accounts can take it (SSES "Payout Forfeiture").

What a beneficiary is due goes to the program's treasury for ever where its token account is missing, frozen, another's,
or carries an extension that the program doesn't take. So what is missing is created first, whoever's fault it is, and
what is unusable is told, and not distributed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.programs import SYSTEM_PROGRAM
from coinslot.chains.solana.rpc import Account
from coinslot.chains.solana.tokens import ExtensionKind, TokenState, read_token_account
from coinslot.errors import BadTransaction
from coinslot.methods.solana.session.channel import ChannelAccount, escrow_account
from coinslot.methods.solana.session.distribution import payouts
from coinslot.methods.solana.session.record import Recorded

# SSES "Token-2022 Extension Policy": what a token account may carry.
ACCOUNT_EXTENSIONS = frozenset({ExtensionKind.IMMUTABLE_OWNER})


@dataclass(frozen=True, slots=True)
class Beneficiary:
    """Somebody whose token account a distribution pays into; `account` is derived."""

    name: str
    owner: str
    account: str


def beneficiaries(
    recorded: Recorded, state: ChannelAccount, settled_units: int, treasury_owner: str
) -> tuple[Beneficiary, ...]:
    """Whose token accounts the last distribution needs, once `settled_units` are settled: those who are due something,
    and the treasury, which the program looks at in any case. Raises UsageError.
    """
    seeds = recorded.seeds
    due = payouts(recorded.splits, settled_units, state.payout_watermark_units)
    refund = 0 if state.payer_withdrawn_at else state.deposit_units - settled_units
    owed = [
        ("payee", seeds.payee, due.payee_units),
        *(("recipient", split.recipient, units) for split, units in zip(recorded.splits, due.recipients, strict=True)),
        ("payer", seeds.payer, refund),
        ("treasury", treasury_owner, 1),
    ]
    found = {
        owner: Beneficiary(name, owner, derive_ata(owner, seeds.mint, recorded.token_program))
        for name, owner, units in reversed(owed)
        if units
    }
    return tuple(found.values())


def missing(account: Account | None) -> bool:
    """Whether no token account is there: nothing, or a gift of lamports at its address."""
    return account is None or (account.owner == SYSTEM_PROGRAM and not account.data)


def create(beneficiary: Beneficiary, funder: str, recorded: Recorded) -> Instruction:
    """Its token account, where it is missing."""
    return build_create_idempotent(funder, beneficiary.owner, recorded.seeds.mint, recorded.token_program)


def unusable(recorded: Recorded, whose: Sequence[tuple[Beneficiary, Account | None]], escrow: Account | None) -> str:
    """Why what these are due would not reach them, in words; "" where it would. Missing accounts are not in it."""
    if escrow is not None and (why := _why_not(recorded, escrow, recorded.id)):
        return f"the escrow {escrow_account(recorded.id, recorded.seeds.mint, recorded.token_program)} {why}"
    for beneficiary, account in whose:
        if account is not None and not missing(account) and (why := _why_not(recorded, account, beneficiary.owner)):
            return f"the {beneficiary.name}'s token account {beneficiary.account} {why}"
    return ""


def _why_not(recorded: Recorded, account: Account, owner: str) -> str:
    try:
        token = read_token_account(account.owner, account.data)
    except BadTransaction:
        return "is no token account"
    for wrong, why in (
        (token.program != recorded.token_program or token.mint != recorded.seeds.mint, "holds another token"),
        (token.owner != owner, "belongs to somebody else by now"),
        (token.state is TokenState.FROZEN, "is frozen"),
        (token.state is TokenState.UNINITIALIZED, "is not initialized"),
        ({each.kind for each in token.extensions} - ACCOUNT_EXTENSIONS, "has an extension that is not taken"),
    ):
        if wrong:
            return why
    return ""
