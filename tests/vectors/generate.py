"""Write core.json: what our code makes of fixed inputs, for us and for other implementations to compare with.

    python tests/vectors/generate.py

A change of core.json in a diff is a change of what travels: explain it or undo it. test_core_vectors.py goes red when
the file and the code disagree, and checks the ids against an HMAC computed without our code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coinslot.core.accept import Range, arrange, format_accept, parse_accept
from coinslot.core.canonical import base64url_decode, base64url_encode, canonical, encode_object
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge, bind, format_challenge, parse_challenge
from coinslot.core.credential import decode_credential, encode_credential, find_credential
from coinslot.core.digest import body_digest, parse_digest
from coinslot.core.instant import parse_instant
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.errors import CoinslotError

FILE = Path(__file__).with_name("core.json")

KEY = hashlib.sha256(b"coinslot vectors, key 1").digest()
OTHER_KEY = hashlib.sha256(b"coinslot vectors, key 2").digest()
REALM = "shop.example.org"
CHARGE = {"amount": "12500", "currency": "0x20c0000000000000000000000000000000000000", "recipient": "0x" + "5a" * 20}
DETAILS = {**CHARGE, "methodDetails": {"chainId": 42431, "feePayer": True, "modes": ["pull", "push"]}}
TEXTS = {**CHARGE, "description": 'Tea & <scones>, "hot" \\ für zwei ☕ 🫖', "externalId": "order/77?x=1"}
EXPIRES = "2026-11-21T12:00:00Z"
OPAQUE = encode_object({"nonce": "0001", "route": "GET /tea"})

CHALLENGES: dict[str, dict[str, Any]] = {
    "required only": {"request": CHARGE},
    "empty request": {"request": {}},
    "nested details": {"request": DETAILS},
    "text that JSON libraries escape differently": {"request": TEXTS},
    "other realm": {"request": CHARGE, "realm": "other.example.org"},
    "other method": {"request": CHARGE, "method": "toy"},
    "other intent": {"request": CHARGE, "intent": "session"},
    "expires": {"request": CHARGE, "expires": EXPIRES},
    "digest": {"request": CHARGE, "digest": body_digest(b'{"cups":2}')},
    "digest as in RFC 9530": {"request": CHARGE, "digest": body_digest(b'{"cups":2}', rfc9530=True)},
    "expires and digest": {"request": CHARGE, "expires": EXPIRES, "digest": body_digest(b"")},
    "opaque": {"request": CHARGE, "opaque": OPAQUE},
    "opaque that is no map": {"request": CHARGE, "opaque": "ticket-77"},
    "header": {"request": CHARGE, "header": ALTERNATE_HEADER},
    "header and opaque": {"request": CHARGE, "header": ALTERNATE_HEADER, "opaque": OPAQUE},
    "description": {"request": CHARGE, "description": 'A "quoted" \\ path'},
    "description beyond ASCII": {"request": CHARGE, "description": "für zwei ☕ 🫖"},
    "everything": {
        "request": DETAILS,
        "expires": EXPIRES,
        "digest": body_digest(b'{"cups":2}'),
        "opaque": OPAQUE,
        "header": ALTERNATE_HEADER,
        "description": "Tea for two",
    },
}

_FULL = 'id="i", realm="r", method="tempo", intent="charge", request="e30"'
FIELDS = {
    "spaces": 'Payment   id = "i" ,realm="r"\t, method="tempo",, intent="charge" , request="e30" ',
    "tokens instead of quoted strings": "Payment id=i, realm=r, method=tempo, intent=charge, request=e30",
    "any order": 'Payment request="e30", intent="charge", method="tempo", realm="r", id="i"',
    "scheme and names in any case": f"pAYMENT {_FULL.replace('id=', 'ID=').replace('realm', 'Realm')}",
    "unknown parameters": f'Payment {_FULL}, colour="blue", x-y=z',
    "escaped quotes and backslashes": rf'Payment {_FULL}, description="say \"tea\" \\ \c\o\f\f\e\e"',
    "escaped UTF-16": rf'Payment {_FULL}, description="\u2615 \ud83e\udED6"',
    "half a character": rf'Payment {_FULL}, description="\ud83e"',
    "escaped line break": f'Payment {_FULL}, description="\\\u000a"',
    "escaped control character": rf'Payment {_FULL}, description="\u000d"',
    "our scheme inside quotes": 'Payment id="i", realm="Payment id=x", method="tempo", intent="charge", request="e30"',
    "description ends too early": f'Payment {_FULL}, description="a "b" c"',
    "after other schemes": f'Basic realm="a", Negotiate dG9rZW4=, Payment {_FULL}',
    "before other schemes": f'Payment {_FULL}, Bearer, Digest realm="r", nonce="Payment", Negotiate',
    "after something unreadable": f'Basic realm="a" "b", Payment {_FULL}',
    "inside an open quote": f'Basic realm="a, Payment {_FULL}',
    "two": f"Payment {_FULL}, Payment {_FULL}",
    "other scheme": 'Bearer realm="r"',
    "empty": "",
    "scheme only": "Payment",
    "token": "Payment abc=",
    "duplicate": f'Payment {_FULL}, id="j"',
    "duplicate in other case": f'Payment {_FULL}, ID="j"',
    "duplicate unknown": f"Payment {_FULL}, a=1, a=2",
    "no id": f"Payment {_FULL.partition(', ')[2]}",
    "empty id": "Payment " + _FULL.replace('id="i"', 'id=""'),
    "no realm": f"Payment {_FULL.replace('realm', 'real')}",
    "no method": f"Payment {_FULL.replace('method', 'm')}",
    "no intent": f"Payment {_FULL.replace('intent', 'i2')}",
    "no request": f"Payment {_FULL.replace('request', 'r2')}",
    "method in capitals": f"Payment {_FULL.replace('tempo', 'Tempo')}",
    "impossible intent": f"Payment {_FULL.replace('charge', 'char ge')}",
    "padded request": f"Payment {_FULL.replace('e30', 'e30=')}",
    "request with stray bits": f"Payment {_FULL.replace('e30', 'e31')}",
    "request not base64url": f"Payment {_FULL.replace('e30', '!!!!')}",
    "request not JSON": f"Payment {_FULL.replace('e30', base64url_encode(b'tea'))}",
    "request not an object": f"Payment {_FULL.replace('e30', base64url_encode(b'[]'))}",
    "request with a duplicate": "Payment " + _FULL.replace("e30", base64url_encode(b'{"a":1,"a":1}')),
    "empty digest": f'Payment {_FULL}, digest=""',
    "header of its own choice": f'Payment {_FULL}, header="Cookie"',
    "header as we know it": f'Payment {_FULL}, header="payment-authorization"',
}

_ECHO = {"id": "i", "realm": "r", "method": "tempo", "intent": "charge", "request": "e30"}
CREDENTIALS: dict[str, Any] = {
    "plain": {"challenge": _ECHO, "payload": {"type": "proof"}},
    "with source": {"challenge": _ECHO, "payload": {"a": 1}, "source": "did:pkh:eip155:42431:0x" + "5a" * 20},
    "unknown members": {"challenge": {**_ECHO, "colour": ["blue"]}, "payload": {}, "x": {"y": None}},
    "every member": {
        "challenge": {**_ECHO, "expires": EXPIRES, "digest": body_digest(b""), "opaque": "t", "description": "ü"},
        "payload": {"deep": {"er": [1, True, None, "é"]}},
    },
    "no challenge": {"payload": {}},
    "no payload": {"challenge": _ECHO},
    "payload not an object": {"challenge": _ECHO, "payload": "0x00"},
    "challenge not an object": {"challenge": "i", "payload": {}},
    "no id": {"challenge": {**_ECHO, "id": None}, "payload": {}},
    "empty id": {"challenge": {**_ECHO, "id": ""}, "payload": {}},
    "request as an object": {"challenge": {**_ECHO, "request": {}}, "payload": {}},
    "empty digest": {"challenge": {**_ECHO, "digest": ""}, "payload": {}},
    "source not text": {"challenge": _ECHO, "payload": {}, "source": 7},
    "not an object": [],
}
_RAW = json.dumps({"challenge": _ECHO, "payload": {"a": 1}}, separators=(",", ":"))
RAW_CREDENTIALS = {
    "spaces": _RAW.replace(",", " ,\n "),
    "duplicate challenge": _RAW[:-1] + ',"challenge":' + json.dumps(_ECHO) + "}",
    "duplicate id": _RAW.replace('"id":', '"id":"j","id":'),
    "duplicate in payload": _RAW.replace('"a":1', '"a":1,"a":1'),
    "not a number": _RAW.replace('"a":1', '"a":NaN'),
    "lone surrogate": _RAW.replace('"i"', '"\\ud800"'),
    "cut off": _RAW[:-1],
    "more behind": _RAW + "{}",
}

JSONS: dict[str, Any] = {
    "names by UTF-16": {
        "\u20ac": 1,
        "\r": 2,
        "\ufb33": 3,
        "1": 4,
        "\U0001f600": 5,
        "\x80": 6,
        "\u00f6": 7,
        "</script>": 8,
    },
    "numbers": {
        "n": [0, -0.0, 1.0, 4.50, 2e-3, 1e30, 1e21, 1e-7, 333333333.33333329, 9007199254740991, -9007199254740991]
    },
    "literals": {"l": [None, True, False, [], {}, ""]},
    "text": {"t": '€$\x0f\nA\'B"\\"/\x7f\u2028<&>é🫖'},
    "nested": DETAILS,
    "too large": {"n": 2**53},
}

BYTES = [b"", b"t", b"te", b"tea", b"teas", bytes(range(256)), "ünï".encode(), b">>>???", b"\n\t\x00"]
NOT_BASE64URL = [
    "A",
    "AAAAA",
    "YQ==",
    "YR",
    "YWJ=",
    "YWK",
    "a+b/",
    "YW Jj",
    "YWJj\n",
    "äbcd",
    "\x00\x00\x00\x00",
    '""""',
]

