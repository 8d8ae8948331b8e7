"""The credential: found among other schemes, read strictly, never repeated in a message."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import MAX_WIRE_BYTES, base64url_encode, encode_object
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge, KeyRing
from coinslot.core.credential import (
    KEPT_ECHO_BYTES,
    MAX_SOURCE_CHARS,
    decode_credential,
    encode_credential,
    find_credential,
)
from coinslot.errors import BadRequest, MalformedCredential

REQUEST = encode_object({"amount": "1"})
CHALLENGE = Challenge("i", "r", "toy", "charge", REQUEST, expires="2026-11-21T12:00:00Z")
MOVED = dataclasses.replace(CHALLENGE, header=ALTERNATE_HEADER)
PROOF = {"type": "proof", "signature": "0xfeed"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PAYLOADS = st.dictionaries(
    TEXT, st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, st.lists), max_size=4
)


def token(told: Any) -> str:
    """The base64url of some JSON, given as text or as a value."""
    text = told if isinstance(told, str) else json.dumps(told)
    return base64url_encode(text.encode("utf-8", "surrogatepass"))


def plain(**changes: Any) -> dict[str, Any]:
    """The JSON of a good credential, changed."""
    return {"challenge": CHALLENGE.echo(), "payload": PROOF, **changes}


@given(
    st.builds(
        Challenge,
        *[TEXT.filter(bool)] * 5,
        expires=st.none() | TEXT.filter(bool),
        digest=st.none() | TEXT.filter(bool),
        opaque=st.none() | TEXT.filter(bool),
        header=st.none() | st.just(ALTERNATE_HEADER),
        description=st.none() | TEXT,
    ),
    PAYLOADS,
    st.none() | TEXT,
)
@pytest.mark.spec("CORE-020", "CORE-032")
def test_what_is_written_is_read(challenge: Challenge, payload: dict[str, Any], source: str | None) -> None:
    """Any challenge, any proof, any payer come back equal, whatever their characters."""
    value = encode_credential(challenge, payload, source)
    scheme, _, text = value.partition(" ")
    read = decode_credential(text)
    assert scheme == "Payment"
    assert (read.challenge, read.payload_object(), read.source) == (challenge, payload, source)


@given(PAYLOADS, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_any_spelling_of_the_json_is_read(payload: dict[str, Any], indent: Any, ascii_only: bool) -> None:
    """Spaces, order and escapes of the other side don't matter, and unknown members are ignored."""
    told = {"x": [1], "payload": payload, "challenge": {"y": None, **CHALLENGE.echo()}}
    read = decode_credential(token(json.dumps(told, indent=indent, ensure_ascii=ascii_only)))
    assert (read.challenge, read.payload_object()) == (CHALLENGE, payload)


@pytest.mark.spec("CORE-069")
def test_unknown_members_are_ignored() -> None:
    """At the top and in the challenge: protocols evolve by adding."""
    told = plain(version=2, challenge={**CHALLENGE.echo(), "colour": {"a": [1]}})
    assert decode_credential(token(told)).challenge == CHALLENGE


@given(st.text(max_size=80) | st.binary(max_size=80).map(base64url_encode))
@pytest.mark.guard("T40")
def test_arbitrary_text_is_malformed(text: str) -> None:
    """Nothing but MalformedCredential comes out."""
    with pytest.raises(MalformedCredential):
        decode_credential(text)


@pytest.mark.guard("T40", "T42")
@given(st.lists(st.text(st.sampled_from('Payment e30,="\\ BascTok'), max_size=30), max_size=3), st.booleans())
def test_arbitrary_fields_end_in_a_problem_or_nothing(fields: list[str], moved: bool) -> None:
    """A request's headers can't raise anything that a server doesn't answer."""
    try:
        found = find_credential(() if moved else fields, fields if moved else ())
    except (MalformedCredential, BadRequest):
        return
    assert found is None


@pytest.mark.guard("T09")
@pytest.mark.parametrize(
    "text",
    [
        '{"challenge":C,"payload":{},"challenge":C}',
        '{"challenge":C,"payload":{},"payload":{}}',
        '{"challenge":C,"payload":{},"source":"a","source":"a"}',
        '{"challenge":C,"payload":{"a":1,"a":1}}',
        '{"challenge":C,"payload":{},"x":{"a":1,"a":1}}',
        '{"challenge":D,"payload":{}}',
    ],
)
def test_a_member_twice_is_refused_at_any_depth(text: str) -> None:
    """No two readers of one credential can see two different payments."""
    challenge = json.dumps(CHALLENGE.echo(), separators=(",", ":"))
    doubled = challenge.replace('{"id":"i"', '{"id":"j","id":"i"')
    with pytest.raises(MalformedCredential):
        decode_credential(token(text.replace("C", challenge).replace("D", doubled))).payload_object()


