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
from coinslot.core.header import Part, payment_parts, printable_ascii, quote
from coinslot.core.record import quick
from coinslot.errors import MalformedHeader, UsageError

# HMAC-SHA256 gains nothing from more, and is guessable with less (NIST SP 800-107).
MIN_KEY_BYTES = 32
# The parameter that moves the credential out of the way of other Authorization schemes, and its only value: whoever
# lets a server name any header lets it overwrite Host or Cookie.
ALTERNATE_HEADER = "Payment-Authorization"
# A challenge echoes into every credential; eight of these fit the field limit.
MAX_REALM_CHARS = 255
MAX_DESCRIPTION_CHARS = 512

_METHOD = re.compile(r"[a-z]+\Z", re.ASCII)
_INTENT = re.compile(r"[A-Za-z0-9-]+\Z", re.ASCII)
_REQUIRED = ("id", "realm", "method", "intent", "request")
_OPTIONAL = ("expires", "digest", "opaque", "header", "description")
# The order in which parameters are written, that of deployed SDKs: fields equal theirs byte for byte.
_WRITTEN = (*_REQUIRED, "description", "digest", "expires", "header", "opaque")


@quick
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

    def written(self) -> dict[str, str]:
        """The parameters that are there, by name, in the order in which they are written."""
        values = (
            self.id, self.realm, self.method, self.intent, self.request,
            self.description, self.digest, self.expires, self.header, self.opaque,
        )  # fmt: skip  # one by one: getattr in a loop costs three times as much
        return {name: value for name, value in zip(_WRITTEN, values, strict=True) if value is not None}

    def echo(self) -> dict[str, str]:
        """The members a credential carries back, as they came (CORE section 5.2)."""
        return self.written()


def _mac_input(challenge: Challenge) -> bytes:
    """Slots joined by "|" (CORE section 5.1.2.1). Injective: a slot may hold neither "|" nor control characters. T09

    Deployed SDKs put the `header` slot before `opaque`, and only where it is used.
    """
    moved = "" if challenge.header is None else f"|{challenge.header}"
    text = (
        f"{challenge.realm}|{challenge.method}|{challenge.intent}|{challenge.request}|{challenge.expires or ''}"
        f"|{challenge.digest or ''}{moved}|{challenge.opaque or ''}"
    )
    if text.count("|") != 6 + bool(moved) or not printable_ascii(text):
        raise UsageError("a challenge field holds '|', a control character or something outside ASCII")
    return text.encode("ascii")


