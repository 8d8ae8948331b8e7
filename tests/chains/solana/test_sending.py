"""What becomes of transactions: sent once, looked for, and never believed to be another's."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from coinslot.chains.solana import memo, sending, system
from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.chains.solana.answers import Failure, read_failure
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.rpc import Account
from coinslot.chains.solana.signature import Key
from coinslot.drive import run
from coinslot.errors import BadSignature, BadTransaction, RpcRefused, RpcUnreachable, UsageError
from support.scripted import ScriptedNode

URL = "http://node.invalid"
KEY, OTHER = Key(sha256(b"key").digest()), Key(sha256(b"other").digest())
BLOCKHASH = address_text(sha256(b"block").digest())
MESSAGE = build_message(
    KEY.address, [system.build_transfer(KEY.address, OTHER.address, 7), memo.build_memo(memo.Memo("hi"))], BLOCKHASH
)
RAW = sign_partially(MESSAGE, [KEY])
TRANSACTION = read_transaction(RAW)
NAME = TRANSACTION.signature
FOREIGN = sign_partially(build_message(OTHER.address, [memo.build_memo(memo.Memo("hi"))], BLOCKHASH), [OTHER])
PREFLIGHT = {"err": {"InstructionError": [1, {"Custom": 2003}]}, "logs": ["Program log: no"], "unitsConsumed": 5}


def at(value: object, slot: object = 7) -> dict[str, object]:
    """An answer that holds at a slot."""
    return {"context": {"slot": slot}, "value": value}


def status(commitment: object = "confirmed", err: object = None, slot: object = 5) -> dict[str, object]:
    """A status as nodes write it."""
    return {"slot": slot, "confirmations": 3, "err": err, "status": {"Ok": None}, "confirmationStatus": commitment}


# --- reasons of failure --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "failure", "text"),
    [
        ("BlockhashNotFound", Failure("BlockhashNotFound"), "BlockhashNotFound"),
        ({"InstructionError": [2, {"Custom": 238}]}, Failure("Custom", 2, 238), "program error 238 in instruction 2"),
        ({"InstructionError": [0, "InvalidAccountData"]}, Failure("InvalidAccountData", 0), "in instruction 0"),
        ({"InstructionError": [0, {"BorshIoError": "x"}]}, Failure("BorshIoError", 0), "BorshIoError"),
        ({"InsufficientFundsForRent": {"account_index": 1}}, Failure("InsufficientFundsForRent"), "Rent"),
    ],
)
def test_a_failure_is_read_by_its_name(answer: object, failure: Failure, text: str) -> None:
    """With the place of the instruction and the program's own code."""
    assert read_failure(answer) == failure
    assert text in failure.text
    assert read_failure(None) is None


@pytest.mark.parametrize(
    "answer",
    [
        True, 5, [], {}, {"A": 1, "B": 2}, "two words", "x" * 65, "é", {"InstructionError": 5},
        {"InstructionError": [True, "A"]}, {"InstructionError": [256, "A"]},
        {"InstructionError": [0, {"Custom": True}]}, {"InstructionError": [0, {"Custom": 2**32}]},
        {"InstructionError": [0, {}]}, {"InstructionError": [0, 5]},
        {"InstructionError": [0]},
    ],
)  # fmt: skip
def test_a_failure_that_cannot_be_read_is_not_taken_for_success(answer: object) -> None:
    """Least of all for none."""
    with pytest.raises(UsageError):
        read_failure(answer)
    node = ScriptedNode(getSignatureStatuses=at([status(err=answer)]))
    with pytest.raises(RpcUnreachable):
        run(sending.signature_statuses(URL, [NAME]), node)


# --- sending -------------------------------------------------------------------------------------


def test_a_sent_transaction_is_known_by_its_own_signature() -> None:
    """Sent as base64, tried out first."""
    node = ScriptedNode(sendTransaction=NAME)
    assert run(sending.send_transaction(URL, RAW), node) == NAME
    assert node.asked == [
        (
            "sendTransaction",
            [
                b64encode(RAW).decode(),
                {"encoding": "base64", "skipPreflight": False, "preflightCommitment": "confirmed"},
            ],
        )
    ]


