"""`coinslot fetch` from channels on Solana whose vouchers the server signs: nothing is signed for a request there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinslot.cli.main import main
from support.solanasession import COST, client_of, owner_of, secret, shop
from support.svm import SvmChain

SERVER_SIGNS = {"voucher_signer": "operator", "suggested_deposit": "0.005"}


@pytest.fixture
def flags(svm: SvmChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a purse that trusts servers with a hundredth."""
    monkeypatch.setenv("COINSLOT_PRIVATE_KEY", secret(client_of(svm)))
    chain = ["--method", "solana", "--rpc-url", svm.rpc_url, "--network", "localnet"]
    return [
        *chain,
        "--operator-deposit",
        "0.01",
        "--session",
        "--max-deposit",
        "0.01",
        "--book",
        str(tmp_path / "book.sqlite"),
    ]


def test_a_channel_of_an_earlier_command_is_told_of_and_closed(
    svm: SvmChain, flags: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each command says what it spent; --close closes, also where this command signed nothing."""
    with shop(svm, owner_of(svm), **SERVER_SIGNS) as url:
        assert main(["fetch", f"{url}/1", "-v", *flags]) == 0
        assert "* spent 0.001 USDC of 0.005 USDC authorized" in capfd.readouterr().err
        assert main(["fetch", f"{url}/2", "-v", *flags]) == 0
        assert "* spent 0.001 USDC of a deposit of 0.005 USDC" in capfd.readouterr().err
        assert main(["fetch", f"{url}/3", "--close", "--json", *flags]) == 0
    told = json.loads(capfd.readouterr().out)["session"]
    assert (told["spent_units"], told["authorized_units"], told["closed"]) == (str(COST), "0", True)
