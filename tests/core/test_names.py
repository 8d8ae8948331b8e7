"""What core says in its errors: names and limits, never values."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from coinslot.core.accept import Range, parse_accept
from coinslot.core.canonical import base64url_decode, base64url_encode, canonical, decode_object, parse_object
from coinslot.core.challenge import Challenge, KeyRing, bind, format_challenge, from_members, parse_challenge
from coinslot.core.credential import decode_credential, find_credential
from coinslot.core.digest import parse_digest
from coinslot.core.header import payment_tokens, quote, split_field
from coinslot.core.instant import parse_instant
from coinslot.core.receipt import decode_receipt, receipt_from
from coinslot.errors import CoinslotError
from coinslot.money import parse_decimal, parse_units

# A secret in the shape of each thing that is read; digits, so that it fits into amounts too
CANARY = "90071992547409931337"
KEY = bytes(range(32))
GOOD = Challenge("i", "r", "toy", "charge", "e30", expires="2026-11-21T12:00:00Z")
FIELD = f'Payment id="{CANARY}", realm="{CANARY}", method="toy", intent="charge", request="{CANARY}"'

FAILURES: dict[str, Callable[[], Any]] = {
    "base64url": lambda: base64url_decode(CANARY + "!"),
    "json": lambda: parse_object(f'{{"a":{CANARY}x}}'.encode()),
    "json duplicate": lambda: parse_object(f'{{"{CANARY}":1,"{CANARY}":2}}'.encode()),
    "json surrogate": lambda: parse_object(f'{{"{CANARY}":"\\ud800"}}'.encode()),
    "json utf-8": lambda: parse_object(f'{{"{CANARY}":"'.encode() + b'\xff"}'),
    "json constant": lambda: parse_object(f'{{"{CANARY}":NaN}}'.encode()),
    "json number": lambda: parse_object(f'{{"n":{CANARY}e999}}'.encode()),
    "object": lambda: decode_object(base64url_encode(f"[{CANARY}]".encode())),
    "canonical int": lambda: canonical({"n": int(CANARY)}),
    "canonical text": lambda: canonical({CANARY: "\ud800"}),
    "canonical type": lambda: canonical({"a": CANARY.encode()}),
    "quote": lambda: quote(CANARY + "\n"),
    "field": lambda: split_field(CANARY + "\n"),
    "token": lambda: payment_tokens([f'Payment id="{CANARY}", realm="r"']),
    "challenge request": lambda: parse_challenge(FIELD),
    "challenge twice": lambda: parse_challenge(f'{FIELD}, id="{CANARY}"'),
    "challenge method": lambda: parse_challenge(FIELD.replace("toy", CANARY)),
    "challenge header": lambda: parse_challenge(f'{FIELD}, header="{CANARY}"'),
    "challenge members": lambda: from_members({"id": CANARY, "realm": [CANARY]}),
    "challenge bound": lambda: bind(KEY, Challenge("", CANARY + "|", "toy", "charge", "e30")),
    "challenge issued": lambda: KeyRing((KEY,)).issue(Challenge("", "r", CANARY, "charge", "e30")),
    "challenge realm": lambda: KeyRing((KEY,)).issue(Challenge("", CANARY * 99, "toy", "charge", "e30", "never")),
    "challenge written": lambda: format_challenge(Challenge("i", CANARY + "\r", "toy", "charge", "e30")),
    "key": lambda: KeyRing((CANARY.encode(),)),
    "credential": lambda: decode_credential(CANARY),
    "credential member": lambda: decode_credential(base64url_encode(f'{{"challenge":{{"id":{CANARY}}}}}'.encode())),
    "credential twice": lambda: find_credential([f"Payment {CANARY}, Payment {CANARY}"], []),
    "receipt": lambda: decode_receipt(CANARY),
    "receipt status": lambda: receipt_from({"status": CANARY}),
    "digest": lambda: parse_digest(CANARY),
    "instant": lambda: parse_instant(CANARY),
    "instant date": lambda: parse_instant("9007-19-92T54:74:09Z"),
    "accept": lambda: parse_accept(CANARY),
    "range": lambda: Range(CANARY, "*"),
    "units": lambda: parse_units(f"-{CANARY}"),
    "decimal": lambda: parse_decimal(f"{CANARY}e7"),
}


@pytest.mark.guard("T38")
@pytest.mark.spec("CORE-083", "CORE-087", "CORE-107")
@pytest.mark.parametrize("name", FAILURES)
def test_no_error_repeats_its_input(name: str) -> None:
    """The message, its arguments, and whatever a traceback prints of the causes behind it."""
    with pytest.raises(CoinslotError) as caught:
        FAILURES[name]()
    chain = "".join(line for line in traceback.format_exception(caught.value) if "test_names.py" not in line)
    for text in (str(caught.value), repr(caught.value), chain):
        assert CANARY not in text
        assert "9007-19" not in text
        assert str(caught.value), "and it says something"


@pytest.mark.guard("T38")
@pytest.mark.parametrize("name", FAILURES)
def test_no_error_drags_its_input_along(name: str) -> None:
    """Nor does the cause that error collectors unfold: it is cut off, or it holds no text of the other side."""
    with pytest.raises(CoinslotError) as caught:
        FAILURES[name]()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_what_is_well_formed_passes_here() -> None:
    """The failures above come from the canary's shape, not from a challenge that was never good."""
    assert KeyRing((KEY,)).issue(GOOD).id
