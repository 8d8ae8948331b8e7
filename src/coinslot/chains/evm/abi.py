"""Calldata and events of static types, by hand: one 32-byte word per value, exact lengths (Solidity ABI)."""

from __future__ import annotations

from functools import lru_cache

from coinslot.chains.evm.address import address_bytes, address_text
from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import BadTransaction, UsageError

WORD = 32
UINT256_MAX = 2**256 - 1
_PAD = bytes(12)


@lru_cache(maxsize=256)
def selector(signature: str) -> bytes:
    """The 4 bytes that choose a function, e.g. of "transfer(address,uint256)"."""
    return keccak256(signature.encode())[:4]


@lru_cache(maxsize=256)
def event_topic(signature: str) -> bytes:
    """The 32-byte first topic of an event, e.g. of "Transfer(address,address,uint256)"."""
    return keccak256(signature.encode())


def encode_address(address: str) -> bytes:
    """A parsed address as one word."""
    return _PAD + address_bytes(address)


def encode_uint256(value: int) -> bytes:
    """An integer as one word. Raises UsageError outside 0..2**256-1."""
    if type(value) is not int or not 0 <= value <= UINT256_MAX:
        raise UsageError("a uint256 is an integer from 0 to 2**256 - 1")
    return value.to_bytes(WORD, "big")


def encode_bytes32(value: bytes) -> bytes:
    """32 bytes as one word. Raises UsageError for any other length."""
    if len(value) != WORD:
        raise UsageError("a bytes32 is 32 bytes")
    return value


def encode_call(signature: str, *words: bytes) -> bytes:
    """Calldata of a function with static arguments that are words already."""
    return selector(signature) + b"".join(words)


def split_words(data: bytes, count: int) -> tuple[bytes, ...]:
    """Exactly `count` words, nothing after them. Raises BadTransaction."""
    if len(data) != count * WORD:  # T31: bytes after the arguments are ignored by contracts, and so could hide
        raise BadTransaction(f"not exactly {count} words of 32 bytes")
    return tuple(data[at : at + WORD] for at in range(0, len(data), WORD))


def decode_address(word: bytes) -> str:
    """The address in a word, upper 12 bytes zero. Raises BadTransaction."""
    if len(word) != WORD or not word.startswith(_PAD):
        raise BadTransaction("this word holds no address")
    return address_text(word[12:])


def decode_uint256(word: bytes) -> int:
    """The integer in a word. Raises BadTransaction."""
    if len(word) != WORD:
        raise BadTransaction("a word is 32 bytes")
    return int.from_bytes(word, "big")
