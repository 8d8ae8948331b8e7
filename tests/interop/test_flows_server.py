"""The public conformance flows, ours to serve: a scripted client against `coinslot gate`, paying on the local chain.

Each flow is told by the answers it must get. Who pays is one account; what it signs is taken apart, moved and sent
again by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge, parse_challenge
from coinslot.core.credential import encode_credential
from coinslot.core.instant import parse_instant
from coinslot.core.receipt import decode_receipt
from coinslot.drive import RealWorld, now, run
from coinslot.transports.asgi import CoinslotMiddleware
from support.devnet import Chain
from support.gates import DOLLAR, Purse, Shop, Street
from support.serving import asgi_server, make_slot
from support.temposhop import Shop as Bench
from support.toybank import Bank

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop")]

CENT = DOLLAR // 100
PROBLEMS = "https://paymentauth.org/problems/"
COPIES = 8


@dataclass
class Payer:
    """A client in pieces."""

    bench: Bench
    http: httpx.Client
    key: PrivateKey

    def ask(self, shop: Shop, verb: str = "GET", path: str = "/paid", **more: Any) -> Challenge:
        """A fresh challenge."""
        answer = self.http.request(verb, shop.url + path, **more)
        assert answer.status_code == 402, answer.text
        return parse_challenge(answer.headers["www-authenticate"])

    def sign(self, challenge: Challenge) -> tuple[dict[str, Any], str | None]:
        """Payload and source that pay it."""
        shown = self.bench.pay(self.bench.payer(self.key), challenge)
        return dict(shown.payload), shown.source

    def credential(self, challenge: Challenge, **echoed: Any) -> str:
        """The header that pays a challenge, with members of the echo replaced."""
        return encode_credential(replace(challenge, **echoed), *self.sign(challenge))

    def show(self, shop: Shop, credential: str, verb: str = "GET", path: str = "/paid", **more: Any) -> httpx.Response:
        """Send it."""
        headers = {"Authorization": credential, **more.pop("headers", {})}
        return self.http.request(verb, shop.url + path, headers=headers, **more)


@pytest.fixture
def payer(purse: Purse) -> Iterator[Payer]:
    """An account with five dollars."""
    world = RealWorld()
    with httpx.Client(trust_env=False, timeout=40) as client:
        yield Payer(Bench(purse.chain, world), client, PrivateKey.from_hex(purse.key()))
    world.close()


def require_paid(answer: httpx.Response) -> None:
    """200 with a receipt, private to caches, and no challenge."""
    assert answer.status_code == 200, answer.text
    assert decode_receipt(answer.headers["payment-receipt"]).method == "tempo"
    assert "private" in answer.headers["cache-control"]
    assert "www-authenticate" not in answer.headers


def require_refused(answer: httpx.Response, slug: str, challenge: Challenge | None = None) -> None:
    """402 with this problem, a fresh challenge, never stored, and no receipt."""
    assert answer.status_code == 402, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == PROBLEMS + slug, told
    assert (told["status"], bool(told["title"]), bool(told["detail"])) == (402, True, True)
    fresh = parse_challenge(answer.headers["www-authenticate"])
    assert challenge is None or fresh.id != challenge.id
    assert answer.headers["cache-control"] == "no-store"
    assert "payment-receipt" not in answer.headers


def test_success_charge(gate: Shop, payer: Payer) -> None:
    """Asked, paid, delivered; the upstream never sees the credential."""
    before = gate.received()
    answer = payer.show(gate, payer.credential(payer.ask(gate)))
    require_paid(answer)
    assert answer.json()["credential"] is None
    assert gate.received() - before == CENT


def test_missing_authorization(gate: Shop, payer: Payer) -> None:
    """Who shows nothing, or something of another scheme, is asked to pay."""
    for headers in ({}, {"Authorization": "Bearer mine"}, {"Authorization": "Basic UGF5bWVudDo="}):
        require_refused(payer.http.get(f"{gate.url}/paid", headers=headers), "payment-required")


PAYLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "a transaction that is none": ({"type": "transaction", "signature": "0x76c0"}, "verification-failed"),
    "a proof where money is due": ({"type": "proof", "signature": "0x" + "11" * 65}, "malformed-credential|verif"),
    "no type": ({"signature": "0x76"}, "malformed-credential"),
    "another type": ({"type": "promise"}, "malformed-credential"),
    "nothing": ({}, "malformed-credential"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_verification_error_and_invalid_payload(gate: Shop, payer: Payer, name: str) -> None:
    """A payload that pays nothing is refused by name, and its challenge can't be asked back."""
    payload, slugs = PAYLOADS[name]
    challenge = payer.ask(gate)
    answer = payer.show(gate, encode_credential(challenge, payload, None))
    slug = answer.json()["type"].removeprefix(PROBLEMS)
    assert any(slug.startswith(one) for one in slugs.split("|")), slug
    require_refused(answer, slug, challenge)


