"""An application for uvicorn workers that are killed: paid from channels, on a store that all workers share.

    GET /item      the ASGI door around a handler that says which run of it this is
    GET /stream    ten events, charged one by one before each is sent, in windows of four

`Workers` starts `uvicorn --workers 2` on it. In one of them, once, `strike` names the failpoint where it dies: the
first to come there leaves a mark, kills itself, and uvicorn puts another in its place. Handlers write a line to the log
for each run and each event.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from coinslot import drive
from coinslot.drive import run_async
from coinslot.method import sells_sessions
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.meter import Meter
from coinslot.server.price import Metering, Price
from coinslot.server.settler import Policy
from coinslot.store.open import open_store
from coinslot.transports.asgi import CoinslotMiddleware, incoming, send_answer
from coinslot.transports.slot import Slot
from support.lapse import LONG_LEASE_S, lapse, owner_of, owners

TESTS = Path(__file__).resolve().parent.parent
VARIABLE = "COINSLOT_TEST_WORKERS"
PRICE, COST = "0.001", 1_000
EVENTS, WINDOW = 10, 4
READY_S = 40.0


@dataclass
class Workers:
    """`with Workers(folder, store, toy={...}, strike="session.spent") as workers: httpx.get(workers.url + "/item")`.

    `methods` are settings of payment methods by name.
    """

    folder: Path
    store: str
    methods: dict[str, Any]
    strike: str = ""
    count: int = 2
    url: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _over: threading.Event = field(default_factory=threading.Event, init=False)
    _burying: threading.Thread | None = field(default=None, init=False)

    @property
    def mark(self) -> Path:
        """There once somebody died: who that was to the store."""
        return self.folder / "struck"

    def _bury(self) -> None:
        """What the dead one held is free at once; the living keep theirs, however long the machine stalls."""
        while not self._over.wait(0.05):
            dead = self.mark.read_text(encoding="ascii") if self.mark.exists() else ""
            if dead:
                break
        else:
            return
        with closing(open_store(self.store)) as store:
            while not self._over.wait(0.05):
                if dead in owners(store):
                    lapse(store, {dead})

    def logged(self) -> list[str]:
        """What handlers did."""
        path = self.folder / "log"
        return path.read_text(encoding="ascii").splitlines() if path.exists() else []

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.set_inheritable(True)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = {"folder": str(self.folder), "store": self.store, "methods": self.methods, "strike": self.strike}
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        command = [sys.executable, "-m", "uvicorn", "support.worker_app:app", "--factory", "--workers", str(self.count)]
        command += ["--fd", str(listener.fileno()), "--log-level", "critical", "--no-access-log"]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, VARIABLE: json.dumps(told), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        listener.close()
        self._burying = threading.Thread(target=self._bury)
        self._burying.start()
        try:
            self.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def wait(self) -> None:
        """Until somebody answers."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/free", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError("the workers do not answer")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._burying is not None:
            self._burying.join()
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: nobody else is in it
            self._process.wait()


# --- in a worker ---------------------------------------------------------------------------------


def app() -> Any:
    """What uvicorn runs."""
    told = json.loads(os.environ[VARIABLE])
    folder = Path(told["folder"])
    store = open_store(told["store"], lease_s=LONG_LEASE_S)
    if told["strike"]:
        _arm(told["strike"], folder / "struck", owner_of(store))
    slot = Slot(
        "workers.example.com",
        store=store,
        secret_key="of all these workers, and of nobody else",
        settle=Policy(settle_units=6 * COST, settle_after_s=None, close_idle_after_s=None),
        settle_every_s=1.0,
        patience_s=5.0,
        **told["methods"],
    )
    return _App(slot, folder / "log")


def _arm(name: str, mark: Path, owner: str) -> None:
    def strike(at: str) -> None:
        if at != name:
            return
        try:
            handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:  # somebody died here before
            return
        os.write(handle, owner.encode("ascii"))
        os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)


class _App:
    def __init__(self, slot: Slot, log: Path) -> None:
        self._slot, self._log, self._runs = slot, log, 0
        sellers = [one for one in slot.sellers if sells_sessions(one)]
        self._stream_price = Price(Decimal(PRICE), sellers, metering=Metering("event", WINDOW, patience_s=10.0))
        self._paid = CoinslotMiddleware(self._item, slot, {"GET /item": Price(PRICE, sellers), "/free": None})
        slot.resolving.ensure()  # also where nobody asks for anything, as `coinslot gate` does

    def _say(self, word: str) -> None:
        handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{word}\n".encode("ascii"))
        os.close(handle)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/stream":
            await self._stream(scope, send)
        else:
            await self._paid(scope, receive, send)

    async def _item(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        body = b"free"
        if scope["path"] == "/item":
            self._runs += 1
            self._say("item")
            body = f"item {os.getpid()}-{self._runs}".encode("ascii")
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, scope: Any, send: Any) -> None:
        gate, world = self._slot.gate, self._slot.async_world
        got = await run_async(gate.admit(incoming(scope, b""), self._stream_price), world)
        if isinstance(got, Answer):
            await send_answer(got, scope, send)
            return
        assert isinstance(got, SessionAdmission)
        assert got.meter is not None
        watching = Delivering(got.receipt, got.headers)
        headers = watching.begin(200, [("content-type", "text/event-stream")])
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        whole = False
        try:
            async for event in self._events(got.meter):
                watching.add(event)
                await send({"type": "http.response.body", "body": event, "more_body": True})
            delivery = watching.finish()
            assert delivery is not None
            await run_async(gate.delivered(got, delivery), world)
            whole = True
        finally:
            if not whole:
                gate.abandoned(got)
        await send({"type": "http.response.body", "body": b"data: end\n\n"})

    async def _events(self, meter: Meter) -> AsyncIterator[bytes]:
        """Charge, then send."""
        world = self._slot.async_world
        for number in range(EVENTS):
            while not meter.take():
                if await run_async(meter.renew(), world):
                    continue
                yield b"event: payment-need-voucher\ndata: " + json.dumps(dict(meter.need())).encode() + b"\n\n"
                if not await run_async(meter.wait_for(), world):
                    return
            self._say("event")
            yield f"data: word {number}\n\n".encode()
