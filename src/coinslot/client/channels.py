"""A channel to pay from: one that we have, one that the server reminds us of, or a new one; and more deposit for it.

What was signed and sent and whose end is not known is presented again, word for word, until the chain or the server
tells; only a channel whose transaction can never appear any more is given up (F01 to F03). All of this runs while the
caller has its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coinslot.client.committing import commit_of, resume
from coinslot.client.events import Authorized, Opened, ToppedUp
from coinslot.client.managing import Said, ask_about, ensure_challenge, refresh
from coinslot.client.text import plain
from coinslot.client.visit import Visit, adopt, budget_of, drawing, header_of
from coinslot.client.watermark import STEP_UNITS
from coinslot.core.credential import decode_credential, encode_credential
from coinslot.drive import Cancelled, Flow, failpoint, now, sleep, wait
from coinslot.errors import (
    ChainError,
    NoPayableOffer,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PolicyRefused,
)
from coinslot.intents import charge
from coinslot.intents.acts import Held, Move, OnChain, Standing
from coinslot.store.book import SETTLED, Pending, Word

# A transaction that may appear until then may be seen a little later, and clocks differ.
DEAD_MARGIN_S = 120.0
# Between two looks at a channel that a server says is gone: a replica may lag by some blocks.
SECOND_LOOK_S = 2.0


def ready(visit: Visit, fields: Mapping[str, str]) -> Flow[Held]:
    """An open channel of ours under these terms, the one with room for a unit first; opened if there is none.

    `fields` are the headers of the answer that brought the challenge. Raises PolicyRefused, NoPayableOffer,
    PaymentRefused, PaymentOutcomeUnknown, ChainError, StoreError.
    """
    found = yield from _known(visit, fields)
    if not found:
        found = yield from introduced(visit)
    for held in found:
        if _has_room(visit, held):
            return held
    for held in found:  # what takes more deposit, only the chain knows: a server closes channels that are silent
        known = yield from _looked_at(visit, held)
        if known.standing is Standing.OPEN:
            return known
    return (yield from _opened(visit))


def _has_room(visit: Visit, held: Held) -> bool:
    """Whether a unit can be bought without more deposit, as far as we know."""
    used_units = held.signed_units if visit.payer.signs(held) else held.spent_units
    return held.deposit_units - used_units >= visit.terms.amount_units


def _looked_at(visit: Visit, held: Held) -> Flow[Held]:
    """As the chain has it; as it is on record where the chain can't be asked."""
    try:
        return (yield from look_again(visit, held))
    except ChainError:
        return held


def _known(visit: Visit, fields: Mapping[str, str]) -> Flow[list[Held]]:
    """The open channels in the book, what was pending brought to its end, and what the server reminds us of."""
    found: list[Held] = []
    for one in (yield from wait(visit.book.find(visit.scope))):
        if not visit.payer.fits(one, visit.terms):
            continue
        settled = (yield from resolve(visit, one)) if one.opening or one.standing is Standing.OPENING else one
        if settled.standing is Standing.OPEN:
            found.append(settled)
    hinted = yield from believed(visit, fields, found[0] if found else None)
    if hinted is None or hinted.standing is not Standing.OPEN:
        return found
    return [hinted, *(one for one in found if one.key != hinted.key)]


def believed(visit: Visit, fields: Mapping[str, str], held: Held | None) -> Flow[Held | None]:
    """The channel that a server reminds us of, as far as our own signature proves it; written down. F04 F05 T24

    Raises NoPayableOffer for a claim that can't be true.
    """
    found = visit.payer.hint(visit.challenge, visit.terms, fields, held)
    if found is None or not visit.payer.fits(found, visit.terms):
        return None
    known = yield from wait(visit.book.get(found.key))
    if known is not None and (held is None or known.key != held.key):
        found = visit.payer.hint(visit.challenge, visit.terms, fields, known) or known
    if known is not None:  # how much is deposited, we know better
        found = replace(found, deposit_units=known.deposit_units, origin=known.origin or visit.origin)
        return (yield from adopt(visit, found))
    state = yield from visit.payer.look(found)  # before new money follows
    if not state.exists or state.closed or state.closing_at_s is not None or state.deposit_units < found.signed_units:
        return None
    at_s = yield from now()
    found = replace(found, deposit_units=state.deposit_units, standing=Standing.OPEN, origin=visit.origin)
    settled = min(state.settled_units, found.signed_units)
    return (yield from adopt(visit, replace(found, settled_units=settled, opened_at_s=at_s, used_at_s=at_s)))


