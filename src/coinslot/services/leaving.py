"""A payer's channels, seen to without the help of any server: compared with the chain, found again, left.

    ask_to_close ── the payee's time to settle ──► withdraw

Every step may be stopped and taken up again, by another process too: what was done is read from the chain each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from coinslot.client.channels import DEAD_MARGIN_S
from coinslot.client.visit import turn
from coinslot.drive import Flow, failpoint, now, wait
from coinslot.errors import ConfigError, NoPayableOffer, RpcRefused
from coinslot.intents.acts import Held, Left, OnChain, Standing
from coinslot.method import SessionPayer
from coinslot.store.book import ENDED, SETTLED, Book, Word, scope_of

# A node may not have seen what is newer, so that it doesn't know of it proves nothing. F12
NEW_S = 600.0


def payer_of(payers: Sequence[SessionPayer], held: Held) -> SessionPayer:
    """Who can speak for a channel: of its method, network and account. Raises ConfigError."""
    for one in payers:
        if (one.method, one.network, one.account) == (held.method, held.network, held.payer):
            return one
    raise ConfigError(
        f"channel {held.channel_id} belongs to {held.payer} on {held.network} ({held.method}), "
        "which is neither this wallet nor this node"
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A channel, as the book has it now and as the chain has it; `missing`: an open one that the chain doesn't know."""

    held: Held
    state: OnChain
    missing: bool = False


def reconcile(book: Book, payer: SessionPayer, held: Held) -> Flow[Seen]:
    """Write down what the chain says of a channel. Raises ChainError, StoreError."""
    lease = yield from turn(book, scope_of(held))
    try:
        return (yield from _seen(book, payer, held))
    finally:
        lease.release()


def _seen(book: Book, payer: SessionPayer, held: Held) -> Flow[Seen]:
    held = (yield from wait(book.get(held.key))) or held
    state = yield from payer.look(held)
    word = None if held.standing in ENDED else _word(held, state, (yield from now()))
    if word is not None:
        held = yield from wait(book.note(held.key, word))
    missing = not state.exists and not state.closed and held.standing in (Standing.OPEN, Standing.CLOSING)
    return Seen(held, state, missing)


def _word(held: Held, state: OnChain, at_s: float) -> Word | None:
    """What the chain's state means for our record; None: nothing."""
    late = held.dead_after_s is not None and at_s > held.dead_after_s + DEAD_MARGIN_S
    dead = state.dead or (late and not state.alive)  # F13
    if state.closed:
        return Word(settled_units=state.settled_units, standing=Standing.CLOSED, pending=SETTLED)
    if not state.exists:
        if held.standing is Standing.OPENING:
            return Word(standing=Standing.LOST, pending=SETTLED) if dead else None
        old = at_s > held.opened_at_s + NEW_S  # F12
        return Word(standing=Standing.CLOSED, pending=SETTLED) if old else None
    ended = held.standing is Standing.OPENING or state.deposit_units > held.deposit_units or dead
    standing = None
    if state.closing_at_s is not None:
        standing = Standing.CLOSING
    elif held.standing is Standing.OPENING:
        standing = Standing.OPEN
    return Word(
        settled_units=state.settled_units,
        deposit_units=state.deposit_units,
        standing=standing,
        closing_at_s=state.closing_at_s,
        pending=SETTLED if ended and held.opening else None,
    )


def ask_to_close(book: Book, payer: SessionPayer, held: Held) -> Flow[Seen]:
    """Ask the chain to close a channel, unless that was done: from then on its payee's time runs.

    Raises NoPayableOffer for one that can't be closed, ChainError: then look again, nothing is lost.
    """
    lease = yield from turn(book, scope_of(held))
    try:
        seen = yield from _seen(book, payer, held)
        if seen.held.standing in ENDED or seen.state.closing_at_s is not None:
            return seen
        asked = yield from payer.request_close(seen.held)
        # before it is sent: nothing more is bought on it
        yield from wait(book.note(held.key, Word(standing=Standing.CLOSING, closing_at_s=(yield from now()))))
        failpoint("leaving.asked")
        yield from payer.send(asked.raw)
        return (yield from _seen(book, payer, held))
    finally:
        lease.release()


def withdraw(book: Book, payer: SessionPayer, held: Held) -> Flow[Seen | None]:
    """Take back what is left of a channel; None: too early, its payee may still settle.

    Raises NoPayableOffer where nobody asked the chain to close it, ChainError: then look again, nothing is lost.
    """
    lease = yield from turn(book, scope_of(held))
    try:
        seen = yield from _seen(book, payer, held)
        if seen.held.standing in ENDED or seen.missing:
            return seen
        if seen.state.closing_at_s is None:
            raise NoPayableOffer(f"nobody has asked the chain to close channel {held.channel_id}; close it first")
        early = (yield from now()) < seen.state.closing_at_s + payer.withdraw_after_s(held)
        try:
            signed = yield from payer.withdraw(seen.held)
            failpoint("leaving.withdrawn")
            yield from payer.send(signed.raw)
        except (NoPayableOffer, RpcRefused) as error:
            again = yield from _seen(book, payer, seen.held)
            if again.held.standing in ENDED or again.missing:  # its payee closed it while we signed
                return again
            if early or isinstance(error, NoPayableOffer):
                return None
            raise
        state = yield from payer.look(seen.held)  # some chains forget a channel with this
        word = Word(settled_units=state.settled_units, standing=Standing.CLOSED, pending=SETTLED)
        return Seen((yield from wait(book.note(held.key, word))), state)
    finally:
        lease.release()


def left(book: Book, payer: SessionPayer) -> Flow[Left]:
    """What channels that are over still hold of this payer's own besides deposits. Raises ChainError, StoreError."""
    survey = yield from wait(book.survey())
    known = [one for one in survey.channels if one.standing in ENDED and one.payer == payer.account]
    return (yield from payer.left(known))


def collect(book: Book, payer: SessionPayer) -> Flow[Left]:
    """Take that back, as far as it can be had now; what was found. A second time does no harm.

    Raises NoPayableOffer where the account can't pay the network's fee, ChainError: then look again.
    """
    found = yield from left(book, payer)
    for each in (yield from payer.collect(found)) if found.ready else ():
        with suppress(RpcRefused):  # somebody else did it: it came to us all the same
            yield from payer.send(each.raw)
    return found


def find(book: Book, payer: SessionPayer, since_s: float) -> Flow[list[Held]]:
    """Channels of ours that the chain knows and the book doesn't, written down: those that still hold money. F04

    What was signed on them nobody knows here: they can be closed, and their server may prove the rest.
    Raises ChainError, StoreError.
    """
    adopted: list[Held] = []
    at_s = yield from now()
    damaged = {one.key for one in (yield from wait(book.survey())).damaged}
    for one in (yield from payer.find(since_s)):
        if one.key in damaged:  # it is there, and can't be read: what was signed on it must not be forgotten. F04
            continue
        known = yield from wait(book.get(one.key))
        if known is None and one.standing not in ENDED:
            lease = yield from turn(book, scope_of(one))
            try:
                adopted.append((yield from wait(book.adopt(one))))
            finally:
                lease.release()
    return sorted(adopted, key=lambda one: (one.opened_at_s or at_s, one.key))
