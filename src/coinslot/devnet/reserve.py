"""What our stand-in for the channel reserve can't know by itself, told to it at the right moment.

The precompile of a Tempo node (TIP-1034) knows the transaction that it runs in, and pulls tokens that nobody approved.
A contract can do neither. So before a transaction that opens or tops up a channel, the hash of what its sender signed
goes into the contract's first storage slot and an allowance into the token's storage; when it has run, both are taken
out again. Calls that only simulate carry the same as state overrides.

Not told: transactions that wait for an earlier nonce, legacy transactions, those that the node signs itself
(`eth_sendTransaction`), and contracts that call the reserve for somebody else. They revert with
ExpiringNonceHashNotSet, or for want of an allowance.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from coinslot.chains.evm import rlp
from coinslot.chains.evm.abi import WORD, encode_address, encode_uint256, selector
from coinslot.chains.evm.address import address_bytes, address_text
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import SIGNATURE_BYTES, recover
from coinslot.devnet.node import Node
from coinslot.errors import CoinslotError, UsageError
from coinslot.methods.tempo.session.escrow import CHANNEL_RESERVE
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, TRANSACTION_TYPE
from coinslot.methods.tempo.transaction.sender import KEYCHAIN_V2

# Where the token stands among the words after the selector.
_TOKEN_AT = {
    selector("open(address,address,address,uint96,bytes32,address)"): 2,
    selector("topUp((address,address,address,address,bytes32,address,bytes32),uint96)"): 3,
}
# By transaction type: which field of the list is the target; value and calldata follow.
_TARGET_AT = {0x01: 4, 0x02: 5, 0x04: 5}
_CONTEXT_SLOT = "0x" + "0" * 64
# The mapping of allowances in a TIP-20's storage, measured on this anvil.
_ALLOWANCES = 10
# An allowance of this is never counted down.
_UNLIMITED, _NOTHING = "0x" + "f" * 64, "0x" + "0" * 64
# The context of calls that only simulate: there is no signed transaction yet that could have a hash.
SIMULATED = to_hex(keccak256(b"simulated"))
# One transaction that needs the context at a time.
_telling = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pull:
    """A transaction that opens or tops up channels: its context hash, whose tokens move, and which."""

    context: str
    payer: str
    tokens: frozenset[str]


def read_pull(raw: str) -> Pull | None:
    """What a signed transaction wants from the reserve, or None where that is nothing, or it can't be read."""
    if CHANNEL_RESERVE[2:] not in raw.lower():  # almost every transaction
        return None
    try:
        data = bytes.fromhex(raw.removeprefix("0x"))
        items = rlp.decode(data[1:])
        return _read(data[0], items) if isinstance(items, tuple) else None
    except (ValueError, IndexError, CoinslotError):
        return None  # the node says what is wrong with it


def _read(kind: int, items: tuple[rlp.Item, ...]) -> Pull | None:
    if kind == TRANSACTION_TYPE:
        calls = [(call[0], call[2]) for call in items[4] if isinstance(call, tuple)]
        # a sponsored sender leaves the fee token and the sponsor open
        open_fields = (items[10], items[11]) if items[11] == b"" else (b"", AWAITING_FEE_PAYER)
        signed = _to_sign(kind, (*items[:10], *open_fields, *items[12:-1]))
        sender = _sender(keccak256(signed), _bytes(items[-1]))
    else:
        at = _TARGET_AT[kind] if kind in _TARGET_AT else len(items)
        calls = [(items[at], items[at + 2])]
        signed = _to_sign(kind, items[:-3])
        parity, r, s = (int.from_bytes(_bytes(item), "big") for item in items[-3:])
        sender = recover(keccak256(signed), encode_uint256(r) + encode_uint256(s) + bytes((27 + parity,)))
    tokens = _tokens((to_hex(_bytes(to)), _bytes(data)) for to, data in calls)
    return Pull(to_hex(keccak256(signed + address_bytes(sender))), sender, tokens) if tokens else None


