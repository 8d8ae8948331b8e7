"""Payments, deliveries and receipts as rows of a database, and back. The SQL is what SQLite and PostgreSQL share.

Values are named `:name`; `:now` is always there, by the store's own clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from coinslot.core.challenge import Challenge
from coinslot.core.receipt import Receipt
from coinslot.intents.charge import Prepared
from coinslot.store.protocol import MAX_KEPT_BODY, Claim, Delivery, Payment, Stage

Row: TypeAlias = Sequence[Any]
Values: TypeAlias = dict[str, object]

# A lease is active while its owner's heart beats. The distance counts, not the order: after a clock that jumped back a
# lease would else last for ever. F21
ACTIVE = "EXISTS (SELECT 1 FROM coinslot_owners o WHERE o.id = p.lease_owner AND abs(:now - o.beat_at) < o.lease_s)"
_COLUMNS = (
    "p.challenge_id, p.realm, p.method, p.intent, p.request, p.expires, p.digest, p.opaque, p.header, p.description,"
    " p.proof, p.payer, p.request_hash, p.credential_hash, p.idempotency_key, p.stage, p.claimed_at, p.reference,"
    " p.raw, p.dead_after, p.receipt, p.settled_at, p.delivered_at, p.reason, d.status, d.headers, "
)
_FROM = (
    ", "
    + ACTIVE
    + " FROM coinslot_payments p LEFT JOIN coinslot_deliveries d ON d.challenge_id = p.challenge_id WHERE "
)
# Add a condition on p, order, limit.
SELECT_WHOLE = "SELECT " + _COLUMNS + "d.body" + _FROM
SELECT_WITHOUT_BODY = "SELECT " + _COLUMNS + "NULL" + _FROM

INSERT_CLAIM = (
    "INSERT INTO coinslot_payments (challenge_id, realm, method, intent, request, expires, digest, opaque, header,"
    " description, proof, payer, request_hash, credential_hash, idempotency_key, held_key, stage, lease_owner,"
    " lease_number, lease_token, claimed_at) VALUES (:id, :realm, :method, :intent, :request, :expires, :digest,"
    " :opaque, :header, :description, :proof, :payer, :request_hash, :credential_hash, :key, :key, 'claimed',"
    " :owner, 1, :token, :now) ON CONFLICT DO NOTHING"
)


def claim_values(claim: Claim) -> Values:
    """What INSERT_CLAIM needs of the claim itself."""
    offered = claim.challenge
    return {
        "id": offered.id,
        "realm": offered.realm,
        "method": offered.method,
        "intent": offered.intent,
        "request": offered.request,
        "expires": offered.expires,
        "digest": offered.digest,
        "opaque": offered.opaque,
        "header": offered.header,
        "description": offered.description,
        "proof": claim.proof,
        "payer": claim.payer,
        "request_hash": claim.request_hash,
        "credential_hash": claim.credential_hash,
        "key": claim.idempotency_key,
    }


def delivery_values(delivery: Delivery) -> Values:
    """Status, headers as JSON, and the body if it is small enough to be kept."""
    kept = delivery.body is not None and len(delivery.body) <= MAX_KEPT_BODY
    return {
        "status": delivery.status,
        "headers": json.dumps(delivery.headers),
        "body": delivery.body if kept else None,
    }


def receipt_text(receipt: Receipt) -> str:
    """The receipt's members as JSON."""
    return json.dumps(receipt.members())


def _receipt(text: str) -> Receipt:
    members = json.loads(text)
    del members["status"]
    method, timestamp, reference = (members.pop(name) for name in ("method", "timestamp", "reference"))
    return Receipt(method, reference, timestamp, MappingProxyType(members))


def _delivery(status: int, headers: str, body: bytes | None) -> Delivery:
    pairs = tuple((name, value) for name, value in json.loads(headers))
    return Delivery(status, pairs, None if body is None else bytes(body))


def payment(row: Row) -> Payment:
    """The payment that a row of SELECT_WHOLE or SELECT_WITHOUT_BODY holds."""
    challenge = Challenge(*row[:10])
    proof, payer, request_hash, credential_hash, key, stage, claimed_at, reference, raw, dead_after = row[10:20]
    receipt, settled_at, delivered_at, reason, status, headers, body, leased = row[20:]
    return Payment(
        challenge=challenge,
        proof=proof,
        payer=payer,
        request_hash=request_hash,
        credential_hash=credential_hash,
        idempotency_key=key,
        stage=Stage(stage),
        leased=bool(leased),
        claimed_at_s=claimed_at,
        prepared=None if reference is None else Prepared(challenge, payer, proof, reference, bytes(raw), dead_after),
        receipt=None if receipt is None else _receipt(receipt),
        settled_at_s=settled_at,
        delivery=None if status is None else _delivery(status, headers, body),
        delivered_at_s=delivered_at,
        reason=reason,
    )
