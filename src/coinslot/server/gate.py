"""The gate: six steps from a request to a paid answer, in this order, here and nowhere else.

    1 recognise   core: did we issue this, for this request? paid already: stored outcome; in time?
    2 check       method: is the proof good? nothing moves
    3 claim       store: once, atomic, for ever
    4 settle      method: prepare (bytes, hash; recorded), broadcast (the only irreversible act), confirm
    5 record      ledger: double entry, with the receipt, in one durable step
    6 receipt     core: to the handler's answer; the door reports back what became of it

A payment error has exactly three ends: not paid (a fresh challenge), already paid (the stored outcome, or a refusal
without a challenge), outcome unknown (503 with the transaction's hash, never a fresh challenge: an automatic client
would pay twice). This overrides the status table of the document where that answers 402 to a credential that has paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from coinslot.core.challenge import Challenge
from coinslot.core.credential import Credential, find_credential
from coinslot.core.digest import same_body
from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import (
    AlreadyDelivered,
    ChainError,
    ChallengeNotFound,
    ChallengeUsed,
    InvalidChallenge,
    KeyReused,
    LedgerError,
    MalformedHeader,
    MethodNotAllowed,
    MethodUnsupported,
    OutcomePending,
    PaymentExpired,
    PaymentInFlight,
    PaymentRequired,
    Problem,
    RailUnavailable,
    StoreError,
    StoreUnavailable,
    VerificationFailed,
)
from coinslot.intents import session
from coinslot.intents.acts import Act
from coinslot.intents.charge import Checked, Outcome, Pending, Prepared, Recognised, Refused, Settled, Terms, receipt_of
from coinslot.ledger import post_charge
from coinslot.method import ChargeSeller, Seller, sells_charges
from coinslot.server.admission import Admission, ChargeAdmission, SessionAdmission
from coinslot.server.answer import Answer, refusal, replay
from coinslot.server.events import Event, Observer, Offered, Paid, Replayed
from coinslot.server.events import Refused as RefusedEvent
from coinslot.server.holding import Hold, let_go, obtain
from coinslot.server.issue import PROOF, Issuer, expires_at_s, header_values, looked_at, silent
from coinslot.server.presented import asked_of, credential_hash, idempotency_key, says
from coinslot.server.price import Price
from coinslot.server.request import Incoming, path_scope, request_hash, scope
from coinslot.server.sessions import REMEMBERED_ECHOES, Sessions
from coinslot.store.channels import SessionStore
from coinslot.store.protocol import Claim, Delivery, Lease, OverBudget, Payment, Stage, Taken

# How long a request waits for its own transaction: several blocks of the chains we know, less than a proxy's timeout.
PATIENCE_S = 20.0
# Between two questions to the chain about one transaction: half of it is what a payer waits too long, and the chains we
# know confirm after 0.4 s and more. Asked twice as often a node is no quicker, and we are busier.
CONFIRM_EVERY_S = 0.15
# What we tell clients that should come back with the same credential.
RETRY_IN_FLIGHT_S = 1
RETRY_PENDING_S = 5
SENT_NOT_KNOWN = (
    "the payment was sent and its end is not known yet; repeat this request with the same credential, do not pay again"
)


@dataclass(frozen=True, slots=True)
class _Request:
    """What the steps share: the request, its price, and the identity of what was presented."""

    incoming: Incoming
    price: Price
    credential_hash: str
    idempotency_key: str | None
    looked_at: tuple[str, ...] = ()

    def hash(self, realm: str) -> str:
        """What an Idempotency-Key stands for."""
        return request_hash(self.incoming, realm, self.looked_at)  # T03


@dataclass(frozen=True, slots=True)
class Gate:
    """Charges for requests. Safe for threads and tasks; several processes share one store."""

    issuer: Issuer
    store: SessionStore
    patience_s: float = PATIENCE_S
    observe: Observer | None = field(default=None, repr=False)
    _counter: Sessions = field(init=False, repr=False, compare=False)
    # Sessions' challenges that we found to be ours: voucher after voucher echoes them.
    _echoed: dict[str, tuple[Challenge, Mapping[str, str]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        tell = None if self.observe is None else self._tell
        object.__setattr__(self, "_counter", Sessions(self.issuer, self.store, self.patience_s, tell))

    # --- the door asks ---------------------------------------------------------------------------

    def admit(self, request: Incoming, price: Price) -> Flow[Answer | Admission]:
        """An answer to send as it is, or an admission under which the handler runs.

        Raises only what a pricing function raises, and UsageError for a price it computed that can't be asked.
        """
        try:
            return (yield from self._admit(request, price))
        except Problem as problem:
            return (yield from self._refuse(problem, request, price))
        except StoreError:
            return (yield from self._refuse(StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S), request, price))
        except ChainError as error:  # before anything was claimed, or with the claim handed back
            return (yield from self._refuse(silent(error), request, price))

    def delivered(self, admission: Admission, delivery: Delivery) -> Flow[None]:
        """Record the one delivery, before its last byte leaves. Raises StoreError: then the answer must not go out."""
        if isinstance(admission, ChargeAdmission):
            yield from wait(self.store.deliver(admission.lease, delivery))
        elif isinstance(admission, SessionAdmission):
            yield from self._counter.delivered(admission, delivery)
        failpoint("gate.delivered")

    def abandoned(self, admission: Admission) -> None:
        """The handler gave no 2xx answer: the same credential may come again. Never waits, never fails."""
        if isinstance(admission, ChargeAdmission):
            let_go(self.store, admission.lease)
        elif isinstance(admission, SessionAdmission):
            self._counter.abandoned(admission)

    # --- the six steps ---------------------------------------------------------------------------

    def _admit(self, request: Incoming, price: Price) -> Flow[Answer | Admission]:
        credential = find_credential(request.all("authorization"), request.all("payment-authorization"))
        of_session = credential is not None and credential.challenge.intent == session.INTENT
        if request.manages and not of_session and request.method != "HEAD":  # T42
            raise MethodNotAllowed("nothing is sold here under this method")
        if credential is None:
            raise PaymentRequired("this resource costs money; pay one of the challenges and repeat the request")

        # 1 recognise: first authenticate, then look it up, then the time, which only gates what was never claimed
        try:
            credential, bound = self._authenticate(credential, request, price)
        except InvalidChallenge as problem:
            if of_session and says(credential, Act.TOP_UP):
                raise ChallengeNotFound(problem.detail) from None
            raise
        if of_session:
            return (yield from self._counter.serve(asked_of(request, price, credential)))
        if PROOF in bound:
            return (yield from self._introduce(credential, request, price))
        if request.manages:
            raise MethodNotAllowed("nothing is sold here under this method")
        key = idempotency_key(request)
        asked = _Request(request, price, credential_hash(credential), key, looked_at(bound))
        known = yield from wait(self.store.find(credential.challenge.id))
        if known is not None:
            return (yield from self._again(known, credential, asked))
        seller, recognised = _recognise(credential, price.sellers)
        if (yield from now()) >= recognised.expires_at_s:  # T10
            raise PaymentExpired("this challenge has expired and nothing was presented in time; pay a fresh one")

        # 2 check
        checked = yield from seller.check(recognised)

        # 3 claim
        claimed = yield from self._claim(checked, asked)
        if isinstance(claimed, Payment):
            if claimed.challenge.id == credential.challenge.id:
                return (yield from self._again(claimed, credential, asked))
            return (yield from self._keyed(claimed, asked))
        with Hold(self.store, claimed) as hold:
            failpoint("gate.claimed")

            # 4 settle, 5 record, 6 receipt
            prepared = yield from self._prepare(hold, checked, seller)
            return (yield from self._settle(hold, prepared, seller, asked))

    # --- 1 recognise -----------------------------------------------------------------------------

    def _authenticate(
        self, credential: Credential, request: Incoming, price: Price
    ) -> tuple[Credential, Mapping[str, str]]:
        """Issued by us, for this realm, method, path, query and body. Raises a Problem. T03 T04 T12

        A session's challenge is for a path only: many requests echo it. A proof of who pays echoes the one that its
        channel was opened under, on whatever path; what that costs is the path's own affair (SSES-094). The credential
        comes back without its description, the one member that our key does not vouch for; with it what we bound in
        `opaque`.
        """
        echo = credential.challenge
        known = self._echoed.get(echo.id)
        if known is not None and (known[0] is echo or known[0] == echo) and known[1].get("s") == path_scope(request):
            return credential, known[1]
        if echo.realm != self.issuer.realm or not self.issuer.keys.issued(echo):
            _known_intent(price, echo)
            raise InvalidChallenge("this challenge was not issued here; pay a fresh one")
        try:
            bound = echo.opaque_map()
            if echo.intent == session.INTENT:
                fits = bound.get("s") == path_scope(request) or says(credential, Act.USE)
                body_matches = True
            else:
                fits = bound.get("s") == scope(request, looked_at(bound))
                body_matches = same_body(echo.digest, request.body or b"") if echo.digest else not request.body
        except MalformedHeader as error:
            raise InvalidChallenge(str(error)) from None
        if not fits:
            raise InvalidChallenge("this challenge was issued for another method, path or query, or at another price")
        if not body_matches:
            raise InvalidChallenge("this challenge was issued for another body")
        if echo.description is None:
            if echo.intent == session.INTENT:
                if len(self._echoed) >= REMEMBERED_ECHOES:  # F28
                    self._echoed.clear()
                self._echoed[echo.id] = (echo, bound)
            return credential, bound
        return replace(credential, challenge=replace(echo, description=None)), bound

    def _introduce(self, credential: Credential, request: Incoming, price: Price) -> Flow[Answer]:
        """An account proves who it is, and is told of its channel here. Nothing is paid, claimed or delivered."""
        proofs = [one.seller for one in price.proofs]
        seller, recognised = _recognise(credential, [one for one in proofs if sells_charges(one)])
        if (yield from now()) >= recognised.expires_at_s:  # T10
            raise PaymentExpired("this challenge has expired and nothing was presented in time; take a fresh one")
        checked = yield from seller.check(recognised)
        return (yield from self._counter.introduce(asked_of(request, price, credential), checked.payer))

    # --- 3 claim ---------------------------------------------------------------------------------

    def _claim(self, checked: Checked, asked: _Request) -> Flow[Lease | Payment]:
        """The lease, or the payment that was first (same challenge, or same payer and Idempotency-Key). T01 T06"""
        claim = Claim(
            checked.recognised.credential.challenge,
            checked.proof,
            checked.payer,
            asked.hash(self.issuer.realm),
            asked.credential_hash,
            asked.idempotency_key,
            checked.budgets,
        )
        result = yield from obtain(self.store, self.store.claim(claim))
        if isinstance(result, Taken) and result.by == "idempotency" and result.payment.stage is Stage.CLAIMED:
            yield from self._drop_abandoned(result.payment)
            result = yield from obtain(self.store, self.store.claim(claim))
        if isinstance(result, OverBudget):
            raise VerificationFailed(
                "the server's fee budget is used up; pay the network fee yourself or come back later"
            )
        if not isinstance(result, Taken):
            return result
        if result.by == "proof":
            raise ChallengeUsed("this proof was used for another challenge")
        return result.payment

    def _drop_abandoned(self, payment: Payment) -> Flow[None]:
        """A claim whose process died before anything was prepared: nothing was sent, so its key may be used again."""
        lease = yield from obtain(self.store, self.store.take(payment.challenge.id))
        if lease is None:
            return
        with Hold(self.store, lease) as hold:
            payment = yield from self._reread(payment)  # F07: what was sent meanwhile is not abandoned
            if payment.stage is Stage.CLAIMED:
                yield from wait(self.store.fail(hold.lease, "abandoned before anything was sent"))
                hold.pass_on()

    # --- 4 settle --------------------------------------------------------------------------------

    def _prepare(self, hold: Hold, checked: Checked, seller: ChargeSeller) -> Flow[Prepared]:
        try:
            prepared = yield from seller.prepare(checked)
        except Problem as problem:
            yield from wait(self.store.fail(hold.lease, problem.detail))
            hold.pass_on()
            raise
        yield from wait(self.store.prepare(hold.lease, prepared))  # F09: bytes and hash before anything leaves
        failpoint("gate.prepared")
        return prepared

    def _settle(self, hold: Hold, prepared: Prepared, seller: ChargeSeller, asked: _Request) -> Flow[ChargeAdmission]:
        """Broadcast, then ask the chain until it tells or patience ends. A lost answer is no answer. F11"""
        with suppress(ChainError, Problem):  # only the chain knows now, whatever the node said
            yield from seller.broadcast(prepared)
        failpoint("gate.broadcast")
        began = yield from now()
        while True:
            outcome = yield from self._ask(prepared, seller)
            if not isinstance(outcome, Pending):
                break
            if not began <= (yield from now()) < began + self.patience_s:  # F21: also where the clock was set back
                break
            yield from sleep(CONFIRM_EVERY_S)
        if isinstance(outcome, Refused):
            yield from wait(self.store.fail(hold.lease, outcome.reason))
            hold.pass_on()
            raise VerificationFailed(f"the network refused this payment: {outcome.reason}")
        if isinstance(outcome, Pending):
            raise _pending(prepared)
        return (yield from self._record(hold, prepared, outcome, seller, asked))

    def _ask(self, prepared: Prepared, seller: ChargeSeller) -> Flow[Outcome]:
        try:
            return (yield from seller.confirm(prepared))
        except (ChainError, Problem) as error:  # F11: no answer is not "unpaid"
            return Pending(type(error).__name__)

    # --- 5 record, 6 receipt ---------------------------------------------------------------------

    def _record(
        self, hold: Hold, prepared: Prepared, settled: Settled, seller: ChargeSeller, asked: _Request
    ) -> Flow[ChargeAdmission]:
        terms = seller.terms(prepared.challenge.request_object())
        receipt = receipt_of(prepared, settled)
        try:
            yield from wait(self.store.settle(hold.lease, receipt, post_charge(terms, prepared, settled)))
        except (StoreError, LedgerError):  # paid, and not on record: the resolver will find it by its hash
            raise _pending(prepared) from None
        failpoint("gate.settled")
        self._tell(
            Paid(
                asked.incoming.path,
                seller.method,
                prepared.payer,
                terms.asset.key,
                terms.amount_units,
                settled.reference,
            )
        )
        return ChargeAdmission(receipt, prepared.payer, terms.asset.key, hold.pass_on())

    # --- whoever comes again ---------------------------------------------------------------------

    def _again(self, payment: Payment, credential: Credential, asked: _Request) -> Flow[Answer | Admission]:
        """The challenge is used. The same credential gets what it paid for, no more and no less. T01 F14"""
        if payment.credential_hash != asked.credential_hash:
            raise ChallengeUsed("this challenge was used with another proof")
        if payment.stage is Stage.DELIVERED:
            return self._replayed(payment, asked)
        seller, terms = _seller_of(payment, asked.price)
        with (yield from self._take(payment)) as hold:
            payment = yield from self._reread(payment)
            if payment.stage is Stage.SETTLED and payment.receipt is not None:
                return ChargeAdmission(payment.receipt, payment.payer, terms.asset.key, hold.pass_on())
            recognised = Recognised(credential, terms, expires_at_s(credential.challenge))
            if payment.stage is Stage.FAILED:
                return (yield from self._look_again(hold, payment, recognised, seller, asked))
            prepared = payment.prepared
            if prepared is None:
                checked = yield from seller.check(recognised)
                prepared = yield from self._prepare(hold, checked, seller)
            return (yield from self._settle(hold, prepared, seller, asked))

    def _take(self, payment: Payment) -> Flow[Hold]:
        lease = None
        if not payment.leased:
            lease = yield from obtain(self.store, self.store.take(payment.challenge.id))
        if lease is None:
            raise PaymentInFlight(
                "this payment is being settled or delivered; repeat the request with the same credential",
                retry_after_s=RETRY_IN_FLIGHT_S,
                reference=payment.prepared.reference if payment.prepared else None,
            )
        return Hold(self.store, lease)

    def _reread(self, payment: Payment) -> Flow[Payment]:
        """The payment under our lease: nobody else moves it now, but someone may have before we held it."""
        return (yield from wait(self.store.find(payment.challenge.id))) or payment

    def _look_again(
        self, hold: Hold, payment: Payment, recognised: Recognised, seller: ChargeSeller, asked: _Request
    ) -> Flow[ChargeAdmission]:
        """It failed by what we knew. If the chain shows it after all, it was paid, and 402 would ask for it twice.

        It is looked up and never sent again: its payer was told to pay anew, and may have done so. F13
        """
        prepared = payment.prepared
        if prepared is None:
            prepared = yield from seller.prepare((yield from seller.check(recognised)))
        outcome = yield from self._ask(prepared, seller)
        if isinstance(outcome, Refused):
            raise VerificationFailed(f"this payment failed: {payment.reason or outcome.reason}")
        if isinstance(outcome, Pending):
            raise _pending(prepared)
        return (yield from self._record(hold, prepared, outcome, seller, asked))

    def _keyed(self, payment: Payment, asked: _Request) -> Flow[Answer | Admission]:
        """The payer made this request before under the same Idempotency-Key: the first payment's outcome, no second."""
        if payment.request_hash != asked.hash(self.issuer.realm):
            raise KeyReused("this Idempotency-Key was used for another request")
        if payment.stage is Stage.DELIVERED:
            return self._replayed(payment, asked)
        if payment.stage is Stage.SETTLED and payment.receipt is not None:
            _, terms = _seller_of(payment, asked.price)
            with (yield from self._take(payment)) as hold:
                return ChargeAdmission(payment.receipt, payment.payer, terms.asset.key, hold.pass_on())
        if payment.prepared is not None and not payment.leased:
            raise _pending(payment.prepared)
        raise PaymentInFlight(
            "a payment under this Idempotency-Key is being processed", retry_after_s=RETRY_IN_FLIGHT_S
        )

    def _replayed(self, payment: Payment, asked: _Request) -> Answer:
        delivery, receipt = payment.delivery, payment.receipt
        if delivery is None or receipt is None:
            raise StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S)
        self._tell(Replayed(asked.incoming.path, receipt.reference))
        if delivery.body is None:
            problem = AlreadyDelivered(
                "paid and delivered; the answer was too large to keep", reference=receipt.reference
            )
            return refusal(problem, receipt=receipt.members())
        return replay(delivery, receipt, delivery.body)

    # --- refusals --------------------------------------------------------------------------------

    def _refuse(self, problem: Problem, request: Incoming, price: Price) -> Flow[Answer]:
        if not problem.challenge:
            self._tell(RefusedEvent(request.path, problem.status, problem.slug, problem.reference))
            return refusal(problem)
        try:
            challenges = yield from self.issuer.challenges(request, price)
        except RailUnavailable as rail:  # what an offer needs of the chain can't be had, and there is no other offer
            return (yield from self._refuse(rail, request, price))
        self._tell(Offered(request.path, tuple(f"{one.method}/{one.intent}" for one in challenges), problem.slug))
        return refusal(problem, header_values(challenges), challengeId=challenges[0].id)

    def _tell(self, event: Event) -> None:
        if self.observe is not None:
            self.observe(event)


