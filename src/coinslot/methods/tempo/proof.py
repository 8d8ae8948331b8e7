"""Proofs for a price of zero: a signature that shows who asks, and moves nothing (TCHG "Proof Payload").

    version 3   Proof(address account,string challengeId,string realm)   what deployed SDKs sign and demand
    version 2   Proof(string challengeId,string realm)                   the public vectors'
    version 1   Proof(string challengeId)                                the document's

Versions 1 and 2 don't name the account, so that a proof shown to one server could be shown to another; by option only.
"""

from __future__ import annotations

from coinslot.chains.evm.abi import encode_address
from coinslot.chains.evm.eip712 import domain_separator, encode_string, struct_hash, type_hash, typed_digest
from coinslot.chains.evm.signature import recover
from coinslot.core.challenge import Challenge
from coinslot.errors import BadSignature, UsageError, VerificationFailed

VERSIONS = ("3", "2", "1")
_TYPES = {
    "1": "Proof(string challengeId)",
    "2": "Proof(string challengeId,string realm)",
    "3": "Proof(address account,string challengeId,string realm)",
}


def proof_digest(version: str, chain_id: int, challenge: Challenge, account: str) -> bytes:
    """What is signed. Raises UsageError for an unknown version."""
    if version not in _TYPES:
        raise UsageError(f"a proof's version is one of {', '.join(VERSIONS)}")
    words = [encode_string(challenge.id)]
    if version != "1":
        words.append(encode_string(challenge.realm))
    if version == "3":
        words.insert(0, encode_address(account))
    domain = domain_separator("MPP", version, chain_id)
    return typed_digest(domain, struct_hash(type_hash(_TYPES[version]), *words))


def verify_proof(
    signature: bytes, *, versions: tuple[str, ...], chain_id: int, challenge: Challenge, account: str
) -> None:
    """That `account` itself signed for this challenge, in one of the versions. Raises VerificationFailed. T13 T15"""
    for version in versions:
        try:
            signer = recover(proof_digest(version, chain_id, challenge, account), signature)
        except BadSignature as error:
            raise VerificationFailed(f"proof: {error}") from None
        if signer == account:
            return
    raise VerificationFailed("the proof was not signed by the account that source names, for this challenge")