DIGESTS = {
    "deployed": body_digest(b"tea"),
    "deployed, no padding": body_digest(b"tea").rstrip("="),
    "RFC 9530": body_digest(b"tea", rfc9530=True),
    "one colon": body_digest(b"tea", rfc9530=True)[:-1],
    "other algorithm": "sha-512=" + "A" * 43,
    "too short": "sha-256=AAAA",
    "empty": "",
}

INSTANTS = [
    "2026-11-21T12:00:00Z", "2026-11-21t12:00:00z", "2026-11-21T12:00:00.25Z", "2026-11-21T13:30:00+01:30",
    "2024-02-29T00:00:00-00:00", "2026-11-21T12:00:00", "2026-11-21 12:00:00Z", "2026-02-30T12:00:00Z",
    "2026-11-21T25:00:00Z", "2026-11-21T12:00Z", "2026-W47-6T12:00:00Z", "1795262400", " 2026-11-21T12:00:00Z", "",
]  # fmt: skip

OFFERS = ["tempo/charge", "tempo/session", "solana/charge", "stripe/charge"]
ACCEPTS = [
    "", "*/*", "tempo/charge", "tempo/charge, stripe/charge;q=0.5", "tempo/*;q=0.2, */charge;q=0.9",
    "tempo/charge, tempo/session;q=0, solana/charge", "*/*;q=0.1, stripe/*;q=0", "toy/charge",
    "stripe/charge ; Q=1.000,solana/charge;q=0.999", "Tempo/charge", "tempo", "tempo/charge;q=2",
    "tempo/charge;q=0.1234", "tempo/charge;level=1", "a b/c",
]  # fmt: skip

