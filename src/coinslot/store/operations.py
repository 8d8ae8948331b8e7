"""What each promise of the protocol does inside one transaction; written once for every SQL database.

Unique indexes and conditions inside the UPDATE decide who wins; what is read beforehand never does. T01 T06
Each function runs once or not at all, except after a lost connection: then it runs again with `db.redo` set, and finds
what its first run may have committed by the lease's number and token, which nobody else has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol

from coinslot.core.receipt import Receipt
from coinslot.errors import LeaseLost, LedgerError, StoreBusy, StoreError, UsageError
from coinslot.intents.charge import Prepared
from coinslot.ledger import Entry, Posting
from coinslot.store.protocol import Claim, ClaimResult, Delivery, Lease, OverBudget, Payment, Query, Stage, Taken
from coinslot.store.rows import (
    ACTIVE,
    INSERT_CLAIM,
    SELECT_WHOLE,
    SELECT_WITHOUT_BODY,
    Row,
    Values,
    claim_values,
    delivery_values,
    payment,
    receipt_text,
)

# How many beats an owner may miss by far before its row is swept; its leases lapsed long before.
SWEEP_AFTER_LEASES = 10
# A winner can give up its key between our INSERT and our look at it; more rounds than that is a fault.
CLAIM_ROUNDS = 3


class Db(Protocol):
    """A transaction that is open. Values are named; `:now` is supplied; a row lock is asked for with FOR UPDATE."""

    redo: bool
    # Whether amounts are numbers to the database itself: then one UPDATE may compare and add them.
    computes: bool

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """All rows of a query."""

    def change(self, sql: str, values: Values) -> int:
        """How many rows a statement changed."""

    def journal_lock(self) -> None:
        """Let entries be posted one transaction after the other, so that their order is the order of commits."""


class Undo(Exception):
    """No error, but an answer for which the transaction must leave no trace: roll back, answer with `result`."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


# --- owners --------------------------------------------------------------------------------------


def beat(db: Db, owner: str, lease_s: float) -> None:
    """The owner lives: its leases hold for another `lease_s`."""
    db.change(
        "INSERT INTO coinslot_owners (id, beat_at, lease_s) VALUES (:owner, :now, :lease_s)"
        " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at",
        {"owner": owner, "lease_s": lease_s},
    )


def sweep(db: Db) -> None:
    """Forget owners that died long ago."""
    db.change("DELETE FROM coinslot_owners WHERE abs(:now - beat_at) > lease_s * :times", {"times": SWEEP_AFTER_LEASES})


def resign(db: Db, owner: str) -> None:
    """The owner goes: nobody has to wait for its leases to lapse."""
    db.change("DELETE FROM coinslot_owners WHERE id = :owner", {"owner": owner})


# --- claims and leases ---------------------------------------------------------------------------


def find(db: Db, challenge_id: str) -> Payment | None:
    """The payment that used a challenge."""
    return _one(db, "p.challenge_id = :id", {"id": challenge_id})


def find_keyed(db: Db, payer: str, key: str) -> Payment | None:
    """The payment that holds a payer's idempotency key."""
    return _one(db, "p.payer = :payer AND p.held_key = :key", {"payer": payer, "key": key})


def _one(db: Db, condition: str, values: Values) -> Payment | None:
    found = db.rows(SELECT_WHOLE + condition, values)
    return payment(found[0]) if found else None


def claim(db: Db, owner: str, token: str, wish: Claim) -> ClaimResult:
    """Insert the payment; if a unique index says no, find out who was first."""
    values = {**claim_values(wish), "owner": owner, "token": token}
    for _ in range(CLAIM_ROUNDS):
        if db.change(INSERT_CLAIM, values) == 1:
            _draw(db, wish)
            return Lease(wish.challenge.id, 1)
        if db.redo and _has_token(db, wish.challenge.id, token):  # F19: the first run was committed after all
            return Lease(wish.challenge.id, 1)
        winner = _winner(db, wish)
        if winner is not None:
            return winner
    raise StoreBusy("the payment that holds the idempotency key changes all the time")


def _winner(db: Db, wish: Claim) -> Taken | None:
    found = find(db, wish.challenge.id)
    if found is not None:
        return Taken("challenge", found)
    found = _one(db, "p.proof = :proof", {"proof": wish.proof})
    if found is not None:
        return Taken("proof", found)
    found = None if wish.idempotency_key is None else find_keyed(db, wish.payer, wish.idempotency_key)
    return None if found is None else Taken("idempotency", found)


def _has_token(db: Db, challenge_id: str, token: str) -> bool:
    ours = "SELECT 1 FROM coinslot_payments WHERE challenge_id = :id AND lease_token = :token"
    return bool(db.rows(ours, {"id": challenge_id, "token": token}))


