"""A shop, its settler and a client, each a process that may die at any await; files and chain outlive them.

The shop sells GET /item for PRICE, and GET /stream?n=.. for PRICE a unit, over whatever a Rail brings. HTTP is a call
from the client's process into the server's: either of them may be gone when it returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

from coinslot.client import closing
from coinslot.client.desk import Desk
from coinslot.client.exchange import exchange
from coinslot.client.journey import Journey, Resume
from coinslot.client.presenting import Ask, Tapped
from coinslot.client.purse import Policy, Purse
from coinslot.client.wallet import Wallet
from coinslot.core.challenge import KeyRing
from coinslot.drive import Flow, Rpc
from coinslot.errors import ChannelFinalized, ChannelNotFound, CoinslotError, PaymentOutcomeUnknown
from coinslot.intents.acts import Held
from coinslot.method import Seller, sells_sessions
from coinslot.server.admission import Admission, SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.meter import Meter
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from coinslot.server.resolver import resolve_round
from coinslot.server.settler import Policy as Settling
from coinslot.server.settler import Report, settle_round
from coinslot.store.book_sqlite import SqliteBook
from coinslot.store.heart import Heart
from coinslot.store.sqlite import SqliteStore
from coinslot.transports.sse import HEADERS, RECEIPT, _ours
from coinslot.transports.sse import NEED as DRY
from support.awaits.life import Clock, Died, Gone, Here, Life, Mortal
from support.till import REALM, SECRET

T = TypeVar("T")

SITE = "https://api.example.com"
COST, PRICE = 1_000, Decimal("0.001")
# What a channel is opened with, in whole tokens: three items.
DEPOSIT = Decimal("0.003")
WINDOW = 2
LEASE_S = 15.0
PATIENCE_S = 5.0
LIMITS = Policy(max_deposit="0.2", prefer_sessions=True, max_window=WINDOW)
# A settler that settles whatever was bought.
EAGER = Settling(settle_units=1)


class Rail(Protocol):
    """What the shop is paid over, and what must be true of its money. `rent_returns`: all of it."""

    rent_returns: bool
    step_units: int  # by which clients tell one voucher from the next
    secrets: list[bytes]

    def sellers(self) -> Flow[Sequence[Seller]]:
        """Made anew by each process that starts."""

    def wallet(self) -> Wallet:
        """The client's."""

    def rpc(self, effect: Rpc) -> object:
        """What a node says."""

    @property
    def idle_s(self) -> float:
        """After how much silence a channel is closed."""

    @property
    def paid(self) -> int:
        """Base units that the client has less."""

    @property
    def earned(self) -> int:
        """Base units that the shop and its sharers have more."""

    def conserved(self) -> None:
        """Raises AssertionError if a unit was lost or made."""

    def all_back(self) -> None:
        """Raises AssertionError if anything is left where nobody needs it."""

    def close(self) -> None:
        """Nobody comes to it any more."""


class _Pulse(Heart):
    """A heart without a thread: each step that gives a lease brings its beat, by the town's clock."""

    def start(self) -> None:
        """It beats by itself."""

    def due(self) -> bool:
        """Always."""
        return True


class Store(SqliteStore):
    """A handle on the shop's file, by the town's clock."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(str(path), lease_s=LEASE_S, clock=clock)
        self._heart = _Pulse(self._write_beat, LEASE_S)

    def die(self) -> None:
        """The file is let go of as the kernel does it: nobody gives back what this owner holds."""
        if not self._closed:
            self._closed = True
            self._close()


@dataclass
class Reply:
    """An HTTP answer: whole, or pieces as they come."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    pieces: Iterator[bytes] | None = None


