"""`coinslot fetch` from a channel, and `coinslot channels`: what is locked, and how it comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coinslot.cli.main import main
from support.toybank import Bank
from support.upstream import Call, Gated, Reply, Upstream, gate_for

Output = pytest.CaptureFixture[bytes]
FUNDS = 5_000_000
GRACE_S = 900.0
TESTS = str(Path(__file__).resolve().parent.parent)


@pytest.fixture
def gate(bank: Bank) -> Iterator[Gated]:
    """A gate with a route per request, one that takes charges only, and a stream."""

    def answer(call: Call) -> Reply:
        if call.target == "/chat":
            return 200, {"Content-Type": "text/event-stream"}, b"data: one\n\ndata: two\n\ndata: three\n\n"
        return 200, {}, f"you asked for {call.target}".encode()

    prices: dict[str, Any] = {
        "GET /paid/*": "0.01",
        "GET /charge": {"amount": "0.01", "intents": ["charge"]},
        "GET /session": {"amount": "0.01", "intents": ["session"]},
        "POST /chat": {"amount": "0.001", "per": "event", "unit": "token"},
    }
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True}]
    with Upstream(answer) as api, gate_for(api, prices, bank, accept=accept) as gated:
        yield gated


def fetched(gate: Gated, key: list[str], path: str, *more: str) -> int:
    """A fetch from a channel of a quarter."""
    return main(["fetch", gate.url + path, "--session", "--max-deposit", "0.25", *more, *key])


def gone(gate: Gated) -> None:
    """Its seller is no more: nobody sees that a payer leaves, and closes the channel first."""
    settling = gate.gate.slot.settling
    assert settling is not None
    settling.stop()
    assert settling.join(60)


def listed(output: Output, *more: str) -> list[dict[str, Any]]:
    """The book's channels."""
    output.readouterr()
    assert main(["channels", "list", "--json", *more]) == 0
    found: list[dict[str, Any]] = json.loads(output.readouterr().out)
    return found


def test_one_channel_pays_many_fetches(gate: Gated, key: list[str], bank: Bank, capfdbinary: Output) -> None:
    """Opened by the first, used again by the next program; its deposit is what was allowed."""
    for number in range(3):
        assert fetched(gate, key, f"/paid/{number}") == 0
        assert capfdbinary.readouterr().out == f"you asked for /paid/{number}".encode()
    (held,) = listed(capfdbinary)
    assert (held["standing"], held["deposit_units"]) == ("open", "250000")
    assert (held["signed_units"], held["spent_units"]) == ("30000", "30000")
    assert bank.balance("alice") == FUNDS - 250_000


def test_a_stream_is_paid_while_it_is_read_and_its_cost_is_told(
    gate: Gated, key: list[str], bank: Bank, capfdbinary: Output
) -> None:
    """The body on standard output; with -v the sum on standard error; --close brings the rest back."""
    assert fetched(gate, key, "/chat", "-d", "{}", "-v", "--close") == 0
    told = capfdbinary.readouterr()
    assert told.out == b"data: one\n\ndata: two\n\ndata: three\n\n"
    assert b"spent 0.003 COIN of" in told.err
    assert b"is closed" in told.err
    assert (bank.balance("alice"), bank.balance("shop")) == (FUNDS - 3_000, 3_000)
    assert listed(capfdbinary) == []
    assert [one["standing"] for one in listed(capfdbinary, "--all")] == ["closed"]


def test_programs_hear_events_and_the_sum(gate: Gated, key: list[str], capfdbinary: Output) -> None:
    """--json: a line for each event on standard error, one line on standard output."""
    assert fetched(gate, key, "/chat", "-d", "{}", "--json", "--close") == 0
    told = capfdbinary.readouterr()
    events = [json.loads(line) for line in told.err.decode().splitlines()]
    assert {one["event"] for one in events} == {"opened", "authorized", "metered", "closed"}
    assert [one["event"] for one in events[-2:]] == ["metered", "closed"]
    assert [one["deposit_units"] for one in events if one["event"] == "opened"] == ["250000"]
    answer = json.loads(told.out)
    assert answer["session"]["closed"] is True
    assert (answer["session"]["spent_units"], answer["body"].count("data:")) == ("3000", 3)