def take(db: Db, owner: str, token: str, challenge_id: str) -> Lease | None:
    """Lock the row, then look at its owner's heart in a later statement: a beat committed meanwhile must be seen."""
    values: Values = {"id": challenge_id, "owner": owner, "token": token}
    found = db.rows(
        "SELECT stage, lease_number, lease_token FROM coinslot_payments WHERE challenge_id = :id FOR UPDATE", values
    )
    if not found or found[0][0] == Stage.DELIVERED:
        return None
    _, number, holder = found[0]
    if db.redo and holder == token:
        return Lease(challenge_id, number)
    if db.rows(_ACTIVELY_HELD, values):
        return None
    db.change(
        "UPDATE coinslot_payments SET lease_owner = :owner, lease_number = lease_number + 1, lease_token = :token"
        " WHERE challenge_id = :id",
        values,
    )
    return Lease(challenge_id, number + 1)


_ACTIVELY_HELD = "SELECT 1 FROM coinslot_payments p WHERE p.challenge_id = :id AND " + ACTIVE  # noqa: S608 - constants
_HELD = " WHERE challenge_id = :id AND lease_owner = :owner AND lease_number = :number"


def _held(owner: str, lease: Lease) -> Values:
    return {"id": lease.challenge_id, "owner": owner, "number": lease.number}


def _refuse(db: Db, owner: str, lease: Lease, done: Stage) -> None:
    """Say why a step changed nothing; return if a first run of it had (F19). Raises LeaseLost, StoreError."""
    found = db.rows(
        "SELECT stage, lease_owner, lease_number FROM coinslot_payments WHERE challenge_id = :id", _held(owner, lease)
    )
    stage, holder, number = found[0] if found else (None, None, None)
    if db.redo and number == lease.number and stage == done:
        return
    if number != lease.number or holder != owner:
        raise LeaseLost(f"the lease on payment {lease.challenge_id} is gone")
    if stage == Stage.CLAIMED and done == Stage.PREPARED:
        raise UsageError("prepared with another proof or payer than was claimed")
    _wrong_stage(stage, done)


def _wrong_stage(stage: object, wanted: Stage) -> NoReturn:
    raise StoreError(f"a payment that is {stage} can't become {wanted}")


def prepare(db: Db, owner: str, lease: Lease, prepared: Prepared) -> None:
    """Record what will be broadcast, for the payment that was claimed and no other."""
    values = _held(owner, lease) | {
        "proof": prepared.proof,
        "payer": prepared.payer,
        "reference": prepared.reference,
        "raw": prepared.raw,
        "dead_after": prepared.dead_after_s,
    }
    set_prepared = (
        "UPDATE coinslot_payments SET stage = 'prepared', reference = :reference, raw = :raw, dead_after = :dead_after"
    )
    same = " AND stage = 'claimed' AND proof = :proof AND payer = :payer"
    if db.change(set_prepared + _HELD + same, values) == 0:
        _refuse(db, owner, lease, Stage.PREPARED)


def fail(db: Db, owner: str, lease: Lease, reason: str) -> None:
    """Close the payment as not paid; its idempotency key is free again, its proof is not. Its budgets are where nothing
    was prepared; what was sent may have cost its fee. T30
    """
    set_failed = "UPDATE coinslot_payments SET stage = 'failed', reason = :reason, held_key = NULL, lease_owner = NULL"
    values = _held(owner, lease) | {"reason": reason}
    if db.change(set_failed + _HELD + " AND stage = 'claimed'", values):  # T30
        _give_back(db, lease.challenge_id)
    elif db.change(set_failed + _HELD + " AND stage = 'prepared'", values) == 0:
        _refuse(db, owner, lease, Stage.FAILED)


def deliver(db: Db, owner: str, lease: Lease, delivery: Delivery) -> None:
    """Record the answer that was handed out."""
    set_delivered = "UPDATE coinslot_payments SET stage = 'delivered', delivered_at = :now, lease_owner = NULL"
    if db.change(set_delivered + _HELD + " AND stage = 'settled'", _held(owner, lease)) == 0:
        _refuse(db, owner, lease, Stage.DELIVERED)
        return
    db.change(
        "INSERT INTO coinslot_deliveries (challenge_id, status, headers, body) VALUES (:id, :status, :headers, :body)",
        {"id": lease.challenge_id, **delivery_values(delivery)},
    )


def release(db: Db, owner: str, lease: Lease) -> None:
    """Let go; a lease that is gone is gone."""
    set_free = "UPDATE coinslot_payments SET lease_owner = NULL"
    db.change(set_free + _HELD, _held(owner, lease))


# --- settling ------------------------------------------------------------------------------------


