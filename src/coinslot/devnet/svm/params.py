"""Reading what clients ask for: nothing is taken for what it isn't, and refusals read as a node's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from solders.pubkey import Pubkey
from solders.signature import Signature

from coinslot.devnet.door import INVALID_PARAMS
from coinslot.devnet.svm.chain import Chain, Commitment
from coinslot.errors import RpcRefused

INVALID_REQUEST = -32600
MIN_CONTEXT_SLOT = -32016
MAX_U64 = 2**64 - 1
# A real node answers as finalized where nothing is said. Here that would make everybody wait for 13 seconds who reads
# what was paid a moment ago, so it is the commitment that payments are taken at.
DEFAULT_COMMITMENT: Commitment = "confirmed"
# The names of old, which nodes still take.
_COMMITMENTS: Mapping[str, Commitment] = {
    "processed": "processed",
    "recent": "processed",
    "confirmed": "confirmed",
    "single": "confirmed",
    "singleGossip": "confirmed",
    "finalized": "finalized",
    "max": "finalized",
    "root": "finalized",
}


def refusal(message: str, code: int = INVALID_PARAMS, data: object = None) -> RpcRefused:
    """What a method raises to be answered as an error."""
    return RpcRefused(message, code=code, data=data)


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one call."""

    values: Sequence[object]

    def __getitem__(self, place: int) -> object:
        """A parameter, None where it is missing."""
        return self.values[place] if place < len(self.values) else None

    def text(self, place: int) -> str:
        """A text. Raises RpcRefused."""
        return text(self[place], f"parameter {place + 1}")

    def address(self, place: int) -> Pubkey:
        """An address. Raises RpcRefused."""
        return address(self[place])

    def integer(self, place: int, least: int = 0, most: int = MAX_U64) -> int:
        """An integer in a range. Raises RpcRefused."""
        return integer(self[place], f"parameter {place + 1}", least, most)

    def config(self, place: int) -> Config:
        """The object of options, empty where it is missing. Raises RpcRefused."""
        value = self[place]
        if value is None:
            return Config({})
        if not isinstance(value, dict):
            raise refusal("Invalid params: expected an object of options")
        return Config(cast("Mapping[str, object]", value))


@dataclass(frozen=True, slots=True)
class Config:
    """The options of one call."""

    fields: Mapping[str, object]

    def commitment(self, name: str = "commitment", default: Commitment = DEFAULT_COMMITMENT) -> Commitment:
        """A commitment. Raises RpcRefused."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in _COMMITMENTS:
            raise refusal(f"Invalid params: unknown variant `{value}`, expected `processed`, `confirmed`, `finalized`.")
        return _COMMITMENTS[value]

    def flag(self, name: str) -> bool:
        """A bool, False where it is missing. Raises RpcRefused."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise refusal(f"Invalid params: {name} is true or false.")
        return bool(value)

    def integer(self, name: str, least: int = 0, most: int = MAX_U64) -> int | None:
        """An integer in a range, None where it is missing. Raises RpcRefused."""
        value = self.fields.get(name)
        return None if value is None else integer(value, name, least, most)

    def text(self, name: str) -> str | None:
        """A text, None where it is missing. Raises RpcRefused."""
        value = self.fields.get(name)
        return None if value is None else text(value, name)

    def config(self, name: str) -> Config | None:
        """An object within, None where it is missing. Raises RpcRefused."""
        return None if self.fields.get(name) is None else Params([self.fields[name]]).config(0)

    def items(self, name: str) -> Sequence[object]:
        """A list, empty where it is missing. Raises RpcRefused."""
        return listed(self.fields.get(name, ()), name)

    def require_slot(self, chain: Chain) -> None:
        """Refuse as a node does that is behind `minContextSlot`."""
        least = self.integer("minContextSlot")
        if least is not None and chain.slots.slot < least:
            data = {"contextSlot": chain.slots.slot}
            raise refusal("Minimum context slot has not been reached", MIN_CONTEXT_SLOT, data)


def text(value: object, name: str) -> str:
    """A text. Raises RpcRefused."""
    if not isinstance(value, str):
        raise refusal(f"Invalid params: {name} is a string.")
    return value


def integer(value: object, name: str, least: int = 0, most: int = MAX_U64) -> int:
    """An integer in a range. Raises RpcRefused."""
    if type(value) is not int or not least <= value <= most:
        raise refusal(f"Invalid params: {name} is an integer from {least} to {most}.")
    return value


def units(value: object, name: str) -> int:
    """Base units as a JSON integer or as decimal text. Raises RpcRefused."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_U64)):
        value = int(value)
    return integer(value, name)


def listed(value: object, name: str) -> Sequence[object]:
    """A list. Raises RpcRefused."""
    if not isinstance(value, list | tuple):
        raise refusal(f"Invalid params: {name} is a list.")
    return value


def address(value: object) -> Pubkey:
    """The 32 bytes of an address. Raises RpcRefused."""
    try:
        return Pubkey.from_string(text(value, "an address"))
    except ValueError as error:
        raise refusal("Invalid param: Invalid") from error


def signature(value: object) -> str:
    """A signature in its one spelling. Raises RpcRefused."""
    try:
        return str(Signature.from_string(text(value, "a signature")))
    except ValueError as error:
        raise refusal("Invalid param: Invalid") from error
