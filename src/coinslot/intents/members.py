"""Reading members of a request object that mean the same on any method (CHG, SES "Shared Fields").

Every reader raises UsageError with the member's name and never repeats its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from coinslot.errors import UsageError


class Part(Protocol):
    """A part of a charge, for one payee."""

    @property
    def amount_units(self) -> int:
        """How much, in base units."""


P = TypeVar("P", bound=Part)


def read_object(value: object, name: str) -> Mapping[str, Any]:
    """A JSON object."""
    if type(value) is not dict and not isinstance(value, Mapping):  # to ask an abstract class takes half a microsecond
        raise UsageError(f"{name} is missing or not an object")
    return value


def read_flag(holder: Mapping[str, Any], name: str) -> bool:
    """true or false; absent is false, null is neither."""
    value = holder.get(name, False)
    if type(value) is not bool:
        raise UsageError(f"{name} is neither true nor false")
    return value


def read_splits(
    details: Mapping[str, Any], amount_units: int, most: int, read: Callable[[Mapping[str, Any]], P]
) -> tuple[P, ...]:
    """The parts of a charge that others than its recipient get, each as `read` has it: `most` of them at the most, and
    they leave something of `amount_units` for the recipient.
    """
    value = details.get("splits")
    if value is None:
        return ()
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise UsageError(f"splits are not a list of 1 to {most} entries")
    parts = tuple(read(read_object(entry, "an entry of splits")) for entry in value)
    if sum(part.amount_units for part in parts) >= amount_units:
        raise UsageError("the splits leave nothing for the recipient")
    return parts