def settle(db: Db, owner: str, lease: Lease, receipt: Receipt, entry: Entry | None) -> None:
    """Receipt and entry in one step; a second time changes nothing if the entry is the same. F10"""
    values = _held(owner, lease)
    stage_of = "SELECT stage FROM coinslot_payments"
    found = db.rows(stage_of + _HELD + " FOR UPDATE", values)
    if not found:
        raise LeaseLost(f"the lease on payment {lease.challenge_id} is gone")
    stage = found[0][0]
    if stage == Stage.SETTLED:
        if entry is not None:
            _same_entry(db, entry)
        return
    if stage not in {Stage.PREPARED, Stage.FAILED}:
        _wrong_stage(stage, Stage.SETTLED)
    if stage == Stage.FAILED:
        _hold_key_again(db, lease.challenge_id)
    db.change(
        "UPDATE coinslot_payments SET stage = 'settled', receipt = :receipt, settled_at = :now, reason = NULL"
        " WHERE challenge_id = :id",
        {"id": lease.challenge_id, "receipt": receipt_text(receipt)},
    )
    if entry is not None:
        post(db, entry)


def _hold_key_again(db: Db, challenge_id: str) -> None:
    """It was paid after all: answer for its idempotency key again, unless another payment does so by now."""
    db.change(
        "UPDATE coinslot_payments SET held_key = idempotency_key WHERE challenge_id = :id AND NOT EXISTS (SELECT 1"
        " FROM coinslot_payments o WHERE o.payer = coinslot_payments.payer"
        " AND o.held_key = coinslot_payments.idempotency_key)",
        {"id": challenge_id},
    )


def post(db: Db, entry: Entry) -> None:
    """Add to the journal; the same entry again changes nothing. Raises LedgerError for other content. F10"""
    db.journal_lock()
    head: Values = {"entry": entry.id, "at": entry.at_s, "reference": entry.reference}
    insert = "INSERT INTO coinslot_entries (id, at, reference) VALUES (:entry, :at, :reference) ON CONFLICT DO NOTHING"
    if db.change(insert, head) == 0:
        _same_entry(db, entry)
        return
    for n, posting in enumerate(entry.postings):
        db.change(
            "INSERT INTO coinslot_postings (entry, n, account, asset, units)"
            " SELECT seq, :n, :account, :asset, :units FROM coinslot_entries WHERE id = :entry",
            {
                "entry": entry.id,
                "n": n,
                "account": posting.account,
                "asset": posting.asset,
                "units": str(posting.units),
            },
        )


def is_posted(db: Db, entry_id: str) -> bool:
    """Whether the journal has an entry of that id."""
    return bool(db.rows("SELECT 1 FROM coinslot_entries WHERE id = :id", {"id": entry_id}))


def _same_entry(db: Db, entry: Entry) -> None:
    kept = _entries(db.rows(_ENTRIES + "WHERE e.id = :id ORDER BY p.n", {"id": entry.id}))
    if kept != [entry]:
        raise LedgerError(
            f"entry {entry.id} was posted with other content, or the payment was settled with another one"
        )


# --- budgets -------------------------------------------------------------------------------------


def _draw(db: Db, wish: Claim) -> None:
    """Draw on every budget or on none. Sorted, so that two claims never wait for each other. T22"""
    for budget in sorted(wish.budgets, key=lambda each: (each.key, each.window_s)):
        if budget.units < 0:
            raise UsageError("a budget can't be drawn on by a negative amount")
        name: Values = {"name": budget.key, "window_s": budget.window_s}
        db.change(
            "INSERT INTO coinslot_budgets (name, window_s, spent) VALUES (:name, :window_s, '0')"
            " ON CONFLICT DO NOTHING",
            name,
        )
        spent = _spent(db, name) - _lapsed(db, name) + budget.units
        if spent > budget.limit_units:
            raise Undo(OverBudget(budget))
        db.change(
            "INSERT INTO coinslot_draws (name, window_s, at, units, challenge_id)"
            " VALUES (:name, :window_s, :now, :units, :id)",
            name | {"units": str(budget.units), "id": wish.challenge.id},
        )
        _set_spent(db, name, spent)


def _spent(db: Db, name: Values) -> int:
    """The running total; its row stays locked, so that claims draw on one budget one after the other."""
    ((spent,),) = db.rows(
        "SELECT spent FROM coinslot_budgets WHERE name = :name AND window_s = :window_s FOR UPDATE", name
    )
    return int(spent)


def _set_spent(db: Db, name: Values, spent: int) -> None:
    db.change(
        "UPDATE coinslot_budgets SET spent = :spent WHERE name = :name AND window_s = :window_s",
        name | {"spent": str(spent)},
    )


