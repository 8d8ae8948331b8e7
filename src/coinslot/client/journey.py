"""One logical request, however often it is sent: through redirects, after a login, and when its owner asks again.

A journey pays at most once (F14, T46). It remembers where it began, so that no redirect leads a payment elsewhere
(T37), and what was presented, so that it can be presented again where paying anew could pay twice (F03).
"""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import dataclass, field

from coinslot.client.watermark import Agreed
from coinslot.core.challenge import Challenge
from coinslot.errors import UsageError
from coinslot.intents.charge import Terms


@dataclass(frozen=True, slots=True)
class Resume:
    """A payment that was presented, ready to be presented again for the same request. Its repr shows no secret (T38).

    It holds the credential: whoever has it can collect what was paid for. Keep it like a password, and not for long:
    servers forget challenges when they expire. `digest` is SHA-256 of the body. `more` are headers that belong to it,
    `channel` the book's key of the channel that paid, `challenge` the one that it was paid under, and `agreed` counts
    what was signed for it, so that a stream that comes again is not paid for twice. `charge`: where a charge that this
    client sent itself stands in the book.
    """

    origin: str
    method: str
    terms: Terms
    reference: str | None
    url: str = field(repr=False)
    digest: bytes = field(repr=False)
    header: tuple[str, str] = field(repr=False)
    payment_method: str = field(repr=False)
    more: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    channel: str | None = None
    challenge: Challenge | None = field(default=None, repr=False)
    agreed: Agreed | None = field(default=None, repr=False, compare=False)
    charge: str | None = field(default=None, repr=False)

    def check(self, method: str, url: str, body: bytes) -> None:
        """Raises UsageError if this was presented for another request: a credential goes nowhere else. T37"""
        if (self.method, self.url, self.digest) != (method, url, hashlib.sha256(body).digest()):
            raise UsageError("resume belongs to another request: method, URL and body must be those that were paid for")


class Journey:
    """The state of one logical request. Not shared between requests, and used by one thread or task at a time."""

    def __init__(self, first: object) -> None:
        self._first = weakref.ref(first)
        self.origin: str | None = None
        self.strayed = False
        self.hop = False
        self.resume: Resume | None = None
        self.finished = False

    @property
    def due(self) -> Resume | None:
        """What must be presented instead of paying: this request has presented it, and got no final answer yet."""
        return None if self.hop or self.finished else self.resume

    def arrive(self, origin: str) -> None:
        """The request is about to be sent to this origin."""
        self.origin = self.origin or origin
        self.strayed = self.strayed or origin != self.origin  # once elsewhere, the path back was chosen elsewhere

    @classmethod
    def of(cls, carried: object, request: object, resume: object) -> Journey:
        """The journey that a request is on. `carried`: what came along with it, if anything did.

        The very same request object means that it is sent again by an authentication scheme or by its owner; another
        object with the same luggage is a redirect. `resume` is the caller's wish, for the first leg only.
        Raises UsageError for a `resume` that is none.
        """
        if isinstance(carried, cls):
            carried.hop = carried._first() is not request
            if carried.hop or not carried.finished:
                return carried
        journey = cls(request)
        if resume is not None:
            if not isinstance(resume, Resume):
                raise UsageError("resume is what PaymentOutcomeUnknown carries, or a Presented")
            journey.resume = resume
        return journey
