"""What goes wrong with the local Solana chain on purpose, and the door it is spoken to through."""

from __future__ import annotations

import json
import socket
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from solders.keypair import Keypair
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from coinslot.devnet.solana import DEVNET
from coinslot.errors import PortTaken
from support.svm import SvmChain, post

pytestmark = pytest.mark.devnet

# A delayed acknowledgement costs 40 ms; a call takes a tenth of one.
STALL_S = 0.03
# Longer than a busy machine needs for a call that waits for nothing.
SLOW_S = 2.0


def payment(chain: SvmChain, lamports: int = 10**7) -> tuple[str, str, str]:
    """A signed transfer: its text, its signature, its receiver."""
    payer, to = chain.keypair(), Keypair().pubkey()
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=lamports))
    raw = chain.transaction([move], payer)
    return b64encode(raw).decode(), str(VersionedTransaction.from_bytes(raw).signatures[0]), str(to)


def test_an_answer_can_be_lost(svm: SvmChain) -> None:
    """The transaction lands, the connection is cut, and the next call is well again."""
    raw, signature, to = payment(svm)
    svm.faults.lose_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})
    assert svm.balance(to, "SOL") == 10**7
    assert post(svm.rpc_url, "getSignatureStatuses", [signature])["result"]["value"][0]["err"] is None


def test_a_transaction_can_be_forgotten(svm: SvmChain) -> None:
    """Its signature is answered, and it never lands; sent again, it does."""
    raw, signature, to = payment(svm)
    svm.faults.never_land()
    assert post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})["result"] == signature
    assert post(svm.rpc_url, "getSignatureStatuses", [signature])["result"]["value"] == [None]
    assert svm.balance(to, "SOL") == 0
    assert post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})["result"] == signature
    assert svm.balance(to, "SOL") == 10**7


def test_a_transaction_can_land_late(svm: SvmChain) -> None:
    """After so many slots, once; or never, if its blockhash is too old by then."""
    svm.timing(slot_ms=0)
    raw, signature, to = payment(svm)
    late, _, lost = payment(svm)
    svm.faults.land_late(3)
    assert post(svm.rpc_url, "svm_fault", "landLate", {"slots": 151})["result"] is True
    assert post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})["result"] == signature
    post(svm.rpc_url, "sendTransaction", late, {"encoding": "base64"})
    svm.running.advance_slots(2)
    assert svm.rpc("getSignatureStatuses", [signature])["value"] == [None]
    svm.running.advance_slots(1)
    assert svm.rpc("getSignatureStatuses", [signature])["value"][0]["err"] is None
    svm.running.advance_slots(200)
    assert [svm.balance(each, "SOL") for each in (to, lost)] == [10**7, 0]


def test_what_was_under_way_lands_though_nobody_looked(svm: SvmChain) -> None:
    """It was in time, whenever that is noticed; unless every blockhash expired before."""
    svm.timing(slot_ms=0)
    svm.faults.land_late(3, count=2)
    raw, _, to = payment(svm)
    post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})
    svm.running.advance_slots(500)
    raw, _, lost = payment(svm)
    post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})
    svm.running.expire_blockhashes()
    svm.running.advance_slots(3)
    assert [svm.balance(each, "SOL") for each in (to, lost)] == [10**7, 0]


def test_what_was_sent_again_meanwhile_lands_once(svm: SvmChain) -> None:
    """The one under way is late for its own party, however late that is noticed."""
    svm.timing(slot_ms=0)
    svm.faults.land_late(3)
    raw, _, to = payment(svm)
    for _ in range(2):
        post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})
    svm.running.advance_slots(500)
    assert svm.balance(to, "SOL") == 10**7


def test_every_blockhash_can_expire(svm: SvmChain) -> None:
    """What was signed before is refused; a fresh blockhash is good."""
    raw, _, _ = payment(svm)
    svm.running.expire_blockhashes()
    error = post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})["error"]
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    raw, signature, _ = payment(svm)
    assert post(svm.rpc_url, "sendTransaction", raw, {"encoding": "base64"})["result"] == signature


def test_calls_of_a_method_can_fail(svm: SvmChain) -> None:
    """As often as was said, with the error that was said; other methods are well."""
    svm.faults.refuse("getSlot", code=-32005, message="Node is behind", data={"numSlotsBehind": 42}, count=2)
    for _ in range(2):
        error = post(svm.rpc_url, "getSlot")["error"]
        assert error == {"code": -32005, "message": "Node is behind", "data": {"numSlotsBehind": 42}}
        assert "result" in post(svm.rpc_url, "getBlockHeight")
    assert "result" in post(svm.rpc_url, "getSlot")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_calls_can_fail_in_http(svm: SvmChain, status: int) -> None:
    """Any method, with this status; the call was not carried out."""
    raw, signature, _ = payment(svm)
    svm.faults.http(status=status)
    body = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": [raw, {"encoding": "base64"}]}
    with httpx.Client() as client:
        assert client.post(svm.rpc_url, json=body).status_code == status
        assert svm.rpc("getSignatureStatuses", [signature])["value"] == [None]
        assert client.post(svm.rpc_url, json=body).json()["result"] == signature


