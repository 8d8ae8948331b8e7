"""Channels and jobs as rows of a database, and back."""

# ruff: noqa: S608 - statements are put together from constants of this package, values are always bound
from __future__ import annotations

import json

from coinslot.intents.session import Channel, Close, Stage
from coinslot.store.channels import Job, JobKind, JobStage
from coinslot.store.protocol import Delivery
from coinslot.store.rows import Row, Values

COLUMNS = (
    "key, id, network, method, payer, payee, signer, asset, deposit, accepted, reserved, spent, settled, units, stage,"
    " closing_at, voucher, state, opened_at, used_at"
)
SELECT = "SELECT " + COLUMNS + ", token FROM coinslot_channels WHERE key = :key"
INSERT = (
    "INSERT INTO coinslot_channels (" + COLUMNS + ", token) VALUES (:key, :id, :network, :method, :payer, :payee,"
    " :signer, :asset, :deposit, :accepted, '0', '0', :settled, 0, :stage, NULL, :voucher, :state, :now, :now, :token)"
    " ON CONFLICT DO NOTHING"
)
# The token that was seen is the proof that nobody else changed the row since. F15
UNCHANGED = " WHERE key = :key AND token = :seen"
# What a purchase changes: the voucher whole, as signed, with what was bought, before anything is served (F06). No index
# holds any of it.
SAVE_PURCHASE = (
    "UPDATE coinslot_channels SET accepted = :accepted, voucher = :voucher, spent = :spent, reserved = :reserved,"
    " units = :units, used_at = :now, token = :token" + UNCHANGED
)
# What the chain, or closing, changes.
SAVE_NEWS = (
    "UPDATE coinslot_channels SET deposit = :deposit, accepted = :accepted, settled = :settled, stage = :stage,"
    " closing_at = :closing_at, token = :token" + UNCHANGED
)
# A larger deposit is use of the channel.
SAVE_TOP_UP = SAVE_NEWS.replace(" token = :token", " used_at = :now, token = :token", 1)
_VOUCHER = "CAST(:amount AS NUMERIC)"
_COST = "CAST(:cost AS NUMERIC)"
_AHEAD = f"(:ahead OR {_VOUCHER} - accepted <= CAST(:most AS NUMERIC))"
# intents/session.purchase in one statement, for databases that add by themselves; it changes a row only where that
# answers Spent. T02 T22 T27
BUY_AT_ONCE = (
    f"UPDATE coinslot_channels SET accepted = {_VOUCHER}, voucher = :raw, spent = spent + {_COST},"
    f" units = units + :units, used_at = :now, token = :token WHERE key = :key AND id = :id AND stage = 'open'"
    f" AND {_VOUCHER} > accepted AND {_VOUCHER} - accepted >= CAST(:delta AS NUMERIC) AND {_VOUCHER} <= deposit"
    f" AND {_VOUCHER} - spent - reserved >= {_COST} AND {_AHEAD} RETURNING " + COLUMNS
)


def channel(row: Row) -> Channel:
    """The channel that a row of COLUMNS holds."""
    return Channel(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        int(row[8]),
        int(row[9]),
        int(row[10]),
        int(row[11]),
        int(row[12]),
        row[13],
        Stage(row[14]),
        row[15],
        bytes(row[16]),
        bytes(row[17]),
        row[18],
        row[19],
    )


def insert_values(new: Channel) -> Values:
    """What INSERT needs."""
    return {
        "key": new.key,
        "id": new.id,
        "network": new.network,
        "method": new.method,
        "payer": new.payer,
        "payee": new.payee,
        "signer": new.signer,
        "asset": new.asset,
        "deposit": str(new.deposit),
        "accepted": str(new.accepted),
        "settled": str(new.settled),
        "stage": str(new.stage),
        "voucher": new.voucher,
        "state": new.state,
    }


def purchase_values(new: Channel) -> Values:
    """What SAVE_PURCHASE needs."""
    return {
        "key": new.key,
        "accepted": str(new.accepted),
        "voucher": new.voucher,
        "spent": str(new.spent),
        "reserved": str(new.reserved),
        "units": new.units,
    }


def news_values(new: Channel) -> Values:
    """What SAVE_NEWS needs."""
    return {
        "key": new.key,
        "deposit": str(new.deposit),
        "accepted": str(new.accepted),
        "settled": str(new.settled),
        "stage": str(new.stage),
        "closing_at": new.closing_at_s,
    }


def answer(status: int, headers: str, body: bytes | None) -> Delivery:
    """A kept answer."""
    pairs = tuple((name, value) for name, value in json.loads(headers))
    return Delivery(status, pairs, None if body is None else bytes(body))


# --- the outbox ----------------------------------------------------------------------------------

# A job is worked on while its owner's heart beats; `p` is what rows.ACTIVE calls the row.
JOB_COLUMNS = (
    "p.id, p.channel, p.kind, p.voucher_units, p.voucher, p.capture_units, p.stage, p.made_at, p.reference, p.raw,"
    " p.dead_after, p.reason"
)


def job(row: Row) -> Job:
    """The job that a row of JOB_COLUMNS and "is it leased" holds."""
    number, key, kind, units, voucher, capture, stage, made_at, reference, raw, dead_after, reason, leased = row
    return Job(
        id=number,
        key=key,
        kind=JobKind(kind),
        close=Close(int(units), bytes(voucher), int(capture)),
        stage=JobStage(stage),
        leased=bool(leased),
        made_at_s=made_at,
        reference=reference,
        raw=None if raw is None else bytes(raw),
        dead_after_s=dead_after,
        reason=reason,
    )