@pytest.mark.guard("T09")
@pytest.mark.parametrize(
    "name", ["expires", "digest", "opaque", "header", "id", "realm", "method", "intent", "request"]
)
def test_an_empty_member_is_refused(name: str) -> None:
    """For the MAC absent and empty are one; so only absent may pass."""
    with pytest.raises(MalformedCredential, match="empty"):
        decode_credential(token(plain(challenge={**CHALLENGE.echo(), name: ""})))


@pytest.mark.parametrize(
    "told",
    [
        [],
        {},
        {"payload": {}},
        {"challenge": CHALLENGE.echo()},
        plain(challenge=None),
        plain(challenge="i"),
        plain(challenge={}),
        plain(challenge={**CHALLENGE.echo(), "id": 7}),
        plain(challenge={**CHALLENGE.echo(), "request": {"amount": "1"}}),
        plain(challenge={**CHALLENGE.echo(), "opaque": {"a": "b"}}),
        plain(payload=None),
        plain(payload="0x00"),
        plain(payload=[{}]),
        plain(source=7),
        plain(source="s" * (MAX_SOURCE_CHARS + 1)),
        '{"challenge":' + json.dumps(CHALLENGE.echo()) + ',"payload":{"a":NaN}}',
        json.dumps(plain())[:-1],
        json.dumps(plain()) + " {}",
        "\ufeff" + json.dumps(plain()),
        json.dumps(plain()).replace('"i"', '"\\ud800"'),
    ],
    ids=range(20),
)
def test_what_is_no_credential_is_malformed(told: Any) -> None:
    """Missing or wrongly typed members, and JSON that only lenient parsers take."""
    with pytest.raises(MalformedCredential):
        decode_credential(token(told)).payload_object()


def test_a_proof_is_read_strictly() -> None:
    """Members twice, halves of characters and depth are refused in the payload too, when it is asked for."""
    body = json.dumps(plain(), separators=(",", ":"))
    for wrong in ('{"a":"\\ud800"}', '{"a":1e999}', '{"a":' + "[" * 30 + "]" * 30 + "}"):
        with pytest.raises(MalformedCredential):
            decode_credential(token(body.replace(json.dumps(PROOF, separators=(",", ":")), wrong))).payload_object()


@pytest.mark.spec("CORE-074")
def test_credentials_of_four_kibibytes_and_more_are_read() -> None:
    """A proof of 8 KiB passes; beyond the limit a credential is refused by its length."""
    value = encode_credential(CHALLENGE, {"raw": "0x" + "ab" * 4096}, None)
    assert len(value) > 8192
    assert find_credential([value], []) is not None
    with pytest.raises(MalformedCredential, match="more than"):
        find_credential([encode_credential(CHALLENGE, {"raw": "0x" + "ab" * 6200}, None)], [])


