"""The node's program comes through npm once, and only the pinned one is ever kept."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from coinslot.devnet import fetch
from coinslot.devnet.anvil import Anvil, find_anvil, speaks_tempo
from coinslot.errors import ConfigError, DevnetError, IntegrityMismatch, NodeUnavailable


def tarball(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A package made of these members."""
    path = folder / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def program(name: str = "package/bin/anvil") -> tuple[tarfile.TarInfo, bytes]:
    """A member that claims to be the program."""
    return tarfile.TarInfo(name), b"#!/bin/sh\necho hello\n"


def test_another_tarball_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """One wrong byte, and nothing is unpacked."""
    package, target = tarball(tmp_path, program()), tmp_path / "anvil"
    with pytest.raises(IntegrityMismatch, match="thrown away"):
        fetch.unpack(package, fetch.PINNED["linux-amd64"], target)
    assert not target.exists()


def test_only_the_program_is_unpacked(tmp_path: Path) -> None:
    """Whatever else a package holds, climbing paths included, never reaches the disk."""
    room, target = tmp_path / "room", tmp_path / "cache" / "anvil"
    room.mkdir()
    target.parent.mkdir()
    package = tarball(room, program("../../evil"), program("/tmp/evil"), program(), program("package/more"))
    fetch.unpack(package, fetch.integrity_of(package), target)
    assert os.access(target, os.X_OK)
    assert target.read_bytes() == program()[1]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["anvil", "package.tgz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_program_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    """A link in the program's place would lead out of the package."""
    info = tarfile.TarInfo("package/bin/anvil")
    info.type, info.linkname = kind, "/bin/sh"
    package = tarball(tmp_path, (info, b""))
    with pytest.raises(IntegrityMismatch, match="not a program"):
        fetch.unpack(package, fetch.integrity_of(package), tmp_path / "anvil")


def test_a_package_without_the_program_is_refused(tmp_path: Path) -> None:
    """The error names what is missing."""
    package = tarball(tmp_path, program("package/bin/forge"))
    with pytest.raises(IntegrityMismatch, match="package/bin/anvil"):
        fetch.unpack(package, fetch.integrity_of(package), tmp_path / "anvil")


def test_without_npm_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No npm: a named error, and nothing in the cache."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(fetch.INTEGRITY_VARIABLE, "sha512-x")
    with pytest.raises(NodeUnavailable, match=r"npm is not installed.*COINSLOT_ANVIL"):
        fetch.fetch_program(tmp_path / "cache")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def fake_npm(folder: Path, script: str) -> None:
    """An npm that does what the script says."""
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)


def test_without_network_the_error_repeats_npms_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """npm fails: its own code and summary are told, and nothing stays in the cache."""
    fake_npm(tmp_path, """echo '{"error": {"code": "ENOTFOUND", "summary": "no such host"}}'; exit 1""")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(fetch.INTEGRITY_VARIABLE, "sha512-x")
    with pytest.raises(NodeUnavailable, match="ENOTFOUND: no such host"):
        fetch.fetch_program(tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_false_package_from_npm_never_reaches_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What npm brings is checked against the pin, whatever npm itself thinks of it; people see why they wait."""
    caplog.set_level("INFO", "coinslot.devnet")
    made = tarball(tmp_path, program())
    fake_npm(tmp_path, f'cp {made} "$5/a.tgz"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(fetch.INTEGRITY_VARIABLE, "sha512-x")
    with pytest.raises(IntegrityMismatch):
        fetch.fetch_program(tmp_path / "cache")
    assert "this happens once" in caplog.text
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_what_is_not_pinned_is_not_fetched_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform without a pin the user must name the integrity; then that is what counts."""
    monkeypatch.delenv(fetch.INTEGRITY_VARIABLE, raising=False)
    with pytest.raises(NodeUnavailable, match="not pinned"):
        fetch.expected_integrity("darwin-arm64")
    monkeypatch.setenv(fetch.INTEGRITY_VARIABLE, "sha512-mine")
    assert fetch.expected_integrity("darwin-arm64") == "sha512-mine"
    assert fetch.expected_integrity("linux-amd64") == fetch.PINNED["linux-amd64"]


def test_an_unknown_machine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are packages for five platforms."""
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(NodeUnavailable, match="s390x"):
        fetch.this_platform()


def test_a_named_program_must_exist_and_know_tempo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COINSLOT_ANVIL is believed only where it can work; there is no silent way around it."""
    monkeypatch.setenv(fetch.PROGRAM_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="nothing"):
        find_anvil()
    old = tmp_path / "anvil"
    old.write_text("#!/bin/sh\necho '--network <NETWORK> [ethereum, optimism]'\n")
    old.chmod(0o755)
    monkeypatch.setenv(fetch.PROGRAM_VARIABLE, str(old))
    with pytest.raises(NodeUnavailable, match="too old"):
        find_anvil()


def test_an_anvil_on_the_path_is_used_only_if_it_knows_tempo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old one is passed over for npm, a new one saves the download."""
    monkeypatch.delenv(fetch.PROGRAM_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(fetch.INTEGRITY_VARIABLE, "sha512-x")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = tmp_path / "anvil"
    found.write_text("#!/bin/sh\necho '--network <NETWORK> [ethereum, tempo]'\n")
    found.chmod(0o755)
    assert find_anvil() == found
    found.write_text("#!/bin/sh\necho '--network <NETWORK> [ethereum]'\n")
    assert not speaks_tempo(found)
    fake_npm(tmp_path, "exit 1")
    with pytest.raises(NodeUnavailable, match="npm could not fetch"):
        find_anvil()


def test_a_program_that_ends_at_once_is_explained_by_its_last_words(tmp_path: Path) -> None:
    """What it printed is in the error, and nothing is left running."""
    broken = tmp_path / "anvil"
    broken.write_text("#!/bin/sh\necho 'no memory left' >&2\nexit 3\n")
    broken.chmod(0o755)
    anvil = Anvil(broken, 42431, 1, None)
    with pytest.raises(DevnetError, match="no memory left"):
        anvil.wait_port()
    assert not anvil.alive
