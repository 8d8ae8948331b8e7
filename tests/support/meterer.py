"""A server whose streams are paid after they came: it says what a test wants, and keeps the commits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from coinslot.intents.acts import Held
from coinslot.intents.deliveries import COMMIT_PATH
from coinslot.store.book_sqlite import SqliteBook
from support.sessionsite import SessionShop
from support.site import Reply, Seen

# What a request to the shop costs, in base units.
COST = 1_000
# A stream that nobody releases ends by itself, long after the test that forgot it.
HELD_S = 30.0


def only(book: SqliteBook) -> Held:
    """The only channel."""
    (held,) = book.all().result()
    return held


def watermark(book: SqliteBook) -> tuple[int, int, int]:
    """signed, acknowledged and spent, above what asking cost."""
    held = only(book)
    return held.signed_units - COST - 1, held.acknowledged_units - COST - 1, held.spent_units - COST


@dataclass
class Meterer:
    """A shop whose streams are paid afterwards, and say what a test wants: `events` in order, `answers` to commits.

    In texts, CHANNEL is the channel that paid the stream. `released`: where it is there, a stream comes event by event,
    and does not end before that.
    """

    shop: SessionShop
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    commits: list[Seen] = field(default_factory=list)
    channel: str = ""
    end: bytes = b"data: [DONE]\n\n"
    released: threading.Event | None = None

    def directive(self, amount: object = "3000", **more: Any) -> tuple[str, dict[str, Any]]:
        """What a delivery may cost."""
        told = {
            "deliveryId": "d1",
            "sessionId": "CHANNEL",
            "amount": amount,
            "currency": "coin",
            "sequence": 1,
            "expiresAt": int(time.time()) + 600,
        }
        return "mpp.metering", {**told, **more}

    def __call__(self, seen: Seen) -> Reply:
        """A stream, a commit, or whatever the shop says."""
        if seen.path.startswith(COMMIT_PATH):
            if not seen.body:  # broken off while it was sent
                return Reply(drop="all")
            self.commits.append(seen)
            return self._commit(json.loads(seen.body))
        reply = self.shop(seen)
        if seen.method != "GET" or reply.status != 200 or not seen.path.startswith("/words"):
            return reply
        headers = dict(reply.headers)
        self.channel = headers.get("payment-session", self.channel)
        pieces = []
        for name, data in self.events:
            line = json.dumps(data).replace("CHANNEL", self.channel)
            pieces.append(f"event: {name}\ndata: {line}\n\n".encode() if name else f"data: {line}\n\n".encode())
        kept = tuple(pair for pair in reply.headers if pair[0] != "content-type")
        told = (*kept, ("content-type", "text/event-stream"))
        if self.released is not None:
            return Reply(200, b"", told, chunks=self._slowly(pieces))
        return Reply(200, b"".join(pieces) + self.end, told)

    def _slowly(self, pieces: list[bytes]) -> Iterator[bytes]:
        assert self.released is not None
        yield from pieces
        self.released.wait(HELD_S)
        yield self.end or b": over\n\n"

    def _commit(self, told: dict[str, Any]) -> Reply:
        answer = self.answers.pop(0) if self.answers else {}
        if answer == "hang":
            return Reply(drop="hang")
        if isinstance(answer, int):
            return Reply(answer, b"{}", (("content-type", "application/json"),))
        total = told["cumulativeAmount"] if "cumulativeAmount" in told else told["voucher"]["amount"]
        receipt = {
            "deliveryId": told["deliveryId"],
            "sessionId": self.channel,
            "amount": "3000",
            "cumulative": str(total),
            "status": "committed",
        }
        body = json.dumps({**receipt, **answer}).replace("CHANNEL", self.channel)
        return Reply(200, body.encode(), (("content-type", "application/json"),))
