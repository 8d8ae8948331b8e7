"""The attribution memo: 32 bytes on the chain that tie a transfer to one challenge of one server.

    keccak("mpp")[:4] || 0x01 || keccak(realm)[:10] || keccak(client id)[:10] or zeros || keccak(challenge id)[:7]

The specification of tempo charge doesn't ask for it; the one of hedera charge describes it, and every client and
server in the field writes or demands it. It is what keeps a transfer from being shown as payment twice (T12).
"""

from __future__ import annotations

from hmac import compare_digest

from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import BadTransaction

MEMO_BYTES = 32
_HEAD = keccak256(b"mpp")[:4] + b"\x01"
_ANONYMOUS = bytes(10)
_SERVER = slice(5, 15)
_NONCE = slice(25, 32)


def attribution_memo(realm: str, challenge_id: str, client_id: str | None = None) -> bytes:
    """The memo for paying `challenge_id` of the server `realm`; `client_id` names the paying program, if at all."""
    client = keccak256(client_id.encode())[:10] if client_id else _ANONYMOUS
    return _HEAD + _fingerprint(realm) + client + _nonce(challenge_id)


def is_attribution_memo(memo: bytes) -> bool:
    """Whether these bytes are an attribution memo of a version we know, of whatever server."""
    return len(memo) == MEMO_BYTES and memo.startswith(_HEAD)


def verify_attribution_memo(memo: bytes, realm: str, challenge_id: str) -> None:
    """Check that the memo was written for this challenge of this server, by whichever client.

    Raises BadTransaction, which says what doesn't match.
    """
    if not is_attribution_memo(memo):
        raise BadTransaction("the transfer carries no attribution memo")
    if not compare_digest(memo[_SERVER], _fingerprint(realm)):
        raise BadTransaction("the transfer's memo names another server")
    if not compare_digest(memo[_NONCE], _nonce(challenge_id)):
        raise BadTransaction("the transfer's memo names another challenge")


def _fingerprint(realm: str) -> bytes:
    return keccak256(realm.encode())[:10]


def _nonce(challenge_id: str) -> bytes:
    return keccak256(challenge_id.encode())[:7]
