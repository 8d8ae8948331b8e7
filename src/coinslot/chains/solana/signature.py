"""Ed25519 keys and signatures, accepted exactly as the chain accepts them and no wider.

solders verifies as the validators do (`verify_strict`): a key or an R of small order, an S outside its range, and a
point in a second spelling are refused. Libraries that follow RFC 8032 to the letter let small-order keys pass, for
which one signature is good for many messages.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from solders.keypair import Keypair
from solders.signature import Signature

from coinslot.chains.solana.address import ADDRESS_BYTES, pubkey
from coinslot.errors import BadSignature, UsageError

SIGNATURE_BYTES = 64
SEED_BYTES = 32
# A keygen file is 64 numbers below 256 with commas between them: under 400 characters with any sensible spacing.
MAX_KEYGEN_TEXT = 1024
# 64 bytes are 87 or 88 digits of base58, or fewer where they begin with zero bytes.
_BASE58_64 = re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}\Z", re.ASCII)


def verify(address: str, message: bytes, signature: bytes) -> None:
    """Say nothing if the key of `address` signed `message`.

    Raises BadSignature for everything else, and UsageError for an address that is none.
    """
    if len(signature) != SIGNATURE_BYTES:  # T14
        raise BadSignature("a signature is 64 bytes")
    if not Signature.from_bytes(signature).verify(pubkey(address), message):  # T13
        raise BadSignature("the signature is not this key's over this message")


def parse_signature(text: object) -> bytes:
    """The 64 bytes of base58 text in its one spelling. Raises UsageError, which never repeats the text."""
    if type(text) is str and _BASE58_64.match(text):
        try:
            signature = Signature.from_string(text)
            if str(signature) == text:
                return bytes(signature)
        except ValueError:
            pass
    raise UsageError("a signature is the base58 of 64 bytes")


def signature_text(signature: bytes) -> str:
    """The base58 of 64 bytes. Raises UsageError."""
    if len(signature) != SIGNATURE_BYTES:
        raise UsageError("a signature is 64 bytes")
    return str(Signature.from_bytes(signature))


class Key:
    """An ed25519 key that never shows itself: repr and errors name its address only; no pickling."""

    __slots__ = ("_native", "address")

    address: str
    """The public half, base58."""

    def __init__(self, seed: bytes) -> None:
        """From the 32 bytes of the seed. Raises UsageError, which never repeats them."""
        if type(seed) is not bytes or len(seed) != SEED_BYTES:
            raise UsageError("the seed of a key is 32 bytes")
        self._native = Keypair.from_seed(seed)
        self.address = str(self._native.pubkey())

    @classmethod
    def from_bytes(cls, pair: bytes) -> Key:
        """From 64 bytes: the seed and the public key that must be its own.

        Raises UsageError, which never repeats them.
        """
        if type(pair) is not bytes or len(pair) != SEED_BYTES + ADDRESS_BYTES:
            raise UsageError("a key pair is 64 bytes: the seed and the public key")
        key = cls(pair[:SEED_BYTES])
        if bytes(key._native.pubkey()) != pair[SEED_BYTES:]:
            raise UsageError("the public half of this key pair doesn't belong to its secret half")
        return key

    @classmethod
    def from_base58(cls, text: object) -> Key:
        """From the base58 of the 64 bytes, as wallets export them. Raises UsageError, which never repeats them."""
        if type(text) is not str:
            raise UsageError("a key pair is the base58 of 64 bytes")
        try:
            pair = parse_signature(text)  # 64 bytes in base58, too
        except UsageError:
            raise UsageError("a key pair is the base58 of 64 bytes") from None
        return cls.from_bytes(pair)

    @classmethod
    def from_keygen(cls, text: object) -> Key:
        """From the JSON of a solana-keygen file: a list of 64 numbers. Raises UsageError, which never repeats them."""
        wrong = "a solana-keygen file is a JSON list of 64 numbers from 0 to 255"
        if type(text) is not str or len(text) > MAX_KEYGEN_TEXT:
            raise UsageError(wrong)
        try:
            numbers = json.loads(text)
        except (ValueError, RecursionError):
            raise UsageError(wrong) from None
        if type(numbers) is not list or any(type(number) is not int or not 0 <= number < 256 for number in numbers):
            raise UsageError(wrong)
        return cls.from_bytes(bytes(numbers))

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature over `message` (deterministic)."""
        return bytes(self._native.sign_message(message))

    def secret(self) -> bytes:
        """The 32 bytes of the seed. Only for a wallet that encrypts them."""
        return bytes(self._native.secret())

    def __repr__(self) -> str:
        """Only the address."""
        return f"Key({self.address})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied into a log or a queue."""
        raise UsageError("a private key can't be pickled")
