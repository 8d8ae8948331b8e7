"""Streams that are paid while they come: find the payment events among the others, and answer them.

Events end with an empty line. Those called `payment-need-voucher` and `payment-receipt`, and those of deliveries
(deliveries.py), are ours and are taken out; all others pass through byte for byte. Everything here happens between two
chunks, in the thread or task that reads them; a voucher goes by a request of its own, on another connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from coinslot.client import channels, owing
from coinslot.client.debts import Debt
from coinslot.client.deliveries import Deliveries
from coinslot.client.events import Metered
from coinslot.client.managing import Said, ask_about, ensure_challenge, refresh
from coinslot.client.visit import Visit, affordable_part, note, sign, turn
from coinslot.client.watermark import Agreed, Streams
from coinslot.core.canonical import MAX_DEPTH, nested_deeper
from coinslot.core.receipt import receipt_from
from coinslot.drive import Flow, now, sleep, wait
from coinslot.errors import CoinslotError, MalformedHeader, PaymentRefused, UsageError
from coinslot.intents import deliveries
from coinslot.intents.acts import Balance, Held, Standing

NEED_EVENT = b"payment-need-voucher"
RECEIPT_EVENT = b"payment-receipt"
DIRECTIVE_EVENT = deliveries.DIRECTIVE_EVENT.encode()
USAGE_EVENT = deliveries.USAGE_EVENT.encode()
# A payment event has a few hundred bytes; a longer one is none and passes through piece by piece.
MAX_EVENT_BYTES = 64 * 1024
# How often a stream may ask again without having delivered anything in between. T46
MAX_IDLE_NEEDS = 3
# A server counts what it has sent on all streams of a channel, and the readers of others may be behind: one that asks
# for more than came waits so long for them, looking so often, before it is refused.
MAX_BEHIND_S = 5.0
BEHIND_PAUSE_S = 0.02
# The unit whose price is counted in bytes of content; every other unit is at most one event's.
BYTE = "byte"

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass
class Splitter:
    """Cuts a byte stream into events, delimiters kept. Too long ones come in pieces."""

    _rest: bytes = b""
    _long: bool = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """Events, or pieces of one that is too long, and whether they are whole."""
        self._rest += chunk
        while (found := _END.search(self._rest)) is not None:
            event, self._rest = self._rest[: found.end()], self._rest[found.end() :]
            whole, self._long = not self._long, False
            yield event, whole
        if self._long or len(self._rest) > MAX_EVENT_BYTES:
            keep = 3  # the end of an event may be cut in two
            piece, self._rest = self._rest[:-keep], self._rest[-keep:]
            self._long = True
            if piece:
                yield piece, False

    def end(self) -> bytes:
        """What is left without its end."""
        rest, self._rest = self._rest, b""
        return rest


def read_event(event: bytes) -> tuple[bytes, bytes]:
    """The name and the data of an event; b"" for what it doesn't say (HTML "server-sent events")."""
    name, data = b"", []
    for line in _LINE_END.split(event):
        field_name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field_name == b"event":
            name = value
        elif field_name == b"data":
            data.append(value)
    return name, b"\n".join(data)


def _is_last(name: bytes, data: bytes) -> bool:
    """Whether an event says that no other comes."""
    if name in (b"", b"message"):
        return data.strip() == deliveries.DONE_DATA.encode()
    return name == deliveries.DONE_EVENT.encode()


def _object(data: bytes) -> dict[str, object]:
    """Raises MalformedHeader."""
    if nested_deeper(data.decode("latin-1"), MAX_DEPTH):
        raise MalformedHeader("an event nested too deep")
    try:
        told: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedHeader("an event that is not JSON") from None
    if not isinstance(told, dict):
        raise MalformedHeader("an event that is no object")
    return told