@pytest.mark.guard("T33")
def test_an_answer_about_another_transaction_is_no_answer() -> None:
    """Not when sending, not when looking."""
    with pytest.raises(RpcUnreachable, match="another transaction"):
        run(sending.send_transaction(URL, RAW), ScriptedNode(sendTransaction=read_transaction(FOREIGN).signature))
    with pytest.raises(RpcUnreachable, match="another transaction"):
        run(sending.get_transaction(URL, NAME), ScriptedNode(getTransaction=landed(FOREIGN)))


def test_a_refusal_of_what_is_on_the_chain_already_is_none() -> None:
    """Sent twice, the second time the node says no: it has it."""
    refusal = RpcRefused("already processed", code=-32002, data={"err": "AlreadyProcessed", "logs": []})
    node = ScriptedNode(sendTransaction=refusal, getSignatureStatuses=at([status()]))
    assert run(sending.send_transaction(URL, RAW), node) == NAME
    assert node.asked[1] == ("getSignatureStatuses", [[NAME], {"searchTransactionHistory": True}])


def test_a_refusal_of_what_nobody_knows_is_one() -> None:
    """With the reason of the trial run."""
    node = ScriptedNode(
        sendTransaction=RpcRefused("Transaction simulation failed", code=-32002, data=PREFLIGHT),
        getSignatureStatuses=at([None]),
    )
    with pytest.raises(RpcRefused) as caught:
        run(sending.send_transaction(URL, RAW), node)
    assert sending.preflight_failure(caught.value) == Failure("Custom", 1, 2003)


def test_a_refusal_while_the_status_is_not_told_leaves_the_end_open() -> None:
    """An earlier copy may have landed."""
    node = ScriptedNode(
        sendTransaction=RpcRefused("no", code=-32002, data=PREFLIGHT), getSignatureStatuses=RpcUnreachable("gone")
    )
    with pytest.raises(RpcUnreachable):
        run(sending.send_transaction(URL, RAW), node)


@pytest.mark.parametrize(("code", "data"), [(-32002, None), (-32002, {"err": 5}), (-32003, PREFLIGHT)])
def test_other_refusals_have_no_reason_of_a_trial_run(code: int, data: object) -> None:
    """A busy node, a bad signature, nonsense."""
    assert sending.preflight_failure(RpcRefused("no", code=code, data=data)) is None


def test_what_its_payer_has_not_signed_is_not_sent() -> None:
    """It would have no name to be looked for."""
    with pytest.raises(BadSignature):
        run(sending.send_transaction(URL, sign_partially(MESSAGE, [])), ScriptedNode())
    with pytest.raises(BadTransaction):
        run(sending.send_transaction(URL, RAW + b"\x00"), ScriptedNode())


# --- looking -------------------------------------------------------------------------------------


def test_statuses_say_how_far_and_how_it_ended() -> None:
    """Failed and confirmed is both; unknown is None."""
    node = ScriptedNode(getSignatureStatuses=at([None, status("finalized", {"InstructionError": [0, {"Custom": 1}]})]))
    _, found = run(sending.signature_statuses(URL, [NAME, NAME]), node)
    assert found == sending.SignatureStatus(5, "finalized", Failure("Custom", 0, 1))
    assert found is not None
    assert found.reached("confirmed")
    assert not sending.SignatureStatus(5, "processed", None).reached("confirmed")


@pytest.mark.parametrize(
    "value", [None, [], [None, None], [5], [status("rooted")], [status(None)], [status(slot=True)], [{}]]
)
def test_statuses_that_cannot_be_read_are_no_answer(value: object) -> None:
    """As many as were asked for, each in known words."""
    with pytest.raises(RpcUnreachable, match="getSignatureStatuses"):
        run(sending.signature_statuses(URL, [NAME]), ScriptedNode(getSignatureStatuses=at(value)))
    with pytest.raises(UsageError):
        run(sending.signature_statuses(URL, [NAME] * 257), ScriptedNode())


