"""The challenge: written, read, and bound to the server's secret."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from coinslot.core.canonical import encode_object
from coinslot.core.challenge import (
    ALTERNATE_HEADER,
    MAX_DESCRIPTION_CHARS,
    MAX_REALM_CHARS,
    MIN_KEY_BYTES,
    Challenge,
    KeyRing,
    bind,
    format_challenge,
    from_members,
    parse_challenge,
    parse_challenges,
)
from coinslot.core.header import payment_parts
from coinslot.errors import MalformedHeader, UsageError

KEY = hashlib.sha256(b"one").digest()
OLD = hashlib.sha256(b"two").digest()
REQUEST = encode_object({"amount": "1", "currency": "usd"})
PLAIN = Challenge("", "shop.example.org", "toy", "charge", REQUEST, expires="2026-11-21T12:00:00Z")
BOUND = ("realm", "method", "intent", "request", "expires", "digest", "opaque", "header")

VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
SLOT = st.text(st.sampled_from("ab|=\\"), min_size=1, max_size=4)
CHALLENGES = st.builds(
    Challenge,
    id=VISIBLE,
    realm=VISIBLE,
    method=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    intent=st.from_regex(r"[A-Za-z0-9-]{1,8}", fullmatch=True),
    request=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), VISIBLE, max_size=3).map(encode_object),
    expires=st.none() | VISIBLE,
    digest=st.none() | VISIBLE,
    opaque=st.none() | VISIBLE,
    header=st.none() | st.just(ALTERNATE_HEADER),
    description=st.none() | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20),
)
TUPLES = st.tuples(SLOT, SLOT, SLOT, SLOT, *[st.none() | SLOT] * 4)


def bound_of(challenge: Challenge) -> tuple[str | None, ...]:
    """What the id must depend on."""
    return tuple(getattr(challenge, name) for name in BOUND)


@pytest.mark.spec("CORE-017", "CORE-018", "CORE-021", "CORE-070")
@given(CHALLENGES)
def test_what_is_written_is_read(challenge: Challenge) -> None:
    """Every challenge that can be issued comes back from its header field equal, text by text."""
    field = format_challenge(challenge)
    assert field.isascii()
    assert parse_challenge(field) == challenge
    assert parse_challenge(f'Basic realm="x", {field}, Negotiate') == challenge
    names = [name for part in payment_parts([field]) for name, _ in part.parameters]
    assert names == [name.lower() for name in names]


@given(st.lists(CHALLENGES, min_size=2, max_size=4))
def test_several_challenges_keep_their_order(challenges: list[Challenge]) -> None:
    """Folded into one field or in repeated fields: the server's order is its preference."""
    fields = [format_challenge(each) for each in challenges]
    assert parse_challenges([", ".join(fields)]) == (challenges, [])
    assert parse_challenges(fields) == (challenges, [])


@pytest.mark.guard("T40")
@given(st.text(max_size=60) | st.text(st.sampled_from('Payment id="e30,\\ é\ud800'), max_size=60))
def test_arbitrary_text_is_a_challenge_or_malformed(text: str) -> None:
    """Nothing but MalformedHeader comes out."""
    with pytest.raises(MalformedHeader):
        parse_challenge(text)


@pytest.mark.spec("CORE-018", "CORE-017", "CORE-021")
@pytest.mark.parametrize("name", ["id", "realm", "method", "intent", "request"])
@pytest.mark.parametrize("value", ['""', None])
def test_required_parameters_are_required(name: str, value: str | None) -> None:
    """Missing or empty, the challenge is no challenge, and the message says which it was."""
    told = {"id": '"i"', "realm": '"r"', "method": '"toy"', "intent": '"charge"', "request": '"e30"', name: value}
    field = "Payment " + ", ".join(f"{each}={text}" for each, text in told.items() if text is not None)
    with pytest.raises(MalformedHeader, match=name):
        parse_challenge(field)


@pytest.mark.spec("CORE-018")
def test_no_challenge_is_written_without_an_id() -> None:
    """A server can't emit one by mistake."""
    with pytest.raises(MalformedHeader, match="id"):
        format_challenge(PLAIN)


@pytest.mark.guard("T40")
@pytest.mark.parametrize("again", ["id", "realm", "x", "ID", "Digest"])
def test_a_parameter_twice_is_refused(again: str) -> None:
    """Nobody has to guess which of two values the other side meant; case makes no difference."""
    field = format_challenge(dataclasses.replace(PLAIN, id="i", digest="d")) + ", x=1"
    assert parse_challenge(field).id == "i"
    with pytest.raises(MalformedHeader, match="twice"):
        parse_challenge(f"{field}, {again}=v")