@dataclass
class Tap:
    """One stream on its way to its reader. Used by one thread or task at a time. `agreed` is its request's."""

    visit: Visit
    held: Held
    streams: Streams
    agreed: Agreed
    _splitter: Splitter = field(default_factory=Splitter)
    _idle: int = 0
    _deliveries: Deliveries = field(init=False)
    _kept: CoinslotError | None = None
    _debt: Debt | None = None

    def __post_init__(self) -> None:
        self._deliveries = Deliveries(self.visit, self.agreed)
        self.streams.begin(id(self), self.visit.ahead_units)

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """What the reader gets of a chunk; payment events in it are answered before that.

        Raises PolicyRefused for a stream that asks for more than it delivered, PaymentRefused, PaymentOutcomeUnknown.
        """
        passed: list[bytes] = []
        try:
            yield from self._fed(chunk, passed)
        except CoinslotError as error:
            if not passed:
                raise
            self._kept = error  # what came before it is paid for, and read first
        return b"".join(passed)

    def overdue(self) -> None:
        """Raise what `feed` kept back until its bytes were read."""
        if self._kept is not None:
            raise self._kept

    def _fed(self, chunk: bytes, passed: list[bytes]) -> Flow[None]:
        for event, whole in self._splitter.feed(chunk):
            name, data = read_event(event) if whole else (b"", event)
            if name == NEED_EVENT:
                yield from self._need(data)
            elif name == RECEIPT_EVENT:
                yield from self._receipt(data)
            elif name in (DIRECTIVE_EVENT, USAGE_EVENT):
                yield from self._metered(name, data)
            else:
                if _is_last(name, data):
                    yield from self.end()
                passed.append(event)
                self._count(event, data)

    def end(self) -> Flow[None]:
        """The stream came to its end: the delivery that ran is paid. Raises as Deliveries.pay."""
        paid = yield from self._deliveries.pay(self.held, self._received_units)  # T24
        if paid is not None:
            self.held, self.streams.signed_units = paid, paid.signed_units

    @property
    def _received_units(self) -> int:
        """What came of it, less what was signed for the streams on its channel while they came. T24"""
        received, _ = self.streams.running.get(id(self), (0, 0))
        return received - self.streams.asked_units

    def _metered(self, name: bytes, data: bytes) -> Flow[None]:
        """An event of deliveries. Where the payee signs the vouchers there is nothing for us to commit."""
        if not self.visit.payer.signs(self.held):
            return
        try:
            if name == USAGE_EVENT:
                self._deliveries.use(deliveries.read_usage(_object(data)))
                return
            told = deliveries.read_directive(_object(data))
            if self._deliveries.repeats(told):
                return
            yield from self.end()
            self._deliveries.begin(self.held, told, (yield from now()), self._received_units)
        except UsageError as error:
            raise MalformedHeader(f"{name.decode()}: {error}") from None

    def finish(self) -> bytes:
        """The stream is over, or nobody reads it any more. The last bytes, if it ended within an event."""
        self.over()
        return self._splitter.end()

    def lose(self) -> None:
        """It broke off: what runs is not paid."""
        self._deliveries.lose()

    def leave(self) -> Flow[None]:
        """Its reader left it, and its connection is closed: what it took is paid."""
        debt, self._debt = self._debt, None
        if debt is not None:
            yield from owing.leave(self.visit, self.held.key, debt)

    def over(self) -> None:
        """Nothing more is received of it."""
        if self._kept is not None:  # it broke a rule, which its reader didn't stay to hear
            self.lose()
        self._debt = self._deliveries.leave(self.held, self._received_units) or self._debt
        received, _ = self.streams.running.get(id(self), (0, 0))
        self.agreed.received_units = max(self.agreed.received_units, received)
        self.streams.end(id(self))

    def _count(self, event: bytes, data: bytes) -> None:
        if not data:
            return  # a comment that keeps the line open is nothing delivered
        per_event = self.visit.purse.policy.units_per_event if self.visit.ahead_units else 0  # T24
        units = len(event) if self.visit.terms.unit_type == BYTE else per_event
        self.streams.receive(id(self), units * self.visit.terms.amount_units)
        self._idle = 0

    def _receipt(self, data: bytes) -> Flow[None]:
        try:
            said = self.visit.payer.balance(receipt_from(_object(data)))
        except MalformedHeader:
            return  # a word that can't be read changes nothing
        yield from self._note(said)
        held = self.held
        event = Metered(self.visit.origin, held.channel_id, held.asset, held.spent_units, said.units)
        self.visit.purse.observe(event)

    def _note(self, said: Balance | None) -> Flow[None]:
        current = yield from wait(self.visit.book.get(self.held.key))
        if current is not None and current.standing is Standing.OPEN:
            self.held = yield from note(self.visit, current, said)

    def _need(self, data: bytes) -> Flow[None]:
        """The stream ran dry: sign what was delivered and a window ahead, no more, and send it. T24"""
        needed = self.visit.payer.needed(_object(data))
        if needed.channel_id != self.held.channel_id:  # T24
            raise MalformedHeader("the stream asks for a voucher on another channel")
        self._idle += 1
        if self._idle > MAX_IDLE_NEEDS:  # T46
            raise PaymentRefused("the stream asks again and again and delivers nothing. Nothing was signed.", status=0)
        waited_s = 0.0
        while not (yield from self._answered(needed.required_units or 0, patient=waited_s < MAX_BEHIND_S)):
            yield from sleep(BEHIND_PAUSE_S)
            waited_s += BEHIND_PAUSE_S

    def _answered(self, required: int, *, patient: bool) -> Flow[bool]:
        """Whether it was; not yet, where other streams on this channel may have more on its way to their readers."""
        lease = yield from turn(self.visit.book, self.visit.scope)
        try:
            held = (yield from wait(self.visit.book.get(self.held.key))) or self.held
            self.streams.beside(held.signed_units)
            covered = max(held.signed_units, self.streams.flowing().most_units)
            if patient and required > covered and len(self.streams.running) > 1:
                return False
            if required > held.signed_units:
                total = self.streams.flowing().answer(required, held.deposit_units)
                total = yield from affordable_part(self.visit, held, total)
                held = yield from channels.covered(self.visit, held, total)
                held = yield from sign(self.visit, held, total)
                self.agreed.asked_units += self.streams.asked(held.signed_units)  # T24
            self.held = held
            yield from self._send()
            return True
        finally:
            lease.release()

    def _send(self) -> Flow[None]:
        yield from ensure_challenge(self.visit, self.held)
        said = yield from ask_about(self.visit, self.visit.voucher(self.held), self.held)
        if said.stale and said.fresh is not None:
            refresh(self.visit, said.fresh)
            said = yield from ask_about(self.visit, self.visit.voucher(self.held), self.held)
        if not said.good:
            raise _refused(self.visit, said)
        self.held = yield from note(self.visit, self.held, said.balance)


def _refused(visit: Visit, said: Said) -> PaymentRefused:
    reason = ": ".join(one for one in (said.problem, said.detail) if one) or "no reason given"
    return PaymentRefused(
        f"{visit.origin} refused a voucher for a running stream (HTTP {said.status}, {reason}).",
        status=said.status,
        problem=said.problem,
        detail=said.detail,
    )
