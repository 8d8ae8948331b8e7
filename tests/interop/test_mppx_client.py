"""mppx 0.11 pays our gate: every kind of charge, from its library and from its command."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from support.gates import DOLLAR, Purse, Shop
from support.peers import Peer, mppx_home

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop")]

CENT = DOLLAR // 100
COMMAND_S = 60


def pays(mppx: Peer, purse: Purse, url: str, **more: object) -> dict[str, object]:
    """One request by mppx's client, with a fresh account unless told otherwise."""
    more.setdefault("key", purse.key())
    answer = mppx.call("pay", url=url, rpcUrl=purse.chain.rpc_url, **more)
    assert isinstance(answer, dict)
    return answer


def test_its_client_pays_for_a_get(mppx: Peer, gate: Shop, purse: Purse) -> None:
    """A pulled charge: the price arrives, the content comes back, the receipt names the transaction."""
    before = gate.received()
    answer = pays(mppx, purse, f"{gate.url}/paid")
    assert answer["status"] == 200
    assert gate.received() - before == CENT
    receipt = answer["receipt"]
    assert isinstance(receipt, dict)
    assert (receipt["method"], receipt["status"]) == ("tempo", "success")
    mined = purse.chain.rpc("eth_getTransactionReceipt", receipt["reference"])
    assert isinstance(mined, dict)
    assert mined["status"] == "0x1"


def test_its_client_pays_for_a_post_with_a_body(mppx: Peer, gate: Shop, purse: Purse) -> None:
    """The body is bound to the payment and arrives whole, once."""
    body = json.dumps({"question": "how much is the fish? ünïcode"})
    answer = pays(mppx, purse, f"{gate.url}/echo", method="POST", body=body)
    assert answer["status"] == 200
    assert json.loads(str(answer["body"]))["body"] == body


def test_its_client_pays_for_a_path_with_a_query(mppx: Peer, gate: Shop, purse: Purse) -> None:
    """Path and query are bound as sent."""
    answer = pays(mppx, purse, f"{gate.url}/items/a%20b?x=1&y=%C3%A9")
    assert answer["status"] == 200
    assert json.loads(str(answer["body"]))["path"] == "/items/a%20b?x=1&y=%C3%A9"


def test_its_client_pushes(mppx: Peer, gate: Shop, purse: Purse) -> None:
    """It broadcasts by itself and shows the hash."""
    before = gate.received()
    answer = pays(mppx, purse, f"{gate.url}/paid", mode="push")
    assert answer["status"] == 200
    assert gate.received() - before == CENT


def test_its_client_proves_itself_for_nothing(mppx: Peer, gate: Shop, purse: Purse) -> None:
    """A price of zero takes a version 3 proof from an account that holds nothing."""
    answer = pays(mppx, purse, f"{gate.url}/zero", key=purse.key(0))
    assert answer["status"] == 200
    receipt = answer["receipt"]
    assert isinstance(receipt, dict)
    assert receipt["status"] == "success"


@pytest.mark.parametrize("mode", ["pull", "push"])
def test_its_client_pays_splits(mppx: Peer, gate: Shop, purse: Purse, mode: str) -> None:
    """Everybody gets exactly their share."""
    before = [gate.received(who) for who in (gate.recipient, *gate.split)]
    assert pays(mppx, purse, f"{gate.url}/split", mode=mode)["status"] == 200
    after = [gate.received(who) for who in (gate.recipient, *gate.split)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]


def test_its_client_is_sponsored(mppx: Peer, sponsored_gate: tuple[Shop, str], purse: Purse) -> None:
    """Our gate pays the fee: the payer spends the price and nothing more."""
    gate, sponsor = sponsored_gate
    key = purse.key(1)
    account = mppx.call("address", key=key)
    before = gate.received(sponsor)
    assert pays(mppx, purse, f"{gate.url}/paid", key=key)["status"] == 200
    assert gate.received(account) == DOLLAR - CENT
    assert 0 < before - gate.received(sponsor) < DOLLAR // 10


def test_its_client_pays_each_request_anew(mppx: Peer, gate: Shop, purse: Purse) -> None:
    """Two requests of one client are two payments."""
    before = gate.received()
    answer = pays(mppx, purse, f"{gate.url}/paid", times=2)
    answers = answer["answers"]
    assert isinstance(answers, list)
    assert [one["status"] for one in answers] == [200, 200]
    assert answers[0]["receipt"]["reference"] != answers[1]["receipt"]["reference"]
    assert gate.received() - before == 2 * CENT


def command(purse: Purse, *arguments: str, redirected: bool = False) -> subprocess.CompletedProcess[str]:
    """The `mppx` command with a fresh account."""
    place = mppx_home()
    env = {**os.environ, "MPPX_PRIVATE_KEY": purse.key(), "NO_COLOR": "1", "HOME": str(place / "home")}
    env["PEER_RPC_URL"] = purse.chain.rpc_url
    node = ["node", "--import", "./redirect.mjs"] if redirected else ["node"]
    return subprocess.run(
        [*node, "node_modules/mppx/dist/bin.js", *arguments],
        cwd=place, env=env, capture_output=True, text=True, timeout=COMMAND_S, check=False,
    )  # fmt: skip


def test_its_command_pays(gate: Shop, purse: Purse) -> None:
    """`mppx URL --rpc-url ...` prints what was paid for."""
    before = gate.received()
    done = command(purse, f"{gate.url}/paid", "--rpc-url", purse.chain.rpc_url, "-s")
    assert done.returncode == 0, done.stderr + done.stdout
    assert '"path"' in done.stdout
    assert gate.received() - before == CENT


def test_its_validator_finds_no_fault(gate: Shop, purse: Purse) -> None:
    """`mppx validate` on a route: discovery, challenge, error handling, payment and receipt, none of them failed."""
    done = command(purse, "validate", gate.url, "--endpoint", "GET:/paid", "--yes", "--output-json", redirected=True)
    found = json.loads(done.stdout)
    assert found["summary"]["failed"] == 0, json.dumps(found, indent=1)
    assert found["discovery"]["found"] is True
    assert found["summary"]["passed"] >= 20


def test_its_reader_of_discovery_finds_no_fault(gate: Shop, purse: Purse) -> None:
    """`mppx discover validate` on our document: no error and no warning."""
    done = command(purse, "discover", "validate", f"{gate.url}/openapi.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Discovery document is valid." in done.stdout
