"""`coinslot devnet` as a program: what it prints, how it ends, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.devnet import Chain

pytestmark = pytest.mark.devnet

COMMAND = [sys.executable, "-m", "coinslot.cli.main", "devnet"]
# It is ready in a quarter of a second; a busy machine may need many times that.
READY_S = 30.0


def coinslot(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], bytes]]:
    """A devnet that printed its first line."""
    process = subprocess.Popen([*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], READY_S)[0], "not ready in time"
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def descendants(pid: int) -> list[int]:
    """Every process below this one."""
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in status.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def ended(pid: int) -> bool:
    """Whether a process has ended; an orphan may wait a while to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def gone(pids: list[int], within_s: float) -> bool:
    """Whether all of these processes end in time."""
    until = time.monotonic() + within_s
    while not all(ended(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="not applicable: no /proc on this system")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_it(number: signal.Signals) -> None:
    """A polite end is a success, and even a killed devnet takes its node along."""
    with running("--json") as (process, _):
        children = descendants(process.pid)
        assert len(children) >= 2
        process.send_signal(number)
        code = process.wait(60)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        assert gone(children, 60)


@needs_proc
def test_a_node_that_dies_ends_it_with_an_error() -> None:
    """Nobody is left waiting at a door without a chain behind it."""
    with running("--json") as (process, _):
        os.kill(descendants(process.pid)[-1], signal.SIGKILL)
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert json.loads(process.stderr.read())["error"]["code"] == "devnet-error"


def test_json_is_one_line_and_nothing_more() -> None:
    """The line tells where the chain is and who has money on it, the chain answers there, and no more is printed."""
    with running("--json", "--chain-id", "4217") as (process, line):
        told = json.loads(line)
        assert set(told) == {"rpc_url", "chain_id", "accounts", "tokens"}
        assert [set(each) for each in told["accounts"]] == [{"address", "private_key"}] * 10
        assert next(iter(told["tokens"])) == "PathUSD"
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        answer = httpx.post(told["rpc_url"], json=call, headers={"connection": "close"})
        assert answer.json()["result"] == hex(told["chain_id"]) == hex(4217)
        process.terminate()
        rest, errors = process.communicate(timeout=60)
        assert (rest, errors) == (b"", b"")


def test_people_see_whole_keys_and_what_to_do_next() -> None:
    """Address and key stand unbroken on one line, to be copied."""
    with running() as (process, first):
        assert b"ready" in first
        process.terminate()
        assert process.stdout is not None
        text = process.stdout.read().decode()
    key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    assert f"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 {key}" in text
    assert "coinslot devnet fund" in text


def test_a_taken_port_is_named_and_nothing_is_started(devnet: Chain) -> None:
    """The error says which port, in JSON where JSON was asked for."""
    port = devnet.rpc_url.rpartition(":")[2]
    done = coinslot("--port", port, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "port-taken"
    assert port in error["message"]


def test_funding_prints_hash_and_balance(devnet: Chain) -> None:
    """Somebody else's address holds the amount afterwards."""
    address = "0x" + os.urandom(20).hex()
    done = coinslot("fund", address, "--amount", "2.5", "--token", "betausd", "--rpc-url", devnet.rpc_url, "--json")
    told = json.loads(done.stdout)
    assert (told["amount_units"], told["balance"], told["symbol"]) == ("2500000", "2.5", "BetaUSD")
    assert devnet.balance_of("BetaUSD", address) == 2_500_000
    receipt = devnet.rpc("eth_getTransactionReceipt", told["transaction"])
    assert isinstance(receipt, dict)
    again = coinslot("fund", address, "--rpc-url", devnet.rpc_url)
    assert "100 PathUSD" in again.stdout
    assert again.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--port", "70000"], 2),
        (["--port", "x"], 2),
        (["--block-time", "0"], 2),
        (["--chain", "nowhere"], 2),
        (["fund", "0x12"], 2),
        (["fund", "0x" + "1" * 40, "--amount", "1e5"], 2),
        (["fund", "0x" + "1" * 40, "--amount", "0"], 2),
        (["fund", "0x" + "1" * 40, "--token", "EUR"], 2),
        (["fund", "0x" + "1" * 40, "--rpc-url", "http://127.0.0.1:1"], 3),
        (["fund", "0x" + "1" * 40, "--rpc-url", "nonsense"], 3),
    ],
)
def test_bad_input_is_one_paragraph_and_an_exit_code(arguments: list[str], code: int) -> None:
    """No traceback, nothing on standard output."""
    done = coinslot(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The error names the folder."""
    folder = tmp_path / "file"
    folder.write_text("")
    done = coinslot("--port", "0", "--state-dir", str(folder))
    assert done.returncode == 2
    assert str(folder) in done.stderr
