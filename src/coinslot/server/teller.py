"""What a server says of a channel: to its payer, whose signature was verified, and in the challenges that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from coinslot.drive import Flow, now, wait
from coinslot.errors import ChannelNotFound, OutcomePending, Problem, VerificationFailed
from coinslot.intents import session
from coinslot.intents.acts import Act
from coinslot.intents.session import Channel
from coinslot.intents.session_problems import problem_of
from coinslot.server.answer import Answer, refusal
from coinslot.server.answer import managed as managed_answer
from coinslot.server.events import Event, Offered
from coinslot.server.issue import Issuer, header_values
from coinslot.server.presented import Case
from coinslot.server.price import Offer
from coinslot.store.channels import SessionStore

# What we tell clients that should come back with the same credential.
RETRY_IN_FLIGHT_S = 1
RETRY_PENDING_S = 5
NO_CONTENT = 204
OK = 200


@dataclass(frozen=True, slots=True)
class Teller:
    """Finds channels and speaks of them."""

    issuer: Issuer
    store: SessionStore
    tell: Callable[[Event], None] = field(repr=False)

    def find(self, case: Case) -> Flow[Channel]:
        """The channel as recorded. Raises ChannelNotFound."""
        channel = yield from wait(self.store.find_channel(case.presented.key))
        if channel is None:
            raise ChannelNotFound("no channel of this id is known here", channel_id=case.presented.channel_id)
        return channel

    def managed(
        self, case: Case, channel: Channel, status: int, reference: str | None = None, units: int | None = 0
    ) -> Flow[Answer]:
        """An answer about the channel; what its signer alone may know only to who has just shown to be that.

        An opening or a top-up stands on the chain for everybody to repeat. T05
        """
        receipt = case.seller.receipt(channel, case.challenge_id, (yield from now()), units, reference)
        shown = case.presented.voucher is not None or case.presented.act in (Act.USE, Act.CLOSE)
        told = case.seller.headers(channel, self.required(case, channel)) if shown else ()  # T05
        return managed_answer(status, receipt, told)

    def required(self, case: Case, channel: Channel) -> int:
        """The total that the next voucher must say to buy this request."""
        metering = case.asked.price.metering
        least = metering.least if metering is not None else 1
        return channel.spent + channel.reserved + least * case.claimed.terms.amount_units

    def refused(self, case: Case, refused: session.Refused) -> Flow[Answer]:
        """Why nothing was bought, with a fresh challenge where it may be asked again. Raises a Problem elsewhere."""
        problem = case.seller.named(problem_of(refused))
        if refused.channel is None or not problem.challenge:
            raise problem
        return (yield from self.ask_again(case, problem, refused.channel))

    def ask_again(
        self, case: Case, problem: Problem, channel: Channel, required_units: int | None = None
    ) -> Flow[Answer]:
        """A fresh challenge that tells how the channel stands: its signer's signature was verified. TSES

        `required_units`: the total that the next voucher must say, where that is not the price of a request.
        """
        required = self.required(case, channel) if required_units is None else required_units

        def hint(offer: Offer) -> Offer:
            if offer.seller is not case.seller:
                return offer
            return replace(offer, asked=case.seller.suggest(offer.asked, channel, required))

        asked = case.asked
        challenges = yield from self.issuer.challenges(asked.request, asked.price, hint)
        offered = tuple(f"{one.method}/{one.intent}" for one in challenges)
        problem = case.seller.named(problem)
        self.tell(Offered(asked.request.path, offered, problem.slug))
        extra = case.seller.headers(channel, required)
        return refusal(problem, header_values(challenges), extra, challengeId=challenges[0].id)


def require_taken(case: Case, channel: Channel) -> None:
    """That what is presented can be collected from this channel, which is known by its id only. T03 T07

    Raises VerificationFailed.
    """
    terms = case.claimed.terms
    ours = (channel.payee, channel.asset) == (terms.recipient, terms.asset.key)
    if not ours or not case.seller.takes(channel, terms):
        raise VerificationFailed("this channel pays somebody else, in something else, or elsewhere")


def pending(reference: str | None) -> OutcomePending:
    """The answer while nobody knows how a transaction ends."""
    return OutcomePending(
        "the transaction was sent and its end is not known yet; repeat this request with the same credential",
        retry_after_s=RETRY_PENDING_S,
        reference=reference,
    )