@pytest.mark.spec("CORE-035", "CORE-069", "CORE-071")
def test_unknown_parameters_are_ignored() -> None:
    """Tomorrow's parameters don't break today's client."""
    known = dataclasses.replace(PLAIN, id="i")
    assert parse_challenge(format_challenge(known) + ', colour="blue", n=7') == known


@pytest.mark.spec("CORE-022", "CORE-049")
@pytest.mark.parametrize("method", ["Toy", "TOY", "to y", "toy2", "toy-pay", "tøy", "1"])
def test_methods_are_lower_case_letters(method: str) -> None:
    """For who issues and for who reads."""
    with pytest.raises(UsageError):
        KeyRing((KEY,)).issue(dataclasses.replace(PLAIN, method=method))
    field = format_challenge(dataclasses.replace(PLAIN, id="i", method=method))
    with pytest.raises(MalformedHeader):
        parse_challenge(field)


def test_one_broken_challenge_leaves_the_others() -> None:
    """A client still pays what it can read, and learns why the rest can't be."""
    good = dataclasses.replace(PLAIN, id="i")
    found, broken = parse_challenges(['Payment id="a", realm="b"', format_challenge(good)])
    assert found == [good]
    assert [str(error) for error in broken] == ["a challenge without method"]


@pytest.mark.guard("T42")
@pytest.mark.parametrize("header", ["Cookie", "Host", "Authorization", "X-Pay", "content-length"])
def test_no_server_picks_the_header_of_the_credential(header: str) -> None:
    """Authorization or Payment-Authorization, or a server could overwrite any header of its clients."""
    field = format_challenge(dataclasses.replace(PLAIN, id="i", header=header))
    with pytest.raises(MalformedHeader, match="header"):
        parse_challenge(field)
    with pytest.raises(UsageError, match="header"):
        KeyRing((KEY,)).issue(dataclasses.replace(PLAIN, header=header))


@pytest.mark.spec("CORE-031")
def test_opaque_is_a_map_of_strings() -> None:
    """Anything else is refused when it is looked into; until then it is only text to echo."""
    told = dataclasses.replace(PLAIN, opaque=encode_object({"a": "1", "b": ""}))
    assert told.opaque_map() == {"a": "1", "b": ""}
    assert PLAIN.opaque_map() == {}
    for wrong in ({"a": 1}, {"a": {"b": "c"}}, {"a": None}, {"a": ["b"]}):
        with pytest.raises(MalformedHeader):
            dataclasses.replace(PLAIN, opaque=encode_object(wrong)).opaque_map()
    with pytest.raises(MalformedHeader):
        dataclasses.replace(PLAIN, opaque="ticket-77").opaque_map()


@pytest.mark.spec("CORE-020", "CORE-032")
def test_the_echo_repeats_every_text_as_it_came() -> None:
    """Also a request that is not canonical, an opaque that is no map, and a digest in the document's spelling."""
    field = 'Payment id=i, realm=r, method=toy, intent=charge, request="eyJiIjoxLCAiYSI6Mn0", opaque="ticket-77", '
    field += 'digest="sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", expires="2026-11-21t12:00:00.0Z"'
    assert parse_challenge(field).echo() == {
        "id": "i",
        "realm": "r",
        "method": "toy",
        "intent": "charge",
        "request": "eyJiIjoxLCAiYSI6Mn0",
        "digest": "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        "expires": "2026-11-21t12:00:00.0Z",
        "opaque": "ticket-77",
    }


@pytest.mark.spec("CORE-073")
def test_challenges_of_four_kibibytes_and_more_are_read() -> None:
    """8 KiB is what servers should stay below; it passes too."""
    large = dataclasses.replace(PLAIN, id="i", request=encode_object({"x": "y" * 5900}))
    assert len(format_challenge(large)) > 7900
    assert parse_challenge(format_challenge(large)) == large


def test_members_are_looked_at_one_by_one() -> None:
    """Named values from JSON: unknown ones ignored, those of a wrong type refused by name."""
    told: dict[str, Any] = {"id": "i", "realm": "r", "method": "m", "intent": "c", "request": "e30", "x": []}
    assert from_members(told) == Challenge("i", "r", "m", "c", "e30")
    assert from_members({**told, "digest": None, "description": ""}).description == ""
    for name, value in (("id", 7), ("request", {}), ("realm", ""), ("digest", 7), ("opaque", {}), ("expires", "")):
        with pytest.raises(MalformedHeader, match=name):
            from_members({**told, name: value})


