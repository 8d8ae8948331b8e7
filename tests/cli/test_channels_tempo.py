"""`coinslot channels` on a local Tempo chain of its own: the seller is gone, time passes, the deposit comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.cli.main import main
from coinslot.devnet.protocol import RunningDevnet, find_devnet
from coinslot.services.config import from_table
from coinslot.services.gate import GateService
from support.upstream import Upstream, serving

pytestmark = pytest.mark.devnet
SELLER, BUYER = 0, 1
GRACE_S = 16 * 60


@pytest.fixture
def chain() -> Iterator[RunningDevnet]:
    """A chain whose clock nobody else looks at."""
    with closing(find_devnet("tempo").start()) as running:
        yield running


@pytest.fixture(autouse=True)
def home(chain: RunningDevnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The buyer's home and settings."""
    for name in [name for name in os.environ if name.startswith("COINSLOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COINSLOT_RPC_URL", chain.rpc_url)
    monkeypatch.setenv("COINSLOT_PRIVATE_KEY", chain.accounts[BUYER].private_key)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def gate(chain: RunningDevnet, api: str, protocol: str) -> GateService:
    """A gate that sells for a cent, also from sessions."""
    seller = chain.accounts[SELLER]
    accept = {
        "method": "tempo",
        "rpc_url": chain.rpc_url,
        "recipient": seller.address,
        "session_key": seller.private_key,
        "session_protocols": [protocol],
    }
    table = {"upstream": api, "prices": {"GET /paid": "0.01"}, "accept": [accept], "store": "memory:"}
    return GateService(from_table(table, "test"))


def advance(chain: RunningDevnet, seconds: int) -> None:
    """Let the chain's clock run ahead."""
    for method, given in (("evm_increaseTime", [seconds]), ("evm_mine", [])):
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
        assert "error" not in httpx.post(chain.rpc_url, json=asked).json()


@pytest.mark.parametrize("protocol", ["v2", "v1"])
def test_a_deposit_comes_back_from_a_seller_who_is_gone(
    chain: RunningDevnet, capfd: pytest.CaptureFixture[str], protocol: str, home: Path
) -> None:
    """Nobody settles, so all of it does; what the chain shows of a lost book's channel is found meanwhile."""

    def told(*arguments: str) -> Any:
        capfd.readouterr()
        method = [] if arguments[0] == "list" else ["--method", "tempo"]
        assert main(["channels", *arguments, *method, "--json"]) == 0
        return json.loads(capfd.readouterr().out)

    with Upstream() as api, serving(gate(chain, api.url, protocol)) as url:
        assert main(["fetch", f"{url}/paid", "--max-deposit", "0.2", "--method", "tempo"]) == 0
    (held,) = told("list")
    lost = told("sync", "--book", str(home / "another.sqlite"))
    assert [one["channel_id"] for one in lost["found"]] == [held["channel_id"]]

    (closing_,) = told("close", held["channel_id"], "--no-wait", "--yes")
    assert (closing_["closed_by"], closing_["standing"]) == ("waiting", "closing")
    assert told("withdraw", "--all")[0]["closed_by"] == "waiting"
    advance(chain, GRACE_S)
    (done,) = told("withdraw", "--all")
    assert (done["closed_by"], done["standing"]) == ("chain", "closed")
    assert done["returned_units"] == held["deposit_units"]
    assert told("list") == []
