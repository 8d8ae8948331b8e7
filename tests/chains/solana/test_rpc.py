"""Answers of a node about the chain: read strictly, believed only where they must be."""

from __future__ import annotations

import inspect
from base64 import b64encode
from collections.abc import Callable

import pytest

from coinslot.chains.solana import rpc
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_PROGRAM
from coinslot.drive import Flow, run
from coinslot.errors import RpcUnreachable, UsageError
from support.scripted import ScriptedNode

URL = "http://node.invalid"
A = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
B = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"


def at(value: object, slot: object = 7) -> dict[str, object]:
    """An answer that holds at a slot."""
    return {"context": {"apiVersion": "2.0", "slot": slot}, "value": value}


def told(content: bytes = b"abc", **changes: object) -> dict[str, object]:
    """An account as nodes write it; a change to ... leaves a member out."""
    base: dict[str, object] = {
        "data": [b64encode(content).decode(), "base64"], "executable": False, "lamports": 5, "owner": B,
        "rentEpoch": 2**64 - 1, "space": len(content),
    }  # fmt: skip
    return {name: value for name, value in (base | changes).items() if value is not ...}


ACCOUNT = rpc.Account(A, B, 5, b"abc", False, 7)


def test_an_account_is_read_into_types() -> None:
    """Owner, lamports, data, and when it was so; none is None."""
    assert run(rpc.account(URL, A), ScriptedNode(getAccountInfo=at(told()))) == ACCOUNT
    assert run(rpc.account(URL, A), ScriptedNode(getAccountInfo=at(None))) is None


def test_several_accounts_come_in_the_order_asked_for() -> None:
    """And exactly as many."""
    node = ScriptedNode(getMultipleAccounts=at([None, told()]))
    assert run(rpc.accounts(URL, [B, A]), node) == (None, ACCOUNT)
    wrong: list[object] = [[told()], [told()] * 3, None, {}]
    for answer in wrong:
        with pytest.raises(RpcUnreachable):
            run(rpc.accounts(URL, [B, A]), ScriptedNode(getMultipleAccounts=at(answer)))
    with pytest.raises(UsageError):
        run(rpc.accounts(URL, [A] * 101), ScriptedNode())


def test_small_questions_have_small_answers() -> None:
    """Genesis hash, slot, height, time, blockhash, rent, balance."""
    node = ScriptedNode(
        getGenesisHash=A, getSlot=9, getBlockHeight=8, getBlockTime=1_700_000_000, isBlockhashValid=at(False),
        getLatestBlockhash=at({"blockhash": A, "lastValidBlockHeight": 158}),
        getMinimumBalanceForRentExemption=890_880, getBalance=at(6),
    )  # fmt: skip
    assert run(rpc.genesis_hash(URL), node) == A
    assert run(rpc.slot(URL), node) == 9
    assert run(rpc.block_height(URL), node) == 8
    assert run(rpc.block_time(URL, 9), node) == 1_700_000_000
    assert run(rpc.block_time(URL, 9), ScriptedNode(getBlockTime=None)) is None
    assert run(rpc.latest_blockhash(URL), node) == rpc.Blockhash(A, 158, 7)
    assert run(rpc.is_blockhash_valid(URL, A), node) is False
    assert run(rpc.minimum_balance(URL, 0), node) == 890_880
    assert run(rpc.balance(URL, A), node) == 6


def test_every_question_says_which_commitment_it_means() -> None:
    """A node's own default is finalized: ten times later than what was paid."""
    node = ScriptedNode(
        getSlot=9, getBlockHeight=8, isBlockhashValid=at(True), getAccountInfo=at(None), getMultipleAccounts=at([]),
        getLatestBlockhash=at({"blockhash": A, "lastValidBlockHeight": 158}), getBalance=at(6),
        getProgramAccounts=at([]),
    )  # fmt: skip
    flows: list[Flow[object]] = [
        rpc.slot(URL), rpc.block_height(URL), rpc.is_blockhash_valid(URL, A), rpc.account(URL, A), rpc.balance(URL, A),
        rpc.accounts(URL, []), rpc.latest_blockhash(URL), rpc.program_accounts(URL, B),
    ]  # fmt: skip
    for flow in flows:
        run(flow, node)
    for _, params in node.asked:
        assert isinstance(params[-1], dict)
        assert params[-1]["commitment"] == "confirmed"