RECEIPTS: dict[str, Any] = {
    "plain": {"status": "success", "method": "tempo", "timestamp": EXPIRES, "reference": "0x" + "a1" * 32},
    "more members": {
        "status": "success", "method": "toy", "timestamp": "2026-11-21T12:00:00.5+01:00", "reference": "r",
        "challengeId": "i", "extra": {"é": [1]},
    },
    "failed": {"status": "failed", "method": "toy", "timestamp": EXPIRES, "reference": "r"},
    "no reference": {"status": "success", "method": "toy", "timestamp": EXPIRES},
    "no zone": {"status": "success", "method": "toy", "timestamp": "2026-11-21T12:00:00", "reference": "r"},
}  # fmt: skip


def challenge_of(told: Mapping[str, Any], ident: str = "i") -> Challenge:
    """A challenge from the short form above."""
    return Challenge(
        told.get("id", ident),
        told.get("realm", REALM),
        told.get("method", "tempo"),
        told.get("intent", "charge"),
        encode_object(told["request"]),
        **{name: told[name] for name in ("expires", "digest", "opaque", "header", "description") if name in told},
    )


def outcome(act: Callable[..., Any], *given: object) -> dict[str, Any]:
    """What a call gives, or the name of the error it ends in."""
    try:
        return {"gives": act(*given)}
    except CoinslotError as error:
        return {"error": type(error).__name__}


