"""Reading a Tempo transaction from somebody else's bytes: one spelling only, every field in range.

Whatever is read here was re-encoded and compared with the bytes it came from, so nothing hides between two fields.
What it means, and whether to pay a fee for it, is for the charge to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.evm import rlp
from coinslot.chains.evm.address import ZERO_ADDRESS, address_text
from coinslot.chains.evm.signature import recover
from coinslot.errors import BadSignature, BadTransaction, UsageError
from coinslot.methods.tempo.transaction.build import (
    fee_payer_digest,
    sender_digest,
    serialise,
    serialise_for_fee_payer,
)
from coinslot.methods.tempo.transaction.fields import (
    AWAITING_FEE_PAYER,
    FEE_PAYER_TYPE,
    TRANSACTION_TYPE,
    AccessEntry,
    Call,
    TempoTransaction,
)
from coinslot.methods.tempo.transaction.key_authorization import read_key_authorization
from coinslot.methods.tempo.transaction.sender import Signer, recover_signer

# A charge needs one call per leg and two to swap; a hundred leaves room and bounds our work.
MAX_CALLS = 100
MAX_ACCESS_ENTRIES = 100
_FIELDS = 14  # with the sender's signature, without a key authorization


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction whose sender's signature was checked, and the sponsor's where there is one.

    `signer.account` is whose money moves. `fee_payer` is the sponsor's address once it signed, else None. `raw` is
    exactly what came in.
    """

    transaction: TempoTransaction
    signer: Signer
    fee_payer: str | None
    raw: bytes

    @property
    def sender(self) -> str:
        """The account whose money moves."""
        return self.signer.account


def read_transaction(raw: bytes) -> SignedTransaction:
    """Read a signed transaction: type 0x76, or the 0x78 envelope that is handed to a sponsor.

    Raises BadTransaction for any byte out of place, BadSignature for a signature the chain would not accept.
    """
    if not raw or raw[0] not in (TRANSACTION_TYPE, FEE_PAYER_TYPE):
        raise BadTransaction("not a transaction of type 0x76 or a fee payer envelope 0x78")
    items = rlp.decode(raw[1:])
    if not isinstance(items, tuple) or len(items) not in (_FIELDS, _FIELDS + 1):
        raise BadTransaction(f"a transaction has {_FIELDS} or {_FIELDS + 1} fields")
    enveloped = raw[0] == FEE_PAYER_TYPE
    claimed = _address(items[11], "the sender") if enveloped else None
    try:
        tx = _transaction(items, AWAITING_FEE_PAYER if enveloped else _fee_payer_signature(items[11]))
        again = serialise(tx) if claimed is None else serialise_for_fee_payer(tx, claimed)
    except UsageError as error:
        raise BadTransaction(str(error)) from error
    if again != raw:  # the reader above leaves nothing out; should it ever, it stops here
        raise BadTransaction("not in its canonical spelling")
    signer = recover_signer(sender_digest(tx), tx.sender_signature)
    if claimed is not None and claimed != signer.account:  # T15
        raise BadSignature("the envelope names another sender than the one that signed")
    return SignedTransaction(tx, signer, _fee_payer(tx, signer.account), raw)


def _fee_payer(tx: TempoTransaction, sender: str) -> str | None:
    if tx.fee_payer_signature is None or tx.awaiting_fee_payer:
        return None
    return recover(fee_payer_digest(tx, sender), tx.fee_payer_signature)


def _transaction(items: tuple[rlp.Item, ...], fee_payer_signature: bytes | None) -> TempoTransaction:
    if items[12] != ():  # T31: delegating an account's code is never part of a payment
        raise BadTransaction("an authorization list is not taken")
    key_authorization = None
    if len(items) == _FIELDS + 1:
        key_authorization = rlp.encode(items[13])
        read_key_authorization(key_authorization)
    tx = TempoTransaction(
        chain_id=rlp.to_int(items[0], bits=64),
        max_priority_fee_per_gas=rlp.to_int(items[1], bits=128),
        max_fee_per_gas=rlp.to_int(items[2], bits=128),
        gas_limit=rlp.to_int(items[3], bits=64),
        calls=tuple(_call(item) for item in _list(items[4], MAX_CALLS, "calls")),
        access_list=tuple(_access_entry(item) for item in _list(items[5], MAX_ACCESS_ENTRIES, "access list")),
        nonce_key=rlp.to_int(items[6]),
        nonce=rlp.to_int(items[7], bits=64),
        valid_before=_time(items[8]),
        valid_after=_time(items[9]),
        fee_token=None if items[10] == b"" else _address(items[10], "the fee token"),
        fee_payer_signature=fee_payer_signature,
        key_authorization=key_authorization,
        sender_signature=_bytes(items[-1], "the sender's signature"),
    )
    _check(tx)
    return tx


def _check(tx: TempoTransaction) -> None:
    """What no chain would take, whatever it is meant to pay."""
    if tx.chain_id == 0:
        raise BadTransaction("the chain id is 0")
    if not tx.calls:
        raise BadTransaction("there are no calls")
    if tx.max_priority_fee_per_gas > tx.max_fee_per_gas:
        raise BadTransaction("the priority fee is higher than the whole fee")
    if tx.valid_before is not None and tx.valid_after is not None and tx.valid_before <= tx.valid_after:
        raise BadTransaction("it ends before it starts to be valid")


def _time(item: rlp.Item) -> int | None:
    """Seconds, or None for the empty string: zero has no spelling of its own, and no chain lives in 1970."""
    return None if item == b"" else rlp.to_int(item, bits=64)


def _fee_payer_signature(item: rlp.Item) -> bytes | None:
    if item == b"":
        return None
    if item == AWAITING_FEE_PAYER:
        return AWAITING_FEE_PAYER
    if not isinstance(item, tuple) or len(item) != 3:
        raise BadTransaction("a fee payer's signature is empty, 0x00, or a list of three numbers")
    parity, r, s = rlp.to_int(item[0], bits=8), rlp.to_int(item[1]), rlp.to_int(item[2])
    if parity > 1:
        raise BadSignature("the parity of the fee payer's signature is 0 or 1")
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((27 + parity,))


def _call(item: rlp.Item) -> Call:
    if not isinstance(item, tuple) or len(item) != 3:
        raise BadTransaction("a call is a list of three")
    return Call(_address(item[0], "a call's target"), rlp.to_int(item[1]), _bytes(item[2], "calldata"))


def _access_entry(item: rlp.Item) -> AccessEntry:
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[1], tuple):
        raise BadTransaction("an entry of an access list is an address and its storage keys")
    keys = tuple(_bytes(key, "a storage key") for key in item[1])
    if any(len(key) != 32 for key in keys):
        raise BadTransaction("a storage key is 32 bytes")
    return AccessEntry(_address(item[0], "an access list's address"), keys)


def _list(item: rlp.Item, most: int, name: str) -> tuple[rlp.Item, ...]:
    if not isinstance(item, tuple) or len(item) > most:
        raise BadTransaction(f"{name}: not a list of at most {most}")
    return item


def _bytes(item: rlp.Item, name: str) -> bytes:
    if not isinstance(item, bytes):
        raise BadTransaction(f"{name}: a list stands where bytes belong")
    return item


def _address(item: rlp.Item, name: str) -> str:
    if not isinstance(item, bytes) or len(item) != 20:
        raise BadTransaction(f"{name} is not an address of 20 bytes")
    address = address_text(item)
    if address == ZERO_ADDRESS:
        raise BadTransaction(f"{name} is the zero address")
    return address
