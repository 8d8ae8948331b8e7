"""Asking an EVM node: typed questions, strictly read answers. Every function is a flow (see `drive`).

    RpcUnreachable   no answer, or one that can't be what it claims to be: whether the node acted is not known
    RpcRefused       the node said no

A node is not believed about what we can compute ourselves: the receipt of what we sent must carry its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from coinslot.chains.evm.abi import decode_uint256, encode_address, encode_call
from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.hexdata import parse_hex, parse_quantity, to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.drive import Flow, now, rpc, sleep
from coinslot.errors import BadTransaction, RpcRefused, RpcUnreachable, UsageError

T = TypeVar("T")

# Chains with blocks of a second or less confirm well within this; the caller then looks the hash up by itself.
SEND_WAIT_S = 20.0
# Two looks per block of half a second: often enough not to be felt, rare enough for metered nodes.
POLL_S = 0.25
# A receipt of a payment has a handful of logs; thousands are somebody else's transaction.
MAX_LOGS = 4096
METHOD_NOT_FOUND = -32601
# Of eth_sendRawTransactionSync (EIP-7966): the node has taken the transaction, but not seen it in a block.
TAKEN_NOT_MINED = frozenset({4, 5})


@dataclass(frozen=True, slots=True)
class Log:
    """An event: the contract that told it, up to four 32-byte topics, data."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction. `succeeded` is its status: whether it moved money is in its logs only."""

    transaction_hash: str
    succeeded: bool
    block_number: int
    block_hash: str
    sender: str
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    """A transaction as the node knows it; `block_number` is None while it waits for a block."""

    transaction_hash: str
    sender: str
    block_number: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """A block: its timestamp is whole seconds since 1970."""

    number: int
    hash: str
    timestamp_s: int


def chain_id(url: str) -> Flow[int]:
    """The chain that the node belongs to (EIP-155)."""
    answer = yield from rpc(url, "eth_chainId", [])
    return _read("eth_chainId", "chain id", parse_quantity, answer)


def get_receipt(url: str, transaction_hash: str) -> Flow[Receipt | None]:
    """The receipt of a transaction, or None: not known, or not in a block yet."""
    answer = yield from rpc(url, "eth_getTransactionReceipt", [transaction_hash])
    return None if answer is None else _receipt("eth_getTransactionReceipt", answer, transaction_hash)


def get_transaction(url: str, transaction_hash: str) -> Flow[TransactionInfo | None]:
    """What the node knows of a transaction, or None."""
    method = "eth_getTransactionByHash"
    answer = yield from rpc(url, method, [transaction_hash])
    if answer is None:
        return None
    fields = _members(method, answer)
    number = fields.get("blockNumber")
    return TransactionInfo(
        _own_hash(method, fields.get("hash"), transaction_hash),
        _read(method, "from", parse_address, fields.get("from")),
        None if number is None else _read(method, "blockNumber", parse_quantity, number),
    )


def latest_block(url: str) -> Flow[Block]:
    """The newest block."""
    found = yield from _block(url, "latest")
    if found is None:
        raise RpcUnreachable("eth_getBlockByNumber: the node has no latest block")
    return found


def get_block(url: str, number: int) -> Flow[Block | None]:
    """The block of a number, or None if the node doesn't have it (yet, or any more)."""
    return (yield from _block(url, hex(number)))


def _block(url: str, which: str) -> Flow[Block | None]:
    method = "eth_getBlockByNumber"
    answer = yield from rpc(url, method, [which, False])
    if answer is None:
        return None
    fields = _members(method, answer)
    return Block(
        _read(method, "number", parse_quantity, fields.get("number")),
        _read(method, "hash", _hash, fields.get("hash")),
        _read(method, "timestamp", parse_quantity, fields.get("timestamp")),
    )


def eth_call(url: str, to: str, data: bytes, *, sender: str | None = None, block: int | None = None) -> Flow[bytes]:
    """What a call would return, at the newest block or at `block`. Raises RpcRefused if it would revert."""
    request = {"to": to, "data": to_hex(data)}
    if sender is not None:
        request["from"] = sender
    answer = yield from rpc(url, "eth_call", [request, "latest" if block is None else hex(block)])
    return _read("eth_call", "result", parse_hex, answer)


def balance_of(url: str, token: str, owner: str, *, block: int | None = None) -> Flow[int]:
    """The token balance of an owner in base units (ERC-20, TIP-20)."""
    call = encode_call("balanceOf(address)", encode_address(owner))
    answer = yield from eth_call(url, token, call, block=block)
    return _read("eth_call", "balance", decode_uint256, answer)


def code_at(url: str, address: str) -> Flow[bytes]:
    """The code of an account; empty for a wallet or for nothing."""
    answer = yield from rpc(url, "eth_getCode", [address, "latest"])
    return _read("eth_getCode", "code", parse_hex, answer)


def transaction_count(url: str, address: str, *, pending: bool = True) -> Flow[int]:
    """The next nonce of an account, counting what waits for a block unless `pending` is False."""
    method = "eth_getTransactionCount"
    answer = yield from rpc(url, method, [address, "pending" if pending else "latest"])
    return _read(method, "nonce", parse_quantity, answer)


