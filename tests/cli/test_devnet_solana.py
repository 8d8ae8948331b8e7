"""`coinslot devnet --solana` as a program: what it prints, that it answers, and that it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from solders.keypair import Keypair

from support.svm import SvmChain, post

pytestmark = pytest.mark.devnet

COMMAND = [sys.executable, "-m", "coinslot.cli.main", "devnet"]


def coinslot(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def started(*arguments: str) -> subprocess.Popen[str]:
    """A devnet that is starting."""
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("named", [["--solana"], ["--chain", "solana"]])
def test_it_runs_in_the_foreground_until_told_to_stop(named: list[str]) -> None:
    """One line of JSON, a chain behind it, and a polite end."""
    with started(*named, "--port", "0", "--slot-ms", "0", "--confirm-ms", "7", "--json") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert set(told) == {"rpc_url", "network", "genesis_hash", "channel_program", "accounts", "tokens"}
        assert next(iter(told["tokens"])) == "USDC"
        assert (
            str(Keypair.from_base58_string(told["accounts"][0]["private_key"]).pubkey())
            == told["accounts"][0]["address"]
        )
        assert post(told["rpc_url"], "getGenesisHash")["result"] == told["genesis_hash"]
        assert post(told["rpc_url"], "svm_setTiming", {})["result"] == {"slotMs": 0, "confirmMs": 7}
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
        assert (process.returncode, rest, errors) == (0, "", "")


def test_its_state_is_kept_over_a_restart(tmp_path: Path) -> None:
    """Whoever stops it politely finds it as it was."""
    names = []
    for _ in range(2):
        with started("--solana", "--port", "0", "--state-dir", str(tmp_path), "--json") as process:
            assert process.stdout is not None
            names.append(json.loads(process.stdout.readline())["genesis_hash"])
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    assert names[0] == names[1]


def test_people_see_what_to_do_next() -> None:
    """The commands that come next name the chain and its network; address and key stand on one line."""
    with started("--solana", "--port", "0") as process:
        assert process.stdout is not None
        assert "Local solana chain ready" in process.stdout.readline()
        process.terminate()
        text = process.stdout.read()
    assert (
        "732JzHnrLUDiAawYsPYCiDxzCC8FKNBXDQeRtQecqkTy 3Gq3uJB5qEDrJTAkFukyCXVfjUbTTh2NoL6mdCvRgt7UE7FvpUCY7zgB23b"
        in text
    )
    assert "coinslot devnet fund YOUR_ADDRESS --chain solana --rpc-url http://127.0.0.1:" in text
    assert text.count(" --network localnet") == 2


@pytest.mark.parametrize(
    ("token", "amount", "units", "balance"),
    [
        ("usdc", "2.5", "2500000", "2.5"),
        ("PYUSD", "1", "1000000", "1"),
        ("sol", "1.000000001", "1000000001", "1.000000001"),
    ],
)
def test_funding_prints_signature_and_balance(
    shared_svm: SvmChain, token: str, amount: str, units: str, balance: str
) -> None:
    """By symbol, the chain's own money too."""
    address = str(Keypair().pubkey())
    told = json.loads(
        coinslot(
            "fund", "--solana", address, "--token", token, "--amount", amount, "--rpc-url", shared_svm.rpc_url, "--json"
        ).stdout
    )
    assert (told["amount_units"], told["balance"], told["symbol"]) == (units, balance, token.upper())
    assert shared_svm.balance(address, token) == int(units)
    assert shared_svm.rpc("getSignatureStatuses", [told["transaction"]])["value"][0]["err"] is None


def test_the_help_names_every_chain_and_its_options() -> None:
    """So that nobody has to know which option belongs where."""
    text = " ".join(coinslot("--help").stdout.replace("│", " ").split())
    for words in (
        "--solana",
        "--tempo",
        "--slot-ms",
        "--confirm-ms",
        "--chain-id",
        "tempo: 8545, solana: 8899",
        "svm_fault",
    ):
        assert words in text
    assert "Short for --chain solana." in text


def test_it_listens_where_clients_expect_it() -> None:
    """On port 8899 of loopback, unless told otherwise; a taken port is named."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8899))
        except OSError:
            pytest.skip("not applicable: something else listens on 8899")
        taken.listen()
        done = coinslot("--solana", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "8899" in json.loads(done.stderr)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--solana", "--port", "70000"], 2),
        (["--solana", "--chain-id", "1"], 2),
        (["--solana", "--tempo"], 2),
        (["--solana", "--slot-ms", "-1"], 2),
        (["--slot-ms", "100"], 2),
        (["fund", "--solana", "0x12"], 2),
        (["fund", "--solana", "11111111111111111111111111111111", "--amount", "0"], 2),
        (["fund", "--solana", "11111111111111111111111111111111", "--rpc-url", "http://127.0.0.1:1"], 3),
    ],
)
def test_bad_input_is_one_paragraph_and_an_exit_code(shared_svm: SvmChain, arguments: list[str], code: int) -> None:
    """No traceback, nothing on standard output."""
    if arguments[0] == "fund" and "--rpc-url" not in arguments:
        arguments = [*arguments, "--rpc-url", shared_svm.rpc_url]
    done = coinslot(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_a_token_that_is_none_is_named(shared_svm: SvmChain) -> None:
    """With those that there are."""
    done = coinslot("fund", "--solana", str(Keypair().pubkey()), "--token", "EUR", "--rpc-url", shared_svm.rpc_url)
    assert done.returncode == 2
    assert "known: USDC, USDT, PYUSD" in done.stderr
