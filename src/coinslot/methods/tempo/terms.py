"""What a tempo charge asks: the request object, read strictly and written once (TCHG "Request Schema").

Addresses travel in either case and are compared by value; inside they are lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coinslot.chains.evm.address import ZERO_ADDRESS, parse_address
from coinslot.chains.evm.hexdata import parse_hex
from coinslot.errors import UsageError
from coinslot.intents.charge import Payee, Terms
from coinslot.intents.members import read_flag, read_object, read_splits
from coinslot.money import Asset, parse_units

PULL = "pull"
PUSH = "push"
MODES = (PULL, PUSH)
# More would not fit comfortably into one transaction (TCHG-019).
MAX_SPLITS = 10
# No TIP-20 token can hold more (its supply cap is a uint128).
MAX_AMOUNT = 2**128 - 1
# Chain ids travel as JSON numbers, which are exact only up to here in every reader.
MAX_CHAIN_ID = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Leg:
    """One transfer that must happen. `memo` is 32 bytes that it must carry, None where none is asked for."""

    recipient: str
    amount_units: int
    memo: bytes | None = None


@dataclass(frozen=True, slots=True)
class TempoTerms(Terms):
    """A charge on one Tempo chain. `legs` are the transfers, the primary one first; none for a charge of zero.

    `sponsored`: the server pays the fee. `modes` are the ways in which it may be paid.
    """

    chain_id: int
    legs: tuple[Leg, ...]
    sponsored: bool
    modes: frozenset[str]
    external_id: str | None = None

    @property
    def custom_memo(self) -> bool:
        """Whether the server asks for a memo of its own, which binds the transfer to no challenge."""
        return bool(self.legs) and self.legs[0].memo is not None


def read_terms(request: Mapping[str, Any], asset_of: Callable[[int, str], Asset]) -> TempoTerms:
    """The terms of a request object; `asset_of` names the asset of a chain id and address.

    Raises UsageError, which names the member that can't be right.
    """
    details = read_object(request.get("methodDetails", {}), "methodDetails")
    chain_id = _chain_id(details.get("chainId"))
    currency = _address(request.get("currency"), "currency")
    recipient = _address(request.get("recipient"), "recipient")
    amount = _amount(request.get("amount"), "amount")
    splits = read_splits(details, amount, MAX_SPLITS, _split)  # TCHG-012 to TCHG-018
    rest = amount - sum(leg.amount_units for leg in splits)
    legs = (Leg(recipient, rest, _memo(details, "methodDetails.memo")), *splits) if amount else ()
    return TempoTerms(
        asset=asset_of(chain_id, currency),
        amount_units=amount,
        payees=tuple(Payee(leg.recipient, leg.amount_units) for leg in legs) or (Payee(recipient, 0),),
        chain_id=chain_id,
        legs=legs,
        sponsored=read_flag(details, "feePayer"),
        modes=_modes(details),
        external_id=_text(request, "externalId"),
    )


def _chain_id(value: object) -> int:
    # The document's default differs from every SDK's (42431, 4217): a payment on the wrong chain can't be undone.
    if type(value) is not int or not 0 < value <= MAX_CHAIN_ID:
        raise UsageError("methodDetails.chainId is missing or not a chain's number")
    return value


def _address(value: object, name: str) -> str:
    try:
        address = parse_address(value.lower() if type(value) is str else value)
    except UsageError:
        raise UsageError(f"{name} is not an address") from None
    if address == ZERO_ADDRESS:
        raise UsageError(f"{name} is the zero address")
    return address


def _amount(value: object, name: str) -> int:
    try:
        units = parse_units(value)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if units > MAX_AMOUNT:
        raise UsageError(f"{name} is more than a token can hold")
    return units


def _memo(holder: Mapping[str, Any], name: str) -> bytes | None:
    value = holder.get("memo")
    if value is None:
        return None
    try:
        return parse_hex(value, size=32)
    except UsageError:
        raise UsageError(f"{name} is not 32 bytes of hex") from None


def _split(entry: Mapping[str, Any]) -> Leg:
    units = _amount(entry.get("amount"), "splits.amount")
    if units == 0:
        raise UsageError("splits.amount is zero")
    return Leg(_address(entry.get("recipient"), "splits.recipient"), units, _memo(entry, "splits.memo"))


def _modes(details: Mapping[str, Any]) -> frozenset[str]:
    """The modes offered; absent means both (TCHG "Submission Modes"). Modes that we don't know are passed over."""
    value = details.get("supportedModes")
    if value is None:
        return frozenset(MODES)
    modes = frozenset(mode for mode in value if mode in MODES) if isinstance(value, list) else frozenset()
    if not modes:  # TCHG-008
        raise UsageError("methodDetails.supportedModes names neither pull nor push")
    return modes


def _text(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is not None and type(value) is not str:
        raise UsageError(f"{name} is not text")
    return value
