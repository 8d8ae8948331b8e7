"""The credential: what a client claims to have paid (CORE section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from coinslot.core.canonical import MAX_WIRE_BYTES, base64url_decode, encode_object, parse_object
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge
from coinslot.core.header import payment_tokens
from coinslot.errors import BadRequest, MalformedCredential, MalformedHeader

# Longer sources are no DID we know; the text goes into the ledger.
MAX_SOURCE_CHARS = 512


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
    challenge: _WireChallenge
    payload: msgspec.Raw
    source: str | None = None


# Decoding into known fields does in C what from_members does in Python, and costs a quarter.
_decoder = msgspec.json.Decoder(_Wire)
_encoder = msgspec.json.Encoder()


def _read(raw: bytes) -> _Wire:
    """The fields of a credential; a member that stands twice is refused (in the payload, when that is read).

    The fast decoder keeps the last of two members. But whatever it drops is missing when its answer is written again,
    and nothing grows in between: as many bytes as before mean that nothing was dropped. Else (unknown members, spaces,
    escapes) the slow, strict parser looks.
    """
    wire = _decoder.decode(raw)
    if len(_encoder.encode(wire)) != len(raw):
        parse_object(raw)  # T09
    return wire


def decode_credential(token: str) -> Credential:
    """A credential from its base64url token. Raises MalformedCredential, which never repeats the token."""
    if len(token) > MAX_WIRE_BYTES:  # T41
        raise MalformedCredential(f"a credential of more than {MAX_WIRE_BYTES} characters")
    try:
        wire = _read(base64url_decode(token))
    except MalformedHeader as error:
        raise MalformedCredential(str(error)) from None
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; their contexts may hold the text
        raise MalformedCredential("not the JSON object of a credential") from None  # T38
    told = wire.challenge
    if not (told.id and told.realm and told.method and told.intent and told.request):
        raise MalformedCredential("a challenge whose id, realm, method, intent or request is empty")
    if "" in (told.expires, told.digest, told.opaque, told.header):  # T09: see from_members
        raise MalformedCredential("a challenge with an empty member")
    if wire.source is not None and len(wire.source) > MAX_SOURCE_CHARS:
        raise MalformedCredential("source is too long")
    payload = bytes(wire.payload)
    if payload[:1] != b"{":
        raise MalformedCredential("payload is not an object")
    challenge = Challenge(
        told.id, told.realm, told.method, told.intent, told.request,
        told.expires, told.digest, told.opaque, told.header, told.description,
    )  # fmt: skip
    return Credential(challenge, payload, wire.source)


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
