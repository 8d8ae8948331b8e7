"""`coinslot gate` as a program: flags, files, processes, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.cli.main import main
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.core.challenge import parse_challenge
from coinslot.transports.httpx import pay, session
from support.toybank import Bank
from support.upstream import Call, Upstream

SECRET = "0123456789abcdef" * 4
TESTS = str(Path(__file__).resolve().parent.parent)


def environment(**more: str) -> dict[str, str]:
    """Ours without any setting of coinslot's, and with the toy method."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COINSLOT_")}
    return {**kept, "PYTHONPATH": TESTS, **more}


@contextmanager
def program(arguments: list[str], folder: Path, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running gate and its URL."""
    command = [sys.executable, "-m", "coinslot.cli.main", "gate", *arguments, "--json"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, process.communicate()[1]
        yield json.loads(line)["url"], process
    finally:
        process.terminate()
        process.communicate(timeout=40)


def flags(api: str, bank: Bank, *more: str) -> list[str]:
    """The usual ones."""
    return [
        *("--upstream", api, "--price", "GET /paid/*=0.01", "--listen", "127.0.0.1:0", "--method", "toy"),
        *("--bank", bank.path, "--recipient", "shop", *more),
    ]


def test_flags_make_a_gate_that_is_paid(tmp_path: Path, bank: Bank, alice: dict[str, object]) -> None:
    """The method's own settings are flags; the secret is made once, for its owner's eyes, and kept over a restart."""
    with Upstream() as api:
        with program(flags(api.url, bank), tmp_path) as (url, process):
            challenge = parse_challenge(httpx.get(url + "/paid/x").headers["www-authenticate"])
            with pay(httpx.Client(trust_env=False), wallet(toy=alice)) as client:
                first = client.get(url + "/paid/x")
        assert (first.status_code, process.returncode) == (200, 0)
        secret = tmp_path / "coinslot.sqlite.secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        kept = secret.read_text()
        with program(flags(api.url, bank, "--realm", challenge.realm), tmp_path):
            assert secret.read_text() == kept
    assert bank.balance("shop") == 10_000


def test_a_file_says_the_same_as_flags_and_secrets_come_from_the_environment(
    tmp_path: Path, bank: Bank, alice: dict[str, object]
) -> None:
    """CONFIG.toml; COINSLOT_SECRET_KEY means no secret file."""
    with Upstream() as api:
        config = tmp_path / "gate.toml"
        config.write_text(
            f'upstream = "{api.url}"\nrealm = "api.example.com"\nlisten = "127.0.0.1:0"\nfree = ["GET /"]\n'
            f'[prices]\n"GET /paid/*" = "0.01"\n'
            f'[[accept]]\nmethod = "toy"\nbank = "{bank.path}"\nrecipient = "shop"\n'
        )
        with program([str(config)], tmp_path, COINSLOT_SECRET_KEY=SECRET) as (url, _):
            assert httpx.get(url + "/").status_code == 200
            with pay(httpx.Client(trust_env=False), wallet(toy=alice)) as client:
                assert client.get(url + "/paid/x").status_code == 200
    assert not (tmp_path / "coinslot.sqlite.secret").exists()


def test_check_reads_everything_and_serves_nothing(
    tmp_path: Path, bank: Bank, capsys: pytest.CaptureFixture[str]
) -> None:
    """Configuration, chain and store."""
    store = f"sqlite:///{tmp_path / 'a.sqlite'}"
    given = flags("http://127.0.0.1:9", bank, "--store", store, "--check", "--json")
    assert main(["gate", *given]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "accept": ["toy/charge"], "routes": ["GET /paid/*"]}


def test_flags_say_what_a_unit_of_an_answer_costs(
    tmp_path: Path, bank: Bank, capsys: pytest.CaptureFixture[str]
) -> None:
    """Per event, KiB or a unit that the answer tells; --check says so, and who can be paid."""
    store = f"sqlite:///{tmp_path / 'a.sqlite'}"
    prices = ["POST /chat=0.001/token", "GET /file/*=0.00001/KiB", "GET /tick=0.01/event"]
    given = [*flags("http://127.0.0.1:9", bank, "--store", store, "--check", "--json"), "--sessions"]
    for price in prices[1:]:
        given += ["--price", price]
    assert main(["gate", *given, "--window", "8", "--no-settler"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accept"] == ["toy/charge", "toy/session"]
    assert told["metered"] == {"GET /file/*": "0.00001 per 1024 bytes", "GET /tick": "0.01 per event"}
    given = [*flags("http://127.0.0.1:9", bank, "--store", store, "--check", "--json"), "--sessions"]
    given += ["--price", prices[0], "--usage", "usage.total_tokens", "--max-units", "400"]
    assert main(["gate", *given]) == 0
    assert json.loads(capsys.readouterr().out)["metered"] == {"POST /chat": "0.001 per token"}
    assert main(["gate", *given[:-2]]) == 2
    assert "needs max_units" in capsys.readouterr().err
    assert main(["gate", *flags("http://127.0.0.1:9", bank, "--window", "3")]) == 2
    assert "AMOUNT/UNIT" in capsys.readouterr().err


GOOD: dict[str, Any] = {
    "upstream": '"http://127.0.0.1:9"',
    "prices": '{ "GET /paid/*" = "0.01" }',
    "accept": '[{ method = "toy", bank = "BANK", recipient = "shop" }]',
    "store": '"memory:"',
}
BAD = [
    ("upstream", '"ftp://x"', "upstream"),
    ("upstream", '"http://user:hunter2@x"', "upstream"),
    ("upstream", "3", "upstream"),
    ("prices", "{}", "prices"),
    ("prices", '{ "GET /paid/*" = 0.01 }', "prices"),
    ("prices", '{ "GET /paid/*" = "-1" }', "price"),
    ("prices", '{ "GET /paid/*" = "1e3" }', "price"),
    ("prices", '{ "paid" = "1" }', "no route"),
    ("prices", '{ "GET /a" = { amount = "1", amonut = "2" } }', "amonut"),
    ("accept", "[]", "accept"),
    ("accept", '[{ recipient = "shop" }]', "method"),
    ("accept", '[{ method = "gold" }]', "gold"),
    ("accept", '[{ method = "toy", bank = "BANK", recipient = "shop", recipent = "x" }]', "recipent"),
    ("accept", '[{ method = "toy", bank = "BANK" }]', "recipient"),
    ("store", '"redis://x"', "store"),
    ("store", '"sqlite:////no/such/folder/x.sqlite"', "folder"),
    ("listen", '"here"', "listen"),
    ("listen", '"127.0.0.1:99999"', "listen"),
    ("realm", '"a|b"', "realm"),
    ("realm", '"a\\r\\nb"', "realm"),
    ("workers", "0", "workers"),
    ("workers", "2", "store"),
    ("tls_cert", '"x.pem"', "tls_key"),
    ("expires_in_s", "0", "live"),
    ("colour", '"blue"', "colour"),
]


@pytest.mark.parametrize(("name", "value", "named"), BAD)
def test_a_wrong_setting_is_named(
    tmp_path: Path, bank: Bank, name: str, value: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one paragraph that names it; no traceback, no password, nothing made."""
    table = {**GOOD, name: value}
    path = tmp_path / "gate.toml"
    path.write_text("\n".join(f"{key} = {text}" for key, text in table.items()).replace("BANK", bank.path))
    before = sorted(tmp_path.iterdir())
    assert main(["gate", "--check", str(path)]) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert "Traceback" not in told.err
    assert "hunter2" not in told.err
    assert (told.out, sorted(tmp_path.iterdir())) == ("", before)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--upstream", "http://x"], "price"),
        (["--price", "GET /=1"], "upstream"),
        (["--upstream", "http://x", "--price", "GET /"], "--price"),
        (["nowhere.toml"], "nowhere.toml"),
        (["nowhere.toml", "--upstream", "http://x"], "not both"),
        (["--upstream", "http://x", "--price", "GET /=1", "--method", "gold"], "gold"),
        (
            ["--upstream", "http://x", "--price", "GET /=1"],
            "--bank: path of the bank's file; give it, or set COINSLOT_BANK",
        ),
    ],
)
def test_a_wrong_command_line_is_named(
    tmp_path: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2."""
    monkeypatch.chdir(tmp_path)
    known = ["--method", "toy"] if "--method" not in arguments and "nowhere.toml" not in arguments else []
    assert main(["gate", *arguments, *known]) == 2
    assert named in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(tmp_path: Path, bank: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    """And what to do about it."""
    with Upstream() as api:
        taken = api.url.removeprefix("http://")
        given = [text if text != "127.0.0.1:0" else taken for text in flags(api.url, bank, "--store", "memory:")]
        assert main(["gate", *given]) == 2
    assert "--listen" in capsys.readouterr().err


def test_sigterm_lets_open_requests_finish(tmp_path: Path, bank: Bank, alice: dict[str, object]) -> None:
    """Drained, then exit code 0."""
    entered, leave = threading.Event(), threading.Event()

    def slow(call: Call) -> tuple[int, dict[str, str], bytes]:
        entered.set()
        assert leave.wait(20)
        return 200, {}, b"finished"

    answers: list[httpx.Response] = []
    with Upstream(slow) as api, program(flags(api.url, bank), tmp_path) as (url, process):

        def ask() -> None:
            with pay(httpx.Client(trust_env=False, timeout=30), wallet(toy=alice)) as client:
                answers.append(client.get(url + "/paid/x"))

        asking = threading.Thread(target=ask)
        asking.start()
        assert entered.wait(20)
        process.send_signal(signal.SIGTERM)
        leave.set()
        asking.join(30)
        assert process.wait(30) == 0
    assert [(one.status_code, one.text) for one in answers] == [(200, "finished")]


def test_several_workers_share_one_store(tmp_path: Path, bank: Bank, alice: dict[str, object]) -> None:
    """Challenges of one worker are good at another, and all is paid and served once each."""
    with Upstream() as api, program(flags(api.url, bank, "--workers", "2"), tmp_path) as (url, _):
        for number in range(6):  # a connection each, so that both workers get some
            with pay(httpx.Client(trust_env=False), wallet(toy=alice)) as client:
                assert client.get(f"{url}/paid/{number}").status_code == 200
        assert len(api.calls) == 6
    assert bank.balance("shop") == 60_000


def test_what_no_flag_says_comes_from_the_environment(
    tmp_path: Path, bank: Bank, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """COINSLOT_<FIELD> for each setting that a method publishes; a flag goes before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COINSLOT_BANK", bank.path)
    monkeypatch.setenv("COINSLOT_RECIPIENT", "")
    ask = ["gate", "--upstream", "http://127.0.0.1:1", "--price", "GET /=1", "--method", "toy", "--check"]
    assert main([*ask, "--recipient", "shop"]) == 0
    monkeypatch.setenv("COINSLOT_CURRENCY", "gold")
    assert main([*ask, "--recipient", "shop"]) == 2
    assert main([*ask, "--recipient", "shop", "--currency", "coin"]) == 0
    assert main(ask) == 2
    assert "COINSLOT_RECIPIENT" in capsys.readouterr().err


def test_a_stream_goes_on_whichever_worker_gets_the_voucher(
    tmp_path: Path, bank: Bank, alice: dict[str, object]
) -> None:
    """Two processes on one store: windows of four, forty events, and the deposit's rest back at the end."""
    events = b"".join(b"data: %d\n\n" % number for number in range(40))
    with Upstream(lambda _: (200, {"Content-Type": "text/event-stream"}, events)) as api:
        given = ["--upstream", api.url, "--price", "POST /chat=0.001/word", "--window", "4", "--workers", "2"]
        given += [
            "--listen",
            "127.0.0.1:0",
            "--method",
            "toy",
            "--bank",
            bank.path,
            "--recipient",
            "shop",
            "--sessions",
        ]
        policy = Policy(max_window=8)
        with (
            program(given, tmp_path) as (url, _),
            pay(httpx.Client(trust_env=False, timeout=60), wallet(toy=alice), policy, book=tmp_path / "book") as client,
            session(client, url + "/chat", max_deposit="1", close=True) as paid,
        ):
            for _ in range(3):
                assert paid.post(content=b"?").content == events
            assert paid.spent_units == 120_000
    assert bank.balance("shop") == 120_000
    assert bank.balance("alice") == 5_000_000 - 120_000
