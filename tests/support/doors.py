"""The client's doors under one handle, so that one test holds for all of them.

door.get(url), door.send("POST", url, content=b"...", resume=error.resume, follow=False) -> Got
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import requests

from coinslot.client.events import Event, Paid, Presented
from coinslot.client.purse import Policy
from coinslot.client.wallet import Wallet
from coinslot.transports import httpx as httpx_door
from coinslot.transports import requests as requests_door

TIMEOUT_S = 30.0

Kind = TypeVar("Kind", bound=Event)


@dataclass(frozen=True)
class Got:
    """What the caller sees."""

    status: int
    body: bytes
    payment: Paid | Presented | None
    headers: Mapping[str, str]
    sent: Mapping[str, str]


@dataclass
class Door:
    """A client with a wallet. `events` are what the observer was told."""

    kind: str
    wallet: Wallet
    policy: Policy = field(default_factory=Policy)
    events: list[Event] = field(default_factory=list)
    timeout_s: float = TIMEOUT_S
    proxy: str | None = None
    book: Path | None = None

    def get(self, url: str, **options: Any) -> Got:
        """A GET."""
        return self.send("GET", url, **options)

    def send(self, verb: str, url: str, **options: Any) -> Got:
        """One logical request with a client of its own."""
        if self.kind == "requests":
            return self._requests(verb, url, **options)
        if self.kind == "httpx":
            plain = httpx.Client(trust_env=False, proxy=self.proxy)
            with httpx_door.pay(plain, self.wallet, self.policy, self.events.append, self.book) as client:
                return _got(client.request(verb, url, **self._httpx(**options)))
        return asyncio.run(self._async(verb, url, **options))

    async def _async(self, verb: str, url: str, **options: Any) -> Got:
        plain = httpx.AsyncClient(trust_env=False, proxy=self.proxy)
        async with httpx_door.pay(plain, self.wallet, self.policy, self.events.append, self.book) as client:
            return _got(await client.request(verb, url, **self._httpx(**options)))

    def told(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def _httpx(self, *, resume: object = None, follow: bool = True, **options: Any) -> dict[str, Any]:
        extensions = {} if resume is None else {"coinslot_resume": resume}
        return {"extensions": extensions, "follow_redirects": follow, "timeout": self.timeout_s, **options}

    def _requests(
        self, verb: str, url: str, *, content: Any = None, resume: object = None, follow: bool = True, **options: Any
    ) -> Got:
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = {"http": self.proxy} if self.proxy else {}
            requests_door.pay(session, self.wallet, self.policy, self.events.append, self.book)
            auth = None if resume is None else requests_door.Resuming(resume)
            response = session.request(
                verb, url, data=content, auth=auth, allow_redirects=follow, timeout=self.timeout_s, **options
            )
            payment = requests_door.payment_of(response)
            sent = dict(response.request.headers)
            return Got(response.status_code, response.content, payment, response.headers, sent)


def _got(response: httpx.Response) -> Got:
    payment = response.extensions.get("coinslot")
    return Got(response.status_code, response.content, payment, response.headers, dict(response.request.headers))
