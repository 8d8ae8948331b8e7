"""A payer's channel in the words of a list, a page or another program. Vouchers are money: they are never shown. T38"""

from __future__ import annotations

from functools import cache

from coinslot.cli.columns import safe
from coinslot.cli.damage import require_readable
from coinslot.core.instant import format_instant
from coinslot.errors import CoinslotError, UsageError
from coinslot.intents.acts import Held
from coinslot.method import known_asset, load
from coinslot.money import Asset
from coinslot.store.book import ENDED, Book

# Shorter beginnings of an id name a channel by accident.
LEAST_PREFIX = 4


@cache
def asset_of(method: str, key: str) -> Asset:
    """What is known of an asset; its place where the method is not installed (any more)."""
    try:
        return known_asset(load(method), key)
    except CoinslotError:
        network, _, name = key.rpartition("/")
        return Asset(network, name)


def amount(held: Held, units: int) -> str:
    """Base units of a channel's asset as people read them."""
    return safe(asset_of(held.method, held.asset).text(units))


def chosen(book: Book, name: str) -> Held:
    """The channel of this id, or of the only id that begins so. Raises UsageError, StoreError."""
    wanted, survey = name.lower(), book.survey().result()
    bad = [one for one in survey.damaged if not one.charge]
    exact = [one for one in survey.channels if wanted in (one.channel_id.lower(), one.key.lower())]
    if len(exact) == 1:
        return exact[0]
    require_readable([one for one in bad if one.id and wanted in (one.id.lower(), one.key.lower())])
    found = [one for one in survey.channels if one.channel_id.lower().startswith(wanted)]
    spoilt = [one for one in bad if one.id.lower().startswith(wanted)]
    if len(found) == 1 and not spoilt and len(wanted) >= LEAST_PREFIX:
        return found[0]
    if not found:
        require_readable(spoilt if len(wanted) >= LEAST_PREFIX else [])
        raise UsageError(f"no channel {name!r} is in the book; `coinslot channels sync` looks for lost ones")
    raise UsageError(f"{name!r} could be {len(found) + len(spoilt)} channels; write more of its id")


def to_come_back(held: Held) -> int:
    """What a close would give back if nothing more is spent: by the server's word, which may be old."""
    spent = held.spent_units if held.acknowledged_units or held.spent_units else held.signed_units
    return 0 if held.standing in ENDED else held.deposit_units - max(spent, held.settled_units)


def members(held: Held) -> dict[str, object]:
    """A channel for programs."""
    asset = asset_of(held.method, held.asset)
    return {
        "channel_id": held.channel_id,
        "standing": str(held.standing),
        "origin": held.origin or None,
        "method": held.method,
        "network": held.network,
        "payer": held.payer,
        "payee": held.payee,
        "signer": held.signer,
        "asset": held.asset,
        "symbol": asset.symbol or None,
        "decimals": asset.decimals,
        "deposit_units": str(held.deposit_units),
        "signed_units": str(held.signed_units),
        "acknowledged_units": str(held.acknowledged_units),
        "spent_units": str(held.spent_units),
        "settled_units": str(held.settled_units),
        "opened_at": _moment(held.opened_at_s),
        "used_at": _moment(held.used_at_s),
        "closing_at": _moment(held.closing_at_s),
        "reference": held.reference,
    }


def _moment(at_s: float | None) -> str | None:
    return format_instant(at_s) if at_s else None


def row(held: Held) -> list[str]:
    """A channel for a list."""
    spent = amount(held, held.spent_units)
    return [
        held.channel_id,
        str(held.standing),
        amount(held, held.deposit_units),
        spent,
        safe(held.origin) or "?",
        _moment(held.used_at_s) or "?",
    ]


TITLES = ("CHANNEL", "STANDING", "DEPOSIT", "SPENT", "AT", "USED")


def page(held: Held) -> list[tuple[str, str]]:
    """A channel for a page of its own."""
    rows = [
        ("channel", held.channel_id),
        ("standing", str(held.standing)),
        ("at", held.origin or "not known"),
        ("network", held.network),
        ("from", held.payer),
        ("to", held.payee),
        ("deposit", amount(held, held.deposit_units)),
        ("signed", f"{amount(held, held.signed_units)}, the most that its payee can take"),
        ("spent", f"{amount(held, held.spent_units)}, by the server's last word"),
        ("paid out", f"{amount(held, held.settled_units)}, on the chain"),
    ]
    if held.standing not in ENDED:
        rows.append(("comes back", f"{amount(held, to_come_back(held))}, if it were closed now"))
    for name, at_s in (("opened", held.opened_at_s), ("used", held.used_at_s), ("closing since", held.closing_at_s)):
        if at_s:
            rows.append((name, _moment(at_s) or ""))
    if held.reference:
        rows.append(("transaction", held.reference))
    return [(name, safe(text)) for name, text in rows]
