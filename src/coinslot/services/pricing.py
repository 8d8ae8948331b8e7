"""The gate's price tables as prices, and how the units of an answer are counted where a price is asked per unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.errors import ConfigError, UsageError
from coinslot.method import ChargeSeller, Extras, Seller, SessionSeller, sells_charges, sells_sessions
from coinslot.money import parse_decimal
from coinslot.server.price import WINDOW, Metering, Price
from coinslot.services.config import Per, PriceTable
from coinslot.services.usage import parse_path

# A single byte costs less than the smallest amount of most tokens.
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Counting:
    """How an upstream's answer is counted: per event; per `block` bytes; or by the field at `path`, when it has come.

    `most` units are set aside at once: a part of a stream, or all that an answer may cost. `minimum`: the least one.
    `include_usage`: streams are asked to tell what they used.
    """

    per: Per
    most: int
    minimum: int
    block: int = BLOCK
    path: tuple[str, ...] = ()
    include_usage: bool = False


@dataclass(frozen=True, slots=True)
class Tagged:
    """A price, and how it is counted where it is metered."""

    price: Price
    counting: Counting | None = None


def in_words(price: str | PriceTable) -> str:
    """A price for people: "0.001 per token"."""
    if isinstance(price, str) or price.per == "request":
        return price if isinstance(price, str) else price.amount
    if price.per == "byte":
        block = price.block or BLOCK
        return f"{price.amount} per byte" if block == 1 else f"{price.amount} per {block} bytes"
    return f"{price.amount} per {price.unit or price.per}"


def tagged(pattern: str, given: str | PriceTable, sellers: Sequence[Seller]) -> Tagged:
    """What one line of the price table says. Raises ConfigError naming the route, UsageError for a wrong amount."""
    table = PriceTable(amount=given) if isinstance(given, str) else given
    amount = parse_decimal(table.amount)
    chosen = _payable(pattern, table, sellers, free=not amount)
    shares = tuple((who, parse_decimal(share)) for who, share in table.splits.items())
    extras = Extras(table.description, table.external_id, shares)
    metering = _metering(pattern, table)
    price = Price(
        table.amount,
        chosen,
        extras,
        table.bind_body,
        metering,
        None if table.deposit is None else parse_decimal(table.deposit),
        tuple(one for one in sellers if sells_charges(one)),
    )
    return Tagged(price, _counting(table, metering))


def _payable(pattern: str, table: PriceTable, sellers: Sequence[Seller], *, free: bool) -> list[Seller]:
    """Who can be paid this price: charges and sessions, as far as the price allows and the sellers offer them."""
    charges: list[ChargeSeller] = [one for one in sellers if sells_charges(one)]
    sessions: list[SessionSeller] = [one for one in sellers if sells_sessions(one)]
    wanted = table.intents or (["session"] if table.per != "request" else None)
    if wanted is not None:
        if "session" in wanted and not sessions:
            raise ConfigError(f"prices: {pattern!r} is paid from sessions, and no accept table offers any")
        return [one for one in sellers if one.intent in wanted]
    if table.splits or free:  # neither is known to sessions
        return list(charges)
    return list(sellers)


def _metering(pattern: str, table: PriceTable) -> Metering | None:
    """How much is set aside at once, and asked for before the first byte."""
    minimum, events = 1 if table.minimum is None else table.minimum, bool(table.events)
    try:
        match table.per:
            case "request":
                return None
            case "unit":  # all that the answer may cost: what it did cost is known at its end
                most = table.max_units or 1
                return Metering(table.unit or "unit", most, most, minimum, events=events)
            case "byte":
                block = table.block or BLOCK
                window = table.window or WINDOW
                # bytes have no way to ask for more before they stop, so a window is asked for at once
                unit = "byte" if block == 1 else f"{block} bytes"
                return Metering(unit, window, window, minimum, events=events)
            case "event":
                window = table.window or WINDOW
                return Metering(table.unit or "event", window, max(1, minimum), minimum, events=events)
    except UsageError as error:
        raise ConfigError(f"prices: {pattern!r}: {error}") from None


def _counting(table: PriceTable, metering: Metering | None) -> Counting | None:
    if metering is None:
        return None
    path = parse_path(table.usage) if table.usage is not None else ()
    asked = bool(table.include_usage)
    return Counting(table.per, metering.window, metering.minimum, table.block or BLOCK, path, asked)
