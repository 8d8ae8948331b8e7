"""`coinslot doctor`: all is well where it is, and every lie in the record is found."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from coinslot.cli.main import main
from coinslot.cli.output import ExitCode
from coinslot.devnet.protocol import Account
from coinslot.store.protocol import Stage
from support.devnet import Chain
from support.record import Record


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def config(record: Record, tmp_path: Path) -> Path:
    """The configuration of the gate that made the record."""
    path = tmp_path / "gate.toml"
    path.write_text(
        f'upstream = "http://127.0.0.1:1"\nstore = "{record.url}"\n'
        '[prices]\n"GET /paid/*" = "0.01"\n'
        f'[[accept]]\nmethod = "toy"\nbank = "{record.bank.path}"\nrecipient = "shop"\n'
    )
    return path


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """What the doctor says in JSON; its exit code must fit."""
    capsys.readouterr()
    code = main(["doctor", *arguments, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == (ExitCode.OK if report["ok"] else ExitCode.FAILURE)
    assert report["ok"] == (report["findings"] == [])
    assert isinstance(report, dict)
    return report


def found(report: dict[str, object]) -> list[tuple[str, str]]:
    """Check and subject of each finding."""
    return [(one["check"], one["subject"]) for one in report["findings"]]  # type: ignore[attr-defined]


def lie(record: Record, sql: str, *values: object) -> None:
    """Change the record behind its back."""
    with sqlite3.connect(record.path) as db:
        assert db.execute(sql, values).rowcount > 0
    db.close()


def test_an_honest_record_is_well(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every settled payment is confirmed by the chain; those that moved nothing need no entry."""
    for stage in Stage:
        record.pay("0.25", stage)
    report = examined(capsys, "--config", str(config))
    assert found(report) == []
    assert (report["payments"], report["entries"], report["confirmed"], report["chain_asked"]) == (2, 2, 2, True)
    assert main(["doctor", "--config", str(config)]) == 0
    assert "all is well" in capsys.readouterr().out


