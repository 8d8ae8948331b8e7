"""The public conformance flows, ours to pay: our client and wallet against a server that answers as each flow says.

The server issues its own challenges for the local chain and records what comes. What it is shown is a real, signed
payment, which it never broadcasts.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from coinslot.client.events import Paid, Presented
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing, format_challenge
from coinslot.core.credential import Credential, decode_credential
from coinslot.core.digest import body_digest
from coinslot.core.instant import format_instant
from coinslot.core.receipt import Receipt
from coinslot.errors import NoPayableOffer, PaymentRefused, PolicyRefused
from support.devnet import Chain
from support.gates import Purse, address
from support.site import Reply, Seen, Site

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop")]

RING = KeyRing((bytes(range(32)),))
PATH_USD = "0x20c0000000000000000000000000000000000000"
JSON = ("Content-Type", "application/problem+json")
After = Callable[[Credential], Reply]


def receipted(credential: Credential) -> Reply:
    """The honest end."""
    receipt = Receipt("tempo", "0x" + "12" * 32, format_instant(time.time()))
    return Reply(200, b"content", (("Payment-Receipt", receipt.encode()), ("Cache-Control", "private")))


def problem(status: int, slug: str, *headers: tuple[str, str]) -> After:
    """A refusal with its explanation."""
    body = {
        "type": f"https://paymentauth.org/problems/{slug}",
        "title": slug,
        "status": status,
        "detail": f"so: {slug}",
    }
    return lambda credential: Reply(status, json.dumps(body).encode(), (JSON, *headers))


@dataclass
class Desk:
    """A compliance server. `fields` replace members of the challenge, `after` answers a credential."""

    chain: Chain
    fields: dict[str, Any] = field(default_factory=dict)
    after: After = receipted
    before: Callable[[Seen], Reply | None] = lambda seen: None
    bind: bool = False
    shown: list[Credential] = field(default_factory=list)

    def challenge(self, seen: Seen) -> Challenge:
        """A fresh offer of one cent."""
        terms: dict[str, Any] = {"amount": "10000", "currency": PATH_USD, "recipient": address()}
        terms["methodDetails"] = {"chainId": self.chain.chain_id}
        members = {
            "realm": "conformance",
            "method": "tempo",
            "intent": "charge",
            "request": encode_object(terms),
            "expires": format_instant(time.time() + 60),
            "digest": body_digest(seen.body) if self.bind else None,
            **self.fields,
        }
        return RING.issue(Challenge("", **members))

    def __call__(self, seen: Seen) -> Reply:
        """402 until a credential comes, then whatever the flow says."""
        other = self.before(seen)
        if other is not None:
            return other
        if seen.credential is None:
            asked = format_challenge(self.challenge(seen))
            return Reply(402, b"{}", (("WWW-Authenticate", asked), ("Cache-Control", "no-store")))
        credential = decode_credential(seen.credential.partition(" ")[2])
        assert RING.issued(credential.challenge)
        self.shown.append(credential)
        return self.after(credential)


@pytest.fixture
def desk(devnet: Chain) -> Desk:
    """A compliance server that is honest until a test says otherwise."""
    return Desk(devnet)


@pytest.fixture
def site(desk: Desk) -> Iterator[Site]:
    """It, on loopback."""
    with Site(desk) as running:
        yield running


def test_success_charge(desk: Desk, site: Site, purse: Purse) -> None:
    """Accept-Payment says what we can pay, the credential echoes what was offered, the receipt is read."""
    with purse.client() as client:
        response = client.get(f"{site.url}/paid")
    assert (response.status_code, response.content) == (200, b"content")
    payment = response.extensions["coinslot"]
    assert isinstance(payment, Paid)
    assert payment.receipt is not None
    assert site.seen[0].headers["Accept-Payment"] == "tempo/charge"
    assert len(desk.shown) == 1
    assert desk.shown[0].payload_object()["type"] == "transaction"


def test_no_receipt_header(desk: Desk, site: Site, purse: Purse) -> None:
    """A success without a receipt is a success with a warning."""
    desk.after = lambda credential: Reply(200, b"content")
    with purse.client() as client:
        payment = client.get(f"{site.url}/paid").extensions["coinslot"]
    assert isinstance(payment, Paid)
    assert payment.receipt is None
    assert payment.warning


@pytest.mark.parametrize(
    "slug", ["verification-failed", "payment-expired", "invalid-challenge", "malformed-credential", "payment-required"]
)
def test_problem_details(desk: Desk, site: Site, purse: Purse, slug: str) -> None:
    """A refusal is raised with its problem and words, and nothing is paid a second time, whatever is offered."""

    def refuse(credential: Credential) -> Reply:
        fresh = format_challenge(desk.challenge(site.seen[-1]))
        return problem(402, slug, ("WWW-Authenticate", fresh))(credential)

    desk.after = refuse
    with purse.client() as client, pytest.raises(PaymentRefused) as refused:
        client.get(f"{site.url}/paid")
    assert (refused.value.status, refused.value.problem) == (402, slug)
    assert slug in refused.value.detail
    assert len(desk.shown) == 1


def test_retry_after(desk: Desk, site: Site, purse: Purse) -> None:
    """Told to come back, it comes back with the same credential."""
    replies = [problem(409, "payment-in-flight", ("Retry-After", "0")), problem(503, "x", ("Retry-After", "0"))]
    desk.after = lambda credential: replies.pop(0)(credential) if replies else receipted(credential)
    with purse.client() as client:
        assert client.get(f"{site.url}/paid").status_code == 200
    assert len(desk.shown) == 3
    assert len({one.payload for one in desk.shown}) == 1


@pytest.mark.parametrize(
    "header",
    [
        "Payment",
        "Payment realm",
        'Payment id="x", realm="r", method="tempo", intent="charge"',
        'Payment id="x", realm="r", method="tempo", intent="charge", request="!"',
        'Payment id="x", id="y", realm="r", method="tempo", intent="charge", request="e30"',
        'Bearer realm="Payment id=1"',
        'Payment id="x", realm="r", method="unheard", intent="charge", request="e30", expires="2099-01-01T00:00:00Z"',
    ],
)
def test_invalid_www_authenticate(desk: Desk, site: Site, purse: Purse, header: str) -> None:
    """What can't be read or paid is not paid; the caller learns it."""
    desk.before = lambda seen: Reply(402, b"", (("WWW-Authenticate", header),))
    # or the 402 itself, where nothing in it speaks our scheme
    with purse.client() as client, contextlib.suppress(NoPayableOffer):
        assert client.get(f"{site.url}/paid").status_code == 402
    assert desk.shown == []
    assert len(site.seen) == 1


