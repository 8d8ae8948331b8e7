"""What each promise about channels does inside one transaction; written once for every SQL database.

A channel's row is read under its lock, the engine (intents/session.py) makes the next record, and one conditional
UPDATE writes it: only if the row still carries the token that was seen. A database that can add does all of a purchase
in that one UPDATE. After a lost connection (`db.redo`) a step finds its own token in the row, or, where another
came since, tells that the outcome isn't known: never a second charge, and nothing for free. F19
"""

# ruff: noqa: S608 - statements are put together from constants of this package, values are always bound
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from coinslot import ledger
from coinslot.errors import LeaseLost, StoreBroken, StoreBusy, UsageError
from coinslot.intents import session
from coinslot.intents.session import Channel, Refused, Rules, Spent, Stage, Stale, Voucher, Why
from coinslot.ledger import Entry
from coinslot.store import keyed, operations
from coinslot.store.channel_rows import (
    BUY_AT_ONCE,
    COLUMNS,
    INSERT,
    SAVE_NEWS,
    SAVE_PURCHASE,
    SAVE_TOP_UP,
    SELECT,
    channel,
    insert_values,
    news_values,
    purchase_values,
)
from coinslot.store.channels import (
    ChannelQuery,
    Known,
    Opened,
    OpenResult,
    Order,
    OrderResult,
    Reservation,
    Reserved,
    ReserveResult,
)
from coinslot.store.operations import Db, Undo
from coinslot.store.protocol import Claim, Lease
from coinslot.store.rows import ACTIVE, Values

Window: TypeAlias = tuple[int, int]
# By channel: the record that this process wrote last, and its token. Never believed without the row's own token.
Written: TypeAlias = dict[str, tuple[Channel, str]]

# Without a lock another process may change the row between our look and our UPDATE; more rounds than that is a fault.
ROUNDS = 20
# About 3 KB each.
MAX_WRITTEN = 4096
# Marks the token of a step that accepted a voucher and refused the rest.
_ONLY_ACCEPTED = "-"


def find(db: Db, key: str) -> Channel | None:
    """The record."""
    found = db.rows(SELECT, {"key": key})
    return channel(found[0]) if found else None


def _load(db: Db, key: str) -> tuple[Channel, str] | None:
    found = db.rows(SELECT + " FOR UPDATE", {"key": key})
    return (channel(found[0]), found[0][-1]) if found else None


def _save(db: Db, statement: str, values: Values, seen: str, token: str) -> bool:
    values["seen"], values["token"] = seen, token
    return db.change(statement, values) == 1


# --- the record ----------------------------------------------------------------------------------


def open_channel(db: Db, owner: str, token: str, wish: Claim, new: Channel) -> OpenResult:
    """The claim first: a proof that was used opens nothing. Both or neither. T06 T08"""
    claimed = operations.claim(db, owner, token, wish)
    if not isinstance(claimed, Lease):
        return claimed
    if db.change(INSERT, insert_values(new) | {"token": token}) == 0:
        known = _load(db, new.key)
        if known is None or not (db.redo and known[1] == token):
            raise Undo(Known(known[0] if known else new))
    return Opened(claimed, find(db, new.key) or new)


def change(
    db: Db, key: str, token: str, step: Callable[[Channel], Channel | Refused], statement: str = SAVE_NEWS
) -> Channel | Refused:
    """What the chain tells, or a close, by a step of the engine; a second time it changes nothing."""
    found = _load(db, key)
    if found is None:
        return Refused(Why.NOT_FOUND, None)
    old, seen = found
    new = step(old)
    if isinstance(new, Refused) or new == old:
        return new
    if not _save(db, statement, news_values(new), seen, token):  # F15
        raise StoreBusy("the channel changed at the same time; nothing was recorded")
    return new


def top_up(db: Db, key: str, token: str, deposit_units: int, rules: Rules, entry: Entry | None) -> Channel | Refused:
    """A larger deposit; a close that is under way isn't taken back. F10"""
    live = "SELECT 1 FROM coinslot_outbox WHERE channel = :key AND kind = 'close' AND stage IN ('planned', 'prepared')"

    def step(old: Channel) -> Channel | Refused:
        if old.stage is Stage.CLOSING and db.rows(live, {"key": key}):
            return Refused(Why.CLOSING, old)
        again = entry is not None and operations.is_posted(db, entry.id)
        new, brought = topped_up(old, deposit_units, rules, entry, again=again)
        posted.extend([] if brought is None else [brought])
        return new

    posted: list[Entry] = []
    noted = change(db, key, token, step, SAVE_TOP_UP)
    for each in posted:
        operations.post(db, each)
    return noted


