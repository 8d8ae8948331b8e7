"""A client closes its channel: nothing more is sold, and the close goes through the outbox."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coinslot.drive import Flow, failpoint, now, wait
from coinslot.errors import ChannelFinalized, PaymentInFlight
from coinslot.intents import session
from coinslot.intents.acts import Done
from coinslot.intents.session import Channel, Stage, Why
from coinslot.server import payout
from coinslot.server.answer import Answer
from coinslot.server.answer import managed as managed_answer
from coinslot.server.events import ChannelClosed
from coinslot.server.outbox import take
from coinslot.server.presented import Case
from coinslot.server.teller import NO_CONTENT, RETRY_IN_FLIGHT_S, Teller, pending
from coinslot.store.channels import Job, JobKind, JobStage

# A settlement and a close, each perhaps finished by somebody else meanwhile.
CLOSING_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Closing:
    """Closes channels. Safe for threads and tasks."""

    teller: Teller
    patience_s: float

    def close(self, case: Case) -> Flow[Answer]:
        """Sell nothing more, and take what was bought; the rest goes back to the payer. T23

        Whoever asks was verified. Raises a Problem, ChainError, StoreError.
        """
        for _ in range(CLOSING_ROUNDS):
            channel = yield from self.teller.find(case)
            if channel.stage is Stage.CLOSED:
                return (yield from self._closed(case, channel))
            planned = yield from self._plan(case, channel)
            if isinstance(planned, session.Refused) and planned.why is Why.CLOSED:  # by somebody else, since we looked
                continue
            if isinstance(planned, session.Refused):
                return (yield from self.teller.refused(case, planned))
            marked, job = planned
            task = yield from take(self.teller.store, marked, job)
            if task is None:
                raise PaymentInFlight("this channel is being settled or closed", retry_after_s=RETRY_IN_FLIGHT_S)
            outcome = (yield from payout.work(self.teller.store, case.seller, [task], self.patience_s))[0]
            if isinstance(outcome, Done) and outcome.closed:
                self._tell_closed(case, marked, outcome)
                channel = yield from self.teller.find(case)
                return (yield from self._answer(case, channel, outcome.reference))
            if not isinstance(outcome, Done):
                raise pending(job.reference)
        raise pending(None)

    def _plan(self, case: Case, channel: Channel) -> Flow[tuple[Channel, Job] | session.Refused]:
        """Nothing is sold from here on: the channel as it stands then, and the job that closes it."""
        refused = session.close(channel, case.voucher, case.rules)
        if isinstance(refused, session.Refused):
            return refused
        marked = yield from wait(self.teller.store.mark_closing(channel.key, (yield from now())))
        if isinstance(marked, session.Refused):
            return marked
        failpoint("session.closing")
        wanted = session.close(marked, case.voucher, case.rules)  # T23: what was bought until it closed, no less
        if isinstance(wanted, session.Refused):
            return wanted
        job = yield from wait(self.teller.store.plan(channel.key, JobKind.CLOSE, wanted))
        return job if isinstance(job, session.Refused) else (marked, job)

    def _tell_closed(self, case: Case, channel: Channel, done: Done) -> None:
        self.teller.tell(
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

    def _closed(self, case: Case, channel: Channel) -> Flow[Answer]:
        """Closed already: the receipt of that close, to whoever asked for it."""
        jobs = yield from wait(self.teller.store.jobs_of(channel.key, 1))
        if not jobs or jobs[0].stage is not JobStage.DONE or jobs[0].kind is not JobKind.CLOSE:
            raise ChannelFinalized("this channel is closed", channel_id=channel.id)
        return (yield from self._answer(case, channel, jobs[0].reference))

    def _answer(self, case: Case, channel: Channel, reference: str | None) -> Flow[Answer]:
        """The receipt of a close. What it calls accepted is the voucher that asked for it: deployed clients check that,
        and may ask with a lower one than the highest, of exactly what they spent.
        """
        asked = channel.owed if case.voucher is None else case.voucher.amount_units
        shown = max(asked, channel.owed)
        at_s = yield from now()
        receipt = case.seller.receipt(replace(channel, accepted=shown), case.challenge_id, at_s, None, reference)
        return managed_answer(NO_CONTENT, receipt, case.seller.headers(channel, self.teller.required(case, channel)))
