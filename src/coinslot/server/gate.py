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

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from coinslot.core.canonical import canonical
from coinslot.core.credential import Credential, find_credential
from coinslot.core.digest import same_body
from coinslot.core.instant import parse_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import (
    AlreadyDelivered,
    BadRequest,
    ChainError,
    ChallengeUsed,
    InvalidChallenge,
    KeyReused,
    MalformedHeader,
    MethodUnsupported,
    OutcomePending,
    PaymentExpired,
    PaymentInFlight,
    PaymentRequired,
    Problem,
    RailUnavailable,
    StoreError,
    StoreUnavailable,
    UsageError,
    VerificationFailed,
)
from coinslot.intents.charge import Checked, Outcome, Pending, Prepared, Recognised, Refused, Settled, Terms, receipt_of
from coinslot.ledger import post_charge
from coinslot.method import ChargeSeller
from coinslot.server.answer import Answer, refusal, replay
from coinslot.server.events import Event, Observer, Offered, Paid, Replayed
from coinslot.server.events import Refused as RefusedEvent
from coinslot.server.issue import Issuer, header_values
from coinslot.server.price import Price
from coinslot.server.request import Incoming, request_hash, scope
from coinslot.store.protocol import Claim, Delivery, Lease, OverBudget, Payment, Stage, Store, Taken

# How long a request waits for its own transaction: several blocks of the chains we know, less than a proxy's timeout.
PATIENCE_S = 20.0
# Between two questions to the chain about one transaction.
CONFIRM_EVERY_S = 0.25
# What we tell clients that should come back with the same credential.
RETRY_IN_FLIGHT_S = 1
RETRY_PENDING_S = 5
SENT_NOT_KNOWN = (
    "the payment was sent and its end is not known yet; repeat this request with the same credential, do not pay again"
)
# Longer keys are no keys; the text is part of a unique index.
MAX_IDEMPOTENCY_KEY = 255


@dataclass(frozen=True, slots=True)
class Admission:
    """Paid and recorded: the handler may run, under this lease, until the door reports how it went."""

    lease: Lease
    receipt: Receipt
    payer: str
    terms: Terms