def _to_sign(kind: int, fields: Sequence[rlp.Item]) -> bytes:
    """The payload whose hash the sender of a typed transaction signs."""
    return bytes((kind,)) + rlp.encode(fields)


def _bytes(item: rlp.Item) -> bytes:
    if not isinstance(item, bytes):
        raise UsageError("a list stands where bytes belong")
    return item


def _sender(digest: bytes, signature: bytes) -> str:
    """The account, by its own key, by an access key, or by the public key of P-256 and WebAuthn."""
    if len(signature) == SIGNATURE_BYTES:
        return recover(digest, signature)
    if signature[0] == KEYCHAIN_V2:
        return address_text(signature[1:21])
    public = signature[65:129] if signature[0] == 0x01 else signature[-64:]
    return address_text(keccak256(public)[12:])


def _tokens(calls: Iterable[tuple[str, bytes]]) -> frozenset[str]:
    """The tokens that calls of the reserve pull."""
    found = set()
    for to, data in calls:
        at = _TOKEN_AT.get(data[:4])
        if to.lower() == CHANNEL_RESERVE and at is not None:
            word = data[4 + at * WORD :][:WORD]
            if len(word) == WORD:
                found.add(address_text(word[12:]))
    return frozenset(found)


def allowance_slot(owner: str) -> str:
    """Where a TIP-20 token keeps what the reserve may take from `owner`."""
    inner = keccak256(encode_address(owner) + encode_uint256(_ALLOWANCES))
    return to_hex(keccak256(encode_address(CHANNEL_RESERVE) + inner))


@contextmanager
def told(node: Node, pull: Pull) -> Iterator[None]:
    """Inside, the reserve knows this transaction and no other; nobody else is inside. Raises RpcRefused."""
    slot = allowance_slot(pull.payer)
    with _telling:
        try:
            for token in pull.tokens:
                node.call("anvil_setStorageAt", token, slot, _UNLIMITED)
            node.call("anvil_setStorageAt", CHANNEL_RESERVE, _CONTEXT_SLOT, pull.context)
            yield
        finally:
            node.call("anvil_setStorageAt", CHANNEL_RESERVE, _CONTEXT_SLOT, _NOTHING)
            for token in pull.tokens:
                node.call("anvil_setStorageAt", token, slot, _NOTHING)


# --- simulation -----------------------------------------------------------------------------------


def simulated_overrides(requests: Iterable[object], given: object = None) -> dict[str, object] | None:
    """State overrides for calls that open or top up, added to those `given`; None where no call does."""
    added: dict[str, dict[str, str]] = {}
    for request in requests:
        if not isinstance(request, Mapping):
            continue
        payer = request.get("from")
        tokens = _tokens(_plain_calls(request))
        if tokens and isinstance(payer, str):
            added.setdefault(CHANNEL_RESERVE, {})[_CONTEXT_SLOT] = SIMULATED
            for token in tokens:
                added.setdefault(token, {})[allowance_slot(payer.lower())] = _UNLIMITED
    if not added:
        return None
    merged: dict[str, object] = dict(given) if isinstance(given, Mapping) else {}
    for address, slots in added.items():
        known = next((key for key in merged if key.lower() == address), address)
        account = merged.get(known)
        account = dict(account) if isinstance(account, Mapping) else {}
        diff = account.get("stateDiff")
        merged[known] = {**account, "stateDiff": {**slots, **(diff if isinstance(diff, Mapping) else {})}}
    return merged


def _plain_calls(request: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    inner = request.get("calls")
    for call in [request, *(inner if isinstance(inner, list) else [])]:
        if not isinstance(call, Mapping):
            continue
        to, data = call.get("to"), call.get("input") or call.get("data")
        if isinstance(to, str) and isinstance(data, str):
            try:
                yield to, bytes.fromhex(data.removeprefix("0x"))
            except ValueError:
                continue
