"""What a channel is: who pays whom in which token, and the account that stands for it (SSES "Channel State").

The account's address is derived from the program and the terms, so it is computed and never believed. The slot at
which a channel was opened is one of them: opened again with the same parties it has another address, and no voucher of
the first is worth anything there. T08
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from coinslot.chains.solana.address import address_bytes, address_text, find_program_address
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import pack_u64, unpack
from coinslot.chains.solana.rpc import Account
from coinslot.errors import BadTransaction

CHANNEL_BYTES = 256
# Where the members stand by which accounts can be looked for with getProgramAccounts.
STATUS_AT = 3
PAYER_AT = 88
PAYEE_AT = 120
MINT_AT = 184
RENT_PAYER_AT = 216
_DISCRIMINATOR = 1
_VERSION = 1
# Terms come again with every request of their session; about 1 KB each.
KEPT_CHANNELS = 4096


class Status(IntEnum):
    """How far a channel is, as the program numbers it."""

    OPEN = 0
    SEALED = 1
    CLOSING = 2
    DISTRIBUTED = 3


@dataclass(frozen=True, slots=True)
class Seeds:
    """The terms of a channel that its address is derived from: addresses in base58, two u64.

    `authorized_signer` is the one whose vouchers count; it may be the payer.
    """

    payer: str
    payee: str
    mint: str
    authorized_signer: str
    salt: int
    open_slot: int


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """A channel's account, all 256 bytes of it: amounts in base units, times in whole seconds since 1970, 0 for never.

    0 <= payout watermark <= settled <= deposit always.
    """

    seeds: Seeds
    status: Status
    bump: int
    deposit_units: int
    settled_units: int
    payout_watermark_units: int
    closure_started_at: int
    payer_withdrawn_at: int
    grace_s: int
    distribution_hash: bytes
    rent_payer: str


@lru_cache(maxsize=KEPT_CHANNELS)
def derive_with_bump(program: str, seeds: Seeds) -> tuple[str, int]:
    """The address and the bump of a channel's account. Raises UsageError: no address, or a number that is no u64."""
    parts = (
        b"channel",
        address_bytes(seeds.payer),
        address_bytes(seeds.payee),
        address_bytes(seeds.mint),
        address_bytes(seeds.authorized_signer),
        pack_u64(seeds.salt),
        pack_u64(seeds.open_slot),
    )
    return find_program_address(parts, program)


def derive_channel(program: str, seeds: Seeds) -> str:
    """The id of a channel: the address of its account. Raises UsageError."""
    return derive_with_bump(program, seeds)[0]


def event_authority(program: str) -> str:
    """The account by which the program signs its own events. Raises UsageError."""
    return find_program_address((b"event_authority",), program)[0]


def escrow_account(channel: str, mint: str, token_program: str) -> str:
    """The token account that holds a channel's deposit. Raises UsageError."""
    return derive_ata(channel, mint, token_program)


def read_channel_account(data: bytes) -> ChannelAccount:
    """A channel from the data of its account, which is not yet known to be the program's own.

    Raises BadTransaction.
    """
    if len(data) != CHANNEL_BYTES:
        raise BadTransaction(f"a channel's account is {CHANNEL_BYTES} bytes")
    if data[0] != _DISCRIMINATOR:  # T31: an account of nothing but zeros must not read as an open channel
        raise BadTransaction("not a channel's account")
    if data[1] != _VERSION:
        raise BadTransaction("a version of channels that we don't know")
    try:
        status = Status(data[3])
    except ValueError as error:  # T08: what we can't name is no open channel
        raise BadTransaction("a status of channels that we don't know") from error
    seeds = Seeds(
        payer=address_text(data[88:120]),
        payee=address_text(data[120:152]),
        mint=address_text(data[184:216]),
        authorized_signer=address_text(data[152:184]),
        salt=unpack(data, 4, 8),
        open_slot=unpack(data, 248, 8),
    )
    state = ChannelAccount(
        seeds,
        status,
        bump=data[2],
        deposit_units=unpack(data, 12, 8),
        settled_units=unpack(data, 20, 8),
        payout_watermark_units=unpack(data, 28, 8),
        closure_started_at=_time(data, 36),
        payer_withdrawn_at=_time(data, 44),
        grace_s=unpack(data, 52, 4),
        distribution_hash=data[56:88],
        rent_payer=address_text(data[216:248]),
    )
    if not state.payout_watermark_units <= state.settled_units <= state.deposit_units:
        raise BadTransaction("a channel has paid out or settled more than it holds")
    return state


def read_channel(program: str, account: Account) -> ChannelAccount:
    """A channel from its account, which the program owns and which stands where its own terms say.

    Raises BadTransaction. T07
    """
    if account.owner != program:
        raise BadTransaction("the channel program doesn't own this account")
    state = read_channel_account(account.data)
    if derive_with_bump(program, state.seeds) != (account.address, state.bump):
        raise BadTransaction("this account is not where a channel of its terms is")
    return state


def _time(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little", signed=True)