def _issued(told: Mapping[str, Any]) -> dict[str, Any]:
    challenge = challenge_of(told, bind(KEY, challenge_of(told)))
    return {
        "id": challenge.id,
        "id_under_other_key": bind(OTHER_KEY, challenge),
        "field": format_challenge(challenge),
        "credential": encode_credential(challenge, {"type": "proof"}, None),
    }


def _read_credential(text: str) -> dict[str, Any]:
    credential = decode_credential(base64url_encode(text.encode()))
    return {
        "challenge": credential.challenge.echo(),
        "payload": credential.payload_object(),
        "source": credential.source,
    }


def _found(authorization: list[str], alternate: list[str]) -> str | None:
    credential = find_credential(authorization, alternate)
    return credential.challenge.id if credential else None


def _arranged(field: str) -> dict[str, Any]:
    ranges = parse_accept(field)
    offers = [Range(method, intent) for method, intent in (offer.split("/") for offer in OFFERS)]
    chosen = arrange(ranges, offers)
    return {"written": format_accept(ranges), "offers": [f"{each.method}/{each.intent}" for each in chosen]}


def _receipt(members: Mapping[str, Any]) -> dict[str, Any]:
    receipt: Receipt = decode_receipt(encode_object(members))
    return {"value": receipt.encode(), "members": receipt.members()}


def _requests() -> dict[str, tuple[list[str], list[str]]]:
    told = {"challenge": _ECHO, "payload": {}}
    plain = "Payment " + encode_object(told)
    moved = "Payment " + encode_object({**told, "challenge": {**_ECHO, "header": ALTERNATE_HEADER}})
    return {
        "none": ([], []),
        "other schemes only": (["Bearer payment", "Basic cGF5bWVudA=="], []),
        "one": ([plain], []),
        "scheme in capitals, spaces": ([plain.replace("Payment ", "PAYMENT   ") + " "], []),
        "beside other schemes": ([f"Bearer abc, {plain}, Basic dGVh"], []),
        "in repeated fields": (["Bearer abc", plain], []),
        "moved": (["Bearer abc"], [moved]),
        "two in one field": ([f"{plain}, {plain}"], []),
        "two fields": ([plain, plain], []),
        "both headers": ([plain], [moved]),
        "moved but not told so": ([], [plain]),
        "told so but not moved": ([moved], []),
        "parameters": (['Payment id="i"'], []),
        "scheme only": (["Payment"], []),
        "padded": ([plain + "="], []),
        "not base64url": (["Payment !!!"], []),
    }


def build() -> dict[str, Any]:
    """All vectors."""
    raw = {name: json.dumps(told, ensure_ascii=False, separators=(",", ":")) for name, told in CREDENTIALS.items()}
    return {
        "keys": [KEY.hex(), OTHER_KEY.hex()],
        "challenges": {name: {"of": told, **_issued(told)} for name, told in CHALLENGES.items()},
        "fields": {
            name: {"field": field, **outcome(lambda field: parse_challenge(field).echo(), field)}
            for name, field in FIELDS.items()
        },
        "credentials": {
            name: {"json": text, **outcome(_read_credential, text)} for name, text in {**raw, **RAW_CREDENTIALS}.items()
        },
        "requests": {
            name: {"authorization": a, "payment-authorization": b, **outcome(_found, a, b)}
            for name, (a, b) in _requests().items()
        },
        "canonical": {
            name: {"of": json.dumps(told), **outcome(lambda told: canonical(told).decode(), told)}
            for name, told in JSONS.items()
        },
        "base64url": [
            *({"hex": each.hex(), "text": base64url_encode(each)} for each in BYTES),
            *({"text": each, **outcome(lambda each: base64url_decode(each).hex(), each)} for each in NOT_BASE64URL),
        ],
        "digests": {
            name: {"digest": text, **outcome(lambda text: parse_digest(text).hex(), text)}
            for name, text in DIGESTS.items()
        },
        "instants": [{"text": text, **outcome(parse_instant, text)} for text in INSTANTS],
        "accept": [{"field": field, **outcome(_arranged, field)} for field in ACCEPTS],
        "receipts": {name: {"of": told, **outcome(_receipt, told)} for name, told in RECEIPTS.items()},
    }


def text() -> str:
    """The file's contents."""
    return json.dumps(build(), indent=1, ensure_ascii=True, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
