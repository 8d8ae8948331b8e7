"""What the requests of one client share for sessions: the book, the challenges it may use again, and tallies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlsplit

from coinslot.client.debts import Debts
from coinslot.client.watermark import Streams
from coinslot.core.challenge import Challenge
from coinslot.errors import ConfigError, PolicyRefused
from coinslot.intents.acts import Held
from coinslot.money import Asset
from coinslot.store.allowance import Allowance
from coinslot.store.book import Book

# Enough for every path of an API; the one that was learnt first is forgotten first.
MAX_REMEMBERED = 1024
# A challenge that is about to expire would expire on its way.
SLACK_S = 5.0


def place_of(verb: str, url: str) -> tuple[str, str, str]:
    """What a session's challenge is remembered for: the HTTP method, the site and the path, whatever the query."""
    parts = urlsplit(url)
    return verb, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path or "/"


@dataclass
class Tally:
    """What one session object has used: channels by key with what was spent on them before, and what it authorized.

    `budget`: whole tokens that its vouchers may add up to.
    """

    budget: Decimal | None = None
    began: dict[str, int] = field(default_factory=dict)
    assets: dict[str, Asset] = field(default_factory=dict)
    _allowance: Allowance = field(default_factory=Allowance, repr=False)

    @property
    def authorized_units(self) -> int:
        """What was signed for, or is being signed for, in base units."""
        return self._allowance.drawn_units

    @contextmanager
    def drawn(self, units: int, most_units: int | None) -> Iterator[None]:
        """A voucher that adds so much, while it is written down. What fails there was never sent, and is given back.

        Counted before anything is waited for: requests to several payees sign at the same time. `most_units` is the
        budget in base units. Raises PolicyRefused. T22
        """
        if not self._allowance.draw(units, most_units):
            raise self._used_up()
        try:
            yield
        except BaseException:
            self._allowance.give_back(units)
            raise

    def require(self, units: int, most_units: int | None) -> None:
        """That so much more is within the budget now; nothing is drawn. Raises PolicyRefused. T22"""
        if most_units is not None and self.authorized_units + units > most_units:  # T22
            raise self._used_up()

    def _used_up(self) -> PolicyRefused:
        return PolicyRefused(f"the session's budget of {self.budget or 0:f} is used up. Nothing was signed.")

    def begin(self, held: Held, asset: Asset) -> None:
        """This channel is used."""
        self.began.setdefault(held.key, held.spent_units)
        self.assets.setdefault(held.key, asset)


@dataclass
class Desk:
    """Shared by the requests of a client. The book is opened when it is first needed."""

    open_book: Callable[[], Book] | None = None
    _book: Book | None = field(default=None, repr=False)
    _challenges: dict[tuple[str, str, str], tuple[Challenge, float]] = field(default_factory=dict, repr=False)
    streams: dict[str, Streams] = field(default_factory=dict, repr=False)
    debts: Debts = field(default_factory=Debts, repr=False)
    _introduced: set[str] = field(default_factory=set, repr=False)

    @property
    def book(self) -> Book:
        """The book. Raises ConfigError, StoreError."""
        if self._book is None:
            if self.open_book is None:
                raise ConfigError("this client has no book to write down what it signs")
            self._book = self.open_book()
        return self._book

    def remember(self, verb: str, url: str, challenge: Challenge, expires_at_s: float) -> None:
        """This challenge may be used again here."""
        place = place_of(verb, url)
        self._challenges.pop(place, None)
        while len(self._challenges) >= MAX_REMEMBERED:
            self._challenges.pop(next(iter(self._challenges)))
        self._challenges[place] = (challenge, expires_at_s)

    def recall(self, verb: str, url: str, now_s: float) -> tuple[Challenge, float] | None:
        """The challenge to use again here, and when it expires; None if there is none in time."""
        found = self._challenges.get(place_of(verb, url))
        return found if found is not None and found[1] > now_s + SLACK_S else None

    def forget(self, verb: str, url: str) -> None:
        """Ask first next time."""
        self._challenges.pop(place_of(verb, url), None)

    def first_time(self, name: str) -> bool:
        """Whether this name is new: nobody introduces himself twice."""
        if name in self._introduced:
            return False
        if len(self._introduced) >= MAX_REMEMBERED:
            self._introduced.clear()
        self._introduced.add(name)
        return True