def test_retry_after_and_no_receipt(gate: Shop, payer: Payer) -> None:
    """A hash that the chain has not shown yet may have paid: come back with it, and no challenge that invites twice."""
    challenge = payer.ask(gate)
    answer = payer.show(gate, encode_credential(challenge, {"type": "hash", "hash": "0x" + "ab" * 32}, None))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert not {"www-authenticate", "payment-receipt"} & set(answer.headers)
    assert answer.json()["type"].startswith(PROBLEMS)


def test_invalid_payload_too_little(gate: Shop, payer: Payer) -> None:
    """A transaction that pays another, cheaper challenge pays nothing here."""
    cheap, dear = payer.ask(gate), payer.ask(gate, path="/dear")
    answer = payer.show(gate, encode_credential(dear, *payer.sign(cheap)), path="/dear")
    assert answer.status_code == 402
    assert answer.json()["type"].removeprefix(PROBLEMS) in ("verification-failed", "payment-insufficient")


FORGERIES: dict[str, dict[str, str | None]] = {
    "mismatched_request": {"request": "eyJhbW91bnQiOiIxIn0"},
    "invalid_challenge_id": {"id": "A" * 43},
    "missing_challenge_expires": {"expires": None},
    "another end": {"expires": "2099-01-01T00:00:00Z"},
    "another realm": {"realm": "other.example"},
    "no scope": {"opaque": None},
    "a body's digest": {"digest": "sha-256=Jh2HKR9kK4xwqJVV9A2w1BwBbwx0jecJ23hAOFPZXug="},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_changed_challenge_is_nobodys(gate: Shop, payer: Payer, name: str) -> None:
    """What we did not issue word for word is not taken, though its payment is good."""
    before = gate.received()
    challenge = payer.ask(gate)
    require_refused(payer.show(gate, payer.credential(challenge, **FORGERIES[name])), "invalid-challenge", challenge)
    assert gate.received() == before


@pytest.mark.parametrize("token", ["!", "=", "e30", "bm90IGpzb24", "eyJjaGFsbGVuZ2UiOnt9fQ"])
def test_malformed_credential(gate: Shop, payer: Payer, token: str) -> None:
    """What is no credential is said to be none."""
    require_refused(payer.show(gate, f"Payment {token}"), "malformed-credential")


def test_expired_challenge(street: Street, payer: Payer) -> None:
    """A challenge that is over, though its transaction would still be good."""
    gate = street.open(expires_in_s=8)
    challenge = payer.ask(gate)
    credential = payer.credential(challenge)
    over = parse_instant(challenge.expires or "")
    while run(now(), payer.bench.world) <= over:
        payer.ask(gate)
    require_refused(payer.show(gate, credential), "payment-expired", challenge)
    assert gate.received() == 0


def test_free_endpoint_and_unknown_path(gate: Shop, payer: Payer) -> None:
    """Neither asks for money; a receipt belongs to what was paid."""
    free = payer.http.get(f"{gate.url}/free")
    assert free.status_code == 200
    assert not {"www-authenticate", "payment-receipt"} & set(free.headers)
    none = payer.http.get(f"{gate.url}/nothing")
    assert none.status_code == 404
    assert "www-authenticate" not in none.headers


def test_post_body_charge_and_digest(gate: Shop, payer: Payer) -> None:
    """A body is bound: the same one is delivered, another one is refused before anything moves."""
    challenge = payer.ask(gate, "POST", "/echo", content=b'{"tea":1}')
    assert challenge.digest is not None
    credential = payer.credential(challenge)
    before = gate.received()
    wrong = payer.show(gate, credential, "POST", "/echo", content=b'{"tea":2}')
    require_refused(wrong, "invalid-challenge", challenge)
    require_refused(payer.show(gate, credential, "POST", "/echo"), "invalid-challenge", challenge)
    assert gate.received() == before
    right = payer.show(gate, credential, "POST", "/echo", content=b'{"tea":1}')
    require_paid(right)
    assert right.json()["body"] == '{"tea":1}'


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("/items/1", "/items/2"),
        ("/items/1", "/paid"),
        ("/items/1?x=1", "/items/1?x=2"),
        ("/items/1?x=1", "/items/1"),
        ("/items/1", "/items/1?x=1"),
    ],
)
def test_route_and_query_are_bound(gate: Shop, payer: Payer, asked: str, shown: str) -> None:
    """A credential opens the path and query it was asked for, no other."""
    challenge = payer.ask(gate, path=asked)
    credential = payer.credential(challenge)
    require_refused(payer.show(gate, credential, path=shown), "invalid-challenge", challenge)
    require_paid(payer.show(gate, credential, path=asked))


