"""A throw-away PostgreSQL server from the machine's own packages; each test gets a fresh database in it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# The server is up in about a second; a busy machine of two cores may need ten times that.
START_S = 30.0
# A fast shutdown waits for no client; what lasts longer hangs.
STOP_S = 20.0
# PostgreSQL refuses to run as root; Debian's package brings this user.
SYSTEM_USER = "postgres"


def server_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`: Debian's newest, else whatever is on the PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One PostgreSQL server on loopback with its data in a folder of its own."""

    def __init__(self, binaries: Path) -> None:
        self._bin = binaries
        self._user = SYSTEM_USER if os.geteuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="coinslot-pg-"))
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self._home, self._user)

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def create(self) -> None:
        """Lay down an empty cluster."""
        options = ["-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        command = [str(self._bin / "initdb"), "-D", str(self._home / "data"), "-U", "postgres", *options]
        made = subprocess.run(command, user=self._user, cwd=self._home, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr.decode()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = ["-k", str(self._home), "-c", "listen_addresses=127.0.0.1"]
        command = [str(self._bin / "postgres"), "-D", str(self._home / "data"), "-p", str(self._port), *options]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=self._user, cwd=self._home, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        ask = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        while subprocess.run(ask, check=False).returncode != 0:
            alive = self._process.poll() is None and time.monotonic() < deadline
            assert alive, (self._home / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT at once but in order, SIGQUIT as in a crash."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Delete everything the server wrote."""
        shutil.rmtree(self._home, ignore_errors=True)

    def sql(self, statement: str) -> None:
        """Run one statement as the server's owner."""
        command = [
            str(self._bin / "psql"),
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.url(),
            "-c",
            statement,
        ]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A running server with nothing in it; skipped where PostgreSQL is not installed."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here; on Debian: apt-get install postgresql")
    server = Server(binaries)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Server) -> str:
    """The address of the server's own database, shared by all tests."""
    return postgres_server.url()


@pytest.fixture
def postgres_db(postgres_server: Server) -> Iterator[str]:
    """The address of a fresh, empty database that this test has for itself."""
    name = f"t_{secrets.token_hex(8)}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
