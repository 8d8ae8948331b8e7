"""The challenge: what a server offers, bound to its own secret so that it needs no memory (CORE section 5.1).

`request` and `opaque` keep the text that travelled; the MAC and the echo use that text, never a re-encoding of it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coinslot.core.canonical import base64url_encode, decode_object
from coinslot.core.header import Part, payment_parts, quote
from coinslot.errors import MalformedHeader, UsageError

# HMAC-SHA256 gains nothing from more, and is guessable with less (NIST SP 800-107). T11
MIN_KEY_BYTES = 32
# The parameter that moves the credential out of the way of other Authorization schemes, and its only value.
ALTERNATE_HEADER = "Payment-Authorization"
# A challenge echoes into every credential; eight of these fit the field limit.
MAX_REALM_CHARS = 255
MAX_DESCRIPTION_CHARS = 512

_METHOD = re.compile(r"[a-z]+\Z", re.ASCII)
_INTENT = re.compile(r"[A-Za-z0-9-]+\Z", re.ASCII)
# A slot may not hold the separator, or two different challenges could have one MAC input; nor line breaks. T09
_UNSAFE_SLOT = re.compile(r"[|\x00-\x1f\x7f]")
_REQUIRED = ("id", "realm", "method", "intent", "request")
_OPTIONAL = ("expires", "digest", "opaque", "header", "description")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What was offered. `request` and `opaque` are base64url text; `expires` is RFC 3339 text; absent is None."""

    id: str
    realm: str
    method: str
    intent: str
    request: str
    expires: str | None = None
    digest: str | None = None
    opaque: str | None = None
    header: str | None = None
    description: str | None = None

    def request_object(self) -> dict[str, Any]:
        """The request, decoded strictly. Raises MalformedHeader."""
        return decode_object(self.request)

    def opaque_map(self) -> dict[str, str]:
        """The opaque value as the map of strings that the document asks for. Raises MalformedHeader."""
        members = decode_object(self.opaque) if self.opaque else {}
        if not all(isinstance(value, str) for value in members.values()):
            raise MalformedHeader("opaque is not a map of strings")
        return members

    def echo(self) -> dict[str, str]:
        """The members a credential carries back, as they came."""
        echo = {name: getattr(self, name) for name in (*_REQUIRED, *_OPTIONAL)}
        return {name: value for name, value in echo.items() if value is not None}


def _mac_input(challenge: Challenge) -> bytes:
    slots = [
        challenge.realm,
        challenge.method,
        challenge.intent,
        challenge.request,
        challenge.expires or "",
        challenge.digest or "",
    ]
    if challenge.header is not None:  # deployed SDKs put this slot before opaque, and only where it is used
        slots.append(challenge.header)
    slots.append(challenge.opaque or "")
    text = "|".join(slots)
    if text.count("|") != len(slots) - 1 or _UNSAFE_SLOT.search(text.replace("|", "")):
        raise UsageError("a challenge field holds '|' or a control character")
    return text.encode("utf-8")


def bind(key: bytes, challenge: Challenge) -> str:
    """The id that belongs to these fields under a key (CORE 5.1.2.1). Raises UsageError for fields that can't be bound."""
    return base64url_encode(hmac.digest(key, _mac_input(challenge), "sha256"))


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The server's secrets: the first signs, all are accepted, so that a rotation drops no payment in flight. T11

    `keys` are raw bytes, 32 or more each, all different. Raises UsageError.
    """

    keys: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.keys or any(len(key) < MIN_KEY_BYTES for key in self.keys):
            raise UsageError(
                f"a challenge secret needs {MIN_KEY_BYTES} bytes or more, from a random generator"
            )
        if any(len(set(key)) < 8 for key in self.keys):  # noqa: PLR2004 - "aaaa...", "changeme" repeated and the like
            raise UsageError("a challenge secret must be random; this one repeats a few characters")
        if len(set(self.keys)) != len(self.keys):
            raise UsageError("the same challenge secret is listed twice")

    def issue(self, challenge: Challenge) -> Challenge:
        """The challenge with its id. Raises UsageError if a field can't travel."""
        if not _METHOD.match(challenge.method) or not _INTENT.match(challenge.intent):
            raise UsageError("a method is lower-case letters, an intent letters, digits and '-'")
        if not challenge.expires:
            raise UsageError("a challenge without an end would be payable for ever")
        ident = bind(self.keys[0], challenge)
        return Challenge(ident, *(getattr(challenge, name) for name in (*_REQUIRED[1:], *_OPTIONAL)))

    def issued(self, challenge: Challenge) -> bool:
        """Whether one of our keys bound these very fields. Compares in constant time. T19"""
        try:
            text = _mac_input(challenge)
        except (UsageError, UnicodeEncodeError):
            return False
        given = challenge.id.encode("utf-8", "replace")
        matches = [
            hmac.compare_digest(base64url_encode(hmac.digest(key, text, "sha256")).encode("ascii"), given)
            for key in self.keys
        ]
        return any(matches)


def from_members(members: Mapping[str, object]) -> Challenge:
    """A challenge from named values, unknown names ignored (CORE-035). Raises MalformedHeader, naming the member."""
    values: list[str | None] = []
    for name in _REQUIRED:
        value = members.get(name)
        if not isinstance(value, str) or not value:
            raise MalformedHeader(f"a challenge without {name}")
        values.append(value)
    for name in _OPTIONAL:
        value = members.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedHeader(f"a challenge whose {name} is not text")
        values.append(value)
    return Challenge(*values)  # type: ignore[arg-type]  # the required five are str by the loop above


def _from_part(part: Part) -> Challenge:
    members = dict(part.parameters)
    if len(members) != len(part.parameters):
        raise MalformedHeader("a challenge with a parameter twice")
    challenge = from_members(members)
    if not _METHOD.match(challenge.method) or not _INTENT.match(challenge.intent):
        raise MalformedHeader("a challenge with an impossible method or intent")
    challenge.request_object()
    return challenge


def parse_challenges(fields: Iterable[str]) -> tuple[list[Challenge], list[MalformedHeader]]:
    """The readable challenges of WWW-Authenticate fields in order, and why the others can't be read."""
    good: list[Challenge] = []
    bad: list[MalformedHeader] = []
    for part in payment_parts(fields):
        try:
            good.append(_from_part(part))
        except MalformedHeader as error:
            bad.append(error)
    return good, bad


def parse_challenge(value: str) -> Challenge:
    """The one challenge of a field. Raises MalformedHeader if there is none, several, or it can't be read."""
    good, bad = parse_challenges([value])
    if bad:
        raise bad[0]
    if len(good) != 1:
        raise MalformedHeader("not exactly one Payment challenge")
    return good[0]


def format_challenge(challenge: Challenge) -> str:
    """The field value. Raises MalformedHeader for text that can't stand in a header (CR, LF, non-ASCII)."""
    if not challenge.id:
        raise MalformedHeader("a challenge without id")
    named = ((name, getattr(challenge, name)) for name in (*_REQUIRED, *_OPTIONAL))
    return "Payment " + ", ".join(f"{name}={quote(value)}" for name, value in named if value is not None)
