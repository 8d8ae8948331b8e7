"""Who signed a Tempo transaction: sender signatures, plain and by an access key, and what we don't take.

65 bytes r || s || v                               secp256k1, the account's own key
0x04 || account (20 bytes) || 65 bytes             an access key for that account; it signs the digest bound
                                                   to the account: keccak(0x04 || digest || account)
0x03 || account || 65 bytes                        the same before the binding existed; chains refuse it now
0x01 ..., 0x02 ..., 0x05 ...                       P-256, WebAuthn, multisig: refused by name
"""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.evm.address import ZERO_ADDRESS, address_bytes, address_text
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import SIGNATURE_BYTES, PrivateKey, recover
from coinslot.errors import BadSignature

KEYCHAIN_V1 = 0x03
KEYCHAIN_V2 = 0x04
_KEYCHAIN_BYTES = 1 + 20 + SIGNATURE_BYTES
_UNSUPPORTED = {0x01: "P-256", 0x02: "WebAuthn", 0x05: "multisig"}


@dataclass(frozen=True, slots=True)
class Signer:
    """`account` is whose money moves; `key` the address of the key that signed, another one for an access key."""

    account: str
    key: str

    @property
    def by_access_key(self) -> bool:
        """Whether a key other than the account's own signed."""
        return self.key != self.account


def access_key_digest(digest: bytes, account: str) -> bytes:
    """What an access key signs for `account`: bound to it, so that it can't be used for another account."""
    return keccak256(bytes((KEYCHAIN_V2,)) + digest + address_bytes(account))


def sign_as_access_key(digest: bytes, key: PrivateKey, account: str) -> bytes:
    """The 86-byte signature of an access key for `account`."""
    inner = key.sign_digest(access_key_digest(digest, account))
    return bytes((KEYCHAIN_V2,)) + address_bytes(account) + inner


def recover_signer(digest: bytes, signature: bytes) -> Signer:
    """Who signed `digest`. Raises BadSignature, by name for kinds we don't take.

    Whether an access key may act for its account is the chain's to say, when it is sent.
    """
    if len(signature) == SIGNATURE_BYTES:
        account = recover(digest, signature)
        return Signer(account, account)
    kind = signature[0] if signature else None
    if kind == KEYCHAIN_V2 and len(signature) == _KEYCHAIN_BYTES:
        account = address_text(signature[1:21])
        if account == ZERO_ADDRESS:  # T15
            raise BadSignature("an access key can't act for the zero address")
        return Signer(account, recover(access_key_digest(digest, account), signature[21:]))
    if kind == KEYCHAIN_V1:
        raise BadSignature("unsupported signature type: access key, version 1 (not bound to its account)")
    if kind in _UNSUPPORTED:
        raise BadSignature(f"unsupported signature type: {_UNSUPPORTED[kind]}")
    raise BadSignature("unknown signature type")