@pytest.mark.parametrize(
    ("path", "given", "code"),
    [
        ("/session", [], 4),
        ("/session", ["--session"], 0),
        ("/session", ["--intent", "session"], 0),
        ("/session", ["--intent", "charge"], 4),
        ("/charge", ["--intent", "session"], 4),
        ("/charge", ["--session"], 0),
        ("/paid/x", ["--intent", "charge"], 0),
        ("/paid/x", ["--intent", "charge", "--close"], 2),
        ("/paid/x", ["--intent", "gift"], 2),
        ("/paid/x", ["--max-deposit", "0.001"], 0),
        ("/session", ["--max-deposit", "0.001"], 4),
        ("/session", ["--max-window", "0", "--session"], 2),
    ],
)
def test_how_it_may_be_paid_is_the_buyers_choice(
    gate: Gated, key: list[str], bank: Bank, path: str, given: list[str], code: int
) -> None:
    """No channel is opened where none was allowed, and no charge paid where only a channel was."""
    assert main(["fetch", gate.url + path, *given, *key]) == code
    opened = FUNDS - bank.balance("alice") > 10_000
    assert opened == (code == 0 and ("session" in path or "--session" in given) and path != "/charge")


def test_a_refusal_says_that_a_channel_would_do(gate: Gated, key: list[str], capfdbinary: Output) -> None:
    """For who does not know of --session."""
    assert main(["fetch", gate.url + "/session", *key]) == 4
    assert b"--session" in capfdbinary.readouterr().err


