"""What a stream's deliveries come to, and that it is paid: at the stream's end, for its own channel, within limits.

    a directive     begins a delivery, and ends the one before: that came, and is paid
    a usage         says what the running one came to; it can speak of no other
    the end         `[DONE]`, or the end of an answer that did not break off: the running one is paid
    leaving         its reader closed it before that: what came of the running one is owed (owing.py)

The most that the deliveries of one answer may come to (T24), whatever the directives and the usages say:

    what any stream may ask   price of a unit x (units received + the policy's window), less what was signed for the
                              streams on this channel while they came; nothing where the price is the whole answer's
    the limit for a request   with the price of the request, the policy's max_per_request or the asset's own limit

and, as for every voucher, the budgets, `max_deposit` and `max_locked`. Beyond them nothing is signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from urllib.parse import urljoin

from coinslot.client import channels, owing
from coinslot.client.debts import Debt
from coinslot.client.events import Declined
from coinslot.client.purse import units_of
from coinslot.client.text import origin_of
from coinslot.client.visit import Visit, turn
from coinslot.client.watermark import Agreed
from coinslot.drive import Flow, wait
from coinslot.errors import PaymentRefused, PolicyRefused, UsageError
from coinslot.intents.acts import Held, Standing
from coinslot.intents.deliveries import COMMIT_PATH, Directive, Usage


@dataclass
class Deliveries:
    """Those of one answer. Used by one thread or task at a time.

    What its request paid before that answer was lost, by `agreed`, counts as paid and is not paid again.
    """

    visit: Visit
    agreed: Agreed
    _live: Directive | None = None
    _from_units: int = 0
    _usage: Usage | None = None
    _ended: set[str] = field(default_factory=set)
    _sequence: int = -1
    _paid_units: int = field(init=False)
    _before: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._before = frozenset(self.agreed.deliveries)
        self._paid_units = sum(self.agreed.deliveries.values())

    def begin(self, held: Held, told: Directive, at_s: float, received_units: int) -> None:
        """The delivery that streams from now on. The one before must be paid already. `received_units`: see `pay`.

        Raises UsageError for one that can't be ours, PolicyRefused for a voucher that would go elsewhere.
        """
        if told.channel_id != held.channel_id:  # T24
            raise UsageError("sessionId is another channel than the one that pays this stream")
        asset = self.visit.terms.asset
        if told.currency not in (asset.id, asset.symbol):  # T29
            raise UsageError("currency is not what this channel holds")
        if told.delivery_id in self._ended or told.sequence <= self._sequence:  # T24
            raise UsageError("deliveryId or sequence comes again")
        if told.delivery_id in self._before:  # T24: it was paid, and comes again with its answer
            self._sequence = told.sequence
            self._ended.add(told.delivery_id)
            return
        if told.expires_at_s <= at_s:
            raise UsageError("expiresAt is past")
        self._url(told)
        self.visit.purse.desk.debts.drop(held.key, told.delivery_id)  # F14: it comes again, and is paid at its end
        self._live, self._usage, self._sequence, self._from_units = told, None, told.sequence, received_units

    def repeats(self, told: Directive) -> bool:
        """Whether this directive is the running one, once more."""
        return told == self._live

    def use(self, told: Usage) -> None:
        """What the running delivery came to. Raises UsageError for any other. T24"""
        if self._live is None and told.delivery_id in self._before:
            return
        if self._live is None or told.delivery_id != self._live.delivery_id:  # T24
            raise UsageError("deliveryId is not the delivery that streams")
        self._usage = told

    def _url(self, told: Directive) -> str:
        """Where to commit. Raises PolicyRefused, UsageError."""
        origin = self.visit.origin
        try:
            url = origin + COMMIT_PATH if told.commit_url is None else urljoin(self.visit.url, told.commit_url)
        except ValueError:
            raise UsageError("commitUrl can't be read") from None
        if origin_of(url) != origin or "@" in url.partition("//")[2].partition("/")[0]:  # T37
            raise PolicyRefused(
                f"{origin} wants a voucher posted to another site. Nothing was signed for what it delivered."
            )
        return url.partition("#")[0]

    @property
    def due_units(self) -> int:
        """What the running delivery comes to, as far as the server said; 0 where none runs."""
        if self._live is None:
            return 0
        return self._live.amount_units if self._usage is None else self._usage.amount_units

    def require_agreed(self, received_units: int) -> None:
        """That the caller agreed to the running delivery, and the ones before. Raises PolicyRefused. T24"""
        terms = self.visit.terms
        streamed, of_request = received_units + self.visit.ahead_units, self._of_request_units
        total = self._paid_units + self.due_units
        if total > min(streamed, of_request):  # T24
            shown = terms.asset.text
            raise PolicyRefused(
                f"{self.visit.origin} wants {shown(total)} for what it delivered. {shown(streamed)} may be paid for "
                f"what came and a window ahead, and {shown(of_request)} beside the price of one request. "
                "Nothing was signed for it."
            )

    @property
    def _of_request_units(self) -> int:
        """What the policy leaves for deliveries beside the price of one request."""
        terms = self.visit.terms
        limit = self.visit.purse.policy.limit(terms.asset)
        return 0 if limit is None else max(0, units_of(limit, terms.asset) - terms.amount_units)

    def pay(self, held: Held, received_units: int) -> Flow[Held | None]:
        """Pay the running delivery, if one runs that cost something; it is over then. The channel's new record.

        `received_units` is what came and nothing else was signed for; less than 0 where more was signed than came.

        Raises PolicyRefused, PaymentRefused, PaymentOutcomeUnknown, ChainError, StoreError.
        """
        told, due = self._live, self.due_units
        if told is None:
            return None
        try:
            if not due:
                return None
            self.require_agreed(received_units)
            return (yield from self._pay(held.key, self._debt(told, due, until_s=float(told.expires_at_s))))
        finally:
            self._live, self._usage = None, None  # whatever came of it, it is not signed for again
            self._ended.add(told.delivery_id)
            self._paid_units += due

    def _debt(self, told: Directive, amount_units: int, more_units: int = 0, until_s: float = inf) -> Debt:
        url = self._url(told)
        return Debt(self.visit.origin, url, told.delivery_id, amount_units, more_units, until_s, self.agreed)

    def _pay(self, key: str, debt: Debt) -> Flow[Held | None]:
        visit = self.visit
        lease = yield from turn(visit.book, visit.scope)
        try:
            held = yield from wait(visit.book.get(key))
            if held is not None and held.opening:
                held = yield from channels.resolve(visit, held)
            if held is None or held.standing is not Standing.OPEN:
                raise PaymentRefused("the channel of a delivery is not open any more. Nothing was signed.", status=0)
            return (yield from owing.pay(visit, held, debt))
        finally:
            lease.release()

    # --- left early ------------------------------------------------------------------------------

    def lose(self) -> None:
        """The stream broke off, by no wish of its reader: the running delivery is not paid, and may come again."""
        self._live, self._usage = None, None

    def leave(self, held: Held, received_units: int) -> Debt | None:
        """Its reader has left: what came of the running delivery is owed from now on. `received_units`: see `pay`.

        That is the usage, if it was told. Else what came by our own count, or more where its server had sent more: up
        to a window ahead, and what the directive said. Nothing where nothing came, or beyond the limits. T24
        """
        told, usage = self._live, self._usage
        self._live, self._usage = None, None
        if told is None:
            return None
        self._ended.add(told.delivery_id)
        came = max(0, received_units - self._from_units)
        amount = min(told.amount_units, came) if usage is None else usage.amount_units  # T24
        room = min(received_units + self.visit.ahead_units, self._of_request_units) - self._paid_units
        if not amount:
            return None
        if amount > room:  # T24
            text = f"what {self.visit.origin} wants for what it delivered is not allowed. Nothing was signed for it."
            self.visit.purse.observe(Declined(self.visit.origin, text))
            return None
        more = 0 if usage is not None else min(told.amount_units, came + self.visit.ahead_units, room) - amount  # T24
        debt = self._debt(told, amount, max(0, more))
        self.visit.purse.desk.debts.owe(held.key, debt)
        return debt
