"""The counter where channels pay: what the gate does with a credential of a session, after it has authenticated it.

    voucher    verified, then accepted and spent in one durable step of the store; only that step runs anything
    open       a payment of its own (claim, prepare, broadcast, confirm, record); then the request is bought from it
    topUp      the same, and nothing is bought
    close      the channel stops selling, and a close goes through the outbox

A request that is about the channel only (HEAD, a bodiless POST where units are metered, a method the route has no
content for) is answered here. What content costs comes from the route, never from the echo. T03

An equal voucher buys nothing: it gets the stored answer of its Idempotency-Key, else a receipt without content. A lower
one is told how the channel stands (402), so that its client can sign a higher one. T02
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from coinslot.core.canonical import canonical, decode_object, encode_object
from coinslot.core.credential import Credential
from coinslot.core.header import printable_ascii
from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import (
    AlreadyDelivered,
    BadRequest,
    ChainError,
    ChallengeUsed,
    ChannelFinalized,
    ChannelNotFound,
    DeltaTooSmall,
    InvalidChallenge,
    MethodUnsupported,
    OutcomePending,
    PaymentExpired,
    PaymentInFlight,
    Problem,
    RailUnavailable,
    StoreError,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import session
from coinslot.intents.acts import Act, Claimed, Done, Funding, FundingOutcome, Presented, Terms
from coinslot.intents.charge import Pending, Prepared, Refused
from coinslot.intents.session import Channel, Rules, Spent, Stage, Stale, Voucher
from coinslot.intents.session_problems import problem_of
from coinslot.method import SessionSeller, sells_sessions
from coinslot.server import funding, payout
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer, managed, refusal, replay
from coinslot.server.events import Bought, ChannelClosed, ChannelFunded, Event, Offered
from coinslot.server.holding import Hold, obtain
from coinslot.server.issue import Issuer, expires_at_s, header_values
from coinslot.server.meter import Meter, Tab
from coinslot.server.price import Metering, Offer, Price
from coinslot.server.request import Incoming, request_hash
from coinslot.store.channels import (
    ChannelQuery,
    JobKind,
    JobStage,
    Known,
    Opened,
    Order,
    OrderResult,
    Repeated,
    Reserved,
    ReserveResult,
    SessionStore,
)
from coinslot.store.protocol import Claim, Delivery, Lease, OverBudget, Payment, Taken
from coinslot.store.protocol import Stage as PaymentStage

# Between two questions to the chain about one transaction.
CONFIRM_EVERY_S = 0.25
# What we tell clients that should come back with the same credential.
RETRY_IN_FLIGHT_S = 1
RETRY_PENDING_S = 5
# How often a server asks its store when the watcher last looked. T27
WATCH_EVERY_S = 5.0
# The watcher must look three times while a payer waits to take its money back.
LOOKS_PER_GRACE = 3
# What never changes of channels is remembered, for so many; then all is forgotten and learnt anew.
REMEMBERED = 65_536
# Longer keys are no keys; the text is part of a unique index.
MAX_IDEMPOTENCY_KEY = 255
# A payer has few channels with one payee at a time; more are not looked at.
MAX_INTRODUCED = 100
# A settlement and a close, each perhaps finished by somebody else meanwhile.
CLOSING_ROUNDS = 3
NO_CONTENT = 204
OK = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with an authenticated credential of a session, and who it is."""

    request: Incoming
    price: Price
    credential: Credential
    credential_hash: str
    idempotency_key: str | None

    @property
    def about_channel(self) -> bool:
        """Whether no content is asked for."""
        request = self.request
        if request.manages or request.method == "HEAD":
            return True
        return self.price.metering is not None and request.method == "POST" and request.bodiless


@dataclass(frozen=True, slots=True)
class _Case:
    """An asked request with whom it pays and what it presents."""

    asked: Asked
    seller: SessionSeller
    claimed: Claimed
    presented: Presented

    @property
    def rules(self) -> Rules:
        return self.seller.rules(self.claimed.terms)

    @property
    def voucher(self) -> Voucher:
        if self.presented.voucher is None:
            raise VerificationFailed("no voucher was presented")
        return self.presented.voucher

    @property
    def challenge_id(self) -> str:
        return self.asked.credential.challenge.id


@dataclass(frozen=True, slots=True)
class _Facts:
    """What never changes of a channel."""

    signer: str
    payer: str


