"""`coinslot fetch`: curl's habits, one payment at most, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coinslot.cli.main import main
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.toybank import Bank
from support.upstream import Call, Upstream, gate_for

Output = pytest.CaptureFixture[bytes]


@pytest.fixture
def paid(bank: Bank) -> Iterator[str]:
    """A gate that echoes for a cent."""

    def echo(call: Call) -> tuple[int, dict[str, str], bytes]:
        kind = ",".join(call.all("content-type"))
        return 200, {"X-Said": "hello"}, f"{call.method} {call.target} {kind} {call.body.decode()}".encode()

    with Upstream(echo) as api, gate_for(api, {"/paid/*": "0.01", "GET /dear": "3"}, bank, free=["/free"]) as gated:
        yield gated.url


def test_the_body_goes_to_standard_output_and_the_story_to_standard_error(
    paid: str, key: list[str], capfdbinary: Output, bank: Bank
) -> None:
    """Paid once."""
    assert main(["fetch", f"{paid}/paid/x", "-v", *key]) == 0
    told = capfdbinary.readouterr()
    assert told.out == b"GET /paid/x  "
    assert b"asks for payment: toy/charge" in told.err
    assert b"paid, receipt" in told.err
    assert bank.balance("shop") == 10_000


def test_curls_habits(paid: str, key: list[str], tmp_path: Path, capfdbinary: Output) -> None:
    """-d makes a POST of a form, -X and -H say otherwise, -o writes a file, -i and -I show headers, -s is silent."""
    (tmp_path / "body").write_text("b=2\n")
    assert main(["fetch", f"{paid}/paid/x", "-d", "a=1", "-d", "@body", *key]) == 0
    assert capfdbinary.readouterr().out == b"POST /paid/x application/x-www-form-urlencoded a=1&b=2"
    given = ["-X", "put", "-H", "Content-Type: text/plain", "-d", "x", "-o", "out", "-s", "-v"]
    assert main(["fetch", f"{paid}/paid/x", *given, *key]) == 0
    told = capfdbinary.readouterr()
    assert (told.out, told.err) == (b"", b"")
    assert (tmp_path / "out").read_text() == "PUT /paid/x text/plain x"
    assert main(["fetch", f"{paid}/paid/x", "-i", *key]) == 0
    assert capfdbinary.readouterr().out.startswith(b"HTTP/1.1 200 OK\r\n")
    assert main(["fetch", f"{paid}/paid/x", "-I", *key]) == 0
    told = capfdbinary.readouterr()
    assert b"x-said: hello" in told.out.lower()
    assert told.out.endswith(b"\r\n\r\n")


def test_a_receipt_is_kept_and_json_tells_all(paid: str, key: list[str], tmp_path: Path, capfdbinary: Output) -> None:
    """--receipt FILE and --json."""
    assert main(["fetch", f"{paid}/paid/x", "--receipt", "receipt.json", "--json", *key]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert (told["status"], told["body"], told["payment"]["amount_units"]) == (200, "GET /paid/x  ", "10000")
    assert json.loads((tmp_path / "receipt.json").read_text()) == told["payment"]["receipt"]


@pytest.mark.guard("T38")
def test_a_dry_run_signs_and_sends_nothing(paid: str, key: list[str], bank: Bank, capfdbinary: Output) -> None:
    """It says what it would pay to whom; nobody is paid, and no credential leaves."""
    assert main(["fetch", f"{paid}/paid/x", "--dry-run", *key]) == 0
    told = capfdbinary.readouterr().out.decode()
    assert "Would pay 0.01 COIN" in told
    assert "0.01 COIN to shop" in told
    assert main(["fetch", f"{paid}/paid/x", "--dry-run", "--json", *key]) == 0
    assert json.loads(capfdbinary.readouterr().out)["would_pay"]["amount_units"] == "10000"
    assert main(["fetch", f"{paid}/free", "--dry-run", *key]) == 0
    assert capfdbinary.readouterr().out == b"Nothing to pay.\n"
    assert bank.balance("shop") == 0


def test_what_is_free_needs_no_book(paid: str, key: list[str], tmp_path: Path, capfdbinary: Output) -> None:
    """None is opened only to find that there is nothing to close."""
    (tmp_path / "file").touch()
    book = str(tmp_path / "file" / "book.sqlite")
    assert main(["fetch", f"{paid}/free", "--session", "--close", "-v", "--book", book, *key]) == 0
    assert capfdbinary.readouterr().out.startswith(b"GET /free")


@pytest.mark.guard("F03", "F14")
def test_what_was_sent_and_not_answered_is_told_and_gone_on_with(
    bank: Bank, key: list[str], capfdbinary: Output
) -> None:
    """Exit code 5, a line in the list of channels, untouched by a dry run; then served, and paid once."""
    shop = Shop(bank)

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        return replace(reply, drop="all") if len(site.paid) == 1 and seen.credential else reply

    with Site(answer) as site:
        asked = ["fetch", f"{site.url}/x", "--push", *key]
        assert main(asked) == 5
        capfdbinary.readouterr()
        assert main(["channels", "list"]) == 0
        assert b"whose answer nobody saw: 1" in capfdbinary.readouterr().err
        assert main(["sent", "list"]) == 0
        assert b"0.01 COIN  shop  GET " in capfdbinary.readouterr().out
        assert main([*asked, "--dry-run"]) == 0
        assert b"Would pay" in capfdbinary.readouterr().out
        assert len(site.paid) == 1
        assert main([*asked, "-v"]) == 0
    told = capfdbinary.readouterr()
    assert told.out == b"paid for /x"
    assert b"this was paid for before" in told.err
    assert bank.settled() == 1
    assert main(["channels", "list"]) == 0
    assert b"nobody saw" not in capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("more", "path"), [(["--max-spend", "0.009"], "/paid/x"), ([], "/dear"), (["--dry-run"], "/dear")]
)
def test_what_costs_more_than_allowed_is_refused(
    paid: str, key: list[str], bank: Bank, capfdbinary: Output, more: list[str], path: str
) -> None:
    """Exit code 4; one dollar unless told otherwise; a dry run would be refused too."""
    assert main(["fetch", paid + path, *more, *key]) == 4
    told = capfdbinary.readouterr()
    assert b"limit" in told.err
    assert b"Nothing was signed" in told.err
    assert (told.out, bank.balance("shop")) == (b"", 0)


def test_an_allowed_sum_is_paid(paid: str, key: list[str], bank: Bank) -> None:
    """--max-spend raises the limit."""
    assert main(["fetch", f"{paid}/dear", "--max-spend", "3", *key]) == 0
    assert bank.balance("shop") == 3_000_000


def test_a_server_that_is_not_there_is_a_network_failure(key: list[str], capfdbinary: Output) -> None:
    """Exit code 3, and nothing was paid."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert main(["fetch", url, *key]) == 3
    assert b"Nothing was paid" in capfdbinary.readouterr().err