# --- who am I to you? ----------------------------------------------------------------------------


def introduced(visit: Visit) -> Flow[list[Held]]:
    """After a lost book: prove who we are, where the server asks for that, and hear of the channels we have. F04

    A proof is a charge of nothing. Failing here costs nothing but knowledge, so nothing here stops the payment.
    """
    if not visit.purse.desk.first_time(f"{visit.origin} {visit.scope.name()}"):
        return []
    asked = yield from ask_about(visit, None, None)
    header = yield from _proof(visit, asked)
    if header is None:
        return []
    told = yield from ask_about(visit, header, None)
    if not told.good:
        return []
    held = yield from believed(visit, told.fields, None)
    return [held] if held is not None and held.standing is Standing.OPEN else []


def _proof(visit: Visit, asked: Said) -> Flow[tuple[str, str] | None]:
    for challenge in asked.challenges:
        if (challenge.method, challenge.intent) != (visit.payer.method, charge.INTENT):
            continue
        for payer in (yield from visit.purse.wallet.payers()):
            if payer.method != challenge.method:
                continue
            try:
                terms = payer.terms(challenge)
                if terms.amount_units:
                    continue
                visit.purse.policy.judge(visit.origin, challenge, terms)
                shown = yield from payer.pay(challenge, terms)
            except (NoPayableOffer, PolicyRefused, ChainError):
                continue
            value = encode_credential(challenge, shown.payload, shown.source)
            return header_of(challenge), value
    return None


# --- opening -------------------------------------------------------------------------------------


def _opened(visit: Visit) -> Flow[Held]:
    deposit_units = yield from _deposit(visit)
    yield from ensure_challenge(visit, None, anew=visit.remembered)
    at_s = yield from now()
    # Deployed servers want the first voucher to cover one unit; the request that follows needs little more.
    first_units = visit.terms.amount_units if visit.payer.opens_signed else 0
    with visit.purse.tally.drawn(first_units, budget_of(visit)):  # T22
        move = yield from visit.payer.open(visit.challenge, visit.terms, deposit_units, first_units)
        held = replace(
            move.held,
            standing=Standing.OPENING,
            opening=_kept(visit, move),
            reference=move.reference,
            dead_after_s=move.dead_after_s,
            origin=visit.origin,
            opened_at_s=at_s,
            used_at_s=at_s,
        )
        failpoint("client.opening")
        authorized = held.signed_units  # all of the deposit, where its payee signs
        draw = yield from drawing(visit, authorized)
        most = visit.purse.policy.units("max_locked", visit.terms.asset)
        draw = replace(draw, most_locked_units=most)  # again, in the one step that others wait for. T22
        with visit.purse.tally.drawn(authorized - first_units, budget_of(visit)):
            yield from wait(visit.book.begin(held, draw))  # before anything is sent. F01
    failpoint("client.opened")
    if authorized:
        visit.purse.observe(Authorized(visit.origin, held.channel_id, held.asset, authorized, authorized))
    return (yield from _present_move(visit, held))


def _kept(visit: Visit, move: Move) -> bytes:
    """The credential of a move, word for word."""
    return encode_credential(visit.challenge, move.payload, move.source).encode()


def _deposit(visit: Visit) -> Flow[int]:
    """What to put into a new channel: the server's wish, within our limits. Raises PolicyRefused."""
    terms, policy = visit.terms, visit.purse.policy
    most = policy.units("max_deposit", terms.asset)
    if most is None:
        raise PolicyRefused(f"{visit.origin} is paid through a channel, and no max_deposit is set. Nothing was signed.")
    most = min(most, (yield from _unlocked(visit, most)))
    wish = most if terms.suggested_deposit_units is None else terms.suggested_deposit_units
    least = terms.amount_units + STEP_UNITS
    deposit_units = min(most, max(wish, least))
    if deposit_units < least:
        raise PolicyRefused(
            f"{visit.origin} asks for {plain(terms.asset.text(terms.amount_units))}, and no more than "
            f"{terms.asset.text(max(0, most))} may be deposited. Nothing was signed."
        )
    return deposit_units


