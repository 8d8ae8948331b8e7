"""Requests that carried an Idempotency-Key, as SQL keeps them: paid once under their key, and answered again from here.

A key belongs to its payer (keyed_rules.py), and its row to the channel that bought it, or ran it last. A channel's keys
are numbered as they are bought. One is known while its request is answered, and from then on until KEPT_KEYS others
were bought on its channel; no clock is in it, until that channel is closed (`old`). A key that was forgotten is a new
request. So a client that has fewer than that under way, and repeats what was lost before it begins so many more, pays
for each key once, whatever became of its channel.

Every step here is part of the transaction that buys, which holds the channel's row: two equal keys on one channel never
race. On two channels of a payer the unique index lets one of them buy; the other runs again, and finds it. The work is
the same for the first key and the millionth: one row in, the one that falls out deleted. F15 F28
"""

# ruff: noqa: S608 - statements are put together from constants of this package, values are always bound
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from coinslot.intents.session import Channel, Refused, Spent, Stale, Why
from coinslot.store.channel_rows import answer
from coinslot.store.channels import KEPT_KEYS, MAX_RUNNING_KEYS, SMALL_KEPT_BODY, KeptKey, Order, Repeated
from coinslot.store.keyed_rules import not_shown, payer_of
from coinslot.store.operations import Db, Undo
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery
from coinslot.store.rows import ACTIVE, Values

_FIND = (
    "SELECT p.channel, p.request_hash, p.lease_token, p.status, p.headers, p.body, " + ACTIVE + " FROM coinslot_keyed p"
    " WHERE (p.channel = :key AND p.idempotency_key = :idempotency_key)"
    " OR (p.payer = :payer AND p.idempotency_key = :idempotency_key)"
)
_NEWEST = "(SELECT MAX(m.number) FROM coinslot_keyed m WHERE m.channel = :key)"
_BUY = (
    "INSERT INTO coinslot_keyed (channel, idempotency_key, payer, request_hash, number, lease_owner, lease_token,"
    " touched_at) VALUES (:key, :idempotency_key, :payer, :request_hash,"
    f" COALESCE({_NEWEST}, 0) + 1, :owner, :token, :now) RETURNING number"
)
# By whoever saw it last: of two that find it free one runs it. F15
_RUN_AGAIN = (
    f"UPDATE coinslot_keyed SET channel = :key, number = COALESCE({_NEWEST}, 1), lease_owner = :owner,"
    " lease_token = :token, touched_at = :now WHERE channel = :channel AND idempotency_key = :idempotency_key"
    " AND lease_token = :seen AND status IS NULL"
)
_OLD = " FROM coinslot_keyed AS p WHERE p.channel = :key AND p.number <= :old"
# It is young again: who has just been answered may still lose the answer, however long that took.
_KEEP = (
    f"UPDATE coinslot_keyed SET number = {_NEWEST}, lease_owner = NULL, status = :status, headers = :headers,"
    " body = :body, touched_at = :now WHERE channel = :key AND idempotency_key = :idempotency_key"
)
_LARGE = (
    "SELECT idempotency_key, length(body) FROM coinslot_keyed WHERE channel = :key AND length(body) > :small"
    " ORDER BY number DESC"
)
# From the oldest row on, and not from the closed channels, of which there are ever more: SQLite joins CROSS in this
# order. Touched at 0: by a program of the version before.
_FORGETTABLE = (
    "SELECT p.channel, p.idempotency_key FROM coinslot_keyed p CROSS JOIN coinslot_channels c"
    " WHERE p.touched_at <= :now - :kept_s AND c.key = p.channel AND c.stage = 'closed'"
    f" AND (p.touched_at > 0 OR c.used_at <= :now - :kept_s) AND NOT {ACTIVE}"
    " ORDER BY p.touched_at LIMIT :limit"
)
_FORGET = (
    "DELETE FROM coinslot_keyed WHERE channel = :key AND idempotency_key = :idempotency_key"
    " AND touched_at <= :now - :kept_s"
)


class Kept(NamedTuple):
    """A key's row as it was seen: the channel it belongs to, what was asked, the token of the step that bought it or
    ran it last, the answer if there is one, and whether somebody works on that.
    """

    channel: str
    request_hash: str
    token: str
    answer: Delivery | None
    active: bool


def _name(order: Order) -> Values:
    return {"key": order.key, "idempotency_key": order.idempotency_key}


def find(db: Db, order: Order, found: Channel) -> Kept | None:
    """The row of an order's key, on its channel, or on another of the same payer; None: the key is new."""
    if order.idempotency_key is None:
        return None
    rows = db.rows(_FIND, _name(order) | {"payer": payer_of(found)})
    if not rows:
        return None
    channel, request_hash, token, status, headers, body, active = min(rows, key=lambda row: row[0] != order.key)
    given = None if status is None else answer(status, headers, body)
    return Kept(channel, request_hash, token, given, bool(active))


