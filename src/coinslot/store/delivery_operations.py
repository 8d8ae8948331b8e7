"""What each promise about deliveries does inside one transaction; written once for every SQL database.

The channel's row is read under its lock first, so that steps on a channel happen one after the other. After a lost
connection (`db.redo`) a step finds its own token in the delivery's row. F19
"""

# ruff: noqa: S608 - statements are put together from constants of this module, values are always bound
from __future__ import annotations

from collections.abc import Sequence

from coinslot.errors import StoreBusy
from coinslot.intents import owing
from coinslot.intents.owing import KEPT_PAID, Owed, Paid, State, Wish
from coinslot.intents.session import Channel, Refused, Rules, Voucher, Why
from coinslot.store.channel_rows import SAVE_PURCHASE, SELECT, channel, purchase_values
from coinslot.store.deliveries import PayResult, WishResult
from coinslot.store.operations import Db
from coinslot.store.rows import ACTIVE, Row, Values

_COLUMNS = "id, channel, sequence, most, state, expires_at, cost, units, total, voucher"
_OPEN = "state IN ('reserved', 'begun')"
# Nothing became of it in time; a stream that its server still sends keeps its room, however slowly it is read. T26
_LATE = f"p.expires_at <= :now AND (p.state = 'reserved' OR (p.state = 'begun' AND NOT {ACTIVE}))"
_SAVE = (
    f"INSERT INTO coinslot_owed ({_COLUMNS}, token, lease_owner) VALUES (:id, :key, :sequence, :most, :state,"
    " :expires_at, :cost, :units, :total, :voucher, :token, :owner) ON CONFLICT (channel, id) DO UPDATE SET"
    " state = excluded.state, expires_at = excluded.expires_at, cost = excluded.cost, units = excluded.units,"
    " total = excluded.total, voucher = excluded.voucher, token = excluded.token, lease_owner = excluded.lease_owner"
)


def _owed(row: Row) -> Owed:
    name, key, sequence, most, state, expires_at, cost, units, total, voucher = row[:10]
    return Owed(name, key, sequence, int(most), State(state), expires_at, int(cost), units, int(total), bytes(voucher))


def _save(db: Db, owed: Owed, token: str, owner: str | None = None) -> None:
    values: Values = {
        "id": owed.id,
        "key": owed.key,
        "sequence": owed.sequence,
        "most": str(owed.most_units),
        "state": str(owed.state),
        "expires_at": owed.expires_at_s,
        "cost": str(owed.cost_units),
        "units": owed.units,
        "total": str(owed.total_units),
        "voucher": owed.voucher,
        "token": token,
        "owner": owner,
    }
    db.change(_SAVE, values)


def _channel(db: Db, key: str) -> tuple[Channel, str] | None:
    found = db.rows(SELECT + " FOR UPDATE", {"key": key})
    return (channel(found[0]), found[0][-1]) if found else None


def _known(db: Db, key: str) -> Sequence[Row]:
    """The deliveries of a channel, but for those whose time is up, and those that were paid long ago."""
    db.change(f"DELETE FROM coinslot_owed AS p WHERE p.channel = :key AND {_LATE}", {"key": key})
    db.change(
        "DELETE FROM coinslot_owed WHERE channel = :key AND state = 'paid' AND sequence NOT IN (SELECT sequence FROM"
        " coinslot_owed WHERE channel = :key AND state = 'paid' ORDER BY sequence DESC LIMIT :kept)",
        {"key": key, "kept": KEPT_PAID},
    )
    return db.rows(f"SELECT {_COLUMNS}, token, :now FROM coinslot_owed WHERE channel = :key", {"key": key})


def set_aside(db: Db, owner: str, token: str, wish: Wish) -> WishResult:
    """Room for a delivery; one that begins is `owner`'s. T22 T26"""
    found = _channel(db, wish.key)
    if found is None:
        return Refused(Why.NOT_FOUND, None)
    rows = _known(db, wish.key)
    mine = [row for row in rows if db.redo and row[10] == token]
    if mine:  # F19
        return _owed(mine[0])
    at_s = rows[0][11] if rows else db.rows("SELECT :now AS now", {})[0][0]
    answered = owing.set_aside(found[0], [_owed(row) for row in rows], wish, float(at_s))
    if isinstance(answered, Owed):
        _save(db, answered, token, owner if wish.begins else None)
    return answered


def owe(db: Db, token: str, owed: Owed, cost_units: int, units: int) -> None:
    """What came is due; in place of the row, or anew where its time was up."""
    due = owing.delivered(owed, cost_units, units)
    _channel(db, owed.key)
    rows = db.rows(
        f"SELECT {_COLUMNS} FROM coinslot_owed WHERE channel = :key AND id = :id", {"key": owed.key, "id": owed.id}
    )
    if rows and _owed(rows[0]).state in (State.DUE, State.PAID):
        return  # a second time changes nothing
    if not due.cost_units:
        _delete(db, owed)
    else:
        _save(db, due, token)


def _delete(db: Db, owed: Owed) -> None:
    db.change(
        f"DELETE FROM coinslot_owed WHERE channel = :key AND id = :id AND {_OPEN}", {"key": owed.key, "id": owed.id}
    )


def drop(db: Db, owed: Owed) -> None:
    """Its room is free."""
    _delete(db, owed)


def pay(db: Db, token: str, key: str, delivery_id: str, voucher: Voucher, rules: Rules) -> PayResult:
    """Voucher, cost and mark in one step. T02 T22"""
    found = _channel(db, key)
    if found is None:
        return Refused(Why.NOT_FOUND, None)
    old, seen = found
    rows = [row for row in _known(db, key) if row[0] == delivery_id]
    owed = _owed(rows[0]) if rows else None
    answered = owing.pay(old, owed, voucher, rules)
    if not isinstance(answered, Paid):
        return answered
    if answered.replayed:
        return Paid(old, answered.owed, replayed=not (db.redo and rows[0][10] == token))  # F19
    values = purchase_values(answered.channel) | {"seen": seen, "token": token}
    if db.change(SAVE_PURCHASE, values) != 1:  # F15
        raise StoreBusy("the channel changed at the same time; nothing was recorded")
    _save(db, answered.owed, token)
    return answered


def expire(db: Db, limit: int) -> int:
    """Drop what nothing became of in time."""
    late = db.rows(
        f"SELECT p.channel, p.id FROM coinslot_owed AS p WHERE {_LATE} ORDER BY p.expires_at LIMIT :limit",
        {"limit": limit},
    )
    for key, name in late:
        db.change(
            f"DELETE FROM coinslot_owed AS p WHERE p.channel = :key AND p.id = :id AND {_LATE}",
            {"key": key, "id": name},
        )
    return len(late)
