"""A gate with a seller and a payer of the toy method, driven without HTTP by a clock that tests set.

    till = Till(bank, alice)                        # memory store; Till(bank, alice, store) for another
    challenge = till.challenge(GET)                 # what a 402 offers
    credential = till.pay(challenge)                # the header value
    till.present(credential, GET)                   # Answer or Admission
    till.serve(credential, GET, body=b"goods")      # as a door does: run a handler if admitted, report the delivery

Fixture `till`: a till on a memory store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from coinslot.core.challenge import Challenge, KeyRing, parse_challenges
from coinslot.core.credential import Credential, decode_credential, encode_credential
from coinslot.drive import RealWorld, run
from coinslot.method import ChargeSeller, Extras, load
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.events import Event
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Amount, Price, Pricing
from coinslot.server.request import Incoming
from coinslot.server.resolver import resolve_round
from coinslot.settings import settings
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import Payment
from support.drained import drained
from support.toybank import Bank

REALM = "api.example.com"
SECRET = b"\x01a\x02b\x03c\x04d\x05e\x06f\x07g\x08h\x09i\x0aj\x0bk\x0cl\x0dm\x0en\x0fo\x10p"
GET = Incoming("GET", "/paid/report", "page=1")
UNITS = 10_000


class SetWorld(RealWorld):
    """The real world with a clock that only tests and sleeping move. `slept` says how long flows slept."""

    def __init__(self) -> None:
        super().__init__()
        self.at_s = float(int(time.time()))
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at_s += seconds


class SetAsyncWorld:
    """The same for asyncio."""

    def __init__(self, world: SetWorld) -> None:
        self._world = world

    async def rpc(self, effect: Any) -> object:
        raise AssertionError("the toy method calls functions")

    async def send(self, effect: Any) -> object:
        raise AssertionError("a gate sends nothing")

    async def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)
        await asyncio.sleep(0)

    def now(self) -> float:
        return self._world.at_s

    def random(self, size: int) -> bytes:
        return self._world.random(size)


def asking(request: Incoming, credential: str | None, **headers: str) -> Incoming:
    """The request with a credential and further headers (`idempotency_key=...`)."""
    given = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    if credential is not None:
        given["authorization"] = (credential,)
    return replace(request, headers={**request.headers, **given})


def first(answer: Answer, name: str) -> str | None:
    """The first value of a header of an answer."""
    return next((value for key, value in answer.headers if key == name), None)


def offered(answer: Answer) -> list[Challenge]:
    """The challenges of an answer."""
    good, bad = parse_challenges([value for name, value in answer.headers if name == "www-authenticate"])
    assert not bad
    return good


def problem(answer: Answer) -> dict[str, Any]:
    """The members of a problem, with its slug."""
    body: dict[str, Any] = msgspec.json.decode(answer.body)
    return {**body, "slug": body["type"].rpartition("/")[2]}


def token_of(credential: str) -> Credential:
    """The credential of a header value."""
    return decode_credential(credential.removeprefix("Payment "))


def rewritten(credential: str, payload: Mapping[str, Any] | None = None, **fields: str | None) -> str:
    """A credential with another payload, or other echoed fields."""
    given = token_of(credential)
    echo = replace(given.challenge, **fields)  # type: ignore[arg-type]
    return encode_credential(echo, given.payload_object() if payload is None else payload, given.source)


def toy_seller(bank: Bank, currency: str = "coin", recipient: str = "shop") -> ChargeSeller:
    """A seller at this bank."""
    toy = load("toy")
    table = {"bank": bank.path, "recipient": recipient, "currency": currency}
    return run(toy.sellers(settings(toy.Accept, table, "test")), RealWorld())[0]


class Till:
    """One gate, one price, one payer. `events` is what the observer was told."""

    def __init__(
        self,
        bank: Bank,
        wallet: Mapping[str, object],
        store: SessionStore | None = None,
        *,
        price: Amount | Pricing = "0.01",
        sellers: Sequence[ChargeSeller] = (),
        keys: Sequence[bytes] = (SECRET,),
        realm: str = REALM,
        extras: Extras | None = None,
        **issuing: Any,
    ) -> None:
        toy = load("toy")
        self.bank = bank
        self.world = SetWorld()
        self.store: SessionStore = store if store is not None else MemoryStore()
        self.sellers = tuple(sellers) or (toy_seller(bank),)
        self.payer = run(toy.payers(settings(toy.Wallet, wallet, "test")), self.world)[0]
        self.events: list[Event] = []
        issuer = Issuer(realm, KeyRing(tuple(keys)), **issuing)
        self.gate = Gate(issuer, self.store, 1.0, self.events.append)
        self.price = Price(price, self.sellers, extras or Extras())

    def present(self, credential: str | None, request: Incoming = GET, **headers: str) -> Answer | Admission:
        """What the gate says."""
        return run(self.gate.admit(asking(request, credential, **headers), self.price), self.world)

    def answer(self, credential: str | None, request: Incoming = GET, **headers: str) -> Answer:
        """What the gate answers by itself."""
        got = self.present(credential, request, **headers)
        assert isinstance(got, Answer), got
        return got

    def admitted(self, credential: str, request: Incoming = GET, **headers: str) -> Admission:
        """The admission under which a handler would run now."""
        got = self.present(credential, request, **headers)
        assert isinstance(got, Admission), (got.status, got.body)
        return got

    def challenge(self, request: Incoming = GET) -> Challenge:
        """The first offer of a 402."""
        answer = self.answer(None, request)
        assert answer.status == 402, answer
        return offered(answer)[0]

    def pay(self, challenge: Challenge) -> str:
        """The header value that pays a challenge."""
        shown = run(self.payer.pay(challenge, self.payer.terms(challenge)), self.world)
        if shown.sending is not None:
            run(self.payer.send(shown.sending, again=False), self.world)
        return encode_credential(challenge, shown.payload, shown.source)

    def bought(self, request: Incoming = GET) -> str:
        """A fresh credential for a request."""
        return self.pay(self.challenge(request))

    def deliver(self, admission: Admission, body: bytes = b"goods", status: int = 200) -> Answer:
        """What a door does with a handler's whole answer."""
        watching = Delivering(admission.receipt)
        given = [("content-type", "text/plain"), ("x-handler", "1")]
        headers = watching.begin(status, given)
        watching.add(body)
        delivery = watching.finish()
        if delivery is None:
            self.gate.abandoned(admission)
        else:
            run(self.gate.delivered(admission, delivery), self.world)
        return Answer(status, headers, body)

    def serve(
        self,
        credential: str | None,
        request: Incoming = GET,
        *,
        handler: Callable[[], bytes] = lambda: b"goods",
        **headers: str,
    ) -> Answer:
        """The gate's answer, or that of a handler that ran."""
        got = self.present(credential, request, **headers)
        return got if isinstance(got, Answer) else self.deliver(got, handler())

    def resolve(self) -> int:
        """One round of the resolver; how many payments are still open."""
        pending = run(resolve_round(self.store, self.sellers, self.events.append), self.world)
        drained(self.store)  # the leases it gave back are written
        return pending

    def payment(self, credential: str) -> Payment:
        """What is on record about a credential."""
        found = self.store.find(token_of(credential).challenge.id).result()
        assert found is not None
        return found

    def sums(self) -> dict[str, int]:
        """The journal's sum per asset: zero each."""
        return {asset: sum(accounts.values()) for asset, accounts in self.store.balances().result().items()}


@pytest.fixture
def till(bank: Bank, alice: dict[str, object]) -> Iterator[Till]:
    """A till on a memory store, and alice with five coins."""
    made = Till(bank, alice)
    yield made
    made.store.close()
