"""Payment channels of the toy bank: what its escrow takes in, checked and applied inside the bank's own transaction.

A transaction is a JSON object with a member `escrow` that names what it does:

    open, topUp, requestClose, withdraw    signed by the payer (HMAC over the rest, like a cheque)
    payOut                                 settles or closes channels, all or none; the vouchers in it are what counts

Vouchers are signed with ed25519, so that a seller can check one without asking the bank; a signature carries its public
key, as a recoverable one does. There are two flavours, chosen when a channel is opened: "v2" closes for less than the
voucher says and forgets closed channels; "v1" takes all that the voucher says and remembers them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coinslot.errors import RpcRefused

SCHEMA = """
create table channel (
    id text primary key, payer text not null, payee text not null, asset text not null, signer text not null,
    salt text not null, flavour text not null, deposit integer not null,
    settled integer not null default 0 check (settled between 0 and deposit),
    closing_at real, closed integer not null default 0, opened_at real not null
);
create table payout (
    hash text, channel text, settled integer not null, refunded integer not null, closed integer not null,
    at real not null, primary key (hash, channel)
);
"""
V1, V2 = "v1", "v2"
FLAVOURS = (V1, V2)
FUNDS = -32001
REFUSED = -32003
_KEY_CHARS, _SIGNATURE_CHARS = 64, 128


# --- channels and vouchers -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a channel is made of; its id is computed from nothing else."""

    payer: str
    payee: str
    asset: str
    signer: str
    salt: str
    flavour: str


def channel_id(bank: str, descriptor: Descriptor) -> str:
    """The id of a channel at a bank."""
    text = json.dumps([bank, *asdict(descriptor).values()])
    return "0x" + hashlib.sha256(text.encode()).hexdigest()


def signer_of(secret: str) -> str:
    """The public key (hex) of a secret (hex)."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _message(bank: str, channel: str, units: int) -> bytes:
    return f"voucher of {bank} for {channel}: {units} in all".encode()


def sign_voucher(secret: str, bank: str, channel: str, units: int) -> str:
    """The signature (hex, its public key first) of a voucher."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    return signer_of(secret) + key.sign(_message(bank, channel, units)).hex()


def signer_of_voucher(bank: str, channel: str, units: int, signature: str) -> str:
    """Whose signature that is. Raises ValueError if it is nobody's."""
    if len(signature) != _KEY_CHARS + _SIGNATURE_CHARS or signature != signature.lower():
        raise ValueError("a signature is 192 lower-case hex digits")
    given = bytes.fromhex(signature)
    try:
        Ed25519PublicKey.from_public_bytes(given[:32]).verify(given[32:], _message(bank, channel, units))
    except InvalidSignature:
        raise ValueError("the signature is not good") from None
    return signature[:_KEY_CHARS]


# --- transactions --------------------------------------------------------------------------------


def encode(members: Mapping[str, Any]) -> bytes:
    """The one spelling of a transaction."""
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def signed(secret: str, members: Mapping[str, Any]) -> bytes:
    """A payer's transaction, signed with the secret of its account."""
    return encode({**members, "signature": hmac.new(bytes.fromhex(secret), encode(members), "sha256").hexdigest()})


def unsigned(members: Mapping[str, Any]) -> bytes:
    """What the payer signed."""
    return encode({name: value for name, value in members.items() if name != "signature"})


@dataclass(frozen=True, slots=True)
class Escrowed:
    """A channel as the bank has it, in base units and the bank's seconds."""

    id: str
    descriptor: Descriptor
    deposit: int
    settled: int
    closing_at_s: float | None
    closed: bool
    opened_at_s: float


@dataclass(frozen=True, slots=True)
class Payout:
    """What one transaction did to one channel: paid out in all, given back, and whether that ended it."""

    settled: int
    refunded: int
    closed: bool
    at_s: float


_COLUMNS = "id, payer, payee, asset, signer, salt, flavour, deposit, settled, closing_at, closed, opened_at"


def _escrowed(row: Sequence[Any]) -> Escrowed:
    return Escrowed(row[0], Descriptor(*row[1:7]), row[7], row[8], row[9], bool(row[10]), row[11])


def find(db: sqlite3.Connection, channel: str) -> Escrowed | None:
    """A channel, closed ones included."""
    row = db.execute(f"select {_COLUMNS} from channel where id = ?", (channel,)).fetchone()
    return _escrowed(row) if row else None


def of_payer(db: sqlite3.Connection, payer: str, since_s: float) -> list[Escrowed]:
    """The channels of a payer that were opened since then and are not closed."""
    rows = db.execute(
        f"select {_COLUMNS} from channel where payer = ? and opened_at >= ? and not closed order by rowid",
        (payer, since_s),
    )
    return [_escrowed(row) for row in rows]


def find_payout(db: sqlite3.Connection, reference: str, channel: str) -> Payout | None:
    """What a transaction did to a channel."""
    row = db.execute(
        "select settled, refunded, closed, at from payout where hash = ? and channel = ?", (reference, channel)
    ).fetchone()
    return Payout(row[0], row[1], bool(row[2]), row[3]) if row else None


# --- what the bank does with them ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """The bank that takes something in, when, and how long a payer must wait before it withdraws."""

    bank: str
    at_s: float
    grace_s: float


