"""The receipt: the server's word that a payment was verified and settled (CORE section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from coinslot.core.canonical import decode_object, encode_object, unpadded
from coinslot.core.instant import parse_instant
from coinslot.core.record import quick
from coinslot.errors import MalformedHeader

SUCCESS = "success"
_OWN = ("status", "method", "timestamp", "reference")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@quick
@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """`reference` is the method's own (a transaction hash), `timestamp` RFC 3339 text, `extra` what the method adds.

    `header` is what `encode` gives, where its maker has written it already (`canonical.encode_ordered`).
    """

    method: str
    reference: str
    timestamp: str
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    header: str | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        """Whether it says the same."""
        return self.members() == other.members() if isinstance(other, Receipt) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what the method adds has none

    def members(self) -> dict[str, Any]:
        """As JSON; `status` is always "success" (CORE-046): there are no receipts of failures."""
        return {
            **self.extra,
            "status": SUCCESS,
            "method": self.method,
            "timestamp": self.timestamp,
            "reference": self.reference,
        }

    def encode(self) -> str:
        """The value of a Payment-Receipt header."""
        return self.header or encode_object(self.members())


def receipt_from(members: Mapping[str, Any]) -> Receipt:
    """A receipt from its JSON object, unknown members kept in `extra`. Raises MalformedHeader."""
    texts = {name: members.get(name) for name in _OWN}
    if texts["status"] != SUCCESS:
        raise MalformedHeader("a receipt that does not say success")
    for name, value in texts.items():
        if not isinstance(value, str) or not value:
            raise MalformedHeader(f"a receipt without {name}")
    parse_instant(str(texts["timestamp"]))
    extra = {name: value for name, value in members.items() if name not in _OWN}
    return Receipt(str(texts["method"]), str(texts["reference"]), str(texts["timestamp"]), MappingProxyType(extra))


def decode_receipt(value: str) -> Receipt:
    """A receipt from the value of its header. Raises MalformedHeader."""
    return receipt_from(decode_object(unpadded(value.strip())))