def topped_up(
    old: Channel, deposit_units: int, rules: Rules, entry: Entry | None, *, again: bool
) -> tuple[Channel | Refused, Entry | None]:
    """The record after a top-up, and what to post for it: as much as the record grows. `again`: it was posted before.

    The record grows by what the entry brings, though the chain shows more: the rest has an entry of its own, of whoever
    presents it or finds it. So the record and the journal's escrow are one sum, in whatever order they come. F10
    """
    most = deposit_units
    if entry is not None:
        most = min(deposit_units, old.deposit + (0 if again else ledger.deposited(entry)))  # F10
    new = session.top_up(old, most, rules)
    if entry is None or again or isinstance(new, Refused):
        return new, None
    return new, ledger.brought(entry, new.deposit - old.deposit)


def note(
    db: Db,
    key: str,
    token: str,
    step: Callable[[Channel], Channel | Refused],
    entry: Entry | None,
) -> Channel | Refused:
    """What the chain shows, with its entry."""
    noted = change(db, key, token, step)
    if entry is not None and isinstance(noted, Channel):
        operations.post(db, entry)
    return noted


def listed(db: Db, query: ChannelQuery) -> list[Channel]:
    """A page of channels. Amounts are compared here: not every database can."""
    seq = 0
    if query.after is not None:
        found = db.rows("SELECT seq FROM coinslot_channels WHERE key = :after", {"after": query.after})
        if not found:
            raise UsageError("no channel has the key to continue after")
        seq = found[0][0]
    wanted = ["seq > :seq"]
    values: Values = {"limit": query.limit}
    if query.stages:
        names = {f"stage{n}": str(stage) for n, stage in enumerate(sorted(query.stages))}
        wanted.append(f"stage IN ({', '.join(':' + name for name in names)})")
        values |= names
    if query.payer is not None:
        wanted.append("payer = :payer")
        values["payer"] = query.payer
    if query.idle_since_s is not None:
        wanted.append("used_at <= :idle")
        values["idle"] = query.idle_since_s
    page = f"SELECT {COLUMNS}, seq FROM coinslot_channels WHERE {' AND '.join(wanted)} ORDER BY seq LIMIT :limit"
    kept: list[Channel] = []
    while rows := db.rows(page, values | {"seq": seq}):
        kept += [each for each in map(channel, rows) if each.unsettled >= query.min_unsettled_units]
        seq = rows[-1][-1]
        if len(kept) >= query.limit:
            break
    return kept[: query.limit]


# --- buying --------------------------------------------------------------------------------------


def buy_plain(db: Db, token: str, order: Order, voucher: Voucher, written: Written, looked: list[str]) -> OrderResult:
    """`buy` for what streams of vouchers ask: one statement where that can be; else, and for all that is refused, as
    the row stands. T02 T22
    """
    if not db.redo:
        quick = _buy_at_once(db, token, order, voucher) if db.computes else _buy_again(db, token, order, written)
        if quick is not None:
            return Spent(quick)
    bought = buy(db, "", token, order, None, looked)
    if isinstance(bought, Spent) and not db.computes:
        if len(written) >= MAX_WRITTEN:  # F28
            written.clear()
        written[order.key] = (bought.channel, token)
    return bought  # type: ignore[return-value]  # without a window nothing is reserved


def _buy_again(db: Db, token: str, order: Order, written: Written) -> Channel | None:
    """On top of what we wrote last, if the row still carries that token: then it is that record, and nobody wrote
    since, here or in another process. F15
    """
    last = written.get(order.key)
    if last is None:
        return None
    bought = session.purchase(last[0], order.voucher, order.cost_units, order.rules, order.units)
    if not isinstance(bought, Spent) or not _save(db, SAVE_PURCHASE, purchase_values(bought.channel), last[1], token):
        return None
    written[order.key] = (bought.channel, token)
    return bought.channel