class Server:
    """A gate before the shop, with a store handle of its own."""

    def __init__(self, town: Town, life: Life) -> None:
        self.town, self.life = town, life
        self.handle = Store(town.folder / "payments.db", town.clock)
        self.store: Any = Mortal(life, self.handle, "store")
        self.here = Here(life, town.clock, town, town.chance)
        self.sellers = town.made()
        self.gate = Gate(Issuer(REALM, KeyRing((SECRET,))), self.store, PATIENCE_S)
        channels = [one for one in self.sellers if sells_sessions(one)]
        self.prices = {"/item": Price(PRICE, self.sellers, deposit=DEPOSIT)}
        if channels:
            metering = Metering("unit", WINDOW, patience_s=PATIENCE_S)
            self.prices["/stream"] = Price(PRICE, channels, metering=metering, deposit=DEPOSIT)

    def answer(self, incoming: Incoming) -> Reply:
        """What a door does with a request. Raises Died."""
        got = self.here.run(self.gate.admit(incoming, self.prices[incoming.path]))
        if isinstance(got, Answer):
            return Reply(got.status, tuple(got.headers), got.body)
        if isinstance(got, SessionAdmission) and got.meter is not None:
            watching = Delivering(got.receipt, got.headers)
            headers = watching.begin(200, HEADERS)
            pieces = self._stream(incoming, got, got.meter, watching)
            next(pieces)
            return Reply(200, headers, pieces=pieces)
        return self._item(incoming, got)

    def _item(self, incoming: Incoming, got: Admission) -> Reply:
        watching = Delivering(got.receipt, got.headers)
        headers = watching.begin(200, [("content-type", "text/plain")])
        watching.add(b"goods")
        delivery = watching.finish()
        assert delivery is not None
        self.here.run(self.gate.delivered(got, delivery))
        self.town.left[_key(incoming).replace("key", "wish")] += 1
        return Reply(200, tuple(headers), b"goods")

    def _stream(
        self, incoming: Incoming, got: SessionAdmission, meter: Meter, watching: Delivering
    ) -> Generator[bytes]:
        ended = False
        try:
            yield b""  # the head
            for number in range(int(parse_qs(incoming.query)["n"][0])):
                if not meter.take() and not (yield from self._more(meter)):
                    break
                unit = f"data: unit {number}\n\n".encode()
                watching.add(unit)
                yield unit
            receipt = self.here.run(meter.finish())
            yield _ours(RECEIPT, receipt.members())
            delivery = watching.finish()
            assert delivery is not None
            self.here.run(self.gate.delivered(got, delivery))
            ended = True
        finally:
            if not ended and not self.life.dead:  # its client hung up
                left = watching.interrupted()
                if left is None:
                    self.gate.abandoned(got)
                else:
                    self.here.run(self.gate.delivered(got, left))

    def _more(self, meter: Meter) -> Generator[bytes, None, bool]:
        """The next window, and the unit out of it."""
        try:
            if not self.here.run(meter.renew()):
                yield _ours(DRY, meter.need())
                if not self.here.run(meter.wait_for()):
                    return False
        except (ChannelFinalized, ChannelNotFound):
            return False
        return meter.take()

    def end(self) -> None:
        """It dies, if it hasn't."""
        self.life.dead = True
        self.handle.die()


def _key(incoming: Incoming) -> str:
    return incoming.headers["idempotency-key"][0]


class Settler:
    """Settles and watches, with a store handle of its own."""

    def __init__(self, town: Town, life: Life) -> None:
        self.town, self.life, self.turn = town, life, 0
        self.handle = Store(town.folder / "payments.db", town.clock)
        self.store: Any = Mortal(life, self.handle, "store")
        self.here = Here(life, town.clock, town, town.chance)
        self.sellers = town.made()

    def round(self, policy: Settling | None = None, turn: int = 1) -> Report:
        """Once through everything. Raises Died."""
        self.here.run(resolve_round(self.store, self.sellers))
        channels = [one for one in self.sellers if sells_sessions(one)]
        return self.here.run(settle_round(self.store, channels, policy or Settling(), None, turn))

    def end(self) -> None:
        """It dies, if it hasn't."""
        self.life.dead = True
        self.handle.die()


@dataclass
class Wish:
    """A request of the client's: bought once, however often it is made."""

    name: str
    key: str
    path: str = "/item"
    body: bytes | None = None
    resume: Resume | None = None

    @property
    def streams(self) -> bool:
        """Whether it is delivered and paid unit by unit."""
        return self.path.startswith("/stream")


