"""A gate that sells from channels, behind real HTTP on loopback; mischief is put around it.

    shop = SessionShop(SessionTill(bank, alice, store))
    with Site(shop) as site: ...                     # GET anything -> 402, bought -> 200 b"words of /path 1"

With `metering` in the till, a paid GET is an event stream of `shop.events` events, one unit each, with the events that
ask for vouchers and tell the end. HEAD manages the channel, as at our doors.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from coinslot.drive import RealWorld, run
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.request import Incoming
from support.sessiontill import SessionTill
from support.site import Reply, Seen


def incoming(seen: Seen) -> Incoming:
    """A request as doors hand it to the gate."""
    path, _, query = seen.path.partition("?")
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in seen.headers.items():
        headers[name.lower()] = (*headers.get(name.lower(), ()), value)
    return Incoming(seen.method, path, query, headers, seen.body)


def reply_of(answer: Answer) -> Reply:
    """An answer as it is sent."""
    return Reply(answer.status, answer.body, tuple((k, v) for k, v in answer.headers if k != "content-length"))


@dataclass
class SessionShop:
    """Serves one till. `runs` are the paths whose handler ran."""

    till: SessionTill
    events: int = 10
    runs: list[str] = field(default_factory=list)
    receipts: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, seen: Seen) -> Reply:
        """The honest answer."""
        self.till.watch()
        request = incoming(seen)
        got = run(self.till.gate.admit(request, self.till.price), RealWorld())
        if isinstance(got, Answer):
            return reply_of(got)
        assert isinstance(got, SessionAdmission)
        with self.lock:
            self.runs.append(seen.path)
            count = len(self.runs)
        if got.meter is not None:
            watching = Delivering(got.receipt, got.headers)
            headers = watching.begin(200, [("content-type", "text/event-stream")])
            return Reply(200, b"", tuple(headers), chunks=self.stream(got))
        return self.deliver(got, f"words of {seen.path} {count}".encode())

    def deliver(self, admission: SessionAdmission, body: bytes) -> Reply:
        """A whole answer, recorded."""
        watching = Delivering(admission.receipt, admission.headers)
        headers = tuple(watching.begin(200, [("content-type", "text/plain")]))
        watching.add(body)
        delivery = watching.finish()
        assert delivery is not None
        run(self.till.gate.delivered(admission, delivery), RealWorld())
        return Reply(200, body, headers)

    def stream(self, admission: SessionAdmission) -> Iterator[bytes]:
        """Charge, then send."""
        meter, world = admission.meter, RealWorld()
        assert meter is not None
        done = False
        try:
            for number in range(self.events):
                while not meter.take():
                    if run(meter.renew(), world):
                        continue
                    yield b"event: payment-need-voucher\ndata: " + json.dumps(dict(meter.need())).encode() + b"\n\n"
                    if not run(meter.wait_for(), world):
                        return
                yield f"data: word {number}\n\n".encode()
            receipt = run(meter.finish(), world)
            done = True
            yield b"event: payment-receipt\ndata: " + json.dumps(receipt.members()).encode() + b"\n\n"
        finally:
            if not done:
                meter.abandon()
