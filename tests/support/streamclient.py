"""A client with a toy channel, that pays for streams by hand over real HTTP.

    client = StreamClient(alice, url)               # a channel is opened, by HEAD
    with client.stream(100) as answer: ...          # GET with a voucher for 100 base units in all
    client.raise_to(200)                            # a higher voucher, by HEAD on another connection

`parse_events` is a strict reader of server-sent events (HTML standard), `lenient_events` one that ends lines wherever
Unicode may.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld, run
from coinslot.intents import session
from coinslot.intents.acts import Act
from coinslot.store.channels import SessionStore
from coinslot.transports.slot import Slot
from support.serving import TIMEOUT_S
from support.sessiondesk import session_payer
from support.toybank import Bank

NEED = "payment-need-voucher"
RECEIPT = "payment-receipt"
DEPOSIT = 100_000


def stream_slot(bank: Bank, store: str | SessionStore = "memory:", **options: Any) -> Slot:
    """A slot that is paid by charges and sessions of the toy method."""
    toy = {"bank": bank.path, "recipient": "shop", "sessions": True}
    return Slot("shop.example", store=store, toy=toy, secret_key="a stream of 0123456789 letters, for tests", **options)


@dataclass(frozen=True)
class Said:
    """An event as a reader gets it."""

    name: str
    data: str
    id: str = ""

    @property
    def members(self) -> dict[str, Any]:
        """Its data as JSON."""
        found: dict[str, Any] = json.loads(self.data)
        return found


def _parse(lines: list[str]) -> list[Said]:
    said: list[Said] = []
    name, ident = "", ""
    data: list[str] = []
    for line in lines:
        if line == "":
            if data:
                said.append(Said(name or "message", "\n".join(data), ident))
            name, data = "", []
            continue
        field_name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field_name == "event":
            name = value
        elif field_name == "data":
            data.append(value)
        elif field_name == "id" and "\0" not in value:
            ident = value
    return said


def parse_events(raw: bytes) -> list[Said]:
    """What a reader that keeps to the standard makes of a stream. What has no end is nothing."""
    return _parse(re.split(r"\r\n|\r|\n", raw.decode("utf-8").removeprefix("\ufeff")))


def lenient_events(raw: bytes) -> list[Said]:
    """What a reader makes of it that ends lines as Python does."""
    return _parse(raw.decode("utf-8").splitlines())


class StreamClient:
    """One channel and one challenge."""

    def __init__(self, wallet: Mapping[str, Any], url: str, deposit: int = DEPOSIT, first: int = 0) -> None:
        self.url = url
        self.world = RealWorld()
        self.payer = session_payer(wallet)
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(timeout=TIMEOUT_S, trust_env=False, limits=limits)
        self.challenge = self.asked()
        move = run(self.payer.open(self.challenge, self.payer.terms(self.challenge), deposit, first), self.world)
        self.held = move.held
        answer = self.http.head(url, headers=self.header(move.payload))
        assert answer.status_code == 204, (answer.status_code, answer.headers)

    def asked(self) -> Challenge:
        """The session's challenge of a 402."""
        answer = self.http.get(self.url)
        assert answer.status_code == 402, (answer.status_code, answer.text)
        good, bad = parse_challenges(answer.headers.get_list("www-authenticate"))
        assert not bad
        return next(one for one in good if one.intent == session.INTENT)

    def header(self, payload: Mapping[str, Any]) -> dict[str, str]:
        """What presents a payload."""
        return {"Authorization": encode_credential(self.challenge, payload, self.payer.source())}

    def voucher(self, total: int, act: Act = Act.VOUCHER) -> dict[str, str]:
        """A signed total, above the deposit too."""
        raw = self.payer.sign(replace(self.held, deposit_units=max(total, self.held.deposit_units)), total)
        return self.header(self.payer.payload(self.held, act, total, raw))

    def stream(self, total: int, **options: Any) -> AbstractContextManager[httpx.Response]:
        """A GET that is paid by a voucher."""
        headers = {**self.voucher(total), **options.pop("headers", {})}
        return self.http.stream("GET", self.url, headers=headers, **options)

    def get(self, total: int) -> httpx.Response:
        """The same, read whole."""
        return self.http.get(self.url, headers=self.voucher(total))

    def raise_to(self, total: int, url: str | None = None) -> httpx.Response:
        """A higher voucher and no wish for content."""
        return self.http.head(url or self.url, headers=self.voucher(total))

    def sums(self, slot: Slot) -> tuple[int, int, int]:
        """accepted, spent, reserved on the server's record."""
        found = slot.store.find_channel(self.held.key).result()
        assert found is not None
        return found.accepted, found.spent, found.reserved


def events_of(answer: httpx.Response) -> Iterator[Said]:
    """The events of a stream as they come; whatever ends the stream ends this."""
    rest = b""
    for piece in answer.iter_raw():
        rest += piece
        while b"\n\n" in rest:
            event, _, rest = rest.partition(b"\n\n")
            yield from parse_events(event + b"\n\n")
