"""TIP-20 transfers: calldata to the last byte, and events that count each payment once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st
from pytempo.contracts import TIP20

from coinslot.chains.evm.rpc import Log, Receipt
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.tempo.tip20 import (
    TRANSFER_SELECTOR,
    TRANSFER_TOPIC,
    TRANSFER_WITH_MEMO_SELECTOR,
    TRANSFER_WITH_MEMO_TOPIC,
    Transfer,
    Transferred,
    read_transfer_call,
    read_transfers,
    transfer_call,
)
from coinslot.methods.tempo.transaction.fields import Call
from support.tempotx import U256, addresses, uints, words

TOKEN, A, B = ("0x" + each * 20 for each in ("20", "aa", "bb"))
MEMO = bytes(range(32))


@given(token=addresses, to=addresses, amount=uints(U256), memo=st.none() | words)
def test_calls_equal_those_of_pytempo_and_read_back(token: str, to: str, amount: int, memo: bytes | None) -> None:
    """transfer and transferWithMemo, byte for byte."""
    call = transfer_call(token, to, amount, memo)
    contract = TIP20(token)
    theirs = (
        contract.transfer(to=to, amount=amount)
        if memo is None
        else contract.transfer_with_memo(to=to, amount=amount, memo=memo)
    )
    assert (call.to, call.value, call.data) == ("0x" + bytes(theirs.to).hex(), 0, theirs.data)
    assert read_transfer_call(call) == Transfer(token, to, amount, memo)


def test_the_selectors_are_the_published_ones() -> None:
    """Those that scopes of access keys and sponsors' allow-lists name."""
    assert (TRANSFER_SELECTOR.hex(), TRANSFER_WITH_MEMO_SELECTOR.hex()) == ("a9059cbb", "95777d59")


GOOD = transfer_call(TOKEN, A, 5).data
MEMOED = transfer_call(TOKEN, A, 5, MEMO).data


@pytest.mark.guard("T31")
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(Call(TOKEN, 0, GOOD + b"\x00"), id="a byte more"),
        pytest.param(Call(TOKEN, 0, GOOD + bytes(32)), id="a word more"),
        pytest.param(Call(TOKEN, 0, GOOD[:-1]), id="a byte less"),
        pytest.param(Call(TOKEN, 0, MEMOED + b"\x00"), id="memo, a byte more"),
        pytest.param(Call(TOKEN, 0, MEMOED[:-32]), id="memo missing"),
        pytest.param(Call(TOKEN, 0, GOOD[:4] + b"\x01" + GOOD[5:]), id="dirty address"),
        pytest.param(Call(TOKEN, 0, b""), id="no calldata"),
        pytest.param(Call(TOKEN, 0, b"\x23\xb8\x72\xdd" + GOOD[4:]), id="transferFrom"),
        pytest.param(Call(TOKEN, 1, GOOD), id="native value"),
    ],
)
def test_anything_but_one_exact_transfer_is_refused(call: Call) -> None:
    """Contracts ignore bytes after the arguments; we don't."""
    with pytest.raises(BadTransaction):
        read_transfer_call(call)


@pytest.mark.parametrize(("amount", "memo"), [(-1, None), (2**256, None), (1, bytes(31)), (1, bytes(33))])
def test_values_out_of_range_make_no_call(amount: int, memo: bytes | None) -> None:
    """Nothing is cut or filled up silently."""
    with pytest.raises(UsageError):
        transfer_call(TOKEN, A, amount, memo)


def word(address: str) -> bytes:
    """An address as a topic."""
    return bytes(12) + bytes.fromhex(address[2:])


def log(amount: int, memo: bytes | None = None, *, token: str = TOKEN, to: str = B) -> Log:
    """An event of a token."""
    topics: tuple[bytes, ...] = (TRANSFER_TOPIC, word(A), word(to))
    if memo is not None:
        topics = (TRANSFER_WITH_MEMO_TOPIC, *topics[1:], memo)
    return Log(token, topics, encode(["uint256"], [amount]))


def receipt(*logs: Log) -> Receipt:
    """A receipt with these logs."""
    return Receipt("0x" + "00" * 32, True, 1, "0x" + "00" * 32, A, logs)


def test_a_transfer_with_memo_is_told_twice_and_counts_once() -> None:
    """The token tells Transfer and then TransferWithMemo: one payment, with its memo."""
    found = read_transfers(receipt(log(5), log(5, MEMO), log(7)))
    assert found == (Transferred(TOKEN, A, B, 5, MEMO, 1), Transferred(TOKEN, A, B, 7, None, 2))


def test_two_equal_payments_count_twice() -> None:
    """Only the twin right before a memo's event is dropped, and only once."""
    both = read_transfers(receipt(log(5), log(5), log(5, MEMO), log(5, MEMO)))
    assert [(each.memo, each.log_index) for each in both] == [(None, 0), (MEMO, 2), (MEMO, 3)]


@pytest.mark.parametrize("other", [log(6), log(5, token=A), log(5, to=A)])
def test_a_different_transfer_before_a_memo_is_its_own(other: Log) -> None:
    """Another amount, token or recipient is another payment."""
    assert len(read_transfers(receipt(other, log(5, MEMO)))) == 2


@pytest.mark.parametrize(
    "other",
    [
        Log(TOKEN, (), b""),
        Log(TOKEN, (TRANSFER_TOPIC, word(A)), bytes(64)),
        Log(TOKEN, (TRANSFER_TOPIC, word(A), word(B), bytes(32)), b""),
        Log(TOKEN, (TRANSFER_TOPIC, word(A), b"\x01" * 32), bytes(32)),
        Log(TOKEN, (TRANSFER_TOPIC, word(A), word(B)), bytes(31)),
        Log(TOKEN, (TRANSFER_TOPIC, word(A), word(B)), bytes(64)),
        Log(TOKEN, (TRANSFER_WITH_MEMO_TOPIC, word(A), word(B)), bytes(32)),
        Log(TOKEN, (bytes(32), word(A), word(B)), bytes(32)),
    ],
)
def test_events_of_other_shapes_are_no_transfers(other: Log) -> None:
    """Other contracts may use the names: passed over, without an error that would lose the payment beside it."""
    assert [each.amount_units for each in read_transfers(receipt(other, log(5)))] == [5]


def test_topics_are_those_of_the_published_interface() -> None:
    """The token's ABI as pytempo ships it has the same two events."""
    import pytempo.contracts as contracts

    abi = json.loads((Path(contracts.__file__).parent / "abis" / "ITIP20.json").read_text())
    entries = abi if isinstance(abi, list) else abi["abi"]
    events = {
        each["name"]: [(field["type"], field["indexed"]) for field in each["inputs"]]
        for each in entries if each["type"] == "event"
    }  # fmt: skip
    base = [("address", True), ("address", True), ("uint256", False)]
    assert events["Transfer"] == base
    assert events["TransferWithMemo"] == [*base, ("bytes32", True)]