@pytest.mark.guard("T41")
def test_a_long_credential_is_refused_unread() -> None:
    """Its length is enough, also where no header reader has looked before (a body, another transport)."""

    class Unread(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            raise AssertionError("read")

    with pytest.raises(MalformedCredential, match="more than"):
        decode_credential(Unread("A" * (MAX_WIRE_BYTES + 4)))


@pytest.mark.guard("T41")
def test_deep_json_is_refused() -> None:
    """Nesting ends in an error, not in a crash of the decoder."""
    with pytest.raises(MalformedCredential):
        decode_credential(token('{"challenge":' + "[" * 5000))
    with pytest.raises(MalformedCredential):
        decode_credential(token('{"payload":' + '{"a":' * 2000))


# --- in a request --------------------------------------------------------------------------------

PLAIN_VALUE = encode_credential(CHALLENGE, PROOF, None)
MOVED_VALUE = encode_credential(MOVED, PROOF, None)


@pytest.mark.parametrize(
    ("authorization", "alternate"),
    [
        ([PLAIN_VALUE], []),
        (["Bearer abc", PLAIN_VALUE, "Basic dGVh"], []),
        ([f"Bearer abc, {PLAIN_VALUE}, Negotiate YII="], []),
        ([f'Digest username="Payment abc", realm="r", {PLAIN_VALUE}'], []),
        ([PLAIN_VALUE.replace("Payment", "PAYMENT  ")], []),
        (["Bearer abc"], [MOVED_VALUE]),
    ],
)
def test_the_one_credential_is_found(authorization: list[str], alternate: list[str]) -> None:
    """Among other schemes, in repeated fields, or in the header that its challenge named."""
    found = find_credential(authorization, alternate)
    assert found is not None
    assert found.payload_object() == PROOF


def test_other_schemes_are_no_credential() -> None:
    """A request with a bearer token only has not paid and has done nothing wrong."""
    assert find_credential(["Bearer payment", 'Basic realm="Payment abc"'], []) is None
    assert find_credential([], []) is None


@pytest.mark.spec("CORE-123")
@pytest.mark.guard("T40")
@pytest.mark.parametrize(
    ("authorization", "alternate"),
    [
        ([PLAIN_VALUE, PLAIN_VALUE], []),
        ([f"{PLAIN_VALUE}, {PLAIN_VALUE}"], []),
        ([f"{PLAIN_VALUE}, Basic x, payment e30"], []),
        ([PLAIN_VALUE], [MOVED_VALUE]),
        ([], [MOVED_VALUE, MOVED_VALUE]),
    ],
)
def test_several_credentials_are_a_bad_request(authorization: list[str], alternate: list[str]) -> None:
    """400: no guessing which of them was meant, even if they are equal."""
    with pytest.raises(BadRequest) as caught:
        find_credential(authorization, alternate)
    assert caught.value.status == 400


@pytest.mark.guard("T42")
@pytest.mark.parametrize(
    ("authorization", "alternate"),
    [
        ([MOVED_VALUE], []),
        ([], [PLAIN_VALUE]),
        ([encode_credential(dataclasses.replace(CHALLENGE, header="Cookie"), PROOF, None)], []),
        ([], [encode_credential(dataclasses.replace(CHALLENGE, header="Cookie"), PROOF, None)]),
        ([], [encode_credential(dataclasses.replace(CHALLENGE, header="Authorization"), PROOF, None)]),
    ],
)
def test_a_credential_stands_where_its_challenge_says(authorization: list[str], alternate: list[str]) -> None:
    """Moving it to another header, where other filters look, doesn't work."""
    with pytest.raises(MalformedCredential, match="header"):
        find_credential(authorization, alternate)


# --- secrets -------------------------------------------------------------------------------------

CANARY = "c4n4ryS3cret"


def read(value: str) -> None:
    """Everything that a server reads of an Authorization field."""
    found = find_credential([value], [])
    assert found is not None
    found.payload_object()


@pytest.mark.spec("CORE-083", "CORE-084", "CORE-106", "CORE-107")
@pytest.mark.guard("T38")
@pytest.mark.parametrize(
    "told",
    [
        CANARY,
        f'{{"challenge": {CANARY}}}',
        json.dumps(plain(challenge={**CHALLENGE.echo(), "id": [CANARY]})),
        json.dumps(plain(payload=CANARY)),
        json.dumps(plain(source=CANARY * 99)),
        json.dumps(plain(payload={CANARY: CANARY}))[:-1],
        json.dumps(plain(payload={"a": CANARY}))[:-1] + f',"{CANARY}":1,"{CANARY}":2}}',
        json.dumps(plain()).replace('"i"', f'"{CANARY}\\ud800"'),
        json.dumps(plain(payload={"a": CANARY})).replace(f'"{CANARY}"', f'"{CANARY}", "a": 1'),
    ],
    ids=range(9),
)
def test_no_error_repeats_what_was_sent(told: str) -> None:
    """Neither the message nor anything chained to it that a log would print."""
    text = token(told)
    for value in (f"Payment {text}", f"Payment {text}, Payment", f"Payment {text}="):
        with pytest.raises((MalformedCredential, BadRequest)) as caught:
            read(value)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args) + caught.value.detail
        shown = "\n".join(line for line in shown.splitlines() if "test_credential.py" not in line)
        assert CANARY not in shown
        assert text[:24] not in shown


@pytest.mark.spec("CORE-107")
@pytest.mark.guard("T38")
def test_a_credential_shows_no_proof() -> None:
    """Its repr may land in a log; the proof may not."""
    found = decode_credential(token(plain(payload={"signature": CANARY})))
    assert CANARY not in repr(found)
    assert CANARY not in str(found)


def test_verification_needs_the_key_only() -> None:
    """What was issued comes back through a credential and is recognised, statelessly, from its own text."""
    ring = KeyRing((hashlib.sha256(b"k").digest(),))
    issued = ring.issue(CHALLENGE)
    found = find_credential([encode_credential(issued, PROOF, "did:x:y")], [])
    assert found is not None
    assert ring.issued(found.challenge)
    assert found.source == "did:x:y"


SESSION = dataclasses.replace(CHALLENGE, intent="session")


def test_an_echo_that_comes_again_is_read_once() -> None:
    """Voucher after voucher brings it; equal bytes are the same challenge, and a changed one is another."""
    first, second = (decode_credential(encode_credential(SESSION, {"n": n}, None)[8:]) for n in (1, 2))
    assert first.challenge is second.challenge
    changed = decode_credential(encode_credential(dataclasses.replace(SESSION, realm="other"), {"n": 1}, None)[8:])
    assert (changed.challenge.realm, first.challenge.realm) == ("other", SESSION.realm)


def test_an_echo_that_comes_once_is_not_kept() -> None:
    """A charge's challenge is answered once: it pushes none out that comes again."""
    first, second = (decode_credential(encode_credential(CHALLENGE, {"n": n}, None)[8:]) for n in (1, 2))
    assert first.challenge == second.challenge
    assert first.challenge is not second.challenge


@pytest.mark.guard("F28")
def test_a_long_echo_is_not_kept() -> None:
    """What a stranger sends costs us no memory that lasts."""
    long = dataclasses.replace(SESSION, description="d" * KEPT_ECHO_BYTES)
    first, second = (decode_credential(encode_credential(long, {"n": 1}, None)[8:]) for _ in range(2))
    assert first == second
    assert first.challenge is not second.challenge
