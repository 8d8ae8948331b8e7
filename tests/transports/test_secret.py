"""Where the challenge secret comes from, and that it is kept."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coinslot.errors import ConfigError
from coinslot.transports.secret import VARIABLE, challenge_keys

LONG = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


@pytest.mark.guard("T11")
@pytest.mark.parametrize(
    ("given", "environment", "keys"),
    [
        (LONG, {VARIABLE: OTHER}, [LONG]),
        ([OTHER, LONG], {}, [OTHER, LONG]),
        (None, {VARIABLE: OTHER}, [OTHER]),
        (None, {VARIABLE: f"{OTHER}, {LONG}"}, [OTHER, LONG]),
    ],
)
def test_what_is_given_comes_first_then_the_environment(
    given: str | list[str] | None, environment: dict[str, str], keys: list[str]
) -> None:
    """Newest first, as a rotation wants it; no file is made."""
    assert challenge_keys(given, "sqlite:////nowhere/at/all", environment) == tuple(each.encode() for each in keys)


@pytest.mark.guard("T11")
@pytest.mark.parametrize(
    ("given", "environment"),
    [("short-secret", {}), ("", {}), ([LONG, "short-secret"], {}), (None, {VARIABLE: f"{LONG},short-secret"}),
     (None, {VARIABLE: ","})],
)  # fmt: skip
def test_a_short_secret_is_refused_and_not_repeated(given: str | list[str] | None, environment: dict[str, str]) -> None:
    """The message says how to make one, and shows none."""
    with pytest.raises(ConfigError, match="32 characters") as caught:
        challenge_keys(given, "memory:", environment)
    assert "short-secret" not in str(caught.value)
    assert LONG not in str(caught.value)


@pytest.mark.guard("T11")
def test_a_store_that_machines_share_needs_a_secret_that_they_share() -> None:
    """A made-up one would make each refuse the others' challenges."""
    for url in ("postgresql://db/payments", ""):
        with pytest.raises(ConfigError, match=VARIABLE):
            challenge_keys(None, url, {})


def test_a_memory_store_has_a_key_of_its_own() -> None:
    """A new one each time: nothing outlives the process anyway."""
    one, two = (challenge_keys(None, "memory:", {}) for _ in range(2))
    assert one != two
    assert len(one[0]) >= 32


@pytest.mark.guard("T11", "T38")
def test_a_file_store_keeps_its_secret_beside_it(tmp_path: Path) -> None:
    """Made once, for its owner's eyes only, the same after a restart, with no draft left over."""
    url = f"sqlite:///{tmp_path}/pay%20ments.db"
    keys = challenge_keys(None, url, {})
    (kept,) = tmp_path.iterdir()
    assert kept.name == "pay ments.db.secret"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_bytes() == keys[0]
    assert challenge_keys(None, url, {}) == keys


@pytest.mark.guard("T11")
def test_two_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    """Whoever is first makes it; nobody sees half of it."""
    url = f"sqlite:///{tmp_path}/payments.db"
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: challenge_keys(None, url, {}), range(64)))
    assert len(keys) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["payments.db.secret"]


@pytest.mark.guard("T11")
@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [(LONG, 0o644, "chmod 600"), (LONG, 0o640, "chmod 600"), ("", 0o600, "no secret"), ("x" * 31, 0o600, "no secret"),
     ("\xff" * 40, 0o600, "no secret")],
)  # fmt: skip
def test_a_secret_that_others_read_or_that_is_none_is_refused(
    tmp_path: Path, content: str, mode: int, message: str
) -> None:
    """It is not mended silently: somebody must know that it was open."""
    path = tmp_path / "payments.db.secret"
    path.write_text(content, encoding="latin-1")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=message) as caught:
        challenge_keys(None, f"sqlite:///{tmp_path}/payments.db", {})
    assert not content or content not in str(caught.value)


def test_a_secret_that_cannot_be_kept_or_read_is_an_error_of_the_setting(tmp_path: Path) -> None:
    """A folder that is not there, and a folder in its place."""
    with pytest.raises(ConfigError, match="can't keep"):
        challenge_keys(None, f"sqlite:///{tmp_path}/nowhere/payments.db", {})
    (tmp_path / "payments.db.secret").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="can't read"):
        challenge_keys(None, f"sqlite:///{tmp_path}/payments.db", {})
    assert os.listdir(tmp_path) == ["payments.db.secret"]
