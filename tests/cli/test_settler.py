"""`coinslot settler`: rounds from the command line, and what doctor says of channels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coinslot.cli.main import main
from coinslot.cli.output import ExitCode
from coinslot.drive import run
from coinslot.intents.session import Close, Stage
from coinslot.services import settler as service
from coinslot.services.config import load_config
from coinslot.store.open import open_store
from support.sessiontill import COST, DEPOSIT, NETWORK, SessionTill
from support.toybank import Bank

Wallet = dict[str, Any]
TESTS = Path(__file__).resolve().parent.parent
NOW = ["--settle-units", "1"]


@pytest.fixture
def till(bank: Bank, alice: Wallet, tmp_path: Path) -> Iterator[SessionTill]:
    """A till whose store is a file."""
    made = SessionTill(bank, alice, open_store(f"sqlite:///{tmp_path}/payments.db"))
    made.world.at_s = time.time()
    yield made
    made.store.close()


@pytest.fixture
def config(till: SessionTill, tmp_path: Path) -> str:
    """The configuration of the gate that sells there."""
    path = tmp_path / "gate.toml"
    path.write_text(
        f"""upstream = "http://127.0.0.1:1"
store = "sqlite:///{tmp_path}/payments.db"
[prices]
"GET /paid/*" = "0.001"
[[accept]]
method = "toy"
bank = "{till.bank.path}"
recipient = "shop"
sessions = true
"""
    )
    return str(path)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of JSON that were printed."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_once_does_what_is_to_be_done_and_ends(
    till: SessionTill, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paid out, told in one line of JSON per network, exit code 0; a second time there is nothing to do."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    assert main(["settler", config, "--once", "--json", *NOW]) == ExitCode.OK
    (line,) = told(capsys)
    assert (line["network"], line["answered"], line["settled"], line["channels"]) == (NETWORK, True, 1, 1)
    assert till.bank.balance("shop") == buyer.record.settled == COST
    assert main(["settler", config, "--once", *NOW]) == ExitCode.OK
    assert "1 channels watched, 0 settled, 0 closed" in capsys.readouterr().out


def test_flags_stand_in_for_a_file(till: SessionTill, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store and the method's own settings; both a file and flags are too much."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    till.world.at_s += 1
    flags = ["--store", f"sqlite:///{tmp_path}/payments.db", "--method", "toy", "--bank", till.bank.path]
    given = ["settler", *flags, "--recipient", "shop", "--sessions", "--once", "--json", *NOW]
    assert main(given) == ExitCode.OK
    assert told(capsys)[0]["settled"] == 1
    assert main(["settler", "x.toml", "--recipient", "shop"]) == ExitCode.USAGE


def test_thresholds_stand_in_the_file_and_a_flag_wins(
    till: SessionTill, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate and the settler read the same table; one that makes no sense is named."""
    with Path(config).open("a") as file:
        file.write(f"[settler]\ninside = false\nsettle_units = {2 * COST}\n")
    assert load_config(Path(config)).settling().inside is False
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    assert main(["settler", config, "--once", "--json"]) == ExitCode.OK
    assert told(capsys)[0]["settled"] == 0
    assert main(["settler", config, "--once", "--json", "--settle-units", str(COST)]) == ExitCode.OK
    assert told(capsys)[0]["settled"] == 1
    with Path(config).open("a") as file:
        file.write("batch = 0\n")
    assert main(["settler", config, "--once"]) == ExitCode.USAGE
    assert "a batch is 1 channel or more" in capsys.readouterr().err


