"""A payer's book that ends with the process: for tests, and for channels that are closed before it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from coinslot.errors import CoinslotError, LedgerError
from coinslot.intents.acts import Held
from coinslot.store import book_rules
from coinslot.store.book import ENDED, MAX_WINDOW_S, Draw, Lease, Named, PushedCharge, Scope, Survey, Word, scope_of
from coinslot.store.futures import done, failed

T = TypeVar("T")


class _Turn:
    def __init__(self, held: set[str], name: str) -> None:
        self._held, self._name = held, name
        self._over = False

    def release(self) -> None:
        if not self._over:
            self._over = True
            self._held.discard(self._name)

    def __del__(self) -> None:
        self.release()  # F28: an answer that was dropped unread


class MemoryBook:
    """book.Book without a file. Safe for threads and tasks of one process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns: set[str] = set()
        self._channels: dict[str, Held] = {}
        self._charges: dict[str, PushedCharge] = {}
        self._draws: list[Draw] = []

    def try_lock(self, what: Named) -> Lease | None:
        """See book.Book."""
        name = what.name()
        with self._guard:
            if name in self._turns:
                return None
            self._turns.add(name)
        return _Turn(self._turns, name)

    def _do(self, step: Callable[[], T]) -> Future[T]:
        with self._guard:
            try:
                return done(step())
            except CoinslotError as error:
                return failed(error)

    def begin(self, held: Held, draw: Draw | None = None) -> Future[None]:
        """See book.Book."""

        def step() -> None:
            if held.key in self._channels:
                raise LedgerError(f"channel {held.channel_id} is in the book already")
            first = book_rules.begun(held)
            if draw is not None:
                book_rules.unlocked(self._channels.values(), held, draw)
                self._draw(draw)
            self._channels[held.key] = first

        return self._do(step)

    def get(self, key: str) -> Future[Held | None]:
        """See book.Book."""
        return self._do(lambda: self._channels.get(key))

    def find(self, scope: Scope) -> Future[Sequence[Held]]:
        """See book.Book."""
        return self._do(
            lambda: sorted(
                (one for one in self._channels.values() if scope_of(one) == scope and one.standing not in ENDED),
                key=lambda one: -one.used_at_s,
            )
        )

    def all(self) -> Future[Sequence[Held]]:
        """See book.Book."""
        return self._do(self._newest)

    def _newest(self) -> list[Held]:
        return sorted(self._channels.values(), key=lambda one: -one.opened_at_s)

    def survey(self) -> Future[Survey]:
        """See book.Book."""
        return self._do(lambda: Survey(tuple(self._newest()), tuple(self._charges.values())))

    def sign(self, key: str, total_units: int, voucher: bytes, draw: Draw) -> Future[Held]:
        """See book.Book."""

        def step() -> Held:
            held = book_rules.signed(self._channels.get(key), total_units, voucher, draw.at_s)
            self._draw(draw)
            self._channels[key] = held
            return held

        return self._do(step)

    def note(self, key: str, word: Word) -> Future[Held]:
        """See book.Book."""

        def step() -> Held:
            self._channels[key] = held = book_rules.noted(self._channels.get(key), word)
            return held

        return self._do(step)

    def adopt(self, held: Held) -> Future[Held]:
        """See book.Book."""

        def step() -> Held:
            self._channels[held.key] = merged = book_rules.merged(self._channels.get(held.key), held)
            return merged

        return self._do(step)

    def drawn(self, asset: str, since_s: float, origin: str | None = None) -> Future[int]:
        """See book.Book."""
        return self._do(lambda: self._sum(asset, since_s, origin))

    def _draw(self, draw: Draw) -> None:
        """Raises PolicyRefused."""
        drawn = [(one, self._sum(draw.asset, draw.at_s - one.window_s, one.origin)) for one in draw.limits]
        book_rules.within(drawn, draw)
        self._draws = [one for one in self._draws if one.at_s > draw.at_s - MAX_WINDOW_S]
        self._draws.append(draw)

    def _sum(self, asset: str, since_s: float, origin: str | None) -> int:
        return sum(
            one.units
            for one in self._draws
            if one.asset == asset and one.at_s >= since_s and origin in (None, one.origin)
        )

    def begin_charge(self, charge: PushedCharge) -> Future[None]:
        """See book.Book."""

        def step() -> None:
            if charge.id in self._charges:
                raise LedgerError("this charge is in the book already")
            self._charges[charge.id] = charge

        return self._do(step)

    def find_charges(self, request: str | None = None) -> Future[Sequence[PushedCharge]]:
        """See book.Book."""
        return self._do(lambda: [one for one in self._charges.values() if request in (None, one.request)])

    def end_charge(self, charge_id: str) -> Future[None]:
        """See book.Book."""

        def step() -> None:
            self._charges.pop(charge_id, None)

        return self._do(step)

    def close(self) -> None:
        """See book.Book."""