def repeated(db: Db, order: Order, kept: Kept, found: Channel, token: str) -> Repeated | Refused | Stale | Spent:
    """How a request under a known key goes on: answered, being answered, or (Spent) to be run again, paid already.

    `token` is that of this step, which a first run may have written before (F19).
    """
    stopped = not_shown(found, order) if kept.channel != order.key else None  # T05
    if stopped is not None:
        return stopped
    if kept.request_hash != order.request_hash:
        return Refused(Why.KEY_REUSED, found)
    if kept.answer is not None:  # F14
        return Repeated(found, kept.answer)
    mine = db.redo and kept.token == token  # F19
    return Repeated(found, None) if kept.active and not mine else Spent(found)  # F07


def bought_by(db: Db, order: Order, found: Channel, token: str) -> bool:
    """Whether the step with that token bought this request. F19"""
    kept = find(db, order, found)
    return kept is not None and kept.token == token


def remember(db: Db, mine: tuple[str, str], order: Order, found: Channel, kept: Kept | None) -> None:
    """Put the key down as bought and running, and forget the one that falls out. `mine` is owner and token.

    Raises Undo with a Refused; or with a Repeated, where another step has just taken up the same request.
    """
    owner, token = mine
    values = _name(order) | {"owner": owner, "token": token}
    if kept is not None:
        if not db.change(_RUN_AGAIN, values | {"channel": kept.channel, "seen": kept.token}):  # F15
            raise Undo(Repeated(found, None))
        return
    ((number,),) = db.rows(_BUY, values | {"payer": payer_of(found), "request_hash": order.request_hash})
    old: Values = {"key": order.key, "old": number - KEPT_KEYS}
    if number <= KEPT_KEYS or db.change("DELETE" + _OLD + " AND NOT " + ACTIVE, old):  # F28
        return
    ((running,),) = db.rows("SELECT COUNT(*)" + _OLD, old)
    if running > MAX_RUNNING_KEYS:  # F28
        raise Undo(Refused(Why.CROWDED, found))


def keep(db: Db, key: str, idempotency_key: str, given: Delivery | None) -> None:
    """Keep the answer under its key, or (None) let the request be run again; a key that is not known keeps nothing."""
    body = None if given is None else given.body
    large = body is not None and len(body) > SMALL_KEPT_BODY
    if large:  # as one who buys: two that make room at once would take from each other
        db.rows("SELECT 1 FROM coinslot_channels WHERE key = :key FOR UPDATE", {"key": key})
    values: Values = {
        "key": key,
        "idempotency_key": idempotency_key,
        "status": None if given is None else given.status,
        "headers": None if given is None else json.dumps(given.headers),
        "body": None if body is None or len(body) > MAX_KEPT_BODY else body,
    }
    if db.change(_KEEP, values) and large:
        _make_room(db, key)


def free(db: Db, owner: str, key: str, idempotency_key: str) -> None:
    """After an answer could not be kept: the request is paid, and may be run again. One that was kept stays."""
    db.change(
        "UPDATE coinslot_keyed SET lease_owner = NULL WHERE channel = :key AND idempotency_key = :idempotency_key"
        " AND lease_owner = :owner",
        {"key": key, "idempotency_key": idempotency_key, "owner": owner},
    )


def _make_room(db: Db, key: str) -> None:
    """Of the larger bodies the newest stay; the others' keys stay as those of answers too large to keep. F28"""
    total = 0
    for name, size in db.rows(_LARGE, {"key": key, "small": SMALL_KEPT_BODY}):
        total += size
        if total > MAX_KEPT_BODY:
            gone: Values = {"key": key, "idempotency_key": name}
            db.change(
                "UPDATE coinslot_keyed SET body = NULL WHERE channel = :key AND idempotency_key = :idempotency_key",
                gone,
            )


def old(db: Db, kept_s: float, limit: int) -> list[KeptKey]:
    """Keys on closed channels that nobody touched for so long, oldest first."""
    return [KeptKey(*row) for row in db.rows(_FORGETTABLE, {"kept_s": kept_s, "limit": limit})]


def forget(db: Db, keys: Sequence[KeptKey], kept_s: float) -> int:
    """Delete the rows that are still so old: one that was run again meanwhile is young, or another channel's. F28"""
    return sum(
        db.change(_FORGET, {"key": each.channel, "idempotency_key": each.idempotency_key, "kept_s": kept_s})
        for each in keys
    )
