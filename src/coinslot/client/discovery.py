"""Reading what services say of their prices (document DISC), in both forms that are allowed.

It is an advertisement: good for showing and comparing, never for paying. Only a 402 says what is asked, and nothing
read here enters a payment; nobody has signed it, and it may be old.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from coinslot.errors import MalformedHeader

# What registries read of a document at most (DISC "Registries").
MAX_DOCUMENT_BYTES = 64 * 1024
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,77})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Advertised:
    """One way to pay for an operation. `amount_units` is in base units of the currency, None where it depends."""

    intent: str
    method: str
    amount_units: int | None
    currency: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """An HTTP method and path template, and the ways to pay for it: alternatives, one of which will do."""

    verb: str
    path: str
    offers: tuple[Advertised, ...]


def read_discovery(raw: bytes) -> tuple[Operation, ...]:
    """The payable operations of an OpenAPI document; what can't be read is passed over.

    Raises MalformedHeader for what is no such document.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise MalformedHeader(f"a discovery document of more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedHeader("a discovery document that is not JSON") from None
    paths = _object(_object(document).get("paths"))
    if not str(_object(document).get("openapi", "")).startswith("3."):
        raise MalformedHeader("not an OpenAPI 3 document")
    found = []
    for path, item in paths.items():
        for verb, operation in _object(item).items():
            info = _object(operation).get("x-payment-info")
            offers = read_offers(info) if verb in _METHODS else ()
            if offers:
                found.append(Operation(verb.upper(), path, offers))
    return tuple(found)


def read_offers(info: object) -> tuple[Advertised, ...]:
    """The offers of an x-payment-info object: a list, or one offer by itself. Unreadable ones are passed over."""
    members = _object(info)
    listed = members.get("offers") if "offers" in members else [members]
    found = [_offer(_object(one)) for one in listed] if isinstance(listed, list) else []
    return tuple(one for one in found if one is not None)


def _offer(members: Mapping[str, object]) -> Advertised | None:
    intent, method, amount = members.get("intent"), members.get("method"), members.get("amount")
    if intent not in ("charge", "session") or not isinstance(method, str) or "amount" not in members:
        return None
    if amount is not None and not (isinstance(amount, str) and _AMOUNT.match(amount)):
        return None
    units = None if amount is None else int(str(amount))
    return Advertised(str(intent), method, units, _text(members.get("currency")), _text(members.get("description")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