@pytest.mark.parametrize("lives_s", [-60, 0])
def test_expired_challenge(desk: Desk, site: Site, purse: Purse, lives_s: int) -> None:
    """What is over is not paid."""
    desk.fields["expires"] = format_instant(time.time() + lives_s)
    with purse.client() as client, pytest.raises(NoPayableOffer, match="expired"):
        client.get(f"{site.url}/paid")
    assert len(site.seen) == 1


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 500, 503])
def test_free_endpoint_and_non_402_error(desk: Desk, site: Site, purse: Purse, status: int) -> None:
    """Only a 402 asks for money, whatever else an answer carries."""
    asked = format_challenge(desk.challenge(Seen("GET", "/", None, b"")))  # type: ignore[arg-type]
    desk.before = lambda seen: Reply(status, b"" if status == 204 else b"x", (("WWW-Authenticate", asked),))
    with purse.client() as client:
        response = client.get(f"{site.url}/free")
    assert response.status_code == status
    assert "coinslot" not in response.extensions
    assert len(site.seen) == 1


def test_post_body_preserved_on_retry(desk: Desk, site: Site, purse: Purse) -> None:
    """Method, path, query, body and headers of the second request are those of the first."""
    desk.bind = True
    with purse.client() as client:
        client.post(f"{site.url}/a?b=c", content=b'{"x": 1}', headers={"X-Mine": "kept", "Content-Type": "text/x"})
    first, second = site.seen
    assert (
        (first.method, first.path, first.body)
        == (second.method, second.path, second.body)
        == ("POST", "/a?b=c", b'{"x": 1}')
    )
    assert (second.headers["X-Mine"], second.headers["Content-Type"]) == ("kept", "text/x")
    assert desk.shown[0].challenge.digest == body_digest(b'{"x": 1}')