class Errand:
    """A wish, as the client's flows see it."""

    method = "GET"

    def __init__(self, wish: Wish) -> None:
        self.url = SITE + wish.path
        self._headers = {"idempotency-key": wish.key}

    def fields(self, name: str) -> Sequence[str]:
        """See presenting.Errand."""
        value = self._headers.get(name.lower())
        return [] if value is None else [value]

    def body(self) -> bytes:
        """See presenting.Errand."""
        return b""

    def incoming(self, ask: Ask) -> Incoming:
        """As it arrives."""
        headers = {} if ask.verb else dict(self._headers)
        headers |= {name.lower(): value for name, value in ask.headers}
        parts, verb = urlsplit(self.url), ask.verb or self.method
        many = {name: (value,) for name, value in headers.items()}
        return Incoming(verb, parts.path, parts.query, many, manages=verb == "POST")


class Got:
    """An answer, as the client's flows see it."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.status = reply, reply.status
        self.tap: Tapped | None = None

    def fields(self, name: str) -> Sequence[str]:
        """See presenting.Answer."""
        return [value for key, value in self.reply.headers if key.lower() == name.lower()]

    def read(self, limit: int) -> bytes:
        """See presenting.Answer."""
        return self.reply.body[:limit]

    def attach(self, payment: object) -> None:
        """Nobody looks."""

    def watch(self, tap: Tapped) -> None:
        """See presenting.Answer."""
        self.tap = tap


@dataclass
class _Line:
    """From this client to the shop, for one errand."""

    town: Town
    errand: Errand

    def rpc(self, effect: Rpc) -> object:
        """A node's answer."""
        return self.town.rpc(effect)

    def send(self, request: object) -> Got:
        """There and back. Raises Gone."""
        assert isinstance(request, Ask)
        return Got(self.town.ask(self.errand.incoming(request)))


class Client:
    """A program that buys, with a book of its own."""

    def __init__(self, town: Town, life: Life) -> None:
        self.town, self.life = town, life
        self.handle = SqliteBook(town.book)
        self.book: Any = Mortal(life, self.handle, "book")
        self.purse = Purse(town.rail.wallet(), LIMITS, desk=Desk(lambda: self.book))

    def run(self, flow: Flow[T], errand: Errand | None = None) -> T:
        """Drive a flow of the client's. Raises Died."""
        return Here(
            self.life, self.town.clock, _Line(self.town, errand or Errand(Wish("none", "none"))), self.town.chance
        ).run(flow)

    def get(self, wish: Wish) -> bool:
        """Try once; whether the wish is granted now. Raises Died."""
        errand = Errand(wish)
        journey = Journey(errand)
        journey.resume = wish.resume
        try:
            answer = self.run(exchange(errand, self.purse, journey), errand)
            assert isinstance(answer, Got)
            body = self._read(answer, wish, errand)
        except PaymentOutcomeUnknown as error:
            wish.resume = error.resume if isinstance(error.resume, Resume) else None
            self.town.told.append(f"{wish.name}: {error}")
            return False
        except (CoinslotError, Gone) as error:
            wish.resume = None
            self.town.told.append(f"{wish.name}: {type(error).__name__} {error}")
            return False
        self.town.told.append(f"{wish.name}: {answer.status} {body[:60]!r}")
        if answer.status == 409 and wish.streams and b"/already-delivered" in body:
            wish.key, wish.resume = wish.key + "'", None  # what was not kept of a stream is wished for anew
        if answer.status == 200 and body:
            wish.body = body
            return True
        return False

    def _read(self, answer: Got, wish: Wish, errand: Errand) -> bytes:
        """The body, paid for while it comes."""
        pieces = answer.reply.pieces
        if pieces is None:
            if answer.tap is not None:
                wish.body = answer.reply.body  # its reader has all of it before the end is noted
                self.run(answer.tap.end(), errand)
                answer.tap.finish()
            return answer.reply.body
        body = b""
        while (piece := self.town.piece(pieces)) is not None:
            self.town.left[wish.name] += piece.startswith(b"data: unit")
            body += piece if answer.tap is None else self.run(answer.tap.feed(piece), errand)
        return body + (b"" if answer.tap is None else answer.tap.finish())

    def close(self, held: Held) -> bool:
        """Ask the shop to close a channel; whether it is over."""
        try:
            self.run(closing.close(self.purse, f"{SITE}/item", held.key))
        except (CoinslotError, Gone) as error:
            self.town.told.append(f"close: {type(error).__name__} {error}")
            return False
        return True

    def held(self) -> list[Held]:
        """What the book says."""
        return list(self.handle.all().result())

    def end(self) -> None:
        """It dies, if it hasn't; the kernel lets go of its locks."""
        self.life.dead = True
        for lease in self.book.leases:
            lease.release()
        self.handle.close()


