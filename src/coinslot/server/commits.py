"""The two endpoints of deliveries: to reserve room for one, and to commit a voucher for one that came.

Both want to know who asks: a credential of a session, its challenge issued by us, its voucher signed by who signs for
the channel. That the channel's id is known proves nothing. To reserve, the voucher must also not be one that anybody
can read on the chain, where settling has shown it. T05

    reserve    {sessionId?, amount, deliveryId?}     -> a directive
    commit     {deliveryId, ... of a voucher}        -> a receipt: the voucher accepted, what is due spent, in one step
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from coinslot.core.canonical import parse_object
from coinslot.core.credential import find_credential
from coinslot.drive import Flow, now, wait
from coinslot.errors import (
    BadRequest,
    ChannelNotFound,
    InvalidChallenge,
    KeyReused,
    MalformedHeader,
    NotFound,
    PaymentExpired,
    PaymentInFlight,
    PaymentRequired,
    Problem,
    StoreError,
    StoreUnavailable,
    TooManyVouchers,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import session
from coinslot.intents.acts import Act, Claimed, Presented, Terms
from coinslot.intents.deliveries import (
    COMMIT_PATH,
    RESERVE_PATH,
    CommitReceipt,
    Directive,
    read_id,
    read_units,
)
from coinslot.intents.owing import Declined, Not, Owed, Wish
from coinslot.intents.session import Channel
from coinslot.intents.session_problems import problem_of
from coinslot.method import SessionSeller
from coinslot.server.answer import Answer, refusal
from coinslot.server.events import Bought, Event
from coinslot.server.flood import Flood
from coinslot.server.issue import Issuer, expires_at_s
from coinslot.server.request import Incoming
from coinslot.server.teller import RETRY_IN_FLIGHT_S
from coinslot.store.channels import SessionStore

PATHS = frozenset({RESERVE_PATH, COMMIT_PATH})
# A voucher and some names; the credential is a header of its own.
MAX_BODY = 16 * 1024
_WORDS: Mapping[Not, tuple[type[Problem], str]] = {
    Not.CREDIT: (VerificationFailed, "deliveries that are not paid yet use up what this channel is trusted with"),
    Not.TAKEN: (KeyReused, "a delivery of this id is on record"),
    Not.UNKNOWN: (NotFound, "no such delivery: it never was, its time is up, or it was paid long ago"),
    Not.RUNNING: (PaymentInFlight, "this delivery has not ended yet"),
    Not.OTHERWISE: (KeyReused, "this delivery was paid by another voucher"),
    Not.OVER: (VerificationFailed, "the voucher adds more than was reserved for this delivery"),
}


def problem_for(declined: Declined) -> Problem:
    """The problem that says why nothing is lent, or paid."""
    kind, detail = _WORDS[declined.why]
    return kind(detail, retry_after_s=RETRY_IN_FLIGHT_S if declined.why is Not.RUNNING else None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks: the signer of this channel, under these terms of ours."""

    seller: SessionSeller
    claimed: Claimed
    presented: Presented
    channel: Channel

    @property
    def terms(self) -> Terms:
        """What the challenge asked."""
        return self.claimed.terms