def _pending(prepared: Prepared) -> OutcomePending:
    return OutcomePending(SENT_NOT_KNOWN, retry_after_s=RETRY_PENDING_S, reference=prepared.reference)


def _sellers_of(sellers: Sequence[Seller], challenge: Challenge) -> list[ChargeSeller]:
    """Who takes this method and intent here. Raises MethodUnsupported."""
    found = [
        one
        for one in sellers
        if sells_charges(one) and (one.method, one.intent) == (challenge.method, challenge.intent)
    ]
    if not found:
        named = ", ".join(dict.fromkeys(f"{one.method}/{one.intent}" for one in sellers))
        raise MethodUnsupported(f"this route takes {named}")
    return found


def _whose(sellers: Sequence[Seller], challenge: Challenge) -> tuple[ChargeSeller, Terms]:
    """The seller that once made this offer, and its terms. Raises MethodUnsupported, InvalidChallenge."""
    request = challenge.request_object()
    for seller in _sellers_of(sellers, challenge):
        try:
            return seller, seller.terms(request)
        except InvalidChallenge:
            continue
    raise InvalidChallenge("this challenge asks for what is no longer sold here; pay a fresh one")


def _recognise(credential: Credential, sellers: Sequence[Seller]) -> tuple[ChargeSeller, Recognised]:
    """What was never presented before, under our own terms, read from what we bound. Raises a Problem."""
    seller, terms = _whose(sellers, credential.challenge)
    return seller, Recognised(credential, terms, expires_at_s(credential.challenge))


def _seller_of(payment: Payment, price: Price) -> tuple[ChargeSeller, Terms]:
    """Who takes a payment that is under way. If the route takes it no more, that is no reason to ask for another."""
    try:
        return _whose(price.sellers, payment.challenge)
    except (MethodUnsupported, InvalidChallenge):
        raise OutcomePending(
            "this payment was begun with a payment method that is not set up here any more; ask who runs this service",
            retry_after_s=RETRY_PENDING_S,
            reference=payment.prepared.reference if payment.prepared else None,
        ) from None


def _known_intent(price: Price, echo: Challenge) -> None:
    """Raises MethodUnsupported for a method and intent that this route does not take."""
    takes = {(one.method, one.intent) for one in price.sellers}
    if (echo.method, echo.intent) not in takes:
        raise MethodUnsupported(f"this route takes {', '.join(sorted('/'.join(one) for one in takes))}")
