"""The steps from an empty database to today's, in order; the version of a database is how many it has taken.

A step that was released is never edited: a change is a new step at the end. The tables are the same everywhere; the few
words in which databases differ stand in braces.

- `held_key` is the idempotency key while the payment holds it: a failed payment keeps its key for the record only.
- `lease_token` is random for each lease given: who lost the answer to a claim can tell its own lease from another's.
- `units` are decimal text or NUMERIC: amounts reach 2^256, beyond any machine integer.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """What databases spell differently: the growing primary key, bytes, floats, and wide integers."""

    serial: str
    blob: str
    real: str
    units: str


_FIRST = """
CREATE TABLE coinslot_payments (
    seq {serial},
    challenge_id TEXT NOT NULL UNIQUE,
    proof TEXT NOT NULL UNIQUE,
    realm TEXT NOT NULL,
    method TEXT NOT NULL,
    intent TEXT NOT NULL,
    request TEXT NOT NULL,
    expires TEXT,
    digest TEXT,
    opaque TEXT,
    header TEXT,
    description TEXT,
    payer TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    credential_hash TEXT NOT NULL,
    idempotency_key TEXT,
    held_key TEXT,
    stage TEXT NOT NULL,
    lease_owner TEXT,
    lease_number BIGINT NOT NULL,
    lease_token TEXT NOT NULL,
    claimed_at {real} NOT NULL,
    settled_at {real},
    delivered_at {real},
    reason TEXT,
    reference TEXT,
    dead_after {real},
    raw {blob},
    receipt TEXT
);
CREATE UNIQUE INDEX coinslot_payments_key ON coinslot_payments (payer, held_key) WHERE held_key IS NOT NULL;
CREATE INDEX coinslot_payments_claimed ON coinslot_payments (claimed_at, seq);
CREATE INDEX coinslot_payments_prepared ON coinslot_payments (claimed_at, seq) WHERE stage = 'prepared';
CREATE TABLE coinslot_deliveries (
    challenge_id TEXT PRIMARY KEY REFERENCES coinslot_payments (challenge_id),
    status BIGINT NOT NULL,
    headers TEXT NOT NULL,
    body {blob}
);
CREATE TABLE coinslot_owners (
    id TEXT PRIMARY KEY,
    beat_at {real} NOT NULL,
    lease_s {real} NOT NULL
);
CREATE TABLE coinslot_budgets (
    name TEXT NOT NULL,
    window_s BIGINT NOT NULL,
    spent {units} NOT NULL,
    PRIMARY KEY (name, window_s)
);
CREATE TABLE coinslot_draws (
    name TEXT NOT NULL,
    window_s BIGINT NOT NULL,
    at {real} NOT NULL,
    units {units} NOT NULL,
    challenge_id TEXT NOT NULL
);
CREATE INDEX coinslot_draws_window ON coinslot_draws (name, window_s, at);
CREATE INDEX coinslot_draws_payment ON coinslot_draws (challenge_id);
CREATE TABLE coinslot_entries (
    seq {serial},
    id TEXT NOT NULL UNIQUE,
    at {real} NOT NULL,
    reference TEXT NOT NULL
);
CREATE TABLE coinslot_postings (
    entry BIGINT NOT NULL REFERENCES coinslot_entries (seq),
    n BIGINT NOT NULL,
    account TEXT NOT NULL,
    asset TEXT NOT NULL,
    units {units} NOT NULL,
    PRIMARY KEY (entry, n)
)
"""

# One row per channel and never more, however many vouchers it sees: the highest voucher, the last keyed answer. What is
# indexed doesn't change with a voucher, so that one costs one row. `token` is new with every change of a row.
_CHANNELS = """
CREATE TABLE coinslot_channels (
    seq {serial},
    key TEXT NOT NULL UNIQUE,
    id TEXT NOT NULL,
    network TEXT NOT NULL,
    method TEXT NOT NULL,
    payer TEXT NOT NULL,
    payee TEXT NOT NULL,
    signer TEXT NOT NULL,
    asset TEXT NOT NULL,
    deposit {units} NOT NULL,
    accepted {units} NOT NULL,
    reserved {units} NOT NULL,
    spent {units} NOT NULL,
    settled {units} NOT NULL,
    units BIGINT NOT NULL,
    stage TEXT NOT NULL,
    closing_at {real},
    voucher {blob} NOT NULL,
    state {blob} NOT NULL,
    opened_at {real} NOT NULL,
    used_at {real} NOT NULL,
    token TEXT NOT NULL
);
CREATE INDEX coinslot_channels_stage ON coinslot_channels (stage, seq);
CREATE INDEX coinslot_channels_payer ON coinslot_channels (payer, seq);
CREATE TABLE coinslot_answers (
    channel TEXT PRIMARY KEY,
    idempotency_key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    lease_owner TEXT,
    status BIGINT,
    headers TEXT,
    body {blob}
);
CREATE TABLE coinslot_reservations (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    window_units {units} NOT NULL,
    lease_owner TEXT NOT NULL,
    at {real} NOT NULL
);
CREATE TABLE coinslot_outbox (
    id {serial},
    channel TEXT NOT NULL,
    kind TEXT NOT NULL,
    voucher_units {units} NOT NULL,
    voucher {blob} NOT NULL,
    capture_units {units} NOT NULL,
    stage TEXT NOT NULL,
    lease_owner TEXT,
    lease_number BIGINT NOT NULL,
    lease_token TEXT NOT NULL,
    made_at {real} NOT NULL,
    reference TEXT,
    raw {blob},
    dead_after {real},
    reason TEXT
);
CREATE UNIQUE INDEX coinslot_outbox_live ON coinslot_outbox (channel) WHERE stage IN ('planned', 'prepared');
CREATE INDEX coinslot_outbox_channel ON coinslot_outbox (channel, id);
CREATE TABLE coinslot_watches (
    network TEXT PRIMARY KEY,
    at {real} NOT NULL
)
"""

# The table of the version itself; it is made before the first step and never changes.
VERSION_TABLE = (
    "CREATE TABLE IF NOT EXISTS coinslot_schema (version BIGINT NOT NULL PRIMARY KEY, pinged_at {real} NOT NULL)"
)

# The requests of a channel that carried an Idempotency-Key: as many as may come again (store/keyed.py), with their
# answers. `number` grows with each that is bought. `coinslot_answers` held the last one only: it comes along, and stays
# for programs of the version before, which still write it.
_KEYED = """
CREATE TABLE coinslot_keyed (
    channel TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    number BIGINT NOT NULL,
    lease_owner TEXT,
    lease_token TEXT NOT NULL,
    status BIGINT,
    headers TEXT,
    body {blob},
    PRIMARY KEY (channel, idempotency_key)
);
CREATE INDEX coinslot_keyed_number ON coinslot_keyed (channel, number);
INSERT INTO coinslot_keyed (channel, idempotency_key, request_hash, number, lease_owner, lease_token, status, headers,
    body) SELECT channel, idempotency_key, request_hash, 1, lease_owner, '', status, headers, body FROM coinslot_answers
