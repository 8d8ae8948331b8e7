"""Canaries: no credential, key, signature or raw transaction comes out of a gate by any way but its own."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Callable

import pytest

from coinslot.core.challenge import KeyRing
from coinslot.drive import run
from coinslot.errors import CoinslotError, RpcRefused, RpcUnreachable, StoreBroken, StoreBusy
from coinslot.server.answer import Answer
from coinslot.server.issue import Issuer
from coinslot.server.request import Incoming
from coinslot.store.futures import failed
from support.strike import struck_at
from support.till import GET, SECRET, Till, asking, rewritten, token_of
from support.toybank import Bank

COOKIE = "canary-cookie-4711"
BODY = b"canary-body-4712"


def canaries(till: Till, credential: str) -> list[str]:
    """What must not be seen: the token, its signature, the payer's and the server's keys, the cheque, a cookie."""
    payload = token_of(credential).payload_object()
    wallet = till.payer._wallet  # type: ignore[attr-defined]
    found = till.store.find(token_of(credential).challenge.id).result()
    raw = found.prepared.raw if found is not None and found.prepared is not None else b"no cheque yet"
    keys = [SECRET.decode("latin-1"), SECRET.hex(), repr(SECRET)[2:-1]]
    return [
        credential.removeprefix("Payment "), payload["signature"], wallet.secret, *keys,
        raw.decode("latin-1"), raw.hex(), repr(raw)[2:-1], COOKIE, BODY.decode(),
    ]  # fmt: skip


def fails(name: str) -> Callable[[Till], None]:
    def order(till: Till) -> None:
        till.bank.order(name, 3)

    return order


def store_fails(at: str, error: CoinslotError) -> Callable[[Till], None]:
    def break_store(till: Till) -> None:
        setattr(till.store, at, lambda *_: failed(error))

    return break_store


def rpc_repeats(till: Till) -> None:
    """A node whose errors repeat what it was sent."""

    def submit(raw: bytes) -> str:
        raise RpcRefused(f"can't take {raw!r}", code=-32000, data=raw.hex())

    till.sellers[0].bank.submit = submit  # type: ignore[attr-defined]


def simulation_unreachable(till: Till) -> None:
    def simulate(raw: bytes) -> None:
        raise RpcUnreachable("no answer")

    till.sellers[0].bank.simulate = simulate  # type: ignore[attr-defined]


WAYS: dict[str, Callable[[Till], None]] = {
    "paid": lambda till: None,
    "stuck": fails("stuck"),
    "revert": fails("revert"),
    "drop": fails("drop"),
    "down": fails("down"),
    "lost": fails("lost-answer"),
    "busy": store_fails("claim", StoreBusy("busy")),
    "broken": store_fails("settle", StoreBroken("disk full")),
    "unprepared": store_fails("prepare", StoreBroken("disk full")),
    "repeats": rpc_repeats,
    "silent": simulation_unreachable,
}


@pytest.mark.guard("T38")
@pytest.mark.spec("CORE-083", "CORE-086", "CORE-087")
@pytest.mark.parametrize("way", WAYS)
def test_no_way_through_the_gate_shows_a_secret(till: Till, caplog: pytest.LogCaptureFixture, way: str) -> None:
    """Answers, events, logs, the record as shown, and the repr of everything that a log or an error report may hold."""
    caplog.set_level(logging.DEBUG)
    request = Incoming("POST", "/paid/report", "page=1", {"cookie": (COOKIE,)}, BODY)
    credential = till.bought(request)
    WAYS[way](till)
    told = io.StringIO()
    for value in (credential, rewritten(credential, {"payer": "alice", "signature": "00", "more": 1})):
        for _ in range(2):
            shown = asking(request, value, idempotency_key="k")
            got = run(till.gate.admit(shown, till.price), till.world)
            told.write(repr(got) + repr(shown))
            if isinstance(got, Answer):
                told.write(repr(got.headers) + repr(got.body))
    seen: list[object] = [till.gate, till.gate.issuer, till.price, till.sellers, till.events, till.store]
    told.write(repr([*seen, token_of(credential)]))
    found = till.store.find(token_of(credential).challenge.id).result()
    told.write(repr(found) + caplog.text)
    for canary in canaries(till, credential):
        assert canary not in told.getvalue()


@pytest.mark.guard("T38")
@pytest.mark.spec("CORE-083")
@pytest.mark.parametrize("point", ["gate.claimed", "gate.prepared", "gate.broadcast", "gate.settled"])
def test_no_traceback_shows_a_secret(till: Till, point: str) -> None:
    """What a server logs of an exception that passes through: the frames and their messages."""
    credential = till.bought()
    told = ""

    def price(_: Incoming) -> str:
        raise LookupError("no such price")

    try:
        run(till.gate.admit(asking(GET, None), Till(till.bank, _wallet(till), price=price).price), till.world)
    except LookupError as error:
        told = "".join(traceback.format_exception(error))
    with struck_at(point):
        try:
            till.present(credential)
        except Exception as error:
            told += "".join(traceback.format_exception(error))
            raise
    assert "no such price" in told
    assert point in told
    for canary in canaries(till, credential):
        assert canary not in told


def _wallet(till: Till) -> dict[str, object]:
    wallet = till.payer._wallet  # type: ignore[attr-defined]
    return {"bank": wallet.bank, "account": wallet.account, "secret": wallet.secret}


@pytest.mark.guard("T38")
@pytest.mark.spec("CORE-086", "CORE-087")
def test_the_challenge_secret_is_in_no_challenge(bank: Bank, alice: dict[str, object]) -> None:
    """A client gets the MAC and nothing that made it; the ring that holds the secret does not show it."""
    till = Till(bank, alice)
    answer = till.answer(None)
    for text in (repr(answer.headers), repr(answer.body), repr(Issuer("api", KeyRing((SECRET,))))):
        assert SECRET.decode("latin-1") not in text
        assert SECRET.hex() not in text
        assert repr(SECRET)[2:-1] not in text
