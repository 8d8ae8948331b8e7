"""What is done with a channel outside of any request: close it, add to it; both by asking its server.

Closing shows the server a voucher of exactly what was spent, where its own word on that is about our last voucher: what
was signed ahead is then worth nothing, also where closing takes all that a voucher says. Else the highest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from coinslot.client import channels, owing
from coinslot.client.events import Closed
from coinslot.client.managing import Said, ask_about, ensure_challenge, refresh
from coinslot.client.presenting import MAX_PROBLEM_BYTES, Answer, Ask, offers
from coinslot.client.purse import Purse
from coinslot.client.text import is_private, origin_of
from coinslot.client.visit import Visit, note, turn
from coinslot.core.challenge import Challenge
from coinslot.core.instant import parse_instant
from coinslot.drive import Cancelled, Flow, call, failpoint, now, send, sleep, wait
from coinslot.errors import (
    ChainError,
    ChannelsNotClosed,
    MalformedHeader,
    NoPayableOffer,
    PaymentError,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PolicyRefused,
    UsageError,
)
from coinslot.intents.acts import Act, Held, OnChain, Standing
from coinslot.intents.session import INTENT
from coinslot.method import SessionPayer
from coinslot.store.book import SETTLED, Word, scope_of

GONE = 410
_VERBS = ("HEAD", "GET")


def held_of(purse: Purse, key: str) -> Flow[Held]:
    """A channel in the book. Raises UsageError."""
    held = yield from wait(purse.desk.book.get(key))
    if held is None:
        raise UsageError("no such channel in the book")
    return held


def close(purse: Purse, url: str, key: str) -> Flow[Held]:
    """Ask the server at `url` to close a channel: it takes what was spent, and the rest comes back.

    Raises PaymentRefused, PaymentOutcomeUnknown (then it is `closing`; also where the chain does not show it closed),
    NoPayableOffer, ChainError, StoreError.
    """
    lease = yield from turn(purse.desk.book, scope_of((yield from held_of(purse, key))))
    try:
        held = yield from held_of(purse, key)
        if held.standing in (Standing.CLOSED, Standing.LOST):
            return held
        visit = yield from _visit(purse, url, held)
        return (yield from _close(visit, held))
    finally:
        lease.release()


def close_all(purse: Purse, url: str, keys: Sequence[str]) -> Flow[None]:
    """Close channels one after the other; one that can't be closed keeps no other open.

    Raises what `close` raised if that was for one of them, ChannelsNotClosed for several.
    """
    try:
        yield from _close_each(purse, url, keys)
    except ChannelsNotClosed as error:
        if len(error.failures) > 1:
            raise
        (only,) = error.failures.values()
        raise only from only.__cause__


def _close_each(purse: Purse, url: str, keys: Sequence[str]) -> Flow[None]:
    """Raises ChannelsNotClosed, also for one."""
    if not keys:
        return
    try:
        yield from close(purse, url, keys[0])
    except Exception as error:  # broad on purpose: whatever it was, the others' deposits are to come back
        failures = {keys[0]: error}
        try:
            yield from _close_each(purse, url, keys[1:])
        except ChannelsNotClosed as others:
            failures |= others.failures
        raise ChannelsNotClosed(failures) from error
    yield from _close_each(purse, url, keys[1:])


def top_up(purse: Purse, url: str, key: str, additional_units: int) -> Flow[Held]:
    """Add to a channel's deposit, within the policy. Raises as channels.ready does."""
    lease = yield from turn(purse.desk.book, scope_of((yield from held_of(purse, key))))
    try:
        held = yield from held_of(purse, key)
        visit = yield from _visit(purse, url, held)
        most = purse.policy.units("max_deposit", visit.terms.asset) or 0
        if additional_units <= 0 or held.deposit_units + additional_units > most:
            asset = visit.terms.asset
            raise PolicyRefused(
                f"the channel holds {asset.text(held.deposit_units)} and may hold {asset.text(most)} (max_deposit). "
                "Nothing was signed."
            )
        if held.opening:
            held = yield from channels.resolve(visit, held)
        return (yield from channels.top_up(visit, held, additional_units))
    finally:
        lease.release()


def _visit(purse: Purse, url: str, held: Held) -> Flow[Visit]:
    """The way to speak of this channel at this URL: a challenge that asks for it, remembered or fresh."""
    if not is_private(origin_of(url)):  # T37
        raise PolicyRefused(
            f"{origin_of(url)} is not encrypted: anyone between could take the voucher. Nothing was sent."
        )
    now_s = yield from now()
    known = [found[0] for verb in ("GET", "POST") if (found := purse.desk.recall(verb, url, now_s)) is not None]
    status = 0
    for verb in (None, *_VERBS):
        challenges = known
        if verb is not None:
            answer: Answer = yield from send(Ask((), b"", verb=verb))
            yield from call(answer.read, MAX_PROBLEM_BYTES)
            challenges, status = offers(answer)[0], answer.status
        for challenge in challenges:
            for payer in (yield from purse.wallet.session_payers()):
                visit = _fitting(purse, url, held, challenge, payer)
                if visit is not None:
                    return visit
    raise NoPayableOffer(f"{origin_of(url)} (HTTP {status}) offers nothing that this channel pays for.")


