"""Our bytes against mppx's, for random challenges, credentials, receipts, digests, proofs and memos.

What is made equal before comparing, and why:

    description     mppx writes characters up to U+00FF raw and escapes the rest; we escape all that is not ASCII, since
                    header bytes have no charset. Compared after escaping theirs; both read both.
    member order    mppx writes credentials and receipts in the order of its own objects; we write them canonically, as
                    the document asks (JCS). Compared in canonical order; both read both.
    large doubles   10**20 travels as an integer's digits, and JSON readers of exact integers take it for one. We never
                    write again what we read; to compare, the test makes it a double again.
    empty values    mppx drops an empty description; none is made.
    names           `__proto__` as a member is a language's own affair; none is made.
    "|" in a realm  we refuse it (the MAC's slots would run together); none is made.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import base64url_encode, canonical, decode_object, encode_object
from coinslot.core.challenge import Challenge, KeyRing, format_challenge, parse_challenge
from coinslot.core.credential import decode_credential, encode_credential
from coinslot.core.digest import body_digest, same_body
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.methods.tempo.memo import attribution_memo
from coinslot.methods.tempo.proof import proof_digest
from coinslot.methods.tempo.source import read_source, source_of
from support.peers import Peer

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop")]

SOAKING = os.environ.get("COINSLOT_SOAK") == "1"
ROUNDS = 100_000 if SOAKING else 1_000
# One order to the peer; its answer is one line.
BATCH = 250
SECRET = "a secret of thirty-two characters or more"
ASCII = "".join(chr(code) for code in range(0x20, 0x7F))
BEYOND = "éüß¿ÿĀ€\u2013“”語ё🐟👩‍🚀\u2028\ufffd"
CHANCE = random.Random() if SOAKING else random.Random(402)
Make = Callable[[], Any]


def text(alphabet: str = ASCII + BEYOND, least: int = 0, most: int = 24) -> str:
    """Random text, quotes and backslashes more often than chance has it."""
    return "".join(CHANCE.choice(CHANCE.choice([alphabet, '"\\, =u'])) for _ in range(CHANCE.randint(least, most)))


def value(depth: int = 3) -> Any:
    """Random JSON as documents of payment methods hold it, and worse."""
    kinds: list[Make] = [
        text,
        lambda: CHANCE.randint(-(2**53) + 1, 2**53 - 1),
        lambda: CHANCE.choice([0.1, -0.0, 1e21, 1e-7, 5e-324, 123456789012345680000.0, 0.000001, 1.5]),
        lambda: CHANCE.uniform(-1e6, 1e6),
        lambda: CHANCE.choice([True, False, None, "", 0, "\n\t\x01\x7f", "\ue000", "\U0001f41f"]),
    ]
    if depth:
        kinds += [lambda: [value(depth - 1) for _ in range(CHANCE.randint(0, 3))], lambda: members(depth - 1)]
    return CHANCE.choice(kinds)()


def members(depth: int = 3) -> dict[str, Any]:
    """A random JSON object."""
    return {text(least=1, most=8): value(depth) for _ in range(CHANCE.randint(0, 4))}


def word(alphabet: str, least: int, most: int) -> str:
    """Plain random text."""
    return "".join(CHANCE.choice(alphabet) for _ in range(CHANCE.randint(least, most)))


def maybe(make: Make) -> Any:
    """A value, or none in half of all cases."""
    return make() if CHANCE.random() < 0.5 else None


def moment() -> str:
    """An instant as servers write them."""
    day = f"20{CHANCE.randint(10, 99)}-{CHANCE.randint(1, 12):02}-{CHANCE.randint(1, 28):02}"
    fraction = CHANCE.choice(["", f".{CHANCE.randint(0, 999):03}"])
    return f"{day}T{CHANCE.randint(0, 23):02}:{CHANCE.randint(0, 59):02}:{CHANCE.randint(0, 59):02}{fraction}Z"


def drawn() -> tuple[Challenge, dict[str, Any]]:
    """A random challenge: ours, with its id, and the fields as the peer takes them."""
    request = members()
    fields: dict[str, Any] = {
        "realm": text(ASCII.replace("|", ""), 1, 40),
        "method": word("abcdefghijklmnopqrstuvwxyz", 1, 10),
        "intent": word("abcdefghijklmnopqrstuvwxyz-0123456789", 1, 12),
        "expires": moment(),
        "digest": maybe(lambda: body_digest(text().encode())),
        "opaque": maybe(lambda: encode_object({text(least=1, most=6): text() for _ in range(CHANCE.randint(0, 3))})),
        "header": maybe(lambda: "Payment-Authorization"),
        "description": maybe(lambda: text(least=1)),
    }
    challenge = KeyRing((SECRET.encode(),)).issue(Challenge("", request=encode_object(request), **fields))
    given = {name: one for name, one in fields.items() if one is not None}
    return challenge, {**given, "request": request, "secretKey": SECRET}


def form(value: Any) -> bytes:
    """The canonical form of what was read."""

    def number(digits: str) -> int | float:
        return int(digits) if abs(int(digits)) < 2**53 else float(digits)

    return canonical(json.loads(json.dumps(value), parse_int=number))


def again(token: str) -> str:
    """Their token in canonical order."""
    return base64url_encode(form(decode_object(token)))


def batches(count: int = ROUNDS) -> Iterator[int]:
    """Sizes of orders."""
    for start in range(0, count, BATCH):
        yield min(BATCH, count - start)


def escaped(header: str) -> str:
    """Their header with the characters escaped that only we escape."""
    return re.sub("[\x80-\xff]", lambda found: f"\\u{ord(found[0]):04x}", header)


def test_challenges_are_equal_byte_for_byte(mppx: Peer) -> None:
    """The id of the MAC, and the whole header; each side reads and authenticates what the other wrote."""
    for size in batches():
        ours, fields = zip(*(drawn() for _ in range(size)), strict=True)
        theirs = mppx.batch("challenge.format", fields)
        for challenge, told in zip(ours, theirs, strict=True):
            assert challenge.id == told["id"]
            assert format_challenge(challenge) == escaped(told["text"])
            assert parse_challenge(told["text"]) == challenge
        read = mppx.batch("challenge.parse", [{"text": format_challenge(one)} for one in ours])
        assert [one["id"] for one in read] == [one.id for one in ours]
        assert [one.get("description") for one in read] == [one.description for one in ours]
        assert [form(one["request"]) for one in read] == [form(one.request_object()) for one in ours]
        orders = [{"text": format_challenge(one), "secretKey": SECRET} for one in ours]
        assert all(mppx.batch("challenge.verify", orders))


def test_a_challenge_changed_anywhere_is_nobodys(mppx: Peer) -> None:
    """Both sides refuse the same forgeries."""
    ring = KeyRing((SECRET.encode(),))
    forged = []
    for _ in range(BATCH):
        challenge, _ = drawn()
        parts = challenge.written()
        name = CHANCE.choice(["id", "realm", "method", "intent", "expires"])
        parts[name] = {"expires": "2030-01-01T00:00:00Z"}.get(name, f"x{parts[name]}")
        forged.append(Challenge(**parts))
    assert not any(ring.issued(one) for one in forged)
    orders = [{"text": format_challenge(one), "secretKey": SECRET} for one in forged]
    assert not any(mppx.batch("challenge.verify", orders))


def test_credentials_are_equal_in_canonical_order(mppx: Peer) -> None:
    """Each side reads what the other wrote; the echo authenticates after both journeys."""
    ring = KeyRing((SECRET.encode(),))
    for size in batches():
        ours = [drawn()[0] for _ in range(size)]
        payloads = [members() for _ in ours]
        sources = [maybe(lambda: f"did:pkh:eip155:42431:0x{CHANCE.getrandbits(160):040x}") for _ in ours]
        orders = [
            {"text": format_challenge(one), "payload": payload, "source": source}
            for one, payload, source in zip(ours, payloads, sources, strict=True)
        ]
        theirs = mppx.batch("credential.format", orders)
        written = [encode_credential(*each) for each in zip(ours, payloads, sources, strict=True)]
        for one, mine, told in zip(ours, written, theirs, strict=True):
            scheme, token = told.split(" ")
            assert scheme == "Payment"
            assert mine == f"Payment {again(token)}"
            credential = decode_credential(token)
            assert credential.challenge == one
            assert ring.issued(credential.challenge)
        read = mppx.batch("credential.parse", [{"text": one} for one in written])
        for one, payload, source, told in zip(ours, payloads, sources, read, strict=True):
            assert told["challenge"]["id"] == one.id
            assert form(told["payload"]) == canonical(payload)
            assert told.get("source") == source


def test_receipts_are_equal_in_canonical_order(mppx: Peer) -> None:
    """Their receipts are ours, also with members that neither knows."""
    for size in batches():
        ours = [
            Receipt(
                word("abcdefgh", 1, 8),
                f"0x{CHANCE.getrandbits(256):064x}",
                moment(),
                {f"x{text(most=5)}": value() for _ in range(CHANCE.randint(0, 2))},
            )
            for _ in range(size)
        ]
        theirs = mppx.batch("receipt.format", [one.members() for one in ours])
        assert [one.encode() for one in ours] == [again(told) for told in theirs]
        assert [form(decode_receipt(told).members()) for told in theirs] == [canonical(one.members()) for one in ours]
        read = mppx.batch("receipt.parse", [{"text": one.encode()} for one in ours])
        assert [form(one) for one in read] == [canonical(one.members()) for one in ours]


def test_body_digests_are_equal_byte_for_byte(mppx: Peer) -> None:
    """Of any text; each verifies the other's."""
    for size in batches():
        bodies = [text(most=200) if CHANCE.random() < 0.5 else json.dumps(value()) for _ in range(size)]
        theirs = mppx.batch("digest", [{"body": body} for body in bodies])
        assert theirs == [body_digest(body.encode()) for body in bodies]
        assert all(same_body(told, body.encode()) for told, body in zip(theirs, bodies, strict=True))


