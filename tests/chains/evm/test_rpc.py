"""Answers of a node: read strictly, believed only where they must be, and never taken for a refusal by mistake."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from coinslot.chains.evm import rpc
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.drive import Flow, run
from coinslot.errors import RpcRefused, RpcUnreachable
from support.scripted import ScriptedNode

URL = "http://node.invalid"
RAW = b"\x76 signed bytes"
HASH = to_hex(keccak256(RAW))
A, B = "0x" + "aa" * 20, "0x" + "bb" * 20
WORD = "0x" + "01" * 32
UNKNOWN_METHOD = RpcRefused("no such method", code=-32601)


def receipt(**changes: object) -> dict[str, object]:
    """A receipt as nodes write it, with changes; a change to ... leaves a member out."""
    log = {"address": A, "topics": [WORD, WORD], "data": "0x01", "logIndex": "0x0", "removed": False}
    base: dict[str, object] = {
        "transactionHash": HASH, "status": "0x1", "blockNumber": "0x10", "blockHash": WORD, "from": A, "to": B,
        "gasUsed": "0x5208", "logs": [log], "logsBloom": "0x00", "type": "0x76",
    }  # fmt: skip
    return {name: value for name, value in (base | changes).items() if value is not ...}


SENT = rpc.Receipt(HASH, True, 16, WORD, A, (rpc.Log(A, (b"\x01" * 32,) * 2, b"\x01"),))


def test_a_receipt_is_read_into_types() -> None:
    """Numbers, hashes, addresses in lower case, logs."""
    checksummed = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    node = ScriptedNode(eth_getTransactionReceipt=receipt(**{"from": checksummed, "status": "0x0"}))
    found = run(rpc.get_receipt(URL, HASH), node)
    assert found == rpc.Receipt(HASH, False, 16, WORD, checksummed.lower(), SENT.logs)


def test_no_receipt_is_none() -> None:
    """A transaction that is not in a block has none, which is no error."""
    assert run(rpc.get_receipt(URL, HASH), ScriptedNode(eth_getTransactionReceipt=None)) is None


@pytest.mark.parametrize(
    "answer",
    [
        "0x", [], 7, {}, receipt(status=...), receipt(status="0x2"), receipt(status=1), receipt(status=None),
        receipt(blockNumber=None), receipt(blockNumber=16), receipt(blockHash="0x00"), receipt(logs=None),
        receipt(logs=[7]), receipt(logs=[{}]), receipt(**{"from": None}), receipt(transactionHash=None),
        receipt(logs=[{"address": A, "topics": ["0x00"], "data": "0x"}]),
        receipt(logs=[{"address": A, "topics": [WORD] * 5, "data": "0x"}]),
        receipt(logs=[{"address": A, "topics": "0x", "data": "0x"}]),
        receipt(logs=[{"address": "0x00", "topics": [], "data": "0x"}]),
        receipt(logs=[{"address": A, "topics": [], "data": "0x0"}]),
        receipt(logs=[{}] * (rpc.MAX_LOGS + 1)),
    ],
)  # fmt: skip
def test_a_malformed_receipt_is_no_answer(answer: object) -> None:
    """What can't be a receipt says nothing about the payment: unknown, neither paid nor refused."""
    with pytest.raises(RpcUnreachable, match="eth_getTransactionReceipt: "):
        run(rpc.get_receipt(URL, HASH), ScriptedNode(eth_getTransactionReceipt=answer))


