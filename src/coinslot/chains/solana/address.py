"""Addresses: 32 bytes, spelt in base58 in exactly one way; and the addresses that programs derive for themselves.

Records and terms carry the text; a `Pubkey` of solders appears only where bytes are put together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from coinslot.errors import MissingDependency, UsageError

try:
    from solders.pubkey import Pubkey
except ImportError as error:
    # Base58, curve checks and signatures in pure Python are 100 times slower: better no start than a stalled server.
    raise MissingDependency("Solana needs solders", extra="solana") from error

ADDRESS_BYTES = 32
# A program derives at most this from seeds; the runtime refuses more (MAX_SEEDS less the bump, MAX_SEED_LEN).
MAX_SEEDS = 15
MAX_SEED_BYTES = 32
# Channels, signers and mints come again with every voucher; less than half a kilobyte each.
KEPT_ADDRESSES = 8_192
_NO_ADDRESS = "an address is the base58 of 32 bytes"
# 32 bytes are 43 or 44 digits of base58, or fewer where they begin with zero bytes.
_ADDRESS = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}\Z", re.ASCII)


@lru_cache(maxsize=KEPT_ADDRESSES)
def _read(text: str) -> tuple[Pubkey, bytes]:
    """An address as solders holds it, and its bytes. Raises UsageError, which is not kept."""
    if _ADDRESS.match(text):
        try:
            found = Pubkey.from_string(text)
        except ValueError:
            raise UsageError(_NO_ADDRESS) from None
        if str(found) == text:
            return found, bytes(found)
    raise UsageError(_NO_ADDRESS)


def _known(text: object) -> tuple[Pubkey, bytes]:
    if type(text) is not str:  # no list, which can't be looked up, and nothing that only equals a text
        raise UsageError(_NO_ADDRESS)
    return _read(text)


def parse_address(text: object) -> str:
    """The address, if `text` is the base58 of exactly 32 bytes and nothing else.

    Raises UsageError, which never repeats the text.
    """
    if type(text) is str:
        _read(text)
        return text
    raise UsageError(_NO_ADDRESS)


def pubkey(address: str) -> Pubkey:
    """The bytes of an address as solders holds them. Raises UsageError."""
    return _known(address)[0]


def address_bytes(address: str) -> bytes:
    """The 32 bytes of an address. Raises UsageError."""
    return _known(address)[1]


def address_text(data: bytes) -> str:
    """The spelling of 32 bytes. Raises UsageError."""
    if len(data) != ADDRESS_BYTES:
        raise UsageError("an address is 32 bytes")
    return str(Pubkey.from_bytes(data))


def is_on_curve(address: str) -> bool:
    """Whether a key can exist for this address; derived addresses are off the curve on purpose. Raises UsageError."""
    return pubkey(address).is_on_curve()


@lru_cache(maxsize=4096)
def _derive(seeds: tuple[bytes, ...], program: str) -> tuple[str, int]:
    derived, bump = Pubkey.find_program_address(seeds, pubkey(program))
    return str(derived), bump


def find_program_address(seeds: Sequence[bytes], program: str) -> tuple[str, int]:
    """The address a program derives from seeds, and its canonical bump (the highest that is off the curve).

    Raises UsageError: more seeds, or a longer one, than the runtime takes.
    """
    if len(seeds) > MAX_SEEDS or any(len(seed) > MAX_SEED_BYTES for seed in seeds):
        raise UsageError(f"an address is derived from at most {MAX_SEEDS} seeds of at most {MAX_SEED_BYTES} bytes")
    return _derive(tuple(seeds), program)