def test_proofs_are_equal_byte_for_byte(mppx: Peer) -> None:
    """The digest that is signed, the signature, and the name of the account."""
    for size in batches(ROUNDS // 10 if SOAKING else ROUNDS):
        keys = [PrivateKey(CHANCE.randbytes(32)) for _ in range(size)]
        chains = [CHANCE.choice([4217, 42431, CHANCE.randint(1, 2**53 - 1)]) for _ in keys]
        challenges = [drawn()[0] for _ in keys]
        mine = [
            proof_digest("3", chain, challenge, key.address)
            for key, chain, challenge in zip(keys, chains, challenges, strict=True)
        ]
        orders = [
            {
                "chainId": chain,
                "id": one.id,
                "realm": one.realm,
                "account": key.address,
                "key": f"0x{key.secret().hex()}",
            }
            for key, chain, one in zip(keys, chains, challenges, strict=True)
        ]
        assert mppx.batch("proof.digest", orders) == [to_hex(one) for one in mine]
        signatures = mppx.batch("proof.sign", orders)
        assert signatures == [to_hex(key.sign_digest(one)) for key, one in zip(keys, mine, strict=True)]
        named = mppx.batch("source", [{"address": one["account"], "chainId": one["chainId"]} for one in orders])
        assert [one.lower() for one in named] == [
            source_of(at, key.address) for key, at in zip(keys, chains, strict=True)
        ]
        assert [read_source(one) for one in named] == [(at, key.address) for key, at in zip(keys, chains, strict=True)]


def test_memos_are_equal_byte_for_byte(mppx: Peer) -> None:
    """For any realm, challenge and client."""
    for size in batches():
        drawn_memos = [(text(most=40), text(), maybe(lambda: text(least=1))) for _ in range(size)]
        orders = [
            {"serverId": realm, "challengeId": challenge, **({"clientId": client} if client else {})}
            for realm, challenge, client in drawn_memos
        ]
        assert mppx.batch("memo", orders) == [to_hex(attribution_memo(*one)) for one in drawn_memos]
