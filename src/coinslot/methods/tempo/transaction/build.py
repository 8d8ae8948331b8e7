"""Writing a Tempo transaction: what each party signs, and the bytes that are sent.

tx = TempoTransaction(chain_id=42431, calls=(transfer_call(...),), gas_limit=..., max_fee_per_gas=...)
raw = serialise(sign(tx, key))                        # the sender pays its fee

tx = replace(tx, fee_payer_signature=AWAITING_FEE_PAYER)
raw = serialise(sign(tx, key))                        # what a client hands to a sponsor
raw = serialise(sign_as_fee_payer(read_transaction(raw), sponsor_key, fee_token))
"""

from __future__ import annotations

from dataclasses import replace

from coinslot.chains.evm import rlp
from coinslot.chains.evm.address import address_bytes
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import SIGNATURE_BYTES, PrivateKey
from coinslot.errors import UsageError
from coinslot.methods.tempo.transaction.fields import (
    AWAITING_FEE_PAYER,
    FEE_PAYER_TYPE,
    TRANSACTION_TYPE,
    TempoTransaction,
)
from coinslot.methods.tempo.transaction.sender import sign_as_access_key


def sender_digest(tx: TempoTransaction) -> bytes:
    """What the sender signs. If sponsored it leaves the fee token and the sponsor open."""
    return keccak256(encode_for_signing(tx))


def encode_for_signing(tx: TempoTransaction) -> bytes:
    """The bytes whose hash the sender signs."""
    fee_token, fee_payer = (b"", AWAITING_FEE_PAYER) if tx.sponsored else (_optional(tx.fee_token), b"")
    return bytes((TRANSACTION_TYPE,)) + rlp.encode(_fields(tx, fee_token, fee_payer))


def fee_payer_digest(tx: TempoTransaction, sender: str) -> bytes:
    """What the sponsor signs: everything but the signatures, the fee token, and for which sender."""
    fields = _fields(tx, _optional(tx.fee_token), address_bytes(sender))
    return keccak256(bytes((FEE_PAYER_TYPE,)) + rlp.encode(fields))


def sign(tx: TempoTransaction, key: PrivateKey) -> TempoTransaction:
    """The transaction signed by the account's own key."""
    return replace(tx, sender_signature=key.sign_digest(sender_digest(tx)))


def sign_with_access_key(tx: TempoTransaction, key: PrivateKey, account: str) -> TempoTransaction:
    """The transaction signed by an access key that acts for `account`."""
    return replace(tx, sender_signature=sign_as_access_key(sender_digest(tx), key, account))


def sign_as_fee_payer(tx: TempoTransaction, key: PrivateKey, *, sender: str, fee_token: str | None) -> TempoTransaction:
    """The transaction with the sponsor's signature, its fee paid in `fee_token` (None: the sponsor's default).

    Raises UsageError unless the sender signed it as sponsored and no sponsor has signed yet.
    """
    if not tx.awaiting_fee_payer or not tx.sender_signature:
        raise UsageError("only a transaction whose sender signed it as sponsored can be sponsored")
    tx = replace(tx, fee_token=fee_token)
    return replace(tx, fee_payer_signature=key.sign_digest(fee_payer_digest(tx, sender)))


def serialise(tx: TempoTransaction) -> bytes:
    """The bytes of the transaction, type 0x76. Without a sponsor's signature yet, the form handed to a sponsor."""
    fields = _fields(tx, _optional(tx.fee_token), _fee_payer_item(tx.fee_payer_signature))
    return bytes((TRANSACTION_TYPE,)) + rlp.encode([*fields, tx.sender_signature])


def serialise_for_fee_payer(tx: TempoTransaction, sender: str) -> bytes:
    """The same hand-over to a sponsor in the 0x78 envelope, which names the sender. It can't be broadcast."""
    fields = _fields(tx, _optional(tx.fee_token), address_bytes(sender))
    return bytes((FEE_PAYER_TYPE,)) + rlp.encode([*fields, tx.sender_signature])


def transaction_hash(raw: bytes) -> str:
    """The hash under which the chain will know these bytes (both signatures in them)."""
    return to_hex(keccak256(raw))


def _fields(tx: TempoTransaction, fee_token: bytes, fee_payer: rlp.Encodable) -> list[rlp.Encodable]:
    fields: list[rlp.Encodable] = [
        tx.chain_id,
        tx.max_priority_fee_per_gas,
        tx.max_fee_per_gas,
        tx.gas_limit,
        [[address_bytes(call.to), call.value, call.data] for call in tx.calls],
        [[address_bytes(entry.address), list(entry.storage_keys)] for entry in tx.access_list],
        tx.nonce_key,
        tx.nonce,
        _time(tx.valid_before),
        _time(tx.valid_after),
        fee_token,
        fee_payer,
        [],
    ]
    if tx.key_authorization is not None:
        fields.append(rlp.decode(tx.key_authorization))
    return fields


def _time(seconds: int | None) -> rlp.Encodable:
    if seconds is None:
        return b""
    if seconds <= 0:
        raise UsageError("a transaction's validity is bounded after 1970: zero would be written as no bound")
    return seconds


def _optional(address: str | None) -> bytes:
    return b"" if address is None else address_bytes(address)


def _fee_payer_item(signature: bytes | None) -> rlp.Encodable:
    """None, the placeholder, or the list [parity of v, r, s]."""
    if signature is None:
        return b""
    if signature == AWAITING_FEE_PAYER:
        return signature
    if len(signature) != SIGNATURE_BYTES:
        raise UsageError("a fee payer's signature is 65 bytes")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return [signature[64] - 27, r, s]
