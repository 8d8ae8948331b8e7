"""The test tools themselves: a PostgreSQL server that is real, and skips that can't hide in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.postgres
def test_a_fresh_database_is_empty_and_writable(postgres_db: str) -> None:
    """Each test gets a database of its own on a real server."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres_db) as connection:
        connection.execute("CREATE TABLE mine (n bigint)")
        connection.execute("INSERT INTO mine VALUES (7)")
        assert connection.execute("SELECT n FROM mine").fetchone() == (7,)


@pytest.mark.parametrize(
    ("ci", "reason", "code"),
    [("true", "no server here", 1), ("true", "not applicable: other system", 0), ("", "no server here", 0)],
)
def test_in_ci_a_skip_is_a_failure(tmp_path: Path, ci: str, reason: str, code: int) -> None:
    """A missing program may excuse a test on a user's machine and never in CI."""
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        f"import pytest\ndef test_it():\n    pytest.skip({reason!r})\ndef test_other():\n    pass\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(tmp_path),
    ]
    environment = {**os.environ, "CI": ci}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
