"""Which offer to pay: readable, in time, understood, affordable; what we like best first, then the server's order.

The 402 is the only authority: nothing learnt from discovery or from an earlier answer enters here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from coinslot.client.purse import MAX_VALIDITY_S, Policy
from coinslot.client.terms import as_charge
from coinslot.client.text import plain
from coinslot.core.accept import Range, preference
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge
from coinslot.core.digest import same_body
from coinslot.core.instant import parse_instant
from coinslot.errors import MalformedHeader, NoPayableOffer, PolicyRefused
from coinslot.intents import acts
from coinslot.intents.charge import Terms
from coinslot.method import ChargePayer, Payer, pays_sessions

# An error lists so many offers and no more.
MAX_LISTED = 8
# No registered method and intent have longer names together.
MAX_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class Choice:
    """An offer that we can and may pay, who pays it, and until when. `session`: a session's own terms, of which `terms`
    are the price of one unit.
    """

    challenge: Challenge
    payer: Payer
    terms: Terms
    expires_at_s: float
    session: acts.Terms | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What an offer is judged by: the site, our body, the time in seconds since 1970, and the ids of challenges that a
    channel of ours can pay right now.
    """

    origin: str
    body: bytes
    now_s: float
    open_for: frozenset[str] = frozenset()


def offer_name(challenge: Challenge) -> str:
    """Method and intent, to show."""
    return plain(f"{challenge.method}/{challenge.intent}", MAX_NAME_CHARS)


def _in_time(challenge: Challenge, now_s: float) -> float:
    """When the challenge expires. Raises NoPayableOffer if that is past, missing, unreadable or far off. T10"""
    try:
        expires_at_s = parse_instant(challenge.expires or "")
    except MalformedHeader:
        raise NoPayableOffer("it does not say until when it may be paid") from None
    if expires_at_s <= now_s:
        raise NoPayableOffer("it has expired")
    if expires_at_s > now_s + MAX_VALIDITY_S:
        raise NoPayableOffer(f"it could be collected for more than {MAX_VALIDITY_S / 3600:.0f} hours")
    return expires_at_s


def _fits(challenge: Challenge, body: bytes) -> None:
    """Raises NoPayableOffer for a challenge that is about another body, or wants its credential in an unknown place."""
    if challenge.header not in (None, ALTERNATE_HEADER):
        raise NoPayableOffer("it wants the credential in a header that we don't know")
    try:
        same = challenge.digest is None or same_body(challenge.digest, body)
    except MalformedHeader:
        same = False
    if not same:
        raise NoPayableOffer("it is bound to another body than ours")


def _rank(challenges: Sequence[Challenge], likes: Sequence[Range], here: Situation) -> list[Challenge]:
    """What an open channel can pay first: it costs a signature; then what we like best."""
    return sorted(challenges, key=lambda each: (each.id not in here.open_for, -preference(likes, each)))


def _try(challenge: Challenge, payers: Sequence[Payer], policy: Policy, here: Situation) -> Choice:
    """The first payer who can and may pay. Raises NoPayableOffer or PolicyRefused with the last reason."""
    expires_at_s = _in_time(challenge, here.now_s)
    _fits(challenge, here.body)
    reason: NoPayableOffer | PolicyRefused = NoPayableOffer("no such method and intent in the wallet")
    for payer in payers:
        if (payer.method, payer.intent) != (challenge.method, challenge.intent):
            continue
        try:
            return judged(challenge, payer, policy, here.origin, expires_at_s)
        except (NoPayableOffer, PolicyRefused) as error:
            reason = error
    raise reason


def judged(challenge: Challenge, payer: Payer, policy: Policy, origin: str, expires_at_s: float) -> Choice:
    """The choice of this offer by this payer. Raises NoPayableOffer, PolicyRefused."""
    if not pays_sessions(payer):
        terms = cast("ChargePayer", payer).terms(challenge)
        policy.judge(origin, challenge, terms)
        return Choice(challenge, payer, terms, expires_at_s)
    session = payer.terms(challenge)
    payer.require_openable(session)
    price = as_charge(session)
    policy.judge(origin, challenge, price)
    most = policy.units("max_deposit", price.asset)
    if most is None or most < price.amount_units:
        raise PolicyRefused(
            f"{origin} is paid through a channel, which max_deposit does not allow. Nothing was signed."
        )
    return Choice(challenge, payer, price, expires_at_s, session)


def choose(
    challenges: Sequence[Challenge],
    payers: Sequence[Payer],
    likes: Sequence[Range],
    policy: Policy,
    here: Situation,
) -> Choice:
    """The offer to pay. Raises PolicyRefused if the purse forbids the best that could be paid, else NoPayableOffer.

    Pure: nothing is signed, nothing is sent. The errors list what was offered and why it can't be paid.
    """
    reasons: list[str] = []
    forbidden: PolicyRefused | None = None
    for challenge in _rank(challenges, likes, here):
        try:
            if likes and not preference(likes, challenge):
                raise NoPayableOffer("not among what we accept")
            return _try(challenge, payers, policy, here)
        except PolicyRefused as error:
            forbidden = forbidden or error
            reason = str(error)
        except NoPayableOffer as error:
            reason = str(error)
        reasons.append(f"{offer_name(challenge)}: {plain(reason)}")
    if forbidden is not None:
        raise forbidden
    more = f" and {len(reasons) - MAX_LISTED} more" if len(reasons) > MAX_LISTED else ""
    raise NoPayableOffer(f"{here.origin} offers {'; '.join(reasons[:MAX_LISTED])}{more}. Nothing was signed.")