def test_how_long_answers_are_kept_stands_in_the_file(
    till: SessionTill, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that a closed channel paid: a week, or what the table says; 0: for ever."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST), idempotency_key="k")
    till.store.mark_closed(buyer.held.key, 0).result()
    text = Path(config).read_text()
    for table, forgotten in (("", 0), ("keep_answers_s = 0\n", 0), ("keep_answers_s = 0.000001\n", 1)):
        Path(config).write_text(f"{text}[settler]\n{table}")
        assert main(["settler", config, "--once", "--json"]) == ExitCode.OK
        assert told(capsys)[0]["forgotten"] == forgotten


def test_exit_codes_tell_what_kept_it(
    till: SessionTill, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """5: sent, and the end is not known; 1: the bank refused it; 3: no answer."""
    monkeypatch.setattr(service, "ONCE_PATIENCE_S", 0.1)
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    till.bank.order("stuck")
    assert main(["settler", config, "--once", *NOW]) == ExitCode.UNKNOWN
    till.bank.release()
    assert main(["settler", config, "--once", *NOW]) == ExitCode.OK
    till.serve(buyer.voucher(2 * COST))
    till.bank.order("revert")
    assert main(["settler", config, "--once", *NOW]) == ExitCode.FAILURE
    capsys.readouterr()
    real = Bank.look_at
    monkeypatch.setattr(Bank, "look_at", lambda self, channels: (self.order("down"), real(self, channels))[1])
    assert main(["settler", config, "--once", "--json"]) == ExitCode.NETWORK
    assert told(capsys)[0]["answered"] is False


def test_wrong_settings_are_named(till: SessionTill, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No sessions to settle; an interval that a payer could outrun; thresholds that mean nothing."""
    Path(config).write_text(Path(config).read_text().replace("sessions = true", "sessions = false"))
    assert main(["settler", config, "--once"]) == ExitCode.USAGE
    assert "no sessions are sold" in capsys.readouterr().err
    Path(config).write_text(Path(config).read_text().replace("sessions = false", "sessions = true"))
    assert main(["settler", config, "--once", "--every", "400"]) == ExitCode.USAGE
    assert "at least every 300 s" in capsys.readouterr().err
    assert main(["settler", config, "--once", "--settle-units", "-1"]) == ExitCode.USAGE


@pytest.mark.guard("T27")
def test_it_runs_until_it_is_told_to_end(till: SessionTill, config: str) -> None:
    """A payer who asks the bank to close is seen; SIGTERM ends it in order, with exit code 0."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "coinslot.cli.main", "settler", config, "--json", "--every", "0.1"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["watching"] == [NETWORK]
        buyer.ask_to_close()
        deadline = time.monotonic() + 30
        while buyer.record.stage is not Stage.CLOSED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert sum(json.loads(line)["closed"] for line in out.splitlines()) == 1
    assert till.bank.balance("shop") == COST


# --- doctor --------------------------------------------------------------------------------------


def doctor(config: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What doctor finds."""
    capsys.readouterr()
    code = main(["doctor", "--config", config, "--json"])
    found: dict[str, Any] = told(capsys)[0]
    assert code == (0 if found["ok"] else 1)
    found["findings"] = [(one["check"], one["text"]) for one in found["findings"] if one["check"] != "files"]
    return found


def test_doctor_knows_channels_and_their_journal(
    till: SessionTill, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Opens and top-ups are payments with entries of their own; what is bought and not paid out is told."""
    buyer, gone = till.buyer(), till.buyer()
    till.answer(buyer.top_up(500))
    till.serve(buyer.voucher(COST))
    gone.ask_to_close()
    main(["settler", config, "--once"])
    for name in tmp_path.glob("payments.db*"):
        name.chmod(0o600)
    found = doctor(config, capsys)
    assert (found["ok"], found["findings"], found["payments"], found["confirmed"]) == (True, [], 3, 3)
    channels = found["channels"]
    assert (channels["alive"], channels["frozen"]) == (1, [])
    assert channels["unsettled_units"] == {"toy:main/coin": str(COST)}
    assert 0 <= channels["watched_ago_s"][NETWORK] < 30
    assert main(["doctor", "--config", config]) == 0
    shown = capsys.readouterr().out
    assert f"1 not closed; not settled: {COST} base units of toy:main/coin" in shown
    assert f"{NETWORK}: looked" in shown


@pytest.mark.guard("F26", "F27", "T27")
def test_doctor_finds_what_a_settler_would_have_seen(
    till: SessionTill, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A payer that is leaving, a record older than the chain, a journal that lost an entry, and nobody who looks."""
    leaving, old, lost = till.buyer(), till.buyer(), till.buyer()
    leaving.ask_to_close()
    till.serve(old.voucher(COST))
    raw = till.payer.sign(old.held, 5 * COST)
    later = Close(5 * COST, f"{5 * COST}:{raw.decode().partition(':')[2]}".encode(), 5 * COST)
    sent = run(till.seller.pay_out([(old.record, later, False)]), till.world)
    run(till.seller.send(sent.raw), till.world)
    till.serve(lost.voucher(COST))
    till.store.note_settled(lost.held.key, COST).result()
    till.store._write(  # type: ignore[attr-defined]
        lambda db: db.change("UPDATE coinslot_watches SET at = at - 301", {})
    ).result()
    found = doctor(config, capsys)
    texts = [text for _, text in found["findings"]]
    assert found["channels"]["frozen"] == [old.held.key]
    for part in (
        "asked the chain to close it", "frozen: the chain paid out 5000", "nobody has looked at its channels for 30",
        f"holds {DEPOSIT} base units in escrow instead of {DEPOSIT - COST}",
    ):  # fmt: skip
        assert any(part in text for text in texts), (part, texts)
    assert len(texts) == 4