@dataclass(frozen=True)
class Sessions:
    """Serves credentials of sessions. Safe for threads and tasks; several processes share one store."""

    issuer: Issuer
    store: SessionStore
    patience_s: float
    tell: Callable[[Event], None] = field(repr=False)
    _facts: dict[tuple[str, str, str], _Facts] = field(default_factory=dict, init=False, repr=False)
    _terms: dict[tuple[int, str], tuple[SessionSeller, Terms]] = field(default_factory=dict, init=False, repr=False)
    _watched: dict[str, tuple[float, float | None]] = field(default_factory=dict, init=False, repr=False)

    def serve(self, asked: Asked) -> Flow[Answer | SessionAdmission]:
        """An answer, or an admission under which the handler runs.

        Raises a Problem, ChainError (nothing was claimed, or the claim was handed back), StoreError.
        """
        case = yield from self._recognise(asked)
        if case.presented.act is not Act.CLOSE:
            yield from self._require_watch(case.seller)
        match case.presented.act:
            case Act.VOUCHER:
                return (yield from self._voucher(case))
            case Act.OPEN:
                return (yield from self._open(case))
            case Act.TOP_UP:
                return (yield from self._top_up(case))
            case Act.CLOSE:
                return (yield from self._close(case))

    # --- recognise -------------------------------------------------------------------------------

    def _recognise(self, asked: Asked) -> Flow[_Case]:
        """Under our own terms, as the route asks them now, and in time. T03 T10"""
        challenge = asked.credential.challenge
        offers = yield from asked.price.offers(asked.request)
        seller, terms = self._whose(asked, offers)
        current = next(one.terms for one in offers if one.seller is seller)
        if current is None or not _same(terms, current):
            raise InvalidChallenge("the price has changed since this challenge; take a fresh one")
        expires = expires_at_s(challenge)
        if (yield from now()) >= expires:  # T10
            raise PaymentExpired("this challenge has expired; present the same under a fresh one")
        presented = seller.read(asked.credential.payload_object(), terms)
        return _Case(asked, seller, Claimed(asked.credential, terms, expires), presented)

    def _whose(self, asked: Asked, offers: tuple[Offer, ...]) -> tuple[SessionSeller, Terms]:
        challenge = asked.credential.challenge
        name = (id(asked.price), challenge.request)
        known = self._terms.get(name)
        if known is not None and any(one.seller is known[0] for one in offers):
            return known
        found = [one for one in asked.price.sellers if sells_sessions(one) and one.method == challenge.method]
        if not found:
            raise MethodUnsupported("this route takes no sessions of this payment method")
        request = challenge.request_object()
        for seller in found:
            with suppress(InvalidChallenge):
                if len(self._terms) >= REMEMBERED:  # F28
                    self._terms.clear()
                self._terms[name] = (seller, seller.terms(request))
                return self._terms[name]
        raise InvalidChallenge("this challenge asks for what is no longer sold here; take a fresh one")

    def _require_watch(self, seller: SessionSeller) -> Flow[None]:
        """That somebody looks often enough whether payers close their channels. T27 F26"""
        moment = yield from now()
        asked_at_s, ago_s = self._watched.get(seller.network, (moment - 2 * WATCH_EVERY_S, None))
        if ago_s is None or not 0 <= moment - asked_at_s < WATCH_EVERY_S:
            ago_s = yield from wait(self.store.watched_ago_s(seller.network))
            self._watched[seller.network] = (moment, ago_s)
            asked_at_s = moment
        if ago_s is None or ago_s + (moment - asked_at_s) > seller.grace_s / LOOKS_PER_GRACE:  # F26
            raise RailUnavailable(
                "nobody watches this network's channels at the moment; nothing was charged",
                retry_after_s=RETRY_PENDING_S,
            )

    def _known(self, case: _Case) -> Flow[_Facts]:
        """Whose channel it is, by our own record. Raises ChannelNotFound, VerificationFailed. T15"""
        terms, key = case.claimed.terms, case.presented.key
        name = (key, terms.recipient, terms.asset.key)
        facts = self._facts.get(name)
        if facts is None:
            channel = yield from self._find(case)
            if (channel.payee, channel.asset) != (terms.recipient, terms.asset.key):  # T03
                raise VerificationFailed("this channel pays somebody else, or in something else")
            if len(self._facts) >= REMEMBERED:  # F28
                self._facts.clear()
            facts = self._facts[name] = _Facts(channel.signer, channel.payer)
        return facts

    def _find(self, case: _Case) -> Flow[Channel]:
        channel = yield from wait(self.store.find_channel(case.presented.key))
        if channel is None:
            raise ChannelNotFound("no channel of this id is known here", channel_id=case.presented.channel_id)
        return channel

    # --- voucher ---------------------------------------------------------------------------------

    def _voucher(self, case: _Case) -> Flow[Answer | SessionAdmission]:
        facts = yield from self._known(case)
        case.seller.verify(case.presented, facts.signer)  # T13 T15
        failpoint("session.verified")
        return (yield from self._buy(case, facts.payer, case.voucher))

    def _buy(
        self, case: _Case, payer: str, voucher: Voucher | None, key: str | None = None
    ) -> Flow[Answer | SessionAdmission]:
        """Accept and spend in one step; what may run is what that step says. T02 T22"""
        asked, metering = case.asked, case.asked.price.metering
        cost = 0 if asked.about_channel or metering is not None else case.claimed.terms.amount_units
        order = Order(
            case.presented.key,
            cost,
            case.rules,
            voucher,
            1 if cost else 0,
            None if asked.about_channel else key or asked.idempotency_key,
            request_hash(asked.request, self.issuer.realm),
        )
        result: OrderResult | ReserveResult
        if metering is None or asked.about_channel:
            result = yield from wait(self.store.accept_and_spend(order))
        else:
            unit = case.claimed.terms.amount_units
            result = yield from wait(self.store.reserve(order, metering.least * unit, metering.window * unit))
        failpoint("session.spent")
        if isinstance(result, Reserved):
            if metering is None or result.reservation is None:
                raise ChannelNotFound("nothing was set aside", channel_id=case.presented.channel_id)
            meter = Meter(self._tab(case, metering), result.channel, result.reservation)
            return (yield from self._bought(case, payer, order, result.channel, meter))
        match result:
            case Spent(channel):
                return (yield from self._bought(case, payer, order, channel))
            case Stale(channel, equal):
                return (yield from self._stale(case, channel, equal=equal))
            case Repeated(channel, answer):
                return (yield from self._repeated(case, channel, answer))
            case session.Refused():
                return (yield from self._refused(case, result))

    def _tab(self, case: _Case, metering: Metering) -> Tab:
        return Tab(self.store, case.seller, case.rules, metering, case.claimed.terms.amount_units, case.challenge_id)

    def _bought(
        self, case: _Case, payer: str, order: Order, channel: Channel, meter: Meter | None = None
    ) -> Flow[Answer | SessionAdmission]:
        if case.asked.about_channel:
            return (yield from self._managed(case, channel, NO_CONTENT))
        receipt = case.seller.receipt(channel, case.challenge_id, (yield from now()), order.units, None)
        self.tell(
            Bought(case.asked.request.path, case.seller.method, payer, channel.asset, order.cost_units, channel.id)
        )
        headers = (("payment-session", channel.id),)
        return SessionAdmission(
            receipt, payer, channel.asset, channel.key, order.idempotency_key, meter, headers=headers
        )

    def _stale(self, case: _Case, channel: Channel, *, equal: bool) -> Flow[Answer]:
        """Known, or less than known: nothing was bought. T02"""
        if equal:
            return (yield from self._managed(case, channel, OK))
        if case.asked.about_channel:
            return (yield from self._managed(case, channel, NO_CONTENT))
        problem = DeltaTooSmall("a higher voucher was accepted before; nothing was bought", channel_id=channel.id)
        return (yield from self._ask_again(case, problem, channel))

    def _repeated(self, case: _Case, channel: Channel, answer: Delivery | None) -> Flow[Answer]:
        if answer is None:
            raise PaymentInFlight(
                "a request under this Idempotency-Key is being answered", retry_after_s=RETRY_IN_FLIGHT_S
            )
        receipt = case.seller.receipt(channel, case.challenge_id, (yield from now()), 0, None)
        if answer.body is None:
            problem = AlreadyDelivered("paid and delivered; the answer was too large to keep", reference=channel.id)
            return refusal(problem, receipt=receipt.members())
        return replay(answer, receipt, answer.body)

    def _managed(
        self, case: _Case, channel: Channel, status: int, reference: str | None = None, units: int | None = 0
    ) -> Flow[Answer]:
        """An answer about the channel, to whoever signs for it."""
        receipt = case.seller.receipt(channel, case.challenge_id, (yield from now()), units, reference)
        return managed(status, receipt, case.seller.headers(channel, self._required(case, channel)))

    def _required(self, case: _Case, channel: Channel) -> int:
        """The total that the next voucher must say to buy this request."""
        metering = case.asked.price.metering
        least = metering.least if metering is not None else 1
        return channel.spent + channel.reserved + least * case.claimed.terms.amount_units

    def _refused(self, case: _Case, refused: session.Refused) -> Flow[Answer]:
        problem = problem_of(refused)
        if refused.channel is None or not problem.challenge:
            raise problem
        return (yield from self._ask_again(case, problem, refused.channel))

    def _ask_again(self, case: _Case, problem: Problem, channel: Channel) -> Flow[Answer]:
        """A fresh challenge that tells how the channel stands: its signer's signature was verified. TSES"""
        required = self._required(case, channel)

        def hint(offer: Offer) -> Offer:
            if offer.seller is not case.seller:
                return offer
            told = case.seller.suggest(decode_object(offer.request), channel, required)
            return replace(offer, request=encode_object(told))

        asked = case.asked
        challenges = yield from self.issuer.challenges(asked.request, asked.price, hint)
        offered = tuple(f"{one.method}/{one.intent}" for one in challenges)
        self.tell(Offered(asked.request.path, offered, problem.slug))
        extra = case.seller.headers(channel, required)
        return refusal(problem, header_values(challenges), extra, challengeId=challenges[0].id)

    # --- open, topUp -----------------------------------------------------------------------------

    def _open(self, case: _Case) -> Flow[Answer | SessionAdmission]:
        known = yield from wait(self.store.find_channel(case.presented.key))
        if known is not None and known.stage is not Stage.OPENING:  # again: the same act, done once
            case.seller.verify(case.presented, known.signer)
            if known.stage is Stage.CLOSED:
                raise ChannelFinalized("this channel is closed", channel_id=known.id)
            return (yield from self._managed(case, known, NO_CONTENT))
        checked = yield from case.seller.check(case.presented, case.claimed, None)
        done = yield from self._fund(case, checked)
        if isinstance(done, Answer) or case.asked.about_channel:
            return done if isinstance(done, Answer) else (yield from self._managed(case, done, NO_CONTENT))
        # The opening is over and on record; the request is bought like any other, once for this credential.
        key = case.asked.idempotency_key or f"open/{case.asked.credential_hash}"
        return (yield from self._buy(case, done.payer, None, key))

    def _top_up(self, case: _Case) -> Flow[Answer]:
        yield from self._known(case)
        channel = yield from self._find(case)
        checked = yield from case.seller.check(case.presented, case.claimed, channel)
        done = yield from self._fund(case, checked)
        return done if isinstance(done, Answer) else (yield from self._managed(case, done, NO_CONTENT))

    def _fund(self, case: _Case, checked: Funding) -> Flow[Channel | Answer]:
        """Claim, prepare, broadcast, confirm, record: the channel as it stands then, or the answer to a repeat. T06"""
        row = session.under(case.asked.credential.challenge, checked.proof)
        claim = Claim(
            row,
            checked.proof,
            checked.payer,
            request_hash(case.asked.request, self.issuer.realm),
            case.asked.credential_hash,
            None,
            checked.budgets,
        )
        lease = yield from self._claim(case, claim, checked)
        if isinstance(lease, Payment):
            return (yield from self._again(case, lease, checked))
        with Hold(self.store, lease) as hold:
            failpoint("session.claimed")
            prepared = yield from self._prepare(case, hold, checked, claim)
            return (yield from self._settle(case, hold, prepared, checked))

    def _claim(self, case: _Case, claim: Claim, checked: Funding) -> Flow[Lease | Payment]:
        if checked.channel is None:
            result = yield from obtain(self.store, self.store.claim(claim))
        else:
            opened = yield from obtain(self.store, self.store.open_channel(claim, checked.channel, case.rules))
            if isinstance(opened, Known):  # T08: another transaction had this id
                raise ChallengeUsed("a channel of this id was opened before")
            result = opened.lease if isinstance(opened, Opened) else opened
        if isinstance(result, OverBudget):
            raise VerificationFailed(
                "the server's fee budget is used up; pay the network fee yourself or come back later"
            )
        if not isinstance(result, Taken):
            return result
        if result.by == "proof" and result.payment.challenge.intent != session.INTENT:  # T06
            raise ChallengeUsed("this transaction paid for something else")
        return result.payment

    def _prepare(self, case: _Case, hold: Hold, checked: Funding, claim: Claim) -> Flow[Prepared]:
        try:
            prepared = yield from case.seller.prepare(checked, claim.challenge)
        except Problem as problem:
            yield from self._fail(hold, checked, problem.detail)
            raise
        yield from wait(self.store.prepare(hold.lease, prepared))  # F09: bytes and hash before anything leaves
        failpoint("session.prepared")
        return prepared

    def _fail(self, hold: Hold, checked: Funding, reason: str) -> Flow[None]:
        """It will never happen. A channel that wasn't opened is closed for good: its id is that of this transaction."""
        if checked.act is Act.OPEN:
            yield from wait(self.store.mark_closed(checked.key, 0))
        yield from wait(self.store.fail(hold.lease, reason))
        hold.pass_on()

    def _settle(self, case: _Case, hold: Hold, prepared: Prepared, checked: Funding) -> Flow[Channel]:
        """Broadcast, ask the chain until it tells or patience ends, record. F11"""
        with suppress(ChainError, Problem):  # only the chain knows now, whatever the node said
            yield from case.seller.broadcast(prepared)
        failpoint("session.broadcast")
        began = yield from now()
        while True:
            outcome = yield from self._confirm(case, prepared)
            if not isinstance(outcome, Pending):
                break
            if not began <= (yield from now()) < began + self.patience_s:  # F21
                raise _pending(prepared.reference)
            yield from sleep(CONFIRM_EVERY_S)
        if isinstance(outcome, Refused):
            yield from self._fail(hold, checked, outcome.reason)
            raise VerificationFailed(f"the network refused this transaction: {outcome.reason}")
        recorded = yield from funding.record(self.store, hold.lease, prepared, outcome, case.seller)
        hold.pass_on()  # delivered: over
        if isinstance(recorded, session.Refused):
            raise problem_of(recorded)
        self.tell(
            ChannelFunded(
                case.seller.method,
                recorded.payer,
                recorded.asset,
                str(checked.act),
                outcome.added_units,
                recorded.deposit,
                recorded.id,
                outcome.reference,
            )
        )
        return recorded

    def _confirm(self, case: _Case, prepared: Prepared) -> Flow[FundingOutcome]:
        try:
            return (yield from case.seller.confirm(prepared))
        except (ChainError, Problem) as error:  # F11: no answer is not "no"
            return Pending(type(error).__name__)

    def _again(self, case: _Case, payment: Payment, checked: Funding) -> Flow[Channel | Answer]:
        """This transaction was presented before: it goes on where it stopped, and buys nothing twice. F07 F14"""
        if payment.stage is PaymentStage.DELIVERED:
            channel = yield from self._find(case)
            reference = payment.prepared.reference if payment.prepared else None
            return (yield from self._managed(case, channel, NO_CONTENT, reference))
        lease = None
        if not payment.leased:
            lease = yield from obtain(self.store, self.store.take(payment.challenge.id))
        if lease is None:
            raise PaymentInFlight(
                "this transaction is being settled; repeat the request with the same credential",
                retry_after_s=RETRY_IN_FLIGHT_S,
                reference=payment.prepared.reference if payment.prepared else None,
            )
        with Hold(self.store, lease) as hold:
            payment = (yield from wait(self.store.find(payment.challenge.id))) or payment
            if payment.stage is PaymentStage.FAILED:
                raise VerificationFailed(f"this transaction failed: {payment.reason}")
            prepared = payment.prepared
            if prepared is None:
                claim = Claim(payment.challenge, payment.proof, payment.payer, "", "")
                prepared = yield from self._prepare(case, hold, checked, claim)
            return (yield from self._settle(case, hold, prepared, checked))

    # --- close -----------------------------------------------------------------------------------

    def _close(self, case: _Case) -> Flow[Answer]:
        """Sell nothing more, and take what was bought; the rest goes back to the payer. T23"""
        facts = yield from self._known(case)
        case.seller.verify(case.presented, facts.signer)
        for _ in range(CLOSING_ROUNDS):
            channel = yield from self._find(case)
            if channel.stage is Stage.CLOSED:
                return (yield from self._closed(case, channel))
            wanted = session.close(channel, case.voucher, case.rules)
            if isinstance(wanted, session.Refused):
                return (yield from self._refused(case, wanted))
            marked = yield from wait(self.store.mark_closing(channel.key, (yield from now())))
            if isinstance(marked, session.Refused):
                return (yield from self._refused(case, marked))
            failpoint("session.closing")
            job = yield from wait(self.store.plan(channel.key, JobKind.CLOSE, wanted))
            if isinstance(job, session.Refused):
                return (yield from self._refused(case, job))
            lease = yield from wait(self.store.take_job(job.id))
            if lease is None:
                raise PaymentInFlight("this channel is being settled or closed", retry_after_s=RETRY_IN_FLIGHT_S)
            task = payout.Task(marked, job, lease)
            outcome = (yield from payout.work(self.store, case.seller, [task], self.patience_s))[0]
            if isinstance(outcome, Done) and outcome.closed:
                self._tell_closed(case, marked, outcome)
                channel = yield from self._find(case)
                return (yield from self._managed(case, channel, NO_CONTENT, outcome.reference, None))
            if not isinstance(outcome, Done):
                raise _pending(job.reference)
        raise _pending(None)

    def _tell_closed(self, case: _Case, channel: Channel, done: Done) -> None:
        self.tell(
            ChannelClosed(
                case.seller.method,
                channel.payer,
                channel.asset,
                done.settled_units,
                done.refunded_units,
                channel.id,
                done.reference,
            )
        )

    def _closed(self, case: _Case, channel: Channel) -> Flow[Answer]:
        """Closed already: the receipt of that close, to whoever asked for it."""
        jobs = yield from wait(self.store.jobs_of(channel.key, 1))
        if not jobs or jobs[0].stage is not JobStage.DONE or jobs[0].kind is not JobKind.CLOSE:
            raise ChannelFinalized("this channel is closed", channel_id=channel.id)
        return (yield from self._managed(case, channel, NO_CONTENT, jobs[0].reference, None))

    # --- what became of the answer ---------------------------------------------------------------

    def delivered(self, admission: SessionAdmission, delivery: Delivery) -> Flow[None]:
        """Record what a stream took, and keep the answer for whoever repeats the request. Raises StoreError."""
        if admission.meter is not None:
            yield from admission.meter.finish()
        if admission.idempotency_key is not None:
            # Not waited for: if it is lost, the request runs again without a second charge.
            self.store.keep_answer(admission.key, admission.idempotency_key, delivery)

    def abandoned(self, admission: SessionAdmission) -> None:
        """The handler gave no 2xx answer: what its meter took is spent, and under its key it may be run again."""
        if admission.meter is not None:
            admission.meter.abandon()
        if admission.idempotency_key is not None:
            with suppress(StoreError):
                self.store.keep_answer(admission.key, admission.idempotency_key, None)

    # --- who are you? ----------------------------------------------------------------------------

    def introduce(self, asked: Asked, payer: str) -> Flow[Answer]:
        """What a proven account has here: 204, with its newest channel under this route's terms in headers."""
        offers = yield from asked.price.offers(asked.request)
        extra: tuple[tuple[str, str], ...] = ()
        query = ChannelQuery(frozenset({Stage.OPEN}), payer, limit=MAX_INTRODUCED)
        for channel in reversed((yield from wait(self.store.list_channels(query)))):
            offer = next((one for one in offers if _pays(channel, one)), None)
            if offer is not None and offer.terms is not None and sells_sessions(offer.seller):
                required = channel.spent + channel.reserved + offer.terms.amount_units
                extra = offer.seller.headers(channel, required)
                break
        return Answer(NO_CONTENT, (("cache-control", "no-store"), *extra, ("content-length", "0")), b"")