def _prepared(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def _mac(keyed: hmac.HMAC, text: bytes) -> str:
    mac = keyed.copy()
    mac.update(text)
    return base64url_encode(mac.digest())


def bind(key: bytes, challenge: Challenge) -> str:
    """The id of these fields under a key (CORE section 5.1.2.1). Raises UsageError if they can't be bound."""
    return _mac(_prepared(key), _mac_input(challenge))


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The server's secrets: the first signs, all are accepted, so that a rotation drops no payment in flight. T11 F23

    `keys` are raw bytes, 32 or more each, all different. Raises UsageError.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    # Each key hashed in once, to be copied for each challenge: a third less than keying every time.
    _keyed: tuple[hmac.HMAC, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.keys or any(len(key) < MIN_KEY_BYTES for key in self.keys):  # T11
            raise UsageError(f"a challenge secret needs {MIN_KEY_BYTES} bytes or more, from a random generator")
        if not all(isinstance(key, bytes) for key in self.keys):
            raise UsageError("a challenge secret is bytes, not text")
        if any(len(set(key)) < 8 for key in self.keys):  # "aaaa...", "changeme" repeated and the like
            raise UsageError("a challenge secret must be random; this one repeats a few characters")
        if len(set(self.keys)) != len(self.keys):
            raise UsageError("the same challenge secret is listed twice")
        object.__setattr__(self, "_keyed", tuple(map(_prepared, self.keys)))

    def issue(self, challenge: Challenge) -> Challenge:
        """The challenge with its id. Raises UsageError if a field can't travel."""
        if not _METHOD.match(challenge.method) or not _INTENT.match(challenge.intent):
            raise UsageError("a method is lower-case letters, an intent letters, digits and '-'")
        if not challenge.expires:  # T10
            raise UsageError("a challenge without an end would be payable for ever")
        if not 0 < len(challenge.realm) <= MAX_REALM_CHARS or not challenge.request:
            raise UsageError(f"a challenge needs a request, and a realm of up to {MAX_REALM_CHARS} characters")
        if challenge.header not in (None, ALTERNATE_HEADER) or "" in (challenge.digest, challenge.opaque):
            raise UsageError(f"header is {ALTERNATE_HEADER} or absent; digest and opaque are absent or not empty")
        if challenge.description is not None and len(challenge.description) > MAX_DESCRIPTION_CHARS:
            raise UsageError(f"a description of more than {MAX_DESCRIPTION_CHARS} characters")
        ident = _mac(self._keyed[0], _mac_input(challenge))
        return Challenge(
            ident, challenge.realm, challenge.method, challenge.intent, challenge.request,
            challenge.expires, challenge.digest, challenge.opaque, challenge.header, challenge.description,
        )  # fmt: skip  # one by one: dataclasses.replace costs four times as much

    def issued(self, challenge: Challenge) -> bool:
        """Whether one of our keys bound these very fields.

        Compares the id's text, so that no second spelling of an id passes for another challenge, in constant time.
        """
        try:
            text = _mac_input(challenge)
        except UsageError:
            return False
        if not challenge.id.isascii():  # compare_digest takes no other text
            return False
        for keyed in self._keyed:  # noqa: SIM110 - any() with its generator costs a tenth of the whole
            if hmac.compare_digest(_mac(keyed, text), challenge.id):  # T19
                return True  # which of our keys it was is no secret
        return False


def from_members(members: Mapping[str, object]) -> Challenge:
    """A challenge from named values, unknown names ignored (CORE-035). Raises MalformedHeader, naming the member.

    An empty value is no value: for the MAC absent and empty are one, so only one of them may pass. T09
    """
    values: list[str | None] = []
    for name in _REQUIRED:
        value = members.get(name)
        if not isinstance(value, str) or not value:
            raise MalformedHeader(f"a challenge without {name}")
        values.append(value)
    for name in _OPTIONAL:
        value = members.get(name)
        if value is not None and not (isinstance(value, str) and (value or name == "description")):
            raise MalformedHeader(f"a challenge whose {name} is empty or not text")
        values.append(value)
    return Challenge(*values)  # type: ignore[arg-type]  # the required five are str by the loop above


def _from_part(part: Part) -> Challenge:
    members = dict(part.parameters)
    if len(members) != len(part.parameters):  # T40
        raise MalformedHeader("a challenge with a parameter twice")
    challenge = from_members(members)
    if not _METHOD.match(challenge.method) or not _INTENT.match(challenge.intent):
        raise MalformedHeader("a challenge with an impossible method or intent")
    if challenge.header is not None and challenge.header.lower() != ALTERNATE_HEADER.lower():  # T42
        raise MalformedHeader("a challenge that wants its credential in a header of its own choice")
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
    """The field value. Raises MalformedHeader for text that can't stand in a header (CR, LF and their like)."""
    if not challenge.id:
        raise MalformedHeader("a challenge without id")
    named = challenge.written()
    text = ", ".join([f'{name}="{value}"' for name, value in named.items()])
    # The usual challenge needs no escapes, and one look at the whole tells: two quotes a parameter, no backslash.
    if text.count('"') != 2 * len(named) or "\\" in text or not printable_ascii(text):
        text = ", ".join([f"{name}={quote(value)}" for name, value in named.items()])  # T40
    return f"Payment {text}"