@dataclass(frozen=True, slots=True)
class _Request:
    """What the steps share: the request, its price, and the identity of what was presented."""

    incoming: Incoming
    price: Price
    credential_hash: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Gate:
    """Charges for requests. Safe for threads and tasks; several processes share one store."""

    issuer: Issuer
    store: Store
    patience_s: float = PATIENCE_S
    observe: Observer | None = field(default=None, repr=False)

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
            detail = f"the payment network could not be asked ({type(error).__name__}); nothing was charged"
            rail = RailUnavailable(detail, retry_after_s=RETRY_PENDING_S)
            return (yield from self._refuse(rail, request, price))

    def delivered(self, admission: Admission, delivery: Delivery) -> Flow[None]:
        """Record the one delivery, before its last byte leaves. Raises StoreError: then the answer must not go out."""
        yield from wait(self.store.deliver(admission.lease, delivery))
        failpoint("gate.delivered")

    def abandoned(self, admission: Admission) -> None:
        """The handler gave no 2xx answer: the same credential may come again. Never waits, never fails."""
        self.store.release(admission.lease)

    # --- the six steps ---------------------------------------------------------------------------

    def _admit(self, request: Incoming, price: Price) -> Flow[Answer | Admission]:
        credential = find_credential(request.all("authorization"), request.all("payment-authorization"))
        if credential is None:
            raise PaymentRequired("this resource costs money; pay one of the challenges and repeat the request")

        # 1 recognise: first authenticate, then look it up, then the time, which only gates what was never claimed
        seller, recognised = self._recognise(credential, request, price)
        asked = _Request(request, price, _credential_hash(credential), _idempotency_key(request))
        known = yield from wait(self.store.find(credential.challenge.id))
        if known is not None:
            return (yield from self._again(known, asked, seller, recognised))
        if (yield from now()) >= recognised.expires_at_s:  # T10
            raise PaymentExpired("this challenge has expired and was never paid; pay a fresh one")

        # 2 check
        checked = yield from seller.check(recognised)

        # 3 claim
        claimed = yield from self._claim(checked, asked)
        if isinstance(claimed, Payment):
            if claimed.challenge.id == credential.challenge.id:
                return (yield from self._again(claimed, asked, seller, recognised))
            return (yield from self._keyed(claimed, asked))
        failpoint("gate.claimed")

        return (yield from self._settle_and_record(claimed, checked, None, seller, asked))

    def _settle_and_record(
        self, lease: Lease, checked: Checked | None, prepared: Prepared | None, seller: ChargeSeller, asked: _Request
    ) -> Flow[Admission]:
        """Steps 4 to 6, under a lease that is dropped unless it ends in an admission."""
        held = True
        try:
            # 4 settle
            if prepared is None and checked is not None:
                prepared = yield from self._prepare(lease, checked, seller)
            if prepared is None:
                raise UsageError("nothing to settle")
            outcome = yield from self._broadcast_and_confirm(prepared, seller)
            if isinstance(outcome, Refused):
                yield from wait(self.store.fail(lease, outcome.reason))
                raise VerificationFailed(f"the network refused this payment: {outcome.reason}")
            if isinstance(outcome, Pending):
                self._pending(prepared)

            # 5 record
            terms = seller.terms(prepared.challenge.request_object())
            receipt = receipt_of(prepared, outcome)
            try:
                yield from wait(self.store.settle(lease, receipt, post_charge(terms, prepared, outcome)))
            except StoreError:  # paid, and not on record: the resolver will find it by its hash
                self._pending(prepared)
            failpoint("gate.settled")
            self._tell(
                Paid(
                    asked.incoming.path,
                    seller.method,
                    prepared.payer,
                    terms.asset.key,
                    terms.amount_units,
                    outcome.reference,
                )
            )

            # 6 receipt
            held = False
            return Admission(lease, receipt, prepared.payer, terms)
        finally:
            if held:
                self.store.release(lease)

    # --- 1 recognise -----------------------------------------------------------------------------

    def _recognise(self, credential: Credential, request: Incoming, price: Price) -> tuple[ChargeSeller, Recognised]:
        """Ours, for this realm, method, path, query and body. Raises a Problem. T03 T04 T12"""
        echo = credential.challenge
        candidates = [one for one in price.sellers if (one.method, one.intent) == (echo.method, echo.intent)]
        if not candidates:
            raise MethodUnsupported(f"this route takes {_methods(price)}")
        if echo.realm != self.issuer.realm or not self.issuer.keys.issued(echo):
            raise InvalidChallenge("this challenge was not issued here; pay a fresh one")
        try:
            bound = echo.opaque_map()
            expires_at_s = parse_instant(echo.expires or "")
            body_matches = same_body(echo.digest, request.body or b"") if echo.digest else not request.body
        except MalformedHeader as error:
            raise InvalidChallenge(str(error)) from None
        if bound.get("s") != scope(request):
            raise InvalidChallenge("this challenge was issued for another method, path or query")
        if not body_matches:
            raise InvalidChallenge("this challenge was issued for another body")
        seller, terms = _whose(candidates, echo.request_object())
        return seller, Recognised(credential, terms, expires_at_s)

    # --- 3 claim ---------------------------------------------------------------------------------

    def _claim(self, checked: Checked, asked: _Request) -> Flow[Lease | Payment]:
        """The lease, or the payment that was first (same challenge, or same payer and Idempotency-Key). T01 T06"""
        claim = Claim(
            checked.recognised.credential.challenge,
            checked.proof,
            checked.payer,
            request_hash(asked.incoming),
            asked.credential_hash,
            asked.idempotency_key,
            checked.budgets,
        )
        result = yield from wait(self.store.claim(claim))
        if isinstance(result, Taken) and result.by == "idempotency" and result.payment.stage is Stage.CLAIMED:
            yield from self._drop_abandoned(result.payment)
            result = yield from wait(self.store.claim(claim))
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
        lease = yield from wait(self.store.take(payment.challenge.id))
        if lease is not None:
            yield from wait(self.store.fail(lease, "abandoned before anything was sent"))

    # --- 4 settle --------------------------------------------------------------------------------

    def _prepare(self, lease: Lease, checked: Checked, seller: ChargeSeller) -> Flow[Prepared]:
        try:
            prepared = yield from seller.prepare(checked)
        except Problem as problem:
            yield from wait(self.store.fail(lease, problem.detail))
            raise
        yield from wait(self.store.prepare(lease, prepared))  # F09: bytes and hash before anything leaves
        failpoint("gate.prepared")
        return prepared

    def _broadcast_and_confirm(self, prepared: Prepared, seller: ChargeSeller) -> Flow[Outcome]:
        """Broadcast, then ask the chain until it tells or patience ends. A lost answer is no answer. F11"""
        try:
            yield from seller.broadcast(prepared)
        except ChainError:
            pass  # only the chain knows now, whatever the node said
        except VerificationFailed as problem:  # the node refused the bytes for good, unless they are on the chain
            outcome = yield from self._ask(prepared, seller)
            return outcome if isinstance(outcome, Settled) else Refused(problem.detail)
        failpoint("gate.broadcast")
        until = (yield from now()) + self.patience_s
        while True:
            outcome = yield from self._ask(prepared, seller)
            if not isinstance(outcome, Pending) or (yield from now()) >= until:
                return outcome
            yield from sleep(CONFIRM_EVERY_S)

    def _ask(self, prepared: Prepared, seller: ChargeSeller) -> Flow[Outcome]:
        try:
            return (yield from seller.confirm(prepared))
        except ChainError as error:
            return Pending(type(error).__name__)

    def _pending(self, prepared: Prepared) -> NoReturn:
        raise OutcomePending(SENT_NOT_KNOWN, retry_after_s=RETRY_PENDING_S, reference=prepared.reference)

    # --- whoever comes again ---------------------------------------------------------------------

    def _again(
        self, payment: Payment, asked: _Request, seller: ChargeSeller, recognised: Recognised
    ) -> Flow[Answer | Admission]:
        """The challenge is used. The same credential gets what it paid for, no more and no less. T01 F14"""
        if payment.credential_hash != asked.credential_hash:
            raise ChallengeUsed("this challenge was used with another proof")
        if payment.stage is Stage.DELIVERED:
            return self._replayed(payment, asked)
        lease = yield from self._take(payment)
        # Nobody else moves it now; read it again, since it may have moved before we held the lease.
        fresh = yield from wait(self.store.find(payment.challenge.id))
        payment = fresh or payment
        if payment.stage is Stage.SETTLED and payment.receipt is not None:
            return Admission(lease, payment.receipt, payment.payer, recognised.terms)
        if payment.stage is Stage.FAILED:
            return (yield from self._look_again(lease, payment, seller, asked))
        checked = None
        if payment.prepared is None:
            checked = yield from self._check_again(lease, recognised, seller)
        return (yield from self._settle_and_record(lease, checked, payment.prepared, seller, asked))

    def _take(self, payment: Payment) -> Flow[Lease]:
        lease = None if payment.leased else (yield from wait(self.store.take(payment.challenge.id)))
        if lease is None:
            raise PaymentInFlight(
                "this payment is being settled or delivered; repeat the request with the same credential",
                retry_after_s=RETRY_IN_FLIGHT_S,
                reference=payment.prepared.reference if payment.prepared else None,
            )
        return lease

    def _check_again(self, lease: Lease, recognised: Recognised, seller: ChargeSeller) -> Flow[Checked]:
        held = True
        try:
            checked = yield from seller.check(recognised)
            held = False
            return checked
        finally:
            if held:
                self.store.release(lease)

    def _look_again(self, lease: Lease, payment: Payment, seller: ChargeSeller, asked: _Request) -> Flow[Admission]:
        """It failed by what we knew; if the chain shows it after all, it was paid, and 402 would ask for it twice."""
        outcome: Outcome = Refused(payment.reason or "it failed before")
        held = True
        try:
            if payment.prepared is not None:
                outcome = yield from self._ask(payment.prepared, seller)
            held = isinstance(outcome, Refused)
        finally:
            if held:
                self.store.release(lease)
        if isinstance(outcome, Refused) or payment.prepared is None:
            raise VerificationFailed(f"this payment failed: {payment.reason or 'refused'}")
        return (yield from self._settle_and_record(lease, None, payment.prepared, seller, asked))

    def _keyed(self, payment: Payment, asked: _Request) -> Flow[Answer | Admission]:
        """The payer made this request before under the same Idempotency-Key: the first payment's outcome, no second."""
        if payment.request_hash != request_hash(asked.incoming):
            raise KeyReused("this Idempotency-Key was used for another request")
        if payment.stage is Stage.DELIVERED:
            return self._replayed(payment, asked)
        if payment.stage is Stage.SETTLED and payment.receipt is not None:
            lease = yield from self._take(payment)
            _, terms = _whose(asked.price.sellers, payment.challenge.request_object())
            return Admission(lease, payment.receipt, payment.payer, terms)
        if payment.prepared is not None and not payment.leased:
            self._pending(payment.prepared)
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
        challenges = yield from self.issuer.challenges(request, price)
        self._tell(Offered(request.path, tuple(f"{one.method}/{one.intent}" for one in challenges), problem.slug))
        return refusal(problem, header_values(challenges), challengeId=challenges[0].id)

    def _tell(self, event: Event) -> None:
        if self.observe is not None:
            self.observe(event)


def _credential_hash(credential: Credential) -> str:
    """The identity of what was presented: its payload in canonical form, so that spelling does not matter."""
    try:
        return hashlib.sha256(canonical(credential.payload_object())).hexdigest()
    except UsageError:
        return hashlib.sha256(credential.payload).hexdigest()


def _idempotency_key(request: Incoming) -> str | None:
    values = request.all("idempotency-key")
    if not values:
        return None
    if len(values) > 1 or not 0 < len(values[0]) <= MAX_IDEMPOTENCY_KEY:
        raise BadRequest(f"Idempotency-Key must be one value of 1 to {MAX_IDEMPOTENCY_KEY} characters")
    return values[0]


def _methods(price: Price) -> str:
    return ", ".join(dict.fromkeys(f"{one.method}/{one.intent}" for one in price.sellers))


def _whose(sellers: Sequence[ChargeSeller], request: dict[str, object]) -> tuple[ChargeSeller, Terms]:
    """The seller that once made this request, and its terms. Raises InvalidChallenge if none of ours did."""
    for seller in sellers:
        try:
            return seller, seller.terms(request)
        except InvalidChallenge:
            continue
    raise InvalidChallenge("this challenge asks for what is no longer sold here; pay a fresh one")