def test_show_tells_everything_but_the_vouchers(gate: Gated, key: list[str], capfdbinary: Output) -> None:
    """By the beginning of the id, too."""
    assert fetched(gate, key, "/paid/x") == 0
    (held,) = listed(capfdbinary)
    assert main(["channels", "show", held["channel_id"][:10]]) == 0
    page = capfdbinary.readouterr().out.decode()
    assert f"at           {gate.url}" in page
    assert "0.01 COIN, by the server's last word" in page
    assert "0.24 COIN, if it were closed now" in page
    assert main(["channels", "show", held["channel_id"], "--json"]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert told == held
    assert not {"voucher", "state", "opening"} & set(told)


def test_the_seller_closes_it_at_once(gate: Gated, key: list[str], bank: Bank, capfdbinary: Output) -> None:
    """Asked where it says that it sells; the rest is back."""
    assert fetched(gate, key, "/paid/x") == 0
    capfdbinary.readouterr()
    assert main(["channels", "close", "--all", "--json", *key]) == 0
    (told,) = json.loads(capfdbinary.readouterr().out)
    assert (told["closed_by"], told["standing"], told["spent_units"]) == ("server", "closed", "10000")
    assert (bank.balance("alice"), bank.balance("shop")) == (FUNDS - 10_000, 10_000)


def test_without_the_seller_the_chain_gives_it_back_after_a_while(
    key: list[str], bank: Bank, capfdbinary: Output, gate: Gated
) -> None:
    """Asked, waited for, withdrawn: in three commands, each of which may be repeated."""
    bank.set_grace(GRACE_S)
    assert fetched(gate, key, "/paid/x") == 0
    gone(gate)
    (held,) = listed(capfdbinary)
    name = held["channel_id"]
    for _ in range(2):
        assert main(["channels", "close", name, "--no-server", "--no-wait", "--json", *key]) == 0
        (told,) = json.loads(capfdbinary.readouterr().out)
        assert (told["closed_by"], told["standing"]) == ("waiting", "closing")
    assert main(["channels", "withdraw", name, *key]) == 0
    assert b"get the rest with: coinslot channels withdraw" in capfdbinary.readouterr().out
    before = bank.balance("alice")
    bank.advance(GRACE_S + 120)
    for _ in range(2):
        assert main(["channels", "withdraw", name, "--wait", "--json", *key]) == 0
        (told,) = json.loads(capfdbinary.readouterr().out)
        assert (told["closed_by"], told["standing"]) == ("chain", "closed")
    assert bank.balance("alice") > before


# Whoever started these tests in the background made them, and all that they start, deaf to Ctrl-C.
HEARING = """
import signal, sys
from coinslot.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def test_the_wait_may_be_interrupted_and_taken_up_again(
    gate: Gated, key: list[str], bank: Bank, capfdbinary: Output
) -> None:
    """A real process: told what it waits for, Ctrl-C ends it with 130, and `withdraw` goes on."""
    bank.set_grace(GRACE_S)
    assert fetched(gate, key, "/paid/x") == 0
    gone(gate)
    (held,) = listed(capfdbinary)
    command = [sys.executable, "-c", HEARING, "channels", "close", held["channel_id"], "--no-server", *key]
    environment = {**os.environ, "PYTHONPATH": TESTS}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment)
    assert process.stderr is not None
    assert "Ctrl-C is safe" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    process.stderr.close()
    bank.advance(GRACE_S + 120)
    assert main(["channels", "withdraw", "--all", *key]) == 0
    assert b"is closed" in capfdbinary.readouterr().out


def test_shells_complete_ids(gate: Gated, key: list[str], capfdbinary: Output) -> None:
    """From the book."""
    assert fetched(gate, key, "/paid/x") == 0
    (held,) = listed(capfdbinary)
    asked = {"_COINSLOT_COMPLETE": "complete_bash", "COMP_WORDS": "coinslot channels show 0x", "COMP_CWORD": "3"}
    command = [Path(sys.executable).with_name("coinslot")]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": TESTS, **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [held["channel_id"]]


def test_a_channel_is_filled(gate: Gated, key: list[str], bank: Bank, capfdbinary: Output) -> None:
    """By whole tokens, through its seller."""
    assert fetched(gate, key, "/paid/x") == 0
    (held,) = listed(capfdbinary)
    assert main(["channels", "top-up", held["channel_id"], "0.5", "--yes", *key]) == 0
    assert b"holds 0.75 COIN" in capfdbinary.readouterr().out
    assert bank.balance("alice") == FUNDS - 750_000


def test_a_lost_book_is_found_again_on_the_chain(
    gate: Gated, key: list[str], bank: Bank, capfdbinary: Output, tmp_path: Path
) -> None:
    """`sync` writes the orphan down, and it can be closed."""
    assert fetched(gate, key, "/paid/x") == 0
    (held,) = listed(capfdbinary)
    for path in (tmp_path / "home").glob("channels.sqlite*"):
        if path.is_file():
            path.unlink()
    assert main(["channels", "list"]) == 2
    capfdbinary.readouterr()
    assert main(["channels", "sync", "--json", *key]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert [one["channel_id"] for one in told["found"]] == [held["channel_id"]]
    assert main(["channels", "sync", "--json", *key]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert (told["found"], [one["on_chain"] for one in told["compared"]]) == ([], [True])
    assert main(["channels", "close", held["channel_id"], "--url", gate.url + "/paid/x", "--server-only", *key]) == 0
    assert bank.balance("shop") == 10_000


def test_a_strangers_channel_is_left_alone(gate: Gated, key: list[str], bank: Bank, capfdbinary: Output) -> None:
    """A wallet speaks for its own channels only."""
    assert fetched(gate, key, "/paid/x") == 0
    (held,) = listed(capfdbinary)
    secret = bank.open("bob", coin=FUNDS)
    bob = ["--method", "toy", "--bank", bank.path, "--account", "bob", "--secret", secret]
    assert main(["channels", "close", held["channel_id"], "--no-server", *bob]) == 2
    assert b"neither this wallet" in capfdbinary.readouterr().err
    assert main(["channels", "sync", "--json", *bob]) == 0
    assert json.loads(capfdbinary.readouterr().out)["not_asked"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["show", "0xnothing"], 2, "sync"),
        (["close"], 2, "--all"),
        (["close", "0x12", "--server-only", "--no-server"], 2, "nobody to ask"),
        (["withdraw", "0xnothing"], 2, "no channel"),
        (["top-up", "0xnothing", "1"], 2, "no channel"),
    ],
)
def test_a_wrong_command_line_is_named(
    gate: Gated, key: list[str], capfdbinary: Output, arguments: list[str], code: int, named: str
) -> None:
    """With what would do."""
    assert fetched(gate, key, "/paid/x") == 0
    capfdbinary.readouterr()
    given = [*arguments, *([] if arguments[0] == "show" else key)]
    assert main(["channels", *given]) == code
    assert named in capfdbinary.readouterr().err.decode()


def test_a_book_that_is_not_there_is_not_made(key: list[str], capfdbinary: Output, tmp_path: Path) -> None:
    """To look into one."""
    assert main(["channels", "list"]) == 2
    assert b"there is no book" in capfdbinary.readouterr().err
    assert not (tmp_path / "home").exists()
