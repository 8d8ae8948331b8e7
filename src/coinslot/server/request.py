"""A request as the gate sees it, whatever door it came through."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from coinslot.core.canonical import base64url_encode
from coinslot.core.record import quick
from coinslot.errors import UsageError

# A body is held in memory while it is bound to a challenge and to a payment; larger ones answer 413 or opt out.
MAX_BOUND_BODY = 1024 * 1024
# Vouchers come to the same few paths; what is remembered of them is 1 MB at most. F28
REMEMBERED_PATHS = 1024
REMEMBERED_PATH_CHARS = 256
# They hold the payment itself: what asked without one comes again with it.
_PRESENTING = frozenset(["authorization", "payment-authorization"])
# Names as Incoming has them; nothing stands under any other.
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+\Z")


@quick
@dataclass(frozen=True, slots=True)
class Incoming:
    """`path` is decoded as the application routes it, `query` raw, header names lower-case, each with all its values.

    `body` is whole, or None where the price does not bind it. `manages`: the route has no content for this method; the
    request may only be about the channel that pays it. `commits`: its door takes commits of deliveries, too.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=b"", repr=False)
    manages: bool = False
    commits: bool = False

    @property
    def bodiless(self) -> bool:
        """Whether it came without a body, as far as its headers tell where the body was not read."""
        if self.body is not None:
            return not self.body
        return self.headers.get("content-length", ("0",)) == ("0",) and "transfer-encoding" not in self.headers

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a header."""
        return self.headers.get(name, ())

    def one(self, name: str) -> str | None:
        """The values of a list-valued header as one, or None."""
        values = self.headers.get(name)
        return ", ".join(values) if values else None


class Watched(Mapping[str, tuple[str, ...]]):
    """Header fields for a pricing function, and which of them it looked at, present or not: its price is for those.

    Raises UsageError for a function that goes through all of them: those that are not there could not be bound. T03
    """

    def __init__(self, headers: Mapping[str, tuple[str, ...]]) -> None:
        self._headers = headers
        self._names: set[str] = set()

    def __getitem__(self, name: str) -> tuple[str, ...]:
        self._names.add(name)
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        raise UsageError("a price looks up header fields by name, such as request.one('accept')")

    def __len__(self) -> int:
        return len(self._headers)

    @property
    def names(self) -> tuple[str, ...]:
        """What was looked at, in order."""
        return tuple(sorted(name for name in self._names - _PRESENTING if _NAME.match(name)))


def scope(request: Incoming, looked_at: Sequence[str] = ()) -> str:
    """What a charge is bound to besides its terms and body: method, concrete path and query, and the header fields
    that its price was made of. T03 T42

    Length-prefixed, so that no two requests share an input; 43 characters of base64url.
    """
    parts = [request.method, request.path, request.query]
    for name in looked_at:  # T03
        values = request.all(name)
        parts += [name, str(len(values)), *values]
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogateescape")
        hashed.update(b"%d:" % len(raw))
        hashed.update(raw)
    return base64url_encode(hashed.digest())


def path_scope(request: Incoming) -> str:
    """What a session's challenge is bound to besides its terms: the concrete path, whatever is asked there. T03"""
    path = request.path
    return _short_path_scope(path) if len(path) <= REMEMBERED_PATH_CHARS else _path_scope(path)


def _path_scope(text: str) -> str:
    path = text.encode("utf-8", "surrogateescape")
    return base64url_encode(hashlib.sha256(b"session:%d:" % len(path) + path).digest())


_short_path_scope = lru_cache(maxsize=REMEMBERED_PATHS)(_path_scope)


def request_hash(request: Incoming, realm: str, looked_at: Sequence[str] = ()) -> str:
    """What a payment is for, body included where it is bound: the identity that an Idempotency-Key stands for.

    With the realm, since several services may share a store. T12
    """
    hashed = hashlib.sha256(scope(request, looked_at).encode("ascii"))
    hashed.update(hashlib.sha256(realm.encode("utf-8")).digest())
    hashed.update(b"unbound" if request.body is None else hashlib.sha256(request.body).digest())
    return base64url_encode(hashed.digest())