def _lapsed(db: Db, name: Values) -> int:
    """Delete the draws that left the window; how much they were. A draw is deleted once, so the cost stays level."""
    ((now,),) = db.rows("SELECT :now", {})
    values = name | {"until": now - int(str(name["window_s"]))}
    old = " FROM coinslot_draws WHERE name = :name AND window_s = :window_s AND at <= :until"
    units = [int(units) for (units,) in db.rows("SELECT units" + old, values)]
    if units:
        db.change("DELETE" + old, values)
    return sum(units)


def _give_back(db: Db, challenge_id: str) -> None:
    drawn = "SELECT DISTINCT name, window_s FROM coinslot_draws WHERE challenge_id = :id ORDER BY name, window_s"
    for key, window_s in db.rows(drawn, {"id": challenge_id}):
        name: Values = {"name": key, "window_s": window_s, "id": challenge_id}
        spent = _spent(db, name)  # locks first: what another claim lets lapse now must not be given back twice
        mine = " FROM coinslot_draws WHERE challenge_id = :id AND name = :name AND window_s = :window_s"
        units = sum(int(units) for (units,) in db.rows("SELECT units" + mine, name))
        db.change("DELETE" + mine, name)
        _set_spent(db, name, spent - units)


# --- lists ---------------------------------------------------------------------------------------

_ENTRIES = (
    "SELECT e.id, e.at, e.reference, p.account, p.asset, p.units FROM coinslot_entries e"
    " LEFT JOIN coinslot_postings p ON p.entry = e.seq "
)


def _entries(rows: Iterable[Row]) -> list[Entry]:
    heads: dict[str, tuple[float, str, list[Posting]]] = {}
    for name, at, reference, account, asset, units in rows:
        postings = heads.setdefault(name, (at, reference, []))[2]
        if account is not None:
            postings.append(Posting(account, asset, int(units)))
    return [Entry(name, at, reference, tuple(postings)) for name, (at, reference, postings) in heads.items()]


def entries(db: Db, after: str | None, limit: int) -> list[Entry]:
    """The journal in the order of posting. Raises UsageError for an unknown `after`."""
    seq = 0
    if after is not None:
        found = db.rows("SELECT seq FROM coinslot_entries WHERE id = :after", {"after": after})
        if not found:
            raise UsageError("no entry has the id to continue after")
        seq = found[0][0]
    page = "WHERE e.seq IN (SELECT seq FROM coinslot_entries WHERE seq > :seq ORDER BY seq LIMIT :limit)"
    return _entries(db.rows(_ENTRIES + page + " ORDER BY e.seq, p.n", {"seq": seq, "limit": limit}))


def balances(db: Db) -> dict[str, dict[str, int]]:
    """Sums per asset and account."""
    sums: dict[str, dict[str, int]] = {}
    grouped = "SELECT asset, account, SUM_UNITS(units) FROM coinslot_postings GROUP BY asset, account ORDER BY 1, 2"
    for asset, account, units in db.rows(grouped, {}):
        sums.setdefault(asset, {})[account] = int(units)
    return sums


def unresolved(db: Db, limit: int) -> list[Payment]:
    """Prepared payments on which nobody works, oldest first."""
    free = "p.stage = 'prepared' AND NOT " + ACTIVE + " ORDER BY p.claimed_at, p.seq LIMIT :limit"
    return [payment(row) for row in db.rows(SELECT_WHOLE + free, {"limit": limit})]


def payments(db: Db, query: Query) -> list[Payment]:
    """A page of payments, newest first. Raises UsageError for an unknown `before`."""
    values: Values = {"limit": query.limit}
    wanted = ["1 = 1"]
    if query.stages:
        names = {f"stage{n}": str(stage) for n, stage in enumerate(sorted(query.stages))}
        wanted.append(f"p.stage IN ({', '.join(':' + name for name in names)})")
        values |= names
    for name, value, test in (
        ("payer", query.payer, "p.payer = :payer"),
        ("since", query.since_s, "p.claimed_at >= :since"),
        ("until", query.until_s, "p.claimed_at < :until"),
    ):
        if value is not None:
            wanted.append(test)
            values[name] = value
    if query.before is not None:
        where = "SELECT claimed_at, seq FROM coinslot_payments WHERE challenge_id = :id"
        found = db.rows(where, {"id": query.before})
        if not found:
            raise UsageError("no payment has the challenge id to continue before")
        wanted.append("(p.claimed_at, p.seq) < (:before_at, :before_seq)")
        values |= {"before_at": found[0][0], "before_seq": found[0][1]}
    newest = " ORDER BY p.claimed_at DESC, p.seq DESC LIMIT :limit"
    return [payment(row) for row in db.rows(SELECT_WITHOUT_BODY + " AND ".join(wanted) + newest, values)]


def ping(db: Db) -> None:
    """Write, and nothing else."""
    db.change("UPDATE coinslot_schema SET pinged_at = :now", {})
