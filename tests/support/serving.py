"""Real servers for the doors, and a client that pays the toy method by hand.

with asgi_server(app) as url, wsgi_server(app) as url: ...
payer = Payer(alice)
answer = payer.get(url + "/paid")                    # asks, pays, presents
credential = payer.credential(httpx.get(url))        # pays, presents nothing yet
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import httpx
import uvicorn

from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld, run
from coinslot.method import load
from coinslot.settings import settings
from coinslot.transports.slot import Slot
from support.patience import within
from support.toybank import Bank

# Longer than anything here takes on a busy machine; a door that hangs must fail the test, not the run.
TIMEOUT_S = within(20.0)


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Says that it was paid for."""
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"paid for"})


@contextmanager
def asgi_server(app: Any, **options: Any) -> Iterator[str]:
    """uvicorn in a thread, on a free port of loopback."""
    options = {"log_level": "critical", "lifespan": "off", "ws": "websockets-sansio"} | options
    server = uvicorn.Server(uvicorn.Config(app, **options))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    waited = threading.Event()
    while not server.started and thread.is_alive():
        waited.wait(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit, server.force_exit = True, options["lifespan"] == "off"
        thread.join(TIMEOUT_S)
        listener.close()


class _Quiet(WSGIRequestHandler):
    raw_requestline: bytes

    def get_environ(self) -> dict[str, Any]:
        """With the path as it came: wsgiref mends leading slashes, other servers do not."""
        self.path = self.raw_requestline.split()[1].decode("latin-1")
        return super().get_environ()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the test."""


@contextmanager
def wsgi_server(app: Any) -> Iterator[str]:
    """wsgiref in threads, on a free port of loopback."""
    server = _Threaded(("127.0.0.1", 0), _Quiet)
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(TIMEOUT_S)


class Payer:
    """Pays by hand, so that every step can be left out or done twice."""

    def __init__(self, wallet: Mapping[str, Any]) -> None:
        method = load("toy")
        self._world = RealWorld()
        self._payer = run(method.payers(settings(method.Wallet, wallet, "test")), self._world)[0]
        # A server may close its connection after an error: no request of a test rides on one that is closing.
        self.client = httpx.Client(timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def offers(self, answer: httpx.Response) -> list[Challenge]:
        """The challenges of a 402."""
        good, bad = parse_challenges(answer.headers.get_list("www-authenticate"))
        assert not bad
        return good

    def credential(self, answer: httpx.Response) -> str:
        """Pay the first challenge of a 402; the header value that presents it."""
        assert answer.status_code == 402, (answer.status_code, answer.text)
        challenge = self.offers(answer)[0]
        shown = run(self._payer.pay(challenge, self._payer.terms(challenge)), self._world)
        if shown.sending is not None:
            run(self._payer.send(shown.sending, again=False), self._world)
        return encode_credential(challenge, shown.payload, shown.source)

    def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Ask, pay, present."""
        headers = dict(options.pop("headers", {}))
        asked = self.client.request(method, url, headers=headers, **options)
        name = "Payment-Authorization" if self.offers(asked)[0].header else "Authorization"
        return self.client.request(method, url, headers={**headers, name: self.credential(asked)}, **options)

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Ask, pay, present."""
        return self.send("GET", url, **options)


def raw_request(url: str, head: bytes) -> bytes:
    """Whole answer to hand-written bytes; {host} stands for the server. Ends the connection."""
    host = httpx.URL(url)
    with socket.create_connection((host.host, host.port or 80), TIMEOUT_S) as wire:
        wire.sendall(head.replace(b"{host}", host.netloc))
        answer = b""
        while chunk := wire.recv(65536):
            answer += chunk
    return answer


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 if there is none."""
    line = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(line[1]) if len(line) > 1 else 0


def make_slot(bank: Bank, **options: Any) -> Slot:
    """A slot with other options."""
    return Slot("shop.example", **{"store": "memory:", "toy": {"bank": bank.path, "recipient": "shop"}, **options})


class Handshake:
    """A stream of two chunks: the second is made only when the test has read the first."""

    FIRST, SECOND = b"first chunk;", b"second chunk;"

    def __init__(self) -> None:
        self.read_first = threading.Event()
        self.made_second = threading.Event()

    def chunks(self) -> Iterator[bytes]:
        """The stream."""
        yield self.FIRST
        assert self.read_first.wait(TIMEOUT_S), "nobody read the first chunk: it was buffered"
        self.made_second.set()
        yield self.SECOND

    def check(self, payer: Payer, url: str) -> None:
        """Read chunk by chunk; the receipt comes with the head, the recording before the end."""
        authorization = payer.credential(payer.client.get(url))
        with payer.client.stream("GET", url, headers={"Authorization": authorization}) as answer:
            assert answer.status_code == 200
            assert answer.headers["payment-receipt"]
            pieces = answer.iter_raw()
            got = next(pieces)
            assert got.startswith(self.FIRST)
            assert not self.made_second.is_set()
            self.read_first.set()
            got += b"".join(pieces)
        assert got == self.FIRST + self.SECOND
        again = payer.client.get(url, headers={"Authorization": authorization})
        assert (again.status_code, again.content) == (200, got)
        assert again.headers["idempotent-replayed"] == "true"
