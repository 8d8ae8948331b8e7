"""What a fresh chain holds: tokens at the addresses they have on the main network, and accounts that everybody knows.

Every key here is made from a public sentence: whatever such a key holds on another network belongs to whoever is first.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.devnet import protocol

LAMPORTS_PER_SOL = 10**9
SOL_DECIMALS = 9
# Enough to fund whatever a test may want, and far from the end of 64 bits.
FAUCET_LAMPORTS = 10**9 * LAMPORTS_PER_SOL
ACCOUNT_LAMPORTS = 10**6 * LAMPORTS_PER_SOL
ACCOUNT_UNITS = 10**9 * 10**6
ACCOUNTS_COUNT = 10
# What stands for the chain's own money where a token's symbol is asked for.
SOL = "SOL"
NATIVE_MINT = "So11111111111111111111111111111111111111112"
MAX_U64 = 2**64 - 1
# The extension (type 7, no data) that every associated token account of Token-2022 has.
_IMMUTABLE_OWNER = struct.pack("<HH", 7, 0)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the main network that this chain has, too."""

    symbol: str
    mint: str
    program: str
    decimals: int = 6


# The first is the one to pay with.
MINTS = (
    Token("USDC", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", TOKEN_PROGRAM),
    Token("USDT", "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", TOKEN_PROGRAM),
    Token("PYUSD", "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo", TOKEN_2022_PROGRAM),
)
TOKENS: Mapping[str, str] = MappingProxyType({token.symbol: token.mint for token in MINTS})


def public_key(sentence: str) -> Keypair:
    """A key that everybody can make: worth nothing."""
    return Keypair.from_seed(hashlib.sha256(f"coinslot devnet, worth nothing: {sentence}".encode()).digest())


# Pays for whatever the chain's own tools do, and may mint and freeze every token.
AUTHORITY = public_key("authority")
KEYPAIRS = tuple(public_key(f"account {number}") for number in range(ACCOUNTS_COUNT))
ACCOUNTS = tuple(protocol.Account(str(key.pubkey()), str(key)) for key in KEYPAIRS)


def mint_data(
    decimals: int, supply: int, authority: Pubkey | None, freezer: Pubkey | None, extensions: bytes = b""
) -> bytes:
    """A mint as both token programs lay it out; extensions are for Token-2022 only."""
    base = _optional(authority) + struct.pack("<QBB", supply, decimals, 1) + _optional(freezer)
    return base + bytes(83) + b"\x01" + extensions if extensions else base


def token_account_data(mint: Pubkey, owner: Pubkey, units: int, program: str = TOKEN_PROGRAM) -> bytes:
    """An associated token account as its program lays it out: with Token-2022 its owner can't be changed."""
    data = bytes(mint) + bytes(owner) + struct.pack("<Q", units) + bytes(36) + b"\x01" + bytes(56)
    return data + b"\x02" + _IMMUTABLE_OWNER if program == TOKEN_2022_PROGRAM else data


def _optional(key: Pubkey | None) -> bytes:
    return bytes(36) if key is None else struct.pack("<I", 1) + bytes(key)


def accounts(rent: Callable[[int], int]) -> dict[Pubkey, Account]:
    """Every account of a fresh chain, by address; `rent` tells the least balance for a data size."""
    system, authority = Pubkey.from_string(SYSTEM_PROGRAM), AUTHORITY.pubkey()
    made = {authority: Account(FAUCET_LAMPORTS, b"", system)}
    for key in KEYPAIRS:
        made[key.pubkey()] = Account(ACCOUNT_LAMPORTS, b"", system)
    for token in MINTS:
        program, mint = Pubkey.from_string(token.program), Pubkey.from_string(token.mint)
        data = mint_data(token.decimals, ACCOUNT_UNITS * ACCOUNTS_COUNT, authority, authority)
        made[mint] = Account(rent(len(data)), data, program)
        for key in KEYPAIRS:
            data = token_account_data(mint, key.pubkey(), ACCOUNT_UNITS, token.program)
            at = Pubkey.from_string(derive_ata(str(key.pubkey()), token.mint, token.program))
            made[at] = Account(rent(len(data)), data, program)
    native = mint_data(SOL_DECIMALS, 0, None, None)
    made[Pubkey.from_string(NATIVE_MINT)] = Account(rent(len(native)), native, Pubkey.from_string(TOKEN_PROGRAM))
    return made
