"""What the protocol itself costs: a 402, a credential verified, junk refused; each beside pympp's equivalent.

`python bench/core.py` prints a table; `rows()` gives it to `python -m bench`. pympp runs in an environment of its own:
that of the interop tests, or the Python named by COINSLOT_PYMPP. Where there is none the rows have no peer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coinslot.core.canonical import base64url_decode, base64url_encode, encode_object
from coinslot.core.challenge import Challenge, KeyRing, format_challenge, parse_challenge
from coinslot.core.credential import decode_credential, encode_credential, find_credential
from coinslot.core.header import payment_tokens
from coinslot.core.instant import format_instant, parse_instant
from coinslot.core.receipt import Receipt
from coinslot.errors import CoinslotError

HERE = Path(__file__).resolve().parent
PEER_S = 300.0
# What common HTTP servers let through at most, and the most that we ever look into.
HUGE, LARGE = 64 * 1024, 16 * 1024

REALM = "api.example.com"
REQUEST = {
    "amount": "10000",
    "currency": "0x20c0000000000000000000000000000000000000",
    "methodDetails": {"chainId": 42431, "supportedModes": ["pull", "push"]},
    "recipient": "0x742d35cc6634c0532925a3b844bc9e7595f1b0f2",
}
META = {"nonce": "YWJjZGVmZ2hpamtsbW5v", "scope": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"}
DESCRIPTION = "One call of the example API"
# The size of a signed transfer with a memo, as hex text
PAYLOAD = {"type": "transaction", "signature": "0x" + "ab" * 240}
SOURCE = "did:pkh:eip155:42431:0x742d35cc6634c0532925a3b844bc9e7595f1b0f2"


def _best(work: Callable[[], object], times: int = 2000) -> float:
    """Processor microseconds, the best of several rounds: the others had more of somebody else in them."""
    found = float("inf")
    for _ in range(9):
        begun = time.process_time()
        for _ in range(times):
            work()
        found = min(found, (time.process_time() - begun) / times)
    return found * 1e6


def _junk(size: int) -> dict[str, str]:
    """Fields of a size, by shape: those that regular expressions, splitters and decoders like least."""
    shapes = {
        "letters": "Payment " + "x" * size,
        "parameters": "Payment " + "a=b," * size,
        "commas": "Payment" + "," * size,
        "schemes": "Payment a, " * size,
        "open quote": 'Payment id="' + "x" * size,
        "backslashes": 'Payment id="' + "\\" * size,
        "spaces": "Payment" + " " * size + "=",
        "deep JSON": "Payment " + base64url_encode(b'{"challenge":' * (size // 17)),
    }
    return {name: text[:size] for name, text in shapes.items()}


def _refused(read: Callable[[str], object], text: str) -> Callable[[], None]:
    def work() -> None:
        try:
            read(text)
        except CoinslotError:
            return

    return work


def _peer(told: dict[str, object]) -> dict[str, float]:
    """pympp's figures, or nothing where it isn't installed and can't be."""
    python = os.environ.get("COINSLOT_PYMPP")
    if python is None:
        sys.path.insert(0, str(HERE.parent / "tests"))
        import pytest

        from support.peers import pympp_home

        try:
            python = str(pympp_home() / "bin" / "python")
        except pytest.skip.Exception:
            return {}
    done = subprocess.run(
        [python, str(HERE / "pympp_core.py")],
        input=json.dumps(told), capture_output=True, text=True, timeout=PEER_S, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _row(name: str, value: float, peer: str | None = None, peer_value: float | None = None) -> dict[str, object]:
    ratio = round(peer_value / value, 1) if peer_value else None
    told = round(peer_value, 2) if peer_value else None
    return {"name": name, "value": round(value, 2), "unit": "us", "peer": peer if told else None, "peer_value": told,
            "ratio": ratio}  # fmt: skip


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (how many times the peer's time is ours)."""
    ring = KeyRing((os.urandom(32), os.urandom(32)))
    request = encode_object(REQUEST)  # once per route; the price is the route's

    def issue() -> str:
        """A whole 402's field: time, entropy, opaque, HMAC, text."""
        opaque = encode_object({**META, "nonce": base64url_encode(os.urandom(15))})
        expires = format_instant(time.time() + 300)
        offered = Challenge("", REALM, "tempo", "charge", request, expires, opaque=opaque, description=DESCRIPTION)
        return format_challenge(ring.issue(offered))

    field = issue()
    offered = parse_challenge(field)
    value = encode_credential(offered, PAYLOAD, SOURCE)
    receipt = Receipt("tempo", "0x" + "ab" * 32, "2026-11-21T12:00:00Z", {"challengeId": offered.id})

    def verify() -> str:
        """Header to receipt, of a charge that was paid before."""
        found = find_credential([value], ())
        assert found is not None
        assert ring.issued(found.challenge)
        assert parse_instant(found.challenge.expires or "") > time.time()
        return receipt.encode()

    found = decode_credential(value.removeprefix("Payment "))
    kinds = ("credential", "challenge")
    junk = {f"{kind}: 16 KiB of {name}": text for kind in kinds for name, text in _junk(LARGE).items()}
    huge = {f"{kind}: 64 KiB of {name}": text for kind in kinds for name, text in _junk(HUGE).items()}
    told: dict[str, object] = {"request": REQUEST, "meta": META, "payload": PAYLOAD, "source": SOURCE,
                               "description": DESCRIPTION, "field": field, "junk": junk}  # fmt: skip
    parts: Sequence[tuple[str, Callable[[], object]]] = (
        ("KeyRing.issue", lambda: ring.issue(offered)),
        ("format_challenge", lambda: format_challenge(offered)),
        ("KeyRing.issued", lambda: ring.issued(offered)),
        ("find_credential", lambda: find_credential([value], ())),
        ("base64url_decode of the credential", lambda: base64url_decode(value[8:])),
        ("payload_object", found.payload_object),
        ("parse_instant", lambda: parse_instant("2026-11-21T12:00:00Z")),
        ("format_instant", lambda: format_instant(1.8e9)),
        ("Receipt.encode", receipt.encode),
        ("encode_object of a request", lambda: encode_object(REQUEST)),
    )
    issued, verified, parsed = _best(issue), _best(verify), _best(lambda: parse_challenge(field))
    theirs = _peer(told)
    # Its route handler, the function inside it, and the bare primitives inside that, the nearest to what is ours here
    depths = ("handler", "check", "primitives")
    made = [
        *(_row("core: issue a 402", issued, f"pympp {name}", theirs.get(f"issue, {name}")) for name in depths),
        *(
            _row(f"core: verify {len(value)} B of credential", verified, f"pympp {name}", theirs.get(f"verify, {name}"))
            for name in depths
        ),
        _row("core: parse a challenge", parsed, "pympp", theirs.get("parse a challenge")),
        *(_row(f"core: {name}", _best(work)) for name, work in parts),
    ]  # fmt: skip
    for name, text in {**junk, **huge}.items():
        read = parse_challenge if name.startswith("challenge") else lambda text: find_credential([text], ())
        made.append(
            _row(f"core: refuse {name}", _best(_refused(read, text), 50), "pympp", theirs.get(f"refuse {name}"))
        )
    other = _best(lambda: payment_tokens(["Bearer " + "x" * 1000]))
    made.append(_row("core: pass over another scheme's 1 KiB", other))
    return made


if __name__ == "__main__":
    for each in rows():
        peer = f"{each['peer']}: {each['peer_value']} us, {each['ratio']} x" if each["peer"] else ""
        print(f"{each['name']!s:<60}{each['value']!s:>9} {each['unit']}   {peer}")
