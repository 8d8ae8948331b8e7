"""The credential: what a client claims to have paid (CORE section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from coinslot.core.canonical import MAX_WIRE_BYTES, base64url_decode, encode_object, parse_object, unpadded
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge
from coinslot.core.header import payment_tokens
from coinslot.core.record import quick
from coinslot.errors import BadRequest, MalformedCredential, MalformedHeader

# Longer sources are no DID we know; the text goes into the ledger.
MAX_SOURCE_CHARS = 512
# Voucher after voucher of a session echoes one challenge, some 700 bytes: so many are kept read, 10 MB at most. F28
KEPT_ECHOES = 2048
KEPT_ECHO_BYTES = 2048
# How plain JSON says that a challenge will be echoed again; others are answered once, and would only push those out.
_AGAIN = b'"intent":"session"'


@quick
@dataclass(frozen=True, slots=True)
class Credential:
    """A claim: the echoed challenge, who says to pay, and the method's proof as raw JSON text.

    `payload` is parsed on demand, strictly, once the challenge is known to be ours. The token itself is not kept.
    """

    challenge: Challenge
    payload: bytes = field(repr=False)
    source: str | None = None

    def payload_object(self) -> dict[str, Any]:
        """The method's proof. Raises MalformedCredential."""
        try:
            return parse_object(self.payload)
        except MalformedHeader as error:
            raise MalformedCredential(f"payload: {error}") from None


class _WireChallenge(msgspec.Struct, frozen=True, omit_defaults=True):
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


class _Wire(msgspec.Struct, frozen=True, omit_defaults=True):
    challenge: msgspec.Raw
    payload: msgspec.Raw
    source: str | None = None


# Decoding into known fields does in C what from_members does in Python, and costs a quarter.
_wire = msgspec.json.Decoder(_Wire)
_wire_challenge = msgspec.json.Decoder(_WireChallenge)
_encoder = msgspec.json.Encoder()


def _require_once(raw: bytes, told: _Wire | _WireChallenge) -> None:
    """That no member of this object stands twice. Raises MalformedHeader.

    The fast decoder keeps the last of two members. But whatever it drops is missing when its answer is written again,
    and nothing grows in between: as many bytes as before mean that nothing was dropped. Else (unknown members, spaces,
    escapes) the slow, strict parser looks.
    """
    if len(_encoder.encode(told)) != len(raw):
        parse_object(raw)  # T09


def _read_challenge(raw: bytes) -> Challenge:
    """The echoed challenge. Raises ValueError, RecursionError, MalformedHeader, MalformedCredential."""
    told = _wire_challenge.decode(raw)
    _require_once(raw, told)
    if not (told.id and told.realm and told.method and told.intent and told.request):
        raise MalformedCredential("a challenge whose id, realm, method, intent or request is empty")
    if "" in (told.expires, told.digest, told.opaque, told.header):  # T09: see from_members
        raise MalformedCredential("a challenge with an empty member")
    return Challenge(
        told.id, told.realm, told.method, told.intent, told.request,
        told.expires, told.digest, told.opaque, told.header, told.description,
    )  # fmt: skip


# The same bytes, the same challenge: reading says nothing of who issued it.
_known_challenge = lru_cache(maxsize=KEPT_ECHOES)(_read_challenge)


def _read(raw: bytes) -> Credential:
    """A credential from its JSON. What it raises besides MalformedCredential may hold the text."""
    wire = _wire.decode(raw)
    _require_once(raw, wire)
    if wire.source is not None and len(wire.source) > MAX_SOURCE_CHARS:
        raise MalformedCredential("source is too long")
    payload, echo = bytes(wire.payload), bytes(wire.challenge)
    if payload[:1] != b"{":
        raise MalformedCredential("payload is not an object")
    kept = len(echo) <= KEPT_ECHO_BYTES and _AGAIN in echo  # F28
    return Credential(_known_challenge(echo) if kept else _read_challenge(echo), payload, wire.source)


def decode_credential(token: str) -> Credential:
    """A credential from its base64url token. Raises MalformedCredential, which never repeats the token."""
    if len(token) > MAX_WIRE_BYTES:  # T41
        raise MalformedCredential(f"a credential of more than {MAX_WIRE_BYTES} characters")
    try:
        return _read(base64url_decode(unpadded(token)))
    except MalformedHeader as error:
        raise MalformedCredential(str(error)) from None
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; their contexts may hold the text
        raise MalformedCredential("not the JSON object of a credential") from None  # T38


def find_credential(authorization: Iterable[str], alternate: Iterable[str]) -> Credential | None:
    """The one credential of a request, from its Authorization and Payment-Authorization fields.

    Raises BadRequest for several (CORE-122: a client sends one), MalformedCredential for one that can't be read or that
    stands in another header than its challenge asked for.
    """
    try:
        plain = payment_tokens(authorization)
        moved = payment_tokens(alternate) if alternate else []
    except MalformedHeader as error:
        raise MalformedCredential(str(error)) from None
    if len(plain) + len(moved) > 1:  # T40
        raise BadRequest("several Payment credentials in one request; send one")
    if not plain and not moved:
        return None
    credential = decode_credential((plain or moved)[0])
    named = (credential.challenge.header or "Authorization").lower()
    if named != (ALTERNATE_HEADER.lower() if moved else "authorization"):  # T42
        raise MalformedCredential("the credential stands in another header than its challenge names")
    return credential


def encode_credential(challenge: Challenge, payload: Mapping[str, Any], source: str | None) -> str:
    """The header value `Payment TOKEN` for a challenge, echoed as it came, and the method's proof."""
    members: dict[str, Any] = {"challenge": challenge.echo(), "payload": payload}
    if source is not None:
        members["source"] = source
    return f"Payment {encode_object(members)}"
