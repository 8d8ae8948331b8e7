"""`coinslot payments`: what was paid, told to people, programs and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.cli import store as store_cli
from coinslot.cli.main import main
from coinslot.cli.output import ExitCode
from coinslot.cli.payments import parse_moment
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge
from coinslot.core.instant import format_instant
from coinslot.errors import UsageError
from coinslot.method import Extras
from coinslot.services.report import COLUMNS, cell, line
from coinslot.store.protocol import Payment, Stage
from support.record import Record

DAY_S = 86400.0


def told(capsys: pytest.CaptureFixture[str], record: Record, *arguments: str) -> object:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main(["payments", *arguments, "--store", record.url, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def listed(capsys: pytest.CaptureFixture[str], record: Record, *arguments: str) -> list[str]:
    """The challenge ids that `list` shows."""
    found = told(capsys, record, "list", *arguments)
    assert isinstance(found, list)
    return [each["challenge_id"] for each in found]


def test_payments_are_listed_newest_first(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with stage, times, payer, payees, amount in units, and what to look up."""
    old, new = record.pay("0.01", Stage.CLAIMED), record.pay("1.5")
    rows = told(capsys, record, "list")
    assert isinstance(rows, list)
    assert [row["challenge_id"] for row in rows] == [new.challenge.id, old.challenge.id]
    paid = rows[0]
    assert tuple(paid) == COLUMNS
    assert (paid["stage"], paid["method"], paid["payer"]) == ("delivered", "toy", "alice")
    assert (paid["amount_units"], paid["asset"]) == ("1500000", "toy:main/coin")
    assert paid["payees"] == [{"recipient": "shop", "amount_units": "1500000"}]
    assert paid["reference"] == new.receipt.reference  # type: ignore[union-attr]
    assert paid["claimed_at"] == format_instant(new.claimed_at_s)
    assert paid["settled_at"] == format_instant(new.settled_at_s or 0)
    assert paid["delivered_at"] == format_instant(new.delivered_at_s or 0)
    assert rows[1]["reference"] is rows[1]["settled_at"] is rows[1]["delivered_at"] is None