def apply(db: sqlite3.Connection, reference: str, members: Mapping[str, Any], moment: Moment) -> None:
    """Do what a transaction says. Raises RpcRefused; then the caller rolls back."""
    if members["bank"] != moment.bank:
        raise RpcRefused("a transaction for another bank", code=REFUSED)
    act = members["escrow"]
    if act == "payOut":
        for job in members["jobs"]:
            _pay_out(db, reference, job, moment)
        return
    _check_payer(db, members)
    if act == "open":
        _open(db, members, moment)
        return
    channel = _live(db, members["channel"])
    if channel.descriptor.payer != members["payer"]:
        raise RpcRefused("only its payer may do that to a channel", code=REFUSED)
    {"topUp": _top_up, "requestClose": _request_close, "withdraw": _withdraw}[act](db, channel, members, moment)


def _check_payer(db: sqlite3.Connection, members: Mapping[str, Any]) -> None:
    row = db.execute("select secret from account where name = ?", (members["payer"],)).fetchone()
    if row is None:
        raise RpcRefused("no such account", code=REFUSED)
    wanted = hmac.new(bytes.fromhex(row[0]), unsigned(members), "sha256").hexdigest()
    if not hmac.compare_digest(wanted, members["signature"]):
        raise RpcRefused("the signature is not the payer's", code=REFUSED)


def _live(db: sqlite3.Connection, channel: str) -> Escrowed:
    found = find(db, channel)
    if found is None or found.closed:
        raise RpcRefused("no such channel, or closed", code=REFUSED)
    return found


def _move(db: sqlite3.Connection, account: str, asset: str, units: int) -> None:
    """Give an account `units`, or take them if negative."""
    row = db.execute("select units from balance where account = ? and asset = ?", (account, asset)).fetchone()
    if (row[0] if row else 0) + units < 0:
        raise RpcRefused("insufficient funds", code=FUNDS)
    db.execute(
        "insert into balance values (?, ?, max(?, 0)) on conflict do update set units = units + ?",
        (account, asset, units, units),
    )


def _open(db: sqlite3.Connection, members: Mapping[str, Any], moment: Moment) -> None:
    descriptor = Descriptor(**members["descriptor"])
    if descriptor.payer != members["payer"] or descriptor.flavour not in FLAVOURS or members["deposit"] <= 0:
        raise RpcRefused("a channel of nobody, or of nothing", code=REFUSED)
    found = channel_id(moment.bank, descriptor)
    if find(db, found) is not None:
        raise RpcRefused("this channel exists, or did", code=REFUSED)
    _move(db, descriptor.payer, descriptor.asset, -members["deposit"])
    db.execute(
        f"insert into channel ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, 0, null, 0, ?)",
        (found, *asdict(descriptor).values(), members["deposit"], moment.at_s),
    )


def _top_up(db: sqlite3.Connection, channel: Escrowed, members: Mapping[str, Any], moment: Moment) -> None:
    if members["additional"] <= 0:
        raise RpcRefused("a top-up of nothing", code=REFUSED)
    _move(db, channel.descriptor.payer, channel.descriptor.asset, -members["additional"])
    db.execute(
        "update channel set deposit = deposit + ?, closing_at = null where id = ?", (members["additional"], channel.id)
    )


def _request_close(db: sqlite3.Connection, channel: Escrowed, members: Mapping[str, Any], moment: Moment) -> None:
    db.execute("update channel set closing_at = ? where id = ? and closing_at is null", (moment.at_s, channel.id))


def _withdraw(db: sqlite3.Connection, channel: Escrowed, members: Mapping[str, Any], moment: Moment) -> None:
    if channel.closing_at_s is None or moment.at_s < channel.closing_at_s + moment.grace_s:
        raise RpcRefused("closing was not asked for, or not long enough ago", code=REFUSED)
    _end(db, channel, channel.settled)


def _end(db: sqlite3.Connection, channel: Escrowed, settled: int) -> int:
    rest = channel.deposit - settled
    _move(db, channel.descriptor.payer, channel.descriptor.asset, rest)
    db.execute("update channel set closed = 1, settled = ? where id = ?", (settled, channel.id))
    return rest


def _pay_out(db: sqlite3.Connection, reference: str, job: Mapping[str, Any], moment: Moment) -> None:
    channel = _live(db, job["channel"])
    total, capture, closes = job["total"], job["capture"], job["closes"]
    if not channel.settled <= capture <= total <= channel.deposit:
        raise RpcRefused("amounts that this channel does not hold", code=REFUSED)
    if capture != total and not (closes and channel.descriptor.flavour == V2):
        raise RpcRefused("this takes all that the voucher says", code=REFUSED)
    if not closes and capture == channel.settled:
        raise RpcRefused("nothing to settle", code=REFUSED)
    if capture > channel.settled:
        try:
            signer = signer_of_voucher(moment.bank, channel.id, total, job["signature"])
        except ValueError as error:
            raise RpcRefused(str(error), code=REFUSED) from None
        if signer != channel.descriptor.signer:
            raise RpcRefused("signed by somebody else", code=REFUSED)
        _move(db, channel.descriptor.payee, channel.descriptor.asset, capture - channel.settled)
    refunded = _end(db, channel, capture) if closes else 0
    db.execute("update channel set settled = ? where id = ?", (capture, channel.id))
    db.execute(
        "insert into payout values (?, ?, ?, ?, ?, ?)",
        (reference, channel.id, capture, refunded, int(closes), moment.at_s),
    )