def test_accounts_of_a_program_are_found_by_size_and_bytes() -> None:
    """The filters go to the node in its own words."""
    node = ScriptedNode(getProgramAccounts=at([{"pubkey": A, "account": told()}]))
    assert run(rpc.program_accounts(URL, B, size=3, where=[rpc.Memcmp(1, b"bc")]), node) == (ACCOUNT,)
    ((_, [program, config]),) = node.asked
    assert program == B
    assert isinstance(config, dict)
    assert config["filters"] == [{"dataSize": 3}, {"memcmp": {"offset": 1, "bytes": "YmM=", "encoding": "base64"}}]


@pytest.mark.guard("T33")
@pytest.mark.parametrize("account", [told(owner=A), told(b"abcd"), told(b"xbd")])
def test_an_account_that_was_not_asked_for_is_no_answer(account: dict[str, object]) -> None:
    """A node that ignores a filter must not make us read another program's account."""
    node = ScriptedNode(getProgramAccounts=at([{"pubkey": A, "account": account}]))
    with pytest.raises(RpcUnreachable, match="not asked for"):
        run(rpc.program_accounts(URL, B, size=3, where=[rpc.Memcmp(1, b"bc")]), node)


def test_tokens_are_read_by_the_program_that_owns_them() -> None:
    """None where nothing is; not readable where something else is."""
    for ask in (rpc.token_account, rpc.mint):
        assert run(ask(URL, A), ScriptedNode(getAccountInfo=at(None))) is None
        for owner in (TOKEN_PROGRAM, SYSTEM_PROGRAM):
            with pytest.raises(RpcUnreachable):
                run(ask(URL, A), ScriptedNode(getAccountInfo=at(told(owner=owner))))


BAD: list[object] = [True, None, -1, 2**64, 1.0, "1", [], {}]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("ask", "method"),
    [
        (rpc.slot, "getSlot"),
        (rpc.block_height, "getBlockHeight"),
        (lambda url: rpc.minimum_balance(url, 5), "getMinimumBalanceForRentExemption"),
        (rpc.genesis_hash, "getGenesisHash"),
    ],
)
def test_a_number_is_a_u64_and_a_bool_is_none(ask: Callable[[str], Flow[object]], method: str, value: object) -> None:
    """Whatever else it is, it is no answer."""
    with pytest.raises(RpcUnreachable, match=method):
        run(ask(URL), ScriptedNode(**{method: value}))


@pytest.mark.parametrize(
    "answer",
    [
        None, [], 5, {}, {"value": None}, {"context": {"slot": 1}}, {"context": 5, "value": None}, at(5), at([]),
        at(None, True), at(None, -1), at(None, None), at(told(owner=...)), at(told(owner="x")),
        at(told(lamports=True)), at(told(lamports=2**64)), at(told(executable=0)), at(told(executable=...)),
        at(told(data="YWJj")), at(told(data=["YWJj"])), at(told(data=["YWJj", "base58"])),
        at(told(data=["YW Jj", "base64"])), at(told(data=[5, "base64"])), at(told(data=["YWJ", "base64"])),
        at(told(data=["é", "base64"])),
    ],
)  # fmt: skip
def test_an_account_that_is_none_is_no_answer(answer: object) -> None:
    """Not a refusal either: whether it is there is not known."""
    with pytest.raises(RpcUnreachable, match="getAccountInfo"):
        run(rpc.account(URL, A), ScriptedNode(getAccountInfo=answer))


def test_every_question_is_a_flow() -> None:
    """Nothing here asks a node by itself."""
    asking = [rpc.genesis_hash, rpc.slot, rpc.account, rpc.accounts, rpc.program_accounts, rpc.latest_blockhash]
    assert all(inspect.isgeneratorfunction(each) for each in asking)