def asked_of(request: Incoming, price: Price, credential: Credential) -> Asked:
    """An authenticated request. Raises BadRequest."""
    return Asked(request, price, credential, credential_hash(credential), idempotency_key(request))


def credential_hash(credential: Credential) -> str:
    """The identity of what was presented: its payload in canonical form, so that spelling does not matter."""
    try:
        return hashlib.sha256(canonical(credential.payload_object())).hexdigest()
    except UsageError:
        return hashlib.sha256(credential.payload).hexdigest()


def idempotency_key(request: Incoming) -> str | None:
    values = request.all("idempotency-key")
    if not values:
        return None
    if len(values) > 1 or not 0 < len(values[0]) <= MAX_IDEMPOTENCY_KEY or not printable_ascii(values[0]):  # T41
        raise BadRequest(f"Idempotency-Key must be one value of 1 to {MAX_IDEMPOTENCY_KEY} ASCII characters")
    return values[0]


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
    return (
        terms is not None
        and sells_sessions(offer.seller)
        and offer.seller.method == channel.method
        and (channel.network, channel.payee, channel.asset) == (offer.seller.network, terms.recipient, terms.asset.key)
    )


def _pending(reference: str | None) -> OutcomePending:
    return OutcomePending(
        "the transaction was sent and its end is not known yet; repeat this request with the same credential",
        retry_after_s=RETRY_PENDING_S,
        reference=reference,
    )