@pytest.mark.guard("T09")
@pytest.mark.parametrize("name", ["expires", "digest", "opaque", "header"])
def test_an_empty_bound_value_is_refused(name: str) -> None:
    """For the MAC absent and empty are one; so only absent may pass."""
    told = {"id": "i", "realm": "r", "method": "m", "intent": "c", "request": "e30"}
    with pytest.raises(MalformedHeader, match=name):
        from_members({**told, name: ""})


@pytest.mark.guard("T40")
@pytest.mark.parametrize("name", ["id", "realm", "request", "description", "digest", "opaque"])
@pytest.mark.parametrize("bad", ["\r\nSet-Cookie: a=b", "\n", "\x00", '", id="j', "\\"])
def test_no_value_ends_its_line(name: str, bad: str) -> None:
    """Whatever a value holds, it stays that one value of that one header, or is refused."""
    told = dataclasses.replace(PLAIN, **{"id": "i", name: f"a{bad}"})
    try:
        field = format_challenge(told)
    except MalformedHeader:
        return
    assert "\r" not in field
    assert "\n" not in field
    part = payment_parts([field])[0]
    assert dict(part.parameters)[name] == f"a{bad}"
    assert len(dict(part.parameters)) == len(part.parameters)


# --- binding -------------------------------------------------------------------------------------