def test_people_get_a_table(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it is cut off, also in a pipe."""
    paid = record.pay()
    assert main(["payments", "list", "--store", record.url]) == 0
    shown = capsys.readouterr().out
    for part in (
        paid.challenge.id,
        "alice",
        "delivered",
        "0.01 COIN",
        format_instant(paid.claimed_at_s),
    ):
        assert part in shown


def test_an_empty_record_lists_nothing(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """No rows, no error."""
    assert told(capsys, record, "list") == []
    assert main(["payments", "list", "--store", record.url]) == 0
    assert capsys.readouterr().out == ""


def test_lists_are_narrowed(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """By stages, by payer, by time, by number."""
    now = time.time()
    record.now_s = now - 10 * DAY_S
    old = record.pay(upto=Stage.CLAIMED).challenge.id
    record.now_s = now - 2 * DAY_S
    middle = record.pay(upto=Stage.SETTLED).challenge.id
    record.now_s = now
    new = record.pay().challenge.id
    assert listed(capsys, record) == [new, middle, old]
    assert listed(capsys, record, "--stage", "claimed", "--stage", "settled") == [middle, old]
    assert listed(capsys, record, "--payer", "alice", "--limit", "2") == [new, middle]
    assert listed(capsys, record, "--payer", "bob") == []
    assert listed(capsys, record, "--since", "3d") == [new, middle]
    assert listed(capsys, record, "--since", "240h", "--until", "24h")[0] == middle
    assert listed(capsys, record, "--until", format_instant(now - 5 * DAY_S)) == [old]
    assert listed(capsys, record, "--since", format_instant(now - 5 * DAY_S)[:10], "--until", "1d") == [middle]


def test_a_cut_list_says_so(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who sees as many payments as the limit learns that there may be more."""
    record.pay(), record.pay()
    assert main(["payments", "list", "--store", record.url, "--limit", "1"]) == 0
    assert "--limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--stage", "paid"], ["--since", "yesterday"], ["--since", "2026-02-30"], ["--until", "2026-01-31T12:00:00"],
     ["--limit", "0"], ["--limit", "-1"], ["--limit", "many"]],
)  # fmt: skip
def test_a_bad_filter_is_a_usage_error(
    record: Record, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Stages, times and numbers that are none; a time without a zone is not guessed."""
    assert main(["payments", "list", "--store", record.url, *arguments]) == ExitCode.USAGE
    assert capsys.readouterr().out == ""


def test_moments() -> None:
    """Dates are midnight UTC, ages count back from now."""
    assert parse_moment(None) is None
    assert parse_moment("2026-01-31") == 1769817600
    assert parse_moment("2026-01-31T01:00:00+01:00") == 1769817600
    assert abs((parse_moment("2w") or 0) - (time.time() - 14 * DAY_S)) < 60
    for text in ("", "d", "-1d", "1.5d", "1y", "9999999d", "\uff11d"):
        with pytest.raises(UsageError):
            parse_moment(text)


def test_show_tells_all_but_the_goods(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Every field, the receipt, the status of the delivery; neither its body nor its headers."""
    paid = record.pay(key="order-7", extras=Extras(external_id="invoice 7"))
    shown = told(capsys, record, "show", paid.challenge.id)
    assert isinstance(shown, dict)
    assert (shown["external_id"], shown["idempotency_key"], shown["delivery_status"]) == ("invoice 7", "order-7", 200)
    assert shown["receipt"]["reference"] == shown["reference"]
    assert shown["request"]["amount"] == "10000"
    assert (shown["realm"], shown["proof"], shown["leased"]) == ("shop.example", paid.proof, False)
    assert main(["payments", "show", paid.challenge.id, "--store", record.url]) == 0
    text = capsys.readouterr().out
    assert "receipt.reference" in text
    for secret in ("the goods", "visitor=1", "set-cookie"):
        assert secret not in text + json.dumps(shown)


def test_what_a_payer_chose_moves_no_cursor(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and markup in recorded text reach the terminal as harmless signs."""
    paid = record.pay(key="\x1b[2J[bold]\u202eevil")
    assert main(["payments", "show", paid.challenge.id, "--store", record.url]) == 0
    text = capsys.readouterr().out
    assert "\ufffd[2J[bold]\ufffdevil" in text
    assert "\x1b" not in text


def test_an_unknown_payment_is_a_usage_error(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on standard output, one sentence on the other."""
    assert main(["payments", "show", "none", "--store", record.url]) == ExitCode.USAGE
    assert "no payment has this challenge id" in capsys.readouterr().err


def exported(capsys: pytest.CaptureFixture[str], record: Record, *arguments: str) -> list[dict[str, str]]:
    """The rows that `export` writes to standard output."""
    capsys.readouterr()
    assert main(["payments", "export", "--csv", "--store", record.url, *arguments]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_the_export_has_fixed_columns(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """Books depend on names and order: a new column may only come last."""
    capsys.readouterr()
    assert main(["payments", "export", "--csv", "--store", record.url]) == 0
    assert capsys.readouterr().out == (
        "challenge_id,stage,claimed_at,settled_at,delivered_at,method,payer,payees,amount_units,amount,asset,symbol,"
        "reference,external_id,intent\n"
    )


def test_the_export_holds_every_payment(
    record: Record, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a page of them, none twice, filters as in `list`."""
    monkeypatch.setattr(store_cli, "PAGE", 2)
    paid = [record.pay("0.01", Stage.CLAIMED).challenge.id for _ in range(4)] + [record.pay("0.02").challenge.id]
    rows = exported(capsys, record)
    assert [row["challenge_id"].removeprefix("'") for row in rows] == paid[::-1]
    assert rows[0]["amount_units"] == "20000"
    assert rows[0]["payees"] == "shop=20000"
    assert rows[1]["reference"] == rows[1]["settled_at"] == ""
    assert len(exported(capsys, record, "--stage", "delivered")) == 1


def test_the_export_goes_to_a_file_whole(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o replaces the file when all is written; one that can't be written is a usage error; nothing else is left."""
    record.pay()
    rows, file = exported(capsys, record), tmp_path / "out" / "payments.csv"
    file.parent.mkdir()
    file.write_text("old")
    assert main(["payments", "export", "--csv", "--store", record.url, "-o", str(file)]) == 0
    assert list(csv.DictReader(io.StringIO(file.read_text()))) == rows
    assert [path.name for path in file.parent.iterdir()] == ["payments.csv"]
    assert main(["payments", "export", "--csv", "--store", record.url, "-o", "/nowhere/x.csv"]) == ExitCode.USAGE
    assert main(["payments", "export", "--store", record.url]) == ExitCode.USAGE


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1"])
def test_no_cell_runs_in_a_spreadsheet(text: str) -> None:
    """What begins like a formula begins with an apostrophe in the file."""
    assert cell(text) == "'" + text


@given(text=st.text())
def test_the_apostrophe_can_be_taken_off_again(text: str) -> None:
    """No cell begins like a formula, and taking off one leading apostrophe gives back what was recorded."""
    made = cell(text)
    assert made[:1] not in {"=", "+", "-", "@", "\t", "\r", "\n"}
    assert made.removeprefix("'") == text


def test_an_external_id_does_not_run(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """A formula in a field that came from outside is a text in the export."""
    record.pay(extras=Extras(external_id='=HYPERLINK("http://evil.example","x")'))
    assert exported(capsys, record)[0]["external_id"] == '\'=HYPERLINK("http://evil.example","x")'


def payment(method: str, request: object) -> Payment:
    """A recorded payment for this request."""
    offered = Challenge("id", "realm", method, "charge", encode_object(request), expires="2026-01-31T00:00:00Z")  # type: ignore[arg-type]
    return Payment(
        challenge=offered, proof="proof", payer="payer", request_hash="hash", credential_hash="hash",
        idempotency_key=None, stage=Stage.CLAIMED, leased=False, claimed_at_s=0.0,
    )  # fmt: skip


def test_a_method_that_reads_its_requests_tells_more() -> None:
    """Splits are payees, and known tokens have decimal amounts and symbols."""
    one, two = "0x" + "ab" * 20, "0x" + "cd" * 20
    details = {"chainId": 42431, "splits": [{"recipient": two, "amount": "300000"}]}
    request = {
        "amount": "1250000",
        "currency": "0x20C0000000000000000000000000000000000000",
        "recipient": one,
        "methodDetails": details,
    }
    values = line(payment("tempo", request)).values()
    assert values["payees"] == f"{one}=950000;{two}=300000"
    assert (values["amount_units"], values["amount"], values["symbol"]) == ("1250000", "1.25", "pathUSD")
    assert values["asset"] == "eip155:42431/0x20c0000000000000000000000000000000000000"


def test_an_unknown_method_is_read_by_the_shared_fields() -> None:
    """A payment of a method that isn't installed any more still shows amount, currency and recipient."""
    values = line(payment("gone", {"amount": "5", "currency": "usd", "recipient": "me"})).values()
    assert (values["amount_units"], values["asset"], values["payees"], values["amount"]) == (
        "5",
        "gone/usd",
        "me=5",
        None,
    )


@pytest.mark.parametrize(
    "request_", [{}, {"amount": "-5", "currency": "usd"}, {"amount": "5"}, {"amount": 5, "currency": "usd"}]
)
def test_a_request_that_can_not_be_read_stops_no_report(request_: object) -> None:
    """The row is there, its amount is empty."""
    values = line(payment("gone", request_)).values()
    assert (values["challenge_id"], values["amount_units"], values["payees"]) == ("id", None, None)


def test_a_missing_record_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking at payments that aren't there is a usage error and creates no file."""
    assert main(["payments", "list", "--store", f"sqlite:///{tmp_path}/none.sqlite"]) == ExitCode.USAGE
    assert "there is no store at" in capsys.readouterr().err
    assert main(["payments", "list", "--store", "memory:"]) == ExitCode.USAGE
    assert list(tmp_path.iterdir()) == []


def test_the_store_comes_from_the_environment(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """COINSLOT_STORE names the store for all of these commands."""
    paid = record.pay(str(Decimal("0.5")))
    monkeypatch.setenv("COINSLOT_STORE", record.url)
    assert main(["payments", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["challenge_id"] == paid.challenge.id
