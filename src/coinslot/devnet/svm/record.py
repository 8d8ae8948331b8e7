"""A transaction that landed, with everything that a node can tell about it later."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from solders.account import Account
from solders.pubkey import Pubkey

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM

TOKEN_PROGRAMS = frozenset({Pubkey.from_string(TOKEN_PROGRAM), Pubkey.from_string(TOKEN_2022_PROGRAM)})
TOKEN_ACCOUNT_BYTES = 165
MINT_BYTES = 82
# Behind the 165 bytes that both kinds of account fill, Token-2022 says which kind it is.
_KIND_AT = 165
_MINT_KIND, _ACCOUNT_KIND = 1, 2


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """What a token account of the transaction held, in base units; `index` is its place among the keys."""

    index: int
    mint: str
    owner: str
    program: str
    units: int
    decimals: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Balances of a transaction's accounts before or after it."""

    lamports: tuple[int, ...]
    tokens: tuple[TokenBalance, ...]


@dataclass(frozen=True, slots=True)
class InnerInstruction:
    """An instruction that a program called; places are those of the transaction's keys."""

    program: int
    accounts: bytes
    data: bytes
    height: int


@dataclass(frozen=True, slots=True)
class Record:
    """One transaction in a block. `error` is None or the error as nodes spell it in JSON."""

    signature: str
    raw: bytes
    slot: int
    time_s: int
    landed_at: float  # on the monotonic clock
    error: object
    fee: int
    units: int
    logs: tuple[str, ...]
    keys: tuple[str, ...]  # of the message, then of lookup tables: writable ones, read-only ones
    loaded: tuple[int, int]  # how many of them were looked up: writable, read-only
    inner: tuple[tuple[InnerInstruction, ...], ...]  # one group per instruction
    returned: tuple[str, bytes] | None
    before: Snapshot
    after: Snapshot
    final: bool = False  # told as finalized at once: the chain's own tools


def is_token_account(account: Account, data: bytes) -> bool:
    """Whether it is one of either token program."""
    if account.owner not in TOKEN_PROGRAMS:
        return False
    return len(data) == TOKEN_ACCOUNT_BYTES or (len(data) > _KIND_AT and data[_KIND_AT] == _ACCOUNT_KIND)


def is_mint(account: Account, data: bytes) -> bool:
    """Whether it is one of either token program."""
    if account.owner not in TOKEN_PROGRAMS:
        return False
    return len(data) == MINT_BYTES or (len(data) > _KIND_AT and data[_KIND_AT] == _MINT_KIND)


def token_units(data: bytes) -> int:
    """What a token account holds."""
    return int(struct.unpack_from("<Q", data, 64)[0])