@pytest.mark.guard("T09")
@pytest.mark.spec("CORE-034", "CORE-036", "CORE-038")
@given(TUPLES, TUPLES)
@example(("a", "b|c", "d", "e", None, None, None, None), ("a|b", "c", "d", "e", None, None, None, None))
@example(("a", "b", "c", "d", "e", "f", "g", None), ("a", "b", "c", "d", "e", "f", None, "g"))
@example(("a", "b", "c", "d", "e", None, "g", "h"), ("a", "b", "c", "d", "e", "h", "g", None))
@example(("a", "b", "c", "d", None, None, "|g", None), ("a", "b", "c", "d", None, None, "g", ""))
def test_different_fields_have_different_ids(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Whatever may be bound at all is bound unmistakably: no value moves from one slot into another."""
    assume(one != other)
    first, second = (Challenge("", *fields) for fields in (one, other))
    try:
        ids = {bind(KEY, first), bind(KEY, second)}
    except UsageError:
        return
    assert len(ids) == 2


@pytest.mark.guard("T09")
@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize("bad", ["|", "\r", "\n", "\x00", "\x7f", "é", "\ud800"])
def test_what_could_blur_the_slots_is_not_bound(name: str, bad: str) -> None:
    """The separator, control characters and anything outside ASCII are refused in every slot, and never recognised."""
    told = dataclasses.replace(PLAIN, **{name: f"a{bad}b"})
    with pytest.raises(UsageError):
        bind(KEY, told)
    assert not KeyRing((KEY,)).issued(dataclasses.replace(told, id="i"))


@pytest.mark.spec("CORE-019", "CORE-037")
@given(CHALLENGES, st.sampled_from(("id", *BOUND)), VISIBLE)
def test_a_changed_field_is_not_ours(challenge: Challenge, name: str, value: str) -> None:
    """Each bound field, and the id itself, is protected by the id."""
    assume("|" not in "".join(each or "" for each in bound_of(challenge)))
    ring = KeyRing((KEY,))
    issued = dataclasses.replace(challenge, id=bind(KEY, challenge))
    assert ring.issued(issued)
    changed = dataclasses.replace(issued, **{name: value})
    assume(changed != issued)
    assert not ring.issued(changed)
    if getattr(issued, name) is not None and name in ("expires", "digest", "opaque", "header"):
        without: dict[str, Any] = {name: None}
        assert not ring.issued(dataclasses.replace(issued, **without))


@pytest.mark.guard("T19")
def test_an_id_has_one_spelling() -> None:
    """The last character's stray bits, padding or case don't make a second id of the same MAC."""
    ring = KeyRing((KEY,))
    issued = ring.issue(PLAIN)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(issued.id[-1])
    for ident in (
        *(issued.id[:-1] + letters[last ^ bit] for bit in (1, 2, 3)),
        issued.id + "=",
        issued.id + "\n",
        issued.id.swapcase(),
        "é",
        "\ud800",
        "",
    ):
        assert not ring.issued(dataclasses.replace(issued, id=ident))


@pytest.mark.guard("T19")
def test_ids_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison goes through hmac.compare_digest, on whole ids, once per key."""
    import hmac

    seen: list[tuple[str, str]] = []
    genuine = hmac.compare_digest

    def noted(ours: str, theirs: str) -> bool:
        seen.append((ours, theirs))
        return genuine(ours, theirs)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    told = dataclasses.replace(PLAIN, id="x" * 43)
    assert not KeyRing((KEY, OLD)).issued(told)
    assert [given for _, given in seen] == ["x" * 43] * 2


@pytest.mark.guard("T11", "F23")
@pytest.mark.spec("CORE-088")
def test_a_rotation_keeps_what_is_out_there_valid() -> None:
    """The new key signs, the old one is still accepted, and once it is gone its challenges are too."""
    before = KeyRing((OLD,)).issue(PLAIN)
    during, after = KeyRing((KEY, OLD)), KeyRing((KEY,))
    assert during.issued(before)
    assert during.issue(PLAIN).id == after.issue(PLAIN).id != before.id
    assert not after.issued(before)


@pytest.mark.guard("T11")
@pytest.mark.parametrize(
    "keys",
    [
        (),
        (b"",),
        (KEY[: MIN_KEY_BYTES - 1],),
        (b"a" * 64,),
        (b"changeme" * 8,),
        (b"secret" * 8,),
        (bytes(32),),
        (KEY, KEY),
        (KEY, b"short"),
        ("a text of more than thirty-two characters, not bytes",),
    ],
)
def test_weak_secrets_are_refused(keys: Any) -> None:
    """Short, repeated, default-looking or doubled secrets never get as far as signing."""
    with pytest.raises(UsageError):
        KeyRing(keys)


@given(st.binary(min_size=MIN_KEY_BYTES, max_size=80))
def test_random_secrets_are_accepted(salt: bytes) -> None:
    """What a generator gives is never called weak."""
    KeyRing((hashlib.sha256(salt).digest(),))
    KeyRing((secrets.token_bytes(MIN_KEY_BYTES),))


@pytest.mark.spec("CORE-086", "CORE-087")
@pytest.mark.guard("T38", "T11")
def test_a_key_ring_shows_no_keys() -> None:
    """Neither its text nor its errors nor what it issues carry a secret."""
    ring = KeyRing((KEY, OLD))
    shown = [repr(ring), str(ring), f"{ring!s}", format_challenge(ring.issue(PLAIN))]
    for keys in ((KEY[:31],), (KEY, KEY), (b"hunter22" * 8,)):
        with pytest.raises(UsageError) as caught:
            KeyRing(keys)
        shown += [str(caught.value), repr(caught.value)]
    for text in shown:
        for key in (KEY, OLD, b"hunter22"):
            assert repr(key)[2:-1] not in text
            assert key.hex()[:16] not in text


@pytest.mark.guard("T10")
def test_no_challenge_is_issued_without_an_end() -> None:
    """It would be payable for ever."""
    for expires in (None, ""):
        with pytest.raises(UsageError, match="end"):
            KeyRing((KEY,)).issue(dataclasses.replace(PLAIN, expires=expires))


@pytest.mark.parametrize(
    "changes",
    [
        {"realm": ""},
        {"realm": "r" * (MAX_REALM_CHARS + 1)},
        {"realm": "büro.example"},
        {"request": ""},
        {"digest": ""},
        {"opaque": ""},
        {"header": ""},
        {"intent": ""},
        {"intent": "pay now"},
        {"description": "d" * (MAX_DESCRIPTION_CHARS + 1)},
    ],
)
@pytest.mark.spec("CORE-075")
def test_what_can_t_travel_is_not_issued(changes: dict[str, Any]) -> None:
    """Empty, overlong and non-ASCII fields are the server's mistake, told at once."""
    with pytest.raises(UsageError):
        KeyRing((KEY,)).issue(dataclasses.replace(PLAIN, **changes))


@pytest.mark.spec("CORE-072")
def test_everything_at_its_limit_stays_under_eight_kibibytes() -> None:
    """With a request of 4 KiB, the longest realm and description, and an opaque of a few hundred characters."""
    large = dataclasses.replace(
        PLAIN,
        realm="r" * MAX_REALM_CHARS,
        description="☕" * MAX_DESCRIPTION_CHARS,
        request="A" * 4096,
        opaque="A" * 256,
        header=ALTERNATE_HEADER,
    )
    assert len(format_challenge(KeyRing((KEY,)).issue(large))) < 8 * 1024


@pytest.mark.spec("CORE-030")
def test_the_description_is_not_bound() -> None:
    """It is for people: changing it neither hurts nor helps, so nobody may rely on it."""
    ring = KeyRing((KEY,))
    told = ring.issue(dataclasses.replace(PLAIN, description="one tea"))
    assert ring.issued(dataclasses.replace(told, description="ten teas"))