def test_answers_can_be_slow_and_hold_nobody_up(svm: SvmChain) -> None:
    """Only the call that was meant waits."""
    svm.faults.slow("getSlot", seconds=SLOW_S)
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        slow = pool.submit(post, svm.rpc_url, "getSlot")
        post(svm.rpc_url, "getHealth")
        assert not slow.done()
        slow.result()
        assert time.monotonic() - began >= SLOW_S


def test_faults_can_be_asked_for_over_the_wire(svm: SvmChain) -> None:
    """The same faults, for programs of any language; asking is never spoilt itself."""
    url = svm.rpc_url
    assert post(url, "svm_fault", "http", {"status": 429, "count": 5})["result"] is True
    assert post(url, "svm_fault", "refuse", {"method": "getHealth", "code": -1, "message": "no", "count": 3})["result"]
    assert post(url, "getHealth")["error"] == {"code": -1, "message": "no"}
    assert post(url, "svm_clearFaults")["result"] is True
    assert post(url, "getHealth")["result"] == "ok"
    post(url, "svm_fault", "loseAnswer", {"method": "getHealth"})
    with pytest.raises(httpx.RemoteProtocolError):
        post(url, "getHealth")
    post(url, "svm_fault", "neverLand")
    raw, signature, _ = payment(svm)
    assert post(url, "sendTransaction", raw, {"encoding": "base64"})["result"] == signature
    assert post(url, "getSignatureStatuses", [signature])["result"]["value"] == [None]
    post(url, "svm_fault", "slow", {"delayMs": 1})
    assert post(url, "svm_setTiming", {"confirmMs": 400})["result"] == {"slotMs": 400, "confirmMs": 400}
    old = svm.blockhash()
    post(url, "svm_expireBlockhashes")
    assert svm.rpc("isBlockhashValid", old)["value"] is False


# --- the door ------------------------------------------------------------------------------------


def test_a_batch_is_answered_in_order(svm: SvmChain) -> None:
    """One answer per call, errors among them; an empty batch and no JSON are refused."""
    calls = [{"jsonrpc": "2.0", "id": each, "method": name} for each, name in enumerate(("getHealth", "no", "getSlot"))]
    answers = httpx.post(svm.rpc_url, json=[*calls, 5], headers={"connection": "close"}).json()
    assert [each["id"] for each in answers] == [0, 1, 2, None]
    assert (answers[0]["result"], answers[1]["error"]["code"], answers[3]["error"]["code"]) == ("ok", -32601, -32600)
    with httpx.Client() as client:
        assert client.post(svm.rpc_url, content=b"[]").json()["error"]["code"] == -32600
        assert client.post(svm.rpc_url, content=b"{").json()["error"]["code"] == -32700
        assert client.get(svm.rpc_url).status_code == 405


def test_a_body_without_end_is_refused(svm: SvmChain) -> None:
    """By its length alone, before it is read."""
    host, port = svm.rpc_url[7:].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_answers_come_in_one_piece_and_at_once(svm: SvmChain) -> None:
    """Over a kept connection no call waits for a delayed acknowledgement, also not after the first, quick ones."""
    host, port = svm.rpc_url[7:].split(":")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getSlot"}).encode()
    times = []
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(50):
            began = time.monotonic()
            connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert connection.recv(65536).endswith(b"}")  # head and body at once
            times.append(time.monotonic() - began)
    assert min(times[25:]) < STALL_S


def test_fifty_clients_pay_at_once(svm: SvmChain) -> None:
    """Each payment lands once, each client gets its own answer."""
    payments = [payment(svm) for _ in range(50)]

    def pay(each: tuple[str, str, str]) -> str:
        return str(post(svm.rpc_url, "sendTransaction", each[0], {"encoding": "base64"})["result"])

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(pay, payments)) == [signature for _, signature, _ in payments]
    assert [svm.balance(to, "SOL") for _, _, to in payments] == [10**7] * 50


def test_a_taken_port_is_a_named_error(svm: SvmChain) -> None:
    """Nothing is started beside what listens there."""
    with pytest.raises(PortTaken, match="Nothing was started"):
        DEVNET.start(port=int(svm.rpc_url.rpartition(":")[2]))


def test_one_signature_at_two_places_is_no_way_in(svm: SvmChain) -> None:
    """As many signatures as the message asks for: no more."""
    raw, _, _ = payment(svm)
    good = VersionedTransaction.from_bytes(b64decode(raw))
    more = VersionedTransaction.populate(good.message, [*good.signatures, Signature.default()])
    answer = post(svm.rpc_url, "sendTransaction", b64encode(bytes(more)).decode(), {"encoding": "base64"})
    assert answer["error"]["code"] == -32602
