"""The counter where channels pay: what the gate does with a credential of a session, after it has authenticated it.

    voucher    verified, then accepted and spent in one durable step of the store; only that step runs anything
    use        the same with a proof of who pays; the voucher is ours, signed in that step
    open       a payment of its own (claim, prepare, broadcast, confirm, record); then the request is bought from it,
               where a voucher came with it
    topUp      the same, and nothing is bought
    close      the channel stops selling, and a close goes through the outbox

A request that is about the channel only (HEAD, a bodiless POST where units are metered, a method the route has no
content for) is answered here. What content costs comes from the route, never from the echo. T03

An equal voucher buys nothing: it gets the stored answer of its Idempotency-Key, else a receipt without content. A lower
one is told how the channel stands (402), so that its client can sign a higher one. T02
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, failpoint, now, wait
from coinslot.errors import (
    AlreadyDelivered,
    ChallengeNotFound,
    ChannelNotFound,
    DeltaTooSmall,
    InvalidChallenge,
    MethodUnsupported,
    PaymentExpired,
    PaymentInFlight,
    Problem,
    RailUnavailable,
    TooManyVouchers,
)
from coinslot.intents import session
from coinslot.intents.acts import Act, Claimed, Terms
from coinslot.intents.owing import Declined, Owed, Wish
from coinslot.intents.session import Channel, Rules, Spent, Stage, Stale, Voucher
from coinslot.intents.session_problems import problem_of
from coinslot.method import SessionSeller, sells_sessions
from coinslot.method import presented as presented_by
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer, refusal, replay
from coinslot.server.closing import Closing
from coinslot.server.commits import problem_for
from coinslot.server.deposits import Deposits, Done
from coinslot.server.events import Bought, Event
from coinslot.server.flood import Flood
from coinslot.server.holding import insist, unless_given_up
from coinslot.server.issue import Issuer, expires_at_s
from coinslot.server.lending import LentMeter
from coinslot.server.meter import Meter, Tab, free
from coinslot.server.presented import Asked, Case
from coinslot.server.price import Metering, Offer
from coinslot.server.request import request_hash
from coinslot.server.teller import NO_CONTENT, OK, RETRY_IN_FLIGHT_S, RETRY_PENDING_S, Teller, require_taken
from coinslot.store.channels import (
    ChannelQuery,
    Order,
    OrderResult,
    Repeated,
    Reserved,
    ReserveResult,
    SessionStore,
)
from coinslot.store.deliveries import WishResult
from coinslot.store.protocol import Delivery

# How often a server asks its store when the watcher last looked. T27
WATCH_EVERY_S = 5.0
# The watcher must look three times while a payer waits to take its money back.
LOOKS_PER_GRACE = 3
# What never changes of channels is remembered, for so many; then all is forgotten and learnt anew.
REMEMBERED = 65_536
# Challenges that vouchers echo: one for each session that runs, about 2 KB each.
REMEMBERED_ECHOES = 16_384
# A payer has few channels with one payee at a time; more are not looked at.
MAX_INTRODUCED = 100


@dataclass(frozen=True, slots=True)
class _Facts:
    """What never changes of a channel, in a record of some earlier time. `seller` is kept so that its id names no
    other.
    """

    channel: Channel
    seller: SessionSeller

    @property
    def payer(self) -> str:
        return self.channel.payer


@dataclass(frozen=True, slots=True)
class _Echo:
    """What a challenge, echoed by voucher after voucher, stands for where these offers are made."""

    offers: tuple[Offer, ...]
    challenge: Challenge
    seller: SessionSeller
    terms: Terms
    rules: Rules
    expires_at_s: float
    payee: tuple[str, str, int]
    elsewhere: bool


def _read_echo(asked: Asked, offers: tuple[Offer, ...]) -> _Echo:
    """Under our own terms, as the route asks them now. Raises MethodUnsupported, InvalidChallenge. T03

    A challenge that asked another price of the same seller stands for the route's own terms, `elsewhere`: it may name a
    channel, and nothing is agreed to by it.
    """
    challenge = asked.credential.challenge
    found = [(one.seller, one.terms) for one in offers if one.method == challenge.method]
    if not any(sells_sessions(seller) for seller, _ in found):
        raise MethodUnsupported("this route takes no sessions of this payment method")
    request = challenge.request_object()
    elsewhere = None
    for seller, current in found:
        if not sells_sessions(seller) or current is None:
            continue
        with suppress(InvalidChallenge):
            terms = seller.terms(request)
            payee = (terms.recipient, terms.asset.key, id(seller))
            ends_s = expires_at_s(challenge)
            if _same(terms, current):
                return _Echo(offers, challenge, seller, terms, seller.rules(terms), ends_s, payee, False)
            if payee[:2] == (current.recipient, current.asset.key):
                elsewhere = _Echo(offers, challenge, seller, current, seller.rules(current), ends_s, payee, True)
    if elsewhere is None:
        raise _changed()
    return elsewhere


def _changed() -> InvalidChallenge:
    return InvalidChallenge("what is asked here has changed since this challenge; take a fresh one")


@dataclass(frozen=True)
class Sessions:
    """Serves credentials of sessions. Safe for threads and tasks; several processes share one store."""

    issuer: Issuer
    store: SessionStore
    patience_s: float
    tell: Callable[[Event], None] | None = field(repr=False)  # None: nobody listens
    _teller: Teller = field(init=False, repr=False)
    _deposits: Deposits = field(init=False, repr=False)
    _closing: Closing = field(init=False, repr=False)
    _facts: dict[tuple[str, tuple[str, str, int]], _Facts] = field(default_factory=dict, init=False, repr=False)
    _echoes: dict[tuple[int, str], _Echo] = field(default_factory=dict, init=False, repr=False)
    _flood: Flood = field(default_factory=Flood, init=False, repr=False)
    _watched: dict[str, tuple[float, float | None]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        teller = Teller(self.issuer, self.store, self.tell or _nobody)
        object.__setattr__(self, "_teller", teller)
        object.__setattr__(self, "_deposits", Deposits(teller, self.patience_s))
        object.__setattr__(self, "_closing", Closing(teller, self.patience_s))

    def serve(self, asked: Asked) -> Flow[Answer | SessionAdmission]:
        """An answer, or an admission under which the handler runs.

        Raises a Problem, ChainError (nothing was claimed, or the claim was handed back), StoreError.
        """
        offers = asked.price.fixed or (yield from asked.price.offers(asked.request))
        at_s = yield from now()
        case = self._recognise(asked, offers, at_s)
        if case.presented.act is not Act.CLOSE and not self._watched_lately(case.seller, at_s):
            yield from self._require_watch(case.seller, at_s)
        try:
            return (yield from self._serve(case, at_s))
        except Problem as problem:
            raise case.seller.named(problem) from problem.__cause__

    def _serve(self, case: Case, at_s: float) -> Flow[Answer | SessionAdmission]:
        """The flow of an act, as it is: each generator on the way costs a voucher a third of a microsecond."""
        match case.presented.act:
            case Act.VOUCHER | Act.USE:
                return self._voucher(case, at_s)
            case Act.OPEN:
                return self._open(case)
            case Act.TOP_UP:
                return self._top_up(case)
            case Act.CLOSE:
                return self._close(case, at_s)

    # --- recognise -------------------------------------------------------------------------------

    def _recognise(self, asked: Asked, offers: tuple[Offer, ...], at_s: float) -> Case:
        """Under our own terms, as the route asks them now, and in time. T03 T10"""
        credential = asked.credential
        name = (id(asked.price), credential.challenge.id)
        echo = self._echoes.get(name)
        known = echo is not None and (echo.challenge is credential.challenge or echo.challenge == credential.challenge)
        if echo is None or not known or echo.offers is not offers:
            if len(self._echoes) >= REMEMBERED_ECHOES:  # F28
                self._echoes.clear()
            echo = self._echoes[name] = _read_echo(asked, offers)
        try:
            presented = presented_by(echo.seller, credential, echo.terms)
            if at_s >= echo.expires_at_s and presented.act is not Act.USE:  # T10: of a proof, only its opening expires
                kind = ChallengeNotFound if presented.act is Act.TOP_UP else PaymentExpired
                raise kind("this challenge has expired; present the same under a fresh one")
        except Problem as problem:
            raise echo.seller.named(problem) from problem.__cause__
        if echo.elsewhere and presented.act is not Act.USE:  # T03
            raise _changed()
        claimed = Claimed(credential, echo.terms, echo.expires_at_s)
        return Case(asked, echo.seller, claimed, presented, echo.rules, echo.payee)

    def _watched_lately(self, seller: SessionSeller, moment: float) -> bool:
        """Whether what the store said last about the watcher still shows that it looks often enough. T27 F26"""
        asked_at_s, ago_s = self._watched.get(seller.network, (moment, None))
        aged_s = moment - asked_at_s
        if ago_s is None or not 0 <= aged_s < WATCH_EVERY_S:
            return False
        return ago_s + aged_s <= seller.grace_s / LOOKS_PER_GRACE

    def _require_watch(self, seller: SessionSeller, moment: float) -> Flow[None]:
        """That somebody looks often enough whether payers close their channels. T27 F26"""
        ago_s = yield from wait(self.store.watched_ago_s(seller.network))
        self._watched[seller.network] = (moment, ago_s)
        if ago_s is None or ago_s > seller.grace_s / LOOKS_PER_GRACE:  # F26
            raise RailUnavailable(
                "nobody watches this network's channels at the moment; nothing was charged",
                retry_after_s=RETRY_PENDING_S,
            )

    def _known(self, case: Case) -> Flow[_Facts]:
        """Whose channel it is, by our own record. Raises ChannelNotFound, VerificationFailed. T15"""
        name = (case.presented.key, case.payee)
        facts = self._facts.get(name)
        if facts is None:
            channel = yield from self._teller.find(case)
            require_taken(case, channel)  # T03
            if len(self._facts) >= REMEMBERED:  # F28
                self._facts.clear()
            facts = self._facts[name] = _Facts(channel, case.seller)
        return facts

    # --- voucher ---------------------------------------------------------------------------------

    def _voucher(self, case: Case, at_s: float) -> Flow[Answer | SessionAdmission]:
        facts = self._facts.get((case.presented.key, case.payee)) or (yield from self._known(case))
        case.seller.verify(case.presented, facts.channel, case.claimed, at_s)  # T13 T15
        failpoint("session.verified")
        return (yield from self._buy(case, facts.payer, case.voucher, at_s))

    def _buy(
        self, case: Case, payer: str, voucher: Voucher | None, at_s: float, key: str | None = None
    ) -> Flow[Answer | SessionAdmission]:
        """Accept and spend in one step; what may run is what that step says. T02 T22

        `at_s` is asked before, so that nothing may be cancelled between a purchase and its admission.
        """
        asked, metering, about_channel = case.asked, case.asked.price.metering, case.asked.about_channel
        cost = 0 if about_channel or metering is not None else case.claimed.terms.amount_units
        keyed = None if about_channel else key or asked.idempotency_key
        order = Order(
            case.presented.key,
            cost,
            case.rules,
            voucher,
            1 if cost else 0,
            keyed,
            self._named(asked, cost) if keyed else "",
        )

        def take_back(late: OrderResult | ReserveResult) -> None:
            self._take_back(order, late)

        result: OrderResult | ReserveResult
        lends = self._lends(case)
        if metering is None or about_channel or (lends and metering.events):  # T26
            result = yield from unless_given_up(self.store.accept_and_spend(order), take_back)  # F29
        else:
            unit, most = case.claimed.terms.amount_units, metering.least if lends else metering.window
            reserved = self.store.reserve(order, metering.least * unit, most * unit)
            result = yield from unless_given_up(reserved, take_back)  # F29
        answered, meter = False, None
        try:
            failpoint("session.spent")
            answer: Answer | SessionAdmission
            if lends and metering is not None and isinstance(result, Spent | Reserved):
                meter = yield from self._lent(case, metering, result)
                answer = self._bought(case, payer, order, result.channel, at_s, meter)
            elif type(result) is Spent and not about_channel:
                answer = self._bought(case, payer, order, result.channel, at_s)
            else:
                answer = yield from self._answer(case, payer, order, result, at_s)
            answered = True
            return answer
        finally:
            if not answered:
                self._take_back(order, result, meter)

    def _lends(self, case: Case) -> bool:
        """Whether this content may come before it is paid: metered, where the seller and the door have that, for who
        signs vouchers; but not where the credit is less than the least that must be covered, or nobody could ever buy.
        Whether it does is for the answer to say (lending.py).
        """
        metering, asked = case.asked.price.metering, case.asked
        if metering is None or not asked.request.commits or asked.about_channel or case.presented.act is Act.USE:
            return False
        return case.seller.credit_units >= max(1, metering.least * case.claimed.terms.amount_units)

    def _lent(self, case: Case, metering: Metering, result: Spent | Reserved) -> Flow[Meter]:
        """A meter within what the channel is trusted with, or what was set aside of it. Raises a Problem. T22 T26"""
        unit, seller, channel = case.claimed.terms.amount_units, case.seller, result.channel
        surety = result.reservation if isinstance(result, Reserved) else None
        freed = 0 if surety is None else surety.window_units
        least, most = metering.least * unit, metering.window * unit
        wish = Wish(channel.key, seller.credit_units, least, most, begins=True, freed_units=freed)
        owed = yield from unless_given_up(self.store.set_aside(wish), self._give_back)  # F29
        if isinstance(owed, Declined):
            raise problem_for(owed)
        if isinstance(owed, session.Refused):
            raise problem_of(owed)
        return LentMeter(self._tab(case, metering), channel, owed, case.claimed.terms.asset.id, surety)

    def _give_back(self, late: WishResult) -> None:
        if isinstance(late, Owed):
            insist(lambda: self.store.drop_delivery(late))

    def _named(self, asked: Asked, cost: int) -> str:
        """What a key stands for: the request, and what it costs, where that depends on more than what is hashed. T03"""
        name = request_hash(asked.request, self.issuer.realm)
        return f"{name}/{cost}" if callable(asked.price.amount) else name

    def _answer(
        self, case: Case, payer: str, order: Order, result: OrderResult | ReserveResult, at_s: float
    ) -> Flow[Answer | SessionAdmission]:
        match result:
            case Reserved(channel, reservation):
                metering = case.asked.price.metering
                if metering is None or reservation is None:
                    raise ChannelNotFound("nothing was set aside", channel_id=case.presented.channel_id)
                meter = Meter(self._tab(case, metering), channel, reservation)
                return self._bought(case, payer, order, channel, at_s, meter)
            case Spent(channel):
                return (yield from self._teller.managed(case, channel, NO_CONTENT))
            case Stale(channel, equal):
                self._require_calm(channel.key, at_s)
                return (yield from self._stale(case, channel, equal=equal))
            case Repeated(channel, answer):
                return (yield from self._repeated(case, channel, answer))
            case session.Refused():
                if result.why is not session.Why.BALANCE:  # such a one was accepted, and counts for what comes next
                    self._require_calm(case.presented.key, at_s)
                return (yield from self._teller.refused(case, result))

    def _require_calm(self, key: str, at_s: float) -> None:
        """That this channel does not flood us with vouchers that buy nothing. Raises TooManyVouchers. T26"""
        if not self._flood.allows(key, at_s):  # T26
            raise TooManyVouchers(
                "vouchers that buy nothing come faster than they are answered; nothing changed", retry_after_s=1
            )

    def _take_back(self, order: Order, late: OrderResult | ReserveResult, meter: Meter | None = None) -> None:
        """Bought, and nobody waits for it any more: the window is freed, and under its key it may be run later."""
        if meter is not None:
            meter.forget()  # T26
        elif isinstance(late, Reserved):
            free(self.store, late)
        if order.idempotency_key is not None and isinstance(late, Spent | Reserved):
            self._keep(order.key, order.idempotency_key, None)

    def _tab(self, case: Case, metering: Metering) -> Tab:
        unit_units, ask_again = case.claimed.terms.amount_units, partial(self._teller.ask_again, case)
        return Tab(self.store, case.seller, case.rules, metering, unit_units, case.challenge_id, ask_again)

    def _bought(
        self, case: Case, payer: str, order: Order, channel: Channel, at_s: float, meter: Meter | None = None
    ) -> SessionAdmission:
        receipt = case.seller.receipt(channel, case.challenge_id, at_s, order.units, None)
        if self.tell is not None:
            path, bought = case.asked.request.path, (channel.asset, order.cost_units, channel.id)
            self.tell(Bought(path, case.seller.method, payer, *bought, case.challenge_id, channel.accepted))
        headers = (("payment-session", channel.id),)
        return SessionAdmission(receipt, payer, channel.asset, channel.key, order.idempotency_key, meter, headers)

    def _stale(self, case: Case, channel: Channel, *, equal: bool) -> Flow[Answer]:
        """Known, or less than known: nothing was bought. T02"""
        if equal:
            return (yield from self._teller.managed(case, channel, OK))
        if case.asked.about_channel:
            return (yield from self._teller.managed(case, channel, NO_CONTENT))
        problem = DeltaTooSmall("a higher voucher was accepted before; nothing was bought", channel_id=channel.id)
        return (yield from self._teller.ask_again(case, problem, channel))

    def _repeated(self, case: Case, channel: Channel, answer: Delivery | None) -> Flow[Answer]:
        if answer is None:
            raise PaymentInFlight(
                "a request under this Idempotency-Key is being answered", retry_after_s=RETRY_IN_FLIGHT_S
            )
        receipt = case.seller.receipt(channel, case.challenge_id, (yield from now()), 0, None)
        if answer.body is None:
            problem = AlreadyDelivered("paid and delivered; the answer was too large to keep", reference=channel.id)
            return refusal(problem, receipt=receipt.members())
        return replay(answer, receipt, answer.body)

    # --- top up and close ------------------------------------------------------------------------

    def _top_up(self, case: Case) -> Flow[Answer]:
        yield from self._known(case)
        done = yield from self._deposits.top_up(case)
        return (yield from self._funded(case, done))

    def _close(self, case: Case, at_s: float) -> Flow[Answer]:
        facts = yield from self._known(case)
        case.seller.verify(case.presented, facts.channel, case.claimed, at_s)
        return (yield from self._closing.close(case))

    # --- open ------------------------------------------------------------------------------------

    def _open(self, case: Case) -> Flow[Answer | SessionAdmission]:
        done = yield from self._deposits.open(case)
        if case.asked.about_channel or case.presented.voucher is None:
            return (yield from self._funded(case, done))
        # The opening is over and on record; the request is bought like any other, once for this credential.
        key = case.asked.idempotency_key or f"open/{case.asked.credential_hash}"
        if isinstance(
            done, Done
        ):  # its voucher is accepted: it gets the answer to what it bought then, or nothing. T02
            return (yield from self._buy(case, done.channel.payer, case.voucher, (yield from now()), key))
        return (yield from self._buy(case, done.payer, None, (yield from now()), key))

    def _funded(self, case: Case, done: Channel | Done) -> Flow[Answer]:
        channel, reference = (done.channel, done.reference) if isinstance(done, Done) else (done, None)
        status = OK if case.presented.act is Act.OPEN and case.presented.voucher is None else NO_CONTENT
        return (yield from self._teller.managed(case, channel, status, reference))

    # --- what became of the answer ---------------------------------------------------------------

    def delivered(self, admission: SessionAdmission, delivery: Delivery) -> Flow[None]:
        """Record what a stream took, and keep the answer for whoever repeats the request. Raises StoreError."""
        if admission.meter is not None:
            yield from admission.meter.finish()
        if admission.idempotency_key is not None:
            self._keep(admission.key, admission.idempotency_key, delivery)

    def abandoned(self, admission: SessionAdmission) -> None:
        """The handler gave no 2xx answer: what its meter took is spent, and under its key it may be run again."""
        if admission.meter is not None:
            admission.meter.abandon()
        if admission.idempotency_key is not None:
            self._keep(admission.key, admission.idempotency_key, None)

    def _keep(self, key: str, idempotency_key: str, answer: Delivery | None) -> None:
        """Not waited for: if it is lost, the request runs again without a second charge."""
        insist(lambda: self.store.keep_answer(key, idempotency_key, answer))

    # --- who are you? ----------------------------------------------------------------------------

    def introduce(self, asked: Asked, payer: str) -> Flow[Answer]:
        """What a proven account has here: 204, with its newest channel under this route's terms in headers."""
        offers = yield from asked.price.offers(asked.request)
        extra: tuple[tuple[str, str], ...] = ()
        query = ChannelQuery(frozenset({Stage.OPEN}), payer, limit=MAX_INTRODUCED)
        for channel in reversed((yield from wait(self.store.list_channels(query)))):
            offer = next((one for one in offers if _pays(channel, one)), None)
            if offer is not None and offer.terms is not None and sells_sessions(offer.seller):
                # Nothing is asked for yet; some clients sign what stands here as if it were authorized before.
                extra = offer.seller.headers(channel, channel.spent + channel.reserved)
                break
        return Answer(NO_CONTENT, (("cache-control", "no-store"), *extra, ("content-length", "0")), b"")


def _nobody(_: Event) -> None:
    """Listens."""


def _same(one: Terms, other: Terms) -> bool:
    """Whether two terms ask the same of a client, whatever they suggest."""
    return (one.amount_units, one.asset.key, one.recipient, one.unit_type) == (
        other.amount_units,
        other.asset.key,
        other.recipient,
        other.unit_type,
    )


def _pays(channel: Channel, offer: Offer) -> bool:
    terms = offer.terms
    seller = offer.seller
    if terms is None or not sells_sessions(seller) or seller.method != channel.method:
        return False
    mine = (channel.network, channel.payee, channel.asset) == (seller.network, terms.recipient, terms.asset.key)
    return mine and seller.takes(channel, terms)