def _unlocked(visit: Visit, most: int) -> Flow[int]:
    """What may still be deposited, over all channels of this asset."""
    limit = visit.purse.policy.units("max_locked", visit.terms.asset)
    if limit is None:
        return most
    ended = (Standing.CLOSED, Standing.LOST)
    channels = yield from wait(visit.book.all())
    mine = [one for one in channels if one.asset == visit.terms.asset.key and one.standing not in ended]
    return max(0, limit - sum(one.deposit_units - one.settled_units for one in mine))


# --- more deposit --------------------------------------------------------------------------------


def covered(visit: Visit, held: Held, total_units: int) -> Flow[Held]:
    """The channel with a deposit of at least `total_units`, within the policy. Raises as `ready` does."""
    missing = total_units - held.deposit_units
    if missing <= 0:
        return held
    return (yield from top_up(visit, held, (yield from addition(visit, held, missing))))


def addition(visit: Visit, held: Held, missing: int) -> Flow[int]:
    """How much to add where so much is missing: the server's wish, within our limits. Raises PolicyRefused."""
    most = visit.purse.policy.units("max_deposit", visit.terms.asset) or 0
    room = min(most - held.deposit_units, (yield from _unlocked(visit, most)))
    if missing > room:
        asset = visit.terms.asset
        raise PolicyRefused(
            f"the channel at {visit.origin} holds {asset.text(held.deposit_units)}, {asset.text(missing)} more would "
            f"be needed, and {asset.text(max(0, room))} more may be deposited (max_deposit, max_locked). "
            "Nothing was signed."
        )
    wish = visit.terms.suggested_deposit_units or held.deposit_units
    own = visit.payer.most_units(visit.terms)
    if own is not None:  # less is added than the server would like; where even that is too much the payer says why
        wish = min(wish, own - held.deposit_units)
    return min(room, max(missing, wish))


def top_up(visit: Visit, held: Held, additional_units: int) -> Flow[Held]:
    """Add to the deposit; whoever calls has looked at the policy. Raises as `ready` does."""
    yield from ensure_challenge(visit, held)
    move = yield from visit.payer.top_up(visit.challenge, held, additional_units)
    pending = Pending(_kept(visit, move), move.reference, move.dead_after_s)
    held = yield from wait(visit.book.note(held.key, Word(pending=pending)))  # before anything is sent
    failpoint("client.topping_up")
    return (yield from _present_move(visit, held, held.deposit_units + additional_units))


# --- until their end is known --------------------------------------------------------------------


def _present_move(visit: Visit, held: Held, deposit_units: int | None = None) -> Flow[Held]:
    """Present a pending opening or top-up. Raises PaymentRefused, PaymentOutcomeUnknown: it is on record, and goes on
    with the next request. F03
    """
    credential = decode_credential(held.opening.decode().partition(" ")[2])
    try:
        said = yield from ask_about(visit, (header_of(credential.challenge), held.opening.decode()), None)
        if said.stale and said.fresh is not None:  # the same payload, under a challenge that the server still knows
            refresh(visit, said.fresh)
            said = yield from ask_about(visit, visit.credential(credential.payload_object()), None)
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, it has left. F03 F29
        raise PaymentOutcomeUnknown(
            f"a channel's deposit was sent to {visit.origin}, and no answer came ({type(error).__name__}). Reference: "
            f"{held.reference or 'none'}. It is on record; the next request goes on with it.",
            reference=held.reference,
        ) from error
    failpoint("client.presented")
    if said.good and (deposit_units is not None or held.standing is Standing.OPENING):
        return (yield from _done(visit, held, deposit_units))
    state = yield from _look(visit, held)
    if state is not None and _happened(held, state):
        return (yield from _done(visit, held, state.deposit_units))
    reason = ": ".join(one for one in (said.problem, said.detail) if one) or "no reason given"
    if said.good or said.status >= 500 or said.status == 409:
        raise PaymentOutcomeUnknown(
            f"{visit.origin} has not finished with a channel's deposit (HTTP {said.status}, {reason}). Reference: "
            f"{held.reference or 'none'}. It is on record; the next request goes on with it.",
            reference=held.reference,
        )
    raise PaymentRefused(
        f"{visit.origin} refused a channel's deposit (HTTP {said.status}, {reason}). Reference: "
        f"{held.reference or 'none'}. It is on record until it can never happen any more.{_smaller(visit, held)}",
        status=said.status,
        reference=held.reference,
        problem=said.problem,
        detail=said.detail,
    )


