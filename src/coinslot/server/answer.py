"""Answers the gate gives by itself, and what it adds to the answers of a paid handler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from coinslot.core.problem import CONTENT_TYPE, problem_body
from coinslot.core.receipt import Receipt
from coinslot.errors import Problem
from coinslot.store.protocol import Delivery

Headers: TypeAlias = tuple[tuple[str, str], ...]

# What a page in a browser must be able to read from another origin to pay and to keep its receipt.
EXPOSED = ("WWW-Authenticate", "Payment-Receipt", "Payment-Session", "Payment-Session-Snapshot", "Retry-After")
# Belong to one connection or one moment, never to a stored answer (RFC 9110 section 7.6.1).
_NOT_KEPT = frozenset(
    [
        "connection",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    def sized(self) -> Headers:
        """The headers with the body's length; a stored answer to HEAD keeps the length it spoke of."""
        if not self.body and any(name.lower() == "content-length" for name, _ in self.headers):
            return self.headers
        kept = tuple(pair for pair in self.headers if pair[0].lower() != "content-length")
        return (*kept, ("content-length", str(len(self.body))))


def refusal(problem: Problem, challenges: Sequence[str] = (), extra: Headers = (), **members: object) -> Answer:
    """A problem as a response; never stored by caches (CORE-111, T39), never with a receipt (CORE-047)."""
    headers = [("content-type", CONTENT_TYPE), ("cache-control", "no-store")]
    headers += [("www-authenticate", one) for one in challenges]
    headers += extra
    if problem.retry_after_s is not None:
        headers.append(("retry-after", str(problem.retry_after_s)))
    headers.append(("access-control-expose-headers", ", ".join(EXPOSED)))
    return Answer(problem.status, tuple(headers), problem_body(problem, **members))


def _listed(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [item.strip() for key, value in headers if key.lower() == name for item in value.split(",") if item.strip()]


# "private" with a list of fields allows the rest to be shared.
_SHARING = ("public", "private", "s-maxage")


def _private(cache: Sequence[str]) -> str:
    return ", ".join(["private", *[one for one in cache if not one.lower().startswith(_SHARING)]])


_MERGED = frozenset(["cache-control", "vary", "access-control-expose-headers", "payment-receipt"])
# To caches that obey them, these outdo Cache-Control: what they would keep is served to whoever asks. T39
_TO_SHARED_CACHES = frozenset(["edge-control", "surrogate-control", "x-accel-expires"])
_TARGETED = "-cache-control"  # RFC 9213: CDN-Cache-Control, and the names that each vendor adds


def _for_shared_caches(name: str) -> bool:
    return name in _TO_SHARED_CACHES or name.endswith(_TARGETED)


def paid_headers(headers: Iterable[tuple[str, str]], receipt: Receipt, extra: Headers = ()) -> Headers:
    """A 2xx answer's headers with the receipt, private to caches (CORE-112, T39) and readable to browsers.

    `extra` stand in place of the answer's own of the same name.
    """
    given = tuple(headers)
    told = (*extra, ("payment-receipt", receipt.encode()))
    names = [name.lower() for name, _ in given]
    if any(map(_for_shared_caches, names)):  # T39
        given = tuple(pair for pair in given if not _for_shared_caches(pair[0].lower()))
        names = [name.lower() for name, _ in given]
    if _MERGED.isdisjoint(names) and not [name for name, _ in extra if name in names]:  # as most answers are
        return (*given, *told, *_UNASKED)
    merged = _MERGED.union([name for name, _ in extra])
    kept = [pair for pair in given if pair[0].lower() not in merged]
    return (*kept, *told, *_permissions(given))


def _permissions(given: Headers) -> Headers:
    vary = _listed(given, "vary")
    exposed = _listed(given, "access-control-expose-headers")
    return (
        ("cache-control", _private(_listed(given, "cache-control"))),
        ("vary", ", ".join(dict.fromkeys([*vary, "Authorization"]))),
        ("access-control-expose-headers", ", ".join(dict.fromkeys([*exposed, *EXPOSED]))),
    )


_UNASKED = _permissions(())


def without_receipt(headers: Iterable[tuple[str, str]]) -> Headers:
    """An answer's headers without receipts: an answer that is no delivery has none, whoever put it there. CORE-047"""
    return tuple(pair for pair in headers if pair[0].lower() != "payment-receipt")


def kept_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """What of a delivered answer's headers is kept for a replay."""
    return tuple(pair for pair in headers if pair[0].lower() not in _NOT_KEPT)


def replay(delivery: Delivery, receipt: Receipt, body: bytes) -> Answer:
    """A stored answer, as it was first given."""
    headers = paid_headers(delivery.headers, receipt)
    return Answer(delivery.status, (*headers, ("idempotent-replayed", "true")), body)


def managed(status: int, receipt: Receipt, extra: Headers) -> Answer:
    """An answer about a channel and nothing else."""
    return Answer(status, (*paid_headers((), receipt, extra), ("content-length", "0")), b"")