def test_waiting_ends_when_it_is_confirmed_so_far_and_survives_a_busy_node() -> None:
    """A processed transaction may still vanish."""
    answers = (at([None]), RpcUnreachable("busy"), at([status("processed")]), at([status()]))
    node = ScriptedNode(getSignatureStatuses=answers)
    assert run(sending.await_status(URL, NAME), node).commitment == "confirmed"
    assert len(node.asked) == 4
    assert node.time == pytest.approx(1000 + 3 * sending.POLL_S)


def test_waiting_for_ever_ends_with_an_open_end() -> None:
    """Not with a refusal: it may land yet."""
    node = ScriptedNode(getSignatureStatuses=at([None]))
    with pytest.raises(RpcUnreachable, match="not confirmed within 3 s"):
        run(sending.await_status(URL, NAME, wait_s=3), node)


def test_an_accounts_transactions_are_told_newest_first() -> None:
    """Those between two that are known."""
    entry = {"signature": NAME, "slot": 5, "blockTime": None, "err": None, "memo": None}
    node = ScriptedNode(getSignaturesForAddress=[entry])
    found = run(sending.signatures_for_address(URL, KEY.address, limit=10, until=NAME), node)
    assert found == (sending.SignatureInfo(NAME, 5, None, None),)
    assert node.asked[0][1] == [KEY.address, {"limit": 10, "commitment": "confirmed", "until": NAME}]
    with pytest.raises(RpcUnreachable):
        run(
            sending.signatures_for_address(URL, KEY.address, limit=1), ScriptedNode(getSignaturesForAddress=[entry] * 2)
        )


# --- what it did ---------------------------------------------------------------------------------


def landed(raw: bytes = RAW, **changes: object) -> dict[str, object]:
    """A transaction as nodes tell it; changes are to its meta, and one to ... leaves a member out."""
    count = len(read_transaction(raw).accounts)
    amount = {"amount": "12", "decimals": 6, "uiAmount": 0.000012, "uiAmountString": "0.000012"}
    meta: dict[str, object] = {
        "err": None, "fee": 5000, "preBalances": [10] * count, "postBalances": [9] * count,
        "preTokenBalances": [], "postTokenBalances": [
            {"accountIndex": 1, "mint": OTHER.address, "owner": KEY.address, "programId": OTHER.address,
             "uiTokenAmount": amount}
        ],
        "logMessages": ["Program log: hi"], "loadedAddresses": {"writable": [], "readonly": []},
    }  # fmt: skip
    meta = {name: value for name, value in (meta | changes).items() if value is not ...}
    return {
        "slot": 5, "blockTime": 1_700_000_000, "version": 0, "transaction": [b64encode(raw).decode(), "base64"],
        "meta": meta,
    }  # fmt: skip


def test_a_landed_transaction_is_read_into_types() -> None:
    """The very bytes, the balances before and after, the logs."""
    found = run(sending.get_transaction(URL, NAME), ScriptedNode(getTransaction=landed()))
    assert found is not None
    assert found.transaction == TRANSACTION
    assert found.accounts == tuple(each.address for each in TRANSACTION.accounts)
    assert (found.slot, found.block_time_s, found.failure, found.fee_lamports) == (5, 1_700_000_000, None, 5000)
    assert (found.lamports_before[0], found.lamports_after[0], found.logs) == (10, 9, ("Program log: hi",))
    assert found.tokens_before == ()
    balance = sending.TokenBalance(found.accounts[1], OTHER.address, KEY.address, OTHER.address, 12, 6)
    assert found.tokens_after == (balance,)
    assert run(sending.get_transaction(URL, NAME), ScriptedNode(getTransaction=None)) is None


