"""TIP-20 tokens: the two transfers a payment is made of, as calldata and as events."""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.evm.abi import (
    decode_address,
    decode_uint256,
    encode_address,
    encode_bytes32,
    encode_call,
    encode_uint256,
    event_topic,
    selector,
    split_words,
)
from coinslot.chains.evm.rpc import Log, Receipt
from coinslot.errors import BadTransaction
from coinslot.methods.tempo.transaction.fields import Call

_TRANSFER = "transfer(address,uint256)"
_TRANSFER_WITH_MEMO = "transferWithMemo(address,uint256,bytes32)"
TRANSFER_SELECTOR = selector(_TRANSFER)  # a9059cbb
TRANSFER_WITH_MEMO_SELECTOR = selector(_TRANSFER_WITH_MEMO)  # 95777d59
TRANSFER_TOPIC = event_topic("Transfer(address,address,uint256)")
TRANSFER_WITH_MEMO_TOPIC = event_topic("TransferWithMemo(address,address,uint256,bytes32)")


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer asked for by a call: of `token` (the call's target), in base units, `memo` 32 bytes or None."""

    token: str
    recipient: str
    amount_units: int
    memo: bytes | None


@dataclass(frozen=True, slots=True)
class Transferred:
    """A transfer that happened, told by the token's event. `log_index` is its place among the receipt's logs."""

    token: str
    sender: str
    recipient: str
    amount_units: int
    memo: bytes | None
    log_index: int


def transfer_call(token: str, recipient: str, amount_units: int, memo: bytes | None = None) -> Call:
    """The call that transfers, with a memo of 32 bytes or without. Raises UsageError for values out of range."""
    words = [encode_address(recipient), encode_uint256(amount_units)]
    if memo is None:
        return Call(token, 0, encode_call(_TRANSFER, *words))
    return Call(token, 0, encode_call(_TRANSFER_WITH_MEMO, *words, encode_bytes32(memo)))


def read_transfer_call(call: Call) -> Transfer:
    """The transfer that a call asks for. Raises BadTransaction unless it is exactly one, to the last byte."""
    if call.value != 0:
        raise BadTransaction("a token transfer carries no native value")
    chosen, arguments = call.data[:4], call.data[4:]
    if chosen == TRANSFER_SELECTOR:
        to, amount = split_words(arguments, 2)  # T31: exact length
        return Transfer(call.to, decode_address(to), decode_uint256(amount), None)
    if chosen == TRANSFER_WITH_MEMO_SELECTOR:
        to, amount, memo = split_words(arguments, 3)  # T31: exact length
        return Transfer(call.to, decode_address(to), decode_uint256(amount), memo)
    raise BadTransaction("not a call of transfer or transferWithMemo")


def read_transfers(receipt: Receipt) -> tuple[Transferred, ...]:
    """The transfers that a receipt tells of, in order, each once.

    A TIP-20 token tells of a transfer with a memo twice: by Transfer and by TransferWithMemo right after it. The pair
    is one transfer here, so that no payment counts twice. Events of other shapes are passed over.
    """
    found: list[Transferred] = []
    for index, log in enumerate(receipt.logs):
        transfer = _read_log(log, index)
        if transfer is None:
            continue
        if transfer.memo is not None and found and _twins(found[-1], transfer):
            found.pop()
        found.append(transfer)
    return tuple(found)


def _twins(plain: Transferred, with_memo: Transferred) -> bool:
    return (
        plain.memo is None
        and plain.log_index + 1 == with_memo.log_index
        and (plain.token, plain.sender, plain.recipient, plain.amount_units)
        == (with_memo.token, with_memo.sender, with_memo.recipient, with_memo.amount_units)
    )


def _read_log(log: Log, index: int) -> Transferred | None:
    topic = log.topics[0] if log.topics else b""
    try:
        if topic == TRANSFER_TOPIC and len(log.topics) == 3:
            memo = None
        elif topic == TRANSFER_WITH_MEMO_TOPIC and len(log.topics) == 4:
            memo = log.topics[3]
        else:
            return None
        (amount,) = split_words(log.data, 1)
        sender, recipient = decode_address(log.topics[1]), decode_address(log.topics[2])
    except BadTransaction:
        return None  # some contract uses the name for another shape: not a token we could be paid in
    return Transferred(log.address, sender, recipient, decode_uint256(amount), memo, index)