@pytest.mark.guard("T33")
def test_an_answer_about_another_transaction_is_no_answer() -> None:
    """A node that returns somebody else's receipt or transaction is not believed."""
    other = receipt(transactionHash=WORD)
    asks: list[tuple[Flow[object], dict[str, object]]] = [
        (rpc.get_receipt(URL, HASH), {"eth_getTransactionReceipt": other}),
        (rpc.send_raw_sync(URL, RAW), {"eth_sendRawTransactionSync": other}),
        (rpc.send_raw_sync(URL, RAW), {"eth_sendRawTransactionSync": UNKNOWN_METHOD, "eth_sendRawTransaction": WORD}),
        (rpc.get_transaction(URL, HASH), {"eth_getTransactionByHash": {"hash": WORD, "from": A}}),
    ]
    for flow, answers in asks:
        with pytest.raises(RpcUnreachable, match="another transaction"):
            run(flow, ScriptedNode(**answers))


SIMPLE: list[tuple[Callable[[], Flow[object]], str, object, object]] = [
    (lambda: rpc.chain_id(URL), "eth_chainId", "0xa5bf", 42431),
    (lambda: rpc.gas_price(URL), "eth_gasPrice", "0x0", 0),
    (lambda: rpc.transaction_count(URL, A), "eth_getTransactionCount", "0x7", 7),
    (lambda: rpc.code_at(URL, A), "eth_getCode", "0xef", b"\xef"),
    (lambda: rpc.eth_call(URL, A, b"\x01", sender=B, block=3), "eth_call", "0x0102", b"\x01\x02"),
    (lambda: rpc.balance_of(URL, A, B), "eth_call", "0x" + "00" * 31 + "09", 9),
    (
        lambda: rpc.latest_block(URL), "eth_getBlockByNumber",
        {"number": "0x1", "hash": WORD, "timestamp": "0x6"}, rpc.Block(1, WORD, 6),
    ),
    (
        lambda: rpc.get_transaction(URL, HASH), "eth_getTransactionByHash",
        {"hash": HASH, "from": A, "blockNumber": None}, rpc.TransactionInfo(HASH, A, None),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "method", "answer", "read"), SIMPLE, ids=[each[1] for each in SIMPLE])
def test_each_question_reads_its_answer_and_refuses_others(
    ask: Callable[[], Flow[object]], method: str, answer: object, read: object
) -> None:
    """A right answer becomes a typed value; a wrong one is RpcUnreachable; a refusal stays a refusal."""
    assert run(ask(), ScriptedNode(**{method: answer})) == read
    wrongs: tuple[object, ...] = ("", "0xzz", 7, [], {}, True, "0x" + "0" * 300000)
    for wrong in wrongs:
        with pytest.raises(RpcUnreachable, match=f"{method}: "):
            run(ask(), ScriptedNode(**{method: wrong}))
    with pytest.raises(RpcRefused):
        run(ask(), ScriptedNode(**{method: RpcRefused("no", code=3)}))


def test_a_block_that_is_not_there_is_none_but_the_latest_must_be() -> None:
    """A node without a latest block answers nothing we could use."""
    node = ScriptedNode(eth_getBlockByNumber=None)
    assert run(rpc.get_block(URL, 16), node) is None
    assert node.asked == [("eth_getBlockByNumber", ["0x10", False])]
    with pytest.raises(RpcUnreachable):
        run(rpc.latest_block(URL), node)


def test_questions_can_be_pinned_to_a_block() -> None:
    """A balance is asked at the block it is needed for."""
    node = ScriptedNode(eth_call="0x" + "00" * 32)
    run(rpc.balance_of(URL, A, B, block=16), node)
    run(rpc.balance_of(URL, A, B), node)
    data = "0x70a08231" + "00" * 12 + "bb" * 20
    assert node.asked == [("eth_call", [{"to": A, "data": data}, at]) for at in ("0x10", "latest")]


def test_sending_is_one_call_where_the_node_can() -> None:
    """eth_sendRawTransactionSync, with one parameter, answers with the receipt."""
    node = ScriptedNode(eth_sendRawTransactionSync=receipt())
    assert run(rpc.send_raw_sync(URL, RAW), node) == SENT
    assert node.asked == [("eth_sendRawTransactionSync", [to_hex(RAW)])]


