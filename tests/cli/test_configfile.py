"""CONFIG.toml is named in either way, to every command that reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinslot.cli.main import main
from coinslot.cli.output import ExitCode
from support.toybank import Bank

COMMANDS = {
    "gate": ["--check", "--json"],
    "settler": ["--once", "--json"],
    "doctor": ["--json"],
}


@pytest.fixture
def folder(tmp_path: Path, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two files that say the same, and their store."""
    text = (
        'upstream = "http://127.0.0.1:9"\nrealm = "gate.example"\nstore = "sqlite:///pay.sqlite"\n'
        '[prices]\n"GET /paid/*" = "0.01"\n'
        f'[[accept]]\nmethod = "toy"\nbank = "{bank.path}"\nrecipient = "shop"\nsessions = true\n'
    )
    monkeypatch.chdir(tmp_path)
    for name in ("gate.toml", "other.toml"):
        (tmp_path / name).write_text(text)
    assert main(["gate", "gate.toml", "--check"]) == 0  # makes the store
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_both_ways_name_the_same_file(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As an argument, as an option, and as both where they agree."""
    answers = []
    for given in (["gate.toml"], ["--config", "gate.toml"], ["gate.toml", "--config", str(folder / "gate.toml")]):
        capsys.readouterr()
        assert main([command, *given, *COMMANDS[command]]) == 0, given
        answers.append(json.loads(capsys.readouterr().out))
    assert {frozenset(one) for one in answers} == {frozenset(answers[0])}
    assert answers[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_two_files_are_one_error(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names both, and nothing is done."""
    capsys.readouterr()
    given = ["gate.toml", "--config", "other.toml"]
    assert main([command, *given, *(one for one in COMMANDS[command] if one != "--json")]) == ExitCode.USAGE
    out, error = capsys.readouterr()
    assert out == ""
    assert error.strip() == "Error: two configurations: gate.toml and --config other.toml; name one."


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_both_ways(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the line of usage, and among the options."""
    assert main([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert "[CONFIG.toml]" in told
    assert "--config" in told


@pytest.mark.parametrize(
    "flag", [["--listen", "127.0.0.1:1"], ["--store", "memory:"], ["--realm", "x"], ["--workers", "2"]]
)
@pytest.mark.parametrize("way", [[], ["--config"]])
def test_a_flag_beside_a_file_is_not_ignored(
    folder: Path, flag: list[str], way: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What a gate would not do is refused."""
    assert main(["gate", *way, "gate.toml", "--check", *flag]) == ExitCode.USAGE
    assert "not both" in capsys.readouterr().err
