"""Opening and topping up: payments of their own, claimed once and recorded before they are sent. They buy nothing.

claim -> prepare (bytes and hash recorded) -> broadcast -> confirm -> the channel and the journal
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import (
    ChainError,
    ChallengeUsed,
    ChannelFinalized,
    PaymentInFlight,
    Problem,
    RailUnavailable,
    VerificationFailed,
)
from coinslot.intents import session
from coinslot.intents.acts import Act, Funding, FundingOutcome
from coinslot.intents.charge import Pending, Prepared, Refused
from coinslot.intents.session import Channel, Stage
from coinslot.intents.session_problems import problem_of
from coinslot.server import funding
from coinslot.server.events import ChannelFunded
from coinslot.server.holding import Hold, obtain
from coinslot.server.presented import Case
from coinslot.server.request import request_hash
from coinslot.server.teller import RETRY_IN_FLIGHT_S, Teller, pending, require_taken
from coinslot.store.channels import Known, Opened
from coinslot.store.protocol import Claim, Lease, OverBudget, Payment, Taken
from coinslot.store.protocol import Stage as PaymentStage

# Between two questions to the chain about one transaction.
CONFIRM_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Done:
    """This act was done before: how its channel stands now, and its transaction, where that is known."""

    channel: Channel
    reference: str | None


@dataclass(frozen=True, slots=True)
class Deposits:
    """Moves money into channels. Safe for threads and tasks."""

    teller: Teller
    patience_s: float

    def open(self, case: Case) -> Flow[Channel | Done]:
        """Open a channel: the channel where this request opened it, or Done for one that was open before.

        Raises a Problem, ChainError, StoreError.
        """
        known = yield from wait(self.teller.store.find_channel(case.presented.key))
        if known is None or known.stage is Stage.OPENING:
            checked = yield from case.seller.check(case.presented, case.claimed, None)
            return (yield from self._fund(case, checked))
        require_taken(case, known)  # T03: an opening may come with a voucher that nobody has seen
        case.seller.verify(case.presented, known, case.claimed, (yield from now()))  # again: the same act, done once
        if known.stage is Stage.CLOSED:
            raise ChannelFinalized("this channel is closed", channel_id=known.id)
        return Done(known, None)

    def top_up(self, case: Case) -> Flow[Channel | Done]:
        """Add to the deposit of a channel that is known here. Raises a Problem, ChainError, StoreError."""
        channel = yield from self.teller.find(case)
        if channel.stage is Stage.CLOSED:
            raise ChannelFinalized("this channel is closed", channel_id=channel.id)
        checked = yield from case.seller.check(case.presented, case.claimed, channel)
        return (yield from self._fund(case, checked))

    def _fund(self, case: Case, checked: Funding) -> Flow[Channel | Done]:
        """Claim, prepare, broadcast, confirm, record: the channel as it stands then, or Done for a repeat. T06"""
        row = session.under(case.asked.credential.challenge, checked.proof)
        claim = Claim(
            row,
            checked.proof,
            checked.payer,
            request_hash(case.asked.request, self.teller.issuer.realm),
            case.asked.credential_hash,
            None,
            checked.budgets,
        )
        lease = yield from self._claim(case, claim, checked)
        if isinstance(lease, Payment):
            return (yield from self._again(case, lease, checked))
        with Hold(self.teller.store, lease) as hold:
            failpoint("session.claimed")
            prepared = yield from self._prepare(case, hold, checked, claim)
            return (yield from self._settle(case, hold, prepared, checked))

    def _claim(self, case: Case, claim: Claim, checked: Funding) -> Flow[Lease | Payment]:
        if checked.channel is None:
            result = yield from obtain(self.teller.store, self.teller.store.claim(claim))
        else:
            opened = yield from obtain(
                self.teller.store, self.teller.store.open_channel(claim, checked.channel, case.rules)
            )
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

    def _prepare(self, case: Case, hold: Hold, checked: Funding, claim: Claim) -> Flow[Prepared]:
        try:
            prepared = yield from case.seller.prepare(checked, claim.challenge)
        except RailUnavailable:  # our own trouble: the transaction is as good as before, and may come again
            raise
        except Problem as problem:
            yield from self._fail(hold, checked, problem.detail)
            raise
        yield from wait(self.teller.store.prepare(hold.lease, prepared))  # F09: bytes and hash before anything leaves
        failpoint("session.prepared")
        return prepared

    def _fail(self, hold: Hold, checked: Funding, reason: str) -> Flow[None]:
        """It will never happen. A channel that wasn't opened is closed for good: its id is that of this transaction."""
        if checked.act is Act.OPEN:
            yield from wait(self.teller.store.mark_closed(checked.key, 0))
        yield from wait(self.teller.store.fail(hold.lease, reason))
        hold.pass_on()

    def _settle(self, case: Case, hold: Hold, prepared: Prepared, checked: Funding) -> Flow[Channel]:
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
                raise pending(prepared.reference)
            yield from sleep(CONFIRM_EVERY_S)
        if isinstance(outcome, Refused):
            yield from self._fail(hold, checked, outcome.reason)
            raise VerificationFailed(f"the network refused this transaction: {outcome.reason}")
        recorded = yield from funding.record(self.teller.store, hold.lease, prepared, outcome, case.seller)
        hold.pass_on()  # delivered: over
        if isinstance(recorded, session.Refused):
            raise problem_of(recorded)
        self.teller.tell(
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

    def _confirm(self, case: Case, prepared: Prepared) -> Flow[FundingOutcome]:
        try:
            return (yield from case.seller.confirm(prepared))
        except (ChainError, Problem) as error:  # F11: no answer is not "no"
            return Pending(type(error).__name__)

    def _again(self, case: Case, payment: Payment, checked: Funding) -> Flow[Channel | Done]:
        """This transaction was presented before: it goes on where it stopped, and buys nothing twice. F07 F14"""
        if payment.stage is PaymentStage.DELIVERED:
            channel = yield from self.teller.find(case)
            reference = payment.prepared.reference if payment.prepared else None
            return Done(channel, reference)
        lease = None
        if not payment.leased:
            lease = yield from obtain(self.teller.store, self.teller.store.take(payment.challenge.id))
        if lease is None:
            raise PaymentInFlight(
                "this transaction is being settled; repeat the request with the same credential",
                retry_after_s=RETRY_IN_FLIGHT_S,
                reference=payment.prepared.reference if payment.prepared else None,
            )
        with Hold(self.teller.store, lease) as hold:
            payment = (yield from wait(self.teller.store.find(payment.challenge.id))) or payment
            if payment.stage is PaymentStage.FAILED:
                raise VerificationFailed(f"this transaction failed: {payment.reason}")
            prepared = payment.prepared
            if prepared is None:
                claim = Claim(payment.challenge, payment.proof, payment.payer, "", "")
                prepared = yield from self._prepare(case, hold, checked, claim)
            return (yield from self._settle(case, hold, prepared, checked))