def _fitting(purse: Purse, url: str, held: Held, challenge: Challenge, payer: SessionPayer) -> Visit | None:
    if (challenge.method, challenge.intent) != (payer.method, INTENT):
        return None
    try:
        terms, expires_at_s = payer.terms(challenge), parse_instant(challenge.expires or "")
    except (NoPayableOffer, MalformedHeader):
        return None
    if not payer.fits(held, terms):
        return None
    return Visit(purse, payer, origin_of(url), "GET", url, challenge, terms, expires_at_s)


def _close(visit: Visit, held: Held) -> Flow[Held]:
    if held.opening:
        held = yield from channels.resolve(visit, held)
    if owing.payable(visit, held):
        with suppress(PaymentError, ChainError):  # not to be able to pay keeps no deposit back
            yield from owing.settled(visit, held)
        held = (yield from wait(visit.book.get(held.key))) or held
    word = Word(standing=Standing.CLOSING, closing_at_s=(yield from now()))
    held = yield from wait(visit.book.note(held.key, word))  # before it is asked for: nothing more is bought on it
    exact = held.spent_units if held.acknowledged_units == held.signed_units else held.signed_units
    said = yield from _ask_to_close(visit, held, exact)
    if not said.good and said.status != GONE and exact < held.signed_units:
        said = yield from _ask_to_close(visit, held, held.signed_units)
    if said.fresh is not None and not said.good:
        refresh(visit, said.fresh)
        found = yield from channels.believed(visit, said.fields, held)  # a lost or old book catches up. F04 F05
        if found is not None and found.key == held.key and found.signed_units > held.signed_units:
            held = found
            said = yield from _ask_to_close(visit, held, held.signed_units)
    if said.status == GONE:
        held = yield from channels.look_again(visit, held)
        if held.standing is Standing.CLOSED:
            return held
    if said.status >= 500 or said.status == 409:
        raise PaymentOutcomeUnknown(
            f"{visit.origin} has not finished closing the channel (HTTP {said.status}).", reference=held.channel_id
        )
    if not said.good:
        yield from wait(visit.book.note(held.key, Word(standing=Standing.OPEN)))
        raise _not_closed(visit, said)
    held = yield from note(visit, held, said.balance)
    state = yield from _shown_closed(visit, held)
    if state is None:  # T24: an ended record is never looked at again, nor its deposit
        raise PaymentOutcomeUnknown(
            f"{visit.origin} says that it closed the channel, and the chain does not show that yet; look again.",
            reference=held.channel_id,
        )
    word = Word(standing=Standing.CLOSED, pending=SETTLED, settled_units=state.settled_units)
    held = yield from wait(visit.book.note(held.key, word))
    reference = None
    visit.purse.observe(Closed(visit.origin, held.channel_id, held.asset, held.spent_units, reference))
    return held


def _shown_closed(visit: Visit, held: Held) -> Flow[OnChain | None]:
    """The channel as the chain shows it closed, on a second look if need be: a node may lag. None where it doesn't, or
    can't be asked.
    """
    try:
        for last in (False, True):
            state = yield from visit.payer.look(held)
            if state.closed or not state.exists:
                return state
            if not last:
                yield from sleep(channels.SECOND_LOOK_S)
    except ChainError:
        pass
    return None


def _ask_to_close(visit: Visit, held: Held, total_units: int) -> Flow[Said]:
    known = held.voucher if total_units == held.signed_units else b""  # none, too, of a channel found on the chain
    voucher = known or visit.payer.sign(held, total_units)  # never above the watermark: not kept
    yield from ensure_challenge(visit, held)
    said = Said(0)
    for _ in range(2):
        payload = dict(visit.payer.payload(held, Act.CLOSE, total_units, voucher))
        try:
            said = yield from ask_about(visit, visit.credential(payload), held)
        except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, it has left. F03
            raise PaymentOutcomeUnknown(
                f"{visit.origin} was asked to close a channel, and no answer came ({type(error).__name__}).",
                reference=held.channel_id,
            ) from error
        failpoint("client.closing")
        if not said.stale or said.fresh is None:
            break
        refresh(visit, said.fresh)
    return said


def _not_closed(visit: Visit, said: Said) -> PaymentRefused:
    reason = ": ".join(one for one in (said.problem, said.detail) if one) or "no reason given"
    return PaymentRefused(
        f"{visit.origin} did not close the channel (HTTP {said.status}, {reason}).",
        status=said.status,
        problem=said.problem,
        detail=said.detail,
    )