def test_a_method_is_bound(gate: Shop, payer: Payer) -> None:
    """HEAD costs what GET costs, and is not GET."""
    challenge = payer.ask(gate)
    answer = payer.show(gate, payer.credential(challenge), "HEAD")
    assert (answer.status_code, answer.content) == (402, b"")


def test_idempotent_post_side_effect(gate: Shop, payer: Payer) -> None:
    """One credential shown twice runs the handler once; with an Idempotency-Key the answer comes again."""
    delivered = len(gate.upstream.seen)
    plain = payer.credential(payer.ask(gate, "POST", "/echo", content=b"a"))
    require_paid(payer.show(gate, plain, "POST", "/echo", content=b"a"))
    again = payer.show(gate, plain, "POST", "/echo", content=b"a")
    assert again.status_code in (200, 409)
    assert "www-authenticate" not in again.headers
    assert len(gate.upstream.seen) - delivered == 1

    key = {"Idempotency-Key": "order-1"}
    first = payer.credential(payer.ask(gate, "POST", "/echo", content=b"b"))
    one = payer.show(gate, first, "POST", "/echo", content=b"b", headers=key)
    require_paid(one)
    two = payer.show(gate, first, "POST", "/echo", content=b"b", headers=key)
    require_paid(two)
    assert (two.content, two.headers["payment-receipt"]) == (one.content, one.headers["payment-receipt"])
    second = payer.credential(payer.ask(gate, "POST", "/echo", content=b"b"))
    before = gate.received()
    three = payer.show(gate, second, "POST", "/echo", content=b"b", headers=key)
    assert (three.status_code, three.content) == (200, one.content)
    assert gate.received() == before
    assert len(gate.upstream.seen) - delivered == 2


def test_concurrent_replay(gate: Shop, payer: Payer) -> None:
    """Copies of one credential at once: one delivery, and no copy is asked to pay again."""
    delivered, before = len(gate.upstream.seen), gate.received()
    credential = payer.credential(payer.ask(gate))
    with ThreadPoolExecutor(COPIES) as pool:
        answers = list(pool.map(lambda _: payer.show(gate, credential), range(COPIES)))
    assert len(gate.upstream.seen) - delivered == 1
    assert gate.received() - before == CENT
    assert {answer.status_code for answer in answers} <= {200, 409}
    for answer in answers:
        assert "www-authenticate" not in answer.headers
        if answer.status_code == 409 and answer.json()["type"] == f"{PROBLEMS}payment-in-flight":
            assert answer.headers["retry-after"]
            assert "payment-receipt" not in answer.headers


def test_accept_payment_preference(devnet: Chain, bank: Bank, payer: Payer) -> None:
    """The client's weights decide the order of what is offered, and a weight of zero what is not."""
    terms = {"rpc_url": devnet.rpc_url, "recipient": payer.key.address}
    slot = make_slot(bank, tempo=terms)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"never"})

    expected = {
        "tempo/charge;q=0.4, toy/charge;q=0.9": ["toy", "tempo"],
        "tempo/*, */*;q=0.1": ["tempo", "toy"],
        "*/charge;q=0.5, toy/charge;q=0": ["tempo"],
        "unheard/of": ["toy", "tempo"],
        "not readable,,;": ["toy", "tempo"],
    }
    with asgi_server(CoinslotMiddleware(app, slot, {"GET /paid": "0.01"})) as url:
        for wanted, methods in expected.items():
            answer = payer.http.get(f"{url}/paid", headers={"Accept-Payment": wanted})
            offered = [parse_challenge(one).method for one in answer.headers.get_list("www-authenticate")]
            assert sorted(offered) == sorted(methods), wanted
            assert wanted.startswith(("unheard", "not")) or offered == methods, wanted
    slot.close()


def test_discovery_document(gate: Shop, payer: Payer) -> None:
    """What is advertised is what the 402 asks for."""
    document = payer.http.get(f"{gate.url}/openapi.json")
    assert document.headers["content-type"] == "application/json"
    (offer,) = json.loads(document.content)["paths"]["/paid"]["get"]["x-payment-info"]["offers"]
    asked = payer.ask(gate)
    request = asked.request_object()
    assert (offer["method"], offer["intent"]) == (asked.method, asked.intent)
    assert (offer["amount"], offer["currency"]) == (request["amount"], request["currency"])
