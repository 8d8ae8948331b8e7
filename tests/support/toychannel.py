"""What a session of the toy method asks and presents, as it travels: terms, payloads, snapshots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from coinslot.errors import MalformedCredential, UsageError
from coinslot.intents import acts, session
from coinslot.money import Asset, parse_units
from support.toyescrow import FLAVOURS, V1, V2, Descriptor, Escrowed, channel_id

# How long a transaction of a seller, or of a payer on its own, may still appear.
TRANSACTION_S = 60.0
NAME = "toy"
DECIMALS = 6
PEGS = {"coin": "USD", "shell": None}
# "v2" ignores a lower voucher and closes for what was spent; "v1" refuses it and takes all that the voucher says.
RULES = {
    V2: session.Rules(bits=96, lower=session.Repeat.IGNORE, capture=session.Capture.SPENT),
    V1: session.Rules(bits=128, lower=session.Repeat.REFUSE, capture=session.Capture.VOUCHER),
}
SNAPSHOT_HEADER = "payment-session-snapshot"
CHANNEL_HEADER = "payment-session"


def asset(identity: str, currency: str) -> Asset:
    """A currency of a bank: coin is worth a dollar, shell is worth what people make of it."""
    return Asset(f"toy:{identity}", currency, DECIMALS, currency.upper(), PEGS[currency])


def units_or_none(value: object) -> int | None:
    """Base units, or None where there is no member. Raises UsageError."""
    return None if value is None else parse_units(value)


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What a session asks: acts.Terms, with what only the toy knows."""

    asset: Asset
    recipient: str
    amount_units: int
    unit_type: str | None
    suggested_deposit_units: int | None
    bank: str
    flavour: str
    min_delta_units: int


def read_session_terms(request: Mapping[str, Any]) -> SessionTerms:
    """The terms of a request object. Raises UsageError."""
    details = request.get("methodDetails")
    if not isinstance(details, Mapping) or not isinstance(details.get("bank"), str):
        raise UsageError("a request without its bank")
    currency, recipient, unit = request.get("currency"), request.get("recipient"), request.get("unitType")
    if currency not in PEGS or not isinstance(recipient, str) or not recipient:
        raise UsageError("a request without a known currency or recipient")
    if details.get("flavour") not in FLAVOURS or not isinstance(unit, str | None):
        raise UsageError("a request without a known flavour, or with a strange unit")
    bank = str(details["bank"])
    return SessionTerms(
        asset(bank, str(currency)),
        recipient,
        parse_units(request.get("amount")),
        unit,
        units_or_none(request.get("suggestedDeposit")),
        bank,
        str(details["flavour"]),
        units_or_none(details.get("minVoucherDelta")) or 0,
    )


def read_descriptor(value: object) -> Descriptor:
    """A channel's parts. Raises UsageError."""
    names = set(Descriptor.__dataclass_fields__)
    if not isinstance(value, Mapping) or set(value) != names or not all(isinstance(one, str) for one in value.values()):
        raise UsageError("a descriptor is an object of six texts")
    return Descriptor(**value)


# --- vouchers as recorded ------------------------------------------------------------------------


def voucher_raw(units: int, signature: str) -> bytes:
    """The record of a voucher."""
    return f"{units}:{signature}".encode()


def voucher_parts(raw: bytes) -> tuple[int, str]:
    """Its total and its signature."""
    units, _, signature = raw.decode().partition(":")
    return int(units), signature


def voucher_members(raw: bytes) -> dict[str, str]:
    """Its total and its signature, as they travel."""
    units, signature = voucher_parts(raw)
    return {"cumulativeAmount": str(units), "signature": signature}


# --- payloads ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an open or a top-up carries beside the voucher: the payer's transaction, as bytes and as members, and what
    a top-up says that it adds.
    """

    raw: bytes
    members: Mapping[str, Any]
    additional_units: int | None


def read_payload(payload: Mapping[str, Any], terms: SessionTerms) -> acts.Presented:
    """See SessionSeller.read. Raises MalformedCredential; UsageError where the channel isn't under these terms."""
    try:
        act = acts.Act(str(payload.get("action")))
        channel = payload.get("channelId")
        if not isinstance(channel, str):
            raise UsageError("no channelId")
        evidence = _evidence(payload, act) if act in {acts.Act.OPEN, acts.Act.TOP_UP} else None
        voucher = None if act is acts.Act.TOP_UP else _voucher(payload, channel)
        descriptor = None if payload.get("descriptor") is None else read_descriptor(payload["descriptor"])
    except (UsageError, ValueError) as error:
        raise MalformedCredential(f"payload: {error}") from None
    if descriptor is not None:
        _check_descriptor(descriptor, channel, terms)
    elif terms.flavour == V2:
        raise MalformedCredential("payload: no descriptor")
    return acts.Presented(act, f"{terms.asset.network}/{channel}", channel, voucher, evidence)


def _voucher(payload: Mapping[str, Any], channel: str) -> session.Voucher:
    units, signature = parse_units(payload.get("cumulativeAmount")), payload.get("signature")
    if not isinstance(signature, str):
        raise UsageError("no signature")
    if units >= 1 << 96:
        raise UsageError("an amount that no channel holds")
    return session.Voucher(channel, units, voucher_raw(units, signature))


def _evidence(payload: Mapping[str, Any], act: acts.Act) -> Evidence:
    text = payload.get("transaction")
    if not isinstance(text, str):
        raise UsageError("no transaction")
    raw = bytes.fromhex(text)
    members = json.loads(raw)
    if not isinstance(members, dict) or members.get("escrow") != act.value:
        raise UsageError("a transaction that does something else")
    return Evidence(raw, members, units_or_none(payload.get("additionalDeposit")))


def _check_descriptor(descriptor: Descriptor, channel: str, terms: SessionTerms) -> None:
    found = (descriptor.payee, descriptor.asset, descriptor.flavour)
    if found != (terms.recipient, terms.asset.id, terms.flavour):
        raise UsageError("a channel under other terms")
    if channel_id(terms.bank, descriptor) != channel:
        raise UsageError("the channel's id is not that of its descriptor")


# --- snapshots -----------------------------------------------------------------------------------


def snapshot_members(channel: session.Channel, descriptor: Descriptor, required_units: int) -> dict[str, Any]:
    """A server's word about a channel."""
    told: dict[str, Any] = {
        "channelId": channel.id,
        "acceptedCumulative": str(channel.accepted),
        "spent": str(channel.spent),
        "settled": str(channel.settled),
        "deposit": str(channel.deposit),
        "requiredCumulative": str(required_units),
        "units": channel.units,
        "descriptor": asdict(descriptor),
    }
    if channel.voucher:
        told["voucher"] = voucher_members(channel.voucher)
    return told


def state_of(descriptor: Descriptor) -> bytes:
    """The toy's own record of a channel, for `state` of either side."""
    return json.dumps(asdict(descriptor), sort_keys=True).encode()


def descriptor_of(state: bytes) -> Descriptor:
    """The parts of a recorded channel."""
    return Descriptor(**json.loads(state))


def on_chain(network: str, wanted: str, found: Escrowed | None) -> acts.OnChain:
    """What the bank tells of a channel; "v2" forgets the closed ones."""
    key = f"{network}/{wanted}"
    if found is None or (found.closed and found.descriptor.flavour == V2):
        return acts.OnChain(key, False, 0, 0)
    return acts.OnChain(key, True, found.deposit, found.settled, found.closing_at_s, found.closed)
