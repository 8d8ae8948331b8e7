"""`coinslot store`: what the record holds, and a copy that can stand in for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinslot.cli.main import main
from coinslot.cli.output import ExitCode
from coinslot.cli.store import shown
from coinslot.store.protocol import Stage
from support.record import Record


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main(["store", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_info_counts_payments_and_accounts(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """How many payments stand where, and what each account has; accounts sum to zero."""
    (
        record.pay("0.01", Stage.CLAIMED),
        record.pay("0.02"),
        record.pay("0.03", Stage.SETTLED),
        record.pay("1", Stage.FAILED),
    )
    info = told(capsys, "info", "--store", record.url)
    assert info["payments"] == {"claimed": 1, "prepared": 0, "settled": 1, "delivered": 1, "failed": 1}
    assert info["balances_units"] == {"toy:main/coin": {"payer:alice": "-50000", "payee:shop": "50000"}}
    assert info["store"] == record.url
    assert info["bytes"] == record.path.stat().st_size
    assert main(["store", "info", "--store", record.url]) == 0
    assert "payee:shop   50000" in capsys.readouterr().out


def test_a_backup_stands_in_for_the_record(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Taken while the record is in use, it shows the same payments, and only its owner may read it."""
    paid, copy = record.pay(), tmp_path / "copy.sqlite"
    made = told(capsys, "backup", str(copy), "--store", record.url)
    assert (made["backup"], made["bytes"]) == (str(copy), copy.stat().st_size)
    assert copy.stat().st_mode & 0o777 == 0o600
    later = record.pay()
    assert main(["payments", "list", "--store", f"sqlite:///{copy}"]) == 0
    listed = capsys.readouterr().out
    assert paid.challenge.id in listed
    assert later.challenge.id not in listed


def test_a_backup_overwrites_nothing(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is left alone; a folder that isn't there is a named error."""
    file = tmp_path / "mine"
    file.write_text("mine")
    assert main(["store", "backup", str(file), "--store", record.url]) == ExitCode.FAILURE
    assert file.read_text() == "mine"
    assert main(["store", "backup", str(tmp_path / "no" / "folder"), "--store", record.url]) == ExitCode.FAILURE
    assert main(["store", "backup", str(tmp_path / "copy"), "--store", f"sqlite:///{tmp_path}/no"]) == ExitCode.USAGE
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.guard("T38")
def test_a_stores_password_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in results nor in errors: user, password and options stay out."""
    assert shown("postgresql://me:hunter2@db:5432/pay?sslkey=hunter2") == "postgresql://db:5432/pay"
    assert shown("sqlite:////var/lib/a.sqlite") == "sqlite:////var/lib/a.sqlite"
    for url in ("postgresql://me:hunter2@127.0.0.1:1/pay?connect_timeout=1", "mysql://me:hunter2@db/pay"):
        assert main(["store", "info", "--store", url]) != 0
        assert "hunter2" not in "".join(capsys.readouterr())
