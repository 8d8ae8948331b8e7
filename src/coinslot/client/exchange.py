"""One request, paid at most once: ask, read the 402, decide, pay, present, and say honestly how it ended.

After a charge's credential has left there is no second payment for the same request, whatever the server says (T46).
From a channel it is bought by buying.py, with two vouchers at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar, cast

from coinslot.client.buying import Changed, buy, resumed
from coinslot.client.choose import Choice, Situation, choose, judged, offer_name
from coinslot.client.events import Declined, Offered, Unknown
from coinslot.client.journey import Journey, Resume
from coinslot.client.managing import HINTS
from coinslot.client.presenting import (
    MAX_PROBLEM_BYTES,
    PAYMENT_REQUIRED,
    Answer,
    Ask,
    Errand,
    lost,
    offers,
    present,
)
from coinslot.client.purse import Policy, Purse, Quote
from coinslot.client.pushing import arrived, asked_twice, go_on, may_be_left, present_again, push
from coinslot.client.terms import metered_unit
from coinslot.client.text import is_private, origin_of, plain
from coinslot.client.visit import Visit
from coinslot.core.accept import Range, format_accept, parse_accept
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge
from coinslot.core.credential import encode_credential
from coinslot.drive import Cancelled, Flow, call, now, send, wait
from coinslot.errors import (
    BodyNotRepeatable,
    MalformedHeader,
    NoPayableOffer,
    PaymentError,
    PaymentOutcomeUnknown,
    PolicyRefused,
)
from coinslot.intents.acts import Standing
from coinslot.method import ChargePayer, Payer, Presentation, pays_charges, pays_sessions
from coinslot.store.book import Scope

T = TypeVar("T")


def exchange(errand: Errand, purse: Purse, journey: Journey) -> Flow[Answer]:
    """The answer to a request, paid for if that is asked and allowed.

    Raises PolicyRefused, NoPayableOffer, BodyNotRepeatable (nothing was signed), PaymentRefused,
    PaymentOutcomeUnknown, and whatever the door's own client raises for a request that is not paid.
    """
    origin = origin_of(errand.url)
    journey.arrive(origin)
    if errand.fields(ALTERNATE_HEADER) or any(_is_ours(value) for value in errand.fields("authorization")):
        own: Answer = yield from send(Ask())  # the caller pays by hand; a request carries one credential
        return own
    if journey.due is not None:
        return (yield from _present_again(errand, purse, journey, journey.due))
    challenges: Sequence[Challenge]
    bought = (yield from _from_memory(errand, purse, journey)) if purse.sessions else None
    if isinstance(bought, Changed):
        return (yield from _settle(errand, purse, journey, bought.challenges, {}))
    if bought is not None:
        return bought
    headers = () if errand.fields("accept-payment") or not purse.likes else (_accept(purse.likes),)
    answer = yield from _ask(purse, journey, headers)
    if answer.status != PAYMENT_REQUIRED:
        return arrived(answer, purse, journey)
    challenges, unreadable = offers(answer)
    if not challenges:  # a 402 of the application's own, or of another scheme
        return arrived(answer, purse, journey)
    yield from call(answer.read, MAX_PROBLEM_BYTES)
    purse.observe(Offered(origin, tuple(offer_name(one) for one in challenges), unreadable))
    if journey.resume is not None:
        raise (yield from asked_twice(purse, origin, journey.resume))
    fields = {name: values[0] for name in HINTS if (values := answer.fields(name))}
    return (yield from _settle(errand, purse, journey, challenges, fields))


def _settle(
    errand: Errand, purse: Purse, journey: Journey, challenges: Sequence[Challenge], fields: dict[str, str]
) -> Flow[Answer]:
    """Decide and pay. `fields` are the headers of the answer that may tell of channels."""
    origin = origin_of(errand.url)
    choice, body = yield from _declining(purse, origin, _decide(errand, purse, journey, challenges))
    if (yield from may_be_left(purse, choice, challenges)):
        answer = yield from go_on(errand, purse, journey, body)  # F14
        if answer is not None:
            return answer
        yield from _declining(purse, origin, _in_time(choice, "a payment before it was looked up"))
    yield from _declining(purse, origin, _approve(errand, purse.policy, choice))
    if choice.session is not None:
        bought = yield from _buy(errand, purse, journey, choice, body, fields, remembered=False)
        assert not isinstance(bought, Changed)  # noqa: S101 - only a remembered challenge can be out of date
        return bought
    presentation, resume = yield from _sign(errand, purse, choice, body)
    if presentation.sending is not None:
        payer = cast("ChargePayer", choice.payer)
        return (yield from push(errand, purse, journey, payer, presentation.sending, resume, body))
    journey.resume = resume  # from here on this request never pays again. F14
    return (yield from present(purse, journey, resume, body, doubt=False))


# --- from a channel ------------------------------------------------------------------------------


def _from_memory(errand: Errand, purse: Purse, journey: Journey) -> Flow[Answer | Changed | None]:
    """Buy from an open channel without asking first, where this path was bought before and its challenge still holds.

    None: ask. The policy is asked again, since it may be another session's.
    """
    known = purse.desk.recall(errand.method, errand.url, (yield from now()))
    if known is None or journey.resume is not None or journey.strayed or not is_private(origin_of(errand.url)):
        return None
    challenge, expires_at_s = known
    origin = origin_of(errand.url)
    for payer in (yield from purse.wallet.session_payers()):
        if payer.method != challenge.method:
            continue
        try:
            choice = judged(challenge, payer, purse.policy, origin, expires_at_s)
        except (NoPayableOffer, PolicyRefused):
            continue
        if (yield from _open_channel(purse, choice)):
            body = yield from _body(errand)
            yield from _approve(errand, purse.policy, choice)
            return (yield from _buy(errand, purse, journey, choice, body, {}, remembered=True))
    return None


def _buy(
    errand: Errand,
    purse: Purse,
    journey: Journey,
    choice: Choice,
    body: bytes,
    fields: dict[str, str],
    *,
    remembered: bool,
) -> Flow[Answer | Changed]:
    assert choice.session is not None  # noqa: S101 - for the type checker
    assert pays_sessions(choice.payer)  # noqa: S101
    visit = Visit(
        purse,
        choice.payer,
        origin_of(errand.url),
        errand.method,
        errand.url,
        choice.challenge,
        choice.session,
        choice.expires_at_s,
    )
    purse.desk.forget(errand.method, errand.url)  # until it was good once more
    try:
        return (yield from buy(visit, errand, body, journey, fields, remembered=remembered))
    except (PolicyRefused, NoPayableOffer) as error:
        purse.observe(Declined(visit.origin, plain(str(error))))
        raise
    except PaymentOutcomeUnknown as error:
        purse.observe(Unknown(visit.origin, choice.terms, error.reference, plain(str(error))))
        raise


def _open_channel(purse: Purse, choice: Choice) -> Flow[bool]:
    """Whether a channel of ours could pay this offer right now."""
    assert choice.session is not None  # noqa: S101 - for the type checker
    assert pays_sessions(choice.payer)  # noqa: S101
    asset = choice.session.asset
    scope = Scope(asset.network, choice.payer.method, choice.payer.account, choice.session.recipient, asset.key)
    for held in (yield from wait(purse.desk.book.find(scope))):
        room = held.deposit_units - held.signed_units
        if (
            held.standing is Standing.OPEN
            and room >= choice.terms.amount_units
            and choice.payer.fits(held, choice.session)
        ):
            return True
    return False


def _openable(purse: Purse, challenges: Sequence[Challenge], origin: str) -> Flow[frozenset[str]]:
    """The ids of the challenges that an open channel could pay right now."""
    found: set[str] = set()
    for challenge in challenges:
        for payer in (yield from purse.wallet.session_payers()):
            if (payer.method, payer.intent) != (challenge.method, challenge.intent):
                continue
            try:
                choice = judged(challenge, payer, purse.policy, origin, 0.0)
            except (NoPayableOffer, PolicyRefused):
                continue
            if (yield from _open_channel(purse, choice)):
                found.add(challenge.id)
    return frozenset(found)


def _ask(purse: Purse, journey: Journey, headers: tuple[tuple[str, str], ...]) -> Flow[Answer]:
    """The answer to the request without a credential. Where a paid request was redirected to, losing it loses what was
    paid for. F03
    """
    answer: Answer
    try:
        answer = yield from send(Ask(headers))
    except (Exception, Cancelled) as error:  # broad on purpose, see present
        if journey.resume is not None:
            raise lost(purse, journey.resume, error) from error
        raise
    return answer


# --- before anything is signed -------------------------------------------------------------------


def _is_ours(authorization: str) -> bool:
    return authorization[:8].lower() == "payment "


def _accept(likes: Sequence[Range]) -> tuple[str, str]:
    return "Accept-Payment", format_accept(likes)


def _likes(errand: Errand, purse: Purse) -> Sequence[Range]:
    try:
        given = [one for value in errand.fields("accept-payment") for one in parse_accept(value)]
    except MalformedHeader:
        given = []
    return given or purse.likes


def _body(errand: Errand) -> Flow[bytes]:
    body: bytes | None = yield from call(errand.body)
    if body is None:
        raise BodyNotRepeatable(
            "this request must be paid for and sent again, but its body can be read once only; "
            "pass bytes instead of a stream. Nothing was signed."
        )
    return body


def _decide(
    errand: Errand, purse: Purse, journey: Journey, challenges: Sequence[Challenge]
) -> Flow[tuple[Choice, bytes]]:
    """The offer to pay and the body to send again. Nobody is asked, and nothing is signed here."""
    origin = origin_of(errand.url)
    if not is_private(origin):  # T37
        raise PolicyRefused(f"{origin} is not encrypted: anyone between could take the payment. Nothing was signed.")
    if journey.strayed:  # T37
        raise PolicyRefused(
            f"a redirect led from {journey.origin} to another site, and {origin} wants to be paid; "
            "ask it directly if you mean to. Nothing was signed."
        )
    body = yield from _body(errand)
    payers: list[Payer] = [*(yield from purse.wallet.payers())]
    open_for: frozenset[str] = frozenset()
    if purse.sessions:
        payers += yield from purse.wallet.session_payers()
        open_for = yield from _openable(purse, challenges, origin)
    here = Situation(origin, body, (yield from now()), open_for)
    choice = choose(challenges, payers, _likes(errand, purse), purse.policy, here)
    if pays_charges(choice.payer):
        choice.payer.pushes(choice.terms)  # or it can't be paid at all
    return choice, body


def _declining(purse: Purse, origin: str, deciding: Flow[T]) -> Flow[T]:
    """How a decision ends; the observer hears why not."""
    try:
        return (yield from deciding)
    except PaymentError as error:
        purse.observe(Declined(origin, plain(str(error))))
        raise


def _approve(errand: Errand, policy: Policy, choice: Choice) -> Flow[None]:
    """Ask, where somebody is to be asked. Raises PolicyRefused, NoPayableOffer."""
    if policy.approve is None:
        return
    words = plain(choice.challenge.description or "")
    unit = None if choice.session is None else metered_unit(choice.session)
    quote = Quote(origin_of(errand.url), errand.method, choice.terms, choice.expires_at_s, words, unit)
    if not (yield from call(policy.approve, quote)):
        raise PolicyRefused("the payment was not approved. Nothing was signed.")
    yield from _in_time(choice, "it waited for approval")  # people take their time


def _in_time(choice: Choice, meanwhile: str) -> Flow[None]:
    if (yield from now()) >= choice.expires_at_s:
        raise NoPayableOffer(f"the offer expired while {meanwhile}. Nothing was signed.")


# --- paying and presenting -----------------------------------------------------------------------


def _sign(errand: Errand, purse: Purse, choice: Choice, body: bytes) -> Flow[tuple[Presentation, Resume]]:
    challenge, origin = choice.challenge, origin_of(errand.url)
    paying = cast("ChargePayer", choice.payer).pay(challenge, choice.terms)
    presentation = yield from _declining(purse, origin, paying)
    value = encode_credential(challenge, presentation.payload, presentation.source)
    resume = Resume(
        origin,
        errand.method,
        choice.terms,
        presentation.reference,
        errand.url,
        hashlib.sha256(body).digest(),
        ("Authorization" if challenge.header is None else ALTERNATE_HEADER, value),
        challenge.method,
    )
    return presentation, resume


def _present_again(errand: Errand, purse: Purse, journey: Journey, resume: Resume) -> Flow[Answer]:
    body = yield from _body(errand)
    resume.check(errand.method, errand.url, body)
    answer = yield from present_again(errand, purse, journey, resume, body)
    if resume.channel is not None and purse.sessions:
        yield from resumed(purse, errand, resume, answer)
    return answer