def test_sending_falls_back_to_asking_for_the_receipt() -> None:
    """A node without the method takes the bytes by the older one, and is asked until the receipt is there."""
    node = ScriptedNode(
        eth_sendRawTransactionSync=UNKNOWN_METHOD,
        eth_sendRawTransaction=HASH,
        eth_getTransactionReceipt=(None, RpcUnreachable("busy"), RpcRefused("indexing", code=-32000), receipt()),
    )
    assert run(rpc.send_raw_sync(URL, RAW), node) == SENT
    assert node.methods == [
        "eth_sendRawTransactionSync", "eth_sendRawTransaction", *["eth_getTransactionReceipt"] * 4,
    ]  # fmt: skip
    assert node.time == 1000 + 3 * rpc.POLL_S


@pytest.mark.parametrize(
    "refusal", [RpcRefused("taken", code=4), RpcRefused("gap", code=5), RpcRefused("Confirmation timeout", code=-32603)]
)
def test_a_node_that_ran_out_of_patience_has_not_refused(refusal: RpcRefused) -> None:
    """The transaction is with the node: it is waited for, and if it doesn't come its end is unknown."""
    node = ScriptedNode(eth_sendRawTransactionSync=refusal, eth_getTransactionReceipt=(None, receipt()))
    assert run(rpc.send_raw_sync(URL, RAW), node) == SENT
    never = ScriptedNode(eth_sendRawTransactionSync=refusal, eth_getTransactionReceipt=None)
    with pytest.raises(RpcUnreachable, match=HASH):
        run(rpc.send_raw_sync(URL, RAW, wait_s=2), never)
    assert never.time == 1002


def test_bytes_that_the_node_has_already_are_not_refused() -> None:
    """ "already known" is what a node says to the second copy: the first one is then waited for."""
    known = {"hash": HASH, "from": A, "blockNumber": None}
    refusal = RpcRefused("already known", code=-32000)
    for answers in (
        {"eth_sendRawTransactionSync": refusal},
        {"eth_sendRawTransactionSync": UNKNOWN_METHOD, "eth_sendRawTransaction": refusal},
    ):
        node = ScriptedNode(**answers, eth_getTransactionByHash=known, eth_getTransactionReceipt=receipt())
        assert run(rpc.send_raw_sync(URL, RAW), node) == SENT


def test_a_refusal_of_bytes_that_the_node_does_not_know_is_a_refusal() -> None:
    """The node's own error comes through, with its code."""
    refusal = RpcRefused("insufficient funds", code=-32000)
    node = ScriptedNode(eth_sendRawTransactionSync=refusal, eth_getTransactionByHash=None)
    with pytest.raises(RpcRefused, match="insufficient") as caught:
        run(rpc.send_raw_sync(URL, RAW), node)
    assert caught.value is refusal


def test_no_answer_to_sending_is_not_a_refusal_and_nothing_is_sent_again() -> None:
    """Once the bytes may be out, a lost answer is unknown; the caller decides."""
    lost = RpcUnreachable("timeout")
    for node in (
        ScriptedNode(eth_sendRawTransactionSync=lost),
        ScriptedNode(eth_sendRawTransactionSync=RpcRefused("no", code=-1), eth_getTransactionByHash=lost),
        ScriptedNode(eth_sendRawTransactionSync=UNKNOWN_METHOD, eth_sendRawTransaction=lost),
    ):
        with pytest.raises(RpcUnreachable):
            run(rpc.send_raw_sync(URL, RAW), node)
        assert len(node.asked) <= 2


def test_every_question_is_a_flow() -> None:
    """Nothing here talks to the network by itself."""
    public = [each for name, each in inspect.getmembers(rpc, inspect.isfunction) if each.__module__ == rpc.__name__]
    asking = [each for each in public if next(iter(inspect.signature(each).parameters), "") == "url"]
    assert len(asking) >= 12
    assert all(inspect.isgeneratorfunction(each) for each in asking)