def test_accounts_of_tables_are_named_by_the_node_as_many_as_were_looked_up() -> None:
    """Their places in the list of balances depend on it."""
    message = (
        bytes((0x80, 1, 0, 1, 2)) + address_bytes(KEY.address) + address_bytes(OTHER.address)
        + address_bytes(BLOCKHASH) + bytes((1, 1, 2, 2, 3, 0)) + bytes((1,)) + address_bytes(BLOCKHASH)
        + bytes((1, 5, 1, 9))
    )  # fmt: skip
    raw = sign_partially(message, [KEY])
    name = read_transaction(raw).signature
    written, looked = OTHER.address[::1], BLOCKHASH
    changes = {"preBalances": [1] * 4, "postBalances": [1] * 4}
    loaded = {"writable": [written], "readonly": [looked]}
    answer = landed(raw, loadedAddresses=loaded, **changes)
    found = run(sending.get_transaction(URL, name), ScriptedNode(getTransaction=answer))
    assert found is not None
    assert found.accounts == (KEY.address, OTHER.address, written, looked)
    for wrong in ({"writable": [], "readonly": [looked]}, {"writable": [written], "readonly": []}, None, ...):
        answer = landed(raw, loadedAddresses=wrong, **changes)
        with pytest.raises(RpcUnreachable):
            run(sending.get_transaction(URL, name), ScriptedNode(getTransaction=answer))


def balance(**changes: object) -> list[dict[str, object]]:
    """One token balance, changed."""
    meta = landed()["meta"]
    assert isinstance(meta, dict)
    return [meta["postTokenBalances"][0] | changes]


@pytest.mark.parametrize(
    "changes",
    [
        {"err": 5}, {"fee": True}, {"fee": ...}, {"preBalances": [1]}, {"preBalances": None},
        {"postBalances": [1] * 99}, {"preTokenBalances": None}, {"postTokenBalances": balance(accountIndex=99)},
        {"postTokenBalances": balance(accountIndex=True)}, {"postTokenBalances": balance(mint=5)},
        {"postTokenBalances": balance(owner=5)}, {"postTokenBalances": balance(uiTokenAmount=None)},
        {"postTokenBalances": balance(uiTokenAmount={"amount": "-1", "decimals": 6})},
        {"postTokenBalances": balance(uiTokenAmount={"amount": 12, "decimals": 6})},
        {"postTokenBalances": balance(uiTokenAmount={"amount": str(2**64), "decimals": 6})},
        {"postTokenBalances": balance(uiTokenAmount={"amount": "1", "decimals": 256})},
        {"postTokenBalances": balance() * 2}, {"logMessages": [5]}, {"logMessages": "x"},
    ],
)  # fmt: skip
def test_effects_that_cannot_be_read_are_no_answer(changes: dict[str, Any]) -> None:
    """Least of all none."""
    with pytest.raises(RpcUnreachable, match="getTransaction"):
        run(sending.get_transaction(URL, NAME), ScriptedNode(getTransaction=landed(**changes)))


# --- trying out ----------------------------------------------------------------------------------


def test_a_trial_run_tells_failure_logs_units_and_accounts() -> None:
    """The accounts asked for, as they would be."""
    told = {"data": ["YWJj", "base64"], "executable": False, "lamports": 5, "owner": OTHER.address}
    value = {"err": PREFLIGHT["err"], "logs": ["a"], "unitsConsumed": 5, "accounts": [None, told]}
    node = ScriptedNode(simulateTransaction=at(value))
    found = run(sending.simulate(URL, RAW, watch=[KEY.address, OTHER.address]), node)
    expected = Account(OTHER.address, OTHER.address, 5, b"abc", False, 7)
    assert found == sending.Simulation(Failure("Custom", 1, 2003), ("a",), 5, (None, expected), 7)
    ((_, [_, config]),) = node.asked
    assert isinstance(config, dict)
    assert config["sigVerify"] is False
    assert config["accounts"] == {"encoding": "base64", "addresses": [KEY.address, OTHER.address]}


def test_a_good_trial_run_says_nothing_failed() -> None:
    """Logs and units may be missing on some nodes."""
    node = ScriptedNode(simulateTransaction=at({"err": None, "logs": None}))
    assert run(sending.simulate(URL, RAW, verify_signatures=True), node) == sending.Simulation(None, (), None, (), 7)


@pytest.mark.parametrize("value", [None, 5, {"err": True}, {"err": None, "accounts": []}, {"err": None, "logs": 5}])
def test_a_trial_run_that_cannot_be_read_is_no_answer(value: object) -> None:
    """Not taken for success."""
    with pytest.raises(RpcUnreachable, match="simulateTransaction"):
        run(sending.simulate(URL, RAW, watch=[KEY.address]), ScriptedNode(simulateTransaction=at(value)))