def gas_price(url: str) -> Flow[int]:
    """The fee per gas at which the node expects a transaction to be taken now, in native units."""
    answer = yield from rpc(url, "eth_gasPrice", [])
    return _read("eth_gasPrice", "gas price", parse_quantity, answer)


# --- the irreversible one ------------------------------------------------------------------------


def send_raw_sync(url: str, raw: bytes, *, wait_s: float = SEND_WAIT_S) -> Flow[Receipt]:
    """Send a signed transaction and wait for its receipt, by one call where the node can, else by asking again.

    Sending the same bytes twice does no harm: the chain takes them once. Raises RpcRefused only if the node said no
    and knows no such transaction; RpcUnreachable if the end is not known, which is no refusal.
    """
    transaction_hash = to_hex(keccak256(raw))
    method = "eth_sendRawTransactionSync"
    try:
        # One parameter: the wait that a second one would ask for is not taken by every node.
        answer = yield from rpc(url, method, [to_hex(raw)], wait_s)
        return _receipt(method, answer, transaction_hash)
    except RpcRefused as refusal:
        if refusal.code == METHOD_NOT_FOUND:
            yield from _send_raw(url, raw, transaction_hash)
        elif not _taken(refusal):
            yield from _raise_unless_known(url, transaction_hash, refusal)
    return (yield from await_receipt(url, transaction_hash, wait_s=wait_s))


def _taken(refusal: RpcRefused) -> bool:
    """Whether the node only ran out of patience: some nodes say so by a general code and the word."""
    return refusal.code in TAKEN_NOT_MINED or "timeout" in str(refusal).lower()


def _send_raw(url: str, raw: bytes, transaction_hash: str) -> Flow[None]:
    method = "eth_sendRawTransaction"
    try:
        answer = yield from rpc(url, method, [to_hex(raw)])
        _own_hash(method, answer, transaction_hash)
    except RpcRefused as refusal:
        yield from _raise_unless_known(url, transaction_hash, refusal)


def _raise_unless_known(url: str, transaction_hash: str, refusal: RpcRefused) -> Flow[None]:
    """A node refuses what it has taken before ("already known", "nonce too low"): that is no refusal of ours."""
    if (yield from get_transaction(url, transaction_hash)) is None:
        raise refusal


def await_receipt(url: str, transaction_hash: str, *, wait_s: float = SEND_WAIT_S) -> Flow[Receipt]:
    """Ask for a receipt until it is there. Raises RpcUnreachable after `wait_s` seconds: the end is not known."""
    deadline = (yield from now()) + wait_s
    reason: Exception | None = None
    while True:
        try:
            receipt = yield from get_receipt(url, transaction_hash)
            if receipt is not None:
                return receipt
        except (RpcRefused, RpcUnreachable) as error:  # a node that is behind, or busy: ask again
            reason = error
        if (yield from now()) >= deadline:
            raise RpcUnreachable(f"no receipt of {transaction_hash} within {wait_s:g} s") from reason
        yield from sleep(POLL_S)


# --- reading answers -----------------------------------------------------------------------------


def _receipt(method: str, answer: object, transaction_hash: str) -> Receipt:
    fields = _members(method, answer)
    logs = fields.get("logs")
    if not isinstance(logs, list) or len(logs) > MAX_LOGS:
        raise RpcUnreachable(f"{method}: logs are not a list of at most {MAX_LOGS}")
    return Receipt(
        transaction_hash=_own_hash(method, fields.get("transactionHash"), transaction_hash),
        succeeded=_read(method, "status", _status, fields.get("status")),
        block_number=_read(method, "blockNumber", parse_quantity, fields.get("blockNumber")),
        block_hash=_read(method, "blockHash", _hash, fields.get("blockHash")),
        sender=_read(method, "from", parse_address, fields.get("from")),
        logs=tuple(_log(method, log) for log in logs),
    )


def _log(method: str, answer: object) -> Log:
    fields = _members(method, answer)
    topics = fields.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise RpcUnreachable(f"{method}: the topics of a log are not a list of at most 4")
    return Log(
        _read(method, "address", parse_address, fields.get("address")),
        tuple(_read(method, "topic", _word, topic) for topic in topics),
        _read(method, "data", parse_hex, fields.get("data")),
    )


def _members(method: str, answer: object) -> Mapping[str, object]:
    if not isinstance(answer, dict):
        raise RpcUnreachable(f"{method}: the answer is not an object")
    return answer


def _own_hash(method: str, answer: object, transaction_hash: str) -> str:
    """T33: an answer about another transaction is no answer."""
    if _read(method, "transaction hash", _hash, answer) != transaction_hash:
        raise RpcUnreachable(f"{method}: the answer is about another transaction")
    return transaction_hash


def _read(method: str, name: str, parse: Callable[..., T], value: object) -> T:
    try:
        return parse(value)
    except (UsageError, BadTransaction) as error:
        raise RpcUnreachable(f"{method}: {name}: {error}") from error


def _status(value: object) -> bool:
    status = parse_quantity(value)
    if status > 1:
        raise UsageError("a status is 0 or 1")
    return status == 1


def _word(value: object) -> bytes:
    return parse_hex(value, size=32)


def _hash(value: object) -> str:
    return to_hex(parse_hex(value, size=32))
