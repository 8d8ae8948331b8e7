"""Side by side, in turns: the handler that answers 402 and the one that takes a credential, ours and pympp's.

Both do a whole request without HTTP: a header (or none) in, the fields of the answer out, with a payment method whose
proofs are always good. Rounds alternate between the two programs on one core, and the median of the processor's time
counts, so that somebody else's work on the machine disturbs both alike. Our whole gate does more in the same call: it
binds path, query and body, writes the answer's body, and looks every credential up in its store.

pympp runs in an environment of its own: that of the interop tests, /opt/venv/pympp, or the Python named by
COINSLOT_PYMPP. Where there is none, its figures are left out and `skipped()` says so.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.instant import SECRET, SIGNATURE, SOURCE, Instant, credentials, slot
from coinslot.core.canonical import base64url_encode, encode_object
from coinslot.core.challenge import Challenge, KeyRing, format_challenge
from coinslot.core.credential import find_credential
from coinslot.core.instant import format_instant, parse_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import RealWorld, run
from coinslot.method import Extras
from coinslot.money import parse_decimal
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.request import Incoming

HERE = Path(__file__).resolve().parent
ROUNDS, TIMES = 15, 300
PATH = "/paid/report"
REALM = "api.example.com"
DESCRIPTION = "One call of the example API"
WORK = Callable[[], object]


def find_python(variable: str, kept: str, fixed: str, module: str) -> str | None:
    """A Python that can import the module, or None: named by a variable, kept by the interop tests, or at a place."""
    home = Path(os.environ.get("COINSLOT_INTEROP_DIR") or Path.home() / ".cache" / "coinslot" / "interop")
    tried = [os.environ.get(variable, ""), *map(str, sorted(home.glob(f"{kept}-*/bin/python"))), fixed]
    for python in tried:
        if python and Path(python).exists():
            done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
            if done.returncode == 0:
                return python
    return None


@functools.cache
def peer_python() -> str | None:
    """A Python that can import pympp, or None."""
    return find_python("COINSLOT_PYMPP", "python", "/opt/venv/pympp/bin/python", "mpp.server.verify")


def skipped() -> str | None:
    """Why there is no peer, if there is none."""
    if peer_python() is None:
        return "pympp is not installed: run the interop tests once, or set COINSLOT_PYMPP to a Python that has it"
    return None


class Peer:
    """A peer in its own process, a round at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def round(self, name: str, times: int) -> float:
        """Microseconds for one, over this many."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name} {times}\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline()))


@contextmanager
def talking(python: str | None, script: str, told: dict[str, Any]) -> Generator[Peer | None]:
    """A script of this folder run by a peer's Python, which was told its work; None where there is no such Python."""
    if python is None:
        yield None
        return
    command = [python, str(HERE / script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(told) + "\n")
        yield Peer(process)


def _told() -> dict[str, Any]:
    """The work of pympp_rounds.py."""
    request = dict(Instant().offer(parse_decimal("0.01"), Extras()))
    meta = {"nonce": "YWJjZGVmZ2hpamtsbW5v", "scope": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"}
    payload = {"type": "transaction", "signature": SIGNATURE}
    return {"request": request, "meta": meta, "payload": payload, "source": SOURCE, "description": DESCRIPTION}


def turns(
    ours: Sequence[tuple[str, WORK]], peer: Peer | None, theirs: str, times: int = TIMES, peer_times: int = TIMES
) -> dict[str, float]:
    """Median microseconds by name; the peer's under "peer". One round of each in turn.

    Each round starts with the core's caches full of the other program, so rounds of the quicker one must not be much
    shorter: `times` is how often ours is done in one, `peer_times` the peer's.
    """
    spent: dict[str, list[float]] = {name: [] for name, _ in ours}
    for _ in range(ROUNDS):
        for name, work in ours:
            begun = time.thread_time()
            for _ in range(times):
                work()
            spent[name].append((time.thread_time() - begun) / times * 1e6)
        if peer is not None:
            spent.setdefault("peer", []).append(peer.round(theirs, peer_times))
    return {name: statistics.median(found) for name, found in spent.items()}


def _protocol() -> tuple[WORK, WORK]:
    """The protocol alone: issue a 402's field; take a credential (parse, HMAC, expiry) and write its receipt."""
    ring = KeyRing((os.urandom(32),))
    request = encode_object(Instant().offer(parse_decimal("0.01"), Extras()))
    (value,) = credentials(PATH, 1)
    bound = json.dumps({"s": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"})[1:-1]

    def issue() -> str:
        opaque = base64url_encode(f'{{"n":"{base64url_encode(os.urandom(16))}",{bound}}}'.encode())
        expires = format_instant(time.time() + 300)
        offered = Challenge("", REALM, "tempo", "charge", request, expires, opaque=opaque, description=DESCRIPTION)
        return format_challenge(ring.issue(offered))

    own = KeyRing((SECRET.encode(),))
    receipt = Receipt("tempo", "0x" + "ab" * 32, "2026-11-21T12:00:00Z", {"challengeId": "x" * 43})  # on record

    def verify() -> str:
        found = find_credential([value], ())
        assert found is not None
        assert own.issued(found.challenge)
        assert parse_instant(found.challenge.expires or "") > time.time()
        return receipt.encode()

    return issue, verify


def _gate() -> tuple[WORK, WORK]:
    """The whole gate on a memory store: answer 402; answer a credential that has paid with its stored outcome."""
    till = slot("memory:")
    price = till.price("0.01", description=DESCRIPTION)
    world = RealWorld()
    asking = Incoming("GET", PATH)
    (value,) = credentials(PATH, 1)
    paying = Incoming("GET", PATH, headers={"authorization": (value,)})
    admission = run(till.gate.admit(paying, price), world)
    assert isinstance(admission, Admission)
    delivering = Delivering(admission.receipt)
    delivering.begin(200, [("content-type", "application/json")])
    delivering.add(b'{"answer": 42}')
    delivery = delivering.finish()
    assert delivery is not None
    run(till.gate.delivered(admission, delivery), world)

    def unpaid() -> None:
        answer = run(till.gate.admit(asking, price), world)
        assert isinstance(answer, Answer)
        assert answer.status == 402

    def paid() -> None:
        answer = run(till.gate.admit(paying, price), world)
        assert isinstance(answer, Answer)
        assert answer.status == 200

    return unpaid, paid


def _row(name: str, value: float, peer_value: float | None, who: str = "pympp handler") -> dict[str, object]:
    told = None if peer_value is None else round(peer_value, 1)
    ratio = None if peer_value is None else round(peer_value / value, 1)
    peer = None if told is None else who
    return {"name": name, "value": round(value, 1), "unit": "us", "peer": peer, "peer_value": told, "ratio": ratio}


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (how many times the peer's time is ours)."""
    issue, verify = _protocol()
    unpaid, paid = _gate()
    with talking(peer_python(), "pympp_rounds.py", _told()) as peer:
        issued = turns([("protocol", issue), ("gate", unpaid)], peer, "issue")
        verified = turns([("protocol", verify), ("gate", paid)], peer, "verify")
    return [
        _row("issue a 402", issued["protocol"], issued.get("peer")),
        _row("issue a 402, whole gate", issued["gate"], issued.get("peer")),
        _row("re-verify a charge", verified["protocol"], verified.get("peer")),
        _row("re-verify a charge, whole gate, memory", verified["gate"], verified.get("peer")),
    ]


if __name__ == "__main__":
    print(skipped() or "", file=sys.stderr)
    for each in rows():
        print(each)