def buy(
    db: Db, owner: str, token: str, order: Order, window: Window | None, looked: list[str]
) -> OrderResult | ReserveResult:
    """Voucher, cost and window in one step. `looked` is empty at first, and kept for a second run. T02 T22"""
    for _ in range(ROUNDS):
        found = _load(db, order.key)
        if found is None:
            return Refused(Why.NOT_FOUND, None)
        if db.redo and found[1] not in looked:  # what the first run saw is there no more: it, or another, wrote
            first = _first_run(db, order, window, *found, token)
            if first is not None:
                return first
        looked.append(found[1])
        answered = _buy(db, owner, token, order, window, *found)
        if answered is not None:
            return answered
    raise StoreBusy("the channel changes all the time; nothing was recorded")


def _buy_at_once(db: Db, token: str, order: Order, voucher: Voucher) -> Channel | None:
    if order.cost_units < 0 or order.units < 0:
        return None  # the engine says what is wrong
    values: Values = {
        "key": order.key,
        "id": voucher.channel,
        "amount": str(session.check_units(voucher.amount_units, order.rules.bits)),
        "raw": voucher.raw,
        "delta": str(order.rules.min_delta_units),
        "ahead": order.rules.ahead or not order.cost_units,
        "most": str(session.most_added(order.cost_units)),
        "cost": str(order.cost_units),
        "units": order.units,
        "token": token,
    }
    rows = db.rows(BUY_AT_ONCE, values)
    return channel(rows[0]) if rows else None


def _buy(
    db: Db, owner: str, token: str, order: Order, window: Window | None, old: Channel, seen: str
) -> OrderResult | ReserveResult | None:
    """One round; None if somebody changed the row meanwhile."""
    kept = keyed.find(db, order, old)
    repeated = None if kept is None else keyed.repeated(db, order, kept, old, token)
    if repeated is not None and not isinstance(repeated, Spent):
        return repeated
    answered, new = decide(old, order, window, paid=repeated is not None)
    if new is not old:
        mark = "" if isinstance(answered, Spent | Reserved) else _ONLY_ACCEPTED
        if not _save(db, SAVE_PURCHASE, purchase_values(new), seen, token + mark):  # F15
            return None
    if isinstance(answered, Reserved):
        answered = _set_aside(db, owner, token, old, new)
    if order.idempotency_key is not None and isinstance(answered, Spent | Reserved):
        keyed.remember(db, (owner, token), order, old, kept)
    return answered


def decide(
    old: Channel, order: Order, window: Window | None, *, paid: bool
) -> tuple[Spent | Reserved | Stale | Refused, Channel]:
    """What the engine answers, and the record to write. `paid`: a first run took the cost and accepted the voucher."""
    if paid:  # F08: a stream that is run again may need more than the first run's window, which was billed
        known = old if order.voucher is None else session.accept(old, order.voucher, order.rules)
        bought: session.Purchase = Spent(known if isinstance(known, Channel) else old)
    else:
        bought = session.purchase(old, order.voucher, order.cost_units, order.rules, order.units)
    if isinstance(bought, Stale):
        return bought, old
    if isinstance(bought, Refused):
        if window is not None and bought.why is Why.BALANCE:
            bought = replace(bought, missing_units=bought.missing_units + window[0])
        return bought, bought.channel or old
    if window is None:
        return bought, bought.channel
    kept = session.reserve(bought.channel, *window)
    if isinstance(kept, Channel):
        return Reserved(kept, None), kept
    if paid:
        return replace(kept, channel=bought.channel), bought.channel
    accepted = old if order.voucher is None else session.accept(old, order.voucher, order.rules)
    record = accepted if isinstance(accepted, Channel) else old
    return replace(kept, channel=record), record


def _set_aside(db: Db, owner: str, token: str, old: Channel, new: Channel) -> Reserved:
    units = new.reserved - old.reserved
    db.change(
        "INSERT INTO coinslot_reservations (id, channel, window_units, lease_owner, at)"
        " VALUES (:id, :key, :units, :owner, :now)",
        {"id": token, "key": new.key, "units": str(units), "owner": owner},
    )
    return Reserved(new, Reservation(token, new.key, units))


