"""Who is paid when a channel is distributed, and whether their token accounts can take it (SSES "Payout Forfeiture").

What a beneficiary is due goes to the program's treasury for ever where its token account is missing, frozen, another's,
or carries an extension that the program doesn't take. What to do about each is payout.py's to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.programs import SYSTEM_PROGRAM
from coinslot.chains.solana.rpc import Account
from coinslot.chains.solana.tokens import ExtensionKind, TokenState, read_token_account
from coinslot.errors import BadTransaction
from coinslot.methods.solana.session.channel import ChannelAccount
from coinslot.methods.solana.session.distribution import payouts
from coinslot.methods.solana.session.record import Recorded

PAYER = "payer"
ESCROW = "escrow"
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
        (PAYER, seeds.payer, refund),
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


class Trouble(Enum):
    """Why what somebody is due would not reach it. MISSING and FROZEN can pass; SPOILT is its owner's own doing."""

    MISSING = "is missing"
    FROZEN = "is frozen"
    SPOILT = "was given away, or changed, by its owner"


def trouble(recorded: Recorded, owner: str, account: Account | None) -> Trouble | None:
    """What is wrong with a token account that `owner` is to be paid into; None where nothing is."""
    if account is None or missing(account):
        return Trouble.MISSING
    try:
        token = read_token_account(account.owner, account.data)
    except BadTransaction:
        return Trouble.SPOILT
    spoilt = (
        (token.program, token.mint) != (recorded.token_program, recorded.seeds.mint)
        or token.owner != owner
        or token.state is TokenState.UNINITIALIZED
        or {each.kind for each in token.extensions} - ACCOUNT_EXTENSIONS
    )
    if spoilt:
        return Trouble.SPOILT
    return Trouble.FROZEN if token.state is TokenState.FROZEN else None


def unusable(recorded: Recorded, whose: Sequence[tuple[Beneficiary, Account | None]], escrow: Account | None) -> bool:
    """Whether the escrow, or an account of these that is there, can't take part in a payment."""
    pairs = [(recorded.id, escrow), *((each.owner, account) for each, account in whose)]
    return any(trouble(recorded, owner, account) not in (None, Trouble.MISSING) for owner, account in pairs)
