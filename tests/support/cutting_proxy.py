"""A TCP proxy that loses an answer, or a question, or everything from now on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CHUNK = 65536


class CuttingProxy:
    """Forwards to `target`. Armed, it strikes once at the first question that holds `needle`, then forwards again."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._needle = b""
        self._deliver = True
        self._freeze_at = b""
        self._frozen = threading.Event()
        self._ended = threading.Event()
        self._lines: list[socket.socket] = []
        self.strikes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self._listener.getsockname()[1])

    def lose_answer(self, needle: bytes) -> None:
        """Deliver the question, wait for its answer, keep that, and close."""
        self._needle, self._deliver = needle, True

    def lose_question(self, needle: bytes) -> None:
        """Close instead of delivering the question."""
        self._needle, self._deliver = needle, False

    def freeze(self, at: bytes = b"") -> None:
        """Forward nothing more, and close nothing: from now on, or from the first question on that holds `at`."""
        self._freeze_at = at
        if not at:
            self._frozen.set()

    def close(self) -> None:
        """End every line."""
        self._ended.set()
        for line in (self._listener, *self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._lines += [client, server]
                lost = threading.Event()
                threading.Thread(target=self._questions, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server, lost), daemon=True).start()

    def _questions(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while chunk := client.recv(CHUNK):
                if self._freeze_at and self._freeze_at in chunk:
                    self._frozen.set()
                if self._frozen.is_set():
                    self._ended.wait()
                    return
                if self._needle and self._needle in chunk:
                    self._needle = b""
                    self.strikes += 1
                    if not self._deliver:
                        break
                    lost.set()
                server.sendall(chunk)
        for line in () if lost.is_set() else (client, server):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _answers(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while chunk := server.recv(CHUNK):
                if self._frozen.is_set():
                    self._ended.wait()
                    return
                if lost.is_set():
                    break
                client.sendall(chunk)
        for line in (client, server):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
