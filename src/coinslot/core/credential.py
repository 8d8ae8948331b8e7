"""The credential: what a client claims to have paid (CORE section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from coinslot.core.canonical import MAX_WIRE_BYTES, base64url_decode, encode_object, parse_object
from coinslot.core.challenge import Challenge, from_members
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
            raise MalformedCredential(f"payload: {error}") from error


class _Wire(msgspec.Struct, frozen=True):
    challenge: dict[str, Any]
    payload: msgspec.Raw
    source: str | None = None


_decoder = msgspec.json.Decoder(_Wire)


def decode_credential(token: str) -> Credential:
    """A credential from its base64url token. Raises MalformedCredential, which never repeats the token. T38"""
    if len(token) > MAX_WIRE_BYTES:
        raise MalformedCredential(f"a credential of more than {MAX_WIRE_BYTES} characters")
    try:
        wire = _decoder.decode(base64url_decode(token))
        challenge = from_members(wire.challenge)
    except (MalformedHeader, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error) if isinstance(error, MalformedHeader) else "not the JSON object of a credential"
        raise MalformedCredential(reason) from None
    if wire.source is not None and len(wire.source) > MAX_SOURCE_CHARS:
        raise MalformedCredential("source is too long")
    payload = bytes(wire.payload)
    if not payload.startswith(b"{"):
        raise MalformedCredential("payload is not an object")
    return Credential(challenge, payload, wire.source)


def find_credential(authorization: Iterable[str], alternate: Iterable[str]) -> Credential | None:
    """The one credential of a request, from its Authorization and Payment-Authorization fields.

    Raises BadRequest for several (CORE-122: a client sends one), MalformedCredential for one that can't be read or that
    stands in another header than its challenge asked for (T42).
    """
    try:
        plain, moved = payment_tokens(authorization), payment_tokens(alternate)
    except MalformedHeader as error:
        raise MalformedCredential(str(error)) from None
    if len(plain) + len(moved) > 1:
        raise BadRequest("several Payment credentials in one request; send one")
    if not plain and not moved:
        return None
    credential = decode_credential((plain or moved)[0])
    if (credential.challenge.header is not None) != bool(moved):
        raise MalformedCredential("the credential stands in another header than its challenge names")
    return credential


def encode_credential(challenge: Challenge, payload: Mapping[str, Any], source: str | None) -> str:
    """The header value `Payment TOKEN` for a challenge, echoed as it came, and the method's proof."""
    members: dict[str, Any] = {"challenge": challenge.echo(), "payload": payload}
    if source is not None:
        members["source"] = source
    return f"Payment {encode_object(members)}"