def test_body_digest_mismatch(desk: Desk, site: Site, purse: Purse) -> None:
    """An offer bound to a body that we did not send is not paid."""
    desk.fields["digest"] = body_digest(b"another body")
    with purse.client() as client, pytest.raises(NoPayableOffer, match="another body"):
        client.post(f"{site.url}/a", content=b"ours")
    assert desk.shown == []


def test_alternate_header(desk: Desk, site: Site, purse: Purse) -> None:
    """A challenge that names Payment-Authorization leaves Authorization to its owner."""
    desk.fields["header"] = "Payment-Authorization"
    with purse.client() as client:
        client.get(f"{site.url}/paid", headers={"Authorization": "Bearer mine"})
    assert site.seen[1].headers["Authorization"] == "Bearer mine"
    assert site.seen[1].headers["Payment-Authorization"].startswith("Payment ")


def test_cross_origin_redirect_before_402(desk: Desk, site: Site, purse: Purse) -> None:
    """Led to another origin, it does not pay there, and nobody gets a credential."""
    other = Desk(desk.chain)
    with Site(other) as target, purse.client() as client:
        desk.before = lambda seen: Reply(302, b"", (("Location", f"{target.url}/paid"),))
        with pytest.raises(PolicyRefused):
            client.get(f"{site.url}/paid", follow_redirects=True)
        assert len(target.seen) == 1
    assert (desk.shown, other.shown) == ([], [])


def test_cross_origin_redirect_after_payment(desk: Desk, site: Site, purse: Purse) -> None:
    """A redirect that answers a credential does not carry it along."""
    other = Desk(desk.chain)
    with Site(other) as target, purse.client() as client:
        desk.after = lambda credential: Reply(302, b"", (("Location", f"{target.url}/paid"),))
        with pytest.raises((PolicyRefused, PaymentRefused)):
            client.get(f"{site.url}/paid", follow_redirects=True)
        assert all(seen.credential is None for seen in target.seen)
    assert len(desk.shown) == 1


def test_same_origin_redirect(desk: Desk, site: Site, purse: Purse) -> None:
    """Led to another path of the same origin, it pays there, once."""
    desk.before = lambda seen: Reply(307, b"", (("Location", "/paid"),)) if seen.path == "/old" else None
    with purse.client() as client:
        assert client.get(f"{site.url}/old", follow_redirects=True).status_code == 200
    assert len(desk.shown) == 1


def test_idempotent_post_side_effect(desk: Desk, site: Site, purse: Purse) -> None:
    """A server that errs after taking the payment is not paid again; the same payment can be shown again."""
    desk.after = problem(500, "internal")
    with purse.client() as client:
        response = client.post(f"{site.url}/a", content=b"once")
        told = response.extensions["coinslot"]
        assert isinstance(told, Presented)
        desk.after = receipted
        again = client.post(f"{site.url}/a", content=b"once", extensions={"coinslot_resume": told.resume})
    assert again.status_code == 200
    assert len({one.payload for one in desk.shown}) == 1


def test_accept_payment_preference(desk: Desk, site: Site, purse: Purse) -> None:
    """Of several offers it takes the one that it can pay, wherever it stands."""
    asked = format_challenge(desk.challenge(Seen("GET", "/", None, b"")))  # type: ignore[arg-type]
    other = (
        'Payment id="a", realm="r", method="unheard", intent="charge", request="e30", expires="2099-01-01T00:00:00Z"'
    )
    headers = (("WWW-Authenticate", f'{other}, Bearer realm="x"'), ("WWW-Authenticate", asked))
    desk.before = lambda seen: None if seen.credential else Reply(402, b"", headers)
    with purse.client() as client:
        assert client.get(f"{site.url}/paid").status_code == 200
    assert len(desk.shown) == 1