def test_without_a_chain_it_says_so(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger is checked against the payments, and nobody may think that the chain was asked."""
    record.pay()
    report = examined(capsys, "--store", record.url)
    assert (report["ok"], report["chain_asked"], report["confirmed"], report["entries"]) == (True, False, 0, 1)
    assert main(["doctor", "--store", record.url]) == 0
    assert "not asked" in capsys.readouterr().out


def test_a_payment_that_the_chain_does_not_know(
    record: Record, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recorded as paid, and the chain never saw it."""
    good, bad = record.pay(), record.pay()
    with sqlite3.connect(record.bank.path) as db:
        db.execute("delete from cheque where hash = ?", (bad.receipt.reference,))  # type: ignore[union-attr]
    db.close()
    report = examined(capsys, "--config", str(config))
    assert found(report) == [("chain", bad.challenge.id)]
    assert report["confirmed"] == 1
    record.bank.skew(3600)  # from then on it can never be paid any more
    assert [one["text"] for one in examined(capsys, "--config", str(config))["findings"]] == [  # type: ignore[attr-defined]
        "recorded as paid; the chain says it never was: never taken in, and past its time"
    ]
    assert good.challenge.id not in str(report["findings"])


def test_a_payment_without_its_entry(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settled, and nothing posted."""
    paid = record.pay()
    lie(record, "delete from coinslot_postings")
    lie(record, "delete from coinslot_entries")
    assert found(examined(capsys, "--config", str(config))) == [("ledger", paid.challenge.id)]


def test_an_entry_without_its_payment(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Posted, and the payment isn't settled any more."""
    paid = record.pay(upto=Stage.SETTLED)
    lie(record, "update coinslot_payments set stage = 'prepared'")
    assert found(examined(capsys, "--config", str(config))) == [("ledger", f"charge/{paid.proof}")]


def test_an_entry_that_does_not_balance(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One posting changed: the sums are off, and the journal can't be read."""
    record.pay()
    lie(record, "update coinslot_postings set units = '10001' where account = 'payee:shop'")
    assert ("ledger", "toy:main/coin") in found(examined(capsys, "--config", str(config)))


def test_an_entry_that_balances_and_lies(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both postings changed alike: only the chain shows what was paid."""
    paid = record.pay()
    lie(record, "update coinslot_postings set units = '-99' where account = 'payer:alice'")
    lie(record, "update coinslot_postings set units = '99' where account = 'payee:shop'")
    assert examined(capsys, "--store", record.url)["ok"] is True
    assert found(examined(capsys, "--config", str(config))) == [("ledger", f"charge/{paid.proof}")]


def test_a_payment_whose_end_nobody_learns(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Broadcast, left alone, and still unknown after ten minutes; a fresh one is still being settled."""
    old, new = record.pay(upto=Stage.PREPARED), record.pay(upto=Stage.PREPARED)
    lie(record, "update coinslot_payments set lease_owner = null")
    lie(record, "update coinslot_payments set claimed_at = claimed_at - 700 where challenge_id = ?", old.challenge.id)
    report = examined(capsys, "--config", str(config))
    assert found(report) == [("store", old.challenge.id)]
    assert new.challenge.id not in str(report)


def test_a_payment_that_nobody_here_can_check(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration accepts another currency than was paid."""
    paid = record.pay()
    config.write_text(config.read_text() + 'currency = "shell"\n')
    assert found(examined(capsys, "--config", str(config))) == [("chain", paid.challenge.id)]


def test_old_payments_may_be_left_out(record: Record, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--since limits what the chain is asked, not the check of the ledger."""
    record.now_s = time.time() - 86400
    record.pay()
    record.now_s = None
    record.pay()
    report = examined(capsys, "--config", str(config), "--since", "1h")
    assert (report["confirmed"], report["payments"], report["ok"]) == (1, 2, True)


def test_a_chain_that_does_not_answer_is_no_finding(
    record: Record, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3: nothing is known, neither good nor bad."""
    record.pay()
    record.bank.order("down", 9)
    assert main(["doctor", "--config", str(config), "--json"]) == ExitCode.NETWORK
    shown = capsys.readouterr()
    assert shown.out == ""
    assert json.loads(shown.err)["error"]["code"] == "rpc-unreachable"


@pytest.mark.guard("T38")
def test_files_that_others_may_use(
    record: Record, config: Path, own_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record, what lies beside it under its name, and the wallets must be their owner's alone."""
    monkeypatch.setenv("COINSLOT_PASSPHRASE", "pass")
    assert main(["wallet", "new", "alice", "--method", "tempo"]) == 0
    assert examined(capsys, "--config", str(config))["ok"] is True
    secret = record.path.with_name(record.path.name + ".key")
    secret.write_text("secret")
    wide = [record.path, secret, own_home / "wallets", own_home / "wallets" / "alice.json"]
    for path, mode in zip(wide, (0o640, 0o604, 0o750, 0o620), strict=True):
        path.chmod(mode)
    assert found(examined(capsys, "--config", str(config))) == [("files", str(path)) for path in wide]


def test_a_newer_record_is_left_alone(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """A store of a later schema is a named error, and not changed."""
    lie(record, "update coinslot_schema set version = 99")
    assert main(["doctor", "--store", record.url, "--json"]) == ExitCode.FAILURE
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "store-newer"


@pytest.mark.parametrize(
    "arguments",
    [["--recipient", "shop"], ["--currency", "coin"], ["--rpc-url", "x", "--recipient", "y", "--method", "cash"],
     ["--config", "/nowhere.toml"], ["--since", "soon"]],
)  # fmt: skip
def test_bad_settings_are_usage_errors(
    record: Record, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Named, with nothing on standard output."""
    assert main(["doctor", "--store", record.url, *arguments]) == ExitCode.USAGE
    assert capsys.readouterr().out == ""


@pytest.mark.devnet
def test_flags_stand_for_a_configuration(record: Record, devnet: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """With --rpc-url and --recipient the chain is asked; its clock agrees with ours, and it knows no toy payments."""
    paid = record.pay()
    shop: Account = devnet.accounts[0]
    flags = ("--rpc-url", devnet.rpc_url, "--recipient", shop.address, "--method", "tempo")
    report = examined(capsys, "--store", record.url, *flags)
    assert report["chain_asked"] is True
    assert found(report) == [("chain", paid.challenge.id)]


@pytest.mark.devnet
@pytest.mark.guard("T10")
def test_a_chain_with_another_time(record: Record, devnet: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """A chain whose clock is far ahead of ours is found, whichever of them is wrong. T10"""
    before = devnet.snapshot()
    try:
        devnet.rpc("evm_increaseTime", 300)
        devnet.mine()
        flags = ("--rpc-url", devnet.rpc_url, "--recipient", devnet.accounts[0].address, "--method", "tempo")
        report = examined(capsys, "--store", record.url, *flags)
    finally:
        devnet.revert(before)
        devnet.mine()
    assert found(report) == [("clock", "tempo")]