def _smaller(visit: Visit, held: Held) -> str:
    """What may be the reason of a refusal that gives none, as answers to HEAD don't."""
    wish, shown = visit.terms.suggested_deposit_units or 0, visit.terms.asset.text
    if held.standing is not Standing.OPENING or held.deposit_units >= wish:
        return ""
    return (
        f" It suggests a deposit of {shown(wish)} and was offered {shown(held.deposit_units)}: raise max_deposit if it "
        "takes no smaller ones."
    )


def _done(visit: Visit, held: Held, deposit_units: int | None) -> Flow[Held]:
    opened = held.standing is Standing.OPENING
    known = held.signed_units if opened else None  # what opened it was accepted, and nothing bought with it yet
    word = Word(known, deposit_units=deposit_units, standing=Standing.OPEN, pending=SETTLED)
    held = yield from wait(visit.book.note(held.key, word))
    kind = Opened if opened else ToppedUp
    visit.purse.observe(kind(visit.origin, held.channel_id, held.asset, held.deposit_units, held.reference))
    return held


def _happened(held: Held, state: OnChain) -> bool:
    if not state.exists or state.closed:
        return False
    return held.standing is Standing.OPENING or state.deposit_units > held.deposit_units


def _look(visit: Visit, held: Held) -> Flow[OnChain | None]:
    """The channel on the chain, None where it can't be asked."""
    try:
        return (yield from visit.payer.look(held))
    except (ChainError, NoPayableOffer):
        return None


def resolve(visit: Visit, held: Held) -> Flow[Held]:
    """Bring a pending opening or top-up to its end: by presenting the same again, word for word, and by the chain.

    Presented also where the chain shows it: its server may be confirming it still, or have died over it, and would
    refuse what is signed upon it. LOST only where the chain shows nothing after its transaction has been dead for a
    while, or proves it dead. Raises as `ready` does. A pending commit (committing.py) is posted again.
    """
    commit = commit_of(held.opening)
    if commit is not None:
        return (yield from resume(visit, held, commit))
    state = yield from _look(visit, held)
    opening = held.standing is Standing.OPENING
    if state is not None and state.closed:
        return (yield from wait(visit.book.note(held.key, Word(standing=Standing.CLOSED, pending=SETTLED))))
    if state is not None and _happened(held, state):
        return (yield from _present_move(visit, held, state.deposit_units))
    at_s = yield from now()
    late = held.dead_after_s is not None and at_s > held.dead_after_s + DEAD_MARGIN_S
    if state is not None and (state.dead or (late and not state.alive)):  # F13
        end = Standing.LOST if opening else held.standing
        return (yield from wait(visit.book.note(held.key, Word(standing=end, pending=SETTLED))))
    if held.dead_after_s is not None and at_s > held.dead_after_s:
        raise PaymentOutcomeUnknown(
            f"it is not certain yet that a channel's deposit can never happen (reference: {held.reference or 'none'}); "
            "come back in two minutes. Nothing was signed.",
            reference=held.reference,
        )
    return (yield from _present_move(visit, held))


def look_again(visit: Visit, held: Held) -> Flow[Held]:
    """After a server says that a channel is gone: believe the chain, and its second word. Raises ChainError."""
    state = yield from visit.payer.look(held)
    if not state.exists:
        yield from sleep(SECOND_LOOK_S)
        state = yield from visit.payer.look(held)
    if not state.exists or state.closed:
        return (yield from wait(visit.book.note(held.key, Word(standing=Standing.CLOSED, pending=SETTLED))))
    if state.closing_at_s is not None:
        word = Word(standing=Standing.CLOSING, closing_at_s=state.closing_at_s)
        return (yield from wait(visit.book.note(held.key, word)))
    return held