"""

# Deliveries that are promised, owed or paid (store/deliveries.py). `token` is that of the step that wrote a row last,
# `lease_owner` who streams it.
_OWED = """
CREATE TABLE coinslot_owed (
    channel TEXT NOT NULL,
    id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    most {units} NOT NULL,
    state TEXT NOT NULL,
    expires_at {real} NOT NULL,
    cost {units} NOT NULL,
    units BIGINT NOT NULL,
    total {units} NOT NULL,
    voucher {blob} NOT NULL,
    token TEXT NOT NULL,
    lease_owner TEXT,
    PRIMARY KEY (channel, id)
);
CREATE INDEX coinslot_owed_expires ON coinslot_owed (expires_at) WHERE state IN ('reserved', 'begun')
"""

# A key is known to its payer (store/keyed_rules.py says who that is), on whichever channel: of rows that two channels
# made for one key the newer channel's is. `touched_at` is when it was bought, run or answered. A program of the version
# before writes rows without a payer, touched at 0.
_PAYERS = """
ALTER TABLE coinslot_keyed ADD COLUMN payer TEXT;
ALTER TABLE coinslot_keyed ADD COLUMN touched_at {real} NOT NULL DEFAULT 0;
UPDATE coinslot_keyed SET
    payer = (SELECT c.method || ' ' || c.network || ' ' || c.payer || ' ' || c.signer || ' ' || c.payee
        FROM coinslot_channels c WHERE c.key = coinslot_keyed.channel),
    touched_at = COALESCE((SELECT c.used_at FROM coinslot_channels c WHERE c.key = coinslot_keyed.channel), 0);
CREATE INDEX coinslot_keyed_twice ON coinslot_keyed (payer, idempotency_key);
UPDATE coinslot_keyed SET payer = NULL WHERE EXISTS (SELECT 1 FROM coinslot_keyed o, coinslot_channels newer,
    coinslot_channels mine WHERE o.payer = coinslot_keyed.payer AND o.idempotency_key = coinslot_keyed.idempotency_key
    AND newer.key = o.channel AND mine.key = coinslot_keyed.channel AND newer.seq > mine.seq);
DROP INDEX coinslot_keyed_twice;
CREATE UNIQUE INDEX coinslot_keyed_payer ON coinslot_keyed (payer, idempotency_key);
CREATE INDEX coinslot_keyed_touched ON coinslot_keyed (touched_at)
"""

_STEPS = (_FIRST, _CHANNELS, _KEYED, _OWED, _PAYERS)
VERSION = len(_STEPS)


def version_table(words: Words) -> str:
    """The statement that makes the version's table where it is missing."""
    return VERSION_TABLE.format_map(words._asdict())


def statements(step: int, words: Words) -> list[str]:
    """The statements that lead from version `step` to the next."""
    text = _STEPS[step].format_map(words._asdict())
    return [each.strip() for each in text.split(";") if each.strip()]
