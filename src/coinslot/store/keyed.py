"""Requests that carried an Idempotency-Key, as SQL keeps them: paid once under their key, and answered again from here.

A channel's keys are numbered as they are bought. One is known while its request is answered, and from then on until
KEPT_KEYS others were bought on its channel; no clock is in it. A key that was forgotten is a new request. So a client
that has fewer than that under way, and repeats what was lost before it begins so many more, pays for each key once.

Every step here is part of the transaction that buys, which holds the channel's row: two equal keys never race. The work
is the same for the first key and the millionth: one row in, the one that falls out deleted. F28
"""

# ruff: noqa: S608 - statements are put together from constants of this package, values are always bound
from __future__ import annotations

import json

from coinslot.intents.session import Channel, Refused, Spent, Why
from coinslot.store.channel_rows import answer
from coinslot.store.channels import KEPT_KEYS, MAX_RUNNING_KEYS, SMALL_KEPT_BODY, Order, Repeated
from coinslot.store.operations import Db, Undo
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery
from coinslot.store.rows import ACTIVE, Values

_FIND = (
    "SELECT p.request_hash, p.lease_token, p.status, p.headers, p.body, " + ACTIVE + " FROM coinslot_keyed p"
    " WHERE p.channel = :key AND p.idempotency_key = :idempotency_key"
)
_NEWEST = "(SELECT MAX(m.number) FROM coinslot_keyed m WHERE m.channel = :key)"
_REMEMBER = (
    "INSERT INTO coinslot_keyed (channel, idempotency_key, request_hash, number, lease_owner, lease_token)"
    f" VALUES (:key, :idempotency_key, :request_hash, COALESCE({_NEWEST}, 0) + 1, :owner, :token)"
    " ON CONFLICT (channel, idempotency_key) DO UPDATE SET number = excluded.number - 1,"
    " lease_owner = excluded.lease_owner, lease_token = excluded.lease_token, status = NULL, headers = NULL,"
    " body = NULL RETURNING number"
)
_OLD = " FROM coinslot_keyed AS p WHERE p.channel = :key AND p.number <= :old"
# It is young again: who has just been answered may still lose the answer, however long that took.
_KEEP = (
    f"UPDATE coinslot_keyed SET number = {_NEWEST}, lease_owner = NULL, status = :status, headers = :headers,"
    " body = :body WHERE channel = :key AND idempotency_key = :idempotency_key"
)
_LARGE = (
    "SELECT idempotency_key, length(body) FROM coinslot_keyed WHERE channel = :key AND length(body) > :small"
    " ORDER BY number DESC"
)


def _name(order: Order) -> Values:
    return {"key": order.key, "idempotency_key": order.idempotency_key}


def repeated(db: Db, order: Order, found: Channel, token: str) -> Repeated | Refused | Spent | None:
    """How a request under a known key goes on: answered, being answered, or (Spent) to be run again, paid already.

    None: the key is new. `token` is that of this step, which a first run may have written before (F19).
    """
    if order.idempotency_key is None:
        return None
    kept = db.rows(_FIND, _name(order))
    if not kept:
        return None
    request_hash, holder, status, headers, body, active = kept[0]
    if request_hash != order.request_hash:
        return Refused(Why.KEY_REUSED, found)
    if status is not None:  # F14
        return Repeated(found, answer(status, headers, body))
    mine = db.redo and holder == token  # F19
    return Repeated(found, None) if active and not mine else Spent(found)  # F07


def bought_by(db: Db, order: Order, token: str) -> bool:
    """Whether the step with that token bought this request. F19"""
    if order.idempotency_key is None:
        return False
    kept = db.rows(_FIND, _name(order))
    return bool(kept) and kept[0][1] == token


def remember(db: Db, owner: str, token: str, order: Order, found: Channel) -> None:
    """Put the key down as bought and running, and forget the one that falls out. Raises Undo with a Refused."""
    values = _name(order) | {"request_hash": order.request_hash, "owner": owner, "token": token}
    ((number,),) = db.rows(_REMEMBER, values)
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