def test_a_lost_answer_is_an_unknown_outcome(key: list[str], bank: Bank, capfdbinary: Output) -> None:
    """Exit code 5, with the reference to look up."""
    shop = Shop(bank)

    def lose(seen: Seen) -> Reply:
        return shop(seen) if seen.credential is None else Reply(drop="all")

    with Site(lose) as site:
        assert main(["fetch", site.url + "/x", *key]) == 5
    told = capfdbinary.readouterr().err.decode()
    assert "Reference: " in told
    assert "before you pay again" in told.lower() or "before looking it up" in told.lower()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nothing"], "URL"),
        (["ftp://x/"], "http"),
        (["http://127.0.0.1:1/", "-H", "no colon"], "-H"),
        (["http://127.0.0.1:1/", "-d", "@missing"], "missing"),
        (["http://127.0.0.1:1/", "--max-spend", "lots"], "price"),
        (["http://127.0.0.1:1/", "--max-spend", "-1"], "price"),
        (["http://127.0.0.1:1/", "--method", "gold"], "gold"),
    ],
)
def test_a_wrong_command_line_is_named(key: list[str], capfdbinary: Output, arguments: list[str], named: str) -> None:
    """Exit code 2 and no traceback."""
    given = key if "--method" not in arguments else key[2:]
    assert main(["fetch", *arguments, *given]) == 2
    told = capfdbinary.readouterr()
    assert named.encode() in told.err
    assert b"Traceback" not in told.err


def test_an_http_error_fails_only_if_asked(key: list[str], capfdbinary: Output) -> None:
    """-f, as curl has it."""
    with Upstream(lambda _: (404, {}, b"gone")) as api:
        assert main(["fetch", api.url, *key]) == 0
        assert main(["fetch", api.url, "-f", *key]) == 1
    assert b"404" in capfdbinary.readouterr().err


def test_a_stream_is_written_as_it_comes(key: list[str]) -> None:
    """The first chunk is on standard output before the server has made the second."""
    read_end, write_end = os.pipe()
    first_read = threading.Event()

    def stream(handler: object, _: Call) -> None:
        from http.server import BaseHTTPRequestHandler

        assert isinstance(handler, BaseHTTPRequestHandler)
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\none\r\n")
        assert first_read.wait(20)
        handler.wfile.write(b"3\r\ntwo\r\n0\r\n\r\n")

    with Upstream(raw=stream) as api:
        given = ["fetch", api.url, "-o", f"/dev/fd/{write_end}", *key]
        running = threading.Thread(target=main, args=(given,))
        running.start()
        assert os.read(read_end, 3) == b"one"
        first_read.set()
        assert os.read(read_end, 3) == b"two"
        running.join(20)
    os.close(read_end)
    os.close(write_end)