def _first_run(
    db: Db, order: Order, window: Window | None, found: Channel, seen: str, token: str
) -> OrderResult | ReserveResult | None:
    """What the run before the connection broke had answered; None if it never happened. F19"""
    if seen == token or keyed.bought_by(db, order, found, token):
        if window is None:
            return Spent(found)
        mine = db.rows("SELECT window_units FROM coinslot_reservations WHERE id = :id", {"id": token})
        return Reserved(found, Reservation(token, found.key, int(mine[0][0])))
    if seen == token + _ONLY_ACCEPTED:
        missing = (order.cost_units if window is None else order.cost_units + window[0]) - found.free
        return Refused(Why.BALANCE, found, max(0, missing))
    if order.voucher is not None and order.voucher.amount_units > found.accepted:
        return None
    raise StoreBroken("the connection broke and others used the channel since; look it up")


# --- windows -------------------------------------------------------------------------------------


def commit(
    db: Db, owner: str, token: str, held: Reservation, used: tuple[int, int], more: Window | None, rules: Rules | None
) -> Reserved:
    """Spend, free, and set aside anew. `used` is base units and units of service. Raises LeaseLost."""
    found = _load(db, held.key)
    if found is None:
        raise LeaseLost("the window's channel is not known")
    old, seen = found
    mine = "DELETE FROM coinslot_reservations WHERE id = :id AND lease_owner = :owner"
    if db.change(mine, {"id": held.id, "owner": owner}) == 0:
        if not db.redo:
            raise LeaseLost("somebody else billed this window")
        next_one = db.rows("SELECT window_units FROM coinslot_reservations WHERE id = :id", {"id": token})
        return Reserved(old, Reservation(token, held.key, int(next_one[0][0])) if next_one else None)
    new = session.commit(old, held.window_units, *used, rules)
    kept = session.reserve(new, *more) if more is not None else new
    missing = kept.missing_units if isinstance(kept, Refused) else 0
    last = new if isinstance(kept, Refused) else kept
    if not _save(db, SAVE_PURCHASE, purchase_values(last), seen, token):  # F15
        raise StoreBusy("the channel changed at the same time; nothing was recorded")
    if last is new:
        return Reserved(new, None, missing)
    return _set_aside(db, owner, token, new, last)


def abandoned(db: Db, limit: int) -> list[Reservation]:
    """Windows whose owner's heart stopped."""
    dead = (
        "SELECT p.id, p.channel, p.window_units FROM coinslot_reservations p WHERE NOT "
        + ACTIVE
        + " ORDER BY p.at, p.id LIMIT :limit"
    )
    return [Reservation(name, key, int(units)) for name, key, units in db.rows(dead, {"limit": limit})]


def bill(db: Db, token: str, dead: Reservation) -> Channel | None:
    """Lock the channel, then look at the owner's heart in a later statement: a beat committed meanwhile counts. F08"""
    found = _load(db, dead.key)
    if found is None:
        return None
    old, seen = found
    mine: Values = {"id": dead.id}
    kept = db.rows("SELECT window_units FROM coinslot_reservations WHERE id = :id FOR UPDATE", mine)
    alive = "SELECT 1 FROM coinslot_reservations p WHERE p.id = :id AND " + ACTIVE
    if not kept or db.rows(alive, mine):  # F08
        return None
    db.change("DELETE FROM coinslot_reservations WHERE id = :id", mine)
    units = int(kept[0][0])
    new = session.commit(old, units, units)
    if not _save(db, SAVE_PURCHASE, purchase_values(new), seen, token):
        raise StoreBusy("the channel changed at the same time; nothing was recorded")
    return new


# --- the watcher ---------------------------------------------------------------------------------


def note_watched(db: Db, network: str) -> None:
    """A round is done."""
    db.change(
        "INSERT INTO coinslot_watches (network, at) VALUES (:network, :now)"
        " ON CONFLICT (network) DO UPDATE SET at = excluded.at",
        {"network": network},
    )


def watched_ago_s(db: Db, network: str) -> float | None:
    """Seconds since then. The distance counts: a clock that jumped back must not make an old round young. F21"""
    found = db.rows("SELECT abs(:now - at) FROM coinslot_watches WHERE network = :network", {"network": network})
    return float(found[0][0]) if found else None
