"""Connections to PostgreSQL: opened with the settings that make a commit durable, kept, and cut when they hang."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from coinslot.errors import ConfigError, StoreError

# PostgreSQL's own time limits act first; a server that doesn't even answer those is cut off this much later.
GRACE_S = 2.0
# How often to look for connections that hang.
WATCH_EVERY_S = 1.0
# libpq takes whole seconds, and reads 1 as 2.
MIN_CONNECT_S = 2

# A weaker setting would acknowledge what a crash, or a failover, then forgets. F19
_WEAK_COMMITS = {"off", "local", "remote_write"}


class Session:
    """A connection and until when (monotonic seconds) whoever uses it may; None while nobody does."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.until: float | None = None

    @contextmanager
    def watched(self, until: float) -> Iterator[None]:
        """Use the connection; after `until` (monotonic seconds) and some grace it is cut."""
        self.until = until + GRACE_S
        try:
            yield
        finally:
            self.until = None

    def cut(self) -> None:
        """Shut the socket from another thread: whoever waits on it gets an error now."""
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.pgconn.socket)) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close; no error if it is broken."""
        with suppress(psycopg.Error):
            self.connection.close()


def open_session(url: str, wait_s: float) -> Session:
    """Connect. Raises ConfigError for a URL or a server that can't do; StoreError if it can't be reached."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError("store: not a URL that PostgreSQL understands: postgresql://user@host/database") from None
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=max(MIN_CONNECT_S, round(wait_s)),
            fallback_application_name="coinslot",
        )
    except psycopg.Error as error:
        reason = str(error).strip().partition("\n")[0]  # libpq names host and user, never the password
        raise StoreError(f"PostgreSQL can't be reached: {reason}") from None
    session = Session(connection)
    late = threading.Timer(wait_s + GRACE_S, session.cut)  # no limit of the server's own holds yet
    late.daemon = True
    late.start()  # F19
    try:
        _settle(connection, int(wait_s * 1000))
    except psycopg.Error as error:
        session.close()
        raise StoreError(f"PostgreSQL can't be used: {type(error).__name__}") from None
    except ConfigError:
        session.close()
        raise
    finally:
        late.cancel()
    return session


def _settle(connection: psycopg.Connection[Any], wait_ms: int) -> None:
    """Durable commits, bounded waits, and a stopped client that holds no locks for ever."""
    (durable,) = connection.execute("SHOW fsync").fetchone() or ("off",)
    if durable != "on":
        raise ConfigError("store: this PostgreSQL runs with fsync=off and would lose payments; switch it on")
    (commit,) = connection.execute("SHOW synchronous_commit").fetchone() or ("off",)
    settings = [
        f"SET statement_timeout = {wait_ms}",
        f"SET idle_in_transaction_session_timeout = {2 * wait_ms}",
        "SET default_transaction_isolation = 'read committed'",
        "SET default_transaction_read_only = off",
    ]
    if commit in _WEAK_COMMITS:
        settings.append("SET synchronous_commit = on")
    connection.execute("; ".join(settings).encode())


class Pool:
    """Sessions that are kept open. As many are in use as there are threads that ask."""

    def __init__(self, url: str, wait_s: float) -> None:
        self._url = url
        self._wait_s = wait_s
        self._idle: deque[Session] = deque()
        self._used: set[Session] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    def take(self) -> Session:
        """An idle session, the last one used, or a new one. Raises StoreError if the server can't be reached."""
        with self._lock:
            session = self._idle.pop() if self._idle else None
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="coinslot-postgres-watch", daemon=True)
                self._watcher.start()
        if session is None:
            session = open_session(self._url, self._wait_s)
        with self._lock:
            self._used.add(session)
        return session

    def give_back(self, session: Session) -> None:
        """Keep it, unless it is closed."""
        with self._lock:
            self._used.discard(session)
            if self._closed.is_set():  # somebody used it beyond the end
                session.close()
            elif not session.connection.closed:
                self._idle.append(session)

    def close(self) -> None:
        """Close all that are idle, and cut those that somebody still waits on."""
        self._closed.set()
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            stuck = list(self._used)
        for session in stuck:
            session.cut()

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_EVERY_S):
            now = time.monotonic()
            with self._lock:
                used = list(self._used)
            for session in used:
                until = session.until  # read once: its user may be done with it at this moment
                if until is not None and until < now:
                    session.cut()
