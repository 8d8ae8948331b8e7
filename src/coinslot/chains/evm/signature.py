"""secp256k1 signatures of digests: r || s || v, accepted exactly as the chain accepts them and no wider."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NoReturn

from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import BadSignature, MissingDependency, UsageError

try:
    from coincurve import PrivateKey as _NativeKey
    from coincurve import PublicKey as _NativePublicKey
    from coincurve._libsecp256k1 import ffi, lib
    from coincurve.context import GLOBAL_CONTEXT
except ImportError as error:
    # A pure Python recover is 100 times slower: better no start than a server that stalls under load.
    raise MissingDependency("secp256k1 needs coincurve", extra="tempo") from error

SIGNATURE_BYTES = 65
COMPACT_BYTES = 64
# The order n of the curve's group, and half of it: above it s is the twin of one below (EIP-2).
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_N = _ORDER.to_bytes(32, "big")
_HALF_N = (_ORDER // 2).to_bytes(32, "big")
_ZERO = bytes(32)
# The signers of sessions come again with each voucher; about 300 bytes each.
KEPT_ADDRESSES = 16_384
# libsecp256k1 is asked without the objects that coincurve makes of each answer: a tenth of the time of all of it.
_context = GLOBAL_CONTEXT.ctx
_SIGNATURE = ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_PUBLIC = ffi.typeof("secp256k1_pubkey *")
_SECRET = re.compile(r"(?:0x)?[0-9a-fA-F]{64}\Z", re.ASCII)


def recover(digest: bytes, signature: bytes, *, allow_compact: bool = False) -> str:
    """The address whose key signed a 32-byte `digest`.

    Takes 65 bytes r || s || v with v 27 or 28 and s in the lower half; with `allow_compact` also the 64 bytes
    of EIP-2098, which contracts of some chains don't take. Raises BadSignature for anything else:
    a failed recovery is an error here, never the zero address of a contract's ecrecover.
    """
    if allow_compact and len(signature) == COMPACT_BYTES:
        signature = _expand(signature)
    if len(signature) != SIGNATURE_BYTES:  # T14
        raise BadSignature("a signature is 65 bytes: r, s and v")
    r, s, v = signature[:32], signature[32:64], signature[64]
    if v not in (27, 28):  # T14
        raise BadSignature("the v of a signature is 27 or 28")
    if r == _ZERO or r >= _N:  # T13
        raise BadSignature("the r of the signature is out of range")
    if s == _ZERO or s > _HALF_N:  # T13
        raise BadSignature("the s of the signature is not in the lower half of its range")
    if len(digest) != 32:
        raise UsageError("a digest is 32 bytes")
    parsed, public = ffi.new(_SIGNATURE), ffi.new(_PUBLIC)
    if not (
        lib.secp256k1_ecdsa_recoverable_signature_parse_compact(_context, parsed, signature, v - 27)
        and lib.secp256k1_ecdsa_recover(_context, public, parsed, digest)
    ):
        raise BadSignature("no key can have made this signature")
    return _address_of_key(bytes(ffi.buffer(public)))


@lru_cache(maxsize=KEPT_ADDRESSES)
def _address_of_key(raw: bytes) -> str:
    """The address of a public key in the library's own form, which is one for each key."""
    public = ffi.new(_PUBLIC)
    ffi.memmove(public, raw, len(raw))
    return _address_of(_NativePublicKey(public))


def _expand(compact: bytes) -> bytes:
    """The 65 bytes of an EIP-2098 signature: its top bit of s is the parity of v."""
    parity = compact[32] >> 7
    return compact[:32] + bytes((compact[32] & 0x7F,)) + compact[33:] + bytes((27 + parity,))


def _address_of(public: _NativePublicKey) -> str:
    return "0x" + keccak256(public.format(compressed=False)[1:])[12:].hex()


def sign_digest(key: PrivateKey, digest: bytes) -> bytes:
    """Sign a 32-byte digest: 65 bytes r || s || v, v 27 or 28, s low, deterministic (RFC 6979)."""
    return key.sign_digest(digest)


class PrivateKey:
    """A secp256k1 key that never shows itself: repr and errors name its address only; no pickling."""

    __slots__ = ("_native", "address")

    address: str
    """The address of the key, parsed spelling."""

    def __init__(self, secret: bytes) -> None:
        """From 32 bytes. Raises UsageError, which never repeats them."""
        if type(secret) is not bytes or len(secret) != 32 or not _ZERO < secret < _N:
            raise UsageError("a private key is 32 bytes in the range of secp256k1")
        self._native = _NativeKey(secret)
        self.address = _address_of(self._native.public_key)

    @classmethod
    def from_hex(cls, text: object) -> PrivateKey:
        """From 64 hex digits, with or without 0x. Raises UsageError, which never repeats them."""
        if type(text) is not str or not _SECRET.match(text):
            raise UsageError("a private key is 64 hex digits, with or without 0x")
        return cls(bytes.fromhex(text[-64:]))

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest: 65 bytes r || s || v, v 27 or 28, s low, deterministic (RFC 6979)."""
        if len(digest) != 32:
            raise UsageError("a digest is 32 bytes")
        made: bytes = self._native.sign_recoverable(digest, hasher=None)
        return made[:64] + bytes((made[64] + 27,))

    def secret(self) -> bytes:
        """The 32 bytes themselves. Only for a wallet that encrypts them."""
        secret: bytes = self._native.secret
        return secret

    def __repr__(self) -> str:
        """Only the address."""
        return f"PrivateKey({self.address})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied into a log or a queue."""
        raise UsageError("a private key can't be pickled")