@dataclass(frozen=True, slots=True)
class Commits:
    """Answers at the two endpoints. Safe for threads and tasks; several processes share one store."""

    issuer: Issuer
    store: SessionStore
    sellers: Sequence[SessionSeller]
    tell: Callable[[Event], None] | None = field(default=None, repr=False)
    _flood: Flood = field(default_factory=Flood, init=False, repr=False)

    def answer(self, request: Incoming) -> Flow[Answer]:
        """The answer, whatever was asked. Raises nothing of ours."""
        try:
            told = parse_object(request.body or b"")
        except MalformedHeader as error:
            return refusal(BadRequest(str(error)))
        try:
            reserves = request.path.endswith(RESERVE_PATH)
            return (yield from self._reserve(request, told) if reserves else self._commit(request, told))
        except Problem as problem:
            return refusal(problem)
        except UsageError as error:
            return refusal(BadRequest(str(error)))
        except StoreError:
            return refusal(StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S))

    # --- who asks --------------------------------------------------------------------------------

    def _authenticate(self, request: Incoming, at_s: float) -> Flow[_Asked]:
        """Raises a Problem: no credential, not under a challenge of ours, not by the channel's signer. T12 T15"""
        credential = find_credential(request.all("authorization"), request.all("payment-authorization"))
        if credential is None:
            raise PaymentRequired("say who you are: with the credential of a voucher of this channel's session")
        echo = credential.challenge
        ours = echo.realm == self.issuer.realm and echo.intent == session.INTENT and self.issuer.keys.issued(echo)
        if not ours:  # T12
            raise InvalidChallenge("this challenge was not issued here for a session")
        seller, terms = self._seller(echo.method, echo.request_object())
        presented = seller.read(credential.payload_object(), terms)
        if presented.act is not Act.VOUCHER:
            raise VerificationFailed("deliveries are for who signs vouchers; show one of this channel")
        channel = yield from wait(self.store.find_channel(presented.key))
        if channel is None:
            raise ChannelNotFound("no channel of this id is known here", channel_id=presented.channel_id)
        if (channel.payee, channel.asset) != (terms.recipient, terms.asset.key) or not seller.takes(channel, terms):
            raise VerificationFailed("this channel pays somebody else, in something else, or elsewhere")  # T03
        claimed = Claimed(credential, terms, expires_at_s(echo))
        seller.verify(presented, channel, claimed, at_s)  # T13 T15
        return _Asked(seller, claimed, presented, channel)

    def _seller(self, method: str, request: Mapping[str, Any]) -> tuple[SessionSeller, Terms]:
        for seller in self.sellers:
            if seller.method == method and seller.credit_units:
                with suppress(InvalidChallenge):
                    return seller, seller.terms(request)
        raise InvalidChallenge("nothing is delivered before it is paid under this challenge")

    # --- reserve ---------------------------------------------------------------------------------

    def _reserve(self, request: Incoming, told: Mapping[str, Any]) -> Flow[Answer]:
        at_s = yield from now()
        asked = yield from self._authenticate(request, at_s)
        if at_s >= asked.claimed.expires_at_s:  # T10
            raise PaymentExpired("this challenge has expired; take a fresh one")
        channel, voucher = asked.channel, asked.presented.voucher
        if voucher is None or voucher.amount_units < channel.accepted or voucher.amount_units <= channel.settled:  # T05
            raise VerificationFailed("show the highest voucher of this channel, one that was not settled yet")
        named = told.get("sessionId")
        if named is not None and named != channel.id:  # T08
            raise VerificationFailed("sessionId is another channel than the one that you sign for")
        units = read_units(told.get("amount"), "amount")
        if not units:
            raise BadRequest("amount is zero")
        name = told.get("deliveryId")
        wish = Wish(
            channel.key,
            asked.seller.credit_units,
            units,
            units,
            None if name in (None, "") else read_id(name, "deliveryId"),
        )
        owed = yield from wait(self.store.set_aside(wish))
        if not isinstance(owed, Owed):
            _refuse(owed)
        until_s, currency = int(owed.expires_at_s), asked.terms.asset.id
        directive = Directive(owed.id, channel.id, owed.most_units, currency, owed.sequence, until_s)
        return _told(directive.members())

    # --- commit ----------------------------------------------------------------------------------

    def _commit(self, request: Incoming, told: Mapping[str, Any]) -> Flow[Answer]:
        at_s = yield from now()
        asked = yield from self._authenticate(request, at_s)
        delivery_id = read_id(told.get("deliveryId"), "deliveryId")
        members = {name: value for name, value in told.items() if name != "deliveryId"}
        paying = asked.seller.read({"channelId": asked.channel.id, **members, "action": str(Act.VOUCHER)}, asked.terms)
        if paying.key != asked.presented.key or paying.voucher is None:  # T08
            raise VerificationFailed("the voucher is of another channel than the one that you sign for")
        asked.seller.verify(paying, asked.channel, asked.claimed, at_s)  # T13 T15
        rules = asked.seller.rules(asked.terms)
        paid = yield from wait(self.store.pay_delivery(asked.channel.key, delivery_id, paying.voucher, rules))
        fruitless = isinstance(paid, Declined | session.Refused) or paid.replayed
        if fruitless and not self._flood.allows(asked.channel.key, at_s):  # T26
            raise TooManyVouchers("commits that pay nothing come faster than they are answered", retry_after_s=1)
        if isinstance(paid, Declined | session.Refused):
            _refuse(paid)
        owed = paid.owed
        if self.tell is not None and not paid.replayed:
            channel, challenge_id = paid.channel, asked.claimed.credential.challenge.id
            bought = (channel.asset, owed.cost_units, channel.id, challenge_id, channel.accepted)
            self.tell(Bought(request.path, asked.seller.method, channel.payer, *bought))
        receipt = CommitReceipt(delivery_id, asked.channel.id, owed.cost_units, owed.total_units, paid.replayed)
        return _told(receipt.members())


def _refuse(answered: Declined | session.Refused) -> NoReturn:
    raise problem_for(answered) if isinstance(answered, Declined) else problem_of(answered)


def _told(members: Mapping[str, Any]) -> Answer:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return Answer(200, headers, msgspec.json.encode(members))