@dataclass
class Town:
    """Everything that outlives a process. `left`: goods that went out to clients, by key; `told`: what happened."""

    rail: Rail
    clock: Clock
    folder: Path
    left: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    server: Server | None = None
    client: Client | None = None
    settler: Settler | None = None
    books: int = 1
    seen: dict[str, tuple[int, ...]] = field(default_factory=dict)
    streams: list[Any] = field(default_factory=list)
    chance: Random = field(default_factory=lambda: Random(7))

    @property
    def book(self) -> Path:
        """The client's book."""
        return self.folder / f"book-{self.books}.db"

    def made(self) -> tuple[Seller, ...]:
        """A process starts: its sellers. What is asked for that is not counted."""
        return tuple(Here(Life(), self.clock, self, self.chance).run(self.rail.sellers()))

    def rpc(self, effect: Rpc) -> object:
        """A node's answer."""
        return self.rail.rpc(effect)

    def send(self, request: object) -> object:
        """Servers send nothing."""
        raise AssertionError("a server has no door to go out by")

    # --- processes

    def serving(self, life: Life | None = None) -> Server:
        """The server; a new process if none runs, or if it is to have this life."""
        if self.server is None or self.server.life.dead or life is not None:
            if self.server is not None:
                self.server.end()
            self.server = Server(self, life or Life())
        return self.server

    def settling(self, life: Life | None = None) -> Settler:
        """The settler, likewise."""
        if self.settler is None or self.settler.life.dead or life is not None:
            if self.settler is not None:
                self.settler.end()
            self.settler = Settler(self, life or Life())
        return self.settler

    def buying(self, life: Life | None = None) -> Client:
        """The client, likewise."""
        if self.client is None or self.client.life.dead or life is not None:
            if self.client is not None:
                self.client.end()
            self.client = Client(self, life or Life())
        return self.client

    def bury(self) -> None:
        """Who has died lets go of files; nobody waits for leases that are theirs, but time passes."""
        for one in (self.server, self.settler, self.client):
            if one is not None and one.life.dead:
                one.end()
        for pieces in self.streams:  # the server sees that nobody listens
            pieces.close()
        self.streams.clear()
        self.clock.passes(LEASE_S + 1)

    def close(self) -> None:
        """All processes end, and what they were paid over."""
        for one in (self.server, self.settler, self.client):
            if one is not None:
                one.end()
        self.rail.close()

    # --- HTTP

    def ask(self, incoming: Incoming) -> Reply:
        """A request to the server. Raises Gone if it is dead, or dies meanwhile."""
        server = self.server
        if server is None or server.life.dead:
            raise Gone("nobody listens")
        reply = self._there(server, lambda: server.answer(incoming))
        self.streams += [] if reply.pieces is None else [reply.pieces]
        return reply

    def piece(self, pieces: Iterator[bytes]) -> bytes | None:
        """The next piece of an answer, None at its end. Raises Gone."""
        server = self.server
        assert server is not None
        return self._there(server, lambda: next(pieces, None))

    def _there(self, server: Server, act: Callable[[], T]) -> T:
        try:
            return act()
        except Died:
            assert server.life.dead
            raise Gone("the connection broke") from None

    # --- what clients want

    def wish(self, path: str = "/item") -> Wish:
        """One more."""
        self.wishes.append(Wish(f"wish {len(self.wishes) + 1}", f"key {len(self.wishes) + 1}", path))
        return self.wishes[-1]

    def grant(self, *wishes: Wish) -> None:
        """Until they are granted, with processes that live. Fails if that takes too many tries. I8"""
        for wish in wishes:
            for _ in range(TRIES):
                if wish.body is not None or self.buying().get(wish):
                    break
                self.clock.passes(10)
                self.settling().round()
            assert wish.body is not None, f"I8: {wish.name} can't be had, ever"


# So often a wish is tried in a world that has recovered, ten seconds apart: what can never happen any more is known
# after some minutes.
TRIES = 36
